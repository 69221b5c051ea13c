//! `adopt`: the journal rebuilt from what Connect holds (invariant 19).
//!
//! - **Which cases**: the mirror's one `case`; or those that the folders and files below the root name, and those a
//!   person adds. A file that is gone here and whose case nothing here names is not found: Connect has no question
//!   "where are my files" that a least role may ask.
//! - **Asked once**: each case's answer is kept in the journal as it comes, so that a kill costs one case. Answers
//!   older than a day are asked for again.
//! - **Written last**: attachments and files change only in [`Session::apply`], path by path, each in one
//!   transaction and without effect when repeated. Nothing is called at Connect but questions, and nothing deleted.
//! - **Ours** is what carries all our tags with this mirror's name. Anything else is left alone; what looks like a
//!   file here is a proposal, and taken only when asked for and when its downloaded content is the file's.
//! - The journal is open for writing all the time: no daemon runs beside it.

mod local;
mod plan;

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::Duration;

pub use plan::{Fate, Plan, Proposal};

use plan::Adoption;

use crate::aws::{Client, Failure, Next, RemoteFile, RemoteStatus};
use crate::config::Config;
use crate::core::adopt::{Standing, Tagged};
use crate::core::model::{HoldCode, RootIdentity, Stage, Version};
use crate::core::plan::{Content, Seen};
use crate::core::reference::{CaseRef, RefState, Reference, batches};
use crate::core::sidecar::Beside;
use crate::crash::{self, Point};
use crate::fatal::Fatal;
use crate::journal::{Difference, Journal, JournalError, Reader};
use crate::observe;
use crate::record;
use crate::resolve;
use crate::scan::{self, RootFault};
use crate::tags::Origin;
use crate::truth::{self, Manners};
use crate::types::{CaseArn, FileId, RelPath, UnixMillis};
use crate::world::Mirror;

/// How long a case's answer is good for.
const FRESH: Duration = Duration::from_secs(24 * 3600);
/// Paths that share one transaction.
const BATCH: usize = 64;

/// One file found at Connect, as the journal keeps it between two runs.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Found {
    pub file: String,
    pub name: String,
    pub size: u64,
    pub standing: Standing,
    pub created_ms: i64,
    pub tags: BTreeMap<String, String>,
    /// Nothing certain is said of it, although it is listed.
    #[serde(default)]
    pub unanswered: bool,
}

impl Found {
    /// One of which nothing is known but that it is listed.
    fn unanswered(file: &FileId) -> Self {
        Self {
            file: file.to_string(),
            name: String::new(),
            size: 0,
            standing: Standing::Unknown,
            created_ms: UnixMillis::now().0,
            tags: BTreeMap::new(),
            unanswered: true,
        }
    }

    /// What the answer says.
    pub fn new(file: &FileId, remote: &RemoteFile) -> Self {
        let standing = match remote.status {
            RemoteStatus::Approved => Standing::Approved,
            RemoteStatus::Rejected => Standing::Rejected,
            RemoteStatus::Failed | RemoteStatus::Gone(_) => Standing::Failed,
            RemoteStatus::Processing | RemoteStatus::Pending(_) => Standing::Open,
            RemoteStatus::Other(_) => Standing::Unknown,
        };
        Self {
            file: file.to_string(),
            name: remote.name.clone(),
            size: remote.size,
            standing,
            // One without a time counts as made now: too young to be judged.
            created_ms: remote.created().unwrap_or_else(UnixMillis::now).0,
            tags: remote.tags.clone(),
            unanswered: false,
        }
    }

    fn tagged(&self, case: &CaseArn, origin: &Origin) -> Option<Tagged> {
        let (version, sent) = origin.versions(self.size);
        Some(Tagged {
            file: FileId::new(self.file.as_str())?,
            case: case.clone(),
            name: self.name.clone(),
            version,
            sent,
            token: origin.token.clone(),
            created: UnixMillis(self.created_ms),
            standing: self.standing,
        })
    }
}

/// How far it is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    pub mirror: &'a str,
    /// `asking`, `reading`, `comparing`, `writing`.
    pub phase: &'static str,
    pub done: u64,
    pub of: u64,
    /// Files found at Connect so far.
    pub files: u64,
    /// What makes it wait, if anything does.
    pub trouble: Option<&'a str>,
}

