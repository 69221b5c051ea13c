//! What a comparison with Connect found, written down, and repaired when a person asks for it.
//!
//! A finding changes nothing at Connect: it is a verdict for a person (LESSONS L27, L33). It marks the attachment and
//! parks its file, and both go away by themselves when a later comparison finds that all agree again. A repair
//! judges anew on the rows as they are, announces what it does, and leaves the doing to delivery.

use serde_json::json;

use super::disk::{clean_up, nowhere};
use super::{Result, adopt, announce_delete, note, set_verdict};
use crate::core::adopt::Tagged;
use crate::core::compare::{Action, Class};
use crate::core::model::{Attachment, AttachmentId, EventKind, Extras, MirrorId, ParkCode, Stage, Verdict};
use crate::core::plan::{self, Rules};
use crate::journal::{Difference, NewAttachment, Tx};
use crate::types::{CaseArn, ClientToken, FileId, RelPath, UnixMillis};

/// What was found of an attachment that the journal knows.
#[derive(Debug, Clone)]
pub struct Compared {
    pub id: AttachmentId,
    /// The stage that was compared; if it has changed since, the finding is worth nothing.
    pub stage: Stage,
    /// `Ok`: all agree.
    pub finding: std::result::Result<(), Option<Difference>>,
    /// The code of the park it leads to.
    pub park: Option<ParkCode>,
}

/// Writes down what one case showed. Returns the differences that were not known before.
pub fn compared(
    tx: &Tx<'_>,
    mirror: MirrorId,
    case: &CaseArn,
    known: &[Compared],
    unknown: &[Difference],
    now: UnixMillis,
) -> Result<Vec<Difference>> {
    let before = tx.differences_on(mirror, case)?;
    tx.clear_differences(mirror, case)?;
    let mut news = Vec::new();
    let mut keep = |difference: &Difference| -> Result<()> {
        tx.add_difference(mirror, difference)?;
        let same = |d: &Difference| (d.class, &d.file_id) == (difference.class, &difference.file_id);
        if before.iter().any(same) {
            return Ok(());
        }
        if let Some(path) = &difference.path {
            let detail = json!({
                "text": difference.text, "class": difference.class, "proposal": difference.class.proposal(),
                "file_id": difference.file_id,
            });
            note(tx, now, (mirror, path), difference.attachment, EventKind::Differs, detail)?;
        }
        news.push(difference.clone());
        Ok(())
    };
    for one in known {
        let mut attachment = tx.expect_attachment(one.id)?;
        if attachment.stage != one.stage {
            continue;
        }
        match &one.finding {
            Ok(()) => agrees(tx, &mut attachment, now)?,
            Err(None) => {}
            Err(Some(difference)) => {
                if let Some(code) = one.park {
                    mark(tx, &mut attachment, code, &difference.text, now)?;
                }
                keep(difference)?;
            }
        }
    }
    for difference in unknown {
        let file = difference.file_id.as_ref();
        if file.is_none_or(|file| tx.attachment_by_file_id(file).is_ok_and(|row| row.is_none())) {
            keep(difference)?;
        }
    }
    Ok(news)
}

/// Marks an attachment as found wrong, and parks its file if that is what the file stands on.
fn mark(tx: &Tx<'_>, attachment: &mut Attachment, code: ParkCode, text: &str, now: UnixMillis) -> Result<()> {
    if attachment.stage != Stage::Approved || attachment.found_wrong() == Some(code) {
        return Ok(());
    }
    attachment.found = Some(code);
    tx.put_attachment(attachment, now)?;
    let Some(mut row) = tx.file_of(attachment)? else { return Ok(()) };
    // Of a file that moved since, what came of it in its new place tells more.
    let stands = matches!(row.verdict, Verdict::Attached | Verdict::Parked(_))
        && row.verdict != Verdict::Parked(ParkCode::Unseen)
        && !attachment.moved
        && row.version() == Some(attachment.version);
    if stands {
        set_verdict(&mut row, Verdict::Parked(code), Some(text.to_owned()), now);
        super::disk::park_event(tx, &row, code, Some(text), now)?;
        tx.put_file(&row)?;
    }
    Ok(())
}

