//! The bell: something happened, look (STYLE, "a trigger is a bell").
//!
//! Contract
//! - No event carries meaning. A touched path says where to look first; whatever cannot be told precisely (a lost
//!   event, an error, a change of the root itself) rings for everywhere. Losing an event costs latency, never a
//!   file, because the caller also scans every `rescan`.
//! - Events are drained always, on the watcher's own thread, into a bounded set (LESSONS L11).
//! - A new or moved-in folder is touched itself. Files may appear in it before it is watched, so the caller walks
//!   a touched folder when the bell rings **and once more after the settle time** (L10).
//! - A watcher that fails says so in [`Watching::fault`] and rings for everywhere; the caller starts another with
//!   backoff (L16). A watcher that meets a limit of the host leaves the root to polling, with the reason (L14).
//! - notify 8 asks the kernel for `IN_OPEN` too, so a scan of our own makes events (two for each folder, dropped
//!   unseen by the handler). On a busy host with tens of thousands of folders these alone can overflow the queue
//!   (`fs.inotify.max_queued_events`), which rings for everywhere. So the caller spaces full scans in proportion to
//!   how long the last one took; else a scan could cause the next for ever.
//! - Polling is not done here: [`WatchKind::Poll`] asks the caller to scan more often.

mod bell;
mod limits;
mod native;

pub use bell::Bell;
pub use native::{Watching, start};

/// How a root is to be watched (`watch` of a mirror).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WatchMode {
    /// By events where the file system has them for every change.
    #[default]
    Auto,
    /// By events whatever the file system is.
    Native,
    /// By scans alone.
    Poll,
}

/// How a root is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchKind {
    /// By events.
    Native,
    /// By scans alone, or by scans besides events that are known to be incomplete.
    Poll { reason: String },
}

impl std::fmt::Display for WatchKind {
    /// The form the journal keeps: `native`, or `poll: REASON`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Native => f.write_str("native"),
            Self::Poll { reason } => write!(f, "poll: {reason}"),
        }
    }
}
