//! The sweep: a start call whose answer was lost may have left a FileId that the journal does not know. Every file
//! of the case that carries the attempt's tag and is not the one that goes on is ours, and is cleaned up.
//!
//! Connect promises nothing about when a started file is listed, so a sweep settles the matter only after
//! [`record::LISTING_GRACE`], and only if Connect says something certain of every file; one that settles nothing cleans up
//! what it can, and is made again after [`gap`].

use std::sync::Arc;
use std::time::Duration;

use crate::aws::{Failure, RemoteFile};
use crate::core::model::Attachment;
use crate::crash::{self, Point};
use crate::journal::JournalError;
use crate::record;
use crate::tags;
use crate::truth::{self, Once};
use crate::types::{FileId, UnixMillis};
use crate::world::World;

/// Longest time between two sweeps for one attempt.
const LONGEST_GAP: Duration = Duration::from_secs(15 * 60);

/// How long the attempt has been in doubt.
fn doubt(attachment: &Attachment, now: UnixMillis) -> Duration {
    attachment.unsure_since.map_or(Duration::ZERO, |since| now.since(since))
}

/// Time to the next sweep for the attempt: it grows with the doubt, which may be for ever.
pub(super) fn gap(attachment: &Attachment, now: UnixMillis) -> Duration {
    (doubt(attachment, now) / 4).clamp(record::LISTING_GRACE, LONGEST_GAP)
}

pub(super) async fn sweep(world: Arc<World>, attachment: Attachment) -> Result<(), JournalError> {
    let late = doubt(&attachment, UnixMillis::now()) >= record::LISTING_GRACE;
    let (found, silent) = match ours(&world, &attachment).await? {
        Ok(answers) => {
            world.weather.clear();
            answers
        }
        Err(failure) => {
            world.failed_call(&failure, &attachment);
            return Ok(());
        }
    };
    if let (Some(silent), true) = (&silent, late) {
        let (file, case) = (world.show(&attachment.path), attachment.case.case_id());
        tracing::warn!(
            file,
            case,
            file_id = silent.as_str(),
            "Connect lists a file and says nothing certain of it: whether a lost call left one there stays open"
        );
    }
    let (id, settles) = (attachment.id, late && silent.is_none());
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

/// FileIds on the case that carry this attempt's tag and that the journal does not know, and one that it does not know
/// either and of which nothing certain is said.
async fn ours(
    world: &World,
    attachment: &Attachment,
) -> Result<Result<(Vec<FileId>, Option<FileId>), Failure>, JournalError> {
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
    let answers = match truth::answers(aws, case, &unknown, &mut Once).await {
        Ok(answers) => answers,
        Err(failure) => return Ok(Err(failure)),
    };
    let (mut found, mut silent) = (Vec::new(), None);
    for (file, remote) in answers {
        match remote {
            Some(remote) if is_of(&remote, attachment) => found.push(file),
            Some(_) => {}
            None => silent = Some(file),
        }
    }
    Ok(Ok((found, silent)))
}

fn is_of(remote: &RemoteFile, attempt: &Attachment) -> bool {
    remote.tags.get(tags::ATTEMPT).is_some_and(|tag| tag == attempt.token.as_str())
}
