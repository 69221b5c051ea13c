//! Hooks: a program of the user's is told what happened to files and mirrors.
//!
//! Contract: at least once, from the journal. A cursor walks the audit trail; in one transaction it moves on and a
//! delivery with its number and its whole text is written down. The delivery is removed when the program has ended
//! with exit code 0; until then it is tried again, with the same number and the same text, also after a kill. About
//! one file, and about one mirror, deliveries are made in the order of the events, one after the other. Nothing here
//! delays the work on files: own task, own slots, and beyond [`MOST_OPEN`] deliveries the cursor just waits.
//!
//! What happened while hooks were off is never told: the first start with hooks begins at the end of the audit trail.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::child::{self, Program, Ran};
use crate::config;
use crate::core::hook::{self, HookEvent, Payload};
use crate::core::model::{Event, HoldCode, MirrorId, ParkCode, Verdict};
use crate::core::sidecar::Beside;
use crate::crash::{self, Point};
use crate::host::time::{self, Instant};
use crate::journal::{EventFilter, HookDelivery, JournalError, Reader};
use crate::pulse::Pulse;
use crate::types::{RelPath, UnixMillis};
use crate::world::{Routed, World};

/// Programs at once.
const SLOTS: usize = 4;
/// Deliveries written down at once; what is beyond stays in the audit trail.
const MOST_OPEN: usize = 1000;
/// Events looked at in one go.
const PAGE: usize = 500;
/// How often the audit trail is looked at.
const TICK: Duration = Duration::from_millis(500);
/// A cursor that passed only events of no interest is written down this seldom.
const LAZY_CURSOR: i64 = 5000;
/// Lines of the program's output in the log, for each run.
const MOST_LINES: usize = 20;
/// Between two starts when the program cannot be started, and between two log lines about it.
const LONGEST_REST: Duration = Duration::from_secs(300);

/// What deliveries of one kind share: their order is kept.
type Key = (MirrorId, Option<RelPath>);

/// The task's own state; all of it can be lost.
pub struct Hooks {
    world: Arc<World>,
    config: config::Hooks,
    reader: Reader,
    /// Events up to this one have been looked at; the journal may be behind by some of no interest.
    cursor: i64,
    saved: i64,
    jobs: JoinSet<Started>,
    running: HashMap<Id, (i64, Key)>,
    /// The program could not be started: not before this time again.
    rest: Option<(Instant, Duration)>,
    cut: CancellationToken,
}

/// Whether the program could be started.
enum Started {
    Yes,
    No(String),
}

impl Hooks {
    /// Takes up where the journal's cursor stands; without one, at the end of the audit trail.
    ///
    /// # Errors
    /// The journal's.
    pub async fn new(world: Arc<World>, config: config::Hooks) -> Result<Self, JournalError> {
        let reader = world.journal.reader()?;
        let cursor = match reader.hook_cursor()? {
            Some(cursor) => cursor,
            None => {
                world
                    .journal
                    .write(|tx| {
                        let last = tx.last_event_id()?;
                        tx.set_hook_cursor(last)?;
                        Ok(last)
                    })
                    .await?
            }
        };
        Ok(Self {
            world,
            config,
            reader,
            cursor,
            saved: cursor,
            jobs: JoinSet::new(),
            running: HashMap::new(),
            rest: None,
            cut: CancellationToken::new(),
        })
    }

    /// Runs until `stop`, then for `grace` at most: with `drain` until everything that happened has been told once,
    /// else until the programs that run have ended.
    ///
    /// # Errors
    /// The journal can no longer be read.
    pub async fn run(
        mut self,
        stop: CancellationToken,
        grace: Duration,
        drain: bool,
        pulse: Pulse,
    ) -> Result<(), JournalError> {
        loop {
            pulse.beat();
            self.turn().await?;
            tokio::select! {
                // In this order, so that a stop is heard among many ends. Dropping any of these loses nothing: the journal
                // is asked again.
                biased;
                () = stop.cancelled() => break,
                Some(ended) = self.jobs.join_next_with_id() => self.ended(ended),
                () = time::sleep(TICK) => {}
            }
        }
        let began = Instant::now();
        while began.elapsed() < grace {
            if drain {
                self.turn().await?;
            }
            let left = grace.saturating_sub(began.elapsed());
            match time::timeout(left, self.jobs.join_next_with_id()).await {
                Ok(Some(ended)) => self.ended(ended),
                Ok(None) | Err(_) => break,
            }
        }
        self.cut.cancel();
        while self.jobs.join_next().await.is_some() {}
        let (cursor, saved) = (self.cursor, self.saved);
        if cursor > saved {
            self.world.journal.write(move |tx| tx.set_hook_cursor(cursor)).await?;
        }
        Ok(())
    }

