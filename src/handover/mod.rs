//! Hand-overs: what casedrop does to local files it is done with (`mode = "ingest"`). One loop for each mirror, so
//! that a full archive of one does not delay another.
//!
//! Level-triggered like everything else: what is due follows from the journal's rows ([`crate::core::handover::due`]),
//! a bell only says when to look. A batch is announced in one transaction, carried out in a blocking thread, and
//! recorded in another ([`crate::record::begin_handover`] and its siblings); what was announced and not recorded is
//! carried on first, after a kill or an error alike.
//!
//! A fault of the disk (full, read-only, no such folder) pauses the whole loop and uses nothing up; one of a single
//! file gives that file a pause of its own and holds no other up.

mod carry;
mod disk;
mod papers;
mod prune;

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::core::handover::{self, AfterApproval, Policy, REASON, RECEIPT};
use crate::core::model::{Handover, HandoverKind, HandoverState, MirrorId};
use crate::core::retry;
use crate::core::sidecar;
use crate::crash::{self, Point};
use crate::host::time::{self, Instant};
use crate::host::{self, random};
use crate::journal::{JournalError, Reader, View};
use crate::pulse::Pulse;
use crate::record::{self, Order, Remains, Wanted};
use crate::scan::{self, Look, Root, RootFault};
use crate::types::{RelPath, UnixMillis};
use crate::world::{Mirror, World};
use carry::{Ended, Load};

/// Files that share one announcement.
const BATCH: usize = 16;
/// Rows read at once while looking for what is due.
const PAGE: usize = 256;
/// Longest sleep: the journal is looked at this often even if no bell rings.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);
/// A file that was gone rests this long, until its mirror has seen that too.
const GONE_RESTS: Duration = Duration::from_secs(2);

/// One mirror's loop.
pub struct HandoverLoop {
    world: Arc<World>,
    mirror: Arc<Mirror>,
    reader: Arc<Mutex<Reader>>,
    stop: CancellationToken,
    /// A fault of the disk: since how many tries, until when, and what was said of it.
    fault: Option<(u32, Instant, String)>,
    /// Files that were found to be gone, and until when they rest.
    gone: BTreeMap<RelPath, Instant>,
    empties: prune::Empties,
}

/// A file that is due, or whose hand-over was announced and not ended.
#[derive(Debug, Clone)]
enum Candidate {
    Due(RelPath, HandoverKind),
    Resume(Box<Handover>),
}

/// A file that is to be handed over, for `plan` and `sync`.
#[derive(Debug, Clone)]
pub struct Pending {
    pub path: RelPath,
    pub kind: HandoverKind,
    pub size: u64,
}

/// What is due now in the journal, at most `limit` files.
///
/// # Errors
/// The journal's.
pub fn pending(
    view: &View,
    mirror: MirrorId,
    policy: Option<&Policy>,
    now: UnixMillis,
    limit: usize,
) -> Result<Vec<Pending>, JournalError> {
    let mut pending = Vec::new();
    for candidate in candidates(view, mirror, policy, &BTreeMap::new(), now, limit)? {
        pending.push(match candidate {
            Candidate::Resume(h) => Pending { path: h.path, kind: h.kind, size: h.stat.size },
            Candidate::Due(path, kind) => {
                let size = view.file(mirror, &path)?.map_or(0, |row| row.stat.size);
                Pending { path, kind, size }
            }
        });
    }
    Ok(pending)
}

