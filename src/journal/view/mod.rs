//! What can be asked of the journal; the same questions inside a write and for the views.
//!
//! No method changes anything. Lists are bounded by a `limit` or belong to one file, so memory stays flat in the
//! number of files.

mod absences;
mod attachments;
mod events;
mod files;
mod handovers;
mod preflight;
mod references;
mod scan;
mod truth;
mod turns;
mod verify;

use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, Row};

pub use absences::AbsenceLook;
pub use events::EventFilter;
pub use scan::ScanRows;
pub use verify::{Difference, Verification};

use super::error::JournalError;
use super::rows;
use crate::core::clock::Reading;
use crate::core::model::{Hold, MirrorId, MirrorRow, Verdict};
use crate::types::{CaseArn, UnixMillis};

/// Files per verdict in the order of `Verdict::WORDS`, zeros included.
pub type Counts = [(&'static str, u64); Verdict::WORDS.len()];

/// A connection to ask; a `Tx` and a `Reader` are both one.
#[derive(Debug)]
pub struct View {
    pub(super) conn: Connection,
    pub(super) path: PathBuf,
    /// Every question asked, for the test that looks at their query plans.
    #[cfg(test)]
    pub(super) asked: std::cell::RefCell<std::collections::BTreeSet<String>>,
}

impl View {
    pub(super) fn new(conn: Connection, path: &Path) -> Self {
        // More than the distinct statements of this module and `tx`: none is ever prepared twice.
        conn.set_prepared_statement_cache_capacity(128);
        // Without it SQLite plans a statement anew whenever a value it looked at for the plan is another one, such as
        // that of a LIMIT: a fifth of the CPU of a busy daemon. A refusal costs only that.
        let _ = conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true);
        Self {
            conn,
            path: path.to_owned(),
            #[cfg(test)]
            asked: std::cell::RefCell::default(),
        }
    }

    /// A statement, prepared once for each connection.
    pub(super) fn prepare(&self, sql: &str) -> rusqlite::Result<CachedStatement<'_>> {
        #[cfg(test)]
        if !self.asked.borrow().contains(sql) {
            self.asked.borrow_mut().insert(sql.to_owned());
        }
        #[cfg(test)]
        fail(&self.conn)?;
        self.conn.prepare_cached(sql)
    }

    /// Turns an error of SQLite into one that names the journal and the remedy.
    pub(super) fn told<T>(&self, result: rusqlite::Result<T>) -> Result<T, JournalError> {
        result.map_err(|e| JournalError::sqlite(&self.path, &e))
    }

    pub(in crate::journal) fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, JournalError> {
        self.told(self.prepare(sql).and_then(|mut s| s.query_row(params, read).optional()))
    }

    /// The one row of an aggregate.
    pub(in crate::journal) fn total<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        self.told(self.prepare(sql).and_then(|mut s| s.query_row(params, read)))
    }

    pub(in crate::journal) fn many<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, JournalError> {
        self.told(self.prepare(sql).and_then(|mut s| s.query_map(params, read)?.collect()))
    }

    /// Every mirror the journal knows, also those no longer configured.
    pub fn mirrors(&self) -> Result<Vec<MirrorRow>, JournalError> {
        let rows = self.many(&format!("SELECT {} FROM mirror ORDER BY id", rows::MIRROR), [], rows::mirror)?;
        rows.into_iter().map(|row| self.with_holds(row)).collect()
    }

    fn with_holds(&self, mut row: MirrorRow) -> Result<MirrorRow, JournalError> {
        row.holds = self.many(&format!("SELECT {} FROM hold WHERE mirror = ?1", rows::HOLD), [row.id], rows::hold)?;
        Hold::sort(&mut row.holds);
        row.hold = row.holds.first().cloned();
        Ok(row)
    }

    pub fn mirror(&self, id: MirrorId) -> Result<Option<MirrorRow>, JournalError> {
        let row = self.one(&format!("SELECT {} FROM mirror WHERE id = ?1", rows::MIRROR), [id], rows::mirror)?;
        row.map(|row| self.with_holds(row)).transpose()
    }

    /// The reading of the clocks that was kept last.
    pub fn clock(&self) -> Result<Option<Reading>, JournalError> {
        self.one("SELECT boot, up_ms, wall_ms FROM clock", [], |row| {
            Ok(Reading { boot: row.get(0)?, up_ms: row.get(1)?, wall_ms: row.get(2)? })
        })
    }

    /// The host that the journal belongs to: its machine id as it is kept, its name, since when.
    pub fn host(&self) -> Result<Option<(Option<String>, String, UnixMillis)>, JournalError> {
        self.one("SELECT machine, name, since FROM host", [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
    }

    pub fn mirror_by_name(&self, name: &str) -> Result<Option<MirrorRow>, JournalError> {
        let row = self.one(&format!("SELECT {} FROM mirror WHERE name = ?1", rows::MIRROR), [name], rows::mirror)?;
        row.map(|row| self.with_holds(row)).transpose()
    }

    /// Whether the mirror may have attached files before this journal began.
    pub fn is_young(&self, mirror: MirrorId) -> Result<bool, JournalError> {
        Ok(self.one("SELECT young FROM mirror WHERE id = ?1", [mirror], |row| row.get(0))? == Some(true))
    }

    /// Whether this journal knows of a file that the mirror has or had on the case.
    pub fn has_met(&self, mirror: MirrorId, case: &CaseArn) -> Result<bool, JournalError> {
        let sql = "SELECT 1 FROM attachment WHERE mirror = ?1 AND case_arn = ?2 AND file_id IS NOT NULL LIMIT 1";
        Ok(self.one(sql, (mirror, case), |_| Ok(()))?.is_some())
    }

    /// Whether this journal knows of a file of the mirror that agents could see.
    pub fn has_delivered(&self, mirror: MirrorId) -> Result<bool, JournalError> {
        let sql = "SELECT 1 FROM attachment WHERE mirror = ?1 AND stage = 'approved' LIMIT 1";
        Ok(self.one(sql, [mirror], |_| Ok(()))?.is_some())
    }

    /// Whether a healthy folder has stood at this root of this mirror.
    pub fn has_begun(&self, name: &str, root: &[u8]) -> Result<bool, JournalError> {
        Ok(self.mirror_by_name(name)?.is_some_and(|row| row.root == root && row.identity.is_some()))
    }
}

/// A limit as SQL takes it.
fn limited(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// The simulation's fault, if the next statement is the one that fails.
#[cfg(test)]
pub(super) fn fail(conn: &Connection) -> rusqlite::Result<()> {
    use crate::host::simulated::{StatementFault, statement};
    let code = match statement() {
        None => return Ok(()),
        Some(StatementFault::Io) => rusqlite::ffi::SQLITE_IOERR_WRITE,
        Some(StatementFault::Full) => {
            // As SQLite does by itself, when there is a transaction.
            let _ = conn.execute_batch("ROLLBACK");
            rusqlite::ffi::SQLITE_FULL
        }
    };
    Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None))
}
