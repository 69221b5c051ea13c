//! What may stand at the path when the journal is opened, and what a crash leaves.

use std::path::Path;

use super::super::open::known_version;
use super::super::{Journal, JournalError, Origin, Reader};
use super::support::*;
use crate::core::model::{Stage, Verdict};

fn opened(path: &Path) -> JournalError {
    Journal::open(path).unwrap_err()
}

/// Changes a closed journal through SQLite itself.
fn sqlite(path: &Path, sql: &str) {
    rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn the_folder_and_the_files_are_private() {
    use std::os::unix::fs::MetadataExt as _;
    let dir = folder();
    let path = dir.path().join("state/casedrop/journal.db");
    let (journal, _) = with_mirror(&path);
    let mode = |p: &Path| std::fs::metadata(p).unwrap().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for name in ["journal.db", "journal.db-wal", "journal.db-shm", "journal.db.lock"] {
        assert_eq!(mode(&path.with_file_name(name)), 0o600, "{name}");
    }
    journal.close();
}

#[test]
fn another_file_is_not_a_journal() {
    let dir = folder();
    let path = db(&dir);
    for text in ["x".to_owned(), "a letter\n".repeat(1000)] {
        std::fs::write(&path, &text).unwrap();
        assert_eq!(opened(&path), JournalError::NotADatabase { path: path.clone() });
        assert_eq!(Reader::open(&path).unwrap_err(), JournalError::NotADatabase { path: path.clone() });
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "left as it was");
    }
    assert!(matches!(opened(dir.path()), JournalError::NotADatabase { .. }), "a folder");
}

#[test]
fn another_program_s_database_is_refused() {
    let dir = folder();
    let path = db(&dir);
    sqlite(&path, "CREATE TABLE t (x)");
    assert_eq!(opened(&path), JournalError::Foreign { path: path.clone(), found: 0 });
    sqlite(&path, "PRAGMA application_id = 42");
    assert_eq!(opened(&path), JournalError::Foreign { path: path.clone(), found: 42 });
    assert_eq!(Reader::open(&path).unwrap_err(), JournalError::Foreign { path, found: 42 });
}

#[test]
fn a_newer_journal_is_refused() {
    let dir = folder();
    let path = db(&dir);
    with_mirror(&path).0.close();
    sqlite(&path, "PRAGMA user_version = 99");
    let expected = JournalError::NewerVersion { path: path.clone(), found: 99, known: known_version() };
    assert_eq!(opened(&path), expected);
    assert_eq!(Reader::open(&path).unwrap_err(), expected);
    assert!(expected.to_string().contains("install that one again"));
}

/// What the first version wrote is opened by this one, with every row and a queue that goes on (LESSONS L80).
#[test]
fn the_first_version_s_journal_is_brought_up_to_date() {
    let dir = folder();
    let path = db(&dir);
    sqlite(&path, include_str!("../migrations/0001.sql"));
    sqlite(
        &path,
        "PRAGMA application_id = 0x4344524a; PRAGMA user_version = 1;
         INSERT INTO mirror (name, root) VALUES ('inbox', CAST('/srv/inbox' AS BLOB));
         INSERT INTO file (mirror, path, dev, inode, size, mtime_ns, ctime_ns, verdict, hash, seen_at, since, attempt,
                 waiting_since)
             VALUES (1, CAST('a' AS BLOB), 1, 2, 3, 4, 5, 'queued', randomblob(32), 6, 7, 0, 7)",
    );
    let (journal, mirror) = with_mirror(&path);
    assert_eq!(journal.origin(), Origin::Existing);
    journal
        .write_blocking(move |tx| {
            let (file, lane) = tx.queued_turn(mirror, -1, at(100), &|_| false)?.unwrap();
            assert_eq!((file.path, file.since, lane), (super::support::path("a"), at(7), 0));
            Ok(())
        })
        .unwrap();
    journal.close();
    let version: i64 =
        rusqlite::Connection::open(&path).unwrap().query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, known_version());
}

