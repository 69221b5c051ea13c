//! The planner's steps, applied.

use serde_json::json;

use super::handover;
use super::keep::{BY_HAND, tells_of};
use super::{Result, abandon, announce_delete, note, set_verdict};
use crate::core::fair;
use crate::core::model::{
    Attachment, EventKind, FileRow, HandoverState, MirrorId, ParkCode, Stage, Stat, Verdict, Version,
};
use crate::core::plan::{self, Content, Known, Rules, Seen, Step, Target};
use crate::core::routing::{Unrouted, UnroutedReason};
use crate::journal::{self, Tx};
use crate::types::{ContentHash, RelPath, UnixMillis};

/// Where a path's attachment belongs, or why no case can be told; an error of the journal is one.
pub type Route<'a> = &'a dyn Fn(&RelPath) -> Result<std::result::Result<Target, Unrouted>>;

/// The route of what is known to be gone: nobody asks for it.
pub(super) fn nowhere(_: &RelPath) -> Result<std::result::Result<Target, Unrouted>> {
    Ok(Err(Unrouted::new(UnroutedReason::NoMatch)))
}

/// Decides about one path on fresh rows and applies the step. [`Step::DeleteDue`] is returned unapplied: the
/// caller weighs all of them together and then calls [`delete`].
pub fn look(
    tx: &Tx<'_>,
    mirror: MirrorId,
    path: &RelPath,
    seen: &Seen,
    route: Route<'_>,
    rules: Rules,
    now: UnixMillis,
) -> Result<Step> {
    // What is absent or out of scope needs no case, and a look at it asks for none.
    let target = match seen {
        Seen::Present(..) => route(path)?,
        Seen::Absent | Seen::AbsentOutOfScope(_) | Seen::OutOfScope(_) => Err(Unrouted::new(UnroutedReason::NoMatch)),
    };
    let view = known(tx, mirror, path, seen, rules)?;
    let step = plan::decide(seen, target.as_ref(), &view, rules, now);
    apply(tx, mirror, path, &view, &step, rules, now)?;
    if let (Step::Queue { .. } | Step::Move { same_target: false, .. }, Ok(target)) = (&step, &target) {
        tx.set_lane(mirror, path, fair::lane(&target.case))?;
    }
    Ok(step)
}

/// What the journal knows that bears on one path; the same for `run` and `plan`.
pub fn known(q: &journal::View, mirror: MirrorId, path: &RelPath, seen: &Seen, rules: Rules) -> Result<Known> {
    let row = q.file(mirror, path)?;
    let attachments = if row.is_some() { q.attachments_of(mirror, path)? } else { Vec::new() };
    let moving = rules.moves && q.open_handover(mirror, path)?.is_some_and(|h| h.state == HandoverState::Moving);
    let mut view = Known { row, attachments, moved_from: None, moving };
    if view.approved().is_none() && view.under_way().is_none() {
        let content = match (seen, &view.row) {
            (Seen::Present(stat, Content::Read(hash)), _) => Some((stat, *hash)),
            // It may go on now that its case is known, without being read again.
            (Seen::Present(stat, Content::Unread), Some(row)) if waits_for_its_case(row) => {
                row.read_as(stat).map(|hash| (stat, hash))
            }
            _ => None,
        };
        if let Some((stat, hash)) = content {
            let was_here = matches!(seen, Seen::Present(_, Content::Unread));
            view.moved_from = moved_from(q, mirror, path, (stat, hash), was_here)?;
        }
    }
    Ok(view)
}

/// Whether what was said of its case, and may be said anew by now, keeps it from being sent.
fn waits_for_its_case(row: &FileRow) -> bool {
    row.waits_for_reference() || matches!(row.verdict, Verdict::Parked(code) if code.is_about_the_case())
}

