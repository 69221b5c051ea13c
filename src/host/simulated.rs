//! The host of a simulation: one for each thread, while its [`Host`] lives.
//!
//! Time: one virtual clock, the true time, for all processes that live one after the other. It goes on only when the
//! runtime has nothing left to do ([`Host::runtime`]), by a jump to the next timer. The wall clock is the true time
//! plus an offset that can be stepped.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Items that a pipe of the simulation holds at most.
pub const PIPE_DEPTH: usize = 1 << 12;

/// What the virtual clock counts from.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

thread_local! {
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
}

/// SplitMix64: small, and the same on every machine for ever, so that a seed means the same course.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `end` - 1.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    /// True in one of `n` cases.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What is done to a file that is being sent, by its device and inode.
pub type Tear = Box<dyn FnOnce((u64, u64))>;

struct State {
    /// Of the program's own chance, apart from the dice that choose what happens to it.
    dice: Dice,
    /// True time at the begin, in milliseconds since 1970, and what has passed since.
    base: i64,
    passed: Duration,
    /// By the time they are due, then in the order they were set.
    timers: BTreeMap<(Duration, u64), Waker>,
    timers_set: u64,
    /// How far the wall clock is from the true time, in milliseconds.
    wall_offset: i64,
    /// Longest time that blocking work takes.
    slowness: Duration,
    /// Of what happens to the program.
    trouble: Dice,
    /// One call to the file system in so many fails; 0 is none.
    disk_faults_one_in: u64,
    disk_faults: u64,
    /// Done in the so-many-th call to the file system from now.
    race: Option<(u64, Box<dyn FnOnce()>)>,
    /// Done before the so-many-th read from now of a file that is being sent.
    tear: Option<(u64, Tear)>,
    /// Folders that cannot be listed, by device and inode, and since when.
    shut: BTreeMap<(u64, u64), i64>,
    /// Changes of files by their users, so that each has a time of its own.
    changes: u64,
    /// Statements of the journal so far, and which one fails.
    statements: u64,
    statement_fault: Option<(u64, StatementFault)>,
    /// Moments at which the process could have been killed so far, and the one at which it is.
    points: u64,
    kill_at: Option<u64>,
    /// Named points within blocking work so far, and the one at which the process is killed.
    steps: u64,
    kill_at_step: Option<u64>,
    at_work: bool,
    /// Every two folders lie on file systems of their own.
    apart: bool,
    /// Boots that numbered the disks anew.
    renumbered: u64,
    killed: Option<&'static str>,
    death: Arc<Notify>,
}

/// Unwinds blocking work in which the process was killed.
struct Killed;

impl State {
    fn true_time(&self) -> i64 {
        self.base + i64::try_from(self.passed.as_millis()).unwrap()
    }

    fn die(&mut self, moment: &'static str) {
        self.killed = Some(moment);
        (self.kill_at, self.kill_at_step) = (None, None);
        self.death.notify_one();
    }

    /// Nothing can go on at this time: the next timer's time it is.
    fn advance(&mut self) -> Option<Waker> {
        let ((at, _), waker) = self.timers.pop_first()?;
        self.passed = self.passed.max(at);
        Some(waker)
    }
}

/// The simulated host of this thread; ends when dropped.
pub struct Host(());

impl Host {
    /// Begins at `true_time`, in milliseconds since 1970.
    pub fn begin(seed: u64, true_time: i64) -> Self {
        let state = State {
            dice: Dice::new(seed),
            base: true_time,
            passed: Duration::ZERO,
            timers: BTreeMap::new(),
            timers_set: 0,
            wall_offset: 0,
            slowness: Duration::ZERO,
            trouble: Dice::new(!seed),
            disk_faults_one_in: 0,
            disk_faults: 0,
            race: None,
            tear: None,
            shut: BTreeMap::new(),
            changes: 0,
            statements: 0,
            statement_fault: None,
            points: 0,
            kill_at: None,
            steps: 0,
            kill_at_step: None,
            at_work: false,
            apart: false,
            renumbered: 0,
            killed: None,
            death: Arc::default(),
        };
        let before = STATE.with(|it| it.borrow_mut().replace(state));
        assert!(before.is_none(), "one simulation for each thread");
        Self(())
    }

