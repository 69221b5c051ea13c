//! `casedrop flush`: never a false success, and an end that later files do not put off.

use std::fs;
use std::io::Write as _;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use casedrop_sandbox::{FileStatus, Limits, Op, Scan};
use serde_json::Value;

use crate::common::{DEADLINE, Stage, sha256, text, wait};

/// How long a flush may take here.
const PATIENCE: &str = "280s";

fn flush(stage: &Stage, args: &[&str]) -> (Option<i32>, Value) {
    let output = stage.run(&[&["flush", "--json"], args].concat());
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)));
    (output.status.code(), report)
}

/// A flush in the background, its report in a file.
fn begun(stage: &Stage, wait: &str) -> Child {
    let report = fs::File::create(stage.dir.path().join("flush.json")).unwrap();
    let said = fs::File::create(stage.dir.path().join("flush.log")).unwrap();
    let mut command = stage.command();
    command.args(["flush", "--json", "--wait", wait]).stdout(report).stderr(said).spawn().unwrap()
}

fn ended(stage: &Stage, mut child: Child) -> (Option<i32>, Value) {
    let (began, report) = (Instant::now(), stage.dir.path().join("flush.json"));
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            let text = fs::read_to_string(report).unwrap();
            return (status.code(), serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}")));
        }
        if began.elapsed() > DEADLINE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("flush does not end");
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn is_visible(stage: &Stage, name: &str, content: &[u8]) -> bool {
    let hash = sha256(content);
    let mut ours = stage.ours().into_iter().filter(|file| file.status == FileStatus::Approved);
    ours.any(|file| file.file_name == name && file.sha256.as_ref() == Some(&hash))
}

#[test]
fn everything_that_was_there_is_attached_though_more_keeps_coming() {
    let mut stage = Stage::with(|settings| {
        settings.limits = Limits { files_per_case: 5000, related_items_per_case: 9000, ..Limits::default() };
    });
    stage.limits = "requests_per_second = 10\nburst = 2\n".to_owned();
    let daemon = stage.daemon();
    daemon.wait_ready();
    for n in 0..15 {
        stage.write(&format!("batch{n:02}.txt"), format!("batch {n}"));
    }
    // Begun before the call, whole only after it.
    let mut growing = fs::File::create(stage.path("growing.txt")).unwrap();
    growing.write_all(b"first ").unwrap();
    let child = begun(&stage, PATIENCE);
    let over = AtomicBool::new(false);
    let (code, report) = std::thread::scope(|scope| {
        let (stage, over) = (&stage, &over);
        scope.spawn(move || {
            // Faster than the quota: the queue never runs empty.
            for n in 0.. {
                if over.load(Ordering::Acquire) {
                    return;
                }
                stage.write(&format!("later/{n:04}.txt"), format!("later {n}"));
                std::thread::park_timeout(Duration::from_millis(50));
            }
        });
        for _ in 0..10 {
            std::thread::park_timeout(Duration::from_millis(60));
            growing.write_all(b"more ").unwrap();
        }
        drop(growing);
        let ended = ended(stage, child);
        over.store(true, Ordering::Release);
        ended
    });
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!((&report["result"], &report["files"]), (&"attached".into(), &Value::Array(Vec::new())));
    // Those that came before its pass are part of the batch: how many, the machine decides.
    assert!(report["attached"].as_u64() >= Some(16), "{report:#}");
    for n in 0..15 {
        assert!(is_visible(&stage, &format!("batch{n:02}.txt"), format!("batch {n}").as_bytes()), "batch {n}");
    }
    assert!(is_visible(&stage, "growing.txt", &fs::read(stage.path("growing.txt")).unwrap()), "in its last form");
    daemon.kill();
}

