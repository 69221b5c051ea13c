//! What a person or the policy keeps while its file is gone, and what a comparison with Connect finds beside it.

use super::super::*;
use super::support::*;
use crate::aws::Next;
use crate::core::compare::Class;
use crate::core::model::{Event, ParkCode};
use crate::core::plan::{Content, Seen, Step};
use crate::core::report;
use crate::journal::Difference;

#[test]
fn a_delete_is_called_back_until_it_is_sent_and_only_what_agents_saw() {
    on_journal(|w| {
        let id = w.bring("f", 1, Stage::Approved)?;
        assert_eq!(keep(w.tx, w.mirror, &rel("unknown"), w.now())?, Kept::NotWaiting);
        assert_eq!(keep(w.tx, w.mirror, &rel("f"), w.now())?, Kept::NotWaiting, "it is here");
        w.absent("f")?;
        w.pass(GRACE_MS);
        assert_eq!(w.absent("f")?, Step::DeleteDue);
        delete(w.tx, w.mirror, &rel("f"), "evidence", w.now())?;
        assert_eq!(w.stage(id)?, Stage::Deleting);
        assert_eq!(keep(w.tx, w.mirror, &rel("f"), w.now())?, Kept::Now);
        assert_eq!((w.stage(id)?, w.verdict("f")?.as_str()), (Stage::Approved, "attached"));
        assert_eq!(w.tx.deletes_since(w.mirror, at(0))?, 0, "it costs no budget");
        assert_eq!(sending_delete(w.tx, id, w.now())?, Sending::No);
        for _ in 0..2 {
            w.pass(GRACE_MS);
            assert_eq!(w.absent("f")?, Step::Nothing);
            assert_eq!(keep(w.tx, w.mirror, &rel("f"), w.now())?, Kept::Already);
        }
        // Back as it was, it is followed again; then a delete counts, and once sent it is sent.
        assert!(matches!(w.show("f", 1, 1_000_000)?, Step::Refresh { .. }));
        assert_eq!(w.attachment(id)?.reason, None);
        w.absent("f")?;
        w.pass(GRACE_MS);
        assert_eq!(w.absent("f")?, Step::DeleteDue);
        delete(w.tx, w.mirror, &rel("f"), "evidence", w.now())?;
        assert_eq!(sending_delete(w.tx, id, w.now())?, Sending::First);
        assert_eq!(sending_delete(w.tx, id, w.now())?, Sending::Again);
        assert_eq!(keep(w.tx, w.mirror, &rel("f"), w.now())?, Kept::Sent);
        assert_eq!(w.stage(id)?, Stage::Deleting);
        // What the scanner refused was never seen by agents: its clean-up is not called back.
        let refused = w.bring("g", 2, Stage::Rejected)?;
        let seen = w.bring("g", 3, Stage::Approved)?;
        w.absent("g")?;
        w.pass(GRACE_MS);
        delete(w.tx, w.mirror, &rel("g"), "evidence", w.now())?;
        assert_eq!(keep(w.tx, w.mirror, &rel("g"), w.now())?, Kept::Now);
        assert_eq!((w.stage(refused)?, w.stage(seen)?), (Stage::Deleting, Stage::Approved));
        Ok(())
    });
}

/// Attached under its old name still, it must not count as attached under the new one.
#[test]
fn what_is_kept_on_its_way_to_another_name_goes_on_there_when_it_is_back() {
    on_journal(|w| {
        let old = w.bring("f", 1, Stage::Approved)?;
        w.absent("f")?;
        assert!(matches!(w.show("g", 1, 5)?, Step::Move { same_target: false, .. }));
        let replace = w.attempt("g")?.id;
        recover(w.tx, w.now())?;
        w.absent("g")?;
        assert_eq!(keep(w.tx, w.mirror, &rel("g"), w.now())?, Kept::Now);
        assert_eq!((w.stage(old)?, w.stage(replace)?), (Stage::Approved, Stage::Abandoned));
        w.pass(GRACE_MS);
        assert_eq!((w.absent("g")?, w.verdict("g")?.as_str()), (Step::Nothing, "attached"));
        assert!(matches!(w.show("g", 1, 5)?, Step::Queue { .. }));
        let new = w.attempt("g")?;
        w.go(new.id, Stage::Approved)?;
        assert_eq!((w.stage(old)?, w.verdict("g")?.as_str()), (Stage::Deleting, "attached"));
        // The same where its delete was announced already.
        w.absent("g")?;
        assert!(matches!(w.show("h", 1, 5)?, Step::Move { same_target: false, .. }));
        w.absent("h")?;
        w.pass(GRACE_MS);
        delete(w.tx, w.mirror, &rel("h"), "evidence", w.now())?;
        assert_eq!(keep(w.tx, w.mirror, &rel("h"), w.now())?, Kept::Now);
        assert!(matches!(w.show("h", 1, 5)?, Step::Queue { .. }));
        Ok(())
    });
}

