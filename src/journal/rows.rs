//! Between columns and nouns: every conversion, each way, once.
//!
//! A column that holds what this program never writes is an error (`Corrupt`), never a guess.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Result, Row};

use super::view::Difference;
use crate::core::compare::Class;
use crate::core::model::{
    Attachment, AttachmentId, Event, EventKind, FileRow, Handover, HandoverId, HandoverKind, HandoverState, Hold,
    HoldCode, MirrorId, MirrorRow, ParkCode, RootIdentity, Stage, Stat, Verdict, Version,
};
use crate::core::reference::{CaseRef, RefState, Reference};
use crate::types::{CaseArn, ClientToken, ContentHash, FileId, RelPath, UnixMillis};

/// A column's text or bytes are not what this program writes.
#[derive(Debug, thiserror::Error)]
#[error("unknown {0} in the journal")]
struct Unknown(&'static str);

fn unknown(what: &'static str) -> FromSqlError {
    FromSqlError::other(Unknown(what))
}

/// Words and newtypes as columns.
macro_rules! column {
    ($name:ty, $what:literal, |$v:ident| $to:expr, |$c:ident| $from:expr) => {
        impl ToSql for $name {
            fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
                let $v = self;
                Ok(ToSqlOutput::from($to))
            }
        }
        impl FromSql for $name {
            fn column_result($c: ValueRef<'_>) -> FromSqlResult<Self> {
                $from.ok_or_else(|| unknown($what))
            }
        }
    };
}

column!(MirrorId, "mirror", |v| v.0, |c| Some(Self(c.as_i64()?)));
column!(AttachmentId, "attachment", |v| v.0, |c| Some(Self(c.as_i64()?)));
column!(HandoverId, "hand-over", |v| v.0, |c| Some(Self(c.as_i64()?)));
column!(HandoverKind, "kind of hand-over", |v| v.as_str(), |c| HandoverKind::parse(c.as_str()?));
column!(HandoverState, "state of a hand-over", |v| v.as_str(), |c| HandoverState::parse(c.as_str()?));
column!(ParkCode, "park code", |v| v.as_str(), |c| ParkCode::parse(c.as_str()?));
column!(UnixMillis, "time", |v| v.0, |c| Some(Self(c.as_i64()?)));
column!(RelPath, "path", |v| v.as_bytes(), |c| RelPath::new(c.as_blob()?));
column!(ContentHash, "hash", |v| v.0.as_slice(), |c| ContentHash::from_slice(c.as_blob()?));
column!(Stage, "stage", |v| v.as_str(), |c| Stage::parse(c.as_str()?));
column!(EventKind, "kind of event", |v| v.as_str(), |c| EventKind::parse(c.as_str()?));
column!(HoldCode, "hold", |v| v.as_str(), |c| HoldCode::parse(c.as_str()?));
column!(FileId, "FileId", |v| v.as_str(), |c| FileId::new(c.as_str()?));
column!(CaseArn, "case ARN", |v| v.as_str(), |c| CaseArn::new(c.as_str()?));
column!(Class, "class of difference", |v| v.as_str(), |c| Class::parse(c.as_str()?));
column!(Reference, "reference", |v| v.as_str(), |c| Reference::new(c.as_str()?));
column!(RefState, "state of a reference", |v| v.as_str(), |c| {
    let text = c.as_str()?;
    RefState::ALL.into_iter().find(|state| state.as_str() == text)
});
column!(ClientToken, "token", |v| v.as_str(), |c| Some(ClientToken::from_journal(c.as_str()?.to_owned())));

/// An unsigned value, bit for bit.
pub(super) fn unsigned(row: &Row<'_>, column: usize) -> Result<u64> {
    Ok(row.get_ref(column)?.as_i64().map_err(|e| conversion(column, e))?.cast_unsigned())
}

/// A count or a sum that SQL computed; never negative, and small enough for others to add up: 9 PiB have no more bytes.
pub(super) fn count(row: &Row<'_>, column: usize) -> Result<u64> {
    const MOST: i64 = 1 << 53;
    let value: i64 = row.get(column)?;
    if value > MOST {
        return Err(conversion(column, FromSqlError::OutOfRange(value)));
    }
    Ok(u64::try_from(value).unwrap_or(0))
}

