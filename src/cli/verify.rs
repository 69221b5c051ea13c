//! `casedrop verify`: journal, disk and Connect compared; what differs is shown, and repaired when asked.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use clap::builder::PossibleValuesParser;
use serde::Serialize;

use super::exit::{Ended, Exit, Failed};
use super::out::Out;
use super::words::{files, plain};
use super::{context, logging, retry};
use crate::adopt::Session;
use crate::aws::Failure;
use crate::config::Config;
use crate::control::{self, Request};
use crate::core::compare::{Action, Class};
use crate::core::model::HoldCode;
use crate::journal::{Difference, Reader, Verification};
use crate::truth::Manners;
use crate::truth::case::Trouble;
use crate::truth::run::{Stepped, Verifier};
use crate::types::{CaseArn, FileId, RelPath, UnixMillis};

/// Compares journal, folder and Connect, and shows what differs.
///
/// Finds attachments that are missing, altered or refused at Connect, content that changed here unnoticed, files there
/// that carry casedrop's tags and that the journal does not know, and older ones beside newer ones. Each difference has
/// a class and a proposal; nothing is repaired unless --fix names its class. With a daemon, the daemon does it.
///
/// Exit code 0 when all agree, 1 when something differs (or is left after --fix), 75 when some answers were not certain
/// or AWS could not be reached, 78 when a person must act.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casedrop verify
  casedrop verify --deep                   also downloads every attachment and compares its SHA-256
  casedrop verify --fix missing            attaches anew what somebody deleted at Connect
  casedrop verify --fix orphan --count 3   deletes the three that are shown
  casedrop verify --json | jq -r '.differences[].class' | sort | uniq -c")]
pub struct Args {
    /// Only this mirror.
    #[arg(long, value_name = "NAME")]
    mirror: Option<String>,
    /// Download every attachment and compare its content.
    #[arg(long)]
    deep: bool,
    /// Repair the differences of this class; may be given several times. Classes that delete at Connect ask for their
    /// number.
    #[arg(long, value_name = "CLASS", value_parser = PossibleValuesParser::new(Class::ALL.map(Class::as_str)))]
    fix: Vec<String>,
    /// How many files may be deleted at Connect; must be exactly the number that casedrop finds.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// No progress.
    #[arg(long, short)]
    quiet: bool,
    /// One JSON object for each mirror, for scripts.
    #[arg(long)]
    json: bool,
}

/// Most differences of a class that are shown.
const MOST: usize = 20;
/// Time between two lines of progress.
const PAUSE: Duration = Duration::from_secs(5);
/// How often the daemon's progress is looked at.
const TICK: Duration = Duration::from_millis(200);
/// How long a trouble of the daemon may last before the command ends; the daemon goes on.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Serialize)]
struct Report<'a> {
    mirror: &'a str,
    files: u64,
    undecided: u64,
    deep: bool,
    verified_at: Option<String>,
    differences: Vec<Shown<'a>>,
    repaired: u64,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    class: Class,
    path: Option<&'a RelPath>,
    case: &'a CaseArn,
    file_id: Option<&'a FileId>,
    text: &'a str,
    proposal: &'static str,
    found_at: String,
    detail: &'a serde_json::Value,
}

/// What was compared, and the mirrors that cannot be: their journal was lost.
type Outcome = (Vec<Compared>, Vec<String>);

/// What a comparison of one mirror ended with.
struct Compared {
    name: String,
    state: Verification,
    differences: Vec<Difference>,
}

