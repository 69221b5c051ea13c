//! The demo, from one command to a file brought back: the whole program as a person meets it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::cargo::cargo_bin;

use crate::common::{DEADLINE, secret_in};

/// The program, with nothing of this environment but where programs and temporary files are: no proxy, no credentials,
/// no configuration of whoever runs the tests.
fn casedrop() -> Command {
    let mut command = Command::new(cargo_bin("casedrop"));
    command.env_clear();
    for kept in ["PATH", "TMPDIR", "HOME"] {
        command.envs(std::env::var_os(kept).map(|value| (kept, value)));
    }
    command
}

/// A demo that runs; told to stop when dropped.
struct Demo {
    child: Child,
    state: PathBuf,
    _stdout: BufReader<ChildStdout>,
}

impl Demo {
    fn start(folder: &Path, more: &[&str]) -> Self {
        let mut child =
            casedrop().arg("demo").arg(folder).args(more).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("Ctrl-C ends") {
            line.clear();
            assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "the demo ended early");
        }
        let name = format!(".casedrop-demo-{}", folder.file_name().unwrap().to_str().unwrap());
        Self { child, state: folder.parent().unwrap().join(name), _stdout: stdout }
    }

    fn casedrop(&self, args: &[&str]) -> Output {
        let environment = std::fs::read_to_string(self.state.join("aws.env")).unwrap();
        let pairs = environment.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        let config = self.state.join("casedrop.toml");
        let output = casedrop().arg("--config").arg(config).args(args).envs(pairs).output().unwrap();
        // The sandbox's key is public and stands in what the demo prints; a signed URL may stand nowhere.
        for printed in [&output.stdout, &output.stderr] {
            assert_eq!(secret_in(printed, "X-Amz-Signature"), None);
        }
        output
    }

    /// Waits until `list` shows this many attached files.
    fn attached(&self, files: usize) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let output = self.casedrop(&["list", "--verdict", "attached"]);
            let text = String::from_utf8(output.stdout).unwrap();
            if text.lines().count() == files {
                return;
            }
            assert!(Instant::now() < deadline, "{text}\n{}", String::from_utf8_lossy(&output.stderr));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Asks it to stop and waits; its exit code.
    fn stop(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.stop();
        }
    }
}

#[test]
fn a_file_goes_there_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().canonicalize().unwrap().join("drop");
    let mut demo = Demo::start(&folder, &[]);
    std::fs::write(folder.join("letter.txt"), "hello").unwrap();
    demo.attached(1);

    let back = dir.path().join("back.txt");
    let got = demo.casedrop(&["get", "letter.txt", "-o", back.to_str().unwrap()]);
    assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    assert_eq!(std::fs::read(&back).unwrap(), b"hello");
    let again = demo.casedrop(&["get", "letter.txt", "-o", back.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(2), "an existing file is not replaced");

    let status = demo.casedrop(&["status"]);
    assert!(String::from_utf8(status.stdout).unwrap().starts_with("daemon     runs (process "));
    assert_eq!(demo.casedrop(&["plan"]).status.code(), Some(0), "nothing is left to do");
    let check = demo.casedrop(&["check"]);
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing is kept in the folder");

    let second = casedrop().arg("demo").arg(&folder).output().unwrap();
    assert_eq!(second.status.code(), Some(75), "one demo for each folder");
    assert_eq!(demo.stop(), Some(0));
    assert!(String::from_utf8(demo.casedrop(&["status"]).stdout).unwrap().starts_with("daemon     does not run"));

    // What changed meanwhile is found; what did not is left alone.
    std::fs::write(folder.join("second.txt"), "more").unwrap();
    assert_eq!(demo.casedrop(&["plan"]).status.code(), Some(3), "there is work");
    let demo = Demo::start(&folder, &[]);
    demo.attached(2);
    let starts = demo.casedrop(&["log", "--json", "--limit", "0"]);
    let text = String::from_utf8(starts.stdout).unwrap();
    assert_eq!(text.matches("\"kind\":\"started\"").count(), 2, "{text}");
}

#[test]
fn each_folder_is_a_case() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().canonicalize().unwrap().join("cases");
    let demo = Demo::start(&folder, &["--case-from"]);
    let case = "0a0b0c0d-0000-4000-8000-00000000000f";
    std::fs::create_dir(folder.join(case)).unwrap();
    std::fs::write(folder.join(case).join("a.txt"), "a").unwrap();
    std::fs::write(folder.join("stray.txt"), "b").unwrap();
    demo.attached(1);
    let text = String::from_utf8(demo.casedrop(&["list"]).stdout).unwrap();
    assert!(text.lines().any(|line| line.starts_with("attached ") && line.contains(case)), "{text}");
    assert!(text.lines().any(|line| line.starts_with("unrouted(no-match) ") && line.contains("stray.txt")), "{text}");
}

#[test]
fn a_killed_demo_leaves_no_daemon_behind() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().canonicalize().unwrap().join("drop");
    let mut demo = Demo::start(&folder, &[]);
    std::fs::write(folder.join("letter.txt"), "hello").unwrap();
    demo.attached(1);
    demo.child.kill().unwrap();
    demo.child.wait().unwrap();
    let deadline = Instant::now() + DEADLINE;
    while !String::from_utf8(demo.casedrop(&["status"]).stdout).unwrap().starts_with("daemon     does not run") {
        assert!(Instant::now() < deadline, "the daemon outlives its demo");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    Demo::start(&folder, &[]).attached(1);
}
