//! A journal that was lost with every trace of it: it looks like a first run, and only Connect knows better (L30).

use std::fs;
use std::time::Duration;

use casedrop_sandbox::{DEMO_CASE_ID, Fault, FaultKind, FileStatus, NewCase, Op, SeededFile};

use crate::common::{Stage, sha256, text};

/// Removes the folder of the journal with all that is in it.
fn lose_every_trace(stage: &Stage) {
    fs::remove_dir_all(stage.journal().parent().unwrap()).unwrap();
}

fn attached() -> Stage {
    let mut stage = Stage::new();
    stage.mirror.push_str("rescan = \"1s\"\n");
    for n in 0..3 {
        stage.write(&format!("{n}.txt"), format!("content {n}"));
    }
    stage.sync();
    stage
}

#[test]
fn invariant_19_what_was_attached_before_a_journal_without_traces_is_not_attached_again() {
    let stage = attached();
    let (before, changes) = (stage.sandbox.ledger(), stage.changes().len());
    lose_every_trace(&stage);
    let output = stage.run(&["sync"]);
    assert_eq!(output.status.code(), Some(78), "{}", text(&output));
    let shown = text(&output);
    assert!(shown.contains("has 3 attachments with this mirror's tags") && shown.contains("casedrop adopt"), "{shown}");
    assert_eq!((stage.hold().as_str(), stage.changes().len()), ("journal-rebuilt", changes));

    // The next start knows it from the journal.
    let daemon = stage.daemon();
    daemon.wait_ready();
    stage.wait_passes();
    assert!(daemon.stop().success());
    assert_eq!((stage.hold().as_str(), stage.changes().len()), ("journal-rebuilt", changes));

    let output = stage.run(&["adopt", "--yes"]);
    assert!(output.status.success(), "{}", text(&output));
    stage.sync();
    assert_eq!((stage.hold().as_str(), stage.changes().len()), ("", changes));
    assert_eq!(stage.sandbox.ledger(), before);

    // All is known from now on, and no case is asked again.
    let asked = stage.count(Op::SearchRelatedItems);
    stage.write("new.txt", "new");
    stage.sync();
    assert_eq!((stage.verdict("new.txt").as_str(), stage.count(Op::SearchRelatedItems)), ("attached", asked));
}

#[test]
fn a_person_can_have_all_of_it_attached_anew() {
    let stage = attached();
    lose_every_trace(&stage);
    assert_eq!(stage.run(&["sync"]).status.code(), Some(78));
    let output = stage.run(&["release", "drop", "--count", "0"]);
    assert!(output.status.success(), "{}", text(&output));
    stage.sync();
    assert_eq!((stage.hold().as_str(), stage.sandbox.ledger().len()), ("", 6));
}

/// An attachment with the tags of a mirror.
fn seed(mirror: &str, status: FileStatus) -> SeededFile {
    let tags = [("mirror", mirror), ("path", "a.txt"), ("sha256", &sha256(b"x")), ("attempt", "t")];
    SeededFile {
        case_id: DEMO_CASE_ID.to_owned(),
        file_name: "seeded.txt".to_owned(),
        content: b"x".to_vec(),
        tags: tags.map(|(key, value)| (format!("casedrop:{key}"), value.to_owned())).into(),
        status,
        age: Duration::from_secs(3_600),
    }
}

#[test]
fn what_was_refused_is_not_sent_again_either() {
    let stage = Stage::new();
    stage.sandbox.seed_file(&seed("drop", FileStatus::Rejected)).unwrap();
    stage.write("a.txt", "x");
    assert_eq!(stage.run(&["sync"]).status.code(), Some(78));
    assert_eq!((stage.hold().as_str(), stage.changes().len()), ("journal-rebuilt", 0));
    assert!(stage.run(&["adopt", "--yes"]).status.success());
    assert_eq!((stage.hold().as_str(), stage.verdict("a.txt").as_str()), ("", "parked(rejected)"));
}

#[test]
fn what_is_not_the_mirrors_holds_nothing_up() {
    let stage = Stage::new();
    stage.sandbox.seed_foreign_file(DEMO_CASE_ID, "a.txt", b"of an agent").unwrap();
    stage.sandbox.seed_file(&seed("other", FileStatus::Approved)).unwrap();
    stage.write("a.txt", "a");
    stage.sync();
    assert_eq!((stage.hold().as_str(), stage.verdict("a.txt").as_str()), ("", "attached"));
}

