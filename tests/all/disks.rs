//! Disks that turn read-only or full under a running daemon, on real mounts: the mirror's, the archive's, the journal's.
//!
//! Each waits with its reason, goes on by itself when the disk is good again, and has then done everything once.
//! Not here: a file whose reading fails with EIO. No file of a mirror can be made to do so without a device of one's
//! own; the simulation's disk fails that way (`sim/disk.rs`).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use casedrop_sandbox::{Fault, FaultKind, FileStatus, Op};

use crate::common::{Daemon, Stage, sha256, text, wait};
use crate::ingest::{self, tree};
use crate::mounts::{as_a_user, inside, must, sh, start};

/// The first line about it, not those that say that it lasts.
const NO_JOURNAL: &str = "\"without a journal that takes writes";

/// A file system in memory of its own.
fn disk(path: &Path, size: &str) {
    fs::create_dir_all(path).unwrap();
    must(&format!("mount -t tmpfs -o size={size} casedrop-test \"$1\""), &[path]);
}

/// As soon as nothing is being written there.
fn read_only(path: &Path) {
    wait("it is read-only", || sh("mount -o remount,ro \"$1\"", &[path]).status.success(), String::new);
}

fn writable(path: &Path) {
    must("mount -o remount,rw \"$1\"", &[path]);
}

fn lines(daemon: &Daemon, words: &str) -> usize {
    daemon.log().lines().filter(|line| line.contains(words)).count()
}

/// The files in a folder and their contents.
fn of(files: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    files.iter().map(|(name, content)| ((*name).to_owned(), sha256(content.as_bytes()))).collect()
}

#[test]
fn a_root_that_turns_read_only_is_mirrored_as_before() {
    if !inside("disks::a_root_that_turns_read_only_is_mirrored_as_before") {
        return;
    }
    let stage = Stage::often();
    let own = stage.dir.path().join("own");
    disk(&own, "16m");
    must("mount --bind \"$1\" \"$2\"", &[&own, &stage.drop]);
    for n in 0..4 {
        stage.write(&format!("{n}.txt"), format!("content {n}"));
    }
    let daemon = stage.daemon();
    stage.wait_attached();
    // What others write on the disk still comes and goes.
    must("mount -o remount,bind,ro \"$1\"", &[&stage.drop]);
    fs::write(own.join("new.txt"), "new").unwrap();
    fs::remove_file(own.join("0.txt")).unwrap();
    stage.wait_attached();
    // The whole disk, as after an error of its file system.
    read_only(&own);
    let before = (stage.changes().len(), stage.ours());
    stage.wait_passes();
    assert_eq!((stage.changes().len(), stage.ours(), stage.hold().as_str()), (before.0, before.1, ""));
    writable(&own);
    fs::write(own.join("later.txt"), "later").unwrap();
    stage.wait_attached();
    stage.assert_settled(daemon);
    stage.assert_equal();
    must("umount \"$1\" && umount \"$2\"", &[&stage.drop, &own]);
}

/// A drop folder whose files go to `archive`, both below the stage's folder.
fn ingesting(folder: &str, archive: &str) -> (Stage, PathBuf) {
    let mut stage = ingest::stage("archive", "rescan = \"1s\"\n");
    let store = stage.dir.path().join(archive);
    stage.mirror = stage.mirror.replace(ingest::archive(&stage).to_str().unwrap(), store.to_str().unwrap());
    stage.drop = stage.dir.path().join(folder);
    (stage, store)
}

/// Delivered, so that only the move is left to do.
fn wait_delivered(stage: &Stage, count: usize) {
    let approved = || stage.ours().iter().filter(|file| file.status == FileStatus::Approved).count();
    wait("it is delivered", || approved() == count, || format!("{:#?}", stage.ours()));
}

fn wait_told(stage: &Stage, daemon: &Daemon, path: &str, words: &str) {
    wait("the log says why", || lines(daemon, words) > 0, || daemon.log());
    let told = || text(&stage.run(&["why", path]));
    wait("`why` says why", || told().contains(words), told);
}

/// Everything is in the archive, once, and nothing else was done.
fn wait_archived(stage: &Stage, store: &Path, files: &[(&str, &str)], daemon: Daemon) {
    let show = || format!("{:#?}\n{:#?}\n{}", tree(&stage.drop), tree(store), daemon.log());
    wait("all is archived", || tree(&stage.drop).is_empty() && stage.list().is_empty(), show);
    assert_eq!(tree(store), of(files));
    assert_eq!((stage.ours().len(), stage.count(Op::DeleteAttachedFile)), (files.len(), 0));
    stage.assert_settled(daemon);
}

