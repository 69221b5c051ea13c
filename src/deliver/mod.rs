//! Delivery: carries the journal's intents out at Connect, one job per attachment.
//!
//! The journal is the queue; this loop only picks what is due and keeps what is in flight, so a stop at any point
//! loses nothing. Jobs never overlap on one file or one attachment (`busy`). Uploads and everything else
//! (deletes, late complete calls, sweeps) have slots of their own, so that neither waits for the other.

mod complete;
mod convert;
mod delete;
mod past;
mod sweep;
mod upload;

pub use convert::clean;
pub use past::Cases;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::core::fair::{self, Turns};
use crate::core::model::{Attachment, AttachmentId, MirrorId, Stage};
use crate::host::time::{self, Instant};
use crate::journal::{JournalError, Reader, Tx};
use crate::pulse::Pulse;
use crate::record;
use crate::types::{CaseArn, RelPath, UnixMillis};
use crate::world::{Mirror, World};

/// Slots for everything but uploads.
const OTHER_SLOTS: usize = 8;
/// Complete calls left from an earlier try that are looked at together; more than can be left by one stop.
const MOST_STORED: usize = 1024;
/// How long that rests whose job ended abnormally. It is a mistake of the program's own, and may come again at every
/// try: the others must not pay for it.
const AFTER_PANIC: Duration = Duration::from_secs(300);
/// Longest sleep: the journal is looked at this often even if no bell rings.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);
/// While jobs are under way the journal is asked at most this often, so that many slots are filled by one look.
const REFILL: Duration = Duration::from_millis(5);

/// What a job works on; two jobs with the same key never run at once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    File(MirrorId, RelPath),
    Attachment(AttachmentId),
}

/// The delivery loop's own state; all of it can be lost.
pub struct Delivery {
    world: Arc<World>,
    reader: Reader,
    /// What comes of one: whether the journal took what it had to say.
    jobs: JoinSet<bool>,
    running: HashMap<Id, Key>,
    busy: HashSet<Key>,
    uploads: usize,
    /// Whose turn it is, for uploads and for everything else: by mirror, and within it by the case last served.
    upload_turns: Turns<MirrorId>,
    other_turns: Turns<MirrorId>,
    last_lane: HashMap<MirrorId, i64>,
    last_delete: HashMap<MirrorId, CaseArn>,
    /// Whose job ended before the journal knew of its end, and how long it is to rest; what is recorded is that somebody
    /// works on it.
    cut_off: Vec<(Key, Duration)>,
    /// When the journal was last asked.
    filled: Option<Instant>,
    /// When an unsure attempt's case may be swept again: at once, then after the listing grace, which settles it.
    next_sweep: HashMap<AttachmentId, Instant>,
}

