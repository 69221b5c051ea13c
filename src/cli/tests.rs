//! Whole commands on a journal made for them: arguments in, lines and exit code out.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use clap::{CommandFactory as _, Parser as _};

use super::exit::{Exit, Failed};
use super::out::Out;
use super::{Cli, carry_out};
use crate::core::model::{EventKind, FileRow, Hold, HoldCode, ParkCode, Stage, Stat, Verdict, Version};
use crate::journal::{Journal, NewAttachment, NewEvent, Tx};
use crate::types::{CaseArn, ClientToken, ContentHash, FileId, RelPath, UnixMillis};

const CASE: &str = "arn:aws:cases:eu-west-2:123456789012:domain/66666666-7777-4888-8999-000000000000/case/aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee";

/// A sink that can be read back.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A folder with a configuration, a root and perhaps a journal.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = Self { dir };
        std::fs::create_dir(place.root()).unwrap();
        let text = format!(
            "[connect]\ninstance_id = \"arn:aws:connect:eu-west-2:123456789012:instance/11111111-2222-4333-8444-555555555555\"\n\
             [journal]\npath = \"{}\"\n[[mirror]]\nname = \"claims\"\npath = \"{}\"\ncase = \"{CASE}\"\nexclude = [\"drafts/\"]\n",
            place.dir.path().join("journal.db").display(),
            place.root().display(),
        );
        std::fs::write(place.config(), text).unwrap();
        place
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("claims")
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("casedrop.toml")
    }

    /// A journal with one attached file, one parked, one whose name is no UTF-8, and a hold.
    fn with_journal(self) -> Self {
        let journal = Journal::open(&self.dir.path().join("journal.db")).unwrap();
        let root = self.root();
        journal
            .write_blocking(move |tx| {
                let mirror = tx.ensure_mirror("claims", root.as_os_str().as_encoded_bytes())?.id;
                let file = |path: &[u8], verdict, note: Option<&str>| FileRow {
                    mirror,
                    path: RelPath::new(path).unwrap(),
                    stat: Stat { dev: 1, inode: 2, size: 10, mtime_ns: 0, ctime_ns: 0 },
                    hash: Some(ContentHash([1; 32])),
                    verdict,
                    note: note.map(str::to_owned),
                    seen_at: UnixMillis(1_000),
                    since: UnixMillis(2_000),
                    absent_since: None,
                    attempt: 1,
                    next_attempt: None,
                    kept: false,
                    insisted: None,
                };
                tx.put_file(&file(b"a.pdf", Verdict::Attached, None))?;
                tx.put_file(&file(b"b.exe", Verdict::Parked(ParkCode::TypeNotAllowed), Some("exe is not allowed")))?;
                tx.put_file(&file(b"caf\xe9.pdf", Verdict::Queued, None))?;
                attach(tx, &file(b"a.pdf", Verdict::Attached, None))?;
                let hold =
                    Hold { code: HoldCode::DeleteBudget, detail: "3 files gone".into(), since: UnixMillis(9_000) };
                tx.put_hold(mirror, &hold)?;
                tx.set_watch(mirror, "native")
            })
            .unwrap();
        journal.close();
        self
    }

    fn run(&self, args: &[&str]) -> (Result<Exit, Failed>, String) {
        let config = self.config();
        let line = ["casedrop", "--config", config.to_str().unwrap()].into_iter().chain(args.iter().copied());
        let cli = Cli::try_parse_from(line).unwrap();
        let shared = Shared::default();
        let mut out = Out::to(Box::new(shared.clone()));
        let ended = carry_out(cli.command, cli.config.as_deref(), &mut out);
        out.flush().unwrap();
        let bytes = shared.0.lock().unwrap().clone();
        (ended, String::from_utf8(bytes).unwrap())
    }

    fn done(&self, args: &[&str]) -> String {
        let (ended, text) = self.run(args);
        assert_eq!(ended, Ok(Exit::Done), "{args:?}\n{text}");
        text
    }
}

