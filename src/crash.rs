//! Named points at which a test makes the program die, as a power cut would, to see what the next start finds.
//!
//! Only in debug builds: `CASEDROP_CRASH=name` aborts the process the first time the point is reached,
//! `CASEDROP_CRASH=name:3` the third time; `name:3:panic` lets only the task that comes there panic, as a mistake in the
//! program would. In a release build [`at`] is empty and neither the names nor the variable
//! exist. `tests/all/kill_points.rs` walks every name of the list below and fails when its scene does not reach it:
//! whoever adds a call, a commit or a move on disk adds its points here and a scene there.

/// Declares the points: `Variant => "name", // what has just happened, or is about to`.
macro_rules! points {
    ($($variant:ident => $name:literal,)+) => {
        /// A place where the process may die.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Point { $($variant),+ }

        impl Point {
            /// The name that arms it.
            #[cfg(debug_assertions)]
            fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

points! {
    // The journal.
    OpenCreated => "open.created",         // the empty file stands, nothing is in it
    OpenMigrated => "open.migrated",       // the tables are there, the lock file is not signed yet
    OpenSigned => "open.signed",           // the journal is known to exist; nothing was asked of it yet
    CommitBefore => "commit.before",       // every statement of the group ran, nothing is durable
    CommitAfter => "commit.after",         // durable, and nobody knows yet
    CloseBefore => "close.before",         // stopped in order; the WAL holds what the database does not
    RecoverBefore => "recover.before",     // a start has not yet looked at what the last stop left open
    RecoverAfter => "recover.after",       // what the last stop left open is given up, no task runs yet

    // The calls at AWS: before they are sent, and answered but not recorded.
    StartSend => "start.send",
    StartAnswered => "start.answered",
    StartFailed => "start.failed",         // refused or lost, not recorded
    PutSend => "put.send",
    PutMiddle => "put.middle",             // a part of the body is on its way
    PutAnswered => "put.answered",
    CompleteSend => "complete.send",
    CompleteAnswered => "complete.answered",
    CompleteFailed => "complete.failed",
    StatusSend => "status.send",
    StatusAnswered => "status.answered",
    DeleteSend => "delete.send",
    DeleteAnswered => "delete.answered",
    ListCaseSend => "list-case.send",
    ListCaseAnswered => "list-case.answered",
    ListDomainsSend => "list-domains.send",
    ListDomainsAnswered => "list-domains.answered",
    ListFieldsSend => "list-fields.send",
    ListFieldsAnswered => "list-fields.answered",
    SearchCasesSend => "search-cases.send",
    SearchCasesAnswered => "search-cases.answered",
    GetCaseSend => "get-case.send",
    GetCaseAnswered => "get-case.answered",
    DescribeSend => "describe.send",
    DescribeAnswered => "describe.answered",
    GetSend => "get.send",
    GetAnswered => "get.answered",
    FetchSend => "fetch.send",
    FetchAnswered => "fetch.answered",     // every byte of a download is in the draft beside its target

    // Between the steps of an upload.
    UploadOpened => "upload.opened",       // a descriptor, no row
    UploadBegun => "upload.begun",         // the token is durable
    UploadStarted => "upload.started",     // the FileId is durable, the URL in memory only
    UploadStored => "upload.stored",       // S3 has it, and the journal knows
    UploadCompleted => "upload.completed", // completed and recorded, the follow-up not told
    GiveUpBefore => "give-up.before",      // an attempt failed; nothing of that is recorded
    GiveUpAfter => "give-up.after",        // its clean-up is announced
    LookAgain => "look-again",             // the file is not what was planned; its mirror is not told yet

    // Ends.
    FollowApproved => "follow.approved",   // agents see it, the journal does not know
    FollowFailed => "follow.failed",
    FollowRejected => "follow.rejected",
    FollowRecorded => "follow.recorded",   // the end is recorded, delivery is not told
    SweepFound => "sweep.found",           // what a lost answer left is known in memory
    SweepRecorded => "sweep.recorded",     // and in the journal
    DeletesDue => "deletes.due",           // weighed, allowed, not announced
    DeletesAnnounced => "deletes.announced",

    // Programs of the user's.
    ConvertCopied => "convert.copied",     // the private copy stands, the converter has not run
    ConvertKept => "convert.kept",         // its result stands, no attempt is announced
    HookTold => "hook.told",               // the hook has taken a delivery, the journal does not know

    // Connect asked for its own sake: `adopt` and `verify`.
    AdoptAsked => "adopt.asked",           // what is on a case is known in memory only
    AdoptKept => "adopt.kept",             // and in the journal; nothing is taken over
    AdoptTaken => "adopt.taken",           // a batch of paths is taken over, the hold of the loss stands
    AdoptEnded => "adopt.ended",           // all are, and the hold is over; who asked does not know
    VerifyCompared => "verify.compared",   // what differs on a case is known in memory only
    VerifyRecorded => "verify.recorded",   // and in the journal, with where it stands
    VerifyEnded => "verify.ended",         // the last case is compared, and the journal knows

    // Mirrors and people.
    LookUpRecorded => "look-up.recorded",  // a reference's case is pinned, the files that wait are not told
    HoldBefore => "hold.before",           // a hold begins or ends; not recorded
    HoldAfter => "hold.after",             // recorded, not yet in force in memory
    IdentityBefore => "identity.before",   // the root is known in memory only
    IdentityAfter => "identity.after",
    PassPlanned => "pass.planned",         // a batch of a look is in the journal, delivery is not told
    PassEnded => "pass.ended",             // the whole pass is, with its time
    ControlHeard => "control.heard",       // `retry` or `release` is read, nothing done
    ControlDone => "control.done",         // done and durable, who asked does not know
    ReloadStopped => "reload.stopped",     // the old configuration's engine has ended, the new one has not begun

    // A hand-over of a local file; `tests/all/handover_kill.rs` has their scenes.
    HandoverChosen => "handover.chosen",     // its target is known in memory only
    HandoverBegun => "handover.begun",       // announced, nothing moved
    HandoverTrigger => "handover.trigger",   // its trigger is gone with it, the file is not
    HandoverChecked => "handover.checked",   // read again and found good, about to move
    HandoverRenamed => "handover.renamed",   // it stands in archive or quarantine, nothing is synced or checked
    HandoverCopied => "handover.copied",     // a whole copy under a name for a moment, on another file system
    HandoverPlaced => "handover.placed",     // the copy is in place, the original too
    HandoverAside => "handover.aside",       // the original has a name for a moment
    HandoverRemoved => "handover.removed",   // the original is gone
    HandoverSynced => "handover.synced",     // durable where it was to go, without its receipt or reason
    HandoverWritten => "handover.written",   // with it; the journal does not know
    HandoverRecorded => "handover.recorded", // the journal knows, nobody else does
}

/// Ends the process here, or only the task, if a test armed this point.
#[cfg(debug_assertions)]
#[expect(clippy::panic, reason = "it is what the test asks for")]
pub fn at(point: Point) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static ARMED: OnceLock<Option<(String, u32, bool)>> = OnceLock::new();
    static REACHED: AtomicU32 = AtomicU32::new(0);

    #[cfg(test)]
    crate::host::simulated::step(point.name());
    let armed = ARMED.get_or_init(|| {
        let text = std::env::var("CASEDROP_CRASH").ok()?;
        let mut parts = text.split(':');
        let (name, nth, how) = (parts.next()?, parts.next().unwrap_or("1"), parts.next());
        // A number that cannot be read arms nothing, and the test that set it finds the program alive.
        Some((name.to_owned(), nth.parse().unwrap_or(0), how == Some("panic")))
    });
    if let Some((name, nth, panics)) = armed
        && name == point.name()
        && REACHED.fetch_add(1, Ordering::Relaxed) + 1 == *nth
    {
        if *panics {
            panic!("CASEDROP_CRASH at {name}");
        }
        std::process::abort();
    }
}

/// Nothing: only debug builds can be made to die.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn at(_: Point) {}
