//! What is gone: graces begin, and those that ended go together or not at all (invariants 2 to 4).

use std::sync::Arc;
use std::time::Duration;

use super::{BATCH, MirrorLoop, hold_of};
use crate::core::model::{EventKind, HoldCode};
use crate::core::plan::{self, Deletes, Seen};
use crate::crash::{self, Point};
use crate::journal::{JournalError, NewEvent};
use crate::observe::{Observation, Pass};
use crate::record;
use crate::scan::Root;
use crate::types::{RelPath, UnixMillis};

impl MirrorLoop {
    /// Time until the first grace ends.
    pub(super) async fn next_grace_end(&self) -> Result<Option<Duration>, JournalError> {
        if !self.mirror.rules().propagate_deletes {
            return Ok(None);
        }
        let id = self.mirror.id;
        let since = self.ask(move |reader| reader.next_absent_since(id)).await?;
        Ok(since.map(|since| since.plus(self.mirror.config.delete_grace).since(UnixMillis::now())))
    }

    /// What is gone in a full pass: graces begin, and those that ended go together or not at all. `true` while
    /// deletes are held back.
    pub(super) async fn weigh_absent(&mut self, root: &Arc<Root>, pass: &Pass) -> Result<bool, JournalError> {
        let (id, hour_ago) = (self.mirror.id, UnixMillis(UnixMillis::now().0 - 3_600_000));
        let (tracked, recent, released) = self
            .ask(move |reader| {
                let released = reader.mirror(id)?.map_or(0, |row| row.released);
                Ok((reader.tracked_count(id)?, reader.deletes_since(id, hour_ago)?, u64::from(released)))
            })
            .await?;
        let emptied = plan::is_emptied(tracked, pass.known_present);
        if emptied && released == 0 {
            let text = format!("none of the {tracked} attached files is left in the folder");
            self.mirror.set_hold(&self.world.journal, Some((HoldCode::RootEmptied, text))).await?;
        }
        if self.mirror.hold_code() == Some(HoldCode::RootEmptied) && !emptied {
            self.mirror.set_hold(&self.world.journal, None).await?;
        }
        // The folder that was listed must still be the one at the path, or its absences mean nothing.
        if let Err(fault) = root.still_there(&self.mirror.config.path) {
            self.mirror.set_hold(&self.world.journal, Some(hold_of(&fault, &self.mirror))).await?;
            return Ok(true);
        }
        let mut due = Vec::new();
        for batch in pass.absent.chunks(BATCH) {
            let batch = batch.iter().map(|path| Observation { path: path.clone(), seen: Seen::Absent }).collect();
            due.extend(self.plan(batch).await?);
        }
        if pass.absent.is_empty() && released > 0 {
            self.world.journal.write(move |tx| tx.set_released(id, 0)).await?;
        }
        if emptied && released == 0 {
            // The absences are noted, so that a person can see and count what a release would delete.
            return Ok(true);
        }
        let count = due.len() as u64;
        match plan::allow_deletes(count, tracked, recent, released, &self.mirror.config.delete_budget) {
            Deletes::Hold(text) => {
                self.mirror.set_hold(&self.world.journal, Some((HoldCode::DeleteBudget, text))).await?;
                return Ok(true);
            }
            Deletes::Go => {
                if self.mirror.hold_code() == Some(HoldCode::DeleteBudget) {
                    self.mirror.set_hold(&self.world.journal, None).await?;
                }
            }
        }
        if due.is_empty() {
            return Ok(false);
        }
        if self.mirror.hold_code().is_some() {
            return Ok(true);
        }
        crash::at(Point::DeletesDue);
        self.announce(root, due, released).await?;
        crash::at(Point::DeletesAnnounced);
        Ok(false)
    }

    async fn announce(&self, root: &Root, due: Vec<RelPath>, released: u64) -> Result<(), JournalError> {
        let (id, identity) = (self.mirror.id, root.identity());
        let evidence = format!(
            "full pass, folder listed completely, no such file; root device {} inode {}",
            identity.dev, identity.inode
        );
        for path in &due {
            let file = self.world.show(path);
            tracing::info!(mirror = %self.mirror.config.name, file, "absent for the whole grace: deleting at Connect");
        }
        let left = u32::try_from(released.saturating_sub(due.len() as u64)).unwrap_or(u32::MAX);
        self.world
            .journal
            .write(move |tx| {
                let now = UnixMillis::now();
                for path in &due {
                    record::delete(tx, id, path, &evidence, now)?;
                }
                tx.set_released(id, left)
            })
            .await?;
        self.world.work.notify_one();
        Ok(())
    }

    /// Says once what could not be listed; nothing is deleted below it.
    pub(super) async fn report_unlisted(&mut self, pass: &Pass) -> Result<(), JournalError> {
        for (folder, error) in pass.unlisted.iter().filter(|entry| !self.unlisted.contains(entry)) {
            let name = self.world.show(folder);
            tracing::warn!(mirror = %self.mirror.config.name, folder = name, "cannot be listed, nothing below it is touched: {error}");
            let detail = serde_json::json!({ "text": error });
            let event = NewEvent {
                mirror: self.mirror.id,
                path: Some(folder.clone()),
                attachment: None,
                kind: EventKind::Unlisted,
                detail,
            };
            self.world.journal.write(move |tx| tx.add_event(&event, UnixMillis::now()).map(drop)).await?;
        }
        self.unlisted.clone_from(&pass.unlisted);
        Ok(())
    }
}
