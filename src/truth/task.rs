//! The daemon's slow comparison: each mirror every `verify`, with a tenth of the quota so that deliveries go first,
//! and at full pace when a person asks. It reports and repairs nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Manners;
use super::case::Trouble;
use super::run::{Stepped, Verifier};
use crate::aws::Failure;
use crate::core::model::HoldCode;
use crate::host::random;
use crate::host::time::{self, Instant};
use crate::journal::{JournalError, Verification};
use crate::pulse::Pulse;
use crate::types::UnixMillis;
use crate::world::World;

/// Longest sleep between two looks at what is due.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);
/// How long it rests after a question without an answer.
const REST: Duration = Duration::from_secs(30);
/// The share of each operation's quota: one in so many.
const SHARE: f64 = 10.0;

/// Runs until `stop`.
///
/// # Errors
/// The journal can no longer be read or written.
pub async fn run(world: Arc<World>, stop: CancellationToken, pulse: Pulse) -> Result<(), JournalError> {
    let mut mirrors = Vec::new();
    for mirror in &world.mirrors {
        mirrors.push((Verifier::new(&world.journal, &world.aws, mirror, world.hide_names)?, Instant::now()));
    }
    while !stop.is_cancelled() {
        pulse.beat();
        let mut worked = false;
        for (verifier, next) in &mut mirrors {
            if Instant::now() < *next || world.weather.paused_until().is_some() {
                continue;
            }
            let turn = pulse.beating(turn(&world, verifier));
            let turned = tokio::select! {
                // A stop comes first; where it stands is in the journal.
                biased;
                () = stop.cancelled() => return Ok(()),
                turned = turn => turned,
            };
            match turned {
                Ok(did) => worked |= did,
                Err(Trouble::Failure(failure)) => {
                    *next = Instant::now() + REST;
                    let name = &verifier.mirror.config.name;
                    if !world.weather.note(&failure, random()) {
                        tracing::warn!(mirror = %name, "the comparison with Connect rests: {failure}");
                    }
                    passing(&world, verifier.note_trouble(failure.to_string()).await)?;
                }
                Err(Trouble::Journal(error)) => {
                    *next = Instant::now() + REST;
                    passing(&world, Err(error))?;
                }
            }
        }
        if !worked {
            tokio::select! {
                // A stop comes first; nothing is lost by dropping the others.
                biased;
                () = stop.cancelled() => {}
                () = world.asked.notified() => {}
                () = time::sleep(LONGEST_SLEEP) => {}
            }
        }
    }
    Ok(())
}

/// A full disk passes.
fn passing(world: &World, result: Result<(), JournalError>) -> Result<(), JournalError> {
    match result {
        Err(error) if error.is_passing() => {
            world.journal_trouble(&error);
            Ok(())
        }
        other => other,
    }
}

/// One case of one mirror, if it is its time. Whether anything was done.
async fn turn(world: &World, verifier: &Verifier) -> Result<bool, Trouble> {
    // What the journal says after a loss says nothing, and before the first look there is nothing to compare.
    let unready = verifier.mirror.is_held_by(HoldCode::JournalRebuilt)
        || (verifier.mirror.config.routing.needs_domain() && verifier.mirror.domain.get().is_none());
    if unready {
        return Ok(false);
    }
    let Some(state) = verifier.state()? else {
        verifier.consider().await?;
        return Ok(true);
    };
    if state.began_at.is_none() {
        if !is_due(&state, verifier.mirror.config.verify, UnixMillis::now()) {
            return Ok(false);
        }
        verifier.begin(false, false).await?;
    }
    let gap = if state.by_hand { Duration::ZERO } else { Duration::from_secs_f64(SHARE / world.requests_per_second) };
    let stepped = verifier.step(&mut Share { world, gap }).await?;
    Ok(stepped != Stepped::Idle)
}

/// Whether a period has passed since the last whole comparison, or since the mirror was first considered.
fn is_due(state: &Verification, period: Option<Duration>, now: UnixMillis) -> bool {
    let last = state.ended_at.unwrap_or(state.since);
    // A clock that was set back must not put it off.
    period.is_some_and(|period| last > now || now.since(last) >= period)
}

/// Leaves most of the quota to others, and waits while calls make no sense.
struct Share<'w> {
    world: &'w World,
    gap: Duration,
}

impl Manners for Share<'_> {
    async fn before(&mut self) {
        time::sleep(self.gap).await;
        while let Some(until) = self.world.weather.paused_until() {
            time::sleep_until(until).await;
        }
    }

    async fn trouble(&mut self, failure: &Failure, _: Duration) {
        self.world.weather.note(failure, random());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_a_period_after_the_last_one() {
        let day = Duration::from_secs(86_400);
        let at = |n: u32| UnixMillis(0).plus(day * n);
        let new = Verification { since: at(10), ..Verification::default() };
        assert!(!is_due(&new, Some(day * 7), at(16)));
        assert!(is_due(&new, Some(day * 7), at(17)));
        assert!(!is_due(&new, None, at(1000)), "off");
        let done = Verification { ended_at: Some(at(20)), ..new };
        assert!(!is_due(&done, Some(day * 7), at(26)) && is_due(&done, Some(day * 7), at(27)));
        // First considered under a clock that was years ahead: at once, and then once in a period.
        let ahead = Verification { since: at(9_000), ended_at: None, ..done };
        assert!(is_due(&ahead, Some(day * 7), at(20)));
        assert!(!is_due(&Verification { ended_at: Some(at(20)), ..ahead }, Some(day * 7), at(21)));
    }
}
