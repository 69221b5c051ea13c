//! How files find their case by reference and by sidecar, with the real binary: what is resolved, what is never guessed
//! about, and how few calls it takes.

use std::fs;

use casedrop_sandbox::{CaseStatus, DEMO_CASE_ID, Fault, FaultKind, FileStatus, NewCase, Op, Switches};
use serde_json::Value;

use crate::common::{Pace, Stage, text, undisturbed, wait};

const BY_FOLDER: &str = "case_from = '^(?<reference>[^/]+)/'";

fn by_reference() -> Stage {
    let mut stage = Stage::new();
    stage.case = BY_FOLDER.to_owned();
    stage.mirror.push_str("file_name = \"base\"\n");
    stage
}

/// A case with this reference number; its id.
fn case(stage: &Stage, number: &str) -> String {
    let new = NewCase { reference_number: Some(number.to_owned()), ..NewCase::titled(format!("Case {number}")) };
    stage.sandbox.add_case(new).case_id
}

/// What agents see on a case, by name.
fn on(stage: &Stage, case_id: &str) -> Vec<String> {
    let ours = stage.ours().into_iter().filter(|f| f.case_id == case_id && f.status == FileStatus::Approved);
    let mut names: Vec<String> = ours.map(|file| file.file_name).collect();
    names.sort();
    names
}

fn note(stage: &Stage, path: &str) -> String {
    let list = stage.list();
    list.iter().find(|line| line["path"] == path).and_then(|line| line["note"].as_str()).unwrap_or_default().to_owned()
}

