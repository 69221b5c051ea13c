//! The files for systemd: what systemd itself says of them, and what the program relies on.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Highest exposure that `systemd-analyze security` may find, on its scale from 0 to 10.
const MOST_EXPOSED: f64 = 2.0;

fn systemd_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd")
}

fn unit() -> String {
    std::fs::read_to_string(systemd_folder().join("casedrop.service")).expect("the unit")
}

/// The values of a key, in order.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

/// Runs systemd-analyze; `None` when this host has none.
fn analyze(args: &[&str]) -> Option<Output> {
    match Command::new("systemd-analyze").args(args).env("SYSTEMD_COLORS", "0").output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("NOT RUN: systemd-analyze {}: {error}", args.join(" "));
            None
        }
    }
}

fn all_text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// systemd looks whether the program exists, which it does where the test's own binary is.
fn unit_with_a_program_that_exists(folder: &Path) -> PathBuf {
    let path = folder.join("casedrop.service");
    std::fs::write(&path, unit().replace("/usr/bin/casedrop", env!("CARGO_BIN_EXE_casedrop"))).expect("write");
    path
}

#[test]
fn systemd_finds_nothing_to_complain_about() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = unit_with_a_program_that_exists(folder.path());
    let Some(output) = analyze(&["verify", path.to_str().expect("UTF-8")]) else { return };
    assert!(output.status.success(), "{}", all_text(&output));
    assert_eq!(all_text(&output), "");
}

#[test]
fn the_drop_in_is_understood_too() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = unit_with_a_program_that_exists(folder.path());
    let drop_ins = folder.path().join("casedrop.service.d");
    std::fs::create_dir(&drop_ins).expect("create");
    std::fs::copy(systemd_folder().join("roots.conf.example"), drop_ins.join("roots.conf")).expect("copy");
    let Some(output) = analyze(&["verify", path.to_str().expect("UTF-8")]) else { return };
    assert!(output.status.success(), "{}", all_text(&output));
    assert_eq!(all_text(&output), "");
}

#[test]
fn the_sandbox_is_tight() {
    let path = systemd_folder().join("casedrop.service");
    let Some(output) = analyze(&["security", "--offline=true", "--no-pager", path.to_str().expect("UTF-8")]) else {
        return;
    };
    let text = all_text(&output);
    if text.contains("unrecognized option") {
        eprintln!("NOT RUN: this systemd-analyze cannot judge a unit offline (systemd before 250)");
        return;
    }
    let line = text.lines().find(|line| line.contains("Overall exposure level")).expect("a summary");
    let level = line.rsplit_once(": ").and_then(|(_, rest)| rest.split_whitespace().next()).expect("a level");
    let level: f64 = level.parse().unwrap_or_else(|_| panic!("not a number: {line}"));
    assert!(level <= MOST_EXPOSED, "{text}");
    eprintln!("exposure {level}");
}

/// The exit codes that need a person, the reload, and the stop that must outlast the daemon's own 25 s.
#[test]
fn the_unit_fits_the_program() {
    let unit = unit();
    assert_eq!(values(&unit, "Type"), ["notify"]);
    assert_eq!(values(&unit, "ExecStart"), ["/usr/bin/casedrop run"]);
    assert_eq!(values(&unit, "ExecReload"), ["/bin/kill -HUP $MAINPID"]);
    assert_eq!(values(&unit, "RestartPreventExitStatus"), ["2 78"]);
    assert_eq!(values(&unit, "StateDirectory"), ["casedrop"]);
    assert_eq!(values(&unit, "TimeoutStopSec"), ["30s"]);
    assert_eq!(values(&unit, "WatchdogSec"), ["3min"]);
    assert_eq!(values(&unit, "RestrictAddressFamilies"), ["AF_INET AF_INET6 AF_UNIX"]);
}

