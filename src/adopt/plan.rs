//! What would be taken over, and what would not, with the reason. Reads the disk and the journal, writes nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::local::{self, Local};
use super::{Found, Progress, Tell};
use crate::core::adopt::{Arranged, Standing, Tagged, arrange};
use crate::core::model::{RootIdentity, Stage, Verdict, Version};
use crate::core::plan::{Content, Seen};
use crate::fatal::Fatal;
use crate::journal::{JournalError, Reader};
use crate::record;
use crate::tags::{self, Place};
use crate::types::{CaseArn, FileId, RelPath, UnixMillis};
use crate::world::{Mirror, Routed};

/// Rows read at once.
const PAGE: usize = 500;

/// One path's part of the work.
#[derive(Debug, Clone)]
pub struct Adoption {
    pub path: RelPath,
    pub take: Vec<Tagged>,
    /// What the disk shows; `None` when nothing can be said.
    pub seen: Option<Seen>,
}

/// What taking a path over leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// The file is what is attached: nothing is called.
    Attached,
    /// The file is another one by now: it will replace what is attached.
    Changed,
    /// Connect refused this very content before: parked.
    Refused,
    /// There is no such file here: kept at Connect, parked as `unseen` (or kept by the mirror's policy).
    Unseen,
    /// There is no such file here any more, and this journal saw it: removed as any other, after the loss.
    Removed,
    /// Out of scope here: kept as it is.
    Ignored,
    /// The file could not be read, or was changing: what it holds is compared by the next look.
    Unread,
}

/// One path that is taken over.
#[derive(Debug, Clone)]
pub struct Entry {
    pub adoption: Adoption,
    pub fate: Fate,
    /// Approved attachments beside the one that counts.
    pub surplus: Vec<FileId>,
}

/// An attachment without our tags that looks like one file here.
#[derive(Debug, Clone)]
pub struct Proposal {
    pub path: RelPath,
    pub tagged: Tagged,
    /// Whether its downloaded content is the file's; `None`: not compared.
    pub compared: Option<bool>,
    /// What the disk showed when it was compared.
    pub seen: Option<Seen>,
}

impl Proposal {
    /// As work.
    pub(super) fn adoption(&self) -> Adoption {
        Adoption { path: self.path.clone(), take: vec![self.tagged.clone()], seen: self.seen.clone() }
    }
}

/// What an adoption of one mirror would do.
#[derive(Debug, Default)]
pub struct Plan {
    /// The folder whose files were compared.
    pub(super) root: Option<RootIdentity>,
    /// Files that the journal knows of another folder, as of an empty mount point or of what was adopted from a wrong disk,
    /// and that are not in this one: whether they ever were, nobody knows.
    pub(super) elsewhere: BTreeSet<RelPath>,
    /// Cases asked.
    pub cases: usize,
    /// Of these, unknown to Connect.
    pub unknown_cases: Vec<CaseArn>,
    /// Files found on them.
    pub files: u64,
    /// Of these, known to the journal already.
    pub known: u64,
    /// Of these, not ours, or of another mirror.
    pub others: u64,
    pub entries: Vec<Entry>,
    pub proposals: Vec<Proposal>,
    /// Ours, and too young to be judged: a scan may be under way.
    pub open: Vec<(RelPath, FileId)>,
    /// Ours, and never completed.
    pub unfinished: Vec<(RelPath, FileId)>,
    /// What could not be understood, in words.
    pub ambiguous: Vec<String>,
    /// Folders and files of which nothing can be said.
    pub unlisted: Vec<(RelPath, String)>,
    /// Listed at Connect, and nothing certain is said of them.
    pub unanswered: Vec<(CaseArn, FileId)>,
    /// Every file here is of a case that was asked.
    pub(super) asked_all: bool,
    /// Some file here is not what was found, or nothing was found for it: it would be attached.
    pub(super) would_attach: bool,
}

impl Plan {
    /// Whether nothing is left open, so that the hold of the loss may end.
    pub fn is_whole(&self) -> bool {
        self.open.is_empty() && self.unlisted.is_empty() && self.unanswered.is_empty()
    }

    /// How many paths come to this fate.
    pub fn count(&self, fate: Fate) -> usize {
        self.entries.iter().filter(|entry| entry.fate == fate).count()
    }
}

