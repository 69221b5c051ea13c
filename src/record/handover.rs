//! Hand-overs: a local file that casedrop is done with leaves its folder (`mode = "ingest"`).
//!
//! Contract: nothing moves before the transaction that announces it is durable ([`begin`]), and its end is recorded
//! from what was then found on the disk. While one is announced as `moving`, the planner concludes nothing from the
//! path (L83). A done hand-over ends the file's life at its path: its row goes, its attachment stays as proof and is
//! closed, so that a later file of the same path is a new one and replaces nothing (L82).

use std::time::Duration;

use serde_json::json;

use super::disk::{clean_up, give_up_unfinished, missing};
use super::{Result, note, set_verdict};
use crate::core::handover::{self, Due, Policy};
use crate::core::model::{
    Attachment, EventKind, FileRow, Handover, HandoverId, HandoverKind, HandoverState, MirrorId, Verdict,
};
use crate::journal::{Tx, View};
use crate::types::{RelPath, UnixMillis};

/// How long a queued file rests whose hand-over has not ended; its end ends the rest, too.
const LEAVING_PAUSE: Duration = Duration::from_secs(600);

/// Its note.
const LEAVING: &str = "tried when it is known how its hand-over ended";

/// Where one file is to go; `to` is `None` for a delete.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub path: RelPath,
    pub to: Option<(Vec<u8>, RelPath)>,
}

/// An announced hand-over with what its papers tell.
#[derive(Debug, Clone)]
pub struct Order {
    pub handover: Handover,
    pub row: FileRow,
    /// The proof of a delivery.
    pub attachment: Option<Attachment>,
}

/// Announces what is due on fresh rows; what is no longer due is left out.
pub fn begin(
    tx: &Tx<'_>,
    mirror: MirrorId,
    wanted: Vec<Wanted>,
    policy: &Policy,
    now: UnixMillis,
) -> Result<Vec<Order>> {
    let mut orders = Vec::with_capacity(wanted.len());
    for Wanted { path, to } in wanted {
        let Some(row) = tx.file(mirror, &path)? else { continue };
        let attachments = tx.attachments_of(mirror, &path)?;
        let open = tx.open_handover(mirror, &path)?;
        let Some(due) = handover::due(&row, &attachments, policy, now) else {
            if let Some(open) = open.filter(|open| open.state == HandoverState::Waiting) {
                cancelled(tx, open.id, "no longer due", Remains::Same, now)?;
            }
            continue;
        };
        let (proof, code) = match due {
            Due::Delivered(_, id) => (Some(id), None),
            Due::Refused(code) => (None, Some(code)),
        };
        let mut next = Handover {
            id: HandoverId(0),
            mirror,
            path: path.clone(),
            kind: due.kind(),
            state: HandoverState::Moving,
            attachment: proof,
            code,
            stat: row.stat,
            hash: row.hash,
            to,
            tries: 0,
            next_attempt: None,
            last_error: None,
            created_at: now,
            ended_at: None,
        };
        match open {
            Some(open) if open.state == HandoverState::Moving => continue,
            Some(open) if is_same(&open, &next) => {
                next = Handover { state: HandoverState::Moving, to: next.to, next_attempt: None, ..open };
                tx.put_handover(&next)?;
            }
            open => {
                if let Some(open) = open {
                    cancelled(tx, open.id, "another hand-over takes its place", Remains::Same, now)?;
                }
                next.id = tx.add_handover(&next)?;
            }
        }
        let attachment = proof.and_then(|id| attachments.into_iter().find(|a| a.id == id));
        orders.push(Order { handover: next, row, attachment });
    }
    Ok(orders)
}

/// Notes of files that are due why none of them can go at present.
pub fn handovers_wait(
    tx: &Tx<'_>,
    mirror: MirrorId,
    wanted: Vec<Wanted>,
    policy: &Policy,
    text: &str,
    pause: Duration,
    now: UnixMillis,
) -> Result<()> {
    for order in begin(tx, mirror, wanted, policy, now)? {
        handover_failed(tx, order.handover.id, text, false, pause, now)?;
    }
    Ok(())
}

/// Ends a hand-over that waits although its file is not to go any more: the configuration is another one (`None`: no
/// `mode = "ingest"`), or the file has changed.
pub fn no_longer_due(
    tx: &Tx<'_>,
    mirror: MirrorId,
    path: &RelPath,
    policy: Option<&Policy>,
    now: UnixMillis,
) -> Result<()> {
    let Some(open) = tx.open_handover(mirror, path)?.filter(|open| open.state == HandoverState::Waiting) else {
        return Ok(());
    };
    let due = is_due(tx, mirror, path, policy, now)?;
    if due.is_none() { cancelled(tx, open.id, "no longer due", Remains::Same, now) } else { Ok(()) }
}

/// What is to be done with the file of this path by now.
pub fn is_due(
    view: &View,
    mirror: MirrorId,
    path: &RelPath,
    policy: Option<&Policy>,
    now: UnixMillis,
) -> Result<Option<Due>> {
    let (Some(policy), Some(row)) = (policy, view.file(mirror, path)?) else { return Ok(None) };
    Ok(handover::due(&row, &view.attachments_of(mirror, path)?, policy, now))
}

