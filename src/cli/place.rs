//! Which file an argument means.
//!
//! A path may be absolute, relative to the current folder, or relative to a mirror's root; as its bytes are, or as
//! casedrop shows them (`\xNN`). What casedrop knows wins over what it does not.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use super::context::Known;
use super::exit::Failed;
pub use crate::tags::unescape;
use crate::types::RelPath;

/// [`find`] for a list of arguments, each with its mirror; the first that names no place ends it.
pub fn find_all<'m>(
    arguments: &[OsString],
    current: &Path,
    mirrors: &'m [Known],
    known: &dyn Fn(&Known, &RelPath) -> bool,
) -> Result<Vec<(&'m Known, RelPath)>, Failed> {
    let mut places = Vec::with_capacity(arguments.len());
    for argument in arguments {
        let (at, path) = find(argument, current, mirrors, known)?;
        places.extend(mirrors.get(at).map(|mirror| (mirror, path)));
    }
    Ok(places)
}

/// Finds the mirror (its place in `mirrors`) and the path below its root. `known` says whether the journal knows it.
pub fn find(
    argument: &OsStr,
    current: &Path,
    mirrors: &[Known],
    known: &dyn Fn(&Known, &RelPath) -> bool,
) -> Result<(usize, RelPath), Failed> {
    let shown = argument.to_string_lossy();
    // What the argument points at from here, and what it would be below each root.
    let (mut pointed, mut guessed) = (Vec::new(), Vec::new());
    let mut is_root = None;
    for form in forms(argument) {
        let here = absolute(current, Path::new(OsStr::from_bytes(&form)));
        for path in [Some(here.clone()), real(&here)].into_iter().flatten() {
            for (at, mirror) in mirrors.iter().enumerate() {
                match below(&path, mirror) {
                    Some(Some(place)) => pointed.push((at, place)),
                    Some(None) => is_root = Some(mirror),
                    None => {}
                }
            }
        }
        let form = form.strip_prefix(b"./").unwrap_or(&form);
        if let Some(place) = RelPath::new(form.strip_suffix(b"/").unwrap_or(form)) {
            guessed.extend((0..mirrors.len()).map(|at| (at, place.clone())));
        }
    }

    let in_journal = |at: usize, path: &RelPath| mirrors.get(at).is_some_and(|mirror| known(mirror, path));
    let on_disk = |at: usize, path: &RelPath| {
        mirrors.get(at).is_some_and(|m| m.root.join(path.as_path()).symlink_metadata().is_ok())
    };
    for there in [&in_journal as &dyn Fn(usize, &RelPath) -> bool, &on_disk] {
        if let Some(place) = pointed.iter().find(|(at, path)| there(*at, path)) {
            return Ok(place.clone());
        }
        let mut found: Vec<_> = guessed.iter().filter(|(at, path)| there(*at, path)).collect();
        found.dedup();
        match found.as_slice() {
            [] => {}
            [only] => return Ok((*only).clone()),
            [_, _, ..] => {
                let names: Vec<&str> =
                    found.iter().filter_map(|(at, _)| mirrors.get(*at)).map(|m| m.name.as_str()).collect();
                return Err(Failed::usage(format!("{shown} is in several mirrors: {}", names.join(", ")))
                    .hint("give the whole path, or choose with --mirror"));
            }
        }
    }
    if let Some(mirror) = is_root {
        return Err(Failed::usage(format!("{shown} is the root of mirror {}, not a file in it", mirror.name)));
    }
    // Nobody knows it. The last form is the unescaped one, and only one mirror leaves no doubt.
    if let Some(place) = pointed.pop() {
        return Ok(place);
    }
    match guessed.pop() {
        Some(place) if mirrors.len() == 1 => Ok(place),
        _ => {
            let roots: Vec<String> = mirrors.iter().map(|m| format!("{} ({})", m.name, m.root.display())).collect();
            Err(Failed::usage(format!("{shown} is in no mirror; there are: {}", roots.join(", ")))
                .hint("give the whole path, or one relative to a mirror's folder"))
        }
    }
}

/// The argument's bytes, and what it stands for if it is written as casedrop shows names.
fn forms(argument: &OsStr) -> Vec<Vec<u8>> {
    let raw = argument.as_bytes().to_vec();
    let plain = unescape(&raw);
    if plain == raw { vec![raw] } else { vec![raw, plain] }
}

