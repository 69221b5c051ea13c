//! One seed: its steps, then peace, then the judgement.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use casedrop_sandbox::{Fault, FaultKind, NewCase, Nth, Op, Scan, Switches, Verdict};

use super::course::{self, Step};
use super::disk::Disk;
use super::judge::{self, Judge, Watched};
use super::seeds::{Outcome, Told};
use super::stage::{End, Process, Stage};
use super::wire::Weather;
use crate::config::Config;
use crate::control::{self, Request};
use crate::core::model::{HoldCode, Stage as Upload};
use crate::host::simulated::Dice;
use crate::journal::{Reader, Verification};
use crate::types::RelPath;

/// Names at Connect of which the scan ends FAILED, in some seeds.
pub(super) const FAILS: &str = r"(^|- )5\.txt$";

/// How long it may take, once all trouble is over, until nothing is left to do.
const PEACE: Duration = Duration::from_secs(3 * 3600);

/// What some seeds have of their own.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// A case takes no name twice.
    pub loose_names: bool,
    /// Some scans end FAILED.
    pub fails: bool,
    /// Largest file that the instance takes, in bytes.
    pub largest: u64,
}

/// What one seed came to.
#[derive(Debug, Default, Clone)]
pub struct Report {
    pub told: Told,
    pub seeds: u64,
    pub lives: u64,
    pub kills: u64,
    pub calls: u64,
    pub network_faults: u64,
    pub service_faults: u64,
    pub disk_faults: u64,
    pub deletes: u64,
    /// Seeds with two mirrors, files that moved from one to the other, and times that one's trouble was judged not to
    /// delay the other.
    pub pairs: u64,
    pub carried: u64,
    pub apart: u64,
    /// Deletes that were announced because a file was gone.
    pub announced: u64,
    /// Losses of the journal, and adoptions that came to their end.
    pub losses: u64,
    pub adoptions: u64,
    /// Attachments that a person kept.
    pub keeps: u64,
    /// Transfers of more than one piece, and those that did not come to their end.
    pub pieces: u64,
    pub cut: u64,
    /// Files that were changed while they were sent.
    pub torn: u64,
}

impl Outcome for Report {
    fn told(&self) -> &Told {
        &self.told
    }

    fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.told.steps += other.told.steps;
        self.lives += other.lives;
        self.kills += other.kills;
        self.calls += other.calls;
        self.network_faults += other.network_faults;
        self.service_faults += other.service_faults;
        self.disk_faults += other.disk_faults;
        self.deletes += other.deletes;
        self.pairs += other.pairs;
        self.carried += other.carried;
        self.apart += other.apart;
        self.announced += other.announced;
        self.losses += other.losses;
        self.adoptions += other.adoptions;
        self.keeps += other.keeps;
        self.pieces += other.pieces;
        self.cut += other.cut;
        self.torn += other.torn;
    }
}

/// A mirror: its folder and its policy.
pub struct Folder {
    pub name: &'static str,
    pub root: PathBuf,
    /// The id of its case.
    pub case: String,
    pub disk: Arc<Mutex<Disk>>,
    /// Nothing is deleted because its file is gone.
    pub keep: bool,
    lines: String,
}

impl Folder {
    fn new(stage: &Stage, name: &'static str, case: String, dice: &mut Dice) -> Self {
        let keep = dice.one_in(4);
        let budget = *dice.pick(&["off", "off", "50, 10%", "2, 50%"]);
        let root = if name == "m" { stage.root() } else { stage.beside(name) };
        if !root.exists() {
            std::fs::create_dir(&root).unwrap();
        }
        let disk = Arc::new(Mutex::new(Disk::new(root.clone(), stage.beside(&format!("{name} away")))));
        let policy = if keep { "keep" } else { "propagate" };
        let lines = format!("delete = \"{policy}\"\ndelete_budget = \"{budget}\"\ndelete_grace = \"60s\"\n");
        Self { name, root, case, disk, keep, lines }
    }
}

pub(super) struct Sim {
    pub(super) stage: Stage,
    /// In the order of the configuration.
    pub(super) folders: Vec<Folder>,
    pub(super) judge: Judge,
    seed: u64,
    pub(super) rules: Rules,
    /// The number of the configuration in force.
    number: Cell<u64>,
    /// The journal was lost, and nothing has been rebuilt or released since.
    pub(super) to_rebuild: Cell<bool>,
    /// An adoption left a mirror out, because another folder stood at its path.
    pub(super) refused: Cell<bool>,
    /// Of a lost journal its write-ahead log is left.
    pub(super) half: Cell<bool>,
    service_faults: Cell<u64>,
    carried: Cell<u64>,
    torn: Rc<Cell<u64>>,
    pub(super) apart: Cell<u64>,
    losses: Cell<u64>,
    pub(super) adoptions: Cell<u64>,
}

