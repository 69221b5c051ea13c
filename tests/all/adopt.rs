//! A lost journal, rebuilt from Connect with the real binary (invariant 19): unchanged files are neither uploaded nor
//! deleted, files of others are never touched, and what cannot be told is reported and left alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::common::{Stage, sha256, text, wait};
use casedrop_sandbox::{
    DEMO_CASE_ID, Fault, FaultKind, FileStatus, LedgerFile, NewCase, Op, SeededFile, Switches, Throttle,
};

/// Removes the journal as an accident would; the lock file stays.
pub fn lose(stage: &Stage) {
    for suffix in ["", "-wal", "-shm"] {
        let path = PathBuf::from(format!("{}{suffix}", stage.journal().display()));
        let _ = fs::remove_file(path);
    }
}

fn adopt(stage: &Stage, args: &[&str], code: i32) -> String {
    let output = stage.finish(stage.command().arg("adopt").args(args));
    let shown = text(&output);
    assert_eq!(output.status.code(), Some(code), "{shown}");
    shown
}

fn adopt_json(stage: &Stage, args: &[&str]) -> Value {
    let output = stage.finish(stage.command().args(["adopt", "--json"]).args(args));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)))
}

/// The tags that casedrop would have set.
fn tags(path: &str, content: &[u8], token: &str) -> BTreeMap<String, String> {
    [("mirror", "drop"), ("path", path), ("sha256", &sha256(content)), ("attempt", token)]
        .map(|(key, value)| (format!("casedrop:{key}"), value.to_owned()))
        .into()
}

fn seed(path: &str, content: &[u8], status: FileStatus, age: u64) -> SeededFile {
    SeededFile {
        case_id: DEMO_CASE_ID.to_owned(),
        file_name: path.to_owned(),
        content: content.to_vec(),
        tags: tags(path, content, &format!("token of {path} {age}")),
        status,
        age: Duration::from_secs(age),
    }
}

/// Files of two folders that were attached, and the calls that this took.
fn attached() -> Stage {
    let stage = Stage::new();
    for n in 0..5 {
        stage.write(&format!("{n}.txt"), format!("content {n}"));
    }
    stage.write("folder/inner.pdf", "inner");
    stage.sync();
    stage
}

fn ledger(stage: &Stage) -> Vec<LedgerFile> {
    stage.sandbox.ledger()
}

