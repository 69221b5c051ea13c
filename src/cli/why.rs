//! `casedrop why PATH`: the whole story of one file.
//!
//! Three sources: what the disk shows now, what the configuration says of the path, what the journal remembers. The
//! first two are always there, so that a path nobody has seen yet gets an answer too: what would happen to it.

use std::ffi::OsString;
use std::path::Path;

use serde::Serialize;

use super::context::{self, Known};
use super::exit::{Ended, Exit, Failed};
use super::out::Out;
use super::paused::{self, Paused};
use super::words::{moment, plain, size};
use super::{log, place};
use crate::config::Config;
use crate::core::model::{
    Attachment, Event, FileRow, Handover, HandoverKind, HandoverState, MirrorId, ParkCode, Stage, Verdict,
};
use crate::core::plan::LARGEST_FILE;
use crate::core::reference::{Candidate, CaseRef, RefState, Reference};
use crate::core::routing::UnroutedReason;
use crate::core::sidecar::{self, Beside};
use crate::journal::{Difference, JournalError, View};
use crate::observe;
use crate::record::whole;
use crate::scan::{Look, open_root};
use crate::types::{CaseArn, RelPath, UnixMillis};
use crate::world::Mirror;

/// The whole story of one file.
///
/// Says which rule and which case apply, what was observed, every attempt with its FileId and request ids, what comes
/// next, and what happened so far. A file that casedrop has not seen gets the answer what would happen to it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casedrop why /srv/claims/letter.pdf
  casedrop why letter.pdf                  relative to this folder or to a mirror's
  casedrop why 'caf\\xe9.pdf'               as casedrop shows names that are no plain text")]
pub struct Args {
    /// The file.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    path: OsString,
    /// The mirror, where several have such a path.
    #[arg(long, value_name = "NAME")]
    mirror: Option<String>,
    /// One JSON object, for scripts.
    #[arg(long)]
    json: bool,
}

/// What the configuration says of the path.
#[derive(Debug, Default, Serialize)]
struct Policy {
    /// The rule that takes it out of scope.
    ignored_by: Option<String>,
    case: Option<CaseArn>,
    /// The reference that names the case, and what it was found to mean.
    reference: Option<CaseRefShown>,
    /// Why no case can be told: a stable word, and what was found.
    unrouted: Option<&'static str>,
    unrouted_note: Option<String>,
    /// `read`, or why the sidecar cannot be used; absent without one.
    sidecar: Option<String>,
    name: Option<String>,
    /// Why the attachment's name is not simply the path.
    name_mapped: Option<String>,
}

/// What the journal knows of a reference.
#[derive(Debug, Serialize)]
struct CaseRefShown {
    reference: String,
    state: &'static str,
    candidates: Vec<Candidate>,
    /// How many cases have it.
    total: u64,
    looked_at: Option<String>,
    next_look: Option<String>,
    error: Option<String>,
    #[serde(skip)]
    next: Option<UnixMillis>,
}

pub fn run(args: &Args, config: Option<&Path>, out: &mut Out) -> Ended {
    let config = context::config(config)?;
    let current = super::current_dir()?;
    let (found, journal_exists) = context::ask(&config, |view| {
        let mirrors = match context::only(context::mirrors(&config, view)?, args.mirror.as_deref()) {
            Ok(mirrors) => mirrors,
            Err(failed) => return Ok(Err(failed)),
        };
        let known = |mirror: &Known, path: &RelPath| {
            mirror.id.is_some_and(|id| {
                view.file(id, path).is_ok_and(|row| row.is_some())
                    || view.attachments_ever(id, path).is_ok_and(|list| !list.is_empty())
                    || view.handovers_of(id, path).is_ok_and(|list| !list.is_empty())
            })
        };
        let (at, path) = match place::find(&args.path, &current, &mirrors, &known) {
            Ok(found) => found,
            Err(failed) => return Ok(Err(failed)),
        };
        let Some(mirror) = mirrors.into_iter().nth(at) else {
            return Ok(Err(Failed::usage("there is no such mirror")));
        };
        let mut story = Story {
            mirror,
            path,
            row: None,
            attachments: vec![],
            handovers: vec![],
            differences: vec![],
            events: vec![],
            paused: None,
        };
        if let Some(id) = story.mirror.id {
            story.row = view.file(id, &story.path)?;
            story.attachments = view.attachments_ever(id, &story.path)?;
            story.handovers = view.handovers_of(id, &story.path)?;
            story.differences = view.differences_of(id, &story.path)?;
            story.events = view.history_of(id, &story.path)?;
        }
        Ok(Ok(story))
    })?;
    let mut story = found?;
    story.paused = context::daemon(&config.journal_path).and_then(|_| paused::ask(&config.journal_path));
    let look = match open_root(&story.mirror.root) {
        Ok(root) => root.stat(&story.path),
        Err(fault) => Look::Unknown(format!("the mirror's folder: {fault}")),
    };
    let beside = match (open_root(&story.mirror.root), of(&config, &story)) {
        (Ok(root), Some(mirror)) => observe::sidecar(&root, &mirror.config, &story.path).0,
        (Err(_), _) | (_, None) => Beside::Nothing,
    };
    let (policy, _) =
        context::ask(&config, |view| policy(&config, view, &story, &beside, matches!(look, Look::Folder)))?;
    let now = UnixMillis::now();
    if args.json {
        out.pretty(&story.json(&look, &policy))?;
    } else {
        story.show(&look, &policy, journal_exists, now, out)?;
    }
    Ok(Exit::Done)
}

