//! What is gone: graces begin, and those that ended go together or not at all (invariants 2 to 4).
//!
//! When the two holds of deletes end by themselves. `root-emptied` and `delete-budget` say that more is gone than
//! deletes explain; their cause is gone for certain only when *nothing* is missing any more: every file is back, or
//! kept by hand. One of many that came back, a stranger's file, a larger mirror (of which the budget is a share) or an
//! hour that has passed prove nothing. A person who lifts the budget or sets `delete = "keep"` has decided, too.
//! A file that was being scanned when it went is missing as well for `root-emptied` ([`Absences`]); the budget weighs it
//! when its delete is due.

use std::sync::Arc;
use std::time::Duration;

use super::{BATCH, MirrorLoop};
use crate::core::absence::{Absences, Deletes};
use crate::core::model::{EventKind, HoldCode};
use crate::crash::{self, Point};
use crate::journal::{AbsenceLook, JournalError, NewEvent};
use crate::observe::{Observation, Pass};
use crate::record;
use crate::scan::Root;
use crate::types::{RelPath, UnixMillis};

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
        let weighed = self.absences(pass).await?;
        if weighed.released > weighed.gone.all() {
            self.world.journal.write(move |tx| record::narrow_release(tx, id)).await?;
        }
        self.weigh_holds(due.len() as u64, &weighed).await?;
        let unclear = weighed.may_be_emptied();
        self.tell_unclear(pass, unclear);
        if self.mirror.stops_deletes() || unclear {
            return Ok(true);
        }
        if !due.is_empty() {
            crash::at(Point::DeletesDue);
            self.announce(root, due).await?;
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

    async fn absences(&self, pass: &Pass) -> Result<Absences, JournalError> {
        let gaps: Vec<RelPath> = pass.gaps().cloned().collect();
        let (id, grace, now) = (self.mirror.id, self.mirror.config.delete_grace, UnixMillis::now());
        self.ask(move |reader| {
            let look = AbsenceLook { grace, gaps: &gaps, beginning: &[], now };
            reader.at_one_moment(|view| view.absences(id, &look))
        })
        .await
    }

    /// Begins and ends the holds of deletes; see the module's words on when they end.
    async fn weigh_holds(&self, due: u64, weighed: &Absences) -> Result<(), JournalError> {
        let (journal, budget) = (&self.world.journal, self.mirror.config.delete_budget);
        let keeps = !self.mirror.rules().propagate_deletes;
        if let Some(text) = weighed.emptied().filter(|_| !keeps) {
            self.mirror.begin_hold(journal, HoldCode::RootEmptied, text).await?;
        }
        if weighed.all_back() || keeps {
            self.mirror.end_hold(journal, HoldCode::RootEmptied).await?;
        }
        if let Deletes::Hold(text) = weighed.allow(due, &budget) {
            self.mirror.begin_hold(journal, HoldCode::DeleteBudget, text).await?;
        } else if keeps || weighed.fits_again(&budget) {
            self.mirror.end_hold(journal, HoldCode::DeleteBudget).await?;
        }
        Ok(())
    }

    async fn announce(&self, root: &Root, due: Vec<RelPath>) -> Result<(), JournalError> {
        let (id, identity) = (self.mirror.id, root.identity());
        let evidence = format!(
            "full pass, folder listed completely, no such file; root device {} inode {}",
            identity.dev, identity.inode
        );
        for path in &due {
            let file = self.world.show(path);
            tracing::info!(mirror = %self.mirror.config.name, file, "absent for the whole grace: deleting at Connect");
        }
        self.world
            .journal
            .write(move |tx| {
                let now = UnixMillis::now();
                for path in &due {
                    record::delete(tx, id, path, &evidence, now)?;
                }
                record::spend_release(tx, id, due.len())
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