/// Whether a waiting hand-over is of the same file for the same reason.
fn is_same(open: &Handover, next: &Handover) -> bool {
    let of = |h: &Handover| (h.kind, h.attachment, h.code, h.hash);
    of(open) == of(next) && open.stat.same_content_as(&next.stat)
}

/// It is where it was to go, durably. `with`: what went with it, such as its trigger. Returns whether something
/// stands at the path by now that is to be looked at.
pub fn done(tx: &Tx<'_>, id: HandoverId, with: &[RelPath], doubt: Option<&str>, now: UnixMillis) -> Result<bool> {
    let Some(mut h) = tx.handover(id)?.filter(|h| h.ended_at.is_none()) else { return Ok(false) };
    h.state = HandoverState::Done;
    h.ended_at = Some(now);
    h.next_attempt = None;
    tx.put_handover(&h)?;
    let attachment = h.attachment.map(|id| tx.expect_attachment(id)).transpose()?;
    let (kind, text) = match h.kind {
        HandoverKind::Archive => (EventKind::Archived, "agents can see it; the local file is in the archive"),
        HandoverKind::Delete => (EventKind::Removed, "agents can see it; the local file is removed"),
        HandoverKind::Quarantine => (EventKind::Quarantined, "refused; the local file is in quarantine"),
    };
    let to = h.to.as_ref().map(|(folder, target)| whole(folder, target));
    let same = |row: &FileRow| row.stat.same_content_as(&h.stat);
    let row = tx.file(h.mirror, &h.path)?.filter(same);
    let doubt = doubt.or(match (&attachment, row) {
        (Some(proof), _) if !proof.is_visible() => {
            Some("what is attached of it was found wrong at Connect when it had gone already")
        }
        (_, Some(row)) if matches!(row.verdict, Verdict::Queued | Verdict::Settling) => {
            Some("it was asked to be tried or looked at again when it had gone already")
        }
        _ => None,
    });
    let detail = json!({
        "text": text, "to": to, "code": h.code, "size": h.stat.size, "sha256": h.hash.map(|hash| hash.to_string()),
        "file_id": attachment.as_ref().and_then(|a| a.file_id.as_ref()), "with": (!with.is_empty()).then_some(with),
        "doubt": doubt,
    });
    note(tx, now, (h.mirror, &h.path), h.attachment, kind, detail)?;
    for path in with {
        tx.remove_file(h.mirror, path)?;
    }
    if h.kind == HandoverKind::Quarantine {
        clean_up(tx, &tx.attachments_of(h.mirror, &h.path)?, "refused, and its file is in quarantine", now)?;
    }
    // Begun by an earlier version of casedrop, which did not wait.
    let mut attempts = tx.attachments_of(h.mirror, &h.path)?;
    attempts.retain(|a| h.attachment.is_none_or(|last| a.id <= last));
    give_up_unfinished(tx, &attempts, "its file is handed over", now)?;
    tx.close_attachments(h.mirror, &h.path, h.attachment, now)?;
    let Some(mut row) = tx.file(h.mirror, &h.path)? else { return Ok(false) };
    // Queued or settling: tried or looked at again by hand meanwhile.
    let is_done_with =
        matches!(row.verdict, Verdict::Attached | Verdict::Parked(_) | Verdict::Queued | Verdict::Settling);
    if row.stat.same_content_as(&h.stat) && is_done_with {
        give_up_unfinished(tx, &tx.attachments_of(h.mirror, &h.path)?, "its file is handed over", now)?;
        tx.close_attachments(h.mirror, &h.path, None, now)?;
        tx.remove_file(h.mirror, &h.path)?;
        return Ok(true);
    }
    // Another file came there meanwhile and was taken for a new version of this one: it is a new delivery.
    let under_way = tx.attachments_of(h.mirror, &h.path)?.iter().any(|a| a.stage.is_under_way());
    if !under_way {
        row.hash = None;
        row.attempt = 0;
        row.next_attempt = None;
        row.comes_back();
        set_verdict(&mut row, Verdict::Settling, None, now);
        note(tx, now, (h.mirror, &h.path), None, EventKind::Seen, json!({ "size": row.stat.size }))?;
        tx.put_file(&row)?;
    }
    Ok(true)
}

/// It could not be carried out. `moved`: the file may be at either end, so the planner goes on to wait for it; else it
/// is certainly where it was. Returns whether the reason is a new one.
pub fn handover_failed(
    tx: &Tx<'_>,
    id: HandoverId,
    text: &str,
    moved: bool,
    pause: Duration,
    now: UnixMillis,
) -> Result<bool> {
    let Some(mut h) = tx.handover(id)?.filter(|h| h.ended_at.is_none()) else { return Ok(false) };
    let news = h.last_error.as_deref() != Some(text);
    let at = now.plus(pause);
    h.state = if moved { HandoverState::Moving } else { HandoverState::Waiting };
    h.tries += 1;
    h.next_attempt = Some(at);
    h.last_error = Some(text.to_owned());
    tx.put_handover(&h)?;
    if news {
        let detail = json!({ "text": text, "handover": h.kind });
        note(tx, now, (h.mirror, &h.path), h.attachment, EventKind::HandoverFailed, detail)?;
    }
    let Some(before) = tx.file(h.mirror, &h.path)? else { return Ok(news) };
    let mut row = before.clone();
    if handover::called_off(h.code, Some(&row), None).is_none() {
        row.note = Some(format!("{} waits: {text}; next try after {at}", h.kind));
    } else if !moved {
        end_rest(&mut row, now);
    }
    if row != before {
        tx.put_file(&row)?;
    }
    Ok(news)
}

