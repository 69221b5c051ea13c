//! What can be written down about what Connect was asked: adoption and comparison.

use super::error::JournalError;
use super::tx::Tx;
use crate::core::model::{Attachment, AttachmentId, MirrorId, Stage, Version};
use crate::types::{CaseArn, ClientToken, FileId, RelPath, UnixMillis};

/// An attachment that exists at Connect and that the journal did not know.
#[derive(Debug, Clone)]
pub struct AdoptedAttachment {
    pub mirror: MirrorId,
    pub path: RelPath,
    pub case: CaseArn,
    pub name: String,
    pub version: Version,
    /// The token of its attempt; unique in the journal.
    pub token: ClientToken,
    pub file_id: FileId,
    /// `approved`, `rejected` or `failed`.
    pub stage: Stage,
    pub reason: Option<String>,
    /// When Connect made it.
    pub created_at: UnixMillis,
}

impl Tx<'_> {
    /// The loss of an earlier journal is dealt with: every mirror is held.
    pub fn clear_loss(&self) -> Result<(), JournalError> {
        self.change("DELETE FROM loss", []).map(drop)
    }

    /// Takes an attachment into the journal in the stage it has at Connect. It counts as no throughput.
    pub fn adopt_attachment(&self, new: &AdoptedAttachment) -> Result<Attachment, JournalError> {
        self.change(
            "INSERT INTO attachment (mirror, path, case_arn, name, size, hash, attempt, token, file_id, stage, reason,
                 created_at, started_at, completed_at, ended_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7, ?8, ?9, ?10, ?11, ?11, ?11, ?11)",
            (
                new.mirror,
                &new.path,
                &new.case,
                &new.name,
                new.version.size.cast_signed(),
                new.version.hash,
                &new.token,
                &new.file_id,
                new.stage,
                &new.reason,
                new.created_at,
            ),
        )?;
        self.expect_attachment(AttachmentId(self.conn.last_insert_rowid()))
    }

    /// Keeps what a case's listing told, in place of an earlier one. `known`: Connect knows the case.
    pub fn put_found(
        &self,
        mirror: MirrorId,
        case: &CaseArn,
        known: bool,
        found: &[(FileId, String)],
        at: UnixMillis,
    ) -> Result<(), JournalError> {
        self.change("DELETE FROM found WHERE mirror = ?1 AND case_arn = ?2", (mirror, case))?;
        for (file, detail) in found {
            self.change(
                "INSERT INTO found (mirror, case_arn, file_id, detail) VALUES (?1, ?2, ?3, ?4)",
                (mirror, case, file, detail),
            )?;
        }
        self.change(
            "INSERT INTO asked (mirror, case_arn, at, known) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET at = ?3, known = ?4",
            (mirror, case, at, known),
        )
        .map(drop)
    }

    /// The adoption is over: what was gathered for it is forgotten.
    pub fn clear_found(&self, mirror: MirrorId) -> Result<(), JournalError> {
        self.change("DELETE FROM found WHERE mirror = ?1", [mirror])?;
        self.change("DELETE FROM asked WHERE mirror = ?1", [mirror]).map(drop)
    }
}
