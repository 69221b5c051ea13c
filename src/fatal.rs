//! Why a command cannot go on. The daemon answers in the same terms what it will not do.

use serde::{Deserialize, Serialize};

use crate::journal::JournalError;

/// What kind of end it is; the command line turns it into an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FatalKind {
    /// The request itself is wrong.
    Usage,
    /// A person must act: configuration, credentials, a hold, a damaged journal.
    Person,
    /// It may work later.
    Temporary,
}

/// The end of a command, in words for the user.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[error("{text}")]
pub struct Fatal {
    pub kind: FatalKind,
    pub text: String,
}

impl Fatal {
    pub fn usage(text: String) -> Self {
        Self { kind: FatalKind::Usage, text }
    }

    pub fn person(text: String) -> Self {
        Self { kind: FatalKind::Person, text }
    }

    pub fn temporary(text: String) -> Self {
        Self { kind: FatalKind::Temporary, text }
    }
}

impl From<JournalError> for Fatal {
    fn from(error: JournalError) -> Self {
        let kind = if error.is_passing() { FatalKind::Temporary } else { FatalKind::Person };
        Self { kind, text: error.to_string() }
    }
}
