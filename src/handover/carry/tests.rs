//! One hand-over after another on real folders: what is found after a kill, or when somebody meddles.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::core::model::{AttachmentId, HandoverId, HandoverKind, HandoverState, MirrorId, ParkCode};
use crate::core::sidecar;
use crate::scan::open_root;
use crate::types::ContentHash;

struct Place {
    dir: tempfile::TempDir,
    handover: Handover,
    /// What the name of a file that goes with it has behind its own.
    with: Option<&'static str>,
    called_off: Option<&'static str>,
}

impl Place {
    /// A root with one file that is due, and a store.
    fn new(kind: HandoverKind) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root/in")).unwrap();
        fs::create_dir(dir.path().join("store")).unwrap();
        fs::write(dir.path().join("root/in/a.txt"), "content").unwrap();
        let path = RelPath::new(&b"in/a.txt"[..]).unwrap();
        let file = fs::File::open(dir.path().join("root/in/a.txt")).unwrap();
        let read = scan::read_hash(&file, None, &|| false).unwrap();
        let to = (kind != HandoverKind::Delete).then(|| (b"/store".to_vec(), path.clone()));
        let handover = Handover {
            id: HandoverId(7),
            mirror: MirrorId(1),
            path,
            kind,
            state: HandoverState::Moving,
            attachment: Some(AttachmentId(1)),
            code: (kind == HandoverKind::Quarantine).then_some(ParkCode::Rejected),
            // Whatever a scene makes is as old as the file.
            stat: Stat { ctime_ns: i64::MAX, ..read.stat },
            hash: Some(read.hash),
            to,
            tries: 0,
            next_attempt: None,
            last_error: None,
            created_at: UnixMillis(i64::MAX),
            ended_at: None,
        };
        Self { dir, handover, with: None, called_off: None }
    }

    fn root(&self, name: &str) -> PathBuf {
        self.dir.path().join("root/in").join(name)
    }

    fn store(&self, name: &str) -> PathBuf {
        self.dir.path().join("store/in").join(name)
    }

    fn carry(&self, resumed: bool) -> Ended {
        let (root, store) =
            (open_root(&self.dir.path().join("root")).unwrap(), open_root(&self.dir.path().join("store")).unwrap());
        let store = (self.handover.kind != HandoverKind::Delete).then_some(&store);
        let paper = Some((".note", b"paper".to_vec())).filter(|_| store.is_some());
        let beside = self.with.map(|suffix| (RelPath::new(format!("in/a.txt{suffix}").into_bytes()).unwrap(), suffix));
        let with = beside.as_ref().map(|(path, suffix)| (path, *suffix));
        carry(Load {
            root: &root,
            store,
            handover: &self.handover,
            resumed,
            called_off: &|| Ok(self.called_off),
            with,
            paper,
            stop: &|| false,
        })
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|_| "-".to_owned())
}

#[test]
fn a_file_moves_once_and_the_same_call_again_finds_it_there() {
    let place = Place::new(HandoverKind::Archive);
    assert!(matches!(place.carry(false), Ended::Done { doubt: None, .. }));
    for _ in 0..2 {
        assert!(matches!(place.carry(true), Ended::Done { doubt: None, .. }));
        assert_eq!((read(&place.root("a.txt")), read(&place.store("a.txt"))), ("-".into(), "content".into()));
        assert_eq!(read(&place.store("a.txt.note")), "paper");
    }
    // Another file at the path is none of its business, also with the same bytes.
    fs::write(place.root("a.txt"), "content").unwrap();
    assert!(matches!(place.carry(true), Ended::Done { .. }));
    assert_eq!((read(&place.root("a.txt")), read(&place.store("a.txt"))), ("content".into(), "content".into()));
}

