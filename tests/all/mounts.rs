//! Faults of the host on real mounts, a real network and real limits: a disk that goes away and comes back, another one
//! in its place, a read-only journal, a network that is cut, no descriptor left.
//!
//! What needs a privilege runs in namespaces of its own, so that nothing of it is seen by the host: the test starts
//! itself again in there. Where a machine does not allow that, it says so and tests nothing.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::common::{Daemon, Stage, text, wait};
use casedrop_sandbox::Op;

const INNER: &str = "CASEDROP_TEST_INNER";

/// Whether the scene is to be played: inside namespaces of its own for mounts and network. Outside, it is played there
/// by another run of this test, or not at all.
pub fn inside(name: &str) -> bool {
    if std::env::var_os(INNER).is_some() {
        return true;
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        // As a plain user, root only inside.
        let root = is_root();
        command.args(if root { &["-m", "-n"][..] } else { &["-r", "-m", "-n"] }).args(["--propagation", "private"]);
        command
    };
    let probe = "ip link set lo up && mount -t tmpfs casedrop-test /mnt && mount --bind /mnt /mnt";
    match unshare().args(["sh", "-c", probe]).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            println!("NOT RUN: {name}: no namespaces of its own here: {}", text(&output).trim());
            return false;
        }
        Err(error) => {
            println!("NOT RUN: {name}: no unshare(1) here: {error}");
            return false;
        }
    }
    let again = "ip link set lo up; exec \"$0\" \"$@\"";
    let test = std::env::current_exe().unwrap();
    let run =
        unshare().args(["sh", "-c", again]).arg(test).args(["--exact", name, "--nocapture"]).env(INNER, "1").output();
    let run = run.unwrap();
    assert!(run.status.success() && text(&run).contains("1 passed"), "{name}, in its namespaces: {}", text(&run));
    false
}

pub fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

pub fn sh(command: &str, paths: &[&Path]) -> Output {
    Command::new("sh").args(["-c", command, "sh"]).args(paths).output().unwrap()
}

pub fn must(command: &str, paths: &[&Path]) {
    let output = sh(command, paths);
    assert!(output.status.success(), "{command}: {}", text(&output));
}

/// The same command, run by another one.
pub fn through(tool: &str, args: &[&str], command: &Command) -> Command {
    let mut wrapped = Command::new(tool);
    wrapped.args(args).arg(command.get_program()).args(command.get_args()).env_clear().stdin(Stdio::null());
    wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    wrapped
}

/// The same command without root's right to pass over permissions: what a service's own user may do.
pub fn as_a_user(command: &Command) -> Command {
    match is_root() {
        true => through("setpriv", &["--bounding-set=-dac_override,-dac_read_search,-fowner"], command),
        false => through("env", &[], command),
    }
}

/// Starts the daemon by this command.
pub fn start(stage: &Stage, mut command: Command) -> Daemon {
    static STARTED: AtomicUsize = AtomicUsize::new(0);
    let log = stage.dir.path().join(format!("started-{}.log", STARTED.fetch_add(1, Ordering::Relaxed)));
    let child = command.arg("run").stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    Daemon::of(child, log)
}

/// Unmounts as an administrator does; the daemon must not keep the disk busy for longer than a look takes (L74).
pub fn unmount(path: &Path, daemon: &Daemon) {
    wait("the disk is not busy", || sh("umount \"$1\"", &[path]).status.success(), || daemon.log());
}

/// Until the daemon has looked everywhere several times, for longer than any grace here: what it did not do by then, it
/// does not do. A look that begins tells that the one before has ended.
fn look_past_the_grace(stage: &Stage, daemon: &Daemon) {
    const GRACE: Duration = Duration::from_secs(1);
    let looks = || daemon.log().matches("looking everywhere").count();
    let (began, first) = (Instant::now(), looks());
    while began.elapsed() < 3 * GRACE || looks() < first + 3 {
        let before = looks();
        assert!(stage.run(&["retry", "--all"]).status.success());
        wait("it looks", || looks() > before, || daemon.log());
    }
}

#[test]
fn a_disk_that_goes_away_comes_back_empty_or_as_another_deletes_nothing() {
    if !inside("mounts::a_disk_that_goes_away_comes_back_empty_or_as_another_deletes_nothing") {
        return;
    }
    let mut stage = Stage::new();
    stage.limits.push_str("[log]\nlevel = \"debug\"\n");
    // No rescan is waited for until an unmounted disk shows.
    stage.mirror.push_str("rescan = \"1d\"\n");
    let (own, other) = (stage.dir.path().join("own"), stage.dir.path().join("other"));
    for disk in [&own, &other] {
        fs::create_dir(disk).unwrap();
        must("mount -t tmpfs casedrop-test \"$1\"", &[disk]);
    }
    let attach = |disk: &Path| must("mount --bind \"$1\" \"$2\"", &[disk, &stage.drop]);
    attach(&own);
    for n in 0..12 {
        stage.write(&format!("{n}.txt"), format!("content {n}"));
    }
    fs::write(other.join("stranger.txt"), "of another disk").unwrap();
    fs::write(other.join("0.txt"), "of another disk, under a known name").unwrap();
    let daemon = stage.daemon();
    stage.wait_attached();
    let before = (stage.changes().len(), stage.ours());
    let same = |what: &str| assert_eq!((stage.changes().len(), stage.ours()), before, "{what}");

    unmount(&stage.drop, &daemon);
    stage.wait_hold("root-replaced");
    // Into the empty mount point, as people do who look what is wrong.
    fs::create_dir(stage.path("folder")).unwrap();
    fs::write(stage.path("touched.txt"), "").unwrap();
    look_past_the_grace(&stage, &daemon);
    assert_eq!(stage.hold(), "root-replaced");
    same("unmounted");
    attach(&other);
    look_past_the_grace(&stage, &daemon);
    assert_eq!(stage.hold(), "root-replaced");
    same("another disk");
    unmount(&stage.drop, &daemon);
    // The right disk again, under a daemon and then before one.
    attach(&own);
    stage.wait_hold("");
    stage.marker("back.txt");
    stage.wait_attached();
    assert!(daemon.stop().success());
    let before = (stage.changes().len(), stage.ours());
    must("umount \"$1\"", &[&stage.drop]);
    attach(&other);
    assert_eq!(stage.run(&["sync"]).status.code(), Some(78));
    assert_eq!(stage.hold(), "root-replaced");
    must("umount \"$1\"", &[&stage.drop]);
    // Emptied while away: as good as new, but for its files.
    must("find \"$1\" -mindepth 1 -delete", &[&own]);
    attach(&own);
    assert_eq!(stage.run(&["sync"]).status.code(), Some(78));
    assert_eq!(stage.hold(), "root-emptied");
    assert_eq!((stage.changes().len(), stage.ours()), before, "emptied");
    must("umount \"$1\"", &[&stage.drop]);
}

