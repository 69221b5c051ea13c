//! The follow-up: nothing pushes the end of a scan, so Connect is asked until agents can see the file or never
//! will (SERVICE.md 0.7, 2.5). One call covers 100 files of one case; the mirrors take turns, their cases are asked
//! oldest wait first, with gaps that grow with the age of the wait.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::aws::{Remote, RemoteStatus};
use crate::core::fair::Turns;
use crate::core::model::{Attachment, AttachmentId, MirrorId, ParkCode, Stage};
use crate::core::retry::{self, follow_gap};
use crate::crash::{self, Point};
use crate::host::random;
use crate::host::time::{self, Instant};
use crate::journal::{JournalError, Tx};
use crate::pulse::Pulse;
use crate::record;
use crate::types::{CaseArn, FileId, UnixMillis};
use crate::world::World;

/// Ids that one status call takes (SERVICE.md 1.1).
const PAGE: usize = 100;
/// A scan that has not ended by now is worth a warning (SERVICE.md 0.7: the scanner's budget is 60 s).
const LONG: Duration = Duration::from_secs(3 * 60);
/// A scan that has not ended by now never will: the attempt is given up.
const HOPELESS: Duration = Duration::from_secs(24 * 3600);
/// Longest sleep between two looks at the journal.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// A completed attempt on its way to the follow-up. Only a hint: the journal holds the same.
pub type Completed = Attachment;

/// The follow-up's own state; all of it can be lost.
pub struct Follow {
    world: Arc<World>,
    /// In an order of their own, so that equal turns are taken alike at each run.
    cases: BTreeMap<CaseArn, Case>,
    /// Which mirror was asked for last: the mirrors take turns, within one the case that is most overdue goes first.
    turns: Turns<MirrorId>,
}

struct Case {
    waiting: BTreeMap<AttachmentId, Waiting>,
    /// The mirrors of those who wait or have waited.
    mirrors: Vec<MirrorId>,
    next: Instant,
    /// Questions in a row that were not answered.
    unanswered: u32,
}

struct Waiting {
    attachment: Attachment,
    /// Time since its complete call when it was taken, and when that was: no step of the wall clock counts.
    age: Duration,
    taken: Instant,
    warned: bool,
}

