//! What most commands begin with: the configuration, the journal as it can be read now, the mirrors, AWS.

use std::path::{Path, PathBuf};

use super::exit::{Exit, Failed};
use crate::config::{self, Config, Problem};
use crate::core::model::{MirrorId, MirrorRow};
use crate::journal::{JournalError, Reader, View};

/// Reads the configuration (`--config`, `$CASEDROP_CONFIG`, the default place).
pub fn config(flag: Option<&Path>) -> Result<Config, Failed> {
    Ok(Config::load(flag, &|name| std::env::var_os(name))?)
}

/// Reads the configuration and looks at its folders, for the commands that will work on them.
pub fn checked_config(flag: Option<&Path>) -> Result<Config, Failed> {
    let config = config(flag)?;
    let problems = path_problems(&config);
    if problems.is_empty() {
        return Ok(config);
    }
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Err(Failed::new(Exit::Person, lines.join("\n")))
}

/// What is wrong with the folders. Without a journal that can be read, every mirror counts as new.
pub fn path_problems(config: &Config) -> Vec<Problem> {
    match Reader::open(&config.journal_path) {
        Ok(reader) => crate::run::path_problems(config, &reader),
        Err(_) => config.check_paths(&|_| false),
    }
}

/// The journal, or `None` where nothing has run yet.
pub fn reader(config: &Config) -> Result<Option<Reader>, Failed> {
    match Reader::open(&config.journal_path) {
        Ok(reader) => Ok(Some(reader)),
        Err(JournalError::Missing { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The line for a journal that does not exist yet.
pub fn no_journal(config: &Config) -> String {
    format!(
        "no journal yet at {}: nothing was mirrored so far; `casedrop run` or `casedrop sync` begins one",
        config.journal_path.display()
    )
}

/// Asks the journal, an empty one where there is none; asks again when a daemon started meanwhile and moved things
/// below a reader without a lock.
pub fn ask<T>(config: &Config, question: impl Fn(&View) -> Result<T, JournalError>) -> Result<(T, bool), Failed> {
    const TRIES: usize = 3;
    let mut tries = 0;
    loop {
        let (reader, exists) = match reader(config)? {
            Some(reader) => (reader, true),
            None => (Reader::empty()?, false),
        };
        let answer = reader.at_one_moment(&question);
        tries += 1;
        if tries < TRIES && reader.overtaken() {
            continue;
        }
        return Ok((answer?, exists));
    }
}

/// A mirror of the configuration, of the journal, or of both.
#[derive(Debug, Clone)]
pub struct Known {
    pub name: String,
    pub root: PathBuf,
    pub id: Option<MirrorId>,
    pub row: Option<MirrorRow>,
    /// `None`: no longer configured.
    pub config: Option<config::Mirror>,
}

/// The configured mirrors in their order, then those that only the journal knows.
pub fn mirrors(config: &Config, view: &View) -> Result<Vec<Known>, JournalError> {
    use std::os::unix::ffi::OsStringExt as _;
    let mut rows = view.mirrors()?;
    let mut known = Vec::with_capacity(config.mirrors.len());
    for mirror in &config.mirrors {
        let row = rows.iter().position(|row| row.name == mirror.name).map(|at| rows.remove(at));
        let id = row.as_ref().map(|row| row.id);
        known.push(Known {
            name: mirror.name.clone(),
            root: mirror.path.clone(),
            id,
            row,
            config: Some(mirror.clone()),
        });
    }
    known.extend(rows.into_iter().map(|row| Known {
        name: row.name.clone(),
        root: PathBuf::from(std::ffi::OsString::from_vec(row.root.clone())),
        id: Some(row.id),
        row: Some(row),
        config: None,
    }));
    Ok(known)
}

/// The mirrors that `--mirror` leaves.
pub fn only(known: Vec<Known>, name: Option<&str>) -> Result<Vec<Known>, Failed> {
    let Some(name) = name else { return Ok(known) };
    let names: Vec<String> = known.iter().map(|mirror| mirror.name.clone()).collect();
    let left: Vec<Known> = known.into_iter().filter(|mirror| mirror.name == name).collect();
    if left.is_empty() {
        return Err(Failed::usage(format!("there is no mirror {name:?}; there are: {}", names.join(", "))));
    }
    Ok(left)
}

/// A runtime for a command that waits; `threads` for those that also work.
pub fn runtime(threads: bool) -> Result<tokio::runtime::Runtime, Failed> {
    let mut builder = if threads {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    builder.enable_all().build().map_err(|e| Failed::new(Exit::Temporary, format!("cannot start threads: {e}")))
}

/// The process that holds the journal's lock: `Some(None)` when its number cannot be told. Changes nothing.
pub fn daemon(journal: &Path) -> Option<Option<u32>> {
    use rustix::fs::{FlockOperation, flock};
    let mut name = journal.as_os_str().to_owned();
    name.push(".lock");
    let file = std::fs::File::open(&name).ok()?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Some(std::io::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()))
        }
        Ok(()) | Err(_) => None,
    }
}
