//! References to cases: the words by which people name a case, what a search for them means, and when to ask again.
//!
//! A *reference number* has eight digits and is not unique; a *reference id* (since 2026, absent on older domains and
//! cases) has up to 50 characters and is unique in its domain without regard to case (SERVICE.md 7). A path does not
//! say which of the two it holds, so both are searched, and more than one hit is never guessed about.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::model::MirrorId;
use super::routing::{Unrouted, UnroutedReason};
use crate::types::{CaseArn, UnixMillis};

/// The field of the eight digits.
pub const NUMBER_FIELD: &str = "reference_number";
/// Filters that one search takes (SERVICE.md 7: andAll and orAll hold up to ten).
pub const MOST_TERMS: usize = 10;
/// Candidates that are kept and shown of an ambiguous reference.
pub const MOST_CANDIDATES: usize = 5;

/// Gaps between two looks for a reference that no case has: an index may lag behind a new case, and a case may be
/// made late. The last one stays.
const UNKNOWN_GAPS: [u64; 6] = [30, 60, 300, 900, 3_600, 6 * 3_600];
/// An ambiguous one is a person's turn; a look now and then finds what was put right at Connect.
const AMBIGUOUS_GAP: u64 = 6 * 3_600;

/// A reference as it was written. Two that differ in letter case alone are one.
#[derive(Clone)]
pub struct Reference(String);

impl Reference {
    /// What a reference may look like, in words.
    pub const ALLOWED: &str = "a reference has 1 to 50 letters, digits and -._/:#=+";

    /// Checks the text; white space around it is dropped.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let ok = (1..=50).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._/:#=+".contains(&b));
        ok.then(|| Self(text.to_owned()))
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same for all ways to write it: the journal's key.
    pub fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    fn is_number(&self) -> bool {
        self.0.len() == 8 && self.0.bytes().all(|b| b.is_ascii_digit())
    }

    /// The searches that find it: field and value. Whether the service compares reference ids with or without regard
    /// to case is not documented, so the usual spellings are asked for.
    pub fn terms(&self, id_field: Option<&str>) -> Vec<(String, String)> {
        let mut terms = Vec::new();
        if self.is_number() {
            terms.push((NUMBER_FIELD.to_owned(), self.0.clone()));
        }
        if let Some(field) = id_field {
            for spelling in [self.0.clone(), self.0.to_ascii_uppercase(), self.0.to_ascii_lowercase()] {
                let term = (field.to_owned(), spelling);
                if !terms.contains(&term) {
                    terms.push(term);
                }
            }
        }
        terms
    }
}

impl PartialEq for Reference {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Reference {}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A case that a search found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    pub case_id: String,
    pub title: String,
    /// `open`, `closed`, or a word of the domain's own.
    pub status: String,
    pub number: String,
    /// The reference id; empty where the case has none.
    pub id: String,
}

impl Candidate {
    /// Whether the case has this reference, by either field.
    fn has(&self, reference: &Reference) -> bool {
        self.number == reference.0 || self.id.eq_ignore_ascii_case(&reference.0)
    }

    /// Whether the case is closed, as far as its status tells.
    pub fn is_closed(&self) -> bool {
        self.status.eq_ignore_ascii_case("closed")
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain =
            |text: &str| text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
        let status = if self.status.is_empty() { "?".to_owned() } else { plain(&self.status) };
        write!(f, "{} ({status}, \"{}\")", plain(&self.case_id), plain(&self.title))
    }
}

/// What a search said of one reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Found(Candidate),
    Unknown,
    /// With how many there are; not all of them need be listed.
    Ambiguous(Vec<Candidate>, u64),
}

