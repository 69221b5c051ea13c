//! The daemon with the real watcher on a real folder: what people and programs do to files, and what agents see.
//!
//! That something did *not* happen is shown by a marker file, written afterwards and attached: by then the quiet
//! time of everything before it is over. Then the daemon is stopped, and a pass must find nothing left to do.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use crate::common::{Pace, Stage, sha256, text, undisturbed, wait};
use casedrop_sandbox::{FileStatus, Op, Scan};

/// A grace that no pause of a busy machine outlasts.
fn patient(stage: &mut Stage) {
    stage.mirror = stage.mirror.replace("delete_grace = \"1s\"", "delete_grace = \"1h\"");
}

fn attach(stage: &Stage, names: &[&str]) {
    for name in names {
        stage.write(name, format!("content of {name}"));
    }
}

#[test]
fn every_kind_of_file_has_its_verdict() {
    let stage = Stage::new();
    let daemon = stage.daemon();
    daemon.wait_ready();
    let long = format!("{}.pdf", "x".repeat(251));
    attach(
        &stage,
        &["letter.pdf", "photo.png", "Brief.docx", "a/b/c/deep.pdf", "with space.pdf", "smile 😀.pdf", &long],
    );
    let odd = stage.drop.join(OsStr::from_bytes(b"caf\xe9.pdf"));
    fs::write(&odd, "latin-1").unwrap();
    stage.write("empty.pdf", "");
    stage.write("big.pdf", vec![7; 25 << 20]);
    stage.write("setup.exe", "MZ");
    stage.write(".hidden.pdf", "hidden");
    stage.write("letter.pdf~", "backup");

    for (path, verdict) in [
        ("letter.pdf", "attached"),
        ("photo.png", "attached"),
        ("Brief.docx", "attached"),
        ("a/b/c/deep.pdf", "attached"),
        ("with space.pdf", "attached"),
        ("smile 😀.pdf", "attached"),
        (long.as_str(), "attached"),
        (r"caf\xe9.pdf", "attached"),
        ("empty.pdf", "parked(empty-file)"),
        ("big.pdf", "parked(too-large)"),
        ("setup.exe", "parked(type-not-allowed)"),
        (".hidden.pdf", "ignored(built-in: hidden name (.*))"),
        ("letter.pdf~", "ignored(built-in: editor's backup (*~))"),
    ] {
        stage.wait_verdict(path, verdict);
    }
    // Names that Connect would not take carry a tag; all others are as they are.
    let visible = stage.visible();
    let mapped = |start: &str, bytes: &[u8]| {
        let tag = sha256(bytes)[..8].to_owned();
        format!("{start}~{tag}.pdf")
    };
    let expected: BTreeMap<String, String> = [
        ("letter.pdf".to_owned(), "letter.pdf"),
        ("photo.png".to_owned(), "photo.png"),
        ("Brief.docx".to_owned(), "Brief.docx"),
        ("a - b - c - deep.pdf".to_owned(), "a/b/c/deep.pdf"),
        ("with space.pdf".to_owned(), "with space.pdf"),
        ("smile 😀.pdf".to_owned(), "smile 😀.pdf"),
        (mapped(&"x".repeat(200 - 13), long.as_bytes()), long.as_str()),
    ]
    .into_iter()
    .map(|(name, path)| (name, sha256(&fs::read(stage.path(path)).unwrap())))
    .chain([(mapped("caf_", b"caf\xe9.pdf"), sha256(b"latin-1"))])
    .collect();
    assert_eq!(visible, expected);
    assert!(stage.ours().iter().all(|file| file.status == FileStatus::Approved), "{:?}", stage.ours());
    // A path with a byte that is no text is found again in the form that is shown.
    let why = stage.run(&["why", r"caf\xe9.pdf", "--json"]);
    assert!(why.status.success() && text(&why).contains("caf_~"), "{}", text(&why));
    stage.assert_settled(daemon);
}

