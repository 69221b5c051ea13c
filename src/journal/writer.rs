//! The thread with the only write connection, and its group commit.
//!
//! All requests that wait are one transaction with one fsync; each runs inside its own savepoint, so one that fails
//! rolls back alone. Nobody is answered before the commit is durable; if the commit fails, everybody in the group
//! gets the error and nothing is kept.
//!
//! While many uploads are in flight ([`Expected`]), a commit waits a few milliseconds for more of them to come, so that
//! an fsync that is fast does not become one for each step of each file. A single file never waits.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::error::JournalError;
use super::lock::Lock;
use super::tx::Tx;
use super::view::View;
use crate::crash::{self, Point};

/// Requests that may wait: many times the daemon's concurrent uploads plus a scan's batches, so a full queue means
/// the disk is slow, and then callers have to wait for it. It also bounds one transaction.
pub(super) const DEPTH: usize = 256;

/// A group worth a commit while this many more are expected: a quarter of them.
const SHARE: usize = 4;
/// Fewer expected than this, and nobody waits.
const FEW: usize = 8;
/// How long a small group waits for more, and in which steps.
const GATHER_STEPS: u32 = 5;
const GATHER_STEP: Duration = Duration::from_millis(1);

/// What the journal's thread shares with the handles.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Commits so far.
    pub(super) commits: AtomicU64,
    /// Pieces of work under way that will each write again soon.
    pub(super) expected: AtomicUsize,
}

/// One piece of work that will write again soon; see [`super::Journal::expect`].
#[derive(Debug)]
pub struct Expected(Arc<Shared>);

impl Expected {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        shared.expected.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(shared))
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.0.expected.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request: run it within a transaction, or learn why there is none; then answer.
pub(super) type Job = Box<dyn FnOnce(Result<&Tx<'_>, JournalError>) -> Ran + Send>;

pub(super) enum Message {
    Job(Job),
    /// Refuse new requests, finish those that wait, end.
    Close,
}

/// What came of a request, to be told after the commit.
pub(super) struct Ran {
    /// Why its changes are not to be kept.
    failed: Option<JournalError>,
    /// Tells the caller; the argument is the outcome of the commit.
    answer: Box<dyn FnOnce(Result<(), JournalError>) + Send>,
}

/// Wraps a typed request; a panic in it becomes its error.
pub(super) fn job<T: Send + 'static>(
    path: std::path::PathBuf,
    request: impl FnOnce(&Tx<'_>) -> Result<T, JournalError> + Send + 'static,
) -> (Job, oneshot::Receiver<Result<T, JournalError>>) {
    let (sender, receiver) = oneshot::channel();
    let job = Box::new(move |tx: Result<&Tx<'_>, JournalError>| {
        let result = tx.and_then(|tx| {
            catch_unwind(AssertUnwindSafe(|| request(tx))).unwrap_or_else(|panic| {
                let detail = format!("a request panicked: {}", panic_text(panic.as_ref()));
                Err(JournalError::Internal { path, detail })
            })
        });
        Ran {
            failed: result.as_ref().err().cloned(),
            // The caller may have gone; what was committed stays committed.
            answer: Box::new(move |committed| drop(sender.send(result.and_then(|value| committed.map(|()| value))))),
        }
    });
    (job, receiver)
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}

/// Starts the writer on a thread of its own; in the simulation it is one more task of the one thread.
pub(super) fn start(
    view: View,
    lock: Lock,
    inbox: mpsc::Receiver<Message>,
    shared: Arc<Shared>,
) -> std::io::Result<Option<JoinHandle<()>>> {
    #[cfg(test)]
    if crate::host::simulated::is_on() {
        tokio::spawn(run_as_task(view, lock, inbox, shared));
        return Ok(None);
    }
    let body = move || run(view, lock, inbox, &shared);
    std::thread::Builder::new().name("journal".into()).spawn(body).map(Some)
}

/// The thread's body. The lock ends after the connection.
fn run(view: View, lock: Lock, mut inbox: mpsc::Receiver<Message>, shared: &Shared) {
    let mut group: Vec<Job> = Vec::with_capacity(DEPTH);
    let (mut sound, mut closed) = (true, false);
    while let Some(first) = inbox.blocking_recv() {
        closed |= gather(first, &mut inbox, &mut group);
        for _ in 0..GATHER_STEPS {
            let expected = shared.expected.load(Ordering::Relaxed);
            if expected < FEW || group.len() >= expected / SHARE {
                break;
            }
            std::thread::sleep(GATHER_STEP);
            if let Ok(next) = inbox.try_recv() {
                closed |= gather(next, &mut inbox, &mut group);
            }
        }
        sound &= commit_group(&view, &mut group, &shared.commits);
    }
    end(view, lock, sound && closed);
}

