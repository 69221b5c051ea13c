//! The handler with made-up events, and the watcher with real ones.

use std::fs;
use std::time::Duration;

use notify::event::{CreateKind, DataChange, Flag, MetadataKind, ModifyKind, RemoveKind, RenameMode};

use super::*;
use crate::watch::bell::Rung;

fn path(name: &str) -> RelPath {
    RelPath::new(name.as_bytes()).unwrap()
}

fn handler() -> Handler {
    Handler { root: "/r/oot".into(), bell: Bell::default(), status: Arc::default() }
}

/// What rings after these events.
fn ring(events: impl IntoIterator<Item = Event>) -> Rung {
    let mut handler = handler();
    for event in events {
        notify::EventHandler::handle_event(&mut handler, Ok(event));
    }
    handler.bell.take()
}

fn event(kind: EventKind, paths: &[&str]) -> Event {
    paths.iter().fold(Event::new(kind), |event, path| event.add_path(path.into()))
}

#[test]
fn a_lost_event_without_a_path_means_everywhere() {
    let lost = Event::new(EventKind::Other).set_flag(Flag::Rescan);
    assert!(ring([lost.clone()]).everywhere.unwrap().contains("lost"));
    assert!(ring([lost.add_path("/r/oot/a".into())]).everywhere.is_some());
    assert!(ring([Event::new(EventKind::Any)]).everywhere.is_some());
}

#[test]
fn every_change_touches_its_path_and_reading_does_not() {
    let changes = [
        EventKind::Create(CreateKind::File),
        EventKind::Create(CreateKind::Folder),
        EventKind::Modify(ModifyKind::Data(DataChange::Any)),
        EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)),
        EventKind::Remove(RemoveKind::File),
        EventKind::Access(AccessKind::Close(AccessMode::Write)),
        EventKind::Any,
    ];
    for kind in changes {
        let rung = ring([event(kind, &["/r/oot/a/b"])]);
        assert_eq!(rung, Rung { touched: vec![path("a/b")], everywhere: None }, "{kind:?}");
    }
    let both = event(EventKind::Modify(ModifyKind::Name(RenameMode::Both)), &["/r/oot/old", "/r/oot/new"]);
    assert_eq!(ring([both]).touched, [path("new"), path("old")]);
    for kind in [AccessKind::Open(AccessMode::Any), AccessKind::Read, AccessKind::Close(AccessMode::Read)] {
        assert_eq!(ring([event(EventKind::Access(kind), &["/r/oot/a"])]), Rung::default(), "{kind:?}");
    }
}

#[test]
fn the_root_itself_means_everywhere_and_outside_means_nothing() {
    let gone = event(EventKind::Remove(RemoveKind::Folder), &["/r/oot"]);
    assert!(ring([gone]).everywhere.is_some());
    let outside = event(EventKind::Create(CreateKind::File), &["/r/other", "/r/oot2/a", "/r", "rel"]);
    assert_eq!(ring([outside]), Rung::default());
}

#[test]
fn a_limit_met_later_is_told_and_leaves_the_root_to_polling() {
    let mut handler = handler();
    let watching = Watching { status: Arc::clone(&handler.status), _watcher: None };
    assert_eq!((watching.kind(), watching.fault()), (WatchKind::Native, None));
    let error = notify::Error::new(ErrorKind::MaxFilesWatch).add_path("/r/oot/new".into());
    notify::EventHandler::handle_event(&mut handler, Err(error));
    let WatchKind::Poll { reason } = watching.kind() else { panic!("polled") };
    assert!(reason.contains("fs.inotify.max_user_watches"));
    assert_eq!(watching.fault(), Some(reason));
    assert!(handler.bell.take().everywhere.is_some());
}

#[test]
fn an_error_and_the_end_of_the_thread_are_faults() {
    let mut one = handler();
    let watching = Watching { status: Arc::clone(&one.status), _watcher: None };
    notify::EventHandler::handle_event(&mut one, Err(notify::Error::generic("broken")));
    assert_eq!(watching.fault().unwrap(), "the watcher failed: broken");
    assert_eq!(watching.kind(), WatchKind::Native);
    assert!(one.bell.take().everywhere.is_some());

    let other = handler();
    let (bell, watching) = (other.bell.clone(), Watching { status: Arc::clone(&other.status), _watcher: None });
    drop(other);
    assert_eq!(watching.fault().unwrap(), "the watcher ended");
    assert!(bell.take().everywhere.is_some());
}

#[test]
fn polling_is_said_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let watching = start(dir.path(), WatchMode::Poll, Bell::default());
    assert_eq!((watching.kind().to_string(), watching.fault()), ("poll: as configured".to_owned(), None));
    let watching = start(&dir.path().join("none"), WatchMode::Auto, Bell::default());
    assert!(watching.kind().to_string().starts_with("poll: the folder cannot be watched"));
    assert!(watching.fault().is_some(), "to be tried again");
}

