//! What can be changed in the journal. Every method belongs to one request of the writer: it becomes durable with
//! that request or not at all.

use std::ops::Deref;
use std::sync::LazyLock;

use rusqlite::{Params, params};

use super::error::JournalError;
use super::view::View;
use crate::core::clock::Reading;
use crate::core::model::{
    Attachment, AttachmentId, EventKind, Extras, FileRow, Handover, HandoverId, Hold, HoldCode, MirrorId, MirrorRow,
    ParkCode, RootIdentity, Stage, Verdict, Version,
};
use crate::core::preflight::{FullCase, Limits};
use crate::core::reference::CaseRef;
use crate::types::{CaseArn, ClientToken, RelPath, UnixMillis};

/// One request's part of a transaction. It reads what it wrote.
#[derive(Debug)]
pub struct Tx<'c> {
    pub(super) view: &'c View,
}

impl Deref for Tx<'_> {
    type Target = View;

    fn deref(&self) -> &View {
        self.view
    }
}

/// An attachment to come: the intent that must be durable before the start call.
#[derive(Debug, Clone)]
pub struct NewAttachment {
    pub mirror: MirrorId,
    pub path: RelPath,
    pub case: CaseArn,
    pub name: String,
    pub version: Version,
    /// 1 for the first attempt at this version.
    pub attempt: u32,
    pub token: ClientToken,
    /// The start call follows as soon as this is durable.
    pub start_open: bool,
    /// What the call carries beside name, size and case.
    pub extras: Extras,
}

/// An entry for the audit trail.
#[derive(Debug, Clone)]
pub struct NewEvent {
    pub mirror: MirrorId,
    pub path: Option<RelPath>,
    pub attachment: Option<AttachmentId>,
    pub kind: EventKind,
    /// `{"text": "…", …}`; no presigned URL.
    pub detail: serde_json::Value,
}

