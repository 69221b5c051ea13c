//! The nouns of the journal: what a file, an attachment and a mirror look like at one moment.
//!
//! The same words stand in the tables, the log, the command line and the page (DESIGN §2).

use std::fmt;

use super::words::words;
pub use super::{hold::Hold, hold::HoldCode, park::ParkCode, root::RootIdentity};
use crate::types::{CaseArn, ClientToken, ContentHash, FileId, RelPath, UnixMillis};

/// A row of the table `mirror`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MirrorId(pub i64);

/// A row of the table `attachment`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttachmentId(pub i64);

/// What `fstat` says of a regular file. Identity is all of it; the content hash decides (LESSONS L60).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    pub dev: u64,
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970, any sign: evidence of change, never of validity (L77).
    pub mtime_ns: i64,
    /// Nanoseconds since 1970.
    pub ctime_ns: i64,
}

impl Stat {
    /// Whether both show the same content as far as `stat` can tell: a change of ctime alone (a rename, a
    /// change of owner) is none (L9).
    pub fn same_content_as(&self, other: &Stat) -> bool {
        self.dev == other.dev && self.same_but_for_device(other)
    }

    /// The same, also where a boot or another mount has given the disk another number.
    pub fn same_but_for_device(&self, other: &Stat) -> bool {
        (self.inode, self.size, self.mtime_ns) == (other.inode, other.size, other.mtime_ns)
    }
}

/// One content of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Bytes.
    pub size: u64,
    pub hash: ContentHash,
}

words! {
    /// Where an attachment stands at Connect, as far as the journal knows.
    ///
    /// ```text
    /// planned ─▶ started ─▶ stored ─▶ completed ─▶ approved ─┐
    ///    │          │          │          ├─▶ rejected ──────┤
    ///    │          │          │          └─▶ failed ────────┤
    ///    └──────────┴──────────┴─▶ abandoned ────────────────┴─▶ deleting ─▶ deleted
    /// ```
    ///
    /// One way back: a delete for an absence whose call was never made can be called back by hand, `deleting` ─▶
    /// `approved` (`casedrop keep`).
    Stage {
        /// The token is durable; a start call may have been sent.
        Planned = "planned",
        /// Connect gave a FileId; the URL lives in memory only.
        Started = "started",
        /// S3 took all bytes.
        Stored = "stored",
        /// Connect took the complete call; the scan is open.
        Completed = "completed",
        /// Agents can see it.
        Approved = "approved",
        /// The scanner refused it, or could not be asked (SERVICE.md 0.8).
        Rejected = "rejected",
        /// Connect gave up on it.
        Failed = "failed",
        /// We gave up on it before it was complete; its FileId, if any, is to be cleaned up.
        Abandoned = "abandoned",
        /// The delete call may have been sent.
        Deleting = "deleting",
        /// Gone at Connect, confirmed.
        Deleted = "deleted",
    }
}

impl Stage {
    /// The one list of legal transitions (invariant 17).
    pub fn may_become(self, next: Stage) -> bool {
        use Stage::{Abandoned, Approved, Completed, Deleted, Deleting, Failed, Planned, Rejected, Started, Stored};
        match self {
            Planned => matches!(next, Started | Abandoned),
            Started => matches!(next, Stored | Abandoned),
            Stored => matches!(next, Completed | Approved | Rejected | Failed | Abandoned),
            Completed => matches!(next, Approved | Rejected | Failed | Abandoned),
            Approved | Rejected | Failed => matches!(next, Deleting | Deleted),
            Abandoned => matches!(next, Deleting | Deleted),
            Deleting => matches!(next, Deleted),
            Deleted => false,
        }
    }

    /// Whether the attempt still goes forward to `approved`.
    pub fn is_under_way(self) -> bool {
        matches!(self, Stage::Planned | Stage::Started | Stage::Stored | Stage::Completed)
    }

    /// Whether its scan ended badly: nobody sees it, and its record may count to the files of its case.
    pub fn is_refused(self) -> bool {
        matches!(self, Stage::Rejected | Stage::Failed)
    }

    /// Whether its upload is over and what came of it still stands at Connect, seen or not.
    pub fn stands(self) -> bool {
        self == Stage::Approved || self.is_refused()
    }
}

/// What casedrop says of a file (DESIGN §2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// New or changed; waits until it has been quiet for `settle`.
    Settling,
    /// Its content is known and waits for a slot or for the next try.
    Queued,
    /// Between the start and the complete call.
    Uploading,
    /// Complete at Connect, not yet visible to agents.
    Scanning,
    /// Agents can see exactly this content.
    Attached,
    /// Absent here; waits for the end of its grace, or is being deleted at Connect.
    Deleting,
    /// Waits for a person or a change.
    Parked(ParkCode),
    /// Out of scope by the rule named.
    Ignored(String),
    /// No case could be told; the text is a reason of `core::routing`.
    Unrouted(String),
}

