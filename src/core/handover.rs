//! What becomes of a local file that casedrop is done with (`mode = "ingest"`), and under which name.
//!
//! Pure: rows and policy in, a decision out. A delivered file may go only with proof in the journal: an approved
//! attachment with a FileId whose size and hash are those of the file as it was last read (invariant 1). A refused
//! file goes into quarantine only for a reason of its own; what an administrator or a quiet hour can cure stays where
//! it is and waits.

use std::time::Duration;

use super::model::{Attachment, AttachmentId, FileRow, HandoverKind, ParkCode, Stage, Verdict};
use crate::types::{RelPath, UnixMillis};

/// The beginning of every name that casedrop gives to a file of its own for a moment, beside others. Such names are
/// never taken as somebody's file.
pub const OWN_PREFIX: &[u8] = b".casedrop-";

/// What lies beside an archived file.
pub const RECEIPT: &str = ".receipt.json";

/// What lies beside a quarantined file.
pub const REASON: &str = ".reason.txt";

/// An empty file may be one that a scanner has opened and not begun to write: it rests for this many times `settle`
/// before it is taken away.
const EMPTY_RESTS_SETTLES: u32 = 10;

/// Longest name of a file, in bytes (NAME_MAX of every file system that Linux writes natively).
pub const LONGEST_NAME: usize = 255;

/// What is done with a file whose delivery is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterApproval {
    Archive,
    Delete,
    Keep,
}

/// A mirror's policy on files it is done with.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    pub after: AfterApproval,
    /// Whether there is a quarantine.
    pub quarantine: bool,
    pub settle: Duration,
}

/// What is to be done with a file now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Archive or delete, proven by this attachment.
    Delivered(HandoverKind, AttachmentId),
    Refused(ParkCode),
}

impl Due {
    pub fn kind(self) -> HandoverKind {
        match self {
            Self::Delivered(kind, _) => kind,
            Self::Refused(_) => HandoverKind::Quarantine,
        }
    }
}

/// Whether the file may go now, and where to. `attachments`: those that belong to it, oldest first.
pub fn due(row: &FileRow, attachments: &[Attachment], policy: &Policy, now: UnixMillis) -> Option<Due> {
    if row.absent_since.is_some() || attachments.iter().any(|a| a.stage.is_under_way()) {
        return None;
    }
    match &row.verdict {
        Verdict::Attached => {
            let kind = match policy.after {
                AfterApproval::Archive => HandoverKind::Archive,
                AfterApproval::Delete => HandoverKind::Delete,
                AfterApproval::Keep => return None,
            };
            let version = row.version()?;
            let proof = attachments.iter().rev().find(|a| a.stage == Stage::Approved)?;
            let proven = proof.version == version && proof.file_id.is_some() && !proof.moved && proof.is_visible();
            proven.then_some(Due::Delivered(kind, proof.id))
        }
        Verdict::Parked(code) => {
            let rest = if *code == ParkCode::EmptyFile { policy.settle * EMPTY_RESTS_SETTLES } else { Duration::ZERO };
            let rested = now.since(row.since) >= rest;
            (policy.quarantine && quarantines(*code) && rested).then_some(Due::Refused(*code))
        }
        Verdict::Settling
        | Verdict::Queued
        | Verdict::Uploading
        | Verdict::Scanning
        | Verdict::Deleting
        | Verdict::Ignored(_)
        | Verdict::Unrouted(_) => None,
    }
}

/// Why a file that is announced to go, and has not gone, is to stay after all: what it goes for does not hold any more.
/// `refused`: the code for which it goes to quarantine.
pub fn called_off(
    refused: Option<ParkCode>,
    row: Option<&FileRow>,
    proof: Option<&Attachment>,
) -> Option<&'static str> {
    if proof.is_some_and(|proof| !proof.is_visible()) {
        return Some("what is attached of it was found wrong at Connect");
    }
    let stands = match &row?.verdict {
        Verdict::Parked(code) => refused == Some(*code),
        Verdict::Attached => refused.is_none(),
        _ => false,
    };
    (!stands).then_some("it is to be tried or looked at again")
}

/// Whether a file parked with this code is refused for a reason of its own, so that it belongs into quarantine. The
/// others are cured elsewhere (a role, a bucket, a full or unknown case, a conflict), and the file is then delivered
/// as it is.
pub fn quarantines(code: ParkCode) -> bool {
    match code {
        ParkCode::EmptyFile
        | ParkCode::TooLarge
        | ParkCode::TypeNotAllowed
        | ParkCode::BadName
        | ParkCode::Rejected
        | ParkCode::Failed
        | ParkCode::ConvertFailed => true,
        ParkCode::CaseFull
        | ParkCode::CaseSizeFull
        | ParkCode::CaseNotFound
        | ParkCode::CaseClosed
        | ParkCode::AccessDenied
        | ParkCode::StorageDenied
        | ParkCode::Refused
        | ParkCode::Conflict
        | ParkCode::Vanished
        | ParkCode::Unreadable
        | ParkCode::MissingRemotely
        | ParkCode::AlteredRemotely
        | ParkCode::Unseen => false,
    }
}

