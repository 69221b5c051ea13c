//! Trouble on the way: all files are attached in the end, none twice, and the calls stay within the pacer's limits.

use std::fs;
use std::io::copy;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::common::{Stage, text, wait};
use crate::mounts::start;
use casedrop_sandbox::{Fault, FaultKind, Nth, Op, Throttle};

const CALLS: [Op; 4] = [
    Op::StartAttachedFileUpload,
    Op::CompleteAttachedFileUpload,
    Op::BatchGetAttachedFileMetadata,
    Op::DeleteAttachedFile,
];

fn fraction(op: Op, share: f64, kind: FaultKind) -> Fault {
    Fault { op, nth: Nth::Fraction { share, seed: 7 }, kind, limit: None }
}

fn fill(stage: &Stage, files: usize) {
    for n in 0..files {
        stage.write(&format!("{n:03}.txt"), format!("content {n}"));
    }
}

/// Runs passes until both sides are equal, as an operator's timer would.
fn passes(stage: &Stage) {
    for _ in 0..6 {
        let output = stage.run(&["sync"]);
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 75)), "{code:?}: {}", text(&output));
        if code == Some(0) && stage.is_equal() {
            break;
        }
    }
    stage.assert_equal();
}

/// New files, then a change of half of them, under the faults.
fn survives(faults: Vec<Fault>) {
    let stage = Stage::new();
    fill(&stage, 8);
    stage.sandbox.set_faults(faults.clone());
    passes(&stage);
    for n in 0..4 {
        stage.write(&format!("{n:03}.txt"), format!("changed {n}"));
    }
    stage.sandbox.set_faults(faults);
    passes(&stage);
    assert!(stage.sandbox.faults_applied() > 0, "the faults never came to bear");
}

#[test]
fn half_of_all_calls_throttled() {
    survives(CALLS.map(|op| fraction(op, 0.5, FaultKind::Throttle { retry_after: None })).into());
}

#[test]
fn server_errors_before_the_effect() {
    survives(CALLS.map(|op| fraction(op, 0.3, FaultKind::ServerErrorBefore)).into());
}

#[test]
fn server_errors_after_the_effect() {
    survives(CALLS.map(|op| fraction(op, 0.3, FaultKind::ServerErrorAfter)).into());
}

#[test]
fn lost_replies() {
    survives(
        [CALLS.as_slice(), &[Op::PutObject]]
            .concat()
            .into_iter()
            .map(|op| fraction(op, 0.3, FaultKind::LostReply))
            .collect(),
    );
}

#[test]
fn uploads_cut_in_the_middle() {
    survives(vec![fraction(Op::PutObject, 0.5, FaultKind::CutAfter(4))]);
}

#[test]
fn storage_asks_to_slow_down() {
    survives(vec![fraction(Op::PutObject, 0.5, FaultKind::SlowDown)]);
}

#[test]
fn upload_urls_expired() {
    survives(vec![fraction(Op::PutObject, 0.4, FaultKind::Expired)]);
}

#[test]
fn garbled_answers() {
    survives(CALLS.map(|op| fraction(op, 0.3, FaultKind::Malformed)).into());
}

#[test]
fn a_hang_of_five_seconds_on_each_operation() {
    let ops = [CALLS.as_slice(), &[Op::PutObject]].concat();
    survives(ops.into_iter().map(|op| Fault::nth(op, 1, FaultKind::Hang(Duration::from_secs(5)))).collect());
}

#[test]
fn a_real_quota_is_used_and_not_overrun() {
    // With few in flight, and room at the service for them beside a burst, a pause of either side throws no more calls
    // together than it takes; forty at twice the pace would be too many.
    let mut stage = Stage::with(|settings| settings.throttle = Throttle::every(5.0, 10));
    stage.limits = "requests_per_second = 5\nburst = 3\nuploads_in_flight = 2\n".to_owned();
    fill(&stage, 40);
    passes(&stage);
    let throttled = stage.sandbox.requests().iter().filter(|r| r.status == 429).count();
    assert_eq!(throttled, 0, "a pacer at the quota alone is never throttled");
}