#[test]
fn what_is_not_what_was_delivered_stays() {
    for kind in [HandoverKind::Archive, HandoverKind::Delete] {
        let place = Place::new(kind);
        fs::write(place.root("a.txt"), "changed").unwrap();
        assert!(matches!(place.carry(false), Ended::Changed(_)), "another content of the same size");
        assert_eq!(read(&place.root("a.txt")), "changed");
        // Also where size and time of change are as they were: only the content tells.
        let place = Place::new(kind);
        let modified = fs::metadata(place.root("a.txt")).unwrap().modified().unwrap();
        let file = fs::OpenOptions::new().write(true).open(place.root("a.txt")).unwrap();
        std::io::Write::write_all(&mut &file, b"CONTENT").unwrap();
        file.set_modified(modified).unwrap();
        assert!(matches!(place.carry(false), Ended::Changed(_)), "the same stat");
        assert_eq!((read(&place.root("a.txt")), read(&place.store("a.txt"))), ("CONTENT".into(), "-".into()));
        let place = Place::new(kind);
        fs::remove_file(place.root("a.txt")).unwrap();
        assert!(matches!(place.carry(false), Ended::Gone));
        fs::create_dir(place.root("a.txt")).unwrap();
        assert!(matches!(place.carry(false), Ended::Changed(_)), "a folder");
    }
}

#[test]
fn a_name_that_is_taken_is_not_overwritten() {
    let place = Place::new(HandoverKind::Archive);
    fs::create_dir(place.dir.path().join("store/in")).unwrap();
    fs::write(place.store("a.txt"), "other").unwrap();
    for resumed in [false, true] {
        assert!(matches!(place.carry(resumed), Ended::Taken(_)), "{resumed}");
        assert_eq!((read(&place.root("a.txt")), read(&place.store("a.txt"))), ("content".into(), "other".into()));
    }
}

#[test]
fn a_wrong_file_that_was_moved_in_that_very_moment_goes_back_after_a_kill() {
    // As after a kill between the move and the look at what was moved: the file had been replaced.
    let moved = ".casedrop-7-7fffffffffffffff.move";
    let place = Place::new(HandoverKind::Archive);
    fs::create_dir(place.dir.path().join("store/in")).unwrap();
    fs::remove_file(place.root("a.txt")).unwrap();
    fs::write(place.store(moved), "replacement").unwrap();
    assert!(matches!(place.carry(true), Ended::Doubtful(_)));
    assert_eq!((read(&place.root("a.txt")), read(&place.store(moved))), ("replacement".into(), "-".into()));
    // Or it had been written to.
    let place = Place::new(HandoverKind::Archive);
    fs::create_dir(place.dir.path().join("store/in")).unwrap();
    fs::rename(place.root("a.txt"), place.store(moved)).unwrap();
    fs::write(place.store(moved), "content and more").unwrap();
    fs::write(place.root("a.txt"), "the next one").unwrap();
    assert!(matches!(place.carry(true), Ended::Doubtful(_)));
    assert_eq!(read(&place.root("a.txt")), "the next one");
    assert_eq!(read(&place.root("a~2.txt")), "content and more", "beside the one that took its place");
    assert_eq!((read(&place.store("a.txt")), read(&place.store(moved))), ("-".into(), "-".into()));
}

#[test]
fn a_file_that_was_moved_and_not_named_is_named_by_another_name_where_its_own_is_taken() {
    let moved = ".casedrop-7-7fffffffffffffff.move";
    for taken in [false, true] {
        let mut place = Place::new(HandoverKind::Archive);
        fs::create_dir(place.dir.path().join("store/in")).unwrap();
        fs::rename(place.root("a.txt"), place.store(moved)).unwrap();
        if taken {
            fs::write(place.store("a.txt"), "somebody else's").unwrap();
            fs::write(place.store("a~2.txt.note"), "of another one").unwrap();
            let Ended::Taken(target) = place.carry(true) else { panic!("it is taken") };
            assert_eq!((target.as_bytes(), read(&place.store(moved))), (&b"in/a~3.txt"[..], "content".into()));
            place.handover.to = Some((b"/store".to_vec(), target));
        }
        assert!(matches!(place.carry(true), Ended::Done { .. }));
        let name = if taken { "a~3.txt" } else { "a.txt" };
        assert_eq!((read(&place.root("a.txt")), read(&place.store(name))), ("-".into(), "content".into()));
        assert_eq!(read(&place.store(&format!("{name}.note"))), "paper");
        assert_eq!(read(&place.store(moved)), "-");
        assert!(!taken || read(&place.store("a.txt")) == "somebody else's");
    }
}

