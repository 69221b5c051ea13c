//! What happened, line by line, with the true time: the same for the same seed (invariant 24).

use std::sync::{Arc, Mutex};

use crate::host::simulated;

#[derive(Debug, Clone, Default)]
pub struct Trace(Arc<Mutex<Vec<String>>>);

impl Trace {
    pub fn note(&self, line: &str) {
        let at = simulated::true_time().unwrap_or_default();
        tracing::info!("[{at}] {line}");
        self.0.lock().unwrap().push(format!("{at} {line}"));
    }

    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}
