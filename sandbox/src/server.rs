//! Connections, routing, signatures, faults and the log: what surrounds every operation.
//!
//! Order for each request: route, (API: read the body,) check the signature, scripted fault, throttle, operation,
//! answer, log. A request whose client went away is logged with status 0.

use std::fmt;
use std::io::Read;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Limited};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::Millis;
use crate::faults::FaultKind;
use crate::log::LoggedRequest;
use crate::objects::Failure;
use crate::op::{Op, Service};
use crate::reply::{ApiError, Reply, ReplyBody};
use crate::sigv4::{self, Signed};
use crate::state::{Shared, lock};
use crate::{cases_api, files_api, ids, objects, uri};

/// Largest body of an API request; the longest valid one is far below.
const MAX_API_BODY: usize = 1024 * 1024;
/// A client that has not sent its headers by then is let go.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a refused PUT may go on sending, so that its client gets to read the answer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long open connections may finish after the stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// How often files whose time has come are written to disk.
const SETTLE_EVERY: Duration = Duration::from_millis(50);

/// The connection ends without (the rest of) an answer.
#[derive(Debug)]
pub(crate) struct Hangup;

impl fmt::Display for Hangup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection ended on purpose")
    }
}

impl std::error::Error for Hangup {}

/// One request on its way through, with what the log will say of it.
pub(crate) struct Call {
    pub(crate) query: Vec<(String, String)>,
    pub(crate) body: Bytes,
    pub(crate) case_id: Option<String>,
    pub(crate) file_id: Option<String>,
    pub(crate) client_token: Option<String>,
    pub(crate) bytes: u64,
    /// A scripted fault: statuses in the answer are ones nobody knows.
    pub(crate) unknown_status: bool,
    shared: Arc<Shared>,
    op: Op,
    at: Millis,
    began: Duration,
    request_id: String,
    status: u16,
    error: Option<String>,
    fault: Option<&'static str>,
}

impl Drop for Call {
    /// Logs the request, also one that was dropped because its client went away.
    fn drop(&mut self) {
        self.shared.log.push(LoggedRequest {
            number: 0,
            at: self.at,
            op: self.op,
            status: self.status,
            error: self.error.take(),
            request_id: std::mem::take(&mut self.request_id),
            case_id: self.case_id.take(),
            file_id: self.file_id.take(),
            client_token: self.client_token.take(),
            fault: self.fault,
            bytes: self.bytes,
            took_us: u64::try_from(self.shared.clock.elapsed().saturating_sub(self.began).as_micros())
                .unwrap_or(u64::MAX),
        });
    }
}

/// Accepts connections until told to stop, then gives the open ones a moment.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut stopping = shared.stopping.clone();
    let mut connections = JoinSet::new();
    let mut settle = tokio::time::interval(SETTLE_EVERY);
    settle.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        // Every arm may be dropped: accepting, ticking and reaping lose nothing when begun anew.
        tokio::select! {
            () = stopped(&mut stopping) => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&shared)));
                }
                Err(error) => {
                    // Out of descriptors, most likely: wait for some to be closed.
                    tracing::warn!(%error, "accept a connection to the sandbox");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            },
            _ = settle.tick() => settle_due(&shared),
            Some(_) = connections.join_next() => {}
        }
    }
    let finished = tokio::time::timeout(STOP_TIMEOUT, async { while connections.join_next().await.is_some() {} });
    if finished.await.is_err() {
        connections.shutdown().await;
    }
}

/// Resolves when the sandbox is told to stop, or its last handle is gone.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