impl Verdict {
    /// The stable word, as the column `verdict` holds it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Settling => "settling",
            Self::Queued => "queued",
            Self::Uploading => "uploading",
            Self::Scanning => "scanning",
            Self::Attached => "attached",
            Self::Deleting => "deleting",
            Self::Parked(_) => "parked",
            Self::Ignored(_) => "ignored",
            Self::Unrouted(_) => "unrouted",
        }
    }

    /// Every word, in the order of a life, for counts that show zeros.
    pub const WORDS: [&str; 9] =
        ["settling", "queued", "uploading", "scanning", "attached", "deleting", "parked", "ignored", "unrouted"];

    /// The column `detail`: park code, rule or reason.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Parked(code) => Some(code.as_str()),
            Self::Ignored(text) | Self::Unrouted(text) => Some(text),
            Self::Settling | Self::Queued | Self::Uploading | Self::Scanning | Self::Attached | Self::Deleting => None,
        }
    }

    /// The verdict of the two columns; `None` when they hold something this program never wrote.
    pub fn from_columns(word: &str, detail: Option<&str>) -> Option<Self> {
        let text = || detail.unwrap_or_default().to_owned();
        Some(match word {
            "settling" => Self::Settling,
            "queued" => Self::Queued,
            "uploading" => Self::Uploading,
            "scanning" => Self::Scanning,
            "attached" => Self::Attached,
            "deleting" => Self::Deleting,
            "parked" => Self::Parked(ParkCode::parse(detail?)?),
            "ignored" => Self::Ignored(text()),
            "unrouted" => Self::Unrouted(text()),
            _ => return None,
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail() {
            Some(detail) => write!(f, "{}({detail})", self.word()),
            None => f.write_str(self.word()),
        }
    }
}

/// A row of the table `file`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRow {
    pub mirror: MirrorId,
    pub path: RelPath,
    /// The stat that goes with `hash`; before the first read, the stat at first sight.
    pub stat: Stat,
    /// The content last read; `None` until it was read once.
    pub hash: Option<ContentHash>,
    pub verdict: Verdict,
    /// One sentence that goes with the verdict: when the next try is, what the service said.
    pub note: Option<String>,
    /// When casedrop first saw the path.
    pub seen_at: UnixMillis,
    /// Since when the verdict holds.
    pub since: UnixMillis,
    /// When its local absence was first seen, in a fully listed folder of a healthy root.
    pub absent_since: Option<UnixMillis>,
    /// Attempts made at the present version; numbers the next one.
    pub attempt: u32,
    /// Not before this time, when the last attempt asked for a wait.
    pub next_attempt: Option<UnixMillis>,
    /// It is gone, and a person keeps what is attached of it (`casedrop keep`).
    pub kept: bool,
    /// The content for which a person let Connect judge, whatever is believed of it (`casedrop retry`).
    pub insisted: Option<ContentHash>,
}

impl FileRow {
    /// It is there again and followed as any other. Whether it was gone.
    pub fn comes_back(&mut self) -> bool {
        self.kept = false;
        self.absent_since.take().is_some()
    }

    /// Whether a person lets Connect judge what the file holds.
    pub fn is_insisted_on(&self) -> bool {
        self.insisted.is_some() && self.insisted == self.hash
    }

    /// The version last read.
    pub fn version(&self) -> Option<Version> {
        Some(Version { size: self.stat.size, hash: self.hash? })
    }
}

/// What a start call carries beside case, name and size. A repeated call must be the same to the letter.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Extras {
    /// The user's own tags.
    pub tags: std::collections::BTreeMap<String, String>,
    /// ARN of the Connect user that is shown as the creator.
    pub created_by: Option<String>,
}

/// A row of the table `attachment`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    pub id: AttachmentId,
    pub mirror: MirrorId,
    /// The local path it belongs to now (a move changes it).
    pub path: RelPath,
    pub case: CaseArn,
    /// The name agents see.
    pub name: String,
    pub version: Version,
    /// 1 for the first attempt at this version.
    pub attempt: u32,
    pub token: ClientToken,
    pub file_id: Option<FileId>,
    pub stage: Stage,
    /// Why it is abandoned, rejected, failed, deleting.
    pub reason: Option<String>,
    /// A start call was sent and its answer is not journaled.
    pub start_open: bool,
    /// When a start call last ended without a certain answer: there may be a FileId we do not know. A sweep of
    /// the case by our attempt tag settles it and sets this to `None`.
    pub unsure_since: Option<UnixMillis>,
    /// Calls that failed since the stage last changed.
    pub tries: u32,
    /// Not before this time.
    pub next_attempt: Option<UnixMillis>,
    pub last_error: Option<String>,
    /// AWS request id of the last call, failed or not.
    pub last_request_id: Option<String>,
    pub created_at: UnixMillis,
    pub started_at: Option<UnixMillis>,
    pub stored_at: Option<UnixMillis>,
    pub completed_at: Option<UnixMillis>,
    /// When it became approved, rejected, failed or abandoned.
    pub ended_at: Option<UnixMillis>,
    pub deleted_at: Option<UnixMillis>,
    /// `None`: an attempt of before this was kept; the configuration tells.
    pub extras: Option<Extras>,
    /// The file moved to a path with another case or name since: it is to be replaced.
    pub moved: bool,
    /// What a comparison with Connect found wrong with it since it was approved: the code of its file's park.
    pub found: Option<ParkCode>,
}

