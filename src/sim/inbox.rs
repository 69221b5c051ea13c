//! A folder that files leave (`mode = "ingest"`): who works in it, and what must be somewhere at any time.
//!
//! Every content is written once, so that each can be followed: until its user takes it away or overwrites it, it is
//! in the folder, in the archive, in quarantine, or at Connect.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::{hash, path_at};
use crate::core::sidecar;
use crate::host::simulated::Dice;

/// What says that a file is whole, where the mirror asks for it.
pub const TRIGGER: &str = ".ok";
/// What users put beside each file they write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beside {
    Nothing,
    Trigger,
    /// It names one of these cases.
    Sidecar([String; 2]),
}

impl Beside {
    /// What its name has behind the file's.
    pub fn suffix(&self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Trigger => Some(TRIGGER),
            Self::Sidecar(_) => Some(sidecar::SUFFIX),
        }
    }
}

/// The largest file that Connect takes.
pub const LARGEST: usize = 4_096;

/// One thing a user does. Numbers choose among what is possible.
#[derive(Debug, Clone)]
pub enum Deed {
    /// Written in place, new or over what stands there; `renamed`: written beside it and renamed over it.
    Write {
        at: u64,
        size: usize,
        renamed: bool,
    },
    /// Written over a file, in place or `renamed`; what lies beside it is left as it is.
    Over {
        which: u64,
        renamed: bool,
    },
    /// Another name for a file.
    Rename {
        which: u64,
        at: u64,
    },
    Remove {
        which: u64,
    },
    /// Another content comes to stand in archive or quarantine under a name that a file has here.
    Take {
        which: u64,
        quarantine: bool,
    },
    /// The folder, the archive or the quarantine goes away, or all come back.
    Away(Place),
    Back,
}

/// One of the folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Root,
    Archive,
    Quarantine,
}

impl Place {
    pub const ALL: [Self; 3] = [Self::Root, Self::Archive, Self::Quarantine];
}

/// Any of them, without the names.
pub fn deed(dice: &mut Dice) -> Deed {
    let (one, two) = (dice.below(80), dice.below(80));
    match dice.below(20) {
        0..=10 => write(dice),
        11..=12 => Deed::Rename { which: one, at: two },
        13 => Deed::Remove { which: one },
        14..=15 => Deed::Take { which: one, quarantine: dice.one_in(3) },
        16..=17 => Deed::Away(*dice.pick(&Place::ALL)),
        _ => Deed::Back,
    }
}

/// What hits a file in the middle of something, more often than chance would.
pub fn race(dice: &mut Dice) -> Deed {
    if dice.one_in(2) { Deed::Over { which: dice.below(80), renamed: dice.one_in(2) } } else { deed(dice) }
}

pub fn write(dice: &mut Dice) -> Deed {
    let size = match dice.below(16) {
        0 => 0,
        1 => LARGEST + 1,
        _ => 24 + usize::try_from(dice.below(40)).unwrap(),
    };
    Deed::Write { at: dice.below(80), size, renamed: dice.one_in(3) }
}

/// A file that was found: its place, its path there, its content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    pub place: Place,
    pub path: String,
    pub hash: String,
    pub size: usize,
}

impl Found {
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap()
    }

    /// A name that casedrop gives for a moment.
    pub fn is_casedrops(&self) -> bool {
        self.name().starts_with(".casedrop-")
    }

    /// What lies beside a file: a trigger, a sidecar, a receipt, the reason of a refusal.
    pub fn is_paper(&self) -> bool {
        [TRIGGER, sidecar::SUFFIX, ".receipt.json", ".reason.txt"].iter().any(|end| self.name().ends_with(end))
    }
}

pub struct Inbox {
    paths: BTreeMap<Place, PathBuf>,
    away: BTreeSet<Place>,
    beside: Beside,
    written: u64,
    /// Contents that must be somewhere, those of sidecars, and those of others.
    wanted: BTreeSet<String>,
    sidecars: BTreeMap<String, String>,
    /// The case that the sidecar named which was given with a content.
    named: BTreeMap<String, String>,
    /// The youngest sidecar of each path.
    newest: BTreeMap<String, String>,
    /// Paths from which their user took a file away.
    left: BTreeSet<String>,
    others: BTreeSet<(Place, String, String)>,
    /// Contents that had more than one name.
    renamed: BTreeSet<String>,
}

