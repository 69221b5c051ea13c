//! The API calls: requests as they go out, answers and errors as they are read.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::host::time::Instant;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};

use super::super::{Body, Failure, Granted, Next, Op, Remote, RemoteStatus, SECRET_TARGETS, StartRequest};
use super::server::{Server, Step, error, say};
use super::{case, client, client_with, file};
use crate::core::model::ParkCode;
use crate::types::{ClientToken, FileId, PresignedUrl};

const JSON: &[&str] = &["content-type: application/json", "x-amzn-requestid: r-1"];

async fn start(server: &Server) -> Result<Granted, Failure> {
    let tags = BTreeMap::from([("casedrop:mirror".to_owned(), "m".to_owned())]);
    let token = ClientToken::from_random([7; 16]);
    let request =
        StartRequest { case: &case(), name: "a ü.pdf", size: 5, token: &token, tags: &tags, created_by: None };
    client(&server.url).await.start(&request).await
}

fn started(creation: &str, expiry: &str) -> String {
    format!(
        r#"{{"FileId":"f-1","FileStatus":"PROCESSING","CreationTime":"{creation}","UploadUrlMetadata":{{
        "Url":"https://b.example/k?X-Amz-Signature=URLSECRET","UrlExpiry":"{expiry}",
        "HeadersToInclude":{{"x-amz-acl":"a","Content-Length":"5"}}}}}}"#
    )
}

