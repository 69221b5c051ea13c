//! Holds and deletes, with the real binary: what ends a hold, what never does, and how a delete is called back.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use crate::common::{Daemon, NOBODY, Stage, text, wait};
use casedrop_sandbox::{FileStatus, LedgerFile, Op, Scan};

/// The pass after the one that sees a file gone announces its delete.
fn without_grace() -> Stage {
    let mut stage = Stage::new();
    stage.mirror = stage.mirror.replace("\"1s\"\ndelete_budget", "\"0s\"\ndelete_budget");
    stage
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{n:02}.txt")).collect()
}

/// The same in a folder, so that all can go in one step: of some that go one by one on a busy machine, the first may be
/// deleted before the last is gone.
fn names_in(folder: &str, count: usize) -> Vec<String> {
    names(count).into_iter().map(|name| format!("{folder}/{name}")).collect()
}

fn attach(stage: &Stage, names: &[String]) {
    names.iter().for_each(|name| stage.write(name, format!("content of {name}")));
}

/// The codes of all holds, the one to look at first at the front.
fn holds(stage: &Stage) -> Vec<String> {
    let status = stage.status();
    let holds = status["mirrors"][0]["holds"].as_array().unwrap().iter();
    holds.map(|hold| hold["code"].as_str().unwrap().to_owned()).collect()
}

fn ok(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, text(output));
    text(output)
}

fn deletes(stage: &Stage) -> usize {
    stage.count(Op::DeleteAttachedFile)
}

/// A configuration whose service is a port that nobody listens on.
fn unreachable(stage: &Stage) -> PathBuf {
    let text = fs::read_to_string(stage.config()).unwrap();
    let path = stage.dir.path().join("away.toml");
    fs::write(&path, text.replace(&stage.sandbox.endpoint_url(), NOBODY)).unwrap();
    path
}

#[test]
fn an_emptied_root_stays_held_until_every_file_is_back_or_kept() {
    let stage = Stage::often();
    let known = names_in("in", 6);
    attach(&stage, &known);
    let daemon = stage.daemon();
    stage.wait_attached();
    let aside = stage.dir.path().join("aside");
    fs::create_dir(&aside).unwrap();
    fs::rename(stage.path("in"), aside.join("in")).unwrap();
    let back = |name: &String| fs::rename(aside.join(name), stage.path(name)).unwrap();
    stage.wait_hold("root-emptied");
    // A stranger's file is uploaded, for uploads go on, and proves nothing; nor does a folder, nor one of many.
    stage.marker("stranger.txt");
    fs::create_dir(stage.path("in")).unwrap();
    back(&known[0]);
    stage.wait_verdict(&known[0], "attached");
    stage.wait_passes();
    stage.wait_passes();
    assert_eq!((holds(&stage), deletes(&stage)), (vec!["root-emptied".to_owned()], 0));
    // A plan and a restart are no wiser.
    assert!(daemon.stop().success());
    let planned = text(&stage.run(&["plan"]));
    assert!(planned.contains("root-emptied: 6 attached files are gone") && !planned.contains("delete "), "{planned}");
    let daemon = stage.daemon();
    stage.wait_passes();
    assert_eq!((holds(&stage), deletes(&stage)), (vec!["root-emptied".to_owned()], 0));
    // All but one come back, and that one is kept by hand: nothing is missing any more.
    known[1..5].iter().for_each(back);
    stage.wait_passes();
    assert_eq!(stage.hold(), "root-emptied");
    let kept = ok(&stage.run(&["keep", stage.path(&known[5]).to_str().unwrap()]));
    assert!(kept.contains("called back"), "{kept}");
    stage.wait_hold("");
    stage.wait_passes();
    assert_eq!(deletes(&stage), 0);
    // Back again, it is followed as any other: its delete counts.
    back(&known[5]);
    wait(
        "it is here again",
        || stage.list().iter().all(|f| f["absent_since"].is_null()),
        || format!("{:?}", stage.list()),
    );
    stage.assert_equal();
    fs::remove_file(stage.path(&known[5])).unwrap();
    wait("it is deleted", || deletes(&stage) == 1, || daemon.log());
    stage.assert_settled(daemon);
}

