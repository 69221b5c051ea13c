//! Full passes, numbered: who wants to know that a whole look began after a moment asks for the next number and
//! waits until that pass, or a later one, has ended.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// The passes of one mirror in one engine.
#[derive(Debug)]
pub struct Passes {
    /// Tells one engine's numbers from another's, after a restart or a reload.
    engine: u64,
    begun: AtomicU64,
    /// The last that came to its end, and the last that also listed the whole root.
    over: AtomicU64,
    whole: AtomicU64,
}

/// A pass that began after somebody asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    engine: u64,
    pass: u64,
}

/// What became of a ticket's pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Looked {
    /// It has not ended yet.
    NotYet,
    /// Everything that was there when it was asked for is in the journal.
    Whole,
    /// The root could not be looked at; the next pass tries again.
    Failed,
    /// Another engine runs by now: ask for a new ticket.
    Unknown,
}

impl Default for Passes {
    fn default() -> Self {
        // Zero on a host without random numbers: then a restart during a wait is not noticed by the number.
        let mut bytes = [0; 8];
        let engine = crate::host::random_bytes(&mut bytes).map_or(0, |()| u64::from_le_bytes(bytes));
        Self { engine, begun: AtomicU64::new(0), over: AtomicU64::new(0), whole: AtomicU64::new(0) }
    }
}

impl Passes {
    /// A pass begins; its number.
    pub fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The pass is over; `whole` if all of the root was looked at and is in the journal.
    pub fn end(&self, pass: u64, whole: bool) {
        self.over.fetch_max(pass, Ordering::AcqRel);
        if whole {
            self.whole.fetch_max(pass, Ordering::AcqRel);
        }
    }

    /// A ticket for the next pass that begins. Ring the bell afterwards.
    pub fn ask(&self) -> Ticket {
        Ticket { engine: self.engine, pass: self.begun.load(Ordering::Acquire) + 1 }
    }

    /// What became of it.
    pub fn look(&self, ticket: Ticket) -> Looked {
        if ticket.engine != self.engine {
            Looked::Unknown
        } else if self.whole.load(Ordering::Acquire) >= ticket.pass {
            Looked::Whole
        } else if self.over.load(Ordering::Acquire) >= ticket.pass {
            Looked::Failed
        } else {
            Looked::NotYet
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pass_that_began_later_counts() {
        let passes = Passes::default();
        let running = passes.begin();
        let ticket = passes.ask();
        passes.end(running, true);
        assert_eq!(passes.look(ticket), Looked::NotYet, "that one may have been past the file");
        let next = passes.begin();
        assert_eq!(passes.look(ticket), Looked::NotYet);
        passes.end(next, false);
        assert_eq!(passes.look(ticket), Looked::Failed);
        let third = passes.begin();
        passes.end(third, true);
        assert_eq!(passes.look(ticket), Looked::Whole);
        let other = Passes { engine: passes.engine.wrapping_add(1), ..Passes::default() };
        assert_eq!(other.look(ticket), Looked::Unknown);
    }
}
