//! `casedrop flush`: waits until what is in the folder now has come to its end.
//!
//! Never a false success: the files are listed by this command itself; then the daemon is asked for a full pass that
//! begins after that, so that the journal has noticed every change made before the call; only then is the journal
//! believed. A file that comes later is not waited for. A file of the list is done at its first final verdict.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::context;
use super::exit::{Ended, Exit, Failed};
use super::logging;
use super::out::Out;
use super::words::{files, plain, span};
use crate::config::{self, Config};
use crate::control::{self, Request};
use crate::core::model::{Event, EventKind, HoldCode, MirrorRow, ParkCode, Stat, Verdict};
use crate::core::routing::UnroutedReason;
use crate::fatal::FatalKind;
use crate::journal::{EventFilter, JournalError, View};
use crate::passes::{Looked, Ticket};
use crate::scan::{self, Depth, Entry, Look};
use crate::types::{RelPath, UnixMillis};

/// Waits until everything that is in the folders now is attached or has a final verdict.
///
/// For scripts that close a batch. Needs the running daemon, which looks again at once; files that arrive after the
/// call are not waited for. Exit code 0: all attached; 1: all has come to its end, but not all is attached (parked,
/// unrouted, gone, or in a folder that cannot be listed); 75: the time is over, or no daemon runs; 78: a mirror is held.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casedrop flush --wait 10m && close-batch
  casedrop flush scans --json | jq -r '.files[] | select(.verdict == \"parked\") | .path'")]
pub struct Args {
    /// Only this mirror; else every mirror of the configuration.
    mirror: Option<String>,
    /// Longest wait, such as 30s, 10m, 2h.
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = config::parse_duration)]
    wait: Duration,
    /// One JSON object, for scripts.
    #[arg(long)]
    json: bool,
}

/// Time between two looks at the journal: short at first, and never more than a tenth of it spent looking.
const SHORTEST: Duration = Duration::from_millis(100);
const LOOKING_SHARE: u32 = 10;
/// Longest wait for one answer of the daemon; it is asked again.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most files named in the text; `--json` has them all.
const MOST: usize = 20;

