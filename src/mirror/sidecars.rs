//! The quiet times of sidecars: a file is taken only when what stands beside it has been quiet too.
//!
//! Kept for files that settle, and forgotten with them; all of it may be lost.

use std::collections::HashMap;
use std::time::Duration;

use crate::core::model::Stat;
use crate::core::settle::Mono;
use crate::types::RelPath;

/// Each waiting file's sidecar: as it was seen last, and since when it looks like that.
#[derive(Debug, Default)]
pub struct Sidecars(HashMap<RelPath, (Stat, Mono)>);

impl Sidecars {
    /// A look at the sidecar of the file at `path`.
    pub fn see(&mut self, path: &RelPath, stat: Stat, now: Mono) {
        match self.0.get_mut(path) {
            Some((known, _)) if known.same_content_as(&stat) => {}
            Some(known) => *known = (stat, now),
            None => drop(self.0.insert(path.clone(), (stat, now))),
        }
    }

    /// Whether the sidecar, as it is now, has been seen unchanged for `settle`. One that is seen for the first time
    /// begins its quiet time.
    pub fn is_quiet(&mut self, path: &RelPath, stat: Stat, settle: Duration, now: Mono) -> bool {
        self.see(path, stat, now);
        self.0.get(path).is_some_and(|(_, since)| since.plus(settle) <= now)
    }

    /// The file does not wait any more.
    pub fn forget(&mut self, path: &RelPath) {
        self.0.remove(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_begins_the_quiet_time_anew() {
        let path = RelPath::new(&b"a"[..]).unwrap();
        let stat = |size| Stat { dev: 1, inode: 1, size, mtime_ns: 0, ctime_ns: 0 };
        let settle = Duration::from_millis(100);
        let mut sidecars = Sidecars::default();
        assert!(!sidecars.is_quiet(&path, stat(1), settle, Mono(0)), "seen for the first time");
        assert!(!sidecars.is_quiet(&path, stat(1), settle, Mono(99)));
        assert!(!sidecars.is_quiet(&path, stat(2), settle, Mono(100)), "changed just now");
        assert!(sidecars.is_quiet(&path, stat(2), settle, Mono(200)));
        sidecars.forget(&path);
        assert!(!sidecars.is_quiet(&path, stat(2), settle, Mono(300)));
        assert!(sidecars.is_quiet(&path, stat(3), Duration::ZERO, Mono(300)), "no quiet time is asked for");
    }
}
