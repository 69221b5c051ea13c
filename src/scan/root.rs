//! One root folder, held open.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, fstatvfs};
use rustix::io::{Errno, retry_on_intr};

use super::sys::{self, Mount, look_through, open_below};
use super::{Depth, Entry, Look, walk};
use crate::core::model::RootIdentity;
use crate::types::RelPath;

/// An open folder and who it is. Everything below is reached through its descriptor, so a folder or disk that is
/// put at its path later is never taken for it.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    identity: RootIdentity,
    mount: Mount,
}

/// Why a root cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootFault {
    #[error("there is no such folder")]
    Missing,
    #[error("it is not a folder")]
    NotADirectory,
    #[error("it is a symbolic link, and links are not followed: name the folder itself")]
    SymbolicLink,
    /// Not the folder that was opened, or that is known.
    #[error("another folder or disk stands at its path")]
    Replaced,
    #[error("{0}")]
    Unreadable(String),
    /// No descriptor is left to open it with: a fault of the process or the host, not of the folder.
    #[error("{0}")]
    Exhausted(String),
}

/// Opens the folder at `path`. Only the last component is checked for being a link.
pub fn open_root(path: &Path) -> Result<Root, RootFault> {
    // `components` drops a trailing `/` or `/.`, either of which would make the kernel follow a link.
    let path: PathBuf = path.components().collect();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = retry_on_intr(|| rustix::fs::open(&path, flags, Mode::empty())).map_err(|e| why_not_open(&path, e))?;
    let seen = look_through(&fd).map_err(fault)?;
    let fsid = retry_on_intr(|| fstatvfs(&fd)).map_err(fault)?.f_fsid;
    let identity = RootIdentity { fsid, dev: seen.stat.dev, inode: seen.stat.inode, born_ns: sys::born_ns(&fd) };
    Ok(Root { fd, identity, mount: seen.mount })
}

/// A folder flag makes the kernel say `ENOTDIR` of a link and of a file alike.
fn why_not_open(path: &Path, errno: Errno) -> RootFault {
    if !matches!(errno, Errno::NOTDIR | Errno::LOOP) {
        return fault(errno);
    }
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_symlink() => RootFault::SymbolicLink,
        Ok(_) => RootFault::NotADirectory,
        // A parent is a file: nothing has this path.
        Err(e) if e.raw_os_error() == Some(Errno::NOTDIR.raw_os_error()) => RootFault::Missing,
        Err(e) => fault(Errno::from_io_error(&e).unwrap_or(errno)),
    }
}

impl From<RootFault> for std::io::Error {
    fn from(fault: RootFault) -> Self {
        match fault {
            RootFault::Exhausted(_) => Self::from_raw_os_error(Errno::MFILE.raw_os_error()),
            other => Self::other(other),
        }
    }
}

pub(super) fn fault(errno: Errno) -> RootFault {
    match errno {
        Errno::NOENT => RootFault::Missing,
        Errno::NOTDIR => RootFault::NotADirectory,
        errno if sys::is_exhausted(errno) => RootFault::Exhausted(sys::words(errno)),
        _ => RootFault::Unreadable(sys::words(errno)),
    }
}

/// Looks at a name in an open folder, not through it if it is a link.
pub fn look_in(folder: impl AsFd, name: &[u8]) -> Look {
    let Ok(name) = CString::new(name) else { return Look::Absent };
    match sys::look_at(folder, &name) {
        Ok(seen) => match seen.kind {
            FileType::RegularFile => Look::File(seen.stat),
            FileType::Directory => Look::Folder,
            kind => Look::Other(sys::other_kind(kind)),
        },
        Err(Errno::NOENT) => Look::Absent,
        Err(e) => Look::Unknown(sys::words(e)),
    }
}

