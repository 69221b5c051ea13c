//! The look: what is on disk, merged with what the journal knows, in one pass over both in the same order.
//!
//! Blocking, read-only, with memory for one folder's listing and one journal row. What is at rest costs a
//! comparison and nothing else; only what differs is handed on. Absence is evidence of the strictest kind
//! (invariants 2 to 4): the path's folder was listed completely and the path itself answers "no such file".

use std::io;
use std::ops::ControlFlow;

use crate::config;
use crate::core::model::{FileRow, RootIdentity, Stat, Verdict};
use crate::core::plan::{self, Content, Seen};
use crate::core::scope::Scope;
use crate::core::sidecar::{self, Beside, Sidecar};
use crate::journal::{JournalError, Reader, ScanRows, View};
use crate::scan::{self, Depth, Entry, Look, ReadFault, Root};
use crate::types::RelPath;
use crate::world::Mirror;

/// The rule of a file whose folder gave way to a symbolic link: perhaps the folder was only moved to another disk, so
/// the file is not gone, but it is not of this mirror any more (LESSONS L41).
const BEHIND_LINK: &str = "a symbolic link stands where its folder was";

/// One path that is not at rest.
#[derive(Debug, Clone)]
pub struct Observation {
    pub path: RelPath,
    pub seen: Seen,
    /// What stands beside a present file; `Nothing` where that was not looked for.
    pub beside: Beside,
    /// The sidecar as it was seen, so that its own quiet time can be watched.
    pub sidecar: Option<Stat>,
}

impl Observation {
    /// Of a path of which nothing but this is to be known.
    pub fn bare(path: RelPath, seen: Seen) -> Self {
        Self { path, seen, beside: Beside::Nothing, sidecar: None }
    }

    /// Of a path that is gone.
    pub fn absent(path: RelPath, scope: &Scope) -> Self {
        let seen = scope.rule(&path, false).map_or(Seen::Absent, Seen::AbsentOutOfScope);
        Self::bare(path, seen)
    }

    /// Of a path, with its sidecar where that can matter.
    pub fn with_sidecar(root: &Root, mirror: &Mirror, path: RelPath, seen: Seen) -> Self {
        let (beside, sidecar) = match &seen {
            Seen::Present(..) => sidecar(root, &mirror.config, &path),
            Seen::Absent | Seen::AbsentOutOfScope(_) | Seen::OutOfScope(_) => (Beside::Nothing, None),
        };
        Self { path, seen, beside, sidecar }
    }
}

/// Reads the sidecar of the file at `path`, below the root's descriptor and without following links; the one place
/// where that is done. `Nothing` where the mirror takes none.
pub fn sidecar(root: &Root, mirror: &config::Mirror, path: &RelPath) -> (Beside, Option<Stat>) {
    let Some(beside) = mirror.sidecar.then(|| sidecar::beside(path)).flatten() else {
        return (Beside::Nothing, None);
    };
    let stat = match root.stat(&beside) {
        Look::File(stat) => stat,
        Look::Absent => return (Beside::Nothing, None),
        Look::Folder => return (Beside::Bad("it is a folder, not a regular file".to_owned()), None),
        Look::Other(kind) => return (Beside::Bad(format!("it is a {kind}, not a regular file")), None),
        Look::BehindLink => return (Beside::Bad("it stands behind a symbolic link".to_owned()), None),
        Look::Unknown(why) => return (Beside::Bad(format!("it cannot be read: {why}")), None),
    };
    if stat.size > sidecar::LARGEST {
        return (Beside::Bad(format!("it is larger than {} bytes", sidecar::LARGEST)), Some(stat));
    }
    let read = root.open(&beside).and_then(|file| {
        let mut bytes = Vec::new();
        // It may have grown since.
        io::Read::read_to_end(&mut io::Read::take(file, sidecar::LARGEST + 1), &mut bytes)?;
        Ok(bytes)
    });
    let beside = match read {
        Ok(bytes) if bytes.len() as u64 > sidecar::LARGEST => Err("it grows".to_owned()),
        Ok(bytes) => Sidecar::parse(&bytes),
        Err(error) => Err(format!("it cannot be read: {error}")),
    };
    (beside.map_or_else(Beside::Bad, Beside::Sidecar), Some(stat))
}

/// The rule by which a path is no file of its own, beside those of the scope.
fn sidecar_rule(mirror: &Mirror, path: &RelPath, is_dir: bool) -> Option<String> {
    (mirror.config.sidecar && !is_dir && sidecar::is_sidecar(path)).then(|| sidecar::RULE.to_owned())
}

