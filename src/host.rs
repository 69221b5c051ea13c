//! What the program takes from its host besides disk and network: wall time, chance, and threads for blocking work.
//!
//! One place for all of it, so that the simulation (`sim`) can run the unchanged engine on one thread and on a
//! virtual clock, and come to the same course for the same seed (invariant 24). `clippy.toml` keeps the direct calls
//! out of the rest. What else that takes:
//!
//! - Monotonic time and timers come from [`time`], never from tokio or the standard library.
//! - A `select!` in the engine is `biased`, with its reason, for the random order of the macro cannot be seeded.
//! - No order of work follows from the order of a hash map.

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

#[cfg(test)]
pub mod simulated;
pub mod time;

/// The wall clock's present time, in milliseconds since 1970. It can be stepped at any moment.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn unix_millis() -> i64 {
    #[cfg(test)]
    if let Some(now) = simulated::unix_millis() {
        return now;
    }
    jiff::Timestamp::now().as_millisecond()
}

/// Fills `bytes` with random ones.
///
/// # Errors
/// The system has none to give.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn random_bytes(bytes: &mut [u8]) -> Result<(), getrandom::Error> {
    #[cfg(test)]
    if simulated::random_bytes(bytes) {
        return Ok(());
    }
    getrandom::fill(bytes)
}

/// A number from 0 to 1 for jitter.
pub fn random() -> f64 {
    let mut bytes = [0; 4];
    let bits = random_bytes(&mut bytes).map_or(u32::MAX / 2, |()| u32::from_le_bytes(bytes));
    f64::from(bits) / f64::from(u32::MAX)
}

/// Begins `work` on a thread for blocking work. In the simulation it is done at once, in place.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    #[cfg(test)]
    if simulated::is_on() {
        return simulated::blocking(work);
    }
    tokio::task::spawn_blocking(work)
}

/// A way from blocking work to its caller with room for `depth` items; use [`push`] on it.
pub fn pipe<T>(depth: usize) -> (mpsc::Sender<T>, mpsc::Receiver<T>) {
    #[cfg(test)]
    if simulated::is_on() {
        // Work that is done in place cannot wait for its caller.
        return mpsc::channel(simulated::PIPE_DEPTH);
    }
    mpsc::channel(depth)
}

/// Hands an item over from blocking work, waiting for room. `false`: nobody waits for it any more.
pub fn push<T>(to: &mpsc::Sender<T>, item: T) -> bool {
    #[cfg(test)]
    if simulated::is_on() {
        return to.try_send(item).is_ok();
    }
    to.blocking_send(item).is_ok()
}
