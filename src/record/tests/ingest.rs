//! Ingest mode: a file's life at its path ends, its attachment stays, and a later file there is another one.

use std::time::Duration;

use super::support::*;
use crate::core::handover::{AfterApproval, Policy};
use crate::core::model::{HandoverKind, HandoverState, Stage, Stat};
use crate::core::plan::{Content, Rules, Seen, Step};
use crate::record::*;

fn ingest() -> Rules {
    Rules { propagate_deletes: false, ingest: true, moves: true, delete_grace: Duration::from_secs(60) }
}

fn policy() -> Policy {
    Policy { after: AfterApproval::Archive, quarantine: true, settle: Duration::from_secs(1) }
}

fn at_path(w: &World<'_, '_>, path: &str, seen: &Seen) -> crate::record::Result<Step> {
    look(w.tx, w.mirror, &rel(path), seen, &route, ingest(), w.now())
}

/// Seen, quiet and read, as ingest mode sees it.
fn arrive(w: &World<'_, '_>, path: &str, stat: Stat, content: u8) -> crate::record::Result<Step> {
    at_path(w, path, &Seen::Present(stat, Content::Unread))?;
    at_path(w, path, &Seen::Present(stat, Content::Read(hash(content))))
}

fn begun(w: &World<'_, '_>, path: &str) -> crate::record::Result<Order> {
    let to = Some((b"/archive".to_vec(), rel(path)));
    let mut orders = begin_handover(w.tx, w.mirror, vec![Wanted { path: rel(path), to }], &policy(), w.now())?;
    assert_eq!(orders.len(), 1);
    Ok(orders.remove(0))
}

#[test]
fn a_scan_that_ends_after_its_file_was_replaced_by_another_touches_nothing_of_that() {
    on_journal(|w| {
        let old = w.bring("f", 3, Stage::Completed)?;
        assert_eq!(at_path(w, "f", &Seen::Absent)?, Step::Missing);
        let other = Stat { inode: 9, ..stat(3, 77) };
        assert!(matches!(at_path(w, "f", &Seen::Present(other, Content::Unread))?, Step::Arrive { .. }));
        approved(w.tx, old, w.now())?;
        assert_eq!((w.stage(old)?, w.verdict("f")?.as_str()), (Stage::Approved, "settling"));
        // With the very same bytes it is a delivery of its own.
        assert!(matches!(arrive(w, "f", other, 3)?, Step::Queue { .. }));
        let new = w.attempt("f")?.id;
        w.go(new, Stage::Approved)?;
        assert_eq!((w.stage(old)?, w.stage(new)?), (Stage::Approved, Stage::Approved), "nothing is replaced");
        Ok(())
    });
}

#[test]
fn what_goes_away_departs_after_its_grace_and_comes_back_before_it() {
    on_journal(|w| {
        let id = w.bring("f", 3, Stage::Approved)?;
        let there = w.row("f")?.unwrap().stat;
        assert_eq!(at_path(w, "f", &Seen::Absent)?, Step::Missing);
        w.pass(59_000);
        assert_eq!(at_path(w, "f", &Seen::Absent)?, Step::Nothing);
        assert!(matches!(at_path(w, "f", &Seen::Present(there, Content::Unread))?, Step::Refresh { .. }));
        assert_eq!(w.verdict("f")?, "attached");
        at_path(w, "f", &Seen::Absent)?;
        w.pass(60_000);
        assert_eq!(at_path(w, "f", &Seen::Absent)?, Step::Depart);
        assert_eq!((w.verdict("f")?.as_str(), w.stage(id)?), ("no row", Stage::Approved));
        assert!(w.kinds("f")?.contains(&"left"));
        Ok(())
    });
}

#[test]
fn while_a_hand_over_is_under_way_the_path_says_nothing() {
    on_journal(|w| {
        let id = w.bring("f", 3, Stage::Approved)?;
        let order = begun(w, "f")?;
        assert_eq!((order.handover.kind, order.attachment.map(|a| a.id)), (HandoverKind::Archive, Some(id)));
        let other = Stat { inode: 9, ..stat(4, 77) };
        for seen in [Seen::Absent, Seen::Present(other, Content::Unread), Seen::OutOfScope("x".into())] {
            assert_eq!(at_path(w, "f", &seen)?, Step::Nothing, "{seen:?}");
        }
        assert!(done(w.tx, order.handover.id, &[], None, w.now())?);
        assert_eq!(w.verdict("f")?, "no row");
        assert!(matches!(arrive(w, "f", other, 4)?, Step::Queue { .. }));
        // Told twice, as after a kill: nothing happens to the new file.
        assert!(!done(w.tx, order.handover.id, &[], None, w.now())?);
        assert_eq!(w.verdict("f")?, "queued");
        assert_eq!(w.tx.attachments_of(w.mirror, &rel("f"))?.len(), 0, "the proof is closed");
        assert_eq!(w.tx.attachments_ever(w.mirror, &rel("f"))?.len(), 1, "and kept");
        Ok(())
    });
}

