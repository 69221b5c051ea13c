//! How far the wall clock was stepped between two moments. Pure: both readings are arguments.
//!
//! Graces, waits and the budget's hour are kept as wall-clock times, since they outlive the process. What counts for them
//! is time that really passed, which the clock since boot tells (suspended time included), so a step of the wall clock is
//! taken out by moving those times along with it. A step forward then ends no grace early and refills no budget, one back
//! leaves nothing waiting for a day.

/// Both clocks, read together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Which boot `up_ms` counts from.
    pub boot: String,
    /// Milliseconds since that boot, suspended time included.
    pub up_ms: i64,
    /// Milliseconds since 1970 by the wall clock.
    pub wall_ms: i64,
}

/// Smaller steps are none: the clocks are read one after the other, and the wall clock is slewed.
const TOLERANCE_MS: i64 = 2_000;

/// Milliseconds by which the wall clock was put forward (or back, negative) between the readings, as far as can be told;
/// 0 for none.
///
/// Across a boot nobody counted the time: only the time since the boot is sure to have passed. What the wall clock shows
/// beyond it is taken for a step, so that a grace goes by the time that casedrop's host was up.
pub fn step_ms(before: &Reading, now: &Reading) -> i64 {
    let wall = now.wall_ms.saturating_sub(before.wall_ms);
    let passed = if now.boot == before.boot { now.up_ms.saturating_sub(before.up_ms) } else { now.up_ms }.max(0);
    let step = wall.saturating_sub(passed);
    // The wall clock may be slewed by at most one part in a thousand on top.
    let tolerance = TOLERANCE_MS.saturating_add(passed / 1_000);
    if step.saturating_abs() <= tolerance { 0 } else { step }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86_400_000;

    fn at(boot: &str, up_ms: i64, wall_ms: i64) -> Reading {
        Reading { boot: boot.into(), up_ms, wall_ms }
    }

    #[test]
    fn steps_are_told_from_time_that_passed() {
        let before = at("a", 1_000_000, 50 * DAY);
        let table = [
            ("time passes", at("a", 1_060_000, 50 * DAY + 60_000), 0),
            ("an hour of suspend passes on both clocks", at("a", 4_600_000, 50 * DAY + 3_600_000), 0),
            ("slewed a little", at("a", 1_060_000, 50 * DAY + 61_500), 0),
            ("a day forward", at("a", 1_001_000, 51 * DAY + 1_000), DAY),
            ("a day back", at("a", 1_001_000, 49 * DAY + 1_000), -DAY),
            ("back to 1970", at("a", 1_001_000, 1_000), -50 * DAY),
            ("a boot after a night off", at("b", 20_000, 50 * DAY + 30_000_000), 29_980_000),
            ("a boot, quick", at("b", 20_000, 50 * DAY + 21_000), 0),
            ("a boot without a battery: 1970", at("b", 20_000, 20_000), -50 * DAY),
            (
                "months in one boot, slewed within a thousandth",
                at("a", 1_000_000 + 100 * DAY, 150 * DAY + 5_000_000),
                0,
            ),
            ("a clock since boot that runs back says that nothing passed", at("a", 0, 50 * DAY + 10_000), 10_000),
        ];
        for (what, now, step) in table {
            assert_eq!(step_ms(&before, &now), step, "{what}");
        }
    }

    proptest! {
        /// Moved along with the steps, no time comes nearer than real time brings it, and none goes away for good.
        #[test]
        fn what_is_left_shrinks_by_the_time_that_passed(
            moves in prop::collection::vec((0_i64..DAY, -DAY..DAY, any::<bool>()), 1..20),
        ) {
            let mut reading = at("first", 5_000_000, 20_000 * DAY);
            let wait = 40 * DAY;
            let (mut due, mut passed, mut slack) = (reading.wall_ms + wait, 0, 0);
            for (n, (real, stepped, boots)) in moves.into_iter().enumerate() {
                let mut next = reading.clone();
                next.wall_ms += real + stepped;
                if boots {
                    // Off for the first half of it.
                    next.boot = format!("{n}");
                    next.up_ms = real / 2;
                } else {
                    next.up_ms += real;
                }
                let sure = if boots { real / 2 } else { real };
                passed += sure;
                slack += TOLERANCE_MS + sure / 1_000;
                due += step_ms(&reading, &next);
                reading = next;
                let left = due - reading.wall_ms;
                prop_assert!((left - (wait - passed)).abs() <= slack, "{} left, {} passed", left, passed);
            }
        }

        #[test]
        fn no_reading_panics(a: i64, b: i64, c: i64, d: i64, same: bool) {
            step_ms(&at("a", a, b), &at(if same { "a" } else { "b" }, c, d));
        }
    }
}