#[test]
fn invariant_19_a_lost_journal_is_adopted_without_an_upload_or_a_delete() {
    let stage = attached();
    stage.sandbox.seed_foreign_file(DEMO_CASE_ID, "of an agent.pdf", b"not ours").unwrap();
    let (before, changes) = (ledger(&stage), stage.changes().len());
    lose(&stage);

    // Held until a person decides, whatever opens the new journal.
    let output = stage.run(&["sync"]);
    assert_eq!(output.status.code(), Some(78), "{}", text(&output));
    assert_eq!(stage.hold(), "journal-rebuilt");

    // Shown first; without a terminal nothing is taken.
    let shown = adopt(&stage, &[], 78);
    for words in ["1 case asked, 7 files there: 6 to take over", "1 of others", "nothing was taken over", "stays held"]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert_eq!(stage.hold(), "journal-rebuilt");
    let shown = adopt(&stage, &["--yes"], 0);
    for words in ["6  attached as they are", "6 attachments taken over", "no longer held"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert_eq!(stage.hold(), "");
    assert!(stage.list().iter().all(|line| line["verdict"] == "attached"), "{:#?}", stage.list());

    stage.sync();
    let daemon = stage.daemon();
    daemon.wait_ready();
    stage.assert_settled(daemon);
    assert_eq!((ledger(&stage), stage.changes().len()), (before, changes), "not one call changed anything");
    assert_eq!(stage.sandbox.deleted(), []);

    // The journal is as good as the old one: a change replaces, a removal deletes.
    stage.write("0.txt", "changed");
    fs::remove_file(stage.path("1.txt")).unwrap();
    let daemon = stage.daemon();
    daemon.wait_ready();
    stage.wait_equal();
    assert!(daemon.stop().success());
    assert!(ledger(&stage).iter().any(|file| file.foreign), "the agent's file is untouched");
}

/// Seed 150395 of the simulation: no look of a daemon had made the folder known before it was another one.
#[test]
fn an_adoption_knows_the_folder_whose_files_it_compared() {
    let stage = attached();
    let (before, changes) = (ledger(&stage), stage.changes().len());
    let aside = stage.dir.path().join("aside");
    let unmount = || {
        fs::rename(&stage.drop, &aside).unwrap();
        fs::create_dir(&stage.drop).unwrap();
    };
    let mount = || {
        fs::remove_dir(&stage.drop).unwrap();
        fs::rename(&aside, &stage.drop).unwrap();
    };
    // Nobody has looked since the loss; or somebody has, and found the empty mount point.
    for looked in [false, true] {
        lose(&stage);
        if looked {
            unmount();
            assert_eq!(stage.run(&["sync"]).status.code(), Some(78));
            mount();
        }
        adopt(&stage, &["--yes"], 0);
        unmount();
        let output = stage.run(&["sync"]);
        assert_eq!(output.status.code(), Some(78), "{}", text(&output));
        assert_eq!(stage.hold(), "root-replaced", "an empty mount point is not the mirror's folder");
        let shown = adopt(&stage, &["--yes"], 78);
        assert!(shown.contains("another folder or disk stands at its path; nothing was adopted"), "{shown}");
        mount();
        stage.sync();
        assert_eq!((ledger(&stage), stage.changes().len()), (before.clone(), changes), "no call changed anything");
    }

    // An adoption that found none of the files says nothing of where they are.
    lose(&stage);
    unmount();
    adopt(&stage, &["--yes"], 0);
    let fixed = stage.run(&["verify", "--fix", "unseen", "--count", "6"]);
    assert_eq!(fixed.status.code(), Some(75), "nobody has looked where they would be: {}", text(&fixed));
    assert!(!text(&fixed).contains("under way"), "{}", text(&fixed));
    mount();
    stage.sync();
    assert_eq!((stage.hold().as_str(), stage.changes().len()), ("", changes), "the disk came late, and is welcome");
}

#[test]
fn what_a_daemon_saw_in_another_folder_is_unseen_and_not_removed() {
    let mut stage = attached();
    stage.mirror.push_str("rescan = \"1s\"\n");
    let changes = stage.changes().len();
    let aside = stage.dir.path().join("aside");
    fs::rename(&stage.drop, &aside).unwrap();
    stage.write("0.txt", "of a wrong disk");
    lose(&stage);
    assert_eq!(stage.run(&["sync"]).status.code(), Some(78));
    assert!(!stage.list().is_empty(), "it was seen");
    fs::remove_dir_all(&stage.drop).unwrap();
    fs::remove_file(aside.join("0.txt")).unwrap();
    fs::rename(&aside, &stage.drop).unwrap();
    let shown = adopt(&stage, &["--yes"], 0);
    assert!(shown.contains("5  attached as they are") && shown.contains("parked as `unseen`"), "{shown}");
    let daemon = stage.daemon();
    daemon.wait_ready();
    stage.wait_passes();
    stage.wait_passes();
    assert_eq!((stage.verdict("0.txt").as_str(), stage.changes().len()), ("parked(unseen)", changes));
    assert!(daemon.stop().success());
}

#[test]
fn invariant_8_what_an_open_attempt_left_is_its_own_and_not_adopted() {
    let stage = Stage::new();
    stage.write("a.txt", "sent once");
    let died = stage.finish(stage.command().arg("sync").env("CASEDROP_CRASH", "start.answered"));
    assert!(!died.status.success(), "{}", text(&died));
    assert_eq!(ledger(&stage).len(), 1);

    let shown = adopt(&stage, &["--yes"], 0);
    assert!(shown.contains("1 known"), "{shown}");
    stage.sync();
    let files: Vec<LedgerFile> = ledger(&stage).into_iter().filter(|file| file.completed).collect();
    assert_eq!(files.len(), 1, "{files:#?}");
    assert_eq!(stage.list()[0]["verdict"], "attached");
}

#[test]
fn what_this_journal_saw_and_is_removed_since_goes_like_any_other() {
    let stage = attached();
    lose(&stage);
    assert_eq!(stage.run(&["sync"]).status.code(), Some(78), "looked at, under the hold");
    fs::remove_file(stage.path("1.txt")).unwrap();

    let shown = adopt(&stage, &["--yes"], 0);
    for words in
        ["1  removed here since the loss; deleted at Connect after the grace", "1.txt", "5  attached as they are"]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let daemon = stage.daemon();
    daemon.wait_ready();
    stage.wait_equal();
    assert!(daemon.stop().success());
    assert_eq!(stage.sandbox.deleted().len(), 1);
}

#[test]
fn a_mirror_that_cannot_be_listed_keeps_no_other_from_its_adoption() {
    let mut stage = Stage::new();
    let second = stage.dir.path().join("second");
    fs::create_dir(&second).unwrap();
    let more = format!("[[mirror]]\nname = \"second\"\npath = {second:?}\n{}\n{}", stage.case, stage.mirror);
    stage.mirror.push_str(&more);
    stage.write("first.txt", "in the first");
    fs::write(second.join("second.txt"), "in the second").unwrap();
    stage.sync();
    lose(&stage);
    fs::rename(&stage.drop, stage.dir.path().join("away")).unwrap();

    let shown = adopt(&stage, &["--yes"], 78);
    for words in ["mirror drop: ", "nothing was adopted", "mirror second: 1 attachment taken over"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let held = |name: &str| {
        let mirrors = stage.status()["mirrors"].as_array().unwrap().clone();
        let mirror = mirrors.into_iter().find(|mirror| mirror["name"] == name).unwrap();
        !mirror["hold"].is_null()
    };
    assert!(held("drop") && !held("second"), "{shown}");
}

#[test]
fn no_command_makes_a_loss_look_like_a_first_run() {
    let stage = attached();
    let changes = stage.changes().len();
    lose(&stage);
    // These open the journal for writing, and so begin a new one.
    stage.run(&["retry", "--all"]);
    stage.run(&["release", "drop", "--count", "0"]);
    let output = stage.run(&["sync"]);
    assert_eq!(output.status.code(), Some(78), "{}", text(&output));
    assert_eq!((stage.hold().as_str(), stage.changes().len()), ("journal-rebuilt", changes));
}

#[test]
fn what_changed_meanwhile_is_told_apart() {
    let mut stage = attached();
    stage.mirror.push_str("rescan = \"1s\"\n");
    lose(&stage);
    stage.write("0.txt", "changed while nobody looked");
    fs::remove_file(stage.path("1.txt")).unwrap();
    stage.write("new.txt", "new");
    stage.sandbox.seed_file(&seed("2.txt", b"content 2 before", FileStatus::Approved, 9_000)).unwrap();
    stage.sandbox.seed_file(&seed("3.txt", b"content 3 after", FileStatus::Approved, 0)).unwrap();
    stage.sandbox.seed_file(&seed("half.txt", b"half", FileStatus::Processing, 9_000)).unwrap();
    stage.write("bad.txt", "bad");
    stage.sandbox.seed_file(&seed("bad.txt", b"bad", FileStatus::Rejected, 9_000)).unwrap();
    let mut other = seed("other.txt", b"another mirror's", FileStatus::Approved, 10);
    other.tags.insert("casedrop:mirror".into(), "another".into());
    stage.sandbox.seed_file(&other).unwrap();
    let mut odd = seed("odd.txt", b"odd", FileStatus::Approved, 10);
    odd.tags.remove("casedrop:attempt");
    stage.sandbox.seed_file(&odd).unwrap();

    let report = adopt_json(&stage, &["--yes"]);
    let fate = |path: &str| {
        let take = report["take"].as_array().unwrap().iter().find(|one| one["path"] == path);
        take.map_or("-", |one| one["fate"].as_str().unwrap()).to_owned()
    };
    for (path, expected) in [
        ("0.txt", "changed"),
        ("1.txt", "unseen"),
        ("2.txt", "attached"),
        ("3.txt", "attached"),
        ("4.txt", "attached"),
        ("bad.txt", "refused"),
        ("half.txt", "-"),
        ("other.txt", "-"),
        ("odd.txt", "-"),
    ] {
        assert_eq!(fate(path), expected, "{path}: {report:#}");
    }
    assert_eq!(report["surplus"].as_array().unwrap().len(), 2, "{report:#}");
    assert_eq!(report["unfinished"][0]["path"], "half.txt");
    assert_eq!(report["others"], 2);
    assert!(report["ambiguous"][0].as_str().unwrap().contains("incomplete"), "{report:#}");
    assert_eq!(report["held"], Value::Null);
    assert_eq!(stage.verdict("1.txt"), "parked(unseen)");
    assert_eq!(stage.verdict("bad.txt"), "parked(rejected)");

    // The absence of what was never seen here is no removal, however often it is looked at.
    let daemon = stage.daemon();
    daemon.wait_ready();
    stage.wait_visible("0.txt");
    stage.wait_visible("new.txt");
    stage.wait_passes();
    assert_eq!(stage.verdict("1.txt"), "parked(unseen)");
    let gone = || stage.sandbox.deleted().into_iter().map(|file| file.file_name).collect::<Vec<String>>();
    wait("the version that was replaced is deleted", || !gone().is_empty(), || daemon.log());
    stage.wait_passes();
    assert_eq!(gone(), ["0.txt"], "and nothing else");
    // Back again, as it was: attached without a call.
    let sent = stage.count(Op::StartAttachedFileUpload);
    stage.write("1.txt", "content 1");
    stage.wait_verdict("1.txt", "attached");
    assert_eq!((stage.count(Op::StartAttachedFileUpload), gone().len()), (sent, 1));
    // Seen now, and so its removal is one.
    fs::remove_file(stage.path("1.txt")).unwrap();
    wait("the removal reaches Connect", || !stage.ours().iter().any(|f| f.file_name == "1.txt"), || daemon.log());
    assert!(daemon.stop().success());
}

#[test]
fn the_policy_keep_holds_for_adopted_files_too() {
    let mut stage = attached();
    stage.mirror = "settle = \"200ms\"\ndelete = \"keep\"\n".to_owned();
    lose(&stage);
    fs::remove_file(stage.path("1.txt")).unwrap();
    adopt(&stage, &["--yes"], 0);
    assert_eq!(stage.verdict("1.txt"), "attached");
    stage.sync();
    assert_eq!(stage.sandbox.deleted(), []);
}

#[test]
fn a_scan_under_way_keeps_the_hold() {
    let stage = attached();
    lose(&stage);
    stage.write("young.txt", "young");
    let id = stage.sandbox.seed_file(&seed("young.txt", b"young", FileStatus::Processing, 5)).unwrap();
    let shown = adopt(&stage, &["--yes"], 75);
    assert!(shown.contains("still being scanned") && shown.contains("stays held"), "{shown}");
    assert_eq!(stage.hold(), "journal-rebuilt");
    stage.sandbox.set_file_status(&id, FileStatus::Approved);
    adopt(&stage, &["--yes"], 0);
    assert_eq!((stage.hold().as_str(), stage.verdict("young.txt").as_str()), ("", "attached"));
}

#[test]
fn attachments_without_tags_are_taken_only_when_asked_and_equal() {
    let stage = Stage::new();
    for (name, content) in [("same.txt", "same"), ("other.txt", "here"), ("twice.txt", "two"), ("longer.txt", "1234")] {
        stage.write(name, content);
    }
    for (name, content) in
        [("same.txt", "same"), ("other.txt", "else"), ("twice.txt", "two"), ("twice.txt", "two"), ("longer.txt", "1")]
    {
        stage.sandbox.seed_foreign_file(DEMO_CASE_ID, name, content.as_bytes()).unwrap();
    }
    let report = adopt_json(&stage, &[]);
    let proposals = report["proposals"].as_array().unwrap();
    assert_eq!(proposals.len(), 2, "{report:#}");
    assert!(proposals.iter().all(|p| p["same_content"].is_null()), "{report:#}");
    assert!(report["ambiguous"][0].as_str().unwrap().contains("2 attachments without tags and 1 files"), "{report:#}");
    let report = adopt_json(&stage, &["--accept", "--yes"]);
    assert_eq!(report["taken"], 1, "{report:#}");
    assert_eq!(stage.verdict("same.txt"), "attached");
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 0);
    stage.sync();
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 3, "the others are attached beside what looks like them");
    assert_eq!(stage.sandbox.deleted(), []);
}