#[test]
fn an_archive_move_waits_for_a_disk_that_is_read_only() {
    if !inside("disks::an_archive_move_waits_for_a_disk_that_is_read_only") {
        return;
    }
    for (folder, archive) in [("disk/drop", "archive"), ("drop", "disk/archive"), ("disk/drop", "disk/archive")] {
        let (stage, store) = ingesting(folder, archive);
        let own = stage.dir.path().join("disk");
        disk(&own, "16m");
        fs::create_dir_all(&stage.drop).unwrap();
        fs::create_dir_all(&store).unwrap();
        // Not delivered before the disk is read-only.
        stage.sandbox.set_faults(vec![Fault::all(Op::StartAttachedFileUpload, FaultKind::ServerErrorBefore)]);
        stage.write("in/a.txt", "content");
        let daemon = stage.daemon();
        wait("its upload begins", || stage.sandbox.faults_applied() > 0, || daemon.log());
        read_only(&own);
        stage.sandbox.set_faults(Vec::new());
        wait_delivered(&stage, 1);
        wait_told(&stage, &daemon, "in/a.txt", "mounted read-only");
        assert_eq!((tree(&stage.drop), tree(&store)), (of(&[("in/a.txt", "content")]), of(&[])), "{folder} {archive}");
        writable(&own);
        wait("it goes on", || lines(&daemon, "hand-overs go on") == 1, || daemon.log());
        assert_eq!(lines(&daemon, "hand-overs wait"), 1, "said once: {}", daemon.log());
        wait_archived(&stage, &store, &[("in/a.txt", "content")], daemon);
        must("umount \"$1\"", &[&own]);
    }
}

#[test]
fn a_full_archive_keeps_the_originals_and_no_half_copy() {
    if !inside("disks::a_full_archive_keeps_the_originals_and_no_half_copy") {
        return;
    }
    let (stage, store) = ingesting("drop", "disk");
    disk(&store, "64k");
    let content = "content".repeat(50_000);
    stage.write("big.txt", &content);
    let daemon = stage.daemon();
    wait_delivered(&stage, 1);
    wait_told(&stage, &daemon, "big.txt", "no space is left there");
    assert_eq!(tree(&stage.drop), of(&[("big.txt", &content)]));
    // Stopped between any two tries, or in one.
    assert!(daemon.stop().success());
    assert_eq!((tree(&stage.drop), tree(&store)), (of(&[("big.txt", &content)]), of(&[])));
    let daemon = stage.daemon();
    wait("it is full as before", || lines(&daemon, "hand-overs wait") == 1, || daemon.log());
    must("mount -o remount,size=4m \"$1\"", &[&store]);
    wait("it goes on", || lines(&daemon, "hand-overs go on") == 1, || daemon.log());
    assert_eq!(lines(&daemon, "hand-overs wait"), 1, "said once: {}", daemon.log());
    wait_archived(&stage, &store, &[("big.txt", &content)], daemon);
    must("umount \"$1\"", &[&store]);
}

#[test]
fn an_archive_that_must_not_be_written_keeps_the_originals() {
    let (stage, store) = ingesting("drop", "archive");
    if as_a_user(&Command::new("true")).status().is_ok_and(|status| status.success()) {
        let daemon = start(&stage, as_a_user(&stage.command()));
        daemon.wait_ready();
        fs::set_permissions(&store, fs::Permissions::from_mode(0o555)).unwrap();
        stage.write("a.txt", "content");
        wait_delivered(&stage, 1);
        wait_told(&stage, &daemon, "a.txt", "permission denied: give casedrop's user the right to write");
        assert_eq!((tree(&stage.drop), tree(&store)), (of(&[("a.txt", "content")]), of(&[])));
        fs::set_permissions(&store, fs::Permissions::from_mode(0o755)).unwrap();
        wait_archived(&stage, &store, &[("a.txt", "content")], daemon);
    } else {
        println!("NOT RUN: root passes over permissions, and there is no setpriv(1) here");
    }
}

/// From now on, every write to the journal's files fails as on a disk that is read-only; until the child is killed.
fn fail_the_journal(stage: &Stage, daemon: &Daemon) -> Option<Child> {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=pwrite64,ftruncate,fdatasync,fsync:error=EROFS"]);
    for suffix in ["", "-wal", "-shm"] {
        command.arg("-P").arg(format!("{}{suffix}", stage.journal().display()));
    }
    let pid = daemon.id();
    command.args(["-p", &pid.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let traced = || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        tasks.map(|task| fs::read_to_string(task.path().join("status")).unwrap_or_default()).all(|status| {
            !status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() == "0"))
        })
    };
    let mut refused = false;
    wait(
        "its writes fail",
        || {
            refused = child.try_wait().unwrap().is_some();
            refused || traced()
        },
        String::new,
    );
    (!refused).then_some(child)
}

