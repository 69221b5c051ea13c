//! Cases and files as the sandbox remembers them, and as its `case.json` and `metadata.json` show them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Millis;

/// Whether a case takes part in daily work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CaseStatus {
    /// Field `status` is `open`.
    #[default]
    Open,
    /// Field `status` is `closed`.
    Closed,
}

impl CaseStatus {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// A case to add.
#[derive(Clone, Debug, Default)]
pub struct NewCase {
    /// Its UUID; `None` makes one.
    pub case_id: Option<String>,
    /// Its 8-digit reference number, which need not be unique (SERVICE.md 7); `None` makes one.
    pub reference_number: Option<String>,
    /// Title.
    pub title: String,
    /// Status.
    pub status: CaseStatus,
}

impl NewCase {
    /// An open case with this title and made-up ids.
    pub fn titled(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }
}

/// A case of the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseInfo {
    /// UUID.
    pub case_id: String,
    /// ARN, for `associatedResourceArn`.
    pub arn: String,
    /// 8-digit reference number.
    pub reference_number: String,
    /// Reference id, unique without regard to case; older cases have none (SERVICE.md 0.10).
    #[serde(default)]
    pub reference_id: Option<String>,
    /// Title.
    pub title: String,
    /// Status.
    pub status: CaseStatus,
    /// When it was added.
    pub created_at: Millis,
}

impl CaseInfo {
    /// Name of its folder under `cases/`.
    pub(crate) fn label(&self) -> String {
        crate::disk::folder_name(&format!("{}_{}", self.reference_number, self.case_id))
    }
}

/// Status of a file (SERVICE.md 2.5). The last two are not in the public enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FileStatus {
    /// Started (by switch).
    Drafting,
    /// Started, or being scanned.
    Processing,
    /// Visible to agents.
    Approved,
    /// Refused by the scanner; bytes removed.
    Rejected,
    /// Failed.
    Failed,
    /// Started (by switch).
    PendingUpload,
    /// The URL expired without a PUT (by switch).
    UploadExpired,
}

impl FileStatus {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drafting => "DRAFTING",
            Self::Processing => "PROCESSING",
            Self::Approved => "APPROVED",
            Self::Rejected => "REJECTED",
            Self::Failed => "FAILED",
            Self::PendingUpload => "PENDING_UPLOAD",
            Self::UploadExpired => "UPLOAD_EXPIRED",
        }
    }
}

impl fmt::Display for FileStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One file in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerFile {
    /// FileId.
    pub file_id: String,
    /// Case it is on.
    pub case_id: String,
    /// FileName as given at Start.
    pub file_name: String,
    /// Status now.
    pub status: FileStatus,
    /// Size declared at Start, in bytes.
    pub size: u64,
    /// SHA-256 of the bytes that were stored, in lower-case hexadecimal; `None` until a PUT succeeded.
    pub sha256: Option<String>,
    /// Tags given at Start.
    pub tags: BTreeMap<String, String>,
    /// Token given at Start.
    pub client_token: String,
    /// Whether a PUT succeeded.
    pub put_done: bool,
    /// Whether a Complete was accepted.
    pub completed: bool,
    /// ARN shown as the creator.
    pub created_by: String,
    /// Seeded as somebody else's, not started through the API.
    pub foreign: bool,
    /// When it was started.
    pub created_at: Millis,
}

/// A file to seed as the caller's own, in any state.
#[derive(Clone, Debug)]
pub struct SeededFile {
    /// The case.
    pub case_id: String,
    /// FileName.
    pub file_name: String,
    /// Its bytes.
    pub content: Vec<u8>,
    /// Tags, as given at Start.
    pub tags: BTreeMap<String, String>,
    /// Status.
    pub status: FileStatus,
    /// How long ago it was started.
    pub age: std::time::Duration,
}

/// A file with what only the sandbox needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileRecord {
    #[serde(flatten)]
    pub(crate) file: LedgerFile,
    /// Place in the order of Starts; it orders the related items of a case.
    pub(crate) number: u64,
    pub(crate) related_item_id: String,
    pub(crate) created_by_user: bool,
    /// When the URL that Start answered was signed, and for how long.
    pub(crate) url_signed_at: Millis,
    pub(crate) url_seconds: u64,
    pub(crate) stored_at: Option<Millis>,
    pub(crate) completed_at: Option<Millis>,
    /// When the scan ends and how; `None` when there is none to come.
    pub(crate) scan_ends: Option<(Millis, FileStatus)>,
}

impl FileRecord {
    pub(crate) fn url_expires(&self) -> Millis {
        self.url_signed_at.plus(std::time::Duration::from_secs(self.url_seconds))
    }

    /// Whether the stored bytes still exist: a REJECTED file's are removed (SERVICE.md 0.8).
    pub(crate) fn has_bytes(&self) -> bool {
        self.file.put_done && self.file.status != FileStatus::Rejected
    }
}
