//! The life of the daemon: start, readiness, reload, watchdog, stop.
//!
//! Shutdown is a courtesy; crash safety is the journal's. SIGTERM lets what is in flight end for [`GRACE`]; a
//! second signal ends at once. SIGHUP reads the configuration again and, if it is good, starts the engine anew on
//! the same journal; a bad one is refused and the old one stays in force.

/// Also driven by the simulation.
pub mod engine;
mod once;
pub mod signals;

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

pub use engine::{client, path_problems};
pub use once::{Progress, Summary, once};

use crate::aws::{Next, Usage};
use crate::config::Config;
use crate::crash::{self, Point};
use crate::fatal::Fatal;
use crate::host::time::{self, Instant};
use crate::journal::{Journal, JournalError, Reader};
use engine::Engine;

/// How long a stop waits for uploads in flight; below systemd's own limit of 30 s.
const GRACE: Duration = Duration::from_secs(25);
/// How often holds, status line and watchdog are looked after.
const TICK: Duration = Duration::from_secs(1);
/// The status line is written at most this often.
const STATUS_GAP: Duration = Duration::from_secs(5);

/// Reads the configuration again.
pub type Reload = Box<dyn Fn() -> Result<Config, String> + Send>;

/// Why the engine was left.
enum Left {
    Stopped,
    Reloaded(Box<Config>),
}

/// The daemon, until a signal ends it.
///
/// # Errors
/// What kept it from starting, or broke it.
pub async fn daemon(mut config: Config, reload: Reload) -> Result<(), Fatal> {
    let (mut stops, mut reloads) = (signals::Stops::new(), signals::Reloads::new());
    let mut journal = engine::open_journal(&config.journal_path).await?;
    loop {
        let engine = Engine::start(&config, journal, false, GRACE).await?;
        let (left, back) = turn(engine, &config, &reload, &mut stops, &mut reloads).await?;
        journal = back;
        crash::at(Point::ReloadStopped);
        match left {
            Left::Reloaded(next) => config = *next,
            Left::Stopped => break,
        }
    }
    let closed = crate::host::blocking(move || journal.close()).await;
    drop(closed);
    Ok(())
}

/// One configuration's turn.
async fn turn(
    mut engine: Engine,
    config: &Config,
    reload: &Reload,
    stops: &mut signals::Stops,
    reloads: &mut signals::Reloads,
) -> Result<(Left, Journal), Fatal> {
    let names: Vec<&str> = config.mirrors.iter().map(|m| m.name.as_str()).collect();
    tracing::info!(mirrors = names.join(", "), journal = %config.journal_path.display(), "started");
    let reader = engine.world.journal.reader()?;
    let (mut ready, mut told, mut fed) = (false, Instant::now(), Instant::now());
    let mut stuck_since: Option<Instant> = None;
    let world = Arc::clone(&engine.world);
    let left = loop {
        tokio::select! {
            fatal = engine.broken() => {
                tracing::error!("{fatal}");
                engine.stop().await;
                return Err(fatal);
            }
            () = stops.next() => break Left::Stopped,
            () = reloads.next() => {
                if let Some(next) = reloaded(config, reload, &reader) {
                    break Left::Reloaded(Box::new(next));
                }
            }
            // Readiness is told at once.
            () = world.rest.notified(), if !ready => {}
            () = time::sleep(TICK) => {}
        }
        if let Err(error) = engine.world.journal.in_place() {
            // What goes on now would be known to nobody after the stop.
            tracing::error!("{error}");
            engine.stop().await;
            return Err(error.into());
        }
        let looked_after = match engine.show_auth().await {
            Ok(()) => engine.watch_clock().await,
            failed => failed,
        };
        if let Err(error) = looked_after {
            engine.world.journal_trouble(&error);
        }
        if !ready && engine.is_planned() {
            ready = true;
            notify(&[NotifyState::Ready, NotifyState::Status(&status(&reader, &engine.world.aws.usage()))]);
            tracing::info!("ready: {}", status(&reader, &engine.world.aws.usage()));
        } else if ready && told.elapsed() >= STATUS_GAP {
            told = Instant::now();
            notify(&[NotifyState::Status(&status(&reader, &engine.world.aws.usage()))]);
        }
        if let Some(limit) = watchdog_limit()
            && fed.elapsed() >= limit / 4
        {
            match engine.pulses.check() {
                Ok(()) => {
                    fed = Instant::now();
                    stuck_since = None;
                    notify(&[NotifyState::Watchdog]);
                }
                Err(name) => {
                    let since = *stuck_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= limit / 4 {
                        stuck_since = Some(Instant::now());
                        tracing::warn!("the {name} loop has not turned for {} s", fed.elapsed().as_secs());
                    }
                }
            }
        }
    };
    if matches!(left, Left::Stopped) {
        notify(&[NotifyState::Stopping]);
        tracing::info!("stopping: uploads in flight have {} s to end; a second signal ends at once", GRACE.as_secs());
    }
    for lane in engine.world.aws.usage().iter().filter(|lane| lane.calls > 0) {
        tracing::info!(op = %lane.op, calls = lane.calls, throttled = lane.throttled, failed = lane.errors, "calls made");
    }
    tracing::info!(commits = engine.world.journal.commits(), "journal commits, each one fsync");
    drop(reader);
    tokio::select! {
        journal = engine.stop() => Ok((left, journal)),
        () = stops.next() => Err(Fatal::temporary("stopped at once by a second signal; nothing is lost".to_owned())),
    }
}

