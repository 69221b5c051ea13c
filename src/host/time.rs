//! Monotonic time and timers, with the names of `tokio::time`. Outside of the simulation they are tokio's own; in it,
//! time stands still while anything can go on, and then jumps to the next timer.

use std::ops::{Add, AddAssign};
use std::time::Duration;

#[cfg(test)]
use super::simulated;

/// A moment of the monotonic clock, which no step of the wall clock changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(std::time::Instant);

impl Instant {
    pub fn now() -> Self {
        #[cfg(test)]
        if let Some(now) = simulated::instant() {
            return Self(now);
        }
        Self(std::time::Instant::now())
    }

    /// Time from this moment to the present.
    pub fn elapsed(self) -> Duration {
        Self::now().saturating_duration_since(self)
    }

    /// Time from `earlier` to this moment; zero if `earlier` is later.
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0 + time)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, time: Duration) {
        self.0 += time;
    }
}

/// Waits until `at`.
pub async fn sleep_until(at: Instant) {
    #[cfg(test)]
    if simulated::is_on() {
        return simulated::sleep_until(at.0).await;
    }
    tokio::time::sleep_until(at.0.into()).await;
}

/// Waits for `time`.
pub async fn sleep(time: Duration) {
    #[cfg(test)]
    if simulated::is_on() {
        return sleep_until(Instant::now() + time).await;
    }
    tokio::time::sleep(time).await;
}

/// The time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

/// Waits for `future`, at most for `time`.
///
/// # Errors
/// [`Elapsed`]; the future is dropped.
pub async fn timeout<T>(time: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
    #[cfg(test)]
    if simulated::is_on() {
        return tokio::select! {
            biased;
            done = future => Ok(done),
            () = sleep(time) => Err(Elapsed),
        };
    }
    tokio::time::timeout(time, future).await.map_err(|_| Elapsed)
}
