//! Which new or changed files have been quiet for long enough (DESIGN §4, `settle`).
//!
//! A file is due when, for `settle`, no look found another `stat` and no event touched it. An event alone proves
//! nothing; it only restarts the quiet time, because a writer may pause longer between two writes than the clock
//! of the file system can tell apart (LESSONS L1, L2, L4). Times are monotonic (L79). Every operation costs
//! O(log n).
//!
//! Memory is flat in the number of files: [`MOST`] wait at a time, the others are left out until a full pass that
//! the caller makes once there is room again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::model::Stat;
use crate::types::RelPath;

/// Milliseconds of a clock that never goes back, since any fixed moment of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(pub u64);

impl Mono {
    /// This time moved later by `d`, rounded up to whole milliseconds (saturating).
    pub fn plus(self, d: Duration) -> Self {
        let ms = d.as_nanos().div_ceil(1_000_000);
        Self(self.0.saturating_add(u64::try_from(ms).unwrap_or(u64::MAX)))
    }
}

/// Files that wait at a time: a few MiB, and more than a folder usually gets at once.
pub const MOST: usize = 32_768;

/// The files that wait to be quiet.
#[derive(Debug)]
pub struct Settler {
    settle: Duration,
    most: usize,
    /// Some files did not fit.
    left_out: bool,
    waiting: BTreeMap<RelPath, Waiting>,
    /// The same files by the time they are due.
    by_due: BTreeSet<(Mono, RelPath)>,
    /// Those that were not flagged as restless yet, by the time since when they wait.
    by_since: BTreeSet<(Mono, RelPath)>,
}

#[derive(Debug)]
struct Waiting {
    stat: Stat,
    due: Mono,
    since: Mono,
}

impl Settler {
    /// `settle`: how long a file has to be quiet.
    pub fn new(settle: Duration) -> Self {
        let (waiting, by_due, by_since) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { settle, most: MOST, left_out: false, waiting, by_due, by_since }
    }

    /// A look at a new or changed file. Another content restarts its quiet time; the same keeps it (a change of
    /// owner or name is no other content, L9). A file that does not fit is left out.
    pub fn see(&mut self, path: &RelPath, stat: &Stat, now: Mono) {
        let due = now.plus(self.settle);
        let full = self.waiting.len() >= self.most;
        let Some(known) = self.waiting.get_mut(path) else {
            if full {
                self.left_out = true;
                return;
            }
            self.waiting.insert(path.clone(), Waiting { stat: *stat, due, since: now });
            self.by_due.insert((due, path.clone()));
            self.by_since.insert((now, path.clone()));
            return;
        };
        let same = known.stat.same_content_as(stat);
        known.stat = *stat;
        if !same {
            self.postpone(path, due);
        }
    }

    /// An event on the path: restarts its quiet time if it waits here.
    pub fn touch(&mut self, path: &RelPath, now: Mono) {
        self.postpone(path, now.plus(self.settle));
    }

    fn postpone(&mut self, path: &RelPath, due: Mono) {
        let Some(known) = self.waiting.get_mut(path) else { return };
        if due > known.due {
            let mut key = (known.due, path.clone());
            self.by_due.remove(&key);
            known.due = due;
            key.0 = due;
            self.by_due.insert(key);
        }
    }

    /// At most `limit` files that are quiet now, the longest quiet first. They stay listed until [`Self::done`],
    /// [`Self::forget`], another content or a touch: a caller that cannot read one now touches it.
    pub fn due(&self, now: Mono, limit: usize) -> Vec<(RelPath, Stat)> {
        self.by_due
            .iter()
            .take_while(|(due, _)| *due <= now)
            .filter_map(|(_, path)| Some((path.clone(), self.waiting.get(path)?.stat)))
            .take(limit)
            .collect()
    }

    /// The file was taken over.
    pub fn done(&mut self, path: &RelPath) {
        if let Some(known) = self.waiting.remove(path) {
            self.by_due.remove(&(known.due, path.clone()));
            self.by_since.remove(&(known.since, path.clone()));
        }
    }

    /// The files that have waited for `limit` without a quiet time, each told once. They go on to wait.
    pub fn restless(&mut self, now: Mono, limit: Duration) -> Vec<RelPath> {
        let mut restless = Vec::new();
        while let Some((since, path)) = self.by_since.first()
            && since.plus(limit) <= now
        {
            restless.push(path.clone());
            self.by_since.pop_first();
        }
        restless
    }

