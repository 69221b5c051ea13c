//! Answers: success, and errors in each service's own form.

use http::StatusCode;
use serde_json::{Value, json};

use crate::clock::Millis;
use crate::op::Service;
use crate::sigv4::Refusal;

/// An error before it has a wire form.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    /// Type (`InvalidRequestException`), for S3 the code (`SignatureDoesNotMatch`).
    pub(crate) kind: String,
    pub(crate) message: String,
    /// Further members: JSON object members, for S3 elements with text.
    pub(crate) more: Vec<(&'static str, Value)>,
    pub(crate) retry_after: Option<String>,
}

impl ApiError {
    pub(crate) fn new(status: u16, kind: &str, message: impl Into<String>) -> Self {
        Self { status, kind: kind.to_owned(), message: message.into(), more: Vec::new(), retry_after: None }
    }

    pub(crate) fn with(mut self, name: &'static str, value: Value) -> Self {
        self.more.push((name, value));
        self
    }

    /// 400 of Connect.
    pub(crate) fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidRequestException", message)
    }

    /// 400 of Connect with one of `INVALID_FILE_SIZE`, `INVALID_FILE_TYPE`, `INVALID_FILE_NAME`.
    pub(crate) fn invalid_file(reason: &str, message: impl Into<String>) -> Self {
        Self::invalid_request(message).with("Reason", json!({ "AttachedFileInvalidRequestExceptionReason": reason }))
    }

    /// 402 of Connect, with a reason when it is about files.
    pub(crate) fn quota(reason: Option<&str>, message: impl Into<String>) -> Self {
        let error = Self::new(402, "ServiceQuotaExceededException", message);
        match reason {
            Some(reason) => error.with("Reason", json!({ "AttachedFileServiceQuotaExceededExceptionReason": reason })),
            None => error,
        }
    }

    /// 404 of either service.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "ResourceNotFoundException", message)
    }

    /// 404 of Cases, which names the resource.
    pub(crate) fn cases_not_found(kind: &str, id: &str) -> Self {
        Self::not_found(format!("{kind} {id} was not found."))
            .with("resourceId", json!(id))
            .with("resourceType", json!(kind))
    }

    /// 409 of Connect.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(409, "ResourceConflictException", message)
    }

    /// 403 of either service.
    pub(crate) fn denied(message: impl Into<String>) -> Self {
        Self::new(403, "AccessDeniedException", message)
    }

    /// 400 of Cases.
    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new(400, "ValidationException", message)
    }

    /// Body that is no JSON of the right types.
    pub(crate) fn serialization(message: impl Into<String>) -> Self {
        Self::new(400, "SerializationException", message)
    }

    pub(crate) fn throttled(service: Service, retry_after: Option<String>) -> Self {
        Self {
            retry_after,
            ..match service {
                Service::S3 => Self::new(503, "SlowDown", "Please reduce your request rate."),
                _ => Self::new(429, "ThrottlingException", "Rate exceeded"),
            }
        }
    }

    pub(crate) fn internal(service: Service) -> Self {
        let kind = match service {
            Service::Connect => "InternalServiceException",
            Service::Cases => "InternalServerException",
            Service::S3 => "InternalError",
        };
        Self::new(500, kind, "We encountered an internal error. Please try again.")
    }

    /// A refused signature as the service of the request words it.
    pub(crate) fn refused(refusal: Refusal, service: Service, now: Millis) -> Self {
        let s3 = service == Service::S3;
        match refusal {
            Refusal::Missing if s3 => Self::new(403, "AccessDenied", "Access Denied"),
            Refusal::Missing => Self::new(403, "MissingAuthenticationTokenException", "Missing Authentication Token"),
            Refusal::Incomplete(message) if s3 => Self::new(400, "AuthorizationQueryParametersError", message),
            Refusal::Incomplete(message) => Self::new(403, "IncompleteSignatureException", message),
            Refusal::UnknownKey if s3 => Self::new(
                403,
                "InvalidAccessKeyId",
                "The AWS Access Key Id you provided does not exist in our records.",
            ),
            Refusal::UnknownKey => {
                Self::new(403, "UnrecognizedClientException", "The security token included in the request is invalid.")
            }
            Refusal::Invalid(message) if s3 => Self::new(403, "SignatureDoesNotMatch", message),
            Refusal::Invalid(message) => Self::new(403, "InvalidSignatureException", message),
            Refusal::Expired { at } => Self::new(403, "AccessDenied", "Request has expired")
                .with("Expires", json!(at))
                .with("ServerTime", json!(now)),
            Refusal::HeadersNotSigned(names) => {
                Self::new(403, "AccessDenied", "There were headers present in the request which were not signed")
                    .with("HeadersNotSigned", json!(names.join(", ")))
            }
            Refusal::TwoMechanisms => Self::new(
                400,
                "InvalidArgument",
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, \
                 Signature query string parameter or the Authorization header should be specified",
            ),
        }
    }

    /// The error as that service writes it.
    pub(crate) fn into_reply(self, service: Service, request_id: &str) -> Reply {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut headers = Vec::new();
        if let Some(value) = self.retry_after {
            headers.push(("retry-after", value));
        }
        let body = match service {
            Service::S3 => {
                let mut xml = format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message>",
                    escape(&self.kind),
                    escape(&self.message)
                );
                for (name, value) in &self.more {
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    xml.push_str(&format!("<{name}>{}</{name}>", escape(&text)));
                }
                xml.push_str(&format!("<RequestId>{request_id}</RequestId><HostId>casedrop-sandbox</HostId></Error>"));
                headers.push(("content-type", "application/xml".to_owned()));
                xml
            }
            Service::Connect | Service::Cases => {
                let name = if service == Service::Connect { "Message" } else { "message" };
                let mut object = serde_json::Map::new();
                object.insert(name.to_owned(), json!(self.message));
                for (name, value) in self.more {
                    object.insert(name.to_owned(), value);
                }
                headers.push(("x-amzn-errortype", self.kind));
                headers.push(("content-type", "application/json".to_owned()));
                Value::Object(object).to_string()
            }
        };
        Reply { status, headers, body: ReplyBody::Bytes(body.into_bytes()) }
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Body of an answer.
#[derive(Debug)]
pub(crate) enum ReplyBody {
    Bytes(Vec<u8>),
    /// A stored object, streamed; the length is the file's at the time it was opened.
    File(std::fs::File, u64),
}

/// An answer before the headers that every answer carries.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: ReplyBody,
}

impl Reply {
    /// 200 with a JSON body.
    pub(crate) fn json(value: &Value) -> Self {
        Self {
            status: StatusCode::OK,
            headers: vec![("content-type", "application/json".to_owned())],
            body: ReplyBody::Bytes(value.to_string().into_bytes()),
        }
    }
}
