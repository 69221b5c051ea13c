//! What happened, written down: each function is the part of one journal transaction that moves a file and its
//! attachments together from one legal state to the next, with the line of the audit trail that says why.
//!
//! Contract: a call at Connect is made only after the transaction that announces it is durable, and its answer is
//! recorded before the next call. Whatever the planner did meanwhile wins: an answer that comes back to an attempt
//! that was given up is kept for the clean-up ([`Course::Superseded`]), never dropped.

mod adopt;
mod attempt;
mod convert;
mod disk;
mod ending;
mod handover;
mod keep;
mod manual;
mod preflight;
mod references;
#[cfg(test)]
mod tests;
mod time;
mod truth;

pub use adopt::{adopt, adopted, adopted_here, grow};
pub use attempt::{
    Begun, Course, begin, begin_converted, completed, give_up, look_again, not_started, start_failed, started, stored,
    try_again, waiting,
};
pub use convert::{convert_failed, put_off};
pub use disk::{delete, known, look, restless};
pub use ending::{
    LISTING_GRACE, approved, delete_failed, deleted, failed, rejected, still_unsure, sweep_found, swept, vanished,
};
pub use handover::{
    Order, Remains, Wanted, begin as begin_handover, cancelled, done, handover_failed, handovers_wait, is_due,
    name_taken, no_longer_due, put_off_leaving, whole,
};
pub use keep::{Kept, Sending, keep, keep_all, recallable, sending_delete};
pub use manual::{known_mirrors, narrow_release, recover, recover_file, release, rest, retry, spend_release};
pub use preflight::{case_is_full, preflight, unpark};
pub use references::{learned, look_again_for, search_failed, unpin, waits_for_reference, want_reference};
pub use time::keep_time;
pub use truth::{Compared, attempt_at_work, compared, repair};

use serde_json::Value;

use crate::aws::Failure;
use crate::core::model::{Attachment, AttachmentId, EventKind, FileRow, MirrorId, Stage, Verdict};
use crate::journal::{JournalError, NewEvent, Tx};
use crate::types::{RelPath, UnixMillis};

/// Attempts that may fail for a reason of the file's own before it is parked.
const MOST_FAILED_ATTEMPTS: u32 = 3;

type Result<T> = std::result::Result<T, JournalError>;

/// Adds a line to the audit trail.
fn note(
    tx: &Tx<'_>,
    now: UnixMillis,
    of: (MirrorId, &RelPath),
    attachment: Option<AttachmentId>,
    kind: EventKind,
    detail: Value,
) -> Result<()> {
    tx.add_event(&NewEvent { mirror: of.0, path: Some(of.1.clone()), attachment, kind, detail }, now).map(drop)
}

/// Sets the verdict of a row in memory; `since` moves only when the word does. What is parked waits for no time,
/// and parked for what may be believed of it, what a person insisted on has been tried.
fn set_verdict(row: &mut FileRow, verdict: Verdict, note: Option<String>, now: UnixMillis) {
    if row.verdict != verdict {
        row.since = now;
    }
    if let Verdict::Parked(code) = verdict {
        row.next_attempt = None;
        row.insisted.take_if(|_| code.is_foreseen());
    }
    row.verdict = verdict;
    row.note = note;
}

/// Ends an attempt and, when Connect may hold something of it, leaves the clean-up to delivery.
///
/// With a FileId the delete is announced at once; an unsure start without one waits for the sweep.
fn abandon(tx: &Tx<'_>, attachment: &mut Attachment, reason: &str, now: UnixMillis) -> Result<()> {
    if attachment.start_open {
        attachment.start_open = false;
        attachment.unsure_since = Some(now);
    }
    attachment.stage = Stage::Abandoned;
    attachment.reason = Some(reason.to_owned());
    attachment.next_attempt = None;
    tx.put_attachment(attachment, now)?;
    note(
        tx,
        now,
        (attachment.mirror, &attachment.path),
        Some(attachment.id),
        EventKind::Abandoned,
        serde_json::json!({ "text": reason, "file_id": attachment.file_id }),
    )?;
    if attachment.file_id.is_some() { announce_delete(tx, attachment, reason, now) } else { Ok(()) }
}

/// Announces a delete by FileId: durable before the call is made.
fn announce_delete(tx: &Tx<'_>, attachment: &mut Attachment, reason: &str, now: UnixMillis) -> Result<()> {
    attachment.stage = Stage::Deleting;
    attachment.reason = Some(reason.to_owned());
    attachment.tries = 0;
    attachment.next_attempt = Some(now);
    tx.put_attachment(attachment, now)
}

fn remember(attachment: &mut Attachment, failure: &Failure) {
    attachment.last_error = Some(failure.to_string());
    if failure.request_id.is_some() {
        attachment.last_request_id.clone_from(&failure.request_id);
    }
}

fn event(tx: &Tx<'_>, attachment: &Attachment, kind: EventKind, now: UnixMillis) -> Result<()> {
    let detail = serde_json::json!({ "file_id": attachment.file_id, "attempt": attachment.attempt, "request_id": attachment.last_request_id });
    note(tx, now, (attachment.mirror, &attachment.path), Some(attachment.id), kind, detail)
}

fn try_event(tx: &Tx<'_>, attachment: &Attachment, failure: &Failure, now: UnixMillis) -> Result<()> {
    let detail = serde_json::json!({ "text": failure.to_string(), "attempt": attachment.attempt, "request_id": failure.request_id });
    note(tx, now, (attachment.mirror, &attachment.path), Some(attachment.id), EventKind::TryFailed, detail)
}
