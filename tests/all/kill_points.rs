//! The kill sweep: the real binary dies at every named point of `src/crash.rs`, for the first and for the second
//! time it comes there, and at every single commit of a busy pass. After a restart the sandbox holds what the folder
//! holds: none missing, none twice, no FileId left unfinished. `CASEDROP_SWEEP=all` takes both sides of every commit.
//!
//! A point that its scene does not reach is a failure here: the program then ends by itself, and not by SIGABRT.
//! Scenes mostly wait (settling, the first look at a scan), so many run side by side.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use casedrop_sandbox::{DEMO_CASE_ID, Fault, FaultKind, Leniency, NewCase, Op, Scan, Switches, TokenReplay, Verdict};

use crate::common::{DEADLINE, Stage, text, wait};

/// `SIGABRT`, by which an armed point ends the process.
const ABORTED: i32 = 6;

/// How the program is run that is to die.
#[derive(Clone, Copy)]
enum Run {
    /// `sync`.
    Pass,
    /// `run`, with a driver that does something while it runs.
    Daemon(fn(&Stage)),
    /// `get`.
    Get,
    /// A command and its arguments, and a point that the next run of it comes to wherever the first one died.
    Command(&'static [&'static str], &'static str),
}

/// A state, a change, and the points that the program then comes to.
struct Scene {
    name: &'static str,
    /// Reached at least twice in one run.
    often: &'static [&'static str],
    /// Reached once in each run: for the second time, the next start dies there too.
    once: &'static [&'static str],
    /// Reached once and never again: the second death is that of the next start, as it has recovered.
    single: &'static [&'static str],
    stage: fn() -> Stage,
    /// While nothing runs: what the armed program finds.
    change: fn(&Stage),
    run: Run,
    /// After the restart has come to rest.
    end: fn(&Stage),
}

impl Scene {
    fn points(&self) -> impl Iterator<Item = &'static str> {
        self.often.iter().chain(self.once).chain(self.single).copied()
    }
}

