//! The pairs of conversions: what was sent in place of a file's own content.

use super::error::JournalError;
use super::rows;
use super::tx::Tx;
use super::view::View;
use crate::core::model::{AttachmentId, Version};

impl View {
    /// What the attachment holds at Connect where that is not the file's own content, which its row names.
    pub fn converted(&self, id: AttachmentId) -> Result<Option<Version>, JournalError> {
        self.one("SELECT size, hash FROM converted WHERE attachment = ?1", [id], |row| {
            Ok(Version { size: rows::unsigned(row, 0)?, hash: row.get(1)? })
        })
    }
}

impl Tx<'_> {
    /// Records what the attachment will hold; never changed afterwards.
    pub fn add_converted(&self, id: AttachmentId, sent: &Version) -> Result<(), JournalError> {
        self.change(
            "INSERT INTO converted (attachment, size, hash) VALUES (?1, ?2, ?3)",
            (id, sent.size.cast_signed(), sent.hash),
        )
        .map(drop)
    }
}
