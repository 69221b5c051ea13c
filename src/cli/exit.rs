//! What the process tells its caller: one number (DESIGN §5), and one clear line on stderr when something failed.
//!
//! | code | meaning | given by |
//! | --- | --- | --- |
//! | 0 | done | success; also when the reader of our output went away |
//! | 1 | some files are parked or failed | `sync` with parked files; a download whose content is wrong; `flush` where not all was attached |
//! | 2 | usage | clap; an argument that names nothing |
//! | 3 | `plan` found work | `plan` |
//! | 75 | temporary, try again | journal in use, busy, full or unreadable; AWS throttles, fails or is out of reach |
//! | 78 | a person must act | configuration, every other trouble of the journal, credentials and rights, a hold |
//!
//! 75 and 78 are `EX_TEMPFAIL` and `EX_CONFIG` of sysexits.h; the systemd unit does not restart on 78.

use std::io::Write as _;
use std::process::ExitCode;

use crate::aws::{Failure, Next};
use crate::config::ConfigError;
use crate::core::model::ParkCode;
use crate::fatal::{Fatal, FatalKind};
use crate::journal::JournalError;

/// The exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    Parked = 1,
    Usage = 2,
    Work = 3,
    Temporary = 75,
    Person = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    pub exit: Exit,
    /// For people; `None` ends in silence.
    pub text: Option<String>,
    pub hints: Vec<String>,
}

/// How a command ends.
pub type Ended = Result<Exit, Failed>;

impl Failed {
    /// An end with a message.
    pub fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: Some(text.into()), hints: Vec::new() }
    }

    /// An argument that cannot be meant.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(Exit::Usage, text)
    }

    /// Adds what to do now.
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hints.push(text.into());
        self
    }

    /// Our output cannot be written. A reader that went away (`| head`) has had enough: a quiet end.
    pub fn output(error: &std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self { exit: Exit::Done, text: None, hints: Vec::new() };
        }
        Self::new(Exit::Temporary, format!("cannot write the output: {error}"))
    }

    /// Says it on stderr.
    pub fn print(&self) {
        let mut stderr = std::io::stderr().lock();
        // Where stderr is gone too, the exit code has to do.
        for line in self.text.iter().flat_map(|text| text.lines()) {
            let _ = writeln!(stderr, "casedrop: {line}");
        }
        for hint in &self.hints {
            let _ = writeln!(stderr, "  hint: {hint}");
        }
    }
}

impl From<JournalError> for Failed {
    fn from(error: JournalError) -> Self {
        Self::new(of_journal(&error), error.to_string())
    }
}

impl From<ConfigError> for Failed {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Person, error.to_string())
    }
}

impl From<Fatal> for Failed {
    fn from(fatal: Fatal) -> Self {
        Self::new(of_fatal(&fatal), fatal.to_string())
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        let failed = Self::new(of_failure(&failure), failure.to_string());
        match remedy(&failure) {
            Some(text) => failed.hint(text),
            None => failed,
        }
    }
}

/// The code of trouble with the journal.
pub fn of_journal(error: &JournalError) -> Exit {
    if error.is_passing() { Exit::Temporary } else { Exit::Person }
}

/// The code of what stopped the engine.
pub fn of_fatal(fatal: &Fatal) -> Exit {
    match fatal.kind {
        FatalKind::Usage => Exit::Usage,
        FatalKind::Person => Exit::Person,
        FatalKind::Temporary => Exit::Temporary,
    }
}

/// The code of a call to AWS that failed for good.
pub fn of_failure(failure: &Failure) -> Exit {
    match failure.next {
        Next::Retry | Next::Throttled | Next::Renew | Next::Offline => Exit::Temporary,
        Next::Credentials | Next::Park(ParkCode::AccessDenied | ParkCode::StorageDenied) => Exit::Person,
        Next::Replan | Next::Park(_) | Next::Gone | Next::Conflict => Exit::Parked,
    }
}

/// What to do about a call to AWS that failed.
pub fn remedy(failure: &Failure) -> Option<&'static str> {
    match failure.next {
        Next::Credentials => Some(
            "give casedrop valid AWS credentials (environment, profile or role), and see that this host's clock is right",
        ),
        Next::Offline => Some("check the network, `region` and the endpoint URLs in [connect]"),
        Next::Retry | Next::Throttled | Next::Renew => Some("try again later"),
        Next::Park(code) => Some(code.remedy()),
        Next::Gone => Some("check `instance_id`, `cases_domain` and the case in the configuration"),
        Next::Replan | Next::Conflict => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_codes_are_the_documented_ones() {
        let codes = [Exit::Done, Exit::Parked, Exit::Usage, Exit::Work, Exit::Temporary, Exit::Person];
        assert_eq!(codes.map(|exit| exit as u8), [0, 1, 2, 3, 75, 78]);
    }

    #[test]
    fn what_passes_by_itself_is_temporary() {
        let path = PathBuf::from("/j");
        for (error, exit) in [
            (JournalError::LockedByOther { path: path.clone(), pid: Some(1) }, Exit::Temporary),
            (JournalError::Busy { path: path.clone() }, Exit::Temporary),
            (JournalError::DiskFull { path: path.clone() }, Exit::Temporary),
            (JournalError::Io { path: path.clone(), detail: String::new() }, Exit::Temporary),
            (JournalError::Missing { path: path.clone() }, Exit::Person),
            (JournalError::NotADatabase { path }, Exit::Person),
        ] {
            assert_eq!(of_journal(&error), exit, "{error}");
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let failed = Failed::output(&std::io::ErrorKind::BrokenPipe.into());
        assert_eq!((failed.exit, failed.text), (Exit::Done, None));
        assert_eq!(Failed::output(&std::io::ErrorKind::StorageFull.into()).exit, Exit::Temporary);
    }
}
