//! `casedrop list`: the files and what became of each.

use std::path::Path;

use clap::builder::PossibleValuesParser;
use globset::{GlobBuilder, GlobMatcher};
use serde::Serialize;

use super::context::{self, Known};
use super::exit::{Ended, Exit, Failed};
use super::out::Out;
use super::place::unescape;
use super::words::{Columns, plain, span};
use crate::config::Config;
use crate::core::model::{Attachment, FileRow, MirrorId, Stage, Verdict};
use crate::core::routing::Named;
use crate::core::sidecar::Beside;
use crate::journal::{JournalError, Reader};
use crate::types::{CaseArn, FileId, RelPath, UnixMillis};

/// Files with verdict, case, FileId and age.
///
/// Columns: verdict, time since it holds, case id, FileId, mirror, path, note. Names that are no plain text are
/// shown with \xNN, a form that every command takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casedrop list                            every file
  casedrop list 'letters/*.pdf'            by a glob on the path below the root
  casedrop list letters/2026               what begins like this
  casedrop list --verdict parked           what waits for a person
  casedrop list --json | jq -r 'select(.verdict == \"parked\") | .path'")]
pub struct Args {
    /// A glob (* and ? stop at /, ** does not; without / it fits at any depth) or the beginning of a path.
    pattern: Option<std::ffi::OsString>,
    /// Only this mirror.
    #[arg(long, value_name = "NAME")]
    mirror: Option<String>,
    /// Only files with this verdict; may be given several times.
    #[arg(long, value_name = "WORD", value_parser = PossibleValuesParser::new(Verdict::WORDS))]
    verdict: Vec<String>,
    /// One JSON object on each line, for scripts.
    #[arg(long)]
    json: bool,
}

/// Files read at once: memory stays flat, and columns settle quickly.
const PAGE: usize = 500;

#[derive(Debug, Serialize)]
struct Line<'a> {
    mirror: &'a str,
    path: &'a RelPath,
    verdict: &'a str,
    /// Park code, rule or reason.
    detail: Option<&'a str>,
    note: Option<&'a str>,
    since: String,
    size: u64,
    sha256: Option<String>,
    case: Option<CaseArn>,
    file_id: Option<FileId>,
    name: Option<String>,
    next_attempt: Option<String>,
    absent_since: Option<String>,
    /// Of a file that is gone here and not kept: the end of its grace.
    delete_after: Option<String>,
}

pub fn run(args: &Args, config: Option<&Path>, out: &mut Out) -> Ended {
    let config = context::config(config)?;
    let Some(mut reader) = context::reader(&config)? else {
        // Nothing was asked wrongly and nothing is broken: an empty list, and a word on stderr.
        return Err(Failed::new(Exit::Done, context::no_journal(&config)));
    };
    let mirrors = context::only(context::mirrors(&config, &reader)?, args.mirror.as_deref())?;
    let now = UnixMillis::now();
    let domain = config.connect.domain_arn();
    let domain = domain.as_deref();
    let mut columns = Columns::default();
    for mirror in &mirrors {
        let Some(id) = mirror.id else { continue };
        let wanted = args.pattern.as_deref().map(|pattern| Wanted::new(pattern, mirror)).transpose()?;
        let mut after: Option<RelPath> = None;
        loop {
            let page = page(&config, &mut reader, id, after.as_ref(), &args.verdict)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.path.clone());
            let mut shown = page.iter().filter(|(row, _)| {
                (args.verdict.is_empty() || args.verdict.iter().any(|word| word == row.verdict.word()))
                    && wanted.as_ref().is_none_or(|wanted| wanted.fits(&row.path))
            });
            if args.json {
                shown.try_for_each(|(row, best)| out.json(&line(mirror, row, best.as_ref(), domain)))?;
            } else {
                let rows: Vec<_> = shown.map(|(row, best)| cells(mirror, row, best.as_ref(), domain, now)).collect();
                rows.iter().for_each(|row| columns.fit(row.get(..6).unwrap_or_default()));
                rows.iter().try_for_each(|row| writeln!(out, "{}", columns.line(row)))?;
            }
        }
    }
    Ok(Exit::Done)
}

type Page = Vec<(FileRow, Option<Attachment>)>;

/// The next files and the attachment that tells most of each. A reader overtaken by a starting daemon is replaced.
fn page(
    config: &Config,
    reader: &mut Reader,
    mirror: MirrorId,
    after: Option<&RelPath>,
    verdicts: &[String],
) -> Result<Page, Failed> {
    let read = |reader: &Reader| {
        reader.at_one_moment(|view| {
            let rows = match verdicts {
                [word] => view.files_with(mirror, word, after, PAGE)?,
                _ => view.files_from(mirror, after, PAGE)?,
            };
            let with = |row: FileRow| Ok((best(view.attachments_of(mirror, &row.path)?), row));
            rows.into_iter().map(|row| with(row).map(|(best, row)| (row, best))).collect::<Result<Page, JournalError>>()
        })
    };
    let page = read(reader);
    if !reader.overtaken() {
        return Ok(page?);
    }
    *reader = Reader::open(&config.journal_path)?;
    Ok(read(reader)?)
}

/// The attachment to show: the one agents see, else the newest that is not gone.
pub fn best(attachments: Vec<Attachment>) -> Option<Attachment> {
    let rank = |attachment: &Attachment| match attachment.stage {
        Stage::Approved => 3,
        Stage::Planned | Stage::Started | Stage::Stored | Stage::Completed => 2,
        Stage::Rejected | Stage::Failed | Stage::Deleting => 1,
        Stage::Abandoned | Stage::Deleted => 0,
    };
    attachments.into_iter().filter(|a| rank(a) > 0).max_by_key(|a| (rank(a), a.id))
}

