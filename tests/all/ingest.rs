//! `mode = "ingest"`: what was delivered is archived, removed or kept; what was refused goes into quarantine; and
//! nothing that happens to the local files afterwards reaches Connect.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::UNIX_EPOCH;

use casedrop_sandbox::{FileStatus, Op, Scan, Verdict};
use regex::Regex;

use crate::common::{Stage, sha256, text, wait};

/// A stage with an archive and a quarantine beside the folder.
pub fn stage(after: &str, more: &str) -> Stage {
    stage_with(after, more, |_| {})
}

pub fn stage_with(after: &str, more: &str, change: impl FnOnce(&mut casedrop_sandbox::Settings)) -> Stage {
    let mut stage = Stage::with(change);
    fs::create_dir(archive(&stage)).unwrap();
    fs::create_dir(quarantine(&stage)).unwrap();
    let to = if after == "archive" { format!("archive = {:?}\n", archive(&stage)) } else { String::new() };
    stage.mirror = format!(
        "settle = \"200ms\"\nmode = \"ingest\"\nafter_approval = \"{after}\"\n{to}quarantine = {:?}\n{more}",
        quarantine(&stage)
    );
    stage
}

pub fn archive(stage: &Stage) -> PathBuf {
    stage.dir.path().join("archive")
}

pub fn quarantine(stage: &Stage) -> PathBuf {
    stage.dir.path().join("quarantine")
}

/// Every file below a folder: path to SHA-256.
pub fn tree(folder: &Path) -> BTreeMap<String, String> {
    fn collect(folder: &Path, prefix: &str, into: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type().unwrap().is_dir() {
                collect(&entry.path(), &format!("{name}/"), into);
            } else if let Ok(content) = fs::read(entry.path()) {
                // One that is being moved may be gone since the folder was listed.
                into.insert(name, sha256(&content));
            }
        }
    }
    let mut files = BTreeMap::new();
    collect(folder, "", &mut files);
    files
}

fn of(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    files.iter().map(|(name, content)| ((*name).to_owned(), sha256(content.as_bytes()))).collect()
}

/// What agents see: content by name, all of it, also two files of one name.
fn visible(stage: &Stage) -> Vec<(String, String)> {
    let approved = stage.ours().into_iter().filter(|file| file.status == FileStatus::Approved);
    let mut seen: Vec<_> = approved.map(|file| (file.file_name, file.sha256.unwrap_or_default())).collect();
    seen.sort();
    seen
}

fn seen(files: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut seen: Vec<_> =
        files.iter().map(|(name, content)| ((*name).to_owned(), sha256(content.as_bytes()))).collect();
    seen.sort();
    seen
}

/// `casedrop report` in a time zone where it is noon: no scene goes on over midnight.
pub fn reported(stage: &Stage, args: &[&str]) -> Output {
    let hours = UNIX_EPOCH.elapsed().unwrap().as_secs() / 3600 % 24;
    let zone = format!("<noon>{}", i64::try_from(hours).unwrap() - 12);
    stage.finish(stage.command().env("TZ", zone).arg("report").args(args))
}

fn story(stage: &Stage, path: &str) -> String {
    text(&stage.run(&["why", path]))
}

fn wait_for(what: &str, stage: &Stage, done: impl FnMut() -> bool) {
    let show = || format!("{:#?}\n{:#?}", stage.list(), tree(stage.dir.path()));
    wait(what, done, show);
}

