//! The planner: what the disk shows, what the journal knows and what the policy says, compared; steps out.
//!
//! Pure and per file, so that a pass over any number of files needs no more memory than one of them, and so that
//! `plan`, `sync` and `run` reach the same answer. The caller reads the view and applies the step in one journal
//! transaction; nothing here can delete: [`Step::DeleteDue`] only names a candidate, which
//! [`super::absence`] weighs for the whole mirror.
//!
//! Invariants kept here: 2 (two observations apart in time), 5 (leaving scope changes nothing remote), 11 (only
//! `approved` counts), 13 (a step applied leaves `Nothing` to do), 14 (no state but the arguments).

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::model::{Attachment, FileRow, ParkCode, Stage, Stat, Verdict, Version};
use super::routing::{Unrouted, UnroutedReason};
use crate::types::{CaseArn, ContentHash, RelPath, UnixMillis};

/// Largest file Connect can be told to take, in bytes (SERVICE.md 1.1: 104857600, not adjustable).
pub const LARGEST_FILE: u64 = 104_857_600;

/// What the disk says of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A regular file in scope.
    Present(Stat, Content),
    /// Something there that casedrop leaves alone; the text is the rule.
    OutOfScope(String),
    /// Not there, and its folder was listed completely below a healthy root.
    Absent,
    /// The same, of a path that casedrop leaves alone; the text is the rule.
    AbsentOutOfScope(String),
}

/// What is known of a present file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Not read in this look: it has not been quiet long enough, or needs no reading.
    Unread,
    /// Read whole between two equal stats, after it had settled.
    Read(ContentHash),
    /// It had settled, and is larger than any instance takes: not read.
    TooLarge,
    /// It had settled and could not be read; the text says why.
    Unreadable(String),
    /// Whoever writes it has not said yet that it is whole; the text says what is missing.
    Unfinished(String),
}

/// Where a path's attachment belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub case: CaseArn,
    /// The name agents see.
    pub name: String,
}

/// The parts of a mirror's policy that decide about one file.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Whether local deletes reach Connect.
    pub propagate_deletes: bool,
    /// `mode = "ingest"`: a file that goes away ends its life at its path, its attachment stays, and what comes there
    /// later is another file.
    pub ingest: bool,
    /// Hand-overs of our own may be open in this mirror.
    pub moves: bool,
    /// How long a file must be gone before that counts. In ingest mode it only gives a moved file the time to be
    /// recognized at its new path.
    pub delete_grace: Duration,
}

impl Rules {
    /// Those under which nothing at Connect follows from what is gone here.
    pub const KEEP: Self = Self { propagate_deletes: false, ingest: false, moves: false, delete_grace: Duration::ZERO };
}

/// What the journal knows that bears on one path.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub row: Option<FileRow>,
    /// All attachments of the path, oldest first.
    pub attachments: Vec<Attachment>,
    /// An absent file whose approved attachment holds exactly the content that was read here, and that
    /// attachment's target. Only looked up for content that the path itself does not have attached.
    pub moved_from: Option<(RelPath, Target)>,
    /// Our own hand-over of the path is announced and not ended: what the disk shows may be our doing (L83).
    pub moving: bool,
}

impl Known {
    /// The newest attachment that agents can see.
    pub fn approved(&self) -> Option<&Attachment> {
        self.attachments.iter().rev().find(|a| a.stage == Stage::Approved)
    }

    /// The attempt that still goes forward.
    pub fn under_way(&self) -> Option<&Attachment> {
        self.attachments.iter().rev().find(|a| a.stage.is_under_way())
    }
}