/// What a comparison finds of an approved attachment; `None`: all agree.
fn find(w: &World<'_, '_>, id: AttachmentId, wrong: Option<(Class, ParkCode)>) -> Result<()> {
    let attachment = w.attachment(id)?;
    let difference = |class| Difference {
        class,
        case: attachment.case.clone(),
        path: Some(attachment.path.clone()),
        attachment: Some(id),
        file_id: attachment.file_id.clone(),
        text: "as it should not be".to_owned(),
        detail: serde_json::Value::Null,
        found_at: w.now(),
    };
    let mut one = Compared { id, stage: Stage::Approved, finding: Ok(()), park: None };
    if let Some((class, code)) = wrong {
        (one.finding, one.park) = (Err(Some(difference(class))), Some(code));
    }
    compared(w.tx, w.mirror, &attachment.case, &[one], &[], w.now()).map(drop)
}

const MISSING: Option<(Class, ParkCode)> = Some((Class::Missing, ParkCode::MissingRemotely));
const ALTERED: Option<(Class, ParkCode)> = Some((Class::Altered, ParkCode::AlteredRemotely));

#[test]
fn a_finding_that_passes_does_not_put_a_moved_file_in_its_place() {
    on_journal(|w| {
        let old = w.bring("f", 1, Stage::Approved)?;
        w.absent("f")?;
        w.show("g", 1, 5)?;
        find(w, old, MISSING)?;
        assert!(!w.attachment(old)?.is_visible());
        find(w, old, None)?;
        assert!(w.attachment(old)?.is_visible());
        w.show("g", 1, 6)?;
        assert_eq!(w.verdict("g")?, "queued");
        // Nor where it was refused there.
        let replace = w.attempt("g")?;
        w.go(replace.id, Stage::Rejected)?;
        assert_eq!(w.verdict("g")?, "parked(rejected)");
        for wrong in [MISSING, Some((Class::Flipped, ParkCode::Rejected))] {
            find(w, old, wrong)?;
            assert_eq!(w.verdict("g")?, "parked(rejected)");
            find(w, old, None)?;
            assert_eq!(w.verdict("g")?, "parked(rejected)");
        }
        Ok(())
    });
}

#[test]
fn a_file_whose_attachment_is_there_again_is_attached_whatever_became_of_sending_it_anew() {
    on_journal(|w| {
        let id = w.bring("f", 1, Stage::Approved)?;
        find(w, id, MISSING)?;
        assert_eq!(w.verdict("f")?, "parked(missing-remotely)");
        retry(w.tx, w.mirror, &rel("f"), w.now())?;
        let again = w.attempt("f")?;
        start_failed(w.tx, again.id, &failure(Next::Park(ParkCode::CaseFull), true), 0.5, w.now())?;
        assert_eq!(w.verdict("f")?, "parked(case-full)");
        find(w, id, None)?;
        w.show("f", 1, 1_000_000)?;
        assert_eq!(w.verdict("f")?, "attached");
        Ok(())
    });
}

/// A newer content was on its way when the file went: it is neither to take the place of what is kept, nor to be deleted
/// with the file.
#[test]
fn what_is_kept_stays_whatever_was_on_its_way() {
    on_journal(|w| {
        for (n, stage) in (2_u8..).zip([Stage::Planned, Stage::Started, Stage::Stored, Stage::Completed]) {
            let path = stage.as_str();
            let old = w.bring(path, 1, Stage::Approved)?;
            let new = w.bring(path, n, stage)?;
            w.absent(path)?;
            assert_eq!(keep(w.tx, w.mirror, &rel(path), w.now())?, Kept::Now);
            if stage == Stage::Completed {
                approved(w.tx, new, w.now())?;
                assert_eq!((w.stage(old)?, w.stage(new)?), (Stage::Deleting, Stage::Approved));
            } else {
                assert_eq!(
                    (w.stage(old)?, w.attachment(new)?.stage.is_under_way()),
                    (Stage::Approved, false),
                    "{stage}"
                );
            }
            for _ in 0..2 {
                w.pass(GRACE_MS);
                assert!(matches!(w.absent(path)?, Step::Nothing | Step::Keep));
                assert_eq!(w.verdict(path)?, "attached", "{stage}");
            }
        }
        Ok(())
    });
}

