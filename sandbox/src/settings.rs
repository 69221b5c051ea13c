//! What a sandbox is started with.
//!
//! Defaults are AWS's documented ones, except that throttling is off and a scan takes no time: a test that wants
//! either says so.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use regex::Regex;

use crate::faults::Fault;
use crate::op::Op;
use crate::switches::Switches;

/// Everything a sandbox is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder of the state; created if absent, reloaded if not.
    pub state_dir: PathBuf,
    /// Address to listen on. Default 127.0.0.1 with a port the system chooses.
    pub listen: SocketAddr,
    /// Keep only size and hash of what is uploaded, and write no file at all (for benchmarks).
    pub discard_content: bool,
    /// Quotas and the attached-files configuration.
    pub limits: Limits,
    /// Requests per second. Default off.
    pub throttle: Throttle,
    /// What the scan does after Complete. Default: approves at once.
    pub scan: Scan,
    /// What AWS leaves undocumented.
    pub switches: Switches,
    /// Scripted faults.
    pub faults: Vec<Fault>,
}

impl Settings {
    /// AWS's documented defaults with throttling off and no scan delay, state in `state_dir`.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            discard_content: false,
            limits: Limits::default(),
            throttle: Throttle::off(),
            scan: Scan::default(),
            switches: Switches::DEFAULT,
            faults: Vec::new(),
        }
    }
}

/// Quotas and the attached-files configuration (SERVICE.md 1.1, 1.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Extensions that Start accepts, without a dot. Compared without case (a guess: SERVICE.md 1.2).
    pub extensions: Vec<String>,
    /// Largest file, in bytes. Default 20 MiB.
    pub max_file_bytes: u64,
    /// Files on one case. Default 50.
    pub files_per_case: usize,
    /// Related items on one case, files included. Default 200.
    pub related_items_per_case: usize,
    /// Total bytes of the files of one case; no number is published, so the default is none.
    pub bytes_per_case: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        let extensions = "csv doc docx heic jfif jpeg jpg mov mp4 pdf png ppt pptx rtf txt wav xls xlsx";
        Self {
            extensions: extensions.split(' ').map(str::to_owned).collect(),
            max_file_bytes: 20 * 1024 * 1024,
            files_per_case: 50,
            related_items_per_case: 200,
            bytes_per_case: None,
        }
    }
}

/// A token bucket's shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Requests added per second.
    pub per_second: f64,
    /// Requests the bucket holds when full.
    pub burst: u32,
}

/// Requests per second, one bucket for each API operation; the presigned PUT and GET are never throttled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Throttle {
    /// For every API operation without its own entry; `None` is no limit.
    pub rate: Option<Rate>,
    /// Per operation; `None` is no limit.
    pub per_operation: BTreeMap<Op, Option<Rate>>,
}

impl Throttle {
    /// No limit at all.
    pub fn off() -> Self {
        Self::default()
    }

    /// The same bucket shape for every API operation.
    pub fn every(per_second: f64, burst: u32) -> Self {
        Self { rate: Some(Rate { per_second, burst }), per_operation: BTreeMap::new() }
    }

    /// AWS's documented rates: 2/s with burst 5, SearchCases and SearchRelatedItems 2/s with burst 10, GetCase 4/s
    /// with burst 10 (SERVICE.md 1.3).
    pub fn documented() -> Self {
        let mut throttle = Self::every(2.0, 5);
        for (op, per_second, burst) in
            [(Op::SearchCases, 2.0, 10), (Op::SearchRelatedItems, 2.0, 10), (Op::GetCase, 4.0, 10)]
        {
            throttle.per_operation.insert(op, Some(Rate { per_second, burst }));
        }
        throttle
    }

    /// The bucket shape of one operation.
    pub(crate) fn of(&self, op: Op) -> Option<Rate> {
        self.per_operation.get(&op).copied().unwrap_or(self.rate)
    }
}

/// How a scan ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `APPROVED`.
    Approved,
    /// `REJECTED`; the bytes are removed (SERVICE.md 0.8).
    Rejected,
    /// `FAILED`.
    Failed,
    /// The scan does not end: `PROCESSING` for ever.
    Never,
}

/// What the scan does after Complete.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// Time from Complete to the verdict. Zero: the verdict stands when Complete answers.
    pub delay: Duration,
    /// First rule whose pattern matches the FileName wins; no match is [`Verdict::Approved`].
    pub rules: Vec<(Regex, Verdict)>,
}

impl Scan {
    /// A delay, and approval for all.
    pub fn after(delay: Duration) -> Self {
        Self { delay, rules: Vec::new() }
    }

    /// Adds a rule.
    #[must_use]
    pub fn rule(mut self, pattern: Regex, verdict: Verdict) -> Self {
        self.rules.push((pattern, verdict));
        self
    }

    pub(crate) fn verdict(&self, file_name: &str) -> Verdict {
        self.rules
            .iter()
            .find(|(pattern, _)| pattern.is_match(file_name))
            .map_or(Verdict::Approved, |(_, verdict)| *verdict)
    }
}