#[test]
fn a_delivered_file_is_archived_with_its_folders_and_its_receipt() {
    let stage = stage("archive", "receipts = true\n");
    stage.write("letters/2026/a.txt", "one");
    stage.write("b.txt", "two");
    fs::set_permissions(stage.path("letters"), fs::Permissions::from_mode(0o750)).unwrap();
    let before = fs::metadata(stage.path("b.txt")).unwrap();
    let plan = stage.run(&["plan"]);
    assert_eq!(plan.status.code(), Some(3), "{}", text(&plan));
    let output = stage.sync();
    assert!(text(&output).contains("2 files handed over here"), "{}", text(&output));
    assert_eq!(tree(&stage.drop), BTreeMap::new());
    let kept: BTreeMap<_, _> =
        tree(&archive(&stage)).into_iter().filter(|(name, _)| !name.ends_with(".receipt.json")).collect();
    assert_eq!(kept, of(&[("letters/2026/a.txt", "one"), ("b.txt", "two")]));
    let after = fs::metadata(archive(&stage).join("b.txt")).unwrap();
    assert_eq!((after.ino(), after.mtime()), (before.ino(), before.mtime()), "moved, not copied");
    assert_eq!(fs::metadata(archive(&stage).join("letters")).unwrap().permissions().mode() & 0o777, 0o750);
    assert_eq!(visible(&stage), seen(&[("letters - 2026 - a.txt", "one"), ("b.txt", "two")]));
    let receipt = fs::read(archive(&stage).join("letters/2026/a.txt.receipt.json")).unwrap();
    let receipt: serde_json::Value = serde_json::from_slice(&receipt).unwrap();
    let file = stage.ours().into_iter().find(|file| file.file_name == "letters - 2026 - a.txt").unwrap();
    assert_eq!(receipt["receipt_version"], 1);
    assert_eq!(receipt["file_id"], file.file_id.as_str());
    let file_arn = format!("{}/file/{}", stage.sandbox.instance_arn(), file.file_id);
    assert_eq!((&receipt["file_arn"], &receipt["reference"]), (&file_arn.into(), &serde_json::Value::Null));
    assert_eq!(receipt["sha256"], sha256(b"one").as_str());
    assert_eq!((&receipt["size"], &receipt["attempts"]), (&3.into(), &1.into()));
    assert_eq!(receipt["attachment_name"], "letters - 2026 - a.txt");
    for time in ["modified", "first_seen", "started", "stored", "completed", "approved", "handed_over"] {
        assert!(receipt["times"][time].as_str().unwrap().ends_with('Z'), "{time}: {receipt:#}");
    }
    // The journal is empty of files and full of their story.
    assert_eq!(stage.list(), Vec::<serde_json::Value>::new());
    let told = story(&stage, "letters/2026/a.txt");
    for part in ["delivered and archived", ": archive, done", file.file_id.as_str(), "proof       attachment"] {
        assert!(told.contains(part), "{part} in\n{told}");
    }
    let plan = stage.run(&["plan"]);
    assert_eq!((plan.status.code(), text(&plan).contains("nothing to do")), (Some(0), true), "{}", text(&plan));
    let calls = stage.changes().len();
    stage.sync();
    assert_eq!(stage.changes().len(), calls, "a settled state caused calls");
}

#[test]
fn a_delivered_file_can_be_removed_or_kept() {
    let gone = stage("delete", "");
    gone.write("x/a.txt", "one");
    gone.sync();
    assert_eq!(tree(&gone.drop), BTreeMap::new());
    assert!(gone.path("x").is_dir(), "folders stay unless prune_empty says otherwise");
    assert_eq!(visible(&gone), seen(&[("x - a.txt", "one")]));
    assert!(story(&gone, "x/a.txt").contains("delivered and removed here"));

    let kept = stage("keep", "");
    kept.write("a.txt", "one");
    kept.sync();
    assert_eq!((kept.verdict("a.txt").as_str(), tree(&kept.drop)), ("attached", of(&[("a.txt", "one")])));
    assert_eq!(kept.run(&["plan"]).status.code(), Some(0));
}

#[test]
fn nothing_is_overwritten_and_a_name_used_again_is_a_new_delivery() {
    let stage = stage("archive", "receipts = true\n");
    fs::write(archive(&stage).join("other.txt.receipt.json"), "somebody's").unwrap();
    let daemon = stage.daemon();
    for (n, content) in [(1, "first"), (2, "second"), (3, "second"), (4, "fourth")] {
        // The same path again and again, also with equal bytes; each appears whole.
        fs::write(stage.dir.path().join("draft"), content).unwrap();
        fs::rename(stage.dir.path().join("draft"), stage.path("scan.txt")).unwrap();
        let name = if n == 1 { "scan.txt".to_owned() } else { format!("scan~{n}.txt") };
        wait_for(&format!("{name} is archived"), &stage, || archive(&stage).join(&name).exists());
        wait_for("the folder is empty", &stage, || tree(&stage.drop).is_empty() && stage.list().is_empty());
    }
    stage.write("other.txt", "x");
    wait_for("the receipt's name is respected", &stage, || archive(&stage).join("other~2.txt").exists());
    wait_for("it is recorded", &stage, || stage.list().is_empty());
    assert_eq!(
        visible(&stage),
        seen(&[
            ("scan.txt", "first"),
            ("scan.txt", "second"),
            ("scan.txt", "second"),
            ("scan.txt", "fourth"),
            ("other.txt", "x")
        ])
    );
    assert_eq!(stage.count(Op::DeleteAttachedFile), 0, "no earlier delivery was replaced");
    let told = story(&stage, "scan.txt");
    assert_eq!(told.matches("archive, done").count(), 4, "{told}");
    assert_eq!(fs::read(archive(&stage).join("other.txt.receipt.json")).unwrap(), b"somebody's");
    stage.assert_settled(daemon);
}

