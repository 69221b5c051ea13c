//! The command line: one file for each command (DESIGN §5).
//!
//! Results go to stdout through [`out::Out`], logs and errors to stderr; the exit codes stand in [`exit`]. The
//! commands that only look read the journal without changing a byte, with or without a daemon.

mod adopt;
mod check;
mod completions;
mod context;
#[cfg(feature = "sandbox")]
mod demo;
mod exit;
mod flush;
mod get;
mod keep;
mod list;
mod log;
mod logging;
mod man;
mod out;
mod paused;
mod place;
mod plan;
mod policy;
mod release;
mod report;
mod retry;
mod run;
#[cfg(feature = "sandbox")]
mod sandbox;
mod status;
mod sync;
#[cfg(test)]
mod tests;
mod verify;
mod why;
mod words;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::exit::{Ended, Failed};
use self::out::Out;

/// Mirrors local folders into Amazon Connect case attachments.
///
/// A file put into a folder becomes an attachment of the right case; a changed file is replaced, a removed one deleted
/// after a while. One TOML file says which folders and which cases; `casedrop check` tells whether it is right.
#[derive(Debug, Parser)]
#[command(
    name = "casedrop",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "\
First steps:
  casedrop demo ./drop                 try it, with a stand-in for AWS and nothing else needed
  casedrop check                       is the configuration right, can AWS be reached?
  casedrop plan                        what would be done?
  casedrop run                         the daemon
  casedrop why claims/letter.pdf       what became of this file?

Exit codes: 0 done; 1 some files are parked or failed; 2 usage; 3 `plan` found work; 75 temporary, try again;
78 a person must act (configuration, credentials, a hold)."
)]
struct Cli {
    /// The configuration file; else $CASEDROP_CONFIG, else /etc/casedrop/casedrop.toml.
    #[arg(long, global = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Sync(sync::Args),
    Plan(plan::Args),
    Status(status::Args),
    List(list::Args),
    Why(why::Args),
    Log(log::Args),
    Verify(verify::Args),
    Report(report::Args),
    Get(get::Args),
    Flush(flush::Args),
    Retry(retry::Args),
    Keep(keep::Args),
    Release(release::Args),
    Adopt(adopt::Args),
    Check(check::Args),
    #[cfg(feature = "sandbox")]
    Demo(demo::Args),
    #[cfg(feature = "sandbox")]
    Sandbox(sandbox::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// The whole program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are results, everything else is a message; a closed pipe is nobody's trouble.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let mut out = Out::stdout();
    let ended = carry_out(cli.command, cli.config.as_deref(), &mut out);
    match ended.and_then(|exit| out.flush().map(|()| exit)) {
        Ok(exit) => exit.into(),
        Err(failed) => {
            // What was found before the failure is still worth reading; if that fails too, this failure counts.
            let _ = out.flush();
            failed.print();
            failed.exit.into()
        }
    }
}

fn carry_out(command: Command, config: Option<&Path>, out: &mut Out) -> Ended {
    match command {
        Command::Run(args) => run::run(&args, config),
        Command::Sync(args) => sync::run(&args, config, out),
        Command::Plan(args) => plan::run(&args, config, out),
        Command::Status(args) => status::run(&args, config, out),
        Command::List(args) => list::run(&args, config, out),
        Command::Why(args) => why::run(&args, config, out),
        Command::Log(args) => log::run(&args, config, out),
        Command::Verify(args) => verify::run(&args, config, out),
        Command::Report(args) => report::run(&args, config, out),
        Command::Get(args) => get::run(&args, config, out),
        Command::Flush(args) => flush::run(&args, config, out),
        Command::Retry(args) => retry::run(&args, config, out),
        Command::Keep(args) => keep::run(&args, config, out),
        Command::Release(args) => release::run(&args, config, out),
        Command::Adopt(args) => adopt::run(&args, config, out),
        Command::Check(args) => check::run(&args, config, out),
        #[cfg(feature = "sandbox")]
        Command::Demo(args) => demo::run(&args, out),
        #[cfg(feature = "sandbox")]
        Command::Sandbox(args) => sandbox::run(&args, out),
        Command::Completions(args) => completions::run(&args, out),
        Command::Man(args) => man::run(&args, out),
    }
}

/// The current folder, for relative paths.
fn current_dir() -> Result<PathBuf, Failed> {
    std::env::current_dir().map_err(|e| Failed::usage(format!("cannot tell the current folder: {e}")))
}
