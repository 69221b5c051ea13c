//! The few things that are ever done to names on disk: put without replacing, copy whole, take aside, make folders.
//!
//! Nothing here overwrites: a name that is taken is an error (`EXIST`). What is moved or removed is known by its
//! device and inode, never by its name alone.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps};
use rustix::io::{Errno, retry_on_intr};

use crate::core::handover::OWN_PREFIX;
use crate::core::model::{Handover, Stat};
#[cfg(test)]
use crate::host::simulated;
use crate::scan::{self, Look, Root};
use crate::types::{ContentHash, RelPath};

/// Bytes copied at once.
const COPY_BYTES: usize = 256 * 1024;
/// Names tried for a file that has to go back to a folder where its own name is taken.
const MOST_NAMES: u32 = 1_000;

/// The name that a hand-over uses for a moment; it tells whose leftover it is. The time of its beginning sets it apart
/// from those of another journal, which may have the same archive.
pub(super) fn own_name(h: &Handover, what: &str) -> Vec<u8> {
    [OWN_PREFIX, format!("{}-{:x}.{what}", h.id.0, h.created_at.0).as_bytes()].concat()
}

/// Gives a name of somebody's one of ours ([`own_name`]), which must be free. One step on any file system, so that what
/// comes to stand at the old name meanwhile is not touched.
///
/// # Errors
/// `EXIST`: the new name is taken. `XDEV`: it is another file system.
pub(super) fn take(from: impl AsFd, name: &[u8], to: impl AsFd, own: &[u8]) -> Result<(), Errno> {
    let (from, to) = (from.as_fd(), to.as_fd());
    #[cfg(test)]
    if simulated::are_apart(from, to) {
        return Err(Errno::XDEV);
    }
    let without_replacing = || rustix::fs::renameat_with(from, name, to, own, RenameFlags::NOREPLACE);
    changing(|| match retry_on_intr(without_replacing) {
        // The file system cannot be told not to replace, and nobody else uses such a name.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match inode(to, own)? {
            None => retry_on_intr(|| rustix::fs::renameat(from, name, to, own)),
            Some(_) => Err(Errno::EXIST),
        },
        other => other,
    })
}

/// Gives a file that has a name of ours its own name, without replacing another one.
///
/// # Errors
/// `EXIST`: the new name is taken. `XDEV`: it is another file system.
pub(super) fn put(from: impl AsFd, name: &[u8], to: impl AsFd, as_name: &[u8]) -> Result<(), Errno> {
    let (from, to) = (from.as_fd(), to.as_fd());
    #[cfg(test)]
    if simulated::are_apart(from, to) {
        return Err(Errno::XDEV);
    }
    changing(|| rename_new(from, name, to, as_name))
}

/// A change of names; in the simulation it may fail before it is done, or be done and its answer lost.
fn changing(change: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    #[cfg(test)]
    simulated::disk_call()?;
    change()?;
    #[cfg(test)]
    simulated::disk_answer()?;
    Ok(())
}

fn rename_new(from: BorrowedFd<'_>, name: &[u8], to: BorrowedFd<'_>, as_name: &[u8]) -> Result<(), Errno> {
    match retry_on_intr(|| rustix::fs::renameat_with(from, name, to, as_name, RenameFlags::NOREPLACE)) {
        // The file system cannot rename without replacing: a second name, then the first one goes.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            match retry_on_intr(|| rustix::fs::linkat(from, name, to, as_name, AtFlags::empty())) {
                // "Not permitted" is how a file system says that it has no second names.
                Err(Errno::PERM) => return Err(Errno::OPNOTSUPP),
                Err(Errno::EXIST) => {}
                other => other?,
            }
        }
        Err(Errno::EXIST) => {}
        other => return other,
    }
    // Both names stand. An earlier try may have come this far, or somebody else's file has the new name.
    if !is_one_file(from, name, to, as_name)? {
        return Err(Errno::EXIST);
    }
    match retry_on_intr(|| rustix::fs::unlinkat(from, name, AtFlags::empty())) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => {
            // Only a refusal says that the first name still stands, and that is looked at all the same.
            if is_refusal(e) && is_one_file(from, name, to, as_name)? {
                // Both may stand then, which is no refusal.
                retry_on_intr(|| rustix::fs::unlinkat(to, as_name, AtFlags::empty())).map_err(|_| Errno::IO)?;
            }
            Err(e)
        }
    }
}

