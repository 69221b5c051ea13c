//! Lost mounts, deletes, and what lies between.

use proptest::prelude::*;

use super::*;

fn files(visible: u64, scanned: u64) -> Files {
    Files { visible, scanned }
}

fn gone(visible: u64, scanned: u64) -> Absences {
    Absences { gone: files(visible, scanned), scanned, first: Some(UnixMillis(10)), ..Absences::default() }
}

#[test]
fn invariant_3_an_emptied_root_is_told_from_one_delete() {
    // Gone, here: visible and in scan.
    let table = [
        ((0, 0), (0, 0), false),
        ((1, 0), (0, 0), false),
        ((2, 0), (0, 0), true),
        ((2, 0), (1, 0), false),
        ((1_000_000, 0), (0, 0), true),
        ((1, 1), (0, 0), true),
        ((1, 1), (0, 1), false),
        ((1, 1), (1, 0), false),
        // No file in scan disproves what the visible ones tell.
        ((2, 0), (0, 1), true),
        ((2, 5), (0, 1), true),
    ];
    for ((visible, scanned), here, emptied) in table {
        let weighed = Absences { older: files(here.0, here.1), ..gone(visible, scanned) };
        assert_eq!(weighed.emptied().is_some(), emptied, "{weighed:?}");
    }
}

#[test]
fn what_is_kept_tells_of_an_emptied_root_only_with_what_went_with_it() {
    let weighed =
        |visible, scanned, here| Absences { kept: 2, older: here, ..gone(visible, scanned) }.emptied().is_some();
    assert!(weighed(1, 0, files(0, 0)) && weighed(0, 1, files(0, 0)) && weighed(1, 0, files(0, 9)));
    assert!(!weighed(0, 1, files(0, 9)) && !weighed(0, 1, files(1, 0)) && !weighed(0, 0, files(0, 0)));
}

#[test]
fn invariant_3_gaps_of_a_listing_are_no_proof_that_the_rest_is_there() {
    // Gone, here as far as is known, of these not looked at.
    let table = [
        ((1, 0), (3, 0), (0, 0), false),
        ((1, 0), (3, 0), (2, 0), false),
        ((1, 0), (3, 0), (3, 0), true),
        ((5, 0), (3, 0), (3, 0), true),
        ((0, 0), (3, 0), (3, 0), false),
        ((1, 0), (0, 0), (0, 0), false),
        ((1, 0), (0, 1), (0, 1), true),
        ((1, 0), (0, 2), (0, 1), false),
        ((1, 0), (1, 1), (0, 1), false),
        ((1, 0), (1, 1), (1, 0), true),
        ((1, 1), (1, 1), (1, 1), true),
    ];
    for ((visible, scanned), older, hidden, unclear) in table {
        let (older, hidden) = (files(older.0, older.1), files(hidden.0, hidden.1));
        let weighed = Absences { older, hidden, ..gone(visible, scanned) };
        assert_eq!(weighed.may_be_emptied(), unclear, "{weighed:?}");
    }
}

#[test]
fn what_a_person_let_go_is_counted_as_this_person_counted_it() {
    let budget = DeleteBudget::Limit { files: 1, basis_points: 1 };
    let of = |weighed: Absences, due| (weighed.emptied().is_some(), weighed.allow(due, &budget) == Deletes::Go);
    let released = |visible, scanned, released| Absences { released, ..gone(visible, scanned) };
    assert_eq!(of(released(3, 0, 3), 3), (false, true));
    assert_eq!(of(released(2, 1, 3), 2), (false, true));
    // Two that nobody counted went after two in scan were released.
    assert_eq!(of(released(2, 2, 2), 2), (true, false));
    // Those that were counted came back: the word is not left for others.
    assert_eq!(of(released(2, 0, 9), 3), (false, false));
}

#[test]
fn what_has_another_name_is_not_missing() {
    let renamed = |gone_files, (visible, scanned)| {
        let weighed = Absences { renamed: files(visible, scanned), ..gone_files };
        (weighed.emptied().is_some(), weighed.all_back())
    };
    assert_eq!(renamed(gone(0, 0), (0, 0)), (false, true));
    assert_eq!(renamed(gone(0, 2), (0, 2)), (false, true));
    assert_eq!(renamed(gone(1, 1), (1, 1)), (false, true));
    assert_eq!(renamed(gone(1, 0), (0, 0)), (false, false));
    assert_eq!(renamed(gone(1, 1), (0, 1)), (false, false));
    assert_eq!(renamed(gone(3, 0), (1, 0)), (true, false));
    assert_eq!(renamed(gone(1, 2), (0, 1)), (true, false));
    assert_eq!(renamed(Absences { kept: 2, ..gone(1, 1) }, (1, 1)), (false, true));
}

#[test]
fn what_is_about_to_begin_is_weighed_as_if_it_had_begun() {
    let begin = |weighed: &mut Absences, is_visible, seen_at: Option<i64>| {
        weighed.begin(Beginning { is_visible, seen_at: seen_at.map(UnixMillis) });
    };
    let mut weighed = Absences { older: files(2, 1), first: Some(UnixMillis(10)), ..Absences::default() };
    begin(&mut weighed, true, Some(9));
    begin(&mut weighed, true, Some(10));
    begin(&mut weighed, false, Some(9));
    begin(&mut weighed, true, None);
    assert_eq!(weighed, Absences { older: files(1, 0), ..gone(3, 1) });
}

#[test]
fn holds_say_what_was_seen() {
    let said = |kept, scanned| Absences { kept, ..gone(3, scanned) }.emptied().unwrap();
    assert_eq!(said(0, 0), "3 attached files are gone, and none that was there with them is left");
    assert_eq!(
        said(1, 0),
        "4 attached files are gone (1 of them kept by hand), and none that was there with them is left"
    );
    assert_eq!(
        said(1, 2),
        "6 files are gone (2 of them still being scanned, 1 of them kept by hand), and none that was there with them is \
         left"
    );
    let weighed = Absences { tracked: 100, recent: 3, ..gone(9, 0) };
    let Deletes::Hold(text) = weighed.allow(9, &DeleteBudget::DEFAULT) else { panic!("let go") };
    assert_eq!(
        text,
        "9 files are gone, 3 were deleted at Connect in the last hour, and the budget for 100 attached files is 10 an \
         hour"
    );
}

proptest! {
    #[test]
    fn invariant_2_no_more_go_than_the_budget_or_a_person_allows(
        due in 0..200_u64, tracked in 0..2_000_u64, recent in 0..200_u64, released in 0..200_u64, scanned in 0..5_u64,
        more in 0..200_u64, files in 1..100_u32, basis_points in 1..10_000_u32,
    ) {
        let budget = DeleteBudget::Limit { files, basis_points };
        let allowed = budget.allowed(tracked + recent).unwrap();
        let weighed = Absences { tracked, recent, released, ..gone(due + more, scanned) };
        let goes = weighed.allow(due, &budget) == Deletes::Go;
        prop_assert_eq!(goes, due == 0 || due + recent <= allowed || due + scanned <= released);
        prop_assert!(!goes || due <= released || due <= u64::from(files));
        prop_assert_eq!(weighed.allow(due, &DeleteBudget::Off), Deletes::Go);
    }
}