/// What to do now, in words for whoever stands at the scanner.
pub fn advice(code: ParkCode) -> &'static str {
    match code {
        ParkCode::EmptyFile => "The file has no content. Scan or send the document again.",
        ParkCode::TooLarge => {
            "The file is too large. Scan the document again with fewer pages at a time, in black and white or at a \
             lower resolution."
        }
        ParkCode::TypeNotAllowed => "This kind of file is not taken. Scan or save the document again as PDF.",
        ParkCode::BadName => "The file's name is not taken. Give it a short name of plain letters and digits.",
        ParkCode::Rejected => {
            "The virus scanner refused the file, or could not be asked. Do not open it; show this note to your \
             administrator."
        }
        ParkCode::Failed => {
            "The file could not be processed although it was tried several times. It may be damaged, or its content \
             does not fit its ending. Scan or save the document again as PDF."
        }
        ParkCode::ConvertFailed => {
            "The document could not be turned into the form that is needed. It may be damaged. Scan or save it again."
        }
        other => other.remedy(),
    }
}

/// The `n`-th name (from 1) to try for `name` where it is stored: `scan.pdf`, `scan~2.pdf`, `scan~3.pdf`. All of them
/// leave `room` bytes for what is put after the name of a file beside it; a name too long for that is cut before its
/// extension.
pub fn stored_name(name: &[u8], n: u32, room: usize) -> Vec<u8> {
    let mark = if n > 1 { format!("~{n}").into_bytes() } else { Vec::new() };
    let (stem, extension) = split(name);
    let most = LONGEST_NAME.saturating_sub(room + mark.len() + extension.len()).max(1);
    [cut(stem, most), &mark, extension].concat()
}

/// The path below the store for the `n`-th name.
pub fn stored_path(path: &RelPath, n: u32, room: usize) -> RelPath {
    let name = stored_name(path.file_name(), n, room);
    let whole = match path.parent() {
        Some(folder) => [folder.as_bytes(), b"/", &name].concat(),
        None => name,
    };
    RelPath::new(whole).unwrap_or_else(|| path.clone())
}

/// Names tried for one file where it is stored.
const MOST_NAMES: u32 = 10_000;

/// The first name of the file, from the `from`-th on, that is free where it is stored together with all that may lie
/// `beside` it. `is_free` is asked of a path and of what is put after it, of the file itself first.
///
/// # Errors
/// Those of `is_free`.
pub fn free_path<E>(
    path: &RelPath,
    from: u32,
    beside: &[&str],
    mut is_free: impl FnMut(&RelPath, &str) -> Result<bool, E>,
) -> Result<Option<RelPath>, E> {
    let room = beside.iter().map(|suffix| suffix.len()).max().unwrap_or(0);
    for n in from..MOST_NAMES {
        let stored = stored_path(path, n, room);
        let mut free = is_free(&stored, "")?;
        for suffix in beside {
            free = free && is_free(&stored, suffix)?;
        }
        if free {
            return Ok(Some(stored));
        }
    }
    Ok(None)
}

/// The name of what lies beside a stored file.
pub fn beside(stored: &RelPath, suffix: &str) -> Vec<u8> {
    [stored.file_name(), suffix.as_bytes()].concat()
}

/// The part before the extension, and the extension with its dot: 1 to 10 ASCII letters or digits, as elsewhere.
fn split(name: &[u8]) -> (&[u8], &[u8]) {
    let dot = name.iter().rposition(|b| *b == b'.').filter(|at| *at > 0);
    let known = dot.map(|at| name.split_at(at)).filter(|(_, extension)| {
        (2..=11).contains(&extension.len()) && extension.iter().skip(1).all(u8::is_ascii_alphanumeric)
    });
    known.unwrap_or((name, b""))
}

