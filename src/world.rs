//! What the tasks share: the journal, the client, the mirrors, the weather, and the bells between them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, OnceCell, Semaphore, mpsc};

use crate::aws::{Client, Failure, Next};
use crate::config;
use crate::core::handover;
use crate::core::model::{Attachment, EventKind, Extras, Hold, HoldCode, MirrorId};
use crate::core::plan::{self, Rules, Target};
use crate::core::preflight::Limits;
use crate::core::reference::{self, CaseRef, Reference};
use crate::core::routing::{Named, Unrouted, UnroutedReason};
use crate::core::sidecar::{Beside, MAX_TAGS};
use crate::crash::{self, Point};
use crate::deliver::Cases;
use crate::host;
use crate::journal::{Journal, JournalError, NewEvent, View};
use crate::passes::Passes;
use crate::tags;
use crate::types::{FileId, RelPath, UnixMillis};
use crate::watch::Bell;
use crate::weather::Weather;

/// Files of one mirror that are opened at the same time.
const MOST_OPENING: usize = 4;
/// Where a file's attachment belongs, and what its start call carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    pub target: Target,
    pub extras: Extras,
}

/// One mirror at work.
#[derive(Debug)]
pub struct Mirror {
    pub id: MirrorId,
    pub config: config::Mirror,
    /// ARN of the Cases domain; filled in before the first look when the routing needs it.
    pub domain: OnceCell<String>,
    /// Rung by the watcher, by delivery when a file is not what was planned, and by hand.
    pub bell: Bell,
    /// Numbers of the full passes, for who waits for one.
    pub passes: Passes,
    /// The one to show first at the front.
    holds: Mutex<Vec<Hold>>,
    /// Nearly all files changed by `stat`, and whether their content did is being found out.
    suspect: AtomicBool,
    /// Rung when a file may be ready for its hand-over.
    pub handover: Notify,
    /// Hand-overs of an earlier configuration may still be open.
    moves_left: AtomicBool,
    handover_fault: Mutex<Option<String>>,
    /// Turns at opening files for upload: a few threads are enough for any number of uploads, and a folder that hangs
    /// holds no more than these.
    pub opening: Semaphore,
    /// Cases that are asked for what the mirror attached before the journal began.
    pub cases: Cases,
}

impl Mirror {
    /// A mirror with the holds that the journal has for it.
    pub fn new(id: MirrorId, config: config::Mirror, domain: Option<String>, holds: Vec<Hold>) -> Self {
        Self {
            id,
            config,
            domain: domain.map_or_else(OnceCell::new, |arn| OnceCell::new_with(Some(arn))),
            bell: Bell::default(),
            passes: Passes::default(),
            holds: Mutex::new(holds),
            suspect: AtomicBool::new(false),
            handover: Notify::new(),
            moves_left: AtomicBool::new(false),
            handover_fault: Mutex::default(),
            opening: Semaphore::new(MOST_OPENING),
            cases: Cases::default(),
        }
    }

    /// Where the attachment of `path` belongs, as the journal knows its reference; the inner error is why no case can
    /// be told.
    ///
    /// # Errors
    /// The journal's.
    pub fn route(
        &self,
        view: &View,
        path: &RelPath,
        beside: &Beside,
    ) -> Result<Result<Routed, Unrouted>, JournalError> {
        self.route_with(path, beside, &|reference| view.case_ref(self.id, reference))
    }

    /// The same with another memory of references.
    ///
    /// # Errors
    /// Those of `known`.
    pub fn route_with(
        &self,
        path: &RelPath,
        beside: &Beside,
        known: &dyn Fn(&Reference) -> Result<Option<CaseRef>, JournalError>,
    ) -> Result<Result<Routed, Unrouted>, JournalError> {
        let domain = self.domain.get().map(String::as_str);
        let case = match self.config.routing.name(path, beside, domain) {
            Err(why) => return Ok(Err(why)),
            Ok(Named::Case(case)) => case,
            Ok(Named::Reference(reference)) => {
                let found = known(&reference)?.filter(|known| domain.is_none_or(|domain| known.domain == domain));
                let unknown = || match domain {
                    Some(_) => Err(reference::pending(&reference, None)),
                    None => Err(Unrouted::new(UnroutedReason::DomainUnknown)),
                };
                match found.map_or_else(unknown, |known| known.resolved()) {
                    Err(why) => return Ok(Err(why)),
                    Ok(case) => case,
                }
            }
        };
        let mut name = self.config.naming.attachment_name(path).name;
        let mut tags = self.config.tags.clone();
        if let Beside::Sidecar(sidecar) = beside {
            tags.extend(sidecar.tags.clone());
            name = sidecar.file_name.clone().unwrap_or(name);
            if tags.len() > MAX_TAGS {
                let text = format!("{} tags with those of the mirror; allowed are {MAX_TAGS}", tags.len());
                return Ok(Err(Unrouted::new(UnroutedReason::BadSidecar).note(text)));
            }
        }
        if let Some((convert, _)) = self.config.conversion(path) {
            name = convert.rule.renamed(&name);
        }
        let extras = Extras { tags, created_by: self.config.created_by.clone() };
        Ok(Ok(Routed { target: Target { case, name }, extras }))
    }

