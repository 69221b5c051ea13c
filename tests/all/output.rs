//! Nothing that the program writes holds a credential or an upload URL (invariant 23): every command and the daemon, at
//! the level `trace`, as text and as JSON, with errors of every kind on the way, and the journal's own bytes.
//!
//! Every scene of this binary is searched: what `Stage::finish` runs, every file left in the stage's folder, and the
//! journal beside it. These are the scenes that print most, and the proof that the search finds what it is for.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Output};
use std::time::Duration;

use casedrop_sandbox::{Fault, FaultKind, Op, Scan, Verdict};

use crate::common::{Daemon, Stage, secret_in, text, wait};

/// A command as somebody runs it who looks for a fault.
fn traced(stage: &Stage, args: &[&str]) -> Command {
    let mut command = stage.command();
    command.args(args).env("CASEDROP_LOG", "trace").env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full");
    command
}

/// A stage on which everything goes wrong once.
fn troubled(format: &str) -> Stage {
    let mut stage = Stage::with(|settings| {
        settings.scan = Scan::after(Duration::from_millis(100))
            .rule("^rejected".parse().unwrap(), Verdict::Rejected)
            .rule("^failed".parse().unwrap(), Verdict::Failed);
    });
    stage.limits.push_str(&format!("[log]\nformat = \"{format}\"\nlevel = \"trace\"\n"));
    for name in
        ["a.txt", "b.txt", "c.txt", "d.txt", "e.txt", "folder/f.pdf", "rejected.txt", "program.exe", "failed.txt"]
    {
        stage.write(name, format!("content of {name}"));
    }
    stage.write("empty.txt", "");
    // What the service says may itself hold what must not be repeated.
    let leak = |code, error: &str| FaultKind::Status {
        code,
        error: error.to_owned(),
        message: format!(
            "The request signature we calculated does not match: https://b.example/k?X-Amz-Signature=0123abcd \
             {} Authorization: AWS4-HMAC-SHA256 Credential=x, Signature=0123abcd",
            stage.sandbox.endpoint_url()
        ),
    };
    let (start, put, complete) = (Op::StartAttachedFileUpload, Op::PutObject, Op::CompleteAttachedFileUpload);
    stage.sandbox.set_faults(vec![
        Fault::nth(start, 1, FaultKind::Throttle { retry_after: Some("1".into()) }),
        Fault::nth(start, 2, FaultKind::ServerErrorAfter),
        Fault::nth(start, 3, FaultKind::Malformed),
        Fault::nth(start, 4, FaultKind::LostReply),
        Fault::nth(start, 5, leak(500, "InternalServiceException")),
        Fault::nth(put, 1, FaultKind::Expired),
        Fault::nth(put, 2, FaultKind::CutAfter(3)),
        Fault::nth(put, 3, FaultKind::SlowDown),
        Fault::nth(put, 4, leak(403, "SignatureDoesNotMatch")),
        Fault::nth(put, 5, FaultKind::LostReply),
        Fault::nth(complete, 1, FaultKind::ServerErrorBefore),
        Fault::nth(complete, 2, leak(400, "InvalidRequestException")),
        Fault::nth(Op::BatchGetAttachedFileMetadata, 1, FaultKind::Malformed),
        Fault::nth(Op::BatchGetAttachedFileMetadata, 2, FaultKind::UnknownStatus),
    ]);
    stage
}

/// Runs every command there is and returns how many bytes they wrote.
fn every_command(stage: &Stage) -> usize {
    let out = stage.dir.path().join("out.txt");
    let (out, file) = (out.to_str().unwrap(), stage.path("a.txt"));
    let file = file.to_str().unwrap();
    let commands: &[&[&str]] = &[
        &["plan"],
        &["plan", "--json"],
        &["status"],
        &["status", "--json"],
        &["list"],
        &["list", "--json"],
        &["why", file],
        &["why", file, "--json"],
        &["log"],
        &["log", "--json"],
        &["check"],
        &["get", "-o", out, file],
        &["retry", "--all"],
        &["release", "drop", "--count", "0"],
        &["get", "-o", "/nowhere/x", file],
        &["completions", "bash"],
        &["man"],
        &["--help"],
        &["--version"],
        &["no-such-command"],
    ];
    let written = |output: Output| output.stdout.len() + output.stderr.len();
    commands.iter().map(|args| written(stage.finish(&mut traced(stage, args)))).sum()
}

fn a_pass_and_every_command(format: &str) {
    let stage = troubled(format);
    let passed = stage.finish(&mut traced(&stage, &["sync"]));
    let shown = text(&passed);
    assert!(shown.contains("DEBUG") || shown.contains("TRACE"), "the level is in force: {shown}");
    assert!(stage.sandbox.faults_applied() >= 12, "{} faults", stage.sandbox.faults_applied());
    assert!(every_command(&stage) > 5_000);
    stage.sandbox.set_faults(vec![
        Fault::all(Op::StartAttachedFileUpload, FaultKind::ExpiredToken),
        Fault::all(Op::DeleteAttachedFile, FaultKind::AccessDenied),
        Fault::all(Op::GetObject, FaultKind::Expired),
    ]);
    stage.write("a.txt", "another a");
    assert_eq!(stage.finish(&mut traced(&stage, &["sync"])).status.code(), Some(78));
    every_command(&stage);
    // Killed: what stands in the write-ahead log is searched with the rest when the stage ends.
    stage.sandbox.set_faults(Vec::new());
    let log = fs::File::create(stage.dir.path().join("traced.log")).unwrap();
    let daemon = Daemon::of(traced(&stage, &["run"]).stderr(log).spawn().unwrap(), stage.dir.path().join("traced.log"));
    daemon.wait_ready();
    stage.wait_visible("a.txt");
    talk(&stage);
    daemon.kill();
    assert!(fs::metadata(stage.dir.path().join("state/journal.db-wal")).unwrap().len() > 0);
}

