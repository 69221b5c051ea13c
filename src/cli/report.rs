//! `casedrop report`: every file that arrived on one day and its end, with totals that add up, to reconcile with what
//! a scanner or fax server says it sent. Needs the journal only.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::context;
use super::exit::{Ended, Exit, Failed};
use super::out::Out;
use super::words::{Columns, files, plain};
use crate::core::model::{Attachment, AttachmentId, Event, EventKind, MirrorId};
use crate::core::report::{self, End};
use crate::journal::{JournalError, View};
use crate::types::{ByteCount, CaseArn, FileId, RelPath, UnixMillis};

/// Every file that arrived on one day and its end.
///
/// A day is one of this host's time zone. A file arrives when casedrop first sees it, and again when its path is used
/// for another file; it has one end: where it stands now. The totals add up to what arrived.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  casedrop report                          today
  casedrop report --day yesterday
  casedrop report --day 2026-03-01 --mirror fax --csv > fax.csv
  casedrop report --day 2026-03-01 --json | jq .totals")]
pub struct Args {
    /// YYYY-MM-DD, `today` or `yesterday`.
    #[arg(long, value_name = "DAY", default_value = "today")]
    day: String,
    /// Only this mirror.
    #[arg(long, value_name = "NAME")]
    mirror: Option<String>,
    /// One line for each file, for spreadsheets; totals are left out.
    #[arg(long)]
    csv: bool,
    /// One JSON object, for scripts.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
}

/// Arrivals read at once.
const PAGE: usize = 500;

#[derive(Debug, Serialize)]
struct Report {
    day: String,
    time_zone: String,
    from: String,
    to: String,
    arrived: u64,
    /// Files by their end, zeros included; together they are `arrived`.
    totals: BTreeMap<&'static str, u64>,
    /// Bytes that agents can see of what arrived.
    delivered_bytes: u64,
    files: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    arrived_at: String,
    mirror: String,
    path: RelPath,
    end: &'static str,
    /// Park code, reason, or where the file is now.
    detail: Option<String>,
    ended_at: Option<String>,
    size: Option<u64>,
    sha256: Option<String>,
    case: Option<CaseArn>,
    attachment_name: Option<String>,
    file_id: Option<FileId>,
}

/// The day as a span of time: from, and before.
struct Day {
    date: Date,
    zone: TimeZone,
    from: UnixMillis,
    to: UnixMillis,
}

impl Day {
    fn parse(text: &str, zone: TimeZone, now: UnixMillis) -> Result<Self, Failed> {
        let today = || jiff::Timestamp::from_millisecond(now.0).map(|now| now.to_zoned_datetime(zone.clone()).date());
        let date = match text.trim() {
            "today" => today(),
            "yesterday" => today().and_then(|today| today.yesterday()),
            text => text.parse(),
        };
        let wrong = |_| Failed::usage(format!("{text:?} is no day: write YYYY-MM-DD, today or yesterday"));
        let date: Date = date.map_err(wrong)?;
        // Midnight to midnight, whatever the clocks did between them.
        let start =
            |date: Date| date.to_zoned_datetime(zone.clone()).map(|z| UnixMillis(z.timestamp().as_millisecond()));
        let from = start(date).map_err(wrong)?;
        let to = date.tomorrow().and_then(start).map_err(wrong)?;
        Ok(Self { date, zone, from, to })
    }

