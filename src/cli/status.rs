//! `casedrop status`: is everything where it should be?

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::context::{self, Known};
use super::exit::{Ended, Exit};
use super::out::Out;
use super::paused::{self, Paused};
use super::words::{files, moment, plain, span};
use crate::config::{Config, DeletePolicy};
use crate::core::model::Stage;
use crate::core::plan::ABSENT;
use crate::journal::{JournalError, View};
use crate::types::{ByteCount, CaseArn, RelPath, UnixMillis};

/// Mirrors, files per verdict, holds, what the daemon waits for, throughput.
///
/// Works while the daemon runs and when it does not; changes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  casedrop status\n  casedrop status --json | jq '.mirrors[].counts'")]
pub struct Args {
    /// One JSON object, for scripts.
    #[arg(long)]
    json: bool,
}

/// Deletes that --json lists.
const MOST_WAITING: usize = 1_000;
/// Folders and files named for each mirror.
const SHOWN: usize = 5;
/// Most attachments looked at for the count of open clean-ups.
const MOST: usize = 100_000;

#[derive(Debug, Serialize)]
struct Report {
    journal: String,
    /// False before the first run.
    journal_exists: bool,
    daemon: Daemon,
    mirrors: Vec<Mirror>,
    throughput: Throughput,
    /// What the instance takes on cases, as it was read last.
    instance: Option<Instance>,
    /// Cases that were found full, each with when it is tried again.
    full_cases: Vec<FullCase>,
    cleanups: Cleanups,
    /// `None` while hooks are off.
    hooks: Option<Hooks>,
}