/// The new configuration, if it can take the old one's place.
fn reloaded(config: &Config, reload: &Reload, reader: &Reader) -> Option<Config> {
    let next = match reload() {
        Ok(next) => next,
        Err(problems) => {
            tracing::error!("the configuration is not reloaded, the old one stays in force:\n{problems}");
            return None;
        }
    };
    let paths: Vec<String> = engine::path_problems(&next, reader).iter().map(ToString::to_string).collect();
    if !paths.is_empty() {
        tracing::error!("the configuration is not reloaded, the old one stays in force:\n{}", paths.join("\n"));
        return None;
    }
    if next.journal_path != config.journal_path {
        tracing::error!("the configuration is not reloaded: another journal needs a restart");
        return None;
    }
    // The new engine would refuse it, when the old one is gone already (invariant 20).
    for mirror in &next.mirrors {
        let found = mirror.path.as_os_str().as_bytes();
        let refused = match reader.mirror_by_name(&mirror.name) {
            Ok(Some(row)) if row.root != found => {
                JournalError::OtherRoot { mirror: row.name, known: row.root, found: found.to_owned() }
            }
            Ok(_) => continue,
            Err(error) => error,
        };
        tracing::error!("the configuration is not reloaded, the old one stays in force: {refused}");
        return None;
    }
    tracing::info!("the configuration is read again; uploads in flight end first");
    Some(next)
}

/// The line that `systemctl status` shows.
fn status(reader: &Reader, usage: &[Usage]) -> String {
    let counts = reader.counts(None).unwrap_or_else(|_| crate::core::model::Verdict::WORDS.map(|word| (word, 0)));
    let parts: Vec<String> = counts.iter().filter(|(_, n)| *n > 0).map(|(word, n)| format!("{n} {word}")).collect();
    let held = reader.mirrors().map_or(0, |mirrors| mirrors.iter().filter(|m| m.hold.is_some()).count());
    let mut line = if parts.is_empty() { "no files".to_owned() } else { parts.join(", ") };
    if held > 0 {
        line.push_str(&format!("; {held} mirrors held"));
    }
    for lane in usage.iter().filter(|lane| lane.slowed) {
        line.push_str(&format!("; {} slowed to {:.2}/s by AWS", lane.op, lane.rate));
    }
    line
}

/// Tells systemd; without it, nobody.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd was not told: {error}");
    }
}

fn watchdog_limit() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// The ARN of the Cases domain for commands without an engine: known, or asked for, or not needed.
///
/// # Errors
/// The service could not tell.
pub async fn lookup_domain(config: &Config) -> Result<Option<String>, Fatal> {
    let Some(id) = engine::unknown_domain(config) else { return Ok(config.connect.domain_arn()) };
    match engine::client(config).await.domain_arn(&id).await {
        Ok(arn) => Ok(Some(arn)),
        Err(failure) => {
            let text = format!("the Cases domain {id} cannot be looked up: {failure}");
            let person = !matches!(failure.next, Next::Retry | Next::Throttled | Next::Offline);
            Err(if person { Fatal::person(text) } else { Fatal::temporary(text) })
        }
    }
}