/// One mirror on its way.
struct Batch {
    config: config::Mirror,
    /// What is waited for, as it was at the call; `None`: it could not be told what it was.
    waiting: BTreeMap<RelPath, Option<Stat>>,
    ticket: Option<Ticket>,
    looked: Looked,
    /// Why the root could not be listed.
    fault: Option<String>,
    hold: Option<(HoldCode, String)>,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    /// `attached`, `not-attached`, `time-over`, `held`.
    result: &'static str,
    attached: u64,
    parked: u64,
    unrouted: u64,
    ignored: u64,
    /// Taken away before they were attached.
    gone: u64,
    /// Moved to quarantine: refused, so not attached.
    quarantined: u64,
    /// Not at their end when the time was over.
    waiting: u64,
    elapsed_seconds: u64,
    /// Everything that is not attached.
    files: Vec<Line>,
    /// Folders that could not be listed: what is in them is not known.
    unlisted: Vec<Unlisted>,
    holds: Vec<Held>,
    /// Why it could not be waited any longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

#[derive(Debug, Serialize)]
struct Line {
    mirror: String,
    path: RelPath,
    /// A word of `casedrop list`, or `gone`, `quarantined` or `not-seen`.
    verdict: &'static str,
    detail: Option<String>,
    note: Option<String>,
    remedy: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Unlisted {
    mirror: String,
    folder: String,
    error: String,
}

#[derive(Debug, Serialize)]
struct Held {
    mirror: String,
    code: &'static str,
    detail: String,
    remedy: &'static str,
}

pub fn run(args: &Args, config: Option<&Path>, out: &mut Out) -> Ended {
    let config = context::config(config)?;
    logging::start(&config.log, "warn")?;
    let wanted: Vec<config::Mirror> = match &args.mirror {
        None => config.mirrors.clone(),
        Some(name) => config.mirrors.iter().filter(|mirror| mirror.name == *name).cloned().collect(),
    };
    if wanted.is_empty() {
        let names: Vec<&str> = config.mirrors.iter().map(|mirror| mirror.name.as_str()).collect();
        let name = args.mirror.as_deref().unwrap_or_default();
        return Err(Failed::usage(format!("there is no mirror {name:?}; there are: {}", names.join(", "))));
    }
    let mut wait =
        Wait { config: &config, batches: Vec::new(), report: Report::default(), asked: UnixMillis::now(), event: 0 };
    let (began, deadline) = (Instant::now(), Instant::now() + args.wait);
    (wait.event, _) = context::ask(&config, |view| view.last_event_id())?;
    if context::daemon(&config.journal_path).is_none() {
        let text = "no daemon runs on this journal, so nothing is being delivered";
        return Err(Failed::new(Exit::Temporary, text)
            .hint("start it (`systemctl start casedrop`), or deliver once with `casedrop sync`"));
    }
    for mirror in wanted {
        wait.list(mirror);
    }
    let exit = context::runtime(false)?.block_on(Box::pin(wait.until(deadline)))?;
    let mut report = wait.report;
    report.elapsed_seconds = began.elapsed().as_secs();
    report.result = match exit {
        Exit::Done => "attached",
        Exit::Person => "held",
        Exit::Temporary => "time-over",
        Exit::Parked | Exit::Usage | Exit::Work => "not-attached",
    };
    if args.json {
        out.pretty(&report)?;
    } else {
        show(&report, began.elapsed(), out)?;
    }
    Ok(exit)
}

struct Wait<'c> {
    config: &'c Config,
    batches: Vec<Batch>,
    report: Report,
    /// When the folders had not been listed yet.
    asked: UnixMillis,
    /// The newest event of that time.
    event: i64,
}

impl Wait<'_> {
    /// What is in the folder now, in scope.
    fn list(&mut self, config: config::Mirror) {
        let mut batch =
            Batch { waiting: BTreeMap::new(), ticket: None, looked: Looked::NotYet, fault: None, hold: None, config };
        let (scope, name) = (&batch.config.scope, batch.config.name.clone());
        let rule = |path: &RelPath, folder: bool| scope.entry_rule(path, folder);
        let (waiting, unlisted) = (&mut batch.waiting, &mut self.report.unlisted);
        let listed = scan::open_root(&batch.config.path).and_then(|root| {
            root.walk(None, Depth::Tree, &rule, &mut |entry| {
                match entry {
                    Entry::File { path, stat } => drop(waiting.insert(path, Some(stat))),
                    Entry::Unknown { path, .. } => drop(waiting.insert(path, None)),
                    Entry::Unlisted { dir, error } => {
                        unlisted.push(Unlisted { mirror: name.clone(), folder: dir.to_string(), error });
                    }
                    Entry::Other { .. } | Entry::Ignored { .. } | Entry::Folder { .. } => {}
                }
                std::ops::ControlFlow::Continue(())
            })
        });
        batch.fault = listed.err().map(|fault| format!("{}: {fault}", batch.config.path.display()));
        self.batches.push(batch);
    }

    async fn until(&mut self, deadline: Instant) -> Ended {
        let mut rest = SHORTEST;
        loop {
            let began = Instant::now();
            let trouble = self.ask_daemon().await?;
            // Before the journal is asked: what the passes had planned by then is in the answer.
            self.look()?;
            if let Some(exit) = self.is_over() {
                return Ok(exit);
            }
            if Instant::now() >= deadline {
                self.report.why = trouble;
                self.time_over()?;
                return Ok(Exit::Temporary);
            }
            rest = (rest * 3 / 2).min(Duration::from_secs(1)).max(began.elapsed() * LOOKING_SHARE);
            tokio::time::sleep(rest.min(deadline.saturating_duration_since(Instant::now()))).await;
        }
    }

    /// Asks for a full pass where none was asked for yet, and what became of it. In words what is the matter with the
    /// daemon: it may be on its way back.
    async fn ask_daemon(&mut self) -> Result<Option<String>, Failed> {
        for batch in self.batches.iter_mut().filter(|batch| batch.looked != Looked::Whole) {
            let request = Request::Look { mirror: batch.config.name.clone(), ticket: batch.ticket };
            let asked = tokio::time::timeout(PATIENCE, control::ask(&self.config.journal_path, &request)).await;
            let Ok(answer) = asked else {
                return Ok(Some("the daemon does not answer; look at its log".to_owned()));
            };
            match answer {
                Ok(Some(reply)) => {
                    let Some((ticket, looked)) = reply.pass else {
                        let text = format!("the daemon does not know the mirror {}", batch.config.name);
                        return Err(Failed::new(Exit::Temporary, text)
                            .hint("it runs with another configuration: `systemctl reload casedrop`, then again"));
                    };
                    batch.looked = if batch.ticket == Some(ticket) { looked } else { Looked::NotYet };
                    batch.ticket = Some(ticket);
                }
                Ok(None) => return Ok(Some("the daemon does not run any more".to_owned())),
                Err(fatal) if fatal.kind == FatalKind::Temporary => return Ok(Some(fatal.text)),
                Err(fatal) => return Err(fatal.into()),
            }
        }
        Ok(None)
    }

