//! Questions about attachments.

use super::super::error::JournalError;
use super::super::rows;
use super::{View, limited};
use crate::core::model::{Attachment, AttachmentId, FileRow, MirrorId, Stage};
use crate::types::{FileId, RelPath, UnixMillis};

impl View {
    pub fn attachment(&self, id: AttachmentId) -> Result<Option<Attachment>, JournalError> {
        self.one(&format!("SELECT {} FROM attachment WHERE id = ?1", rows::ATTACHMENT), [id], rows::attachment)
    }

    /// Whether the delete is announced, agents could see the attachment before, and no call was made.
    pub fn may_recall_delete(&self, id: AttachmentId) -> Result<bool, JournalError> {
        self.total(
            "SELECT count(*) FROM attachment
             WHERE id = ?1 AND stage = 'deleting' AND reason = 'absent' AND delete_sent_at IS NULL
                 AND NOT EXISTS (SELECT 1 FROM event WHERE attachment = ?1 AND (kind = 'rejected' OR kind = 'failed'))",
            [id],
            |row| Ok(rows::count(row, 0)? > 0),
        )
    }

    /// Whether the file it was made of has ended its life at its path.
    pub fn is_closed(&self, id: AttachmentId) -> Result<bool, JournalError> {
        self.total("SELECT count(*) FROM attachment WHERE id = ?1 AND closed_at IS NOT NULL", [id], |row| {
            Ok(rows::count(row, 0)? > 0)
        })
    }

    /// The file it was made of, while that stands at its path.
    pub fn file_of(&self, attachment: &Attachment) -> Result<Option<FileRow>, JournalError> {
        if self.is_closed(attachment.id)? { Ok(None) } else { self.file(attachment.mirror, &attachment.path) }
    }

    pub fn attachment_by_file_id(&self, file_id: &FileId) -> Result<Option<Attachment>, JournalError> {
        self.one(
            &format!("SELECT {} FROM attachment WHERE file_id = ?1 AND file_id IS NOT NULL", rows::ATTACHMENT),
            [file_id],
            rows::attachment,
        )
    }

    /// Every attachment that belongs to what stands at the path now, oldest first, deleted ones included.
    pub fn attachments_of(&self, mirror: MirrorId, path: &RelPath) -> Result<Vec<Attachment>, JournalError> {
        self.many(
            &format!(
                "SELECT {} FROM attachment WHERE mirror = ?1 AND path = ?2 AND closed_at IS NULL ORDER BY id",
                rows::ATTACHMENT
            ),
            (mirror, path),
            rows::attachment,
        )
    }

    /// Every attachment that any file of this path ever had, oldest first: also those of files that were handed over
    /// or taken away, whose path may have a new file by now.
    pub fn attachments_ever(&self, mirror: MirrorId, path: &RelPath) -> Result<Vec<Attachment>, JournalError> {
        self.many(
            &format!("SELECT {} FROM attachment WHERE mirror = ?1 AND path = ?2 ORDER BY id", rows::ATTACHMENT),
            (mirror, path),
            rows::attachment,
        )
    }

    /// Attachments in one stage whose next try is due by `due_before` (`None`: all), those without a wait first,
    /// then by the end of their wait. Cheap for every stage but `approved` and `deleted`, which few ask for.
    pub fn attachments_in_stage(
        &self,
        stage: Stage,
        due_before: Option<UnixMillis>,
        limit: usize,
    ) -> Result<Vec<Attachment>, JournalError> {
        self.told((|| {
            let sql = format!(
                "SELECT {} FROM attachment WHERE {} ORDER BY next_attempt, id",
                rows::ATTACHMENT,
                in_stage(stage)
            );
            let mut statement = self.prepare(&sql)?;
            let mut found = statement.query([])?;
            let mut due = Vec::new();
            while due.len() < limit
                && let Some(row) = found.next()?
            {
                let next_attempt: Option<UnixMillis> = row.get(15)?;
                // In their order, the first that is not due ends the list.
                if next_attempt.is_some_and(|at| due_before.is_some_and(|limit| at > limit)) {
                    break;
                }
                due.push(rows::attachment(row)?);
            }
            Ok(due)
        })())
    }

    /// Of those whose next try is due by `due_before`, in the same order, the first that `wanted` takes: what has to
    /// wait for something else does not hide what could go on.
    pub fn attachments_due(
        &self,
        stage: Stage,
        due_before: UnixMillis,
        limit: usize,
        wanted: &dyn Fn(&Attachment) -> bool,
    ) -> Result<Vec<Attachment>, JournalError> {
        self.told((|| {
            let sql = format!(
                "SELECT {} FROM attachment WHERE {} AND (next_attempt IS NULL OR next_attempt <= ?1)
                 ORDER BY next_attempt, id",
                rows::ATTACHMENT,
                in_stage(stage)
            );
            let mut statement = self.prepare(&sql)?;
            let mut found = statement.query([due_before])?;
            let mut due = Vec::new();
            while due.len() < limit
                && let Some(row) = found.next()?
            {
                let attachment = rows::attachment(row)?;
                if wanted(&attachment) {
                    due.push(attachment);
                }
            }
            Ok(due)
        })())
    }

    /// The earliest end of a wait in one stage, past or future. Those that wait for nothing do not count.
    pub fn next_due(&self, stage: Stage) -> Result<Option<UnixMillis>, JournalError> {
        self.total(
            &format!("SELECT min(next_attempt) FROM attachment WHERE {} AND next_attempt IS NOT NULL", in_stage(stage)),
            [],
            |row| row.get(0),
        )
    }

    /// Attachments whose start call ended without a certain answer, the oldest doubt first.
    pub fn unsure(&self, limit: usize) -> Result<Vec<Attachment>, JournalError> {
        self.many(
            &format!(
                "SELECT {} FROM attachment WHERE unsure_since IS NOT NULL ORDER BY unsure_since, id LIMIT ?1",
                rows::ATTACHMENT
            ),
            [limited(limit)],
            rows::attachment,
        )
    }

    /// Attachments of the mirror set to deleting at or after `since` because their file is gone: what counts
    /// against the delete budget.
    pub fn deletes_since(&self, mirror: MirrorId, since: UnixMillis) -> Result<u64, JournalError> {
        self.total(
            "SELECT count(*) FROM attachment
             WHERE mirror = ?1 AND reason = 'absent' AND deleting_at IS NOT NULL AND deleting_at >= ?2",
            (mirror, since),
            |row| rows::count(row, 0),
        )
    }

    /// Files and bytes that agents were given at or after `since`, adopted ones not counted.
    pub fn approved_since(&self, since: UnixMillis) -> Result<(u64, u64), JournalError> {
        self.total(
            "SELECT count(*), coalesce(sum(size), 0) FROM attachment
             WHERE approved_at IS NOT NULL AND approved_at >= ?1",
            [since],
            |row| Ok((rows::count(row, 0)?, rows::count(row, 1)?)),
        )
    }
}

/// The condition for one stage, in the words that let SQLite use the partial index of live attachments.
fn in_stage(stage: Stage) -> String {
    match stage {
        Stage::Approved | Stage::Deleted => format!("stage = '{stage}'"),
        Stage::Planned
        | Stage::Started
        | Stage::Stored
        | Stage::Completed
        | Stage::Rejected
        | Stage::Failed
        | Stage::Abandoned
        | Stage::Deleting => format!("stage = '{stage}' AND NOT (stage = 'approved' OR stage = 'deleted')"),
    }
}
