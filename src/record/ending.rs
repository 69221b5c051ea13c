//! How attachments end: visible, refused, given up, deleted; and the sweep for what an unanswered start left.

use std::time::Duration;

use serde_json::json;

use super::disk::park_event;
use super::{MOST_FAILED_ATTEMPTS, Result, abandon, announce_delete, event, note, remember, set_verdict, try_event};
use crate::aws::{Failure, Next};
use crate::core::model::{Attachment, AttachmentId, EventKind, ParkCode, Stage, Verdict};
use crate::core::{plan, retry};
use crate::journal::{NewAttachment, Tx};
use crate::types::{ClientToken, FileId, UnixMillis};

/// How long Connect may take to list what it started (SERVICE.md 2.6: nothing promised; a grace of 60 s).
pub const LISTING_GRACE: Duration = Duration::from_secs(60);

/// Gaps before another attempt when Connect gave up on a file (SERVICE.md 2.5: a few attempts with long gaps).
const FAILED_GAPS: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(300)];

/// How long a refused delete rests when only a person can change the answer.
const REFUSED_DELETE_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// Agents can see it: the file is attached, and what it replaces goes.
pub fn approved(tx: &Tx<'_>, id: AttachmentId, now: UnixMillis) -> Result<()> {
    let mut attachment = tx.expect_attachment(id)?;
    if !matches!(attachment.stage, Stage::Stored | Stage::Completed) {
        return Ok(());
    }
    attachment.stage = Stage::Approved;
    attachment.next_attempt = None;
    attachment.last_error = None;
    tx.put_attachment(&attachment, now)?;
    event(tx, &attachment, EventKind::Attached, now)?;
    // Of a file that is gone by now, whose path may be another file's: nothing follows from it.
    if tx.is_closed(id)? {
        return Ok(());
    }
    for mut older in tx.attachments_of(attachment.mirror, &attachment.path)? {
        if older.id != id && older.stage.stands() {
            announce_delete(tx, &mut older, plan::REPLACED, now)?;
            let detail = json!({ "text": "a newer version is visible", "file_id": older.file_id });
            note(tx, now, (older.mirror, &older.path), Some(older.id), EventKind::DeletePlanned, detail)?;
        }
    }
    let Some(mut row) = tx.file_of(&attachment)? else { return Ok(()) };
    row.attempt = 0;
    row.next_attempt = None;
    if row.absent_since.is_none() {
        match row.verdict {
            // Being read again, or out of scope by now: the next look at it decides.
            Verdict::Settling | Verdict::Ignored(_) | Verdict::Unrouted(_) => {}
            _ if row.version() == Some(attachment.version) => set_verdict(&mut row, Verdict::Attached, None, now),
            // What stands there now cannot be sent: a person's turn stays a person's turn.
            Verdict::Parked(_) => {}
            _ => {
                set_verdict(&mut row, Verdict::Queued, Some("changed again meanwhile".into()), now);
                row.next_attempt = Some(now);
            }
        }
    }
    tx.put_file(&row)
}

/// The scanner said no, or could not be asked (SERVICE.md 0.8). Terminal: parked, never looped.
pub fn rejected(tx: &Tx<'_>, id: AttachmentId, now: UnixMillis) -> Result<()> {
    let mut attachment = tx.expect_attachment(id)?;
    if !matches!(attachment.stage, Stage::Stored | Stage::Completed) {
        return Ok(());
    }
    attachment.stage = Stage::Rejected;
    attachment.reason = Some(ParkCode::Rejected.as_str().to_owned());
    tx.put_attachment(&attachment, now)?;
    event(tx, &attachment, EventKind::Rejected, now)?;
    if tx.is_closed(id)? {
        return announce_delete(tx, &mut attachment, plan::REFUSED_AND_GONE, now);
    }
    park_or_requeue(tx, &attachment, ParkCode::Rejected, "the scan ended REJECTED", now)
}