fn settle_due(shared: &Shared) {
    let due = shared.model().settle_due(shared.clock.now());
    for record in due {
        // A failure was logged; what the model says holds all the same.
        let _ = shared.persist(&record);
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let mut stopping = shared.stopping.clone();
    let service = service_fn(move |request| handle(Arc::clone(&shared), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // Errors here are the client's (garbage, gone) or scripted; both are in the log already.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stopped(&mut stopping) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// Operation and path parameters of a request.
fn route(method: &Method, path: &str) -> (Op, Vec<String>) {
    let segments: Option<Vec<String>> =
        path.strip_prefix('/').unwrap_or_default().split('/').map(uri::decode).collect();
    let Some(segments) = segments else {
        return (Op::Unknown, Vec::new());
    };
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (op, parameters): (Op, &[&str]) = match (method.as_str(), parts.as_slice()) {
        ("PUT", ["attached-files", instance]) => (Op::StartAttachedFileUpload, &[instance]),
        ("POST", ["attached-files", instance]) => (Op::BatchGetAttachedFileMetadata, &[instance]),
        ("POST", ["attached-files", instance, file]) => (Op::CompleteAttachedFileUpload, &[instance, file]),
        ("GET", ["attached-files", instance, file]) => (Op::GetAttachedFile, &[instance, file]),
        ("DELETE", ["attached-files", instance, file]) => (Op::DeleteAttachedFile, &[instance, file]),
        ("GET", ["attached-files-configurations", instance, scope]) => {
            (Op::DescribeAttachedFilesConfiguration, &[instance, scope])
        }
        ("POST", ["domains", domain, "cases", case, "related-items-search"]) => {
            (Op::SearchRelatedItems, &[domain, case])
        }
        ("POST", ["domains", domain, "cases-search"]) => (Op::SearchCases, &[domain]),
        ("POST", ["domains", domain, "cases", case]) => (Op::GetCase, &[domain, case]),
        ("POST", ["domains-list"]) => (Op::ListDomains, &[]),
        ("POST", ["domains", domain, "fields-list"]) => (Op::ListFields, &[domain]),
        ("PUT", [ids::BUCKET, "staging", file]) => (Op::PutObject, &[file]),
        ("GET", [ids::BUCKET, "attachments", file]) => (Op::GetObject, &[file]),
        _ => (Op::Unknown, &[]),
    };
    let parameters = parameters.iter().map(|part| (*part).to_owned()).collect();
    (op, parameters)
}

/// Answers one request, or ends its connection.
pub(crate) async fn handle<B>(shared: Arc<Shared>, request: Request<B>) -> Result<Response<ResponseBody>, Hangup>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (parts, mut body) = request.into_parts();
    let (op, parameters) = route(&parts.method, parts.uri.path());
    let mut service = op.service();
    if op == Op::Unknown && parts.uri.path().starts_with(&format!("/{}", ids::BUCKET)) {
        service = Service::S3;
    }
    let mut call = Call {
        query: Vec::new(),
        body: Bytes::new(),
        case_id: None,
        file_id: match op.service() {
            Service::Cases => None,
            _ if op == Op::DescribeAttachedFilesConfiguration => None,
            Service::S3 => parameters.first().cloned(),
            Service::Connect => parameters.get(1).cloned(),
        },
        client_token: None,
        bytes: 0,
        unknown_status: false,
        at: shared.clock.now(),
        began: shared.clock.elapsed(),
        request_id: request_id(&shared, service),
        status: 0,
        error: None,
        fault: None,
        shared: Arc::clone(&shared),
        op,
    };
    let outcome = match service {
        Service::S3 => object_request(&shared, &mut call, &parts, &mut body, &parameters).await,
        _ => api_request(&shared, &mut call, &parts, &mut body, &parameters).await,
    };
    let reply = match outcome {
        Ok(reply) => reply,
        Err(Failure::Hangup(hangup)) => return Err(hangup),
        Err(Failure::Error(error)) => {
            call.error = Some(error.kind.clone());
            if !parts.headers.contains_key("expect") {
                drain(&shared, &mut body).await;
            }
            error.into_reply(service, &call.request_id)
        }
    };
    call.status = reply.status.as_u16();
    Ok(respond(reply, service, &call.request_id))
}

fn request_id(shared: &Shared, service: Service) -> String {
    let id = shared.ids.uuid();
    match service {
        Service::S3 => id.replace('-', "").to_uppercase().chars().take(16).collect(),
        _ => id,
    }
}

/// Reads and forgets the rest of a body, within bounds.
async fn drain<B: http_body::Body<Data = Bytes> + Unpin>(shared: &Shared, body: &mut B) {
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    tokio::select! {
        biased;
        () = rest => {}
        () = shared.clock.sleep(DRAIN_TIMEOUT) => {}
    }
}

fn respond(reply: Reply, service: Service, request_id: &str) -> Response<ResponseBody> {
    let (length, body) = match reply.body {
        ReplyBody::Bytes(bytes) => {
            (u64::try_from(bytes.len()).unwrap_or(0), ResponseBody::Bytes(Some(Bytes::from(bytes))))
        }
        ReplyBody::File(file, length) => (length, ResponseBody::File { file, left: length }),
    };
    let mut response = Response::new(body);
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    let id_header = if service == Service::S3 { "x-amz-request-id" } else { "x-amzn-requestid" };
    let mut all = reply.headers;
    all.push((id_header, request_id.to_owned()));
    all.push(("content-length", length.to_string()));
    for (name, value) in all {
        // A scripted Retry-After may hold anything; what is no header value is left out.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

async fn api_request<B>(
    shared: &Arc<Shared>,
    call: &mut Call,
    parts: &Parts,
    body: &mut B,
    parameters: &[String],
) -> Result<Reply, Failure>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let service = call.op.service();
    call.body = match Limited::new(&mut *body, MAX_API_BODY).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            return Err(ApiError::new(413, "RequestEntityTooLargeException", "The body is too large.").into());
        }
        Err(_) => return Err(Failure::Hangup(Hangup)),
    };
    call.bytes = u64::try_from(call.body.len()).unwrap_or(u64::MAX);
    if call.op == Op::Unknown {
        return Err(ApiError::new(404, "UnknownOperationException", "Unknown operation.").into());
    }
    call.query = uri::query_pairs(parts.uri.query().unwrap_or_default())
        .ok_or_else(|| ApiError::serialization("The query is not valid UTF-8."))?;
    let request =
        Signed { method: parts.method.as_str(), path: parts.uri.path(), query: &call.query, headers: &parts.headers };
    let wall = shared.clock.wall();
    sigv4::verify_header(&shared.keys, &request, service.signing_name(), &call.body, wall)
        .map_err(|refusal| ApiError::refused(refusal, service, wall))?;

    let fault = next_fault(shared, call);
    if let Some(kind) = &fault {
        before_effect(shared, kind, service).await?;
    }
    if !take_token(shared, call.op) {
        return Err(ApiError::throttled(service, None).into());
    }
    let done = operation(shared, call, parameters);
    after_effect(shared, fault, service, done.map_err(Failure::Error)).await
}

fn operation(shared: &Shared, call: &mut Call, parameters: &[String]) -> Result<Reply, ApiError> {
    let one = parameters.first().map_or("", String::as_str);
    let two = parameters.get(1).map_or("", String::as_str);
    match call.op {
        Op::StartAttachedFileUpload => files_api::start(shared, call, one),
        Op::CompleteAttachedFileUpload => files_api::complete(shared, call, one, two),
        Op::BatchGetAttachedFileMetadata => files_api::batch_get(shared, call, one),
        Op::GetAttachedFile => files_api::get(shared, call, one, two),
        Op::DeleteAttachedFile => files_api::delete(shared, call, one, two),
        Op::DescribeAttachedFilesConfiguration => files_api::describe(shared, one, two),
        Op::SearchRelatedItems => cases_api::search_related_items(shared, call, one, two),
        Op::SearchCases => cases_api::search_cases(shared, call, one),
        Op::GetCase => cases_api::get_case(shared, call, one, two),
        Op::ListDomains => cases_api::list_domains(call),
        Op::ListFields => cases_api::list_fields(shared, call, one),
        Op::PutObject | Op::GetObject | Op::Unknown => Err(ApiError::internal(Service::Connect)),
    }
}

async fn object_request<B: http_body::Body<Data = Bytes> + Unpin>(
    shared: &Arc<Shared>,
    call: &mut Call,
    parts: &Parts,
    body: &mut B,
    parameters: &[String],
) -> Result<Reply, Failure> {
    if call.op == Op::Unknown {
        return Err(ApiError::new(
            405,
            "MethodNotAllowed",
            "The specified method is not allowed against this resource.",
        )
        .into());
    }
    call.query = uri::query_pairs(parts.uri.query().unwrap_or_default())
        .ok_or_else(|| ApiError::new(400, "InvalidURI", "Couldn't parse the specified URI."))?;
    objects::authorize(shared, parts, call)?;
    let fault = next_fault(shared, call);
    if let Some(kind) = &fault
        && !(matches!(kind, FaultKind::CutAfter(_)) && call.op == Op::PutObject)
    {
        before_effect(shared, kind, Service::S3).await?;
    }
    let file_id = parameters.first().map_or("", String::as_str);
    let done = if call.op == Op::PutObject {
        let cut_after = match &fault {
            Some(FaultKind::CutAfter(bytes)) => Some(*bytes),
            _ => None,
        };
        objects::put(shared, call, body, file_id, cut_after).await
    } else {
        objects::get(shared, call, file_id)
    };
    after_effect(shared, fault, Service::S3, done).await
}

fn next_fault(shared: &Shared, call: &mut Call) -> Option<FaultKind> {
    let kind = lock(&shared.faults).next(call.op)?;
    call.fault = Some(kind.name());
    call.unknown_status = kind == FaultKind::UnknownStatus;
    Some(kind)
}

fn take_token(shared: &Shared, op: Op) -> bool {
    let shares = shared.model().switches.start_and_complete_share_bucket;
    let bucket = match op {
        Op::CompleteAttachedFileUpload if shares => Op::StartAttachedFileUpload,
        op => op,
    };
    lock(&shared.buckets).take(bucket, shared.clock.elapsed())
}

/// The faults that keep the operation from being done.
async fn before_effect(shared: &Shared, kind: &FaultKind, service: Service) -> Result<(), Failure> {
    let s3 = service == Service::S3;
    let error = match kind {
        FaultKind::Throttle { retry_after } => ApiError::throttled(service, retry_after.clone()),
        FaultKind::ServerErrorBefore => ApiError::internal(service),
        FaultKind::SlowDown if s3 => ApiError::throttled(service, None),
        FaultKind::SlowDown => {
            ApiError::new(503, "ServiceUnavailableException", "Service is unable to handle request.")
        }
        FaultKind::Expired if s3 => ApiError::new(403, "AccessDenied", "Request has expired"),
        FaultKind::ExpiredToken if s3 => ApiError::new(400, "ExpiredToken", "The provided token has expired."),
        FaultKind::Expired | FaultKind::ExpiredToken => {
            ApiError::new(403, "ExpiredTokenException", "The security token included in the request is expired")
        }
        FaultKind::AccessDenied if s3 => ApiError::new(403, "AccessDenied", "Access Denied"),
        FaultKind::AccessDenied => ApiError::denied("User is not authorized to perform this action."),
        FaultKind::Status { code, error, message } => ApiError::new(*code, error, message.clone()),
        FaultKind::CutAfter(_) => return Err(Failure::Hangup(Hangup)),
        FaultKind::HangForever => {
            let mut stopping = shared.stopping.clone();
            // Ends when the sandbox stops; when the client gives up, this future is dropped.
            stopped(&mut stopping).await;
            return Err(Failure::Hangup(Hangup));
        }
        FaultKind::ServerErrorAfter
        | FaultKind::LostReply
        | FaultKind::Hang(_)
        | FaultKind::Malformed
        | FaultKind::UnknownStatus => return Ok(()),
    };
    Err(error.into())
}

/// The faults that spoil the answer of an operation that was done. One that failed by itself is answered as it is.
async fn after_effect(
    shared: &Shared,
    fault: Option<FaultKind>,
    service: Service,
    done: Result<Reply, Failure>,
) -> Result<Reply, Failure> {
    match fault {
        Some(FaultKind::ServerErrorAfter) => done.and(Err(ApiError::internal(service).into())),
        Some(FaultKind::LostReply) => Err(Failure::Hangup(Hangup)),
        Some(FaultKind::Hang(time)) => {
            shared.clock.sleep(time).await;
            done
        }
        Some(FaultKind::Malformed) => done.map(|mut reply| {
            if let ReplyBody::Bytes(bytes) = &mut reply.body {
                bytes.truncate(bytes.len() / 2);
                if bytes.is_empty() {
                    bytes.push(b'{');
                }
            }
            reply
        }),
        _ => done,
    }
}

/// Body of an answer: held in memory, or read from disk as it is sent.
pub(crate) enum ResponseBody {
    Bytes(Option<Bytes>),
    File { file: std::fs::File, left: u64 },
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match self.get_mut() {
            Self::Bytes(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::File { left: 0, .. } => Poll::Ready(None),
            Self::File { file, left } => {
                let mut chunk = Vec::new();
                // Read in place: a local file, on threads that are the sandbox's own.
                match file.take((*left).min(128 * 1024)).read_to_end(&mut chunk) {
                    Ok(0) => Poll::Ready(Some(Err(std::io::ErrorKind::UnexpectedEof.into()))),
                    Ok(read) => {
                        *left = left.saturating_sub(u64::try_from(read).unwrap_or(u64::MAX));
                        Poll::Ready(Some(Ok(Frame::data(Bytes::from(chunk)))))
                    }
                    Err(error) => Poll::Ready(Some(Err(error))),
                }
            }
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(match self {
            Self::Bytes(bytes) => bytes.as_ref().map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or(0)),
            Self::File { left, .. } => *left,
        })
    }
}