#[test]
fn a_file_that_changes_before_its_hand_over_is_replaced() {
    let stage = stage("archive", "");
    // Nothing can be archived while the folder is missing, so the change comes in time.
    fs::remove_dir(archive(&stage)).unwrap();
    let daemon = stage.daemon();
    stage.write("a.txt", "first");
    stage.wait_verdict("a.txt", "attached");
    wait_for("the reason is shown", &stage, || {
        stage.status()["mirrors"][0]["handovers_waiting"]["reason"]
            .as_str()
            .is_some_and(|r| r.contains("there is no folder"))
    });
    let note = stage.list()[0]["note"].as_str().unwrap_or_default().to_owned();
    assert!(note.contains("archive waits: there is no folder") && note.contains("next try after"), "{note}");
    stage.write("a.txt", "second version");
    wait_for("the new version is there alone", &stage, || visible(&stage) == seen(&[("a.txt", "second version")]));
    stage.wait_verdict("a.txt", "attached");
    fs::create_dir(archive(&stage)).unwrap();
    wait_for("it is archived", &stage, || tree(&archive(&stage)) == of(&[("a.txt", "second version")]));
    wait_for("it is recorded", &stage, || stage.list().is_empty());
    stage.assert_settled(daemon);
    assert_eq!(visible(&stage), seen(&[("a.txt", "second version")]));
    assert_eq!(stage.count(Op::DeleteAttachedFile), 1);
}

#[test]
fn what_somebody_takes_away_stays_at_connect() {
    let mut stage = stage("keep", "");
    // What is gone is followed for twelve times this: longer than a busy machine takes to read what was moved.
    stage.mirror = stage.mirror.replace("settle = \"200ms\"", "settle = \"1s\"");
    stage.mirror.push_str("rescan = \"1s\"\n");
    let daemon = stage.daemon();
    stage.write("taken.txt", "one");
    stage.write("renamed.txt", "two");
    stage.write("replaced.txt", "three");
    for path in ["taken.txt", "renamed.txt", "replaced.txt"] {
        stage.wait_verdict(path, "attached");
    }
    fs::remove_file(stage.path("taken.txt")).unwrap();
    fs::remove_file(stage.path("replaced.txt")).unwrap();
    fs::rename(stage.path("renamed.txt"), stage.path("moved.txt")).unwrap();
    stage.wait_verdict("moved.txt", "attached");
    wait_for("the removal is seen", &stage, || story(&stage, "replaced.txt").contains("absent"));
    stage.write("replaced.txt", "another document");
    wait_for("it is a delivery of its own", &stage, || {
        visible(&stage).contains(&("replaced.txt".to_owned(), sha256(b"another document")))
    });
    wait_for("it is no longer followed", &stage, || stage.verdict("taken.txt") == "-");
    assert!(story(&stage, "taken.txt").contains("nothing at Connect is touched"), "{}", story(&stage, "taken.txt"));
    assert!(story(&stage, "moved.txt").contains("delivered to this case already"), "{}", story(&stage, "moved.txt"));
    assert_eq!(
        visible(&stage),
        seen(&[
            ("taken.txt", "one"),
            ("renamed.txt", "two"),
            ("replaced.txt", "three"),
            ("replaced.txt", "another document")
        ])
    );
    assert_eq!(stage.count(Op::DeleteAttachedFile), 0);
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 4);
    assert_eq!(stage.hold(), "", "an empty or changed drop folder is no reason to hold");
    stage.assert_settled(daemon);
    // A delivery of an earlier file is not outdone by one of a later file of its path.
    let verified = text(&stage.run(&["verify"]));
    assert!(!verified.contains("surplus") && !verified.contains("missing"), "{verified}");
}

