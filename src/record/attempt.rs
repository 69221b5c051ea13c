//! One attempt at one attachment, from the durable token to the complete call.

use std::time::Duration;

use super::convert::remember_pair;
use super::disk::park_event;
use super::ending::sweep_found;
use super::{MOST_FAILED_ATTEMPTS, Result, abandon, event, remember, set_verdict, try_event};
use crate::aws::{Failure, Next};
use crate::core::model::{
    Attachment, AttachmentId, EventKind, Extras, FileRow, MirrorId, ParkCode, Stage, Stat, Verdict, Version,
};
use crate::core::plan::Target;
use crate::core::{naming, retry};
use crate::journal::{NewAttachment, Tx};
use crate::types::{ClientToken, FileId, RelPath, UnixMillis};

/// The reason of an attempt that Connect refused as a conflict. Whether two files of a case may have one name is not
/// documented (SERVICE.md 2.6); if not, a new version cannot stand beside the old one under its name, and deleting
/// the old one first could lose it. So the next attempt at this version takes a name of its own.
const NAME_TAKEN: &str = "name-taken";

/// How long a file waits for the scan of its last version before it is asked about again.
const BUSY_PAUSE: Duration = Duration::from_secs(5);

/// What a started piece of work may do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// The attempt goes on.
    On,
    /// The attempt was given up meanwhile; its clean-up is announced.
    Superseded,
}

/// The answer of [`begin`].
#[derive(Debug, Clone)]
pub enum Begun {
    /// The token is durable: make the start call.
    Attempt(Box<Attachment>),
    /// The file is not (or no longer) waiting for an attempt.
    NotNow,
    /// The file is not what was read: it is to be looked at again.
    Changed,
}

/// Makes the next start call of a queued file legal: a durable token, the one of the last try if that asked for
/// exactly the same, else a new one.
pub fn begin(
    tx: &Tx<'_>,
    mirror: MirrorId,
    path: &RelPath,
    stat: &Stat,
    (target, extras): (&Target, &Extras),
    token: ClientToken,
    now: UnixMillis,
) -> Result<Begun> {
    begin_converted(tx, (mirror, path), stat, (target, extras), None, token, now)
}

/// The same for a file of which something else is `sent`: what it was converted to. Another result than that of the
/// last try is another request, so it gets another token.
pub fn begin_converted(
    tx: &Tx<'_>,
    (mirror, path): (MirrorId, &RelPath),
    stat: &Stat,
    (target, extras): (&Target, &Extras),
    sent: Option<&Version>,
    token: ClientToken,
    now: UnixMillis,
) -> Result<Begun> {
    let Some(mut row) = tx.file(mirror, path)? else { return Ok(Begun::NotNow) };
    if row.verdict == Verdict::Queued && row.absent_since.is_some() {
        // It is back, and nobody has looked yet.
        return Ok(Begun::Changed);
    }
    let due = row.next_attempt.is_none_or(|at| at <= now);
    let (Verdict::Queued, Some(version), true) = (&row.verdict, row.version(), due) else {
        return Ok(Begun::NotNow);
    };
    if !row.stat.same_content_as(stat) {
        return Ok(Begun::Changed);
    }
    let known = tx.attachments_of(mirror, path)?;
    let refused =
        |a: &Attachment| a.version == version && a.name == target.name && a.reason.as_deref() == Some(NAME_TAKEN);
    let name = if known.iter().any(refused) { naming::beside(&target.name, version.hash) } else { target.name.clone() };
    let mut again = None;
    for mut attachment in known {
        if !attachment.stage.is_under_way() {
            continue;
        }
        // One of before the extras were kept is repeated as the configuration tells.
        let same = attachment.version == version
            && (&attachment.case, &attachment.name) == (&target.case, &name)
            && attachment.extras.as_ref().is_none_or(|kept| kept == extras)
            && tx.converted(attachment.id)?.as_ref() == sent;
        match attachment.stage {
            Stage::Planned if same => again = Some(attachment),
            // Being scanned, or waiting for its complete call: the follow-up ends it first.
            Stage::Completed | Stage::Stored => {
                row.next_attempt = Some(now.plus(BUSY_PAUSE));
                tx.put_file(&row)?;
                return Ok(Begun::NotNow);
            }
            _ => abandon(tx, &mut attachment, "the file or its target changed", now)?,
        }
    }
    let attachment = if let Some(mut attachment) = again {
        attachment.start_open = true;
        tx.put_attachment(&attachment, now)?;
        attachment
    } else {
        row.attempt += 1;
        let attachment = tx.add_attachment(
            &NewAttachment {
                mirror,
                path: path.clone(),
                case: target.case.clone(),
                name,
                version,
                attempt: row.attempt,
                token,
                start_open: true,
                extras: extras.clone(),
            },
            now,
        )?;
        if let Some(sent) = sent {
            remember_pair(tx, &attachment, sent, now)?;
        }
        attachment
    };
    set_verdict(&mut row, Verdict::Uploading, None, now);
    row.next_attempt = None;
    tx.put_file(&row)?;
    Ok(Begun::Attempt(Box::new(attachment)))
}

