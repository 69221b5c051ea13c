//! Reading the journal for the views, while a daemon runs and while none does.
//!
//! A reader writes nothing anywhere (invariant 21). How it opens the file follows from what stands there:
//!
//! | found | opened |
//! | --- | --- |
//! | a daemon holds the lock | read-only, as one more reader of the WAL |
//! | no daemon, no `-wal` (or an empty one) | `immutable=1`: no lock, no `-shm` |
//! | no daemon, a `-wal` left by a crash | read-only with the VFS `unix-none` and exclusive locking: SQLite builds the index of the WAL in memory and reads database and WAL in place; no `-shm`, no checkpoint |
//!
//! The last two take no lock, so a daemon may start meanwhile and change the file below the reader;
//! [`Reader::overtaken`] tells. Copying the file first would also be right, but costs its size for each look.

use std::ops::Deref;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::JournalError;
use super::lock::{self, Daemon, beside};
use super::open;
use super::view::View;

/// A read-only connection. Not for two threads at once; open one for each.
#[derive(Debug)]
pub struct Reader {
    view: View,
    /// For a journal no daemon ran on: what its files looked like.
    cold: Option<Vec<Print>>,
}

/// Enough of `stat` to tell that a file changed.
type Print = Option<(u64, u64, u64, i64, i64)>;

impl Deref for Reader {
    type Target = View;

    fn deref(&self) -> &View {
        &self.view
    }
}

impl Reader {
    /// Opens the journal at `path`.
    ///
    /// # Errors
    /// `Missing` when there is none, or one whose creation was cut off.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let missing = || JournalError::Missing { path: path.to_owned() };
        match open::length(path)? {
            None | Some(0) => return Err(missing()),
            Some(1..open::SMALLEST) => return Err(JournalError::NotADatabase { path: path.to_owned() }),
            Some(open::SMALLEST..) => {}
        }
        match lock::look(path)? {
            Daemon::Runs => Self::live(path),
            // A rollback journal exists only while a journal is created.
            Daemon::Stopped if open::length(&beside(path, "-journal"))?.is_some_and(|bytes| bytes > 0) => {
                Err(missing())
            }
            Daemon::Stopped => Self::cold(path),
        }
    }

    /// An empty journal in memory, for `plan` before the first run.
    pub fn empty() -> Result<Self, JournalError> {
        let path = PathBuf::from(":memory:");
        let conn = open::in_memory().map_err(|e| JournalError::sqlite(&path, &e))?;
        Ok(Self { view: View::new(conn, &path), cold: None })
    }

    /// Reads beside the daemon's writer; also the way of a reader inside the daemon.
    pub(super) fn live(path: &Path) -> Result<Self, JournalError> {
        let conn = Connection::open_with_flags(path, READ_ONLY).map_err(|e| JournalError::sqlite(path, &e))?;
        Self::checked(conn, path, None)
    }

    fn cold(path: &Path) -> Result<Self, JournalError> {
        let before = prints(path);
        let conn = if open::length(&beside(path, "-wal"))?.is_some_and(|bytes| bytes > 0) {
            Connection::open_with_flags_and_vfs(path, READ_ONLY, "unix-none").and_then(|conn| {
                // Else the last connection would try to move the WAL into the database at its end.
                conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
                conn.execute_batch("PRAGMA locking_mode = EXCLUSIVE")?;
                Ok(conn)
            })
        } else {
            Connection::open_with_flags(immutable_uri(path), READ_ONLY | OpenFlags::SQLITE_OPEN_URI)
        };
        Self::checked(conn.map_err(|e| JournalError::sqlite(path, &e))?, path, Some(before))
    }

    fn checked(conn: Connection, path: &Path, cold: Option<Vec<Print>>) -> Result<Self, JournalError> {
        conn.busy_timeout(Duration::from_secs(5))
            .and_then(|()| {
                conn.execute_batch("PRAGMA query_only = ON; PRAGMA mmap_size = 0; PRAGMA cache_size = -1024")
            })
            .map_err(|e| JournalError::sqlite(path, &e))?;
        let (found, known) = (open::check(&conn, path, true)?, open::known_version());
        if found == 0 {
            return Err(JournalError::Missing { path: path.to_owned() });
        }
        if found < known {
            return Err(JournalError::OlderVersion { path: path.to_owned(), found, known });
        }
        Ok(Self { view: View::new(conn, path), cold })
    }

    /// Runs all questions of `ask` on one moment of the journal, so that their answers agree (invariant 22).
    pub fn at_one_moment<T>(&self, ask: impl FnOnce(&View) -> Result<T, JournalError>) -> Result<T, JournalError> {
        let transaction = self.view.told(self.view.conn.unchecked_transaction())?;
        let answer = ask(&self.view);
        // Nothing was written: the end of the transaction only lets the moment go.
        self.view.told(transaction.rollback())?;
        answer
    }

    /// Whether a daemon started on the journal since it was opened without one: answers and errors of this reader
    /// then mean nothing; open another. Never true for a reader beside a daemon.
    pub fn overtaken(&self) -> bool {
        self.cold.as_ref().is_some_and(|before| *before != prints(&self.view.path))
    }
}

const READ_ONLY: OpenFlags = OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

fn prints(path: &Path) -> Vec<Print> {
    [path.to_owned(), beside(path, "-wal"), beside(path, ".lock")]
        .iter()
        .map(|p| std::fs::metadata(p).ok().map(|m| (m.dev(), m.ino(), m.len(), m.mtime(), m.mtime_nsec())))
        .collect()
}

/// The path as a URI with `immutable=1`; every byte that is not plain is escaped.
fn immutable_uri(path: &Path) -> String {
    use std::fmt::Write as _;
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    // A path that begins with two slashes would be read as a host name.
    let uri = if uri.starts_with("file://") { uri.replacen("file:", "file://", 1) } else { uri };
    uri + "?immutable=1"
}
