//! A stop in each stage, and what a person may ask for.

use std::time::Duration;

use super::super::*;
use super::support::*;
use crate::aws::Next;
use crate::core::model::{Hold, HoldCode, ParkCode, RootIdentity};
use crate::core::plan::{Content, Seen, Step};

#[test]
fn invariant_18_a_stop_in_each_stage_goes_on_where_it_can() {
    on_journal(|w| {
        for stage in [Stage::Planned, Stage::Started, Stage::Stored, Stage::Completed, Stage::Approved] {
            w.bring(stage.as_str(), 1, stage)?;
        }
        let one = |path: &str| Ok(w.attachments(path)?.remove(0));
        w.pass(5_000);
        assert_eq!(recover(w.tx, w.now())?, 1);

        let planned = one("planned")?;
        assert_eq!((planned.stage, planned.start_open), (Stage::Planned, false));
        assert_eq!(planned.unsure_since, Some(w.now()), "the call may have been sent");
        assert_eq!(w.attempt("planned")?.token, planned.token, "the same request with the same token");

        let started = one("started")?;
        assert_eq!((started.stage, started.file_id), (Stage::Deleting, Some(w.file_id(started.id))));
        let fresh = w.attempt("started")?;
        assert!(fresh.token != started.token && fresh.attempt == 2);

        let stored = one("stored")?;
        assert_eq!((stored.stage, stored.next_attempt, stored.tries), (Stage::Stored, Some(w.now()), 1));
        assert_eq!(w.verdict("stored")?, "uploading");
        assert_eq!((one("completed")?.stage, w.verdict("completed")?.as_str()), (Stage::Completed, "scanning"));
        assert_eq!((one("approved")?.stage, w.verdict("approved")?.as_str()), (Stage::Approved, "attached"));

        // Another doubtful start begins the listing grace anew: what it left may be listed later.
        w.pass(5_000);
        recover(w.tx, w.now())?;
        assert_eq!(w.attachment(planned.id)?.unsure_since, Some(w.now()));
        Ok(())
    });
}

#[test]
fn an_upload_whose_end_could_not_be_written_goes_on_alone() {
    on_journal(|w| {
        for path in ["f", "other"] {
            w.bring(path, 1, Stage::Started)?;
        }
        recover_file(w.tx, w.mirror, &rel("f"), Duration::ZERO, w.now())?;
        assert_eq!((w.verdict("f")?.as_str(), w.verdict("other")?.as_str()), ("queued", "uploading"));
        assert_eq!(w.row("f")?.unwrap().next_attempt, Some(w.now()));
        assert_eq!(w.attachments("f")?.remove(0).stage, Stage::Deleting, "its FileId has no URL any more");
        assert_eq!(w.attachments("other")?.remove(0).stage, Stage::Started, "somebody works on it");
        Ok(())
    });
}

#[test]
fn what_ended_abnormally_rests_wherever_it_stood() {
    const REST: Duration = Duration::from_secs(300);
    on_journal(|w| {
        let later = Some(w.now().plus(REST));
        for stage in [Stage::Planned, Stage::Started, Stage::Stored] {
            w.bring(stage.as_str(), 1, stage)?;
            recover_file(w.tx, w.mirror, &rel(stage.as_str()), REST, w.now())?;
        }
        for path in ["planned", "started"] {
            let row = w.row(path)?.unwrap();
            assert_eq!((row.verdict.word(), row.next_attempt), ("queued", later), "{path}");
            assert!(row.note.is_some_and(|note| note.contains("ended abnormally")), "{path}");
        }
        let stored = w.attachments("stored")?.remove(0);
        assert_eq!((stored.stage, stored.next_attempt), (Stage::Stored, later));
        let clean_up = w.attachments("started")?.remove(0);
        assert_eq!((clean_up.stage, clean_up.next_attempt), (Stage::Deleting, Some(w.now())), "that is another job's");
        rest(w.tx, clean_up.id, REST, w.now())?;
        assert_eq!(w.attachment(clean_up.id)?.next_attempt, later);
        // What has come to its end meanwhile is left alone.
        let done = w.bring("done", 1, Stage::Approved)?;
        let before = (w.row("done")?, w.attachment(done)?);
        recover_file(w.tx, w.mirror, &rel("done"), REST, w.now())?;
        rest(w.tx, done, REST, w.now())?;
        assert_eq!((w.row("done")?, w.attachment(done)?), before);
        Ok(())
    });
}

