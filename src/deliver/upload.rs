//! One upload: descriptor first, then start, PUT, complete.
//!
//! The descriptor and the slot are taken before the start call, because the URL lives for minutes only. The PUT is
//! repeated while the URL lives; anything that outlives it is a new attempt.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{complete, convert, past};
use crate::aws::{self, Failure, Grant, Next, StartRequest};
use crate::config;
use crate::core::model::{Attachment, ParkCode, Stat, Verdict, Version};
use crate::core::preflight::Limits;
use crate::core::retry;
use crate::core::sidecar::Beside;
use crate::crash::{self, Point};
use crate::gate;
use crate::host::time;
use crate::host::{self, random};
use crate::journal::{JournalError, Tx};
use crate::observe;
use crate::record::{self, Begun, Course};
use crate::scan;
use crate::tags;
use crate::types::{ClientToken, FileId, RelPath, UnixMillis};
use crate::world::{Mirror, World};

/// PUTs of one attempt at most.
const MOST_PUTS: u32 = 4;
/// Longest wait between two PUTs of one attempt: the URL is short-lived.
const LONGEST_PUT_PAUSE: Duration = Duration::from_secs(5);

/// How long a conversion rests that could not be tried.
const CONVERT_PAUSE: Duration = Duration::from_secs(30);

/// Brings one queued file to Connect, as far as it gets; all that happens is in the journal.
pub(super) async fn upload(world: Arc<World>, mirror: Arc<Mirror>, path: RelPath) -> Result<(), JournalError> {
    let (file, stat, beside) = match open(&mirror, &path).await {
        Ok(opened) => opened,
        Err(error) if scan::is_exhausted(&error) => {
            // It says nothing about the file, which stays queued.
            world.weather.no_handles(&error.to_string());
            return Ok(());
        }
        Err(_) => return look_again(&world, &mirror, &path).await,
    };
    crash::at(Point::UploadOpened);
    let Some((rule, extension)) = mirror.config.conversion(&path) else {
        return send(&world, &mirror, &path, beside, Body { file, stat, converted: None }, stat).await;
    };
    let Some((version, body)) = conversion(&world, &mirror, &path, (rule, extension), file, &stat).await? else {
        return Ok(());
    };
    let sent = send(&world, &mirror, &path, beside, body, stat).await;
    let (id, wanted) = (mirror.id, path);
    let row = world.journal.write(move |tx| tx.file(id, &wanted)).await?;
    // The same bytes again only for a file that is to be sent again.
    if row.is_none_or(|row| row.verdict != Verdict::Queued || row.version() != Some(version)) {
        convert::forget(&world, rule, version).await;
    }
    sent
}