struct Story {
    mirror: Known,
    path: RelPath,
    row: Option<FileRow>,
    /// Also those of files that stood at the path before.
    attachments: Vec<Attachment>,
    /// What the last comparison with Connect found.
    differences: Vec<Difference>,
    handovers: Vec<Handover>,
    events: Vec<Event>,
    /// What keeps the daemon from making calls at present; `None` when none told.
    paused: Option<Vec<Paused>>,
}

/// The mirror as a daemon would have it; `None` when it is no longer configured.
fn of(config: &Config, story: &Story) -> Option<Mirror> {
    let id = story.mirror.id.unwrap_or(MirrorId(-1));
    Some(Mirror::new(id, story.mirror.config.clone()?, config.connect.domain_arn(), Vec::new()))
}

fn policy(config: &Config, view: &View, story: &Story, beside: &Beside, is_dir: bool) -> Result<Policy, JournalError> {
    let Some(mirror) = of(config, story) else { return Ok(Policy::default()) };
    let scope = mirror.config.scope.rule(&story.path, is_dir);
    let sidecar = (mirror.config.sidecar && sidecar::is_sidecar(&story.path)).then(|| sidecar::RULE.to_owned());
    let name = mirror.config.naming.attachment_name(&story.path);
    let reference = mirror.reference_of(&story.path, beside);
    let known = reference.as_ref().map(|reference| view.case_ref(mirror.id, reference)).transpose()?.flatten();
    let mut policy = Policy {
        ignored_by: scope.or(sidecar),
        reference: reference.map(|reference| CaseRefShown::new(&reference, known)),
        name_mapped: name.mapped.then(|| why_mapped(&story.path)),
        name: Some(name.name.clone()),
        sidecar: match beside {
            Beside::Nothing => None,
            Beside::Sidecar(_) => Some("read".to_owned()),
            Beside::Bad(why) => Some(why.clone()),
        },
        ..Policy::default()
    };
    match mirror.route(view, &story.path, beside)? {
        Ok(routed) => {
            if matches!(beside, Beside::Sidecar(sidecar) if sidecar.file_name.is_some()) {
                (policy.name_mapped, policy.name) = (Some("the sidecar says so".to_owned()), Some(routed.target.name));
            }
            policy.case = Some(routed.target.case);
        }
        Err(why) => (policy.unrouted, policy.unrouted_note) = (Some(why.reason.as_str()), why.note),
    }
    Ok(policy)
}

impl CaseRefShown {
    fn new(reference: &Reference, known: Option<CaseRef>) -> Self {
        let known = known.as_ref();
        let next = known.and_then(|known| known.next_try);
        Self {
            reference: reference.to_string(),
            state: known.map_or(RefState::Pending, |known| known.state).as_str(),
            candidates: known.map(|known| known.candidates.clone()).unwrap_or_default(),
            total: known.map_or(0, |known| known.total),
            looked_at: known.and_then(|known| known.looked_at).map(|at| at.to_string()),
            next_look: next.map(|at| at.to_string()),
            error: known.and_then(|known| known.error.clone()),
            next,
        }
    }