    /// The reference that names the case of `path`, if one does.
    pub fn reference_of(&self, path: &RelPath, beside: &Beside) -> Option<Reference> {
        match self.config.routing.name(path, beside, self.domain.get().map(String::as_str)) {
            Ok(Named::Reference(reference)) => Some(reference),
            Ok(Named::Case(_)) | Err(_) => None,
        }
    }

    /// The policy's part in decisions about one file.
    pub fn rules(&self) -> Rules {
        Rules {
            propagate_deletes: self.config.delete == config::DeletePolicy::Propagate,
            ingest: self.config.ingest.is_some(),
            moves: self.config.ingest.is_some() || self.moves_left.load(Ordering::Acquire),
            delete_grace: self.config.delete_grace,
        }
    }

    /// What becomes of files that it is done with; `None` where they stay.
    pub fn handover_policy(&self) -> Option<handover::Policy> {
        let ingest = self.config.ingest.as_ref()?;
        Some(handover::Policy {
            after: ingest.after,
            quarantine: ingest.quarantine.is_some(),
            settle: self.config.settle,
        })
    }

    /// The fault that keeps every hand-over of the mirror waiting, for now.
    pub fn handover_fault(&self) -> Option<String> {
        self.handover_fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells others of such a fault, or of its end.
    pub fn set_handover_fault(&self, fault: Option<String>) {
        *self.handover_fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Says whether hand-overs that an earlier configuration announced are still open.
    pub fn set_moves_left(&self, left: bool) {
        self.moves_left.store(left, Ordering::Release);
    }

    /// The holds in force, the one to show first at the front.
    pub fn holds(&self) -> Vec<Hold> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether this hold is in force.
    pub fn is_held_by(&self, code: HoldCode) -> bool {
        self.any_hold(|held| held == code)
    }

    /// Whether a hold of which `which` is true is in force.
    pub fn any_hold(&self, which: impl Fn(HoldCode) -> bool) -> bool {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|hold| which(hold.code))
    }

    /// Whether nothing may be uploaded at present: by a hold, or until it is known whether nearly all files changed.
    pub fn stops_uploads(&self) -> bool {
        self.suspect.load(Ordering::Acquire) || self.any_hold(HoldCode::stops_uploads)
    }

    /// Whether any hold is in force: deletes that follow from an absence wait.
    pub fn stops_deletes(&self) -> bool {
        self.any_hold(HoldCode::stops_deletes)
    }

    /// Whether a hold keeps this attachment from being deleted: any hold, what is to go because its file is gone;
    /// `all-changed`, also what is to go because new content took its place, for the old may be wanted back. The
    /// clean-up of our own attempts goes on.
    pub fn holds_back(&self, attachment: &Attachment) -> bool {
        match attachment.reason.as_deref() {
            Some(plan::ABSENT) => self.stops_deletes(),
            Some(plan::REPLACED) => self.is_held_by(HoldCode::AllChanged),
            _ => false,
        }
    }

    /// Uploads wait until it is known whether nearly all files changed; returns what was so before.
    pub fn set_suspect(&self, suspect: bool) -> bool {
        self.suspect.swap(suspect, Ordering::AcqRel)
    }

    /// Puts a hold in force beside the others: journaled with an event, logged once. Where it is in force already,
    /// only its words are kept up to date.
    ///
    /// # Errors
    /// The journal's.
    pub async fn begin_hold(&self, journal: &Journal, code: HoldCode, detail: String) -> Result<(), JournalError> {
        let known = self.holds().into_iter().find(|hold| hold.code == code);
        if known.as_ref().is_some_and(|known| known.detail == detail) {
            return Ok(());
        }
        let (id, now, is_new) = (self.id, UnixMillis::now(), known.is_none());
        let hold = Hold { code, detail, since: known.map_or(now, |known| known.since) };
        if is_new {
            let name = &self.config.name;
            tracing::warn!(mirror = %name, hold = %code, "held: {}. {}", hold.detail, code.remedy());
        }
        let written = hold.clone();
        crash::at(Point::HoldBefore);
        journal
            .write(move |tx| {
                tx.put_hold(id, &written)?;
                if is_new {
                    let detail = serde_json::json!({ "hold": written.code, "text": written.detail });
                    let kind = EventKind::Held;
                    tx.add_event(&NewEvent { mirror: id, path: None, attachment: None, kind, detail }, now)?;
                }
                Ok(())
            })
            .await?;
        crash::at(Point::HoldAfter);
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        holds.retain(|hold| hold.code != code);
        holds.push(hold);
        Hold::sort(&mut holds);
        Ok(())
    }

    /// Ends a hold whose cause is gone for certain; the others stay. Whether it was in force.
    ///
    /// # Errors
    /// The journal's.
    pub async fn end_hold(&self, journal: &Journal, code: HoldCode) -> Result<bool, JournalError> {
        if !self.is_held_by(code) {
            return Ok(false);
        }
        tracing::info!(mirror = %self.config.name, hold = %code, "the hold has ended: its cause is gone");
        let (id, now) = (self.id, UnixMillis::now());
        crash::at(Point::HoldBefore);
        journal
            .write(move |tx| {
                tx.end_hold(id, code)?;
                let detail = serde_json::json!({ "text": "its cause is gone", "hold": code });
                let kind = EventKind::Released;
                tx.add_event(&NewEvent { mirror: id, path: None, attachment: None, kind, detail }, now).map(drop)
            })
            .await?;
        crash::at(Point::HoldAfter);
        self.holds.lock().unwrap_or_else(PoisonError::into_inner).retain(|hold| hold.code != code);
        Ok(true)
    }

    /// Takes over what was changed in the journal by hand.
    pub fn adopt_holds(&self, holds: Vec<Hold>) {
        *self.holds.lock().unwrap_or_else(PoisonError::into_inner) = holds;
    }
}

/// Everything a task may reach.
pub struct World {
    pub journal: Journal,
    pub aws: Client,
    pub mirrors: Vec<Arc<Mirror>>,
    pub weather: Weather,
    /// Rung when the journal may hold new work for delivery.
    pub work: Notify,
    /// Rung when a loop has run out of work or has looked for the first time: `sync` then asks whether it is over,
    /// `run` whether it is ready.
    pub rest: Notify,
    /// Rung when the journal may hold references to look up.
    pub references: Notify,
    /// What the instance takes; `None` until that was asked for.
    pub limits: Mutex<Option<Arc<Limits>>>,
    /// Rung when the service refused what `limits` let pass.
    pub refused: Notify,
    /// A look-up is under way, or its answer has not reached the mirrors.
    pub looking_up: AtomicBool,
    /// Attempts on their way to the follow-up: more than it can ask about in one round, so that it never starves.
    pub follow: mpsc::Sender<Attachment>,
    /// Where converters work and what they made is kept until it is sent; emptied at every start.
    pub convert_folder: PathBuf,
    /// Slots for uploads.
    pub uploads: usize,
    /// The Cases domain, when only its id is known.
    pub domain_id: Option<String>,
    /// Rung when a person asks for a comparison with Connect.
    pub asked: Notify,
    /// For each API operation.
    pub requests_per_second: f64,
    /// Keep file names out of the log.
    pub hide_names: bool,
}

impl World {
    /// The mirror with this id.
    pub fn mirror(&self, id: MirrorId) -> Option<&Arc<Mirror>> {
        self.mirrors.iter().find(|m| m.id == id)
    }
}

impl World {
    /// Notes a failed call: the weather if it is one of the environment, else one log line.
    pub fn failed_call(&self, failure: &Failure, attachment: &Attachment) {
        if self.weather.note(failure, host::random()) {
            return;
        }
        self.weather.refused(failure);
        let file = self.show(&attachment.path);
        match failure.next {
            Next::Throttled => tracing::debug!(file, "{failure}"),
            Next::Park(_) => {
                tracing::warn!(file, file_id = attachment.file_id.as_ref().map(FileId::as_str), "{failure}")
            }
            _ => tracing::info!(file, file_id = attachment.file_id.as_ref().map(FileId::as_str), "{failure}"),
        }
    }

    /// What the instance takes on cases, as far as it is known.
    pub fn limits(&self) -> Option<Arc<Limits>> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts settings in force.
    pub fn set_limits(&self, limits: Limits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(limits));
    }

    /// A write to the journal failed: nothing new is begun for a while, what is known is kept (LESSONS L61).
    pub fn journal_trouble(&self, error: &JournalError) {
        self.weather.journal(error);
    }

    /// Something changed that a hand-over may follow from.
    pub fn rouse_handover(&self, mirror: MirrorId) {
        if let Some(mirror) = self.mirror(mirror) {
            mirror.handover.notify_one();
        }
    }

    /// A path for the log: itself, or a hash of it where names are to stay out of logs.
    pub fn show(&self, path: &RelPath) -> String {
        if self.hide_names { tags::hidden(path) } else { path.to_string() }
    }
}
