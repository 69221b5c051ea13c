//! The system calls of a scan: `statx` with the least mask, and opening below a folder without following links
//! or entering mounts.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags, makedev, openat, openat2, statx};
use rustix::io::{Errno, retry_on_intr};

use super::OtherKind;
use crate::core::model::Stat;
#[cfg(test)]
use crate::host::simulated;

/// Which mount something lies on: the mount's id, or the device where the kernel does not tell it (before 5.8).
///
/// Mounts, not devices, are the border: a bind mount of the same device can vanish too, while a btrfs sub-volume,
/// which has a device number of its own, cannot be unmounted from under the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mount {
    Id(u64),
    Device(u64),
}

/// What `statx` said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub kind: FileType,
    pub stat: Stat,
    pub mount: Mount,
    /// Names it has; 0 once it is removed.
    pub links: u32,
}

const MASK: StatxFlags = StatxFlags::TYPE
    .union(StatxFlags::INO)
    .union(StatxFlags::NLINK)
    .union(StatxFlags::SIZE)
    .union(StatxFlags::MTIME)
    .union(StatxFlags::CTIME)
    .union(StatxFlags::MNT_ID);

/// Looks at the entry `name` of the folder `dir`, not through it if it is a link.
pub(super) fn look_at(dir: impl AsFd, name: &CStr) -> Result<Seen, Errno> {
    look(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)
}

/// Looks at what `fd` is open on.
pub(super) fn look_through(fd: impl AsFd) -> Result<Seen, Errno> {
    look(fd, c"", AtFlags::EMPTY_PATH)
}

/// When what `fd` is open on was made, where its file system tells.
pub(super) fn born_ns(fd: impl AsFd) -> Option<i64> {
    let fd = fd.as_fd();
    let x = retry_on_intr(|| statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME)).ok()?;
    let told = x.stx_mask & StatxFlags::BTIME.bits() != 0 && (x.stx_btime.tv_sec, x.stx_btime.tv_nsec) != (0, 0);
    told.then(|| nanos(x.stx_btime.tv_sec, x.stx_btime.tv_nsec))
}

fn nanos(sec: i64, nsec: u32) -> i64 {
    sec.saturating_mul(1_000_000_000).saturating_add(i64::from(nsec))
}

/// Whether the process or the host has no descriptor left: says nothing about what was to be opened.
pub(super) fn is_exhausted(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE)
}

fn look(fd: impl AsFd, name: &CStr, flags: AtFlags) -> Result<Seen, Errno> {
    #[cfg(test)]
    simulated::disk_call()?;
    let fd = fd.as_fd();
    let x = retry_on_intr(|| statx(fd, name, flags, MASK))?;
    let dev = makedev(x.stx_dev_major, x.stx_dev_minor);
    #[cfg(test)]
    let dev = simulated::device(dev);
    Ok(Seen {
        kind: FileType::from_raw_mode(u32::from(x.stx_mode)),
        stat: Stat {
            dev,
            inode: x.stx_ino,
            size: x.stx_size,
            mtime_ns: nanos(x.stx_mtime.tv_sec, x.stx_mtime.tv_nsec),
            ctime_ns: nanos(x.stx_ctime.tv_sec, x.stx_ctime.tv_nsec),
        },
        mount: if x.stx_mask & StatxFlags::MNT_ID.bits() == 0 { Mount::Device(dev) } else { Mount::Id(x.stx_mnt_id) },
        links: x.stx_nlink,
    })
}

/// The kind of what is neither a file nor a folder.
pub(super) fn other_kind(kind: FileType) -> OtherKind {
    match kind {
        FileType::Symlink => OtherKind::SymbolicLink,
        FileType::Fifo => OtherKind::Fifo,
        FileType::Socket => OtherKind::Socket,
        FileType::CharacterDevice => OtherKind::CharacterDevice,
        FileType::BlockDevice => OtherKind::BlockDevice,
        _ => OtherKind::Unusual,
    }
}

/// Opens `path` below the folder `dir`, which lies on `mount`.
///
/// `ELOOP`: a folder on the way is a symbolic link (or the last name is one, unless `flags` hold `PATH`);
/// `EXDEV`: a mount is on the way or at the end.
pub(super) fn open_below(dir: impl AsFd, mount: Mount, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    #[cfg(test)]
    simulated::disk_call()?;
    let dir = dir.as_fd();
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    match retry_on_intr(|| openat2(dir, path, flags, Mode::empty(), resolve)) {
        // The kernel has no openat2, a container's filter forbids it, somebody renames around us, or the path is
        // longer than one call may carry: each step by hand then.
        Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN | Errno::NAMETOOLONG) => by_hand(dir, mount, path, flags),
        other => other,
    }
}

/// [`open_below`] without `openat2`: one component after the other.
pub(super) fn by_hand(dir: impl AsFd, mount: Mount, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut here: Option<OwnedFd> = None;
    let mut parts = path.split(|b| *b == b'/').peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        let from = here.as_ref().map_or_else(|| dir.as_fd(), |fd| fd.as_fd());
        let flags = if last { flags } else { OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC };
        let fd = retry_on_intr(|| openat(from, part, flags, Mode::empty()))?;
        let seen = look_through(&fd)?;
        if seen.mount != mount {
            return Err(Errno::XDEV);
        }
        match seen.kind {
            _ if last => {}
            FileType::Directory => {}
            FileType::Symlink => return Err(Errno::LOOP),
            _ => return Err(Errno::NOTDIR),
        }
        here = Some(fd);
    }
    here.ok_or(Errno::NOENT)
}

/// What went wrong, in words that say what to do where something can be done.
pub fn words(errno: Errno) -> String {
    let text = match errno {
        Errno::ACCESS | Errno::PERM => "permission denied: give casedrop's user the right to read it",
        Errno::NOENT => "it vanished while being looked at",
        Errno::NOTDIR => "it is no folder any more",
        Errno::LOOP => "a symbolic link stands in its way, and links are not followed",
        Errno::XDEV => "another file system is mounted there, and mounts are not entered: give it a mirror of its own",
        Errno::MFILE => "too many open files in this process: raise LimitNOFILE",
        Errno::NFILE => "too many open files on this host: raise fs.file-max",
        Errno::STALE => "the file server has lost it (stale handle)",
        Errno::IO => "the disk or file server failed to read it",
        Errno::BUSY | Errno::AGAIN => "it is busy",
        _ => return std::io::Error::from(errno).to_string(),
    };
    format!("{text} ({})", errno_name(errno))
}

/// The symbol that administrators search for.
fn errno_name(errno: Errno) -> String {
    let name = match errno {
        Errno::ACCESS => "EACCES",
        Errno::PERM => "EPERM",
        Errno::NOENT => "ENOENT",
        Errno::NOTDIR => "ENOTDIR",
        Errno::LOOP => "ELOOP",
        Errno::XDEV => "EXDEV",
        Errno::MFILE => "EMFILE",
        Errno::NFILE => "ENFILE",
        Errno::STALE => "ESTALE",
        Errno::IO => "EIO",
        Errno::BUSY => "EBUSY",
        Errno::AGAIN => "EAGAIN",
        _ => return format!("errno {}", errno.raw_os_error()),
    };
    name.to_owned()
}