#[test]
fn a_failed_hand_over_waits_and_is_taken_up_again_or_given_up_with_its_file() {
    on_journal(|w| {
        w.bring("f", 3, Stage::Approved)?;
        let id = begun(w, "f")?.handover.id;
        assert!(handover_failed(w.tx, id, "the disk is full", false, Duration::from_secs(9), w.now())?);
        assert!(w.row("f")?.unwrap().note.unwrap().contains("archive waits: the disk is full"));
        let again = begun(w, "f")?.handover;
        assert_eq!((again.id, again.tries, again.state), (id, 1, HandoverState::Moving));
        assert!(!handover_failed(w.tx, id, "the disk is full", false, Duration::from_secs(9), w.now())?, "no news");
        // The file changes: what waited is about another content.
        assert!(matches!(arrive(w, "f", stat(4, 99), 4)?, Step::Queue { .. }));
        let to = Some((b"/archive".to_vec(), rel("f")));
        let wanted = vec![Wanted { path: rel("f"), to }];
        assert_eq!(begin_handover(w.tx, w.mirror, wanted, &policy(), w.now())?.len(), 0);
        assert_eq!(w.tx.handover(id)?.unwrap().state, HandoverState::Cancelled);
        Ok(())
    });
}

#[test]
fn a_hand_over_that_waits_ends_with_its_file() {
    for moved in [false, true] {
        on_journal(move |w| {
            w.bring("f", 3, Stage::Approved)?;
            let there = w.row("f")?.unwrap().stat;
            let id = begun(w, "f")?.handover.id;
            handover_failed(w.tx, id, "the disk is full", false, Duration::from_secs(9), w.now())?;
            assert_eq!(at_path(w, "f", &Seen::Absent)?, Step::Missing);
            if moved {
                let step = at_path(w, "g", &Seen::Present(there, Content::Read(hash(3))))?;
                assert!(matches!(step, Step::Move { .. }), "{step:?}");
            } else {
                w.pass(60_000);
                assert_eq!(at_path(w, "f", &Seen::Absent)?, Step::Depart);
            }
            assert_eq!(w.tx.handover(id)?.unwrap().state, HandoverState::Cancelled, "moved: {moved}");
            Ok(())
        });
    }
}

#[test]
fn a_step_of_the_clock_puts_no_hand_over_off_whichever_clock_its_next_try_was_set_by() {
    const DAY: i64 = 86_400_000;
    for step in [DAY, -DAY] {
        on_journal(move |w| {
            let clock = |up_ms, wall_ms| crate::core::clock::Reading { boot: "a".into(), up_ms, wall_ms };
            let begin = w.now().0;
            keep_time(w.tx, Some(&clock(0, begin)))?;
            let wait = |path: &str, now: i64| {
                w.bring(path, 3, Stage::Approved)?;
                let id = begun(w, path)?.handover.id;
                handover_failed(w.tx, id, "busy", false, Duration::from_secs(9), at(now))?;
                Ok::<_, crate::journal::JournalError>(id)
            };
            // One by the old clock, one by the new before anybody noticed.
            let (old, new) = (wait("f", begin + 1_000)?, wait("g", begin + 1_500 + step)?);
            assert_eq!(keep_time(w.tx, Some(&clock(2_000, begin + 2_000 + step)))?, step);
            for id in [old, new] {
                let left = w.tx.handover(id)?.unwrap().next_attempt.unwrap().0 - (begin + 2_000 + step);
                assert!(left <= 9_000, "{left} ms to wait");
            }
            Ok(())
        });
    }
}

#[test]
fn what_was_asked_for_when_it_had_gone_already_is_told() {
    on_journal(|w| {
        w.bring("f", 3, Stage::Rejected)?;
        let id = begun(w, "f")?.handover.id;
        assert!(retry(w.tx, w.mirror, &rel("f"), w.now())?);
        // Delivery does not find it.
        look_again(w.tx, w.mirror, &rel("f"), w.now())?;
        done(w.tx, id, &[], None, w.now())?;
        let told = w.events("f")?.into_iter().find(|event| event.kind == EventKind::Quarantined).unwrap();
        assert!(told.detail["doubt"].as_str().unwrap().contains("tried or looked at again"), "{told:?}");
        assert_eq!(w.verdict("f")?, "no row", "and no other file has come");
        Ok(())
    });
}