fn why(stage: &Stage, path: &str) -> Value {
    let output = stage.run(&["why", path, "--json"]);
    assert!(output.status.success(), "{}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The proof, small: 1,000 files over 40 cases, of which 30 name no case and 12 one of two.
#[test]
fn a_thousand_files_over_forty_references_cost_a_handful_of_searches() {
    let stage = by_reference();
    let cases: Vec<String> = (0..40).map(|n| case(&stage, &format!("{}", 30_000_000 + n))).collect();
    let twins = [case(&stage, "31000000"), case(&stage, "31000000")];
    for n in 0..958 {
        stage.write(&format!("{}/{n}.txt", 30_000_000 + n % 40), format!("content {n}"));
    }
    for n in 0..12 {
        stage.write(&format!("31000000/twin {n}.txt"), format!("twin {n}"));
    }
    for n in 0..30 {
        let folder = ["39999999", "no case", "39999998"][n % 3];
        stage.write(&format!("{folder}/stray {n}.txt"), format!("stray {n}"));
    }
    stage.sandbox.set_limits(casedrop_sandbox::Limits { files_per_case: 100, ..Default::default() });

    let plan = stage.run(&["plan", "--json"]);
    assert_eq!(plan.status.code(), Some(3), "{}", text(&plan));
    let planned = String::from_utf8(plan.stdout).unwrap();
    let actions = |word: &str| planned.matches(&format!("\"{word}\"")).count();
    assert_eq!((actions("upload"), actions("unroute")), (958, 42), "plan looks references up too");
    assert!(!stage.journal().exists(), "and writes nothing");
    let asked_by_plan = stage.count(Op::SearchCases);

    let began = std::time::Instant::now();
    let output = stage.sync();
    // Two that no case has are looked for again after half a minute, and more seldom then.
    let again = 2 * usize::try_from(began.elapsed().as_secs() / 30).unwrap();
    let shown = text(&output);
    assert!(shown.contains("12 files without a case in drop: reference-ambiguous"), "{shown}");
    assert!(shown.contains("20 files without a case in drop: reference-unknown"), "{shown}");
    assert!(shown.contains("10 files without a case in drop: bad-reference"), "{shown}");
    for (n, id) in cases.iter().enumerate() {
        assert_eq!(on(&stage, id).len(), (0..958).filter(|file| file % 40 == n).count());
    }
    assert!(twins.iter().all(|id| on(&stage, id).is_empty()), "never a guess");
    // 43 references, each searched by number and by id: five to a call.
    let searches = stage.count(Op::SearchCases) - asked_by_plan;
    assert!(searches <= 12 + again, "{searches} searches for 43 references");
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 958, "no call for what has no case");
    let reasons = stage.status()["mirrors"][0]["unrouted"].clone();
    assert_eq!(reasons, serde_json::json!({ "bad-reference": 10, "reference-ambiguous": 12, "reference-unknown": 20 }));
    let told = note(&stage, "31000000/twin 0.txt");
    assert!(twins.iter().all(|id| told.contains(id)) && told.contains("\"Case 31000000\""), "{told}");
    let story = why(&stage, "31000000/twin 0.txt");
    assert_eq!(story["policy"]["reference"]["state"], "ambiguous");
    assert_eq!(story["policy"]["reference"]["total"], 2);

    // Pinned: another pass asks nothing, and neither does a new file of a known case.
    stage.write("30000000/later.txt", "later");
    stage.sync();
    // The two that no case has are looked for again by now and then.
    assert!(stage.count(Op::SearchCases) - asked_by_plan < searches + 8, "pinned");
    assert!(on(&stage, &cases[0]).contains(&"later.txt".to_owned()));
}

#[test]
fn a_reference_id_is_found_whatever_its_letters() {
    for ignores_case in [true, false] {
        let stage = by_reference();
        stage.sandbox.set_switches(Switches { search_ignores_case: ignores_case, ..Switches::DEFAULT });
        let id = case(&stage, "30000001");
        assert!(stage.sandbox.set_reference_id(&id, Some("CLM-4711#1")));
        for (n, folder) in ["CLM-4711#1", "clm-4711#1", "Clm-4711#1 "].iter().enumerate() {
            stage.write(&format!("{folder}/{n}.txt"), format!("content {n}"));
        }
        stage.sync();
        assert_eq!(on(&stage, &id), ["0.txt", "1.txt", "2.txt"], "the search ignores case: {ignores_case}");
    }
    // An older domain has no such field: said, and not searched for.
    let stage = by_reference();
    stage.sandbox.set_switches(Switches { reference_id_field: false, ..Switches::DEFAULT });
    let id = case(&stage, "30000001");
    stage.write("30000001/a.txt", "by number");
    stage.write("CLM-1/b.txt", "by id");
    stage.sync();
    assert_eq!(on(&stage, &id), ["a.txt"]);
    assert_eq!(stage.verdict("CLM-1/b.txt"), "unrouted(reference-unknown)");
    assert_eq!(stage.count(Op::SearchCases), 1);
}

/// An index that lags: looked for again by itself, and at once when a person asks; then only this file goes.
#[test]
fn what_is_not_found_yet_is_found_later() {
    let stage = by_reference();
    stage.write("30000001/a.txt", "early");
    stage.write("30000002/b.txt", "never");
    let daemon = stage.daemon();
    stage.wait_verdict("30000001/a.txt", "unrouted(reference-unknown)");
    let next = why(&stage, "30000001/a.txt")["policy"]["reference"]["next_look"].clone();
    assert!(next.is_string(), "{next}");
    let id = case(&stage, "30000001");
    let retry = stage.run(&["retry", "30000001/a.txt"]);
    assert!(retry.status.success(), "{}", text(&retry));
    stage.wait_verdict("30000001/a.txt", "attached");
    assert_eq!(on(&stage, &id), ["a.txt"]);
    assert_eq!(stage.verdict("30000002/b.txt"), "unrouted(reference-unknown)");
    // Moved to where it belongs: no retry is needed.
    fs::rename(stage.path("30000002/b.txt"), stage.path("30000001/b.txt")).unwrap();
    stage.wait_verdict("30000001/b.txt", "attached");
    assert!(daemon.stop().success());
}

/// A stop and a start keep what was found and when to look again (invariant 14).
#[test]
fn look_ups_survive_a_kill() {
    let stage = by_reference();
    let id = case(&stage, "30000001");
    stage.sandbox.set_faults(vec![Fault::all(Op::SearchCases, FaultKind::HangForever)]);
    stage.write("30000001/a.txt", "content");
    let daemon = stage.daemon();
    stage.wait_verdict("30000001/a.txt", "unrouted(reference-pending)");
    daemon.kill();
    stage.sandbox.set_faults(Vec::new());
    let daemon = stage.daemon();
    stage.wait_verdict("30000001/a.txt", "attached");
    assert_eq!(on(&stage, &id), ["a.txt"]);
    let searches = stage.count(Op::SearchCases);
    daemon.kill();
    stage.write("30000001/b.txt", "more");
    stage.sync();
    assert_eq!(on(&stage, &id), ["a.txt", "b.txt"]);
    assert_eq!(stage.count(Op::SearchCases), searches, "pinned in the journal");
}

/// The network is no verdict, a missing permission is shown and heals, and neither costs a file anything.
#[test]
fn a_search_that_fails_is_never_a_verdict() {
    let stage = by_reference();
    let id = case(&stage, "30000001");
    stage.sandbox.set_faults(vec![Fault::all(Op::SearchCases, FaultKind::AccessDenied)]);
    stage.write("30000001/a.txt", "content");
    let output = stage.run(&["sync"]);
    assert!(text(&output).contains("reference-pending"), "{}", text(&output));
    assert_eq!(stage.verdict("30000001/a.txt"), "unrouted(reference-pending)");
    let told = note(&stage, "30000001/a.txt");
    assert!(told.contains("AccessDeniedException"), "{told}");
    stage.sandbox.set_faults(Vec::new());
    let retry = stage.run(&["retry", "--all"]);
    assert!(retry.status.success(), "{}", text(&retry));
    stage.sync();
    assert_eq!(on(&stage, &id), ["a.txt"]);

    stage.sandbox.set_faults(vec![Fault::first(Op::SearchCases, 3, FaultKind::LostReply)]);
    let late = case(&stage, "30000002");
    stage.write("30000002/b.txt", "content");
    let daemon = stage.daemon();
    stage.wait_verdict("30000002/b.txt", "attached");
    assert_eq!(on(&stage, &late), ["b.txt"]);
    assert!(daemon.stop().success());
}

/// A closed case: Connect may take files for it or not; both are said.
#[test]
fn a_closed_case_is_tried_and_its_refusal_named() {
    let stage = by_reference();
    let id = case(&stage, "30000001");
    stage.sandbox.close_case(&id);
    stage.write("30000001/a.txt", "content");
    stage.sync();
    assert_eq!(on(&stage, &id), ["a.txt"]);
    let shown = text(&stage.run(&["why", "30000001/a.txt"]));
    assert!(shown.contains("closed: Connect may refuse uploads"), "{shown}");

    stage.sandbox.set_switches(Switches {
        start_on_closed_case: casedrop_sandbox::Leniency::InvalidRequest,
        ..Switches::DEFAULT
    });
    stage.write("30000001/b.txt", "more");
    let output = stage.run(&["sync"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert_eq!(stage.verdict("30000001/b.txt"), "parked(case-closed)");
    stage.sandbox.reopen_case(&id);
    assert!(stage.run(&["retry", "--all"]).status.success());
    stage.sync();
    assert_eq!(on(&stage, &id), ["a.txt", "b.txt"]);
}

/// A pinned case that is gone: looked up again once, and files go where the reference points then.
#[test]
fn a_pin_is_checked_again_when_its_case_is_gone() {
    let stage = by_reference();
    let gone = case(&stage, "30000001");
    stage.write("30000001/a.txt", "content");
    stage.sync();
    assert_eq!(on(&stage, &gone), ["a.txt"]);
    stage.sandbox.remove_case(&gone);
    stage.write("30000001/b.txt", "more");
    let daemon = stage.daemon();
    stage.wait_verdict("30000001/b.txt", "unrouted(reference-unknown)");
    assert!(text(&stage.run(&["why", "30000001/b.txt"])).contains("case-not-found"), "how it came to that");
    assert!(daemon.stop().success());
    stage.write("30000001/c.txt", "even more");
    stage.run(&["sync"]);
    assert_eq!(stage.verdict("30000001/c.txt"), "unrouted(reference-unknown)");
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 2, "one refusal is enough");
    // The reference is given anew: what was parked for the old case goes too.
    let next = case(&stage, "30000001");
    assert!(stage.run(&["retry", "30000001/c.txt"]).status.success());
    stage.sync();
    assert_eq!(on(&stage, &next), ["b.txt", "c.txt"]);
}

#[test]
fn a_sidecar_says_where_its_file_belongs() {
    let mut stage = Stage::new();
    stage.case = "sidecar = true".to_owned();
    stage.mirror.push_str("tags = { team = \"claims\", source = \"scan\" }\n");
    let id = case(&stage, "30000001");
    stage.write("by reference.txt", "1");
    stage.write("by reference.txt.casedrop.toml", "reference = \"30000001\"\nfile_name = \"Invoice 4711.txt\"\n");
    stage.write("by id.txt", "2");
    stage.write("by id.txt.casedrop.toml", format!("case = \"{DEMO_CASE_ID}\"\ntags = {{ source = \"portal\" }}\n"));
    stage.write("none.txt", "3");
    stage.write("broken.txt", "4");
    stage.write("broken.txt.casedrop.toml", "cse = \"x\"\n");
    stage.write("huge.txt", "5");
    stage.write("huge.txt.casedrop.toml", "# x\n".repeat(20_000));
    std::os::unix::fs::symlink("by id.txt.casedrop.toml", stage.path("linked.txt.casedrop.toml")).unwrap();
    stage.write("linked.txt", "6");
    let plan = text(&stage.run(&["plan"]));
    assert!(plan.contains("Invoice 4711.txt") && plan.contains("bad-sidecar"), "{plan}");
    stage.sync();
    assert_eq!(on(&stage, &id), ["Invoice 4711.txt"]);
    assert_eq!(on(&stage, DEMO_CASE_ID), ["by id.txt"]);
    let tags = stage.ours().into_iter().find(|file| file.file_name == "by id.txt").unwrap().tags;
    assert_eq!((tags["team"].as_str(), tags["source"].as_str()), ("claims", "portal"));
    assert_eq!(stage.verdict("none.txt"), "unrouted(no-sidecar)");
    for (path, says) in [
        ("broken.txt", "no such key as `cse`"),
        ("huge.txt", "larger than 65536 bytes"),
        ("linked.txt", "not a regular file"),
    ] {
        assert_eq!(stage.verdict(path), "unrouted(bad-sidecar)");
        assert!(note(&stage, path).contains(says), "{path}: {}", note(&stage, path));
    }
    assert!(stage.verdict("by id.txt.casedrop.toml").starts_with("ignored(a sidecar"));

    // Corrected beside a running daemon: the file goes by itself. A later change moves nothing that is attached.
    let daemon = stage.daemon();
    daemon.wait_ready();
    stage.write("broken.txt.casedrop.toml", format!("case = \"{DEMO_CASE_ID}\"\n"));
    stage.wait_verdict("broken.txt", "attached");
    let before = stage.changes().len();
    stage.write("by id.txt.casedrop.toml", "reference = \"30000001\"\n");
    fs::remove_file(stage.path("broken.txt.casedrop.toml")).unwrap();
    stage.marker_beside("marker.txt", &format!("case = \"{DEMO_CASE_ID}\"\n"));
    assert!(on(&stage, DEMO_CASE_ID).contains(&"by id.txt".to_owned()));
    assert!(daemon.stop().success());
    // The marker's own three calls.
    assert_eq!(stage.changes().len(), before + 3);
}

/// Off unless it is asked for: a file cannot steer itself to a case.
#[test]
fn a_sidecar_has_no_power_where_it_is_not_allowed() {
    let stage = Stage::new();
    let other = case(&stage, "30000001");
    stage.write("a.txt", "content");
    stage.write("a.txt.casedrop.toml", "reference = \"30000001\"\n");
    stage.run(&["sync"]);
    assert!(on(&stage, &other).is_empty());
    assert_eq!(on(&stage, DEMO_CASE_ID), ["a.txt"]);
    assert_eq!(stage.count(Op::SearchCases), 0);
    assert_eq!(stage.verdict("a.txt.casedrop.toml"), "parked(type-not-allowed)", "an ordinary file");
}

/// The file is quiet long before its sidecar is: both are waited for.
#[test]
fn a_file_waits_until_its_sidecar_is_quiet() {
    undisturbed(sidecar_in_pieces);
}

fn sidecar_in_pieces() -> bool {
    let mut stage = Stage::new();
    stage.case = "sidecar = true".to_owned();
    stage.mirror = stage.mirror.replace("200ms", "1s");
    stage.write("a.txt", "content");
    let daemon = stage.daemon();
    stage.wait_verdict("a.txt", "unrouted(no-sidecar)");
    // Written in pieces, of which some are valid and say less than the whole.
    let whole = format!("case = \"{DEMO_CASE_ID}\"\nfile_name = \"Named.txt\"\n");
    let mut pace = Pace::default();
    for end in 1..=whole.len() {
        pace.write(|| fs::write(stage.path("a.txt.casedrop.toml"), &whole[..end]).unwrap());
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    if !pace.kept_below(std::time::Duration::from_secs(1)) {
        return false;
    }
    wait("it is attached", || on(&stage, DEMO_CASE_ID) == ["Named.txt"], || format!("{:#?}", stage.list()));
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 1);
    assert!(daemon.stop().success());
    true
}

#[test]
fn the_creator_is_the_one_configured() {
    let mut stage = Stage::new();
    let user = format!("{}/agent/5a5d0000-0000-4000-8000-0000000000aa", stage.sandbox.instance_arn());
    stage.mirror.push_str(&format!("created_by = \"{user}\"\n"));
    stage.write("a.txt", "content");
    stage.sync();
    assert_eq!(stage.ours()[0].created_by, user);
    stage.assert_equal();
}

#[test]
fn the_policy_grants_what_references_need_and_only_then() {
    let policy = |stage: &Stage| text(&stage.run(&["check", "--policy-only"]));
    let needed = ["cases:SearchCases", "cases:GetCase", "cases:ListFields"];
    let plain = policy(&Stage::new());
    assert!(needed.iter().all(|action| !plain.contains(action)), "{plain}");
    let by_reference = policy(&by_reference());
    assert!(needed.iter().all(|action| by_reference.contains(action)), "{by_reference}");
}

/// Every setting of what AWS leaves open about searches and refusals.
#[test]
fn references_are_resolved_under_every_switch() {
    for (name, switches) in Switches::ALL {
        if !(name.starts_with("search") || name.starts_with("start-on") || name.starts_with("reference")) {
            continue;
        }
        let stage = by_reference();
        stage.sandbox.set_switches(switches);
        let (open, closed, gone) = (case(&stage, "30000001"), case(&stage, "30000002"), case(&stage, "30000003"));
        for number in 1..=3 {
            stage.write(&format!("3000000{number}/{number}.txt"), format!("content {number}"));
        }
        // An index that lags finds them later.
        stage.sandbox.advance_clock(switches.search_cases_delay);
        stage
            .sandbox
            .set_faults(vec![Fault::all(Op::StartAttachedFileUpload, FaultKind::Throttle { retry_after: None })]);
        let daemon = stage.daemon();
        wait(
            "all wait to be sent",
            || {
                stage.list().iter().filter(|l| l["verdict"] == "queued").count() == 3
                    && stage.sandbox.faults_applied() > 2
            },
            || format!("{name}: {:#?}", stage.list()),
        );
        stage.sandbox.close_case(&closed);
        stage.sandbox.remove_case(&gone);
        stage.sandbox.set_faults(Vec::new());
        stage.wait_verdict("30000001/1.txt", "attached");
        let refused = switches.start_on_closed_case == casedrop_sandbox::Leniency::InvalidRequest;
        stage.wait_verdict("30000002/2.txt", if refused { "parked(case-closed)" } else { "attached" });
        stage.wait_verdict("30000003/3.txt", "unrouted(reference-unknown)");
        assert_eq!(on(&stage, &open), ["1.txt"], "{name}");
        assert!(daemon.stop().success());
    }
    assert_eq!(NewCase::default().status, CaseStatus::Open);
}
