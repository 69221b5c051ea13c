//! Scans that end badly, and deletes that fail.

use super::super::MOST_FAILED_ATTEMPTS;
use super::super::*;
use super::support::*;
use crate::aws::Next;
use crate::core::model::ParkCode;
use crate::core::plan::Step;

#[test]
fn invariant_11_a_rejected_file_is_parked_and_touching_it_sends_nothing() {
    on_journal(|w| {
        let id = w.bring("f", 1, Stage::Rejected)?;
        let a = w.attachment(id)?;
        assert_eq!((a.stage, a.reason.as_deref()), (Stage::Rejected, Some("rejected")));
        assert_eq!(w.verdict("f")?, "parked(rejected)");
        assert!(matches!(w.show("f", 1, 9)?, Step::Refresh { verdict: Verdict::Parked(ParkCode::Rejected), .. }));
        let fixed = w.bring("f", 2, Stage::Approved)?;
        assert_eq!((w.stage(fixed)?, w.stage(id)?), (Stage::Approved, Stage::Deleting), "the refused one goes");
        Ok(())
    });
}

#[test]
fn a_refused_record_goes_with_its_file() {
    on_journal(|w| {
        let id = w.bring("f", 1, Stage::Rejected)?;
        assert_eq!(w.absent("f")?, Step::Forget);
        assert_eq!((w.verdict("f")?.as_str(), w.stage(id)?), ("no row", Stage::Deleting));
        w.deleted(id)?;
        assert_eq!(w.stage(id)?, Stage::Deleted);
        Ok(())
    });
}

#[test]
fn what_ended_badly_is_tried_three_times_with_gaps_then_parked() {
    on_journal(|w| {
        for (path, code) in [("failed", "parked(failed)"), ("vanished", "parked(vanished)")] {
            w.show(path, 1, 1)?;
            for (n, gap) in (1..=MOST_FAILED_ATTEMPTS).zip([Some(30_000), Some(300_000), None]) {
                let a = w.attempt(path)?;
                assert_eq!(a.attempt, n);
                w.go(a.id, Stage::Completed)?;
                if path == "failed" {
                    failed(w.tx, a.id, w.now())?
                } else {
                    vanished(w.tx, a.id, w.now())?
                }
                assert_eq!(w.stage(a.id)?, Stage::Deleting, "its remains are cleaned up");
                let next = w.row(path)?.unwrap().next_attempt;
                assert_eq!(next, gap.map(|gap| at(w.now.get() + gap)));
                assert_eq!(w.verdict(path)?, if gap.is_some() { "queued" } else { code });
                w.pass(gap.unwrap_or(0));
            }
            assert!(matches!(w.show(path, 1, 9)?, Step::Refresh { verdict: Verdict::Parked(_), .. }));
        }
        Ok(())
    });
}

type End = fn(&crate::journal::Tx<'_>, AttachmentId, UnixMillis) -> Result<()>;

#[test]
fn a_bad_end_of_old_content_queues_the_new() {
    on_journal(|w| {
        let ends: [(&str, End); 3] = [("rejected", rejected), ("failed", failed), ("vanished", vanished)];
        for (path, end) in ends {
            let id = w.bring(path, 1, Stage::Completed)?;
            w.show(path, 2, 9)?;
            end(w.tx, id, w.now())?;
            assert_eq!(w.verdict(path)?, "queued");
            assert_eq!(w.attempt(path)?.version, w.version(2));
        }
        let id = w.bring("given up", 1, Stage::Completed)?;
        w.show("given up", 2, 9)?;
        give_up(w.tx, id, "no", None, Some(&failure(Next::Park(ParkCode::AccessDenied), true)), 0.5, w.now())?;
        assert_eq!(w.verdict("given up")?, "queued");
        Ok(())
    });
}

#[test]
fn an_answer_that_comes_too_late_changes_nothing() {
    on_journal(|w| {
        let id = w.bring("f", 1, Stage::Approved)?;
        for stage in [Stage::Approved, Stage::Deleting, Stage::Deleted] {
            match stage {
                Stage::Deleting => {
                    w.bring("f", 2, Stage::Approved)?;
                }
                Stage::Deleted => w.deleted(id)?,
                _ => {}
            }
            let before = w.attachment(id)?;
            assert_eq!(before.stage, stage);
            approved(w.tx, id, w.now())?;
            rejected(w.tx, id, w.now())?;
            failed(w.tx, id, w.now())?;
            vanished(w.tx, id, w.now())?;
            give_up(w.tx, id, "late", None, None, 0.5, w.now())?;
            if stage != Stage::Deleting {
                w.deleted(id)?;
                delete_failed(w.tx, id, &failure(Next::Retry, false), 0.5, w.now())?;
            }
            assert_eq!(w.attachment(id)?, before);
        }
        Ok(())
    });
}

#[test]
fn a_failed_delete_stays_announced_and_is_tried_soon_then_daily() {
    on_journal(|w| {
        let day = 24 * 3_600_000;
        let table = [
            (Next::Retry, 1_000, 1),
            (Next::Park(ParkCode::Refused), 1_000, 1),
            (Next::Throttled, 1_000, 0),
            (Next::Park(ParkCode::AccessDenied), day, 1),
        ];
        for (n, (next, pause, tries)) in table.into_iter().enumerate() {
            let path = format!("f{n}");
            let id = w.bring(&path, 1, Stage::Stored)?;
            w.show(&path, 2, 9)?;
            delete_failed(w.tx, id, &failure(next, false), 1.0, w.now())?;
            let a = w.attachment(id)?;
            assert_eq!((a.stage, a.tries), (Stage::Deleting, tries), "{next:?}");
            assert_eq!(a.next_attempt, Some(at(w.now.get() + pause)), "{next:?}");
        }
        let id = w.bring("often", 1, Stage::Stored)?;
        w.show("often", 2, 9)?;
        for _ in 0..9 {
            delete_failed(w.tx, id, &failure(Next::Retry, false), 1.0, w.now())?;
        }
        assert_eq!(w.attachment(id)?.next_attempt, Some(at(w.now.get() + day)));
        Ok(())
    });
}

#[test]
fn a_doubt_from_before_the_clock_was_stepped_back_begins_anew() {
    on_journal(|w| {
        w.show("f", 1, 1)?;
        let id = w.attempt("f")?.id;
        start_failed(w.tx, id, &failure(Next::Conflict, false), 0.5, at(w.now.get() + 86_400_000))?;
        still_unsure(w.tx, id, w.now())?;
        assert_eq!(w.attachment(id)?.unsure_since, Some(w.now()));
        w.pass(10);
        still_unsure(w.tx, id, w.now())?;
        assert_eq!(w.attachment(id)?.unsure_since, Some(at(w.now.get() - 10)), "a doubt of before stays");
        Ok(())
    });
}
