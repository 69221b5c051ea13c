//! Questions about hand-overs.

use super::super::error::JournalError;
use super::super::rows;
use super::{View, limited};
use crate::core::model::{Handover, HandoverId, MirrorId};
use crate::types::RelPath;

impl View {
    pub fn handover(&self, id: HandoverId) -> Result<Option<Handover>, JournalError> {
        self.one(&format!("SELECT {} FROM handover WHERE id = ?1", rows::HANDOVER), [id], rows::handover)
    }

    /// The hand-over of the path that has not ended; there is one at most.
    pub fn open_handover(&self, mirror: MirrorId, path: &RelPath) -> Result<Option<Handover>, JournalError> {
        self.one(
            &format!("SELECT {} FROM handover WHERE mirror = ?1 AND path = ?2 AND ended_at IS NULL", rows::HANDOVER),
            (mirror, path),
            rows::handover,
        )
    }

    /// Those of the mirror that have not ended, in byte order of their paths, after `after`.
    pub fn open_handovers(
        &self,
        mirror: MirrorId,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<Handover>, JournalError> {
        self.many(
            &format!(
                "SELECT {} FROM handover WHERE mirror = ?1 AND ended_at IS NULL AND path > ?2 ORDER BY path LIMIT ?3",
                rows::HANDOVER
            ),
            (mirror, after.map_or(&b""[..], RelPath::as_bytes), limited(limit)),
            rows::handover,
        )
    }

    /// Every hand-over of the path, oldest first.
    pub fn handovers_of(&self, mirror: MirrorId, path: &RelPath) -> Result<Vec<Handover>, JournalError> {
        self.many(
            &format!("SELECT {} FROM handover WHERE mirror = ?1 AND path = ?2 ORDER BY id", rows::HANDOVER),
            (mirror, path),
            rows::handover,
        )
    }

    /// The newest hand-overs of all mirrors.
    pub fn latest_handovers(&self, limit: usize) -> Result<Vec<Handover>, JournalError> {
        self.many(
            &format!("SELECT {} FROM handover ORDER BY id DESC LIMIT ?1", rows::HANDOVER),
            [limited(limit)],
            rows::handover,
        )
    }
}
