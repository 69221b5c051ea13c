//! The presigned PUT and GET, as S3 answers them.
//!
//! The signature is checked before a byte of the body is read, and expiry when the request arrives, not when its
//! body ends (SERVICE.md 2.3). Bodies are streamed; memory does not grow with their size.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};

use crate::disk::Disk;
use crate::ids::hex;
use crate::op::Service;
use crate::reply::{ApiError, Reply, ReplyBody};
use crate::server::{Call, Hangup};
use crate::sigv4::{self, Signed};
use crate::state::Shared;
use crate::uri;

/// Either an S3 error or the end of the connection.
pub(crate) enum Failure {
    Error(ApiError),
    Hangup(Hangup),
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Error(error)
    }
}

fn internal(error: &std::io::Error) -> Failure {
    tracing::error!(%error, "store the bytes of an upload in the sandbox");
    Failure::Error(ApiError::internal(Service::S3))
}

/// Checks everything that can be checked before the body.
pub(crate) fn authorize(shared: &Shared, parts: &Parts, call: &Call) -> Result<(), ApiError> {
    if parts.method == http::Method::PUT {
        let length = parts
            .headers
            .get("content-length")
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse::<u64>().ok());
        if length.is_none() || parts.headers.contains_key("transfer-encoding") {
            return Err(ApiError::new(411, "MissingContentLength", "You must provide the Content-Length HTTP header."));
        }
    }
    let request =
        Signed { method: parts.method.as_str(), path: parts.uri.path(), query: &call.query, headers: &parts.headers };
    let now = shared.clock.now();
    sigv4::verify_presigned(&shared.keys, &request, now).map_err(|refusal| ApiError::refused(refusal, Service::S3, now))
}

/// A temporary file that goes away unless it is kept.
struct Staged {
    path: PathBuf,
    file: File,
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Gone already when it was renamed into place.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Stores the body of a PUT. `cut_after`: end the connection when that many bytes have come.
pub(crate) async fn put<B: http_body::Body<Data = Bytes> + Unpin>(
    shared: &Shared,
    call: &mut Call,
    body: &mut B,
    file_id: &str,
    cut_after: Option<u64>,
) -> Result<Reply, Failure> {
    let wanted = shared.model().wants_bytes(file_id);
    let mut staged = match &shared.disk {
        Some(disk) if wanted => {
            let (path, file) = disk.temp().map_err(|error| internal(&error))?;
            Some(Staged { path, file })
        }
        _ => None,
    };
    let mut hash = Sha256::new();
    if cut_after == Some(0) {
        return Err(Failure::Hangup(Hangup));
    }
    while let Some(frame) = body.frame().await {
        // The client went away, or sent less than it said.
        let frame = frame.map_err(|_| Failure::Hangup(Hangup))?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        call.bytes = call.bytes.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        if cut_after.is_some_and(|cut| call.bytes >= cut) {
            return Err(Failure::Hangup(Hangup));
        }
        hash.update(data);
        if let Some(staged) = &mut staged {
            staged.file.write_all(data).map_err(|error| internal(&error))?;
        }
    }
    let sha256 = hex(&hash.finalize());
    let etag = format!("\"{}\"", sha256.get(..32).unwrap_or_default());
    if wanted {
        store(shared, file_id, sha256, staged)?;
    }
    Ok(Reply { status: StatusCode::OK, headers: vec![("etag", etag)], body: ReplyBody::Bytes(Vec::new()) })
}

/// Moves what was staged into place and notes it. A file that was completed or deleted meanwhile keeps nothing of
/// it, and S3 answers success all the same: it knows no such states.
fn store(shared: &Shared, file_id: &str, sha256: String, staged: Option<Staged>) -> Result<(), Failure> {
    let now = shared.clock.now();
    let (Some(disk), Some(staged)) = (&shared.disk, staged) else {
        shared.model().put_done(file_id, sha256, now);
        return Ok(());
    };
    let _guard = disk.lock(file_id);
    let place = {
        let model = shared.model();
        model.stored(file_id).filter(|record| !record.file.completed).and_then(|record| {
            let case = model.case_info(&record.file.case_id)?;
            Some(disk.file_dir(case, record))
        })
    };
    let Some(dir) = place else {
        return Ok(());
    };
    disk.keep_content(&staged.path, &dir).map_err(|error| internal(&error))?;
    let record = {
        let mut model = shared.model();
        model.put_done(file_id, sha256, now);
        model.stored(file_id).cloned()
    };
    // Gone if it was deleted since: then the folder goes, with the bytes just moved there.
    disk.write_file(&dir, record.as_ref()).map_err(|error| internal(&error))
}

/// Answers the bytes of an approved file.
pub(crate) fn get(shared: &Shared, call: &Call, file_id: &str) -> Result<Reply, Failure> {
    let missing = || ApiError::new(404, "NoSuchKey", "The specified key does not exist.");
    let now = shared.clock.now();
    let mut model = shared.model();
    let record =
        model.file(file_id, now).filter(|record| record.has_bytes() && record.file.completed).ok_or_else(missing)?;
    let dir = match (&shared.disk, model.case_info(&record.file.case_id)) {
        (Some(disk), Some(case)) => disk.file_dir(case, &record),
        // Content is discarded: there is nothing to give.
        _ => return Err(missing().into()),
    };
    drop(model);
    let (file, length) = Disk::open_content(&dir).map_err(|error| {
        if error.kind() == std::io::ErrorKind::NotFound { Failure::Error(missing()) } else { internal(&error) }
    })?;
    let mut headers = Vec::new();
    for (name, parameter) in
        [("content-type", "response-content-type"), ("content-disposition", "response-content-disposition")]
    {
        if let Some(value) = uri::query_value(&call.query, parameter) {
            headers.push((name, value.to_owned()));
        }
    }
    Ok(Reply { status: StatusCode::OK, headers, body: ReplyBody::File(file, length) })
}