/// What would make the mirrored folders, their owners or the host's limits invisible stays out.
#[test]
fn nothing_hides_the_files() {
    let unit = unit();
    for key in ["PrivateUsers", "BindReadOnlyPaths", "BindPaths", "RootDirectory", "TemporaryFileSystem", "ProcSubset"]
    {
        assert_eq!(values(&unit, key), [""; 0], "{key}");
    }
    assert_eq!(values(&unit, "ProtectHome"), ["read-only"]);
}

/// The unit makes everything read-only, so a drop folder needs its line; systemd understands it as it stands.
#[test]
fn the_drop_in_tells_how_a_drop_folder_may_write() {
    assert_eq!(values(&unit(), "ProtectSystem"), ["strict"]);
    let drop_in = std::fs::read_to_string(systemd_folder().join("roots.conf.example")).expect("the drop-in");
    let line = drop_in.lines().find(|line| line.starts_with("#ReadWritePaths=")).expect("the line");
    assert_eq!(line.split(" -/").count(), 3, "{line}");
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = unit_with_a_program_that_exists(folder.path());
    let drop_ins = folder.path().join("casedrop.service.d");
    std::fs::create_dir(&drop_ins).expect("create");
    std::fs::write(drop_ins.join("roots.conf"), drop_in.replace(line, line.trim_start_matches('#'))).expect("write");
    let Some(output) = analyze(&["verify", path.to_str().expect("UTF-8")]) else { return };
    assert!(output.status.success(), "{}", all_text(&output));
    assert_eq!(all_text(&output), "");
}

/// Every system call that a scan, the watcher or the journal needs by name is in the filter's set.
#[test]
fn the_filter_lets_the_system_calls_through() {
    let Some(output) = analyze(&["syscall-filter", "--no-pager"]) else { return };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let set = |name: &str| -> Vec<String> {
        let lines = text.lines().skip_while(|line| *line != name).skip(1).take_while(|line| line.starts_with(' '));
        lines.map(|line| line.trim().to_owned()).filter(|line| !line.starts_with('#')).collect()
    };
    let expand = |names: &[&str]| {
        let mut open: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut calls = std::collections::BTreeSet::new();
        while let Some(name) = open.pop() {
            if name.starts_with('@') {
                open.extend(set(&name))
            } else {
                calls.insert(name);
            }
        }
        calls
    };
    let (allowed, denied) = (expand(&["@system-service"]), expand(&["@privileged", "@resources"]));
    if allowed.is_empty() {
        eprintln!("NOT RUN: systemd-analyze syscall-filter lists nothing here");
        return;
    }
    let needed = [
        "openat2",
        "statx",
        "statfs",
        "fstatfs",
        "getdents64",
        "flock",
        "fsync",
        "fdatasync",
        "ftruncate",
        "pread64",
        "pwrite64",
        "inotify_init1",
        "inotify_add_watch",
        "inotify_rm_watch",
        "epoll_create1",
        "eventfd2",
        "clone3",
        "socket",
        "connect",
        "bind",
        "listen",
        "accept4",
        "sendto",
        "recvfrom",
        "getrandom",
        "chmod",
        "unlink",
        "unlinkat",
        "renameat2",
        "linkat",
        "mkdirat",
        "fchmod",
        "utimensat",
        "faccessat",
        "socketpair",
        "signalfd4",
        "rt_sigaction",
        "execve",
        "wait4",
        "prlimit64",
        "sched_getaffinity",
        "mmap",
    ];
    for call in needed {
        assert!(allowed.contains(call) && !denied.contains(call), "{call}");
    }
}

#[test]
fn the_sysctl_drop_in_only_sets_the_watch_limits() {
    let text = std::fs::read_to_string(systemd_folder().join("60-casedrop-inotify.conf")).expect("the drop-in");
    let keys: Vec<(&str, u64)> = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.split_once(" = ").expect("key = value"))
        .map(|(key, value)| (key, value.parse().expect("a number")))
        .collect();
    let wanted = [("fs.inotify.max_user_watches", 524_288), ("fs.inotify.max_user_instances", 1024)];
    assert_eq!(keys, wanted);
}