impl Inbox {
    pub fn new(at: impl Fn(&str) -> PathBuf, beside: Beside) -> Self {
        let paths = [(Place::Root, "root"), (Place::Archive, "archive"), (Place::Quarantine, "quarantine")];
        let paths: BTreeMap<_, _> = paths.into_iter().map(|(place, name)| (place, at(name))).collect();
        paths.values().filter(|path| !path.exists()).for_each(|path| fs::create_dir(path).unwrap());
        Self {
            paths,
            away: BTreeSet::new(),
            beside,
            written: 0,
            wanted: BTreeSet::new(),
            sidecars: BTreeMap::new(),
            named: BTreeMap::new(),
            newest: BTreeMap::new(),
            left: BTreeSet::new(),
            others: BTreeSet::new(),
            renamed: BTreeSet::new(),
        }
    }

    pub fn path(&self, place: Place) -> &Path {
        &self.paths[&place]
    }

    /// Where its files really are.
    fn seat(&self, place: Place) -> PathBuf {
        let path = &self.paths[&place];
        if self.away.contains(&place) { path.with_extension("away") } else { path.clone() }
    }

    pub fn wanted(&self) -> &BTreeSet<String> {
        &self.wanted
    }

    /// Sidecars that nobody wrote over, and the files they were given for.
    pub fn sidecars(&self) -> &BTreeMap<String, String> {
        &self.sidecars
    }

    /// Whether this sidecar may be without its file: its user took that away, or gave it another one.
    pub fn may_be_alone(&self, sidecar: &str) -> bool {
        let path = self.sidecars.get(sidecar);
        path.is_none_or(|path| self.left.contains(path) || self.newest[path] != sidecar)
    }

    /// The case that the sidecar named which was given with the content.
    pub fn named(&self, content: &str) -> Option<&String> {
        self.named.get(content)
    }

    pub fn beside(&self) -> &Beside {
        &self.beside
    }

    pub fn was_renamed(&self, content: &str) -> bool {
        self.renamed.contains(content)
    }

    /// What others put into archive and quarantine.
    pub fn others(&self) -> &BTreeSet<(Place, String, String)> {
        &self.others
    }

    pub fn files(&self) -> Vec<Found> {
        let mut found = Vec::new();
        for place in Place::ALL {
            collect(&self.seat(place), (place, ""), &mut found);
        }
        found.sort();
        found
    }

    /// Those of the folder that somebody would take for a file.
    pub fn letters(&self) -> Vec<Found> {
        self.files().into_iter().filter(|f| f.place == Place::Root && !f.is_casedrops() && !f.is_paper()).collect()
    }

    fn chosen(&self, which: u64) -> Option<Found> {
        let letters = self.letters();
        let at = which % (letters.len().max(1) as u64);
        letters.into_iter().nth(usize::try_from(at).unwrap())
    }

    fn content(&mut self, size: usize) -> Vec<u8> {
        self.written += 1;
        let mut content = format!("content {:08}", self.written).into_bytes();
        content.resize(size.max(content.len()), b'.');
        if size == 0 { Vec::new() } else { content }
    }

    /// Their user gives up what stands there. Whether a file may be written there.
    fn clear(&mut self, full: &Path) -> io::Result<bool> {
        fs::create_dir_all(full.parent().unwrap())?;
        match fs::symlink_metadata(full) {
            Ok(meta) if !meta.is_file() => return Ok(false),
            Ok(_) => drop(self.wanted.remove(&hash(&fs::read(full)?))),
            Err(_) => {}
        }
        Ok(true)
    }

    fn put(&mut self, full: &Path, content: &[u8], renamed: bool) {
        if renamed {
            let draft = self.seat(Place::Root).with_extension("draft");
            fs::write(&draft, content).unwrap();
            fs::rename(&draft, full).unwrap();
        } else {
            fs::write(full, content).unwrap();
        }
        if !content.is_empty() {
            self.wanted.insert(hash(content));
        }
    }

