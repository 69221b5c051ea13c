//! Many mirrors in one daemon, many cases in one mirror: a flood or a fault in one delays the others by a turn, not
//! by its length (invariant 15).

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use casedrop_sandbox::{DEMO_CASE_ID, FileStatus, Limits, Op, Scan};

use crate::common::{Stage, text, wait};

const OTHER_CASE: &str = "0b0b0b0b-0000-4000-8000-00000000000b";

/// A stage at five calls a second for each operation, with a second mirror `second` on a case of its own.
fn stage() -> (Stage, PathBuf) {
    let mut stage = Stage::with(|settings| {
        settings.limits = Limits { files_per_case: 1000, related_items_per_case: 2000, ..Limits::default() };
    });
    stage.sandbox.accept_any_case(true);
    stage.limits = "requests_per_second = 5\nburst = 1\n".to_owned();
    let second = stage.dir.path().join("second");
    fs::create_dir(&second).unwrap();
    let more = format!("[[mirror]]\nname = \"second\"\npath = {second:?}\ncase = \"{OTHER_CASE}\"\n{}", stage.mirror);
    stage.mirror.push_str(&more);
    (stage, second)
}

fn visible_on(stage: &Stage, case: &str) -> usize {
    stage.ours().iter().filter(|file| file.status == FileStatus::Approved && file.case_id == case).count()
}

/// Starts for other cases than these, from the request with this number on until each of these had one: what went
/// before it, whenever this process comes to look.
fn starts_before(stage: &Stage, from: usize, cases: &[&str], each: usize) -> usize {
    let (mut others, mut left) = (0, vec![each; cases.len()]);
    for request in stage.sandbox.requests().into_iter().skip(from) {
        if request.op != Op::StartAttachedFileUpload || left.iter().all(|left| *left == 0) {
            continue;
        }
        let case = request.case_id.unwrap_or_default();
        match cases.iter().position(|wanted| *wanted == case) {
            Some(at) => left[at] = left[at].saturating_sub(1),
            None => others += 1,
        }
    }
    assert!(left.iter().all(|left| *left == 0), "{left:?} to come");
    others
}

fn wait_on(stage: &Stage, case: &str, files: usize) {
    wait(
        &format!("{files} files are visible on {case}"),
        || visible_on(stage, case) >= files,
        || format!("{:#}\n{:#?}", stage.status(), stage.ours()),
    );
}

#[test]
fn invariant_15_a_flood_in_one_mirror_does_not_starve_another() {
    let (stage, second) = stage();
    for n in 0..300 {
        stage.write(&format!("{n:03}.txt"), format!("flood {n}"));
    }
    let daemon = stage.daemon();
    wait_on(&stage, DEMO_CASE_ID, 2);
    let settling = || stage.status()["mirrors"][0]["counts"]["settling"] == 0;
    wait("the flood is in the queue", || stage.list().len() == 300 && settling(), || daemon.log());
    let before = stage.sandbox.requests().len();
    for n in 0..3 {
        fs::write(second.join(format!("late{n}.txt")), format!("late {n}")).unwrap();
    }
    wait_on(&stage, OTHER_CASE, 3);
    // Quiet time, look and the calls in flight take a few seconds at five starts a second; the flood takes a minute.
    let between = starts_before(&stage, before, &[OTHER_CASE], 3);
    assert!(between < 150, "{between} starts of the flood went before three files of the other mirror");
    daemon.kill();
}

