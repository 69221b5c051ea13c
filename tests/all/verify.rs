//! Journal, folder and Connect compared with the real binary: whatever somebody did behind casedrop's back is found,
//! named and left alone, and repaired only when asked.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::common::{Daemon, Stage, sha256, text, wait};
use casedrop_sandbox::{DEMO_CASE_ID, Fault, FaultKind, FileStatus, Op, SeededFile, Switches};

/// `casedrop verify`, its exit code and what it printed.
fn verify(stage: &Stage, args: &[&str], code: i32) -> String {
    let output = stage.finish(stage.command().arg("verify").args(args));
    let shown = text(&output);
    assert_eq!(output.status.code(), Some(code), "{shown}");
    shown
}

fn verify_json(stage: &Stage, args: &[&str]) -> Value {
    let output = stage.finish(stage.command().args(["verify", "--json"]).args(args));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)))
}

/// Path to class.
fn classes(report: &Value) -> BTreeMap<String, String> {
    let pair = |d: &Value| (d["path"].as_str().unwrap_or("-").to_owned(), d["class"].as_str().unwrap().to_owned());
    report["differences"].as_array().unwrap().iter().map(pair).collect()
}

fn expect(report: &Value, wanted: &[(&str, &str)]) {
    let wanted: BTreeMap<String, String> = wanted.iter().map(|(p, c)| ((*p).to_owned(), (*c).to_owned())).collect();
    assert_eq!(classes(report), wanted, "{report:#}");
}

fn seed(path: &str, content: &[u8], status: FileStatus, age: u64) -> SeededFile {
    let tags =
        [("mirror", "drop"), ("path", path), ("sha256", &sha256(content)), ("attempt", &format!("{path} {age}"))]
            .map(|(key, value)| (format!("casedrop:{key}"), value.to_owned()));
    SeededFile {
        case_id: DEMO_CASE_ID.to_owned(),
        file_name: path.to_owned(),
        content: content.to_vec(),
        tags: tags.into(),
        status,
        age: Duration::from_secs(age),
    }
}

fn id_of(stage: &Stage, name: &str) -> String {
    stage.ours().into_iter().find(|file| file.file_name == name).map(|file| file.file_id).unwrap()
}

/// Files that were attached long enough ago for Connect's answers to count: their times are moved back in the journal.
fn attached(switches: Switches) -> Stage {
    let stage = Stage::with(|settings| settings.switches = switches);
    for n in 0..6 {
        stage.write(&format!("{n}.txt"), format!("content {n}"));
    }
    stage.sync();
    age(&stage);
    stage
}

/// Makes the journal believe that everything in it was started two minutes earlier.
pub fn age(stage: &Stage) {
    let conn = rusqlite::Connection::open(stage.journal()).unwrap();
    conn.execute_batch(
        "UPDATE attachment SET created_at = created_at - 120000, started_at = started_at - 120000,
             deleted_at = deleted_at - 120000",
    )
    .unwrap();
}

/// Carries out what was announced.
fn carry_out(stage: &Stage) {
    let output = stage.run(&["sync"]);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", text(&output));
}

#[test]
fn a_settled_mirror_agrees_and_nothing_is_called_but_questions() {
    let stage = attached(Switches::DEFAULT);
    stage.sandbox.seed_foreign_file(DEMO_CASE_ID, "of an agent.pdf", b"not ours").unwrap();
    let (ledger, changes) = (stage.sandbox.ledger(), stage.changes().len());
    let shown = verify(&stage, &[], 0);
    assert!(shown.contains("6 files on 1 case compared: all agree"), "{shown}");
    assert!(verify(&stage, &["--deep"], 0).contains("contents included: all agree"));
    assert_eq!(stage.sandbox.ledger(), ledger);
    let downloads = stage.count(Op::GetAttachedFile);
    assert_eq!((stage.changes().len() - changes, downloads), (12, 6), "a Get and a download for each file, when deep");
    let status = stage.status();
    let compared = &status["mirrors"][0]["verification"];
    assert_eq!((&compared["running"], &compared["files"]), (&false.into(), &6.into()), "{status:#}");
    assert!(text(&stage.run(&["status"])).contains("all agree"));
}

