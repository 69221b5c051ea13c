//! What the mirror attached before the journal began.
//!
//! A journal that was lost with all that lay beside it looks like a first run (LESSONS L30), and every file would be
//! attached again. Connect remembers: before the first file of a young mirror goes to a case, the case is asked for
//! attachments that carry the mirror's tags. Where it has some that the journal does not know, the mirror is held until
//! they are adopted, or a person releases it knowingly. See [`record::grow`] for when a mirror is young no more.

use std::time::Duration;

use crate::aws::{Failure, Next, RemoteFile};
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
    let not_started = move |tx: &Tx<'_>| record::not_started(tx, id, UnixMillis::now());
    if mirror.is_held_by(HoldCode::JournalRebuilt) {
        // By the answer that another one got meanwhile.
        return world.journal.write(not_started).await.map(|()| false);
    }
    let unknown = match on_case(world, attempt).await {
        Ok(listed) => unknown(world, mirror, listed).await?,
        Err(failure) if matches!(failure.next, Next::Park(code) if code != ParkCode::AccessDenied) => {
            let file = world.show(&attempt.path);
            tracing::warn!(file, "it cannot be asked what the case has of an earlier journal: {failure}");
            return Ok(true);
        }
        Err(failure) => {
            world.failed_call(&failure, attempt);
            // Certain of the start call, which was not made; and a conflict over a question is none over a name.
            let next = if failure.next == Next::Conflict { Next::Retry } else { failure.next };
            let failure = Failure { certain: true, next, ..failure };
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
    world.journal.write(not_started).await.map(|()| false)
}

/// Every file on the case and what is said of it. An unknown case has none; the start call will say so.
async fn on_case(world: &World, attempt: &Attachment) -> Result<Vec<(FileId, Option<RemoteFile>)>, Failure> {
    let listing = truth::listing(&world.aws, &attempt.case, &mut Once).await?;
    truth::states(&world.aws, &attempt.case, &listing.files, &mut Once).await
}

/// How many of them are the mirror's, and of no attempt of this journal, which may not know its FileIds yet.
/// However they ended: what was refused is not to be sent again either.
async fn unknown(
    world: &World,
    mirror: &Mirror,
    listed: Vec<(FileId, Option<RemoteFile>)>,
) -> Result<usize, JournalError> {
    let ours: Vec<(FileId, ClientToken)> = listed
        .into_iter()
        .filter_map(|(file, remote)| Some((file, tags::read(&remote?.tags)?)))
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
