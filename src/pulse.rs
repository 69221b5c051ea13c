//! Proof that the loops turn: the watchdog is fed only while every one of them does.

use crate::host::time;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// One loop's beat; it must come at least as often as the loop's longest sleep.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// The loop has come round.
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Beats while `waiting` for something that may rightly take longer than a watchdog has patience, such as a
    /// turn at the pacer. The beat comes from the loop's own task, so it stops when that is stuck.
    pub async fn beating<T>(&self, waiting: impl Future<Output = T>) -> T {
        let mut waiting = std::pin::pin!(waiting);
        loop {
            match time::timeout(BEAT, &mut waiting).await {
                Ok(done) => return done,
                Err(_) => self.beat(),
            }
        }
    }
}

/// Longest time between two beats of a loop that waits.
const BEAT: Duration = Duration::from_secs(10);

/// All pulses, and what they were at the last check.
#[derive(Debug, Default)]
pub struct Pulses(Vec<(&'static str, Pulse, u64)>);

impl Pulses {
    /// A pulse for one more loop.
    pub fn add(&mut self, name: &'static str) -> Pulse {
        let pulse = Pulse::default();
        self.0.push((name, pulse.clone(), 0));
        pulse
    }

    /// Whether every loop came round since the last check that was passed; else the name of one that did not.
    pub fn check(&mut self) -> Result<(), &'static str> {
        let stuck = self.0.iter().find(|(_, pulse, last)| pulse.0.load(Ordering::Relaxed) == *last);
        if let Some((name, ..)) = stuck {
            return Err(name);
        }
        for (_, pulse, last) in &mut self.0 {
            *last = pulse.0.load(Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loop_must_turn() {
        let mut pulses = Pulses::default();
        let (a, b) = (pulses.add("a"), pulses.add("b"));
        a.beat();
        assert_eq!(pulses.check(), Err("b"));
        b.beat();
        assert_eq!(pulses.check(), Ok(()));
        assert_eq!(pulses.check(), Err("a"));
    }
}
