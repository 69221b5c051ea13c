//! The complete call, and what to believe when its answer is not a plain yes.

use std::sync::Arc;

use super::upload::give_up;
use crate::aws::{Failure, Next, Remote, RemoteStatus};
use crate::core::model::{Attachment, AttachmentId, ParkCode};
use crate::crash::{self, Point};
use crate::follow;
use crate::host::random;
use crate::journal::JournalError;
use crate::record;
use crate::types::{FileId, UnixMillis};
use crate::world::World;

/// A stored attempt found in the journal: its complete call may have been sent before.
pub(super) async fn resume(world: Arc<World>, attachment: Attachment) -> Result<(), JournalError> {
    let again = attachment.tries > 0;
    complete(&world, &attachment, again).await
}

/// Completes a stored attempt. `again`: an earlier complete call may have had its effect.
pub(super) async fn complete(world: &World, attachment: &Attachment, again: bool) -> Result<(), JournalError> {
    let (Some(file), id) = (&attachment.file_id, attachment.id) else { return Ok(()) };
    let failure = match world.aws.complete(&attachment.case, file).await {
        Ok(done) => {
            world.weather.clear();
            crash::at(Point::CompleteAnswered);
            return completed(world, id, done.request_id).await;
        }
        Err(failure) => failure,
    };
    world.failed_call(&failure, attachment);
    crash::at(Point::CompleteFailed);
    match failure.next {
        Next::Retry | Next::Throttled | Next::Offline | Next::Credentials | Next::Renew | Next::Replan => {
            world.journal.write(move |tx| record::try_again(tx, id, &failure, random(), UnixMillis::now())).await?;
            world.work.notify_one();
            Ok(())
        }
        Next::Park(ParkCode::AccessDenied) => give_up(world, attachment, "refused", None, Some(failure)).await,
        // After any other refusal the state at Connect decides (SERVICE.md 2.4).
        Next::Park(_) | Next::Gone | Next::Conflict => ask(world, attachment, file, failure, again).await,
    }
}

/// Records the complete call and hands the attempt to the follow-up.
async fn completed(world: &World, id: AttachmentId, request_id: Option<String>) -> Result<(), JournalError> {
    let done = world.journal.write(move |tx| record::completed(tx, id, request_id, UnixMillis::now())).await?;
    crash::at(Point::UploadCompleted);
    if let Some(attachment) = done {
        // Refused only when the follow-up has ended, at shutdown: the journal holds the same.
        let _ = world.follow.send(attachment).await;
    }
    Ok(())
}

async fn ask(
    world: &World,
    attachment: &Attachment,
    file: &FileId,
    failure: Failure,
    again: bool,
) -> Result<(), JournalError> {
    let id = attachment.id;
    let asked = world.aws.statuses(&attachment.case, std::slice::from_ref(file)).await;
    let remote = match asked {
        Ok(answers) => answers.into_iter().next().map_or(Remote::Missing, |(_, remote)| remote),
        Err(question) => {
            world.failed_call(&question, attachment);
            world.journal.write(move |tx| record::try_again(tx, id, &question, random(), UnixMillis::now())).await?;
            return Ok(());
        }
    };
    let open = match &remote {
        Remote::Known(known) => {
            matches!(known.status, RemoteStatus::Processing | RemoteStatus::Pending(_) | RemoteStatus::Other(_))
        }
        Remote::Error { .. } | Remote::Missing => false,
    };
    if !open {
        if !follow::conclude(world, attachment, &remote).await? {
            // Nothing is certain yet: asked again after the backoff, not at once.
            world.journal.write(move |tx| record::try_again(tx, id, &failure, random(), UnixMillis::now())).await?;
        }
        return Ok(());
    }
    if again {
        // An earlier call most likely had its effect; the follow-up waits for the end, with a deadline.
        return completed(world, id, failure.request_id).await;
    }
    let counts = match failure.next {
        Next::Park(ParkCode::Refused) | Next::Conflict | Next::Gone => Some(ParkCode::Refused),
        _ => None,
    };
    give_up(world, attachment, "the complete call was refused", counts, Some(failure)).await
}