    /// A runtime of one thread whose time goes by on the virtual clock. It has no timers of tokio: what uses them by
    /// mistake panics.
    pub fn runtime(&self) -> Runtime {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        // What is woken here runs before the thread is parked.
        builder.enable_io().on_thread_park(|| {
            if let Some(waker) = with(State::advance).flatten() {
                waker.wake();
            }
        });
        builder.build().unwrap()
    }

    /// Time goes by and nothing runs: between two processes, or while the host sleeps. The monotonic clock stands.
    pub fn pass(&self, time: Duration) {
        with(|state| state.base += i64::try_from(time.as_millis()).unwrap());
    }

    pub fn true_time(&self) -> i64 {
        true_time().unwrap()
    }

    pub fn set_wall_offset(&self, ms: i64) {
        with(|state| state.wall_offset = ms);
    }

    /// Kills the process at the `nth` moment from now, 1 being the next.
    pub fn kill_at(&self, nth: u64) {
        with(|state| state.kill_at = Some(state.points + nth));
    }

    /// Kills the process at the `nth` named point within blocking work from now.
    pub fn kill_at_step(&self, nth: u64) {
        with(|state| state.kill_at_step = Some(state.steps + nth));
    }

    /// No kill that was announced comes.
    pub fn no_kill(&self) {
        with(|state| (state.kill_at, state.kill_at_step) = (None, None));
    }

    /// From now on no name can be moved from one folder to another.
    pub fn set_apart(&self, apart: bool) {
        with(|state| state.apart = apart);
    }

    /// The process was killed for the so-many-th time: every third time with the host, and the boot numbers the disks
    /// anew.
    pub fn boot_after(&self, kills: u64) {
        with(|state| state.renumbered += u64::from(kills.is_multiple_of(3)));
    }

    /// Kills the process where it stands.
    pub fn kill_now(&self) {
        with(|state| state.die("while it waited"));
    }

    /// From now on one call to the file system in so many fails; 0 is none.
    pub fn set_disk_faults(&self, one_in: u64) {
        with(|state| state.disk_faults_one_in = one_in);
    }

    /// Calls to the file system that failed so far.
    pub fn disk_faults(&self) -> u64 {
        with(|state| state.disk_faults).unwrap()
    }

    /// Does `act` within the `nth` call to the file system from now.
    pub fn at_disk_call(&self, nth: u64, act: Box<dyn FnOnce()>) {
        with(|state| state.race = Some((nth, act)));
    }

    /// Does something right before the `nth` read from now of a file that is being sent.
    pub fn at_sent_read(&self, nth: u64, act: Tear) {
        with(|state| state.tear = Some((nth, act)));
    }

    /// The disk is well and nobody races.
    pub fn clear_disk_trouble(&self) {
        with(|state| (state.disk_faults_one_in, state.race, state.tear) = (0, None, None));
    }

    /// Statements of the journal so far.
    pub fn statements(&self) -> u64 {
        with(|state| state.statements).unwrap()
    }

    /// Lets the `nth` statement from now fail.
    pub fn fail_statement(&self, nth: u64, fault: StatementFault) {
        with(|state| state.statement_fault = Some((state.statements + nth, fault)));
    }

    /// Resolves when the process is killed, with the name of the moment. From then on it does nothing more.
    pub async fn death(&self) -> &'static str {
        loop {
            let (killed, death) = with(|state| (state.killed, Arc::clone(&state.death))).unwrap();
            match killed {
                Some(moment) => return moment,
                None => death.notified().await,
            }
        }
    }

    /// A new process begins.
    pub fn revive(&self) {
        with(|state| {
            state.killed = None;
            state.timers.clear();
        });
    }

    pub fn set_slowness(&self, longest: Duration) {
        with(|state| state.slowness = longest);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        STATE.with(|it| it.borrow_mut().take());
    }
}

fn with<T>(act: impl FnOnce(&mut State) -> T) -> Option<T> {
    STATE.with(|it| it.borrow_mut().as_mut().map(act))
}

pub fn is_on() -> bool {
    with(|_| ()).is_some()
}

