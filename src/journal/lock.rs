//! The lock beside the journal, by which one daemon keeps others off (invariant 20) and by which a view knows
//! whether a daemon runs.
//!
//! `flock` on `<journal>.lock`: the kernel ends it with the process, however that ends. The file stays and holds
//! the pid of the last owner; only the lock has meaning. (A lock on the database file itself would be lost as
//! soon as any other descriptor of that file is closed in this process.)

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::JournalError;

/// How long a daemon waits for the lock: views hold it for microseconds while they look whether a daemon runs.
const PATIENCE: Duration = Duration::from_secs(1);

/// The lock, held until dropped.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

/// Whether a daemon runs on a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Daemon {
    Runs,
    Stopped,
}

/// `suffix` added to the journal's whole name, as SQLite names its own files.
pub(super) fn beside(journal: &Path, suffix: &str) -> PathBuf {
    let mut name = journal.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

impl Lock {
    /// Takes the lock or says who has it.
    pub(super) fn take(journal: &Path) -> Result<Self, JournalError> {
        let path = beside(journal, ".lock");
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|e| JournalError::io(&path, &e))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { file }),
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                Err(Errno::WOULDBLOCK) => {
                    let mut text = String::new();
                    // The pid only helps the message; without it the lock is refused all the same.
                    let _ = file.read_to_string(&mut text);
                    let pid = text.trim().parse().ok();
                    return Err(JournalError::LockedByOther { path: journal.to_owned(), pid });
                }
                Err(e) => return Err(JournalError::io(&path, &e.into())),
            }
        }
    }

    /// Whether a daemon ever opened a journal here: its pid stands in the file.
    pub(super) fn was_used(&self) -> bool {
        self.file.metadata().is_ok_and(|m| m.len() > 0)
    }

    /// Writes our pid, for the message of those who come later.
    pub(super) fn sign(&mut self) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        writeln!(self.file, "{}", std::process::id())
    }
}

/// Whether a daemon holds the lock now. Creates and changes nothing.
pub(super) fn look(journal: &Path) -> Result<Daemon, JournalError> {
    let path = beside(journal, ".lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Daemon::Stopped),
        Err(e) => return Err(JournalError::io(&path, &e)),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Daemon::Stopped),
        Err(Errno::WOULDBLOCK) => Ok(Daemon::Runs),
        Err(e) => Err(JournalError::io(&path, &e.into())),
    }
}
