//! Faults of the environment: the network, the endpoint, the credentials, the clock, the journal's disk, descriptors.
//!
//! They say nothing about any file, so they pause all calls instead of using up a file's tries. One log line when
//! it starts, at most one every 30 s while it lasts, one when it ends; one that comes and goes within 30 s is one
//! storm to the log. Kinds are kept apart: the end of one is not the end of another.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::aws::{Failure, Next};
use crate::core::retry;
use crate::host::time::Instant;
use crate::journal::JournalError;
use crate::types::UnixMillis;

/// Longest pause between two probes.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Least time between two log lines about the same kind of storm.
const LOG_GAP: Duration = Duration::from_secs(30);

/// What is the matter; what is named first when there is more than one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    Journal,
    /// No file can be opened: the limit of the process or of the host.
    Handles,
    Credentials,
    /// AWS refuses requests because this host's clock is wrong.
    Clock,
    Offline,
}

#[derive(Debug)]
struct Storm {
    text: String,
    began: Instant,
    /// Its last failure: where nothing is left to do, nothing is tried, and it may be over unnoticed.
    seen: Instant,
    probes: u32,
    until: Instant,
    /// The last line about it; `None` when it began too soon after the last of its kind to be told.
    logged: Option<Instant>,
}

#[derive(Debug, Default)]
struct State {
    storms: BTreeMap<Trouble, Storm>,
    /// When the last storm of the kind was told of.
    told: BTreeMap<Trouble, Instant>,
}

/// A storm that lasts, as the daemon tells whoever asks. The texts are those of the log: no credential, no URL that
/// was signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    pub code: String,
    pub what: String,
    pub detail: String,
    pub since: UnixMillis,
    pub seen: UnixMillis,
}

/// Whether calls make sense at present.
#[derive(Debug, Default)]
pub struct Weather(Mutex<State>);

impl Weather {
    /// Takes note of a failure. `true` if it is one of the environment.
    pub fn note(&self, failure: &Failure, random: f64) -> bool {
        let trouble = match failure.next {
            Next::Offline => Trouble::Offline,
            Next::Credentials if failure.blames_clock() => Trouble::Clock,
            Next::Credentials => Trouble::Credentials,
            _ => return false,
        };
        if failure.http.is_some() {
            // It was answered.
            self.over(|trouble| trouble == Trouble::Offline);
        }
        self.blow(trouble, failure.to_string(), random);
        true
    }

    /// The journal refused a write: no call may be made that could not be recorded.
    pub fn journal(&self, error: &JournalError) {
        self.blow(Trouble::Journal, error.to_string(), 1.0);
    }

    /// Nothing can be opened, so nothing can be said of any file or folder.
    pub fn no_handles(&self, text: &str) {
        self.blow(Trouble::Handles, text.to_owned(), 0.0);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn blow(&self, trouble: Trouble, text: String, random: f64) {
        let now = Instant::now();
        let state = &mut *self.state();
        match state.storms.get_mut(&trouble) {
            // Calls that were under way when it began fail too; only a probe after the pause counts.
            Some(storm) if now < storm.until => storm.seen = now,
            Some(storm) => {
                storm.seen = now;
                storm.probes += 1;
                storm.until = now + pause(storm.probes, random);
                if state.told.get(&trouble).is_none_or(|told| now.saturating_duration_since(*told) >= LOG_GAP) {
                    state.told.insert(trouble, now);
                    storm.logged = Some(now);
                    tracing::warn!(for_s = storm.began.elapsed().as_secs(), "still {}: {text}", words(trouble));
                }
                storm.text = text;
            }
            None => {
                let logged =
                    state.told.get(&trouble).is_none_or(|told| now.saturating_duration_since(*told) >= LOG_GAP);
                if logged {
                    state.told.insert(trouble, now);
                    tracing::warn!("{}: {text}; waiting, no file's tries are used up", words(trouble));
                }
                let (until, logged) = (now + pause(0, random), logged.then_some(now));
                state.storms.insert(trouble, Storm { text, began: now, seen: now, probes: 0, until, logged });
            }
        }
    }

    /// A call was answered: the network, the credentials and the clock are good. It says nothing about this host.
    pub fn clear(&self) {
        self.over(|trouble| matches!(trouble, Trouble::Offline | Trouble::Credentials | Trouble::Clock));
    }

    /// The journal took a write.
    pub fn journal_is_good(&self) {
        self.over(|trouble| trouble == Trouble::Journal);
    }

    /// A folder could be opened.
    pub fn handles_are_free(&self) {
        self.over(|trouble| trouble == Trouble::Handles);
    }

    /// A call was refused for a reason of its own, so it came through.
    pub fn refused(&self, failure: &Failure) {
        let judged = failure.http.is_some_and(|http| (400..500).contains(&http) && http != 429);
        if judged && !failure.op.is_transfer() {
            self.clear();
        }
    }

    fn over(&self, which: impl Fn(Trouble) -> bool) {
        self.state().storms.retain(|trouble, storm| {
            let over = which(*trouble);
            if over && storm.logged.is_some() {
                tracing::info!(after_s = storm.began.elapsed().as_secs(), "no longer {}", words(*trouble));
            }
            !over
        });
    }

    /// Until when no call should be made.
    pub fn paused_until(&self) -> Option<Instant> {
        let until = self.state().storms.values().map(|storm| storm.until).max();
        until.filter(|until| *until > Instant::now())
    }

    /// What is the matter, since how many probes, in words.
    pub fn trouble(&self) -> Option<(Trouble, u32, String)> {
        let state = self.state();
        state.storms.first_key_value().map(|(trouble, storm)| (*trouble, storm.probes, storm.text.clone()))
    }

    /// Every storm that lasts, what is named first at the front.
    pub fn told(&self) -> Vec<Told> {
        let (state, now) = (self.state(), UnixMillis::now());
        let told = |(trouble, storm): (&Trouble, &Storm)| Told {
            code: code(*trouble).to_owned(),
            what: words(*trouble).to_owned(),
            detail: storm.text.clone(),
            since: now.minus(storm.began.elapsed()),
            seen: now.minus(storm.seen.elapsed()),
        };
        state.storms.iter().map(told).collect()
    }

    /// Why AWS refuses to talk to this host, in words: the credentials or the clock.
    pub fn refusal(&self) -> Option<String> {
        let state = self.state();
        let storm = state.storms.get(&Trouble::Credentials).or_else(|| state.storms.get(&Trouble::Clock));
        storm.map(|storm| storm.text.clone())
    }
}

fn pause(probes: u32, random: f64) -> Duration {
    // Never less than half of the step, so that a storm is not hammered at by luck.
    retry::delay(probes, None, 0.5 + random / 2.0).min(LONGEST_PAUSE)
}

/// The stable word, for scripts.
fn code(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Offline => "offline",
        Trouble::Credentials => "credentials",
        Trouble::Clock => "clock",
        Trouble::Handles => "descriptors",
        Trouble::Journal => "journal",
    }
}