/// Connect gave up on it: cleaned up and tried anew a few times with long gaps, then parked.
pub fn failed(tx: &Tx<'_>, id: AttachmentId, now: UnixMillis) -> Result<()> {
    let mut attachment = tx.expect_attachment(id)?;
    if !matches!(attachment.stage, Stage::Stored | Stage::Completed) {
        return Ok(());
    }
    attachment.stage = Stage::Failed;
    attachment.reason = Some(ParkCode::Failed.as_str().to_owned());
    tx.put_attachment(&attachment, now)?;
    event(tx, &attachment, EventKind::Failed, now)?;
    again_or_park(tx, &mut attachment, ParkCode::Failed, "Connect ended it FAILED", now)
}

/// It is gone at Connect, confirmed, before it was ever visible.
pub fn vanished(tx: &Tx<'_>, id: AttachmentId, now: UnixMillis) -> Result<()> {
    let mut attachment = tx.expect_attachment(id)?;
    if !matches!(attachment.stage, Stage::Stored | Stage::Completed) {
        return Ok(());
    }
    abandon(tx, &mut attachment, "it disappeared at Connect before it was visible", now)?;
    again_or_park(tx, &mut attachment, ParkCode::Vanished, "it disappeared at Connect before it was visible", now)
}

/// A few more attempts with long gaps, then a park; the attachment's remains are deleted either way.
fn again_or_park(tx: &Tx<'_>, attachment: &mut Attachment, code: ParkCode, text: &str, now: UnixMillis) -> Result<()> {
    let gap = usize::try_from(attachment.attempt.saturating_sub(1)).ok().and_then(|n| FAILED_GAPS.get(n));
    let last = attachment.attempt >= MOST_FAILED_ATTEMPTS;
    announce_delete(tx, attachment, if last { code.as_str() } else { text }, now)?;
    let (Some(gap), false) = (gap, last) else {
        return park_or_requeue(tx, attachment, code, text, now);
    };
    let Some(mut row) = tx.file_of(attachment)? else { return Ok(()) };
    if matches!(row.verdict, Verdict::Scanning | Verdict::Uploading) {
        let same = row.version() == Some(attachment.version);
        let at = if same { now.plus(*gap) } else { now };
        set_verdict(&mut row, Verdict::Queued, Some(format!("{text}; next try after {at}")), now);
        row.next_attempt = Some(at);
        tx.put_file(&row)?;
    }
    Ok(())
}

/// Parks the file, unless it holds other content by now.
fn park_or_requeue(tx: &Tx<'_>, attachment: &Attachment, code: ParkCode, text: &str, now: UnixMillis) -> Result<()> {
    let Some(mut row) = tx.file_of(attachment)? else { return Ok(()) };
    if row.absent_since.is_some() || !matches!(row.verdict, Verdict::Scanning | Verdict::Uploading) {
        return Ok(());
    }
    if row.version() == Some(attachment.version) {
        set_verdict(&mut row, Verdict::Parked(code), Some(text.to_owned()), now);
        park_event(tx, &row, code, Some(text), now)?;
    } else {
        set_verdict(&mut row, Verdict::Queued, Some("changed again meanwhile".into()), now);
        row.next_attempt = Some(now);
        row.attempt = 0;
    }
    tx.put_file(&row)
}

/// The delete is confirmed, or Connect no longer knows the file.
pub fn deleted(
    tx: &Tx<'_>,
    id: AttachmentId,
    already_gone: bool,
    request_id: Option<String>,
    now: UnixMillis,
) -> Result<()> {
    let mut attachment = tx.expect_attachment(id)?;
    if attachment.stage != Stage::Deleting {
        return Ok(());
    }
    attachment.stage = Stage::Deleted;
    attachment.last_request_id = request_id;
    attachment.next_attempt = None;
    tx.put_attachment(&attachment, now)?;
    // If its case was full, it has room now.
    tx.probe_full_case(&attachment.case, now)?;
    let (mirror, path) = (attachment.mirror, attachment.path.clone());
    let detail = json!({
        "text": attachment.reason, "file_id": attachment.file_id, "already_gone": already_gone,
        "request_id": attachment.last_request_id,
    });
    note(tx, now, (mirror, &path), Some(id), EventKind::Deleted, detail)?;
    let Some(row) = tx.file_of(&attachment)? else { return Ok(()) };
    let rest = tx.attachments_of(mirror, &path)?;
    let visible_or_coming = |s: Stage| s == Stage::Approved || s == Stage::Deleting || s.is_under_way();
    if row.absent_since.is_some() && !rest.iter().any(|a| visible_or_coming(a.stage)) {
        tx.remove_file(mirror, &path)?;
    }
    Ok(())
}

