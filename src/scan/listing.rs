//! One folder's entries: read to the end, then sorted.

use std::cmp::Ordering;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;

use super::sys::look_at;

/// The entries of one folder in walk order. Names share one buffer, so a folder costs a handful of allocations.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Every name with its closing NUL.
    names: Vec<u8>,
    items: Vec<Item>,
    next: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    start: usize,
    /// Bytes, without the NUL.
    len: usize,
    pub kind: FileType,
}

impl Item {
    pub fn is_folder(self) -> bool {
        self.kind == FileType::Directory
    }
}

impl Listing {
    /// Reads the whole folder; an error on the way makes it unlisted as a whole.
    pub fn read(folder: impl AsFd, buffer: &mut [MaybeUninit<u8>]) -> Result<Self, Errno> {
        let folder = folder.as_fd();
        #[cfg(test)]
        crate::host::simulated::listing(folder)?;
        let mut listing = Self::default();
        let mut entries = RawDir::new(folder, buffer);
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(Errno::INTR) => continue,
                Err(e) => return Err(e),
            };
            #[cfg(test)]
            crate::host::simulated::disk_call()?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b".." | b"") {
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems do not tell; where `stat` does not either, it sorts as a file and the walk
                // reports it.
                FileType::Unknown => look_at(folder, name).map_or(FileType::Unknown, |seen| seen.kind),
                kind => kind,
            };
            listing.push(name, kind);
        }
        let Self { names, items, .. } = &mut listing;
        items.sort_unstable_by(|a, b| order(names, *a, *b));
        // A name that is renamed away and back while the kernel lists can show up twice.
        items.dedup_by(|a, b| order(names, *a, *b).is_eq());
        Ok(listing)
    }

    fn push(&mut self, name: &CStr, kind: FileType) {
        let start = self.names.len();
        self.names.extend_from_slice(name.to_bytes_with_nul());
        self.items.push(Item { start, len: name.to_bytes().len(), kind });
    }

    /// The next entry.
    pub fn advance(&mut self) -> Option<Item> {
        let item = self.items.get(self.next).copied()?;
        self.next += 1;
        Some(item)
    }

    /// The entry's name.
    pub fn name(&self, item: Item) -> &[u8] {
        name_of(&self.names, item)
    }

    /// The entry's name for a system call.
    pub fn c_name(&self, item: Item) -> &CStr {
        let bytes = self.names.get(item.start..item.start + item.len + 1).unwrap_or(b"\0");
        CStr::from_bytes_with_nul(bytes).unwrap_or(c"")
    }

    /// An entry that was given out as a file turned out to be a folder: it comes again at a folder's place,
    /// which is always still ahead.
    pub fn again_as_folder(&mut self, item: Item) {
        let item = Item { kind: FileType::Directory, ..item };
        let rest = self.items.get(self.next..).unwrap_or_default();
        match rest.binary_search_by(|other| order(&self.names, *other, item)) {
            Ok(_) => {}
            Err(at) => self.items.insert(self.next + at, item),
        }
    }
}

fn name_of(names: &[u8], item: Item) -> &[u8] {
    names.get(item.start..item.start + item.len).unwrap_or_default()
}

/// Byte order of `name` for a file and `name/` for a folder.
fn order(names: &[u8], a: Item, b: Item) -> Ordering {
    let (x, y) = (name_of(names, a), name_of(names, b));
    let common = x.len().min(y.len());
    x.get(..common).cmp(&y.get(..common)).then_with(|| {
        // No name holds a `/`, so at most one of the tails goes on past it.
        let tail = |name: &[u8], item: Item| name.get(common).copied().or(item.is_folder().then_some(b'/'));
        tail(x, a).cmp(&tail(y, b))
    })
}
