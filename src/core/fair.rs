//! Whose turn is it? Mirrors share slots and quota evenly, and within a mirror its cases do, so that a flood in one
//! delays the others by a turn and not by its length (invariant 15).
//!
//! Among mirrors the one with the fewest calls in flight goes first, then the one that was served the longest ago.
//! Within a mirror the cases go round by number ([`lane`]): the next is the first above the last one served.

use std::collections::HashMap;
use std::hash::Hash;

use sha2::{Digest, Sha256};

use crate::types::CaseArn;

/// When each one had its last turn.
#[derive(Debug, Clone)]
pub struct Turns<K> {
    last: HashMap<K, u64>,
    now: u64,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self { last: HashMap::new(), now: 0 }
    }
}

impl<K: Copy + Eq + Hash> Turns<K> {
    /// Of those that wait, each with what it has in flight: who is next. `None` when nobody waits. Ties that no turn
    /// has broken yet go to the first named.
    pub fn next(&self, waiting: impl IntoIterator<Item = (K, usize)>) -> Option<K> {
        let order = |(who, in_flight): &(K, usize)| (*in_flight, self.last_turn(*who));
        waiting.into_iter().min_by_key(order).map(|(who, _)| who)
    }

    /// When it had its last turn: 0 for never, larger for later.
    pub fn last_turn(&self, who: K) -> u64 {
        self.last.get(&who).copied().unwrap_or(0)
    }

    /// It had its turn.
    pub fn served(&mut self, who: K) {
        self.now += 1;
        self.last.insert(who, self.now);
    }
}

/// Slots that `in_flight` leaves one mirror when it is one of `mirrors` that share `slots`, of which `free` are free.
///
/// Where there are a few slots and several mirrors, the last free one is kept for a mirror that has nothing in
/// flight: else one whose disk hangs could hold them all.
pub fn may_take(slots: usize, free: usize, mirrors: usize, in_flight: usize) -> bool {
    const FEW: usize = 4;
    let keeps_one = mirrors > 1 && slots >= FEW && in_flight > 0;
    free > usize::from(keeps_one)
}

/// The number of a case among those of its mirror, never negative; 0 is for what has no case yet. Two cases of one
/// number would share their turns, which harms nobody.
pub fn lane(case: &CaseArn) -> i64 {
    let digest = Sha256::digest(case.as_str().as_bytes());
    let number = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    (number >> 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_fewest_in_flight_then_the_longest_without_a_turn() {
        let mut turns = Turns::default();
        assert_eq!(turns.next([('a', 0), ('b', 0)]), Some('a'));
        turns.served('a');
        assert_eq!(turns.next([('a', 0), ('b', 0)]), Some('b'));
        turns.served('b');
        assert_eq!(turns.next([('a', 0), ('b', 0)]), Some('a'));
        assert_eq!(turns.next([('a', 1), ('b', 0)]), Some('b'));
        assert_eq!(turns.next([]), None::<char>);
    }

    #[test]
    fn the_last_slot_is_for_who_has_none() {
        assert!(may_take(8, 1, 1, 7), "alone");
        assert!(!may_take(8, 1, 2, 7));
        assert!(may_take(8, 1, 2, 0));
        assert!(may_take(8, 2, 2, 6));
        assert!(may_take(2, 1, 2, 1), "too few to keep one back");
        assert!(!may_take(8, 0, 2, 0));
    }

    #[test]
    fn lanes_are_positive_and_differ() {
        let case = |n: u32| CaseArn::new(format!("arn:aws:cases:eu-west-2:1:domain/d/case/{n}")).unwrap();
        let lanes: std::collections::BTreeSet<i64> = (0..1000).map(|n| lane(&case(n))).collect();
        assert_eq!(lanes.len(), 1000);
        assert!(lanes.iter().all(|lane| *lane >= 0));
    }

    proptest! {
        /// Whoever waits with nothing in flight is served before anyone has had two turns more, whatever else ends when;
        /// and a free slot is never left while someone waits, but for the last one.
        #[test]
        fn nobody_is_starved(
            queues in proptest::collection::vec(0..200_usize, 1..6), slots in 1..16_usize, ends in any::<u64>()
        ) {
            let (mut left, mut turns, mut seed) = (queues.clone(), Turns::default(), ends);
            let mut in_flight = vec![0_usize; queues.len()];
            // Turns of each since the other was last served or had something in flight.
            let mut passed = vec![BTreeMap::<usize, usize>::new(); queues.len()];
            while left.iter().any(|n| *n > 0) {
                let busy: usize = in_flight.iter().sum();
                let waiting: Vec<(usize, usize)> = (0..queues.len()).filter(|w| left[*w] > 0).map(|w| (w, in_flight[w])).collect();
                let may = waiting.iter().copied().filter(|(_, n)| may_take(slots, slots - busy, queues.len(), *n));
                if let Some(who) = turns.next(may) {
                    turns.served(who);
                    left[who] -= 1;
                    in_flight[who] += 1;
                    passed[who].clear();
                    for (other, n) in waiting {
                        if n > 0 {
                            passed[other].clear();
                        } else if other != who {
                            let times = passed[other].entry(who).or_default();
                            *times += 1;
                            prop_assert!(*times <= 1, "{who} twice before {other}");
                        }
                    }
                } else {
                    prop_assert!(busy + 1 >= slots, "{busy} of {slots} in flight");
                    prop_assert!(busy > 0, "slots free, files waiting, and nobody may");
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let running: Vec<usize> = (0..queues.len()).filter(|who| in_flight[*who] > 0).collect();
                    in_flight[running[usize::try_from(seed >> 33).unwrap() % running.len()]] -= 1;
                }
            }
        }
    }
}