#[test]
fn a_kill_between_the_two_halves_of_a_move_without_rename_leaves_one_name() {
    // On file systems without `RENAME_NOREPLACE` there are two names of the file for a moment.
    let place = Place::new(HandoverKind::Archive);
    let moved = place.store(".casedrop-7-7fffffffffffffff.move");
    fs::create_dir(place.dir.path().join("store/in")).unwrap();
    fs::rename(place.root("a.txt"), &moved).unwrap();
    fs::hard_link(&moved, place.store("a.txt")).unwrap();
    assert!(matches!(place.carry(true), Ended::Done { .. }));
    assert_eq!((read(&place.root("a.txt")), read(&place.store("a.txt"))), ("-".into(), "content".into()));
    assert_eq!(fs::read_dir(place.dir.path().join("store/in")).unwrap().count(), 2, "and the note");
}

#[test]
fn what_another_journal_has_moved_and_not_named_is_not_ours() {
    let place = Place::new(HandoverKind::Archive);
    fs::create_dir(place.dir.path().join("store/in")).unwrap();
    fs::write(place.store(".casedrop-7-fe.move"), "of another journal").unwrap();
    assert!(matches!(place.carry(false), Ended::Done { .. }));
    assert_eq!((read(&place.root("a.txt")), read(&place.store("a.txt"))), ("-".into(), "content".into()));
    assert_eq!(read(&place.store(".casedrop-7-fe.move")), "of another journal");
}

#[test]
fn what_somebody_else_put_at_the_target_is_never_touched_even_when_the_file_is_gone() {
    let place = Place::new(HandoverKind::Archive);
    fs::create_dir(place.dir.path().join("store/in")).unwrap();
    fs::remove_file(place.root("a.txt")).unwrap();
    fs::write(place.store("a.txt"), "somebody else's").unwrap();
    assert!(matches!(place.carry(true), Ended::Gone));
    assert_eq!((read(&place.root("a.txt")), read(&place.store("a.txt"))), ("-".into(), "somebody else's".into()));
}

#[test]
fn a_copy_across_file_systems_is_gone_on_with_from_every_state() {
    let aside = ".casedrop-7-7fffffffffffffff.gone";
    // In place, the original too.
    let place = Place::new(HandoverKind::Archive);
    fs::create_dir(place.dir.path().join("store/in")).unwrap();
    fs::write(place.store("a.txt"), "content").unwrap();
    assert!(matches!(place.carry(true), Ended::Done { .. }));
    assert_eq!((read(&place.root("a.txt")), read(&place.store("a.txt"))), ("-".into(), "content".into()));
    // The original is aside.
    let place = Place::new(HandoverKind::Archive);
    fs::create_dir(place.dir.path().join("store/in")).unwrap();
    fs::write(place.store("a.txt"), "content").unwrap();
    fs::rename(place.root("a.txt"), place.root(aside)).unwrap();
    assert!(matches!(place.carry(true), Ended::Done { .. }));
    assert_eq!((read(&place.root(aside)), read(&place.store("a.txt"))), ("-".into(), "content".into()));
    // Somebody took the copy away meanwhile: the original is not lost with it.
    let place = Place::new(HandoverKind::Archive);
    fs::rename(place.root("a.txt"), place.root(aside)).unwrap();
    assert!(matches!(place.carry(true), Ended::Done { .. }));
    assert_eq!((read(&place.root(aside)), read(&place.store("a.txt"))), ("-".into(), "content".into()));
    // The original changed after it was copied: what is at the target was delivered, the changed one is a new file.
    let place = Place::new(HandoverKind::Archive);
    fs::create_dir(place.dir.path().join("store/in")).unwrap();
    fs::write(place.store("a.txt"), "content").unwrap();
    fs::write(place.root("a.txt"), "another").unwrap();
    assert!(matches!(place.carry(true), Ended::Done { .. }));
    assert_eq!((read(&place.root("a.txt")), read(&place.store("a.txt"))), ("another".into(), "content".into()));
}

