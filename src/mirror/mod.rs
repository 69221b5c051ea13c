//! One mirror's loop: a bell rings, the disk is looked at, decisions go into the journal.
//!
//! Level-triggered: what an event says is never acted on, it only names a place to look. A lost event costs time
//! until the next full pass. Everything this loop holds in memory (quiet times, places to look) may be lost.
//!
//! Deletes: an absence begins its grace at any complete look, but only a full pass over a healthy root may end it,
//! and all deletes of a pass are weighed together before the first is announced (invariants 2 to 4).

mod absent;
mod changed;
mod root;
mod settled;
mod sidecars;

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::WatchMode;
use crate::core::model::{HoldCode, RootIdentity};
use crate::core::plan::{Seen, Step};
use crate::core::routing::UnroutedReason;
use crate::core::settle::{Mono, Settler};
use crate::core::sidecar;
use crate::crash::{self, Point};
use crate::host;
use crate::host::time::{self, Instant};
use crate::journal::{JournalError, Reader};
use crate::observe::{self, Observation, ObserveError, Pass};
use crate::pulse::Pulse;
use crate::record;
use crate::scan::{self, Root};
use crate::types::{RelPath, UnixMillis};
use crate::watch::{self, WatchKind, Watching};
use crate::world::{Mirror, World};
use sidecars::Sidecars;

/// Observations that share one journal transaction.
const BATCH: usize = 256;
/// Batches between the walk and the journal: enough to keep both busy, little enough to stay flat.
const BATCHES: usize = 4;
/// Files, and bytes, read in one go before the loop turns again.
const READ_FILES: usize = 64;
const READ_BYTES: u64 = 64 << 20;
/// How long after a bell the look begins, so that a burst is one look.
const BURST: Duration = Duration::from_millis(25);
/// How often a mirror without events is looked at, if its `rescan` is not shorter.
const POLL: Duration = Duration::from_secs(30);
/// How often a held or faulty root is looked at.
const RETRY: Duration = Duration::from_secs(5);
/// Least time before a busy file is tried again.
const BUSY: Duration = Duration::from_secs(1);
/// A full pass may take this share of the time at most: scans open folders, and that rings the kernel's bell.
const REST_PER_PASS: u32 = 10;
/// A file that has not come to rest for this long is flagged, once.
const NEVER_SETTLES: Duration = Duration::from_secs(600);
/// Longest sleep, so that the pulse goes on.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// What others may know of the loop.
#[derive(Debug, Default)]
pub struct Progress {
    /// The first full pass was planned, or the root was found faulty.
    pub planned: AtomicBool,
    /// Nothing settles and no look is due: all that is there is in the journal.
    pub quiet: AtomicBool,
}

/// The loop's own state.
pub struct MirrorLoop {
    world: Arc<World>,
    mirror: Arc<Mirror>,
    reader: Arc<std::sync::Mutex<Reader>>,
    settler: Settler,
    sidecars: Sidecars,
    began: Instant,
    watching: Option<Watching>,
    next_watch: Instant,
    next_pass: Instant,
    /// Folders that appeared: looked at once more after the quiet time, for what was written into them before the
    /// kernel watched them.
    second_looks: Vec<(Instant, RelPath)>,
    /// The root as the last look found it; `None` while it is not the mirror's.
    root: Option<RootIdentity>,
    /// What the last full pass could not list; `None` before the first.
    unlisted: Option<Vec<(RelPath, String)>>,
    /// Deletes wait for files that cannot be looked at.
    unclear: bool,
    suspicion: changed::Suspicion,
    /// When the bell rang that this turn answers; what is seen in the turn has been there since then at least.
    noticed: Option<Mono>,
    progress: Arc<Progress>,
    stop: CancellationToken,
    once: bool,
}

