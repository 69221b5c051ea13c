//! What is gone: graces begin, and those that ended go together or not at all (invariants 2 to 4).
//!
//! When the two holds of deletes end by themselves. `root-emptied` and `delete-budget` say that more is gone than
//! deletes explain; their cause is gone for certain only when *nothing* is missing any more: every file is back, or
//! kept by hand. One of many that came back, a stranger's file, a larger mirror (of which the budget is a share) or an
//! hour that has passed prove nothing. A person who lifts the budget or sets `delete = "keep"` has decided, too.

use std::sync::Arc;
use std::time::Duration;

use super::{BATCH, MirrorLoop};
use crate::core::model::{EventKind, HoldCode};
use crate::core::plan::{self, Deletes};
use crate::crash::{self, Point};
use crate::journal::{JournalError, NewEvent};
use crate::observe::{Observation, Pass};
use crate::record;
use crate::scan::Root;
use crate::types::{RelPath, UnixMillis};

/// What a pass has to weigh.
struct Missing {
    tracked: u64,
    /// Deletes of the last hour.
    recent: u64,
    /// Deletes that a person let past the budget.
    released: u64,
    /// Attached files that are gone, their deletes not yet announced.
    missing: u64,
    /// Files that went within a grace before them, or later, and are kept by hand.
    kept: u64,
    /// The same, and their scans have not ended.
    scanned: u64,
    /// Files that are gone, whenever they went, and whose scans have not ended.
    in_scan: u64,
    emptied: bool,
    /// The gaps of the listing may hide that the root was emptied.
    unclear: bool,
}

impl MirrorLoop {
    /// Time until the first grace ends, of those that had not ended at `looked`.
    pub(super) async fn next_grace_end(&self, looked: UnixMillis) -> Result<Option<Duration>, JournalError> {
        if !self.mirror.rules().propagate_deletes {
            return Ok(None);
        }
        let (id, grace) = (self.mirror.id, self.mirror.config.delete_grace);
        let since = self.ask(move |reader| reader.next_absent_since(id, looked.minus(grace))).await?;
        Ok(since.map(|since| since.plus(grace).since(UnixMillis::now())))
    }

    /// What is gone in a full pass: graces begin, and those that ended go together or not at all. `true` while
    /// deletes are held back.
    pub(super) async fn weigh_absent(&mut self, root: &Arc<Root>, pass: &Pass) -> Result<bool, JournalError> {
        // The folder that was listed must still be the one at the path, or its absences mean nothing.
        if let Err(fault) = root.still_there(&self.mirror.config.path) {
            self.root_fault(&fault).await?;
            return Ok(true);
        }
        let mut due = Vec::new();
        for batch in pass.absent.chunks(BATCH) {
            let batch = batch.iter().map(|path| Observation::absent(path.clone(), &self.mirror.config.scope)).collect();
            due.extend(self.plan(batch).await?);
        }
        let id = self.mirror.id;
        let weighed = self.missing(pass).await?;
        if weighed.missing + weighed.in_scan == 0 && weighed.released > 0 {
            // What a person let go has gone, or is back.
            self.world.journal.write(move |tx| tx.set_released(id, 0)).await?;
        }
        self.weigh_holds(due.len() as u64, &weighed).await?;
        self.tell_unclear(pass, weighed.unclear);
        if self.mirror.stops_deletes() || weighed.unclear {
            return Ok(true);
        }
        if !due.is_empty() {
            crash::at(Point::DeletesDue);
            self.announce(root, due, weighed.released).await?;
            crash::at(Point::DeletesAnnounced);
        }
        Ok(false)
    }

    /// Says once that deletes wait for files that cannot be looked at; folders are told of one by one.
    fn tell_unclear(&mut self, pass: &Pass, unclear: bool) {
        let blocked = pass.unknown.first().filter(|_| unclear);
        if let (Some((path, error)), false) = (blocked, self.unclear) {
            let (file, count) = (self.world.show(path), pass.unknown.len());
            tracing::warn!(
                mirror = %self.mirror.config.name, file, count,
                "known files cannot be looked at, and no other is left: nothing is deleted until they can: {error}"
            );
        }
        self.unclear = blocked.is_some();
    }

