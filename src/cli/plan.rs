//! `casedrop plan`: what `sync` would do and why, without writing anything anywhere (invariant 21).

use std::collections::BTreeMap;
use std::path::Path;

use super::exit::{Ended, Exit, Failed};
use super::out::Out;
use super::words::{files, plain};
use super::{context, logging};
use crate::preview::Planned;
use crate::types::ByteCount;

/// What `sync` would do and why; changes nothing.
///
/// Exit code 0 when there is nothing to do, 3 when there is work.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  casedrop plan\n  casedrop plan --json | jq -r 'select(.action == \"delete\") | .path'"
)]
pub struct Args {
    /// One JSON object on each line, for scripts.
    #[arg(long)]
    json: bool,
}

/// The actions, in the order they are shown, and whether each is work.
const ACTIONS: [(&str, bool); 15] = [
    ("upload", true),
    ("replace", true),
    ("move", true),
    ("delete", true),
    ("finish", true),
    ("archive", true),
    ("remove", true),
    ("quarantine", true),
    ("hold", false),
    ("wait", false),
    ("keep", false),
    ("park", false),
    ("forget", false),
    ("unroute", false),
    ("ignore", false),
];

pub fn run(args: &Args, config: Option<&Path>, out: &mut Out) -> Ended {
    let config = context::checked_config(config)?;
    logging::start(&config.log, "warn")?;
    let planned = context::runtime(true)?.block_on(Box::pin(crate::preview::preview(&config)))?;
    if args.json {
        planned.iter().try_for_each(|one| out.json(one))?;
    } else {
        show(&planned, out)?;
    }
    Ok(if planned.iter().any(|p| is_work(p.action)) { Exit::Work } else { Exit::Done })
}

fn is_work(action: &str) -> bool {
    ACTIONS.iter().any(|(word, work)| *work && *word == action)
}

fn show(planned: &[Planned], out: &mut Out) -> Result<(), Failed> {
    let rank = |action: &str| ACTIONS.iter().position(|(word, _)| *word == action).unwrap_or(ACTIONS.len());
    let mut groups: BTreeMap<(&str, usize, &str), Vec<&Planned>> = BTreeMap::new();
    for p in planned {
        groups.entry((&p.mirror, rank(p.action), p.action)).or_default().push(p);
    }
    let mut mirror = "";
    for ((name, _, action), group) in &groups {
        if mirror != *name {
            let gap = if mirror.is_empty() { "" } else { "\n" };
            writeln!(out, "{gap}mirror {name}")?;
            mirror = name;
        }
        writeln!(out, "  {action}  ({})", files(group.len() as u64))?;
        for p in group {
            let size = p.size.map(|size| format!("  {}", ByteCount(size))).unwrap_or_default();
            writeln!(out, "    {}{size}  {}", p.path, plain(&p.why))?;
            if is_work(action)
                && let Some(case) = &p.case
            {
                let name = p.name.as_deref().map(|name| format!(" as {name}")).unwrap_or_default();
                writeln!(out, "      case {}{name}", case.case_id())?;
            }
        }
    }
    writeln!(out, "{}", totals(planned))
}

fn totals(planned: &[Planned]) -> String {
    let counted: Vec<String> = ACTIONS
        .iter()
        .map(|(word, _)| (planned.iter().filter(|p| p.action == *word).count(), word))
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{n} {word}"))
        .collect();
    let uploads = planned.iter().filter(|p| matches!(p.action, "upload" | "replace"));
    let bytes: u64 = uploads.filter_map(|p| p.size).fold(0, u64::saturating_add);
    let sum = if counted.is_empty() { "nothing to do".to_owned() } else { counted.join(", ") };
    if bytes == 0 { format!("total: {sum}") } else { format!("total: {sum}; {} to upload", ByteCount(bytes)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{CaseArn, RelPath};

    fn planned(action: &'static str, path: &str) -> Planned {
        Planned {
            mirror: "claims".to_owned(),
            path: RelPath::new(path.as_bytes()).unwrap(),
            action,
            why: "new".to_owned(),
            case: CaseArn::new("arn:aws:cases:eu-west-2:1:domain/d/case/c-1"),
            name: Some(path.replace('/', " - ")),
            size: Some(2_048),
        }
    }

    #[test]
    fn work_is_what_changes_something() {
        let work: Vec<&str> = ACTIONS.iter().filter(|(_, work)| *work).map(|(word, _)| *word).collect();
        assert_eq!(work, ["upload", "replace", "move", "delete", "finish", "archive", "remove", "quarantine"]);
        assert!(!is_work("wait") && !is_work("unknown"));
    }

    #[test]
    fn totals_are_in_words() {
        let list = [planned("upload", "a/b"), planned("upload", "c"), planned("ignore", "d")];
        assert_eq!(totals(&list), "total: 2 upload, 1 ignore; 4.0 KiB to upload");
        assert_eq!(totals(&[]), "total: nothing to do");
    }
}
