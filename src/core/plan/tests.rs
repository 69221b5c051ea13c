//! Decisions by example, and what holds for all of them. That steps converge when they are applied is tested where
//! they are applied, in `record`.

use proptest::prelude::*;

use super::*;
use crate::core::model::{AttachmentId, MirrorId};
use crate::types::{ClientToken, FileId};

const GRACE_MS: i64 = 1_000;
const NOW: UnixMillis = UnixMillis(1_000_000);

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}

fn rules(propagate_deletes: bool) -> Rules {
    Rules { propagate_deletes, ingest: false, moves: false, delete_grace: Duration::from_millis(1_000) }
}

fn target(name: &str) -> Target {
    let case = CaseArn::new("arn:aws:cases:eu-west-2:123456789012:domain/d-1/case/c-1").unwrap();
    Target { case, name: name.to_owned() }
}

/// Content `n`: its size is `n`, so 0 is the empty file.
fn hash(n: u8) -> ContentHash {
    ContentHash([n; 32])
}

fn stat(n: u8) -> Stat {
    Stat { dev: 1, inode: 2, size: u64::from(n), mtime_ns: i64::from(n), ctime_ns: 0 }
}

fn row(verdict: Verdict, content: u8) -> FileRow {
    FileRow {
        mirror: MirrorId(1),
        path: path("f"),
        stat: stat(content),
        hash: Some(hash(content)),
        verdict,
        note: None,
        seen_at: UnixMillis(1),
        since: UnixMillis(1),
        absent_since: None,
        attempt: 0,
        next_attempt: None,
        kept: false,
        insisted: None,
    }
}

fn absent_row(verdict: Verdict, content: u8, since: i64) -> FileRow {
    FileRow { absent_since: Some(UnixMillis(since)), ..row(verdict, content) }
}

fn attachment(stage: Stage, content: u8) -> Attachment {
    Attachment {
        id: AttachmentId(1),
        mirror: MirrorId(1),
        path: path("f"),
        case: target("f").case,
        name: "f".into(),
        version: Version { size: u64::from(content), hash: hash(content) },
        attempt: 1,
        token: ClientToken::from_journal("t".into()),
        file_id: FileId::new("id"),
        stage,
        reason: None,
        start_open: false,
        unsure_since: None,
        tries: 0,
        next_attempt: None,
        last_error: None,
        last_request_id: None,
        created_at: UnixMillis(1),
        started_at: None,
        stored_at: None,
        completed_at: None,
        ended_at: None,
        deleted_at: None,
        extras: None,
        moved: false,
        found: None,
    }
}

fn because(stage: Stage, content: u8, reason: &str) -> Attachment {
    Attachment { reason: Some(reason.into()), ..attachment(stage, content) }
}

fn calling(content: u8) -> Attachment {
    Attachment { start_open: true, ..attachment(Stage::Planned, content) }
}

fn known(row: Option<FileRow>, attachments: Vec<Attachment>) -> Known {
    Known { row, attachments, moved_from: None, moving: false }
}

fn step(seen: &Seen, known: &Known) -> Step {
    decide(seen, Ok(&target("f")), known, rules(true), NOW)
}

fn unread(content: u8) -> Seen {
    Seen::Present(stat(content), Content::Unread)
}

fn read(content: u8) -> Seen {
    Seen::Present(stat(content), Content::Read(hash(content)))
}

fn settle(content: u8, mark: bool) -> Step {
    Step::Settle { stat: stat(content), mark }
}

fn refresh(content: u8, verdict: Verdict) -> Step {
    Step::Refresh { stat: stat(content), hash: Some(hash(content)), verdict }
}

fn queue(content: u8, why: QueueWhy) -> Step {
    Step::Queue { stat: stat(content), hash: hash(content), why }
}

fn park(content: u8, code: ParkCode) -> Step {
    Step::Park { stat: stat(content), hash: Some(hash(content)), code, note: None }
}

