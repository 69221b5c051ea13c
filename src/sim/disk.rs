//! The folder and who works in it: real files, times of change set by hand, and a log of what was there when.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use crate::host::simulated;

/// Relative path to the SHA-256 of its content, of regular files.
pub type Tree = BTreeMap<String, String>;

/// Folders and names that a user has in mind; some are refused by Connect, some by its scanner.
pub const FOLDERS: [&str; 5] = ["", "a", "b", "a/c", "b/d"];
pub const NAMES: [&str; 9] =
    ["1.txt", "2.txt", "3.pdf", "4 x.txt", "5.txt", "ä.txt", "virus.txt", "wrong.zip", "6.txt"];

/// One thing a user does. Numbers choose among what is possible.
#[derive(Debug, Clone)]
pub enum Deed {
    /// Written in place, new or again.
    Write {
        at: u64,
        size: usize,
        fill: u8,
    },
    /// More is written to its end.
    Append {
        at: u64,
        size: usize,
        fill: u8,
    },
    /// As editors do: written beside it, renamed over it.
    Replace {
        at: u64,
        size: usize,
        fill: u8,
    },
    /// Other content of the same size, in place.
    Same {
        which: u64,
        fill: u8,
    },
    /// Only the time of change: of now, of 1970, before, or of 2100.
    Touch {
        which: u64,
        when: u8,
    },
    Rename {
        which: u64,
        at: u64,
    },
    Remove {
        which: u64,
    },
    MoveFolder {
        from: u64,
        to: u64,
    },
    RemoveFolder {
        which: u64,
    },
    /// Two files change places.
    Swap {
        which: u64,
        with: u64,
    },
    /// A symbolic link stands where a name was free.
    Link {
        at: u64,
    },
    /// A folder stands where a file was.
    FolderForFile {
        which: u64,
    },
    /// `rm -rf root/*`.
    Empty,
    /// The disk is unmounted: an empty mount point stays, or nothing.
    Unmount {
        point_stays: bool,
    },
    /// Another folder stands at the root's path.
    Other,
    /// The root is back as it was.
    Mount,
}

/// The state of the folder at its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    Here,
    Away,
}

pub struct Disk {
    root: PathBuf,
    away: PathBuf,
    state: Root,
    /// What was there from which moment on; what an unmounted disk holds counts as there.
    log: Vec<(i64, Tree)>,
    /// Since when the user wants nothing to be there.
    emptied: Option<i64>,
    changes: u64,
}

impl Disk {
    pub fn new(root: PathBuf, away: PathBuf) -> Self {
        let now = simulated::true_time().unwrap();
        Self { root, away, state: Root::Here, log: vec![(now, Tree::new())], emptied: None, changes: 0 }
    }

    /// Where the files really are.
    fn place(&self) -> &Path {
        if self.state == Root::Here { &self.root } else { &self.away }
    }

    pub fn is_whole(&self) -> bool {
        self.state == Root::Here
    }

    /// Since when the folder has been emptied by its user.
    pub fn emptied(&self) -> Option<i64> {
        self.emptied
    }

    /// A person says that the emptied folder is meant.
    pub fn released(&mut self) {
        self.emptied = None;
    }

    pub fn tree(&self) -> &Tree {
        &self.log.last().unwrap().1
    }