/// A delete was refused or lost. It stays announced and is tried again: soon while that can help, daily when only
/// a person can change the answer.
pub fn delete_failed(tx: &Tx<'_>, id: AttachmentId, failure: &Failure, random: f64, now: UnixMillis) -> Result<()> {
    const SOON: u32 = 8;
    let mut attachment = tx.expect_attachment(id)?;
    if attachment.stage != Stage::Deleting {
        return Ok(());
    }
    remember(&mut attachment, failure);
    let environment = matches!(failure.next, Next::Offline | Next::Credentials | Next::Throttled);
    // `Refused` can mean "not while it is being scanned" (SERVICE.md 2.6), which passes.
    let passing = !matches!(failure.next, Next::Park(code) if code != ParkCode::Refused) && attachment.tries < SOON;
    let pause = if passing || environment {
        retry::delay(attachment.tries, failure.hint, random)
    } else {
        REFUSED_DELETE_PAUSE
    };
    if !environment {
        attachment.tries += 1;
        try_event(tx, &attachment, failure, now)?;
    }
    attachment.next_attempt = Some(now.plus(pause));
    tx.put_attachment(&attachment, now)?;
    if !plan::goes_with_its_file(&attachment) {
        return Ok(());
    }
    let Some(mut row) = tx.file_of(&attachment)? else { return Ok(()) };
    if row.verdict == Verdict::Deleting {
        row.note = Some(format!("{failure}; next try after {}", now.plus(pause)));
        tx.put_file(&row)?;
    }
    Ok(())
}

/// A sweep found a FileId of this attempt that the journal did not know: it is ours by its attempt tag, and it is
/// not the one that goes on, so it is cleaned up (invariants 8 and 9).
pub fn sweep_found(tx: &Tx<'_>, id: AttachmentId, found: &FileId, now: UnixMillis) -> Result<()> {
    let mut attachment = tx.expect_attachment(id)?;
    if attachment.file_id.as_ref() == Some(found) || tx.attachment_by_file_id(found)?.is_some() {
        return Ok(());
    }
    let detail = json!({ "text": "left by a start call that nobody waits for any more; cleaned up", "file_id": found });
    note(tx, now, (attachment.mirror, &attachment.path), Some(id), EventKind::Swept, detail)?;
    if attachment.file_id.is_none() && attachment.stage == Stage::Abandoned {
        attachment.file_id = Some(found.clone());
        let reason = attachment.reason.clone().unwrap_or_default();
        return announce_delete(tx, &mut attachment, &reason, now);
    }
    let mut twin = tx.add_attachment(
        &NewAttachment {
            mirror: attachment.mirror,
            path: attachment.path.clone(),
            case: attachment.case.clone(),
            name: attachment.name.clone(),
            version: attachment.version,
            attempt: attachment.attempt,
            // Never sent: it only names the row. The token that was sent belongs to the attempt's own row.
            token: ClientToken::from_journal(format!("{}:{found}", attachment.token)),
            start_open: false,
            extras: attachment.extras.clone().unwrap_or_default(),
        },
        now,
    )?;
    twin.file_id = Some(found.clone());
    abandon(tx, &mut twin, "left by a start call whose answer was lost", now)
}

/// The sweep for an attempt is over: everything that Connect lists by now has been seen.
pub fn swept(tx: &Tx<'_>, id: AttachmentId, now: UnixMillis) -> Result<()> {
    let mut attachment = tx.expect_attachment(id)?;
    attachment.unsure_since = None;
    tx.put_attachment(&attachment, now)
}

/// A sweep came too early to settle it. A doubt that began in the future, by a wall clock that was stepped back since,
/// begins now, or it would last as long as the step.
pub fn still_unsure(tx: &Tx<'_>, id: AttachmentId, now: UnixMillis) -> Result<()> {
    let mut attachment = tx.expect_attachment(id)?;
    if attachment.unsure_since.is_none_or(|since| since <= now) {
        return Ok(());
    }
    attachment.unsure_since = Some(now);
    tx.put_attachment(&attachment, now)
}
