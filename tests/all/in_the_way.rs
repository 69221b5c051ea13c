//! Something else stands where a folder was: what lay below it is gone for certain, or has left the mirror.

use std::fs;
use std::os::unix::fs::symlink;

use crate::common::{Stage, wait};

const BEHIND: &str = "ignored(a symbolic link stands where its folder was)";

fn stage() -> Stage {
    let stage = Stage::new();
    stage.write("folder/a.txt", "a");
    stage.write("folder/deep/b.txt", "b");
    stage.write("other.txt", "other");
    stage
}

/// An administrator moves a folder to another disk and leaves a link: no attachment may go (LESSONS L41).
#[test]
fn a_folder_that_gave_way_to_a_link_to_it_deletes_nothing() {
    let stage = stage();
    stage.sync();
    let before = stage.visible();
    fs::rename(stage.path("folder"), stage.dir.path().join("elsewhere")).unwrap();
    symlink(stage.dir.path().join("elsewhere"), stage.path("folder")).unwrap();
    let daemon = stage.daemon();
    stage.wait_verdict("folder/a.txt", BEHIND);
    stage.wait_verdict("folder/deep/b.txt", BEHIND);
    stage.assert_settled(daemon);
    assert_eq!(stage.visible(), before);
    fs::remove_file(stage.path("folder")).unwrap();
    fs::rename(stage.dir.path().join("elsewhere"), stage.path("folder")).unwrap();
    stage.sync();
    stage.assert_equal();
    assert_eq!(stage.verdict("folder/deep/b.txt"), "attached");
    assert_eq!(stage.count(casedrop_sandbox::Op::StartAttachedFileUpload), 3, "nothing was sent again");
}

/// The grace of a delete had begun when the link appeared: the promise of a delete may not stand there for ever.
#[test]
fn a_link_that_appears_during_the_grace_ends_it() {
    let mut stage = stage();
    stage.mirror = stage.mirror.replace("delete_grace = \"1s\"", "delete_grace = \"1h\"");
    let daemon = stage.daemon();
    stage.wait_attached();
    fs::remove_dir_all(stage.path("folder")).unwrap();
    stage.wait_verdict("folder/a.txt", "deleting");
    stage.wait_verdict("folder/deep/b.txt", "deleting");
    symlink("/nowhere", stage.path("folder")).unwrap();
    assert!(daemon.stop().success());
    stage.run(&["sync"]);
    assert_eq!(stage.verdict("folder/a.txt"), BEHIND);
    assert_eq!(stage.verdict("folder/deep/b.txt"), BEHIND);
    assert_eq!(stage.visible().len(), 3);
}

/// A file where a folder was: nothing can have a path below it.
#[test]
fn a_folder_that_gave_way_to_a_file_takes_its_attachments_along() {
    let stage = stage();
    let daemon = stage.daemon();
    stage.wait_attached();
    fs::remove_dir_all(stage.path("folder")).unwrap();
    fs::write(stage.path("folder"), "").unwrap();
    wait(
        "only the other file is attached",
        || stage.visible().into_keys().eq(["other.txt".to_owned()]),
        || format!("{:#?}", stage.list()),
    );
    stage.assert_settled(daemon);
}
