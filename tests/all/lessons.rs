//! Lessons of programs like this one that no other scene tells: names that differ in case or Unicode form only, times
//! that cannot be, all times shifted at once, an inode used again. `tests/README.md` has the whole list.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

use casedrop_sandbox::Op;

use crate::common::{Stage, sha256};

fn set_time(stage: &Stage, name: &str, seconds: i64) {
    let since = Duration::from_secs(seconds.unsigned_abs());
    let at = if seconds < 0 { SystemTime::UNIX_EPOCH - since } else { SystemTime::UNIX_EPOCH + since };
    File::options().write(true).open(stage.path(name)).unwrap().set_modified(at).unwrap();
}

/// Names are bytes: twins are two files, and a rename from one to the other is a rename (L42).
#[test]
fn names_that_differ_in_case_or_unicode_form_only_are_different() {
    let stage = Stage::new();
    let (composed, decomposed) = ("caf\u{e9}.txt", "cafe\u{301}.txt");
    for name in ["a.txt", "A.txt", composed, decomposed] {
        stage.write(name, format!("content of {name:?}"));
    }
    stage.sync();
    let hashes = |stage: &Stage| {
        let mut hashes: Vec<String> = stage.ours().into_iter().filter_map(|file| file.sha256).collect();
        hashes.sort();
        hashes
    };
    let local = |stage: &Stage| {
        let mut hashes: Vec<String> =
            fs::read_dir(&stage.drop).unwrap().map(|entry| sha256(&fs::read(entry.unwrap().path()).unwrap())).collect();
        hashes.sort();
        hashes
    };
    assert_eq!(hashes(&stage), local(&stage));
    assert_eq!(stage.visible().len(), 4, "four files under four names: {:?}", stage.visible());
    // Renames in case and in form only, while it runs and while it does not.
    fs::remove_file(stage.path("A.txt")).unwrap();
    fs::remove_file(stage.path(decomposed)).unwrap();
    let daemon = stage.daemon();
    daemon.wait_ready();
    fs::rename(stage.path("a.txt"), stage.path("A.txt")).unwrap();
    stage.wait_visible("A.txt");
    assert!(daemon.stop().success());
    fs::rename(stage.path(composed), stage.path(decomposed)).unwrap();
    let daemon = stage.daemon();
    crate::common::wait(
        "both sides hold the same",
        || hashes(&stage) == local(&stage),
        || format!("{:#?}", stage.list()),
    );
    // The removed twin's grace may end just now.
    assert!(daemon.stop().success());
    stage.sync();
    assert_eq!(hashes(&stage), local(&stage));
    assert_eq!(hashes(&stage).len(), 2);
}

/// A file's times are evidence of a change, never of its validity: 1901, 1970, 2100 and a shift of all times at once,
/// as a new time zone makes it on some file systems, send nothing twice (L77, L78, L79).
#[test]
fn times_that_cannot_be_and_all_times_at_once_change_nothing() {
    let stage = Stage::new();
    let times =
        [("a.txt", -2_147_483_648), ("b.txt", -1), ("c.txt", 0), ("d.txt", 4_102_444_800), ("e.txt", 1_700_000_000)];
    for (name, at) in times {
        stage.write(name, format!("content of {name}"));
        set_time(&stage, name, at);
    }
    stage.sync();
    stage.assert_equal();
    let before = stage.changes().len();
    for (name, at) in times {
        set_time(&stage, name, at + 3_600);
    }
    stage.sync();
    assert_eq!(stage.changes().len(), before, "the same bytes are not sent again");
    assert_eq!(stage.hold(), "");
    // A future time does not hide a change either.
    stage.write("d.txt", "another d");
    set_time(&stage, "d.txt", 4_102_444_800);
    stage.sync();
    stage.assert_equal();
}

/// A new owner or mode is no change, and is not shown as one (L9).
#[test]
fn attributes_alone_send_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    let stage = Stage::new();
    stage.write("a.txt", "a");
    stage.sync();
    let (before, events) = (stage.changes().len(), stage.run(&["log", "--json"]).stdout);
    fs::set_permissions(stage.path("a.txt"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::hard_link(stage.path("a.txt"), stage.dir.path().join("linked")).unwrap();
    stage.sync();
    assert_eq!(stage.changes().len(), before);
    assert_eq!(stage.run(&["log", "--json"]).stdout, events, "and nothing is written of it");
    assert!(stage.run(&["plan"]).status.success(), "nothing is left to do");
}

/// ext4 gives an inode to the next file within seconds: it is not the old one (L60).
#[test]
fn an_inode_used_again_is_another_file() {
    let stage = Stage::new();
    stage.write("a.txt", "12345");
    set_time(&stage, "a.txt", 1_700_000_000);
    stage.sync();
    let inode = fs::metadata(stage.path("a.txt")).unwrap().ino();
    // The same inode (the very file), the same size, the same time: only the content and the inode's own time differ.
    fs::write(stage.path("a.txt"), "54321").unwrap();
    set_time(&stage, "a.txt", 1_700_000_000);
    assert_eq!(fs::metadata(stage.path("a.txt")).unwrap().ino(), inode);
    stage.sync();
    stage.assert_equal();
    fs::rename(stage.path("a.txt"), stage.path("b.txt")).unwrap();
    stage.write("a.txt", "a new file under the old name");
    let daemon = stage.daemon();
    stage.wait_attached();
    stage.assert_settled(daemon);
    stage.assert_equal();
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 4);
}