/// Whether both are names of one file.
fn is_one_file(one: BorrowedFd<'_>, name: &[u8], other: BorrowedFd<'_>, as_name: &[u8]) -> Result<bool, Errno> {
    let (first, second) = (inode(one, name)?, inode(other, as_name)?);
    Ok(first.is_some() && first == second)
}

/// Device and inode of what has the name.
fn inode(folder: BorrowedFd<'_>, name: &[u8]) -> Result<Option<(u64, u64)>, Errno> {
    match retry_on_intr(|| rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)) {
        Ok(stat) => Ok(Some((stat.st_dev, stat.st_ino))),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether this error of a change says for certain that nothing was changed. Others may come after the fact, as where
/// the answer of a network file system is lost.
pub(super) fn is_refusal(e: Errno) -> bool {
    matches!(
        e,
        Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::NOSPC | Errno::DQUOT | Errno::NAMETOOLONG | Errno::OPNOTSUPP
    )
}

/// Whether a file of another user, moved into this folder, could not be moved again: its sticky bit keeps all names
/// for their owners.
pub(super) fn keeps_names(folder: impl AsFd, file: &File) -> bool {
    file.metadata().is_ok_and(|file| keeps_names_of(folder, file.uid()))
}

/// The same of a file by its name, which need not be readable.
pub(super) fn keeps_name_of(folder: impl AsFd, of: impl AsFd, name: &[u8]) -> Result<bool, Errno> {
    match retry_on_intr(|| rustix::fs::statat(&of, name, AtFlags::SYMLINK_NOFOLLOW)) {
        Ok(stat) => Ok(keeps_names_of(folder, stat.st_uid)),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

fn keeps_names_of(folder: impl AsFd, owner: u32) -> bool {
    let Ok(folder) = rustix::fs::fstat(folder) else { return false };
    let us = rustix::process::geteuid();
    let ours = us.is_root() || [folder.st_uid, owner].contains(&us.as_raw());
    folder.st_mode & Mode::SVTX.bits() != 0 && !ours
}

/// What the first name in the folder that begins with this has behind it.
pub(super) fn find_name(folder: impl AsFd, begin: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    let mut names = rustix::fs::Dir::read_from(folder)?;
    while let Some(entry) = names.read() {
        if let Some(end) = entry?.file_name().to_bytes().strip_prefix(begin) {
            return Ok(Some(end.to_vec()));
        }
    }
    Ok(None)
}

/// Removes a name.
pub(super) fn remove(folder: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    match changing(|| retry_on_intr(|| rustix::fs::unlinkat(&folder, name, AtFlags::empty()))) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Makes what was done to a folder's names durable (L67).
pub(super) fn sync_folder(folder: impl AsFd) -> Result<(), Errno> {
    #[cfg(test)]
    simulated::disk_call()?;
    match retry_on_intr(|| rustix::fs::fsync(&folder)) {
        // Some file systems cannot sync a folder; then there is nothing more to do for it.
        Ok(()) | Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Puts a file that is not what it was taken for back among the others: under its own name, or a numbered one.
pub(super) fn put_back(from: impl AsFd, name: &[u8], to: impl AsFd, own: &[u8]) -> Result<(), Errno> {
    let (from, to) = (from.as_fd(), to.as_fd());
    for n in 1..MOST_NAMES {
        match put(from, name, to, &crate::core::handover::stored_name(own, n, 0)) {
            Err(Errno::EXIST) => {}
            other => {
                other?;
                sync_folder(to)?;
                return sync_folder(from);
            }
        }
    }
    Err(Errno::EXIST)
}

/// The folder `folder` of the store, made now with all above it, each durable and with the mode of the folder it
/// stands for.
pub(super) fn make_folder(store: &Root, folder: Option<&RelPath>, like: &Root) -> Result<OwnedFd, Errno> {
    let mut here = store.open_folder(None)?;
    let Some(folder) = folder else { return Ok(here) };
    let mut path = Vec::new();
    for part in folder.as_bytes().split(|b| *b == b'/') {
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(part);
        let Some(below) = RelPath::new(path.clone()) else { return Err(Errno::INVAL) };
        here = match store.open_folder(Some(&below)) {
            Err(Errno::NOENT) => {
                match retry_on_intr(|| rustix::fs::mkdirat(&here, part, Mode::RWXU)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(e),
                }
                let made = store.open_folder(Some(&below))?;
                let mode = like.open_folder(Some(&below)).and_then(|fd| rustix::fs::fstat(&fd));
                if let Ok(stat) = mode {
                    // Only for those who may look at it later; without it the folder is casedrop's alone.
                    let _ = rustix::fs::fchmod(&made, Mode::from_raw_mode(stat.st_mode & 0o777) | Mode::RWXU);
                }
                sync_folder(&made)?;
                sync_folder(&here)?;
                made
            }
            other => other?,
        };
    }
    Ok(here)
}

/// Whether a name stands for exactly this file, unchanged.
pub(super) fn is_there(folder: impl AsFd, name: &[u8], stat: &Stat) -> bool {
    matches!(scan::look_in(folder, name), Look::File(seen) if seen.same_content_as(stat))
}

/// Copies an open file whole to a new name, durable, with its mode and time of change, and reads it back. Returns
/// what was copied.
///
/// # Errors
/// `AlreadyExists`: the name is taken. `InvalidData`: the copy does not read back as it was written.
pub(super) fn copy(file: &File, to: impl AsFd, name: &[u8], stop: &dyn Fn() -> bool) -> io::Result<ContentHash> {
    let to = to.as_fd();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut copy = File::from(retry_on_intr(|| rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR))?);
    let before = file.metadata()?;
    let (mut buffer, mut at) = (vec![0; COPY_BYTES], 0);
    loop {
        if stop() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let read = match file.read_at(&mut buffer, at) {
            Ok(0) => break,
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        #[cfg(test)]
        simulated::disk_call()?;
        copy.write_all(buffer.get(..read).unwrap_or_default())?;
        at += read as u64;
    }
    // Rights and time make the copy more useful, not more right: a file system without them is no reason to fail.
    let _ = rustix::fs::fchmod(&copy, Mode::from_raw_mode(before.mode() & 0o777) | Mode::RUSR);
    let modified = Timespec { tv_sec: before.mtime(), tv_nsec: before.mtime_nsec() };
    let _ = rustix::fs::futimens(&copy, &Timestamps { last_access: modified, last_modification: modified });
    copy.sync_all()?;
    drop(copy);
    let source = scan::read_hash(file, None, stop).map_err(io::Error::other)?.hash;
    let back = scan::read_hash(&scan::open_in(to, name)?, None, stop).map_err(io::Error::other)?.hash;
    if source != back {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the copy does not read back as it was written"));
    }
    Ok(back)
}

/// Writes a small new file under a name that must be free, durable and never to be seen half written.
///
/// # Errors
/// `AlreadyExists`: the name is taken.
pub(super) fn write_new(folder: impl AsFd, draft: &[u8], name: &[u8], content: &[u8]) -> io::Result<()> {
    let folder = folder.as_fd();
    remove(folder, draft)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    let mut file = File::from(retry_on_intr(|| rustix::fs::openat(folder, draft, flags, mode))?);
    #[cfg(test)]
    simulated::disk_call()?;
    file.write_all(content)?;
    file.sync_all()?;
    if let Err(error) = put(folder, draft, folder, name) {
        remove(folder, draft)?;
        return Err(error.into());
    }
    sync_folder(folder)?;
    Ok(())
}
