//! Token buckets, one for each operation.

use std::collections::HashMap;
use std::time::Duration;

use crate::op::Op;
use crate::settings::Throttle;

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Duration,
}

/// The buckets in force.
#[derive(Debug)]
pub(crate) struct Buckets {
    throttle: Throttle,
    buckets: HashMap<Op, Bucket>,
}

impl Buckets {
    pub(crate) fn new(throttle: Throttle) -> Self {
        Self { throttle, buckets: HashMap::new() }
    }

    /// Takes one token for `op` at `now`, the time since a fixed moment; `false` if there is none. A refused request
    /// costs nothing.
    pub(crate) fn take(&mut self, op: Op, now: Duration) -> bool {
        let Some(rate) = self.throttle.of(op) else {
            return true;
        };
        let burst = f64::from(rate.burst);
        let bucket = self.buckets.entry(op).or_insert(Bucket { tokens: burst, at: now });
        let gained = now.saturating_sub(bucket.at).as_secs_f64() * rate.per_second;
        bucket.tokens = (bucket.tokens + gained).min(burst);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_then_rate_per_operation() {
        let mut buckets = Buckets::new(Throttle::every(2.0, 5));
        let start = Duration::from_secs(7);
        let op = Op::StartAttachedFileUpload;
        assert_eq!((0..9).filter(|_| buckets.take(op, start)).count(), 5);
        assert!(buckets.take(Op::CompleteAttachedFileUpload, start));
        assert!(!buckets.take(op, start + Duration::from_millis(400)));
        assert!(buckets.take(op, start + Duration::from_millis(500)));
        let later = start + Duration::from_secs(60);
        assert_eq!((0..9).filter(|_| buckets.take(op, later)).count(), 5);
    }
}
