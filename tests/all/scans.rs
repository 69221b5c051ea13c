//! What the instance's scanner says, and what casedrop makes of it: rejected, failed, and no answer.

use std::fs::File;
use std::time::{Duration, SystemTime};

use crate::common::{Stage, text, wait};
use casedrop_sandbox::{FileStatus, Op, Scan, Verdict};
use regex::Regex;

/// A stage whose scanner ends files by their names.
fn scanner() -> Stage {
    Stage::with(|settings| settings.scan = rules())
}

fn rules() -> Scan {
    let rule = |name: &str| Regex::new(name).unwrap();
    Scan::after(Duration::ZERO)
        .rule(rule("virus"), Verdict::Rejected)
        .rule(rule("broken"), Verdict::Failed)
        .rule(rule("endless"), Verdict::Never)
}

fn touch(stage: &Stage, name: &str) {
    File::open(stage.path(name)).unwrap().set_modified(SystemTime::now() - Duration::from_secs(7)).unwrap();
}

#[test]
fn a_rejected_file_is_parked_and_sent_again_only_by_hand() {
    let stage = scanner();
    stage.write("virus.pdf", "what the scanner dislikes");
    stage.write("good.pdf", "good");
    let daemon = stage.daemon();
    stage.wait_verdict("virus.pdf", "parked(rejected)");
    stage.wait_verdict("good.pdf", "attached");
    // The journal has it a moment before the log.
    wait("it is said", || daemon.log().contains("the scan ended REJECTED"), || daemon.log());
    touch(&stage, "virus.pdf");
    stage.write("good.pdf", "good");
    stage.marker("marker.pdf");
    stage.wait_verdict("virus.pdf", "parked(rejected)");
    assert!(daemon.stop().success());
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 3, "touched, it is not sent again");
    // Nor at a restart; and a pass says so.
    let output = stage.run(&["sync"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("casedrop retry"), "the remedy: {}", text(&output));
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 3);
    let path = stage.path("virus.pdf");
    let why = stage.run(&["why", path.to_str().unwrap()]);
    assert!(text(&why).contains("REJECTED"), "{}", text(&why));

    // By hand, with a daemon that runs; the scanner has not changed its mind.
    let daemon = stage.daemon();
    daemon.wait_ready();
    let retry = stage.run(&["retry", path.to_str().unwrap()]);
    assert!(retry.status.success(), "{}", text(&retry));
    wait("it is sent again", || stage.count(Op::StartAttachedFileUpload) == 4, || daemon.log());
    stage.wait_verdict("virus.pdf", "parked(rejected)");
    // Without one; now it has.
    assert!(daemon.stop().success());
    stage.sandbox.set_scan(Scan::after(Duration::ZERO));
    let retry = stage.run(&["retry", "--all"]);
    assert!(retry.status.success(), "{}", text(&retry));
    stage.sync();
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 5);
    stage.assert_equal();
}

#[test]
fn changed_content_leaves_the_park_by_itself() {
    let stage = scanner();
    stage.write("virus.pdf", "what the scanner dislikes");
    let daemon = stage.daemon();
    stage.wait_verdict("virus.pdf", "parked(rejected)");
    stage.sandbox.set_scan(Scan::after(Duration::ZERO));
    stage.write("virus.pdf", "cleaned");
    stage.wait_attached();
    assert_eq!(stage.verdict("virus.pdf"), "attached");
    stage.assert_settled(daemon);
    stage.assert_equal();
}

/// The gaps between attempts are minutes: they are ended in the journal, while nothing runs.
fn end_waits(stage: &Stage) {
    let journal = rusqlite::Connection::open(stage.journal()).unwrap();
    let changed = journal.execute("UPDATE file SET next_attempt = 1 WHERE next_attempt IS NOT NULL", ()).unwrap();
    assert_eq!(changed, 1, "one file waits");
}

#[test]
fn a_failed_file_is_tried_anew_a_few_times_and_then_parked() {
    let stage = scanner();
    stage.write("broken.pdf", "what Connect gives up on");
    for attempt in 1..=3 {
        let daemon = stage.daemon();
        let verdict = if attempt < 3 { "queued" } else { "parked(failed)" };
        wait(
            &format!("attempt {attempt} ends {verdict}"),
            || {
                stage.count(Op::StartAttachedFileUpload) == attempt
                    && stage.ours().is_empty()
                    && stage.verdict("broken.pdf") == verdict
            },
            || format!("{:?}\n{:#?}", stage.list(), stage.ours()),
        );
        // Before the next one is due.
        assert!(daemon.stop().success());
        if attempt < 3 {
            let listed = stage.list().remove(0);
            assert!(listed["note"].as_str().is_some_and(|note| note.contains("FAILED")), "{listed}");
            assert!(listed["next_attempt"].is_string(), "{listed}");
        }
        assert_eq!(stage.count(Op::StartAttachedFileUpload), attempt, "the next one waits");
        if attempt < 3 {
            end_waits(&stage);
        }
    }
    let output = stage.run(&["sync"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 3, "parked, it is not sent again");
    stage.sandbox.set_scan(Scan::after(Duration::ZERO));
    assert!(stage.run(&["retry", "--all"]).status.success());
    stage.sync();
    stage.assert_equal();
}

#[test]
fn a_scan_without_an_end_is_shown_and_hinders_nobody() {
    let stage = scanner();
    stage.write("endless.pdf", "scanned for ever");
    let daemon = stage.daemon();
    stage.wait_verdict("endless.pdf", "scanning");
    stage.marker("other.pdf");
    stage.wait_verdict("other.pdf", "attached");
    let status = stage.status();
    let mirror = &status["mirrors"][0];
    assert_eq!((&mirror["counts"]["scanning"], &mirror["counts"]["attached"]), (&1.into(), &1.into()), "{mirror:#}");
    assert_eq!(mirror["oldest_not_visible"]["path"], "endless.pdf", "{mirror:#}");
    let shown = text(&stage.run(&["status"]));
    assert!(shown.contains("1 scanning") && shown.contains("endless.pdf (scanning)"), "{shown}");
    // Never counted as attached, never sent again: not by a touch, not by a restart.
    touch(&stage, "endless.pdf");
    assert!(daemon.stop().success());
    let daemon = stage.daemon();
    stage.marker("later.pdf");
    stage.wait_verdict("endless.pdf", "scanning");
    assert!(daemon.stop().success());
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 3);
    assert_eq!(stage.count(Op::DeleteAttachedFile), 0);
    let open: Vec<_> = stage.ours().into_iter().filter(|file| file.status != FileStatus::Approved).collect();
    assert_eq!(open.len(), 1, "{open:?}");
}
