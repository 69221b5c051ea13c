//! Questions about what is known before a call is spent.

use super::super::error::JournalError;
use super::super::rows;
use super::View;
use crate::core::preflight::{FullCase, Limits};
use crate::types::{CaseArn, UnixMillis};

impl View {
    /// The instance's settings as they were read last, and when.
    pub fn files_config(&self) -> Result<Option<(Limits, UnixMillis)>, JournalError> {
        self.one("SELECT max_bytes, extensions, assumed, read_at FROM files_config WHERE id = 1", [], |row| {
            let limits =
                Limits { max_bytes: rows::unsigned(row, 0)?, extensions: rows::json(row, 1)?, assumed: row.get(2)? };
            Ok((limits, row.get(3)?))
        })
    }

    /// What is known of a case that was found full.
    pub fn full_case(&self, case: &CaseArn) -> Result<Option<FullCase>, JournalError> {
        self.one("SELECT since, probes, next_probe FROM full_case WHERE case_arn = ?1", [case], |row| {
            Ok(FullCase { since: row.get(0)?, probes: row.get(1)?, next_probe: row.get(2)? })
        })
    }

    /// Every case that was found full, with when it is to be tried again.
    pub fn full_cases(&self) -> Result<Vec<(CaseArn, UnixMillis)>, JournalError> {
        self.many("SELECT case_arn, next_probe FROM full_case", [], |row| Ok((row.get(0)?, row.get(1)?)))
    }
}
