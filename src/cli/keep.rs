//! `casedrop keep`: calls deletes back.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use super::context::{self, Known};
use super::exit::{Ended, Exit, Failed};
use super::out::Out;
use super::words::plain;
use super::{logging, place, retry};
use crate::control::Request;
use crate::journal::{JournalError, View};
use crate::types::RelPath;

/// Calls deletes back: the attachments stay at Connect although their files are gone.
///
/// For files that wait for the end of `delete_grace`, for a hold, or for their delete to be sent; a delete that was sent
/// cannot be called back. When the file comes back, it is followed again as any other, and a later delete counts.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casedrop list --verdict deleting         what waits, and until when
  casedrop keep /srv/claims/letter.pdf
  casedrop keep /srv/claims/2025           everything that is gone below a folder")]
pub struct Args {
    /// The files, or folders: then all that waits below them.
    #[arg(value_name = "PATH", required = true, value_hint = clap::ValueHint::AnyPath)]
    paths: Vec<OsString>,
    /// The mirror they are in.
    #[arg(long, value_name = "NAME")]
    mirror: Option<String>,
}

pub fn run(args: &Args, config: Option<&Path>, out: &mut Out) -> Ended {
    let config = context::config(config)?;
    logging::start(&config.log, "warn")?;
    let current = super::current_dir()?;
    let (found, _) = context::ask(&config, |view| {
        let mirrors = match context::only(context::mirrors(&config, view)?, args.mirror.as_deref()) {
            Ok(mirrors) => mirrors,
            Err(failed) => return Ok(Err(failed)),
        };
        let known = |mirror: &Known, path: &RelPath| rows(view, mirror, path).is_ok_and(|rows| !rows.is_empty());
        let mut wanted: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        let found = match place::find_all(&args.paths, &current, &mirrors, &known) {
            Ok(found) => found,
            Err(failed) => return Ok(Err(failed)),
        };
        for (mirror, path) in found {
            let rows = rows(view, mirror, &path)?;
            if rows.is_empty() {
                let failed = Failed::usage(format!("nothing at {path} of mirror {} waits to be deleted", mirror.name));
                return Ok(Err(failed.hint("see `casedrop list --verdict deleting`")));
            }
            wanted.entry(mirror.name.clone()).or_default().extend(rows);
        }
        Ok(Ok(wanted))
    })?;
    let runtime = context::runtime(true)?;
    let mut exit = Exit::Done;
    for (mirror, paths) in found? {
        let asked = paths.len() as u64;
        let request = Request::Keep { mirror: mirror.clone(), paths };
        let reply = runtime.block_on(Box::pin(retry::send(&config, &request)))?;
        for line in reply.text.lines() {
            writeln!(out, "{mirror}: {}", plain(line))?;
        }
        if reply.done < asked {
            exit = Exit::Parked;
        }
    }
    Ok(exit)
}

/// The file itself, if it is known, or what waits below the folder.
fn rows(view: &View, mirror: &Known, path: &RelPath) -> Result<Vec<Vec<u8>>, JournalError> {
    let Some(id) = mirror.id else { return Ok(Vec::new()) };
    if view.file(id, path)?.is_some() {
        return Ok(vec![path.as_bytes().to_vec()]);
    }
    let mut below = Vec::new();
    let mut scan = view.scan(id, Some(path))?;
    let mut rows = scan.rows()?;
    while let Some(row) = rows.next()? {
        if row.verdict == "deleting" {
            below.push(row.path.to_vec());
        }
    }
    Ok(below)
}
