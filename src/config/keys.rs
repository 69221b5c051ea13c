//! Every key there is, and what to say about one there is not.

/// Tables with the keys that are supported. The empty name is the file itself.
pub(super) const SUPPORTED: [(&str, &[&str]); 7] = [
    ("", &["connect", "journal", "limits", "log", "hooks", "mirror"]),
    ("connect", &["region", "instance_id", "cases_domain", "profile", "endpoint_url", "cases_endpoint_url"]),
    ("journal", &["path"]),
    ("limits", &["requests_per_second", "burst", "uploads_in_flight", "bandwidth", "url_expiry"]),
    ("log", &["format", "level", "hide_names"]),
    ("hooks", &["on", "command", "timeout"]),
    (
        "mirror",
        &[
            "name",
            "path",
            "case",
            "case_from",
            "mode",
            "include",
            "exclude",
            "builtin_excludes",
            "file_name",
            "settle",
            "rescan",
            "watch",
            "delete",
            "delete_grace",
            "delete_budget",
            "verify",
            "after_approval",
            "archive",
            "quarantine",
            "prune_empty",
            "receipts",
            "in_progress_suffix",
            "trigger_suffix",
            "tags",
            "convert",
            "sidecar",
            "created_by",
        ],
    ),
];

/// Tables inside of a mirror, which the example shows in one line.
const INNER: [(&str, &[&str]); 1] = [("mirror.convert", &["from", "to", "command", "timeout", "max_size"])];

/// Keys whose feature is planned: known, and refused, so that nobody believes them to be in force.
const LATER: [(&str, &[&str]); 1] = [("", &["status"])];

/// Longest unknown key that is compared with the known ones, in bytes.
const MAX_COMPARED: usize = 40;

/// What is wrong with `key` in `table`; `None` when it is supported.
pub(super) fn complaint(table: &str, key: &str) -> Option<String> {
    let of = |tables: &'static [(&'static str, &'static [&'static str])], name: &str| {
        tables.iter().find(|(table, _)| *table == name).map_or(&[][..], |(_, keys)| *keys)
    };
    let known = [of(&SUPPORTED, table), of(&INNER, table)].concat();
    let known = known.as_slice();
    if known.contains(&key) {
        return None;
    }
    if of(&LATER, table).contains(&key) {
        return Some(format!("`{key}` is not supported yet"));
    }
    let hint = if let Some(close) = closest(key, known) {
        format!("; did you mean `{close}`?")
    } else if let Some((home, _)) = SUPPORTED.iter().find(|(name, keys)| !name.is_empty() && keys.contains(&key)) {
        let header = if *home == "mirror" { "[[mirror]]".to_owned() } else { format!("[{home}]") };
        format!("; it belongs into {header}")
    } else {
        format!("; known here: {}", known.join(", "))
    };
    Some(format!("there is no such key{hint}"))
}

/// The known key that a slip of the finger could have turned into `key`.
fn closest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    if key.len() > MAX_COMPARED {
        return None;
    }
    let folded = key.to_ascii_lowercase().replace('-', "_");
    let allowed = if folded.len() > 4 { 2 } else { 1 };
    known
        .iter()
        .map(|candidate| (distance(&folded, candidate), *candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many letters must be added, removed or replaced to turn one into the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (done, a) in from.chars().enumerate() {
        let (mut diagonal, mut left) = (done, done + 1);
        for (cell, b) in row.iter_mut().skip(1).zip(to.chars()) {
            let replaced = diagonal + usize::from(a != b);
            diagonal = *cell;
            left = replaced.min(left + 1).min(*cell + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = done + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, d) in [("", "", 0), ("a", "", 1), ("", "ab", 2), ("settel", "settle", 2), ("rescn", "rescan", 1)] {
            assert_eq!(distance(a, b), d, "{a} {b}");
        }
    }

    #[test]
    fn complaints() {
        for (table, key, expected) in [
            ("mirror", "setle", "there is no such key; did you mean `settle`?"),
            ("mirror", "Delete-Grace", "there is no such key; did you mean `delete_grace`?"),
            ("", "status", "`status` is not supported yet"),
            ("", "settle", "there is no such key; it belongs into [[mirror]]"),
            ("log", "burst", "there is no such key; it belongs into [limits]"),
            ("journal", "zzz", "there is no such key; known here: path"),
        ] {
            assert_eq!(complaint(table, key).as_deref(), Some(expected), "{table} {key}");
        }
        assert_eq!(complaint("mirror", "settle"), None);
    }
}
