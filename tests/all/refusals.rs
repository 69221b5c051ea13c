//! Bad input and a bad environment, with the real binary: a clear message with the remedy, the documented exit
//! code, and nothing lost. What is refused is left as it was, byte for byte.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{NOBODY, Stage, sha256, text, wait};
use casedrop_sandbox::Op;

/// Every file below a folder with what `plan` must not change: content, time of change, mode, inode. The time of the
/// inode's change is left out, because SQLite, as root, gives its files their owner at every opening; and of its
/// shared memory, which is where readers and the writer keep their locks, only the presence counts.
fn tree(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let shared = path.extension().is_some_and(|extension| extension == "db-shm");
            let content = if meta.is_file() { sha256(&fs::read(&path).unwrap()) } else { String::new() };
            let shown = format!("{content} {}.{:09} {:o}", meta.mtime(), meta.mtime_nsec(), meta.mode());
            found.insert(path.clone(), format!("{} {}", if shared { "" } else { &shown }, meta.ino()));
            if meta.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

/// The configuration with one part of it replaced, in a file of its own.
fn config_with(stage: &Stage, from: &str, to: &str) -> PathBuf {
    let text = fs::read_to_string(stage.config()).unwrap();
    assert!(text.contains(from), "{text}");
    let path = stage.dir.path().join("other.toml");
    fs::write(&path, text.replace(from, to)).unwrap();
    path
}

/// A command is refused: its code, and every one of these words in what it says.
fn refused(stage: &Stage, command: &mut Command, code: i32, words: &[&str]) {
    let output = stage.finish(command);
    let shown = text(&output);
    assert_eq!(output.status.code(), Some(code), "{shown}");
    for word in words {
        assert!(shown.contains(word), "it does not say {word:?}: {shown}");
    }
    assert!(!shown.contains("panicked"), "{shown}");
}

/// A journal that knows one attached file.
fn with_journal() -> Stage {
    let stage = Stage::new();
    stage.write("a.txt", "content");
    stage.sync();
    stage
}

#[test]
fn a_malformed_configuration_names_every_problem() {
    let mut stage = Stage::new();
    stage.limits = "requests_per_second = 0\nburst = \"many\"\n".to_owned();
    stage.mirror = "settle = \"soon\"\nshiny = true\ndelete_budget = \"all\"\n".to_owned();
    let problems = ["requests_per_second", "burst", "settle", "shiny", "delete_budget", "casedrop.toml:"];
    for command in ["run", "sync", "plan", "status", "list", "check"] {
        refused(&stage, stage.command().arg(command), 78, &problems);
    }
    assert!(!stage.journal().exists(), "nothing was begun");

    let broken = stage.dir.path().join("broken.toml");
    for (content, words) in [("[connect\n", "broken.toml:1"), ("", "connect.instance_id"), ("\u{0}", "broken.toml:1")] {
        fs::write(&broken, content).unwrap();
        refused(&stage, stage.command_with(&broken).arg("run"), 78, &[words]);
    }
    fs::write(&broken, b"# caf\xe9\n").unwrap();
    refused(&stage, stage.command_with(&broken).arg("run"), 78, &["UTF-8"]);
    refused(&stage, stage.command_with(&stage.dir.path().join("none.toml")).arg("run"), 78, &["config.example.toml"]);
    refused(&stage, stage.command_with(stage.dir.path()).arg("run"), 78, &["cannot read"]);
}

#[test]
fn roots_that_cannot_be_meant_are_refused() {
    let stage = Stage::new();
    let file = stage.dir.path().join("file");
    fs::write(&file, "no folder").unwrap();
    let link = stage.dir.path().join("link");
    std::os::unix::fs::symlink(&stage.drop, &link).unwrap();
    let drop = format!("{:?}", stage.drop);
    for (root, words) in [(file, "it is no folder"), (link, "symbolic link")] {
        let config = config_with(&stage, &format!("path = {drop}"), &format!("path = {root:?}"));
        for command in ["run", "sync", "plan"] {
            refused(&stage, stage.command_with(&config).arg(command), 78, &[words, "mirror[drop].path"]);
        }
    }
    let relative = config_with(&stage, &format!("path = {drop}"), "path = \"drop\"");
    refused(&stage, stage.command_with(&relative).arg("sync"), 78, &["absolute path"]);
    let inside = stage.path("journal.db");
    let config = config_with(&stage, &format!("path = {:?}", stage.journal()), &format!("path = {inside:?}"));
    refused(&stage, stage.command_with(&config).arg("sync"), 78, &["must not lie inside the root"]);
    assert!(!inside.exists() && !stage.journal().exists());
}

#[test]
fn a_missing_root_is_a_hold_and_deletes_nothing() {
    let stage = with_journal();
    let aside = stage.dir.path().join("aside");
    fs::rename(&stage.drop, &aside).unwrap();
    let before = stage.changes().len();
    for _ in 0..2 {
        refused(&stage, stage.command().arg("sync"), 78, &["held: root-missing", stage.drop.to_str().unwrap()]);
    }
    assert_eq!(stage.hold(), "root-missing");
    fs::rename(&aside, &stage.drop).unwrap();
    stage.sync();
    assert_eq!((stage.hold().as_str(), stage.changes().len()), ("", before));
    stage.assert_equal();
    // On the first run too, before any journal.
    let fresh = Stage::new();
    fs::remove_dir(&fresh.drop).unwrap();
    refused(&fresh, fresh.command().arg("sync"), 78, &["held: root-missing"]);
}

#[test]
fn a_journal_that_is_none_is_refused_and_left_alone() {
    let stage = with_journal();
    let whole = fs::read(stage.journal()).unwrap();
    let mut newer = whole.clone();
    // `PRAGMA user_version`: big-endian at offset 60 of the header.
    newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
    let mut foreign = whole.clone();
    // `PRAGMA application_id`: big-endian at offset 68.
    foreign[68..72].copy_from_slice(&7_u32.to_be_bytes());
    let cut = whole[..whole.len() / 2].to_vec();
    let mut holes = whole.clone();
    holes[4096..].fill(0);
    let prose = "this is a letter and no database\n".repeat(100).into_bytes();
    let before = stage.changes().len();
    for (name, bytes, words) in [
        ("newer", newer, ["newer casedrop", "install that one"]),
        ("foreign", foreign, ["another program", "[journal]"]),
        ("text", prose, ["not a journal", "[journal]"]),
        ("short text", b"hello".to_vec(), ["not a journal", "[journal]"]),
        ("cut", cut, ["is damaged", "put a sound copy"]),
        ("holes", holes, ["is damaged", "put a sound copy"]),
    ] {
        println!("journal: {name}");
        fs::write(stage.journal(), &bytes).unwrap();
        for command in ["sync", "run"] {
            refused(&stage, stage.command().arg(command), 78, &words);
        }
        for command in ["status", "list", "plan"] {
            let output = stage.run(&[command]);
            assert_eq!(output.status.code(), Some(78), "{command} on {name}: {}", text(&output));
        }
        assert_eq!(fs::read(stage.journal()).unwrap(), bytes, "{name} was changed");
    }
    fs::remove_file(stage.journal()).unwrap();
    fs::create_dir(stage.journal()).unwrap();
    refused(&stage, stage.command().arg("sync"), 78, &["not a journal"]);
    fs::remove_dir(stage.journal()).unwrap();
    fs::write(stage.journal(), &whole).unwrap();
    stage.sync();
    assert_eq!(stage.changes().len(), before, "with its journal back, it has nothing to do");
    stage.assert_equal();
}

#[test]
fn a_journal_of_another_root_is_refused() {
    let stage = with_journal();
    let other = stage.dir.path().join("other");
    fs::create_dir(&other).unwrap();
    let config = config_with(&stage, &format!("path = {:?}", stage.drop), &format!("path = {other:?}"));
    let before = stage.changes().len();
    for command in ["sync", "run"] {
        let words = ["the journal knows the mirror `drop`", "another name"];
        refused(&stage, stage.command_with(&config).arg(command), 78, &words);
    }
    assert_eq!(stage.changes().len(), before);
}

#[test]
fn two_daemons_on_one_journal_are_refused() {
    let stage = Stage::new();
    let daemon = stage.daemon();
    daemon.wait_ready();
    let pid = format!("process {}", daemon.id());
    for command in ["run", "sync"] {
        refused(&stage, stage.command().arg(command), 75, &[&pid, "only one daemon"]);
    }
    stage.marker("the first goes on.txt");
    stage.assert_settled(daemon);
}

#[test]
fn files_that_cannot_be_read_hurt_no_other() {
    // To root everything is readable, so that the missing permission itself can only be tested as a plain user.
    let stage = Stage::new();
    stage.write("good.txt", "good");
    stage.write("closed.txt", "closed");
    stage.write("closed folder/inner.txt", "inner");
    let mode = |name: &str, mode: &str| {
        assert!(Command::new("chmod").arg(mode).arg(stage.path(name)).status().unwrap().success());
    };
    mode("closed.txt", "000");
    mode("closed folder", "000");
    let plain_user = fs::File::open(stage.path("closed.txt")).is_err();
    let output = stage.run(&["sync"]);
    if plain_user {
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains("unreadable"), "{}", text(&output));
        assert_eq!(stage.visible().len(), 1, "what cannot be read is not uploaded");
    } else {
        println!("root may read everything: permissions are not tested");
        assert!(output.status.success(), "{}", text(&output));
    }
    mode("closed.txt", "644");
    mode("closed folder", "755");
    stage.sync();
    stage.assert_equal();
}