#[test]
fn what_is_no_regular_file_is_ignored_by_name_of_the_rule() {
    let stage = Stage::new();
    let daemon = stage.daemon();
    daemon.wait_ready();
    let outside = stage.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret.pdf"), "not to be followed").unwrap();
    std::os::unix::fs::symlink(outside.join("secret.pdf"), stage.path("link.pdf")).unwrap();
    std::os::unix::fs::symlink(&outside, stage.path("linked-folder")).unwrap();
    std::os::unix::fs::symlink(".", stage.path("loop")).unwrap();
    assert!(Command::new("mkfifo").arg(stage.path("pipe.pdf")).status().unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(stage.path("socket.pdf")).unwrap();
    for (path, verdict) in [
        ("link.pdf", "ignored(symbolic link)"),
        ("linked-folder", "ignored(symbolic link)"),
        ("loop", "ignored(symbolic link)"),
        ("pipe.pdf", "ignored(named pipe)"),
        ("socket.pdf", "ignored(socket)"),
    ] {
        stage.wait_verdict(path, verdict);
    }
    stage.marker("marker.txt");
    assert_eq!(stage.ours().len(), 1, "{:?}", stage.ours());
    stage.assert_settled(daemon);
}

#[test]
fn the_same_bytes_again_cause_no_call() {
    let stage = Stage::new();
    attach(&stage, &["touched.txt", "rewritten.txt", "replaced.txt", "stays.txt"]);
    let daemon = stage.daemon();
    stage.wait_attached();
    let before = stage.changes().len();
    File::open(stage.path("touched.txt")).unwrap().set_modified(SystemTime::now() - Duration::from_secs(5)).unwrap();
    fs::write(stage.path("rewritten.txt"), "content of rewritten.txt").unwrap();
    stage.write("new.tmp", "content of replaced.txt");
    fs::rename(stage.path("new.tmp"), stage.path("replaced.txt")).unwrap();
    stage.marker("marker.txt");
    for path in ["touched.txt", "rewritten.txt", "replaced.txt", "stays.txt"] {
        stage.wait_verdict(path, "attached");
    }
    stage.assert_settled(daemon);
    let more = stage.changes().split_off(before);
    assert_eq!(more, [Op::StartAttachedFileUpload, Op::PutObject, Op::CompleteAttachedFileUpload], "the marker's");
    stage.assert_equal();
}

#[test]
fn edits_and_saves_replace_and_the_new_is_visible_before_the_old_goes() {
    let mut stage = Stage::with(|settings| settings.scan = Scan::after(Duration::from_millis(500)));
    // A save is no removal, however long this process is paused in the middle of it.
    patient(&mut stage);
    let names = ["edited.txt", "renamed-over.txt", "vim.txt", "office.docx"];
    attach(&stage, &names);
    let daemon = stage.daemon();
    stage.wait_attached();
    let old: BTreeMap<String, String> = stage.ours().into_iter().map(|f| (f.file_name, f.file_id)).collect();
    stage.sandbox.clear_requests();

    // In place.
    fs::write(stage.path("edited.txt"), "edited").unwrap();
    // A temporary file, renamed over.
    stage.write(".renamed-over.txt.swp", "swap");
    stage.write("renamed-over.tmp", "saved by rename");
    fs::rename(stage.path("renamed-over.tmp"), stage.path("renamed-over.txt")).unwrap();
    // As vim does by default: may I write here, the old one is the backup, a new one, the backup goes.
    stage.write("4913", "");
    fs::remove_file(stage.path("4913")).unwrap();
    fs::rename(stage.path("vim.txt"), stage.path("vim.txt~")).unwrap();
    stage.write("vim.txt", "saved by vim");
    fs::remove_file(stage.path("vim.txt~")).unwrap();
    // As LibreOffice does: a lock, a temporary file, renamed over, the lock goes.
    stage.write(".~lock.office.docx#", "someone");
    stage.write("lu12345abc.tmp", "saved by LibreOffice");
    fs::rename(stage.path("lu12345abc.tmp"), stage.path("office.docx")).unwrap();
    fs::remove_file(stage.path(".~lock.office.docx#")).unwrap();
    fs::remove_file(stage.path(".renamed-over.txt.swp")).unwrap();

    wait(
        "every file is replaced",
        || {
            // At no time is a file without a version that agents can see.
            let visible: BTreeSet<_> =
                stage.ours().into_iter().filter(|f| f.status == FileStatus::Approved).map(|f| f.file_name).collect();
            assert!(names.iter().all(|name| visible.contains(*name)), "only {visible:?} can be seen");
            stage.is_equal()
        },
        || format!("{:#?}\n{:#?}", stage.ours(), stage.sandbox.requests()),
    );
    let new: BTreeMap<String, String> = stage.ours().into_iter().map(|f| (f.file_name, f.file_id)).collect();
    stage.assert_settled(daemon);
    stage.assert_equal();
    assert_eq!(
        stage.count(Op::StartAttachedFileUpload),
        names.len(),
        "one attempt for each save, none for its helpers"
    );
    assert_eq!(stage.count(Op::DeleteAttachedFile), names.len());
    let requests = stage.sandbox.requests();
    let place = |op: Op, id: &str| {
        let found = requests.iter().position(|r| r.op == op && r.file_id.as_deref() == Some(id));
        found.unwrap_or_else(|| panic!("no {op:?} of {id}"))
    };
    for name in names {
        let completed = place(Op::CompleteAttachedFileUpload, &new[name]);
        let deleted = place(Op::DeleteAttachedFile, &old[name]);
        let asked = requests[completed..deleted].iter().any(|r| r.op == Op::BatchGetAttachedFileMetadata);
        assert!(asked, "{name}: the old version goes only when the new one was seen to be approved");
    }
}

#[test]
fn renames_moved_folders_and_trees_from_outside() {
    let stage = Stage::new();
    attach(&stage, &["old name.txt", "report.txt", "folder/one.txt", "folder/sub/two.txt", "stays.txt"]);
    let outside = stage.dir.path().join("outside");
    let fill = |root: &str| {
        for n in 0..4 {
            let folder = outside.join(root).join(format!("level{n}/deeper/deepest"));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(format!("{n}.txt")), format!("{root} {n}")).unwrap();
            fs::write(folder.join(format!("../{n}.txt")), format!("{root} above {n}")).unwrap();
        }
    };
    fill("moved tree");
    fill("copied tree");
    let daemon = stage.daemon();
    stage.wait_attached();
    let kept = stage.ours().into_iter().find(|file| file.file_name == "stays.txt").unwrap();

    fs::rename(stage.path("old name.txt"), stage.path("new name.txt")).unwrap();
    fs::rename(stage.path("report.txt"), stage.path("report 2025.txt")).unwrap();
    stage.write("report.txt", "another report under the old name");
    fs::rename(stage.path("folder"), stage.path("elsewhere")).unwrap();
    fs::rename(outside.join("moved tree"), stage.path("moved tree")).unwrap();
    let copied = Command::new("cp").arg("-r").arg(outside.join("copied tree")).arg(&stage.drop).status().unwrap();
    assert!(copied.success());
    stage.wait_equal();
    assert_eq!(stage.visible().len(), 6 + 16);
    assert!(stage.ours().contains(&kept), "what was not touched keeps its attachment");
    // And back out of the folder: a tree that is gone at once.
    fs::rename(stage.path("moved tree"), outside.join("moved tree")).unwrap();
    stage.wait_equal();
    stage.assert_settled(daemon);
    stage.assert_equal();
}

