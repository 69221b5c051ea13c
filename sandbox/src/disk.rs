//! The state folder: a layout a person can read, written whole or not at all.
//!
//! ```text
//! STATE/README.txt                                        this layout in words
//! STATE/requests.jsonl                                    one line per request
//! STATE/cases/<reference>_<case id>/case.json
//! STATE/cases/<reference>_<case id>/<file name>/<file id>/metadata.json
//! STATE/cases/<reference>_<case id>/<file name>/<file id>/content
//! STATE/tmp/                                              half-written files, emptied at start
//! ```
//!
//! A FileId has its own folder, so neither two files of one name nor two names that are shortened to the same
//! folder can collide. Every file is written under `tmp/` and renamed into place. Nothing is synced to the
//! medium: the sandbox promises to survive its own death, not that of the machine.

use std::fs::{self, File};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::SandboxError;
use crate::record::{CaseInfo, FileRecord};

const README: &str = "\
State of a casedrop sandbox: a stand-in for Amazon Connect that runs on this machine only.

cases/<reference number>_<case id>/
    case.json                     the case: id, ARN, title, status
    <file name>/<file id>/        one folder for each attached file; several can carry one name
        content                   the bytes, once the upload's PUT is done (a REJECTED file has none)
        metadata.json             status, size, SHA-256 of the stored bytes, tags, times, client token
requests.jsonl                    every request with its answer, one JSON object a line
tmp/                              half-written files; emptied when the sandbox starts

In folder names a slash and control characters are shown as _, and long names are cut and end in an ellipsis;
the full name is in metadata.json. A deleted file's folder is removed. The sandbox reads this folder when it
starts; change nothing in it while it runs. To begin afresh, stop the sandbox and remove the whole folder.
";

/// Longest folder name we make, in bytes: file systems allow 255.
const MAX_NAME_BYTES: usize = 200;

/// A readable folder name for any text.
pub(crate) fn folder_name(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars() {
        if name.len() + c.len_utf8() > MAX_NAME_BYTES {
            name.push('…');
            break;
        }
        name.push(if c == '/' || c.is_control() { '_' } else { c });
    }
    // A folder must not be `.`, `..` or empty, nor take the place of the case's own file.
    if matches!(name.as_str(), "" | "." | ".." | "case.json") {
        name.insert(0, '_');
    }
    name
}

/// Writes and reads the state folder.
#[derive(Debug)]
pub(crate) struct Disk {
    root: PathBuf,
    temp_number: AtomicU64,
    /// Orders the writers of one file among each other; which lock is by hash of the FileId.
    locks: Vec<Mutex<()>>,
}

