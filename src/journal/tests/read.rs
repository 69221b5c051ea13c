//! Every question, and that none of them walks a whole table.

use std::time::Duration;

use super::super::{AbsenceLook, EventFilter, JournalError, NewAttachment, Tx, View};
use super::support::*;
use crate::core::absence::{Beginning, Files};
use crate::core::model::{
    AttachmentId, EventKind, FileRow, Hold, HoldCode, MirrorId, ParkCode, Stage, Verdict, Version,
};
use crate::types::{CaseArn, RelPath, UnixMillis};

fn named(rows: &[crate::core::model::FileRow]) -> Vec<String> {
    rows.iter().map(|r| r.path.to_string()).collect()
}

fn scanned(view: &View, mirror: MirrorId, below: Option<&str>) -> Result<Vec<String>, JournalError> {
    let below = below.map(path);
    let mut scan = view.scan(mirror, below.as_ref())?;
    let mut rows = scan.rows()?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(String::from_utf8(row.path.to_vec()).unwrap());
    }
    Ok(found)
}

#[test]
fn files_come_in_byte_order_by_page_by_folder_and_as_a_stream() {
    let dir = folder();
    let (journal, mirror) = with_mirror(&db(&dir));
    let ordered = ["a", "a b", "a-b/x", "a/b", "a/c/d", "a/c/e", "a/z", "a0", "b/c/d/e", "ü"];
    journal
        .write_blocking(move |tx| {
            let other = tx.ensure_mirror("other", b"/o")?.id;
            tx.put_file(&row(other, "a/other", Verdict::Settling))?;
            for name in ordered.iter().rev() {
                tx.put_file(&row(mirror, name, Verdict::Settling))?;
            }
            assert_eq!(scanned(tx, mirror, None)?, ordered);
            assert_eq!(scanned(tx, mirror, Some("a"))?, ["a/b", "a/c/d", "a/c/e", "a/z"]);
            assert_eq!(scanned(tx, mirror, Some("a/c"))?, ["a/c/d", "a/c/e"]);
            assert_eq!(scanned(tx, mirror, Some("none"))?, Vec::<String>::new());
            let mut paged = Vec::new();
            while let page = tx.files_from(mirror, paged.last().map(|p: &String| path(p)).as_ref(), 3)?
                && !page.is_empty()
            {
                paged.extend(named(&page));
            }
            assert_eq!(paged, ordered);
            assert_eq!(named(&tx.files_with(mirror, "settling", Some(&path("a/z")), 2)?), ["a0", "b/c/d/e"]);
            assert_eq!(tx.files_with(mirror, "queued", None, 2)?, []);
            Ok(())
        })
        .unwrap();
    journal.close();
}

#[test]
fn a_scan_shows_each_column() {
    let dir = folder();
    let (journal, mirror) = with_mirror(&db(&dir));
    let mut file = row(mirror, "a", Verdict::Ignored("junk".into()));
    file.absent_since = Some(at(3));
    journal
        .write_blocking(move |tx| {
            tx.put_file(&file)?;
            let mut scan = tx.scan(mirror, None)?;
            let mut rows = scan.rows()?;
            let seen = rows.next()?.unwrap();
            assert_eq!((seen.path, seen.stat), (&b"a"[..], file.stat));
            assert_eq!((seen.verdict, seen.detail, seen.absent_since), ("ignored", Some("junk"), Some(at(3))));
            assert_eq!(rows.next()?, None);
            Ok(())
        })
        .unwrap();
    journal.close();
}

