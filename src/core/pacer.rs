//! The client's side of a quota: when may the next call of one operation go out? Pure: time is an argument.
//!
//! AWS counts calls per account and Region, and other programs draw on the same bucket (SERVICE.md 1.3), so the
//! rate that is really free is unknown and changes. [`Bucket`] is a virtual schedule (GCRA): each call takes the
//! next free slot, so the long-run rate is exact whatever the timers do, and nobody polls. Throttled calls lower
//! the rate by a tenth (by half while they come thick: the first guess was far off); successes raise it along a
//! cubic, flat near the rate that last proved too high and steep far from it. That keeps close below a shared
//! limit with about one throttled call in a hundred, and finds back to the full rate when the others leave.
//!
//! Simulated (`pacer_sim`): alone at exactly the quota 99.8 % of it and no throttled call; ten clients that each
//! believe the quota of 2/s to be theirs, once settled, 98 % with 1 % throttled.

use std::time::Duration;

/// Successes from a reduction until the rate is back where it was throttled.
const PLATEAU: f64 = 200.0;
/// What a throttled call leaves of the rate.
const EASE: f64 = 0.9;
/// The same, when the last reduction was fewer than [`THICK`] successes ago.
const BACK_OFF: f64 = 0.5;
const THICK: f64 = 10.0;
/// Time without a throttle counts like successes at this share of the configured rate. By calls alone, one that was
/// pushed far down while others began would take a day to find back to 1/s.
const SHARE: f64 = 0.1;
/// How much steeper the curve is beyond the limit: the others may have left.
const PROBE: f64 = 10.0;
/// The rate never falls below this share of the configured one: probing must go on.
const FLOOR: f64 = 1.0 / 256.0;
/// Shorter waits are not worth a timer; the debt stays booked, so the long-run rate holds.
const NO_TIMER: Duration = Duration::from_millis(1);
/// Calls in flight together are throttled together; they count once.
const ONE_EPOCH: Duration = Duration::from_millis(200);

/// The pacer of one operation.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// Calls per second, as configured; never exceeded.
    ceiling: f64,
    burst: f64,
    /// Calls per second at present.
    rate: f64,
    /// The rate that last proved too high.
    limit: f64,
    /// Successes since the last reduction.
    successes: f64,
    reduced_at: Option<Duration>,
    /// When the next slot begins, if no burst is left: seconds on the caller's clock.
    next_slot: f64,
}

impl Bucket {
    /// A bucket that starts full. `rate` is in calls per second, `burst` in calls (at least 1).
    pub fn new(rate: f64, burst: u32) -> Self {
        let ceiling = if rate.is_finite() && rate > 0.0 { rate } else { 1.0 };
        Self {
            ceiling,
            burst: f64::from(burst.max(1)),
            rate: ceiling,
            limit: ceiling,
            successes: f64::INFINITY,
            reduced_at: None,
            next_slot: f64::NEG_INFINITY,
        }
    }

    /// Takes the next slot and says how long to wait for it; zero means now.
    ///
    /// `now` comes from one monotonic clock and never goes back. A slot once taken is spent.
    pub fn reserve(&mut self, now: Duration) -> Duration {
        self.reserve_many(1, now)
    }

    /// Takes `count` slots at once; the wait is for the first of them, those behind wait for all.
    pub fn reserve_many(&mut self, count: u32, now: Duration) -> Duration {
        let now = now.as_secs_f64();
        let interval = 1.0 / self.rate;
        // An idle bucket fills up to `burst` calls, no further.
        let slot = self.next_slot.max(now - (self.burst - 1.0) * interval);
        self.next_slot = slot + interval * f64::from(count);
        let wait = Duration::try_from_secs_f64(slot - now).unwrap_or(Duration::ZERO);
        if wait < NO_TIMER { Duration::ZERO } else { wait }
    }

    /// The service throttled a call: slow down, and let no burst follow.
    pub fn throttled(&mut self, now: Duration) {
        let epoch = ONE_EPOCH.max(Duration::try_from_secs_f64(1.0 / self.rate).unwrap_or(ONE_EPOCH));
        if self.reduced_at.is_some_and(|at| now.saturating_sub(at) < epoch) {
            return;
        }
        let share = if self.successes < THICK { BACK_OFF } else { EASE };
        self.limit = self.rate;
        self.rate = (self.rate * share).max(self.ceiling * FLOOR);
        self.successes = 0.0;
        self.reduced_at = Some(now);
        // The shared bucket is empty: whatever burst we thought we had is gone.
        self.next_slot = self.next_slot.max(now.as_secs_f64() + 1.0 / self.rate);
    }

    /// The service took a call: recover.
    pub fn succeeded(&mut self, now: Duration) {
        if self.rate >= self.ceiling {
            return;
        }
        self.successes += 1.0;
        let unthrottled_s = self.reduced_at.map_or(Duration::ZERO, |at| now.saturating_sub(at)).as_secs_f64();
        let progress = self.successes.max(unthrottled_s * self.ceiling * SHARE);
        let distance = progress / PLATEAU - 1.0;
        let steepness = if distance > 0.0 { PROBE } else { 1.0 };
        let target = self.limit * (1.0 + (1.0 - EASE) * steepness * distance.powi(3));
        self.rate = self.rate.max(target).min(self.ceiling);
    }

