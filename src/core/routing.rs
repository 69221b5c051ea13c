//! Which case a file belongs to.
//!
//! A mirror names one case for all its files (`case`), or a regular expression that finds the case in each file's path
//! (`case_from`): by its id (group `case_id`) or by its reference (group `reference`). The expression works on the
//! bytes of the path below the root, with Unicode on (so that `.` and `[^/]` fit characters, not bytes that are no
//! UTF-8); it may match anywhere unless it is anchored, and the first match counts. White space around what a group
//! matched is dropped. A sidecar, where the mirror takes them, goes before either.
//!
//! [`Routing::name`] says what the path names; what a reference means is in the journal ([`super::reference`]).
//! The reasons of `unrouted` are stable words that name no part of the path, so that they may stand in a log that
//! hides names; notes may name references and cases.

use std::fmt;

use regex::bytes::{Captures, Regex};

use super::reference::Reference;
use super::sidecar::{Beside, NamedCase};
use crate::types::{CaseArn, RelPath};

/// The group of `case_from` that holds the case's id.
const CASE_ID: &str = "case_id";
/// The group of `case_from` that holds a reference to the case.
const REFERENCE: &str = "reference";

/// How a mirror's paths name their case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routing {
    /// All files belong to this case.
    Arn(CaseArn),
    /// All files belong to the case with this id in the configured domain.
    Id(String),
    /// A part of each file's path is the case's id or reference.
    ByPath(Pattern),
    /// Only a sidecar can say it.
    BySidecar,
}

/// What names the case of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    Case(CaseArn),
    Reference(Reference),
}

/// Why no case can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrouted {
    pub reason: UnroutedReason,
    /// What was found, in words, for whoever may read names.
    pub note: Option<String>,
}

impl Unrouted {
    /// Without a note.
    pub fn new(reason: UnroutedReason) -> Self {
        Self { reason, note: None }
    }

    /// With a note.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.note = Some(text.into());
        self
    }
}

macro_rules! reasons {
    ($($(#[$meta:meta])* $variant:ident = $text:literal => $remedy:literal,)+) => {
        /// The verdict `unrouted`, in stable words.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum UnroutedReason { $($(#[$meta])* $variant,)+ }

        impl UnroutedReason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The stable text.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// One sentence on what to do, identical in log and command line.
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy,)+ }
            }
        }
    };
}

reasons! {
    NoMatch = "no-match" => "`case_from` does not match the path: move the file to where it belongs, or correct `case_from`.",
    BadCaseId = "bad-case-id" => "What `case_id` matched is no case id (a UUID): correct the folder's or file's name.",
    BadReference = "bad-reference" => "What `reference` matched is no reference (1 to 50 letters, digits and -._/:#=+): correct the folder's or file's name.",
    ReferencePending = "reference-pending" => "Nothing to do: the reference is being looked up, and the file goes on by itself.",
    ReferenceUnknown = "reference-unknown" => "No case has this reference: correct it, or wait for the case; it is looked for again with growing gaps, and at once with `casedrop retry`.",
    ReferenceAmbiguous = "reference-ambiguous" => "Several cases have this reference: name the case by its id (in the path, or in a sidecar), or put it right at Connect and `casedrop retry` it.",
    NoSidecar = "no-sidecar" => "Only a sidecar can name the case here: put NAME.casedrop.toml beside the file.",
    BadSidecar = "bad-sidecar" => "The sidecar cannot be used: correct it.",
    DomainUnknown = "domain-unknown" => "The ARN of the Cases domain is not known: set connect.cases_domain.",
}

impl UnroutedReason {
    /// The reason of a stable text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == text)
    }

    /// Whether it comes from the look-up of a reference, so that another look may change it.
    pub fn is_of_a_reference(self) -> bool {
        matches!(self, Self::ReferencePending | Self::ReferenceUnknown | Self::ReferenceAmbiguous)
    }
}

