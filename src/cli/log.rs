//! `casedrop log`: the audit trail, as it stands or as it grows.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::context::{self, Known};
use super::exit::{Ended, Exit, Failed};
use super::out::Out;
use super::place;
use super::words::plain;
use crate::config::Config;
use crate::core::model::{Event, MirrorId};
use crate::core::routing::{Routing, parse_uuid};
use crate::journal::{EventFilter, Reader};
use crate::types::{CaseArn, RelPath, UnixMillis};

/// The audit trail: what was done to which file, when and why.
///
/// Without --since and --limit the newest 100 entries, oldest first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casedrop log --follow                              as it happens, until Ctrl-C
  casedrop log --since 1h
  casedrop log --since 2026-03-01T08:00:00Z --mirror claims
  casedrop log --file /srv/claims/letter.pdf
  casedrop log --case 5a5d0000-0000-4000-8000-0000000000c1 --json")]
pub struct Args {
    /// Goes on with what is added, until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
    /// One JSON object on each line, for scripts.
    #[arg(long)]
    json: bool,
    /// Only this mirror.
    #[arg(long, value_name = "NAME")]
    mirror: Option<String>,
    /// Only this file.
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    file: Option<OsString>,
    /// Only attachments on this case.
    #[arg(long, value_name = "ID|ARN")]
    case: Option<String>,
    /// Not before: a time (RFC 3339) or how long ago (30s, 15m, 1h, 2d).
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Since>,
    /// The newest N entries; 0 = all.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    At(UnixMillis),
    Ago(Duration),
}

/// Entries read at once.
const PAGE: usize = 1_000;
/// Newest entries shown when nothing says how many.
const DEFAULT_LIMIT: usize = 100;
/// How often `--follow` looks.
const POLL: Duration = Duration::from_millis(500);

fn since(text: &str) -> Result<Since, String> {
    let text = text.trim();
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(Since::At(UnixMillis(at.as_millisecond())));
    }
    let wrong = || "write a time such as 2026-03-01T08:00:00Z, or 30s, 15m, 1h, 2d".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text.strip_suffix(unit).unwrap_or_default().trim().parse().map_err(|_| wrong())?;
    Ok(Since::Ago(Duration::from_secs(number.checked_mul(seconds).ok_or_else(wrong)?)))
}

impl Since {
    fn from(self, now: UnixMillis) -> UnixMillis {
        match self {
            Self::At(at) => at,
            Self::Ago(span) => UnixMillis(now.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX))),
        }
    }
}

/// Which entries, with what the arguments mean looked up.
struct Filter {
    mirror: Option<MirrorId>,
    path: Option<RelPath>,
    case: Option<CaseArn>,
    since: Option<UnixMillis>,
}

impl Filter {
    fn after(&self, id: Option<i64>) -> EventFilter<'_> {
        EventFilter {
            after_id: id,
            mirror: self.mirror,
            path: self.path.as_ref(),
            case: self.case.as_ref(),
            since: self.since,
            limit: Some(PAGE),
            newest_first: false,
        }
    }
}

