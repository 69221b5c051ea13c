//! A file that something goes on writing, with the hours of its life compressed.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

use super::stage::{End, Stage};
use crate::core::model::Verdict;
use crate::types::RelPath;

/// Settling takes 5 s, and every 4 s something is appended, for an hour.
#[test]
fn a_file_written_for_an_hour_is_flagged_after_ten_minutes_and_sent_once_when_it_rests() {
    const GAP: Duration = Duration::from_secs(4);
    const APPENDS: u64 = 900;
    let stage = Stage::new(1, |_| {});
    let archive = tempfile::tempdir().unwrap();
    let config = stage.config(&format!(
        "settle = \"5s\"\nrescan = \"1s\"\nmode = \"ingest\"\nafter_approval = \"archive\"\narchive = {:?}\n",
        archive.path()
    ));
    let path = stage.root().join("log.txt");
    let end = stage.live(&config, async |process| {
        let world = std::sync::Arc::clone(&process.engine.world);
        let reader = world.journal.reader().map_err(|error| error.to_string())?;
        let row = || reader.file(world.mirrors[0].id, &RelPath::new(&b"log.txt"[..]).unwrap()).unwrap();
        let mut flagged = Vec::new();
        for n in 0..APPENDS {
            let mut file = OpenOptions::new().append(true).create(true).open(&path).unwrap();
            file.write_all(format!("line {n:04}\n").as_bytes()).unwrap();
            drop(file);
            process.pass(GAP).await?;
            let row = row().unwrap();
            assert_eq!(row.verdict, Verdict::Settling, "{n}");
            flagged.extend(row.note.is_some().then_some(n * GAP.as_secs()));
        }
        assert!(stage.sandbox.ledger().is_empty(), "a part of it was sent");
        let first = flagged.first().copied().unwrap_or_default();
        assert!((590..=620).contains(&first), "flagged after {first} s");
        assert_eq!(flagged.len() as u64, APPENDS - first / GAP.as_secs(), "the flag stays");
        assert!(row().unwrap().note.unwrap().contains("has not come to rest for 10 minutes"));
        process.pass(Duration::from_secs(120)).await?;
        assert_eq!(row(), None, "at rest it is delivered and archived");
        Ok(())
    });
    assert_eq!(end, End::Stopped);
    let files = stage.sandbox.ledger();
    assert_eq!(files.len(), 1);
    let whole: String = (0..APPENDS).map(|n| format!("line {n:04}\n")).collect();
    assert_eq!(std::fs::read_to_string(archive.path().join("log.txt")).unwrap(), whole);
}
