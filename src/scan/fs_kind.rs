//! Whether a folder's file system tells of every change (LESSONS L18).

use std::path::Path;

use rustix::fs::statfs;
use rustix::io::retry_on_intr;

/// Where the files are kept, as far as change events are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FsKind {
    /// This host's kernel sees every change.
    Local,
    /// Others may change files without an event here; the file system's name.
    Network(&'static str),
}

/// File systems whose files can change behind the kernel's back, by the magic number of `statfs`.
///
/// Source: linux/magic.h and statfs(2); vboxsf from its driver's `VBOXSF_SUPER_MAGIC`, Lustre, GPFS, BeeGFS and
/// PanFS from coreutils' `stat.c`. FUSE (which also carries virtiofs and sshfs) tells only of changes made here.
const REMOTE: &[(u32, &str)] = &[
    (0x6969, "nfs"),
    (0x517b, "smb"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb2"),
    (0x6573_5546, "fuse"),
    (0x0102_1997, "9p"),
    (0x5346_414f, "afs"),
    (0x6b41_4653, "afs"),
    (0x00c3_6400, "ceph"),
    (0x0116_1970, "gfs2"),
    (0x7461_636f, "ocfs2"),
    (0x0bd0_0bd0, "lustre"),
    (0x4750_4653, "gpfs"),
    (0x1983_0326, "beegfs"),
    (0xaad7_aaea, "panfs"),
    (0x7375_7245, "coda"),
    (0x564c, "ncp"),
    (0x786f_4256, "vboxsf"),
    (0xbacb_acbc, "vmhgfs"),
];

/// The kind of the file system that holds `path`; local when it cannot be told, since the root's own checks
/// report what is wrong with it.
pub fn file_system_kind(path: &Path) -> FsKind {
    match retry_on_intr(|| statfs(path)) {
        Ok(stat) => kind_of(u32::try_from(stat.f_type & 0xffff_ffff).unwrap_or(0)),
        Err(_) => FsKind::Local,
    }
}

fn kind_of(magic: u32) -> FsKind {
    match REMOTE.iter().find(|(known, _)| *known == magic) {
        Some((_, name)) => FsKind::Network(name),
        None => FsKind::Local,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers_have_names() {
        assert_eq!(kind_of(0x6969), FsKind::Network("nfs"));
        assert_eq!(kind_of(0xff53_4d42), FsKind::Network("cifs"));
        assert_eq!(kind_of(0x6573_5546), FsKind::Network("fuse"));
        assert_eq!(kind_of(0x794c_7630), FsKind::Local, "overlay");
        assert_eq!(kind_of(0xef53), FsKind::Local, "ext4");
    }

    #[test]
    fn this_host_can_be_asked() {
        assert_eq!(file_system_kind(Path::new("/proc/self")), FsKind::Local);
        assert_eq!(file_system_kind(Path::new("/no/such/folder")), FsKind::Local);
    }
}
