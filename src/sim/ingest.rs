//! The simulation of hand-overs (`mode = "ingest"`): files come, are delivered, and leave for archive or quarantine or
//! for good, in any weather, on one file system or several, while users go on working, and the process is killed at
//! any named point of a move or any moment around a call or a commit.
//!
//! At any time each content that its user did not take away is somewhere (invariant 1); nothing is ever overwritten;
//! and at the end every one is delivered once and handed over once, with its papers, and nothing is left in between.
//!
//! Seeds are chosen as for the simulation of mirrors; a normal run takes 200.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use casedrop_sandbox::{FileStatus, LedgerFile, NewCase, Scan, Switches, Verdict};

use super::course;
use super::inbox::{self, Beside, Deed, Inbox, LARGEST, Place, TRIGGER};
use super::run::{self, FAILS, fault, touch};
use super::seeds::{Outcome, Told, run_all};
use super::stage::{End, Process, Stage};
use super::wire::Weather;
use crate::config::Config;
use crate::control::{self, Request};
use crate::core::model::{HandoverState, HoldCode, ParkCode, Verdict as Ours};
use crate::core::sidecar;
use crate::host::simulated::Dice;
use crate::journal::Reader;
use crate::types::RelPath;

/// Seeds of a normal run.
const SEEDS: u64 = 200;

/// How long it may take, once all trouble is over, until every file has left.
const PEACE: Duration = Duration::from_secs(2 * 3600);

/// One step.
#[derive(Debug, Clone)]
enum Step {
    /// Time goes by, in milliseconds.
    Pass(u64),
    User {
        deed: Deed,
        noticed: bool,
    },
    /// In the middle of something else, at the so-many-th call to the file system.
    Race {
        calls: u64,
        deed: Deed,
    },
    Network(Weather),
    Service {
        kinds: Vec<u8>,
        one_in: u64,
    },
    DiskFaults {
        one_in: u64,
    },
    /// Blocking work takes up to this many milliseconds: a disk that hangs.
    Slow(u64),
    /// The process is killed at the so-many-th moment around a call or a commit.
    Kill(u64),
    /// At the so-many-th named point of a move.
    KillMoving(u64),
    KillNow,
    Restart,
    Suspend(u64),
    Clock(i64),
    /// A person has all that waits tried again.
    Retry,
}

fn steps(seed: u64) -> Vec<Step> {
    let dice = &mut Dice::new(seed ^ 0x1476);
    let mut steps = Vec::new();
    for _ in 0..2 + dice.below(5) {
        steps.push(Step::User { deed: inbox::write(dice), noticed: true });
    }
    for _ in 0..10 + dice.below(20) {
        steps.push(step(dice));
        if !dice.one_in(3) {
            steps.push(Step::Pass(course::pause(dice)));
        }
    }
    steps
}

fn step(dice: &mut Dice) -> Step {
    const DAY_MS: i64 = 86_400_000;
    match dice.below(42) {
        0..=14 => Step::User { deed: inbox::deed(dice), noticed: !dice.one_in(3) },
        15..=20 => Step::Race { calls: 1 + dice.below(60), deed: inbox::race(dice) },
        21..=22 => Step::Network(course::weather(dice)),
        23 => Step::Network(Weather { slow_ms: 100, ..Weather::default() }),
        24 => {
            let kinds = (0..1 + dice.below(3)).map(|_| u8::try_from(dice.below(250)).unwrap()).collect();
            Step::Service { kinds, one_in: 1 + dice.below(5) }
        }
        25 => Step::Service { kinds: Vec::new(), one_in: 1 },
        26..=27 => Step::DiskFaults { one_in: 3 + dice.below(40) },
        28 => Step::DiskFaults { one_in: 0 },
        29 => Step::Slow(*dice.pick(&[0, 60, 5_000, 900_000])),
        30 => Step::Kill(1 + dice.below(25)),
        31..=35 => Step::KillMoving(1 + dice.below(12)),
        36 => Step::KillNow,
        37 => Step::Restart,
        38 => Step::Suspend(3_600_000 + dice.below(60_000)),
        39..=40 => Step::Retry,
        _ => Step::Clock(*dice.pick(&[0, 0, -DAY_MS, DAY_MS, -1_000, 120_000])),
    }
}