#[test]
fn a_journal_on_a_read_only_disk_is_refused_and_read() {
    if !inside("mounts::a_journal_on_a_read_only_disk_is_refused_and_read") {
        return;
    }
    let stage = Stage::new();
    let state = stage.dir.path().join("state");
    fs::create_dir(&state).unwrap();
    must("mount -t tmpfs casedrop-test \"$1\"", &[&state]);
    stage.write("a.txt", "a");
    stage.sync();
    must("mount -o remount,ro \"$1\"", &[&state]);
    stage.write("b.txt", "b");
    for command in ["sync", "run"] {
        let output = stage.run(&[command]);
        assert_eq!(output.status.code(), Some(78), "{}", text(&output));
        assert!(text(&output).contains("can only be read"), "{}", text(&output));
    }
    for command in ["status", "list", "log"] {
        let output = stage.run(&[command]);
        assert!(output.status.success(), "{command}: {}", text(&output));
    }
    must("mount -o remount,rw \"$1\"", &[&state]);
    stage.sync();
    stage.assert_equal();
    must("umount \"$1\"", &[&state]);
}

#[test]
fn a_network_that_is_cut_and_comes_back_uses_up_no_try() {
    if !inside("mounts::a_network_that_is_cut_and_comes_back_uses_up_no_try") {
        return;
    }
    let stage = Stage::often();
    stage.write("before.txt", "before");
    let daemon = stage.daemon();
    stage.wait_attached();
    let told = |daemon: &Daemon, words: &str| daemon.log().lines().filter(|line| line.contains(words)).count();
    let began = Instant::now();
    must("ip link set lo down", &[]);
    for n in 0..20 {
        stage.write(&format!("{n}.txt"), format!("content {n}"));
    }
    wait("it is offline", || told(&daemon, "out of reach of the service") > 0, || daemon.log());
    let waiting = || stage.list().iter().filter(|file| file["verdict"] == "queued").count() == 20;
    wait("all wait", waiting, || format!("{:?}", stage.list()));
    assert_eq!(stage.hold(), "");
    must("ip link set lo up", &[]);
    stage.wait_attached();
    wait("it says so", || told(&daemon, "no longer out of reach of the service") > 0, || daemon.log());
    let warned = daemon.log().lines().filter(|line| line.contains("WARN")).count();
    let storms = 3 + usize::try_from(began.elapsed().as_secs() / 30).unwrap();
    assert!(warned <= storms, "a line at the start and one every 30 s: {}", daemon.log());
    // A call that was on the wire when it was cut may arrive late, and is repeated with its token; 8 are in flight.
    let starts = stage.count(Op::StartAttachedFileUpload);
    assert!((21..=21 + 8).contains(&starts), "each file took one start call: {starts}");
    stage.assert_settled(daemon);
    stage.assert_equal();
}

/// The descriptors that a process may have open at once: its soft limit.
fn limit(daemon: &Daemon, files: &str) -> bool {
    let pid = format!("--pid={}", daemon.id());
    Command::new("prlimit").args([&pid, &format!("--nofile={files}:")]).status().is_ok_and(|status| status.success())
}

#[test]
fn without_descriptors_nothing_is_deleted_parked_or_held() {
    let stage = Stage::often();
    stage.write("folder/a.txt", "a");
    stage.write("folder/b.txt", "b");
    stage.write("c.txt", "c");
    let daemon = stage.daemon();
    stage.wait_attached();
    let before = stage.changes().len();
    if !limit(&daemon, "3") {
        println!("NOT RUN: no prlimit(1) here");
        return;
    }
    fs::remove_file(stage.path("c.txt")).unwrap();
    for n in 0..10 {
        stage.write(&format!("new {n}.txt"), format!("new {n}"));
    }
    let said = |words: &str| daemon.log().lines().filter(|line| line.contains(words)).count();
    let begun = || said("without descriptors to open files with: ") - said("still without descriptors");
    wait("it says so", || begun() > 0, || daemon.log());
    wait("it goes on trying", || said("still without descriptors") > 0, || daemon.log());
    assert_eq!((stage.changes().len(), stage.hold().as_str()), (before, ""), "{}", daemon.log());
    assert!(stage.list().iter().all(|file| file["verdict"] != "parked"), "{:?}", stage.list());
    assert_eq!(begun(), 1, "one line, and one every 30 s: {}", daemon.log());
    assert!(limit(&daemon, "1024"));
    stage.wait_equal();
    wait("it says so", || said("no longer without descriptors") == 1, || daemon.log());
    stage.assert_settled(daemon);
    stage.assert_equal();
}