#[test]
fn a_file_that_was_not_read_rests_or_settles() {
    use Verdict::{Attached, Ignored, Parked, Queued, Scanning, Settling, Unrouted, Uploading};
    let unreadable = Parked(ParkCode::Unreadable);
    let approved = || vec![attachment(Stage::Approved, 1)];
    let chmod = Seen::Present(Stat { ctime_ns: 99, ..stat(1) }, Content::Unread);
    let reread = Step::Settle { stat: Stat { ctime_ns: 99, ..stat(1) }, mark: false };
    let table = [
        ("first seen", unread(1), known(None, vec![]), settle(1, true)),
        ("still settling", unread(1), known(Some(row(Settling, 1)), vec![]), settle(1, false)),
        ("queued", unread(1), known(Some(row(Queued, 1)), vec![]), Step::Nothing),
        ("uploading", unread(1), known(Some(row(Uploading, 1)), vec![calling(1)]), Step::Nothing),
        ("scanning", unread(1), known(Some(row(Scanning, 1)), vec![attachment(Stage::Completed, 1)]), Step::Nothing),
        ("attached", unread(1), known(Some(row(Attached, 1)), approved()), Step::Nothing),
        ("attached, mode changed", chmod.clone(), known(Some(row(Attached, 1)), approved()), reread.clone()),
        ("queued, mode changed", chmod.clone(), known(Some(row(Queued, 1)), vec![]), Step::Nothing),
        (
            "scanning, mode changed",
            chmod,
            known(Some(row(Scanning, 1)), vec![attachment(Stage::Completed, 1)]),
            Step::Nothing,
        ),
        ("attached, changed", unread(2), known(Some(row(Attached, 1)), approved()), settle(2, true)),
        ("queued, changed", unread(2), known(Some(row(Queued, 1)), vec![]), settle(2, true)),
        ("parked", unread(1), known(Some(row(Parked(ParkCode::Rejected), 1)), vec![]), Step::Nothing),
        ("parked, changed", unread(2), known(Some(row(Parked(ParkCode::Rejected), 1)), vec![]), settle(2, true)),
        ("unreadable", unread(1), known(Some(row(unreadable.clone(), 1)), vec![]), settle(1, false)),
        ("in scope again", unread(1), known(Some(row(Ignored("x".into()), 1)), approved()), settle(1, true)),
        ("routed again", unread(1), known(Some(row(Unrouted("x".into()), 1)), approved()), settle(1, true)),
        (
            "back as it was",
            unread(1),
            known(Some(absent_row(Verdict::Deleting, 1, 5)), approved()),
            refresh(1, Attached),
        ),
        (
            "back while its delete is on its way",
            unread(1),
            known(Some(absent_row(Verdict::Deleting, 1, 5)), vec![because(Stage::Deleting, 1, ABSENT)]),
            settle(1, true),
        ),
        ("back with other content", unread(2), known(Some(absent_row(Attached, 1, 5)), approved()), settle(2, true)),
        (
            "back while its next try waits",
            unread(2),
            known(
                Some(absent_row(Verdict::Deleting, 2, 5)),
                vec![attachment(Stage::Approved, 1), attachment(Stage::Planned, 2)],
            ),
            settle(2, true),
        ),
    ];
    for (what, seen, known, expected) in table {
        assert_eq!(step(&seen, &known), expected, "{what}");
    }
}

