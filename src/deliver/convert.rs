//! Conversion before the upload: a program of the user's makes another type of the file.
//!
//! It reads a private copy of exactly the bytes that were hashed (invariant 6) and writes into a folder of its own;
//! nothing it does reaches the mirror. Its result is kept until the attempt has sent it, so that a try after a
//! throttle or a network fault does not convert again; a restart does. Since another run may give other bytes, an
//! attempt is bound to the result's hash: other bytes are a new attempt with a new token (`record::begin_converted`).
//!
//! What the program cannot do to the file parks it; what the environment keeps it from (no such program, no space)
//! is waited for.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::child::{self, Program, Ran};
use crate::config;
use crate::core::model::{Stat, Version};
use crate::crash::{self, Point};
use crate::host;
use crate::scan;
use crate::types::ContentHash;
use crate::world::World;

/// Programs at once: they are mostly busy with the processor.
static SLOTS: Semaphore = Semaphore::const_new(2);
/// Lines of the program's output that go with a park.
const LINES: usize = 5;
/// With less space than this left, a failure is taken for want of space.
const LITTLE_SPACE: u64 = 16 << 20;

/// What came of it.
pub(super) enum Converted {
    /// The bytes to send.
    Ready { file: Arc<File>, stat: Stat, version: Version },
    /// The file is not what was hashed; it is to be looked at again.
    Changed,
    /// The program cannot convert this file; in words.
    Failed(String),
    /// It could not be tried; in words. It may help to try later.
    Trouble(String),
}