#[test]
fn a_move_that_keeps_the_name_makes_no_call() {
    let mut stage = Stage::new();
    stage.mirror.push_str("file_name = \"base\"\n");
    patient(&mut stage);
    attach(&stage, &["in/a.pdf", "in/b.pdf"]);
    let daemon = stage.daemon();
    stage.wait_verdict("in/a.pdf", "attached");
    stage.wait_verdict("in/b.pdf", "attached");
    let before = (stage.changes().len(), stage.ours());
    fs::create_dir(stage.path("done")).unwrap();
    fs::rename(stage.path("in/a.pdf"), stage.path("done/a.pdf")).unwrap();
    stage.wait_verdict("done/a.pdf", "attached");
    assert_eq!(stage.verdict("in/a.pdf"), "-");
    fs::rename(stage.path("in"), stage.path("in 2026")).unwrap();
    stage.wait_verdict("in 2026/b.pdf", "attached");
    assert_eq!((stage.changes().len(), stage.ours()), before);
    stage.assert_settled(daemon);
}

#[test]
fn deletes_wait_for_their_grace_and_spare_what_comes_back() {
    let mut stage = Stage::new();
    stage.mirror = stage.mirror.replace("\"off\"", "\"20, 100%\"");
    let short = stage.mirror.replace("\"1s\"", "\"3s\"");
    patient(&mut stage);
    attach(&stage, &["single.txt", "returns.txt", "stays.txt", "tree/a.txt", "tree/b/c.txt", "tree/b/d.txt"]);
    let daemon = stage.daemon();
    stage.wait_attached();
    let returns = stage.ours().into_iter().find(|file| file.file_name == "returns.txt").unwrap();
    let aside = stage.dir.path().join("aside.txt");

    fs::rename(stage.path("returns.txt"), &aside).unwrap();
    stage.wait_verdict("returns.txt", "deleting");
    fs::rename(&aside, stage.path("returns.txt")).unwrap();
    stage.wait_verdict("returns.txt", "attached");
    assert!(daemon.stop().success());
    stage.mirror = short;
    let daemon = stage.daemon();
    daemon.wait_ready();
    let gone = Instant::now();
    fs::remove_file(stage.path("single.txt")).unwrap();
    fs::remove_dir_all(stage.path("tree")).unwrap();
    wait("the first delete", || !stage.sandbox.deleted().is_empty(), || daemon.log());
    // The program counts in whole milliseconds.
    assert!(gone.elapsed() >= Duration::from_millis(2_990), "deleted after {:?} already", gone.elapsed());
    stage.wait_equal();
    assert!(stage.ours().contains(&returns), "restored in time, it keeps its attachment");
    let deleted: BTreeSet<_> = stage.sandbox.deleted().into_iter().map(|file| file.file_name).collect();
    let expected = ["single.txt", "tree - a.txt", "tree - b - c.txt", "tree - b - d.txt"];
    assert_eq!(deleted, expected.map(str::to_owned).into());
    stage.assert_settled(daemon);
    stage.assert_equal();
}

