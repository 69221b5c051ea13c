//! From TOML to a checked [`Config`].

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::ops::{Range, RangeInclusive};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use super::ingest::{ingest, suffix};
use super::load::origin;
use super::problem::Sink;
use super::section::Section;
use super::{
    Config, Connect, Convert, DeletePolicy, Domain, Env, Hooks, Limits, Log, LogFormat, Mirror, Places, Problem,
    WatchMode, defaults,
};
use crate::core::budget::DeleteBudget;
use crate::core::convert;
use crate::core::hook::HookEvent;
use crate::core::naming::FileNaming;
use crate::core::routing::{Routing, parse_uuid};
use crate::core::scope::{Scope, ScopeList};
use crate::core::sidecar::{MAX_TAGS, check_tag};

const MAX_MIRROR_NAME: usize = 64;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Bytes per second: less would starve every upload, more is no limit.
const BANDWIDTH: RangeInclusive<u64> = (1 << 10)..=(1 << 40);

impl Config {
    /// Checks the text of a file; `path` is its name in problems, `env` finds the default place of the journal.
    ///
    /// # Errors
    /// Every problem, in the order of the lines.
    pub fn parse(text: &str, path: &Path, env: Env<'_>) -> Result<Self, Vec<Problem>> {
        let mut problems = Sink::new(text, origin(path));
        let document = match DeTable::parse(text) {
            Ok(document) => document,
            Err(e) => {
                problems.syntax(e.span().map_or(0, |span| span.start), e.message());
                return Err(problems.into_problems());
            }
        };
        let root = Section::root(document.get_ref());
        let sink = &mut problems;
        root.check_keys(sink, "");
        let connect_section = root.table(sink, "connect");
        let has_domain = connect_section.has("cases_domain");
        let connect = connect(sink, &connect_section);
        let journal = root.table(sink, "journal");
        let journal_path = journal_path(sink, &journal, env);
        let section = root.table(sink, "limits");
        let limits = limits(sink, &section);
        let section = root.table(sink, "log");
        let log = log(sink, &section);
        let section = root.table(sink, "hooks");
        let hooks = hooks(sink, &section);
        let mut places = Places { origin: origin(path), ..Places::default() };
        places.journal_line = journal.span("path").map(|span| sink.line(span.start));
        let mut sections = root.tables(sink, "mirror");
        if !root.has("mirror") || root.is_empty_list("mirror") {
            let at = root.span("mirror").map(|span| span.start);
            sink.key("mirror", at, "at least one [[mirror]] is required: a folder and the case it belongs to");
        }
        let names = mirror_names(sink, &mut sections);
        let mut mirrors = Vec::new();
        for (section, name) in sections.iter().zip(names) {
            places
                .mirror_lines
                .push(["path", "archive", "quarantine"].map(|key| section.span(key).map(|span| sink.line(span.start))));
            let mirror = mirror(sink, section, name, has_domain);
            if let (Some(Some(user)), Some(connect)) = (mirror.as_ref().map(|m| &m.created_by), &connect)
                && !user.contains(&format!(":instance/{}/", connect.instance_id()))
                && let Some(span) = section.span("created_by")
            {
                let message = "it must be a user of the instance that connect.instance_id names";
                sink.value(&section.key("created_by"), span, message.to_owned());
            }
            mirrors.extend(mirror);
        }
        let problems = problems.into_problems();
        match (connect, journal_path) {
            (Some(connect), Some(journal_path)) if problems.is_empty() => {
                Ok(Self { connect, journal_path, limits, log, hooks, mirrors, places })
            }
            _ => Err(problems),
        }
    }
}