    fn show(&self, now: UnixMillis, out: &mut Out) -> Result<(), Failed> {
        let looked = self.looked_at.as_ref().map_or("not looked up yet".to_owned(), |at| format!("looked up {at}"));
        let next = self.next.map(|at| format!(", next look {}", moment(at, now))).unwrap_or_default();
        writeln!(out, "  reference {}: {}, {looked}{next}", self.reference, self.state)?;
        if let Some(error) = &self.error {
            writeln!(out, "            the last search failed: {}", plain(error))?;
        }
        for candidate in &self.candidates {
            let state = if candidate.is_closed() { ", closed: Connect may refuse uploads" } else { "" };
            writeln!(out, "            case {}{state}", plain(&candidate.to_string()))?;
        }
        let more = self.total.saturating_sub(self.candidates.len() as u64);
        if more > 0 {
            writeln!(out, "            and {more} more")?;
        }
        Ok(())
    }
}

/// Which rule of naming gave the name a tag (the order of `core::naming`).
fn why_mapped(path: &RelPath) -> String {
    use unicode_normalization::is_nfc;
    let Ok(text) = std::str::from_utf8(path.as_bytes()) else { return "it holds bytes that are not UTF-8".to_owned() };
    let why = if text.chars().any(char::is_control) {
        "it holds control characters"
    } else if !is_nfc(text) {
        "it is not in Unicode's composed form (NFC)"
    } else if text.trim() != text {
        "it begins or ends with white space"
    } else if text.replace('/', " - ").chars().count() > 200 {
        "it is longer than 200 characters"
    } else if text.contains(" - ") {
        "it could be mistaken for a file in a folder, because it holds \" - \""
    } else {
        "it holds characters that Connect refuses, or looks like a name with a tag"
    };
    why.to_owned()
}

/// What the disk shows, in words.
fn on_disk(look: &Look) -> String {
    match look {
        Look::File(stat) => format!("a file of {}", size(stat.size)),
        Look::Folder => "a folder".to_owned(),
        Look::Other(kind) => format!("a {kind}"),
        Look::Absent => "nothing".to_owned(),
        Look::BehindLink => "behind a symbolic link, and links are not followed".to_owned(),
        Look::Unknown(why) => format!("cannot be told: {}", plain(why)),
    }
}

/// What would become of a path that the journal does not know.
fn prospect(look: &Look, policy: &Policy) -> String {
    if let Some(rule) = &policy.ignored_by {
        return format!("it would be ignored: {rule}");
    }
    match look {
        Look::Absent => "there is no such file, here or in the journal".to_owned(),
        Look::Folder => "it is a folder: only the files in it become attachments".to_owned(),
        Look::Other(kind) => format!("it would be ignored: a {kind}, and only regular files are taken"),
        Look::BehindLink => "nothing: it is behind a symbolic link, and links are not followed".to_owned(),
        Look::Unknown(_) => "nothing, until it can be read".to_owned(),
        Look::File(_) if policy.unrouted.is_some() => "it would be shown as unrouted and not uploaded".to_owned(),
        Look::File(stat) if stat.size == 0 => "it would be parked (empty-file)".to_owned(),
        Look::File(stat) if stat.size > LARGEST_FILE => "it would be parked (too-large)".to_owned(),
        Look::File(_) => "it would be uploaded once it has been unchanged for `settle`".to_owned(),
    }
}

fn nanos(ns: i64) -> String {
    UnixMillis(ns / 1_000_000).to_string()
}