/// One decision about one file. Each is applied in one journal transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Nothing,
    /// Wait until it is quiet, then read it. `mark` = the verdict becomes `settling`.
    Settle {
        stat: Stat,
        mark: bool,
    },
    /// Its content is known and needs no call: only the observation is new.
    Refresh {
        stat: Stat,
        hash: Option<ContentHash>,
        verdict: Verdict,
    },
    /// Bring this content to this target.
    Queue {
        stat: Stat,
        hash: ContentHash,
        why: QueueWhy,
    },
    /// The file at `from` is here now. With `same_target` nothing needs to be called; else it is a replace.
    Move {
        stat: Stat,
        hash: ContentHash,
        from: RelPath,
        same_target: bool,
    },
    Park {
        stat: Stat,
        hash: Option<ContentHash>,
        code: ParkCode,
        note: Option<String>,
    },
    Ignore {
        rule: String,
    },
    /// No case can be told. `hash` is known when the file has settled already, so that it need not settle again once
    /// its reference is resolved.
    Unroute {
        stat: Stat,
        hash: Option<ContentHash>,
        why: Unrouted,
    },
    /// First seen absent: the grace begins.
    BeginGrace {
        delete_after: UnixMillis,
    },
    /// Absent, and the policy keeps the attachment.
    Keep,
    /// It is there, and not whole yet by the word of whoever writes it.
    Wait {
        stat: Stat,
        note: String,
    },
    /// Ingest: first seen absent, without our doing.
    Missing,
    /// Ingest: still absent. Its life at the path ends, and what is attached stays.
    Depart,
    /// Ingest: another file stands where an absent one was.
    Arrive {
        stat: Stat,
    },
    /// Absent again after the grace: a candidate for a delete.
    DeleteDue,
    /// Absent, and nothing of it is or will be visible at Connect: drop the row, clean up what was under way.
    Forget,
}

/// Why content is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueWhy {
    New,
    Changed,
}

impl QueueWhy {
    /// The word for log, plan and audit trail.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
        }
    }
}

/// Decides about one path. `target` is where its attachment belongs, or why no case can be told.
pub fn decide(seen: &Seen, target: Result<&Target, &Unrouted>, known: &Known, rules: Rules, now: UnixMillis) -> Step {
    if known.moving {
        return Step::Nothing;
    }
    match seen {
        Seen::OutOfScope(rule) => out_of_scope(rule, known),
        Seen::Absent | Seen::AbsentOutOfScope(_) if rules.ingest => missing(known, rules, now),
        Seen::Absent => absent(None, known, rules, now),
        Seen::AbsentOutOfScope(rule) => absent(Some(rule), known, rules, now),
        Seen::Present(stat, _) if rules.ingest && is_another(known, stat) => Step::Arrive { stat: *stat },
        Seen::Present(stat, content) => match target {
            Err(why) => unrouted(stat, content, why, known),
            Ok(target) => present(stat, content, target, known, rules),
        },
    }
}

/// Whether the file that was at the path is known to be gone, and this is not that file come back.
fn is_another(known: &Known, stat: &Stat) -> bool {
    known.row.as_ref().is_some_and(|row| row.absent_since.is_some() && !row.stat.same_but_for_device(stat))
}

/// Whether a look at a present file of this row can only end in [`Step::Nothing`]: the fast path of a pass over
/// many known files, which must agree with [`decide`].
///
/// A change of the inode's own time alone can be a new owner, or new content under the old size and time (`cp -p`,
/// `touch -r`, a new file on an old inode: L60). What is attached is read again for it, and sent only if it differs;
/// what is on its way is not disturbed (L9).
pub fn is_at_rest(word: &str, known: &Stat, absent: bool, stat: &Stat) -> bool {
    !absent
        && known.same_content_as(stat)
        && (known.ctime_ns == stat.ctime_ns || word != "attached")
        && !matches!(word, "settling" | "ignored" | "unrouted" | "parked")
}

impl FileRow {
    /// [`is_at_rest`] of a whole row.
    pub fn is_at_rest(&self, stat: &Stat) -> bool {
        is_at_rest(self.verdict.word(), &self.stat, self.absent_since.is_some(), stat)
    }

