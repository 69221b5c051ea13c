//! Foreign text made fit for a log: bounded, on one line, without credentials (invariant 23).

use std::error::Error;

/// Characters kept of any foreign text.
const LONGEST: usize = 500;

/// The texts of an error and its sources, joined.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    // An error cannot have endless causes, but nothing forbids it either.
    for _ in 0..10 {
        let Some(error) = next else { break };
        let part = error.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        next = error.source();
    }
    text
}

/// One line of at most 500 characters, without anything that may be a credential.
pub(super) fn clean(text: &str) -> String {
    // A refused signature is explained with the canonical request, session token and all.
    let text = match text.find("The Canonical String") {
        Some(at) => text.get(..at).unwrap_or_default(),
        None => text,
    };
    let mut out = String::with_capacity(text.len().min(LONGEST));
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        if is_secret(word) {
            out.push_str("<redacted>")
        } else {
            out.push_str(word)
        }
        if out.len() > 4 * LONGEST {
            break;
        }
    }
    match out.char_indices().nth(LONGEST) {
        Some(_) => out.chars().take(LONGEST - 1).chain(['…']).collect(),
        None => out,
    }
}

/// Whether a word looks like a signed URL, a part of one, or a token header.
fn is_secret(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    ["x-amz-", "signature=", "awsaccesskeyid=", "credential=", "token="].iter().any(|mark| lower.contains(mark))
        || (lower.contains("://") && lower.contains('?'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_bounded_and_on_one_line() {
        assert_eq!(clean("a\r\nb\tc\u{1b}[1m"), "a b c [1m");
        assert_eq!(clean(&"ü".repeat(600)).chars().count(), LONGEST);
        assert_eq!(clean(&"ü".repeat(500)).chars().count(), LONGEST);
    }

    #[test]
    fn nothing_secret_stays() {
        for text in [
            "error sending request for url (https://b.example/k?X-Amz-Signature=abc)",
            "see https://b.example/k?x=abc now",
            "X-Amz-Security-Token:abc",
            "no match. The Canonical String for this request should have been 'POST x-amz-security-token:abc'",
        ] {
            let shown = clean(text);
            assert!(!shown.contains("abc"), "{shown}");
            assert!(!shown.is_empty());
        }
    }
}