/// All agree: a mark of an earlier finding goes, and so does the park that it led to.
fn agrees(tx: &Tx<'_>, attachment: &mut Attachment, now: UnixMillis) -> Result<()> {
    let Some(code) = attachment.found_wrong() else { return Ok(()) };
    attachment.found = None;
    tx.put_attachment(attachment, now)?;
    let of = (attachment.mirror, &attachment.path);
    note(tx, now, of, Some(attachment.id), EventKind::Agrees, json!({ "text": "as it should be again at Connect" }))?;
    let Some(mut row) = tx.file_of(attachment)? else { return Ok(()) };
    let Verdict::Parked(parked) = row.verdict else { return Ok(()) };
    if parked != ParkCode::Unseen && row.version() == Some(attachment.version) && !attachment.moved {
        // Parked for what a try to send it anew came to: the planner looks again.
        let verdict = if parked == code { Verdict::Attached } else { Verdict::Settling };
        if verdict == Verdict::Attached {
            note(tx, now, of, None, EventKind::Unchanged, json!({ "text": "attached as before" }))?;
        }
        set_verdict(&mut row, verdict, None, now);
        tx.put_file(&row)?;
    }
    Ok(())
}

/// Carries out what a difference proposes, as far as the rows still say the same. `false`: there was nothing to do.
pub fn repair(tx: &Tx<'_>, mirror: MirrorId, difference: &Difference, now: UnixMillis) -> Result<bool> {
    let done = match difference.class.action() {
        Action::SendAgain => send_again(tx, difference, now)?,
        Action::ReadAgain => read_again(tx, difference, now)?,
        Action::Adopt => take_over(tx, mirror, difference, now)?,
        Action::Delete if difference.class == Class::Surplus => outdone(tx, difference, now)?,
        Action::Delete => orphan(tx, mirror, difference, now)?,
        Action::LetGo => let_go(tx, difference, now)?,
        Action::Nothing => false,
    };
    if done {
        tx.remove_difference(mirror, difference)?;
    }
    Ok(done)
}

fn repaired(tx: &Tx<'_>, of: (MirrorId, &RelPath), id: AttachmentId, d: &Difference, now: UnixMillis) -> Result<()> {
    let text = format!("asked for by hand: {}", d.class.proposal());
    note(tx, now, of, Some(id), EventKind::Repaired, evidence(d, &text))
}

fn evidence(d: &Difference, text: &str) -> serde_json::Value {
    json!({ "text": text, "class": d.class, "found": d.text, "found_at": d.found_at.to_string() })
}

fn attachment_of(tx: &Tx<'_>, difference: &Difference) -> Result<Option<Attachment>> {
    match difference.attachment {
        Some(id) => tx.attachment(id),
        None => Ok(None),
    }
}

/// A new attempt at the file as it is; the old FileId goes when the new one is visible.
fn send_again(tx: &Tx<'_>, difference: &Difference, now: UnixMillis) -> Result<bool> {
    let Some(attachment) = attachment_of(tx, difference)? else { return Ok(false) };
    let of = (attachment.mirror, &attachment.path);
    let Some(mut row) = tx.file_of(&attachment)? else { return Ok(false) };
    let waits = matches!(row.verdict, Verdict::Parked(code) if code != ParkCode::Unseen) && row.hash.is_some();
    if !attachment.stage.stands() || !waits {
        return Ok(false);
    }
    if row.absent_since.is_some() {
        // Gone on both sides.
        return match difference.class {
            Class::Missing => forget_missing(tx, attachment, difference, now),
            _ => Ok(false),
        };
    }
    set_verdict(&mut row, Verdict::Queued, None, now);
    row.attempt = 0;
    row.next_attempt = Some(now);
    tx.put_file(&row)?;
    repaired(tx, of, attachment.id, difference, now)?;
    Ok(true)
}

