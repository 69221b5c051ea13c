//! The way to a service in this very process, for the simulation: everything of the client is real but the wire.
//!
//! While a [`Wire`] is set for the thread, [`Client::connect`] answers a client that uses it. The SDK signs with the
//! host's wall clock, so a stepped clock is refused as at AWS.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_config::{BehaviorVersion, Region};
use aws_sdk_connect::config::{Credentials, RuntimeComponents, SharedCredentialsProvider};
use aws_smithy_async::rt::sleep::{AsyncSleep, Sleep};
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;

use super::classify::{Cause, classify};
use super::failure::{Failure, Op};
use super::sdk::{self, Answered};
use super::{Client, Options};

/// What a client sends: the parts of a request, and its body to be read.
pub type Sent = http::Request<reqwest::Body>;

/// What became of a request.
pub type Answer = Result<http::Response<Bytes>, NoAnswer>;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// No connection came about: nothing was sent.
    Refused,
    /// The connection ended.
    Lost,
}

/// Takes requests to the service.
pub trait Wire: Send + Sync {
    fn exchange(&self, request: Sent) -> Pin<Box<dyn Future<Output = Answer> + Send>>;
}

thread_local! {
    static WIRE: RefCell<Option<Arc<dyn Wire>>> = const { RefCell::new(None) };
    /// The clients of the libraries are dear to make, so that the processes of a simulation share them. They keep what
    /// they believe of the service's clock: no other simulation may have them.
    static CLIENTS: RefCell<Option<(aws_sdk_connect::Client, aws_sdk_connectcases::Client, reqwest::Client)>> =
        const { RefCell::new(None) };
}

/// Sets the wire of this thread, or takes it away.
pub fn set_wire(wire: Option<Arc<dyn Wire>>) {
    CLIENTS.with(|it| *it.borrow_mut() = None);
    WIRE.with(|it| *it.borrow_mut() = wire);
}

pub(super) fn wire() -> Option<Arc<dyn Wire>> {
    WIRE.with(|it| it.borrow().clone())
}

/// A client on this thread's wire.
pub(super) async fn client(options: Options) -> Client {
    let made = CLIENTS.with(|it| it.borrow().clone());
    let (connect, cases, http) = match made {
        Some(made) => made,
        None => {
            let credentials = Credentials::new(
                casedrop_sandbox::ACCESS_KEY_ID,
                casedrop_sandbox::SECRET_ACCESS_KEY,
                None,
                None,
                "simulation",
            );
            let loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
                .region(Region::new(casedrop_sandbox::REGION))
                .credentials_provider(SharedCredentialsProvider::new(credentials))
                .time_source(HostTime)
                .sleep_impl(HostSleep)
                .http_client(Connector);
            let client = Client::load(loader, options.clone()).await;
            let made = (client.inner.connect.clone(), client.inner.cases.clone(), client.inner.http.clone());
            CLIENTS.with(|it| *it.borrow_mut() = Some(made.clone()));
            made
        }
    };
    let pace = (options.requests_per_second, options.burst, options.bandwidth);
    Client::paced(connect, cases, http, (&options.instance_id, options.url_expiry), pace)
}

/// No connection came about; the SDK's own error for it cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("connection refused")]
pub(super) struct Refused;

/// The host's wall clock.
#[derive(Debug)]
struct HostTime;

impl TimeSource for HostTime {
    fn now(&self) -> SystemTime {
        let ms = crate::host::unix_millis();
        let distance = Duration::from_millis(ms.unsigned_abs());
        if ms < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
    }
}

#[derive(Debug)]
struct HostSleep;

impl AsyncSleep for HostSleep {
    fn sleep(&self, time: Duration) -> Sleep {
        Sleep::new(crate::host::time::sleep(time))
    }
}

#[derive(Debug, Clone)]
struct Connector;

impl HttpClient for Connector {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector)
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(async move {
            let wire = wire().ok_or_else(|| ConnectorError::user("there is no wire".into()))?;
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let body = |body: SdkBody| reqwest::Body::from(Bytes::copy_from_slice(body.bytes().unwrap_or_default()));
            match wire.exchange(with_host(request.map(body))).await {
                Ok(answer) => HttpResponse::try_from(answer.map(SdkBody::from))
                    .map_err(|error| ConnectorError::other(error.into(), None)),
                Err(NoAnswer::Refused) => Err(ConnectorError::other(Refused.into(), None)),
                Err(NoAnswer::Lost) => {
                    Err(ConnectorError::io(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()))
                }
            }
        })
    }
}

/// A transfer on the wire.
pub(super) async fn transfer(
    wire: &dyn Wire,
    op: Op,
    request: reqwest::RequestBuilder,
) -> Result<reqwest::Response, Failure> {
    let built = request.build().and_then(http::Request::<reqwest::Body>::try_from);
    let request = built.map_err(|error| super::put::transport(op, error))?;
    let lost = |cause, code: &str| sdk::build(op, classify(op, cause), code.to_owned(), "", Answered::default());
    match wire.exchange(with_host(request)).await {
        Ok(answer) => Ok(reqwest::Response::from(answer)),
        Err(NoAnswer::Refused) => Err(lost(Cause::NotSent, "ConnectFailed")),
        Err(NoAnswer::Lost) => Err(lost(Cause::Lost, "ConnectionLost")),
    }
}

/// HTTP libraries add the host as they send.
fn with_host(mut request: Sent) -> Sent {
    if let Some(host) = request.uri().authority().and_then(|host| host.as_str().parse().ok()) {
        request.headers_mut().entry(http::header::HOST).or_insert(host);
    }
    request
}
