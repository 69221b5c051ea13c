//! The walk, on real folders.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use proptest::prelude::*;
use rustix::fs::{Mode, OFlags, mkdirat, open, openat};

use super::root_tests::{make_fifo, path, permissions_bind};
use super::*;

type Rule<'a> = &'a dyn Fn(&RelPath, bool) -> Option<String>;

fn all(_: &RelPath, _: bool) -> Option<String> {
    None
}

fn entries(root: &Path, below: Option<&str>, depth: Depth, rule: Rule<'_>) -> Vec<Entry> {
    let mut found = Vec::new();
    let root = open_root(root).unwrap();
    root.walk(below.map(path).as_ref(), depth, rule, &mut |e| {
        found.push(e);
        ControlFlow::Continue(())
    })
    .unwrap();
    found
}

/// One line for each entry: kind and path.
fn show(entry: &Entry) -> String {
    match entry {
        Entry::File { path, .. } => format!("file {path}"),
        Entry::Other { path, kind } => format!("{kind} {path}"),
        Entry::Ignored { path, rule, is_dir: false } => format!("ignored({rule}) {path}"),
        Entry::Ignored { path, rule, is_dir: true } => format!("ignored({rule}) {path}/"),
        Entry::Folder { path } => format!("folder {path}/"),
        Entry::Unlisted { dir, .. } => format!("unlisted {dir}/"),
        Entry::Unknown { path, .. } => format!("unknown {path}"),
    }
}

fn walk(root: &Path, below: Option<&str>, depth: Depth, rule: Rule<'_>) -> Vec<String> {
    entries(root, below, depth, rule).iter().map(show).collect()
}

/// The place of an entry in the order: its path, a folder with `/`.
fn key(entry: &Entry) -> Vec<u8> {
    let (path, folder) = match entry {
        Entry::File { path, .. } | Entry::Other { path, .. } | Entry::Unknown { path, .. } => (path, false),
        Entry::Ignored { path, is_dir, .. } => (path, *is_dir),
        Entry::Folder { path } | Entry::Unlisted { dir: path, .. } => (path, true),
    };
    let mut key = path.as_bytes().to_vec();
    key.extend(folder.then_some(b'/'));
    key
}

#[test]
fn every_kind_is_reported_in_byte_order() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for folder in ["a", "a/empty", "a!", "skip"] {
        fs::create_dir(at(folder)).unwrap();
    }
    for file in ["a/z", "a!/f", "a-b", "a.txt", "a0", "skip/me", "skip.txt"] {
        fs::write(at(file), "x").unwrap();
    }
    make_fifo(&at("pipe"));
    let _socket = UnixListener::bind(at("socket")).unwrap();
    symlink("a", at("to-folder")).unwrap();
    symlink("a.txt", at("to-file")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    let rule = |p: &RelPath, _: bool| p.as_bytes().starts_with(b"skip").then(|| "skip*".to_owned());
    assert_eq!(
        walk(dir.path(), None, Depth::Tree, &rule),
        [
            "file a!/f",
            "file a-b",
            "file a.txt",
            "file a/z",
            "file a0",
            "symbolic link dangling",
            "named pipe pipe",
            "ignored(skip*) skip.txt",
            "ignored(skip*) skip/",
            "socket socket",
            "symbolic link to-file",
            "symbolic link to-folder",
        ]
    );
    assert_eq!(
        walk(dir.path(), None, Depth::Folder, &rule)[..5],
        ["folder a!/", "file a-b", "file a.txt", "folder a/", "file a0"]
    );
    assert_eq!(walk(dir.path(), Some("a"), Depth::Tree, &all), ["file a/z"]);
    assert_eq!(walk(dir.path(), Some("a"), Depth::Folder, &all), ["folder a/empty/", "file a/z"]);
    assert_eq!(walk(dir.path(), Some("a/empty"), Depth::Tree, &all), Vec::<String>::new());
    for none in ["none", "a.txt", "to-folder", "none/below"] {
        assert_eq!(walk(dir.path(), Some(none), Depth::Tree, &all), [format!("unlisted {none}/")]);
    }
}

#[test]
fn devices_are_no_files() {
    let found = entries(Path::new("/dev"), None, Depth::Folder, &|p, _| (p.as_bytes() != b"null").then(String::new));
    let null = Entry::Other { path: path("null"), kind: OtherKind::CharacterDevice };
    assert!(found.contains(&null), "{found:?}");
}