#[test]
fn an_unknown_case_parks_the_file() {
    let mut stage = Stage::new();
    stage.case = "case = \"99999999-9999-4999-8999-999999999999\"".to_owned();
    stage.write("a.txt", "content");
    let words = ["case-not-found", "Connect knows no such case"];
    refused(&stage, stage.command().arg("sync"), 1, &words);
    let starts = stage.count(Op::StartAttachedFileUpload);
    refused(&stage, stage.command().arg("sync"), 1, &words);
    assert_eq!(stage.count(Op::StartAttachedFileUpload), starts, "a park is not tried again by itself");
    // Once the case exists, a person says so.
    stage.sandbox.accept_any_case(true);
    let retry = stage.run(&["retry", "--all"]);
    assert!(retry.status.success(), "{}", text(&retry));
    stage.sync();
    stage.assert_equal();
}

#[test]
fn an_unreachable_endpoint_is_temporary() {
    let stage = Stage::new();
    for n in 0..10 {
        stage.write(&format!("{n}.txt"), format!("content {n}"));
    }
    let away = config_with(&stage, &stage.sandbox.endpoint_url(), NOBODY);
    let log = stage.dir.path().join("away.log");
    let mut child = stage.command_with(&away).arg("run").stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    let said = || fs::read_to_string(&log).unwrap_or_default();
    wait(
        "the daemon is ready and says that it is offline",
        || {
            let log = said();
            log.contains("ready: ") && log.contains("out of reach of the service")
        },
        said,
    );
    assert!(child.try_wait().unwrap().is_none(), "the daemon goes on: {}", said());
    child.kill().unwrap();
    child.wait().unwrap();
    let lines = said().lines().filter(|line| line.contains("out of reach") || line.contains("WARN")).count();
    assert!(lines <= 3, "one storm is one line, not one for each file: {}", said());

    refused(&stage, stage.command_with(&away).arg("sync"), 75, &["try again later"]);
    let listed = stage.list();
    assert!(listed.len() == 10 && listed.iter().all(|f| f["verdict"] == "queued"), "no try used up: {listed:?}");
    stage.sync();
    stage.assert_equal();
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 10);
}