pub fn run(args: &Args, config: Option<&Path>, out: &mut Out) -> Ended {
    let config = context::config(config)?;
    let mut reader = context::reader(&config)?;
    if reader.is_none() && !args.follow {
        return Err(Failed::new(Exit::Done, context::no_journal(&config)));
    }
    let case = args.case.as_deref().map(|text| case(&config, text)).transpose()?;
    let mut last = 0;
    let mut filter = None;
    if let Some(reader) = &reader {
        let looked_up = look_up(args, &config, reader, case.clone())?;
        last = show_past(args, reader, &looked_up, out)?;
        filter = Some(looked_up);
    }
    if !args.follow {
        return Ok(Exit::Done);
    }
    out.flush()?;
    context::runtime(false)?.block_on(async {
        let stop = tokio::signal::ctrl_c();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                // Nothing is lost: the cursor stands behind the last line written.
                _ = &mut stop => return Ok(Exit::Done),
                () = tokio::time::sleep(POLL) => {}
            }
            // A reader opened without a daemon sees nothing new; one that is overtaken sees nonsense.
            if reader.as_ref().is_none_or(Reader::overtaken) {
                reader = context::reader(&config)?;
            }
            let Some(open) = &reader else { continue };
            if filter.as_ref().is_none_or(|f: &Filter| f.mirror.is_none() && args.mirror.is_some()) {
                filter = Some(look_up(args, &config, open, case.clone())?);
            }
            let Some(filter) = &filter else { continue };
            let newest = open.last_event_id();
            match newest {
                _ if open.overtaken() => {}
                Ok(newest) if newest > last => {
                    last = show_from(open, filter, last, out, args.json)?.max(newest);
                    out.flush()?;
                }
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
        }
    })
}

fn look_up(args: &Args, config: &Config, reader: &Reader, case: Option<CaseArn>) -> Result<Filter, Failed> {
    let mirrors = context::only(context::mirrors(config, reader)?, args.mirror.as_deref())?;
    let mut filter =
        Filter { mirror: None, path: None, case, since: args.since.map(|since| since.from(UnixMillis::now())) };
    let known = |mirror: &Known, path: &RelPath| {
        let id = mirror.id;
        let events =
            id.map(|id| EventFilter { mirror: Some(id), path: Some(path), limit: Some(1), ..EventFilter::default() });
        events.is_some_and(|events| reader.events(&events).is_ok_and(|list| !list.is_empty()))
    };
    let of_mirror = |at: usize| {
        let mirror = mirrors.get(at);
        let id = mirror.and_then(|mirror| mirror.id);
        // An id that no row has, so that a mirror without a past shows nothing instead of everything.
        id.unwrap_or(MirrorId(0))
    };
    if let Some(file) = &args.file {
        let (at, path) = place::find(file, &super::current_dir()?, &mirrors, &known)?;
        filter.mirror = Some(of_mirror(at));
        filter.path = Some(path);
    } else if args.mirror.is_some() {
        filter.mirror = Some(of_mirror(0));
    }
    Ok(filter)
}

/// The case that `--case` means.
fn case(config: &Config, text: &str) -> Result<CaseArn, Failed> {
    if let Some(arn) = CaseArn::new(text) {
        return Ok(arn);
    }
    let id =
        parse_uuid(text).ok_or_else(|| Failed::usage(format!("{text:?} is no case id (a UUID) and no case ARN")))?;
    let named = config.mirrors.iter().find_map(|mirror| match &mirror.routing {
        Routing::Arn(arn) if arn.case_id() == id => Some(arn.clone()),
        Routing::Arn(_) | Routing::Id(_) | Routing::ByPath(_) | Routing::BySidecar => None,
    });
    let in_domain = || CaseArn::in_domain(&config.connect.domain_arn()?, &id);
    named.or_else(in_domain).ok_or_else(|| {
        Failed::usage("the configuration does not tell the ARN of the Cases domain").hint("give the case's whole ARN")
    })
}

/// Shows what is there and returns the id to go on from.
fn show_past(args: &Args, reader: &Reader, filter: &Filter, out: &mut Out) -> Result<i64, Failed> {
    let mut last = reader.last_event_id()?;
    let limit = match (args.limit, args.since) {
        (Some(0), _) | (None, Some(_)) => None,
        (Some(limit), _) => Some(limit),
        (None, None) => Some(DEFAULT_LIMIT),
    };
    match limit {
        // Paged from the first on: memory stays flat however long the trail is.
        None => last = last.max(show_from(reader, filter, 0, out, args.json)?),
        Some(limit) => {
            let newest = EventFilter { limit: Some(limit), newest_first: true, ..filter.after(None) };
            let mut events = reader.events(&newest)?;
            events.reverse();
            let names = names(reader)?;
            events.iter().try_for_each(|event| show(event, &names, args.json, out))?;
            last = events.iter().map(|event| event.id).fold(last, i64::max);
        }
    }
    Ok(last)
}