#[test]
fn the_queue_is_fair_and_in_order() {
    let dir = folder();
    let (journal, mirror) = with_mirror(&db(&dir));
    journal
        .write_blocking(move |tx| {
            let other = tx.ensure_mirror("other", b"/o")?.id;
            let queue = |mirror, name: &str, since, next: Option<i64>| {
                let mut file = row(mirror, name, Verdict::Queued);
                file.since = at(since);
                file.next_attempt = next.map(UnixMillis);
                tx.put_file(&file)
            };
            assert_eq!(tx.next_queued_due()?, None);
            queue(mirror, "young", 30, None)?;
            queue(mirror, "old", 10, None)?;
            queue(mirror, "tried", 1, Some(50))?;
            queue(mirror, "waits", 1, Some(101))?;
            queue(other, "o1", 90, None)?;
            queue(other, "o2", 95, Some(70))?;
            tx.put_file(&row(other, "attached", Verdict::Attached))?;
            let all = |_, _: &_| false;
            assert_eq!(named(&tx.queued(at(100), 10, &all)?), ["old", "o1", "young", "o2", "tried"]);
            assert_eq!(named(&tx.queued(at(100), 3, &all)?), ["old", "o1", "young"]);
            assert_eq!(
                named(&tx.queued(at(101), 10, &|m, p| m == other || *p == path("old"))?),
                ["young", "tried", "waits"]
            );
            assert_eq!(named(&tx.queued(at(60), 10, &|m, _| m == mirror)?), ["o1"]);
            assert_eq!(tx.next_queued_due()?, Some(at(50)));
            Ok(())
        })
        .unwrap();
    journal.close();
}

fn files(visible: u64, scanned: u64) -> Files {
    Files { visible, scanned }
}

/// By the file itself: another with the same bytes is another.
#[test]
fn what_is_here_under_another_name_is_not_missing() {
    for (stage, gone) in [(Stage::Completed, files(0, 2)), (Stage::Approved, files(2, 0))] {
        let dir = folder();
        let (journal, mirror) = with_mirror(&db(&dir));
        journal
            .write_blocking(move |tx| {
                for (inode, name) in [(7, "old"), (8, "lost")] {
                    let id = plan(tx, mirror, name, 1)?;
                    let course = [Stage::Started, Stage::Stored, Stage::Completed, Stage::Approved];
                    for next in course.into_iter().take_while(|next| *next <= stage) {
                        advance(tx, id, next, 2)?;
                    }
                    let mut file = row(mirror, name, Verdict::Deleting);
                    (file.absent_since, file.hash, file.stat.inode) = (Some(at(2)), Some(hash(9)), inode);
                    tx.put_file(&file)?;
                }
                let sent = tx.attachments_of(mirror, &path("old"))?[0].version;
                tx.put_hold(mirror, &Hold { code: HoldCode::RootEmptied, detail: String::new(), since: at(3) })?;
                let weigh = |gaps: &[RelPath]| {
                    let look = AbsenceLook { grace: Duration::ZERO, gaps, beginning: &[], now: at(4) };
                    tx.absences(mirror, &look)
                };
                assert_eq!((weigh(&[])?.gone, weigh(&[])?.renamed.all()), (gone, 0));
                assert_eq!((weigh(&[])?.first, weigh(&[])?.scanned), (Some(at(2)), gone.scanned));
                for (what, verdict, hash, inode, absent, renamed) in [
                    ("read and queued", Verdict::Queued, sent.hash, 7, None, 1),
                    ("of a content that may be another by now", Verdict::Settling, sent.hash, 7, None, 0),
                    ("out of scope", Verdict::Ignored("junk".into()), sent.hash, 7, None, 0),
                    ("not to be read", Verdict::Parked(ParkCode::Unreadable), sent.hash, 7, None, 0),
                    ("of another content", Verdict::Queued, hash(9), 7, None, 0),
                    ("another with the same content", Verdict::Queued, sent.hash, 9, None, 0),
                    ("gone too", Verdict::Queued, sent.hash, 7, Some(at(2)), 0),
                ] {
                    let mut file = row(mirror, "new", verdict);
                    (file.stat.inode, file.stat.size) = (inode, sent.size);
                    (file.hash, file.absent_since) = (Some(hash), absent);
                    tx.put_file(&file)?;
                    assert_eq!(weigh(&[])?.renamed.all(), renamed, "{what}");
                    assert_eq!(weigh(&[path("elsewhere")])?.renamed.all(), renamed, "{what}, beside a gap");
                    assert_eq!(weigh(&[path("new")])?.renamed.all(), 0, "a gap may hide that it is gone");
                }
                Ok(())
            })
            .unwrap();
        journal.close();
    }
}

