//! What the tests of the whole program share: a sandbox in this process, the real binary beside it, and the
//! comparison of what the sandbox holds with what the folder holds.
//!
//! Nothing here sleeps for a fixed time: every wait is for a condition, with a deadline. Everything that the binary
//! prints is searched for secrets when a test ends (invariant 23).

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use casedrop_sandbox::{DEMO_CASE_ID, FileStatus, LedgerFile, Op, Sandbox, Settings, Switches};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Longest wait for anything; only a failure takes so long. A minute is the program's own (what an unanswered start may
/// have left is looked for once more after that), the rest is for a machine with far more to do than this.
pub const DEADLINE: Duration = Duration::from_secs(300);

/// A sandbox, a folder, a configuration.
pub struct Stage {
    pub dir: tempfile::TempDir,
    pub sandbox: Sandbox,
    pub drop: PathBuf,
    /// The line that names the case.
    pub case: String,
    /// More lines for the tables of the configuration.
    pub limits: String,
    pub mirror: String,
    /// Take `name~1a2b3c4d.txt` for `name.txt`: where one name is not allowed twice, a new version gets its own.
    pub loose_names: bool,
    /// `file_name = "base"` is set: attachments carry the last name of their path.
    pub base_names: bool,
    /// Name the instance and the Cases domain by id alone, so that the ARN has to be asked for.
    pub domain_by_id: bool,
}

impl Stage {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// With a full pass every second, for what only a full pass does.
    pub fn often() -> Self {
        let mut stage = Self::new();
        stage.mirror.push_str("rescan = \"1s\"\n");
        stage
    }

