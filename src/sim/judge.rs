//! What must hold at every moment (DESIGN §7).
//!
//! Deletes are judged when they are announced, at the very moment that the audit trail tells: then the file must have
//! been gone for the whole grace, by the true time, whatever was done to the wall clock.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use casedrop_sandbox::{FileStatus, LedgerFile, LoggedRequest, Op};

use super::disk::{Disk, LOOK_MS, Tree};
use crate::core::model::{Attachment, Event, EventKind, FileRow, HoldCode, MirrorId, ParkCode, Stage, Verdict};
use crate::core::naming::FileNaming;
use crate::core::plan;
use crate::fatal::Fatal;
use crate::host::simulated;
use crate::journal::{EventFilter, Reader};
use crate::tags::{self, Origin, Place};
use crate::types::{FileId, RelPath, UnixMillis};

/// The grace of every simulated mirror.
pub const GRACE_MS: i64 = 60_000;
/// Steps of the wall clock that are too small to be told from none (`core::clock`): here one of a second at most.
const UNTOLD_MS: i64 = 1_000;
/// How long something must be there to be seen for certain: the longest time between two looks and what one takes.
const SURELY_SEEN_MS: i64 = 45_000;
/// How long a hold may take to show after its cause.
const NOTICE_MS: i64 = 120_000;

#[derive(Debug, Clone)]
pub struct Judge(Arc<Mutex<State>>);

/// What the judge knows of one mirror.
pub struct Watched {
    pub name: &'static str,
    pub disk: Arc<Mutex<Disk>>,
    pub naming: FileNaming,
    /// Nothing is deleted because its file is gone.
    pub keep: bool,
}

struct State {
    mirrors: Vec<Watched>,
    journal: PathBuf,
    /// Of the process that runs.
    reader: Option<Reader>,
    /// Events up to this one are judged.
    cursor: i64,
    /// Holds that stop deletes, each by the time that it has in the journal, and since when by the true time.
    held: BTreeMap<(MirrorId, &'static str, UnixMillis), i64>,
    /// The folder that the configuration in force leaves out.
    left_out: Option<&'static str>,
    /// When the journal was lost, the last time.
    lost: Option<i64>,
    /// What a person gave up with a release instead of an adoption: attached, and known to no journal.
    forgotten: BTreeSet<String>,
    /// What a person keeps while its file is gone, and since when.
    kept: BTreeMap<String, i64>,
    broken: Vec<String>,
    deletes: u64,
    announced: u64,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("broken", &self.broken).finish_non_exhaustive()
    }
}

