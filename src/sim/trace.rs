//! What happened, line by line, with the true time: the same for the same seed (invariant 24).

use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::host::simulated;

#[derive(Debug, Clone)]
pub struct Trace {
    lines: Arc<Mutex<Vec<String>>>,
    /// Where this simulation's files are: another place each time.
    place: Arc<str>,
}

impl Trace {
    pub fn new(place: &Path) -> Self {
        Self { lines: Arc::default(), place: place.to_string_lossy().into() }
    }

    pub fn note(&self, line: &str) {
        let at = simulated::true_time().unwrap_or_default();
        tracing::info!("[{at}] {line}");
        self.lines.lock().unwrap().push(format!("{at} {}", line.replace(&*self.place, "")));
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}
