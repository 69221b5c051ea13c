//! What was touched since the last look: a bounded set and one flag.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::types::RelPath;

/// Paths kept apart; beyond, one walk is cheaper than as many single looks.
const MOST_TOUCHED: usize = 4096;

/// Rung by watcher, timers and commands; heard by the one loop that looks. Clones are the same bell.
#[derive(Debug, Clone, Default)]
pub struct Bell {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct State {
    touched: BTreeSet<RelPath>,
    everywhere: Option<String>,
    /// Touches are no longer kept: a look everywhere is due anyway.
    overflowed: bool,
}

/// Everything that rang since the last [`Bell::take`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rung {
    /// Paths to look at, in byte order. Also with `everywhere` set they restart quiet times.
    pub touched: Vec<RelPath>,
    /// Why the whole root is to be looked at.
    pub everywhere: Option<String>,
}

impl Bell {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole after every line that changes it, so a panic elsewhere does not spoil it.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Look at this path.
    pub fn touch(&self, path: RelPath) {
        let mut state = self.state();
        if state.overflowed {
            return;
        }
        state.touched.insert(path);
        if state.touched.len() > MOST_TOUCHED {
            state.touched.clear();
            state.overflowed = true;
            state.everywhere.get_or_insert_with(|| format!("more than {MOST_TOUCHED} paths changed at once"));
        }
        drop(state);
        self.shared.notify.notify_waiters();
    }

    /// Look at the whole root; the first reason is kept.
    pub fn look_everywhere(&self, why: impl Into<String>) {
        let mut state = self.state();
        state.everywhere.get_or_insert_with(|| why.into());
        drop(state);
        self.shared.notify.notify_waiters();
    }

    /// Waits until something rang that was not taken. May be dropped at any time.
    pub async fn rung(&self) {
        loop {
            // Registered before the state is read, so a ring between the two wakes it.
            let notified = self.shared.notify.notified();
            {
                let state = self.state();
                if state.everywhere.is_some() || !state.touched.is_empty() {
                    return;
                }
            }
            notified.await;
        }
    }

    /// Whether something rang that was not taken.
    pub fn is_ringing(&self) -> bool {
        let state = self.state();
        state.everywhere.is_some() || !state.touched.is_empty()
    }

    /// Takes what rang and silences the bell.
    pub fn take(&self) -> Rung {
        let state = std::mem::take(&mut *self.state());
        Rung { touched: state.touched.into_iter().collect(), everywhere: state.everywhere }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn path(name: &str) -> RelPath {
        RelPath::new(name.as_bytes()).unwrap()
    }

    #[test]
    fn what_rings_is_taken_once_and_sorted() {
        let bell = Bell::default();
        for name in ["b", "a", "b"] {
            bell.touch(path(name));
        }
        bell.look_everywhere("first");
        bell.look_everywhere("second");
        let rung = bell.take();
        assert_eq!(rung, Rung { touched: vec![path("a"), path("b")], everywhere: Some("first".into()) });
        assert_eq!(bell.take(), Rung::default());
    }

    #[test]
    fn many_touches_become_a_look_everywhere() {
        let bell = Bell::default();
        for n in 0..=MOST_TOUCHED {
            bell.touch(path(&n.to_string()));
        }
        bell.touch(path("late"));
        let rung = bell.take();
        assert!(rung.touched.is_empty());
        assert!(rung.everywhere.unwrap().contains("4096"));
        bell.touch(path("next"));
        assert_eq!(bell.take().touched, [path("next")], "the bound starts anew");
    }

    #[tokio::test]
    async fn every_listener_wakes_and_a_ring_is_never_missed() {
        let bell = Bell::default();
        let silent = tokio::time::timeout(Duration::ZERO, bell.rung()).await;
        assert!(silent.is_err(), "nothing rang");
        let listeners: Vec<_> = (0..3)
            .map(|_| {
                let bell = bell.clone();
                tokio::spawn(async move { bell.rung().await })
            })
            .collect();
        tokio::task::yield_now().await;
        bell.touch(path("a"));
        for listener in listeners {
            listener.await.unwrap();
        }
        // Still untaken: heard at once, by whoever comes later too.
        bell.rung().await;
        bell.take();
        assert!(tokio::time::timeout(Duration::ZERO, bell.rung()).await.is_err());
    }
}