#[test]
fn beyond_the_budget_nothing_goes_until_a_person_releases_exactly_that() {
    let mut stage = Stage::often();
    stage.mirror = stage.mirror.replace("\"off\"", "\"3, 100%\"");
    // Five are gone in one step: of some that go one by one, the first would be within the budget.
    let names: Vec<String> = (0..8).map(|n| if n < 5 { format!("gone/{n}.txt") } else { format!("{n}.txt") }).collect();
    attach(&stage, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let daemon = stage.daemon();
    stage.wait_attached();
    fs::rename(stage.path("gone"), stage.dir.path().join("gone")).unwrap();
    stage.wait_hold("delete-budget");
    stage.marker("uploads go on.txt");
    stage.wait_passes();
    assert_eq!(stage.count(Op::DeleteAttachedFile), 0, "nothing is deleted under a hold");
    assert!(daemon.log().contains("delete-budget"), "{}", daemon.log());
    let listed: Vec<String> = names.iter().map(|name| stage.verdict(name)).collect();
    assert_eq!(listed.iter().filter(|verdict| *verdict == "deleting").count(), 5, "{listed:?}");

    let refused = stage.run(&["release", "drop"]);
    assert_eq!(refused.status.code(), Some(78), "without a terminal and a number: {}", text(&refused));
    let refused = stage.run(&["release", "drop", "--count", "4"]);
    assert_eq!(refused.status.code(), Some(78), "{}", text(&refused));
    assert!(text(&refused).contains("which is 5"), "{}", text(&refused));
    stage.wait_passes();
    assert_eq!((stage.hold().as_str(), stage.count(Op::DeleteAttachedFile)), ("delete-budget", 0));

    let released = stage.run(&["release", "drop", "--count", "5"]);
    assert!(released.status.success(), "{}", text(&released));
    stage.wait_equal();
    stage.wait_hold("");
    let deleted: BTreeSet<String> = stage.sandbox.deleted().into_iter().map(|file| file.file_name).collect();
    assert_eq!(deleted, names.iter().take(5).map(|name| name.replace('/', " - ")).collect());
    // The release is spent: the same again is held again.
    names.iter().skip(5).for_each(|name| fs::remove_file(stage.path(name)).unwrap());
    stage.wait_hold("delete-budget");
    assert_eq!(stage.sandbox.deleted().len(), 5);
    assert!(daemon.stop().success());
}

#[test]
fn changes_while_stopped_are_found_at_the_start() {
    let stage = Stage::new();
    attach(&stage, &["changed.txt", "removed.txt", "renamed.txt", "folder/moved.txt", "stays.txt"]);
    let daemon = stage.daemon();
    stage.wait_attached();
    assert!(daemon.stop().success());
    let before = stage.changes().len();
    stage.write("changed.txt", "changed while nothing ran");
    stage.write("added.txt", "added while nothing ran");
    fs::remove_file(stage.path("removed.txt")).unwrap();
    fs::rename(stage.path("renamed.txt"), stage.path("another name.txt")).unwrap();
    fs::rename(stage.path("folder"), stage.path("other folder")).unwrap();
    let daemon = stage.daemon();
    stage.wait_attached();
    stage.assert_settled(daemon);
    stage.assert_equal();
    let more = stage.changes().split_off(before);
    let count = |op: Op| more.iter().filter(|o| **o == op).count();
    assert_eq!((count(Op::StartAttachedFileUpload), count(Op::DeleteAttachedFile)), (4, 4), "{more:?}");
}

#[test]
fn an_emptied_root_deletes_nothing() {
    let stage = Stage::often();
    attach(&stage, &["all/a.txt", "all/b.txt", "all/folder/c.txt"]);
    let daemon = stage.daemon();
    stage.wait_attached();
    let before = (stage.changes().len(), stage.ours());
    // As a lost mount or a wrong `rm` does it: the folder stays, all that was in it is gone. In one step, so that the
    // grace of none is over before the last is gone.
    let aside = stage.dir.path().join("aside");
    fs::rename(stage.path("all"), &aside).unwrap();
    stage.wait_hold("root-emptied");
    stage.wait_passes();
    stage.wait_passes();
    assert_eq!((stage.changes().len(), stage.ours()), before, "the grace is long over, and nothing was deleted");
    assert_eq!(stage.hold(), "root-emptied");
    fs::rename(&aside, stage.path("all")).unwrap();
    stage.wait_hold("");
    stage.wait_verdict("all/folder/c.txt", "attached");
    assert_eq!((stage.changes().len(), stage.ours()), before);
    stage.assert_settled(daemon);
}

#[test]
fn a_root_that_goes_away_or_is_replaced_deletes_nothing() {
    let stage = Stage::often();
    attach(&stage, &["a.txt", "b.txt", "folder/c.txt"]);
    let daemon = stage.daemon();
    stage.wait_attached();
    let before = (stage.changes().len(), stage.ours());
    let aside = stage.dir.path().join("aside");
    fs::rename(&stage.drop, &aside).unwrap();
    stage.wait_hold("root-missing");
    fs::rename(&aside, &stage.drop).unwrap();
    stage.wait_hold("");
    assert_eq!((stage.changes().len(), stage.ours()), before, "gone and back: no call");

    fs::rename(&stage.drop, &aside).unwrap();
    fs::create_dir(&stage.drop).unwrap();
    stage.write("stranger.txt", "another disk was mounted here");
    stage.wait_hold("root-replaced");
    let log = daemon.log();
    assert!(log.contains("root-replaced"), "{log}");
    // A pass of a daemon that starts on the replaced folder is no wiser.
    assert!(daemon.stop().success());
    let sync = stage.run(&["sync"]);
    assert_eq!(sync.status.code(), Some(78), "{}", text(&sync));
    assert_eq!((stage.changes().len(), stage.ours()), before, "nothing of it is uploaded, nothing deleted");

    fs::remove_dir_all(&stage.drop).unwrap();
    fs::rename(&aside, &stage.drop).unwrap();
    let daemon = stage.daemon();
    stage.wait_hold("");
    stage.marker("marker.txt");
    stage.assert_settled(daemon);
    assert_eq!(stage.changes().len(), before.0 + 3, "the marker's calls and no other");
    stage.assert_equal();
}

#[test]
fn a_file_that_grows_is_uploaded_once_and_whole() {
    undisturbed(grows);
}

fn grows() -> bool {
    let settle = Duration::from_millis(1500);
    let mut stage = Stage::new();
    stage.mirror = stage.mirror.replace("\"200ms\"", "\"1500ms\"");
    let daemon = stage.daemon();
    daemon.wait_ready();
    let mut file = OpenOptions::new().create(true).append(true).open(stage.path("scan.pdf")).unwrap();
    let (began, mut pace) = (Instant::now(), Pace::default());
    // The pauses are the scene itself: each shorter than the quiet time, together longer.
    while began.elapsed() < settle * 2 {
        std::thread::park_timeout(Duration::from_millis(150));
        pace.write(|| file.write_all(&[b'p'; 4096]).unwrap());
    }
    drop(file);
    wait("the upload", || stage.count(Op::StartAttachedFileUpload) > 0, || daemon.log());
    let quiet = pace.rested();
    stage.wait_equal();
    stage.assert_settled(daemon);
    if !pace.kept_below(settle) {
        return false;
    }
    assert!(quiet >= settle, "sent {quiet:?} after the last write");
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 1, "half of it was sent first");
    true
}

