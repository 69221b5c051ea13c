//! Checks of the configured paths against the disk.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::problem::one_line;
use super::{Config, Mirror, Problem};

impl Config {
    /// What is wrong with the folders that exist now: a root that is a file or a symbolic link, roots that overlap,
    /// a journal inside a root. A missing or unreadable root is no problem here: it becomes the hold
    /// `root-missing` or `root-unreadable`, and ends by itself. So is one that was a folder when its mirror began
    /// (`has_begun`) and is none any more: `root-replaced`, which stops that mirror and no other (LESSONS L59).
    pub fn check_paths(&self, has_begun: &dyn Fn(&Mirror) -> bool) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut roots: Vec<(&Mirror, Place)> = Vec::with_capacity(self.mirrors.len());
        for (at, mirror) in self.mirrors.iter().enumerate() {
            let mut complain = |message: String| problems.push(self.root_problem(at, &message));
            if let Some(message) = wrong_kind(&mirror.path) {
                if !has_begun(mirror) {
                    complain(message);
                }
                continue;
            }
            let root = Place::of(&mirror.path);
            for (earlier, other) in &roots {
                let relation = if root.is_same(other) {
                    "is the same folder as"
                } else if root.is_below(other) {
                    "lies inside"
                } else if other.is_below(&root) {
                    "contains"
                } else {
                    continue;
                };
                complain(format!(
                    "it {relation} the root of mirror \"{}\" ({}); a file may belong to one mirror only",
                    earlier.name,
                    earlier.path.display()
                ));
            }
            roots.push((mirror, root));
        }
        self.check_stores(&roots, &mut problems);
        let journal = Place::of(&self.journal_path);
        for (mirror, root) in &roots {
            if journal.is_below(root) || journal.is_same(root) {
                let message = format!(
                    "the journal must not lie inside the root of a mirror, here of \"{}\" ({}): it changes at every step",
                    mirror.name,
                    mirror.path.display()
                );
                problems.push(self.problem("journal.path", self.places.journal_line, &self.journal_path, &message));
            }
        }
        problems
    }

    /// Archives and quarantines: folders, no links, outside every root, and not the same as one another. Mirrors may
    /// share an archive, for nothing in it is ever overwritten.
    fn check_stores(&self, roots: &[(&Mirror, Place)], problems: &mut Vec<Problem>) {
        let journal = self.journal_path.parent().map(Place::of);
        for (at, mirror) in self.mirrors.iter().enumerate() {
            let Some(ingest) = &mirror.ingest else { continue };
            let stores = [("archive", &ingest.archive, 1), ("quarantine", &ingest.quarantine, 2)];
            for (key, path, column) in stores {
                let Some(path) = path else { continue };
                let line = self.places.mirror_lines.get(at).and_then(|lines| lines.get(column).copied().flatten());
                let mut complain = |message: String| {
                    problems.push(self.problem(&format!("mirror[{}].{key}", mirror.name), line, path, &message));
                };
                if let Some(message) = wrong_kind(path) {
                    complain(message);
                    continue;
                }
                let place = Place::of(path);
                for (other, root) in roots {
                    if place.is_same(root) || place.is_below(root) || root.is_below(&place) {
                        complain(format!(
                            "it must lie outside the root of every mirror, and neither be nor contain that of \"{}\" ({}): \
                             what is moved there would come back as a new file",
                            other.name,
                            other.path.display()
                        ));
                    }
                }
                if journal.as_ref().is_some_and(|journal| journal.is_same(&place)) {
                    complain("it must not be the folder of the journal".to_owned());
                }
            }
            if let (Some(archive), Some(quarantine)) = (&ingest.archive, &ingest.quarantine) {
                let (a, q) = (Place::of(archive), Place::of(quarantine));
                if a.is_same(&q) || a.is_below(&q) || q.is_below(&a) {
                    let line = self.places.mirror_lines.get(at).and_then(|lines| lines.get(2).copied().flatten());
                    let message = format!(
                        "it must lie apart from `archive` ({}): what was delivered and what was refused must not mix",
                        archive.display()
                    );
                    problems.push(self.problem(
                        &format!("mirror[{}].quarantine", mirror.name),
                        line,
                        quarantine,
                        &message,
                    ));
                }
            }
        }
    }

    fn root_problem(&self, at: usize, message: &str) -> Problem {
        let line = self.places.mirror_lines.get(at).and_then(|lines| lines.first().copied().flatten());
        let (name, path) =
            self.mirrors.get(at).map(|m| (m.name.as_str(), m.path.as_path())).unwrap_or(("", Path::new("")));
        self.problem(&format!("mirror[{name}].path"), line, path, message)
    }

    fn problem(&self, key: &str, line: Option<usize>, path: &Path, message: &str) -> Problem {
        Problem {
            origin: self.places.origin.clone(),
            line,
            column: None,
            key: key.to_owned(),
            value: Some(one_line(&format!("{path:?}"))),
            message: one_line(message),
        }
    }
}

