//! Percent-encoding as signatures need it, and the parts of a request target.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Everything but the unreserved characters of RFC 3986, as SigV4 demands.
const STRICT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same, with `/` kept: for paths.
const PATH: &AsciiSet = &STRICT.remove(b'/');

/// Strict encoding of a query key, a query value or a header parameter.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, STRICT).to_string()
}

/// Encoding of a path, slashes kept. Applied to an encoded path it encodes the `%` again, as SigV4 wants it
/// for every service but S3.
pub(crate) fn encode_path(path: &str) -> String {
    utf8_percent_encode(path, PATH).to_string()
}

/// Decoded text; `None` if it is no UTF-8.
pub(crate) fn decode(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// The query as decoded pairs, in the order sent; `None` if some part is no UTF-8.
pub(crate) fn query_pairs(query: &str) -> Option<Vec<(String, String)>> {
    query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            Some((decode(key)?, decode(value)?))
        })
        .collect()
}

/// The first value of `key`.
pub(crate) fn query_value<'a>(pairs: &'a [(String, String)], key: &str) -> Option<&'a str> {
    pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_is_strict_and_double_where_wanted() {
        assert_eq!(encode("a b/ä~"), "a%20b%2F%C3%A4~");
        assert_eq!(encode_path("/x/a%3Ab"), "/x/a%253Ab");
        assert_eq!(decode("a%2Fb").as_deref(), Some("a/b"));
        assert_eq!(decode("%ff"), None);
    }

    #[test]
    fn query_keeps_order_and_empty_values() {
        let pairs = query_pairs("b=2&a=1%20&c&&").unwrap_or_default();
        assert_eq!(pairs.len(), 3);
        assert_eq!(query_value(&pairs, "a"), Some("1 "));
        assert_eq!(query_value(&pairs, "c"), Some(""));
        assert_eq!(query_value(&pairs, "d"), None);
    }
}