/// Sends `body` for the file, which has this `stat`.
async fn send(
    world: &World,
    mirror: &Arc<Mirror>,
    path: &RelPath,
    beside: Beside,
    body: Body,
    stat: Stat,
) -> Result<(), JournalError> {
    // From here on it writes after each call.
    let _expected = world.journal.expect();
    let token = ClientToken::from_random(token_bytes()?);
    let (of, wanted, named) = (Arc::clone(mirror), path.clone(), beside.clone());
    let limits = world.limits().unwrap_or_else(|| Arc::new(Limits::unknown()));
    let converted = body.converted;
    let begin = move |tx: &Tx<'_>| {
        let now = UnixMillis::now();
        // Routed in the transaction that begins the attempt: what is sent is what the journal says.
        let Ok(routed) = of.route(tx, &wanted, &named)? else {
            return Ok(Ok((Begun::Changed, false)));
        };
        if record::put_off_leaving(tx, of.id, &wanted, now)? {
            return Ok(Ok((Begun::NotNow, false)));
        }
        let bytes = converted.map_or(stat.size, |version| version.size);
        if let Some(refusal) = record::preflight(tx, (of.id, &wanted), &routed.target, bytes, &limits, now)? {
            return Ok(Err(refusal));
        }
        let to = (&routed.target, &routed.extras);
        let begun = match &converted {
            None => record::begin(tx, of.id, &wanted, &stat, to, token, now)?,
            sent => record::begin_converted(tx, (of.id, &wanted), &stat, to, sent.as_ref(), token, now)?,
        };
        let is_new = matches!(&begun, Begun::Attempt(attempt) if past::is_new(tx, attempt)?);
        Ok(Ok((begun, is_new)))
    };
    let (begun, is_new) = match world.journal.write(begin).await? {
        Err(refusal) => {
            let (file, note) = (world.show(path), (!world.hide_names).then_some(refusal.note.as_str()));
            tracing::warn!(file, code = %refusal.code, note, "parked without a call: {}", refusal.code.remedy());
            return Ok(());
        }
        Ok(begun) => begun,
    };
    let mut attachment = match begun {
        Begun::Attempt(attachment) => *attachment,
        Begun::NotNow => return Ok(()),
        Begun::Changed => return look_again(world, mirror, path).await,
    };
    crash::at(Point::UploadBegun);
    if is_new && !past::is_clear(world, mirror, &attachment).await? {
        return Ok(());
    }
    let Some((file_id, grant)) = start(world, mirror, &attachment, (&beside, converted)).await? else {
        return Ok(());
    };
    attachment.file_id = Some(file_id);
    crash::at(Point::UploadStarted);
    if put(world, mirror, &attachment, &grant, &body).await? {
        crash::at(Point::UploadStored);
        complete::complete(world, &attachment, false).await?;
    }
    Ok(())
}

/// What is sent: the file itself, or what it was converted to.
struct Body {
    file: Arc<File>,
    stat: Stat,
    converted: Option<Version>,
}

/// Converts a queued file; its own version, and what is to be sent for it. `None`: there is nothing to send now, and
/// the journal says why.
async fn conversion(
    world: &World,
    mirror: &Arc<Mirror>,
    path: &RelPath,
    (rule, extension): (&config::Convert, &str),
    file: Arc<File>,
    stat: &Stat,
) -> Result<Option<(Version, Body)>, JournalError> {
    let (id, wanted) = (mirror.id, path.clone());
    let row = world.journal.write(move |tx| tx.file(id, &wanted)).await?;
    let Some(row) = row.filter(|row| row.verdict == Verdict::Queued) else { return Ok(None) };
    let Some(version) = row.version().filter(|_| row.stat.same_content_as(stat)) else {
        look_again(world, mirror, path).await?;
        return Ok(None);
    };
    let name = world.show(path);
    let (id, wanted) = (mirror.id, path.clone());
    match convert::convert(world, rule, extension, file, version).await {
        convert::Converted::Ready { file, stat: made, version: sent } => {
            // It may have taken long: what stands there now must still be what was converted.
            if open(mirror, path).await.is_ok_and(|(_, now, _)| now.same_content_as(stat)) {
                return Ok(Some((version, Body { file, stat: made, converted: Some(sent) })));
            }
            look_again(world, mirror, path).await?;
        }
        convert::Converted::Changed => look_again(world, mirror, path).await?,
        convert::Converted::Failed(why) => {
            let remedy = ParkCode::ConvertFailed.remedy();
            if world.hide_names {
                // What the converter says may hold the file's name.
                tracing::warn!(file = %name, "parked: it could not be converted: {remedy}");
            } else {
                tracing::warn!(file = %name, "parked: {why}: {remedy}");
            }
            let now = UnixMillis::now();
            world.journal.write(move |tx| record::convert_failed(tx, id, &wanted, &version, &why, now)).await?;
        }
        convert::Converted::Trouble(why) => {
            tracing::warn!(file = %name, "not converted yet: {why}");
            let until = UnixMillis::now().plus(CONVERT_PAUSE);
            world.journal.write(move |tx| record::put_off(tx, id, &wanted, &why, until)).await?;
        }
    }
    Ok(None)
}

