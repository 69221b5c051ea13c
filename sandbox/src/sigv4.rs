//! AWS Signature Version 4: the canonical request, the signature, and presigned URLs.
//!
//! Written from AWS's public description of the scheme ("Signature Version 4 signing process", general knowledge),
//! and proved against the SDKs in the tests. Only what the sandbox needs: header signatures for `connect` and
//! `cases`, query signatures with an unsigned payload for S3.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use sha2::{Digest, Sha256};

use crate::clock::Millis;
use crate::ids::{self, hex};
use crate::uri;

/// Greatest difference between the time of a signature and ours, either way.
const MAX_SKEW: Duration = Duration::from_secs(300);
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Why a signature is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No Authorization header and no query signature.
    Missing,
    /// The signature's parts cannot be read.
    Incomplete(String),
    /// The access key id is not ours.
    UnknownKey,
    /// Scope, time or signature is wrong.
    Invalid(String),
    /// The presigned URL is no longer good.
    Expired {
        /// When it ended.
        at: Millis,
    },
    /// `x-amz-*` headers came that the URL did not sign.
    HeadersNotSigned(Vec<String>),
    /// Both an Authorization header and a query signature.
    TwoMechanisms,
}

fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mut mac) => {
            mac.update(data);
            mac.finalize().into_bytes().to_vec()
        }
        // HMAC takes keys of any length, so this cannot be reached; an empty key fails every comparison.
        Err(_) => Vec::new(),
    }
}

/// Derives and remembers signing keys: there are few a day, and four HMACs each.
#[derive(Debug, Default)]
pub(crate) struct KeyCache {
    keys: Mutex<HashMap<String, Vec<u8>>>,
}

impl KeyCache {
    fn key(&self, secret: &str, date: &str, service: &str) -> Vec<u8> {
        let name = format!("{date}/{service}/{secret}");
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = keys.get(&name) {
            return key.clone();
        }
        let day = hmac(format!("AWS4{secret}").as_bytes(), date.as_bytes());
        let region = hmac(&day, ids::REGION.as_bytes());
        let key = hmac(&hmac(&region, service.as_bytes()), b"aws4_request");
        if keys.len() >= 64 {
            // Dates come from clients: bound what they can make us remember.
            keys.clear();
        }
        keys.insert(name, key.clone());
        key
    }

    fn sign(&self, secret: &str, service: &str, when: &str, canonical: &str) -> String {
        let date = when.get(..8).unwrap_or_default();
        let to_sign = format!(
            "{ALGORITHM}\n{when}\n{date}/{}/{service}/aws4_request\n{}",
            ids::REGION,
            hex(&Sha256::digest(canonical.as_bytes()))
        );
        hex(&hmac(&self.key(secret, date, service), to_sign.as_bytes()))
    }
}

/// What a signature covers of a request.
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    /// Path as it stands in the request line.
    pub(crate) path: &'a str,
    /// Decoded query.
    pub(crate) query: &'a [(String, String)],
    pub(crate) headers: &'a HeaderMap,
}

impl Signed<'_> {
    fn canonical_query(&self) -> String {
        let mut pairs: Vec<String> = self
            .query
            .iter()
            .filter(|(key, _)| key != "X-Amz-Signature")
            .map(|(key, value)| format!("{}={}", uri::encode(key), uri::encode(value)))
            .collect();
        pairs.sort_unstable();
        pairs.join("&")
    }

    /// The canonical request; `None` if a signed header is absent.
    fn canonical(&self, path: &str, signed_headers: &str, payload: &str) -> Option<String> {
        let mut text = format!("{}\n{path}\n{}\n", self.method, self.canonical_query());
        for name in signed_headers.split(';') {
            let values: Vec<String> = self
                .headers
                .get_all(name)
                .iter()
                .map(|value| squeeze(&String::from_utf8_lossy(value.as_bytes())))
                .collect();
            if values.is_empty() {
                return None;
            }
            text.push_str(name);
            text.push(':');
            text.push_str(&values.join(","));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(signed_headers);
        text.push('\n');
        text.push_str(payload);
        Some(text)
    }
}

/// Trimmed, with runs of spaces made one.
fn squeeze(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut space = false;
    for c in value.trim().chars() {
        if c != ' ' || !space {
            out.push(c);
        }
        space = c == ' ';
    }
    out
}