#[test]
fn invariant_14_a_restart_shortens_no_wait() {
    on_journal(|w| {
        let id = w.bring("f", 1, Stage::Planned)?;
        start_failed(w.tx, id, &failure(Next::Retry, true), 1.0, w.now())?;
        let before = (w.row("f")?, w.attachment(id)?);
        recover(w.tx, w.now())?;
        assert_eq!((w.row("f")?, w.attachment(id)?), before);
        Ok(())
    });
}

#[test]
fn a_retry_lifts_a_park_and_a_wait() {
    on_journal(|w| {
        assert!(!retry(w.tx, w.mirror, &rel("none"), w.now())?);
        w.bring("attached", 1, Stage::Approved)?;
        assert!(!retry(w.tx, w.mirror, &rel("attached"), w.now())?);

        w.bring("rejected", 1, Stage::Rejected)?;
        assert!(retry(w.tx, w.mirror, &rel("rejected"), w.now())?);
        let again = w.attempt("rejected")?;
        assert_eq!((again.version, again.attempt), (w.version(1), 1));

        let id = w.bring("waits", 1, Stage::Planned)?;
        start_failed(w.tx, id, &failure(Next::Retry, true), 1.0, w.now())?;
        assert!(matches!(w.begin("waits", &w.row("waits")?.unwrap().stat)?, Begun::NotNow));
        assert!(retry(w.tx, w.mirror, &rel("waits"), w.now())?);
        assert_eq!(w.attempt("waits")?.id, id);
        Ok(())
    });
}

#[test]
fn a_retry_of_what_the_disk_showed_is_a_look_and_no_call() {
    on_journal(|w| {
        let cases = [
            ("empty", stat(0, 1), Content::Read(hash(0)), ParkCode::EmptyFile),
            ("large", stat(200, 1), Content::TooLarge, ParkCode::TooLarge),
            ("denied", stat(1, 1), Content::Unreadable("denied".into()), ParkCode::Unreadable),
        ];
        for (path, stat, content, code) in cases {
            // What was attached before must not be mixed up with what is there now.
            w.bring(path, 7, Stage::Approved)?;
            let seen = Seen::Present(stat, content);
            w.look(path, &seen, true)?;
            assert_eq!(w.verdict(path)?, format!("parked({code})"));
            assert!(retry(w.tx, w.mirror, &rel(path), w.now())?);
            assert_eq!(w.verdict(path)?, "settling");
            assert!(matches!(w.begin(path, &stat)?, Begun::NotNow));
            w.look(path, &seen, true)?;
            assert_eq!(w.verdict(path)?, format!("parked({code})"));
        }
        Ok(())
    });
}