    /// Whether it has no case because of a reference.
    pub fn waits_for_reference(&self) -> bool {
        let of_one = |reason: &str| UnroutedReason::parse(reason).is_some_and(UnroutedReason::is_of_a_reference);
        matches!(&self.verdict, Verdict::Unrouted(reason) if of_one(reason))
    }

    /// The content, if it was read of the file as it is there now.
    pub fn read_as(&self, stat: &Stat) -> Option<ContentHash> {
        self.hash.filter(|_| self.absent_since.is_none() && self.stat.same_content_as(stat))
    }
}

fn out_of_scope(rule: &str, known: &Known) -> Step {
    match &known.row {
        Some(FileRow { verdict: Verdict::Ignored(known), absent_since: None, .. }) if known == rule => Step::Nothing,
        _ => Step::Ignore { rule: rule.to_owned() },
    }
}

/// While its reference is looked up, a file settles and is read all the same: most often the answer is there first.
fn unrouted(stat: &Stat, content: &Content, why: &Unrouted, known: &Known) -> Step {
    let row = known.row.as_ref();
    let hash = match content {
        Content::Read(hash) => Some(*hash),
        Content::Unread | Content::TooLarge | Content::Unreadable(_) | Content::Unfinished(_) => None,
    };
    // What is attached stays as it is when a changed configuration no longer routes it (invariant 5).
    let at_rest = row.is_some_and(|row| row.is_at_rest(stat));
    if why.reason == UnroutedReason::ReferencePending && !at_rest && matches!(content, Content::Unread) {
        let read = |row: &FileRow| row.hash.is_some() && row.stat.same_content_as(stat) && row.absent_since.is_none();
        let parked = |row: &FileRow| matches!(row.verdict, Verdict::Parked(code) if code != ParkCode::Unreadable);
        if row.is_some_and(|row| read(row) && parked(row)) {
            return Step::Nothing;
        }
        if row.is_none_or(|row| !(read(row) && matches!(row.verdict, Verdict::Unrouted(_)))) {
            return settle(stat, known);
        }
    }
    match row {
        Some(row)
            if row.absent_since.is_none()
                && matches!(&row.verdict, Verdict::Unrouted(reason) if reason == why.reason.as_str())
                && row.note == why.note
                && (hash.is_none() || (row.hash == hash && row.stat.same_content_as(stat))) =>
        {
            Step::Nothing
        }
        _ => Step::Unroute { stat: *stat, hash, why: why.clone() },
    }
}

/// Wait until it is quiet. An unreadable file is tried again at every look, without a change of verdict back and forth;
/// nor is there one where only the inode's own time changed.
fn settle(stat: &Stat, known: &Known) -> Step {
    let mark = known.row.as_ref().is_none_or(|row| {
        let unfinished = row.note.as_deref().is_some_and(|note| note.starts_with(UNFINISHED));
        let waits = matches!(row.verdict, Verdict::Settling | Verdict::Parked(ParkCode::Unreadable));
        let same = row.verdict == Verdict::Attached && row.stat.same_content_as(stat);
        row.absent_since.is_some() || unfinished || !(waits || same)
    });
    Step::Settle { stat: *stat, mark }
}

fn present(stat: &Stat, content: &Content, target: &Target, known: &Known, rules: Rules) -> Step {
    match content {
        Content::Unfinished(note) => {
            let same = known.row.as_ref().is_some_and(|row| {
                let waits = row.verdict == Verdict::Settling && row.note.as_ref() == Some(note);
                let parked = matches!(row.verdict, Verdict::Parked(_)) && row.stat.same_content_as(stat);
                row.absent_since.is_none() && (waits || parked || row.is_at_rest(stat))
            });
            if same { Step::Nothing } else { Step::Wait { stat: *stat, note: note.clone() } }
        }
        Content::Unread => unread(stat, target, known, rules),
        Content::TooLarge => Step::Park { stat: *stat, hash: None, code: ParkCode::TooLarge, note: None },
        Content::Unreadable(note) => {
            let same = known.row.as_ref().is_some_and(|row| {
                row.verdict == Verdict::Parked(ParkCode::Unreadable) && row.note.as_ref() == Some(note)
            });
            if same {
                return Step::Nothing;
            }
            Step::Park { stat: *stat, hash: None, code: ParkCode::Unreadable, note: Some(note.clone()) }
        }
        Content::Read(hash) => read(stat, *hash, target, known, rules),
    }
}