impl Tx<'_> {
    pub(super) fn change(&self, sql: &str, params: impl Params) -> Result<usize, JournalError> {
        // An error like a full disk ends the transaction; what a request did after it would be kept alone.
        if self.conn.is_autocommit() {
            let detail = "the transaction ended early".to_owned();
            return Err(JournalError::Internal { path: self.path.clone(), detail });
        }
        self.told(self.prepare(sql).and_then(|mut s| s.execute(params)))
    }

    /// A change of one row that must be there.
    fn change_one(&self, what: impl FnOnce() -> String, sql: &str, params: impl Params) -> Result<(), JournalError> {
        match self.change(sql, params)? {
            0 => Err(JournalError::NotFound { what: what() }),
            _ => Ok(()),
        }
    }

    // Mirrors.

    /// The mirror `name`, made now if the journal does not know it.
    ///
    /// # Errors
    /// `OtherRoot` when it is known at another root (invariant 20).
    pub fn ensure_mirror(&self, name: &str, root: &[u8]) -> Result<MirrorRow, JournalError> {
        self.change("INSERT INTO mirror (name, root, young) VALUES (?1, ?2, 1) ON CONFLICT DO NOTHING", (name, root))?;
        let row =
            self.mirror_by_name(name)?.ok_or_else(|| JournalError::NotFound { what: format!("mirror `{name}`") })?;
        if row.root != root {
            return Err(JournalError::OtherRoot { mirror: row.name, known: row.root, found: root.to_owned() });
        }
        Ok(row)
    }

    /// Records the folder a scan found healthy; `None` lets the next scan accept what it finds.
    pub fn set_identity(&self, mirror: MirrorId, identity: Option<&RootIdentity>) -> Result<(), JournalError> {
        self.change_one(
            || format!("mirror {}", mirror.0),
            "UPDATE mirror SET fsid = ?2, dev = ?3, inode = ?4, born_ns = ?5 WHERE id = ?1",
            (
                mirror,
                identity.map(|i| i.fsid.cast_signed()),
                identity.map(|i| i.dev.cast_signed()),
                identity.map(|i| i.inode.cast_signed()),
                identity.and_then(|i| i.born_ns),
            ),
        )
    }

    /// Puts a hold in force beside those that are; one of the same code is replaced.
    pub fn put_hold(&self, mirror: MirrorId, hold: &Hold) -> Result<(), JournalError> {
        self.change(
            "INSERT INTO hold (mirror, code, detail, since) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET detail = ?3, since = ?4",
            (mirror, hold.code, &hold.detail, hold.since),
        )
        .map(drop)
    }

    /// Ends the mirror's hold of this code. Whether it was in force.
    pub fn end_hold(&self, mirror: MirrorId, code: HoldCode) -> Result<bool, JournalError> {
        Ok(self.change("DELETE FROM hold WHERE mirror = ?1 AND code = ?2", (mirror, code))? > 0)
    }

    /// Records whether a person let the present change of nearly all files through.
    pub fn set_changes_released(&self, mirror: MirrorId, released: bool) -> Result<(), JournalError> {
        self.change_one(
            || format!("mirror {}", mirror.0),
            "UPDATE mirror SET changes_released = ?2 WHERE id = ?1",
            (mirror, released),
        )
    }

    /// Records which folders inside the root the last full pass could not list.
    pub fn set_unlisted(
        &self,
        mirror: MirrorId,
        folders: &[(RelPath, String)],
        at: UnixMillis,
    ) -> Result<(), JournalError> {
        let known = self.unlisted(mirror)?;
        for (path, ..) in known.iter().filter(|(path, ..)| !folders.iter().any(|(folder, _)| folder == path)) {
            self.change("DELETE FROM unlisted WHERE mirror = ?1 AND path = ?2", (mirror, path))?;
        }
        for (path, detail) in folders {
            self.change(
                "INSERT INTO unlisted (mirror, path, detail, since) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET detail = ?3 WHERE detail <> ?3",
                (mirror, path, detail, at),
            )?;
        }
        Ok(())
    }

    /// Sets how many deletes past the budget a person released.
    pub fn set_released(&self, mirror: MirrorId, released: u32) -> Result<(), JournalError> {
        self.change_one(
            || format!("mirror {}", mirror.0),
            "UPDATE mirror SET released = ?2 WHERE id = ?1",
            (mirror, released),
        )
    }

    /// Records the end of a full scan.
    pub fn set_scanned(&self, mirror: MirrorId, at: UnixMillis) -> Result<(), JournalError> {
        self.change_one(
            || format!("mirror {}", mirror.0),
            "UPDATE mirror SET scanned_at = ?2 WHERE id = ?1",
            (mirror, at),
        )
    }

    /// Nothing is unknown any more of what the mirror attached before this journal began.
    pub fn set_grown(&self, mirror: MirrorId) -> Result<(), JournalError> {
        self.change("UPDATE mirror SET young = 0 WHERE id = ?1 AND young = 1", [mirror]).map(drop)
    }

    /// Records what the watcher reports of itself.
    pub fn set_watch(&self, mirror: MirrorId, watch: &str) -> Result<(), JournalError> {
        self.change_one(
            || format!("mirror {}", mirror.0),
            "UPDATE mirror SET watch = ?2 WHERE id = ?1",
            (mirror, watch),
        )
    }

    // Files.

    /// Writes the row, new or known.
    ///
    /// Refused by the tables: a verdict from `queued` to `attached` without a hash, `detail` where the verdict has
    /// none.
    pub fn put_file(&self, row: &FileRow) -> Result<(), JournalError> {
        let waiting = match row.verdict {
            Verdict::Settling | Verdict::Queued | Verdict::Uploading | Verdict::Scanning => Some(row.since),
            Verdict::Attached | Verdict::Deleting | Verdict::Parked(_) | Verdict::Ignored(_) | Verdict::Unrouted(_) => {
                None
            }
        };
        self.change(
            "INSERT INTO file (mirror, path, dev, inode, size, mtime_ns, ctime_ns, verdict, detail, absent_since,
                 hash, note, seen_at, since, attempt, next_attempt, waiting_since, kept, insisted)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)
             ON CONFLICT DO UPDATE SET dev = ?3, inode = ?4, size = ?5, mtime_ns = ?6, ctime_ns = ?7, verdict = ?8,
                 detail = ?9, absent_since = ?10, hash = ?11, note = ?12, seen_at = ?13, since = ?14, attempt = ?15,
                 next_attempt = ?16, kept = ?18, insisted = ?19,
                 waiting_since = CASE WHEN ?17 IS NULL THEN NULL ELSE coalesce(waiting_since, ?17) END",
            params![
                row.mirror,
                row.path,
                row.stat.dev.cast_signed(),
                row.stat.inode.cast_signed(),
                row.stat.size.cast_signed(),
                row.stat.mtime_ns,
                row.stat.ctime_ns,
                row.verdict.word(),
                row.verdict.detail(),
                row.absent_since,
                row.hash,
                row.note,
                row.seen_at,
                row.since,
                row.attempt,
                row.next_attempt,
                waiting,
                row.kept,
                row.insisted,
            ],
        )?;
        Ok(())
    }

    /// Records which of the mirror's cases the queued file belongs to, for its turns (`core::fair::lane`).
    pub fn set_lane(&self, mirror: MirrorId, path: &RelPath, lane: i64) -> Result<(), JournalError> {
        let sql = "UPDATE file SET lane = ?3 WHERE mirror = ?1 AND path = ?2 AND lane <> ?3";
        self.change(sql, (mirror, path, lane)).map(drop)
    }

    /// Forgets the file; its attachments and events stay. Whether it was known.
    pub fn remove_file(&self, mirror: MirrorId, path: &RelPath) -> Result<bool, JournalError> {
        Ok(self.change("DELETE FROM file WHERE mirror = ?1 AND path = ?2", (mirror, path))? > 0)
    }

    /// The file at `from` is now what `to` says, at another path of the same mirror; every attachment of `from`
    /// goes with it. A row at the new path (seen before the move was understood) is replaced.
    pub fn move_file(&self, from: &RelPath, to: &FileRow) -> Result<(), JournalError> {
        if !self.remove_file(to.mirror, from)? {
            return Err(JournalError::NotFound { what: format!("file {from}") });
        }
        self.put_file(to)?;
        self.change(
            "UPDATE attachment SET path = ?3 WHERE mirror = ?1 AND path = ?2 AND closed_at IS NULL",
            (to.mirror, from, &to.path),
        )?;
        Ok(())
    }

    // Attachments.

    /// Records the intent to attach; the stage is `planned`.
    pub fn add_attachment(&self, new: &NewAttachment, at: UnixMillis) -> Result<Attachment, JournalError> {
        self.change(
            "INSERT INTO attachment (mirror, path, case_arn, name, size, hash, attempt, token, start_open, stage,
                 created_at, extras)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'planned', ?10, ?11)",
            (
                new.mirror,
                &new.path,
                &new.case,
                &new.name,
                new.version.size.cast_signed(),
                new.version.hash,
                new.attempt,
                &new.token,
                new.start_open,
                at,
                serde_json::to_string(&new.extras).unwrap_or_default(),
            ),
        )?;
        Ok(Attachment {
            id: AttachmentId(self.conn.last_insert_rowid()),
            mirror: new.mirror,
            path: new.path.clone(),
            case: new.case.clone(),
            name: new.name.clone(),
            version: new.version,
            attempt: new.attempt,
            token: new.token.clone(),
            file_id: None,
            stage: Stage::Planned,
            reason: None,
            start_open: new.start_open,
            unsure_since: None,
            tries: 0,
            next_attempt: None,
            last_error: None,
            last_request_id: None,
            created_at: at,
            started_at: None,
            stored_at: None,
            completed_at: None,
            ended_at: None,
            deleted_at: None,
            extras: Some(new.extras.clone()),
            moved: false,
            found: None,
        })
    }

    /// The attachment that a task holds on to: rows are never removed, so it is there.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn expect_attachment(&self, id: AttachmentId) -> Result<Attachment, JournalError> {
        self.attachment(id)?.ok_or_else(|| JournalError::NotFound { what: format!("attachment {}", id.0) })
    }

    /// Writes an attachment as it stands, its stage included. What an attempt is of (path, case, name, version,
    /// token) cannot be changed, and the times follow from the stage.
    ///
    /// # Errors
    /// `IllegalStage` when `Stage::may_become` does not allow the step from the stage that is there, `NotFound`;
    /// nothing is changed then.
    pub fn put_attachment(&self, a: &Attachment, at: UnixMillis) -> Result<(), JournalError> {
        let sql = PUT_SQL.iter().find(|(stage, _)| *stage == a.stage).map_or("", |(_, sql)| sql.as_str());
        let changed = self.change(
            sql,
            params![
                a.id,
                at,
                a.file_id,
                a.reason,
                a.start_open,
                a.unsure_since,
                a.tries,
                a.next_attempt,
                a.last_error,
                a.last_request_id,
                a.moved,
                a.found.map(ParkCode::as_str),
            ],
        )?;
        if changed > 0 {
            return Ok(());
        }
        let found = self.expect_attachment(a.id)?.stage;
        Err(JournalError::IllegalStage { id: a.id, found, wanted: a.stage })
    }

    /// Ends what the attachments of the path have to do with it, up to and with `last` (`None`: all): a file that
    /// comes there later is another one.
    pub fn close_attachments(
        &self,
        mirror: MirrorId,
        path: &RelPath,
        last: Option<AttachmentId>,
        at: UnixMillis,
    ) -> Result<(), JournalError> {
        let last = last.map_or(i64::MAX, |id| id.0);
        self.change(
            "UPDATE attachment SET closed_at = ?4 WHERE mirror = ?1 AND path = ?2 AND closed_at IS NULL AND id <= ?3",
            (mirror, path, last, at),
        )
        .map(drop)
    }

    // Hand-overs.

    /// Announces a hand-over; returns its number. `handover.id` is not looked at.
    pub fn add_handover(&self, handover: &Handover) -> Result<HandoverId, JournalError> {
        let h = handover;
        self.change(
            "INSERT INTO handover (mirror, path, what, state, attachment, code, dev, inode, size, mtime_ns, ctime_ns,
                 hash, folder, target, tries, next_attempt, last_error, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
            params![
                h.mirror,
                h.path,
                h.kind,
                h.state,
                h.attachment,
                h.code,
                h.stat.dev.cast_signed(),
                h.stat.inode.cast_signed(),
                h.stat.size.cast_signed(),
                h.stat.mtime_ns,
                h.stat.ctime_ns,
                h.hash,
                h.to.as_ref().map(|(folder, _)| folder.as_slice()),
                h.to.as_ref().map(|(_, target)| target),
                h.tries,
                h.next_attempt,
                h.last_error,
                h.created_at,
            ],
        )?;
        Ok(HandoverId(self.conn.last_insert_rowid()))
    }

    /// Writes where an open hand-over stands, goes, and when it is tried again. What it is of cannot be changed, and
    /// an ended one not at all.
    pub fn put_handover(&self, handover: &Handover) -> Result<(), JournalError> {
        let h = handover;
        self.change_one(
            || format!("open hand-over {}", h.id.0),
            "UPDATE handover SET state = ?2, folder = ?3, target = ?4, tries = ?5, next_attempt = ?6, last_error = ?7,
                 ended_at = ?8
             WHERE id = ?1 AND ended_at IS NULL",
            params![
                h.id,
                h.state,
                h.to.as_ref().map(|(folder, _)| folder.as_slice()),
                h.to.as_ref().map(|(_, target)| target),
                h.tries,
                h.next_attempt,
                h.last_error,
                h.ended_at,
            ],
        )
    }

    /// Takes an announced delete back whose call was never made: the one way back in the life of an attachment, and
    /// only for one that agents could see before. Whether it could be.
    pub fn recall_delete(&self, id: AttachmentId) -> Result<bool, JournalError> {
        if !self.may_recall_delete(id)? {
            return Ok(false);
        }
        self.change(
            "UPDATE attachment SET stage = 'approved', reason = NULL, tries = 0, next_attempt = NULL,
                 deleting_at = NULL
             WHERE id = ?1",
            [id],
        )?;
        Ok(true)
    }

    /// Records that the call of an announced delete goes out. `false`: one went out before.
    pub fn set_delete_sent(&self, id: AttachmentId, at: UnixMillis) -> Result<bool, JournalError> {
        let sql = "UPDATE attachment SET delete_sent_at = ?2 WHERE id = ?1 AND delete_sent_at IS NULL";
        Ok(self.change(sql, (id, at))? > 0)
    }

    /// The call certainly never reached Connect.
    pub fn set_delete_unsent(&self, id: AttachmentId) -> Result<(), JournalError> {
        self.change("UPDATE attachment SET delete_sent_at = NULL WHERE id = ?1", [id]).map(drop)
    }

    // Time and host.

    /// Keeps a reading of the clocks.
    pub fn set_clock(&self, reading: &Reading) -> Result<(), JournalError> {
        self.change(
            "INSERT INTO clock (id, boot, up_ms, wall_ms) VALUES (1, ?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET boot = ?1, up_ms = ?2, wall_ms = ?3",
            (&reading.boot, reading.up_ms, reading.wall_ms),
        )
        .map(drop)
    }

    /// Moves every time that something waits for along with a step of the wall clock of `step_ms`, which was noticed at
    /// `now_ms`, after `before_ms`: graces, next tries, ages of what is under way, and the deletes that the budget's hour
    /// counts. What was written between the step and its notice goes by the new clock already, and stays. The audit
    /// trail keeps the times as they were told.
    pub fn shift_times(&self, step_ms: i64, before_ms: i64, now_ms: i64) -> Result<(), JournalError> {
        const HOUR_MS: i64 = 3_600_000;
        // The clock is read every second; the rest is for a busy host.
        const UNNOTICED_MS: i64 = 10_000;
        let unnoticed = now_ms.saturating_sub(UNNOTICED_MS);
        // A next try lies ahead: after a step forward the old clock's lie behind, or come due a little early.
        let last = if step_ms > 0 { unnoticed } else { i64::MAX };
        for sql in [
            "UPDATE file SET next_attempt = next_attempt + ?1 WHERE verdict = 'queued' AND next_attempt <= ?2",
            "UPDATE attachment SET next_attempt = next_attempt + ?1
                 WHERE NOT (stage = 'approved' OR stage = 'deleted') AND next_attempt <= ?2",
            "UPDATE case_ref SET next_try = next_try + ?1 WHERE next_try <= ?2",
            "UPDATE full_case SET next_probe = next_probe + ?1 WHERE next_probe <= ?2",
            "UPDATE handover SET next_attempt = next_attempt + ?1 WHERE ended_at IS NULL AND next_attempt <= ?2",
            "UPDATE hook_delivery SET next_attempt = next_attempt + ?1 WHERE gave_up_at IS NULL AND next_attempt <= ?2",
        ] {
            self.change(sql, (step_ms, last))?;
        }
        for sql in [
            // It rests before it goes into quarantine.
            "UPDATE file SET since = since + ?1
                 WHERE verdict = 'parked' AND detail = 'empty-file' AND (since <= ?2 OR since > ?3)",
            "UPDATE attachment SET started_at = started_at + ?1
                 WHERE NOT (stage = 'approved' OR stage = 'deleted') AND (stage = 'started' OR stage = 'stored' OR stage = 'completed')
                     AND (started_at <= ?2 OR started_at > ?3)",
            "UPDATE attachment SET completed_at = completed_at + ?1
                 WHERE NOT (stage = 'approved' OR stage = 'deleted') AND stage = 'completed' AND (completed_at <= ?2 OR completed_at > ?3)",
            "UPDATE attachment SET unsure_since = unsure_since + ?1
                 WHERE unsure_since IS NOT NULL AND (unsure_since <= ?2 OR unsure_since > ?3)",
        ] {
            self.change(sql, (step_ms, unnoticed, now_ms))?;
        }
        // Written in the transaction that looked at the clock, so there is nothing in between. Who has been gone for long
        // waits for nothing.
        self.change(
            "UPDATE file SET absent_since = absent_since + ?1
                 WHERE absent_since IS NOT NULL AND (verdict = 'deleting' OR absent_since >= ?2)",
            (step_ms, before_ms.saturating_sub(7 * 24 * HOUR_MS)),
        )?;
        self.change(
            "UPDATE attachment SET deleting_at = deleting_at + ?1
                 WHERE reason = 'absent' AND deleting_at IS NOT NULL AND deleting_at >= ?4
                     AND (deleting_at <= ?2 OR deleting_at > ?3)",
            (step_ms, unnoticed, now_ms, before_ms.saturating_sub(HOUR_MS)),
        )
        .map(drop)
    }

    // References.

    /// Writes what is known of a reference, new or known.
    pub fn put_case_ref(&self, known: &CaseRef) -> Result<(), JournalError> {
        self.change(
            "INSERT INTO case_ref (mirror, reference, spelled, domain, state, case_arn, candidates, total, looked_at,
                 tries, next_try, error)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT DO UPDATE SET spelled = ?3, domain = ?4, state = ?5, case_arn = ?6, candidates = ?7,
                 total = ?8, looked_at = ?9, tries = ?10, next_try = ?11, error = ?12",
            params![
                known.mirror,
                known.reference.key(),
                known.reference,
                known.domain,
                known.state,
                known.case,
                serde_json::to_string(&known.candidates).unwrap_or_else(|_| "[]".to_owned()),
                known.total.cast_signed(),
                known.looked_at,
                known.tries,
                known.next_try,
                known.error,
            ],
        )?;
        Ok(())
    }

    // What is known before a call is spent.

    /// Keeps the instance's settings.
    pub fn put_files_config(&self, limits: &Limits, at: UnixMillis) -> Result<(), JournalError> {
        let extensions = limits.extensions.as_ref().and_then(|list| serde_json::to_string(list).ok());
        self.change(
            "INSERT INTO files_config (id, max_bytes, extensions, assumed, read_at) VALUES (1, ?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET max_bytes = ?1, extensions = ?2, assumed = ?3, read_at = ?4",
            (limits.max_bytes.cast_signed(), extensions, &limits.assumed, at),
        )?;
        Ok(())
    }

    /// Keeps that a case was found full.
    pub fn put_full_case(&self, case: &CaseArn, full: &FullCase) -> Result<(), JournalError> {
        self.change(
            "INSERT INTO full_case (case_arn, since, probes, next_probe) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET since = ?2, probes = ?3, next_probe = ?4",
            (case, full.since, full.probes, full.next_probe),
        )?;
        Ok(())
    }

    /// The case has room again. Whether it was known as full.
    pub fn remove_full_case(&self, case: &CaseArn) -> Result<bool, JournalError> {
        Ok(self.change("DELETE FROM full_case WHERE case_arn = ?1", [case])? > 0)
    }

    /// The case may have room again: it is asked at once.
    pub fn probe_full_case(&self, case: &CaseArn, now: UnixMillis) -> Result<(), JournalError> {
        self.change("UPDATE full_case SET next_probe = ?2, probes = 0 WHERE case_arn = ?1", (case, now))?;
        Ok(())
    }

    // Events.

    /// Appends to the audit trail.
    pub fn add_event(&self, event: &NewEvent, at: UnixMillis) -> Result<i64, JournalError> {
        self.change(
            "INSERT INTO event (at, mirror, path, attachment, kind, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (at, event.mirror, &event.path, event.attachment, event.kind, event.detail.to_string()),
        )?;
        Ok(self.conn.last_insert_rowid())
    }
}

