//! Death at every point of a hand-over: after the next start no byte is lost, nothing is delivered twice, nothing of
//! casedrop's own is left lying about, and a file that came to the path meanwhile is a delivery of its own.
//!
//! The points are those of `src/crash.rs`; a scene whose point is not reached fails, because its daemon lives on.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use casedrop_sandbox::{FileStatus, Op};

use crate::common::{DEADLINE, Stage, sha256, text, wait};
use crate::ingest::{archive, quarantine, stage, tree};

/// Runs the daemon until the point kills it.
fn die_at(stage: &Stage, point: &str) {
    let log = stage.dir.path().join(format!("crash-{point}.log"));
    let mut child = stage
        .command()
        .arg("run")
        .env("CASEDROP_CRASH", point)
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let began = std::time::Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > DEADLINE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{point} was never reached\n{}", fs::read_to_string(&log).unwrap());
        }
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    };
    assert!(!status.success(), "{point}: it ended by itself");
}

fn visible(stage: &Stage) -> Vec<(String, String)> {
    let approved = stage.ours().into_iter().filter(|file| file.status == FileStatus::Approved);
    let mut seen: Vec<_> = approved.map(|file| (file.file_name, file.sha256.unwrap_or_default())).collect();
    seen.sort();
    seen
}

/// Every content of a folder, sorted, papers and triggers left out.
fn contents(folder: &Path) -> Vec<String> {
    let papers = [".receipt.json", ".reason.txt", ".ok"];
    let files = tree(folder).into_iter().filter(|(name, _)| !papers.iter().any(|end| name.ends_with(end)));
    let mut all: Vec<String> = files.map(|(_, hash)| hash).collect();
    all.sort();
    all
}

fn hashes(all: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = all.iter().map(|content| sha256(content.as_bytes())).collect();
    all.sort();
    all
}

/// Brings everything to its end and finds nothing left over.
fn recover(stage: &Stage, store: &Path, point: &str) {
    let daemon = stage.daemon();
    let show = || format!("{:#?}\n{:#?}\n{:#?}\n{}", stage.list(), tree(&stage.drop), tree(store), daemon.log());
    wait(&format!("{point}: all is handed over"), || tree(&stage.drop).is_empty() && stage.list().is_empty(), show);
    for folder in [stage.drop.as_path(), store] {
        let left: Vec<_> = tree(folder).into_keys().filter(|name| name.contains(".casedrop-")).collect();
        assert!(left.is_empty(), "{point}: left over: {left:?}");
    }
    stage.assert_settled(daemon);
}

/// Dies at the point with one file on its way; then again with another one put to its path before the next start.
fn kill_at(point: &str, new: impl Fn() -> (Stage, PathBuf), content: &str, delivered: bool, reused: bool) {
    let (stage, store) = new();
    let removes = store == stage.dir.path();
    let stored = |stage: &Stage| if removes { Vec::new() } else { contents(&store_of(stage, &store)) };
    let kept = |all: &[&str]| if removes { Vec::new() } else { hashes(all) };
    if removes && reused {
        // A new file with the inode of the removed one and equal bytes cannot be told from that one touched in place,
        // which is no new delivery (invariant 8): here it gets an inode of its own.
        fs::hard_link(stage.path("in/a.txt"), stage.dir.path().join("keeps-the-inode")).unwrap();
    }
    die_at(&stage, point);
    // At every moment the bytes are somewhere: here, there, or at Connect with the proof in the journal.
    let somewhere = contents(&stage.drop).contains(&sha256(content.as_bytes()))
        || stored(&stage).contains(&sha256(content.as_bytes()))
        || (removes && delivered);
    assert!(somewhere, "{point}: the bytes are nowhere");
    if reused {
        assert!(!stage.path("in/a.txt").exists(), "{point}: the path is not free");
        // With equal bytes, which is the harder case.
        stage.write("in/a.txt", content);
        if stage.mirror.contains("trigger_suffix") {
            stage.write("in/a.txt.ok", "");
        }
        recover(&stage, &store_of(&stage, &store), point);
        assert_eq!(stored(&stage), kept(&[content, content]), "{point}");
        let twice = vec![("in - a.txt".to_owned(), sha256(content.as_bytes())); 2];
        assert_eq!(visible(&stage), if delivered { twice } else { Vec::new() }, "{point}");
    } else {
        recover(&stage, &store_of(&stage, &store), point);
        assert_eq!(stored(&stage), kept(&[content]), "{point}");
        let once = vec![("in - a.txt".to_owned(), sha256(content.as_bytes()))];
        assert_eq!(visible(&stage), if delivered { once } else { Vec::new() }, "{point}");
    }
    if delivered {
        assert_eq!(stage.count(Op::DeleteAttachedFile), 0, "{point}: something was deleted at Connect");
    } else {
        assert!(stage.ours().is_empty(), "{point}: a refused record is left: {:#?}", stage.ours());
    }
    let papers = tree(&store_of(&stage, &store)).into_keys().filter(|name| name.ends_with(".receipt.json")).count();
    if stage.mirror.contains("receipts = true") {
        assert_eq!(papers, contents(&store_of(&stage, &store)).len(), "{point}: a receipt for each");
    }
}