#[test]
fn absent_files_are_found_by_time_and_by_content() {
    let dir = folder();
    let (journal, mirror) = with_mirror(&db(&dir));
    journal
        .write_blocking(move |tx| {
            assert_eq!(tx.next_absent_since(mirror, at(0))?, None);
            let reach = |tx: &Tx<'_>, name: &str, n: u32, to: Stage| -> Result<(), JournalError> {
                let id = plan(tx, mirror, name, n)?;
                let course = [Stage::Started, Stage::Stored, Stage::Completed, Stage::Approved, Stage::Deleting];
                for stage in course.into_iter().take_while(|stage| *stage <= to) {
                    advance(tx, id, stage, 2)?;
                }
                Ok(())
            };
            for (name, since) in [("late", Some(20)), ("early", Some(10)), ("here", None)] {
                let verdict = if since.is_some() { Verdict::Deleting } else { Verdict::Attached };
                let mut file = row(mirror, name, verdict);
                file.absent_since = since.map(UnixMillis);
                tx.put_file(&file)?;
                reach(tx, name, 1, Stage::Approved)?;
            }
            // Announced: the end of a grace changes nothing. One with a scan that has not ended is like the others.
            for (name, stages) in [
                ("sent", &[Stage::Deleting][..]),
                ("scanned", &[Stage::Completed]),
                ("both", &[Stage::Approved, Stage::Completed]),
            ] {
                let mut file = row(mirror, name, Verdict::Deleting);
                (file.absent_since, file.hash) = (Some(at(2)), Some(hash(8)));
                tx.put_file(&file)?;
                for (n, stage) in (1..).zip(stages) {
                    reach(tx, name, n, *stage)?;
                }
            }
            let mut kept = row(mirror, "kept", Verdict::Attached);
            (kept.absent_since, kept.hash) = (Some(at(1)), Some(hash(9)));
            tx.put_file(&kept)?;
            assert_eq!((tx.next_absent_since(mirror, at(3))?, tx.waiting_deletes(mirror)?), (Some(at(10)), 5));
            assert_eq!(
                (tx.next_absent_since(mirror, at(2))?, tx.next_absent_since(mirror, at(21))?),
                (Some(at(2)), None)
            );
            assert_eq!((tx.unannounced_deletes(mirror)?, tx.older_present(mirror, at(2))?), (3, 1));
            let weigh = |gaps: &[RelPath], now: Option<i64>| {
                // Seen after all the others, it takes none of them away.
                let beginning = now.map(|_| Beginning { is_visible: true, seen_at: Some(at(100)) });
                let now = at(now.unwrap_or(100));
                let look = AbsenceLook { grace: Duration::ZERO, gaps, beginning: beginning.as_slice(), now };
                tx.absences(mirror, &look)
            };
            let weighed = weigh(&[], None)?;
            assert_eq!((weighed.gone, weighed.scanned), (files(3, 1), 1));
            assert_eq!((weighed.first, weighed.older, weighed.kept), (Some(at(2)), files(1, 0), 0));
            assert_eq!(weigh(&[], Some(1))?.first, Some(at(1)));
            let mut back = row(mirror, "scanned", Verdict::Scanning);
            back.hash = Some(hash(8));
            tx.put_file(&back)?;
            let weighed = weigh(&[path("scanned")], None)?;
            assert_eq!((weighed.gone, weighed.scanned), (files(3, 0), 0));
            assert_eq!((weighed.older, weighed.hidden), (files(1, 1), files(0, 1)));
            assert_eq!(weigh(&[path("here")], None)?.hidden, files(1, 0));
            assert_eq!(weigh(&[], Some(1))?.older, files(0, 0), "seen first at that time");
            back = FileRow { verdict: Verdict::Deleting, absent_since: Some(at(2)), ..back };
            tx.put_file(&back)?;
            // What was delivered in a mode that has ended is not what is there now.
            for name in ["early", "both", "scanned", "here"] {
                tx.close_attachments(mirror, &path(name), None, at(3))?;
            }
            assert_eq!(tx.next_absent_since(mirror, at(0))?, Some(at(20)));
            assert_eq!((tx.unannounced_deletes(mirror)?, tx.older_present(mirror, at(2))?), (1, 0));
            assert_eq!(weigh(&[], None)?.first, Some(at(20)));
            let version = Version { size: 10, hash: hash(1) };
            assert_eq!(named(&tx.absent_with_hash(mirror, &version, 10)?), ["early", "late"]);
            assert_eq!(tx.absent_with_hash(mirror, &Version { size: 11, ..version }, 10)?, []);
            assert_eq!(tx.absent_with_hash(mirror, &Version { hash: hash(2), ..version }, 10)?, []);
            Ok(())
        })
        .unwrap();
    journal.close();
}