/// The absent file that this one most likely was: same content, then same inode, same name, first by path. One that
/// `was_here` a while is only that very file: a copy of it may have been here all along.
fn moved_from(
    q: &journal::View,
    mirror: MirrorId,
    path: &RelPath,
    (stat, hash): (&Stat, ContentHash),
    was_here: bool,
) -> Result<Option<(RelPath, Target)>> {
    const CANDIDATES: usize = 32;
    let version = Version { size: stat.size, hash };
    let mut best: Option<(bool, bool, RelPath, Target)> = None;
    for row in q.absent_with_hash(mirror, &version, CANDIDATES)? {
        let attachments = q.attachments_of(mirror, &row.path)?;
        let busy = attachments.iter().any(|a| a.stage.is_under_way() && !is_waiting(a));
        let Some(approved) = attachments.iter().rev().find(|a| a.stage == Stage::Approved) else { continue };
        // What was found missing or altered at Connect is no content that could move.
        if !approved.is_visible() {
            continue;
        }
        if busy || row.path == *path || approved.version != version {
            continue;
        }
        // What the policy keeps stays kept, unless this is that very file under another name: the same content
        // alone may be a copy, and a replace would delete what was to be kept.
        if (row.verdict != Verdict::Deleting || was_here) && !row.stat.same_content_as(stat) {
            continue;
        }
        let same_inode = (row.stat.dev, row.stat.inode) == (stat.dev, stat.inode);
        let same_name = row.path.file_name() == path.file_name();
        let target = Target { case: approved.case.clone(), name: approved.name.clone() };
        if best.as_ref().is_none_or(|(inode, name, ..)| (same_inode, same_name) > (*inode, *name)) {
            best = Some((same_inode, same_name, row.path, target));
        }
    }
    Ok(best.map(|(_, _, from, target)| (from, target)))
}

