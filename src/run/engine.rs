//! The engine: journal, client, and one task each for delivery, the follow-up and every mirror.
//!
//! `run` keeps it going, `sync` waits for its end; both are the same engine. Order of the stop: mirrors and
//! delivery stop beginning things, delivery lets what is in flight end, the follow-up goes last.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::aws::{Client, Options};
use crate::clock::{self, Happened};
use crate::config::{self, Config, DeletePolicy};
use crate::control;
use crate::core::model::HoldCode;
use crate::crash::{self, Point};
use crate::deliver::{self, Delivery};
use crate::fatal::Fatal;
use crate::follow::Follow;
use crate::gate::Gate;
use crate::handover::HandoverLoop;
use crate::hooks::{self, Hooks};
use crate::host;
use crate::journal::{Journal, JournalError, Origin, Reader};
use crate::mirror::{MirrorLoop, Progress};
use crate::pulse::Pulses;
use crate::record;
use crate::resolve::Resolver;
use crate::truth;
use crate::types::UnixMillis;
use crate::weather::Weather;
use crate::world::{Mirror, World};

/// Completed attempts on their way to the follow-up.
const FOLLOW_DEPTH: usize = 1024;

/// How long a stop waits for hooks that run; together with delivery's grace below systemd's limit.
const HOOK_GRACE: Duration = Duration::from_secs(2);
/// How long a single pass goes on telling the hook what it did. What is left is told by the next one.
const DRAIN: Duration = Duration::from_secs(60);

/// A running engine.
pub struct Engine {
    pub world: Arc<World>,
    pub progress: Vec<Arc<Progress>>,
    pub pulses: Pulses,
    tasks: JoinSet<Result<(), JournalError>>,
    /// Whether one of the tasks is that of the hooks.
    hooks: bool,
    stop: CancellationToken,
    stop_follow: CancellationToken,
    /// Goes last of all: what the others did is still told.
    stop_hooks: CancellationToken,
    clock: clock::Watch,
    stepped: bool,
}

/// The way to AWS that the configuration describes; touches no network.
pub async fn client(config: &Config) -> Client {
    let connect = &config.connect;
    Client::connect(Options {
        region: connect.region().map(ToOwned::to_owned),
        profile: connect.profile.clone(),
        endpoint_url: connect.endpoint_url.clone(),
        cases_endpoint_url: connect.cases_endpoint_url.clone(),
        instance_id: connect.instance_id().to_owned(),
        requests_per_second: config.limits.requests_per_second,
        burst: config.limits.burst,
        bandwidth: config.limits.bandwidth,
        url_expiry: config.limits.url_expiry,
    })
    .await
}

/// What is wrong with the folders, but for roots that were good once: those are holds.
pub fn path_problems(config: &Config, reader: &Reader) -> Vec<config::Problem> {
    let has_begun = |mirror: &config::Mirror| reader.has_begun(&mirror.name, mirror.path.as_os_str().as_bytes());
    config.check_paths(&|mirror| has_begun(mirror).unwrap_or(false))
}

/// The id of the Cases domain where a mirror needs its ARN and only the service knows it.
pub fn unknown_domain(config: &Config) -> Option<String> {
    let needed = config.mirrors.iter().any(config::Mirror::needs_domain);
    let known = config.connect.domain_arn().is_some();
    (needed && !known).then(|| config.connect.domain_id().map(ToOwned::to_owned)).flatten()
}

/// Opens the journal and takes its lock.
pub async fn open_journal(path: &Path) -> Result<Journal, JournalError> {
    let path = path.to_owned();
    let shown = path.clone();
    let opened = crate::host::blocking(move || Journal::open(&path)).await;
    let journal = opened.unwrap_or_else(|error| Err(JournalError::internal(&error.to_string())))?;
    if journal.origin() == Origin::Fresh {
        tracing::info!("a first run: the journal {} begins", shown.display());
    }
    Ok(journal)
}

