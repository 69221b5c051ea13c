//! The walk: depth first, in byte order, with a stack of listings instead of recursion.
//!
//! Memory: the listings from the root down to the present folder. Descriptors: the present folder's and those of
//! at most [`HELD_OPEN`] folders above it; deeper ones are opened again through `..` on the way back, and count
//! only if they are still the same folder.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, openat};
use rustix::io::{Errno, retry_on_intr};

use super::listing::{Item, Listing};
use super::root::{RootFault, fault};
use super::sys::{self, Mount, Seen, look_at, look_through, open_below};
use super::{Depth, Entry};
use crate::types::RelPath;

/// Folders above the present one whose descriptors stay open.
const HELD_OPEN: usize = 32;
/// Bytes that one call for directory entries may fill.
const LIST_BUFFER_BYTES: usize = 64 * 1024;
const FOLDER_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A folder on the way from the start of the walk to the present one.
struct Frame {
    /// `None`: closed to save descriptors, or lost.
    fd: Option<OwnedFd>,
    /// Device and inode.
    identity: (u64, u64),
    listing: Listing,
    /// Bytes of its path.
    path_len: usize,
}

struct Walk<'a> {
    mount: Mount,
    depth: Depth,
    rule: &'a dyn Fn(&RelPath, bool) -> Option<String>,
    sink: &'a mut dyn FnMut(Entry) -> ControlFlow<()>,
    stack: Vec<Frame>,
    /// The present folder's path; empty for the root.
    path: Vec<u8>,
    buffer: Vec<u8>,
    /// No descriptor was left: every folder from here on would seem unlisted, so the walk ends.
    exhausted: Option<Errno>,
}

/// [`super::Root::walk`].
pub(super) fn walk(
    root: &OwnedFd,
    mount: Mount,
    below: Option<&RelPath>,
    depth: Depth,
    rule: &dyn Fn(&RelPath, bool) -> Option<String>,
    sink: &mut dyn FnMut(Entry) -> ControlFlow<()>,
) -> Result<(), RootFault> {
    let buffer = Vec::with_capacity(LIST_BUFFER_BYTES);
    let mut walk = Walk { mount, depth, rule, sink, stack: Vec::new(), path: Vec::new(), buffer, exhausted: None };
    let opened = match below {
        // A descriptor of its own: the position of a listing belongs to the open folder.
        None => retry_on_intr(|| openat(root, ".", FOLDER_FLAGS, Mode::empty())),
        Some(path) => {
            walk.path.extend_from_slice(path.as_bytes());
            open_below(root, mount, path.as_bytes(), FOLDER_FLAGS)
        }
    };
    match (opened.and_then(|fd| walk.enter(fd)), below) {
        (Ok(()), _) => {}
        (Err(e), None) => return Err(fault(e)),
        (Err(e), Some(_)) if sys::is_exhausted(e) => return Err(fault(e)),
        (Err(e), Some(path)) => {
            let _ = (walk.sink)(Entry::Unlisted { dir: path.clone(), error: sys::words(e) });
            return Ok(());
        }
    }
    while let Some(frame) = walk.stack.last_mut() {
        if let Some(errno) = walk.exhausted {
            return Err(fault(errno));
        }
        match frame.listing.advance() {
            Some(item) => {
                if walk.visit(item).is_break() {
                    break;
                }
            }
            None => walk.leave(),
        }
    }
    Ok(())
}

