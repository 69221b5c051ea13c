//! Journal, disk and Connect compared for one attached file: what differs, and what may be done about it.
//!
//! Pure. Each combination gives one class or none. Nothing is concluded from an answer that is not certain
//! ([`There::Unsure`]), and a delete is proposed only for what is ours by all its tags and has no use
//! (invariants 2, 9 and 10). A difference is a verdict for a person: nothing here is carried out by itself
//! (LESSONS L27, L33).

use super::model::Stage;

macro_rules! classes {
    ($($(#[$meta:meta])* $variant:ident = $text:literal, $action:ident, $what:literal;)+) => {
        /// How the three differ. The texts are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Class { $($(#[$meta])* $variant,)+ }

        impl Class {
            /// Every class.
            pub const ALL: [Class; [$($text),+].len()] = [$(Class::$variant),+];

            /// The stable text.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// What `verify --fix` does about it.
            pub fn action(self) -> Action {
                match self { $(Self::$variant => Action::$action,)+ }
            }

            /// The proposal in words, which completes "to do:".
            pub fn proposal(self) -> &'static str {
                match self { $(Self::$variant => $what,)+ }
            }

            /// The class of a stable text.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|class| class.as_str() == text)
            }
        }
    };
}

classes! {
    /// We believe it attached, and Connect says for certain that it is not there.
    Missing = "missing", SendAgain, "attach the file anew";
    /// It is there under its FileId, with another size, content or tags.
    Altered = "altered", SendAgain, "attach the file anew, then delete what is there";
    /// Connect's verdict changed after the fact: approved before and refused now, or the reverse.
    Flipped = "flipped", SendAgain, "attach the file anew, then delete what is there";
    /// The local content differs from what is attached although nothing else about the file does.
    Changed = "changed", ReadAgain, "read the file again and replace the attachment";
    /// Ours by its tags, unknown to the journal, and exactly what the local file holds, which has no attachment.
    Adoptable = "adoptable", Adopt, "take it over; nothing is called";
    /// Ours by its tags, visible, and unknown to the journal.
    Orphan = "orphan", Delete, "delete it at Connect by its FileId";
    /// Ours by its tags, unknown to the journal, and never completed or refused.
    Unfinished = "unfinished", Delete, "delete it at Connect by its FileId; agents never saw it";
    /// An older attachment of ours beside the newer one of the same file.
    Surplus = "surplus", Delete, "delete the older one at Connect by its FileId";
    /// Adopted, and its file was never seen here.
    Unseen = "unseen", LetGo, "let it count as removed here: deleted after the ordinary grace, within the budget";
    /// The journal says it was deleted, and it is there.
    Lingering = "lingering", Nothing, "look at it in Connect: it was deleted, and is there again";
}

impl serde::Serialize for Class {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

/// What a repair does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A new attempt; what is there under the old FileId goes once the new one is visible.
    SendAgain,
    /// The file settles and is read anew; the planner goes on.
    ReadAgain,
    /// The journal takes it over; no call.
    Adopt,
    /// An announced delete by FileId.
    Delete,
    /// The planner may take its absence for a removal.
    LetGo,
    /// A person has to look.
    Nothing,
}

impl Action {
    /// Whether something disappears at Connect that agents may see: asks for a count.
    pub fn deletes(self) -> bool {
        matches!(self, Self::Delete | Self::LetGo)
    }
}

/// What the journal says of the attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Journaled {
    pub stage: Stage,
    /// A newer approved attachment of the same path exists.
    pub outdone: bool,
    /// A start call of it may have left a FileId that the sweep still looks for, or a delete waits.
    pub busy: bool,
    /// Its file is parked as `unseen`.
    pub unseen: bool,
}

/// What the journal says of a FileId.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Known {
    Row(Journaled),
    /// No row; its attempt's row exists and is still at work.
    AttemptAtWork,
    /// No row. `has_attachment`: the path of its tag has a live attachment in the journal.
    Unknown {
        has_attachment: bool,
    },
}

/// What the disk says of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Here {
    /// Not looked at, not readable, or just changing: nothing can be said.
    Unknown,
    Absent,
    /// It holds what the attachment is of.
    Same,
    /// It holds something else, and the journal knows that.
    KnownOther,
    /// It holds something else, and the journal does not know that: its stat is as it was.
    Differs,
}

