//! The daemon's ear: a socket beside the journal, one JSON line in, one out.
//!
//! The journal has one writer, so what a person asks of a running daemon is done by the daemon. Without one, the
//! command takes the journal's lock and does the same by itself. The socket is for the daemon's own user (0600).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::core::compare::Class;
use crate::core::model::{HoldCode, MirrorId, RootIdentity};
use crate::core::sidecar::Beside;
use crate::crash::{self, Point};
use crate::fatal::{Fatal, FatalKind};
use crate::host::time;
use crate::journal::{Journal, JournalError};
use crate::passes::{Looked, Ticket};
use crate::record::{self, Kept};
use crate::scan;
use crate::truth;
use crate::types::{RelPath, UnixMillis};
use crate::weather::Told;
use crate::world::{Mirror, World};

/// Longest request: some ten thousand paths.
const LONGEST_LINE: u64 = 16 << 20;
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a person asks for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Let parked and waiting files try again; no path = all of the mirror.
    Retry { mirror: String, paths: Vec<Vec<u8>> },
    /// Call deletes back: the attachments stay although their files are gone.
    Keep { mirror: String, paths: Vec<Vec<u8>> },
    /// End these holds of the mirror, if exactly `count` files are gone, and let their deletes go past the budget.
    /// `root`: for `root-replaced`, the folder that the person was shown at the mirror's path.
    Release { mirror: String, holds: Vec<String>, count: u64, root: Option<RootIdentity> },
    /// Compare the mirror with Connect now, from the first case, at full pace.
    Verify { mirror: String, deep: bool },
    /// Carry out what the differences of one class propose; there must be exactly `count` of them.
    Repair { mirror: String, class: String, count: u64 },
    /// Which folder stands at the mirror's path, as the daemon sees it; a person accepts that one with a release.
    Stands { mirror: String },
    /// Look at the whole mirror now; with a ticket: what became of the look it is for.
    Look { mirror: String, ticket: Option<Ticket> },
    /// What keeps the daemon from making calls at present.
    Weather,
}

impl Request {
    fn mirror(&self) -> &str {
        match self {
            Self::Retry { mirror, .. }
            | Self::Keep { mirror, .. }
            | Self::Release { mirror, .. }
            | Self::Stands { mirror }
            | Self::Look { mirror, .. }
            | Self::Verify { mirror, .. }
            | Self::Repair { mirror, .. } => mirror,
            Self::Weather => "",
        }
    }
}

/// Differences older than this are found again before anything is repaired by them.
const FRESH: Duration = Duration::from_secs(3600);

/// What came of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Reply {
    /// Files or holds that changed.
    pub done: u64,
    pub text: String,
    /// The answer to [`Request::Look`]; `None` where the daemon has no such mirror.
    #[serde(default)]
    pub pass: Option<(Ticket, Looked)>,
    /// The answer to [`Request::Stands`].
    #[serde(default)]
    pub stands: Option<Stands>,
    /// The answer to [`Request::Weather`]; `None` from a daemon that does not know the question.
    #[serde(default)]
    pub weather: Option<Vec<Told>>,
}

/// What stands at a mirror's path.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stands {
    pub root: RootIdentity,
    pub empty: bool,
}

/// Looks at the folder at a mirror's path.
///
/// # Errors
/// There is none that can be opened.
pub async fn stands(path: &Path) -> Result<Stands, Fatal> {
    let folder = path.to_owned();
    let looked = crate::host::blocking(move || {
        let root = scan::open_root(&folder)?;
        let empty = std::fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_none());
        Ok(Stands { root: root.identity(), empty })
    });
    let looked = looked.await.map_err(|error| Fatal::temporary(error.to_string()))?;
    looked.map_err(|fault: scan::RootFault| Fatal::person(format!("{}: {fault}", path.display())))
}

/// Where the daemon on this journal listens.
pub fn socket_path(journal: &Path) -> PathBuf {
    let mut name = journal.as_os_str().to_owned();
    name.push(".sock");
    PathBuf::from(name)
}