impl Disk {
    /// Opens the folder, making it if need be.
    pub(crate) fn open(root: &Path) -> Result<Self, SandboxError> {
        let disk = Self {
            root: root.to_owned(),
            temp_number: AtomicU64::new(0),
            locks: (0..64).map(|_| Mutex::new(())).collect(),
        };
        let temp = disk.root.join("tmp");
        let made = match fs::remove_dir_all(&temp) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => fs::create_dir_all(&temp)
                .and_then(|()| fs::create_dir_all(disk.root.join("cases")))
                .and_then(|()| fs::write(disk.root.join("README.txt"), README)),
        };
        made.map_err(|source| SandboxError::State { path: disk.root.clone(), source })?;
        Ok(disk)
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.root.join("requests.jsonl")
    }

    fn case_dir(&self, case: &CaseInfo) -> PathBuf {
        self.root.join("cases").join(case.label())
    }

    /// Folder of one file.
    pub(crate) fn file_dir(&self, case: &CaseInfo, record: &FileRecord) -> PathBuf {
        self.case_dir(case).join(folder_name(&record.file.file_name)).join(&record.file.file_id)
    }

    /// Held by whoever changes the folder of that file.
    pub(crate) fn lock(&self, file_id: &str) -> Option<MutexGuard<'_, ()>> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(file_id);
        let at = usize::try_from(hash % 64).unwrap_or(0);
        self.locks.get(at).map(|lock| lock.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A fresh file under `tmp/`, to be renamed or removed by the caller.
    pub(crate) fn temp(&self) -> io::Result<(PathBuf, File)> {
        let number = self.temp_number.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join("tmp").join(number.to_string());
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        Ok((path, file))
    }

    fn write_json(&self, to: &Path, value: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(value)?;
        text.push(b'\n');
        let (path, mut file) = self.temp()?;
        let done = file.write_all(&text).and_then(|()| rename_into(&path, to, 3));
        if done.is_err() {
            let _ = fs::remove_file(&path);
        }
        done
    }

    pub(crate) fn write_case(&self, case: &CaseInfo) -> io::Result<()> {
        self.write_json(&self.case_dir(case).join("case.json"), case)
    }

    pub(crate) fn remove_case(&self, case: &CaseInfo) -> io::Result<()> {
        gone_is_fine(fs::remove_dir_all(self.case_dir(case)))
    }

    /// Makes the folder say what `now` says. Call with the file's lock held.
    pub(crate) fn write_file(&self, dir: &Path, now: Option<&FileRecord>) -> io::Result<()> {
        let Some(record) = now else {
            gone_is_fine(fs::remove_dir_all(dir))?;
            if let Some(parent) = dir.parent() {
                // Fails while another file of that name is there, which is what we want.
                let _ = fs::remove_dir(parent);
            }
            return Ok(());
        };
        if record.file.put_done && !record.has_bytes() {
            gone_is_fine(fs::remove_file(dir.join("content")))?;
        }
        self.write_json(&dir.join("metadata.json"), record)
    }

    /// Moves finished bytes into place. Call with the file's lock held.
    pub(crate) fn keep_content(&self, temp: &Path, dir: &Path) -> io::Result<()> {
        rename_into(temp, &dir.join("content"), 3)
    }

    pub(crate) fn open_content(dir: &Path) -> io::Result<(File, u64)> {
        let file = File::open(dir.join("content"))?;
        let length = file.metadata()?.len();
        Ok((file, length))
    }

    /// Everything an earlier sandbox left.
    pub(crate) fn load(&self) -> Result<Vec<(CaseInfo, Vec<FileRecord>)>, SandboxError> {
        let mut cases = Vec::new();
        for case_dir in folders(&self.root.join("cases"))? {
            let Some(info) = read_json::<CaseInfo>(&case_dir.join("case.json"))? else {
                continue;
            };
            let mut files = Vec::new();
            for name_dir in folders(&case_dir)? {
                for file_dir in folders(&name_dir)? {
                    // Without metadata it was never answered to anybody.
                    if let Some(record) = read_json(&file_dir.join("metadata.json"))? {
                        files.push(record);
                    }
                }
            }
            files.sort_unstable_by_key(|record: &FileRecord| record.number);
            cases.push((info, files));
        }
        cases.sort_by_key(|(info, _)| info.created_at);
        Ok(cases)
    }
}

/// Renames, making the target's folder when it is not there; a delete beside us may take it away in between.
fn rename_into(from: &Path, to: &Path, tries: u32) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && tries > 0 => {
            if let Some(parent) = to.parent() {
                gone_is_fine(fs::create_dir_all(parent))?;
            }
            rename_into(from, to, tries - 1)
        }
        done => done,
    }
}

fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn state_error(path: &Path, source: io::Error) -> SandboxError {
    SandboxError::State { path: path.to_owned(), source }
}

fn folders(path: &Path) -> Result<Vec<PathBuf>, SandboxError> {
    let listed = fs::read_dir(path).and_then(|entries| {
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                found.push(entry.path());
            }
        }
        Ok(found)
    });
    listed.map_err(|source| state_error(path, source))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, SandboxError> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| state_error(path, error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(state_error(path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_are_safe_and_short() {
        assert_eq!(folder_name("a/b\n.pdf"), "a_b_.pdf");
        assert_eq!(folder_name(".."), "_..");
        assert_eq!(folder_name(""), "_");
        assert_eq!(folder_name("case.json"), "_case.json");
        let long = folder_name(&"ä".repeat(256));
        assert!(long.len() <= 255 && long.ends_with('…'), "{}", long.len());
    }
}