    async fn missing(&self, pass: &Pass) -> Result<Missing, JournalError> {
        let gaps: Vec<RelPath> = pass.gaps().cloned().collect();
        let (id, hour_ago) = (self.mirror.id, UnixMillis(UnixMillis::now().0 - 3_600_000));
        let grace = self.mirror.config.delete_grace;
        self.ask(move |reader| {
            reader.at_one_moment(|reader| {
                let (missing, first) = reader.unannounced_deletes(id)?;
                // A person who keeps one of those that went together says nothing of the others.
                let kept = first.map_or(Ok(0), |first| reader.kept_since(id, first.minus(grace)))?;
                let scanned = first.map_or(Ok(0), |first| reader.scanned_gone(id, first.minus(grace)))?;
                let (mut older, mut scanned_here, mut hidden) = (1, 0, 0);
                if let Some(first) = first.filter(|_| missing + kept + scanned >= 2 || !gaps.is_empty()) {
                    older = reader.older_present(id, first)?;
                    // One that could not be looked at proves nothing.
                    scanned_here = if gaps.is_empty() { reader.scanned_present(id, first)? } else { 0 };
                    hidden = reader.older_present_within(id, first, &gaps)?;
                }
                Ok(Missing {
                    tracked: reader.tracked_count(id)?,
                    recent: reader.deletes_since(id, hour_ago)?,
                    released: reader.mirror(id)?.map_or(0, |row| u64::from(row.released)),
                    missing,
                    kept,
                    scanned,
                    in_scan: reader.scanned_gone(id, UnixMillis(i64::MIN))?,
                    emptied: plan::is_emptied_in_scan(missing + kept, older, scanned, scanned_here),
                    unclear: plan::may_be_emptied(missing, older, hidden),
                })
            })
        })
        .await
    }

    /// Begins and ends the holds of deletes; see the module's words on when they end.
    async fn weigh_holds(&self, due: u64, weighed: &Missing) -> Result<(), JournalError> {
        let (journal, budget) = (&self.world.journal, self.mirror.config.delete_budget);
        let keeps = !self.mirror.rules().propagate_deletes;
        let Missing { tracked, recent, released, missing, kept, scanned, in_scan, emptied, .. } = *weighed;
        if emptied && missing > released && !keeps {
            let of_them =
                |count: u64, what| if count > 0 { format!(" ({count} of them {what})") } else { String::new() };
            let (by_hand, in_scan) = (of_them(kept, "kept by hand"), of_them(scanned, "still being scanned"));
            let gone = missing + kept + scanned;
            let text =
                format!("{gone} attached files are gone{by_hand}{in_scan}, and none that was there with them is left");
            self.mirror.begin_hold(journal, HoldCode::RootEmptied, text).await?;
        }
        if missing + in_scan == 0 || keeps {
            self.mirror.end_hold(journal, HoldCode::RootEmptied).await?;
        }
        if let Deletes::Hold(text) = plan::allow_deletes(due, tracked, recent, released, &budget) {
            self.mirror.begin_hold(journal, HoldCode::DeleteBudget, text).await?;
        } else if missing == 0 || keeps || budget.allowed(tracked).is_none() {
            self.mirror.end_hold(journal, HoldCode::DeleteBudget).await?;
        }
        Ok(())
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

    /// Says once what could not be listed, and records it for the views; nothing is deleted below it.
    pub(super) async fn report_unlisted(&mut self, pass: &Pass) -> Result<(), JournalError> {
        if self.unlisted.as_ref() == Some(&pass.unlisted) {
            return Ok(());
        }
        let known = self.unlisted.take().unwrap_or_default();
        let new: Vec<_> = pass.unlisted.iter().filter(|entry| !known.contains(entry)).cloned().collect();
        for (folder, error) in &new {
            let name = self.world.show(folder);
            tracing::warn!(mirror = %self.mirror.config.name, folder = name, "cannot be listed, nothing below it is touched: {error}");
        }
        for (folder, _) in known.iter().filter(|(folder, _)| !pass.unlisted.iter().any(|(path, _)| path == folder)) {
            let name = self.world.show(folder);
            tracing::info!(mirror = %self.mirror.config.name, folder = name, "can be listed again, or is gone");
        }
        let (id, all) = (self.mirror.id, pass.unlisted.clone());
        self.world
            .journal
            .write(move |tx| {
                let now = UnixMillis::now();
                for (folder, error) in new {
                    let detail = serde_json::json!({ "text": error });
                    let kind = EventKind::Unlisted;
                    let event = NewEvent { mirror: id, path: Some(folder), attachment: None, kind, detail };
                    tx.add_event(&event, now)?;
                }
                tx.set_unlisted(id, &all, now)
            })
            .await?;
        self.unlisted = Some(pass.unlisted.clone());
        Ok(())
    }
}
