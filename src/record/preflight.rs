//! What is parked before a call is spent, and how it leaves the park by itself.

use serde_json::json;

use super::disk::park_event;
use super::{Result, abandon, note, set_verdict};
use crate::core::model::{EventKind, MirrorId, ParkCode, Stage, Verdict};
use crate::core::plan::Target;
use crate::core::preflight::{FullCase, Limits, Refusal};
use crate::journal::Tx;
use crate::types::{CaseArn, RelPath, UnixMillis};

/// Looks at a queued file before its start call. With a refusal it is parked, and no call is to be made.
///
/// `bytes` is the size of what would be sent. An attempt that is under way is let through: its request was allowed to go, and only the service's answer ends it.
pub fn preflight(
    tx: &Tx<'_>,
    (mirror, path): (MirrorId, &RelPath),
    target: &Target,
    bytes: u64,
    limits: &Limits,
    now: UnixMillis,
) -> Result<Option<Refusal>> {
    let Some(mut row) = tx.file(mirror, path)? else { return Ok(None) };
    let due = row.next_attempt.is_none_or(|at| at <= now);
    if row.verdict != Verdict::Queued || !due || row.is_insisted_on() {
        return Ok(None);
    }
    let version = row.version();
    let mut stale = Vec::new();
    for attachment in tx.attachments_of(mirror, path)?.into_iter().filter(|a| a.stage.is_under_way()) {
        let other = attachment.stage == Stage::Planned && Some(attachment.version) != version;
        if !other {
            return Ok(None);
        }
        stale.push(attachment);
    }
    let refusal = match limits.refuse(&target.name, bytes) {
        Some(refusal) => refusal,
        None => match tx.full_case(&target.case)? {
            Some(full) if full.next_probe > now => Refusal { code: ParkCode::CaseFull, note: full.note() },
            Some(full) => {
                // This file is the one that asks; the others of its case wait for the answer.
                tx.put_full_case(&target.case, &FullCase::found(Some(full), now))?;
                return Ok(None);
            }
            None => return Ok(None),
        },
    };
    for mut attachment in stale {
        abandon(tx, &mut attachment, "the file changed", now)?;
    }
    set_verdict(&mut row, Verdict::Parked(refusal.code), Some(refusal.note.clone()), now);
    park_event(tx, &row, refusal.code, Some(&refusal.note), now)?;
    tx.put_file(&row)?;
    Ok(Some(refusal))
}

/// Connect said that the case is full.
pub fn case_is_full(tx: &Tx<'_>, case: &CaseArn, now: UnixMillis) -> Result<()> {
    let known = tx.full_case(case)?;
    // The file that asked has counted itself already.
    if known.as_ref().is_some_and(|full| full.next_probe > now) {
        return Ok(());
    }
    tx.put_full_case(case, &FullCase::found(known, now))
}

/// Lets a parked file go on by itself. Whether it was parked with this code, and read.
pub fn unpark(
    tx: &Tx<'_>,
    mirror: MirrorId,
    path: &RelPath,
    code: ParkCode,
    why: &str,
    now: UnixMillis,
) -> Result<bool> {
    let Some(mut row) = tx.file(mirror, path)? else { return Ok(false) };
    if row.verdict != Verdict::Parked(code) || row.hash.is_none() || row.absent_since.is_some() {
        return Ok(false);
    }
    set_verdict(&mut row, Verdict::Queued, None, now);
    row.attempt = 0;
    row.next_attempt = Some(now);
    tx.put_file(&row)?;
    note(tx, now, (mirror, path), None, EventKind::Retried, json!({ "text": why }))?;
    Ok(true)
}
