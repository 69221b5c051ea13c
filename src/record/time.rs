//! The journal's times and the steps of the wall clock; see [`crate::core::clock`].

use super::Result;
use crate::core::clock::{Reading, step_ms};
use crate::journal::Tx;

/// Takes a step of the wall clock since the last reading out of every time that something waits for, and keeps this
/// reading for the next time. To be called before times are compared with the present: at a start, at each full pass, and
/// when a step is noticed. Returns the step in milliseconds.
pub fn keep_time(tx: &Tx<'_>, now: Option<&Reading>) -> Result<i64> {
    let Some(now) = now else { return Ok(0) };
    let before = tx.clock()?;
    let step = before.as_ref().map_or(0, |before| step_ms(before, now));
    if let (Some(before), true) = (&before, step != 0) {
        tx.shift_times(step, before.wall_ms, now.wall_ms)?;
    }
    tx.set_clock(now)?;
    Ok(step)
}
