//! The configuration in force, as the TOML that would produce it.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use toml::{Table, Value};

use super::units::{show_duration, show_size};
use super::{Config, Convert, DeletePolicy, Domain, Ingest, LogFormat, Mirror, WatchMode, defaults};
use crate::core::handover::AfterApproval;
use crate::core::naming::FileNaming;
use crate::core::routing::Routing;

impl Config {
    /// The configuration in force, defaults filled in, as TOML that [`Config::parse`] reads back.
    pub fn effective(&self) -> String {
        let connect = &self.connect;
        let domain = connect.cases_domain.as_ref().map(|domain| match domain {
            Domain::Arn(text) | Domain::Id(text) => text.as_str(),
        });
        let mut text = String::new();
        push(
            &mut text,
            "[connect]",
            [
                ("region", connect.region.as_deref().map(Value::from)),
                ("instance_id", Some(Value::from(connect.instance_id.as_str()))),
                ("cases_domain", domain.map(Value::from)),
                ("profile", connect.profile.as_deref().map(Value::from)),
                ("endpoint_url", connect.endpoint_url.as_deref().map(Value::from)),
                ("cases_endpoint_url", connect.cases_endpoint_url.as_deref().map(Value::from)),
            ],
        );
        push(&mut text, "[journal]", [("path", Some(path(&self.journal_path)))]);
        let limits = &self.limits;
        let bandwidth = limits.bandwidth.map_or_else(|| "off".to_owned(), |bytes| format!("{}/s", show_size(bytes)));
        push(
            &mut text,
            "[limits]",
            [
                ("requests_per_second", Some(Value::from(limits.requests_per_second))),
                ("burst", Some(Value::from(limits.burst))),
                ("uploads_in_flight", Some(Value::from(i64::try_from(limits.uploads_in_flight).unwrap_or(i64::MAX)))),
                ("bandwidth", Some(Value::from(bandwidth))),
                ("url_expiry", Some(duration(limits.url_expiry))),
            ],
        );
        let format = match self.log.format {
            LogFormat::Auto => "auto",
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        push(
            &mut text,
            "[log]",
            [
                ("format", Some(Value::from(format))),
                ("level", Some(Value::from(self.log.level.as_str()))),
                ("hide_names", Some(Value::from(self.log.hide_names))),
            ],
        );
        let hooks = self.hooks.as_ref();
        let on = hooks.map(|hooks| hooks.on.iter().map(|event| Value::from(event.as_str())).collect::<Vec<_>>());
        push(
            &mut text,
            "[hooks]",
            [
                ("on", on.map(Value::from)),
                ("command", hooks.map(|hooks| argv(&hooks.command))),
                ("timeout", Some(duration(hooks.map_or(defaults::HOOK_TIMEOUT, |hooks| hooks.timeout)))),
            ],
        );
        for mirror in &self.mirrors {
            push(&mut text, "[[mirror]]", mirror_pairs(mirror));
        }
        text
    }
}

fn mirror_pairs(mirror: &Mirror) -> Vec<(&'static str, Option<Value>)> {
    let (case, case_from) = match &mirror.routing {
        Routing::Arn(arn) => (Some(Value::from(arn.as_str())), None),
        Routing::Id(id) => (Some(Value::from(id.as_str())), None),
        Routing::ByPath(pattern) => (None, Some(Value::from(pattern.as_str()))),
        Routing::BySidecar => (None, None),
    };
    let naming = match mirror.naming {
        FileNaming::Path => "path",
        FileNaming::Base => "base",
    };
    let watch = match mirror.watch {
        WatchMode::Auto => "auto",
        WatchMode::Native => "native",
        WatchMode::Poll => "poll",
    };
    let delete = match mirror.delete {
        DeletePolicy::Propagate => "propagate",
        DeletePolicy::Keep => "keep",
    };
    let tags: Table = mirror.tags.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect();
    let pairs = |convert: &Convert| {
        Table::from_iter([
            ("from".to_owned(), Value::from(convert.rule.from.clone())),
            ("to".to_owned(), Value::from(convert.rule.to.as_str())),
            ("command".to_owned(), argv(&convert.command)),
            ("timeout".to_owned(), duration(convert.timeout)),
            ("max_size".to_owned(), Value::from(show_size(convert.max_size))),
        ])
    };
    let convert: Vec<Table> = mirror.convert.iter().map(pairs).collect();
    // Local removals mean nothing in ingest mode, and its keys mean nothing in the other.
    let mirrors = |value: Value| mirror.ingest.is_none().then_some(value);
    let ingest = mirror.ingest.as_ref();
    let after = |ingest: &Ingest| match ingest.after {
        AfterApproval::Archive => "archive",
        AfterApproval::Delete => "delete",
        AfterApproval::Keep => "keep",
    };
    vec![
        ("name", Some(Value::from(mirror.name.as_str()))),
        ("path", Some(path(&mirror.path))),
        ("case", case),
        ("case_from", case_from),
        ("mode", Some(Value::from(if ingest.is_some() { "ingest" } else { "mirror" }))),
        ("after_approval", ingest.map(|i| Value::from(after(i)))),
        ("archive", ingest.and_then(|i| i.archive.as_deref()).map(path)),
        ("quarantine", ingest.and_then(|i| i.quarantine.as_deref()).map(path)),
        ("prune_empty", ingest.map(|i| Value::from(i.prune_empty))),
        ("receipts", ingest.map(|i| Value::from(i.receipts))),
        ("in_progress_suffix", mirror.scope.in_progress_suffix().map(Value::from)),
        ("trigger_suffix", mirror.scope.trigger_suffix().map(Value::from)),
        ("include", Some(Value::from(mirror.scope.include().to_vec()))),
        ("exclude", Some(Value::from(mirror.scope.exclude().to_vec()))),
        ("builtin_excludes", Some(Value::from(mirror.scope.builtin()))),
        ("file_name", Some(Value::from(naming))),
        ("settle", Some(duration(mirror.settle))),
        ("rescan", Some(duration(mirror.rescan))),
        ("watch", Some(Value::from(watch))),
        ("delete", mirrors(Value::from(delete))),
        ("delete_grace", mirrors(duration(mirror.delete_grace))),
        ("delete_budget", mirrors(Value::from(mirror.delete_budget.to_string()))),
        ("verify", Some(mirror.verify.map_or_else(|| Value::from("off"), duration))),
        ("tags", Some(Value::from(tags))),
        ("convert", (!convert.is_empty()).then(|| Value::from(convert))),
        ("sidecar", Some(Value::from(mirror.sidecar))),
        ("created_by", mirror.created_by.as_deref().map(Value::from)),
    ]
}

fn push<'k>(text: &mut String, header: &str, pairs: impl IntoIterator<Item = (&'k str, Option<Value>)>) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(header);
    text.push('\n');
    for (key, value) in pairs {
        if let Some(value) = value {
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
}

fn path(path: &Path) -> Value {
    Value::from(path.to_string_lossy().into_owned())
}

/// From the file, so it is text.
fn argv(argv: &[OsString]) -> Value {
    Value::from(argv.iter().map(|part| part.to_string_lossy().into_owned()).collect::<Vec<_>>())
}

fn duration(duration: Duration) -> Value {
    Value::from(show_duration(duration))
}
