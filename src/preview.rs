//! What `sync` would do and why, by the same look and the same planner, on read-only connections: not a byte
//! changes anywhere (invariant 21). Files are read as if they had settled.

mod references;

use std::ops::ControlFlow;

use crate::config::Config;
use crate::core::absence::{Beginning, Deletes};
use crate::core::model::{
    AttachmentId, FileRow, HandoverKind, Hold, HoldCode, MirrorId, ParkCode, Stage, Stat, Verdict,
};
use crate::core::plan::{self, Seen, Step};
use crate::core::routing::{Unrouted, UnroutedReason};
use crate::core::sidecar::Beside;
use crate::fatal::Fatal;
use crate::handover;
use crate::journal::{AbsenceLook, JournalError, Reader};
use crate::observe::{self, Observation, ObserveError};
use crate::record;
use crate::run::lookup_domain;
use crate::scan::{self, Root};
use crate::types::{CaseArn, RelPath, UnixMillis};
use crate::world::{Mirror, Routed};
use references::LookedUp;

/// One thing that a pass would do or say.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Planned {
    pub mirror: String,
    pub path: RelPath,
    /// `upload`, `replace`, `move`, `delete`, `finish`, `archive`, `remove`, `quarantine` are work; `wait`, `park`, `ignore`, `unroute`, `forget`,
    /// `keep`, `hold` are not.
    pub action: &'static str,
    pub why: String,
    pub case: Option<CaseArn>,
    pub name: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
}

/// Plans for every mirror. References that the journal does not know are looked up, and forgotten again.
///
/// # Errors
/// The configuration's folders, the journal, or a Cases domain that has to be asked for.
pub async fn preview(config: &Config) -> Result<Vec<Planned>, Fatal> {
    let domain = lookup_domain(config).await?;
    let (of, within) = (config.clone(), domain.clone());
    let wanted = blocking(move || {
        let reader = reader(&of)?;
        Ok(references::open(&mirrors(&of, &reader, within.as_ref())?, &reader)?)
    });
    let wanted = wanted.await?;
    let looked_up = references::ask(config, domain.as_deref().unwrap_or_default(), wanted).await?;
    let config = config.clone();
    let planned = blocking(move || {
        let reader = reader(&config)?;
        let mut planned = Vec::new();
        for mirror in mirrors(&config, &reader, domain.as_ref())? {
            let identity = reader.mirror(mirror.id)?.and_then(|row| row.identity);
            mirror.set_moves_left(!reader.open_handovers(mirror.id, None, 1)?.is_empty());
            one(&mirror, &reader, &looked_up, identity, &mut planned)?;
        }
        Ok(planned)
    });
    planned.await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Fatal> + Send + 'static) -> Result<T, Fatal> {
    crate::host::blocking(work).await.map_err(|error| Fatal::temporary(error.to_string()))?
}

fn reader(config: &Config) -> Result<Reader, Fatal> {
    Ok(match Reader::open(&config.journal_path) {
        Err(JournalError::Missing { .. }) => Reader::empty()?,
        other => other?,
    })
}

fn mirrors(config: &Config, reader: &Reader, domain: Option<&String>) -> Result<Vec<Mirror>, Fatal> {
    let known = config.mirrors.iter().map(|mirror| {
        let row = reader.mirror_by_name(&mirror.name)?;
        // A mirror that the journal does not know yet has no rows under any id.
        let id = row.as_ref().map_or(MirrorId(-1), |row| row.id);
        Ok(Mirror::new(id, mirror.clone(), domain.cloned(), row.map(|row| row.holds).unwrap_or_default()))
    });
    known.collect()
}

/// Where a file belongs, by the journal and by what was looked up for this plan.
fn route(
    mirror: &Mirror,
    reader: &Reader,
    looked_up: &LookedUp,
    path: &RelPath,
    beside: &Beside,
) -> Result<Result<Routed, Unrouted>, JournalError> {
    mirror.route_with(path, beside, &|reference| match looked_up.get(&reference.key()) {
        Some(known) => Ok(Some(known.clone())),
        None => reader.case_ref(mirror.id, reference),
    })
}

