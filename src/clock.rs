//! Reads the clocks that [`core::clock`](crate::core::clock) compares, and notices when the host slept.

use std::sync::OnceLock;
use std::time::Duration;

use crate::core::clock::{Reading, step_ms};
use crate::host::time::Instant;
use crate::types::UnixMillis;

/// Both clocks, or `None` where the kernel does not tell (no `/proc`): then steps go unnoticed.
pub fn read() -> Option<Reading> {
    #[cfg(test)]
    if let Some(up_ms) = crate::host::simulated::true_time() {
        return Some(Reading { boot: "simulated".to_owned(), up_ms, wall_ms: UnixMillis::now().0 });
    }
    static BOOT: OnceLock<Option<String>> = OnceLock::new();
    let boot = BOOT.get_or_init(|| std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()).as_ref()?;
    let up = std::fs::read_to_string("/proc/uptime").ok()?;
    Some(Reading { boot: boot.trim().to_owned(), up_ms: up_ms(&up)?, wall_ms: UnixMillis::now().0 })
}

/// Milliseconds from the first number of `/proc/uptime`, seconds with two decimals.
fn up_ms(text: &str) -> Option<i64> {
    let (seconds, rest) = text.split_ascii_whitespace().next()?.split_once('.')?;
    let hundredths: i64 = rest.get(..2)?.parse().ok()?;
    seconds.parse::<i64>().ok()?.checked_mul(1_000)?.checked_add(hundredths * 10)
}

/// What happened to the clocks since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    Nothing,
    /// The wall clock was put forward or back (negative) by so many milliseconds.
    Stepped(i64),
    /// The host slept, or was stopped, for about so long.
    Slept(Duration),
}

/// Looks again and again at the clocks.
#[derive(Debug)]
pub struct Watch {
    last: Option<Reading>,
    at: Instant,
}

/// Less is a busy host, not a sleep.
const LEAST_SLEEP: Duration = Duration::from_secs(10);

impl Watch {
    pub fn new() -> Self {
        Self { last: read(), at: Instant::now() }
    }

    /// What happened since the last look.
    pub fn look(&mut self) -> Happened {
        let (now, at) = (read(), Instant::now());
        let awake = at.saturating_duration_since(self.at);
        let happened = match (&self.last, &now) {
            (Some(last), Some(now)) => compare(last, now, awake),
            _ => Happened::Nothing,
        };
        (self.last, self.at) = (now, at);
        happened
    }
}

/// `awake`: time on a clock that stands still while the host sleeps.
fn compare(last: &Reading, now: &Reading, awake: Duration) -> Happened {
    let step = step_ms(last, now);
    if step != 0 {
        return Happened::Stepped(step);
    }
    let passed = Duration::from_millis(u64::try_from(now.up_ms.saturating_sub(last.up_ms)).unwrap_or(0));
    let asleep = passed.saturating_sub(awake);
    if asleep >= LEAST_SLEEP { Happened::Slept(asleep) } else { Happened::Nothing }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_of_this_host_can_be_read_and_agree() {
        let mut watch = Watch::new();
        assert!(watch.last.is_some(), "/proc is there");
        assert_eq!(watch.look(), Happened::Nothing);
    }

    #[test]
    fn uptimes_are_read_to_the_hundredth() {
        assert_eq!(up_ms("12345.67 98765.43\n"), Some(12_345_670));
        for text in ["", "12", "x.10 1", "1.x 2", "1.2", "99999999999999999999.00 1"] {
            assert_eq!(up_ms(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_sleep_is_no_step() {
        let at = |up_ms, wall_ms| Reading { boot: "b".into(), up_ms, wall_ms };
        let hour = Duration::from_secs(3_600);
        let slept = compare(&at(0, 0), &at(3_601_000, 3_601_000), Duration::from_secs(1));
        assert_eq!(slept, Happened::Slept(hour));
        assert_eq!(compare(&at(0, 0), &at(3_601_000, 3_601_000), hour), Happened::Nothing);
        assert_eq!(compare(&at(0, 0), &at(1_000, 86_401_000), Duration::from_secs(1)), Happened::Stepped(86_400_000));
    }
}