#[test]
fn each_case_is_asked_once_and_only_while_the_mirror_is_young() {
    let mut stage = Stage::new();
    stage.case = "case_from = '^(?<case_id>[^/]+)/'".to_owned();
    let ids: Vec<String> =
        (0..3).map(|n| stage.sandbox.add_case(NewCase::titled(format!("case {n}"))).case_id).collect();
    for (id, n) in ids.iter().take(2).flat_map(|id| (0..5).map(move |n| (id, n))) {
        stage.write(&format!("{id}/{n}.txt"), format!("{n} of {id}"));
    }
    stage.sync();
    assert_eq!(stage.count(Op::SearchRelatedItems), 2);
    // A pass that finds all of it attached.
    stage.sync();
    stage.write(&format!("{}/new.txt", ids[2]), "new");
    stage.sync();
    assert_eq!((stage.count(Op::SearchRelatedItems), stage.ours().len()), (2, 11));
}

#[test]
fn a_question_that_is_not_answered_sends_nothing() {
    let stage = Stage::new();
    stage.write("a.txt", "a");
    stage.sandbox.set_faults(vec![
        Fault::nth(Op::SearchRelatedItems, 1, FaultKind::Throttle { retry_after: None }),
        Fault::nth(Op::SearchRelatedItems, 2, FaultKind::LostReply),
        Fault::nth(Op::SearchRelatedItems, 3, FaultKind::AccessDenied),
    ]);
    let output = stage.run(&["sync"]);
    assert_eq!((output.status.code(), stage.changes().len()), (Some(1), 0), "{}", text(&output));
    assert_eq!(stage.verdict("a.txt"), "parked(access-denied)");
    let why = text(&stage.run(&["why", "a.txt"]));
    assert!(why.contains("SearchRelatedItems"), "{why}");
    assert!(stage.run(&["retry", "--all"]).status.success());
    stage.sync();
    assert_eq!(stage.verdict("a.txt"), "attached");
}

/// Without a hold the part that was taken over would pass for the whole: its case is known, and nobody asks it.
#[test]
fn an_adoption_that_was_cut_off_is_not_the_whole_of_it() {
    const FILES: usize = 70;
    let stage = Stage::with(|settings| settings.limits.files_per_case = 100);
    for n in 0..FILES {
        stage.write(&format!("{n:02}.txt"), format!("content {n}"));
    }
    stage.sync();
    let (before, changes) = (stage.sandbox.ledger(), stage.changes().len());
    lose_every_trace(&stage);
    // After the first 64 of them.
    let killed = stage.finish(stage.command().args(["adopt", "--yes"]).env("CASEDROP_CRASH", "adopt.taken"));
    assert!(!killed.status.success(), "{}", text(&killed));
    assert_eq!(stage.list().iter().filter(|line| line["verdict"] == "attached").count(), 64);
    assert_eq!(stage.run(&["sync"]).status.code(), Some(78));
    assert_eq!((stage.hold().as_str(), stage.changes().len()), ("journal-rebuilt", changes));
    assert!(stage.run(&["adopt", "--yes"]).status.success());
    stage.sync();
    assert_eq!((stage.sandbox.ledger(), stage.changes().len()), (before, changes));
}

#[test]
fn silence_about_a_listed_file_is_no_answer() {
    let stage = Stage::new();
    stage.write("a.txt", "a");
    stage.sync();
    let before = stage.sandbox.ledger();
    let starts = || stage.count(Op::StartAttachedFileUpload);
    lose_every_trace(&stage);
    let unknown = FaultKind::Status { code: 404, error: "ResourceNotFoundException".into(), message: "no".into() };
    let silent = |count| {
        let fault = Fault::first(Op::BatchGetAttachedFileMetadata, count, unknown.clone());
        stage.sandbox.set_faults(vec![fault]);
    };
    // An adoption stays open.
    silent(1);
    let adopted = stage.run(&["adopt", "--yes"]);
    let shown = text(&adopted);
    assert_eq!(adopted.status.code(), Some(75), "{shown}");
    assert!(shown.contains("without a certain answer what they are"), "{shown}");
    // The case is asked again, and holds by what is said then.
    silent(1);
    assert_eq!(stage.run(&["sync"]).status.code(), Some(78));
    assert!(text(&stage.run(&["status"])).contains("has 1 attachment with this mirror's tags"));
    assert_eq!((stage.hold().as_str(), starts()), ("journal-rebuilt", 1));
    assert!(stage.run(&["adopt", "--yes"]).status.success());
    stage.sync();
    assert_eq!((stage.sandbox.ledger(), starts()), (before, 1));

    // For ever: a person decides.
    lose_every_trace(&stage);
    silent(1_000);
    let output = stage.run(&["sync"]);
    assert_eq!((output.status.code(), starts()), (Some(78), 1), "{}", text(&output));
    assert!(text(&output).contains("cannot be asked for attachments from before this journal"), "{}", text(&output));
    stage.sandbox.set_faults(Vec::new());
    assert!(stage.run(&["release", "drop", "--count", "0"]).status.success());
    stage.sync();
    assert_eq!(stage.verdict("a.txt"), "attached");
}