fn words(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Offline => "out of reach of the service",
        Trouble::Credentials => "refused by AWS for its credentials",
        Trouble::Clock => "refused by AWS for its clock",
        Trouble::Handles => "without descriptors to open files with",
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

    #[test]
    fn the_end_of_one_storm_is_not_the_end_of_another() {
        let weather = Weather::default();
        weather.journal(&JournalError::internal("x"));
        weather.no_handles("EMFILE");
        weather.note(&failure(Next::Offline), 1.0);
        weather.clear();
        assert_eq!(weather.trouble().map(|(trouble, ..)| trouble), Some(Trouble::Journal));
        weather.journal_is_good();
        assert_eq!(weather.trouble().map(|(trouble, ..)| trouble), Some(Trouble::Handles));
        weather.handles_are_free();
        assert_eq!(weather.trouble(), None);
    }

    #[test]
    fn every_storm_that_lasts_is_told_with_its_text() {
        let weather = Weather::default();
        assert_eq!(weather.told(), []);
        weather.note(&failure(Next::Offline), 1.0);
        weather.journal(&JournalError::DiskFull { path: "/j".into() });
        let told = weather.told();
        let shown: Vec<_> = told.iter().map(|told| (told.code.as_str(), told.detail.as_str())).collect();
        let full = "no space is left for the journal /j: free some on its file system; nothing was lost";
        assert_eq!(shown, [("journal", full), ("offline", "StartAttachedFileUpload: ConnectFailed")]);
        assert!(told.iter().all(|told| told.since <= told.seen && told.seen <= UnixMillis::now()));
        weather.clear();
        assert_eq!(weather.told().len(), 1);
        weather.journal_is_good();
        assert_eq!(weather.told(), []);
    }

    #[test]
    fn an_answer_ends_being_offline_even_when_it_is_a_refusal() {
        let weather = Weather::default();
        weather.note(&failure(Next::Offline), 1.0);
        weather.note(&Failure { http: Some(403), ..failure(Next::Credentials) }, 1.0);
        assert_eq!(weather.trouble().map(|(trouble, ..)| trouble), Some(Trouble::Credentials));
        let clock = Failure { message: format!("{}; x", crate::aws::WRONG_CLOCK), ..failure(Next::Credentials) };
        weather.clear();
        assert_eq!(weather.refusal(), None);
        weather.note(&clock, 1.0);
        assert_eq!(weather.trouble().map(|(trouble, ..)| trouble), Some(Trouble::Clock));
        assert!(weather.refusal().unwrap().contains("clock"));
    }

    #[test]
    fn a_storm_that_comes_and_goes_is_told_once() {
        let weather = Weather::default();
        for n in 0..3 {
            weather.note(&failure(Next::Offline), 1.0);
            let logged = weather.state().storms[&Trouble::Offline].logged.is_some();
            assert_eq!(logged, n == 0);
            weather.clear();
        }
    }
}
