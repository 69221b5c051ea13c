//! The stage machine as the tables hold it.

use super::super::{JournalError, NewAttachment};
use super::support::*;
use crate::core::model::{Attachment, AttachmentId, Stage, Version};

/// The way to each stage through legal steps.
fn way(to: Stage) -> &'static [Stage] {
    use Stage::{Abandoned, Approved, Completed, Deleted, Deleting, Failed, Planned, Rejected, Started, Stored};
    match to {
        Planned => &[],
        Started => &[Started],
        Stored => &[Started, Stored],
        Completed => &[Started, Stored, Completed],
        Approved => &[Started, Stored, Completed, Approved],
        Rejected => &[Started, Stored, Completed, Rejected],
        Failed => &[Started, Stored, Completed, Failed],
        Abandoned => &[Started, Abandoned],
        Deleting => &[Started, Abandoned, Deleting],
        Deleted => &[Started, Abandoned, Deleting, Deleted],
    }
}

#[test]
fn invariant_17_only_legal_transitions_are_taken() {
    let dir = folder();
    let (journal, mirror) = with_mirror(&db(&dir));
    journal
        .write_blocking(move |tx| {
            let mut n = 0;
            for from in Stage::ALL {
                for to in Stage::ALL {
                    n += 1;
                    let id = plan(tx, mirror, "a", n)?;
                    for stage in way(*from) {
                        advance(tx, id, *stage, 2)?;
                    }
                    let before = tx.expect_attachment(id)?;
                    assert_eq!(before.stage, *from);
                    // Else the row itself could not be, whatever was before.
                    let mut next = before.clone();
                    next.stage = *to;
                    next.file_id = (*to != Stage::Planned).then(|| file_id(&format!("other-{n}")));
                    next.reason = Some("seen".into());
                    next.tries = 7;
                    let result = tx.put_attachment(&next, at(3));
                    let after = tx.expect_attachment(id)?;
                    if from == to || from.may_become(*to) {
                        assert_eq!(result, Ok(()), "{from} to {to}");
                        assert_eq!((after.stage, after.tries, after.file_id), (*to, 7, next.file_id));
                    } else {
                        assert_eq!(result, Err(JournalError::IllegalStage { id, found: *from, wanted: *to }));
                        assert_eq!(after, before, "{from} to {to} left a trace");
                    }
                }
            }
            let mut nobody = tx.expect_attachment(AttachmentId(1))?;
            nobody.id = AttachmentId(9999);
            assert!(matches!(tx.put_attachment(&nobody, at(1)), Err(JournalError::NotFound { .. })));
            assert!(matches!(tx.expect_attachment(nobody.id), Err(JournalError::NotFound { .. })));
            Ok(())
        })
        .unwrap();
    journal.close();
}

/// A list that is not made from `Stage::may_become`, so that a change of it is noticed.
#[test]
fn invariant_17_the_legal_transitions_are_these() {
    let mut legal = Vec::new();
    for from in Stage::ALL {
        let to: Vec<_> = Stage::ALL.iter().filter(|to| from.may_become(**to)).map(|to| to.as_str()).collect();
        legal.push(format!("{from}: {}", to.join(" ")));
    }
    assert_eq!(
        legal,
        [
            "planned: started abandoned",
            "started: stored abandoned",
            "stored: completed approved rejected failed abandoned",
            "completed: approved rejected failed abandoned",
            "approved: deleting deleted",
            "rejected: deleting deleted",
            "failed: deleting deleted",
            "abandoned: deleting deleted",
            "deleting: deleted",
            "deleted: ",
        ]
    );
}

