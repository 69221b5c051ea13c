//! What a person or a restart asks of the journal.

use std::time::Duration;

use serde_json::json;

use super::attempt::{NOT_WANTED, is_wanted};
use super::{Result, abandon, note, set_verdict};
use crate::core::model::{
    Attachment, AttachmentId, EventKind, Hold, HoldCode, MirrorId, MirrorRow, ParkCode, RootIdentity, Stage, Verdict,
};
use crate::journal::{NewEvent, Tx};
use crate::types::{RelPath, UnixMillis};

/// After a stop at any instruction: what lived in memory only (presigned URLs, open answers) is given up, and its
/// files wait for a fresh attempt. Returns how many attempts were given up.
pub fn recover(tx: &Tx<'_>, now: UnixMillis) -> Result<usize> {
    const ALL: usize = usize::MAX;
    let mut given_up = 0;
    for stage in [Stage::Planned, Stage::Started, Stage::Stored] {
        for attachment in tx.attachments_in_stage(stage, None, ALL)? {
            given_up += usize::from(cut_off(tx, attachment, "stopped between start and upload", now)?);
        }
    }
    for mut attachment in tx.attachments_in_stage(Stage::Deleting, None, ALL)? {
        attachment.next_attempt = Some(now);
        tx.put_attachment(&attachment, now)?;
    }
    Ok(given_up)
}

/// The same for one file whose upload ended before the journal knew of its end, and on which nothing works. It goes on
/// after `rest`.
pub fn recover_file(tx: &Tx<'_>, mirror: MirrorId, path: &RelPath, rest: Duration, now: UnixMillis) -> Result<()> {
    for attachment in tx.attachments_of(mirror, path)? {
        let (id, stored) = (attachment.id, attachment.stage == Stage::Stored);
        cut_off(tx, attachment, "the upload ended before its end was recorded", now)?;
        if stored {
            self::rest(tx, id, rest, now)?;
        }
    }
    let Some(mut row) = tx.file(mirror, path)? else { return Ok(()) };
    if row.verdict == Verdict::Queued && !rest.is_zero() {
        row.next_attempt = Some(now.plus(rest));
        row.note = Some("the upload ended abnormally, which is a mistake of casedrop's: see its log".to_owned());
        tx.put_file(&row)?;
    }
    Ok(())
}

/// Puts off what is due for an attachment: its complete call, or its delete.
pub fn rest(tx: &Tx<'_>, id: AttachmentId, rest: Duration, now: UnixMillis) -> Result<()> {
    let Some(mut attachment) = tx.attachment(id)? else { return Ok(()) };
    if matches!(attachment.stage, Stage::Stored | Stage::Deleting) && !rest.is_zero() {
        attachment.next_attempt = Some(now.plus(rest));
        attachment.tries = attachment.tries.max(1);
        tx.put_attachment(&attachment, now)?;
    }
    Ok(())
}

/// Nothing works on the attempt any more, whatever call it had sent. Whether it was given up.
fn cut_off(tx: &Tx<'_>, mut attachment: Attachment, why: &str, now: UnixMillis) -> Result<bool> {
    match attachment.stage {
        Stage::Planned => {
            if !is_wanted(tx, &attachment)? {
                abandon(tx, &mut attachment, NOT_WANTED, now)?;
                return Ok(true);
            }
            if attachment.start_open {
                attachment.start_open = false;
                attachment.unsure_since = Some(now);
                tx.put_attachment(&attachment, now)?;
            }
            requeue(tx, attachment.mirror, &attachment.path, now)?;
            Ok(false)
        }
        Stage::Started => {
            abandon(tx, &mut attachment, why, now)?;
            requeue(tx, attachment.mirror, &attachment.path, now)?;
            Ok(true)
        }
        Stage::Stored => {
            attachment.next_attempt = Some(now);
            // The complete call may have been sent and its answer lost (SERVICE.md 2.4).
            attachment.tries = attachment.tries.max(1);
            tx.put_attachment(&attachment, now)?;
            Ok(false)
        }
        _ => Ok(false),
    }
}

/// The rows of the configured mirrors, made where they are new. Where an earlier journal was lost, all of them are
/// held in the same transaction that ends the note of the loss: whatever opened the new journal first, and whenever
/// it was killed, no mirror goes on as if this were a first run (LESSONS L30).
pub fn known_mirrors(tx: &Tx<'_>, wanted: &[(String, Vec<u8>)], now: UnixMillis) -> Result<Vec<MirrorRow>> {
    let lost = tx.is_lost()?;
    let mut rows = Vec::with_capacity(wanted.len());
    for (name, root) in wanted {
        let mut row = tx.ensure_mirror(name, root)?;
        if lost {
            let detail = "there was a journal here, and it is gone".to_owned();
            let hold = Hold { code: HoldCode::JournalRebuilt, detail, since: now };
            tx.put_hold(row.id, &hold)?;
            let detail = json!({ "hold": hold.code, "text": hold.detail });
            tx.add_event(
                &NewEvent { mirror: row.id, path: None, attachment: None, kind: EventKind::Held, detail },
                now,
            )?;
            row.holds.push(hold);
        }
        rows.push(row);
    }
    if lost {
        tx.clear_loss()?;
    }
    Ok(rows)
}

