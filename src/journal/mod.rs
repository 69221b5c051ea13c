//! What casedrop knows, durably: the only SQL of the program (DESIGN §3).
//!
//! - **One writer.** [`Journal::open`] starts one thread with the only write connection. [`Journal::write`] resolves
//!   after the commit is on disk; requests that wait together share one commit. A request is all or nothing.
//! - **Readers never write.** [`Reader`] serves the views, with or without a daemon, and leaves no byte changed.
//! - **Every commit is a legal state** (invariant 17): the tables refuse rows that cannot be, and a stage is entered
//!   only from its legal predecessors, both checked by SQLite in the same statement that writes.
//! - **Crash.** The WAL is synced at each commit. Kill at any instruction: what was answered is there, what was not
//!   answered is there wholly or not at all. `record::recover` then marks the calls whose answers were cut off.
//! - **Nothing is begun anew over something that exists.** A damaged, foreign or newer file is refused with advice;
//!   an absent file where a journal has been is [`Origin::Lost`], not a first run (LESSONS L30).
//!
//! Attachments and events are never removed, files are.

mod converted;
mod error;
mod hooks;
mod host;
mod lock;
mod open;
mod reader;
mod rows;
#[cfg(test)]
mod tests;
mod truth;
mod tx;
mod verify;
mod view;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::mpsc;

pub use error::JournalError;
pub use hooks::HookDelivery;
pub use reader::Reader;
pub use truth::AdoptedAttachment;
pub use tx::{NewAttachment, NewEvent, Tx};
pub use view::{AbsenceLook, Counts, Difference, EventFilter, ScanRows, Verification, View};

use host::Claim;
pub use writer::Expected;
use writer::{DEPTH, Message, Shared};

/// What stood at the journal's path when it was opened for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A journal with its past.
    Existing,
    /// Nothing: the first run.
    Fresh,
    /// Nothing, but a daemon has had a journal here. Every mirror must be held (`journal-rebuilt`) before anything
    /// is deleted or uploaded.
    Lost,
}

/// The journal, open for writing. Clones share one writer, which ends with [`Journal::close`] or the last clone.
#[derive(Debug, Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// Device and inode of the file that was opened.
    file: Option<(u64, u64)>,
    origin: Origin,
    inbox: mpsc::Sender<Message>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Journal {
    /// Opens the journal, or creates it with its folder, and keeps every other daemon off until it is closed.
    ///
    /// Blocks (up to a second for the lock, and for a check of the whole file unless it is as a clean end left it).
    ///
    /// # Errors
    /// `OtherHost` for a journal that belongs to another host, and all that may stand at the path instead.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        Self::claimed(path, Claim::Own)
    }

    /// [`Journal::open`] for a journal that belongs to this host from now on, as a person says.
    ///
    /// # Errors
    /// As for [`Journal::open`], but for the host.
    pub fn take_over(path: &Path) -> Result<Self, JournalError> {
        Self::claimed(path, Claim::TakeOver)
    }

    fn claimed(path: &Path, claim: Claim) -> Result<Self, JournalError> {
        let (conn, lock, origin) = open::open(path, claim)?;
        let view = View::new(conn, path);
        let (inbox, requests) = mpsc::channel(DEPTH);
        let shared = Arc::new(Shared::default());
        let seen_by_writer = Arc::clone(&shared);
        let thread = writer::start(view, lock, requests, seen_by_writer).map_err(|e| JournalError::io(path, &e))?;
        let thread = Mutex::new(thread);
        Ok(Self {
            inner: Arc::new(Inner { path: path.to_owned(), file: identity(path), origin, inbox, shared, thread }),
        })
    }

    /// What stood there before.
    pub fn origin(&self) -> Origin {
        self.inner.origin
    }

    /// Commits so far; each is one fsync.
    pub fn commits(&self) -> u64 {
        self.inner.shared.commits.load(Ordering::Relaxed)
    }

    /// Tells the writer that a piece of work is under way which writes again soon, until the guard is dropped: with
    /// many of them a commit waits a few milliseconds to be shared.
    pub fn expect(&self) -> Expected {
        Expected::new(&self.inner.shared)
    }

    /// Runs `request` in the writer and returns after its changes are durable. An `Err` of `request` undoes what it
    /// did. Dropping the future does not take the request back once it was accepted.
    ///
    /// `request` must be quick: everyone's commit waits for it.
    pub async fn write<T: Send + 'static>(
        &self,
        request: impl FnOnce(&Tx<'_>) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let (job, answer) = writer::job(self.inner.path.clone(), request);
        self.inner.inbox.send(Message::Job(job)).await.map_err(|_| self.closed())?;
        answer.await.map_err(|_| self.closed())?
    }

    /// [`Journal::write`] for plain threads; not inside an async task.
    #[cfg(test)]
    pub fn write_blocking<T: Send + 'static>(
        &self,
        request: impl FnOnce(&Tx<'_>) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let (job, answer) = writer::job(self.inner.path.clone(), request);
        self.inner.inbox.blocking_send(Message::Job(job)).map_err(|_| self.closed())?;
        answer.blocking_recv().map_err(|_| self.closed())?
    }

    /// Whether the file at the journal's path is still the one that is open: else what is written is lost with the last
    /// descriptor.
    ///
    /// # Errors
    /// `Removed`.
    pub fn in_place(&self) -> Result<(), JournalError> {
        let inner = &self.inner;
        // Only "no such file" and another file count; a folder that cannot be looked at says nothing.
        let gone = match std::fs::metadata(&inner.path) {
            Ok(_) => inner.file.is_some() && identity(&inner.path) != inner.file,
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        };
        if gone { Err(JournalError::Removed { path: inner.path.clone() }) } else { Ok(()) }
    }

    /// A new read-only connection beside the writer.
    pub fn reader(&self) -> Result<Reader, JournalError> {
        Reader::live(&self.inner.path)
    }

    /// Finishes what waits, moves the WAL into the database and ends the thread; blocks until then. Later writes
    /// through other clones are refused with `Closed`.
    pub fn close(self) {
        let thread = self.inner.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        let inbox = self.inner.inbox.clone();
        drop(self);
        // By its own thread, since this may be called inside the runtime, where a blocking send is not allowed.
        let sent = std::thread::spawn(move || drop(inbox.blocking_send(Message::Close)));
        drop(sent.join());
        drop(thread.join());
    }

    fn closed(&self) -> JournalError {
        JournalError::Closed { path: self.inner.path.clone() }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}
