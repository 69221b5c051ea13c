//! What must hold at every moment, and at the end (DESIGN §7).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use casedrop_sandbox::{FileStatus, LedgerFile, LoggedRequest, Op};

use super::disk::Disk;
use super::stage::{Process, Stage};
use crate::core::model::{Attachment, FileRow, ParkCode, Stage as AttachmentStage, Verdict};
use crate::core::naming::FileNaming;
use crate::core::plan;
use crate::host::simulated;
use crate::journal::Reader;
use crate::types::{FileId, RelPath};

/// The grace of every simulated mirror.
pub const GRACE_MS: i64 = 60_000;
/// How long a hold may take to show after its cause.
const NOTICE_MS: i64 = 120_000;

#[derive(Debug, Clone)]
pub struct Judge(Arc<Mutex<State>>);

struct State {
    disk: Arc<Mutex<Disk>>,
    journal: PathBuf,
    naming: FileNaming,
    keep: bool,
    /// When the wall clock last jumped forward: times that are journaled before it look older than they are.
    jumped: i64,
    broken: Vec<String>,
    deletes: u64,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("broken", &self.broken).finish_non_exhaustive()
    }
}

impl Judge {
    pub fn new(disk: Arc<Mutex<Disk>>, journal: PathBuf, naming: FileNaming, keep: bool) -> Self {
        let state = State { disk, journal, naming, keep, jumped: i64::MIN, broken: Vec::new(), deletes: 0 };
        Self(Arc::new(Mutex::new(state)))
    }

    pub fn clock_jumped(&self) {
        self.0.lock().unwrap().jumped = simulated::true_time().unwrap();
    }

    /// What was broken so far.
    pub fn broken(&self) -> Vec<String> {
        self.0.lock().unwrap().broken.clone()
    }

    /// Deletes of visible files so far.
    pub fn deletes(&self) -> u64 {
        self.0.lock().unwrap().deletes
    }

    /// A file is gone at Connect.
    pub fn deleted(&self, file: &LedgerFile) {
        let state = &mut *self.0.lock().unwrap();
        let mut broken = |text: &str| {
            let known = state.disk.lock().unwrap().tree().clone();
            state.broken.push(format!("{text}: {file:?}\nthere: {known:#?}"));
        };
        if file.foreign {
            return broken("invariant 10: a file of somebody else was deleted");
        }
        if file.status != FileStatus::Approved {
            return;
        }
        state.deletes += 1;
        let reader = Reader::open(&state.journal).unwrap();
        let id = FileId::new(&*file.file_id).unwrap();
        let Some(known) = reader.attachment_by_file_id(&id).unwrap() else {
            return broken("invariant 9: deleted without being known");
        };
        match known.reason.as_deref() {
            Some(plan::ABSENT) => {}
            Some(plan::REPLACED) => {
                let others = reader.attachments_of(known.mirror, &known.path).unwrap();
                if !others.iter().any(|a| a.id > known.id && a.completed_at.is_some()) {
                    broken("invariant 8: replaced by nothing");
                }
                return;
            }
            // The clean-up of an attempt that the journal never knew to be visible.
            _ => return,
        }
        if state.keep {
            return broken("invariant 2: deleted although the policy keeps it");
        }
        let now = simulated::true_time().unwrap();
        let disk = state.disk.lock().unwrap();
        let name = |path: &str| state.naming.attachment_name(&RelPath::new(path.as_bytes()).unwrap()).name;
        let last = disk.last_there(file.sha256.as_deref().unwrap_or_default(), |path| name(path) == file.file_name);
        let emptied = disk.emptied();
        drop(disk);
        // Times in the journal are wall times: the grace is as long as that clock says.
        if last.is_some_and(|last| now - last < GRACE_MS && state.jumped < last) {
            return broken("invariant 2: deleted although it was there within the grace");
        }
        // One file alone may go: the budget allows it.
        let tracked = reader.tracked_count(known.mirror).unwrap();
        if tracked >= 2 && emptied.is_some_and(|since| now - since > NOTICE_MS) {
            broken("invariant 3: deleted although the root was emptied");
        }
    }
}