impl Engine {
    /// Starts every task.
    pub async fn start(config: &Config, journal: Journal, once: bool, grace: Duration) -> Result<Self, Fatal> {
        let problems = path_problems(config, &journal.reader()?);
        if !problems.is_empty() {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            return Err(Fatal::person(lines.join("\n")));
        }
        let mirrors = mirrors(config, &journal).await?;
        let (follow, completed) = mpsc::channel(FOLLOW_DEPTH);
        let world = Arc::new(World {
            aws: client(config).await,
            mirrors,
            weather: Weather::default(),
            work: Notify::new(),
            rest: Notify::new(),
            references: Notify::new(),
            limits: Mutex::new(None),
            refused: Notify::new(),
            looking_up: AtomicBool::new(false),
            follow,
            convert_folder: convert_folder(config).await?,
            uploads: config.limits.uploads_in_flight,
            domain_id: unknown_domain(config),
            asked: Notify::new(),
            requests_per_second: config.limits.requests_per_second,
            hide_names: config.log.hide_names,
            journal,
        });
        let mut engine = Self {
            progress: world.mirrors.iter().map(|_| Arc::default()).collect(),
            world: Arc::clone(&world),
            pulses: Pulses::default(),
            tasks: JoinSet::new(),
            hooks: config.hooks.is_some(),
            stop: CancellationToken::new(),
            stop_follow: CancellationToken::new(),
            stop_hooks: CancellationToken::new(),
            clock: clock::Watch::new(),
            stepped: false,
        };
        let gate = Gate::new(Arc::clone(&world))?;
        engine.tasks.spawn(gate.run(engine.stop.clone(), engine.pulses.add("settings")));
        let delivery = Delivery::new(Arc::clone(&world))?;
        engine.tasks.spawn(delivery.run(engine.stop.clone(), grace, engine.pulses.add("delivery")));
        let follow = Follow::new(Arc::clone(&world))?;
        engine.tasks.spawn(follow.run(completed, engine.stop_follow.clone(), engine.pulses.add("follow-up")));
        match &config.hooks {
            Some(hooks) => {
                let hooks = Hooks::new(Arc::clone(&world), hooks.clone()).await?;
                let grace = if once { DRAIN } else { HOOK_GRACE };
                let pulse = engine.pulses.add("hooks");
                engine.tasks.spawn(hooks.run(engine.stop_hooks.clone(), grace, once, pulse));
            }
            None => hooks::off(&world).await?,
        }
        if world.mirrors.iter().any(|mirror| mirror.config.uses_references()) {
            let resolver = Resolver::new(Arc::clone(&world))?;
            engine.tasks.spawn(resolver.run(engine.stop.clone(), engine.pulses.add("references")));
        }
        // Before the mirrors look: what a stop left half moved must not be taken for somebody's doing.
        for mirror in &world.mirrors {
            let one = HandoverLoop::new(Arc::clone(&world), Arc::clone(mirror), engine.stop.clone())?;
            engine.tasks.spawn(one.run(engine.pulses.add("hand-over")));
        }
        for (mirror, progress) in world.mirrors.iter().zip(&engine.progress) {
            let (world, mirror, progress) = (Arc::clone(&world), Arc::clone(mirror), Arc::clone(progress));
            let one = MirrorLoop::new(world, mirror, progress, engine.stop.clone(), once)?;
            engine.tasks.spawn(one.run(engine.pulses.add("mirror")));
        }
        if !once {
            let task = truth::task::run(Arc::clone(&world), engine.stop.clone(), engine.pulses.add("comparison"));
            engine.tasks.spawn(task);
            // Here and not in the task: a daemon that says it is ready can be asked.
            let socket = control::bind(&config.journal_path);
            let (world, stop) = (Arc::clone(&world), engine.stop.clone());
            engine.tasks.spawn(async move {
                match socket {
                    Some(socket) => control::listen(world, socket, stop).await,
                    None => stop.cancelled().await,
                }
                Ok(())
            });
        }
        Ok(engine)
    }

    /// Resolves when a task ended although nobody asked it to: the reason why the engine cannot go on.
    pub async fn broken(&mut self) -> Fatal {
        match self.tasks.join_next().await {
            Some(Ok(Err(error))) => error.into(),
            Some(Ok(Ok(()))) | None => Fatal::temporary("a part of the engine ended by itself".to_owned()),
            Some(Err(error)) => Fatal::temporary(format!("a part of the engine ended abnormally: {error}")),
        }
    }

    /// Whether every mirror has been looked at once.
    pub fn is_planned(&self) -> bool {
        self.progress.iter().all(|p| p.planned.load(Ordering::Acquire))
    }

    /// Whether everything on disk is in the journal.
    pub fn is_quiet(&self) -> bool {
        // In this order: a look-up rings the bells before it says that it is over, and a loop that takes what rang
        // is not quiet.
        let looking_up = self.world.looking_up.load(Ordering::Acquire);
        let ringing = self.world.mirrors.iter().any(|mirror| mirror.bell.is_ringing());
        !looking_up && !ringing && self.is_planned() && self.progress.iter().all(|p| p.quiet.load(Ordering::Acquire))
    }

    /// Shows credentials that AWS refuses as the hold `auth`, and ends it when a call was answered again.
    pub async fn show_auth(&self) -> Result<(), JournalError> {
        let refused = self.world.weather.refusal();
        for mirror in &self.world.mirrors {
            match &refused {
                Some(text) if !mirror.is_held_by(HoldCode::Auth) => {
                    mirror.begin_hold(&self.world.journal, HoldCode::Auth, text.clone()).await?;
                }
                Some(_) => {}
                None => {
                    if mirror.end_hold(&self.world.journal, HoldCode::Auth).await? {
                        mirror.bell.look_everywhere("the credentials are good again");
                    }
                }
            }
        }
        Ok(())
    }

