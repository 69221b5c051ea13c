//! How an attachment is named at Connect.
//!
//! With `file_name = "path"` (the default) the name is the file's path below the mirror's root, its parts joined
//! with ` - `: `letters/2026/a.pdf` becomes `letters - 2026 - a.pdf`. With `"base"` it is the file's own name.
//!
//! A name that can be used as it is, is used as it is. Otherwise it is *mapped*: what cannot stay becomes `_`, and
//! a tag of eight hexadecimal digits goes before the extension, as in `scan_1~3f9a2c1b.pdf`. The tag comes from
//! the exact bytes of the path (of the file's own name with `"base"`), so that two paths do not end up with one
//! name because of the mapping. A name is mapped when
//!
//! 1. it holds bytes that are not UTF-8, or characters that Connect refuses (Unicode class C: control characters,
//!    zero-width joiners, private use…; SERVICE.md 1.1);
//! 2. it is not in Unicode's composed form (NFC), as files from macOS often are not: the name is composed;
//! 3. it begins or ends with white space;
//! 4. it is longer than 200 characters: the part before the extension is cut (Connect's limit is 256, and whether
//!    that counts characters or UTF-16 units is not documented);
//! 5. its parts could not be told apart again: a file named `a - b.pdf` could be the file `b.pdf` in the folder
//!    `a`, so the former gets the tag and the latter does not (only with `"path"`);
//! 6. it already looks as if it carried a tag.
//!
//! Hence names are injective up to a collision of the tag, 32 bits of SHA-256, between two mapped names that are
//! otherwise equal; a case holds some fifty files. With `"base"` that holds within one folder only: equal file
//! names from two folders are equal at Connect, which is the user's choice.
//!
//! The extension (after the last `.`, 1 to 10 ASCII letters or digits) is always kept, because Connect judges a
//! file's type by it (SERVICE.md 1.2).

use std::sync::LazyLock;

use regex::Regex;
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

use crate::types::{ContentHash, RelPath};

/// Longest name we give, in characters.
const MAX_CHARS: usize = 200;

/// What joins the parts of a path.
const JOINT: &str = " - ";

/// Digits of a tag.
const TAG_DIGITS: usize = 8;

/// Longest extension that is kept, in characters.
const MAX_EXTENSION: usize = 10;

/// A character that Connect refuses in a name (SERVICE.md 1.1).
#[expect(clippy::expect_used, reason = "a constant pattern; every test of this module runs it")]
static CLASS_C: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\p{C}").expect("a valid pattern"));

/// What an attachment's name is made from (config key `file_name`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileNaming {
    /// The whole relative path, its parts joined with ` - `.
    Path,
    /// The last part alone.
    Base,
}

/// A name that Connect accepts: 1 to 200 characters, composed, none of class C.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentName {
    pub name: String,
    /// The name carries a tag, because it is not simply the path.
    pub mapped: bool,
}

impl FileNaming {
    /// The name of the attachment of the file at `path`; the same for the same path, always.
    pub fn attachment_name(&self, path: &RelPath) -> AttachmentName {
        let source = match self {
            Self::Path => path.as_bytes(),
            Self::Base => path.file_name(),
        };
        let usable = std::str::from_utf8(source).ok().and_then(|text| match self {
            Self::Path => as_it_is(text.replace('/', JOINT)).filter(|name| name.split(JOINT).eq(text.split('/'))),
            Self::Base => as_it_is(text.to_owned()),
        });
        match usable {
            Some(name) => AttachmentName { name, mapped: false },
            None => AttachmentName { name: mapped(source), mapped: true },
        }
    }
}

/// The name for a new version when Connect does not let it stand beside the old one under the same name:
/// `name~1a2b3c4d.pdf`, by the content's hash.
pub fn beside(name: &str, hash: ContentHash) -> String {
    let (stem, extension) = split_extension(name);
    let tag: String = hash.to_string().chars().take(TAG_DIGITS).collect();
    match extension {
        Some(extension) => format!("{stem}~{tag}.{extension}"),
        None => format!("{stem}~{tag}"),
    }
}

