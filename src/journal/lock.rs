//! The lock beside the journal, by which one daemon keeps others off (invariant 20) and by which a view knows
//! whether a daemon runs.
//!
//! `flock` on `<journal>.lock`: the kernel ends it with the process, however that ends. The file stays and holds
//! the pid of the last owner; only the lock has meaning. (A lock on the database file itself would be lost as
//! soon as any other descriptor of that file is closed in this process.)
//!
//! A clean end leaves a second line there: how the database file stood, and when it was last checked as a whole. A
//! start that finds the same file, untouched since, within a day, need not read all of it again.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::JournalError;
use super::identity;
use crate::types::UnixMillis;

/// How long the check of a whole file holds while nobody else touches that file.
const CHECK_HOLDS: Duration = Duration::from_secs(24 * 3600);

/// How long a daemon waits for another that may just be ending.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long it waits for views: they share the lock for microseconds, to see whether a daemon runs, if nothing pauses
/// them.
const PATIENCE_WITH_VIEWS: Duration = Duration::from_secs(60);

/// The lock, held until dropped.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    /// When the database was last checked as a whole.
    checked: Option<UnixMillis>,
    /// Device and inode of the database as it was opened.
    opened: Option<(u64, u64)>,
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
        let began = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { file, checked: None, opened: None }),
                Err(Errno::WOULDBLOCK) if began.elapsed() < patience(&file) => {
                    std::thread::sleep(Duration::from_millis(20));
                }
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

    /// Whether the database is the very file that a clean end left within a day of its last check. Call it before
    /// [`Self::sign`] and before anything opens the database.
    pub(super) fn still_holds(&mut self, journal: &Path) -> bool {
        let mut text = String::new();
        let read = self.file.rewind().and_then(|()| self.file.read_to_string(&mut text));
        let (Ok(_), Some(stood)) = (read, standing(journal)) else { return false };
        let Some(marked) = text.lines().nth(1).and_then(|line| line.strip_prefix("closed ")) else { return false };
        let Some((checked, file)) = marked.split_once(' ') else { return false };
        let Some(checked) = checked.parse().ok().map(UnixMillis) else { return false };
        let (now, same) = (UnixMillis::now(), file == stood);
        let holds = same && checked <= now && now.since(checked) < CHECK_HOLDS;
        self.checked = holds.then_some(checked);
        holds
    }

    /// The database was found whole just now.
    pub(super) fn checked(&mut self) {
        self.checked = Some(UnixMillis::now());
    }

    /// After a clean end, when the database stands alone and nobody has it open for writing.
    pub(super) fn mark_closed(mut self, journal: &Path) {
        // Another file at the path is not the one that was checked.
        if self.opened.is_none() || self.opened != identity(journal) {
            return;
        }
        if let (Some(checked), Some(stands)) = (self.checked, standing(journal)) {
            // Without the line, the next start checks the file.
            let _ = writeln!(self.file, "closed {} {stands}", checked.0);
        }
    }

    /// Writes our pid, for the message of those who come later, and remembers which file is open.
    pub(super) fn sign(&mut self, journal: &Path) -> std::io::Result<()> {
        self.opened = identity(journal);
        self.file.set_len(0)?;
        self.file.rewind()?;
        writeln!(self.file, "{}", std::process::id())
    }
}

/// How long to wait for whoever has the lock: what can be shared is had by views alone.
fn patience(file: &File) -> Duration {
    match flock(file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            let _ = flock(file, FlockOperation::Unlock);
            PATIENCE_WITH_VIEWS
        }
        Err(_) => PATIENCE,
    }
}

/// What changes with every write to the file and with every other file in its place.
fn standing(journal: &Path) -> Option<String> {
    let m = std::fs::metadata(journal).ok()?;
    let (dev, inode, size) = (m.dev(), m.ino(), m.len());
    Some(format!("{dev} {inode} {size} {}.{:09} {}.{:09}", m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A view may be paused for long just while it looks.
    #[test]
    fn views_are_waited_for_and_a_daemon_is_told_of_soon() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, path) = (dir.path().join("journal.db"), dir.path().join("journal.db.lock"));
        let (view, mine) = (File::create(&path).unwrap(), File::open(&path).unwrap());
        flock(&view, FlockOperation::NonBlockingLockShared).unwrap();
        assert_eq!(patience(&mine), PATIENCE_WITH_VIEWS);
        // Nothing is left of asking: once the view is gone, the lock is free.
        drop(view);
        let lock = Lock::take(&journal).unwrap();
        assert_eq!(patience(&mine), PATIENCE);
        assert_eq!(look(&journal).unwrap(), Daemon::Runs);
        drop(lock);
        assert_eq!(look(&journal).unwrap(), Daemon::Stopped);
    }
}
