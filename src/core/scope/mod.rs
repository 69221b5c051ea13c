//! Which files a mirror takes.
//!
//! A path is out of scope by the first of these rules that fits: a built-in junk rule ([`builtin`]), an `exclude`
//! pattern, or, for a file, an `include` list of which no pattern fits. What lies below an excluded folder is out
//! with it. Leaving scope is a state of its own (`ignored`) and changes nothing at Connect (invariant 5).
//!
//! Patterns are globs on the bytes of the path below the root ([`glob`]); user rules add to the built-in ones
//! (LESSONS L24). The words of a rule name no part of a path, so that they may stand in a log that hides names.

mod builtin;
mod glob;

use globset::Candidate;

use self::glob::Globs;
use super::handover::OWN_PREFIX;
use crate::types::RelPath;

/// The checked include and exclude rules of a mirror.
#[derive(Debug, Clone)]
pub struct Scope {
    include: Globs,
    exclude: Globs,
    builtin: bool,
    /// Files of such names are still being written.
    in_progress_suffix: Option<String>,
    /// Files of such names say that the file without it is whole.
    trigger_suffix: Option<String>,
}

/// The config key a pattern stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopeList {
    Include,
    Exclude,
}

/// A pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeProblem {
    pub list: ScopeList,
    /// Its place in the list, from 0.
    pub index: usize,
    /// What is wrong and what to write, in words.
    pub message: String,
}

impl Scope {
    /// Checks the patterns; `builtin` switches the built-in junk rules on.
    ///
    /// # Errors
    /// Every pattern that cannot be used.
    pub fn new(include: &[String], exclude: &[String], builtin: bool) -> Result<Self, Vec<ScopeProblem>> {
        let compiled = (Globs::new(include, ScopeList::Include), Globs::new(exclude, ScopeList::Exclude));
        match compiled {
            (Ok(include), Ok(exclude)) => {
                Ok(Self { include, exclude, builtin, in_progress_suffix: None, trigger_suffix: None })
            }
            (include, exclude) => Err([include.err(), exclude.err()].into_iter().flatten().flatten().collect()),
        }
    }

    /// The same with the protocols by which a writer says that a file is whole.
    pub fn with_protocol(self, in_progress_suffix: Option<String>, trigger_suffix: Option<String>) -> Self {
        Self { in_progress_suffix, trigger_suffix, ..self }
    }

    pub fn in_progress_suffix(&self) -> Option<&str> {
        self.in_progress_suffix.as_deref()
    }

    pub fn trigger_suffix(&self) -> Option<&str> {
        self.trigger_suffix.as_deref()
    }

    /// The trigger of a file; `None` where the mirror's files have none.
    pub fn trigger_of(&self, path: &RelPath) -> Option<RelPath> {
        let suffix = self.trigger_suffix.as_deref()?;
        RelPath::new([path.as_bytes(), suffix.as_bytes()].concat())
    }

    /// The file that a trigger is for.
    pub fn triggered_by(&self, path: &RelPath) -> Option<RelPath> {
        let suffix = self.trigger_suffix.as_deref()?;
        let file = path.as_bytes().strip_suffix(suffix.as_bytes())?;
        RelPath::new(file).filter(|file| !file.file_name().is_empty())
    }

    /// The rule, in words, that takes `path` out of scope; `None` = in scope. Looks at the folders above it too.
    pub fn rule(&self, path: &RelPath, is_dir: bool) -> Option<String> {
        let bytes = path.as_bytes();
        let folders = bytes.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
        for end in folders {
            if let Some(rule) = bytes.get(..end).and_then(|folder| self.entry(folder, true)) {
                return Some(format!("a folder above it: {rule}"));
            }
        }
        self.entry(bytes, is_dir)
    }

    /// Like [`Scope::rule`], for a walk that descends only into folders that are in scope: looks at `path` alone.
    pub fn entry_rule(&self, path: &RelPath, is_dir: bool) -> Option<String> {
        self.entry(path.as_bytes(), is_dir)
    }

    /// The patterns of `include`, as written.
    pub fn include(&self) -> &[String] {
        self.include.patterns()
    }

    /// The patterns of `exclude`, as written.
    pub fn exclude(&self) -> &[String] {
        self.exclude.patterns()
    }

    /// Whether the built-in junk rules are on.
    pub fn builtin(&self) -> bool {
        self.builtin
    }

    fn entry(&self, path: &[u8], is_dir: bool) -> Option<String> {
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        if name.starts_with(OWN_PREFIX) {
            return Some("casedrop's own, for a moment (.casedrop-*)".to_owned());
        }
        if !is_dir {
            let ends = |suffix: &Option<String>| suffix.as_ref().filter(|s| name.ends_with(s.as_bytes())).cloned();
            if let Some(suffix) = ends(&self.in_progress_suffix) {
                return Some(format!("in_progress_suffix \"{suffix}\": still being written under this name"));
            }
            if let Some(suffix) = ends(&self.trigger_suffix) {
                return Some(format!("trigger_suffix \"{suffix}\": it only says that another file is whole"));
            }
        }
        if self.builtin
            && let Some(rule) = builtin::rule(name, is_dir)
        {
            return Some(format!("built-in: {rule}"));
        }
        if self.include.is_empty() && self.exclude.is_empty() {
            return None;
        }
        let path = Candidate::from_bytes(path);
        if let Some(pattern) = self.exclude.first_match(&path, is_dir) {
            return Some(format!("exclude \"{pattern}\""));
        }
        let included = is_dir || self.include.is_empty() || self.include.is_match(&path);
        (!included).then(|| "no pattern of include matches".to_owned())
    }
}