#[test]
fn content_that_was_read_is_brought_to_connect_unless_it_is_there() {
    use Verdict::{Attached, Parked, Queued, Scanning, Settling, Uploading};
    let settling = |content| Some(row(Settling, content));
    let moved = |at: &str| Known { moved_from: Some((path("old"), target(at))), ..known(settling(1), vec![]) };
    let rejected = || vec![because(Stage::Rejected, 1, "rejected")];
    let table = [
        ("new", read(1), known(settling(1), vec![]), queue(1, QueueWhy::New)),
        ("empty", read(0), known(settling(0), vec![]), park(0, ParkCode::EmptyFile)),
        ("attached already", read(1), known(settling(1), vec![attachment(Stage::Approved, 1)]), refresh(1, Attached)),
        ("changed", read(2), known(settling(1), vec![attachment(Stage::Approved, 1)]), queue(2, QueueWhy::Changed)),
        ("start call open", read(1), known(settling(1), vec![calling(1)]), refresh(1, Uploading)),
        (
            "its next try waits: nothing else would make it",
            read(1),
            known(settling(1), vec![attachment(Stage::Planned, 1)]),
            queue(1, QueueWhy::New),
        ),
        ("being sent", read(1), known(settling(1), vec![attachment(Stage::Started, 1)]), refresh(1, Uploading)),
        ("sent", read(1), known(settling(1), vec![attachment(Stage::Stored, 1)]), refresh(1, Uploading)),
        ("being scanned", read(1), known(settling(1), vec![attachment(Stage::Completed, 1)]), refresh(1, Scanning)),
        (
            "other content is being sent",
            read(2),
            known(settling(1), vec![attachment(Stage::Stored, 1)]),
            queue(2, QueueWhy::New),
        ),
        (
            "other content is being scanned",
            read(2),
            known(settling(1), vec![attachment(Stage::Completed, 1)]),
            refresh(2, Scanning),
        ),
        ("touched after a refusal", read(1), known(settling(1), rejected()), refresh(1, Parked(ParkCode::Rejected))),
        ("changed after a refusal", read(2), known(settling(1), rejected()), queue(2, QueueWhy::New)),
        ("retried by hand", read(1), known(Some(row(Queued, 1)), rejected()), queue(1, QueueWhy::New)),
        (
            "given up for a reason that is no park",
            read(1),
            known(settling(1), vec![because(Stage::Deleting, 1, "the file changed")]),
            queue(1, QueueWhy::New),
        ),
        (
            "moved, same target",
            read(1),
            moved("f"),
            Step::Move { stat: stat(1), hash: hash(1), from: path("old"), same_target: true },
        ),
        (
            "moved, other target",
            read(1),
            moved("g"),
            Step::Move { stat: stat(1), hash: hash(1), from: path("old"), same_target: false },
        ),
        (
            "moved and not yet replaced",
            read(1),
            known(settling(1), vec![Attachment { name: "old".into(), moved: true, ..attachment(Stage::Approved, 1) }]),
            queue(1, QueueWhy::Changed),
        ),
        (
            "invariant 5: another name by configuration alone",
            read(1),
            known(settling(1), vec![Attachment { name: "old".into(), ..attachment(Stage::Approved, 1) }]),
            refresh(1, Attached),
        ),
    ];
    for (what, seen, known, expected) in table {
        assert_eq!(step(&seen, &known), expected, "{what}");
    }
}

#[test]
fn what_cannot_be_sent_is_parked_with_the_reason() {
    let large = Seen::Present(stat(9), Content::TooLarge);
    let expected = Step::Park { stat: stat(9), hash: None, code: ParkCode::TooLarge, note: None };
    assert_eq!(step(&large, &known(None, vec![])), expected);
    let denied = |why: &str| Seen::Present(stat(1), Content::Unreadable(why.into()));
    let parked = |note: &str| {
        let note = Some(note.to_owned());
        known(Some(FileRow { note, ..row(Verdict::Parked(ParkCode::Unreadable), 1) }), vec![])
    };
    assert!(matches!(step(&denied("no"), &known(None, vec![])), Step::Park { code: ParkCode::Unreadable, .. }));
    assert_eq!(step(&denied("no"), &parked("no")), Step::Nothing);
    assert!(matches!(step(&denied("other"), &parked("no")), Step::Park { note: Some(note), .. } if note == "other"));
}

#[test]
fn invariant_5_leaving_scope_or_route_is_noted_once_and_deletes_nothing() {
    let out = |rule: &str| Seen::OutOfScope(rule.into());
    let approved = || vec![attachment(Stage::Approved, 1)];
    let ignored = |row: FileRow| known(Some(FileRow { verdict: Verdict::Ignored("junk".into()), ..row }), approved());
    let here = || row(Verdict::Attached, 1);
    assert_eq!(step(&out("junk"), &known(Some(here()), approved())), Step::Ignore { rule: "junk".into() });
    assert_eq!(step(&out("junk"), &ignored(here())), Step::Nothing);
    assert_eq!(step(&out("size"), &ignored(here())), Step::Ignore { rule: "size".into() });
    assert_eq!(step(&Seen::Absent, &ignored(here())), Step::Nothing, "it left scope before it went away");
    let gone = Seen::AbsentOutOfScope("junk".into());
    let waiting = FileRow { absent_since: Some(UnixMillis(NOW.0 - 2 * GRACE_MS)), ..here() };
    for row in [here(), waiting] {
        let left = Step::Ignore { rule: "junk".into() };
        assert_eq!(step(&gone, &known(Some(row), approved())), left, "it left scope before its delete was announced");
    }
    assert_eq!(step(&gone, &ignored(here())), Step::Nothing);
    assert_eq!(step(&gone, &known(Some(here()), vec![])), Step::Forget, "nothing is attached");

    let why = Unrouted::new(UnroutedReason::NoMatch);
    let lost = |known: &Known| decide(&unread(1), Err(&why), known, rules(true), NOW);
    let unroute = Step::Unroute { stat: stat(1), hash: None, why: why.clone() };
    assert_eq!(lost(&known(None, vec![])), unroute);
    assert_eq!(lost(&known(Some(row(Verdict::Unrouted("other".into()), 1)), vec![])), unroute);
    assert_eq!(lost(&known(Some(row(Verdict::Unrouted("no-match".into()), 1)), vec![])), Step::Nothing);
}

