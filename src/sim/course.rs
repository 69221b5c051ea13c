//! What happens, from a seed: a list of steps that can be cut short without changing what comes before the cut.

use super::disk::Deed;
use super::wire::Weather;
use crate::host::simulated::Dice;

/// One step.
#[derive(Debug, Clone)]
pub enum Step {
    /// Time goes by, in milliseconds.
    Pass(u64),
    /// A user works in the folder of one mirror; the watcher tells of it or not.
    User { mirror: usize, deed: Deed, noticed: bool },
    /// The same in the middle of a look, at the so-many-th call to the file system.
    Race { mirror: usize, calls: u64, deed: Deed },
    /// A file that is being sent gets other content of the same size, before the so-many-th read from now.
    Tear { reads: u64, fill: u8 },
    /// A file moves from this mirror's folder to the other's.
    Carry { from: usize, which: u64, at: u64, noticed: bool },
    /// This happens to the one mirror's root, and must not delay the other (invariant 15).
    Apart { sick: usize, trouble: Deed },
    /// The network from now on.
    Network(Weather),
    /// The service from now on: kinds of faults, each for one call in so many.
    Service { kinds: Vec<u8>, one_in: u64 },
    /// The disk from now on: one call in so many fails; 0 is none.
    DiskFaults { one_in: u64 },
    /// The process is killed at the so-many-th moment from now.
    Kill(u64),
    /// It is killed at once, wherever it waits.
    KillNow,
    /// It is stopped in order and started with another configuration.
    Restart { config: u64 },
    /// The host sleeps: the wall clock goes on, the monotonic one does not.
    Suspend(u64),
    /// The wall clock is so many milliseconds from the truth.
    Clock(i64),
    /// A person asks for a retry of everything.
    Retry,
    /// A person releases the holds of one mirror.
    Release { mirror: usize },
    /// A person calls the delete of a file back that is gone.
    Keep { mirror: usize, which: u64 },
    /// The process ends, and its journal is lost.
    Lose { what: Lost, killed: bool },
    /// A person stops the process and rebuilds the journal.
    Adopt,
}

/// What is lost of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The database; its lock file stays and tells that there was one.
    Database,
    /// The database without its write-ahead log, which stays too.
    Half,
    /// Every trace of it.
    Everything,
}

/// What is read and sent at a time.
pub const PIECE: u64 = 256 * 1024;
/// The number of the fault that cuts a PUT after its first piece.
const CUT: u8 = 37;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: i64 = 86_400_000;

/// How many mirrors a seed has: every third has two.
pub fn mirrors(seed: u64) -> usize {
    if seed % 3 == 2 { 2 } else { 1 }
}

/// Whether some files of a seed are sent in pieces; few are, for the sake of time.
pub fn has_big_files(seed: u64) -> bool {
    seed % 5 == 4
}

/// The steps of a seed.
pub fn steps(seed: u64) -> Vec<Step> {
    let mut dice = Dice::new(seed ^ 0x5eed);
    let (mirrors, big) = (mirrors(seed), has_big_files(seed));
    let count = 8 + dice.below(16);
    // Something to work on.
    let mut steps: Vec<Step> = Vec::new();
    for _ in 0..2 + dice.below(4) {
        for mirror in 0..mirrors {
            steps.push(Step::User { mirror, deed: write(&mut dice, big), noticed: true });
        }
    }
    steps.push(Step::Pass(dice.below(30_000)));
    let begun = steps.len() as u64;
    for _ in 0..count {
        steps.push(step(&mut dice, (mirrors, big)));
        if !dice.one_in(3) {
            steps.push(Step::Pass(pause(&mut dice)));
        }
    }
    // What comes once in a course is put into it last, so that it changes nothing of the rest.
    let mut put = |first: u64, step: Step, dice: &mut Dice| {
        let at = first + dice.below(steps.len() as u64 + 1 - first);
        steps.insert(usize::try_from(at).unwrap(), step);
        at
    };
    if mirrors == 2 {
        let trouble = match dice.below(5) {
            0 => Deed::Other,
            // The root itself: no other folder has this number.
            1 => Deed::Shut { which: u64::MAX },
            2 => Deed::Turn { link: dice.one_in(2) },
            one => Deed::Unmount { point_stays: one == 3 },
        };
        let apart = Step::Apart { sick: one_of(&mut dice, mirrors), trouble };
        put(begun, apart, &mut dice);
    }
    if big {
        put(0, Step::Service { kinds: vec![CUT], one_in: 2 }, &mut dice);
    }
    if dice.one_in(6) {
        let lose = Step::Lose {
            what: *dice.pick(&[Lost::Database, Lost::Half, Lost::Everything, Lost::Everything]),
            killed: dice.one_in(2),
        };
        let at = put(begun, lose, &mut dice);
        if !dice.one_in(4) {
            put(at + 1, Step::Adopt, &mut dice);
        }
    }
    if big || dice.one_in(4) {
        let tear = Step::Tear { reads: 1 + dice.below(4), fill: b'A' + u8::try_from(dice.below(4)).unwrap() };
        put(0, tear, &mut dice);
    }
    if dice.one_in(3) {
        let trouble = match dice.below(6) {
            0 => Deed::Unmount { point_stays: dice.one_in(2) },
            1 => Deed::Empty,
            _ => Deed::Shut { which: dice.below(4) },
        };
        let mirror = one_of(&mut dice, mirrors);
        let at = put(begun, Step::User { mirror, deed: trouble, noticed: dice.one_in(2) }, &mut dice);
        // Longer than the grace.
        steps.insert(usize::try_from(at).unwrap() + 1, Step::Pass(150_000));
    }
    let lost = steps.iter().position(|step| matches!(step, Step::Lose { .. }));
    if let Some(at) = lost.filter(|_| dice.one_in(2)) {
        // An adoption that leaves a folder open ends no hold: what goes then has to wait.
        let mirror = one_of(&mut dice, mirrors);
        let then = |deed| Step::User { mirror, deed, noticed: true };
        let (shut, remove) = (Deed::Shut { which: 0 }, Deed::Remove { which: dice.below(80) });
        let half = [then(shut), Step::Adopt, Step::Pass(20_000), then(remove), Step::Pass(150_000)];
        steps.splice(at + 1..at + 1, half);
    }
    for _ in 0..dice.below(3) {
        // While its delete waits for the end of the grace, or for its call.
        let (mirror, which) = (one_of(&mut dice, mirrors), dice.below(4));
        let deed = match dice.below(3) {
            0 => Deed::RemoveFolder { which: dice.below(80) },
            _ => Deed::Remove { which: dice.below(80) },
        };
        let wait = Step::Pass(dice.below(70_000));
        let keep = [Step::User { mirror, deed, noticed: true }, wait, Step::Keep { mirror, which }];
        let at = usize::try_from(begun + dice.below(steps.len() as u64 + 1 - begun)).unwrap();
        steps.splice(at..at, keep);
    }
    steps
}

