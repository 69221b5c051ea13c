//! The handle: starts the server on threads of its own and reaches into it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use crate::SandboxError;
use crate::clock::{Millis, Time};
use crate::faults::{Fault, FaultBook};
use crate::ids;
use crate::log::LoggedRequest;
use crate::record::{CaseInfo, CaseStatus, FileRecord, FileStatus, LedgerFile, NewCase, SeededFile};
use crate::server;
use crate::settings::{Limits, Scan, Settings, Throttle};
use crate::state::{Shared, lock};
use crate::switches::Switches;
use crate::throttle::Buckets;

/// Where a sandbox without a listener would listen.
const IN_PROCESS_HOST: &str = "sandbox.invalid";

/// A running sandbox. Clones are handles to the same one; it stops when told to, or with the last handle.
#[derive(Clone, Debug)]
pub struct Sandbox {
    running: Arc<Running>,
}

#[derive(Debug)]
struct Running {
    shared: Arc<Shared>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    /// Resolves when the server's thread is done.
    ended: Mutex<Option<oneshot::Receiver<()>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl Sandbox {
    /// Starts a sandbox; when this answers, it can be talked to.
    ///
    /// # Errors
    ///
    /// If the address or the state folder cannot be used.
    pub async fn start(settings: Settings) -> Result<Self, SandboxError> {
        let (stop, stopping) = watch::channel(false);
        let (started, up) = oneshot::channel();
        let (ending, ended) = oneshot::channel();
        // Threads of its own: it must answer while a test blocks its runtime, and may touch the disk in place.
        std::thread::Builder::new()
            .name("sandbox".to_owned())
            .spawn(move || {
                run(&settings, stopping, started);
                // Nobody listens when the handles are gone.
                let _ = ending.send(());
            })
            .map_err(SandboxError::Threads)?;
        let stopped_early = || SandboxError::Threads(std::io::Error::other("the thread ended"));
        let (shared, address) = up.await.map_err(|_| stopped_early())??;
        let sandbox = Self { running: Arc::new(Running { shared, address, stop, ended: Mutex::new(Some(ended)) }) };
        sandbox.add_case(NewCase {
            case_id: Some(ids::DEMO_CASE_ID.to_owned()),
            reference_number: Some(ids::DEMO_REFERENCE.to_owned()),
            title: "Demo case".to_owned(),
            status: CaseStatus::Open,
        });
        Ok(sandbox)
    }

    /// A sandbox without listener and threads, for a simulation: requests are handed to [`Sandbox::answer`], the time
    /// is what `time` says, and all ids follow from `seed`. Nothing is written to disk. It has no case yet.
    ///
    /// # Errors
    ///
    /// None in practice.
    pub fn in_process(settings: Settings, time: impl Time + 'static, seed: u64) -> Result<Self, SandboxError> {
        let (stop, stopping) = watch::channel(false);
        let settings = Settings { discard_content: true, ..settings };
        let host = IN_PROCESS_HOST.to_owned();
        let shared = Arc::new(Shared::open(&settings, host, stopping, Some((Arc::new(time), seed)))?);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Ok(Self { running: Arc::new(Running { shared, address, stop, ended: Mutex::new(None) }) })
    }

    /// Answers one request in the caller's task, as the server would: signature, fault, throttle, operation, log.
    /// `None`: the connection ended without an answer. The waits of faults are of `time` too.
    pub async fn answer<B>(&self, request: Request<B>) -> Option<Response<Bytes>>
    where
        B: http_body::Body<Data = Bytes> + Unpin,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let answer = server::handle(Arc::clone(&self.running.shared), request).await.ok()?;
        let (mut parts, body) = answer.into_parts();
        // The server's HTTP library adds it.
        if let Ok(date) = HeaderValue::from_str(&self.shared().clock.wall().http_date()) {
            parts.headers.insert(header::DATE, date);
        }
        Some(Response::from_parts(parts, body.collect().await.ok()?.to_bytes()))
    }

    fn shared(&self) -> &Shared {
        &self.running.shared
    }

