//! The standard scenario under every setting of every switch: what AWS leaves open must not matter.
//!
//! New files, a lost reply, a change, a move with and without another name, deletes, a stop in the middle; at the
//! end both sides are equal and nothing is unfinished.

use std::fs;
use std::time::Duration;

use crate::common::{Stage, wait};
use casedrop_sandbox::{Fault, FaultKind, Op, Scan, Switches};

fn scenario(name: &str, switches: Switches) {
    let mut stage = Stage::with(|settings| {
        settings.switches = switches;
        settings.scan = Scan::after(Duration::from_millis(300));
    });
    stage.loose_names = switches.duplicate_name != Switches::DEFAULT.duplicate_name;
    for n in 0..4 {
        stage.write(&format!("{n}.txt"), format!("content {n}"));
    }
    stage.write("folder/inner.pdf", "inner");
    stage.write("other/deep/file.pdf", "deep");
    stage.sandbox.set_faults(vec![
        Fault::nth(Op::StartAttachedFileUpload, 2, FaultKind::LostReply),
        Fault::nth(Op::CompleteAttachedFileUpload, 1, FaultKind::LostReply),
        Fault::nth(Op::PutObject, 2, FaultKind::CutAfter(3)),
    ]);
    stage.sync();
    stage.sandbox.set_faults(Vec::new());
    stage.wait_equal();

    // Killed in a complete call that had its effect, then everything changes while nothing runs.
    stage.write("0.txt", "changed once");
    stage
        .sandbox
        .set_faults(vec![Fault::all(Op::CompleteAttachedFileUpload, FaultKind::Hang(Duration::from_secs(600)))]);
    let daemon = stage.daemon();
    wait("the daemon hangs", || stage.sandbox.faults_applied() > 0, || daemon.log());
    daemon.kill();
    stage.sandbox.set_faults(Vec::new());
    stage.write("0.txt", "changed twice");
    fs::rename(stage.path("folder/inner.pdf"), stage.path("renamed.pdf")).unwrap();
    fs::rename(stage.path("other"), stage.path("another")).unwrap();
    fs::remove_file(stage.path("3.txt")).unwrap();
    let daemon = stage.daemon();
    daemon.wait_ready();
    stage.wait_equal();
    assert!(daemon.stop().success(), "{name}");
    stage.sync();
    stage.assert_equal();
}

/// One of six shares, so that no single test runs for long.
fn share(part: usize) {
    for (name, switches) in Switches::ALL.iter().skip(part).step_by(6) {
        println!("switch: {name}");
        scenario(name, *switches);
    }
}

#[test]
fn every_switch_first_share() {
    share(0);
}

#[test]
fn every_switch_second_share() {
    share(1);
}

#[test]
fn every_switch_third_share() {
    share(2);
}

#[test]
fn every_switch_fourth_share() {
    share(3);
}

#[test]
fn every_switch_fifth_share() {
    share(4);
}

#[test]
fn every_switch_sixth_share() {
    share(5);
}