fn requeue(tx: &Tx<'_>, mirror: MirrorId, path: &RelPath, now: UnixMillis) -> Result<()> {
    let Some(mut row) = tx.file(mirror, path)? else { return Ok(()) };
    // A queued file keeps its wait: a restart changes no plan (invariant 14).
    if row.verdict == Verdict::Uploading {
        set_verdict(&mut row, Verdict::Queued, None, now);
        row.next_attempt = Some(now);
        tx.put_file(&row)?;
    }
    Ok(())
}

/// Lets a parked or waiting file try again at once. Returns whether there was anything to do.
pub fn retry(tx: &Tx<'_>, mirror: MirrorId, path: &RelPath, now: UnixMillis) -> Result<bool> {
    let Some(mut row) = tx.file(mirror, path)? else { return Ok(false) };
    let waiting = row.next_attempt.is_some_and(|at| at > now);
    let mut done = false;
    for mut attachment in tx.attachments_of(mirror, path)? {
        let pending = matches!(attachment.stage, Stage::Deleting | Stage::Stored | Stage::Planned);
        if pending && attachment.next_attempt.is_some_and(|at| at > now) {
            attachment.next_attempt = Some(now);
            attachment.tries = attachment.tries.min(1);
            tx.put_attachment(&attachment, now)?;
            done = true;
        }
    }
    match row.verdict {
        // There is no file to try; what becomes of its attachment is decided by `verify --fix unseen`.
        Verdict::Parked(ParkCode::Unseen) => return Ok(done),
        Verdict::Parked(_) if row.absent_since.is_some() => return Ok(done),
        Verdict::Parked(code) => {
            // What was parked for what the disk showed is looked at again, not sent as it was.
            // (Too large for any instance has no hash; with one, the instance refused it and may take it now.)
            let by_disk = matches!(code, ParkCode::EmptyFile | ParkCode::Unreadable);
            let next = if row.hash.is_some() && !by_disk { Verdict::Queued } else { Verdict::Settling };
            // What was believed of it does not count: the service itself is to judge.
            let insisted = row.hash.filter(|_| code.is_foreseen() && next == Verdict::Queued);
            let note = insisted.map(|_| "asked for by hand: Connect judges".to_owned());
            set_verdict(&mut row, next, note, now);
            row.insisted = insisted.or(row.insisted);
        }
        Verdict::Queued if waiting => {}
        _ => return Ok(done),
    }
    row.attempt = 0;
    row.next_attempt = Some(now);
    tx.put_file(&row)?;
    note(tx, now, (mirror, path), None, EventKind::Retried, json!({ "text": "asked for by hand" }))?;
    Ok(true)
}

/// Takes back what a person released of files that are here again, or that agents never saw: it is not left for others.
pub fn narrow_release(tx: &Tx<'_>, mirror: MirrorId) -> Result<()> {
    let gone = u32::try_from(tx.gone(mirror)?.all()).unwrap_or(u32::MAX);
    match tx.mirror(mirror)? {
        Some(row) if row.released > gone => tx.set_released(mirror, gone),
        _ => Ok(()),
    }
}

/// Counts announced deletes against what a person released.
pub fn spend_release(tx: &Tx<'_>, mirror: MirrorId, announced: usize) -> Result<()> {
    let released = tx.mirror(mirror)?.map_or(0, |row| row.released);
    let left = released.saturating_sub(u32::try_from(announced).unwrap_or(u32::MAX));
    if left == released { Ok(()) } else { tx.set_released(mirror, left) }
}

/// Ends the holds that a person has looked at, and lets the deletes that this person has counted go past the budget.
/// `root-replaced` ends for the folder that `stands` at the path, the mirror's own or a strange one, and for no other that
/// may come there. Returns the holds that ended.
pub fn release(
    tx: &Tx<'_>,
    mirror: MirrorId,
    shown: &[HoldCode],
    stands: Option<&RootIdentity>,
    now: UnixMillis,
) -> Result<Vec<HoldCode>> {
    let Some(row) = tx.mirror(mirror)? else { return Ok(Vec::new()) };
    let ended: Vec<HoldCode> = row.holds.iter().map(|hold| hold.code).filter(|code| shown.contains(code)).collect();
    if ended.is_empty() {
        return Ok(ended);
    }
    // What is being scanned is deleted when that has ended.
    let deletes = u32::try_from(tx.gone(mirror)?.all()).unwrap_or(u32::MAX);
    tx.set_released(mirror, deletes)?;
    for code in &ended {
        match code {
            HoldCode::RootReplaced => {
                if let Some(stands) = stands {
                    tx.set_identity(mirror, Some(stands))?;
                }
            }
            HoldCode::AllChanged => tx.set_changes_released(mirror, true)?,
            HoldCode::JournalRebuilt => tx.set_grown(mirror)?,
            _ => {}
        }
        tx.end_hold(mirror, *code)?;
        let detail = json!({ "text": "released by hand", "hold": code, "deletes": deletes });
        let event = NewEvent { mirror, path: None, attachment: None, kind: EventKind::Released, detail };
        tx.add_event(&event, now)?;
    }
    Ok(ended)
}