impl Follow {
    /// Takes over what the journal holds as completed.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn new(world: Arc<World>) -> Result<Self, JournalError> {
        let completed = world.journal.reader()?.attachments_in_stage(Stage::Completed, None, usize::MAX)?;
        let mut follow = Self { world, cases: BTreeMap::new(), turns: Turns::default() };
        for attachment in completed {
            follow.take(attachment, Instant::now());
        }
        Ok(follow)
    }

    /// Runs until `stop`.
    ///
    /// # Errors
    /// The journal can no longer be written.
    pub async fn run(
        mut self,
        mut completed: mpsc::Receiver<Completed>,
        stop: CancellationToken,
        pulse: Pulse,
    ) -> Result<(), JournalError> {
        loop {
            pulse.beat();
            let now = Instant::now();
            let next = self.cases.values().map(|case| case.next).min();
            let paused = self.world.weather.paused_until();
            let wake = next.into_iter().chain(paused).max().unwrap_or(now + LONGEST_SLEEP).min(now + LONGEST_SLEEP);
            tokio::select! {
                // The stop at once; those who wait are taken in before the next question, so that it is for all.
                biased;
                // A hint that is dropped here is found again in the journal at the next start.
                () = stop.cancelled() => return Ok(()),
                Some(attachment) = completed.recv() => {
                    let first_look = Instant::now() + follow_gap(Duration::ZERO);
                    self.take(attachment, first_look);
                }
                () = time::sleep_until(wake) => {
                    if paused.is_none() && let Some(case) = self.due() {
                        match pulse.beating(Box::pin(self.ask(&case, &stop))).await {
                            // A full disk passes: what was answered is asked again.
                            Err(error) if error.may_heal() => self.world.journal_trouble(&error),
                            other => other?,
                        }
                    }
                }
            }
        }
    }

    fn take(&mut self, attachment: Attachment, look: Instant) {
        let case = self.cases.entry(attachment.case.clone()).or_insert_with(|| Case {
            waiting: BTreeMap::new(),
            mirrors: Vec::new(),
            next: look,
            unanswered: 0,
        });
        case.next = case.next.min(look);
        if !case.mirrors.contains(&attachment.mirror) {
            case.mirrors.push(attachment.mirror);
        }
        let age = attachment.age(UnixMillis::now());
        let waiting = Waiting { attachment, age, taken: Instant::now(), warned: false };
        case.waiting.insert(waiting.attachment.id, waiting);
    }

    /// The case to ask about: the most overdue one of the mirror whose turn it is.
    fn due(&mut self) -> Option<CaseArn> {
        let now = Instant::now();
        let due = self.cases.iter().filter(|(_, case)| case.next <= now);
        let turn = |case: &Case| case.mirrors.iter().map(|mirror| self.turns.last_turn(*mirror)).min();
        let (arn, case) = due.min_by_key(|(_, case)| (turn(case), case.next))?;
        let (arn, mirrors) = (arn.clone(), case.mirrors.clone());
        for mirror in mirrors {
            self.turns.served(mirror);
        }
        Some(arn)
    }

    /// A stop ends the question at once; what is answered is recorded and told of, all of it.
    async fn ask(&mut self, arn: &CaseArn, stop: &CancellationToken) -> Result<(), JournalError> {
        let Some(case) = self.cases.get_mut(arn) else { return Ok(()) };
        let page: Vec<(FileId, AttachmentId)> = case
            .waiting
            .values()
            .filter_map(|w| Some((w.attachment.file_id.clone()?, w.attachment.id)))
            .take(PAGE)
            .collect();
        let ids: Vec<FileId> = page.iter().map(|(file, _)| file.clone()).collect();
        let asked = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            asked = self.world.aws.statuses(arn, &ids) => asked,
        };
        let answers = match asked {
            Ok(answers) => answers,
            Err(failure) => {
                if let Some(waiting) = case.waiting.values().next() {
                    self.world.failed_call(&failure, &waiting.attachment);
                }
                case.next = Instant::now() + retry::delay(case.unanswered, failure.hint, random());
                case.unanswered += 1;
                return Ok(());
            }
        };
        self.world.weather.clear();
        case.unanswered = 0;
        let by_file: HashMap<FileId, AttachmentId> = page.into_iter().collect();
        // All at once, so that the ends of a page share a commit.
        let mut ends = JoinSet::new();
        for (file, remote) in answers {
            let Some(waiting) = by_file.get(&file).and_then(|id| case.waiting.get(id)) else { continue };
            let (world, attachment) = (Arc::clone(&self.world), waiting.attachment.clone());
            let stop = stop.clone();
            ends.spawn(async move {
                let end = Box::pin(conclude(&world, &attachment, &remote));
                // An odd answer takes a second call.
                let ended = match &remote {
                    Remote::Known(_) => end.await,
                    Remote::Error { .. } | Remote::Missing => stop.run_until_cancelled(end).await.unwrap_or(Ok(false)),
                };
                (attachment.id, ended)
            });
        }
        while let Some(end) = ends.join_next().await {
            let (id, ended) = end.map_err(|error| JournalError::internal(&error.to_string()))?;
            if ended? {
                if let Some(ended) = case.waiting.remove(&id) {
                    self.world.rouse_handover(ended.attachment.mirror);
                }
            } else if let Some(waiting) = case.waiting.get_mut(&id) {
                waiting.watch(&self.world).await?;
            }
        }
        // Whoever was given up meanwhile by the planner is no longer completed.
        if case.waiting.is_empty() {
            self.cases.remove(arn);
            if self.cases.is_empty() {
                self.world.rest.notify_one();
            }
            return Ok(());
        }
        let youngest = case.waiting.values().map(Waiting::age).min().unwrap_or_default();
        let more = case.waiting.len() > PAGE && youngest > follow_gap(Duration::ZERO);
        case.next = Instant::now() + if more { Duration::ZERO } else { follow_gap(youngest) };
        Ok(())
    }
}

impl Waiting {
    /// Time since Connect took the complete call.
    fn age(&self) -> Duration {
        self.age.saturating_add(self.taken.elapsed())
    }

