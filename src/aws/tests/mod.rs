//! The calls against a server that speaks raw TCP: every byte on the wire can be looked at, every fault made.

mod fuzz;
mod server;
mod service;
mod transfer;

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_sdk_connect::config::Credentials;

use super::{Client, Options};
use crate::types::{CaseArn, FileId};

/// A client that sends everything to `url`, with credentials that AWS never issued.
async fn client(url: &str) -> Client {
    client_with(url, |_| {}).await
}

async fn client_with(url: &str, change: impl FnOnce(&mut Options)) -> Client {
    let credentials = Credentials::new("AKIDTEST", "SECRETKEYTEST", Some("TOKENTEST".to_owned()), None, "test");
    let loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).credentials_provider(credentials);
    let mut options = Options {
        region: Some("eu-west-2".to_owned()),
        profile: None,
        endpoint_url: Some(url.to_owned()),
        cases_endpoint_url: Some(url.to_owned()),
        instance_id: "arn:aws:connect:eu-west-2:1:instance/i-1".to_owned(),
        requests_per_second: 1e6,
        burst: 100,
        bandwidth: None,
        url_expiry: Duration::from_secs(300),
    };
    change(&mut options);
    Client::load(loader, options).await
}

fn case() -> CaseArn {
    CaseArn::new("arn:aws:cases:eu-west-2:123456789012:domain/d-1/case/c-1").unwrap()
}

fn file() -> FileId {
    FileId::new("f-1").unwrap()
}