/// Runs the first `limit` steps of a seed, and then to its end.
pub fn run(seed: u64, limit: usize) -> Report {
    let mut dice = Dice::new(seed ^ 0xcafe);
    let (_, switches) = *dice.pick(&Switches::ALL);
    let scan = Duration::from_millis(*dice.pick(&[0, 0, 700, 9_000]));
    let pair = course::mirrors(seed) == 2;
    let rules = Rules {
        loose_names: switches.duplicate_name != Switches::DEFAULT.duplicate_name,
        fails: dice.one_in(8),
        largest: if course::has_big_files(seed) { 4 * course::PIECE } else { 4_096 },
    };
    let stage = Stage::new(seed, |settings| {
        settings.switches = switches;
        settings.limits.max_file_bytes = rules.largest;
        if pair {
            // Both may have the same case.
            settings.limits.files_per_case = 300;
            settings.limits.related_items_per_case = 600;
        }
        let pattern = |text: &str| text.parse().unwrap();
        settings.scan = Scan::after(scan).rule(pattern("virus"), Verdict::Rejected);
        if rules.fails {
            settings.scan.rules.push((pattern(FAILS), Verdict::Failed));
        }
    });
    let foreign = stage.sandbox.seed_foreign_file(&stage.case_id, "1.txt", b"not ours").unwrap();
    let mut folders = vec![Folder::new(&stage, "m", stage.case_id.clone(), &mut dice)];
    if pair {
        // Files of the same name on one case would be in each other's way where it takes no name twice.
        let own = dice.one_in(2) || rules.loose_names;
        let case = if own { stage.sandbox.add_case(NewCase::titled("other")).case_id } else { stage.case_id.clone() };
        folders.push(Folder::new(&stage, "n", case, &mut dice));
    }
    let config = config_of(&stage, &folders, "");
    let watched = folders.iter().zip(&config.mirrors).map(|(folder, mirror)| Watched {
        name: folder.name,
        disk: Arc::clone(&folder.disk),
        naming: mirror.naming,
        keep: folder.keep,
    });
    let judge = Judge::new(watched.collect(), config.journal_path);
    stage.line.set_judge(judge.clone());
    let sim = Sim {
        stage,
        folders,
        judge,
        seed,
        rules,
        number: Cell::new(0),
        to_rebuild: Cell::new(false),
        refused: Cell::new(false),
        half: Cell::new(false),
        service_faults: Cell::new(0),
        carried: Cell::new(0),
        torn: Rc::default(),
        apart: Cell::new(0),
        losses: Cell::new(0),
        adoptions: Cell::new(0),
    };
    sim.go(limit, &foreign)
}

/// The configuration of all mirrors, each with its own lines and these.
fn config_of(stage: &Stage, folders: &[Folder], lines: &str) -> Config {
    let lines: Vec<String> = folders.iter().map(|folder| format!("{}{lines}", folder.lines)).collect();
    let mirrors: Vec<_> = folders
        .iter()
        .zip(&lines)
        .map(|(folder, lines)| (folder.name, folder.root.as_path(), folder.case.as_str(), lines.as_str()))
        .collect();
    stage.config_of(&mirrors)
}

impl Sim {
    /// The configuration in force.
    pub(super) fn config(&self) -> Config {
        let lines = match self.number.get() {
            0 => "settle = \"2s\"\nrescan = \"30s\"\n",
            1 => "settle = \"0s\"\nrescan = \"10s\"\n",
            2 => "settle = \"5s\"\nrescan = \"30s\"\nexclude = [\"b/**\"]\n",
            _ => "settle = \"1s\"\nrescan = \"300s\"\n",
        };
        config_of(&self.stage, &self.folders, lines)
    }