/// A pass decides, weighs what is gone, and then announces: a person may be faster.
#[test]
fn what_is_kept_or_back_between_the_decision_and_the_announcement_stays() {
    on_journal(|w| {
        for (path, kept) in [("f", true), ("g", false)] {
            let id = w.bring(path, 1, Stage::Approved)?;
            w.absent(path)?;
            w.pass(GRACE_MS);
            assert_eq!(w.absent(path)?, Step::DeleteDue);
            if kept {
                assert_eq!(keep(w.tx, w.mirror, &rel(path), w.now())?, Kept::Now);
            } else {
                w.show(path, 1, 1_000_000)?;
            }
            delete(w.tx, w.mirror, &rel(path), "evidence", w.now())?;
            assert_eq!((w.stage(id)?, w.verdict(path)?.as_str()), (Stage::Approved, "attached"));
        }
        Ok(())
    });
}

#[test]
fn what_the_policy_keeps_is_kept_by_hand_too_where_a_person_says_so() {
    on_journal(|w| {
        w.bring("f", 1, Stage::Approved)?;
        assert_eq!(w.look("f", &Seen::Absent, false)?, Step::Keep);
        assert_eq!(keep(w.tx, w.mirror, &rel("f"), w.now())?, Kept::Already);
        w.pass(GRACE_MS);
        assert_eq!(w.absent("f")?, Step::Nothing, "the policy has changed");
        Ok(())
    });
}

#[test]
fn a_file_whose_last_content_was_never_read_can_be_kept() {
    on_journal(|w| {
        for announced in [false, true] {
            let path = if announced { "f" } else { "g" };
            let id = w.bring(path, 1, Stage::Approved)?;
            w.look(path, &Seen::Present(stat(9, 9), Content::TooLarge), true)?;
            w.absent(path)?;
            w.pass(GRACE_MS);
            if announced {
                delete(w.tx, w.mirror, &rel(path), "evidence", w.now())?;
            }
            assert_eq!(keep(w.tx, w.mirror, &rel(path), w.now())?, Kept::Now);
            assert_eq!((w.stage(id)?, w.verdict(path)?.as_str()), (Stage::Approved, "attached"));
            assert_eq!(w.row(path)?.unwrap().version(), Some(w.version(1)));
        }
        Ok(())
    });
}

#[test]
fn a_policy_that_keeps_calls_back_what_was_announced_and_is_not_sent() {
    on_journal(|w| {
        let gone = |path: &str, content| -> Result<AttachmentId> {
            let id = w.bring(path, content, Stage::Approved)?;
            w.absent(path)?;
            w.pass(GRACE_MS);
            delete(w.tx, w.mirror, &rel(path), "evidence", w.now())?;
            Ok(id)
        };
        let (waits, sent, back) = (gone("f", 1)?, gone("g", 2)?, gone("h", 3)?);
        assert_eq!(sending_delete(w.tx, sent, w.now())?, Sending::First);
        let anew = w.bring("h", 3, Stage::Approved)?;
        let late = w.bring("i", 4, Stage::Approved)?;
        let scanned = w.bring("i", 5, Stage::Stored)?;
        w.absent("i")?;
        w.pass(GRACE_MS);
        delete(w.tx, w.mirror, &rel("i"), "evidence", w.now())?;
        completed(w.tx, scanned, None, w.now())?;
        let grace = w.bring("j", 6, Stage::Approved)?;
        w.absent("j")?;
        let called_back = |w: &World<'_, '_>| -> Result<Vec<Option<AttachmentId>>> {
            let waits = |path| recallable(w.tx, &w.tx.attachments_of(w.mirror, &rel(path))?).map(|a| a.map(|a| a.id));
            ["f", "g", "h", "i"].into_iter().map(waits).collect()
        };
        assert_eq!(called_back(w)?, [Some(waits), None, None, Some(late)], "what `casedrop plan` says");
        assert_eq!(keep_all(w.tx, w.mirror, false, w.now())?, 3);
        assert_eq!(called_back(w)?, [None; 4]);
        for (path, told) in [("f", true), ("g", false), ("i", true), ("j", false)] {
            let events = w.events(path)?;
            let of = |event: &Event| event.kind == EventKind::Kept && event.attachment.is_some();
            assert_eq!(events.iter().any(of), told, "{path}: {events:?}");
        }
        assert_eq!((w.stage(late)?, w.stage(grace)?), (Stage::Approved, Stage::Approved));
        for (path, verdict) in [("f", "attached"), ("i", "scanning"), ("j", "attached")] {
            assert_eq!((w.look(path, &Seen::Absent, false)?, w.verdict(path)?.as_str()), (Step::Nothing, verdict));
        }
        assert!(matches!(w.absent("f")?, Step::BeginGrace { .. }), "a policy that deletes begins anew");
        for (id, stage) in
            [(waits, Stage::Approved), (sent, Stage::Deleting), (back, Stage::Deleting), (anew, Stage::Approved)]
        {
            assert_eq!(w.stage(id)?, stage);
        }
        Ok(())
    });
}