#[test]
fn a_new_attachment_is_what_was_asked_for() {
    let dir = folder();
    let (journal, mirror) = with_mirror(&db(&dir));
    let new = NewAttachment {
        mirror,
        path: path("a"),
        case: case(),
        name: "a.pdf".into(),
        version: Version { size: u64::MAX >> 1, hash: hash(3) },
        attempt: 2,
        token: token("t"),
        start_open: true,
        extras: Default::default(),
    };
    let asked = new.clone();
    let row = journal.write_blocking(move |tx| tx.add_attachment(&new, at(4))).unwrap();
    assert_eq!(
        row,
        Attachment {
            id: row.id,
            mirror,
            path: asked.path,
            case: asked.case,
            name: asked.name,
            version: asked.version,
            attempt: 2,
            token: asked.token,
            file_id: None,
            stage: Stage::Planned,
            reason: None,
            start_open: true,
            unsure_since: None,
            tries: 0,
            next_attempt: None,
            last_error: None,
            last_request_id: None,
            created_at: at(4),
            started_at: None,
            stored_at: None,
            completed_at: None,
            ended_at: None,
            deleted_at: None,
            extras: Some(Default::default()),
            moved: false,
            found: None,
        }
    );
    assert_eq!(journal.reader().unwrap().attachment(row.id).unwrap(), Some(row), "told as it is kept");
    journal.close();
}

#[test]
fn a_put_writes_what_may_change_and_nothing_else() {
    let dir = folder();
    let (journal, mirror) = with_mirror(&db(&dir));
    journal
        .write_blocking(move |tx| {
            let id = plan(tx, mirror, "a", 1)?;
            let before = tx.expect_attachment(id)?;
            let written = Attachment {
                reason: Some("why".into()),
                start_open: true,
                unsure_since: Some(at(5)),
                tries: 4,
                next_attempt: Some(at(99)),
                last_error: Some("throttled".into()),
                last_request_id: Some("r0".into()),
                ..before.clone()
            };
            // What the attempt is of, and its times, are not the caller's to change.
            let asked = Attachment {
                path: path("b"),
                name: "b".into(),
                version: Version { size: 11, hash: hash(2) },
                attempt: 9,
                token: token("other"),
                created_at: at(77),
                started_at: Some(at(77)),
                ended_at: Some(at(77)),
                ..written.clone()
            };
            tx.put_attachment(&asked, at(50))?;
            assert_eq!(tx.expect_attachment(id)?, written);
            tx.put_attachment(&before, at(51))?;
            assert_eq!(tx.expect_attachment(id)?, before, "each of them can be taken back");
            Ok(())
        })
        .unwrap();
    journal.close();
}

#[test]
fn each_stage_sets_its_time_once() {
    let dir = folder();
    let (journal, mirror) = with_mirror(&db(&dir));
    let times = |a: &Attachment| [a.started_at, a.stored_at, a.completed_at, a.ended_at, a.deleted_at];
    let ms = |all: [i64; 5]| all.map(|t| (t > 0).then_some(at(t)));
    journal
        .write_blocking(move |tx| {
            let id = plan(tx, mirror, "a", 1)?;
            for (stage, ms_at, expected) in [
                (Stage::Planned, 5, [0, 0, 0, 0, 0]),
                (Stage::Started, 10, [10, 0, 0, 0, 0]),
                (Stage::Stored, 20, [10, 20, 0, 0, 0]),
                (Stage::Completed, 30, [10, 20, 30, 0, 0]),
                (Stage::Approved, 40, [10, 20, 30, 40, 0]),
                (Stage::Deleting, 50, [10, 20, 30, 40, 0]),
                (Stage::Deleted, 60, [10, 20, 30, 40, 60]),
            ] {
                advance(tx, id, stage, ms_at)?;
                assert_eq!(times(&tx.expect_attachment(id)?), ms(expected), "{stage}");
                // A later change within the stage moves no time.
                put(tx, id, ms_at + 5, |a| a.tries += 1)?;
                assert_eq!(times(&tx.expect_attachment(id)?), ms(expected), "{stage}, written again");
                assert_eq!(tx.tracked_count(mirror)?, u64::from(stage == Stage::Approved));
            }
            assert_eq!((tx.approved_since(at(40))?, tx.approved_since(at(41))?), ((1, 10), (0, 0)));
            assert_eq!((tx.deletes_since(mirror, at(50))?, tx.deletes_since(mirror, at(51))?), (1, 0));
            let end = tx.expect_attachment(id)?;
            assert_eq!((end.tries, end.reason.as_deref()), (7, Some("absent")));
            assert_eq!(tx.attachment_by_file_id(&end.file_id.unwrap())?.map(|a| a.id), Some(id));

            for (n, stage) in (2..).zip([Stage::Rejected, Stage::Failed, Stage::Abandoned]) {
                let id = plan(tx, mirror, "a", n)?;
                for stage in way(stage) {
                    advance(tx, id, *stage, 70)?;
                }
                let ended = tx.expect_attachment(id)?;
                assert_eq!((ended.ended_at, ended.deleted_at), (Some(at(70)), None), "{stage}");
            }
            // Approved before its complete call was answered: that it was complete is then known too.
            let id = plan(tx, mirror, "a", 9)?;
            for stage in [Stage::Started, Stage::Stored, Stage::Approved] {
                advance(tx, id, stage, 80)?;
            }
            assert_eq!(times(&tx.expect_attachment(id)?), ms([80, 80, 80, 80, 0]));
            Ok(())
        })
        .unwrap();
    journal.close();
}

