//! `casedrop completions SHELL`.

use clap::CommandFactory as _;

use super::exit::{Ended, Exit};
use super::out::Out;

/// Prints the completions for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casedrop completions bash > /etc/bash_completion.d/casedrop
  casedrop completions zsh > ~/.zfunc/_casedrop
  casedrop completions fish > ~/.config/fish/completions/casedrop.fish")]
pub struct Args {
    /// The shell.
    shell: clap_complete::Shell,
}

pub fn run(args: &Args, out: &mut Out) -> Ended {
    // Into memory first: the generator panics when its sink fails, as a closed pipe does.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "casedrop", &mut text);
    out.bytes(&text)?;
    Ok(Exit::Done)
}