#[test]
fn a_delete_that_was_cut_off_ends_without_touching_another_file() {
    let aside = ".casedrop-7-7fffffffffffffff.gone";
    let place = Place::new(HandoverKind::Delete);
    fs::rename(place.root("a.txt"), place.root(aside)).unwrap();
    fs::write(place.root("a.txt"), "the next one").unwrap();
    assert!(matches!(place.carry(true), Ended::Done { doubt: None, .. }));
    assert_eq!((read(&place.root("a.txt")), read(&place.root(aside))), ("the next one".into(), "-".into()));
    // What is aside is not what was delivered: it goes back, beside what came meanwhile.
    let place = Place::new(HandoverKind::Delete);
    fs::rename(place.root("a.txt"), place.root(aside)).unwrap();
    fs::write(place.root(aside), "written to").unwrap();
    fs::write(place.root("a.txt"), "the next one").unwrap();
    assert!(matches!(place.carry(true), Ended::Doubtful(_)));
    assert_eq!(
        (read(&place.root("a.txt")), read(&place.root("a~2.txt"))),
        ("the next one".into(), "written to".into())
    );
    // Gone, and nobody saw by whom: the doubt is told.
    let place = Place::new(HandoverKind::Delete);
    fs::remove_file(place.root("a.txt")).unwrap();
    assert!(matches!(place.carry(true), Ended::Done { doubt: Some(_), .. }));
}

#[test]
fn a_link_in_the_store_is_not_followed_and_what_was_too_large_to_read_is_known_by_its_identity() {
    let place = Place::new(HandoverKind::Quarantine);
    let elsewhere = place.dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, place.dir.path().join("store/in")).unwrap();
    let Ended::Failed { fault, moved: false } = place.carry(false) else { panic!("it followed a link") };
    assert!(fault.text.contains("symbolic link") || fault.text.contains("no folder"), "{}", fault.text);
    assert_eq!(read(&place.root("a.txt")), "content");
    let mut place = Place::new(HandoverKind::Quarantine);
    place.handover.hash = None;
    place.handover.stat.size += 1;
    assert!(matches!(place.carry(false), Ended::Changed(_)));
    place.handover.stat.size -= 1;
    assert!(matches!(place.carry(false), Ended::Done { .. }));
    assert!(matches!(place.carry(true), Ended::Done { .. }));
    let mut place = Place::new(HandoverKind::Quarantine);
    place.handover.hash = Some(ContentHash([0; 32]));
    assert!(matches!(place.carry(false), Ended::Changed(_)), "another content");
}

