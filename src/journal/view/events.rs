//! Questions about the audit trail.

use rusqlite::types::ToSql;

use super::super::error::JournalError;
use super::super::rows;
use super::{View, limited};
use crate::core::model::{Event, MirrorId};
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

    /// The id of the newest event; 0 when there is none.
    pub fn last_event_id(&self) -> Result<i64, JournalError> {
        self.total("SELECT coalesce(max(id), 0) FROM event", [], |row| row.get(0))
    }
}
