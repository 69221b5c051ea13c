//! A comparison of one mirror, case by case, in the order of the cases' ARNs. Where it stands is in the journal, so a
//! stop at any point costs the present case.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use super::Manners;
use super::case::{Asker, Trouble};
use crate::aws::Client;
use crate::core::model::{EventKind, MirrorId};
use crate::core::routing::Named;
use crate::core::routing::Routing;
use crate::core::sidecar::Beside;
use crate::crash::{self, Point};
use crate::journal::{Journal, JournalError, NewEvent, Reader, Tx, Verification};
use crate::record;
use crate::tags;
use crate::types::{CaseArn, RelPath, UnixMillis};
use crate::world::Mirror;

/// How long a case on which everything was deleted is still looked at.
const DELETED_CASES: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stepped {
    /// A case was compared.
    Case,
    /// The last case had been compared: it is over.
    Ended,
    /// None is under way.
    Idle,
}

/// Compares one mirror.
pub struct Verifier {
    journal: Journal,
    aws: Client,
    pub mirror: Arc<Mirror>,
    reader: Mutex<Reader>,
    hide_names: bool,
}

impl Verifier {
    /// # Errors
    /// The journal cannot be read.
    pub fn new(journal: &Journal, aws: &Client, mirror: &Arc<Mirror>, hide_names: bool) -> Result<Self, JournalError> {
        let (reader, journal) = (Mutex::new(journal.reader()?), journal.clone());
        Ok(Self { journal, aws: aws.clone(), mirror: Arc::clone(mirror), reader, hide_names })
    }

