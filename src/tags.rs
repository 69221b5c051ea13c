//! The tags that make our attachments self-describing at Connect (DESIGN §3): a lost journal can be rebuilt from
//! them, and what carries none of them is not ours.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::config;
use crate::core::model::Attachment;
use crate::types::{ContentHash, RelPath};

pub const MIRROR: &str = "casedrop:mirror";
pub const PATH: &str = "casedrop:path";
pub const SHA256: &str = "casedrop:sha256";
/// Holds the client token, which is unique per attempt.
pub const ATTEMPT: &str = "casedrop:attempt";

/// Of what was converted: the SHA-256 of what was sent; [`SHA256`] is that of the file here.
pub const CONVERTED: &str = "casedrop:converted";

/// Longest tag value, in characters (SERVICE.md 1.1).
const LONGEST_VALUE: usize = 256;

/// The tags of one attempt: ours and the user's own.
pub fn of(mirror: &config::Mirror, attachment: &Attachment) -> BTreeMap<String, String> {
    let mut tags = mirror.tags.clone();
    tags.insert(MIRROR.into(), mirror.name.clone());
    tags.insert(PATH.into(), path_value(&attachment.path));
    tags.insert(SHA256.into(), attachment.version.hash.to_string());
    tags.insert(ATTEMPT.into(), attachment.token.to_string());
    tags
}

/// The path as it is shown, or `sha256:` and the hash of its bytes when that is too long.
pub fn path_value(path: &RelPath) -> String {
    let shown = path.to_string();
    if shown.chars().count() <= LONGEST_VALUE {
        return shown;
    }
    format!("sha256:{}", hash(path))
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
    use super::*;

    #[test]
    fn a_long_path_becomes_its_hash() {
        let short = RelPath::new(&b"a/b.pdf"[..]).unwrap();
        assert_eq!(path_value(&short), "a/b.pdf");
        let long = RelPath::new("x".repeat(300).into_bytes()).unwrap();
        assert!(path_value(&long).starts_with("sha256:") && path_value(&long).len() == 71);
    }
}