#[test]
fn invariant_15_a_flood_on_one_case_does_not_starve_another_of_the_same_mirror() {
    let (mut stage, _) = stage();
    stage.case = "case_from = '^(?<case_id>[^/]+)/'".to_owned();
    // Above and below the flood's case in any order that the queue may have.
    let cases: Vec<String> = (0..8).map(|n| format!("0b0b0b0b-0000-4000-8000-0000000000{n:02}")).collect();
    for n in 0..300 {
        stage.write(&format!("{DEMO_CASE_ID}/{n:03}.txt"), format!("flood {n}"));
    }
    let daemon = stage.daemon();
    wait_on(&stage, DEMO_CASE_ID, 2);
    let before = stage.sandbox.requests().len();
    for case in &cases {
        stage.write(&format!("{case}/letter.txt"), format!("for {case}"));
    }
    for case in &cases {
        wait_on(&stage, case, 1);
    }
    let names: Vec<&str> = cases.iter().map(String::as_str).collect();
    let between = starts_before(&stage, before, &names, 1);
    assert!(between < 150, "{between} starts of the flood went before those of eight other cases");
    daemon.kill();
}

#[test]
fn invariant_15_a_flood_of_deletes_does_not_starve_another_mirror_s() {
    let (mut stage, second) = stage();
    stage.limits = "requests_per_second = 1000\nburst = 1000\n".to_owned();
    const FLOOD: usize = 200;
    for n in 0..FLOOD {
        stage.write(&format!("{n:03}.txt"), format!("flood {n}"));
    }
    // One that was there with them stays: an emptied folder would be held, whatever is put into it later.
    stage.write("stays.txt", "stays");
    fs::write(second.join("one.txt"), "one").unwrap();
    fs::write(second.join("two.txt"), "two").unwrap();
    stage.sync();
    stage.limits = "requests_per_second = 5\nburst = 1\n".to_owned();
    let daemon = stage.daemon();
    daemon.wait_ready();
    for n in 0..FLOOD {
        fs::remove_file(stage.path(&format!("{n:03}.txt"))).unwrap();
    }
    wait("the flood of deletes has begun", || stage.count(Op::DeleteAttachedFile) > 1, || daemon.log());
    let gone: Vec<String> =
        stage.ours().into_iter().filter(|file| file.file_name == "one.txt").map(|file| file.file_id).collect();
    fs::remove_file(second.join("one.txt")).unwrap();
    let requests = || stage.sandbox.requests().into_iter().filter(|request| request.op == Op::DeleteAttachedFile);
    let place = || requests().position(|request| gone.contains(&request.file_id.unwrap_or_default()));
    wait("the other mirror's file is deleted", || place().is_some(), || daemon.log());
    // Its grace and a pass take a few seconds at five deletes a second; the flood takes forty.
    let before = place().unwrap();
    assert!(before < FLOOD * 3 / 4, "{before} of {FLOOD} deletes went before it");
    daemon.kill();
}

#[test]
fn invariant_15_the_follow_up_asks_for_every_mirror_in_turn() {
    let (mut stage, second) = stage();
    stage.case = "case_from = '^(?<case_id>[^/]+)/'".to_owned();
    stage.limits = "requests_per_second = 1000\nburst = 1000\n".to_owned();
    stage.sandbox.set_scan(Scan::after(Duration::from_secs(3600)));
    for n in 0..80 {
        stage.write(&format!("0b0b0b0b-0000-4000-8000-0000000001{n:02}/a.txt"), format!("flood {n}"));
    }
    let daemon = stage.daemon();
    wait(
        "the flood is being scanned",
        || stage.status()["mirrors"][0]["counts"]["scanning"] == 80,
        || format!("{:#}", stage.status()),
    );
    daemon.kill();
    // From now on eighty cases would take sixteen seconds to be asked for.
    stage.limits = "requests_per_second = 5\nburst = 1\n".to_owned();
    let daemon = stage.daemon();
    daemon.wait_ready();
    stage.sandbox.set_scan(Scan::after(Duration::ZERO));
    fs::write(second.join("late.txt"), "late").unwrap();
    wait(
        "the other mirror's file is known to be attached",
        || stage.status()["mirrors"][1]["counts"]["attached"] == 1,
        || format!("{:#}\n{}", stage.status(), daemon.log()),
    );
    // From the complete call to the question about it.
    let requests = stage.sandbox.requests();
    let of = |op: Op| requests.iter().position(|r| r.op == op && r.case_id.as_deref() == Some(OTHER_CASE)).unwrap();
    let between = &requests[of(Op::CompleteAttachedFileUpload)..of(Op::BatchGetAttachedFileMetadata)];
    let asked = between.iter().filter(|request| request.op == Op::BatchGetAttachedFileMetadata).count();
    assert!(asked < 50, "{asked} status calls until the other mirror had its turn");
    daemon.kill();
}

