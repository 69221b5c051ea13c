//! One hand-over, carried out: idempotent, so that after a kill at any point the same call ends it.
//!
//! What is checked, in this order: the open file is the one that was read (device, inode, size, time of change) and
//! has that content, read again just now; then it moves; then what stands at the target is that same file, unchanged
//! (L58). If not, it goes back, and is looked at as any other file. A rename within a file system is one step; across
//! file systems the copy is whole, synced, read back and in place before the original is taken aside, looked at once
//! more, and removed. Folders are synced before the end is recorded (L67).

#[cfg(test)]
mod tests;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{Access, AtFlags};
use rustix::io::Errno;

use super::disk::{copy, is_there, make_folder, own_name, put, put_back, remove, sync_folder, write_new};
use crate::core::model::{Handover, Stat};
use crate::crash::{self, Point};
use crate::scan::{self, Look, ReadFault, Root};
use crate::types::{RelPath, UnixMillis};

/// A file written this shortly before could have been written again within one tick of its file system's clock: its
/// content is read once more after the move.
const TICK: Duration = Duration::from_secs(2);

/// A hand-over to carry out.
pub(super) struct Load<'a> {
    pub root: &'a Root,
    /// Archive or quarantine; `None` for a delete.
    pub store: Option<&'a Root>,
    pub handover: &'a Handover,
    /// It was announced by an earlier run or try, which may have come to any point.
    pub resumed: bool,
    /// What goes with the file, if it is there: a path beside it, and what its name has behind the file's.
    pub with: Option<(&'a RelPath, &'a str)>,
    /// What is to lie beside the file: the end of its name and its content.
    pub paper: Option<(&'static str, Vec<u8>)>,
    pub stop: &'a dyn Fn() -> bool,
}

