//! Which case a file belongs to.
//!
//! A mirror names one case for all its files (`case`), or a regular expression that finds the case's id in each
//! file's path (`case_from`). The expression works on the bytes of the path below the root, with Unicode on
//! (so that `.` and `[^/]` fit characters, not bytes that are no UTF-8); it may match anywhere unless it is anchored,
//! and the first match counts.
//!
//! The reasons of `unrouted` name no part of the path, so that they may stand in a log that hides names.

use std::borrow::Cow;

use regex::bytes::Regex;

use crate::types::{CaseArn, RelPath};

/// The group of `case_from` that holds the case's id.
const CASE_ID: &str = "case_id";

/// How a mirror's paths name their case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routing {
    /// All files belong to this case.
    Arn(CaseArn),
    /// All files belong to the case with this id in the configured domain.
    Id(String),
    /// A part of each file's path is the case id.
    ByPath(Pattern),
}

/// A checked `case_from`.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// The expression as written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

impl Routing {
    /// Routing by the regular expression `pattern` with a named group `case_id`.
    ///
    /// # Errors
    /// What is wrong with the pattern, in words.
    pub fn by_path(pattern: &str) -> Result<Self, String> {
        let regex = Regex::new(pattern).map_err(|e| format!("it is no regular expression: {}", one_line(&e)))?;
        let named = |name: &str| regex.capture_names().flatten().any(|n| n == name);
        if named("reference") {
            return Err(
                "the group `reference` is not supported yet; name the case by its id with (?<case_id>…)".to_owned()
            );
        }
        if !named(CASE_ID) {
            return Err("it needs a named group for the case's id, such as ^(?<case_id>[^/]+)/".to_owned());
        }
        Ok(Self::ByPath(Pattern(regex)))
    }

    /// Routing to one case: `text` is a case ARN or a case id.
    ///
    /// # Errors
    /// What is wrong with the text, in words.
    pub fn one_case(text: &str) -> Result<Self, String> {
        if let Some(id) = parse_uuid(text) {
            return Ok(Self::Id(id));
        }
        CaseArn::new(text).map(Self::Arn).ok_or_else(|| {
            "it must be a case id (a UUID) or a case ARN \
             (arn:aws:cases:REGION:ACCOUNT:domain/DOMAIN/case/CASE)"
                .to_owned()
        })
    }

    /// Whether the ARN of the Cases domain is needed.
    pub fn needs_domain(&self) -> bool {
        match self {
            Self::Arn(_) => false,
            Self::Id(_) | Self::ByPath(_) => true,
        }
    }

    /// The case of the file at `path`.
    ///
    /// # Errors
    /// Why the file is `unrouted`, in words.
    pub fn route(&self, path: &RelPath, domain_arn: Option<&str>) -> Result<CaseArn, String> {
        let id = match self {
            Self::Arn(arn) => return Ok(arn.clone()),
            Self::Id(id) => Cow::Borrowed(id.as_str()),
            Self::ByPath(Pattern(regex)) => {
                let captures = regex.captures(path.as_bytes()).ok_or("the path does not match case_from")?;
                let group = captures.name(CASE_ID).ok_or("the path matches case_from without its group case_id")?;
                let text = std::str::from_utf8(group.as_bytes()).ok();
                let id = text.and_then(parse_uuid).ok_or("the part matched by case_id is no case id (a UUID)")?;
                Cow::Owned(id)
            }
        };
        let domain_arn = domain_arn.ok_or("the ARN of the Cases domain is not known")?;
        CaseArn::in_domain(domain_arn, &id).ok_or_else(|| "the ARN of the Cases domain is malformed".to_owned())
    }
}

/// A UUID in lower case: 32 hexadecimal digits in groups of 8, 4, 4, 4 and 12. `None` for anything else.
pub fn parse_uuid(text: &str) -> Option<String> {
    let ok = text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        });
    ok.then(|| text.to_ascii_lowercase())
}

