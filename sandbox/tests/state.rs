//! The state folder, restarts, garbage on the wire, large files and many files.

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

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use casedrop_sandbox::{DEMO_CASE_ID, DEMO_REFERENCE, NewCase, Sandbox, SandboxError, Scan, Settings};
use common::{Bench, sha256, until};
use serde_json::{Value, json};

#[tokio::test]
async fn a_restart_keeps_everything() {
    let bench = Bench::new(|settings| settings.scan = Scan::after(Duration::from_secs(60))).await;
    let odd = format!("{}.txt", "a/..\u{fc}".repeat(50));
    let case = bench.sandbox.add_case(NewCase::titled("Second"));
    assert!(bench.sandbox.close_case(&case.case_id));
    let one = bench.whole(&odd, "one");
    let twin = bench.whole(&odd, "two");
    let open = bench.start("open.txt", 5, "open");
    let gone = bench.whole("gone.txt", "gone");
    bench.delete(&gone.file_id).ok();
    bench.sandbox.seed_foreign_file(DEMO_CASE_ID, "agent.pdf", b"from an agent").unwrap();
    let ledger = bench.sandbox.ledger();
    let Bench { sandbox, state, .. } = bench;
    sandbox.shutdown().await;

    let text = std::fs::read_to_string(state.path().join("requests.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["op"] == "PutObject" && line["bytes"] == 5));
    for secret in ["X-Amz", "Signature", "Credential", "not-a-secret"] {
        assert!(!text.contains(secret), "{secret}");
    }
    assert!(std::fs::read_to_string(state.path().join("README.txt")).unwrap().contains("metadata.json"));
    let folder = state.path().join(format!("cases/{DEMO_REFERENCE}_{DEMO_CASE_ID}"));
    assert!(!folder.join("gone.txt").exists());
    assert_eq!(std::fs::read(folder.join("agent.pdf").join(&ledger[3].file_id).join("content")).unwrap().len(), 13);

    let sandbox = Sandbox::start(Settings::new(state.path())).await.unwrap();
    assert_eq!(sandbox.ledger(), ledger);
    assert_eq!(sandbox.cases().len(), 2);
    assert!(
        sandbox.cases().contains(&casedrop_sandbox::CaseInfo { status: casedrop_sandbox::CaseStatus::Closed, ..case })
    );
    let bench = Bench::around(sandbox, state);
    assert_eq!(bench.status(&one.file_id), "PROCESSING");
    bench.sandbox.advance_clock(Duration::from_secs(61));
    assert_eq!(bench.status(&one.file_id), "APPROVED", "the scan goes on");
    assert_eq!(bench.start("open.txt", 5, "open").file_id, open.file_id, "the token is known");
    let got = bench.get(&twin.file_id).ok();
    assert_eq!(bench.get_url(got["DownloadUrlMetadata"]["Url"].as_str().unwrap()).text(), "hello");
    assert_eq!(bench.whole("new.txt", "new").file_id.len(), 36);
    bench.delete(&one.file_id).ok();
    bench.delete(&twin.file_id).ok();
    let names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 4, "case.json, open, new, agent: {names:?}");
}

#[tokio::test]
async fn a_bad_state_folder_is_told() {
    let state = tempfile::tempdir().unwrap();
    Sandbox::start(Settings::new(state.path())).await.unwrap().shutdown().await;
    let file = state.path().join(format!("cases/{DEMO_REFERENCE}_{DEMO_CASE_ID}/case.json"));
    std::fs::write(&file, "{").unwrap();
    let error = Sandbox::start(Settings::new(state.path())).await.unwrap_err();
    assert!(matches!(&error, SandboxError::State { path, .. } if *path == file), "{error}");
    let mut open = Settings::new(state.path());
    open.listen = "0.0.0.0:0".parse().unwrap();
    assert!(matches!(Sandbox::start(open).await, Err(SandboxError::NotLoopback(_))));
}

#[tokio::test]
async fn garbage_does_not_stop_it() {
    let bench = Bench::new(|_| {}).await;
    let host = bench.sandbox.address();
    let long = format!("GET /{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "x".repeat(100_000));
    let body = format!("POST /domains-list HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2000000\r\n\r\n");
    let mut pieces: Vec<Vec<u8>> = vec![
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"\0\0\0\0\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"PUT /attached-files/%ff%fe?%ff=%ff HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".to_vec(),
        b"PUT /casedrop-sandbox-attachments/staging/x?X-Amz-Signature=%ff HTTP/1.1\r\nContent-Length: 1\r\n\r\nx"
            .to_vec(),
        b"POST /domains-list HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_vec(),
        b"POST /domains-list HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_vec(),
        b"POST /domains-list HTTP/1.1\r\nAuthorization: \xff\xff\r\nX-Amz-Date: \xe9\r\n\r\n".to_vec(),
        b"POST /domains-list HTTP/1.1\r\nAuthorization: AWS4-HMAC-SHA256 Credential=////,SignedHeaders=,Signature=\r\n\
          X-Amz-Date: 00000000T000000Z\r\n\r\n"
            .to_vec(),
        long.into_bytes(),
        [body.into_bytes(), vec![b'x'; 2_000_000]].concat(),
    ];
    // Some bytes of no design: a fixed sequence, so that a failure repeats.
    let mut seed = 1_u64;
    for _ in 0..50 {
        let piece = (0..200).map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        });
        pieces.push(piece.collect());
    }
    for piece in pieces {
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let _ = stream.write_all(&piece);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    // Well signed, but no JSON we know.
    for body in ["{", "[]", "null", "\"\"", "{\"FileIds\":{}}", "{\"FileIds\":[1]}", &"[".repeat(100_000)] {
        for (service, method, target) in [
            ("connect", "PUT", format!("/attached-files/{}?associatedResourceArn=arn", bench.sandbox.instance_id())),
            ("connect", "POST", format!("/attached-files/{}?associatedResourceArn=arn", bench.sandbox.instance_id())),
            ("cases", "POST", format!("/domains/{}/cases-search", bench.sandbox.domain_id())),
        ] {
            let answer = bench.try_call(service, method, &target, body).unwrap();
            // An unknown member is no mistake on this wire, so a search with one succeeds.
            assert!((200..500).contains(&answer.status), "{method} {target} {body:.20}: {}", answer.status);
        }
    }
    bench.whole("a.txt", "t");
}

#[tokio::test]
async fn a_broken_put_leaves_nothing() {
    let bench = Bench::new(|_| {}).await;
    let upload = bench.start("a.txt", 1000, "t");
    let mut stream = TcpStream::connect(bench.sandbox.address()).unwrap();
    stream.write_all(bench.put_head(&upload.url, &upload.headers).as_bytes()).unwrap();
    stream.write_all(&[1; 500]).unwrap();
    until("half has arrived", || std::fs::read_dir(bench.state.path().join("tmp")).unwrap().count() == 1);
    stream.shutdown(Shutdown::Both).unwrap();
    until("the end is noticed", || bench.sandbox.requests().iter().any(|r| r.bytes == 500 && r.status == 0));
    assert_eq!(std::fs::read_dir(bench.state.path().join("tmp")).unwrap().count(), 0);
    assert_eq!(bench.complete(&upload.file_id).status, 400);
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_large_put_is_streamed() {
    let bench = Bench::new(|settings| settings.limits.max_file_bytes = 100 * 1024 * 1024).await;
    let size = 100 * 1024 * 1024;
    let upload = bench.start("big.mov", size, "t");
    let before = resident_kib();
    let mut stream = TcpStream::connect(bench.sandbox.address()).unwrap();
    stream.write_all(bench.put_head(&upload.url, &upload.headers).as_bytes()).unwrap();
    let chunk = vec![42_u8; 1024 * 1024];
    for _ in 0..100 {
        stream.write_all(&chunk).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    bench.complete(&upload.file_id).ok();
    let got = bench.get(&upload.file_id).ok();
    let url = got["DownloadUrlMetadata"]["Url"].as_str().unwrap();
    let head = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        bench.target_of(url),
        bench.sandbox.address()
    );
    let mut stream = TcpStream::connect(bench.sandbox.address()).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let received = std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
    assert!(received > size);
    assert!(resident_kib() < before + 40 * 1024, "{before} then {}", resident_kib());
}

/// Sanity, not a benchmark: prints the rate, and asserts only that all arrived.
#[tokio::test]
async fn many_files() {
    for discard in [false, true] {
        let bench = Bench::new(|settings| {
            settings.discard_content = discard;
            settings.limits.files_per_case = 1_000_000;
            settings.limits.related_items_per_case = 1_000_000;
        })
        .await;
        let (began, count) = (Instant::now(), 300);
        let content = [9_u8; 4096];
        for n in 0..count {
            let upload = bench.start(&format!("{n}.txt"), 4096, &n.to_string());
            assert_eq!(bench.put(&upload, &content).status, 200);
            bench.complete(&upload.file_id).ok();
        }
        println!("{:.0} files/s, discard {discard}", f64::from(count) / began.elapsed().as_secs_f64());
        let ledger = bench.sandbox.ledger();
        assert_eq!(ledger.len(), 300);
        let hash = sha256(&content);
        assert!(ledger.iter().all(|file| file.sha256.as_deref() == Some(&hash) && file.status.as_str() == "APPROVED"));
        if discard {
            assert_eq!(std::fs::read_dir(bench.state.path()).unwrap().count(), 0);
        }
        let answered = bench.sandbox.requests();
        assert_eq!(answered.iter().filter(|request| request.status == 200).count(), 900);
        bench.sandbox.clear_requests();
        assert!(bench.sandbox.requests().is_empty());
        assert_eq!(bench.items(&json!({})).status, 200);
    }
}