const SCENES: &[Scene] = &[
    Scene {
        name: "new files",
        often: &[
            "commit.before",
            "commit.after",
            "start.send",
            "start.answered",
            "put.send",
            "put.middle",
            "put.answered",
            "complete.send",
            "complete.answered",
            "upload.opened",
            "upload.begun",
            "upload.started",
            "upload.stored",
            "upload.completed",
            "follow.approved",
            "follow.recorded",
            "pass.planned",
        ],
        once: &[
            "open.created",
            "open.migrated",
            "open.signed",
            "close.before",
            "describe.send",
            "describe.answered",
            "recover.before",
            "recover.after",
            "identity.before",
            "pass.ended",
            "status.send",
            "status.answered",
        ],
        single: &["identity.after"],
        stage: Stage::new,
        change: |stage| {
            stage.write("a.txt", "a");
            stage.write("b.txt", "b".repeat(300_000));
            stage.write("folder/c.txt", "c");
        },
        run: Run::Pass,
        end: same,
    },
    Scene {
        name: "new versions and moves",
        often: &["delete.send", "delete.answered"],
        once: &[],
        single: &[],
        stage: || with_files(&["a.txt", "b.txt", "c.txt"]),
        change: |stage| {
            stage.write("a.txt", "another a");
            stage.write("b.txt", "another b");
            fs::rename(stage.path("c.txt"), stage.path("renamed.txt")).unwrap();
        },
        run: Run::Pass,
        end: same,
    },
    Scene {
        name: "programs of the user's",
        often: &["convert.copied", "convert.kept", "hook.told"],
        once: &[],
        single: &[],
        stage: || {
            let mut stage = Stage::new();
            let told = stage.dir.path().join("told");
            stage.limits.push_str(&format!(
                "[hooks]\non = [\"attached\"]\n\
                 command = [\"/bin/sh\", \"-c\", \"cat >> \\\"$0\\\"\", {told:?}]\n"
            ));
            // Into the same type and the same bytes, so that both sides can be compared as ever.
            stage.mirror.push_str(
                "[[mirror.convert]]\nfrom = [\"txt\"]\nto = \"txt\"\n\
                 command = [\"/bin/cp\", \"{input}\", \"{output}\"]\n",
            );
            stage
        },
        change: |stage| (0..3).for_each(|n| stage.write(&format!("{n}.txt"), format!("content {n}"))),
        run: Run::Pass,
        end: |stage| {
            // A pass ends with what it has to tell.
            stage.sync();
            let told = || fs::read_to_string(stage.dir.path().join("told")).unwrap_or_default();
            let all = || (0..3).all(|n| told().contains(&format!("\"path\":\"{n}.txt\"")));
            wait("every file was told of", all, told);
            let folder = stage.dir.path().join("state/journal.db.convert");
            let left = || fs::read_dir(&folder).map_or(0, Iterator::count);
            wait("no conversion is left", || left() == 0, || format!("{}", left()));
        },
    },
    Scene {
        name: "removed files",
        often: &[],
        once: &["deletes.due"],
        single: &["deletes.announced"],
        stage: || {
            let stage = with_files(&["a.txt", "b.txt", "c.txt", "d.txt"]);
            fs::remove_file(stage.path("a.txt")).unwrap();
            fs::remove_file(stage.path("b.txt")).unwrap();
            grace_is_over(&stage);
            stage
        },
        change: |_| {},
        run: Run::Pass,
        end: same,
    },
    Scene {
        name: "lost answers",
        often: &["start.failed", "list-case.send", "list-case.answered", "sweep.found", "sweep.recorded"],
        once: &[],
        single: &[],
        stage: || {
            let stage = Stage::with(|settings| {
                settings.switches = Switches { token_replay: TokenReplay::NewFile, ..Switches::DEFAULT };
            });
            stage.sandbox.set_faults(vec![Fault::first(Op::StartAttachedFileUpload, 2, FaultKind::LostReply)]);
            stage
        },
        change: |stage| {
            stage.write("a.txt", "a");
            stage.write("b.txt", "b");
        },
        run: Run::Pass,
        end: same,
    },
    Scene {
        name: "failed attempts",
        often: &["complete.failed", "give-up.before", "give-up.after"],
        once: &[],
        single: &[],
        stage: || {
            let stage = Stage::new();
            stage.sandbox.set_faults(vec![
                Fault::first(Op::PutObject, 2, FaultKind::Expired),
                Fault::first(Op::CompleteAttachedFileUpload, 2, FaultKind::ServerErrorBefore),
            ]);
            stage
        },
        change: |stage| {
            stage.write("a.txt", "a");
            stage.write("b.txt", "b");
        },
        run: Run::Pass,
        end: same,
    },
    Scene {
        name: "changed while they are sent",
        often: &["look-again"],
        once: &[],
        single: &[],
        stage: || {
            let stage = Stage::new();
            // Longer than the change after it can take.
            let slow = FaultKind::Hang(Duration::from_secs(10));
            stage.sandbox.set_faults(vec![Fault::first(Op::PutObject, 2, slow)]);
            stage
        },
        change: |stage| {
            stage.write("a.txt", "a");
            stage.write("b.txt", "b");
        },
        run: Run::Daemon(|stage| {
            wait("both are being sent", || stage.sandbox.faults_applied() == 2, String::new);
            // The very files that are open.
            fs::write(stage.path("a.txt"), "a, and more").unwrap();
            fs::write(stage.path("b.txt"), "b, and more").unwrap();
        }),
        end: same,
    },
    Scene {
        name: "refused by the scan",
        often: &["follow.rejected", "follow.failed"],
        once: &[],
        single: &[],
        stage: || {
            let rule = |text: &str| text.parse().unwrap();
            Stage::with(|settings| {
                settings.scan =
                    Scan::default().rule(rule("^rejected"), Verdict::Rejected).rule(rule("^failed"), Verdict::Failed);
            })
        },
        change: |stage| {
            for name in ["good.txt", "rejected1.txt", "rejected2.txt", "failed1.txt", "failed2.txt"] {
                stage.write(name, name);
            }
        },
        run: Run::Daemon(|_| {}),
        end: |stage| {
            // What is refused stays with the record of why, and goes with its file.
            let daemon = stage.daemon();
            stage.wait_verdict("rejected1.txt", "parked(rejected)");
            stage.wait_verdict("rejected2.txt", "parked(rejected)");
            for name in ["rejected1.txt", "rejected2.txt", "failed1.txt", "failed2.txt"] {
                fs::remove_file(stage.path(name)).unwrap();
            }
            stage.wait_equal();
            assert!(daemon.stop().success());
        },
    },
    Scene {
        name: "a root that goes and comes back",
        often: &["hold.before", "hold.after"],
        once: &[],
        single: &[],
        stage: || with_files(&["a.txt", "b.txt"]),
        change: |_| {},
        run: Run::Daemon(|stage| {
            let elsewhere = stage.dir.path().join("elsewhere");
            fs::rename(&stage.drop, &elsewhere).unwrap();
            // Noticed: the program is held, or it died at that.
            wait("the root is missed", || stage.hold() == "root-missing" || !runs(stage), String::new);
            fs::rename(&elsewhere, &stage.drop).unwrap();
            stage.write("c.txt", "c");
        }),
        end: |stage| {
            if !stage.drop.exists() {
                fs::rename(stage.dir.path().join("elsewhere"), &stage.drop).unwrap();
            }
        },
    },
    Scene {
        name: "asked by a person",
        often: &["control.heard", "control.done"],
        once: &[],
        single: &[],
        stage: || {
            let stage = with_files(&["a.txt"]);
            stage.write("empty.txt", "");
            stage.run(&["sync"]);
            stage
        },
        change: |_| {},
        run: Run::Daemon(|stage| {
            wait("it listens", || stage.journal().with_extension("db.sock").exists(), String::new);
            let asked = || {
                stage.run(&["retry", "--all"]);
                !runs(stage)
            };
            wait("it dies of what it was asked", asked, || log(stage));
        }),
        end: |stage| {
            stage.write("empty.txt", "no longer");
            same(stage);
        },
    },
    Scene {
        name: "a reload",
        often: &[],
        once: &["reload.stopped"],
        single: &[],
        stage: || with_files(&["a.txt"]),
        change: |stage| stage.write("b.txt", "b"),
        run: Run::Daemon(|stage| {
            wait("it is ready", || log(stage).contains("ready: "), || log(stage));
            signal(stage, "HUP");
        }),
        end: same,
    },
    Scene {
        name: "a reference to look up",
        often: &[],
        once: &["list-fields.send", "list-fields.answered", "search-cases.send", "search-cases.answered"],
        single: &["look-up.recorded"],
        stage: || {
            let mut stage = Stage::new();
            stage.case = "case_from = '^(?<reference>[^/]+)/'".to_owned();
            stage
        },
        // The reference number of the case that every sandbox has.
        change: |stage| stage.write("10000001/a.txt", "a"),
        run: Run::Pass,
        end: same,
    },
    Scene {
        name: "a domain to be asked for",
        often: &["list-domains.send", "list-domains.answered"],
        once: &[],
        single: &[],
        stage: || {
            let mut stage = Stage::new();
            stage.domain_by_id = true;
            stage
        },
        change: |stage| stage.write("a.txt", "a"),
        run: Run::Pass,
        end: same,
    },
    Scene {
        name: "a case that takes nothing more",
        often: &["get-case.send", "get-case.answered"],
        once: &[],
        single: &[],
        stage: || {
            let mut stage = Stage::with(|settings| {
                let start_on_closed_case = Leniency::InvalidRequest;
                settings.switches = Switches { start_on_closed_case, ..Switches::DEFAULT };
            });
            // Only where cases may be read is the reason asked for.
            stage.case = "case_from = '^(?<reference>[^/]+)/'".to_owned();
            stage
        },
        change: |stage| {
            stage.sandbox.close_case(DEMO_CASE_ID);
            stage.write("10000001/a.txt", "a");
            stage.write("10000001/b.txt", "b");
        },
        run: Run::Pass,
        end: |stage| {
            stage.sandbox.reopen_case(DEMO_CASE_ID);
            assert!(stage.run(&["retry", "--all"]).status.success());
        },
    },
    Scene {
        name: "a lost journal",
        often: &["adopt.asked", "adopt.kept"],
        once: &["adopt.ended"],
        single: &["adopt.taken"],
        stage: two_cases,
        change: crate::adopt::lose,
        run: Run::Command(&["adopt", "--yes"], "adopt.ended"),
        end: |stage| {
            let adopted = stage.run(&["adopt", "--yes"]);
            assert!(adopted.status.success(), "{}", text(&adopted));
            stage.sync();
            let changes = stage.changes();
            let starts = changes.iter().filter(|op| **op == Op::StartAttachedFileUpload).count();
            assert_eq!((starts, changes.len()), (4, 12), "nothing was uploaded or deleted: {changes:?}");
        },
    },
    Scene {
        name: "a comparison",
        often: &["verify.compared", "verify.recorded"],
        once: &["verify.ended"],
        single: &[],
        stage: two_cases,
        change: |_| {},
        run: Run::Command(&["verify"], "verify.ended"),
        end: |stage| {
            let compared = stage.run(&["verify"]);
            assert!(compared.status.success(), "{}", text(&compared));
            assert!(text(&compared).contains("4 files on 2 cases compared: all agree"), "{}", text(&compared));
        },
    },
    Scene {
        name: "a download",
        often: &[],
        once: &["get.send", "get.answered", "fetch.send", "fetch.answered"],
        single: &[],
        stage: || with_files(&["a.txt"]),
        change: |_| {},
        run: Run::Get,
        end: |stage| {
            assert!(!stage.dir.path().join("out.txt").exists(), "a download is there whole or not at all");
            let status = stage.finish(&mut get(stage)).status;
            assert!(status.success(), "{status}");
            assert_eq!(fs::read(stage.dir.path().join("out.txt")).unwrap(), fs::read(stage.path("a.txt")).unwrap());
        },
    },
];