/// True time in milliseconds since 1970, which no step of the wall clock changes.
pub fn true_time() -> Option<i64> {
    with(|state| state.true_time())
}

pub fn unix_millis() -> Option<i64> {
    with(|state| state.true_time() + state.wall_offset)
}

/// From now on the folder with this device and inode cannot be listed, as without the right to read it. What stands in
/// it can be looked at by its name all the same.
pub fn shut(folder: (u64, u64)) {
    with(|state| {
        let now = state.true_time();
        state.shut.entry(folder).or_insert(now);
    });
}

/// The folder can be listed again.
pub fn open(folder: (u64, u64)) {
    with(|state| state.shut.remove(&folder));
}

/// Since when the folder cannot be listed.
pub fn shut_since(folder: (u64, u64)) -> Option<i64> {
    with(|state| state.shut.get(&folder).copied()).flatten()
}

/// A folder is about to be listed.
///
/// # Errors
/// It is [`shut`].
pub fn listing(folder: impl AsFd) -> Result<(), Errno> {
    if with(|state| state.shut.is_empty()).unwrap_or(true) {
        return Ok(());
    }
    let stat = rustix::fs::fstat(folder)?;
    shut_since((stat.st_dev, stat.st_ino)).map_or(Ok(()), |_| Err(Errno::ACCESS))
}

/// How many changes users have made to files, this one included.
pub fn count_change() -> u64 {
    with(|state| {
        state.changes += 1;
        state.changes
    })
    .unwrap_or_default()
}

/// The present moment of the virtual clock.
pub fn instant() -> Option<Instant> {
    with(|state| *EPOCH + state.passed)
}

/// Waits until that moment of the virtual clock.
pub fn sleep_until(at: Instant) -> impl Future<Output = ()> + Send {
    Timer { at: at.saturating_duration_since(*EPOCH), key: None }
}

struct Timer {
    at: Duration,
    key: Option<(Duration, u64)>,
}

impl Timer {
    fn forget(&mut self, state: &mut State) {
        if let Some(key) = self.key.take() {
            state.timers.remove(&key);
        }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        with(|state| {
            self.forget(state);
            if state.passed >= self.at {
                return Poll::Ready(());
            }
            state.timers_set += 1;
            let key = (self.at, state.timers_set);
            state.timers.insert(key, cx.waker().clone());
            self.key = Some(key);
            Poll::Pending
        })
        .unwrap_or(Poll::Pending)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        with(|state| self.forget(state));
    }
}

/// Whether there is a simulation to take them from.
pub fn random_bytes(bytes: &mut [u8]) -> bool {
    with(|state| bytes.iter_mut().for_each(|byte| *byte = state.dice.next().to_le_bytes()[0])).is_some()
}

/// A moment at which the process may be killed: then this never returns, and no later moment does.
pub async fn point(name: &'static str) {
    let dead = with(|state| {
        state.points += 1;
        if state.killed.is_none() && state.kill_at == Some(state.points) {
            state.die(name);
        }
        state.killed.is_some()
    });
    if dead == Some(true) {
        std::future::pending::<()>().await;
    }
}

/// A named point: where blocking work stands at it, the process may be killed. Elsewhere [`point`] does that.
pub fn step(name: &'static str) {
    let dies = with(|state| {
        state.steps += u64::from(state.at_work);
        let dies = state.at_work && state.kill_at_step == Some(state.steps);
        if dies {
            state.die(name);
        }
        dies
    });
    if dies == Some(true) {
        std::panic::resume_unwind(Box::new(Killed));
    }
}

/// How a statement fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementFault {
    /// The disk is full; SQLite ends the transaction by itself.
    Full,
    /// The disk fails; the transaction goes on.
    Io,
}

impl StatementFault {
    pub const ALL: [Self; 2] = [Self::Full, Self::Io];
}

/// A statement of the journal is about to run: how it fails, if it does.
pub fn statement() -> Option<StatementFault> {
    with(|state| {
        state.statements += 1;
        state.statement_fault.take_if(|(nth, _)| *nth == state.statements).map(|(_, fault)| fault)
    })
    .flatten()
}

