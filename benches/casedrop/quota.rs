//! How much of a quota is used: files drained under 5 requests per second of each operation.

use casedrop_sandbox::Throttle;

use crate::child::measure;
use crate::stage::{FILES_PER_CASE, Stage, Tree, count};
use crate::table::{Table, at_most};

const PER_SECOND: f64 = 5.0;
const BURST: u32 = 5;

pub fn run(quick: bool, table: &mut Table) -> anyhow::Result<()> {
    let files: usize = if quick { 60 } else { 600 };
    let tree = Tree::new(files, 4096)?;
    let limits = format!("requests_per_second = {PER_SECOND}\nburst = 3\n");
    let stage = Stage::new(tree.path(), files.div_ceil(FILES_PER_CASE), &limits, |settings| {
        settings.throttle = Throttle::every(PER_SECOND, BURST);
    })?;
    let cost = measure(&mut stage.sync()?)?;
    stage.expect_attached(files)?;
    // One start for each file is what the quota lets through last; the bucket begins full.
    let least = (count(files) - f64::from(BURST)) / PER_SECOND;
    let requests = stage.api_requests();
    let throttled = requests.iter().filter(|r| r.status == 429).count();
    let what = |text: &str| format!("{files} files under 5 requests/s: {text}");
    table.row(
        &what("time over the theoretical minimum"),
        "1.05 x",
        format!("{:.3} x: {:.1} s over {least:.1} s", cost.wall_s / least, cost.wall_s),
        at_most(cost.wall_s / least, 1.05),
    );
    let share = 100.0 * count(throttled) / count(requests.len());
    table.row(
        &what("throttled calls"),
        "under 1 %",
        format!("{share:.2} % ({throttled} of {})", requests.len()),
        if share < 1.0 { "met".to_owned() } else { at_most(share, 1.0) },
    );
    Ok(())
}
