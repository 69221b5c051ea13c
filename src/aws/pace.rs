//! The pacers and counters of all operations, behind one lock each.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::failure::{Failure, Next, Op};
use crate::core::pacer::Bucket;
use crate::host::time::{self, Instant};

/// A Retry-After beyond this holds the one item only (`core::retry`), not every call of the operation.
const LONGEST_HOLD: Duration = Duration::from_secs(60);

/// What one operation did since the start of the process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    pub op: Op,
    /// Calls that ended, well or not.
    pub calls: u64,
    /// Of these, throttled by the service.
    pub throttled: u64,
    /// Of these, failed in another way.
    pub errors: u64,
    /// Calls per second at present; below the configured rate while throttled. Zero for unpaced transfers.
    pub rate: f64,
    pub slowed: bool,
}

#[derive(Debug)]
struct Lane {
    /// `None` for transfers, which S3 answers and no API quota covers.
    bucket: Option<Mutex<Bucket>>,
    /// Held by the one caller that waits for its slot. Those behind it take theirs when their time comes, at the
    /// rate of that time: a throttle slows all of them down at once.
    gate: tokio::sync::Mutex<()>,
    calls: AtomicU64,
    throttled: AtomicU64,
    errors: AtomicU64,
}

/// One lane for each operation, and the shared bandwidth.
#[derive(Debug)]
pub(super) struct Lanes {
    epoch: Instant,
    lanes: [Lane; Op::ALL.len()],
    /// In bytes; `None` when unlimited.
    bandwidth: Option<(u64, Mutex<Bucket>)>,
}

impl Lanes {
    pub(super) fn new(requests_per_second: f64, burst: u32, bandwidth: Option<u64>) -> Self {
        let lane = |op: Op| Lane {
            bucket: (!op.is_transfer()).then(|| Mutex::new(Bucket::new(requests_per_second, burst))),
            gate: tokio::sync::Mutex::new(()),
            calls: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        };
        #[expect(clippy::cast_precision_loss, reason = "a bandwidth needs no 53 bits")]
        let bandwidth = bandwidth.map(|rate| (rate, Mutex::new(Bucket::new(rate as f64, 1))));
        Self { epoch: Instant::now(), lanes: Op::ALL.map(lane), bandwidth }
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    fn lane(&self, op: Op) -> Option<&Lane> {
        self.lanes.get(op as usize)
    }

    fn with<T>(&self, op: Op, act: impl FnOnce(&mut Bucket, Duration) -> T) -> Option<T> {
        let bucket = self.lane(op)?.bucket.as_ref()?;
        let mut bucket = bucket.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Some(act(&mut bucket, self.now()))
    }

    /// Waits for this call's turn, first come, first served. Dropped while waiting, it loses one slot at most.
    pub(super) async fn turn(&self, op: Op) {
        let Some(lane) = self.lane(op).filter(|lane| lane.bucket.is_some()) else { return };
        let _gate = lane.gate.lock().await;
        if let Some(wait) = self.with(op, Bucket::reserve).filter(|wait| !wait.is_zero()) {
            time::sleep(wait).await;
        }
    }

    /// Counts a call that was answered as hoped.
    pub(super) fn succeeded(&self, op: Op) {
        self.with(op, Bucket::succeeded);
        if let Some(lane) = self.lane(op) {
            lane.calls.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a failed call; an answer of any kind but a throttle shows that the quota had room.
    pub(super) fn failed(&self, failure: &Failure) {
        let Some(lane) = self.lane(failure.op) else { return };
        lane.calls.fetch_add(1, Ordering::Relaxed);
        if failure.next == Next::Throttled {
            lane.throttled.fetch_add(1, Ordering::Relaxed);
            self.with(failure.op, |bucket, now| {
                bucket.throttled(now);
                if let Some(hint) = failure.hint {
                    bucket.hold(now + hint.min(LONGEST_HOLD));
                }
            });
            return;
        }
        lane.errors.fetch_add(1, Ordering::Relaxed);
        if failure.http.is_some_and(|http| http < 500) {
            self.with(failure.op, Bucket::succeeded);
        }
    }

    /// The largest piece that keeps the bandwidth smooth; `None` when it is not limited.
    pub(super) fn piece(&self) -> Option<usize> {
        let (rate, _) = self.bandwidth.as_ref()?;
        Some(usize::try_from(rate / 16).unwrap_or(usize::MAX).clamp(1024, 64 * 1024))
    }

    /// How long to wait before `bytes` may go out.
    pub(super) fn bytes(&self, bytes: usize) -> Duration {
        let Some((_, bucket)) = &self.bandwidth else { return Duration::ZERO };
        let mut bucket = bucket.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        bucket.reserve_many(u32::try_from(bytes).unwrap_or(u32::MAX), self.now())
    }

    /// What each operation did so far.
    pub(super) fn usage(&self) -> Vec<Usage> {
        let usage = |op: Op| {
            let lane = self.lane(op)?;
            let (rate, slowed) = self.with(op, |bucket, _| (bucket.rate(), bucket.is_slowed())).unwrap_or_default();
            Some(Usage {
                op,
                calls: lane.calls.load(Ordering::Relaxed),
                throttled: lane.throttled.load(Ordering::Relaxed),
                errors: lane.errors.load(Ordering::Relaxed),
                rate,
                slowed,
            })
        };
        Op::ALL.into_iter().filter_map(usage).collect()
    }
}
