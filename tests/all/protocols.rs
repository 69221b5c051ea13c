//! How writers say that a file is whole, and those that say nothing: scanners that close and open a file again, file
//! servers that keep the time of change, drafts that are renamed, triggers. Half a file is never sent.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use casedrop_sandbox::Op;

use crate::common::{Pace, Stage, sha256, undisturbed, wait};
use crate::ingest::{archive, stage, tree};

/// The pause of a device between two writes: a part of what the scene imitates, not a wait for something.
fn device_pause(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

fn append(path: &Path, content: &[u8]) {
    OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(content).unwrap();
}

fn sent(stage: &Stage) -> BTreeMap<String, String> {
    assert_eq!(stage.count(Op::DeleteAttachedFile), 0, "something was sent that had to go again");
    stage.visible()
}

fn line(stage: &Stage, path: &str) -> String {
    stage.list().into_iter().find(|line| line["path"] == path).map(|line| line.to_string()).unwrap_or_default()
}

fn wait_line(stage: &Stage, path: &str, part: &str) {
    let show = || format!("{:#?}", stage.list());
    wait(&format!("{path} shows {part:?}"), || line(stage, path).contains(part), show);
}

/// A duplex scanner closes the file between pages; a file server keeps size and time of change apart. In real times
/// the pauses are up to seven seconds, and `settle` is ten.
#[test]
fn writers_that_pause_are_waited_for() {
    undisturbed(pausing_writers);
}

fn pausing_writers() -> bool {
    let mut stage = stage("archive", "");
    stage.mirror = stage.mirror.replace("settle = \"200ms\"", "settle = \"1s\"");
    let daemon = stage.daemon();
    daemon.wait_ready();
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let mut pace = Pace::default();
    for page in 0..5_u8 {
        pace.write(|| {
            append(&stage.path("scan.txt"), &[b'a' + page; 4_000]);
            // The time of change stays, only the size tells.
            append(&stage.path("smb.txt"), &[b'k' + page; 4_000]);
            OpenOptions::new().append(true).open(stage.path("smb.txt")).unwrap().set_modified(old).unwrap();
        });
        device_pause(350);
    }
    if !pace.kept_below(Duration::from_secs(1)) {
        return false;
    }
    wait("both are archived", || tree(&archive(&stage)).len() == 2, || format!("{:#?}", stage.list()));
    let pages = |first: u8| (0..5).flat_map(|page| vec![first + page; 4_000]).collect::<Vec<u8>>();
    let whole = [("scan.txt", sha256(&pages(b'a'))), ("smb.txt", sha256(&pages(b'k')))];
    assert_eq!(sent(&stage), whole.map(|(name, hash)| (name.to_owned(), hash)).into());
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 2, "a part of a file was sent");
    stage.assert_settled(daemon);
    true
}

/// The same without events, as on a network share: size and time of change are looked at, each by itself.
#[test]
fn writers_that_pause_are_waited_for_on_a_share() {
    undisturbed(pausing_writers_on_a_share);
}

fn pausing_writers_on_a_share() -> bool {
    let mut stage = stage("archive", "watch = \"poll\"\nrescan = \"1s\"\n");
    stage.mirror = stage.mirror.replace("settle = \"200ms\"", "settle = \"2s\"");
    let daemon = stage.daemon();
    daemon.wait_ready();
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let mut pace = Pace::default();
    for part in 0..8_u8 {
        pace.write(|| {
            append(&stage.path("grows.txt"), &[part; 1_000]);
            OpenOptions::new().append(true).open(stage.path("grows.txt")).unwrap().set_modified(old).unwrap();
            // Its size is there from the start, the content comes by and by.
            let mut whole = vec![0; 8_000];
            (0..=usize::from(part)).for_each(|at| whole[at * 1_000..(at + 1) * 1_000].fill(part + 1));
            fs::write(stage.path("filled.txt"), &whole).unwrap();
        });
        device_pause(400);
    }
    if !pace.kept_below(Duration::from_secs(2)) {
        return false;
    }
    wait("both are archived", || tree(&archive(&stage)).len() == 2, || format!("{:#?}", stage.list()));
    let grown: Vec<u8> = (0..8).flat_map(|part| vec![part; 1_000]).collect();
    let expected = [("filled.txt", sha256(&[8; 8_000])), ("grows.txt", sha256(&grown))];
    assert_eq!(sent(&stage), expected.map(|(name, hash)| (name.to_owned(), hash)).into());
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 2, "a part of a file was sent");
    stage.assert_settled(daemon);
    true
}

