//! The tags that make our attachments self-describing at Connect (DESIGN §3): a lost journal can be rebuilt from
//! them, and what carries none of them is not ours.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::config;
use crate::core::model::{Attachment, Version};
use crate::types::{ClientToken, ContentHash, RelPath};

pub const MIRROR: &str = "casedrop:mirror";
pub const PATH: &str = "casedrop:path";
pub const SHA256: &str = "casedrop:sha256";
/// Holds the client token, which is unique per attempt.
pub const ATTEMPT: &str = "casedrop:attempt";

/// Of what was converted: the file's own size and the SHA-256 of what was sent, as `SIZE:SHA256`. [`SHA256`] is the
/// file's own; the size that Connect shows is that of what was sent.
pub const CONVERTED: &str = "casedrop:converted";

/// Longest tag value, in characters (SERVICE.md 1.1).
const LONGEST_VALUE: usize = 256;

/// The tags of one attempt: ours and the user's own.
pub fn of(mirror: &config::Mirror, attachment: &Attachment) -> BTreeMap<String, String> {
    let mut tags = attachment.extras.as_ref().map_or_else(|| mirror.tags.clone(), |extras| extras.tags.clone());
    set(&mut tags, &mirror.name, &attachment.path, &attachment.version, &attachment.token);
    tags
}

/// Puts ours among the user's own.
fn set(tags: &mut BTreeMap<String, String>, mirror: &str, path: &RelPath, version: &Version, token: &ClientToken) {
    tags.insert(MIRROR.into(), mirror.to_owned());
    tags.insert(PATH.into(), path_value(path));
    tags.insert(SHA256.into(), version.hash.to_string());
    tags.insert(ATTEMPT.into(), token.to_string());
}

/// The path as it is shown, or `sha256:` and the hash of its bytes when that is too long.
pub fn path_value(path: &RelPath) -> String {
    let shown = path.to_string();
    if shown.chars().count() <= LONGEST_VALUE {
        return shown;
    }
    format!("sha256:{}", hash(path))
}

/// Which path the tag of an attachment names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Path(RelPath),
    /// Only the hash of a long path: to be compared with [`path_value`] of the paths there are.
    Hash(String),
}

/// What the tags of one file at Connect say of where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub mirror: String,
    pub place: Place,
    pub hash: ContentHash,
    pub token: String,
    /// Of what was converted: the file's own size, the hash of what was sent.
    pub converted: Option<(u64, ContentHash)>,
}

impl Origin {
    /// The file's own content, and what was sent where that is something else, of a file of this size at Connect.
    pub fn versions(&self, size: u64) -> (Version, Option<Version>) {
        match self.converted {
            None => (Version { size, hash: self.hash }, None),
            Some((own, sent)) => (Version { size: own, hash: self.hash }, Some(Version { size, hash: sent })),
        }
    }
}

/// The value of [`CONVERTED`] for a file of `own_size` bytes.
pub fn converted_value(own_size: u64, sent: ContentHash) -> String {
    format!("{own_size}:{sent}")
}

/// Reads our tags back. `None` unless all of them are there and well-formed: then the file is not ours.
pub fn read(tags: &BTreeMap<String, String>) -> Option<Origin> {
    let get = |key: &str| tags.get(key).map(String::as_str).filter(|value| !value.is_empty());
    let converted = match tags.get(CONVERTED) {
        None => None,
        Some(value) => {
            let (size, hash) = value.split_once(':')?;
            let (size, hash) = (size.parse().ok()?, parse_hash(hash)?);
            // `+5` and `05` are numbers too, and not what was set.
            if converted_value(size, hash) != *value {
                return None;
            }
            Some((size, hash))
        }
    };
    Some(Origin {
        mirror: get(MIRROR)?.to_owned(),
        place: place(get(PATH)?)?,
        hash: parse_hash(get(SHA256)?)?,
        token: get(ATTEMPT)?.to_owned(),
        converted,
    })
}

fn place(value: &str) -> Option<Place> {
    if value.strip_prefix("sha256:").and_then(parse_hash).is_some() {
        return Some(Place::Hash(value.to_owned()));
    }
    // Shown paths stand for one path each, so only a value that shows itself again was ours.
    let path = RelPath::new(unescape(value.as_bytes()))?;
    (path.to_string() == value).then_some(Place::Path(path))
}

fn parse_hash(text: &str) -> Option<ContentHash> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(ContentHash(bytes))
}

/// Turns every `\xNN` into its byte: the reverse of how a [`RelPath`] shows itself.
pub fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.strip_prefix(b"x").and_then(|hex| hex.get(..2));
        let byte =
            digits.and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

/// What stands for a path in a log that must hold no names.
pub fn hidden(path: &RelPath) -> String {
    let mut text = hash(path).to_string();
    text.truncate(16);
    text
}

