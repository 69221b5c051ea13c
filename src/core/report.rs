//! What became of a file that arrived, told from the audit trail alone: `casedrop report` reconciles with what a scanner
//! or fax server says it sent, also for files that are no longer there.
//!
//! A file's life at its path begins with `seen` and ends with the next `seen` of that path. Every life has exactly one
//! end, so the totals add up.

use super::model::{Event, EventKind, ParkCode};
use super::plan::ABSENT;

/// Where a life stands, or how it ended. The words are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// Agents can see it, and the local file is where it was.
    Attached,
    /// Agents can see it; the local file is in the archive.
    Archived,
    /// Agents can see it; casedrop removed the local file.
    Removed,
    /// Agents can see it; somebody else took the local file.
    Left,
    /// Refused, and moved to quarantine.
    Quarantined,
    /// Waits for a person.
    Parked,
    /// No case could be told.
    Unrouted,
    /// On its way.
    Waiting,
    /// Taken away before anything of it was visible.
    Gone,
    /// It goes on under another path, as that path's file.
    Moved,
    /// It was attached, and by now neither the local file nor its attachment is there.
    Deleted,
    /// It left scope before it was attached.
    Ignored,
}

impl End {
    pub const ALL: [Self; 12] = [
        Self::Attached,
        Self::Archived,
        Self::Removed,
        Self::Left,
        Self::Quarantined,
        Self::Parked,
        Self::Unrouted,
        Self::Waiting,
        Self::Gone,
        Self::Moved,
        Self::Deleted,
        Self::Ignored,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Archived => "archived",
            Self::Removed => "removed",
            Self::Left => "left",
            Self::Quarantined => "quarantined",
            Self::Parked => "parked",
            Self::Unrouted => "unrouted",
            Self::Waiting => "waiting",
            Self::Gone => "gone",
            Self::Moved => "moved",
            Self::Deleted => "deleted",
            Self::Ignored => "ignored",
        }
    }

    /// What it means, for the foot of a report.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Attached => "agents can see it, the local file is in its place",
            Self::Archived => "agents can see it, the local file is in the archive",
            Self::Removed => "agents can see it, casedrop removed the local file",
            Self::Left => "agents can see it, somebody else took the local file",
            Self::Quarantined => "refused, the local file is in quarantine",
            Self::Parked => "waits for a person",
            Self::Unrouted => "no case could be told",
            Self::Waiting => "on its way",
            Self::Gone => "taken away before it was attached",
            Self::Moved => "moved by somebody, counted again at its new path",
            Self::Deleted => "attached once, by now gone here and at Connect",
            Self::Ignored => "left scope before it was attached",
        }
    }
}

/// How a life went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Course {
    pub end: End,
    /// Park code, reason, or where it is now.
    pub detail: Option<String>,
    /// The event that decided the end; `None` while nothing has.
    pub decided_by: Option<i64>,
    /// The event that said that agents can see it.
    pub attached_by: Option<i64>,
}