    /// A time as this host's clocks show it.
    fn local(&self, at: UnixMillis) -> String {
        match jiff::Timestamp::from_millisecond(at.0) {
            Ok(at) => at.to_zoned_datetime(self.zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
            Err(_) => at.to_string(),
        }
    }

    fn zone_name(&self) -> String {
        let offset = jiff::Timestamp::from_millisecond(self.from.0)
            .map_or_else(|_| String::new(), |at| at.to_zoned_datetime(self.zone.clone()).strftime("%:z").to_string());
        match self.zone.iana_name() {
            Some(name) => format!("{name} ({offset})"),
            None => offset,
        }
    }
}

pub fn run(args: &Args, config: Option<&Path>, out: &mut Out) -> Ended {
    let config = context::config(config)?;
    let day = Day::parse(&args.day, TimeZone::system(), UnixMillis::now())?;
    let (report, exists) = context::ask(&config, |view| {
        let known = match context::only(context::mirrors(&config, view)?, args.mirror.as_deref()) {
            Ok(known) => known,
            Err(failed) => return Ok(Err(failed)),
        };
        let names: BTreeMap<MirrorId, String> =
            known.into_iter().filter_map(|mirror| Some((mirror.id?, mirror.name))).collect();
        Ok(Ok(look(view, &day, &names)?))
    })?;
    let report = report?;
    if !exists {
        return Err(Failed::new(Exit::Done, context::no_journal(&config)));
    }
    if args.json {
        out.pretty(&report)?;
    } else if args.csv {
        csv(&report, out)?;
    } else {
        show(&report, out)?;
    }
    Ok(Exit::Done)
}

fn look(view: &View, day: &Day, names: &BTreeMap<MirrorId, String>) -> Result<Report, JournalError> {
    let mut report = Report {
        day: day.date.to_string(),
        time_zone: day.zone_name(),
        from: day.local(day.from),
        to: day.local(day.to),
        arrived: 0,
        totals: End::ALL.iter().map(|end| (end.as_str(), 0)).collect(),
        delivered_bytes: 0,
        files: Vec::new(),
    };
    let mut after = 0;
    loop {
        let page = view.arrivals(day.from, day.to, after, PAGE)?;
        let Some(last) = page.last() else { break };
        after = last.id;
        for arrival in &page {
            let (Some(name), Some(path)) = (names.get(&arrival.mirror), &arrival.path) else { continue };
            let line = line(view, day, name, path, arrival)?;
            report.arrived += 1;
            *report.totals.entry(line.end).or_default() += 1;
            if matches!(line.end, "attached" | "archived" | "removed" | "left") {
                report.delivered_bytes += line.size.unwrap_or(0);
            }
            report.files.push(line);
        }
    }
    Ok(report)
}

fn line(view: &View, day: &Day, mirror: &str, path: &RelPath, arrival: &Event) -> Result<Line, JournalError> {
    let events = view.life_from(arrival.mirror, path, arrival.id)?;
    let mut attachments: BTreeMap<AttachmentId, Attachment> = BTreeMap::new();
    for event in &events {
        if let Some(id) = event.attachment
            && !attachments.contains_key(&id)
            && let Some(attachment) = view.attachment(id)?
        {
            attachments.insert(id, attachment);
        }
    }
    // The scan of an earlier file of this path may end in this one's life. (By ids: a clock can be stepped.)
    let mut earlier = Vec::new();
    for id in attachments.keys() {
        if view.first_event_of(*id)?.is_some_and(|first| first < arrival.id) {
            earlier.push(*id);
        }
    }
    let is_own = |event: &Event| event.attachment.is_none_or(|id| !earlier.contains(&id));
    let course = report::course(&events, |event| event.kind != EventKind::Attached || is_own(event));
    let at = |id: Option<i64>| id.and_then(|id| events.iter().find(|event| event.id == id));
    let shown = at(course.attached_by).and_then(|event| attachments.get(&event.attachment?));
    let shown = shown.or_else(|| attachments.values().rev().find(|a| !earlier.contains(&a.id)));
    let seen_size = arrival.detail.get("size").and_then(serde_json::Value::as_u64);
    Ok(Line {
        arrived_at: day.local(arrival.at),
        mirror: mirror.to_owned(),
        path: path.clone(),
        end: course.end.as_str(),
        detail: course.detail,
        ended_at: at(course.decided_by).filter(|_| course.end != End::Waiting).map(|event| day.local(event.at)),
        size: shown.map(|a| a.version.size).or(seen_size),
        sha256: shown.map(|a| a.version.hash.to_string()),
        case: shown.map(|a| a.case.clone()),
        attachment_name: shown.map(|a| a.name.clone()),
        file_id: shown.and_then(|a| a.file_id.clone()),
    })
}

fn show(report: &Report, out: &mut Out) -> Result<(), Failed> {
    writeln!(out, "{}, time zone {}: {} to {}", report.day, report.time_zone, report.from, report.to)?;
    if report.arrived == 0 {
        return writeln!(out, "no file arrived");
    }
    let rows: Vec<Vec<String>> = report
        .files
        .iter()
        .map(|line| {
            vec![
                line.arrived_at.get(11..19).unwrap_or_default().to_owned(),
                line.end.to_owned(),
                line.case.as_ref().map_or_else(|| "-".to_owned(), |case| case.case_id().to_owned()),
                line.mirror.clone(),
                line.path.to_string(),
                line.detail.as_deref().map(plain).unwrap_or_default(),
            ]
        })
        .collect();
    let mut columns = Columns::default();
    rows.iter().for_each(|row| columns.fit(row.get(..5).unwrap_or_default()));
    writeln!(out)?;
    rows.iter().try_for_each(|row| writeln!(out, "{}", columns.line(row)))?;
    writeln!(out, "\n{} arrived, {} delivered:", files(report.arrived), ByteCount(report.delivered_bytes))?;
    for end in End::ALL {
        let count = report.totals.get(end.as_str()).copied().unwrap_or(0);
        if count > 0 {
            writeln!(out, "  {count:>6}  {:<11}  {}", end.as_str(), end.meaning())?;
        }
    }
    Ok(())
}

fn csv(report: &Report, out: &mut Out) -> Result<(), Failed> {
    const HEAD: &str = "arrived_at,mirror,path,end,detail,ended_at,size,sha256,case_arn,attachment_name,file_id";
    write!(out, "{HEAD}\r\n")?;
    for line in &report.files {
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let cells = [
            line.arrived_at.clone(),
            line.mirror.clone(),
            line.path.to_string(),
            line.end.to_owned(),
            text(line.detail.as_deref()),
            text(line.ended_at.as_deref()),
            line.size.map(|size| size.to_string()).unwrap_or_default(),
            text(line.sha256.as_deref()),
            text(line.case.as_ref().map(CaseArn::as_str)),
            text(line.attachment_name.as_deref()),
            text(line.file_id.as_ref().map(FileId::as_str)),
        ];
        let cells: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
        write!(out, "{}\r\n", cells.join(","))?;
    }
    Ok(())
}

/// A cell as RFC 4180 has it. Names come from outside: one that a spreadsheet would take for a formula gets a `'`.
fn quoted(cell: &str) -> String {
    let guard = if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    if cell.contains([',', '"', '\n', '\r']) || !guard.is_empty() {
        format!("\"{guard}{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_one_of_the_hosts_zone_whatever_its_clocks_do() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let hours = |text: &str| {
            let day = Day::parse(text, zone.clone(), UnixMillis(0)).unwrap();
            (day.to.0 - day.from.0) / 3_600_000
        };
        assert_eq!((hours("2026-03-28"), hours("2026-03-29"), hours("2026-10-25")), (24, 23, 25));
        let day = Day::parse("2026-03-29", zone.clone(), UnixMillis(0)).unwrap();
        assert_eq!(
            (day.local(day.from), day.local(day.to)),
            ("2026-03-29T00:00:00+01:00".into(), "2026-03-30T00:00:00+02:00".into())
        );
        // 23:30 UTC is the next day there.
        let late = UnixMillis(1_767_223_800_000);
        assert_eq!(late.to_string(), "2025-12-31T23:30:00Z");
        assert_eq!(Day::parse("today", zone.clone(), late).unwrap().date.to_string(), "2026-01-01");
        assert_eq!(Day::parse("yesterday", zone.clone(), late).unwrap().date.to_string(), "2025-12-31");
        for bad in ["", "2026-13-01", "01.02.2026", "tomorrow"] {
            assert!(Day::parse(bad, zone.clone(), late).is_err(), "{bad}");
        }
    }

    #[test]
    fn cells_cannot_break_out() {
        for (cell, expected) in [
            ("a.pdf", "a.pdf"),
            ("a, b", "\"a, b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("=HYPERLINK(1)", "\"'=HYPERLINK(1)\""),
            ("a\r\nb", "\"a\r\nb\""),
            ("", ""),
        ] {
            assert_eq!(quoted(cell), expected);
        }
    }
}