/// Checks the Authorization header of an API request.
pub(crate) fn verify_header(
    keys: &KeyCache,
    request: &Signed<'_>,
    service: &str,
    body: &[u8],
    wall: Millis,
) -> Result<(), Refusal> {
    let header = |name: &str| request.headers.get(name).and_then(|v| v.to_str().ok());
    let authorization = header("authorization").ok_or(Refusal::Missing)?;
    let parameters = authorization
        .strip_prefix(ALGORITHM)
        .ok_or_else(|| Refusal::Incomplete("Unsupported signature algorithm.".to_owned()))?;
    let parameter = |name: &str| {
        parameters
            .split(',')
            .filter_map(|part| part.trim().split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
            .ok_or_else(|| Refusal::Incomplete(format!("Authorization header requires '{name}' parameter.")))
    };
    let credential = parameter("Credential")?;
    let signed_headers = parameter("SignedHeaders")?;
    let signature = parameter("Signature")?;
    let when = header("x-amz-date")
        .ok_or_else(|| Refusal::Incomplete("Authorization header requires existence of 'X-Amz-Date'.".to_owned()))?;
    let signed_at = Millis::from_compact(when)
        .ok_or_else(|| Refusal::Incomplete("X-Amz-Date is not in the basic format.".to_owned()))?;

    check_scope(credential, ids::ACCESS_KEY_ID, when, service)?;
    if request.headers.contains_key("x-amz-security-token") {
        // Our key belongs to no session: somebody's real credentials are mixed in.
        return Err(Refusal::UnknownKey);
    }
    for (early, late, words) in [(signed_at, wall, "Signature expired"), (wall, signed_at, "Signature not yet current")]
    {
        if late.since(early) > MAX_SKEW {
            return Err(Refusal::Invalid(format!(
                "{words}: {when} differs from {} by more than 5 min.",
                wall.compact()
            )));
        }
    }
    for must in ["host", "x-amz-date"] {
        if !signed_headers.split(';').any(|name| name == must) {
            return Err(Refusal::Invalid(format!("'{must}' must be a signed header.")));
        }
    }

    let payload = hex(&Sha256::digest(body));
    if header("x-amz-content-sha256").is_some_and(|claimed| claimed != payload) {
        return Err(mismatch());
    }
    // Path encoded twice: the rule for every service but S3.
    let path = uri::encode_path(request.path);
    let canonical = request.canonical(&path, signed_headers, &payload).ok_or_else(mismatch)?;
    let expected = keys.sign(ids::SECRET_ACCESS_KEY, service, when, &canonical);
    if expected == signature { Ok(()) } else { Err(mismatch()) }
}

fn mismatch() -> Refusal {
    Refusal::Invalid(
        "The request signature we calculated does not match the signature you provided. \
         Check your Secret Access Key and signing method."
            .to_owned(),
    )
}

fn check_scope(credential: &str, key_id: &str, when: &str, service: &str) -> Result<(), Refusal> {
    let mut parts = credential.split('/');
    let (id, date, region, name, end) = (parts.next(), parts.next(), parts.next(), parts.next(), parts.next());
    if end != Some("aws4_request") || parts.next().is_some() {
        return Err(Refusal::Incomplete("Credential must have exactly 5 slash-delimited elements.".to_owned()));
    }
    if id != Some(key_id) {
        return Err(Refusal::UnknownKey);
    }
    if region != Some(ids::REGION) {
        return Err(Refusal::Invalid(format!("Credential should be scoped to a valid region ({}).", ids::REGION)));
    }
    if name != Some(service) {
        return Err(Refusal::Invalid(format!("Credential should be scoped to correct service: '{service}'.")));
    }
    if date != when.get(..8) {
        return Err(Refusal::Invalid("Date in Credential scope does not match the date of the request.".to_owned()));
    }
    Ok(())
}

/// A presigned URL for `path` (not yet encoded), signed at a whole second, with further query pairs.
#[expect(clippy::too_many_arguments, reason = "each is one part of the signature; a struct would only rename them")]
pub(crate) fn presign(
    keys: &KeyCache,
    method: &str,
    endpoint: &str,
    path: &str,
    extra: &[(String, String)],
    headers: &HeaderMap,
    signed_at: Millis,
    seconds: u64,
) -> String {
    let when = signed_at.compact();
    let date = when.get(..8).unwrap_or_default();
    let mut names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    let signed_headers = names.join(";");
    let pair = |key: &str, value: String| (key.to_owned(), value);
    let mut query = vec![
        pair("X-Amz-Algorithm", ALGORITHM.to_owned()),
        pair("X-Amz-Credential", format!("{}/{date}/{}/s3/aws4_request", ids::SIGNER_KEY_ID, ids::REGION)),
        pair("X-Amz-Date", when.clone()),
        pair("X-Amz-Expires", seconds.to_string()),
        pair("X-Amz-Security-Token", ids::SIGNER_TOKEN.to_owned()),
        pair("X-Amz-SignedHeaders", signed_headers.clone()),
    ];
    query.extend_from_slice(extra);
    let path = uri::encode_path(path);
    let request = Signed { method, path: &path, query: &query, headers };
    let canonical = request.canonical(&path, &signed_headers, "UNSIGNED-PAYLOAD").unwrap_or_default();
    let signature = keys.sign(ids::SIGNER_SECRET, "s3", &when, &canonical);
    format!("{endpoint}{path}?{}&X-Amz-Signature={signature}", request.canonical_query())
}

/// Checks a presigned request: mechanism, scope, expiry at arrival, extra headers, signature.
pub(crate) fn verify_presigned(keys: &KeyCache, request: &Signed<'_>, now: Millis) -> Result<(), Refusal> {
    let value = |key: &str| uri::query_value(request.query, key);
    let signature = value("X-Amz-Signature");
    if request.headers.contains_key("authorization") {
        return Err(if signature.is_some() { Refusal::TwoMechanisms } else { Refusal::UnknownKey });
    }
    let incomplete = || {
        Refusal::Incomplete(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, \
             X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
                .to_owned(),
        )
    };
    if request.query.is_empty() || (signature.is_none() && value("X-Amz-Algorithm").is_none()) {
        return Err(Refusal::Missing);
    }
    let signature = signature.ok_or_else(incomplete)?;
    let credential = value("X-Amz-Credential").ok_or_else(incomplete)?;
    let when = value("X-Amz-Date").ok_or_else(incomplete)?;
    let signed_headers = value("X-Amz-SignedHeaders").ok_or_else(incomplete)?;
    let seconds: u64 = value("X-Amz-Expires")
        .and_then(|text| text.parse().ok())
        .filter(|seconds| *seconds <= 604_800)
        .ok_or_else(incomplete)?;
    let signed_at = Millis::from_compact(when).ok_or_else(incomplete)?;
    if value("X-Amz-Algorithm") != Some(ALGORITHM) {
        return Err(incomplete());
    }
    check_scope(credential, ids::SIGNER_KEY_ID, when, "s3")?;

    let ends = signed_at.plus(Duration::from_secs(seconds));
    if now > ends {
        return Err(Refusal::Expired { at: ends });
    }
    let is_signed = |name: &str| signed_headers.split(';').any(|signed| signed == name);
    let extra: Vec<String> = request
        .headers
        .keys()
        .map(http::HeaderName::as_str)
        .filter(|name| name.starts_with("x-amz-") && !is_signed(name))
        .map(str::to_owned)
        .collect();
    if !extra.is_empty() {
        return Err(Refusal::HeadersNotSigned(extra));
    }
    let expected = request
        .canonical(request.path, signed_headers, "UNSIGNED-PAYLOAD")
        .map(|canonical| keys.sign(ids::SIGNER_SECRET, "s3", when, &canonical));
    if is_signed("host") && expected.as_deref() == Some(signature) { Ok(()) } else { Err(mismatch()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const NOW: Millis = Millis(1_767_225_599_000);

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (http::HeaderName::from_static(k), HeaderValue::from_static(v))).collect()
    }

    fn check(url: &str, headers: &HeaderMap, now: Millis) -> Result<(), Refusal> {
        let (path, query) = url.strip_prefix("http://h").and_then(|rest| rest.split_once('?')).expect("our own URL");
        let query = uri::query_pairs(query).expect("our own query");
        let request = Signed { method: "PUT", path, query: &query, headers };
        verify_presigned(&KeyCache::default(), &request, now)
    }

    #[test]
    fn a_presigned_url_holds_for_exactly_what_was_signed() {
        let signed = headers(&[("host", "h"), ("content-length", "5"), ("x-amz-acl", "private")]);
        let keys = KeyCache::default();
        let url = presign(&keys, "PUT", "http://h", "/b/a ä", &[], &signed, NOW, 5);
        assert_eq!(check(&url, &signed, NOW), Ok(()));
        assert_eq!(check(&url, &signed, Millis(NOW.0 + 5000)), Ok(()));
        assert!(matches!(check(&url, &signed, Millis(NOW.0 + 5001)), Err(Refusal::Expired { .. })));
        let mut other = signed.clone();
        other.insert("content-length", HeaderValue::from_static("6"));
        assert_eq!(check(&url, &other, NOW), Err(mismatch()));
        let mut less = signed.clone();
        less.remove("x-amz-acl");
        assert_eq!(check(&url, &less, NOW), Err(mismatch()));
        let mut more = signed.clone();
        more.insert("x-amz-meta-x", HeaderValue::from_static("1"));
        assert_eq!(check(&url, &more, NOW), Err(Refusal::HeadersNotSigned(vec!["x-amz-meta-x".to_owned()])));
        let mut both = signed.clone();
        both.insert("authorization", HeaderValue::from_static("x"));
        assert_eq!(check(&url, &both, NOW), Err(Refusal::TwoMechanisms));
        let moved = url.replace("/b/a", "/b/c");
        assert_eq!(check(&moved, &signed, NOW), Err(mismatch()));
        let longer = url.replace("X-Amz-Expires=5", "X-Amz-Expires=9");
        assert_eq!(check(&longer, &signed, NOW), Err(mismatch()));
    }

    /// The published example of the signing process: key derivation with a known result.
    #[test]
    fn signing_key_matches_the_published_example() {
        let day = hmac(b"AWS4wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", b"20150830");
        let key = hmac(&hmac(&hmac(&day, b"us-east-1"), b"iam"), b"aws4_request");
        assert_eq!(hex(&key), "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
    }

    #[test]
    fn header_values_are_squeezed() {
        assert_eq!(squeeze("  a   b  "), "a b");
    }
}
