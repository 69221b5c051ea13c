//! The sweep: a start call whose answer was lost may have left a FileId that the journal does not know. Every file
//! of the case that carries the attempt's tag and is not the one that goes on is ours, and is cleaned up.
//!
//! Connect promises nothing about when a started file is listed, so a sweep settles the matter only after
//! [`record::LISTING_GRACE`]; an early one cleans up sooner what it can.

use std::sync::Arc;

use crate::aws::{Failure, RemoteFile};
use crate::core::model::Attachment;
use crate::crash::{self, Point};
use crate::journal::JournalError;
use crate::record;
use crate::tags;
use crate::truth::{self, Once};
use crate::types::{FileId, UnixMillis};
use crate::world::World;

/// Whether a sweep now settles it.
fn is_final(attachment: &Attachment, now: UnixMillis) -> bool {
    attachment.unsure_since.is_some_and(|since| now.since(since) >= record::LISTING_GRACE)
}

pub(super) async fn sweep(world: Arc<World>, attachment: Attachment) -> Result<(), JournalError> {
    let settles = is_final(&attachment, UnixMillis::now());
    let found = match ours(&world, &attachment).await? {
        Ok(found) => {
            world.weather.clear();
            found
        }
        Err(failure) => {
            world.failed_call(&failure, &attachment);
            return Ok(());
        }
    };
    let id = attachment.id;
    if !found.is_empty() {
        crash::at(Point::SweepFound);
    }
    world
        .journal
        .write(move |tx| {
            let now = UnixMillis::now();
            for file in &found {
                record::sweep_found(tx, id, file, now)?;
            }
            if settles { record::swept(tx, id, now) } else { record::still_unsure(tx, id, now) }
        })
        .await?;
    crash::at(Point::SweepRecorded);
    world.work.notify_one();
    Ok(())
}

/// FileIds on the case that carry this attempt's tag and that the journal does not know.
async fn ours(world: &World, attachment: &Attachment) -> Result<Result<Vec<FileId>, Failure>, JournalError> {
    let (aws, case) = (&world.aws, &attachment.case);
    let listing = match truth::listing(aws, case, &mut Once).await {
        Ok(listing) => listing,
        Err(failure) => return Ok(Err(failure)),
    };
    let reader = world.journal.reader()?;
    let mut unknown = Vec::new();
    for file in listing.files {
        if reader.attachment_by_file_id(&file)?.is_none() {
            unknown.push(file);
        }
    }
    // Silence about one of them settles nothing.
    let answers = truth::answers_at_once(aws, case, &unknown).await;
    let token = attachment.token.as_str();
    let ours = |remote: &RemoteFile| remote.tags.get(tags::ATTEMPT).is_some_and(|tag| tag == token);
    Ok(answers.map(|files| files.into_iter().filter(|(_, remote)| ours(remote)).map(|(file, _)| file).collect()))
}
