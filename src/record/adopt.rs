//! Adoption: what Connect holds of ours comes into the journal, as if it had never left. No call, no delete.

use std::collections::BTreeSet;

use serde_json::json;

use super::disk::{self, fresh};
use super::{Result, abandon, note, set_verdict};
use crate::core::adopt::{Standing, Tagged};
use crate::core::model::{EventKind, HoldCode, MirrorId, ParkCode, RootIdentity, Stage, Verdict};
use crate::core::plan::{Content, Rules, Seen};
use crate::journal::{AdoptedAttachment, NewEvent, Tx};
use crate::types::{ClientToken, RelPath, UnixMillis};

/// Takes attachments of one path over, in the given order, and lets the planner judge the file by them. `seen` is
/// what the disk shows; `None` when nothing can be said of it, and then only the attachments are written down.
///
/// What the journal knows already is left as it is. Returns how many were taken.
pub fn adopt(
    tx: &Tx<'_>,
    (mirror, path): (MirrorId, &RelPath),
    files: &[Tagged],
    seen: Option<&Seen>,
    route: disk::Route<'_>,
    rules: Rules,
    now: UnixMillis,
) -> Result<u64> {
    let mut taken = 0;
    for one in files {
        if tx.attachment_by_file_id(&one.file)?.is_some() {
            continue;
        }
        let (stage, reason) = match one.standing {
            Standing::Approved => (Stage::Approved, None),
            Standing::Rejected => (Stage::Rejected, Some(ParkCode::Rejected)),
            Standing::Failed => (Stage::Failed, Some(ParkCode::Failed)),
            Standing::Open | Standing::Unknown => continue,
        };
        let mut token = ClientToken::from_journal(one.token.clone());
        if tx.attachment_by_token(&token)?.is_some() {
            // Two FileIds of one attempt, as where tokens mean nothing: never sent, it only names the row.
            token = ClientToken::from_journal(format!("{token}:{}", one.file));
        }
        let attachment = tx.adopt_attachment(&AdoptedAttachment {
            mirror,
            path: path.clone(),
            case: one.case.clone(),
            name: one.name.clone(),
            version: one.version,
            token,
            file_id: one.file.clone(),
            stage,
            reason: reason.map(|code| code.as_str().to_owned()),
            created_at: one.created,
        })?;
        if let Some(sent) = &one.sent {
            tx.add_converted(attachment.id, sent)?;
        }
        let detail = json!({
            "text": format!("taken over from Connect as {stage}"), "file_id": one.file, "sha256": one.version.hash.to_string(),
        });
        note(tx, now, (mirror, path), Some(attachment.id), EventKind::Adopted, detail)?;
        taken += 1;
    }
    if taken == 0 {
        return Ok(0);
    }
    // Queued by a look that did not know of the attachments: judged anew, not as a retry, and not sent before that,
    // whatever the disk shows now.
    if let Some(mut row) = tx.file(mirror, path)?
        && matches!(row.verdict, Verdict::Queued | Verdict::Settling)
    {
        set_verdict(&mut row, Verdict::Settling, None, now);
        row.next_attempt = None;
        tx.put_file(&row)?;
    }
    match seen {
        None => {}
        Some(Seen::Absent | Seen::AbsentOutOfScope(_)) => unseen(tx, mirror, path, rules, now)?,
        Some(seen) => {
            let mut row = match tx.file(mirror, path)? {
                Some(row) => row,
                None => fresh(mirror, path, now),
            };
            if let Seen::Present(stat, content) = seen
                && (row.hash.is_none() || matches!(content, Content::Read(_)))
            {
                row.stat = *stat;
            }
            tx.put_file(&row)?;
            disk::look(tx, mirror, path, seen, route, rules, now)?;
        }
    }
    Ok(taken)
}

/// Its file is not here, and this journal never saw it: that is no removal (LESSONS L28). A person decides.
fn unseen(tx: &Tx<'_>, mirror: MirrorId, path: &RelPath, rules: Rules, now: UnixMillis) -> Result<()> {
    let Some(approved) = tx.attachments_of(mirror, path)?.into_iter().rev().find(|a| a.stage == Stage::Approved) else {
        return Ok(());
    };
    if tx.file(mirror, path)?.is_some() {
        // Seen by this journal after all: the next full pass finds its absence.
        return Ok(());
    }
    let mut row = fresh(mirror, path, now);
    if rules.propagate_deletes {
        let text = "adopted; no such file here".to_owned();
        disk::park_event(tx, &row, ParkCode::Unseen, Some(&text), now)?;
        set_verdict(&mut row, Verdict::Parked(ParkCode::Unseen), Some(text), now);
    } else {
        row.stat.size = approved.version.size;
        row.hash = Some(approved.version.hash);
        row.absent_since = Some(now);
        // By whatever policy comes: its absence says nothing here.
        row.kept = true;
        let text = "adopted; not here, kept at Connect (delete = \"keep\")".to_owned();
        set_verdict(&mut row, Verdict::Attached, Some(text), now);
    }
    tx.put_file(&row)
}

/// From now on the journal says of files that they are in this folder: so it knows which one that is. Else the first look
/// of a daemon would take whatever stands at the path by then, an empty mount point say, and the files for removed. Of
/// those that are known of `elsewhere` and are not in this one nobody knows whether they ever were.
pub fn adopted_here(
    tx: &Tx<'_>,
    mirror: MirrorId,
    root: &RootIdentity,
    elsewhere: &BTreeSet<RelPath>,
    rules: Rules,
    now: UnixMillis,
) -> Result<()> {
    for path in elsewhere {
        for mut open in tx.attachments_of(mirror, path)?.into_iter().filter(|a| a.stage.is_under_way()) {
            abandon(tx, &mut open, "the file was in another folder than the mirror's", now)?;
        }
        tx.remove_file(mirror, path)?;
        unseen(tx, mirror, path, rules, now)?;
    }
    tx.set_identity(mirror, Some(root))
}

/// The mirror is wholly adopted: what was gathered is forgotten, and the hold of the loss ends. `all`: every file here is of
/// a case that was asked; else the mirror stays young.
pub fn adopted(tx: &Tx<'_>, mirror: MirrorId, (taken, all): (u64, bool), now: UnixMillis) -> Result<()> {
    tx.clear_found(mirror)?;
    if all {
        tx.set_grown(mirror)?;
    }
    let held = tx.end_hold(mirror, HoldCode::JournalRebuilt)?;
    if held || taken > 0 {
        let text = format!("adopted: {taken} attachments taken over from Connect");
        let detail = json!({ "text": text, "hold": held.then_some(HoldCode::JournalRebuilt), "attachments": taken });
        let event = NewEvent { mirror, path: None, attachment: None, kind: EventKind::Released, detail };
        tx.add_event(&event, now)?;
    }
    Ok(())
}

/// Once all that a whole pass finds in a young mirror has come to its end, what came before this journal is known: each
/// of these files was asked about. The files that come later are new.
pub fn grow(tx: &Tx<'_>, mirror: MirrorId) -> Result<()> {
    const OPEN: [&str; 6] = ["settling", "queued", "uploading", "scanning", "parked", "unrouted"];
    if !tx.is_young(mirror)? {
        return Ok(());
    }
    let open = tx.counts(Some(mirror))?.iter().any(|(word, count)| *count > 0 && OPEN.contains(word));
    if open || !tx.has_delivered(mirror)? { Ok(()) } else { tx.set_grown(mirror) }
}
