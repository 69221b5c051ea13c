//! From the SDK's errors to [`Failure`]. Generic over the operation: code, message and reason are on the wire
//! alike for all.

use std::error::Error;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_connect::config::http::HttpResponse;
use aws_sdk_connect::error::{BuildError, ConnectorError, ProvideErrorMetadata, SdkError};
use aws_sdk_connect::operation::RequestId;
use aws_smithy_types::date_time::{DateTime, Format};
use aws_smithy_types::error::operation::SerializationError;

use super::classify::{Cause, Class, Reason, classify};
use super::failure::{Failure, Op, WRONG_CLOCK};
use super::text::{chain, clean};

/// An error answer of the service is never this long; more is not read for its reason.
const LONGEST_ERROR: usize = 64 * 1024;

/// What `error` means for a call of kind `op`.
pub(super) fn failure<E>(op: Op, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let raw = error.raw_response();
    let http = raw.map(|raw| raw.status().as_u16());
    let (cause, code, message) = match error {
        // A success whose body is garbled comes as a service error without a code.
        SdkError::ServiceError(context) if context.raw().status().is_success() => {
            (Cause::Lost, "BadAnswer".to_owned(), "the answer cannot be read".to_owned())
        }
        SdkError::ServiceError(context) => {
            let meta = context.err().meta();
            let http = context.raw().status().as_u16();
            let message = meta.message().unwrap_or_default();
            let reason = context.raw().body().bytes().and_then(reason_in);
            let code = meta.code().unwrap_or_default();
            (Cause::Answer { http, code, reason, message }, code.to_owned(), message.to_owned())
        }
        SdkError::ResponseError(context) if !context.raw().status().is_success() => {
            let http = context.raw().status().as_u16();
            (Cause::Answer { http, code: "", reason: None, message: "" }, String::new(), chain(error))
        }
        SdkError::ResponseError(_) => (Cause::Lost, "BadAnswer".to_owned(), chain(error)),
        SdkError::TimeoutError(_) => (Cause::Lost, "Timeout".to_owned(), chain(error)),
        SdkError::DispatchFailure(_) | SdkError::ConstructionFailure(_) => {
            let (cause, code) = before_the_answer(error, matches!(error, SdkError::DispatchFailure(_)));
            (cause, code.to_owned(), chain(error))
        }
        other => (Cause::Lost, "Unknown".to_owned(), chain(other)),
    };
    let class = classify(op, cause);
    let hint = raw.and_then(|raw| retry_after(raw.headers().get("retry-after")?, raw.headers().get("date")));
    build(op, class, code, &message, Answered { http, request_id: raw.and_then(RequestId::request_id), hint })
}

/// What is known of the answer itself.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Answered<'a> {
    pub(super) http: Option<u16>,
    pub(super) request_id: Option<&'a str>,
    pub(super) hint: Option<Duration>,
}

/// Puts a failure together: no empty code, no secret and no endless text.
pub(super) fn build(op: Op, class: Class, code: String, message: &str, answer: Answered<'_>) -> Failure {
    let mut message = clean(message);
    if class.clock {
        message = clean(&format!("{WRONG_CLOCK}; {message}"));
    }
    let code = match (code.is_empty(), answer.http) {
        (false, _) => clean(&code),
        (true, Some(http)) => format!("HTTP {http}"),
        (true, None) => "Unknown".to_owned(),
    };
    Failure {
        op,
        next: class.next,
        certain: class.certain,
        code,
        message,
        http: answer.http,
        request_id: answer.request_id.map(clean),
        hint: answer.hint,
    }
}

/// The first error of type `T` in the chain.
pub(super) fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Tells what broke before any answer came. Only what positively stopped before the first byte is certain: the
/// SDK files a lost connection and missing credentials under the same heading.
fn before_the_answer<'a>(error: &(dyn Error + 'static), dispatching: bool) -> (Cause<'a>, &'static str) {
    if find::<CredentialsError>(error).is_some() {
        return (Cause::NoCredentials, "NoCredentials");
    }
    if find::<BuildError>(error).is_some() || find::<SerializationError>(error).is_some() {
        return (Cause::Unbuildable, "InvalidInput");
    }
    #[cfg(test)]
    if find::<super::in_process::Refused>(error).is_some() {
        return (Cause::NotSent, "ConnectFailed");
    }
    let timed_out = dispatching && find::<ConnectorError>(error).is_some_and(ConnectorError::is_timeout);
    match find::<hyper_util::client::legacy::Error>(error) {
        Some(http) if http.is_connect() => (Cause::NotSent, "ConnectFailed"),
        _ if timed_out => (Cause::Lost, "Timeout"),
        Some(_) => (Cause::Lost, "ConnectionLost"),
        None if find::<std::io::Error>(error).is_some() => (Cause::Lost, "ConnectionLost"),
        // The connector was not reached: no identity, no Region, no endpoint.
        None => (Cause::NoCredentials, "NotConfigured"),
    }
}

/// The documented reason inside an error answer, wherever the JSON holds it.
fn reason_in(body: &[u8]) -> Option<Reason> {
    fn search(value: &serde_json::Value, depth: u8) -> Option<Reason> {
        match value {
            serde_json::Value::String(word) => Reason::parse(word),
            serde_json::Value::Object(fields) if depth > 0 => fields.values().find_map(|v| search(v, depth - 1)),
            _ => None,
        }
    }
    let body = body.get(..body.len().min(LONGEST_ERROR))?;
    search(&serde_json::from_slice(body).ok()?, 3)
}

/// Reads a Retry-After header: seconds, or an HTTP date, which is compared with the answer's own Date so that the
/// local clock plays no part.
pub(super) fn retry_after(value: &str, date: Option<&str>) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let until = http_date(value)?;
    Some(Duration::from_secs(u64::try_from(until.saturating_sub(http_date(date?)?)).unwrap_or(0)))
}

/// Seconds since 1970 of an HTTP date.
pub(super) fn http_date(text: &str) -> Option<i64> {
    DateTime::from_str(text.trim(), Format::HttpDate).ok().map(|t| t.secs())
}
