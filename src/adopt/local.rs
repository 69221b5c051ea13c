//! The disk's side of an adoption: which files there are, and which cases they name.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::config;
use crate::core::model::{RootIdentity, Stat};
use crate::core::plan::{Content, Seen};
use crate::core::reference::Reference;
use crate::core::routing::Named;
use crate::core::sidecar::{self, Beside};
use crate::fatal::Fatal;
use crate::observe;
use crate::scan::{self, Depth, Entry};
use crate::types::{CaseArn, RelPath};
use crate::world::Mirror;

/// What one walk found.
#[derive(Debug)]
pub struct Local {
    /// The folder that was walked.
    pub root: RootIdentity,
    /// Regular files in scope.
    pub files: BTreeMap<RelPath, Stat>,
    /// What is there and out of scope, with the rule.
    pub ignored: BTreeMap<RelPath, String>,
    /// Folders left out, with the rule: all below them is out of scope.
    pub ignored_folders: Vec<(RelPath, String)>,
    /// Folders and files of which nothing can be said, with the reason.
    pub unlisted: Vec<(RelPath, String)>,
    /// The cases that the mirror, its folders and its files name.
    pub cases: BTreeSet<CaseArn>,
    /// The references that they name cases by, by their keys.
    pub references: BTreeMap<String, Reference>,
    /// Some file names none.
    pub nameless: bool,
    /// What stands beside the files that have a sidecar.
    pub beside: BTreeMap<RelPath, Beside>,
}

impl Local {
    /// What stands beside a file.
    pub fn beside(&self, path: &RelPath) -> &Beside {
        self.beside.get(path).unwrap_or(&Beside::Nothing)
    }

    /// What the disk shows of a path, unread. `None`: nothing can be said.
    pub fn seen(&self, path: &RelPath) -> Option<Seen> {
        if let Some(stat) = self.files.get(path) {
            return Some(Seen::Present(*stat, Content::Unread));
        }
        let covers = |(folder, _): &&(RelPath, String)| path == folder || path.is_below(folder);
        if self.unlisted.iter().any(|entry| covers(&entry)) {
            return None;
        }
        let rule = self.ignored.get(path).or_else(|| self.ignored_folders.iter().find(covers).map(|(_, rule)| rule));
        Some(rule.map_or(Seen::Absent, |rule| Seen::OutOfScope(rule.clone())))
    }
}

/// Walks the mirror's root.
///
/// # Errors
/// The root is missing, replaced or unreadable.
pub async fn look(mirror: &Mirror) -> Result<Local, Fatal> {
    let (config, domain) = (mirror.config.clone(), mirror.domain.get().cloned());
    let walked = crate::host::blocking(move || walk(&config, domain.as_deref())).await;
    walked.map_err(|error| Fatal::temporary(error.to_string()))?
}

fn walk(config: &config::Mirror, domain: Option<&str>) -> Result<Local, Fatal> {
    let failed = |fault: scan::RootFault| {
        Fatal::person(format!("mirror {}: {}: {fault}; nothing was adopted", config.name, config.path.display()))
    };
    let root = scan::open_root(&config.path).map_err(failed)?;
    let mut local = Local {
        root: root.identity(),
        files: BTreeMap::new(),
        ignored: BTreeMap::new(),
        ignored_folders: Vec::new(),
        unlisted: Vec::new(),
        cases: BTreeSet::new(),
        references: BTreeMap::new(),
        nameless: false,
        beside: BTreeMap::new(),
    };
    let rule = |path: &RelPath, is_dir: bool| config.scope.entry_rule(path, is_dir);
    let mut folders: BTreeSet<RelPath> = BTreeSet::new();
    // Folder by folder, since a walk of the whole tree does not name the empty ones.
    let mut next: Option<Option<RelPath>> = Some(None);
    let mut waiting: Vec<RelPath> = Vec::new();
    while let Some(folder) = next {
        let mut below = Vec::new();
        root.walk(folder.as_ref(), Depth::Folder, &rule, &mut |entry| {
            match entry {
                Entry::File { path, .. } if config.sidecar && sidecar::is_sidecar(&path) => {
                    local.ignored.insert(path, sidecar::RULE.to_owned());
                }
                Entry::File { path, stat } => drop(local.files.insert(path, stat)),
                Entry::Folder { path } => below.push(path),
                Entry::Ignored { path, rule, is_dir: true } => local.ignored_folders.push((path, rule)),
                Entry::Ignored { path, rule, is_dir: false } => drop(local.ignored.insert(path, rule)),
                Entry::Other { path, kind } => drop(local.ignored.insert(path, kind.to_string())),
                Entry::Unlisted { dir, error } => local.unlisted.push((dir, error)),
                Entry::Unknown { path, error } => local.unlisted.push((path, error)),
            }
            ControlFlow::Continue(())
        })
        .map_err(failed)?;
        waiting.extend(below.iter().cloned());
        folders.extend(below);
        next = waiting.pop().map(Some);
    }
    root.still_there(&config.path).map_err(failed)?;
    // A folder that holds no file any more names its case all the same, by any file that it could hold.
    let could = folders.iter().map(|folder| [folder.as_bytes(), b"/x"].concat()).chain([b"x".to_vec()]);
    let could: Vec<RelPath> = could.filter_map(RelPath::new).collect();
    for path in local.files.keys().filter(|_| config.sidecar) {
        match observe::sidecar(&root, config, path).0 {
            Beside::Nothing => {}
            beside => drop(local.beside.insert(path.clone(), beside)),
        }
    }
    for path in could.iter().chain(local.files.keys()) {
        match config.routing.name(path, local.beside(path), domain) {
            Ok(Named::Case(case)) => drop(local.cases.insert(case)),
            Ok(Named::Reference(reference)) => drop(local.references.insert(reference.key(), reference)),
            Err(_) => local.nameless |= local.files.contains_key(path),
        }
    }
    Ok(local)
}

/// What reading the file shows. `None`: it is changing or gone.
pub async fn content(mirror: &Mirror, path: &RelPath) -> Option<Seen> {
    let (root, path) = (mirror.config.path.clone(), path.clone());
    let read = crate::host::blocking(move || {
        let root = Arc::new(scan::open_root(&root).ok()?);
        let scan::Look::File(stat) = root.stat(&path) else { return None };
        observe::read(&root, &path, &stat, &|| false)
    });
    read.await.ok().flatten()
}