/// Where files are delivered, nothing waits for the delete any more that a mirror had announced.
#[test]
fn a_mirror_that_only_delivers_calls_back_too() {
    on_journal(|w| {
        let id = w.bring("f", 1, Stage::Approved)?;
        w.absent("f")?;
        w.pass(GRACE_MS);
        delete(w.tx, w.mirror, &rel("f"), "evidence", w.now())?;
        assert_eq!(keep_all(w.tx, w.mirror, true, w.now())?, 1);
        assert_eq!((w.stage(id)?, w.verdict("f")?.as_str()), (Stage::Approved, "attached"));
        assert!(w.events("f")?.iter().any(|e| e.kind == EventKind::Kept && e.attachment == Some(id)));
        assert_eq!(keep_all(w.tx, w.mirror, true, w.now())?, 0);
        // One whose last content was never read.
        let id = w.bring("g", 2, Stage::Approved)?;
        w.absent("g")?;
        let mut row = w.row("g")?.unwrap();
        row.hash = None;
        w.tx.put_file(&row)?;
        assert_eq!(keep_all(w.tx, w.mirror, true, w.now())?, 1);
        assert_eq!((w.stage(id)?, w.verdict("g")?.as_str()), (Stage::Approved, "attached"));
        Ok(())
    });
}

/// Invariant 11: not what is missing there, refused or altered.
#[test]
fn what_is_gone_here_and_wrong_there_does_not_count_as_attached() {
    on_journal(|w| {
        for (path, first) in [("f", true), ("g", false)] {
            let id = w.bring(path, 1, Stage::Approved)?;
            if first {
                find(w, id, MISSING)?;
            }
            w.look(path, &Seen::Absent, false)?;
            if !first {
                assert_eq!(w.verdict(path)?, "attached");
                find(w, id, MISSING)?;
            }
            assert_eq!(w.verdict(path)?, "parked(missing-remotely)");
            assert_eq!(w.look(path, &Seen::Absent, false)?, Step::Nothing);
            find(w, id, None)?;
            assert_eq!((w.verdict(path)?.as_str(), w.look(path, &Seen::Absent, false)?), ("attached", Step::Nothing));
            // Gone on both sides, and a person says so.
            find(w, id, MISSING)?;
            let difference = w.tx.differences_on(w.mirror, &case())?.remove(0);
            assert!(repair(w.tx, w.mirror, &difference, w.now())?);
            assert_eq!((w.stage(id)?, w.verdict(path)?.as_str()), (Stage::Deleted, "no row"));
            assert_eq!(w.tx.deletes_since(w.mirror, at(0))?, 0, "it costs no budget");
            assert!(matches!(w.show(path, 1, 7)?, Step::Queue { .. }), "a new file");
        }
        // Also beside a refused record, which is cleaned up, and it was attached once.
        let refused = w.bring("h", 2, Stage::Rejected)?;
        let id = w.bring("h", 3, Stage::Approved)?;
        find(w, id, MISSING)?;
        w.look("h", &Seen::Absent, false)?;
        let difference = w.tx.differences_on(w.mirror, &case())?.remove(0);
        assert!(repair(w.tx, w.mirror, &difference, w.now())?);
        assert_eq!((w.stage(refused)?, w.verdict("h")?.as_str()), (Stage::Deleting, "no row"));
        assert_eq!(report::course(&w.events("h")?, |_| true).end, report::End::Deleted);
        Ok(())
    });
}