/// A call to the file system: somebody may be at work in the folder at this very moment, or the call fails.
///
/// # Errors
/// Never "no such file": that would be a lie about the disk, and true absences come from true removals.
pub fn disk_call() -> Result<(), Errno> {
    let race = with(|state| {
        let (left, _) = state.race.as_mut()?;
        *left = left.saturating_sub(1);
        if *left == 0 { state.race.take() } else { None }
    });
    if let Some((_, act)) = race.flatten() {
        act();
    }
    let fails = with(|state| {
        let fails = state.disk_faults_one_in > 0 && state.trouble.one_in(state.disk_faults_one_in);
        state.disk_faults += u64::from(fails);
        fails.then(|| *state.trouble.pick(&[Errno::IO, Errno::ACCESS, Errno::STALE, Errno::MFILE, Errno::BUSY]))
    });
    fails.flatten().map_or(Ok(()), Err)
}

/// A change of names is done: its answer may be lost, as on a network file system; asked again, that says that the old
/// name is not there.
///
/// # Errors
/// Never a refusal, which says that nothing was done.
pub fn disk_answer() -> Result<(), Errno> {
    disk_call().map_err(|errno| match errno {
        Errno::STALE => errno,
        Errno::BUSY => Errno::NOENT,
        _ => Errno::IO,
    })
}

/// Whether a name cannot be moved from one of these folders to the other.
pub fn are_apart(one: impl AsFd, other: impl AsFd) -> bool {
    let folder = |fd| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
    with(|state| state.apart) == Some(true) && folder(one.as_fd()) != folder(other.as_fd())
}

/// The number that the disk has by now.
pub fn device(number: u64) -> u64 {
    number + with(|state| state.renumbered).unwrap_or(0)
}

/// A file that is being sent is about to be read.
///
/// # Errors
/// That of a call to the file system.
pub fn sent_read(file: impl AsFd) -> Result<(), Errno> {
    let tear = with(|state| {
        let (left, _) = state.tear.as_mut()?;
        *left = left.saturating_sub(1);
        if *left == 0 { state.tear.take() } else { None }
    });
    if let Some((_, act)) = tear.flatten() {
        let stat = rustix::fs::fstat(file)?;
        act((stat.st_dev, stat.st_ino));
    }
    disk_call()
}

/// Does the work now; what it found is known a little later.
pub fn blocking<T: Send + 'static>(work: impl FnOnce() -> T) -> JoinHandle<T> {
    with(|state| state.at_work = true);
    let done = std::panic::catch_unwind(AssertUnwindSafe(work));
    with(|state| state.at_work = false);
    let done = match done {
        Ok(done) => done,
        Err(killed) if killed.is::<Killed>() => return tokio::spawn(std::future::pending()),
        Err(panic) => std::panic::resume_unwind(panic),
    };
    let slow = with(|state| match u64::try_from(state.slowness.as_millis()).unwrap() {
        0 => 0,
        longest => state.dice.below(longest + 1),
    });
    tokio::spawn(async move {
        match slow.unwrap_or_default() {
            0 => {}
            ms => super::time::sleep(Duration::from_millis(ms)).await,
        }
        done
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_24_dice_are_the_same_for_the_same_seed() {
        let throw = |seed| {
            let mut dice = Dice::new(seed);
            (0..5).map(|_| dice.below(100)).collect::<Vec<_>>()
        };
        assert_eq!(throw(7), throw(7));
        assert_ne!(throw(7), throw(8));
    }

    #[test]
    fn time_goes_on_from_one_runtime_to_the_next_and_the_wall_clock_can_be_stepped() {
        let host = Host::begin(1, 1_000);
        for end in [4_000, 7_000] {
            host.runtime().block_on(async {
                let early = tokio::spawn(super::super::time::sleep(Duration::from_secs(1)));
                super::super::time::sleep(Duration::from_secs(3)).await;
                assert!(early.is_finished());
            });
            assert_eq!(host.true_time(), end);
        }
        host.set_wall_offset(-500);
        assert_eq!(crate::types::UnixMillis::now().0, 6_500);
        drop(host);
        assert!(!is_on());
    }
}
