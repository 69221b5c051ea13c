//! What the mirror attached before the journal began.
//!
//! A journal that was lost with all that lay beside it looks like a first run (LESSONS L30), and every file would be
//! attached again. Connect remembers: before the first file of a young mirror goes to a case, the case is asked for
//! attachments that carry the mirror's tags. Where it has some that the journal does not know, the mirror is held until
//! they are adopted, or a person releases it knowingly. See [`record::grow`] for when a mirror is young no more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Mutex as AsyncMutex;

use crate::aws::{Failure, Next, RemoteFile};
use crate::core::model::{Attachment, HoldCode, ParkCode};
use crate::host::random;
use crate::host::time::Instant;
use crate::journal::{JournalError, Tx};
use crate::record;
use crate::tags;
use crate::truth::{self, Once};
use crate::types::{CaseArn, ClientToken, FileId, UnixMillis};
use crate::world::{Mirror, World};

/// Whether the case is to be asked before the attempt's start call.
pub(super) fn is_new(tx: &Tx<'_>, attempt: &Attachment) -> Result<bool, JournalError> {
    Ok(tx.is_young(attempt.mirror)? && !tx.has_met(attempt.mirror, &attempt.case)?)
}

/// Tries of a question that fails for no reason that passes for all calls.
const PATIENCE: u32 = 5;

/// What is known of a young mirror's cases, each under a lock of its own while it is asked.
#[derive(Debug, Default)]
pub struct Cases(Mutex<HashMap<CaseArn, Arc<AsyncMutex<Asked>>>>);

/// One case.
#[derive(Debug, Default)]
struct Asked {
    clear: bool,
    /// The last question was not answered: when, and why.
    failed: Option<(Instant, Failure)>,
}

impl Cases {
    fn of(&self, case: &CaseArn) -> Arc<AsyncMutex<Asked>> {
        let mut cases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cases.entry(case.clone()).or_default())
    }

    /// The journal knows a file on the case: it will not be asked again.
    pub fn forget(&self, case: &CaseArn) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(case);
    }
}

/// Asks the case, and says whether the start call may be made. Else the journal knows why not.
pub(super) async fn is_clear(world: &World, mirror: &Mirror, attempt: &Attachment) -> Result<bool, JournalError> {
    let (id, came) = (attempt.id, Instant::now());
    let case = mirror.cases.of(&attempt.case);
    // One question at a time: those that waited meanwhile take its answer.
    let mut asked = case.lock().await;
    if asked.clear {
        return Ok(true);
    }
    let not_started = move |tx: &Tx<'_>| record::not_started(tx, id, UnixMillis::now());
    if mirror.is_held_by(HoldCode::JournalRebuilt) {
        return world.journal.write(not_started).await.map(|()| false);
    }
    let known = asked.failed.take().filter(|(at, _)| *at >= came);
    let answer = match known {
        Some((at, failure)) => Err((at, failure)),
        None => ask(world, mirror, &attempt.case).await?.map_err(|failure| (Instant::now(), failure)),
    };
    let detail = match answer {
        Ok(0) => {
            world.weather.clear();
            asked.clear = true;
            return Ok(true);
        }
        Ok(unknown) => {
            world.weather.clear();
            let count = if unknown == 1 { "1 attachment".to_owned() } else { format!("{unknown} attachments") };
            format!(
                "the case {} has {count} with this mirror's tags that the journal does not know: it was \
                 lost, is another one, or another casedrop has a mirror of this name",
                attempt.case.case_id()
            )
        }
        // It may never be answered: a person decides whether to go on without.
        Err((_, failure)) if attempt.tries >= PATIENCE || refuses(&failure) => {
            world.failed_call(&failure, attempt);
            let case = attempt.case.case_id();
            format!("the case {case} cannot be asked for attachments from before this journal: {failure}")
        }
        Err((at, failure)) => {
            world.failed_call(&failure, attempt);
            asked.failed = Some((at, failure.clone()));
            let write = move |tx: &Tx<'_>| record::start_failed(tx, id, &failure, random(), UnixMillis::now());
            return world.journal.write(write).await.map(|()| false);
        }
    };
    mirror.begin_hold(&world.journal, HoldCode::JournalRebuilt, detail).await?;
    world.journal.write(not_started).await.map(|()| false)
}

/// Whether the question itself is refused; what is wrong with rights is for the file to say.
fn refuses(failure: &Failure) -> bool {
    matches!(failure.next, Next::Park(code) if code != ParkCode::AccessDenied)
}

/// How many files of the mirror the case has that the journal does not know. The inner error is certain of the start
/// call, which was not made.
async fn ask(world: &World, mirror: &Mirror, case: &CaseArn) -> Result<Result<usize, Failure>, JournalError> {
    match on_case(world, case).await {
        Ok(files) => unknown(world, mirror, files).await.map(Ok),
        Err(failure) => {
            // A conflict over a question is none over a name.
            let next = if failure.next == Next::Conflict { Next::Retry } else { failure.next };
            Ok(Err(Failure { certain: true, next, ..failure }))
        }
    }
}

/// Every file on the case. An unknown case has none; the start call will say so.
async fn on_case(world: &World, case: &CaseArn) -> Result<Vec<(FileId, RemoteFile)>, Failure> {
    let listing = truth::listing(&world.aws, case, &mut Once).await?;
    truth::answers_at_once(&world.aws, case, &listing.files).await
}

/// How many of them are the mirror's, and of no attempt of this journal, which may not know its FileIds yet; none where a
/// person decided meanwhile. However they ended: what was refused is not to be sent again either.
async fn unknown(world: &World, mirror: &Mirror, files: Vec<(FileId, RemoteFile)>) -> Result<usize, JournalError> {
    let ours: Vec<(FileId, ClientToken)> = files
        .into_iter()
        .filter_map(|(file, remote)| Some((file, tags::read(&remote.tags)?)))
        .filter(|(_, origin)| origin.mirror == mirror.config.name)
        .map(|(file, origin)| (file, ClientToken::from_journal(origin.token)))
        .collect();
    if ours.is_empty() {
        return Ok(0);
    }
    let id = mirror.id;
    let count = move |tx: &Tx<'_>| {
        let mut unknown = 0;
        if !tx.is_young(id)? {
            return Ok(0);
        }
        for (file, token) in &ours {
            let known = tx.attachment_by_file_id(file)?.is_some() || tx.attachment_by_token(token)?.is_some();
            unknown += usize::from(!known);
        }
        Ok(unknown)
    };
    world.journal.write(count).await
}
