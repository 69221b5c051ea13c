//! A program of the user's, run within limits: argv without a shell, its own process group, a time limit, a bounded
//! output, an environment without credentials.
//!
//! The group is ended as a whole: at the time limit, when we stop, and when the program has ended but left something
//! running that still holds its output. What moves itself into another session is out of reach.

use std::ffi::OsString;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::host::time;

/// Output that is kept, from its end. The rest is read and dropped, so that nobody is stopped by a full pipe.
const KEPT: usize = 8 * 1024;
/// Between the request to end and the order.
const COURTESY: Duration = Duration::from_secs(2);
/// How long output may still come after the program's end.
const LATE_OUTPUT: Duration = Duration::from_millis(500);

/// What is handed on of our own environment. Everything else stays here: credentials of AWS, what systemd told us.
const INHERITED: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// What is to be run.
pub struct Program<'a> {
    /// The program's absolute path and its arguments.
    pub argv: &'a [OsString],
    /// On top of what is inherited.
    pub env: &'a [(&'static str, OsString)],
    /// Given on its standard input, which then ends.
    pub input: Vec<u8>,
    pub timeout: Duration,
}

/// How it ended.
#[derive(Debug)]
pub enum Ran {
    /// Exit code 0.
    Done { said: String },
    /// Another exit code, a signal, or the time limit; in words.
    Failed { why: String, said: String },
    /// It could not be started: no such program, no right, no memory.
    NotStarted(std::io::Error),
    /// We are stopping and ended it.
    CutOff,
}

/// Runs it to its end, or until `stop`.
pub async fn run(program: Program<'_>, stop: &CancellationToken) -> Ran {
    let mut child = match start(&program) {
        Ok(child) => child,
        Err(error) => return Ran::NotStarted(error),
    };
    let group = child.id();
    let mut leash = Leash(group);
    let mut said = Vec::new();
    let ended = {
        let (input, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let kept = std::sync::Mutex::new(&mut said);
        let feed = async {
            if let Some(mut pipe) = input {
                // Whoever does not read it has no use for it.
                let _ = pipe.write_all(&program.input).await;
            }
        };
        let talk = async { tokio::join!(feed, keep(out, &kept), keep(err, &kept)) };
        let mut talk = std::pin::pin!(talk);
        let limit = time::sleep(program.timeout);
        let mut limit = std::pin::pin!(limit);
        let mut quiet = false;
        let ended = loop {
            tokio::select! {
                // An end that is there counts, however late it is seen.
                biased;
                // The output goes on being read in the next round.
                status = child.wait() => break Ended::By(status),
                _ = &mut talk, if !quiet => quiet = true,
                () = &mut limit => break Ended::Late,
                () = stop.cancelled() => break Ended::Stopped,
            }
        };
        if !matches!(ended, Ended::By(_)) {
            end(&mut child, group).await;
        }
        if !quiet && time::timeout(LATE_OUTPUT, &mut talk).await.is_err() {
            signal(group, rustix::process::Signal::KILL);
        }
        ended
    };
    leash.0 = None;
    let said = String::from_utf8_lossy(&said).into_owned();
    match ended {
        Ended::By(Ok(status)) if status.success() => Ran::Done { said },
        Ended::By(Ok(status)) => Ran::Failed { why: words(status), said },
        Ended::By(Err(error)) => Ran::Failed { why: format!("it could not be waited for: {error}"), said },
        Ended::Late => Ran::Failed { why: format!("it ran for {} s and was ended", program.timeout.as_secs()), said },
        Ended::Stopped => Ran::CutOff,
    }
}

/// Ends the group when nobody waits for it any more.
struct Leash(Option<u32>);

impl Drop for Leash {
    fn drop(&mut self) {
        signal(self.0, rustix::process::Signal::KILL);
    }
}

enum Ended {
    By(std::io::Result<ExitStatus>),
    Late,
    Stopped,
}

fn start(program: &Program<'_>) -> std::io::Result<Child> {
    let Some((name, arguments)) = program.argv.split_first() else {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "no program is named"));
    };
    let mut command = Command::new(name);
    command.args(arguments).env_clear().current_dir("/").process_group(0).kill_on_drop(true);
    command.envs(INHERITED.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))));
    command.envs(program.env.iter().map(|(name, value)| (*name, value)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn()
}

/// Reads to the end and keeps the last of it. Both outputs share one text, as on a terminal.
async fn keep(pipe: Option<impl AsyncRead + Unpin>, kept: &std::sync::Mutex<&mut Vec<u8>>) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = [0; 4096];
    while let Ok(read) = pipe.read(&mut buffer).await
        && read > 0
    {
        // Held for no longer than this copy, and never over a panic.
        let mut kept = kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        kept.extend_from_slice(buffer.get(..read).unwrap_or_default());
        let over = kept.len().saturating_sub(KEPT);
        kept.drain(..over);
    }
}