impl PartialEq for Scope {
    fn eq(&self, other: &Self) -> bool {
        let own = |s: &Self| (s.builtin, s.in_progress_suffix.clone(), s.trigger_suffix.clone());
        own(self) == own(other) && self.include() == other.include() && self.exclude() == other.exclude()
    }
}

impl Eq for Scope {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rel(path: impl AsRef<[u8]>) -> RelPath {
        RelPath::new(path.as_ref()).unwrap()
    }

    fn scope(include: &[&str], exclude: &[&str]) -> Scope {
        let owned = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        Scope::new(&owned(include), &owned(exclude), true).unwrap()
    }

    #[test]
    fn patterns_match_as_documented() {
        for (pattern, path, is_dir, out) in [
            ("*.bak", "a.bak", false, true),
            ("*.bak", "x/y/a.bak", false, true),
            ("*.bak", "x/a.bak.pdf", false, false),
            ("drafts", "drafts", false, true),
            ("drafts", "x/drafts", true, true),
            ("drafts/", "x/drafts", true, true),
            ("drafts/", "x/drafts", false, false),
            ("/drafts", "drafts", true, true),
            ("/drafts", "x/drafts", true, false),
            ("x/*.pdf", "x/a.pdf", false, true),
            ("x/*.pdf", "x/y/a.pdf", false, false),
            ("x/*.pdf", "w/x/a.pdf", false, false),
            ("x/**/*.pdf", "x/a.pdf", false, true),
            ("x/**/*.pdf", "x/y/z/a.pdf", false, true),
            ("**/x/*.pdf", "w/x/a.pdf", false, true),
            ("x/**", "x", true, false),
            ("x/**", "x/y", true, true),
            ("{a,b}.txt", "z/b.txt", false, true),
            ("[!a]*.txt", "b.txt", false, true),
            ("[$]*", "$x", false, true),
        ] {
            let found = scope(&[], &[pattern]).rule(&rel(path), is_dir);
            assert_eq!(found, out.then(|| format!("exclude \"{pattern}\"")), "{pattern} on {path}");
        }
    }

    #[test]
    fn include_keeps_files_and_descends_everywhere() {
        let scope = scope(&["*.pdf", "faxes/", "/in/*.tif"], &["old*"]);
        for (path, taken) in [
            ("x/a.pdf", true),
            ("x/a.doc", false),
            ("x/faxes/1/a.doc", true),
            ("faxes/a.doc", true),
            ("faxes", false),
            ("in/a.tif", true),
            ("x/in/a.tif", false),
        ] {
            let rule = (!taken).then(|| "no pattern of include matches".to_owned());
            assert_eq!(scope.rule(&rel(path), false), rule, "{path}");
        }
        assert_eq!(scope.rule(&rel("x/y"), true), None);
        assert_eq!(scope.rule(&rel("old.pdf"), false).unwrap(), "exclude \"old*\"", "exclude goes first");
    }

    #[test]
    fn a_file_below_an_excluded_folder_is_out_by_that_rule() {
        let scope = scope(&[], &["drafts/"]);
        let path = rel("x/drafts/y/a.pdf");
        assert_eq!(scope.rule(&path, false).unwrap(), "a folder above it: exclude \"drafts/\"");
        assert_eq!(scope.entry_rule(&path, false), None, "the walk never comes here");
        let hidden = scope.rule(&rel(".git/config"), false).unwrap();
        assert_eq!(hidden, "a folder above it: built-in: hidden name (.*)");
    }

    #[test]
    fn built_in_rules_can_be_switched_off() {
        let off = Scope::new(&[], &[], false).unwrap();
        assert_eq!(off.rule(&rel("x/.git/a.swp"), false), None);
        assert!(scope(&[], &[]).rule(&rel("x/.git/a.swp"), false).is_some());
    }

    #[test]
    fn every_bad_pattern_is_reported() {
        let list = |items: &[&str]| items.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let problems = Scope::new(&list(&["*.pdf", "^a"]), &list(&["[", "ok", "a//b"]), true).unwrap_err();
        let places: Vec<_> = problems.iter().map(|p| (p.list, p.index)).collect();
        assert_eq!(places, [(ScopeList::Include, 1), (ScopeList::Exclude, 0), (ScopeList::Exclude, 2)]);
    }

    #[test]
    fn foreign_bytes_are_matched() {
        assert!(scope(&[], &["*.bak"]).rule(&rel(b"x\xff/\xfe.bak"), false).is_some());
        assert!(scope(&["x*/*.pdf"], &[]).rule(&rel(b"x\xff/\xfe.pdf"), false).is_none());
    }

    proptest! {
        #[test]
        fn nothing_panics(
            patterns in prop::collection::vec("[a-z*?/!{},\\[\\]\\\\.$^~-]{0,8}|.{0,6}", 0..4),
            path in prop::collection::vec(any::<u8>(), 1..60),
        ) {
            let Some(path) = RelPath::new(path) else { return Ok(()) };
            for (include, exclude) in [(&patterns[..], &[][..]), (&[][..], &patterns[..])] {
                if let Ok(scope) = Scope::new(include, exclude, true) {
                    for is_dir in [false, true] {
                        let whole = scope.rule(&path, is_dir);
                        prop_assert!(whole.is_some() || scope.entry_rule(&path, is_dir).is_none());
                    }
                }
            }
        }
    }
}