/// The start call. `None` when the attempt ends here or waits.
async fn start(
    world: &World,
    mirror: &Mirror,
    attachment: &Attachment,
    (beside, converted): (&Beside, Option<Version>),
) -> Result<Option<(FileId, Grant)>, JournalError> {
    let id = attachment.id;
    let mut tags = tags::of(&mirror.config, attachment);
    if let Some(sent) = converted {
        tags.insert(tags::CONVERTED.into(), tags::converted_value(attachment.version.size, sent.hash));
    }
    let request = StartRequest {
        case: &attachment.case,
        name: &attachment.name,
        size: converted.unwrap_or(attachment.version).size,
        token: &attachment.token,
        tags: &tags,
        created_by: attachment.extras.as_ref().and_then(|extras| extras.created_by.as_deref()),
    };
    let granted = match world.aws.start(&request).await {
        Ok(granted) => granted,
        Err(failure) => {
            let failure = explained(world, mirror, attachment, failure).await;
            world.failed_call(&failure, attachment);
            crash::at(Point::StartFailed);
            // A pinned reference is looked up again when its case is gone, and then only.
            let gone = failure.next == Next::Park(ParkCode::CaseNotFound);
            let pinned = gone.then(|| mirror.reference_of(&attachment.path, beside)).flatten();
            let (of, case) = (mirror.id, attachment.case.clone());
            // Our belief was wrong: the settings are read again.
            if matches!(failure.next, Next::Park(ParkCode::TooLarge | ParkCode::TypeNotAllowed)) {
                world.refused.notify_one();
            }
            let unpinned = world
                .journal
                .write(move |tx| {
                    let now = UnixMillis::now();
                    record::start_failed(tx, id, &failure, random(), now)?;
                    if failure.next == Next::Park(ParkCode::CaseFull) {
                        record::case_is_full(tx, &case, now)?;
                    }
                    pinned.map_or(Ok(false), |reference| record::unpin(tx, of, &reference, &case, now))
                })
                .await?;
            if unpinned {
                world.references.notify_one();
            }
            return Ok(None);
        }
    };
    world.weather.clear();
    crash::at(Point::StartAnswered);
    let (file_id, file, request_id) = (granted.file.clone(), granted.file, granted.request_id);
    let (case, mirrors) = (attachment.case.clone(), world.mirrors.clone());
    let course = world
        .journal
        .write(move |tx| {
            let now = UnixMillis::now();
            gate::has_room(tx, &mirrors, &case, now)?;
            record::started(tx, id, file, request_id, now)
        })
        .await?;
    mirror.cases.forget(&attachment.case);
    match granted.grant {
        _ if course == Course::Superseded => {
            // Its file may have to be judged anew.
            mirror.bell.touch(attachment.path.clone());
            world.work.notify_one();
            Ok(None)
        }
        Some(grant) if !grant.is_stale() => Ok(Some((file_id, grant))),
        Some(_) | None => {
            give_up(world, attachment, "Connect answered with an upload URL that had expired", None, None).await?;
            Ok(None)
        }
    }
}

/// Connect's refusal does not tell whether the case is the reason: where cases may be read, the case is asked for.
async fn explained(world: &World, mirror: &Mirror, attachment: &Attachment, mut failure: Failure) -> Failure {
    let open = matches!(failure.next, Next::Park(ParkCode::Refused | ParkCode::AccessDenied));
    if !open || !mirror.config.uses_references() {
        return failure;
    }
    match world.aws.case_state(&attachment.case).await {
        Ok(case) if case.is_closed() && failure.next == Next::Park(ParkCode::Refused) => {
            failure.next = Next::Park(ParkCode::CaseClosed);
        }
        Err(asked) if asked.next == Next::Gone => failure.next = Next::Park(ParkCode::CaseNotFound),
        Ok(_) | Err(_) => {}
    }
    failure
}

