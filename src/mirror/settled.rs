//! What has come to rest: read, and planned with its content.

use std::sync::Arc;

use super::{BUSY, MirrorLoop, NEVER_SETTLES, READ_BYTES, READ_FILES, RETRY};
use crate::core::model::Stat;
use crate::core::plan::Seen;
use crate::core::sidecar::Beside;
use crate::host;
use crate::host::time::Instant;
use crate::journal::JournalError;
use crate::observe::{self, Observation};
use crate::pulse::Pulse;
use crate::record;
use crate::scan::{self, Root};
use crate::types::RelPath;
use crate::world::Mirror;

impl MirrorLoop {
    /// Reads what has been quiet for long enough, and plans with its content.
    pub(super) async fn read_settled(&mut self, pulse: &Pulse) -> Result<(), JournalError> {
        while !self.stop.is_cancelled() {
            let due = self.settler.due(self.mono(), READ_FILES);
            if due.is_empty() {
                return Ok(());
            }
            let Some(root) = self.healthy_root().await? else {
                // The next full pass finds them again; until then nothing here is to be waited for.
                due.iter().for_each(|(path, _)| self.settler.forget(path));
                self.next_pass = self.next_pass.min(Instant::now() + RETRY);
                return Ok(());
            };
            let (stop, mirror) = (self.stop.clone(), Arc::clone(&self.mirror));
            let read = host::blocking(move || read_all(&root, &mirror, due, &|| stop.is_cancelled()));
            let Ok(read) = read.await else { return Ok(()) };
            let mut batch = Vec::with_capacity(read.len());
            let now = self.mono();
            // With `settle = "0s"` a file that cannot be read now would come round at once, and again.
            let rest = now.plus(BUSY.saturating_sub(self.mirror.config.settle));
            for (path, outcome) in read {
                match outcome {
                    Outcome::Read(seen, beside, sidecar) => {
                        let settle = self.mirror.config.settle;
                        if let Some(stat) = sidecar
                            && !self.sidecars.is_quiet(&path, stat, settle, now)
                        {
                            self.settler.touch(&path, now);
                            continue;
                        }
                        self.settler.done(&path);
                        self.sidecars.forget(&path);
                        batch.push(Observation { path, seen, beside, sidecar });
                    }
                    Outcome::Changed(stat) => {
                        self.settler.touch(&path, now);
                        self.settler.see(&path, &stat, now);
                    }
                    Outcome::Gone => {
                        self.settler.forget(&path);
                        self.sidecars.forget(&path);
                        self.mirror.bell.touch(path);
                    }
                    Outcome::Later => self.settler.touch(&path, rest),
                }
            }
            pulse.beat();
            self.plan(batch).await?;
            self.weigh_changes().await?;
        }
        Ok(())
    }
}

impl MirrorLoop {
    /// Says once of a file that it does not come to rest. It is not sent for it, now or later: half a document on a
    /// case is worse than a late one.
    pub(super) async fn flag_restless(&mut self) -> Result<(), JournalError> {
        let restless = self.settler.restless(self.mono(), NEVER_SETTLES);
        if restless.is_empty() {
            return Ok(());
        }
        for path in &restless {
            let (mirror, file) = (&self.mirror.config.name, self.world.show(path));
            tracing::warn!(mirror, file, "it has not come to rest for 10 minutes: something keeps writing it");
        }
        let id = self.mirror.id;
        self.world.journal.write(move |tx| restless.iter().try_for_each(|path| record::restless(tx, id, path))).await
    }
}

enum Outcome {
    Read(Seen, Beside, Option<Stat>),
    Changed(Stat),
    Gone,
    Later,
}

/// Reads files one after the other, as many as fit one turn of the loop; the rest stays due.
fn read_all(
    root: &Root,
    mirror: &Mirror,
    due: Vec<(RelPath, Stat)>,
    stop: &dyn Fn() -> bool,
) -> Vec<(RelPath, Outcome)> {
    let mut bytes = 0;
    let mut read = Vec::with_capacity(due.len());
    for (path, expected) in due {
        if bytes > READ_BYTES || stop() {
            break;
        }
        let outcome = match root.stat(&path) {
            scan::Look::File(stat) if stat.same_content_as(&expected) => {
                bytes += stat.size;
                observe::read_whole(root, &mirror.config.scope, &path, &stat, stop).map_or(Outcome::Later, |seen| {
                    let (beside, sidecar) = observe::sidecar(root, &mirror.config, &path);
                    Outcome::Read(seen, beside, sidecar)
                })
            }
            scan::Look::File(stat) => Outcome::Changed(stat),
            scan::Look::Absent | scan::Look::BehindLink | scan::Look::Folder | scan::Look::Other(_) => Outcome::Gone,
            scan::Look::Unknown(_) => Outcome::Later,
        };
        read.push((path, outcome));
    }
    read
}
