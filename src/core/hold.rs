//! What stops a mirror until a person looks, and what to do then.

use super::words::words;
use crate::types::UnixMillis;

words! {
    /// A mirror-wide stop that waits for a person (DESIGN §2).
    HoldCode {
        RootMissing = "root-missing",
        RootEmptied = "root-emptied",
        RootReplaced = "root-replaced",
        RootUnreadable = "root-unreadable",
        DeleteBudget = "delete-budget",
        AllChanged = "all-changed",
        JournalRebuilt = "journal-rebuilt",
        Auth = "auth",
    }
}

impl HoldCode {
    /// Which of several holds is shown first: the one that stops most and that the others may follow from.
    fn rank(self) -> u8 {
        match self {
            Self::JournalRebuilt => 0,
            Self::RootMissing => 1,
            Self::RootUnreadable => 2,
            Self::RootReplaced => 3,
            Self::AllChanged => 4,
            Self::RootEmptied => 5,
            Self::DeleteBudget => 6,
            Self::Auth => 7,
        }
    }

    /// Whether it stops the deletes that follow from an absence (invariant 3). Refused credentials do not: they pause
    /// every call, and the hold ends with the next call that is answered, which may have to be a delete.
    pub fn stops_deletes(self) -> bool {
        self != Self::Auth
    }

    /// Whether uploads stop too, or only deletes.
    pub fn stops_uploads(self) -> bool {
        // Not `auth`: the calls themselves are what finds out that the credentials are good again.
        match self {
            Self::RootMissing | Self::RootReplaced | Self::RootUnreadable | Self::AllChanged | Self::JournalRebuilt => {
                true
            }
            Self::RootEmptied | Self::DeleteBudget | Self::Auth => false,
        }
    }

    /// Whether the root itself is the matter; each look at it says which of these is in force, if any.
    pub fn is_of_the_root(self) -> bool {
        matches!(self, Self::RootMissing | Self::RootUnreadable | Self::RootReplaced)
    }

    /// One sentence on what to do, identical in log, command line and page.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::RootMissing => "Bring the folder back (mount it, or correct `path`); the hold then ends by itself.",
            Self::RootEmptied => {
                "If the files were removed on purpose, `casedrop release MIRROR`; else bring them all back and the \
                 hold ends by itself (`casedrop keep PATH` for those that are gone for good)."
            }
            Self::RootReplaced => {
                "Another folder or disk stands at the mirror's path: bring the right one back, or accept this one \
                 with `casedrop release MIRROR`."
            }
            Self::RootUnreadable => {
                "Give casedrop's user the right to list the folder, or repair its disk; the hold then ends by itself."
            }
            Self::DeleteBudget => {
                "More files are gone than `delete_budget` allows in an hour: if that is intended, \
                 `casedrop release MIRROR`; else bring them all back and the hold ends by itself (`casedrop keep PATH` \
                 for those that are gone for good)."
            }
            Self::AllChanged => {
                "Nearly every file has new content at once, as after encryption by malware: if that is intended, \
                 `casedrop release MIRROR`; else bring the old content back and the hold ends by itself."
            }
            Self::JournalRebuilt => {
                "The journal was lost, so what is attached already is not known: put a copy of it back, or read it from \
                 Connect with `casedrop adopt`, or accept that every file is attached anew with `casedrop release \
                 MIRROR`. If another casedrop has a mirror of this name, give this one another name instead."
            }
            Self::Auth => {
                "AWS refuses the credentials or this host's clock: renew them, or set the clock, and see `casedrop check`; \
                 the hold then ends by itself."
            }
        }
    }
}

/// A hold in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub code: HoldCode,
    /// What was seen, in words.
    pub detail: String,
    pub since: UnixMillis,
}

impl Hold {
    /// Puts the hold to show first at the front.
    pub fn sort(holds: &mut [Hold]) {
        holds.sort_by_key(|hold| hold.code.rank());
    }
}