    /// Takes what has come to its end off the list.
    fn look(&mut self) -> Result<(), Failed> {
        let (config, asked, event) = (self.config, self.asked, self.event);
        for batch in &mut self.batches {
            let whole = batch.looked == Looked::Whole;
            let (name, paths) = (&batch.config.name, &batch.waiting);
            let root = if whole { scan::open_root(&batch.config.path).ok() } else { None };
            let (found, _) = context::ask(config, |view| {
                let Some(row) = view.mirror_by_name(name)? else { return Ok((None, Vec::new())) };
                let mut ends = Vec::new();
                // Without the pass, a row may tell of what stood there before.
                for (path, stat) in paths.iter().filter(|_| whole) {
                    let gone = || root.as_ref().is_some_and(|root| root.stat(path) == Look::Absent);
                    if let Some(end) = end(view, &row, path, stat.as_ref(), (asked, event), &gone)? {
                        ends.push((path.clone(), end));
                    }
                }
                Ok((Some(row), ends))
            })?;
            let (row, ends) = found;
            batch.hold = row.and_then(|row| row.hold).map(|hold| (hold.code, hold.detail));
            for (path, end) in ends {
                batch.waiting.remove(&path);
                self.report.count(&batch.config.name, path, end);
            }
        }
        Ok(())
    }

    /// The exit code, if there is nothing more to wait for.
    fn is_over(&mut self) -> Option<Exit> {
        let held = |batch: &Batch| {
            let looked = !matches!(batch.looked, Looked::NotYet | Looked::Unknown);
            batch.hold.as_ref().is_some_and(|(code, _)| {
                // An empty folder is no delivered batch when it was emptied behind our back.
                let blind = code.stops_uploads() || *code == HoldCode::RootEmptied;
                looked && (blind || (*code == HoldCode::Auth && !batch.waiting.is_empty()))
            })
        };
        if self.batches.iter().any(held) {
            for batch in self.batches.iter().filter(|batch| held(batch)) {
                let Some((code, detail)) = &batch.hold else { continue };
                self.report.holds.push(Held {
                    mirror: batch.config.name.clone(),
                    code: code.as_str(),
                    detail: plain(detail),
                    remedy: code.remedy(),
                });
            }
            self.report.waiting = self.batches.iter().map(|batch| batch.waiting.len() as u64).sum();
            return Some(Exit::Person);
        }
        let done = |batch: &Batch| batch.looked == Looked::Whole && batch.waiting.is_empty() && batch.fault.is_none();
        if !self.batches.iter().all(done) {
            return None;
        }
        let r = &self.report;
        let all = r.parked + r.unrouted + r.gone + r.quarantined == 0 && r.unlisted.is_empty();
        Some(if all { Exit::Done } else { Exit::Parked })
    }

    /// Names what still waits.
    fn time_over(&mut self) -> Result<(), Failed> {
        for batch in &self.batches {
            let (name, paths) = (&batch.config.name, &batch.waiting);
            let (lines, _) = context::ask(self.config, |view| {
                let row = view.mirror_by_name(name)?;
                let mut lines = Vec::with_capacity(paths.len());
                for path in paths.keys() {
                    let file = match &row {
                        Some(row) => view.file(row.id, path)?,
                        None => None,
                    };
                    lines.push(Line {
                        mirror: name.clone(),
                        path: path.clone(),
                        verdict: file.as_ref().map_or("not-seen", |file| file.verdict.word()),
                        detail: None,
                        note: file.and_then(|file| file.note).map(|note| plain(&note)),
                        remedy: None,
                    });
                }
                Ok(lines)
            })?;
            self.report.waiting += lines.len() as u64;
            self.report.files.extend(lines);
            if self.report.why.is_none() {
                self.report.why.clone_from(&batch.fault);
            }
            if self.report.why.is_none() && batch.looked != Looked::Whole {
                self.report.why = Some(format!("the daemon has not looked through {} yet", batch.config.name));
            }
        }
        Ok(())
    }
}

/// How a file came to its end.
#[derive(Debug)]
enum End {
    Attached,
    /// A final verdict, and its note.
    Verdict(Verdict, Option<String>),
    Gone,
    /// Refused and moved away; the park code.
    Quarantined(Option<String>),
}

