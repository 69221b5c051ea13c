//! The tests of the whole program, in one binary: each is a scene of the real `casedrop` against a sandbox in this
//! process. One binary links the SDK once and lets scenes, which mostly wait, run side by side.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test may stop at what it did not expect"
)]

mod adopt;
mod churn;
#[cfg(feature = "sandbox")]
mod cli_demo;
mod clocks;
mod common;
mod convert;
mod disks;
mod drop_folder;
mod emptied;
mod ends;
mod fair;
mod faults;
mod flush;
mod guard;
mod handover_kill;
mod hidden;
mod hooks;
mod in_the_way;
mod ingest;
mod kill;
mod kill_points;
mod lessons;
mod mirror;
mod mounts;
mod output;
mod past;
mod preflight;
mod protocols;
mod readme;
mod refusals;
mod routing;
mod scans;
mod service;
mod stopping;
mod strange;
mod switches;
mod verify;
