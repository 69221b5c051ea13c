//! `casedrop get PATH -o FILE`: brings an attachment back and proves that it is what was sent.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use sha2::{Digest, Sha256};

use super::context::{self, Known};
use super::exit::{Ended, Exit, Failed};
use super::out::Out;
use super::words::size;
use super::{logging, place};
use crate::core::model::{Attachment, Stage, Version};
use crate::types::{ContentHash, RelPath};

/// Downloads the attachment of a file and checks it.
///
/// Takes the newest one that agents can see, through GetAttachedFile; compares size and SHA-256 with the journal;
/// only then FILE appears.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  casedrop get /srv/claims/letter.pdf -o /tmp/letter.pdf")]
pub struct Args {
    /// The file whose attachment is wanted; it need not be there any more.
    #[arg(value_hint = clap::ValueHint::FilePath)]
    path: OsString,
    /// Where to put it.
    #[arg(long, short, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    output: PathBuf,
    /// Replaces FILE if there is one.
    #[arg(long, short)]
    force: bool,
    /// The mirror, where several have such a path.
    #[arg(long, value_name = "NAME")]
    mirror: Option<String>,
}

pub fn run(args: &Args, config: Option<&Path>, out: &mut Out) -> Ended {
    let config = context::config(config)?;
    logging::start(&config.log, "warn")?;
    if !args.force && args.output.symlink_metadata().is_ok() {
        return Err(exists(&args.output));
    }
    let (attachment, wanted) = find(args, &config)?;
    let Some(file_id) = &attachment.file_id else {
        return Err(Failed::new(Exit::Person, "the journal holds no FileId for it; please report this"));
    };
    let mut temp = Temp::beside(&args.output)?;
    let sent = context::runtime(true)?.block_on(async {
        let client = crate::run::client(&config).await;
        let answer = Box::pin(client.download(&attachment.case, file_id)).await?;
        let Some(url) = &answer.url else {
            let text = format!("Connect gives no download for {file_id}: its status is {}", answer.status);
            return Err(Failed::new(Exit::Parked, text));
        };
        let mut sink = Hashing { file: &mut temp.file, hash: Sha256::new(), bytes: 0 };
        Box::pin(client.fetch(url, &mut sink)).await?;
        Ok(Version { size: sink.bytes, hash: ContentHash(sink.hash.finalize().into()) })
    })?;
    if sent != wanted {
        let text = format!(
            "what Connect holds as {file_id} is not what was sent: {} bytes, sha256 {}; the journal says {} bytes, \
             sha256 {}",
            sent.size, sent.hash, wanted.size, wanted.hash
        );
        return Err(Failed::new(Exit::Parked, text).hint("nothing was written; compare it with the local file"));
    }
    temp.become_file(&args.output, args.force)?;
    writeln!(
        out,
        "{}: {}, size and SHA-256 as sent\n  sha256  {}\n  FileId  {file_id}\n  case    {}",
        args.output.display(),
        size(sent.size),
        sent.hash,
        attachment.case
    )?;
    Ok(Exit::Done)
}

/// The attachment, and what was sent for it: the file, or what it was converted to.
fn find(args: &Args, config: &crate::config::Config) -> Result<(Attachment, Version), Failed> {
    let current = super::current_dir()?;
    let (found, exists) = context::ask(config, |view| {
        let mirrors = match context::only(context::mirrors(config, view)?, args.mirror.as_deref()) {
            Ok(mirrors) => mirrors,
            Err(failed) => return Ok(Err(failed)),
        };
        let known = |mirror: &Known, path: &RelPath| {
            mirror.id.is_some_and(|id| view.attachments_ever(id, path).is_ok_and(|list| !list.is_empty()))
        };
        let (at, path) = match place::find(&args.path, &current, &mirrors, &known) {
            Ok(found) => found,
            Err(failed) => return Ok(Err(failed)),
        };
        let list = match mirrors.get(at).and_then(|mirror| mirror.id) {
            Some(id) => view.attachments_ever(id, &path)?,
            None => Vec::new(),
        };
        let newest = list.into_iter().filter(|a| a.stage == Stage::Approved).max_by_key(|a| a.id);
        let newest = match newest {
            Some(attachment) => {
                let sent = view.converted(attachment.id)?.unwrap_or(attachment.version);
                Some((attachment, sent))
            }
            None => None,
        };
        Ok(newest.ok_or_else(|| {
            Failed::new(Exit::Parked, format!("{path} has no attachment that agents can see"))
                .hint("see `casedrop why PATH`")
        }))
    })?;
    if !exists {
        return Err(Failed::new(Exit::Person, context::no_journal(config)));
    }
    found
}

fn exists(path: &Path) -> Failed {
    Failed::usage(format!("{} exists already", path.display())).hint("name another file, or replace it with --force")
}

/// Counts and hashes what passes.
struct Hashing<'f> {
    file: &'f mut File,
    hash: Sha256,
    bytes: u64,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file beside the wanted one, gone unless it becomes that.
struct Temp {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl Temp {
    fn beside(target: &Path) -> Result<Self, Failed> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let name = target.file_name().ok_or_else(|| Failed::usage(format!("{} is no file name", target.display())))?;
        let mut hidden = OsString::from(".");
        hidden.push(short(name));
        hidden.push(format!(".casedrop-{}.part", std::process::id()));
        let path = target.with_file_name(hidden);
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|e| Failed::usage(format!("cannot create a file beside {}: {e}", target.display())))?;
        Ok(Self { path, file, kept: false })
    }

    /// On disk first, then in its place at once, whole.
    fn become_file(mut self, target: &Path, force: bool) -> Result<(), Failed> {
        let failed = |e: io::Error| Failed::new(Exit::Temporary, format!("cannot write {}: {e}", target.display()));
        self.file.sync_all().map_err(failed)?;
        if force {
            std::fs::rename(&self.path, target).map_err(failed)?;
        } else {
            match renameat_with(CWD, &self.path, CWD, target, RenameFlags::NOREPLACE).map_err(io::Error::from) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(exists(target)),
                // Not every file system knows it; a second name does the same in two steps.
                Err(_) => match std::fs::hard_link(&self.path, target) {
                    Ok(()) => std::fs::remove_file(&self.path).map_err(failed)?,
                    Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(exists(target)),
                    Err(e) => return Err(failed(e)),
                },
            }
        }
        self.kept = true;
        let folder = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // The content is safe; only the name could be lost by a power cut now.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
        Ok(())
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.kept {
            // Best effort: a left-over is hidden and named after us.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// At most 200 bytes of a name, so that what is added still fits.
fn short(name: &OsStr) -> OsString {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    OsString::from_vec(name.as_bytes().iter().take(200).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_never_replaced_unasked_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.pdf");
        let write = |force| {
            let mut temp = Temp::beside(&target).unwrap();
            temp.file.write_all(b"new").unwrap();
            temp.become_file(&target, force)
        };
        write(false).unwrap();
        std::fs::write(&target, b"old").unwrap();
        assert_eq!(write(false).unwrap_err().exit, Exit::Usage);
        assert_eq!(std::fs::read(&target).unwrap(), b"old");
        write(true).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