#[test]
fn a_mount_is_unlisted() {
    let found = entries(Path::new("/"), None, Depth::Tree, &|p, _| (p.as_bytes() != b"proc").then(String::new));
    let unlisted: Vec<_> = found.iter().filter(|e| !matches!(e, Entry::Ignored { .. })).collect();
    assert!(
        matches!(unlisted[..], [Entry::Unlisted { dir, error }] if *dir == path("proc") && error.contains("mounted")),
        "{unlisted:?}"
    );
}

#[test]
fn stats_are_those_of_a_single_look() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), "12345").unwrap();
    let Look::File(stat) = open_root(dir.path()).unwrap().stat(&path("f")) else { panic!("a file") };
    assert_eq!(entries(dir.path(), None, Depth::Tree, &all), [Entry::File { path: path("f"), stat }]);
}

#[test]
fn names_are_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let names = [&b"\x01"[..], b"new\nline", &[b'n'; 255], b"\xc3\xbc", b"\xff\xfe"];
    for name in names {
        fs::write(dir.path().join(std::ffi::OsStr::from_bytes(name)), "x").unwrap();
    }
    let found: Vec<_> = entries(dir.path(), None, Depth::Tree, &all).iter().map(key).collect();
    let mut expected = names.map(<[u8]>::to_vec).to_vec();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn a_large_folder_is_read_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let names: BTreeSet<String> = (0..5_000).map(|n| format!("{n:x}-{}", "long".repeat(n % 30))).collect();
    for name in &names {
        fs::File::create(dir.path().join(name)).unwrap();
    }
    let expected: Vec<String> = names.iter().map(|name| format!("file {name}")).collect();
    assert_eq!(walk(dir.path(), None, Depth::Tree, &all), expected);
}

#[test]
fn a_break_ends_the_walk() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(dir.path().join(name), "x").unwrap();
    }
    let mut count = 0;
    let walked = open_root(dir.path()).unwrap().walk(None, Depth::Tree, &all, &mut |_| {
        count += 1;
        if count == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((walked, count), (Ok(()), 2));
}

/// `levels` folders named `name` inside each other, in each of them a file `z`; longer than a path may be.
fn nest(root: &Path, name: &str, levels: usize) {
    let mut here: OwnedFd = open(root, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..levels {
        mkdirat(&here, name, Mode::from_raw_mode(0o700)).unwrap();
        here = openat(&here, name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        openat(&here, "z", OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o600)).unwrap();
    }
}

#[test]
fn a_tree_deeper_than_a_path_may_be_is_walked_and_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let name = "n".repeat(40);
    nest(dir.path(), &name, 200);
    let found = entries(dir.path(), None, Depth::Tree, &all);
    assert_eq!(found.len(), 200);
    assert!(found.iter().all(|e| matches!(e, Entry::File { .. })), "the way back is found");
    let deepest = found.first().map(key).unwrap();
    assert!(deepest.len() > 8_000);
    let root = open_root(dir.path()).unwrap();
    assert!(matches!(root.stat(&path(&deepest)), Look::File(_)));
    assert!(root.open(&path(&deepest)).is_ok());
}

#[test]
fn a_deep_tree_holds_few_descriptors() {
    let dir = tempfile::tempdir().unwrap();
    nest(dir.path(), "n", 200);
    let most = RefCell::new(0);
    let count = |_: &RelPath, _: bool| {
        let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
        let here = open.filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.starts_with(dir.path()))).count();
        most.replace_with(|most| here.max(*most));
        None
    };
    assert_eq!(walk(dir.path(), None, Depth::Tree, &count).len(), 200);
    assert!((30..=40).contains(&*most.borrow()), "{most:?} descriptors");
}