pub fn run(args: &Args, config: Option<&Path>, out: &mut Out) -> Ended {
    let config = context::checked_config(config)?;
    logging::start(&config.log, "error")?;
    let names: Vec<String> = config.mirrors.iter().map(|mirror| mirror.name.clone()).collect();
    if let Some(name) = args.mirror.as_ref().filter(|name| !names.contains(name)) {
        return Err(Failed::usage(format!("there is no mirror {name:?}; there are: {}", names.join(", "))));
    }
    if context::reader(&config)?.is_none() {
        return Err(Failed::new(Exit::Person, context::no_journal(&config)));
    }
    let wanted: Vec<String> =
        names.into_iter().filter(|name| args.mirror.as_ref().is_none_or(|only| only == name)).collect();
    let runtime = context::runtime(true)?;
    let daemon = context::daemon(&config.journal_path).is_some();
    let (compared, lost) = runtime.block_on(Box::pin(async {
        if daemon {
            Box::pin(by_daemon(args, &config, &wanted)).await
        } else {
            Box::pin(alone(args, &config, &wanted)).await
        }
    }))?;
    let mut worst = Exit::Done;
    for one in compared {
        worst = worse(worst, conclude(args, &config, &runtime, one, out)?);
    }
    if lost.is_empty() {
        return Ok(worst);
    }
    let text = format!("held by journal-rebuilt, so its journal says nothing yet: mirror {}", lost.join(", "));
    Err(Failed::new(Exit::Person, text).hint(HoldCode::JournalRebuilt.remedy()))
}

/// A person first, then what passes by itself, then differences.
fn worse(a: Exit, b: Exit) -> Exit {
    let rank = |exit: Exit| match exit {
        Exit::Done => 0,
        Exit::Parked => 1,
        Exit::Temporary => 2,
        Exit::Usage | Exit::Work | Exit::Person => 3,
    };
    if rank(b) > rank(a) { b } else { a }
}

/// Shows one mirror's differences and repairs what was asked for.
fn conclude(
    args: &Args,
    config: &Config,
    runtime: &tokio::runtime::Runtime,
    one: Compared,
    out: &mut Out,
) -> Result<Exit, Failed> {
    if !args.json {
        show(&one, out)?;
        out.flush()?;
    }
    let fix: Vec<Class> = args.fix.iter().filter_map(|word| Class::parse(word)).collect();
    let asked = |d: &&Difference| fix.contains(&d.class) && d.class.action() != Action::Nothing;
    let deletes = one.differences.iter().filter(asked).filter(|d| d.class.action().deletes()).count() as u64;
    let mut repaired = 0;
    if one.differences.iter().any(|d| asked(&d)) {
        confirm(args.count, deletes, &one.name)?;
        for class in Class::ALL.into_iter().filter(|class| fix.contains(class)) {
            let count = one.differences.iter().filter(|d| d.class == class).count() as u64;
            if count == 0 || class.action() == Action::Nothing {
                continue;
            }
            let request = Request::Repair { mirror: one.name.clone(), class: class.as_str().to_owned(), count };
            let reply = runtime.block_on(Box::pin(retry::send(config, &request)))?;
            repaired += reply.done;
            if !args.json {
                writeln!(out, "{}: {class}: {}", one.name, plain(&reply.text), class = class.as_str())?;
            }
        }
        if repaired > 0 && context::daemon(&config.journal_path).is_none() && !args.json {
            writeln!(out, "no daemon runs: `casedrop sync` or `casedrop run` carries it out")?;
        }
    }
    if args.json {
        out.json(&report(&one, repaired))?;
    }
    Ok(if one.differences.len() as u64 > repaired {
        Exit::Parked
    } else if one.state.last_undecided > 0 {
        Exit::Temporary
    } else {
        Exit::Done
    })
}

/// What is deleted for good wants its number.
fn confirm(given: Option<u64>, deletes: u64, mirror: &str) -> Result<(), Failed> {
    if deletes == 0 {
        return Ok(());
    }
    let refused = |text: String| Failed::new(Exit::Person, format!("{text}; nothing was repaired in mirror {mirror}"));
    let given = match given {
        Some(given) => given,
        None if std::io::stdin().is_terminal() => {
            // The question belongs to the conversation, not to the results.
            let _ = write!(
                std::io::stderr(),
                "Type the number of files to be deleted at Connect for good ({deletes}) to go on: "
            );
            let mut line = String::new();
            let read = std::io::stdin().read_line(&mut line);
            let answer = read.ok().and_then(|_| line.trim().parse().ok());
            answer.ok_or_else(|| refused("no number was typed".to_owned()))?
        }
        None => return Err(refused(format!("deleting at Connect wants the number: --count {deletes}"))),
    };
    if given == deletes {
        return Ok(());
    }
    Err(refused(format!("{given} is not the number of files to be deleted, which is {deletes}")))
}

