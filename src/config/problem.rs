//! What is wrong with a configuration, in words.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// Longest part of a value that is shown, in characters.
const SHOWN_CHARS: usize = 80;

/// One problem; shows itself on one line: `FILE:LINE: KEY = VALUE: what is wrong and what is allowed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file's name.
    pub origin: String,
    /// From 1; `None` where no line can be named.
    pub line: Option<usize>,
    /// From 1, in characters; for a syntax error.
    pub column: Option<usize>,
    /// The dotted key, `mirror[NAME].settle`; empty for a syntax error.
    pub key: String,
    /// The value as written, shortened; `None` when it is missing or may hold a secret.
    pub value: Option<String>,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(column) = self.column {
            write!(f, ":{column}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        if let Some(value) = &self.value {
            write!(f, " = {value}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No file at the place looked at.
    #[error(
        "there is no configuration file {} ({looked}); to make one, copy config.example.toml there, fill in \
         [connect] and one [[mirror]], then run `casedrop check`",
        path.display()
    )]
    Missing { path: PathBuf, looked: &'static str },
    /// The file is there and cannot be read.
    #[error(
        "cannot read the configuration file {} ({looked}): {source}; it must be a regular file that casedrop's user \
         may read",
        path.display()
    )]
    Unreadable { path: PathBuf, looked: &'static str, source: std::io::Error },
    /// The file was read; every problem in it.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Problem>),
}

/// Collects the problems of one text.
pub(super) struct Sink<'a> {
    origin: String,
    text: &'a str,
    problems: Vec<Problem>,
}

impl<'a> Sink<'a> {
    pub(super) fn new(text: &'a str, origin: String) -> Self {
        Self { origin, text, problems: Vec::new() }
    }

    /// The line of a place in the text, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.before(at).bytes().filter(|b| *b == b'\n').count() + 1
    }

    fn before(&self, at: usize) -> &str {
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        self.text.get(..at).unwrap_or_default()
    }

    /// A problem with the value at `span`.
    pub(super) fn value(&mut self, key: &str, span: Range<usize>, message: impl Into<String>) {
        let value = self.text.get(span.clone()).map(shown);
        self.push(key, Some(self.line(span.start)), value, message.into());
    }

    /// A problem with the value at `span`, which may hold a secret.
    pub(super) fn secret(&mut self, key: &str, span: Range<usize>, message: impl Into<String>) {
        self.push(key, Some(self.line(span.start)), None, message.into());
    }

    /// A problem with a key or a table, not with a value; `at` is its place if it has one.
    pub(super) fn key(&mut self, key: &str, at: Option<usize>, message: impl Into<String>) {
        self.push(key, at.map(|at| self.line(at)), None, message.into());
    }

    /// A text that is no TOML.
    pub(super) fn syntax(&mut self, at: usize, message: &str) {
        let before = self.before(at);
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        self.push("", Some(self.line(at)), None, format!("this is no TOML: {message}"));
        if let Some(problem) = self.problems.last_mut() {
            problem.column = Some(column);
        }
    }

    fn push(&mut self, key: &str, line: Option<usize>, value: Option<String>, message: String) {
        let (key, message) = (one_line(key), one_line(&message));
        self.problems.push(Problem { origin: self.origin.clone(), line, column: None, key, value, message });
    }

    /// Every problem, those without a line last.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|p| p.line.unwrap_or(usize::MAX));
        self.problems
    }
}

/// A value as written, on one line and shortened.
fn shown(value: &str) -> String {
    let value = value.trim();
    let first = value.lines().next().unwrap_or_default();
    let mut shown: String = first.chars().take(SHOWN_CHARS).collect();
    let cut = shown.len() < value.len();
    shown = one_line(&shown);
    if cut {
        shown.push('…');
    }
    shown
}

/// `text` without anything that breaks or forges a line.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line() {
        let mut sink = Sink::new("a = 1\nb = \"x\ny\"\n", "c.toml".into());
        sink.value("b", 10..15, "bad\nthing");
        sink.key("a\u{202e}", Some(0), "worse");
        sink.key("c", None, "missing");
        let shown: Vec<String> = sink.into_problems().iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["c.toml:1: a\\u{202e}: worse", "c.toml:2: b = \"x…: bad\\nthing", "c.toml: c: missing"]);
    }

    #[test]
    fn a_long_value_is_cut() {
        assert_eq!(shown(&"x".repeat(80)), "x".repeat(80));
        assert_eq!(shown(&"x".repeat(81)), format!("{}…", "x".repeat(80)));
        assert_eq!(shown("\"a\tb\""), "\"a\\tb\"");
    }
}
