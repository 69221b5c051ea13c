//! Any state of the disk × any state of the journal × any policy: planning comes to an end, then there is nothing
//! more to do, no step breaks an invariant, and a restart in between changes no plan (13, 14).

use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

use super::super::*;
use super::support::*;
use crate::core::model::{Extras, ParkCode, Stat};
use crate::core::plan::{ABSENT, Content, REPLACED, Seen, Step};
use crate::journal::{Journal, NewAttachment};
use crate::types::ClientToken;

const FILE: &str = "f";
const NOW: i64 = 1_000_000;

/// What the disk shows.
#[derive(Debug, Clone)]
enum Shown {
    Absent,
    AbsentOutOfScope,
    File(u8),
    TooLarge,
    Unreadable,
    OutOfScope(&'static str),
}

/// A row as it may stand in the journal.
#[derive(Debug, Clone)]
struct Row {
    verdict: Verdict,
    content: u8,
    hashed: bool,
    absent: Option<i64>,
    kept: bool,
    attempt: u32,
    next: Option<i64>,
}

/// An attachment as it may stand there.
#[derive(Debug, Clone)]
struct Attached {
    content: u8,
    stage: Stage,
    open: bool,
    reason: Option<&'static str>,
    moved: bool,
}

#[derive(Debug, Clone)]
struct State {
    shown: Shown,
    row: Option<Row>,
    attached: Vec<Attached>,
    propagate: bool,
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        1 => Just(Verdict::Settling),
        1 => Just(Verdict::Queued),
        1 => Just(Verdict::Uploading),
        1 => Just(Verdict::Scanning),
        2 => Just(Verdict::Attached),
        2 => Just(Verdict::Deleting),
        1 => prop::sample::select(ParkCode::ALL).prop_map(Verdict::Parked),
        1 => Just(Verdict::Ignored("junk".into())),
        1 => Just(Verdict::Unrouted("no case".into())),
    ]
}

fn any_state() -> impl Strategy<Value = State> {
    let shown = prop_oneof![
        2 => Just(Shown::Absent),
        1 => Just(Shown::AbsentOutOfScope),
        4 => (0_u8..4).prop_map(Shown::File),
        1 => Just(Shown::TooLarge),
        1 => Just(Shown::Unreadable),
        1 => prop::sample::select(vec!["junk", "size"]).prop_map(Shown::OutOfScope),
    ];
    let time = NOW - 3 * GRACE_MS..NOW + GRACE_MS;
    let absent = prop::option::of((time.clone(), any::<bool>()));
    let row = (any_verdict(), 1_u8..4, any::<bool>(), absent, 0_u32..4, prop::option::of(time)).prop_map(
        |(verdict, content, hashed, absent, attempt, next)| Row {
            verdict,
            content,
            hashed,
            absent: absent.map(|(since, _)| since),
            kept: absent.is_some_and(|(_, kept)| kept),
            attempt,
            next,
        },
    );
    let reason = prop::sample::select(vec!["rejected", "failed", ABSENT, REPLACED, "the file changed"]);
    let attached = (1_u8..4, prop::sample::select(Stage::ALL), any::<bool>(), prop::option::of(reason), any::<bool>())
        .prop_map(|(content, stage, open, reason, moved)| Attached { content, stage, open, reason, moved });
    (shown, prop::option::weighted(0.9, row), prop::collection::vec(attached, 0..4), any::<bool>()).prop_map(
        |(shown, row, mut attached, propagate)| {
            // What the walk of `walk.rs` holds for every course: one attempt under way, one visible attachment, and
            // none that waits for a next try of a file that is parked, left scope, or is gone and kept.
            let (mut under_way, mut visible) = (false, false);
            let given_up = row.as_ref().is_some_and(|row| match row.verdict {
                Verdict::Ignored(_) | Verdict::Unrouted(_) | Verdict::Parked(_) => true,
                Verdict::Attached => row.absent.is_some(),
                _ => false,
            });
            attached.retain(|a| !(given_up && a.stage == Stage::Planned && !a.open));
            attached.retain(|a| {
                let again = (a.stage.is_under_way() && under_way) || (a.stage == Stage::Approved && visible);
                under_way |= a.stage.is_under_way();
                visible |= a.stage == Stage::Approved;
                !again
            });
            State { shown, row, attached, propagate }
        },
    )
}

