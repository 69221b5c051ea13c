//! The requests and answers of the calls, free of SDK types.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::host::time::Instant;
use crate::types::{CaseArn, ClientToken, ContentHash, FileId, PresignedUrl, UnixMillis};

/// What a start call asks for. Every field is part of the request that the token names (SERVICE.md 2.2).
#[derive(Debug, Clone, Copy)]
pub struct StartRequest<'a> {
    pub case: &'a CaseArn,
    /// The name agents will see.
    pub name: &'a str,
    /// Bytes, exactly.
    pub size: u64,
    pub token: &'a ClientToken,
    pub tags: &'a BTreeMap<String, String>,
    /// ARN of a Connect user to show as the creator; AWS fills in the caller otherwise.
    pub created_by: Option<&'a str>,
}

/// Connect made a file record.
#[derive(Debug, Clone)]
pub struct Granted {
    pub file: FileId,
    /// As the service spells it.
    /// `None` when the answer held no URL: nothing can be uploaded under this token.
    pub grant: Option<Grant>,
    pub request_id: Option<String>,
}

/// The right to upload one file once. Lives in memory only.
#[derive(Clone)]
pub struct Grant {
    pub url: PresignedUrl,
    /// To be sent verbatim, each once: they are signed (SERVICE.md 2.3).
    pub headers: Vec<(String, String)>,
    /// After this the URL is refused; by the server's clock (SERVICE.md 2.3).
    pub expires: Instant,
}

impl Grant {
    /// What must be left for a PUT to arrive in time.
    const LEAST: Duration = Duration::from_secs(5);

    /// Whether it is too late to begin a PUT: a new attempt with a new token is due.
    pub fn is_stale(&self) -> bool {
        self.expires.saturating_duration_since(Instant::now()) < Self::LEAST
    }
}

impl fmt::Debug for Grant {
    /// Header values are left out: they may carry account and instance numbers, or a security token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Grant").field("url", &self.url).field("headers", &names).finish_non_exhaustive()
    }
}

/// What went over the wire in one PUT, counted and hashed on its way (invariants 6 and 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    pub bytes: u64,
    pub hash: ContentHash,
}

/// S3 took the bytes.
#[derive(Debug, Clone)]
pub struct Stored {
    pub request_id: Option<String>,
    pub sent: Sent,
}

/// Connect took the complete call. No proof that agents can see the file: the status decides (SERVICE.md 2.1).
#[derive(Debug, Clone)]
pub struct Done {
    pub request_id: Option<String>,
}

/// The file is gone at Connect.
#[derive(Debug, Clone)]
pub struct Deleted {
    /// It was not there before this call either.
    pub already_gone: bool,
    pub request_id: Option<String>,
}

/// What a status query says of one FileId.
#[derive(Debug, Clone, PartialEq)]
pub enum Remote {
    Known(RemoteFile),
    /// Listed under `Errors`; the codes are not published (SERVICE.md 2.6).
    Error {
        code: String,
        message: String,
    },
    /// In neither list, or the whole call was a 404. Confirm with [`super::Client::confirm_gone`] before acting.
    Missing,
}

/// The metadata of one attached file.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteFile {
    pub status: RemoteStatus,
    /// Bytes.
    pub size: u64,
    pub name: String,
    pub tags: BTreeMap<String, String>,
    /// RFC 3339 as the service wrote it; empty when absent.
    pub created_at: String,
    /// ARN of the Connect user or AWS identity that made it.
    pub created_by: Option<String>,
}

impl RemoteFile {
    /// When Connect made it; `None` when the service did not say so in a form we read.
    pub fn created(&self) -> Option<UnixMillis> {
        let at = self.created_at.trim().parse::<jiff::Timestamp>().ok()?;
        Some(UnixMillis(at.as_millisecond()))
    }
}

/// The state of an attached file, open-ended (SERVICE.md 2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteStatus {
    /// Being scanned, or waiting for its bytes: no proof that they arrived.
    Processing,
    /// Not complete yet: `DRAFTING`, `PENDING_UPLOAD`.
    Pending(String),
    Approved,
    Rejected,
    Failed,
    /// `UPLOAD_EXPIRED`, `DELETED`.
    Gone(String),
    /// A word this program does not know: not terminal, wait with a deadline.
    Other(String),
}

impl RemoteStatus {
    /// Reads the service's word.
    pub fn parse(word: &str) -> Self {
        match word {
            "PROCESSING" => Self::Processing,
            "DRAFTING" | "PENDING_UPLOAD" => Self::Pending(word.to_owned()),
            "APPROVED" => Self::Approved,
            "REJECTED" => Self::Rejected,
            "FAILED" => Self::Failed,
            "UPLOAD_EXPIRED" | "DELETED" => Self::Gone(word.to_owned()),
            _ => Self::Other(word.to_owned()),
        }
    }

    /// The service's word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Processing => "PROCESSING",
            Self::Approved => "APPROVED",
            Self::Rejected => "REJECTED",
            Self::Failed => "FAILED",
            Self::Pending(word) | Self::Gone(word) | Self::Other(word) => word,
        }
    }
}

impl fmt::Display for RemoteStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A granted download.
#[derive(Debug, Clone)]
pub struct Download {
    /// `None` unless the file is approved (SERVICE.md 2.6).
    pub url: Option<PresignedUrl>,
    pub status: RemoteStatus,
}

/// What the instance takes on cases; the effective values, custom or default (SERVICE.md 1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesConfig {
    /// Bytes; `None` when the service did not say.
    pub max_size: Option<u64>,
    /// Without the dot, lower case; `None` when the service did not say.
    pub extensions: Option<Vec<String>>,
}