#[test]
fn a_reload_takes_a_good_configuration_and_refuses_a_broken_one() {
    let mut stage = Stage::often();
    attach(&stage, &["keep.txt", "private/a.txt", "private/b.txt"]);
    let daemon = stage.daemon();
    stage.wait_attached();
    let before = stage.ours();

    let good = stage.mirror.clone();
    stage.mirror.push_str("exclude = [\"*.pdf\"]\nsettle_time = \"1s\"\n");
    stage.config();
    daemon.signal("HUP");
    wait("the refusal", || daemon.log().contains("the old one stays in force"), || daemon.log());
    assert!(daemon.log().contains("settle_time"), "it says what is wrong: {}", daemon.log());
    stage.mirror = good;
    stage.config();
    stage.marker("marker.pdf");

    stage.mirror.push_str("exclude = [\"private/\"]\n");
    stage.config();
    daemon.signal("HUP");
    wait("the reload", || daemon.log().contains("the configuration is read again"), || daemon.log());
    wait(
        "what is excluded is ignored",
        || stage.verdict("private/a.txt").starts_with("ignored("),
        || format!("{:#?}", stage.list()),
    );
    // Out of scope: neither a change nor a delete of it reaches Connect (invariant 5).
    stage.write("private/a.txt", "changed out of scope");
    fs::remove_file(stage.path("private/b.txt")).unwrap();
    stage.marker("second.txt");
    stage.wait_passes();
    stage.wait_passes();
    assert_eq!(stage.count(Op::DeleteAttachedFile), 0);
    let now = stage.ours();
    assert!(before.iter().all(|file| now.contains(file)), "{now:#?}");
    assert_eq!(now.len(), before.len() + 2);
    stage.assert_settled(daemon);
}

