//! `casedrop adopt`: the journal rebuilt from what Connect holds.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::exit::{Ended, Exit, Failed};
use super::out::Out;
use super::words::{files, plain};
use super::{context, logging};
use crate::adopt::{Fate, Plan, Progress, Session};
use crate::config::{Config, DeletePolicy};
use crate::core::model::HoldCode;
use crate::core::routing::{self, Routing};
use crate::core::sidecar::Beside;
use crate::types::{CaseArn, FileId, RelPath};
use crate::world::Mirror;

/// Rebuilds the journal from what Connect holds.
///
/// Asks the cases of each mirror for their files, shows what it would take over by casedrop's own tags, and asks before
/// it writes. Nothing is uploaded, changed or deleted at Connect. A file that is attached unchanged is attached
/// afterwards, without a call. What was asked is kept, so that a run that was cut off goes on where it was.
///
/// Cases: the mirror's `case`, or those that the folders and files below its root name. Others are added with --case.
/// The daemon must be stopped. Exit code 75 when something is still being scanned and a later run is needed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  systemctl stop casedrop
  casedrop adopt                       show, ask, take over
  casedrop adopt --yes                 without a question
  casedrop adopt --accept              also attachments without casedrop's tags that are equal to one file here
  casedrop adopt --mirror claims --case 5ba5ed00-0000-4000-8000-000000000001")]
pub struct Args {
    /// Only this mirror.
    #[arg(long, value_name = "NAME")]
    mirror: Option<String>,
    /// Ask this case too (id or ARN); may be given several times.
    #[arg(long, value_name = "CASE")]
    case: Vec<String>,
    /// Also take attachments without casedrop's tags whose case, name and size are those of exactly one file, after a
    /// download has shown that the content is the same. casedrop then replaces and deletes them like its own.
    #[arg(long)]
    accept: bool,
    /// Take over without a question.
    #[arg(long, short)]
    yes: bool,
    /// No progress.
    #[arg(long, short)]
    quiet: bool,
    /// One JSON object for each mirror, for scripts.
    #[arg(long)]
    json: bool,
}

/// Most names of a kind that are shown.
const MOST: usize = 20;
/// Time between two lines where there is no bar.
const PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, Serialize)]
struct Report<'a> {
    mirror: &'a str,
    cases: usize,
    unknown_cases: Vec<&'a str>,
    files_at_connect: u64,
    known: u64,
    others: u64,
    take: Vec<Taken<'a>>,
    proposals: Vec<Proposed<'a>>,
    surplus: Vec<&'a FileId>,
    being_scanned: Vec<Named<'a>>,
    unfinished: Vec<Named<'a>>,
    ambiguous: &'a [String],
    unlisted: Vec<Unlisted<'a>>,
    /// Listed at Connect, and nothing certain was said of them.
    unanswered: Vec<&'a FileId>,
    /// Attachments written to the journal; `null` when nothing was.
    taken: Option<u64>,
    held: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Taken<'a> {
    path: &'a RelPath,
    fate: Fate,
    file_ids: Vec<&'a FileId>,
}

#[derive(Debug, Serialize)]
struct Proposed<'a> {
    path: &'a RelPath,
    file_id: &'a FileId,
    case: &'a CaseArn,
    /// `null`: not compared.
    same_content: Option<bool>,
}

#[derive(Debug, Serialize)]
struct Named<'a> {
    path: &'a RelPath,
    file_id: &'a FileId,
}

#[derive(Debug, Serialize)]
struct Unlisted<'a> {
    path: &'a RelPath,
    error: &'a str,
}

pub fn run(args: &Args, config: Option<&Path>, out: &mut Out) -> Ended {
    let config = context::checked_config(config)?;
    logging::start(&config.log, "error")?;
    if let Some(pid) = context::daemon(&config.journal_path) {
        let pid = pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
        let text = format!("the journal is in use{pid}: nothing may run beside `adopt`");
        return Err(Failed::new(Exit::Temporary, text).hint("stop the daemon first (`systemctl stop casedrop`)"));
    }
    let names: Vec<&str> = config.mirrors.iter().map(|mirror| mirror.name.as_str()).collect();
    if let Some(name) = args.mirror.as_deref().filter(|name| !names.contains(name)) {
        return Err(Failed::usage(format!("there is no mirror {name:?}; there are: {}", names.join(", "))));
    }
    let runtime = context::runtime(true)?;
    runtime.block_on(Box::pin(async {
        let session = Session::open(&config).await?;
        let ended = Box::pin(all(args, &config, &session, out)).await;
        session.close().await;
        ended
    }))
}

