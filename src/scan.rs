//! What is on disk: one root folder, read through descriptors.
//!
//! Contract
//! - Paths are bytes. No symbolic link is ever followed, and no mount below the root is entered: a disk that is
//!   mounted there today may be gone tomorrow, and its absence must not look like deleted files (LESSONS L15).
//! - Absence is never concluded from an error. Only [`Look::Absent`], and the lack of an entry in a folder that a
//!   walk listed completely, say that a file is not there; whatever fails is `Unknown` or `Unlisted`, with words
//!   (L29, L48). What vanishes between listing and `stat` is `Unknown` too: the next scan decides (L17, L47).
//! - A [`Root`] goes on to mean the folder it was opened on, also when that folder is moved or another one is put
//!   at its path. [`Root::still_there`] tells; ask it before and after a walk whose absences are to count.
//! - Everything here blocks: call it from a blocking thread.

mod fs_kind;
mod hash;
mod listing;
mod root;
mod sys;
mod walk;

pub use fs_kind::{FsKind, file_system_kind};
pub use hash::{ReadFault, read_hash, stat_of};
pub use root::{Root, RootFault, look_in, open_in, open_root, was_made_after};
pub use sys::words;

use crate::core::model::Stat;
use crate::types::RelPath;

/// Whether the process or the host has no descriptor left, which says nothing about what was to be opened.
pub fn is_exhausted(error: &std::io::Error) -> bool {
    rustix::io::Errno::from_io_error(error).is_some_and(sys::is_exhausted)
}

/// What a directory entry is when it is neither a regular file nor a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherKind {
    SymbolicLink,
    Fifo,
    Socket,
    CharacterDevice,
    BlockDevice,
    /// A kind this program does not know.
    Unusual,
}

impl OtherKind {
    /// The kind in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SymbolicLink => "symbolic link",
            Self::Fifo => "named pipe",
            Self::Socket => "socket",
            Self::CharacterDevice => "character device",
            Self::BlockDevice => "block device",
            Self::Unusual => "unusual kind of file",
        }
    }
}

impl std::fmt::Display for OtherKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a look at one path found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    File(Stat),
    Folder,
    Other(OtherKind),
    /// Nothing has that path, in a root that exists.
    Absent,
    /// A folder on the way is a symbolic link, which is not followed: what is behind it is not of this mirror.
    BehindLink,
    /// It could not be told; the text says why. Never an absence.
    Unknown(String),
}

/// How far a walk goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The folder and everything below it.
    Tree,
    /// The folder's own entries.
    Folder,
}

/// One thing a walk found.
///
/// Entries come in strict byte order of their paths, folders counted as `name/`. That is the byte order of all
/// the files' paths, so a caller can merge a walk with a cursor over the journal that is sorted by path.
/// `Ignored` (of a folder), `Folder` and `Unlisted` stand where the first path below them would stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    File {
        path: RelPath,
        stat: Stat,
    },
    Other {
        path: RelPath,
        kind: OtherKind,
    },
    /// The rule put it out of scope; a folder was not entered.
    Ignored {
        path: RelPath,
        rule: String,
        is_dir: bool,
    },
    /// A sub-folder that [`Depth::Folder`] did not enter.
    Folder {
        path: RelPath,
    },
    /// This folder could not be listed completely, or is none any more: nothing is known of what is below it.
    Unlisted {
        dir: RelPath,
        error: String,
    },
    /// Its name was listed, but what it is could not be told.
    Unknown {
        path: RelPath,
        error: String,
    },
}

#[cfg(test)]
mod root_tests;
#[cfg(test)]
mod walk_tests;