/// The case of the file's attachment, else the one that its path names; a sidecar is not read for a list.
fn case_of(mirror: &Known, row: &FileRow, best: Option<&Attachment>, domain: Option<&str>) -> Option<CaseArn> {
    let by_path = || match mirror.config.as_ref()?.routing.name(&row.path, &Beside::Nothing, domain) {
        Ok(Named::Case(case)) => Some(case),
        Ok(Named::Reference(_)) | Err(_) => None,
    };
    best.map(|attachment| attachment.case.clone()).or_else(by_path)
}

fn line<'a>(mirror: &'a Known, row: &'a FileRow, best: Option<&Attachment>, domain: Option<&str>) -> Line<'a> {
    Line {
        mirror: &mirror.name,
        path: &row.path,
        verdict: row.verdict.word(),
        detail: row.verdict.detail(),
        note: row.note.as_deref(),
        since: row.since.to_string(),
        size: row.stat.size,
        sha256: row.hash.map(|hash| hash.to_string()),
        case: case_of(mirror, row, best, domain),
        file_id: best.and_then(|a| a.file_id.clone()),
        name: best.map(|a| a.name.clone()),
        next_attempt: row.next_attempt.map(|at| at.to_string()),
        absent_since: row.absent_since.map(|at| at.to_string()),
        delete_after: delete_after(mirror, row).map(|at| at.to_string()),
    }
}

fn delete_after(mirror: &Known, row: &FileRow) -> Option<UnixMillis> {
    let grace = mirror.config.as_ref()?.delete_grace;
    let since = row.absent_since.filter(|_| row.verdict == Verdict::Deleting)?;
    Some(since.plus(grace))
}

fn cells(
    mirror: &Known,
    row: &FileRow,
    best: Option<&Attachment>,
    domain: Option<&str>,
    now: UnixMillis,
) -> Vec<String> {
    let none = || "-".to_owned();
    // Codes and reasons are short; rules are sentences and belong to the note.
    let (verdict, reason) = match &row.verdict {
        Verdict::Ignored(text) => (row.verdict.word().to_owned(), Some(text.as_str())),
        verdict => (verdict.to_string(), None),
    };
    let note: Vec<String> = [reason, row.note.as_deref()].into_iter().flatten().map(plain).collect();
    vec![
        verdict,
        span(now.since(row.since)),
        case_of(mirror, row, best, domain).map_or_else(none, |case| case.case_id().to_owned()),
        best.and_then(|a| a.file_id.as_ref()).map_or_else(none, ToString::to_string),
        mirror.name.clone(),
        row.path.to_string(),
        note.join("; "),
    ]
}

/// What PATTERN means in one mirror.
enum Wanted {
    Glob(GlobMatcher),
    Beginning(Vec<u8>),
}

impl Wanted {
    fn new(pattern: &std::ffi::OsStr, mirror: &Known) -> Result<Self, Failed> {
        use std::os::unix::ffi::OsStrExt as _;
        let bytes = unescape(pattern.as_bytes());
        // A path that begins with the root means what is below it.
        let root = [mirror.root.as_os_str().as_bytes(), b"/"].concat();
        let bytes = bytes.strip_prefix(root.as_slice()).or(bytes.strip_prefix(b"./")).unwrap_or(&bytes);
        if !bytes.iter().any(|b| b"*?[{".contains(b)) {
            return Ok(Self::Beginning(bytes.to_vec()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Failed::usage("a glob must be UTF-8"))?;
        let text = if text.contains('/') { text.trim_start_matches('/').to_owned() } else { format!("**/{text}") };
        let glob = GlobBuilder::new(&text).literal_separator(true).build();
        let glob = glob.map_err(|e| Failed::usage(format!("the pattern is no glob: {}", e.kind())))?;
        Ok(Self::Glob(glob.compile_matcher()))
    }

    fn fits(&self, path: &RelPath) -> bool {
        match self {
            Self::Glob(glob) => glob.is_match(path.as_path()),
            Self::Beginning(bytes) => path.as_bytes().starts_with(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn patterns_are_globs_or_beginnings() {
        let mirror = Known { name: "m".into(), root: PathBuf::from("/srv/m"), id: None, row: None, config: None };
        for (pattern, path, fits) in [
            ("*.pdf", "x/y/a.pdf", true),
            ("x/*.pdf", "x/a.pdf", true),
            ("x/*.pdf", "x/y/a.pdf", false),
            ("x/**/*.pdf", "x/y/a.pdf", true),
            ("x/y", "x/y/a.pdf", true),
            ("x/y", "x/z", false),
            ("/srv/m/x", "x/a.pdf", true),
            ("./x", "x/a.pdf", true),
        ] {
            let wanted = Wanted::new(OsStr::new(pattern), &mirror).unwrap();
            assert_eq!(wanted.fits(&RelPath::new(path.as_bytes()).unwrap()), fits, "{pattern} on {path}");
        }
        let wanted = Wanted::new(OsStr::new(r"caf\xe9"), &mirror).unwrap();
        assert!(wanted.fits(&RelPath::new(&b"caf\xe9.pdf"[..]).unwrap()));
        assert!(Wanted::new(OsStr::new("[a"), &mirror).is_err());
    }
}
