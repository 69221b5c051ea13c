//! Any course of events, on a real journal: no step breaks an invariant, and when the trouble ends the file gets
//! to its end.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

use super::super::*;
use super::support::*;
use crate::aws::Next;
use crate::core::model::ParkCode;
use crate::core::plan::{Content, Seen, Step};
use crate::journal::Journal;

/// What happens next. Numbers pick among the attachments that are there.
#[derive(Debug, Clone)]
enum Event {
    Write(u8),
    Touch,
    Remove,
    Leave(bool),
    TooLarge,
    Unreadable,
    Look,
    Read,
    Begin,
    /// Settled, read and begun.
    Bring,
    Answer(usize, Answer),
    Wait(i64),
    Keep(bool),
    Delete,
    Retry,
    Restart,
    Sweep(usize, bool),
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Done,
    Fail(Next, bool),
    GiveUp(bool),
    Approved,
    Rejected,
    Failed,
    Vanished,
}

fn any_event() -> impl Strategy<Value = Event> {
    let next = prop::sample::select(vec![
        Next::Retry,
        Next::Throttled,
        Next::Offline,
        Next::Conflict,
        Next::Park(ParkCode::AccessDenied),
    ]);
    let answer = prop_oneof![
        6 => Just(Answer::Done),
        2 => (next, any::<bool>()).prop_map(|(next, certain)| Answer::Fail(next, certain)),
        1 => any::<bool>().prop_map(Answer::GiveUp),
        2 => Just(Answer::Approved),
        1 => Just(Answer::Rejected),
        1 => Just(Answer::Failed),
        1 => Just(Answer::Vanished),
    ];
    prop_oneof![
        3 => (0_u8..4).prop_map(Event::Write),
        1 => Just(Event::Touch),
        2 => Just(Event::Remove),
        1 => any::<bool>().prop_map(Event::Leave),
        1 => Just(Event::TooLarge),
        1 => Just(Event::Unreadable),
        6 => Just(Event::Look),
        6 => Just(Event::Read),
        6 => Just(Event::Begin),
        8 => Just(Event::Bring),
        20 => (prop::sample::select(vec![0, 0, 0, 1, 2]), answer).prop_map(|(which, answer)| Event::Answer(which, answer)),
        2 => prop::sample::select(vec![1, 5_000, GRACE_MS, 400_000]).prop_map(Event::Wait),
        1 => any::<bool>().prop_map(Event::Keep),
        2 => Just(Event::Delete),
        1 => Just(Event::Retry),
        1 => Just(Event::Restart),
        1 => (0_usize..3, any::<bool>()).prop_map(|(which, twin)| Event::Sweep(which, twin)),
    ]
}

const FILE: &str = "f";

struct Walk<'w, 't, 'c> {
    world: &'w World<'t, 'c>,
    disk: Disk,
    keep: bool,
    /// The last look was a due delete, and nothing happened since.
    due: bool,
    found: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Disk {
    Absent,
    File {
        content: u8,
        touch: i64,
    },
    TooLarge {
        touch: i64,
    },
    Unreadable {
        touch: i64,
    },
    OutOfScope,
    /// Gone, and its path left scope.
    AbsentOutOfScope,
}

