//! The mirror's root: that it is there, and the one that the journal knows; else a hold says what is the matter.

use std::sync::Arc;

use super::MirrorLoop;
use crate::core::model::HoldCode;
use crate::crash::{self, Point};
use crate::host;
use crate::journal::JournalError;
use crate::observe;
use crate::scan::{self, Root, RootFault};

impl MirrorLoop {
    /// Opens the root and makes sure that it is the one the journal knows; else a hold says what it is.
    pub(super) async fn healthy_root(&mut self) -> Result<Option<Arc<Root>>, JournalError> {
        self.root = None;
        let mirror = Arc::clone(&self.mirror);
        let opened = self
            .ask(move |reader| {
                let root = match scan::open_root(&mirror.config.path) {
                    Ok(root) => root,
                    Err(fault) => return Ok(Err(fault)),
                };
                let known = reader.mirror(mirror.id)?.and_then(|row| row.identity);
                let same = observe::is_same_folder(&root, known, &mirror, reader)?;
                Ok(if same { Ok((root, known)) } else { Err(RootFault::Replaced) })
            })
            .await?;
        let (root, known) = match opened {
            Ok(opened) => opened,
            Err(fault) => {
                self.root_fault(&fault).await?;
                return Ok(None);
            }
        };
        let mut ended = false;
        // One that cannot be read may open all the same: only a pass that listed it tells.
        for code in [HoldCode::RootMissing, HoldCode::RootReplaced] {
            ended |= self.mirror.end_hold(&self.world.journal, code).await?;
        }
        if ended {
            self.world.work.notify_one();
        }
        self.world.weather.handles_are_free();
        let identity = root.identity();
        if known != Some(identity) {
            let id = self.mirror.id;
            crash::at(Point::IdentityBefore);
            self.world.journal.write(move |tx| tx.set_identity(id, Some(&identity))).await?;
            crash::at(Point::IdentityAfter);
        }
        self.root = Some(identity);
        Ok(Some(Arc::new(root)))
    }

    /// Whether something else than the root of the last look is at its path. The watcher does not tell when a disk is
    /// unmounted or another comes to lie over it, and the next full pass may be far.
    pub(super) async fn root_went_away(&self) -> bool {
        let Some(known) = self.root else { return false };
        let path = self.mirror.config.path.clone();
        let gone = host::blocking(move || match scan::open_root(&path) {
            Ok(root) => !root.identity().is_same_as(&known),
            Err(RootFault::Exhausted(_)) => false,
            Err(_) => true,
        });
        gone.await.unwrap_or(false)
    }

    /// A root that cannot be used is a hold with its name, the only one of its kind at a time; without descriptors
    /// nothing can be told about it.
    pub(super) async fn root_fault(&self, fault: &RootFault) -> Result<(), JournalError> {
        let code = match fault {
            RootFault::Missing => HoldCode::RootMissing,
            RootFault::NotADirectory | RootFault::SymbolicLink | RootFault::Replaced => HoldCode::RootReplaced,
            RootFault::Unreadable(_) => HoldCode::RootUnreadable,
            RootFault::Exhausted(text) => {
                self.world.weather.no_handles(text);
                return Ok(());
            }
        };
        let text = format!("{}: {fault}", self.mirror.config.path.display());
        self.mirror.begin_hold(&self.world.journal, code, text).await?;
        for other in HoldCode::ALL.iter().filter(|other| other.is_of_the_root() && **other != code) {
            self.mirror.end_hold(&self.world.journal, *other).await?;
        }
        Ok(())
    }
}
