//! A root that is emptied while files are being scanned: agents may see those yet, so they count on every side.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::common::{Daemon, Stage, text, wait};
use casedrop_sandbox::{Op, Scan};

const SCAN: Duration = Duration::from_secs(3600);

fn deletes(stage: &Stage) -> usize {
    stage.count(Op::DeleteAttachedFile)
}

/// From now on scans last; these begin one.
fn scan_now(stage: &Stage, names: &[&str]) {
    stage.sandbox.set_scan(Scan::after(SCAN));
    for name in names {
        stage.write(name, format!("content of {name}"));
    }
    for name in names {
        stage.wait_verdict(name, "scanning");
    }
}

/// One file that agents see, and others whose scans last.
fn with_scans(seen: &str, scanned: &[&str]) -> (Stage, Daemon) {
    let stage = Stage::often();
    stage.write(seen, "seen");
    let daemon = stage.daemon();
    stage.wait_attached();
    scan_now(&stage, scanned);
    (stage, daemon)
}

fn release(stage: &Stage, count: &str) {
    let output = stage.run(&["release", "drop", "--count", count]);
    assert!(output.status.success(), "{}", text(&output));
}

fn wait_deletes(stage: &Stage, count: usize, daemon: &Daemon) {
    wait("it is deleted", || deletes(stage) == count, || daemon.log());
}

/// What was being scanned when it went counts with what agents see; while one such file is there, the root is not emptied.
#[test]
fn a_root_that_is_emptied_during_a_scan_is_held() {
    for stays in [false, true] {
        let (stage, daemon) = with_scans("in/seen.txt", &["in/scanned.txt", "stays.txt"]);
        fs::rename(stage.path("in"), stage.dir.path().join("aside")).unwrap();
        if stays {
            wait_deletes(&stage, 1, &daemon);
            assert_eq!(stage.hold(), "");
            continue;
        }
        fs::remove_file(stage.path("stays.txt")).unwrap();
        stage.wait_hold("root-emptied");
        let said = stage.status()["mirrors"][0]["holds"][0]["detail"].as_str().unwrap().to_owned();
        assert!(said.contains("of them still being scanned"), "{said}");
        stage.wait_passes();
        assert_eq!(deletes(&stage), 0);
        // One that came back says nothing of the others.
        fs::create_dir(stage.path("in")).unwrap();
        let back =
            |name: &str| fs::rename(stage.dir.path().join("aside").join(name), stage.path("in").join(name)).unwrap();
        back("seen.txt");
        stage.wait_verdict("in/seen.txt", "attached");
        stage.wait_passes();
        assert_eq!((stage.hold().as_str(), deletes(&stage)), ("root-emptied", 0));
        // A person counts them all.
        fs::remove_file(stage.path("in/seen.txt")).unwrap();
        stage.wait_verdict("in/seen.txt", "deleting");
        release(&stage, "3");
        wait_deletes(&stage, 1, &daemon);
        stage.wait_passes();
        assert_eq!(stage.hold(), "", "the others, which this person counted, wait for the ends of their scans");
    }
}

/// What a person let go of files in scan is theirs: others that go meanwhile were counted by nobody.
#[test]
fn what_was_released_for_files_in_scan_is_not_left_for_others() {
    let (stage, daemon) = with_scans("seen.txt", &["in/a.txt", "in/b.txt"]);
    fs::rename(stage.path("in"), stage.dir.path().join("aside")).unwrap();
    fs::remove_file(stage.path("seen.txt")).unwrap();
    stage.wait_hold("root-emptied");
    release(&stage, "3");
    wait_deletes(&stage, 1, &daemon);
    stage.sandbox.set_scan(Scan::after(Duration::ZERO));
    for name in ["later/c.txt", "later/d.txt"] {
        stage.write(name, name);
        stage.wait_verdict(name, "attached");
    }
    let away = stage.dir.path().join("away");
    fs::rename(stage.path("later"), &away).unwrap();
    stage.wait_hold("root-emptied");
    stage.wait_passes();
    assert_eq!(deletes(&stage), 1);
    fs::rename(&away, stage.path("later")).unwrap();
    stage.wait_verdict("later/c.txt", "attached");
    stage.wait_verdict("later/d.txt", "attached");
    stage.sandbox.advance_clock(SCAN);
    wait("the scans end", || stage.visible().len() == 4, || daemon.log());
    stage.wait_passes();
    assert_eq!((stage.hold().as_str(), deletes(&stage)), ("root-emptied", 1), "two are missing yet");
    release(&stage, "2");
    wait_deletes(&stage, 3, &daemon);
    assert_eq!(stage.visible().len(), 2);
    stage.assert_settled(daemon);
}

/// Nothing brings a renamed file back to its old path, and nothing needs to.
#[test]
fn a_folder_renamed_during_a_scan_is_not_held_for_good() {
    let (stage, daemon) = with_scans("in/seen.txt", &["in/a.txt", "in/b.txt"]);
    assert!(daemon.stop().success());
    // So that a full pass, and no look at one folder, sees it first.
    fs::rename(stage.path("in"), stage.path("renamed")).unwrap();
    let daemon = stage.daemon();
    stage.wait_hold("root-emptied");
    for name in ["renamed/seen.txt", "renamed/a.txt", "renamed/b.txt"] {
        stage.wait_verdict(name, "scanning");
    }
    wait("the hold ends", || stage.hold().is_empty(), || daemon.log());
    stage.sandbox.advance_clock(SCAN);
    stage.wait_attached();
    wait("one copy of each is left", || stage.visible().len() == 3 && deletes(&stage) == 3, || daemon.log());
    assert_eq!(stage.hold(), "");
    stage.assert_settled(daemon);
}