#[test]
fn long_paths_are_found_by_their_hash() {
    let stage = Stage::new();
    let deep = format!("{}/{}.txt", "a".repeat(200), "b".repeat(150));
    stage.write(&deep, "deep");
    stage.sync();
    let changes = stage.changes().len();
    lose(&stage);
    adopt(&stage, &["--yes"], 0);
    stage.sync();
    assert_eq!((stage.verdict(&deep).as_str(), stage.changes().len()), ("attached", changes));
    lose(&stage);
    fs::remove_file(stage.path(&deep)).unwrap();
    let report = adopt_json(&stage, &["--yes"]);
    assert!(report["ambiguous"][0].as_str().unwrap().contains("too long for a tag"), "{report:#}");
}

#[test]
fn folders_name_the_cases_and_others_can_be_added() {
    let mut stage = Stage::new();
    stage.case = "case_from = '^(?<case_id>[^/]+)/'".to_owned();
    let ids: Vec<String> =
        (0..3).map(|n| stage.sandbox.add_case(NewCase::titled(format!("case {n}"))).case_id).collect();
    for id in &ids {
        stage.write(&format!("{id}/a.txt"), format!("a of {id}"));
    }
    stage.sync();
    let before = ledger(&stage);
    lose(&stage);
    // An empty folder still names its case; a folder that is gone does not.
    fs::remove_file(stage.path(&format!("{}/a.txt", ids[1]))).unwrap();
    fs::remove_dir_all(stage.path(&ids[2])).unwrap();
    let report = adopt_json(&stage, &[]);
    assert_eq!((&report["cases"], &report["files_at_connect"]), (&2.into(), &2.into()), "{report:#}");
    let report = adopt_json(&stage, &["--case", &ids[2], "--yes"]);
    assert_eq!((&report["cases"], &report["taken"]), (&3.into(), &3.into()), "{report:#}");
    assert_eq!(stage.verdict(&format!("{}/a.txt", ids[0])), "attached");
    assert_eq!(stage.verdict(&format!("{}/a.txt", ids[2])), "parked(unseen)");
    stage.run(&["sync"]);
    assert_eq!(ledger(&stage), before);
}