#[test]
fn a_refused_file_goes_into_quarantine_with_a_reason_and_may_come_back() {
    let rule = Regex::new("virus").unwrap();
    let stage = stage_with("archive", "receipts = true\n", |settings| {
        settings.scan = Scan::default().rule(rule, Verdict::Rejected);
    });
    stage.write("in/setup.exe", "MZ");
    stage.write("in/empty.txt", "");
    stage.write("in/virus.txt", "bad");
    stage.write("in/good.txt", "good");
    let daemon = stage.daemon();
    let refused = ["in/setup.exe", "in/empty.txt", "in/virus.txt"];
    for path in refused {
        wait_for(&format!("{path} is in quarantine"), &stage, || {
            quarantine(&stage).join(format!("{path}.reason.txt")).exists() && stage.verdict(path) == "-"
        });
    }
    wait_for("the good one is archived", &stage, || archive(&stage).join("in/good.txt").exists());
    assert_eq!(tree(&stage.drop), BTreeMap::new());
    let reason = fs::read_to_string(quarantine(&stage).join("in/setup.exe.reason.txt")).unwrap();
    for part in ["NOT delivered", "in/setup.exe", "type-not-allowed", "What to do now", "as PDF", "administrator"] {
        assert!(reason.contains(part), "{part} in\n{reason}");
    }
    assert_eq!(fs::read(quarantine(&stage).join("in/virus.txt")).unwrap(), b"bad");
    assert!(story(&stage, "in/virus.txt").contains("refused and moved to quarantine"));
    // Moved back it starts afresh: another attempt, another refusal, another name.
    fs::rename(quarantine(&stage).join("in/setup.exe"), stage.path("in/setup.exe")).unwrap();
    wait_for("it is refused again", &stage, || quarantine(&stage).join("in/setup~2.exe").exists());
    // Put right it is delivered.
    fs::rename(quarantine(&stage).join("in/setup~2.exe"), stage.path("in/setup.txt")).unwrap();
    wait_for("it is delivered", &stage, || archive(&stage).join("in/setup.txt").exists());
    stage.assert_settled(daemon);
}

#[test]
fn folders_that_the_hand_over_empties_go_and_no_others() {
    let stage = stage("archive", "prune_empty = true\n");
    fs::create_dir_all(stage.path("was/empty")).unwrap();
    stage.write("day/one/a.txt", "a");
    stage.write("day/two/b.txt", "b");
    stage.write("day/two/.hidden", "stays");
    stage.write("top.txt", "top");
    let daemon = stage.daemon();
    wait_for("the emptied folder is gone", &stage, || !stage.path("day/one").exists());
    wait_for("all is archived", &stage, || tree(&archive(&stage)).len() == 3);
    assert!(stage.path("day/two/.hidden").exists() && stage.path("was/empty").is_dir() && stage.drop.is_dir());
    fs::remove_file(stage.path("day/two/.hidden")).unwrap();
    stage.write("day/two/c.txt", "c");
    wait_for("the day is gone when its last folder is", &stage, || !stage.path("day").exists());
    assert!(stage.path("was/empty").is_dir(), "it was empty before");
    stage.assert_settled(daemon);
}