fn retry() -> Request {
    Request::Retry { mirror: "m".to_owned(), paths: Vec::new() }
}

/// What one seed came to.
#[derive(Debug, Default, Clone)]
struct Report {
    told: Told,
    kills: u64,
    /// Kills at a named point of a move.
    moving: u64,
    archived: u64,
    quarantined: u64,
    removed: u64,
    disk_faults: u64,
    taken: u64,
}

impl Outcome for Report {
    fn told(&self) -> &Told {
        &self.told
    }

    fn add(&mut self, other: &Self) {
        self.told.steps += other.told.steps;
        self.kills += other.kills;
        self.moving += other.moving;
        self.archived += other.archived;
        self.quarantined += other.quarantined;
        self.removed += other.removed;
        self.disk_faults += other.disk_faults;
        self.taken += other.taken;
    }
}

struct Sim {
    stage: Stage,
    inbox: Rc<RefCell<Inbox>>,
    seed: u64,
    /// Delivered files are removed, not archived.
    removes: bool,
    receipts: bool,
    fails: bool,
    loose_names: bool,
    lines: String,
    broken: RefCell<Vec<String>>,
}

/// Runs the first `limit` steps of a seed, and then to its end.
fn run(seed: u64, limit: usize) -> Report {
    let dice = &mut Dice::new(seed ^ 0xf11e);
    let (_, switches) = *dice.pick(&Switches::ALL);
    let scan = Duration::from_millis(*dice.pick(&[0, 0, 700, 9_000]));
    let (removes, receipts, triggers, fails) = (dice.one_in(3), dice.one_in(2), dice.one_in(4), dice.one_in(8));
    let stage = Stage::new(seed, |settings| {
        settings.switches = switches;
        settings.limits.max_file_bytes = LARGEST as u64;
        settings.limits.files_per_case = 500;
        settings.limits.related_items_per_case = 900;
        let pattern = |text: &str| text.parse().unwrap();
        settings.scan = Scan::after(scan).rule(pattern("virus"), Verdict::Rejected);
        if fails {
            settings.scan.rules.push((pattern(FAILS), Verdict::Failed));
        }
    });
    stage.host.set_apart(dice.one_in(2));
    let sidecars = dice.one_in(3) && !triggers;
    let beside = match (triggers, sidecars) {
        (true, _) => Beside::Trigger,
        (_, true) => {
            Beside::Sidecar(["one", "other"].map(|title| stage.sandbox.add_case(NewCase::titled(title)).case_id))
        }
        _ => Beside::Nothing,
    };
    let inbox = Inbox::new(|name| stage.beside(name), beside);
    let after = match removes {
        true => "after_approval = \"delete\"\n".to_owned(),
        false => format!("after_approval = \"archive\"\narchive = {:?}\n", inbox.path(Place::Archive)),
    };
    let lines = format!(
        "settle = \"2s\"\nrescan = \"30s\"\nmode = \"ingest\"\n{after}quarantine = {:?}\nprune_empty = {}\n{}{}",
        inbox.path(Place::Quarantine),
        dice.one_in(2),
        if receipts && !removes { "receipts = true\n" } else { "" },
        match inbox.beside() {
            Beside::Nothing => String::new(),
            Beside::Trigger => format!("trigger_suffix = \"{TRIGGER}\"\n"),
            Beside::Sidecar(_) => "sidecar = true\n".to_owned(),
        },
    );
    let loose_names = switches.duplicate_name != Switches::DEFAULT.duplicate_name;
    let (inbox, broken) = (Rc::new(RefCell::new(inbox)), RefCell::default());
    Sim { stage, inbox, seed, removes, receipts, fails, loose_names, lines, broken }.go(limit)
}

