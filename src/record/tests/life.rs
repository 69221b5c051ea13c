//! Lives without trouble: attach, replace, move, delete, return.

use super::super::*;
use super::support::*;
use crate::aws::Next;
use crate::core::model::{ParkCode, Stat};
use crate::core::plan::{ABSENT, Content, REPLACED, Seen, Step};
use crate::core::routing::{Unrouted, UnroutedReason};

#[test]
fn from_a_file_to_what_agents_see() {
    on_journal(|w| {
        assert_eq!(w.verdict("f")?, "no row");
        w.look("f", &Seen::Present(stat(1, 1), Content::Unread), true)?;
        assert_eq!(w.verdict("f")?, "settling");
        w.show("f", 1, 1)?;
        assert_eq!(w.verdict("f")?, "queued");
        let planned = w.attempt("f")?;
        assert_eq!((planned.stage, planned.start_open, planned.attempt), (Stage::Planned, true, 1));
        assert_eq!((planned.version, planned.name.as_str(), planned.case.clone()), (w.version(1), "f", case()));
        let id = planned.id;
        for (to, verdict) in [(Stage::Started, "uploading"), (Stage::Stored, "uploading")] {
            w.pass(10);
            if to == Stage::Started {
                w.started(id)?
            } else {
                stored(w.tx, id, None, w.now())?
            };
            assert_eq!((w.stage(id)?, w.verdict("f")?.as_str()), (to, verdict));
        }
        w.pass(10);
        let watched = completed(w.tx, id, Some("r-complete".into()), w.now())?.unwrap();
        assert_eq!((watched.stage, watched.completed_at), (Stage::Completed, Some(w.now())));
        assert_eq!(w.verdict("f")?, "scanning");
        waiting(w.tx, id, "takes long")?;
        assert_eq!(w.row("f")?.unwrap().note.as_deref(), Some("takes long"));
        approved(w.tx, id, w.now())?;
        let (row, a) = (w.row("f")?.unwrap(), w.attachment(id)?);
        assert_eq!((row.verdict, row.note, row.attempt, row.next_attempt), (Verdict::Attached, None, 0, None));
        assert_eq!((a.stage, a.start_open, a.file_id), (Stage::Approved, false, Some(w.file_id(id))));
        assert_eq!(w.kinds("f")?, ["seen", "queued", "started", "stored", "completed", "attached"]);
        assert_eq!(w.show("f", 1, 1)?, Step::Nothing);
        Ok(())
    });
}

#[test]
fn a_replaced_version_goes_only_when_the_new_one_is_visible() {
    on_journal(|w| {
        let old = w.bring("f", 1, Stage::Approved)?;
        let new = w.bring("f", 2, Stage::Planned)?;
        for stage in [Stage::Started, Stage::Stored, Stage::Completed] {
            match stage {
                Stage::Started => drop(w.started(new)?),
                Stage::Stored => drop(stored(w.tx, new, None, w.now())?),
                _ => drop(completed(w.tx, new, None, w.now())?),
            }
            assert_eq!((w.stage(new)?, w.stage(old)?), (stage, Stage::Approved));
        }
        approved(w.tx, new, w.now())?;
        let gone = w.attachment(old)?;
        assert_eq!((gone.stage, gone.reason.as_deref()), (Stage::Deleting, Some(REPLACED)));
        assert_eq!(w.tx.deletes_since(w.mirror, at(0))?, 0, "a replacement uses up no delete budget");
        w.deleted(old)?;
        assert_eq!(
            (w.stage(old)?, w.stage(new)?, w.verdict("f")?.as_str()),
            (Stage::Deleted, Stage::Approved, "attached")
        );
        Ok(())
    });
}

#[test]
fn a_change_during_the_scan_waits_for_its_end() {
    on_journal(|w| {
        let first = w.bring("f", 1, Stage::Completed)?;
        assert!(matches!(w.show("f", 2, 9)?, Step::Refresh { verdict: Verdict::Scanning, .. }));
        approved(w.tx, first, w.now())?;
        assert_eq!(w.verdict("f")?, "queued");
        let second = w.attempt("f")?;
        assert_eq!((second.version, second.attempt), (w.version(2), 1));
        Ok(())
    });
}

#[test]
fn a_parked_change_during_the_scan_stays_parked() {
    on_journal(|w| {
        for (path, content) in [("empty", Content::Read(hash(0))), ("large", Content::TooLarge)] {
            let id = w.bring(path, 1, Stage::Completed)?;
            let stat = stat(if path == "empty" { 0 } else { 200 }, 9);
            w.look(path, &Seen::Present(stat, content), true)?;
            let parked = w.verdict(path)?;
            assert!(parked.starts_with("parked("));
            approved(w.tx, id, w.now())?;
            assert_eq!((w.verdict(path)?, w.stage(id)?), (parked, Stage::Approved));
        }
        Ok(())
    });
}

