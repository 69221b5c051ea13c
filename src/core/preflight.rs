//! What is known before a call is spent: whether an instance takes a file of this name and size on cases.
//!
//! The service stays the judge: what passes here may still be refused, and what is refused here is sent all the same
//! when a person asks for it by hand (`casedrop retry`). Empty files are the planner's, full cases the journal's.

use std::time::Duration;

use super::model::ParkCode;
use super::naming;
use super::plan::LARGEST_FILE;
use crate::types::{ByteCount, UnixMillis};

/// Documented defaults of the settings for cases (SERVICE.md 1.1, 1.2).
const DEFAULT_BYTES: u64 = 20 * 1024 * 1024;
const DEFAULT_EXTENSIONS: &str = "csv doc docx heic jfif jpeg jpg mov mp4 pdf png ppt pptx rtf txt wav xls xlsx";

/// Gaps between two tries of a case that was found full; the last one stays.
const PROBE_GAPS: [u64; 4] = [300, 900, 3_600, 6 * 3_600];

/// What an instance takes on cases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the largest file.
    pub max_bytes: u64,
    /// Lower case, without a dot; `None` = not known, so nothing is refused for its type.
    pub extensions: Option<Vec<String>>,
    /// Why these are documented defaults, and not what the instance says.
    pub assumed: Option<String>,
}

/// Why a file is parked before a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: ParkCode,
    /// What is wrong with this file, in words.
    pub note: String,
}

impl Limits {
    /// What the instance said; what it left out is not judged.
    pub fn told(max_bytes: Option<u64>, extensions: Option<Vec<String>>) -> Self {
        Self { max_bytes: max_bytes.unwrap_or(LARGEST_FILE), extensions, assumed: None }
    }

    /// The documented defaults, because the settings may not be read.
    pub fn documented(why: &str) -> Self {
        let extensions = DEFAULT_EXTENSIONS.split(' ').map(str::to_owned).collect();
        Self { max_bytes: DEFAULT_BYTES, extensions: Some(extensions), assumed: Some(why.to_owned()) }
    }

    /// Nothing is known, so nothing is refused.
    pub fn unknown() -> Self {
        Self::told(None, None)
    }

    /// Whether an attachment of this name and size would be refused; `None` = let the service judge.
    pub fn refuse(&self, name: &str, bytes: u64) -> Option<Refusal> {
        let by = if self.assumed.is_some() {
            "by the documented defaults (the instance's own settings may not be read; `casedrop retry` lets Connect judge), "
        } else {
            ""
        };
        let refuse = |code, note: String| Some(Refusal { code, note });
        if let Err(why) = naming::check(name) {
            return refuse(ParkCode::BadName, format!("the attachment's name cannot be used: {why}"));
        }
        if bytes > self.max_bytes {
            let (size, most) = (ByteCount(bytes), ByteCount(self.max_bytes));
            return refuse(
                ParkCode::TooLarge,
                format!(
                    "it has {size} ({bytes} bytes); {by}the instance takes files up to {most} ({} bytes)",
                    self.max_bytes
                ),
            );
        }
        let allowed = self.extensions.as_ref()?;
        let listed = allowed.join(" ");
        match extension(name) {
            Some(own) if allowed.iter().any(|one| one.eq_ignore_ascii_case(own)) => None,
            Some(own) => refuse(
                ParkCode::TypeNotAllowed,
                format!("{by}the extension `{}` is not on the instance's list: {listed}", own.to_lowercase()),
            ),
            None => refuse(ParkCode::TypeNotAllowed, format!("it has no extension; {by}the instance takes: {listed}")),
        }
    }
}

/// What follows the last dot.
fn extension(name: &str) -> Option<&str> {
    name.rsplit_once('.').map(|(_, extension)| extension).filter(|extension| !extension.is_empty())
}

/// A case that answered that it holds as many files as it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullCase {
    pub since: UnixMillis,
    /// Tries that found it full.
    pub probes: u32,
    /// Not before this time is a file of that case sent again.
    pub next_probe: UnixMillis,
}

