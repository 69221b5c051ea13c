//! `kill -9` at every stage of an upload and of a delete, with the real binary: after a restart none is missing,
//! none is there twice, and no FileId is left unfinished.
//!
//! The sandbox holds the daemon at the wanted point: `HangForever` before the effect of a call, `Hang` after it.

use std::time::Duration;

use crate::common::{Stage, wait};
use casedrop_sandbox::{Fault, FaultKind, Op, Switches, TokenReplay};

/// Longer than any test: the daemon is killed while it waits.
const LONG: Duration = Duration::from_secs(600);

fn kill_at(op: Op, kind: FaultKind, prepare: impl Fn(&Stage), change: impl Fn(&Stage), switches: Switches) {
    let stage = Stage::with(|settings| settings.switches = switches);
    prepare(&stage);
    change(&stage);
    stage.sandbox.set_faults(vec![Fault::all(op, kind.clone())]);
    let daemon = stage.daemon();
    wait(
        &format!("the daemon hangs in {op:?} ({})", kind.name()),
        || stage.sandbox.faults_applied() > 0,
        || daemon.log(),
    );
    daemon.kill();
    stage.sandbox.set_faults(Vec::new());
    let daemon = stage.daemon();
    daemon.wait_ready();
    stage.wait_equal();
    assert!(daemon.stop().success());
    // What the daemon was stopped in, a follow-up say, a pass brings to its end.
    stage.sync();
    stage.assert_equal();
    let calls = stage.changes().len();
    // A pass with nothing to do must find nothing to do (invariant 13).
    stage.sync();
    let again = stage.changes().split_off(calls);
    assert!(again.is_empty(), "a settled state caused calls: {again:?}");
}

fn both(op: Op) {
    let new = |stage: &Stage| {
        for n in 0..3 {
            stage.write(&format!("{n}.txt"), format!("content {n}"));
        }
    };
    kill_at(op, FaultKind::HangForever, |_| {}, new, Switches::DEFAULT);
    kill_at(op, FaultKind::Hang(LONG), |_| {}, new, Switches::DEFAULT);
}

#[test]
fn killed_in_start() {
    both(Op::StartAttachedFileUpload);
}

#[test]
fn killed_in_start_when_the_token_is_ignored() {
    let switches = Switches { token_replay: TokenReplay::NewFile, ..Switches::DEFAULT };
    let new = |stage: &Stage| stage.write("a.txt", "content");
    kill_at(Op::StartAttachedFileUpload, FaultKind::Hang(LONG), |_| {}, new, switches);
}

#[test]
fn killed_in_the_put() {
    both(Op::PutObject);
}

#[test]
fn killed_in_complete() {
    both(Op::CompleteAttachedFileUpload);
}

#[test]
fn killed_in_the_follow_up() {
    both(Op::BatchGetAttachedFileMetadata);
}

#[test]
fn killed_in_the_delete_of_a_removed_file() {
    for kind in [FaultKind::HangForever, FaultKind::Hang(LONG)] {
        let prepare = |stage: &Stage| {
            for n in 0..3 {
                stage.write(&format!("{n}.txt"), format!("content {n}"));
            }
            stage.sync();
        };
        let change = |stage: &Stage| std::fs::remove_file(stage.path("1.txt")).unwrap();
        kill_at(Op::DeleteAttachedFile, kind, prepare, change, Switches::DEFAULT);
    }
}

#[test]
fn killed_while_a_version_is_replaced() {
    for op in [Op::StartAttachedFileUpload, Op::PutObject, Op::CompleteAttachedFileUpload, Op::DeleteAttachedFile] {
        for kind in [FaultKind::HangForever, FaultKind::Hang(LONG)] {
            let prepare = |stage: &Stage| {
                stage.write("a.txt", "first");
                stage.sync();
            };
            kill_at(op, kind, prepare, |stage| stage.write("a.txt", "second"), Switches::DEFAULT);
        }
    }
}

#[test]
fn changed_while_the_daemon_was_dead() {
    for op in [Op::StartAttachedFileUpload, Op::PutObject, Op::CompleteAttachedFileUpload] {
        let stage = Stage::new();
        stage.write("a.txt", "first");
        stage.sandbox.set_faults(vec![Fault::all(op, FaultKind::Hang(LONG))]);
        let daemon = stage.daemon();
        wait("the daemon hangs", || stage.sandbox.faults_applied() > 0, || daemon.log());
        daemon.kill();
        stage.sandbox.set_faults(Vec::new());
        stage.write("a.txt", "second, another size");
        let daemon = stage.daemon();
        daemon.wait_ready();
        stage.wait_equal();
        assert!(daemon.stop().success());
        stage.assert_equal();
    }
}
