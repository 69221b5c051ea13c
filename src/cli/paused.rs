//! What keeps a running daemon from making calls: it alone can tell, for the journal may be what is the matter.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::context;
use super::words::{moment, plain, span};
use crate::control::{self, Request};
use crate::types::UnixMillis;
use crate::weather::Told;

/// Longest wait for a daemon that does not answer; what is known without it is shown all the same.
const PATIENCE: Duration = Duration::from_secs(1);

/// A fault of the environment that lasts.
#[derive(Debug, Serialize)]
pub struct Paused {
    code: String,
    what: String,
    detail: String,
    since: String,
    last_seen: String,
    #[serde(skip)]
    times: (UnixMillis, UnixMillis),
}

/// Asks the daemon on this journal. `None`: it does not answer soon, may not be asked, or is too old for the question.
pub fn ask(journal: &Path) -> Option<Vec<Paused>> {
    let asked = async { tokio::time::timeout(PATIENCE, control::ask(journal, &Request::Weather)).await };
    let reply = context::runtime(false).ok()?.block_on(asked).ok()?.ok()??;
    Some(reply.weather?.iter().map(Paused::new).collect())
}

impl Paused {
    fn new(told: &Told) -> Self {
        Self {
            code: plain(&told.code),
            what: plain(&told.what),
            detail: plain(&told.detail),
            since: told.since.to_string(),
            last_seen: told.seen.to_string(),
            times: (told.since, told.seen),
        }
    }

    /// In one line, after `the daemon is`.
    pub fn line(&self, now: UnixMillis) -> String {
        let (since, seen) = self.times;
        let (what, seen) = (&self.what, span(now.since(seen)));
        format!("{what} since {}, last seen {seen} ago: {}", moment(since, now), self.detail)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::os::unix::net::UnixListener;

    use super::*;

    /// What is made of a daemon that answers so; an empty answer is none, for as long as somebody waits.
    fn asked(answer: &'static str) -> Option<Vec<Paused>> {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("journal.db");
        let socket = UnixListener::bind(control::socket_path(&journal)).unwrap();
        let daemon = std::thread::spawn(move || {
            let mut stream = socket.accept().unwrap().0;
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            assert_eq!(lines.next().unwrap().unwrap(), "\"weather\"");
            // It may be gone.
            let _ = stream.write_all(answer.as_bytes());
            assert!(lines.next().is_none_or(|line| line.is_err()));
        });
        let told = ask(&journal);
        daemon.join().unwrap();
        told
    }

    #[test]
    fn what_the_daemon_tells_is_one_line_without_control_characters() {
        let answer = concat!(
            r#"{"Ok":{"done":0,"text":"","pass":null,"weather":[{"code":"new","what":"out of reach","#,
            r#""detail":"Start:\n\u001b[31mfailed","since":1000,"seen":190000}]}}"#,
            "\n"
        );
        let told = asked(answer).unwrap();
        let lines: Vec<_> = told.iter().map(|storm| storm.line(UnixMillis(193_000))).collect();
        let line = "out of reach since 1970-01-01T00:00:01Z (3m 12s ago), last seen 3s ago: Start:  [31mfailed";
        assert_eq!(lines, [line]);
        let json = serde_json::json!({
            "code": "new", "what": "out of reach", "detail": "Start:  [31mfailed",
            "since": "1970-01-01T00:00:01Z", "last_seen": "1970-01-01T00:03:10Z",
        });
        assert_eq!(serde_json::to_value(&told[0]).unwrap(), json);
    }

    #[test]
    fn a_daemon_that_is_silent_older_or_gone_tells_nothing() {
        assert!(asked("").is_none());
        assert!(asked("{\"Err\":\"not a request: unknown variant `weather`\"}\n").is_none());
        assert!(asked("{\"Ok\":{\"done\":0,\"text\":\"\"}}\n").is_none());
        assert!(asked("something else\n").is_none());
        assert!(ask(Path::new("/nowhere/journal.db")).is_none());
    }

    #[test]
    fn good_weather_is_told_too() {
        assert_eq!(asked("{\"Ok\":{\"done\":0,\"text\":\"\",\"weather\":[]}}\n").map(|told| told.len()), Some(0));
    }
}