#[test]
fn an_absence_is_forgotten_kept_or_waits_out_its_grace() {
    use Verdict::{Attached, Deleting, Queued, Scanning, Uploading};
    let approved = || vec![attachment(Stage::Approved, 1)];
    let scanning = || vec![attachment(Stage::Completed, 1)];
    let begin = Step::BeginGrace { delete_after: UnixMillis(NOW.0 + GRACE_MS) };
    let due = NOW.0 - GRACE_MS;
    let table = [
        ("never known", true, known(None, vec![]), Step::Nothing),
        ("nothing sent", true, known(Some(row(Queued, 1)), vec![]), Step::Forget),
        ("being sent", true, known(Some(row(Uploading, 1)), vec![attachment(Stage::Stored, 1)]), Step::Forget),
        ("gone", true, known(Some(row(Attached, 1)), approved()), begin.clone()),
        ("gone while scanned", true, known(Some(row(Scanning, 1)), scanning()), begin.clone()),
        (
            "the wall clock was stepped back meanwhile",
            true,
            known(Some(absent_row(Deleting, 1, NOW.0 + 86_400_000)), approved()),
            begin.clone(),
        ),
        ("in grace", true, known(Some(absent_row(Deleting, 1, due + 1)), approved()), Step::Nothing),
        ("grace over", true, known(Some(absent_row(Deleting, 1, due)), approved()), Step::DeleteDue),
        ("grace over, scan not", true, known(Some(absent_row(Deleting, 1, due)), scanning()), Step::Nothing),
        (
            "delete on its way",
            true,
            known(Some(absent_row(Deleting, 1, due)), vec![because(Stage::Deleting, 1, ABSENT)]),
            Step::Nothing,
        ),
        ("kept", false, known(Some(row(Attached, 1)), approved()), Step::Keep),
        ("kept before", false, known(Some(absent_row(Attached, 1, due)), approved()), Step::Nothing),
        ("kept from now on", false, known(Some(absent_row(Deleting, 1, due)), approved()), Step::Keep),
        ("kept, its scan ended", false, known(Some(absent_row(Scanning, 1, due)), approved()), Step::Keep),
        ("kept, its scan failed", false, known(Some(absent_row(Queued, 1, due)), approved()), Step::Keep),
        ("kept, being scanned", false, known(Some(absent_row(Scanning, 1, due)), scanning()), Step::Nothing),
        ("no longer kept", true, known(Some(absent_row(Attached, 1, due)), approved()), begin.clone()),
    ];
    for (what, propagate, known, expected) in table {
        assert_eq!(decide(&Seen::Absent, Ok(&target("f")), &known, rules(propagate), NOW), expected, "{what}");
    }
}

#[test]
fn all_changed_means_ninety_per_cent_of_ten_or_more_by_content() {
    use Changes::{All, Some, Suspect};
    let table = [
        (9, 9, 0, Some),
        (9, 0, 9, Some),
        (10, 8, 0, Some),
        (10, 9, 0, Suspect),
        (10, 1, 8, Suspect),
        (10, 0, 9, All),
        (10, 1, 9, All),
        (100, 0, 89, Some),
        (1_000_000, 900_000, 0, Suspect),
        (u64::MAX, u64::MAX, u64::MAX, All),
    ];
    for (tracked, unread, changed, expected) in table {
        assert_eq!(weigh_changes(tracked, unread, changed), expected, "{changed} of {tracked}, {unread} unread");
    }
}

proptest::proptest! {
    /// The counts that cost nothing must never hide what the exact ones would show.
    #[test]
    fn the_cheap_look_at_changes_misses_nothing(rest in 0_u64..40, unread in 0_u64..200, changed in 0_u64..200, new in 0_u64..50) {
        let (tracked, open) = (rest + unread + changed, unread + changed + new);
        if weigh_changes(tracked, unread, changed) != Changes::Some {
            proptest::prop_assert!(may_be_all_changed(rest, open));
        }
    }
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Settling),
        Just(Verdict::Queued),
        Just(Verdict::Uploading),
        Just(Verdict::Scanning),
        Just(Verdict::Attached),
        Just(Verdict::Deleting),
        prop::sample::select(ParkCode::ALL).prop_map(Verdict::Parked),
        Just(Verdict::Ignored("junk".into())),
        Just(Verdict::Unrouted("no-match".into())),
    ]
}