#[test]
fn one_folder_per_case() {
    const FIRST: &str = "11111111-1111-4111-8111-111111111111";
    const SECOND: &str = "22222222-2222-4222-8222-222222222222";
    let mut stage = Stage::new();
    patient(&mut stage);
    stage.sandbox.accept_any_case(true);
    stage.case = "case_from = '^(?<case_id>[^/]+)/'\nfile_name = \"base\"".to_owned();
    attach(&stage, &["stray.txt", "no case/x.txt"]);
    attach(&stage, &[&format!("{FIRST}/a.txt"), &format!("{FIRST}/sub/b.txt"), &format!("{SECOND}/c.txt")]);
    let daemon = stage.daemon();
    let on = |case: &str| -> BTreeSet<String> {
        let ours = stage.ours().into_iter();
        ours.filter(|f| f.case_id == case && f.status == FileStatus::Approved).map(|f| f.file_name).collect()
    };
    let set = |names: &[&str]| -> BTreeSet<String> { names.iter().map(|name| (*name).to_owned()).collect() };
    let is = |first: &[&str], second: &[&str]| {
        wait(
            "each case has its files",
            || on(FIRST) == set(first) && on(SECOND) == set(second) && stage.ours().len() == first.len() + second.len(),
            || format!("{:#?}", stage.ours()),
        );
    };
    is(&["a.txt", "b.txt"], &["c.txt"]);
    for path in ["stray.txt", "no case/x.txt"] {
        assert!(stage.verdict(path).starts_with("unrouted("), "{path} is {}", stage.verdict(path));
    }
    for name in ["a.txt", "sub/b.txt"] {
        stage.wait_verdict(&format!("{FIRST}/{name}"), "attached");
    }
    // To another case is a replace; within the case, under the same name, it is nothing.
    let b = stage.ours().into_iter().find(|file| file.file_name == "b.txt").unwrap();
    fs::rename(stage.path(&format!("{FIRST}/a.txt")), stage.path(&format!("{SECOND}/a.txt"))).unwrap();
    fs::rename(stage.path(&format!("{FIRST}/sub")), stage.path(&format!("{FIRST}/other"))).unwrap();
    fs::rename(stage.path("stray.txt"), stage.path(&format!("{FIRST}/stray.txt"))).unwrap();
    is(&["b.txt", "stray.txt"], &["a.txt", "c.txt"]);
    stage.assert_settled(daemon);
    assert!(stage.ours().contains(&b));
    assert_eq!(stage.count(Op::DeleteAttachedFile), 1);
}
