//! A journal of an older version, made from its own statements, is brought up to date with every row.

use std::path::Path;

use super::super::{Journal, JournalError, Reader};
use super::support::*;
use crate::core::clock::Reading;
use crate::core::model::{AttachmentId, HoldCode, ParkCode, RootIdentity, Stage, Verdict};

/// A journal of version 1 with rows of every kind: each hold, verdict, stage and kind of event, odd values in every
/// column.
fn version_1(path: &Path) {
    let conn = rusqlite::Connection::open(path).unwrap();
    conn.execute_batch(include_str!("../migrations/0001.sql")).unwrap();
    conn.execute_batch("PRAGMA application_id = 0x4344524a; PRAGMA user_version = 1; PRAGMA journal_mode = WAL")
        .unwrap();
    let holds = [
        "root-missing",
        "root-emptied",
        "root-replaced",
        "root-unreadable",
        "delete-budget",
        "all-changed",
        "journal-rebuilt",
        "auth",
    ];
    for (n, hold) in (1..).zip(holds) {
        conn.execute(
            "INSERT INTO mirror VALUES (?1, ?2, x'2f73ff', -1, 2, 3, ?2, 'seen', 40 + ?1, 5, 6, 'native')",
            (n, hold),
        )
        .unwrap();
    }
    conn.execute("INSERT INTO mirror (id, name, root) VALUES (9, 'free', x'2f')", []).unwrap();
    for (n, verdict) in (1_i64..).zip(Verdict::WORDS) {
        let detail = match verdict {
            "parked" => Some("empty-file"),
            "ignored" | "unrouted" => Some("a rule"),
            _ => None,
        };
        let absent = (verdict == "deleting").then_some(77);
        let waits = matches!(verdict, "settling" | "queued" | "uploading" | "scanning").then_some(8);
        conn.execute(
            "INSERT INTO file VALUES (9, ?1, -1, 7, ?2, -5, 6, ?3, ?4, ?5, zeroblob(32), 'note', 1, 2, 3, 4, ?6)",
            (verdict.as_bytes(), n, verdict, detail, absent, waits),
        )
        .unwrap();
    }
    for (n, stage) in (1_i64..).zip(Stage::ALL) {
        let word = stage.as_str();
        let file_id = (*stage != Stage::Planned).then(|| format!("id-{n}"));
        let ended = (!stage.is_under_way()).then_some(50);
        let (deleting, deleted) =
            (matches!(stage, Stage::Deleting).then_some(60), matches!(stage, Stage::Deleted).then_some(61));
        conn.execute(
            "INSERT INTO attachment (id, mirror, path, case_arn, name, size, hash, attempt, token, file_id, stage, reason,
                 tries, next_attempt, created_at, completed_at, ended_at, deleted_at, deleting_at)
             VALUES (?1, 9, ?2, ?3, 'name', 10, zeroblob(32), 1, ?5, ?4, ?5, 'absent', 2, 70, 1, 45, ?6, ?7, ?8)",
            (n, word.as_bytes(), case().as_str(), file_id, word, ended, deleted, deleting),
        )
        .unwrap_or_else(|_| panic!("{word}"));
    }
    conn.execute("INSERT INTO case_ref VALUES (9, 'A-1', 'arn:aws:cases:r:1:domain/d/case/c', 3)", []).unwrap();
    for kind in crate::core::model::EventKind::ALL {
        conn.execute("INSERT INTO event (at, mirror, kind, detail) VALUES (9, 9, ?1, '{}')", [kind.as_str()]).unwrap();
    }
}