#[test]
fn a_view_beside_the_first_start_never_sees_an_older_version() {
    for _ in 0..20 {
        let dir = folder();
        let path = db(&dir);
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let looker = scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Acquire) {
                    if let Err(error @ JournalError::OlderVersion { .. }) = Reader::open(&path) {
                        return Some(error);
                    }
                }
                None
            });
            Journal::open(&path).unwrap().close();
            done.store(true, std::sync::atomic::Ordering::Release);
            assert_eq!(looker.join().unwrap(), None);
        });
    }
}

#[test]
fn a_damaged_journal_is_refused_and_kept() {
    let dir = folder();
    let path = db(&dir);
    let (journal, mirror) = with_mirror(&path);
    journal
        .write_blocking(move |tx| (0..500).try_for_each(|n| plan(tx, mirror, &format!("f{n}"), 1).map(drop)))
        .unwrap();
    journal.close();
    let good = std::fs::read(&path).unwrap();
    let mut flipped = good.clone();
    let middle = good.len() / 2;
    flipped[middle..middle + 4096].fill(0xff);
    let cut = good[..good.len() - 5000].to_vec();
    for bad in [flipped, cut] {
        std::fs::write(&path, &bad).unwrap();
        let error = opened(&path);
        assert!(matches!(error, JournalError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains("put a sound copy"));
        assert_eq!(std::fs::read(&path).unwrap(), bad, "left as it was");
    }
    std::fs::write(&path, &good).unwrap();
    Journal::open(&path).unwrap().close();
}

#[test]
fn the_whole_file_is_checked_unless_it_is_as_a_clean_end_left_it_today() {
    let dir = folder();
    let path = db(&dir);
    let lock_file = dir.path().join("journal.db.lock");
    let holds = || super::super::lock::Lock::take(&path).unwrap().still_holds(&path);
    let (journal, _) = with_mirror(&path);
    let running = std::fs::read_to_string(&lock_file).unwrap();
    journal.close();
    assert!(holds(), "a clean end");
    let marked = std::fs::read_to_string(&lock_file).unwrap();
    std::fs::write(&lock_file, &running).unwrap();
    assert!(!holds(), "a kill leaves no mark");
    let checked: i64 = marked.lines().nth(1).and_then(|line| line.split(' ').nth(1)).unwrap().parse().unwrap();
    for (ago_h, expected) in [(23, true), (25, false), (-1, false)] {
        let other = checked - ago_h * 3_600_000;
        std::fs::write(&lock_file, marked.replace(&checked.to_string(), &other.to_string())).unwrap();
        assert_eq!(holds(), expected, "checked {ago_h} h ago");
    }
    // The check of that day holds on over further clean ends, and is not made young by them.
    let checked = (checked - 23 * 3_600_000).to_string();
    std::fs::write(&lock_file, marked.replace(marked.lines().nth(1).unwrap().split(' ').nth(1).unwrap(), &checked))
        .unwrap();
    Journal::open(&path).unwrap().close();
    assert!(std::fs::read_to_string(&lock_file).unwrap().contains(&checked) && holds());
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, &good).unwrap();
    assert!(!holds(), "touched by somebody else");
    Journal::open(&path).unwrap().close();
    assert!(holds(), "checked and closed again");
}

#[test]
fn an_empty_file_is_new_only_when_nothing_else_is_there() {
    let dir = folder();
    let path = db(&dir);
    std::fs::write(&path, b"").unwrap();
    std::fs::write(dir.path().join("journal.db-wal"), b"data").unwrap();
    assert!(matches!(opened(&path), JournalError::Corrupt { .. }));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(opened(&path), JournalError::Corrupt { .. }));
    std::fs::remove_file(dir.path().join("journal.db-wal")).unwrap();
    std::fs::write(&path, b"").unwrap();
    let journal = Journal::open(&path).unwrap();
    assert_eq!(journal.origin(), Origin::Fresh);
    journal.close();
}