fn candidates(
    view: &View,
    mirror: MirrorId,
    policy: Option<&Policy>,
    resting: &BTreeMap<RelPath, Instant>,
    now: UnixMillis,
    limit: usize,
) -> Result<Vec<Candidate>, JournalError> {
    let waits = |h: &Handover| h.next_attempt.is_some_and(|at| at > now);
    let mut found = Vec::new();
    let mut after: Option<RelPath> = None;
    loop {
        let page = view.open_handovers(mirror, after.as_ref(), PAGE)?;
        let Some(last) = page.last() else { break };
        after = Some(last.path.clone());
        let moving = page.into_iter().filter(|h| h.state == HandoverState::Moving && !waits(h));
        found.extend(moving.take(limit - found.len()).map(|h| Candidate::Resume(Box::new(h))));
    }
    let Some(policy) = policy else { return Ok(found) };
    let counts = view.counts(Some(mirror))?;
    let any = |word: &str| counts.iter().any(|(w, n)| *w == word && *n > 0);
    let words = [("attached", policy.after != AfterApproval::Keep), ("parked", policy.quarantine)];
    for (word, _) in words.into_iter().filter(|(word, wanted)| *wanted && any(word)) {
        let mut after: Option<RelPath> = None;
        while found.len() < limit {
            let page = view.files_with(mirror, word, after.as_ref(), PAGE)?;
            let Some(last) = page.last() else { break };
            after = Some(last.path.clone());
            for row in page {
                if found.len() >= limit {
                    break;
                }
                if resting.contains_key(&row.path) {
                    continue;
                }
                let open = view.open_handover(mirror, &row.path)?;
                if open.is_some_and(|h| h.state == HandoverState::Moving || waits(&h)) {
                    continue;
                }
                let attachments = view.attachments_of(mirror, &row.path)?;
                if let Some(due) = handover::due(&row, &attachments, policy, now) {
                    found.push(Candidate::Due(row.path, due.kind()));
                }
            }
        }
    }
    Ok(found)
}

/// Files whose hand-over waits and is not due any more, a batch at most.
fn no_longer_due(
    view: &View,
    mirror: MirrorId,
    policy: Option<&Policy>,
    now: UnixMillis,
) -> Result<Vec<RelPath>, JournalError> {
    let mut over = Vec::new();
    let mut after: Option<RelPath> = None;
    while over.len() < BATCH {
        let page = view.open_handovers(mirror, after.as_ref(), PAGE)?;
        let Some(last) = page.last() else { break };
        after = Some(last.path.clone());
        let waiting = |h: &Handover| h.state == HandoverState::Waiting && h.next_attempt.is_none_or(|at| at <= now);
        for h in page.into_iter().filter(waiting) {
            if record::is_due(view, mirror, &h.path, policy, now)?.is_none() {
                over.push(h.path);
            }
        }
    }
    Ok(over)
}

/// The folders that files go to, open.
///
/// By their paths: what was announced goes where it was announced to, whatever the configuration says by now.
type Stores = BTreeMap<Vec<u8>, Root>;

/// What one turn found to do.
struct Found {
    root: Root,
    /// Announced earlier; to be carried on.
    resumed: Vec<Order>,
    wanted: Vec<Wanted>,
    /// Their hand-overs wait, and are not due any more.
    over: Vec<RelPath>,
    /// A fault that every file of the mirror would meet.
    fault: Option<String>,
    /// Some have not ended, those that wait included.
    open: bool,
}