#[test]
fn attachments_are_found_by_stage_path_and_id() {
    let dir = folder();
    let (journal, mirror) = with_mirror(&db(&dir));
    journal
        .write_blocking(move |tx| {
            let ids = [plan(tx, mirror, "a", 1)?, plan(tx, mirror, "a", 2)?, plan(tx, mirror, "b", 1)?];
            let wait = |id, until| put(tx, id, 2, |a| a.next_attempt = Some(at(until)));
            wait(ids[0], 50)?;
            wait(ids[1], 40)?;
            let in_stage = |stage, due: Option<i64>, limit| -> Result<Vec<_>, JournalError> {
                Ok(tx.attachments_in_stage(stage, due.map(UnixMillis), limit)?.iter().map(|a| a.id).collect())
            };
            assert_eq!(in_stage(Stage::Planned, None, 9)?, [ids[2], ids[1], ids[0]]);
            assert_eq!(in_stage(Stage::Planned, Some(40), 9)?, [ids[2], ids[1]]);
            assert_eq!(in_stage(Stage::Planned, None, 1)?, [ids[2]]);
            assert_eq!((tx.next_due(Stage::Planned)?, tx.next_due(Stage::Stored)?), (Some(at(40)), None));
            put(tx, ids[2], 2, |a| {
                a.file_id = Some(file_id("f"));
                a.stage = Stage::Started;
            })?;
            let count = |stage| tx.attachments_in_stage(stage, None, 10).map(|found| found.len());
            assert_eq!((count(Stage::Planned)?, count(Stage::Started)?), (2, 1));
            assert_eq!(tx.attachment_by_file_id(&file_id("f"))?.map(|a| a.id), Some(ids[2]));
            assert_eq!(tx.attachment_by_file_id(&file_id("g"))?, None);
            let of_a: Vec<_> = tx.attachments_of(mirror, &path("a"))?.iter().map(|a| a.id).collect();
            assert_eq!(of_a, ids[..2]);
            for stage in [Stage::Stored, Stage::Completed, Stage::Approved] {
                advance(tx, ids[2], stage, 3)?;
            }
            assert_eq!(in_stage(Stage::Approved, None, 9)?, [ids[2]]);
            assert_eq!(tx.tracked_count(mirror)?, 1);
            Ok(())
        })
        .unwrap();
    journal.close();
}