#[test]
fn a_release_ends_the_hold_and_counts_the_deletes() {
    on_journal(|w| {
        let identity = RootIdentity { fsid: 1, dev: 2, inode: 3, born_ns: None };
        let other = RootIdentity { inode: 4, ..identity };
        assert_eq!(release(w.tx, w.mirror, HoldCode::ALL, None, w.now())?, []);
        assert_eq!(w.tx.mirror(w.mirror)?.unwrap().released, 0, "there was no hold");
        // Gone and seen by agents: these are what a release lets go. One that is under way is not.
        for (name, content) in [("gone", 1), ("gone too", 3)] {
            w.bring(name, content, Stage::Approved)?;
            w.absent(name)?;
        }
        w.bring("here", 2, Stage::Approved)?;
        for code in HoldCode::ALL {
            w.tx.set_identity(w.mirror, Some(&identity))?;
            w.tx.put_hold(w.mirror, &Hold { code: *code, detail: "seen".into(), since: w.now() })?;
            assert_eq!(release(w.tx, w.mirror, &[*code], Some(&other), w.now())?, [*code]);
            let row = w.tx.mirror(w.mirror)?.unwrap();
            assert_eq!((row.hold, row.released), (None, 2));
            assert_eq!(row.changes_released, *code == HoldCode::AllChanged);
            w.tx.set_changes_released(w.mirror, false)?;
            let accepted = if *code == HoldCode::RootReplaced { other } else { identity };
            assert_eq!(row.identity, Some(accepted), "{code}: only the replaced root that a person accepts is taken");
        }
        // The mirror's own folder is back, or nothing can be accepted: it is as known as before.
        for stands in [Some(&identity), None] {
            w.tx.set_identity(w.mirror, Some(&identity))?;
            w.tx.put_hold(w.mirror, &Hold { code: HoldCode::RootReplaced, detail: "seen".into(), since: w.now() })?;
            assert_eq!(release(w.tx, w.mirror, HoldCode::ALL, stands, w.now())?, [HoldCode::RootReplaced]);
            assert_eq!(w.tx.mirror(w.mirror)?.unwrap().identity, Some(identity));
        }
        // Only what was shown ends.
        for code in [HoldCode::RootEmptied, HoldCode::AllChanged] {
            w.tx.put_hold(w.mirror, &Hold { code, detail: "seen".into(), since: w.now() })?;
        }
        assert_eq!(release(w.tx, w.mirror, &[HoldCode::RootEmptied], None, w.now())?, [HoldCode::RootEmptied]);
        let left = w.tx.mirror(w.mirror)?.unwrap();
        assert_eq!((left.hold.map(|hold| hold.code), left.changes_released), (Some(HoldCode::AllChanged), false));
        Ok(())
    });
}

#[test]
fn a_file_that_vanished_before_anything_was_visible_is_forgotten_with_its_clean_up() {
    on_journal(|w| {
        let id = w.bring("f", 1, Stage::Stored)?;
        assert_eq!(w.absent("f")?, Step::Forget);
        assert_eq!((w.verdict("f")?.as_str(), w.stage(id)?), ("no row", Stage::Deleting));
        Ok(())
    });
}

/// Touched, or on a disk that has another number by now, before the try was made: it is tried all the same.
#[test]
fn a_retry_counts_until_it_is_made() {
    on_journal(|w| {
        w.bring("f", 1, Stage::Rejected)?;
        assert!(matches!(w.show("f", 1, 5)?, Step::Refresh { verdict: Verdict::Parked(_), .. }));
        assert!(retry(w.tx, w.mirror, &rel("f"), w.now())?);
        recover(w.tx, w.now())?;
        for touch in [6, 7] {
            assert!(matches!(w.show("f", 1, touch)?, Step::Queue { .. }));
        }
        let again = w.attempt("f")?.id;
        w.go(again, Stage::Rejected)?;
        // Another content on its way is no retry of this one.
        assert!(matches!(w.show("f", 2, 8)?, Step::Queue { .. }));
        assert!(matches!(w.show("f", 1, 8)?, Step::Refresh { verdict: Verdict::Parked(_), .. }));
        // Once: another touch sends nothing.
        assert!(matches!(w.show("f", 1, 9)?, Step::Refresh { verdict: Verdict::Parked(_), .. }));
        assert_eq!(w.row("f")?.unwrap().next_attempt, None);
        Ok(())
    });
}

/// Moved away and back before the try was made: the same.
#[test]
fn a_retry_outlives_an_absence() {
    on_journal(|w| {
        w.bring("f", 1, Stage::Approved)?;
        w.show("f", 2, 5)?;
        let new = w.attempt("f")?.id;
        w.go(new, Stage::Rejected)?;
        for (retried, deletes) in [(false, true), (true, true), (false, false), (true, false)] {
            assert_eq!(w.verdict("f")?, "parked(rejected)");
            assert!(!retried || retry(w.tx, w.mirror, &rel("f"), w.now())?);
            let gone = w.look("f", &Seen::Absent, deletes)?;
            assert!(matches!(gone, Step::BeginGrace { .. } | Step::Keep), "{gone:?}");
            let step = w.show("f", 2, 5)?;
            assert_eq!(matches!(step, Step::Queue { .. }), retried, "{step:?}");
            if retried {
                let again = w.attempt("f")?.id;
                w.go(again, Stage::Rejected)?;
            }
        }
        Ok(())
    });
}