    /// Writes down what is new and starts what is due.
    async fn turn(&mut self) -> Result<(), JournalError> {
        match self.collect().await {
            // A full disk passes, and the events stay where they are.
            Err(error) if error.is_passing() => self.world.journal_trouble(&error),
            other => other?,
        }
        self.start_due()
    }

    async fn collect(&mut self) -> Result<(), JournalError> {
        loop {
            let open = self.reader.hook_deliveries()?.len();
            if open >= MOST_OPEN {
                return Ok(());
            }
            let filter = EventFilter { after_id: Some(self.cursor), limit: Some(PAGE), ..EventFilter::default() };
            let events = self.reader.events(&filter)?;
            let Some(last) = events.last().map(|event| event.id) else { return Ok(()) };
            let mut deliveries = Vec::new();
            for event in &events {
                if let Some(what) = HookEvent::of(event, &self.config.on) {
                    deliveries.push(self.delivery(event, what)?);
                }
            }
            if !deliveries.is_empty() || last - self.saved >= LAZY_CURSOR {
                self.world
                    .journal
                    .write(move |tx| {
                        deliveries.iter().try_for_each(|(delivery, text)| tx.add_hook_delivery(delivery, text))?;
                        tx.set_hook_cursor(last)
                    })
                    .await?;
                self.saved = last;
            }
            self.cursor = last;
            if events.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// The delivery of one event, with the text that stays the same at every try.
    fn delivery(&self, event: &Event, what: HookEvent) -> Result<(HookDelivery, String), JournalError> {
        let payload = self.payload(event, what)?;
        let delivery = HookDelivery {
            event: event.id,
            delivery: payload.delivery.clone(),
            mirror: event.mirror,
            path: event.path.clone(),
            kind: what.as_str().to_owned(),
            tries: 0,
            next_attempt: UnixMillis::now(),
            last_error: None,
        };
        let text = serde_json::to_string(&payload).map_err(|e| JournalError::internal(&e.to_string()))?;
        Ok((delivery, text))
    }

    fn payload(&self, event: &Event, what: HookEvent) -> Result<Payload, JournalError> {
        let word = |key: &str| event.detail.get(key).and_then(serde_json::Value::as_str).map(ToOwned::to_owned);
        let mirror = self.reader.mirror(event.mirror)?;
        let (name, root) = mirror.map_or_else(Default::default, |row| (row.name, row.root));
        let mut payload = Payload {
            version: 1,
            delivery: number()?,
            event: what.as_str(),
            time: event.at.to_string(),
            event_id: event.id,
            host: host(),
            mirror: name,
            root: std::path::PathBuf::from(OsString::from_vec(root)).to_string_lossy().into_owned(),
            code: word("code"),
            hold: word("hold"),
            text: word("text").filter(|text| !text.is_empty()),
            remedy: word("remedy"),
            ..Payload::default()
        };
        if what == HookEvent::Rejected {
            payload.code = Some(ParkCode::Rejected.as_str().to_owned());
        }
        if payload.remedy.is_none() {
            let park = payload.code.as_deref().and_then(ParkCode::parse).map(ParkCode::remedy);
            let hold = payload.hold.as_deref().and_then(HoldCode::parse).map(HoldCode::remedy);
            let remedy = if what == HookEvent::Recovered { None } else { park.or(hold) };
            payload.remedy = remedy.map(ToOwned::to_owned);
        }
        let Some(path) = &event.path else { return Ok(payload) };
        let shown = path.to_string();
        if shown.as_bytes() != path.as_bytes() {
            payload.path_hex = Some(path.as_bytes().iter().map(|b| format!("{b:02x}")).collect());
        }
        payload.path = Some(shown);
        let row = self.reader.file(event.mirror, path)?;
        // Only what the event speaks of: the file may be another one by now.
        let row = row.filter(|row| match (what, &row.verdict) {
            (HookEvent::Parked, Verdict::Parked(code)) => Some(code.as_str()) == payload.code.as_deref(),
            (HookEvent::Unrouted, Verdict::Unrouted(reason)) => Some(reason) == payload.code.as_ref(),
            _ => false,
        });
        let attachment = match event.attachment {
            Some(id) => self.reader.attachment(id)?,
            None => {
                let all = self.reader.attachments_of(event.mirror, path)?;
                let version = row.as_ref().and_then(|row| row.version());
                all.into_iter().rev().find(|a| a.created_at <= event.at && Some(a.version) == version)
            }
        };
        if let Some(row) = &row {
            payload.size = Some(row.stat.size);
            payload.sha256 = row.hash.map(|hash| hash.to_string());
        }
        if let Some(a) = attachment {
            let sent = self.reader.converted(a.id)?;
            payload.sent_size = sent.map(|sent| sent.size);
            payload.sent_sha256 = sent.map(|sent| sent.hash.to_string());
            payload.reference = self.reader.reference_of(event.mirror, &a.case)?;
            payload.case_id = Some(a.case.case_id().to_owned());
            payload.case = Some(a.case.as_str().to_owned());
            payload.file_id = a.file_id.map(|id| id.as_str().to_owned());
            payload.name = Some(a.name);
            payload.size = Some(a.version.size);
            payload.sha256 = Some(a.version.hash.to_string());
            payload.attempt = Some(a.attempt);
        } else if let Some(mirror) = self.world.mirror(event.mirror)
            && let Ok(Routed { target, .. }) = mirror.route(&self.reader, path, &Beside::Nothing)?
        {
            // A sidecar is not read here: without an attachment it is the path that speaks.
            payload.reference = self.reader.reference_of(event.mirror, &target.case)?;
            payload.case_id = Some(target.case.case_id().to_owned());
            payload.case = Some(target.case.as_str().to_owned());
            payload.name = Some(target.name);
        }
        Ok(payload)
    }

    /// Starts what is due: in the order of the events, for each file and each mirror only the first that is left.
    fn start_due(&mut self) -> Result<(), JournalError> {
        if self.rest.is_some_and(|(until, _)| Instant::now() < until) {
            return Ok(());
        }
        let now = UnixMillis::now();
        let mut before: HashSet<Key> = self.running.values().map(|(_, key)| key.clone()).collect();
        for delivery in self.reader.hook_deliveries()? {
            if self.running.len() >= SLOTS {
                break;
            }
            let key = (delivery.mirror, delivery.path.clone());
            if !before.insert(key.clone()) || delivery.next_attempt > now {
                continue;
            }
            let Some(payload) = self.reader.hook_payload(delivery.event)? else { continue };
            let event = delivery.event;
            let job = deliver(Arc::clone(&self.world), self.config.clone(), delivery, payload, self.cut.clone());
            let handle = self.jobs.spawn(job);
            self.running.insert(handle.id(), (event, key));
        }
        Ok(())
    }

    fn ended(&mut self, ended: Result<(Id, Started), tokio::task::JoinError>) {
        let (id, started) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!("a hook's job ended abnormally: {error}; it is delivered again");
                (error.id(), Started::Yes)
            }
        };
        self.running.remove(&id);
        match started {
            Started::Yes => {
                if self.rest.take().is_some() {
                    tracing::info!("the hook's program can be started again");
                }
            }
            Started::No(error) => {
                let first = self.rest.is_none();
                let rest = self.rest.map_or(Duration::from_secs(1), |(_, rest)| (rest * 2).min(LONGEST_REST));
                self.rest = Some((Instant::now() + rest, rest));
                if first || rest >= LONGEST_REST {
                    let program = self.config.command.first().map(|p| p.to_string_lossy().into_owned());
                    tracing::warn!(
                        program,
                        "the hook's program cannot be started: {error}; what happens is kept and told later"
                    );
                }
            }
        }
    }
}