#[test]
fn cases_that_connect_does_not_know_prove_nothing() {
    let stage = attached();
    lose(&stage);
    stage.sandbox.remove_case(DEMO_CASE_ID);
    let shown = adopt(&stage, &["--yes"], 78);
    assert!(shown.contains("Connect knows none of its 1 cases"), "{shown}");
    assert_eq!(stage.hold(), "journal-rebuilt");
}

#[test]
fn a_running_daemon_keeps_adopt_out() {
    let stage = attached();
    let daemon = stage.daemon();
    daemon.wait_ready();
    let shown = adopt(&stage, &["--yes"], 75);
    assert!(shown.contains("the journal is in use") && shown.contains("stop the daemon"), "{shown}");
    assert!(daemon.stop().success());
}

#[test]
fn killed_half_way_it_goes_on_where_it_was() {
    let mut stage = Stage::new();
    stage.case = "case_from = '^(?<case_id>[^/]+)/'".to_owned();
    let ids: Vec<String> =
        (0..12).map(|n| stage.sandbox.add_case(NewCase::titled(format!("case {n}"))).case_id).collect();
    for id in &ids {
        stage.write(&format!("{id}/a.txt"), format!("a of {id}"));
    }
    stage.sync();
    let (before, changes) = (ledger(&stage), stage.changes().len());
    lose(&stage);
    stage.sandbox.clear_requests();
    stage.sandbox.set_faults(vec![Fault::nth(Op::SearchRelatedItems, 8, FaultKind::HangForever)]);
    let mut child = stage.command().args(["adopt", "--yes"]).spawn().unwrap();
    wait("adopt hangs", || stage.sandbox.faults_applied() > 0, String::new);
    child.kill().unwrap();
    child.wait().unwrap();
    stage.sandbox.set_faults(vec![
        Fault::nth(Op::SearchRelatedItems, 2, FaultKind::Throttle { retry_after: None }),
        Fault::nth(Op::BatchGetAttachedFileMetadata, 1, FaultKind::LostReply),
    ]);
    // The new journal is held although nobody ran anything else.
    assert_eq!(stage.hold(), "journal-rebuilt");
    adopt(&stage, &["--yes"], 0);
    let listings = stage.count(Op::SearchRelatedItems);
    assert!((12..=14).contains(&listings), "each case is asked once, and again after a fault: {listings}");
    stage.sync();
    assert_eq!((ledger(&stage), stage.hold().as_str()), (before, ""));
    let changed = stage.changes();
    assert!(changed.is_empty(), "{changes} before, then {changed:?}");
}

