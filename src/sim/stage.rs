//! What stands around the engine: a host, a folder, a service; and the lives of processes on them.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use casedrop_sandbox::{Millis, NewCase, Sandbox, Settings, Time};

use super::trace::Trace;
use super::wire::Line;
use crate::aws::in_process;
use crate::config::Config;
use crate::control::Request;
use crate::host::simulated::{self, Host};
use crate::host::time::{Instant, sleep_until};
use crate::run::engine::{Engine, open_journal};
use crate::scan;
use crate::types::RelPath;

/// Where every simulation begins: a moment in 2026.
const BEGIN_MS: i64 = 1_770_000_000_000;
/// How long a stop waits for what is in flight.
const GRACE: Duration = Duration::from_secs(25);
/// How often the main loop comes round.
const TICK: Duration = Duration::from_secs(1);

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It was stopped in order.
    Stopped,
    /// It was killed at this moment.
    Killed(&'static str),
    /// It gave up by itself, with this text.
    Gave(String),
}

/// One simulation's world. The folder is in memory where the system has such a place.
pub struct Stage {
    pub host: Host,
    pub sandbox: Sandbox,
    pub line: Line,
    pub trace: Trace,
    pub case_id: String,
    /// When each process began.
    pub begins: RefCell<Vec<i64>>,
    dir: tempfile::TempDir,
}

impl Stage {
    pub fn new(seed: u64, settings: impl FnOnce(&mut Settings)) -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let host = Host::begin(seed, BEGIN_MS);
        let trace = Trace::new(dir.path());
        let mut given = Settings::new(dir.path().join("sandbox"));
        settings(&mut given);
        let sandbox = Sandbox::in_process(given, TrueTime, seed).unwrap();
        let case_id = sandbox.add_case(NewCase::titled("case")).case_id;
        let line = Line::new(sandbox.clone(), seed, trace.clone());
        in_process::set_wire(Some(std::sync::Arc::new(line.clone())));
        let stage = Self { host, sandbox, line, trace, case_id, begins: RefCell::default(), dir };
        std::fs::create_dir(stage.root()).unwrap();
        stage
    }

    /// The mirror's root.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// A place beside the root, on the same disk.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The configuration with these lines for its one mirror.
    pub fn config(&self, mirror: &str) -> Config {
        self.config_of(&[("m", &self.root(), &self.case_id, mirror)])
    }

    /// The configuration of these mirrors: name, root, case, and further lines.
    pub fn config_of(&self, mirrors: &[(&str, &Path, &str, &str)]) -> Config {
        let domain = self.sandbox.domain_arn();
        let mut text = format!(
            "[connect]\nregion = \"{region}\"\ninstance_id = \"{instance}\"\ncases_domain = \"{domain}\"\n\
             endpoint_url = \"http://sandbox.invalid\"\ncases_endpoint_url = \"http://sandbox.invalid\"\n\
             [journal]\npath = \"{journal}\"\n\
             [limits]\nrequests_per_second = 5.0\nburst = 5\n",
            region = self.sandbox.region(),
            instance = self.sandbox.instance_arn(),
            journal = self.dir.path().join("journal.db").display(),
        );
        for (name, root, case, lines) in mirrors {
            text.push_str(&format!(
                "[[mirror]]\nname = \"{name}\"\npath = \"{}\"\ncase = \"{domain}/case/{case}\"\nwatch = \"poll\"\n\
                 {lines}",
                root.display()
            ));
        }
        let name = Path::new("simulation.toml");
        Config::parse(&text, name, &|_| None).unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"))
    }

    /// The engine in one process, from its start to its end. `script` does what happens meanwhile; it calls
    /// [`Process::pass`] for time to go by.
    pub fn live(&self, config: &Config, script: impl AsyncFnOnce(&mut Process) -> Result<(), String>) -> End {
        self.process(async {
            let journal = open_journal(&config.journal_path).await.map_err(|error| error.to_string())?;
            let started = Engine::start(config, journal, false, GRACE).await;
            let mut process = Process { engine: started.map_err(|fatal| fatal.to_string())? };
            script(&mut process).await?;
            drop(process.engine.stop().await);
            Ok(())
        })
    }

    /// One process that does this.
    pub fn process(&self, life: impl Future<Output = Result<(), String>>) -> End {
        self.host.revive();
        self.begins.borrow_mut().push(self.host.true_time());
        let runtime = self.host.runtime();
        let end = runtime.block_on(async {
            tokio::select! {
                biased;
                moment = self.host.death() => End::Killed(moment),
                ended = life => ended.map_or_else(End::Gave, |()| End::Stopped),
            }
        });
        drop(runtime);
        self.trace.note(&format!("{end:?}"));
        end
    }
}

/// The service's clock is right.
struct TrueTime;

impl Time for TrueTime {
    fn now(&self) -> Millis {
        Millis(simulated::true_time().unwrap_or(BEGIN_MS))
    }

    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(crate::host::time::sleep(time))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        in_process::set_wire(None);
    }
}

/// A running process; what its main loop would do is done as time passes.
pub struct Process {
    pub engine: Engine,
}

impl Process {
    /// What a person types who reads what `casedrop release` shows.
    pub fn release(&self, mirror: usize) -> Request {
        let (world, held) = (&self.engine.world, &self.engine.world.mirrors[mirror]);
        let holds = held.holds().iter().map(|hold| hold.code.as_str().to_owned()).collect();
        let count = world.journal.reader().unwrap().waiting_deletes(held.id).unwrap();
        let root = scan::open_root(&held.config.path).ok().map(|root| root.identity());
        Request::Release { mirror: held.config.name.clone(), holds, count, root }
    }

    /// That a person keeps what is attached of this file.
    pub fn keep(&self, mirror: usize, path: &RelPath) -> Request {
        let mirror = self.engine.world.mirrors[mirror].config.name.clone();
        Request::Keep { mirror, paths: vec![path.as_bytes().to_vec()] }
    }

    /// Lets time go by.
    ///
    /// # Errors
    /// The engine broke.
    pub async fn pass(&mut self, time: Duration) -> Result<(), String> {
        let until = Instant::now() + time;
        loop {
            let next = (Instant::now() + TICK).min(until);
            tokio::select! {
                biased;
                fatal = self.engine.broken() => return Err(fatal.to_string()),
                () = sleep_until(next) => {}
            }
            let looked = self.engine.watch_clock().await;
            if let Err(error) = looked.and(self.engine.show_auth().await) {
                self.engine.world.journal_trouble(&error);
            }
            if Instant::now() >= until {
                return Ok(());
            }
        }
    }
}
