//! What must hold at the end: both sides equal, and every file with a verdict (DESIGN §7).

use std::collections::{BTreeMap, BTreeSet};

use casedrop_sandbox::{FileStatus, LedgerFile};

use super::judge::Judge;
use super::run::{Folder, Rules, Sim};
use super::stage::Process;
use crate::core::model::{Attachment, FileRow, MirrorId, ParkCode, Stage as AttachmentStage, Verdict};
use crate::core::naming::{self, FileNaming};
use crate::journal::Reader;
use crate::tags::{self, Place};
use crate::types::FileId;

/// What a loss of the journal explains.
struct Past {
    lost: Option<i64>,
    forgotten: BTreeSet<String>,
}

impl Past {
    fn of(judge: &Judge) -> Self {
        let (lost, forgotten) = judge.losses();
        Self { lost, forgotten }
    }

    /// Whether the file came to Connect before the loss.
    fn had(&self, file: &LedgerFile) -> bool {
        self.lost.is_some_and(|lost| file.created_at.0 <= lost)
    }

    /// Whether the file is what an adoption leaves to a person: never completed, or beside the one that counts; or what
    /// a release gave up. `renewed`: since the loss something became visible at its path, and took with it what stood
    /// there.
    fn explains(&self, file: &LedgerFile, known: Option<&Attachment>, renewed: bool) -> bool {
        use FileStatus::{Approved, Failed, Rejected};
        self.had(file)
            && match known {
                None => self.forgotten.contains(&file.file_id) || !matches!(file.status, Approved | Rejected | Failed),
                Some(known) => known.stage.stands() && !renewed,
            }
    }
}

/// The journal's rows of one mirror.
type Rows = BTreeMap<String, FileRow>;

impl Sim {
    /// What does not hold once all is quiet. `foreign`: the file of somebody else.
    pub(super) fn verdict(&self, process: &Process, foreign: &str) -> Vec<String> {
        let mut broken = Vec::new();
        let reader = process.engine.world.journal.reader().unwrap();
        let ledger = self.stage.sandbox.ledger();
        let past = Past::of(&self.judge);
        let mut known: BTreeMap<MirrorId, (Rows, &Folder)> = BTreeMap::new();
        for (mirror, folder) in process.engine.world.mirrors.iter().zip(&self.folders) {
            let rows = reader.files_from(mirror.id, None, 10_000).unwrap().into_iter();
            let rows: Rows = rows.map(|row| (String::from_utf8(row.path.as_bytes().to_vec()).unwrap(), row)).collect();
            broken.extend(of_files(
                &reader,
                (mirror.id, folder, mirror.config.naming),
                &rows,
                &ledger,
                (self.rules, &past),
            ));
            known.insert(mirror.id, (rows, folder));
        }
        for file in ledger.iter().filter(|file| !file.foreign) {
            let attachment = FileId::new(&*file.file_id).and_then(|id| reader.attachment_by_file_id(&id).unwrap());
            let explained = attachment.as_ref().is_some_and(|a| {
                let (rows, folder) = &known[&a.mirror];
                let row = rows.get(std::str::from_utf8(a.path.as_bytes()).unwrap());
                match (a.stage, row.map(|row| &row.verdict)) {
                    (AttachmentStage::Approved, Some(Verdict::Attached | Verdict::Ignored(_) | Verdict::Parked(_))) => {
                        true
                    }
                    (AttachmentStage::Rejected, Some(Verdict::Parked(_) | Verdict::Ignored(_))) => true,
                    (AttachmentStage::Rejected, Some(Verdict::Attached)) => {
                        row.is_some_and(|row| (folder.keep || row.kept) && row.absent_since.is_some())
                    }
                    _ => false,
                }
            });
            let renewed = attachment.as_ref().is_some_and(|a| {
                let of_path = reader.attachments_of(a.mirror, &a.path).unwrap();
                of_path.iter().filter(|b| b.stage == AttachmentStage::Approved).any(|b| {
                    ledger
                        .iter()
                        .any(|f| Some(f.file_id.as_str()) == b.file_id.as_ref().map(FileId::as_str) && !past.had(f))
                })
            });
            if !explained && !past.explains(file, attachment.as_ref(), renewed) {
                broken.push(format!("invariant 8: left at Connect without a reason: {file:?}\n{attachment:?}"));
            }
        }
        if !ledger.iter().any(|file| file.file_id == foreign && file.status == FileStatus::Approved) {
            broken.push("invariant 10: the file of somebody else is gone or changed".to_owned());
        }
        for planned in reader.attachments_in_stage(AttachmentStage::Planned, None, usize::MAX).unwrap() {
            broken.push(format!("invariant 12: nobody takes it up again: {planned:?}"));
        }
        for unsure in reader.unsure(1_000).unwrap() {
            broken.push(format!("still unsure: {unsure:?}"));
        }
        broken
    }
}