fn apply(
    tx: &Tx<'_>,
    mirror: MirrorId,
    path: &RelPath,
    view: &Known,
    step: &Step,
    rules: Rules,
    now: UnixMillis,
) -> Result<()> {
    let of = (mirror, path);
    let row = || view.row.clone().unwrap_or_else(|| fresh(mirror, path, now));
    match step {
        Step::Nothing | Step::DeleteDue => Ok(()),
        Step::Settle { stat, mark } => {
            if !mark {
                return Ok(());
            }
            let mut row = row();
            arrived(tx, &mut row, view, stat, now)?;
            returned(tx, &mut row, now)?;
            set_verdict(&mut row, Verdict::Settling, None, now);
            tx.put_file(&row)
        }
        Step::Wait { stat, note } => {
            let mut row = row();
            arrived(tx, &mut row, view, stat, now)?;
            returned(tx, &mut row, now)?;
            give_up_waiting(tx, &view.attachments, "the file is not finished", now)?;
            set_verdict(&mut row, Verdict::Settling, Some(note.clone()), now);
            tx.put_file(&row)
        }
        Step::Arrive { stat } => {
            let text = "another file now stands at the path; what is attached stays";
            end_life(tx, of, view, EventKind::Left, text, now)?;
            let mut row = FileRow { stat: *stat, ..fresh(mirror, path, now) };
            let none = Known::default();
            arrived(tx, &mut row, &none, stat, now)?;
            tx.put_file(&row)
        }
        Step::Missing => {
            let mut row = row();
            missing(tx, &mut row, now)?;
            tx.put_file(&row)
        }
        Step::Depart => {
            let text = "removed or moved away here before its hand-over; nothing at Connect is touched";
            end_life(tx, of, view, EventKind::Left, text, now)
        }
        Step::Refresh { stat, hash, verdict } => {
            let mut row = row();
            let was_here = row.absent_since.is_none();
            returned(tx, &mut row, now)?;
            if *verdict == Verdict::Attached {
                give_up_unfinished(tx, &view.attachments, "the file is what is attached", now)?;
                // It belongs there by now, whatever moved it away.
                if let Some(mut approved) = view.approved().filter(|a| a.moved).cloned() {
                    approved.moved = false;
                    tx.put_attachment(&approved, now)?;
                }
                row.attempt = 0;
            }
            if matches!(verdict, Verdict::Attached | Verdict::Scanning) {
                row.next_attempt = None;
            }
            let looked_at = row.hash == *hash && !row.stat.same_content_as(stat);
            let again = was_here && !matches!(row.verdict, Verdict::Attached | Verdict::Scanning);
            if *verdict == Verdict::Attached && (looked_at || again) {
                note(tx, now, of, None, EventKind::Unchanged, json!({ "text": "same content, nothing to do" }))?;
            }
            row.stat = *stat;
            row.hash = *hash;
            let kept = if row.verdict == *verdict { row.note.take() } else { None };
            set_verdict(&mut row, verdict.clone(), kept, now);
            tx.put_file(&row)
        }
        Step::Queue { stat, hash, why } => {
            let mut row = row();
            returned(tx, &mut row, now)?;
            give_up_other_content(tx, view, stat.size, Some(*hash), now)?;
            if row.hash != Some(*hash) {
                row.attempt = 0;
            }
            row.stat = *stat;
            row.hash = Some(*hash);
            row.next_attempt = Some(now);
            set_verdict(&mut row, Verdict::Queued, None, now);
            let detail = json!({ "text": why.as_str(), "size": stat.size, "sha256": hash.to_string() });
            note(tx, now, of, None, EventKind::Queued, detail)?;
            tx.put_file(&row)
        }
        Step::Move { stat, hash, from, same_target } => {
            let mut row = row();
            row.stat = *stat;
            row.hash = Some(*hash);
            row.comes_back();
            row.next_attempt = (!same_target).then_some(now);
            let verdict = if *same_target { Verdict::Attached } else { Verdict::Queued };
            set_verdict(&mut row, verdict, None, now);
            // As it was to be sent from there; back and forth between two looks is no upload.
            give_up_waiting(tx, &tx.attachments_of(mirror, from)?, "the file has moved on", now)?;
            tx.move_file(from, &row)?;
            if rules.ingest {
                handover::forgotten(tx, mirror, from, now)?;
            }
            for mut attachment in tx.attachments_of(mirror, path)? {
                if attachment.stage == Stage::Approved {
                    attachment.moved = !same_target;
                    tx.put_attachment(&attachment, now)?;
                } else if *same_target && !rules.ingest && attachment.stage.is_refused() {
                    announce_delete(tx, &mut attachment, "refused, and its file has moved on", now)?;
                }
            }
            note(tx, now, (mirror, from), None, EventKind::MovedAway, json!({ "text": "moved", "to": path }))?;
            let text = if *same_target && rules.ingest {
                format!("moved from {from}; delivered to this case already, nothing to call")
            } else if *same_target {
                format!("moved from {from}; same case and name, nothing to call")
            } else {
                format!("moved from {from}; the attachment is replaced")
            };
            note(tx, now, of, None, EventKind::Moved, json!({ "text": text, "from": from }))
        }
        Step::Park { stat, hash, code, note: why } => {
            let mut row = row();
            returned(tx, &mut row, now)?;
            give_up_other_content(tx, view, stat.size, *hash, now)?;
            give_up_waiting(tx, &view.attachments, "the file is parked", now)?;
            // What could not be read keeps what was known of it, so that a later look can tell it from then. Else
            // stat and hash are of one look: an old hash beside a new size would be a version that never was.
            if *code != ParkCode::Unreadable || row.hash.is_none() {
                row.stat = *stat;
                row.hash = *hash;
            }
            set_verdict(&mut row, Verdict::Parked(*code), why.clone(), now);
            park_event(tx, &row, *code, why.as_deref(), now)?;
            tx.put_file(&row)
        }
        Step::Ignore { rule } => {
            give_up_waiting(tx, &view.attachments, "the file left scope", now)?;
            let mut row = row();
            row.comes_back();
            set_verdict(&mut row, Verdict::Ignored(rule.clone()), None, now);
            note(tx, now, of, None, EventKind::Ignored, json!({ "text": rule }))?;
            tx.put_file(&row)
        }
        Step::Unroute { stat, hash, why } => {
            give_up_waiting(tx, &view.attachments, "the file left scope", now)?;
            let mut row = row();
            arrived(tx, &mut row, view, stat, now)?;
            row.comes_back();
            if hash.is_some() && row.hash != *hash {
                row.attempt = 0;
            }
            if hash.is_some() || row.hash.is_none() {
                row.stat = *stat;
                row.hash = *hash;
            }
            row.next_attempt = None;
            let told = row.verdict == Verdict::Unrouted(why.reason.as_str().to_owned()) && row.note == why.note;
            set_verdict(&mut row, Verdict::Unrouted(why.reason.as_str().to_owned()), why.note.clone(), now);
            // That a reference is being looked up is no news: what comes of it is.
            if !told && why.reason != UnroutedReason::ReferencePending {
                let text = why.note.as_deref().unwrap_or(why.reason.as_str());
                let detail = json!({ "text": text, "code": why.reason.as_str(), "remedy": why.reason.remedy() });
                note(tx, now, of, None, EventKind::Unrouted, detail)?;
            }
            tx.put_file(&row)
        }
        Step::BeginGrace { delete_after } => {
            let mut row = row();
            row.absent_since = Some(now);
            set_verdict(
                &mut row,
                Verdict::Deleting,
                Some(format!("gone here; deleted at Connect after {delete_after}")),
                now,
            );
            let detail =
                json!({ "text": "gone here, its folder listed completely", "delete_after": delete_after.to_string() });
            note(tx, now, of, None, EventKind::Absent, detail)?;
            tx.put_file(&row)
        }
        Step::Keep => {
            give_up_waiting(tx, &view.attachments, "the file is gone", now)?;
            let mut row = row();
            row.absent_since.get_or_insert(now);
            let verdict = plan::kept_verdict(&view.attachments);
            let scanning = view.under_way().filter(|_| verdict == Verdict::Scanning);
            if let Some(kept) = scanning.or_else(|| view.approved()) {
                tells_of(&mut row, kept);
            }
            let why = if row.kept { BY_HAND } else { "gone here; kept at Connect (delete = \"keep\")" };
            set_verdict(&mut row, verdict, Some(why.into()), now);
            note(tx, now, of, None, EventKind::Kept, json!({ "text": "gone here, kept at Connect" }))?;
            tx.put_file(&row)
        }
        Step::Forget => {
            give_up(tx, &view.attachments, "the file is gone", now, |a| a.stage.is_under_way())?;
            clean_up(tx, &view.attachments, plan::REFUSED_AND_GONE, now)?;
            // Not what an earlier file of the path left behind.
            let since = view.row.as_ref().map_or(now, |row| row.seen_at);
            let deleted =
                |a: &Attachment| a.reason.as_deref() == Some(plan::ABSENT) && a.deleted_at.is_none_or(|at| at >= since);
            let text = if view.attachments.iter().any(deleted) {
                "gone; what was attached of it is deleted at Connect"
            } else {
                "gone before anything of it was visible at Connect"
            };
            note(tx, now, of, None, EventKind::Forgotten, json!({ "text": text }))?;
            if rules.ingest {
                tx.close_attachments(mirror, path, None, now)?;
                handover::forgotten(tx, mirror, path, now)?;
            }
            tx.remove_file(mirror, path).map(drop)
        }
    }
}

