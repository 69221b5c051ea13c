//! What the mirror attached before the journal began.
//!
//! A journal that was lost with all that lay beside it looks like a first run (LESSONS L30), and every file would be
//! attached again. Connect remembers: before the first file of a young mirror goes to a case, the case is asked for
//! attachments that carry the mirror's tags. Where it has some that the journal does not know, the mirror is held until
//! they are adopted, or a person releases it knowingly. See [`record::grow`] for when a mirror is young no more.

use std::time::Duration;

use crate::adopt::Found;
use crate::aws::{Failure, Next};
use crate::core::adopt::{NEVER_COMPLETES, Standing};
use crate::core::model::{Attachment, HoldCode, ParkCode};
use crate::host::random;
use crate::journal::{JournalError, Tx};
use crate::record;
use crate::tags;
use crate::truth::{self, Manners};
use crate::types::{ClientToken, FileId, UnixMillis};
use crate::world::{Mirror, World};

/// Whether the case is to be asked before the attempt's start call.
pub(super) fn is_new(tx: &Tx<'_>, attempt: &Attachment) -> Result<bool, JournalError> {
    Ok(tx.is_young(attempt.mirror)? && !tx.has_met(attempt.mirror, &attempt.case)?)
}

/// Asks the case, and says whether the start call may be made. Else the journal knows why not.
pub(super) async fn is_clear(world: &World, mirror: &Mirror, attempt: &Attachment) -> Result<bool, JournalError> {
    // One question at a time: those that wait for the answer need none of their own.
    let mut met = mirror.met.lock().await;
    if met.contains(&attempt.case) {
        return Ok(true);
    }
    let id = attempt.id;
    let unknown = match on_case(world, attempt).await {
        Ok(listed) => unknown(world, mirror, listed).await?,
        Err(failure) if matches!(failure.next, Next::Park(code) if code != ParkCode::AccessDenied) => {
            let file = world.show(&attempt.path);
            tracing::warn!(file, "it cannot be asked what the case has of an earlier journal: {failure}");
            return Ok(true);
        }
        Err(failure) => {
            world.failed_call(&failure, attempt);
            // Of the start call, which was not made.
            let failure = Failure { certain: true, ..failure };
            let write = move |tx: &Tx<'_>| record::start_failed(tx, id, &failure, random(), UnixMillis::now());
            return world.journal.write(write).await.map(|()| false);
        }
    };
    if unknown == 0 {
        met.insert(attempt.case.clone());
        return Ok(true);
    }
    let case = attempt.case.case_id();
    let detail = format!(
        "the case {case} has {unknown} attachments with this mirror's tags that the journal does not know: it was lost, is \
         another one, or another casedrop has a mirror of this name"
    );
    mirror.begin_hold(&world.journal, HoldCode::JournalRebuilt, detail).await?;
    world.journal.write(move |tx| record::not_started(tx, id, UnixMillis::now())).await?;
    Ok(false)
}

/// Every file on the case and how it stands there. An unknown case has none; the start call will say so.
async fn on_case(world: &World, attempt: &Attachment) -> Result<Vec<(FileId, Found)>, Failure> {
    let listing = truth::listing(&world.aws, &attempt.case, &mut Once).await?;
    let states = truth::states(&world.aws, &attempt.case, &listing.files, &mut Once).await?;
    let known = states.into_iter().filter_map(|(file, remote)| Some((file.clone(), Found::new(&file, &remote?))));
    Ok(known.collect())
}

/// Whether agents can see it, or may yet.
fn is_open_or_visible(found: &Found) -> bool {
    match found.standing {
        Standing::Approved | Standing::Unknown => true,
        Standing::Open => UnixMillis::now().since(UnixMillis(found.created_ms)) < NEVER_COMPLETES,
        Standing::Rejected | Standing::Failed => false,
    }
}

/// How many of them are the mirror's, and of no attempt of this journal, which may not know its FileIds yet.
async fn unknown(world: &World, mirror: &Mirror, listed: Vec<(FileId, Found)>) -> Result<usize, JournalError> {
    let ours: Vec<(FileId, ClientToken)> = listed
        .into_iter()
        .filter(|(_, found)| is_open_or_visible(found))
        .filter_map(|(file, found)| Some((file, tags::read(&found.tags)?)))
        .filter(|(_, origin)| origin.mirror == mirror.config.name)
        .map(|(file, origin)| (file, ClientToken::from_journal(origin.token)))
        .collect();
    if ours.is_empty() {
        return Ok(0);
    }
    let count = move |tx: &Tx<'_>| {
        let mut unknown = 0;
        for (file, token) in &ours {
            let known = tx.attachment_by_file_id(file)?.is_some() || tx.attachment_by_token(token)?.is_some();
            unknown += usize::from(!known);
        }
        Ok(unknown)
    };
    world.journal.write(count).await
}

/// Asks once: what fails in passing is tried again with the attempt.
struct Once;

impl Manners for Once {
    const TRIES: u32 = 1;

    async fn before(&mut self) {}

    async fn trouble(&mut self, _: &Failure, _: Duration) {}
}
