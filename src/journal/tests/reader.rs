//! Readers beside a daemon and without one; no byte changes (invariant 21).

use super::super::{Journal, JournalError, Reader};
use super::support::*;
use crate::core::model::{EventKind, Verdict};

fn names(reader: &Reader) -> Vec<String> {
    let mirror = reader.mirror_by_name("inbox").unwrap().unwrap().id;
    reader.files_from(mirror, None, 100).unwrap().iter().map(|r| r.path.to_string()).collect()
}

fn filled(dir: &tempfile::TempDir) -> Journal {
    let (journal, mirror) = with_mirror(&db(dir));
    for name in ["a", "b"] {
        journal.write_blocking(move |tx| tx.put_file(&row(mirror, name, Verdict::Settling))).unwrap();
    }
    journal
}

#[test]
fn no_journal_is_missing_and_can_be_stood_in_for() {
    let dir = folder();
    let before = snapshot(dir.path());
    assert_eq!(Reader::open(&db(&dir)).unwrap_err(), JournalError::Missing { path: db(&dir) });
    assert_eq!(snapshot(dir.path()), before);
    assert!(Reader::open(&dir.path().join("no/such/folder/j")).is_err());
    let empty = Reader::empty().unwrap();
    assert_eq!(empty.mirrors().unwrap(), []);
    assert_eq!(empty.counts(None).unwrap().iter().map(|(_, n)| n).sum::<u64>(), 0);
    assert!(!empty.overtaken());
}

#[test]
fn invariant_21_without_a_daemon_no_byte_changes() {
    let dir = folder();
    filled(&dir).close();
    let before = snapshot(dir.path());
    assert_eq!(before.iter().map(|(n, ..)| n.as_str()).collect::<Vec<_>>(), ["journal.db", "journal.db.lock", ""]);
    let reader = Reader::open(&db(&dir)).unwrap();
    assert_eq!(names(&reader), ["a", "b"]);
    assert_eq!(snapshot(dir.path()), before);
    assert!(!reader.overtaken());
    drop(reader);
    assert_eq!(snapshot(dir.path()), before);
}

#[test]
fn invariant_21_after_a_crash_no_byte_changes() {
    let (dir, after) = (folder(), folder());
    let journal = filled(&dir);
    for name in ["journal.db", "journal.db-wal", "journal.db.lock"] {
        std::fs::copy(dir.path().join(name), after.path().join(name)).unwrap();
    }
    let before = snapshot(after.path());
    assert!(std::fs::metadata(after.path().join("journal.db-wal")).unwrap().len() > 0);
    let reader = Reader::open(&db(&after)).unwrap();
    assert_eq!(names(&reader), ["a", "b"], "what only the WAL holds is read");
    assert_eq!(snapshot(after.path()), before);
    drop(reader);
    assert_eq!(snapshot(after.path()), before);
    // A WAL that was cut off in a frame is read up to its last commit, and left as it is.
    let wal = std::fs::read(after.path().join("journal.db-wal")).unwrap();
    std::fs::write(after.path().join("journal.db-wal"), &wal[..wal.len() - 100]).unwrap();
    let before = snapshot(after.path());
    assert_eq!(names(&Reader::open(&db(&after)).unwrap()), ["a"]);
    assert_eq!(snapshot(after.path()), before);
    journal.close();
}

#[test]
fn beside_a_daemon_a_reader_sees_each_commit_and_changes_no_file() {
    let dir = folder();
    let journal = filled(&dir);
    let contents = |files: Vec<(String, Vec<u8>, u32, std::time::SystemTime)>| -> Vec<_> {
        // The index in shared memory holds the readers' marks.
        files.into_iter().filter(|(name, ..)| !name.ends_with("-shm")).collect()
    };
    let before = contents(snapshot(dir.path()));
    let reader = Reader::open(&db(&dir)).unwrap();
    assert_eq!(names(&reader), ["a", "b"]);
    assert_eq!(contents(snapshot(dir.path())), before);
    let mirror = reader.mirrors().unwrap()[0].id;
    journal.write_blocking(move |tx| tx.put_file(&row(mirror, "c", Verdict::Settling))).unwrap();
    assert_eq!(names(&reader), ["a", "b", "c"]);
    assert!(!reader.overtaken());
    drop(reader);
    journal.close();
}

#[test]
fn a_daemon_that_starts_overtakes_a_reader() {
    let dir = folder();
    filled(&dir).close();
    let reader = Reader::open(&db(&dir)).unwrap();
    let journal = Journal::open(&db(&dir)).unwrap();
    assert!(reader.overtaken());
    drop(reader);
    journal.close();
}

#[test]
fn readers_and_the_writer_do_not_wait_for_each_other() {
    let dir = folder();
    let journal = filled(&dir);
    let mirror = journal.reader().unwrap().mirrors().unwrap()[0].id;
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let reader = journal.reader().unwrap();
                let mut last = 0;
                while last < 300 {
                    let (events, files) =
                        reader.at_one_moment(|view| Ok((view.last_event_id()?, view.counts(None)?[0].1))).unwrap();
                    // Each request below writes one of both: no reader may see half of it.
                    assert_eq!(u64::try_from(events).unwrap() + 2, files);
                    assert!(events >= last);
                    last = events;
                }
            });
        }
        for n in 0..300 {
            journal
                .write_blocking(move |tx| {
                    tx.put_file(&row(mirror, &format!("f{n}"), Verdict::Settling))?;
                    event(tx, mirror, "f", EventKind::Seen, n)
                })
                .unwrap();
        }
    });
    journal.close();
}

#[test]
fn a_reader_cannot_write() {
    let dir = folder();
    let journal = filled(&dir);
    let reader = journal.reader().unwrap();
    assert!(reader.conn.execute("DELETE FROM file", []).is_err());
    drop(reader);
    journal.close();
    assert!(Reader::open(&db(&dir)).unwrap().conn.execute("DELETE FROM file", []).is_err());
}

#[test]
fn paths_with_every_byte_are_opened_as_they_are() {
    use std::os::unix::ffi::OsStrExt as _;
    let dir = folder();
    let odd = dir.path().join(std::ffi::OsStr::from_bytes(b"100% #1?immutable=0&\xff ")).join("journal.db");
    with_mirror(&odd).0.close();
    assert_eq!(Reader::open(&odd).unwrap().mirrors().unwrap().len(), 1);
}
