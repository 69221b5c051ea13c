//! What lies beside a file that was handed over: the receipt of a delivery for machines, the reason of a refusal for
//! whoever stands at the scanner. Both come from the journal alone, so that a repeated hand-over writes the same.

use serde_json::json;

use crate::core::handover::{REASON, RECEIPT, advice};
use crate::core::model::{HandoverKind, ParkCode};
use crate::journal::{JournalError, View};
use crate::record::{Order, whole};
use crate::world::Mirror;

/// Version of the receipt's form; it grows when a field changes its meaning or goes.
const RECEIPT_VERSION: u32 = 1;

/// The end of the name and the content of what is to lie beside the file, if anything is.
///
/// # Errors
/// The journal's.
pub(super) fn paper(
    view: &View,
    (mirror, instance): (&Mirror, &str),
    order: &Order,
) -> Result<Option<(&'static str, Vec<u8>)>, JournalError> {
    let receipts = mirror.config.ingest.as_ref().is_some_and(|ingest| ingest.receipts);
    match order.handover.kind {
        HandoverKind::Archive if receipts => Ok(Some((RECEIPT, receipt(view, (mirror, instance), order)?))),
        HandoverKind::Quarantine => Ok(Some((REASON, reason(mirror, order).into_bytes()))),
        HandoverKind::Archive | HandoverKind::Delete => Ok(None),
    }
}

fn receipt(view: &View, (mirror, instance): (&Mirror, &str), order: &Order) -> Result<Vec<u8>, JournalError> {
    let (h, row) = (&order.handover, &order.row);
    let a = order.attachment.as_ref();
    let time = |at: Option<crate::types::UnixMillis>| at.map(|at| at.to_string());
    // Every call and try of this file's life, the attempts that were given up included.
    let attempts = view.attachments_of(h.mirror, &h.path)?.len();
    // What agents see, where that is not the file itself.
    let sent = match a {
        Some(a) => view.converted(a.id)?,
        None => None,
    };
    // By which it was found; the case alone where the path names it.
    let reference = match a {
        Some(a) => view.reference_of(h.mirror, &a.case)?,
        None => None,
    };
    let file_arn = a.and_then(|a| Some(a.case.file_arn(instance, a.file_id.as_ref()?)));
    let sent = sent.map(|sent| json!({ "size": sent.size, "sha256": sent.hash.to_string() }));
    let value = json!({
        "converted_to": sent,
        "receipt_version": RECEIPT_VERSION,
        "mirror": mirror.config.name,
        "root": mirror.config.path.display().to_string(),
        "path": h.path,
        "archived_as": h.to.as_ref().map(|(folder, target)| whole(folder, target)),
        "case_arn": a.map(|a| &a.case),
        "case_id": a.map(|a| a.case.case_id()),
        "reference": reference,
        "file_arn": file_arn,
        "file_id": a.and_then(|a| a.file_id.as_ref()),
        "attachment_name": a.map(|a| a.name.as_str()),
        "size": h.stat.size,
        "sha256": h.hash.map(|hash| hash.to_string()),
        "times": {
            "modified": crate::types::UnixMillis(h.stat.mtime_ns / 1_000_000).to_string(),
            "first_seen": row.seen_at.to_string(),
            "started": time(a.and_then(|a| a.started_at)),
            "stored": time(a.and_then(|a| a.stored_at)),
            "completed": time(a.and_then(|a| a.completed_at)),
            "approved": time(a.and_then(|a| a.ended_at)),
            "handed_over": h.created_at.to_string(),
        },
        "attempts": attempts,
        "last_request_id": a.and_then(|a| a.last_request_id.as_deref()),
        "host": host(),
        "casedrop_version": env!("CARGO_PKG_VERSION"),
    });
    let mut text = serde_json::to_vec_pretty(&value).map_err(|e| JournalError::internal(&e.to_string()))?;
    text.push(b'\n');
    Ok(text)
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn reason(mirror: &Mirror, order: &Order) -> String {
    let (h, row) = (&order.handover, &order.row);
    let code = h.code.unwrap_or(ParkCode::Refused);
    let place = mirror.config.path.join(h.path.as_path());
    let said =
        row.note.as_deref().map(|said| format!("\nDetails for the administrator\n  {said}\n")).unwrap_or_default();
    format!(
        "This document was NOT delivered.\n\n\
         File      {}\n\
         Size      {} bytes\n\
         Came from {}\n\
         Refused   {}\n\
         Reason    {code}\n\n\
         What to do now\n  {}\n  \
         Put the corrected file into the folder it came from. This copy here is not looked at again; when it is no \
         longer needed, delete it together with this note.\n\n\
         For the administrator\n  {}\n{said}",
        h.path,
        h.stat.size,
        place.display().to_string().escape_debug(),
        row.since,
        advice(code),
        code.remedy(),
    )
}
