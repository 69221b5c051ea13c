//! Questions about what was learned by asking Connect: adoption and comparison.

use super::super::error::JournalError;
use super::super::rows;
use super::View;
use crate::core::model::{Attachment, MirrorId};
use crate::types::{CaseArn, ClientToken, UnixMillis};

impl View {
    /// Whether this journal stands where another was lost, and no engine has held its mirrors yet.
    pub fn is_lost(&self) -> Result<bool, JournalError> {
        self.total("SELECT count(*) FROM loss", [], |row| Ok(rows::count(row, 0)? > 0))
    }

    pub fn attachment_by_token(&self, token: &ClientToken) -> Result<Option<Attachment>, JournalError> {
        self.one(&format!("SELECT {} FROM attachment WHERE token = ?1", rows::ATTACHMENT), [token], rows::attachment)
    }

    /// Files parked because they were adopted and never seen here.
    pub fn unseen_count(&self, mirror: MirrorId) -> Result<u64, JournalError> {
        self.total(
            "SELECT count(*) FROM file WHERE mirror = ?1 AND verdict = 'parked' AND detail = 'unseen'",
            [mirror],
            |row| rows::count(row, 0),
        )
    }

    /// When the listing of a case was taken in for adoption, and whether Connect knows the case.
    pub fn asked(&self, mirror: MirrorId, case: &CaseArn) -> Result<Option<(UnixMillis, bool)>, JournalError> {
        self.one("SELECT at, known FROM asked WHERE mirror = ?1 AND case_arn = ?2", (mirror, case), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
    }

    /// What was found on a case for adoption, as it was written.
    pub fn found_on(&self, mirror: MirrorId, case: &CaseArn) -> Result<Vec<String>, JournalError> {
        self.many(
            "SELECT detail FROM found WHERE mirror = ?1 AND case_arn = ?2 ORDER BY file_id",
            (mirror, case),
            |row| row.get(0),
        )
    }
}