#[test]
fn what_somebody_deleted_is_found_under_every_answer_and_repaired_once() {
    for (name, switches) in Switches::ALL {
        if !["default", "unknown-ids", "get-unapproved", "delete-twice", "related-items-delay"]
            .iter()
            .any(|word| name.starts_with(word))
        {
            continue;
        }
        println!("switch: {name}");
        let stage = attached(switches);
        stage.sandbox.lose_file(&id_of(&stage, "1.txt"));
        let report = verify_json(&stage, &[]);
        expect(&report, &[("1.txt", "missing")]);
        assert_eq!(stage.verdict("1.txt"), "parked(missing-remotely)");
        // Found again, it is no news; and neither a pass nor a touch repairs it unasked.
        let events = || text(&stage.run(&["log", "--json"])).matches("\"differs\"").count();
        let before = events();
        expect(&verify_json(&stage, &[]), &[("1.txt", "missing")]);
        assert_eq!(events(), before);
        let later = FileTimes::new().set_modified(SystemTime::now());
        File::options().write(true).open(stage.path("1.txt")).unwrap().set_times(later).unwrap();
        carry_out(&stage);
        assert_eq!(stage.verdict("1.txt"), "parked(missing-remotely)");
        assert_eq!(stage.ours().len(), 5, "{name}");

        let shown = verify(&stage, &["--fix", "missing"], 0);
        assert!(shown.contains("1 of 1 under way"), "{shown}");
        carry_out(&stage);
        stage.assert_equal();
        age(&stage);
        expect(&verify_json(&stage, &[]), &[]);
        assert_eq!(stage.verdict("1.txt"), "attached");
    }
}

#[test]
fn a_young_attachment_or_a_single_odd_answer_proves_nothing() {
    let stage = Stage::new();
    stage.write("a.txt", "content");
    stage.sync();
    stage.sandbox.lose_file(&id_of(&stage, "a.txt"));
    let report = verify_json(&stage, &[]);
    expect(&report, &[]);
    assert_eq!(report["undecided"], 1);
    let shown = verify(&stage, &[], 75);
    assert!(shown.contains("none is known to differ") && !shown.contains("all agree"), "{shown}");
    let shown = text(&stage.run(&["status"]));
    assert!(shown.contains("1 without a certain answer") && !shown.contains("all agree"), "{shown}");
    assert_eq!(stage.verdict("a.txt"), "attached");

    let stage = attached(Switches::DEFAULT);
    // Each question fails or lies once; none of it is taken for an absence.
    for op in [Op::SearchRelatedItems, Op::BatchGetAttachedFileMetadata] {
        for kind in [FaultKind::LostReply, FaultKind::Throttle { retry_after: None }] {
            stage.sandbox.set_faults(vec![Fault::nth(op, 1, kind)]);
            expect(&verify_json(&stage, &[]), &[]);
        }
    }
    // Credentials that may not ask are no absence either.
    stage.sandbox.set_faults(Vec::new());
    assert!(stage.list().iter().all(|line| line["verdict"] == "attached"));
}

#[test]
fn what_comes_back_is_attached_again_by_itself() {
    let stage = attached(Switches::DEFAULT);
    let id = id_of(&stage, "2.txt");
    stage.sandbox.set_file_status(&id, FileStatus::Rejected);
    let report = verify_json(&stage, &[]);
    expect(&report, &[("2.txt", "flipped")]);
    assert_eq!(stage.verdict("2.txt"), "parked(rejected)");
    let why = text(&stage.run(&["why", "2.txt"]));
    assert!(why.contains("differs   flipped: it was approved, and Connect says REJECTED now"), "{why}");
    stage.sandbox.set_file_status(&id, FileStatus::Approved);
    expect(&verify_json(&stage, &[]), &[]);
    assert_eq!(stage.verdict("2.txt"), "attached");
    stage.sandbox.set_file_status(&id, FileStatus::Failed);
    verify(&stage, &["--fix", "flipped"], 0);
    carry_out(&stage);
    stage.assert_equal();
}