impl Walk<'_, '_, '_> {
    fn seen(&self, read: bool) -> Seen {
        let present = |stat, content| Seen::Present(stat, if read { content } else { Content::Unread });
        match self.disk {
            Disk::Absent => Seen::Absent,
            Disk::OutOfScope => Seen::OutOfScope("junk".into()),
            Disk::AbsentOutOfScope => Seen::AbsentOutOfScope("junk".into()),
            Disk::File { content, touch } => present(stat(content, touch), Content::Read(hash(content))),
            Disk::TooLarge { touch } => present(stat(200, touch), Content::TooLarge),
            Disk::Unreadable { touch } => present(stat(3, touch), Content::Unreadable("denied".into())),
        }
    }

    fn look(&mut self, read: bool) -> Result<Step> {
        let before = self.world.attachments(FILE)?;
        let seen = self.seen(read);
        let step = self.world.look(FILE, &seen, !self.keep)?;
        self.due = step == Step::DeleteDue;
        let after = self.world.attachments(FILE)?;
        for a in &before {
            let now = self.world.attachment(a.id)?;
            assert!(
                a.stage != Stage::Approved || now.stage == Stage::Approved,
                "invariant 2: a look alone deletes nothing that agents can see"
            );
        }
        if matches!(seen, Seen::OutOfScope(_)) {
            // Only what waited for a next try, of which Connect knows nothing for certain, is given up.
            let known = |of: &[Attachment]| -> Vec<Attachment> {
                let waiting = |a: &&Attachment| before.iter().any(|b| b.id == a.id && b.stage == Stage::Planned);
                of.iter().filter(|a| !waiting(a)).cloned().collect()
            };
            assert_eq!(known(&after), known(&before), "invariant 5");
        }
        Ok(step)
    }

    /// Looks, and reads when that is asked for; then nothing more is to be done (invariant 13).
    fn settle(&mut self) -> Result<Step> {
        let mut step = self.look(false)?;
        if matches!(step, Step::Settle { .. }) {
            step = self.look(true)?;
        }
        let rest = (self.world.row(FILE)?, self.world.attachments(FILE)?);
        let again = self.look(false)?;
        assert!(
            matches!(again, Step::Nothing | Step::Settle { mark: false, .. } | Step::DeleteDue),
            "invariant 13: {step:?}, then {again:?}"
        );
        assert_eq!((self.world.row(FILE)?, self.world.attachments(FILE)?), rest, "invariant 13");
        if let (Seen::Present(stat, _), Some(row)) = (self.seen(false), &rest.0) {
            assert!(!row.is_at_rest(&stat) || again == Step::Nothing);
        }
        Ok(step)
    }

    fn picked(&self, which: usize) -> Result<Option<Attachment>> {
        Ok(self.world.attachments(FILE)?.into_iter().rev().nth(which))
    }

    fn answer(&mut self, a: &Attachment, answer: Answer) -> Result<()> {
        let (tx, now, id) = (self.world.tx, self.world.now(), a.id);
        match (a.stage, answer) {
            (Stage::Planned, Answer::Done) if a.start_open => self.world.started(id).map(drop),
            (Stage::Abandoned, Answer::Done) if a.unsure_since.is_some() => {
                assert_eq!(self.world.started(id)?, Course::Superseded);
                assert_eq!(self.world.stage(id)?, Stage::Deleting);
                Ok(())
            }
            (Stage::Planned, Answer::Fail(next, certain)) if a.start_open => {
                start_failed(tx, id, &failure(next, certain), 0.5, now)
            }
            (Stage::Started, Answer::Done) => stored(tx, id, None, now).map(drop),
            (Stage::Stored, Answer::Done) => completed(tx, id, None, now).map(drop),
            (Stage::Stored, Answer::Fail(next, certain)) => try_again(tx, id, &failure(next, certain), 0.5, now),
            (Stage::Started | Stage::Stored | Stage::Completed, Answer::GiveUp(counts)) => {
                give_up(tx, id, "given up", counts.then_some(ParkCode::Failed), None, 0.5, now)
            }
            (Stage::Stored | Stage::Completed, Answer::Approved) => approved(tx, id, now),
            (Stage::Stored | Stage::Completed, Answer::Rejected) => rejected(tx, id, now),
            (Stage::Stored | Stage::Completed, Answer::Failed) => failed(tx, id, now),
            (Stage::Stored | Stage::Completed, Answer::Vanished) => vanished(tx, id, now),
            (Stage::Deleting, Answer::Done) => self.world.deleted(id),
            (Stage::Deleting, Answer::Fail(next, certain)) => delete_failed(tx, id, &failure(next, certain), 0.5, now),
            // An answer to a question that is no longer open changes nothing of its stage.
            (stage, Answer::Approved | Answer::Rejected | Answer::Failed | Answer::Vanished) => {
                match answer {
                    Answer::Approved => approved(tx, id, now)?,
                    Answer::Rejected => rejected(tx, id, now)?,
                    Answer::Failed => failed(tx, id, now)?,
                    _ => vanished(tx, id, now)?,
                }
                assert_eq!(self.world.stage(id)?, stage);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn happen(&mut self, event: &Event) -> Result<()> {
        let (world, touch) = (self.world, self.world.now.get());
        world.pass(1);
        let due = std::mem::take(&mut self.due);
        match event {
            Event::Write(content) => self.disk = Disk::File { content: *content, touch },
            Event::Touch => {
                if let Disk::File { content, .. } = self.disk {
                    self.disk = Disk::File { content, touch };
                }
            }
            Event::Remove => self.disk = Disk::Absent,
            Event::Leave(true) => self.disk = Disk::OutOfScope,
            Event::Leave(false) => self.disk = Disk::AbsentOutOfScope,
            Event::Look => self.look(false).map(drop)?,
            Event::TooLarge => self.disk = Disk::TooLarge { touch },
            Event::Unreadable => self.disk = Disk::Unreadable { touch },
            Event::Read => self.settle().map(drop)?,
            Event::Begin => self.begin()?,
            Event::Bring => {
                self.settle()?;
                self.begin()?;
            }
            Event::Answer(which, answer) => {
                if let Some(a) = self.picked(*which)? {
                    self.answer(&a, *answer)?;
                }
            }
            Event::Wait(ms) => world.pass(*ms),
            Event::Keep(keep) => self.keep = *keep,
            Event::Delete if due => delete(world.tx, world.mirror, &rel(FILE), "a listing", world.now())?,
            Event::Delete => {}
            Event::Retry => retry(world.tx, world.mirror, &rel(FILE), world.now()).map(drop)?,
            Event::Restart => recover(world.tx, world.now()).map(drop)?,
            Event::Sweep(which, twin) => {
                // As delivery does: never while the attempt may still get an answer of its own.
                let unsure = self.picked(*which)?.filter(|a| a.unsure_since.is_some() && a.stage != Stage::Planned);
                if let Some(a) = unsure {
                    self.found += 1;
                    let other = crate::types::FileId::new(format!("twin-{}-{}", a.id.0, self.found)).unwrap();
                    let found = if *twin { other } else { world.file_id(a.id) };
                    sweep_found(world.tx, a.id, &found, world.now())?;
                    assert_eq!(world.stage(a.id)? == a.stage, a.stage != Stage::Abandoned || a.file_id.is_some());
                    swept(world.tx, a.id, world.now())?;
                }
            }
        }
        self.check()
    }

    fn begin(&mut self) -> Result<()> {
        let Some(row) = self.world.row(FILE)? else { return Ok(()) };
        let Disk::File { content, touch } = self.disk else { return Ok(()) };
        match self.world.begin(FILE, &stat(content, touch))? {
            Begun::Attempt(a) => {
                assert_eq!((a.version, a.start_open), (self.world.version(content), true), "invariant 7");
                assert!(content > 0, "an empty file is never sent");
            }
            Begun::Changed => look_again(self.world.tx, self.world.mirror, &rel(FILE), self.world.now())?,
            Begun::NotNow => {
                let due = row.verdict == Verdict::Queued && row.next_attempt.is_none_or(|at| at <= self.world.now());
                let busy = self.world.attachments(FILE)?.iter().any(|a| a.stage.is_under_way());
                assert!(!due || busy || row.absent_since.is_some());
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let all = self.world.attachments(FILE)?;
        assert!(all.iter().filter(|a| a.stage.is_under_way()).count() <= 1, "two attempts at one path: {all:?}");
        let Some(row) = self.world.row(FILE)? else { return Ok(()) };
        let approved = all.iter().filter(|a| a.stage == Stage::Approved);
        assert!(approved.clone().count() <= 1, "invariant 8: {all:?}");
        if row.verdict == Verdict::Attached {
            let kept = row.absent_since.is_some();
            assert!(
                approved.clone().any(|a| kept || Some(a.version) == row.version()),
                "invariant 11: {row:?} {all:?}"
            );
        }
        for a in all.iter().filter(|a| a.reason.as_deref() == Some(crate::core::plan::ABSENT)) {
            assert!(matches!(a.stage, Stage::Deleting | Stage::Deleted));
        }
        Ok(())
    }

    /// The trouble ends: everything asked is answered well, and what is due is done. Then invariant 12.
    fn end(&mut self) -> Result<()> {
        for round in 0.. {
            assert!(round < 40, "no end: {:?}", self.world.attachments(FILE)?);
            let before = (self.world.row(FILE)?, self.world.attachments(FILE)?);
            self.world.pass(GRACE_MS + 600_000);
            if self.settle()? == Step::DeleteDue {
                delete(self.world.tx, self.world.mirror, &rel(FILE), "a listing", self.world.now())?;
            }
            self.begin()?;
            for a in self.world.attachments(FILE)? {
                if a.stage == Stage::Completed {
                    self.answer(&a, Answer::Approved)?;
                } else if a.stage != Stage::Abandoned && (a.stage != Stage::Planned || a.start_open) {
                    self.answer(&a, Answer::Done)?;
                }
            }
            self.check()?;
            if (self.world.row(FILE)?, self.world.attachments(FILE)?) == before {
                break;
            }
        }
        let all = self.world.attachments(FILE)?;
        assert!(!all.iter().any(|a| matches!(a.stage, Stage::Planned | Stage::Deleting)), "{all:?}");
        let row = self.world.row(FILE)?;
        let verdict = row.as_ref().map(|row| &row.verdict);
        match self.disk {
            Disk::File { content, .. } => match verdict {
                Some(Verdict::Attached) => {
                    assert_eq!(all.iter().filter(|a| a.stage == Stage::Approved).count(), 1);
                    assert_eq!(row.and_then(|row| row.version()), Some(self.world.version(content)));
                }
                verdict => assert!(matches!(verdict, Some(Verdict::Parked(_))), "invariant 12: {row:?} {all:?}"),
            },
            Disk::TooLarge { .. } => assert_eq!(verdict, Some(&Verdict::Parked(ParkCode::TooLarge))),
            Disk::Unreadable { .. } => {
                assert!(matches!(verdict, Some(Verdict::Parked(ParkCode::Unreadable) | Verdict::Attached)), "{row:?}")
            }
            Disk::OutOfScope => assert!(matches!(verdict, Some(Verdict::Ignored(_)))),
            Disk::Absent | Disk::AbsentOutOfScope => match verdict {
                None => assert!(!all.iter().any(|a| a.stage.is_under_way() || a.stage == Stage::Approved)),
                Some(Verdict::Ignored(_)) => {}
                Some(verdict) => assert!(self.keep && *verdict == Verdict::Attached, "{row:?} {all:?}"),
            },
        }
        Ok(())
    }
}

#[test]
fn invariants_12_and_13_any_course_of_events_comes_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&dir.path().join("journal.db")).unwrap();
    journal
        .write_blocking(|tx| {
            let cases = Cell::new(0);
            let courses = prop::collection::vec(any_event(), 1..40);
            let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(1_000) });
            let result = runner.run(&courses, |events| {
                // A mirror for each course, so that all share one transaction and no disk is waited for.
                cases.set(cases.get() + 1);
                let world = World::new(tx, &format!("m{}", cases.get())).unwrap();
                let mut walk = Walk { world: &world, disk: Disk::Absent, keep: false, due: false, found: 0 };
                for event in &events {
                    walk.happen(event).unwrap();
                }
                walk.end().unwrap();
                Ok(())
            });
            match result {
                Ok(()) => Ok(()),
                Err(TestError::Fail(why, events)) => panic!("{why}\n{events:#?}"),
                Err(other) => panic!("{other}"),
            }
        })
        .unwrap();
    journal.close();
}