impl Story {
    fn show(
        &self,
        look: &Look,
        policy: &Policy,
        journal_exists: bool,
        now: UnixMillis,
        out: &mut Out,
    ) -> Result<(), Failed> {
        writeln!(out, "{}", self.path)?;
        let gone = if self.mirror.config.is_some() { "" } else { " (no longer configured)" };
        writeln!(out, "  mirror    {}{gone}, root {}", self.mirror.name, self.mirror.root.display())?;
        writeln!(out, "  on disk   {}", on_disk(look))?;
        match &policy.ignored_by {
            Some(rule) => writeln!(out, "  scope     ignored: {}", plain(rule))?,
            None if self.mirror.config.is_some() => writeln!(out, "  scope     taken")?,
            None => {}
        }
        if let Some(sidecar) = &policy.sidecar {
            writeln!(out, "  sidecar   {}", plain(sidecar))?;
        }
        match (&policy.case, &policy.unrouted) {
            (Some(case), _) => writeln!(out, "  case      {case}")?,
            (None, Some(why)) => {
                let note = policy.unrouted_note.as_ref().map(|note| format!(": {}", plain(note))).unwrap_or_default();
                writeln!(out, "  case      none, {why}{note}")?;
            }
            (None, None) => {}
        }
        if let Some(reference) = &policy.reference {
            reference.show(now, out)?;
        }
        if let Some(name) = &policy.name {
            writeln!(out, "  name      {name}")?;
        }
        if let Some(why) = &policy.name_mapped {
            writeln!(out, "            mapped, because {why}")?;
        }
        for hold in self.mirror.row.iter().flat_map(|row| &row.holds) {
            writeln!(out, "  HELD      {}: {}. {}", hold.code, plain(&hold.detail), hold.code.remedy())?;
        }
        match &self.row {
            Some(row) => show_row(row, now, out)?,
            None if !journal_exists => writeln!(out, "  verdict   no journal yet; {}", prospect(look, policy))?,
            None if self.handovers.last().is_some_and(|h| h.state == HandoverState::Done) => {
                let h = self.handovers.last();
                let what = h.map_or("", |h| match h.kind {
                    HandoverKind::Archive => "delivered and archived",
                    HandoverKind::Delete => "delivered and removed here",
                    HandoverKind::Quarantine => "refused and moved to quarantine",
                });
                // A file that stands there by now is another one.
                let next = match look {
                    Look::File(_) => format!("; of what stands there now: {}", prospect(look, policy)),
                    Look::Absent | Look::BehindLink | Look::Folder | Look::Other(_) | Look::Unknown(_) => String::new(),
                };
                writeln!(out, "  verdict   {what}{next}")?;
            }
            None if self.attachments.is_empty() => {
                writeln!(out, "  verdict   casedrop has not seen it; {}", prospect(look, policy))?;
            }
            None => writeln!(out, "  verdict   no longer followed; {}", prospect(look, policy))?,
        }
        let waits = match &self.row {
            Some(row) => !matches!(row.verdict, Verdict::Attached | Verdict::Parked(_) | Verdict::Ignored(_)),
            None => matches!(look, Look::File(_)) && policy.ignored_by.is_none(),
        };
        for storm in self.paused.iter().flatten().filter(|_| waits) {
            writeln!(out, "  PAUSED    the daemon is {}", storm.line(now))?;
        }
        for attachment in &self.attachments {
            show_attachment(attachment, now, out)?;
        }
        for handover in &self.handovers {
            show_handover(handover, now, out)?;
        }
        for d in &self.differences {
            writeln!(out, "  differs   {}: {}", d.class.as_str(), plain(&d.text))?;
            writeln!(out, "            found {}; to do: {}", moment(d.found_at, now), d.class.proposal())?;
        }
        if !self.events.is_empty() {
            writeln!(out, "\n  events")?;
            for event in &self.events {
                let text = log::text_of(event, Some(&self.path));
                writeln!(out, "    {}  {:<14}  {text}", event.at, event.kind)?;
            }
        }
        Ok(())
    }