impl Judge {
    pub fn new(mirrors: Vec<Watched>, journal: PathBuf) -> Self {
        let state = State {
            mirrors,
            journal,
            reader: None,
            cursor: 0,
            held: BTreeMap::new(),
            left_out: None,
            lost: None,
            forgotten: BTreeSet::new(),
            kept: BTreeMap::new(),
            broken: Vec::new(),
            deletes: 0,
            announced: 0,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// A process has the journal open, under a configuration that leaves this folder out.
    pub fn begin(&self, reader: Reader, left_out: Option<&'static str>) {
        let state = &mut *self.0.lock().unwrap();
        (state.reader, state.left_out) = (Some(reader), left_out);
    }

    /// The process has ended.
    pub fn end(&self) {
        self.look(&[]);
        self.0.lock().unwrap().reader = None;
    }

    /// What was broken so far.
    pub fn broken(&self) -> Vec<String> {
        self.0.lock().unwrap().broken.clone()
    }

    /// Something else was.
    pub fn broke(&self, text: String) {
        self.0.lock().unwrap().broken.push(text);
    }

    /// Deletes of visible files so far, and those that were announced because a file was gone.
    pub fn deletes(&self) -> (u64, u64) {
        let state = self.0.lock().unwrap();
        (state.deletes, state.announced)
    }

    /// The journal is gone.
    pub fn lost(&self) {
        let state = &mut *self.0.lock().unwrap();
        (state.lost, state.cursor) = (simulated::true_time(), 0);
        state.held.clear();
    }

    /// When the journal was lost, and what was given up then.
    pub fn losses(&self) -> (Option<i64>, BTreeSet<String>) {
        let state = self.0.lock().unwrap();
        (state.lost, state.forgotten.clone())
    }

    /// A person released a mirror after a loss: what only the lost journal knew stays at Connect for ever.
    pub fn gave_up(&self, mirror: &str, ledger: &[LedgerFile]) {
        let state = &mut *self.0.lock().unwrap();
        let Some(reader) = &state.reader else { return };
        let unknown = |file: &&LedgerFile| {
            let ours = tags::read(&file.tags).is_some_and(|origin| origin.mirror == mirror);
            ours && known(reader, file).is_none()
        };
        state.forgotten.extend(ledger.iter().filter(unknown).map(|file| file.file_id.clone()));
    }

    /// A person called the delete of this file back, and was told whether it stays.
    pub fn kept(&self, mirror: MirrorId, path: &RelPath, answer: Result<bool, Fatal>) {
        let state = &mut *self.0.lock().unwrap();
        let Some(reader) = state.reader.take() else { return };
        let row = reader.file(mirror, path).unwrap();
        let kept = row.as_ref().is_some_and(|row| row.kept);
        let back = row.as_ref().is_some_and(|row| row.absent_since.is_none());
        match answer {
            Ok(told) if told == kept || back => {}
            told => state.blame(&format!("a person is told {told:?}, and there is {row:?}")),
        }
        if kept {
            let attachments = reader.attachments_of(mirror, path).unwrap();
            let live = attachments.iter().filter(|a| matches!(a.stage, Stage::Approved | Stage::Completed));
            let ids = live.filter_map(|a| a.file_id.as_ref());
            let now = simulated::true_time().unwrap();
            state.kept.extend(ids.map(|id| (id.as_str().to_owned(), now)));
        }
        state.reader = Some(reader);
    }

    /// How many attachments a person kept.
    pub fn keeps(&self) -> u64 {
        self.0.lock().unwrap().kept.len() as u64
    }

    /// Judges what happened since the last look. To be called before anything changes but the passing of time: a
    /// user's deed, a clock, the end of the process. `ledger`: what is at Connect, if that is to be compared.
    pub fn look(&self, ledger: &[LedgerFile]) {
        let state = &mut *self.0.lock().unwrap();
        let Some(reader) = state.reader.take() else { return };
        state.see(&reader);
        if !ledger.is_empty() {
            state.compare(&reader, ledger);
        }
        for mirror in reader.mirrors().unwrap().iter().filter(|mirror| mirror.released == 0) {
            state.watched(&mirror.name).disk.lock().unwrap().used_up();
        }
        state.reader = Some(reader);
    }

    /// A file is gone at Connect.
    pub fn deleted(&self, file: &LedgerFile) {
        self.call(file, State::weigh_delete);
    }

    /// An upload has begun.
    pub fn started(&self, ledger: &[LedgerFile], file: &LedgerFile) {
        self.call(file, |state, reader, file| state.weigh_start(reader, ledger, file));
    }

    /// An upload is complete.
    pub fn completed(&self, file: &LedgerFile) {
        self.call(file, State::weigh_complete);
    }

    fn call(&self, file: &LedgerFile, weigh: impl FnOnce(&mut State, &Reader, &LedgerFile) -> Result<(), String>) {
        let state = &mut *self.0.lock().unwrap();
        let reader = state.reader.take().unwrap_or_else(|| Reader::open(&state.journal).unwrap());
        state.see(&reader);
        if let Err(text) = weigh(state, &reader, file) {
            state.blame(&format!("{text}: {file:?}"));
        }
        state.reader = Some(reader);
    }
}

/// Whether what is gone from this disk, with what was announced together with `event`, is more than one file, and no file
/// is there that was known before the first of them was missed. What was adopted and never seen proves nothing.
fn looks_emptied(reader: &Reader, events: &[Event], event: &Event, disk: &Disk) -> bool {
    let together = |a: &Attachment| {
        let told = |one: &Event| tells_absence(one) && one.at == event.at && one.attachment == Some(a.id);
        events.iter().any(told)
    };
    let says_nothing = |verdict: &Verdict| {
        matches!(verdict, Verdict::Ignored(_) | Verdict::Unrouted(_) | Verdict::Parked(ParkCode::Unseen))
    };
    let rows = reader.files_from(event.mirror, None, usize::MAX).unwrap();
    let of = |row: &FileRow| reader.attachments_of(event.mirror, &row.path).unwrap();
    // By now, or at the latest when it was announced: what is being scanned counts as well.
    let sent = |a: &Attachment| a.completed_at.is_none_or(|at| at <= event.at);
    let stands = |a: &Attachment| matches!(a.stage, Stage::Approved | Stage::Completed) && sent(a);
    let counts = |a: &Attachment| stands(a) || together(a);
    let rows = rows.into_iter().filter(|row| !says_nothing(&row.verdict) && of(row).iter().any(counts));
    let (there, mut gone): (Vec<_>, Vec<_>) = rows.partition(|row| disk.tree().contains_key(text(&row.path)));
    // What a person keeps, or is being scanned, went with the others, or long before.
    let visible = |row: &FileRow| of(row).iter().any(|a| a.stage == Stage::Approved || together(a));
    let apart = |row: &FileRow| row.kept || !visible(row);
    let first = gone.iter().filter(|row| !apart(row)).filter_map(|row| row.absent_since).min();
    let with_it = |at: UnixMillis| first.is_some_and(|first| at.0 >= first.0 - GRACE_MS);
    gone.retain(|row| !apart(row) || row.absent_since.is_some_and(with_it));
    let older = |row: &FileRow| first.is_some_and(|first| row.seen_at < first);
    let seen = |row: &FileRow| row.kept || visible(row);
    // What visible files tell, none in scan disproves.
    (gone.iter().filter(|row| seen(row)).count() >= 2 && !there.iter().any(|row| visible(row) && older(row)))
        || (gone.len() >= 2 && !there.iter().any(older))
}

fn known(reader: &Reader, file: &LedgerFile) -> Option<Attachment> {
    reader.attachment_by_file_id(&FileId::new(&*file.file_id)?).unwrap()
}

/// From these on an attachment counts as visible.
const COUNTED: [EventKind; 2] = [EventKind::Attached, EventKind::Adopted];

/// Whether it announces a delete because a file is gone.
fn tells_absence(event: &Event) -> bool {
    event.kind == EventKind::DeletePlanned && event.detail.get("absent_since").is_some()
}

fn text(path: &RelPath) -> &str {
    std::str::from_utf8(path.as_bytes()).unwrap()
}

impl State {
    fn blame(&mut self, what: &str) {
        let there: Vec<Tree> = self.mirrors.iter().map(|one| one.disk.lock().unwrap().tree().clone()).collect();
        self.broken.push(format!("{what}\nthere: {there:#?}"));
    }

    fn watched(&self, name: &str) -> &Watched {
        self.mirrors.iter().find(|one| one.name == name).unwrap()
    }

    /// The events since the last look.
    fn see(&mut self, reader: &Reader) {
        let now = simulated::true_time().unwrap();
        let mirrors = reader.mirrors().unwrap();
        let holds = mirrors.iter().flat_map(|mirror| mirror.holds.iter().map(move |hold| (mirror.id, hold)));
        let holds = holds.filter(|(_, hold)| hold.code.stops_deletes());
        let holds: BTreeSet<_> = holds.map(|(mirror, hold)| (mirror, hold.code.as_str(), hold.since)).collect();
        self.held.retain(|hold, _| holds.contains(hold));
        for hold in holds {
            self.held.entry(hold).or_insert(now);
        }
        let filter = EventFilter { after_id: Some(self.cursor), ..EventFilter::default() };
        for event in reader.events(&filter).unwrap() {
            self.cursor = event.id;
            if !tells_absence(&event) {
                continue;
            }
            self.announced += 1;
            if let Err(text) = self.weigh_announcement(reader, &event) {
                self.blame(&format!("{text}: {event:?}"));
            }
        }
    }

    /// Invariants 2 to 5, and after a loss 19: at this very moment the file was gone for certain, and for the whole grace.
    fn weigh_announcement(&self, reader: &Reader, event: &Event) -> Result<(), String> {
        let attachment = reader.attachment(event.attachment.unwrap()).unwrap().unwrap();
        let mirror = self.watched(&reader.mirror(event.mirror).unwrap().unwrap().name);
        let path = text(&attachment.path);
        if mirror.keep {
            return Err("invariant 2: its delete is announced although the policy keeps it".to_owned());
        }
        let now = simulated::true_time().unwrap();
        let at = event.at.0 - (crate::host::unix_millis() - now);
        let disk = mirror.disk.lock().unwrap();
        let hash = attachment.version.hash.to_string();
        let (from, until) = (at - GRACE_MS + UNTOLD_MS, at - LOOK_MS);
        // While a person took another disk for the mirror's, what is gone from this one says nothing.
        let accepted = disk.accepted_until().unwrap_or(i64::MIN);
        let from = from.max(accepted);
        if !Disk::is_of_other(path, &hash) {
            if disk.was_there(from, at, SURELY_SEEN_MS, |there, _, listed| listed && there == path) {
                return Err(
                    "invariant 2: its delete is announced although a file was at its path within the grace".to_owned()
                );
            }
            let name = |path: &str| mirror.naming.attachment_name(&RelPath::new(path.as_bytes()).unwrap()).name;
            let same = |there: &str, content: &str, listed| listed && content == hash && name(there) == attachment.name;
            if disk.was_there(from, at, SURELY_SEEN_MS, same) {
                return Err("invariant 2: its delete is announced although it was there within the grace".to_owned());
            }
            if accepted != i64::MAX && disk.away_since().is_some_and(|since| since < until) {
                return Err("invariant 3: its delete is announced although the root was away".to_owned());
            }
            // One file alone may go: the budget allows it. What is emptied while it is away is not looked at.
            let of_mirror = EventFilter { mirror: Some(event.mirror), ..EventFilter::default() };
            if accepted != i64::MAX
                && disk.emptied().is_some_and(|since| since < until)
                && looks_emptied(reader, &reader.events(&of_mirror).unwrap(), event, &disk)
            {
                return Err("invariant 3: its delete is announced although the root was emptied".to_owned());
            }
        }
        if disk.away_since().is_none()
            && let Some(folder) = disk.shut_above(path, until)
        {
            return Err(format!("invariant 4: its delete is announced although {folder:?} cannot be listed"));
        }
        if self.left_out.is_some_and(|folder| path.starts_with(folder)) {
            return Err("invariant 5: its delete is announced although it is out of scope".to_owned());
        }
        let seen = |since| disk.other_had(path, since) || disk.was_there(since, at, 0, |there, _, _| there == path);
        let kept = attachment.file_id.as_ref().and_then(|id| self.kept.get(id.as_str()));
        if kept.is_some_and(|since| !disk.ever_had(path, *since)) {
            return Err("invariant 2: its delete is announced although a person keeps it".to_owned());
        }
        if self.lost.is_some_and(|lost| !seen(lost)) {
            return Err("invariant 19: its delete is announced although this journal never saw it".to_owned());
        }
        Ok(())
    }

    /// Invariant 11: what counts as attached is visible at Connect.
    fn compare(&mut self, reader: &Reader, ledger: &[LedgerFile]) {
        let visible: BTreeSet<&str> = ledger
            .iter()
            .filter(|file| file.status == FileStatus::Approved)
            .map(|file| file.file_id.as_str())
            .collect();
        let mut attached: BTreeSet<(MirrorId, RelPath)> = BTreeSet::new();
        for one in reader.attachments_in_stage(Stage::Approved, None, usize::MAX).unwrap() {
            if one.is_visible() {
                if !one.file_id.as_ref().is_some_and(|id| visible.contains(id.as_str())) {
                    self.blame(&format!("invariant 11: it counts as visible at Connect and is not: {one:?}"));
                }
                attached.insert((one.mirror, one.path));
            }
        }
        for mirror in reader.mirrors().unwrap() {
            for row in reader.files_with(mirror.id, Verdict::Attached.word(), None, usize::MAX).unwrap() {
                if !attached.contains(&(mirror.id, row.path.clone())) {
                    self.blame(&format!("invariant 11: it counts as attached without an attachment: {row:?}"));
                }
            }
        }
    }

    /// Invariants 8 to 10 and 19, and that what was visible goes for a reason that was told.
    fn weigh_delete(&mut self, reader: &Reader, file: &LedgerFile) -> Result<(), String> {
        if file.foreign {
            return Err("invariant 10: a file of somebody else was deleted".to_owned());
        }
        let Some(known) = known(reader, file) else {
            return Err("invariant 9: deleted without being known".to_owned());
        };
        // Of a second file that one attempt left, the row is named by the attempt's token and more.
        let token = tags::read(&file.tags).map(|origin| origin.token).unwrap_or_default();
        if known.token.as_str().split(':').next() != Some(&*token) {
            return Err(format!("invariant 9: deleted by another attempt than its own: {known:?}"));
        }
        if file.status != FileStatus::Approved {
            return Ok(());
        }
        self.deletes += 1;
        // A newer content of the file may take its place still.
        let kept = self.kept.get(&file.file_id).filter(|_| known.reason.as_deref() != Some(plan::REPLACED));
        if let Some(since) = kept {
            let disk = self.watched(&reader.mirror(known.mirror).unwrap().unwrap().name).disk.lock().unwrap();
            let path = text(&known.path);
            if !disk.ever_had(path, *since) {
                return Err(format!("invariant 2: deleted although a person keeps it: {known:?}"));
            }
        }
        if reader.mirror(known.mirror).unwrap().unwrap().holds.iter().any(|hold| hold.code == HoldCode::JournalRebuilt)
        {
            return Err("invariant 19: deleted while the lost journal is not rebuilt".to_owned());
        }
        let of_mirror = EventFilter { mirror: Some(known.mirror), ..EventFilter::default() };
        let events = reader.events(&of_mirror).unwrap();
        let of_it = |event: &&Event| event.attachment == Some(known.id);
        let counted = events.iter().filter(of_it).any(|event| COUNTED.contains(&event.kind));
        match known.reason.as_deref() {
            Some(plan::REPLACED) => self.weigh_replace(reader, &events, &known, file),
            Some(plan::ABSENT) if !events.iter().filter(of_it).any(tells_absence) => {
                Err("invariant 2: deleted as absent without an announcement".to_owned())
            }
            // What was announced was judged then; a hold stops it all the same.
            Some(plan::ABSENT) => {
                let now = simulated::true_time().unwrap();
                let holds = self
                    .held
                    .iter()
                    .filter(|((mirror, ..), since)| *mirror == known.mirror && now - **since > NOTICE_MS);
                match holds.map(|((_, code, _), _)| *code).next() {
                    Some(code) => Err(format!("invariant 3: deleted as absent although the mirror is held: {code}")),
                    None => Ok(()),
                }
            }
            _ if counted => Err(format!("invariants 2 and 5: deleted, and it counted as attached: {known:?}")),
            _ => Ok(()),
        }
    }

    /// Invariant 8: what was visible goes for what became visible after it, and is something else.
    fn weigh_replace(
        &self,
        reader: &Reader,
        events: &[Event],
        known: &Attachment,
        file: &LedgerFile,
    ) -> Result<(), String> {
        let last = |id, kinds: &[EventKind]| {
            events.iter().filter(|e| e.attachment == Some(id) && kinds.contains(&e.kind)).map(|e| e.id).max()
        };
        let counted = last(known.id, &COUNTED);
        let others = reader.attachments_of(known.mirror, &known.path).unwrap();
        let after = |a: &&Attachment| a.id != known.id && last(a.id, &[EventKind::Attached]) > counted.or(Some(0));
        let what = |a: &Attachment| (a.version.hash, a.case.clone(), a.name.clone());
        let by: Vec<_> = others.iter().filter(after).map(what).collect();
        if by.is_empty() {
            return Err("invariant 8: replaced by nothing".to_owned());
        }
        // What only a lost journal knew, and a release had sent again.
        if by.iter().all(|by| *by == what(known)) && !self.forgotten.contains(&file.file_id) {
            return Err("invariant 8: replaced by the same".to_owned());
        }
        Ok(())
    }

    /// Invariants 8 and 19: nothing is uploaded again that is attached.
    fn weigh_start(&mut self, reader: &Reader, ledger: &[LedgerFile], file: &LedgerFile) -> Result<(), String> {
        let Some(origin) = tags::read(&file.tags) else {
            return Err("an upload without our tags has begun".to_owned());
        };
        let mirror = reader.mirror_by_name(&origin.mirror).unwrap().unwrap();
        if mirror.holds.iter().any(|hold| hold.code == HoldCode::JournalRebuilt) {
            return Err("invariant 19: an upload has begun while the lost journal is not rebuilt".to_owned());
        }
        let Place::Path(path) = &origin.place else { return Ok(()) };
        for other in ledger.iter().filter(|other| other.file_id != file.file_id && other.status == FileStatus::Approved)
        {
            let same = |other: &Origin| {
                (&other.mirror, &other.place, other.hash) == (&origin.mirror, &origin.place, origin.hash)
            };
            if self.forgotten.contains(&other.file_id) || !tags::read(&other.tags).is_some_and(|other| same(&other)) {
                continue;
            }
            let attached = known(reader, other).is_none_or(|a| {
                a.path == *path && a.name == file.file_name && (a.is_visible() || a.stage == Stage::Completed)
            });
            if attached {
                return Err(format!("invariant 8: an upload has begun of what is attached already, as {other:?}"));
            }
        }
        Ok(())
    }

    /// Invariants 6 and 7: what was uploaded is what was declared and journaled, and stood in the file at one instant.
    fn weigh_complete(&mut self, reader: &Reader, file: &LedgerFile) -> Result<(), String> {
        let Some(known) = known(reader, file) else {
            return Err("invariant 9: completed without being known".to_owned());
        };
        let hash = known.version.hash.to_string();
        if file.sha256.as_ref() != Some(&hash) || file.size != known.version.size {
            return Err(format!("invariant 7: completed, and the journal has {hash} of {} bytes", known.version.size));
        }
        let mirror = self.watched(&reader.mirror(known.mirror).unwrap().unwrap().name);
        if !mirror.disk.lock().unwrap().held(text(&known.path), &hash) {
            return Err("invariant 6: completed, and the file never held this".to_owned());
        }
        Ok(())
    }
}

/// Invariant 16: no operation is called faster than its pacer allows, whatever happens. `begins`: when processes began,
/// each with a burst of its own.
pub fn storms(requests: &[LoggedRequest], per_second: usize, burst: usize, begins: &[i64]) -> Vec<String> {
    const WINDOW_MS: i64 = 20_000;
    let mut by_op: BTreeMap<Op, Vec<i64>> = BTreeMap::new();
    for request in requests.iter().filter(|request| !matches!(request.op, Op::PutObject | Op::GetObject)) {
        by_op.entry(request.op).or_default().push(request.at.0);
    }
    let mut broken = Vec::new();
    for (op, mut times) in by_op {
        times.sort_unstable();
        for (at, time) in times.iter().enumerate() {
            let window = *time..*time + WINDOW_MS;
            let begun = begins.iter().filter(|begin| window.contains(begin)).count();
            let most = per_second * 20 + burst * (1 + begun) + 2;
            if times.get(at + most).is_some_and(|later| window.contains(later)) {
                broken.push(format!("invariant 16: more than {most} calls of {op:?} within 20 s from {time} on"));
                break;
            }
        }
    }
    broken
}