impl Sim {
    fn config(&self) -> Config {
        self.stage.config(&self.lines)
    }

    /// What is broken stays so: once is enough.
    fn broke(&self, what: String) {
        if self.broken.borrow().len() < 3 {
            self.broken.borrow_mut().push(what);
        }
    }

    fn go(&self, limit: usize) -> Report {
        let steps: Vec<Step> = steps(self.seed).into_iter().take(limit).collect();
        let mut report = Report::default();
        report.told.steps = steps.len();
        let next = Cell::new(0);
        self.stage.host.set_slowness(Duration::from_millis(60));
        self.stage.line.set_weather(Weather { slow_ms: 100, ..Weather::default() });
        while next.get() < steps.len() && self.broken.borrow().is_empty() {
            let end = self.stage.live(&self.config(), async |process| {
                while let Some(step) = steps.get(next.get()) {
                    next.set(next.get() + 1);
                    self.stage.trace.note(&format!("{step:?}"));
                    match step {
                        Step::Pass(ms) => self.pass(process, Duration::from_millis(*ms)).await?,
                        Step::KillNow => {
                            self.stage.host.kill_now();
                            std::future::pending::<()>().await;
                        }
                        Step::Restart => return Ok(()),
                        Step::Retry => self.ask(process, &retry()).await,
                        step => self.take(step, process),
                    }
                }
                Ok(())
            });
            self.look();
            match end {
                End::Killed(moment) => {
                    report.kills += 1;
                    self.stage.host.boot_after(report.kills);
                    report.moving += u64::from(moment.starts_with("handover."));
                }
                End::Stopped => {}
                End::Gave(text) => {
                    // A root that was away when it was first looked for is refused.
                    self.stage.trace.note(&text);
                    self.inbox.borrow_mut().act(&Deed::Back);
                }
            }
            self.stage.host.pass(Duration::from_millis(300));
        }
        if self.broken.borrow().is_empty() {
            self.peace();
        }
        let places = self.inbox.borrow().files();
        let count = |place| places.iter().filter(|f| f.place == place && !f.is_paper()).count() as u64;
        report.taken = self.inbox.borrow().others().len() as u64;
        report.archived = count(Place::Archive);
        report.quarantined = count(Place::Quarantine);
        let at_connect = self.stage.sandbox.ledger();
        let gone = |f: &&LedgerFile| f.sha256.as_ref().is_some_and(|hash| !places.iter().any(|p| p.hash == *hash));
        report.removed = at_connect.iter().filter(gone).count() as u64;
        report.disk_faults = self.stage.host.disk_faults();
        report.told.broken = self.broken.take();
        report.told.trace = self.stage.trace.lines();
        report
    }

    /// Lets time go by, and looks every second or, when it is long, every five.
    async fn pass(&self, process: &mut Process, time: Duration) -> Result<(), String> {
        let most = Duration::from_secs(if time.as_secs() < 15 { 1 } else { 5 });
        let reader = process.engine.world.journal.reader().unwrap();
        let mut left = time;
        while !left.is_zero() && self.broken.borrow().is_empty() {
            let part = left.min(most);
            process.pass(part).await?;
            left -= part;
            self.look();
            self.weigh_proof(&reader);
        }
        Ok(())
    }

    /// Every content is somewhere, and what others put into the way stands as it was.
    fn look(&self) {
        let inbox = self.inbox.borrow();
        let (files, at_connect) = (inbox.files(), self.stage.sandbox.ledger());
        let approved = |hash: &str| {
            at_connect.iter().any(|f| f.status == FileStatus::Approved && f.sha256.as_deref() == Some(hash))
        };
        for hash in inbox.wanted() {
            if !files.iter().any(|f| f.hash == *hash) && (!self.removes || !approved(hash)) {
                self.broke(format!("invariant 1: this content is nowhere: {hash}\n{files:#?}"));
            }
        }
        // One that goes with a removed file is removed.
        for hash in inbox.sidecars().keys().filter(|_| !self.removes) {
            if !files.iter().any(|f| f.hash == *hash) {
                self.broke(format!("this sidecar is nowhere: {hash}\n{files:#?}"));
            }
        }
        for (place, path, hash) in inbox.others() {
            if !files.iter().any(|f| (f.place, &f.path, &f.hash) == (*place, path, hash)) {
                self.broke(format!("{path} in {place:?} was overwritten or moved"));
            }
        }
    }