/// For each stage the statement that keeps it, or enters it from its legal predecessors and from nowhere else.
static PUT_SQL: LazyLock<Vec<(Stage, String)>> = LazyLock::new(|| {
    let sql = |to: Stage| {
        let times = match to {
            Stage::Planned => "",
            Stage::Started => "started_at = coalesce(started_at, ?2),",
            Stage::Stored => "stored_at = coalesce(stored_at, ?2),",
            Stage::Completed => "completed_at = coalesce(completed_at, ?2),",
            Stage::Approved => {
                "completed_at = coalesce(completed_at, ?2), ended_at = coalesce(ended_at, ?2), \
                 approved_at = CASE stage WHEN 'approved' THEN approved_at ELSE coalesce(approved_at, ?2) END,"
            }
            Stage::Rejected | Stage::Failed | Stage::Abandoned => "ended_at = coalesce(ended_at, ?2),",
            Stage::Deleting => "deleting_at = coalesce(deleting_at, ?2),",
            Stage::Deleted => "deleted_at = coalesce(deleted_at, ?2),",
        };
        let from: Vec<String> =
            Stage::ALL.iter().filter(|s| **s == to || s.may_become(to)).map(|s| format!("stage = '{s}'")).collect();
        format!(
            "UPDATE attachment SET stage = '{to}', {times} file_id = ?3, reason = ?4, start_open = ?5,
                 unsure_since = ?6, tries = ?7, next_attempt = ?8, last_error = ?9, last_request_id = ?10,
                 moved = ?11, found = ?12
             WHERE id = ?1 AND ({})",
            from.join(" OR ")
        )
    };
    Stage::ALL.iter().map(|s| (*s, sql(*s))).collect()
});