#[test]
fn adoption_under_every_switch_of_the_questions() {
    for (name, switches) in Switches::ALL {
        let asked = ["default", "unknown-ids", "status-after-start", "get-unapproved", "token-replay=new-file"];
        if !asked.iter().any(|word| name.starts_with(word)) {
            continue;
        }
        println!("switch: {name}");
        let stage = Stage::with(|settings| settings.switches = switches);
        for n in 0..3 {
            stage.write(&format!("{n}.txt"), format!("content {n}"));
        }
        stage.sync();
        // A file that vanishes between the listing and the question for its state must not hide the others.
        let (before, changes) = (ledger(&stage), stage.changes().len());
        lose(&stage);
        adopt(&stage, &["--yes"], 0);
        stage.sync();
        assert_eq!((ledger(&stage), stage.changes().len()), (before, changes), "{name}");
    }
}

#[test]
fn invariant_19_what_connect_lists_late_is_not_attached_again() {
    let late = Switches { related_items_delay: Duration::from_secs(40), ..Switches::default() };
    let stage = Stage::with(|settings| settings.switches = late);
    stage.write("a.txt", "a");
    stage.sync();
    let (before, changes) = (ledger(&stage), stage.changes().len());
    lose(&stage);
    let shown = adopt(&stage, &["--yes"], 0);
    assert!(shown.contains("Connect may list late"), "{shown}");
    stage.sync();
    assert_eq!((ledger(&stage), stage.changes().len()), (before, changes));
}