/// Start answered with a FileId.
pub fn started(
    tx: &Tx<'_>,
    id: AttachmentId,
    file: FileId,
    request_id: Option<String>,
    now: UnixMillis,
) -> Result<Course> {
    let mut attachment = tx.expect_attachment(id)?;
    attachment.start_open = false;
    attachment.last_request_id = request_id;
    if attachment.stage != Stage::Planned {
        tx.put_attachment(&attachment, now)?;
        // As if a sweep had found it, which may have been faster: then it is on its way out, or gone.
        sweep_found(tx, id, &file, now)?;
        return Ok(Course::Superseded);
    }
    if let Some(other) = tx.attachment_by_file_id(&file)? {
        let text = format!("Connect answered with the FileId of another attachment, {file} of {}", other.path);
        given_twice(tx, attachment, &text, now)?;
        return Ok(Course::Superseded);
    }
    attachment.file_id = Some(file);
    attachment.stage = Stage::Started;
    clear_try(&mut attachment);
    tx.put_attachment(&attachment, now)?;
    event(tx, &attachment, EventKind::Started, now)?;
    Ok(Course::On)
}

/// One FileId never belongs to two rows. The attempt ends without a call, and its file is judged anew: what has the
/// FileId may hold it already.
fn given_twice(tx: &Tx<'_>, mut attachment: Attachment, text: &str, now: UnixMillis) -> Result<()> {
    if attachment.attempt >= MOST_FAILED_ATTEMPTS {
        return park_attempt(tx, attachment, ParkCode::Conflict, text, now);
    }
    abandon(tx, &mut attachment, text, now)?;
    let Some(mut row) = tx.file_of(&attachment)? else { return Ok(()) };
    if row.verdict == Verdict::Uploading {
        set_verdict(&mut row, Verdict::Settling, Some(text.to_owned()), now);
        tx.put_file(&row)?;
    }
    Ok(())
}

/// Start failed: what becomes of the attempt follows from the class of the failure alone.
pub fn start_failed(tx: &Tx<'_>, id: AttachmentId, failure: &Failure, random: f64, now: UnixMillis) -> Result<()> {
    let mut attachment = tx.expect_attachment(id)?;
    attachment.start_open = false;
    if !failure.certain {
        // The last doubt counts: the listing grace of a sweep begins with it.
        attachment.unsure_since = Some(now);
    }
    if attachment.stage != Stage::Planned {
        return tx.put_attachment(&attachment, now);
    }
    remember(&mut attachment, failure);
    match failure.next {
        Next::Park(code) => park_attempt(tx, attachment, code, &failure.to_string(), now),
        // The token may name another request at Connect, or the case is busy: a new attempt, a few times.
        Next::Conflict => retire(tx, attachment, Some(ParkCode::Conflict), failure, random, now),
        Next::Offline | Next::Credentials => wait(tx, attachment, Duration::ZERO, failure, now),
        Next::Throttled => {
            let pause = retry::delay(attachment.tries.min(4), failure.hint, random);
            wait(tx, attachment, pause, failure, now)
        }
        Next::Retry | Next::Renew | Next::Replan | Next::Gone => {
            let pause = retry::delay(attachment.tries, failure.hint, random);
            attachment.tries += 1;
            wait(tx, attachment, pause, failure, now)
        }
    }
}

/// The start call was not made: its file may be attached already, and the mirror is held until that is known.
pub fn not_started(tx: &Tx<'_>, id: AttachmentId, now: UnixMillis) -> Result<()> {
    let mut attachment = tx.expect_attachment(id)?;
    attachment.start_open = false;
    tx.put_attachment(&attachment, now)?;
    let text = "not sent: it may be attached already, see the hold journal-rebuilt";
    give_up(tx, id, text, None, None, 0.0, now)
}

