//! Each kind of scripted fault: what the client sees, and whether the effect was done.

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

use std::io::ErrorKind;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use casedrop_sandbox::{Fault, FaultKind, Nth, Op, Script};
use common::Bench;

const START: Op = Op::StartAttachedFileUpload;

fn once(op: Op, kind: FaultKind) -> Vec<Fault> {
    vec![Fault::nth(op, 1, kind)]
}

#[tokio::test]
async fn refused_before_the_effect() {
    let bench = Bench::new(|_| {}).await;
    let status = |code| FaultKind::Status { code, error: "OddException".into(), message: "odd".into() };
    for (kind, wanted) in [
        (FaultKind::Throttle { retry_after: Some("7".into()) }, (429, "ThrottlingException")),
        (FaultKind::ServerErrorBefore, (500, "InternalServiceException")),
        (FaultKind::SlowDown, (503, "ServiceUnavailableException")),
        (FaultKind::AccessDenied, (403, "AccessDeniedException")),
        (FaultKind::ExpiredToken, (403, "ExpiredTokenException")),
        (FaultKind::Expired, (403, "ExpiredTokenException")),
        (status(418), (418, "OddException")),
    ] {
        bench.sandbox.set_faults(once(START, kind.clone()));
        let answer = bench.try_start("a.txt", 1, "t");
        assert_eq!((answer.status, answer.kind()), wanted, "{kind:?}");
        let retry_after = answer.headers.get("retry-after").map(String::as_str);
        assert_eq!(retry_after, (answer.status == 429).then_some("7"));
        assert_eq!(bench.sandbox.faults_applied(), 1);
        assert!(bench.sandbox.ledger().is_empty(), "{kind:?}");
        let logged = bench.sandbox.requests().pop().unwrap();
        assert_eq!((logged.fault, logged.status), (Some(kind.name()), wanted.0));
    }
    bench.start("a.txt", 1, "t");
}

#[tokio::test]
async fn done_but_not_answered() {
    let bench = Bench::new(|_| {}).await;
    bench.sandbox.set_faults(once(START, FaultKind::ServerErrorAfter));
    assert_eq!(bench.try_start("a.txt", 1, "a").status, 500);
    assert_eq!(bench.sandbox.ledger().len(), 1);

    bench.sandbox.set_faults(once(START, FaultKind::LostReply));
    let target = bench.sandbox.requests().len();
    let body = Bench::start_body("b.txt", 1, "b").to_string();
    let path = format!(
        "/attached-files/{}?associatedResourceArn={}",
        bench.sandbox.instance_id(),
        common::encode(&bench.case_arn())
    );
    let lost = bench.try_call("connect", "PUT", &path, &body).unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::UnexpectedEof);
    assert_eq!(bench.sandbox.ledger().len(), 2);
    let logged = bench.sandbox.requests().pop().unwrap();
    assert_eq!((bench.sandbox.requests().len(), logged.status), (target + 1, 0));
    assert_eq!(logged.client_token.as_deref(), Some("b"));

    bench.sandbox.set_faults(once(START, FaultKind::Malformed));
    let broken = bench.try_start("c.txt", 1, "c");
    assert_eq!(broken.status, 200);
    assert!(serde_json::from_slice::<serde_json::Value>(&broken.body).is_err());
    assert_eq!(bench.sandbox.ledger().len(), 3);

    bench.sandbox.set_faults(once(Op::BatchGetAttachedFileMetadata, FaultKind::UnknownStatus));
    let id = bench.sandbox.ledger()[0].file_id.clone();
    assert_eq!(bench.status(&id), "CASEDROP_SANDBOX_UNKNOWN");
    assert_eq!(bench.status(&id), "PROCESSING");
}