/// Makes the plan.
pub(super) async fn make(
    mirror: &Mirror,
    reader: &Reader,
    local: Local,
    found: Vec<(CaseArn, Found)>,
    cases: usize,
    unknown_cases: Vec<CaseArn>,
    tell: Tell<'_>,
) -> Result<Plan, Fatal> {
    let files = found.len() as u64;
    let (root, unlisted) = (Some(local.root), local.unlisted.clone());
    let elsewhere = elsewhere(mirror, reader, &local)?;
    let mut plan = Plan { root, elsewhere, cases, unknown_cases, files, unlisted, ..Plan::default() };
    // Paths too long for a tag, by what stands for them.
    let long: BTreeMap<String, &RelPath> =
        local.files.keys().chain(local.ignored.keys()).map(|path| (tags::path_value(path), path)).collect();
    let mut by_path: BTreeMap<RelPath, Vec<Tagged>> = BTreeMap::new();
    let mut untagged: Vec<(CaseArn, Found)> = Vec::new();
    for (case, one) in found {
        let Some(file) = FileId::new(one.file.as_str()) else { continue };
        if reader.attachment_by_file_id(&file)?.is_some() {
            plan.known += 1;
            continue;
        }
        if one.unanswered {
            plan.unanswered.push((case, file));
            continue;
        }
        let Some(origin) = tags::read(&one.tags) else {
            plan.others += 1;
            if !one.tags.keys().any(|key| key.starts_with("casedrop:")) {
                untagged.push((case, one));
            } else {
                plan.ambiguous.push(format!("{file} on case {}: its casedrop tags are incomplete", case.case_id()));
            }
            continue;
        };
        if origin.mirror != mirror.config.name {
            plan.others += 1;
            continue;
        }
        // Its attempt is in the journal and not settled: the daemon gets its FileId from the repeated start call or the
        // sweep. Taken here, it would be of two rows.
        if record::attempt_at_work(reader, &origin.token)? {
            plan.known += 1;
            continue;
        }
        let path = match &origin.place {
            Place::Path(path) => Some(path.clone()),
            Place::Hash(value) => long.get(value).map(|path| (*path).clone()),
        };
        let Some(tagged) = one.tagged(&case, &origin) else { continue };
        match path {
            Some(path) => by_path.entry(path).or_default().push(tagged),
            None => plan.ambiguous.push(format!(
                "{file} ({}) on case {}: its path is too long for a tag, and no file here has it",
                tagged.name,
                case.case_id()
            )),
        }
    }
    let of = by_path.len() as u64;
    for (done, (path, tagged)) in (0_u64..).zip(by_path) {
        tell(&Progress { mirror: &mirror.config.name, phase: "reading", done, of, files, trouble: None });
        if has_attachment(reader, mirror, &path)? {
            let ids: Vec<String> = tagged.iter().map(|one| one.file.to_string()).collect();
            plan.ambiguous.push(format!(
                "{path}: the journal has another attachment of it, beside {}: see `casedrop verify`",
                ids.join(", ")
            ));
            continue;
        }
        let before = reader.file(mirror.id, &path)?.filter(|_| !plan.elsewhere.contains(&path)).map(|row| row.verdict);
        one(mirror, &local, path, (before, tagged), &mut plan).await;
    }
    propose(mirror, reader, &local, untagged, &mut plan)?;
    plan.would_attach = would_attach(mirror, reader, &local, &plan)?;
    Ok(plan)
}

fn elsewhere(mirror: &Mirror, reader: &Reader, local: &Local) -> Result<BTreeSet<RelPath>, JournalError> {
    let mut elsewhere = BTreeSet::new();
    let known = reader.mirror(mirror.id)?.and_then(|row| row.identity);
    if known.is_none_or(|known| known.is_same_as(&local.root)) {
        return Ok(elsewhere);
    }
    let mut after = None;
    loop {
        let page = reader.files_from(mirror.id, after.as_ref(), PAGE)?;
        let Some(last) = page.last() else { return Ok(elsewhere) };
        after = Some(last.path.clone());
        // What cannot be looked at is not here either, until it can.
        let here = |path: &RelPath| matches!(local.seen(path), Some(Seen::Present(..) | Seen::OutOfScope(_)));
        elsewhere.extend(page.into_iter().map(|row| row.path).filter(|path| !here(path)));
    }
}

