//! Rows and folders to test with.

use std::path::{Path, PathBuf};

use sha2::Digest as _;

use super::super::{Journal, JournalError, NewAttachment, NewEvent, Tx};
use crate::core::model::{Attachment, AttachmentId, EventKind, FileRow, MirrorId, Stage, Stat, Verdict, Version};
use crate::types::{CaseArn, ClientToken, ContentHash, FileId, RelPath, UnixMillis};

pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

pub fn db(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("journal.db")
}

pub fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}

pub fn at(ms: i64) -> UnixMillis {
    UnixMillis(ms)
}

pub fn hash(seed: u8) -> ContentHash {
    ContentHash([seed; 32])
}

pub fn file_id(text: &str) -> FileId {
    FileId::new(text).unwrap()
}

pub fn case() -> CaseArn {
    CaseArn::new("arn:aws:cases:eu-west-2:123456789012:domain/d-1/case/c-1").unwrap()
}

pub fn token(text: &str) -> ClientToken {
    ClientToken::from_journal(text.to_owned())
}

/// A row of `mirror` at `name`, first seen at time 1.
pub fn row(mirror: MirrorId, name: &str, verdict: Verdict) -> FileRow {
    FileRow {
        mirror,
        path: path(name),
        stat: Stat { dev: u64::MAX, inode: 7, size: 10, mtime_ns: -5, ctime_ns: 6 },
        hash: Some(hash(1)),
        verdict,
        note: None,
        seen_at: at(1),
        since: at(1),
        absent_since: None,
        attempt: 0,
        next_attempt: None,
        kept: false,
        insisted: None,
    }
}

/// Adds a planned attachment of `name` with the token `name`/`n`; no start call is open.
pub fn plan(tx: &Tx<'_>, mirror: MirrorId, name: &str, n: u32) -> Result<AttachmentId, JournalError> {
    let new = NewAttachment {
        mirror,
        path: path(name),
        case: case(),
        name: name.to_owned(),
        version: Version { size: 10, hash: hash(1) },
        attempt: n,
        token: token(&format!("{name}/{n}")),
        start_open: false,
        extras: Default::default(),
    };
    Ok(tx.add_attachment(&new, at(1))?.id)
}

/// Writes the attachment with `edit` applied to it as it stands.
pub fn put(tx: &Tx<'_>, id: AttachmentId, ms: i64, edit: impl FnOnce(&mut Attachment)) -> Result<(), JournalError> {
    let mut attachment = tx.expect_attachment(id)?;
    edit(&mut attachment);
    tx.put_attachment(&attachment, at(ms))
}

/// [`put`] with the next stage and what its row must hold: a FileId of its own from `started` on, a reason where
/// one is asked for.
pub fn advance(tx: &Tx<'_>, id: AttachmentId, to: Stage, ms: i64) -> Result<(), JournalError> {
    put(tx, id, ms, |a| {
        a.stage = to;
        if !matches!(to, Stage::Planned | Stage::Abandoned | Stage::Deleted) {
            a.file_id.get_or_insert(file_id(&format!("id-of-{}", id.0)));
        }
        if matches!(to, Stage::Abandoned | Stage::Rejected | Stage::Failed | Stage::Deleting) {
            a.reason = Some(if to == Stage::Deleting { "absent" } else { "a reason" }.to_owned());
        }
    })
}

pub fn event(tx: &Tx<'_>, mirror: MirrorId, name: &str, kind: EventKind, ms: i64) -> Result<i64, JournalError> {
    let detail = serde_json::json!({"text": name});
    tx.add_event(&NewEvent { mirror, path: Some(path(name)), attachment: None, kind, detail }, at(ms))
}

/// An open journal with one mirror.
pub fn with_mirror(path: &Path) -> (Journal, MirrorId) {
    let journal = Journal::open(path).unwrap();
    let mirror = journal.write_blocking(|tx| Ok(tx.ensure_mirror("inbox", b"/srv/inbox")?.id)).unwrap();
    (journal, mirror)
}

/// Every file of the folder: name, bytes hashed, mode and time of change.
pub fn snapshot(dir: &Path) -> Vec<(String, Vec<u8>, u32, std::time::SystemTime)> {
    use std::os::unix::fs::MetadataExt as _;
    let mut all: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            let bytes = sha2::Sha256::digest(std::fs::read(entry.path()).unwrap()).to_vec();
            (entry.file_name().into_string().unwrap(), bytes, meta.mode(), meta.modified().unwrap())
        })
        .collect();
    all.sort();
    all.push((String::new(), Vec::new(), 0, std::fs::metadata(dir).unwrap().modified().unwrap()));
    all
}