#[test]
fn a_change_that_the_daemon_has_not_noticed_counts() {
    let mut stage = Stage::new();
    stage.mirror.push_str("watch = \"poll\"\nrescan = \"1h\"\n");
    stage.write("a.txt", "old");
    let daemon = stage.daemon();
    stage.wait_visible("a.txt");
    stage.wait_attached();
    stage.write("a.txt", "new content");
    stage.write("b.txt", "unknown yet");
    if stage.verdict("a.txt") != "attached" {
        println!("the machine is slow: the daemon has looked by itself meanwhile");
    }
    let (code, report) = flush(&stage, &["drop", "--wait", PATIENCE]);
    assert_eq!((code, &report["attached"]), (Some(0), &2.into()), "{report:#}");
    assert!(is_visible(&stage, "a.txt", b"new content") && is_visible(&stage, "b.txt", b"unknown yet"));
    // Once more with nothing to do, in words.
    let output = stage.run(&["flush"]);
    assert!(output.status.success() && text(&output).starts_with("2 files attached, in "), "{}", text(&output));
    assert!(daemon.stop().success());
}

#[test]
fn what_ends_otherwise_is_named_with_its_remedy() {
    let mut stage = Stage::new();
    stage.case = "case_from = '^(?<case_id>[^/]+)/'".to_owned();
    let case = casedrop_sandbox::DEMO_CASE_ID;
    stage.write(&format!("{case}/good.txt"), "good");
    stage.write(&format!("{case}/empty.txt"), "");
    stage.write("nowhere/letter.txt", "no case");
    stage.write(&format!("{case}/.hidden.swp"), "junk is no part of the batch");
    let daemon = stage.daemon();
    daemon.wait_ready();
    let (code, report) = flush(&stage, &["--wait", PATIENCE]);
    assert_eq!(code, Some(1), "{report:#}");
    assert_eq!(report["result"], "not-attached");
    let counts = ["attached", "parked", "unrouted", "gone", "waiting"].map(|key| report[key].as_u64().unwrap());
    assert_eq!(counts, [1, 1, 1, 0, 0], "{report:#}");
    let files = report["files"].as_array().unwrap();
    let parked = files.iter().find(|file| file["verdict"] == "parked").unwrap();
    assert_eq!(parked["detail"], "empty-file");
    assert!(parked["remedy"].as_str().unwrap().starts_with("Connect takes no empty file"));
    let output = stage.run(&["flush", "drop"]);
    for word in ["1 parked, 1 unrouted", "empty.txt  parked(empty-file)", "nowhere/letter.txt  unrouted("] {
        assert!(text(&output).contains(word), "{word}: {}", text(&output));
    }
    assert_eq!(stage.run(&["flush", "other"]).status.code(), Some(2));
    assert!(daemon.stop().success());
}

#[test]
fn what_a_drop_folder_has_handed_over_counts_by_how_it_ended() {
    let mut stage = crate::ingest::stage("archive", "");
    stage.limits.push_str("[log]\nlevel = \"debug\"\n");
    let daemon = stage.daemon();
    daemon.wait_ready();
    let quarantine = crate::ingest::quarantine(&stage);
    let heard = || daemon.log().matches("asked to by `casedrop flush`").count();
    // What it waits for is neither delivered nor moved away before it has seen it in the folder.
    let flushed = |delivered: &[&str]| {
        let before = heard();
        let child = begun(&stage, PATIENCE);
        wait("the daemon was asked", || heard() > before, || daemon.log());
        delivered.iter().for_each(|path| stage.wait_verdict(path, "scanning"));
        for file in stage.ours().into_iter().filter(|file| file.status == FileStatus::Processing) {
            assert!(stage.sandbox.set_file_status(&file.file_id, FileStatus::Approved));
        }
        fs::create_dir(&quarantine).unwrap();
        ended(&stage, child)
    };
    stage.sandbox.set_scan(Scan::after(Duration::from_secs(3600)));
    fs::remove_dir(&quarantine).unwrap();
    stage.write("a.txt", "one");
    stage.write("sub/b.txt", "two");
    let (code, report) = flushed(&["a.txt", "sub/b.txt"]);
    assert_eq!((code, &report["attached"], &report["gone"]), (Some(0), &2.into(), &0.into()), "{report:#}");

    fs::remove_dir(&quarantine).unwrap();
    stage.write("c.txt", "three");
    stage.write("setup.exe", "MZ");
    let (code, report) = flushed(&["c.txt"]);
    assert_eq!((code, &report["attached"]), (Some(1), &1.into()), "{report:#}");
    let refused = &report["files"][0];
    assert_eq!((&refused["path"], &refused["detail"]), (&"setup.exe".into(), &"type-not-allowed".into()));
    assert!(refused["remedy"].as_str().unwrap().contains("file type"), "{report:#}");
}

