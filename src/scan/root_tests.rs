//! Opening a root and looking at single paths, on real folders.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::io::Errno;

use super::sys::{by_hand, look_through, open_below};
use super::*;

pub(super) fn path(bytes: impl AsRef<[u8]>) -> RelPath {
    RelPath::new(bytes.as_ref()).unwrap()
}

pub(super) fn make_fifo(at: &Path) {
    mknodat(CWD, at, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

/// Whether permissions bind this process; a test that needs them says so and passes otherwise.
pub(super) fn permissions_bind(test: &str) -> bool {
    let bind = !rustix::process::geteuid().is_root();
    if !bind {
        println!("{test}: skipped, root may read everything");
    }
    bind
}

#[test]
fn a_root_is_a_folder_and_no_link() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("real")).unwrap();
    fs::write(at("file"), "x").unwrap();
    symlink("real", at("link")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    let fault = |p: &str| open_root(&at(p)).unwrap_err();
    assert!(open_root(&at("real")).is_ok());
    assert!(open_root(&at("real/")).is_ok());
    assert_eq!(fault("none"), RootFault::Missing);
    assert_eq!(fault("file"), RootFault::NotADirectory);
    assert_eq!(fault("file/below"), RootFault::Missing);
    for link in ["link", "link/", "link/.", "link//", "dangling"] {
        assert_eq!(fault(link), RootFault::SymbolicLink, "{link}");
    }
    symlink(dir.path(), at("parent")).unwrap();
    assert!(open_root(&at("parent/real")).is_ok(), "only the last component counts");
}

#[test]
fn an_unreadable_root_says_so() {
    if !permissions_bind("an_unreadable_root_says_so") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o300)).unwrap();
    assert!(matches!(open_root(&root), Err(RootFault::Unreadable(text)) if text.contains("EACCES")));
}

#[test]
fn inv03_a_replaced_moved_or_removed_root_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("root");
    fs::create_dir(&at).unwrap();
    fs::write(at.join("f"), "x").unwrap();
    let root = open_root(&at).unwrap();
    assert_eq!(root.identity(), open_root(&at).unwrap().identity());
    assert_eq!(root.still_there(&at), Ok(()));

    fs::rename(&at, dir.path().join("elsewhere")).unwrap();
    assert_eq!(root.still_there(&at), Err(RootFault::Missing));
    fs::create_dir(&at).unwrap();
    assert_eq!(root.still_there(&at), Err(RootFault::Replaced));
    assert!(matches!(root.stat(&path("f")), Look::File(_)), "it means the folder, not the path");
    fs::remove_dir(&at).unwrap();
    symlink("elsewhere", &at).unwrap();
    assert_eq!(root.still_there(&at), Err(RootFault::SymbolicLink));

    fs::remove_dir_all(dir.path().join("elsewhere")).unwrap();
    assert!(matches!(root.stat(&path("f")), Look::Unknown(_)), "in a removed root nothing is absent");
    let walked = root.walk(None, Depth::Tree, &|_, _| None, &mut |e| panic!("{e:?}"));
    assert_eq!(walked, Err(RootFault::Missing));
}

#[test]
fn a_look_tells_every_kind() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("folder/deep")).unwrap();
    fs::write(at("folder/deep/file"), "12345").unwrap();
    make_fifo(&at("pipe"));
    let _socket = UnixListener::bind(at("socket")).unwrap();
    symlink("folder", at("to-folder")).unwrap();
    symlink("folder/deep/file", at("to-file")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    let root = open_root(dir.path()).unwrap();
    let look = |p: &str| root.stat(&path(p));

    let Look::File(stat) = look("folder/deep/file") else { panic!("a file") };
    let meta = fs::metadata(at("folder/deep/file")).unwrap();
    let modified = meta.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    assert_eq!(stat.size, 5);
    assert_eq!(stat.inode, std::os::unix::fs::MetadataExt::ino(&meta));
    assert_eq!(stat.dev, std::os::unix::fs::MetadataExt::dev(&meta));
    assert_eq!(u128::try_from(stat.mtime_ns).unwrap(), modified);

    assert_eq!(look("folder"), Look::Folder);
    assert_eq!(look("pipe"), Look::Other(OtherKind::Fifo));
    assert_eq!(look("socket"), Look::Other(OtherKind::Socket));
    for link in ["to-folder", "to-file", "dangling"] {
        assert_eq!(look(link), Look::Other(OtherKind::SymbolicLink), "{link}");
    }
    for absent in ["none", "none/below", "folder/none", "folder/deep/file/below", "pipe/below"] {
        assert_eq!(look(absent), Look::Absent, "{absent}");
    }
    // What is behind a link is neither there nor absent.
    for behind in ["to-folder/deep/file", "to-folder/none", "dangling/file"] {
        assert_eq!(look(behind), Look::BehindLink, "{behind}");
    }
}

