//! Signals: SIGTERM and SIGINT stop, SIGHUP reloads.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// A stream of SIGTERMs and SIGINTs. Made first of all, so that a signal during the start is not the process's end.
pub struct Stops(Option<Signal>, Option<Signal>);

impl Stops {
    /// From now on, inside a runtime.
    pub fn new() -> Self {
        Self(listen(SignalKind::terminate()), listen(SignalKind::interrupt()))
    }

    /// Resolves at the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            () = next(&mut self.0) => {}
            () = next(&mut self.1) => {}
        }
    }
}

/// A stream of SIGHUPs.
pub(super) struct Reloads(Option<Signal>);

impl Reloads {
    pub(super) fn new() -> Self {
        Self(listen(SignalKind::hangup()))
    }

    /// Resolves at the next one.
    pub(super) async fn next(&mut self) {
        next(&mut self.0).await;
    }
}

fn listen(kind: SignalKind) -> Option<Signal> {
    signal(kind).inspect_err(|error| tracing::warn!("cannot listen for a signal: {error}")).ok()
}

async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}