#[test]
fn attachments_that_cannot_be_are_refused() {
    let dir = folder();
    let (journal, mirror) = with_mirror(&db(&dir));
    journal.write_blocking(move |tx| plan(tx, mirror, "a", 1)).unwrap();
    let same_token = journal.write_blocking(move |tx| plan(tx, mirror, "a", 1));
    assert!(matches!(same_token, Err(JournalError::Internal { .. })), "invariant 8: one token, one attempt");
    for sql in [
        "UPDATE attachment SET stage = 'nonsense'",
        "UPDATE attachment SET stage = 'started'",
        "UPDATE attachment SET stage = 'stored'",
        "UPDATE attachment SET stage = 'completed'",
        "UPDATE attachment SET stage = 'approved', ended_at = 1",
        "UPDATE attachment SET stage = 'abandoned', ended_at = 1",
        "UPDATE attachment SET stage = 'abandoned', reason = 'x'",
        "UPDATE attachment SET stage = 'deleted', ended_at = 1",
        "UPDATE attachment SET file_id = 'f'",
        "UPDATE attachment SET hash = x'00'",
        "UPDATE attachment SET token = ''",
        "UPDATE attachment SET case_arn = ''",
        "UPDATE attachment SET attempt = 0",
        "UPDATE attachment SET start_open = 2",
        "UPDATE attachment SET mirror = 99",
    ] {
        let result = journal.write_blocking(move |tx| tx.told(tx.conn.execute(sql, [])));
        assert!(matches!(result, Err(JournalError::Internal { .. })), "{sql}: {result:?}");
    }
    let twice = journal.write_blocking(move |tx| {
        let (one, two) = (plan(tx, mirror, "b", 1)?, plan(tx, mirror, "b", 2)?);
        for id in [one, two] {
            put(tx, id, 1, |a| {
                a.file_id = Some(file_id("same"));
                a.stage = Stage::Started;
            })?;
        }
        Ok(())
    });
    assert!(matches!(twice, Err(JournalError::Internal { .. })), "invariant 9: one FileId, one attempt");
    journal.close();
}

#[test]
fn starts_in_doubt_are_listed_and_clean_up_is_no_delete_of_the_user_s() {
    let dir = folder();
    let (journal, mirror) = with_mirror(&db(&dir));
    journal
        .write_blocking(move |tx| {
            let ids = [plan(tx, mirror, "a", 1)?, plan(tx, mirror, "b", 1)?, plan(tx, mirror, "c", 1)?];
            put(tx, ids[0], 2, |a| a.unsure_since = Some(at(100)))?;
            put(tx, ids[1], 2, |a| a.unsure_since = Some(at(5)))?;
            let unsure = |limit| Ok(tx.unsure(limit)?.iter().map(|a| (a.id, a.unsure_since)).collect::<Vec<_>>());
            assert_eq!(unsure(10)?, [(ids[1], Some(at(5))), (ids[0], Some(at(100)))]);
            assert_eq!(unsure(1)?, [(ids[1], Some(at(5)))]);
            put(tx, ids[1], 3, |a| a.unsure_since = None)?;
            assert_eq!(unsure(10)?, [(ids[0], Some(at(100)))]);
            advance(tx, ids[0], Stage::Abandoned, 4)?;
            put(tx, ids[0], 5, |a| {
                a.file_id = Some(file_id("found"));
                a.stage = Stage::Deleting;
                a.reason = Some("clean-up".into());
            })?;
            assert_eq!(tx.deletes_since(mirror, at(0))?, 0);
            Ok(())
        })
        .unwrap();
    journal.close();
}
