//! User patterns: one language, globs (LESSONS L25).
//!
//! `*` and `?` stop at `/`; `**` crosses it; `[abc]`, `[!abc]`, `{a,b}` and `\` before a special character work as
//! in a shell. A pattern without `/` fits at any depth; one with `/` starts at the root (a leading `/` only says
//! so). A trailing `/` fits folders only: in `include` it takes everything below the folder. Letter case counts;
//! `?` is one byte.

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

use super::{ScopeList, ScopeProblem};

/// Longest pattern, in bytes.
const MAX_PATTERN: usize = 1_000;

/// The patterns of one list, compiled together.
#[derive(Debug, Clone)]
pub(super) struct Globs {
    /// As written.
    patterns: Vec<String>,
    /// Those that fit files and folders, with their places in `patterns`.
    both: (GlobSet, Vec<usize>),
    /// Those that fit folders only.
    folders: (GlobSet, Vec<usize>),
}

impl Globs {
    pub(super) fn new(patterns: &[String], list: ScopeList) -> Result<Self, Vec<ScopeProblem>> {
        let mut problems = Vec::new();
        let (mut both, mut folders) = ((GlobSetBuilder::new(), Vec::new()), (GlobSetBuilder::new(), Vec::new()));
        for (index, pattern) in patterns.iter().enumerate() {
            let (text, folder_only) = match normalised(pattern, list) {
                Ok(found) => found,
                Err(message) => {
                    problems.push(ScopeProblem { list, index, message });
                    continue;
                }
            };
            match GlobBuilder::new(&text).literal_separator(true).backslash_escape(true).build() {
                Ok(glob) => {
                    let (set, places) = if folder_only { &mut folders } else { &mut both };
                    set.add(glob);
                    places.push(index);
                }
                Err(e) => {
                    let message = format!("it is no glob: {}", e.kind());
                    problems.push(ScopeProblem { list, index, message });
                }
            }
        }
        let built = (both.0.build(), folders.0.build());
        match built {
            (Ok(both_set), Ok(folder_set)) if problems.is_empty() => {
                Ok(Self { patterns: patterns.to_vec(), both: (both_set, both.1), folders: (folder_set, folders.1) })
            }
            (both_set, folder_set) => {
                let too_large = both_set.err().or(folder_set.err());
                problems.extend(too_large.map(|e| ScopeProblem {
                    list,
                    index: 0,
                    message: format!("the list cannot be compiled: {}", e.kind()),
                }));
                Err(problems)
            }
        }
    }

    pub(super) fn patterns(&self) -> &[String] {
        &self.patterns
    }

    pub(super) fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether a pattern for files fits.
    pub(super) fn is_match(&self, path: &Candidate<'_>) -> bool {
        self.both.0.is_match_candidate(path)
    }

    /// The first pattern, as written, that fits; the list is searched only after it is known that one does.
    pub(super) fn first_match(&self, path: &Candidate<'_>, is_dir: bool) -> Option<&str> {
        let first = |(set, places): &(GlobSet, Vec<usize>)| -> Option<usize> {
            if !set.is_match_candidate(path) {
                return None;
            }
            set.matches_candidate(path).iter().filter_map(|at| places.get(*at)).min().copied()
        };
        let folder = if is_dir { first(&self.folders) } else { None };
        let place = first(&self.both).into_iter().chain(folder).min()?;
        self.patterns.get(place).map(String::as_str)
    }
}

/// The glob to compile, and whether it fits folders only.
fn normalised(pattern: &str, list: ScopeList) -> Result<(String, bool), String> {
    if pattern.is_empty() {
        return Err("an empty pattern fits nothing; remove it".to_owned());
    }
    if pattern.len() > MAX_PATTERN {
        return Err(format!("a pattern may have at most {MAX_PATTERN} bytes"));
    }
    if pattern.starts_with('!') {
        return Err("patterns are not negated with `!`; use the other list, or `[!]` for a name with `!`".to_owned());
    }
    if let Some(sign) = regex_sign(pattern) {
        return Err(format!(
            "`{sign}` looks like a regular expression, and patterns are globs: write *.pdf, not .*\\.pdf$ \
             (put a special character into brackets to mean itself, as in [$])"
        ));
    }
    let rooted = pattern.strip_prefix('/');
    let body = rooted.unwrap_or(pattern);
    let folder = body.strip_suffix('/');
    let body = folder.unwrap_or(body);
    if body.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("no path below the root has an empty, `.` or `..` part, so it fits nothing".to_owned());
    }
    let anywhere = rooted.is_none() && !body.contains('/');
    let mut glob = if anywhere { format!("**/{body}") } else { body.to_owned() };
    let mut folder_only = folder.is_some();
    if folder_only && list == ScopeList::Include {
        glob.push_str("/**");
        folder_only = false;
    }
    Ok((glob, folder_only))
}

/// What in the pattern only a regular expression would hold.
fn regex_sign(pattern: &str) -> Option<&'static str> {
    if pattern.starts_with('^') {
        return Some("^");
    }
    if pattern.ends_with('$') {
        return Some("$");
    }
    let escapes = [("\\.", "\\."), ("\\d", "\\d"), ("\\w", "\\w"), ("\\s", "\\s"), ("\\b", "\\b"), ("\\S", "\\S")];
    let groups = [("(?", "(?"), (".+", ".+"), ("]+", "]+"), (")*", ")*"), (")?", ")?"), (".*?", ".*?")];
    let found = escapes.iter().chain(&groups).find(|(sign, _)| pattern.contains(sign)).map(|(_, shown)| *shown);
    let choice = || {
        let (_, rest) = pattern.split_once('(')?;
        rest.split_once(')')?.0.contains('|').then_some("(…|…)")
    };
    found.or_else(choice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_expressions_are_refused_with_a_hint() {
        for pattern in
            [".*\\.pdf$", "^letters", "a\\.txt", "scan\\d", "x$", "a.+b", "(?i)x", "[0-9]+", "(pdf|tif)", "(ab)*"]
        {
            let message = normalised(pattern, ScopeList::Exclude).unwrap_err();
            assert!(message.contains("looks like a regular expression"), "{pattern}: {message}");
        }
        for pattern in [".*", "._*", ".*.swp", "~$*", "a (1).*", "[$]", "\\[x\\]", "a|b", "a+b", "*.tar.*", "\\*"] {
            assert_eq!(normalised(pattern, ScopeList::Exclude).map(|_| ()), Ok(()), "{pattern}");
        }
    }

    #[test]
    fn patterns_that_fit_nothing_are_refused() {
        for (pattern, reason) in [
            ("", "empty pattern"),
            ("!keep.pdf", "not negated"),
            ("/", "fits nothing"),
            ("//", "fits nothing"),
            ("a//b", "fits nothing"),
            ("./a", "fits nothing"),
            ("a/../b", "fits nothing"),
        ] {
            let message = normalised(pattern, ScopeList::Exclude).unwrap_err();
            assert!(message.contains(reason), "{pattern}: {message}");
        }
        assert!(normalised(&"a".repeat(MAX_PATTERN + 1), ScopeList::Exclude).is_err());
    }
}