/// S3 took every byte.
pub fn stored(tx: &Tx<'_>, id: AttachmentId, request_id: Option<String>, now: UnixMillis) -> Result<Course> {
    let mut attachment = tx.expect_attachment(id)?;
    if attachment.stage != Stage::Started {
        return Ok(Course::Superseded);
    }
    attachment.stage = Stage::Stored;
    attachment.last_request_id = request_id;
    clear_try(&mut attachment);
    tx.put_attachment(&attachment, now)?;
    event(tx, &attachment, EventKind::Stored, now)?;
    Ok(Course::On)
}

/// Connect took the complete call. Returns what the follow-up is to watch; `None` when the attempt was given up.
pub fn completed(
    tx: &Tx<'_>,
    id: AttachmentId,
    request_id: Option<String>,
    now: UnixMillis,
) -> Result<Option<Attachment>> {
    let mut attachment = tx.expect_attachment(id)?;
    if attachment.stage != Stage::Stored {
        return Ok(None);
    }
    attachment.stage = Stage::Completed;
    attachment.last_request_id = request_id;
    clear_try(&mut attachment);
    tx.put_attachment(&attachment, now)?;
    event(tx, &attachment, EventKind::Completed, now)?;
    if let Some(mut row) = tx.file_of(&attachment)?
        && row.verdict == Verdict::Uploading
    {
        set_verdict(&mut row, Verdict::Scanning, None, now);
        tx.put_file(&row)?;
    }
    attachment.completed_at.get_or_insert(now);
    Ok(Some(attachment))
}

/// A line about a scan that takes long, for whoever asks.
pub fn waiting(tx: &Tx<'_>, id: AttachmentId, text: &str) -> Result<()> {
    let attachment = tx.expect_attachment(id)?;
    let Some(mut row) = tx.file_of(&attachment)? else { return Ok(()) };
    if row.verdict == Verdict::Scanning {
        row.note = Some(text.to_owned());
        tx.put_file(&row)?;
    }
    Ok(())
}

/// A call on a stored attempt failed in passing: the stage stays, the next try is journaled.
pub fn try_again(tx: &Tx<'_>, id: AttachmentId, failure: &Failure, random: f64, now: UnixMillis) -> Result<()> {
    let mut attachment = tx.expect_attachment(id)?;
    if !attachment.stage.is_under_way() {
        return Ok(());
    }
    remember(&mut attachment, failure);
    let environment = matches!(failure.next, Next::Offline | Next::Credentials | Next::Throttled);
    let pause = retry::delay(attachment.tries, failure.hint, random);
    if !environment {
        attachment.tries += 1;
        try_event(tx, &attachment, failure, now)?;
    }
    attachment.next_attempt = Some(now.plus(pause));
    tx.put_attachment(&attachment, now)?;
    let Some(mut row) = tx.file_of(&attachment)? else { return Ok(()) };
    row.note = Some(format!("{failure}; next try after {}", now.plus(pause)));
    tx.put_file(&row)
}

/// Gives an attempt up after its start. With `counts`, it is a failure of the file's own, of which there may be a
/// few before it is parked with that code; else a fresh attempt follows at once or after `failure`'s backoff.
pub fn give_up(
    tx: &Tx<'_>,
    id: AttachmentId,
    reason: &str,
    counts: Option<ParkCode>,
    failure: Option<&Failure>,
    random: f64,
    now: UnixMillis,
) -> Result<()> {
    let mut attachment = tx.expect_attachment(id)?;
    if !attachment.stage.is_under_way() {
        return Ok(());
    }
    if let Some(failure) = failure {
        remember(&mut attachment, failure);
        if let (Next::Park(code), None) = (failure.next, counts) {
            return park_attempt(tx, attachment, code, &failure.to_string(), now);
        }
        return retire(tx, attachment, counts, failure, random, now);
    }
    if let Some(code) = counts
        && attachment.attempt >= MOST_FAILED_ATTEMPTS
    {
        return park_attempt(tx, attachment, code, reason, now);
    }
    let attempt = attachment.attempt;
    abandon(tx, &mut attachment, reason, now)?;
    let Some(mut row) = tx.file_of(&attachment)? else { return Ok(()) };
    if matches!(row.verdict, Verdict::Uploading | Verdict::Scanning | Verdict::Queued) {
        // The first fresh attempt follows at once; a cause that stays must not become a tight loop.
        let pause = if attempt <= 1 { Duration::ZERO } else { retry::delay(attempt, None, random) };
        set_verdict(&mut row, Verdict::Queued, Some(reason.to_owned()), now);
        row.next_attempt = Some(now.plus(pause));
        tx.put_file(&row)?;
    }
    Ok(())
}

