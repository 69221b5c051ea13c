//! Questions about the audit trail.

use rusqlite::types::ToSql;

use super::super::error::JournalError;
use super::super::rows;
use super::{View, limited};
use crate::core::model::{AttachmentId, Event, EventKind, MirrorId};
use crate::types::{CaseArn, RelPath, UnixMillis};

/// Which events; every given condition must hold.
#[derive(Debug, Clone, Default)]
pub struct EventFilter<'a> {
    /// The cursor of `log --follow`: only events with a larger id.
    pub after_id: Option<i64>,
    pub mirror: Option<MirrorId>,
    pub path: Option<&'a RelPath>,
    /// Events of attachments on this case.
    pub case: Option<&'a CaseArn>,
    /// At this time or later.
    pub since: Option<UnixMillis>,
    /// `None`: all.
    pub limit: Option<usize>,
    pub newest_first: bool,
}

impl View {
    /// The events that pass `filter`, in the order they were written or the reverse.
    pub fn events(&self, filter: &EventFilter<'_>) -> Result<Vec<Event>, JournalError> {
        let mut sql = format!("SELECT {} FROM event WHERE 1", rows::EVENT);
        let mut values: Vec<&dyn ToSql> = Vec::new();
        let mut and = |condition: &str, value| {
            sql.push_str(condition);
            values.push(value);
        };
        if let Some(id) = &filter.after_id {
            and(" AND id > ?", id);
        }
        if let Some(mirror) = &filter.mirror {
            and(" AND mirror = ?", mirror);
        }
        if let Some(path) = &filter.path {
            and(" AND path = ?", path);
        }
        if let Some(case) = &filter.case {
            and(" AND attachment IN (SELECT id FROM attachment WHERE case_arn = ?)", case);
        }
        if let Some(since) = &filter.since {
            and(" AND at >= ?", since);
        }
        let limit = filter.limit.map_or(-1, limited);
        and(if filter.newest_first { " ORDER BY id DESC LIMIT ?" } else { " ORDER BY id LIMIT ?" }, &limit);
        self.many(&sql, values.as_slice(), rows::event)
    }

    /// The whole story of one file: its own events and those of the attachments that belong to it now, also from
    /// before it was moved here.
    pub fn history_of(&self, mirror: MirrorId, path: &RelPath) -> Result<Vec<Event>, JournalError> {
        self.many(
            &format!(
                "SELECT {} FROM event WHERE id IN (
                     SELECT id FROM event WHERE mirror = ?1 AND path = ?2
                     UNION
                     SELECT event.id FROM attachment JOIN event ON event.attachment = attachment.id
                         WHERE attachment.mirror = ?1 AND attachment.path = ?2)
                 ORDER BY id",
                rows::EVENT
            ),
            (mirror, path),
            rows::event,
        )
    }

    /// The files that were first seen at or after `from` and before `to`: their `seen` events after the id `after`.
    pub fn arrivals(
        &self,
        from: UnixMillis,
        to: UnixMillis,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Event>, JournalError> {
        // Not by `at`, which a stepped clock could hold out of order, but among what is in the span by id.
        self.many(
            &format!(
                "SELECT {} FROM event INDEXED BY event_arrived
                 WHERE kind = 'seen' AND at >= ?1 AND at < ?2 AND id > ?3 ORDER BY id LIMIT ?4",
                rows::EVENT
            ),
            (from, to, after, limited(limit)),
            rows::event,
        )
    }

    /// One life of a file at its path: from the event `id`, its `seen`, up to the next one.
    pub fn life_from(&self, mirror: MirrorId, path: &RelPath, id: i64) -> Result<Vec<Event>, JournalError> {
        self.told((|| {
            let mut statement = self.prepare(&format!(
                "SELECT {} FROM event WHERE mirror = ?1 AND path = ?2 AND path IS NOT NULL AND id >= ?3 ORDER BY id",
                rows::EVENT
            ))?;
            let mut found = statement.query((mirror, path, id))?;
            let mut life: Vec<Event> = Vec::new();
            while let Some(row) = found.next()? {
                let event = rows::event(row)?;
                if event.kind == EventKind::Seen && !life.is_empty() {
                    break;
                }
                life.push(event);
            }
            Ok(life)
        })())
    }

    /// The first event of an attachment.
    pub fn first_event_of(&self, attachment: AttachmentId) -> Result<Option<i64>, JournalError> {
        self.total("SELECT min(id) FROM event WHERE attachment = ?1", [attachment], |row| row.get(0))
    }

    /// The id of the newest event; 0 when there is none.
    pub fn last_event_id(&self) -> Result<i64, JournalError> {
        self.total("SELECT coalesce(max(id), 0) FROM event", [], |row| row.get(0))
    }
}
