//! What is signed holds, and nothing else does: API requests and presigned URLs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    reason = "a test may fail loudly"
)]

mod common;

use std::time::Duration;

use common::{Bench, encode, exchange};
use serde_json::{Value, json};

type Headers = Vec<(String, String)>;

const LIST: (&str, &str, &str) = ("cases", "POST", "/domains-list");

fn list(bench: &Bench, service: &str) -> common::Answer {
    bench.call(service, LIST.1, LIST.2, &Value::Null)
}

#[tokio::test]
async fn api_signatures() {
    let mut bench = Bench::new(|_| {}).await;
    list(&bench, "cases").ok();
    let wrong = list(&bench, "connectcases");
    assert_eq!((wrong.status, wrong.kind()), (403, "InvalidSignatureException"));
    assert!(wrong.text().contains("'cases'"), "{}", wrong.text());
    assert!(wrong.json()["message"].is_string() && wrong.headers.contains_key("x-amzn-requestid"));

    for skew in [-310_000, 310_000] {
        bench.skew_ms = skew;
        assert_eq!(list(&bench, "cases").kind(), "InvalidSignatureException", "{skew}");
    }
    bench.skew_ms = -290_000;
    list(&bench, "cases").ok();
    bench.skew_ms = 0;

    bench.region = "us-east-1".to_owned();
    assert_eq!(list(&bench, "cases").kind(), "InvalidSignatureException");
    bench.region = bench.sandbox.region().to_owned();
    bench.secret.push('x');
    assert_eq!(list(&bench, "cases").kind(), "InvalidSignatureException");
    bench.secret = bench.sandbox.secret_access_key().to_owned();

    let address = bench.sandbox.address();
    let body = b"{}";
    let head = bench.signed_head(LIST.0, LIST.1, LIST.2, body);
    let kind = |head: &str, body: &[u8]| {
        let answer = exchange(address, head, body).unwrap();
        assert!(answer.status == 403 || answer.status == 200, "{}", answer.text());
        answer.kind().to_owned()
    };
    assert_eq!(kind(&head, body), "ok");
    assert_eq!(kind(&head, b"[]"), "InvalidSignatureException", "other body, same length");
    assert_eq!(kind(&head.replace("domains-list", "domains-list?maxResults=1"), body), "InvalidSignatureException");
    let key = head.replace("Credential=casedrop-sandbox", "Credential=AKIAIOSFODNN7EXAMPLE");
    assert_eq!(kind(&key, body), "UnrecognizedClientException");
    let bare: String = head.split_inclusive("\r\n").filter(|line| !line.starts_with("Authorization")).collect();
    assert_eq!(kind(&bare, body), "MissingAuthenticationTokenException");
    assert_eq!(kind(&head.replace("SignedHeaders=", "Signed="), body), "IncompleteSignatureException");
    assert_eq!(kind(&head.replace("AWS4-HMAC-SHA256 ", "Basic "), body), "IncompleteSignatureException");
    let unsigned_host = head.replace("SignedHeaders=host;x-amz-date", "SignedHeaders=x-amz-date");
    assert_eq!(kind(&unsigned_host, body), "InvalidSignatureException");
    let absent = head.replace("SignedHeaders=host;", "SignedHeaders=host;x-none;");
    assert_eq!(kind(&absent, body), "InvalidSignatureException");
    let session = head.replace("Connection:", "X-Amz-Security-Token: x\r\nConnection:");
    assert_eq!(kind(&session, body), "UnrecognizedClientException");

    let unknown = bench.call("connect", "PATCH", "/attached-files/x", &Value::Null);
    assert_eq!((unknown.status, unknown.kind()), (404, "UnknownOperationException"));
}

