//! Input that this program never wrote: a journal altered by hand, and lines at the control socket that are no
//! requests. A clear error or a sensible verdict; no panic, no hang, and nothing at Connect is lost.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::common::{DEADLINE, Stage, text, wait};

/// Statements that make rows which the program never writes. Some need the tables' own checks switched off, as a
/// damaged disk or another program may well have them.
const ALTERED: &[&str] = &[
    "UPDATE file SET path = x'2e2e2f61' WHERE path = CAST('a.txt' AS BLOB)",
    "UPDATE file SET path = x'2f657463' WHERE path = CAST('a.txt' AS BLOB)",
    "UPDATE file SET path = x'610062' WHERE path = CAST('a.txt' AS BLOB)",
    "UPDATE file SET path = x'' WHERE path = CAST('a.txt' AS BLOB)",
    "UPDATE file SET hash = x'00'",
    "UPDATE file SET hash = zeroblob(32)",
    "UPDATE file SET size = -5",
    "UPDATE file SET size = 9223372036854775807",
    "UPDATE file SET mtime_ns = -9223372036854775808, ctime_ns = 9223372036854775807",
    "UPDATE file SET verdict = 'enchanted'",
    "UPDATE file SET verdict = 'parked', detail = 'no-such-code'",
    "UPDATE file SET verdict = 'queued', waiting_since = 1, next_attempt = 9223372036854775807",
    "UPDATE file SET verdict = 'uploading', waiting_since = -9223372036854775808",
    "UPDATE file SET verdict = 'deleting', absent_since = 9223372036854775807",
    "UPDATE file SET absent_since = -9223372036854775808",
    "UPDATE file SET attempt = 9223372036854775807",
    "UPDATE file SET note = CAST(x'fffe' AS TEXT)",
    "UPDATE attachment SET case_arn = 'no ARN'",
    "UPDATE attachment SET file_id = 'white space'",
    "UPDATE attachment SET token = 'x' || id, name = CAST(x'ff' AS TEXT)",
    "UPDATE attachment SET stage = 'levitating'",
    "UPDATE attachment SET stage = 'planned'",
    "UPDATE attachment SET stage = 'completed', completed_at = NULL",
    "UPDATE attachment SET stage = 'rejected', reason = 'no-such-code'",
    "UPDATE attachment SET tries = 9223372036854775807, next_attempt = -1",
    "UPDATE attachment SET hash = x'00'",
    "UPDATE attachment SET path = x'2e2e'",
    "UPDATE attachment SET mirror = 77",
    "UPDATE mirror SET hold = 'bored', hold_detail = 'x', hold_since = 1",
    "UPDATE mirror SET released = -1",
    "UPDATE mirror SET root = x'00'",
    "UPDATE mirror SET fsid = -1, dev = -1, inode = -1",
    "UPDATE mirror SET scanned_at = 9223372036854775807",
    "UPDATE event SET detail = 'no JSON'",
    "UPDATE event SET kind = 'yawned'",
    "UPDATE event SET at = -9223372036854775808",
    "UPDATE tally SET files = 9223372036854775807",
    "DELETE FROM tally",
    "DELETE FROM attachment",
    "DELETE FROM mirror",
    "DROP TABLE event",
    "DROP INDEX file_queued",
    "ALTER TABLE file RENAME COLUMN verdict TO mood",
];

fn altered(statement: &str) {
    let stage = Stage::new();
    for name in ["a.txt", "b.txt"] {
        stage.write(name, format!("content of {name}"));
    }
    stage.sync();
    let before = stage.visible();
    let journal = rusqlite::Connection::open(stage.journal()).unwrap();
    journal.execute_batch("PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF;").unwrap();
    if let Err(error) = journal.execute_batch(statement) {
        // The tables refuse it whatever is switched off: that is an answer too.
        println!("{statement}: {error}");
    }
    drop(journal);
    let file = stage.path("a.txt");
    let file = file.to_str().unwrap();
    let commands: &[&[&str]] = &[
        &["status"],
        &["list", "--json"],
        &["why", file],
        &["log"],
        &["plan"],
        &["retry", "--all"],
        &["sync"],
        &["status"],
    ];
    for args in commands {
        let output = stage.run(args);
        let shown = text(&output);
        let code = output.status.code();
        assert!(matches!(code, Some(0..=3 | 75 | 78)), "{statement}: {args:?} ended with {}: {shown}", output.status);
        assert!(!shown.contains("panicked"), "{statement}: {args:?}: {shown}");
        assert!(code == Some(0) || !shown.trim().is_empty(), "{statement}: {args:?} failed without a word");
    }
    // Whatever is believed of the files that are there, agents go on seeing what they saw.
    let after = stage.sandbox.ledger();
    for (name, hash) in before {
        let seen = after.iter().any(|file| file.file_name == name && file.sha256.as_deref() == Some(&hash));
        assert!(seen, "{statement}: {name} is no longer at Connect: {after:#?}");
    }
}

/// A quarter of them, so that no single test runs for long.
fn share(part: usize) {
    for statement in ALTERED.iter().skip(part).step_by(4) {
        altered(statement);
    }
}