/// Each wanted mirror; trouble of one ends nothing for the others.
async fn all(args: &Args, config: &Config, session: &Session, out: &mut Out) -> Ended {
    let wanted = |mirror: &&Arc<Mirror>| args.mirror.as_ref().is_none_or(|name| *name == mirror.config.name);
    let mut all = Vec::new();
    for mirror in session.mirrors().iter().filter(wanted) {
        all.push((mirror, more_cases(&args.case, config, mirror)?));
    }
    let mut worst = Exit::Done;
    for (mirror, more) in all {
        let ended = Box::pin(one(args, &more, (session, mirror), out)).await.or_else(|failed| {
            failed.print();
            // A reader of the output that went away has had enough.
            if failed.exit == Exit::Done { Err(failed) } else { Ok(failed.exit) }
        });
        worst = worse(worst, ended?);
    }
    Ok(worst)
}

async fn one(args: &Args, more: &[CaseArn], (session, mirror): (&Session, &Mirror), out: &mut Out) -> Ended {
    let mut progress = shown(args.quiet);
    let planned = session.plan(mirror, more, args.accept, &mut *progress).await;
    drop(progress);
    logging::around(None);
    let plan = planned?;
    let mut taken = None;
    if !args.json {
        show(mirror, &plan, out)?;
        out.flush()?;
    }
    if args.yes || confirm(&plan) {
        let mut progress = shown(args.quiet);
        let applied = session.apply(mirror, &plan, &mut *progress).await;
        drop(progress);
        logging::around(None);
        taken = Some(applied?);
    }
    let held = mirror.is_held_by(HoldCode::JournalRebuilt) && (taken.is_none() || !plan.is_whole());
    let held = held.then_some(HoldCode::JournalRebuilt);
    if args.json {
        out.json(&report(mirror, &plan, taken, held))?;
    } else {
        tell(mirror, &plan, taken, held, out)?;
    }
    Ok(end(&plan, taken))
}

/// A person first, then what passes by itself.
fn worse(a: Exit, b: Exit) -> Exit {
    let rank = |exit: Exit| match exit {
        Exit::Done => 0,
        Exit::Temporary => 1,
        Exit::Parked | Exit::Usage | Exit::Work | Exit::Person => 2,
    };
    if rank(b) > rank(a) { b } else { a }
}

fn end(plan: &Plan, taken: Option<u64>) -> Exit {
    if taken.is_none() || !plan.unlisted.is_empty() {
        Exit::Person
    } else if !plan.open.is_empty() || !plan.unanswered.is_empty() {
        Exit::Temporary
    } else {
        Exit::Done
    }
}

/// The cases of --case, as ARNs.
fn more_cases(given: &[String], config: &Config, mirror: &Mirror) -> Result<Vec<CaseArn>, Failed> {
    let domain = mirror.domain.get().cloned().or_else(|| config.connect.domain_arn());
    let arn = |text: &String| {
        let unclear = |why: String| Failed::usage(format!("--case {text}: {why}"));
        let anywhere = RelPath::new(&b"x"[..]).ok_or_else(|| unclear("no case".to_owned()))?;
        let one = Routing::one_case(text).map_err(unclear)?;
        match one.name(&anywhere, &Beside::Nothing, domain.as_deref()) {
            Ok(routing::Named::Case(case)) => Ok(case),
            Ok(routing::Named::Reference(_)) => Err(unclear("it is no case".to_owned())),
            Err(why) => Err(unclear(why.reason.remedy().to_owned())),
        }
    };
    given.iter().map(arn).collect()
}

fn confirm(plan: &Plan) -> bool {
    // With nothing to write, what is left is to end the hold, which is what was asked for.
    if !std::io::stdin().is_terminal() {
        return false;
    }
    let count = plan.entries.len() + plan.proposals.iter().filter(|p| p.compared == Some(true)).count();
    // The question belongs to the conversation, not to the results.
    let _ = write!(std::io::stderr(), "Take over {}? [y/N] ", files(count as u64));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).is_ok() && matches!(line.trim(), "y" | "Y" | "yes")
}

