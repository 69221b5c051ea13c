//! The script file: settings, switches and faults of a sandbox in TOML.
//!
//! Every table and key is optional; unknown keys are errors.
//!
//! ```toml
//! [limits]
//! extensions = ["pdf", "txt"]
//! max_file_bytes = 1048576
//! files_per_case = 50
//! related_items_per_case = 200
//! bytes_per_case = 100000000
//!
//! [throttle]                     # off without this table
//! requests_per_second = 2.0      # for each API operation; the documented rates if absent
//! burst = 5
//!
//! [scan]
//! delay = "2s"                   # ms, s or m
//! [[scan.rule]]
//! pattern = '\.virus\.'          # regular expression on the FileName; the first match wins
//! verdict = "rejected"           # approved, rejected, failed, never
//!
//! [switches]                     # names and values: see `Switches`
//! token_replay = "dead-url"
//!
//! [[fault]]
//! op = "StartAttachedFileUpload" # AWS's names; PutObject and GetObject for the presigned two
//! nth = 2                        # or every = 3, or share = 0.1 with seed = 7, or nth = "all" (the default)
//! limit = 5                      # at most so many times
//! kind = "throttle"
//! retry_after = "3"
//! ```
//!
//! Kinds of faults, with their own keys: `throttle` (`retry_after`), `server-error-before`, `server-error-after`,
//! `lost-reply`, `cut-after` (`bytes`), `slow-down`, `expired`, `hang` (`duration`), `hang-forever`,
//! `access-denied`, `expired-token`, `malformed`, `unknown-status`, `status` (`code`, `error`, `message`).
//! What each does: [`FaultKind`].

use std::time::Duration;

use regex::Regex;
use serde::Deserialize;

use crate::SandboxError;
use crate::faults::{Fault, FaultKind, Nth};
use crate::op::Op;
use crate::settings::{Limits, Scan, Settings, Throttle, Verdict};
use crate::switches::Switches;

