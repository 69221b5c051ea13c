//! Runs seeds of a simulation on all cores, and tells of those that fail.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A seed takes a tenth of a second. One that takes this long makes no way in its own time: something in it spins.
const ENDLESS: Duration = Duration::from_secs(300);

/// What every simulation tells of one seed.
#[derive(Debug, Default, Clone)]
pub struct Told {
    /// What does not hold; empty when all does.
    pub broken: Vec<String>,
    pub trace: Vec<String>,
    pub steps: usize,
}

/// What one seed came to, with the figures of its simulation.
pub trait Outcome: Default + Send {
    fn told(&self) -> &Told;
    /// Adds the figures of another seed.
    fn add(&mut self, other: &Self);
}

/// All seeds together.
pub struct Sum<R> {
    pub figures: R,
    pub first: u64,
    pub seeds: u64,
    pub seconds: f64,
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs the seeds that the environment asks for, else the first `normal` ones; `run` takes a seed and how many of its
/// steps. `None` after a single seed, which is told at length.
///
/// # Panics
/// A seed fails.
pub fn run_all<R: Outcome>(normal: u64, run: fn(u64, usize) -> R) -> Option<Sum<R>> {
    if let Some(seed) = number("CASEDROP_SIM_SEED") {
        let subscriber = tracing_subscriber::fmt().with_test_writer().with_max_level(tracing::Level::DEBUG).finish();
        let _log = tracing::subscriber::set_default(subscriber);
        let limit = number("CASEDROP_SIM_STEPS").map_or(usize::MAX, |steps| usize::try_from(steps).unwrap());
        let report = run(seed, limit);
        assert!(report.told().broken.is_empty(), "seed {seed}:\n{}", report.told().broken.join("\n"));
        return None;
    }
    let seeds = number("CASEDROP_SIM_SEEDS").unwrap_or(normal);
    let first = number("CASEDROP_SIM_FROM").unwrap_or(0);
    let (next, began) = (AtomicU64::new(first), Instant::now());
    let (sum, failed) = (Mutex::new(R::default()), Mutex::new(Vec::new()));
    let running = Mutex::new(BTreeMap::new());
    let (alive, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let watched = &running;
        scope.spawn(move || watch(watched, &ended));
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            let (alive, next, failed, sum, running) = (alive.clone(), &next, &failed, &sum, &running);
            scope.spawn(move || {
                let _alive = alive;
                while failed.lock().unwrap().len() < 5 {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    if seed > first && seed % 5_000 == 0 {
                        println!("seed {seed} after {:.0} s", began.elapsed().as_secs_f64());
                    }
                    running.lock().unwrap().insert(seed, Instant::now());
                    let Ok(report) = std::panic::catch_unwind(|| run(seed, usize::MAX)) else {
                        println!("seed {seed} panics");
                        failed.lock().unwrap().push(seed);
                        running.lock().unwrap().remove(&seed);
                        continue;
                    };
                    if !report.told().broken.is_empty() {
                        println!("{}", shortest(seed, &report, run));
                        failed.lock().unwrap().push(seed);
                    }
                    sum.lock().unwrap().add(&report);
                    running.lock().unwrap().remove(&seed);
                }
            });
        }
        drop(alive);
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "these seeds fail, as told above: {failed:?}");
    Some(Sum { figures: sum.into_inner().unwrap(), first, seeds, seconds: began.elapsed().as_secs_f64() })
}

/// Ends the process over a seed that does not end, until no seed runs any more.
fn watch(running: &Mutex<BTreeMap<u64, Instant>>, ended: &Receiver<()>) {
    while ended.recv_timeout(Duration::from_secs(5)) == Err(RecvTimeoutError::Timeout) {
        let running = running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seed, _)) = running.iter().find(|(_, began)| began.elapsed() > ENDLESS) {
            // What is printed would be lost with the process.
            let _ = writeln!(std::io::stderr(), "seed {seed} does not end; again with CASEDROP_SIM_SEED={seed}");
            std::process::abort();
        }
    }
}

/// The shortest course of the seed that fails, told at length.
fn shortest<R: Outcome>(seed: u64, report: &R, run: fn(u64, usize) -> R) -> String {
    let cut = (0..report.told().steps)
        .find_map(|limit| Some(run(seed, limit)).filter(|report| !report.told().broken.is_empty()));
    let cut = cut.as_ref().unwrap_or(report);
    let tail = cut.told().trace.len().saturating_sub(120);
    format!(
        "seed {seed} fails after {} of its {} steps; again with CASEDROP_SIM_SEED={seed} CASEDROP_SIM_STEPS={}\n{}\n\
         the last of its trace:\n{}",
        cut.told().steps,
        report.told().steps,
        cut.told().steps,
        cut.told().broken.join("\n"),
        cut.told().trace[tail..].join("\n"),
    )
}