fn unread(stat: &Stat, target: &Target, known: &Known, rules: Rules) -> Step {
    let Some(row) = &known.row else { return settle(stat, known) };
    // A parked file is at rest too; one that could not be read is tried at every look.
    let elsewhere = is_of_another_case(known, target);
    let parked = matches!(row.verdict, Verdict::Parked(code) if code != ParkCode::Unreadable) && !elsewhere;
    if row.is_at_rest(stat) || (parked && row.absent_since.is_none() && row.stat.same_content_as(stat)) {
        return Step::Nothing;
    }
    if row.absent_since.is_some() && row.hash.is_some() && row.stat.same_content_as(stat) {
        // Back as it was: no need to read it again.
        let verdict = standing(known, row.version(), target).unwrap_or(Verdict::Settling);
        if verdict != Verdict::Settling {
            return Step::Refresh { stat: *stat, hash: row.hash, verdict };
        }
    }
    // It settled and was read while its reference was looked up, or before another case refused it.
    let was_read = elsewhere || row.waits_for_reference();
    if let Some(hash) = row.read_as(stat).filter(|_| was_read) {
        return read(stat, hash, target, known, rules);
    }
    settle(stat, known)
}

fn read(stat: &Stat, hash: ContentHash, target: &Target, known: &Known, rules: Rules) -> Step {
    let version = Version { size: stat.size, hash };
    let park = |code| Step::Park { stat: *stat, hash: Some(hash), code, note: None };
    if version.size == 0 {
        return park(ParkCode::EmptyFile);
    }
    if let Some(verdict) = standing(known, Some(version), target) {
        return Step::Refresh { stat: *stat, hash: Some(hash), verdict };
    }
    // A changed file whose last version is being scanned waits for that to end: two attempts at one path never
    // overlap, and a file that changes without end still gets a version through.
    if known.under_way().is_some_and(|a| a.stage == Stage::Completed) {
        return Step::Refresh { stat: *stat, hash: Some(hash), verdict: Verdict::Scanning };
    }
    let why =
        if known.attachments.iter().any(|a| a.stage == Stage::Approved) { QueueWhy::Changed } else { QueueWhy::New };
    match (why, &known.moved_from) {
        // It is delivered to this case already, under the name it had then. To another case it goes as a new file:
        // what was delivered is never taken back in this mode.
        (QueueWhy::New, Some((from, was))) if rules.ingest && was.case == target.case => {
            return Step::Move { stat: *stat, hash, from: from.clone(), same_target: true };
        }
        (QueueWhy::New, Some((from, was))) if !rules.ingest => {
            return Step::Move { stat: *stat, hash, from: from.clone(), same_target: was == target };
        }
        _ => {}
    }
    Step::Queue { stat: *stat, hash, why }
}

/// Whether the file is parked for what was said of another case than the one it belongs to now.
fn is_of_another_case(known: &Known, target: &Target) -> bool {
    let parked = known.row.as_ref().and_then(|row| match row.verdict {
        Verdict::Parked(code) => Some(code),
        _ => None,
    });
    let last = known.attachments.last();
    parked.is_some_and(ParkCode::is_about_the_case)
        && last.is_some_and(|last| last.case != target.case && last.reason.as_deref() == parked.map(ParkCode::as_str))
}