/// Nothing more than the comparison that every scene ends with.
fn same(_: &Stage) {}

fn with_files(names: &[&str]) -> Stage {
    let stage = Stage::new();
    for name in names {
        stage.write(name, format!("content of {name}"));
    }
    stage.sync();
    stage
}

/// Two cases with two files each.
fn two_cases() -> Stage {
    let mut stage = Stage::new();
    stage.case = "case_from = '^(?<case_id>[^/]+)/'".to_owned();
    let other = stage.sandbox.add_case(NewCase::titled("another")).case_id;
    for case in [DEMO_CASE_ID, &other] {
        for name in ["a.txt", "b.txt"] {
            stage.write(&format!("{case}/{name}"), format!("content of {name}"));
        }
    }
    stage.sync();
    stage
}

/// Lets the grace of what is gone begin and end, so that the next pass deletes.
fn grace_is_over(stage: &Stage) {
    stage.run(&["sync"]);
    let began = std::time::Instant::now();
    wait("the grace is over", || began.elapsed() > Duration::from_millis(1100), String::new);
}

fn get(stage: &Stage) -> Command {
    let mut command = stage.command();
    command.args(["get", "-o"]).arg(stage.dir.path().join("out.txt")).arg(stage.path("a.txt"));
    command
}

/// The armed program's log.
fn log(stage: &Stage) -> String {
    fs::read_to_string(stage.dir.path().join("armed.log")).unwrap_or_default()
}