#[test]
fn invariant_15_a_missing_root_and_parked_files_do_not_delay_another_mirror() {
    let (mut stage, second) = stage();
    stage.limits = "requests_per_second = 2\nburst = 1\n".to_owned();
    for n in 0..100 {
        stage.write(&format!("{n:03}.exe"), format!("refused {n}"));
    }
    fs::write(second.join("first.txt"), "first").unwrap();
    let daemon = stage.daemon();
    wait_on(&stage, OTHER_CASE, 1);
    wait("files of the first mirror are parked", || stage.verdict("000.exe").starts_with("parked"), || daemon.log());
    // Now with a queue that cannot be worked on, because its folder is gone.
    for n in 0..200 {
        stage.write(&format!("more{n:03}.txt"), format!("more {n}"));
    }
    wait("the queue is long", || stage.status()["mirrors"][0]["counts"]["queued"].as_u64() > Some(50), || daemon.log());
    fs::rename(&stage.drop, stage.dir.path().join("away")).unwrap();
    stage.wait_hold("root-missing");
    let starts = stage.count(Op::StartAttachedFileUpload);
    fs::write(second.join("second.txt"), "second").unwrap();
    wait_on(&stage, OTHER_CASE, 2);
    let between = stage.count(Op::StartAttachedFileUpload) - starts;
    assert!(between < 40, "{between} starts although only one file could go");
    assert!(daemon.stop().success());
}

#[test]
fn invariant_15_a_root_that_turned_into_something_else_stops_its_mirror_only_at_a_start_too() {
    let (stage, second) = stage();
    stage.write("known.txt", "known");
    fs::write(second.join("first.txt"), "first").unwrap();
    stage.sync();
    let (away, before) = (stage.dir.path().join("away"), stage.count(Op::DeleteAttachedFile));
    fs::rename(&stage.drop, &away).unwrap();
    for (n, kind) in ["file", "link", "link to the other root"].into_iter().enumerate() {
        match kind {
            "file" => fs::write(&stage.drop, "no folder").unwrap(),
            "link" => std::os::unix::fs::symlink(&away, &stage.drop).unwrap(),
            _ => std::os::unix::fs::symlink(&second, &stage.drop).unwrap(),
        }
        let daemon = stage.daemon();
        stage.wait_hold("root-replaced");
        fs::write(second.join(format!("more{n}.txt")), format!("more {n}")).unwrap();
        wait_on(&stage, OTHER_CASE, 2 + n);
        assert_eq!((stage.hold().as_str(), visible_on(&stage, DEMO_CASE_ID)), ("root-replaced", 1), "{kind}");
        assert!(daemon.stop().success());
        let output = stage.run(&["sync"]);
        assert_eq!(output.status.code(), Some(78), "{kind}: {}", text(&output));
        assert!(text(&output).contains("held: root-replaced"), "{kind}: {}", text(&output));
        let plan = stage.run(&["plan"]);
        assert!(text(&plan).contains("nothing is uploaded or deleted"), "{kind}: {}", text(&plan));
        fs::remove_file(&stage.drop).unwrap();
    }
    assert_eq!(stage.count(Op::DeleteAttachedFile), before);
    fs::rename(&away, &stage.drop).unwrap();
    stage.write("new.txt", "new");
    stage.sync();
    assert_eq!((stage.hold().as_str(), visible_on(&stage, DEMO_CASE_ID)), ("", 2));
}