type Told = Box<dyn FnMut(&Progress<'_>) + Send>;

fn shown(quiet: bool) -> Told {
    match (quiet, std::io::stderr().is_terminal()) {
        (true, _) => Box::new(|_: &Progress<'_>| {}),
        (false, true) => bar(),
        (false, false) => lines(),
    }
}

fn bar() -> Told {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{msg:<10} [{wide_bar}] {pos}/{len}  {prefix}  {elapsed}") {
        bar.set_style(style.progress_chars("=> "));
    }
    logging::around(Some(bar.clone()));
    let bar = Clearing(bar);
    Box::new(move |progress| {
        let Clearing(bar) = &bar;
        bar.set_length(progress.of);
        bar.set_position(progress.done);
        bar.set_message(progress.phase);
        bar.set_prefix(progress.trouble.map_or_else(|| files(progress.files), plain));
    })
}

/// Ends with its closure, so that what follows stands on a clean line.
struct Clearing(ProgressBar);

impl Drop for Clearing {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn lines() -> Told {
    let mut last: Option<(Instant, &'static str)> = None;
    Box::new(move |progress| {
        let due = last.is_none_or(|(at, phase)| phase != progress.phase || at.elapsed() >= PAUSE);
        if !due && progress.trouble.is_none() {
            return;
        }
        last = Some((Instant::now(), progress.phase));
        let Progress { mirror, phase, done, of, files: found, trouble } = progress;
        let unit = if *phase == "asking" { "cases" } else { "files" };
        let trouble = trouble.map(|text| format!("; {}", plain(text))).unwrap_or_default();
        // Progress is a courtesy: without stderr the work goes on.
        let _ = writeln!(
            std::io::stderr(),
            "casedrop: {mirror}: {phase}: {done} of {of} {unit}, {} at Connect{trouble}",
            files(*found)
        );
    })
}

/// The sentence for each fate, with its number in front.
const FATES: [(Fate, &str); 7] = [
    (Fate::Attached, "attached as they are; nothing will be called"),
    (Fate::Changed, "changed here since; will be replaced"),
    (Fate::Refused, "refused by Connect before; will be parked"),
    (Fate::Unseen, "not here any more"),
    (Fate::Removed, "removed here since the loss"),
    (Fate::Ignored, "out of scope here; kept as they are"),
    (Fate::Unread, "not readable here at present; compared by the next look"),
];

fn show(mirror: &Mirror, plan: &Plan, out: &mut Out) -> Result<(), Failed> {
    let cases = if plan.cases == 1 { "1 case".to_owned() } else { format!("{} cases", plan.cases) };
    writeln!(
        out,
        "mirror {}: {cases} asked, {} there: {} to take over, {} known already, {} of others",
        mirror.config.name,
        files(plan.files),
        plan.entries.iter().map(|entry| entry.adoption.take.len()).sum::<usize>(),
        plan.known,
        plan.others
    )?;
    for (fate, text) in FATES {
        let count = plan.count(fate);
        if count == 0 {
            continue;
        }
        let keeps = match (fate, mirror.config.delete) {
            (Fate::Unseen, DeletePolicy::Propagate) => {
                "; kept at Connect and parked as `unseen`, until you put them back or `casedrop verify --fix unseen`"
            }
            (Fate::Removed, DeletePolicy::Propagate) => "; deleted at Connect after the grace, like any removed file",
            (Fate::Unseen | Fate::Removed, DeletePolicy::Keep) => "; kept at Connect (delete = \"keep\")",
            _ => "",
        };
        writeln!(out, "  {count:>6}  {text}{keeps}")?;
        if fate != Fate::Attached {
            let paths = plan.entries.iter().filter(|entry| entry.fate == fate).map(|e| e.adoption.path.to_string());
            list(paths, out)?;
        }
    }
    let surplus: Vec<_> = plan.entries.iter().filter(|entry| !entry.surplus.is_empty()).collect();
    if !surplus.is_empty() {
        let count: usize = surplus.iter().map(|entry| entry.surplus.len()).sum();
        writeln!(
            out,
            "  {count:>6}  older, beside the one that counts; to delete them: `casedrop verify --fix surplus`"
        )?;
        list(surplus.iter().flat_map(|e| e.surplus.iter().map(|f| format!("{}  {f}", e.adoption.path))), out)?;
    }
    let pairs = |list: &[(RelPath, FileId)]| list.iter().map(|(p, f)| format!("{p}  {f}")).collect::<Vec<_>>();
    if !plan.unfinished.is_empty() {
        let count = plan.unfinished.len();
        writeln!(out, "  {count:>6}  never completed; to delete them: `casedrop verify --fix unfinished`")?;
        list(pairs(&plan.unfinished).into_iter(), out)?;
    }
    if !plan.open.is_empty() {
        let text =
            "still being scanned, or of a status that is not known here: run `casedrop adopt` again in 20 minutes";
        writeln!(out, "  {:>6}  {text}", plan.open.len())?;
        list(pairs(&plan.open).into_iter(), out)?;
    }
    if !plan.proposals.is_empty() {
        let (count, compared) = (plan.proposals.len(), plan.proposals.iter().any(|p| p.compared.is_some()));
        let text = if compared {
            "without casedrop's tags, like one file here by case, name and size; compared by content:"
        } else {
            "without casedrop's tags, like one file here by case, name and size; `--accept` compares and takes them, \
             else these files are attached beside them"
        };
        writeln!(out, "  {count:>6}  {text}")?;
        let line = |p: &crate::adopt::Proposal| {
            let same = match p.compared {
                None => "",
                Some(true) => "  same content, will be taken",
                Some(false) => "  other content, left alone",
            };
            format!("{}  {}{same}", p.path, p.tagged.file)
        };
        list(plan.proposals.iter().map(line), out)?;
    }
    if !plan.ambiguous.is_empty() {
        writeln!(out, "  {:>6}  not understood, and left alone:", plan.ambiguous.len())?;
        list(plan.ambiguous.iter().map(|text| plain(text)), out)?;
    }
    if !plan.unlisted.is_empty() {
        writeln!(out, "  {:>6}  folders or files here that cannot be looked at:", plan.unlisted.len())?;
        list(plan.unlisted.iter().map(|(path, error)| format!("{path}  {}", plain(error))), out)?;
    }
    if !plan.unanswered.is_empty() {
        writeln!(out, "  {:>6}  listed at Connect, without a certain answer what they are:", plan.unanswered.len())?;
        list(plan.unanswered.iter().map(|(case, file)| format!("{file} on case {}", case.case_id())), out)?;
    }
    if !plan.unknown_cases.is_empty() {
        writeln!(out, "  {:>6}  cases that Connect does not know:", plan.unknown_cases.len())?;
        list(plan.unknown_cases.iter().map(|case| case.case_id().to_owned()), out)?;
    }
    Ok(())
}

fn list(lines: impl Iterator<Item = String>, out: &mut Out) -> Result<(), Failed> {
    let mut rest = 0_usize;
    for (at, line) in lines.enumerate() {
        if at < MOST {
            writeln!(out, "          {line}")?;
        } else {
            rest += 1;
        }
    }
    match rest {
        0 => Ok(()),
        rest => writeln!(out, "          and {rest} more (all of them with --json)"),
    }
}

fn tell(mirror: &Mirror, plan: &Plan, taken: Option<u64>, held: Option<HoldCode>, out: &mut Out) -> Result<(), Failed> {
    let name = &mirror.config.name;
    match taken {
        None => writeln!(out, "mirror {name}: nothing was taken over; to do it: `casedrop adopt --yes`")?,
        Some(taken) => {
            let count = if taken == 1 { "1 attachment".to_owned() } else { format!("{taken} attachments") };
            writeln!(out, "mirror {name}: {count} taken over")?;
        }
    }
    match held {
        Some(code) if taken.is_none() => writeln!(out, "mirror {name} stays held: {code}"),
        Some(code) if !plan.unanswered.is_empty() => writeln!(
            out,
            "mirror {name} stays held: {code}: run `casedrop adopt` again; if Connect goes on to say nothing of these, \
             `casedrop release` goes on without them"
        ),
        Some(code) if plan.open.is_empty() => {
            writeln!(out, "mirror {name} stays held: {code}: make what cannot be looked at readable, then adopt again")
        }
        Some(code) => writeln!(out, "mirror {name} stays held: {code}: run `casedrop adopt` again in 20 minutes"),
        None if mirror.is_held_by(HoldCode::JournalRebuilt) => {
            writeln!(out, "mirror {name} is no longer held: `casedrop run` or `casedrop sync` goes on")
        }
        None => Ok(()),
    }
}

fn report<'a>(mirror: &'a Mirror, plan: &'a Plan, taken: Option<u64>, held: Option<HoldCode>) -> Report<'a> {
    let named = |list: &'a [(RelPath, FileId)]| list.iter().map(|(path, file_id)| Named { path, file_id }).collect();
    Report {
        mirror: &mirror.config.name,
        cases: plan.cases,
        unknown_cases: plan.unknown_cases.iter().map(CaseArn::case_id).collect(),
        files_at_connect: plan.files,
        known: plan.known,
        others: plan.others,
        take: plan
            .entries
            .iter()
            .map(|entry| Taken {
                path: &entry.adoption.path,
                fate: entry.fate,
                file_ids: entry.adoption.take.iter().map(|one| &one.file).collect(),
            })
            .collect(),
        proposals: plan
            .proposals
            .iter()
            .map(|p| Proposed {
                path: &p.path,
                file_id: &p.tagged.file,
                case: &p.tagged.case,
                same_content: p.compared,
            })
            .collect(),
        surplus: plan.entries.iter().flat_map(|entry| &entry.surplus).collect(),
        being_scanned: named(&plan.open),
        unfinished: named(&plan.unfinished),
        ambiguous: &plan.ambiguous,
        unanswered: plan.unanswered.iter().map(|(_, file)| file).collect(),
        unlisted: plan.unlisted.iter().map(|(path, error)| Unlisted { path, error }).collect(),
        taken,
        held: held.map(HoldCode::as_str),
    }
}