/// One try of one delivery, its outcome in the journal.
async fn deliver(
    world: Arc<World>,
    config: config::Hooks,
    delivery: HookDelivery,
    payload: String,
    cut: CancellationToken,
) -> Started {
    let tries = delivery.tries + 1;
    let env = environment(&delivery, &payload, tries);
    let program = Program {
        argv: &config.command,
        env: &env,
        input: format!("{payload}\n").into_bytes(),
        timeout: config.timeout,
    };
    let ran = child::run(program, &cut).await;
    let (event, kind, number) = (delivery.event, delivery.kind.as_str(), delivery.delivery.as_str());
    let file = delivery.path.as_ref().map(|path| world.show(path));
    let written = match ran {
        Ran::Done { said } => {
            tell(&world, &said, kind, number);
            tracing::debug!(kind, file, delivery = number, tries, "the hook has taken it");
            crash::at(Point::HookTold);
            world.journal.write(move |tx| tx.hook_done(event)).await
        }
        Ran::Failed { why, said } => {
            tell(&world, &said, kind, number);
            let now = UnixMillis::now();
            let next = (tries < hook::MOST_TRIES).then(|| now.plus(hook::pause(tries)));
            match next {
                None => tracing::error!(kind, file, delivery = number, tries, "the hook failed: {why}; given up"),
                Some(at) if tries == 1 => {
                    tracing::warn!(kind, file, delivery = number, "the hook failed: {why}; tried again at {at}")
                }
                Some(at) => {
                    tracing::debug!(kind, file, delivery = number, tries, "the hook failed: {why}; again at {at}")
                }
            }
            world.journal.write(move |tx| tx.hook_failed(event, tries, next, &why, now)).await
        }
        Ran::NotStarted(error) => return Started::No(error.to_string()),
        Ran::CutOff => {
            tracing::info!(
                kind,
                file,
                delivery = number,
                "the hook was ended because casedrop stops; it is called again"
            );
            return Started::Yes;
        }
    };
    if let Err(error) = written {
        // It is delivered again.
        world.journal_trouble(&error);
    }
    Started::Yes
}

