//! What is taken over from Connect, and the rows that a look made before.

use super::super::*;
use super::support::*;
use crate::core::adopt::{Standing, Tagged};
use crate::core::model::Version;
use crate::core::plan::{Content, Seen, Step};
use crate::types::FileId;

fn tagged(content: u8) -> Tagged {
    Tagged {
        file: FileId::new("from-before").unwrap(),
        case: case(),
        name: "f".into(),
        version: Version { size: u64::from(content), hash: hash(content) },
        sent: None,
        token: "token".into(),
        created: at(1),
        standing: Standing::Approved,
    }
}

#[test]
fn invariant_19_a_file_queued_before_the_adoption_is_judged_anew_whatever_stands_there_meanwhile() {
    // Nothing can be said of it, it is away, it is there and not read.
    for seen in [None, Some(Seen::Absent), Some(Seen::Present(stat(3, 7), Content::Unread))] {
        on_journal(move |w| {
            assert!(matches!(w.show("f", 3, 7)?, Step::Queue { .. }));
            let taken = adopt(w.tx, (w.mirror, &rel("f")), &[tagged(3)], seen.as_ref(), &route, rules(true), w.now())?;
            assert_eq!((taken, w.verdict("f")?.as_str()), (1, "settling"), "{seen:?}");
            assert!(matches!(w.begin("f", &stat(3, 7))?, Begun::NotNow | Begun::Changed), "{seen:?}: not sent");
            w.show("f", 3, 7)?;
            assert_eq!((w.verdict("f")?.as_str(), w.attachments("f")?.len()), ("attached", 1), "{seen:?}");
            Ok(())
        });
    }
}
