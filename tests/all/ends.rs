//! Found by reading against the invariants: a pass that must end, a policy that must hold, a reload that must not
//! end the daemon.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{DEADLINE, NOBODY, Stage, text, wait};

/// A pass that must end by itself.
fn sync_code(stage: &Stage, config: &std::path::Path) -> (Option<i32>, String) {
    let log = stage.dir.path().join("sync.log");
    let out = fs::File::create(&log).unwrap();
    let mut child = stage
        .command_with(config)
        .arg("sync")
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return (status.code(), fs::read_to_string(&log).unwrap());
        }
        if began.elapsed() > DEADLINE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("sync does not end:\n{}", fs::read_to_string(&log).unwrap());
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn a_pass_ends_though_a_mirror_that_is_no_longer_configured_left_work() {
    let stage = Stage::new();
    stage.write("a.txt", "a");
    let good = stage.config();
    let text = fs::read_to_string(&good).unwrap();
    let url = stage.sandbox.endpoint_url();
    fs::write(&good, text.replace(&url, NOBODY)).unwrap();
    let log = stage.dir.path().join("offline.log");
    let mut child = stage.command_with(&good).arg("run").stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    wait(
        "the file is queued",
        || fs::read_to_string(&log).unwrap().contains("out of reach"),
        || fs::read_to_string(&log).unwrap(),
    );
    child.kill().unwrap();
    child.wait().unwrap();
    let other = stage.dir.path().join("other");
    fs::create_dir(&other).unwrap();
    let config = stage.config();
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replace("name = \"drop\"", "name = \"other\"");
    fs::write(&config, text.replace(&format!("{:?}", stage.drop), &format!("{other:?}"))).unwrap();
    let (code, said) = sync_code(&stage, &config);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_kept_attachment_is_not_taken_for_a_move() {
    let mut stage = Stage::new();
    stage.mirror.push_str("delete = \"keep\"\n");
    stage.write("a.txt", "the same form");
    stage.sync();
    fs::remove_file(stage.path("a.txt")).unwrap();
    stage.sync();
    stage.write("b.txt", "the same form");
    stage.sync();
    let names: Vec<String> = stage.visible().into_keys().collect();
    assert_eq!(names, ["a.txt", "b.txt"], "{}", text(&stage.run(&["log"])));
}

#[test]
fn a_renamed_file_is_still_moved_under_keep() {
    let mut stage = Stage::new();
    stage.mirror.push_str("delete = \"keep\"\n");
    stage.write("a.txt", "a form");
    stage.sync();
    fs::rename(stage.path("a.txt"), stage.path("b.txt")).unwrap();
    stage.sync();
    stage.assert_equal();
}

#[test]
fn a_reload_that_puts_a_known_mirror_elsewhere_is_refused() {
    let stage = Stage::new();
    stage.write("a.txt", "a");
    let daemon = stage.daemon();
    daemon.wait_ready();
    let other = stage.dir.path().join("other");
    fs::create_dir(&other).unwrap();
    let config = stage.config();
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace(&format!("{:?}", stage.drop), &format!("{other:?}"))).unwrap();
    daemon.signal("HUP");
    wait("the reload is refused", || daemon.log().contains("not reloaded"), || daemon.log());
    assert!(daemon.stop().success());
}

#[test]
fn a_domain_that_is_not_found_is_not_a_pass_well_done() {
    let stage = Stage::new();
    let config = stage.config();
    let text = fs::read_to_string(&config).unwrap();
    let wrong = "00000000-0000-4000-8000-000000000000";
    fs::write(
        &config,
        text.replace(stage.sandbox.domain_id(), wrong)
            .replace(&stage.sandbox.instance_arn(), stage.sandbox.instance_id()),
    )
    .unwrap();
    stage.write("a.txt", "a");
    let (code, said) = sync_code(&stage, &config);
    assert_eq!(code, Some(78), "{said}");
}

#[test]
fn a_file_that_the_instance_found_too_large_can_be_tried_again() {
    let stage = Stage::with(|settings| settings.limits.max_file_bytes = 10);
    stage.write("a.txt", "more than ten bytes");
    assert_eq!(stage.run(&["sync"]).status.code(), Some(1));
    assert!(stage.run(&["retry", "--all"]).status.success());
    assert_eq!(stage.run(&["sync"]).status.code(), Some(1));
    let starts =
        stage.sandbox.requests().iter().filter(|r| format!("{r:?}").contains("StartAttachedFileUpload")).count();
    assert_eq!(starts, 1, "by hand only: {}", text(&stage.run(&["log"])));
}
