//! Conversion: the result is attached, the original decides. The converter is a shell script.

use std::fs;
use std::path::{Path, PathBuf};

use casedrop_sandbox::{Fault, FaultKind, FileStatus, Op};

use crate::common::{Daemon, Stage, sha256, text, wait};

/// A stage that converts `.tif` to `.pdf` by this script: `$1` is the input, `$2` the output.
fn stage(script: &str, more: &str) -> Stage {
    let mut stage = Stage::new();
    let path = stage.dir.path().join("convert.sh");
    put_script(&stage, script);
    let runs = stage.dir.path().join("runs");
    stage.mirror.push_str(&format!(
        "[[mirror.convert]]\nfrom = [\"tif\", \"TIFF\"]\nto = \"pdf\"\n\
         command = [\"/bin/sh\", {path:?}, \"{{input}}\", \"{{output}}\", {runs:?}]\n{more}"
    ));
    stage
}

fn put_script(stage: &Stage, script: &str) {
    fs::write(stage.dir.path().join("convert.sh"), format!("echo run >> \"$3\"\n{script}\n")).unwrap();
}

/// What a good converter makes of a content.
const GOOD: &str = "{ echo converted; cat \"$1\"; } > \"$2\"";

fn converted(content: &str) -> String {
    sha256(format!("converted\n{content}").as_bytes())
}

fn runs(stage: &Stage) -> usize {
    fs::read_to_string(stage.dir.path().join("runs")).unwrap_or_default().lines().count()
}

fn folder(stage: &Stage) -> PathBuf {
    stage.dir.path().join("state/journal.db.convert")
}

