//! Faults of the environment: the network, the endpoint, the credentials, the clock, the journal's disk.
//!
//! They say nothing about any file, so they pause all calls instead of using up a file's tries. One log line when
//! it starts, at most one every 30 s while it lasts, one when it ends.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::aws::{Failure, Next};
use crate::core::retry;
use crate::host::time::Instant;
use crate::journal::JournalError;

/// Longest pause between two probes.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Least time between two log lines about the same storm.
const LOG_GAP: Duration = Duration::from_secs(30);

/// What is the matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    Offline,
    Credentials,
    Journal,
}

#[derive(Debug)]
struct Storm {
    trouble: Trouble,
    text: String,
    began: Instant,
    probes: u32,
    until: Instant,
    logged: Instant,
}

/// Whether calls make sense at present.
#[derive(Debug, Default)]
pub struct Weather(Mutex<Option<Storm>>);

impl Weather {
    /// Takes note of a failure. `true` if it is one of the environment.
    pub fn note(&self, failure: &Failure, random: f64) -> bool {
        let trouble = match failure.next {
            Next::Offline => Trouble::Offline,
            Next::Credentials => Trouble::Credentials,
            _ => return false,
        };
        self.blow(trouble, failure.to_string(), random);
        true
    }

    /// The journal refused a write: no call may be made that could not be recorded.
    pub fn journal(&self, error: &JournalError) {
        self.blow(Trouble::Journal, error.to_string(), 1.0);
    }

    fn blow(&self, trouble: Trouble, text: String, random: f64) {
        let now = Instant::now();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.as_mut().filter(|storm| storm.trouble == trouble) {
            // Calls that were under way when it began fail too; only a probe after the pause counts.
            Some(storm) if now < storm.until => {}
            Some(storm) => {
                storm.probes += 1;
                storm.until = now + pause(storm.probes, random);
                if now.saturating_duration_since(storm.logged) >= LOG_GAP {
                    storm.logged = now;
                    tracing::warn!(for_s = storm.began.elapsed().as_secs(), "still {}: {text}", words(trouble));
                }
                storm.text = text;
            }
            None => {
                tracing::warn!("{}: {text}; waiting, no file's tries are used up", words(trouble));
                let until = now + pause(0, random);
                *state = Some(Storm { trouble, text, began: now, probes: 0, until, logged: now });
            }
        }
    }

    /// A call was answered: the network and the credentials are good. It says nothing about the journal.
    pub fn clear(&self) {
        self.over(|trouble| trouble != Trouble::Journal);
    }

    /// The journal took a write.
    pub fn journal_is_good(&self) {
        self.over(|trouble| trouble == Trouble::Journal);
    }

    /// A call was refused for a reason of its own, so it came through.
    pub fn refused(&self, failure: &Failure) {
        let judged = failure.http.is_some_and(|http| (400..500).contains(&http) && http != 429);
        if judged && !failure.op.is_transfer() {
            self.clear();
        }
    }

    fn over(&self, which: impl Fn(Trouble) -> bool) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(storm) = state.take_if(|storm| which(storm.trouble)) {
            tracing::info!(after_s = storm.began.elapsed().as_secs(), "no longer {}", words(storm.trouble));
        }
    }

    /// Until when no call should be made.
    pub fn paused_until(&self) -> Option<Instant> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.as_ref().map(|storm| storm.until).filter(|until| *until > Instant::now())
    }

    /// What is the matter, since how many probes, in words.
    pub fn trouble(&self) -> Option<(Trouble, u32, String)> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.as_ref().map(|storm| (storm.trouble, storm.probes, storm.text.clone()))
    }
}

fn pause(probes: u32, random: f64) -> Duration {
    // Never less than half of the step, so that a storm is not hammered at by luck.
    retry::delay(probes, None, 0.5 + random / 2.0).min(LONGEST_PAUSE)
}

fn words(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Offline => "out of reach of the service",
        Trouble::Credentials => "refused by AWS for its credentials",
        Trouble::Journal => "without a journal that takes writes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::Op;

    fn failure(next: Next) -> Failure {
        Failure {
            op: Op::Start,
            next,
            certain: true,
            code: "ConnectFailed".into(),
            message: String::new(),
            http: None,
            request_id: None,
            hint: None,
        }
    }

    #[test]
    fn only_the_environment_makes_weather() {
        let weather = Weather::default();
        assert!(!weather.note(&failure(Next::Retry), 0.5));
        assert!(weather.paused_until().is_none());
        assert!(weather.note(&failure(Next::Offline), 0.5));
        assert!(weather.paused_until().is_some());
        weather.clear();
        assert!(weather.paused_until().is_none() && weather.trouble().is_none());
    }

    #[test]
    fn calls_that_fail_together_count_as_one_probe() {
        let weather = Weather::default();
        for _ in 0..5 {
            weather.note(&failure(Next::Offline), 1.0);
        }
        assert_eq!(weather.trouble().map(|(_, probes, _)| probes), Some(0));
    }
}
