//! Opening the journal for writing: what stands there is checked first, and nothing that exists is ever begun anew.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Row};
use rustix::fs::{Access, access};

use super::Origin;
use super::error::JournalError;
use super::host::{self, Claim, Host};
use super::lock::{Lock, beside};
use crate::crash::{self, Point};

/// `PRAGMA application_id` of every journal: `CDRJ` in ASCII.
pub(super) const APPLICATION_ID: i32 = 0x4344_524a;

/// The steps from an empty database to the present tables; the n-th brings version n.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
    include_str!("migrations/0005.sql"),
    include_str!("migrations/0006.sql"),
    include_str!("migrations/0007.sql"),
    include_str!("migrations/0008.sql"),
    include_str!("migrations/0009.sql"),
    include_str!("migrations/0010.sql"),
    include_str!("migrations/0011.sql"),
    include_str!("migrations/0012.sql"),
    include_str!("migrations/0013.sql"),
];

/// The version this program reads and writes (`PRAGMA user_version`).
pub(super) fn known_version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Opens or creates the journal; the lock must be held as long as the connection lives.
pub(super) fn open(path: &Path, claim: Claim) -> Result<(Connection, Lock, Origin), JournalError> {
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| JournalError::io(folder, &e))?;
    }
    let mut lock = Lock::take(path)?;
    let origin = look_before(path, &lock)?;
    // A WAL means that the last end was not a clean one.
    let checked_before = length(&beside(path, "-wal"))?.unwrap_or(0) == 0 && lock.still_holds(path);
    if origin != Origin::Existing {
        create_empty(path)?;
        crash::at(Point::OpenCreated);
    }
    fn told<T>(path: &Path, result: rusqlite::Result<T>) -> Result<T, JournalError> {
        result.map_err(|e| JournalError::sqlite(path, &e))
    }
    let mut conn =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(|e| JournalError::sqlite(path, &e))?;
    told(path, settle(&conn))?;
    if conn.is_readonly("main").map_err(|e| JournalError::sqlite(path, &e))? {
        return Err(JournalError::ReadOnly { path: path.to_owned() });
    }
    // Creation happens with a rollback journal: a crash in it leaves an empty file, which counts as new again.
    let version = check(&conn, path, origin != Origin::Existing)?;
    told(path, migrate(&mut conn, version, origin == Origin::Lost))?;
    crash::at(Point::OpenMigrated);
    let mode: String = told(path, ask(&conn, "PRAGMA journal_mode = WAL", |row| row.get(0)))?;
    if mode != "wal" {
        let detail = format!("write-ahead logging is not possible there, only `{mode}`");
        return Err(JournalError::Io { path: path.to_owned(), detail });
    }
    if !checked_before {
        quick_check(&conn, path)?;
        lock.checked();
    }
    host::check(&conn, path, &Host::here(), claim)?;
    let lost: bool = told(path, ask(&conn, "SELECT count(*) FROM loss", |row| row.get(0)))?;
    let origin = if lost { Origin::Lost } else { origin };
    lock.sign(path).map_err(|e| JournalError::io(&beside(path, ".lock"), &e))?;
    crash::at(Point::OpenSigned);
    Ok((conn, lock, origin))
}

/// What stands at the path, told without opening it.
fn look_before(path: &Path, lock: &Lock) -> Result<Origin, JournalError> {
    let wal = beside(path, "-wal");
    let wal_bytes = length(&wal)?.unwrap_or(0);
    match length(path)? {
        Some(1..SMALLEST) => Err(JournalError::NotADatabase { path: path.to_owned() }),
        Some(SMALLEST..) => {
            if access(path, Access::READ_OK).is_err() {
                return Err(JournalError::PermissionDenied { path: path.to_owned() });
            }
            if access(path, Access::WRITE_OK).is_err() {
                return Err(JournalError::ReadOnly { path: path.to_owned() });
            }
            Ok(Origin::Existing)
        }
        _ if wal_bytes > 0 => Err(JournalError::Corrupt {
            path: path.to_owned(),
            detail: format!("the file is gone or empty, but {} holds data", wal.display()),
        }),
        _ if lock.was_used() => Ok(Origin::Lost),
        _ => Ok(Origin::Fresh),
    }
}