    /// Looks whether the wall clock was stepped or the host slept, and sets right what goes by time.
    pub async fn watch_clock(&mut self) -> Result<(), JournalError> {
        match self.clock.look() {
            Happened::Nothing => {}
            Happened::Stepped(step) => {
                tracing::warn!(step_s = step / 1000, "the wall clock was stepped: what waits goes by time that passed");
                self.stepped = true;
            }
            Happened::Slept(slept) => {
                tracing::info!(slept_s = slept.as_secs(), "the host was asleep: looking everywhere");
                self.world.mirrors.iter().for_each(|mirror| mirror.bell.look_everywhere("the host was asleep"));
            }
        }
        if self.stepped {
            // Not forgotten if the journal cannot take it now: the next full pass does the same.
            self.world.journal.write(|tx| record::keep_time(tx, clock::read().as_ref())).await?;
            self.stepped = false;
            self.world.work.notify_one();
        }
        Ok(())
    }

    /// Stops in order and gives the journal back.
    pub async fn stop(mut self) -> Journal {
        self.stop.cancel();
        // Delivery hands its last completed attempts over before the follow-up goes, and then the hooks.
        self.wait_for_all_but(1 + usize::from(self.hooks)).await;
        self.stop_follow.cancel();
        self.wait_for_all_but(usize::from(self.hooks)).await;
        self.stop_hooks.cancel();
        self.wait_for_all_but(0).await;
        self.world.journal.clone()
    }

    /// A disk that hangs makes it long: what is put off meanwhile goes by a clock that is looked after.
    async fn wait_for_all_but(&mut self, left: usize) {
        while self.tasks.len() > left {
            tokio::select! {
                biased;
                _ = self.tasks.join_next() => {}
                () = host::time::sleep(super::TICK) => {
                    if let Err(error) = self.watch_clock().await {
                        tracing::debug!("the clock was not looked at: {error}");
                    }
                }
            }
        }
    }
}

/// The folder of conversions beside the journal, without what the last stop left there.
async fn convert_folder(config: &Config) -> Result<PathBuf, Fatal> {
    let mut name = config.journal_path.as_os_str().to_owned();
    name.push(".convert");
    let folder = PathBuf::from(name);
    let emptied = folder.clone();
    let cleaned = crate::host::blocking(move || deliver::clean(&emptied)).await;
    if let Ok(Err(error)) = cleaned {
        let text = format!("the folder of conversions {} cannot be emptied: {error}", folder.display());
        return Err(Fatal::person(text));
    }
    Ok(folder)
}

/// The mirrors as the journal knows them, after what a stop left open was recovered.
async fn mirrors(config: &Config, journal: &Journal) -> Result<Vec<Arc<Mirror>>, Fatal> {
    let wanted: Vec<(String, Vec<u8>)> =
        config.mirrors.iter().map(|m| (m.name.clone(), m.path.as_os_str().as_bytes().to_vec())).collect();
    let keeps = |mirror: &config::Mirror| (mirror.delete == DeletePolicy::Keep).then_some(mirror.ingest.is_some());
    let keeps: Vec<Option<bool>> = config.mirrors.iter().map(keeps).collect();
    crash::at(Point::RecoverBefore);
    let (step, given_up, rows) = journal
        .write(move |tx| {
            let step = record::keep_time(tx, clock::read().as_ref())?;
            let now = UnixMillis::now();
            let given_up = record::recover(tx, now)?;
            let rows = record::known_mirrors(tx, &wanted, now)?;
            for (row, keeps) in rows.iter().zip(keeps) {
                if let Some(ingest) = keeps {
                    record::keep_all(tx, row.id, ingest, now)?;
                }
            }
            Ok((step, given_up, rows))
        })
        .await?;
    crash::at(Point::RecoverAfter);
    if step != 0 {
        tracing::info!(
            step_s = step / 1000,
            "the wall clock shows another time than has passed since the last run, or the host was off: what waits goes by \
             time that passed for certain"
        );
    }
    if given_up > 0 {
        tracing::info!("{given_up} uploads were cut off by the last stop; each gets a fresh attempt");
    }
    let domain = config.connect.domain_arn();
    let mut mirrors = Vec::with_capacity(rows.len());
    for (mirror, row) in config.mirrors.iter().zip(rows) {
        for hold in row.holds.iter().filter(|hold| hold.code == HoldCode::JournalRebuilt) {
            tracing::warn!(mirror = %mirror.name, hold = %hold.code, "held: {}. {}", hold.detail, hold.code.remedy());
        }
        mirrors.push(Arc::new(Mirror::new(row.id, mirror.clone(), domain.clone(), row.holds)));
    }
    Ok(mirrors)
}
