//! Group commit: many requests, one fsync; a failure stays with its request.

use std::sync::mpsc;

use super::super::{Journal, JournalError};
use super::support::*;
use crate::core::model::{EventKind, MirrorId, Verdict};

/// Holds the writer inside a request, so that all later ones wait and become one group.
fn hold_writer(journal: &Journal) -> (mpsc::Sender<()>, std::thread::JoinHandle<()>) {
    let (entered, inside) = mpsc::channel();
    let (release, wait) = mpsc::channel::<()>();
    let journal = journal.clone();
    let thread = std::thread::spawn(move || {
        journal
            .write_blocking(move |_| {
                entered.send(()).unwrap();
                wait.recv().unwrap();
                Ok(())
            })
            .unwrap();
    });
    inside.recv().unwrap();
    (release, thread)
}

type Request<T> = Box<dyn FnOnce(&super::super::Tx<'_>) -> Result<T, JournalError> + Send>;

/// Sends all requests while the writer is held, so that they are one group in this order; their results.
async fn one_group<T: Send + 'static>(journal: &Journal, requests: Vec<Request<T>>) -> Vec<Result<T, JournalError>> {
    let (release, thread) = hold_writer(journal);
    let mut pending = Vec::new();
    for request in requests {
        let mut write = Box::pin(journal.write(request));
        // The first poll puts the request into the queue.
        std::future::poll_fn(|cx| {
            assert!(write.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        pending.push(write);
    }
    release.send(()).unwrap();
    let mut results = Vec::new();
    for write in pending {
        results.push(write.await);
    }
    thread.join().unwrap();
    results
}

fn put(mirror: MirrorId, name: &'static str) -> Request<()> {
    Box::new(move |tx| tx.put_file(&row(mirror, name, Verdict::Settling)))
}

fn names(journal: &Journal, mirror: MirrorId) -> Vec<String> {
    let rows = journal.reader().unwrap().files_from(mirror, None, 100).unwrap();
    rows.iter().map(|r| r.path.to_string()).collect()
}

#[tokio::test]
async fn requests_that_wait_together_share_a_commit() {
    let dir = folder();
    let path = db(&dir);
    let (journal, mirror) = tokio::task::spawn_blocking(move || with_mirror(&path)).await.unwrap();
    let before = journal.commits();
    let requests = (0..100)
        .map(|n| -> Request<i64> { Box::new(move |tx| event(tx, mirror, &format!("f{n}"), EventKind::Seen, n)) })
        .collect();
    let results = one_group(&journal, requests).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(journal.commits() - before, 2, "one for the request that held the writer, one for the hundred");
    assert_eq!(journal.reader().unwrap().last_event_id().unwrap(), 100);
    journal.close();
}

#[tokio::test]
async fn a_small_group_waits_for_more_while_many_uploads_are_in_flight() {
    let dir = folder();
    let path = db(&dir);
    let (journal, mirror) = tokio::task::spawn_blocking(move || with_mirror(&path)).await.unwrap();
    let in_flight: Vec<_> = (0..64).map(|_| journal.expect()).collect();
    // Once more where this thread was held up: what comes late is not waited for.
    loop {
        let before = journal.commits();
        // Each comes a moment after the one before, which alone would have been committed by then.
        let (began, mut sent) = (std::time::Instant::now(), tokio::task::JoinSet::new());
        for name in ["a", "b", "c", "d"] {
            let journal = journal.clone();
            sent.spawn(async move { journal.write(put(mirror, name)).await });
            tokio::task::yield_now().await;
        }
        let all_sent = began.elapsed();
        while let Some(written) = sent.join_next().await {
            written.unwrap().unwrap();
        }
        let took = began.elapsed();
        assert!(took >= std::time::Duration::from_millis(5), "waited for more: {took:?}");
        if all_sent < std::time::Duration::from_millis(4) {
            assert!(journal.commits() - before < 4, "shared");
            break;
        }
    }
    drop(in_flight);
    journal.write(put(mirror, "e")).await.unwrap();
    assert_eq!(names(&journal, mirror), ["a", "b", "c", "d", "e"]);
    journal.close();
}

#[tokio::test]
async fn a_failed_or_panicking_request_rolls_back_alone() {
    let dir = folder();
    let path = db(&dir);
    let (journal, mirror) = tokio::task::spawn_blocking(move || with_mirror(&path)).await.unwrap();
    let results = one_group(
        &journal,
        vec![
            put(mirror, "a"),
            Box::new(move |tx| {
                tx.put_file(&row(mirror, "undone", Verdict::Settling))?;
                Err(JournalError::NotFound { what: "reason".into() })
            }),
            Box::new(move |tx| {
                tx.put_file(&row(mirror, "undone too", Verdict::Settling))?;
                panic!("a bug")
            }),
            put(mirror, "b"),
        ],
    )
    .await;
    assert_eq!((&results[0], &results[3]), (&Ok(()), &Ok(())));
    assert_eq!(results[1], Err(JournalError::NotFound { what: "reason".into() }));
    let Err(JournalError::Internal { detail, .. }) = &results[2] else { panic!("{:?}", results[2]) };
    assert_eq!(detail, "a request panicked: a bug");
    assert_eq!(names(&journal, mirror), ["a", "b"]);
    journal.close();
}

#[tokio::test]
async fn a_failed_commit_fails_the_whole_group_and_keeps_nothing() {
    let dir = folder();
    let path = db(&dir);
    let (journal, mirror) = tokio::task::spawn_blocking(move || with_mirror(&path)).await.unwrap();
    let results = one_group(
        &journal,
        vec![
            put(mirror, "a"),
            Box::new(move |tx| {
                // A broken reference that SQLite looks at only at the commit.
                tx.told(tx.conn.execute_batch("PRAGMA defer_foreign_keys = ON"))?;
                tx.put_file(&row(MirrorId(99), "b", Verdict::Settling))
            }),
            put(mirror, "c"),
        ],
    )
    .await;
    assert!(results.iter().all(|r| matches!(r, Err(JournalError::Internal { .. }))), "{results:?}");
    assert_eq!(names(&journal, mirror), Vec::<String>::new());
    journal.write(put(mirror, "d")).await.unwrap();
    assert_eq!(names(&journal, mirror), ["d"], "the connection works on");
    journal.close();
}

#[tokio::test]
async fn a_full_disk_fails_the_group_and_the_journal_works_on() {
    let dir = folder();
    let path = db(&dir);
    let (journal, mirror) = tokio::task::spawn_blocking(move || with_mirror(&path)).await.unwrap();
    // SQLite's own limit gives the same SQLITE_FULL as a full file system.
    let limit = |pages: &'static str| {
        journal.write(move |tx| tx.told(tx.conn.query_row(pages, [], |row| row.get::<_, i64>(0))))
    };
    limit("PRAGMA max_page_count = 1").await.unwrap();
    let big: Request<()> = Box::new(move |tx| {
        let mut file = row(mirror, "big", Verdict::Settling);
        file.note = Some("x".repeat(200_000));
        tx.put_file(&file)
    });
    let on: Request<()> = Box::new(move |tx| {
        let mut file = row(mirror, "big", Verdict::Settling);
        file.note = Some("x".repeat(200_000));
        drop(tx.put_file(&file));
        tx.put_file(&row(mirror, "kept alone", Verdict::Settling))
    });
    let results = one_group(&journal, vec![put(mirror, "a"), big, put(mirror, "b")]).await;
    assert_eq!(results[1], Err(JournalError::DiskFull { path: db(&dir) }));
    // Whether SQLite ended the transaction or only the statement: nobody was told what is not so.
    let told: Vec<&str> =
        ["a", "big", "b"].into_iter().zip(&results).filter(|(_, r)| r.is_ok()).map(|(n, _)| n).collect();
    assert_eq!(names(&journal, mirror), told);
    drop(journal.write(on).await);
    limit("PRAGMA max_page_count = 1000000").await.unwrap();
    journal.write(put(mirror, "later")).await.unwrap();
    assert!(names(&journal, mirror).contains(&"later".to_owned()));
    journal.close();
}

#[tokio::test]
async fn a_request_that_ends_the_transaction_takes_nobody_s_answer_for_granted() {
    let dir = folder();
    let path = db(&dir);
    let (journal, mirror) = tokio::task::spawn_blocking(move || with_mirror(&path)).await.unwrap();
    // As after an I/O error: SQLite has rolled back everything, and the request goes on as if nothing were.
    let results = one_group(
        &journal,
        vec![
            put(mirror, "a"),
            Box::new(move |tx| {
                tx.told(tx.conn.execute_batch("ROLLBACK"))?;
                drop(tx.put_file(&row(mirror, "kept alone", Verdict::Settling)));
                Ok(())
            }),
            put(mirror, "b"),
        ],
    )
    .await;
    assert!(results.iter().all(Result::is_err), "{results:?}");
    assert_eq!(names(&journal, mirror), Vec::<String>::new());
    journal.write(put(mirror, "later")).await.unwrap();
    journal.close();
}

#[test]
fn many_threads_need_far_fewer_commits() {
    let dir = folder();
    let (journal, mirror) = with_mirror(&db(&dir));
    let before = journal.commits();
    let (release, held) = hold_writer(&journal);
    std::thread::scope(|scope| {
        for n in 0..64 {
            let journal = &journal;
            scope.spawn(move || {
                let name = format!("f{n}");
                journal.write_blocking(move |tx| event(tx, mirror, &name, EventKind::Seen, n)).unwrap();
            });
        }
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(300);
        while journal.inner.inbox.capacity() > super::super::writer::DEPTH - 64 {
            assert!(std::time::Instant::now() < deadline, "the requests never arrived");
            std::thread::yield_now();
        }
        release.send(()).unwrap();
    });
    held.join().unwrap();
    assert_eq!(journal.commits() - before, 2);
    assert_eq!(journal.reader().unwrap().last_event_id().unwrap(), 64);
    journal.close();
}

#[test]
fn a_closed_journal_refuses_writes_and_leaves_one_file_and_its_lock() {
    let dir = folder();
    let (journal, mirror) = with_mirror(&db(&dir));
    let other = journal.clone();
    journal.close();
    let refused = other.write_blocking(put(mirror, "a"));
    assert_eq!(refused, Err(JournalError::Closed { path: db(&dir) }));
    let mut left: Vec<_> = snapshot(dir.path()).into_iter().map(|(name, ..)| name).filter(|n| !n.is_empty()).collect();
    left.sort();
    assert_eq!(left, ["journal.db", "journal.db.lock"]);
    other.close();
}
