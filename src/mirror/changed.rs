//! Nearly all files changed at once: by `stat` alone (a time zone, a restored backup), or in content (malware).
//!
//! Files are read before anything is uploaded as it is. What is added here is that none of them is uploaded before it
//! is known of nearly all whether their content changed, and that new content of nearly all is the hold `all-changed`.
//! The hold ends by itself only when every file has its old content again; a released change goes through once.

use std::time::Duration;

use super::MirrorLoop;
use crate::core::model::HoldCode;
use crate::core::plan::{self, Changes};
use crate::host::time::Instant;
use crate::journal::JournalError;
use crate::types::UnixMillis;

/// How long, beyond `settle`, uploads wait for the next of the changed files to be read; files that never come to rest
/// must not hold up the others for good.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the loop knows of a suspicion.
#[derive(Debug, Default)]
pub(super) enum Suspicion {
    #[default]
    None,
    /// Files that are not read yet, and when their number last fell.
    Open { unread: u64, since: Instant },
    /// Given up: the rest does not come to rest.
    Over,
}

struct Changed {
    tracked: u64,
    unread: u64,
    changed: u64,
    /// Files that are gone.
    missing: u64,
    released: bool,
}

impl MirrorLoop {
    /// Weighs what is changed at present; to be asked after every look and every reading.
    pub(super) async fn weigh_changes(&mut self) -> Result<(), JournalError> {
        let held = self.mirror.is_held_by(HoldCode::AllChanged);
        let closely = held || !matches!(self.suspicion, Suspicion::None);
        let id = self.mirror.id;
        let found = self
            .ask(move |reader| {
                let counts = reader.counts(Some(id))?;
                let count = |word: &str| counts.iter().filter(|(w, _)| *w == word).map(|(_, n)| n).sum::<u64>();
                let open = count("settling") + count("queued") + count("uploading") + count("scanning");
                let row = reader.mirror(id)?;
                let released = row.is_some_and(|row| row.changes_released);
                // The counts are kept by the journal; the questions below read every changed file.
                if !closely && !released && !plan::may_be_all_changed(count("attached"), open) {
                    return Ok(None);
                }
                let (unread, changed) = reader.changed_present(id)?;
                let tracked = reader.older_present(id, UnixMillis(i64::MAX))?;
                let missing = reader.unannounced_deletes(id)?;
                Ok(Some(Changed { tracked, unread, changed, missing, released }))
            })
            .await?;
        let Some(Changed { tracked, unread, changed, missing, released }) = found else { return Ok(()) };
        let weighed = plan::weigh_changes(tracked, unread, changed);
        if released {
            if weighed == Changes::Some {
                self.world.journal.write(move |tx| tx.set_changes_released(id, false)).await?;
            }
            self.suspect(Suspicion::None, unread);
            return Ok(());
        }
        match weighed {
            Changes::All => {
                let text = format!("{changed} of {tracked} attached files have new content");
                self.mirror.begin_hold(&self.world.journal, HoldCode::AllChanged, text).await?;
                self.suspect(Suspicion::None, unread);
            }
            Changes::Suspect if !held => {
                let next = match std::mem::take(&mut self.suspicion) {
                    Suspicion::Open { unread: before, since } if unread >= before => {
                        let patience = self.mirror.config.settle + PATIENCE;
                        if since.elapsed() > patience {
                            Suspicion::Over
                        } else {
                            Suspicion::Open { unread: before, since }
                        }
                    }
                    Suspicion::Over => Suspicion::Over,
                    Suspicion::None | Suspicion::Open { .. } => Suspicion::Open { unread, since: Instant::now() },
                };
                self.suspect(next, unread);
            }
            Changes::Some | Changes::Suspect => {
                if unread == 0 && changed == 0 && missing == 0 {
                    self.mirror.end_hold(&self.world.journal, HoldCode::AllChanged).await?;
                }
                self.suspect(Suspicion::None, unread);
            }
        }
        Ok(())
    }

    fn suspect(&mut self, next: Suspicion, unread: u64) {
        let now = matches!(next, Suspicion::Open { .. });
        self.suspicion = next;
        let before = self.mirror.set_suspect(now);
        let mirror = &self.mirror.config.name;
        if now && !before {
            tracing::info!(mirror, unread, "nearly all files changed: each is read before any is uploaded");
        } else if before && !now {
            tracing::info!(mirror, unread, "the changed files are read");
            self.world.work.notify_one();
        }
    }
}