/// What is left of conversions.
fn left(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    names.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

fn wait_for(stage: &Stage, daemon: &Daemon, name: &str, hash: &str) {
    wait(
        &format!("{name} is visible, and nothing else of it"),
        || {
            let of = |file: &casedrop_sandbox::LedgerFile| file.file_name == name;
            let ours: Vec<_> = stage.ours().into_iter().filter(of).collect();
            matches!(&ours[..], [file] if file.status == FileStatus::Approved && file.sha256.as_deref() == Some(hash))
        },
        || format!("{:#?}\n{:#?}\n{}", stage.ours(), stage.list(), daemon.log()),
    );
}

#[test]
fn the_result_is_attached_once_and_the_original_decides() {
    let stage = stage(GOOD, "");
    stage.write("scan.tif", "first");
    stage.write("in/Other.TIFF", "other");
    stage.write("plain.txt", "as it is");
    let daemon = stage.daemon();
    wait_for(&stage, &daemon, "scan.pdf", &converted("first"));
    wait_for(&stage, &daemon, "in - Other.pdf", &converted("other"));
    wait_for(&stage, &daemon, "plain.txt", &sha256(b"as it is"));
    stage.wait_verdict("scan.tif", "attached");
    stage.wait_verdict("in/Other.TIFF", "attached");
    assert_eq!(runs(&stage), 2);
    assert_eq!(fs::read(stage.path("scan.tif")).unwrap(), b"first", "the original is not touched");
    // Saved again, moved and restarted: nothing is converted or called.
    stage.write("scan.tif", "first");
    stage.marker("marker.txt");
    stage.assert_settled(daemon);
    assert_eq!(runs(&stage), 2);
    // Another original replaces it.
    let daemon = stage.daemon();
    stage.write("scan.tif", "second");
    wait_for(&stage, &daemon, "scan.pdf", &converted("second"));
    stage.wait_verdict("scan.tif", "attached");
    wait(
        "nothing is left of conversions",
        || left(&folder(&stage)).is_empty(),
        || format!("{:?}", left(&folder(&stage))),
    );
    // What agents get is what was sent; the story names both contents.
    let got = stage.dir.path().join("got.pdf");
    let output = stage.run(&["get", "scan.tif", "--mirror", "drop", "-o", got.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(fs::read_to_string(got).unwrap(), "converted\nsecond");
    let path = stage.path("scan.tif");
    let why = text(&stage.run(&["why", path.to_str().unwrap()]));
    for word in ["6 bytes became 16 bytes, attached as scan.pdf", &sha256(b"second"), &converted("second")] {
        assert!(why.contains(word), "{word}: {why}");
    }
    // Gone here, its attachment goes, by the same rules as any other.
    fs::remove_file(&path).unwrap();
    wait(
        "it is deleted",
        || !stage.ours().iter().any(|file| file.file_name == "scan.pdf"),
        || format!("{:#?}\n{}", stage.list(), daemon.log()),
    );
    stage.assert_settled(daemon);
}

#[test]
fn what_cannot_be_converted_is_parked_with_the_reason() {
    let stage = stage(
        "case \"$(cat \"$1\")\" in\n\
         bad) echo first; echo 'not a TIFF' >&2; exit 3;;\n\
         none) ;;\n\
         empty) : > \"$2\";;\n\
         large) seq 1 1000 > \"$2\";;\n\
         link) ln -s /etc/passwd \"$2\";;\n\
         slow) sleep 100;;\n\
         *) { echo converted; cat \"$1\"; } > \"$2\";;\nesac",
        // Far more than any of the others takes on a machine that is busy.
        "timeout = \"15s\"\nmax_size = \"1 KiB\"\n",
    );
    let kinds = [
        ("bad", "it said: first / not a TIFF"),
        ("none", "wrote no {output}"),
        ("empty", "output is empty"),
        ("large", "more than `max_size` (1024)"),
        ("link", "no regular file"),
        ("slow", "ran for 15 s"),
    ];
    for (kind, _) in kinds {
        stage.write(&format!("{kind}.tif"), kind);
    }
    let daemon = stage.daemon();
    for (kind, said) in kinds {
        stage.wait_verdict(&format!("{kind}.tif"), "parked(convert-failed)");
        let line = stage.list().into_iter().find(|line| line["path"] == format!("{kind}.tif")).unwrap();
        assert!(line["note"].as_str().unwrap().contains(said), "{line:#}");
    }
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 0, "no call was spent");
    assert_eq!(runs(&stage), 6, "once each");
    wait("nothing is left", || left(&folder(&stage)).is_empty(), || format!("{:?}", left(&folder(&stage))));
    // Another content leaves the park by itself; the same by hand, when the converter is better.
    stage.write("bad.tif", "good");
    wait_for(&stage, &daemon, "bad.pdf", &converted("good"));
    put_script(&stage, GOOD);
    let retry = stage.run(&["retry", stage.path("empty.tif").to_str().unwrap()]);
    assert!(retry.status.success(), "{}", text(&retry));
    wait_for(&stage, &daemon, "empty.pdf", &converted("empty"));
    assert!(daemon.stop().success());
}

#[test]
fn a_converter_that_is_not_there_is_waited_for() {
    let stage = stage(GOOD, "");
    let missing = stage.dir.path().join("shell");
    let config = stage.config();
    let changed = fs::read_to_string(&config).unwrap().replace("[\"/bin/sh\"", &format!("[{missing:?}"));
    fs::write(&config, changed).unwrap();
    stage.write("scan.tif", "content");
    let log = stage.dir.path().join("daemon.log");
    let mut child = stage.command_with(&config).arg("run").stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    let said = || fs::read_to_string(&log).unwrap();
    wait("it says so", || said().contains("the converter cannot be started"), said);
    let listed = || {
        let output = stage.finish(stage.command_with(&config).args(["list", "--json"]));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap_or_default()
    };
    wait(
        "it waits",
        || listed()["note"].as_str().is_some_and(|n| n.contains("next try after")),
        || listed().to_string(),
    );
    assert_eq!(listed()["verdict"], "queued");
    let check = || text(&stage.finish(stage.command_with(&config).args(["check", "--offline"])));
    assert!(check().contains("FAIL  mirror drop, convert: "), "{}", check());
    std::os::unix::fs::symlink("/bin/sh", &missing).unwrap();
    assert!(check().contains("ok    mirror drop, convert: "), "{}", check());
    let path = stage.path("scan.tif");
    let retry = stage.finish(stage.command_with(&config).args(["retry", path.to_str().unwrap()]));
    assert!(retry.status.success(), "{}", text(&retry));
    wait("it is attached", || listed()["verdict"] == "attached", || format!("{}\n{}", listed(), said()));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_refused_result_is_not_kept() {
    let stage = stage(GOOD, "");
    stage.sandbox.set_faults(vec![Fault::all(Op::StartAttachedFileUpload, FaultKind::AccessDenied)]);
    stage.write("scan.tif", "content");
    let daemon = stage.daemon();
    wait("it is parked", || stage.verdict("scan.tif").starts_with("parked("), || daemon.log());
    wait("nothing is kept", || left(&folder(&stage)).is_empty(), || format!("{:?}", left(&folder(&stage))));
    assert!(daemon.stop().success());
}

#[test]
fn a_try_that_is_repeated_sends_what_was_converted_before() {
    // Other bytes at every run.
    let stage = stage("head -c 32 /dev/urandom | od -An -tx1 > \"$2\"", "");
    stage.sandbox.set_faults(vec![
        Fault::nth(Op::StartAttachedFileUpload, 1, FaultKind::LostReply),
        Fault::nth(Op::StartAttachedFileUpload, 2, FaultKind::Throttle { retry_after: None }),
    ]);
    stage.write("scan.tif", "content");
    let daemon = stage.daemon();
    stage.wait_verdict("scan.tif", "attached");
    assert_eq!(runs(&stage), 1);
    assert_eq!(stage.ours().len(), 1, "{:#?}", stage.ours());
    assert!(daemon.stop().success());
}

#[test]
fn invariant_8_another_result_after_a_kill_is_another_attempt() {
    let stage = stage("head -c 32 /dev/urandom | od -An -tx1 > \"$2\"", "");
    stage.sandbox.set_faults(vec![Fault::all(Op::StartAttachedFileUpload, FaultKind::LostReply)]);
    stage.write("scan.tif", "content");
    let daemon = stage.daemon();
    wait("the answer is lost", || stage.sandbox.faults_applied() > 0, || daemon.log());
    daemon.kill();
    stage.sandbox.set_faults(Vec::new());
    let daemon = stage.daemon();
    stage.wait_verdict("scan.tif", "attached");
    assert!(runs(&stage) >= 2);
    wait(
        "one file is left at Connect",
        || matches!(&stage.ours()[..], [file] if file.status == FileStatus::Approved && file.file_name == "scan.pdf"),
        || format!("{:#?}\n{}", stage.ours(), daemon.log()),
    );
    stage.assert_settled(daemon);
}

#[test]
fn killed_while_it_converts_nothing_is_left_behind() {
    let mut stage = stage("sleep 30", "");
    stage.write("scan.tif", "content");
    let daemon = stage.daemon();
    wait("the converter runs", || runs(&stage) == 1, || daemon.log());
    assert_eq!(left(&folder(&stage)).len(), 1);
    daemon.kill();
    put_script(&stage, GOOD);
    stage.limits.push_str("# another start\n");
    let daemon = stage.daemon();
    wait_for(&stage, &daemon, "scan.pdf", &converted("content"));
    stage.wait_verdict("scan.tif", "attached");
    wait("nothing is left", || left(&folder(&stage)).is_empty(), || format!("{:?}", left(&folder(&stage))));
    stage.assert_settled(daemon);
}

#[test]
fn invariant_19_what_was_converted_is_adopted_and_compared_by_what_was_sent() {
    let stage = stage(GOOD, "");
    stage.write("scan.tif", "an original of its own length");
    stage.write("plain.txt", "as it is");
    stage.sync();
    let verified = |args: &[&str]| {
        let output = stage.finish(stage.command().arg("verify").args(args));
        assert!(output.status.success(), "{args:?}: {}", text(&output));
    };
    verified(&[]);
    verified(&["--deep"]);
    // The journal is lost; what is at Connect tells what it was made of.
    for name in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        let _ = fs::remove_file(stage.journal().with_file_name(name));
    }
    let before = stage.changes();
    let output = stage.finish(stage.command().args(["adopt", "--yes"]));
    assert!(output.status.success(), "{}", text(&output));
    stage.sync();
    assert_eq!(stage.changes(), before, "nothing is sent or deleted: {}", text(&output));
    assert_eq!((runs(&stage), stage.verdict("scan.tif")), (1, "attached".to_owned()));
    verified(&["--deep"]);
    let got = stage.dir.path().join("got.pdf");
    let output = stage.run(&["get", "scan.tif", "--mirror", "drop", "-o", got.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output));
}
