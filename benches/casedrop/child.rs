//! A program run to its end, or watched while it runs, with what it cost by the kernel's own account.
//!
//! Times come from `/proc/PID/stat`, read once more when the process is a zombie and so complete, before it is
//! waited for. Their unit is the clock tick of 10 ms that Linux shows to programs; the peak is `VmHWM`.

use std::fs;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

const TICKS_PER_SECOND: f64 = 100.0;
const POLL: Duration = Duration::from_millis(2);

/// What a program cost.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    pub wall_s: f64,
    /// User and system time of all its threads.
    pub cpu_s: f64,
    pub peak_rss_mib: f64,
}

impl std::ops::Add for Cost {
    type Output = Self;

    /// Two programs one after the other.
    fn add(self, other: Self) -> Self {
        Self {
            wall_s: self.wall_s + other.wall_s,
            cpu_s: self.cpu_s + other.cpu_s,
            peak_rss_mib: self.peak_rss_mib.max(other.peak_rss_mib),
        }
    }
}

/// Runs a program that must succeed.
pub fn measure(command: &mut Command) -> anyhow::Result<Cost> {
    let began = Instant::now();
    let mut child = command.spawn().with_context(|| format!("start {:?}", command.get_program()))?;
    let mut cost = Cost::default();
    loop {
        let (state, cpu_s) = stat(child.id())?;
        cost.cpu_s = cpu_s;
        if state == "Z" {
            break;
        }
        // Grows only, and ends with the process: the last reading before the end stands.
        cost.peak_rss_mib = memory_mib(child.id(), "VmHWM").unwrap_or(cost.peak_rss_mib);
        std::thread::sleep(POLL);
    }
    cost.wall_s = began.elapsed().as_secs_f64();
    let status = child.wait()?;
    if !status.success() {
        bail!("{:?} ended with {status}", command.get_program());
    }
    Ok(cost)
}

/// State and CPU seconds of a process.
pub fn stat(pid: u32) -> anyhow::Result<(String, f64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in parentheses, may hold anything.
    let (_, rest) = text.rsplit_once(')').context("read /proc/PID/stat")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).context("read /proc/PID/stat");
    Ok(((*fields.first().context("read /proc/PID/stat")?).to_owned(), (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND))
}

/// One size of `/proc/PID/status`; `None` once the process is gone.
pub fn memory_mib(pid: u32, field: &str) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse::<f64>().ok().map(|kib| kib / 1024.0)
}

/// Whether a program is installed.
pub fn exists(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// A daemon; stopped when dropped.
#[derive(Debug)]
pub struct Daemon(pub Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