    /// Address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.running.address
    }

    /// Endpoint of both services, `http://127.0.0.1:PORT`.
    pub fn endpoint_url(&self) -> String {
        self.shared().endpoint.clone()
    }

    /// The access key id it accepts.
    pub fn access_key_id(&self) -> &str {
        ids::ACCESS_KEY_ID
    }

    /// The secret that belongs to it.
    pub fn secret_access_key(&self) -> &str {
        ids::SECRET_ACCESS_KEY
    }

    /// The region it answers for.
    pub fn region(&self) -> &str {
        ids::REGION
    }

    /// Id of its Connect instance.
    pub fn instance_id(&self) -> &str {
        ids::INSTANCE_ID
    }

    /// ARN of its Connect instance.
    pub fn instance_arn(&self) -> String {
        ids::instance_arn()
    }

    /// Id of its Cases domain.
    pub fn domain_id(&self) -> &str {
        ids::DOMAIN_ID
    }

    /// ARN of its Cases domain.
    pub fn domain_arn(&self) -> String {
        ids::domain_arn()
    }

    /// Adds a case; an id that exists is answered unchanged.
    pub fn add_case(&self, case: NewCase) -> CaseInfo {
        let info = self.shared().model().add_case(case, self.shared().clock.now());
        self.shared().persist_case(&info);
        info
    }

    /// Every case, oldest first.
    pub fn cases(&self) -> Vec<CaseInfo> {
        self.shared().model().cases().cloned().collect()
    }

    /// When on, a case with any valid UUID of our domain is made on its first use.
    pub fn accept_any_case(&self, yes: bool) {
        self.shared().model().accept_any_case = yes;
    }

    /// Removes a case with its files, as a delete by somebody else would. `false` if there is none.
    pub fn remove_case(&self, case_id: &str) -> bool {
        let removed = self.shared().model().remove_case(case_id);
        let Some((case, _)) = removed else {
            return false;
        };
        if let Some(disk) = &self.shared().disk
            && let Err(error) = disk.remove_case(&case)
        {
            tracing::error!(%error, %case_id, "remove a case of the sandbox from disk");
        }
        true
    }

    /// Gives a case a reference id, or takes it away. `false` if there is no such case, or another one has that id.
    pub fn set_reference_id(&self, case_id: &str, id: Option<&str>) -> bool {
        let changed = self.shared().model().set_reference_id(case_id, id);
        if let Some(case) = &changed {
            self.shared().persist_case(case);
        }
        changed.is_some()
    }

    /// Closes a case. `false` if there is none.
    pub fn close_case(&self, case_id: &str) -> bool {
        self.set_case_status(case_id, CaseStatus::Closed)
    }

    /// Opens a closed case. `false` if there is none.
    pub fn reopen_case(&self, case_id: &str) -> bool {
        self.set_case_status(case_id, CaseStatus::Open)
    }

    fn set_case_status(&self, case_id: &str, status: CaseStatus) -> bool {
        let changed = self.shared().model().set_case_status(case_id, status);
        if let Some(case) = &changed {
            self.shared().persist_case(case);
        }
        changed.is_some()
    }

    /// Puts an approved file on a case as an agent would: created by a Connect user, without tags. Answers its id.
    ///
    /// # Errors
    ///
    /// If the case does not exist or the state folder cannot be written.
    pub fn seed_foreign_file(&self, case_id: &str, file_name: &str, content: &[u8]) -> Result<String, SandboxError> {
        let shared = self.shared();
        let size = u64::try_from(content.len()).unwrap_or(u64::MAX);
        let sha256 = ids::hex(&Sha256::digest(content));
        let now = shared.clock.now();
        let record = {
            let mut model = shared.model();
            model.case(case_id, now);
            model.foreign_file(case_id, file_name, (size, sha256), now)
        };
        let record = record.ok_or_else(|| SandboxError::UnknownCase(case_id.to_owned()))?;
        self.put_content(&record, content)?;
        Ok(record.file.file_id)
    }

    /// Puts a file on a case as this program's own caller left it: any status, tags and age, whatever a start call
    /// would have said. Answers its id.
    ///
    /// # Errors
    ///
    /// If the case does not exist or the state folder cannot be written.
    pub fn seed_file(&self, seed: &SeededFile) -> Result<String, SandboxError> {
        let shared = self.shared();
        let size = u64::try_from(seed.content.len()).unwrap_or(u64::MAX);
        let sha256 = ids::hex(&Sha256::digest(&seed.content));
        let now = Millis(shared.clock.now().0 - i64::try_from(seed.age.as_millis()).unwrap_or(i64::MAX));
        let record = {
            let mut model = shared.model();
            model.case(&seed.case_id, now);
            model.seeded_file(seed, (size, sha256), now)
        };
        let record = record.ok_or_else(|| SandboxError::UnknownCase(seed.case_id.clone()))?;
        self.put_content(&record, &seed.content)?;
        Ok(record.file.file_id)
    }

    /// Removes a file as somebody else would: no request is logged. `false` if there is none.
    pub fn lose_file(&self, file_id: &str) -> bool {
        let lost = self.shared().model().lose(file_id);
        // The disk is a view of the model; a failure is logged there.
        lost.is_some_and(|record| self.shared().persist(&record).is_ok())
    }

    /// Changes the status of a file behind everybody's back. `false` if there is none.
    pub fn set_file_status(&self, file_id: &str, status: FileStatus) -> bool {
        let changed = self.shared().model().change(file_id, |file| file.status = status);
        changed.is_some_and(|record| self.shared().persist(&record).is_ok())
    }

    /// Changes the content of a file behind everybody's back, its size included. `false` if there is none.
    ///
    /// # Errors
    ///
    /// If the state folder cannot be written.
    pub fn set_file_content(&self, file_id: &str, content: &[u8]) -> Result<bool, SandboxError> {
        let sha256 = ids::hex(&Sha256::digest(content));
        let changed = self.shared().model().change(file_id, |file| {
            file.size = u64::try_from(content.len()).unwrap_or(u64::MAX);
            file.sha256 = Some(sha256);
        });
        match changed {
            Some(record) => self.put_content(&record, content).map(|()| true),
            None => Ok(false),
        }
    }

    fn put_content(&self, record: &FileRecord, content: &[u8]) -> Result<(), SandboxError> {
        let shared = self.shared();
        let case = shared.model().case_info(&record.file.case_id).cloned();
        let (Some(disk), Some(case)) = (&shared.disk, case) else { return Ok(()) };
        let dir = disk.file_dir(&case, record);
        let _guard = disk.lock(&record.file.file_id);
        let written = disk.temp().and_then(|(path, mut file)| {
            std::io::Write::write_all(&mut file, content)?;
            disk.keep_content(&path, &dir)?;
            disk.write_file(&dir, Some(record))
        });
        written.map_err(|source| SandboxError::State { path: dir, source })
    }

    /// Links this many comments to a case: related items that are no files. `false` if there is no such case.
    pub fn seed_comments(&self, case_id: &str, count: usize) -> bool {
        let now = self.shared().clock.now();
        self.shared().model().add_comments(case_id, count, now)
    }

    /// Every FileId started or seeded and not deleted, in that order.
    pub fn ledger(&self) -> Vec<LedgerFile> {
        let now = self.shared().clock.now();
        self.shared().model().ledger(now)
    }

    /// Every FileId that was deleted since the start of this process, in that order, as it was last.
    pub fn deleted(&self) -> Vec<LedgerFile> {
        self.shared().model().deleted()
    }

    /// The requests answered (or not), oldest first; the newest 250,000 are kept.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.shared().log.requests()
    }

    /// Forgets the requests in memory; `requests.jsonl` keeps them.
    pub fn clear_requests(&self) {
        self.shared().log.clear();
    }

    /// Replaces the faults and starts their counts anew.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        *lock(&self.shared().faults) = FaultBook::new(faults);
    }

    /// How many faults of the list in force were applied.
    pub fn faults_applied(&self) -> usize {
        lock(&self.shared().faults).applied()
    }

    /// Replaces the switches.
    pub fn set_switches(&self, switches: Switches) {
        self.shared().model().switches = switches;
    }

    /// Replaces the limits.
    pub fn set_limits(&self, limits: Limits) {
        self.shared().model().limits = limits;
    }

    /// Replaces what the scan does, for files completed from now on.
    pub fn set_scan(&self, scan: Scan) {
        self.shared().model().scan = scan;
    }

    /// Replaces the throttle; its buckets begin full.
    pub fn set_throttle(&self, throttle: Throttle) {
        *lock(&self.shared().buckets) = Buckets::new(throttle);
    }

    /// Moves the service's clock forward: URLs expire, scans end, related items appear. The check of signing times
    /// stays with the machine's clock, and so does the throttle.
    pub fn advance_clock(&self, by: Duration) {
        self.shared().clock.advance(by);
    }

    /// Stops the server and writes out the request log. Open connections get a second, what blocks half of one more.
    pub async fn shutdown(self) {
        self.running.stop.send_replace(true);
        let ended = lock(&self.running.ended).take();
        if let Some(ended) = ended {
            // Bounded by the server's own limits. No timer here: the caller's runtime may have none, or a paused one.
            let _ = ended.await;
        }
    }
}

