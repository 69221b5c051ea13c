//! The calls to Connect: the five attached-file operations and the instance's settings.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_sdk_connect::config::http::HttpResponse;
use aws_sdk_connect::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_connect::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_connect::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_connect::operation::RequestId;
use aws_sdk_connect::operation::start_attached_file_upload::StartAttachedFileUploadOutput;
use aws_sdk_connect::types::{AttachedFile, AttachmentScope, CreatedByInfo, FileUseCaseType};

use super::answer::{
    Deleted, Done, Download, FilesConfig, Grant, Granted, Remote, RemoteFile, RemoteStatus, StartRequest,
};
use super::classify::{Cause, classify};
use super::failure::{Failure, Next, Op};
use super::sdk::{self, Answered};
use super::{Client, Inner};
use crate::crash::{self, Point};
use crate::host::time::Instant;
use crate::types::{CaseArn, FileId, PresignedUrl};

/// No URL lives longer (SERVICE.md 1.1); a wilder claim is cut to this.
const LONGEST_EXPIRY: Duration = Duration::from_secs(300);

impl Inner {
    /// Waits for the turn, makes the call, feeds the pacer, judges an error.
    pub(super) async fn call<T, E>(
        &self,
        op: Op,
        send: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Failure>
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        self.lanes.turn(op).await;
        match send.await {
            Ok(output) => {
                self.lanes.succeeded(op);
                Ok(output)
            }
            Err(error) => {
                let failure = sdk::failure(op, &error);
                self.lanes.failed(&failure);
                Err(failure)
            }
        }
    }
}

impl Client {
    /// Makes a file record on the case and asks for an upload URL.
    pub async fn start(&self, request: &StartRequest<'_>) -> Result<Granted, Failure> {
        let inner = &*self.inner;
        let size = i64::try_from(request.size).unwrap_or(i64::MAX);
        let expiry = i32::try_from(inner.url_expiry.as_secs()).unwrap_or(300);
        let date = ServerDate::default();
        let call = inner
            .connect
            .start_attached_file_upload()
            .instance_id(&inner.instance_id)
            .associated_resource_arn(request.case.as_str())
            .client_token(request.token.as_str())
            .file_name(request.name)
            .file_size_in_bytes(size)
            .file_use_case_type(FileUseCaseType::Attachment)
            .url_expiry_in_seconds(expiry)
            .set_tags(
                (!request.tags.is_empty()).then(|| request.tags.iter().map(|(k, v)| (k.clone(), v.clone())).collect()),
            )
            .set_created_by(request.created_by.map(|arn| CreatedByInfo::ConnectUserArn(arn.to_owned())))
            .customize()
            .interceptor(date.clone());
        let mut sent_at = Instant::now();
        let answer = inner
            .call(Op::Start, async {
                // The turn at the pacer is over: the URL's life is counted from here.
                sent_at = Instant::now();
                crash::at(Point::StartSend);
                call.send().await
            })
            .await?;
        let request_id = answer.request_id().map(str::to_owned);
        let file = answer.file_id().and_then(FileId::new).or_else(|| answer.file_arn().and_then(file_in_arn));
        let Some(file) = file else {
            let class = classify(Op::Start, Cause::Lost);
            let told = Answered { http: Some(200), request_id: request_id.as_deref(), hint: None };
            return Err(sdk::build(Op::Start, class, "BadAnswer".to_owned(), "the answer names no file", told));
        };
        let life = life_left(&answer, date.0.get().copied(), inner.url_expiry);
        Ok(Granted { file, grant: grant(answer, sent_at + life), request_id })
    }

    /// Tells Connect that the bytes are in place.
    pub async fn complete(&self, case: &CaseArn, file: &FileId) -> Result<Done, Failure> {
        let call = self
            .inner
            .connect
            .complete_attached_file_upload()
            .instance_id(&self.inner.instance_id)
            .associated_resource_arn(case.as_str())
            .file_id(file.as_str());
        crash::at(Point::CompleteSend);
        let answer = self.inner.call(Op::Complete, call.send()).await?;
        Ok(Done { request_id: answer.request_id().map(str::to_owned) })
    }