/// The end of a file that was there at the call, once a pass has begun after it; `None`: not yet.
fn end(
    view: &View,
    mirror: &MirrorRow,
    path: &RelPath,
    stat: Option<&Stat>,
    (asked, event): (UnixMillis, i64),
    gone: &dyn Fn() -> bool,
) -> Result<Option<End>, JournalError> {
    let Some(row) = view.file(mirror.id, path)? else {
        if !gone() {
            return Ok(None);
        }
        // Taken away, by casedrop itself after the delivery or by somebody.
        let filter =
            EventFilter { after_id: Some(event), mirror: Some(mirror.id), path: Some(path), ..EventFilter::default() };
        let events = view.events(&filter)?;
        let delivered = |kind| matches!(kind, EventKind::Attached | EventKind::Archived | EventKind::Removed);
        if events.iter().any(|event| delivered(event.kind)) {
            return Ok(Some(End::Attached));
        }
        let refused = events.iter().find(|event| event.kind == EventKind::Quarantined);
        let code = |event: &Event| event.detail.get("code").and_then(|code| code.as_str()).map(plain);
        return Ok(Some(refused.map_or(End::Gone, |event| End::Quarantined(code(event)))));
    };
    // What was attached before and has not been looked at since, because the daemon could not list its folder, is
    // not what stands there now.
    let known = stat.is_some_and(|stat| row.stat.same_content_as(stat)) || row.since >= asked;
    Ok(match row.verdict {
        Verdict::Attached if known => Some(End::Attached),
        Verdict::Deleting if gone() => Some(End::Gone),
        // Its case is being looked up: not its end.
        Verdict::Unrouted(ref reason) if reason == UnroutedReason::ReferencePending.as_str() => None,
        Verdict::Parked(_) | Verdict::Unrouted(_) | Verdict::Ignored(_) => Some(End::Verdict(row.verdict, row.note)),
        Verdict::Attached
        | Verdict::Deleting
        | Verdict::Settling
        | Verdict::Queued
        | Verdict::Uploading
        | Verdict::Scanning => None,
    })
}

impl Report {
    fn count(&mut self, mirror: &str, path: RelPath, end: End) {
        let mut line =
            Line { mirror: mirror.to_owned(), path, verdict: "gone", detail: None, note: None, remedy: None };
        match end {
            End::Attached => {
                self.attached += 1;
                return;
            }
            End::Gone => self.gone += 1,
            End::Quarantined(code) => {
                self.quarantined += 1;
                line.verdict = "quarantined";
                line.remedy = code.as_deref().and_then(ParkCode::parse).map(ParkCode::remedy);
                line.detail = code;
            }
            End::Verdict(verdict, note) => {
                match &verdict {
                    Verdict::Ignored(_) => self.ignored += 1,
                    Verdict::Unrouted(_) => self.unrouted += 1,
                    _ => self.parked += 1,
                }
                line.verdict = verdict.word();
                line.detail = verdict.detail().map(plain);
                line.note = note.map(|note| plain(&note));
                if let Verdict::Parked(code) = verdict {
                    line.remedy = Some(code.remedy());
                }
            }
        }
        self.files.push(line);
    }
}

fn show(report: &Report, elapsed: Duration, out: &mut Out) -> Result<(), Failed> {
    let mut parts = vec![format!("{} attached", files(report.attached))];
    let others = [
        (report.parked, "parked"),
        (report.unrouted, "unrouted"),
        (report.ignored, "ignored"),
        (report.quarantined, "quarantined"),
        (report.gone, "gone before it was attached"),
        (report.waiting, "not at its end"),
    ];
    parts.extend(others.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")));
    let end = match report.result {
        "held" => "; held",
        "time-over" => "; the time is over",
        _ => "",
    };
    writeln!(out, "{}, in {}{end}", parts.join(", "), span(elapsed))?;
    if let Some(why) = &report.why {
        writeln!(out, "{why}")?;
    }
    for Line { mirror, path, verdict, detail, note, remedy } in report.files.iter().take(MOST) {
        let detail = detail.as_ref().map(|detail| format!("({detail})")).unwrap_or_default();
        let note = note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
        writeln!(out, "  {mirror}  {path}  {verdict}{detail}{note}")?;
        if let Some(remedy) = remedy {
            writeln!(out, "    {remedy}")?;
        }
    }
    if let Some(rest) = report.files.len().checked_sub(MOST).filter(|rest| *rest > 0) {
        writeln!(out, "  and {rest} more: `casedrop flush --json` names all")?;
    }
    for Unlisted { mirror, folder, error } in &report.unlisted {
        writeln!(out, "  {mirror}  {folder}/ could not be listed: {error}; what is in it is not known")?;
    }
    for Held { mirror, code, detail, remedy } in &report.holds {
        writeln!(out, "mirror {mirror} is held: {code}: {detail}\n  {remedy}")?;
    }
    Ok(())
}
