//! casedrop mirrors local folders into Amazon Connect case attachments.

mod adopt;
mod aws;
mod child;
mod cli;
mod clock;
mod config;
mod control;
mod core;
mod crash;
mod deliver;
mod fatal;
mod follow;
mod gate;
mod handover;
mod hooks;
mod host;
mod journal;
mod mirror;
mod observe;
mod passes;
mod preview;
mod pulse;
mod record;
mod resolve;
mod run;
mod scan;
#[cfg(test)]
mod sim;
mod tags;
mod truth;
mod types;
mod watch;
mod weather;
mod world;

fn main() -> std::process::ExitCode {
    cli::main()
}
