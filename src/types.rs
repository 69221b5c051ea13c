//! Words that have rules, parsed once and then trusted.
//!
//! Fields are private; a type with rules has one fallible constructor. None of these does I/O.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z, the form of every time in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// The wall clock's present time.
    pub fn now() -> Self {
        Self(crate::host::unix_millis())
    }

    /// This time moved later by `d` (saturating).
    pub fn plus(self, d: std::time::Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This time moved earlier by `d` (saturating).
    pub fn minus(self, d: std::time::Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Time passed since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for UnixMillis {
    /// RFC 3339 in UTC with seconds, for people and scripts alike.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(t) => write!(f, "{:.0}", t.round(jiff::Unit::Second).unwrap_or(t)),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

/// A count of bytes; shown as `3.2 MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct ByteCount(pub u64);

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = UNITS[0];
        for next in &UNITS[1..] {
            if value < 1024.0 {
                break;
            }
            value /= 1024.0;
            unit = next;
        }
        write!(f, "{value:.1} {unit}")
    }
}

/// The SHA-256 of a file's content.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    /// Reads the 32 bytes of a journal column; `None` when the length is wrong.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A path below a mirror's root, as bytes: no leading or trailing `/`, no empty, `.` or `..` part, no NUL.
///
/// Order is by bytes, which is also the order of a walk that sorts folders as `name/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelPath(Box<[u8]>);

impl RelPath {
    /// Checks `bytes`; the root itself (empty) is not a path of a file and is refused.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Option<Self> {
        let bytes = bytes.into();
        let ok = !bytes.is_empty()
            && !bytes.contains(&0)
            && bytes.split(|b| *b == b'/').all(|part| !part.is_empty() && part != b"." && part != b"..");
        ok.then_some(Self(bytes))
    }

    /// The path's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path for use below an open root.
    pub fn as_path(&self) -> &std::path::Path {
        use std::os::unix::ffi::OsStrExt;
        std::path::Path::new(std::ffi::OsStr::from_bytes(&self.0))
    }

    /// The bytes after the last `/`.
    pub fn file_name(&self) -> &[u8] {
        self.0.rsplit(|b| *b == b'/').next().unwrap_or_default()
    }

    /// The folder that holds it; `None` for the root.
    pub fn parent(&self) -> Option<RelPath> {
        let at = self.0.iter().rposition(|b| *b == b'/')?;
        Some(Self(self.0.get(..at)?.into()))
    }

    /// Whether it lies below the folder `dir`.
    pub fn is_below(&self, dir: &RelPath) -> bool {
        self.0.strip_prefix(dir.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'/'))
    }
}

impl fmt::Display for RelPath {
    /// UTF-8 as it is; other bytes, control characters and `\` as `\xNN`, so that no name can forge a log line
    /// and every shown name stands for one path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() || c == '\\' || is_bidi(c) {
                    let mut buffer = [0; 4];
                    for b in c.encode_utf8(&mut buffer).bytes() {
                        write!(f, "\\x{b:02x}")?;
                    }
                } else {
                    write!(f, "{c}")?;
                }
            }
            for b in chunk.invalid() {
                write!(f, "\\x{b:02x}")?;
            }
        }
        Ok(())
    }
}

/// Characters that reorder the text around them on a terminal.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl Serialize for RelPath {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// Connect's identifier of one attached file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct FileId(String);

impl FileId {
    /// Any non-empty text up to 256 characters without white space (the model: length 1–256; SERVICE.md 3.2).
    pub fn new(id: impl Into<String>) -> Option<Self> {
        let id = id.into();
        let ok = !id.is_empty() && id.len() <= 256 && !id.chars().any(|c| c.is_whitespace() || c.is_control());
        ok.then_some(Self(id))
    }

    /// The identifier's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A case's ARN: `arn:PARTITION:cases:REGION:ACCOUNT:domain/DOMAIN/case/CASE` (SERVICE.md 3.2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct CaseArn(String);

impl CaseArn {
    /// Checks the shape; the service decides whether the case exists.
    pub fn new(arn: impl Into<String>) -> Option<Self> {
        let arn = arn.into();
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let [scheme, partition, service, region, account, resource] = parts.as_slice() else { return None };
        let resource: Vec<&str> = resource.split('/').collect();
        let ["domain", domain, "case", case] = resource.as_slice() else { return None };
        let plain = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let ok = *scheme == "arn"
            && *service == "cases"
            && [*partition, *region, *account, *domain, *case].into_iter().all(plain)
            && arn.len() <= 500;
        ok.then_some(Self(arn))
    }

