//! The PUT and the download, byte by byte.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::super::{Body, Client, Failure, Grant, Next, put};
use super::server::{Server, Step, say};
use super::{client, client_with};
use crate::core::model::ParkCode;
use crate::types::PresignedUrl;

const SECRET: &str = "SIGNATURESECRET";

fn temp(content: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file
}

fn grant(base: &str, headers: &[(&str, &str)]) -> Grant {
    Grant {
        url: PresignedUrl::new(format!("{base}/bucket/stage%2Fa%20b?X-Amz-Expires=300&X-Amz-Signature={SECRET}")),
        headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        expires: crate::host::time::Instant::now() + Duration::from_secs(300),
    }
}

fn content(size: usize) -> Vec<u8> {
    (0..251).cycle().take(size).collect()
}

fn ok() -> Step {
    say(200, &["etag: \"e-1\"", "x-amz-request-id: r-9"], "")
}

fn impatient(client: Client) -> Client {
    let mut inner = Arc::into_inner(client.inner).unwrap();
    inner.patience = put::Patience { stall: Duration::from_millis(200) };
    Client { inner: Arc::new(inner) }
}

fn assert_silent(failure: &Failure) {
    for shown in [failure.to_string(), format!("{failure:?}")] {
        assert!(!shown.contains(SECRET) && !shown.contains("X-Amz"), "{shown}");
    }
}

#[tokio::test]
async fn exactly_the_granted_headers_each_once_and_never_chunked() {
    for size in [1, 4096, 256 * 1024, 256 * 1024 + 1, 3_000_000] {
        let server = Server::start(vec![ok()]).await;
        let client = client(&server.url).await;
        let length = size.to_string();
        let headers = [
            ("Content-Length", length.as_str()),
            ("Content-Disposition", "attachment; filename=\"ü.pdf\""),
            ("x-amz-acl", "bucket-owner-full-control"),
            ("x-amz-meta-organization_id", "i-1"),
        ];
        let bytes = content(size);
        let stored = client.put(&grant(&server.url, &headers), Body::new(temp(&bytes), size as u64)).await.unwrap();
        assert_eq!(stored.request_id.as_deref(), Some("r-9"));
        assert_eq!((stored.sent.bytes, stored.sent.hash.0), (size as u64, Sha256::digest(&bytes).into()));

        let seen = &server.seen()[0];
        assert_eq!(
            seen.request_line(),
            format!("PUT /bucket/stage%2Fa%20b?X-Amz-Expires=300&X-Amz-Signature={SECRET} HTTP/1.1")
        );
        assert!(seen.body == bytes, "{size} bytes differ");
        for (name, value) in headers {
            assert_eq!(seen.header(name), [value], "{name}");
        }
        assert_eq!(seen.header("transfer-encoding"), Vec::<&str>::new());
        let mut names: Vec<String> =
            seen.head.lines().skip(1).filter_map(|l| Some(l.split_once(':')?.0.to_lowercase())).collect();
        names.sort();
        let expected = [
            "accept",
            "content-disposition",
            "content-length",
            "host",
            "user-agent",
            "x-amz-acl",
            "x-amz-meta-organization_id",
        ];
        assert_eq!(names, expected);
    }
}

#[tokio::test]
async fn the_length_is_sent_even_when_the_grant_lists_none() {
    let server = Server::start(vec![ok()]).await;
    let client = client(&server.url).await;
    client.put(&grant(&server.url, &[]), Body::new(temp(&content(700_000)), 700_000)).await.unwrap();
    assert_eq!(server.seen()[0].header("content-length"), ["700000"]);
    assert_eq!(server.seen()[0].header("content-type"), Vec::<&str>::new());
}

