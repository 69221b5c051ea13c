//! A stop in each stage, and what a person may ask for.

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
        let identity = RootIdentity { fsid: 1, dev: 2, inode: 3 };
        release(w.tx, w.mirror, 5, w.now())?;
        assert_eq!(w.tx.mirror(w.mirror)?.unwrap().released, 0, "there was no hold");
        for code in HoldCode::ALL {
            w.tx.set_identity(w.mirror, Some(&identity))?;
            w.tx.set_hold(w.mirror, Some(&Hold { code: *code, detail: "seen".into(), since: w.now() }))?;
            release(w.tx, w.mirror, 5, w.now())?;
            let row = w.tx.mirror(w.mirror)?.unwrap();
            assert_eq!((row.hold, row.released), (None, 5));
            // A replaced root that a person accepted is taken as the mirror's at the next scan.
            assert_eq!(row.identity.is_none(), *code == HoldCode::RootReplaced);
        }
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