fn pid(stage: &Stage) -> String {
    fs::read_to_string(stage.dir.path().join("armed.pid")).unwrap()
}

/// Whether the armed program is still there: one that has died is a zombie until it is waited for.
fn runs(stage: &Stage) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid(stage))).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

fn signal(stage: &Stage, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &pid(stage)]).status().unwrap().success());
}

fn spawn(stage: &Stage, mut command: Command, point: &str) -> Child {
    let log = fs::File::create(stage.dir.path().join("armed.log")).unwrap();
    let child = command
        .env("CASEDROP_CRASH", point)
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    fs::write(stage.dir.path().join("armed.pid"), child.id().to_string()).unwrap();
    child
}

/// Runs the program with `point` armed, until it ends by that or by itself.
fn die(stage: &Stage, run: Run, point: &str) -> ExitStatus {
    let mut command = stage.command();
    match run {
        Run::Pass => command.arg("sync"),
        Run::Daemon(_) => command.arg("run"),
        Run::Get => {
            command = get(stage);
            &mut command
        }
        Run::Command(args, _) => command.args(args),
    };
    let mut child = spawn(stage, command, point);
    if let Run::Daemon(drive) = run {
        drive(stage);
    }
    let mut status = None;
    let began = std::time::Instant::now();
    wait(
        &format!("the program ends at {point}"),
        || {
            status = child.try_wait().unwrap();
            if status.is_none() && began.elapsed() > DEADLINE / 2 {
                // A daemon that never comes there does not end by itself.
                child.kill().unwrap();
            }
            status.is_some()
        },
        || log(stage),
    );
    status.unwrap()
}

