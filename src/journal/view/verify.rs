//! Questions about the comparison of journal, disk and Connect.

use super::super::error::JournalError;
use super::super::rows;
use super::{View, limited};
use crate::core::compare::Class;
use crate::core::model::{Attachment, AttachmentId, MirrorId};
use crate::types::{CaseArn, FileId, RelPath, UnixMillis};

/// How far the comparison of a mirror is, and how the last whole one ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verification {
    /// When the mirror was first considered.
    pub since: UnixMillis,
    /// `None`: none is under way.
    pub began_at: Option<UnixMillis>,
    /// Contents are downloaded too.
    pub deep: bool,
    /// A person waits for it.
    pub by_hand: bool,
    /// The ARN of the last case done; empty at the beginning.
    pub after_case: String,
    pub cases: u64,
    pub cases_done: u64,
    pub files: u64,
    /// Files of which nothing certain could be said.
    pub undecided: u64,
    /// What keeps it from going on, in words.
    pub trouble: Option<String>,
    /// End of the last whole comparison, with its numbers.
    pub ended_at: Option<UnixMillis>,
    pub last_files: u64,
    pub last_undecided: u64,
}

/// One difference, as the last look at its case found it.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    pub class: Class,
    pub case: CaseArn,
    /// `None` where only a hash of it is known.
    pub path: Option<RelPath>,
    pub attachment: Option<AttachmentId>,
    pub file_id: Option<FileId>,
    pub found_at: UnixMillis,
    /// What was seen, in words.
    pub text: String,
    /// What a repair needs to know.
    pub detail: serde_json::Value,
}

impl View {
    /// Every attachment of the mirror on this case that has a FileId, in the order they were made.
    pub fn attachments_on(&self, mirror: MirrorId, case: &CaseArn) -> Result<Vec<Attachment>, JournalError> {
        self.many(
            &format!(
                "SELECT {} FROM attachment INDEXED BY attachment_case
                 WHERE mirror = ?1 AND case_arn = ?2 AND file_id IS NOT NULL ORDER BY id",
                rows::ATTACHMENT
            ),
            (mirror, case),
            rows::attachment,
        )
    }

    /// The next case after `after`, in the order of ARNs, on which the mirror has or had an attachment.
    pub fn case_after(&self, mirror: MirrorId, after: &str) -> Result<Option<CaseArn>, JournalError> {
        self.one(
            "SELECT case_arn FROM attachment INDEXED BY attachment_case
             WHERE mirror = ?1 AND case_arn > ?2 ORDER BY case_arn LIMIT 1",
            (mirror, after),
            |row| row.get(0),
        )
    }

    /// How far the comparison of the mirror is; `None` until it was considered once.
    pub fn verification(&self, mirror: MirrorId) -> Result<Option<Verification>, JournalError> {
        self.one(
            "SELECT began_at, deep, by_hand, after_case, cases, cases_done, files, undecided, ended_at, last_files,
                 last_undecided, since, trouble
             FROM verification WHERE mirror = ?1",
            [mirror],
            |row| {
                Ok(Verification {
                    began_at: row.get(0)?,
                    deep: row.get(1)?,
                    by_hand: row.get(2)?,
                    after_case: row.get(3)?,
                    cases: rows::count(row, 4)?,
                    cases_done: rows::count(row, 5)?,
                    files: rows::count(row, 6)?,
                    undecided: rows::count(row, 7)?,
                    ended_at: row.get(8)?,
                    last_files: rows::count(row, 9)?,
                    last_undecided: rows::count(row, 10)?,
                    since: row.get(11)?,
                    trouble: row.get(12)?,
                })
            },
        )
    }

    /// The differences found on the mirror, by case, then in the order they were found.
    pub fn differences(&self, mirror: MirrorId, limit: usize) -> Result<Vec<Difference>, JournalError> {
        self.many(
            "SELECT class, case_arn, path, attachment, file_id, found_at, text, detail
             FROM difference INDEXED BY difference_case WHERE mirror = ?1 ORDER BY case_arn, id LIMIT ?2",
            (mirror, limited(limit)),
            rows::difference,
        )
    }

    /// The differences found on one case.
    pub fn differences_on(&self, mirror: MirrorId, case: &CaseArn) -> Result<Vec<Difference>, JournalError> {
        self.many(
            "SELECT class, case_arn, path, attachment, file_id, found_at, text, detail
             FROM difference WHERE mirror = ?1 AND case_arn = ?2 ORDER BY id",
            (mirror, case),
            rows::difference,
        )
    }

    /// The differences of one path.
    pub fn differences_of(&self, mirror: MirrorId, path: &RelPath) -> Result<Vec<Difference>, JournalError> {
        self.many(
            "SELECT class, case_arn, path, attachment, file_id, found_at, text, detail
             FROM difference INDEXED BY difference_case WHERE mirror = ?1 AND path = ?2 ORDER BY case_arn, id",
            (mirror, path),
            rows::difference,
        )
    }

    /// Whether the mirror has anything on the case that is not deleted, or was deleted at `since` or later.
    pub fn is_on(&self, mirror: MirrorId, case: &CaseArn, since: UnixMillis) -> Result<bool, JournalError> {
        self.total(
            "SELECT EXISTS (SELECT 1 FROM attachment INDEXED BY attachment_case WHERE mirror = ?1 AND case_arn = ?2
                 AND file_id IS NOT NULL AND (deleted_at IS NULL OR deleted_at >= ?3))",
            (mirror, case, since),
            |row| row.get(0),
        )
    }

    /// How many differences of each class there are.
    pub fn difference_counts(&self, mirror: MirrorId) -> Result<Vec<(Class, u64)>, JournalError> {
        self.many(
            "SELECT class, count(*) FROM difference WHERE mirror = ?1 GROUP BY class ORDER BY class",
            [mirror],
            |row| Ok((row.get(0)?, rows::count(row, 1)?)),
        )
    }
}