/// Tells the course of one life from its events, `seen` first. `own` says whether an event's attachment belongs to this
/// life: the clean-up of an earlier one may go on.
pub fn course(events: &[Event], own: impl Fn(&Event) -> bool) -> Course {
    let mut course = Course { end: End::Waiting, detail: None, decided_by: None, attached_by: None };
    // Whether agents saw something of it, and whether they do.
    let (mut was_visible, mut visible) = (false, false);
    for event in events.iter().filter(|event| own(event)) {
        let text = |key: &str| event.detail.get(key).and_then(|value| value.as_str()).map(ToOwned::to_owned);
        let (end, detail) = match event.kind {
            EventKind::Attached | EventKind::Moved => (End::Attached, None),
            EventKind::Queued | EventKind::Started | EventKind::Retried => (End::Waiting, None),
            EventKind::Parked => (End::Parked, text("code")),
            EventKind::Unrouted => (End::Unrouted, text("text")),
            // What is attached stays attached when it leaves scope.
            EventKind::Ignored if visible => (End::Attached, None),
            EventKind::Ignored => (End::Ignored, text("text")),
            EventKind::Archived => (End::Archived, text("to")),
            EventKind::Removed => (End::Removed, None),
            EventKind::Quarantined => (End::Quarantined, text("code")),
            EventKind::Left if visible => (End::Left, None),
            // By hand, where it was missing at Connect too, say.
            EventKind::Left | EventKind::Forgotten if was_visible => (End::Deleted, None),
            EventKind::Left | EventKind::Forgotten => (End::Gone, None),
            // What is attached is what the file holds, again or still.
            EventKind::Unchanged => (End::Attached, None),
            EventKind::MovedAway => (End::Moved, text("to")),
            EventKind::Deleted if text("text").as_deref() == Some(ABSENT) => (End::Deleted, None),
            _ => continue,
        };
        if event.kind == EventKind::Attached {
            course.attached_by = Some(event.id);
        }
        let gone = end == End::Deleted || detail.as_deref() == Some(ParkCode::MissingRemotely.as_str());
        was_visible |= end == End::Attached;
        visible = end == End::Attached || (visible && !gone);
        (course.end, course.detail, course.decided_by) = (end, detail, Some(event.id));
    }
    course
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::model::{AttachmentId, MirrorId};
    use crate::types::{RelPath, UnixMillis};

    fn events(kinds: &[(EventKind, serde_json::Value)]) -> Vec<Event> {
        (1..)
            .zip(kinds)
            .map(|(id, (kind, detail))| Event {
                id,
                at: UnixMillis(id),
                mirror: MirrorId(1),
                path: RelPath::new(&b"a"[..]),
                attachment: Some(AttachmentId(id)),
                kind: *kind,
                detail: detail.clone(),
            })
            .collect()
    }

    #[test]
    fn every_life_has_one_end() {
        use EventKind::*;
        let none = || json!({});
        let attached = [(Seen, none()), (Queued, none()), (Started, none()), (Completed, none()), (Attached, none())];
        for (more, end, detail) in [
            (vec![], End::Attached, None),
            (vec![(Archived, json!({"to": "/a/x"}))], End::Archived, Some("/a/x")),
            (vec![(HandoverFailed, none()), (Removed, none())], End::Removed, None),
            (vec![(Absent, none()), (Left, none())], End::Left, None),
            (vec![(Absent, none()), (Deleted, json!({"text": "absent"}))], End::Deleted, None),
            (vec![(Deleted, json!({"text": "replaced"}))], End::Attached, None),
            (vec![(Ignored, json!({"text": "rule"}))], End::Attached, None),
            (vec![(Queued, none()), (Ignored, json!({"text": "rule"}))], End::Attached, None),
            (vec![(Queued, none()), (Absent, none()), (Left, none())], End::Left, None),
            (vec![(Parked, json!({"code": "rejected"})), (Left, none())], End::Left, None),
            (vec![(Parked, json!({"code": "missing-remotely"})), (Left, none())], End::Deleted, None),
            (
                vec![
                    (Queued, none()),
                    (Deleted, json!({"text": "absent"})),
                    (Queued, none()),
                    (Ignored, json!({"text": "r"})),
                ],
                End::Ignored,
                Some("r"),
            ),
            (vec![(MovedAway, json!({"to": "b"}))], End::Moved, Some("b")),
            (vec![(Parked, json!({"code": "missing-remotely"})), (Forgotten, none())], End::Deleted, None),
            (vec![(Parked, json!({"code": "unreadable"})), (Unchanged, none())], End::Attached, None),
            (vec![(Queued, none()), (Unchanged, none())], End::Attached, None),
            (vec![(Queued, none())], End::Waiting, None),
            (vec![(Queued, none()), (Parked, json!({"code": "rejected"}))], End::Parked, Some("rejected")),
        ] {
            let all: Vec<_> = attached.iter().cloned().chain(more.clone()).collect();
            let course = course(&events(&all), |_| true);
            assert_eq!((course.end, course.detail.as_deref()), (end, detail), "{more:?}");
            assert_eq!(course.attached_by, Some(5));
        }
        for (all, end, detail) in [
            (vec![(Seen, none())], End::Waiting, None),
            (vec![(Seen, none()), (Forgotten, none())], End::Gone, None),
            (vec![(Seen, none()), (Ignored, json!({"text": "rule"}))], End::Ignored, Some("rule")),
            (vec![(Seen, none()), (Unrouted, json!({"text": "why"}))], End::Unrouted, Some("why")),
            (vec![(Seen, none()), (Parked, json!({"code": "x"})), (Retried, none())], End::Waiting, None),
            (
                vec![
                    (Seen, none()),
                    (Parked, json!({"code": "empty-file"})),
                    (Quarantined, json!({"code": "empty-file"})),
                ],
                End::Quarantined,
                Some("empty-file"),
            ),
            (vec![(Seen, none()), (Moved, none())], End::Attached, None),
            (vec![(Seen, none()), (Moved, none()), (Forgotten, none())], End::Deleted, None),
        ] {
            let course = course(&events(&all), |_| true);
            assert_eq!((course.end, course.detail.as_deref()), (end, detail), "{all:?}");
        }
        // The scan of an earlier file of the path ends in this one's life.
        let late = events(&[(Seen, none()), (Attached, none())]);
        assert_eq!(course(&late, |event| event.kind != Attached).end, End::Waiting);
        assert_eq!(End::ALL.map(End::as_str).iter().collect::<std::collections::BTreeSet<_>>().len(), 12);
    }
}
