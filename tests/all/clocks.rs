//! Clocks that are stepped and hosts that are others, as the journal remembers them, and times that no clock ever showed.
//!
//! What the last run saw of clocks and host stands in the journal; a test writes there what it would be after the fault.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::common::{Stage, text};
use casedrop_sandbox::Op;

/// Changes a journal that nobody has open.
fn journal(stage: &Stage, sql: &str) {
    rusqlite::Connection::open(stage.journal()).unwrap().execute_batch(sql).unwrap();
}

const TWO_HOURS_MS: i64 = 7_200_000;

#[test]
fn a_step_of_the_wall_clock_ends_no_grace_and_time_that_passed_does() {
    let mut stage = Stage::new();
    stage.mirror = stage.mirror.replace("\"1s\"\ndelete_budget", "\"1h\"\ndelete_budget");
    for name in ["a.txt", "b.txt", "c.txt"] {
        stage.write(name, name);
    }
    stage.sync();
    fs::remove_file(stage.path("a.txt")).unwrap();
    stage.sync();
    // Since then the wall clock was put two hours forward.
    journal(
        &stage,
        &format!(
            "UPDATE clock SET wall_ms = wall_ms - {TWO_HOURS_MS};
         UPDATE file SET absent_since = absent_since - {TWO_HOURS_MS} WHERE absent_since IS NOT NULL"
        ),
    );
    let sync = stage.sync();
    assert!(text(&sync).contains("to be deleted by a later pass"), "{}", text(&sync));
    // And a day back.
    journal(
        &stage,
        &format!(
            "UPDATE clock SET wall_ms = wall_ms + 12 * {TWO_HOURS_MS};
         UPDATE file SET absent_since = absent_since + 12 * {TWO_HOURS_MS} WHERE absent_since IS NOT NULL"
        ),
    );
    stage.sync();
    assert_eq!(stage.count(Op::DeleteAttachedFile), 0);
    // Two hours pass on every clock.
    journal(
        &stage,
        &format!(
            "UPDATE clock SET wall_ms = wall_ms - {TWO_HOURS_MS}, up_ms = up_ms - {TWO_HOURS_MS};
         UPDATE file SET absent_since = absent_since - {TWO_HOURS_MS} WHERE absent_since IS NOT NULL"
        ),
    );
    stage.sync();
    assert_eq!(stage.count(Op::DeleteAttachedFile), 1);
    stage.assert_equal();
}

#[test]
fn odd_times_of_files_hurt_nobody() {
    let stage = Stage::new();
    let odd = |name: &str, time: SystemTime| {
        stage.write(name, name);
        let file = fs::File::options().write(true).open(stage.path(name)).unwrap();
        file.set_modified(time).unwrap();
    };
    let day = Duration::from_secs(86_400);
    odd("1970.txt", SystemTime::UNIX_EPOCH);
    odd("1960.txt", SystemTime::UNIX_EPOCH - 3_653 * day);
    odd("2100.txt", SystemTime::UNIX_EPOCH + 47_482 * day);
    stage.sync();
    stage.assert_equal();
    let before = stage.changes().len();
    let daemon = stage.daemon();
    daemon.wait_ready();
    stage.assert_settled(daemon);
    assert_eq!(stage.changes().len(), before, "no file is sent again for its time");
}

#[test]
fn a_journal_of_another_host_is_refused_until_a_person_moves_it() {
    let stage = Stage::new();
    stage.write("a.txt", "a");
    stage.sync();
    if !Path::new("/etc/machine-id").exists() && !Path::new("/var/lib/dbus/machine-id").exists() {
        println!("NOT RUN: this host has no machine id");
        return;
    }
    journal(&stage, "UPDATE host SET machine = 'another', name = 'alpha'");
    let before = stage.changes().len();
    stage.write("b.txt", "b");
    for args in [&["sync"][..], &["run"], &["retry", "--all"]] {
        let refused = stage.run(args);
        assert_eq!(refused.status.code(), Some(78), "{args:?}: {}", text(&refused));
        assert!(text(&refused).contains("belongs to the host `alpha`"), "{}", text(&refused));
        assert!(text(&refused).contains("casedrop release --host"), "{}", text(&refused));
    }
    assert!(stage.run(&["status"]).status.success() && stage.run(&["list"]).status.success(), "views only look");
    let asked = stage.run(&["release", "--host"]);
    assert_eq!(asked.status.code(), Some(78), "{}", text(&asked));
    assert!(text(&asked).contains("must not run on alpha"), "{}", text(&asked));
    assert_eq!(stage.run(&["release", "--host", "--count", "2"]).status.code(), Some(78));
    assert_eq!(stage.changes().len(), before);
    let moved = stage.run(&["release", "--host", "--count", "1"]);
    assert!(moved.status.success(), "{}", text(&moved));
    stage.sync();
    stage.assert_equal();
    assert_eq!(stage.changes().len(), before + 3, "only the new file");
}

#[test]
fn a_journal_removed_under_the_daemon_stops_it_and_is_no_fresh_start() {
    let stage = Stage::new();
    stage.write("a.txt", "a");
    let mut daemon = stage.daemon();
    stage.wait_attached();
    let before = stage.changes().len();
    let aside = stage.dir.path().join("aside.db");
    fs::rename(stage.journal(), &aside).unwrap();
    assert_eq!(daemon.wait_end().code(), Some(78), "{}", daemon.log());
    assert!(daemon.log().contains("was removed or replaced"), "{}", daemon.log());
    // As after a kill, the newest commits may still stand beside it: they belong to it, wherever it is put.
    let (wal, aside_wal) = (stage.journal().with_file_name("journal.db-wal"), stage.dir.path().join("aside.db-wal"));
    let with_wal = fs::rename(&wal, &aside_wal).is_ok();
    let _ = fs::remove_file(stage.journal().with_file_name("journal.db-shm"));
    assert_eq!(stage.run(&["sync"]).status.code(), Some(78));
    assert_eq!((stage.hold().as_str(), stage.changes().len()), ("journal-rebuilt", before));
    // Put back, it goes on as if nothing had been.
    fs::rename(&aside, stage.journal()).unwrap();
    if with_wal {
        fs::rename(&aside_wal, &wal).unwrap();
    }
    stage.sync();
    stage.assert_equal();
    assert_eq!((stage.hold().as_str(), stage.changes().len()), ("", before));
}