/// Scenes of every point, and of those where the path is free again also with a new file there; a few at a time, for
/// they mostly wait.
fn side_by_side(points: &[&str], reused: &[&str], scene: &(dyn Fn(&str, bool) + Sync)) {
    let plain = points.iter().map(|point| (*point, false));
    let all: Vec<(&str, bool)> = plain.chain(reused.iter().map(|point| (*point, true))).collect();
    for some in all.chunks(4) {
        std::thread::scope(|scope| {
            for (point, reused) in some {
                scope.spawn(move || scene(point, *reused));
            }
        });
    }
}

fn store_of(stage: &Stage, store: &Path) -> PathBuf {
    if store == stage.dir.path() { archive(stage) } else { store.to_owned() }
}

const ARCHIVING: &[&str] = &[
    "handover.chosen",
    "handover.begun",
    "handover.trigger",
    "handover.checked",
    "handover.renamed",
    "handover.synced",
    "handover.written",
    "handover.recorded",
];
const COPYING: &[&str] = &[
    "handover.trigger",
    "handover.checked",
    "handover.copied",
    "handover.placed",
    "handover.aside",
    "handover.removed",
    "handover.synced",
    "handover.written",
    "handover.recorded",
];
const REMOVING: &[&str] =
    &["handover.begun", "handover.checked", "handover.aside", "handover.removed", "handover.recorded"];
const QUARANTINING: &[&str] =
    &["handover.begun", "handover.checked", "handover.renamed", "handover.written", "handover.recorded"];

/// Every point that a scene here walks.
pub fn points() -> impl Iterator<Item = &'static str> {
    [ARCHIVING, COPYING, REMOVING, QUARANTINING].into_iter().flatten().copied()
}

fn archiving() -> (Stage, PathBuf) {
    let stage = stage("archive", "receipts = true\ntrigger_suffix = \".ok\"\n");
    stage.write("in/a.txt", "content");
    stage.write("in/a.txt.ok", "");
    let store = archive(&stage);
    (stage, store)
}

#[test]
fn killed_while_archiving() {
    side_by_side(ARCHIVING, &["handover.renamed", "handover.written", "handover.recorded"], &|point, reused| {
        kill_at(point, archiving, "content", true, reused)
    });
}

/// A folder on another file system than the tests' own; `None`, said aloud, where this host has none.
pub fn elsewhere(stage: &Stage) -> Option<tempfile::TempDir> {
    let here = fs::metadata(stage.dir.path()).unwrap().dev();
    let shm = fs::metadata("/dev/shm").ok().filter(|meta| meta.is_dir() && meta.dev() != here);
    let folder = shm.and_then(|_| tempfile::tempdir_in("/dev/shm").ok());
    if folder.is_none() {
        println!("NOT RUN: this host has no second file system at /dev/shm to archive to");
    }
    folder
}

#[test]
fn killed_while_archiving_to_another_file_system() {
    side_by_side(COPYING, &["handover.aside", "handover.removed", "handover.written"], &|point, reused| {
        let (mut stage, _) = archiving();
        let Some(other) = elsewhere(&stage) else { return };
        stage.mirror = stage.mirror.replace(archive(&stage).to_str().unwrap(), other.path().to_str().unwrap());
        let taken = std::cell::Cell::new(Some((stage, other.path().to_owned())));
        kill_at(point, || taken.take().unwrap(), "content", true, reused);
    });
}

