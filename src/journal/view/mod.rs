//! What can be asked of the journal; the same questions inside a write and for the views.
//!
//! No method changes anything. Lists are bounded by a `limit` or belong to one file, so memory stays flat in the
//! number of files.

mod attachments;
mod events;
mod files;
mod scan;
mod truth;
mod turns;
mod verify;

use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, Row};

pub use events::EventFilter;
pub use scan::ScanRows;
pub use verify::{Difference, Verification};

use super::error::JournalError;
use super::rows;
use crate::core::model::{MirrorId, MirrorRow, Verdict};

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
        self.many(&format!("SELECT {} FROM mirror ORDER BY id", rows::MIRROR), [], rows::mirror)
    }

    pub fn mirror(&self, id: MirrorId) -> Result<Option<MirrorRow>, JournalError> {
        self.one(&format!("SELECT {} FROM mirror WHERE id = ?1", rows::MIRROR), [id], rows::mirror)
    }

    pub fn mirror_by_name(&self, name: &str) -> Result<Option<MirrorRow>, JournalError> {
        self.one(&format!("SELECT {} FROM mirror WHERE name = ?1", rows::MIRROR), [name], rows::mirror)
    }
}

/// A limit as SQL takes it.
fn limited(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
