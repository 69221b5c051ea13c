//! The sandbox under another SDK, boto3: what it accepts and answers is AWS's wire, not a private agreement with
//! the Rust SDK.
//!
//! Runs with `python3`, or the interpreter that `CASEDROP_PYTHON` names, if that can import boto3; says so if not.

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

use std::process::Command;

use casedrop_sandbox::{DEMO_CASE_ID, DEMO_REFERENCE, Op, Sandbox, Settings};

#[tokio::test]
async fn boto3_drives_every_operation() {
    let python = std::env::var("CASEDROP_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let usable = Command::new(&python).args(["-c", "import boto3"]).output();
    if !usable.is_ok_and(|output| output.status.success()) {
        eprintln!(
            "NOT RUN: {python} cannot import boto3; `pip install boto3`, or name another interpreter in CASEDROP_PYTHON"
        );
        return;
    }
    let state = tempfile::tempdir().expect("temporary folder");
    let sandbox = Sandbox::start(Settings::new(state.path())).await.expect("start");
    let output = Command::new(&python)
        .args(["-c", include_str!("boto3_client.py")])
        .env("SANDBOX_ENDPOINT", sandbox.endpoint_url())
        .env("SANDBOX_REGION", sandbox.region())
        .env("SANDBOX_KEY_ID", sandbox.access_key_id())
        .env("SANDBOX_SECRET", sandbox.secret_access_key())
        .env("SANDBOX_INSTANCE", sandbox.instance_id())
        .env("SANDBOX_CASE", DEMO_CASE_ID)
        .env("SANDBOX_REFERENCE", DEMO_REFERENCE)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .output()
        .expect("run python");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    eprintln!("{}", String::from_utf8_lossy(&output.stdout));

    assert!(sandbox.ledger().is_empty());
    assert_eq!(sandbox.deleted().len(), 1);
    let requests = sandbox.requests();
    for op in Op::ALL {
        assert!(requests.iter().any(|request| request.op == op), "{op}");
    }
    sandbox.shutdown().await;
}