/// A file that was not followed so far is one more that has arrived: what `casedrop report` counts.
fn arrived(tx: &Tx<'_>, row: &mut FileRow, view: &Known, stat: &Stat, now: UnixMillis) -> Result<()> {
    let followed = view.row.as_ref().is_some_and(|known| {
        known.hash.is_some() || !view.attachments.is_empty() || !matches!(known.verdict, Verdict::Ignored(_))
    });
    if followed {
        return Ok(());
    }
    row.stat = *stat;
    note(tx, now, (row.mirror, &row.path), None, EventKind::Seen, json!({ "size": stat.size }))
}

/// A delivered file is gone before its hand-over (`mode = "ingest"`).
pub(super) fn missing(tx: &Tx<'_>, row: &mut FileRow, now: UnixMillis) -> Result<()> {
    row.absent_since = Some(now);
    if row.verdict == Verdict::Queued {
        // There is nothing to send.
        set_verdict(row, Verdict::Settling, None, now);
    }
    row.note = Some("gone here before its hand-over, not by casedrop; what is attached stays".to_owned());
    let detail = json!({ "text": "gone here, not by casedrop; nothing at Connect follows from it" });
    note(tx, now, (row.mirror, &row.path), None, EventKind::Absent, detail)
}

/// The file's life at its path ends: nothing at Connect follows from it, and what comes there later is another file.
/// Attempts that were not complete are given up; one that is being scanned ends by itself.
fn end_life(
    tx: &Tx<'_>,
    of: (MirrorId, &RelPath),
    view: &Known,
    kind: EventKind,
    text: &str,
    now: UnixMillis,
) -> Result<()> {
    give_up_unfinished(tx, &view.attachments, text, now)?;
    clean_up(tx, &view.attachments, plan::REFUSED_AND_GONE, now)?;
    note(tx, now, of, view.approved().map(|a| a.id), kind, json!({ "text": text }))?;
    tx.close_attachments(of.0, of.1, None, now)?;
    handover::forgotten(tx, of.0, of.1, now)?;
    tx.remove_file(of.0, of.1).map(drop)
}

/// Of a file that is gone: a refused record has no content and nobody sees it, but it may count to the files of its case.
pub(super) fn clean_up(tx: &Tx<'_>, attachments: &[Attachment], reason: &str, now: UnixMillis) -> Result<()> {
    let mut refused = attachments.iter().filter(|a| a.stage.is_refused());
    refused.try_for_each(|a| announce_delete(tx, &mut a.clone(), reason, now))
}