    /// What is in the archive is visible, and what is in quarantine is refused, unless a move is open.
    fn weigh_proof(&self, reader: &Reader) {
        let mirror = reader.mirror_by_name("m").unwrap().unwrap().id;
        let open = reader.open_handovers(mirror, None, 1_000).unwrap();
        if open.iter().any(|h| h.state == HandoverState::Moving) {
            return;
        }
        let (inbox, at_connect) = (self.inbox.borrow(), self.stage.sandbox.ledger());
        for file in inbox.files().iter().filter(|f| inbox.wanted().contains(&f.hash) && !f.is_casedrops()) {
            let visible =
                at_connect.iter().any(|f| f.status == FileStatus::Approved && f.sha256.as_ref() == Some(&file.hash));
            let refused = file.size > LARGEST
                || ["virus", "wrong"].iter().any(|name| file.name().starts_with(name))
                || (self.fails && file.name().starts_with("5"));
            let right = match file.place {
                Place::Root => true,
                Place::Archive => visible,
                Place::Quarantine => refused,
            };
            if !right {
                self.broke(format!("invariant 1: handed over without proof: {file:?}"));
            }
        }
    }

    /// One step that takes no time.
    fn take(&self, step: &Step, process: &Process) {
        let host = &self.stage.host;
        match step {
            Step::User { deed, noticed } => {
                let touched = self.inbox.borrow_mut().act(deed);
                if *noticed {
                    touched.iter().for_each(|path| touch(process, 0, path));
                }
            }
            Step::Race { calls, deed } => {
                let (inbox, deed) = (Rc::clone(&self.inbox), deed.clone());
                host.at_disk_call(*calls, Box::new(move || drop(inbox.borrow_mut().act(&deed))));
            }
            Step::Network(weather) => self.stage.line.set_weather(*weather),
            Step::Service { kinds, one_in } => {
                self.stage.sandbox.set_faults(kinds.iter().map(|kind| fault(*kind, *one_in)).collect());
            }
            Step::DiskFaults { one_in } => host.set_disk_faults(*one_in),
            Step::Slow(ms) => host.set_slowness(Duration::from_millis(*ms)),
            Step::Kill(moment) => host.kill_at(*moment),
            Step::KillMoving(nth) => host.kill_at_step(*nth),
            Step::Suspend(ms) => host.pass(Duration::from_millis(*ms)),
            Step::Clock(offset) => host.set_wall_offset(*offset),
            Step::Pass(_) | Step::KillNow | Step::Restart | Step::Retry => {}
        }
    }