/// Reads an answer for one reference. `total` is the service's count where the search was for this reference alone.
pub fn outcome(reference: &Reference, hits: &[Candidate], total: Option<u64>) -> Outcome {
    let mut found: Vec<Candidate> = Vec::new();
    for hit in hits.iter().filter(|hit| hit.has(reference)) {
        if found.iter().all(|known| known.case_id != hit.case_id) {
            found.push(hit.clone());
        }
    }
    let more = total.unwrap_or(0) > hits.len() as u64;
    match found.len() {
        0 => Outcome::Unknown,
        1 if !more => Outcome::Found(found.remove(0)),
        n => {
            let count = total.filter(|_| more).unwrap_or(n as u64);
            found.truncate(MOST_CANDIDATES);
            Outcome::Ambiguous(found, count)
        }
    }
}

/// What the journal knows of a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseRef {
    pub mirror: MirrorId,
    pub reference: Reference,
    /// ARN of the domain that was asked: in another one the same words mean another case.
    pub domain: String,
    pub state: RefState,
    /// The pinned case. While `pending`: the one it was before it had to be looked up again.
    pub case: Option<CaseArn>,
    pub candidates: Vec<Candidate>,
    /// How many cases were found.
    pub total: u64,
    pub looked_at: Option<UnixMillis>,
    /// Looks in a row that found nothing.
    pub tries: u32,
    /// When to look again; `None` = never by itself.
    pub next_try: Option<UnixMillis>,
    /// Why the last look came to nothing, when the service refused it.
    pub error: Option<String>,
}

/// Where the look-up of a reference stands. The texts are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RefState {
    Pending,
    Found,
    Unknown,
    Ambiguous,
}

impl RefState {
    pub const ALL: [Self; 4] = [Self::Pending, Self::Found, Self::Unknown, Self::Ambiguous];

    /// The stable text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Found => "found",
            Self::Unknown => "unknown",
            Self::Ambiguous => "ambiguous",
        }
    }
}

impl CaseRef {
    /// A reference that nobody has looked for yet.
    pub fn fresh(mirror: MirrorId, reference: Reference, domain: &str, now: UnixMillis) -> Self {
        Self {
            mirror,
            reference,
            domain: domain.to_owned(),
            state: RefState::Pending,
            case: None,
            candidates: Vec::new(),
            total: 0,
            looked_at: None,
            tries: 0,
            next_try: Some(now),
            error: None,
        }
    }

    /// Takes what a search said, and sets when to look again. An answer that cannot be an ARN is no answer.
    pub fn learn(&mut self, outcome: Outcome, now: UnixMillis) {
        let after = |seconds: u64| Some(now.plus(Duration::from_secs(seconds)));
        self.looked_at = Some(now);
        self.error = None;
        match outcome {
            Outcome::Found(candidate) => {
                self.case = CaseArn::in_domain(&self.domain, &candidate.case_id);
                self.state = if self.case.is_some() { RefState::Found } else { RefState::Unknown };
                (self.total, self.tries) = (1, 0);
                self.next_try = if self.case.is_some() { None } else { after(AMBIGUOUS_GAP) };
                self.candidates = vec![candidate];
            }
            Outcome::Unknown => {
                let gap = usize::try_from(self.tries).ok().and_then(|n| UNKNOWN_GAPS.get(n));
                self.next_try = after(*gap.unwrap_or(&AMBIGUOUS_GAP));
                self.tries = self.tries.saturating_add(1);
                (self.state, self.case, self.total) = (RefState::Unknown, None, 0);
                self.candidates.clear();
            }
            Outcome::Ambiguous(candidates, total) => {
                (self.state, self.case, self.total, self.tries) = (RefState::Ambiguous, None, total, 0);
                self.next_try = after(AMBIGUOUS_GAP);
                self.candidates = candidates;
            }
        }
    }