/// Restarts, waits for rest, compares. `by_daemon` or by passes.
fn recover(stage: &Stage, scene: &Scene, by_daemon: bool) {
    stage.sandbox.set_faults(Vec::new());
    (scene.end)(stage);
    if by_daemon {
        let daemon = stage.daemon();
        daemon.wait_ready();
        stage.wait_attached();
        assert!(daemon.stop().success());
    } else if stage.run(&["sync"]).status.code() == Some(75) {
        // Cut short by the pass that the test itself had scripted.
        stage.sync();
    }
    stage.sync();
    stage.assert_equal();
    let before = stage.changes().len();
    stage.sync();
    let mut more = stage.changes().split_off(before);
    more.retain(|op| *op != Op::ListDomains);
    assert!(more.is_empty(), "a settled state caused calls: {more:?}");
    assert_eq!(stage.hold(), "");
}

/// One death, or two in a row, and the recovery. What went wrong, in words.
fn sweep(scene: &Scene, point: &str, second: bool) {
    let stage = (scene.stage)();
    (scene.change)(&stage);
    let nth = format!("{point}:2");
    let next = if let Run::Command(_, next) = scene.run { next } else { "recover.after" };
    let deaths = match second {
        false => vec![point],
        true if scene.often.contains(&point) => vec![nth.as_str()],
        true if scene.once.contains(&point) => vec![point, point],
        true => vec![point, next],
    };
    for armed in deaths {
        let status = die(&stage, scene.run, armed);
        assert_eq!(
            status.signal(),
            Some(ABORTED),
            "{armed} is not reached by the scene of {}: {status}\n{}",
            scene.name,
            log(&stage)
        );
    }
    recover(&stage, scene, second);
}

/// The names in `src/crash.rs`.
fn names() -> BTreeSet<&'static str> {
    let source = include_str!("../../src/crash.rs");
    let (_, list) = source.split_once("\npoints! {").unwrap();
    let lines = list.lines().filter_map(|line| line.trim_start().split_once(" => \""));
    lines.filter_map(|(_, rest)| Some(rest.split_once("\",")?.0)).collect()
}

/// Runs `jobs` side by side and collects what failed.
fn side_by_side<T: Sync>(jobs: &[T], run: impl Fn(&T) + Sync, name: impl Fn(&T) -> String + Sync) {
    const AT_ONCE: usize = 12;
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(job))).is_err() {
                        failed.lock().unwrap().push(name(job));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} failed, see above: {failed:#?}", failed.len(), jobs.len());
}

