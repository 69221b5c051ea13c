//! Every change to mirrors, files and the audit trail, and what is refused.

use super::super::{Journal, JournalError, NewEvent, Origin};
use super::support::*;
use crate::core::model::{EventKind, Hold, HoldCode, MirrorId, ParkCode, RootIdentity, Verdict};

#[test]
fn a_row_survives_a_restart_with_every_field() {
    let dir = folder();
    let (journal, mirror) = with_mirror(&db(&dir));
    assert_eq!(journal.origin(), Origin::Fresh);
    let mut file = row(mirror, "a/b.pdf", Verdict::Parked(ParkCode::TooLarge));
    file.note = Some("120 MiB".into());
    file.absent_since = Some(at(5));
    file.attempt = 3;
    file.next_attempt = Some(at(9));
    let written = file.clone();
    journal.write_blocking(move |tx| tx.put_file(&written)).unwrap();
    journal.close();
    let journal = Journal::open(&db(&dir)).unwrap();
    assert_eq!(journal.origin(), Origin::Existing);
    assert_eq!(journal.reader().unwrap().file(mirror, &file.path).unwrap(), Some(file));
    journal.close();
}

#[test]
fn mirrors_keep_what_is_set() {
    let dir = folder();
    let (journal, id) = with_mirror(&db(&dir));
    let identity = RootIdentity { fsid: u64::MAX, dev: 2, inode: 3, born_ns: Some(-7) };
    for code in HoldCode::ALL {
        let hold = Hold { code: *code, detail: "seen".into(), since: at(4) };
        let expected = hold.clone();
        let row = journal
            .write_blocking(move |tx| {
                tx.set_identity(id, Some(&identity))?;
                tx.put_hold(id, &hold)?;
                tx.set_changes_released(id, true)?;
                tx.set_released(id, 7)?;
                tx.set_scanned(id, at(8))?;
                tx.set_watch(id, "native")?;
                tx.mirror(id)
            })
            .unwrap()
            .unwrap();
        assert!(row.holds.contains(&expected) && row.hold.as_ref() == row.holds.first());
        assert_eq!((row.identity, row.changes_released, row.released), (Some(identity), true, 7));
        assert_eq!((row.scanned_at, row.watch.as_deref()), (Some(at(8)), Some("native")));
    }
    journal
        .write_blocking(move |tx| {
            let held = tx.mirror(id)?.map(|row| row.holds).unwrap_or_default();
            assert_eq!((held.len(), held[0].code), (HoldCode::ALL.len(), HoldCode::JournalRebuilt), "the worst first");
            for code in HoldCode::ALL {
                assert!(tx.end_hold(id, *code)? && !tx.end_hold(id, *code)?);
            }
            tx.set_identity(id, None)
        })
        .unwrap();
    let reader = journal.reader().unwrap();
    let row = reader.mirror_by_name("inbox").unwrap().unwrap();
    assert_eq!((row.hold, row.identity), (None, None));
    assert_eq!(reader.mirrors().unwrap().len(), 1);
    let unknown = journal.write_blocking(|tx| tx.set_scanned(MirrorId(99), at(1)));
    assert!(matches!(unknown, Err(JournalError::NotFound { .. })));
    journal.close();
}

#[test]
fn invariant_20_another_root_is_refused() {
    let dir = folder();
    let (journal, id) = with_mirror(&db(&dir));
    assert_eq!(journal.write_blocking(|tx| Ok(tx.ensure_mirror("inbox", b"/srv/inbox")?.id)), Ok(id));
    let error = journal.write_blocking(|tx| tx.ensure_mirror("inbox", b"/mnt/inbox")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the journal knows the mirror `inbox` at /srv/inbox, the configuration puts it at /mnt/inbox: correct `path`, \
         or give the mirror another name"
    );
    journal.close();
}

/// Every verdict there is, in the order of `Verdict::WORDS`.
fn every_verdict() -> Vec<Verdict> {
    Verdict::WORDS
        .iter()
        .map(|word| {
            let detail = match *word {
                "parked" => Some("too-large"),
                "ignored" => Some("junk"),
                "unrouted" => Some("no case"),
                _ => None,
            };
            Verdict::from_columns(word, detail).unwrap()
        })
        .collect()
}

#[test]
fn counts_follow_every_change_of_a_file() {
    let dir = folder();
    let (journal, mirror) = with_mirror(&db(&dir));
    let verdicts = every_verdict();
    let (tallied, counted) = journal
        .write_blocking(move |tx| {
            let other = tx.ensure_mirror("other", b"/srv/other")?.id;
            tx.put_file(&row(other, "x", Verdict::Attached))?;
            // A fixed sequence that adds, judges, moves and removes among few names.
            let mut random = 1_u64;
            for _ in 0..3000 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let pick = usize::try_from(random >> 33).unwrap();
                let (name, to) = (format!("f{}", pick % 17), format!("f{}", pick / 17 % 17));
                let verdict = verdicts[pick / 289 % verdicts.len()].clone();
                match pick / 4096 % 6 {
                    0 => drop(tx.remove_file(mirror, &path(&name))?),
                    1 if tx.file(mirror, &path(&name))?.is_some() => {
                        tx.move_file(&path(&name), &row(mirror, &to, verdict))?;
                    }
                    _ => tx.put_file(&row(mirror, &name, verdict))?,
                }
            }
            let mut counted = Verdict::WORDS.map(|word| (word, 0));
            for file in tx.files_from(mirror, None, usize::MAX)? {
                counted.iter_mut().filter(|(w, _)| *w == file.verdict.word()).for_each(|(_, n)| *n += 1);
            }
            assert_eq!(
                tx.counts(None)?.iter().map(|(_, n)| n).sum::<u64>(),
                1 + counted.iter().map(|(_, n)| n).sum::<u64>()
            );
            Ok((tx.counts(Some(mirror))?, counted))
        })
        .unwrap();
    assert_eq!(tallied, counted);
    assert!(counted.iter().all(|(_, n)| *n > 0) || counted.iter().map(|(_, n)| n).sum::<u64>() > 5);
    journal.close();
}