fn set_time(path: &Path, seconds: u64) {
    let time = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn what_went_ahead_of_a_changed_file_goes_back_to_it() {
    const TRIGGER: &str = ".done";
    // After a kill between what went ahead and the file, which is another one by now.
    let went = |kind, suffix: &'static str, paper_at: u64, replaced: bool| {
        let mut place = Place::new(kind);
        place.with = Some(suffix);
        fs::create_dir(place.dir.path().join("store/in")).unwrap();
        let own = format!(".casedrop-7-7fffffffffffffff.with{suffix}");
        let ahead = if kind == HandoverKind::Delete { place.root(&own) } else { place.store(&own) };
        fs::write(&ahead, "beside").unwrap();
        set_time(&ahead, paper_at);
        if replaced {
            fs::rename(place.root("a.txt"), place.dir.path().join("old")).unwrap();
        }
        fs::write(place.root("a.txt"), "changed").unwrap();
        set_time(&place.root("a.txt"), 1_000);
        (place, ahead)
    };
    let kinds = [HandoverKind::Archive, HandoverKind::Quarantine, HandoverKind::Delete];
    for (kind, replaced) in kinds.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        for (suffix, paper_at, back) in [(sidecar::SUFFIX, 900, true), (TRIGGER, 900, false), (TRIGGER, 1_100, true)] {
            let case = format!("{kind} {suffix} {paper_at} {replaced}");
            let (place, ahead) = went(kind, suffix, paper_at, replaced);
            for _ in 0..2 {
                let ended = place.carry(true);
                // A removed file that was replaced may have been removed by us.
                let gone = kind == HandoverKind::Delete && replaced;
                assert!(matches!(ended, Ended::Doubtful(_)) || gone, "{case}: {ended:?}");
                let (here, there) = (place.root(&format!("a.txt{suffix}")), place.store(&format!("a.txt{suffix}")));
                let follows = !back && kind != HandoverKind::Delete;
                let found = (read(&here), read(&there), ahead.exists());
                let beside = |is: bool| if is { "beside".to_owned() } else { "-".to_owned() };
                assert_eq!(found, (beside(back), beside(follows), false), "{case}");
                assert_eq!(read(&place.root("a.txt")), "changed", "{case}");
            }
        }
        // A new one is there already: the old one is not put over it.
        let (place, ahead) = went(kind, sidecar::SUFFIX, 1_100, replaced);
        let here = place.root(&format!("a.txt{}", sidecar::SUFFIX));
        fs::write(&here, "new").unwrap();
        let _ = place.carry(true);
        assert_eq!((read(&here), ahead.exists()), ("new".to_owned(), false), "{kind}");
        // Or the very one, of which what is ahead is a copy.
        let (place, ahead) = went(kind, sidecar::SUFFIX, 1_100, replaced);
        fs::write(place.root(&format!("a.txt{}", sidecar::SUFFIX)), "beside").unwrap();
        let _ = place.carry(true);
        let store = fs::read_dir(place.dir.path().join("store/in")).unwrap().count();
        assert_eq!((ahead.exists(), store), (false, 0), "{kind}");
        // Nothing went ahead: what stands in the store under such a name is somebody else's.
        let (place, ahead) = went(kind, sidecar::SUFFIX, 1_100, replaced);
        let others = place.store(&format!("a.txt{}", sidecar::SUFFIX));
        fs::rename(&ahead, &others).unwrap();
        let _ = place.carry(true);
        assert_eq!(
            (read(&others), read(&place.root(&format!("a.txt{}", sidecar::SUFFIX)))),
            ("beside".into(), "-".into())
        );
    }
}

#[test]
fn what_went_ahead_follows_its_file_to_another_name_and_both_of_two_go() {
    let mut place = Place::new(HandoverKind::Archive);
    place.with = Some(sidecar::SUFFIX);
    let named = |name: &str| format!("{name}{}", sidecar::SUFFIX);
    fs::create_dir(place.dir.path().join("store/in")).unwrap();
    // Ahead since an earlier try, and given once more; the name at the target is somebody else's by now.
    fs::write(place.store(&named(".casedrop-7-7fffffffffffffff.with")), "first").unwrap();
    fs::write(place.root(&named("a.txt")), "second").unwrap();
    fs::write(place.store("a.txt"), "other").unwrap();
    let Ended::Taken(target) = place.carry(true) else { panic!("the name is taken") };
    place.handover.to = Some((b"/store".to_vec(), target));
    assert!(matches!(place.carry(true), Ended::Done { .. }));
    assert_eq!((read(&place.store("a.txt")), read(&place.store("a~2.txt"))), ("other".into(), "content".into()));
    let both = [read(&place.store(&named("a~2.txt"))), read(&place.store("a~2.txt.casedrop~2.toml"))];
    assert_eq!(both, ["first", "second"]);
    let left = fs::read_dir(place.dir.path().join("store/in")).unwrap().count();
    assert_eq!((left, fs::read_dir(place.dir.path().join("root/in")).unwrap().count()), (5, 0), "with the note");
}

