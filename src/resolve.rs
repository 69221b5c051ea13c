//! The look-up of references: which case a word in a path means, asked of Cases in batches and pinned in the journal.
//!
//! The journal is the queue: a planner that meets a reference writes it down (`record::want_reference`), this loop
//! asks for what is due, writes what it learned, and rings the bells of the files that wait. One search answers for
//! up to ten references (SERVICE.md 7); an answer that does not hold every hit is asked again in halves, so that an
//! ambiguous reference never hides another.
//!
//! A fault of the environment makes weather and no verdict. A search that is refused (a missing permission, say) is
//! tried again every few minutes, with the reason at the files that wait for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::aws::{Client, Failure, Next};
use crate::core::model::{MirrorId, ParkCode};
use crate::core::reference::{self, CaseRef, Outcome, RefState, Reference, batches};
use crate::core::retry;
use crate::core::routing::UnroutedReason;
use crate::core::sidecar::Beside;
use crate::crash::{self, Point};
use crate::host::random;
use crate::host::time::{self, Instant};
use crate::journal::{JournalError, Reader};
use crate::pulse::Pulse;
use crate::record;
use crate::types::UnixMillis;
use crate::world::{Mirror, World};

/// References asked for in one turn of the loop.
const MOST: usize = 100;
/// Longest sleep between two looks at the journal.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);
/// How long a list of the domain's fields holds.
const FIELDS_HOLD: Duration = Duration::from_secs(3600);
/// Gap before a refused search is tried again.
const REFUSED_GAP: Duration = Duration::from_secs(300);
/// How long after the first wish the search begins, so that a burst of files is one search.
const BURST: Duration = Duration::from_millis(50);

/// The loop's own state; all of it can be lost.
pub struct Resolver {
    world: Arc<World>,
    reader: Reader,
    fields: Option<(String, Fields, Instant)>,
    failures: u32,
}

/// What a domain can be searched by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    /// The field of reference ids, where the domain has one.
    pub id_field: Option<String>,
    /// Why that could not be found out, in words.
    pub unknown: Option<String>,
}

