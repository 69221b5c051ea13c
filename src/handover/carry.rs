//! One hand-over, carried out: idempotent, so that after a kill at any point the same call ends it.
//!
//! What is checked, in this order: the open file is the one that was read (device, inode, size, time of change) and
//! has that content, read again just now; then it moves to a name of ours beside its target; then what has that name is
//! that same file, unchanged (L58). If not, it goes back, and is looked at as any other file. Only then it gets the
//! name of its target, so whatever else has that name is somebody else's. Across file systems the copy is whole, synced,
//! read back and in place before the original is taken aside, looked at once more, and removed. Folders are synced
//! before the end is recorded (L67).
//!
//! What cannot be looked at is no answer: the hand-over waits as one that may be at either end.

mod ahead;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{Access, AtFlags};
use rustix::io::Errno;

use super::disk::{
    copy, is_refusal, keeps_names, make_folder, own_name, put, put_back, remove, sync_folder, take, write_new,
};
use crate::core::handover;
use crate::core::model::{Handover, Stat};
use crate::crash::{self, Point};
use crate::journal::JournalError;
use crate::scan::{self, Look, ReadFault, Root};
use crate::types::{ContentHash, RelPath, UnixMillis};

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
    /// Why it is to stay, if it has not gone yet, by the journal as it is when this is asked.
    pub called_off: &'a dyn Fn() -> Result<Option<&'static str>, JournalError>,
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
    /// It is where it was, and is not to go any more.
    CalledOff(&'static str),
    /// What stands at the path, or stood there, is not what was to be handed over. It is among the mirror's files.
    Changed(&'static str),
    /// The same, after an earlier try that may have had the file away: what stands at the path may be another one.
    Doubtful(&'static str),
    /// It is gone, and not by us.
    Gone,
    /// The name at the target was taken meanwhile; the hand-over goes on to this one.
    Taken(RelPath),
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

const REPLACED: &str = "it was changed or replaced while it was handed over, and went back";

const AGAIN: &str = "reading the file again";

type Step<T> = Result<T, Ended>;

/// Errors before anything moved.
fn before<T>(what: &str, result: Result<T, Errno>) -> Step<T> {
    result.map_err(|e| Ended::Failed { fault: Fault::new(what, e), moved: false })
}

/// Errors after something may have moved.
fn after<T>(what: &str, result: Result<T, Errno>) -> Step<T> {
    result.map_err(|e| Ended::Failed { fault: Fault::new(what, e), moved: true })
}

/// Errors of a move itself.
fn moving<T>(what: &str, e: Errno) -> Step<T> {
    if is_refusal(e) { before(what, Err(e)) } else { after(what, Err(e)) }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Carries it out, or on.
pub(super) fn carry(load: Load<'_>) -> Ended {
    let known = if load.resumed { known_again(&load) } else { Ok(None) };
    let ended = known.and_then(|known| {
        let load = Load { handover: known.as_ref().unwrap_or(load.handover), ..load };
        match load.store {
            Some(store) => stored(&load, store),
            None => removed(&load),
        }
    });
    match ended.unwrap_or_else(|ended| ended) {
        Ended::Changed(why) if load.resumed => Ended::Doubtful(why),
        ended => ended,
    }
}

/// The hand-over with what `stat` shows of its file by now, if that is another device number, after a boot or another
/// mount, or another time, after a touch: what has the inode, the size and the content is the file, unless it was made
/// later. The original first, for a copy of it on another disk may look the same.
fn known_again(load: &Load<'_>) -> Step<Option<Handover>> {
    let h = load.handover;
    let mut found = None;
    if let Some(folder) = source_folder(load, true)? {
        found = stat_in(load, &folder, [h.path.file_name(), &own_name(h, "gone")])?;
    }
    if let (None, Some(store), Some((_, target))) = (found, load.store, &h.to) {
        match store.open_folder(target.parent().as_ref()) {
            Ok(to) => found = stat_in(load, &to, [&own_name(h, "move"), target.file_name()])?,
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(e) => return after("the folder it goes to", Err(e)),
        }
    }
    let other = found.filter(|stat| !stat.same_content_as(&h.stat));
    Ok(other.map(|stat| Handover { stat, ..h.clone() }))
}

/// What `stat` shows of the file, if one of the names in the folder is its.
fn stat_in(load: &Load<'_>, folder: &OwnedFd, names: [&[u8]; 2]) -> Step<Option<Stat>> {
    let h = load.handover;
    for name in names {
        let Look::File(now) = seen(folder, name)? else { continue };
        if (now.inode, now.size) != (h.stat.inode, h.stat.size) {
            continue;
        }
        if name == h.path.file_name() && is_later(load, folder) {
            continue;
        }
        // What was never read (too large) is known by its identity alone.
        let known = now.same_content_as(&h.stat) || (h.hash.is_none() && now.same_but_for_device(&h.stat));
        if known || (h.hash.is_some() && read_again(load, AGAIN, scan::open_in(folder, name))? == h.hash) {
            return Ok(Some(now));
        }
    }
    Ok(None)
}

/// The folder of the file; `None` when it is gone. `moved`: what an error says of the file.
fn source_folder(load: &Load<'_>, moved: bool) -> Step<Option<OwnedFd>> {
    match load.root.open_folder(load.handover.path.parent().as_ref()) {
        Ok(folder) => Ok(Some(folder)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(e) => Err(Ended::Failed { fault: Fault::new("the file's folder", e), moved }),
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

/// The last look at the journal before anything moves, or is gone for good.
fn called_off(load: &Load<'_>) -> Step<Option<&'static str>> {
    (load.called_off)().map_err(|error| unknown("the journal", error.to_string()))
}

fn still_wanted(load: &Load<'_>) -> Step<()> {
    called_off(load)?.map_or(Ok(()), |why| Err(Ended::CalledOff(why)))
}

fn stopped(moved: bool) -> Ended {
    Ended::Failed { fault: Fault { text: "casedrop is stopping".to_owned(), wide: true }, moved }
}

/// Archive and quarantine.
fn stored(load: &Load<'_>, store: &Root) -> Step<Ended> {
    let h = load.handover;
    let Some((_, target)) = &h.to else { return Ok(Ended::Changed("it has no target")) };
    let folder = source_folder(load, load.resumed)?;
    let made = make_folder(store, target.parent().as_ref(), load.root);
    let to = made.map_err(|e| Ended::Failed { fault: Fault::new("the folder it goes to", e), moved: load.resumed })?;
    let ended = store_it(load, folder, (&to, target)).unwrap_or_else(|ended| ended);
    ahead::settle(load, &to, ended)
}

/// From the look at what an earlier try did to the end.
fn store_it(load: &Load<'_>, folder: Option<OwnedFd>, (to, target): (&OwnedFd, &RelPath)) -> Step<Ended> {
    if load.resumed {
        if let Some(folder) = &folder {
            after("an old draft", remove(folder, &own_name(load.handover, "back")))?;
        }
        if let Some(ended) = resume_stored(load, folder.as_ref(), to)? {
            return Ok(ended);
        }
    }
    let Some(folder) = folder else { return Ok(Ended::Gone) };
    let file = checked(load, &folder)?;
    still_wanted(load)?;
    if seen(to, target.file_name())? != Look::Absent {
        return taken(load, to);
    }
    let with = ahead::take_with(load, &folder, to)?;
    crash::at(Point::HandoverChecked);
    match place(load, &file, &folder, to) {
        Ok(None) => finish(load, Some(&folder), to, with),
        Ok(Some(ended)) | Err(ended) => Err(ended),
    }
}

/// The next name that is free with all that may lie beside it.
fn taken(load: &Load<'_>, to: &OwnedFd) -> Step<Ended> {
    let h = load.handover;
    let paper = load.paper.as_ref().map(|(suffix, _)| *suffix);
    let beside: Vec<&str> = load.with.map(|(_, suffix)| suffix).into_iter().chain(paper).collect();
    let free = |stored: &RelPath, suffix: &str| Ok(seen(to, &handover::beside(stored, suffix))? == Look::Absent);
    match handover::free_path(&h.path, 2, &beside, free)? {
        Some(target) => Ok(Ended::Taken(target)),
        None => Err(unknown("naming the file", "there is no free name".to_owned())),
    }
}

/// Moves the file to its target; `None` when it is there.
fn place(load: &Load<'_>, file: &File, folder: &OwnedFd, to: &OwnedFd) -> Step<Option<Ended>> {
    let h = load.handover;
    let (name, draft) = (h.path.file_name(), own_name(h, "move"));
    let moved = if keeps_names(to, file) { Err(Errno::XDEV) } else { take(folder, name, to, &draft) };
    match moved {
        Ok(()) => {}
        // A file system that lost its answer says so when it is asked again.
        Err(Errno::NOENT) if seen(to, &draft)? == Look::Absent => return Ok(Some(Ended::Gone)),
        Err(Errno::NOENT) => {}
        // Another file system, or one without links where renames cannot be told not to replace.
        Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::MLINK) => {
            // What could not be removed afterwards is not copied first.
            let may = rustix::fs::accessat(folder, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::empty());
            let may = may.and(if keeps_names(folder, file) { Err(Errno::PERM) } else { Ok(()) });
            before("the file's folder", may)?;
            return copied(load, file, folder, to);
        }
        Err(e) => return moving("moving the file", e),
    }
    crash::at(Point::HandoverRenamed);
    if !is_unchanged(load, file, &seen(to, &draft)?)? {
        after("putting a changed file back", put_back(to, &draft, folder, name))?;
        return Ok(Some(Ended::Changed(REPLACED)));
    }
    name_moved(load, to)
}

/// What has been moved gets the name of its target.
fn name_moved(load: &Load<'_>, to: &OwnedFd) -> Step<Option<Ended>> {
    let h = load.handover;
    let Some((_, target)) = &h.to else { return Ok(Some(Ended::Changed("it has no target"))) };
    match put(to, &own_name(h, "move"), to, target.file_name()) {
        Ok(()) => Ok(None),
        Err(Errno::EXIST) => taken(load, to).map(Some),
        Err(e) => after("naming the file", Err(e)),
    }
}

/// Whether the open file is still what it was before it moved, to the byte where its clock could hide a change, and
/// this is what was seen of it.
fn is_unchanged(load: &Load<'_>, file: &File, look: &Look) -> Step<bool> {
    let h = load.handover;
    let now = scan::stat_of(file).map_err(|e| errno(&e));
    if !is_it(load, look) || !after("looking at the file", now)?.same_content_as(&h.stat) {
        return Ok(false);
    }
    let written = UnixMillis(h.stat.mtime_ns / 1_000_000);
    let now = UnixMillis::now();
    let Some(hash) = h.hash.filter(|_| now.since(written).max(written.since(now)) <= TICK) else { return Ok(true) };
    match scan::read_hash(file, Some(&h.stat), &|| false) {
        Ok(read) => Ok(read.hash == hash),
        Err(ReadFault::Changed | ReadFault::Stopped) => Ok(false),
        Err(ReadFault::Io(e)) => after("reading the file again", Err(errno(&e))),
    }
}

/// Across file systems: `None` when the copy is in place and the original is gone.
fn copied(load: &Load<'_>, file: &File, folder: &OwnedFd, to: &OwnedFd) -> Step<Option<Ended>> {
    let h = load.handover;
    let Some((_, target)) = &h.to else { return Ok(Some(Ended::Changed("it has no target"))) };
    let (draft, as_name) = (own_name(h, "copy"), target.file_name());
    after("an old draft", remove(to, &draft))?;
    let hash = match copy(file, to, &draft, load.stop) {
        Ok(hash) => hash,
        Err(error) => {
            after("an old draft", remove(to, &draft))?;
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
        after("an old draft", remove(to, &draft))?;
        return Ok(Some(Ended::Changed("it was changed while it was copied")));
    }
    let Look::File(copy) = seen(to, &draft)? else { return after("the copy", Err(Errno::NOENT)) };
    match put(to, &draft, to, as_name) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            after("an old draft", remove(to, &draft))?;
            return taken(load, to).map(Some);
        }
        Err(e) if is_refusal(e) => {
            after("an old draft", remove(to, &draft))?;
            return before("the copy", Err(e));
        }
        Err(e) => return after("the copy", Err(e)),
    }
    after("the folder it goes to", sync_folder(to))?;
    crash::at(Point::HandoverPlaced);
    if take_away(load, folder)? {
        return Ok(None);
    }
    // The original changed after it was copied: the copy is not what agents will see, so it goes.
    if matches!(seen(to, as_name)?, Look::File(stat) if stat.same_content_as(&copy)) {
        after("the copy", remove(to, as_name))?;
    }
    after("the folder it goes to", sync_folder(to))?;
    Ok(Some(Ended::Changed("it was changed or replaced while it was handed over")))
}

/// Removes the original if it is still what was handed over. A name cannot be removed on the condition that it is
/// the right one: so it is first taken aside, which cannot hit another file unseen, and then looked at.
fn take_away(load: &Load<'_>, folder: &OwnedFd) -> Step<bool> {
    let h = load.handover;
    let (name, aside) = (h.path.file_name(), own_name(h, "gone"));
    let left = seen(folder, &aside)?;
    if left != Look::Absent && !is_it(load, &left) {
        after("putting a changed file back", put_back(folder, &aside, folder, name))?;
        return Ok(false);
    }
    if left == Look::Absent {
        match take(folder, name, folder, &aside) {
            Ok(()) => {}
            // Somebody else removed it, unless an answer was lost and it is aside.
            Err(Errno::NOENT) if seen(folder, &aside)? == Look::Absent => return Ok(true),
            Err(Errno::NOENT) => {}
            Err(e) => return after("removing the original", Err(e)),
        }
    }
    crash::at(Point::HandoverAside);
    if is_it(load, &seen(folder, &aside)?) {
        if h.to.is_none() {
            if let Some(why) = called_off(load)? {
                after("putting the file back", put_back(folder, &aside, folder, name))?;
                return Err(Ended::Changed(why));
            }
            // First, so that as long as it is ahead the file was not removed by us.
            ahead::follow(load, folder)?;
        }
        after("removing the original", remove(folder, &aside))?;
        crash::at(Point::HandoverRemoved);
        after("the file's folder", sync_folder(folder))?;
        return Ok(true);
    }
    after("putting a changed file back", put_back(folder, &aside, folder, name))?;
    Ok(false)
}

/// Copies that an earlier try did not put in their place.
fn clear_drafts(load: &Load<'_>, to: &OwnedFd) -> Step<()> {
    for what in ["copy", "trigger"] {
        after("an old draft", remove(to, &own_name(load.handover, what)))?;
    }
    Ok(())
}

/// Whether what was seen is the very file that is handed over, unchanged.
fn is_it(load: &Load<'_>, look: &Look) -> bool {
    matches!(look, Look::File(stat) if stat.same_content_as(&load.handover.stat))
}

/// Whether what stands at the path was made after the file was read: the same document again, say, in the inode that the
/// first one left.
fn is_later(load: &Load<'_>, folder: &OwnedFd) -> bool {
    let h = load.handover;
    scan::was_made_after(folder, h.path.file_name(), h.stat.ctime_ns)
}

/// What stands there; that it cannot be told says nothing about it.
fn seen(folder: &OwnedFd, name: &[u8]) -> Step<Look> {
    match scan::look_in(folder, name) {
        Look::Unknown(text) => Err(unknown("looking at the file", text)),
        known => Ok(known),
    }
}

fn unknown(what: &str, text: String) -> Ended {
    Ended::Failed { fault: Fault { text: format!("{what}: {text}"), wide: false }, moved: true }
}

/// What the file holds; `None` if it is gone by now. That it cannot be read says nothing about it.
fn read_again(load: &Load<'_>, what: &str, file: std::io::Result<File>) -> Step<Option<ContentHash>> {
    let file = match file {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return after(what, Err(errno(&e))),
    };
    match scan::read_hash(&file, None, load.stop) {
        Ok(read) => Ok(Some(read.hash)),
        Err(ReadFault::Changed) => Err(unknown(what, "it is being written".to_owned())),
        Err(ReadFault::Stopped) => Err(stopped(true)),
        Err(ReadFault::Io(e)) => after(what, Err(errno(&e))),
    }
}

/// Finds out how far an earlier try came. `None`: nothing of the file has moved, it begins anew.
fn resume_stored(load: &Load<'_>, folder: Option<&OwnedFd>, to: &OwnedFd) -> Step<Option<Ended>> {
    let h = load.handover;
    let Some((_, target)) = &h.to else { return Ok(None) };
    let (name, as_name) = (h.path.file_name(), target.file_name());
    let aside = own_name(h, "gone");
    let look = |name: &[u8]| folder.map_or(Ok(Look::Absent), |folder| seen(folder, name));
    if let Some(ended) = resume_moved(load, folder, to)? {
        return Ok(Some(ended));
    }
    let later = folder.is_some_and(|folder| is_later(load, folder));
    let here = !later && is_it(load, &look(name)?);
    let is_aside = look(&aside)? != Look::Absent;
    let there = match seen(to, as_name)? {
        // What was never read (too large) is known by its identity, or by the original beside its copy.
        found if h.hash.is_none() && is_it(load, &found) => true,
        Look::File(stat) if stat.size == h.stat.size => {
            let at_target = read_again(load, AGAIN, scan::open_in(to, as_name))?;
            match (h.hash, folder) {
                (Some(hash), _) => at_target == Some(hash),
                (None, Some(folder)) if here || is_aside => {
                    let original = read_again(load, AGAIN, scan::open_in(folder, if here { name } else { &aside }))?;
                    original.is_none() || original == at_target
                }
                (None, _) => at_target.is_some() && stat.mtime_ns == h.stat.mtime_ns,
            }
        }
        _ => false,
    };
    if there {
        if let Some(folder) = folder
            && (here || is_aside)
        {
            // A second name of the same file, or the original of a copy; what is neither stays.
            take_away(load, folder)?;
        }
        clear_drafts(load, to)?;
        return finish(load, folder, to, Vec::new()).map(Some);
    }
    // Nothing of the file is at its target: what else stands there is somebody else's.
    if let Some(folder) = folder.filter(|_| is_aside) {
        after("putting the original back", put_back(folder, &aside, folder, name))?;
    }
    clear_drafts(load, to)?;
    Ok((later && !is_aside).then_some(Ended::Changed("another file stands at the path")))
}

/// Names what an earlier try has moved and not named, or puts it back if it is not what was to be moved.
fn resume_moved(load: &Load<'_>, folder: Option<&OwnedFd>, to: &OwnedFd) -> Step<Option<Ended>> {
    let h = load.handover;
    let draft = own_name(h, "move");
    let right = match seen(to, &draft)? {
        Look::Absent => return Ok(None),
        found if is_it(load, &found) => {
            h.hash.is_none() || read_again(load, AGAIN, scan::open_in(to, &draft))? == h.hash
        }
        _ => false,
    };
    if right {
        return name_moved(load, to);
    }
    let made = match folder {
        Some(_) => None,
        None => Some(after("the file's folder", make_folder(load.root, h.path.parent().as_ref(), load.root))?),
    };
    if let Some(folder) = folder.or(made.as_ref()) {
        after("putting a changed file back", put_back(to, &draft, folder, h.path.file_name()))?;
    }
    Ok(Some(Ended::Changed(REPLACED)))
}

/// Makes it durable and writes what is to lie beside it.
fn finish(load: &Load<'_>, folder: Option<&OwnedFd>, to: &OwnedFd, with: Vec<RelPath>) -> Step<Ended> {
    let Some((_, target)) = &load.handover.to else { return Ok(Ended::Changed("it has no target")) };
    let as_name = target.file_name();
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
        let written = write_new(to, &own_name(load.handover, "paper"), &name, content);
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

/// A delete.
fn removed(load: &Load<'_>) -> Step<Ended> {
    let Some(folder) = source_folder(load, load.resumed)? else {
        return Ok(if load.resumed { unseen() } else { Ended::Gone });
    };
    let ended = remove_it(load, &folder).unwrap_or_else(|ended| ended);
    ahead::settle(load, &folder, ended)
}

fn remove_it(load: &Load<'_>, folder: &OwnedFd) -> Step<Ended> {
    let h = load.handover;
    let name = h.path.file_name();
    let aside = own_name(h, "gone");
    if load.resumed {
        match seen(folder, &aside)? {
            Look::Absent => match seen(folder, name)? {
                Look::File(now) if (now.dev, now.inode) == (h.stat.dev, h.stat.inode) && !is_later(load, folder) => {}
                _ => return Ok(unseen()),
            },
            _ => {
                let gone = take_away(load, folder)?;
                let changed = Ended::Changed("it was changed while it was handed over, and went back");
                return Ok(if gone { Ended::Done { with: Vec::new(), doubt: None } } else { changed });
            }
        }
    }
    checked(load, folder)?;
    still_wanted(load)?;
    let with = ahead::take_with(load, folder, folder)?;
    crash::at(Point::HandoverChecked);
    if take_away(load, folder)? {
        return Ok(Ended::Done { with, doubt: None });
    }
    Ok(Ended::Changed(REPLACED))
}

/// Removed by us, or by somebody else in the same moment: either way it is delivered, and what stands at the path now may
/// not replace it.
fn unseen() -> Ended {
    Ended::Done { with: Vec::new(), doubt: Some("the last stop came while it was removed; it was gone afterwards") }
}
