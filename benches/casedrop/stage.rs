//! A tree of files, a sandbox in this process, and the commands to run on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::ensure;
use casedrop_sandbox::{FileStatus, LoggedRequest, NewCase, Op, Sandbox, Settings};

/// Files on each case: the service's own limit.
pub const FILES_PER_CASE: usize = 50;

/// Limits that never bind.
pub const UNLIMITED: &str = "requests_per_second = 1000000\nburst = 1000000\nuploads_in_flight = 64\n";

/// A folder of cases, `CASE-ID/NAME.txt`.
pub struct Tree {
    dir: tempfile::TempDir,
    pub files: usize,
}

impl Tree {
    /// Files of this size, no two alike, over as many cases as they need.
    pub fn new(files: usize, size: usize) -> anyhow::Result<Self> {
        Self::from(0, files, size)
    }

    /// The same with numbers from `first` on, which begins a case.
    pub fn from(first: usize, files: usize, size: usize) -> anyhow::Result<Self> {
        let tree = Self { dir: tempfile::tempdir()?, files };
        for case in first / FILES_PER_CASE..(first + files).div_ceil(FILES_PER_CASE) {
            fs::create_dir(tree.path().join(case_id(case)))?;
        }
        for file in first..first + files {
            let mut content = format!("file {file} of a bench\n").into_bytes();
            content.resize(size.max(content.len()), b'.');
            fs::write(tree.path().join(name(file)), content)?;
        }
        Ok(tree)
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Where file number `file` lies.
pub fn name(file: usize) -> String {
    format!("{}/letter-{file:06}.txt", case_id(file / FILES_PER_CASE))
}

/// A case id of the benches.
pub fn case_id(case: usize) -> String {
    format!("0b0b0b0b-0000-4000-8000-{case:012}")
}

/// A sandbox that keeps no content, and a journal, for one tree.
pub struct Stage {
    dir: tempfile::TempDir,
    pub sandbox: Arc<Sandbox>,
    root: PathBuf,
    limits: String,
    mirror: String,
}

impl Stage {
    pub fn new(root: &Path, cases: usize, limits: &str, change: impl FnOnce(&mut Settings)) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut settings = Settings::new(dir.path().join("sandbox"));
        settings.discard_content = true;
        change(&mut settings);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let sandbox = Arc::new(runtime.block_on(Sandbox::start(settings))?);
        for case in 0..cases {
            sandbox.add_case(NewCase { case_id: Some(case_id(case)), ..NewCase::titled("bench") });
        }
        let (limits, mirror) = (limits.to_owned(), "settle = \"0s\"\n".to_owned());
        Ok(Self { dir, sandbox, root: root.to_owned(), limits, mirror })
    }

    /// Another daemon, with a journal of its own, for another tree on the same sandbox.
    pub fn beside(&self, root: &Path) -> anyhow::Result<Self> {
        let (limits, mirror) = (self.limits.clone(), self.mirror.clone());
        let sandbox = Arc::clone(&self.sandbox);
        Ok(Self { dir: tempfile::tempdir()?, sandbox, root: root.to_owned(), limits, mirror })
    }

    /// The same with other keys for the mirror.
    pub fn mirror(mut self, keys: &str) -> Self {
        keys.clone_into(&mut self.mirror);
        self
    }

    /// The binary with its configuration; `level` is that of the log, which goes to [`Self::log`].
    pub fn command(&self, args: &[&str], level: &str) -> anyhow::Result<Command> {
        let (url, instance, domain) =
            (self.sandbox.endpoint_url(), self.sandbox.instance_arn(), self.sandbox.domain_id().to_owned());
        let (journal, root) = (self.dir.path().join("journal.db"), &self.root);
        let text = format!(
            "[connect]\ninstance_id = \"{instance}\"\ncases_domain = \"{domain}\"\nendpoint_url = \"{url}\"\n\
             cases_endpoint_url = \"{url}\"\n[journal]\npath = {journal:?}\n[log]\nformat = \"json\"\n\
             level = \"{level}\"\n[limits]\n{}\n[[mirror]]\nname = \"bench\"\npath = {root:?}\n\
             case_from = '^(?<case_id>[^/]+)/'\n{}",
            self.limits, self.mirror
        );
        let config = self.dir.path().join("casedrop.toml");
        fs::write(&config, text)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_casedrop"));
        command
            .arg("--config")
            .arg(config)
            .args(args)
            .env_remove("AWS_CA_BUNDLE")
            .env("AWS_ACCESS_KEY_ID", self.sandbox.access_key_id())
            .env("AWS_SECRET_ACCESS_KEY", self.sandbox.secret_access_key())
            .env("AWS_REGION", self.sandbox.region())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.dir.path().join("log"))?);
        Ok(command)
    }

    /// One full pass that says nothing.
    pub fn sync(&self) -> anyhow::Result<Command> {
        self.command(&["sync", "--quiet"], "error")
    }

    /// What the last command logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Fails unless this many files, and no other, are visible to agents.
    pub fn expect_attached(&self, files: usize) -> anyhow::Result<()> {
        let ledger = self.sandbox.ledger();
        let approved = ledger.iter().filter(|file| file.status == FileStatus::Approved).count();
        ensure!(
            approved == files && ledger.len() == files,
            "{approved} of {files} files are attached, {} FileIds exist\n{}",
            ledger.len(),
            self.log()
        );
        Ok(())
    }

    /// The requests of the API, without the PUTs.
    pub fn api_requests(&self) -> Vec<LoggedRequest> {
        self.sandbox.requests().into_iter().filter(|r| r.op != Op::PutObject).collect()
    }
}

/// A count as a number to divide by.
pub fn count(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}