/// An error of one column in rusqlite's terms.
pub(super) fn conversion(column: usize, error: FromSqlError) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Null, Box::new(error))
}

pub(super) const MIRROR: &str =
    "id, name, root, fsid, dev, inode, born_ns, changes_released, released, scanned_at, watch";
pub(super) const HOLD: &str = "code, detail, since";

/// A mirror without its holds, which stand in a table of their own.
pub(super) fn mirror(row: &Row<'_>) -> Result<MirrorRow> {
    let fsid: Option<i64> = row.get(3)?;
    let identity = match fsid {
        Some(fsid) => {
            let (dev, inode) = (unsigned(row, 4)?, unsigned(row, 5)?);
            Some(RootIdentity { fsid: fsid.cast_unsigned(), dev, inode, born_ns: row.get(6)? })
        }
        None => None,
    };
    Ok(MirrorRow {
        id: row.get(0)?,
        name: row.get(1)?,
        root: row.get(2)?,
        identity,
        hold: None,
        holds: Vec::new(),
        changes_released: row.get(7)?,
        released: row.get(8)?,
        scanned_at: row.get(9)?,
        watch: row.get(10)?,
    })
}

pub(super) fn hold(row: &Row<'_>) -> Result<Hold> {
    Ok(Hold { code: row.get(0)?, detail: row.get(1)?, since: row.get(2)? })
}

pub(super) const FILE: &str = "mirror, path, dev, inode, size, mtime_ns, ctime_ns, verdict, detail, absent_since, \
                               hash, note, seen_at, since, attempt, next_attempt, kept, \
                               insisted";
/// The index of a column selected after these.
pub(super) const FILE_END: usize = 18;

/// The columns `dev` to `ctime_ns`, which stand side by side.
pub(super) fn stat(row: &Row<'_>, first: usize) -> Result<Stat> {
    Ok(Stat {
        dev: unsigned(row, first)?,
        inode: unsigned(row, first + 1)?,
        size: unsigned(row, first + 2)?,
        mtime_ns: row.get(first + 3)?,
        ctime_ns: row.get(first + 4)?,
    })
}

pub(super) fn file(row: &Row<'_>) -> Result<FileRow> {
    let text = |column| row.get_ref(column)?.as_str_or_null().map_err(|e| conversion(column, e));
    let verdict = Verdict::from_columns(text(7)?.unwrap_or_default(), text(8)?)
        .ok_or_else(|| conversion(7, unknown("verdict")))?;
    Ok(FileRow {
        mirror: row.get(0)?,
        path: row.get(1)?,
        stat: stat(row, 2)?,
        hash: row.get(10)?,
        verdict,
        note: row.get(11)?,
        seen_at: row.get(12)?,
        since: row.get(13)?,
        absent_since: row.get(9)?,
        attempt: row.get(14)?,
        next_attempt: row.get(15)?,
        kept: row.get(16)?,
        insisted: row.get(17)?,
    })
}

pub(super) const ATTACHMENT: &str = "id, mirror, path, case_arn, name, size, hash, attempt, token, file_id, stage, \
                                     reason, start_open, unsure_since, tries, next_attempt, last_error, \
                                     last_request_id, created_at, started_at, stored_at, completed_at, ended_at, \
                                     deleted_at, extras, moved, found";

fn found(row: &Row<'_>) -> Result<Option<ParkCode>> {
    let text = row.get_ref(26)?.as_str_or_null().map_err(|e| conversion(26, e))?;
    text.map(|text| ParkCode::parse(text).ok_or_else(|| conversion(26, unknown("code")))).transpose()
}

