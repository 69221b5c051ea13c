//! A loopback stand-in for the Amazon Connect attached-file, Cases and presigned S3 wire.
//!
//! The unmodified AWS SDK runs against it by endpoint configuration alone; `connect` and `cases` share one address
//! and are told apart by path and signing name. It checks signatures, enforces the limits of the service, plays
//! scripted faults, and keeps its state in a folder a person can read (see the `README.txt` it writes there).
//! What AWS leaves undocumented is a [`Switches`] field. Its ARNs and credentials are ones AWS could never issue.
//!
//! The server runs on threads of its own: it goes on answering while a test blocks, and all methods of
//! [`Sandbox`] can be called from any thread. [`Script`] describes the file format for faults and settings.

mod cases_api;
mod clock;
mod disk;
mod faults;
mod files_api;
mod handle;
mod ids;
mod log;
mod model;
mod objects;
mod op;
mod record;
mod reply;
mod script;
mod server;
mod settings;
mod sigv4;
mod state;
mod switches;
mod throttle;
mod uri;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

pub use clock::{Millis, Time};
pub use faults::{Fault, FaultKind, Nth};
pub use handle::Sandbox;
pub use ids::{
    ACCESS_KEY_ID, ACCOUNT, DEMO_CASE_ID, DEMO_REFERENCE, DOMAIN_ID, INSTANCE_ID, PARTITION, REGION, SECRET_ACCESS_KEY,
};
pub use log::LoggedRequest;
pub use op::Op;
pub use record::{CaseInfo, CaseStatus, FileStatus, LedgerFile, NewCase, SeededFile};
pub use script::Script;
pub use settings::{Limits, Rate, Scan, Settings, Throttle, Verdict};
pub use switches::{
    AfterUrlExpiry, CompleteWithoutPut, DeleteTwice, DuplicateName, GetUnapproved, Leniency, StartOnDeletedCase,
    StatusAfterStart, Switches, TokenMismatch, TokenOfDeleted, TokenReplay, UnknownIds,
};

/// Why a sandbox could not start or do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The address cannot be listened on.
    #[error("listen on {address} for the sandbox; choose another address or port 0")]
    Listen {
        /// Address asked for.
        address: SocketAddr,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The address is not of this machine alone.
    #[error("the sandbox listens on loopback only, not on {0}; its credentials are public")]
    NotLoopback(SocketAddr),
    /// The state folder cannot be used.
    #[error("use {path} in the sandbox's state folder; make it writable, or remove the folder to begin afresh")]
    State {
        /// File or folder.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// Threads of the server could not be started.
    #[error("start the threads of the sandbox")]
    Threads(#[source] io::Error),
    /// A regular expression is wrong.
    #[error("read a pattern of the sandbox")]
    Pattern(#[source] Box<regex::Error>),
    /// A script file is wrong.
    #[error("read the sandbox script: {0}")]
    Script(String),
    /// There is no such case.
    #[error("the sandbox has no case {0}; add it first")]
    UnknownCase(String),
}
