//! Which folder is a mirror's root.

use serde::{Deserialize, Serialize};

/// Which root folder a mirror was last healthy on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootIdentity {
    /// `f_fsid` of `statfs`; 0 where the file system has none.
    pub fsid: u64,
    pub dev: u64,
    pub inode: u64,
    /// When the folder was made, nanoseconds since 1970, where the file system tells: a folder made anew can get the
    /// inode of the old one, and another disk the device number.
    pub born_ns: Option<i64>,
}

impl RootIdentity {
    /// Whether nothing tells the two apart. A time of making that only one of them has is no difference: an older
    /// journal did not hold it.
    pub fn is_same_as(&self, other: &Self) -> bool {
        let born = self.born_ns.zip(other.born_ns).is_none_or(|(a, b)| a == b);
        born && (self.fsid, self.dev, self.inode) == (other.fsid, other.dev, other.inode)
    }
}