#[tokio::test]
async fn a_start_call_carries_the_whole_request() {
    let server = Server::start(vec![say(200, JSON, &started("2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z"))]).await;
    let granted = start(&server).await.unwrap();
    assert_eq!((granted.file, granted.request_id.as_deref()), (file(), Some("r-1")));
    let seen = &server.seen()[0];
    assert!(
        seen.request_line().starts_with("PUT /attached-files/i-1?associatedResourceArn=arn%3Aaws"),
        "{}",
        seen.head
    );
    assert!(seen.header("user-agent")[0].contains("app/casedrop"));
    let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
    let expected = serde_json::json!({
        "ClientToken": "07070707070707070707070707070707", "FileName": "a ü.pdf", "FileSizeInBytes": 5,
        "FileUseCaseType": "ATTACHMENT", "Tags": {"casedrop:mirror": "m"}, "UrlExpiryInSeconds": 300,
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn the_life_of_a_url_goes_by_the_servers_clock() {
    let date = "date: Thu, 01 Jan 2026 00:10:00 GMT";
    let table: &[(&str, &str, Option<&str>, f64)] = &[
        // A fresh answer, with and without a Date that agrees.
        ("2026-01-01T00:10:00Z", "2026-01-01T00:11:00Z", Some(date), 60.0),
        ("2026-01-01T00:10:00.000+0000", "2026-01-01T00:11:00.500+0000", None, 60.5),
        // A replayed answer: made long ago, its URL past or nearly so.
        ("2026-01-01T00:05:00Z", "2026-01-01T00:09:00Z", Some(date), 0.0),
        ("2026-01-01T00:05:00Z", "2026-01-01T00:10:03Z", Some(date), 3.0),
        // Replayed with a fresh URL.
        ("2026-01-01T00:05:00Z", "2026-01-01T00:12:00Z", Some(date), 120.0),
        // Nothing usable: what was asked for. Nonsense: never more than the service's maximum.
        ("yesterday", "tomorrow", Some(date), 300.0),
        ("2026-01-01T00:10:00Z", "2036-01-01T00:10:00Z", None, 300.0),
    ];
    for (creation, expiry, date, seconds) in table {
        let headers: Vec<&str> = JSON.iter().copied().chain(*date).collect();
        let server = Server::start(vec![say(200, &headers, &started(creation, expiry))]).await;
        let begin = Instant::now();
        let grant = start(&server).await.unwrap().grant.unwrap();
        let left = grant.expires.saturating_duration_since(begin).as_secs_f64();
        // Counted from the answer, which came between then and now.
        let most = seconds + begin.elapsed().as_secs_f64() + 0.001;
        assert!((seconds - 0.001..=most).contains(&left), "{creation} {expiry}: {left} s, not {seconds}");
        assert_eq!(grant.is_stale(), *seconds < 5.0, "{creation} {expiry}");
        assert!(!format!("{grant:?}").contains("URLSECRET"));
    }
}

#[tokio::test]
async fn an_answer_without_url_or_file_is_told_apart() {
    let server = Server::start(vec![say(200, JSON, r#"{"FileId":"f-1"}"#), say(200, JSON, "{}")]).await;
    assert!(start(&server).await.unwrap().grant.is_none());
    let failure = start(&server).await.unwrap_err();
    assert_eq!((failure.next, failure.certain, failure.code.as_str()), (Next::Retry, false, "BadAnswer"));
}

#[tokio::test]
async fn errors_over_the_wire() {
    let reason = |kind: &str, word: &str| format!(r#"{{"Message":"m","Reason":{{"{kind}":"{word}"}}}}"#);
    let size = reason("AttachedFileInvalidRequestExceptionReason", "INVALID_FILE_SIZE");
    let count = reason("AttachedFileServiceQuotaExceededExceptionReason", "TOTAL_FILE_COUNT_EXCEEDED");
    let message = r#"{"message":"no X-Amz-Signature=URLSECRET here"}"#;
    let late = ["retry-after: Thu, 01 Jan 2026 00:10:30 GMT", "date: Thu, 01 Jan 2026 00:10:00 GMT"];
    let park = Next::Park;
    let table: Vec<(Step, Next, bool, &str, Option<u64>)> = vec![
        (
            error(429, "ThrottlingException", &["retry-after: 3"], "{}"),
            Next::Throttled,
            true,
            "ThrottlingException",
            Some(3),
        ),
        (error(429, "ThrottlingException", &late, "{}"), Next::Throttled, true, "ThrottlingException", Some(30)),
        (
            error(429, "ThrottlingException", &["retry-after: soon"], "{}"),
            Next::Throttled,
            true,
            "ThrottlingException",
            None,
        ),
        (error(500, "InternalServiceException", &[], message), Next::Retry, false, "InternalServiceException", None),
        (say(500, &[], "<html>"), Next::Retry, false, "HTTP 500", None),
        (say(503, &["retry-after: 9"], ""), Next::Retry, false, "HTTP 503", Some(9)),
        (say(200, JSON, "{\"FileId\": gar"), Next::Retry, false, "BadAnswer", None),
        (say(200, JSON, "<html>"), Next::Retry, false, "BadAnswer", None),
        (Step::Cut, Next::Retry, false, "ConnectionLost", None),
        (Step::CutAfter(3), Next::Retry, false, "ConnectionLost", None),
        (
            error(400, "InvalidRequestException", &[], &size),
            park(ParkCode::TooLarge),
            true,
            "InvalidRequestException",
            None,
        ),
        (
            error(402, "ServiceQuotaExceededException", &[], &count),
            park(ParkCode::CaseFull),
            true,
            "ServiceQuotaExceededException",
            None,
        ),
        (
            error(403, "AccessDeniedException", &[], message),
            park(ParkCode::AccessDenied),
            true,
            "AccessDeniedException",
            None,
        ),
        (
            error(404, "ResourceNotFoundException", &[], "{}"),
            park(ParkCode::CaseNotFound),
            true,
            "ResourceNotFoundException",
            None,
        ),
        (error(409, "ResourceConflictException", &[], "{}"), Next::Conflict, true, "ResourceConflictException", None),
        (error(403, "ExpiredTokenException", &[], "{}"), Next::Credentials, true, "ExpiredTokenException", None),
        (error(418, "Teapot", &[], "{}"), park(ParkCode::Refused), true, "Teapot", None),
    ];
    for (step, next, certain, code, hint) in table {
        let server = Server::start(vec![step.clone()]).await;
        let failure = start(&server).await.unwrap_err();
        assert_eq!((failure.next, failure.certain, failure.code.as_str()), (next, certain, code), "{step:?} {failure}");
        assert_eq!(failure.hint, hint.map(Duration::from_secs), "{step:?}");
        assert_eq!(server.seen().len(), 1, "the SDK must not retry: {step:?}");
        let shown = format!("{failure} {failure:?}");
        assert!(shown.starts_with("StartAttachedFileUpload: ") && !shown.contains("URLSECRET"), "{shown}");
        assert!(!shown.contains("SECRETKEYTEST") && !shown.contains("TOKENTEST"));
    }
}

#[tokio::test]
async fn a_wrong_clock_is_named() {
    let body = r#"{"message":"Signature expired: 20260101T000000Z is now earlier than 20260101T000500Z"}"#;
    let server = Server::start(vec![error(403, "InvalidSignatureException", &[], body)]).await;
    let failure = start(&server).await.unwrap_err();
    assert_eq!(failure.next, Next::Credentials);
    assert!(failure.message.contains("clock"), "{failure}");
}

#[tokio::test]
async fn nothing_sent_is_certain() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for url in [format!("http://{dead}"), "http://no-such-host.invalid".to_owned()] {
        let failure = client(&url).await.complete(&case(), &file()).await.unwrap_err();
        assert_eq!((failure.next, failure.certain), (Next::Offline, true), "{failure}");
        assert_eq!(failure.code, "ConnectFailed");
    }
}

#[tokio::test]
async fn missing_credentials_are_the_environments_fault() {
    let server = Server::start(vec![say(200, JSON, "{}")]).await;
    let defaults = || aws_config::defaults(aws_config::BehaviorVersion::v2026_01_12());
    let mut options = None;
    client_with(&server.url, |o| options = Some(o.clone())).await;
    let loaders =
        [(defaults().no_credentials(), ""), (defaults().credentials_provider(Broken), "no key in the drawer")];
    for (loader, text) in loaders {
        let client = super::Client::load(loader, options.clone().unwrap()).await;
        let failure = client.complete(&case(), &file()).await.unwrap_err();
        assert_eq!((failure.next, failure.certain), (Next::Credentials, true), "{failure}");
        assert!(failure.message.contains(text), "{failure}");
    }
    assert!(server.seen().is_empty());
}

#[derive(Debug)]
struct Broken;

impl ProvideCredentials for Broken {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        // Like a credentials service that cannot be reached: an I/O error inside must not look like a lost call.
        let cause = io::Error::new(io::ErrorKind::ConnectionReset, "no key in the drawer");
        future::ProvideCredentials::ready(Err(CredentialsError::provider_error(cause)))
    }
}

#[tokio::test]
async fn statuses_have_one_entry_for_each_asked_id() {
    let known = r#"{"FileId":"f-1","FileName":"a.pdf","FileSizeInBytes":5,"FileStatus":"APPROVED","FileArn":"x",
        "CreationTime":"2026-01-01T00:00:00Z","Tags":{"k":"v"},"CreatedBy":{"AWSIdentityArn":"arn:x"}}"#;
    let odd = known.replace("f-1", "f-2").replace("APPROVED", "UPLOAD_EXPIRED");
    let foreign = known.replace("f-1", "f-9");
    let body = format!(
        r#"{{"Files":[{known},{odd},{foreign}],"Errors":[{{"FileId":"f-3","ErrorCode":"E","ErrorMessage":"m"}},{{}}]}}"#
    );
    let server = Server::start(vec![
        say(200, JSON, &body),
        error(404, "ResourceNotFoundException", &[], "{}"),
        say(200, JSON, "{}"),
    ])
    .await;
    let client = client(&server.url).await;
    let ids: Vec<FileId> = ["f-1", "f-2", "f-3", "f-4"].map(|id| FileId::new(id).unwrap()).into();
    let answer = client.statuses(&case(), &ids).await.unwrap();
    assert_eq!(answer.iter().map(|(id, _)| id).collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>());
    let Remote::Known(first) = &answer[0].1 else { panic!("{answer:?}") };
    assert_eq!((&first.status, first.size, first.name.as_str()), (&RemoteStatus::Approved, 5, "a.pdf"));
    assert_eq!((first.tags["k"].as_str(), first.created_by.as_deref()), ("v", Some("arn:x")));
    let Remote::Known(second) = &answer[1].1 else { panic!("{answer:?}") };
    assert_eq!(second.status, RemoteStatus::Gone("UPLOAD_EXPIRED".to_owned()));
    assert_eq!(answer[2].1, Remote::Error { code: "E".to_owned(), message: "m".to_owned() });
    assert_eq!(answer[3].1, Remote::Missing);
    for _ in 0..2 {
        let answer = client.statuses(&case(), &ids).await.unwrap();
        assert!(answer.len() == 4 && answer.iter().all(|(_, remote)| *remote == Remote::Missing));
    }
    assert!(client.statuses(&case(), &[]).await.unwrap().is_empty());
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn gone_is_gone_and_deleted_twice_is_deleted() {
    let not_found = || error(404, "ResourceNotFoundException", &[], "{}");
    let got = r#"{"FileSizeInBytes":5,"FileStatus":"PROCESSING"}"#;
    let approved = r#"{"FileSizeInBytes":5,"FileStatus":"APPROVED","DownloadUrlMetadata":{"Url":"https://b/k?s"}}"#;
    let steps = [not_found(), not_found(), say(200, JSON, "{}"), say(200, JSON, got), say(200, JSON, approved)];
    let server = Server::start(steps.into()).await;
    let client = client(&server.url).await;
    assert!(client.confirm_gone(&case(), &file()).await.unwrap());
    assert!(client.delete(&case(), &file()).await.unwrap().already_gone);
    assert!(!client.delete(&case(), &file()).await.unwrap().already_gone);
    assert!(!client.confirm_gone(&case(), &file()).await.unwrap());
    let download = client.download(&case(), &file()).await.unwrap();
    assert!(download.url.is_some());
    assert_eq!(server.connections(), 1);
    let usage = client.usage();
    let of = |op| usage.iter().find(|usage| usage.op == op).map(|u| (u.calls, u.throttled, u.errors)).unwrap();
    assert_eq!((of(Op::Delete), of(Op::Get)), ((2, 0, 1), (3, 0, 1)));
}

#[tokio::test]
async fn a_throttle_slows_the_operation_and_no_other() {
    let server = Server::start(vec![error(429, "ThrottlingException", &[], "{}"), say(200, JSON, "{}")]).await;
    let client = client(&server.url).await;
    client.complete(&case(), &file()).await.unwrap_err();
    let slowed: Vec<Op> = client.usage().iter().filter(|usage| usage.slowed).map(|usage| usage.op).collect();
    assert_eq!(slowed, [Op::Complete]);
}

#[tokio::test]
async fn calls_wait_for_their_turn() {
    let server = Server::start(vec![say(200, JSON, "{}")]).await;
    let client = client_with(&server.url, |options| (options.requests_per_second, options.burst) = (20.0, 2)).await;
    let begin = Instant::now();
    for _ in 0..8 {
        client.complete(&case(), &file()).await.unwrap();
    }
    assert!(begin.elapsed() >= Duration::from_millis(299), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_case_is_listed_to_its_end() {
    let item = |arn: &str| {
        format!(
            r#"{{"relatedItemId":"i","type":"File","associationTime":"2026-01-01T00:00:00Z",
            "content":{{"file":{{"fileArn":"{arn}"}}}}}}"#
        )
    };
    let comment = r#"{"relatedItemId":"i","type":"Comment","associationTime":"2026-01-01T00:00:00Z",
        "content":{"comment":{"body":"b","contentType":"Text/Plain"}}}"#;
    let page = |items: &[String], token: &str| {
        let token = if token.is_empty() { String::new() } else { format!(r#","nextToken":"{token}""#) };
        format!(r#"{{"relatedItems":[{}]{token}}}"#, items.join(","))
    };
    let first = page(&[item("arn:aws:connect:r:1:instance/i/file/f-1"), comment.to_owned()], "t-2");
    let server = Server::start(vec![say(200, JSON, &first), say(200, JSON, &page(&[item("odd/f-2")], ""))]).await;
    let files = client(&server.url).await.case_files(&case()).await.unwrap();
    assert_eq!(files.iter().map(FileId::as_str).collect::<Vec<_>>(), ["f-1", "f-2"]);
    let seen = server.seen();
    assert!(seen[0].request_line().contains("/domains/d-1/cases/c-1/related-items-search"), "{}", seen[0].head);
    assert!(String::from_utf8_lossy(&seen[1].body).contains("t-2"));
}

#[tokio::test]
async fn a_listing_that_fails_is_an_error_not_an_empty_list() {
    let server = Server::start(vec![error(504, "GatewayTimeout", &[], "")]).await;
    assert_eq!(client(&server.url).await.case_files(&case()).await.unwrap_err().next, Next::Retry);
}

#[tokio::test]
async fn domains_and_settings() {
    let domains = r#"{"domains":[{"domainId":"d-1","domainArn":"arn:aws:cases:r:1:domain/d-1","name":"n"}]}"#;
    let settings = r#"{"AttachedFilesConfiguration":{"InstanceId":"i","AttachmentScope":"CASE",
        "MaximumSizeLimitInBytes":20971520,"ExtensionConfiguration":{"AllowedExtensions":[{"Extension":"PDF"}]}}}"#;
    let server = Server::start(vec![say(200, JSON, domains), say(200, JSON, domains), say(200, JSON, settings)]).await;
    let client = client(&server.url).await;
    assert_eq!(client.domain_arn("d-1").await.unwrap(), "arn:aws:cases:r:1:domain/d-1");
    assert_eq!(client.domain_arn("d-2").await.unwrap_err().next, Next::Gone);
    let config = client.attached_files_configuration().await.unwrap();
    assert_eq!((config.max_size, config.extensions), (Some(20_971_520), Some(vec!["pdf".to_owned()])));
}

/// Which targets print a secret during a start call and a PUT, when everything is logged but `silenced`.
async fn leaks(silenced: &[&str]) -> BTreeSet<String> {
    use tracing_subscriber::layer::SubscriberExt;
    let log = Log::default();
    let writer = {
        let log = log.clone();
        move || log.clone()
    };
    let mut filter = tracing_subscriber::filter::Targets::new().with_default(tracing::Level::TRACE);
    for target in silenced {
        filter = filter.with_target(*target, tracing::Level::INFO);
    }
    let layer = tracing_subscriber::fmt::layer().json().with_writer(writer);
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(filter).with(layer));
    let now = "2026-01-01T00:00:00Z";
    let server = Server::start(vec![say(200, JSON, &started(now, "2026-01-01T00:05:00Z")), say(200, &[], "")]).await;
    let mut grant = start(&server).await.unwrap().grant.unwrap();
    grant.url = PresignedUrl::new(format!("{}/k?X-Amz-Signature=URLSECRET", server.url));
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"12345").unwrap();
    client(&server.url).await.put(&grant, Body::new(file, 5)).await.unwrap();
    tracing::trace!(target: "casedrop", "the log works");
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("the log works"));
    let secret = |line: &&str| ["URLSECRET", "SECRETKEYTEST", "TOKENTEST"].iter().any(|secret| line.contains(secret));
    let target = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["target"].as_str().unwrap_or_default().to_owned()
    };
    text.lines().filter(secret).map(target).collect()
}

/// What is logged is cached for the whole process, so other tests would disturb this one: it gets its own.
#[test]
fn no_secret_is_logged() {
    let test = concat!(module_path!(), "::the_named_targets_are_those_that_print_secrets");
    let (_, test) = test.split_once("::").unwrap();
    let this = std::env::current_exe().unwrap();
    let run = std::process::Command::new(this).args(["--exact", "--ignored", "--nocapture", test]).output().unwrap();
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&run.stderr));
}