/// What does not hold once all is quiet.
pub fn verdict_at_the_end(
    stage: &Stage,
    process: &Process,
    disk: &Disk,
    foreign: &str,
    (keep, loose_names): (bool, bool),
) -> Vec<String> {
    let mut broken = Vec::new();
    let mirror = &process.engine.world.mirrors[0];
    let reader = process.engine.world.journal.reader().unwrap();
    let rows: BTreeMap<String, FileRow> = reader
        .files_from(mirror.id, None, 10_000)
        .unwrap()
        .into_iter()
        .map(|row| (String::from_utf8(row.path.as_bytes().to_vec()).unwrap(), row))
        .collect();
    let ledger = stage.sandbox.ledger();
    let at_connect =
        |id: Option<&FileId>| ledger.iter().find(|file| Some(file.file_id.as_str()) == id.map(FileId::as_str));
    for (path, hash) in disk.tree() {
        let Some(row) = rows.get(path) else {
            broken.push(format!("invariant 12: {path} is not in the journal"));
            continue;
        };
        match &row.verdict {
            Verdict::Attached => {
                let approved = reader.attachments_of(mirror.id, &row.path).unwrap();
                let approved: Vec<&Attachment> =
                    approved.iter().filter(|a| a.stage == AttachmentStage::Approved).collect();
                let [one] = approved.as_slice() else {
                    broken.push(format!("invariant 8: {path} has {} visible attachments", approved.len()));
                    continue;
                };
                match at_connect(one.file_id.as_ref()) {
                    Some(file) if file.status == FileStatus::Approved && file.sha256.as_ref() == Some(hash) => {}
                    found => broken.push(format!("invariant 12: {path} counts as attached, and there is {found:?}")),
                }
            }
            Verdict::Parked(code) => {
                let content = disk.read(path);
                let expected = match code {
                    ParkCode::EmptyFile => content.is_empty(),
                    ParkCode::TooLarge => content.len() > 4_096,
                    ParkCode::TypeNotAllowed => path.ends_with(".zip"),
                    ParkCode::Rejected => path.ends_with("virus.txt"),
                    // Where a case takes no name twice, the rejected record of this very content keeps its name.
                    ParkCode::Conflict => path.ends_with("virus.txt") && loose_names,
                    _ => false,
                };
                if !expected {
                    broken.push(format!("invariant 12: {path} ({} bytes) is parked: {row:?}", content.len()));
                }
            }
            verdict => broken.push(format!("invariant 12: {path} is {verdict} at the end: {row:?}")),
        }
    }
    for (path, row) in rows.iter().filter(|(path, _)| !disk.tree().contains_key(*path)) {
        let kept = keep && row.absent_since.is_some() && matches!(row.verdict, Verdict::Attached);
        if !kept && !matches!(row.verdict, Verdict::Ignored(_)) {
            broken.push(format!("invariant 12: {path} is gone and still known: {row:?}"));
        }
    }
    for file in ledger.iter().filter(|file| !file.foreign) {
        let known = FileId::new(&*file.file_id).and_then(|id| reader.attachment_by_file_id(&id).unwrap());
        let explained = known.as_ref().is_some_and(|a| {
            let row = rows.get(std::str::from_utf8(a.path.as_bytes()).unwrap());
            match (a.stage, row.map(|row| &row.verdict)) {
                (AttachmentStage::Approved, Some(Verdict::Attached | Verdict::Ignored(_) | Verdict::Parked(_))) => true,
                (AttachmentStage::Rejected, Some(Verdict::Parked(_) | Verdict::Ignored(_))) => true,
                (AttachmentStage::Rejected, Some(Verdict::Attached)) => keep,
                _ => false,
            }
        });
        if !explained {
            broken.push(format!("invariant 8: left at Connect without a reason: {file:?}\n{known:?}"));
        }
    }
    if !ledger.iter().any(|file| file.file_id == foreign && file.status == FileStatus::Approved) {
        broken.push("invariant 10: the file of somebody else is gone or changed".to_owned());
    }
    for unsure in reader.unsure(1_000).unwrap() {
        broken.push(format!("still unsure: {unsure:?}"));
    }
    broken
}

/// Invariant 16: no operation is called faster than its pacer allows, whatever happens.
pub fn storms(requests: &[LoggedRequest], per_second: u64, burst: u64, starts: u64) -> Vec<String> {
    const WINDOW_MS: i64 = 20_000;
    let mut by_op: BTreeMap<Op, Vec<i64>> = BTreeMap::new();
    for request in requests.iter().filter(|request| !matches!(request.op, Op::PutObject | Op::GetObject)) {
        by_op.entry(request.op).or_default().push(request.at.0);
    }
    let most = usize::try_from(per_second * 20 + burst + burst * starts).unwrap() + 2;
    let mut broken = Vec::new();
    for (op, mut times) in by_op {
        times.sort_unstable();
        let crowded = times
            .iter()
            .enumerate()
            .find(|(at, time)| times.get(at + most).is_some_and(|later| later - **time < WINDOW_MS));
        if let Some((_, time)) = crowded {
            broken.push(format!("invariant 16: more than {most} calls of {op:?} within 20 s from {time} on"));
        }
    }
    broken
}
