//! Ten daemons that share one quota and know nothing of each other: each is configured with the whole of it.
//!
//! The share that is used is measured while all ten have files left: the service takes a start call for each file, and
//! no more of them than the quota lets through.

use casedrop_sandbox::{Op, Throttle};

use crate::child::measure;
use crate::stage::{FILES_PER_CASE, Stage, Tree, count};
use crate::table::Table;

const DAEMONS: usize = 10;
const PER_SECOND: f64 = 10.0;
const BURST: u32 = 5;

pub fn run(quick: bool, table: &mut Table) -> anyhow::Result<()> {
    let each = if quick { FILES_PER_CASE } else { 4 * FILES_PER_CASE };
    let trees = (0..DAEMONS).map(|n| Tree::from(n * each, each, 4096)).collect::<anyhow::Result<Vec<_>>>()?;
    let limits = format!("requests_per_second = {PER_SECOND}\nburst = 3\n");
    let cases = DAEMONS * each / FILES_PER_CASE;
    let first = trees.first().map(Tree::path).unwrap_or_else(|| std::path::Path::new("/"));
    let stage = Stage::new(first, cases, &limits, |settings| settings.throttle = Throttle::every(PER_SECOND, BURST))?;
    let stages = trees.iter().map(|tree| stage.beside(tree.path())).collect::<anyhow::Result<Vec<_>>>()?;
    let ends = std::thread::scope(|scope| {
        let runs: Vec<_> = stages.iter().map(|stage| scope.spawn(|| measure(&mut stage.sync()?))).collect();
        runs.into_iter()
            .map(|run| run.join().unwrap_or_else(|_| anyhow::bail!("a thread panicked")))
            .collect::<Vec<_>>()
    });
    for end in ends {
        end?;
    }
    stage.expect_attached(DAEMONS * each)?;
    let requests = stage.api_requests();
    let accepted: Vec<_> = requests.iter().filter(|r| r.op == Op::StartAttachedFileUpload && r.status == 200).collect();
    // Each daemon has its own cases; the first that is done ends the time in which all ten share.
    let case_of = |n: usize| crate::stage::case_id(n / FILES_PER_CASE);
    let last_of = |daemon: usize| {
        let cases: Vec<String> = (0..each).step_by(FILES_PER_CASE).map(|file| case_of(daemon * each + file)).collect();
        let of = |case: &Option<String>| case.as_ref().is_some_and(|case| cases.contains(case));
        accepted.iter().filter(|r| of(&r.case_id)).map(|r| r.at).max()
    };
    let (Some(began), Some(ended)) = (accepted.iter().map(|r| r.at).min(), (0..DAEMONS).filter_map(last_of).min())
    else {
        anyhow::bail!("no start call was made");
    };
    #[expect(clippy::cast_precision_loss, reason = "a few minutes in milliseconds")]
    let shared_s = (ended.0 - began.0) as f64 / 1000.0;
    let taken = accepted.iter().filter(|r| r.at <= ended).count();
    let used = 100.0 * count(taken) / (PER_SECOND * shared_s + f64::from(BURST));
    let in_time: Vec<_> = requests.iter().filter(|r| r.at >= began && r.at <= ended).collect();
    let refused = in_time.iter().filter(|r| r.status == 429).count();
    table.row(
        &format!("{DAEMONS} daemons sharing {PER_SECOND} requests/s, from their start: share of the quota used"),
        "95 %",
        format!("{used:.1} % ({taken} start calls in {shared_s:.0} s while all had files left)"),
        if used >= 95.0 { "met".to_owned() } else { format!("{:.2} of the aim", used / 95.0) },
    );
    table.row(
        &format!("{DAEMONS} daemons sharing {PER_SECOND} requests/s, from their start: throttled calls"),
        "no figure set",
        format!("{:.1} % ({refused} of {})", 100.0 * count(refused) / count(in_time.len()), in_time.len()),
        String::new(),
    );
    Ok(())
}
