//! A root that opens and cannot be listed: a disk that fails, a right that is missing.

use std::time::Duration;

use super::disk::{Deed, Disk};
use super::stage::{End, Stage};
use crate::core::model::{EventKind, HoldCode};
use crate::journal::EventFilter;

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
