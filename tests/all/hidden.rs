//! What a service manager's sandbox does to the view of the files (LESSONS L53): each kind of hiding, made by hand in a
//! mount namespace around a mirror whose files are known. Invisible is never absent: the mirror is held with its
//! reason, or the folder is, nothing is deleted, and all goes on when the view is right again.
//!
//! Not here: what only makes the files read-only (`ProtectSystem=`, `ReadOnlyPaths=`; `disks.rs`), and another folder
//! in the place of the root (`BindPaths=`; `mounts.rs`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Stage, text, wait};
use crate::mounts::{as_a_user, inside, must, sh, start, through, unmount};
use casedrop_sandbox::Op;

/// Who runs the program.
#[derive(Clone, Copy)]
enum User {
    Root,
    /// One who may not pass over permissions.
    Plain,
    /// Root of a user namespace: `PrivateUsers=`.
    Private,
}

impl User {
    fn command(self, stage: &Stage) -> Command {
        match self {
            Self::Root => stage.command(),
            Self::Plain => as_a_user(&stage.command()),
            Self::Private => through("unshare", &["--user", "--map-root-user"], &stage.command()),
        }
    }
}

/// A mirror below a home folder, with known files.
fn known() -> Stage {
    let mut stage = Stage::new();
    stage.mirror.push_str("rescan = \"1s\"\n");
    stage.drop = stage.dir.path().join("home/user/drop");
    for name in ["a.txt", "folder/b.txt", "folder/c.txt", "d.txt"] {
        stage.write(name, format!("content of {name}"));
    }
    stage.sync();
    stage
}

fn home(stage: &Stage) -> PathBuf {
    stage.dir.path().join("home")
}

/// `ProtectHome=tmpfs`, `TemporaryFileSystem=`, `PrivateTmp=`: an empty file system over a folder.
fn emptied(path: &Path) {
    must("mount -t tmpfs casedrop-test \"$1\"", &[path]);
}

/// `ProtectHome=yes`, `InaccessiblePaths=`: an empty folder that nobody may open over a folder.
fn inaccessible(path: &Path) {
    must("mount -t tmpfs -o mode=000 casedrop-test \"$1\"", &[path]);
}

/// Several looks at the hidden files, by passes and by the daemon, longer than the grace; then the view is right again.
fn hidden(stage: &Stage, user: User, over: &Path, code: &str) {
    let before = (stage.ours(), stage.changes().len());
    for _ in 0..3 {
        let output = stage.finish(user.command(stage).arg("sync"));
        assert_eq!(output.status.code(), Some(78), "{}", text(&output));
        assert_eq!(stage.hold(), code, "{}", text(&output));
        let looked = std::time::Instant::now();
        wait("the grace would be over", || looked.elapsed().as_millis() > 600, String::new);
    }
    let daemon = start(stage, user.command(stage));
    daemon.wait_ready();
    stage.wait_hold(code);
    assert_eq!((stage.ours(), stage.changes().len()), before, "{}", daemon.log());
    assert!(stage.list().iter().all(|line| line["absent_since"].is_null()), "{:?}", stage.list());
    unmount(over, &daemon);
    goes_on(stage, daemon);
}

/// With the right view: nothing was lost meanwhile, and a new file and a removal are followed as ever.
fn goes_on(stage: &Stage, daemon: crate::common::Daemon) {
    stage.wait_hold("");
    stage.marker("new.txt");
    stage.wait_attached();
    assert_eq!(stage.count(Op::DeleteAttachedFile), 0, "{}", daemon.log());
    fs::remove_file(stage.path("d.txt")).unwrap();
    stage.wait_equal();
    stage.assert_settled(daemon);
}

#[test]
fn an_empty_folder_above_the_root_is_no_absence() {
    if inside("hidden::an_empty_folder_above_the_root_is_no_absence") {
        let stage = known();
        emptied(&home(&stage));
        hidden(&stage, User::Root, &home(&stage), "root-missing");
    }
}

