//! `casedrop release MIRROR`: ends a hold by hand, with open eyes.
//!
//! What will be deleted is shown first, and its number must come back: typed, or as `--count`. A number that is no
//! longer right releases nothing. With `--host` it is the journal that a person lets go: from another host to this one.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use super::exit::{Ended, Exit, Failed};
use super::out::Out;
use super::words::{files, moment, plain};
use super::{context, logging, retry};
use crate::config::{Config, DeletePolicy};
use crate::control::{self, Request};
use crate::core::model::{HoldCode, RootIdentity};
use crate::fatal::Fatal;
use crate::journal::Journal;
use crate::types::UnixMillis;

/// Leaves a hold, after showing what will happen.
///
/// Shows the hold and how many files are gone here and will be deleted at Connect; then asks for that number. Without a
/// terminal, --count must give it exactly.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  casedrop release claims\n  casedrop release claims --count 120
  casedrop release --host                  this journal comes from another host and stays here")]
pub struct Args {
    /// The mirror.
    #[arg(required_unless_present = "host")]
    mirror: Option<String>,
    /// Lets the journal of another host work on this one, where casedrop refuses it.
    #[arg(long, conflicts_with = "mirror")]
    host: bool,
    /// How many files may be deleted, or with --host are attached; must be exactly the number that casedrop finds.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// Files named before the question.
const SHOWN: usize = 20;

pub fn run(args: &Args, config: Option<&Path>, out: &mut Out) -> Ended {
    let config = context::config(config)?;
    logging::start(&config.log, "warn")?;
    let Some(name) = &args.mirror else { return take_over(args, &config, out) };
    let now = UnixMillis::now();
    let (found, _) = context::ask(&config, |view| {
        let mirrors = match context::only(context::mirrors(&config, view)?, Some(name)) {
            Ok(mirrors) => mirrors,
            Err(failed) => return Ok(Err(failed)),
        };
        let Some(mirror) = mirrors.into_iter().next() else { return Ok(Err(Failed::usage("no such mirror"))) };
        let Some(id) = mirror.id else { return Ok(Ok((mirror, 0, 0, Vec::new()))) };
        let (tracked, count) = (view.tracked_count(id)?, view.waiting_deletes(id)?);
        Ok(Ok((mirror, tracked, count, view.files_with(id, "deleting", None, SHOWN)?)))
    })?;
    let (mirror, tracked, count, absent) = found?;
    let holds = mirror.row.as_ref().map(|row| row.holds.clone()).unwrap_or_default();
    if holds.is_empty() {
        writeln!(out, "mirror {} is not held: nothing to release", mirror.name)?;
        return Ok(Exit::Done);
    }
    let mut stands = None;
    for hold in &holds {
        writeln!(out, "mirror {} is held: {} since {}", mirror.name, hold.code, moment(hold.since, now))?;
        writeln!(out, "  {}", plain(&hold.detail))?;
        match hold.code {
            HoldCode::RootReplaced => {
                stands = Some(root_to_accept(&config, &mirror, tracked, out)?);
            }
            HoldCode::RootMissing | HoldCode::RootUnreadable | HoldCode::Auth => {
                writeln!(out, "  As long as its cause is there, the hold comes back.")?;
            }
            HoldCode::AllChanged => {
                writeln!(out, "  The new contents will take the place of the old ones at Connect, this once.")?;
            }
            HoldCode::JournalRebuilt => {
                writeln!(
                    out,
                    "  Every file that the journal does not know to be attached will be uploaded, also what is attached already."
                )?;
            }
            HoldCode::RootEmptied | HoldCode::DeleteBudget => {}
        }
    }
    let keeps = mirror.config.as_ref().is_some_and(|config| config.delete == DeletePolicy::Keep);
    if keeps {
        writeln!(out, "  Nothing will be deleted at Connect: the mirror has delete = \"keep\".")?;
    } else {
        writeln!(out, "  {} gone here; their attachments will be deleted at Connect, for good:", files(count))?;
    }
    for row in absent.iter().take(if keeps { 0 } else { SHOWN }) {
        writeln!(out, "    {}", row.path)?;
    }
    if !keeps && count > absent.len() as u64 {
        writeln!(out, "    and {} more: `casedrop list --mirror {}`", count - absent.len() as u64, mirror.name)?;
    }
    out.flush()?;
    confirm(args.count, count, "files gone here")?;
    let shown = holds.iter().map(|hold| hold.code.as_str().to_owned()).collect();
    let request = Request::Release { mirror: mirror.name.clone(), holds: shown, count, root: stands };
    let reply = context::runtime(true)?.block_on(Box::pin(retry::send(&config, &request)))?;
    writeln!(
        out,
        "released{}",
        if reply.text.is_empty() { String::new() } else { format!(": {}", plain(&reply.text)) }
    )?;
    Ok(Exit::Done)
}

/// Shows what stands at the mirror's path, as the daemon sees it where one runs: that very folder is what a release
/// accepts, and no other that may come there while a person types.
fn root_to_accept(
    config: &Config,
    mirror: &context::Known,
    tracked: u64,
    out: &mut Out,
) -> Result<RootIdentity, Failed> {
    let runtime = context::runtime(true)?;
    let request = Request::Stands { mirror: mirror.name.clone() };
    let looked = runtime.block_on(async {
        match control::ask(&config.journal_path, &request).await? {
            Some(reply) => {
                let old = || Fatal::person("the daemon is of another version: restart it".to_owned());
                reply.stands.ok_or_else(old)
            }
            None => control::stands(&mirror.root).await,
        }
    });
    let stands = looked.map_err(|Fatal { kind, text }| {
        Failed::from(Fatal { kind, text: format!("{}; nothing was released", plain(&text)) })
            .hint("only a folder that the daemon can open can be accepted; if it is not the right one, bring that back, and the hold ends by itself")
    })?;
    let own = mirror.row.as_ref().and_then(|row| row.identity).is_some_and(|own| own.is_same_as(&stands.root));
    let root = mirror.root.display();
    let text = match (own, stands.empty) {
        (true, _) => format!("The mirror's own folder is back at {root}: no other is accepted."),
        (false, true) => format!("The folder that now stands at {root}, an empty one, will be taken as the mirror's."),
        (false, false) => format!("The folder that now stands at {root} will be taken as the mirror's."),
    };
    writeln!(out, "  {text}")?;
    if !own {
        writeln!(
            out,
            "  Of {} that are attached, those that are not in it count as removed from then on.",
            files(tracked)
        )?;
    }
    Ok(stands.root)
}

/// Moves the journal to this host.
fn take_over(args: &Args, config: &Config, out: &mut Out) -> Ended {
    let (found, _) = context::ask(config, |view| Ok((view.host()?, view.counts(None)?)))?;
    let (host, counts) = found;
    let Some((_, name, since)) = host else {
        writeln!(out, "{}", context::no_journal(config))?;
        return Ok(Exit::Done);
    };
    let attached = counts.iter().filter(|(word, _)| *word == "attached").map(|(_, n)| n).sum();
    writeln!(out, "the journal {} belongs to the host {} since {since}", config.journal_path.display(), plain(&name))?;
    writeln!(
        out,
        "  From now on this host follows, replaces and deletes what it holds: {} attached.",
        files(attached)
    )?;
    writeln!(out, "  casedrop must not run on {} with a copy of it any more.", plain(&name))?;
    out.flush()?;
    confirm(args.count, attached, "files attached")?;
    let journal = Journal::take_over(&config.journal_path)?;
    journal.close();
    writeln!(out, "released: the journal belongs to this host")?;
    Ok(Exit::Done)
}

/// The number must come back.
fn confirm(given: Option<u64>, count: u64, what: &str) -> Result<(), Failed> {
    let refused = |text: String| Failed::new(Exit::Person, format!("{text}; nothing was released"));
    let given = match given {
        Some(given) => given,
        None if std::io::stdin().is_terminal() => {
            // The question belongs to the conversation, not to the results.
            let _ = write!(std::io::stderr(), "Type the number of {what} ({count}) to go on: ");
            let mut line = String::new();
            let read = std::io::stdin().read_line(&mut line);
            let answer = read.ok().and_then(|_| line.trim().parse().ok());
            answer.ok_or_else(|| refused(format!("{:?} is not the number {count}", line.trim())))?
        }
        None => {
            return Err(refused("a person has to confirm this".to_owned())
                .hint(format!("run it in a terminal, or give --count {count} if that is what you want")));
        }
    };
    if given == count {
        return Ok(());
    }
    Err(refused(format!("{given} is not the number of {what}, which is {count}")).hint("look at the list again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_number_releases() {
        assert_eq!(confirm(Some(3), 3, "files gone here"), Ok(()));
        assert_eq!(confirm(Some(2), 3, "files gone here").unwrap_err().exit, Exit::Person);
        assert_eq!(confirm(Some(0), 3, "files gone here").unwrap_err().exit, Exit::Person);
    }
}