impl HandoverLoop {
    /// A loop on its own read-only connection.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn new(world: Arc<World>, mirror: Arc<Mirror>, stop: CancellationToken) -> Result<Self, JournalError> {
        let reader = world.journal.reader()?;
        mirror.set_moves_left(!reader.open_handovers(mirror.id, None, 1)?.is_empty());
        let prunes = mirror.config.ingest.as_ref().is_some_and(|ingest| ingest.prune_empty);
        let empties = prune::Empties::new(prunes, &reader, &mirror)?;
        let reader = Arc::new(Mutex::new(reader));
        Ok(Self { world, mirror, reader, stop, fault: None, gone: BTreeMap::new(), empties })
    }

    /// Runs until stopped.
    ///
    /// # Errors
    /// The journal refused for a reason that does not pass.
    pub async fn run(mut self, pulse: Pulse) -> Result<(), JournalError> {
        while !self.stop.is_cancelled() {
            pulse.beat();
            let worked = match Box::pin(pulse.beating(self.turn())).await {
                Ok(worked) => worked,
                Err(error) if error.is_passing() => {
                    self.world.journal_trouble(&error);
                    false
                }
                Err(error) => return Err(error),
            };
            if worked {
                continue;
            }
            let mirror = Arc::clone(&self.mirror);
            // While the mirror stands still its empty folders wait with it.
            let empties = self.empties.next().filter(|_| !mirror.stops_uploads());
            let rest = empties.map_or(LONGEST_SLEEP, |wait| wait.min(LONGEST_SLEEP));
            tokio::select! {
                // In order, so that a stop is never put off; nothing is lost by dropping any of these, for the next
                // turn asks the journal.
                biased;
                () = self.stop.cancelled() => {}
                () = mirror.handover.notified() => {}
                () = time::sleep(rest) => {}
            }
        }
        Ok(())
    }

    /// One batch; whether there was anything to do.
    async fn turn(&mut self) -> Result<bool, JournalError> {
        if self.mirror.stops_uploads() {
            return Ok(false);
        }
        self.empties.remove_due(&self.mirror).await;
        if self.fault.as_ref().is_some_and(|(_, until, _)| *until > Instant::now()) {
            return Ok(false);
        }
        self.gone.retain(|_, until| *until > Instant::now());
        let (mirror, reader, resting) = (Arc::clone(&self.mirror), Arc::clone(&self.reader), self.gone.clone());
        let found = blocking(move || {
            let reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            look(&reader, &mirror, &resting)
        });
        let Some((found, stores)) = found.await? else { return Ok(false) };
        let ended = !found.over.is_empty();
        if ended {
            let (id, policy, over) = (self.mirror.id, self.mirror.handover_policy(), found.over);
            let write = move |tx: &crate::journal::Tx<'_>| {
                let now = UnixMillis::now();
                over.iter().try_for_each(|path| record::no_longer_due(tx, id, path, policy.as_ref(), now))
            };
            self.world.journal.write(write).await?;
        }
        if let Some(text) = found.fault {
            let pause = self.pause(text.clone());
            let (id, policy, wanted) = (self.mirror.id, self.mirror.handover_policy(), found.wanted);
            if let Some(policy) = policy
                && !wanted.is_empty()
            {
                let write = move |tx: &crate::journal::Tx<'_>| {
                    record::handovers_wait(tx, id, wanted, &policy, &text, pause, UnixMillis::now())
                };
                self.world.journal.write(write).await?;
            }
            return Ok(false);
        }
        if found.resumed.is_empty() && found.wanted.is_empty() {
            if self.mirror.config.ingest.is_none() && !found.open {
                self.mirror.set_moves_left(false);
            }
            return Ok(ended);
        }
        crash::at(Point::HandoverChosen);
        let (id, policy, wanted) = (self.mirror.id, self.mirror.handover_policy(), found.wanted);
        let mut orders: Vec<(Order, bool)> = found.resumed.into_iter().map(|order| (order, true)).collect();
        if let Some(policy) = policy
            && !wanted.is_empty()
        {
            let begin =
                move |tx: &crate::journal::Tx<'_>| record::begin_handover(tx, id, wanted, &policy, UnixMillis::now());
            orders.extend(self.world.journal.write(begin).await?.into_iter().map(|order| (order, false)));
        }
        crash::at(Point::HandoverBegun);
        let (mirror, reader, stop) = (Arc::clone(&self.mirror), Arc::clone(&self.reader), self.stop.clone());
        let root = found.root;
        let instance = self.world.aws.instance_id().to_owned();
        let ended = blocking(move || {
            let reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            carry_all(&reader, (&mirror, &instance), &root, &stores, orders, &|| stop.is_cancelled())
        });
        self.record(ended.await?).await
    }

    /// Records how a batch ended and does what follows. Whether it is worth looking for more at once.
    async fn record(&mut self, ended: Vec<(Order, Ended)>) -> Result<bool, JournalError> {
        let mut news = Vec::with_capacity(ended.len());
        let mut fault = None;
        for (order, end) in &ended {
            match end {
                Ended::Failed { fault: found, .. } if found.wide => fault = Some(found.text.clone()),
                Ended::Done { .. } | Ended::Gone | Ended::CalledOff(_) | Ended::Changed(_) | Ended::Doubtful(_) => {}
                Ended::Taken(_) | Ended::Failed { .. } => {}
            }
            self.tell(&order.handover, end);
            news.push((order.handover.id, order.handover.tries, Outcome::of(end)));
        }
        let looks: Vec<bool> = self
            .world
            .journal
            .write(move |tx| {
                let now = UnixMillis::now();
                news.iter().map(|(id, tries, outcome)| outcome.write(tx, *id, *tries, now)).collect()
            })
            .await?;
        crash::at(Point::HandoverRecorded);
        self.world.work.notify_one();
        for ((order, end), look) in ended.iter().zip(looks) {
            if look {
                self.mirror.bell.touch(order.handover.path.clone());
            }
            match end {
                Ended::Done { .. } => self.empties.add(&order.handover.path, self.mirror.config.settle),
                Ended::Gone => drop(self.gone.insert(order.handover.path.clone(), Instant::now() + GONE_RESTS)),
                Ended::CalledOff(_) | Ended::Changed(_) | Ended::Doubtful(_) => {}
                Ended::Taken(_) | Ended::Failed { .. } => {}
            }
        }
        match fault {
            Some(text) => {
                let _ = self.pause(text);
                Ok(false)
            }
            None => {
                self.mirror.set_handover_fault(None);
                if let Some((_, _, text)) = self.fault.take() {
                    tracing::info!(mirror = %self.mirror.config.name, "hand-overs go on: no longer {text}");
                }
                Ok(true)
            }
        }
    }

    /// Rests after a fault that every file would meet; said once. Returns for how long.
    fn pause(&mut self, text: String) -> Duration {
        if self.stop.is_cancelled() {
            return Duration::ZERO;
        }
        let tries = self.fault.as_ref().map_or(0, |(tries, ..)| *tries);
        if self.fault.as_ref().is_none_or(|(_, _, said)| *said != text) {
            tracing::warn!(mirror = %self.mirror.config.name, "hand-overs wait: {text}");
        }
        let pause = retry::delay(tries, None, random());
        self.mirror.set_handover_fault(Some(text.clone()));
        self.fault = Some((tries.saturating_add(1), Instant::now() + pause, text));
        pause
    }

    fn tell(&self, h: &Handover, end: &Ended) {
        let (mirror, file) = (&self.mirror.config.name, self.world.show(&h.path));
        let to = h.to.as_ref().map(|(folder, target)| match self.world.hide_names {
            true => crate::tags::hidden(target),
            false => record::whole(folder, target),
        });
        match end {
            Ended::Done { .. } => match h.kind {
                HandoverKind::Archive => tracing::info!(mirror, file, to, "delivered and archived"),
                HandoverKind::Delete => tracing::info!(mirror, file, "delivered and removed here"),
                HandoverKind::Quarantine => {
                    let code = h.code.map(|code| code.as_str());
                    tracing::warn!(mirror, file, to, code, "refused and moved to quarantine");
                }
            },
            Ended::CalledOff(why) | Ended::Changed(why) | Ended::Doubtful(why) => {
                tracing::info!(mirror, file, "not handed over: {why}")
            }
            Ended::Gone => tracing::info!(mirror, file, "not handed over: it is gone here already"),
            Ended::Taken(_) => tracing::debug!(mirror, file, "its name was taken meanwhile; another one is chosen"),
            Ended::Failed { fault, .. } if fault.wide || h.last_error.as_deref() == Some(fault.text.as_str()) => {
                tracing::debug!(mirror, file, "{} waits: {}", h.kind, fault.text);
            }
            Ended::Failed { fault, .. } => tracing::warn!(mirror, file, "{} waits: {}", h.kind, fault.text),
        }
    }
}