#[test]
fn a_move_that_keeps_case_and_name_calls_nothing() {
    on_journal(|w| {
        let id = w.bring("a/f", 1, Stage::Approved)?;
        assert!(matches!(w.absent("a/f")?, Step::BeginGrace { .. }));
        assert!(matches!(w.show("b/f", 1, 5)?, Step::Move { same_target: true, .. }));
        assert_eq!((w.verdict("a/f")?.as_str(), w.verdict("b/f")?.as_str()), ("no row", "attached"));
        let moved = w.attachment(id)?;
        assert_eq!((moved.path, moved.stage, moved.moved), (rel("b/f"), Stage::Approved, false));
        assert_eq!(w.show("b/f", 1, 5)?, Step::Nothing);
        assert_eq!(w.absent("a/f")?, Step::Nothing);
        Ok(())
    });
}

#[test]
fn a_move_to_another_name_is_a_replace() {
    on_journal(|w| {
        let old = w.bring("f", 1, Stage::Approved)?;
        w.absent("f")?;
        assert!(matches!(w.show("g", 1, 5)?, Step::Move { same_target: false, .. }));
        let moved = w.attachment(old)?;
        assert_eq!((moved.stage, moved.moved), (Stage::Approved, true));
        assert_eq!(w.verdict("g")?, "queued");
        let new = w.attempt("g")?;
        assert_eq!(new.name, "g");
        w.go(new.id, Stage::Approved)?;
        assert_eq!((w.stage(old)?, w.verdict("g")?.as_str()), (Stage::Deleting, "attached"));
        Ok(())
    });
}

#[test]
fn a_move_back_before_the_replace_restores_what_was() {
    on_journal(|w| {
        let id = w.bring("f", 1, Stage::Approved)?;
        w.absent("f")?;
        w.show("g", 1, 5)?;
        w.absent("g")?;
        assert!(matches!(w.show("f", 1, 6)?, Step::Move { same_target: true, .. }));
        let back = w.attachment(id)?;
        assert_eq!((back.path, back.stage, back.moved), (rel("f"), Stage::Approved, false));
        assert_eq!((w.verdict("f")?.as_str(), w.verdict("g")?.as_str()), ("attached", "no row"));
        Ok(())
    });
}

#[test]
fn a_move_is_known_as_one_when_its_case_is_told_later() {
    on_journal(|w| {
        let pending = |_: &RelPath| Ok(Err(Unrouted::new(UnroutedReason::ReferencePending)));
        let id = w.bring("a/f", 1, Stage::Approved)?;
        w.absent("a/f")?;
        for content in [Content::Unread, Content::Read(hash(1))] {
            let seen = Seen::Present(stat(1, 1_000_000), content);
            super::super::look(w.tx, w.mirror, &rel("b/f"), &seen, &pending, rules(true), w.now())?;
        }
        assert_eq!(w.verdict("b/f")?, "unrouted(reference-pending)");
        let step = w.look("b/f", &Seen::Present(stat(1, 1_000_000), Content::Unread), true)?;
        assert!(matches!(step, Step::Move { same_target: true, .. }), "{step:?}");
        // A copy that was here all along is none.
        let here = Seen::Present(Stat { inode: 77, ..stat(1, 9) }, Content::Read(hash(1)));
        super::super::look(w.tx, w.mirror, &rel("c/f"), &here, &pending, rules(true), w.now())?;
        w.absent("b/f")?;
        let here = Seen::Present(Stat { inode: 77, ..stat(1, 9) }, Content::Unread);
        let step = w.look("c/f", &here, true)?;
        assert!(matches!(step, Step::Queue { .. }), "{step:?}");
        w.show("b/f", 1, 1_000_000)?;
        assert_eq!((w.stage(id)?, w.verdict("b/f")?.as_str()), (Stage::Approved, "attached"));
        Ok(())
    });
}

#[test]
fn what_is_in_its_place_again_is_moved_no_more() {
    on_journal(|w| {
        let id = w.bring("f", 1, Stage::Approved)?;
        w.absent("f")?;
        w.show("g", 1, 5)?;
        assert!(w.attachment(id)?.moved);
        // The configuration names it as it was.
        let named_f = |_: &RelPath| route(&rel("f"));
        let touched = Seen::Present(stat(1, 6), Content::Read(hash(1)));
        super::super::look(w.tx, w.mirror, &rel("g"), &touched, &named_f, rules(true), w.now())?;
        assert_eq!((w.attachment(id)?.moved, w.verdict("g")?.as_str()), (false, "attached"));
        Ok(())
    });
}