#[test]
fn many_cases_are_asked_within_the_quota() {
    let mut stage = Stage::new();
    stage.case = "case_from = '^(?<case_id>[^/]+)/'".to_owned();
    stage.sandbox.accept_any_case(true);
    for case in 0..60 {
        let id = format!("5ba5ed00-0000-4000-8000-{case:012}");
        for n in 0..30 {
            let content = format!("{case} {n}");
            let path = format!("{id}/{n}.txt");
            let mut seed = seed(&path, content.as_bytes(), FileStatus::Approved, 100);
            seed.case_id.clone_from(&id);
            seed.file_name = format!("{id} - {n}.txt");
            stage.sandbox.seed_file(&seed).unwrap();
            stage.write(&path, &content);
        }
    }
    stage.limits = "requests_per_second = 40\nburst = 5\n".to_owned();
    stage.sandbox.set_throttle(Throttle::every(50.0, 10));
    let shown = adopt(&stage, &["--yes"], 0);
    assert!(shown.contains("1800  attached as they are") && shown.contains("1800 attachments taken over"), "{shown}");
    // 30 files are two pages of a listing, and one question for their state.
    assert_eq!((stage.count(Op::SearchRelatedItems), stage.count(Op::BatchGetAttachedFileMetadata)), (120, 60));
    let changes = stage.changes().len();
    stage.sync();
    assert_eq!(stage.changes().len(), changes);
}
