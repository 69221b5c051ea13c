//! A part of the program that breaks down: only what it worked on waits, and not until a restart.

use std::time::Duration;

use casedrop_sandbox::FileStatus;

use super::stage::{End, Stage};
use crate::core::model::Verdict;
use crate::types::RelPath;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_job_that_panics_delays_its_own_file_only_and_leaves_nothing_behind() {
    // Start, PUT, complete; and the delete of a file that is gone.
    for nth in 1..=4 {
        let stage = Stage::new(nth, |_| {});
        let config =
            stage.config("settle = \"0s\"\nrescan = \"10s\"\ndelete = \"propagate\"\ndelete_grace = \"60s\"\n");
        let write = |name: &str| std::fs::write(stage.root().join(name), name).unwrap();
        let visible = |name: &str| {
            let files = stage.sandbox.ledger();
            files.iter().filter(|file| file.file_name == name && file.status == FileStatus::Approved).count()
        };
        let end = stage.live(&config, async |process| {
            process.pass(Duration::from_secs(5)).await?;
            let world = std::sync::Arc::clone(&process.engine.world);
            let reader = world.journal.reader().map_err(|error| error.to_string())?;
            let row = |name: &str| reader.file(world.mirrors[0].id, &RelPath::new(name.as_bytes()).unwrap()).unwrap();
            if nth == 4 {
                write("one.txt");
                process.pass(MINUTE).await?;
                std::fs::remove_file(stage.root().join("one.txt")).unwrap();
                stage.line.break_down_at(1);
                process.pass(3 * MINUTE).await?;
                assert_eq!((row("one.txt").map(|row| row.verdict), visible("one.txt")), (Some(Verdict::Deleting), 1));
            } else {
                stage.line.break_down_at(nth);
                write("one.txt");
                process.pass(MINUTE).await?;
                assert_eq!(visible("one.txt"), 0, "call {nth}");
                assert_ne!(row("one.txt").unwrap().verdict, Verdict::Attached, "call {nth}");
            }
            write("two.txt");
            process.pass(MINUTE).await?;
            assert_eq!(visible("two.txt"), 1, "the others go on");
            process.pass(6 * MINUTE).await?;
            assert_eq!(visible("one.txt"), usize::from(nth < 4), "call {nth}: tried again");
            assert_eq!(row("one.txt").map(|row| row.verdict), (nth < 4).then_some(Verdict::Attached), "call {nth}");
            process.pass(30 * MINUTE).await?;
            assert_eq!(stage.sandbox.ledger().len(), 1 + usize::from(nth < 4), "call {nth}: nothing is left over");
            Ok(())
        });
        assert_eq!(end, End::Stopped, "call {nth}");
    }
}