/// Hooks are not configured: what happens from now on is told to nobody, also not later.
///
/// # Errors
/// The journal's.
pub async fn off(world: &World) -> Result<(), JournalError> {
    if world.journal.reader()?.hook_state()?.is_none() {
        return Ok(());
    }
    let dropped = world.journal.write(|tx| tx.hooks_off()).await?;
    tracing::info!("hooks are off; {dropped} deliveries that were not taken are dropped");
    Ok(())
}

/// What the program said, into the log. It may hold names of files, so it stays out where these do.
fn tell(world: &World, said: &str, kind: &str, delivery: &str) {
    let lines = child::last_lines(said, MOST_LINES);
    if world.hide_names && !lines.is_empty() {
        tracing::info!(kind, delivery, lines = lines.len(), "the hook's output is not shown (log.hide_names)");
        return;
    }
    for line in lines {
        tracing::info!(kind, delivery, "the hook says: {line}");
    }
}

/// The few things that a shell script wants at hand; the whole is on standard input.
fn environment(delivery: &HookDelivery, payload: &str, tries: u32) -> Vec<(&'static str, OsString)> {
    let payload: serde_json::Value = serde_json::from_str(payload).unwrap_or_default();
    let text = |key: &str| payload.get(key).and_then(serde_json::Value::as_str).map(OsString::from);
    let mut env = vec![
        ("CASEDROP_HOOK_VERSION", OsString::from("1")),
        ("CASEDROP_EVENT", OsString::from(&delivery.kind)),
        ("CASEDROP_DELIVERY", OsString::from(&delivery.delivery)),
        ("CASEDROP_TRY", OsString::from(tries.to_string())),
    ];
    if let Some(path) = &delivery.path {
        env.push(("CASEDROP_PATH", std::ffi::OsStr::from_bytes(path.as_bytes()).to_owned()));
    }
    let named = [
        ("CASEDROP_MIRROR", "mirror"),
        ("CASEDROP_CASE_ID", "case_id"),
        ("CASEDROP_FILE_ID", "file_id"),
        ("CASEDROP_CODE", "code"),
        ("CASEDROP_HOLD", "hold"),
    ];
    env.extend(named.into_iter().filter_map(|(name, key)| Some((name, text(key)?))));
    env
}

/// A number that no other delivery has, on no host.
fn number() -> Result<String, JournalError> {
    let mut bytes = [0; 16];
    crate::host::random_bytes(&mut bytes)
        .map_err(|e| JournalError::internal(&format!("no random numbers from the system: {e}")))?;
    Ok(crate::types::ClientToken::from_random(bytes).to_string())
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