/// What one pass found besides the observations.
#[derive(Debug, Default)]
pub struct Pass {
    /// Regular files in scope.
    pub files: u64,
    /// Journal rows whose file is there.
    pub known_present: u64,
    /// Journal rows whose file is gone.
    pub absent: Vec<RelPath>,
    /// Folders of which nothing can be said, with the reason.
    pub unlisted: Vec<(RelPath, String)>,
    /// Known files, in folders that were listed, that could not be looked at, with the reason.
    pub unknown: Vec<(RelPath, String)>,
    /// There were others that could not be looked at.
    pub unseen: bool,
}

impl Pass {
    /// The paths at and below which nothing can be said.
    pub fn gaps(&self) -> impl Iterator<Item = &RelPath> {
        self.unlisted.iter().chain(&self.unknown).map(|(path, _)| path)
    }

    /// Whether all that is there was looked at.
    pub fn is_whole(&self) -> bool {
        self.gaps().next().is_none() && !self.unseen
    }
}

/// Why a pass came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    #[error(transparent)]
    Root(#[from] scan::RootFault),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Looks at the whole root, or at the folder `below`. `emit` may end the pass early; `tick` is called for every
/// entry, at rest or not.
///
/// # Errors
/// The root cannot be listed, or the journal cannot be read.
pub fn pass(
    root: &Root,
    mirror: &Mirror,
    reader: &Reader,
    below: Option<&RelPath>,
    tick: &dyn Fn(),
    emit: &mut dyn FnMut(Observation) -> ControlFlow<()>,
) -> Result<Pass, ObserveError> {
    let rule = |path: &RelPath, is_dir: bool| {
        mirror.config.scope.entry_rule(path, is_dir).or_else(|| sidecar_rule(mirror, path, is_dir))
    };
    let mut scan = reader.scan(mirror.id, below)?;
    let mut merge = Merge { root, mirror, rows: Rows::new(scan.rows()?)?, pass: Pass::default(), emit };
    let mut failed = None;
    root.walk(below, Depth::Tree, &rule, &mut |entry| {
        tick();
        match merge.entry(entry) {
            Ok(flow) => flow,
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    merge.absent_until(None)?;
    Ok(merge.pass)
}

/// Looks at single paths that a bell named: each by itself, folders with all below them, and what is gone through
/// a complete listing of the folder that held it.
///
/// # Errors
/// As for [`pass`].
pub fn paths(
    root: &Root,
    mirror: &Mirror,
    reader: &Reader,
    touched: &[RelPath],
    tick: &dyn Fn(),
    emit: &mut dyn FnMut(Observation) -> ControlFlow<()>,
) -> Result<Pass, ObserveError> {
    let mut all = Pass::default();
    let mut covered: Option<&RelPath> = None;
    for path in touched {
        // Byte order: what lies below a folder follows it, so one look back is enough.
        if covered.is_some_and(|folder| path.is_below(folder)) {
            continue;
        }
        match root.stat(path) {
            Look::File(stat) => {
                let scope = &mirror.config.scope;
                let seen = match scope.rule(path, false) {
                    Some(rule) => Seen::OutOfScope(trigger_rule(root, scope, path, rule)),
                    None => match sidecar_rule(mirror, path, false) {
                        Some(rule) => Seen::OutOfScope(rule),
                        None => Seen::Present(stat, unfinished(root, scope, path).unwrap_or(Content::Unread)),
                    },
                };
                let at_rest = match (&seen, reader.file(mirror.id, path)?) {
                    (Seen::Present(stat, _), Some(row)) => row.is_at_rest(stat),
                    _ => false,
                };
                if !at_rest && emit(Observation::with_sidecar(root, mirror, path.clone(), seen)).is_break() {
                    break;
                }
                all.absent.extend(instead_of_folder(root, reader, mirror, path, emit)?);
            }
            Look::Other(kind) => {
                let seen = Seen::OutOfScope(format!("{kind}"));
                if emit(Observation::bare(path.clone(), seen)).is_break() {
                    break;
                }
                all.absent.extend(instead_of_folder(root, reader, mirror, path, emit)?);
            }
            Look::Folder => {
                if let Some(rule) = mirror.config.scope.rule(path, true) {
                    tracing::trace!(%path, rule, "out of scope");
                    continue;
                }
                covered = Some(path);
                let inner = pass(root, mirror, reader, Some(path), tick, emit)?;
                all.files += inner.files;
                all.absent.extend(inner.absent);
                all.unlisted.extend(inner.unlisted);
                all.unknown.extend(inner.unknown);
                if let Some(row) = reader.file(mirror.id, path)? {
                    let seen = Seen::OutOfScope("a folder stands in its place".into());
                    let _ = emit(Observation::bare(row.path, seen));
                }
            }
            Look::Absent => all.absent.extend(gone(root, reader, mirror, path)?),
            Look::BehindLink => {
                if let Some(row) = reader.file(mirror.id, path)? {
                    let _ = emit(Observation::bare(row.path, Seen::OutOfScope(BEHIND_LINK.into())));
                }
            }
            Look::Unknown(error) => tracing::debug!(%path, error, "could not be looked at"),
        }
    }
    Ok(all)
}

/// Journal rows at or below a path that answers "no such file", if the folder that held it lists completely.
fn gone(root: &Root, reader: &Reader, mirror: &Mirror, path: &RelPath) -> Result<Vec<RelPath>, ObserveError> {
    let mut folder = path.parent();
    while let Some(parent) = &folder {
        match root.stat(parent) {
            Look::Absent => folder = parent.parent(),
            Look::Folder => break,
            Look::File(_) | Look::Other(_) | Look::BehindLink | Look::Unknown(_) => return Ok(Vec::new()),
        }
    }
    let mut complete = true;
    root.walk(folder.as_ref(), Depth::Folder, &|_, _| None, &mut |entry| {
        // Only what stands for the folder itself matters: one of its sub-folders may well be unreadable.
        if let Entry::Unlisted { dir, .. } = &entry
            && Some(dir) == folder.as_ref()
        {
            complete = false;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    if !complete || !matches!(root.stat(path), Look::Absent) {
        return Ok(Vec::new());
    }
    let mut rows = Vec::new();
    if reader.file(mirror.id, path)?.is_some() {
        rows.push(path.clone());
    }
    let mut scan = reader.scan(mirror.id, Some(path))?;
    let mut below = Rows::new(scan.rows()?)?;
    while let Some(row) = below.row.take() {
        rows.push(row.path);
        below.advance()?;
    }
    Ok(rows)
}

/// [`read`], unless the file still waits for its trigger, which may have been taken back while it settled.
pub fn read_whole(
    root: &Root,
    scope: &Scope,
    path: &RelPath,
    expected: &Stat,
    stop: &dyn Fn() -> bool,
) -> Option<Seen> {
    match unfinished(root, scope, path) {
        Some(content) => Some(Seen::Present(*expected, content)),
        None => read(root, path, expected, stop),
    }
}

/// What lay below a path that is no folder any more: with a file in its place it is absent, behind a link out of
/// scope.
fn instead_of_folder(
    root: &Root,
    reader: &Reader,
    mirror: &Mirror,
    path: &RelPath,
    emit: &mut dyn FnMut(Observation) -> ControlFlow<()>,
) -> Result<Vec<RelPath>, ObserveError> {
    let mut absent = Vec::new();
    let mut scan = reader.scan(mirror.id, Some(path))?;
    let mut below = Rows::new(scan.rows()?)?;
    while let Some(row) = below.row.take() {
        match root.stat(&row.path) {
            Look::Absent => absent.push(row.path),
            Look::BehindLink if !row.is_ignored_by(BEHIND_LINK) => {
                let _ = emit(Observation::bare(row.path, Seen::OutOfScope(BEHIND_LINK.into())));
            }
            _ => {}
        }
        below.advance()?;
    }
    Ok(absent)
}

/// Reads a file that has been quiet: its content between two equal stats, or why it cannot be read. `None`: it is
/// not what was seen, or is busy, so it settles again.
pub fn read(root: &Root, path: &RelPath, expected: &Stat, stop: &dyn Fn() -> bool) -> Option<Seen> {
    if expected.size > plan::LARGEST_FILE {
        return Some(Seen::Present(*expected, Content::TooLarge));
    }
    let unreadable = |error: &io::Error| {
        let passing =
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ResourceBusy | io::ErrorKind::Interrupted);
        // Without descriptors nothing is known of this file.
        let passing = passing || scan::is_exhausted(error);
        (!passing).then(|| Seen::Present(*expected, Content::Unreadable(format!("{error}"))))
    };
    let file = match root.open(path) {
        Ok(file) => file,
        Err(error) => return unreadable(&error),
    };
    match scan::read_hash(&file, Some(expected), stop) {
        Ok(hashed) => Some(Seen::Present(hashed.stat, Content::Read(hashed.hash))),
        Err(ReadFault::Changed | ReadFault::Stopped) => None,
        Err(ReadFault::Io(error)) => unreadable(&error),
    }
}

/// Whether the file still waits for its trigger, which says that it is whole.
fn unfinished(root: &Root, scope: &Scope, path: &RelPath) -> Option<Content> {
    let trigger = scope.trigger_of(path)?;
    let suffix = scope.trigger_suffix().unwrap_or_default();
    let what = match root.stat(&trigger) {
        Look::File(_) => return None,
        Look::Absent => format!("its trigger, this name and \"{suffix}\", has not come"),
        Look::Folder | Look::Other(_) | Look::BehindLink => {
            format!("its trigger, this name and \"{suffix}\", is not a file")
        }
        Look::Unknown(error) => format!("its trigger, this name and \"{suffix}\", cannot be looked at: {error}"),
    };
    Some(Content::Unfinished(format!("{}: {what}", plan::UNFINISHED)))
}

/// The rule of an ignored file; for a trigger it also says when nothing is there to be triggered.
fn trigger_rule(root: &Root, scope: &Scope, path: &RelPath, rule: String) -> String {
    match scope.triggered_by(path) {
        Some(file) if root.stat(&file) == Look::Absent => format!("{rule}; that file is not there"),
        _ => rule,
    }
}

/// Known files looked at to tell a folder by, of either kind.
const SAMPLE: usize = 16;

/// Whether the folder is the one that the journal knows.
///
/// File system, device, inode and time of making of the root tell; where one of them differs (device numbers change at
/// a boot, a remount, a move of the volume), known files have to: at least half of a sample must be as they were, and
/// at least one of the newest, since an older state of the same disk holds most of the others. No sample: no reason to
/// doubt. Equal inodes count, equal content does not: a copy is another folder, which a person may accept.
///
/// # Errors
/// The journal's.
pub fn is_same_folder(
    root: &Root,
    known: Option<RootIdentity>,
    mirror: &Mirror,
    view: &View,
) -> Result<bool, JournalError> {
    if known.is_none_or(|known| known.is_same_as(&root.identity())) {
        return Ok(true);
    }
    let sample = view.sample(mirror.id, SAMPLE)?;
    let unread = sample.spread.iter().all(|row| row.hash.is_none());
    if unread && mirror.config.ingest.is_some() {
        // Nothing is deleted for what is gone there, and files that wait to be read come and go.
        return Ok(true);
    }
    let as_it_was = |row: &&FileRow| match root.stat(&row.path) {
        // One that was never read may still be growing.
        Look::File(stat) if unread => stat.inode == row.stat.inode,
        Look::File(stat) => {
            (stat.inode, stat.size, stat.mtime_ns) == (row.stat.inode, row.stat.size, row.stat.mtime_ns)
        }
        _ => false,
    };
    let there = sample.spread.iter().filter(as_it_was).count();
    let newest = sample.newest.is_empty() || sample.newest.iter().any(|row| as_it_was(&row));
    Ok(there * 2 >= sample.spread.len() && newest)
}

/// The walk's entries against the journal's rows.
struct Merge<'a> {
    root: &'a Root,
    mirror: &'a Mirror,
    rows: Rows<'a>,
    pass: Pass,
    emit: &'a mut dyn FnMut(Observation) -> ControlFlow<()>,
}

impl Merge<'_> {
    fn entry(&mut self, entry: Entry) -> Result<ControlFlow<()>, JournalError> {
        match entry {
            Entry::File { path, stat } => {
                self.pass.files += 1;
                let at_rest = match self.row_at(&path)? {
                    Some(row) => row.at_rest(&stat),
                    None => false,
                };
                if at_rest {
                    return Ok(ControlFlow::Continue(()));
                }
                let content = unfinished(self.root, &self.mirror.config.scope, &path).unwrap_or(Content::Unread);
                let seen = Seen::Present(stat, content);
                Ok((self.emit)(Observation::with_sidecar(self.root, self.mirror, path, seen)))
            }
            Entry::Other { path, kind } => self.out_of_scope(path, kind.to_string()),
            Entry::Ignored { path, rule, is_dir: false } => {
                let rule = trigger_rule(self.root, &self.mirror.config.scope, &path, rule);
                self.out_of_scope(path, rule)
            }
            Entry::Ignored { path, rule, is_dir: true } => {
                self.absent_until(Some(&folder_key(&path)))?;
                while let Some(row) = self.rows.row.as_ref().filter(|row| row.path.is_below(&path)) {
                    let (below, known) = (row.path.clone(), row.is_ignored_by(&rule));
                    self.pass.known_present += 1;
                    self.rows.advance()?;
                    if !known && (self.emit)(Observation::bare(below, Seen::OutOfScope(rule.clone()))).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Ok(ControlFlow::Continue(()))
            }
            Entry::Folder { .. } => Ok(ControlFlow::Continue(())),
            Entry::Unlisted { dir, error } => {
                self.absent_until(Some(&folder_key(&dir)))?;
                while self.rows.row.as_ref().is_some_and(|row| row.path.is_below(&dir)) {
                    self.pass.known_present += 1;
                    self.rows.advance()?;
                }
                self.pass.unlisted.push((dir, error));
                Ok(ControlFlow::Continue(()))
            }
            Entry::Unknown { path, error } => {
                tracing::debug!(%path, error, "could not be looked at");
                if self.row_at(&path)?.is_some() {
                    self.pass.unknown.push((path, error));
                } else {
                    self.pass.unseen = true;
                }
                Ok(ControlFlow::Continue(()))
            }
        }
    }

    fn out_of_scope(&mut self, path: RelPath, rule: String) -> Result<ControlFlow<()>, JournalError> {
        if self.row_at(&path)?.is_some_and(|row| row.is_ignored_by(&rule)) {
            return Ok(ControlFlow::Continue(()));
        }
        Ok((self.emit)(Observation::bare(path, Seen::OutOfScope(rule))))
    }

    /// The row of this very path, taken; rows before it have no file.
    fn row_at(&mut self, path: &RelPath) -> Result<Option<Row>, JournalError> {
        self.absent_until(Some(path.as_bytes()))?;
        if self.rows.row.as_ref().is_none_or(|row| row.path != *path) {
            return Ok(None);
        }
        self.pass.known_present += 1;
        let row = self.rows.row.take();
        self.rows.advance()?;
        Ok(row)
    }

    /// Every row before `key` was passed by the walk: its folder is listed completely and does not hold it. The
    /// path is asked once more, for only "no such file" counts.
    fn absent_until(&mut self, key: Option<&[u8]>) -> Result<(), JournalError> {
        while let Some(row) = self.rows.row.as_ref().filter(|row| key.is_none_or(|key| row.path.as_bytes() < key)) {
            let path = row.path.clone();
            match self.root.stat(&path) {
                Look::Absent => self.pass.absent.push(path),
                Look::File(_) => self.pass.known_present += 1,
                Look::Unknown(error) => {
                    self.pass.known_present += 1;
                    self.pass.unknown.push((path, error));
                }
                Look::Folder => self.replaced(path, "a folder stands in its place".into()),
                Look::Other(kind) => self.replaced(path, kind.to_string()),
                Look::BehindLink => self.replaced(path, BEHIND_LINK.into()),
            }
            self.rows.advance()?;
        }
        Ok(())
    }

    fn replaced(&mut self, path: RelPath, rule: String) {
        self.pass.known_present += 1;
        if !self.rows.row.as_ref().is_some_and(|row| row.is_ignored_by(&rule)) {
            // An early end is noticed at the next entry.
            let _ = (self.emit)(Observation::bare(path, Seen::OutOfScope(rule)));
        }
    }
}

/// Where the first path below the folder would stand.
fn folder_key(folder: &RelPath) -> Vec<u8> {
    [folder.as_bytes(), b"/"].concat()
}

/// The journal's side of a merge: the present row, owned so that the walk may keep it.
struct Rows<'a> {
    rows: ScanRows<'a>,
    row: Option<Row>,
}

struct Row {
    path: RelPath,
    stat: Stat,
    word: &'static str,
    /// The rule of an ignored path.
    rule: Option<String>,
    absent: bool,
}

impl<'a> Rows<'a> {
    fn new(rows: ScanRows<'a>) -> Result<Self, JournalError> {
        let mut rows = Self { rows, row: None };
        rows.advance()?;
        Ok(rows)
    }

    fn advance(&mut self) -> Result<(), JournalError> {
        self.row = None;
        while let Some(row) = self.rows.next()? {
            let Some(path) = RelPath::new(row.path) else { continue };
            let word = Verdict::WORDS.into_iter().find(|word| *word == row.verdict).unwrap_or_default();
            let rule = (word == "ignored").then(|| row.detail.unwrap_or_default().to_owned());
            self.row = Some(Row { path, stat: row.stat, word, rule, absent: row.absent_since.is_some() });
            break;
        }
        Ok(())
    }
}

impl Row {
    fn at_rest(&self, stat: &Stat) -> bool {
        plan::is_at_rest(self.word, &self.stat, self.absent, stat)
    }

    fn is_ignored_by(&self, rule: &str) -> bool {
        !self.absent && self.rule.as_deref() == Some(rule)
    }
}
