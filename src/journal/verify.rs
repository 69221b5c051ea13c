//! What can be written down about the comparison of journal, disk and Connect.

use super::error::JournalError;
use super::tx::Tx;
use super::view::{Difference, Verification};
use crate::core::model::MirrorId;
use crate::types::{CaseArn, UnixMillis};

impl Tx<'_> {
    /// Writes how far the comparison is.
    pub fn put_verification(&self, mirror: MirrorId, v: &Verification) -> Result<(), JournalError> {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.change(
            "INSERT INTO verification (mirror, began_at, deep, by_hand, after_case, cases, cases_done, files, undecided,
                 ended_at, last_files, last_undecided, since, trouble)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
             ON CONFLICT DO UPDATE SET began_at = ?2, deep = ?3, by_hand = ?4, after_case = ?5, cases = ?6,
                 cases_done = ?7, files = ?8, undecided = ?9, ended_at = ?10, last_files = ?11, last_undecided = ?12,
                 trouble = ?14",
            (
                mirror,
                v.began_at,
                v.deep,
                v.by_hand,
                &v.after_case,
                number(v.cases),
                number(v.cases_done),
                number(v.files),
                number(v.undecided),
                v.ended_at,
                number(v.last_files),
                number(v.last_undecided),
                v.since,
                &v.trouble,
            ),
        )
        .map(drop)
    }

    /// Forgets the differences of one case.
    pub fn clear_differences(&self, mirror: MirrorId, case: &CaseArn) -> Result<(), JournalError> {
        self.change("DELETE FROM difference WHERE mirror = ?1 AND case_arn = ?2", (mirror, case)).map(drop)
    }

    /// Forgets what was found before `since`, on cases that are no longer looked at.
    pub fn clear_old_differences(&self, mirror: MirrorId, since: UnixMillis) -> Result<(), JournalError> {
        self.change("DELETE FROM difference WHERE mirror = ?1 AND found_at < ?2", (mirror, since)).map(drop)
    }

    /// Forgets one difference, which was repaired.
    pub fn remove_difference(&self, mirror: MirrorId, d: &Difference) -> Result<(), JournalError> {
        self.change(
            "DELETE FROM difference WHERE mirror = ?1 AND case_arn = ?2 AND class = ?3 AND file_id IS ?4
                 AND attachment IS ?5",
            (mirror, &d.case, d.class, &d.file_id, d.attachment),
        )
        .map(drop)
    }

    /// Keeps a difference.
    pub fn add_difference(&self, mirror: MirrorId, d: &Difference) -> Result<(), JournalError> {
        self.change(
            "INSERT INTO difference (mirror, case_arn, class, path, attachment, file_id, found_at, text, detail)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            (mirror, &d.case, d.class, &d.path, d.attachment, &d.file_id, d.found_at, &d.text, d.detail.to_string()),
        )
        .map(drop)
    }
}