/// Every file of the day has one end, and the ends add up, also for names used twice and files that are gone.
#[test]
fn the_report_adds_up() {
    let mut stage = stage("archive", "include = [\"*.txt\", \"*.exe\"]\n");
    stage.mirror.push_str("exclude = [\"drafts/\"]\n");
    stage.write("a.txt", "first");
    stage.sync();
    stage.write("a.txt", "second, with a, comma");
    stage.write("setup.exe", "MZ");
    stage.write("full.txt", "no room");
    stage.write("drafts/no.txt", "not counted");
    stage.write("=cmd.txt", "a name for a spreadsheet");
    stage.run(&["sync"]);
    let output = reported(&stage, &["--json"]);
    assert!(output.status.success(), "{}", text(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let ends: Vec<(String, String)> = report["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["path"].as_str().unwrap().to_owned(), line["end"].as_str().unwrap().to_owned()))
        .collect();
    let expected = [
        ("a.txt", "archived"),
        ("=cmd.txt", "archived"),
        ("a.txt", "archived"),
        ("full.txt", "archived"),
        ("setup.exe", "quarantined"),
    ];
    let expected: Vec<_> = expected.map(|(path, end)| (path.to_owned(), end.to_owned())).into();
    assert_eq!(ends, expected, "{report:#}");
    let total: u64 = report["totals"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!((report["arrived"].as_u64(), total), (Some(5), 5));
    let archived = &report["files"][2];
    assert_eq!(archived["detail"], format!("{}/a~2.txt", archive(&stage).display()));
    assert_eq!(archived["sha256"], sha256(b"second, with a, comma"));
    assert_eq!(archived["file_id"].as_str().map(str::len), Some(36));
    let shown = text(&reported(&stage, &[]));
    assert!(shown.contains("5 files arrived") && shown.contains("4  archived"), "{shown}");
    let csv = reported(&stage, &["--csv"]);
    let csv = String::from_utf8(csv.stdout).unwrap();
    assert_eq!(csv.split("\r\n").filter(|line| !line.is_empty()).count(), 6, "{csv}");
    assert!(csv.contains("\"'=cmd.txt\""), "{csv}");
    assert!(text(&stage.run(&["report", "--day", "2000-01-01"])).contains("no file arrived"));
    assert_eq!(stage.run(&["report", "--day", "soon"]).status.code(), Some(2));
    assert_eq!(stage.run(&["report", "--mirror", "none"]).status.code(), Some(2));
}

#[test]
fn a_sidecar_travels_with_its_file() {
    let mut stage = stage("archive", "sidecar = true\n");
    stage.case = String::new();
    let sidecar = format!("case = \"{}\"\n", casedrop_sandbox::DEMO_CASE_ID);
    for name in ["in/a.txt", "in/setup.exe"] {
        stage.write(name, name);
        stage.write(&format!("{name}.casedrop.toml"), &sidecar);
    }
    stage.run(&["sync"]);
    assert_eq!(tree(&stage.drop), BTreeMap::new());
    let delivered = [("in/a.txt", "in/a.txt"), ("in/a.txt.casedrop.toml", sidecar.as_str())];
    assert_eq!(tree(&archive(&stage)), of(&delivered));
    let mut refused = tree(&quarantine(&stage));
    refused.remove("in/setup.exe.reason.txt").unwrap();
    assert_eq!(refused, of(&[("in/setup.exe", "in/setup.exe"), ("in/setup.exe.casedrop.toml", sidecar.as_str())]));
    assert_eq!(visible(&stage), seen(&[("in - a.txt", "in/a.txt")]));
    // The next file of the name is not steered by what is gone.
    stage.write("in/a.txt", "another");
    stage.run(&["sync"]);
    assert!(stage.verdict("in/a.txt").starts_with("unrouted("), "{}", stage.verdict("in/a.txt"));
}

#[test]
fn a_hand_over_that_waits_ends_with_the_configuration_that_wanted_it() {
    let mut stage = stage("archive", "");
    stage.write("a.txt", "content");
    fs::remove_dir(archive(&stage)).unwrap();
    let daemon = stage.daemon();
    let why = |stage: &Stage| text(&stage.run(&["why", stage.path("a.txt").to_str().unwrap()]));
    wait("it waits", || why(&stage).contains("archive waits: there is no folder"), || daemon.log());
    assert!(daemon.stop().success());
    let keeps: Vec<&str> = stage.mirror.lines().filter(|line| !line.starts_with("archive =")).collect();
    let keeps = format!("{}\n", keeps.join("\n")).replace("\"archive\"", "\"keep\"");
    for other in [keeps, "settle = \"200ms\"\n".to_owned()] {
        let before = std::mem::replace(&mut stage.mirror, other);
        let daemon = stage.daemon();
        wait("it waits no more", || !why(&stage).contains("archive waits"), || why(&stage));
        assert_eq!(stage.verdict("a.txt"), "attached");
        assert!(daemon.stop().success());
        stage.mirror = before;
        let daemon = stage.daemon();
        wait("it is wanted again", || why(&stage).contains("archive waits"), || daemon.log());
        assert!(daemon.stop().success());
    }
    fs::create_dir(archive(&stage)).unwrap();
    let daemon = stage.daemon();
    wait("it goes", || tree(&archive(&stage)) == of(&[("a.txt", "content")]), || daemon.log());
    assert_eq!(visible(&stage), seen(&[("a.txt", "content")]));
    assert!(daemon.stop().success());
}
