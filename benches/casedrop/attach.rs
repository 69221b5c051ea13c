//! Many small files with the limits lifted, beside `rclone copy` of the same tree to an S3 that does nothing.

use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::child::{self, Cost, measure};
use crate::sink;
use crate::stage::{FILES_PER_CASE, Stage, Tree, UNLIMITED, count};
use crate::table::{Table, median};

const BYTES: usize = 4096;

pub fn run(quick: bool, table: &mut Table) -> anyhow::Result<()> {
    let (files, rounds): (usize, _) = if quick { (500, 1) } else { (10_000, 3) };
    let tree = Tree::new(files, BYTES)?;
    let cases = files.div_ceil(FILES_PER_CASE);
    let sink = sink::start(false)?;
    let (mut ours, mut theirs, mut again, mut calls) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..rounds {
        let stage = Stage::new(tree.path(), cases, UNLIMITED, |_| {})?;
        ours.push(measure(&mut stage.sync()?)?);
        stage.expect_attached(files)?;
        calls = stage.sandbox.requests().len();
        again.push(measure(&mut stage.sync()?)?);
        if child::exists("rclone") {
            theirs.push(measure(&mut rclone(&tree, &sink.to_string()))?);
        }
    }
    let per_second = |costs: &[Cost]| median(costs.iter().map(|c| count(files) / c.wall_s));
    let per_thousand = |costs: &[Cost]| median(costs.iter().map(|c| c.cpu_s * 1000.0 / count(files)));
    let peak = |costs: &[Cost]| median(costs.iter().map(|c| c.peak_rss_mib));
    let what = |text: &str| format!("{files} files of 4 KiB: {text}");
    let compared = |ours: f64, theirs: f64, text: String| {
        if theirs.is_nan() {
            "no rclone here to compare with".to_owned()
        } else {
            format!("{text} {:.2} x rclone's", ours / theirs)
        }
    };
    let (a, b) = (per_second(&ours), per_second(&theirs));
    let verdict = if a >= b { "met:" } else { "not met:" };
    table.row(
        &what("files per second"),
        "ahead of rclone",
        format!("{a:.0}, rclone {b:.0}"),
        compared(a, b, verdict.to_owned()),
    );
    let (a, b) = (per_thousand(&ours), per_thousand(&theirs));
    let verdict = if a <= b { "met:" } else { "not met:" };
    table.row(
        &what("CPU s per 1,000"),
        "at most rclone's",
        format!("{a:.3}, rclone {b:.3}"),
        compared(a, b, verdict.to_owned()),
    );
    let (a, b, idle) = (peak(&ours), peak(&theirs), peak(&again));
    table.row(
        &what("peak RSS, MiB"),
        "flat",
        format!("{a:.1}, rclone {b:.1}; a second pass with nothing to do {idle:.1}"),
        compared(a, b, "no figure set:".to_owned()),
    );
    table.row(
        &what("requests per file"),
        "3 and a few polls",
        format!("{:.3}", count(calls) / count(files)),
        String::new(),
    );
    fsyncs(&tree, cases, table)
}

/// One more run under strace, which stops the program only at the traced calls.
fn fsyncs(tree: &Tree, cases: usize, table: &mut Table) -> anyhow::Result<()> {
    let what = format!("{} files of 4 KiB: fsyncs per file", tree.files);
    if !child::exists("strace") {
        table.row(&what, "well under 1", "not measured: no strace here".to_owned(), String::new());
        return Ok(());
    }
    let stage = Stage::new(tree.path(), cases, UNLIMITED, |_| {})?;
    let sync = stage.sync()?;
    let report = tempfile::NamedTempFile::new()?;
    let mut strace = Command::new("strace");
    strace.args(["-f", "--seccomp-bpf", "-c", "-e", "trace=fsync,fdatasync,msync,sync_file_range", "-o"]);
    strace.arg(report.path()).arg(sync.get_program()).args(sync.get_args());
    strace.envs(sync.get_envs().filter_map(|(name, value)| Some((name, value?))));
    measure(strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))?;
    stage.expect_attached(tree.files)?;
    let report = std::fs::read_to_string(report.path())?;
    let total = report.lines().find(|line| line.trim_end().ends_with("total")).context("read strace's summary")?;
    // "% time, seconds, usecs/call, calls, [errors,] total"
    let calls: f64 = total.split_whitespace().nth(3).context("read strace's summary")?.parse()?;
    table.row(
        &what,
        "well under 1",
        format!("{:.3} ({calls:.0} calls)", calls / count(tree.files)),
        "no figure set".to_owned(),
    );
    Ok(())
}

/// One PUT for each file and no other request, as many at a time as ours.
fn rclone(tree: &Tree, sink: &str) -> Command {
    let mut command = Command::new("rclone");
    command
        .args(["copy", "--quiet", "--transfers", "64", "--no-check-dest", "--s3-no-head", "--s3-no-check-bucket"])
        .arg(tree.path())
        .arg("sink:bench")
        .env_remove("AWS_CA_BUNDLE")
        .env("RCLONE_CONFIG", "/dev/null")
        .env("RCLONE_CONFIG_SINK_TYPE", "s3")
        .env("RCLONE_CONFIG_SINK_PROVIDER", "Other")
        .env("RCLONE_CONFIG_SINK_ENDPOINT", format!("http://{sink}"))
        .env("RCLONE_CONFIG_SINK_ACCESS_KEY_ID", "nobody")
        .env("RCLONE_CONFIG_SINK_SECRET_ACCESS_KEY", "nothing")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}
