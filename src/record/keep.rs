//! Deletes that a person calls back, and the moment from which that is no longer possible.

use serde_json::json;

use super::disk::{give_up_unfinished, look, nowhere};
use super::{Result, note, set_verdict};
use crate::core::model::{Attachment, AttachmentId, EventKind, FileRow, MirrorId, ParkCode, Stage, Verdict};
use crate::core::plan::{self, Rules, Seen};
use crate::journal::{Tx, View};
use crate::types::{RelPath, UnixMillis};

/// What came of calling a delete back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    Now,
    /// The same, and a comparison found that Connect does not have it any more.
    NotThere,
    /// By an earlier call, or by the policy.
    Already,
    /// The delete was sent: it may have been carried out.
    Sent,
    /// Its file is there, or there is nothing of it at Connect to keep.
    NotWaiting,
}

/// The note of a file whose attachment stays by hand.
pub(super) const BY_HAND: &str = "gone here; kept at Connect by hand (`casedrop keep`), until the file comes back";

/// Leaves the attachment at Connect although its file is gone. An announced delete whose call was never made is taken
/// back, too.
pub fn keep(tx: &Tx<'_>, mirror: MirrorId, path: &RelPath, now: UnixMillis) -> Result<Kept> {
    let Some(mut row) = tx.file(mirror, path)? else { return Ok(Kept::NotWaiting) };
    if row.absent_since.is_none() {
        return Ok(Kept::NotWaiting);
    }
    let attachments = tx.attachments_of(mirror, path)?;
    let stays = match row.verdict {
        Verdict::Attached | Verdict::Scanning => true,
        Verdict::Parked(code) => code != ParkCode::Unseen && attachments.iter().any(is_live),
        _ => false,
    };
    if stays {
        if !row.kept {
            // So far by the policy, which may change.
            by_hand(tx, row, "the policy keeps it, and a person too", now)?;
        }
        return Ok(Kept::Already);
    }
    if row.verdict != Verdict::Deleting {
        return Ok(Kept::NotWaiting);
    }
    let live = || attachments.iter().filter(|a| is_live(a));
    let newest = live().rfind(|a| a.found_wrong() != Some(ParkCode::MissingRemotely)).or_else(|| live().next_back());
    let recalled = recall(tx, &attachments)?;
    let Some(stays) = newest.or(recalled) else {
        return Ok(if attachments.iter().any(went_with_it) { Kept::Sent } else { Kept::NotWaiting });
    };
    give_up_unfinished(tx, &attachments, "the file is gone", now)?;
    tells_of(&mut row, stays);
    let verdict = plan::kept_verdict(&tx.attachments_of(mirror, path)?);
    // It stays in any case: a finding may be old.
    let is_there = verdict != Verdict::Parked(ParkCode::MissingRemotely);
    set_verdict(&mut row, verdict, None, now);
    by_hand(tx, row, "its delete was called back by hand", now)?;
    Ok(if is_there { Kept::Now } else { Kept::NotThere })
}

/// Calls the delete that may be called back.
fn recall<'a>(tx: &Tx<'_>, attachments: &'a [Attachment]) -> Result<Option<&'a Attachment>> {
    match seen_last(attachments) {
        Some(last) if tx.recall_delete(last.id)? => Ok(Some(last)),
        _ => Ok(None),
    }
}

/// The attachment of a path whose announced delete may be called back, for its call was never made.
pub fn recallable<'a>(view: &View, attachments: &'a [Attachment]) -> Result<Option<&'a Attachment>> {
    match seen_last(attachments) {
        Some(last) if view.may_recall_delete(last.id)? => Ok(Some(last)),
        _ => Ok(None),
    }
}

/// What agents saw last and what goes with its file, where nothing that they see has taken its place (what is being scanned
/// may be refused yet). What they saw before that stays given up.
fn seen_last(attachments: &[Attachment]) -> Option<&Attachment> {
    let replaced = attachments.iter().any(|a| a.stage == Stage::Approved);
    attachments.iter().rfind(|a| went_with_it(a)).filter(|_| !replaced)
}

/// The mirror's policy is by now to keep what is gone: what an earlier one was about to delete stays, if the call was never
/// made. Returns how many files.
pub fn keep_all(tx: &Tx<'_>, mirror: MirrorId, ingest: bool, now: UnixMillis) -> Result<u64> {
    let mut kept = 0;
    let deleting = |(word, files): &(&str, u64)| *word == Verdict::Deleting.word() && *files > 0;
    if !tx.counts(Some(mirror))?.iter().any(deleting) {
        // To find them, all rows of the mirror are read.
        return Ok(kept);
    }
    for mut row in tx.files_with(mirror, Verdict::Deleting.word(), None, usize::MAX)? {
        if let Some(recalled) = recall(tx, &tx.attachments_of(mirror, &row.path)?)? {
            let detail = json!({ "text": "its delete was called back: the policy is to keep by now" });
            note(tx, now, (mirror, &row.path), Some(recalled.id), EventKind::Kept, detail)?;
        }
        let attachments = tx.attachments_of(mirror, &row.path)?;
        if !attachments.iter().any(is_live) {
            continue;
        }
        kept += 1;
        if ingest {
            // The next pass ends it: what is delivered stays, whatever becomes of its file.
            if let Some(stays) = attachments.iter().rfind(|a| is_live(a)) {
                tells_of(&mut row, stays);
            }
            set_verdict(&mut row, plan::kept_verdict(&attachments), None, now);
            tx.put_file(&row)?;
        } else {
            look(tx, mirror, &row.path, &Seen::Absent, &nowhere, Rules::KEEP, now)?;
        }
    }
    Ok(kept)
}

/// Whether agents see it, or will when its scan ends.
fn is_live(attachment: &Attachment) -> bool {
    matches!(attachment.stage, Stage::Approved | Stage::Completed)
}

fn by_hand(tx: &Tx<'_>, row: FileRow, text: &str, now: UnixMillis) -> Result<()> {
    let row = FileRow { kept: true, note: Some(BY_HAND.to_owned()), ..row };
    tx.put_file(&row)?;
    note(tx, now, (row.mirror, &row.path), None, EventKind::Kept, json!({ "text": text }))
}

/// What stood there last may never have been read (too large, unreadable): then the row tells what is kept.
pub(super) fn tells_of(row: &mut FileRow, kept: &Attachment) {
    if row.hash.is_none() {
        row.stat.size = kept.version.size;
        row.hash = Some(kept.version.hash);
    }
}

/// Whether it was announced that it goes because its file is gone, or has gone so.
fn went_with_it(attachment: &Attachment) -> bool {
    matches!(attachment.stage, Stage::Deleting | Stage::Deleted) && attachment.reason.as_deref() == Some(plan::ABSENT)
}

/// Whether a delete call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    First,
    Again,
    /// It was called back meanwhile.
    No,
}

/// The delete call is about to be made. Durable before the call, so that a delete whose call was made is never called
/// back, whatever is killed.
pub fn sending_delete(tx: &Tx<'_>, id: AttachmentId, now: UnixMillis) -> Result<Sending> {
    if tx.expect_attachment(id)?.stage != Stage::Deleting {
        return Ok(Sending::No);
    }
    Ok(if tx.set_delete_sent(id, now)? { Sending::First } else { Sending::Again })
}
