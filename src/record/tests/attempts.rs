//! Attempts that end before their scan, and starts whose answer is late, lost or a refusal.

use super::super::MOST_FAILED_ATTEMPTS;
use super::super::*;
use super::support::*;
use crate::aws::Next;
use crate::core::model::{AttachmentId, ParkCode, Stage};
use crate::core::plan::{Content, Seen, Step};
use crate::types::FileId;

#[test]
fn each_class_of_a_failed_start_has_its_end() {
    on_journal(|w| {
        let table = [
            (Next::Retry, "queued", Stage::Planned, 1),
            (Next::Renew, "queued", Stage::Planned, 1),
            (Next::Replan, "queued", Stage::Planned, 1),
            (Next::Gone, "queued", Stage::Planned, 1),
            (Next::Throttled, "queued", Stage::Planned, 0),
            (Next::Offline, "queued", Stage::Planned, 0),
            (Next::Credentials, "queued", Stage::Planned, 0),
            (Next::Conflict, "queued", Stage::Abandoned, 0),
            (Next::Park(ParkCode::CaseFull), "parked(case-full)", Stage::Abandoned, 0),
        ];
        for (n, (next, verdict, stage, tries)) in table.into_iter().enumerate() {
            for certain in [true, false] {
                let path = format!("f{n}{certain}");
                let id = w.bring(&path, 1, Stage::Planned)?;
                start_failed(w.tx, id, &failure(next, certain), 1.0, w.now())?;
                let a = w.attachment(id)?;
                assert_eq!((w.verdict(&path)?.as_str(), a.stage, a.tries), (verdict, stage, tries), "{next:?}");
                assert_eq!((a.start_open, a.unsure_since), (false, (!certain).then(|| w.now())), "{next:?}");
                assert_eq!(a.last_request_id.as_deref(), Some("r-failed"));
                let waits = w.row(&path)?.unwrap().next_attempt.is_some_and(|at| at > w.now());
                assert_eq!(waits, !matches!(next, Next::Offline | Next::Credentials | Next::Park(_)), "{next:?}");
            }
        }
        Ok(())
    });
}

#[test]
fn invariant_8_a_repeated_request_keeps_its_token_and_a_new_attempt_gets_its_own() {
    on_journal(|w| {
        w.show("f", 1, 1)?;
        let first = w.attempt("f")?;
        start_failed(w.tx, first.id, &failure(Next::Retry, false), 1.0, w.now())?;
        assert!(matches!(w.begin("f", &stat(1, 1))?, Begun::NotNow), "not before its time");
        w.pass(1_000);
        let again = w.attempt("f")?;
        assert_eq!((again.id, &again.token, again.attempt), (first.id, &first.token, 1));
        start_failed(w.tx, first.id, &failure(Next::Conflict, true), 0.0, w.now())?;
        w.pass(1_000);
        let second = w.attempt("f")?;
        assert!(second.token != first.token && second.attempt == 2);
        Ok(())
    });
}

#[test]
fn a_file_touched_while_its_next_try_waits_is_tried_again_with_the_same_token() {
    on_journal(|w| {
        let id = w.bring("f", 1, Stage::Planned)?;
        start_failed(w.tx, id, &failure(Next::Retry, true), 1.0, w.now())?;
        assert!(matches!(w.show("f", 1, 77)?, Step::Queue { .. }));
        assert_eq!(w.attempt("f")?.id, id);
        Ok(())
    });
}

#[test]
fn conflicts_park_after_a_few_attempts() {
    on_journal(|w| {
        w.show("f", 1, 1)?;
        for n in 1..=MOST_FAILED_ATTEMPTS {
            let a = w.attempt("f")?;
            assert_eq!(a.attempt, n);
            start_failed(w.tx, a.id, &failure(Next::Conflict, true), 1.0, w.now())?;
            w.pass(600_000);
        }
        assert_eq!(w.verdict("f")?, "parked(conflict)");
        Ok(())
    });
}

#[test]
fn what_changed_since_it_was_read_is_not_sent() {
    on_journal(|w| {
        w.show("f", 1, 1)?;
        assert!(matches!(w.begin("f", &stat(1, 2))?, Begun::Changed));
        look_again(w.tx, w.mirror, &rel("f"), w.now())?;
        assert_eq!((w.verdict("f")?.as_str(), w.attachments("f")?.len()), ("settling", 0));
        assert!(matches!(w.begin("f", &stat(1, 1))?, Begun::NotNow));
        assert!(matches!(w.begin("none", &stat(1, 1))?, Begun::NotNow));
        Ok(())
    });
}

