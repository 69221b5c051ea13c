//! The keys of `mode = "ingest"` and of the protocols by which a writer says that a file is whole.

use super::Ingest;
use super::problem::Sink;
use super::read::absolute;
use super::section::Section;
use crate::core::handover::AfterApproval;

/// What becomes of files that casedrop is done with. `Err`: a problem was reported.
pub(super) fn ingest(sink: &mut Sink<'_>, section: &Section<'_>, is_ingest: bool) -> Result<Option<Ingest>, ()> {
    let choices =
        [("archive", AfterApproval::Archive), ("delete", AfterApproval::Delete), ("keep", AfterApproval::Keep)];
    let after = section.choice(sink, "after_approval", &choices);
    let archive = section.text(sink, "archive", absolute);
    let quarantine = section.text(sink, "quarantine", absolute);
    let prune_empty = section.boolean(sink, "prune_empty");
    let receipts = section.boolean(sink, "receipts");
    let mut complain = |key: &str, message: &str| {
        let at = section.span(key).map(|span| span.start);
        sink.key(&section.key(key), at.or_else(|| section.at()), message);
    };
    if !is_ingest {
        let mut wrong = false;
        for key in ["after_approval", "archive", "quarantine", "prune_empty", "receipts"] {
            if section.has(key) {
                wrong = true;
                complain(
                    key,
                    "it needs `mode = \"ingest\"`: with \"mirror\" nothing in the folder is ever moved or removed",
                );
            }
        }
        return if wrong { Err(()) } else { Ok(None) };
    }
    if !section.has("after_approval") {
        let message = "it is required with `mode = \"ingest\"`: \"archive\", \"delete\" or \"keep\" the local file once agents \
                       can see it";
        complain("after_approval", message);
        return Err(());
    }
    let Some(after) = after else { return Err(()) };
    let mut wrong = false;
    match (after, section.has("archive")) {
        (AfterApproval::Archive, false) => {
            wrong = true;
            complain(
                "archive",
                "it is required with `after_approval = \"archive\"`: the folder that delivered files move to",
            );
        }
        (AfterApproval::Delete | AfterApproval::Keep, true) => {
            wrong = true;
            complain("archive", "nothing would ever be moved there: it needs `after_approval = \"archive\"`");
        }
        _ => {}
    }
    if receipts == Some(true) && after != AfterApproval::Archive {
        wrong = true;
        let message = "a receipt lies beside the archived file, so it needs `after_approval = \"archive\"`; what was \
                       delivered can be read from `casedrop report` as well";
        complain("receipts", message);
    }
    if prune_empty == Some(true) && after == AfterApproval::Keep && !section.has("quarantine") {
        wrong = true;
        complain("prune_empty", "no folder would ever be emptied: with \"keep\" and no `quarantine` every file stays");
    }
    if wrong {
        return Err(());
    }
    let ingest = Ingest {
        after,
        archive,
        quarantine,
        prune_empty: prune_empty.unwrap_or(false),
        receipts: receipts.unwrap_or(false),
    };
    Ok(Some(ingest))
}

/// The end of a name that says where a file stands on its way.
pub(super) fn suffix(sink: &mut Sink<'_>, section: &Section<'_>, key: &str) -> Option<String> {
    section.text(sink, key, |text| {
        let ok = (1..=32).contains(&text.len()) && !text.contains('/') && !text.chars().any(char::is_control);
        ok.then(|| text.to_owned())
            .ok_or_else(|| "it must be the end of a name, such as \".tmp\": 1 to 32 bytes without `/`".to_owned())
    })
}