/// Told of each step.
pub type Tell<'t> = &'t mut (dyn FnMut(&Progress<'_>) + Send);

/// When the journal of the mirror was found lost, if it still is.
fn lost_at(mirror: &Mirror) -> Option<UnixMillis> {
    mirror.holds().into_iter().find(|hold| hold.code == HoldCode::JournalRebuilt).map(|hold| hold.since)
}

/// One run of `adopt`, with the journal open.
pub struct Session {
    journal: Journal,
    reader: Reader,
    aws: Client,
    mirrors: Vec<Arc<Mirror>>,
}

impl Session {
    /// Opens the journal; a new one in the place of a lost one holds every mirror first.
    ///
    /// # Errors
    /// A daemon runs, the journal is damaged, or the Cases domain cannot be found out.
    pub async fn open(config: &Config) -> Result<Self, Fatal> {
        let domain = crate::run::lookup_domain(config).await?;
        let path = config.journal_path.clone();
        let opened = crate::host::blocking(move || Journal::open(&path)).await;
        let journal = opened.unwrap_or_else(|error| Err(JournalError::internal(&error.to_string())))?;
        let wanted: Vec<(String, Vec<u8>)> =
            config.mirrors.iter().map(|m| (m.name.clone(), m.path.as_os_str().as_bytes().to_vec())).collect();
        let rows = journal
            .write(move |tx| {
                let now = UnixMillis::now();
                record::recover(tx, now)?;
                record::known_mirrors(tx, &wanted, now)
            })
            .await?;
        let mirrors = config.mirrors.iter().zip(rows);
        let mirrors =
            mirrors.map(|(mirror, row)| Arc::new(Mirror::new(row.id, mirror.clone(), domain.clone(), row.holds)));
        let (mirrors, reader) = (mirrors.collect(), journal.reader()?);
        Ok(Self { journal, reader, aws: crate::run::client(config).await, mirrors })
    }

    /// The mirrors, in the order of the configuration.
    pub fn mirrors(&self) -> &[Arc<Mirror>] {
        &self.mirrors
    }

    /// The journal, open for writing.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The way to AWS.
    pub fn aws(&self) -> &Client {
        &self.aws
    }

    /// What the last comparison found on the mirror.
    pub fn differences(&self, mirror: &Mirror) -> Result<Vec<Difference>, JournalError> {
        self.reader.differences(mirror.id, usize::MAX)
    }

    /// Writes out and closes the journal.
    pub async fn close(self) {
        drop(self.reader);
        let journal = self.journal;
        let closed = crate::host::blocking(move || journal.close()).await;
        drop(closed);
    }

    /// Asks every case that is not answered yet, reads what has to be compared, and says what would be taken over.
    ///
    /// Connect promises nothing about when a file is listed (SERVICE.md 2.6): where a file here would be attached and
    /// the journal was lost less than [`record::LISTING_GRACE`] ago, it waits for that to pass and asks again.
    ///
    /// # Errors
    /// The root cannot be listed, a question got no answer, or Connect knows none of the cases.
    pub async fn plan(&self, mirror: &Mirror, more: &[CaseArn], accept: bool, tell: Tell<'_>) -> Result<Plan, Fatal> {
        let (plan, asked) = self.plan_now(mirror, more, accept, None, tell).await?;
        let whole_from = lost_at(mirror).map(|lost| lost.plus(record::LISTING_GRACE));
        let early = whole_from.filter(|from| plan.would_attach && asked.is_some_and(|at| at < *from));
        let Some(from) = early else { return Ok(plan) };
        let rest = from.since(UnixMillis::now()).min(record::LISTING_GRACE);
        let trouble = format!("Connect may list late what was attached last: asking again in {} s", rest.as_secs());
        let (name, of, files) = (&mirror.config.name, plan.cases as u64, plan.files);
        tell(&Progress { mirror: name, phase: "asking", done: 0, of, files, trouble: Some(&trouble) });
        crate::host::time::sleep(rest).await;
        Ok(self.plan_now(mirror, more, accept, Some(from), tell).await?.0)
    }

    /// The plan from answers that are not older than `from`, and when the oldest of them was given.
    async fn plan_now(
        &self,
        mirror: &Mirror,
        more: &[CaseArn],
        accept: bool,
        from: Option<UnixMillis>,
        tell: Tell<'_>,
    ) -> Result<(Plan, Option<UnixMillis>), Fatal> {
        let local = local::look(mirror).await?;
        self.weigh_root(mirror, &local.root).await?;
        let mut cases = local.cases.clone();
        let (resolved, all_resolved) = self.resolve(mirror, local.references.values()).await?;
        let asked_all = all_resolved && !local.nameless;
        cases.extend(resolved);
        cases.extend(more.iter().cloned());
        let cases: Vec<CaseArn> = cases.into_iter().collect();
        let unknown_cases = self.ask(mirror, &cases, from, tell).await?;
        if !cases.is_empty() && unknown_cases.len() == cases.len() {
            let text = format!(
                "mirror {}: Connect knows none of its {} cases (such as {}), so nothing can be said of what was \
                 attached: check `instance_id`, `cases_domain` and `case` in the configuration",
                mirror.config.name,
                cases.len(),
                cases.first().map_or("", CaseArn::case_id)
            );
            return Err(Fatal::person(text));
        }
        let (mut found, mut oldest) = (Vec::new(), None);
        for case in &cases {
            let at = self.reader.asked(mirror.id, case)?.map(|(at, _)| at);
            oldest = oldest.into_iter().chain(at).min();
            for text in self.reader.found_on(mirror.id, case)? {
                // Written by this program; what it cannot read any more is asked for again some day, not guessed.
                if let Ok(one) = serde_json::from_str::<Found>(&text) {
                    found.push((case.clone(), one));
                }
            }
        }
        let mut plan = plan::make(mirror, &self.reader, local, found, cases.len(), unknown_cases, tell).await?;
        plan.asked_all = asked_all;
        if accept {
            self.compare(mirror, &mut plan, tell).await?;
        }
        Ok((plan, oldest))
    }

    /// Where the journal has files of the mirror, only the folder that it knows can be compared with it. While the loss is
    /// not made good, the one that stands there is meant, whatever was adopted from another before.
    async fn weigh_root(&self, mirror: &Mirror, walked: &RootIdentity) -> Result<(), Fatal> {
        self.renew_root(mirror).await?;
        let known = self.reader.mirror(mirror.id)?.and_then(|row| row.identity);
        let same = known.is_none_or(|known| known.is_same_as(walked));
        if same || mirror.is_held_by(HoldCode::JournalRebuilt) || !self.has_files(mirror)? {
            return Ok(());
        }
        let (name, path, fault) = (&mirror.config.name, mirror.config.path.display(), RootFault::Replaced);
        Err(Fatal::person(format!("mirror {name}: {path}: {fault}; nothing was adopted: bring the right one back")))
    }

    /// Whether the journal has files of the mirror that are attached, or are about to be.
    fn has_files(&self, mirror: &Mirror) -> Result<bool, JournalError> {
        for stage in Stage::ALL.iter().filter(|stage| stage.is_under_way()) {
            let open = self.reader.attachments_in_stage(*stage, None, usize::MAX)?;
            if open.iter().any(|attachment| attachment.mirror == mirror.id) {
                return Ok(true);
            }
        }
        Ok(self.reader.tracked_count(mirror.id)? > 0)
    }

    /// Knows the mirror's root again where a boot or another mount gave it another number, as a look of the daemon does.
    ///
    /// # Errors
    /// The journal's.
    pub async fn renew_root(&self, mirror: &Mirror) -> Result<(), JournalError> {
        let (id, path) = (mirror.id, mirror.config.path.clone());
        let Ok(Ok(root)) = crate::host::blocking(move || scan::open_root(&path)).await else { return Ok(()) };
        let (known, now) = (self.reader.mirror(id)?.and_then(|row| row.identity), root.identity());
        let renumbered = known.is_some_and(|known| !known.is_same_as(&now))
            && observe::is_same_folder(&root, known, mirror, &self.reader)?;
        if renumbered { self.journal.write(move |tx| tx.set_identity(id, Some(&now))).await } else { Ok(()) }
    }

    /// The cases that references mean, looked up and kept in the journal where it does not know them. Of an ambiguous
    /// one all that are known: it may have meant any of them when there was no other. And whether each means any.
    async fn resolve(
        &self,
        mirror: &Mirror,
        references: impl Iterator<Item = &Reference>,
    ) -> Result<(Vec<CaseArn>, bool), Fatal> {
        let Some(domain) = mirror.domain.get().cloned() else { return Ok((Vec::new(), true)) };
        let domain_id = domain.rsplit('/').next().unwrap_or_default();
        let (mut open, mut cases, mut all) = (Vec::new(), Vec::new(), true);
        let mut say = |known: &CaseRef| {
            let before = cases.len();
            let named = known.candidates.iter().filter_map(|c| CaseArn::in_domain(&known.domain, &c.case_id));
            cases.extend(known.case.iter().cloned().chain(named));
            all &= cases.len() > before;
        };
        for reference in references {
            match self.reader.case_ref(mirror.id, reference)? {
                Some(known) if known.domain == domain && known.state != RefState::Pending => say(&known),
                Some(_) | None => open.push(reference.clone()),
            }
        }
        if open.is_empty() {
            return Ok((cases, all));
        }
        let failed = |failure: Failure| {
            let text = format!("references to cases cannot be looked up: {failure}; nothing was adopted");
            let passes = matches!(failure.next, Next::Retry | Next::Throttled | Next::Offline);
            if passes { Fatal::temporary(text) } else { Fatal::person(text) }
        };
        let fields = resolve::ask_fields(&self.aws, domain_id).await.map_err(failed)?;
        for batch in batches(open, fields.id_field.as_deref()) {
            let outcomes = resolve::look_up(&self.aws, domain_id, &fields, batch).await.map_err(failed)?;
            let (id, domain) = (mirror.id, domain.clone());
            let learned = self.journal.write(move |tx| {
                let now = UnixMillis::now();
                let mut learned = Vec::with_capacity(outcomes.len());
                for (reference, outcome) in &outcomes {
                    record::want_reference(tx, id, reference.clone(), &domain, now)?;
                    learned.extend(record::learned(tx, id, reference, outcome, now)?);
                }
                Ok(learned)
            });
            learned.await?.iter().for_each(&mut say);
        }
        Ok((cases, all))
    }

    /// Asks the cases; returns those that Connect does not know.
    async fn ask(
        &self,
        mirror: &Mirror,
        cases: &[CaseArn],
        from: Option<UnixMillis>,
        tell: Tell<'_>,
    ) -> Result<Vec<CaseArn>, Fatal> {
        let mut unknown = Vec::new();
        let mut manners = Telling { mirror: &mirror.config.name, done: 0, of: cases.len() as u64, files: 0, tell };
        for case in cases {
            if let Some((known, files)) = self.answered(mirror, case, from)? {
                manners.files += files;
                manners.done += 1;
                if !known {
                    unknown.push(case.clone());
                }
                continue;
            }
            let listing = truth::listing(&self.aws, case, &mut manners).await.map_err(|f| unanswered(case, &f))?;
            let answers = truth::answers(&self.aws, case, &listing.files, &mut manners);
            let answers = answers.await.map_err(|f| unanswered(case, &f))?;
            let mut rows = Vec::with_capacity(answers.len());
            for (file, remote) in answers {
                let found = remote.map_or_else(|| Found::unanswered(&file), |remote| Found::new(&file, &remote));
                let text = serde_json::to_string(&found);
                rows.push((file, text.map_err(|e| Fatal::temporary(e.to_string()))?));
            }
            manners.files += rows.len() as u64;
            manners.done += 1;
            if !listing.known {
                unknown.push(case.clone());
            }
            let (id, case, known) = (mirror.id, case.clone(), listing.known);
            crash::at(Point::AdoptAsked);
            self.journal.write(move |tx| tx.put_found(id, &case, known, &rows, UnixMillis::now())).await?;
            crash::at(Point::AdoptKept);
        }
        manners.say(None);
        Ok(unknown)
    }

    /// Whether Connect knows the case and how many files it has, if an earlier answer is still good: a day, unless
    /// something was open then, and not older than `from`.
    fn answered(
        &self,
        mirror: &Mirror,
        case: &CaseArn,
        from: Option<UnixMillis>,
    ) -> Result<Option<(bool, u64)>, JournalError> {
        let Some((at, known)) = self.reader.asked(mirror.id, case)? else { return Ok(None) };
        let found = self.reader.found_on(mirror.id, case)?;
        let ended = |text: &String| {
            let found = serde_json::from_str::<Found>(text);
            found.is_ok_and(|one| !matches!(one.standing, Standing::Open | Standing::Unknown))
        };
        let late = from.is_none_or(|from| at >= from);
        let good = UnixMillis::now().since(at) < FRESH && late && found.iter().all(ended);
        Ok(good.then_some((known, found.len() as u64)))
    }

    /// Downloads what is proposed and keeps what holds exactly the file's content.
    async fn compare(&self, mirror: &Mirror, plan: &mut Plan, tell: Tell<'_>) -> Result<(), Fatal> {
        let of = plan.proposals.len() as u64;
        let files = plan.files;
        for (done, proposal) in (0_u64..).zip(&mut plan.proposals) {
            let progress = Progress { mirror: &mirror.config.name, phase: "comparing", done, of, files, trouble: None };
            tell(&progress);
            proposal.seen = local::content(mirror, &proposal.path).await;
            let Some(Seen::Present(stat, Content::Read(hash))) = proposal.seen else {
                proposal.compared = Some(false);
                continue;
            };
            let version = Version { size: stat.size, hash };
            let failed = |failure: Failure| unanswered(&proposal.tagged.case, &failure);
            let (aws, case, file) = (&self.aws, &proposal.tagged.case, &proposal.tagged.file);
            let found = truth::content(aws, case, file, &mut Quiet).await.map_err(failed)?;
            proposal.compared = Some(found == Some(version));
            proposal.tagged.version = version;
        }
        Ok(())
    }

    /// Takes over what the plan says, and ends the hold of the loss if nothing is left open. Returns how many
    /// attachments came into the journal.
    ///
    /// # Errors
    /// The journal's. What was written before stays, and another run goes on.
    pub async fn apply(&self, mirror: &Mirror, plan: &Plan, tell: Tell<'_>) -> Result<u64, Fatal> {
        let mut taken = 0;
        let (of, files) = (plan.entries.len() as u64, plan.files);
        let mut work: Vec<Adoption> = plan.entries.iter().map(|entry| entry.adoption.clone()).collect();
        work.extend(plan.proposals.iter().filter(|p| p.compared == Some(true)).map(Proposal::adoption));
        let domain = mirror.domain.get().cloned();
        let held = mirror.is_held_by(HoldCode::JournalRebuilt);
        if !work.is_empty() && !held && self.reader.is_young(mirror.id)? {
            // A part of it would look like the whole, after a kill too.
            let detail = "not all that the mirror attached before this journal began is taken over from Connect yet";
            mirror.begin_hold(&self.journal, HoldCode::JournalRebuilt, detail.to_owned()).await?;
        }
        if let Some(root) = plan.root.filter(|_| work.iter().any(|one| matches!(one.seen, Some(Seen::Present(..))))) {
            let (id, elsewhere, rules) = (mirror.id, plan.elsewhere.clone(), mirror.rules());
            let now = UnixMillis::now();
            self.journal.write(move |tx| record::adopted_here(tx, id, &root, &elsewhere, rules, now)).await?;
        }
        for (at, batch) in work.chunks(BATCH).enumerate() {
            let done = (at * BATCH) as u64;
            tell(&Progress { mirror: &mirror.config.name, phase: "writing", done, of, files, trouble: None });
            let (id, config, domain, batch) = (mirror.id, mirror.config.clone(), domain.clone(), batch.to_vec());
            taken += self
                .journal
                .write(move |tx| {
                    let mirror = Mirror::new(id, config, domain, Vec::new());
                    let now = UnixMillis::now();
                    let mut taken = 0;
                    for Adoption { path, take, seen } in &batch {
                        // A sidecar is not read here; the daemon's first look at the file reads it.
                        let route =
                            |path: &RelPath| Ok(mirror.route(tx, path, &Beside::Nothing)?.map(|routed| routed.target));
                        let seen = seen.as_ref();
                        taken += record::adopt(tx, (id, path), take, seen, &route, mirror.rules(), now)?;
                    }
                    Ok(taken)
                })
                .await?;
            crash::at(Point::AdoptTaken);
        }
        if plan.is_whole() {
            let id = mirror.id;
            let all = plan.asked_all;
            self.journal.write(move |tx| record::adopted(tx, id, (taken, all), UnixMillis::now())).await?;
            crash::at(Point::AdoptEnded);
        }
        Ok(taken)
    }
}

fn unanswered(case: &CaseArn, failure: &Failure) -> Fatal {
    let text = format!("case {}: {failure}; what was asked so far is kept, another run goes on there", case.case_id());
    match failure.next {
        Next::Credentials | Next::Park(_) => Fatal::person(text),
        _ => Fatal::temporary(text),
    }
}

/// Shows progress before each question.
struct Telling<'a, 't> {
    mirror: &'a str,
    done: u64,
    of: u64,
    files: u64,
    tell: Tell<'t>,
}

impl Telling<'_, '_> {
    fn say(&mut self, trouble: Option<&str>) {
        let (done, of, files) = (self.done, self.of, self.files);
        (self.tell)(&Progress { mirror: self.mirror, phase: "asking", done, of, files, trouble });
    }
}

impl Manners for Telling<'_, '_> {
    async fn before(&mut self) {
        self.say(None);
    }

    async fn trouble(&mut self, failure: &Failure, pause: Duration) {
        self.say(Some(&format!("{failure}; again in {} s", pause.as_secs())));
    }
}

/// Says nothing.
struct Quiet;

impl Manners for Quiet {
    async fn before(&mut self) {}

    async fn trouble(&mut self, _: &Failure, _: Duration) {}
}