/// A queued file is not what was read, or is not there: it settles and is read again.
pub fn look_again(tx: &Tx<'_>, mirror: MirrorId, path: &RelPath, now: UnixMillis) -> Result<()> {
    let Some(mut row) = tx.file(mirror, path)? else { return Ok(()) };
    if row.verdict == Verdict::Queued {
        set_verdict(&mut row, Verdict::Settling, None, now);
        tx.put_file(&row)?;
    }
    Ok(())
}

/// Ends an attempt; a new one follows after a wait, or the file is parked when `counts` has been reached.
fn retire(
    tx: &Tx<'_>,
    mut attachment: Attachment,
    counts: Option<ParkCode>,
    failure: &Failure,
    random: f64,
    now: UnixMillis,
) -> Result<()> {
    if let Some(code) = counts
        && attachment.attempt >= MOST_FAILED_ATTEMPTS
    {
        return park_attempt(tx, attachment, code, &failure.to_string(), now);
    }
    try_event(tx, &attachment, failure, now)?;
    let attempt = attachment.attempt;
    let name_taken = failure.next == Next::Conflict && attachment.stage == Stage::Planned;
    let reason = if name_taken { NAME_TAKEN.to_owned() } else { failure.to_string() };
    abandon(tx, &mut attachment, &reason, now)?;
    let Some(mut row) = tx.file_of(&attachment)? else { return Ok(()) };
    let at = now.plus(retry::delay(attempt, failure.hint, random));
    queue_again(&mut row, at, failure, now);
    tx.put_file(&row)
}

/// Ends an attempt and parks its file.
fn park_attempt(tx: &Tx<'_>, mut attachment: Attachment, code: ParkCode, text: &str, now: UnixMillis) -> Result<()> {
    let version = attachment.version;
    abandon(tx, &mut attachment, code.as_str(), now)?;
    let Some(mut row) = tx.file_of(&attachment)? else { return Ok(()) };
    if row.absent_since.is_some() {
        return Ok(());
    }
    if row.version() != Some(version) {
        // The refusal is not about what stands there now, which waited for this attempt to end.
        if matches!(row.verdict, Verdict::Uploading | Verdict::Scanning) {
            set_verdict(&mut row, Verdict::Queued, Some("changed meanwhile".into()), now);
            row.next_attempt = Some(now);
            row.attempt = 0;
            tx.put_file(&row)?;
        }
        return Ok(());
    }
    set_verdict(&mut row, Verdict::Parked(code), Some(text.to_owned()), now);
    park_event(tx, &row, code, Some(text), now)?;
    tx.put_file(&row)
}

/// Leaves a planned attempt for a later try of the same request with the same token.
fn wait(tx: &Tx<'_>, mut attachment: Attachment, pause: Duration, failure: &Failure, now: UnixMillis) -> Result<()> {
    let at = now.plus(pause);
    attachment.next_attempt = Some(at);
    if !matches!(failure.next, Next::Throttled | Next::Offline | Next::Credentials) {
        try_event(tx, &attachment, failure, now)?;
    }
    if !is_wanted(tx, &attachment)? {
        return abandon(tx, &mut attachment, NOT_WANTED, now);
    }
    tx.put_attachment(&attachment, now)?;
    let Some(mut row) = tx.file_of(&attachment)? else { return Ok(()) };
    queue_again(&mut row, at, failure, now);
    tx.put_file(&row)
}

/// Why an attempt ends that [`is_wanted`] no more.
pub(super) const NOT_WANTED: &str = "the file was parked, left scope, or went away meanwhile";

/// Whether anybody takes a planned attempt up again: not, if its file was parked, left scope, or was gone and kept, while
/// its start call was in flight.
pub(super) fn is_wanted(tx: &Tx<'_>, attachment: &Attachment) -> Result<bool> {
    Ok(tx.file_of(attachment)?.is_none_or(|row| match row.verdict {
        Verdict::Ignored(_) | Verdict::Unrouted(_) | Verdict::Parked(_) => false,
        Verdict::Attached => row.absent_since.is_none(),
        _ => true,
    }))
}

fn queue_again(row: &mut FileRow, at: UnixMillis, failure: &Failure, now: UnixMillis) {
    if row.verdict == Verdict::Uploading || row.verdict == Verdict::Queued || row.verdict == Verdict::Scanning {
        set_verdict(row, Verdict::Queued, Some(format!("{failure}; next try after {at}")), now);
        row.next_attempt = Some(at);
    }
}

fn clear_try(attachment: &mut Attachment) {
    attachment.tries = 0;
    attachment.next_attempt = None;
    attachment.last_error = None;
}