/// A file that is on its way out may end anywhere: what was queued meanwhile, by hand say, waits for that end. Whether it is.
pub fn put_off_leaving(tx: &Tx<'_>, mirror: MirrorId, path: &RelPath, now: UnixMillis) -> Result<bool> {
    if tx.open_handover(mirror, path)?.is_none_or(|h| h.state != HandoverState::Moving) {
        return Ok(false);
    }
    if let Some(mut row) = tx.file(mirror, path)?.filter(|row| row.verdict == Verdict::Queued) {
        row.next_attempt = Some(now.plus(LEAVING_PAUSE));
        row.note = Some(LEAVING.to_owned());
        tx.put_file(&row)?;
    }
    Ok(true)
}

/// It is known where the file is: what was queued meanwhile is tried.
fn end_rest(row: &mut FileRow, now: UnixMillis) {
    if row.verdict == Verdict::Queued && row.note.take_if(|note| note == LEAVING).is_some() {
        row.next_attempt = Some(now);
    }
}

/// The name at its target was taken meanwhile: it goes on to another one, wherever it is by now.
pub fn name_taken(tx: &Tx<'_>, id: HandoverId, target: &RelPath) -> Result<()> {
    let Some(mut h) = tx.handover(id)?.filter(|h| h.ended_at.is_none()) else { return Ok(()) };
    h.to = h.to.map(|(folder, _)| (folder, target.clone()));
    h.next_attempt = None;
    tx.put_handover(&h)
}

/// What is known of the path where a hand-over ended without handing over its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remains {
    /// Nothing new.
    Same,
    /// The file is read anew, also where its `stat` does not show a change.
    Changed,
    /// The same; and the file may have been away by an earlier try of ours, so what stands there now may be another one.
    Doubtful,
    /// No file was there: what comes later is another one.
    Gone,
}

/// The file is not what was to be handed over, or it is gone: nothing of the hand-over is left. What is not certainly a
/// new version of that file replaces nothing.
pub fn cancelled(tx: &Tx<'_>, id: HandoverId, why: &str, remains: Remains, now: UnixMillis) -> Result<()> {
    let Some(mut h) = tx.handover(id)?.filter(|h| h.ended_at.is_none()) else { return Ok(()) };
    h.state = HandoverState::Cancelled;
    h.ended_at = Some(now);
    h.next_attempt = None;
    h.last_error = Some(why.to_owned());
    tx.put_handover(&h)?;
    let Some(before) = tx.file(h.mirror, &h.path)? else { return Ok(()) };
    let mut row = before.clone();
    if row.note.as_deref().is_some_and(|note| note.starts_with(h.kind.as_str())) {
        row.note = None;
    }
    if matches!(remains, Remains::Changed | Remains::Doubtful) {
        let detail = json!({ "text": why, "handover": h.kind });
        note(tx, now, (h.mirror, &h.path), h.attachment, EventKind::HandoverFailed, detail)?;
        let said_of_it = match row.verdict {
            Verdict::Attached | Verdict::Parked(_) => true,
            // A person had it tried again while it was to go.
            Verdict::Queued | Verdict::Uploading | Verdict::Scanning => remains == Remains::Doubtful,
            _ => false,
        };
        if said_of_it {
            set_verdict(&mut row, Verdict::Settling, None, now);
        }
    }
    match remains {
        Remains::Same | Remains::Changed => {}
        Remains::Doubtful => {
            row.absent_since.get_or_insert(now);
            // What was read of it is not known to be what stands there.
            row.hash = None;
        }
        Remains::Gone if row.absent_since.is_none() => missing(tx, &mut row, now)?,
        Remains::Gone => {}
    }
    end_rest(&mut row, now);
    if row == before { Ok(()) } else { tx.put_file(&row) }
}

/// The file of the path is gone, and its row with it: no hand-over of it waits any more.
pub(super) fn forgotten(tx: &Tx<'_>, mirror: MirrorId, path: &RelPath, now: UnixMillis) -> Result<()> {
    match tx.open_handover(mirror, path)? {
        Some(open) if open.state == HandoverState::Waiting => {
            cancelled(tx, open.id, "the file was gone", Remains::Same, now)
        }
        _ => Ok(()),
    }
}

/// A folder and a path below it, as they are shown.
pub fn whole(folder: &[u8], target: &RelPath) -> String {
    format!("{}/{target}", String::from_utf8_lossy(folder).trim_end_matches('/'))
}
