//! The one place that decides what an error means. Pure; the test is the table.
//!
//! Codes decide, never texts (LESSONS L32), with two exceptions that S3 and SigV4 leave no code for: an expired
//! URL and a wrong clock. What AWS leaves undocumented is read so that either behaviour ends well
//! (SERVICE.md 2.2, 2.4, 2.6).

use super::failure::{Next, Op};
use crate::core::model::ParkCode;

/// What happened, free of SDK types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause<'a> {
    /// No connection came about: refused, no route, no such name, TLS failed, connect time-out.
    NotSent,
    /// Credentials could not be loaded.
    NoCredentials,
    /// The request could not be built from its parts: ours or the user's text is not acceptable to the SDK.
    Unbuildable,
    /// Sent at least in part, and no usable answer came: time-out, reset, garbled.
    Lost,
    /// The local file ended early, grew, or could not be read.
    FileChanged,
    /// The service answered with an error.
    Answer { http: u16, code: &'a str, reason: Option<Reason>, message: &'a str },
}

/// The documented reasons inside an InvalidRequest or a ServiceQuotaExceeded (SERVICE.md 1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    FileSize,
    FileType,
    FileName,
    FileCount,
    TotalSize,
}

impl Reason {
    /// Reads the service's word.
    pub(super) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "INVALID_FILE_SIZE" => Self::FileSize,
            "INVALID_FILE_TYPE" => Self::FileType,
            "INVALID_FILE_NAME" => Self::FileName,
            "TOTAL_FILE_COUNT_EXCEEDED" => Self::FileCount,
            "TOTAL_FILE_SIZE_EXCEEDED" => Self::TotalSize,
            _ => return None,
        })
    }

    fn park(self) -> ParkCode {
        match self {
            Self::FileSize => ParkCode::TooLarge,
            Self::FileType => ParkCode::TypeNotAllowed,
            Self::FileName => ParkCode::BadName,
            Self::FileCount => ParkCode::CaseFull,
            Self::TotalSize => ParkCode::CaseSizeFull,
        }
    }
}

/// The verdict on one error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) next: Next,
    /// The call certainly had no effect.
    pub(super) certain: bool,
    /// The host's clock is the likely cause.
    pub(super) clock: bool,
}

impl Class {
    fn sure(next: Next) -> Self {
        Self { next, certain: true, clock: false }
    }

    fn unsure(next: Next) -> Self {
        Self { next, certain: false, clock: false }
    }

    fn clock() -> Self {
        Self { next: Next::Credentials, certain: true, clock: true }
    }
}

/// What to do about `cause` in a call of kind `op`.
pub(super) fn classify(op: Op, cause: Cause<'_>) -> Class {
    match cause {
        Cause::NotSent => Class::sure(Next::Offline),
        Cause::NoCredentials => Class::sure(Next::Credentials),
        Cause::Unbuildable => Class::sure(Next::Park(ParkCode::Refused)),
        Cause::Lost => Class::unsure(Next::Retry),
        Cause::FileChanged => Class::sure(Next::Replan),
        Cause::Answer { http, code, message, .. } if op.is_transfer() => transfer(http, code, message),
        Cause::Answer { http, code, reason, message } => service(op, http, code, reason, message),
    }
}

/// Answers of Connect and Cases.
fn service(op: Op, http: u16, code: &str, reason: Option<Reason>, message: &str) -> Class {
    match code {
        "ThrottlingException"
        | "TooManyRequestsException"
        | "Throttling"
        | "ThrottledException"
        | "RequestThrottledException"
        | "RequestLimitExceeded"
        | "SlowDown" => return Class::sure(Next::Throttled),
        "ExpiredTokenException"
        | "ExpiredToken"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "NotSignedException"
        | "OptInRequired" => return Class::sure(Next::Credentials),
        "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture" => return Class::clock(),
        "InvalidSignatureException" | "SignatureDoesNotMatch" => {
            // SigV4 has one code for a wrong secret and for a wrong clock; only the text tells.
            let skewed = message.contains("Signature expired") || message.contains("Signature not yet current");
            return if skewed { Class::clock() } else { Class::sure(Next::Credentials) };
        }
        _ => {}
    }
    if http == 429 {
        return Class::sure(Next::Throttled);
    }
    if http >= 500 || (200..300).contains(&http) {
        // A 2xx here is an answer that could not be read: the effect is likely there.
        return Class::unsure(Next::Retry);
    }
    if let Some(reason) = reason {
        return Class::sure(Next::Park(reason.park()));
    }
    match code {
        "AccessDeniedException" | "AccessDenied" | "UnauthorizedException" | "UnauthorizedOperation" => {
            Class::sure(Next::Park(ParkCode::AccessDenied))
        }
        "ResourceNotFoundException" | "NotFoundException" => not_found(op),
        "ResourceConflictException" | "ConflictException" | "IdempotencyException" => Class::sure(Next::Conflict),
        // A quota answer without a reason: on a start the only quota is the case's (SERVICE.md 1.1).
        "ServiceQuotaExceededException" if op == Op::Start => Class::sure(Next::Park(ParkCode::CaseFull)),
        // Perhaps complete already, perhaps the bytes never came: the status tells (SERVICE.md 2.4, a guess).
        "InvalidRequestException" if op == Op::Complete => Class::unsure(Next::Conflict),
        // Perhaps still being scanned: it can be deleted once that settles (SERVICE.md 2.6, a guess).
        "InvalidRequestException" if op == Op::Delete => Class::sure(Next::Retry),
        "RequestTimeout" | "RequestTimeoutException" => Class::unsure(Next::Retry),
        _ => match http {
            401 => Class::sure(Next::Credentials),
            404 => not_found(op),
            408 | 425 => Class::unsure(Next::Retry),
            409 => Class::sure(Next::Conflict),
            403 => Class::sure(Next::Park(ParkCode::AccessDenied)),
            _ => Class::sure(Next::Park(ParkCode::Refused)),
        },
    }
}

