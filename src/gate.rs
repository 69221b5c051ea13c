//! What the instance takes, and which cases have room: read, kept, and told to the files that wait for it.
//!
//! The settings are read at the start, every hour, and after a refusal; the journal keeps them, so that the next start
//! and the views know them at once. Delivery begins nothing before the first answer: a file that would be refused
//! costs no call. When they change, what was parked by them and fits now goes on by itself. A case that was found full
//! is tried again with one file, with growing gaps, and at once after a delete of ours; when it has room, all go on.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::aws::Next;
use crate::core::model::{MirrorId, ParkCode};
use crate::core::preflight::Limits;
use crate::core::retry;
use crate::core::sidecar::Beside;
use crate::crash::{self, Point};
use crate::host::random;
use crate::host::time::{self, Instant};
use crate::journal::{JournalError, Reader, Tx};
use crate::pulse::Pulse;
use crate::record;
use crate::types::{CaseArn, RelPath, UnixMillis};
use crate::world::{Mirror, World};

/// How long settings hold.
const HOLD: Duration = Duration::from_secs(3600);
/// Refusals that come together ask once.
const LEAST_GAP: Duration = Duration::from_secs(30);
/// Longest sleep between two looks at the journal.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);
/// Parks that follow from the settings.
const BY_SETTINGS: [ParkCode; 3] = [ParkCode::TooLarge, ParkCode::TypeNotAllowed, ParkCode::BadName];

/// The loop's own state; all of it can be lost.
pub struct Gate {
    world: Arc<World>,
    reader: Reader,
    next_read: Instant,
    last_read: Option<Instant>,
    failures: u32,
    told_assumed: bool,
}

impl Gate {
    /// A loop on its own read-only connection; what the journal knows is in force at once.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn new(world: Arc<World>) -> Result<Self, JournalError> {
        let reader = world.journal.reader()?;
        if let Some((limits, _)) = reader.files_config()? {
            world.set_limits(limits);
        }
        Ok(Self { world, reader, next_read: Instant::now(), last_read: None, failures: 0, told_assumed: false })
    }

    /// Runs until `stop`.
    ///
    /// # Errors
    /// The journal failed for a reason that does not pass.
    pub async fn run(mut self, stop: CancellationToken, pulse: Pulse) -> Result<(), JournalError> {
        loop {
            pulse.beat();
            let world = Arc::clone(&self.world);
            tokio::select! {
                // The stop at once. What a turn wrote is in the journal, and what it did not write is due again.
                biased;
                () = stop.cancelled() => return Ok(()),
                turned = pulse.beating(Box::pin(self.turn())) => match turned {
                    Ok(()) => {}
                    Err(error) if error.is_passing() => world.journal_trouble(&error),
                    Err(error) => return Err(error),
                },
            }
            let paused = self.world.weather.paused_until();
            let longest = Instant::now() + LONGEST_SLEEP;
            let wake = paused.unwrap_or(self.next_read).min(longest);
            tokio::select! {
                // The stop first; dropping any of the others loses nothing: the next turn looks again.
                biased;
                () = stop.cancelled() => return Ok(()),
                () = self.world.refused.notified() => {
                    let soonest = self.last_read.map_or_else(Instant::now, |at| at + LEAST_GAP);
                    self.next_read = self.next_read.min(soonest);
                }
                () = time::sleep_until(wake) => {}
            }
        }
    }

    async fn turn(&mut self) -> Result<(), JournalError> {
        if self.world.weather.paused_until().is_none() && Instant::now() >= self.next_read {
            self.read_settings().await?;
        }
        self.probe_full_cases().await
    }

    async fn read_settings(&mut self) -> Result<(), JournalError> {
        crash::at(Point::DescribeSend);
        let asked = self.world.aws.attached_files_configuration().await;
        crash::at(Point::DescribeAnswered);
        let now = Instant::now();
        self.last_read = Some(now);
        let limits = match asked {
            Ok(told) => {
                self.world.weather.clear();
                (self.failures, self.told_assumed) = (0, false);
                Limits::told(told.max_size, told.extensions)
            }
            Err(failure) if self.world.weather.note(&failure, random()) => return Ok(()),
            Err(failure) if failure.next == Next::Park(ParkCode::AccessDenied) => {
                self.world.weather.refused(&failure);
                if !std::mem::replace(&mut self.told_assumed, true) {
                    tracing::warn!("the instance's settings may not be read, documented defaults are used: {failure}");
                }
                Limits::documented(&format!("{}: {}", failure.op, failure.code))
            }
            Err(failure) => {
                // Not for delivery to wait for: then the service alone judges.
                tracing::info!("the instance's settings could not be read, tried again later: {failure}");
                self.failures += 1;
                self.next_read = now + retry::delay(self.failures + 3, failure.hint, random());
                if self.world.limits().is_none() {
                    self.world.set_limits(Limits::unknown());
                    self.world.work.notify_one();
                }
                return Ok(());
            }
        };
        self.next_read = now + HOLD;
        let changed = self.reader.files_config()?.is_none_or(|(known, _)| known != limits);
        let (written, mirrors) = (limits.clone(), self.world.mirrors.clone());
        let parked = if changed { self.parked_by(&BY_SETTINGS)? } else { Vec::new() };
        let freed = self
            .world
            .journal
            .write(move |tx| {
                let now = UnixMillis::now();
                tx.put_files_config(&written, now)?;
                let mut freed = 0_u64;
                for (id, path, code) in &parked {
                    let Some(mirror) = mirrors.iter().find(|mirror| mirror.id == *id) else { continue };
                    if fits(tx, mirror, path, &written)? {
                        let why = "the instance's settings changed, and take it now";
                        freed += u64::from(record::unpark(tx, *id, path, *code, why, now)?);
                    }
                }
                Ok(freed)
            })
            .await?;
        if freed > 0 {
            tracing::info!(files = freed, "the instance's settings changed: parked files go on");
        }
        self.world.set_limits(limits);
        self.world.work.notify_one();
        Ok(())
    }

    /// Parked files with these codes, of configured mirrors.
    fn parked_by(&self, codes: &[ParkCode]) -> Result<Vec<(MirrorId, RelPath, ParkCode)>, JournalError> {
        let mut parked = Vec::new();
        for mirror in &self.world.mirrors {
            for code in codes {
                let paths = self.reader.parked_for(mirror.id, code.as_str(), usize::MAX)?;
                parked.extend(paths.into_iter().map(|path| (mirror.id, path, *code)));
            }
        }
        Ok(parked)
    }

    /// Sends one file of each full case whose time has come; a case that nobody waits for is forgotten.
    async fn probe_full_cases(&mut self) -> Result<(), JournalError> {
        let now = UnixMillis::now();
        let due: Vec<CaseArn> =
            self.reader.full_cases()?.into_iter().filter(|(_, at)| *at <= now).map(|(case, _)| case).collect();
        if due.is_empty() {
            return Ok(());
        }
        let parked = self.parked_by(&[ParkCode::CaseFull])?;
        let mirrors = self.world.mirrors.clone();
        self.world
            .journal
            .write(move |tx| {
                for case in &due {
                    let mut asked = false;
                    for (id, path, code) in &parked {
                        let Some(mirror) = mirrors.iter().find(|mirror| mirror.id == *id) else { continue };
                        if !asked && is_of(tx, mirror, path, case)? {
                            let why = "asks whether the case has room again";
                            asked = record::unpark(tx, *id, path, *code, why, now)?;
                        }
                    }
                    if !asked {
                        tx.remove_full_case(case)?;
                    }
                }
                Ok(())
            })
            .await?;
        self.world.work.notify_one();
        Ok(())
    }
}