/// The verdict that content already has through an attachment or an earlier refusal; `None` when it is to be
/// brought to Connect.
fn standing(known: &Known, version: Option<Version>, target: &Target) -> Option<Verdict> {
    let version = version?;
    // A changed `case` or `file_name` in the configuration moves nothing at Connect (invariant 5); a moved file is
    // attached only once its attachment is where the path says.
    let in_place = |a: &Attachment| !a.moved || (&a.case, &a.name) == (&target.case, &target.name);
    let approved = known.approved().filter(|a| a.version == version && in_place(a));
    if let Some(live) = known.under_way() {
        return match live.stage {
            Stage::Completed if live.version == version => Some(Verdict::Scanning),
            // It will replace what is attached now.
            Stage::Completed => None,
            // What is attached is what the file holds, again or still: the attempt is given up.
            _ if approved.is_some_and(|a| a.found_wrong().is_none()) => Some(Verdict::Attached),
            _ if live.version != version => None,
            // It waits for its next try, which only a queued file gets.
            Stage::Planned if !live.start_open => None,
            _ => Some(Verdict::Uploading),
        };
    }
    // Also where it was touched, or away, between the retry and the try.
    let retried = known.row.as_ref().is_some_and(|row| match row.verdict {
        Verdict::Queued => true,
        Verdict::Attached if row.absent_since.is_none() => false,
        Verdict::Settling | Verdict::Deleting | Verdict::Attached => {
            row.next_attempt.is_some() && row.hash.is_none_or(|hash| hash == version.hash)
        }
        _ => false,
    });
    if let Some(approved) = approved {
        // Found wrong at Connect: a person's turn, until the file changes or is retried.
        return match approved.found_wrong() {
            None => Some(Verdict::Attached),
            Some(code) => (!retried).then_some(Verdict::Parked(code)),
        };
    }
    // Touching a parked file does not send it again; changed content does.
    let last = known.attachments.last().filter(|a| a.version == version)?;
    let parked =
        matches!(last.stage, Stage::Abandoned | Stage::Rejected | Stage::Failed | Stage::Deleting | Stage::Deleted);
    let code = ParkCode::parse(last.reason.as_deref()?)?;
    if code.is_about_the_case() && last.case != target.case || code.is_about_the_name() && last.name != target.name {
        return None;
    }
    (parked && !retried).then_some(Verdict::Parked(code))
}

/// An absent file in ingest mode: nothing at Connect follows from it, whoever took it.
fn missing(known: &Known, rules: Rules, now: UnixMillis) -> Step {
    let Some(row) = &known.row else { return Step::Nothing };
    let scanning = known.under_way().is_some_and(|a| a.stage == Stage::Completed);
    if known.approved().is_none() && !scanning {
        return Step::Forget;
    }
    match row.absent_since {
        None => Step::Missing,
        Some(since) if !scanning && now >= since.plus(rules.delete_grace) => Step::Depart,
        Some(_) => Step::Nothing,
    }
}

/// An absent file; `rule` takes its path out of scope.
fn absent(rule: Option<&str>, known: &Known, rules: Rules, now: UnixMillis) -> Step {
    let Some(row) = &known.row else { return Step::Nothing };
    let scanning = known.under_way().is_some_and(|a| a.stage == Stage::Completed);
    if known.approved().is_none() && !scanning {
        // Its row stays until all is deleted; what waits of an earlier life of the file keeps none.
        let deleting = row.verdict == Verdict::Deleting && known.attachments.iter().any(goes_with_its_file);
        return if deleting { Step::Nothing } else { Step::Forget };
    }
    if matches!(row.verdict, Verdict::Ignored(_) | Verdict::Unrouted(_) | Verdict::Parked(ParkCode::Unseen)) {
        // It left scope, by a rule or by the configuration, before it went away: no remote change (invariant 5). Or
        // it was never seen here, so its absence says nothing (LESSONS L28).
        return Step::Nothing;
    }
    if let Some(rule) = rule {
        // It left scope while its grace ran, or before anybody saw that it had gone.
        return out_of_scope(rule, known);
    }
    if row.kept {
        return keep_once(row, known);
    }
    match (row.absent_since, rules.propagate_deletes) {
        (None, true) => Step::BeginGrace { delete_after: now.plus(rules.delete_grace) },
        (None, false) => Step::Keep,
        (Some(_), false) => keep_once(row, known),
        (Some(_), true) if row.verdict != Verdict::Deleting => {
            // Kept so far by a policy that has changed: the grace starts now, not then.
            Step::BeginGrace { delete_after: now.plus(rules.delete_grace) }
        }
        (Some(since), true) if since > now => {
            // The wall clock was stepped back: by the old time the grace would not end for as long as that.
            Step::BeginGrace { delete_after: now.plus(rules.delete_grace) }
        }
        (Some(since), true) if !scanning && now >= since.plus(rules.delete_grace) => Step::DeleteDue,
        (Some(_), true) => Step::Nothing,
    }
}