/// The PUT, until it is stored or the attempt ends. `true` when stored.
async fn put(
    world: &World,
    mirror: &Mirror,
    attachment: &Attachment,
    grant: &Grant,
    body: &Body,
) -> Result<bool, JournalError> {
    let (file, wanted) = (&body.file, body.converted.unwrap_or(attachment.version));
    let mut tries = 0;
    let stored = loop {
        // Each try reads from byte 0 again (L81).
        let failure = match world.aws.put(grant, aws::Body::new(Arc::clone(file), wanted.size)).await {
            Ok(stored) => break stored,
            Err(failure) => failure,
        };
        world.failed_call(&failure, attachment);
        tries += 1;
        let again = matches!(failure.next, Next::Retry | Next::Throttled | Next::Offline);
        if again && tries < MOST_PUTS && !grant.is_stale() {
            let pause = retry::delay(tries, failure.hint, random()).min(LONGEST_PUT_PAUSE);
            time::sleep(pause).await;
            continue;
        }
        if failure.next == Next::Replan {
            changed(world, mirror, attachment).await?;
        } else {
            give_up(world, attachment, "the upload failed", None, Some(failure)).await?;
        }
        return Ok(false);
    };
    let after = scan::stat_of(file).ok();
    let same = after.is_some_and(|after| after.same_content_as(&body.stat));
    let sent = stored.sent;
    if !same || sent.hash != wanted.hash || sent.bytes != wanted.size {
        changed(world, mirror, attachment).await?;
        return Ok(false);
    }
    crash::at(Point::PutAnswered);
    let (id, request_id) = (attachment.id, stored.request_id);
    let course = world.journal.write(move |tx| record::stored(tx, id, request_id, UnixMillis::now())).await?;
    Ok(course == Course::On)
}

/// The file is not what was planned: this attempt's FileId is cleaned up, and the file is looked at again.
async fn changed(world: &World, mirror: &Mirror, attachment: &Attachment) -> Result<(), JournalError> {
    give_up(world, attachment, "the file changed while it was sent", None, None).await?;
    look_again(world, mirror, &attachment.path).await
}

/// Ends the attempt; see [`record::give_up`].
pub(super) async fn give_up(
    world: &World,
    attachment: &Attachment,
    reason: &'static str,
    counts: Option<ParkCode>,
    failure: Option<Failure>,
) -> Result<(), JournalError> {
    let id = attachment.id;
    crash::at(Point::GiveUpBefore);
    world
        .journal
        .write(move |tx| record::give_up(tx, id, reason, counts, failure.as_ref(), random(), UnixMillis::now()))
        .await?;
    crash::at(Point::GiveUpAfter);
    world.work.notify_one();
    Ok(())
}

/// Back to the mirror: the file settles and is read again.
async fn look_again(world: &World, mirror: &Mirror, path: &RelPath) -> Result<(), JournalError> {
    let (id, wanted) = (mirror.id, path.clone());
    world.journal.write(move |tx| record::look_again(tx, id, &wanted, UnixMillis::now())).await?;
    crash::at(Point::LookAgain);
    mirror.bell.touch(path.clone());
    Ok(())
}

/// Opens the file below the mirror's root.
///
/// # Errors
/// It is not there to be read as a regular file, or nothing can be opened at all.
async fn open(mirror: &Arc<Mirror>, path: &RelPath) -> io::Result<(Arc<File>, Stat, Beside)> {
    // Never closed, so there is always a turn.
    let _turn = mirror.opening.acquire().await.map_err(io::Error::other)?;
    let (mirror, path) = (Arc::clone(mirror), path.clone());
    let opened = host::blocking(move || {
        let root = scan::open_root(&mirror.config.path).map_err(io::Error::from)?;
        let file = root.open(&path)?;
        let stat = scan::stat_of(&file)?;
        let (beside, _) = observe::sidecar(&root, &mirror.config, &path);
        Ok((Arc::new(file), stat, beside))
    });
    opened.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn token_bytes() -> Result<[u8; 16], JournalError> {
    let mut bytes = [0; 16];
    host::random_bytes(&mut bytes)
        .map_err(|e| JournalError::internal(&format!("no random numbers from the system: {e}")))?;
    Ok(bytes)
}
