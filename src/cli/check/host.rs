//! What this host says: folders, limits, the journal's place.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::path::Path;

use rustix::fs::{Access, access};
use rustix::process::{Resource, getrlimit};

use super::super::context;
use super::super::exit::Failed;
use super::super::words::files;
use super::Lines;
use crate::config::{Config, Mirror, WatchMode};
use crate::core::handover::AfterApproval;
use crate::journal::{JournalError, Reader};
use crate::scan::{Depth, Entry, FsKind, RootFault, file_system_kind, open_root};

/// Descriptors beside those of uploads: journal, log, sockets to AWS, folders of a walk.
const OTHER_DESCRIPTORS: u64 = 64;
/// For each upload: the file and the connection.
const DESCRIPTORS_PER_UPLOAD: u64 = 2;
/// Watches that other programs of the host are likely to hold.
const OTHERS_WATCHES: u64 = 1_000;

/// A mirror's folder: is it there, can it be read, how will it be watched?
pub fn root(mirror: &Mirror, lines: &mut Lines<'_>) -> Result<(), Failed> {
    let what = format!("mirror {}", mirror.name);
    let path = mirror.path.display();
    let root = match open_root(&mirror.path) {
        Ok(root) => root,
        Err(RootFault::Missing) => {
            let remedy = "create it or mount its disk; until then the mirror waits and deletes nothing";
            return lines.fail(&what, &format!("there is no folder {path}"), remedy);
        }
        Err(fault) => {
            let remedy = "give casedrop's user the right to list it, or correct `path`";
            return lines.fail(&what, &format!("{path} cannot be used: {fault}"), remedy);
        }
    };
    let (mut found, mut unread) = (0_u64, Vec::new());
    let rule = |path: &crate::types::RelPath, is_dir: bool| mirror.scope.entry_rule(path, is_dir);
    let walked = root.walk(None, Depth::Tree, &rule, &mut |entry| {
        match entry {
            Entry::File { .. } => found += 1,
            Entry::Unlisted { dir: path, error } | Entry::Unknown { path, error } => unread.push((path, error)),
            Entry::Other { .. } | Entry::Ignored { .. } | Entry::Folder { .. } => {}
        }
        ControlFlow::Continue(())
    });
    if let Err(fault) = walked {
        let remedy = "give casedrop's user the right to list it";
        return lines.fail(&what, &format!("{path} cannot be listed: {fault}"), remedy);
    }
    lines.ok(&what, &format!("{path}, {} in scope", files(found)))?;
    if let Some((first, error)) = unread.first() {
        let text = format!("{} below it cannot be read, such as {first}: {error}", unread.len());
        lines.warn(&what, &text, "give casedrop's user the right; nothing is deleted for what cannot be listed")?;
    }
    match (mirror.watch, file_system_kind(&mirror.path)) {
        (WatchMode::Poll, _) => lines.ok(&what, "polled, as configured"),
        (WatchMode::Auto, FsKind::Network(name)) => {
            lines.ok(&what, &format!("polled every `rescan`: {name} does not report changes made by other hosts"))
        }
        (WatchMode::Native, FsKind::Network(name)) => lines.warn(
            &what,
            &format!("watched natively, but {name} does not report changes made by other hosts"),
            "use watch = \"auto\"; otherwise changes are found by `rescan` only",
        ),
        (WatchMode::Auto | WatchMode::Native, FsKind::Local) => lines.ok(&what, "watched natively"),
    }
}

/// Archive and quarantine of an ingesting mirror, and the right to move files out of its folder.
pub fn stores(mirror: &Mirror, lines: &mut Lines<'_>) -> Result<(), Failed> {
    let Some(ingest) = &mirror.ingest else { return Ok(()) };
    let what = format!("mirror {}", mirror.name);
    let moves = ingest.after != AfterApproval::Keep || ingest.quarantine.is_some();
    if moves && open_root(&mirror.path).is_ok() && access(&mirror.path, Access::WRITE_OK).is_err() {
        let text = format!("files cannot be moved out of {}: no right to write", mirror.path.display());
        lines.fail(&what, &text, "give casedrop's user the right to write the folder and those below it")?;
    }
    for (name, path) in [("archive", &ingest.archive), ("quarantine", &ingest.quarantine)] {
        let Some(path) = path else { continue };
        let shown = path.display();
        match open_root(path) {
            Ok(_) if access(path, Access::WRITE_OK).is_err() => {
                let remedy = "give casedrop's user the right to write it";
                lines.fail(&what, &format!("the {name} {shown} cannot be written"), remedy)?;
            }
            Ok(store) => {
                let same = open_root(&mirror.path).is_ok_and(|root| root.identity().dev == store.identity().dev);
                let how = if same { "moved" } else { "copied, checked and removed: another file system" };
                lines.ok(&what, &format!("{name} {shown}, files are {how}"))?;
            }
            Err(fault) => {
                let remedy = "create it or mount its disk; until then files wait where they are";
                lines.fail(&what, &format!("the {name} {shown} cannot be used: {fault}"), remedy)?;
            }
        }
    }
    Ok(())
}