/// What Connect says of the FileId.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum There {
    /// Odd, young, or contradictory answers.
    Unsure,
    /// Three questions agree, after the listing grace.
    Gone,
    Present(Remote),
}

/// A file at Connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Remote {
    pub status: Status,
    /// All our tags are there, well-formed, with this mirror's name.
    pub ours: bool,
    /// Size, tags and, where it was downloaded, content are those of the journal's row (always `true` without one).
    pub as_sent: bool,
    /// Old enough that no start call of now can be meant.
    pub settled: bool,
}

/// The status, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    Approved,
    /// REJECTED or FAILED.
    Refused,
    /// Not complete, or being scanned.
    Open,
    /// None that casedrop knows: agents may see it.
    Unknown,
}

/// The one class of a combination; `None` when all agree or nothing certain can be said.
pub fn compare(known: Known, here: Here, there: There) -> Option<Class> {
    match (known, there) {
        (_, There::Unsure) => None,
        (Known::Row(row), There::Gone) => journaled_gone(row),
        (Known::Row(row), There::Present(remote)) => journaled(row, here, remote),
        (Known::AttemptAtWork, _) | (Known::Unknown { .. }, There::Gone) => None,
        (Known::Unknown { has_attachment }, There::Present(remote)) => unknown(has_attachment, here, remote),
    }
}

fn journaled_gone(row: Journaled) -> Option<Class> {
    (row.stage == Stage::Approved && !row.busy).then_some(Class::Missing)
}

fn journaled(row: Journaled, here: Here, remote: Remote) -> Option<Class> {
    if row.busy {
        return None;
    }
    match (row.stage, remote.status) {
        (Stage::Approved, Status::Refused) => Some(Class::Flipped),
        // Being looked at again, perhaps: the next comparison tells.
        (Stage::Approved, Status::Open | Status::Unknown) => None,
        (Stage::Approved, Status::Approved) if !remote.as_sent => Some(Class::Altered),
        (Stage::Approved, Status::Approved) if row.outdone => Some(Class::Surplus),
        (Stage::Approved, Status::Approved) if row.unseen && here == Here::Absent => Some(Class::Unseen),
        (Stage::Approved, Status::Approved) if here == Here::Differs => Some(Class::Changed),
        (Stage::Rejected | Stage::Failed, Status::Approved) => Some(Class::Flipped),
        (Stage::Deleted, _) if remote.settled => Some(Class::Lingering),
        _ => None,
    }
}