/// Whether Connect takes a name that a person chose (SERVICE.md 1.1).
///
/// # Errors
/// What is wrong with it.
pub fn check(name: &str) -> Result<(), &'static str> {
    if name.trim().is_empty() {
        return Err("it is empty");
    }
    if name.trim() != name {
        return Err("it begins or ends with white space");
    }
    if name.chars().count() > MAX_CHARS {
        return Err("it is longer than 200 characters");
    }
    if CLASS_C.is_match(name) {
        return Err("it holds control or invisible characters, which Connect refuses");
    }
    Ok(())
}

/// The name, when Connect takes it and it cannot be mistaken for a mapped one.
fn as_it_is(name: String) -> Option<String> {
    let ok = !name.starts_with(char::is_whitespace)
        && !name.ends_with(char::is_whitespace)
        && name.chars().count() <= MAX_CHARS
        && !CLASS_C.is_match(&name)
        && (name.is_ascii() || unicode_normalization::is_nfc(&name))
        && !looks_tagged(&name);
    ok.then_some(name)
}

/// The name with everything replaced that cannot stay, and the tag.
fn mapped(source: &[u8]) -> String {
    let mut text = String::with_capacity(source.len() + 16);
    for chunk in source.utf8_chunks() {
        text.push_str(&chunk.valid().replace('/', JOINT));
        if !chunk.invalid().is_empty() {
            text.push('_');
        }
    }
    let text: String = CLASS_C.replace_all(&text, "_").nfc().collect();
    let inner = text.trim();
    let before = text.len() - text.trim_start().len();
    let leading = text.get(..before).map_or(0, |s| s.chars().count());
    let trailing = text.get(before + inner.len()..).map_or(0, |s| s.chars().count());
    let text = format!("{}{inner}{}", "_".repeat(leading), "_".repeat(trailing));

    let (stem, extension) = split_extension(&text);
    let room = MAX_CHARS - 1 - TAG_DIGITS - extension.map_or(0, |e| 1 + e.len());
    let mut name: String = stem.chars().take(room).collect();
    name.push('~');
    name.push_str(&tag(source));
    if let Some(extension) = extension {
        name.push('.');
        name.push_str(extension);
    }
    name
}

/// The first 32 bits of the SHA-256.
fn tag(source: &[u8]) -> String {
    Sha256::digest(source).iter().take(TAG_DIGITS / 2).map(|b| format!("{b:02x}")).collect()
}

