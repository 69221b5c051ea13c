//! The sidecar of a file: a small TOML file beside it, `NAME.casedrop.toml`, that says where the file belongs.
//!
//! ```toml
//! case = "…"          # the case's id or ARN; or
//! reference = "…"     # the case's reference number or reference id
//! file_name = "Invoice 4711.pdf"
//! tags = { source = "portal" }
//! ```
//!
//! Every key may be absent; a key that is not known is an error of that file alone. A sidecar is never a file of
//! its own, and it goes where its file goes. Only the text is judged here; it is read in one place,
//! `observe::sidecar`.

use std::collections::BTreeMap;

use super::naming;
use super::reference::Reference;
use super::routing::parse_uuid;
use crate::types::{CaseArn, RelPath};

/// What a sidecar's name ends with.
pub const SUFFIX: &str = ".casedrop.toml";

/// Bytes of the largest sidecar that is read.
pub const LARGEST: u64 = 64 * 1024;

/// The rule by which a sidecar is ignored as a file of its own.
pub const RULE: &str = "a sidecar (*.casedrop.toml), read with its file";

/// The service takes 50 tags (SERVICE.md 1.1); ten are kept for our own.
pub const MAX_TAGS: usize = 40;
const MAX_TAG_KEY: usize = 128;
const MAX_TAG_VALUE: usize = 256;

/// What a sidecar says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sidecar {
    pub case: Option<NamedCase>,
    /// The attachment's name, in place of the one made from the path.
    pub file_name: Option<String>,
    /// Beside the mirror's own; the same key counts as it stands here.
    pub tags: BTreeMap<String, String>,
}

/// A case as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedCase {
    Arn(CaseArn),
    /// A UUID in the configured domain.
    Id(String),
    Reference(Reference),
}

/// What stands beside a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Beside {
    /// No sidecar, or the mirror does not take any.
    #[default]
    Nothing,
    Sidecar(Sidecar),
    /// One that cannot be used; the text says why.
    Bad(String),
}

/// Whether the path is a sidecar's.
pub fn is_sidecar(path: &RelPath) -> bool {
    file_of(path).is_some()
}

/// The file that a sidecar belongs to; `None` when the path is no sidecar's.
pub fn file_of(path: &RelPath) -> Option<RelPath> {
    let name = path.file_name().strip_suffix(SUFFIX.as_bytes())?;
    if name.is_empty() {
        return None;
    }
    let end = path.as_bytes().len() - SUFFIX.len();
    RelPath::new(path.as_bytes().get(..end)?)
}

/// Where the sidecar of the file at `path` would stand; a sidecar has none.
pub fn beside(path: &RelPath) -> Option<RelPath> {
    if is_sidecar(path) {
        return None;
    }
    RelPath::new([path.as_bytes(), SUFFIX.as_bytes()].concat())
}

impl Sidecar {
    /// Reads a sidecar's bytes.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| syntax(&e, text))?;
        let mut sidecar = Self::default();
        for (key, value) in &table {
            let word = || value.as_str().map(str::trim).ok_or_else(|| format!("`{key}` must be a text in quotes"));
            match key.as_str() {
                "case" | "reference" if sidecar.case.is_some() => {
                    return Err("it names both `case` and `reference`: keep one".to_owned());
                }
                "case" => sidecar.case = Some(case(word()?)?),
                "reference" => {
                    let found =
                        Reference::new(word()?).ok_or_else(|| format!("`reference`: {}", Reference::ALLOWED))?;
                    sidecar.case = Some(NamedCase::Reference(found));
                }
                "file_name" => {
                    let name = word()?;
                    naming::check(name).map_err(|why| format!("`file_name`: {why}"))?;
                    sidecar.file_name = Some(name.to_owned());
                }
                "tags" => {
                    let tags = value.as_table().ok_or("`tags` must be a table of texts")?;
                    for (key, value) in tags {
                        let shown = || format!("`tags.{}`", plain(key));
                        let value = value.as_str().ok_or_else(|| format!("{} must be a text in quotes", shown()))?;
                        check_tag(key, value).map_err(|why| format!("{}: {why}", shown()))?;
                        sidecar.tags.insert(key.clone(), value.to_owned());
                    }
                }
                _ => {
                    let known = "case, reference, file_name, tags";
                    return Err(format!("there is no such key as `{}`; known are: {known}", plain(key)));
                }
            }
        }
        Ok(sidecar)
    }
}