fn attach(tx: &Tx<'_>, row: &FileRow) -> Result<(), crate::journal::JournalError> {
    let (case, token) = (CaseArn::new(CASE).unwrap(), ClientToken::from_random([7; 16]));
    let mut attachment = tx.add_attachment(
        &NewAttachment {
            mirror: row.mirror,
            path: row.path.clone(),
            case,
            name: "a.pdf".into(),
            version: Version { size: 10, hash: ContentHash([1; 32]) },
            attempt: 1,
            token,
            start_open: false,
            extras: Default::default(),
        },
        UnixMillis(3_000),
    )?;
    attachment.file_id = FileId::new("file-1");
    attachment.last_request_id = Some("request-1".into());
    for (at, stage) in (4_i64..).zip([Stage::Started, Stage::Stored, Stage::Completed, Stage::Approved]) {
        attachment.stage = stage;
        tx.put_attachment(&attachment, UnixMillis(at * 1_000))?;
    }
    let id = attachment.id;
    let detail = serde_json::json!({ "text": "agents can see it", "file_id": "file-1" });
    let event = NewEvent {
        mirror: row.mirror,
        path: Some(row.path.clone()),
        attachment: Some(id),
        kind: EventKind::Attached,
        detail,
    };
    tx.add_event(&event, UnixMillis(7_000)).map(drop)
}

#[test]
fn the_arguments_are_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_explains_itself_with_an_example() {
    for command in Cli::command().get_subcommands().filter(|c| c.get_name() != "help") {
        assert!(command.get_about().is_some(), "{}", command.get_name());
        let after = command.get_after_help().unwrap_or_else(|| panic!("{}", command.get_name())).to_string();
        assert!(after.contains("casedrop "), "{}: {after}", command.get_name());
    }
}

