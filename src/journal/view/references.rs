//! Questions about references to cases.

use super::super::error::JournalError;
use super::super::rows;
use super::{View, limited};
use crate::core::model::MirrorId;
use crate::core::reference::{CaseRef, Reference};
use crate::types::{CaseArn, RelPath, UnixMillis};

impl View {
    /// What is known of a reference of this mirror.
    pub fn case_ref(&self, mirror: MirrorId, reference: &Reference) -> Result<Option<CaseRef>, JournalError> {
        self.one(
            &format!("SELECT {} FROM case_ref WHERE mirror = ?1 AND reference = ?2", rows::CASE_REF),
            (mirror, reference.key()),
            rows::case_ref,
        )
    }

    /// The reference, as it was spelled, by which this mirror found the case; the first of several.
    pub fn reference_of(&self, mirror: MirrorId, case: &CaseArn) -> Result<Option<String>, JournalError> {
        self.one(
            "SELECT spelled FROM case_ref WHERE mirror = ?1 AND case_arn = ?2 AND state = 'found' ORDER BY reference LIMIT 1",
            (mirror, case),
            |row| row.get(0),
        )
    }

    /// References that are to be looked up by `due_before`, the longest due first.
    pub fn case_refs_due(&self, due_before: UnixMillis, limit: usize) -> Result<Vec<CaseRef>, JournalError> {
        self.many(
            &format!(
                "SELECT {} FROM case_ref WHERE next_try IS NOT NULL AND next_try <= ?1 ORDER BY next_try LIMIT ?2",
                rows::CASE_REF
            ),
            (due_before, limited(limit)),
            rows::case_ref,
        )
    }

    /// When the next reference is to be looked up, past or future.
    pub fn next_case_ref_due(&self) -> Result<Option<UnixMillis>, JournalError> {
        self.total("SELECT min(next_try) FROM case_ref WHERE next_try IS NOT NULL", [], |row| row.get(0))
    }

    /// The references of a mirror that mean no case at present.
    pub fn case_refs_open(&self, mirror: MirrorId) -> Result<Vec<CaseRef>, JournalError> {
        self.many(
            &format!("SELECT {} FROM case_ref WHERE mirror = ?1 AND state <> 'found'", rows::CASE_REF),
            [mirror],
            rows::case_ref,
        )
    }

    /// Unrouted files of a mirror with this reason.
    pub fn unrouted_for(&self, mirror: MirrorId, reason: &str, limit: usize) -> Result<Vec<RelPath>, JournalError> {
        self.many(
            "SELECT path FROM file INDEXED BY file_unrouted
             WHERE mirror = ?1 AND verdict = 'unrouted' AND detail = ?2 LIMIT ?3",
            (mirror, reason, limited(limit)),
            |row| row.get(0),
        )
    }

    /// Parked files of a mirror with this code.
    pub fn parked_for(&self, mirror: MirrorId, code: &str, limit: usize) -> Result<Vec<RelPath>, JournalError> {
        self.many(
            "SELECT path FROM file INDEXED BY file_parked
             WHERE mirror = ?1 AND verdict = 'parked' AND detail = ?2 LIMIT ?3",
            (mirror, code, limited(limit)),
            |row| row.get(0),
        )
    }

    /// Unrouted files by reason, of one mirror.
    pub fn unrouted_reasons(&self, mirror: MirrorId) -> Result<Vec<(String, u64)>, JournalError> {
        self.many(
            "SELECT detail, count(*) FROM file INDEXED BY file_unrouted
             WHERE mirror = ?1 AND verdict = 'unrouted' GROUP BY detail",
            [mirror],
            |row| Ok((row.get(0)?, rows::count(row, 1)?)),
        )
    }
}