#[test]
fn altered_content_is_found_by_size_or_by_download() {
    let stage = attached(Switches::DEFAULT);
    stage.sandbox.set_file_content(&id_of(&stage, "1.txt"), b"longer than before").unwrap();
    stage.sandbox.set_file_content(&id_of(&stage, "2.txt"), b"c0ntent 2").unwrap();
    expect(&verify_json(&stage, &[]), &[("1.txt", "altered")]);
    expect(&verify_json(&stage, &["--deep"]), &[("1.txt", "altered"), ("2.txt", "altered")]);
    assert_eq!(stage.verdict("2.txt"), "parked(altered-remotely)");
    // What only a download found is not unfound without one.
    expect(&verify_json(&stage, &[]), &[("1.txt", "altered"), ("2.txt", "altered")]);
    verify(&stage, &["--deep", "--fix", "altered"], 0);
    carry_out(&stage);
    stage.assert_equal();
    assert_eq!(stage.sandbox.deleted().len(), 2, "the altered ones, once the new ones were visible");
    expect(&verify_json(&stage, &["--deep"]), &[]);
}

#[test]
fn local_content_that_changed_unnoticed_is_found() {
    let stage = attached(Switches::DEFAULT);
    let path = stage.path("3.txt");
    let times = fs::metadata(&path).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    std::io::Write::write_all(&mut &file, b"C").unwrap();
    file.set_times(FileTimes::new().set_modified(times.modified().unwrap())).unwrap();
    drop(file);
    // The inode's own time would give it away; not every file system keeps one.
    let now = fs::metadata(&path).unwrap();
    let ctime = now.ctime() * 1_000_000_000 + now.ctime_nsec();
    let journal = rusqlite::Connection::open(stage.journal()).unwrap();
    assert_eq!(journal.execute("UPDATE file SET ctime_ns = ?1 WHERE path = x'332e747874'", [ctime]).unwrap(), 1);
    drop(journal);
    stage.sync();
    expect(&verify_json(&stage, &[]), &[("3.txt", "changed")]);
    verify(&stage, &["--fix", "changed"], 0);
    carry_out(&stage);
    stage.assert_equal();
}

#[test]
fn what_carries_our_tags_and_no_row_is_deleted_only_when_counted() {
    let stage = attached(Switches::DEFAULT);
    let sandbox = &stage.sandbox;
    sandbox.seed_file(&seed("gone.txt", b"gone", FileStatus::Approved, 600)).unwrap();
    sandbox.seed_file(&seed("half.txt", b"half", FileStatus::Processing, 3_000)).unwrap();
    sandbox.seed_file(&seed("0.txt", b"content 0", FileStatus::Approved, 700)).unwrap();
    // Not provably ours, of another mirror, an agent's, or too young: never touched.
    let mut other = seed("other.txt", b"another's", FileStatus::Approved, 600);
    other.tags.insert("casedrop:mirror".into(), "another".into());
    sandbox.seed_file(&other).unwrap();
    let mut odd = seed("odd.txt", b"odd", FileStatus::Approved, 600);
    odd.tags.remove("casedrop:sha256");
    sandbox.seed_file(&odd).unwrap();
    sandbox.seed_foreign_file(DEMO_CASE_ID, "agent.txt", b"an agent's").unwrap();
    sandbox.seed_file(&seed("young.txt", b"young", FileStatus::Processing, 600)).unwrap();
    let before = sandbox.ledger().len();

    let report = verify_json(&stage, &[]);
    expect(&report, &[("gone.txt", "orphan"), ("half.txt", "unfinished"), ("0.txt", "orphan")]);
    let shown = verify(&stage, &["--fix", "orphan"], 78);
    assert!(shown.contains("--count 2"), "{shown}");
    verify(&stage, &["--fix", "orphan", "--count", "3"], 78);
    carry_out(&stage);
    assert_eq!(sandbox.ledger().len(), before, "nothing was repaired");
    verify(&stage, &["--fix", "orphan", "--fix", "unfinished", "--count", "3"], 0);
    carry_out(&stage);
    let mut gone: Vec<String> = sandbox.deleted().into_iter().map(|file| file.file_name).collect();
    gone.sort();
    assert_eq!(gone, ["0.txt", "gone.txt", "half.txt"]);
    assert_eq!(sandbox.ledger().len(), before - 3);
    let log = text(&stage.run(&["log", "--json"]));
    assert!(log.contains("no row of the journal has its FileId"), "{log}");
    assert!(stage.list().iter().all(|line| line["verdict"] == "attached"));
    age(&stage);
    expect(&verify_json(&stage, &[]), &[]);
}