    fn json(&self, look: &Look, policy: &Policy) -> serde_json::Value {
        let verdict = self.row.as_ref().map(|row| {
            let remedy = remedy(&row.verdict);
            serde_json::json!({
                "word": row.verdict.word(), "detail": row.verdict.detail(), "since": row.since.to_string(),
                "note": row.note, "remedy": remedy, "attempt": row.attempt,
                "next_attempt": row.next_attempt.map(|at| at.to_string()),
                "absent_since": row.absent_since.map(|at| at.to_string()),
            })
        });
        let observed = self.row.as_ref().map(|row| {
            serde_json::json!({
                "size": row.stat.size, "mtime": nanos(row.stat.mtime_ns), "inode": row.stat.inode,
                "device": row.stat.dev, "sha256": row.hash.map(|h| h.to_string()), "seen_at": row.seen_at.to_string(),
            })
        });
        let attachments: Vec<_> = self.attachments.iter().map(attachment_json).collect();
        let difference = |d: &Difference| {
            serde_json::json!({
                "class": d.class, "text": d.text, "proposal": d.class.proposal(), "found_at": d.found_at.to_string(),
                "case": d.case, "file_id": d.file_id, "detail": d.detail,
            })
        };
        let differences: Vec<_> = self.differences.iter().map(difference).collect();
        let handovers: Vec<_> = self.handovers.iter().map(handover_json).collect();
        let events: Vec<_> = self.events.iter().map(|event| log::json_of(event, &self.mirror.name)).collect();
        serde_json::json!({
            "mirror": self.mirror.name, "root": self.mirror.root.display().to_string(), "path": self.path,
            "on_disk": on_disk(look), "policy": policy, "verdict": verdict,
            "prospect": self.row.is_none().then(|| prospect(look, policy)),
            "observed": observed, "attachments": attachments, "handovers": handovers, "differences": differences,
            "events": events, "paused": self.paused,
        })
    }
}

/// What to do about a verdict that waits for a person.
fn remedy(verdict: &Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Parked(code) => Some(code.remedy()),
        Verdict::Unrouted(reason) => UnroutedReason::parse(reason).map(UnroutedReason::remedy),
        _ => None,
    }
}

fn show_row(row: &FileRow, now: UnixMillis, out: &mut Out) -> Result<(), Failed> {
    writeln!(out, "  verdict   {} since {}", plain(&row.verdict.to_string()), moment(row.since, now))?;
    if let Some(note) = &row.note {
        writeln!(out, "            {}", plain(note))?;
    }
    if let Some(remedy) = remedy(&row.verdict) {
        writeln!(out, "  to do     {remedy}")?;
    }
    if let Some(at) = row.next_attempt {
        writeln!(out, "  next try  {}", moment(at, now))?;
    }
    if let Some(at) = row.absent_since {
        writeln!(out, "  absent    since {}", moment(at, now))?;
    }
    // What is out of scope is never looked at closely.
    if row.stat.inode != 0 {
        writeln!(out, "  observed  {}, changed {}", size(row.stat.size), nanos(row.stat.mtime_ns))?;
        let hash = row.hash.map_or_else(|| "not read yet".to_owned(), |hash| hash.to_string());
        writeln!(out, "  sha256    {hash}")?;
    }
    writeln!(out, "  seen      first {}", moment(row.seen_at, now))
}

fn show_handover(h: &Handover, now: UnixMillis, out: &mut Out) -> Result<(), Failed> {
    writeln!(out, "\n  hand-over {}: {}, {}", h.id.0, h.kind, h.state)?;
    if let Some((folder, target)) = &h.to {
        writeln!(out, "    to          {}", whole(folder, target))?;
    }
    if let Some(code) = h.code {
        writeln!(out, "    because     {code}")?;
    }
    if let Some(id) = h.attachment {
        writeln!(out, "    proof       attachment {}", id.0)?;
    }
    writeln!(out, "    begun       {}", moment(h.created_at, now))?;
    if let Some(at) = h.ended_at {
        writeln!(out, "    ended       {}", moment(at, now))?;
    }
    if let Some(error) = &h.last_error {
        writeln!(out, "    last error  {} (failed {} times)", plain(error), h.tries)?;
    }
    if let Some(at) = h.next_attempt {
        writeln!(out, "    next try    {}", moment(at, now))?;
    }
    Ok(())
}

fn handover_json(h: &Handover) -> serde_json::Value {
    serde_json::json!({
        "id": h.id.0, "kind": h.kind, "state": h.state, "attachment": h.attachment.map(|id| id.0), "code": h.code,
        "to": h.to.as_ref().map(|(folder, target)| whole(folder, target)), "size": h.stat.size,
        "sha256": h.hash.map(|hash| hash.to_string()), "tries": h.tries, "last_error": h.last_error,
        "created_at": h.created_at.to_string(), "ended_at": h.ended_at.map(|at| at.to_string()),
        "next_attempt": h.next_attempt.map(|at| at.to_string()),
    })
}

