//! What is known before a call is spent, with the real binary: types, sizes and full cases park without a call, go on
//! by themselves when the instance or the case changes, and the service stays the judge.

use std::time::Instant;

use casedrop_sandbox::{DEMO_CASE_ID, Fault, FaultKind, Limits, NewCase, Op};

use crate::common::{Daemon, Stage, text, wait};

fn limits(extensions: &[&str], max_file_bytes: u64) -> Limits {
    Limits { extensions: extensions.iter().map(|e| (*e).to_owned()).collect(), max_file_bytes, ..Limits::default() }
}

fn note(stage: &Stage, path: &str) -> String {
    let list = stage.list();
    list.iter().find(|line| line["path"] == path).and_then(|line| line["note"].as_str()).unwrap_or_default().to_owned()
}

fn restarted(stage: &Stage, daemon: Daemon) -> Daemon {
    assert!(daemon.stop().success());
    let daemon = stage.daemon();
    daemon.wait_ready();
    daemon
}

#[test]
fn types_and_sizes_park_without_a_call_and_leave_by_themselves() {
    let stage = Stage::with(|settings| settings.limits = limits(&["TXT"], 1_000));
    stage.write("good.txt", "content");
    stage.write("letter.zip", "content");
    stage.write("bare", "content");
    stage.write("large.txt", "x".repeat(1_001));
    stage.write("empty.txt", "");
    let output = stage.run(&["sync"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 1, "no call for what would be refused");
    for (path, code, says) in [
        ("letter.zip", "type-not-allowed", "the extension `zip` is not on the instance's list: txt"),
        ("bare", "type-not-allowed", "it has no extension"),
        ("large.txt", "too-large", "it has 1001 B (1001 bytes); the instance takes files up to 1000 B"),
        ("empty.txt", "empty-file", ""),
    ] {
        assert_eq!(stage.verdict(path), format!("parked({code})"));
        assert!(note(&stage, path).contains(says), "{path}: {}", note(&stage, path));
    }
    let shown = text(&stage.run(&["status"]));
    assert!(shown.contains("instance   files up to 1000 B; types: txt"), "{shown}");
    stage.write("another.zip", "more");
    let plan = text(&stage.run(&["plan"]));
    assert!(plan.contains("type-not-allowed: the extension `zip`"), "{plan}");

    // An administrator adds the type and raises the size: nobody has to say so.
    stage.sandbox.set_limits(limits(&["txt", "zip"], 5_000));
    let output = stage.run(&["sync"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    for path in ["letter.zip", "large.txt", "another.zip"] {
        assert_eq!(stage.verdict(path), "attached", "{path}");
    }
    assert_eq!(stage.verdict("bare"), "parked(type-not-allowed)");
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 4);
    assert!(stage.count(Op::DescribeAttachedFilesConfiguration) <= 2, "once for each run");
}

/// Our belief is an hour old at most, and a refusal ends it; a person can have the service asked whatever we believe.
#[test]
fn the_service_stays_the_judge() {
    let stage = Stage::with(|settings| settings.limits = limits(&["txt", "zip"], 1_000));
    let daemon = stage.daemon();
    stage.marker("first.txt");
    // Stricter than we believe.
    stage.sandbox.set_limits(limits(&["txt"], 1_000));
    stage.write("a.zip", "content");
    stage.wait_verdict("a.zip", "parked(type-not-allowed)");
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 2, "the service refused it");
    // More lenient than we believe: nothing tells us, but a person can.
    let daemon = restarted(&stage, daemon);
    let known = || text(&stage.run(&["status"])).lines().any(|line| line.ends_with("; types: txt"));
    wait("the settings are read again", known, || text(&stage.run(&["status"])));
    stage.write("b.zip", "content");
    stage.wait_verdict("b.zip", "parked(type-not-allowed)");
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 2, "known by now");
    stage.sandbox.set_limits(limits(&["txt", "zip"], 1_000));
    let retry = stage.run(&["retry", "b.zip"]);
    assert!(retry.status.success(), "{}", text(&retry));
    stage.wait_verdict("b.zip", "attached");
    assert_eq!(stage.verdict("a.zip"), "parked(type-not-allowed)", "until the settings are read again");
    let daemon = restarted(&stage, daemon);
    stage.wait_verdict("a.zip", "attached");
    stage.assert_settled(daemon);
}

#[test]
fn documented_defaults_stand_in_for_settings_that_may_not_be_read() {
    let stage = Stage::with(|settings| {
        settings.limits = limits(&["txt", "zip"], 1_000);
        settings.faults = vec![Fault::all(Op::DescribeAttachedFilesConfiguration, FaultKind::AccessDenied)];
    });
    stage.write("a.txt", "content");
    stage.write("b.zip", "content");
    let daemon = stage.daemon();
    stage.wait_verdict("a.txt", "attached");
    stage.wait_verdict("b.zip", "parked(type-not-allowed)");
    assert!(note(&stage, "b.zip").contains("documented defaults"), "{}", note(&stage, "b.zip"));
    let said = daemon.log().matches("documented defaults are used").count();
    assert_eq!(said, 1, "{}", daemon.log());
    let status = text(&stage.run(&["status"]));
    assert!(status.contains("documented defaults") && status.contains("AccessDeniedException"), "{status}");
    let check = stage.run(&["check"]);
    assert!(check.status.success() && text(&check).contains("documented defaults are used"), "{}", text(&check));
    // The instance takes it, which only a call can tell.
    assert!(stage.run(&["retry", "b.zip"]).status.success());
    stage.wait_verdict("b.zip", "attached");
    assert!(daemon.stop().success());
}