#[test]
fn events_pass_every_filter() {
    let dir = folder();
    let (journal, mirror) = with_mirror(&db(&dir));
    journal
        .write_blocking(move |tx| {
            let other = tx.ensure_mirror("other", b"/o")?.id;
            assert_eq!(tx.last_event_id()?, 0);
            let id = plan(tx, mirror, "a", 1)?;
            for (n, kind) in EventKind::ALL.iter().enumerate() {
                event(tx, if n % 2 == 0 { mirror } else { other }, if n < 3 { "a" } else { "b" }, *kind, 100)?;
            }
            let detail = serde_json::json!({"text": "x", "n": 1});
            let kind = EventKind::Started;
            let new = super::super::NewEvent { mirror, path: None, attachment: Some(id), kind, detail: detail.clone() };
            let last = tx.add_event(&new, at(200))?;
            let ids = |filter: EventFilter<'_>| -> Result<Vec<i64>, JournalError> {
                Ok(tx.events(&filter)?.iter().map(|e| e.id).collect())
            };
            let (a, arn) = (path("a"), case());
            assert_eq!(ids(EventFilter::default())?, (1..=last).collect::<Vec<_>>());
            assert_eq!(ids(EventFilter { after_id: Some(last - 1), ..Default::default() })?, [last]);
            assert_eq!(ids(EventFilter { path: Some(&a), ..Default::default() })?, [1, 2, 3]);
            assert_eq!(ids(EventFilter { path: Some(&a), mirror: Some(other), ..Default::default() })?, [2]);
            assert_eq!(ids(EventFilter { case: Some(&arn), ..Default::default() })?, [last]);
            assert_eq!(ids(EventFilter { since: Some(at(101)), ..Default::default() })?, [last]);
            let newest = EventFilter { newest_first: true, limit: Some(2), ..Default::default() };
            assert_eq!(ids(newest)?, [last, last - 1]);
            assert_eq!(tx.events(&EventFilter { since: Some(at(101)), ..Default::default() })?[0].detail, detail);
            let kinds: Vec<_> = tx.events(&EventFilter::default())?.iter().map(|e| e.kind).collect();
            assert_eq!(kinds[..kinds.len() - 1], *EventKind::ALL);
            assert_eq!(tx.history_of(mirror, &a)?.iter().map(|e| e.id).collect::<Vec<_>>(), [1, 3, last]);
            Ok(())
        })
        .unwrap();
    journal.close();
}

#[test]
fn the_cases_of_a_mirror_take_turns() {
    let dir = folder();
    let (journal, mirror) = with_mirror(&db(&dir));
    journal
        .write_blocking(move |tx| {
            let queue = |name: &str, lane, next| {
                let mut file = row(mirror, name, Verdict::Queued);
                file.next_attempt = Some(at(next));
                tx.put_file(&file)?;
                tx.set_lane(mirror, &path(name), lane)
            };
            for n in 0..50 {
                queue(&format!("flood{n:02}"), 7, n)?;
            }
            queue("small1", 9, 60)?;
            queue("small2", 9, 61)?;
            queue("early", 3, 62)?;
            queue("later", 5, 500)?;
            let mut taken = std::collections::BTreeSet::new();
            let (mut order, mut lane) = (Vec::new(), -1);
            while let Some((file, next)) = tx.queued_turn(mirror, lane, at(100), &|p| taken.contains(p))? {
                order.push(file.path.to_string());
                taken.insert(file.path);
                lane = next;
            }
            assert_eq!(order[..6], ["early", "flood00", "small1", "flood01", "small2", "flood02"]);
            assert_eq!(order.len(), 53, "all but the one that is not due");
            // What was written again keeps its lane; more lanes that wait than are looked past hide nothing.
            for n in 0..1000 {
                queue(&format!("wait{n}"), 10_000 + n, 500)?;
            }
            tx.put_file(&row(mirror, "small1", Verdict::Queued))?;
            let found = tx.queued_turn(mirror, 9_999, at(100), &|_| false)?.unwrap();
            assert_eq!((found.0.path, found.1), (path("small1"), 10_255));
            assert_eq!(tx.queued_turn(mirror, 8, at(100), &|_| false)?.unwrap().0.path, path("small1"));
            assert!(tx.queued_turn(mirror, 8, at(-1), &|_| false)?.is_none_or(|(file, _)| file.path == path("small1")));
            Ok(())
        })
        .unwrap();
    journal.close();
}