#[test]
fn what_goes_with_a_removed_file_is_removed_after_it() {
    for resumed in [false, true] {
        let mut place = Place::new(HandoverKind::Delete);
        place.with = Some(sidecar::SUFFIX);
        let beside = place.root(&format!("a.txt{}", sidecar::SUFFIX));
        fs::write(&beside, "beside").unwrap();
        if resumed {
            // A kill came when both were aside.
            fs::rename(&beside, place.root(".casedrop-7-7fffffffffffffff.with.casedrop.toml")).unwrap();
            fs::rename(place.root("a.txt"), place.root(".casedrop-7-7fffffffffffffff.gone")).unwrap();
        }
        assert!(matches!(place.carry(resumed), Ended::Done { doubt: None, .. }));
        assert_eq!(fs::read_dir(place.dir.path().join("root/in")).unwrap().count(), 0);
        // Configured no more when it goes on: it goes with its file all the same.
        let mut place = Place::new(HandoverKind::Delete);
        fs::write(place.root(".casedrop-7-7fffffffffffffff.with.done"), "").unwrap();
        place.with = resumed.then_some(sidecar::SUFFIX);
        assert!(matches!(place.carry(true), Ended::Done { .. }));
        assert_eq!(fs::read_dir(place.dir.path().join("root/in")).unwrap().count(), 0);
    }
}

#[test]
fn what_went_ahead_of_a_file_that_somebody_took_is_not_lost_and_steers_no_other() {
    for (kind, with) in
        [(HandoverKind::Archive, None), (HandoverKind::Delete, None), (HandoverKind::Archive, Some(".ok"))]
    {
        let mut place = Place::new(kind);
        place.with = with;
        fs::create_dir(place.dir.path().join("store/in")).unwrap();
        fs::remove_file(place.root("a.txt")).unwrap();
        let own = ".casedrop-7-7fffffffffffffff.with.casedrop.toml";
        let ahead = if kind == HandoverKind::Delete { place.root(own) } else { place.store(own) };
        fs::write(&ahead, "beside").unwrap();
        let ended = place.carry(true);
        let (here, there) = (read(&place.root("a.txt.casedrop.toml")), read(&place.store("a.txt.casedrop.toml")));
        match kind {
            // Gone for good, and perhaps by us.
            HandoverKind::Delete => {
                assert!(matches!(ended, Ended::Done { doubt: Some(_), .. }), "{ended:?}");
                assert_eq!((here, there), ("-".to_owned(), "-".to_owned()));
            }
            _ => {
                assert!(matches!(ended, Ended::Gone), "{ended:?}");
                assert_eq!((here, there), ("-".to_owned(), "beside".to_owned()));
            }
        }
        assert!(!ahead.exists());
    }
}

#[test]
fn a_boot_that_numbered_the_disk_anew_makes_no_other_file_of_it() {
    for (kind, aside) in [
        (HandoverKind::Delete, false),
        (HandoverKind::Delete, true),
        (HandoverKind::Archive, false),
        (HandoverKind::Archive, true),
    ] {
        let mut place = Place::new(kind);
        place.handover.stat.dev += 1;
        if kind == HandoverKind::Archive {
            // The copy from another file system is in its place.
            fs::create_dir(place.dir.path().join("store/in")).unwrap();
            fs::write(place.store("a.txt"), "content").unwrap();
        }
        if aside {
            fs::rename(place.root("a.txt"), place.root(".casedrop-7-7fffffffffffffff.gone")).unwrap();
        }
        let ended = place.carry(true);
        assert!(matches!(ended, Ended::Done { doubt: None, .. }), "{kind} {aside}: {ended:?}");
        assert_eq!(fs::read_dir(place.dir.path().join("root/in")).unwrap().count(), 0, "{kind} {aside}");
    }
    // The move within one file system, before it was named.
    let mut place = Place::new(HandoverKind::Archive);
    place.handover.stat.dev += 1;
    fs::create_dir(place.dir.path().join("store/in")).unwrap();
    fs::rename(place.root("a.txt"), place.store(".casedrop-7-7fffffffffffffff.move")).unwrap();
    assert!(matches!(place.carry(true), Ended::Done { doubt: None, .. }));
    assert_eq!((read(&place.root("a.txt")), read(&place.store("a.txt"))), ("-".into(), "content".into()));
}