/// How it ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// It is where it was to go, durably.
    Done { with: Vec<RelPath>, doubt: Option<&'static str> },
    /// What stands at the path, or stood there, is not what was to be handed over. It is among the mirror's files.
    Changed(&'static str),
    /// It is gone, and not by us.
    Gone,
    /// The name at the target was taken meanwhile. Nothing moved.
    Taken,
    /// `moved`: it may be at either end.
    Failed { fault: Fault, moved: bool },
}

/// What went wrong.
#[derive(Debug)]
pub(super) struct Fault {
    pub text: String,
    /// It would happen to every file of the mirror.
    pub wide: bool,
}

impl Fault {
    fn new(what: &str, errno: Errno) -> Self {
        let text = match errno {
            Errno::NOSPC => "no space is left there: free some".to_owned(),
            Errno::DQUOT => "the disk quota there is used up".to_owned(),
            Errno::ROFS => "the file system there is mounted read-only".to_owned(),
            Errno::ACCESS | Errno::PERM => {
                "permission denied: give casedrop's user the right to write the folder (and, with a sticky bit, to own \
                 it)"
                .to_owned()
            }
            other => scan::words(other),
        };
        Self { text: format!("{what}: {text}"), wide: matches!(errno, Errno::NOSPC | Errno::DQUOT | Errno::ROFS) }
    }
}

type Step<T> = Result<T, Ended>;

/// Errors before anything moved.
fn before<T>(what: &str, result: Result<T, Errno>) -> Step<T> {
    result.map_err(|e| Ended::Failed { fault: Fault::new(what, e), moved: false })
}

/// Errors after something may have moved.
fn after<T>(what: &str, result: Result<T, Errno>) -> Step<T> {
    result.map_err(|e| Ended::Failed { fault: Fault::new(what, e), moved: true })
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Carries it out, or on.
pub(super) fn carry(load: &Load<'_>) -> Ended {
    let ended = match load.store {
        Some(store) => stored(load, store),
        None => removed(load),
    };
    match ended {
        Ok(ended) | Err(ended) => ended,
    }
}

/// The folder of the file; `None` when it is gone.
fn source_folder(load: &Load<'_>) -> Step<Option<OwnedFd>> {
    match load.root.open_folder(load.handover.path.parent().as_ref()) {
        Ok(folder) => Ok(Some(folder)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(Ended::Failed { fault: Fault::new("the file's folder", e), moved: load.resumed }),
    }
}

/// Opens the file and makes sure that it is what was delivered or refused, to the byte.
fn checked(load: &Load<'_>, folder: &OwnedFd) -> Step<File> {
    let h = load.handover;
    let name = h.path.file_name();
    match scan::look_in(folder, name) {
        Look::Absent => return Err(Ended::Gone),
        Look::Folder | Look::Other(_) => return Err(Ended::Changed("something else stands at the path")),
        Look::File(_) | Look::BehindLink | Look::Unknown(_) => {}
    }
    let file = match scan::open_in(folder, name) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(Ended::Gone),
        Err(e) => return before("the file", Err(errno(&e))),
    };
    let changed = Ended::Changed("it is not the file that was read any more");
    match h.hash {
        Some(hash) => match scan::read_hash(&file, Some(&h.stat), load.stop) {
            Ok(read) if read.hash == hash => Ok(file),
            Ok(_) | Err(ReadFault::Changed) => Err(changed),
            Err(ReadFault::Stopped) => Err(stopped(load.resumed)),
            Err(ReadFault::Io(e)) => before("the file", Err(errno(&e))),
        },
        // Too large to have been read: its identity has to do, for nothing of it was delivered.
        None => match scan::stat_of(&file) {
            Ok(now) if now.same_content_as(&h.stat) => Ok(file),
            Ok(_) => Err(changed),
            Err(e) => before("the file", Err(errno(&e))),
        },
    }
}

fn stopped(moved: bool) -> Ended {
    Ended::Failed { fault: Fault { text: "casedrop is stopping".to_owned(), wide: true }, moved }
}

/// Archive and quarantine.
fn stored(load: &Load<'_>, store: &Root) -> Step<Ended> {
    let h = load.handover;
    let Some((_, target)) = &h.to else { return Ok(Ended::Changed("it has no target")) };
    let (name, as_name) = (h.path.file_name(), target.file_name());
    let folder = source_folder(load)?;
    let made = make_folder(store, target.parent().as_ref(), load.root);
    let to = made.map_err(|e| Ended::Failed { fault: Fault::new("the folder it goes to", e), moved: load.resumed })?;
    if load.resumed
        && let Some(ended) = resume_stored(load, folder.as_ref(), &to)?
    {
        return Ok(ended);
    }
    let Some(folder) = folder else { return Ok(Ended::Gone) };
    let file = checked(load, &folder)?;
    let with = take_with(load, &folder, Some((&to, as_name)))?;
    crash::at(Point::HandoverChecked);
    match put(&folder, name, &to, as_name) {
        Ok(()) => {
            crash::at(Point::HandoverRenamed);
            if !is_unchanged(load, &file, is_there(&to, as_name, &h.stat)) {
                after("putting a changed file back", put_back(&to, as_name, &folder, name))?;
                return Ok(Ended::Changed("it was changed or replaced while it was handed over, and went back"));
            }
        }
        Err(Errno::EXIST) => return Ok(Ended::Taken),
        Err(Errno::NOENT) => return Ok(Ended::Gone),
        // Another file system, or one without links where renames cannot be told not to replace.
        Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::MLINK) => {
            // What could not be removed afterwards is not copied first.
            let may = rustix::fs::accessat(&folder, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::empty());
            before("the file's folder", may)?;
            if let Some(ended) = copied(load, &file, &folder, &to)? {
                return Ok(ended);
            }
        }
        Err(e) => return before("moving the file", Err(e)),
    }
    finish(load, Some(&folder), &to, as_name, with)
}

/// Whether the open file is still what it was before it moved, to the byte where its clock could hide a change.
fn is_unchanged(load: &Load<'_>, file: &File, at_target: bool) -> bool {
    let h = load.handover;
    let same = |stat: &Stat| stat.same_content_as(&h.stat);
    if !at_target || !scan::stat_of(file).is_ok_and(|now| same(&now)) {
        return false;
    }
    let written = UnixMillis(h.stat.mtime_ns / 1_000_000);
    let now = UnixMillis::now();
    if now.since(written).max(written.since(now)) > TICK {
        return true;
    }
    h.hash.is_none_or(|hash| scan::read_hash(file, Some(&h.stat), &|| false).is_ok_and(|read| read.hash == hash))
}

/// Across file systems: `None` when the copy is in place and the original is gone.
fn copied(load: &Load<'_>, file: &File, folder: &OwnedFd, to: &OwnedFd) -> Step<Option<Ended>> {
    let h = load.handover;
    let Some((_, target)) = &h.to else { return Ok(Some(Ended::Taken)) };
    let (draft, as_name) = (own_name(h.id, "copy"), target.file_name());
    before("an old draft", remove(to, &draft))?;
    let hash = match copy(file, to, &draft, load.stop) {
        Ok(hash) => hash,
        Err(error) => {
            let _ = remove(to, &draft);
            if error.kind() == std::io::ErrorKind::Interrupted {
                return Err(stopped(false));
            }
            let Some(errno) = Errno::from_io_error(&error) else {
                let fault = Fault { text: format!("copying the file: {error}"), wide: false };
                return Err(Ended::Failed { fault, moved: false });
            };
            return before("copying the file", Err(errno));
        }
    };
    crash::at(Point::HandoverCopied);
    let whole = h.hash.is_none_or(|wanted| wanted == hash);
    if !whole || !scan::stat_of(file).is_ok_and(|now| now.same_content_as(&h.stat)) {
        before("a draft", remove(to, &draft))?;
        return Ok(Some(Ended::Changed("it was changed while it was copied")));
    }
    match put(to, &draft, to, as_name) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            before("a draft", remove(to, &draft))?;
            return Ok(Some(Ended::Taken));
        }
        Err(e) => return before("the copy", Err(e)),
    }
    after("the folder it goes to", sync_folder(to))?;
    crash::at(Point::HandoverPlaced);
    if take_away(load, folder)? {
        return Ok(None);
    }
    // The original changed after it was copied: the copy is not what agents will see, so it goes.
    after("the copy", remove(to, as_name))?;
    after("the folder it goes to", sync_folder(to))?;
    Ok(Some(Ended::Changed("it was changed or replaced while it was handed over")))
}

