//! Everything that is said to AWS, and the only judgement of what it answers.
//!
//! - **One call, one try.** The SDK's retries are off: ours live in the journal, and two layers would multiply
//!   (invariant 16). Each call first waits for its turn at the pacer of its operation.
//! - **A failure says what to do next**, and whether the service can have done anything ([`Failure`]).
//! - **Cancellation**: every future may be dropped at any point. A dropped call may have had its effect; its slot
//!   at the pacer is spent.
//! - **Secrets** (invariant 23): presigned URLs appear in no error and no `Debug`. The SDK's own `trace` output
//!   does hold them: [`SECRET_TARGETS`] must stay off in every log.

mod answer;
mod body;
mod calls;
mod cases;
mod classify;
mod failure;
#[cfg(test)]
pub mod in_process;
mod pace;
mod put;
mod s3_error;
mod sane;
mod sdk;
#[cfg(test)]
mod tests;
mod text;

use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, ConfigLoader, Region};

#[cfg(test)]
pub use answer::Granted;
pub use answer::{Grant, Remote, RemoteFile, RemoteStatus, StartRequest};
pub use body::Body;
#[cfg(test)]
pub use failure::WRONG_CLOCK;
pub use failure::{Failure, Next, Op};
pub use pace::Usage;

/// Log targets that print whole requests and answers, or credentials, at `debug` or `trace`. A log filter must
/// keep them at `info` or above, whatever level a person asks for.
pub const SECRET_TARGETS: &[&str] = &[
    "aws_config",
    "aws_credential_types",
    "aws_runtime",
    "aws_sdk_connect",
    "aws_sdk_connectcases",
    "aws_sdk_sts",
    "aws_sigv4",
    "aws_smithy_http_client",
    "aws_smithy_runtime",
    "aws_smithy_runtime_api",
    "h2",
    "hyper",
    "hyper_util",
    "reqwest",
    "rustls",
];

/// How to reach the service, and how fast.
#[derive(Debug, Clone)]
pub struct Options {
    pub region: Option<String>,
    pub profile: Option<String>,
    /// For Connect; the SDK's own setting otherwise.
    pub endpoint_url: Option<String>,
    /// For Cases; the SDK's own setting otherwise.
    pub cases_endpoint_url: Option<String>,
    /// The id, or the instance's ARN.
    pub instance_id: String,
    /// For each operation.
    pub requests_per_second: f64,
    pub burst: u32,
    /// Bytes per second for all uploads together.
    pub bandwidth: Option<u64>,
    /// Asked of the service for each URL: 5 s to 300 s (SERVICE.md 1.1).
    pub url_expiry: Duration,
}

/// The way to Connect, Cases and S3. Clones share connections, credentials and pacers.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    connect: aws_sdk_connect::Client,
    cases: aws_sdk_connectcases::Client,
    http: reqwest::Client,
    instance_id: String,
    url_expiry: Duration,
    lanes: Arc<pace::Lanes>,
    patience: put::Patience,
}

/// Time for a connection to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for one API call as a whole; the answers are small.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

impl Client {
    /// Reads the environment and the profile files as every AWS program does. No network is touched; credentials
    /// are loaded with the first call and then kept until they expire.
    pub async fn connect(options: Options) -> Client {
        #[cfg(test)]
        if in_process::wire().is_some() {
            return in_process::client(options).await;
        }
        Self::load(aws_config::defaults(BehaviorVersion::v2026_01_12()), options).await
    }

    /// The same from a loader that may hold more, such as fixed credentials.
    async fn load(loader: ConfigLoader, options: Options) -> Client {
        let timeouts =
            TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(CALL_TIMEOUT).build();
        let mut loader = loader
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            // It watches the throughput of every body with a timer of its own; ours are small and under the
            // time-out of the call.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            // Start requests are far below the size that is compressed.
            .disable_request_compression(true);
        if let Ok(name) = AppName::new("casedrop") {
            // Shows in CloudTrail as `app/casedrop` (SERVICE.md 4).
            loader = loader.app_name(name);
        }
        if let Some(region) = options.region {
            loader = loader.region(Region::new(region));
        }
        if let Some(profile) = options.profile {
            loader = loader.profile_name(profile);
        }
        let shared = loader.load().await;
        let mut connect = aws_sdk_connect::config::Builder::from(&shared).interceptor(sane::Sane);
        if let Some(url) = options.endpoint_url {
            connect = connect.endpoint_url(url);
        }
        let mut cases = aws_sdk_connectcases::config::Builder::from(&shared).interceptor(sane::Sane);
        if let Some(url) = options.cases_endpoint_url {
            cases = cases.endpoint_url(url);
        }
        let connect = aws_sdk_connect::Client::from_conf(connect.build());
        let cases = aws_sdk_connectcases::Client::from_conf(cases.build());
        let pace = (options.requests_per_second, options.burst, options.bandwidth);
        Self::paced(connect, cases, put::http_client(), (&options.instance_id, options.url_expiry), pace)
    }

    /// Around the clients of the libraries, with pacers of its own.
    fn paced(
        connect: aws_sdk_connect::Client,
        cases: aws_sdk_connectcases::Client,
        http: reqwest::Client,
        (instance_id, url_expiry): (&str, Duration),
        (requests_per_second, burst, bandwidth): (f64, u32, Option<u64>),
    ) -> Client {
        let inner = Inner {
            connect,
            cases,
            http,
            // Lenient on an ARN: the id is what follows the last slash.
            instance_id: instance_id.rsplit('/').next().unwrap_or_default().to_owned(),
            url_expiry: url_expiry.clamp(Duration::from_secs(5), Duration::from_secs(300)),
            lanes: Arc::new(pace::Lanes::new(requests_per_second, burst, bandwidth)),
            patience: put::Patience::default(),
        };
        Client { inner: Arc::new(inner) }
    }

    /// The id of the Connect instance.
    pub fn instance_id(&self) -> &str {
        &self.inner.instance_id
    }

    /// What each operation did so far, and how fast it may go at present.
    pub fn usage(&self) -> Vec<Usage> {
        self.inner.lanes.usage()
    }
}