#[tokio::test]
async fn a_grant_for_another_size_is_not_used() {
    let server = Server::start(vec![ok()]).await;
    let client = client(&server.url).await;
    let failure =
        client.put(&grant(&server.url, &[("content-length", "9")]), Body::new(temp(b"12345"), 5)).await.unwrap_err();
    assert_eq!((failure.next, failure.certain), (Next::Replan, true));
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_file_of_another_length_is_never_sent_whole() {
    for declared in [10, 300_000, 2_000_000] {
        for real in [declared - 1, declared / 2, 0, declared + 1, declared * 2] {
            let server = Server::start(vec![ok()]).await;
            let client = client(&server.url).await;
            let body = Body::new(temp(&content(real)), declared as u64);
            let failure = client.put(&grant(&server.url, &[]), body).await.unwrap_err();
            assert_eq!((failure.next, failure.certain), (Next::Replan, true), "{declared} {real} {failure}");
            assert_silent(&failure);
            drop(client);
            assert!(server.seen().iter().all(|seen| seen.body.len() < declared), "{declared} {real}");
        }
    }
}

#[tokio::test]
async fn the_hash_is_of_what_was_sent_not_of_what_was_there() {
    let server = Server::start(vec![ok()]).await;
    let client = client(&server.url).await;
    let file = Arc::new(temp(&content(1_000_000)));
    file.write_all_at(b"changed", 900_000).unwrap();
    let stored = client.put(&grant(&server.url, &[]), Body::new(Arc::clone(&file), 1_000_000)).await.unwrap();
    let received: [u8; 32] = Sha256::digest(&server.seen()[0].body).into();
    assert_eq!(stored.sent.hash.0, received);
    assert_ne!(received, <[u8; 32]>::from(Sha256::digest(content(1_000_000))));
}

#[tokio::test]
async fn a_stalled_put_ends() {
    let server = Server::start(vec![Step::Hang]).await;
    let client = impatient(client(&server.url).await);
    for size in [10, 20_000_000] {
        let body = Body::new(temp(&content(size)), size as u64);
        let failure = client.put(&grant(&server.url, &[]), body).await.unwrap_err();
        assert_eq!((failure.next, failure.certain, failure.code.as_str()), (Next::Retry, false, "Stalled"));
        assert_silent(&failure);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let target = Server::start(vec![ok()]).await;
    let location = format!("location: {}/elsewhere", target.url);
    let server = Server::start(vec![say(307, &[&location], "")]).await;
    let client = client(&server.url).await;
    let failure = client.put(&grant(&server.url, &[]), Body::new(temp(b"x"), 1)).await.unwrap_err();
    assert_eq!((failure.next, failure.http), (Next::Renew, Some(307)));
    assert!(target.seen().is_empty());
    assert_silent(&failure);
}

#[tokio::test]
async fn answers_of_s3_are_understood() {
    let xml = |code: &str, message: &str| {
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>")
    };
    let long = "y".repeat(200_000);
    let cases = [
        (403, xml("AccessDenied", "Request has expired"), Next::Renew),
        (403, xml("AccessDenied", "Access Denied"), Next::Park(ParkCode::StorageDenied)),
        (403, xml("SignatureDoesNotMatch", "no"), Next::Renew),
        (503, xml("SlowDown", "slow"), Next::Throttled),
        (205, xml("SlowDown", "a success that is none"), Next::Retry),
        (500, "<html>oops</html>".to_owned(), Next::Retry),
        (403, long, Next::Park(ParkCode::StorageDenied)),
    ];
    for (status, body, next) in cases {
        let server = Server::start(vec![say(status, &["x-amz-request-id: r-3", "retry-after: 7"], &body)]).await;
        let client = client(&server.url).await;
        let failure = client.put(&grant(&server.url, &[]), Body::new(temp(b"x"), 1)).await.unwrap_err();
        assert_eq!((failure.next, failure.http), (next, Some(status)), "{failure}");
        assert!(status != 205 || !failure.certain, "{failure}");
        assert_eq!(failure.request_id.as_deref(), Some("r-3"));
        assert_eq!(failure.hint, Some(Duration::from_secs(7)));
        assert!(failure.message.len() <= 500);
    }
}

#[tokio::test]
async fn no_error_shows_the_url() {
    // Nobody listens there, and nobody is given it who asks for any port.
    let dead = "http://127.0.0.1:1".to_owned();
    let live = Server::start(vec![Step::Cut, Step::CutAfter(100_000)]).await;
    let client = client(&live.url).await;
    let put = |base: String| {
        let (client, body) = (client.clone(), Body::new(temp(&content(8_000_000)), 8_000_000));
        async move { client.put(&grant(&base, &[]), body).await.unwrap_err() }
    };
    let refused = put(dead.clone()).await;
    assert_eq!((refused.next, refused.certain), (Next::Offline, true), "{refused}");
    let cut = put(live.url.clone()).await;
    assert_eq!((cut.next, cut.certain), (Next::Retry, false), "{cut}");
    let cut_early = put(live.url.clone()).await;
    assert_eq!((cut_early.next, cut_early.certain), (Next::Retry, false), "{cut_early}");
    let unknown = put("http://no-such-host.invalid".to_owned()).await;
    let odd = put("no url".to_owned()).await;
    let url = PresignedUrl::new(format!("{dead}/k?X-Amz-Signature={SECRET}"));
    let fetched = client.fetch(&url, &mut Vec::new()).await.unwrap_err();
    assert_eq!(fetched.next, Next::Offline);
    for failure in [refused, cut, cut_early, unknown, odd, fetched] {
        assert_silent(&failure);
    }
    let shown = format!("{:?} {client:?}", grant(&dead, &[("x-amz-security-token", SECRET)]));
    assert!(!shown.contains(SECRET), "{shown}");
}

#[tokio::test]
async fn connections_are_kept() {
    let server = Server::start(vec![ok()]).await;
    let client = client(&server.url).await;
    for _ in 0..20 {
        client.put(&grant(&server.url, &[]), Body::new(temp(b"hello"), 5)).await.unwrap();
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn bandwidth_is_shared_and_kept() {
    let server = Server::start(vec![ok()]).await;
    let client = client_with(&server.url, |options| options.bandwidth = Some(1_000_000)).await;
    let begin = Instant::now();
    let put = || {
        let (client, grant) = (client.clone(), grant(&server.url, &[]));
        async move { client.put(&grant, Body::new(temp(&content(300_000)), 300_000)).await.unwrap() }
    };
    tokio::join!(put(), put());
    let took = begin.elapsed().as_secs_f64();
    assert!(took >= 0.4, "{took} s for 600 kB at 1 MB/s");
}

#[tokio::test]
async fn a_download_comes_whole_or_fails() {
    let server = Server::start(vec![
        say(200, &[], "hello"),
        Step::Say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\nhello".to_owned()),
        say(403, &[], "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"),
    ])
    .await;
    let client = client(&server.url).await;
    let url = PresignedUrl::new(format!("{}/k?X-Amz-Signature={SECRET}", server.url));
    let mut sink = Vec::new();
    assert_eq!(client.fetch(&url, &mut sink).await.unwrap(), 5);
    assert_eq!(sink, b"hello");
    let short = client.fetch(&url, &mut Vec::new()).await.unwrap_err();
    assert_eq!(short.next, Next::Retry);
    let expired = client.fetch(&url, &mut Vec::new()).await.unwrap_err();
    assert_eq!(expired.next, Next::Renew);
    assert_silent(&short);
    assert_silent(&expired);
}