fn not_found(op: Op) -> Class {
    Class::sure(match op {
        Op::Start => Next::Park(ParkCode::CaseNotFound),
        _ => Next::Gone,
    })
}

/// Answers of S3 to a presigned request (SERVICE.md 2.3).
fn transfer(http: u16, code: &str, message: &str) -> Class {
    let renew = Class::sure(Next::Renew);
    match code {
        "SlowDown" | "ServiceUnavailable" | "Throttling" | "TooManyRequests" => Class::sure(Next::Throttled),
        // Query signatures that ran out say so in the text only; "Request has expired" is S3's.
        "AccessDenied" if message.contains("expired") => renew,
        "ExpiredToken" | "RequestTimeTooSkewed" => renew,
        // A header went wrong or the size is not the granted one; a fresh attempt reads the file again.
        "SignatureDoesNotMatch" | "AuthorizationQueryParametersError" | "InvalidToken" | "InvalidAccessKeyId" => renew,
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "InvalidObjectState" => {
            Class::sure(Next::Park(ParkCode::StorageDenied))
        }
        // S3's own name for "the body did not come in time".
        "RequestTimeout" | "IncompleteBody" => Class::sure(Next::Retry),
        "EntityTooLarge" => Class::sure(Next::Park(ParkCode::TooLarge)),
        _ if code.starts_with("KMS.") => Class::sure(Next::Park(ParkCode::StorageDenied)),
        _ => match http {
            429 | 503 => Class::sure(Next::Throttled),
            500.. | 200..300 => Class::unsure(Next::Retry),
            // The bucket is in another Region or gone: the next grant may name another address.
            300..400 => renew,
            403 => Class::sure(Next::Park(ParkCode::StorageDenied)),
            404 | 410 => renew,
            408 | 425 => Class::unsure(Next::Retry),
            409 => Class::unsure(Next::Retry),
            _ => Class::sure(Next::Park(ParkCode::Refused)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Next::{Conflict, Credentials, Gone, Offline, Park, Renew, Replan, Retry, Throttled};

    fn answer(op: Op, http: u16, code: &str) -> Class {
        classify(op, Cause::Answer { http, code, reason: None, message: "" })
    }

    #[test]
    fn causes_without_an_answer() {
        for op in Op::ALL {
            assert_eq!(classify(op, Cause::NotSent), Class::sure(Offline));
            assert_eq!(classify(op, Cause::NoCredentials), Class::sure(Credentials));
            assert_eq!(classify(op, Cause::Lost), Class::unsure(Retry));
            assert_eq!(classify(op, Cause::FileChanged), Class::sure(Replan));
            assert_eq!(classify(op, Cause::Unbuildable), Class::sure(Park(ParkCode::Refused)));
        }
    }

    #[test]
    fn answers_of_the_service() {
        let table: &[(Op, u16, &str, Next, bool)] = &[
            (Op::Start, 429, "ThrottlingException", Throttled, true),
            (Op::Start, 429, "Whatever", Throttled, true),
            (Op::Start, 400, "ThrottlingException", Throttled, true),
            (Op::BatchGet, 503, "SlowDown", Throttled, true),
            (Op::Start, 403, "ExpiredTokenException", Credentials, true),
            (Op::Start, 403, "UnrecognizedClientException", Credentials, true),
            (Op::Start, 403, "InvalidSignatureException", Credentials, true),
            (Op::Start, 403, "RequestTimeTooSkewed", Credentials, true),
            (Op::Start, 403, "MissingAuthenticationTokenException", Credentials, true),
            (Op::Start, 401, "", Credentials, true),
            (Op::Start, 500, "InternalServiceException", Retry, false),
            (Op::Start, 599, "Unheard", Retry, false),
            (Op::Start, 200, "", Retry, false),
            (Op::Start, 408, "", Retry, false),
            (Op::Start, 404, "ResourceNotFoundException", Park(ParkCode::CaseNotFound), true),
            (Op::Complete, 404, "ResourceNotFoundException", Gone, true),
            (Op::BatchGet, 404, "ResourceNotFoundException", Gone, true),
            (Op::Get, 404, "", Gone, true),
            (Op::Delete, 404, "ResourceNotFoundException", Gone, true),
            (Op::SearchRelated, 404, "ResourceNotFoundException", Gone, true),
            (Op::Start, 409, "ResourceConflictException", Conflict, true),
            (Op::Delete, 409, "Unheard", Conflict, true),
            (Op::Start, 403, "AccessDeniedException", Park(ParkCode::AccessDenied), true),
            (Op::Complete, 403, "", Park(ParkCode::AccessDenied), true),
            (Op::Start, 402, "ServiceQuotaExceededException", Park(ParkCode::CaseFull), true),
            (Op::Start, 400, "InvalidRequestException", Park(ParkCode::Refused), true),
            (Op::Complete, 400, "InvalidRequestException", Conflict, false),
            (Op::Delete, 400, "InvalidRequestException", Retry, true),
            (Op::Start, 418, "Unheard", Park(ParkCode::Refused), true),
            (Op::ListDomains, 400, "ValidationException", Park(ParkCode::Refused), true),
            (Op::Start, 302, "", Park(ParkCode::Refused), true),
        ];
        for &(op, http, code, next, certain) in table {
            let class = answer(op, http, code);
            assert_eq!((class.next, class.certain), (next, certain), "{op} {http} {code}");
        }
    }

    #[test]
    fn reasons_park_the_file_or_the_case() {
        let table = [
            ("INVALID_FILE_SIZE", 400, "InvalidRequestException", ParkCode::TooLarge),
            ("INVALID_FILE_TYPE", 400, "InvalidRequestException", ParkCode::TypeNotAllowed),
            ("INVALID_FILE_NAME", 400, "InvalidRequestException", ParkCode::BadName),
            ("TOTAL_FILE_COUNT_EXCEEDED", 402, "ServiceQuotaExceededException", ParkCode::CaseFull),
            ("TOTAL_FILE_SIZE_EXCEEDED", 402, "ServiceQuotaExceededException", ParkCode::CaseSizeFull),
        ];
        for (word, http, code, park) in table {
            for op in [Op::Start, Op::Complete] {
                let class = classify(op, Cause::Answer { http, code, reason: Reason::parse(word), message: "" });
                assert_eq!(class, Class::sure(Park(park)), "{op} {word}");
            }
        }
        assert_eq!(Reason::parse("SOMETHING_NEW"), None);
    }

    #[test]
    fn a_wrong_clock_is_told_from_a_wrong_key() {
        let message = "Signature expired: 20260101T000000Z is now earlier than 20260101T000500Z";
        let cause = Cause::Answer { http: 403, code: "InvalidSignatureException", reason: None, message };
        assert_eq!(classify(Op::Start, cause), Class::clock());
        assert!(!answer(Op::Start, 403, "InvalidSignatureException").clock);
    }

    #[test]
    fn answers_of_s3() {
        let table: &[(u16, &str, &str, Next, bool)] = &[
            (403, "AccessDenied", "Request has expired", Renew, true),
            (403, "AccessDenied", "Access Denied", Park(ParkCode::StorageDenied), true),
            (403, "SignatureDoesNotMatch", "The request signature we calculated", Renew, true),
            (403, "KMS.DisabledException", "", Park(ParkCode::StorageDenied), true),
            (403, "", "", Park(ParkCode::StorageDenied), true),
            (400, "ExpiredToken", "", Renew, true),
            (503, "SlowDown", "Please reduce your request rate", Throttled, true),
            (503, "", "", Throttled, true),
            (500, "InternalError", "", Retry, false),
            (400, "RequestTimeout", "Your socket connection to the server was not read", Retry, true),
            (400, "IncompleteBody", "", Retry, true),
            (400, "EntityTooLarge", "", Park(ParkCode::TooLarge), true),
            (301, "PermanentRedirect", "", Renew, true),
            (307, "", "", Renew, true),
            (404, "NoSuchBucket", "", Renew, true),
            (411, "MissingContentLength", "", Park(ParkCode::Refused), true),
            (200, "", "", Retry, false),
        ];
        for &(http, code, message, next, certain) in table {
            let class = classify(Op::Put, Cause::Answer { http, code, reason: None, message });
            assert_eq!((class.next, class.certain), (next, certain), "{http} {code} {message}");
        }
    }

    #[test]
    fn every_status_and_code_has_a_verdict_that_ends() {
        for op in Op::ALL {
            for http in 0..1000 {
                for code in ["", "Unheard"] {
                    let class = answer(op, http, code);
                    assert!(class.next != Replan && class.next != Offline, "{op} {http}");
                    if http >= 500 && http != 503 {
                        assert_eq!(class, Class::unsure(Retry), "{op} {http}");
                    }
                }
            }
        }
    }
}