/// One of the mirrors; where there is one only, the dice are not asked.
fn one_of(dice: &mut Dice, mirrors: usize) -> usize {
    if mirrors == 1 { 0 } else { usize::try_from(dice.below(mirrors as u64)).unwrap() }
}

pub fn pause(dice: &mut Dice) -> u64 {
    match dice.below(10) {
        0..=3 => dice.below(1_000),
        4..=7 => dice.below(12_000),
        8 => dice.below(70_000),
        _ => dice.below(200_000),
    }
}

fn write(dice: &mut Dice, big: bool) -> Deed {
    let size = match dice.below(12) {
        0 => 0,
        1 => 5_000,
        // Two or three pieces.
        2..=4 if big => usize::try_from(PIECE + 1 + dice.below(2 * PIECE)).unwrap(),
        _ => usize::try_from(1 + dice.below(40)).unwrap(),
    };
    // Few contents, so that copies and content that comes back happen.
    let fill = b'a' + u8::try_from(dice.below(4)).unwrap();
    let at = dice.below(80);
    match dice.below(4) {
        0 => Deed::Replace { at, size, fill },
        1 => Deed::Append { at, size, fill },
        _ => Deed::Write { at, size, fill },
    }
}

fn deed(dice: &mut Dice, big: bool) -> Deed {
    let (one, two) = (dice.below(80), dice.below(80));
    match dice.below(45) {
        0..=12 => write(dice, big),
        13..=15 => Deed::Same { which: one, fill: b'A' + u8::try_from(dice.below(4)).unwrap() },
        16..=17 => Deed::Touch { which: one, when: u8::try_from(dice.below(4)).unwrap() },
        18..=21 => Deed::Rename { which: one, at: two },
        22..=27 => Deed::Remove { which: one },
        28..=29 => Deed::MoveFolder { from: one, to: two },
        30..=31 => Deed::RemoveFolder { which: one },
        32 => Deed::Swap { which: one, with: two },
        33 => Deed::Link { at: one },
        34 => Deed::FolderForFile { which: one },
        35 => Deed::Empty,
        36 => Deed::Unmount { point_stays: dice.one_in(2) },
        37 => Deed::Other,
        38 => Deed::Turn { link: dice.one_in(2) },
        39..=40 => Deed::Shut { which: one % 7 },
        41 => Deed::Open,
        _ => Deed::Mount,
    }
}

pub fn weather(dice: &mut Dice) -> Weather {
    let mut one_in = || if dice.one_in(2) { 0 } else { 3 + dice.below(20) };
    let (refused, lost, unheard) = (one_in(), one_in(), one_in());
    let slow_ms = *[20, 300, 4_000, 15_000].get(usize::try_from(dice.below(4)).unwrap()).unwrap();
    Weather { down: dice.one_in(6), refused, lost, unheard, slow_ms }
}

fn step(dice: &mut Dice, (mirrors, big): (usize, bool)) -> Step {
    let mirror = one_of(dice, mirrors);
    match dice.below(40) {
        0..=3 if mirrors == 2 => {
            Step::Carry { from: mirror, which: dice.below(80), at: dice.below(80), noticed: !dice.one_in(3) }
        }
        0..=17 => Step::User { mirror, deed: deed(dice, big), noticed: !dice.one_in(3) },
        18..=20 => Step::Race { mirror, calls: 1 + dice.below(30), deed: deed(dice, big) },
        21..=23 => Step::Network(weather(dice)),
        24 => Step::Network(Weather { slow_ms: 100, ..Weather::default() }),
        25..=26 => {
            let kinds = (0..1 + dice.below(4)).map(|_| u8::try_from(dice.below(250)).unwrap()).collect();
            Step::Service { kinds, one_in: 1 + dice.below(5) }
        }
        27 => Step::Service { kinds: Vec::new(), one_in: 1 },
        28 => Step::DiskFaults { one_in: 2 + dice.below(30) },
        29 => Step::DiskFaults { one_in: 0 },
        30..=33 => Step::Kill(1 + dice.below(25)),
        34 => Step::KillNow,
        35 => Step::Restart { config: dice.below(4) },
        36 => Step::Suspend(HOUR_MS + dice.below(60_000)),
        37 => Step::Clock(*[-DAY_MS, DAY_MS, -1_000, 120_000].get(usize::try_from(dice.below(4)).unwrap()).unwrap()),
        38 => Step::Clock(0),
        _ => match dice.below(3) {
            0 => Step::Release { mirror },
            _ => Step::Retry,
        },
    }
}
