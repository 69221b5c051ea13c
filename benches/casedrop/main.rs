//! `cargo bench --bench casedrop`: what DESIGN section 9 wants measured, with the real binary on real files.
//!
//! Every figure stands beside a yardstick of the same run, because the machine's speed is nobody's merit. The sandbox
//! runs in this process and keeps no content; CPU seconds are those of the measured program alone. Nothing here fails
//! for being slow: it fails when files are not attached.
//!
//! `CASEDROP_BENCH=quick` takes small numbers; names after `--` choose items (`attach known large latency quota quota10`).

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a bench prints its results and reads the real clock"
)]

mod attach;
mod child;
mod known;
mod large;
mod latency;
mod quota;
mod quota10;
mod sink;
mod stage;
mod table;

use table::Table;

type Item = fn(bool, &mut Table) -> anyhow::Result<()>;

const ITEMS: [(&str, Item); 6] = [
    ("attach", attach::run),
    ("known", known::run),
    ("large", large::run),
    ("latency", latency::run),
    ("quota", quota::run),
    ("quota10", quota10::run),
];

fn main() -> anyhow::Result<()> {
    let quick = std::env::var("CASEDROP_BENCH").is_ok_and(|kind| kind == "quick");
    // Cargo itself passes `--bench`.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if let Some(unknown) = wanted.iter().find(|name| ITEMS.iter().all(|(item, _)| item != name)) {
        let names = ITEMS.map(|(item, _)| item).join(", ");
        anyhow::bail!("no item is called {unknown}: {names}");
    }
    let mut table = Table::default();
    for (name, item) in ITEMS {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            eprintln!("== {name}");
            item(quick, &mut table)?;
        }
    }
    println!("{table}");
    Ok(())
}