/// Asks the whole group to end, then orders it, and takes the program's exit status.
async fn end(child: &mut Child, group: Option<u32>) {
    signal(group, rustix::process::Signal::TERM);
    if time::timeout(COURTESY, child.wait()).await.is_err() {
        signal(group, rustix::process::Signal::KILL);
        let _ = child.wait().await;
    } else {
        // What the program started and left behind.
        signal(group, rustix::process::Signal::KILL);
    }
}

fn signal(group: Option<u32>, signal: rustix::process::Signal) {
    let group = group.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        // Nobody left is as good.
        let _ = rustix::process::kill_process_group(group, signal);
    }
}

fn words(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with exit code {code}"),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => "it ended in an unknown way".to_owned(),
    }
}

/// The last lines of what a program said, for a log line or a note: at most `lines`, control characters removed.
pub fn last_lines(said: &str, lines: usize) -> Vec<String> {
    const WIDEST: usize = 300;
    let plain = |line: &str| -> String {
        line.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).take(WIDEST).collect()
    };
    let all: Vec<String> = said.lines().map(plain).filter(|line| !line.trim().is_empty()).collect();
    let skipped = all.len().saturating_sub(lines);
    all.into_iter().skip(skipped).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn sh(script: &str) -> Vec<OsString> {
        ["/bin/sh", "-c", script].map(OsString::from).to_vec()
    }

    async fn ran(script: &str, input: &[u8], seconds: u64) -> Ran {
        let argv = sh(script);
        let env = [("CASEDROP_TEST", OsString::from("value"))];
        let timeout = Duration::from_secs(seconds);
        run(Program { argv: &argv, env: &env, input: input.to_vec(), timeout }, &CancellationToken::new()).await
    }

    #[tokio::test]
    async fn input_output_environment_and_folder() {
        let Ran::Done { said } =
            ran("cat; pwd; echo $CASEDROP_TEST; env | grep -c CARGO >&2; exit 0", b"in\n", 300).await
        else {
            panic!("it did not end well")
        };
        for line in ["in", "/", "value", "0"] {
            assert!(said.lines().any(|l| l == line), "{line} in {said}");
        }
    }

    #[tokio::test]
    async fn ends_in_words() {
        for (script, expected) in [("exit 3", "exit code 3"), ("kill -9 $$", "signal 9")] {
            let Ran::Failed { why, .. } = ran(script, b"", 300).await else { panic!("{script}") };
            assert!(why.contains(expected), "{why}");
        }
        let argv = [OsString::from("/does/not/exist")];
        let none = Program { argv: &argv, env: &[], input: Vec::new(), timeout: Duration::from_secs(1) };
        assert!(matches!(run(none, &CancellationToken::new()).await, Ran::NotStarted(_)));
    }

    #[tokio::test]
    async fn much_input_and_output_that_nobody_reads_stop_nothing() {
        let input = vec![b'x'; 1 << 20];
        let Ran::Done { said } = ran("seq 1 200000", &input, 300).await else { panic!("it did not end well") };
        assert!(said.len() <= KEPT && said.ends_with("200000\n"));
    }

    #[tokio::test]
    async fn the_time_limit_ends_the_whole_group_and_so_does_a_stop() {
        let began = Instant::now();
        let script = "trap '' TERM; sleep 1000 & echo $!; wait; sleep 1000";
        let Ran::Failed { why, said } = ran(script, b"", 6).await else { panic!("it was let go on") };
        assert!(why.contains("ran for 6 s") && began.elapsed() < Duration::from_secs(300), "{why}");
        let grandchild = said.trim().parse().ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
        // Killed; whether its parent of now has taken its status yet is that one's matter, and it dies in its own time.
        let stat = format!("/proc/{}/stat", grandchild.as_raw_nonzero());
        let ended =
            || std::fs::read_to_string(&stat).is_ok_and(|s| s.contains(") Z")) || !std::path::Path::new(&stat).exists();
        while !ended() {
            assert!(began.elapsed() < Duration::from_secs(300), "{stat} lives on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }

        let stop = CancellationToken::new();
        stop.cancel();
        let argv = sh("sleep 1000");
        let program = Program { argv: &argv, env: &[], input: Vec::new(), timeout: Duration::from_secs(1000) };
        assert!(matches!(run(program, &stop).await, Ran::CutOff));
    }

    #[tokio::test]
    async fn what_is_left_running_is_not_waited_for() {
        let began = Instant::now();
        assert!(matches!(ran("sleep 1000 & exit 0", b"", 900).await, Ran::Done { .. }));
        assert!(began.elapsed() < Duration::from_secs(300));
    }

    #[test]
    fn last_lines_are_few_and_plain() {
        let said = "one\n\n\x1b[31mtwo\x1b[0m\nthree\r\n";
        assert_eq!(last_lines(said, 2), [" [31mtwo [0m", "three"]);
        assert_eq!(last_lines(&"x".repeat(5000), 2)[0].len(), 300);
        assert!(last_lines("", 3).is_empty());
    }
}
