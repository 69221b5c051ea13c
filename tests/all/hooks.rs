//! Hooks: at least once, in order, never in the way of a delivery.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use casedrop_sandbox::{FileStatus, Scan, Verdict};
use serde_json::Value;

use crate::common::{Stage, text, wait};

/// Where the hook's script writes what it is told, one file for each call; `more` is the rest of the script.
fn hook(stage: &mut Stage, on: &str, timeout: &str, more: &str) -> PathBuf {
    let (told, script) = (stage.dir.path().join("told"), stage.dir.path().join("hook.sh"));
    fs::create_dir_all(&told).unwrap();
    let text = format!(
        // A daemon that is killed before it has handed the text over leaves a hook with nothing to read.
        "env > \"$1/env\"\ncat > \"$1/draft.$$\"\n[ -s \"$1/draft.$$\" ] || exit 9\n\
         mv \"$1/draft.$$\" \"$1/$(date +%s%N).$CASEDROP_DELIVERY.$CASEDROP_TRY.json\"\n{more}\n"
    );
    fs::write(&script, text).unwrap();
    stage.limits.push_str(&format!(
        "[hooks]\non = [{on}]\ncommand = [\"/bin/sh\", {script:?}, {told:?}]\ntimeout = \"{timeout}\"\n"
    ));
    told
}

struct Call {
    delivery: String,
    tries: u32,
    told: Value,
}

/// Every call so far, in order.
fn calls(told: &PathBuf) -> Vec<Call> {
    let mut names: Vec<String> = fs::read_dir(told)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".json"))
        .collect();
    names.sort();
    let call = |name: &String| {
        let parts: Vec<&str> = name.split('.').collect();
        let told = serde_json::from_slice(&fs::read(told.join(name)).unwrap()).unwrap();
        Call { delivery: parts[1].to_owned(), tries: parts[2].parse().unwrap(), told }
    };
    names.iter().map(call).collect()
}

fn said(calls: &[Call]) -> String {
    calls.iter().map(|call| format!("{} {} {}\n", call.delivery, call.tries, call.told)).collect()
}

fn wait_calls(told: &PathBuf, what: &str, enough: impl Fn(&[Call]) -> bool) -> Vec<Call> {
    wait(what, || enough(&calls(told)), || said(&calls(told)));
    calls(told)
}

/// Waits until the journal knows that every call has ended well.
fn wait_told(stage: &Stage) {
    wait("nothing is left", || stage.status()["hooks"]["waiting"] == 0, || format!("{:#}", stage.status()));
}