    /// Lets no call go out before `until`, as the service asked (Retry-After; LESSONS L31).
    pub fn hold(&mut self, until: Duration) {
        self.next_slot = self.next_slot.max(until.as_secs_f64());
    }

    /// Calls per second at present.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Whether the service has made it slow down and it has not recovered yet.
    pub fn is_slowed(&self) -> bool {
        self.rate < self.ceiling
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_full_bucket_gives_its_burst_and_then_keeps_the_rate() {
        let mut bucket = Bucket::new(2.0, 3);
        let waits: Vec<f64> = (0..6).map(|_| bucket.reserve(seconds(10.0)).as_secs_f64()).collect();
        assert_eq!(waits, [0.0, 0.0, 0.0, 0.5, 1.0, 1.5]);
    }

    #[test]
    fn late_timers_do_not_add_up() {
        let (mut bucket, mut now) = (Bucket::new(2.0, 1), 0.0);
        for _ in 0..100_000 {
            now += bucket.reserve(seconds(now)).as_secs_f64() + 0.0011;
        }
        assert!((now - 50_000.0).abs() < 1.0, "{now}");
    }

    #[test]
    fn a_very_high_rate_needs_no_timer() {
        let mut bucket = Bucket::new(1e6, 3);
        assert!((0..1000).all(|n| bucket.reserve(Duration::from_micros(n)).is_zero()));
    }

    #[test]
    fn a_throttle_takes_the_burst_and_a_tenth_and_counts_once() {
        let mut bucket = Bucket::new(10.0, 5);
        bucket.throttled(seconds(1.0));
        bucket.throttled(seconds(1.1));
        assert_eq!(bucket.rate(), 9.0);
        assert!(bucket.reserve(seconds(1.0)) > seconds(0.11));
        bucket.throttled(seconds(2.0));
        assert_eq!(bucket.rate(), 4.5);
    }

    #[test]
    fn a_hold_is_kept() {
        let mut bucket = Bucket::new(10.0, 5);
        bucket.hold(seconds(7.0));
        assert_eq!(bucket.reserve(seconds(2.0)), seconds(5.0));
    }

    #[test]
    fn it_recovers_to_the_full_rate_and_no_further() {
        let mut bucket = Bucket::new(2.0, 3);
        for n in 0..10 {
            bucket.throttled(seconds(f64::from(n) * 300.0));
        }
        assert!(bucket.rate() < 0.02, "{}", bucket.rate());
        let mut calls = 0;
        while bucket.is_slowed() && calls < 2000 {
            bucket.succeeded(Duration::ZERO);
            calls += 1;
        }
        assert!((100..1500).contains(&calls), "{calls}");
        assert_eq!(bucket.rate(), 2.0);
    }

    #[test]
    fn pushed_far_down_it_finds_back_in_hours_not_in_days() {
        for (ceiling, most_s) in [(1.0, 15_000.0), (2.0, 7_500.0), (10.0, 1_500.0)] {
            let mut bucket = Bucket::new(ceiling, 3);
            for n in 0..12 {
                bucket.throttled(seconds(f64::from(n) * 1000.0));
            }
            let began = seconds(11_000.0);
            let mut now = began;
            while bucket.is_slowed() && (now - began).as_secs_f64() < most_s {
                now += bucket.reserve(now);
                bucket.succeeded(now);
            }
            assert!(!bucket.is_slowed(), "{ceiling}/s: {} after {most_s} s", bucket.rate());
        }
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate(
            rate in 0.1..100.0f64, burst in 1..20u32, gaps in proptest::collection::vec(0.0..2.0f64, 1..200)
        ) {
            let (mut bucket, mut now, mut calls) = (Bucket::new(rate, burst), 0.0, Vec::new());
            for gap in gaps {
                now += gap / rate;
                let wait = bucket.reserve(seconds(now)).as_secs_f64();
                calls.push(now + wait);
            }
            for (n, first) in calls.iter().enumerate() {
                for (m, last) in calls.iter().enumerate().skip(n) {
                    let most = (last - first + 0.002) * rate + f64::from(burst) + 0.001;
                    prop_assert!((m - n + 1) as f64 <= most + 1.0, "{} calls in {}", m - n + 1, last - first);
                }
            }
        }

        #[test]
        fn the_rate_stays_within_its_bounds(rate in 0.1..1e6f64, steps in proptest::collection::vec((any::<bool>(), 0..5000u64), 0..300)) {
            let (mut bucket, mut now) = (Bucket::new(rate, 3), Duration::ZERO);
            for (throttled, gap) in steps {
                now += Duration::from_millis(gap);
                if throttled { bucket.throttled(now) } else { bucket.succeeded(now) }
                prop_assert!(bucket.rate() <= rate && bucket.rate() >= rate * FLOOR);
            }
        }
    }
}