fn case(text: &str) -> Result<NamedCase, String> {
    if let Some(id) = parse_uuid(text) {
        return Ok(NamedCase::Id(id));
    }
    let arn = CaseArn::new(text).map(NamedCase::Arn);
    arn.ok_or_else(|| "`case` must be a case's id (a UUID) or ARN; a reference goes into `reference`".to_owned())
}

/// Where and what, without the excerpt that the parser draws.
fn syntax(error: &toml::de::Error, text: &str) -> String {
    let at = error.span().map_or(0, |span| span.start);
    let line = text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1;
    format!("it is no TOML, line {line}: {}", plain(error.message()))
}

/// One short line, whatever a foreign file holds.
fn plain(text: &str) -> String {
    text.chars().take(120).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Whether a user's tag is one that the service takes and that is not ours (SERVICE.md 1.1).
///
/// # Errors
/// What is allowed.
pub fn check_tag(key: &str, value: &str) -> Result<(), String> {
    let folded = key.to_ascii_lowercase();
    if !(1..=MAX_TAG_KEY).contains(&key.chars().count()) {
        return Err(format!("a tag's key has 1 to {MAX_TAG_KEY} characters"));
    }
    if folded.starts_with("aws:") || folded.starts_with("casedrop:") {
        return Err("keys that begin with `aws:` or `casedrop:` are kept for AWS and for casedrop".to_owned());
    }
    if value.chars().count() > MAX_TAG_VALUE {
        return Err(format!("a tag's value has at most {MAX_TAG_VALUE} characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CASE: &str = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee";

    fn rel(bytes: impl AsRef<[u8]>) -> RelPath {
        RelPath::new(bytes.as_ref()).unwrap()
    }

    #[test]
    fn a_sidecar_is_told_by_its_name() {
        assert_eq!(file_of(&rel("x/a.pdf.casedrop.toml")), Some(rel("x/a.pdf")));
        for other in ["x/a.pdf", ".casedrop.toml", "x/.casedrop.toml", "casedrop.toml", "a.casedrop.toml/b"] {
            assert_eq!(file_of(&rel(other)), None, "{other}");
        }
        assert_eq!(beside(&rel("x/a.pdf")), Some(rel("x/a.pdf.casedrop.toml")));
        assert_eq!(beside(&rel("a.casedrop.toml")), None, "a sidecar has none of its own");
    }

    #[test]
    fn every_key_is_understood() {
        let text = format!("case = \"{CASE}\"\nfile_name = \"Invoice 1.pdf\"\ntags = {{ source = \"portal\" }}\n");
        let sidecar = Sidecar::parse(text.as_bytes()).unwrap();
        assert_eq!(sidecar.case, Some(NamedCase::Id(CASE.to_owned())));
        assert_eq!(sidecar.file_name.as_deref(), Some("Invoice 1.pdf"));
        assert_eq!(sidecar.tags, BTreeMap::from([("source".to_owned(), "portal".to_owned())]));
        let by_reference = Sidecar::parse(b"reference = \" CLM-4711 \"").unwrap();
        assert_eq!(by_reference.case, Some(NamedCase::Reference(Reference::new("clm-4711").unwrap())));
        assert_eq!(Sidecar::parse(b"").unwrap(), Sidecar::default());
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        for (text, says) in [
            (&b"case = 1"[..], "`case` must be a text"),
            (b"case = \"12345678\"", "a reference goes into `reference`"),
            (b"reference = \"a b\"", "`reference`: "),
            (b"reference = \"1\"\ncase = \"x\"", "`case` must be a case's id"),
            (b"reference = \"1\"\ncase = \"aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee\"", "keep one"),
            (b"case = \"\xff\"", "not UTF-8"),
            (b"\n\ncase = ", "no TOML, line 3"),
            (b"cse = \"x\"", "no such key as `cse`; known are: case, reference, file_name, tags"),
            (b"file_name = \"a\\nb.pdf\"", "`file_name`: "),
            (b"tags = { \"aws:x\" = \"1\" }", "`tags.aws:x`: keys that begin"),
            (b"tags = { x = 1 }", "`tags.x` must be a text"),
            (b"tags = 1", "`tags` must be a table"),
        ] {
            let why = Sidecar::parse(text).unwrap_err();
            assert!(why.contains(says) && !why.contains('\n'), "{}: {why}", String::from_utf8_lossy(text));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[a-z =\"{}.\n]{0,80}") {
            for input in [bytes.as_slice(), text.as_bytes()] {
                if let Err(why) = Sidecar::parse(input) {
                    prop_assert!(!why.contains('\n') && !why.is_empty());
                }
            }
        }

        /// What a person may put under each key: it is taken over to the letter, or refused in one line that names it.
        #[test]
        fn a_key_means_what_it_says_or_is_refused_by_name(
            case in prop::option::of(prop_oneof![
                Just(CASE.to_owned()), Just(format!("arn:aws:cases:eu-west-2:1:domain/d-1/case/{CASE}")), ".{0,60}",
            ]),
            reference in prop::option::of("[A-Za-z0-9#=/:+._-]{0,52}|.{0,20}"),
            file_name in prop::option::of("[a-zA-Z ]{1,20}\\.pdf|.{0,300}|(?s).{0,9}"),
            tags in prop::option::of(prop::collection::btree_map("(?is)(aws:|casedrop:|).{0,20}", "(?s).{0,300}", 0..4)),
            other in prop::option::weighted(0.1, "(?s).{0,20}"),
        ) {
            let mut table = toml::Table::new();
            let mut put = |key: &str, value: toml::Value| drop(table.insert(key.to_owned(), value));
            let text = |text: &String| toml::Value::String(text.clone());
            other.iter().for_each(|key| put(key, true.into()));
            case.iter().for_each(|case| put("case", text(case)));
            reference.iter().for_each(|reference| put("reference", text(reference)));
            file_name.iter().for_each(|name| put("file_name", text(name)));
            tags.iter().for_each(|tags| put("tags", toml::Table::from_iter(tags.iter().map(|(k, v)| (k.clone(), text(v)))).into()));
            match Sidecar::parse(table.to_string().as_bytes()) {
                Ok(sidecar) => {
                    prop_assert!(case.is_none() || reference.is_none());
                    let named = match sidecar.case.clone() {
                        None => None,
                        Some(NamedCase::Arn(arn)) => Some(arn.to_string()),
                        Some(NamedCase::Id(id)) => Some(id),
                        Some(NamedCase::Reference(reference)) => Some(reference.as_str().to_owned()),
                    };
                    let asked = case.or(reference).map(|text| text.trim().to_owned());
                    prop_assert_eq!(named, asked);
                    prop_assert_eq!(sidecar.file_name, file_name.map(|name| name.trim().to_owned()));
                    prop_assert_eq!(sidecar.tags, tags.unwrap_or_default());
                }
                Err(why) => {
                    prop_assert!(!why.contains(char::is_control), "{why:?}");
                    prop_assert!(why.chars().count() < 400, "{why}");
                    let known = ["`case`", "`reference`", "`file_name`", "`tags", "there is no such key as"];
                    prop_assert!(known.iter().any(|key| why.contains(key)), "{why}");
                }
            }
        }

        /// A sound sidecar with one part of it replaced by any other value of TOML.
        #[test]
        fn values_of_other_types_are_refused_in_one_line(
            key in prop::sample::select(vec!["case", "reference", "file_name", "tags", "tags.a"]),
            value in prop::sample::select(vec![
                "1", "-1.5e300", "nan", "true", "[]", "[[1]]", "{}", "{ a = { b = 1 } }", "2026-01-01T00:00:00Z", "'''\n'''", "\"\\u0000\"",
            ]),
        ) {
            let read = Sidecar::parse(format!("{key} = {value}").as_bytes());
            let is_text = value.starts_with(['\'', '"']);
            if (key, value) == ("tags", "{}") || (key == "tags.a" && is_text) {
                prop_assert!(read.is_ok(), "{read:?}");
            } else {
                let why = read.expect_err("no such value is taken");
                prop_assert!(!why.contains(char::is_control), "{key} = {value}: {why:?}");
                prop_assert!(why.starts_with(&format!("`{key}`")) || key == "tags", "{key} = {value}: {why:?}");
            }
        }

        #[test]
        fn a_file_and_its_sidecar_name_each_other(bytes in prop::collection::vec(any::<u8>(), 1..40)) {
            if let Some(path) = RelPath::new(bytes)
                && let Some(sidecar) = beside(&path)
            {
                prop_assert_eq!(file_of(&sidecar), Some(path));
            }
        }
    }
}