/// Whether agents see it, or may yet.
fn lives(attachment: &Attachment) -> bool {
    attachment.stage == Stage::Approved || attachment.stage.is_under_way()
}

/// Neither the file nor its attachment is there any more.
fn forget_missing(tx: &Tx<'_>, mut attachment: Attachment, difference: &Difference, now: UnixMillis) -> Result<bool> {
    if attachment.found_wrong() != Some(ParkCode::MissingRemotely) {
        return Ok(false);
    }
    announce_delete(tx, &mut attachment, "missing at Connect, and its file is gone too", now)?;
    let of = (attachment.mirror, &attachment.path);
    let detail = evidence(difference, "asked for by hand: gone here and at Connect");
    note(tx, now, of, Some(attachment.id), EventKind::Forgotten, detail)?;
    super::deleted(tx, attachment.id, true, None, now)?;
    // What waits to be deleted beside it needs no row.
    let rest = tx.attachments_of(of.0, of.1)?;
    if !rest.iter().any(lives) {
        clean_up(tx, &rest, plan::REFUSED_AND_GONE, now)?;
        tx.remove_file(of.0, of.1)?;
    }
    Ok(true)
}

/// The file settles and is read anew.
fn read_again(tx: &Tx<'_>, difference: &Difference, now: UnixMillis) -> Result<bool> {
    let Some(attachment) = attachment_of(tx, difference)? else { return Ok(false) };
    let of = (attachment.mirror, &attachment.path);
    let Some(mut row) = tx.file_of(&attachment)? else { return Ok(false) };
    if row.verdict != Verdict::Attached || row.absent_since.is_some() {
        return Ok(false);
    }
    set_verdict(&mut row, Verdict::Settling, None, now);
    tx.put_file(&row)?;
    repaired(tx, of, attachment.id, difference, now)?;
    Ok(true)
}

/// The journal takes it over, and the planner judges the file by it.
fn take_over(tx: &Tx<'_>, mirror: MirrorId, difference: &Difference, now: UnixMillis) -> Result<bool> {
    let (Some(path), Some(tagged)) = (&difference.path, tagged(difference)) else { return Ok(false) };
    if tx.attachments_of(mirror, path)?.iter().any(lives) {
        return Ok(false);
    }
    if adopt::adopt(tx, (mirror, path), std::slice::from_ref(&tagged), None, &nowhere, Rules::KEEP, now)? == 0 {
        return Ok(false);
    }
    if let Some(mut row) = tx.file(mirror, path)?
        && matches!(row.verdict, Verdict::Queued | Verdict::Parked(_))
    {
        set_verdict(&mut row, Verdict::Settling, None, now);
        tx.put_file(&row)?;
    }
    if let Some(taken) = tx.attachment_by_file_id(&tagged.file)? {
        repaired(tx, (mirror, path), taken.id, difference, now)?;
    }
    Ok(true)
}

/// An older attachment beside the newer one of the same file.
fn outdone(tx: &Tx<'_>, difference: &Difference, now: UnixMillis) -> Result<bool> {
    let Some(mut attachment) = attachment_of(tx, difference)? else { return Ok(false) };
    let of = (attachment.mirror, attachment.path.clone());
    let newest = tx.attachments_of(of.0, &of.1)?.into_iter().rfind(|a| a.stage == Stage::Approved);
    let outdone = newest.is_some_and(|newest| newest.id > attachment.id && newest.is_visible());
    if attachment.stage != Stage::Approved || !outdone {
        return Ok(false);
    }
    announce_delete(tx, &mut attachment, plan::REPLACED, now)?;
    let detail = json!({
        "text": "a newer version is visible", "file_id": attachment.file_id, "found_at": difference.found_at.to_string(),
    });
    note(tx, now, (of.0, &of.1), Some(attachment.id), EventKind::DeletePlanned, detail)?;
    repaired(tx, (of.0, &of.1), attachment.id, difference, now)?;
    Ok(true)
}