#[test]
fn invariant_19_a_lost_journal_is_not_a_first_run() {
    let dir = folder();
    let path = db(&dir);
    with_mirror(&path).0.close();
    std::fs::remove_file(&path).unwrap();
    // Until somebody has dealt with it, however often the new journal is opened.
    for _ in 0..2 {
        let journal = Journal::open(&path).unwrap();
        assert_eq!(journal.origin(), Origin::Lost);
        journal.close();
    }
    let journal = Journal::open(&path).unwrap();
    journal.write_blocking(|tx| tx.clear_loss()).unwrap();
    journal.close();
    let journal = Journal::open(&path).unwrap();
    assert_eq!(journal.origin(), Origin::Existing);
    journal.close();
}

#[test]
fn a_journal_of_the_first_version_is_brought_to_the_present_one() {
    let dir = folder();
    let path = db(&dir);
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute_batch(include_str!("../migrations/0001.sql")).unwrap();
    conn.execute_batch(&format!(
        "PRAGMA application_id = {}; PRAGMA user_version = 1;
         INSERT INTO mirror (id, name, root) VALUES (1, 'm', x'2f6d')",
        super::super::open::APPLICATION_ID
    ))
    .unwrap();
    drop(conn);
    let journal = Journal::open(&path).unwrap();
    assert_eq!(journal.origin(), Origin::Existing);
    let reader = journal.reader().unwrap();
    assert_eq!(reader.mirrors().unwrap().len(), 1);
    assert!(!reader.is_lost().unwrap());
    drop(reader);
    journal.close();
}

#[test]
fn invariant_20_a_second_daemon_is_refused_with_the_first_one_s_pid() {
    let dir = folder();
    let path = db(&dir);
    let (journal, _) = with_mirror(&path);
    let error = opened(&path);
    assert_eq!(error, JournalError::LockedByOther { path: path.clone(), pid: Some(std::process::id()) });
    assert!(error.to_string().contains(&format!("in use by process {}", std::process::id())));
    journal.close();
    Journal::open(&path).unwrap().close();
}

#[test]
fn invariant_20_the_lock_holds_between_processes_and_dies_with_its_owner() {
    let dir = folder();
    let path = db(&dir);
    with_mirror(&path).0.close();
    // util-linux takes the same lock; `cat` ends when its input does.
    let spawned = std::process::Command::new("flock")
        .arg(dir.path().join("journal.db.lock"))
        .args(["-c", "echo held; cat"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let Ok(mut owner) = spawned else {
        println!("not tested: no flock(1) here");
        return;
    };
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(owner.stdout.take().unwrap()), &mut line).unwrap();
    assert_eq!(line, "held\n");
    assert!(matches!(opened(&path), JournalError::LockedByOther { .. }));
    drop(owner.stdin.take());
    owner.wait().unwrap();
    Journal::open(&path).unwrap().close();
}

#[test]
fn a_journal_that_may_not_be_written_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = folder();
    let path = db(&dir);
    with_mirror(&path).0.close();
    if rustix::process::geteuid().is_root() {
        println!("not tested: root may write everything");
        return;
    }
    let set = |p: &Path, mode| std::fs::set_permissions(p, std::fs::Permissions::from_mode(mode)).unwrap();
    set(&path, 0o400);
    assert_eq!(opened(&path), JournalError::ReadOnly { path: path.clone() });
    set(&path, 0o000);
    assert_eq!(opened(&path), JournalError::PermissionDenied { path: path.clone() });
    assert!(matches!(Reader::open(&path), Err(JournalError::Io { .. } | JournalError::PermissionDenied { .. })));
    set(&path, 0o600);
    std::fs::remove_file(dir.path().join("journal.db.lock")).unwrap();
    set(dir.path(), 0o500);
    assert!(matches!(opened(&path), JournalError::PermissionDenied { .. }));
    set(dir.path(), 0o700);
}

