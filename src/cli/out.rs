//! Results on stdout.
//!
//! `writeln!(out, …)?` writes a line; a reader that went away ends the command quietly ([`Failed::output`]).

use std::fmt::Arguments;
use std::io::{self, BufWriter, Write};

use serde::Serialize;

use super::exit::Failed;

/// Where results go.
pub struct Out {
    sink: BufWriter<Box<dyn Write + Send>>,
}

impl Out {
    /// The process's stdout.
    pub fn stdout() -> Self {
        Self::to(Box::new(io::stdout()))
    }

    /// Any other sink.
    pub fn to(sink: Box<dyn Write + Send>) -> Self {
        Self { sink: BufWriter::new(sink) }
    }

    /// What `write!` and `writeln!` call.
    pub fn write_fmt(&mut self, text: Arguments<'_>) -> Result<(), Failed> {
        self.sink.write_fmt(text).map_err(|e| Failed::output(&e))
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        self.sink.write_all(bytes).map_err(|e| Failed::output(&e))
    }

    /// One value on one line.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failed> {
        let text = serde_json::to_string(value).map_err(|e| Failed::output(&e.into()))?;
        writeln!(self, "{text}")
    }

    /// One value over several lines.
    pub fn pretty(&mut self, value: &impl Serialize) -> Result<(), Failed> {
        let text = serde_json::to_string_pretty(value).map_err(|e| Failed::output(&e.into()))?;
        writeln!(self, "{text}")
    }

    /// Hands everything over now.
    pub fn flush(&mut self) -> Result<(), Failed> {
        self.sink.flush().map_err(|e| Failed::output(&e))
    }
}