fn any_row() -> impl Strategy<Value = FileRow> {
    let absent = prop::option::of(NOW.0 - 3 * GRACE_MS..=NOW.0 + GRACE_MS);
    (any_verdict(), 0_u8..3, absent, any::<bool>()).prop_map(|(verdict, content, absent, hashed)| FileRow {
        hash: hashed.then(|| hash(content)),
        absent_since: absent.map(UnixMillis),
        kept: absent.is_some_and(|since| since % 3 == 0),
        ..row(verdict, content)
    })
}

fn any_attachment() -> impl Strategy<Value = Attachment> {
    let reason = prop::sample::select(vec!["rejected", "failed", ABSENT, REPLACED, "the file changed"]);
    let stage = prop::sample::select(Stage::ALL);
    (stage, 0_u8..3, prop::option::of(reason), any::<bool>(), any::<bool>()).prop_map(
        |(stage, content, reason, start_open, moved)| Attachment {
            reason: reason.map(str::to_owned),
            found: reason.and_then(ParkCode::parse),
            start_open,
            moved,
            ..attachment(stage, content)
        },
    )
}

fn any_known() -> impl Strategy<Value = Known> {
    let attachments = prop::collection::vec(any_attachment(), 0..4);
    let moved = prop::option::of(prop::sample::select(vec!["f", "g"]));
    (prop::option::of(any_row()), attachments, moved).prop_map(|(row, attachments, moved)| Known {
        moving: false,
        row,
        attachments,
        moved_from: moved.map(|name| (path("old"), target(name))),
    })
}

fn any_seen() -> impl Strategy<Value = Seen> {
    let content = prop_oneof![
        Just(None),
        Just(Some(Content::TooLarge)),
        Just(Some(Content::Unreadable("no".into()))),
        Just(Some(Content::Unread)),
    ];
    prop_oneof![
        (0_u8..3, content).prop_map(|(n, content)| Seen::Present(stat(n), content.unwrap_or(Content::Read(hash(n))))),
        prop::sample::select(vec!["junk", "size"]).prop_map(|rule| Seen::OutOfScope(rule.into())),
        Just(Seen::Absent),
        Just(Seen::AbsentOutOfScope("junk".into())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6_000))]

    /// Total, and what each kind of sight may lead to at all.
    #[test]
    fn every_sight_has_a_step_of_its_kind(
        seen in any_seen(), known in any_known(), routed in any::<bool>(), propagate in any::<bool>(),
    ) {
        let target = target("f");
        let why = Unrouted::new(UnroutedReason::NoMatch);
        let route = if routed { Ok(&target) } else { Err(&why) };
        let step = decide(&seen, route, &known, rules(propagate), NOW);
        prop_assert_eq!(&step, &decide(&seen, route, &known, rules(propagate), NOW), "invariant 14");
        let of_its_kind = match &seen {
            Seen::OutOfScope(_) => matches!(step, Step::Nothing | Step::Ignore { .. }),
            Seen::AbsentOutOfScope(_) => matches!(step, Step::Nothing | Step::Ignore { .. } | Step::Forget),
            Seen::Absent => matches!(
                step,
                Step::Nothing | Step::BeginGrace { .. } | Step::Keep | Step::DeleteDue | Step::Forget
            ),
            Seen::Present(..) if !routed => matches!(step, Step::Nothing | Step::Unroute { .. }),
            Seen::Present(_, Content::Unread) => {
                matches!(step, Step::Nothing | Step::Settle { .. } | Step::Refresh { .. })
            }
            Seen::Present(_, Content::Read(_)) => matches!(
                step,
                Step::Refresh { .. } | Step::Queue { .. } | Step::Move { .. } | Step::Park { .. }
            ),
            Seen::Present(..) => matches!(step, Step::Nothing | Step::Park { .. }),
        };
        prop_assert!(of_its_kind, "{:?}", step);
        // Invariant 2: absent then and now, the whole grace between, and the policy's consent.
        if step == Step::DeleteDue {
            let row = known.row.as_ref().unwrap();
            prop_assert!(propagate && NOW.0 - row.absent_since.unwrap().0 >= GRACE_MS);
            prop_assert!(!matches!(row.verdict, Verdict::Ignored(_)), "invariant 5");
            prop_assert!(known.approved().is_some());
        }
        // Invariant 11.
        if let Step::Refresh { verdict: Verdict::Attached, stat, hash: Some(hash) } = &step {
            let version = Version { size: stat.size, hash: *hash };
            prop_assert!(known.approved().is_some_and(|a| a.version == version));
        }
        if matches!(step, Step::Forget) {
            prop_assert!(known.approved().is_none(), "what agents can see is never just forgotten");
        }
    }

    /// The fast path of a pass over known files leaves out only what needs no step.
    #[test]
    fn what_is_at_rest_has_nothing_to_do(row in any_row(), attachments in prop::collection::vec(any_attachment(), 0..4),
        content in 0_u8..3, chmod in any::<bool>(),
    ) {
        let seen = Stat { ctime_ns: i64::from(chmod), ..stat(content) };
        let known = known(Some(row.clone()), attachments);
        let step = decide(&Seen::Present(seen, Content::Unread), Ok(&target("f")), &known, rules(true), NOW);
        let parked = matches!(row.verdict, Verdict::Parked(_));
        prop_assert!(!row.is_at_rest(&seen) || step == Step::Nothing, "{:?}", step);
        prop_assert!(step != Step::Nothing || row.is_at_rest(&seen) || parked);
    }
}

