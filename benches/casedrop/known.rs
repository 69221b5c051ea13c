//! Many known files: a pass with nothing to do beside `find -printf` of the same tree, then the daemon at rest.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use casedrop_sandbox::Op;

use crate::child::{Cost, Daemon, measure, memory_mib, stat};
use crate::stage::{FILES_PER_CASE, Stage, Tree, UNLIMITED, count};
use crate::table::{Table, at_most, median};

/// Small: content plays no part in a pass with nothing to do.
const BYTES: usize = 64;

pub fn run(quick: bool, table: &mut Table) -> anyhow::Result<()> {
    let (files, rounds, rest_s): (usize, _, u64) = if quick { (2_000, 3, 3) } else { (100_000, 9, 20) };
    let tree = Tree::new(files, BYTES)?;
    let stage = Stage::new(tree.path(), files.div_ceil(FILES_PER_CASE), UNLIMITED, |_| {})?;
    // The journal as only the program itself writes it.
    let first = measure(&mut stage.sync()?)?;
    stage.expect_attached(files)?;
    eprintln!("first pass: {:.1} s, {:.1} CPU s, peak RSS {:.1} MiB", first.wall_s, first.cpu_s, first.peak_rss_mib);
    stage.sandbox.clear_requests();
    let (mut passes, mut scans, mut finds) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        finds.push(measure(&mut find(&tree))?);
        passes.push(measure(&mut stage.command(&["sync", "--quiet"], "debug")?)?);
        scans.push(took_s(&stage.log())?);
    }
    // What the instance takes is asked for at each start, beside the pass.
    let asked = |op: Op| op == Op::DescribeAttachedFilesConfiguration;
    let made = stage.sandbox.requests().into_iter().filter(|request| !asked(request.op)).count();
    ensure!(made == 0, "a pass with nothing to do made {made} calls");
    let wall = |costs: &[Cost]| median(costs.iter().map(|c| c.wall_s));
    let cpu = |costs: &[Cost]| median(costs.iter().map(|c| c.cpu_s));
    let (scan, find, whole) = (median(scans), wall(&finds), wall(&passes));
    let what = |text: &str| format!("{files} known files: {text}");
    let each = |seconds: f64| format!("{:.2} s ({:.1} us a file)", seconds, seconds * 1e6 / count(files));
    table.row(
        &what("the pass, over `find -printf`"),
        "1.5 x",
        format!("{:.2} x: {} over {}", scan / find, each(scan), each(find)),
        at_most(scan / find, 1.5),
    );
    table.row(
        &what("the whole `sync` process, over `find -printf`"),
        "1.5 x",
        format!("{:.2} x: {}; CPU s {:.2} over {:.2}", whole / find, each(whole), cpu(&passes), cpu(&finds)),
        at_most(whole / find, 1.5),
    );
    let peak = median(passes.iter().map(|c| c.peak_rss_mib));
    table.row(
        &what("peak RSS of the pass, MiB"),
        "flat",
        format!("{peak:.1}"),
        "see the pass over fewer files".to_owned(),
    );
    at_rest(&stage, &what, rest_s, table)
}

/// The daemon with nothing to do.
fn at_rest(stage: &Stage, what: &dyn Fn(&str) -> String, rest_s: u64, table: &mut Table) -> anyhow::Result<()> {
    let daemon = Daemon(stage.command(&["run"], "info")?.spawn()?);
    let pid = daemon.0.id();
    wait(|| stage.log().contains("ready: ")).context("wait for the daemon")?;
    // Start-up ends when a second goes by without a tick.
    wait(|| {
        let before = stat(pid).map(|(_, cpu)| cpu).unwrap_or_default();
        std::thread::sleep(Duration::from_secs(1));
        stat(pid).is_ok_and(|(_, cpu)| cpu - before < 0.01)
    })
    .context("wait for the daemon to rest")?;
    let before = stat(pid)?.1;
    std::thread::sleep(Duration::from_secs(rest_s));
    let ticks = (stat(pid)?.1 - before) * 100.0;
    let mib = |field: &str| memory_mib(pid, field).unwrap_or(f64::NAN);
    let resident = mib("VmRSS");
    table.row(
        &what("resident at rest, MiB"),
        "30",
        format!(
            "{resident:.1} (its own {:.1}, of files {:.1}; peak {:.1})",
            mib("RssAnon"),
            mib("RssFile"),
            mib("VmHWM")
        ),
        at_most(resident, 30.0),
    );
    table.row(
        &what("CPU at rest"),
        "not measurable",
        format!("{ticks:.0} ticks of 10 ms in {rest_s} s"),
        if ticks < 1.0 {
            "met".to_owned()
        } else {
            format!("{:.2} % of a core", ticks / 100.0 / rest_s as f64 * 100.0)
        },
    );
    Ok(())
}

fn find(tree: &Tree) -> Command {
    let mut command = Command::new("find");
    command
        .arg(tree.path())
        .args(["-printf", r"%P\t%s\t%T@\t%C@\t%i\t%D\n"])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// What the log says of the full pass.
fn took_s(log: &str) -> anyhow::Result<f64> {
    let line = log.lines().rfind(|line| line.contains("full pass")).context("find the full pass in the log")?;
    let (_, after) = line.split_once("took_ms").context("find its time in the log")?;
    let digits: String = after.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    Ok(digits.parse::<f64>()? / 1000.0)
}

/// Waits for a condition, a minute at most.
pub fn wait(mut done: impl FnMut() -> bool) -> anyhow::Result<()> {
    let began = Instant::now();
    while !done() {
        ensure!(began.elapsed() < Duration::from_secs(60), "waited a minute in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
