//! One seed: its steps, then peace, then the judgement.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use casedrop_sandbox::{Fault, FaultKind, Nth, Op, Scan, Switches, Verdict};

use super::course::{self, Step};
use super::disk::Disk;
use super::judge::{self, Judge};
use super::stage::{End, Process, Stage};
use super::wire::Weather;
use crate::config::Config;
use crate::control::{self, Request};
use crate::core::model::HoldCode;
use crate::host::simulated::Dice;
use crate::types::RelPath;

/// How long it may take, once all trouble is over, until nothing is left to do.
const PEACE: Duration = Duration::from_secs(3 * 3600);

/// What one seed came to.
#[derive(Debug, Default, Clone)]
pub struct Report {
    pub broken: Vec<String>,
    pub trace: Vec<String>,
    pub steps: usize,
    pub lives: u64,
    pub kills: u64,
    pub calls: u64,
    pub network_faults: u64,
    pub service_faults: u64,
    pub disk_faults: u64,
    pub deletes: u64,
}

impl Report {
    /// Adds the figures of another seed.
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.lives += other.lives;
        self.kills += other.kills;
        self.calls += other.calls;
        self.network_faults += other.network_faults;
        self.service_faults += other.service_faults;
        self.disk_faults += other.disk_faults;
        self.deletes += other.deletes;
    }
}

struct Sim {
    stage: Stage,
    disk: Arc<Mutex<Disk>>,
    judge: Judge,
    mirror: String,
    seed: u64,
    service_faults: Cell<u64>,
}

/// Runs the first `limit` steps of a seed, and then to its end.
pub fn run(seed: u64, limit: usize) -> Report {
    let mut dice = Dice::new(seed ^ 0xcafe);
    let (_, switches) = *dice.pick(&Switches::ALL);
    let keep = dice.one_in(4);
    let budget = *dice.pick(&["off", "off", "50, 10%", "2, 50%"]);
    let scan = Duration::from_millis(*dice.pick(&[0, 0, 700, 9_000]));
    let stage = Stage::new(seed, |settings| {
        settings.switches = switches;
        settings.limits.max_file_bytes = 4_096;
        let pattern = |text: &str| text.parse().unwrap();
        settings.scan = Scan::after(scan).rule(pattern("virus"), Verdict::Rejected);
    });
    let foreign = stage.sandbox.seed_foreign_file(&stage.case_id, "1.txt", b"not ours").unwrap();
    let disk = Arc::new(Mutex::new(Disk::new(stage.root(), stage.beside("away"))));
    let policy = if keep { "keep" } else { "propagate" };
    let mirror = format!("delete = \"{policy}\"\ndelete_budget = \"{budget}\"\ndelete_grace = \"60s\"\n");
    let config = stage.config(&mirror);
    let judge = Judge::new(Arc::clone(&disk), config.journal_path.clone(), config.mirrors[0].naming, keep);
    stage.line.set_judge(judge.clone());
    let sim = Sim { stage, disk, judge, mirror, seed, service_faults: Cell::new(0) };
    let loose_names = switches.duplicate_name != Switches::DEFAULT.duplicate_name;
    sim.go(limit, &foreign, (keep, loose_names))
}

impl Sim {
    fn config(&self, number: u64) -> Config {
        let more = match number {
            0 => "settle = \"2s\"\nrescan = \"30s\"\n",
            1 => "settle = \"0s\"\nrescan = \"10s\"\n",
            2 => "settle = \"5s\"\nrescan = \"30s\"\nexclude = [\"b/**\"]\n",
            _ => "settle = \"1s\"\nrescan = \"300s\"\n",
        };
        self.stage.config(&format!("{}{more}", self.mirror))
    }

