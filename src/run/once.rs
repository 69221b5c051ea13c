//! `sync`: one full pass to its end, then a summary.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::GRACE;
use super::engine::{Engine, open_journal};
use crate::config::Config;
use crate::core::model::{Attachment, EventKind, Hold, HoldCode, MirrorId, ParkCode, Stage};
use crate::fatal::Fatal;
use crate::handover;
use crate::journal::{Counts, EventFilter, JournalError, Reader, View};
use crate::types::{RelPath, UnixMillis};
use crate::weather::Trouble;

/// How often the end is looked for while no loop comes to rest.
const TICK: Duration = Duration::from_millis(100);
/// What is to be tried again later than this is left to the next pass.
const HORIZON: Duration = Duration::from_secs(120);
/// A scan that takes longer is left to the next pass.
const LONGEST_SCAN: Duration = Duration::from_secs(15 * 60);
/// Probes of a fault of the environment before giving up: about half a minute offline; credentials do not heal.
const OFFLINE_PROBES: u32 = 5;
const CREDENTIAL_PROBES: u32 = 1;

/// Where a pass stands.
#[derive(Debug, Clone)]
pub struct Progress {
    /// `looking`, `settling`, `delivering`, `following up`.
    pub phase: &'static str,
    /// Bytes that became visible in this pass.
    pub bytes_done: u64,
    /// Files that became visible in this pass.
    pub files_done: u64,
    /// The same, and those on their way.
    pub files_total: u64,
}

/// What a pass came to.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    pub attached: u64,
    pub moved: u64,
    pub deleted: u64,
    pub unchanged: u64,
    /// Archived or removed here, their delivery proven.
    pub handed_over: u64,
    pub quarantined: u64,
    /// Mirror, file, code, what the service said.
    pub parked: Vec<(String, RelPath, ParkCode, Option<String>)>,
    /// Files without a case: mirror, reason, how many.
    pub unrouted: Vec<(String, String, u64)>,
    /// Deletes that wait for the end of their grace: mirror, file, when.
    pub waiting_deletes: Vec<(String, RelPath, UnixMillis)>,
    /// Files that agents can see, or that were refused, and that could not be moved away here: mirror, file, why.
    pub handovers: Vec<(String, RelPath, String)>,
    /// Files that a later pass has to go on with.
    pub unfinished: u64,
    pub holds: Vec<(String, Hold)>,
    /// The environment, not the files, kept the pass from ending.
    pub temporary: Option<String>,
    /// AWS refused the credentials.
    pub auth: bool,
    /// Bytes that became visible.
    pub bytes: u64,
    pub elapsed: Duration,
}

/// Runs one pass. `progress` is called several times a second.
///
/// # Errors
/// What kept the pass from beginning, or broke the engine.
pub async fn once(config: Config, mut progress: Box<dyn FnMut(&Progress) + Send>) -> Result<Summary, Fatal> {
    let (began, since) = (Instant::now(), UnixMillis::now());
    let mut stops = super::signals::Stops::new();
    // Without it nothing could be looked at, and the pass would seem well done.
    super::lookup_domain(&config).await?;
    let journal = open_journal(&config.journal_path).await?;
    let reader = journal.reader()?;
    let first_event = reader.last_event_id()?;
    let mut engine = Engine::start(&config, journal, true, GRACE).await?;
    let world = Arc::clone(&engine.world);
    let mut cut_short = None;
    loop {
        tokio::select! {
            fatal = engine.broken() => {
                // What is under way is in the journal; the next pass goes on.
                return Err(fatal);
            }
            () = stops.next() => {
                cut_short = Some("stopped by a signal; the next pass goes on".to_owned());
                break;
            }
            () = world.rest.notified() => {}
            () = tokio::time::sleep(TICK) => {}
        }
        engine.show_auth().await?;
        engine.watch_clock().await?;
        // Before the journal is asked: what the mirrors had planned by then is in the answer.
        let quiet = engine.is_quiet();
        let state = state(&reader, since, &engine)?;
        progress(&state.progress(&engine));
        if let Some((trouble, probes, text)) = engine.world.weather.trouble() {
            let refused = matches!(trouble, Trouble::Credentials | Trouble::Clock);
            let enough = if refused { CREDENTIAL_PROBES } else { OFFLINE_PROBES };
            if probes >= enough {
                cut_short = Some(text);
                break;
            }
        } else if quiet && state.is_over() {
            break;
        }
    }
    let auth = engine.world.weather.refusal().is_some();
    let names: Vec<_> = engine.world.mirrors.iter().map(|m| (m.id, m.config.clone(), m.holds())).collect();
    let journal = engine.stop().await;
    let mut summary = Summary { temporary: cut_short, auth, elapsed: began.elapsed(), ..Summary::default() };
    let (files, bytes) = reader.approved_since(since)?;
    (summary.attached, summary.bytes) = (files, bytes);
    count_events(&reader, first_event, &mut summary)?;
    for (id, config, holds) in names {
        let counts = reader.counts(Some(id))?;
        let count =
            |words: &[&str]| counts.iter().filter(|(word, _)| words.contains(word)).map(|(_, n)| n).sum::<u64>();
        // The list of a verdict is found by reading past all others.
        let rows = |word: &str| match count(&[word]) {
            0 => Ok(Vec::new()),
            _ => reader.files_with(id, word, None, usize::MAX),
        };
        for row in rows("parked")? {
            if let crate::core::model::Verdict::Parked(code) = row.verdict {
                summary.parked.push((config.name.clone(), row.path, code, row.note));
            }
        }
        for (reason, files) in reader.unrouted_reasons(id)? {
            summary.unrouted.push((config.name.clone(), reason, files));
        }
        for row in rows("deleting")? {
            match row.absent_since {
                Some(absent) => {
                    summary.waiting_deletes.push((config.name.clone(), row.path, absent.plus(config.delete_grace)))
                }
                None => summary.unfinished += 1,
            }
        }
        for h in reader.open_handovers(id, None, usize::MAX)? {
            let why = h.last_error.unwrap_or_else(|| "it was cut short".to_owned());
            summary.handovers.push((config.name.clone(), h.path, why));
        }
        summary.unfinished += count(&["settling", "queued", "uploading", "scanning"]);
        summary.holds.extend(holds.into_iter().map(|hold| (config.name.clone(), hold)));
    }
    drop(reader);
    let closed = crate::host::blocking(move || journal.close()).await;
    drop(closed);
    Ok(summary)
}