#[test]
fn refusals_are_parked_and_never_repeated() {
    let stage = Stage::new();
    stage.write("program.exe", "MZ");
    stage.write("empty.pdf", "");
    stage.write("good.pdf", "good");
    let output = stage.run(&["sync"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let starts =
        |stage: &Stage| stage.sandbox.requests().iter().filter(|r| r.op == Op::StartAttachedFileUpload).count();
    assert_eq!(starts(&stage), 1, "what would be refused costs no call");
    let output = stage.run(&["sync"]);
    assert_eq!((output.status.code(), starts(&stage)), (Some(1), 1), "parked files are not sent again");
    let shown = text(&output);
    assert!(shown.contains("type-not-allowed") && shown.contains("empty-file"), "{shown}");
}

#[test]
fn access_denied_does_not_loop() {
    let stage = Stage::new();
    fill(&stage, 3);
    stage.sandbox.set_faults(vec![Fault::all(Op::StartAttachedFileUpload, FaultKind::AccessDenied)]);
    let output = stage.run(&["sync"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert_eq!(stage.count(Op::StartAttachedFileUpload), 3);
}

#[test]
fn expired_credentials_use_up_no_tries() {
    let stage = Stage::new();
    fill(&stage, 3);
    stage.sandbox.set_faults(vec![Fault::all(Op::StartAttachedFileUpload, FaultKind::ExpiredToken)]);
    let output = stage.run(&["sync"]);
    assert_eq!(output.status.code(), Some(78), "{}", text(&output));
    stage.sandbox.set_faults(Vec::new());
    stage.sync();
    stage.assert_equal();
}

/// Takes what comes in at one address to the other, until this process ends.
fn relay(from: SocketAddr, to: SocketAddr) {
    let listener = TcpListener::bind(from).unwrap();
    let carry = |mut from: TcpStream, mut to: TcpStream| {
        thread::spawn(move || {
            // Either side may hang up.
            let _ = copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        })
    };
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(to) else { continue };
            carry(client.try_clone().unwrap(), server.try_clone().unwrap());
            carry(server, client);
        }
    });
}

#[test]
fn a_network_that_is_down_is_told_until_it_is_back() {
    let stage = Stage::new();
    // The sandbox's port, at an address of this host where nobody listens yet.
    let sandbox = stage.sandbox.address();
    let away = SocketAddr::from(([127, 0, 0, 2], sandbox.port()));
    let config = fs::read_to_string(stage.config()).unwrap();
    let path = stage.dir.path().join("away.toml");
    fs::write(&path, config.replace(&stage.sandbox.endpoint_url(), &format!("http://{away}"))).unwrap();
    stage.write("a.txt", "content");
    let daemon = start(&stage, stage.command_with(&path));
    let paused = || stage.status()["daemon"]["paused"].clone();
    // Also empty for a moment where the daemon is too busy to answer soon.
    let codes = || -> Vec<_> { paused().as_array().into_iter().flatten().map(|storm| storm["code"].clone()).collect() };
    wait("status has the network's fault alone", || codes() == ["offline"], || daemon.log());
    wait("it is queued", || ["queued", "uploading"].contains(&&*stage.verdict("a.txt")), || daemon.log());
    let lines = |args: &[&str]| {
        let shown = text(&stage.run(args));
        shown.lines().filter(|line| line.contains("PAUSED")).map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let says = |line: &str| line.contains("out of reach of the service since") && line.contains(": ConnectFailed");
    wait("in words too", || matches!(&lines(&["status"])[..], [line] if says(line)), || daemon.log());
    wait("and why", || matches!(&lines(&["why", "a.txt"])[..], [line] if says(line)), || daemon.log());
    relay(away, sandbox);
    stage.wait_attached();
    // An empty list is the daemon's own word, not its silence.
    wait("it is over", || paused().as_array().is_some_and(Vec::is_empty), || format!("{:#}", stage.status()));
    assert_eq!((lines(&["status"]), lines(&["why", "a.txt"])), (vec![], vec![]));
    stage.assert_settled(daemon);
    assert!(stage.status()["daemon"]["paused"].is_null(), "nobody is there to tell");
}