impl Delivery {
    /// A loop on its own read-only connection.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn new(world: Arc<World>) -> Result<Self, JournalError> {
        let reader = world.journal.reader()?;
        Ok(Self {
            world,
            reader,
            jobs: JoinSet::new(),
            running: HashMap::new(),
            busy: HashSet::new(),
            uploads: 0,
            upload_turns: Turns::default(),
            other_turns: Turns::default(),
            last_lane: HashMap::new(),
            last_delete: HashMap::new(),
            cut_off: Vec::new(),
            filled: None,
            next_sweep: HashMap::new(),
        })
    }

    /// Runs until `stop`, then lets what is in flight end until `grace` is over.
    ///
    /// # Errors
    /// The journal can no longer be read.
    pub async fn run(mut self, stop: CancellationToken, grace: Duration, pulse: Pulse) -> Result<(), JournalError> {
        loop {
            pulse.beat();
            let next_fill =
                self.filled.map(|at| at + REFILL).filter(|at| !self.jobs.is_empty() && *at > Instant::now());
            let wake = match next_fill.map_or_else(|| self.fill(), Ok) {
                Err(error) if error.may_heal() => {
                    self.world.journal_trouble(&error);
                    Instant::now() + LONGEST_SLEEP
                }
                filled => filled?,
            };
            if self.jobs.is_empty() {
                self.world.rest.notify_one();
            }
            tokio::select! {
                // The stop at once; then what frees a slot, before the slots are filled again.
                biased;
                // Dropping any of these loses nothing: the next round asks the journal again.
                () = stop.cancelled() => break,
                Some(ended) = self.jobs.join_next_with_id() => self.ended(ended),
                () = self.world.work.notified() => {}
                () = time::sleep_until(wake) => {}
            }
            while let Some(ended) = self.jobs.try_join_next_with_id() {
                self.ended(ended);
            }
        }
        let all_ended = async { while self.jobs.join_next().await.is_some() {} };
        if time::timeout(grace, all_ended).await.is_err() {
            tracing::warn!("uploads still under way were cut off; they continue at the next start");
            self.jobs.shutdown().await;
        }
        Ok(())
    }

    fn ended(&mut self, ended: Result<(Id, bool), tokio::task::JoinError>) {
        let (id, outcome) = match ended {
            Ok((id, recorded)) => (id, Ok(recorded)),
            Err(error) => (error.id(), Err(error)),
        };
        let Some(key) = self.running.remove(&id) else { return };
        self.busy.remove(&key);
        if let Key::File(mirror, _) = &key {
            self.uploads -= 1;
            self.world.rouse_handover(*mirror);
        }
        match outcome {
            Ok(true) => {}
            // What else works on an attachment is due again by itself.
            Ok(false) if matches!(key, Key::Attachment(_)) => {}
            Ok(false) => self.cut_off.push((key, Duration::ZERO)),
            Err(error) => {
                let file = if let Key::File(_, path) = &key { Some(self.world.show(path)) } else { None };
                let minutes = AFTER_PANIC.as_secs() / 60;
                tracing::error!(file, "a delivery job ended abnormally, tried again in {minutes} min: {error}");
                self.cut_off.push((key, AFTER_PANIC));
            }
        }
    }

    /// Starts every job that is due and has a slot. Returns when to look again.
    fn fill(&mut self) -> Result<Instant, JournalError> {
        let (now, at) = (UnixMillis::now(), Instant::now());
        self.filled = Some(at);
        if let Some(until) = self.world.weather.paused_until() {
            return Ok(until);
        }
        // First of all, so that nothing else works on them meanwhile.
        for (key, rest) in std::mem::take(&mut self.cut_off) {
            self.uploads += usize::from(matches!(key, Key::File(..)));
            let job = recover(Arc::clone(&self.world), key.clone(), rest);
            self.spawn(key, job);
        }
        self.fill_uploads(now)?;
        self.fill_others(now)?;
        let due = [
            self.reader.next_queued_due()?,
            self.reader.next_due(Stage::Deleting)?,
            self.reader.next_due(Stage::Stored)?,
        ];
        let next = due.into_iter().flatten().map(|due| due.since(now)).filter(|wait| !wait.is_zero()).min();
        Ok(at + next.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP))
    }

    /// Uploads: the free slots go round by mirror, and within a mirror by case.
    fn fill_uploads(&mut self, now: UnixMillis) -> Result<(), JournalError> {
        // Before it is known what the instance takes, a call might be spent in vain.
        if self.world.limits().is_none() {
            return Ok(());
        }
        let slots = self.world.uploads;
        let mut waiting: Vec<Arc<Mirror>> = self.world.mirrors.clone();
        waiting.retain(|mirror| !mirror.stops_uploads());
        while self.uploads < slots {
            let mut in_flight: HashMap<MirrorId, usize> = HashMap::new();
            for key in self.running.values() {
                if let Key::File(mirror, _) = key {
                    *in_flight.entry(*mirror).or_default() += 1;
                }
            }
            let of = |mirror: &Arc<Mirror>| (mirror.id, in_flight.get(&mirror.id).copied().unwrap_or(0));
            let (free, mirrors) = (slots - self.uploads, self.world.mirrors.len());
            let may = waiting.iter().map(of).filter(|(_, n)| fair::may_take(slots, free, mirrors, *n));
            let Some(id) = self.upload_turns.next(may) else { break };
            let Some(mirror) = self.world.mirror(id).cloned() else { break };
            let busy = &self.busy;
            let skip = |path: &RelPath| busy.contains(&Key::File(id, path.clone()));
            let after = self.last_lane.get(&id).copied().unwrap_or(-1);
            let Some((row, lane)) = self.reader.queued_turn(id, after, now, &skip)? else {
                waiting.retain(|mirror| mirror.id != id);
                continue;
            };
            self.last_lane.insert(id, lane);
            self.upload_turns.served(id);
            let job = upload::upload(Arc::clone(&self.world), mirror, row.path.clone());
            self.uploads += 1;
            self.spawn(Key::File(row.mirror, row.path), job);
        }
        Ok(())
    }

    /// Complete calls that are left and deletes, the mirrors in turn; then sweeps.
    fn fill_others(&mut self, now: UnixMillis) -> Result<(), JournalError> {
        let mut free = OTHER_SLOTS.saturating_sub(self.running.len() - self.uploads);
        let mut stored = self.reader.attachments_due(Stage::Stored, now, MOST_STORED, &|a| self.may_work_on(a))?;
        while free > 0 {
            let first = self.other_turns.next(stored.iter().map(|a| (a.mirror, 0)));
            let Some(at) = stored.iter().position(|a| Some(a.mirror) == first) else { break };
            let attachment = stored.remove(at);
            free -= 1;
            self.other_turns.served(attachment.mirror);
            let world = Arc::clone(&self.world);
            self.spawn(Key::Attachment(attachment.id), complete::resume(world, attachment));
        }
        let mut waiting: Vec<MirrorId> = self.world.mirrors.iter().map(|mirror| mirror.id).collect();
        // Deletes that wait for long (for a person, say) cost nothing while none is due.
        if self.reader.attachments_due(Stage::Deleting, now, 1, &|a| self.may_work_on(a))?.is_empty() {
            waiting.clear();
        }
        while free > 0
            && let Some(id) = self.other_turns.next(waiting.iter().map(|id| (*id, 0)))
        {
            let after = self.last_delete.get(&id);
            let Some(attachment) = self.reader.delete_turn(id, after, now, &|a| self.may_work_on(a))? else {
                waiting.retain(|mirror| *mirror != id);
                continue;
            };
            free -= 1;
            self.other_turns.served(id);
            self.last_delete.insert(id, attachment.case.clone());
            let world = Arc::clone(&self.world);
            self.spawn(Key::Attachment(attachment.id), delete::delete(world, attachment));
        }
        // All of them: those that have to wait must not hide the others, and they are few.
        for attachment in self.reader.unsure(usize::MAX)? {
            let early = self.next_sweep.get(&attachment.id).is_some_and(|at| *at > Instant::now());
            if free == 0 || early || attachment.stage == Stage::Planned || !self.may_work_on(&attachment) {
                continue;
            }
            free -= 1;
            self.next_sweep.insert(attachment.id, Instant::now() + sweep::gap(&attachment, now));
            self.spawn(Key::Attachment(attachment.id), sweep::sweep(Arc::clone(&self.world), attachment));
        }
        Ok(())
    }

    /// Whether nothing else works on it, and no hold forbids it: any hold stops the deletes that follow from an
    /// absence (invariant 3); the clean-up of our own attempts goes on.
    fn may_work_on(&self, attachment: &Attachment) -> bool {
        let Some(mirror) = self.world.mirror(attachment.mirror) else { return false };
        let held = attachment.stage == Stage::Deleting && mirror.holds_back(attachment);
        let stored = attachment.stage == Stage::Stored;
        let file_busy = self.busy.contains(&Key::File(attachment.mirror, attachment.path.clone()));
        !(held || self.busy.contains(&Key::Attachment(attachment.id)) || (stored && file_busy))
    }

    fn spawn(&mut self, key: Key, job: impl Future<Output = Result<(), JournalError>> + Send + 'static) {
        self.busy.insert(key.clone());
        let world = Arc::clone(&self.world);
        let handle = self.jobs.spawn(async move {
            let outcome = job.await;
            match outcome {
                Ok(()) => world.weather.journal_is_good(),
                Err(ref error) => world.journal_trouble(error),
            }
            outcome.is_ok()
        });
        self.running.insert(handle.id(), key);
    }
}

/// Takes up again what a job left without a word in the journal, after a rest.
async fn recover(world: Arc<World>, key: Key, rest: Duration) -> Result<(), JournalError> {
    let record = move |tx: &Tx<'_>| match &key {
        Key::File(mirror, path) => record::recover_file(tx, *mirror, path, rest, UnixMillis::now()),
        Key::Attachment(id) => record::rest(tx, *id, rest, UnixMillis::now()),
    };
    world.journal.write(record).await?;
    world.work.notify_one();
    Ok(())
}