/// Bytes of the smallest page SQLite can have. It takes a shorter file for an empty database and would overwrite it.
pub(super) const SMALLEST: u64 = 512;

/// The length of a regular file; `None` when there is none.
pub(super) fn length(path: &Path) -> Result<Option<u64>, JournalError> {
    match std::fs::metadata(path) {
        Ok(m) if m.is_file() => Ok(Some(m.len())),
        Ok(_) => Err(JournalError::NotADatabase { path: path.to_owned() }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(JournalError::io(path, &e)),
    }
}

/// Makes the file with the right mode, which SQLite then gives to its other files too.
fn create_empty(path: &Path) -> Result<(), JournalError> {
    File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map(drop)
        .map_err(|e| JournalError::io(path, &e))
}

/// Settings of the one write connection. The cache is small since the whole daemon stays under 30 MiB, and pages
/// are not mapped, since mapped ones count as resident.
fn settle(conn: &Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(Duration::from_secs(5))?;
    batch(
        conn,
        "PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON;
         PRAGMA trusted_schema = OFF;
         PRAGMA journal_size_limit = 16777216;
         PRAGMA wal_autocheckpoint = 3000;
         PRAGMA mmap_size = 0;
         PRAGMA cache_size = -2048;
         PRAGMA temp_store = MEMORY;",
    )
}

/// Whether this is a journal that this program can work with; its version, 0 when it is empty.
pub(super) fn check(conn: &Connection, path: &Path, may_be_empty: bool) -> Result<i64, JournalError> {
    let ask = |sql| ask(conn, sql, |row| row.get::<_, i64>(0)).map_err(|e| JournalError::sqlite(path, &e));
    let found = i32::try_from(ask("PRAGMA application_id")?).unwrap_or(0);
    let version = ask("PRAGMA user_version")?;
    let empty = found == 0 && version == 0 && ask("SELECT count(*) FROM sqlite_schema")? == 0;
    if empty && may_be_empty {
        return Ok(0);
    }
    if found != APPLICATION_ID {
        return Err(JournalError::Foreign { path: path.to_owned(), found });
    }
    let known = known_version();
    if version > known {
        return Err(JournalError::NewerVersion { path: path.to_owned(), found: version, known });
    }
    Ok(version)
}

/// All steps in one transaction: nobody ever sees a version in between, and a full disk leaves the old one. With them
/// goes the note that a new journal stands in the place of a lost one.
fn migrate(conn: &mut Connection, from: i64, lost: bool) -> rusqlite::Result<()> {
    if from == known_version() {
        return Ok(());
    }
    let transaction = conn.transaction()?;
    for (_, sql) in (1_i64..).zip(MIGRATIONS).filter(|(version, _)| *version > from) {
        batch(&transaction, sql)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", known_version())?;
    if lost {
        let now = crate::types::UnixMillis::now();
        transaction.execute("INSERT INTO loss (id, at) VALUES (1, ?1) ON CONFLICT DO NOTHING", [now.0])?;
    }
    transaction.commit()
}

/// One row of one statement.
pub(super) fn ask<T>(
    conn: &Connection,
    sql: &str,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    #[cfg(test)]
    super::view::fail(conn)?;
    conn.query_row(sql, [], read)
}

fn batch(conn: &Connection, sql: &str) -> rusqlite::Result<()> {
    #[cfg(test)]
    super::view::fail(conn)?;
    conn.execute_batch(sql)
}

fn quick_check(conn: &Connection, path: &Path) -> Result<(), JournalError> {
    let asked = ask(conn, "PRAGMA quick_check(1)", |row| row.get(0));
    let verdict: String = asked.map_err(|e| JournalError::sqlite(path, &e))?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(JournalError::Corrupt { path: path.to_owned(), detail: verdict })
}

/// An empty journal in memory.
pub(super) fn in_memory() -> rusqlite::Result<Connection> {
    let mut conn = Connection::open_in_memory()?;
    migrate(&mut conn, 0, false)?;
    Ok(conn)
}
