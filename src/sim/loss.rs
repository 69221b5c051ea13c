//! The journal is lost, and `adopt` rebuilds it (invariant 19): the same session as the command's, in a process of its
//! own, in any weather, killed at any moment.

use std::time::Duration;

use casedrop_sandbox::FileStatus;

use super::course::Lost;
use super::run::Sim;
use super::stage::End;
use crate::adopt::{Fate, Plan, Session};
use crate::core::model::{HoldCode, Verdict};
use crate::tags::{self, Place};
use crate::types::{FileId, RelPath};
use crate::world::Mirror;

/// After this, what is open at Connect will never be complete, and an adoption comes to its end.
const NEVER_COMPLETES: Duration = Duration::from_secs(21 * 60);

/// How long an attachment may not be listed yet.
const LISTING: Duration = Duration::from_secs(61);

impl Sim {
    fn beside_journal(&self, suffix: &str) -> std::ffi::OsString {
        let mut path = self.config().journal_path.into_os_string();
        path.push(suffix);
        path
    }

    /// The journal is gone, as after an accident.
    pub(super) fn lose_journal(&self, what: Lost) {
        let suffixes: &[&str] = match what {
            Lost::Half => &["", "-shm"],
            Lost::Database => &["", "-wal", "-shm"],
            Lost::Everything => &["", "-wal", "-shm", ".lock", ".sock"],
        };
        for suffix in suffixes {
            drop(std::fs::remove_file(self.beside_journal(suffix)));
        }
        if what == Lost::Everything {
            // Only Connect knows, and it may list late what was attached last.
            self.stage.host.pass(LISTING);
        }
        self.half.set(what == Lost::Half);
        self.to_rebuild.set(true);
        self.judge.lost();
    }

    /// Takes away what is left of a lost journal, without which nothing starts. Whether there was anything.
    pub(super) fn clear_half(&self) -> bool {
        self.half.replace(false) && std::fs::remove_file(self.beside_journal("-wal")).is_ok()
    }

    /// One run of `adopt --yes` over all mirrors. Whether nothing was left open.
    pub(super) fn adopt(&self) -> (End, bool) {
        let (config, mut whole) = (self.config(), true);
        let end = self.stage.process(async {
            let session = Session::open(&config).await.map_err(|error| error.to_string())?;
            for mirror in session.mirrors() {
                let began = self.stage.host.true_time();
                let plan = match session.plan(mirror, &[], false, &mut |_| {}).await {
                    Ok(plan) => plan,
                    // Adopted from another disk before: a person has to accept this one.
                    Err(error) if error.to_string().contains("another folder or disk") => {
                        whole &= !mirror.is_held_by(HoldCode::JournalRebuilt);
                        self.refused.set(true);
                        continue;
                    }
                    Err(error) => return Err(error.to_string()),
                };
                session.apply(mirror, &plan, &mut |_| {}).await.map_err(|error| error.to_string())?;
                whole &= plan.is_whole();
                self.weigh_adoption(&session, mirror, &plan, began);
            }
            session.close().await;
            Ok(())
        });
        let whole = whole && end == End::Stopped;
        if whole && self.to_rebuild.replace(false) {
            self.adoptions.set(self.adoptions.get() + 1);
        }
        (end, whole)
    }

    /// In peace: until nothing is left open.
    pub(super) fn rebuild(&self, lives: &mut u64) {
        for attempt in 0..6 {
            *lives += 1;
            let (end, whole) = self.adopt();
            if whole {
                return;
            }
            // The libraries' clients outlive the processes here, and each believes a stepped clock until it is refused.
            if end != End::Stopped && attempt > 1 {
                return self.judge.broke(format!("in peace: adopt: {end:?}"));
            }
            self.stage.host.pass(NEVER_COMPLETES);
        }
        self.judge.broke("invariant 19: the adoption does not come to its end".to_owned());
    }

    /// A file that is at Connect as it is here counts as attached.
    fn weigh_adoption(&self, session: &Session, mirror: &Mirror, plan: &Plan, began: i64) {
        let folder = self.folders.iter().find(|folder| folder.name == mirror.config.name).unwrap();
        let (disk, reader) = (folder.disk.lock().unwrap(), session.journal().reader().unwrap());
        if disk.was_away(began) {
            // What it found there is not the mirror's, and no journal knew.
            return;
        }
        let (_, forgotten) = self.judge.losses();
        let fate = |path: &RelPath| plan.entries.iter().find(|entry| entry.adoption.path == *path).map(|e| e.fate);
        for file in self.stage.sandbox.ledger().iter().filter(|file| file.status == FileStatus::Approved) {
            let Some(origin) = tags::read(&file.tags).filter(|origin| origin.mirror == folder.name) else { continue };
            let Place::Path(path) = origin.place else { continue };
            let text = std::str::from_utf8(path.as_bytes()).unwrap();
            let same = disk.tree().get(text) == Some(&origin.hash.to_string());
            let open = plan.open.iter().any(|(open, _)| *open == path);
            let unlisted = plan.unlisted.iter().any(|(folder, _)| path == *folder || path.is_below(folder));
            let left_out = self.left_out().is_some_and(|folder| text.starts_with(folder));
            let given_up = forgotten.contains(&file.file_id);
            if !same || given_up || open || unlisted || left_out {
                continue;
            }
            // What an earlier run took over is judged again by the first look.
            let row = reader.file(mirror.id, &path).unwrap();
            let good = match fate(&path) {
                Some(Fate::Unread) => true,
                Some(_) => row.as_ref().is_some_and(|row| row.verdict == Verdict::Attached),
                None => {
                    FileId::new(&*file.file_id).is_some_and(|id| reader.attachment_by_file_id(&id).unwrap().is_some())
                }
            };
            if !good {
                self.judge.broke(format!("invariant 19: {text} is at Connect as it is here, and adopted as {row:?}"));
            }
        }
    }
}
