//! What a failed call means for its caller: what to do next, and whether the service can have done anything.

use std::fmt;
use std::time::Duration;

use crate::core::model::ParkCode;

/// One kind of call. Each API operation has a quota of its own (SERVICE.md 1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    Start,
    Put,
    Complete,
    BatchGet,
    Get,
    Delete,
    Describe,
    SearchRelated,
    SearchCases,
    GetCase,
    ListFields,
    ListDomains,
    /// The download from the URL that [`Op::Get`] granted.
    Fetch,
}

impl Op {
    /// Every kind, in the order of their declaration.
    pub const ALL: [Op; 13] = [
        Op::Start,
        Op::Put,
        Op::Complete,
        Op::BatchGet,
        Op::Get,
        Op::Delete,
        Op::Describe,
        Op::SearchRelated,
        Op::SearchCases,
        Op::GetCase,
        Op::ListFields,
        Op::ListDomains,
        Op::Fetch,
    ];

    /// AWS's name of the operation; `PutObject` and `GetObject` for the two transfers at S3.
    pub fn as_str(self) -> &'static str {
        match self {
            Op::Start => "StartAttachedFileUpload",
            Op::Put => "PutObject",
            Op::Complete => "CompleteAttachedFileUpload",
            Op::BatchGet => "BatchGetAttachedFileMetadata",
            Op::Get => "GetAttachedFile",
            Op::Delete => "DeleteAttachedFile",
            Op::Describe => "DescribeAttachedFilesConfiguration",
            Op::SearchRelated => "SearchRelatedItems",
            Op::SearchCases => "SearchCases",
            Op::GetCase => "GetCase",
            Op::ListFields => "ListFields",
            Op::ListDomains => "ListDomains",
            Op::Fetch => "GetObject",
        }
    }

    /// Whether S3 answers it, not Connect.
    pub fn is_transfer(self) -> bool {
        matches!(self, Op::Put | Op::Fetch)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What the caller does about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The same request again, later.
    Retry,
    /// The same request again, later; the pacer has slowed down already.
    Throttled,
    /// The presigned URL is of no more use: a new attempt, with a new token.
    Renew,
    /// The credentials, the clock or their setting: nothing about the file, so no try of it is used up.
    Credentials,
    /// The endpoint could not be reached at all: nothing about the file.
    Offline,
    /// The local file is not what was planned: look again.
    Replan,
    /// A person or a change is needed.
    Park(ParkCode),
    /// Connect knows no such FileId or case (404).
    Gone,
    /// The state at Connect is not the one the request assumes: read it there (by FileId after a complete call,
    /// by our attempt tag after a start call), then decide (SERVICE.md 2.2, 2.4).
    Conflict,
}

/// A call that did not succeed. Holds no credential, no URL and no more than 500 characters of foreign text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub op: Op,
    pub next: Next,
    /// The call certainly had no effect at the service. When false, it may have had its whole effect.
    pub certain: bool,
    /// The service's error code, or one of ours for what happened on the way (`Timeout`, `ConnectFailed`, …).
    pub code: String,
    pub message: String,
    /// HTTP status, when there was an answer.
    pub http: Option<u16>,
    pub request_id: Option<String>,
    /// How long the service asked to wait (`Retry-After`).
    pub hint: Option<Duration>,
}

/// What a failure's text begins with when the host's clock is the likely cause.
pub const WRONG_CLOCK: &str = "this host's clock seems wrong, check its time synchronisation";

impl Failure {
    /// Whether this host's clock is the likely cause.
    pub fn blames_clock(&self) -> bool {
        self.message.starts_with(WRONG_CLOCK)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.op, self.code)?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        match &self.request_id {
            Some(id) => write!(f, " (request {id})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}