    fn go(&self, limit: usize, foreign: &str, policy: (bool, bool)) -> Report {
        let steps: Vec<Step> = course::steps(self.seed).into_iter().take(limit).collect();
        let mut report = Report { steps: steps.len(), ..Report::default() };
        let (next, config) = (Cell::new(0), Cell::new(0));
        self.stage.host.set_slowness(Duration::from_millis(60));
        self.stage.line.set_weather(Weather { slow_ms: 100, ..Weather::default() });
        while next.get() < steps.len() && self.judge.broken().is_empty() {
            report.lives += 1;
            let end = self.stage.live(&self.config(config.get()), async |process| {
                while let Some(step) = steps.get(next.get()) {
                    next.set(next.get() + 1);
                    self.stage.trace.note(&format!("{step:?}"));
                    match step {
                        Step::Pass(ms) => process.pass(Duration::from_millis(*ms)).await?,
                        Step::KillNow => {
                            self.stage.host.kill_now();
                            std::future::pending::<()>().await;
                        }
                        Step::Restart { config: number } => {
                            config.set(*number);
                            return Ok(());
                        }
                        step => self.take(step, Some(process)).await,
                    }
                }
                Ok(())
            });
            match end {
                End::Killed(_) => report.kills += 1,
                End::Stopped => {}
                End::Gave(text) if !self.disk.lock().unwrap().is_whole() => {
                    // It does not start on a root that is no folder. Time goes by until the next start.
                    self.stage.trace.note(&text);
                    if let Some(step) = steps.get(next.get()) {
                        next.set(next.get() + 1);
                        tokio_free(self.take(step, None));
                    }
                }
                End::Gave(text) => {
                    report.broken.push(format!("the daemon gave up: {text}"));
                    break;
                }
            }
            self.stage.host.pass(Duration::from_millis(300));
        }
        report.broken.extend(self.judge.broken());
        if report.broken.is_empty() {
            report.broken.extend(self.peace(foreign, policy, &mut report.lives));
        }
        let requests = self.stage.sandbox.requests();
        report.broken.extend(judge::storms(&requests, 5, 5, report.lives));
        report.calls = self.stage.line.calls();
        report.network_faults = self.stage.line.faults();
        report.service_faults = self.service_faults.get() + self.stage.sandbox.faults_applied() as u64;
        report.disk_faults = self.stage.host.disk_faults();
        report.deletes = self.judge.deletes();
        report.trace = self.stage.trace.lines();
        report
    }

    /// One step that takes no time.
    async fn take(&self, step: &Step, process: Option<&mut Process>) {
        let host = &self.stage.host;
        match step {
            Step::User { deed, noticed } => {
                let touched = self.disk.lock().unwrap().act(deed);
                if let (Some(process), true) = (process, noticed) {
                    for path in touched {
                        process.engine.world.mirrors[0].bell.touch(RelPath::new(path.as_bytes()).unwrap());
                    }
                }
            }
            Step::Race { calls, deed } => {
                let (disk, deed) = (Arc::clone(&self.disk), deed.clone());
                host.at_disk_call(*calls, Box::new(move || drop(disk.lock().unwrap().act(&deed))));
            }
            Step::Network(weather) => self.stage.line.set_weather(*weather),
            Step::Service { kinds, one_in } => {
                self.count_service_faults();
                self.stage.sandbox.set_faults(kinds.iter().map(|kind| fault(*kind, *one_in)).collect());
            }
            Step::DiskFaults { one_in } => host.set_disk_faults(*one_in),
            Step::Kill(moment) => host.kill_at(*moment),
            Step::Suspend(ms) => host.pass(Duration::from_millis(*ms)),
            Step::Clock(offset) => self.set_clock(*offset),
            Step::Retry | Step::Release => {
                if let Some(process) = process {
                    let mirror = "m".to_owned();
                    let request = match step {
                        Step::Retry => Request::Retry { mirror, paths: Vec::new() },
                        _ => {
                            // A person reads what `release` shows, and types it.
                            let (world, held) = (&process.engine.world, &process.engine.world.mirrors[0]);
                            let holds = held.holds().iter().map(|hold| hold.code.as_str().to_owned()).collect();
                            let count = world.journal.reader().unwrap().waiting_deletes(held.id).unwrap();
                            Request::Release { mirror, holds, count }
                        }
                    };
                    if matches!(step, Step::Release) {
                        self.disk.lock().unwrap().released();
                    }
                    let answer = control::perform(&process.engine.world, &request).await;
                    self.stage.trace.note(&format!("{answer:?}"));
                }
            }
            Step::Pass(ms) => host.pass(Duration::from_millis(*ms)),
            Step::KillNow | Step::Restart { .. } => {}
        }
    }

    fn set_clock(&self, offset: i64) {
        if offset > self.stage.host.wall_offset() {
            self.judge.clock_jumped();
        }
        self.stage.host.set_wall_offset(offset);
    }

    fn count_service_faults(&self) {
        self.service_faults.set(self.service_faults.get() + self.stage.sandbox.faults_applied() as u64);
    }