    /// What its user puts beside a file, if anything.
    pub fn give(&mut self, path: &str) -> Option<String> {
        let beside = format!("{path}{}", self.beside.suffix()?);
        let full = self.seat(Place::Root).join(&beside);
        let mut content = String::new();
        if let Beside::Sidecar(cases) = &self.beside {
            self.written += 1;
            let case = &cases[usize::from(self.written.is_multiple_of(2))];
            self.left.remove(path);
            if let Ok(file) = fs::read(self.seat(Place::Root).join(path)) {
                self.named.insert(hash(&file), case.clone());
            }
            content = format!("case = \"{case}\" # {:08}\n", self.written);
            if let Ok(old) = fs::read(&full) {
                self.sidecars.remove(&hash(&old));
            }
            self.sidecars.insert(hash(content.as_bytes()), path.to_owned());
            self.newest.insert(path.to_owned(), hash(content.as_bytes()));
        }
        fs::write(full, content).unwrap();
        Some(beside)
    }

    /// Does it, as far as it is possible; says which paths it was about, for the watcher.
    pub fn act(&mut self, deed: &Deed) -> Vec<String> {
        let root = self.seat(Place::Root);
        match *deed {
            Deed::Write { at, size, renamed } => {
                let path = path_at(at);
                let full = root.join(&path);
                let content = self.content(size);
                if !self.clear(&full).unwrap_or(false) {
                    return Vec::new();
                }
                self.put(&full, &content, renamed);
                let beside = self.give(&path);
                [Some(path), beside].into_iter().flatten().collect()
            }
            Deed::Over { which, renamed } => {
                let Some(found) = self.chosen(which) else { return Vec::new() };
                let content = self.content(40);
                self.wanted.remove(&found.hash);
                self.put(&root.join(&found.path), &content, renamed);
                vec![found.path]
            }
            Deed::Rename { which, at } => {
                let (Some(found), path) = (self.chosen(which), path_at(at)) else { return Vec::new() };
                let full = root.join(&path);
                if found.path == path || !self.clear(&full).unwrap_or(false) {
                    return Vec::new();
                }
                fs::rename(root.join(&found.path), full).unwrap();
                self.renamed.insert(found.hash);
                self.left.insert(found.path.clone());
                let beside = self.give(&path);
                [Some(found.path), Some(path), beside].into_iter().flatten().collect()
            }
            Deed::Remove { which } => {
                let Some(found) = self.chosen(which) else { return Vec::new() };
                fs::remove_file(root.join(&found.path)).unwrap();
                self.wanted.remove(&found.hash);
                self.left.insert(found.path.clone());
                vec![found.path]
            }
            Deed::Take { which, quarantine } => {
                let Some(found) = self.chosen(which) else { return Vec::new() };
                let place = if quarantine { Place::Quarantine } else { Place::Archive };
                let full = self.seat(place).join(&found.path);
                if fs::create_dir_all(full.parent().unwrap()).is_ok() && fs::symlink_metadata(&full).is_err() {
                    let content = self.content(40);
                    fs::write(full, &content).unwrap();
                    self.others.insert((place, found.path, hash(&content)));
                }
                Vec::new()
            }
            Deed::Away(place) => {
                if !self.away.contains(&place) {
                    let path = self.seat(place);
                    fs::rename(&path, path.with_extension("away")).unwrap();
                    self.away.insert(place);
                }
                Vec::new()
            }
            Deed::Back => {
                for place in std::mem::take(&mut self.away) {
                    let path = &self.paths[&place];
                    fs::rename(path.with_extension("away"), path).unwrap();
                }
                Vec::new()
            }
        }
    }
}

fn collect(folder: &Path, (place, prefix): (Place, &str), into: &mut Vec<Found>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), (place, &format!("{path}/")), into);
        } else {
            let content = fs::read(entry.path()).unwrap();
            into.push(Found { place, path, hash: hash(&content), size: content.len() });
        }
    }
}
