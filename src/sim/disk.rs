//! The folder and who works in it: real files, times of change set by hand, and a log of what was there when.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
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

/// How long before a decision the disk was looked at, at most.
pub const LOOK_MS: i64 = 1_000;

/// What stands at the first of the names on another disk.
const OTHER: &str = "of another disk";

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
    /// A file stands at the root's path, or a symbolic link that leads to the very folder.
    Turn {
        link: bool,
    },
    /// The root is back as it was.
    Mount,
    /// A folder cannot be listed; the root itself where there is none of this number.
    Shut {
        which: u64,
    },
    /// All folders can be listed again.
    Open,
}

/// The state of the folder at its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    Here,
    Away,
}

/// What was there from this moment on.
struct Moment {
    at: i64,
    /// At the root's path, for all to see.
    here: bool,
    tree: Tree,
    /// What of it lies in a folder that cannot be listed.
    shut: BTreeSet<String>,
}

pub struct Disk {
    root: PathBuf,
    away: PathBuf,
    state: Root,
    /// Since when it is not whole.
    away_since: Option<i64>,
    /// Until when a person took what stood there instead for the mirror's, and until when another disk stood there;
    /// the end of time while it is so.
    accepted_until: Option<i64>,
    other_until: Option<i64>,
    /// Folders that cannot be listed.
    shut: Vec<(u64, u64)>,
    /// What was there from which moment on; what an unmounted disk holds counts as there.
    log: Vec<Moment>,
    /// Hashes of what was read: by inode, time of change and size. No two contents have the same three.
    hashes: BTreeMap<(u64, i64, i64, u64), String>,
    /// Since when nothing is there of what ever was, because its user took it all away.
    emptied: Option<i64>,
    /// Whether a person released the mirror, and not all that this allows has gone.
    released: bool,
    /// Where something else than a file ever stood.
    others: BTreeSet<String>,
    /// From when until when nobody could look: the host slept, no process ran, or the disk failed.
    blind: Vec<(i64, i64)>,
    faulty_since: Option<i64>,
}

impl Disk {
    pub fn new(root: PathBuf, away: PathBuf) -> Self {
        let now = simulated::true_time().unwrap();
        let log = vec![Moment { at: now, here: true, tree: Tree::new(), shut: BTreeSet::new() }];
        Self {
            root,
            away,
            state: Root::Here,
            away_since: None,
            accepted_until: None,
            other_until: None,
            shut: Vec::new(),
            log,
            hashes: BTreeMap::new(),
            emptied: None,
            released: false,
            others: BTreeSet::new(),
            blind: Vec::new(),
            faulty_since: None,
        }
    }

    /// Where the files really are.
    fn place(&self) -> &Path {
        if self.state == Root::Here { &self.root } else { &self.away }
    }

    /// Since when nothing is there of what ever was, because its user took it all away. What came later says nothing:
    /// strangers can be put into an empty mount point. `None` too while something may go that a person has released.
    pub fn emptied(&self) -> Option<i64> {
        self.emptied.filter(|_| !self.released)
    }

    /// A person says that the emptied folder is meant; with `replaced`, that what stands at the root's path is. Returns
    /// what [`Disk::refused`] takes back.
    pub fn released(&mut self, replaced: bool) -> (bool, Option<i64>) {
        let before = (self.released, self.accepted_until);
        self.released = true;
        if replaced && self.state == Root::Away {
            self.accepted_until = Some(i64::MAX);
        }
        before
    }

    /// Nothing is left of what a release allowed.
    pub fn used_up(&mut self) {
        self.released = false;
    }

    /// The release was not taken.
    pub fn refused(&mut self, before: (bool, Option<i64>)) {
        (self.released, self.accepted_until) = before;
    }

    /// Until when something else was the mirror by a person's word; the end of time while it is.
    pub fn accepted_until(&self) -> Option<i64> {
        self.accepted_until
    }

    /// Whether anything stands at the path.
    pub fn stands(&self, path: &str) -> bool {
        fs::symlink_metadata(self.place().join(path)).is_ok()
    }

    /// Whether something else than a file ever stood at the path.
    pub fn other_kind_at(&self, path: &str) -> bool {
        self.others.contains(path)
    }