#[test]
fn a_name_that_was_refused_says_nothing_of_the_next() {
    on_journal(|w| {
        w.bring("f", 1, Stage::Approved)?;
        w.absent("f")?;
        w.show("g", 1, 5)?;
        let refused = w.attempt("g")?;
        start_failed(w.tx, refused.id, &failure(Next::Park(ParkCode::BadName), true), 0.5, w.now())?;
        assert_eq!(w.verdict("g")?, "parked(bad-name)");
        w.show("g", 1, 6)?;
        assert_eq!(w.verdict("g")?, "parked(bad-name)", "touched");
        w.absent("g")?;
        assert!(matches!(w.show("h", 1, 7)?, Step::Move { same_target: false, .. }));
        w.show("h", 1, 8)?;
        assert_eq!(w.verdict("h")?, "queued", "touched");
        Ok(())
    });
}

/// Seed 53116 of the simulation: the replace had begun, and its attempt waited.
#[test]
fn a_move_back_while_the_replace_waits_restores_what_was_too() {
    on_journal(|w| {
        let id = w.bring("f", 1, Stage::Approved)?;
        w.absent("f")?;
        w.show("g", 1, 5)?;
        let replace = w.attempt("g")?.id;
        recover(w.tx, w.now())?;
        w.absent("g")?;
        assert!(matches!(w.show("f", 1, 6)?, Step::Move { same_target: true, .. }));
        assert_eq!((w.stage(id)?, w.stage(replace)?), (Stage::Approved, Stage::Abandoned));
        assert_eq!((w.verdict("f")?.as_str(), w.verdict("g")?.as_str()), ("attached", "no row"));
        assert!(w.attachment(replace)?.unsure_since.is_some(), "whose start call may have been heard");
        Ok(())
    });
}

#[test]
fn a_move_back_from_a_name_that_was_refused_leaves_no_record_of_the_refusal() {
    on_journal(|w| {
        let id = w.bring("f", 1, Stage::Approved)?;
        w.absent("f")?;
        w.show("g", 1, 5)?;
        let refused = w.attempt("g")?.id;
        w.go(refused, Stage::Completed)?;
        rejected(w.tx, refused, w.now())?;
        w.absent("g")?;
        assert!(matches!(w.show("f", 1, 6)?, Step::Move { same_target: true, .. }));
        assert_eq!((w.stage(id)?, w.stage(refused)?), (Stage::Approved, Stage::Deleting));
        Ok(())
    });
}

#[test]
fn invariant_2_a_delete_needs_two_absences_with_the_grace_between() {
    on_journal(|w| {
        let id = w.bring("f", 1, Stage::Approved)?;
        delete(w.tx, w.mirror, &rel("f"), "none", w.now())?;
        assert_eq!(w.stage(id)?, Stage::Approved, "not absent");
        assert!(matches!(w.absent("f")?, Step::BeginGrace { .. }));
        w.pass(GRACE_MS - 1);
        assert_eq!(w.absent("f")?, Step::Nothing);
        w.pass(1);
        assert_eq!(w.absent("f")?, Step::DeleteDue);
        assert_eq!(w.stage(id)?, Stage::Approved, "only named");
        delete(w.tx, w.mirror, &rel("f"), "a listing", w.now())?;
        let a = w.attachment(id)?;
        assert_eq!((a.stage, a.reason.as_deref()), (Stage::Deleting, Some(ABSENT)));
        assert_eq!(w.tx.deletes_since(w.mirror, w.now())?, 1);
        assert_eq!(w.absent("f")?, Step::Nothing);
        w.deleted(id)?;
        assert_eq!((w.stage(id)?, w.verdict("f")?.as_str()), (Stage::Deleted, "no row"));
        Ok(())
    });
}

#[test]
fn what_waits_for_its_next_try_keeps_no_row_of_a_deleted_file() {
    on_journal(|w| {
        let old = w.bring("f", 1, Stage::Approved)?;
        w.show("f", 2, 9)?;
        let new = w.attempt("f")?.id;
        start_failed(w.tx, new, &failure(Next::Throttled, true), 0.5, w.now())?;
        assert!(matches!(w.absent("f")?, Step::BeginGrace { .. }));
        w.pass(GRACE_MS);
        assert_eq!(w.absent("f")?, Step::DeleteDue);
        delete(w.tx, w.mirror, &rel("f"), "a listing", w.now())?;
        assert_eq!((w.stage(old)?, w.stage(new)?), (Stage::Deleting, Stage::Abandoned));
        w.deleted(old)?;
        assert_eq!(w.verdict("f")?, "no row");
        // The next file of the path is told for itself.
        w.pass(1_000);
        w.show("f", 3, 10)?;
        assert_eq!(w.absent("f")?, Step::Forget);
        let told = w.events("f")?.into_iter().find(|event| event.kind == EventKind::Forgotten).unwrap();
        assert_eq!(told.detail["text"], "gone before anything of it was visible at Connect");
        Ok(())
    });
}