fn would_attach(mirror: &Mirror, reader: &Reader, local: &Local, plan: &Plan) -> Result<bool, JournalError> {
    let fates: BTreeMap<&RelPath, Fate> = plan.entries.iter().map(|e| (&e.adoption.path, e.fate)).collect();
    for path in local.files.keys() {
        let stays = match fates.get(path) {
            Some(Fate::Changed | Fate::Unread) => false,
            Some(_) => true,
            None => has_attachment(reader, mirror, path)?,
        };
        if !stays {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has_attachment(reader: &Reader, mirror: &Mirror, path: &RelPath) -> Result<bool, JournalError> {
    let live = |stage: Stage| stage == Stage::Approved || stage.is_under_way();
    Ok(reader.attachments_of(mirror.id, path)?.iter().any(|a| live(a.stage) && a.file_id.is_some()))
}

/// The attachments of one path. `before`: the file's verdict in this journal, if it knows the file.
async fn one(
    mirror: &Mirror,
    local: &Local,
    path: RelPath,
    (before, tagged): (Option<Verdict>, Vec<Tagged>),
    plan: &mut Plan,
) {
    let mut seen = local.seen(&path);
    let mut read = None;
    if let Some(Seen::Present(stat, _)) = &seen {
        let stat = *stat;
        // A file that changes is left to the next look, which compares it by the same rules.
        seen = Some(local::content(mirror, &path).await.unwrap_or(Seen::Present(stat, Content::Unread)));
        if let Some(Seen::Present(stat, Content::Read(hash))) = &seen {
            read = Some(Version { size: stat.size, hash: *hash });
        }
    }
    let arranged = arrange(tagged, read, UnixMillis::now());
    let pairs = |list: &[Tagged]| list.iter().map(|one| (path.clone(), one.file.clone())).collect::<Vec<_>>();
    plan.open.extend(pairs(&arranged.open));
    plan.unfinished.extend(pairs(&arranged.unfinished));
    if !arranged.open.is_empty() || arranged.take.is_empty() {
        // Taken over together, once it is known how the youngest ends.
        return;
    }
    let fate = fate(seen.as_ref(), before, read, &arranged);
    let surplus = arranged.surplus().map(|one| one.file.clone()).collect();
    plan.entries.push(Entry { adoption: Adoption { path, take: arranged.take, seen }, fate, surplus });
}

fn fate(seen: Option<&Seen>, before: Option<Verdict>, read: Option<Version>, arranged: &Arranged) -> Fate {
    let chosen = arranged.chosen().map(|one| one.version);
    match (seen, read) {
        (Some(Seen::Absent | Seen::AbsentOutOfScope(_)), _) => match before {
            None => Fate::Unseen,
            Some(Verdict::Ignored(_) | Verdict::Unrouted(_)) => Fate::Ignored,
            Some(_) => Fate::Removed,
        },
        (Some(Seen::OutOfScope(_)), _) => Fate::Ignored,
        (None, _) | (Some(Seen::Present(..)), None) => Fate::Unread,
        (Some(Seen::Present(..)), Some(version)) if chosen == Some(version) => Fate::Attached,
        (Some(Seen::Present(..)), Some(version)) => {
            let last = arranged.take.last().filter(|one| one.standing != Standing::Approved);
            if last.is_some_and(|one| one.version == version) { Fate::Refused } else { Fate::Changed }
        }
    }
}

/// Attachments without tags that look like exactly one file here: same case, same name, same size.
fn propose(
    mirror: &Mirror,
    reader: &Reader,
    local: &Local,
    untagged: Vec<(CaseArn, Found)>,
    plan: &mut Plan,
) -> Result<(), JournalError> {
    if untagged.is_empty() {
        return Ok(());
    }
    type Looks = (CaseArn, String, u64);
    let mut files: BTreeMap<Looks, Vec<&RelPath>> = BTreeMap::new();
    let taken: BTreeSet<&RelPath> = plan.entries.iter().map(|e| &e.adoption.path).collect();
    for (path, stat) in &local.files {
        if taken.contains(path) || has_attachment(reader, mirror, path)? {
            continue;
        }
        if let Ok(Routed { target, .. }) = mirror.route(reader, path, local.beside(path))? {
            files.entry((target.case, target.name, stat.size)).or_default().push(path);
        }
    }
    let mut there: BTreeMap<Looks, Vec<Found>> = BTreeMap::new();
    for (case, one) in untagged.into_iter().filter(|(_, one)| one.standing == Standing::Approved) {
        there.entry((case, one.name.clone(), one.size)).or_default().push(one);
    }
    for (looks, found) in there {
        let Some(paths) = files.get(&looks) else { continue };
        let (case, name, size) = looks;
        match (found.as_slice(), paths.as_slice()) {
            ([only], [path]) => {
                let Some(file) = FileId::new(only.file.as_str()) else { continue };
                let tagged = Tagged {
                    token: format!("accepted:{file}"),
                    file,
                    case,
                    name,
                    // The hash is filled in by the comparison; without one nothing is taken.
                    version: Version { size, hash: crate::types::ContentHash([0; 32]) },
                    sent: None,
                    created: UnixMillis(only.created_ms),
                    standing: Standing::Approved,
                };
                plan.proposals.push(Proposal { path: (*path).clone(), tagged, compared: None, seen: None });
            }
            (found, paths) => plan.ambiguous.push(format!(
                "{name} on case {}: {} attachments without tags and {} files here look alike",
                case.case_id(),
                found.len(),
                paths.len()
            )),
        }
    }
    Ok(())
}