/// Ours by all its tags, of this mirror, and of no row: deleted by its FileId and nothing else (invariants 9 and 10).
fn orphan(tx: &Tx<'_>, mirror: MirrorId, difference: &Difference, now: UnixMillis) -> Result<bool> {
    let Some(tagged) = tagged(difference) else { return Ok(false) };
    if tx.attachment_by_file_id(&tagged.file)?.is_some() || attempt_at_work(tx, &tagged.token)? {
        return Ok(false);
    }
    // A path that is known by its hash alone: the row needs one, and this names the attachment as well as any.
    let by_id = || RelPath::new(tagged.file.as_str().as_bytes());
    let Some(path) = difference.path.clone().or_else(by_id) else { return Ok(false) };
    let new = NewAttachment {
        mirror,
        path: path.clone(),
        case: tagged.case.clone(),
        name: tagged.name.clone(),
        version: tagged.version,
        attempt: 1,
        // Never sent: it only names the row.
        token: ClientToken::from_journal(format!("orphan:{}", tagged.file)),
        start_open: false,
        extras: Extras::default(),
    };
    let mut row = tx.add_attachment(&new, now)?;
    row.file_id = Some(tagged.file.clone());
    let detail = json!({
        "text": difference.text, "file_id": tagged.file, "case": tagged.case, "tags": difference.detail.get("tags"),
        "found_at": difference.found_at.to_string(),
        "evidence": "carries all tags of this mirror; no row of the journal has its FileId, none of its attempts is open",
    });
    note(tx, now, (mirror, &path), Some(row.id), EventKind::DeletePlanned, detail)?;
    super::abandon(tx, &mut row, &format!("{}: not known to the journal", difference.class.as_str()), now)?;
    repaired(tx, (mirror, &path), row.id, difference, now)?;
    Ok(true)
}

/// Whether the attempt with this token may still give a FileId that the journal does not know yet.
pub fn attempt_at_work(tx: &crate::journal::View, token: &str) -> Result<bool> {
    let row = tx.attachment_by_token(&ClientToken::from_journal(token.to_owned()))?;
    Ok(row.is_some_and(|a| a.start_open || a.unsure_since.is_some() || a.stage.is_under_way()))
}

/// The absence of a file that was never seen here may count as a removal from now on.
fn let_go(tx: &Tx<'_>, difference: &Difference, now: UnixMillis) -> Result<bool> {
    let Some(attachment) = attachment_of(tx, difference)? else { return Ok(false) };
    let of = (attachment.mirror, &attachment.path);
    let Some(mut row) = tx.file_of(&attachment)? else { return Ok(false) };
    if row.verdict != Verdict::Parked(ParkCode::Unseen) || attachment.stage != Stage::Approved {
        return Ok(false);
    }
    // No folder is known, or another one stands there: nobody has looked where the file would be.
    let unknown = tx
        .mirror(attachment.mirror)?
        .is_none_or(|mirror| mirror.identity.is_none() || mirror.holds.iter().any(|hold| hold.code.is_of_the_root()));
    if unknown {
        return Ok(false);
    }
    row.stat.size = attachment.version.size;
    row.hash = Some(attachment.version.hash);
    set_verdict(&mut row, Verdict::Attached, Some("let go by hand: counts as removed here".to_owned()), now);
    tx.put_file(&row)?;
    repaired(tx, of, attachment.id, difference, now)?;
    Ok(true)
}

/// What the difference keeps of a file that the journal does not know.
fn tagged(difference: &Difference) -> Option<Tagged> {
    let detail = &difference.detail;
    let standing = serde_json::from_value(detail.get("standing")?.clone()).ok()?;
    let origin = crate::tags::read(&serde_json::from_value(detail.get("tags")?.clone()).ok()?)?;
    let (version, sent) = origin.versions(detail.get("size")?.as_u64()?);
    Some(Tagged {
        file: FileId::new(difference.file_id.as_ref()?.as_str())?,
        case: difference.case.clone(),
        name: detail.get("name")?.as_str()?.to_owned(),
        version,
        sent,
        token: origin.token,
        created: UnixMillis(detail.get("created_ms")?.as_i64()?),
        standing,
    })
}