    /// The file is gone or out of scope.
    pub fn forget(&mut self, path: &RelPath) {
        self.done(path);
    }

    /// Whether files were left out since the last [`Self::everywhere`].
    pub fn has_left_out(&self) -> bool {
        self.left_out
    }

    /// Whether a look everywhere would bring in many of those that were left out.
    pub fn wants_more(&self) -> bool {
        self.left_out && self.waiting.len() <= self.most / 2
    }

    /// A look everywhere begins: it shows all that were left out.
    pub fn everywhere(&mut self) {
        self.left_out = false;
    }

    /// When the next file is due; past if one is due already.
    pub fn next_due(&self) -> Option<Mono> {
        self.by_due.first().map(|(due, _)| *due)
    }

    /// Files that wait.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether no file waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const SETTLE_MS: u64 = 5_000;

    fn settler() -> Settler {
        Settler::new(Duration::from_millis(SETTLE_MS))
    }

    fn path(name: &str) -> RelPath {
        RelPath::new(name.as_bytes()).unwrap()
    }

    fn stat(size: u64) -> Stat {
        Stat { dev: 1, inode: 2, size, mtime_ns: 3, ctime_ns: 4 }
    }

    fn names(due: &[(RelPath, Stat)]) -> Vec<String> {
        due.iter().map(|(path, _)| path.to_string()).collect()
    }

    #[test]
    fn a_file_left_alone_is_due_after_settle_until_done() {
        let mut s = settler();
        s.see(&path("f"), &stat(1), Mono(100));
        assert_eq!(s.next_due(), Some(Mono(5_100)));
        assert_eq!(s.due(Mono(5_099), 10), []);
        for _ in 0..2 {
            assert_eq!(s.due(Mono(5_100), 10), [(path("f"), stat(1))]);
        }
        s.done(&path("f"));
        assert_eq!((s.due(Mono(9_999), 10), s.next_due(), s.len()), (vec![], None, 0));
        assert!(s.is_empty());
    }

    #[test]
    fn another_content_and_a_touch_restart_and_the_same_content_does_not() {
        let mut s = settler();
        s.see(&path("f"), &stat(1), Mono(0));
        s.see(&path("f"), &stat(1), Mono(4_000));
        assert_eq!(s.next_due(), Some(Mono(5_000)));
        let chmod = Stat { ctime_ns: 9, ..stat(1) };
        s.see(&path("f"), &chmod, Mono(4_500));
        assert_eq!(s.due(Mono(5_000), 1), [(path("f"), chmod)], "the latest stat goes with it");
        s.see(&path("f"), &stat(2), Mono(4_800));
        assert_eq!(s.next_due(), Some(Mono(9_800)));
        s.touch(&path("f"), Mono(6_000));
        assert_eq!(s.next_due(), Some(Mono(11_000)));
        s.touch(&path("unknown"), Mono(6_000));
        assert_eq!(s.len(), 1);
    }

    #[test]
    fn the_longest_quiet_come_first_and_are_limited() {
        let mut s = settler();
        for (name, at) in [("a", 30), ("b", 10), ("c", 20)] {
            s.see(&path(name), &stat(1), Mono(at));
        }
        assert_eq!(names(&s.due(Mono(9_000), 2)), ["b", "c"]);
        s.forget(&path("b"));
        assert_eq!(names(&s.due(Mono(9_000), 2)), ["c", "a"]);
        assert_eq!(s.due(Mono(9_000), 0), []);
    }

    #[test]
    fn no_settle_time_and_an_endless_one_work() {
        let mut s = Settler::new(Duration::ZERO);
        s.see(&path("f"), &stat(1), Mono(7));
        assert_eq!(s.due(Mono(7), 1).len(), 1);
        let mut s = Settler::new(Duration::MAX);
        s.see(&path("f"), &stat(1), Mono(7));
        assert_eq!(s.due(Mono(u64::MAX - 1), 1), []);
    }

