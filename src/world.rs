//! What the tasks share: the journal, the client, the mirrors, the weather, and the bells between them.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, OnceCell, mpsc};

use crate::aws::{Client, Failure, Next};
use crate::config;
use crate::core::model::{Attachment, EventKind, Hold, HoldCode, MirrorId};
use crate::core::plan::{Rules, Target};
use crate::crash::{self, Point};
use crate::host;
use crate::journal::{Journal, JournalError, NewEvent};
use crate::passes::Passes;
use crate::tags;
use crate::types::{FileId, RelPath, UnixMillis};
use crate::watch::Bell;
use crate::weather::Weather;

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
    hold: Mutex<Option<Hold>>,
}

impl Mirror {
    /// A mirror with the hold that the journal holds for it.
    pub fn new(id: MirrorId, config: config::Mirror, domain: Option<String>, hold: Option<Hold>) -> Self {
        Self {
            id,
            config,
            domain: domain.map_or_else(OnceCell::new, |arn| OnceCell::new_with(Some(arn))),
            bell: Bell::default(),
            passes: Passes::default(),
            hold: Mutex::new(hold),
        }
    }

    /// Where the attachment of `path` belongs.
    ///
    /// # Errors
    /// Why no case can be told, in words.
    pub fn route(&self, path: &RelPath) -> Result<Target, String> {
        let case = self.config.routing.route(path, self.domain.get().map(String::as_str))?;
        Ok(Target { case, name: self.config.naming.attachment_name(path).name })
    }

    /// The policy's part in decisions about one file.
    pub fn rules(&self) -> Rules {
        Rules {
            propagate_deletes: self.config.delete == config::DeletePolicy::Propagate,
            delete_grace: self.config.delete_grace,
        }
    }

    /// The hold in force.
    pub fn hold(&self) -> Option<Hold> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The hold in force, by its code.
    pub fn hold_code(&self) -> Option<HoldCode> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|hold| hold.code)
    }

    /// Puts a hold in force, or ends it: journaled with an event, logged once. The same code again only keeps it.
    ///
    /// # Errors
    /// The journal's.
    pub async fn set_hold(&self, journal: &Journal, hold: Option<(HoldCode, String)>) -> Result<(), JournalError> {
        let before = self.hold();
        if before.as_ref().map(|h| h.code) == hold.as_ref().map(|(code, _)| *code) {
            return Ok(());
        }
        // Only a person ends it: a passing fault that took its place would end by itself, and with it the hold.
        let by_person =
            before.as_ref().is_some_and(|h| matches!(h.code, HoldCode::JournalRebuilt | HoldCode::AllChanged));
        if by_person && hold.is_some() {
            return Ok(());
        }
        let now = UnixMillis::now();
        let next = hold.map(|(code, detail)| Hold { code, detail, since: now });
        let name = &self.config.name;
        match (&next, &before) {
            (Some(hold), _) => {
                tracing::warn!(mirror = %name, hold = %hold.code, "held: {}. {}", hold.detail, hold.code.remedy());
            }
            (None, Some(hold)) => {
                tracing::info!(mirror = %name, hold = %hold.code, "the hold has ended: its cause is gone")
            }
            (None, None) => {}
        }
        let (id, written, ended) = (self.id, next.clone(), before.map(|hold| hold.code));
        crash::at(Point::HoldBefore);
        journal
            .write(move |tx| {
                tx.set_hold(id, written.as_ref())?;
                let (kind, detail) = match &written {
                    Some(hold) => (EventKind::Held, serde_json::json!({ "hold": hold.code, "text": hold.detail })),
                    None => (EventKind::Released, serde_json::json!({ "text": "its cause is gone", "hold": ended })),
                };
                tx.add_event(&NewEvent { mirror: id, path: None, attachment: None, kind, detail }, now).map(drop)
            })
            .await?;
        crash::at(Point::HoldAfter);
        *self.hold.lock().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// Takes over what was changed in the journal by hand.
    pub fn adopt_hold(&self, hold: Option<Hold>) {
        *self.hold.lock().unwrap_or_else(PoisonError::into_inner) = hold;
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
    /// Attempts on their way to the follow-up: more than it can ask about in one round, so that it never starves.
    pub follow: mpsc::Sender<Attachment>,
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

    /// A write to the journal failed: nothing new is begun for a while, what is known is kept (LESSONS L61).
    pub fn journal_trouble(&self, error: &JournalError) {
        self.weather.journal(error);
    }

    /// A path for the log: itself, or a hash of it where names are to stay out of logs.
    pub fn show(&self, path: &RelPath) -> String {
        if self.hide_names { tags::hidden(path) } else { path.to_string() }
    }
}