fn connect(sink: &mut Sink<'_>, section: &Section<'_>) -> Option<Connect> {
    section.check_keys(sink, "connect");
    let region = section.text(sink, "region", |text| {
        let ok = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        ok.then(|| text.to_owned()).ok_or_else(|| "it must be the name of a Region, such as \"eu-west-2\"".to_owned())
    });
    if !section.has("instance_id") {
        section.missing(sink, "instance_id", "the id (a UUID) or the ARN of the Connect instance");
    }
    let instance_id = section.text(sink, "instance_id", |text| {
        let wrong = "it must be the instance's id (a UUID, not its alias) or its ARN \
                     (arn:aws:connect:REGION:ACCOUNT:instance/ID)";
        let id = parse_uuid(text).or_else(|| is_arn(text, "connect", "instance").then(|| text.to_owned()));
        id.ok_or_else(|| wrong.to_owned())
    });
    let cases_domain = section.text(sink, "cases_domain", |text| {
        let wrong = "it must be the domain's id (a UUID, not its name) or its ARN \
                     (arn:aws:cases:REGION:ACCOUNT:domain/ID)";
        let arn = || is_arn(text, "cases", "domain").then(|| Domain::Arn(text.to_owned()));
        parse_uuid(text).map(Domain::Id).or_else(arn).ok_or_else(|| wrong.to_owned())
    });
    let profile = section.text(sink, "profile", |text| {
        let ok = (1..=256).contains(&text.len()) && !text.chars().any(char::is_control);
        ok.then(|| text.to_owned())
            .ok_or_else(|| "it must be the name of a profile of the AWS configuration".to_owned())
    });
    let endpoint_url = section.secret_text(sink, "endpoint_url", endpoint);
    let cases_endpoint_url = section.secret_text(sink, "cases_endpoint_url", endpoint);
    Some(Connect { region, instance_id: instance_id?, cases_domain, profile, endpoint_url, cases_endpoint_url })
}

/// Whether `text` is `arn:PARTITION:SERVICE:REGION:ACCOUNT:KIND/ID` (SERVICE.md 3.2).
fn is_arn(text: &str, service: &str, kind: &str) -> bool {
    let plain = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let parts: Vec<&str> = text.split(':').collect();
    let ["arn", partition, own, region, account, resource] = parts.as_slice() else { return false };
    let id = resource.split_once('/').filter(|(word, _)| *word == kind).map(|(_, id)| id);
    *own == service && text.len() <= 400 && [*partition, *region, *account, id.unwrap_or("")].into_iter().all(plain)
}

/// An `http://` or `https://` URL. Its value is never repeated, because one with a user part holds a password.
fn endpoint(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let rest = rest.ok_or("it must be a URL that begins with https:// or http://")?;
    if rest.contains(['@', '?', '#']) {
        return Err("it must have no user, password, `?` or `#` part".to_owned());
    }
    let host = rest.split(['/', ':']).next().unwrap_or_default();
    let host = if rest.starts_with('[') { rest } else { host };
    if host.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("it must be a URL with a host, such as \"http://127.0.0.1:4566\"".to_owned());
    }
    Ok(text.to_owned())
}

fn journal_path(sink: &mut Sink<'_>, section: &Section<'_>, env: Env<'_>) -> Option<PathBuf> {
    section.check_keys(sink, "journal");
    if section.has("path") {
        return section.text(sink, "path", absolute);
    }
    let folder = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = env("STATE_DIRECTORY").and_then(|list| {
        // systemd gives a list when the unit names several.
        let first = list.as_bytes().split(|b| *b == b':').next()?;
        Some(PathBuf::from(std::ffi::OsStr::from_bytes(first))).filter(|path| path.is_absolute())
    });
    let xdg = || folder("XDG_STATE_HOME").map(|path| path.join("casedrop"));
    let home = || folder("HOME").map(|path| path.join(".local/state/casedrop"));
    let found = state.or_else(xdg).or_else(home).map(|path| path.join("journal.db"));
    if found.is_none() {
        section.missing(sink, "path", "none of $STATE_DIRECTORY, $XDG_STATE_HOME and $HOME gives a default");
    }
    found
}

fn limits(sink: &mut Sink<'_>, section: &Section<'_>) -> Limits {
    section.check_keys(sink, "limits");
    let requests_per_second = section.number(sink, "requests_per_second", 0.01..=1_000_000.0);
    let burst = section.integer(sink, "burst", 1..=1_000_000);
    let uploads_in_flight = section.integer(sink, "uploads_in_flight", 1..=256);
    let bandwidth = section.size_or_off(sink, "bandwidth", BANDWIDTH);
    let url_expiry = section.duration(sink, "url_expiry", 5 * SECOND..=300 * SECOND);
    if let (Some(expiry), Some(span)) = (url_expiry, section.span("url_expiry"))
        && expiry.subsec_nanos() != 0
    {
        sink.value(&section.key("url_expiry"), span, "the service takes whole seconds only; allowed is 5s to 5m");
    }
    Limits {
        requests_per_second: requests_per_second.unwrap_or(defaults::REQUESTS_PER_SECOND),
        burst: burst.unwrap_or(defaults::BURST),
        uploads_in_flight: uploads_in_flight.unwrap_or(defaults::UPLOADS_IN_FLIGHT),
        bandwidth: bandwidth.flatten(),
        url_expiry: url_expiry.unwrap_or(defaults::URL_EXPIRY),
    }
}