/// While a reference is looked up, a file settles and is read; the answer then queues it without another quiet time.
#[test]
fn a_file_waits_for_its_reference_in_parallel() {
    let why = |reason| Unrouted::new(reason);
    let pending = why(UnroutedReason::ReferencePending);
    let unrouted = |word: &str, content| row(Verdict::Unrouted(word.into()), content);
    let of = |row: FileRow| known(Some(row), vec![]);
    let unread_row = FileRow { hash: None, ..unrouted("reference-pending", 1) };
    let decide = |seen: &Seen, why: &Unrouted, known: &Known| decide(seen, Err(why), known, rules(true), NOW);
    let unroute = |why: &Unrouted, hash| Step::Unroute { stat: stat(1), hash, why: why.clone() };
    let nothing_known = known(None, vec![]);
    let read = Seen::Present(stat(1), Content::Read(hash(1)));
    assert_eq!(decide(&unread(1), &pending, &nothing_known), settle(1, true));
    assert_eq!(decide(&read, &pending, &of(row(Verdict::Settling, 1))), unroute(&pending, Some(hash(1))));
    assert_eq!(decide(&unread(1), &pending, &of(unrouted("reference-pending", 1))), Step::Nothing);
    assert_eq!(decide(&unread(1), &pending, &of(unread_row)), settle(1, true));
    assert_eq!(decide(&unread(2), &pending, &of(unrouted("reference-pending", 1))), settle(2, true), "changed");
    let unknown = why(UnroutedReason::ReferenceUnknown);
    assert_eq!(decide(&unread(1), &unknown, &of(unrouted("reference-pending", 1))), unroute(&unknown, None));
    assert_eq!(decide(&read, &unknown, &of(unrouted("reference-unknown", 1))), Step::Nothing);
    for word in ["reference-pending", "reference-unknown", "reference-ambiguous"] {
        let queue = Step::Queue { stat: stat(1), hash: hash(1), why: QueueWhy::New };
        assert_eq!(step(&unread(1), &of(unrouted(word, 1))), queue, "{word}: resolved");
        assert_eq!(step(&unread(2), &of(unrouted(word, 1))), settle(2, true), "{word}: changed meanwhile");
    }
}

#[test]
fn what_one_case_refused_another_may_take() {
    let refused = |code: ParkCode, case: &str| {
        let case = CaseArn::new(format!("arn:aws:cases:eu-west-2:123456789012:domain/d-1/case/{case}")).unwrap();
        let last = Attachment { case, reason: Some(code.as_str().into()), ..attachment(Stage::Abandoned, 1) };
        known(Some(row(Verdict::Parked(code), 1)), vec![last])
    };
    let queue = Step::Queue { stat: stat(1), hash: hash(1), why: QueueWhy::New };
    for code in [ParkCode::CaseNotFound, ParkCode::CaseFull, ParkCode::CaseClosed] {
        assert_eq!(step(&unread(1), &refused(code, "c-1")), Step::Nothing, "{code}");
        assert_eq!(step(&unread(1), &refused(code, "c-2")), queue, "{code}");
    }
    assert_eq!(step(&unread(1), &refused(ParkCode::Rejected, "c-2")), Step::Nothing, "the file itself was refused");
}