#[test]
fn errors_of_files_and_of_sqlite_are_sorted_by_remedy() {
    use rusqlite::ffi;
    use std::io::ErrorKind;
    let path = Path::new("/j");
    let sqlite = |code| JournalError::sqlite(path, &rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
    let io = |kind| JournalError::io(path, &std::io::Error::from(kind));
    let p = || path.to_owned();
    assert_eq!(sqlite(ffi::SQLITE_READONLY), JournalError::ReadOnly { path: p() });
    assert_eq!(sqlite(ffi::SQLITE_FULL), JournalError::DiskFull { path: p() });
    assert_eq!(sqlite(ffi::SQLITE_BUSY), JournalError::Busy { path: p() });
    assert_eq!(sqlite(ffi::SQLITE_NOTADB), JournalError::NotADatabase { path: p() });
    assert!(matches!(sqlite(ffi::SQLITE_CORRUPT), JournalError::Corrupt { .. }));
    assert!(matches!(sqlite(ffi::SQLITE_IOERR), JournalError::Io { .. }));
    assert!(matches!(sqlite(ffi::SQLITE_CONSTRAINT), JournalError::Internal { .. }));
    assert_eq!(io(ErrorKind::PermissionDenied), JournalError::PermissionDenied { path: p() });
    assert_eq!(io(ErrorKind::ReadOnlyFilesystem), JournalError::ReadOnly { path: p() });
    assert_eq!(io(ErrorKind::StorageFull), JournalError::DiskFull { path: p() });
}

#[test]
fn invariant_18_what_was_answered_is_there_after_a_crash() {
    let (dir, after) = (folder(), folder());
    let (journal, mirror) = with_mirror(&db(&dir));
    for n in 0..20_u32 {
        journal
            .write_blocking(move |tx| {
                tx.put_file(&row(mirror, &format!("f{n}"), Verdict::Queued))?;
                let id = plan(tx, mirror, &format!("f{n}"), 1)?;
                if n % 2 == 0 { advance(tx, id, Stage::Started, 2) } else { put(tx, id, 2, |a| a.start_open = true) }
            })
            .unwrap();
        // What the disk holds at this instant if the machine stops: each file as it is, without closing anything.
        for name in ["journal.db", "journal.db-wal"] {
            std::fs::copy(dir.path().join(name), after.path().join(name)).unwrap();
        }
        let crashed = Journal::open(&db(&after)).unwrap();
        assert_eq!(crashed.origin(), Origin::Existing);
        let reader = crashed.reader().unwrap();
        assert_eq!(reader.counts(None).unwrap()[1], ("queued", u64::from(n) + 1));
        let open = reader.attachments_in_stage(Stage::Planned, None, 100).unwrap();
        assert!(open.iter().all(|a| a.start_open));
        assert_eq!(open.len(), usize::try_from(n).unwrap().div_ceil(2));
        assert_eq!(
            reader.attachments_in_stage(Stage::Started, None, 100).unwrap().len(),
            usize::try_from(n / 2 + 1).unwrap()
        );
        drop(reader);
        crashed.close();
    }
    journal.close();
}

#[test]
fn invariant_18_a_wal_cut_at_any_byte_opens_at_some_commit() {
    let (dir, after) = (folder(), folder());
    let (journal, mirror) = with_mirror(&db(&dir));
    for n in 0..8 {
        journal.write_blocking(move |tx| tx.put_file(&row(mirror, &format!("f{n}"), Verdict::Settling))).unwrap();
    }
    let base = std::fs::read(db(&dir)).unwrap();
    let wal = std::fs::read(dir.path().join("journal.db-wal")).unwrap();
    let mut last = 0;
    for cut in (0..=wal.len()).step_by(1009).chain([wal.len()]) {
        std::fs::write(db(&after), &base).unwrap();
        std::fs::write(after.path().join("journal.db-wal"), &wal[..cut]).unwrap();
        let journal = Journal::open(&db(&after)).unwrap();
        let counts = journal.reader().unwrap().counts(None).unwrap();
        let files = journal.reader().unwrap().files_from(mirror, None, 100).unwrap().len();
        assert_eq!(counts[0].1, u64::try_from(files).unwrap(), "the tally belongs to the same commit");
        assert!(files >= last, "a longer WAL never holds less");
        last = files;
        journal.close();
    }
    assert_eq!(last, 8);
    journal.close();
}
