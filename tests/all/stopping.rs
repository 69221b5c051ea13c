//! SIGTERM: what is in flight ends or is cut off within 30 s, a second signal ends at once, and the next start goes
//! on as if nothing had happened.

use std::time::Duration;

use crate::common::{Daemon, Stage, wait};
use casedrop_sandbox::{Fault, FaultKind, Op};

/// A daemon whose calls of one operation hang.
fn hanging(op: Op, kind: FaultKind) -> (Stage, Daemon) {
    let stage = Stage::new();
    stage.sandbox.set_faults(vec![Fault::all(op, kind)]);
    let daemon = stage.daemon();
    daemon.wait_ready();
    for n in 0..3 {
        stage.write(&format!("{n}.txt"), format!("content {n}"));
    }
    wait("the calls hang", || stage.sandbox.faults_applied() >= 3, || daemon.log());
    (stage, daemon)
}

/// What the stop left open is finished by the next start: nothing missing, nothing twice, nothing unfinished.
fn restart_finishes(stage: &Stage) {
    stage.sandbox.set_faults(Vec::new());
    let daemon = stage.daemon();
    stage.wait_attached();
    stage.assert_settled(daemon);
    stage.assert_equal();
}

#[test]
fn an_upload_that_hangs_is_cut_off_in_time() {
    let (stage, daemon) = hanging(Op::PutObject, FaultKind::HangForever);
    let path = daemon.log.clone();
    let status = daemon.stop();
    assert!(status.success(), "{status}");
    // Not waited for to its end, which never comes, but for as long as it says; systemd waits 30 s (`service.rs`).
    let log = std::fs::read_to_string(path).unwrap();
    for words in ["uploads in flight have 25 s to end", "uploads still under way were cut off"] {
        assert!(log.contains(words), "{words}: {log}");
    }
    restart_finishes(&stage);
}

#[test]
fn an_upload_that_ends_in_time_is_finished() {
    let (stage, daemon) = hanging(Op::PutObject, FaultKind::Hang(Duration::from_secs(3)));
    let status = daemon.stop();
    assert!(status.success(), "{status}");
    assert_eq!(stage.count(Op::CompleteAttachedFileUpload), 3, "what was in flight was brought to its end");
    stage.assert_equal();
    restart_finishes(&stage);
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 3, "and is not sent again");
}

fn second_signal(op: Op) {
    let (stage, mut daemon) = hanging(op, FaultKind::HangForever);
    daemon.signal("TERM");
    wait("it says what a second signal does", || daemon.log().contains("stopping: "), || daemon.log());
    daemon.signal("TERM");
    let status = daemon.wait_end();
    // Without it, it would have waited for its 25 s, cut the calls off and ended well.
    assert_eq!(status.code(), Some(75), "{op:?}: {}", daemon.log());
    assert!(!daemon.log().contains("were cut off"), "{op:?}: {}", daemon.log());
    restart_finishes(&stage);
}

#[test]
fn a_second_signal_ends_at_once() {
    // Side by side, because they mostly wait.
    std::thread::scope(|scope| {
        for op in [Op::StartAttachedFileUpload, Op::PutObject, Op::CompleteAttachedFileUpload] {
            scope.spawn(move || second_signal(op));
        }
    });
}
