//! Files that are converted: what could not be converted, and what could not be tried.

use serde_json::json;

use super::disk::park_event;
use super::{Result, abandon, note, set_verdict};
use crate::core::model::{Attachment, EventKind, MirrorId, ParkCode, Stage, Verdict, Version};
use crate::journal::Tx;
use crate::types::{RelPath, UnixMillis};

/// The converter cannot do it with this content: the file is parked, unless it holds other content by now.
pub fn convert_failed(
    tx: &Tx<'_>,
    mirror: MirrorId,
    path: &RelPath,
    version: &Version,
    why: &str,
    now: UnixMillis,
) -> Result<()> {
    let Some(mut row) = tx.file(mirror, path)? else { return Ok(()) };
    if row.verdict != Verdict::Queued || row.absent_since.is_some() || row.version() != Some(*version) {
        return Ok(());
    }
    for mut attachment in tx.attachments_of(mirror, path)? {
        if attachment.stage == Stage::Planned {
            abandon(tx, &mut attachment, ParkCode::ConvertFailed.as_str(), now)?;
        }
    }
    set_verdict(&mut row, Verdict::Parked(ParkCode::ConvertFailed), Some(why.to_owned()), now);
    park_event(tx, &row, ParkCode::ConvertFailed, Some(why), now)?;
    tx.put_file(&row)
}

/// The conversion could not be tried for a reason that is not the file's: it stays queued until then.
pub fn put_off(tx: &Tx<'_>, mirror: MirrorId, path: &RelPath, why: &str, until: UnixMillis) -> Result<()> {
    let Some(mut row) = tx.file(mirror, path)? else { return Ok(()) };
    if row.verdict == Verdict::Queued {
        row.next_attempt = Some(until);
        row.note = Some(format!("{why}; next try after {until}"));
        tx.put_file(&row)?;
    }
    Ok(())
}

/// The pair of an attempt, with a line in the audit trail.
pub(super) fn remember_pair(tx: &Tx<'_>, attachment: &Attachment, sent: &Version, now: UnixMillis) -> Result<()> {
    tx.add_converted(attachment.id, sent)?;
    let from = attachment.version;
    let detail = json!({
        "text": format!("{} bytes became {} bytes, attached as {}", from.size, sent.size, attachment.name),
        "size": sent.size, "sha256": sent.hash.to_string(), "from_sha256": from.hash.to_string(),
    });
    note(tx, now, (attachment.mirror, &attachment.path), Some(attachment.id), EventKind::Converted, detail)
}