/// Asks the daemon. `None`: none runs on this journal.
///
/// # Errors
/// What the daemon will not do, or why there was no answer.
pub async fn ask(journal: &Path, request: &Request) -> Result<Option<Reply>, Fatal> {
    let path = socket_path(journal);
    let stream = match UnixStream::connect(&path).await {
        Ok(stream) => stream,
        Err(error) => {
            use std::io::ErrorKind::{ConnectionRefused, NotFound};
            if matches!(error.kind(), NotFound | ConnectionRefused) {
                return Ok(None);
            }
            let text = format!("the daemon's socket {} cannot be reached: {error}", path.display());
            return Err(Fatal::temporary(text));
        }
    };
    let exchange = async {
        let (read, mut write) = stream.into_split();
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        write.write_all(&line).await?;
        let mut answer = String::new();
        BufReader::new(read.take(LONGEST_LINE)).read_line(&mut answer).await?;
        Ok::<_, std::io::Error>(serde_json::from_str::<Result<Reply, Fatal>>(&answer)?)
    };
    match time::timeout(PATIENCE, exchange).await {
        Ok(Ok(Ok(reply))) => Ok(Some(reply)),
        Ok(Ok(Err(Fatal { kind, text }))) => Err(Fatal { kind, text: format!("the daemon did not do it: {text}") }),
        Ok(Err(error)) => Err(Fatal::temporary(format!("the daemon gave no answer ({error}); look at its log"))),
        Err(_) => Err(Fatal::temporary("the daemon did not answer within 30 s; look at its log".to_owned())),
    }
}

/// Does it without a daemon, under the journal's lock.
///
/// # Errors
/// The journal cannot be opened (a daemon started meanwhile, say), or there is no such mirror.
pub async fn offline(config: &Config, request: &Request) -> Result<Reply, Fatal> {
    let path = config.journal_path.clone();
    let opened = crate::host::blocking(move || Journal::open(&path)).await;
    let journal = opened.unwrap_or_else(|error| Err(JournalError::internal(&error.to_string())))?;
    let request = request.clone();
    let domain = config.connect.domain_arn();
    let mirrors: Vec<Arc<Mirror>> = config
        .mirrors
        .iter()
        .map(|m| Arc::new(Mirror::new(MirrorId(-1), m.clone(), domain.clone(), Vec::new())))
        .collect();
    let reply = match accepted(&request, &mirrors).await {
        Ok(stands) => journal.write(move |tx| act(tx, &request, &mirrors, stands.as_ref())).await,
        Err(refused) => Ok(Err(refused)),
    };
    let closed = crate::host::blocking(move || journal.close()).await;
    drop(closed);
    reply?
}

/// The folder that a release is to accept as the mirror's: the very one that the person was shown, and still there.
/// A disk can come back or go while a person types. Found before the transaction, which must not wait for a disk.
async fn accepted(request: &Request, mirrors: &[Arc<Mirror>]) -> Result<Option<RootIdentity>, Fatal> {
    let Request::Release { mirror: name, holds, root: shown, .. } = request else { return Ok(None) };
    if !holds.iter().any(|code| code == HoldCode::RootReplaced.as_str()) {
        return Ok(None);
    }
    let Some(mirror) = mirrors.iter().find(|mirror| mirror.config.name == *name) else {
        let text = format!("the mirror `{name}` is not configured, so no folder can be its root: nothing was released");
        return Err(Fatal::person(text));
    };
    let refused = |kind, text: &str| Fatal { kind, text: format!("{text}: nothing was released") };
    let found = stands(&mirror.config.path).await.map_err(|fatal| refused(fatal.kind, &fatal.text))?.root;
    if shown.is_some_and(|shown| shown.is_same_as(&found)) {
        return Ok(Some(found));
    }
    let at = mirror.config.path.display();
    Err(refused(FatalKind::Person, &format!("by now another folder stands at {at} than was shown")))
}