#[test]
fn neither_more_files_nor_one_that_came_back_ends_a_hold_of_the_budget() {
    let mut stage = Stage::often();
    stage.mirror = stage.mirror.replace("\"off\"", "\"50, 20%\"");
    let known = [names_in("in", 3), names(7)].concat();
    attach(&stage, &known);
    let daemon = stage.daemon();
    stage.wait_attached();
    fs::rename(stage.path("in"), stage.dir.path().join("aside")).unwrap();
    stage.wait_hold("delete-budget");
    // With 20 more files, 20 % would be enough for three.
    (0..20).for_each(|n| stage.write(&format!("more {n}.txt"), format!("more {n}")));
    stage.marker("marker.txt");
    stage.wait_passes();
    // Two of the three are back: the one that is left would fit.
    known[..2].iter().for_each(|name| stage.write(name, format!("content of {name}")));
    stage.wait_verdict(&known[1], "attached");
    stage.wait_passes();
    assert_eq!((holds(&stage), deletes(&stage)), (vec!["delete-budget".to_owned()], 0));
    stage.write(&known[2], format!("content of {}", known[2]));
    stage.wait_hold("");
    assert_eq!(deletes(&stage), 0);
    stage.wait_attached();
    stage.assert_settled(daemon);
}

#[test]
fn holds_stand_side_by_side_and_a_release_ends_only_what_it_showed() {
    let stage = Stage::often();
    attach(&stage, &names_in("in", 4));
    let daemon = stage.daemon();
    stage.wait_attached();
    fs::rename(stage.path("in"), stage.dir.path().join("in")).unwrap();
    stage.wait_hold("root-emptied");
    let aside = stage.dir.path().join("aside");
    fs::rename(&stage.drop, &aside).unwrap();
    stage.wait_hold("root-missing");
    assert_eq!(holds(&stage), ["root-missing", "root-emptied"]);
    // A folder made anew is another one, and the emptiness is not forgotten over it.
    fs::create_dir(&stage.drop).unwrap();
    stage.wait_hold("root-replaced");
    stage.write("touched.txt", "a stranger");
    stage.wait_hold("root-replaced");
    assert_eq!(holds(&stage), ["root-replaced", "root-emptied"]);
    assert!(daemon.stop().success());
    assert_eq!(stage.run(&["sync"]).status.code(), Some(78));
    let daemon = stage.daemon();
    fs::remove_dir_all(&stage.drop).unwrap();
    fs::rename(&aside, &stage.drop).unwrap();
    stage.wait_hold("root-emptied");
    assert_eq!((holds(&stage), deletes(&stage)), (vec!["root-emptied".to_owned()], 0));
    // Now a person says that this is right.
    let shown = ok(&stage.run(&["release", "drop", "--count", "4"]));
    assert!(shown.contains("root-emptied") && shown.contains("4 files gone here"), "{shown}");
    wait("all are deleted", || deletes(&stage) == 4, || daemon.log());
    stage.wait_equal();
    stage.assert_settled(daemon);
    assert_eq!(holds(&stage), [""; 0]);
}

#[test]
fn a_release_accepts_the_folder_that_it_showed() {
    let stage = Stage::often();
    attach(&stage, &names(3));
    let daemon = stage.daemon();
    stage.wait_attached();
    let aside = stage.dir.path().join("aside");
    fs::rename(&stage.drop, &aside).unwrap();
    fs::write(&stage.drop, "no folder").unwrap();
    stage.wait_hold("root-replaced");
    let refused = stage.run(&["release", "drop", "--count", "0"]);
    assert_eq!(refused.status.code(), Some(78));
    let said = text(&refused);
    assert!(said.contains("it is not a folder; nothing was released") && said.contains("bring that back"), "{said}");
    assert_eq!(stage.hold(), "root-replaced");
    assert!(daemon.stop().success());
    // Its own folder is back while nobody looks: a release accepts nothing else.
    fs::remove_file(&stage.drop).unwrap();
    fs::rename(&aside, &stage.drop).unwrap();
    let shown = ok(&stage.run(&["release", "drop", "--count", "0"]));
    assert!(shown.contains("The mirror's own folder is back at"), "{shown}");
    assert_eq!(stage.hold(), "");
    fs::rename(&stage.drop, &aside).unwrap();
    fs::create_dir(&stage.drop).unwrap();
    let daemon = stage.daemon();
    stage.wait_hold("root-replaced");
    // The empty one is accepted, and what is gone with the old one is asked about again.
    let shown = ok(&stage.run(&["release", "drop", "--count", "0"]));
    assert!(shown.contains(", an empty one, will be taken as the mirror's."), "{shown}");
    assert!(shown.contains("Of 3 files that are attached, those that are not in it count as removed"), "{shown}");
    stage.wait_hold("root-emptied");
    stage.write("new.txt", "in the new folder");
    wait("uploads go on", || stage.verdict("new.txt") == "attached", || daemon.log());
    stage.wait_passes();
    assert_eq!((deletes(&stage), stage.hold().as_str()), (0, "root-emptied"));
    assert!(daemon.stop().success());
}