/// Lets the daemon do it, and watches the journal.
async fn by_daemon(args: &Args, config: &Config, wanted: &[String]) -> Result<Outcome, Failed> {
    let reader = Reader::open(&config.journal_path)?;
    let (mut compared, mut lost) = (Vec::with_capacity(wanted.len()), Vec::new());
    for name in wanted {
        let Some(row) = reader.mirror_by_name(name)? else {
            return Err(Failed::new(Exit::Temporary, format!("the daemon has not taken up mirror {name} yet")));
        };
        if row.holds.iter().any(|hold| hold.code == HoldCode::JournalRebuilt) {
            lost.push(name.clone());
            continue;
        }
        let request = Request::Verify { mirror: name.clone(), deep: args.deep };
        if control::ask(&config.journal_path, &request).await?.is_none() {
            return Err(Failed::new(Exit::Temporary, "the daemon has just stopped; try again"));
        }
        let mut told = Lines::new(args.quiet);
        let mut trouble_since: Option<Instant> = None;
        let state = loop {
            let Some(state) = reader.verification(row.id)? else {
                return Err(Failed::new(Exit::Temporary, "the daemon did not begin"));
            };
            if state.began_at.is_none() {
                break state;
            }
            told.state(name, &state, state.trouble.as_deref());
            match &state.trouble {
                None => trouble_since = None,
                Some(text) if trouble_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE => {
                    let text = format!("mirror {name}: {}; the daemon goes on by itself", plain(text));
                    return Err(Failed::new(Exit::Temporary, text));
                }
                Some(_) => {}
            }
            if context::daemon(&config.journal_path).is_none() {
                return Err(Failed::new(Exit::Temporary, "the daemon has stopped; its next start goes on"));
            }
            tokio::time::sleep(TICK).await;
        };
        let differences = reader.differences(row.id, usize::MAX)?;
        compared.push(Compared { name: name.clone(), state, differences });
    }
    Ok((compared, lost))
}

/// Does it under the journal's lock.
async fn alone(args: &Args, config: &Config, wanted: &[String]) -> Result<Outcome, Failed> {
    let session = Session::open(config).await?;
    let compared = Box::pin(compare_all(args, wanted, &session)).await;
    session.close().await;
    compared
}

async fn compare_all(args: &Args, wanted: &[String], session: &Session) -> Result<Outcome, Failed> {
    let (mut compared, mut lost) = (Vec::with_capacity(wanted.len()), Vec::new());
    for mirror in session.mirrors().iter().filter(|mirror| wanted.contains(&mirror.config.name)) {
        let name = mirror.config.name.clone();
        if mirror.is_held_by(HoldCode::JournalRebuilt) {
            lost.push(name);
            continue;
        }
        session.renew_root(mirror).await?;
        let verifier = Verifier::new(session.journal(), session.aws(), mirror, false)?;
        let resumes = |state: &Verification| state.began_at.is_some() && state.by_hand && state.deep == args.deep;
        if !verifier.state()?.as_ref().is_some_and(resumes) {
            verifier.begin(args.deep, true).await?;
        }
        let mut told = Telling { name: name.clone(), verifier: &verifier, lines: Lines::new(args.quiet) };
        loop {
            match Box::pin(verifier.step(&mut told)).await {
                Ok(Stepped::Case) => {}
                Ok(Stepped::Ended | Stepped::Idle) => break,
                Err(Trouble::Failure(failure)) => {
                    return Err(Failed::from(failure).hint("another `casedrop verify` goes on where this one ended"));
                }
                Err(Trouble::Journal(error)) => return Err(error.into()),
            }
        }
        let state = verifier.state()?.unwrap_or_default();
        compared.push(Compared { name, state, differences: session.differences(mirror)? });
    }
    Ok((compared, lost))
}

/// Progress on stderr, one line now and then.
struct Lines {
    quiet: bool,
    last: Option<Instant>,
}