/// One request in one transaction. The inner error is the asker's.
fn act(
    tx: &crate::journal::Tx<'_>,
    request: &Request,
    mirrors: &[Arc<Mirror>],
    stands: Option<&RootIdentity>,
) -> Result<Result<Reply, Fatal>, JournalError> {
    let now = UnixMillis::now();
    let name = request.mirror();
    let Some(mirror) = tx.mirror_by_name(name)? else {
        return Ok(Err(Fatal::usage(format!("the journal knows no mirror `{name}`"))));
    };
    match request {
        Request::Retry { paths, .. } => {
            let mut wanted: Vec<RelPath> = paths.iter().filter_map(|p| RelPath::new(p.as_slice())).collect();
            if paths.is_empty() {
                for word in ["parked", "queued", "deleting", "unrouted"] {
                    wanted.extend(tx.files_with(mirror.id, word, None, usize::MAX)?.into_iter().map(|row| row.path));
                }
            }
            let mut done = 0;
            for path in &wanted {
                done += u64::from(record::retry(tx, mirror.id, path, now)?);
                let Some(configured) = mirrors.iter().find(|mirror| mirror.config.name == *name) else { continue };
                if record::waits_for_reference(tx, mirror.id, path)? {
                    // What a sidecar says is not read here: then all of the mirror's open references are looked for.
                    let named = (!configured.config.sidecar).then(|| configured.reference_of(path, &Beside::Nothing));
                    record::look_again_for(tx, mirror.id, named.flatten().as_ref(), now)?;
                    done += 1;
                }
            }
            Ok(Ok(Reply { done, text: format!("{done} of {} files try again", wanted.len()), ..Reply::default() }))
        }
        Request::Keep { paths, .. } => {
            // There a file's absence means nothing at Connect.
            let ingests = mirrors.iter().any(|one| one.config.name == *name && one.rules().ingest);
            let (mut done, mut lines) = (0, Vec::with_capacity(paths.len()));
            for path in paths.iter().filter_map(|path| RelPath::new(path.as_slice())) {
                let kept = if ingests { Kept::NotWaiting } else { record::keep(tx, mirror.id, &path, now)? };
                done += u64::from(matches!(kept, Kept::Now | Kept::Already));
                lines.push(format!("{path}: {}", said(kept)));
            }
            Ok(Ok(Reply { done, text: lines.join("\n"), ..Reply::default() }))
        }
        Request::Release { holds, count, .. } => {
            let gone = tx.waiting_deletes(mirror.id)?;
            if gone != *count {
                let text = format!("by now {gone} files are gone, not {count}: nothing was released, look again");
                return Ok(Err(Fatal::person(text)));
            }
            if let Some(hold) = mirror.holds.iter().find(|hold| !holds.iter().any(|shown| hold.code.as_str() == shown))
            {
                let text = format!("by now it is held by {} too: nothing was released, look again", hold.code);
                return Ok(Err(Fatal::person(text)));
            }
            let shown: Vec<HoldCode> = holds.iter().filter_map(|code| HoldCode::parse(code)).collect();
            let ended = record::release(tx, mirror.id, &shown, stands, now)?;
            if ended.is_empty() {
                return Ok(Err(Fatal::person(format!("the mirror `{name}` is not held any more"))));
            }
            let codes: Vec<&str> = ended.iter().map(|code| code.as_str()).collect();
            let text = format!("the hold {} of `{name}` is released", codes.join(" and "));
            Ok(Ok(Reply { done: ended.len() as u64, text, ..Reply::default() }))
        }
        // Nothing is written for them, and only a daemon can look.
        Request::Look { .. } | Request::Stands { .. } | Request::Weather => {
            Ok(Err(Fatal::temporary("no daemon runs that could look".to_owned())))
        }
        Request::Verify { deep, .. } => {
            truth::run::begin(tx, mirror.id, *deep, true, now)?;
            Ok(Ok(Reply { done: 1, ..Reply::default() }))
        }
        Request::Repair { class, count, .. } => {
            let Some(class) = Class::parse(class) else {
                return Ok(Err(Fatal::usage(format!("there is no class `{class}`"))));
            };
            let mut found = tx.differences(mirror.id, usize::MAX)?;
            found.retain(|d| d.class == class);
            if found.len() as u64 != *count {
                let text = format!("there are {} of class {} now: compare again", found.len(), class.as_str());
                return Ok(Err(Fatal::person(text)));
            }
            if found.iter().any(|d| now.since(d.found_at) > FRESH) {
                return Ok(Err(Fatal::person("what was found is more than an hour old: compare again".to_owned())));
            }
            let mut done = 0;
            for difference in &found {
                done += u64::from(record::repair(tx, mirror.id, difference, now)?);
            }
            let mut text = format!("{done} of {count} under way: {}", class.proposal());
            if class == Class::Missing {
                text.push_str(", or forget it where it is gone here too");
            }
            Ok(Ok(Reply { done, text, ..Reply::default() }))
        }
    }
}

/// What happened to one file, in words.
fn said(kept: Kept) -> &'static str {
    match kept {
        Kept::Now => "its delete is called back; the attachment stays at Connect until the file comes back",
        Kept::Already => "kept already",
        Kept::Sent => "not kept: its delete was sent to Connect and cannot be called back",
        Kept::NotThere => {
            "its delete is called back, but `casedrop verify` found that Connect does not have it any more"
        }
        Kept::NotWaiting => "not kept: it does not wait to be deleted",
    }
}

