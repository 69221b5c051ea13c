//! `casedrop sync`: one full pass, watched by a person or a timer.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::exit::{Ended, Exit, Failed};
use super::out::Out;
use super::words::{files, moment, plain, span};
use super::{context, logging};
use crate::core::routing::UnroutedReason;
use crate::run::{Progress, Summary};
use crate::types::{ByteCount, UnixMillis};

/// One full pass: everything delivered that can be, then an end.
///
/// Scans, waits for what is settling, delivers and follows up until agents can see it. Deletes whose grace has not
/// ended are reported and left to a later pass. Exit code 1 when files are parked, 75 when AWS could not be reached,
/// 78 when a hold or the credentials need a person.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  casedrop sync\n  casedrop --config ./casedrop.toml sync --quiet")]
pub struct Args {
    /// No progress, only the summary.
    #[arg(long, short)]
    quiet: bool,
}

/// Time between two lines where there is no bar.
const PAUSE: Duration = Duration::from_secs(5);
/// Most names of a kind in the summary; `casedrop list` has the rest.
const MOST: usize = 20;

pub fn run(args: &Args, config: Option<&Path>, out: &mut Out) -> Ended {
    let config = context::checked_config(config)?;
    // The progress and the summary tell what `info` would.
    let least = if config.log.level == "info" { "warn" } else { &config.log.level };
    logging::start(&config.log, least)?;
    let progress: Box<dyn FnMut(&Progress) + Send> = match (args.quiet, std::io::stderr().is_terminal()) {
        (true, _) => Box::new(|_: &Progress| {}),
        (false, true) => bar(),
        (false, false) => lines(),
    };
    let result = context::runtime(true)?.block_on(Box::pin(crate::run::once(config, progress)));
    logging::around(None);
    let summary = result?;
    show(&summary, out)?;
    Ok(exit(&summary))
}

/// The worst of what the pass met: a person first, then what passes by itself, then single files.
fn exit(summary: &Summary) -> Exit {
    if summary.auth || !summary.holds.is_empty() {
        Exit::Person
    } else if summary.temporary.is_some() || !summary.handovers.is_empty() {
        Exit::Temporary
    } else if !summary.parked.is_empty() || summary.quarantined > 0 {
        Exit::Parked
    } else {
        Exit::Done
    }
}

fn bar() -> Box<dyn FnMut(&Progress) + Send> {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{msg:<10} [{wide_bar}] {pos}/{len} files  {prefix}  {elapsed}") {
        bar.set_style(style.progress_chars("=> "));
    }
    logging::around(Some(bar.clone()));
    // Ends with the closure, so that the summary stands on a clean line.
    let bar = Clearing(bar);
    Box::new(move |progress| {
        let Clearing(bar) = &bar;
        bar.set_length(progress.files_total);
        bar.set_position(progress.files_done);
        bar.set_message(progress.phase);
        bar.set_prefix(ByteCount(progress.bytes_done).to_string());
    })
}

struct Clearing(ProgressBar);

impl Drop for Clearing {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn lines() -> Box<dyn FnMut(&Progress) + Send> {
    let mut last: Option<(Instant, &'static str)> = None;
    Box::new(move |progress| {
        if last.is_some_and(|(at, phase)| phase == progress.phase && at.elapsed() < PAUSE) {
            return;
        }
        last = Some((Instant::now(), progress.phase));
        let Progress { phase, files_done, files_total, bytes_done, .. } = progress;
        // Progress is a courtesy: without stderr the pass goes on.
        let _ = writeln!(
            std::io::stderr(),
            "casedrop: {phase}: {files_done} of {}, {}",
            files(*files_total),
            ByteCount(*bytes_done)
        );
    })
}

fn show(summary: &Summary, out: &mut Out) -> Result<(), Failed> {
    let now = UnixMillis::now();
    writeln!(
        out,
        "{} attached ({}), {} moved, {} deleted, {} unchanged, in {}",
        files(summary.attached),
        ByteCount(summary.bytes),
        summary.moved,
        summary.deleted,
        summary.unchanged,
        span(summary.elapsed)
    )?;
    if summary.handed_over + summary.quarantined > 0 {
        let (over, refused) = (files(summary.handed_over), files(summary.quarantined));
        writeln!(out, "{over} handed over here, {refused} refused and moved to quarantine")?;
    }
    if !summary.parked.is_empty() {
        writeln!(out, "\n{} parked, waiting for a person:", files(summary.parked.len() as u64))?;
        for (mirror, path, code, note) in summary.parked.iter().take(MOST) {
            let note = note.as_deref().map(|note| format!(": {}", plain(note))).unwrap_or_default();
            writeln!(out, "  {mirror}  {path}  {code}{note}")?;
            writeln!(out, "    {}", code.remedy())?;
        }
        more(summary.parked.len(), "casedrop list --verdict parked", out)?;
    }
    for (mirror, reason, count) in &summary.unrouted {
        writeln!(out, "\n{} without a case in {mirror}: {}", files(*count), plain(reason))?;
        if let Some(reason) = UnroutedReason::parse(reason) {
            writeln!(out, "  {}", reason.remedy())?;
        }
    }
    if !summary.unrouted.is_empty() {
        writeln!(out, "  `casedrop list --verdict unrouted` names them")?;
    }
    if !summary.waiting_deletes.is_empty() {
        writeln!(out, "\n{} gone here, to be deleted by a later pass:", files(summary.waiting_deletes.len() as u64))?;
        for (mirror, path, at) in summary.waiting_deletes.iter().take(MOST) {
            writeln!(out, "  {mirror}  {path}  not before {}", moment(*at, now))?;
        }
        more(summary.waiting_deletes.len(), "casedrop list --verdict deleting", out)?;
    }
    if !summary.handovers.is_empty() {
        writeln!(out, "\n{} not moved away yet:", files(summary.handovers.len() as u64))?;
        for (mirror, path, why) in summary.handovers.iter().take(MOST) {
            writeln!(out, "  {mirror}  {path}  {}", plain(why))?;
        }
        more(summary.handovers.len(), "casedrop list", out)?;
    }
    for (mirror, hold) in &summary.holds {
        writeln!(out, "\nmirror {mirror} is held: {}: {}", hold.code, plain(&hold.detail))?;
        writeln!(out, "  {}", hold.code.remedy())?;
    }
    if summary.unfinished > 0 {
        writeln!(out, "\n{} left unfinished; another `casedrop sync` goes on there", files(summary.unfinished))?;
    }
    if summary.auth {
        let why = summary.temporary.as_deref().map(|why| format!(": {}", plain(why))).unwrap_or_default();
        writeln!(
            out,
            "\nAWS refuses the credentials or this host's clock{why}: put that right and see `casedrop check`"
        )?;
    } else if let Some(why) = &summary.temporary {
        writeln!(out, "\nnot brought to an end: {}; try again later", plain(why))?;
    }
    Ok(())
}

fn more(count: usize, command: &str, out: &mut Out) -> Result<(), Failed> {
    match count.saturating_sub(MOST) {
        0 => Ok(()),
        rest => writeln!(out, "  and {rest} more: `{command}`"),
    }
}