/// Whether a parked file would pass now. A sidecar may name it otherwise, and is not read here: delivery judges then.
fn fits(tx: &Tx<'_>, mirror: &Mirror, path: &RelPath, limits: &Limits) -> Result<bool, JournalError> {
    let Some(row) = tx.file(mirror.id, path)? else { return Ok(false) };
    let mut name = mirror.config.naming.attachment_name(path).name;
    let mut bytes = row.stat.size;
    if let Some((convert, _)) = mirror.config.conversion(path) {
        // How large the result will be, only the conversion tells.
        (name, bytes) = (convert.rule.renamed(&name), 1);
    }
    Ok(mirror.config.sidecar || limits.refuse(&name, bytes).is_none())
}

/// Whether a file that is parked because its case is full belongs to this one.
fn is_of(tx: &Tx<'_>, mirror: &Mirror, path: &RelPath, case: &CaseArn) -> Result<bool, JournalError> {
    let routed = mirror.route(tx, path, &Beside::Nothing)?;
    Ok(mirror.config.sidecar || routed.is_ok_and(|routed| routed.target.case == *case))
}

/// A case took a file: if it was found full before, all that wait for it go on.
///
/// # Errors
/// The journal's.
pub fn has_room(tx: &Tx<'_>, mirrors: &[Arc<Mirror>], case: &CaseArn, now: UnixMillis) -> Result<(), JournalError> {
    if !tx.remove_full_case(case)? {
        return Ok(());
    }
    for mirror in mirrors {
        for path in tx.parked_for(mirror.id, ParkCode::CaseFull.as_str(), usize::MAX)? {
            if is_of(tx, mirror, &path, case)? {
                record::unpark(tx, mirror.id, &path, ParkCode::CaseFull, "the case has room again", now)?;
            }
        }
    }
    Ok(())
}