/// Every row of the tables of version 1, in the columns that version had.
fn rows(path: &Path) -> Vec<String> {
    let conn = rusqlite::Connection::open(path).unwrap();
    let mut all = Vec::new();
    for (table, columns) in [
        ("mirror", "id, name, root, fsid, dev, inode, released, scanned_at, watch"),
        (
            "file",
            "mirror, path, dev, inode, size, mtime_ns, ctime_ns, verdict, detail, absent_since, hash, note, seen_at,
            since, attempt, next_attempt, waiting_since",
        ),
        ("tally", "mirror, verdict, files"),
        (
            "attachment",
            "id, mirror, path, case_arn, name, size, hash, attempt, token, file_id, stage, reason, start_open,
            unsure_since, tries, next_attempt, last_error, last_request_id, created_at, started_at, stored_at,
            completed_at, ended_at, deleted_at, approved_at, deleting_at",
        ),
        ("event", "id, at, mirror, path, attachment, kind, detail"),
    ] {
        let mut statement = conn.prepare(&format!("SELECT {columns} FROM {table} ORDER BY 1, 2")).unwrap();
        let width = statement.column_count();
        let mut found = statement.query([]).unwrap();
        while let Some(row) = found.next().unwrap() {
            let cells = (0..width).map(|n| format!("{:?}", row.get_ref(n).unwrap()));
            all.push(format!("{table}: {}", cells.collect::<Vec<_>>().join(", ")));
        }
    }
    all
}

#[test]
fn a_journal_of_version_1_keeps_every_row() {
    let dir = folder();
    let path = db(&dir);
    version_1(&path);
    let before = rows(&path);
    assert!(before.len() > 60, "rows of every kind: {}", before.len());
    assert!(matches!(Reader::open(&path), Err(JournalError::OlderVersion { found: 1, .. })), "a view changes nothing");
    assert_eq!(rows(&path), before);
    Journal::open(&path).unwrap().close();
    assert_eq!(rows(&path), before);

    let journal = Journal::open(&path).unwrap();
    let reader = journal.reader().unwrap();
    for code in HoldCode::ALL {
        let row = reader.mirror_by_name(code.as_str()).unwrap().unwrap();
        let hold = row.hold.unwrap();
        assert_eq!((hold.code, hold.detail.as_str(), hold.since), (*code, "seen", at(40 + row.id.0)));
        assert_eq!((row.holds.len(), row.released, row.changes_released), (1, 5, false));
        let identity = RootIdentity { fsid: u64::MAX, dev: 2, inode: 3, born_ns: None };
        assert_eq!(row.identity, Some(identity));
    }
    // A pin of version 1 stays one.
    let reference = crate::core::reference::Reference::new("a-1").unwrap();
    let pinned = reader.case_ref(crate::core::model::MirrorId(9), &reference).unwrap().unwrap();
    assert_eq!((pinned.reference.as_str(), pinned.domain.as_str()), ("A-1", "arn:aws:cases:r:1:domain/d"));
    assert_eq!(pinned.resolved().unwrap().case_id(), "c");
    let free = reader.mirror_by_name("free").unwrap().unwrap();
    assert_eq!((free.holds.len(), free.identity), (0, None));
    for word in Verdict::WORDS {
        assert_eq!(reader.file(free.id, &path_of(word)).unwrap().unwrap().verdict.word(), word);
    }
    for stage in Stage::ALL {
        assert_eq!(reader.attachments_of(free.id, &path_of(stage.as_str())).unwrap()[0].stage, *stage);
    }
    // And it can be worked with.
    journal.write_blocking(move |tx| tx.set_scanned(free.id, at(99))).unwrap();
    drop(reader);
    journal.close();
}

