//! Which events of the audit trail a hook may be told of, what it is told, and when it is tried again. Pure.

use std::time::Duration;

use serde::Serialize;

use super::model::{Event, EventKind, ParkCode};

/// Tries of one delivery; then it is given up.
pub const MOST_TRIES: u32 = 16;

/// What a hook can be called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookEvent {
    /// Agents can see a file.
    Attached,
    /// A file waits for a person or a change.
    Parked,
    /// The scan rejected a file; it is parked, too.
    Rejected,
    /// A mirror is held.
    Held,
    /// A mirror's hold has ended.
    Recovered,
    /// No case could be told for a file.
    Unrouted,
}

impl HookEvent {
    /// Every event with its stable word.
    pub const ALL: [(&'static str, Self); 6] = [
        ("attached", Self::Attached),
        ("parked", Self::Parked),
        ("rejected", Self::Rejected),
        ("held", Self::Held),
        ("recovered", Self::Recovered),
        ("unrouted", Self::Unrouted),
    ];

    /// The stable word.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, event)| *event == self).map_or("", |(word, _)| word)
    }

    /// What an event of the audit trail is to a hook that listens for `on`. What the scan rejected is parked in the
    /// same moment: it is one call, `rejected` if that is listened for, else `parked`.
    pub fn of(event: &Event, on: &[HookEvent]) -> Option<Self> {
        let heard = |what: Self| on.contains(&what).then_some(what);
        match event.kind {
            EventKind::Attached => heard(Self::Attached),
            EventKind::Parked => {
                let code = event.detail.get("code").and_then(serde_json::Value::as_str);
                let told = code == Some(ParkCode::Rejected.as_str()) && on.contains(&Self::Rejected);
                if told { None } else { heard(Self::Parked) }
            }
            EventKind::Rejected => heard(Self::Rejected),
            EventKind::Held => heard(Self::Held),
            EventKind::Released => heard(Self::Recovered),
            EventKind::Unrouted => heard(Self::Unrouted),
            _ => None,
        }
    }
}

/// What a hook reads on its standard input: one JSON object. Keys may be added within a version; what a key means
/// changes only with it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Payload {
    /// 1.
    pub version: u32,
    /// The same at every try of this delivery, and of no other.
    pub delivery: String,
    pub event: &'static str,
    /// When it happened, RFC 3339 in UTC.
    pub time: String,
    /// Its number in the audit trail; grows with time.
    pub event_id: i64,
    pub host: String,
    pub mirror: String,
    /// The mirror's folder.
    pub root: String,
    /// The path below it, as casedrop shows it: bytes that are no text as `\xNN`.
    pub path: Option<String>,
    /// The path's bytes in hexadecimal; only where `path` is not the path itself.
    pub path_hex: Option<String>,
    /// The case's ARN, and the id alone.
    pub case: Option<String>,
    pub case_id: Option<String>,
    /// The reference in the path that led to the case.
    pub reference: Option<String>,
    pub file_id: Option<String>,
    /// The attachment's name at Connect.
    pub name: Option<String>,
    pub size: Option<u64>,
    pub sha256: Option<String>,
    /// What was sent, where the file was converted; else `size` and `sha256` are of what was sent.
    pub sent_size: Option<u64>,
    pub sent_sha256: Option<String>,
    /// 1 for the first attempt at this content.
    pub attempt: Option<u32>,
    /// The park code.
    pub code: Option<String>,
    /// The hold.
    pub hold: Option<String>,
    /// What the service or casedrop said of it.
    pub text: Option<String>,
    /// What to do.
    pub remedy: Option<String>,
}

/// How long to wait before the next try, after so many: 1 s, doubled each time, at most an hour. All tries together
/// take some five hours: longer than most mail servers are down, shorter than anybody would still act on it.
pub fn pause(tries: u32) -> Duration {
    const CAP: Duration = Duration::from_secs(3600);
    let doublings = tries.saturating_sub(1).min(16);
    Duration::from_secs(1 << doublings).min(CAP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::model::MirrorId;
    use crate::types::UnixMillis;

    fn event(kind: EventKind, detail: serde_json::Value) -> Event {
        Event { id: 1, at: UnixMillis(0), mirror: MirrorId(1), path: None, attachment: None, kind, detail }
    }

    #[test]
    fn words_and_events_fit() {
        let all: Vec<HookEvent> = HookEvent::ALL.iter().map(|(_, event)| *event).collect();
        let heard: Vec<&str> = EventKind::ALL
            .iter()
            .filter_map(|kind| HookEvent::of(&event(*kind, serde_json::json!({})), &all))
            .map(HookEvent::as_str)
            .collect();
        assert_eq!(heard, ["attached", "rejected", "parked", "unrouted", "held", "recovered"]);
        assert!(EventKind::ALL.iter().all(|kind| HookEvent::of(&event(*kind, serde_json::json!({})), &[]).is_none()));
    }

    #[test]
    fn a_rejected_file_is_one_call() {
        let parked = event(EventKind::Parked, serde_json::json!({ "code": "rejected" }));
        let other = event(EventKind::Parked, serde_json::json!({ "code": "too-large" }));
        let both = [HookEvent::Parked, HookEvent::Rejected];
        assert_eq!(HookEvent::of(&parked, &both), None);
        assert_eq!(HookEvent::of(&other, &both), Some(HookEvent::Parked));
        assert_eq!(HookEvent::of(&parked, &[HookEvent::Parked]), Some(HookEvent::Parked));
    }

    #[test]
    fn pauses_grow_to_their_cap() {
        assert_eq!([1, 2, 3, 12, 13, u32::MAX].map(pause).map(|p| p.as_secs()), [1, 2, 4, 2048, 3600, 3600]);
        let whole: u64 = (1..MOST_TRIES).map(|tries| pause(tries).as_secs()).sum();
        assert!((4 * 3600..6 * 3600).contains(&whole), "{whole}");
    }
}
