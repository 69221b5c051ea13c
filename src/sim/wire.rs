//! The way to the sandbox: slow, and as faulty as the course of events wants it.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use casedrop_sandbox::{LedgerFile, Sandbox};

use super::judge::Judge;
use super::trace::Trace;
use crate::aws::in_process::{Answer, NoAnswer, Sent, Wire};
use crate::host::simulated::{self, Dice};
use crate::host::time;

/// How the network is at present: one call in so many is lost, 0 being none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weather {
    /// No connection comes about at all.
    pub down: bool,
    /// Refused before anything is sent.
    pub refused: u64,
    /// Sent, and lost before it arrives.
    pub lost: u64,
    /// Done, and the answer lost.
    pub unheard: u64,
    /// Longest time that each way takes, in milliseconds.
    pub slow_ms: u64,
}

#[derive(Debug)]
struct State {
    dice: Dice,
    weather: Weather,
    calls: u64,
    faults: u64,
    breaks_down_at: Option<u64>,
    /// Deletes and starts that are judged.
    deleted: BTreeSet<String>,
    started: BTreeSet<String>,
}

/// One for each simulation, whatever process uses it.
#[derive(Debug, Clone)]
pub struct Line {
    sandbox: Sandbox,
    state: Arc<Mutex<State>>,
    trace: Trace,
    judge: Arc<OnceLock<Judge>>,
}

impl Line {
    pub fn new(sandbox: Sandbox, seed: u64, trace: Trace) -> Self {
        let state = State {
            dice: Dice::new(seed),
            weather: Weather::default(),
            calls: 0,
            faults: 0,
            breaks_down_at: None,
            deleted: BTreeSet::new(),
            started: BTreeSet::new(),
        };
        Self { sandbox, state: Arc::new(Mutex::new(state)), trace, judge: Arc::default() }
    }

    /// Who is told of every file that comes to Connect, is complete there, or is gone.
    pub fn set_judge(&self, judge: Judge) {
        self.judge.set(judge).unwrap();
    }

    pub fn set_weather(&self, weather: Weather) {
        self.state.lock().unwrap().weather = weather;
    }

    /// Calls that were begun so far, but for the question of what the instance takes, which every start asks.
    pub fn calls(&self) -> u64 {
        self.state.lock().unwrap().calls
    }

    /// Whoever makes the `nth` call from now panics.
    pub fn break_down_at(&self, nth: u64) {
        let state = &mut *self.state.lock().unwrap();
        state.breaks_down_at = Some(state.calls + nth);
    }

    /// Calls that the network spoilt so far.
    pub fn faults(&self) -> u64 {
        self.state.lock().unwrap().faults
    }

    /// True in one of `n` cases; never when `n` is 0.
    fn falls(&self, n: impl Fn(&Weather) -> u64) -> bool {
        let state = &mut *self.state.lock().unwrap();
        let n = n(&state.weather);
        let falls = n > 0 && state.dice.one_in(n);
        state.faults += u64::from(falls);
        falls
    }

    async fn travel(&self) {
        let ms = {
            let state = &mut *self.state.lock().unwrap();
            state.dice.below(state.weather.slow_ms + 1)
        };
        time::sleep(Duration::from_millis(ms)).await;
    }

    async fn carry(self, request: Sent) -> Answer {
        let name = format!("{} {}", request.method(), request.uri().path());
        let told = |what: &str| self.trace.note(&format!("{name}: {what}"));
        simulated::point("before a call").await;
        let (down, breaks_down) = {
            let state = &mut *self.state.lock().unwrap();
            state.calls += u64::from(!request.uri().path().starts_with("/attached-files-configurations/"));
            (state.weather.down, state.breaks_down_at.take_if(|at| *at <= state.calls).is_some())
        };
        assert!(!breaks_down, "a mistake in the program, at {name}");
        if down || self.falls(|weather| weather.refused) {
            told("refused");
            return Err(NoAnswer::Refused);
        }
        self.travel().await;
        if self.falls(|weather| weather.lost) {
            told("lost on its way");
            return Err(NoAnswer::Lost);
        }
        let call = Call { line: &self, effect: Effect::before(&self.sandbox, &request) };
        let answer = self.sandbox.answer(request).await;
        drop(call);
        match &answer {
            Some(answer) => told(answer.status().as_str()),
            None => told("hung up"),
        }
        simulated::point("after a call").await;
        self.travel().await;
        if self.falls(|weather| weather.unheard) {
            told("its answer was lost");
            return Err(NoAnswer::Lost);
        }
        answer.ok_or(NoAnswer::Lost)
    }
}

/// What a call may do at Connect, whatever is answered.
enum Effect {
    None,
    Delete(String),
    Start,
    /// Completes this one.
    Complete(String),
}

/// A call at the service. Its effect is judged when it ends, even when the process is killed.
struct Call<'a> {
    line: &'a Line,
    effect: Effect,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        // A second panic would end the whole run.
        if let Some(judge) = self.line.judge.get().filter(|_| !std::thread::panicking()) {
            self.effect.told(self.line, judge);
        }
    }
}

impl Effect {
    fn before(sandbox: &Sandbox, request: &Sent) -> Self {
        let mut parts = request.uri().path().trim_start_matches('/').split('/');
        let (of_files, file) = (parts.next() == Some("attached-files"), parts.nth(1));
        match (request.method().as_str(), file) {
            ("DELETE", Some(file)) if of_files => Self::Delete(file.to_owned()),
            ("PUT", None) if of_files => Self::Start,
            ("POST", Some(file)) if of_files => {
                let open = sandbox.ledger().iter().any(|one| one.file_id == file && !one.completed);
                if open { Self::Complete(file.to_owned()) } else { Self::None }
            }
            _ => Self::None,
        }
    }

    /// Judges what is new at Connect, each thing once, whichever call it is of.
    fn told(&self, line: &Line, judge: &Judge) {
        match self {
            Self::None => {}
            Self::Delete(id) => {
                let gone = line.sandbox.deleted().into_iter().find(|file| file.file_id == *id);
                if let Some(file) = gone.filter(|_| line.state.lock().unwrap().deleted.insert(id.clone())) {
                    judge.deleted(&file);
                }
            }
            Self::Start => {
                let ledger = line.sandbox.ledger();
                let is_new = |file: &&LedgerFile| {
                    !file.foreign && line.state.lock().unwrap().started.insert(file.file_id.clone())
                };
                ledger.iter().filter(is_new).for_each(|file| judge.started(&ledger, file));
            }
            Self::Complete(file) => {
                let ledger = line.sandbox.ledger();
                let completed = ledger.iter().filter(|one| one.file_id == *file && one.completed);
                completed.for_each(|file| judge.completed(file));
            }
        }
    }
}

impl Wire for Line {
    fn exchange(&self, request: Sent) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        Box::pin(self.clone().carry(request))
    }
}