/// Why the path cannot be a root, if something else stands there.
fn wrong_kind(path: &Path) -> Option<String> {
    let kind = std::fs::symlink_metadata(path).ok()?.file_type();
    if kind.is_symlink() {
        let real = std::fs::canonicalize(path).map(|real| format!(": {}", real.display())).unwrap_or_default();
        return Some(format!("it is a symbolic link, which could be turned elsewhere; give the real path{real}"));
    }
    (!kind.is_dir()).then(|| "it is no folder; a mirror takes the files below a folder".to_owned())
}

/// A path with symbolic links resolved as far as it exists.
struct Place {
    real: PathBuf,
    /// Device and inode of the path itself, if it exists, then of the folders above it that do.
    ids: Vec<(u64, u64)>,
    exists: bool,
}

impl Place {
    fn of(path: &Path) -> Self {
        let found = path.ancestors().find_map(|a| std::fs::canonicalize(a).ok().map(|real| (a, real)));
        let (real, exists) = match found {
            Some((ancestor, real)) => {
                let missing = path.strip_prefix(ancestor).unwrap_or(Path::new(""));
                let exists = missing.as_os_str().is_empty();
                (if exists { real } else { real.join(missing) }, exists)
            }
            None => (path.to_owned(), false),
        };
        let ids = real.ancestors().filter_map(|a| std::fs::metadata(a).ok()).map(|m| (m.dev(), m.ino())).collect();
        Self { real, ids, exists }
    }

    /// One folder, also through two mounts of it.
    fn is_same(&self, other: &Self) -> bool {
        let same_id = self.exists && other.exists && self.ids.first() == other.ids.first() && !self.ids.is_empty();
        self.real == other.real || same_id
    }

    fn is_below(&self, other: &Self) -> bool {
        let own = usize::from(self.exists);
        let above = other.ids.first().filter(|_| other.exists);
        let by_id = above.is_some_and(|id| self.ids.iter().skip(own).any(|a| a == id));
        (self.real != other.real && self.real.starts_with(&other.real)) || by_id
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn config(journal: &Path, roots: &[&Path]) -> Config {
        let mut text = format!(
            "[connect]\ninstance_id = \"11111111-2222-4333-8444-555555555555\"\n[journal]\npath = {journal:?}\n"
        );
        for (at, root) in roots.iter().enumerate() {
            text.push_str(&format!(
                "[[mirror]]\nname = \"m{at}\"\npath = {root:?}\n\
                 case = \"arn:aws:cases:eu-west-2:123456789012:domain/d/case/c\"\n"
            ));
        }
        Config::parse(&text, Path::new("c.toml"), &|_| None).unwrap()
    }

    fn shown(journal: &Path, roots: &[&Path]) -> Vec<String> {
        config(journal, roots).check_paths(&|_| false).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn roots_that_are_apart_are_fine_and_may_be_missing() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b, missing) = (dir.path().join("a"), dir.path().join("ab"), dir.path().join("missing"));
        std::fs::create_dir_all(&a).unwrap();
        std::fs::create_dir_all(&b).unwrap();
        assert_eq!(shown(&dir.path().join("state/journal.db"), &[&a, &b, &missing]), Vec::<String>::new());
    }

