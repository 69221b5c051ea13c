//! Which of the attachments that Connect holds for one path the journal takes over, and how they stand.
//!
//! Pure. The journal is to come out as if it had never been lost, so that the planner finds unchanged files attached
//! (invariant 19): the attachment that holds what the file holds comes last, since the newest counts; else the one
//! made last does.

use std::time::Duration;

use super::model::Version;
use crate::types::{CaseArn, FileId, UnixMillis};

/// An upload that is this old and not complete never will be: URLs live for 5 minutes, scans for 1 (SERVICE.md 1.1,
/// 2.5). By the local clock against Connect's: AWS refuses signatures that are more than 5 minutes apart.
pub const NEVER_COMPLETES: Duration = Duration::from_secs(20 * 60);

/// How a file stands at Connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    Approved,
    Rejected,
    Failed,
    /// Not complete, or being scanned.
    Open,
    /// Of a status that casedrop does not know: agents may see it.
    Unknown,
}

/// One attachment of ours at Connect, as its metadata and tags tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    pub file: FileId,
    pub case: CaseArn,
    /// The name agents see.
    pub name: String,
    /// The file's own content: hash as tagged, size as declared, or as tagged where it was converted.
    pub version: Version,
    /// What was sent, where that is something else.
    pub sent: Option<Version>,
    /// The attempt's token.
    pub token: String,
    pub created: UnixMillis,
    pub standing: Standing,
}

/// What is done with the attachments of one path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arranged {
    /// For the journal, in this order: the last approved one is the file's attachment.
    pub take: Vec<Tagged>,
    /// Not to be judged: a scan may still be under way, or the status is none that casedrop knows.
    pub open: Vec<Tagged>,
    /// Never completed.
    pub unfinished: Vec<Tagged>,
}

impl Arranged {
    /// The attachment that counts.
    pub fn chosen(&self) -> Option<&Tagged> {
        self.take.iter().rev().find(|one| one.standing == Standing::Approved)
    }

    /// Approved ones beside the one that counts.
    pub fn surplus(&self) -> impl Iterator<Item = &Tagged> {
        let chosen = self.chosen().map(|one| &one.file);
        self.take.iter().filter(move |one| one.standing == Standing::Approved && Some(&one.file) != chosen)
    }
}

/// Sorts the attachments of one path. `local`: what the file holds, if it is there and was read.
pub fn arrange(files: Vec<Tagged>, local: Option<Version>, now: UnixMillis) -> Arranged {
    let mut arranged = Arranged::default();
    for one in files {
        let place = match one.standing {
            Standing::Approved | Standing::Rejected | Standing::Failed => &mut arranged.take,
            Standing::Open if now.since(one.created) < NEVER_COMPLETES => &mut arranged.open,
            Standing::Open => &mut arranged.unfinished,
            Standing::Unknown => &mut arranged.open,
        };
        place.push(one);
    }
    arranged.take.sort_by(|a, b| {
        let rank = |one: &Tagged| {
            let holds_it = one.standing == Standing::Approved && Some(one.version) == local;
            (holds_it, one.created)
        };
        rank(a).cmp(&rank(b)).then_with(|| a.file.cmp(&b.file))
    });
    arranged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::ContentHash;

    fn version(n: u8) -> Version {
        Version { size: 1, hash: ContentHash([n; 32]) }
    }

    fn one(id: u8, content: u8, created: i64, standing: Standing) -> Tagged {
        Tagged {
            file: FileId::new(format!("f{id}")).unwrap(),
            case: CaseArn::new("arn:aws:cases:r:1:domain/d/case/c").unwrap(),
            name: "a.pdf".into(),
            version: version(content),
            sent: None,
            token: format!("t{id}"),
            created: UnixMillis(created),
            standing,
        }
    }

    #[test]
    fn the_one_with_the_local_content_counts_else_the_newest() {
        let files = vec![one(1, 1, 10, Standing::Approved), one(2, 2, 20, Standing::Approved)];
        let chosen = |local| arrange(files.clone(), local, UnixMillis(0)).chosen().unwrap().file.to_string();
        assert_eq!(chosen(Some(version(1))), "f1", "unchanged: nothing to upload");
        assert_eq!(chosen(Some(version(2))), "f2");
        assert_eq!(chosen(Some(version(3))), "f2");
        assert_eq!(chosen(None), "f2");
        let arranged = arrange(files, Some(version(1)), UnixMillis(0));
        assert_eq!(arranged.surplus().map(|one| one.file.as_str()).collect::<Vec<_>>(), ["f2"]);
    }

    #[test]
    fn what_is_open_is_young_or_will_never_be_complete() {
        let now = UnixMillis(0).plus(NEVER_COMPLETES);
        let files = vec![one(1, 1, 0, Standing::Open), one(2, 1, 1, Standing::Open), one(3, 1, 0, Standing::Rejected)];
        let arranged = arrange(files, None, now);
        assert_eq!((arranged.unfinished.len(), arranged.open.len(), arranged.take.len()), (1, 1, 1));
        assert_eq!(arranged.chosen(), None, "invariant 11");
        let unknown = arrange(vec![one(1, 1, 0, Standing::Unknown)], Some(version(1)), now);
        assert_eq!((unknown.open.len(), unknown.chosen()), (1, None), "of whatever age: it may be visible");
    }

    proptest! {
        #[test]
        fn none_is_lost_and_none_is_guessed(
            raw in prop::collection::vec((0..4_u8, 0..2_000_000_i64, 0..5_u8), 0..8),
            local in prop::option::of(0..4_u8),
        ) {
            use Standing::{Approved, Failed, Open, Rejected, Unknown};
            let standings = [Approved, Rejected, Failed, Open, Unknown];
            let files: Vec<Tagged> = raw.iter().zip(0_u8..)
                .map(|((content, at, s), id)| one(id, *content, *at, standings[usize::from(*s)])).collect();
            let local = local.map(version);
            let arranged = arrange(files.clone(), local, UnixMillis(1_500_000));
            let parts = arranged.take.len() + arranged.open.len() + arranged.unfinished.len();
            prop_assert_eq!(parts, files.len());
            let approved = files.iter().filter(|f| f.standing == Standing::Approved);
            if approved.clone().any(|f| Some(f.version) == local) {
                prop_assert_eq!(arranged.chosen().map(|c| c.version), local, "invariant 19");
            } else {
                prop_assert_eq!(arranged.chosen().map(|c| c.created), approved.map(|f| f.created).max());
            }
        }
    }
}