/// Shows what comes after an id; returns the id of the last one shown, which may have been written just now.
fn show_from(reader: &Reader, filter: &Filter, after: i64, out: &mut Out, json: bool) -> Result<i64, Failed> {
    let names = names(reader)?;
    let mut after = after;
    loop {
        let page = reader.events(&filter.after(Some(after)))?;
        let Some(newest) = page.last() else { return Ok(after) };
        after = newest.id;
        page.iter().try_for_each(|event| show(event, &names, json, out))?;
    }
}

fn names(reader: &Reader) -> Result<BTreeMap<MirrorId, String>, Failed> {
    Ok(reader.mirrors()?.into_iter().map(|mirror| (mirror.id, mirror.name)).collect())
}

fn show(event: &Event, names: &BTreeMap<MirrorId, String>, json: bool, out: &mut Out) -> Result<(), Failed> {
    let mirror = names.get(&event.mirror).map_or("?", String::as_str);
    if json {
        return out.json(&json_of(event, mirror));
    }
    let path = event.path.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let line = format!("{}  {mirror}  {:<14}  {path}  {}", event.at, event.kind, text_of(event, event.path.as_ref()));
    writeln!(out, "{}", line.trim_end())
}

/// An entry for scripts.
pub fn json_of(event: &Event, mirror: &str) -> Value {
    serde_json::json!({
        "id": event.id, "at": event.at.to_string(), "mirror": mirror, "path": event.path,
        "attachment": event.attachment.map(|id| id.0), "kind": event.kind, "detail": event.detail,
    })
}

/// An entry's words and evidence: the text, then `key=value` of the rest. `path` is shown elsewhere already.
pub fn text_of(event: &Event, path: Option<&RelPath>) -> String {
    let mut parts = Vec::new();
    if let Some(text) = event.detail.get("text").and_then(Value::as_str).filter(|text| !text.is_empty()) {
        parts.push(plain(text));
    }
    if let Some(at) = event.path.as_ref().filter(|at| path != Some(at)) {
        parts.push(format!("(then at {at})"));
    }
    let rest = event.detail.as_object().into_iter().flatten().filter(|(key, _)| *key != "text" && *key != "remedy");
    for (key, value) in rest {
        match value {
            Value::Null => {}
            Value::String(text) => parts.push(format!("{key}={}", plain(text))),
            other => parts.push(format!("{key}={other}")),
        }
    }
    parts.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::model::EventKind;

    #[test]
    fn times_are_absolute_or_ago() {
        assert_eq!(since("1h"), Ok(Since::Ago(Duration::from_secs(3_600))));
        assert_eq!(since("2d"), Ok(Since::Ago(Duration::from_secs(172_800))));
        assert_eq!(since("1970-01-01T00:00:01Z"), Ok(Since::At(UnixMillis(1_000))));
        for bad in ["", "h", "1", "1w", "-1h", "1é", "99999999999999999999d"] {
            assert!(since(bad).is_err(), "{bad}");
        }
        assert_eq!(Since::Ago(Duration::from_secs(1)).from(UnixMillis(5_000)), UnixMillis(4_000));
    }

    #[test]
    fn an_entry_shows_its_words_and_evidence() {
        let event = Event {
            id: 1,
            at: UnixMillis(0),
            mirror: MirrorId(1),
            path: RelPath::new(&b"a"[..]),
            attachment: None,
            kind: EventKind::Attached,
            detail: serde_json::json!({"text": "agents\nsee it", "file_id": "f-1", "attempt": 2, "request_id": null}),
        };
        assert_eq!(text_of(&event, event.path.as_ref()), "agents see it  attempt=2  file_id=f-1");
        assert!(text_of(&event, None).contains("(then at a)"));
    }
}
