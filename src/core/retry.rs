//! When to try again, and when to look again. Pure: the random number and the age are arguments.

use std::time::Duration;

/// The first upper bound of a wait.
const BASE: Duration = Duration::from_secs(1);
/// No wait of our own choice is longer (LESSONS L34).
const CAP: Duration = Duration::from_secs(5 * 60);
/// A server that asks for more than this is not taken at its word.
const HINT_CAP: Duration = Duration::from_secs(60 * 60);

/// How long to wait before the next try.
///
/// Full jitter: uniform between zero and a bound that starts at 1 s, doubles with each failed try and stops at
/// 5 min. `tries` counts the failures so far, at least 1. `hint` (Retry-After) is a lower bound, at most 1 h; the
/// jitter is added on top of it, so that many clients given the same hint do not return together.
/// `random` lies in 0..1; anything else is taken as the nearest bound.
pub fn delay(tries: u32, hint: Option<Duration>, random: f64) -> Duration {
    let doublings = tries.saturating_sub(1).min(16);
    let bound = BASE.saturating_mul(1 << doublings).min(CAP);
    let random = if random.is_finite() { random.clamp(0.0, 1.0) } else { 1.0 };
    let jitter = bound.mul_f64(random);
    match hint {
        Some(hint) => hint.min(HINT_CAP).saturating_add(jitter),
        None => jitter,
    }
}

/// How long to wait before looking at the status again, `age` after the complete call.
///
/// The first look is due 2 s after it, then the gaps grow: 4, 8, 15, 30, 60 s; from 15 min on one look every
/// 5 min (SERVICE.md 2.5: small files took 2 to 5 s in the field, a scanner has 60 s).
pub fn follow_gap(age: Duration) -> Duration {
    // Each row: until this age, wait so long.
    const GAPS: [(u64, u64); 5] = [(2, 2), (6, 4), (14, 8), (29, 15), (59, 30)];
    let seconds = age.as_secs();
    if seconds >= 15 * 60 {
        return Duration::from_secs(5 * 60);
    }
    let gap = GAPS.iter().find(|(until, _)| seconds < *until).map_or(60, |(_, gap)| *gap);
    Duration::from_secs(gap)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_wait_is_longer_than_its_bound(tries: u32, random in 0.0..=1.0f64) {
            let wait = delay(tries, None, random);
            prop_assert!(wait <= CAP);
            prop_assert!(wait <= Duration::from_secs(1 << tries.saturating_sub(1).min(9)));
        }

        #[test]
        fn a_hint_is_a_lower_bound_and_is_capped(tries: u32, hint: u64, random in 0.0..=1.0f64) {
            let hint = Duration::from_secs(hint);
            let wait = delay(tries, Some(hint), random);
            prop_assert!(wait >= hint.min(HINT_CAP));
            prop_assert!(wait <= HINT_CAP + CAP);
        }

        #[test]
        fn more_tries_never_shorten_the_wait(tries in 0..u32::MAX, random in 0.0..=1.0f64) {
            prop_assert!(delay(tries, None, random) <= delay(tries + 1, None, random));
        }

        #[test]
        fn odd_random_numbers_do_no_harm(tries: u32, random: f64) {
            prop_assert!(delay(tries, None, random) <= CAP);
        }

        #[test]
        fn gaps_stay_within_their_bounds(age: u64) {
            let gap = follow_gap(Duration::from_millis(age)).as_secs();
            prop_assert!((2..=300).contains(&gap));
        }
    }

    #[test]
    fn the_bound_doubles_up_to_its_cap() {
        let bounds: Vec<u64> = (1..=11).map(|tries| delay(tries, None, 1.0).as_secs()).collect();
        assert_eq!(bounds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }

    #[test]
    fn looks_follow_the_schedule() {
        let (mut age, mut looks) = (Duration::ZERO, Vec::new());
        while age < Duration::from_secs(30 * 60) {
            age += follow_gap(age);
            looks.push(age.as_secs());
        }
        assert_eq!(looks[..7], [2, 6, 14, 29, 59, 119, 179]);
        assert_eq!(looks[looks.len() - 3..].iter().zip(&looks[looks.len() - 2..]).map(|(a, b)| b - a).max(), Some(300));
        assert!(looks.len() < 25, "{looks:?}");
    }
}