#[test]
fn times_before_1970_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("old"), "x").unwrap();
    let when = std::time::UNIX_EPOCH - std::time::Duration::from_millis(1500);
    fs::File::options().write(true).open(dir.path().join("old")).unwrap().set_modified(when).unwrap();
    let Look::File(stat) = open_root(dir.path()).unwrap().stat(&path("old")) else { panic!("a file") };
    assert_eq!(stat.mtime_ns, -1_500_000_000);
}

#[test]
fn only_regular_files_are_opened() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("folder")).unwrap();
    fs::write(at("folder/file"), "abc").unwrap();
    make_fifo(&at("pipe"));
    symlink("folder/file", at("link")).unwrap();
    symlink("folder", at("way")).unwrap();
    let root = open_root(dir.path()).unwrap();
    let mut buffer = [0; 3];
    root.open(&path("folder/file")).unwrap().read_exact_at(&mut buffer, 0).unwrap();
    assert_eq!(&buffer, b"abc");
    let kind = |p: &str| root.open(&path(p)).unwrap_err().kind();
    for other in ["folder", "pipe", "link"] {
        assert_eq!(kind(other), std::io::ErrorKind::InvalidInput, "{other}");
    }
    assert_eq!(kind("none"), std::io::ErrorKind::NotFound);
    assert_eq!(root.open(&path("way/file")).unwrap_err().raw_os_error(), Some(Errno::LOOP.raw_os_error()));
}

/// `/proc` is a mount on every host that runs tests.
#[test]
fn mounts_are_not_entered() {
    let root = open_root(Path::new("/")).unwrap();
    for below in ["proc", "proc/self", "proc/self/status"] {
        assert!(matches!(root.stat(&path(below)), Look::Unknown(text) if text.contains("EXDEV")), "{below}");
        assert_eq!(root.open(&path(below)).unwrap_err().raw_os_error(), Some(Errno::XDEV.raw_os_error()));
    }
    let fd = open("/", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let mount = look_through(&fd).unwrap().mount;
    assert_eq!(by_hand(&fd, mount, b"proc/self", OFlags::PATH).unwrap_err(), Errno::XDEV);
}

#[test]
fn by_hand_finds_what_openat2_finds() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("a/b")).unwrap();
    fs::write(dir.path().join("a/b/c"), "x").unwrap();
    symlink("a", dir.path().join("way")).unwrap();
    symlink("b/c", dir.path().join("a/link")).unwrap();
    let fd = open(dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let mount = look_through(&fd).unwrap().mount;
    for p in ["a", "a/b/c", "a/link", "way", "way/b/c", "a/b/c/d", "none", "none/x", "a/link/x"] {
        for flags in [OFlags::PATH, OFlags::RDONLY] {
            let inode = |fd: std::os::fd::OwnedFd| look_through(fd.as_fd()).unwrap().stat.inode;
            let one = open_below(&fd, mount, p.as_bytes(), flags).map(inode);
            let other = by_hand(&fd, mount, p.as_bytes(), flags | OFlags::NOFOLLOW).map(inode);
            assert_eq!(one, other, "{p} {flags:?}");
        }
    }
}

#[test]
fn names_are_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let root = open_root(dir.path()).unwrap();
    for name in [&b"new\nline"[..], b"\xff\xfe", &[b'n'; 255], b"back\\slash", b"...", b"\x01"] {
        let at = dir.path().join(std::ffi::OsStr::from_bytes(name));
        fs::write(&at, "x").unwrap();
        assert!(matches!(root.stat(&path(name)), Look::File(_)), "{}", path(name));
        assert!(root.open(&path(name)).is_ok());
    }
    // No file system holds such a name; it is not for this look to call it absent.
    assert!(matches!(root.stat(&path([b'n'; 256])), Look::Unknown(_)));
}
