//! What a reference means, written down.

use super::Result;
use crate::core::model::MirrorId;
use crate::core::reference::{CaseRef, Outcome, RefState, Reference};
use crate::journal::Tx;
use crate::types::{CaseArn, RelPath, UnixMillis};

/// A file names this reference: it is looked up if nobody has yet, or if another domain was asked. `true` if it is now.
pub fn want_reference(
    tx: &Tx<'_>,
    mirror: MirrorId,
    reference: Reference,
    domain: &str,
    now: UnixMillis,
) -> Result<bool> {
    if tx.case_ref(mirror, &reference)?.is_some_and(|known| known.domain == domain) {
        return Ok(false);
    }
    tx.put_case_ref(&CaseRef::fresh(mirror, reference, domain, now))?;
    Ok(true)
}

/// What a search said. Returns what is known now, if the reference is still waited for.
pub fn learned(
    tx: &Tx<'_>,
    mirror: MirrorId,
    reference: &Reference,
    outcome: &Outcome,
    now: UnixMillis,
) -> Result<Option<CaseRef>> {
    let Some(mut known) = tx.case_ref(mirror, reference)? else { return Ok(None) };
    known.learn(outcome.clone(), now);
    tx.put_case_ref(&known)?;
    Ok(Some(known))
}

/// The search itself was refused: nothing is learned, and it is tried again then. Whether the reason is a new one.
pub fn search_failed(
    tx: &Tx<'_>,
    mirror: MirrorId,
    reference: &Reference,
    error: &str,
    next_try: UnixMillis,
) -> Result<bool> {
    let Some(mut known) = tx.case_ref(mirror, reference)? else { return Ok(false) };
    let new = known.error.as_deref() != Some(error);
    known.error = Some(error.to_owned());
    known.next_try = Some(next_try);
    tx.put_case_ref(&known)?;
    Ok(new)
}

/// Connect does not know the case that a reference is pinned to: it is looked up again.
pub fn unpin(tx: &Tx<'_>, mirror: MirrorId, reference: &Reference, gone: &CaseArn, now: UnixMillis) -> Result<bool> {
    let Some(mut known) = tx.case_ref(mirror, reference)? else { return Ok(false) };
    if known.state != RefState::Found || known.case.as_ref() != Some(gone) {
        return Ok(false);
    }
    known.state = RefState::Pending;
    known.next_try = Some(now);
    tx.put_case_ref(&known)?;
    Ok(true)
}

/// Looks for a reference that means no case, or for all such of the mirror, at once. Returns how many.
pub fn look_again_for(tx: &Tx<'_>, mirror: MirrorId, reference: Option<&Reference>, now: UnixMillis) -> Result<usize> {
    let mut open = tx.case_refs_open(mirror)?;
    open.retain(|known| reference.is_none_or(|wanted| known.reference == *wanted));
    for known in &mut open {
        known.next_try = Some(now);
        known.tries = 0;
        tx.put_case_ref(known)?;
    }
    Ok(open.len())
}

/// Whether the file has no case because of a reference.
pub fn waits_for_reference(tx: &Tx<'_>, mirror: MirrorId, path: &RelPath) -> Result<bool> {
    Ok(tx.file(mirror, path)?.is_some_and(|row| row.waits_for_reference()))
}