/// Empties the folder of conversions: what a stop left there is of no use.
///
/// # Errors
/// It cannot be emptied or made.
pub fn clean(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Converts `original`, whose content is `version`.
pub(super) async fn convert(
    world: &World,
    rule: &config::Convert,
    extension: &str,
    original: Arc<File>,
    version: Version,
) -> Converted {
    let kept = kept(world, rule, &version);
    let found = kept.clone();
    if let Ok(Ok(ready)) = host::blocking(move || ready(&found)).await {
        return ready;
    }
    // Never closed.
    let Ok(_slot) = SLOTS.acquire().await else { return Converted::Trouble("casedrop stops".to_owned()) };
    let folder = world.convert_folder.clone();
    let extension = extension.to_owned();
    let prepared = host::blocking(move || prepare(&folder, &original, &version, &extension)).await;
    let work = match prepared {
        Ok(Ok(Some(work))) => work,
        Ok(Ok(None)) => return Converted::Changed,
        Ok(Err(error)) => return Converted::Trouble(format!("no private copy can be made for the converter: {error}")),
        Err(error) => return Converted::Trouble(error.to_string()),
    };
    crash::at(Point::ConvertCopied);
    let argv: Vec<OsString> = rule.command.iter().map(|part| work.fill(part)).collect();
    let env = [("TMPDIR", work.0.clone().into_os_string())];
    let program = Program { argv: &argv, env: &env, input: Vec::new(), timeout: rule.timeout };
    let outcome = match child::run(program, &CancellationToken::new()).await {
        Ran::Done { said } => Ok(said),
        Ran::Failed { why, said } => Err((why, said)),
        Ran::NotStarted(error) => return Converted::Trouble(format!("the converter cannot be started: {error}")),
        Ran::CutOff => return Converted::Trouble("casedrop stops".to_owned()),
    };
    let (largest, to) = (rule.max_size, kept);
    let taken = host::blocking(move || {
        let outcome = match outcome {
            Err((why, said)) => Err(with_lines(&format!("the converter failed: {why}"), &said)),
            Ok(said) => match work.take_output(largest) {
                Ok(output) => Ok(output),
                Err(why) => Err(with_lines(&why, &said)),
            },
        };
        match outcome {
            Ok(output) => std::fs::rename(output, &to)
                .and_then(|()| ready(&to))
                .unwrap_or_else(|error| Converted::Trouble(format!("the converted file cannot be kept: {error}"))),
            Err(why) if little_space(&work.0) => {
                Converted::Trouble(format!("{why}; {} has hardly any space left", work.0.display()))
            }
            Err(why) => Converted::Failed(why),
        }
    });
    let taken = taken.await.unwrap_or_else(|error| Converted::Trouble(error.to_string()));
    crash::at(Point::ConvertKept);
    taken
}

/// The bytes are sent, or are not wanted any more.
pub(super) async fn forget(world: &World, rule: &config::Convert, version: Version) {
    let kept = kept(world, rule, &version);
    // Whatever is left is removed at the next start.
    drop(host::blocking(move || std::fs::remove_file(kept)).await);
}

/// Where the result is kept: one place for each content and each way to convert it.
fn kept(world: &World, rule: &config::Convert, version: &Version) -> PathBuf {
    let mut way = Sha256::new();
    for part in &rule.command {
        way.update(part.as_encoded_bytes());
        way.update([0]);
    }
    let way = ContentHash(way.finalize().into()).to_string();
    let way = way.get(..16).unwrap_or_default();
    world.convert_folder.join(format!("{}-{way}.{}", version.hash, rule.rule.to))
}

fn ready(path: &Path) -> io::Result<Converted> {
    let file = read_only(path)?;
    let read = scan::read_hash(&file, None, &|| false).map_err(|error| io::Error::other(error.to_string()))?;
    let version = Version { size: read.stat.size, hash: read.hash };
    Ok(Converted::Ready { file: Arc::new(file), stat: read.stat, version })
}

fn read_only(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// A folder of its own with the private copy; removed with all that is in it when it is dropped.
struct Work(PathBuf, String);

impl Drop for Work {
    fn drop(&mut self) {
        // What is left is removed at the next start.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The private copy, if it is what was hashed.
fn prepare(folder: &Path, original: &File, version: &Version, extension: &str) -> io::Result<Option<Work>> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut bytes = [0; 8];
    host::random_bytes(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let name = format!("work-{:016x}", u64::from_le_bytes(bytes));
    DirBuilder::new().mode(0o700).create(folder.join(&name))?;
    let work = Work(folder.join(name), format!("input.{extension}"));
    let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(work.input())?;
    let (mut hash, mut count, mut buffer) = (Sha256::new(), 0_u64, vec![0; 256 * 1024]);
    while count <= version.size {
        let read = match original.read_at(&mut buffer, count) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let piece = buffer.get(..read).unwrap_or_default();
        hash.update(piece);
        copy.write_all(piece)?;
        count += read as u64;
    }
    let same = count == version.size && ContentHash(hash.finalize().into()) == version.hash;
    Ok(same.then_some(work))
}

impl Work {
    fn input(&self) -> PathBuf {
        self.0.join(&self.1)
    }

    fn output(&self) -> PathBuf {
        self.0.join("output")
    }

    /// An argument with the two places filled in. Both are plain text but for the folder of the journal.
    fn fill(&self, part: &OsString) -> OsString {
        use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
        let mut filled = part.as_bytes().to_vec();
        for (mark, path) in [(&b"{input}"[..], self.input()), (&b"{output}"[..], self.output())] {
            let mut from = 0;
            while let Some(at) = filled.get(from..).and_then(|rest| rest.windows(mark.len()).position(|w| w == mark)) {
                let bytes = path.as_os_str().as_bytes();
                filled.splice(from + at..from + at + mark.len(), bytes.iter().copied());
                from += at + bytes.len();
            }
        }
        OsString::from_vec(filled)
    }

    /// The output, if it is a file that can be sent.
    fn take_output(&self, largest: u64) -> Result<PathBuf, String> {
        let path = self.output();
        let meta = match std::fs::symlink_metadata(&path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err("the converter ended well and wrote no {output}".to_owned());
            }
            Err(error) => return Err(format!("the converter's output cannot be looked at: {error}")),
        };
        if !meta.is_file() {
            return Err("the converter's output is no regular file".to_owned());
        }
        match meta.len() {
            0 => Err("the converter's output is empty".to_owned()),
            size if size > largest => {
                Err(format!("the converter's output has {size} bytes, more than `max_size` ({largest})"))
            }
            _ => Ok(path),
        }
    }
}

fn little_space(folder: &Path) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|stat| stat.f_bavail.saturating_mul(stat.f_frsize) < LITTLE_SPACE)
}

fn with_lines(why: &str, said: &str) -> String {
    let lines = child::last_lines(said, LINES);
    if lines.is_empty() { why.to_owned() } else { format!("{why}; it said: {}", lines.join(" / ")) }
}
