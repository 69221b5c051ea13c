//! What can go wrong with the journal: one variant, one remedy each.
//!
//! All are plain data, so that one failed commit can be told to every request of its group.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::core::model::{AttachmentId, Stage};
use crate::types::UnixMillis;

/// Why the journal could not be opened, read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    #[error(
        "{} is not a journal but some other file: name another `path` in [journal], or move the file away",
        .path.display()
    )]
    NotADatabase { path: PathBuf },

    #[error(
        "the journal {} is damaged ({detail}): stop casedrop and put a sound copy of the file back, without the -wal \
         beside it; do not just remove it, for then what is attached is no longer known",
        .path.display()
    )]
    Corrupt { path: PathBuf, detail: String },

    #[error(
        "the journal {} was written by a newer casedrop (version {found}, this one knows {known}): install that one \
         again",
        .path.display()
    )]
    NewerVersion { path: PathBuf, found: i64, known: i64 },

    #[error(
        "the journal {} was written by an older casedrop (version {found}, this one reads {known}): start the daemon \
         once, it brings the journal up to date",
        .path.display()
    )]
    OlderVersion { path: PathBuf, found: i64, known: i64 },

    #[error(
        "{} is a database of another program (application id {found:#x}): name another `path` in [journal]",
        .path.display()
    )]
    Foreign { path: PathBuf, found: i32 },

    #[error(
        "the journal {} can only be read: give casedrop's user the right to write the file and its folder, or mount \
         the file system writable",
        .path.display()
    )]
    ReadOnly { path: PathBuf },

    #[error("no space is left for the journal {}: free some on its file system; nothing was lost", .path.display())]
    DiskFull { path: PathBuf },

    #[error(
        "the journal {} is in use by {}: only one daemon may run on it; stop that one first",
        .path.display(), owner(*.pid)
    )]
    LockedByOther { path: PathBuf, pid: Option<u32> },

    #[error(
        "casedrop's user may not open the journal {}: give it the right to read and write the file and its folder",
        .path.display()
    )]
    PermissionDenied { path: PathBuf },

    #[error("another program keeps the journal {} locked: close it (a `sqlite3` shell, a backup)", .path.display())]
    Busy { path: PathBuf },

    #[error("the journal {} cannot be read or written ({detail}): check its disk and the kernel's log", .path.display())]
    Io { path: PathBuf, detail: String },

    #[error("there is no journal at {}: start the daemon, or correct `path` in [journal]", .path.display())]
    Missing { path: PathBuf },

    #[error("the journal {} is closed: casedrop is stopping", .path.display())]
    Closed { path: PathBuf },

    #[error(
        "the journal knows the mirror `{mirror}` at {}, the configuration puts it at {}: correct `path`, or give the \
         mirror another name",
        String::from_utf8_lossy(.known).escape_debug(), String::from_utf8_lossy(.found).escape_debug()
    )]
    OtherRoot { mirror: String, known: Vec<u8>, found: Vec<u8> },

    #[error(
        "the journal {} belongs to the host `{known}` (since {since}), and this is `{found}`: two hosts on copies of one \
         journal would attach every file twice. Name another `path` in [journal] here; or, once casedrop no longer runs \
         on `{known}`, move it here with `casedrop release --host`",
        .path.display()
    )]
    OtherHost { path: PathBuf, known: String, since: UnixMillis, found: String },

    #[error(
        "the journal {} was removed or replaced while casedrop had it open: what was done since may not be in the file \
         that stands there. Put it back, or start casedrop again: where there is none every mirror is held \
         (`journal-rebuilt`), and `casedrop adopt` rebuilds it from Connect",
        .path.display()
    )]
    Removed { path: PathBuf },

    #[error("attachment {} is {found} and cannot become {wanted}: nothing was changed; please report this", .id.0)]
    IllegalStage { id: AttachmentId, found: Stage, wanted: Stage },

    #[error("the journal holds no {what}: nothing was changed; please report this")]
    NotFound { what: String },

    #[error("the journal {} refused an operation ({detail}): nothing was changed; please report this", .path.display())]
    Internal { path: PathBuf, detail: String },
}

fn owner(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl JournalError {
    /// A fault of the program's own around the journal: a task that ended, no random numbers.
    pub fn internal(detail: &str) -> Self {
        Self::Internal { path: PathBuf::new(), detail: detail.to_owned() }
    }

    /// Whether a journal that was open may get over it by itself: also what cannot be written now but could before, such
    /// as a file system that was mounted read-only after a fault.
    pub fn may_heal(&self) -> bool {
        self.is_passing() || matches!(self, Self::ReadOnly { .. })
    }

    /// Whether it can pass without anybody's help in the program: the same request may succeed later.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::DiskFull { .. } | Self::Busy { .. } | Self::Io { .. } | Self::LockedByOther { .. })
    }

    /// Sorts an error of SQLite by what has to be done now.
    pub(super) fn sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let path = path.to_owned();
        let detail = error.to_string();
        let code = match error {
            rusqlite::Error::SqliteFailure(e, _) => e.code,
            // A column holds what this program never writes.
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..) => return Self::Corrupt { path, detail },
            _ => return Self::Internal { path, detail },
        };
        // A full disk can show itself first where the -shm file should grow, which SQLite calls an I/O error.
        if matches!(error, rusqlite::Error::SqliteFailure(e, _) if e.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
        {
            return Self::DiskFull { path };
        }
        match code {
            ErrorCode::NotADatabase => Self::NotADatabase { path },
            ErrorCode::DatabaseCorrupt => Self::Corrupt { path, detail },
            ErrorCode::ReadOnly => Self::ReadOnly { path },
            ErrorCode::DiskFull => Self::DiskFull { path },
            ErrorCode::PermissionDenied => Self::PermissionDenied { path },
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
                Self::Busy { path }
            }
            ErrorCode::CannotOpen | ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory => Self::Io { path, detail },
            _ => Self::Internal { path, detail },
        }
    }

    /// Sorts an error of the file system.
    pub(super) fn io(path: &Path, error: &std::io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => Self::PermissionDenied { path },
            std::io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path },
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            std::io::ErrorKind::NotFound => Self::Missing { path },
            _ => Self::Io { path, detail: error.to_string() },
        }
    }
}