impl FullCase {
    /// Found full, for the first time or again.
    pub fn found(known: Option<Self>, now: UnixMillis) -> Self {
        let probes = known.as_ref().map_or(0, |full| full.probes);
        let gap = usize::try_from(probes).ok().and_then(|n| PROBE_GAPS.get(n)).or(PROBE_GAPS.last());
        Self {
            since: known.map_or(now, |full| full.since),
            probes: probes.saturating_add(1),
            next_probe: now.plus(Duration::from_secs(gap.copied().unwrap_or(300))),
        }
    }

    /// What is said of a file that waits for it.
    pub fn note(&self) -> String {
        format!("the case was found full at {}; a file of it is tried again after {}", self.since, self.next_probe)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_refused_before_a_call() {
        let told = Limits::told(Some(1_000), Some(vec!["pdf".into(), "txt".into()]));
        type Row<'a> = (&'a str, u64, Option<(ParkCode, &'a str)>);
        let table: &[Row<'_>] = &[
            ("a.pdf", 1, None),
            ("a.PDF", 1_000, None),
            ("a.b.txt", 1, None),
            (".txt", 1, None),
            (
                "a.pdf",
                1_001,
                Some((ParkCode::TooLarge, "it has 1001 B (1001 bytes); the instance takes files up to 1000 B")),
            ),
            (
                "a.ZIP",
                1,
                Some((ParkCode::TypeNotAllowed, "the extension `zip` is not on the instance's list: pdf txt")),
            ),
            ("a", 1, Some((ParkCode::TypeNotAllowed, "it has no extension"))),
            ("a.", 1, Some((ParkCode::TypeNotAllowed, "it has no extension"))),
            ("a\u{200d}.pdf", 1, Some((ParkCode::BadName, "invisible"))),
            (" a.pdf", 1, Some((ParkCode::BadName, "white space"))),
        ];
        for (name, bytes, expected) in table {
            let found = told.refuse(name, *bytes);
            match (&found, expected) {
                (None, None) => {}
                (Some(refusal), Some((code, says))) => {
                    assert!(refusal.code == *code && refusal.note.contains(says), "{name}: {refusal:?}");
                }
                _ => panic!("{name}, {bytes}: {found:?}"),
            }
        }
    }

    #[test]
    fn defaults_say_that_they_are_assumed_and_the_unknown_is_not_judged() {
        let assumed = Limits::documented("AccessDeniedException");
        let refusal = assumed.refuse("a.zip", 1).unwrap();
        assert!(refusal.note.contains("documented defaults") && refusal.note.contains("casedrop retry"), "{refusal:?}");
        assert!(assumed.refuse("a.pdf", DEFAULT_BYTES).is_none());
        assert!(assumed.refuse("a.pdf", DEFAULT_BYTES + 1).is_some());
        assert_eq!(assumed.extensions.as_ref().map(Vec::len), Some(18));
        assert!(Limits::unknown().refuse("a", LARGEST_FILE).is_none());
        assert!(Limits::unknown().refuse("a", LARGEST_FILE + 1).is_some());
    }

    #[test]
    fn a_full_case_is_tried_with_growing_gaps() {
        let mut full: Option<FullCase> = None;
        let mut now = UnixMillis(0);
        let mut gaps = Vec::new();
        for _ in 0..6 {
            let found = FullCase::found(full.take(), now);
            gaps.push(found.next_probe.since(now).as_secs());
            now = found.next_probe;
            full = Some(found);
        }
        assert_eq!(gaps, [300, 900, 3_600, 21_600, 21_600, 21_600]);
        assert_eq!(full.unwrap().since, UnixMillis(0));
    }

    proptest! {
        #[test]
        fn any_name_is_judged(name in ".{0,40}", bytes: u64, most: u64, list in prop::collection::vec("[a-z0-9]{1,10}", 0..5)) {
            let limits = Limits::told(Some(most), Some(list.clone()));
            if let Some(refusal) = limits.refuse(&name, bytes) {
                prop_assert!(!refusal.note.contains('\n'));
            } else {
                prop_assert!(bytes <= most);
                let own = name.rsplit('.').next().unwrap_or_default().to_lowercase();
                prop_assert!(name.contains('.') && list.contains(&own));
            }
        }
    }
}