    /// The pinned case, or why there is none.
    ///
    /// # Errors
    /// The verdict, with the candidates in its note.
    pub fn resolved(&self) -> Result<CaseArn, Unrouted> {
        let reference = &self.reference;
        match (self.state, &self.case) {
            (RefState::Found, Some(case)) => Ok(case.clone()),
            (RefState::Pending | RefState::Found, _) => Err(pending(reference, self.error.as_deref())),
            (RefState::Unknown, _) => Err(Unrouted::new(UnroutedReason::ReferenceUnknown)
                .note(format!("no case of the domain has the reference {reference}"))),
            (RefState::Ambiguous, _) => {
                let listed: Vec<String> = self.candidates.iter().map(ToString::to_string).collect();
                let more = self.total.saturating_sub(listed.len() as u64);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                let text = format!("{} cases have the reference {reference}: {}{more}", self.total, listed.join(", "));
                Err(Unrouted::new(UnroutedReason::ReferenceAmbiguous).note(text))
            }
        }
    }
}

/// The verdict of a file whose reference has not been looked up.
pub fn pending(reference: &Reference, error: Option<&str>) -> Unrouted {
    let why = error.map(|error| format!("; the last search failed ({error})")).unwrap_or_default();
    Unrouted::new(UnroutedReason::ReferencePending)
        .note(format!("the case of the reference {reference} is being looked up{why}"))
}

