//! `casedrop run`: the daemon.

use std::path::Path;

use rustix::process::{Signal, getpid, kill_process};

use super::exit::{Ended, Exit};
use super::{context, logging};
use crate::config::Config;

/// The daemon: watches the folders and keeps Connect in step.
///
/// Runs until SIGTERM or Ctrl-C, which finishes or parks what is in flight; a second one ends at once. SIGHUP reads the
/// configuration again; a broken one is refused and the old one stays in force. Logs go to stderr.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casedrop run
  casedrop --config ./casedrop.toml run
  CASEDROP_LOG=debug casedrop run")]
pub struct Args {
    /// Stop when stdin ends, as when the program that started this one is killed.
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
}

pub fn run(args: &Args, path: Option<&Path>) -> Ended {
    let config = context::checked_config(path)?;
    logging::start(&config.log, &config.log.level)?;
    if args.until_stdin_ends {
        std::thread::spawn(|| {
            // However it ends, nobody is there any more.
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            let _ = kill_process(getpid(), Signal::TERM);
        });
    }
    let path = path.map(Path::to_owned);
    let reload = move || Config::load(path.as_deref(), &|name| std::env::var_os(name)).map_err(|e| e.to_string());
    let runtime = context::runtime(true)?;
    runtime.block_on(Box::pin(crate::run::daemon(config, Box::new(reload))))?;
    Ok(Exit::Done)
}