#[test]
fn an_empty_folder_in_the_place_of_the_root_is_no_absence() {
    if inside("hidden::an_empty_folder_in_the_place_of_the_root_is_no_absence") {
        let stage = known();
        emptied(&stage.drop);
        hidden(&stage, User::Root, &stage.drop, "root-replaced");
    }
}

#[test]
fn a_closed_folder_above_the_root_is_no_absence() {
    if inside("hidden::a_closed_folder_above_the_root_is_no_absence") {
        let stage = known();
        inaccessible(&home(&stage));
        hidden(&stage, User::Plain, &home(&stage), "root-unreadable");
    }
}

#[test]
fn a_closed_folder_in_the_place_of_the_root_is_no_absence() {
    if inside("hidden::a_closed_folder_in_the_place_of_the_root_is_no_absence") {
        let stage = known();
        inaccessible(&stage.drop);
        hidden(&stage, User::Plain, &stage.drop, "root-unreadable");
        // To root it is open and empty.
        let stage = known();
        inaccessible(&stage.drop);
        hidden(&stage, User::Root, &stage.drop, "root-replaced");
    }
}

/// Only what cannot be looked at waits; the rest of the mirror goes on.
fn partly(stage: &Stage, user: User, waits: &str) -> crate::common::Daemon {
    let before = stage.ours();
    let daemon = start(stage, user.command(stage));
    daemon.wait_ready();
    let unlisted = || stage.status()["mirrors"][0]["unlisted"].to_string();
    wait("it is said", || unlisted().contains(waits), unlisted);
    stage.marker("beside.txt");
    stage.wait_passes();
    let after: Vec<_> = stage.ours().into_iter().filter(|file| file.file_name != "beside.txt").collect();
    assert_eq!((after, stage.count(Op::DeleteAttachedFile)), (before, 0), "{}", daemon.log());
    assert!(stage.list().iter().all(|line| line["absent_since"].is_null()), "{:?}", stage.list());
    daemon
}

#[test]
fn a_hidden_folder_inside_the_root_is_no_absence() {
    if inside("hidden::a_hidden_folder_inside_the_root_is_no_absence") {
        for (user, hide) in [(User::Root, emptied as fn(&Path)), (User::Plain, inaccessible)] {
            let stage = known();
            hide(&stage.path("folder"));
            let daemon = partly(&stage, user, "folder");
            unmount(&stage.path("folder"), &daemon);
            goes_on(&stage, daemon);
        }
    }
}

/// `PrivateUsers=`: owners become `nobody`, and root's rights end at its own files.
#[test]
fn owners_that_became_nobody_are_no_absence() {
    if !inside("hidden::owners_that_became_nobody_are_no_absence") {
        return;
    }
    let stage = known();
    let folder = stage.path("folder");
    let given = sh(
        "chown 12345 \"$1\" \"$2\" && chmod 700 \"$1\" && unshare --user --map-root-user true",
        &[&folder, &stage.path("a.txt")],
    );
    if !given.status.success() {
        println!("NOT RUN: no file can be given to another user here: {}", text(&given).trim());
        return;
    }
    must("chmod 600 \"$1\"", &[&stage.path("a.txt")]);
    let daemon = partly(&stage, User::Private, "folder");
    stage.wait_verdict("a.txt", "parked(unreadable)");
    assert!(daemon.stop().success());
    // The root itself.
    must("chown 12345 \"$1\" && chmod 700 \"$1\"", &[&stage.drop]);
    let before = (stage.ours(), stage.changes().len());
    for _ in 0..3 {
        let output = stage.finish(User::Private.command(&stage).arg("sync"));
        assert_eq!((output.status.code(), stage.hold().as_str()), (Some(78), "root-unreadable"), "{}", text(&output));
    }
    assert_eq!((stage.ours(), stage.changes().len()), before);
    // With the users of the host.
    let daemon = stage.daemon();
    stage.wait_verdict("a.txt", "attached");
    goes_on(&stage, daemon);
}