#[test]
fn killed_while_removing() {
    let new = || {
        let stage = stage("delete", "");
        stage.write("in/a.txt", "content");
        let all = stage.dir.path().to_owned();
        (stage, all)
    };
    let reused = ["handover.aside", "handover.removed", "handover.recorded"];
    side_by_side(REMOVING, &reused, &|point, reused| {
        kill_at(point, new, "content", true, reused);
    });
}

#[test]
fn killed_while_quarantining() {
    let new = || {
        let mut stage = stage("archive", "");
        stage.mirror.push_str("file_name = \"path\"\n");
        stage.sandbox.set_scan(
            casedrop_sandbox::Scan::default()
                .rule(regex::Regex::new("a\\.txt").unwrap(), casedrop_sandbox::Verdict::Rejected),
        );
        stage.write("in/a.txt", "content");
        let store = quarantine(&stage);
        (stage, store)
    };
    side_by_side(QUARANTINING, &["handover.renamed", "handover.recorded"], &|point, reused| {
        kill_at(point, new, "content", false, reused);
    });
}

/// What was found to be missing at Connect while its hand-over was cut off does not go: it is attached anew first.
#[test]
fn what_is_missing_at_connect_is_not_handed_over_before_it_is_there_again() {
    for after in ["archive", "delete"] {
        let stage = stage(after, "");
        stage.write("in/a.txt", "content");
        die_at(&stage, "handover.begun");
        crate::verify::age(&stage);
        stage.sandbox.lose_file(&stage.ours()[0].file_id);
        let found = text(&stage.run(&["verify"]));
        assert!(found.contains("missing"), "{found}");
        assert_eq!(stage.verdict("in/a.txt"), "parked(missing-remotely)");
        let shown = text(&stage.run(&["verify", "--fix", "missing", "--count", "1"]));
        assert!(shown.contains("1 of 1 under way"), "{shown}");
        recover(&stage, &archive(&stage), after);
        let expected = if after == "archive" { hashes(&["content"]) } else { Vec::new() };
        assert_eq!(contents(&archive(&stage)), expected, "{after}");
        assert_eq!(visible(&stage), [("in - a.txt".to_owned(), sha256(b"content"))], "{after}");
    }
}

/// A mirror that is no longer an ingesting one takes nothing for a removal that an earlier run has half done.
#[test]
fn killed_while_archiving_and_started_as_a_mirror() {
    for point in ["handover.renamed", "handover.written"] {
        let (mut stage, store) = archiving();
        stage.write("stays.txt", "stays");
        stage.write("stays.txt.ok", "");
        die_at(&stage, point);
        let moved = !stage.path("in/a.txt").exists();
        stage.mirror = "settle = \"200ms\"\nrescan = \"1s\"\ndelete_grace = \"1s\"\ndelete_budget = \"off\"\n\
                        trigger_suffix = \".ok\"\n"
            .to_owned();
        let daemon = stage.daemon();
        wait("it has looked twice", || daemon.log().contains("ready: "), || daemon.log());
        stage.wait_passes();
        stage.wait_passes();
        assert_eq!(stage.count(Op::DeleteAttachedFile), 0, "{point}: {moved}\n{}", text(&stage.run(&["log"])));
        assert!(!tree(&store).is_empty());
        drop(daemon);
    }
}

#[test]
fn another_file_system_gets_a_whole_copy() {
    let mut stage = stage("archive", "receipts = true\n");
    let Some(other) = elsewhere(&stage) else { return };
    stage.mirror = stage.mirror.replace(archive(&stage).to_str().unwrap(), other.path().to_str().unwrap());
    let content: Vec<u8> = (0..3_000_001_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
    stage.write("x/large.txt", &content);
    let before = fs::metadata(stage.path("x/large.txt")).unwrap();
    stage.sync();
    let after = fs::metadata(other.path().join("x/large.txt")).unwrap();
    assert_eq!((after.mtime(), after.mtime_nsec(), after.mode()), (before.mtime(), before.mtime_nsec(), before.mode()));
    assert_ne!(after.dev(), before.dev());
    assert_eq!(fs::read(other.path().join("x/large.txt")).unwrap(), content);
    assert_eq!(tree(&stage.drop), BTreeMap::new());
    assert_eq!(tree(other.path()).len(), 2);
}