#[test]
fn another_content_behind_the_same_stat_is_not_the_file_of_a_renumbered_disk() {
    let mut place = Place::new(HandoverKind::Delete);
    place.handover.stat.dev += 1;
    place.handover.hash = Some(ContentHash([7; 32]));
    assert!(matches!(place.carry(true), Ended::Done { doubt: Some(_), .. }));
    assert_eq!(read(&place.root("a.txt")), "content");
}

#[test]
fn what_came_after_a_delete_of_ours_stays_whatever_its_inode_and_number_are() {
    for (renumbered, same_inode) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut place = Place::new(HandoverKind::Delete);
        place.handover.stat.dev += u64::from(renumbered);
        if same_inode {
            fs::write(place.root("a.txt"), "the next scan").unwrap();
        } else {
            fs::rename(place.root("a.txt"), place.dir.path().join("gone")).unwrap();
            fs::write(place.root("a.txt"), "the next scan").unwrap();
        }
        let ended = place.carry(true);
        assert!(matches!(ended, Ended::Done { doubt: Some(_), .. } | Ended::Doubtful(_)), "{ended:?}");
        assert_eq!(read(&place.root("a.txt")), "the next scan");
    }
}

#[test]
fn a_file_that_was_only_touched_is_the_same_one_and_the_next_of_its_name_is_not() {
    for (kind, copied) in [(HandoverKind::Delete, false), (HandoverKind::Archive, false), (HandoverKind::Archive, true)]
    {
        let place = Place::new(kind);
        if copied {
            // From another file system, before the original was taken aside.
            fs::create_dir(place.dir.path().join("store/in")).unwrap();
            fs::write(place.store("a.txt"), "content").unwrap();
        }
        set_time(&place.root("a.txt"), 1_000);
        assert!(matches!(place.carry(true), Ended::Done { doubt: None, .. }), "{kind} {copied}");
        assert_eq!(read(&place.root("a.txt")), "-");
    }
    // The same document again, in the inode that the first one left.
    for copied in [false, true] {
        let mut place = Place::new(HandoverKind::Archive);
        if copied {
            fs::create_dir(place.dir.path().join("store/in")).unwrap();
            fs::write(place.store("a.txt"), "content").unwrap();
        }
        set_time(&place.root("a.txt"), 1_000);
        place.handover.stat.ctime_ns = 0;
        let ended = place.carry(true);
        match copied {
            true => assert!(matches!(ended, Ended::Done { .. }), "{ended:?}"),
            false => assert!(matches!(ended, Ended::Doubtful(_)), "{ended:?}"),
        }
        assert_eq!(read(&place.root("a.txt")), "content", "{copied}");
    }
    // With its time kept too, as `cp -p` does.
    for kind in [HandoverKind::Archive, HandoverKind::Delete] {
        let mut place = Place::new(kind);
        if kind == HandoverKind::Archive {
            fs::create_dir(place.dir.path().join("store/in")).unwrap();
            fs::write(place.store("a.txt"), "content").unwrap();
        }
        place.handover.stat.ctime_ns = 0;
        assert!(matches!(place.carry(true), Ended::Done { .. }), "{kind}");
        assert_eq!(read(&place.root("a.txt")), "content", "{kind}");
    }
    // Taken out of the archive since, and the next file came.
    let place = Place::new(HandoverKind::Archive);
    assert!(matches!(place.carry(false), Ended::Done { .. }));
    fs::rename(place.store("a.txt"), place.dir.path().join("elsewhere")).unwrap();
    fs::write(place.root("a.txt"), "the next scan").unwrap();
    assert!(matches!(place.carry(true), Ended::Doubtful(_)));
    assert_eq!(read(&place.root("a.txt")), "the next scan");
}

