//! The transfers at S3: one PUT to a presigned URL, one GET from one.
//!
//! A plain HTTP client, not the S3 SDK, which would add checksums to what is signed (SERVICE.md 2.3). HTTP/1.1, no
//! redirects, no retries, no headers of our own but Host, Accept and User-Agent, none of which is signed by us.
//! The PUT carries the exact length and is never chunked; proxies of the environment are honoured.

use std::collections::HashSet;
use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::answer::{Grant, Stored};
use super::body::{Body, Stream};
use super::classify::{Cause, classify};
use super::failure::{Failure, Op};
use super::pace::Lanes;
use super::sdk::{self, Answered};
use super::text::chain;
use super::{CONNECT_TIMEOUT, Client, s3_error};
use crate::crash::{self, Point};
use crate::host::time::{self, Instant};
use crate::types::PresignedUrl;

/// An error document of S3 is far smaller; more is not read.
const LONGEST_ANSWER: usize = 64 * 1024;

/// How long a transfer may stand still.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Without one more byte going out or coming in, and for the answer after the last byte.
    pub(super) stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { stall: Duration::from_secs(30) }
    }
}

/// The client of all transfers; one pool of connections.
pub(super) fn http_client() -> reqwest::Client {
    let builder = reqwest::Client::builder()
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .user_agent(concat!("casedrop/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT);
    // Only a broken TLS set-up fails here; the default client then says so with its first transfer.
    builder.build().unwrap_or_default()
}

impl Client {
    /// Sends the file to the granted URL: exactly the declared bytes, or the transfer breaks off.
    pub async fn put(&self, grant: &Grant, body: Body) -> Result<Stored, Failure> {
        let result = self.put_once(grant, body).await;
        match &result {
            Ok(_) => self.inner.lanes.succeeded(Op::Put),
            Err(failure) => self.inner.lanes.failed(failure),
        }
        result
    }

    async fn put_once(&self, grant: &Grant, body: Body) -> Result<Stored, Failure> {
        let fail = |cause, code: &str, message: &str| {
            sdk::build(Op::Put, classify(Op::Put, cause), code.to_owned(), message, Answered::default())
        };
        let size = body.size();
        let headers = headers(grant, size).map_err(|message| fail(Cause::FileChanged, "BadGrant", &message))?;
        let (stream, outcome) =
            body.open().map_err(|error| fail(Cause::FileChanged, "FileChanged", &error.to_string()))?;
        let progress = Progress::new();
        let body = Metered {
            stream,
            lanes: Arc::clone(&self.inner.lanes),
            progress: progress.clone(),
            wait: None,
            held: None,
        };
        let request = self.inner.http.put(grant.url.expose()).headers(headers).body(reqwest::Body::wrap(body));
        crash::at(Point::PutSend);
        let exchange = async {
            let answer = send(Op::Put, request).await?;
            progress.touch();
            read_answer(answer).await.map_err(|error| transport(Op::Put, error))
        };
        let answer = tokio::select! {
            // An answer that is there counts, however late.
            biased;
            answer = exchange => answer,
            // Dropping the exchange closes the connection, which is the only way to end a stalled PUT.
            () = progress.stalled(self.inner.patience.stall) => {
                let seconds = self.inner.patience.stall.as_secs();
                return Err(fail(Cause::Lost, "Stalled", &format!("no progress for {seconds} s")));
            }
        };
        if let Some(error) = outcome.file_error() {
            // Before the answer is looked at: an answer to half a file is of no interest.
            return Err(fail(Cause::FileChanged, "FileChanged", &error.to_string()));
        }
        let answer = answer?;
        if answer.status != 200 {
            return Err(answer.failure(Op::Put));
        }
        match outcome.sent() {
            Some(sent) if sent.bytes == size => Ok(Stored { request_id: answer.request_id, sent }),
            // S3 said yes before it had all bytes.
            _ => Err(fail(Cause::Lost, "EarlyAnswer", "the answer came before all bytes were sent")),
        }
    }

    /// Downloads what `url` stands for into `sink`; returns the number of bytes.
    pub async fn fetch(&self, url: &PresignedUrl, sink: &mut (dyn Write + Send)) -> Result<u64, Failure> {
        let result = self.fetch_once(url, sink).await;
        match &result {
            Ok(_) => self.inner.lanes.succeeded(Op::Fetch),
            Err(failure) => self.inner.lanes.failed(failure),
        }
        result
    }

    async fn fetch_once(&self, url: &PresignedUrl, sink: &mut (dyn Write + Send)) -> Result<u64, Failure> {
        let op = Op::Fetch;
        let fail = |cause, code: &str, message: &str| {
            sdk::build(op, classify(op, cause), code.to_owned(), message, Answered::default())
        };
        let stall = self.inner.patience.stall;
        let stalled = || fail(Cause::Lost, "Stalled", &format!("no progress for {} s", stall.as_secs()));
        crash::at(Point::FetchSend);
        let send = send(op, self.inner.http.get(url.expose()));
        let mut answer = time::timeout(stall, send).await.map_err(|_| stalled())??;
        if answer.status() != reqwest::StatusCode::OK {
            let answer = time::timeout(stall, read_answer(answer)).await.map_err(|_| stalled())?;
            return Err(answer.map_err(|error| transport(op, error))?.failure(op));
        }
        let mut bytes = 0;
        loop {
            let chunk = time::timeout(stall, answer.chunk()).await.map_err(|_| stalled())?;
            let Some(chunk) = chunk.map_err(|error| transport(op, error))? else {
                crash::at(Point::FetchAnswered);
                return Ok(bytes);
            };
            sink.write_all(&chunk)
                .map_err(|error| fail(Cause::FileChanged, "WriteFailed", &format!("write the download: {error}")))?;
            bytes += chunk.len() as u64;
        }
    }
}

/// Sends one request, as far as the head of its answer.
async fn send(op: Op, request: reqwest::RequestBuilder) -> Result<reqwest::Response, Failure> {
    #[cfg(test)]
    if let Some(wire) = super::in_process::wire() {
        return super::in_process::transfer(&*wire, op, request).await;
    }
    request.send().await.map_err(|error| transport(op, error))
}

/// The granted headers, each once. Host and length are what the client itself sends, so they only have to agree.
fn headers(grant: &Grant, size: u64) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::with_capacity(grant.headers.len() + 1);
    let mut seen = HashSet::new();
    for (name, value) in &grant.headers {
        let bad = || format!("the granted header {name:?} cannot be sent");
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        if !seen.insert(name.clone()) {
            return Err(format!("the granted header {name} comes twice"));
        }
        if name == reqwest::header::CONTENT_LENGTH && value.trim().parse() != Ok(size) {
            return Err(format!("the grant is for {} bytes, the file has {size}", value.trim()));
        }
        if name == reqwest::header::HOST || name == reqwest::header::CONTENT_LENGTH {
            continue;
        }
        // As bytes: a Content-Disposition may hold a name beyond ASCII.
        map.insert(name, HeaderValue::from_bytes(value.as_bytes()).map_err(|_| bad())?);
    }
    map.insert(reqwest::header::CONTENT_LENGTH, HeaderValue::from(size));
    Ok(map)
}

/// An answer of S3, read to its bounded end.
#[derive(Debug)]
struct Answer {
    status: u16,
    request_id: Option<String>,
    hint: Option<Duration>,
    body: Vec<u8>,
}

impl Answer {
    fn failure(&self, op: Op) -> Failure {
        let error = s3_error::parse(&self.body);
        let cause = if (200..300).contains(&self.status) {
            // A success of a kind that S3 does not give here, whatever its body says: what it did is not known.
            Cause::Lost
        } else {
            Cause::Answer { http: self.status, code: &error.code, reason: None, message: &error.message }
        };
        let told = Answered { http: Some(self.status), request_id: self.request_id.as_deref(), hint: self.hint };
        let class = classify(op, cause);
        sdk::build(op, class, error.code, &error.message, told)
    }
}

async fn read_answer(mut answer: reqwest::Response) -> Result<Answer, reqwest::Error> {
    let text = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
    let request_id = text("x-amz-request-id");
    let hint = text("retry-after").and_then(|value| sdk::retry_after(&value, text("date").as_deref()));
    let status = answer.status().as_u16();
    let mut body = Vec::new();
    while body.len() < LONGEST_ANSWER {
        match answer.chunk().await {
            Ok(Some(chunk)) => {
                let room = LONGEST_ANSWER - body.len();
                body.extend_from_slice(chunk.get(..chunk.len().min(room)).unwrap_or_default());
            }
            Ok(None) => break,
            // The status stands; the rest was an explanation.
            Err(_) => break,
        }
    }
    Ok(Answer { status, request_id, hint, body })
}

/// What a failure on the way means. The error is stripped of its URL before anything else looks at it.
pub(super) fn transport(op: Op, error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let (cause, code) = if error.is_connect() {
        (Cause::NotSent, "ConnectFailed")
    } else if error.is_builder() {
        (Cause::Lost, "BadUrl")
    } else if error.is_timeout() {
        (Cause::Lost, "Timeout")
    } else {
        (Cause::Lost, "ConnectionLost")
    };
    let source: &(dyn Error + 'static) = &error;
    sdk::build(op, classify(op, cause), code.to_owned(), &chain(source), Answered::default())
}

/// When the transfer last moved, in milliseconds since its begin.
#[derive(Debug, Clone)]
struct Progress(Arc<(Instant, AtomicU64)>);

impl Progress {
    fn new() -> Self {
        Self(Arc::new((Instant::now(), AtomicU64::new(0))))
    }

    fn touch(&self) {
        let (begin, last) = &*self.0;
        last.store(u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Ends once the transfer has stood still for `patience`. One timer at a time, however many chunks pass.
    async fn stalled(&self, patience: Duration) {
        let (begin, last) = &*self.0;
        loop {
            let deadline = *begin + Duration::from_millis(last.load(Ordering::Relaxed)) + patience;
            if deadline <= Instant::now() {
                return;
            }
            time::sleep_until(deadline).await;
        }
    }
}

/// The body as the HTTP client sees it: exact length, bandwidth shared with the other uploads, progress noted.
struct Metered {
    stream: Stream,
    lanes: Arc<Lanes>,
    progress: Progress,
    /// Runs while the bandwidth has no room for `held`.
    wait: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
    /// Read from the file, not yet handed out.
    held: Option<Bytes>,
}

impl fmt::Debug for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metered").finish_non_exhaustive()
    }
}

impl http_body::Body for Metered {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        if let Some(wait) = &mut this.wait {
            ready!(wait.as_mut().poll(cx));
            this.wait = None;
        }
        let mut chunk = match this.held.take() {
            Some(chunk) => chunk,
            None => match ready!(this.stream.poll_chunk(cx)) {
                Some(Ok(chunk)) => chunk,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None if this.stream.left() > 0 => {
                    return Poll::Ready(Some(Err(io::Error::other("the reader of the file ended early"))));
                }
                None => return Poll::Ready(None),
            },
        };
        this.progress.touch();
        crash::at(Point::PutMiddle);
        if let Some(piece) = this.lanes.piece() {
            if chunk.len() > piece {
                this.held = Some(chunk.split_off(piece));
            }
            // The wait is for the next piece: the books are exact, and this piece goes at once.
            let wait = this.lanes.bytes(chunk.len());
            if !wait.is_zero() {
                this.wait = Some(Box::pin(time::sleep(wait)));
            }
        }
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.stream.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.stream.left() + self.held.as_ref().map_or(0, |held| held.len() as u64))
    }
}
