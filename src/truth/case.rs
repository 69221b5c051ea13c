//! One case: what the journal and the disk say of each attachment, and what Connect says.
//!
//! Gone means that three questions agree: it is not listed, its state is unknown, and GetAttachedFile answers 404;
//! and that it was made more than the listing grace ago (SERVICE.md 2.6). Less than that is undecided.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::json;

use super::{Manners, content, gone, listing, states};
use crate::adopt::Found;
use crate::aws::{Client, Failure, RemoteFile, RemoteStatus};
use crate::core::adopt::{NEVER_COMPLETES, Standing};
use crate::core::compare::{Class, Here, Journaled, Known, Remote, Status, There, compare};
use crate::core::model::{Attachment, ParkCode, Stage, Verdict, Version};
use crate::core::plan::{Content, Seen};
use crate::journal::{Difference, JournalError, Reader};
use crate::observe;
use crate::record::{self, Compared, LISTING_GRACE};
use crate::scan::{self, Look};
use crate::tags::{self, Origin, Place};
use crate::types::{CaseArn, FileId, RelPath, UnixMillis};
use crate::world::Mirror;

/// What one case showed.
#[derive(Debug, Default)]
pub struct Shown {
    pub known: Vec<Compared>,
    pub unknown: Vec<Difference>,
    /// Files compared.
    pub files: u64,
    /// Of these, without a certain answer.
    pub undecided: u64,
}

/// Why a case could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error(transparent)]
    Failure(#[from] Failure),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// What is needed to ask.
pub struct Asker<'a> {
    pub aws: &'a Client,
    /// A connection of its own.
    pub reader: &'a std::sync::Mutex<Reader>,
    pub mirror: &'a Arc<Mirror>,
    /// Contents are downloaded too.
    pub deep: bool,
}

