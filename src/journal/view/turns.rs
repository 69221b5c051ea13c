//! Questions of whose turn it is: the next piece of work of one mirror, its cases taken in turn (`core::fair`).
//!
//! Each answer costs a few index look-ups, whatever the length of the queue.

use super::super::error::JournalError;
use super::super::rows;
use super::View;
use crate::core::model::{Attachment, FileRow, MirrorId};
use crate::types::{CaseArn, RelPath, UnixMillis};

/// Cases whose work is not due yet that one answer looks past; beyond, what is due longest goes first.
const MOST_LANES: usize = 256;

impl View {
    /// The queued file whose turn it is in this mirror: the first one due of the next case above the lane `after`
    /// (and round again), files that `skip` names left out; and its lane. `None`: none is due.
    pub fn queued_turn(
        &self,
        mirror: MirrorId,
        after: i64,
        now: UnixMillis,
        skip: &dyn Fn(&RelPath) -> bool,
    ) -> Result<Option<(FileRow, i64)>, JournalError> {
        let (mut lane, mut wrapped) = (after, false);
        for _ in 0..MOST_LANES {
            match self.first_in_lanes(mirror, lane, now, skip)? {
                Found::Row(row, lane) => return Ok(Some((*row, lane))),
                Found::NotDue(next) if !(wrapped && next >= after) => lane = next,
                Found::End if !wrapped => (lane, wrapped) = (-1, true),
                Found::NotDue(_) | Found::End => return Ok(None),
            }
        }
        let mut row = self.queued_in(mirror, now, 1, skip)?;
        Ok(row.pop().map(|row| (row, lane)))
    }

    /// The first row above `lane` that may go; or the next lane without one that is due.
    fn first_in_lanes(
        &self,
        mirror: MirrorId,
        lane: i64,
        now: UnixMillis,
        skip: &dyn Fn(&RelPath) -> bool,
    ) -> Result<Found, JournalError> {
        self.told((|| {
            let mut statement = self.prepare(&format!(
                "SELECT {}, lane FROM file INDEXED BY file_lane
                 WHERE mirror = ?1 AND verdict = 'queued' AND lane > ?2 ORDER BY lane, next_attempt, since",
                rows::FILE
            ))?;
            let mut found = statement.query((mirror, lane))?;
            while let Some(row) = found.next()? {
                let next_attempt: Option<UnixMillis> = row.get(15)?;
                if next_attempt.is_some_and(|at| at > now) {
                    // In their order, the rest of the lane waits too.
                    return Ok(Found::NotDue(row.get(rows::FILE_END)?));
                }
                if !skip(&row.get(1)?) {
                    return Ok(Found::Row(Box::new(rows::file(row)?), row.get(rows::FILE_END)?));
                }
            }
            Ok(Found::End)
        })())
    }

    /// The announced delete whose turn it is in this mirror: the first one due of the next case after `after` (and
    /// round again) that `wanted` takes.
    pub fn delete_turn(
        &self,
        mirror: MirrorId,
        after: Option<&CaseArn>,
        now: UnixMillis,
        wanted: &dyn Fn(&Attachment) -> bool,
    ) -> Result<Option<Attachment>, JournalError> {
        if let Some(case) = after
            && let Some(found) = self.delete_in(mirror, case.as_str(), now, wanted)?
        {
            return Ok(Some(found));
        }
        self.delete_in(mirror, "", now, wanted)
    }

    fn delete_in(
        &self,
        mirror: MirrorId,
        above: &str,
        now: UnixMillis,
        wanted: &dyn Fn(&Attachment) -> bool,
    ) -> Result<Option<Attachment>, JournalError> {
        self.told((|| {
            let mut statement = self.prepare(&format!(
                "SELECT {} FROM attachment INDEXED BY attachment_turn
                 WHERE mirror = ?1 AND stage = 'deleting' AND case_arn > ?2
                     AND (next_attempt IS NULL OR next_attempt <= ?3)
                 ORDER BY case_arn, next_attempt, id",
                rows::ATTACHMENT
            ))?;
            let mut found = statement.query((mirror, above, now))?;
            while let Some(row) = found.next()? {
                let attachment = rows::attachment(row)?;
                if wanted(&attachment) {
                    return Ok(Some(attachment));
                }
            }
            Ok(None)
        })())
    }
}

/// What stands first above a lane.
enum Found {
    Row(Box<FileRow>, i64),
    NotDue(i64),
    End,
}