/// Opens a regular file in an open folder for reading.
///
/// # Errors
/// As for [`Root::open`].
pub fn open_in(folder: impl AsFd, name: &[u8]) -> io::Result<File> {
    let folder = folder.as_fd();
    if let Look::Folder | Look::Other(_) = look_in(folder, name) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = retry_on_intr(|| rustix::fs::openat(folder, name, flags, Mode::empty()))?;
    match look_through(&fd)?.kind {
        FileType::RegularFile => Ok(File::from(fd)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

/// Whether a file was made after the change at `ctime_ns` that another was seen with, by the clock of the file system that
/// holds both, where that tells. A birth after the file's own last change tells nothing: the clock was set back, or what
/// is kept there as time of change is none (FAT).
pub fn was_made_after(folder: impl AsFd, name: &[u8], ctime_ns: i64) -> bool {
    // The simulation has a clock of its own.
    #[cfg(test)]
    if crate::host::simulated::is_on() {
        return false;
    }
    let Ok(file) = open_in(folder, name) else { return false };
    let (Some(born), Ok(now)) = (sys::born_ns(&file), super::stat_of(&file)) else { return false };
    ctime_ns < born && born <= now.ctime_ns
}

impl Root {
    /// Which folder on which file system it is.
    pub fn identity(&self) -> RootIdentity {
        self.identity
    }

    /// Whether `path` still names this very folder.
    pub fn still_there(&self, path: &Path) -> Result<(), RootFault> {
        let now = open_root(path)?;
        if now.identity.is_same_as(&self.identity) { Ok(()) } else { Err(RootFault::Replaced) }
    }

    /// Looks at one path, component by component without following links.
    pub fn stat(&self, path: &RelPath) -> Look {
        let seen = open_below(&self.fd, self.mount, path.as_bytes(), OFlags::PATH).and_then(look_through);
        match seen {
            Ok(seen) => match seen.kind {
                FileType::RegularFile => Look::File(seen.stat),
                FileType::Directory => Look::Folder,
                kind => Look::Other(sys::other_kind(kind)),
            },
            // In a removed root every path is ENOENT, so the root has to be alive for it to count.
            Err(Errno::NOENT | Errno::NOTDIR) => match look_through(&self.fd) {
                Ok(root) if root.links > 0 => Look::Absent,
                Ok(_) => Look::Unknown("the mirror's folder was removed".to_owned()),
                Err(e) => Look::Unknown(sys::words(e)),
            },
            Err(Errno::LOOP) => Look::BehindLink,
            Err(e) => Look::Unknown(sys::words(e)),
        }
    }

    /// Opens a regular file for reading; `InvalidInput` when it is something else. `NotFound` is no proof of
    /// absence; only [`Root::stat`] looks whether the root itself is alive.
    ///
    /// It is looked at first, because the mere opening of a pipe or a device can have effects. `WouldBlock` means
    /// that somebody holds a lease on it (a file server does while a client writes): try again later (LESSONS L5).
    pub fn open(&self, path: &RelPath) -> io::Result<File> {
        let not_a_file = |kind| io::Error::new(io::ErrorKind::InvalidInput, format!("a {kind}, not a regular file"));
        match self.stat(path) {
            Look::Folder => return Err(not_a_file("folder")),
            Look::Other(kind) => return Err(not_a_file(kind.as_str())),
            Look::File(_) | Look::Absent | Look::BehindLink | Look::Unknown(_) => {}
        }
        let fd = open_below(&self.fd, self.mount, path.as_bytes(), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        match look_through(&fd)?.kind {
            FileType::RegularFile => Ok(File::from(fd)),
            FileType::Directory => Err(not_a_file("folder")),
            kind => Err(not_a_file(sys::other_kind(kind).as_str())),
        }
    }

    /// Opens a folder below the root (`None`: the root itself), for what is done to the names in it.
    ///
    /// # Errors
    /// As the kernel tells them; `ELOOP` and `EXDEV` as for every look below the root.
    pub fn open_folder(&self, path: Option<&RelPath>) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match path {
            Some(path) => open_below(&self.fd, self.mount, path.as_bytes(), flags),
            None => open_below(&self.fd, self.mount, b".", flags),
        }
    }

    /// Walks the root, or the folder `below`, and hands every entry to `sink` in the order that [`Entry`] tells.
    ///
    /// `rule` names the rule that puts a path (a folder if the flag is set) out of scope. `sink` ends the walk by
    /// `Break`. An error means that the root itself could not be listed, and nothing was handed out; when `below`
    /// cannot be listed, or is no folder, the walk hands out one `Unlisted` (a look at the path tells more).
    pub fn walk(
        &self,
        below: Option<&RelPath>,
        depth: Depth,
        rule: &dyn Fn(&RelPath, bool) -> Option<String>,
        sink: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), RootFault> {
        walk::walk(&self.fd, self.mount, below, depth, rule, sink)
    }
}