/// What users do while the journal takes no write, long enough for settling, a pass and the grace.
fn work_meanwhile(stage: &Stage, daemon: &Daemon) {
    for n in 0..5 {
        stage.write(&format!("{n}.txt"), format!("content {n}"));
    }
    fs::remove_file(stage.path("known.txt")).unwrap();
    wait("it says so", || lines(daemon, NO_JOURNAL) == 1, || daemon.log());
    let named = || {
        let storm = &stage.status()["daemon"]["paused"][0];
        storm["code"] == "journal" && storm["detail"].as_str().is_some_and(|text| text.contains("journal.db"))
    };
    wait("status says so", named, || format!("{:#}\n{}", stage.status(), daemon.log()));
    let told = std::time::Instant::now();
    wait("a while", || told.elapsed() > Duration::from_secs(4), String::new);
}

#[test]
fn a_journal_that_takes_no_write_for_a_while_stops_new_work_and_nothing_else() {
    let stage = Stage::often();
    stage.write("known.txt", "known");
    let daemon = stage.daemon();
    stage.wait_attached();
    // One upload is in its middle.
    stage.sandbox.set_faults(vec![Fault::first(Op::PutObject, 1, FaultKind::Hang(Duration::from_secs(3)))]);
    stage.write("half.txt", "half");
    wait("it is being sent", || stage.sandbox.faults_applied() == 1, || daemon.log());
    let Some(mut fault) = fail_the_journal(&stage, &daemon) else {
        println!("NOT RUN: no strace(1) here that may make calls fail");
        return;
    };
    work_meanwhile(&stage, &daemon);
    let starts = stage.count(Op::StartAttachedFileUpload);
    assert_eq!((starts, stage.count(Op::DeleteAttachedFile)), (2, 0), "no call without a row: {}", daemon.log());
    fault.kill().unwrap();
    fault.wait().unwrap();
    stage.wait_attached();
    wait("it says so", || lines(&daemon, "no longer without a journal") == 1, || daemon.log());
    let over = || stage.status()["daemon"]["paused"].as_array().is_some_and(Vec::is_empty);
    wait("status shows no more of it", over, || format!("{:#}", stage.status()));
    assert_eq!(lines(&daemon, NO_JOURNAL), 1, "said once: {}", daemon.log());
    stage.assert_settled(daemon);
    stage.assert_equal();
    let starts = stage.count(Op::StartAttachedFileUpload);
    assert!((7..=8).contains(&starts), "each file took one start call, the one in its middle perhaps two: {starts}");
}

/// A file system that the kernel gives up after an error stays read-only until it is mounted again.
#[test]
fn a_journal_whose_disk_is_given_up_is_waited_for_and_lost_nothing() {
    if !inside("disks::a_journal_whose_disk_is_given_up_is_waited_for_and_lost_nothing") {
        return;
    }
    let stage = Stage::often();
    // Not in the stage's folder, whose files are all searched for secrets.
    let elsewhere = tempfile::tempdir().unwrap();
    let (state, image) = (stage.dir.path().join("state"), elsewhere.path().join("image"));
    fs::create_dir(&state).unwrap();
    let made = sh("truncate -s 64M \"$1\" && mkfs.ext4 -q \"$1\" && mount -o loop \"$1\" \"$2\"", &[&image, &state]);
    if !made.status.success() {
        println!("NOT RUN: no ext4 in a file can be mounted here: {}", text(&made).trim());
        return;
    }
    stage.write("known.txt", "known");
    let daemon = stage.daemon();
    stage.wait_attached();
    must("mount -o remount,abort \"$1\"", &[&state]);
    work_meanwhile(&stage, &daemon);
    assert_eq!(stage.changes().len(), 3, "the calls for the one file: {}", daemon.log());
    assert_eq!(stage.verdict("known.txt"), "attached", "what is known can be read");
    daemon.stop();
    must("umount \"$2\" && mount -o loop \"$1\" \"$2\"", &[&image, &state]);
    let daemon = stage.daemon();
    stage.wait_attached();
    stage.assert_settled(daemon);
    stage.assert_equal();
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 6, "each file took one start call");
    must("umount \"$1\"", &[&state]);
}