#[test]
fn when_the_time_is_over_it_names_what_waits() {
    let stage = Stage::new();
    stage.sandbox.set_scan(Scan::after(Duration::from_secs(3600)));
    stage.write("slow.txt", "slow");
    let output = stage.run(&["flush"]);
    assert_eq!(output.status.code(), Some(75));
    assert!(text(&output).contains("no daemon runs"), "{}", text(&output));
    let daemon = stage.daemon();
    stage.wait_verdict("slow.txt", "scanning");
    let (code, report) = flush(&stage, &["--wait", "1s"]);
    assert_eq!((code, &report["result"], &report["waiting"]), (Some(75), &"time-over".into(), &1.into()), "{report:#}");
    assert_eq!((&report["files"][0]["path"], &report["files"][0]["verdict"]), (&"slow.txt".into(), &"scanning".into()));
    assert!(daemon.stop().success());
}

#[test]
fn a_held_mirror_is_no_success() {
    let stage = Stage::new();
    for n in 0..4 {
        stage.write(&format!("in/{n}.txt"), format!("content {n}"));
    }
    let daemon = stage.daemon();
    stage.wait_attached();
    // All in one step: one by one, the first might be deleted before the last is gone.
    fs::rename(stage.path("in"), stage.dir.path().join("in")).unwrap();
    stage.wait_hold("root-emptied");
    let (code, report) = flush(&stage, &[]);
    assert_eq!((code, &report["result"]), (Some(78), &"held".into()), "an emptied folder: {report:#}");
    let away = stage.dir.path().join("away");
    fs::rename(&stage.drop, &away).unwrap();
    // Asked at once: the daemon looks, finds no folder and holds.
    let (code, report) = flush(&stage, &["--wait", PATIENCE]);
    assert_eq!((code, &report["holds"][0]["code"]), (Some(78), &"root-missing".into()), "{report:#}");
    // The folder is back, the daemon has not seen it yet: the hold of before does not count.
    fs::rename(&away, &stage.drop).unwrap();
    for n in 0..4 {
        stage.write(&format!("in/{n}.txt"), format!("content {n}"));
    }
    let (code, report) = flush(&stage, &["--wait", PATIENCE]);
    assert_eq!((code, &report["attached"]), (Some(0), &4.into()), "{report:#}");
    assert!(daemon.stop().success());
}

#[test]
fn it_goes_on_when_the_daemon_is_killed_and_started_again() {
    let mut stage = Stage::new();
    stage.limits = "requests_per_second = 10\nburst = 2\n[log]\nlevel = \"debug\"\n".to_owned();
    for n in 0..20 {
        stage.write(&format!("{n}.txt"), format!("content {n}"));
    }
    let daemon = stage.daemon();
    daemon.wait_ready();
    let child = begun(&stage, PATIENCE);
    wait("the daemon was asked", || daemon.log().contains("asked to by `casedrop flush`"), || daemon.log());
    wait("some are delivered", || stage.count(Op::CompleteAttachedFileUpload) > 5, || daemon.log());
    daemon.kill();
    let daemon = stage.daemon();
    let (code, report) = ended(&stage, child);
    assert_eq!((code, &report["attached"]), (Some(0), &20.into()), "{report:#}");
    stage.assert_equal();
    assert!(daemon.stop().success());
}