/// The last line of the regex crate's message, which says what is wrong; the others draw the place.
fn one_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("not understood");
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DOMAIN: &str = "arn:aws:cases:eu-west-2:123456789012:domain/d-1";
    const CASE: &str = "6B2f0c9e-1111-4222-8333-0123456789ab";

    fn rel(bytes: impl AsRef<[u8]>) -> RelPath {
        RelPath::new(bytes.as_ref()).unwrap()
    }

    #[test]
    fn a_case_is_named_by_arn_or_id() {
        let arn = format!("{DOMAIN}/case/c-1");
        let routing = Routing::one_case(&arn).unwrap();
        assert!(!routing.needs_domain());
        assert_eq!(routing.route(&rel("a"), None).unwrap().as_str(), arn);

        let routing = Routing::one_case(CASE).unwrap();
        assert!(routing.needs_domain());
        let case = routing.route(&rel("a"), Some(DOMAIN)).unwrap();
        assert_eq!(case.as_str(), format!("{DOMAIN}/case/{}", CASE.to_ascii_lowercase()));
        assert_eq!(routing.route(&rel("a"), None), Err("the ARN of the Cases domain is not known".into()));

        assert!(Routing::one_case("12345678").is_err());
    }

    #[test]
    fn a_path_names_its_case() {
        let routing = Routing::by_path("^(?<case_id>[^/]+)/").unwrap();
        let route = |path: &[u8]| routing.route(&rel(path), Some(DOMAIN)).map(|c| c.case_id().to_owned());
        assert_eq!(route(format!("{CASE}/x/a.pdf").as_bytes()), Ok(CASE.to_ascii_lowercase()));
        assert_eq!(route(b"a.pdf"), Err("the path does not match case_from".into()));
        for no_id in ["inbox/a.pdf", "12345678/a.pdf"] {
            assert_eq!(route(no_id.as_bytes()), Err("the part matched by case_id is no case id (a UUID)".into()));
        }
        assert_eq!(route(b"\xff/a.pdf"), Err("the path does not match case_from".into()), "not Unicode");
        let optional = Routing::by_path("^(?:(?<case_id>[0-9a-f-]{36})|x)/").unwrap();
        let reason = optional.route(&rel("x/a"), Some(DOMAIN)).unwrap_err();
        assert_eq!(reason, "the path matches case_from without its group case_id");
    }

    #[test]
    fn unicode_and_foreign_bytes_may_stand_around_the_id() {
        let routing = Routing::by_path(r"^\w+ (?P<case_id>[0-9A-Fa-f-]{36})/").unwrap();
        let mut path = format!("Fälle {CASE}/").into_bytes();
        path.extend_from_slice(b"\xff.pdf");
        assert!(routing.route(&rel(path), Some(DOMAIN)).is_ok());
    }

    #[test]
    fn a_pattern_that_cannot_route_is_refused() {
        for (pattern, reason) in [
            ("(?<case_id>[", "unclosed character class"),
            ("^([^/]+)/", "needs a named group"),
            ("^(?<Case_Id>[^/]+)/", "needs a named group"),
            ("^(?<reference>[^/]+)/", "not supported yet"),
            ("(?<case_id>a)|(?<reference>b)", "not supported yet"),
        ] {
            let error = Routing::by_path(pattern).unwrap_err();
            assert!(error.contains(reason) && !error.contains('\n'), "{pattern}: {error}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(pattern in ".*", around in ".*", path in prop::collection::vec(any::<u8>(), 1..80)) {
            let Some(path) = RelPath::new(path) else { return Ok(()) };
            for pattern in [pattern, format!("(?<case_id>{around})")] {
                if let Ok(routing) = Routing::by_path(&pattern) {
                    let _ = routing.route(&path, Some(DOMAIN));
                }
            }
        }

        #[test]
        fn ids_are_folded_to_lower_case(id in "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}") {
            prop_assert_eq!(parse_uuid(&id), Some(id.to_ascii_lowercase()));
            prop_assert_eq!(parse_uuid(&id[1..]), None);
        }
    }
}
