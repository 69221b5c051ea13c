//! The thread with the only write connection, and its group commit.
//!
//! All requests that wait are one transaction with one fsync; each runs inside its own savepoint, so one that fails
//! rolls back alone. Nobody is answered before the commit is durable; if the commit fails, everybody in the group
//! gets the error and nothing is kept.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::error::JournalError;
use super::lock::Lock;
use super::tx::Tx;
use super::view::View;
use crate::crash::{self, Point};

/// Requests that may wait: many times the daemon's concurrent uploads plus a scan's batches, so a full queue means
/// the disk is slow, and then callers have to wait for it. It also bounds one transaction.
pub(super) const DEPTH: usize = 256;

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
    commits: Arc<AtomicU64>,
) -> std::io::Result<Option<JoinHandle<()>>> {
    #[cfg(test)]
    if crate::host::simulated::is_on() {
        tokio::spawn(run_as_task(view, lock, inbox, commits));
        return Ok(None);
    }
    let body = move || run(view, lock, inbox, &commits);
    std::thread::Builder::new().name("journal".into()).spawn(body).map(Some)
}

/// The thread's body. The lock ends after the connection.
fn run(view: View, lock: Lock, mut inbox: mpsc::Receiver<Message>, commits: &AtomicU64) {
    let mut group: Vec<Job> = Vec::with_capacity(DEPTH);
    while let Some(first) = inbox.blocking_recv() {
        gather(first, &mut inbox, &mut group);
        commit_group(&view, &mut group, commits);
    }
    end(view);
    drop(lock);
}

/// [`run`] in the simulation, with the moments around a commit at which a process may be killed.
#[cfg(test)]
async fn run_as_task(view: View, lock: Lock, mut inbox: mpsc::Receiver<Message>, commits: Arc<AtomicU64>) {
    use crate::host::simulated;
    let mut group: Vec<Job> = Vec::with_capacity(DEPTH);
    while let Some(first) = inbox.recv().await {
        gather(first, &mut inbox, &mut group);
        simulated::point("before a commit").await;
        commit_group(&view, &mut group, &commits);
        simulated::point("after a commit").await;
    }
    end(view);
    drop(lock);
}

/// Everybody who waits, up to the length of the queue.
fn gather(first: Message, inbox: &mut mpsc::Receiver<Message>, group: &mut Vec<Job>) {
    let mut next = Some(first);
    while let Some(message) = next {
        match message {
            Message::Job(job) => group.push(job),
            Message::Close => inbox.close(),
        }
        next = if group.len() < DEPTH { inbox.try_recv().ok() } else { None };
    }
}

/// Leaves one file: everything is moved from the WAL into the database, which then stands alone.
fn end(view: View) {
    crash::at(Point::CloseBefore);
    // Without it, nothing is lost: the next start reads the WAL.
    let _ = view.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    view.conn.flush_prepared_statement_cache();
    drop(view);
}

fn commit_group(view: &View, group: &mut Vec<Job>, commits: &AtomicU64) {
    if group.is_empty() {
        return;
    }
    if let Err(e) = execute(view, "BEGIN IMMEDIATE") {
        for job in group.drain(..) {
            (job(Err(e.clone())).answer)(Err(e.clone()));
        }
        return;
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
    for done in ran {
        (done.answer)(committed.clone());
    }
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