impl MirrorLoop {
    /// A loop that has not looked yet. With `once` nothing is watched: the files' own stats show changes.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn new(
        world: Arc<World>,
        mirror: Arc<Mirror>,
        progress: Arc<Progress>,
        stop: CancellationToken,
        once: bool,
    ) -> Result<Self, JournalError> {
        let reader = Arc::new(std::sync::Mutex::new(world.journal.reader()?));
        let now = Instant::now();
        Ok(Self {
            settler: Settler::new(mirror.config.settle),
            sidecars: Sidecars::default(),
            world,
            mirror,
            reader,
            began: now,
            watching: None,
            next_watch: now,
            next_pass: now,
            second_looks: Vec::new(),
            root: None,
            unlisted: None,
            unclear: false,
            suspicion: changed::Suspicion::default(),
            noticed: None,
            progress,
            stop,
            once,
        })
    }

    /// Runs until stopped.
    ///
    /// # Errors
    /// The journal refused for a reason that does not pass.
    pub async fn run(mut self, pulse: Pulse) -> Result<(), JournalError> {
        while !self.stop.is_cancelled() {
            pulse.beat();
            if let Err(error) = Box::pin(self.turn(&pulse)).await {
                if !error.may_heal() {
                    return Err(error);
                }
                self.world.journal_trouble(&error);
                self.next_pass = Instant::now() + RETRY;
            }
            let wake = self.next_wake();
            let quiet = self.settler.is_empty() && self.second_looks.is_empty() && !self.settler.has_left_out();
            if !self.progress.quiet.swap(quiet, Ordering::AcqRel) && quiet {
                self.world.rest.notify_one();
            }
            let bell = self.mirror.bell.clone();
            tokio::select! {
                // The stop at once; each of the others leads to the same turn.
                biased;
                // Nothing is lost by dropping any of these: the bell keeps what it was told.
                () = self.stop.cancelled() => {}
                () = bell.rung() => {
                    self.progress.quiet.store(false, Ordering::Release);
                    self.noticed = Some(self.mono());
                    time::sleep(BURST).await;
                }
                () = time::sleep_until(wake) => {}
            }
        }
        Ok(())
    }

    async fn turn(&mut self, pulse: &Pulse) -> Result<(), JournalError> {
        if self.mirror.config.needs_domain() && !Box::pin(pulse.beating(self.find_domain())).await {
            return Ok(());
        }
        self.watch().await?;
        let rung = self.mirror.bell.take();
        // Quiet times count from the bell, not from the end of its burst.
        let now = self.seen_since();
        let mut touched = rung.touched;
        if self.mirror.config.sidecar {
            // A sidecar is looked at with its file, and a change of it is one of its file.
            touched.extend(touched.iter().filter_map(sidecar::file_of).collect::<Vec<_>>());
        }
        for path in &touched {
            self.settler.touch(path, now);
        }
        if let Some(why) = &rung.everywhere {
            tracing::debug!(mirror = %self.mirror.config.name, why, "looking everywhere");
            self.next_pass = self.next_pass.min(Instant::now());
        }
        if Instant::now() >= self.next_pass || (touched.is_empty() && self.root_went_away().await) {
            self.full_pass(pulse).await?;
        } else if !touched.is_empty() {
            self.look_at(touched, pulse).await?;
        }
        self.noticed = None;
        self.second_look(pulse).await?;
        self.read_settled(pulse).await?;
        if self.settler.wants_more() {
            self.next_pass = self.next_pass.min(Instant::now());
        }
        self.flag_restless().await
    }

    /// The first look is over: the daemon may be ready.
    fn planned(&self) {
        if !self.progress.planned.swap(true, Ordering::AcqRel) {
            self.world.rest.notify_one();
        }
    }

    fn mono(&self) -> Mono {
        Mono(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Since when what is seen now has been there at least: since the bell, if that rang just now.
    fn seen_since(&self) -> Mono {
        let now = self.mono();
        self.noticed.filter(|noticed| now <= noticed.plus(BURST * 2)).unwrap_or(now)
    }

    fn next_wake(&self) -> Instant {
        let settle = self.settler.next_due().map(|due| self.began + Duration::from_millis(due.0));
        let second = self.second_looks.iter().map(|(at, _)| *at).min();
        let longest = Instant::now() + LONGEST_SLEEP;
        [Some(self.next_pass), settle, second].into_iter().flatten().min().unwrap_or(longest).min(longest)
    }

    /// The ARN of the Cases domain, asked for once.
    async fn find_domain(&mut self) -> bool {
        if self.mirror.domain.get().is_some() {
            return true;
        }
        let Some(id) = self.world.domain_id.clone() else { return true };
        if self.world.weather.paused_until().is_none() {
            match self.world.aws.domain_arn(&id).await {
                Ok(arn) => {
                    self.world.weather.clear();
                    for mirror in &self.world.mirrors {
                        let _ = mirror.domain.set(arn.clone());
                    }
                    return true;
                }
                Err(failure) => {
                    if !self.world.weather.note(&failure, host::random()) {
                        tracing::warn!("the Cases domain {id} cannot be looked up: {failure}");
                    }
                }
            }
        }
        self.planned();
        self.next_pass = Instant::now() + RETRY;
        // What rang is seen by that pass; left ringing, the bell would bring the loop round without a rest.
        drop(self.mirror.bell.take());
        false
    }

    /// Starts the watcher, and starts it again when it reports a fault.
    async fn watch(&mut self) -> Result<(), JournalError> {
        if self.once || Instant::now() < self.next_watch {
            return Ok(());
        }
        if self.watching.as_ref().is_some_and(|watching| watching.fault().is_none()) {
            return Ok(());
        }
        if let Some(fault) = self.watching.take().and_then(|watching| watching.fault()) {
            tracing::warn!(mirror = %self.mirror.config.name, "the watcher stopped: {fault}; polling until it is back");
        }
        let mode = match self.mirror.config.watch {
            WatchMode::Auto => watch::WatchMode::Auto,
            WatchMode::Native => watch::WatchMode::Native,
            WatchMode::Poll => watch::WatchMode::Poll,
        };
        let (path, bell) = (self.mirror.config.path.clone(), self.mirror.bell.clone());
        let Ok(watching) = host::blocking(move || watch::start(&path, mode, bell)).await else {
            return Ok(());
        };
        self.next_watch = Instant::now() + Duration::from_secs(60);
        let kind = watching.kind();
        if let WatchKind::Poll { reason } = &kind
            && self.mirror.config.watch != WatchMode::Poll
        {
            tracing::warn!(mirror = %self.mirror.config.name, "not watched but polled: {reason}");
        }
        let (id, text) = (self.mirror.id, kind.to_string());
        self.watching = Some(watching);
        self.world.journal.write(move |tx| tx.set_watch(id, &text)).await
    }

    /// Time until the next full pass, by how changes are noticed and how long the last one took.
    fn rest_after(&self, took: Duration) -> Duration {
        let native = self.watching.as_ref().is_some_and(|w| matches!(w.kind(), WatchKind::Native));
        let rescan = self.mirror.config.rescan;
        let rest = if native { rescan } else { rescan.min(POLL) };
        rest.max(took * REST_PER_PASS)
    }

    async fn full_pass(&mut self, pulse: &Pulse) -> Result<(), JournalError> {
        let pass = self.mirror.passes.begin();
        let whole = self.pass_over_all(pulse).await?;
        self.mirror.passes.end(pass, whole);
        Ok(())
    }

    /// Whether all of the root was looked at and is in the journal.
    async fn pass_over_all(&mut self, pulse: &Pulse) -> Result<bool, JournalError> {
        let began = Instant::now();
        self.next_pass = began + RETRY;
        self.settler.everywhere();
        let Some(root) = self.healthy_root().await? else {
            self.planned();
            return Ok(false);
        };
        let Some(pass) = self.observe(Arc::clone(&root), None, pulse).await? else { return Ok(false) };
        if self.mirror.end_hold(&self.world.journal, HoldCode::RootUnreadable).await? {
            self.world.work.notify_one();
        }
        self.weigh_changes().await?;
        self.report_unlisted(&pass).await?;
        let looked = UnixMillis::now();
        let due = self.weigh_absent(&root, &pass).await?;
        let (id, whole, now) = (self.mirror.id, pass.is_whole(), UnixMillis::now());
        self.world
            .journal
            .write(move |tx| {
                record::keep_time(tx, crate::clock::read().as_ref())?;
                if whole {
                    record::grow(tx, id)?;
                }
                tx.set_scanned(id, now)
            })
            .await?;
        crash::at(Point::PassEnded);
        self.world.weather.journal_is_good();
        let took = began.elapsed();
        tracing::debug!(mirror = %self.mirror.config.name, files = pass.files, took_ms = took.as_millis(), "full pass");
        let mut next = began + took + self.rest_after(took);
        // A grace that ends sooner is confirmed sooner; what did not go now waits for the ordinary pass.
        if !due && let Some(end) = self.next_grace_end(looked).await? {
            next = next.min(Instant::now() + end.max(Duration::from_secs(1)).max(took));
        }
        self.next_pass = next;
        self.planned();
        Ok(true)
    }

    /// Runs a question on the reader in a blocking thread.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Reader) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let reader = Arc::clone(&self.reader);
        let answer =
            host::blocking(move || question(&reader.lock().unwrap_or_else(std::sync::PoisonError::into_inner)));
        answer.await.unwrap_or_else(|error| Err(JournalError::internal(&error.to_string())))
    }

    /// Walks in a blocking thread and plans batch by batch as it goes. `None`: the root failed half way.
    async fn observe(
        &mut self,
        root: Arc<Root>,
        touched: Option<Vec<RelPath>>,
        pulse: &Pulse,
    ) -> Result<Option<Pass>, JournalError> {
        let (sender, mut receiver) = host::pipe::<Vec<Observation>>(BATCHES);
        let (mirror, reader, stop) = (Arc::clone(&self.mirror), Arc::clone(&self.reader), self.stop.clone());
        let ticking = pulse.clone();
        let walk = host::blocking(move || {
            let reader = reader.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let mut batch = Vec::with_capacity(BATCH);
            let mut emit = |observation| {
                batch.push(observation);
                if batch.len() < BATCH {
                    return ControlFlow::Continue(());
                }
                let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                let gone = stop.is_cancelled() || !host::push(&sender, full);
                if gone { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let pass = match &touched {
                Some(touched) => observe::paths(&root, &mirror, &reader, touched, &|| ticking.beat(), &mut emit),
                None => observe::pass(&root, &mirror, &reader, None, &|| ticking.beat(), &mut emit),
            };
            // The receiver is gone only when the loop ended.
            host::push(&sender, batch);
            pass
        });
        while let Some(batch) = receiver.recv().await {
            pulse.beat();
            self.plan(batch).await?;
        }
        match walk.await {
            Ok(Ok(pass)) if !self.stop.is_cancelled() => Ok(Some(pass)),
            Ok(Ok(_)) => Ok(None),
            Ok(Err(ObserveError::Root(fault))) => {
                self.root_fault(&fault).await?;
                Ok(None)
            }
            Ok(Err(ObserveError::Journal(error))) => Err(error),
            Err(error) => Err(JournalError::internal(&format!("the walk ended abnormally: {error}"))),
        }
    }

    /// Decides about a batch in one transaction and does what only memory is for.
    async fn plan(&mut self, batch: Vec<Observation>) -> Result<Vec<RelPath>, JournalError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let mirror = Arc::clone(&self.mirror);
        let (steps, wanted) = self
            .world
            .journal
            .write(move |tx| {
                // Only real time ends a grace, whatever was done to the wall clock since the last look.
                if batch.iter().any(|observation| observation.seen == Seen::Absent) {
                    record::keep_time(tx, crate::clock::read().as_ref())?;
                }
                let now = UnixMillis::now();
                let mut steps = Vec::with_capacity(batch.len());
                let mut wanted = false;
                for Observation { path, seen, beside, sidecar } in batch {
                    let asked = Cell::new(false);
                    let route = |path: &RelPath| {
                        let routed = mirror.route(tx, path, &beside)?;
                        if routed.as_ref().is_err_and(|why| why.reason == UnroutedReason::ReferencePending) {
                            asked.set(true);
                        }
                        Ok(routed.map(|routed| routed.target))
                    };
                    let step = record::look(tx, mirror.id, &path, &seen, &route, mirror.rules(), now)?;
                    if asked.get()
                        && let (Some(reference), Some(domain)) =
                            (mirror.reference_of(&path, &beside), mirror.domain.get())
                    {
                        wanted |= record::want_reference(tx, mirror.id, reference, domain, now)?;
                    }
                    steps.push((path, step, sidecar));
                }
                Ok((steps, wanted))
            })
            .await?;
        crash::at(Point::PassPlanned);
        if wanted {
            self.world.references.notify_one();
        }
        let now = self.seen_since();
        let (mut work, mut due) = (false, Vec::new());
        for (path, step, sidecar) in steps {
            self.tell(&path, &step);
            match step {
                Step::Settle { stat, .. } | Step::Arrive { stat } => {
                    self.settler.see(&path, &stat, now);
                    if let Some(sidecar) = sidecar {
                        self.sidecars.see(&path, sidecar, now);
                    }
                }
                Step::DeleteDue => due.push(path),
                step => {
                    work |= !matches!(step, Step::Nothing);
                    self.settler.forget(&path);
                    self.sidecars.forget(&path);
                }
            }
        }
        if work {
            self.world.work.notify_one();
            self.mirror.handover.notify_one();
        }
        Ok(due)
    }

    fn tell(&self, path: &RelPath, step: &Step) {
        let (mirror, file) = (&self.mirror.config.name, self.world.show(path));
        match step {
            Step::Queue { why, stat, .. } => {
                tracing::info!(mirror, file, size = stat.size, "queued ({})", why.as_str())
            }
            Step::Move { from, same_target, .. } => {
                let from = self.world.show(from);
                tracing::info!(mirror, file, from, same_target, "moved");
            }
            Step::Park { code, note, .. } => {
                tracing::warn!(mirror, file, %code, note, "parked: {}", code.remedy());
            }
            Step::Unroute { why, .. } if why.reason == UnroutedReason::ReferencePending => {
                tracing::debug!(mirror, file, "{}", why.reason);
            }
            Step::Unroute { why, .. } => {
                // Notes name references and cases.
                let note = why.note.as_deref().filter(|_| !self.world.hide_names);
                tracing::warn!(mirror, file, note, "unrouted: {}: {}", why.reason, why.reason.remedy());
            }
            Step::BeginGrace { delete_after } => tracing::info!(mirror, file, %delete_after, "gone here, grace begins"),
            Step::Arrive { .. } => tracing::info!(mirror, file, "another file at the path; what is attached stays"),
            Step::Wait { note, .. } => tracing::info!(mirror, file, "{note}"),
            Step::Missing => tracing::info!(mirror, file, "gone here before its hand-over; kept at Connect"),
            Step::Depart => tracing::info!(mirror, file, "no longer followed: somebody else took it"),
            Step::Keep => tracing::info!(mirror, file, "gone here, kept at Connect"),
            Step::Forget => tracing::info!(mirror, file, "gone before it was attached"),
            Step::Ignore { rule } => tracing::debug!(mirror, file, rule, "ignored"),
            Step::Nothing | Step::Settle { .. } | Step::Refresh { .. } | Step::DeleteDue => {}
        }
    }

    /// A look at the places that a bell named.
    async fn look_at(&mut self, mut touched: Vec<RelPath>, pulse: &Pulse) -> Result<(), JournalError> {
        // A file and its trigger each say something of the other.
        let scope = &self.mirror.config.scope;
        let related: Vec<RelPath> =
            touched.iter().flat_map(|path| [scope.triggered_by(path), scope.trigger_of(path)]).flatten().collect();
        touched.extend(related);
        touched.sort_unstable();
        touched.dedup();
        let Some(root) = self.healthy_root().await? else {
            self.next_pass = self.next_pass.min(Instant::now() + RETRY);
            return Ok(());
        };
        let again = Instant::now() + self.mirror.config.settle.max(BURST);
        let folders = touched.clone();
        let Some(pass) = self.observe(Arc::clone(&root), Some(touched), pulse).await? else { return Ok(()) };
        self.weigh_changes().await?;
        let mirror = Arc::clone(&self.mirror);
        let folders = host::blocking(move || {
            folders
                .into_iter()
                .filter(|path| {
                    matches!(root.stat(path), scan::Look::Folder) && mirror.config.scope.rule(path, true).is_none()
                })
                .collect::<Vec<_>>()
        });
        self.second_looks.extend(folders.await.unwrap_or_default().into_iter().map(|folder| (again, folder)));
        let (looked, mut due) = (UnixMillis::now(), Vec::new());
        for batch in pass.absent.chunks(BATCH) {
            let batch = batch.iter().map(|path| Observation::absent(path.clone(), &self.mirror.config.scope)).collect();
            due.extend(self.plan(batch).await?);
        }
        // A grace may begin here; only a full pass ends it.
        let ended = (!due.is_empty() && !self.mirror.stops_deletes()).then_some(Duration::ZERO);
        let ends = if pass.absent.is_empty() { None } else { self.next_grace_end(looked).await? };
        if let Some(end) = ended.or(ends) {
            self.next_pass = self.next_pass.min(Instant::now() + end.max(Duration::from_secs(1)));
        }
        Ok(())
    }

    async fn second_look(&mut self, pulse: &Pulse) -> Result<(), JournalError> {
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) = self.second_looks.drain(..).partition(|(at, _)| *at <= now);
        self.second_looks = later;
        if due.is_empty() {
            return Ok(());
        }
        let mut folders: Vec<RelPath> = due.into_iter().map(|(_, folder)| folder).collect();
        folders.sort_unstable();
        folders.dedup();
        let Some(root) = self.healthy_root().await? else {
            self.next_pass = self.next_pass.min(Instant::now() + RETRY);
            return Ok(());
        };
        self.observe(root, Some(folders), pulse).await?;
        self.weigh_changes().await
    }
}