pub(super) fn attachment(row: &Row<'_>) -> Result<Attachment> {
    Ok(Attachment {
        id: row.get(0)?,
        mirror: row.get(1)?,
        path: row.get(2)?,
        case: row.get(3)?,
        name: row.get(4)?,
        version: Version { size: unsigned(row, 5)?, hash: row.get(6)? },
        attempt: row.get(7)?,
        token: row.get(8)?,
        file_id: row.get(9)?,
        stage: row.get(10)?,
        reason: row.get(11)?,
        start_open: row.get(12)?,
        unsure_since: row.get(13)?,
        tries: row.get(14)?,
        next_attempt: row.get(15)?,
        last_error: row.get(16)?,
        last_request_id: row.get(17)?,
        created_at: row.get(18)?,
        started_at: row.get(19)?,
        stored_at: row.get(20)?,
        completed_at: row.get(21)?,
        ended_at: row.get(22)?,
        deleted_at: row.get(23)?,
        extras: json(row, 24)?,
        moved: row.get(25)?,
        found: found(row)?,
    })
}

/// A JSON column that may be NULL.
pub(super) fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<Option<T>> {
    let text = row.get_ref(column)?.as_str_or_null().map_err(|e| conversion(column, e))?;
    text.map(serde_json::from_str).transpose().map_err(|e| conversion(column, FromSqlError::other(e)))
}

pub(super) const CASE_REF: &str =
    "mirror, spelled, domain, state, case_arn, candidates, total, looked_at, tries, next_try, error";

pub(super) fn case_ref(row: &Row<'_>) -> Result<CaseRef> {
    Ok(CaseRef {
        mirror: row.get(0)?,
        reference: row.get(1)?,
        domain: row.get(2)?,
        state: row.get(3)?,
        case: row.get(4)?,
        candidates: json(row, 5)?.unwrap_or_default(),
        total: unsigned(row, 6)?,
        looked_at: row.get(7)?,
        tries: row.get(8)?,
        next_try: row.get(9)?,
        error: row.get(10)?,
    })
}

pub(super) const HANDOVER: &str = "id, mirror, path, what, state, attachment, code, dev, inode, size, mtime_ns, \
                                   ctime_ns, hash, folder, target, tries, next_attempt, last_error, created_at, ended_at";

pub(super) fn handover(row: &Row<'_>) -> Result<Handover> {
    let (folder, target): (Option<Vec<u8>>, Option<RelPath>) = (row.get(13)?, row.get(14)?);
    Ok(Handover {
        id: row.get(0)?,
        mirror: row.get(1)?,
        path: row.get(2)?,
        kind: row.get(3)?,
        state: row.get(4)?,
        attachment: row.get(5)?,
        code: row.get(6)?,
        stat: stat(row, 7)?,
        hash: row.get(12)?,
        to: folder.zip(target),
        tries: row.get(15)?,
        next_attempt: row.get(16)?,
        last_error: row.get(17)?,
        created_at: row.get(18)?,
        ended_at: row.get(19)?,
    })
}

pub(super) const EVENT: &str = "id, at, mirror, path, attachment, kind, detail";

pub(super) fn event(row: &Row<'_>) -> Result<Event> {
    let text = row.get_ref(6)?.as_str().map_err(|e| conversion(6, e))?;
    let detail = serde_json::from_str(text).map_err(|e| conversion(6, FromSqlError::other(e)))?;
    Ok(Event {
        id: row.get(0)?,
        at: row.get(1)?,
        mirror: row.get(2)?,
        path: row.get(3)?,
        attachment: row.get(4)?,
        kind: row.get(5)?,
        detail,
    })
}

/// Of the columns class, case_arn, path, attachment, file_id, found_at, text, detail.
pub(super) fn difference(row: &Row<'_>) -> Result<Difference> {
    let text = row.get_ref(7)?.as_str().map_err(|e| conversion(7, e))?;
    let detail = serde_json::from_str(text).map_err(|e| conversion(7, FromSqlError::other(e)))?;
    Ok(Difference {
        class: row.get(0)?,
        case: row.get(1)?,
        path: row.get(2)?,
        attachment: row.get(3)?,
        file_id: row.get(4)?,
        found_at: row.get(5)?,
        text: row.get(6)?,
        detail,
    })
}