    /// The state of up to 100 files of one case, one entry for each asked id, in that order.
    ///
    /// The service may tell of an unknown id in three ways (SERVICE.md 2.6): an error entry, no entry, or a 404 for
    /// the whole call. The last says nothing of any single file, so none of the answers is proof of absence.
    pub async fn statuses(&self, case: &CaseArn, files: &[FileId]) -> Result<Vec<(FileId, Remote)>, Failure> {
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let ids = files.iter().map(|file| file.as_str().to_owned()).collect();
        let call = self
            .inner
            .connect
            .batch_get_attached_file_metadata()
            .instance_id(&self.inner.instance_id)
            .associated_resource_arn(case.as_str())
            .set_file_ids(Some(ids));
        crash::at(Point::StatusSend);
        let asked = self.inner.call(Op::BatchGet, call.send()).await;
        crash::at(Point::StatusAnswered);
        let answer = match asked {
            Ok(answer) => answer,
            Err(failure) if failure.next == Next::Gone => {
                return Ok(files.iter().map(|file| (file.clone(), Remote::Missing)).collect());
            }
            Err(failure) => return Err(failure),
        };
        let mut known = BTreeMap::new();
        for error in answer.errors.unwrap_or_default() {
            let (Some(id), code, message) = (error.file_id, error.error_code, error.error_message) else { continue };
            let code = super::text::clean(&code.unwrap_or_default());
            known.insert(id, Remote::Error { code, message: super::text::clean(&message.unwrap_or_default()) });
        }
        for file in answer.files.unwrap_or_default() {
            known.insert(file.file_id.clone(), Remote::Known(remote_file(file)));
        }
        Ok(files.iter().map(|file| (file.clone(), known.remove(file.as_str()).unwrap_or(Remote::Missing))).collect())
    }

    /// Whether Connect itself says that the file does not exist (404).
    pub async fn confirm_gone(&self, case: &CaseArn, file: &FileId) -> Result<bool, Failure> {
        match self.download(case, file).await {
            Ok(answer) => Ok(matches!(answer.status, RemoteStatus::Gone(_))),
            Err(failure) if failure.next == Next::Gone => Ok(true),
            Err(failure) => Err(failure),
        }
    }

    /// Deletes record and content, for good. A file that is not there counts as deleted.
    pub async fn delete(&self, case: &CaseArn, file: &FileId) -> Result<Deleted, Failure> {
        let call = self
            .inner
            .connect
            .delete_attached_file()
            .instance_id(&self.inner.instance_id)
            .associated_resource_arn(case.as_str())
            .file_id(file.as_str());
        crash::at(Point::DeleteSend);
        match self.inner.call(Op::Delete, call.send()).await {
            Ok(answer) => Ok(Deleted { already_gone: false, request_id: answer.request_id().map(str::to_owned) }),
            Err(failure) if failure.next == Next::Gone => {
                Ok(Deleted { already_gone: true, request_id: failure.request_id })
            }
            Err(failure) => Err(failure),
        }
    }

    /// The metadata of one file and, once approved, a URL to download it from.
    pub async fn download(&self, case: &CaseArn, file: &FileId) -> Result<Download, Failure> {
        let expiry = i32::try_from(self.inner.url_expiry.as_secs()).unwrap_or(300);
        let call = self
            .inner
            .connect
            .get_attached_file()
            .instance_id(&self.inner.instance_id)
            .associated_resource_arn(case.as_str())
            .file_id(file.as_str())
            .url_expiry_in_seconds(expiry);
        crash::at(Point::GetSend);
        let answer = self.inner.call(Op::Get, call.send()).await?;
        crash::at(Point::GetAnswered);
        Ok(Download {
            status: RemoteStatus::parse(answer.file_status().map_or("", |status| status.as_str())),
            url: answer.download_url_metadata.and_then(|meta| meta.url).map(PresignedUrl::new),
        })
    }