/// A script that was read: what it does not mention is `None` (or no fault).
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// Quotas and the attached-files configuration.
    pub limits: Option<Limits>,
    /// Requests per second.
    pub throttle: Option<Throttle>,
    /// What the scan does.
    pub scan: Option<Scan>,
    /// What AWS leaves undocumented.
    pub switches: Option<Switches>,
    /// Scripted faults.
    pub faults: Vec<Fault>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScript {
    limits: Option<RawLimits>,
    throttle: Option<RawThrottle>,
    scan: Option<RawScan>,
    switches: Option<Switches>,
    #[serde(default)]
    fault: Vec<RawFault>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    extensions: Option<Vec<String>>,
    max_file_bytes: Option<u64>,
    files_per_case: Option<usize>,
    related_items_per_case: Option<usize>,
    bytes_per_case: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawThrottle {
    requests_per_second: Option<f64>,
    burst: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScan {
    delay: Option<String>,
    #[serde(default)]
    rule: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    pattern: String,
    verdict: RawVerdict,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawVerdict {
    Approved,
    Rejected,
    Failed,
    Never,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawNth {
    Number(u64),
    Word(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFault {
    op: Op,
    nth: Option<RawNth>,
    every: Option<u64>,
    share: Option<f64>,
    seed: Option<u64>,
    limit: Option<u64>,
    kind: String,
    retry_after: Option<String>,
    bytes: Option<u64>,
    duration: Option<String>,
    code: Option<u16>,
    error: Option<String>,
    message: Option<String>,
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Script`] with the place and what was expected there.
    pub fn parse(text: &str) -> Result<Self, SandboxError> {
        let raw: RawScript = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let throttle = match raw.throttle {
            None => None,
            Some(raw) => Some(read_throttle(&raw)?),
        };
        let scan = match raw.scan {
            None => None,
            Some(raw) => Some(read_scan(raw)?),
        };
        let mut faults = Vec::new();
        for (at, fault) in raw.fault.into_iter().enumerate() {
            let number = at + 1;
            faults.push(read_fault(fault).map_err(|problem| wrong(format!("fault {number}: {problem}")))?);
        }
        Ok(Self { limits: raw.limits.map(read_limits), throttle, scan, switches: raw.switches, faults })
    }

    /// Puts what the script mentions in place of what `settings` says.
    pub fn apply(self, settings: &mut Settings) {
        if let Some(limits) = self.limits {
            settings.limits = limits;
        }
        if let Some(throttle) = self.throttle {
            settings.throttle = throttle;
        }
        if let Some(scan) = self.scan {
            settings.scan = scan;
        }
        if let Some(switches) = self.switches {
            settings.switches = switches;
        }
        if !self.faults.is_empty() {
            settings.faults = self.faults;
        }
    }
}

fn wrong(problem: impl Into<String>) -> SandboxError {
    SandboxError::Script(problem.into())
}

fn read_limits(raw: RawLimits) -> Limits {
    let default = Limits::default();
    Limits {
        extensions: raw.extensions.unwrap_or(default.extensions),
        max_file_bytes: raw.max_file_bytes.unwrap_or(default.max_file_bytes),
        files_per_case: raw.files_per_case.unwrap_or(default.files_per_case),
        related_items_per_case: raw.related_items_per_case.unwrap_or(default.related_items_per_case),
        bytes_per_case: raw.bytes_per_case.or(default.bytes_per_case),
    }
}

fn read_throttle(raw: &RawThrottle) -> Result<Throttle, SandboxError> {
    match (raw.requests_per_second, raw.burst) {
        (None, None) => Ok(Throttle::documented()),
        (rate, burst) => {
            let (rate, burst) = (rate.unwrap_or(2.0), burst.unwrap_or(5));
            if rate.is_finite() && rate > 0.0 && burst > 0 {
                Ok(Throttle::every(rate, burst))
            } else {
                Err(wrong("throttle: requests_per_second and burst must be above 0"))
            }
        }
    }
}

fn read_scan(raw: RawScan) -> Result<Scan, SandboxError> {
    let delay = match raw.delay {
        None => Duration::ZERO,
        Some(text) => duration(&text).ok_or_else(|| wrong(format!("scan.delay: {text:?} is no duration")))?,
    };
    let mut scan = Scan::after(delay);
    for rule in raw.rule {
        let pattern = Regex::new(&rule.pattern).map_err(|error| wrong(format!("scan.rule.pattern: {error}")))?;
        let verdict = match rule.verdict {
            RawVerdict::Approved => Verdict::Approved,
            RawVerdict::Rejected => Verdict::Rejected,
            RawVerdict::Failed => Verdict::Failed,
            RawVerdict::Never => Verdict::Never,
        };
        scan = scan.rule(pattern, verdict);
    }
    Ok(scan)
}

/// `"250ms"`, `"5s"`, `"2m"`.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().ok()?;
    match unit.trim() {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

fn read_fault(raw: RawFault) -> Result<Fault, String> {
    let nth = match (raw.nth, raw.every, raw.share) {
        (None, None, None) => Nth::All,
        (Some(RawNth::Word(word)), None, None) if word == "all" => Nth::All,
        (Some(RawNth::Number(number)), None, None) if number > 0 => Nth::Number(number),
        (None, Some(step), None) if step > 0 => Nth::Every(step),
        (None, None, Some(share)) if (0.0..=1.0).contains(&share) => {
            Nth::Fraction { share, seed: raw.seed.unwrap_or(0) }
        }
        _ => {
            return Err("give one of nth (from 1, or \"all\"), every (from 1), share (0 to 1)".to_owned());
        }
    };
    let kind = match raw.kind.as_str() {
        "throttle" => FaultKind::Throttle { retry_after: raw.retry_after },
        "server-error-before" => FaultKind::ServerErrorBefore,
        "server-error-after" => FaultKind::ServerErrorAfter,
        "lost-reply" => FaultKind::LostReply,
        "cut-after" => FaultKind::CutAfter(raw.bytes.ok_or("cut-after needs bytes")?),
        "slow-down" => FaultKind::SlowDown,
        "expired" => FaultKind::Expired,
        "hang" => {
            let text = raw.duration.ok_or("hang needs duration")?;
            FaultKind::Hang(duration(&text).ok_or_else(|| format!("{text:?} is no duration"))?)
        }
        "hang-forever" => FaultKind::HangForever,
        "access-denied" => FaultKind::AccessDenied,
        "expired-token" => FaultKind::ExpiredToken,
        "malformed" => FaultKind::Malformed,
        "unknown-status" => FaultKind::UnknownStatus,
        "status" => FaultKind::Status {
            code: raw.code.filter(|code| (200..=599).contains(code)).ok_or("status needs code, 200 to 599")?,
            error: raw.error.ok_or("status needs error")?,
            message: raw.message.unwrap_or_default(),
        },
        other => return Err(format!("there is no kind {other:?}")),
    };
    Ok(Fault { op: raw.op, nth, kind, limit: raw.limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the module's documentation, taken from the source, so that it stays true.
    fn example() -> String {
        include_str!("script.rs")
            .lines()
            .skip_while(|line| *line != "//! ```toml")
            .skip(1)
            .take_while(|line| *line != "//! ```")
            .map(|line| format!("{}\n", line.trim_start_matches("//!").trim_start()))
            .collect()
    }

    #[test]
    fn the_documented_example_parses() {
        let script = Script::parse(&example()).expect("the example is valid");
        assert_eq!(
            script.faults,
            [Fault {
                op: Op::StartAttachedFileUpload,
                nth: Nth::Number(2),
                kind: FaultKind::Throttle { retry_after: Some("3".to_owned()) },
                limit: Some(5),
            }]
        );
        let mut settings = Settings::new("x");
        script.apply(&mut settings);
        assert_eq!(settings.limits.max_file_bytes, 1_048_576);
        assert_eq!(settings.scan.delay, Duration::from_secs(2));
        assert_eq!(settings.scan.verdict("a.virus.pdf"), Verdict::Rejected);
        assert_eq!(settings.throttle, Throttle::every(2.0, 5));
    }

    #[test]
    fn every_kind_parses_under_the_name_it_logs() {
        let extra = "retry_after='1'\nbytes=1\nduration='1s'\ncode=418\nerror='E'";
        for name in [
            "throttle",
            "server-error-before",
            "server-error-after",
            "lost-reply",
            "cut-after",
            "slow-down",
            "expired",
            "hang",
            "hang-forever",
            "access-denied",
            "expired-token",
            "malformed",
            "unknown-status",
            "status",
        ] {
            let text = format!("[[fault]]\nop='PUT'\nkind='{name}'\n{extra}");
            let script = Script::parse(&text).expect(name);
            assert_eq!(script.faults.first().map(|f| f.kind.name()), Some(name));
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (text, word) in [
            ("[[fault]]\nop='PutObject'\nkind='x'", "no kind"),
            ("[[fault]]\nop='PutObject'\nnth=0\nkind='slow-down'", "fault 1"),
            ("[[fault]]\nop='PutObject'\nkind='cut-after'", "bytes"),
            ("[[fault]]\nop='Fly'\nkind='slow-down'", "Fly"),
            ("[scan]\ndelay='soon'", "soon"),
            ("[throttle]\nburst=0", "above 0"),
            ("colour=1", "colour"),
        ] {
            let problem = Script::parse(text).expect_err(text).to_string();
            assert!(problem.contains(word), "{problem}");
        }
    }
}