impl Attachment {
    /// Whether agents can see exactly this version, as far as is known: approved, and not found missing, altered or
    /// refused at Connect since.
    pub fn is_visible(&self) -> bool {
        self.stage == Stage::Approved && self.found_wrong().is_none()
    }

    /// What a comparison with Connect found wrong with an approved attachment.
    pub fn found_wrong(&self) -> Option<ParkCode> {
        self.found.filter(|_| self.stage == Stage::Approved)
    }

    /// Time since Connect took the complete call.
    pub fn age(&self, now: UnixMillis) -> std::time::Duration {
        self.completed_at.map_or(std::time::Duration::ZERO, |at| now.since(at))
    }
}

/// A row of the table `mirror`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorRow {
    pub id: MirrorId,
    pub name: String,
    /// The root's absolute path, bytes.
    pub root: Vec<u8>,
    /// `None` until the first healthy scan.
    pub identity: Option<RootIdentity>,
    /// The hold to show first; one of `holds`.
    pub hold: Option<Hold>,
    /// All holds in force, the one to show first at the front. None masks or ends another.
    pub holds: Vec<Hold>,
    /// A person let the present change of nearly all files through.
    pub changes_released: bool,
    /// Deletes that a person released past the budget, still to be used up.
    pub released: u32,
    /// End of the last full scan.
    pub scanned_at: Option<UnixMillis>,
    /// `native`, or `poll: REASON`; what the watcher last reported.
    pub watch: Option<String>,
}

/// A row of the table `handover`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandoverId(pub i64);

words! {
    /// What becomes of a local file that casedrop is done with.
    HandoverKind {
        /// Moved into the archive, its delivery proven.
        Archive = "archive",
        /// Removed, its delivery proven.
        Delete = "delete",
        /// Moved into the quarantine, refused.
        Quarantine = "quarantine",
    }
}

words! {
    /// Where a hand-over stands.
    HandoverState {
        /// Announced: the file may be here or there.
        Moving = "moving",
        /// It could not be moved and is certainly still here; tried again.
        Waiting = "waiting",
        /// It is where it was to go, durably.
        Done = "done",
        /// The file was not what was to be handed over, or was gone; nothing is left of the attempt.
        Cancelled = "cancelled",
    }
}

/// A row of the table `handover`: announced before the file moves, ended by what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handover {
    pub id: HandoverId,
    pub mirror: MirrorId,
    pub path: RelPath,
    pub kind: HandoverKind,
    pub state: HandoverState,
    /// The attachment that proves the delivery; `None` for what is quarantined before any attempt.
    pub attachment: Option<AttachmentId>,
    /// Why it is quarantined.
    pub code: Option<ParkCode>,
    /// The file as it was when it was read.
    pub stat: Stat,
    pub hash: Option<ContentHash>,
    /// The folder it goes to, absolute, and the path below it; `None` for a delete.
    pub to: Option<(Vec<u8>, RelPath)>,
    /// Failures since it was first announced.
    pub tries: u32,
    pub next_attempt: Option<UnixMillis>,
    pub last_error: Option<String>,
    pub created_at: UnixMillis,
    pub ended_at: Option<UnixMillis>,
}

words! {
    /// What the audit trail records (table `event`).
    EventKind {
        Seen = "seen",
        Changed = "changed",
        Unchanged = "unchanged",
        Queued = "queued",
        Converted = "converted",
        Started = "started",
        Stored = "stored",
        Completed = "completed",
        Attached = "attached",
        Rejected = "rejected",
        Failed = "failed",
        Abandoned = "abandoned",
        Moved = "moved",
        Absent = "absent",
        Returned = "returned",
        DeletePlanned = "delete-planned",
        Deleted = "deleted",
        Kept = "kept",
        Parked = "parked",
        Ignored = "ignored",
        Unrouted = "unrouted",
        Forgotten = "forgotten",
        Retried = "retried",
        TryFailed = "try-failed",
        Swept = "swept",
        Unlisted = "unlisted",
        Held = "held",
        Released = "released",
        Adopted = "adopted",
        Differs = "differs",
        Agrees = "agrees",
        Repaired = "repaired",
        Verified = "verified",
        Archived = "archived",
        Removed = "removed",
        Quarantined = "quarantined",
        HandoverFailed = "handover-failed",
        /// Somebody else took the local file before its hand-over.
        Left = "left",
        /// The other end of `moved`, at the path it left.
        MovedAway = "moved-away",
    }
}

/// A row of the table `event`: what was done to which file, when, why, with what evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Grows with time; the cursor of `log --follow`.
    pub id: i64,
    pub at: UnixMillis,
    pub mirror: MirrorId,
    pub path: Option<RelPath>,
    pub attachment: Option<AttachmentId>,
    pub kind: EventKind,
    /// Free words and evidence, as JSON: `{"text": "…", …}`.
    pub detail: serde_json::Value,
}