fn walk(second: bool) {
    let jobs: Vec<(&Scene, &str)> =
        SCENES.iter().flat_map(|scene| scene.points().map(move |point| (scene, point))).collect();
    side_by_side(
        &jobs,
        |(scene, point)| sweep(scene, point, second),
        |(scene, point)| format!("{point} ({})", scene.name),
    );
    println!("{} points swept", jobs.len());
}

#[test]
fn every_point_has_a_scene() {
    let walked: Vec<&str> = SCENES.iter().flat_map(Scene::points).collect();
    let mut set: BTreeSet<&str> = walked.iter().copied().collect();
    assert_eq!(set.len(), walked.len(), "a point stands in two scenes");
    // Those of a hand-over are walked where its ends are looked at.
    set.extend(crate::handover_kill::points());
    let strays: Vec<_> = names().symmetric_difference(&set).copied().collect();
    assert!(strays.is_empty(), "in `src/crash.rs` or in a scene, but not in both: {strays:?}");
    assert!(names().len() > 40, "the list is read from the source");
}

#[test]
fn killed_at_every_point() {
    walk(false);
}

#[test]
fn killed_at_every_point_for_the_second_time() {
    walk(true);
}

/// Everything that a pass can have to do: new files, new versions, moves with and without another name, deletes whose
/// grace is over, a lost answer, an upload that is cut.
fn busy() -> Stage {
    let mut stage = Stage::new();
    stage.mirror.push_str("file_name = \"base\"\n");
    stage.base_names = true;
    for name in ["a.txt", "b.txt", "c.txt", "d/e.txt", "f.txt"] {
        stage.write(name, format!("content of {name}"));
    }
    stage.sync();
    fs::remove_file(stage.path("b.txt")).unwrap();
    grace_is_over(&stage);
    stage.write("a.txt", "another a");
    fs::rename(stage.path("c.txt"), stage.path("renamed.txt")).unwrap();
    fs::rename(stage.path("d"), stage.path("moved")).unwrap();
    stage.write("new.txt", "new");
    stage.write("new2.txt", "new too");
    stage.sandbox.set_faults(vec![
        Fault::nth(Op::StartAttachedFileUpload, 2, FaultKind::LostReply),
        Fault::nth(Op::PutObject, 1, FaultKind::CutAfter(2)),
        Fault::nth(Op::DeleteAttachedFile, 1, FaultKind::ServerErrorAfter),
    ]);
    stage
}

#[test]
fn killed_at_every_commit() {
    /// Far more than the pass has.
    const MOST: usize = 80;
    let (ended_at, reached) = (AtomicUsize::new(MOST), AtomicUsize::new(0));
    // Before each odd one and after each even one; the long run takes both sides of each.
    let both = std::env::var_os("CASEDROP_SWEEP").is_some_and(|all| all == "all");
    let sides = ["commit.before", "commit.after"];
    let jobs: Vec<(usize, &str)> = (1..=MOST)
        .flat_map(|nth| sides.map(|point| (nth, point)))
        .filter(|(nth, point)| both || sides[(nth + 1) % 2] == *point)
        .collect();
    side_by_side(
        &jobs,
        |&(nth, point)| {
            if nth > ended_at.load(Ordering::Relaxed) {
                return;
            }
            let stage = busy();
            let status = die(&stage, Run::Pass, &format!("{point}:{nth}"));
            if status.signal() == Some(ABORTED) {
                reached.fetch_add(1, Ordering::Relaxed);
            } else {
                // The pass ended with fewer commits. How many share one varies a little.
                assert!(status.success(), "{status}: {}", log(&stage));
                ended_at.fetch_min(nth, Ordering::Relaxed);
            }
            stage.sandbox.set_faults(Vec::new());
            stage.sync();
            stage.assert_equal();
        },
        |(nth, point)| format!("{point}:{nth}"),
    );
    let reached = reached.into_inner();
    println!("killed at {reached} commits");
    assert!((10..2 * MOST).contains(&reached), "{reached}");
}