    pub fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.place().join(path)).unwrap()
    }

    /// When the file at one of `paths` was last there with that content; `None`: never.
    pub fn last_there(&self, content: &str, is_path: impl Fn(&str) -> bool) -> Option<i64> {
        let now = simulated::true_time().unwrap();
        let mut until = now;
        for (from, tree) in self.log.iter().rev() {
            if tree.iter().any(|(path, hash)| hash == content && is_path(path)) {
                return Some(until);
            }
            until = *from;
        }
        None
    }

    /// A time of change that no other change had.
    fn stamp(&mut self, file: &Path, when: u8) {
        self.changes += 1;
        let base: i128 = match when {
            0 => 0,
            1 => -86_400_000_000_000,
            2 => 4_102_444_800_000_000_000,
            _ => i128::from(crate::host::unix_millis()) * 1_000_000,
        };
        let nanos = base + i128::from(self.changes);
        let distance = Duration::from_nanos(u64::try_from(nanos.unsigned_abs()).unwrap());
        let time = if nanos < 0 { SystemTime::UNIX_EPOCH - distance } else { SystemTime::UNIX_EPOCH + distance };
        fs::File::open(file).unwrap().set_modified(time).unwrap();
    }

    fn at(at: u64) -> String {
        let folder = FOLDERS[usize::try_from(at / 16).unwrap() % FOLDERS.len()];
        let name = NAMES[usize::try_from(at % 16).unwrap() % NAMES.len()];
        if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
    }

    fn chosen(&self, which: u64) -> Option<String> {
        let paths: Vec<&String> = self.tree().keys().collect();
        let at = usize::try_from(which % (paths.len().max(1) as u64)).unwrap();
        paths.get(at).map(|path| (*path).clone())
    }

    fn folders(&self) -> Vec<String> {
        let there = FOLDERS.iter().filter(|folder| !folder.is_empty() && self.place().join(folder).is_dir());
        there.map(|folder| (*folder).to_owned()).collect()
    }

    /// Does it, as far as it is possible; says which paths it was about, for the watcher.
    pub fn act(&mut self, deed: &Deed) -> Vec<String> {
        let touched = self.change(deed);
        let mut tree = Tree::new();
        collect(self.place(), "", &mut tree);
        if matches!(deed, Deed::Empty) {
            self.emptied.get_or_insert(simulated::true_time().unwrap());
        } else if !tree.is_empty() {
            self.emptied = None;
        }
        self.log.push((simulated::true_time().unwrap(), tree));
        touched
    }

    /// What to write at a place: `None` if something else than a file is in the way.
    fn writable(&self, at: u64) -> Option<(String, PathBuf)> {
        let path = Self::at(at);
        let full = self.place().join(&path);
        fs::create_dir_all(full.parent()?).ok()?;
        let free = fs::symlink_metadata(&full).map_or(true, |meta| meta.is_file());
        free.then_some((path, full))
    }

    fn change(&mut self, deed: &Deed) -> Vec<String> {
        let content = |size: usize, fill: u8| vec![fill; size];
        match *deed {
            Deed::Write { at, size, fill } => {
                let Some((path, full)) = self.writable(at) else { return Vec::new() };
                fs::write(&full, content(size, fill)).unwrap();
                self.stamp(&full, 9);
                vec![path]
            }
            Deed::Append { at, size, fill } => {
                let Some((path, full)) = self.writable(at) else { return Vec::new() };
                let mut bytes = fs::read(&full).unwrap_or_default();
                bytes.extend(content(size, fill));
                // In place: the file keeps its inode.
                fs::write(&full, bytes).unwrap();
                self.stamp(&full, 9);
                vec![path]
            }
            Deed::Replace { at, size, fill } => {
                let Some((path, full)) = self.writable(at) else { return Vec::new() };
                let draft = self.place().parent().unwrap().join("draft");
                fs::write(&draft, content(size, fill)).unwrap();
                self.stamp(&draft, 9);
                fs::rename(&draft, &full).unwrap();
                vec![path]
            }
            Deed::Same { which, fill } => {
                let Some(path) = self.chosen(which) else { return Vec::new() };
                let full = self.place().join(&path);
                let size = fs::metadata(&full).unwrap().len();
                fs::write(&full, content(usize::try_from(size).unwrap(), fill)).unwrap();
                self.stamp(&full, 9);
                vec![path]
            }
            Deed::Touch { which, when } => {
                let Some(path) = self.chosen(which) else { return Vec::new() };
                let full = self.place().join(&path);
                self.stamp(&full, when);
                vec![path]
            }
            Deed::Rename { which, at } => {
                let (Some(path), Some((to, full))) = (self.chosen(which), self.writable(at)) else { return Vec::new() };
                fs::rename(self.place().join(&path), full).unwrap();
                vec![path, to]
            }
            Deed::Remove { which } => {
                let Some(path) = self.chosen(which) else { return Vec::new() };
                fs::remove_file(self.place().join(&path)).unwrap();
                vec![path]
            }
            Deed::MoveFolder { from, to } => {
                let folders = self.folders();
                if folders.is_empty() {
                    return Vec::new();
                }
                let from = &folders[usize::try_from(from).unwrap() % folders.len()];
                let to = FOLDERS[1 + usize::try_from(to).unwrap() % (FOLDERS.len() - 1)];
                let target = self.place().join(to);
                if target.exists()
                    || to.starts_with(from.as_str())
                    || fs::create_dir_all(target.parent().unwrap()).is_err()
                {
                    return Vec::new();
                }
                fs::rename(self.place().join(from), target).unwrap();
                vec![from.clone(), to.to_owned()]
            }
            Deed::RemoveFolder { which } => {
                let folders = self.folders();
                if folders.is_empty() {
                    return Vec::new();
                }
                let folder = folders[usize::try_from(which).unwrap() % folders.len()].clone();
                fs::remove_dir_all(self.place().join(&folder)).unwrap();
                vec![folder]
            }
            Deed::Swap { which, with } => {
                let (Some(one), Some(two)) = (self.chosen(which), self.chosen(with)) else { return Vec::new() };
                let draft = self.place().parent().unwrap().join("draft");
                if one == two {
                    return Vec::new();
                }
                fs::rename(self.place().join(&one), &draft).unwrap();
                fs::rename(self.place().join(&two), self.place().join(&one)).unwrap();
                fs::rename(&draft, self.place().join(&two)).unwrap();
                vec![one, two]
            }
            Deed::Link { at } => {
                let path = Self::at(at);
                let full = self.place().join(&path);
                if fs::symlink_metadata(&full).is_ok() || fs::create_dir_all(full.parent().unwrap()).is_err() {
                    return Vec::new();
                }
                std::os::unix::fs::symlink("/etc/hostname", &full).unwrap();
                vec![path]
            }
            Deed::FolderForFile { which } => {
                let Some(path) = self.chosen(which) else { return Vec::new() };
                fs::remove_file(self.place().join(&path)).unwrap();
                fs::create_dir(self.place().join(&path)).unwrap();
                vec![path]
            }
            Deed::Empty => {
                for entry in fs::read_dir(self.place()).unwrap() {
                    let entry = entry.unwrap();
                    if entry.file_type().unwrap().is_dir() {
                        fs::remove_dir_all(entry.path()).unwrap();
                    } else {
                        fs::remove_file(entry.path()).unwrap();
                    }
                }
                FOLDERS.iter().map(|folder| (*folder).to_owned()).filter(|folder| !folder.is_empty()).collect()
            }
            Deed::Unmount { point_stays } => {
                if self.state == Root::Here {
                    fs::rename(&self.root, &self.away).unwrap();
                    self.state = Root::Away;
                    if point_stays {
                        fs::create_dir(&self.root).unwrap();
                    }
                }
                Vec::new()
            }
            Deed::Other => {
                if self.state == Root::Here {
                    fs::rename(&self.root, &self.away).unwrap();
                    self.state = Root::Away;
                    fs::create_dir(&self.root).unwrap();
                    fs::write(self.root.join("1.txt"), "of another disk").unwrap();
                }
                Vec::new()
            }
            Deed::Mount => {
                if self.state == Root::Away {
                    // What stood there instead is gone with its disk.
                    let _ = fs::remove_dir_all(&self.root);
                    fs::rename(&self.away, &self.root).unwrap();
                    self.state = Root::Here;
                }
                Vec::new()
            }
        }
    }
}

fn collect(folder: &Path, prefix: &str, into: &mut Tree) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            collect(&entry.path(), &format!("{path}/"), into);
        } else if kind.is_file() {
            let content = fs::read(entry.path()).unwrap();
            into.insert(path, Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect());
        }
    }
}