#[test]
fn what_was_kept_or_to_be_replaced_elsewhere_still_is() {
    let dir = folder();
    let path = db(&dir);
    version_1(&path);
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute("UPDATE attachment SET reason = 'moved' WHERE stage = 'approved'", []).unwrap();
    conn.execute("UPDATE attachment SET reason = 'kept' WHERE stage = 'completed'", []).unwrap();
    conn.execute(
        "INSERT INTO attachment (id, mirror, path, case_arn, name, size, hash, attempt, token, file_id, stage, reason, tries,
             created_at, ended_at) SELECT 99, mirror, CAST('f' AS BLOB), case_arn, name, size, hash, attempt, 't', 'f', stage,
             'altered-remotely', 0, 1, 2 FROM attachment WHERE stage = 'approved'",
        [],
    )
    .unwrap();
    conn.execute(
        "INSERT INTO file SELECT mirror, CAST('completed' AS BLOB), dev, inode, size, mtime_ns, ctime_ns, 'scanning', NULL, 77, hash, note,
             seen_at, since, attempt, next_attempt, 8 FROM file WHERE verdict = 'scanning'",
        [],
    )
    .unwrap();
    conn.execute("UPDATE file SET note = 'asked for by hand: Connect judges' WHERE verdict = 'queued'", []).unwrap();
    let refused = "INSERT INTO event (at, mirror, attachment, kind, detail) VALUES (9, 9, 9, 'adopted', ?1)";
    conn.execute(refused, [r#"{"text":"taken over from Connect as rejected"}"#]).unwrap();
    drop(conn);
    let journal = Journal::open(&path).unwrap();
    let reader = journal.reader().unwrap();
    for row in reader.files_from(crate::core::model::MirrorId(9), None, 100).unwrap() {
        assert_eq!(row.kept, row.path == path_of("completed"), "{}", row.path);
        assert_eq!(row.is_insisted_on(), row.path == path_of("queued"), "{}", row.path);
    }
    let refused = reader.attachment(AttachmentId(9)).unwrap().unwrap();
    assert_eq!(refused.reason.as_deref(), Some(crate::core::plan::REFUSED_AND_GONE));
    let altered = reader.attachment(AttachmentId(99)).unwrap().unwrap();
    assert_eq!((altered.found, altered.reason, altered.moved), (Some(ParkCode::AlteredRemotely), None, false));
    for stage in Stage::ALL {
        let rows = reader.attachments_of(crate::core::model::MirrorId(9), &path_of(stage.as_str())).unwrap();
        let expected = match stage {
            Stage::Approved => (true, None),
            Stage::Completed => (false, None),
            Stage::Deleting => (false, Some(crate::core::plan::REFUSED_AND_GONE)),
            _ => (false, Some("absent")),
        };
        assert_eq!((rows[0].moved, rows[0].reason.as_deref()), expected, "{stage}");
    }
    drop(reader);
    journal.close();
}

fn path_of(word: &str) -> crate::types::RelPath {
    super::support::path(word)
}

#[test]
fn a_step_of_the_clock_moves_what_waits_and_nothing_that_is_told() {
    let dir = folder();
    let path = db(&dir);
    version_1(&path);
    let journal = Journal::open(&path).unwrap();
    let mirror = journal.reader().unwrap().mirror_by_name("free").unwrap().unwrap().id;
    let boot = |up_ms, wall_ms| Reading { boot: "b".into(), up_ms, wall_ms };
    let steps = journal
        .write_blocking(move |tx| {
            use crate::record::keep_time;
            let first = keep_time(tx, Some(&boot(1_000, 100)))?;
            let none = keep_time(tx, Some(&boot(2_000, 1_100)))?;
            // A day forward, and a minute passes.
            let step = keep_time(tx, Some(&boot(62_000, 86_461_100)))?;
            Ok((first, none, step, keep_time(tx, None)?, tx.clock()?))
        })
        .unwrap();
    assert_eq!(steps, (0, 0, 86_400_000, 0, Some(boot(62_000, 86_461_100))));
    let day = 86_400_000;
    let reader = journal.reader().unwrap();
    let file = |word: &str| reader.file(mirror, &path_of(word)).unwrap().unwrap();
    assert_eq!(file("deleting").absent_since, Some(at(77 + day)));
    assert_eq!(file("queued").next_attempt, Some(at(4 + day)));
    assert_eq!((file("attached").since, file("attached").seen_at), (at(2), at(1)));
    let of = |stage: Stage| reader.attachments_of(mirror, &path_of(stage.as_str())).unwrap().remove(0);
    assert_eq!(of(Stage::Deleting).next_attempt, Some(at(70 + day)));
    assert_eq!(
        (of(Stage::Completed).completed_at, of(Stage::Approved).completed_at),
        (Some(at(45 + day)), Some(at(45)))
    );
    assert_eq!(
        (reader.deletes_since(mirror, at(60 + day)).unwrap(), reader.deletes_since(mirror, at(61 + day)).unwrap()),
        (1, 0)
    );
    drop(reader);
    journal.close();
}
