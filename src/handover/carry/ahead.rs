//! What goes with a file, its trigger or sidecar: it goes ahead of it under a name of ours, and is settled at every end.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::{Ended, Load, Step, after, before, errno, moving, read_again, seen, source_folder, unknown};
use crate::core::model::Stat;
use crate::core::{handover, sidecar};
use crate::crash::{self, Point};
use crate::handover::disk::{
    copy, find_name, is_there, keeps_name_of, own_name, put, put_back, remove, sync_folder, take,
};
use crate::scan::{self, Look};
use crate::types::RelPath;

const WITH: &str = "what goes with the file";

/// Tries for which what may not be read, and looks like a copy, is not taken for another file.
const UNREAD_TRIES: u32 = 20;

/// What goes with the file goes first, to a name of ours in the folder `to`: a trigger that is left behind could be taken
/// for that of the next file of the name, half written.
pub(super) fn take_with(load: &Load<'_>, folder: &OwnedFd, to: &OwnedFd) -> Step<Vec<RelPath>> {
    let Some((path, suffix)) = load.with else { return Ok(Vec::new()) };
    let (name, own) = (path.file_name(), Ahead::of(load, suffix).own);
    let Look::File(stat) = seen(folder, name)? else { return Ok(Vec::new()) };
    if seen(to, &own)? != Look::Absent && !is_copied(load, (folder, name), (to, &own))? {
        // An earlier one is ahead, and this one was given since: both go.
        follow(load, to)?;
    }
    let moved =
        if before(WITH, keeps_name_of(to, folder, name))? { Err(Errno::XDEV) } else { take(folder, name, to, &own) };
    match moved {
        Ok(()) => {}
        Err(Errno::NOENT) if seen(to, &own)? == Look::Absent => return Ok(Vec::new()),
        Err(Errno::NOENT) => {}
        // The copy of an earlier try.
        Err(Errno::EXIST) => leave_copied(load, (folder, name, &stat), (to, &own))?,
        Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::MLINK) => {
            let draft = own_name(load.handover, "trigger");
            after("an old draft", remove(to, &draft))?;
            let copied = scan::open_in(folder, name).and_then(|file| copy(&file, to, &draft, load.stop));
            if let Err(error) = copied {
                after("an old draft", remove(to, &draft))?;
                return before(WITH, Err(errno(&error)));
            }
            let placed = put(to, &draft, to, &own);
            after("an old draft", remove(to, &draft))?;
            match placed {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return moving(WITH, e),
            }
            leave_copied(load, (folder, name, &stat), (to, &own))?;
        }
        Err(e) => return moving(WITH, e),
    }
    crash::at(Point::HandoverTrigger);
    Ok(vec![path.clone()])
}

/// Whether both hold the same; what is gone by now holds nothing else. What may not be read is no copy, but where it looks
/// like one that is said only after some tries: a file server may refuse once what it lets read later.
fn is_copied(load: &Load<'_>, (folder, name): (&OwnedFd, &[u8]), (to, own): (&OwnedFd, &[u8])) -> Step<bool> {
    let read = |folder: &OwnedFd, name: &[u8]| match scan::open_in(folder, name) {
        Err(e) if e.kind() == std::io::ErrorKind::InvalidInput => Ok(Err(())),
        Err(e) if matches!(errno(&e), Errno::ACCESS | Errno::PERM | Errno::LOOP) => Ok(Err(())),
        file => read_again(load, WITH, file).map(Ok),
    };
    Ok(match (read(folder, name)?, read(to, own)?) {
        (Ok(here), Ok(there)) => here.is_none() || here == there,
        _ => match (seen(folder, name)?, seen(to, own)?) {
            (Look::File(here), Look::File(there)) if (here.size, here.mtime_ns) == (there.size, there.mtime_ns) => {
                let is_one = (here.dev, here.inode) == (there.dev, there.inode) || here.size == 0;
                if !is_one && load.handover.tries < UNREAD_TRIES {
                    return Err(unknown(WITH, "it may not be read".to_owned()));
                }
                is_one
            }
            _ => false,
        },
    })
}

/// Removes what goes with the file where a copy of it is ahead. One that was given meanwhile waits for the next try.
fn leave_copied(
    load: &Load<'_>,
    (folder, name, stat): (&OwnedFd, &[u8], &Stat),
    (to, own): (&OwnedFd, &[u8]),
) -> Step<()> {
    if !is_copied(load, (folder, name), (to, own))? {
        return Err(unknown(WITH, "it is being written".to_owned()));
    }
    if is_there(folder, name, stat) { after(WITH, remove(folder, name)) } else { Ok(()) }
}

/// A file that went ahead of the one that it goes with: its name of ours and what it is to have behind that one's name.
struct Ahead {
    own: Vec<u8>,
    suffix: String,
}

impl Ahead {
    fn of(load: &Load<'_>, suffix: &str) -> Self {
        let own = [own_name(load.handover, "with"), suffix.as_bytes().to_vec()].concat();
        Self { own, suffix: suffix.to_owned() }
    }