fn log(sink: &mut Sink<'_>, section: &Section<'_>) -> Log {
    section.check_keys(sink, "log");
    let formats = [("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];
    let levels = ["error", "warn", "info", "debug", "trace"].map(|level| (level, level));
    Log {
        format: section.choice(sink, "format", &formats).unwrap_or(LogFormat::Auto),
        level: section.choice(sink, "level", &levels).unwrap_or(defaults::LEVEL).to_owned(),
        hide_names: section.boolean(sink, "hide_names").unwrap_or(false),
    }
}

/// `None` also for a table that names neither events nor a program.
fn hooks(sink: &mut Sink<'_>, section: &Section<'_>) -> Option<Hooks> {
    section.check_keys(sink, "hooks");
    let timeout = section.duration(sink, "timeout", SECOND..=HOUR).unwrap_or(defaults::HOOK_TIMEOUT);
    if !section.has("on") && !section.has("command") {
        return None;
    }
    let mut on = Vec::new();
    let words = HookEvent::ALL.map(|(word, _)| format!("\"{word}\"")).join(", ");
    for (at, word, span) in section.texts(sink, "on") {
        let key = format!("{}[{at}]", section.key("on"));
        match HookEvent::ALL.iter().find(|(known, _)| *known == word) {
            None => sink.value(&key, span, format!("it must be one of {words}")),
            Some((_, event)) if on.contains(event) => sink.value(&key, span, "it is there already"),
            Some((_, event)) => on.push(*event),
        }
    }
    if !section.has("on") || section.is_empty_list("on") {
        section.missing(sink, "on", &format!("the events to be told of, one or more of {words}"));
    }
    let command = argv(sink, section, "command", "the program to be told, such as [\"/usr/local/bin/told\"]");
    (!on.is_empty()).then_some(Hooks { on, command: command?, timeout })
}

/// A program and its arguments, run without a shell: the program's absolute path first.
fn argv(sink: &mut Sink<'_>, section: &Section<'_>, key: &str, what: &str) -> Option<Vec<OsString>> {
    if !section.has(key) || section.is_empty_list(key) {
        section.missing(sink, key, what);
        return None;
    }
    let mut argv = Vec::new();
    for (at, text, span) in section.texts(sink, key) {
        let name = format!("{}[{at}]", section.key(key));
        if text.contains('\0') {
            sink.value(&name, span, "a program's argument can hold no NUL");
        } else if at == 1 && !Path::new(&text).is_absolute() {
            sink.value(&name, span, "it must be the absolute path of a program; it is run without a shell and $PATH");
        }
        argv.push(OsString::from(text));
    }
    Some(argv)
}

/// The checked, unique names; a section whose name is usable is called by it from here on.
fn mirror_names(sink: &mut Sink<'_>, sections: &mut [Section<'_>]) -> Vec<Option<String>> {
    let mut lines: HashMap<String, usize> = HashMap::new();
    let mut names = Vec::new();
    for section in sections {
        if !section.has("name") {
            section.missing(sink, "name", "a short name for the mirror, such as \"scans\"");
        }
        let name = section.text(sink, "name", |text| {
            let ok = (1..=MAX_MIRROR_NAME).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
            ok.then(|| text.to_owned())
                .ok_or_else(|| format!("a name has 1 to {MAX_MIRROR_NAME} letters (a-z, A-Z), digits, `-`, `_` or `.`"))
        });
        if let (Some(name), Some(span)) = (&name, section.span("name")) {
            match lines.get(name) {
                Some(line) => {
                    let message = format!("the mirror on line {line} has this name already; names are unique");
                    sink.value(&section.key("name"), span, message);
                }
                None => {
                    lines.insert(name.clone(), sink.line(span.start));
                    section.name = format!("mirror[{name}]");
                }
            }
        }
        names.push(name);
    }
    names
}

fn mirror(sink: &mut Sink<'_>, section: &Section<'_>, name: Option<String>, has_domain: bool) -> Option<Mirror> {
    section.check_keys(sink, "mirror");
    if !section.has("path") {
        section.missing(sink, "path", "the folder to mirror, an absolute path");
    }
    let path = section.text(sink, "path", absolute);
    let sidecar = section.boolean(sink, "sidecar");
    let routing = routing(sink, section, has_domain, sidecar == Some(true));
    let is_ingest = section.choice(sink, "mode", &[("mirror", false), ("ingest", true)]).unwrap_or(false);
    let ingest = ingest(sink, section, is_ingest);
    let suffixes = [suffix(sink, section, "in_progress_suffix"), suffix(sink, section, "trigger_suffix")];
    if let [Some(in_progress), Some(trigger)] = &suffixes
        && (in_progress.ends_with(trigger.as_str()) || trigger.ends_with(in_progress.as_str()))
    {
        let at = section.span("trigger_suffix").map(|span| span.start);
        let message = "neither suffix may end with the other: a name could not be told to be a trigger or a draft";
        sink.key(&section.key("trigger_suffix"), at, message);
    }
    if let (Some(true), [_, Some(_)], Some(span)) = (sidecar, &suffixes, section.span("sidecar")) {
        let message = "`sidecar` and `trigger_suffix` exclude each other: one file goes with another, not two";
        sink.key(&section.key("sidecar"), Some(span.start), message);
    }
    let scope = scope(sink, section).map(|scope| {
        let [in_progress, trigger] = suffixes;
        scope.with_protocol(in_progress, trigger)
    });
    let naming = section.choice(sink, "file_name", &[("path", FileNaming::Path), ("base", FileNaming::Base)]);
    let settle = section.duration(sink, "settle", Duration::ZERO..=HOUR);
    let rescan = section.duration(sink, "rescan", SECOND..=7 * DAY);
    let watches = [("auto", WatchMode::Auto), ("native", WatchMode::Native), ("poll", WatchMode::Poll)];
    let watch = section.choice(sink, "watch", &watches);
    let deletes = [("propagate", DeletePolicy::Propagate), ("keep", DeletePolicy::Keep)];
    let delete = section.choice(sink, "delete", &deletes);
    let delete_grace = section.duration(sink, "delete_grace", Duration::ZERO..=30 * DAY);
    if is_ingest {
        for key in ["delete", "delete_grace", "delete_budget"] {
            let at = section.span(key).map(|span| span.start);
            if section.has(key) {
                let message =
                    "with `mode = \"ingest\"` the removal of a local file never reaches Connect: remove this key";
                sink.key(&section.key(key), at, message);
            }
        }
    }
    let settle = settle.unwrap_or(defaults::SETTLE);
    let gone = (settle * defaults::GONE_SETTLES).max(SECOND);
    let (default_delete, default_grace) =
        if is_ingest { (DeletePolicy::Keep, gone) } else { (DeletePolicy::Propagate, defaults::DELETE_GRACE) };
    let delete_budget = section.text(sink, "delete_budget", |text| {
        DeleteBudget::parse(text).map_err(|e| format!("{e}; allowed is {}", DeleteBudget::ALLOWED))
    });
    let verify = section.duration_or_off(sink, "verify", SECOND..=90 * DAY);
    let tags = section.text_map(sink, "tags", check_tag);
    if let Some(span) = section.span("tags").filter(|_| tags.len() > MAX_TAGS) {
        sink.value(&section.key("tags"), span, format!("{} tags; allowed are {MAX_TAGS} for each mirror", tags.len()));
    }
    let created_by = section.text(sink, "created_by", user_arn);
    Some(Mirror {
        name: name?,
        path: path?,
        routing: routing?,
        scope: scope?,
        naming: naming.unwrap_or(FileNaming::Path),
        settle,
        rescan: rescan.unwrap_or(defaults::RESCAN),
        watch: watch.unwrap_or(WatchMode::Auto),
        delete: delete.unwrap_or(default_delete),
        delete_grace: delete_grace.unwrap_or(default_grace),
        delete_budget: delete_budget.unwrap_or(DeleteBudget::DEFAULT),
        verify: verify.unwrap_or(Some(defaults::VERIFY)),
        ingest: ingest.ok()?,
        tags,
        sidecar: sidecar.unwrap_or(false),
        created_by,
        convert: conversions(sink, section),
    })
}

fn conversions(sink: &mut Sink<'_>, mirror: &Section<'_>) -> Vec<Convert> {
    let (mut all, mut seen) = (Vec::new(), HashSet::new());
    for section in mirror.tables(sink, "convert") {
        section.check_keys(sink, "mirror.convert");
        let mut from = Vec::new();
        for (at, text, span) in section.texts(sink, "from") {
            let key = format!("{}[{at}]", section.key("from"));
            match convert::check_extension(&text) {
                Err(message) => sink.value(&key, span, message),
                Ok(extension) if !seen.insert(extension.clone()) => {
                    sink.value(&key, span, "this mirror converts it already");
                }
                Ok(extension) => from.push(extension),
            }
        }
        if !section.has("from") || section.is_empty_list("from") {
            section.missing(sink, "from", "the extensions to convert, such as [\"tif\", \"tiff\"]");
        }
        if !section.has("to") {
            section.missing(sink, "to", "the extension of the result, such as \"pdf\"");
        }
        let to = section.text(sink, "to", convert::check_extension);
        let example = "the program, such as [\"/usr/bin/img2pdf\", \"{input}\", \"-o\", \"{output}\"]";
        let command = argv(sink, &section, "command", example);
        if let (Some(command), Some(span)) = (&command, section.span("command")) {
            for mark in ["{input}", "{output}"] {
                if !command.iter().skip(1).any(|part| part.to_string_lossy().contains(mark)) {
                    let message = format!("one of its arguments must hold {mark}, the path of that file");
                    sink.key(&section.key("command"), Some(span.start), message);
                }
            }
        }
        let timeout = section.duration(sink, "timeout", SECOND..=HOUR).unwrap_or(defaults::CONVERT_TIMEOUT);
        let max_size = section.size(sink, "max_size", 1..=defaults::CONVERT_MAX_SIZE);
        if let (false, Some(to), Some(command)) = (from.is_empty(), to, command) {
            let max_size = max_size.unwrap_or(defaults::CONVERT_MAX_SIZE);
            all.push(Convert { rule: convert::Rule { from, to }, command, timeout, max_size });
        }
    }
    all
}

/// `arn:PARTITION:connect:REGION:ACCOUNT:instance/INSTANCE/agent/USER`, the form of a Connect user's ARN.
fn user_arn(text: &str) -> Result<String, String> {
    let instance = text.rsplit_once("/agent/").filter(|(instance, user)| {
        is_arn(instance, "connect", "instance")
            && !user.is_empty()
            && user.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    });
    instance.map(|_| text.to_owned()).ok_or_else(|| {
        "it must be the ARN of a Connect user (arn:aws:connect:REGION:ACCOUNT:instance/INSTANCE/agent/USER)".to_owned()
    })
}

fn routing(sink: &mut Sink<'_>, section: &Section<'_>, has_domain: bool, sidecar: bool) -> Option<Routing> {
    let case = section.text(sink, "case", Routing::one_case);
    let by_path = section.text(sink, "case_from", Routing::by_path);
    let key = match (section.has("case"), section.has("case_from")) {
        (true, false) => "case",
        (false, true) => "case_from",
        (true, true) => {
            let at = section.span("case_from").map(|span| span.start);
            let message =
                "`case` and `case_from` exclude each other: name one case for all files, or find it in each path";
            sink.key(&section.key("case_from"), at, message);
            return None;
        }
        // Only sidecars name cases.
        (false, false) if sidecar => "sidecar",
        (false, false) => {
            section.missing(sink, "case", "the case that the files belong to; or `case_from` to find it in each path");
            return None;
        }
    };
    let routing = case.or(by_path).or_else(|| (key == "sidecar").then_some(Routing::BySidecar))?;
    if routing.needs_domain() && !has_domain {
        let at = section.span(key).map(|span| span.start);
        let message =
            "a case id alone does not say where the case is: set connect.cases_domain (or give the case's ARN)";
        sink.key(&section.key(key), at, message);
    }
    Some(routing)
}

fn scope(sink: &mut Sink<'_>, section: &Section<'_>) -> Option<Scope> {
    let builtin = section.boolean(sink, "builtin_excludes").unwrap_or(true);
    let (include, exclude) = (section.texts(sink, "include"), section.texts(sink, "exclude"));
    let patterns = |list: &[(usize, String, Range<usize>)]| list.iter().map(|(_, p, _)| p.clone()).collect::<Vec<_>>();
    match Scope::new(&patterns(&include), &patterns(&exclude), builtin) {
        Ok(scope) => Some(scope),
        Err(problems) => {
            for problem in problems {
                let (key, list) = match problem.list {
                    ScopeList::Include => ("include", &include),
                    ScopeList::Exclude => ("exclude", &exclude),
                };
                if let Some((at, _, span)) = list.get(problem.index) {
                    sink.value(&format!("{}[{at}]", section.key(key)), span.clone(), problem.message);
                }
            }
            None
        }
    }
}

/// An absolute path without `..`, with `.` parts and a trailing `/` removed.
pub(super) fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    if !path.is_absolute() {
        let hint = if text.starts_with('~') { " (`~` is not expanded)" } else { "" };
        return Err(format!("it must be an absolute path, one that begins with `/`{hint}"));
    }
    if text.contains('\0') || path.components().any(|part| part == Component::ParentDir) {
        return Err("it must be a path without `..` parts and NUL characters".to_owned());
    }
    Ok(path.components().collect())
}