/// `path` from `current`, without `.` and `..`, by its text alone: the file may be gone.
pub fn absolute(current: &Path, path: &Path) -> PathBuf {
    let mut whole = PathBuf::new();
    for part in current.join(path).components() {
        match part {
            Component::ParentDir => {
                whole.pop();
            }
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) | Component::Normal(_) => whole.push(part),
        }
    }
    whole
}

/// The path with the links of the folders above it resolved, as far as they exist.
fn real(path: &Path) -> Option<PathBuf> {
    let mut missing = Vec::new();
    let mut folder = path;
    loop {
        missing.push(folder.file_name()?.to_owned());
        folder = folder.parent()?;
        if let Ok(real) = folder.canonicalize() {
            let whole: PathBuf = std::iter::once(real.into_os_string()).chain(missing.into_iter().rev()).collect();
            return (whole != path).then_some(whole);
        }
    }
}

/// Where `path` lies in the mirror: `Some(None)` is the root itself.
fn below(path: &Path, mirror: &Known) -> Option<Option<RelPath>> {
    let roots = [Some(mirror.root.clone()), mirror.root.canonicalize().ok()];
    let rest = roots.iter().flatten().find_map(|root| path.strip_prefix(root).ok())?;
    Some(RelPath::new(rest.as_os_str().to_owned().into_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(name: &str, root: &str) -> Known {
        Known { name: name.to_owned(), root: PathBuf::from(root), id: None, row: None, config: None }
    }

    fn rel(path: &[u8]) -> RelPath {
        RelPath::new(path).unwrap()
    }

    fn find_in(argument: &[u8], current: &str, known: &[&[u8]]) -> Result<(usize, RelPath), String> {
        let mirrors = [mirror("a", "/no/a"), mirror("b", "/no/b")];
        let is_known = |mirror: &Known, path: &RelPath| {
            let whole = [mirror.name.as_bytes(), b":", path.as_bytes()].concat();
            known.contains(&whole.as_slice())
        };
        find(OsStr::from_bytes(argument), Path::new(current), &mirrors, &is_known).map_err(|f| f.text.unwrap())
    }

    #[test]
    fn absolute_and_relative_paths_are_found() {
        assert_eq!(find_in(b"/no/b/x/y.pdf", "/", &[]), Ok((1, rel(b"x/y.pdf"))));
        assert_eq!(find_in(b"/no/b/./x/../y.pdf", "/", &[]), Ok((1, rel(b"y.pdf"))));
        assert_eq!(find_in(b"y.pdf", "/no/a/x", &[]), Ok((0, rel(b"x/y.pdf"))));
        assert_eq!(find_in(b"../y.pdf", "/no/a/x", &[]), Ok((0, rel(b"y.pdf"))));
    }

    #[test]
    fn a_path_below_a_root_is_found_from_anywhere_when_it_is_known() {
        assert_eq!(find_in(b"x/y.pdf", "/tmp", &[b"b:x/y.pdf"]), Ok((1, rel(b"x/y.pdf"))));
        let both: &[&[u8]] = &[b"a:y.pdf", b"b:y.pdf"];
        assert!(find_in(b"y.pdf", "/tmp", both).unwrap_err().contains("several mirrors: a, b"));
        assert_eq!(find_in(b"y.pdf", "/no/b", both), Ok((1, rel(b"y.pdf"))), "where one stands counts");
        assert!(find_in(b"y.pdf", "/tmp", &[]).unwrap_err().contains("in no mirror"));
    }

    #[test]
    fn the_shown_form_means_its_bytes() {
        let known: &[&[u8]] = &[b"a:caf\xe9.pdf"];
        assert_eq!(find_in(br"caf\xe9.pdf", "/tmp", known), Ok((0, rel(b"caf\xe9.pdf"))));
        assert_eq!(find_in(br"/no/a/caf\xe9.pdf", "/tmp", known), Ok((0, rel(b"caf\xe9.pdf"))));
        assert_eq!(find_in(b"/no/a/caf\xe9.pdf", "/tmp", &[]), Ok((0, rel(b"caf\xe9.pdf"))));
        let literal: &[&[u8]] = &[br"a:caf\xe9.pdf"];
        assert_eq!(find_in(br"/no/a/caf\xe9.pdf", "/tmp", literal), Ok((0, rel(br"caf\xe9.pdf"))));
        assert_eq!(unescape(br"a\x5cb\xzz\x4"), br"a\b\xzz\x4");
    }

    #[test]
    fn a_root_is_no_file() {
        assert!(find_in(b"/no/a", "/", &[]).unwrap_err().contains("is the root of mirror a"));
        assert!(find_in(b"/elsewhere/x", "/", &[]).unwrap_err().contains("in no mirror"));
    }
}