/// A service that cannot tell its settings for a while delays nobody.
#[test]
fn settings_that_cannot_be_read_for_a_while_hold_nothing_up() {
    let stage = Stage::with(|settings| {
        settings.faults = vec![Fault::all(Op::DescribeAttachedFilesConfiguration, FaultKind::ServerErrorBefore)];
    });
    stage.write("a.txt", "content");
    stage.write("b.exe", "content");
    let output = stage.run(&["sync"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert_eq!(stage.verdict("a.txt"), "attached");
    assert_eq!(stage.verdict("b.exe"), "parked(type-not-allowed)");
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 2, "the service judged");
}

/// One refusal tells of all files of that case; room is noticed after a delete of ours and by a try now and then.
#[test]
fn a_full_case_costs_one_call_and_goes_on_when_it_has_room() {
    let mut stage = Stage::with(|settings| settings.limits.files_per_case = 5);
    stage.limits.push_str("uploads_in_flight = 1\n");
    let other = stage.sandbox.add_case(NewCase::titled("Another case")).case_id;
    stage.case = "case_from = '^(?<case_id>[^/]+)/'".to_owned();
    stage.mirror.push_str("file_name = \"base\"\n");
    for n in 0..20 {
        stage.write(&format!("{DEMO_CASE_ID}/{n}.txt"), format!("content {n}"));
    }
    stage.write(&format!("{other}/other.txt"), "other");
    let on = |case: &str| stage.ours().into_iter().filter(|file| file.case_id == case).count();
    let parked = || stage.list().iter().filter(|line| line["detail"] == "case-full").count();
    let daemon = stage.daemon();
    wait("the rest is parked", || parked() == 15, || format!("{:#?}", stage.list()));
    let attached = || stage.list().iter().filter(|line| line["verdict"] == "attached").count();
    wait("the others are visible, another case too", || attached() == 6, || format!("{:#?}", stage.list()));
    assert_eq!((on(DEMO_CASE_ID), on(&other)), (5, 1));
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 5 + 1 + 1, "one refusal for 15 files");
    let status = text(&stage.run(&["status"]));
    assert!(status.contains(&format!("full       case {DEMO_CASE_ID}, tried again after")), "{status}");

    // One is removed here: a slot is free, and one of those that wait takes it.
    let gone = stage
        .list()
        .iter()
        .find(|l| l["verdict"] == "attached" && l["case"].to_string().contains(DEMO_CASE_ID))
        .unwrap()["path"]
        .as_str()
        .unwrap()
        .to_owned();
    std::fs::remove_file(stage.path(&gone)).unwrap();
    // One asks and is taken, so all go on, and the next one is refused: only then does the case count as full again.
    let asked = || stage.count(Op::StartAttachedFileUpload) == 5 + 1 + 1 + 2;
    wait("one more goes", || asked() && parked() == 14 && on(DEMO_CASE_ID) == 5, || format!("{:#?}", stage.list()));

    // The quota is raised, and a person says so for one file: all go.
    stage.sandbox.set_limits(Limits { files_per_case: 50, ..Limits::default() });
    let first = stage.list().iter().find(|l| l["detail"] == "case-full").unwrap()["path"].as_str().unwrap().to_owned();
    assert!(stage.run(&["retry", &first]).status.success());
    wait("all go", || parked() == 0 && on(DEMO_CASE_ID) == 19, || format!("{:#?}", stage.list()));
    assert!(daemon.stop().success());
    let output = stage.sync();
    assert!(!text(&output).contains("parked"), "{}", text(&output));
}

/// A refusal storm asks for the settings once, not for each file.
#[test]
fn refusals_together_ask_once() {
    let stage = Stage::with(|settings| settings.limits = limits(&["txt", "zip"], 1_000));
    let (daemon, began) = (stage.daemon(), Instant::now());
    stage.marker("first.txt");
    stage.sandbox.set_limits(limits(&["txt"], 1_000));
    for n in 0..10 {
        stage.write(&format!("{n}.zip"), format!("content {n}"));
    }
    let parked = || stage.list().iter().filter(|line| line["detail"] == "type-not-allowed").count();
    wait("all are parked", || parked() == 10, || format!("{:#?}", stage.list()));
    let asked = stage.count(Op::DescribeAttachedFilesConfiguration);
    // At the start, for the first refusal, and once more for each 30 s in which there were others.
    assert!(asked <= 2 + usize::try_from(began.elapsed().as_secs() / 30).unwrap(), "asked {asked} times");
    assert!(daemon.stop().success());
}
