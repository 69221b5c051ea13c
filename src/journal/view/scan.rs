//! The rows of a mirror as a stream in byte order of their paths, to be merged with a walk in the same order.

use rusqlite::{CachedStatement, Rows};

use super::super::error::JournalError;
use super::super::rows;
use super::View;
use crate::core::model::{MirrorId, Stat};
use crate::types::{RelPath, UnixMillis};

/// The byte that follows `/`: `dir` + it is the first path past everything below `dir`.
pub(super) const AFTER_SLASH: &[u8] = b"0";

/// A prepared scan; [`Scan::rows`] runs it.
pub struct Scan<'v> {
    statement: CachedStatement<'v>,
    view: &'v View,
    mirror: MirrorId,
    /// Paths above this, and below that.
    from: Vec<u8>,
    to: Option<Vec<u8>>,
}

/// The running scan. It sees one moment of the journal; while it is open, a checkpoint cannot pass it.
pub struct ScanRows<'s> {
    rows: Rows<'s>,
    view: &'s View,
}

/// One file, borrowed from the page it stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanRow<'r> {
    pub path: &'r [u8],
    pub stat: Stat,
    /// The word and the detail of the verdict (`Verdict::from_columns`).
    pub verdict: &'r str,
    pub detail: Option<&'r str>,
    pub absent_since: Option<UnixMillis>,
}

impl View {
    /// The files of a mirror, all or those below the folder `below`.
    pub fn scan(&self, mirror: MirrorId, below: Option<&RelPath>) -> Result<Scan<'_>, JournalError> {
        const SCAN: &str =
            "SELECT path, dev, inode, size, mtime_ns, ctime_ns, verdict, detail, absent_since FROM file ";
        let (sql, from, to) = match below {
            Some(dir) => (
                format!("{SCAN} WHERE mirror = ?1 AND path > ?2 AND path < ?3 ORDER BY path"),
                [dir.as_bytes(), b"/"].concat(),
                Some([dir.as_bytes(), AFTER_SLASH].concat()),
            ),
            None => (format!("{SCAN} WHERE mirror = ?1 AND path > ?2 ORDER BY path"), Vec::new(), None),
        };
        Ok(Scan { statement: self.told(self.prepare(&sql))?, view: self, mirror, from, to })
    }
}

impl Scan<'_> {
    /// Starts from the first path.
    pub fn rows(&mut self) -> Result<ScanRows<'_>, JournalError> {
        let rows = match &self.to {
            Some(to) => self.statement.query((self.mirror, &self.from, to)),
            None => self.statement.query((self.mirror, &self.from)),
        };
        Ok(ScanRows { rows: self.view.told(rows)?, view: self.view })
    }
}

impl ScanRows<'_> {
    /// The next file; nothing is allocated for it.
    pub fn next(&mut self) -> Result<Option<ScanRow<'_>>, JournalError> {
        let view = self.view;
        let read = |row: &rusqlite::Row<'_>| rows::stat(row, 1);
        match self.rows.next() {
            Ok(None) => Ok(None),
            Err(e) => view.told(Err(e)),
            Ok(Some(row)) => {
                let text =
                    |column: usize| row.get_ref(column)?.as_str_or_null().map_err(|e| rows::conversion(column, e));
                view.told((|| {
                    Ok(Some(ScanRow {
                        path: row.get_ref(0)?.as_blob().map_err(|e| rows::conversion(0, e))?,
                        stat: read(row)?,
                        verdict: text(6)?.unwrap_or_default(),
                        detail: text(7)?,
                        absent_since: row.get(8)?,
                    }))
                })())
            }
        }
    }
}