impl Resolver {
    /// A loop on its own read-only connection.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn new(world: Arc<World>) -> Result<Self, JournalError> {
        let reader = world.journal.reader()?;
        Ok(Self { world, reader, fields: None, failures: 0 })
    }

    /// Runs until `stop`.
    ///
    /// # Errors
    /// The journal failed for a reason that does not pass.
    pub async fn run(mut self, stop: CancellationToken, pulse: Pulse) -> Result<(), JournalError> {
        loop {
            pulse.beat();
            let world = Arc::clone(&self.world);
            let wake = tokio::select! {
                // The stop at once. What a turn wrote is in the journal, and what it did not write is due again.
                biased;
                () = stop.cancelled() => return Ok(()),
                turned = pulse.beating(Box::pin(self.turn(&stop))) => match turned {
                    Ok(wake) => wake,
                    Err(error) if error.is_passing() => {
                        world.journal_trouble(&error);
                        Instant::now() + LONGEST_SLEEP
                    }
                    Err(error) => return Err(error),
                },
            };
            self.world.looking_up.store(false, Ordering::Release);
            tokio::select! {
                // The stop first; dropping any of the others loses nothing: the next turn asks the journal again.
                biased;
                () = stop.cancelled() => return Ok(()),
                () = self.world.references.notified() => time::sleep(BURST).await,
                () = time::sleep_until(wake) => {}
            }
        }
    }

    /// Looks up what is due. Returns when to look again.
    async fn turn(&mut self, stop: &CancellationToken) -> Result<Instant, JournalError> {
        if let Some(until) = self.world.weather.paused_until() {
            return Ok(until);
        }
        let now = UnixMillis::now();
        let mut due = self.reader.case_refs_due(now, MOST)?;
        // Others belong to mirrors that are not configured, or to a domain that is no more.
        due.retain(|known| self.mirror(known.mirror).is_some_and(|m| m.domain.get() == Some(&known.domain)));
        let Some(domain) = due.first().map(|known| known.domain.clone()) else {
            let next = self.reader.next_case_ref_due()?.map(|at| at.since(now)).filter(|wait| !wait.is_zero());
            return Ok(Instant::now() + next.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP));
        };
        due.retain(|known| known.domain == domain);
        self.world.looking_up.store(true, Ordering::Release);
        let domain_id = domain.rsplit('/').next().unwrap_or_default().to_owned();
        let fields = match self.fields(&domain_id).await {
            Ok(fields) => fields,
            Err(failure) => return self.failed(&due, &failure).await,
        };
        // Two mirrors may name the same case.
        let mut wanted: Vec<Reference> = Vec::new();
        for known in &due {
            if !wanted.contains(&known.reference) {
                wanted.push(known.reference.clone());
            }
        }
        for batch in batches(wanted, fields.id_field.as_deref()) {
            if stop.is_cancelled() {
                break;
            }
            match look_up(&self.world.aws, &domain_id, &fields, batch.clone()).await {
                Ok(outcomes) => {
                    self.failures = 0;
                    self.world.weather.clear();
                    self.learn(&due, outcomes).await?;
                }
                Err(failure) => {
                    let of_batch: Vec<CaseRef> = due.into_iter().filter(|k| batch.contains(&k.reference)).collect();
                    return self.failed(&of_batch, &failure).await;
                }
            }
        }
        Ok(Instant::now())
    }

    fn mirror(&self, id: MirrorId) -> Option<&Arc<Mirror>> {
        self.world.mirror(id)
    }

    /// The domain's fields, asked for once an hour.
    async fn fields(&mut self, domain_id: &str) -> Result<Fields, Failure> {
        if let Some((domain, fields, at)) = &self.fields
            && domain == domain_id
            && at.elapsed() < FIELDS_HOLD
        {
            return Ok(fields.clone());
        }
        let fields = ask_fields(&self.world.aws, domain_id).await?;
        if let Some(why) = fields.unknown.as_ref().filter(|_| self.fields.is_none()) {
            tracing::warn!("{why}: cases are looked up by their reference number only");
        }
        self.fields = Some((domain_id.to_owned(), fields.clone(), Instant::now()));
        Ok(fields)
    }

    /// A call failed: weather, a later turn, or a reason to show.
    async fn failed(&mut self, refs: &[CaseRef], failure: &Failure) -> Result<Instant, JournalError> {
        if self.world.weather.note(failure, random()) {
            return Ok(self.world.weather.paused_until().unwrap_or_else(Instant::now));
        }
        self.world.weather.refused(failure);
        self.failures += 1;
        let refused = matches!(failure.next, Next::Park(_) | Next::Gone | Next::Conflict);
        let gap = if refused { REFUSED_GAP } else { retry::delay(self.failures, failure.hint, random()) };
        if failure.next == Next::Throttled {
            return Ok(Instant::now() + gap);
        }
        // Without the request id, which would make each refusal another one.
        let text = format!("{}: {}", failure.op, failure.code);
        let next_try = UnixMillis::now().plus(gap);
        let keys: Vec<(MirrorId, Reference)> = refs.iter().map(|k| (k.mirror, k.reference.clone())).collect();
        let new = self
            .world
            .journal
            .write(move |tx| {
                let mut new = false;
                for (mirror, reference) in &keys {
                    new |= record::search_failed(tx, *mirror, reference, &text, next_try)?;
                }
                Ok(new)
            })
            .await?;
        if new {
            tracing::warn!("references to cases cannot be looked up: {failure}; tried again after {next_try}");
            self.ring(refs)?;
        }
        Ok(Instant::now())
    }

    /// Writes down what a search said, and lets the files look again.
    async fn learn(&mut self, due: &[CaseRef], outcomes: Vec<(Reference, Outcome)>) -> Result<(), JournalError> {
        let of = |reference: &Reference| outcomes.iter().find(|(r, _)| r == reference).map(|(_, o)| o.clone());
        let news: Vec<(CaseRef, Outcome)> = due.iter().filter_map(|k| Some((k.clone(), of(&k.reference)?))).collect();
        let written: Vec<(MirrorId, Reference, Outcome)> =
            news.iter().map(|(k, outcome)| (k.mirror, k.reference.clone(), outcome.clone())).collect();
        let now_known = self
            .world
            .journal
            .write(move |tx| {
                let now = UnixMillis::now();
                let learned = written
                    .iter()
                    .map(|(mirror, reference, outcome)| record::learned(tx, *mirror, reference, outcome, now));
                learned.collect::<Result<Vec<_>, _>>()
            })
            .await?;
        crash::at(Point::LookUpRecorded);
        let count = |state| now_known.iter().flatten().filter(|known| known.state == state).count();
        let (found, unknown, ambiguous) =
            (count(RefState::Found), count(RefState::Unknown), count(RefState::Ambiguous));
        tracing::info!(found, unknown, ambiguous, "references to cases looked up");
        // Who still waits in vain as before needs no look.
        let before = |known: &CaseRef| due.iter().find(|k| k.mirror == known.mirror && k.reference == known.reference);
        let changed: Vec<CaseRef> = now_known
            .into_iter()
            .flatten()
            .filter(|known| before(known).is_none_or(|old| old.resolved() != known.resolved()))
            .collect();
        self.ring(&changed)
    }

    /// Rings for the files that wait for these references.
    fn ring(&self, refs: &[CaseRef]) -> Result<(), JournalError> {
        for mirror in &self.world.mirrors {
            let mut of_mirror = refs.iter().filter(|known| known.mirror == mirror.id).peekable();
            if of_mirror.peek().is_none() {
                continue;
            }
            let wanted: Vec<Reference> = of_mirror.map(|known| known.reference.clone()).collect();
            // Those that a case refused which is gone belong to another one now, perhaps.
            let mut waiting = self.reader.parked_for(mirror.id, ParkCode::CaseNotFound.as_str(), usize::MAX)?;
            for reason in UnroutedReason::ALL.iter().filter(|reason| reason.is_of_a_reference()) {
                waiting.extend(self.reader.unrouted_for(mirror.id, reason.as_str(), usize::MAX)?);
            }
            for path in waiting {
                // What a sidecar says is not known here, so its files look for themselves.
                let named = || mirror.reference_of(&path, &Beside::Nothing).is_some_and(|r| wanted.contains(&r));
                if mirror.config.sidecar || named() {
                    mirror.bell.touch(path);
                }
            }
        }
        Ok(())
    }
}