#[test]
fn deletes_take_turns_by_case() {
    let dir = folder();
    let (journal, mirror) = with_mirror(&db(&dir));
    journal
        .write_blocking(move |tx| {
            let announce = |name: &str, case: u32, next| {
                let new = NewAttachment {
                    mirror,
                    path: path(name),
                    case: CaseArn::new(format!("arn:aws:cases:eu-west-2:1:domain/d/case/{case}")).unwrap(),
                    name: name.to_owned(),
                    version: Version { size: 10, hash: hash(1) },
                    attempt: 1,
                    token: token(name),
                    start_open: false,
                    extras: Default::default(),
                };
                let id = tx.add_attachment(&new, at(0))?.id;
                [Stage::Started, Stage::Abandoned, Stage::Deleting].iter().try_for_each(|s| advance(tx, id, *s, 1))?;
                put(tx, id, 1, |a| a.next_attempt = Some(at(next)))
            };
            for n in 0..5 {
                announce(&format!("flood{n}"), 1, n)?;
            }
            announce("small", 2, 50)?;
            announce("later", 3, 500)?;
            let (mut order, mut after) = (Vec::new(), None);
            let mut taken = std::collections::BTreeSet::new();
            while let Some(a) = tx.delete_turn(mirror, after.as_ref(), at(100), &|a| !taken.contains(&a.id))? {
                order.push(a.path.to_string());
                taken.insert(a.id);
                after = Some(a.case);
            }
            assert_eq!(order, ["flood0", "small", "flood1", "flood2", "flood3", "flood4"]);
            Ok(())
        })
        .unwrap();
    journal.close();
}

/// Asks everything the daemon asks while it runs.
fn ask_all(view: &View, mirror: MirrorId) -> Result<(), JournalError> {
    let p = path("a");
    view.file(mirror, &p)?;
    view.files_from(mirror, None, 1)?;
    view.counts(Some(mirror))?;
    view.tracked_count(mirror)?;
    view.queued(at(1), 1, &|_, _| false)?;
    view.hook_cursor()?;
    view.hook_deliveries()?;
    view.hook_payload(1)?;
    view.hook_state()?;
    view.queued_turn(mirror, 5, at(1), &|_| false)?;
    view.delete_turn(mirror, Some(&case()), at(1), &|_| true)?;
    view.next_queued_due()?;
    view.absent_with_hash(mirror, &Version { size: 1, hash: hash(1) }, 1)?;
    view.next_absent_since(mirror, at(0))?;
    view.waiting_deletes(mirror)?;
    view.unannounced_deletes(mirror)?;
    view.older_present(mirror, at(1))?;
    let look = AbsenceLook {
        grace: Duration::ZERO,
        gaps: std::slice::from_ref(&p),
        beginning: &[Beginning { is_visible: true, seen_at: None }],
        now: at(1),
    };
    view.absences(mirror, &look)?;
    view.absences(mirror, &AbsenceLook { gaps: &[], ..look })?;
    view.changed_present(mirror)?;
    view.unlisted(mirror)?;
    view.oldest_not_visible(mirror)?;
    drop(view.scan(mirror, Some(&p))?);
    drop(view.scan(mirror, None)?);
    view.attachment_by_file_id(&file_id("f"))?;
    view.attachments_of(mirror, &p)?;
    for stage in Stage::ALL.iter().filter(|s| !matches!(s, Stage::Approved | Stage::Deleted)) {
        view.attachments_in_stage(*stage, None, 1)?;
        view.next_due(*stage)?;
    }
    view.unsure(1)?;
    view.deletes_since(mirror, at(1))?;
    view.approved_since(at(1))?;
    view.history_of(mirror, &p)?;
    view.events(&EventFilter { after_id: Some(1), limit: Some(1), ..Default::default() })?;
    view.last_event_id()?;
    // The comparison with Connect, and `adopt`.
    view.verification(mirror)?;
    view.case_after(mirror, "")?;
    view.is_on(mirror, &case(), at(1))?;
    view.attachments_on(mirror, &case())?;
    view.attachment(AttachmentId(1))?;
    view.converted(AttachmentId(1))?;
    view.is_closed(AttachmentId(1))?;
    view.differences(mirror, 1)?;
    view.differences_on(mirror, &case())?;
    view.differences_of(mirror, &p)?;
    view.difference_counts(mirror)?;
    view.is_lost()?;
    view.attachment_by_token(&token("t"))?;
    view.unseen_count(mirror)?;
    view.asked(mirror, &case())?;
    view.found_on(mirror, &case())?;
    view.case_ref(mirror, &crate::core::reference::Reference::new("12345678").unwrap())?;
    Ok(())
}