#[test]
fn what_is_gone_and_wrong_at_connect_is_kept_by_hand_too() {
    on_journal(|w| {
        let altered = w.bring("f", 1, Stage::Approved)?;
        w.look("f", &Seen::Absent, false)?;
        find(w, altered, ALTERED)?;
        for _ in 0..2 {
            assert_eq!(keep(w.tx, w.mirror, &rel("f"), w.now())?, Kept::Already);
        }
        w.pass(GRACE_MS);
        assert_eq!((w.absent("f")?, w.verdict("f")?.as_str()), (Step::Nothing, "parked(altered-remotely)"));
        assert!(w.tx.file(w.mirror, &rel("f"))?.is_some_and(|row| row.kept));
        // The scan has ended, and no pass has looked since.
        let scanned = w.bring("g", 2, Stage::Completed)?;
        w.look("g", &Seen::Absent, false)?;
        approved(w.tx, scanned, w.now())?;
        assert_eq!(w.verdict("g")?, "scanning");
        assert_eq!(keep(w.tx, w.mirror, &rel("g"), w.now())?, Kept::Already);
        assert_eq!((w.absent("g")?, w.verdict("g")?.as_str()), (Step::Keep, "attached"));
        assert!(w.tx.file(w.mirror, &rel("g"))?.is_some_and(|row| row.kept));
        Ok(())
    });
}

/// A delete was announced while a newer content was on its way, which may be refused yet.
#[test]
fn what_was_visible_is_called_back_beside_what_is_being_scanned() {
    on_journal(|w| {
        let old = w.bring("f", 1, Stage::Approved)?;
        let new = w.bring("f", 2, Stage::Stored)?;
        w.absent("f")?;
        w.pass(GRACE_MS);
        delete(w.tx, w.mirror, &rel("f"), "evidence", w.now())?;
        completed(w.tx, new, None, w.now())?;
        assert_eq!(keep(w.tx, w.mirror, &rel("f"), w.now())?, Kept::Now);
        assert_eq!((w.stage(old)?, w.verdict("f")?.as_str()), (Stage::Approved, "scanning"));
        rejected(w.tx, new, w.now())?;
        assert_eq!(w.absent("f")?, Step::Keep);
        assert_eq!((w.stage(old)?, w.verdict("f")?.as_str()), (Stage::Approved, "attached"));
        Ok(())
    });
}

/// Connect may refuse a delete for a day.
#[test]
fn a_file_that_comes_and_goes_while_an_old_record_is_cleaned_up_is_forgotten_again() {
    on_journal(|w| {
        let first = w.bring("f", 1, Stage::Rejected)?;
        assert_eq!(w.absent("f")?, Step::Forget);
        let second = w.bring("f", 2, Stage::Rejected)?;
        assert_eq!((w.stage(first)?, w.absent("f")?), (Stage::Deleting, Step::Forget));
        assert_eq!((w.stage(second)?, w.verdict("f")?.as_str()), (Stage::Deleting, "no row"));
        Ok(())
    });
}

#[test]
fn a_finding_ends_no_keep_and_a_keep_no_finding() {
    on_journal(|w| {
        let id = w.bring("f", 1, Stage::Approved)?;
        w.absent("f")?;
        assert_eq!(keep(w.tx, w.mirror, &rel("f"), w.now())?, Kept::Now);
        for wrong in [ALTERED, None] {
            find(w, id, wrong)?;
            w.pass(GRACE_MS);
            assert_eq!(w.absent("f")?, Step::Nothing);
        }
        find(w, id, ALTERED)?;
        w.show("f", 1, 1_000_000)?;
        assert_eq!(w.verdict("f")?, "parked(altered-remotely)");
        // Nor does an announced delete.
        w.absent("f")?;
        w.pass(GRACE_MS);
        delete(w.tx, w.mirror, &rel("f"), "evidence", w.now())?;
        assert_eq!(keep(w.tx, w.mirror, &rel("f"), w.now())?, Kept::Now);
        w.show("f", 1, 1_000_001)?;
        assert_eq!(w.verdict("f")?, "parked(altered-remotely)");
        // What is not there cannot be kept.
        let id = w.bring("g", 2, Stage::Approved)?;
        find(w, id, MISSING)?;
        w.absent("g")?;
        assert_eq!(keep(w.tx, w.mirror, &rel("g"), w.now())?, Kept::NotThere);
        assert_eq!(w.verdict("g")?, "parked(missing-remotely)");
        assert!(!retry(w.tx, w.mirror, &rel("g"), w.now())?, "there is nothing to try");
        w.pass(GRACE_MS);
        assert_eq!(w.absent("g")?, Step::Nothing, "the finding may be old");
        w.show("g", 2, 1_000_000)?;
        assert_eq!(w.verdict("g")?, "parked(missing-remotely)");
        Ok(())
    });
}