/// A file in scan that cannot be looked at proves neither that the root is there nor that it is gone.
#[test]
fn a_delete_waits_while_all_else_is_in_scan_and_cannot_be_looked_at() {
    let (stage, daemon) = with_scans("seen.txt", &["closed/scanned.txt"]);
    assert!(daemon.stop().success());
    // To root every folder is open; as a mount point of its own it is closed to anybody.
    let closed = stage.path("closed");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "casedrop-test"]).arg(&closed).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("NOT RUN: no tmpfs can be mounted here");
        return;
    }
    fs::remove_file(stage.path("seen.txt")).unwrap();
    let planned = text(&stage.run(&["plan"]));
    let daemon = stage.daemon();
    stage.wait_verdict("seen.txt", "deleting");
    for _ in 0..3 {
        stage.wait_passes();
    }
    let seen = (stage.hold(), deletes(&stage));
    let unmounted = || Command::new("umount").arg(&closed).status().unwrap().success();
    wait("it is unmounted", unmounted, || daemon.log());
    assert_eq!(seen, (String::new(), 0), "{}", daemon.log());
    assert!(planned.contains("more than what could be listed"), "{planned}");
    wait_deletes(&stage, 1, &daemon);
    assert_eq!(stage.hold(), "", "one alone may go");
}

/// Nothing was visible yet, so nothing can be deleted yet; a stranger's file that the same pass finds was not there with
/// them.
#[test]
fn what_is_lost_while_all_of_it_is_scanned_is_held() {
    let stage = Stage::often();
    let daemon = stage.daemon();
    scan_now(&stage, &["in/a.txt", "in/b.txt"]);
    assert!(daemon.stop().success());
    fs::rename(stage.path("in"), stage.dir.path().join("aside")).unwrap();
    stage.write("stranger.txt", "put into the empty folder");
    stage.sandbox.set_scan(Scan::after(Duration::ZERO));
    let daemon = stage.daemon();
    stage.wait_hold("root-emptied");
    stage.wait_verdict("stranger.txt", "attached");
    stage.sandbox.advance_clock(SCAN);
    wait("the scans end", || stage.visible().len() == 3, || daemon.log());
    stage.wait_passes();
    stage.wait_passes();
    assert_eq!((stage.hold().as_str(), deletes(&stage)), ("root-emptied", 0));
    fs::rename(stage.dir.path().join("aside"), stage.path("in")).unwrap();
    wait("the hold ends", || stage.hold().is_empty(), || daemon.log());
    stage.wait_attached();
    stage.assert_settled(daemon);
}

/// What came back has the bytes of what did not.
#[test]
fn another_file_with_the_same_bytes_does_not_end_the_hold() {
    let stage = Stage::often();
    stage.write("one/letter.txt", "the same letter");
    let _daemon = stage.daemon();
    stage.wait_attached();
    stage.sandbox.set_scan(Scan::after(SCAN));
    stage.write("two/letter.txt", "the same letter");
    stage.wait_verdict("two/letter.txt", "scanning");
    let aside = stage.dir.path().join("aside");
    fs::rename(stage.path("one"), &aside).unwrap();
    fs::remove_dir_all(stage.path("two")).unwrap();
    stage.wait_hold("root-emptied");
    fs::rename(&aside, stage.path("one")).unwrap();
    stage.wait_verdict("one/letter.txt", "attached");
    stage.wait_passes();
    stage.wait_passes();
    assert_eq!((stage.hold().as_str(), deletes(&stage)), ("root-emptied", 0));
}

/// A plan weighs what a pass would see go as that pass would.
#[test]
fn a_plan_holds_nothing_while_other_files_are_here() {
    let mut stage = Stage::new();
    stage.mirror = stage.mirror.replace("delete_grace = \"1s\"", "delete_grace = \"1h\"");
    assert!(stage.mirror.contains("1h"), "{}", stage.mirror);
    for n in 0..5 {
        stage.write(&format!("{n}.txt"), format!("file {n}"));
    }
    stage.sync();
    fs::remove_file(stage.path("0.txt")).unwrap();
    stage.sync();
    assert_eq!(stage.verdict("0.txt"), "deleting");
    let daemon = stage.daemon();
    scan_now(&stage, &["scanned.txt"]);
    assert!(daemon.stop().success());
    fs::remove_file(stage.path("scanned.txt")).unwrap();
    let planned = text(&stage.run(&["plan"]));
    assert!(planned.contains("scanned.txt") && !planned.contains("hold"), "{planned}");
    for n in 1..5 {
        fs::remove_file(stage.path(&format!("{n}.txt"))).unwrap();
    }
    let planned = text(&stage.run(&["plan"]));
    assert!(planned.contains("6 files are gone (1 of them still being scanned)"), "{planned}");
}