/// What a person insists on is sent whatever is believed of it, and whatever comes between: until Connect has judged, or
/// the content is another one.
#[test]
fn what_is_insisted_on_is_sent_whatever_comes_between() {
    on_journal(|w| {
        let limits = crate::core::preflight::Limits::told(None, Some(vec!["pdf".to_owned()]));
        let believed = |w: &World<'_, '_>| {
            let target = route(&rel("f"))?.unwrap();
            preflight(w.tx, (w.mirror, &rel("f")), &target, 1, &limits, w.now()).map(|found| found.is_some())
        };
        w.show("f", 1, 5)?;
        assert!(believed(w)?);
        assert_eq!(w.verdict("f")?, "parked(type-not-allowed)");
        assert!(retry(w.tx, w.mirror, &rel("f"), w.now())?);
        assert!(!believed(w)?);
        // A converter that could not be started, a touch, an attempt that was cut off, one that Connect did not answer.
        put_off(w.tx, w.mirror, &rel("f"), "why", w.now())?;
        assert!(!believed(w)?);
        let unreadable = Seen::Present(stat(1, 6), Content::Unreadable("why".into()));
        assert!(matches!(w.look("f", &unreadable, true)?, Step::Park { .. }));
        assert!(matches!(w.show("f", 1, 6)?, Step::Queue { .. }));
        assert!(!believed(w)?);
        let cut_off = w.attempt("f")?.id;
        w.go(cut_off, Stage::Started)?;
        recover(w.tx, w.now())?;
        assert!(!believed(w)?);
        let failing = w.attempt("f")?.id;
        w.go(failing, Stage::Started)?;
        give_up(w.tx, failing, "the bytes", None, Some(&failure(Next::Retry, true)), 0.5, w.now())?;
        w.pass(3_600_000);
        assert!(!believed(w)?);
        // Refused for what is not the file's own.
        let refused = w.attempt("f")?.id;
        start_failed(
            w.tx,
            refused,
            &failure(Next::Park(crate::core::model::ParkCode::AccessDenied), true),
            0.5,
            w.now(),
        )?;
        assert_eq!(w.verdict("f")?, "parked(access-denied)");
        assert!(retry(w.tx, w.mirror, &rel("f"), w.now())?);
        assert!(!believed(w)?);
        // Connect's own word of it is the last one; of other content is believed what was before.
        let refused = w.attempt("f")?.id;
        let word = failure(Next::Park(crate::core::model::ParkCode::TypeNotAllowed), true);
        start_failed(w.tx, refused, &word, 0.5, w.now())?;
        assert_eq!(w.row("f")?.unwrap().insisted, None);
        for (content, touch) in [(2, 7), (3, 8)] {
            w.show("f", content, touch)?;
            assert!(believed(w)?);
            assert!(retry(w.tx, w.mirror, &rel("f"), w.now())?);
        }
        assert!(!believed(w)?);
        w.show("f", 4, 9)?;
        assert!(believed(w)?);
        Ok(())
    });
}

/// Of what was only to be read again nothing is left once that is done.
#[test]
fn a_retry_of_a_look_sends_no_refused_content() {
    on_journal(|w| {
        let id = w.bring("f", 1, Stage::Completed)?;
        w.look("f", &Seen::Present(stat(1, 5), Content::Unreadable("why".into())), true)?;
        assert!(retry(w.tx, w.mirror, &rel("f"), w.now())?);
        assert!(matches!(w.show("f", 1, 5)?, Step::Refresh { verdict: Verdict::Scanning, .. }));
        assert!(matches!(w.look("f", &Seen::Present(stat(1, 6), Content::Unread), true)?, Step::Settle { .. }));
        rejected(w.tx, id, w.now())?;
        assert!(matches!(w.show("f", 1, 6)?, Step::Refresh { verdict: Verdict::Parked(_), .. }));
        Ok(())
    });
}
