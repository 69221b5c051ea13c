//! Roots that are not as they were: one that opens and cannot be listed (a disk that fails, a right that is missing), and
//! another one at the same path, which a person may accept.

use std::time::Duration;

use casedrop_sandbox::FileStatus;

use super::disk::{Deed, Disk};
use super::stage::{End, Stage};
use crate::control;
use crate::core::model::{EventKind, HoldCode};
use crate::fatal::FatalKind;
use crate::journal::EventFilter;
use crate::types::RelPath;

#[test]
fn the_hold_of_a_root_that_cannot_be_listed_stays_until_it_can() {
    const MINUTE: Duration = Duration::from_secs(60);
    let stage = Stage::new(1, |_| {});
    let mut disk = Disk::new(stage.root(), stage.beside("away"));
    disk.act(&Deed::Write { at: 0, size: 10, fill: b'a' });
    let end = stage.live(&stage.config("settle = \"0s\"\nrescan = \"10s\"\n"), async |process| {
        process.pass(MINUTE).await?;
        let world = std::sync::Arc::clone(&process.engine.world);
        let reader = world.journal.reader().map_err(|error| error.to_string())?;
        let count = |kind| reader.events(&EventFilter::default()).unwrap().iter().filter(|e| e.kind == kind).count();
        // No folder has this number, so it is the root itself.
        disk.act(&Deed::Shut { which: u64::MAX });
        for _ in 0..60 {
            process.pass(Duration::from_secs(10)).await?;
            assert!(world.mirrors[0].is_held_by(HoldCode::RootUnreadable));
        }
        assert_eq!((count(EventKind::Held), count(EventKind::Released)), (1, 0), "it neither ends nor begins anew");
        disk.act(&Deed::Open);
        process.pass(MINUTE).await?;
        assert!(world.mirrors[0].holds().is_empty());
        assert_eq!((count(EventKind::Held), count(EventKind::Released)), (1, 1));
        Ok(())
    });
    assert_eq!(end, End::Stopped);
}

/// Seed 91143: a release given while the right disk was back accepted the empty mount point that came after it.
#[test]
fn a_release_accepts_the_root_that_was_shown_and_no_other() {
    const MINUTE: Duration = Duration::from_secs(60);
    let stage = Stage::new(1, |_| {});
    let mut disk = Disk::new(stage.root(), stage.beside("away"));
    for at in 0..3 {
        disk.act(&Deed::Write { at, size: 10, fill: b'a' });
    }
    let end = stage.live(&stage.config("settle = \"0s\"\nrescan = \"10s\"\n"), async |process| {
        process.pass(MINUTE).await?;
        let world = std::sync::Arc::clone(&process.engine.world);
        let codes = || world.mirrors[0].holds().iter().map(|hold| hold.code).collect::<Vec<_>>();
        let visible = || stage.sandbox.ledger().iter().filter(|file| file.status == FileStatus::Approved).count();
        assert_eq!((codes(), visible()), (vec![], 3));
        let away = Deed::Unmount { point_stays: true };

        disk.act(&away);
        process.pass(MINUTE).await?;
        assert_eq!(codes(), [HoldCode::RootReplaced]);
        let shown = process.release(0);
        disk.act(&Deed::Mount);
        let refused = control::perform(&world, &shown).await.unwrap_err();
        assert!(refused.text.contains("another folder") && refused.text.contains("nothing was released"), "{refused}");
        assert_eq!(codes(), [HoldCode::RootReplaced]);

        let shown = process.release(0);
        control::perform(&world, &shown).await.map_err(|fatal| fatal.text)?;
        disk.act(&away);
        process.pass(60 * MINUTE).await?;
        assert_eq!(
            (codes(), visible()),
            (vec![HoldCode::RootReplaced], 3),
            "its own was back, and no other is accepted"
        );

        let shown = process.release(0);
        std::fs::remove_dir(stage.root()).unwrap();
        let refused = control::perform(&world, &shown).await.unwrap_err();
        assert!(refused.text.contains("no such folder") && refused.text.contains("nothing was released"), "{refused}");
        std::fs::create_dir(stage.root()).unwrap();
        let refused = control::perform(&world, &shown).await.unwrap_err();
        assert!(refused.text.contains("another folder"), "made anew: {refused}");
        assert_eq!(refused.kind, FatalKind::Person);

        // Accepted in earnest; that nothing is left in it is another matter.
        process.pass(MINUTE).await?;
        control::perform(&world, &process.release(0)).await.map_err(|fatal| fatal.text)?;
        process.pass(60 * MINUTE).await?;
        assert_eq!((codes(), visible()), (vec![HoldCode::RootEmptied, HoldCode::DeleteBudget], 3));
        Ok(())
    });
    assert_eq!(end, End::Stopped);
}

/// Seed 100537: a person kept one of two files that went together, and the other counted as one that went alone.
#[test]
fn what_is_kept_of_an_emptied_root_says_nothing_of_the_rest() {
    const MINUTE: Duration = Duration::from_secs(60);
    for (apart, held) in [(Duration::from_secs(5), true), (3 * MINUTE, false)] {
        let stage = Stage::new(1, |_| {});
        let mut disk = Disk::new(stage.root(), stage.beside("away"));
        for at in 0..2 {
            disk.act(&Deed::Write { at, size: 10, fill: b'a' + u8::try_from(at).unwrap() });
        }
        let end =
            stage.live(&stage.config("settle = \"0s\"\nrescan = \"10s\"\ndelete_grace = \"60s\"\n"), async |process| {
                process.pass(MINUTE).await?;
                let world = std::sync::Arc::clone(&process.engine.world);
                let visible =
                    || stage.sandbox.ledger().iter().filter(|file| file.status == FileStatus::Approved).count();
                let gone = disk.act(&Deed::Remove { which: 0 }).remove(0);
                process.pass(Duration::from_secs(20)).await?;
                let path = RelPath::new(gone.as_bytes()).unwrap();
                let kept = control::perform(&world, &process.keep(0, &path)).await.map_err(|fatal| fatal.text)?;
                assert_eq!(kept.done, 1);
                process.pass(apart).await?;
                disk.act(&Deed::Remove { which: 0 });
                process.pass(5 * MINUTE).await?;
                let codes: Vec<_> = world.mirrors[0].holds().iter().map(|hold| hold.code).collect();
                let expected = if held { (vec![HoldCode::RootEmptied], 2) } else { (vec![], 1) };
                assert_eq!((codes, visible()), expected, "the second went {apart:?} after the first was kept");
                Ok(())
            });
        assert_eq!(end, End::Stopped);
    }
}