/// The journal's answer to "is it over?".
struct State {
    counts: Counts,
    files: u64,
    bytes: u64,
    /// Attempts and deletes due within the horizon that nothing holds.
    due: bool,
    scanning: bool,
    /// A start call or an upload is under way.
    in_flight: bool,
}

fn state(reader: &Reader, since: UnixMillis, engine: &Engine) -> Result<State, JournalError> {
    let mirrors: Vec<_> = engine.world.mirrors.iter().map(|m| (m.id, Arc::clone(m))).collect();
    reader.at_one_moment(|view: &View| {
        let now = UnixMillis::now();
        let soon = now.plus(HORIZON);
        let (files, bytes) = view.approved_since(since)?;
        // What a hold stops waits for a person, and what belongs to no configured mirror for its return.
        let waits = |mirror: MirrorId, _: &RelPath| {
            mirrors.iter().find(|(id, _)| *id == mirror).is_none_or(|(_, m)| m.any_hold(HoldCode::stops_uploads))
        };
        let goes_on =
            |a: &Attachment| mirrors.iter().find(|(id, _)| *id == a.mirror).is_some_and(|(_, m)| !m.holds_back(a));
        let due = !view.queued(soon, 1, &waits)?.is_empty()
            || !view.attachments_due(Stage::Deleting, soon, 1, &goes_on)?.is_empty()
            || !view.attachments_due(Stage::Stored, soon, 1, &goes_on)?.is_empty();
        let mut handing_over = false;
        for mirror in engine.world.mirrors.iter().filter(|m| !m.stops_uploads()) {
            let policy = mirror.handover_policy();
            handing_over |= !handover::pending(view, mirror.id, policy.as_ref(), now, 1)?.is_empty()
                && mirror.handover_fault().is_none();
        }
        let oldest_scan = view.attachments_in_stage(Stage::Completed, None, 1)?;
        Ok(State {
            counts: view.counts(None)?,
            files,
            bytes,
            due: due || handing_over,
            in_flight: !view.attachments_in_stage(Stage::Started, None, 1)?.is_empty()
                || view.attachments_in_stage(Stage::Planned, None, usize::MAX)?.iter().any(|a| a.start_open),
            scanning: oldest_scan.iter().any(|a| a.age(now) < LONGEST_SCAN),
        })
    })
}

impl State {
    fn count(&self, word: &str) -> u64 {
        self.counts.iter().filter(|(w, _)| *w == word).map(|(_, n)| n).sum()
    }

    fn progress(&self, engine: &Engine) -> Progress {
        let open: u64 = ["settling", "queued", "uploading", "scanning"].iter().map(|word| self.count(word)).sum();
        let phase = if !engine.is_planned() {
            "looking"
        } else if self.count("queued") + self.count("uploading") > 0 {
            "delivering"
        } else if self.count("scanning") > 0 {
            "following up"
        } else {
            "settling"
        };
        Progress { phase, bytes_done: self.bytes, files_done: self.files, files_total: self.files + open }
    }

    /// Nothing is on its way that this pass could still bring to its end. A held mirror's work waits for a person.
    fn is_over(&self) -> bool {
        !self.in_flight && !self.scanning && !self.due
    }
}

fn count_events(reader: &Reader, first: i64, summary: &mut Summary) -> Result<(), JournalError> {
    const PAGE: usize = 1000;
    let mut after = first;
    loop {
        let filter = EventFilter { after_id: Some(after), limit: Some(PAGE), ..EventFilter::default() };
        let events = reader.events(&filter)?;
        for event in &events {
            match event.kind {
                EventKind::Moved => summary.moved += 1,
                EventKind::Deleted => {
                    let absent = event.detail.get("text").and_then(|t| t.as_str()) == Some(crate::core::plan::ABSENT);
                    summary.deleted += u64::from(absent);
                }
                EventKind::Unchanged => summary.unchanged += 1,
                EventKind::Archived | EventKind::Removed => summary.handed_over += 1,
                EventKind::Quarantined => summary.quarantined += 1,
                _ => {}
            }
        }
        match events.last() {
            Some(last) if events.len() == PAGE => after = last.id,
            _ => return Ok(()),
        }
    }
}