#[test]
fn rows_that_cannot_be_are_refused() {
    let dir = folder();
    let (journal, mirror) = with_mirror(&db(&dir));
    for verdict in every_verdict() {
        let needs_hash = matches!(verdict.word(), "queued" | "uploading" | "scanning" | "attached");
        let mut file = row(mirror, "a", verdict.clone());
        file.hash = None;
        let result = journal.write_blocking(move |tx| tx.put_file(&file));
        assert_eq!(matches!(result, Err(JournalError::Internal { .. })), needs_hash, "{verdict} without a hash");
    }
    let orphan = row(MirrorId(99), "a", Verdict::Settling);
    assert!(journal.write_blocking(move |tx| tx.put_file(&orphan)).is_err(), "a file of no mirror");
    for sql in [
        "INSERT INTO mirror (name, root) VALUES ('', x'2f')",
        "INSERT INTO mirror (name, root) VALUES ('m', x'')",
        "INSERT INTO mirror (name, root) VALUES ('m', 'text')",
        "UPDATE mirror SET hold = 'auth'",
        "UPDATE mirror SET hold = 'nonsense', hold_detail = '', hold_since = 1",
        "UPDATE mirror SET dev = 1",
        "UPDATE file SET hash = x'00'",
        "UPDATE file SET path = x''",
        "UPDATE file SET path = 'text'",
        "UPDATE file SET path = NULL",
        "UPDATE file SET verdict = 'nonsense'",
        "UPDATE file SET verdict = 'parked', detail = NULL",
        "UPDATE file SET size = -1",
        "UPDATE file SET waiting_since = NULL WHERE verdict = 'settling'",
    ] {
        let result = journal.write_blocking(move |tx| {
            tx.put_file(&row(mirror, "b", Verdict::Settling))?;
            tx.told(tx.conn.execute(sql, []))
        });
        assert!(matches!(result, Err(JournalError::Internal { .. })), "{sql}: {result:?}");
    }
    journal.close();
}

#[test]
fn the_wait_for_agents_spans_tries_and_ends_with_a_verdict() {
    let dir = folder();
    let (journal, mirror) = with_mirror(&db(&dir));
    let put = |verdict: Verdict, since: i64| {
        let mut file = row(mirror, "a", verdict);
        file.since = at(since);
        journal.write_blocking(move |tx| {
            tx.put_file(&file)?;
            Ok(tx.oldest_not_visible(mirror)?.map(|(_, since)| since))
        })
    };
    for (verdict, since, waits) in [
        (Verdict::Settling, 10, Some(10)),
        (Verdict::Queued, 20, Some(10)),
        (Verdict::Uploading, 30, Some(10)),
        (Verdict::Queued, 40, Some(10)),
        (Verdict::Attached, 50, None),
        (Verdict::Settling, 60, Some(60)),
        (Verdict::Parked(ParkCode::Failed), 70, None),
    ] {
        assert_eq!(put(verdict, since).unwrap(), waits.map(at));
    }
    journal.close();
}

#[test]
fn a_move_takes_attachments_and_history_along() {
    let dir = folder();
    let (journal, mirror) = with_mirror(&db(&dir));
    journal
        .write_blocking(move |tx| {
            tx.put_file(&row(mirror, "old", Verdict::Attached))?;
            tx.put_file(&row(mirror, "new", Verdict::Settling))?;
            let id = plan(tx, mirror, "old", 1)?;
            let old = path("old");
            let detail = serde_json::json!({"text": "call"});
            let kind = EventKind::Started;
            let call = NewEvent { mirror, path: Some(old.clone()), attachment: Some(id), kind, detail };
            tx.add_event(&call, at(1))?;
            event(tx, mirror, "old", EventKind::Seen, 2)?;
            tx.move_file(&old, &row(mirror, "new", Verdict::Attached))?;
            event(tx, mirror, "new", EventKind::Moved, 3)?;
            assert_eq!(tx.file(mirror, &old)?, None);
            assert_eq!(tx.attachments_of(mirror, &old)?, []);
            assert_eq!(tx.attachments_of(mirror, &path("new"))?.len(), 1);
            let kinds: Vec<_> = tx.history_of(mirror, &path("new"))?.iter().map(|e| e.kind).collect();
            assert_eq!(kinds, [EventKind::Started, EventKind::Moved]);
            let gone = tx.move_file(&old, &row(mirror, "x", Verdict::Attached));
            assert!(matches!(gone, Err(JournalError::NotFound { .. })));
            Ok(())
        })
        .unwrap();
    journal.close();
}