/// Removes the original if it is still what was handed over. A name cannot be removed on the condition that it is
/// the right one: so it is first taken aside, which cannot hit another file unseen, and then looked at.
fn take_away(load: &Load<'_>, folder: &OwnedFd) -> Step<bool> {
    let h = load.handover;
    let (name, aside) = (h.path.file_name(), own_name(h.id, "gone"));
    let left = scan::look_in(folder, &aside);
    if left != Look::Absent && !is_there(folder, &aside, &h.stat) {
        after("putting a changed file back", put_back(folder, &aside, folder, name))?;
        return Ok(false);
    }
    if left == Look::Absent {
        match put(folder, name, folder, &aside) {
            Ok(()) => {}
            // Somebody else removed it.
            Err(Errno::NOENT) => return Ok(true),
            Err(e) => return after("removing the original", Err(e)),
        }
    }
    crash::at(Point::HandoverAside);
    if is_there(folder, &aside, &h.stat) {
        after("removing the original", remove(folder, &aside))?;
        crash::at(Point::HandoverRemoved);
        after("the file's folder", sync_folder(folder))?;
        return Ok(true);
    }
    after("putting a changed file back", put_back(folder, &aside, folder, name))?;
    Ok(false)
}

/// Finds out how far an earlier try came. `None`: nothing of the file has moved, it begins anew.
fn resume_stored(load: &Load<'_>, folder: Option<&OwnedFd>, to: &OwnedFd) -> Step<Option<Ended>> {
    let h = load.handover;
    let Some((_, target)) = &h.to else { return Ok(None) };
    let (name, as_name) = (h.path.file_name(), target.file_name());
    let aside = own_name(h.id, "gone");
    let here = folder.is_some_and(|folder| is_there(folder, name, &h.stat));
    let there = match scan::look_in(to, as_name) {
        Look::Absent => {
            // Nobody else can have taken the copy's place: what is aside is the original, so it goes back.
            if let Some(folder) = folder.filter(|folder| scan::look_in(folder, &aside) != Look::Absent) {
                after("putting the original back", put_back(folder, &aside, folder, name))?;
            }
            return Ok(None);
        }
        Look::File(stat) => {
            let read = |file: std::io::Result<File>| {
                file.ok().and_then(|file| scan::read_hash(&file, None, load.stop).ok()).map(|read| read.hash)
            };
            // What was never read (too large) is known by its identity, or by the original beside its copy.
            let original = || read(scan::open_in(folder?, if here { name } else { aside.as_slice() }));
            let same = stat.same_content_as(&h.stat);
            match h.hash {
                Some(hash) => stat.size == h.stat.size && read(scan::open_in(to, as_name)) == Some(hash),
                None if same => true,
                None if stat.size == h.stat.size => {
                    let copy = read(scan::open_in(to, as_name));
                    copy.is_some() && original().is_none_or(|original| Some(original) == copy)
                }
                None => false,
            }
        }
        Look::Folder | Look::Other(_) | Look::BehindLink => false,
        Look::Unknown(text) => {
            return Err(Ended::Failed {
                fault: Fault { text: format!("the target: {text}"), wide: false },
                moved: true,
            });
        }
    };
    if there {
        if let Some(folder) = folder
            && (here || scan::look_in(folder, &aside) != Look::Absent)
        {
            // A second name of the same file, or the original of a copy; what is neither stays.
            take_away(load, folder)?;
        }
        return finish(load, folder, to, as_name, Vec::new()).map(Some);
    }
    if here {
        return Ok(Some(Ended::Taken));
    }
    // What stands at the announced target is not what was delivered, and the original is not at its place: it was
    // written to or replaced in the very moment of the move. It goes back, and is looked at as a new file.
    let Some(folder) = folder else {
        let text = "a changed file stands at its target, and its folder is gone: bring the folder back".to_owned();
        return Err(Ended::Failed { fault: Fault { text, wide: false }, moved: true });
    };
    after("putting a changed file back", put_back(to, as_name, folder, name))?;
    Ok(Some(Ended::Changed("it was changed or replaced while it was handed over, and went back")))
}