#[derive(Debug, Serialize)]
struct Hooks {
    /// Deliveries that the hook has not taken yet, and those of them that were tried.
    waiting: u64,
    failing: u64,
    /// Given up after too many tries; the last thousand count.
    given_up: u64,
    last_error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Instance {
    max_bytes: u64,
    extensions: Option<Vec<String>>,
    /// Why these are documented defaults.
    assumed: Option<String>,
    read_at: String,
}

#[derive(Debug, Serialize)]
struct FullCase {
    case: CaseArn,
    next_try: String,
}

#[derive(Debug, Serialize)]
struct Daemon {
    runs: bool,
    pid: Option<u32>,
    /// What keeps it from making calls at present; `None` when it did not tell.
    paused: Option<Vec<Paused>>,
}

#[derive(Debug, Serialize)]
struct Mirror {
    name: String,
    root: String,
    configured: bool,
    #[serde(skip)]
    ingest: bool,
    /// The hold to look at first; one of `holds`.
    hold: Option<Hold>,
    holds: Vec<Hold>,
    /// Folders inside the root that could not be listed: nothing below them is touched.
    unlisted: Vec<Unlisted>,
    watch: Option<String>,
    scanned_at: Option<String>,
    counts: serde_json::Map<String, serde_json::Value>,
    /// Unrouted files by reason.
    unrouted: std::collections::BTreeMap<String, u64>,
    oldest_not_visible: Option<Oldest>,
    deletes_waiting: Deletes,
    verification: Option<Compared>,
    handovers_waiting: Handovers,
    #[serde(skip)]
    scanned: Option<UnixMillis>,
}

/// The comparison with Connect: whether one is under way, and what the last look at each case found.
#[derive(Debug, Serialize)]
struct Compared {
    running: bool,
    cases: u64,
    cases_done: u64,
    trouble: Option<String>,
    ended_at: Option<String>,
    files: u64,
    undecided: u64,
    /// Class to number.
    differences: serde_json::Map<String, serde_json::Value>,
    #[serde(skip)]
    ended: Option<UnixMillis>,
}

#[derive(Debug, Serialize)]
struct Unlisted {
    path: RelPath,
    detail: String,
    since: String,
}

#[derive(Debug, Clone, Serialize)]
struct Hold {
    code: &'static str,
    detail: String,
    since: String,
    remedy: &'static str,
    #[serde(skip)]
    at: UnixMillis,
}

#[derive(Debug, Serialize)]
struct Oldest {
    path: RelPath,
    verdict: String,
    since: String,
    age_seconds: u64,
    note: Option<String>,
}

#[derive(Debug, Serialize)]
struct Deletes {
    files: u64,
    /// When the first grace ends; `None` when nothing waits or nothing will be deleted.
    next_at: Option<String>,
    /// The first of them by path, at most 1,000.
    waiting: Vec<Waiting>,
    #[serde(skip)]
    next: Option<UnixMillis>,
}

/// A file that is gone here and still at Connect.
#[derive(Debug, Serialize)]
struct Waiting {
    path: RelPath,
    absent_since: Option<String>,
    /// The end of its grace; `casedrop keep` calls it back.
    delete_after: Option<String>,
    #[serde(skip)]
    after: Option<UnixMillis>,
}

/// Files that casedrop is done with and could not move away yet.
#[derive(Debug, Default, Serialize)]
struct Handovers {
    files: u64,
    /// The first of them and what went wrong.
    first: Option<RelPath>,
    reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct Throughput {
    last_minute: Amount,
    last_hour: Amount,
    last_day: Amount,
}

#[derive(Debug, Serialize)]
struct Amount {
    files: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Cleanups {
    /// Attempts and old versions on their way out at Connect.
    deleting: u64,
    /// Start calls whose answer was lost and that were not looked into yet.
    unsure: u64,
}

pub fn run(args: &Args, config: Option<&Path>, out: &mut Out) -> Ended {
    let config = context::config(config)?;
    let now = UnixMillis::now();
    let ((mirrors, throughput, instance, full_cases, cleanups, hooks), journal_exists) =
        context::ask(&config, |view| {
            let mirrors = context::mirrors(&config, view)?;
            let mirrors = mirrors.iter().map(|mirror| look(view, mirror, now)).collect::<Result<Vec<_>, _>>()?;
            let instance = view.files_config()?.map(|(limits, at)| Instance {
                max_bytes: limits.max_bytes,
                extensions: limits.extensions,
                assumed: limits.assumed,
                read_at: at.to_string(),
            });
            let full = view.full_cases()?.into_iter().map(|(case, at)| FullCase { case, next_try: at.to_string() });
            Ok((mirrors, throughput(view, now)?, instance, full.collect(), cleanups(view)?, view.hook_state()?))
        })?;
    let daemon = context::daemon(&config.journal_path);
    let paused = daemon.and_then(|_| paused::ask(&config.journal_path));
    let report = Report {
        journal: config.journal_path.display().to_string(),
        journal_exists,
        daemon: Daemon { runs: daemon.is_some(), pid: daemon.flatten(), paused },
        mirrors,
        throughput,
        instance,
        full_cases,
        cleanups,
        hooks: hooks.map(|state| Hooks {
            waiting: state.waiting,
            failing: state.failing,
            given_up: state.given_up,
            last_error: state.last_error.map(|error| plain(&error)),
        }),
    };
    if args.json {
        out.pretty(&report)?;
    } else {
        show(&config, &report, now, out)?;
    }
    Ok(Exit::Done)
}

fn look(view: &View, mirror: &Known, now: UnixMillis) -> Result<Mirror, JournalError> {
    let mut shown = Mirror {
        name: mirror.name.clone(),
        root: mirror.root.display().to_string(),
        configured: mirror.config.is_some(),
        ingest: mirror.config.as_ref().is_some_and(|config| config.ingest.is_some()),
        hold: None,
        holds: Vec::new(),
        unlisted: Vec::new(),
        watch: None,
        scanned_at: None,
        counts: serde_json::Map::new(),
        unrouted: std::collections::BTreeMap::new(),
        oldest_not_visible: None,
        deletes_waiting: Deletes { files: 0, next_at: None, waiting: Vec::new(), next: None },
        verification: None,
        handovers_waiting: Handovers::default(),
        scanned: None,
    };
    let Some(row) = &mirror.row else { return Ok(shown) };
    let hold = |hold: &crate::core::model::Hold| Hold {
        code: hold.code.as_str(),
        detail: plain(&hold.detail),
        since: hold.since.to_string(),
        remedy: hold.code.remedy(),
        at: hold.since,
    };
    shown.holds = row.holds.iter().map(hold).collect();
    shown.hold = shown.holds.first().cloned();
    let unlisted = view.unlisted(row.id)?.into_iter();
    shown.unlisted = unlisted
        .map(|(path, detail, since)| Unlisted { path, detail: plain(&detail), since: since.to_string() })
        .collect();
    shown.watch.clone_from(&row.watch);
    shown.scanned = row.scanned_at;
    shown.scanned_at = row.scanned_at.map(|at| at.to_string());
    shown.counts = view.counts(Some(row.id))?.iter().map(|(word, n)| ((*word).to_owned(), (*n).into())).collect();
    shown.unrouted = view.unrouted_reasons(row.id)?.into_iter().collect();
    shown.oldest_not_visible = view.oldest_not_visible(row.id)?.map(|(file, since)| Oldest {
        path: file.path,
        verdict: file.verdict.to_string(),
        since: since.to_string(),
        age_seconds: now.since(since).as_secs(),
        note: file.note,
    });
    let waiting: Vec<_> =
        view.open_handovers(row.id, None, MOST)?.into_iter().filter(|h| h.last_error.is_some()).collect();
    shown.handovers_waiting.files = waiting.len() as u64;
    if let Some(first) = waiting.into_iter().next() {
        shown.handovers_waiting.first = Some(first.path);
        shown.handovers_waiting.reason = first.last_error.as_deref().map(plain);
    }
    let policy = mirror.config.as_ref().map(|config| (config.delete, config.delete_grace));
    let next = match policy {
        Some((DeletePolicy::Propagate, grace)) => {
            view.next_absent_since(row.id, UnixMillis(i64::MIN))?.map(|since| since.plus(grace))
        }
        Some((DeletePolicy::Keep, _)) | None => None,
    };
    let grace = mirror.config.as_ref().map(|config| config.delete_grace);
    let rows = view.files_with(row.id, "deleting", None, MOST_WAITING)?.into_iter();
    let waiting = rows.map(|row| {
        let after = row.absent_since.zip(grace).map(|(since, grace)| since.plus(grace));
        let absent_since = row.absent_since.map(|at| at.to_string());
        Waiting { path: row.path, absent_since, delete_after: after.map(|at| at.to_string()), after }
    });
    shown.deletes_waiting = Deletes {
        waiting: waiting.collect(),
        files: view.waiting_deletes(row.id)?,
        next_at: next.map(|at| at.to_string()),
        next,
    };
    if let Some(state) = view.verification(row.id)? {
        let counts = view.difference_counts(row.id)?;
        shown.verification = Some(Compared {
            running: state.began_at.is_some(),
            cases: state.cases,
            cases_done: state.cases_done,
            trouble: state.trouble.as_deref().map(plain),
            ended_at: state.ended_at.map(|at| at.to_string()),
            files: state.last_files,
            undecided: state.last_undecided,
            differences: counts.iter().map(|(class, n)| (class.as_str().to_owned(), (*n).into())).collect(),
            ended: state.ended_at,
        });
    }
    Ok(shown)
}

fn throughput(view: &View, now: UnixMillis) -> Result<Throughput, JournalError> {
    let within = |span: Duration| view.approved_since(now.minus(span)).map(|(files, bytes)| Amount { files, bytes });
    Ok(Throughput {
        last_minute: within(Duration::from_secs(60))?,
        last_hour: within(Duration::from_secs(3_600))?,
        last_day: within(Duration::from_secs(86_400))?,
    })
}

fn cleanups(view: &View) -> Result<Cleanups, JournalError> {
    let deleting = view.attachments_in_stage(Stage::Deleting, None, MOST)?;
    let deleting = deleting.iter().filter(|a| a.reason.as_deref() != Some(ABSENT)).count();
    let unsure = view.unsure(MOST)?.len();
    Ok(Cleanups { deleting: deleting as u64, unsure: unsure as u64 })
}

fn show(config: &Config, report: &Report, now: UnixMillis, out: &mut Out) -> Result<(), super::exit::Failed> {
    match (report.daemon.runs, report.daemon.pid) {
        (true, Some(pid)) => writeln!(out, "daemon     runs (process {pid})")?,
        (true, None) => writeln!(out, "daemon     runs")?,
        (false, _) => writeln!(out, "daemon     does not run")?,
    }
    let paused = report.daemon.paused.as_deref().unwrap_or_default();
    for storm in paused {
        writeln!(out, "PAUSED     {}", storm.line(now))?;
    }
    if !paused.is_empty() {
        writeln!(out, "           files wait and go on by themselves; none of their tries are used up")?;
    }
    if !report.journal_exists {
        return writeln!(out, "journal    {}", context::no_journal(config));
    }
    writeln!(out, "journal    {}", report.journal)?;
    let amount = |a: &Amount| format!("{}, {}", files(a.files), ByteCount(a.bytes));
    let t = &report.throughput;
    writeln!(
        out,
        "delivered  last minute {}; last hour {}; last day {}",
        amount(&t.last_minute),
        amount(&t.last_hour),
        amount(&t.last_day)
    )?;
    if let Some(instance) = &report.instance {
        let types = instance.extensions.as_ref().map_or_else(|| "any".to_owned(), |list| plain(&list.join(" ")));
        let most = ByteCount(instance.max_bytes);
        match &instance.assumed {
            None => writeln!(out, "instance   files up to {most}; types: {types}")?,
            Some(why) => {
                writeln!(out, "instance   documented defaults, its settings may not be read: {}", plain(why))?;
                writeln!(out, "           files up to {most}; types: {types}")?;
            }
        }
    }
    for full in &report.full_cases {
        writeln!(out, "full       case {}, tried again after {}", full.case.case_id(), full.next_try)?;
    }
    let c = &report.cleanups;
    if c.deleting + c.unsure > 0 {
        writeln!(out, "clean-ups  {} being deleted at Connect, {} to be looked into", c.deleting, c.unsure)?;
    }
    if let Some(hooks) = report.hooks.as_ref().filter(|hooks| hooks.waiting + hooks.given_up > 0) {
        let mut parts = vec![format!("{} to be told", hooks.waiting)];
        let others = [(hooks.failing, "of these failing"), (hooks.given_up, "given up")];
        parts.extend(others.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")));
        writeln!(out, "hooks      {}", parts.join(", "))?;
        if let Some(error) = &hooks.last_error {
            writeln!(out, "           the last failure: {error}")?;
        }
    }
    for mirror in &report.mirrors {
        let gone = if mirror.configured { "" } else { "  (no longer configured)" };
        writeln!(out, "\nmirror     {}{gone}", mirror.name)?;
        writeln!(out, "  root     {}", mirror.root)?;
        for hold in &mirror.holds {
            writeln!(out, "  HELD     {} since {}: {}", hold.code, moment(hold.at, now), hold.detail)?;
            writeln!(out, "           {}", hold.remedy)?;
        }
        for folder in mirror.unlisted.iter().take(SHOWN) {
            writeln!(
                out,
                "  HELD     below {}/: it cannot be listed, so nothing there is touched: {}",
                folder.path, folder.detail
            )?;
        }
        more(mirror.unlisted.len(), "folders; `casedrop status --json` has all", out)?;
        writeln!(out, "  watch    {}", mirror.watch.as_deref().unwrap_or("not yet"))?;
        let scanned = mirror.scanned.map_or_else(|| "never".to_owned(), |at| moment(at, now));
        writeln!(out, "  scanned  {scanned}")?;
        writeln!(out, "  files    {}", counts(&mirror.counts))?;
        if let Some(compared) = &mirror.verification {
            writeln!(out, "  compared {}", verification(compared, now))?;
        }
        if !mirror.unrouted.is_empty() {
            let reasons: Vec<String> =
                mirror.unrouted.iter().map(|(reason, n)| format!("{n} {}", plain(reason))).collect();
            writeln!(out, "  no case  {}", reasons.join(", "))?;
        }
        if let Some(oldest) = &mirror.oldest_not_visible {
            let age = span(Duration::from_secs(oldest.age_seconds));
            let note = oldest.note.as_deref().map(|note| format!(": {}", plain(note))).unwrap_or_default();
            writeln!(out, "  waiting  {age}, the longest: {} ({}{note})", oldest.path, plain(&oldest.verdict))?;
        }
        let handovers = &mirror.handovers_waiting;
        if let (Some(first), Some(reason)) = (&handovers.first, &handovers.reason) {
            writeln!(
                out,
                "  moving   {} could not be moved away yet, such as {first}: {reason}",
                files(handovers.files)
            )?;
        }
        let deletes = &mirror.deletes_waiting;
        if deletes.files > 0 && mirror.ingest {
            let files = files(deletes.files);
            writeln!(out, "  gone     {files} taken away here before the hand-over; what is attached stays")?;
        } else if deletes.files > 0 {
            let when = deletes.next.map(|at| format!(", next at {}", moment(at, now))).unwrap_or_default();
            writeln!(out, "  deletes  {} gone here, still at Connect{when}", files(deletes.files))?;
            for waiting in deletes.waiting.iter().take(SHOWN) {
                let after = waiting.after.map(|at| format!("  not before {}", moment(at, now))).unwrap_or_default();
                writeln!(out, "           {}{after}", waiting.path)?;
            }
            more(deletes.waiting.len(), "files; `casedrop list --verdict deleting` has all", out)?;
        }
    }
    Ok(())
}

fn more(count: usize, what: &str, out: &mut Out) -> Result<(), super::exit::Failed> {
    match count.saturating_sub(SHOWN) {
        0 => Ok(()),
        rest => writeln!(out, "           and {rest} more {what}"),
    }
}

/// How the comparison with Connect stands.
fn verification(compared: &Compared, now: UnixMillis) -> String {
    let mut parts = Vec::new();
    match compared.ended {
        Some(at) => parts.push(format!("{}, {}", moment(at, now), files(compared.files))),
        None if !compared.running => parts.push("not yet".to_owned()),
        None => {}
    }
    if compared.running {
        parts.push(format!("under way: {} of {} cases", compared.cases_done, compared.cases));
    }
    parts.extend(compared.trouble.iter().map(|text| format!("waits: {text}")));
    let found: Vec<String> = compared.differences.iter().map(|(class, n)| format!("{n} {class}")).collect();
    if !found.is_empty() {
        parts.push(format!("{}: see `casedrop verify`", found.join(", ")));
    } else if compared.ended.is_some() && compared.undecided == 0 {
        parts.push("all agree".to_owned());
    }
    if compared.ended.is_some() && compared.undecided > 0 {
        parts.push(format!("{} without a certain answer", compared.undecided));
    }
    parts.join("; ")
}

/// `3 attached, 1 parked`; zeros are left out.
fn counts(counts: &serde_json::Map<String, serde_json::Value>) -> String {
    let order = crate::core::model::Verdict::WORDS;
    let shown: Vec<String> = order
        .iter()
        .filter_map(|word| Some((word, counts.get(*word)?.as_u64()?)))
        .filter(|(_, n)| *n > 0)
        .map(|(word, n)| format!("{n} {word}"))
        .collect();
    if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
}
