//! From the end of the quiet time to the first request, for files dropped one by one into a watched folder.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use casedrop_sandbox::Op;

use crate::child::Daemon;
use crate::known::wait;
use crate::stage::{FILES_PER_CASE, Stage, Tree, UNLIMITED, case_id, name};
use crate::table::{Table, at_most, percentile};

const SETTLE_MS: f64 = 200.0;
/// Longer than `settle`, so that each file comes to a loop at rest.
const GAP: Duration = Duration::from_millis(300);

pub fn run(quick: bool, table: &mut Table) -> anyhow::Result<()> {
    let files: usize = if quick { 20 } else { 200 };
    let tree = Tree::new(0, 0)?;
    let cases = files.div_ceil(FILES_PER_CASE);
    for case in 0..cases {
        fs::create_dir(tree.path().join(case_id(case)))?;
    }
    let stage = Stage::new(tree.path(), cases, UNLIMITED, |_| {})?.mirror("settle = \"200ms\"\n");
    let _daemon = Daemon(stage.command(&["run"], "info")?.spawn()?);
    wait(|| stage.log().contains("ready: ")).context("wait for the daemon")?;
    let mut closed_ms = HashMap::new();
    for file in 0..files {
        let path = tree.path().join(name(file));
        fs::write(&path, format!("letter {file}\n"))?;
        let closed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64() * 1000.0;
        let base = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        closed_ms.insert(base, closed);
        std::thread::sleep(GAP);
    }
    wait(|| stage.expect_attached(files).is_ok())?;
    let names: HashMap<_, _> = stage.sandbox.ledger().into_iter().map(|f| (f.file_id, f.file_name)).collect();
    let mut late_ms = Vec::new();
    for request in stage.sandbox.requests().iter().filter(|r| r.op == Op::StartAttachedFileUpload) {
        let named = request.file_id.as_ref().and_then(|id| names.get(id)).context("match a request with its file")?;
        // The name carries the path: `CASE - NAME`.
        let closed = closed_ms.iter().find(|(base, _)| named.ends_with(base.as_str())).map(|(_, at)| *at);
        // The log of the sandbox is in whole milliseconds, cut off.
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit")]
        let at = request.at.0 as f64;
        late_ms.push(at - closed.context("match a request with its file")? - SETTLE_MS);
    }
    let of = |percent| percentile(late_ms.iter().copied(), percent);
    table.row(
        &format!("{files} files dropped one by one: end of settle to first request, ms at p99"),
        "20",
        format!("{:.0} (p50 {:.0}, least {:.0}, most {:.0})", of(99), of(50), of(0), of(100)),
        at_most(of(99), 20.0),
    );
    Ok(())
}
