//! The configuration: one TOML file, checked once, then trusted (DESIGN §4).
//!
//! [`Config::parse`] is pure: it reads a text and reports every problem at once, each with line, key, value and
//! what is allowed. What depends on the disk is apart, in [`Config::check_paths`]. A key that is not known is an
//! error, and so is one whose feature does not exist yet. `config.example.toml` documents every key; tests hold it
//! to the defaults here. The file holds no secret, and a URL that might is never shown.

mod effective;
mod ingest;
mod keys;
mod load;
mod paths;
mod problem;
mod read;
mod section;
#[cfg(test)]
mod tests;
mod units;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

pub use problem::{ConfigError, Problem};
pub use units::parse_duration;

use crate::core::budget::DeleteBudget;
use crate::core::convert::Rule;
use crate::core::handover::AfterApproval;
use crate::core::hook::HookEvent;
use crate::core::naming::FileNaming;
use crate::core::routing::Routing;
use crate::core::scope::Scope;
use crate::types::RelPath;

/// A look-up of environment variables, so that tests need none.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// A configuration in which every value is allowed.
#[derive(Debug, Clone)]
pub struct Config {
    pub connect: Connect,
    /// Absolute path of the journal's database.
    pub journal_path: PathBuf,
    pub limits: Limits,
    pub log: Log,
    /// `None`: nobody is told.
    pub hooks: Option<Hooks>,
    /// At least one; names are unique.
    pub mirrors: Vec<Mirror>,
    places: Places,
}

/// Where in the file the paths stand, for the problems of [`Config::check_paths`].
#[derive(Debug, Clone, Default)]
struct Places {
    origin: String,
    journal_line: Option<usize>,
    /// One for each mirror, in the same order: of `path`, `archive` and `quarantine`.
    mirror_lines: Vec<[Option<usize>; 3]>,
}

/// Which Connect instance, and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    pub region: Option<String>,
    /// As configured: an id or an ARN. [`Connect::instance_id`] gives the id.
    pub instance_id: String,
    pub cases_domain: Option<Domain>,
    pub profile: Option<String>,
    pub endpoint_url: Option<String>,
    pub cases_endpoint_url: Option<String>,
}

/// The Cases domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Domain {
    Arn(String),
    Id(String),
}

/// Defaults, in one place; `config.example.toml` is tested against them.
mod defaults {
    use std::time::Duration;

    /// Half of the lowest quota of the service (SERVICE.md 1.3), which leaves room for others.
    pub(super) const REQUESTS_PER_SECOND: f64 = 1.0;
    pub(super) const BURST: u32 = 3;
    pub(super) const UPLOADS_IN_FLIGHT: usize = 8;
    /// The service's longest (SERVICE.md 1.1).
    pub(super) const URL_EXPIRY: Duration = Duration::from_secs(300);
    pub(super) const LEVEL: &str = "info";
    pub(super) const HOOK_TIMEOUT: Duration = Duration::from_secs(30);
    pub(super) const CONVERT_TIMEOUT: Duration = Duration::from_secs(120);
    /// The service takes no larger file under any setting (SERVICE.md 1.1).
    pub(super) const CONVERT_MAX_SIZE: u64 = 100 << 20;
    pub(super) const SETTLE: Duration = Duration::from_secs(5);
    pub(super) const RESCAN: Duration = Duration::from_secs(300);
    pub(super) const DELETE_GRACE: Duration = Duration::from_secs(300);
    pub(super) const VERIFY: Duration = Duration::from_secs(7 * 24 * 3600);
    /// With `mode = "ingest"`, how many times `settle` a file must be gone until it counts as taken away: long enough
    /// to recognize it at its new path, short enough for a device that uses a name again.
    pub(super) const GONE_SETTLES: u32 = 12;
}

/// How hard to work.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// For each API operation.
    pub requests_per_second: f64,
    pub burst: u32,
    pub uploads_in_flight: usize,
    /// Bytes per second of all uploads together; `None` = no limit.
    pub bandwidth: Option<u64>,
    /// Whole seconds.
    pub url_expiry: Duration,
}

/// What the log looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// Log hashes in place of file names.
    pub hide_names: bool,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    Text,
    Json,
}