/// Takes what rings until `wanted` is satisfied by all of it together.
async fn until(bell: &Bell, wanted: impl Fn(&Rung) -> bool) -> Rung {
    let mut all = Rung::default();
    let listening = async {
        while !wanted(&all) {
            bell.rung().await;
            let rung = bell.take();
            all.touched.extend(rung.touched);
            all.everywhere = all.everywhere.take().or(rung.everywhere);
        }
    };
    let heard = tokio::time::timeout(Duration::from_secs(300), listening).await;
    assert!(heard.is_ok(), "heard only {all:?}");
    all
}

async fn touched(bell: &Bell, name: &str) {
    let wanted = path(name);
    until(bell, |rung| rung.touched.contains(&wanted)).await;
}

#[tokio::test]
async fn real_changes_ring() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("old/deep")).unwrap();
    let bell = Bell::default();
    let watching = start(dir.path(), WatchMode::Native, bell.clone());
    assert_eq!((watching.kind(), watching.fault()), (WatchKind::Native, None));

    fs::write(at("f"), "x").unwrap();
    touched(&bell, "f").await;
    fs::write(at("old/deep/g"), "x").unwrap();
    touched(&bell, "old/deep/g").await;
    fs::write(at("f"), "more").unwrap();
    touched(&bell, "f").await;
    fs::rename(at("f"), at("renamed")).unwrap();
    until(&bell, |rung| rung.touched.contains(&path("f")) && rung.touched.contains(&path("renamed"))).await;
    fs::remove_file(at("renamed")).unwrap();
    touched(&bell, "renamed").await;

    // A new folder rings itself, and later its inside does.
    fs::create_dir(at("new")).unwrap();
    touched(&bell, "new").await;
    rings_inside(&bell, &at("new"), "new/inner").await;
    // A tree that is moved in rings its top, and is watched to its bottom.
    fs::create_dir_all(outside.path().join("tree/sub")).unwrap();
    fs::write(outside.path().join("tree/sub/h"), "x").unwrap();
    fs::rename(outside.path().join("tree"), at("tree")).unwrap();
    touched(&bell, "tree").await;
    rings_inside(&bell, &at("tree/sub"), "tree/sub/inner").await;
    // Watched under its new name after a rename.
    fs::rename(at("tree"), at("moved")).unwrap();
    touched(&bell, "moved").await;
    rings_inside(&bell, &at("moved/sub"), "moved/sub/inner").await;
    assert_eq!(watching.fault(), None);
}

/// The watch on a new folder comes after the ring for it, so the file is written until it rings.
async fn rings_inside(bell: &Bell, folder: &Path, name: &str) {
    let wanted = path(name);
    let writing = async {
        loop {
            fs::write(folder.join("inner"), "x").unwrap();
            let _ = tokio::time::timeout(Duration::from_millis(50), bell.rung()).await;
            if bell.take().touched.contains(&wanted) {
                return;
            }
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(300), writing).await.is_ok(), "{name} never rang");
}

#[tokio::test]
async fn a_moved_or_removed_root_rings_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    for remove in [true, false] {
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        let bell = Bell::default();
        let _watching = start(&root, WatchMode::Native, bell.clone());
        if remove {
            fs::remove_dir(&root).unwrap();
        } else {
            fs::rename(&root, dir.path().join("elsewhere")).unwrap();
        }
        until(&bell, |rung| rung.everywhere.is_some()).await;
    }
}

#[tokio::test]
async fn links_are_not_watched_through() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
    let bell = Bell::default();
    let _watching = start(dir.path(), WatchMode::Native, bell.clone());
    fs::write(outside.path().join("f"), "x").unwrap();
    // Events come in order on one queue, so this one would come after.
    fs::write(dir.path().join("last"), "x").unwrap();
    let rung = until(&bell, |rung| rung.touched.contains(&path("last"))).await;
    assert!(rung.touched.iter().all(|p| *p == path("last")), "{rung:?}");
}

#[tokio::test]
async fn dropping_the_watch_is_no_fault() {
    let dir = tempfile::tempdir().unwrap();
    let bell = Bell::default();
    let watching = start(dir.path(), WatchMode::Native, bell.clone());
    let status = Arc::clone(&watching.status);
    drop(watching);
    // The thread holds the handler, and the handler the status.
    let ended = async {
        while Arc::strong_count(&status) > 1 {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(300), ended).await.is_ok(), "the thread went on");
    assert_eq!(status.told().fault, None);
    assert_eq!(bell.take(), Rung::default());
}