/// Whether the part before the extension ends with `~` and eight hexadecimal digits, as every mapped name does.
fn looks_tagged(name: &str) -> bool {
    let stem = split_extension(name).0;
    stem.rsplit_once('~').is_some_and(|(_, tag)| {
        tag.len() == TAG_DIGITS && tag.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

/// The name's stem and its extension, without the dot between them.
fn split_extension(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once('.') {
        Some((stem, extension))
            if !stem.is_empty()
                && (1..=MAX_EXTENSION).contains(&extension.len())
                && extension.bytes().all(|b| b.is_ascii_alphanumeric()) =>
        {
            (stem, Some(extension))
        }
        _ => (name, None),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_beside_another_keeps_its_extension() {
        let hash = ContentHash([0xab; 32]);
        assert_eq!(beside("a b.pdf", hash), "a b~abababab.pdf");
        assert_eq!(beside("plain", hash), "plain~abababab");
    }

    fn rel(bytes: impl AsRef<[u8]>) -> RelPath {
        RelPath::new(bytes.as_ref()).unwrap()
    }

    fn path_name(bytes: impl AsRef<[u8]>) -> AttachmentName {
        FileNaming::Path.attachment_name(&rel(bytes))
    }

    #[test]
    fn ordinary_names_stay() {
        for (path, name) in [
            ("a.pdf", "a.pdf"),
            ("letters/2026/a.pdf", "letters - 2026 - a.pdf"),
            ("Grüße, Köln (1).PDF", "Grüße, Köln (1).PDF"),
            ("x/- a.pdf", "x - - a.pdf"),
            ("no extension", "no extension"),
            ("half~3f9a2c.pdf", "half~3f9a2c.pdf"),
        ] {
            assert_eq!(path_name(path), AttachmentName { name: name.into(), mapped: false });
        }
        let base = FileNaming::Base.attachment_name(&rel("x/a - b.pdf"));
        assert_eq!(base, AttachmentName { name: "a - b.pdf".into(), mapped: false });
    }

    /// The tags are fixed for good: a change would upload every mapped file anew.
    #[test]
    fn mapped_names_are_fixed() {
        let shown: Vec<String> = [
            &b"a\xff\xfeb.pdf"[..],
            b"tab\there.pdf",
            "family \u{1f468}\u{200d}\u{1f469}.png".as_bytes(),
            "u\u{308}ber.pdf".as_bytes(),
            b" lead.pdf",
            b"trail.pdf ",
            b"a - b.pdf",
            b"a -/b.pdf",
            b"name~3f9a2c1b.pdf",
            b"\n",
        ]
        .iter()
        .map(|p| {
            let name = path_name(p);
            assert!(name.mapped, "{name:?}");
            name.name
        })
        .collect();
        let tag = |bytes: &[u8]| tag(bytes);
        assert_eq!(tag(b"abc"), "ba7816bf", "FIPS 180-2, first bytes of the digest of abc");
        assert_eq!(
            shown,
            [
                format!("a__b~{}.pdf", tag(b"a\xff\xfeb.pdf")),
                format!("tab_here~{}.pdf", tag(b"tab\there.pdf")),
                format!("family \u{1f468}_\u{1f469}~{}.png", tag("family \u{1f468}\u{200d}\u{1f469}.png".as_bytes())),
                format!("\u{fc}ber~{}.pdf", tag("u\u{308}ber.pdf".as_bytes())),
                format!("_lead~{}.pdf", tag(b" lead.pdf")),
                format!("trail.pdf_~{}", tag(b"trail.pdf ")),
                format!("a - b~{}.pdf", tag(b"a - b.pdf")),
                format!("a - - b~{}.pdf", tag(b"a -/b.pdf")),
                format!("name~3f9a2c1b~{}.pdf", tag(b"name~3f9a2c1b.pdf")),
                format!("_~{}", tag(b"\n")),
            ]
        );
    }

    #[test]
    fn a_long_name_is_cut_before_its_extension() {
        let name = path_name(format!("{}/{}.docx", "ü".repeat(120), "x".repeat(120)));
        assert_eq!(name.name.chars().count(), MAX_CHARS);
        assert!(name.mapped && name.name.starts_with("üüü") && name.name.ends_with(".docx"), "{name:?}");
        assert!(!path_name("x".repeat(MAX_CHARS)).mapped);
        assert!(path_name("x".repeat(MAX_CHARS + 1)).mapped);
    }

    #[test]
    fn unassigned_and_private_characters_are_replaced() {
        for c in ['\u{378}', '\u{e000}', '\u{ad}', '\u{feff}', '\u{202e}', '\u{7f}', '\u{10ffff}'] {
            assert!(path_name(format!("a{c}b.pdf")).name.starts_with("a_b~"), "{c:?}");
        }
    }

    #[test]
    fn a_tag_is_of_the_named_bytes() {
        let moved = |path: &str| FileNaming::Base.attachment_name(&rel(path)).name;
        assert_eq!(moved("a/x\n.pdf"), moved("b/x\n.pdf"), "a move between folders keeps a base name");
    }

    /// Parts made of what flattening and mapping could confuse.
    fn part() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => prop::sample::select(vec![
                &b"a"[..], b"b", b"-", b" ", b" - ", b" -", b"- ", b"_", b"~", b"~3f9a2c1b", b".pdf", b".", b"\n",
                b"\xff", b"\xc3", "\u{fc}".as_bytes(), "u\u{308}".as_bytes(), "\u{308}".as_bytes(),
                "\u{200d}".as_bytes(), "\u{2028}".as_bytes(), "\u{212a}".as_bytes(), b"K",
            ]).prop_map(<[u8]>::to_vec),
            1 => prop::collection::vec(any::<u8>(), 1..4),
            1 => prop::collection::vec(prop::sample::select(vec![b'x', b'y']), 90..130),
        ];
        prop::collection::vec(piece, 1..5).prop_map(|pieces| pieces.concat())
    }

    fn path() -> impl Strategy<Value = RelPath> {
        prop::collection::vec(part(), 1..4).prop_filter_map("no path", |parts| RelPath::new(parts.join(&b'/')))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn a_name_is_always_legal(path in path()) {
            for naming in [FileNaming::Path, FileNaming::Base] {
                let AttachmentName { name, mapped } = naming.attachment_name(&path);
                prop_assert!((1..=MAX_CHARS).contains(&name.chars().count()));
                prop_assert!(!CLASS_C.is_match(&name) && !name.contains('/'));
                prop_assert!(unicode_normalization::is_nfc(&name));
                prop_assert_eq!(name.trim(), name.as_str());
                prop_assert_eq!(looks_tagged(&name), mapped);
                prop_assert_eq!(naming.attachment_name(&path).name, name, "deterministic");
            }
        }

        /// Different paths, different names; and no mapped name is one that an unmapped path could have.
        #[test]
        fn no_two_paths_share_a_name(paths in prop::collection::hash_set(path(), 2..30)) {
            let mut names = HashMap::new();
            for path in &paths {
                if let Some(other) = names.insert(FileNaming::Path.attachment_name(path).name, path) {
                    prop_assert!(false, "{path:?} and {other:?} share a name");
                }
            }
        }

        /// An unmapped name leads back to its path, which is the proof that unmapped names are injective.
        #[test]
        fn an_unmapped_name_leads_back_to_its_path(path in path()) {
            let AttachmentName { name, mapped } = FileNaming::Path.attachment_name(&path);
            if !mapped {
                let back = name.replace(JOINT, "/");
                prop_assert_eq!(back.as_bytes(), path.as_bytes());
            }
        }

        #[test]
        fn no_two_files_of_one_folder_share_a_base_name(parts in prop::collection::hash_set(part(), 2..30)) {
            let mut names = HashMap::new();
            let below = |part: &Vec<u8>| RelPath::new([b"dir/".as_slice(), part].concat()).filter(|p| !part.contains(&b'/') && p.as_bytes().len() > 4);
            for path in parts.iter().filter_map(below) {
                if let Some(other) = names.insert(FileNaming::Base.attachment_name(&path).name, path.clone()) {
                    prop_assert!(false, "{path:?} and {other:?} share a name");
                }
            }
        }

        #[test]
        fn the_extension_is_kept(path in path(), stem in part(), extension in "[A-Za-z0-9]{1,10}") {
            let mut bytes = path.as_bytes().to_vec();
            bytes.extend_from_slice(b"/x");
            bytes.extend_from_slice(&stem);
            bytes.push(b'.');
            bytes.extend_from_slice(extension.as_bytes());
            if let Some(path) = RelPath::new(bytes) {
                for naming in [FileNaming::Path, FileNaming::Base] {
                    let end = format!(".{extension}");
                    prop_assert!(naming.attachment_name(&path).name.ends_with(&end));
                }
            }
        }

        #[test]
        fn any_bytes_have_a_name(bytes in prop::collection::vec(any::<u8>(), 1..400)) {
            if let Some(path) = RelPath::new(bytes) {
                prop_assert!(!FileNaming::Path.attachment_name(&path).name.is_empty());
            }
        }
    }
}