/// The program that is told what happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hooks {
    /// At least one, each once.
    pub on: Vec<HookEvent>,
    /// An absolute path and arguments; no shell.
    pub command: Vec<OsString>,
    pub timeout: Duration,
}

/// One `[[mirror]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Mirror {
    pub name: String,
    /// The root: absolute, without `.`, `..` or a trailing `/`.
    pub path: PathBuf,
    pub routing: Routing,
    pub scope: Scope,
    pub naming: FileNaming,
    pub settle: Duration,
    pub rescan: Duration,
    pub watch: WatchMode,
    pub delete: DeletePolicy,
    pub delete_grace: Duration,
    pub delete_budget: DeleteBudget,
    /// How often the mirror is compared with Connect; `None` = only by hand.
    pub verify: Option<Duration>,
    /// `Some` with `mode = "ingest"`.
    pub ingest: Option<Ingest>,
    /// The user's own tags; ours come on top.
    pub tags: BTreeMap<String, String>,
    /// A file's sidecar may name its case, its name and tags (`core::sidecar`).
    pub sidecar: bool,
    /// ARN of the Connect user shown as the creator.
    pub created_by: Option<String>,
    /// The first that applies to a file counts.
    pub convert: Vec<Convert>,
}

/// One `[[mirror.convert]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Convert {
    pub rule: Rule,
    /// An absolute path and arguments, `{input}` and `{output}` among them; no shell.
    pub command: Vec<OsString>,
    pub timeout: Duration,
    /// Largest result, in bytes.
    pub max_size: u64,
}

impl Mirror {
    /// Whether files may name their case by a reference, which is looked up at Cases.
    pub fn uses_references(&self) -> bool {
        self.sidecar || self.routing.uses_references()
    }

    /// Whether the ARN of the Cases domain is needed, or may be: a sidecar may name an id or a reference.
    pub fn needs_domain(&self) -> bool {
        self.routing.needs_domain() || self.sidecar
    }

    /// How the file is converted before it is attached, and which extension it has.
    pub fn conversion(&self, path: &RelPath) -> Option<(&Convert, &str)> {
        self.convert.iter().find_map(|convert| Some((convert, convert.rule.extension(path)?)))
    }
}

/// What `mode = "ingest"` does with files it is done with. Local removals then mean nothing at Connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingest {
    pub after: AfterApproval,
    /// Where delivered files go: absolute; there with [`AfterApproval::Archive`].
    pub archive: Option<PathBuf>,
    /// Where refused files go: absolute.
    pub quarantine: Option<PathBuf>,
    /// Remove folders that our own hand-over has emptied.
    pub prune_empty: bool,
    /// Put a receipt beside each archived file.
    pub receipts: bool,
}

/// How changes are noticed between rescans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchMode {
    /// Native where the file system reports changes, otherwise poll.
    Auto,
    Native,
    Poll,
}

/// What a local removal means at Connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletePolicy {
    Propagate,
    Keep,
}

impl Connect {
    /// The instance's id, whether the file gives an id or an ARN.
    pub fn instance_id(&self) -> &str {
        self.instance_id.rsplit('/').next().unwrap_or_default()
    }

    /// The id of the Cases domain.
    pub fn domain_id(&self) -> Option<&str> {
        match self.cases_domain.as_ref()? {
            Domain::Arn(arn) => arn.rsplit('/').next(),
            Domain::Id(id) => Some(id),
        }
    }

    /// The ARN of the Cases domain, given or built from the partition, region and account of the instance's ARN.
    /// `None` where there is no domain, or only bare ids: then the service must be asked.
    pub fn domain_arn(&self) -> Option<String> {
        match self.cases_domain.as_ref()? {
            Domain::Arn(arn) => Some(arn.clone()),
            Domain::Id(id) => {
                let place = self.instance_id.strip_prefix("arn:")?;
                let mut parts = place.split(':');
                let (partition, _, region, account) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
                Some(format!("arn:{partition}:cases:{region}:{account}:domain/{id}"))
            }
        }
    }

    /// The region given, else the one in the instance's ARN; `None` leaves it to the SDK's environment and profile.
    pub fn region(&self) -> Option<&str> {
        let in_arn = || self.instance_id.strip_prefix("arn:")?.split(':').nth(2);
        self.region.as_deref().or_else(in_arn)
    }
}