/// A file that is gone and kept counts as what of it is at Connect, whatever its row tells (the scan of its last content
/// may have failed since, say).
fn keep_once(row: &FileRow, known: &Known) -> Step {
    let told = row.verdict == kept_verdict(&known.attachments);
    if row.absent_since.is_some() && told { Step::Nothing } else { Step::Keep }
}

/// The verdict of a file that is gone and whose attachment stays. Only what is approved counts as attached, and not what
/// was found wrong since (invariant 11).
pub fn kept_verdict(attachments: &[Attachment]) -> Verdict {
    if attachments.iter().any(|a| a.stage == Stage::Completed) {
        return Verdict::Scanning;
    }
    let approved = attachments.iter().rfind(|a| a.stage == Stage::Approved);
    approved.and_then(Attachment::found_wrong).map_or(Verdict::Attached, Verdict::Parked)
}

/// The reason an attachment is deleted because its file is gone.
pub const ABSENT: &str = "absent";
/// The reason a record that agents never saw is deleted because its file is gone. No hold keeps it, and nobody calls it
/// back.
pub const REFUSED_AND_GONE: &str = "refused, and its file is gone";
/// The reason an attachment is deleted because a newer one took its place.
pub const REPLACED: &str = "replaced";

/// Whether it is being deleted because its file is gone.
pub fn goes_with_its_file(a: &Attachment) -> bool {
    a.stage == Stage::Deleting && matches!(a.reason.as_deref(), Some(ABSENT | REFUSED_AND_GONE))
}

/// How the note of a file begins whose writer has not said yet that it is whole.
pub const UNFINISHED: &str = "not whole yet";

/// Least number of attached files for [`weigh_changes`].
const ALL_CHANGED_LEAST: u64 = 10;

/// What the changed files of a mirror look like together (LESSONS L78).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    /// Some files changed.
    Some,
    /// By `stat` nearly all changed, and not all of those are read: nothing is uploaded before it is known whether
    /// their content did. A changed time zone or a restored backup touches every file and changes none.
    Suspect,
    /// Nearly all have new content, as after encryption by malware.
    All,
}

/// Whether [`weigh_changes`] can come to anything but [`Changes::Some`], told from counts that cost nothing: files
/// whose verdict is `attached`, and those on their way to it.
pub fn may_be_all_changed(attached: u64, open: u64) -> bool {
    open.saturating_mul(10) >= ALL_CHANGED_LEAST.saturating_mul(9) && attached.saturating_mul(9) <= open
}

/// Weighs the changed files of a mirror: `tracked` files have an attachment that agents can see; of these, `unread`
/// changed by `stat` and are not read yet, and `changed` have other content. Nearly all means at least 90 %, of ten
/// or more.
pub fn weigh_changes(tracked: u64, unread: u64, changed: u64) -> Changes {
    let nearly_all = |files: u64| tracked >= ALL_CHANGED_LEAST && files.saturating_mul(10) >= tracked.saturating_mul(9);
    if nearly_all(changed) {
        Changes::All
    } else if nearly_all(changed.saturating_add(unread)) {
        Changes::Suspect
    } else {
        Changes::Some
    }
}