/// Writes the state down, as the tables allow it.
fn set_up(world: &World<'_, '_>, state: &State) -> Result<()> {
    if let Some(row) = &state.row {
        let needs_hash =
            !matches!(row.verdict, Verdict::Settling | Verdict::Parked(_) | Verdict::Ignored(_) | Verdict::Unrouted(_));
        world.tx.put_file(&FileRow {
            mirror: world.mirror,
            path: rel(FILE),
            stat: stat(row.content, 1),
            hash: (row.hashed || needs_hash).then(|| hash(row.content)),
            verdict: row.verdict.clone(),
            note: None,
            seen_at: at(1),
            since: at(1),
            absent_since: row.absent.map(at),
            attempt: row.attempt,
            next_attempt: row.next.map(at),
            kept: row.kept,
            insisted: None,
        })?;
    }
    for (number, wanted) in state.attached.iter().enumerate() {
        let target = route(&rel(FILE)).unwrap().unwrap();
        let mut attachment = world.tx.add_attachment(
            &NewAttachment {
                mirror: world.mirror,
                path: rel(FILE),
                case: target.case,
                name: target.name,
                version: world.version(wanted.content),
                attempt: 1,
                token: ClientToken::from_journal(format!("{}-{number}", world.mirror.0)),
                start_open: wanted.open && wanted.stage == Stage::Planned,
                extras: Extras::default(),
            },
            world.now(),
        )?;
        let way: &[Stage] = match wanted.stage {
            Stage::Planned => &[],
            Stage::Started => &[Stage::Started],
            Stage::Stored => &[Stage::Started, Stage::Stored],
            Stage::Completed => &[Stage::Started, Stage::Stored, Stage::Completed],
            Stage::Approved => &[Stage::Started, Stage::Stored, Stage::Completed, Stage::Approved],
            Stage::Rejected => &[Stage::Started, Stage::Stored, Stage::Completed, Stage::Rejected],
            Stage::Failed => &[Stage::Started, Stage::Stored, Stage::Completed, Stage::Failed],
            Stage::Abandoned => &[Stage::Abandoned],
            Stage::Deleting => &[Stage::Started, Stage::Abandoned, Stage::Deleting],
            Stage::Deleted => &[Stage::Started, Stage::Abandoned, Stage::Deleting, Stage::Deleted],
        };
        for stage in way {
            attachment.stage = *stage;
            let visible = *stage == Stage::Approved;
            attachment.moved = wanted.moved && visible;
            attachment.found = wanted.reason.filter(|_| visible).and_then(ParkCode::parse);
            let ended = matches!(stage, Stage::Rejected | Stage::Failed | Stage::Abandoned | Stage::Deleting);
            attachment.reason = (ended || visible)
                .then(|| wanted.reason.map(str::to_owned))
                .flatten()
                .or_else(|| ended.then(|| "the file changed".to_owned()));
            if *stage != Stage::Abandoned || way.len() > 1 {
                attachment.file_id = Some(world.file_id(attachment.id));
            }
            world.tx.put_attachment(&attachment, world.now())?;
        }
    }
    Ok(())
}