fn one(
    mirror: &Mirror,
    reader: &Reader,
    looked_up: &LookedUp,
    identity: Option<crate::core::model::RootIdentity>,
    planned: &mut Vec<Planned>,
) -> Result<(), Fatal> {
    let opened = scan::open_root(&mirror.config.path);
    let mut say = Say { mirror, reader, looked_up, root: opened.as_ref().ok(), planned };
    pending(reader, &mut say)?;
    let root = match &opened {
        Ok(root) => root,
        Err(fault) => {
            say.held(format!("{}: {fault}; nothing is uploaded or deleted", mirror.config.path.display()));
            return Ok(());
        }
    };
    if !observe::is_same_folder(root, identity, mirror, reader)? {
        say.held("another folder or disk stands at the mirror's path; nothing is uploaded or deleted".to_owned());
        return Ok(());
    }
    let mut failed = None;
    let mut changed = 0;
    let pass = observe::pass(root, mirror, reader, None, &|| {}, &mut |seen| match decide(
        root, mirror, reader, looked_up, seen,
    ) {
        Ok((observation, step)) => {
            changed += u64::from(matches!(step, Step::Queue { why: plan::QueueWhy::Changed, .. }));
            say.step(&observation.path, &step);
            ControlFlow::Continue(())
        }
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    let pass = match pass {
        Ok(pass) => pass,
        Err(ObserveError::Root(fault)) => {
            say.held(format!("{}: {fault}; nothing is uploaded or deleted", mirror.config.path.display()));
            return Ok(());
        }
        Err(ObserveError::Journal(error)) => return Err(error.into()),
    };
    for hold in mirror.holds() {
        say.held(format!("{}: {}", hold.code, hold.detail));
    }
    for (folder, error) in &pass.unlisted {
        say.add(folder, "hold", format!("cannot be listed, nothing below it is touched: {error}"), None);
    }
    for (file, error) in &pass.unknown {
        say.add(file, "hold", format!("cannot be looked at, it is not touched: {error}"), None);
    }
    let tracked = reader.older_present(mirror.id, UnixMillis(i64::MAX))?;
    let released = reader.mirror(mirror.id)?.is_some_and(|row| row.changes_released);
    if plan::weigh_changes(tracked, 0, changed) == plan::Changes::All && !released {
        say.held(format!("{changed} of {tracked} attached files have new content; nothing is uploaded or deleted"));
    }
    absences(root, mirror, reader, &pass, &mut say)?;
    Ok(())
}

/// Deletes, weighed as the daemon weighs them.
fn absences(
    root: &Root,
    mirror: &Mirror,
    reader: &Reader,
    pass: &observe::Pass,
    say: &mut Say<'_>,
) -> Result<(), JournalError> {
    let (id, now) = (mirror.id, UnixMillis::now());
    let (mut due, mut beginning) = (Vec::new(), Vec::new());
    for path in &pass.absent {
        if called_back(reader, mirror, path)?.is_some() {
            continue;
        }
        let observation = Observation::absent(path.clone(), &mirror.config.scope);
        match decide(root, mirror, reader, say.looked_up, observation)? {
            (observation, Step::DeleteDue) => due.push(observation.path),
            (observation, step) => {
                if matches!(step, Step::BeginGrace { .. }) {
                    beginning.extend(begins(reader, mirror, path)?);
                }
                say.step(&observation.path, &step);
            }
        }
    }
    if !mirror.rules().propagate_deletes {
        return Ok(());
    }
    // As after the graces that a pass would begin now.
    let gaps: Vec<RelPath> = pass.gaps().cloned().collect();
    let look = AbsenceLook { grace: mirror.config.delete_grace, gaps: &gaps, beginning: &beginning, now };
    let weighed = reader.at_one_moment(|view| view.absences(id, &look))?;
    let budget = mirror.config.delete_budget;
    if let Some(text) = weighed.emptied().filter(|_| !mirror.is_held_by(HoldCode::RootEmptied)) {
        say.held(format!("{text}; nothing is deleted"));
        return Ok(());
    }
    // Said already. Those of the root end where its listing got this far.
    let stays = |hold: &Hold| match hold.code {
        HoldCode::RootEmptied => !weighed.all_back(),
        HoldCode::DeleteBudget => !weighed.fits_again(&budget),
        code => code.stops_deletes() && !code.is_of_the_root(),
    };
    if mirror.holds().iter().any(stays) {
        return Ok(());
    }
    if weighed.may_be_emptied() {
        say.held("what is gone may be more than what could be listed; nothing is deleted".to_owned());
        return Ok(());
    }
    match weighed.allow(due.len() as u64, &budget) {
        Deletes::Hold(text) => say.held(format!("{text}; nothing is deleted")),
        Deletes::Go => {
            for path in &due {
                say.add(path, "delete", "absent for the whole grace".to_owned(), None);
            }
        }
    }
    Ok(())
}

/// A file whose grace would begin now. None of one whose grace begins again: it is counted as gone already.
fn begins(reader: &Reader, mirror: &Mirror, path: &RelPath) -> Result<Option<Beginning>, JournalError> {
    let Some(row) = reader.file(mirror.id, path)? else { return Ok(None) };
    if row.verdict == Verdict::Deleting && row.absent_since.is_some() {
        return Ok(None);
    }
    let all = reader.attachments_of(mirror.id, path)?;
    let is_visible = all.iter().any(|a| a.stage == Stage::Approved);
    Ok(Some(Beginning { is_visible, seen_at: row.absent_since.is_none().then_some(row.seen_at) }))
}

/// Decides as the daemon would once the file has settled.
fn decide(
    root: &Root,
    mirror: &Mirror,
    reader: &Reader,
    looked_up: &LookedUp,
    mut observation: Observation,
) -> Result<(Observation, Step), JournalError> {
    let now = UnixMillis::now();
    let target = match &observation.seen {
        Seen::Present(..) => {
            route(mirror, reader, looked_up, &observation.path, &observation.beside)?.map(|routed| routed.target)
        }
        Seen::Absent | Seen::AbsentOutOfScope(_) | Seen::OutOfScope(_) => Err(Unrouted::new(UnroutedReason::NoMatch)),
    };
    let target = target.as_ref();
    for _ in 0..3 {
        let known = record::known(reader, mirror.id, &observation.path, &observation.seen, mirror.rules())?;
        let step = plan::decide(&observation.seen, target, &known, mirror.rules(), now);
        let (Step::Settle { stat, .. } | Step::Arrive { stat }) = &step else { return Ok((observation, step)) };
        let stat: Stat = *stat;
        match observe::read_whole(root, &mirror.config.scope, &observation.path, &stat, &|| false) {
            Some(seen) => observation.seen = seen,
            None => return Ok((observation, step)),
        }
    }
    Ok((observation, Step::Nothing))
}

/// What earlier passes left to do.
fn pending(reader: &Reader, say: &mut Say<'_>) -> Result<(), JournalError> {
    const PAGE: usize = 1000;
    let id = say.mirror.id;
    let policy = say.mirror.handover_policy();
    for one in handover::pending(reader, id, policy.as_ref(), UnixMillis::now(), usize::MAX)? {
        let (action, why) = match one.kind {
            HandoverKind::Archive => ("archive", "delivered, agents can see it"),
            HandoverKind::Delete => ("remove", "delivered, agents can see it"),
            HandoverKind::Quarantine => ("quarantine", "refused"),
        };
        say.add(&one.path, action, why.to_owned(), Some(one.size));
    }
    for word in ["queued", "uploading", "scanning"] {
        let mut after: Option<RelPath> = None;
        loop {
            let page = reader.files_with(id, word, after.as_ref(), PAGE)?;
            for row in &page {
                let (action, why) = match row.verdict {
                    Verdict::Queued => ("upload", "queued by an earlier pass"),
                    Verdict::Uploading => ("finish", "its upload was cut short"),
                    _ => ("finish", "waits for the end of the scan"),
                };
                let why = row.note.clone().unwrap_or_else(|| why.to_owned());
                say.add(&row.path, action, why, Some(row.stat.size));
            }
            let Some(last) = page.last().filter(|_| page.len() == PAGE) else { break };
            after = Some(last.path.clone());
        }
    }
    for attachment in reader.attachments_in_stage(Stage::Deleting, None, usize::MAX)? {
        if attachment.mirror == id {
            let reason = attachment.reason.as_deref().unwrap_or_default();
            let kept = called_back(reader, say.mirror, &attachment.path)?;
            let action = if kept == Some(attachment.id) { "keep" } else { "finish" };
            say.add(&attachment.path, action, format!("announced delete ({reason})"), None);
        }
    }
    Ok(())
}

/// The attachment of the path whose announced delete a start of the daemon with a policy that keeps would call back.
fn called_back(reader: &Reader, mirror: &Mirror, path: &RelPath) -> Result<Option<AttachmentId>, JournalError> {
    let announced = |row: FileRow| row.verdict == Verdict::Deleting;
    if mirror.rules().propagate_deletes || !reader.file(mirror.id, path)?.is_some_and(announced) {
        return Ok(None);
    }
    let all = reader.attachments_of(mirror.id, path)?;
    Ok(record::recallable(reader, &all)?.map(|last| last.id))
}

struct Say<'a> {
    mirror: &'a Mirror,
    reader: &'a Reader,
    looked_up: &'a LookedUp,
    root: Option<&'a Root>,
    planned: &'a mut Vec<Planned>,
}

impl Say<'_> {
    fn target(&self, path: &RelPath) -> Option<plan::Target> {
        let beside = self.root.map(|root| observe::sidecar(root, &self.mirror.config, path).0).unwrap_or_default();
        let routed = route(self.mirror, self.reader, self.looked_up, path, &beside).ok().and_then(Result::ok);
        routed.map(|routed| routed.target)
    }

    fn add(&mut self, path: &RelPath, action: &'static str, why: String, size: Option<u64>) {
        let target = self.target(path);
        let (case, name) = target.map_or((None, None), |target| (Some(target.case), Some(target.name)));
        let mirror = self.mirror.config.name.clone();
        self.planned.push(Planned { mirror, path: path.clone(), action, why, case, name, size });
    }

    /// Why the file would be parked before a call, by what the journal knows of instance and case.
    fn refused(&self, path: &RelPath, size: u64) -> Option<(ParkCode, String)> {
        let target = self.target(path)?;
        let limits = self.reader.files_config().ok().flatten().map(|(limits, _)| limits);
        // How large the result of a conversion will be is not known yet.
        let bytes = if self.mirror.config.conversion(path).is_some() { 1 } else { size };
        if let Some(refusal) = limits.and_then(|limits| limits.refuse(&target.name, bytes)) {
            return Some((refusal.code, refusal.note));
        }
        let full = self.reader.full_case(&target.case).ok().flatten()?;
        (full.next_probe > UnixMillis::now()).then(|| (ParkCode::CaseFull, full.note()))
    }

    /// The mirror as a whole is held; shown at its root.
    fn held(&mut self, why: String) {
        if let Some(path) = RelPath::new(&b"*"[..]) {
            self.add(&path, "hold", why, None);
        }
    }

    fn step(&mut self, path: &RelPath, step: &Step) {
        match step {
            Step::Nothing | Step::Refresh { .. } => {}
            Step::Settle { stat, .. } => self.add(path, "wait", "still changing or busy".into(), Some(stat.size)),
            Step::Wait { stat, note } => self.add(path, "wait", note.clone(), Some(stat.size)),
            Step::Arrive { stat } => self.add(path, "upload", "another file at the path".into(), Some(stat.size)),
            Step::Missing | Step::Depart => {
                self.add(path, "keep", "gone here before its hand-over; kept at Connect".into(), None);
            }
            Step::Queue { stat, .. } if self.refused(path, stat.size).is_some() => {
                let (code, note) = self.refused(path, stat.size).unwrap_or((ParkCode::Refused, String::new()));
                self.add(path, "park", format!("{code}: {note}"), Some(stat.size));
            }
            Step::Queue { stat, why: plan::QueueWhy::New, .. } => {
                self.add(path, "upload", "new".into(), Some(stat.size))
            }
            Step::Queue { stat, why: plan::QueueWhy::Changed, .. } => {
                self.add(path, "replace", "changed".into(), Some(stat.size));
            }
            Step::Move { stat, from, same_target: true, .. } => {
                self.add(path, "move", format!("moved from {from}; no call needed"), Some(stat.size));
            }
            Step::Move { stat, from, .. } => {
                self.add(path, "replace", format!("moved from {from}"), Some(stat.size));
            }
            Step::Park { stat, code, note, .. } => {
                let why = format!("{code}: {}", note.as_deref().unwrap_or(code.remedy()));
                self.add(path, "park", why, Some(stat.size));
            }
            Step::Ignore { rule } => self.add(path, "ignore", rule.clone(), None),
            Step::Unroute { stat, why, .. } => {
                let note = why.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
                self.add(path, "unroute", format!("{}{note}", why.reason), Some(stat.size));
            }
            Step::BeginGrace { delete_after } => {
                self.add(path, "wait", format!("gone here; deleted at Connect after {delete_after}"), None);
            }
            Step::Keep => self.add(path, "keep", "gone here; kept at Connect".into(), None),
            Step::Forget => self.add(path, "forget", "gone before it was attached".into(), None),
            Step::DeleteDue => self.add(path, "delete", "absent for the whole grace".into(), None),
        }
    }
}