fn hash(path: &RelPath) -> ContentHash {
    ContentHash(Sha256::digest(path.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(path: &str) -> BTreeMap<String, String> {
        let hash = "ab".repeat(32);
        [(MIRROR, "m"), (PATH, path), (SHA256, hash.as_str()), (ATTEMPT, "t")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into()
    }

    #[test]
    fn tags_are_read_back_or_not_ours() {
        let origin = read(&all("a/\\xff.pdf")).unwrap();
        assert_eq!(origin.place, Place::Path(RelPath::new(&b"a/\xff.pdf"[..]).unwrap()));
        assert_eq!((origin.mirror.as_str(), origin.token.as_str(), origin.hash), ("m", "t", ContentHash([0xab; 32])));
        for key in [MIRROR, PATH, SHA256, ATTEMPT] {
            let mut tags = all("a");
            tags.remove(key);
            assert_eq!(read(&tags), None, "{key}");
            tags.insert(key.to_owned(), String::new());
            assert_eq!(read(&tags), None, "{key}");
        }
        for bad in ["/a", "a/../b", "a\\b", "a\\x41", "a\n"] {
            assert_eq!(read(&all(bad)), None, "{bad:?}");
        }
        assert_eq!(origin.versions(7), (Version { size: 7, hash: origin.hash }, None));
        let (mut tags, sent) = (all("a"), ContentHash([0xcd; 32]));
        tags.insert(CONVERTED.into(), converted_value(9, sent));
        let versions = (Version { size: 9, hash: origin.hash }, Some(Version { size: 7, hash: sent }));
        assert_eq!(read(&tags).unwrap().versions(7), versions);
        for bad in ["", "9", "9:", ":", "x:y", "-1:00"] {
            tags.insert(CONVERTED.into(), bad.into());
            assert_eq!(read(&tags), None, "{bad:?}");
        }
        let mut tags = all("a");
        tags.insert(SHA256.into(), "AB".repeat(32));
        assert_eq!(read(&tags), None);
    }

    /// One of our tags with a value that is nearly right, or any other.
    fn altered() -> impl Strategy<Value = (&'static str, String)> {
        let any_key = || prop::sample::select(vec![MIRROR, PATH, SHA256, ATTEMPT, CONVERTED]);
        prop_oneof![
            (Just(CONVERTED), "[+-]?0{0,2}[0-9]{0,21}:([0-9a-f]{64}|[0-9a-fA-F]{63,65})"),
            (Just(SHA256), "[+]?[0-9a-f]{63,65}|[0-9a-fA-F]{64}"),
            (Just(PATH), r"(sha256:)?[0-9a-fA-F]{64}|(\\x[0-9a-fA-F]{0,3}|[a-z./\\]){0,12}"),
            (any_key(), ".{0,80}"),
        ]
    }

    proptest! {
            #[test]
            fn every_path_is_found_again(bytes in prop::collection::vec(any::<u8>(), 1..400)) {
                let Some(path) = RelPath::new(bytes) else { return Ok(()) };
                match place(&path_value(&path)) {
                    Some(Place::Path(found)) => prop_assert_eq!(found, path),
                    Some(Place::Hash(value)) => prop_assert_eq!(value, path_value(&path)),
                    None => prop_assert!(false, "not read back"),
                }
            }

            #[test]
            fn what_is_set_is_read_back(
                mirror in ".{1,40}",
                path in prop::collection::vec(any::<u8>(), 1..300),
                token in any::<[u8; 16]>(),
                (size, sent_size, own, sent) in any::<(u64, u64, [u8; 32], [u8; 32])>(),
                converted in any::<bool>(),
                users in prop::collection::btree_map("(casedrop:)?[a-z]{0,9}", ".{0,40}", 0..5),
            ) {
                let Some(path) = RelPath::new(path) else { return Ok(()) };
                let (own, sent) = (ContentHash(own), ContentHash(sent));
                let version = Version { size, hash: own };
                let mut tags: BTreeMap<String, String> = users;
                // As the configuration and the sidecars have it.
                tags.retain(|key, _| crate::core::sidecar::check_tag(key, "").is_ok());
                let user = tags.clone();
                set(&mut tags, &mirror, &path, &version, &ClientToken::from_random(token));
                if converted {
                    tags.insert(CONVERTED.into(), converted_value(size, sent));
                }
                let Some(origin) = read(&tags) else { return Err(TestCaseError::fail("not read back")) };
                prop_assert!(origin.mirror == mirror && origin.token == ClientToken::from_random(token).as_str());
                match origin.place.clone() {
                    Place::Path(found) => prop_assert_eq!(found, path),
                    Place::Hash(value) => prop_assert_eq!(value, path_value(&path)),
                }
                let at_connect = if converted { sent_size } else { size };
                let whole = converted.then_some(Version { size: sent_size, hash: sent });
                prop_assert_eq!(origin.versions(at_connect), (version, whole));
                tags.retain(|key, _| !key.starts_with("casedrop:"));
                prop_assert_eq!(tags, user, "the user's own stay as they are");
            }

            /// Whatever stands in the tags of a file at Connect: it is not ours, or says what we would have written.
            #[test]
            fn any_tags_are_not_ours_or_as_we_set_them(
    altered in prop::collection::vec(altered(), 0..3),
                foreign in prop::collection::btree_map(".{0,20}", ".{0,20}", 0..3),
            ) {
                let mut tags = all("a/b.pdf");
                tags.extend(foreign);
                tags.extend(altered.into_iter().map(|(key, value)| (key.to_owned(), value)));
                let Some(origin) = read(&tags) else { return Ok(()) };
                let place = match &origin.place {
                    Place::Path(path) => path.to_string(),
                    Place::Hash(value) => value.clone(),
                };
                let mut again = BTreeMap::from([
                    (MIRROR.to_owned(), origin.mirror.clone()),
                    (PATH.to_owned(), place),
                    (SHA256.to_owned(), origin.hash.to_string()),
                    (ATTEMPT.to_owned(), origin.token.clone()),
                ]);
                again.extend(origin.converted.map(|(size, sent)| (CONVERTED.to_owned(), converted_value(size, sent))));
                for (key, value) in again {
                    prop_assert_eq!(tags.get(&key), Some(&value), "{}", key);
                }
            }
        }

    #[test]
    fn a_long_path_becomes_its_hash() {
        let short = RelPath::new(&b"a/b.pdf"[..]).unwrap();
        assert_eq!(path_value(&short), "a/b.pdf");
        let long = RelPath::new("x".repeat(300).into_bytes()).unwrap();
        assert!(path_value(&long).starts_with("sha256:") && path_value(&long).len() == 71);
    }
}