#[test]
fn every_event_is_told_with_what_matters_and_no_history() {
    let mut stage = Stage::new();
    stage.case = "case_from = '^(?<case_id>[^/]+)/'".to_owned();
    let case = casedrop_sandbox::DEMO_CASE_ID;
    stage.write(&format!("{case}/before.txt"), "from before hooks were on");
    stage.sync();
    let reject = regex::Regex::new("virus").unwrap();
    stage.sandbox.set_scan(Scan::default().rule(reject, Verdict::Rejected));
    let all = r#""attached", "parked", "rejected", "held", "recovered", "unrouted""#;
    let told = hook(&mut stage, all, "60s", "echo said by the hook");
    stage.write(&format!("{case}/letter.txt"), "a letter");
    stage.write(&format!("{case}/empty.txt"), "");
    stage.write(&format!("{case}/virus.txt"), "a virus");
    stage.write("nowhere/x.txt", "no case");
    let daemon = stage.daemon();
    wait_calls(&told, "four events are told", |calls| calls.len() >= 4);
    fs::rename(&stage.drop, stage.dir.path().join("away")).unwrap();
    stage.wait_hold("root-missing");
    fs::rename(stage.dir.path().join("away"), &stage.drop).unwrap();
    let all = wait_calls(&told, "the mirror is known to be back", |calls| calls.len() >= 6);
    // Called is not yet told: a stop now would end the last one, and the next run would call it again.
    wait_told(&stage);
    assert!(daemon.log().contains("the hook says: said by the hook"), "{}", daemon.log());
    stage.assert_settled(daemon);

    assert_eq!(calls(&told).len(), 6, "once each, and nothing of before:\n{}", said(&calls(&told)));
    let of = |event: &str| &all.iter().find(|call| call.told["event"] == event).unwrap().told;
    for call in &all {
        assert_eq!((&call.told["version"], &call.told["mirror"]), (&1.into(), &"drop".into()));
        assert_eq!(call.told["delivery"], call.delivery);
        assert_eq!(call.tries, 1);
        assert!(call.told["time"].as_str().unwrap().ends_with('Z'));
    }
    let attached = of("attached");
    let visible = stage.ours().into_iter().find(|file| file.file_name.ends_with("letter.txt")).unwrap();
    assert_eq!(visible.status, FileStatus::Approved);
    assert_eq!(attached["path"], format!("{case}/letter.txt"));
    assert_eq!((&attached["case_id"], &attached["file_id"]), (&case.into(), &visible.file_id.clone().into()));
    assert_eq!((&attached["size"], &attached["sha256"]), (&8.into(), &visible.sha256.unwrap().into()));
    assert_eq!(attached["name"], visible.file_name);
    let parked = of("parked");
    assert_eq!((&parked["code"], &parked["size"]), (&"empty-file".into(), &0.into()));
    assert!(parked["remedy"].as_str().unwrap().contains("no empty file"));
    let rejected = of("rejected");
    assert_eq!((&rejected["code"], &rejected["path"]), (&"rejected".into(), &format!("{case}/virus.txt").into()));
    let unrouted = of("unrouted");
    assert_eq!(unrouted["code"], "bad-case-id");
    assert!(unrouted["remedy"].as_str().unwrap().contains("no case id"), "{unrouted}");
    assert_eq!((&of("held")["hold"], &of("held")["path"]), (&"root-missing".into(), &Value::Null));
    assert_eq!(of("recovered")["hold"], "root-missing");
    let env = fs::read_to_string(told.join("env")).unwrap();
    assert!(!env.contains("AWS_") && !env.contains("NOTIFY_SOCKET"), "{env}");
    assert!(env.contains("CASEDROP_MIRROR=drop") && env.contains("PATH="), "{env}");
}

#[test]
fn what_happened_is_told_at_least_once_across_kills_with_one_number() {
    let mut stage = Stage::new();
    // Every call takes a while after it was recorded, so that kills fall between it and its end.
    let told = hook(&mut stage, "\"attached\"", "60s", "sleep 0.2");
    for round in 0..3 {
        for n in 0..8 {
            stage.write(&format!("{round}-{n}.txt"), format!("content {round} {n}"));
        }
        let daemon = stage.daemon();
        wait_calls(&told, "some are told", |calls| calls.len() > round * 8 + 2);
        daemon.kill();
    }
    let daemon = stage.daemon();
    let paths = |calls: &[Call]| -> BTreeSet<String> {
        calls.iter().map(|call| call.told["path"].as_str().unwrap().to_owned()).collect()
    };
    wait_calls(&told, "all are told", |calls| paths(calls).len() == 24);
    wait_told(&stage);
    stage.wait_equal();
    stage.assert_settled(daemon);
    let mut numbers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for call in calls(&told) {
        numbers.entry(call.told["path"].as_str().unwrap().to_owned()).or_default().insert(call.told.to_string());
    }
    assert!(numbers.values().all(|told| told.len() == 1), "the same text at every try: {numbers:#?}");
}