    /// What the instance takes on cases.
    pub async fn attached_files_configuration(&self) -> Result<FilesConfig, Failure> {
        let call = self
            .inner
            .connect
            .describe_attached_files_configuration()
            .instance_id(&self.inner.instance_id)
            .attachment_scope(AttachmentScope::Case);
        let answer = self.inner.call(Op::Describe, call.send()).await?;
        let Some(config) = answer.attached_files_configuration else {
            return Ok(FilesConfig { max_size: None, extensions: None });
        };
        let extensions = config.extension_configuration.map(|list| {
            let lower = |text: &str| text.trim_start_matches('.').to_ascii_lowercase();
            list.allowed_extensions.iter().map(|allowed| lower(&allowed.extension)).collect()
        });
        let max_size = config.maximum_size_limit_in_bytes.and_then(|bytes| u64::try_from(bytes).ok());
        Ok(FilesConfig { max_size, extensions })
    }
}

/// The FileId of a file ARN: what follows the last slash, whatever stands before (SERVICE.md 3.2).
pub(super) fn file_in_arn(arn: &str) -> Option<FileId> {
    FileId::new(arn.rsplit('/').next()?)
}

fn remote_file(file: AttachedFile) -> RemoteFile {
    let created_by = file.created_by.and_then(|by| match by {
        CreatedByInfo::ConnectUserArn(arn) | CreatedByInfo::AwsIdentityArn(arn) => Some(arn),
        _ => None,
    });
    RemoteFile {
        status: RemoteStatus::parse(file.file_status.as_str()),
        size: u64::try_from(file.file_size_in_bytes).unwrap_or(0),
        name: file.file_name,
        tags: file.tags.unwrap_or_default().into_iter().collect(),
        created_at: file.creation_time,
        created_by,
    }
}

fn grant(answer: StartAttachedFileUploadOutput, expires: Instant) -> Option<Grant> {
    let meta = answer.upload_url_metadata?;
    let url = PresignedUrl::new(meta.url.filter(|url| !url.is_empty())?);
    let mut headers: Vec<_> = meta.headers_to_include.unwrap_or_default().into_iter().collect();
    headers.sort_unstable();
    Some(Grant { url, headers, expires })
}

/// How long the URL lives, counted from just before the call, by the server's clock alone (SERVICE.md 2.3).
///
/// The answer's Date tells the server's present; CreationTime tells it for a fresh answer, but lies far back in a
/// replayed one. So the smaller of the two counts, and neither leaves the wish of the request.
fn life_left(answer: &StartAttachedFileUploadOutput, date: Option<i64>, asked: Duration) -> Duration {
    let Some(until) = answer.upload_url_metadata().and_then(|meta| timestamp_ms(meta.url_expiry()?)) else {
        return asked;
    };
    let by_creation = answer.creation_time().and_then(timestamp_ms);
    let by_date = date.map(|seconds| seconds.saturating_mul(1000));
    let left = by_creation.into_iter().chain(by_date).map(|now| until.saturating_sub(now)).min();
    left.map_or(asked, |ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0)).min(LONGEST_EXPIRY))
}

/// Milliseconds since 1970 of an ISO 8601 time, with or without fractions, `Z` or offset.
fn timestamp_ms(text: &str) -> Option<i64> {
    text.trim().parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

/// Catches the Date header of one answer.
#[derive(Debug, Clone, Default)]
struct ServerDate(Arc<OnceLock<i64>>);

impl Intercept for ServerDate {
    fn name(&self) -> &'static str {
        "ServerDate"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(seconds) = context.response().headers().get("date").and_then(sdk::http_date) {
            let _ = self.0.set(seconds);
        }
        Ok(())
    }
}