fn touch_all(stage: &Stage, names: &[String]) {
    for name in names {
        let file = fs::File::options().write(true).open(stage.path(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(3600)).unwrap();
    }
}

#[test]
fn touched_files_cause_no_hold_and_changed_ones_are_held_until_released_once() {
    let stage = Stage::often();
    let known = names(12);
    attach(&stage, &known);
    let daemon = stage.daemon();
    stage.wait_attached();
    let before = stage.changes().len();
    // Another time zone: every time differs, no content does (L78). Here and below, what changes all does it while
    // nothing runs, so that a look finds all of it together.
    assert!(daemon.stop().success());
    touch_all(&stage, &known);
    let daemon = stage.daemon();
    wait(
        "all are read again",
        || {
            daemon.log().matches("the changed files are read").count() == 1
                && stage.list().iter().all(|f| f["verdict"] == "attached")
        },
        || daemon.log(),
    );
    stage.wait_passes();
    assert_eq!((holds(&stage), stage.changes().len()), (vec![], before), "unchanged bytes cause no call and no hold");
    // Malware: every content is another.
    assert!(daemon.stop().success());
    known.iter().for_each(|name| stage.write(name, format!("encrypted {name}")));
    fs::remove_file(stage.path(&known[0])).unwrap();
    let plan = stage.run(&["plan"]);
    assert!(text(&plan).contains("have new content"), "{}", text(&plan));
    let daemon = stage.daemon();
    stage.wait_hold("all-changed");
    stage.write("new.txt", "new");
    stage.wait_passes();
    assert_eq!(
        (stage.changes().len(), stage.hold().as_str()),
        (before, "all-changed"),
        "nothing goes up, nothing is deleted"
    );
    fs::create_dir(stage.path("folder")).unwrap();
    touch_all(&stage, &known[1..]);
    stage.wait_passes();
    assert_eq!((stage.changes().len(), stage.hold().as_str()), (before, "all-changed"));
    // The old content back: the hold ends by itself, without a call for any of them.
    attach(&stage, &known);
    stage.wait_hold("");
    stage.wait_attached();
    assert_eq!(stage.changes().len(), before + 3, "only the new file was sent");
    // Meant so: released, it goes through once, and the next time is held again.
    assert!(daemon.stop().success());
    known.iter().for_each(|name| stage.write(name, format!("rewritten {name}")));
    let daemon = stage.daemon();
    stage.wait_hold("all-changed");
    ok(&stage.run(&["release", "drop", "--count", "0"]));
    stage.wait_attached();
    stage.wait_hold("");
    stage.wait_passes();
    assert!(daemon.stop().success());
    known.iter().for_each(|name| stage.write(name, format!("once more {name}")));
    let daemon = stage.daemon();
    stage.wait_hold("all-changed");
    assert!(daemon.stop().success());
}

fn keep(stage: &Stage, name: &str) -> Output {
    stage.run(&["keep", stage.path(name).to_str().unwrap()])
}

#[test]
fn a_delete_in_its_grace_is_listed_and_called_back() {
    let mut stage = Stage::often();
    stage.mirror = stage.mirror.replace("\"1s\"\ndelete_budget", "\"1h\"\ndelete_budget");
    let known = names(4);
    attach(&stage, &known);
    stage.write("tree/a.txt", "a");
    stage.write("tree/b.txt", "b");
    let daemon = stage.daemon();
    stage.wait_attached();
    let ours = stage.ours();
    fs::remove_file(stage.path(&known[0])).unwrap();
    fs::remove_dir_all(stage.path("tree")).unwrap();
    stage.wait_verdict("tree/b.txt", "deleting");
    stage.wait_verdict(&known[0], "deleting");
    let status = ok(&stage.run(&["status"]));
    assert!(status.contains("tree/a.txt  not before "), "{status}");
    let json = stage.status();
    assert_eq!(json["mirrors"][0]["deletes_waiting"]["waiting"].as_array().unwrap().len(), 3);
    assert!(stage.list().iter().filter(|f| f["verdict"] == "deleting").all(|f| f["delete_after"].is_string()));
    assert!(ok(&stage.run(&["list", "--verdict", "deleting"])).contains("deleted at Connect after"));

    // What is here does not wait, what is unknown cannot.
    let refused = keep(&stage, &known[1]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(text(&refused).contains("does not wait to be deleted"), "{}", text(&refused));
    assert_eq!(keep(&stage, "unknown.txt").status.code(), Some(2));
    // A folder, through the daemon; a file, without one.
    let kept = ok(&keep(&stage, "tree"));
    assert_eq!(kept.matches("is called back").count(), 2, "{kept}");
    assert!(daemon.stop().success());
    assert!(ok(&keep(&stage, &known[0])).contains("is called back"));
    assert!(ok(&keep(&stage, &known[0])).contains("kept already"));
    assert!(ok(&stage.run(&["list"])).contains("kept at Connect by hand"));

    // No grace, and still nothing goes; a restart and a pass keep it so.
    stage.mirror = stage.mirror.replace("\"1h\"\ndelete_budget", "\"0s\"\ndelete_budget");
    stage.sync();
    let daemon = stage.daemon();
    stage.wait_passes();
    assert_eq!((stage.ours(), deletes(&stage)), (ours, 0));
    // One comes back as another, and is replaced; once it goes again, so does its attachment.
    stage.write("tree/a.txt", "a, rewritten");
    stage.wait_visible_as("tree - a.txt", "a, rewritten");
    fs::remove_file(stage.path("tree/a.txt")).unwrap();
    let held = |name: &str| stage.ours().iter().any(|file| file.file_name == name);
    wait("its attachment is gone", || !held("tree - a.txt"), || daemon.log());
    assert!(held("tree - b.txt"));
    assert!(daemon.stop().success());
}

fn why(stage: &Stage, name: &str) -> String {
    ok(&stage.run(&["why", stage.path(name).to_str().unwrap()]))
}

/// Three attached files, all that is at Connect of them, and of the first that is gone the delete is announced. What
/// `sync` announces is not sent where nobody can be reached.
fn with_an_announced_delete() -> (Stage, Vec<String>, Vec<LedgerFile>) {
    let stage = without_grace();
    let known = names(3);
    attach(&stage, &known);
    stage.sync();
    let ours = stage.ours();
    let away = unreachable(&stage);
    fs::remove_file(stage.path(&known[0])).unwrap();
    // The first pass begins the grace, the next ends it.
    stage.sync_with(&away);
    wait(
        "the delete is announced",
        || {
            stage.sync_with(&away);
            why(&stage, &known[0]).contains("deleting, attempt")
        },
        || text(&stage.run(&["log"])),
    );
    assert_eq!(deletes(&stage), 0);
    (stage, known, ours)
}

/// It can be called back. What was sent cannot.
#[test]
fn an_announced_delete_is_called_back_until_its_call_is_made() {
    let (stage, known, ours) = with_an_announced_delete();
    assert!(ok(&keep(&stage, &known[0])).contains("is called back"));
    stage.sync();
    stage.sync();
    assert_eq!((stage.ours(), deletes(&stage)), (ours, 0), "called back in time");

    // The answer gets lost: it may have been carried out.
    stage.sandbox.set_faults(vec![casedrop_sandbox::Fault::all(
        Op::DeleteAttachedFile,
        casedrop_sandbox::FaultKind::HangForever,
    )]);
    let daemon: Daemon = stage.daemon();
    daemon.wait_ready();
    fs::remove_file(stage.path(&known[1])).unwrap();
    wait("the delete is under way", || stage.sandbox.faults_applied() > 0, || daemon.log());
    let late = keep(&stage, &known[1]);
    assert_eq!(late.status.code(), Some(1), "{}", text(&late));
    assert!(text(&late).contains("was sent to Connect and cannot be called back"), "{}", text(&late));
    daemon.kill();
    let late = keep(&stage, &known[1]);
    assert!(text(&late).contains("was sent to Connect and cannot be called back"), "{}", text(&late));
    stage.sandbox.set_faults(Vec::new());
    stage.sync();
    assert!(!stage.visible().contains_key(&known[1]), "it goes on");
}

#[test]
fn a_policy_that_keeps_calls_announced_deletes_back() {
    let (mut stage, known, ours) = with_an_announced_delete();
    stage.mirror.push_str("delete = \"keep\"\n");
    stage.sync();
    stage.sync();
    assert_eq!((stage.ours(), deletes(&stage)), (ours, 0));
    assert_eq!(stage.verdict(&known[0]), "attached");
    let why = why(&stage, &known[0]);
    assert!(why.contains("kept at Connect (delete = \"keep\")"), "{why}");
}

#[test]
fn a_folder_that_cannot_be_listed_is_shown_and_nothing_below_it_is_deleted() {
    let stage = Stage::often();
    stage.write("open/a.txt", "a");
    stage.write("closed/b.txt", "b");
    stage.sync();
    let ours = stage.ours();
    // To root every folder is open; as a mount point of its own it is closed to anybody.
    let closed = stage.path("closed");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "casedrop-test"]).arg(&closed).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("NOT RUN: no tmpfs can be mounted here");
        return;
    }
    let daemon = stage.daemon();
    daemon.wait_ready();
    let shown = ok(&stage.run(&["status"]));
    // A look of the daemon may be under way.
    let unmounted = || Command::new("umount").arg(&closed).status().unwrap().success();
    wait("it is unmounted", unmounted, || daemon.log());
    assert!(shown.contains("HELD     below closed/"), "{shown}");
    wait(
        "it is listed again",
        || stage.status()["mirrors"][0]["unlisted"].as_array().unwrap().is_empty(),
        || daemon.log(),
    );
    assert_eq!((stage.ours(), deletes(&stage)), (ours, 0));
    stage.assert_settled(daemon);
}

