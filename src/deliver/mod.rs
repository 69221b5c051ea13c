//! Delivery: carries the journal's intents out at Connect, one job per attachment.
//!
//! The journal is the queue; this loop only picks what is due and keeps what is in flight, so a stop at any point
//! loses nothing. Jobs never overlap on one file or one attachment (`busy`). Uploads and everything else
//! (deletes, late complete calls, sweeps) have slots of their own, so that neither waits for the other.

mod complete;
mod delete;
mod sweep;
mod upload;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::core::model::{Attachment, AttachmentId, MirrorId, Stage};
use crate::core::plan;
use crate::journal::{JournalError, Reader};
use crate::pulse::Pulse;
use crate::record;
use crate::types::{RelPath, UnixMillis};
use crate::world::World;

/// Slots for everything but uploads.
const OTHER_SLOTS: usize = 8;
/// Longest sleep: the journal is looked at this often even if no bell rings.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

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
    jobs: JoinSet<()>,
    running: HashMap<Id, Key>,
    busy: HashSet<Key>,
    uploads: usize,
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
            let wake = self.fill()?;
            tokio::select! {
                // Dropping any of these loses nothing: the next round asks the journal again.
                () = stop.cancelled() => break,
                Some(ended) = self.jobs.join_next_with_id() => self.ended(ended),
                () = self.world.work.notified() => {}
                () = tokio::time::sleep_until(wake.into()) => {}
            }
            while let Some(ended) = self.jobs.try_join_next_with_id() {
                self.ended(ended);
            }
        }
        let all_ended = async { while self.jobs.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, all_ended).await.is_err() {
            tracing::warn!("uploads still under way were cut off; they continue at the next start");
            self.jobs.shutdown().await;
        }
        Ok(())
    }

    fn ended(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                tracing::error!("a delivery job ended abnormally: {error}; its file is tried again");
                error.id()
            }
        };
        if let Some(key) = self.running.remove(&id) {
            if matches!(key, Key::File(..)) {
                self.uploads -= 1;
            }
            self.busy.remove(&key);
        }
    }

    /// Starts every job that is due and has a slot. Returns when to look again.
    fn fill(&mut self) -> Result<Instant, JournalError> {
        let (now, at) = (UnixMillis::now(), Instant::now());
        if let Some(until) = self.world.weather.paused_until() {
            return Ok(until);
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

    fn fill_uploads(&mut self, now: UnixMillis) -> Result<(), JournalError> {
        let free = self.world.uploads.saturating_sub(self.uploads);
        if free == 0 {
            return Ok(());
        }
        let world = Arc::clone(&self.world);
        let held = |mirror| world.mirror(mirror).is_none_or(|m| m.hold_code().is_some_and(|code| code.stops_uploads()));
        let busy = &self.busy;
        let skip = |mirror: MirrorId, path: &RelPath| held(mirror) || busy.contains(&Key::File(mirror, path.clone()));
        for row in self.reader.queued(now, free, &skip)? {
            let Some(mirror) = self.world.mirror(row.mirror).cloned() else { continue };
            let job = upload::upload(Arc::clone(&self.world), mirror, row.path.clone());
            self.uploads += 1;
            self.spawn(Key::File(row.mirror, row.path), job);
        }
        Ok(())
    }

    fn fill_others(&mut self, now: UnixMillis) -> Result<(), JournalError> {
        let mut free = OTHER_SLOTS.saturating_sub(self.running.len() - self.uploads);
        for stage in [Stage::Stored, Stage::Deleting] {
            let due = self.reader.attachments_due(stage, now, free, &|attachment| self.may_work_on(attachment))?;
            for attachment in due {
                free -= 1;
                let (key, world) = (Key::Attachment(attachment.id), Arc::clone(&self.world));
                match stage {
                    Stage::Stored => self.spawn(key, complete::resume(world, attachment)),
                    _ => self.spawn(key, delete::delete(world, attachment)),
                }
            }
        }
        // All of them: those that have to wait must not hide the others, and they are few.
        for attachment in self.reader.unsure(usize::MAX)? {
            let early = self.next_sweep.get(&attachment.id).is_some_and(|at| *at > Instant::now());
            if free == 0 || early || attachment.stage == Stage::Planned || !self.may_work_on(&attachment) {
                continue;
            }
            free -= 1;
            self.next_sweep.insert(attachment.id, Instant::now() + record::LISTING_GRACE);
            self.spawn(Key::Attachment(attachment.id), sweep::sweep(Arc::clone(&self.world), attachment));
        }
        Ok(())
    }

    /// Whether nothing else works on it, and no hold forbids it: any hold stops the deletes that follow from an
    /// absence (invariant 3); the clean-up of our own attempts goes on.
    fn may_work_on(&self, attachment: &Attachment) -> bool {
        let Some(mirror) = self.world.mirror(attachment.mirror) else { return false };
        let held = mirror.hold_code().is_some() && attachment.reason.as_deref() == Some(plan::ABSENT);
        let stored = attachment.stage == Stage::Stored;
        let file_busy = self.busy.contains(&Key::File(attachment.mirror, attachment.path.clone()));
        !(held || self.busy.contains(&Key::Attachment(attachment.id)) || (stored && file_busy))
    }

    fn spawn(&mut self, key: Key, job: impl Future<Output = Result<(), JournalError>> + Send + 'static) {
        self.busy.insert(key.clone());
        let world = Arc::clone(&self.world);
        let handle = self.jobs.spawn(async move {
            match job.await {
                Ok(()) => world.weather.journal_is_good(),
                Err(error) => world.journal_trouble(&error),
            }
        });
        self.running.insert(handle.id(), key);
    }
}