/// Which fields a domain can be searched by. A missing permission leaves the reference number.
///
/// # Errors
/// What may pass.
pub async fn ask_fields(aws: &Client, domain_id: &str) -> Result<Fields, Failure> {
    match aws.case_fields(domain_id).await {
        Ok(fields) => {
            let id_field = reference::id_field(fields.iter().map(|(id, system)| (id.as_str(), *system)));
            Ok(Fields { id_field, unknown: None })
        }
        Err(failure) if matches!(failure.next, Next::Park(_)) => {
            Ok(Fields { id_field: None, unknown: Some(failure.to_string()) })
        }
        Err(failure) => Err(failure),
    }
}

/// Searches for a batch of references that fits one call.
///
/// # Errors
/// The first failed call; nothing is known then.
pub async fn look_up(
    aws: &Client,
    domain_id: &str,
    fields: &Fields,
    batch: Vec<Reference>,
) -> Result<Vec<(Reference, Outcome)>, Failure> {
    let id_field = fields.id_field.as_deref();
    let mut outcomes = Vec::with_capacity(batch.len());
    let mut open = vec![batch];
    while let Some(batch) = open.pop() {
        let terms: Vec<_> = batch.iter().flat_map(|reference| reference.terms(id_field)).collect();
        if terms.is_empty() {
            outcomes.extend(batch.into_iter().map(|reference| (reference, Outcome::Unknown)));
            continue;
        }
        let (hits, total) = aws.search_cases(domain_id, &terms, id_field).await?;
        if total > hits.len() as u64 && batch.len() > 1 {
            let (left, right) = batch.split_at(batch.len() / 2);
            open.extend([right.to_vec(), left.to_vec()]);
            continue;
        }
        let alone = (batch.len() == 1).then_some(total);
        for reference in batch {
            let outcome = reference::outcome(&reference, &hits, alone);
            outcomes.push((reference, outcome));
        }
    }
    Ok(outcomes)
}