/// The socket of a daemon on this journal.
pub struct Socket {
    path: PathBuf,
    listener: UnixListener,
}

/// Makes the socket: from now on whoever asks is heard, if not at once. Without one the daemon runs all the same; only
/// commands by hand need it.
pub fn bind(journal: &Path) -> Option<Socket> {
    let path = socket_path(journal);
    // Left by a process that was killed: we hold the journal's lock, so nobody listens on it.
    let _ = std::fs::remove_file(&path);
    let listener = match UnixListener::bind(&path) {
        Ok(listener) => listener,
        Err(error) => {
            let shown = path.display();
            tracing::warn!("no control socket at {shown} ({error}): retry and release need the daemon stopped");
            return None;
        }
    };
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    if let Err(error) = std::fs::set_permissions(&path, private) {
        tracing::warn!("the control socket {} cannot be made private: {error}", path.display());
    }
    Some(Socket { path, listener })
}

/// Answers until `stop`.
pub async fn listen(world: Arc<World>, Socket { path, listener }: Socket, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            // A connection that is not yet accepted is refused when the socket closes.
            () = stop.cancelled() => break,
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    tokio::spawn(serve(Arc::clone(&world), stream));
                }
            }
        }
    }
    let _ = std::fs::remove_file(&path);
}

async fn serve(world: Arc<World>, stream: UnixStream) {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut read = BufReader::new(read.take(LONGEST_LINE));
    let got = time::timeout(PATIENCE, read.read_line(&mut line)).await;
    if !matches!(got, Ok(Ok(n)) if n > 0) {
        return;
    }
    let answer = match serde_json::from_str::<Request>(&line) {
        Ok(Request::Look { mirror, ticket }) => Ok(look(&world, &mirror, ticket)),
        // Nor may the journal be asked: it may be what is the matter.
        Ok(Request::Weather) => Ok(Reply { weather: Some(world.weather.told()), ..Reply::default() }),
        Ok(Request::Stands { mirror }) => match world.mirrors.iter().find(|one| one.config.name == mirror) {
            Some(one) => stands(&one.config.path).await.map(|found| Reply { stands: Some(found), ..Reply::default() }),
            None => Err(Fatal::person(format!("there is no mirror `{mirror}` in its configuration"))),
        },
        Ok(request) => perform(&world, &request).await,
        Err(error) => {
            Err(Fatal::person(format!("not a request that this version knows ({error}): restart the daemon")))
        }
    };
    if let Ok(mut text) = serde_json::to_vec(&answer) {
        text.push(b'\n');
        // Who asked may be gone.
        let _ = write.write_all(&text).await;
    }
}

/// Does what a person asks for, and lets the loops see it.
pub async fn perform(world: &World, request: &Request) -> Result<Reply, Fatal> {
    crash::at(Point::ControlHeard);
    let (asked, mirrors) = (request.clone(), world.mirrors.clone());
    let stands = accepted(request, &mirrors).await?;
    let answer = world.journal.write(move |tx| act(tx, &asked, &mirrors, stands.as_ref())).await?;
    crash::at(Point::ControlDone);
    after(world, request).await;
    answer
}

/// Rings for a full pass, or says what became of one that was asked for.
fn look(world: &World, name: &str, ticket: Option<Ticket>) -> Reply {
    let pass = world.mirrors.iter().find(|mirror| mirror.config.name == name).map(|mirror| {
        match ticket.map(|ticket| (ticket, mirror.passes.look(ticket))) {
            Some(known) if known.1 != Looked::Unknown => known,
            // The number first: a pass that begins after it began after the call.
            _ => {
                let ticket = mirror.passes.ask();
                mirror.bell.look_everywhere("asked to by `casedrop flush`");
                (ticket, Looked::NotYet)
            }
        }
    });
    Reply { pass, ..Reply::default() }
}

/// Lets the loops see what was changed.
async fn after(world: &World, request: &Request) {
    if let Request::Verify { .. } = request {
        world.asked.notify_one();
        return;
    }
    if let Some(mirror) = world.mirrors.iter().find(|m| m.config.name == request.mirror()) {
        let id = mirror.id;
        if let Ok(Some(row)) = world.journal.write(move |tx| tx.mirror(id)).await {
            mirror.adopt_holds(row.holds);
        }
        mirror.bell.look_everywhere("asked for by hand");
    }
    world.work.notify_one();
    world.references.notify_one();
}