/// Sets the due deletes of one file on their way, with the evidence in the audit trail. The caller holds the
/// second observation and the budget's consent.
pub fn delete(tx: &Tx<'_>, mirror: MirrorId, path: &RelPath, evidence: &str, now: UnixMillis) -> Result<()> {
    let Some(mut row) = tx.file(mirror, path)? else { return Ok(()) };
    // It may be back by now, or kept by hand.
    let (Some(absent_since), Verdict::Deleting) = (row.absent_since, &row.verdict) else { return Ok(()) };
    let attachments = tx.attachments_of(mirror, path)?;
    // Its row goes with what is deleted.
    give_up_waiting(tx, &attachments, "the file is gone", now)?;
    for mut attachment in attachments {
        if !attachment.stage.stands() {
            continue;
        }
        let reason = if attachment.stage == Stage::Approved { plan::ABSENT } else { plan::REFUSED_AND_GONE };
        announce_delete(tx, &mut attachment, reason, now)?;
        let detail = json!({
            "text": "absent when the grace began and again when it ended",
            "absent_since": absent_since.to_string(), "confirmed": now.to_string(), "evidence": evidence,
            "file_id": attachment.file_id,
        });
        note(tx, now, (mirror, path), Some(attachment.id), EventKind::DeletePlanned, detail)?;
    }
    set_verdict(&mut row, Verdict::Deleting, Some("being deleted at Connect".into()), now);
    tx.put_file(&row)
}

/// A file that does not come to rest: a line for whoever asks. It goes on to settle.
pub fn restless(tx: &Tx<'_>, mirror: MirrorId, path: &RelPath) -> Result<()> {
    let Some(mut row) = tx.file(mirror, path)? else { return Ok(()) };
    if row.verdict == Verdict::Settling && row.note.is_none() {
        let text = "it has not come to rest for 10 minutes: something keeps writing it; it is not sent half-written";
        row.note = Some(text.to_owned());
        tx.put_file(&row)?;
    }
    Ok(())
}

/// A present file ends its absence.
fn returned(tx: &Tx<'_>, row: &mut FileRow, now: UnixMillis) -> Result<()> {
    if row.comes_back() {
        note(tx, now, (row.mirror, &row.path), None, EventKind::Returned, json!({ "text": "back again" }))?;
    }
    Ok(())
}

/// Ends those attempts of the file that `which` names.
fn give_up(
    tx: &Tx<'_>,
    attachments: &[Attachment],
    why: &str,
    now: UnixMillis,
    which: impl Fn(&Attachment) -> bool,
) -> Result<()> {
    for attachment in attachments.iter().filter(|a| which(a)) {
        abandon(tx, &mut attachment.clone(), why, now)?;
    }
    Ok(())
}

/// Whether it goes on and is not scanned yet: what is being scanned is let through.
fn is_unfinished(attachment: &Attachment) -> bool {
    attachment.stage.is_under_way() && attachment.stage != Stage::Completed
}

/// Ends attempts that wait for their next try, of a file that is parked, unfinished, left scope, or is gone and kept:
/// nobody would take them up again, or not for long. What is in flight is let through (invariant 5).
fn give_up_waiting(tx: &Tx<'_>, attachments: &[Attachment], why: &str, now: UnixMillis) -> Result<()> {
    give_up(tx, attachments, why, now, is_waiting)
}

/// Whether it waits for its next try, and no call is in flight.
fn is_waiting(attachment: &Attachment) -> bool {
    attachment.stage == Stage::Planned && !attachment.start_open
}

/// Ends attempts of a file of which nothing more is to be sent.
pub(super) fn give_up_unfinished(tx: &Tx<'_>, attachments: &[Attachment], why: &str, now: UnixMillis) -> Result<()> {
    give_up(tx, attachments, why, now, is_unfinished)
}

/// Ends attempts at content that the file no longer has.
fn give_up_other_content(
    tx: &Tx<'_>,
    view: &Known,
    size: u64,
    hash: Option<ContentHash>,
    now: UnixMillis,
) -> Result<()> {
    let other = |version: Version| version.size != size || hash.is_some_and(|hash| hash != version.hash);
    give_up(tx, &view.attachments, "the file changed", now, |a| is_unfinished(a) && other(a.version))
}

pub(super) fn park_event(tx: &Tx<'_>, row: &FileRow, code: ParkCode, why: Option<&str>, now: UnixMillis) -> Result<()> {
    let detail = json!({ "text": why.unwrap_or_default(), "code": code, "remedy": code.remedy() });
    note(tx, now, (row.mirror, &row.path), None, EventKind::Parked, detail)
}

/// The row of a path seen for the first time.
pub(super) fn fresh(mirror: MirrorId, path: &RelPath, now: UnixMillis) -> FileRow {
    FileRow {
        mirror,
        path: path.clone(),
        stat: Stat { dev: 0, inode: 0, size: 0, mtime_ns: 0, ctime_ns: 0 },
        hash: None,
        verdict: Verdict::Settling,
        note: None,
        seen_at: now,
        since: now,
        absent_since: None,
        attempt: 0,
        next_attempt: None,
        kept: false,
        insisted: None,
    }
}
