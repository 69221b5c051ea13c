//! The statement sweep: the i-th statement of the journal fails, for every i of the standard scenario (new, replaced,
//! moved, deleted, rejected, restarted), as on a full disk or with an I/O error: from the making of the tables to the
//! checkpoint at the end. The end state is the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use casedrop_sandbox::{FileStatus, Scan, Verdict};

use super::disk::{Deed, Disk};
use super::stage::{End, Stage};
use super::wire::Weather;
use crate::host::simulated::StatementFault;
use crate::run::engine::open_journal;

const CONFIG: &str = "settle = \"0s\"\nrescan = \"10s\"\ndelete_grace = \"10s\"\ndelete_budget = \"off\"\n";

/// What is left at the end.
#[derive(Debug, PartialEq, Eq)]
struct Ending {
    /// Name, status and content of everything of ours at Connect.
    at_connect: Vec<(String, FileStatus, Option<String>)>,
    verdicts: BTreeMap<String, String>,
    open: usize,
}

/// Two processes; the fault comes in either, or in the start of the second. Answers the statements of the scenario.
fn scenario(fault: Option<(u64, StatementFault)>) -> (Ending, u64) {
    let stage = Stage::new(1, |settings| {
        let virus = "virus".parse().unwrap();
        settings.scan = Scan::after(Duration::from_millis(500)).rule(virus, Verdict::Rejected);
    });
    stage.line.set_weather(Weather { slow_ms: 20, ..Weather::default() });
    let disk = Arc::new(Mutex::new(Disk::new(stage.root(), stage.beside("away"))));
    let act = |deed: Deed| drop(disk.lock().unwrap().act(&deed));
    // Places: 16 times the folder plus the name.
    for at in [0, 1, 16, 6] {
        act(Deed::Write { at, size: 10, fill: b'a' + u8::try_from(at).unwrap() });
    }
    let config = stage.config(CONFIG);
    let begin = stage.host.statements();
    if let Some((nth, kind)) = fault {
        stage.host.fail_statement(nth, kind);
    }
    let live = |script: &mut dyn FnMut(usize) -> Option<Duration>| {
        let (mut part, mut cut_short) = (0, None);
        for _ in 0..4 {
            let end = stage.live(&config, async |process| {
                while let Some(time) = cut_short.or_else(|| script(part)) {
                    part += usize::from(cut_short.is_none());
                    cut_short = Some(time);
                    process.pass(time).await?;
                    cut_short = None;
                }
                Ok(())
            });
            // A daemon that gives up is started again by its unit, and has its time again.
            match end {
                End::Stopped => return,
                End::Gave(_) => stage.host.pass(Duration::from_secs(5)),
                End::Killed(moment) => panic!("killed {moment}"),
            }
        }
        panic!("it gives up again and again");
    };
    live(&mut |part| match part {
        0 => Some(Duration::from_secs(8)),
        1 => {
            act(Deed::Write { at: 0, size: 12, fill: b'r' });
            act(Deed::Rename { which: 0, at: 34 });
            Some(Duration::from_millis(700))
        }
        _ => None,
    });
    act(Deed::Remove { which: 1 });
    // Until all is over; trouble with the disk rests for a while.
    live(&mut |part| match part {
        0 => Some(Duration::from_secs(if fault.is_some() { 80 } else { 20 })),
        _ => None,
    });
    let statements = stage.host.statements() - begin;
    let mut at_connect: Vec<_> =
        stage.sandbox.ledger().into_iter().map(|file| (file.file_name, file.status, file.sha256)).collect();
    at_connect.sort_by(|a, b| a.0.cmp(&b.0));
    let mut ending = Ending { at_connect, verdicts: BTreeMap::new(), open: 0 };
    stage.host.runtime().block_on(async {
        let journal = open_journal(&config.journal_path).await.unwrap();
        let reader = journal.reader().unwrap();
        let mirror = reader.mirror_by_name("m").unwrap().unwrap().id;
        for row in reader.files_from(mirror, None, 100).unwrap() {
            ending.verdicts.insert(row.path.to_string(), row.verdict.to_string());
        }
        use crate::core::model::Stage;
        for stage in [Stage::Planned, Stage::Started, Stage::Stored, Stage::Completed, Stage::Deleting] {
            ending.open += reader.attachments_in_stage(stage, None, 100).unwrap().len();
        }
    });
    (ending, statements)
}

/// Every i with one of the kinds in turn; with `CASEDROP_SWEEP=all`, every i with every kind; with a number, only that
/// one, with its whole log.
#[test]
fn every_statement_may_fail_and_the_end_is_the_same() {
    let (whole, statements) = scenario(None);
    assert!(whole.at_connect.len() >= 3 && statements > 100, "{whole:#?}, {statements} statements");
    assert_eq!(whole.open, 0);
    let what = std::env::var("CASEDROP_SWEEP").ok();
    if let Some(nth) = what.as_ref().and_then(|what| what.parse().ok()) {
        let subscriber = tracing_subscriber::fmt().with_test_writer().with_max_level(tracing::Level::DEBUG).finish();
        let _log = tracing::subscriber::set_default(subscriber);
        for kind in StatementFault::ALL {
            assert_eq!(scenario(Some((nth, kind))).0, whole, "{nth} {kind:?}");
        }
        return;
    }
    let all = what.is_some_and(|what| what == "all");
    let next = std::sync::atomic::AtomicU64::new(1);
    let swept = std::sync::atomic::AtomicU64::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let nth = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if nth > statements {
                        break;
                    }
                    for (number, kind) in (0..).zip(StatementFault::ALL) {
                        if !all && nth % StatementFault::ALL.len() as u64 != number {
                            continue;
                        }
                        let ended = std::panic::catch_unwind(|| scenario(Some((nth, kind))).0);
                        swept.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        match ended {
                            Ok(ending) if ending == whole => {}
                            Ok(ending) => failed.lock().unwrap().push(format!("{nth} {kind:?}: {ending:#?}")),
                            Err(_) => failed.lock().unwrap().push(format!("{nth} {kind:?}: see the panic above")),
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    println!("{} of {statements} statements swept", swept.into_inner());
    assert!(failed.is_empty(), "{} faults changed the end:\n{}\nwithout: {whole:#?}", failed.len(), failed.join("\n"));
}