#[test]
fn one_that_hangs_or_fails_is_tried_again_in_order_and_delays_nothing() {
    let mut stage = Stage::new();
    // The first tries of two files go wrong, in two ways.
    let more = "case \"$CASEDROP_TRY $CASEDROP_EVENT $CASEDROP_PATH\" in '1 attached hangs.txt') sleep 1000;; \
                '1 parked fails.txt'|'2 parked fails.txt') echo no such server >&2; exit 4;; esac";
    // Far more than any other call takes on a machine that is busy.
    let told = hook(&mut stage, "\"attached\", \"parked\"", "15s", more);
    stage.write("fails.txt", "");
    stage.write("hangs.txt", "hangs");
    let daemon = stage.daemon();
    wait_calls(&told, "both are told", |calls| calls.len() >= 2);
    for n in 0..6 {
        stage.write(&format!("{n}.txt"), format!("content {n}"));
    }
    // A second event of the same file, while the first is not told yet.
    stage.write("fails.txt", "no longer empty");
    stage.wait_equal();
    let all = wait_calls(&told, "all is told", |calls| {
        calls.iter().filter(|call| call.told["path"] == "fails.txt").count() >= 4
            && calls.iter().any(|call| call.told["path"] == "hangs.txt" && call.tries == 2)
            && calls.len() >= 12
    });
    let fails: Vec<(&str, u32)> = all
        .iter()
        .filter(|call| call.told["path"] == "fails.txt")
        .map(|call| (call.told["event"].as_str().unwrap(), call.tries))
        .collect();
    assert_eq!(fails, [("parked", 1), ("parked", 2), ("parked", 3), ("attached", 1)], "{}", said(&all));
    let log = daemon.log();
    for words in ["it ended with exit code 4", "it ran for 15 s and was ended", "the hook says: no such server"] {
        assert!(log.contains(words), "{words}: {log}");
    }
    wait_told(&stage);
    stage.assert_settled(daemon);
}

#[test]
fn a_program_that_cannot_be_started_loses_nothing() {
    let mut stage = Stage::new();
    let told = hook(&mut stage, "\"attached\"", "60s", "");
    let program = stage.dir.path().join("program");
    stage.limits = stage.limits.replace("\"/bin/sh\"", &format!("{program:?}"));
    stage.write("a.txt", "a");
    stage.write("b.txt", "b");
    let daemon = stage.daemon();
    stage.wait_attached();
    wait("it is said", || daemon.log().contains("the hook's program cannot be started"), || daemon.log());
    let shown = || text(&stage.run(&["status"]));
    wait("both are to be told", || shown().contains("hooks      2 to be told"), shown);
    std::os::unix::fs::symlink("/bin/sh", &program).unwrap();
    let all = wait_calls(&told, "both are told", |calls| calls.len() == 2);
    assert!(all.iter().all(|call| call.tries == 1), "no try was used up: {}", said(&all));
    stage.assert_settled(daemon);
}

#[test]
fn a_pass_tells_before_it_ends_and_hooks_that_are_off_are_not_told_later() {
    let mut stage = Stage::new();
    let off = stage.limits.clone();
    let told = hook(&mut stage, "\"attached\"", "60s", "");
    stage.write("a.txt", "a");
    stage.sync();
    assert_eq!(calls(&told).len(), 1);
    let on = std::mem::replace(&mut stage.limits, off);
    stage.write("b.txt", "b");
    stage.sync();
    stage.limits = on;
    stage.write("c.txt", "c");
    stage.sync();
    let paths: Vec<Value> = calls(&told).into_iter().map(|call| call.told["path"].clone()).collect();
    assert_eq!(paths, ["a.txt", "c.txt"]);
}

#[test]
fn names_stay_out_of_the_log_where_they_are_hidden() {
    let mut stage = Stage::new();
    let told = hook(&mut stage, "\"attached\"", "60s", "echo about $CASEDROP_PATH");
    stage.limits.push_str("[log]\nhide_names = true\nlevel = \"debug\"\n");
    stage.write("secret-name.txt", "content");
    let daemon = stage.daemon();
    let all = wait_calls(&told, "it is told", |calls| calls.len() == 1);
    assert_eq!(all[0].told["path"], "secret-name.txt", "the hook itself is told");
    wait("the log has it", || daemon.log().contains("the hook's output is not shown"), || daemon.log());
    assert!(!daemon.log().contains("secret-name"), "{}", daemon.log());
    assert!(daemon.stop().success());
}