#[test]
fn an_older_copy_of_the_journal_takes_over_what_it_does_not_know() {
    let mut stage = attached(Switches::DEFAULT);
    let copy = fs::read(stage.journal()).unwrap();
    stage.write("new.txt", "made after the copy");
    stage.sync();
    let known = stage.ours().into_iter().find(|file| file.file_name == "new.txt").unwrap();
    fs::write(stage.journal(), copy).unwrap();
    // The daemon on the copy sees the file and has not sent it yet.
    let quick = stage.mirror.clone();
    stage.mirror = quick.replace("settle = \"200ms\"", "settle = \"1h\"");
    let daemon = stage.daemon();
    daemon.wait_ready();
    stage.wait_verdict("new.txt", "settling");
    // Made within the listing grace: it could be the answer to a start call of now.
    stage.sandbox.lose_file(&known.file_id);
    let mut young = seed("new.txt", b"made after the copy", FileStatus::Approved, 0);
    young.tags.clone_from(&known.tags);
    let young = stage.sandbox.seed_file(&young).unwrap();
    expect(&verify_json(&stage, &[]), &[]);
    stage.sandbox.lose_file(&young);
    let mut older = seed("new.txt", b"made after the copy", FileStatus::Approved, 300);
    older.tags.clone_from(&known.tags);
    stage.sandbox.seed_file(&older).unwrap();
    expect(&verify_json(&stage, &[]), &[("new.txt", "adoptable")]);
    assert!(daemon.stop().success());
    stage.mirror = quick;
    let changes = stage.changes().len();
    verify(&stage, &["--fix", "adoptable"], 0);
    stage.run(&["sync"]);
    assert_eq!(stage.verdict("new.txt"), "attached");
    assert_eq!(stage.changes().len(), changes, "taken over without a call");
}

#[test]
fn surplus_and_unseen_ones_of_an_adoption_are_let_go_by_hand() {
    let stage = attached(Switches::DEFAULT);
    stage.sandbox.seed_file(&seed("0.txt", b"before", FileStatus::Approved, 9_000)).unwrap();
    fs::remove_file(stage.path("1.txt")).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{suffix}", stage.journal().display()));
    }
    stage.finish(stage.command().args(["adopt", "--yes"]));
    expect(&verify_json(&stage, &[]), &[("0.txt", "surplus"), ("1.txt", "unseen")]);
    verify(&stage, &["--fix", "surplus", "--fix", "unseen", "--count", "2"], 0);
    let daemon = stage.daemon();
    daemon.wait_ready();
    stage.wait_equal();
    wait("both are deleted", || stage.sandbox.deleted().len() == 2, || daemon.log());
    assert!(daemon.stop().success());
}

