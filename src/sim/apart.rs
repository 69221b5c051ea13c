//! Invariant 15: trouble in one mirror does not delay another, beyond the pacer that they share.
//!
//! All other trouble ends first and is given time to pass, so that what is measured is the one mirror's alone.

use std::time::Duration;

use casedrop_sandbox::FileStatus;

use super::disk::Deed;
use super::run::{Sim, touch};
use super::stage::Process;
use crate::core::model::HoldCode;

/// How long what went before may have its effect: calls that hang end, pauses after faults are over.
const CALM: Duration = Duration::from_secs(120);
/// How long a new file may take to be visible: the longest wait for a look (30 s), quiet time, scan (9 s) and
/// follow-up, its calls at the shared pace, and the mirror's own files before it.
const BOUND: Duration = Duration::from_secs(90);
/// Files that wait in the mirror with the trouble: more than there are slots for uploads.
const QUEUE: u64 = 12;

impl Sim {
    /// One mirror gets into trouble, then the other gets a new file.
    pub(super) async fn apart(&self, sick: usize, trouble: &Deed, process: &mut Process) -> Result<(), String> {
        let well = 1 - sick;
        self.calm();
        let nth = self.apart.get() + 1;
        for folder in &self.folders {
            folder.disk.lock().unwrap().heal();
        }
        process.pass(CALM).await?;
        // A shared pacer that was throttled down is no matter of one mirror; a held mirror delays itself.
        let slowed = process.engine.world.aws.usage().iter().any(|lane| lane.slowed && lane.rate < 2.0);
        if slowed || process.engine.world.mirrors[well].stops_uploads() {
            return Ok(());
        }
        {
            let mut disk = self.folders[sick].disk.lock().unwrap();
            for n in 0..QUEUE {
                let path = format!("queue {nth} {n}.txt");
                disk.put(&path, &format!("{n} of queue {nth}"));
                touch(process, sick, &path);
            }
        }
        // The queue may have begun, and then its folder goes.
        process.pass(Duration::from_secs(6)).await?;
        self.folders[sick].disk.lock().unwrap().act(trouble);
        process.pass(Duration::from_secs(40)).await?;
        let (name, content) = (format!("probe {nth}.txt"), format!("probe {nth} of {}", self.folders[well].name));
        if !self.folders[well].disk.lock().unwrap().put(&name, &content) {
            return Ok(());
        }
        if process.engine.world.mirrors[sick].holds().is_empty() {
            self.judge.broke("invariant 3: a root that is not the mirror's is no hold".to_owned());
        }
        let mut waited = Duration::ZERO;
        while !self.is_visible(&name) {
            if process.engine.world.mirrors[well].is_held_by(HoldCode::JournalRebuilt) {
                // Its first file after a loss: that trouble is its own.
                return Ok(());
            }
            if waited >= BOUND {
                self.judge.broke(format!("invariant 15: {name} is not visible after {waited:?}"));
                return Ok(());
            }
            process.pass(Duration::from_secs(1)).await?;
            waited += Duration::from_secs(1);
        }
        self.stage.trace.note(&format!("{name} is visible after {waited:?}"));
        self.apart.set(nth);
        Ok(())
    }

    fn is_visible(&self, name: &str) -> bool {
        let ledger = self.stage.sandbox.ledger();
        ledger.iter().any(|file| file.file_name == name && file.status == FileStatus::Approved)
    }
}