    /// A stage whose sandbox is set up by `change`. `CASEDROP_TEST_SWITCH=NAME` (a name of `Switches::ALL`) puts a
    /// whole run under that setting of what AWS leaves open; a test that sets switches of its own keeps them.
    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::new(dir.path().join("sandbox"));
        if let Ok(wanted) = std::env::var("CASEDROP_TEST_SWITCH") {
            let named = Switches::ALL.iter().find(|(name, _)| *name == wanted);
            settings.switches = named.unwrap_or_else(|| panic!("no switch is called {wanted}")).1;
        }
        change(&mut settings);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let sandbox = runtime.block_on(Sandbox::start(settings)).unwrap();
        let drop = dir.path().join("drop");
        fs::create_dir(&drop).unwrap();
        let limits = "requests_per_second = 1000\nburst = 1000\n".to_owned();
        let mirror = "settle = \"200ms\"\ndelete_grace = \"1s\"\ndelete_budget = \"off\"\n".to_owned();
        let case = format!("case = \"{DEMO_CASE_ID}\"");
        Self { dir, sandbox, drop, case, limits, mirror, loose_names: false, base_names: false, domain_by_id: false }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.drop.join(name)
    }

    /// Puts a file there whole, also in the place of another: whoever looks sees no half of it, for however long this
    /// process is paused. A scene whose subject is the writing itself writes by its own hand.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        static DRAFTS: AtomicUsize = AtomicUsize::new(0);
        let path = self.path(name);
        let draft = self.dir.path().join(format!("draft-{}", DRAFTS.fetch_add(1, Ordering::Relaxed)));
        fs::write(&draft, content).unwrap();
        loop {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match fs::rename(&draft, &path) {
                Ok(()) => return,
                // A daemon may remove a folder that it has emptied.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                // The scene has mounted something there.
                Err(error) if error.kind() == ErrorKind::CrossesDevices => {
                    fs::copy(&draft, &path).unwrap();
                    return fs::remove_file(&draft).unwrap();
                }
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
    }

    pub fn journal(&self) -> PathBuf {
        self.dir.path().join("state/journal.db")
    }

    pub fn config(&self) -> PathBuf {
        self.config_for(&self.case)
    }

    /// Writes the configuration with this line to name the case.
    pub fn config_for(&self, case: &str) -> PathBuf {
        let (url, domain) = (self.sandbox.endpoint_url(), self.sandbox.domain_id().to_owned());
        let instance =
            if self.domain_by_id { self.sandbox.instance_id().to_owned() } else { self.sandbox.instance_arn() };
        let (journal, drop) = (self.journal(), &self.drop);
        let text = format!(
            "[connect]\ninstance_id = \"{instance}\"\ncases_domain = \"{domain}\"\nendpoint_url = \"{url}\"\n\
             cases_endpoint_url = \"{url}\"\n[journal]\npath = {journal:?}\n[limits]\n{}\n[[mirror]]\n\
             name = \"drop\"\npath = {drop:?}\n{case}\n{}",
            self.limits, self.mirror
        );
        // Put in place whole: a daemon that was just started may be reading it.
        let (path, draft) = (self.dir.path().join("casedrop.toml"), self.dir.path().join("casedrop.toml.new"));
        fs::write(&draft, text).unwrap();
        fs::rename(&draft, &path).unwrap();
        path
    }

    pub fn command(&self) -> Command {
        self.command_with(&self.config())
    }

    pub fn command_with(&self, config: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_casedrop"));
        command.env_clear();
        for kept in ["PATH", "RUST_BACKTRACE", "TMPDIR"] {
            if let Some(value) = std::env::var_os(kept) {
                command.env(kept, value);
            }
        }
        command
            .env("HOME", self.dir.path())
            .env("AWS_ACCESS_KEY_ID", self.sandbox.access_key_id())
            .env("AWS_SECRET_ACCESS_KEY", self.sandbox.secret_access_key())
            .env("AWS_REGION", self.sandbox.region())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end and keeps what it printed.
    pub fn run(&self, args: &[&str]) -> Output {
        self.finish(self.command().args(args))
    }

    pub fn finish(&self, command: &mut Command) -> Output {
        let output = command.output().unwrap();
        self.scan(&output.stdout);
        self.scan(&output.stderr);
        output
    }

    /// One pass that must end well.
    pub fn sync(&self) -> Output {
        let output = self.run(&["sync"]);
        assert!(output.status.success(), "sync ended with {}:\n{}", output.status, text(&output));
        output
    }

    /// A pass under another configuration, however it ends.
    pub fn sync_with(&self, config: &Path) -> Output {
        self.finish(self.command_with(config).args(["sync", "--quiet"]))
    }

    /// Waits until agents see this content under this name.
    pub fn wait_visible_as(&self, name: &str, content: &str) {
        let hash = sha256(content.as_bytes());
        wait(
            &format!("{name} is visible as {content:?}"),
            || {
                let mut ours = self.ours().into_iter().filter(|file| file.status == FileStatus::Approved);
                ours.any(|file| file.file_name == name && file.sha256.as_ref() == Some(&hash))
            },
            || format!("{:#?}", self.ours()),
        );
    }

    pub fn daemon(&self) -> Daemon {
        let log = self.dir.path().join(format!("daemon-{}.log", nanos()));
        let child =
            self.command().arg("run").stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
        Daemon { child: Some(child), log }
    }

    /// `casedrop list --json`; empty before the first run.
    pub fn list(&self) -> Vec<Value> {
        let output = self.run(&["list", "--json"]);
        assert!(output.status.success(), "list ended with {}:\n{}", output.status, text(&output));
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What `list` says of one path, as it shows it: `attached`, `parked(empty-file)`; `-` when it is not listed.
    pub fn verdict(&self, path: &str) -> String {
        let list = self.list();
        let Some(line) = list.iter().find(|line| line["path"] == path) else { return "-".to_owned() };
        let word = line["verdict"].as_str().unwrap();
        line["detail"].as_str().map_or_else(|| word.to_owned(), |detail| format!("{word}({detail})"))
    }

    pub fn wait_verdict(&self, path: &str, verdict: &str) {
        wait(
            &format!("{path} is {verdict}"),
            || self.verdict(path) == verdict,
            || self.list().iter().map(|line| format!("{line}\n")).collect(),
        );
    }

    /// `casedrop status --json`.
    pub fn status(&self) -> Value {
        let output = self.run(&["status", "--json"]);
        assert!(output.status.success(), "status ended with {}:\n{}", output.status, text(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The code of the mirror's hold; empty without one.
    pub fn hold(&self) -> String {
        self.status()["mirrors"][0]["hold"]["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn wait_hold(&self, code: &str) {
        wait(&format!("the hold is {code:?}"), || self.hold() == code, || format!("{:#}", self.status()));
    }

    /// Waits until two more full passes have ended, so that what a pass does has been done at least once.
    pub fn wait_passes(&self) {
        for _ in 0..2 {
            let seen = self.status()["mirrors"][0]["scanned_at"].clone();
            wait(
                "another full pass has ended",
                || self.status()["mirrors"][0]["scanned_at"] != seen,
                || format!("{:#}", self.status()),
            );
        }
    }

    /// The calls that change something at Connect, in order. Questions and sweeps change nothing. A call is listed
    /// only when it was answered, a moment after its effect: compare when nothing runs, or after a wait.
    pub fn changes(&self) -> Vec<Op> {
        let question = |op: &Op| {
            matches!(
                op,
                Op::SearchRelatedItems
                    | Op::BatchGetAttachedFileMetadata
                    | Op::DescribeAttachedFilesConfiguration
                    | Op::SearchCases
                    | Op::GetCase
                    | Op::ListFields
                    | Op::ListDomains
            )
        };
        self.sandbox.requests().into_iter().map(|request| request.op).filter(|op| !question(op)).collect()
    }

    pub fn count(&self, op: Op) -> usize {
        self.sandbox.requests().iter().filter(|request| request.op == op).count()
    }

    /// Writes a new file and waits until agents see it: what happened in the folder before has then been seen too,
    /// and its quiet time is over.
    pub fn marker(&self, name: &str) {
        let content = format!("marker {name}");
        self.write(name, &content);
        // By its content: a drop folder may have moved it away by now.
        self.wait_visible_as(name, &content);
    }

    /// The same with a sidecar of this content.
    pub fn marker_beside(&self, name: &str, sidecar: &str) {
        self.write(&format!("{name}.casedrop.toml"), sidecar);
        self.marker(name);
    }

    pub fn wait_visible(&self, name: &str) {
        let hash = sha256(&fs::read(self.path(name)).unwrap());
        wait(
            &format!("{name} is visible"),
            || {
                let ours = self.ours().into_iter();
                let mut approved = ours.filter(|file| file.status == FileStatus::Approved);
                approved.any(|file| file.file_name == name && file.sha256.as_ref() == Some(&hash))
            },
            || format!("{:#?}\n{:#?}", self.ours(), self.sandbox.requests()),
        );
    }

    /// Both sides are equal, and the journal knows it: nothing waits for the follow-up.
    pub fn wait_attached(&self) {
        self.wait_equal();
        let open = ["settling", "queued", "uploading", "scanning"];
        wait(
            "the journal knows that all is attached",
            || self.list().iter().all(|line| !open.contains(&line["verdict"].as_str().unwrap())),
            || format!("{:#?}", self.list()),
        );
    }

    /// Stops the daemon; then a pass must find nothing to do (invariants 13 and 14).
    pub fn assert_settled(&self, daemon: Daemon) {
        assert!(daemon.stop().success());
        let before = self.changes().len();
        self.run(&["sync"]);
        let more = self.changes().split_off(before);
        assert!(more.is_empty(), "a settled state caused calls: {more:?}");
    }

    /// Every line that was printed must be free of credentials and of presigned query strings.
    pub fn scan(&self, printed: &[u8]) {
        let found = secret_in(printed, self.sandbox.secret_access_key());
        assert!(found.is_none(), "a secret was printed: {found:?}");
    }

    /// What the program left beside the folder: logs, whatever they are called, and the journal's own files.
    fn scan_files(&self) {
        let folders = [self.dir.path().to_owned(), self.dir.path().join("state")];
        for entry in folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                self.scan(&fs::read(entry.path()).unwrap_or_default());
            }
        }
    }

    /// No daemon of this stage wrote an error or panicked.
    pub fn assert_no_errors(&self) {
        for entry in fs::read_dir(self.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "log") {
                let log = fs::read_to_string(&path).unwrap();
                let wrong = log.lines().find(|line| line.contains("\"level\":\"ERROR\"") || line.contains("panicked"));
                assert!(wrong.is_none(), "{}: {wrong:?}", path.display());
            }
        }
    }

    /// What agents can see: attachment name to SHA-256. Two visible files of one name are a failure.
    pub fn visible(&self) -> BTreeMap<String, String> {
        let mut visible = BTreeMap::new();
        for file in self.ours().into_iter().filter(|file| file.status == FileStatus::Approved) {
            let before = visible.insert(file.file_name.clone(), file.sha256.unwrap_or_default());
            assert!(before.is_none(), "{} is attached twice", file.file_name);
        }
        visible
    }

    /// Everything at the sandbox that we started and that is not deleted.
    pub fn ours(&self) -> Vec<LedgerFile> {
        let mut ours: Vec<LedgerFile> = self.sandbox.ledger().into_iter().filter(|file| !file.foreign).collect();
        if self.loose_names {
            ours.iter_mut().for_each(|file| file.file_name = loosened(&file.file_name));
        }
        ours
    }

    /// What agents should see, for a folder of plain names.
    pub fn expected(&self) -> BTreeMap<String, String> {
        let mut expected = BTreeMap::new();
        collect(&self.drop, "", &mut expected);
        if self.base_names {
            let base = |name: String| name.rsplit(" - ").next().unwrap_or_default().to_owned();
            expected = expected.into_iter().map(|(name, hash)| (base(name), hash)).collect();
        }
        expected
    }

    /// Compares both sides: none missing, none twice, nothing unfinished at Connect.
    pub fn assert_equal(&self) {
        assert_eq!(self.visible(), self.expected());
        let unfinished: Vec<_> = self.ours().into_iter().filter(|file| file.status != FileStatus::Approved).collect();
        assert!(unfinished.is_empty(), "left unfinished: {unfinished:?}");
    }

    /// Whether both sides are equal and nothing is unfinished.
    pub fn is_equal(&self) -> bool {
        let ours = self.ours();
        let names: Vec<(String, String)> =
            ours.iter().map(|f| (f.file_name.clone(), f.sha256.clone().unwrap_or_default())).collect();
        let expected: Vec<(String, String)> = self.expected().into_iter().collect();
        let mut sorted = names;
        sorted.sort();
        ours.iter().all(|f| f.status == FileStatus::Approved) && sorted == expected
    }

    pub fn wait_equal(&self) {
        wait(
            "the sandbox holds what the folder holds",
            || self.is_equal(),
            || format!("sandbox: {:#?}\nfolder: {:#?}", self.ours(), self.expected()),
        );
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for entry in fs::read_dir(self.dir.path()).into_iter().flatten().flatten() {
                if entry.path().extension().is_some_and(|e| e == "log") {
                    println!(
                        "--- {}\n{}",
                        entry.path().display(),
                        fs::read_to_string(entry.path()).unwrap_or_default()
                    );
                }
            }
            return;
        }
        self.scan_files();
    }
}

/// The first thing in `printed` that no output may hold (invariant 23): the secret key, or what signs a request.
pub fn secret_in(printed: &[u8], key: &str) -> Option<String> {
    let printed = printed.to_ascii_lowercase();
    let words = ["signature=", "credential=", "x-amz-security-token=", "x-amz-security-token:", key].into_iter();
    let found = |word: &&str| printed.windows(word.len()).any(|part| part == word.to_ascii_lowercase().as_bytes());
    words.filter(found).map(str::to_owned).next()
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Option<Child>,
    pub log: PathBuf,
}

impl Daemon {
    /// A process that runs already, and the file it logs to.
    pub fn of(child: Child, log: PathBuf) -> Self {
        Self { child: Some(child), log }
    }

    pub fn id(&self) -> u32 {
        self.child.as_ref().map(Child::id).unwrap()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn wait_ready(&self) {
        wait("the daemon is ready", || self.log().contains("ready: "), || self.log());
    }

    /// SIGKILL, as a crash.
    pub fn kill(mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Sends it once the program listens for it: before that, it would end it on the spot.
    pub fn signal(&self, name: &str) {
        let number = match name {
            "HUP" => 1,
            "TERM" => 15,
            _ => panic!("which number has {name}?"),
        };
        wait(&format!("the daemon listens for {name}"), || hears(self.id(), number), || self.log());
        let sent = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// SIGTERM, and the exit code.
    pub fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait_end()
    }

    pub fn wait_end(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let mut status = None;
        wait(
            "the daemon ends",
            || {
                status = child.try_wait().unwrap();
                status.is_some()
            },
            || fs::read_to_string(&self.log).unwrap_or_default(),
        );
        status.unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The pace of a writer whose pauses are the scene itself.
#[derive(Default)]
pub struct Pace {
    last: Option<Instant>,
    longest: Duration,
}

impl Pace {
    /// Writes, and remembers how long the file may have rested since the last time at most.
    pub fn write(&mut self, write: impl FnOnce()) {
        let began = Instant::now();
        write();
        self.longest = self.longest.max(self.last.map_or(Duration::ZERO, |last| last.elapsed()));
        self.last = Some(began);
    }

    /// How long ago the last write began.
    pub fn rested(&self) -> Duration {
        self.last.map_or(Duration::ZERO, |last| last.elapsed())
    }

    /// Whether the file never rested for as long as this. Else the machine held the writer up, and what looks like a
    /// file at rest was one.
    pub fn kept_below(&self, settle: Duration) -> bool {
        self.longest < settle
    }
}

/// Plays a scene until its writer kept its pace, which the scene tells.
pub fn undisturbed(scene: impl Fn() -> bool) {
    for _ in 0..20 {
        if scene() {
            return;
        }
        println!("the machine held the writer up: once more");
    }
    println!("NOT RUN: this machine holds every writer up");
}

/// Whether the process has a handler for the signal, or is no more.
fn hears(pid: u32, signal: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().trim();
    let caught = u64::from_str_radix(value("SigCgt:"), 16).unwrap_or(u64::MAX);
    value("State:").starts_with('Z') || caught >> (signal - 1) & 1 == 1
}

/// A port of this host where nobody listens: none that is handed out to whoever asks for any.
pub const NOBODY: &str = "http://127.0.0.1:1";

/// Waits until `done`, or fails with what `describe` says.
pub fn wait(what: &str, mut done: impl FnMut() -> bool, describe: impl Fn() -> String) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < DEADLINE, "waited in vain until {what}\n{}", describe());
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// The name without the tag of its version.
fn loosened(name: &str) -> String {
    let (stem, extension) = name.rsplit_once('.').unwrap();
    let plain = stem.rsplit_once('~').map_or(stem, |(plain, _)| plain);
    format!("{plain}.{extension}")
}

pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn collect(folder: &Path, prefix: &str, into: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{name} - "), into);
        } else if entry.file_type().unwrap().is_file() {
            into.insert(name, sha256(&fs::read(entry.path()).unwrap()));
        }
    }
}

fn nanos() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()
}
