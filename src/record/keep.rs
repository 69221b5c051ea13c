//! Deletes that a person calls back, and the moment from which that is no longer possible.

use serde_json::json;

use super::disk::give_up_unfinished;
use super::{Result, note, set_verdict};
use crate::core::model::{Attachment, AttachmentId, EventKind, MirrorId, ParkCode, Stage, Verdict};
use crate::core::plan;
use crate::journal::Tx;
use crate::types::{RelPath, UnixMillis};

/// What came of calling a delete back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    Now,
    /// By an earlier call, or by the policy.
    Already,
    /// The delete was sent: it may have been carried out.
    Sent,
    /// Its file is there, or there is nothing of it at Connect to keep.
    NotWaiting,
    /// A comparison found that Connect does not have it any more.
    NotThere,
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
    if matches!(row.verdict, Verdict::Attached | Verdict::Scanning) {
        if !row.kept {
            // So far by the policy, which may change.
            (row.kept, row.note) = (true, Some(BY_HAND.to_owned()));
            tx.put_file(&row)?;
        }
        return Ok(Kept::Already);
    }
    if row.verdict != Verdict::Deleting {
        return Ok(Kept::NotWaiting);
    }
    let attachments = tx.attachments_of(mirror, path)?;
    let is_lost = |a: &&Attachment| a.found == Some(ParkCode::MissingRemotely);
    let live = || attachments.iter().filter(|a| matches!(a.stage, Stage::Approved | Stage::Completed));
    let stays = live().rfind(|a| !is_lost(a));
    if stays.is_none() {
        // The last one alone: what the file was in an earlier life stays given up.
        let leaving = attachments.iter().rfind(|a| is_leaving(a));
        if live().next().is_some() || leaving.as_ref().is_some_and(is_lost) {
            return Ok(Kept::NotThere);
        }
        let Some(leaving) = leaving else { return Ok(Kept::NotWaiting) };
        if !tx.recall_delete(leaving.id)? {
            return Ok(Kept::Sent);
        }
    }
    let scanning = stays.is_some_and(|a| a.stage == Stage::Completed);
    give_up_unfinished(tx, &attachments, "the file is gone", now)?;
    let verdict = if scanning { Verdict::Scanning } else { Verdict::Attached };
    set_verdict(&mut row, verdict, Some(BY_HAND.to_owned()), now);
    row.kept = true;
    tx.put_file(&row)?;
    note(tx, now, (mirror, path), None, EventKind::Kept, json!({ "text": "its delete was called back by hand" }))?;
    Ok(Kept::Now)
}

/// Whether it is announced that it goes because its file is gone.
fn is_leaving(attachment: &Attachment) -> bool {
    attachment.stage == Stage::Deleting && attachment.reason.as_deref() == Some(plan::ABSENT)
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