/// An end as the journal takes it.
enum Outcome {
    Done(Vec<RelPath>, Option<&'static str>),
    Cancelled(&'static str, Remains),
    Taken(RelPath),
    Failed(String, bool),
}

impl Outcome {
    fn of(end: &Ended) -> Self {
        match end {
            Ended::Done { with, doubt } => Self::Done(with.clone(), *doubt),
            Ended::CalledOff(why) => Self::Cancelled(why, Remains::Same),
            Ended::Changed(why) => Self::Cancelled(why, Remains::Changed),
            Ended::Doubtful(why) => Self::Cancelled(why, Remains::Doubtful),
            Ended::Gone => Self::Cancelled("the file was gone", Remains::Gone),
            Ended::Taken(target) => Self::Taken(target.clone()),
            Ended::Failed { fault, moved } => Self::Failed(fault.text.clone(), *moved),
        }
    }

    /// Writes it; whether the path is to be looked at.
    fn write(
        &self,
        tx: &crate::journal::Tx<'_>,
        id: crate::core::model::HandoverId,
        tries: u32,
        now: UnixMillis,
    ) -> Result<bool, JournalError> {
        match self {
            Self::Done(with, doubt) => record::done(tx, id, with, *doubt, now),
            Self::Cancelled(why, remains) => record::cancelled(tx, id, why, *remains, now).map(|()| true),
            Self::Taken(target) => record::name_taken(tx, id, target).map(|()| false),
            Self::Failed(text, moved) => {
                let pause = retry::delay(tries, None, random());
                record::handover_failed(tx, id, text, *moved, pause, now).map(|_| false)
            }
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, JournalError> + Send + 'static,
) -> Result<T, JournalError> {
    let done = host::blocking(work).await;
    done.unwrap_or_else(|error| Err(JournalError::internal(&format!("a hand-over ended abnormally: {error}"))))
}

/// What is to be done, with the names that are free for it. `None`: the root is not the one that the journal knows,
/// which the mirror's loop will say.
fn look(
    reader: &Reader,
    mirror: &Mirror,
    resting: &BTreeMap<RelPath, Instant>,
) -> Result<Option<(Found, Stores)>, JournalError> {
    let policy = mirror.handover_policy();
    let found = candidates(reader, mirror.id, policy.as_ref(), resting, UnixMillis::now(), BATCH)?;
    let Ok(root) = scan::open_root(&mirror.config.path) else { return Ok(None) };
    if reader.mirror(mirror.id)?.and_then(|row| row.identity) != Some(root.identity()) {
        return Ok(None);
    }
    let open = !reader.open_handovers(mirror.id, None, 1)?.is_empty();
    let over = no_longer_due(reader, mirror.id, policy.as_ref(), UnixMillis::now())?;
    let mut all = Found { root, resumed: Vec::new(), wanted: Vec::new(), over, fault: None, open };
    let mut stores = Stores::default();
    let mut taken = HashSet::new();
    for candidate in found {
        let (path, kind, folder) = match &candidate {
            Candidate::Due(path, kind) => (path.clone(), *kind, folder_of(mirror, *kind)),
            // What was announced goes where it was announced to, whatever the configuration says by now.
            Candidate::Resume(h) => (h.path.clone(), h.kind, h.to.as_ref().map(|(folder, _)| folder.clone())),
        };
        if let Some(folder) = &folder
            && let Err(text) = open_store(&mut stores, kind, folder)
        {
            all.fault = Some(text);
        }
        if all.fault.is_some() {
            // Those that were announced may be there already: nothing is begun before that is known.
            let to = folder.map(|folder| (folder, path.clone()));
            if matches!(candidate, Candidate::Due(..)) {
                all.wanted.push(Wanted { path, to });
            }
            continue;
        }
        match candidate {
            Candidate::Resume(handover) => {
                let Some(row) = reader.file(mirror.id, &path)?.or_else(|| Some(stand_in(&handover))) else { continue };
                let attachment = handover.attachment.map(|id| reader.attachment(id)).transpose()?.flatten();
                all.resumed.push(Order { handover: *handover, row, attachment });
            }
            Candidate::Due(path, kind) => match folder.as_ref().and_then(|folder| stores.get_key_value(folder)) {
                Some((folder, store)) => match free_name((folder, store), mirror, &path, kind, &taken) {
                    Some(target) => {
                        let folder = folder.clone();
                        taken.insert((folder.clone(), target.clone()));
                        all.wanted.push(Wanted { path, to: Some((folder, target)) });
                    }
                    None => all.fault = Some(format!("no free name for {path} in {}", shown(folder))),
                },
                None => all.wanted.push(Wanted { path, to: None }),
            },
        }
    }
    Ok(Some((all, stores)))
}

/// The row of a hand-over whose file was forgotten meanwhile; only its times are missing then.
fn stand_in(h: &Handover) -> crate::core::model::FileRow {
    crate::core::model::FileRow {
        mirror: h.mirror,
        path: h.path.clone(),
        stat: h.stat,
        hash: h.hash,
        verdict: crate::core::model::Verdict::Settling,
        note: None,
        seen_at: h.created_at,
        since: h.created_at,
        absent_since: None,
        attempt: 0,
        next_attempt: None,
        kept: false,
        insisted: None,
    }
}

fn folder_of(mirror: &Mirror, kind: HandoverKind) -> Option<Vec<u8>> {
    let ingest = mirror.config.ingest.as_ref()?;
    let path = match kind {
        HandoverKind::Archive => ingest.archive.as_deref(),
        HandoverKind::Quarantine => ingest.quarantine.as_deref(),
        HandoverKind::Delete => None,
    };
    path.map(|path| path.as_os_str().as_bytes().to_vec())
}

/// Opens the folder once. It is never made: a disk that is not mounted would be filled up below its mount point.
fn open_store(stores: &mut Stores, kind: HandoverKind, folder: &[u8]) -> Result<(), String> {
    if stores.contains_key(folder) {
        return Ok(());
    }
    let path = Path::new(std::ffi::OsStr::from_bytes(folder));
    match scan::open_root(path) {
        Ok(root) => {
            stores.insert(folder.to_vec(), root);
            Ok(())
        }
        Err(RootFault::Missing) => Err(format!("there is no folder {}: create it, or mount its disk", path.display())),
        Err(fault) => Err(format!("the {kind} folder {}: {fault}", path.display())),
    }
}

fn shown(folder: &[u8]) -> String {
    String::from_utf8_lossy(folder).into_owned()
}

/// What may lie beside a stored file.
fn companions(mirror: &Mirror, kind: HandoverKind) -> Vec<&str> {
    let paper = match kind {
        HandoverKind::Archive => RECEIPT,
        HandoverKind::Quarantine => REASON,
        HandoverKind::Delete => return Vec::new(),
    };
    let sidecar = mirror.config.sidecar.then_some(sidecar::SUFFIX);
    [Some(paper), mirror.config.scope.trigger_suffix(), sidecar].into_iter().flatten().collect()
}

/// The first name that is free in the store; one that cannot be looked at is not.
fn free_name(
    (at, store): (&Vec<u8>, &Root),
    mirror: &Mirror,
    path: &RelPath,
    kind: HandoverKind,
    taken: &HashSet<(Vec<u8>, RelPath)>,
) -> Option<RelPath> {
    let folder = store.open_folder(path.parent().as_ref()).ok();
    let found = handover::free_path(path, 1, &companions(mirror, kind), |stored, suffix| {
        let name = handover::beside(stored, suffix);
        let is_free = folder.as_ref().is_none_or(|folder| scan::look_in(folder, &name) == Look::Absent);
        Ok::<_, Infallible>(is_free && !taken.contains(&(at.clone(), stored.clone())))
    });
    found.unwrap_or_else(|never| match never {})
}

/// Carries a batch out, one after the other: the disk is the limit, not the processor.
fn carry_all(
    reader: &Reader,
    (mirror, instance): (&Mirror, &str),
    root: &Root,
    stores: &Stores,
    orders: Vec<(Order, bool)>,
    stop: &dyn Fn() -> bool,
) -> Result<Vec<(Order, Ended)>, JournalError> {
    let mut ended = Vec::with_capacity(orders.len());
    for (order, resumed) in orders {
        let h = &order.handover;
        let trigger = mirror.config.scope.trigger_of(&h.path);
        // Left behind, a sidecar would steer the next file of that name. (The configuration allows one of the two.)
        let sidecar = mirror.config.sidecar.then(|| sidecar::beside(&h.path)).flatten();
        let trigger = trigger.as_ref().zip(mirror.config.scope.trigger_suffix());
        let with = trigger.or(sidecar.as_ref().map(|path| (path, sidecar::SUFFIX)));
        // A name too long for any file system stands for nothing.
        let with = with.filter(|(path, _)| path.file_name().len() <= handover::LONGEST_NAME);
        let paper = papers::paper(reader, (mirror, instance), &order)?;
        let store = h.to.as_ref().and_then(|(folder, _)| stores.get(folder));
        let called_off = || {
            let proof = h.attachment.map(|id| reader.attachment(id)).transpose()?.flatten();
            Ok(handover::called_off(h.code, reader.file(h.mirror, &h.path)?.as_ref(), proof.as_ref()))
        };
        let called_off = &called_off;
        let end = carry::carry(Load { root, store, handover: h, resumed, called_off, with, paper, stop });
        ended.push((order, end));
    }
    Ok(ended)
}