    fn read<T>(&self, ask: impl FnOnce(&Reader) -> Result<T, JournalError>) -> Result<T, JournalError> {
        ask(&self.reader.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where it stands.
    pub fn state(&self) -> Result<Option<Verification>, JournalError> {
        self.read(|reader| reader.verification(self.mirror.id))
    }

    /// Notes that the mirror is considered from now on, if that is new.
    pub async fn consider(&self) -> Result<(), JournalError> {
        let id = self.mirror.id;
        self.journal
            .write(move |tx| match tx.verification(id)? {
                Some(_) => Ok(()),
                None => tx.put_verification(id, &Verification { since: UnixMillis::now(), ..Verification::default() }),
            })
            .await
    }

    /// Begins from the first case.
    pub async fn begin(&self, deep: bool, by_hand: bool) -> Result<(), JournalError> {
        let id = self.mirror.id;
        self.journal.write(move |tx| begin(tx, id, deep, by_hand, UnixMillis::now())).await
    }

    /// Writes down what keeps it from going on.
    pub async fn note_trouble(&self, text: String) -> Result<(), JournalError> {
        let id = self.mirror.id;
        self.journal
            .write(move |tx| {
                let Some(mut state) = tx.verification(id)? else { return Ok(()) };
                state.trouble = Some(text);
                tx.put_verification(id, &state)
            })
            .await
    }

    /// The mirror's one case, if it has one.
    fn one_case(&self) -> Option<CaseArn> {
        let routing = &self.mirror.config.routing;
        let one = matches!(routing, Routing::Arn(_) | Routing::Id(_));
        let anywhere = RelPath::new(&b"x"[..]).filter(|_| one)?;
        match routing.name(&anywhere, &Beside::Nothing, self.mirror.domain.get().map(String::as_str)) {
            Ok(Named::Case(case)) => Some(case),
            Ok(Named::Reference(_)) | Err(_) => None,
        }
    }

    fn next_case(&self, after: &str, now: UnixMillis) -> Result<Option<CaseArn>, JournalError> {
        let (id, one) = (self.mirror.id, self.one_case());
        let since = UnixMillis(now.0 - i64::try_from(DELETED_CASES.as_millis()).unwrap_or(i64::MAX));
        let known = self.read(|reader| {
            let mut after = after.to_owned();
            while let Some(case) = reader.case_after(id, &after)? {
                if reader.is_on(id, &case, since)? {
                    return Ok(Some(case));
                }
                after = case.as_str().to_owned();
            }
            Ok(None)
        })?;
        Ok(known.into_iter().chain(one.filter(|case| case.as_str() > after)).min())
    }

    fn count_cases(&self, now: UnixMillis) -> Result<u64, JournalError> {
        let (mut count, mut after) = (0, String::new());
        while let Some(case) = self.next_case(&after, now)? {
            count += 1;
            after = case.as_str().to_owned();
        }
        Ok(count)
    }

    /// Compares the next case.
    ///
    /// # Errors
    /// A question got no answer; the case is asked again by the next step. Or the journal's.
    pub async fn step(&self, manners: &mut impl Manners) -> Result<Stepped, Trouble> {
        let Some(state) = self.state()? else { return Ok(Stepped::Idle) };
        let Some(began) = state.began_at else { return Ok(Stepped::Idle) };
        if state.cases == 0 && state.after_case.is_empty() {
            let (id, cases) = (self.mirror.id, self.count_cases(began)?);
            self.journal
                .write(move |tx| {
                    let Some(mut state) = tx.verification(id)? else { return Ok(()) };
                    state.cases = cases;
                    tx.put_verification(id, &state)
                })
                .await?;
        }
        let Some(case) = self.next_case(&state.after_case, began)? else {
            self.end(began).await?;
            return Ok(Stepped::Ended);
        };
        let asker = Asker { aws: &self.aws, reader: &self.reader, mirror: &self.mirror, deep: state.deep };
        let shown = Box::pin(asker.case(&case, manners)).await?;
        crash::at(Point::VerifyCompared);
        let id = self.mirror.id;
        let news = self
            .journal
            .write(move |tx| {
                let Some(mut state) = tx.verification(id)?.filter(|state| state.began_at == Some(began)) else {
                    // Begun anew meanwhile: this case comes again.
                    return Ok(Vec::new());
                };
                let news = record::compared(tx, id, &case, &shown.known, &shown.unknown, UnixMillis::now())?;
                state.after_case = case.as_str().to_owned();
                state.cases_done += 1;
                state.cases = state.cases.max(state.cases_done);
                state.files += shown.files;
                state.undecided += shown.undecided;
                state.trouble = None;
                tx.put_verification(id, &state)?;
                Ok(news)
            })
            .await?;
        crash::at(Point::VerifyRecorded);
        for one in news {
            let file = one.path.as_ref().map(|p| if self.hide_names { tags::hidden(p) } else { p.to_string() });
            tracing::warn!(
                mirror = %self.mirror.config.name, file, file_id = one.file_id.as_ref().map(crate::types::FileId::as_str),
                class = one.class.as_str(), "differs from Connect: {}; to {}: `casedrop verify --fix {}`",
                one.text, one.class.proposal(), one.class.as_str()
            );
        }
        Ok(Stepped::Case)
    }

    async fn end(&self, began: UnixMillis) -> Result<(), JournalError> {
        let id = self.mirror.id;
        let ended = self
            .journal
            .write(move |tx| {
                let now = UnixMillis::now();
                let Some(mut state) = tx.verification(id)?.filter(|state| state.began_at == Some(began)) else {
                    return Ok(None);
                };
                tx.clear_old_differences(id, began)?;
                let differences: u64 = tx.difference_counts(id)?.iter().map(|(_, n)| n).sum();
                (state.began_at, state.ended_at, state.trouble) = (None, Some(now), None);
                (state.last_files, state.last_undecided) = (state.files, state.undecided);
                tx.put_verification(id, &state)?;
                let text = format!("{} files compared with Connect, {differences} differences", state.files);
                let detail = json!({
                    "text": text, "files": state.files, "cases": state.cases_done, "differences": differences,
                    "undecided": state.undecided, "deep": state.deep,
                });
                let event = NewEvent { mirror: id, path: None, attachment: None, kind: EventKind::Verified, detail };
                tx.add_event(&event, now)?;
                Ok(Some(text))
            })
            .await?;
        crash::at(Point::VerifyEnded);
        if let Some(text) = ended {
            tracing::info!(mirror = %self.mirror.config.name, "{text}");
        }
        Ok(())
    }
}

/// Begins from the first case, in the transaction of whoever asks.
pub fn begin(tx: &Tx<'_>, id: MirrorId, deep: bool, by_hand: bool, now: UnixMillis) -> Result<(), JournalError> {
    let state = tx.verification(id)?.unwrap_or_else(|| Verification { since: now, ..Verification::default() });
    tx.put_verification(
        id,
        &Verification {
            began_at: Some(now),
            deep,
            by_hand,
            after_case: String::new(),
            cases: 0,
            cases_done: 0,
            files: 0,
            undecided: 0,
            trouble: None,
            ..state
        },
    )
}
