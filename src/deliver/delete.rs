//! One announced delete, by the FileId of its own attempt and nothing else (invariants 9 and 10).

use std::sync::Arc;

use crate::core::model::Attachment;
use crate::core::plan;
use crate::crash::{self, Point};
use crate::host::random;
use crate::journal::JournalError;
use crate::record::{self, Sending};
use crate::types::{FileId, UnixMillis};
use crate::world::World;

pub(super) async fn delete(world: Arc<World>, attachment: Attachment) -> Result<(), JournalError> {
    let (Some(file), id) = (&attachment.file_id, attachment.id) else { return Ok(()) };
    let mut sending = Sending::Again;
    if attachment.reason.as_deref() == Some(plan::ABSENT) {
        // From here on it cannot be called back; if it was, there is nothing to send.
        sending = world.journal.write(move |tx| record::sending_delete(tx, id, UnixMillis::now())).await?;
        if sending == Sending::No {
            return Ok(());
        }
    }
    match world.aws.delete(&attachment.case, file).await {
        Ok(done) => {
            world.weather.clear();
            crash::at(Point::DeleteAnswered);
            let (file, request_id) = (world.show(&attachment.path), done.request_id.as_deref());
            let (file_id, why) = (attachment.file_id.as_ref().map(FileId::as_str), attachment.reason.as_deref());
            tracing::info!(file, file_id, why, request_id, "deleted at Connect");
            world
                .journal
                .write(move |tx| record::deleted(tx, id, done.already_gone, done.request_id, UnixMillis::now()))
                .await
        }
        Err(failure) => {
            world.failed_call(&failure, &attachment);
            let unsent = sending == Sending::First && failure.certain;
            world
                .journal
                .write(move |tx| {
                    if unsent {
                        tx.set_delete_unsent(id)?;
                    }
                    record::delete_failed(tx, id, &failure, random(), UnixMillis::now())
                })
                .await
        }
    }
}