/// [`run`] in the simulation, with the moments around a commit at which a process may be killed.
#[cfg(test)]
async fn run_as_task(view: View, lock: Lock, mut inbox: mpsc::Receiver<Message>, shared: Arc<Shared>) {
    use crate::host::simulated;
    let mut group: Vec<Job> = Vec::with_capacity(DEPTH);
    while let Some(first) = inbox.recv().await {
        gather(first, &mut inbox, &mut group);
        simulated::point("before a commit").await;
        commit_group(&view, &mut group, &shared.commits);
        simulated::point("after a commit").await;
    }
    end(view, lock, false);
}

/// Everybody who waits, up to the length of the queue. Whether one of them asks to close.
fn gather(first: Message, inbox: &mut mpsc::Receiver<Message>, group: &mut Vec<Job>) -> bool {
    let (mut next, mut closed) = (Some(first), false);
    while let Some(message) = next {
        match message {
            Message::Job(job) => group.push(job),
            Message::Close => {
                inbox.close();
                closed = true;
            }
        }
        next = if group.len() < DEPTH { inbox.try_recv().ok() } else { None };
    }
    closed
}

/// Leaves one file: everything is moved from the WAL into the database, which then stands alone. `sound`: asked to
/// close, and nothing spoke against the file; after any other end the next start checks it.
fn end(view: View, lock: Lock, sound: bool) {
    crash::at(Point::CloseBefore);
    // Without it, nothing is lost: the next start reads the WAL. The first column tells whether a reader was in the way.
    let moved = super::open::ask(&view.conn, "PRAGMA wal_checkpoint(TRUNCATE)", |row| row.get::<_, i64>(0));
    view.conn.flush_prepared_statement_cache();
    let path = view.path.clone();
    drop(view);
    if sound && moved == Ok(0) {
        lock.mark_closed(&path);
    }
}

/// Whether nothing spoke against the file.
fn commit_group(view: &View, group: &mut Vec<Job>, commits: &AtomicU64) -> bool {
    if group.is_empty() {
        return true;
    }
    if let Err(e) = execute(view, "BEGIN IMMEDIATE") {
        for job in group.drain(..) {
            (job(Err(e.clone())).answer)(Err(e.clone()));
        }
        return false;
    }
    let mut ran = Vec::with_capacity(group.len());
    // Set once the transaction cannot be kept any more.
    let mut broken: Option<JournalError> = None;
    for job in group.drain(..) {
        if let Some(e) = &broken {
            ran.push(job(Err(e.clone())));
            continue;
        }
        let (done, ended) = run_one(view, job);
        ran.push(done);
        broken = ended.err();
    }
    let committed = match broken {
        Some(e) => Err(e),
        None => {
            crash::at(Point::CommitBefore);
            execute(view, "COMMIT")
        }
    };
    if committed.is_ok() {
        crash::at(Point::CommitAfter);
        commits.fetch_add(1, Ordering::Relaxed);
    } else if !view.conn.is_autocommit() {
        // What could not be committed must not be there for the next group.
        let _ = execute(view, "ROLLBACK");
    }
    let damaged = |error: &JournalError| matches!(error, JournalError::Corrupt { .. });
    let sound = committed.is_ok() && !ran.iter().any(|done| done.failed.as_ref().is_some_and(damaged));
    for done in ran {
        (done.answer)(committed.clone());
    }
    sound
}

/// Runs one request inside a savepoint. With `Err`, the whole transaction is gone.
fn run_one(view: &View, job: Job) -> (Ran, Result<(), JournalError>) {
    if let Err(e) = execute(view, "SAVEPOINT request") {
        return (job(Err(e.clone())), Err(e));
    }
    let done = job(Ok(&Tx { view }));
    if view.conn.is_autocommit() {
        // SQLite rolls everything back on a full disk and the like.
        let e = done.failed.clone().unwrap_or_else(|| ended_early(view));
        return (done, Err(e));
    }
    let ended = match done.failed {
        None => execute(view, "RELEASE request"),
        Some(_) => execute(view, "ROLLBACK TO request").and_then(|()| execute(view, "RELEASE request")),
    };
    (done, ended)
}

fn ended_early(view: &View) -> JournalError {
    let detail = "a request went on after an error that ended the transaction".to_owned();
    JournalError::Internal { path: view.path.clone(), detail }
}

fn execute(view: &View, sql: &str) -> Result<(), JournalError> {
    view.told(view.prepare(sql).and_then(|mut s| s.execute([]).map(drop)))
}