#[test]
fn no_question_of_the_daemon_walks_a_table_or_sorts() {
    let dir = folder();
    let (journal, mirror) = with_mirror(&db(&dir));
    let reader = journal.reader().unwrap();
    ask_all(&reader, mirror).unwrap();
    let asked = reader.asked.borrow().clone();
    assert!(asked.len() > 30);
    for sql in asked {
        let mut explain = reader.conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let parameters = vec![rusqlite::types::Null; explain.parameter_count()];
        let plan: Vec<String> = explain
            .query_map(rusqlite::params_from_iter(parameters), |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        for line in plan {
            let tables = ["SCAN file", "SCAN attachment", "SCAN event", "SCAN difference", "SCAN found", "SCAN asked"];
            let whole = tables.iter().any(|t| line.starts_with(t))
                && !line.contains("USING COVERING INDEX attachment_unsure")
                && !line.contains("USING INDEX attachment_unsure");
            // The story of one file comes from two indexes and is short.
            let sorted = line.contains("TEMP B-TREE FOR ORDER BY") && !sql.contains("UNION");
            assert!(!whole && !sorted, "{line}\n{sql}");
        }
    }
    drop(reader);
    journal.close();
}

#[test]
fn a_hundred_thousand_files_stream_past() {
    const FILES: usize = 100_000;
    let dir = folder();
    let (journal, mirror) = with_mirror(&db(&dir));
    let filling = std::time::Instant::now();
    for start in (0..FILES).step_by(5000) {
        journal
            .write_blocking(move |tx| {
                for n in start..start + 5000 {
                    tx.put_file(&row(
                        mirror,
                        &format!("case-{:04}/scan {:02}.pdf", n / 50, n % 50),
                        Verdict::Attached,
                    ))?;
                }
                Ok(())
            })
            .unwrap();
    }
    let filled = filling.elapsed();
    let reader = journal.reader().unwrap();
    let streaming = std::time::Instant::now();
    let (mut seen, mut last) = (0, Vec::new());
    let mut scan = reader.scan(mirror, None).unwrap();
    let mut rows = scan.rows().unwrap();
    while let Some(row) = rows.next().unwrap() {
        assert!(row.path > last.as_slice() && row.verdict == "attached");
        last.clear();
        last.extend_from_slice(row.path);
        seen += 1;
    }
    println!("{FILES} rows written in {filled:?}, streamed in {:?}", streaming.elapsed());
    assert_eq!(seen, FILES);
    assert_eq!(reader.counts(Some(mirror)).unwrap()[4], ("attached", 100_000));
    drop(rows);
    drop(scan);
    drop(reader);
    journal.close();
    let opening = std::time::Instant::now();
    let journal = super::super::Journal::open(&db(&dir)).unwrap();
    println!("opened with its check in {:?}", opening.elapsed());
    journal.close();
}

/// Figures for a typical small write (one update, one event), to be read with `--nocapture` in release mode.
#[test]
fn small_writes_are_measured() {
    const WRITES: u32 = 2000;
    let dir = folder();
    let (journal, mirror) = with_mirror(&db(&dir));
    let (took, id) = journal
        .write_blocking(move |tx| {
            let id = plan(tx, mirror, "a", 1)?;
            let start = std::time::Instant::now();
            for n in 0..WRITES {
                put(tx, id, 2, |a| a.tries = n)?;
                event(tx, mirror, "a", EventKind::TryFailed, i64::from(n))?;
            }
            Ok((start.elapsed() / WRITES, id))
        })
        .unwrap();
    println!("one update and one event: {took:?} without the commit");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let start = std::time::Instant::now();
    let before = journal.commits();
    runtime.block_on(async {
        let mut set = tokio::task::JoinSet::new();
        for n in 0..WRITES {
            let journal = journal.clone();
            set.spawn(async move {
                journal
                    .write(move |tx| {
                        put(tx, id, 2, |a| a.tries = n)?;
                        event(tx, mirror, "a", EventKind::TryFailed, i64::from(n))
                    })
                    .await
                    .unwrap();
            });
        }
        set.join_all().await;
    });
    println!("{WRITES} requests at once: {:?} each, {} commits", start.elapsed() / WRITES, journal.commits() - before);
    assert_eq!(journal.reader().unwrap().last_event_id().unwrap(), i64::from(2 * WRITES));
    journal.close();
}