#[test]
fn a_journal_altered_by_hand_first_share() {
    share(0);
}

#[test]
fn a_journal_altered_by_hand_second_share() {
    share(1);
}

#[test]
fn a_journal_altered_by_hand_third_share() {
    share(2);
}

#[test]
fn a_journal_altered_by_hand_fourth_share() {
    share(3);
}

/// What may come over a socket: requests, nearly requests, and anything.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let sound = r#"{"retry":{"mirror":"drop","paths":[[97,46,116,120,116]]}}"#;
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        any::<prop::sample::Index>().prop_map(move |at| sound.as_bytes()[..at.index(sound.len())].to_vec()),
        (any::<prop::sample::Index>(), any::<u8>()).prop_map(move |(at, byte)| {
            let mut bytes = sound.as_bytes().to_vec();
            bytes[at.index(sound.len())] = byte;
            bytes
        }),
        prop::sample::select(vec![
            r#"{"retry":{"mirror":"","paths":[]}}"#,
            r#"{"retry":{"mirror":"drop","paths":[[]]}}"#,
            r#"{"retry":{"mirror":"drop","paths":[[47,101]]}}"#,
            r#"{"retry":{"mirror":"drop","paths":[[256]]}}"#,
            r#"{"release":{"mirror":"drop","count":4294967295}}"#,
            r#"{"release":{"mirror":"drop","count":-1}}"#,
            r#"{"release":{"mirror":"none","count":0}}"#,
            r#"{"dance":{}}"#,
            "null",
            "[]",
            "\"retry\"",
            "{}",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        (1_usize..50_000).prop_map(|n| b"[".repeat(n)),
        (1_usize..50_000)
            .prop_map(|n| format!(r#"{{"retry":{{"mirror":"{}","paths":[]}}}}"#, "m".repeat(n)).into_bytes()),
    ]
}

#[test]
fn no_line_at_the_control_socket_does_harm() {
    let stage = Stage::new();
    stage.write("a.txt", "a");
    let daemon = stage.daemon();
    stage.wait_attached();
    let socket = stage.dir.path().join("state/journal.db.sock");
    let say = |line: &[u8], end: bool| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // It may have had enough of it before the end.
        let _ = stream.write_all(line).and_then(|()| if end { stream.write_all(b"\n") } else { Ok(()) });
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let read = BufReader::new(stream.take(1 << 20)).read_until(b'\n', &mut answer);
        (read, answer)
    };
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&(line(), any::<bool>()), |(bytes, end)| {
        let (read, answer) = say(&bytes, end);
        prop_assert!(read.is_ok(), "no answer and no end: {read:?}");
        if !answer.is_empty() {
            let reply: serde_json::Value =
                serde_json::from_slice(&answer).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert!(reply.get("Ok").is_some() || reply.get("Err").is_some(), "{reply}");
        }
        Ok(())
    });
    outcome.unwrap();
    // More than it reads: broken off, not collected.
    let (_, answer) = say(&vec![b'x'; 17 << 20], true);
    assert!(answer.len() < 4_096);
    // It listens still, and the file is what it was.
    let (_, answer) = say(br#"{"retry":{"mirror":"drop","paths":[]}}"#, true);
    assert!(String::from_utf8_lossy(&answer).contains("Ok"), "{}", String::from_utf8_lossy(&answer));
    let rss = fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
    let peak = rss.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim().trim_end_matches(" kB");
    assert!(peak.parse::<u64>().unwrap() < 300_000, "{peak} kB at most at once");
    wait("the file is attached as before", || stage.verdict("a.txt") == "attached", String::new);
    stage.assert_settled(daemon);
    stage.assert_no_errors();
    stage.assert_equal();
}

/// The kinds of refusal are met only in races, so the daemon is played here: what a command says and ends with.
#[test]
fn what_the_daemon_will_not_do_ends_with_the_code_of_its_kind() {
    let stage = Stage::new();
    stage.write("a.txt", "a");
    assert!(stage.run(&["sync"]).status.success());
    let socket = stage.dir.path().join("state/journal.db.sock");
    for (answer, code, text) in [
        (r#"{"Err":{"kind":"person","text":"look again"}}"#, 78, "the daemon did not do it: look again"),
        (r#"{"Err":{"kind":"temporary","text":"the disk is full"}}"#, 75, "the disk is full"),
        (r#"{"Err":"words of an older version"}"#, 75, "the daemon gave no answer"),
        ("", 75, "the daemon gave no answer"),
    ] {
        let listener = UnixListener::bind(&socket).unwrap();
        let refused = std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                BufReader::new(&stream).read_until(b'\n', &mut Vec::new()).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            });
            let refused = stage.run(&["retry", "--all"]);
            // Where nothing asked, the one above would wait for ever.
            drop(UnixStream::connect(&socket));
            refused
        });
        fs::remove_file(&socket).unwrap();
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(code), "{answer}: {said}");
        assert!(said.contains(text), "{answer}: {said}");
    }
}
