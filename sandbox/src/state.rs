//! What every request shares: the model, the disk behind it, the keys, the clock.

use std::sync::{Mutex, MutexGuard, PoisonError};

use regex::Regex;
use tokio::sync::watch;

use crate::SandboxError;
use crate::clock::{Clock, Given};
use crate::disk::Disk;
use crate::faults::FaultBook;
use crate::ids::IdSource;
use crate::log::RequestLog;
use crate::model::Model;
use crate::op::Service;
use crate::record::{CaseInfo, FileRecord};
use crate::reply::ApiError;
use crate::settings::Settings;
use crate::sigv4::KeyCache;
use crate::throttle::Buckets;

#[derive(Debug)]
pub(crate) struct Shared {
    model: Mutex<Model>,
    pub(crate) faults: Mutex<FaultBook>,
    pub(crate) buckets: Mutex<Buckets>,
    /// `None` when content is discarded.
    pub(crate) disk: Option<Disk>,
    pub(crate) log: RequestLog,
    pub(crate) clock: Clock,
    pub(crate) ids: IdSource,
    pub(crate) keys: KeyCache,
    /// `http://ADDRESS`, and the address alone.
    pub(crate) endpoint: String,
    pub(crate) host: String,
    /// Any character of Unicode class C (SERVICE.md 1.1, FileName).
    pub(crate) class_c: Regex,
    /// A whole tag key.
    pub(crate) tag_key: Regex,
    /// Becomes `true` when the sandbox stops.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// Locks, going on with the data if a holder died: every change under these locks is complete in itself.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Opens the state folder and takes up what it holds. `time`: a clock and the seed of all ids, so that the same
    /// requests get the same answers.
    pub(crate) fn open(
        settings: &Settings,
        host: String,
        stopping: watch::Receiver<bool>,
        time: Option<(Given, u64)>,
    ) -> Result<Self, SandboxError> {
        let (given, seed) = time.unzip();
        let ids = |salt| seed.map_or_else(IdSource::new, |seed: u64| IdSource::seeded(seed ^ salt));
        let mut model = Model::new(settings.limits.clone(), settings.scan.clone(), settings.switches, ids(1));
        let disk = if settings.discard_content {
            None
        } else {
            let disk = Disk::open(&settings.state_dir)?;
            for (case, files) in disk.load()? {
                model.insert_case(case);
                for file in files {
                    model.insert_file(file);
                }
            }
            Some(disk)
        };
        let log = RequestLog::open(disk.as_ref().map(Disk::log_path).as_deref())?;
        let pattern = |text: &str| Regex::new(text).map_err(|error| SandboxError::Pattern(Box::new(error)));
        Ok(Self {
            model: Mutex::new(model),
            faults: Mutex::new(FaultBook::new(settings.faults.clone())),
            buckets: Mutex::new(Buckets::new(settings.throttle.clone())),
            disk,
            log,
            clock: Clock::new(given),
            ids: ids(0),
            keys: KeyCache::default(),
            endpoint: format!("http://{host}"),
            host,
            class_c: pattern(r"\p{C}")?,
            tag_key: pattern(r"^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$")?,
            stopping,
        })
    }

    pub(crate) fn model(&self) -> MutexGuard<'_, Model> {
        lock(&self.model)
    }

    /// The case, made on first use where that is on.
    pub(crate) fn case(&self, case_id: &str) -> Option<CaseInfo> {
        let (case, made) = self.model().case(case_id, self.clock.now())?;
        if made {
            self.persist_case(&case);
        }
        Some(case)
    }

    /// Writes `case.json`; a failure is logged, for the case itself lives on in memory.
    pub(crate) fn persist_case(&self, case: &CaseInfo) {
        if let Some(disk) = &self.disk
            && let Err(error) = disk.write_case(case)
        {
            tracing::error!(%error, case_id = %case.case_id, "write case.json of the sandbox");
        }
    }

    /// Makes the disk say what the model says of that file now, be it changed or gone. `file` need not be current:
    /// it names the place.
    pub(crate) fn persist(&self, file: &FileRecord) -> Result<(), ApiError> {
        let Some(disk) = &self.disk else {
            return Ok(());
        };
        let file_id = &file.file.file_id;
        let _guard = disk.lock(file_id);
        let (case, record) = {
            let model = self.model();
            let Some(case) = model.case_info(&file.file.case_id).cloned() else {
                return Ok(());
            };
            (case, model.stored(file_id).cloned())
        };
        let dir = disk.file_dir(&case, file);
        disk.write_file(&dir, record.as_ref()).map_err(|error| {
            tracing::error!(%error, %file_id, dir = %dir.display(), "write the sandbox's state of a file");
            ApiError::internal(Service::Connect)
        })
    }
}