impl Walk<'_> {
    /// Lists the folder that `fd` is open on, whose path is `self.path`, and makes it the present one.
    fn enter(&mut self, fd: OwnedFd) -> Result<(), Errno> {
        let seen = look_through(&fd)?;
        let listing = Listing::read(&fd, self.buffer.spare_capacity_mut())?;
        if self.stack.len() > HELD_OPEN
            && let Some(above) = self.stack.last_mut()
        {
            above.fd = None;
        }
        let identity = (seen.stat.dev, seen.stat.inode);
        self.stack.push(Frame { fd: Some(fd), identity, listing, path_len: self.path.len() });
        Ok(())
    }

    /// Goes back to the folder above.
    fn leave(&mut self) {
        let left = self.stack.pop();
        let Some(above) = self.stack.last_mut() else { return };
        self.path.truncate(above.path_len);
        if above.fd.is_none() {
            // If the folder was moved meanwhile, `..` is another one, and the rest of the list stays unknown.
            above.fd = left.and_then(|left| left.fd).and_then(|fd| {
                let up = retry_on_intr(|| openat(&fd, "..", FOLDER_FLAGS, Mode::empty())).ok()?;
                let seen = look_through(&up).ok()?;
                ((seen.stat.dev, seen.stat.inode) == above.identity).then_some(up)
            });
        }
    }

    fn visit(&mut self, item: Item) -> ControlFlow<()> {
        let Some(frame) = self.stack.last_mut() else { return ControlFlow::Break(()) };
        let Some(path) = path_of(&self.path, frame.listing.name(item)) else { return ControlFlow::Continue(()) };
        if let Some(rule) = (self.rule)(&path, item.is_folder()) {
            return (self.sink)(Entry::Ignored { path, rule, is_dir: item.is_folder() });
        }
        if item.is_folder() {
            return match self.depth {
                Depth::Folder => (self.sink)(Entry::Folder { path }),
                Depth::Tree => self.descend(item, path),
            };
        }
        let entry = match item.kind {
            FileType::RegularFile | FileType::Unknown => {
                let seen = match &frame.fd {
                    Some(fd) => look_at(fd, frame.listing.c_name(item)).map_err(sys::words),
                    None => Err(moved()),
                };
                match seen {
                    Ok(Seen { mount, .. }) if mount != self.mount => {
                        Entry::Unknown { path, error: sys::words(Errno::XDEV) }
                    }
                    Ok(Seen { kind: FileType::RegularFile, stat, .. }) => Entry::File { path, stat },
                    Ok(Seen { kind: FileType::Directory, .. }) => {
                        frame.listing.again_as_folder(item);
                        Entry::Unknown { path, error: "it became a folder while being looked at".to_owned() }
                    }
                    Ok(Seen { kind, .. }) => Entry::Other { path, kind: sys::other_kind(kind) },
                    Err(error) => Entry::Unknown { path, error },
                }
            }
            kind => Entry::Other { path, kind: sys::other_kind(kind) },
        };
        (self.sink)(entry)
    }

    /// Makes a sub-folder of the present folder the present one.
    fn descend(&mut self, item: Item, path: RelPath) -> ControlFlow<()> {
        let Some(frame) = self.stack.last() else { return ControlFlow::Break(()) };
        let opened = match &frame.fd {
            Some(fd) => open_below(fd.as_fd(), self.mount, frame.listing.name(item), FOLDER_FLAGS).map_err(Some),
            None => Err(None),
        };
        let path_len = self.path.len();
        self.path.clear();
        self.path.extend_from_slice(path.as_bytes());
        match opened.and_then(|fd| self.enter(fd).map_err(Some)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(errno) => {
                self.exhausted = errno.filter(|errno| sys::is_exhausted(*errno));
                if self.exhausted.is_some() {
                    return ControlFlow::Continue(());
                }
                let error = errno.map_or_else(moved, sys::words);
                self.path.truncate(path_len);
                (self.sink)(Entry::Unlisted { dir: path, error })
            }
        }
    }
}

fn moved() -> String {
    "its folder was moved while being looked at".to_owned()
}

/// `name` below `folder` (empty for the root).
fn path_of(folder: &[u8], name: &[u8]) -> Option<RelPath> {
    let mut path = Vec::with_capacity(folder.len() + 1 + name.len());
    if !folder.is_empty() {
        path.extend_from_slice(folder);
        path.push(b'/');
    }
    path.extend_from_slice(name);
    RelPath::new(path)
}