#[test]
fn the_configuration_is_named_before_or_after_the_command() {
    for line in [["casedrop", "--config", "x", "status"], ["casedrop", "status", "--config", "x"]] {
        assert_eq!(Cli::try_parse_from(line).unwrap().config, Some(PathBuf::from("x")));
    }
    for wrong in [&["casedrop", "nonsense"][..], &["casedrop", "retry"], &["casedrop", "retry", "a", "--all"]] {
        assert_eq!(Cli::try_parse_from(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
    }
    assert_eq!(Cli::try_parse_from(["casedrop", "--version"]).unwrap_err().exit_code(), 0);
}

#[test]
fn before_the_first_run_the_views_say_so() {
    let place = Place::new();
    assert!(place.done(&["status"]).contains("no journal yet"));
    assert!(place.done(&["status", "--json"]).contains("\"journal_exists\": false"));
    for args in [&["list"][..], &["log"]] {
        let failed = place.run(args).0.unwrap_err();
        assert_eq!(failed.exit, Exit::Done);
        assert!(failed.text.unwrap().contains("no journal yet"));
    }
    std::fs::write(place.root().join("new.pdf"), b"x").unwrap();
    let why = place.done(&["why", place.root().join("new.pdf").to_str().unwrap()]);
    assert!(why.contains("no journal yet; it would be uploaded"), "{why}");
    let why = place.done(&["why", "drafts/new.pdf"]);
    assert!(why.contains("it would be ignored: a folder above it: exclude \"drafts/\""), "{why}");
}

#[test]
fn a_missing_configuration_needs_a_person() {
    let place = Place::new();
    std::fs::remove_file(place.config()).unwrap();
    let failed = place.run(&["status"]).0.unwrap_err();
    assert_eq!(failed.exit, Exit::Person);
    assert!(failed.text.unwrap().contains("config.example.toml"));
}

#[test]
fn a_journal_that_is_none_needs_a_person() {
    let place = Place::new();
    std::fs::write(place.dir.path().join("journal.db"), "this is no database, whatever its name says".repeat(50))
        .unwrap();
    let failed = place.run(&["status"]).0.unwrap_err();
    assert_eq!(failed.exit, Exit::Person, "{failed:?}");
}

#[test]
fn status_tells_counts_and_holds() {
    let place = Place::new().with_journal();
    let text = place.done(&["status"]);
    for part in [
        "daemon     does not run",
        "mirror     claims",
        "HELD     delete-budget since 1970-01-01T00:00:09Z",
        "3 files gone",
        "casedrop release MIRROR",
        "files    1 queued, 1 attached, 1 parked",
        "caf\\xe9.pdf (queued)",
        "watch    native",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&place.done(&["status", "--json"])).unwrap();
    assert_eq!(json["mirrors"][0]["counts"]["parked"], 1);
    assert_eq!(json["mirrors"][0]["hold"]["code"], "delete-budget");
    assert_eq!(json["daemon"]["runs"], false);
}

#[test]
fn list_shows_and_filters() {
    let place = Place::new().with_journal();
    let text = place.done(&["list"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(
        lines[0].starts_with("attached ")
            && lines[0].contains("  aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee  file-1  claims  a.pdf")
    );
    assert!(
        lines[1].starts_with("parked(type-not-allowed)")
            && lines[1].ends_with("  claims  b.exe        exe is not allowed"),
        "{text}"
    );
    assert!(lines[2].ends_with("caf\\xe9.pdf"));
    assert_eq!(place.done(&["list", "*.pdf"]).lines().count(), 2);
    assert_eq!(place.done(&["list", "--verdict", "parked", "--verdict", "queued"]).lines().count(), 2);
    let json: serde_json::Value =
        serde_json::from_str(&place.done(&["list", "--json", "--verdict", "parked"])).unwrap();
    assert_eq!((json["path"].as_str(), json["detail"].as_str()), (Some("b.exe"), Some("type-not-allowed")));
    assert_eq!(place.run(&["list", "--mirror", "nobody"]).0.unwrap_err().exit, Exit::Usage);
}

#[test]
fn why_tells_the_whole_story() {
    let place = Place::new().with_journal();
    let text = place.done(&["why", "a.pdf"]);
    for part in
        ["verdict   attached", "FileId      file-1", "request id  request-1", CASE, "attached        agents can see it"]
    {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let text = place.done(&["why", "b.exe"]);
    assert!(text.contains("parked(type-not-allowed)") && text.contains(ParkCode::TypeNotAllowed.remedy()), "{text}");
    let text = place.done(&["why", r"caf\xe9.pdf"]);
    assert!(text.contains("verdict   queued") && text.contains("mapped, because it holds bytes"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&place.done(&["why", "a.pdf", "--json"])).unwrap();
    assert_eq!(json["attachments"][0]["file_id"], "file-1");
    assert_eq!(json["verdict"]["word"], "attached");
}

#[test]
fn log_shows_the_trail() {
    let place = Place::new().with_journal();
    assert_eq!(
        place.done(&["log"]),
        "1970-01-01T00:00:07Z  claims  attached        a.pdf  agents can see it  file_id=file-1\n"
    );
    assert_eq!(place.done(&["log", "--since", "1h"]), "");
    assert_eq!(place.done(&["log", "--file", "b.exe"]), "");
    assert_eq!(place.done(&["log", "--case", CASE, "--since", "1970-01-01T00:00:00Z"]).lines().count(), 1);
    let json: serde_json::Value = serde_json::from_str(&place.done(&["log", "--json", "--limit", "0"])).unwrap();
    assert_eq!((json["kind"].as_str(), json["detail"]["file_id"].as_str()), (Some("attached"), Some("file-1")));
}

#[test]
fn looking_changes_no_byte() {
    let place = Place::new().with_journal();
    let prints = || {
        let entries = std::fs::read_dir(place.dir.path()).unwrap().map(|entry| {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            (entry.file_name(), meta.len(), meta.modified().unwrap())
        });
        let mut all: Vec<_> = entries.collect();
        all.sort();
        all
    };
    let before = prints();
    for args in [&["status"][..], &["list"], &["why", "a.pdf"], &["log"]] {
        place.done(args);
    }
    assert_eq!(prints(), before);
}

#[test]
fn a_release_without_a_person_is_refused() {
    let place = Place::new().with_journal();
    let (ended, text) = place.run(&["release", "claims", "--count", "7"]);
    let failed = ended.unwrap_err();
    assert_eq!(failed.exit, Exit::Person);
    assert!(failed.text.unwrap().contains("nothing was released"));
    assert!(text.contains("0 files gone here"), "{text}");
}

#[test]
fn check_offline_prints_the_policy() {
    let place = Place::new();
    let (ended, text) = place.run(&["check", "--offline", "--effective"]);
    assert_eq!(ended, Ok(Exit::Done), "{text}");
    for part in
        ["ok    mirror claims: ", "ok    journal: ", "not there yet", "warn  AWS: not asked", "settle = \"5s\"", CASE]
    {
        assert!(text.contains(part), "{part}\n{text}");
    }
    std::fs::remove_dir(place.root()).unwrap();
    let (ended, text) = place.run(&["check", "--offline"]);
    assert_eq!(ended, Ok(Exit::Person), "{text}");
    assert!(text.contains("FAIL  mirror claims: there is no folder"), "{text}");
    let policy: serde_json::Value = serde_json::from_str(&place.done(&["check", "--policy-only"])).unwrap();
    assert_eq!(policy["Version"], "2012-10-17");
}

#[test]
fn completions_and_manual_pages_are_made() {
    let place = Place::new();
    assert!(place.done(&["completions", "bash"]).contains("casedrop"));
    assert!(place.done(&["man"]).contains("casedrop\\-why"));
    let out = place.dir.path().join("man");
    place.done(&["man", "--out", out.to_str().unwrap()]);
    assert!(out.join("casedrop-status.1").exists());
}