#[test]
fn the_daemon_does_it_when_one_runs() {
    let stage = attached(Switches::DEFAULT);
    let daemon = stage.daemon();
    daemon.wait_ready();
    stage.sandbox.lose_file(&id_of(&stage, "1.txt"));
    let report = verify_json(&stage, &[]);
    expect(&report, &[("1.txt", "missing")]);
    verify(&stage, &["--fix", "missing"], 0);
    stage.wait_attached();
    assert!(daemon.stop().success());
    // A file that is gone in the folder is no difference: the ordinary rules take care of it.
    fs::remove_file(stage.path("2.txt")).unwrap();
    expect(&verify_json(&stage, &[]), &[]);
}

#[test]
fn it_comes_by_itself_reports_and_repairs_nothing() {
    let mut stage = attached(Switches::DEFAULT);
    stage.mirror.push_str("verify = \"1s\"\n");
    let missing = id_of(&stage, "1.txt");
    let daemon: Daemon = stage.daemon();
    daemon.wait_ready();
    wait("one comparison has ended", || compared(&stage), || format!("{:#}", stage.status()));
    stage.sandbox.lose_file(&missing);
    stage.sandbox.seed_file(&seed("gone.txt", b"gone", FileStatus::Approved, 600)).unwrap();
    stage.wait_verdict("1.txt", "parked(missing-remotely)");
    wait(
        "the orphan is counted",
        || stage.status()["mirrors"][0]["verification"]["differences"]["orphan"] == 1,
        || format!("{:#}", stage.status()),
    );
    assert!(text(&stage.run(&["status"])).contains("1 missing, 1 orphan: see `casedrop verify`"));
    wait("it is said", || daemon.log().contains("differs from Connect"), || daemon.log());
    assert_eq!((stage.ours().len(), stage.sandbox.deleted().len()), (6, 1), "reported, not repaired");
    // The time of the last one survives a restart.
    assert!(daemon.stop().success());
    assert!(compared(&stage));
    stage.mirror = stage.mirror.replace("verify = \"1s\"", "verify = \"off\"");
    let asked = stage.count(Op::SearchRelatedItems);
    let daemon = stage.daemon();
    daemon.wait_ready();
    stage.marker("marker.txt");
    assert_eq!(stage.count(Op::SearchRelatedItems), asked, "off");
    assert!(daemon.stop().success());
}

fn compared(stage: &Stage) -> bool {
    stage.status()["mirrors"][0]["verification"]["ended_at"].is_string()
}

#[test]
fn killed_half_way_it_goes_on_with_the_next_case() {
    let mut stage = Stage::new();
    stage.case = "case_from = '^(?<case_id>[^/]+)/'".to_owned();
    stage.sandbox.accept_any_case(true);
    for n in 0..8 {
        stage.write(&format!("5ba5ed00-0000-4000-8000-{n:012}/a.txt"), format!("content {n}"));
    }
    stage.sync();
    age(&stage);
    stage.sandbox.clear_requests();
    stage.sandbox.set_faults(vec![Fault::nth(Op::SearchRelatedItems, 6, FaultKind::HangForever)]);
    let mut child = stage.command().args(["verify"]).spawn().unwrap();
    wait("verify hangs", || stage.sandbox.faults_applied() > 0, String::new);
    child.kill().unwrap();
    child.wait().unwrap();
    stage.sandbox.set_faults(Vec::new());
    let report = verify_json(&stage, &[]);
    assert_eq!(report["files"], 8, "{report:#}");
    assert_eq!(stage.count(Op::SearchRelatedItems), 9, "each case once, the cut-off one twice");
}

#[test]
fn without_a_journal_or_after_a_loss_there_is_nothing_to_compare() {
    let stage = Stage::new();
    verify(&stage, &[], 78);
    stage.write("a.txt", "content");
    stage.sync();
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{suffix}", stage.journal().display()));
    }
    stage.run(&["sync"]);
    let shown = verify(&stage, &["--fix", "orphan", "--count", "1"], 78);
    assert!(shown.contains("journal-rebuilt") && shown.contains("casedrop adopt"), "{shown}");
    assert_eq!(stage.sandbox.deleted(), []);
}