#[tokio::test]
async fn faults_of_the_put() {
    let bench = Bench::new(|_| {}).await;
    let content = vec![7_u8; 2_000_000];
    let upload = bench.start("a.txt", 2_000_000, "a");
    for (kind, wanted) in [
        (FaultKind::SlowDown, (503, "SlowDown")),
        (FaultKind::Throttle { retry_after: None }, (503, "SlowDown")),
        (FaultKind::Expired, (403, "AccessDenied")),
        (FaultKind::ServerErrorBefore, (500, "InternalError")),
    ] {
        bench.sandbox.set_faults(once(Op::PutObject, kind));
        let answer = bench.put(&upload, &content);
        assert_eq!((answer.status, answer.code().as_str()), wanted);
        assert!(!bench.sandbox.ledger()[0].put_done);
    }
    bench.sandbox.set_faults(once(Op::PutObject, FaultKind::CutAfter(1_000_000)));
    assert!(bench.try_put(&upload, &content).is_err());
    common::until("the cut is logged", || {
        bench.sandbox.requests().last().is_some_and(|last| last.fault == Some("cut-after") && last.bytes >= 1_000_000)
    });
    assert!(!bench.sandbox.ledger()[0].put_done);
    assert_eq!(std::fs::read_dir(bench.state.path().join("tmp")).unwrap().count(), 0, "nothing half-written stays");

    bench.sandbox.set_faults(once(Op::PutObject, FaultKind::LostReply));
    assert!(bench.try_put(&upload, &content).is_err());
    assert!(bench.sandbox.ledger()[0].put_done);
    assert_eq!(bench.put(&upload, &content).status, 200);
}

#[tokio::test]
async fn hanging() {
    let bench = Bench::new(|_| {}).await;
    bench.sandbox.set_faults(once(START, FaultKind::Hang(Duration::from_millis(150))));
    let began = Instant::now();
    bench.start("a.txt", 1, "a");
    assert!(began.elapsed() >= Duration::from_millis(150));

    bench.sandbox.set_faults(once(Op::ListDomains, FaultKind::HangForever));
    let head = bench.signed_head("cases", "POST", "/domains-list", b"");
    let mut stream = TcpStream::connect(bench.sandbox.address()).unwrap();
    std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
    common::until("the fault is applied", || bench.sandbox.faults_applied() == 1);
    assert!(bench.sandbox.requests().iter().all(|request| request.op != Op::ListDomains), "still waiting");
    stream.shutdown(Shutdown::Both).unwrap();
    common::until("the end of the client is noticed", || {
        bench.sandbox.requests().iter().any(|request| request.op == Op::ListDomains && request.status == 0)
    });

    // A request that hangs does not keep the sandbox from stopping.
    bench.sandbox.set_faults(once(Op::ListDomains, FaultKind::HangForever));
    let head = bench.signed_head("cases", "POST", "/domains-list", b"");
    let mut stream = TcpStream::connect(bench.sandbox.address()).unwrap();
    std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
    common::until("the fault is applied", || bench.sandbox.faults_applied() == 1);
    bench.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_script_file_is_played() {
    let script = Script::parse(
        r#"
        [limits]
        extensions = ["eml"]
        [[fault]]
        op = "StartAttachedFileUpload"
        nth = 2
        kind = "throttle"
        [[fault]]
        op = "StartAttachedFileUpload"
        every = 3
        kind = "access-denied"
        limit = 1
        "#,
    )
    .unwrap();
    let bench = Bench::new(|settings| script.apply(settings)).await;
    let seen: Vec<u16> = (0..6).map(|n| bench.try_start("a.eml", 1, &n.to_string()).status).collect();
    assert_eq!(seen, [200, 429, 403, 200, 200, 200]);
    assert_eq!(bench.sandbox.faults_applied(), 2);
    // A bad signature is not counted: the counts are of requests that got through.
    let all = Fault { nth: Nth::Every(2), ..Fault::all(START, FaultKind::SlowDown) };
    bench.sandbox.set_faults(vec![all]);
    let path = format!("/attached-files/{}", bench.sandbox.instance_id());
    assert_eq!(bench.call("cases", "PUT", &path, &serde_json::Value::Null).status, 403);
    assert_eq!(bench.try_start("a.eml", 1, "x").status, 200);
    assert_eq!(bench.try_start("a.eml", 1, "y").status, 503);
}