    /// All trouble ends; a person does what only a person can. Then everything comes to its end (invariant 12), a
    /// restart finds nothing to do (13, 14), and both sides are equal.
    fn peace(&self, foreign: &str, policy: (bool, bool), lives: &mut u64) -> Vec<String> {
        let host = &self.stage.host;
        self.count_service_faults();
        self.stage.sandbox.set_faults(Vec::new());
        self.stage.line.set_weather(Weather { slow_ms: 60, ..Weather::default() });
        self.set_clock(0);
        host.no_kill();
        host.clear_disk_trouble();
        self.disk.lock().unwrap().act(&super::disk::Deed::Mount);
        self.stage.trace.note("peace");
        let config = self.config(0);
        let broken = RefCell::new(Vec::new());
        *lives += 2;
        let end = self.stage.live(&config, async |process| {
            let mut waited = Duration::ZERO;
            let mut asked = false;
            loop {
                process.pass(Duration::from_secs(20)).await?;
                waited += Duration::from_secs(20);
                if !asked && waited.as_secs() >= 60 {
                    asked = true;
                    self.take(&Step::Retry, Some(process)).await;
                }
                let held = process.engine.world.mirrors[0].holds();
                if waited.as_secs().is_multiple_of(100) && held.iter().any(|hold| hold.code != HoldCode::Auth) {
                    self.take(&Step::Release, Some(process)).await;
                }
                if waited.as_secs() > 120 && self.is_quiet(process) {
                    break;
                }
                if waited > PEACE {
                    broken.borrow_mut().push("invariant 12: it does not come to an end".to_owned());
                    break;
                }
            }
            let disk = self.disk.lock().unwrap();
            broken.borrow_mut().extend(judge::verdict_at_the_end(&self.stage, process, &disk, foreign, policy));
            Ok(())
        });
        let mut broken = broken.into_inner();
        if end != End::Stopped {
            broken.push(format!("in peace: {end:?}"));
        }
        broken.extend(self.judge.broken());
        if !broken.is_empty() {
            return broken;
        }
        let calls = self.stage.line.calls();
        let end = self.stage.live(&config, async |process| process.pass(Duration::from_secs(40)).await);
        if end != End::Stopped || self.stage.line.calls() != calls {
            broken.push(format!(
                "invariants 13 and 14: a restart made {} calls, {end:?}",
                self.stage.line.calls() - calls
            ));
        }
        broken
    }

    fn is_quiet(&self, process: &Process) -> bool {
        use crate::core::model::Stage;
        let reader = process.engine.world.journal.reader().unwrap();
        let counts = reader.counts(None).unwrap();
        let open = ["settling", "queued", "uploading", "scanning", "deleting"];
        let none = |stage| reader.attachments_in_stage(stage, None, 1).unwrap().is_empty();
        counts.iter().all(|(word, count)| *count == 0 || !open.contains(word))
            && [Stage::Started, Stage::Stored, Stage::Completed, Stage::Deleting].into_iter().all(none)
            && reader.unsure(1).unwrap().is_empty()
            && process.engine.is_quiet()
    }
}

/// Runs what needs no runtime.
fn tokio_free(future: impl Future<Output = ()>) {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(future.as_mut().poll(&mut context).is_ready());
}

fn fault(kind: u8, one_in: u64) -> Fault {
    const OPS: [Op; 6] = [
        Op::StartAttachedFileUpload,
        Op::PutObject,
        Op::CompleteAttachedFileUpload,
        Op::BatchGetAttachedFileMetadata,
        Op::DeleteAttachedFile,
        Op::SearchRelatedItems,
    ];
    let op = OPS[usize::from(kind) % OPS.len()];
    let kinds = [
        FaultKind::Throttle { retry_after: None },
        FaultKind::Throttle { retry_after: Some("7".to_owned()) },
        FaultKind::ServerErrorBefore,
        FaultKind::ServerErrorAfter,
        FaultKind::LostReply,
        FaultKind::CutAfter(3),
        FaultKind::SlowDown,
        FaultKind::Expired,
        FaultKind::Hang(Duration::from_secs(12)),
        FaultKind::Hang(Duration::from_secs(45)),
        FaultKind::HangForever,
        FaultKind::AccessDenied,
        FaultKind::ExpiredToken,
        FaultKind::Malformed,
        FaultKind::UnknownStatus,
    ];
    let at = usize::from(kind) / OPS.len() % kinds.len();
    let share = 1.0 / f64::from(u32::try_from(one_in.max(1)).unwrap());
    Fault { op, nth: Nth::Fraction { share, seed: u64::from(kind) }, kind: kinds[at].clone(), limit: None }
}