/// Makes it durable and writes what is to lie beside it.
fn finish(load: &Load<'_>, folder: Option<&OwnedFd>, to: &OwnedFd, as_name: &[u8], with: Vec<RelPath>) -> Step<Ended> {
    match scan::open_in(to, as_name) {
        Ok(file) => match file.sync_all() {
            Ok(()) => {}
            Err(e) => return after("the file at its target", Err(errno(&e))),
        },
        Err(e) => return after("the file at its target", Err(errno(&e))),
    }
    after("the folder it goes to", sync_folder(to))?;
    if let Some(folder) = folder {
        after("the file's folder", sync_folder(folder))?;
    }
    crash::at(Point::HandoverSynced);
    if let Some((suffix, content)) = &load.paper {
        let name = [as_name, suffix.as_bytes()].concat();
        let written = write_new(to, &own_name(load.handover.id, "paper"), &name, content);
        match written {
            Ok(()) => {}
            // From before a kill: its name was free when the hand-over was announced.
            Err(e) if load.resumed && e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return after("the note beside the file", Err(errno(&e))),
        }
        crash::at(Point::HandoverWritten);
    }
    Ok(Ended::Done { with, doubt: None })
}

/// What goes with the file goes first: a trigger that is left behind could be taken for that of the next file of the
/// name, half written.
fn take_with(load: &Load<'_>, folder: &OwnedFd, to: Option<(&OwnedFd, &[u8])>) -> Step<Vec<RelPath>> {
    let Some((path, suffix)) = load.with else { return Ok(Vec::new()) };
    let name = path.file_name();
    let Look::File(stat) = scan::look_in(folder, name) else { return Ok(Vec::new()) };
    let Some((to, as_name)) = to else {
        before("its trigger", remove(folder, name))?;
        crash::at(Point::HandoverTrigger);
        return Ok(vec![path.clone()]);
    };
    let beside = [as_name, suffix.as_bytes()].concat();
    match put(folder, name, to, &beside) {
        Ok(()) => {}
        // One of the same name is there from an earlier try: the trigger says nothing more than that one.
        Err(Errno::EXIST) => return Ok(Vec::new()),
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::MLINK) => {
            let draft = own_name(load.handover.id, "trigger");
            before("an old draft", remove(to, &draft))?;
            let copied = scan::open_in(folder, name).and_then(|file| copy(&file, to, &draft, load.stop));
            if let Err(error) = copied {
                let _ = remove(to, &draft);
                return before("its trigger", Err(errno(&error)));
            }
            match put(to, &draft, to, &beside) {
                Ok(()) => {}
                Err(Errno::EXIST) => before("a draft", remove(to, &draft))?,
                Err(e) => return before("its trigger", Err(e)),
            }
            if is_there(folder, name, &stat) {
                before("its trigger", remove(folder, name))?;
            }
        }
        Err(e) => return before("its trigger", Err(e)),
    }
    crash::at(Point::HandoverTrigger);
    Ok(vec![path.clone()])
}

/// A delete.
fn removed(load: &Load<'_>) -> Step<Ended> {
    let h = load.handover;
    let name = h.path.file_name();
    let Some(folder) = source_folder(load)? else {
        return Ok(if load.resumed { unseen() } else { Ended::Gone });
    };
    let aside = own_name(h.id, "gone");
    if load.resumed {
        match scan::look_in(&folder, &aside) {
            Look::Absent => match scan::look_in(&folder, name) {
                Look::File(now) if (now.dev, now.inode) == (h.stat.dev, h.stat.inode) => {}
                // Removed by us, or by somebody else in the same moment: either way it is delivered, and what stands
                // at the path now may not replace it.
                _ => return Ok(unseen()),
            },
            _ => {
                let gone = take_away(load, &folder)?;
                let changed = Ended::Changed("it was changed while it was handed over, and went back");
                return Ok(if gone { Ended::Done { with: Vec::new(), doubt: None } } else { changed });
            }
        }
    }
    checked(load, &folder)?;
    let with = take_with(load, &folder, None)?;
    crash::at(Point::HandoverChecked);
    if take_away(load, &folder)? {
        return Ok(Ended::Done { with, doubt: None });
    }
    Ok(Ended::Changed("it was changed or replaced while it was handed over, and went back"))
}

fn unseen() -> Ended {
    Ended::Done { with: Vec::new(), doubt: Some("the last stop came while it was removed; it was gone afterwards") }
}
