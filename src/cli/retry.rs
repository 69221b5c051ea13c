//! `casedrop retry`: lets parked files try again.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use super::context::{self, Known};
use super::exit::{Ended, Exit, Failed};
use super::out::Out;
use super::words::{files, plain};
use super::{logging, place};
use crate::config::Config;
use crate::control::{self, Reply, Request};
use crate::types::RelPath;

/// Lets parked or waiting files try again at once.
///
/// Asks the daemon, or does it in the journal when none runs; then the next `run` or `sync` goes on. A file that
/// changes leaves its park by itself and needs no retry.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casedrop retry /srv/claims/letter.pdf
  casedrop retry --mirror claims           every parked file of a mirror
  casedrop retry --all")]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true).args(["paths", "mirror", "all"]))]
pub struct Args {
    /// The files.
    #[arg(value_name = "PATH", conflicts_with = "all", value_hint = clap::ValueHint::FilePath)]
    paths: Vec<OsString>,
    /// Every parked file of this mirror; with PATH: the mirror they are in.
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    mirror: Option<String>,
    /// Every parked file.
    #[arg(long)]
    all: bool,
}

pub fn run(args: &Args, config: Option<&Path>, out: &mut Out) -> Ended {
    let config = context::config(config)?;
    logging::start(&config.log, "warn")?;
    let requests = requests(args, &config)?;
    let runtime = context::runtime(true)?;
    for request in &requests {
        let Request::Retry { mirror, .. } = request else { continue };
        let reply = runtime.block_on(Box::pin(send(&config, request)))?;
        let text =
            if reply.text.is_empty() { format!("{} to be tried again", files(reply.done)) } else { plain(&reply.text) };
        writeln!(out, "{mirror}: {text}")?;
    }
    Ok(Exit::Done)
}

/// Asks the daemon; without one, does it here.
pub async fn send(config: &Config, request: &Request) -> Result<Reply, Failed> {
    match control::ask(&config.journal_path, request).await? {
        Some(reply) => Ok(reply),
        None => Ok(Box::pin(control::offline(config, request)).await?),
    }
}

fn requests(args: &Args, config: &Config) -> Result<Vec<Request>, Failed> {
    let current = super::current_dir()?;
    let (found, _) = context::ask(config, |view| {
        let mirrors = match context::only(context::mirrors(config, view)?, args.mirror.as_deref()) {
            Ok(mirrors) => mirrors,
            Err(failed) => return Ok(Err(failed)),
        };
        let known = |mirror: &Known, path: &RelPath| {
            mirror.id.is_some_and(|id| view.file(id, path).is_ok_and(|row| row.is_some()))
        };
        let mut wanted: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        let found = match place::find_all(&args.paths, &current, &mirrors, &known) {
            Ok(found) => found,
            Err(failed) => return Ok(Err(failed)),
        };
        for (mirror, path) in found {
            if !known(mirror, &path) {
                let failed = Failed::usage(format!("casedrop has not seen {path} in mirror {}", mirror.name));
                return Ok(Err(failed.hint("see `casedrop why PATH` for what would happen to it")));
            }
            wanted.entry(mirror.name.clone()).or_default().push(path.as_bytes().to_vec());
        }
        if args.paths.is_empty() {
            // Only configured mirrors have someone to try again.
            let names = mirrors.iter().filter(|mirror| mirror.config.is_some()).map(|mirror| mirror.name.clone());
            wanted.extend(names.map(|name| (name, Vec::new())));
        }
        Ok(Ok(wanted))
    })?;
    Ok(found?.into_iter().map(|(mirror, paths)| Request::Retry { mirror, paths }).collect())
}