/// Asks the daemon at its socket, well and badly.
fn talk(stage: &Stage) {
    for line in [r#"{"retry":{"mirror":"drop","paths":[]}}"#, "no request"] {
        let mut stream = UnixStream::connect(stage.dir.path().join("state/journal.db.sock")).unwrap();
        writeln!(stream, "{line}").unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        assert!(answer.ends_with('\n'), "{answer}");
        stage.scan(answer.as_bytes());
    }
}

#[test]
fn invariant_23_nothing_is_given_away_as_text() {
    a_pass_and_every_command("text");
}

#[test]
fn invariant_23_nothing_is_given_away_as_json() {
    a_pass_and_every_command("json");
}

/// A mistake in the program while an upload's URL and the credentials are at hand: in the delivery's own task, and in
/// the one that sends the body. The message, its backtrace and what is kept of it give nothing away; the others are
/// delivered, and the file itself after a restart, once.
#[test]
fn invariant_23_a_panic_in_the_middle_of_an_upload_gives_nothing_away() {
    for point in ["put.send", "put.middle", "put.answered"] {
        let mut stage = Stage::new();
        stage.limits.push_str("[log]\nlevel = \"trace\"\n");
        for name in ["a.txt", "b.txt", "c.txt"] {
            stage.write(name, name.repeat(60_000));
        }
        let path = stage.dir.path().join("panicked.log");
        let mut command = traced(&stage, &["run"]);
        command.env("CASEDROP_CRASH", format!("{point}:1:panic")).stderr(fs::File::create(&path).unwrap());
        let daemon = Daemon::of(command.spawn().unwrap(), path);
        let visible = || stage.visible().len();
        wait("the others are delivered", || visible() >= 2, || daemon.log());
        stage.marker("later.txt");
        let log = daemon.log();
        let told = format!("CASEDROP_CRASH at {point}");
        assert!(log.contains("panicked at") && log.contains(&told), "{point}: no panic is in the log: {log}");
        assert!(log.contains("stack backtrace"), "{point}: {log}");
        stage.scan(log.as_bytes());
        assert!(daemon.stop().success());

        let daemon = stage.daemon();
        daemon.wait_ready();
        for name in ["a.txt", "b.txt", "c.txt"] {
            stage.run(&["retry", stage.path(name).to_str().unwrap()]);
        }
        stage.wait_attached();
        stage.assert_settled(daemon);
        stage.assert_equal();
        for args in [&["list"][..], &["why", "a.txt"], &["log"]] {
            stage.finish(&mut traced(&stage, args));
        }
    }
}

#[test]
fn the_search_finds_what_it_is_for() {
    let stage = Stage::new();
    let key = stage.sandbox.secret_access_key().to_owned();
    let secrets = [
        key.as_str(),
        "https://b.example/k?X-Amz-Algorithm=x&X-Amz-Signature=00ff",
        "x-amz-credential=AKIA",
        "X-Amz-Security-Token: abc",
        "Authorization: AWS4-HMAC-SHA256 Credential=AKIA/20260101",
        "SignedHeaders=host, Signature=00ff",
    ];
    for secret in secrets {
        let line = [b"before\xff", secret.as_bytes(), b" after"].concat();
        assert!(catch_unwind(AssertUnwindSafe(|| stage.scan(&line))).is_err(), "{secret} is not found");
    }
    assert_eq!(secret_in(b"a request id, a FileId and a path: nothing", &key), None);
    for place in ["some.log", "armed.txt", "state/journal.db-wal"] {
        let stage = Stage::new();
        fs::create_dir_all(stage.dir.path().join("state")).unwrap();
        fs::write(stage.dir.path().join(place), format!("line\n{key}\n")).unwrap();
        assert!(catch_unwind(AssertUnwindSafe(move || drop(stage))).is_err(), "{place} is not searched");
    }
}

/// Whoever starts the program past `Stage::finish` leaves what it writes in the stage's folder, which is searched.
#[test]
fn no_scene_goes_past_the_search() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/all");
    let mut read = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        for (n, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            read += 1;
            let runs = line.contains(concat!(".out", "put()")) || line.contains(concat!("Stdio::", "inherit"));
            let other =
                ["\"mount\"", "\"dd\"", "\"kill\"", "Command::new(\"", "TZ"].iter().any(|tool| line.contains(tool));
            let searched = matches!(name.as_str(), "common.rs" | "cli_demo.rs" | "service.rs" | "mounts.rs");
            assert!(!runs || other || searched, "{name}:{}: {line}\nuse Stage::finish, or a file in the stage", n + 1);
        }
    }
    assert!(read > 1_000);
}