fn show_attachment(a: &Attachment, now: UnixMillis, out: &mut Out) -> Result<(), Failed> {
    writeln!(out, "\n  attachment {}: {}, attempt {}", a.id.0, a.stage, a.attempt)?;
    writeln!(out, "    case        {}", a.case)?;
    writeln!(out, "    name        {}", a.name)?;
    match &a.file_id {
        Some(id) => writeln!(out, "    FileId      {id}")?,
        None => writeln!(out, "    FileId      none")?,
    }
    writeln!(out, "    content     {} bytes, sha256 {}", a.version.size, a.version.hash)?;
    if let Some(reason) = reason(a) {
        writeln!(out, "    reason      {}", plain(reason))?;
    }
    if a.moved && a.stage == Stage::Approved {
        writeln!(out, "    moved       its file belongs elsewhere now; replaced there when the file is sent")?;
    }
    for (what, at) in times(a) {
        if let Some(at) = at {
            writeln!(out, "    {what:<10}  {}", moment(at, now))?;
        }
    }
    if let Some(at) = a.unsure_since {
        writeln!(out, "    unsure      since {}: the answer to its start call was lost", moment(at, now))?;
    }
    if let Some(error) = &a.last_error {
        writeln!(out, "    last error  {} (failed calls in this stage: {})", plain(error), a.tries)?;
    }
    if let Some(id) = &a.last_request_id {
        writeln!(out, "    request id  {id}")?;
    }
    if let Some(at) = a.next_attempt {
        writeln!(out, "    next call   {}", moment(at, now))?;
    }
    Ok(())
}

/// Why it is not, or not any more, what agents can see.
fn reason(a: &Attachment) -> Option<&str> {
    a.found_wrong().map(ParkCode::as_str).or(a.reason.as_deref())
}

fn times(a: &Attachment) -> [(&'static str, Option<UnixMillis>); 6] {
    [
        ("created", Some(a.created_at)),
        ("started", a.started_at),
        ("stored", a.stored_at),
        ("completed", a.completed_at),
        ("ended", a.ended_at),
        ("deleted", a.deleted_at),
    ]
}

fn attachment_json(a: &Attachment) -> serde_json::Value {
    let mut value = serde_json::json!({
        "id": a.id.0, "stage": a.stage, "attempt": a.attempt, "case": a.case, "name": a.name, "file_id": a.file_id,
        "size": a.version.size, "sha256": a.version.hash.to_string(), "client_token": a.token, "reason": reason(a),
        "moved": a.moved && a.stage == Stage::Approved,
        "tries": a.tries, "last_error": a.last_error, "last_request_id": a.last_request_id,
        "unsure_since": a.unsure_since.map(|at| at.to_string()),
        "next_attempt": a.next_attempt.map(|at| at.to_string()),
    });
    if let Some(map) = value.as_object_mut() {
        for (what, at) in times(a) {
            map.insert(format!("{what}_at"), at.map(|at| at.to_string()).into());
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::model::Stat;

    #[test]
    fn a_file_not_seen_yet_has_a_prospect() {
        let file = |size| Look::File(Stat { dev: 1, inode: 1, size, mtime_ns: 0, ctime_ns: 0 });
        let with = |look: &Look| prospect(look, &Policy::default());
        assert!(with(&file(1)).contains("would be uploaded"));
        assert!(with(&file(0)).contains("(empty-file)"));
        assert!(with(&file(LARGEST_FILE + 1)).contains("(too-large)"));
        assert!(with(&Look::Absent).contains("no such file"));
        let ignored = Policy { ignored_by: Some("exclude \"x\"".to_owned()), ..Policy::default() };
        assert!(prospect(&file(1), &ignored).contains("ignored: exclude \"x\""));
        let unrouted = Policy { unrouted: Some("no-match"), ..Policy::default() };
        assert!(prospect(&file(1), &unrouted).contains("unrouted"));
    }

    #[test]
    fn the_reason_of_a_mapped_name_is_told() {
        let why = |bytes: &[u8]| why_mapped(&RelPath::new(bytes).unwrap());
        assert!(why(b"caf\xe9").contains("not UTF-8"));
        assert!(why("cafe\u{301}".as_bytes()).contains("composed"));
        assert!(why(b" a").contains("white space"));
        assert!(why(b"a - b").contains("mistaken"));
        assert!(why(&[b'a'; 300]).contains("200"));
    }
}