impl fmt::Display for UnroutedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
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
    /// Routing by the regular expression `pattern` with a named group `case_id`, `reference`, or both.
    ///
    /// # Errors
    /// What is wrong with the pattern, in words.
    pub fn by_path(pattern: &str) -> Result<Self, String> {
        let regex = Regex::new(pattern).map_err(|e| format!("it is no regular expression: {}", one_line(&e)))?;
        if !has_group(&regex, CASE_ID) && !has_group(&regex, REFERENCE) {
            return Err("it needs a named group for the case's id or reference, such as ^(?<case_id>[^/]+)/ or \
                        ^(?<reference>[^/]+)/"
                .to_owned());
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

    /// Whether the ARN of the Cases domain is needed. (A sidecar may name an id or a reference.)
    pub fn needs_domain(&self) -> bool {
        match self {
            Self::Arn(_) => false,
            Self::Id(_) | Self::ByPath(_) | Self::BySidecar => true,
        }
    }

    /// Whether paths may hold references, which are looked up at Cases.
    pub fn uses_references(&self) -> bool {
        match self {
            Self::ByPath(Pattern(regex)) => has_group(regex, REFERENCE),
            Self::Arn(_) | Self::Id(_) | Self::BySidecar => false,
        }
    }

    /// What names the case of the file at `path`; what stands beside it goes first.
    ///
    /// # Errors
    /// Why the file is `unrouted`.
    pub fn name(&self, path: &RelPath, beside: &Beside, domain_arn: Option<&str>) -> Result<Named, Unrouted> {
        let in_domain = |id: &str| {
            let arn = domain_arn.and_then(|domain| CaseArn::in_domain(domain, id));
            arn.map(Named::Case).ok_or_else(|| Unrouted::new(UnroutedReason::DomainUnknown))
        };
        match beside {
            Beside::Bad(why) => return Err(Unrouted::new(UnroutedReason::BadSidecar).note(why.clone())),
            Beside::Sidecar(sidecar) => match &sidecar.case {
                Some(NamedCase::Arn(arn)) => return Ok(Named::Case(arn.clone())),
                Some(NamedCase::Id(id)) => return in_domain(id),
                Some(NamedCase::Reference(reference)) => return Ok(Named::Reference(reference.clone())),
                None => {}
            },
            Beside::Nothing => {}
        }
        match self {
            Self::Arn(arn) => Ok(Named::Case(arn.clone())),
            Self::Id(id) => in_domain(id),
            Self::BySidecar => Err(Unrouted::new(UnroutedReason::NoSidecar)),
            Self::ByPath(Pattern(regex)) => {
                let no_match = || Unrouted::new(UnroutedReason::NoMatch);
                let captures = regex.captures(path.as_bytes()).ok_or_else(no_match)?;
                if let Some(text) = group(&captures, CASE_ID) {
                    let bad = || Unrouted::new(UnroutedReason::BadCaseId).note(matched(CASE_ID, text));
                    let id = std::str::from_utf8(text).ok().and_then(|text| parse_uuid(text.trim())).ok_or_else(bad)?;
                    return in_domain(&id);
                }
                let text = group(&captures, REFERENCE).ok_or_else(no_match)?;
                let bad = || Unrouted::new(UnroutedReason::BadReference).note(matched(REFERENCE, text));
                let text = std::str::from_utf8(text).map_err(|_| bad())?;
                // Folders are named by ids too, where people mix both; no reference looks like that.
                match parse_uuid(text.trim()) {
                    Some(id) => in_domain(&id),
                    None => Reference::new(text).map(Named::Reference).ok_or_else(bad),
                }
            }
        }
    }
}

fn has_group(regex: &Regex, name: &str) -> bool {
    regex.capture_names().flatten().any(|group| group == name)
}

fn group<'t>(captures: &Captures<'t>, name: &str) -> Option<&'t [u8]> {
    captures.name(name).map(|found| found.as_bytes())
}