    #[test]
    fn a_root_must_be_a_real_folder() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link, file) = (dir.path().join("real"), dir.path().join("link"), dir.path().join("file"));
        std::fs::create_dir(&real).unwrap();
        symlink(&real, &link).unwrap();
        std::fs::write(&file, "x").unwrap();
        let problems = shown(Path::new("/nowhere/j.db"), &[&link, &file]);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with(&format!("c.toml:7: mirror[m0].path = {link:?}: it is a symbolic link")));
        assert!(problems[0].ends_with(&format!("give the real path: {}", real.canonicalize().unwrap().display())));
        assert!(problems[1].starts_with(&format!("c.toml:11: mirror[m1].path = {file:?}: it is no folder")));
        let slash = dir.path().join("link/");
        assert_eq!(shown(Path::new("/nowhere/j.db"), &[&slash]).len(), 1, "a trailing slash does not hide a link");
    }

    #[test]
    fn overlapping_roots_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (outer, link) = (dir.path().join("outer"), dir.path().join("link"));
        let inner = outer.join("inner");
        std::fs::create_dir_all(&inner).unwrap();
        symlink(&outer, &link).unwrap();
        let one = |roots: &[&Path]| {
            let problems = shown(Path::new("/nowhere/j.db"), roots);
            assert_eq!(problems.len(), 1, "{problems:?}");
            problems.concat()
        };
        assert!(one(&[&outer, &outer]).contains("is the same folder as the root of mirror \"m0\""));
        assert!(one(&[&outer, &inner]).contains("it lies inside"));
        assert!(one(&[&inner, &outer]).contains("it contains"));
        assert!(one(&[&outer, &link.join("inner")]).contains("it lies inside"), "through a link above the root");
        assert!(one(&[&outer, &link.join("missing")]).contains("it lies inside"), "a root that does not exist yet");
        assert!(one(&[&dir.path().join("no/a"), &dir.path().join("no")]).contains("it contains"), "both missing");
    }

    #[test]
    fn archive_and_quarantine_lie_apart_from_roots_and_from_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["a", "b", "archive", "quarantine"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        symlink(at("a"), at("link")).unwrap();
        let problems = |archive: &Path, quarantine: &Path| {
            let (a, b, journal) = (at("a"), at("b"), at("state/journal.db"));
            let text = format!(
                "[connect]\ninstance_id = \"11111111-2222-4333-8444-555555555555\"\n[journal]\npath = {journal:?}\n\
                 [[mirror]]\nname = \"in\"\npath = {a:?}\ncase = \"arn:aws:cases:eu-west-2:123456789012:domain/d/case/c\"\n\
                 mode = \"ingest\"\nafter_approval = \"archive\"\narchive = {archive:?}\nquarantine = {quarantine:?}\n\
                 [[mirror]]\nname = \"other\"\npath = {b:?}\ncase = \"arn:aws:cases:eu-west-2:123456789012:domain/d/case/c\"\n"
            );
            let config = Config::parse(&text, Path::new("c.toml"), &|_| None).unwrap();
            config.check_paths(&|_| false).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(problems(&at("archive"), &at("quarantine")), Vec::<String>::new());
        assert_eq!(problems(&at("missing/archive"), &at("missing/quarantine")), Vec::<String>::new());
        let one = |archive: &Path, quarantine: &Path, line: &str, part: &str| {
            let found = problems(archive, quarantine);
            assert!(found.len() == 1 && found[0].starts_with(line) && found[0].contains(part), "{part}: {found:?}");
        };
        one(&at("a/archive"), &at("quarantine"), "c.toml:11: mirror[in].archive", "outside the root");
        one(&at("archive"), &at("b/x"), "c.toml:12: mirror[in].quarantine", "of \"other\"");
        one(&at("archive"), &at("archive"), "c.toml:12: mirror[in].quarantine", "apart from `archive`");
        one(&at("archive"), &at("archive/q"), "c.toml:12: mirror[in].quarantine", "apart from `archive`");
        one(&at("link"), &at("quarantine"), "c.toml:11: mirror[in].archive", "symbolic link");
        one(&at("state"), &at("quarantine"), "c.toml:11: mirror[in].archive", "journal");
        assert_eq!(problems(dir.path(), &at("quarantine")).len(), 3, "it contains both roots and the quarantine");
    }

    #[test]
    fn a_journal_inside_a_root_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (root, link) = (dir.path().join("root"), dir.path().join("link"));
        std::fs::create_dir(&root).unwrap();
        symlink(&root, &link).unwrap();
        for journal in [root.join("journal.db"), link.join("state/journal.db")] {
            let problems = shown(&journal, &[&root]);
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].starts_with("c.toml:4: journal.path = "), "{problems:?}");
        }
    }
}