#[test]
fn a_deep_folder_moved_meanwhile_leaves_its_surroundings_unknown() {
    let dir = tempfile::tempdir().unwrap();
    nest(dir.path(), "n", 60);
    let at_level = |level: usize| format!("{}z", "n/".repeat(level));
    let moved = dir.path().join("n/".repeat(50));
    let meddle = |p: &RelPath, _: bool| {
        if p.as_bytes() == at_level(60).as_bytes() {
            fs::rename(&moved, dir.path().join("zz-moved")).unwrap();
        }
        None
    };
    let found = walk(dir.path(), None, Depth::Tree, &meddle);
    for level in 1..=60 {
        let seen = found.iter().find(|line| line.ends_with(&format!(" {}", at_level(level)))).unwrap();
        match level {
            50..=60 | 1..=30 => assert!(seen.starts_with("file"), "{level}: {seen}"),
            40..50 => assert!(seen.starts_with("unknown"), "{level}: {seen}"),
            _ => {}
        }
    }
}

#[test]
fn inv04_a_folder_that_may_not_be_listed_is_unlisted() {
    if !permissions_bind("inv04_a_folder_that_may_not_be_listed_is_unlisted") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (name, mode) in [("no-list", 0o300), ("no-search", 0o600)] {
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name).join("f"), "x").unwrap();
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let found = walk(dir.path(), None, Depth::Tree, &all);
    let look = open_root(dir.path()).unwrap().stat(&path("no-search/f"));
    for name in ["no-list", "no-search"] {
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o700)).unwrap();
    }
    assert_eq!(found, ["unlisted no-list/", "unknown no-search/f"]);
    assert!(matches!(look, Look::Unknown(text) if text.contains("EACCES")));
}

#[test]
fn what_vanishes_or_changes_its_kind_after_the_listing_is_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "x").unwrap();
    for folder in ["d-file", "d-gone", "d-link"] {
        fs::create_dir(at(folder)).unwrap();
        fs::write(at(folder).join("f"), "x").unwrap();
    }
    for file in ["f-folder", "f-folder-b", "f-gone", "f-link"] {
        fs::write(at(file), "x").unwrap();
    }
    let meddle = |p: &RelPath, is_dir: bool| {
        match (p.as_bytes(), is_dir) {
            (b"d-file" | b"d-gone" | b"d-link", true) => fs::remove_dir_all(at(&p.to_string())).unwrap(),
            (b"f-folder" | b"f-gone" | b"f-link", false) => fs::remove_file(at(&p.to_string())).unwrap(),
            _ => {}
        }
        match (p.as_bytes(), is_dir) {
            (b"d-link" | b"f-link", _) => symlink(outside.path(), at(&p.to_string())).unwrap(),
            (b"d-file", true) => fs::write(at("d-file"), "x").unwrap(),
            (b"f-folder", false) => {
                fs::create_dir(at("f-folder")).unwrap();
                fs::write(at("f-folder/inner"), "x").unwrap();
            }
            _ => {}
        }
        None
    };
    let found = entries(dir.path(), None, Depth::Tree, &meddle);
    assert_eq!(
        found.iter().map(show).collect::<Vec<_>>(),
        [
            "unlisted d-file/",
            "unlisted d-gone/",
            "unlisted d-link/",
            "unknown f-folder",
            "file f-folder-b",
            "file f-folder/inner",
            "unknown f-gone",
            "symbolic link f-link",
        ]
    );
    assert!(found.is_sorted_by(|a, b| key(a) < key(b)));
}

/// A name of few different bytes around `/` (0x2f), so that orders that forget the `/` differ.
fn name() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(&b"a-.0\n\xff"[..]), 1..3)
        .prop_filter("a name", |name| name != b"." && name != b"..")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_walk_is_in_the_byte_order_of_all_paths(
        paths in prop::collection::vec(prop::collection::vec(name(), 1..4), 1..30),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut made = BTreeSet::new();
        for parts in paths {
            let rel = path(parts.join(&b'/'));
            let at = dir.path().join(rel.as_path());
            // A file may stand where a folder is wanted, or the other way round: left out then.
            if fs::create_dir_all(at.parent().unwrap()).is_ok() && fs::File::create_new(&at).is_ok() {
                made.insert(rel);
            }
        }
        let found = entries(dir.path(), None, Depth::Tree, &all);
        let files: Vec<RelPath> = found
            .iter()
            .filter_map(|e| if let Entry::File { path, .. } = e { Some(path.clone()) } else { None })
            .collect();
        prop_assert_eq!(files.len(), found.len());
        prop_assert_eq!(files, Vec::from_iter(made));
        let flat = entries(dir.path(), None, Depth::Folder, &all);
        prop_assert!(flat.is_sorted_by(|a, b| key(a) < key(b)));
    }
}