#[test]
fn what_is_not_to_go_any_more_stays_where_it_is() {
    for kind in [HandoverKind::Archive, HandoverKind::Delete, HandoverKind::Quarantine] {
        for resumed in [false, true] {
            let mut place = Place::new(kind);
            place.called_off = Some("why");
            let suffix = if kind == HandoverKind::Archive { ".ok" } else { sidecar::SUFFIX };
            place.with = Some(suffix);
            let beside = place.root(&format!("a.txt{suffix}"));
            fs::write(&beside, "{}").unwrap();
            if resumed {
                // Ahead by an earlier try, and older than its file.
                set_time(&beside, 1);
                let ahead = if kind == HandoverKind::Delete { place.root("") } else { place.store("") };
                fs::create_dir_all(&ahead).unwrap();
                fs::rename(&beside, ahead.join(format!(".casedrop-7-7fffffffffffffff.with{suffix}"))).unwrap();
            }
            assert!(matches!(place.carry(resumed), Ended::CalledOff("why")), "{kind} {resumed}");
            assert_eq!(
                (read(&place.root("a.txt")), read(&beside)),
                ("content".into(), "{}".into()),
                "{kind} {resumed}"
            );
            assert_eq!(read(&place.store("a.txt")), "-", "{kind} {resumed}");
            // What is not the file any more is told as that.
            fs::write(place.root("a.txt"), "changed").unwrap();
            assert!(matches!(place.carry(false), Ended::Changed(_)), "{kind} {resumed}");
        }
    }
    // Set aside to be removed, and not removed: it goes back, also beside what came meanwhile.
    for (new, back) in [(None, "a.txt"), (Some("the next one"), "a~2.txt")] {
        let mut place = Place::new(HandoverKind::Delete);
        let aside = place.root(".casedrop-7-7fffffffffffffff.gone");
        fs::rename(place.root("a.txt"), &aside).unwrap();
        if let Some(new) = new {
            fs::write(place.root("a.txt"), new).unwrap();
        }
        place.called_off = Some("why");
        assert!(matches!(place.carry(true), Ended::Doubtful("why")), "{new:?}");
        assert_eq!((read(&place.root(back)), read(&aside)), ("content".into(), "-".into()), "{new:?}");
        assert!(new.is_none_or(|new| read(&place.root("a.txt")) == new));
    }
    // What has gone has gone.
    let mut place = Place::new(HandoverKind::Archive);
    place.carry(false);
    place.called_off = Some("why");
    assert!(matches!(place.carry(true), Ended::Done { .. }));
    assert_eq!(read(&place.store("a.txt")), "content");
}

#[test]
fn what_is_called_off_when_it_is_set_aside_already_goes_back() {
    let place = Place::new(HandoverKind::Delete);
    // Given before the file was touched last.
    fs::write(place.root("a.txt.ok"), "").unwrap();
    set_time(&place.root("a.txt.ok"), 1);
    let trigger = RelPath::new(&b"in/a.txt.ok"[..]).unwrap();
    let asked = std::cell::Cell::new(0);
    let called_off = || {
        asked.set(asked.get() + 1);
        Ok((asked.get() > 1).then_some("why"))
    };
    let root = open_root(&place.dir.path().join("root")).unwrap();
    let (handover, called_off) = (&place.handover, &called_off);
    let load = Load {
        root: &root,
        store: None,
        handover,
        resumed: false,
        called_off,
        with: Some((&trigger, ".ok")),
        paper: None,
        stop: &|| false,
    };
    assert!(matches!(carry(load), Ended::Changed("why")));
    assert_eq!(read(&place.root("a.txt.ok")), "");
    assert_eq!((read(&place.root("a.txt")), asked.get()), ("content".into(), 2));
}