impl Asker<'_> {
    fn read<T>(&self, ask: impl FnOnce(&Reader) -> Result<T, JournalError>) -> Result<T, JournalError> {
        ask(&self.reader.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Compares one case.
    pub async fn case(&self, case: &CaseArn, manners: &mut impl Manners) -> Result<Shown, Trouble> {
        let id = self.mirror.id;
        let rows = self.read(|reader| reader.attachments_on(id, case))?;
        let listed: BTreeSet<FileId> = listing(self.aws, case, manners).await?.files.into_iter().collect();
        let wanted = |a: &&Attachment| a.stage.stands();
        let missing: Vec<FileId> = rows
            .iter()
            .filter(wanted)
            .filter_map(|a| a.file_id.clone())
            .filter(|file| !listed.contains(file))
            .collect();
        let mut answers: BTreeMap<FileId, Option<RemoteFile>> = BTreeMap::new();
        // Apart from each other, so that one that is gone does not spoil the page of those that are there.
        for group in [listed.iter().cloned().collect::<Vec<_>>(), missing] {
            answers.extend(states(self.aws, case, &group, manners).await?);
        }
        let mut shown = Shown::default();
        for row in &rows {
            let Some(file) = &row.file_id else { continue };
            let Some(answer) = answers.remove(file) else { continue };
            if wanted(&row) {
                shown.files += 1;
            }
            let listed = listed.contains(file);
            self.known(row, answer, listed, &mut shown, manners).await?;
        }
        for (file, answer) in answers {
            let Some(remote) = answer else { continue };
            self.unknown(case, file, &remote, &mut shown).await?;
        }
        Ok(shown)
    }

    /// A file that the journal knows.
    async fn known(
        &self,
        row: &Attachment,
        answer: Option<RemoteFile>,
        listed: bool,
        shown: &mut Shown,
        manners: &mut impl Manners,
    ) -> Result<(), Trouble> {
        let Some(file) = &row.file_id else { return Ok(()) };
        let answer = answer.filter(|remote| !matches!(remote.status, RemoteStatus::Gone(_)));
        let now = UnixMillis::now();
        let settled = now.since(row.started_at.unwrap_or(row.created_at)) >= LISTING_GRACE;
        let mut text = String::new();
        let there = match &answer {
            Some(remote) => {
                let sent = self.read(|reader| reader.converted(row.id))?.unwrap_or(row.version);
                let as_sent = self.as_sent(row, sent, remote, &mut text, manners).await?;
                let status = status(remote);
                // A delete that was just answered may still be listed for a while.
                let settled = row.deleted_at.is_none_or(|at| now.since(at) >= LISTING_GRACE);
                There::Present(Remote { status, ours: true, as_sent, settled })
            }
            None if row.stage == Stage::Approved && settled && !listed => {
                if gone(self.aws, &row.case, file, manners).await? { There::Gone } else { There::Unsure }
            }
            None => There::Unsure,
        };
        if there == There::Unsure && row.stage == Stage::Approved {
            shown.undecided += 1;
        }
        let (id, path) = (self.mirror.id, &row.path);
        let (file_row, newest) = self.read(|reader| {
            // What was delivered of a file that was handed over or taken away has nothing to do with a later file of
            // that path: it is neither outdone by it nor to be compared with it.
            if reader.is_closed(row.id)? {
                return Ok((None, None));
            }
            let newest = reader.attachments_of(id, path)?.into_iter().rfind(|a| a.stage == Stage::Approved);
            Ok((reader.file(id, path)?, newest))
        })?;
        let verdict = file_row.as_ref().map(|row| row.verdict.clone());
        let journaled = Journaled {
            stage: row.stage,
            outdone: newest.is_some_and(|newest| newest.id != row.id),
            busy: row.unsure_since.is_some() || row.stage.is_under_way() || row.stage == Stage::Deleting,
            unseen: verdict == Some(Verdict::Parked(ParkCode::Unseen)),
        };
        let here = match (row.stage, &file_row) {
            (Stage::Approved, Some(known)) if verdict == Some(Verdict::Attached) || journaled.unseen => {
                self.here(path, known.stat, known.version(), row.version).await
            }
            _ => Here::Unknown,
        };
        let class = compare(Known::Row(journaled), here, there);
        let unseen = journaled.unseen && row.stage == Stage::Approved && here == Here::Unknown;
        if unseen && class.is_none() && there != There::Unsure {
            // Its own folder is not there, or nobody has looked yet which one that is.
            shown.undecided += 1;
        }
        let Some(class) = class else {
            let finding = match there {
                There::Present(Remote { status: Status::Approved, as_sent: true, .. }) => Ok(()),
                _ => Err(None),
            };
            shown.known.push(Compared { id: row.id, stage: row.stage, finding, park: None });
            return Ok(());
        };
        let remote_status = answer.as_ref().map_or("GONE", |remote| remote.status.as_str());
        let (text, park) = match class {
            Class::Missing => (
                "not at Connect any more: not listed, state unknown, and GetAttachedFile answers 404".to_owned(),
                Some(ParkCode::MissingRemotely),
            ),
            Class::Altered => (text, Some(ParkCode::AlteredRemotely)),
            Class::Flipped if row.stage == Stage::Approved => (
                format!("it was approved, and Connect says {remote_status} now"),
                Some(if remote_status == "REJECTED" { ParkCode::Rejected } else { ParkCode::Failed }),
            ),
            Class::Flipped => (format!("it was {}, and Connect says {remote_status} now", row.stage), None),
            Class::Changed => ("the file's content is another one, although its stat is as it was".to_owned(), None),
            Class::Surplus => ("an older attachment of a file that has a newer one".to_owned(), None),
            Class::Unseen => ("adopted, and its file was never seen here".to_owned(), None),
            Class::Lingering => (format!("the journal says it is deleted, and Connect says {remote_status}"), None),
            Class::Adoptable | Class::Orphan | Class::Unfinished => (String::new(), None),
        };
        let difference = Difference {
            class,
            case: row.case.clone(),
            path: Some(path.clone()),
            attachment: Some(row.id),
            file_id: Some(file.clone()),
            found_at: now,
            text,
            detail: json!({ "status": remote_status, "name": row.name }),
        };
        shown.known.push(Compared { id: row.id, stage: row.stage, finding: Err(Some(difference)), park });
        Ok(())
    }

    /// Whether Connect holds what was sent, as far as was asked; else `text` says what differs.
    async fn as_sent(
        &self,
        row: &Attachment,
        sent: Version,
        remote: &RemoteFile,
        text: &mut String,
        manners: &mut impl Manners,
    ) -> Result<bool, Failure> {
        let mut differs = |what: String| {
            *text = what;
            Ok(false)
        };
        if remote.size != 0 && remote.size != sent.size {
            return differs(format!("{} bytes at Connect, {} were sent", remote.size, sent.size));
        }
        // No tags at all say nothing: they may not be shown, and an accepted attachment never had any.
        if remote.tags.keys().any(|key| key.starts_with("casedrop:")) {
            let origin = tags::read(&remote.tags);
            let same = |o: &Origin| o.mirror == self.mirror.config.name && o.hash == row.version.hash;
            if !origin.as_ref().is_some_and(same) {
                return differs("its casedrop tags are not those that were set".to_owned());
            }
        }
        let approved = remote.status == RemoteStatus::Approved && row.stage == Stage::Approved;
        if self.deep && approved {
            let file = row.file_id.as_ref();
            let found = match file {
                Some(file) => content(self.aws, &row.case, file, manners).await?,
                None => None,
            };
            return match found {
                Some(version) if version != sent => differs(format!(
                    "{} bytes with sha256 {} at Connect; sent were {} bytes with sha256 {}",
                    version.size, version.hash, sent.size, sent.hash
                )),
                _ => Ok(true),
            };
        }
        // What only a download could find is not unfound without one.
        if row.found_wrong() == Some(ParkCode::AlteredRemotely) {
            return differs("its content was found to differ by `verify --deep`".to_owned());
        }
        Ok(true)
    }

    /// A file that no row of the journal has, if it is ours and of this mirror.
    async fn unknown(
        &self,
        case: &CaseArn,
        file: FileId,
        remote: &RemoteFile,
        shown: &mut Shown,
    ) -> Result<(), Trouble> {
        let Some(origin) = tags::read(&remote.tags).filter(|o| o.mirror == self.mirror.config.name) else {
            return Ok(());
        };
        let id = self.mirror.id;
        let at_work = self.read(|reader| record::attempt_at_work(reader, &origin.token))?;
        let path = match &origin.place {
            Place::Path(path) => Some(path.clone()),
            Place::Hash(_) => None,
        };
        let mut has_attachment = false;
        let mut here = Here::Unknown;
        let (version, _) = origin.versions(remote.size);
        if let Some(path) = &path {
            let (row, attachments) =
                self.read(|reader| Ok((reader.file(id, path)?, reader.attachments_of(id, path)?)))?;
            has_attachment = attachments.iter().any(|a| a.stage == Stage::Approved || a.stage.is_under_way());
            if let (Some(row), false) = (&row, has_attachment) {
                here = self.here(path, row.stat, row.version(), version).await;
            }
        }
        let found = Found::new(&file, remote);
        let age = UnixMillis::now().since(UnixMillis(found.created_ms));
        // An open one may be a scan of now; a finished one may be listed before its start call was answered.
        let patience = if found.standing == Standing::Open { NEVER_COMPLETES } else { LISTING_GRACE };
        let there =
            There::Present(Remote { status: status(remote), ours: true, as_sent: true, settled: age >= patience });
        let known = if at_work { Known::AttemptAtWork } else { Known::Unknown { has_attachment } };
        let Some(class) = compare(known, here, there) else { return Ok(()) };
        let text = match class {
            Class::Adoptable => "it carries this mirror's tags and the file's content; the journal does not know it",
            Class::Unfinished => "it carries this mirror's tags, was never completed, and the journal does not know it",
            _ => "it carries this mirror's tags, and the journal does not know it",
        };
        shown.unknown.push(Difference {
            class,
            case: case.clone(),
            path,
            attachment: None,
            file_id: Some(file),
            found_at: UnixMillis::now(),
            text: text.to_owned(),
            detail: json!({
                "status": remote.status.as_str(), "standing": found.standing, "name": found.name, "size": found.size,
                "created_ms": found.created_ms, "created_by": remote.created_by, "tags": found.tags,
            }),
        });
        Ok(())
    }

    /// What the disk shows of a path, read if its stat is the one that the journal has. Another folder or disk than the
    /// mirror's shows nothing.
    async fn here(
        &self,
        path: &RelPath,
        known: crate::core::model::Stat,
        held: Option<Version>,
        attached: Version,
    ) -> Here {
        let id = self.mirror.id;
        let own = self.read(|reader| Ok(reader.mirror(id)?.and_then(|row| row.identity)));
        let Ok(Some(own)) = own else { return Here::Unknown };
        let (root, path) = (self.mirror.config.path.clone(), path.clone());
        let looked = crate::host::blocking(move || {
            let Ok(root) = scan::open_root(&root) else { return Here::Unknown };
            if !own.is_same_as(&root.identity()) {
                return Here::Unknown;
            }
            match root.stat(&path) {
                Look::Absent => Here::Absent,
                Look::File(stat) if stat.same_content_as(&known) => {
                    match observe::read(&root, &path, &stat, &|| false) {
                        Some(Seen::Present(stat, Content::Read(hash))) => {
                            let found = Version { size: stat.size, hash };
                            if found == attached {
                                Here::Same
                            } else if Some(found) == held {
                                Here::KnownOther
                            } else {
                                Here::Differs
                            }
                        }
                        _ => Here::Unknown,
                    }
                }
                Look::File(_) | Look::Folder | Look::Other(_) | Look::BehindLink | Look::Unknown(_) => Here::Unknown,
            }
        });
        looked.await.unwrap_or(Here::Unknown)
    }
}

fn status(remote: &RemoteFile) -> Status {
    match remote.status {
        RemoteStatus::Approved => Status::Approved,
        RemoteStatus::Rejected | RemoteStatus::Failed => Status::Refused,
        RemoteStatus::Processing | RemoteStatus::Pending(_) | RemoteStatus::Gone(_) => Status::Open,
        RemoteStatus::Other(_) => Status::Unknown,
    }
}