    #[test]
    fn a_file_that_never_rests_is_told_once_and_goes_on_to_wait() {
        let limit = Duration::from_secs(600);
        let mut s = settler();
        s.see(&path("log"), &stat(0), Mono(0));
        s.see(&path("quiet"), &stat(1), Mono(0));
        s.done(&path("quiet"));
        let mut told = Vec::new();
        for n in 1..400_u64 {
            let now = Mono(n * 3_000);
            s.see(&path("log"), &stat(n), now);
            assert_eq!(s.due(now, 9), [], "never taken while it is written");
            told.extend(s.restless(now, limit).into_iter().map(|path| (n * 3, path)));
        }
        assert_eq!(told, [(600, path("log"))]);
        let rest = Mono(399 * 3_000 + SETTLE_MS);
        assert_eq!(s.due(rest, 9).len(), 1, "taken when it rests at last");
        s.done(&path("log"));
        s.see(&path("log"), &stat(1), rest);
        assert_eq!(s.restless(Mono(rest.0 + 599_999), limit), [], "a new wait begins anew");
        assert_eq!(s.restless(Mono(rest.0 + 600_000), limit), [path("log")]);
    }

    #[test]
    fn what_does_not_fit_is_asked_for_again_when_half_is_done() {
        let mut s = Settler { most: 4, ..settler() };
        for name in ["a", "b", "c", "d", "e", "f"] {
            s.see(&path(name), &stat(1), Mono(0));
        }
        assert_eq!((s.len(), s.has_left_out(), s.wants_more()), (4, true, false));
        s.see(&path("a"), &stat(2), Mono(1));
        assert_eq!(s.len(), 4, "one that waits is followed as ever");
        s.done(&path("b"));
        assert!(!s.wants_more());
        s.done(&path("c"));
        assert!(s.wants_more());
        s.everywhere();
        for name in ["a", "d", "e", "f"] {
            s.see(&path(name), &stat(1), Mono(2));
        }
        assert_eq!((s.len(), s.has_left_out()), (4, false));
    }

    #[test]
    fn parts_of_a_millisecond_are_waited_for() {
        assert_eq!(Mono(1).plus(Duration::from_nanos(1)), Mono(2));
    }

    #[derive(Debug, Clone)]
    enum Op {
        See(u8, u64),
        Touch(u8),
        Done(u8),
    }

    fn op() -> impl Strategy<Value = Op> {
        let name = 0_u8..6;
        prop_oneof![
            (name.clone(), 0_u64..3).prop_map(|(n, size)| Op::See(n, size)),
            name.clone().prop_map(Op::Touch),
            name.prop_map(Op::Done),
        ]
    }

    proptest! {
        #[test]
        fn due_means_quiet_for_settle(ops in prop::collection::vec((op(), 0_u64..4_000), 1..80)) {
            let mut s = settler();
            let mut now = Mono(0);
            // Size and last change or touch of every file that waits.
            let mut model: HashMap<RelPath, (u64, Mono)> = HashMap::new();
            for (op, passed) in ops {
                now.0 += passed;
                match op {
                    Op::See(n, size) => {
                        let p = path(&n.to_string());
                        s.see(&p, &stat(size), now);
                        let known = model.entry(p).or_insert((size, now));
                        if known.0 != size {
                            *known = (size, now);
                        }
                    }
                    Op::Touch(n) => {
                        let p = path(&n.to_string());
                        s.touch(&p, now);
                        model.entry(p).and_modify(|known| known.1 = now);
                    }
                    Op::Done(n) => {
                        let p = path(&n.to_string());
                        s.done(&p);
                        model.remove(&p);
                    }
                }
                let mut due = s.due(now, usize::MAX);
                due.sort_by(|a, b| a.0.cmp(&b.0));
                let mut expected: Vec<_> = model
                    .iter()
                    .filter(|(_, (_, quiet))| now.0 >= quiet.0 + SETTLE_MS)
                    .map(|(p, (size, _))| (p.clone(), stat(*size)))
                    .collect();
                expected.sort_by(|a, b| a.0.cmp(&b.0));
                prop_assert_eq!(due, expected);
                prop_assert_eq!((s.len(), s.waiting.len()), (model.len(), s.by_due.len()));
                prop_assert_eq!(s.next_due(), model.values().map(|(_, quiet)| Mono(quiet.0 + SETTLE_MS)).min());
            }
            // Left alone, every file becomes due.
            let later = now.plus(Duration::from_millis(SETTLE_MS));
            prop_assert_eq!(s.due(later, usize::MAX).len(), model.len());
        }
    }
}