/// The files of one mirror, here, in the journal and at Connect.
fn of_files(
    reader: &Reader,
    (mirror, folder, how_named): (MirrorId, &Folder, FileNaming),
    rows: &Rows,
    ledger: &[LedgerFile],
    (rules, past): (Rules, &Past),
) -> Vec<String> {
    let mut broken = Vec::new();
    let (disk, keep) = (folder.disk.lock().unwrap(), folder.keep);
    let at_connect =
        |id: Option<&FileId>| ledger.iter().find(|file| Some(file.file_id.as_str()) == id.map(FileId::as_str));
    for (path, hash) in disk.tree() {
        let Some(row) = rows.get(path) else {
            broken.push(format!("invariant 12: {path} is not in the journal"));
            continue;
        };
        match &row.verdict {
            Verdict::Attached => {
                let approved = reader.attachments_of(mirror, &row.path).unwrap();
                let approved: Vec<&Attachment> =
                    approved.iter().filter(|a| a.stage == AttachmentStage::Approved).collect();
                // What an adoption found beside the one that counts is left to a person, until a new one replaces all.
                let old = |a: &&Attachment| at_connect(a.file_id.as_ref()).is_some_and(|file| past.had(file));
                let few = approved.len() == 1 || approved.iter().all(old);
                let (Some(one), true) = (approved.last(), few) else {
                    broken.push(format!("invariant 8: {path} has {} visible attachments", approved.len()));
                    continue;
                };
                // The second: where another content of the file still has the first.
                let name = how_named.attachment_name(&row.path).name;
                let names = [naming::beside(&name, one.version.hash), name];
                match at_connect(one.file_id.as_ref()) {
                    Some(file)
                        if file.status == FileStatus::Approved
                            && file.sha256.as_ref() == Some(hash)
                            && names.contains(&file.file_name)
                            && file.case_id == folder.case => {}
                    found => broken.push(format!("invariant 12: {path} counts as attached, and there is {found:?}")),
                }
            }
            Verdict::Parked(code) => {
                let content = disk.read(path);
                let expected = match code {
                    ParkCode::EmptyFile => content.is_empty(),
                    ParkCode::TooLarge => content.len() as u64 > rules.largest,
                    ParkCode::TypeNotAllowed => path.ends_with(".zip"),
                    ParkCode::Failed => path.ends_with("5.txt") && rules.fails,
                    ParkCode::Rejected => path.ends_with("virus.txt"),
                    // Where a case takes no name twice, the rejected record of this very content keeps its name, and so
                    // does what was given up, or never completed, before a loss.
                    ParkCode::Conflict => {
                        let left = |file: &LedgerFile| {
                            let origin = tags::read(&file.tags);
                            let of_path = origin.is_some_and(|origin| origin.place == Place::Path(row.path.clone()));
                            of_path && past.had(file) && (past.forgotten.contains(&file.file_id) || !file.completed)
                        };
                        rules.loose_names && (path.ends_with("virus.txt") || ledger.iter().any(left))
                    }
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
        let attachments = reader.attachments_of(mirror, &row.path).unwrap();
        let kept = (keep || row.kept) && row.absent_since.is_some() && matches!(row.verdict, Verdict::Attached);
        let visible = || attachments.iter().filter(|a| a.stage == AttachmentStage::Approved);
        let unseen = row.verdict == Verdict::Parked(ParkCode::Unseen)
            && visible().any(|a| at_connect(a.file_id.as_ref()).is_some_and(|file| past.had(file)));
        // What is visible left scope before it went: by the configuration, or for what stood in its place.
        let left = matches!(row.verdict, Verdict::Ignored(_))
            && (disk.stands(path)
                || (visible().next().is_some() && (path.starts_with("b/") || disk.other_kind_at(path))));
        if !kept && !unseen && !left {
            broken.push(format!("invariant 12: {path} is gone and still known: {row:?}"));
        }
    }
    broken
}