    /// Says once that a scan takes long, and gives up on one that cannot end any more.
    async fn watch(&mut self, world: &World) -> Result<(), JournalError> {
        let (id, age) = (self.attachment.id, self.age());
        if age >= LONG && !self.warned {
            self.warned = true;
            let name = world.show(&self.attachment.path);
            tracing::warn!(file = %name, "Connect has not ended the scan for {} s; still asking", age.as_secs());
            let since = self.attachment.completed_at.unwrap_or_default();
            let note = format!("Connect has not ended the scan since {since}; still asking");
            world.journal.write(move |tx| record::waiting(tx, id, &note)).await?;
        }
        if age >= HOPELESS {
            let reason = "Connect did not end the scan within a day";
            let counts = Some(ParkCode::Failed);
            ends(world, id, move |tx| record::give_up(tx, id, reason, counts, None, random(), UnixMillis::now()))
                .await?;
        }
        Ok(())
    }
}

/// Records what Connect says of a stored or completed attempt, if that ends it. `false`: keep asking.
///
/// # Errors
/// The journal's.
pub async fn conclude(world: &World, attachment: &Attachment, remote: &Remote) -> Result<bool, JournalError> {
    let (id, now) = (attachment.id, UnixMillis::now());
    let tell = |text: &str, code: ParkCode| {
        let (file, file_id) = (world.show(&attachment.path), attachment.file_id.as_ref().map(FileId::as_str));
        tracing::warn!(file, file_id, "{text}: {}", code.remedy());
    };
    // What was converted is larger or smaller there than here.
    let sent = match remote {
        Remote::Known(known) if known.status == RemoteStatus::Approved && known.size != attachment.version.size => {
            world.journal.write(move |tx| tx.converted(id)).await?.unwrap_or(attachment.version)
        }
        _ => attachment.version,
    };
    let gone = match remote {
        Remote::Known(known) => match &known.status {
            RemoteStatus::Approved if known.size == 0 || known.size == sent.size => {
                crash::at(Point::FollowApproved);
                ends(world, id, move |tx| record::approved(tx, id, now)).await?;
                crash::at(Point::FollowRecorded);
                let (file, file_id) = (world.show(&attachment.path), attachment.file_id.as_ref().map(FileId::as_str));
                tracing::info!(file, case = attachment.case.case_id(), file_id, "attached");
                world.work.notify_one();
                return Ok(true);
            }
            // Approved with another size is not what we sent (invariant 7).
            RemoteStatus::Approved | RemoteStatus::Failed => {
                crash::at(Point::FollowFailed);
                ends(world, id, move |tx| record::failed(tx, id, now)).await?;
                tell("Connect ended it FAILED", ParkCode::Failed);
                world.work.notify_one();
                return Ok(true);
            }
            RemoteStatus::Rejected => {
                crash::at(Point::FollowRejected);
                ends(world, id, move |tx| record::rejected(tx, id, now)).await?;
                tell("the scan ended REJECTED", ParkCode::Rejected);
                return Ok(true);
            }
            RemoteStatus::Gone(_) => true,
            RemoteStatus::Processing | RemoteStatus::Pending(_) | RemoteStatus::Other(_) => false,
        },
        Remote::Error { .. } | Remote::Missing => is_gone(world, attachment, now).await,
    };
    if gone {
        ends(world, id, move |tx| record::vanished(tx, id, now)).await?;
        world.work.notify_one();
    }
    Ok(gone)
}

/// Records an end. What waited for it of a file that is gone, its mirror sees at its next look there.
async fn ends(
    world: &World,
    id: AttachmentId,
    end: impl FnOnce(&Tx<'_>) -> Result<(), JournalError> + Send + 'static,
) -> Result<(), JournalError> {
    let gone = world.journal.write(move |tx| {
        end(tx)?;
        Ok(tx.file_of(&tx.expect_attachment(id)?)?.filter(|row| row.absent_since.is_some()))
    });
    if let Some(row) = gone.await?
        && let Some(mirror) = world.mirror(row.mirror)
    {
        mirror.bell.touch(row.path);
    }
    Ok(())
}

/// One odd answer proves nothing: after the listing grace a second operation must agree (SERVICE.md 2.6).
async fn is_gone(world: &World, attachment: &Attachment, now: UnixMillis) -> bool {
    let Some(file) = &attachment.file_id else { return false };
    let young = attachment.started_at.is_none_or(|at| now.since(at) < record::LISTING_GRACE);
    !young && world.aws.confirm_gone(&attachment.case, file).await.unwrap_or(false)
}