    pub fn tree(&self) -> &Tree {
        &self.log.last().unwrap().tree
    }

    pub fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.place().join(path)).unwrap()
    }

    /// Whether a file of which `is` says so, by path, content and whether its folder could be listed, could be seen from
    /// `from` on by whoever decides at `at`, after a last look: while the disk was at its place, and still at `at`, or for `least` milliseconds without a
    /// gap in which somebody could look.
    pub fn was_there(&self, from: i64, at: i64, least: i64, is: impl Fn(&str, &str, bool) -> bool) -> bool {
        let mut begin = None;
        self.log.iter().enumerate().any(|(n, Moment { at: since, here, tree, shut })| {
            let end = self.log.get(n + 1).map_or(i64::MAX, |next| next.at);
            let there = tree.iter().any(|(path, hash)| is(path, hash, !shut.contains(path)));
            begin = (*here && there).then(|| begin.unwrap_or(*since));
            begin.is_some_and(|begin| {
                let seen = end > at || self.seeing(begin, end) >= least;
                begin <= at - LOOK_MS && end > from.max(begin) && seen
            })
        })
    }

    /// Whether the disk had such a path at any time since `from`, at its place or away (who had it open may have seen it),
    /// or the other disk did.
    pub fn ever_had(&self, path: &str, from: i64) -> bool {
        let until = |n: usize| self.log.get(n + 1).map_or(i64::MAX, |next| next.at);
        let here = |(n, moment): (usize, &Moment)| until(n) > from && moment.tree.contains_key(path);
        self.other_had(path, from) || self.log.iter().enumerate().any(here)
    }

    /// Nobody looked since then.
    pub fn was_blind(&mut self, from: i64) {
        self.blind.push((from, simulated::true_time().unwrap()));
    }

    /// From now on calls to the disk fail at times, or do no more.
    pub fn set_faulty(&mut self, faulty: bool) {
        match self.faulty_since.take() {
            Some(since) if !faulty => self.was_blind(since),
            since => self.faulty_since = since.or(simulated::true_time()).filter(|_| faulty),
        }
    }

    /// How long somebody could look, of this time.
    fn seeing(&self, from: i64, to: i64) -> i64 {
        let faulty = self.faulty_since.map(|since| (since, i64::MAX));
        let blind = self.blind.iter().copied().chain(faulty);
        let blind: i64 = blind.map(|(begin, end)| (to.min(end) - from.max(begin)).max(0)).sum();
        (to - from - blind).max(0)
    }

    /// Whether the path ever held this content, on this disk or another.
    pub fn held(&self, path: &str, content: &str) -> bool {
        Self::is_of_other(path, content)
            || self.log.iter().any(|moment| moment.tree.get(path).is_some_and(|hash| hash == content))
    }

    /// Whether this is what stands on another disk.
    pub fn is_of_other(path: &str, content: &str) -> bool {
        path == NAMES[0] && content == hash(OTHER.as_bytes())
    }

    /// Whether another disk had the path at any time since `from`.
    pub fn other_had(&self, path: &str, from: i64) -> bool {
        path == NAMES[0] && self.other_until.is_some_and(|until| until >= from)
    }

    /// Since when the root is not whole.
    pub fn away_since(&self) -> Option<i64> {
        self.away_since
    }

    /// Whether the root was not whole at any time since `from`.
    pub fn was_away(&self, from: i64) -> bool {
        let end = |n: usize| self.log.get(n + 1).map_or(i64::MAX, |next| next.at);
        self.log.iter().enumerate().any(|(n, moment)| !moment.here && end(n) >= from)
    }

    /// The folder above the path, if any, that could not be listed at `at`, nor since.
    pub fn shut_above(&self, path: &str, at: i64) -> Option<PathBuf> {
        let full = self.place().join(path);
        let mut above = full.ancestors().skip(1).take(path.split('/').count());
        let shut = |folder: &&Path| {
            let since = fs::symlink_metadata(folder).ok().and_then(|m| simulated::shut_since((m.dev(), m.ino())));
            since.is_some_and(|since| since < at)
        };
        above.find(shut).map(Path::to_owned)
    }

    /// A time of change that no other change had.
    fn stamp(file: &Path, when: u8) {
        let base: i128 = match when {
            0 => 0,
            1 => -86_400_000_000_000,
            2 => 4_102_444_800_000_000_000,
            _ => i128::from(crate::host::unix_millis()) * 1_000_000,
        };
        let nanos = base + i128::from(simulated::count_change());
        let distance = Duration::from_nanos(u64::try_from(nanos.unsigned_abs()).unwrap());
        let time = if nanos < 0 { SystemTime::UNIX_EPOCH - distance } else { SystemTime::UNIX_EPOCH + distance };
        fs::File::open(file).unwrap().set_modified(time).unwrap();
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
        self.note();
        if matches!(deed, Deed::Empty) {
            self.emptied.get_or_insert(simulated::true_time().unwrap());
        }
        touched
    }

    /// The root is whole again, and all of it can be listed.
    pub fn heal(&mut self) {
        self.act(&Deed::Mount);
        self.act(&Deed::Open);
    }

    /// Writes down what is there now.
    fn note(&mut self) {
        let (at, here) = (simulated::true_time().unwrap(), self.state == Root::Here);
        let mut now = Moment { at, here, tree: Tree::new(), shut: BTreeSet::new() };
        let place = self.place().to_owned();
        self.collect(&place, "", false, &mut now);
        let ever = |path: &String| self.log.iter().any(|moment| moment.tree.contains_key(path));
        if self.emptied.is_some() && now.tree.keys().any(ever) {
            self.emptied = None;
        }
        self.log.push(now);
    }

    /// A new file at a path that no deed names. Says whether it could be written.
    pub fn put(&mut self, path: &str, content: &str) -> bool {
        let full = self.place().join(path);
        let free = fs::symlink_metadata(&full).is_err();
        if free {
            fs::write(&full, content).unwrap();
            Self::stamp(&full, 9);
            self.note();
        }
        free
    }

    /// Other content of the same size is written in place to the file with this device and inode. Says whether it is
    /// one of these.
    pub fn overwrite(&mut self, file: (u64, u64), fill: u8) -> bool {
        let is_it = |path: &String| {
            fs::symlink_metadata(self.place().join(path)).is_ok_and(|meta| (meta.dev(), meta.ino()) == file)
        };
        let Some(which) = self.tree().keys().position(is_it) else { return false };
        self.act(&Deed::Same { which: which as u64, fill });
        true
    }

    /// A file moves to another mirror. Says which paths it was about, here and there.
    pub fn carry(&mut self, to: &mut Self, which: u64, at: u64) -> Option<(String, String)> {
        let (path, (target, full)) = (self.chosen(which)?, to.writable(at)?);
        fs::rename(self.place().join(&path), full).unwrap();
        self.note();
        to.note();
        Some((path, target))
    }

    /// What to write at a place: `None` if something else than a file is in the way.
    fn writable(&self, at: u64) -> Option<(String, PathBuf)> {
        let path = path_at(at);
        let full = self.place().join(&path);
        fs::create_dir_all(full.parent()?).ok()?;
        let free = fs::symlink_metadata(&full).map_or(true, |meta| meta.is_file());
        free.then_some((path, full))
    }

    /// The root goes away with all that is in it.
    fn leave(&mut self) {
        fs::rename(&self.root, &self.away).unwrap();
        (self.state, self.away_since) = (Root::Away, simulated::true_time());
    }

    fn change(&mut self, deed: &Deed) -> Vec<String> {
        let content = |size: usize, fill: u8| vec![fill; size];
        match *deed {
            Deed::Write { at, size, fill } => {
                let Some((path, full)) = self.writable(at) else { return Vec::new() };
                fs::write(&full, content(size, fill)).unwrap();
                Self::stamp(&full, 9);
                vec![path]
            }
            Deed::Append { at, size, fill } => {
                let Some((path, full)) = self.writable(at) else { return Vec::new() };
                let mut bytes = fs::read(&full).unwrap_or_default();
                bytes.extend(content(size, fill));
                // In place: the file keeps its inode.
                fs::write(&full, bytes).unwrap();
                Self::stamp(&full, 9);
                vec![path]
            }
            Deed::Replace { at, size, fill } => {
                let Some((path, full)) = self.writable(at) else { return Vec::new() };
                let draft = self.place().parent().unwrap().join("draft");
                fs::write(&draft, content(size, fill)).unwrap();
                Self::stamp(&draft, 9);
                fs::rename(&draft, &full).unwrap();
                vec![path]
            }
            Deed::Same { which, fill } => {
                let Some(path) = self.chosen(which) else { return Vec::new() };
                let full = self.place().join(&path);
                let size = fs::metadata(&full).unwrap().len();
                fs::write(&full, content(usize::try_from(size).unwrap(), fill)).unwrap();
                Self::stamp(&full, 9);
                vec![path]
            }
            Deed::Touch { which, when } => {
                let Some(path) = self.chosen(which) else { return Vec::new() };
                let full = self.place().join(&path);
                Self::stamp(&full, when);
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
                let path = path_at(at);
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
                    self.leave();
                    if point_stays {
                        fs::create_dir(&self.root).unwrap();
                    }
                }
                Vec::new()
            }
            Deed::Other => {
                if self.state == Root::Here {
                    self.leave();
                    fs::create_dir(&self.root).unwrap();
                    fs::write(self.root.join(NAMES[0]), OTHER).unwrap();
                    self.other_until = Some(i64::MAX);
                }
                Vec::new()
            }
            Deed::Turn { link } => {
                if self.state == Root::Here {
                    self.leave();
                    if link {
                        std::os::unix::fs::symlink(&self.away, &self.root).unwrap();
                    } else {
                        fs::write(&self.root, "no folder").unwrap();
                    }
                }
                Vec::new()
            }
            Deed::Mount => {
                if self.state == Root::Away {
                    // What stood there instead is gone with its disk.
                    match fs::symlink_metadata(&self.root) {
                        Ok(meta) if meta.is_dir() => fs::remove_dir_all(&self.root).unwrap(),
                        Ok(_) => fs::remove_file(&self.root).unwrap(),
                        Err(_) => {}
                    }
                    fs::rename(&self.away, &self.root).unwrap();
                    (self.state, self.away_since) = (Root::Here, None);
                    let now = simulated::true_time().unwrap();
                    for until in [&mut self.accepted_until, &mut self.other_until] {
                        *until = until.map(|until| until.min(now));
                    }
                }
                Vec::new()
            }
            Deed::Shut { which } => {
                let folders = self.folders();
                let folder = folders
                    .get(usize::try_from(which).unwrap())
                    .map_or_else(|| self.place().to_owned(), |folder| self.place().join(folder));
                let meta = fs::metadata(folder).unwrap();
                self.shut.push((meta.dev(), meta.ino()));
                simulated::shut((meta.dev(), meta.ino()));
                Vec::new()
            }
            Deed::Open => {
                self.shut.drain(..).for_each(simulated::open);
                Vec::new()
            }
        }
    }

    fn collect(&mut self, folder: &Path, prefix: &str, shut: bool, into: &mut Moment) {
        let meta = fs::metadata(folder).unwrap();
        let shut = shut || self.shut.contains(&(meta.dev(), meta.ino()));
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            let kind = entry.file_type().unwrap();
            if !kind.is_file() {
                self.others.insert(path.clone());
            }
            if kind.is_dir() {
                self.collect(&entry.path(), &format!("{path}/"), shut, into);
            } else if kind.is_file() {
                let meta = entry.metadata().unwrap();
                let known = (meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.size());
                let hash = self.hashes.entry(known).or_insert_with(|| hash(&fs::read(entry.path()).unwrap()));
                into.tree.insert(path.clone(), hash.clone());
                if shut {
                    into.shut.insert(path);
                }
            }
        }
    }
}

/// SHA-256 in hexadecimal.
pub fn hash(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The path that a number stands for.
pub fn path_at(at: u64) -> String {
    let folder = FOLDERS[usize::try_from(at / 16).unwrap() % FOLDERS.len()];
    let name = NAMES[usize::try_from(at % 16).unwrap() % NAMES.len()];
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}