    /// What is ahead in the folder, also where the configuration names another suffix, or none, by now.
    fn find(load: &Load<'_>, at: &OwnedFd) -> Step<Option<Self>> {
        if let Some((_, suffix)) = load.with {
            let ahead = Self::of(load, suffix);
            if let Look::File(_) = seen(at, &ahead.own)? {
                return Ok(Some(ahead));
            }
        }
        if !load.resumed {
            return Ok(None);
        }
        let found = after(WITH, find_name(at, &own_name(load.handover, "with")))?;
        let suffix = found.and_then(|suffix| String::from_utf8(suffix).ok());
        Ok(suffix.map(|suffix| Self::of(load, &suffix)))
    }
}

/// What went ahead of the file, in the folder `at`, follows it to its target, or is removed as it is. Where the file did
/// not go after all it goes back: a sidecar would be missing there. A trigger only to the very file, or if it was given after
/// the one that stands there now, for it would say of it that it is whole.
pub(super) fn settle(load: &Load<'_>, at: &OwnedFd, ended: Ended) -> Step<Ended> {
    let Some(ahead) = Ahead::find(load, at)? else { return Ok(ended) };
    let h = load.handover;
    let goes_back = match ended {
        // What stands here must not be taken for a file without it.
        Ended::Failed { fault, .. } => return Ok(Ended::Failed { fault, moved: true }),
        Ended::Taken(_) => return Ok(ended),
        Ended::Done { doubt: None, .. } => false,
        Ended::Done { .. } | Ended::CalledOff(_) | Ended::Changed(_) | Ended::Doubtful(_) | Ended::Gone => true,
    };
    if goes_back
        && let Some(folder) = source_folder(load, true)?
        && belongs_back(load, (at, &ahead), &folder, &ended)?
        && bring_back(load, (at, &ahead.own), (&folder, &handover::beside(&h.path, &ahead.suffix)))?
    {
        return Ok(ended);
    }
    go_on(load, at, &ahead)?;
    Ok(ended)
}

/// What went ahead in the folder `at` goes where its file goes.
pub(super) fn follow(load: &Load<'_>, at: &OwnedFd) -> Step<()> {
    Ahead::find(load, at)?.map_or(Ok(()), |ahead| go_on(load, at, &ahead))
}

fn go_on(load: &Load<'_>, at: &OwnedFd, ahead: &Ahead) -> Step<()> {
    match &load.handover.to {
        Some((_, target)) => after(WITH, put_back(at, &ahead.own, at, &handover::beside(target, &ahead.suffix))),
        None => after(WITH, remove(at, &ahead.own).and_then(|()| sync_folder(at))),
    }
}

/// Whether what is ahead belongs to what stands at the path now. Of a file that somebody took alone it is put back only
/// where it would be removed: it would steer the next file of the name.
fn belongs_back(load: &Load<'_>, (at, ahead): (&OwnedFd, &Ahead), folder: &OwnedFd, ended: &Ended) -> Step<bool> {
    let is_sidecar = ahead.suffix == sidecar::SUFFIX;
    match (seen(at, &ahead.own)?, seen(folder, load.handover.path.file_name())?) {
        (Look::File(paper), Look::File(file)) => {
            // It was given to this very file, or after the one that stands there.
            Ok(is_sidecar || file.same_content_as(&load.handover.stat) || paper.mtime_ns >= file.mtime_ns)
        }
        (Look::File(_), _) => Ok(is_sidecar && load.handover.to.is_none() && matches!(ended, Ended::Gone)),
        _ => Ok(false),
    }
}

/// Whether it is back; another one may be there already, or the very one of which it is a copy.
fn bring_back(load: &Load<'_>, (at, own): (&OwnedFd, &[u8]), (folder, name): (&OwnedFd, &[u8])) -> Step<bool> {
    if seen(folder, name)? != Look::Absent {
        let copied = is_copied(load, (folder, name), (at, own))?;
        return if copied { after(WITH, remove(at, own)).map(|()| true) } else { Ok(false) };
    }
    match put(at, own, folder, name) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(false),
        Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::MLINK) => {
            let draft = own_name(load.handover, "back");
            after("an old draft", remove(folder, &draft))?;
            let copied = scan::open_in(at, own).and_then(|file| copy(&file, folder, &draft, load.stop));
            let placed = copied.map_err(|e| errno(&e)).and_then(|_| put(folder, &draft, folder, name));
            after("an old draft", remove(folder, &draft))?;
            match placed {
                Ok(()) => after(WITH, sync_folder(folder).and_then(|()| remove(at, own)))?,
                Err(Errno::EXIST) => return Ok(false),
                Err(e) => return after(WITH, Err(e)),
            }
        }
        Err(e) => return after(WITH, Err(e)),
    }
    after(WITH, sync_folder(folder).and_then(|()| sync_folder(at)))?;
    Ok(true)
}
