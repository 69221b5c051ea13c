//! What Connect says, asked for its own sake: the listing of a case, and the state of each file on it; and the
//! comparison of that with journal and disk ([`case`], [`run`], [`task`]).
//!
//! Read-only at Connect. Every question goes through the pacer of its operation. Passing failures are asked again
//! with growing pauses, a bounded number of times, so that no answer is ever taken from an error (LESSONS L29).

pub mod case;
pub mod run;
pub mod task;

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::aws::{Client, Failure, Next, Op, Remote, RemoteFile};
use crate::core::model::{ParkCode, Version};
use crate::core::retry;
use crate::host::random;
use crate::types::{CaseArn, ContentHash, FileId};

/// Ids that one status call takes (SERVICE.md 1.1).
const PAGE: usize = 100;
/// What is on a case.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// `false`: Connect knows no such case.
    pub known: bool,
    pub files: Vec<FileId>,
}

/// Something to do between two questions: say what happens, keep a share of the quota free.
pub trait Manners: Send {
    /// How often a question is asked while its answer is a passing failure: half an hour with the pauses between.
    const TRIES: u32 = 12;

    /// Called before each question.
    fn before(&mut self) -> impl Future<Output = ()> + Send;

    /// A question failed in passing; it is asked again after `pause`.
    fn trouble(&mut self, failure: &Failure, pause: Duration) -> impl Future<Output = ()> + Send;
}

/// Asks until there is an answer or a failure that does not pass.
async fn patiently<T, M, F>(manners: &mut M, mut question: impl FnMut() -> F) -> Result<T, Failure>
where
    M: Manners,
    F: Future<Output = Result<T, Failure>> + Send,
{
    let mut tries = 0;
    loop {
        manners.before().await;
        let failure = match question().await {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        let passing = matches!(failure.next, Next::Retry | Next::Throttled | Next::Offline | Next::Renew);
        tries += 1;
        if !passing || tries >= M::TRIES {
            return Err(failure);
        }
        let pause = retry::delay(tries, failure.hint, random());
        manners.trouble(&failure, pause).await;
        crate::host::time::sleep(pause).await;
    }
}

/// Every file on the case, whoever put it there.
pub async fn listing(aws: &Client, case: &CaseArn, manners: &mut impl Manners) -> Result<Listing, Failure> {
    match patiently(manners, || aws.case_files(case)).await {
        Ok(files) => Ok(Listing { known: true, files }),
        Err(failure) if failure.next == Next::Gone => Ok(Listing::default()),
        Err(failure) => Err(failure),
    }
}

/// The state of each file, in the order of `files`. `None`: no certain answer, which proves nothing.
///
/// A 404 for a whole page says nothing of any single file on it, so such a page is asked again in halves.
pub async fn states(
    aws: &Client,
    case: &CaseArn,
    files: &[FileId],
    manners: &mut impl Manners,
) -> Result<Vec<(FileId, Option<RemoteFile>)>, Failure> {
    let mut states = Vec::with_capacity(files.len());
    let mut pages: Vec<&[FileId]> = files.chunks(PAGE).rev().collect();
    while let Some(page) = pages.pop() {
        let answers = patiently(manners, || aws.statuses(case, page)).await?;
        if page.len() > 1 && answers.iter().all(|(_, remote)| *remote == Remote::Missing) {
            let (first, second) = page.split_at(page.len() / 2);
            pages.extend([second, first]);
            continue;
        }
        states.extend(answers.into_iter().map(|(file, remote)| match remote {
            Remote::Known(known) => (file, Some(known)),
            Remote::Error { .. } | Remote::Missing => (file, None),
        }));
    }
    Ok(states)
}

/// The same without what is listed still and deleted for certain. `None`: nothing certain is said.
pub async fn answers(
    aws: &Client,
    case: &CaseArn,
    files: &[FileId],
    manners: &mut impl Manners,
) -> Result<Vec<(FileId, Option<RemoteFile>)>, Failure> {
    let mut answers = Vec::with_capacity(files.len());
    for (file, remote) in states(aws, case, files, manners).await? {
        if remote.is_some() || !gone(aws, case, &file, manners).await? {
            answers.push((file, remote));
        }
    }
    Ok(answers)
}

/// The same, asked once and whole: silence about one file is a failure.
pub async fn answers_at_once(
    aws: &Client,
    case: &CaseArn,
    files: &[FileId],
) -> Result<Vec<(FileId, RemoteFile)>, Failure> {
    let answers = answers(aws, case, files, &mut Once).await?.into_iter();
    answers.map(|(file, remote)| Ok((file.clone(), remote.ok_or_else(|| no_answer(&file))?))).collect()
}

fn no_answer(file: &FileId) -> Failure {
    Failure {
        op: Op::BatchGet,
        next: Next::Retry,
        certain: true,
        code: "NoAnswer".to_owned(),
        message: format!("nothing certain is said of {file}, which is listed on the case"),
        http: None,
        request_id: None,
        hint: None,
    }
}

/// Asks once: whoever asks has tries of its own.
pub struct Once;

impl Manners for Once {
    const TRIES: u32 = 1;

    async fn before(&mut self) {}

    async fn trouble(&mut self, _: &Failure, _: Duration) {}
}

/// Whether GetAttachedFile says for certain that the file does not exist (404). Any other answer is no such proof; what
/// keeps all calls from being answered is none.
pub async fn gone(aws: &Client, case: &CaseArn, file: &FileId, manners: &mut impl Manners) -> Result<bool, Failure> {
    let of_all = |next| {
        let refused = matches!(next, Next::Park(ParkCode::AccessDenied) | Next::Credentials);
        refused || matches!(next, Next::Throttled | Next::Offline | Next::Renew)
    };
    match patiently(manners, || aws.confirm_gone(case, file)).await {
        Err(failure) if !of_all(failure.next) => Ok(false),
        answer => answer,
    }
}

/// What Connect holds under this FileId, downloaded. `None`: it gives no download.
pub async fn content(
    aws: &Client,
    case: &CaseArn,
    file: &FileId,
    manners: &mut impl Manners,
) -> Result<Option<Version>, Failure> {
    patiently(manners, || async {
        let Some(url) = aws.download(case, file).await?.url else { return Ok(None) };
        let mut sink = Hashing { hash: Sha256::new(), bytes: 0 };
        aws.fetch(&url, &mut sink).await?;
        Ok(Some(Version { size: sink.bytes, hash: ContentHash(sink.hash.finalize().into()) }))
    })
    .await
}

/// Counts and hashes what passes, and keeps none of it.
struct Hashing {
    hash: Sha256,
    bytes: u64,
}

impl std::io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