    /// The folder that the configuration in force leaves out.
    pub(super) fn left_out(&self) -> Option<&'static str> {
        (self.number.get() == 2).then_some("b/")
    }

    /// One process with the engine; what it did is judged.
    fn live(&self, script: impl AsyncFnOnce(&mut Process) -> Result<(), String>) -> End {
        let end = self.stage.live(&self.config(), async |process| {
            self.judge.begin(process.engine.world.journal.reader().unwrap(), self.left_out());
            script(process).await
        });
        self.judge.end();
        end
    }

    fn go(&self, limit: usize, foreign: &str) -> Report {
        let steps: Vec<Step> = course::steps(self.seed).into_iter().take(limit).collect();
        let pairs = u64::from(self.folders.len() == 2);
        let mut report = Report { seeds: 1, pairs, ..Report::default() };
        report.told.steps = steps.len();
        let next = Cell::new(0);
        self.stage.host.set_slowness(Duration::from_millis(60));
        self.stage.line.set_weather(Weather { slow_ms: 100, ..Weather::default() });
        while next.get() < steps.len() && self.judge.broken().is_empty() {
            report.lives += 1;
            // What is done while no process runs.
            let between: Cell<Option<&Step>> = Cell::new(None);
            let end = self.live(async |process| {
                while let Some(step) = steps.get(next.get()) {
                    next.set(next.get() + 1);
                    self.stage.trace.note(&format!("{step:?}"));
                    match step {
                        Step::Pass(ms) => process.pass(Duration::from_millis(*ms)).await?,
                        Step::Apart { sick, trouble } => self.apart(*sick, trouble, process).await?,
                        Step::KillNow | Step::Lose { killed: true, .. } => {
                            between.set(Some(step));
                            self.stage.host.kill_now();
                            std::future::pending::<()>().await;
                        }
                        Step::Restart { .. } | Step::Lose { .. } | Step::Adopt => {
                            between.set(Some(step));
                            return Ok(());
                        }
                        step => self.take(step, Some(process)).await,
                    }
                }
                Ok(())
            });
            match end {
                End::Killed(_) => {
                    report.kills += 1;
                    self.stage.host.boot_after(report.kills);
                }
                End::Stopped => {}
                // A person takes away what is left of the journal.
                End::Gave(_) if self.clear_half() => {}
                End::Gave(text) if self.may_refuse() => {
                    // Time goes by until the next start.
                    self.stage.trace.note(&text);
                    if let Some(step) = steps.get(next.get()) {
                        next.set(next.get() + 1);
                        self.stage.trace.note(&format!("{step:?}"));
                        between.set(Some(step));
                        tokio_free(self.take(step, None));
                    }
                }
                End::Gave(text) => {
                    report.told.broken.push(format!("the daemon gave up: {text}"));
                    break;
                }
            }
            match between.get() {
                Some(Step::Restart { config }) => self.number.set(*config),
                Some(Step::Lose { what, .. }) => {
                    self.losses.set(self.losses.get() + 1);
                    self.lose_journal(*what);
                }
                Some(Step::Adopt) => {
                    report.lives += 1;
                    let (end, _) = self.adopt();
                    report.kills += u64::from(matches!(end, End::Killed(_)));
                }
                _ => {}
            }
            self.stage.host.pass(Duration::from_millis(300));
        }
        report.told.broken.extend(self.judge.broken());
        if report.told.broken.is_empty() {
            report.told.broken.extend(self.peace(foreign, &mut report.lives));
        }
        let requests = self.stage.sandbox.requests();
        report.told.broken.extend(judge::storms(&requests, 5, 5, &self.stage.begins.borrow()));
        let pieces = requests.iter().filter(|one| one.op == Op::PutObject && one.bytes >= course::PIECE);
        for one in pieces {
            report.pieces += 1;
            report.cut += u64::from(one.status != 200);
        }
        report.calls = self.stage.line.calls();
        report.network_faults = self.stage.line.faults();
        report.service_faults = self.service_faults.get() + self.stage.sandbox.faults_applied() as u64;
        report.disk_faults = self.stage.host.disk_faults();
        (report.deletes, report.announced) = self.judge.deletes();
        report.carried = self.carried.get();
        report.torn = self.torn.get();
        report.apart = self.apart.get();
        report.losses = self.losses.get();
        report.adoptions = self.adoptions.get();
        report.keeps = self.judge.keeps();
        report.told.trace = self.stage.trace.lines();
        report
    }

    /// Whether a root is no folder, and was none either when this journal first looked: that is refused.
    fn may_refuse(&self) -> bool {
        let journal = Reader::open(&self.config().journal_path).ok();
        self.folders.iter().any(|folder| {
            let wrong = std::fs::symlink_metadata(&folder.root).is_ok_and(|meta| !meta.is_dir());
            let root = folder.root.as_os_str().as_encoded_bytes();
            wrong && !journal.as_ref().is_some_and(|journal| journal.has_begun(folder.name, root).unwrap())
        })
    }

    /// One step that takes no time.
    async fn take(&self, step: &Step, process: Option<&mut Process>) {
        let host = &self.stage.host;
        self.judge.look(&self.stage.sandbox.ledger());
        match step {
            Step::User { mirror, deed, noticed } => {
                let touched = self.folders[*mirror].disk.lock().unwrap().act(deed);
                if let (Some(process), true) = (process, noticed) {
                    touched.iter().for_each(|path| touch(process, *mirror, path));
                }
            }
            Step::Carry { from, which, at, noticed } => {
                let [mut here, mut there] = [*from, 1 - from].map(|n| self.folders[n].disk.lock().unwrap());
                let carried = here.carry(&mut there, *which, *at);
                self.carried.set(self.carried.get() + u64::from(carried.is_some()));
                if let (Some(process), Some((path, target)), true) = (process, carried, noticed) {
                    touch(process, *from, &path);
                    touch(process, 1 - from, &target);
                }
            }
            Step::Race { mirror, calls, deed } => {
                let (disk, deed) = (Arc::clone(&self.folders[*mirror].disk), deed.clone());
                host.at_disk_call(*calls, Box::new(move || drop(disk.lock().unwrap().act(&deed))));
            }
            Step::Tear { reads, fill } => {
                let disks: Vec<_> = self.folders.iter().map(|folder| Arc::clone(&folder.disk)).collect();
                let (torn, fill) = (Rc::clone(&self.torn), *fill);
                let tear = move |file| {
                    let found = disks.iter().any(|disk| disk.lock().unwrap().overwrite(file, fill));
                    torn.set(torn.get() + u64::from(found));
                };
                host.at_sent_read(*reads, Box::new(tear));
            }
            Step::Network(weather) => self.stage.line.set_weather(*weather),
            Step::Service { kinds, one_in } => {
                self.count_service_faults();
                self.stage.sandbox.set_faults(kinds.iter().map(|kind| fault(*kind, *one_in)).collect());
            }
            Step::DiskFaults { one_in } => {
                host.set_disk_faults(*one_in);
                self.folders.iter().for_each(|folder| folder.disk.lock().unwrap().set_faulty(*one_in > 0));
            }
            Step::Kill(moment) => host.kill_at(*moment),
            Step::Clock(offset) => host.set_wall_offset(*offset),
            Step::Retry => {
                for folder in self.folders.iter().filter(|_| process.is_some()) {
                    let request = Request::Retry { mirror: folder.name.to_owned(), paths: Vec::new() };
                    self.ask(process.as_deref().unwrap(), &request).await;
                }
            }
            Step::Release { mirror } => {
                let Some(process) = process else { return };
                let held = &process.engine.world.mirrors[*mirror];
                let request = process.release(*mirror);
                let replaced = held.is_held_by(HoldCode::RootReplaced);
                // Before the answer: a process that dies over it may have taken it.
                let before = self.folders[*mirror].disk.lock().unwrap().released(replaced);
                let rebuilt = held.is_held_by(HoldCode::JournalRebuilt);
                if rebuilt {
                    self.judge.gave_up(&held.config.name, &self.stage.sandbox.ledger());
                }
                if !self.ask(process, &request).await {
                    self.folders[*mirror].disk.lock().unwrap().refused(before);
                }
            }
            Step::Keep { mirror, which } => {
                let Some(process) = process else { return };
                let id = process.engine.world.mirrors[*mirror].id;
                let reader = process.engine.world.journal.reader().unwrap();
                let waiting = reader.files_with(id, "deleting", None, usize::MAX).unwrap();
                let Some(row) = waiting.get(usize::try_from(*which).unwrap() % waiting.len().max(1)) else { return };
                let request = process.keep(*mirror, &row.path);
                let answer = control::perform(&process.engine.world, &request).await;
                self.stage.trace.note(&format!("{answer:?}"));
                self.judge.kept(id, &row.path, answer.map(|reply| reply.done == 1));
            }
            Step::Suspend(ms) | Step::Pass(ms) => {
                let began = host.true_time();
                host.pass(Duration::from_millis(*ms));
                self.folders.iter().for_each(|folder| folder.disk.lock().unwrap().was_blind(began));
            }
            Step::KillNow | Step::Restart { .. } | Step::Apart { .. } | Step::Lose { .. } | Step::Adopt => {}
        }
    }

    /// Whether it was done.
    async fn ask(&self, process: &Process, request: &Request) -> bool {
        let answer = control::perform(&process.engine.world, request).await;
        self.stage.trace.note(&format!("{answer:?}"));
        answer.is_ok()
    }

    /// Network, service, clock and disk are well, and nobody kills; what the folders went through stays.
    pub(super) fn calm(&self) {
        let host = &self.stage.host;
        self.judge.look(&[]);
        self.count_service_faults();
        self.stage.sandbox.set_faults(Vec::new());
        self.stage.line.set_weather(Weather { slow_ms: 60, ..Weather::default() });
        host.set_wall_offset(0);
        host.no_kill();
        host.clear_disk_trouble();
        self.folders.iter().for_each(|folder| folder.disk.lock().unwrap().set_faulty(false));
    }

    fn count_service_faults(&self) {
        self.service_faults.set(self.service_faults.get() + self.stage.sandbox.faults_applied() as u64);
    }

    /// All trouble ends; a person does what only a person can. Then everything comes to its end (invariant 12), a
    /// restart finds nothing to do (13, 14), and both sides are equal.
    fn peace(&self, foreign: &str, lives: &mut u64) -> Vec<String> {
        self.calm();
        for folder in &self.folders {
            folder.disk.lock().unwrap().heal();
        }
        self.clear_half();
        self.stage.trace.note("peace");
        self.number.set(0);
        // In some seeds the person releases instead, below.
        if self.to_rebuild.get() && self.seed % 4 != 3 {
            self.rebuild(lives);
        }
        let broken = RefCell::new(Vec::new());
        *lives += 2;
        let end = self.live(async |process| {
            let mut waited = Duration::ZERO;
            let mut asked = false;
            loop {
                process.pass(Duration::from_secs(20)).await?;
                waited += Duration::from_secs(20);
                if !asked && waited.as_secs() >= 60 {
                    asked = true;
                    self.take(&Step::Retry, Some(process)).await;
                }
                for mirror in 0..self.folders.len() {
                    let held = process.engine.world.mirrors[mirror].holds();
                    if waited.as_secs().is_multiple_of(100) && held.iter().any(|hold| hold.code != HoldCode::Auth) {
                        self.take(&Step::Release { mirror }, Some(process)).await;
                    }
                }
                if waited.as_secs() > 120 && is_quiet(process) {
                    break;
                }
                if waited > PEACE {
                    broken.borrow_mut().push("invariant 12: it does not come to an end".to_owned());
                    break;
                }
            }
            self.judge.look(&self.stage.sandbox.ledger());
            if self.to_rebuild.get() || self.refused.get() {
                // Lost with every trace, and nothing came that would have asked: nobody knows.
                let ledger = self.stage.sandbox.ledger();
                self.folders.iter().for_each(|folder| self.judge.gave_up(folder.name, &ledger));
            }
            broken.borrow_mut().extend(self.verdict(process, foreign));
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
        let end = self.live(async |process| process.pass(Duration::from_secs(40)).await);
        if end != End::Stopped || self.stage.line.calls() != calls {
            broken.push(format!(
                "invariants 13 and 14: a restart made {} calls, {end:?}",
                self.stage.line.calls() - calls
            ));
        }
        broken
    }
}

/// Nothing is under way at Connect, here or in the journal, no comparison either, and nothing waits for its next try.
pub(super) fn is_quiet(process: &Process) -> bool {
    let world = &process.engine.world;
    let reader = world.journal.reader().unwrap();
    let counts = reader.counts(None).unwrap();
    let open = ["settling", "queued", "uploading", "scanning", "deleting"];
    let none = |stage| reader.attachments_in_stage(stage, None, 1).unwrap().is_empty();
    let compared = |state: Verification| state.began_at.is_none();
    counts.iter().all(|(word, count)| *count == 0 || !open.contains(word))
        && [Upload::Started, Upload::Stored, Upload::Completed, Upload::Deleting].into_iter().all(none)
        && reader.unsure(1).unwrap().is_empty()
        && world.mirrors.iter().all(|mirror| reader.verification(mirror.id).unwrap().is_none_or(compared))
        && process.engine.is_quiet()
}

/// The watcher tells of a path.
pub(super) fn touch(process: &Process, mirror: usize, path: &str) {
    process.engine.world.mirrors[mirror].bell.touch(RelPath::new(path.as_bytes()).unwrap());
}

/// Runs what needs no runtime.
fn tokio_free(future: impl Future<Output = ()>) {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(future.as_mut().poll(&mut context).is_ready());
}

pub(super) fn fault(kind: u8, one_in: u64) -> Fault {
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
        FaultKind::CutAfter(course::PIECE + 1),
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