#[test]
fn a_delete_of_an_earlier_life_is_not_called_back_nor_that_of_what_agents_never_saw() {
    on_journal(|w| {
        let gone = |path: &str| -> Result<()> {
            w.absent(path)?;
            w.pass(GRACE_MS);
            delete(w.tx, w.mirror, &rel(path), "evidence", w.now())
        };
        let old = w.bring("f", 1, Stage::Approved)?;
        gone("f")?;
        let new = w.bring("f", 1, Stage::Approved)?;
        w.absent("f")?;
        assert_eq!(keep(w.tx, w.mirror, &rel("f"), w.now())?, Kept::Now);
        assert_eq!((w.stage(old)?, w.stage(new)?), (Stage::Deleting, Stage::Approved), "one of them");
        w.show("f", 1, 1_000_000)?;
        gone("f")?;
        assert_eq!(keep(w.tx, w.mirror, &rel("f"), w.now())?, Kept::Now);
        assert_eq!((w.stage(old)?, w.stage(new)?), (Stage::Deleting, Stage::Approved), "the last one");
        w.show("f", 1, 1_000_001)?;
        find(w, new, MISSING)?;
        w.absent("f")?;
        w.pass(GRACE_MS);
        delete(w.tx, w.mirror, &rel("f"), "evidence", w.now())?;
        assert_eq!((w.stage(old)?, w.stage(new)?), (Stage::Deleting, Stage::Deleting));
        assert_eq!(keep(w.tx, w.mirror, &rel("f"), w.now())?, Kept::NotThere);
        assert_eq!((w.stage(old)?, w.stage(new)?), (Stage::Deleting, Stage::Approved));
        w.show("f", 1, 1_000_002)?;
        w.absent("f")?;
        w.pass(GRACE_MS);
        delete(w.tx, w.mirror, &rel("f"), "evidence", w.now())?;
        // Once the last one is gone, none before it comes back.
        assert_eq!(sending_delete(w.tx, new, w.now())?, Sending::First);
        w.deleted(new)?;
        assert_eq!(keep(w.tx, w.mirror, &rel("f"), w.now())?, Kept::Sent);
        assert_eq!(w.stage(old)?, Stage::Deleting);
        // Taken over as it was, refused: no event of this journal tells.
        let refused = w.bring("g", 2, Stage::Completed)?;
        let mut row = w.attachment(refused)?;
        (row.stage, row.reason) = (Stage::Rejected, Some("rejected".to_owned()));
        w.tx.put_attachment(&row, w.now())?;
        let seen = w.bring("g", 3, Stage::Approved)?;
        gone("g")?;
        assert_eq!(keep(w.tx, w.mirror, &rel("g"), w.now())?, Kept::Now);
        assert_eq!((w.stage(refused)?, w.stage(seen)?), (Stage::Deleting, Stage::Approved));
        Ok(())
    });
}

#[test]
fn what_is_kept_while_it_is_scanned_stays_when_the_scan_ends() {
    on_journal(|w| {
        let id = w.bring("f", 1, Stage::Completed)?;
        w.absent("f")?;
        assert_eq!(keep(w.tx, w.mirror, &rel("f"), w.now())?, Kept::Now);
        assert_eq!(w.verdict("f")?, "scanning");
        approved(w.tx, id, w.now())?;
        w.pass(GRACE_MS);
        assert_eq!(w.absent("f")?, Step::Keep);
        w.pass(GRACE_MS);
        assert_eq!((w.absent("f")?, w.verdict("f")?.as_str()), (Step::Nothing, "attached"));
        Ok(())
    });
}
