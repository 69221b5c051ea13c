//! A file's content at one instant: stat, read, stat on one descriptor (LESSONS L20; invariant 6).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{Advice, fadvise};
use sha2::{Digest, Sha256};

use super::sys::look_through;
use crate::core::model::Stat;
use crate::types::ContentHash;

/// Most bytes read at once.
const BUFFER_BYTES: u64 = 256 * 1024;

/// A content and the `stat` that goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashed {
    pub stat: Stat,
    pub hash: ContentHash,
}

/// Why a file's content could not be told.
#[derive(Debug, thiserror::Error)]
pub enum ReadFault {
    /// It is not what was expected, or changed while it was read: let it settle again.
    #[error("the file changed while it was read")]
    Changed,
    /// The caller asked to stop.
    #[error("stopped before the file was read")]
    Stopped,
    #[error("read the file: {0}")]
    Io(#[from] io::Error),
}

/// The `stat` of an open file, to compare with the one before and after a read.
///
/// # Errors
/// The descriptor's.
pub fn stat_of(file: &File) -> io::Result<Stat> {
    Ok(look_through(file).map_err(io::Error::from)?.stat)
}

/// Reads the whole file, wherever its position is, and gives its SHA-256 if it held still meanwhile.
///
/// `expected`: the `stat` the caller decided on; another one is `Changed` before anything is read. `stop` is
/// asked before every read.
pub fn read_hash(file: &File, expected: Option<&Stat>, stop: &dyn Fn() -> bool) -> Result<Hashed, ReadFault> {
    let before = look_through(file).map_err(io::Error::from)?.stat;
    if expected.is_some_and(|expected| !expected.same_content_as(&before)) {
        return Err(ReadFault::Changed);
    }
    // Advice only: a file system that takes none reads as well.
    let _ = fadvise(file, 0, None, Advice::Sequential);
    // One byte more than a small file holds, so that growth shows.
    let buffer_bytes = usize::try_from(before.size.saturating_add(1).min(BUFFER_BYTES)).unwrap_or(1);
    let mut buffer = vec![0; buffer_bytes];
    let mut hasher = Sha256::new();
    let mut count: u64 = 0;
    loop {
        if stop() {
            return Err(ReadFault::Stopped);
        }
        #[cfg(test)]
        crate::host::simulated::disk_call().map_err(io::Error::from)?;
        let read = match file.read_at(&mut buffer, count) {
            Ok(0) => break,
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(ReadFault::Io(e)),
        };
        hasher.update(buffer.get(..read).unwrap_or_default());
        count = count.saturating_add(read as u64);
        if count > before.size {
            // A file that grows faster than it is read would never end.
            return Err(ReadFault::Changed);
        }
    }
    let after = look_through(file).map_err(io::Error::from)?.stat;
    if count != before.size || !before.same_content_as(&after) {
        return Err(ReadFault::Changed);
    }
    Ok(Hashed { stat: after, hash: ContentHash(hasher.finalize().into()) })
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the file system's clock is the machine's")]
mod tests {
    use std::cell::Cell;
    use std::io::Write;
    use std::time::{Duration, SystemTime};

    use super::*;

    fn file_of(content: &[u8]) -> (tempfile::TempDir, std::path::PathBuf, File) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, content).unwrap();
        let file = File::open(&path).unwrap();
        (dir, path, file)
    }

    /// Reads with `meddle` done once, before the read number `at`.
    fn read_while(file: &File, at: u32, meddle: impl Fn()) -> Result<Hashed, ReadFault> {
        let reads = Cell::new(0);
        read_hash(file, None, &|| {
            reads.set(reads.get() + 1);
            if reads.get() == at {
                meddle();
            }
            false
        })
    }

    #[test]
    fn content_is_hashed_from_its_start() {
        let (_dir, _, mut file) = file_of(b"abc");
        std::io::Read::read(&mut file, &mut [0; 2]).unwrap();
        let hashed = read_hash(&file, None, &|| false).unwrap();
        assert_eq!(hashed.hash.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!((hashed.stat.size, hashed.stat.size), (3, 3));
        assert_eq!(read_hash(&file, Some(&hashed.stat), &|| false).unwrap(), hashed);
    }

    #[test]
    fn an_empty_and_a_large_file_are_hashed() {
        let (_dir, _, file) = file_of(b"");
        let empty = read_hash(&file, None, &|| false).unwrap();
        assert_eq!(empty.hash.to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let content: Vec<u8> = (0..3_000_001_u32).map(|n| n.to_le_bytes()[0]).collect();
        let (_dir, _, file) = file_of(&content);
        let large = read_hash(&file, None, &|| false).unwrap();
        assert_eq!(large.hash.0, <[u8; 32]>::from(Sha256::digest(&content)));
    }

    #[test]
    fn another_file_than_expected_is_not_read() {
        let (_dir, _, file) = file_of(b"abc");
        let mut expected = read_hash(&file, None, &|| false).unwrap().stat;
        expected.mtime_ns -= 1;
        let never = || panic!("nothing is to be read");
        assert!(matches!(read_hash(&file, Some(&expected), &never), Err(ReadFault::Changed)));
    }

    #[test]
    fn inv06_truncated_grown_or_rewritten_while_read_is_changed() {
        let (_dir, path, file) = file_of(&[7; 600_000]);
        let writer = || std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        let shrink = || writer().set_len(300_000).unwrap();
        assert!(matches!(read_while(&file, 2, shrink), Err(ReadFault::Changed)));
        let grow = || writer().write_all(b"more").unwrap();
        assert!(matches!(read_while(&file, 2, grow), Err(ReadFault::Changed)));
        // The clock of a file system may be coarse, so the later time is set by hand.
        let rewrite = || writer().set_modified(SystemTime::now() + Duration::from_secs(5)).unwrap();
        assert!(matches!(read_while(&file, 2, rewrite), Err(ReadFault::Changed)));
        assert!(read_hash(&file, None, &|| false).is_ok(), "it holds still again");
    }

    #[test]
    fn inv06_a_file_replaced_while_read_is_the_old_one_whole() {
        let (dir, path, file) = file_of(&[7; 600_000]);
        let replace = || {
            std::fs::write(dir.path().join("new"), b"new").unwrap();
            std::fs::rename(dir.path().join("new"), &path).unwrap();
        };
        let hashed = read_while(&file, 2, replace).unwrap();
        assert_eq!(hashed.hash.0, <[u8; 32]>::from(Sha256::digest([7; 600_000])));
        let expected = hashed.stat;
        let now = File::open(&path).unwrap();
        assert!(matches!(read_hash(&now, Some(&expected), &|| false), Err(ReadFault::Changed)));
    }

    #[test]
    fn reading_can_be_stopped_and_can_fail() {
        let (dir, _, file) = file_of(b"abc");
        assert!(matches!(read_hash(&file, None, &|| true), Err(ReadFault::Stopped)));
        let folder = File::open(dir.path()).unwrap();
        assert!(matches!(read_hash(&folder, None, &|| false), Err(ReadFault::Io(_))));
    }
}