#[tokio::test]
#[ignore = "run by no_secret_is_logged, in a process of its own"]
async fn the_named_targets_are_those_that_print_secrets() {
    let loose = leaks(&[]).await;
    println!("targets that print secrets at trace: {loose:?}");
    assert!(!loose.is_empty(), "the guard below would prove nothing");
    assert_eq!(leaks(SECRET_TARGETS).await, BTreeSet::new());
}

/// Everything that is logged, line by line.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The SDK signs with the service's clock as its last answer told it; a clock beyond the year 9999 made every later call
/// panic.
#[tokio::test]
async fn an_absurd_date_is_not_taken_for_the_services_clock() {
    for absurd in ["Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"] {
        let server = Server::start(vec![say(200, &[&format!("date: {absurd}")], "{}")]).await;
        let client = client(&server.url).await;
        for _ in 0..2 {
            client.complete(&case(), &file()).await.unwrap();
        }
        for seen in server.seen() {
            let year: u16 = seen.header("x-amz-date")[0][..4].parse().unwrap();
            assert!((2020..2200).contains(&year), "{}", seen.head);
        }
    }
    // The local clock may be wrong, and is corrected.
    let server = Server::start(vec![say(200, &["date: Tue, 15 Jun 2060 12:00:00 GMT"], "{}")]).await;
    let client = client(&server.url).await;
    for _ in 0..2 {
        client.complete(&case(), &file()).await.unwrap();
    }
    assert!(server.seen()[1].head.contains("x-amz-date: 2060"), "{}", server.seen()[1].head);
}

#[tokio::test]
async fn an_answer_without_end_is_broken_off() {
    let huge = format!("{{\"Files\":[],\"x\":\"{}\"}}", "x".repeat(17 << 20));
    let server = Server::start(vec![say(200, JSON, &huge), say(503, JSON, &huge)]).await;
    let client = client(&server.url).await;
    for _ in 0..2 {
        let failure = client.statuses(&case(), &[file()]).await.unwrap_err();
        assert_eq!((failure.next, failure.certain), (Next::Retry, false), "{failure:?}");
    }
}