#[test]
fn what_was_tried_again_while_it_went_to_quarantine_is_done_with() {
    on_journal(|w| {
        w.bring("f", 3, Stage::Rejected)?;
        let handover = begun(w, "f")?.handover.id;
        assert!(retry(w.tx, w.mirror, &rel("f"), w.now())?);
        // As by a version that did not wait.
        let unsure = w.attempt("f")?.id;
        recover(w.tx, w.now())?;
        assert!(done(w.tx, handover, &[], None, w.now())?);
        assert_eq!((w.verdict("f")?.as_str(), w.stage(unsure)?), ("no row", Stage::Abandoned));
        assert_eq!(w.tx.unsure(9)?.len(), 1, "the sweep goes on");
        Ok(())
    });
}

#[test]
fn what_certainly_did_not_leave_is_tried_at_once() {
    on_journal(|w| {
        w.bring("f", 3, Stage::Rejected)?;
        let id = begun(w, "f")?.handover.id;
        assert!(retry(w.tx, w.mirror, &rel("f"), w.now())?);
        assert!(put_off_leaving(w.tx, w.mirror, &rel("f"), w.now())?);
        handover_failed(w.tx, id, "an answer was lost", true, Duration::from_secs(9), w.now())?;
        assert!(w.row("f")?.unwrap().next_attempt > Some(w.now()));
        handover_failed(w.tx, id, "the disk is full", false, Duration::from_secs(9), w.now())?;
        let row = w.row("f")?.unwrap();
        assert_eq!((row.next_attempt, row.note), (Some(w.now()), None));
        assert!(!put_off_leaving(w.tx, w.mirror, &rel("f"), w.now())?);
        Ok(())
    });
}

#[test]
fn what_is_found_wrong_at_connect_goes_nowhere_and_that_it_had_gone_is_told() {
    on_journal(|w| {
        for path in ["f", "g"] {
            let id = w.bring(path, 3, Stage::Approved)?;
            let handover = (path == "g").then(|| begun(w, path)).transpose()?;
            let found = crate::core::model::ParkCode::MissingRemotely;
            w.tx.put_attachment(&Attachment { found: Some(found), ..w.attachment(id)? }, w.now())?;
            let Some(handover) = handover else {
                assert_eq!(is_due(w.tx, w.mirror, &rel(path), Some(&policy()), w.now())?, None);
                continue;
            };
            done(w.tx, handover.handover.id, &[], None, w.now())?;
            let told = w.events(path)?.into_iter().find(|event| event.kind == EventKind::Archived).unwrap();
            assert!(told.detail["doubt"].as_str().unwrap().contains("found wrong at Connect"), "{told:?}");
        }
        Ok(())
    });
}

#[test]
fn a_record_that_is_refused_after_its_file_was_replaced_by_another_is_cleaned_up() {
    on_journal(|w| {
        let old = w.bring("f", 3, Stage::Completed)?;
        assert_eq!(at_path(w, "f", &Seen::Absent)?, Step::Missing);
        let other = Stat { inode: 9, ..stat(3, 77) };
        assert!(matches!(at_path(w, "f", &Seen::Present(other, Content::Unread))?, Step::Arrive { .. }));
        rejected(w.tx, old, w.now())?;
        assert_eq!((w.stage(old)?, w.verdict("f")?.as_str()), (Stage::Deleting, "settling"));
        Ok(())
    });
}

/// Delivery asked for it again and again, for as long as its grace lasted.
#[test]
fn what_goes_while_its_next_content_is_queued_is_not_tried() {
    on_journal(|w| {
        w.bring("f", 3, Stage::Approved)?;
        arrive(w, "f", stat(4, 7), 4)?;
        assert_eq!(w.verdict("f")?, "queued");
        assert_eq!(at_path(w, "f", &Seen::Absent)?, Step::Missing);
        assert_eq!(w.verdict("f")?, "settling");
        assert_eq!(w.tx.queued(w.now(), 9, &|_, _| false)?, []);
        assert!(matches!(arrive(w, "f", stat(4, 7), 4)?, Step::Queue { .. }), "back, it goes on");
        // However it came to be queued and gone: it is looked at.
        let mut row = w.row("f")?.unwrap();
        row.absent_since = Some(w.now());
        w.tx.put_file(&row)?;
        assert!(matches!(w.begin("f", &row.stat)?, Begun::Changed));
        look_again(w.tx, w.mirror, &rel("f"), w.now())?;
        assert_eq!(w.tx.queued(w.now(), 9, &|_, _| false)?, []);
        Ok(())
    });
}

