//! One large file beside `openssl dgst -sha256` and then `curl -T` of the same file: it is hashed, then streamed.
//!
//! Two receivers for curl: one that hashes what arrives, as the sandbox does for casedrop, and one that only reads.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::child::{self, Cost, measure};
use crate::sink;
use crate::stage::{Stage, Tree, UNLIMITED, name};
use crate::table::{Table, at_most, median};

pub fn run(quick: bool, table: &mut Table) -> anyhow::Result<()> {
    let (mib, rounds) = if quick { (10_u64, 3) } else { (100, 9) };
    let bytes = mib << 20;
    let (tree, small) = (Tree::new(1, 1)?, Tree::new(1, 1)?);
    let path = tree.path().join(name(0));
    let mut file = std::fs::File::create(&path)?;
    for part in 0..mib {
        file.write_all(&vec![u8::try_from(part % 251)?; 1 << 20])?;
    }
    file.sync_all()?;
    let (hashing, reading) = (sink::start(true)?, sink::start(false)?);
    let can_compare = child::exists("openssl") && child::exists("curl");
    let (mut ours, mut fixed, mut hashed, mut read) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        for (tree, into) in [(&small, &mut fixed), (&tree, &mut ours)] {
            let stage = Stage::new(tree.path(), 1, UNLIMITED, |settings| settings.limits.max_file_bytes = bytes)?;
            into.push(measure(&mut stage.sync()?)?);
            stage.expect_attached(1)?;
        }
        if can_compare {
            let digest = |path| measure(quiet(Command::new("openssl").args(["dgst", "-sha256"]).arg(path)));
            let put = |sink| {
                measure(quiet(Command::new("curl").args(["-sS", "-T"]).arg(&path).arg(format!("http://{sink}/f"))))
            };
            hashed.push(digest(&path)? + put(hashing)?);
            read.push(digest(&path)? + put(reading)?);
        }
    }
    let wall = |costs: &[Cost]| median(costs.iter().map(|c| c.wall_s));
    let (whole, fixed_s, hashed_s, read_s) = (wall(&ours), wall(&fixed), wall(&hashed), wall(&read));
    let net = whole - fixed_s;
    let what = |text: &str| format!("one file of {mib} MiB: {text}");
    let aim = "1.15 x";
    table.row(
        &what("the whole `sync` less one of 1 byte, over openssl + curl to a receiver that hashes"),
        aim,
        format!("{:.2} x: {net:.3} s over {hashed_s:.3} s", net / hashed_s),
        at_most(net / hashed_s, 1.15),
    );
    table.row(
        &what("the same, receiver of curl only reads"),
        aim,
        format!("{:.2} x: {net:.3} s over {read_s:.3} s", net / read_s),
        at_most(net / read_s, 1.15),
    );
    table.row(
        &what("the whole `sync` with start and end, over openssl + curl to a receiver that hashes"),
        aim,
        format!("{:.2} x: {whole:.3} s, of which {fixed_s:.3} s for 1 byte too", whole / hashed_s),
        at_most(whole / hashed_s, 1.15),
    );
    let cpu = |costs: &[Cost]| median(costs.iter().map(|c| c.cpu_s));
    table.row(
        &what("CPU s, over openssl + curl"),
        "no figure set",
        format!("{:.2} over {:.2}", cpu(&ours), cpu(&hashed)),
        String::new(),
    );
    let peak = |costs: &[Cost]| median(costs.iter().map(|c| c.peak_rss_mib));
    table.row(
        &what("peak RSS, MiB"),
        "flat",
        format!("{:.1}, with 1 byte {:.1}", peak(&ours), peak(&fixed)),
        String::new(),
    );
    Ok(())
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null())
}