/// References in groups of as many as one search takes.
pub fn batches(references: Vec<Reference>, id_field: Option<&str>) -> Vec<Vec<Reference>> {
    let mut batches = Vec::new();
    let (mut batch, mut used) = (Vec::new(), 0);
    for reference in references {
        let terms = reference.terms(id_field).len();
        if used + terms > MOST_TERMS && !batch.is_empty() {
            batches.push(std::mem::take(&mut batch));
            used = 0;
        }
        used += terms;
        batch.push(reference);
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

/// The field of reference ids among a domain's fields, each an id and whether it is the system's (SERVICE.md 7:
/// presumably `reference_id`; a guess, so any spelling of it counts).
pub fn id_field<'f>(fields: impl IntoIterator<Item = (&'f str, bool)>) -> Option<String> {
    let folded = |id: &str| id.replace(['_', '-'], "").to_ascii_lowercase();
    fields.into_iter().find(|(id, system)| *system && folded(id) == "referenceid").map(|(id, _)| id.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DOMAIN: &str = "arn:aws:cases:eu-west-2:123456789012:domain/d-1";

    fn reference(text: &str) -> Reference {
        Reference::new(text).unwrap()
    }

    fn hit(case_id: &str, number: &str, id: &str) -> Candidate {
        let (title, status) = (format!("Case {case_id}"), "open".to_owned());
        Candidate { case_id: case_id.into(), title, status, number: number.into(), id: id.into() }
    }

    #[test]
    fn references_are_checked_and_compared_without_case() {
        for good in ["12345678", "a", "CLM-2026/7:x#1=2+3.4_5", " padded "] {
            assert!(Reference::new(good).is_some(), "{good}");
        }
        for bad in ["", "  ", "a b", "ü", "a\nb", &"x".repeat(51)] {
            assert!(Reference::new(bad).is_none(), "{bad:?}");
        }
        assert_eq!(reference("Clm-1"), reference("cLM-1"));
        assert_eq!(reference("Clm-1").key(), "clm-1");
        assert_eq!(reference(" x ").as_str(), "x");
    }

    #[test]
    fn eight_digits_are_searched_as_a_number_and_as_an_id() {
        let pairs = |text: &str, field| {
            reference(text).terms(field).into_iter().map(|(f, v)| format!("{f}={v}")).collect::<Vec<_>>()
        };
        assert_eq!(pairs("12345678", None), ["reference_number=12345678"]);
        assert_eq!(pairs("12345678", Some("reference_id")), ["reference_number=12345678", "reference_id=12345678"]);
        assert_eq!(
            pairs("Clm-1", Some("reference_id")),
            ["reference_id=Clm-1", "reference_id=CLM-1", "reference_id=clm-1"]
        );
        assert!(pairs("Clm-1", None).is_empty(), "an older domain has nothing to search by");
        assert!(pairs("1234567", None).is_empty());
    }

    /// 40 references by number on an older domain: four searches.
    #[test]
    fn searches_are_batched() {
        let all: Vec<Reference> = (0..40).map(|n| reference(&format!("{}", 20_000_000 + n))).collect();
        assert_eq!(batches(all.clone(), None).iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 10, 10]);
        assert_eq!(batches(all, Some("reference_id")).len(), 8);
        assert!(batches(Vec::new(), None).is_empty());
    }

    #[test]
    fn one_hit_is_the_case_and_more_are_never_guessed_about() {
        let number = reference("12345678");
        let (a, b) = (hit("a", "12345678", ""), hit("b", "12345678", ""));
        let table: &[(&str, Vec<Candidate>, Option<u64>, Outcome)] = &[
            ("one", vec![a.clone()], Some(1), Outcome::Found(a.clone())),
            ("one among others", vec![hit("x", "87654321", ""), a.clone()], None, Outcome::Found(a.clone())),
            ("none", vec![hit("x", "87654321", "")], None, Outcome::Unknown),
            ("no answer", vec![], Some(0), Outcome::Unknown),
            ("two", vec![a.clone(), b.clone()], None, Outcome::Ambiguous(vec![a.clone(), b.clone()], 2)),
            ("the same twice", vec![a.clone(), a.clone()], None, Outcome::Found(a.clone())),
            ("one shown, more there", vec![a.clone()], Some(7), Outcome::Ambiguous(vec![a.clone()], 7)),
            (
                "a number of one, the id of another",
                vec![a.clone(), hit("c", "11111111", "12345678")],
                None,
                Outcome::Ambiguous(vec![a.clone(), hit("c", "11111111", "12345678")], 2),
            ),
        ];
        for (what, hits, total, expected) in table {
            assert_eq!(outcome(&number, hits, *total), *expected, "{what}");
        }
        let by_id = hit("d", "22222222", "CLM-1");
        assert_eq!(outcome(&reference("clm-1"), std::slice::from_ref(&by_id), None), Outcome::Found(by_id));
        let many: Vec<Candidate> = (0..9).map(|n| hit(&n.to_string(), "12345678", "")).collect();
        let Outcome::Ambiguous(listed, 9) = outcome(&number, &many, None) else { panic!("nine are ambiguous") };
        assert_eq!(listed.len(), MOST_CANDIDATES);
    }

    #[test]
    fn what_was_learned_decides_and_gaps_grow() {
        let mut known = CaseRef::fresh(MirrorId(1), reference("12345678"), DOMAIN, UnixMillis(0));
        assert_eq!(known.resolved().unwrap_err().reason, UnroutedReason::ReferencePending);
        let mut now = UnixMillis(0);
        let mut gaps = Vec::new();
        for _ in 0..8 {
            known.learn(Outcome::Unknown, now);
            assert_eq!(known.resolved().unwrap_err().reason, UnroutedReason::ReferenceUnknown);
            let next = known.next_try.unwrap();
            gaps.push(next.since(now).as_secs());
            now = next;
        }
        assert_eq!(gaps, [30, 60, 300, 900, 3_600, 21_600, 21_600, 21_600]);
        known.learn(Outcome::Ambiguous(vec![hit("a", "12345678", ""), hit("b", "12345678", "")], 3), now);
        let why = known.resolved().unwrap_err();
        assert_eq!(why.reason, UnroutedReason::ReferenceAmbiguous);
        let note = why.note.unwrap();
        assert!(note.contains("3 cases") && note.contains("\"Case a\"") && note.contains("1 more"), "{note}");
        known.learn(Outcome::Found(hit("a", "12345678", "")), now);
        assert_eq!(known.resolved().unwrap().as_str(), format!("{DOMAIN}/case/a"));
        assert_eq!((known.next_try, known.tries), (None, 0), "pinned");
        known.learn(Outcome::Found(hit("not an id", "12345678", "")), now);
        assert_eq!(known.resolved().unwrap_err().reason, UnroutedReason::ReferenceUnknown);
    }

    #[test]
    fn the_id_field_is_found_in_any_spelling_but_only_among_the_systems() {
        let fields = [("title", true), ("reference_id", false), ("referenceId", true)];
        assert_eq!(id_field(fields), Some("referenceId".to_owned()));
        assert_eq!(id_field([("reference_number", true), ("reference_id", false)]), None);
    }

    /// A hit as a service may tell of it, sound or not.
    fn candidate() -> impl Strategy<Value = Candidate> {
        let number = prop_oneof![3 => Just("12345678".to_owned()), 1 => ".{0,9}"];
        let id = prop_oneof![3 => Just(String::new()), 1 => Just("12345678".to_owned()), 1 => ".{0,9}"];
        ("[abc]|[a-z0-9-]{1,9}|(?s).{0,90}", "(?s).{0,200}", "(?s).{0,90}", number, id)
            .prop_map(|(case_id, title, status, number, id)| Candidate { case_id, title, status, number, id })
    }

    proptest! {
        /// Any text is a reference or none, and one is found again by what the journal keeps of it.
        #[test]
        fn a_reference_is_itself_again(text in "[ A-Za-z0-9#=/:+._-]{0,60}|.{0,60}") {
            let Some(found) = Reference::new(&text) else {
                let (bare, allowed) = (text.trim(), |c: char| c.is_ascii_alphanumeric() || "-._/:#=+".contains(c));
                prop_assert!(bare.is_empty() || bare.len() > 50 || !bare.chars().all(allowed), "{text:?} is refused");
                return Ok(());
            };
            prop_assert_eq!(found.as_str(), text.trim());
            prop_assert_eq!(Reference::new(&found.key()), Some(found.clone()));
            prop_assert_eq!(Reference::new(&found.key()).map(|again| again.key()), Some(found.key()));
            for (_, value) in found.terms(Some("reference_id")) {
                prop_assert_eq!(Reference::new(&value), Some(found.clone()), "a search is for this one");
            }
        }

        /// Any answer to a search: only one hit and no more names the case, and every verdict is one line.
        #[test]
        fn any_answer_ends_in_a_case_or_in_words(
            hits in prop::collection::vec(candidate(), 0..5),
            total in prop::option::of(prop_oneof![0_u64..8, any::<u64>()]),
            error in prop::option::of(".{0,40}"),
        ) {
            let number = reference("12345678");
            let mut known = CaseRef::fresh(MirrorId(1), number.clone(), DOMAIN, UnixMillis(0));
            known.error = error;
            let first = known.resolved().unwrap_err();
            known.learn(outcome(&number, &hits, total), UnixMillis(i64::MAX - 1));
            match known.resolved() {
                Ok(case) => {
                    let named: std::collections::BTreeSet<&str> =
                        hits.iter().filter(|hit| hit.number == "12345678" || hit.id == "12345678").map(|hit| hit.case_id.as_str()).collect();
                    prop_assert_eq!(named.into_iter().collect::<Vec<_>>(), vec![case.case_id()]);
                    prop_assert!(total.is_none_or(|total| total <= hits.len() as u64));
                    prop_assert_eq!(known.next_try, None);
                }
                Err(why) => {
                    prop_assert!(why.reason.is_of_a_reference() && why.reason != UnroutedReason::ReferencePending);
                    prop_assert!(known.next_try.is_some(), "it is looked for again");
                    for note in [first.note, why.note].into_iter().flatten() {
                        prop_assert!(!note.contains('\n') && note.chars().count() < 1_500, "{note:?}");
                    }
                }
            }
        }

        #[test]
        fn every_reference_is_in_one_batch_that_fits(
            texts in prop::collection::vec("[0-9]{8}|[A-Za-z0-9#/-]{1,12}", 0..60),
            field in prop::option::of(Just("reference_id")),
        ) {
            let all: Vec<Reference> = texts.iter().map(|t| reference(t)).collect();
            let batches = batches(all.clone(), field);
            prop_assert_eq!(batches.concat(), all);
            for batch in batches {
                let terms: usize = batch.iter().map(|r| r.terms(field).len()).sum();
                prop_assert!(terms <= MOST_TERMS && !batch.is_empty());
            }
        }
    }
}