type Up = Result<(Arc<Shared>, SocketAddr), SandboxError>;

/// Body of the server's thread.
fn run(settings: &Settings, stopping: watch::Receiver<bool>, started: oneshot::Sender<Up>) {
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("sandbox").enable_all().build()
        {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = started.send(Err(SandboxError::Threads(error)));
                return;
            }
        };
    let guard = runtime.enter();
    let (listener, shared, address) = match listen(settings, stopping) {
        Ok(ready) => ready,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    drop(guard);
    if started.send(Ok((Arc::clone(&shared), address))).is_err() {
        return;
    }
    runtime.block_on(async {
        // On a worker, not on this thread, so that accepting shares their load.
        let serving = tokio::spawn(server::serve(listener, Arc::clone(&shared)));
        let _ = serving.await;
    });
    runtime.shutdown_timeout(Duration::from_millis(500));
    shared.log.close();
}

fn listen(
    settings: &Settings,
    stopping: watch::Receiver<bool>,
) -> Result<(TcpListener, Arc<Shared>, SocketAddr), SandboxError> {
    if !settings.listen.ip().is_loopback() {
        return Err(SandboxError::NotLoopback(settings.listen));
    }
    let failed = |source| SandboxError::Listen { address: settings.listen, source };
    let listener = std::net::TcpListener::bind(settings.listen).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let listener = TcpListener::from_std(listener).map_err(failed)?;
    let shared = Shared::open(settings, address.to_string(), stopping, None)?;
    Ok((listener, Arc::new(shared), address))
}