#[test]
fn invariant_9_an_abandoned_attempt_is_cleaned_up_by_its_own_file_id() {
    on_journal(|w| {
        for stage in [Stage::Started, Stage::Stored] {
            let path = stage.as_str();
            let id = w.bring(path, 1, stage)?;
            assert!(matches!(w.show(path, 2, 9)?, Step::Queue { .. }));
            let a = w.attachment(id)?;
            assert_eq!((a.stage, a.file_id, a.next_attempt), (Stage::Deleting, Some(w.file_id(id)), Some(w.now())));
            assert_eq!((stored(w.tx, id, None, w.now())?, w.stage(id)?), (Course::Superseded, Stage::Deleting));
            assert_eq!(completed(w.tx, id, None, w.now())?, None);
        }
        // Nothing was sent yet for this one: nothing to clean up.
        let id = w.bring("planned", 1, Stage::Planned)?;
        start_failed(w.tx, id, &failure(Next::Retry, true), 1.0, w.now())?;
        w.show("planned", 2, 9)?;
        let a = w.attachment(id)?;
        assert_eq!((a.stage, a.file_id, a.unsure_since), (Stage::Abandoned, None, None));
        Ok(())
    });
}

#[test]
fn an_answer_to_an_attempt_that_was_given_up_is_kept_for_the_clean_up() {
    on_journal(|w| {
        let id = w.bring("f", 1, Stage::Planned)?;
        w.show("f", 2, 9)?;
        let open = w.attachment(id)?;
        assert_eq!((open.stage, open.unsure_since, open.start_open), (Stage::Abandoned, Some(w.now()), false));
        assert_eq!(w.started(id)?, Course::Superseded);
        let a = w.attachment(id)?;
        assert_eq!((a.stage, a.file_id), (Stage::Deleting, Some(w.file_id(id))));
        assert_eq!(w.verdict("f")?, "queued");
        Ok(())
    });
}

#[test]
fn invariant_8_what_is_attached_is_not_sent_again_when_the_file_changes_back() {
    on_journal(|w| {
        for stage in [Stage::Planned, Stage::Started, Stage::Stored, Stage::Completed] {
            let path = format!("{stage}");
            let attached = w.bring(&path, 1, Stage::Approved)?;
            w.pass(10);
            let open = w.bring(&path, 2, stage)?;
            w.pass(10);
            w.show(&path, 1, 9)?;
            if stage == Stage::Completed {
                // It is being scanned, and will take what is attached with it.
                assert_eq!((w.verdict(&path)?.as_str(), w.stage(open)?), ("scanning", stage));
                continue;
            }
            assert_eq!((w.verdict(&path)?.as_str(), w.stage(attached)?), ("attached", Stage::Approved), "{stage}");
            let given_up = if stage == Stage::Planned { Stage::Abandoned } else { Stage::Deleting };
            assert_eq!(w.stage(open)?, given_up, "{stage}");
            assert_eq!(w.show(&path, 1, 9)?, Step::Nothing, "{stage}");
        }
        Ok(())
    });
}

#[test]
fn a_file_id_that_another_row_has_ends_the_attempt_and_not_the_daemon() {
    on_journal(|w| {
        w.bring("other", 1, Stage::Started)?;
        let other = w.attachments("other")?.remove(0);
        for attempt in 1..=MOST_FAILED_ATTEMPTS {
            let id = w.bring("f", 2, Stage::Planned)?;
            let file = other.file_id.clone().unwrap();
            assert_eq!(started(w.tx, id, file, None, w.now())?, Course::Superseded);
            assert_eq!(w.attachment(other.id)?, other);
            let a = w.attachment(id)?;
            assert_eq!((a.stage, a.file_id, a.start_open, a.unsure_since), (Stage::Abandoned, None, false, None));
            // Sent again only after a look, and not for ever.
            let parked = attempt == MOST_FAILED_ATTEMPTS;
            assert_eq!(w.verdict("f")?, if parked { "parked(conflict)" } else { "settling" }, "attempt {attempt}");
        }
        Ok(())
    });
}

#[test]
fn a_sweep_may_be_faster_than_the_answer() {
    on_journal(|w| {
        for (path, same) in [("same", true), ("other", false)] {
            let id = w.bring(path, 1, Stage::Planned)?;
            w.show(path, 2, 9)?;
            let twin = FileId::new(format!("twin-{path}")).unwrap();
            let found = if same { w.file_id(id) } else { twin };
            sweep_found(w.tx, id, &found, w.now())?;
            w.deleted(id)?;
            assert_eq!((w.started(id)?, w.stage(id)?), (Course::Superseded, Stage::Deleted));
            let known = w.tx.attachment_by_file_id(&w.file_id(id))?.unwrap();
            assert_eq!(known.stage, if same { Stage::Deleted } else { Stage::Deleting }, "{path}");
        }
        Ok(())
    });
}