#[test]
fn a_file_that_returns_in_its_grace_stays_and_while_deleting_is_attached_anew() {
    on_journal(|w| {
        let id = w.bring("f", 1, Stage::Approved)?;
        let seen = w.row("f")?.unwrap().stat.mtime_ns;
        w.absent("f")?;
        assert!(matches!(w.show("f", 1, seen)?, Step::Refresh { verdict: Verdict::Attached, .. }));
        assert_eq!((w.stage(id)?, w.row("f")?.unwrap().absent_since), (Stage::Approved, None));
        w.absent("f")?;
        w.pass(GRACE_MS);
        assert_eq!(w.absent("f")?, Step::DeleteDue);
        delete(w.tx, w.mirror, &rel("f"), "a listing", w.now())?;
        assert!(matches!(w.show("f", 1, seen)?, Step::Queue { .. }));
        let again = w.attempt("f")?.id;
        w.deleted(id)?;
        assert_eq!(w.verdict("f")?, "uploading", "the row of a file that is back stays");
        w.go(again, Stage::Approved)?;
        assert_eq!(
            (w.stage(id)?, w.stage(again)?, w.verdict("f")?.as_str()),
            (Stage::Deleted, Stage::Approved, "attached")
        );
        Ok(())
    });
}

#[test]
fn invariant_11_a_kept_file_is_attached_only_when_it_is_approved() {
    on_journal(|w| {
        let id = w.bring("f", 1, Stage::Completed)?;
        assert_eq!(w.look("f", &Seen::Absent, false)?, Step::Keep);
        assert_eq!(w.verdict("f")?, "scanning");
        approved(w.tx, id, w.now())?;
        assert_eq!(w.look("f", &Seen::Absent, false)?, Step::Keep);
        assert_eq!(w.verdict("f")?, "attached");
        assert_eq!(w.look("f", &Seen::Absent, false)?, Step::Nothing);
        Ok(())
    });
}

#[test]
fn a_kept_file_whose_last_content_was_never_read_is_told_as_what_is_kept() {
    on_journal(|w| {
        for stage in [Stage::Approved, Stage::Completed] {
            let path = format!("{stage}");
            w.bring(&path, 1, stage)?;
            let large = Stat { size: 1 << 40, mtime_ns: 9, ..stat(1, 1) };
            w.look(&path, &Seen::Present(large, Content::TooLarge), true)?;
            assert_eq!((w.verdict(&path)?.as_str(), w.row(&path)?.unwrap().hash), ("parked(too-large)", None));
            assert_eq!(w.look(&path, &Seen::Absent, false)?, Step::Keep);
            assert_eq!(w.row(&path)?.unwrap().version(), Some(w.version(1)));
        }
        Ok(())
    });
}

#[test]
fn invariant_3_what_was_adopted_without_a_file_is_no_proof_that_a_root_is_not_emptied() {
    on_journal(|w| {
        w.bring("f", 1, Stage::Approved)?;
        w.bring("g", 1, Stage::Approved)?;
        let here = || w.tx.older_present(w.mirror, at(i64::MAX));
        assert_eq!(here()?, 2);
        let row = w.row("g")?.unwrap();
        w.tx.put_file(&FileRow { verdict: Verdict::Parked(crate::core::model::ParkCode::Unseen), ..row })?;
        assert_eq!(here()?, 1);
        Ok(())
    });
}

#[test]
fn invariant_3_a_known_file_that_cannot_be_looked_at_proves_nothing_either() {
    on_journal(|w| {
        for path in ["a/f", "a/f/g", "a/fg", "b"] {
            w.bring(path, 1, Stage::Approved)?;
        }
        let within = |path: &str| w.tx.older_within(w.mirror, at(i64::MAX), &[rel(path)]).map(|files| files.visible);
        assert_eq!((within("a/f")?, within("a")?, within("b")?, within("c")?), (2, 3, 1, 0));
        Ok(())
    });
}

#[test]
fn a_folder_is_told_by_what_was_only_seen_where_nothing_was_read() {
    on_journal(|w| {
        let sample = || w.tx.sample(w.mirror, 9).map(|sample| sample.spread);
        assert_eq!(sample()?, []);
        w.look("seen", &Seen::Present(stat(1, 1), Content::Unread), true)?;
        assert_eq!(sample()?.len(), 1);
        w.bring("read", 1, Stage::Approved)?;
        assert_eq!(sample()?.iter().map(|row| row.path.to_string()).collect::<Vec<_>>(), ["read"]);
        Ok(())
    });
}