#[test]
fn a_draft_is_taken_when_its_suffix_is_renamed_away() {
    let stage = stage("archive", "in_progress_suffix = \".tmp\"\n");
    let daemon = stage.daemon();
    stage.write("fax/1.txt.tmp", "half a");
    wait_line(&stage, "fax/1.txt.tmp", "in_progress_suffix");
    append(&stage.path("fax/1.txt.tmp"), b" fax");
    stage.marker("marker.txt");
    fs::rename(stage.path("fax/1.txt.tmp"), stage.path("fax/1.txt")).unwrap();
    wait("it is archived", || archive(&stage).join("fax/1.txt").exists(), || format!("{:#?}", stage.list()));
    assert_eq!(fs::read(archive(&stage).join("fax/1.txt")).unwrap(), b"half a fax");
    assert_eq!(sent(&stage).get("fax - 1.txt"), Some(&sha256(b"half a fax")));
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 2, "the marker and the fax");
    stage.assert_settled(daemon);
}

#[test]
fn a_file_waits_for_its_trigger_and_both_go_together() {
    let stage = stage("archive", "trigger_suffix = \".ok\"\n");
    let daemon = stage.daemon();
    stage.write("in/waits.txt", "waits");
    stage.write("in/early.txt.ok", "");
    stage.write("in/ready.txt", "ready");
    stage.write("in/ready.txt.ok", "trigger");
    let trigger = archive(&stage).join("in/ready.txt.ok");
    wait("the one with a trigger is archived, and it too", || trigger.exists(), || daemon.log());
    assert_eq!(fs::read(archive(&stage).join("in/ready.txt")).unwrap(), b"ready");
    assert_eq!(fs::read(trigger).unwrap(), b"trigger");
    wait_line(&stage, "in/waits.txt", "not whole yet: its trigger");
    wait_line(&stage, "in/early.txt.ok", "that file is not there");
    assert_eq!(stage.verdict("in/waits.txt"), "settling");
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 1);
    // The file comes after its trigger.
    stage.write("in/early.txt", "early");
    wait("it is archived", || archive(&stage).join("in/early.txt").exists(), || format!("{:#?}", stage.list()));
    stage.write("in/waits.txt.ok", "");
    wait(
        "nothing is left",
        || tree(&stage.drop).is_empty() && stage.list().is_empty(),
        || format!("{:#?}", stage.list()),
    );
    assert_eq!(sent(&stage).len(), 3);
    assert_eq!(tree(&archive(&stage)).len(), 6, "each with its trigger");
    stage.assert_settled(daemon);
}

/// A trigger is taken back after a look and before the file has come to rest, which no event tells; and it comes again.
#[test]
fn a_trigger_that_is_taken_back_counts_no_more() {
    let mut stage = stage("archive", "trigger_suffix = \".ok\"\nwatch = \"poll\"\nrescan = \"15s\"\n");
    stage.mirror = stage.mirror.replace("settle = \"200ms\"", "settle = \"8s\"");
    stage.write("a.txt", "a");
    stage.write("a.txt.ok", "");
    let daemon = stage.daemon();
    stage.wait_verdict("a.txt", "settling");
    fs::remove_file(stage.path("a.txt.ok")).unwrap();
    wait_line(&stage, "a.txt", "not whole yet");
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 0);
    stage.write("a.txt.ok", "");
    wait("it is archived", || archive(&stage).join("a.txt").exists(), || format!("{:#?}", stage.list()));
    wait("its trigger is gone too", || !stage.path("a.txt.ok").exists(), || daemon.log());
    wait("it is recorded", || stage.list().is_empty(), || format!("{:#?}", stage.list()));
    assert_eq!(sent(&stage).len(), 1);
    stage.assert_settled(daemon);
}

#[test]
fn a_batch_with_triggers_in_any_order_arrives_whole() {
    let stage = stage("delete", "trigger_suffix = \".ok\"\n");
    let daemon = stage.daemon();
    for n in 0..12 {
        let (file, trigger) = (format!("b/{n}.txt"), format!("b/{n}.txt.ok"));
        let order = if n % 2 == 0 { [&file, &trigger] } else { [&trigger, &file] };
        order.iter().for_each(|name| {
            stage.write(name, if name.ends_with(".ok") { String::new() } else { format!("content {n}") })
        });
    }
    wait("all went", || tree(&stage.drop).is_empty() && stage.list().is_empty(), || format!("{:#?}", stage.list()));
    let expected: BTreeMap<String, String> =
        (0..12).map(|n| (format!("b - {n}.txt"), sha256(format!("content {n}").as_bytes()))).collect();
    assert_eq!(sent(&stage), expected);
    stage.assert_settled(daemon);
}

#[test]
fn in_a_mirror_the_trigger_stays() {
    let mut stage = Stage::new();
    stage.mirror.push_str("trigger_suffix = \".ok\"\n");
    stage.write("a.txt", "a");
    stage.write("a.txt.ok", "");
    stage.write("b.txt", "b");
    let output = stage.run(&["sync"]);
    assert!(output.status.success());
    assert_eq!(stage.visible(), [("a.txt".to_owned(), sha256(b"a"))].into());
    assert_eq!(stage.verdict("b.txt"), "settling");
    assert!(stage.verdict("a.txt.ok").starts_with("ignored(trigger_suffix"), "{}", stage.verdict("a.txt.ok"));
    assert!(stage.path("a.txt.ok").exists());
}
