//! Time as the sandbox tells it: milliseconds since 1970, plus an offset that a test may move forward.
//!
//! Creation times, URL expiry, scans and visibility use this clock. The check of a request's signing time does
//! not: it compares with the machine's own clock, because that is the one the client signed with. A sandbox without a
//! listener may be given another time than the machine's.

use std::fmt;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A moment, in milliseconds since 1970 UTC. Shown and stored as RFC 3339 text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub i64);

impl Millis {
    /// The machine's clock.
    #[expect(clippy::disallowed_methods, reason = "the sandbox's own place for it")]
    pub fn wall() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// This moment plus `by`.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This moment with the milliseconds cut off, as presigned URLs carry it.
    #[must_use]
    pub(crate) fn whole_second(self) -> Self {
        Self(self.0 - self.0.rem_euclid(1000))
    }

    /// The time from `earlier` to this moment; zero when it is not later.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    fn timestamp(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
    }

    /// `20260131T235959Z`, the form in signatures.
    pub(crate) fn compact(self) -> String {
        self.timestamp().strftime("%Y%m%dT%H%M%SZ").to_string()
    }

    /// `Sat, 31 Jan 2026 23:59:59 GMT`, the form in headers.
    pub(crate) fn http_date(self) -> String {
        self.timestamp().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    /// Reads `20260131T235959Z`; `None` for any other text.
    pub(crate) fn from_compact(text: &str) -> Option<Self> {
        let at = |from: usize, to: usize| text.get(from..to);
        if text.len() != 16 || at(8, 9) != Some("T") || at(15, 16) != Some("Z") {
            return None;
        }
        let long = format!("{}-{}-{}T{}:{}:{}Z", at(0, 4)?, at(4, 6)?, at(6, 8)?, at(9, 11)?, at(11, 13)?, at(13, 15)?);
        long.parse().ok()
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.timestamp())
    }
}

impl FromStr for Millis {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let stamp: jiff::Timestamp = text.parse()?;
        Ok(Self(stamp.as_millisecond()))
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// A clock given from outside, for a sandbox without a listener.
pub trait Time: Send + Sync {
    /// The present moment.
    fn now(&self) -> Millis;
    /// Resolves when that much time has gone by.
    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

pub(crate) type Given = Arc<dyn Time>;

/// The service's clock: the machine's or a given one, moved forward by hand.
pub(crate) struct Clock {
    given: Option<Given>,
    began: Instant,
    ahead_ms: AtomicI64,
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("now", &self.now()).finish_non_exhaustive()
    }
}

impl Clock {
    pub(crate) fn new(given: Option<Given>) -> Self {
        Self { given, began: Instant::now(), ahead_ms: AtomicI64::new(0) }
    }

    /// Without what was moved by hand.
    pub(crate) fn wall(&self) -> Millis {
        self.given.as_ref().map_or_else(Millis::wall, |given| given.now())
    }

    /// Time since any fixed moment; for pace and duration.
    pub(crate) fn elapsed(&self) -> Duration {
        match &self.given {
            Some(given) => given.now().since(Millis(0)),
            None => self.began.elapsed(),
        }
    }

    pub(crate) async fn sleep(&self, time: Duration) {
        match &self.given {
            Some(given) => given.sleep(time).await,
            None => tokio::time::sleep(time).await,
        }
    }

    pub(crate) fn now(&self) -> Millis {
        Millis(self.wall().0.saturating_add(self.ahead_ms.load(Ordering::Relaxed)))
    }

    pub(crate) fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX / 4);
        self.ahead_ms.fetch_add(by, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_form_round_trips() {
        let moment = Millis(1_767_225_599_000);
        assert_eq!(Millis::from_compact(&moment.compact()), Some(moment));
        for bad in ["", "20260131", "20261331T000000Z", "é0260131T235959Z"] {
            assert_eq!(Millis::from_compact(bad), None, "{bad}");
        }
    }

    #[test]
    fn text_form_round_trips() {
        let moment = Millis(1_767_225_599_123);
        assert_eq!(moment.to_string().parse::<Millis>().ok(), Some(moment));
    }
}