/// The host's limit on watched folders, against the folders of all mirrors that are watched.
pub fn watches(config: &Config, lines: &mut Lines<'_>) -> Result<(), Failed> {
    let mut folders = 0_u64;
    for mirror in &config.mirrors {
        let polled = mirror.watch == WatchMode::Poll
            || (mirror.watch == WatchMode::Auto && matches!(file_system_kind(&mirror.path), FsKind::Network(_)));
        if !polled {
            folders += count_folders(&mirror.path);
        }
    }
    let setting = "/proc/sys/fs/inotify/max_user_watches";
    let limit = std::fs::read_to_string(setting).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let noun = if folders == 1 { "folder" } else { "folders" };
    let text = format!("{folders} {noun} to watch, {} allowed", limit.map_or("?".to_owned(), |n| n.to_string()));
    match limit {
        Some(limit) if folders.saturating_add(OTHERS_WATCHES) > limit => {
            let wanted = folders.saturating_mul(2).max(524_288);
            let remedy = format!(
                "sysctl fs.inotify.max_user_watches={wanted} (and in /etc/sysctl.d); otherwise the mirror is polled"
            );
            lines.warn("watches", &text, &remedy)
        }
        Some(_) => lines.ok("watches", &text),
        None => lines.warn("watches", &text, &format!("{setting} cannot be read")),
    }
}

/// Every folder below the root counts, also those out of scope: the watcher takes the whole tree.
fn count_folders(path: &Path) -> u64 {
    let Ok(root) = open_root(path) else { return 0 };
    let folders = Cell::new(1_u64);
    let rule = |_: &crate::types::RelPath, is_dir: bool| {
        if is_dir {
            folders.set(folders.get() + 1);
        }
        None
    };
    // What cannot be listed cannot be watched either.
    let _ = root.walk(None, Depth::Tree, &rule, &mut |_| ControlFlow::Continue(()));
    folders.get()
}

/// The journal: can it be read, could it be written, is it in use?
pub fn journal(config: &Config, lines: &mut Lines<'_>) -> Result<(), Failed> {
    let path = &config.journal_path;
    let shown = path.display();
    let exists = match Reader::open(path) {
        Ok(_) => true,
        Err(JournalError::Missing { .. }) => false,
        Err(error) => return lines.fail("journal", &error.to_string(), ""),
    };
    let mut folder = path.parent().unwrap_or(Path::new("/"));
    let wanted = folder;
    while !folder.exists() {
        let Some(parent) = folder.parent() else { break };
        folder = parent;
    }
    if let Err(e) = access(folder, Access::WRITE_OK | Access::EXEC_OK) {
        let text = format!("{shown}: the folder {} is not writable: {}", folder.display(), std::io::Error::from(e));
        return lines.fail(
            "journal",
            &text,
            "give casedrop's user the right to write it, or correct `path` in [journal]",
        );
    }
    if exists && let Err(e) = access(path, Access::WRITE_OK | Access::READ_OK) {
        let text = format!("{shown} is not writable: {}", std::io::Error::from(e));
        return lines.fail("journal", &text, "give casedrop's user the right to read and write it");
    }
    if let FsKind::Network(name) = file_system_kind(folder) {
        let text = format!("{shown} lies on a network file system ({name})");
        return lines.fail("journal", &text, "its locks cannot be relied on there: put it on a local disk");
    }
    let state = match (exists, folder == wanted) {
        (true, _) => "there, readable and writable",
        (false, true) => "not there yet; it will be created",
        (false, false) => "not there yet; it will be created with its folder",
    };
    match context::daemon(path) {
        Some(Some(pid)) => lines.ok("journal", &format!("{shown}: {state}; in use by process {pid}")),
        Some(None) => lines.ok("journal", &format!("{shown}: {state}; in use by a daemon")),
        None => lines.ok("journal", &format!("{shown}: {state}")),
    }
}

/// The programs that are to be run: are they there, and may they be run?
pub fn programs(config: &Config, lines: &mut Lines<'_>) -> Result<(), Failed> {
    let hooks = config.hooks.iter().map(|hooks| ("hooks".to_owned(), &hooks.command));
    let convert = config.mirrors.iter().flat_map(|mirror| {
        mirror.convert.iter().map(|convert| (format!("mirror {}, convert", mirror.name), &convert.command))
    });
    for (what, command) in hooks.chain(convert) {
        let Some(program) = command.first().map(Path::new) else { continue };
        let shown = program.display();
        let file = std::fs::metadata(program).map(|meta| meta.is_file());
        match (file, access(program, Access::EXEC_OK)) {
            (Ok(true), Ok(())) => lines.ok(&what, &format!("{shown} can be run"))?,
            (Ok(false), _) => lines.fail(&what, &format!("{shown} is no file"), "name a program")?,
            (Err(e), _) => lines.fail(&what, &format!("{shown}: {e}"), "install the program, or correct `command`")?,
            (Ok(true), Err(e)) => lines.fail(
                &what,
                &format!("{shown}: {}", std::io::Error::from(e)),
                "give casedrop's user the right to run it",
            )?,
        }
    }
    Ok(())
}

/// Open files that are allowed, against those that uploads need.
pub fn open_files(config: &Config, lines: &mut Lines<'_>) -> Result<(), Failed> {
    let uploads = u64::try_from(config.limits.uploads_in_flight).unwrap_or(u64::MAX);
    let needed = uploads.saturating_mul(DESCRIPTORS_PER_UPLOAD).saturating_add(OTHER_DESCRIPTORS);
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < needed => lines.warn(
            "open files",
            &format!("{limit} allowed, {needed} may be needed for {uploads} uploads in flight"),
            &format!("raise it (LimitNOFILE={needed} in the unit, `ulimit -n`), or lower `uploads_in_flight`"),
        ),
        Some(limit) => lines.ok("open files", &format!("{limit} allowed, {needed} needed")),
        None => lines.ok("open files", "no limit"),
    }
}