fn unknown(has_attachment: bool, here: Here, remote: Remote) -> Option<Class> {
    if !(remote.ours && remote.settled) {
        return None;
    }
    match remote.status {
        Status::Approved if here == Here::Same && !has_attachment => Some(Class::Adoptable),
        Status::Approved => Some(Class::Orphan),
        Status::Refused | Status::Open => Some(Class::Unfinished),
        Status::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OURS: Remote = Remote { status: Status::Approved, ours: true, as_sent: true, settled: true };

    fn row(stage: Stage) -> Journaled {
        Journaled { stage, outdone: false, busy: false, unseen: false }
    }

    fn present(status: Status) -> There {
        There::Present(Remote { status, ..OURS })
    }

    #[test]
    fn the_table() {
        let approved = Known::Row(row(Stage::Approved));
        let unknown = Known::Unknown { has_attachment: false };
        let foreign = There::Present(Remote { ours: false, ..OURS });
        let altered = There::Present(Remote { as_sent: false, ..OURS });
        let young = There::Present(Remote { settled: false, ..OURS });
        let outdone = Known::Row(Journaled { outdone: true, ..row(Stage::Approved) });
        let unseen = Known::Row(Journaled { unseen: true, ..row(Stage::Approved) });
        for (known, here, there, class) in [
            (approved, Here::Same, present(Status::Approved), None),
            (approved, Here::Same, There::Gone, Some(Class::Missing)),
            (approved, Here::Same, There::Unsure, None),
            (approved, Here::Same, present(Status::Refused), Some(Class::Flipped)),
            (approved, Here::Same, present(Status::Open), None),
            (approved, Here::Same, altered, Some(Class::Altered)),
            (approved, Here::Differs, present(Status::Approved), Some(Class::Changed)),
            (approved, Here::KnownOther, present(Status::Approved), None),
            (approved, Here::Absent, present(Status::Approved), None),
            (unseen, Here::Absent, present(Status::Approved), Some(Class::Unseen)),
            (outdone, Here::Same, present(Status::Approved), Some(Class::Surplus)),
            (Known::Row(row(Stage::Rejected)), Here::Same, present(Status::Refused), None),
            (Known::Row(row(Stage::Rejected)), Here::Same, present(Status::Approved), Some(Class::Flipped)),
            (Known::Row(row(Stage::Rejected)), Here::Same, There::Gone, None),
            (Known::Row(row(Stage::Completed)), Here::Same, There::Gone, None),
            (Known::Row(row(Stage::Deleted)), Here::Absent, There::Gone, None),
            (Known::Row(row(Stage::Deleted)), Here::Absent, present(Status::Approved), Some(Class::Lingering)),
            (unknown, Here::Same, present(Status::Approved), Some(Class::Adoptable)),
            (unknown, Here::Absent, present(Status::Approved), Some(Class::Orphan)),
            (Known::Unknown { has_attachment: true }, Here::Same, present(Status::Approved), Some(Class::Orphan)),
            (unknown, Here::Absent, present(Status::Open), Some(Class::Unfinished)),
            (unknown, Here::Absent, present(Status::Unknown), None),
            (unknown, Here::Absent, young, None),
            (unknown, Here::Absent, foreign, None),
            (Known::AttemptAtWork, Here::Absent, present(Status::Open), None),
        ] {
            assert_eq!(compare(known, here, there), class, "{known:?} {here:?} {there:?}");
        }
    }

    #[test]
    fn names_are_unique_and_read_back() {
        for class in Class::ALL {
            assert_eq!(Class::parse(class.as_str()), Some(class));
        }
        assert_eq!(Class::parse("mising"), None);
    }

    fn any_known() -> impl Strategy<Value = Known> {
        let row = (prop::sample::select(Stage::ALL), any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(stage, outdone, busy, unseen)| Known::Row(Journaled { stage, outdone, busy, unseen }));
        prop_oneof![
            row,
            Just(Known::AttemptAtWork),
            any::<bool>().prop_map(|has_attachment| Known::Unknown { has_attachment })
        ]
    }

    fn any_there() -> impl Strategy<Value = There> {
        let status = prop::sample::select(&[Status::Approved, Status::Refused, Status::Open, Status::Unknown]);
        let present = (status, any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(status, ours, as_sent, settled)| There::Present(Remote { status, ours, as_sent, settled }));
        prop_oneof![Just(There::Unsure), Just(There::Gone), present]
    }

    proptest! {
        /// Invariants 2, 9 and 10: what is deleted is ours by its tags, or by a row that a newer one outdid; nothing
        /// follows from doubt; what is at work is left alone.
        #[test]
        fn no_class_leads_to_a_delete_of_what_is_not_ours(
            known in any_known(),
            here in prop::sample::select(&[Here::Unknown, Here::Absent, Here::Same, Here::KnownOther, Here::Differs]),
            there in any_there(),
        ) {
            let Some(class) = compare(known, here, there) else { return Ok(()) };
            prop_assert_ne!(there, There::Unsure);
            prop_assert_ne!(known, Known::AttemptAtWork);
            if let Known::Row(row) = known {
                prop_assert!(!row.busy);
            }
            match (class.action(), known, there) {
                (Action::Delete, Known::Unknown { .. }, There::Present(remote)) => {
                    prop_assert!(remote.ours && remote.settled);
                }
                (Action::Delete, Known::Row(row), There::Present(_)) => {
                    prop_assert!(row.outdone && row.stage == Stage::Approved);
                }
                (Action::Delete, ..) => prop_assert!(false, "a delete of what is not there"),
                (Action::Adopt, known, There::Present(remote)) => {
                    prop_assert_eq!(known, Known::Unknown { has_attachment: false });
                    prop_assert!(here == Here::Same && remote.ours && remote.status == Status::Approved);
                }
                (Action::LetGo, Known::Row(row), _) => prop_assert!(row.unseen && here == Here::Absent),
                (Action::SendAgain | Action::ReadAgain, Known::Row(row), _) => {
                    prop_assert!(matches!(row.stage, Stage::Approved | Stage::Rejected | Stage::Failed));
                }
                (Action::Nothing, Known::Row(row), _) => prop_assert_eq!(row.stage, Stage::Deleted),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
