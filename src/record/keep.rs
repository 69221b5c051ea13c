//! Deletes that a person calls back, and the moment from which that is no longer possible.

use serde_json::json;

use super::disk::give_up_waiting;
use super::{Result, note, set_verdict};
use crate::core::model::{AttachmentId, EventKind, FileRow, MirrorId, Stage, Verdict};
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
    if row.verdict != Verdict::Deleting {
        let stays = matches!(row.verdict, Verdict::Attached | Verdict::Scanning);
        return Ok(if stays { Kept::Already } else { Kept::NotWaiting });
    }
    let attachments = tx.attachments_of(mirror, path)?;
    let (mut kept, mut sent, mut scanning) = (false, false, false);
    for mut attachment in attachments.clone() {
        match attachment.stage {
            Stage::Approved | Stage::Completed => {
                scanning |= attachment.stage == Stage::Completed;
                attachment.reason = Some(plan::KEPT.to_owned());
                tx.put_attachment(&attachment, now)?;
                kept = true;
            }
            Stage::Deleting if attachment.reason.as_deref() == Some(plan::ABSENT) => {
                let back = tx.recall_delete(attachment.id)?;
                kept |= back;
                sent |= !back;
            }
            _ => {}
        }
    }
    if !kept {
        return Ok(if sent { Kept::Sent } else { Kept::NotWaiting });
    }
    give_up_waiting(tx, &attachments, "the file is gone", now)?;
    let verdict = if scanning { Verdict::Scanning } else { Verdict::Attached };
    set_verdict(&mut row, verdict, Some(BY_HAND.to_owned()), now);
    tx.put_file(&row)?;
    note(tx, now, (mirror, path), None, EventKind::Kept, json!({ "text": "its delete was called back by hand" }))?;
    Ok(Kept::Now)
}

/// A file that is there again is followed as any other: what a person kept while it was gone is no longer kept.
pub(super) fn forget_keep(tx: &Tx<'_>, row: &FileRow, now: UnixMillis) -> Result<()> {
    for mut attachment in tx.attachments_of(row.mirror, &row.path)? {
        if plan::is_kept(&attachment) {
            attachment.reason = None;
            tx.put_attachment(&attachment, now)?;
        }
    }
    Ok(())
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