fn matched(group: &str, text: &[u8]) -> String {
    let shown: String = String::from_utf8_lossy(text).chars().take(60).collect();
    format!("{group} matched {shown:?}")
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

    use super::super::sidecar::Sidecar;
    use super::*;

    const DOMAIN: &str = "arn:aws:cases:eu-west-2:123456789012:domain/d-1";
    const CASE: &str = "6B2f0c9e-1111-4222-8333-0123456789ab";

    fn rel(bytes: impl AsRef<[u8]>) -> RelPath {
        RelPath::new(bytes.as_ref()).unwrap()
    }

    /// What the path names, in short: `case ID`, `reference WORD`, or the reason.
    fn named(routing: &Routing, path: impl AsRef<[u8]>, beside: &Beside) -> String {
        match routing.name(&rel(path), beside, Some(DOMAIN)) {
            Ok(Named::Case(case)) => format!("case {}", case.case_id()),
            Ok(Named::Reference(reference)) => format!("reference {reference}"),
            Err(why) => why.reason.to_string(),
        }
    }

    #[test]
    fn a_case_is_named_by_arn_or_id() {
        let arn = format!("{DOMAIN}/case/c-1");
        let routing = Routing::one_case(&arn).unwrap();
        assert!(!routing.needs_domain());
        assert_eq!(routing.name(&rel("a"), &Beside::Nothing, None), Ok(Named::Case(CaseArn::new(arn).unwrap())));

        let routing = Routing::one_case(CASE).unwrap();
        assert!(routing.needs_domain() && !routing.uses_references());
        assert_eq!(named(&routing, "a", &Beside::Nothing), format!("case {}", CASE.to_ascii_lowercase()));
        let unknown = Unrouted::new(UnroutedReason::DomainUnknown);
        assert_eq!(routing.name(&rel("a"), &Beside::Nothing, None), Err(unknown));

        assert!(Routing::one_case("12345678").is_err());
    }

    #[test]
    fn a_path_names_its_case() {
        let (lower, folder) = (CASE.to_ascii_lowercase(), "^(?<case_id>[^/]+)/");
        let reference = "^(?<reference>[^/]+)/";
        let both = "^(?:(?<case_id>[0-9A-Fa-f]{8}-[0-9A-Fa-f-]{27})|(?<reference>[^/]+))/";
        let case = format!("case {lower}");
        let table: Vec<(&str, Vec<u8>, &str)> = vec![
            (folder, format!("{CASE}/x/a.pdf").into(), &case),
            (folder, format!(" {CASE} /a.pdf").into(), &case),
            (folder, b"a.pdf".into(), "no-match"),
            (folder, b"inbox/a.pdf".into(), "bad-case-id"),
            (folder, b"12345678/a.pdf".into(), "bad-case-id"),
            (folder, b"\xff/a.pdf".into(), "no-match"),
            ("^(?:(?<case_id>[0-9a-f-]{36})|x)/", b"x/a".into(), "no-match"),
            (reference, b"12345678/a.pdf".into(), "reference 12345678"),
            (reference, b"CLM-1#2/a.pdf".into(), "reference CLM-1#2"),
            (reference, b" CLM-1 /a.pdf".into(), "reference CLM-1"),
            (reference, b"my letters/a.pdf".into(), "bad-reference"),
            (reference, b"a.pdf".into(), "no-match"),
            (reference, format!("{CASE}/a.pdf").into(), &case),
            (reference, "F\u{e4}lle/a.pdf".into(), "bad-reference"),
            (reference, [&[b'x'; 51][..], b"/a"].concat(), "bad-reference"),
            ("^(?<reference>.*?)[^/]*$", b"a.pdf".into(), "bad-reference"),
            (r"(?s-u)^(?<reference>[^/]+)/", b"\xff/a.pdf".into(), "bad-reference"),
            (both, format!("{CASE}/a.pdf").into(), &case),
            (both, b"12345678/a.pdf".into(), "reference 12345678"),
            (r"_(?<reference>\d{8})\.pdf$", b"in/scan_12345678.pdf".into(), "reference 12345678"),
        ];
        for (pattern, path, expected) in table {
            let routing = Routing::by_path(pattern).unwrap_or_else(|why| panic!("{pattern}: {why}"));
            assert_eq!(routing.uses_references(), pattern.contains("<reference>"));
            let shown = String::from_utf8_lossy(&path);
            assert_eq!(named(&routing, &path, &Beside::Nothing), expected, "{pattern} on {shown}");
        }
    }

    #[test]
    fn a_sidecar_goes_first_and_may_leave_the_case_to_the_path() {
        let by_path = Routing::by_path("^(?<reference>[^/]+)/").unwrap();
        let with = |text: &str| Beside::Sidecar(Sidecar::parse(text.as_bytes()).unwrap());
        let (lower, path) = (CASE.to_ascii_lowercase(), "12345678/a.pdf");
        assert_eq!(named(&by_path, path, &with(&format!("case = \"{CASE}\""))), format!("case {lower}"));
        assert_eq!(named(&by_path, path, &with(&format!("case = \"{DOMAIN}/case/c-9\""))), "case c-9");
        assert_eq!(named(&by_path, path, &with("reference = \"CLM-1\"")), "reference CLM-1");
        assert_eq!(named(&by_path, path, &with("tags = { a = \"b\" }")), "reference 12345678");
        assert_eq!(named(&by_path, path, &Beside::Bad("broken".into())), "bad-sidecar");
        assert_eq!(named(&Routing::BySidecar, path, &Beside::Nothing), "no-sidecar");
        assert_eq!(named(&Routing::BySidecar, path, &with("reference = \"CLM-1\"")), "reference CLM-1");
    }

    #[test]
    fn unicode_and_foreign_bytes_may_stand_around_the_id() {
        let routing = Routing::by_path(r"^\w+ (?P<case_id>[0-9A-Fa-f-]{36})/").unwrap();
        let mut path = format!("Fälle {CASE}/").into_bytes();
        path.extend_from_slice(b"\xff.pdf");
        assert!(routing.name(&rel(path), &Beside::Nothing, Some(DOMAIN)).is_ok());
    }

    #[test]
    fn a_pattern_that_cannot_route_is_refused() {
        for (pattern, reason) in [
            ("(?<case_id>[", "unclosed character class"),
            ("^([^/]+)/", "needs a named group"),
            ("^(?<Case_Id>[^/]+)/", "needs a named group"),
        ] {
            let error = Routing::by_path(pattern).unwrap_err();
            assert!(error.contains(reason) && !error.contains('\n'), "{pattern}: {error}");
        }
    }

    #[test]
    fn reasons_are_stable_words() {
        for reason in UnroutedReason::ALL {
            assert_eq!(UnroutedReason::parse(reason.as_str()), Some(*reason));
            assert!(reason.remedy().ends_with('.'));
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(pattern in ".*", around in ".*", path in prop::collection::vec(any::<u8>(), 1..80)) {
            let Some(path) = RelPath::new(path) else { return Ok(()) };
            for pattern in [pattern, format!("(?<case_id>{around})"), format!("(?<reference>{around})")] {
                if let Ok(routing) = Routing::by_path(&pattern) {
                    let once = routing.name(&path, &Beside::Nothing, Some(DOMAIN));
                    prop_assert_eq!(routing.name(&path, &Beside::Nothing, Some(DOMAIN)), once, "deterministic");
                }
            }
        }

        /// Any path under a few shapes of expressions that people write.
        #[test]
        fn any_path_is_routed_or_says_why(
            path in prop::collection::vec(any::<u8>(), 1..80),
            folder in "[ -~]{0,60}",
            pattern in prop::sample::select(vec![
                "^(?<reference>[^/]+)/", "(?<reference>[A-Z]{3}-\\d+)", "(?s-u)^(?<reference>.+)$", "(?<case_id>.*)|(?<reference>x)",
                "_(?<reference>[^_]*)_|(?<case_id>[0-9a-f-]{36})",
            ]),
        ) {
            let routing = Routing::by_path(pattern).unwrap();
            for path in [RelPath::new(path), RelPath::new(format!("{folder}/a.pdf").into_bytes())].into_iter().flatten() {
                match routing.name(&path, &Beside::Nothing, Some(DOMAIN)) {
                    Ok(Named::Reference(reference)) => {
                        prop_assert_eq!(Reference::new(reference.as_str()), Some(reference.clone()));
                    }
                    Ok(Named::Case(case)) => prop_assert!(parse_uuid(case.case_id()).is_some()),
                    Err(why) => prop_assert!(why.note.is_none_or(|note| !note.contains('\n'))),
                }
            }
        }

        /// A reference that is a folder's name, or stands in a sidecar, comes out as it was written.
        #[test]
        fn a_reference_comes_through(text in "[A-Za-z0-9:#=+._-]{1,50}", file in "[a-z]{1,9}") {
            let Some(path) = RelPath::new(format!("{text}/{file}").into_bytes()) else { return Ok(()) };
            let written = Reference::new(&text).unwrap();
            let by_path = Routing::by_path("^(?<reference>[^/]+)/").unwrap();
            let beside = Beside::Sidecar(Sidecar::parse(format!("reference = \"{text}\"").as_bytes()).unwrap());
            for (routing, beside) in [(&by_path, Beside::Nothing), (&by_path, beside.clone()), (&Routing::BySidecar, beside)] {
                let Ok(Named::Reference(found)) = routing.name(&path, &beside, None) else {
                    return Err(TestCaseError::fail("no reference"));
                };
                prop_assert_eq!(found.as_str(), written.as_str());
            }
        }

        #[test]
        fn ids_are_folded_to_lower_case(id in "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}") {
            prop_assert_eq!(parse_uuid(&id), Some(id.to_ascii_lowercase()));
            prop_assert_eq!(parse_uuid(&id[1..]), None);
        }
    }
}