/// Looks and reads until there is nothing more to do; the steps.
fn plan(world: &World<'_, '_>, state: &State) -> Result<Vec<Step>> {
    const MOST: usize = 4;
    let present = |stat: Stat, content| Seen::Present(stat, content);
    let seen = |read: bool| match state.shown {
        Shown::Absent => Seen::Absent,
        Shown::AbsentOutOfScope => Seen::AbsentOutOfScope("junk".into()),
        Shown::OutOfScope(rule) => Seen::OutOfScope(rule.into()),
        Shown::File(content) => {
            present(stat(content, 1), if read { Content::Read(hash(content)) } else { Content::Unread })
        }
        Shown::TooLarge => present(stat(200, 2), if read { Content::TooLarge } else { Content::Unread }),
        Shown::Unreadable => {
            present(stat(3, 3), if read { Content::Unreadable("denied".into()) } else { Content::Unread })
        }
    };
    let mut steps = Vec::new();
    let mut read = false;
    loop {
        let before = (world.row(FILE)?, world.attachments(FILE)?);
        let step = world.look(FILE, &seen(read), state.propagate)?;
        check(&before.1, &world.attachments(FILE)?, &seen(read));
        read = matches!(step, Step::Settle { .. }) && !read;
        let rest = (world.row(FILE)?, world.attachments(FILE)?) == before;
        let waits = matches!(step, Step::Settle { mark: false, .. } | Step::DeleteDue);
        // An unreadable file is read at every look; what it finds is the same.
        let same = rest && !read && (step == Step::Nothing || waits || !steps.is_empty());
        steps.push(step);
        if same {
            return Ok(steps);
        }
        assert!(steps.len() <= MOST, "no end: {steps:?}");
    }
}

/// What a look may do to attachments.
fn check(before: &[Attachment], after: &[Attachment], seen: &Seen) {
    for (a, b) in before.iter().zip(after) {
        if a.stage == Stage::Approved {
            assert_eq!(b.stage, Stage::Approved, "invariant 2: a look alone deletes nothing that agents can see");
        }
        if matches!(seen, Seen::OutOfScope(_)) && a.stage != Stage::Planned {
            assert_eq!(a, b, "invariant 5");
        }
        if matches!(a.stage, Stage::Deleted | Stage::Deleting) {
            assert_eq!(a.stage, b.stage);
        }
    }
    assert!(after.iter().filter(|a| a.stage.is_under_way()).count() <= 1, "two attempts at one path: {after:?}");
}

/// What an attachment is apart from what a restart does to it on purpose: it gives up what lived in memory.
fn end(world: &World<'_, '_>) -> Result<(Option<FileRow>, Vec<Stage>)> {
    let same_times = |row: FileRow| FileRow { mirror: MirrorId(0), ..row };
    Ok((world.row(FILE)?.map(same_times), world.attachments(FILE)?.into_iter().map(|a| a.stage).collect()))
}

/// Cases of the property: 10,000, or as many as `CASEDROP_CASES` says.
fn cases() -> u32 {
    std::env::var("CASEDROP_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(10_000)
}

#[test]
fn invariants_13_and_14_any_state_is_planned_to_its_end_and_a_restart_changes_no_plan() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&dir.path().join("journal.db")).unwrap();
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(cases()) });
    let result = runner.run(&any_state(), |state| {
        // An error of its own undoes the case: nothing is kept, and no disk is waited for.
        let outcome: Result<()> = journal.write_blocking(move |tx| {
            case_of(tx, &state)?;
            Err(JournalError::internal(DONE))
        });
        let text = outcome.map_or_else(|error| error.to_string(), |()| String::new());
        prop_assert!(text.contains(DONE), "{}", text);
        Ok(())
    });
    match result {
        Ok(()) => journal.close(),
        Err(TestError::Fail(why, state)) => panic!("{why}\n{state:#?}"),
        Err(other) => panic!("{other}"),
    }
}

const DONE: &str = "the case came to its end";

fn case_of(tx: &Tx<'_>, state: &State) -> Result<()> {
    let stays = World::new(tx, "stays")?;
    set_up(&stays, state)?;
    let steps = plan(&stays, state)?;
    let planned = end(&stays)?;
    // The same state, restarted before it is planned. What lived in memory is given up on purpose.
    let again = World::new(tx, "again")?;
    set_up(&again, state)?;
    recover(tx, again.now())?;
    let after = plan(&again, state)?;
    let in_memory = state.attached.iter().any(|a| a.stage == Stage::Started || (a.stage == Stage::Planned && a.open));
    if !in_memory && state.row.as_ref().is_none_or(|row| row.verdict != Verdict::Uploading) {
        assert_eq!(after, steps, "invariant 14");
        assert_eq!(end(&again)?, planned, "invariant 14");
    }
    // And once more, after it was planned.
    recover(tx, stays.now())?;
    plan(&stays, state).map(drop)
}