#[tokio::test]
async fn presigned_put() {
    let bench = Bench::new(|_| {}).await;
    let address = bench.sandbox.address();
    let mut body = Bench::start_body("ü.txt", 5, "t");
    body["UrlExpiryInSeconds"] = json!(5);
    let upload = Bench::upload(bench.start_with(&bench.case_arn(), &body).ok());
    let code = |head: &str, content: &[u8]| {
        let answer = exchange(address, head, content).unwrap();
        assert!(answer.headers.contains_key("x-amz-request-id"));
        assert!(answer.status == 200 || answer.text().contains("<RequestId>"), "{}", answer.text());
        (answer.status, answer.code())
    };
    let put = |change: &dyn Fn(&mut Headers), content: &[u8]| {
        let mut headers = upload.headers.clone();
        change(&mut headers);
        code(&bench.put_head(&upload.url, &headers), content)
    };
    let mismatch = (403, "SignatureDoesNotMatch".to_owned());
    let set = |name: &'static str, value: &'static str| {
        move |headers: &mut Headers| {
            headers.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
            headers.push((name.to_owned(), value.to_owned()));
        }
    };
    for (name, _) in &upload.headers {
        if name == "Content-Length" {
            continue;
        }
        assert_eq!(put(&set(Box::leak(name.clone().into_boxed_str()), "other"), b"hello"), mismatch, "{name}");
        assert_eq!(put(&|headers| headers.retain(|(key, _)| key != name), b"hello"), mismatch, "without {name}");
    }
    assert_eq!(put(&set("Content-Length", "4"), b"hell"), mismatch);
    assert_eq!(put(&set("Content-Length", "6"), b"hello!"), mismatch);
    assert_eq!(put(&set("x-amz-checksum-crc32", "AAAAAA=="), b"hello"), (403, "AccessDenied".to_owned()));
    assert_eq!(put(&set("Authorization", "Bearer x"), b"hello"), (400, "InvalidArgument".to_owned()));
    let chunked = |headers: &mut Headers| {
        headers.retain(|(key, _)| key != "Content-Length");
        headers.push(("Transfer-Encoding".to_owned(), "chunked".to_owned()));
    };
    assert_eq!(put(&chunked, b"5\r\nhello\r\n0\r\n\r\n"), (411, "MissingContentLength".to_owned()));
    let none = |headers: &mut Headers| headers.retain(|(key, _)| key != "Content-Length");
    assert_eq!(put(&none, b""), (411, "MissingContentLength".to_owned()));

    let (path, query) = upload.url.split_once('?').unwrap();
    let bare = bench.put_head(path, &upload.headers);
    assert_eq!(code(&bare, b"hello"), (403, "AccessDenied".to_owned()));
    let part: String = query.split('&').filter(|p| !p.starts_with("X-Amz-Date")).collect::<Vec<_>>().join("&");
    let head = bench.put_head(&format!("{path}?{part}"), &upload.headers);
    assert_eq!(code(&head, b"hello"), (400, "AuthorizationQueryParametersError".to_owned()));
    let longer = upload.url.replace("X-Amz-Expires=5", "X-Amz-Expires=300");
    assert_eq!(code(&bench.put_head(&longer, &upload.headers), b"hello"), mismatch);
    let other = bench.start("b.txt", 5, "u");
    let stolen = upload.url.replace(&upload.file_id, &other.file_id);
    assert_eq!(code(&bench.put_head(&stolen, &upload.headers), b"hello"), mismatch);
    assert!(bench.sandbox.ledger().iter().all(|file| !file.put_done), "nothing refused was stored");

    assert_eq!(put(&|_| {}, b"hello"), (200, "ok".to_owned()));
    bench.sandbox.advance_clock(Duration::from_secs(7));
    let late = bench.put(&upload, b"hello");
    assert_eq!((late.status, late.code().as_str()), (403, "AccessDenied"));
    assert!(late.text().contains("Request has expired"), "{}", late.text());
}

#[tokio::test]
async fn presigned_get() {
    let bench = Bench::new(|_| {}).await;
    let upload = bench.whole("a.txt", "t");
    let got = bench.get(&upload.file_id).ok();
    let url = got["DownloadUrlMetadata"]["Url"].as_str().unwrap();
    let answer = bench.get_url(url);
    assert_eq!(answer.text(), "hello");
    assert_eq!(answer.headers["content-disposition"], "attachment; filename=\"a.txt\"");
    let renamed = url.replace(&encode("a.txt"), &encode("b.txt"));
    assert_eq!(bench.get_url(&renamed).code(), "SignatureDoesNotMatch");
    bench.sandbox.advance_clock(Duration::from_secs(301));
    assert_eq!(bench.get_url(url).status, 403);
    let got = bench.get(&upload.file_id).ok();
    let url = got["DownloadUrlMetadata"]["Url"].as_str().unwrap();
    bench.delete(&upload.file_id).ok();
    assert_eq!(bench.get_url(url).code(), "NoSuchKey");
}