#[test]
fn what_stands_at_the_path_after_a_doubtful_hand_over_replaces_nothing_unless_it_is_the_file_itself() {
    for (remains, replaced) in [(Remains::Changed, true), (Remains::Doubtful, false), (Remains::Gone, false)] {
        on_journal(move |w| {
            let old = w.bring("f", 3, Stage::Approved)?;
            let there = w.row("f")?.unwrap().stat;
            cancelled(w.tx, begun(w, "f")?.handover.id, "why", remains, w.now())?;
            let step = arrive(w, "f", Stat { inode: 9, ..stat(4, 77) }, 4)?;
            assert!(matches!(step, Step::Queue { .. }), "{step:?}");
            let new = w.attempt("f")?.id;
            w.go(new, Stage::Approved)?;
            let left = if replaced { Stage::Deleting } else { Stage::Approved };
            assert_eq!((w.stage(old)?, w.stage(new)?), (left, Stage::Approved), "{remains:?}");

            // The file itself, on a disk that has another number by now.
            let id = w.bring("g", 3, Stage::Approved)?;
            let own = Stat { dev: there.dev + 1, ..w.row("g")?.unwrap().stat };
            cancelled(w.tx, begun(w, "g")?.handover.id, "why", remains, w.now())?;
            let step = arrive(w, "g", own, 3)?;
            assert!(matches!(step, Step::Refresh { .. }), "{remains:?}: {step:?}");
            assert_eq!((w.verdict("g")?.as_str(), w.stage(id)?), ("attached", Stage::Approved));
            assert_eq!(w.row("g")?.unwrap().absent_since, None);

            // Read again where its content may be another one, whatever its stat shows.
            w.bring("h", 3, Stage::Approved)?;
            let same = w.row("h")?.unwrap().stat;
            cancelled(w.tx, begun(w, "h")?.handover.id, "why", remains, w.now())?;
            let step = at_path(w, "h", &Seen::Present(same, Content::Unread))?;
            assert_eq!(matches!(step, Step::Settle { .. }), remains != Remains::Gone, "{remains:?}: {step:?}");

            // Tried again by hand while it goes to quarantine: the end of that tells what there is to try.
            let refused = w.bring("i", 3, Stage::Rejected)?;
            let handover = begun(w, "i")?.handover.id;
            assert!(retry(w.tx, w.mirror, &rel("i"), w.now())?);
            assert!(put_off_leaving(w.tx, w.mirror, &rel("i"), w.now())?);
            assert!(w.row("i")?.unwrap().next_attempt > Some(w.now()));
            cancelled(w.tx, handover, "why", remains, w.now())?;
            arrive(w, "i", Stat { inode: 9, ..self::stat(4, 78) }, 4)?;
            let new = w.attempt("i")?.id;
            w.go(new, Stage::Approved)?;
            assert_eq!((w.verdict("i")?.as_str(), w.stage(new)?), ("attached", Stage::Approved), "{remains:?}");
            assert!(!w.stage(refused)?.stands(), "{remains:?}");
            // Of what is only believed of it a person has asked Connect.
            w.bring("l", 3, Stage::Rejected)?;
            let mut row = w.row("l")?.unwrap();
            row.verdict = Verdict::Parked(crate::core::model::ParkCode::TypeNotAllowed);
            w.tx.put_file(&row)?;
            let handover = begun(w, "l")?.handover.id;
            assert!(retry(w.tx, w.mirror, &rel("l"), w.now())?);
            assert!(put_off_leaving(w.tx, w.mirror, &rel("l"), w.now())?);
            handover_failed(w.tx, handover, "why", true, Duration::ZERO, w.now())?;
            cancelled(w.tx, handover, "why", remains, w.now())?;
            if remains == Remains::Changed {
                let row = w.row("l")?.unwrap();
                assert_eq!((row.is_insisted_on(), row.next_attempt), (true, Some(w.now())));
            }

            // The same file still: what was asked for is done.
            w.bring("j", 3, Stage::Rejected)?;
            let (handover, stat) = (begun(w, "j")?.handover.id, w.row("j")?.unwrap().stat);
            assert!(retry(w.tx, w.mirror, &rel("j"), w.now())?);
            assert!(put_off_leaving(w.tx, w.mirror, &rel("j"), w.now())?);
            cancelled(w.tx, handover, "why", remains, w.now())?;
            assert!(!put_off_leaving(w.tx, w.mirror, &rel("j"), w.now())?);
            at_path(w, "j", &Seen::Present(stat, Content::Unread))?;
            at_path(w, "j", &Seen::Present(stat, Content::Read(hash(3))))?;
            let row = w.row("j")?.unwrap();
            assert_eq!((row.verdict, row.next_attempt), (Verdict::Queued, Some(w.now())), "{remains:?}");
            Ok(())
        });
    }
}
