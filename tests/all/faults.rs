//! Trouble on the way: all files are attached in the end, none twice, and the calls stay within the pacer's limits.

use std::time::Duration;

use crate::common::{Stage, text};
use casedrop_sandbox::{Fault, FaultKind, Nth, Op, Throttle};

const CALLS: [Op; 4] = [
    Op::StartAttachedFileUpload,
    Op::CompleteAttachedFileUpload,
    Op::BatchGetAttachedFileMetadata,
    Op::DeleteAttachedFile,
];

fn fraction(op: Op, share: f64, kind: FaultKind) -> Fault {
    Fault { op, nth: Nth::Fraction { share, seed: 7 }, kind, limit: None }
}

fn fill(stage: &Stage, files: usize) {
    for n in 0..files {
        stage.write(&format!("{n:03}.txt"), format!("content {n}"));
    }
}

/// Runs passes until both sides are equal, as an operator's timer would.
fn passes(stage: &Stage) {
    for _ in 0..6 {
        let output = stage.run(&["sync"]);
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 75)), "{code:?}: {}", text(&output));
        if code == Some(0) && stage.is_equal() {
            break;
        }
    }
    stage.assert_equal();
}

/// New files, then a change of half of them, under the faults.
fn survives(faults: Vec<Fault>) {
    let stage = Stage::new();
    fill(&stage, 8);
    stage.sandbox.set_faults(faults.clone());
    passes(&stage);
    for n in 0..4 {
        stage.write(&format!("{n:03}.txt"), format!("changed {n}"));
    }
    stage.sandbox.set_faults(faults);
    passes(&stage);
    assert!(stage.sandbox.faults_applied() > 0, "the faults never came to bear");
}

#[test]
fn half_of_all_calls_throttled() {
    survives(CALLS.map(|op| fraction(op, 0.5, FaultKind::Throttle { retry_after: None })).into());
}

#[test]
fn server_errors_before_the_effect() {
    survives(CALLS.map(|op| fraction(op, 0.3, FaultKind::ServerErrorBefore)).into());
}

#[test]
fn server_errors_after_the_effect() {
    survives(CALLS.map(|op| fraction(op, 0.3, FaultKind::ServerErrorAfter)).into());
}

#[test]
fn lost_replies() {
    survives(
        [CALLS.as_slice(), &[Op::PutObject]]
            .concat()
            .into_iter()
            .map(|op| fraction(op, 0.3, FaultKind::LostReply))
            .collect(),
    );
}

#[test]
fn uploads_cut_in_the_middle() {
    survives(vec![fraction(Op::PutObject, 0.5, FaultKind::CutAfter(4))]);
}

#[test]
fn storage_asks_to_slow_down() {
    survives(vec![fraction(Op::PutObject, 0.5, FaultKind::SlowDown)]);
}

#[test]
fn upload_urls_expired() {
    survives(vec![fraction(Op::PutObject, 0.4, FaultKind::Expired)]);
}

#[test]
fn garbled_answers() {
    survives(CALLS.map(|op| fraction(op, 0.3, FaultKind::Malformed)).into());
}

#[test]
fn a_hang_of_five_seconds_on_each_operation() {
    let ops = [CALLS.as_slice(), &[Op::PutObject]].concat();
    survives(ops.into_iter().map(|op| Fault::nth(op, 1, FaultKind::Hang(Duration::from_secs(5)))).collect());
}

#[test]
fn a_real_quota_is_used_and_not_overrun() {
    // With few in flight, and room at the service for them beside a burst, a pause of either side throws no more calls
    // together than it takes; forty at twice the pace would be too many.
    let mut stage = Stage::with(|settings| settings.throttle = Throttle::every(5.0, 10));
    stage.limits = "requests_per_second = 5\nburst = 3\nuploads_in_flight = 2\n".to_owned();
    fill(&stage, 40);
    passes(&stage);
    let throttled = stage.sandbox.requests().iter().filter(|r| r.status == 429).count();
    assert_eq!(throttled, 0, "a pacer at the quota alone is never throttled");
}

#[test]
fn refusals_are_parked_and_never_repeated() {
    let stage = Stage::new();
    stage.write("program.exe", "MZ");
    stage.write("empty.pdf", "");
    stage.write("good.pdf", "good");
    let output = stage.run(&["sync"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let starts =
        |stage: &Stage| stage.sandbox.requests().iter().filter(|r| r.op == Op::StartAttachedFileUpload).count();
    assert_eq!(starts(&stage), 1, "what would be refused costs no call");
    let output = stage.run(&["sync"]);
    assert_eq!((output.status.code(), starts(&stage)), (Some(1), 1), "parked files are not sent again");
    let shown = text(&output);
    assert!(shown.contains("type-not-allowed") && shown.contains("empty-file"), "{shown}");
}

#[test]
fn access_denied_does_not_loop() {
    let stage = Stage::new();
    fill(&stage, 3);
    stage.sandbox.set_faults(vec![Fault::all(Op::StartAttachedFileUpload, FaultKind::AccessDenied)]);
    let output = stage.run(&["sync"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 3);
}

#[test]
fn expired_credentials_use_up_no_tries() {
    let stage = Stage::new();
    fill(&stage, 3);
    stage.sandbox.set_faults(vec![Fault::all(Op::StartAttachedFileUpload, FaultKind::ExpiredToken)]);
    let output = stage.run(&["sync"]);
    assert_eq!(output.status.code(), Some(78), "{}", text(&output));
    stage.sandbox.set_faults(Vec::new());
    stage.sync();
    stage.assert_equal();
}
