//! Native watching: inotify through the notify crate.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Config, ErrorKind, Event, RecommendedWatcher, RecursiveMode, Watcher};

use super::{Bell, WatchKind, WatchMode, limits};
use crate::scan::{FsKind, file_system_kind};
use crate::types::RelPath;

/// How often the first walk of the watcher is tried: a folder removed while it runs makes it fail.
const TRIES: u32 = 3;

/// A watch on one root. Dropping it ends it.
#[derive(Debug)]
pub struct Watching {
    status: Arc<Status>,
    /// `None` when polling.
    _watcher: Option<RecommendedWatcher>,
}

/// What the watcher's thread tells about itself.
#[derive(Debug, Default)]
struct Status(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    /// Why events alone are not enough.
    poll: Option<String>,
    fault: Option<String>,
    /// The caller dropped it, so its end is no fault.
    closing: bool,
}

impl Status {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watching {
    /// How the root is watched now. It turns to `Poll` when a limit of the host is met later.
    pub fn kind(&self) -> WatchKind {
        match &self.status.told().poll {
            Some(reason) => WatchKind::Poll { reason: reason.clone() },
            None => WatchKind::Native,
        }
    }

    /// What broke. The caller drops this watch and starts another, with backoff; until then it scans.
    pub fn fault(&self) -> Option<String> {
        self.status.told().fault.clone()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.status.told().closing = true;
    }
}

/// Watches `root` and rings `bell` for what happens below it. Blocks while it walks the tree once.
///
/// It never fails: what cannot be watched is polled. A network file system (`Auto`) and a limit of the host are
/// lasting reasons; anything else is also a [`Watching::fault`], to be tried again. One folder that may not be read
/// is enough for the latter: notify gives up on the rest of the tree.
pub fn start(root: &Path, mode: WatchMode, bell: Bell) -> Watching {
    let polled = |reason: String, fault: Option<String>| Watching {
        status: Arc::new(Status(Mutex::new(Told { poll: Some(reason), fault, closing: false }))),
        _watcher: None,
    };
    match (mode, file_system_kind(root)) {
        (WatchMode::Poll, _) => return polled("as configured".to_owned(), None),
        (WatchMode::Auto, FsKind::Network(name)) => {
            return polled(format!("{name} gives no events from other hosts"), None);
        }
        (WatchMode::Auto, FsKind::Local) | (WatchMode::Native, _) => {}
    }
    let mut tries = 1;
    loop {
        match watch(root, &bell) {
            Ok(watching) => return watching,
            Err(e) if tries < TRIES && is_gone(&e) && root.is_dir() => tries += 1,
            Err(e) => {
                return match limits::reason(&e) {
                    Some(reason) => polled(reason, None),
                    None => {
                        let text = format!("the folder cannot be watched: {}", words(&e));
                        polled(text.clone(), Some(text))
                    }
                };
            }
        }
    }
}

fn is_gone(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(e) => e.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

fn watch(root: &Path, bell: &Bell) -> notify::Result<Watching> {
    let root = std::path::absolute(root)?;
    // Until it stands, its end is no fault: the error tells.
    let status = Arc::new(Status(Mutex::new(Told { closing: true, ..Told::default() })));
    let handler = Handler { root: root.clone(), bell: bell.clone(), status: Arc::clone(&status) };
    // Links are not followed: what they point to is not below the root.
    let config = Config::default().with_follow_symlinks(false);
    let mut watcher = RecommendedWatcher::new(handler, config)?;
    watcher.watch(&root, RecursiveMode::Recursive)?;
    status.told().closing = false;
    Ok(Watching { status, _watcher: Some(watcher) })
}

/// An error without control characters of file names in it.
fn words(error: &notify::Error) -> String {
    let what = match &error.kind {
        ErrorKind::Generic(text) => text.clone(),
        ErrorKind::Io(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            "permission denied: give casedrop's user the right to read it".to_owned()
        }
        ErrorKind::Io(e) => e.to_string(),
        ErrorKind::PathNotFound => "no such folder".to_owned(),
        ErrorKind::WatchNotFound => "the watch is gone".to_owned(),
        ErrorKind::InvalidConfig(_) => "the watcher refused its settings".to_owned(),
        ErrorKind::MaxFilesWatch => "no more watches left".to_owned(),
    };
    match error.paths.first() {
        Some(path) => format!("{}: {what}", path.display().to_string().escape_debug()),
        None => what,
    }
}

/// Runs on the watcher's thread: only touches the bell.
struct Handler {
    root: PathBuf,
    bell: Bell,
    status: Arc<Status>,
}

impl notify::EventHandler for Handler {
    fn handle_event(&mut self, event: notify::Result<Event>) {
        match event {
            Ok(event) => self.happened(&event),
            Err(error) => self.failed(&error),
        }
    }
}

impl Handler {
    fn happened(&self, event: &Event) {
        // Looked at before the paths, and also when there are none (LESSONS L12).
        if event.need_rescan() {
            self.bell.look_everywhere("events were lost");
            return;
        }
        if matches!(&event.kind, EventKind::Access(kind) if *kind != AccessKind::Close(AccessMode::Write)) {
            // Somebody reads, most often this program.
            return;
        }
        if event.paths.is_empty() {
            self.bell.look_everywhere("an event named no path");
        }
        for path in &event.paths {
            let Ok(below) = path.strip_prefix(&self.root) else { continue };
            match RelPath::new(below.as_os_str().as_bytes()) {
                Some(path) => self.bell.touch(path),
                None => self.bell.look_everywhere("the folder itself was changed, moved or removed"),
            }
        }
    }

    fn failed(&self, error: &notify::Error) {
        let limit = limits::reason(error);
        let text = limit.clone().unwrap_or_else(|| format!("the watcher failed: {}", words(error)));
        let mut told = self.status.told();
        if limit.is_some() {
            told.poll = limit;
        }
        told.fault.get_or_insert_with(|| text.clone());
        drop(told);
        self.bell.look_everywhere(text);
    }
}

impl Drop for Handler {
    /// The thread owns the handler, so its end, also by a panic, ends here.
    fn drop(&mut self) {
        let mut told = self.status.told();
        if told.closing {
            return;
        }
        told.fault.get_or_insert_with(|| "the watcher ended".to_owned());
        drop(told);
        self.bell.look_everywhere("the watcher ended");
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