    /// All trouble ends; a person does what only a person can. Then every file leaves, and a restart finds nothing to
    /// do.
    fn peace(&self) {
        let host = &self.stage.host;
        self.stage.trace.note("peace");
        self.stage.sandbox.set_faults(Vec::new());
        self.stage.line.set_weather(Weather { slow_ms: 60, ..Weather::default() });
        host.set_slowness(Duration::from_millis(60));
        host.set_wall_offset(0);
        host.no_kill();
        host.clear_disk_trouble();
        self.inbox.borrow_mut().act(&Deed::Back);
        let end = self.stage.live(&self.config(), async |process| {
            let (mut waited, mut quiet) = (Duration::ZERO, 0);
            loop {
                self.pass(process, Duration::from_secs(20)).await?;
                waited += Duration::from_secs(20);
                self.give_triggers(process);
                let world = &process.engine.world;
                let held = &world.mirrors[0];
                if waited.as_secs() == 100 {
                    self.ask(process, &retry()).await;
                }
                if waited.as_secs().is_multiple_of(100) && held.holds().iter().any(|hold| hold.code != HoldCode::Auth) {
                    self.ask(process, &process.release(0)).await;
                }
                // No watcher told of the last move: a pass has to see it, and there is one every 30 seconds.
                quiet = if self.is_done(process) { quiet + 1 } else { 0 };
                if !self.broken.borrow().is_empty() || (waited.as_secs() > 120 && quiet > 2) {
                    break;
                }
                if waited > PEACE {
                    let reader = world.journal.reader().unwrap();
                    let (rows, open) =
                        (reader.files_from(held.id, None, 100), reader.open_handovers(held.id, None, 100));
                    self.broke(format!(
                        "invariant 12: it does not come to an end: {:#?} {:#?}",
                        rows.unwrap(),
                        open.unwrap()
                    ));
                    break;
                }
            }
            self.verdict(&process.engine.world.journal.reader().unwrap());
            Ok(())
        });
        if end != End::Stopped {
            self.broke(format!("in peace: {end:?}"));
        }
        let (files, calls) = (self.inbox.borrow().files(), self.stage.line.calls());
        let end = self.stage.live(&self.config(), async |process| process.pass(Duration::from_secs(40)).await);
        if end != End::Stopped || self.stage.line.calls() != calls || self.inbox.borrow().files() != files {
            self.broke(format!("invariants 13 and 14: a restart found something to do, {end:?}"));
        }
    }

    /// What lost its trigger to an earlier file of its name gets another; what is delivered needs none.
    fn give_triggers(&self, process: &Process) {
        let (mut inbox, reader) = (self.inbox.borrow_mut(), process.engine.world.journal.reader().unwrap());
        if *inbox.beside() != Beside::Trigger {
            return;
        }
        let attached = |path: &str| {
            let path = RelPath::new(path.as_bytes()).unwrap();
            let row = reader.file(process.engine.world.mirrors[0].id, &path).unwrap();
            row.is_some_and(|row| row.verdict == Ours::Attached)
        };
        let root = inbox.path(Place::Root).to_owned();
        let lone = |path: &str| !root.join(format!("{path}{TRIGGER}")).exists();
        for letter in inbox.letters().iter().filter(|letter| lone(&letter.path) && !attached(&letter.path)) {
            let trigger = inbox.give(&letter.path);
            trigger.iter().for_each(|path| touch(process, 0, path));
        }
    }

    async fn ask(&self, process: &Process, request: &Request) {
        let answer = control::perform(&process.engine.world, request).await;
        self.stage.trace.note(&format!("{answer:?}"));
    }

    fn is_done(&self, process: &Process) -> bool {
        let reader = process.engine.world.journal.reader().unwrap();
        reader.open_handovers(process.engine.world.mirrors[0].id, None, 1).unwrap().is_empty() && run::is_quiet(process)
    }

