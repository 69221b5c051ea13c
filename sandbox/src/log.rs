//! The request log: in memory for tests, and as `requests.jsonl` for people. It holds no credential and no URL.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use serde::Serialize;

use crate::SandboxError;
use crate::clock::Millis;
use crate::op::Op;

/// How many requests the memory keeps: the newest. Enough for any test, bounded for a long run.
const KEPT: usize = 250_000;

/// One request and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoggedRequest {
    /// Place in the order of answers, from 1.
    pub number: u64,
    /// When it arrived, by the sandbox's clock.
    pub at: Millis,
    /// Operation.
    pub op: Op,
    /// HTTP status answered; 0 when no answer was sent.
    pub status: u16,
    /// Error type answered, without namespace.
    pub error: Option<String>,
    /// Request id answered.
    pub request_id: String,
    /// Case it was about.
    pub case_id: Option<String>,
    /// FileId it was about, or made.
    pub file_id: Option<String>,
    /// Client token of a Start.
    pub client_token: Option<String>,
    /// Short name of the scripted fault that was applied.
    pub fault: Option<&'static str>,
    /// Bytes of body received.
    pub bytes: u64,
    /// Time until the answer was ready, in microseconds.
    pub took_us: u64,
}

#[derive(Debug, Default)]
struct Kept {
    requests: VecDeque<LoggedRequest>,
    total: u64,
}

/// Takes requests; a thread of its own writes them, so that no request waits for the disk.
#[derive(Debug)]
pub(crate) struct RequestLog {
    kept: Mutex<Kept>,
    lines: Mutex<Option<Sender<Vec<u8>>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RequestLog {
    /// A log in memory and, with a path, appended to that file.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, SandboxError> {
        let log = Self { kept: Mutex::default(), lines: Mutex::new(None), writer: Mutex::new(None) };
        if let Some(path) = path {
            let failed = |source| SandboxError::State { path: path.to_owned(), source };
            let file = File::options().append(true).create(true).open(path).map_err(failed)?;
            let (sender, receiver) = channel();
            let thread = std::thread::Builder::new()
                .name("sandbox-log".to_owned())
                .spawn(move || write_lines(file, &receiver))
                .map_err(failed)?;
            *lock(&log.lines) = Some(sender);
            *lock(&log.writer) = Some(thread);
        }
        Ok(log)
    }

    pub(crate) fn push(&self, mut request: LoggedRequest) {
        let line = {
            let mut kept = lock(&self.kept);
            kept.total += 1;
            request.number = kept.total;
            let line = serde_json::to_vec(&request).unwrap_or_default();
            if kept.requests.len() == KEPT {
                kept.requests.pop_front();
            }
            kept.requests.push_back(request);
            line
        };
        if let Some(lines) = lock(&self.lines).as_ref() {
            // Fails only when the writer has stopped, which it has said.
            let _ = lines.send(line);
        }
    }

    pub(crate) fn requests(&self) -> Vec<LoggedRequest> {
        lock(&self.kept).requests.iter().cloned().collect()
    }

    pub(crate) fn clear(&self) {
        lock(&self.kept).requests.clear();
    }

    /// Writes out what is waiting and ends the writer.
    pub(crate) fn close(&self) {
        drop(lock(&self.lines).take());
        let writer = lock(&self.writer).take();
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }
}

fn write_lines(file: File, lines: &Receiver<Vec<u8>>) {
    let mut out = BufWriter::new(file);
    while let Ok(first) = lines.recv() {
        let mut next = Some(first);
        let mut write = || -> std::io::Result<()> {
            while let Some(line) = next.take() {
                out.write_all(&line)?;
                out.write_all(b"\n")?;
                next = lines.try_recv().ok();
            }
            out.flush()
        };
        if let Err(error) = write() {
            tracing::error!(%error, "write requests.jsonl; no further requests are written to it");
            return;
        }
    }
}