#[test]
fn wrong_credentials_need_a_person() {
    let stage = Stage::new();
    stage.write("a.txt", "content");
    let words = ["AWS refuses the credentials", "casedrop check"];
    refused(&stage, stage.command().env("AWS_SECRET_ACCESS_KEY", "wrong").arg("sync"), 78, &words);
    refused(&stage, stage.command().env("AWS_ACCESS_KEY_ID", "AKIDWRONG").arg("sync"), 78, &words);
    assert_eq!(stage.hold(), "auth");
    let mut bare = stage.command();
    let none = stage.finish(bare.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").arg("sync"));
    assert_eq!(none.status.code(), Some(78), "{}", text(&none));
    assert!(stage.ours().is_empty());
    stage.sync();
    assert_eq!(stage.hold(), "");
    stage.assert_equal();
}

#[test]
fn a_full_disk_loses_nothing() {
    let stage = Stage::new();
    let state = stage.dir.path().join("state");
    fs::create_dir(&state).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "casedrop-test"]).arg(&state).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("no tmpfs can be mounted here: the full disk is not tested");
        return;
    }
    let mounted = Mounted(state.clone());
    stage.write("first.txt", "first");
    stage.sync();
    let ballast = state.join("ballast");
    let fill = || {
        let full = Command::new("dd").args(["if=/dev/zero", "bs=4k"]).arg(format!("of={}", ballast.display())).output();
        assert!(!full.unwrap().status.success(), "the disk is full");
    };
    // Full before the start.
    fill();
    for n in 0..20 {
        stage.write(&format!("{n}.txt"), format!("content {n}"));
    }
    let output = stage.run(&["sync"]);
    assert_eq!(output.status.code(), Some(75), "{}", text(&output));
    assert!(text(&output).contains("no space is left for the journal"), "{}", text(&output));
    fs::remove_file(&ballast).unwrap();
    stage.sync();
    stage.assert_equal();
    // Full while the daemon runs: it waits, says so, and goes on by itself.
    let daemon = stage.daemon();
    daemon.wait_ready();
    fill();
    for n in 0..20 {
        stage.write(&format!("later {n}.txt"), format!("later content {n}"));
    }
    wait("the daemon says so", || daemon.log().contains("no space is left for the journal"), || daemon.log());
    fs::remove_file(&ballast).unwrap();
    stage.wait_equal();
    stage.assert_settled(daemon);
    stage.assert_equal();
    drop(mounted);
}