    fn verdict(&self, reader: &Reader) {
        let mirror = reader.mirror_by_name("m").unwrap().unwrap().id;
        let (inbox, at_connect) = (self.inbox.borrow(), self.stage.sandbox.ledger());
        let files = inbox.files();
        for row in reader.files_from(mirror, None, 10_000).unwrap() {
            // A case that takes no name twice has no room for a second letter of a name.
            let conflict = self.loose_names && row.verdict == Ours::Parked(ParkCode::Conflict);
            let beside = inbox.beside().suffix().is_some_and(|end| row.path.as_bytes().ends_with(end.as_bytes()));
            if !conflict && row.absent_since.is_none() && !beside {
                self.broke(format!("invariant 12: still there: {row:?}"));
            }
        }
        let conflicts: Vec<_> = reader.files_with(mirror, "parked", None, 10_000).unwrap();
        let waits = |path: &str| conflicts.iter().any(|row| row.path.as_bytes() == path.as_bytes());
        for file in &files {
            let stays = file.place == Place::Root && !waits(&file.path) && !file.is_paper();
            if stays || file.is_casedrops() {
                self.broke(format!("invariant 12: left behind: {file:?}"));
            }
            // A file that did not go after all has its sidecar back, unless its folder went or another one is there.
            let of = file.path.strip_suffix(sidecar::SUFFIX).filter(|_| file.place != Place::Root);
            if !inbox.may_be_alone(&file.hash)
                && of.is_some_and(|of| !files.iter().any(|f| (f.place, f.path.as_str()) == (file.place, of)))
            {
                self.broke(format!("it lies alone, without its file: {file:?}"));
            }
        }
        for hash in inbox.wanted() {
            let of = |place| files.iter().filter(|f| f.place == place && f.hash == *hash).collect::<Vec<_>>();
            let (archived, quarantined) = (of(Place::Archive), of(Place::Quarantine));
            let visible: Vec<_> = at_connect
                .iter()
                .filter(|f| f.status == FileStatus::Approved && f.sha256.as_ref() == Some(hash))
                .collect();
            let delivered = archived.len() + usize::from(self.removes && quarantined.is_empty());
            // A file that gets another name while it is copied is another file.
            if delivered + quarantined.len() != 1 && of(Place::Root).is_empty() && !inbox.was_renamed(hash) {
                self.broke(format!("handed over {} times: {archived:?} {quarantined:?}", archived.len()));
            }
            if delivered == 1
                && of(Place::Root).is_empty()
                && (visible.is_empty() || (visible.len() > 1 && !inbox.was_renamed(hash)))
            {
                self.broke(format!("invariant 8: delivered {} times: {archived:?} {visible:?}", visible.len()));
            }
            // What had to go back under another name left its sidecar to what took its own.
            if let Some(case) = inbox.named(hash)
                && !inbox.was_renamed(hash)
                && let Some(strayed) =
                    visible.iter().find(|file| file.case_id != *case && !file.file_name.contains('~'))
            {
                self.broke(format!("on another case than its sidecar named: {strayed:?}"));
            }
            for file in archived.iter().filter(|_| self.receipts) {
                let paper = format!("{}.receipt.json", file.path);
                if !files.iter().any(|f| f.place == Place::Archive && f.path == paper) {
                    self.broke(format!("no receipt beside {file:?}"));
                }
            }
            for file in quarantined {
                let paper = format!("{}.reason.txt", file.path);
                if !files.iter().any(|f| f.place == Place::Quarantine && f.path == paper) {
                    self.broke(format!("no reason beside {file:?}"));
                }
            }
        }
        for file in at_connect.iter().filter(|f| !f.foreign) {
            if !matches!(file.status, FileStatus::Approved | FileStatus::Rejected | FileStatus::Failed) {
                self.broke(format!("invariant 8: left at Connect: {file:?}"));
            }
        }
    }
}

#[test]
fn every_file_is_somewhere_at_any_time_and_handed_over_once_at_the_end() {
    let Some(all) = run_all::<Report>(SEEDS, run) else { return };
    let (sum, first, seeds) = (all.figures, all.first, all.seeds);
    println!(
        "{seeds} seeds from {first} in {:.1} s: {} steps, {} kills, {} of them in the middle of a move; {} files archived, {} in \
         quarantine, {} removed; {} names taken by others; {} faults of the disk",
        all.seconds,
        sum.told.steps,
        sum.kills,
        sum.moving,
        sum.archived,
        sum.quarantined,
        sum.removed,
        sum.taken,
        sum.disk_faults,
    );
    let enough = [
        ("kills within a move", sum.moving, seeds / 2),
        ("archived", sum.archived, 3 * seeds),
        ("in quarantine", sum.quarantined, seeds / 2),
        ("removed", sum.removed, seeds),
        ("names taken", sum.taken, seeds / 2),
    ];
    for (what, count, least) in enough {
        assert!(seeds < 100 || count >= least, "{what}: {count} are too few");
    }
}
