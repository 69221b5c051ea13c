//! Folders that our own hand-over has emptied (`prune_empty`).
//!
//! Only folders that a file left through us are ever tried, from the innermost up, never the root, and only with a
//! removal that fails on anything that is not empty. Each is left alone for a while first: whoever made it may be
//! about to write the next file into it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::AtFlags;
use rustix::io::retry_on_intr;

use super::disk::sync_folder;
use crate::core::model::HandoverState;
use crate::host;
use crate::host::time::Instant;
use crate::journal::{JournalError, Reader};
use crate::scan;
use crate::types::RelPath;
use crate::world::Mirror;

/// How many times `settle` a folder is left alone after its last file went.
const REST_SETTLES: u32 = 12;
/// Least rest.
const LEAST_REST: Duration = Duration::from_secs(1);
/// Hand-overs of earlier runs whose folders may have been left.
const EARLIER: usize = 1_000;

/// The folders that wait to be tried.
pub(super) struct Empties {
    on: bool,
    due: BTreeMap<RelPath, Instant>,
}

impl Empties {
    /// With the folders of the last hand-overs: what a stop left over is tried again.
    ///
    /// # Errors
    /// The journal's.
    pub(super) fn new(on: bool, reader: &Reader, mirror: &Mirror) -> Result<Self, JournalError> {
        let mut empties = Self { on, due: BTreeMap::new() };
        if on {
            let earlier = reader.latest_handovers(EARLIER)?;
            for h in earlier.iter().filter(|h| h.mirror == mirror.id && h.state == HandoverState::Done) {
                empties.add(&h.path, mirror.config.settle);
            }
        }
        Ok(empties)
    }

    /// A file left its folder through us.
    pub(super) fn add(&mut self, path: &RelPath, settle: Duration) {
        if self.on
            && let Some(folder) = path.parent()
        {
            self.due.insert(folder, Instant::now() + (settle * REST_SETTLES).max(LEAST_REST));
        }
    }

    /// Time until the next one is due.
    pub(super) fn next(&self) -> Option<Duration> {
        self.due.values().min().map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Removes those that are due and empty.
    pub(super) async fn remove_due(&mut self, mirror: &Arc<Mirror>) {
        let now = Instant::now();
        let due: Vec<RelPath> = self.due.iter().filter(|(_, at)| **at <= now).map(|(path, _)| path.clone()).collect();
        if due.is_empty() {
            return;
        }
        self.due.retain(|_, at| *at > now);
        let mirror = Arc::clone(mirror);
        let removed = host::blocking(move || remove(&mirror, due)).await.unwrap_or_default();
        for folder in removed {
            tracing::debug!(%folder, "removed: empty since its files were handed over");
        }
    }
}

/// Removes each folder and those above it as long as they are empty.
fn remove(mirror: &Mirror, folders: Vec<RelPath>) -> Vec<RelPath> {
    let Ok(root) = scan::open_root(&mirror.config.path) else { return Vec::new() };
    let mut removed = Vec::new();
    for folder in folders {
        let mut next = Some(folder);
        while let Some(folder) = next {
            let Ok(above) = root.open_folder(folder.parent().as_ref()) else { break };
            let name = folder.file_name();
            if retry_on_intr(|| rustix::fs::unlinkat(&above, name, AtFlags::REMOVEDIR)).is_err() {
                break;
            }
            let _ = sync_folder(&above);
            next = folder.parent();
            removed.push(folder);
        }
    }
    removed
}