/// Unmounted at the end, however the test ends.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Invariant 21, in one state of the journal: no byte and no time of change anywhere, the exit code, no call.
fn plan_changes_nothing(stage: &Stage, code: i32, words: &[&str]) {
    let state = stage.journal().parent().unwrap().to_owned();
    // Written anew by every command of the stage; written now, so that it does not count.
    let config = stage.config();
    for args in [&["plan"][..], &["plan", "--json"]] {
        let before = (tree(&stage.drop), tree(&state), stage.sandbox.requests().len(), state.exists());
        let output = stage.finish(stage.command_with(&config).args(args));
        let shown = text(&output);
        assert_eq!(output.status.code(), Some(code), "{shown}");
        words.iter().for_each(|word| assert!(shown.contains(word), "it does not say {word:?}: {shown}"));
        let after = (tree(&stage.drop), tree(&state), stage.sandbox.requests().len(), state.exists());
        assert_eq!(after, before, "{args:?} changed something");
    }
}

#[test]
fn plan_changes_no_byte_anywhere() {
    let mut stage = Stage::new();
    stage.mirror = stage.mirror.replace("\"1s\"", "\"1h\"");
    plan_changes_nothing(&stage, 0, &[]);
    stage.write("a.txt", "content");
    stage.write("folder/b.txt", "more content");
    plan_changes_nothing(&stage, 3, &["upload", "a.txt", "folder/b.txt"]);
    assert!(!stage.journal().parent().unwrap().exists(), "no journal was begun");
    stage.sync();
    plan_changes_nothing(&stage, 0, &[]);
    stage.write("a.txt", "changed");
    plan_changes_nothing(&stage, 3, &["replace", "a.txt"]);

    let daemon = stage.daemon();
    stage.wait_equal();
    stage.wait_verdict("a.txt", "attached");
    // The old version is gone at Connect a moment before the journal knows it.
    let cleaned = || stage.status()["cleanups"]["deleting"] == 0;
    wait("the clean-up is recorded", cleaned, || format!("{:#}", stage.status()));
    plan_changes_nothing(&stage, 0, &[]);
    // In the middle of an upload.
    stage.sandbox.set_faults(vec![casedrop_sandbox::Fault::all(
        Op::StartAttachedFileUpload,
        casedrop_sandbox::FaultKind::HangForever,
    )]);
    stage.write("c.txt", "in the middle");
    wait("the upload hangs", || stage.sandbox.faults_applied() > 0, || daemon.log());
    plan_changes_nothing(&stage, 3, &["c.txt"]);
    daemon.kill();
    plan_changes_nothing(&stage, 3, &["c.txt"]);
    stage.sandbox.set_faults(Vec::new());
    stage.sync();
    stage.assert_equal();
    plan_changes_nothing(&stage, 0, &[]);
}

/// A path that is too long for a socket: only the commands that ask a daemon need one.
#[test]
fn a_daemon_without_a_control_socket_runs_all_the_same() {
    let stage = Stage::new();
    let deep = stage.dir.path().join("d".repeat(120));
    fs::create_dir(&deep).unwrap();
    let journal = format!("path = {:?}", stage.journal());
    let config = config_with(&stage, &journal, &format!("path = {:?}", deep.join("journal.db")));
    let log = stage.dir.path().join("daemon.log");
    let child = stage.command_with(&config).arg("run").stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    let daemon = crate::common::Daemon::of(child, log);
    daemon.wait_ready();
    assert!(daemon.log().contains("no control socket"), "{}", daemon.log());
    stage.marker("marker.txt");
    assert!(daemon.stop().success());
}