/// At most `most` bytes, not ending inside a character.
fn cut(stem: &[u8], most: usize) -> &[u8] {
    if stem.len() <= most {
        return stem;
    }
    let mut end = most;
    while end > 1 && stem.get(end).is_some_and(|b| b & 0xc0 == 0x80) {
        end -= 1;
    }
    stem.get(..end).unwrap_or(stem)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::core::model::{MirrorId, Stat, Version};
    use crate::types::{CaseArn, ClientToken, ContentHash, FileId};

    const AT: UnixMillis = UnixMillis(1_000_000);

    fn row(verdict: Verdict) -> FileRow {
        FileRow {
            mirror: MirrorId(1),
            path: RelPath::new(&b"a.pdf"[..]).unwrap(),
            stat: Stat { dev: 1, inode: 2, size: 3, mtime_ns: 4, ctime_ns: 5 },
            hash: Some(ContentHash([7; 32])),
            verdict,
            note: None,
            seen_at: AT,
            since: AT,
            absent_since: None,
            attempt: 1,
            next_attempt: None,
            kept: false,
            insisted: None,
        }
    }

    fn attachment(id: i64, stage: Stage) -> Attachment {
        Attachment {
            id: AttachmentId(id),
            mirror: MirrorId(1),
            path: RelPath::new(&b"a.pdf"[..]).unwrap(),
            case: CaseArn::new("arn:aws:cases:eu-west-2:1:domain/d/case/c").unwrap(),
            name: "a.pdf".into(),
            version: Version { size: 3, hash: ContentHash([7; 32]) },
            attempt: 1,
            token: ClientToken::from_journal(format!("t{id}")),
            file_id: FileId::new(format!("f{id}")),
            stage,
            reason: None,
            start_open: false,
            unsure_since: None,
            tries: 0,
            next_attempt: None,
            last_error: None,
            last_request_id: None,
            created_at: AT,
            started_at: None,
            stored_at: None,
            completed_at: None,
            ended_at: None,
            deleted_at: None,
            extras: None,
            moved: false,
            found: None,
        }
    }

    fn policy(after: AfterApproval) -> Policy {
        Policy { after, quarantine: true, settle: Duration::from_secs(5) }
    }

    #[test]
    fn inv01_a_delivered_file_goes_only_with_proof_of_exactly_its_bytes() {
        let archive = policy(AfterApproval::Archive);
        let attached = row(Verdict::Attached);
        let good = attachment(1, Stage::Approved);
        let due_with = |row: &FileRow, list: &[Attachment]| due(row, list, &archive, AT);
        let proven = Some(Due::Delivered(HandoverKind::Archive, AttachmentId(1)));
        assert_eq!(due_with(&attached, std::slice::from_ref(&good)), proven);
        assert_eq!(
            due(&attached, std::slice::from_ref(&good), &policy(AfterApproval::Delete), AT).map(Due::kind),
            Some(HandoverKind::Delete)
        );
        assert_eq!(due(&attached, std::slice::from_ref(&good), &policy(AfterApproval::Keep), AT), None);
        type Change = fn(&mut FileRow, &mut Attachment);
        let changed: [(&str, Change); 9] = [
            ("no FileId", |_, a| a.file_id = None),
            ("another size", |_, a| a.version.size = 4),
            ("another hash", |_, a| a.version.hash = ContentHash([8; 32])),
            ("not approved", |_, a| a.stage = Stage::Completed),
            ("rejected", |_, a| a.stage = Stage::Rejected),
            ("to be replaced elsewhere", |_, a| a.moved = true),
            ("found wrong at Connect since", |_, a| a.found = Some(ParkCode::MissingRemotely)),
            ("not read", |r, _| r.hash = None),
            ("gone", |r, _| r.absent_since = Some(AT)),
        ];
        for (what, change) in changed {
            let (mut row, mut a) = (attached.clone(), good.clone());
            change(&mut row, &mut a);
            assert_eq!(due_with(&row, &[a]), None, "{what}");
        }
        assert_eq!(due_with(&attached, &[]), None, "no attachment");
        let newer = attachment(2, Stage::Started);
        assert_eq!(due_with(&attached, &[good.clone(), newer]), None, "a newer version is under way");
        let older = Attachment { version: Version { size: 9, ..good.version }, ..attachment(0, Stage::Deleted) };
        assert_eq!(due_with(&attached, &[older, good.clone()]), proven);
        for verdict in [
            Verdict::Settling,
            Verdict::Queued,
            Verdict::Uploading,
            Verdict::Scanning,
            Verdict::Deleting,
            Verdict::Ignored("x".into()),
            Verdict::Unrouted("x".into()),
        ] {
            assert_eq!(due_with(&row(verdict.clone()), std::slice::from_ref(&good)), None, "{verdict}");
        }
    }

    #[test]
    fn what_a_file_goes_for_must_still_hold_when_it_goes() {
        let good = attachment(1, Stage::Approved);
        let missing = Attachment { found: Some(ParkCode::MissingRemotely), ..good.clone() };
        let (attached, parked) = (row(Verdict::Attached), row(Verdict::Parked(ParkCode::Rejected)));
        let off = |code, row: Option<&FileRow>, proof| called_off(code, row, proof).is_some();
        assert!(!off(None, Some(&attached), Some(&good)));
        assert!(!off(None, None, Some(&good)), "forgotten since: what was proven is");
        assert!(off(None, Some(&attached), Some(&missing)) && off(None, None, Some(&missing)));
        assert!(!off(Some(ParkCode::Rejected), Some(&parked), None));
        assert!(off(Some(ParkCode::Failed), Some(&parked), None) && off(None, Some(&parked), Some(&good)));
        assert!(off(Some(ParkCode::Rejected), Some(&attached), None), "found to be as it should be at Connect");
        for verdict in [Verdict::Queued, Verdict::Settling, Verdict::Uploading, Verdict::Scanning] {
            let row = row(verdict);
            assert!(off(None, Some(&row), Some(&good)) && off(Some(ParkCode::Rejected), Some(&row), None));
        }
    }

    #[test]
    fn only_what_is_the_files_own_fault_is_quarantined() {
        let own = ["empty-file", "too-large", "type-not-allowed", "bad-name", "rejected", "failed", "convert-failed"];
        for code in ParkCode::ALL {
            assert_eq!(quarantines(*code), own.contains(&code.as_str()), "{code}");
            let late = AT.plus(Duration::from_secs(3_600));
            let keep = policy(AfterApproval::Keep);
            let expected = quarantines(*code).then_some(Due::Refused(*code));
            assert_eq!(due(&row(Verdict::Parked(*code)), &[], &keep, late), expected, "{code}");
            let without = Policy { quarantine: false, ..keep };
            assert_eq!(due(&row(Verdict::Parked(*code)), &[], &without, late), None, "{code}");
            assert!(!advice(*code).is_empty());
        }
    }

    #[test]
    fn an_empty_file_rests_because_a_scanner_may_be_about_to_write_it() {
        let keep = policy(AfterApproval::Keep);
        let empty = row(Verdict::Parked(ParkCode::EmptyFile));
        let after = |seconds| due(&empty, &[], &keep, AT.plus(Duration::from_secs(seconds)));
        assert_eq!((after(49), after(50)), (None, Some(Due::Refused(ParkCode::EmptyFile))));
        let large = row(Verdict::Parked(ParkCode::TooLarge));
        assert!(due(&large, &[], &keep, AT).is_some());
        assert_eq!(due(&large, &[attachment(1, Stage::Completed)], &keep, AT), None, "an older version is scanned");
    }

    #[test]
    fn names_are_numbered_before_the_extension() {
        let shown = |name: &[u8], n| String::from_utf8(stored_name(name, n, 20)).unwrap();
        for (name, n, expected) in [
            ("scan.pdf", 1, "scan.pdf"),
            ("scan.pdf", 2, "scan~2.pdf"),
            ("scan.tar.gz", 3, "scan.tar~3.gz"),
            ("README", 2, "README~2"),
            (".profile", 2, ".profile~2"),
            ("a.", 2, "a.~2"),
            ("letter. Smith & Sons", 2, "letter. Smith & Sons~2"),
        ] {
            assert_eq!(shown(name.as_bytes(), n), expected);
        }
        let path = RelPath::new(&b"x/y/scan.pdf"[..]).unwrap();
        assert_eq!(stored_path(&path, 2, 0).as_bytes(), b"x/y/scan~2.pdf");
    }

    proptest! {
        #[test]
        fn stored_names_differ_fit_and_keep_their_folder_and_extension(
            stem in prop::collection::vec(any::<u8>().prop_filter("no separator", |b| !matches!(b, 0 | b'/')), 1..300),
            extension in "[a-zA-Z0-9]{1,10}",
            room in 0_usize..64,
        ) {
            let mut name = [&stem[..], b".", extension.as_bytes()].concat();
            if name.len() > LONGEST_NAME {
                name.drain(..name.len() - LONGEST_NAME);
            }
            let path = RelPath::new([b"folder/", &name[..]].concat());
            let Some(path) = path else { return Ok(()) };
            let mut seen = HashSet::new();
            for n in 1..40 {
                let stored = stored_path(&path, n, room);
                prop_assert_eq!(stored.parent(), path.parent());
                prop_assert!(stored.file_name().len() + room <= LONGEST_NAME);
                prop_assert_eq!(split(stored.file_name()).1, split(path.file_name()).1);
                prop_assert!(seen.insert(stored), "two numbers gave one name");
            }
            if name.len() + room <= LONGEST_NAME {
                prop_assert_eq!(stored_path(&path, 1, room), path);
            }
        }
    }
}