    /// The ARN of the case `case_id` in the domain `domain_arn`.
    pub fn in_domain(domain_arn: &str, case_id: &str) -> Option<Self> {
        Self::new(format!("{domain_arn}/case/{case_id}"))
    }

    /// The whole ARN.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part after the last `/`.
    pub fn case_id(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The ARN of a file of the instance that serves the case: of the same partition, Region and account (SERVICE.md 3.2).
    pub fn file_arn(&self, instance_id: &str, file: &FileId) -> String {
        let mut parts = self.0.split(':').skip(1);
        let partition = parts.next().unwrap_or_default();
        let (region, account) = (parts.nth(1).unwrap_or_default(), parts.next().unwrap_or_default());
        format!("arn:{partition}:connect:{region}:{account}:instance/{instance_id}/file/{file}")
    }

    /// The Cases domain that holds the case.
    pub fn domain_id(&self) -> &str {
        self.0.rsplit('/').nth(2).unwrap_or_default()
    }
}

impl fmt::Display for CaseArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of one attempt at one attachment; durable before the first call that carries it (SERVICE.md 2.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct ClientToken(String);

impl ClientToken {
    /// A token from 16 random bytes.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        use fmt::Write;
        let mut text = String::with_capacity(32);
        for b in bytes {
            let _ = write!(text, "{b:02x}");
        }
        Self(text)
    }

    /// A token read back from the journal.
    pub fn from_journal(text: String) -> Self {
        Self(text)
    }

    /// The token's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A URL that carries its own credential. It shows itself without its query, lives in memory only, and gives
/// its text to the transfer alone (invariant 23).
#[derive(Clone, PartialEq, Eq)]
pub struct PresignedUrl(String);

impl PresignedUrl {
    /// Wraps what the service returned.
    pub fn new(url: String) -> Self {
        Self(url)
    }

    /// The whole URL, for the transfer and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PresignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whatever it is, and be it a garbled URL without a `?`: no further than a host and a plain path go.
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/:".contains(c);
        let shown = self.0.split(|c| !plain(c)).next().unwrap_or_default();
        write!(f, "{shown}?<redacted>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_are_checked() {
        for good in ["a", "a/b", "a b/ü.pdf", ".hidden", "a/..b"] {
            assert!(RelPath::new(good.as_bytes()).is_some(), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a\0b"] {
            assert!(RelPath::new(bad.as_bytes()).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn shown_paths_cannot_forge_a_line() {
        let path = RelPath::new(&b"a\nb\\\xff\xe2\x80\xae.pdf"[..]).unwrap();
        assert_eq!(path.to_string(), "a\\x0ab\\x5c\\xff\\xe2\\x80\\xae.pdf");
    }

    #[test]
    fn case_arns_are_checked() {
        let arn = CaseArn::new("arn:aws:cases:eu-west-2:123456789012:domain/d-1/case/c-1").unwrap();
        assert_eq!((arn.domain_id(), arn.case_id()), ("d-1", "c-1"));
        let file_arn = arn.file_arn("i-1", &FileId::new("f-1").unwrap());
        assert_eq!(file_arn, "arn:aws:connect:eu-west-2:123456789012:instance/i-1/file/f-1");
        for bad in ["", "arn:aws:cases:r:1:domain/d/case", "arn:aws:connect:r:1:domain/d/case/c", "x/y"] {
            assert!(CaseArn::new(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_presigned_url_hides_its_query() {
        let url = PresignedUrl::new("https://b.example/k?X-Amz-Signature=abc".into());
        assert_eq!(format!("{url:?}"), "https://b.example/k?<redacted>");
        for garbled in ["https://b.example/k X-Amz-Signature=abc", "k%3FX-Amz-Signature=abc", "X-Amz-Signature=abc"] {
            assert!(!format!("{:?}", PresignedUrl::new(garbled.into())).contains("abc"), "{garbled}");
        }
    }

    #[test]
    fn byte_counts_read_well() {
        let shown: Vec<String> = [0, 1023, 1024, 1536, 20 << 20, u64::MAX].map(|n| ByteCount(n).to_string()).into();
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "20.0 MiB", "16384.0 PiB"]);
    }
}