#[test]
fn a_sweep_deletes_what_the_journal_does_not_know_and_nothing_else() {
    on_journal(|w| {
        w.show("f", 1, 1)?;
        let id = w.attempt("f")?.id;
        start_failed(w.tx, id, &failure(Next::Retry, false), 0.0, w.now())?;
        w.pass(1_000);
        w.attempt("f")?;
        w.go(id, Stage::Approved)?;
        assert_eq!(w.tx.unsure(9)?.len(), 1, "the first call may have left something");
        sweep_found(w.tx, id, &w.file_id(id), w.now())?;
        assert_eq!((w.stage(id)?, w.attachments("f")?.len()), (Stage::Approved, 1));
        let twin = FileId::new("twin").unwrap();
        for _ in 0..2 {
            sweep_found(w.tx, id, &twin, w.now())?;
            let all = w.attachments("f")?;
            assert_eq!((all.len(), all[1].stage, all[1].file_id.as_ref()), (2, Stage::Deleting, Some(&twin)));
        }
        assert_eq!((w.stage(id)?, w.verdict("f")?.as_str()), (Stage::Approved, "attached"));
        swept(w.tx, id, w.now())?;
        assert_eq!(w.tx.unsure(9)?, []);
        Ok(())
    });
}

#[test]
fn giving_up_starts_anew_at_once_then_with_pauses_then_parks_if_it_counts() {
    on_journal(|w| {
        for counts in [Some(ParkCode::Failed), None] {
            let path = if counts.is_some() { "counts" } else { "not" };
            w.show(path, 1, 1)?;
            for n in 1..=MOST_FAILED_ATTEMPTS {
                let id = w.attempt(path)?.id;
                w.go(id, Stage::Completed)?;
                give_up(w.tx, id, "no end", counts, None, 1.0, w.now())?;
                assert_eq!(w.stage(id)?, Stage::Deleting);
                let last = n == MOST_FAILED_ATTEMPTS && counts.is_some();
                assert_eq!(w.verdict(path)?, if last { "parked(failed)" } else { "queued" });
                let next = w.row(path)?.unwrap().next_attempt;
                assert_eq!(next.is_some_and(|at| at > w.now()), n > 1 && !last);
                w.pass(600_000);
            }
        }
        Ok(())
    });
}

#[test]
fn a_failed_call_on_a_stored_attempt_is_journaled_with_its_next_try() {
    on_journal(|w| {
        let id = w.bring("f", 1, Stage::Stored)?;
        try_again(w.tx, id, &failure(Next::Retry, false), 1.0, w.now())?;
        let a = w.attachment(id)?;
        assert_eq!((a.stage, a.tries, a.next_attempt), (Stage::Stored, 1, Some(at(w.now.get() + 1_000))));
        try_again(w.tx, id, &failure(Next::Offline, true), 1.0, w.now())?;
        assert_eq!(w.attachment(id)?.tries, 1, "the weather uses up no try");
        Ok(())
    });
}

#[test]
fn what_nobody_takes_up_again_is_given_up_and_swept() {
    on_journal(|w| {
        type End<'a> = &'a dyn Fn(AttachmentId) -> Result<()>;
        let lost: End<'_> = &|id| start_failed(w.tx, id, &failure(Next::Retry, false), 1.0, w.now());
        let stopped: End<'_> = &|_| recover(w.tx, w.now()).map(drop);
        let leaves = |path: &str| w.look(path, &Seen::OutOfScope("junk".into()), false);
        let goes = |path: &str| w.look(path, &Seen::Absent, false);
        let unreadable = Seen::Present(stat(2, 1), Content::Unreadable("denied".into()));
        let shuts = |path: &str| w.look(path, &unreadable, false);
        type Look<'a> = &'a dyn Fn(&str) -> Result<Step>;
        let all: [(&str, Look<'_>, End<'_>, bool); 9] = [
            ("left, then lost", &leaves, lost, true),
            ("left, then stopped", &leaves, stopped, true),
            ("gone, then lost", &goes, lost, true),
            ("gone, then stopped", &goes, stopped, true),
            ("parked, then lost", &shuts, lost, true),
            ("parked, then stopped", &shuts, stopped, true),
            ("lost, then parked", &shuts, lost, false),
            ("lost, then left", &leaves, lost, false),
            ("lost, then gone", &goes, lost, false),
        ];
        for (path, look, end, look_first) in all {
            w.bring(path, 1, Stage::Approved)?;
            let id = w.bring(path, 2, Stage::Planned)?;
            if look_first {
                look(path)?;
                assert_eq!(w.stage(id)?, Stage::Planned, "what is in flight is let through");
                end(id)?;
            } else {
                end(id)?;
                look(path)?;
            }
            let a = w.attachment(id)?;
            assert_eq!((a.stage, a.start_open, a.unsure_since), (Stage::Abandoned, false, Some(w.now())), "{path}");
        }
        Ok(())
    });
}
