//! The log on stderr.
//!
//! | `[log].format` | stderr is | looks like |
//! | --- | --- | --- |
//! | `auto` | a terminal | text with time |
//! | `auto` | the journal of systemd (`$JOURNAL_STREAM` names it) | text without time, each line with its priority (`<4>`), because the journal adds the rest |
//! | `auto` | anything else | JSON |
//! | `text` | the journal of systemd | as above |
//! | `text` | anything else | text with time |
//! | `json` | anything | JSON |
//!
//! The level is `[log].level`; `$CASEDROP_LOG` may hold a filter of the tracing crate in its place. Whatever it says,
//! the libraries that see requests and credentials stay at `warn` (invariant 23).

use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, filter_fn};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{self, FormatEvent, FormatFields, Writer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::exit::Failed;
use crate::aws::SECRET_TARGETS;
use crate::config::{Log, LogFormat};

/// Starts the log. `least` is the level unless `$CASEDROP_LOG` says otherwise.
///
/// # Errors
/// `$CASEDROP_LOG` is no filter.
pub fn start(log: &Log, least: &str) -> Result<(), Failed> {
    let wish = std::env::var("CASEDROP_LOG").ok().filter(|text| !text.is_empty());
    let filter = match &wish {
        Some(text) => EnvFilter::try_new(text).map_err(|e| {
            Failed::usage(format!("$CASEDROP_LOG is no log filter: {e}"))
                .hint("write it like `debug` or `casedrop=debug`")
        })?,
        None => EnvFilter::try_new(least).unwrap_or_else(|_| EnvFilter::default()),
    };
    let filter = filter.and(filter_fn(harmless).with_max_level_hint(LevelFilter::TRACE));
    let terminal = io::stderr().is_terminal();
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let layer = tracing_subscriber::fmt::layer().with_writer(|| Stderr);
    let layer = match (log.format, is_journal()) {
        (LogFormat::Auto | LogFormat::Text, true) => layer.with_ansi(false).event_format(Journal).boxed(),
        (LogFormat::Auto, false) if !terminal => layer.json().with_target(false).flatten_event(true).boxed(),
        (LogFormat::Auto | LogFormat::Text, false) => layer.with_ansi(colour).with_target(false).boxed(),
        (LogFormat::Json, _) => layer.json().with_target(false).flatten_event(true).boxed(),
    };
    // In a unit test the log would be that of all the others in the process too.
    if !cfg!(test) {
        // A second start changes nothing.
        let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    }
    Ok(())
}

/// Whether a line may be written: nothing below `warn` of a library that sees secrets.
fn harmless(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::WARN || !sees_secrets(metadata.target())
}

fn sees_secrets(target: &str) -> bool {
    let library = target.split("::").next().unwrap_or_default();
    library.starts_with("aws_") || SECRET_TARGETS.contains(&library)
}

/// Whether stderr is connected to the journal: the variable holds its device and inode (systemd.exec(5)).
fn is_journal() -> bool {
    let Some(stream) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    rustix::fs::fstat(io::stderr()).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// Lines for the journal: the priority of sd-daemon(3), then level-free text.
struct Journal;

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        write!(writer, "<{}>", priority(*event.metadata().level()))?;
        format::format().without_time().with_level(false).with_target(false).format_event(context, writer, event)
    }
}

/// Priorities of syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// The progress bar on the terminal, which lines have to go around.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Makes log lines go around `bar`, or no bar any more.
pub fn around(bar: Option<ProgressBar>) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = bar;
}

/// Stderr with a bar at its end, if there is one.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match bar {
            Some(bar) => bar.suspend(|| io::stderr().write(line)),
            None => io::stderr().write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_23_libraries_that_see_secrets_are_silenced() {
        for target in
            ["aws_smithy_runtime::client", "aws_sigv4", "hyper_util::client", "reqwest", "rustls::x", "aws_new"]
        {
            assert!(sees_secrets(target), "{target}");
        }
        for target in ["casedrop", "casedrop::aws::put", "casedrop_sandbox", "hyperion"] {
            assert!(!sees_secrets(target), "{target}");
        }
    }

    #[test]
    fn priorities_are_those_of_syslog() {
        assert_eq!([Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG].map(priority), [3, 4, 6, 7]);
    }
}