#[test]
fn without_a_grace_a_delete_waits_for_a_second_look_and_not_for_the_next_full_pass() {
    let mut stage = without_grace();
    stage.mirror.push_str("rescan = \"1h\"\n");
    let known = names(8);
    attach(&stage, &known);
    let daemon = stage.daemon();
    daemon.wait_ready();
    for path in &known {
        wait("it is attached", || stage.verdict(path) == "attached", || daemon.log());
        fs::remove_file(stage.path(path)).unwrap();
        wait("it is gone at Connect", || stage.verdict(path) == "-", || daemon.log());
    }
    assert_eq!(stage.ours(), []);
}

/// Its grace ends while the scan goes on: then the end of the scan is what its delete waits for, not the next full pass.
#[test]
fn what_is_removed_while_it_is_scanned_goes_when_the_scan_has_ended() {
    for status in [FileStatus::Approved, FileStatus::Rejected, FileStatus::Failed] {
        let mut stage = without_grace();
        stage.mirror.push_str("rescan = \"1h\"\n");
        stage.sandbox.set_scan(Scan::after(Duration::from_secs(3600)));
        stage.write("a.txt", "a");
        let daemon = stage.daemon();
        daemon.wait_ready();
        wait("it is scanned", || stage.verdict("a.txt") == "scanning", || daemon.log());
        fs::remove_file(stage.path("a.txt")).unwrap();
        wait("it is seen to be gone", || stage.verdict("a.txt") == "deleting", || daemon.log());
        stage.sandbox.set_file_status(&stage.ours()[0].file_id, status);
        wait("it is gone at Connect", || stage.verdict("a.txt") == "-" && stage.ours().is_empty(), || daemon.log());
    }
}