impl Lines {
    fn new(quiet: bool) -> Self {
        Self { quiet, last: None }
    }

    fn state(&mut self, name: &str, state: &Verification, trouble: Option<&str>) {
        if self.quiet || self.last.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        self.last = Some(Instant::now());
        let trouble = trouble.map(|text| format!("; {}", plain(text))).unwrap_or_default();
        // Progress is a courtesy: without stderr the work goes on.
        let _ = writeln!(
            std::io::stderr(),
            "casedrop: {name}: comparing: {} of {} cases, {}{trouble}",
            state.cases_done,
            state.cases,
            files(state.files)
        );
    }
}

/// Shows progress before each question.
struct Telling<'v> {
    name: String,
    verifier: &'v Verifier,
    lines: Lines,
}

impl Manners for Telling<'_> {
    async fn before(&mut self) {
        if let Ok(Some(state)) = self.verifier.state() {
            self.lines.state(&self.name, &state, None);
        }
    }

    async fn trouble(&mut self, failure: &Failure, pause: Duration) {
        self.lines.last = None;
        let text = format!("{failure}; again in {} s", pause.as_secs());
        if let Ok(Some(state)) = self.verifier.state() {
            self.lines.state(&self.name, &state, Some(&text));
        }
    }
}

fn show(one: &Compared, out: &mut Out) -> Result<(), Failed> {
    let Compared { name, state, differences } = one;
    let cases = if state.cases_done == 1 { "1 case".to_owned() } else { format!("{} cases", state.cases_done) };
    let depth = if state.deep { ", contents included" } else { "" };
    write!(out, "mirror {name}: {} on {cases} compared{depth}: ", files(state.last_files))?;
    match (differences.len(), state.last_undecided) {
        (0, 0) => writeln!(out, "all agree")?,
        (0, _) => writeln!(out, "none is known to differ")?,
        (some, _) => writeln!(out, "{some} differ")?,
    }
    let mut by_class: BTreeMap<Class, Vec<&Difference>> = BTreeMap::new();
    for difference in differences {
        by_class.entry(difference.class).or_default().push(difference);
    }
    for (class, list) in by_class {
        writeln!(out, "\n{} {}", list.len(), class.as_str())?;
        for d in list.iter().take(MOST) {
            let path = d.path.as_ref().map_or_else(|| "(a long path)".to_owned(), ToString::to_string);
            let file = d.file_id.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
            writeln!(out, "  {path}\n    FileId {file} on case {}", d.case.case_id())?;
            writeln!(out, "    {}", plain(&d.text))?;
        }
        if list.len() > MOST {
            writeln!(out, "  and {} more (all of them with --json)", list.len() - MOST)?;
        }
        match class.action() {
            Action::Nothing => writeln!(out, "  to do: {}", class.proposal())?,
            _ => writeln!(out, "  to {}: `casedrop verify --fix {}`", class.proposal(), class.as_str())?,
        }
    }
    if state.last_undecided > 0 {
        writeln!(
            out,
            "\n{} without a certain answer (too young, the answers contradict each other, or the mirror's folder is not there): compare again later",
            files(state.last_undecided)
        )?;
    }
    Ok(())
}

fn report(one: &Compared, repaired: u64) -> Report<'_> {
    Report {
        mirror: &one.name,
        files: one.state.last_files,
        undecided: one.state.last_undecided,
        deep: one.state.deep,
        verified_at: one.state.ended_at.map(|at: UnixMillis| at.to_string()),
        differences: one
            .differences
            .iter()
            .map(|d| Shown {
                class: d.class,
                path: d.path.as_ref(),
                case: &d.case,
                file_id: d.file_id.as_ref(),
                text: &d.text,
                proposal: d.class.proposal(),
                found_at: d.found_at.to_string(),
                detail: &d.detail,
            })
            .collect(),
        repaired,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_number_deletes() {
        assert_eq!(confirm(None, 0, "m"), Ok(()));
        assert_eq!(confirm(Some(3), 3, "m"), Ok(()));
        assert_eq!(confirm(Some(2), 3, "m").unwrap_err().exit, Exit::Person);
    }
}
