//! What is gone of a mirror, weighed as a whole: whether it looks like a lost mount rather than like deletes, and whether
//! due deletes may go (invariants 2 and 3).
//!
//! What is being scanned counts with what agents see, on every side: they may see it before its delete is due.

#[cfg(test)]
mod tests;

use super::budget::DeleteBudget;
use crate::types::UnixMillis;

/// A count of files by what agents see of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Files {
    /// Agents see an attachment.
    pub visible: u64,
    /// They see none yet: it is being scanned.
    pub scanned: u64,
}

impl Files {
    pub fn all(self) -> u64 {
        self.visible + self.scanned
    }

    fn of(&mut self, is_visible: bool) -> &mut u64 {
        if is_visible { &mut self.visible } else { &mut self.scanned }
    }
}

/// What is gone of a mirror and what is here, counted at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Absences {
    /// Files that are gone and whose deletes are not announced yet.
    pub gone: Files,
    /// When the first of the visible ones went, or where there is none, the first of all; the next counts go by it.
    pub first: Option<UnixMillis>,
    /// Files that went within a grace before `first`, or later, and are kept by hand. Who keeps one of those that went
    /// together says nothing of the others, and without others it says nothing at all.
    pub kept: u64,
    /// Of `gone.scanned`, those that went in that time.
    pub scanned: u64,
    /// Files that were known before `first` and count as here. What came later says nothing: strangers can be put into an
    /// empty mount point, and casedrop attaches them. Counted only where the answer may depend on it.
    pub older: Files,
    /// Of these, those that the gaps of the listing hide.
    pub hidden: Files,
    /// Of those that went in that time, the very files that are here at another path. Counted, as these are, only where
    /// the answer may depend on it.
    pub renamed: Files,
    /// Files that a person, who counted them, let go.
    pub released: u64,
    /// Files with a visible attachment, the missing ones included.
    pub tracked: u64,
    /// Deletes of the last hour.
    pub recent: u64,
}

/// A file whose grace is only about to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beginning {
    pub is_visible: bool,
    /// Where it counts as here until then.
    pub seen_at: Option<UnixMillis>,
}

/// Whether the mirror's due deletes may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deletes {
    Go,
    /// None of them goes; the text says what was seen.
    Hold(String),
}

impl Absences {
    /// Weighs one as if its grace had begun.
    pub fn begin(&mut self, Beginning { is_visible, seen_at }: Beginning) {
        *self.gone.of(is_visible) += 1;
        self.scanned += u64::from(!is_visible);
        if seen_at.zip(self.first).is_some_and(|(seen_at, first)| seen_at < first) {
            let older = self.older.of(is_visible);
            *older = older.saturating_sub(1);
        }
    }

    /// What the hold `root-emptied` says, if it has to begin: the root looks emptied (see [`Absences::looks_emptied`]), and
    /// more is gone than a person let go.
    pub fn emptied(&self) -> Option<String> {
        if !self.looks_emptied() || self.gone.all() <= self.released {
            return None;
        }
        let gone = self.gone.visible + self.kept + self.scanned;
        let attached = if self.scanned == 0 { "attached " } else { "" };
        let parts = [(self.scanned, "still being scanned"), (self.kept, "kept by hand")];
        let parts = parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} of them {what}"));
        let parts = parts.collect::<Vec<_>>().join(", ");
        let parts = if parts.is_empty() { parts } else { format!(" ({parts})") };
        Some(format!("{gone} {attached}files are gone{parts}, and none that was there with them is left"))
    }

    /// Whether nothing is missing any more, so that no root can be emptied. What is here under another name is not
    /// missing; nothing else brings it back to its old one.
    pub fn all_back(&self) -> bool {
        self.gone.all() <= self.renamed.all()
    }

    /// At least two files are gone, and of those known before the first of them went none is here. One file alone may
    /// go: the delete budget allows one. What is being scanned is asked too, but does not speak against what visible
    /// files tell alone.
    fn looks_emptied(&self) -> bool {
        self.readings().into_iter().any(|(gone, older, _)| gone >= 2 && older == 0)
    }

    /// Whether a listing with gaps may hide that: of what was known before, all that counts as here could not be looked
    /// at. Deletes wait for a listing without gaps.
    pub fn may_be_emptied(&self) -> bool {
        self.readings().into_iter().any(|(gone, older, hidden)| gone >= 1 && hidden >= 1 && older <= hidden)
    }

    /// What went together, what is here of the time before, and how much of that is hidden: of the visible files, and
    /// of all. Alone, those that are kept tell nothing.
    fn readings(&self) -> [(u64, u64, u64); 2] {
        let together = |missing| if missing > 0 { missing + self.kept } else { 0 };
        let visible = self.gone.visible.saturating_sub(self.renamed.visible);
        let scanned = self.scanned.saturating_sub(self.renamed.scanned);
        [
            (together(visible), self.older.visible, self.hidden.visible),
            (together(visible + scanned), self.older.all(), self.hidden.all()),
        ]
    }

    /// Whether nothing is due, and nothing visible is to come, that a budget could have held; or none is set any more.
    pub fn fits_again(&self, budget: &DeleteBudget) -> bool {
        self.gone.visible == 0 || budget.allowed(self.tracked).is_none()
    }

    /// Weighs all due deletes at once: either they fit the budget of the sliding hour (or what a person released), or
    /// none goes. Of what was released, what is being scanned keeps its share.
    pub fn allow(&self, due: u64, budget: &DeleteBudget) -> Deletes {
        let Absences { tracked, recent, .. } = *self;
        let Some(allowed) = budget.allowed(tracked + recent) else { return Deletes::Go };
        let released = self.released.min(self.gone.all()).saturating_sub(self.gone.scanned);
        if due <= allowed.saturating_sub(recent) || due <= released {
            return Deletes::Go;
        }
        Deletes::Hold(format!(
            "{due} files are gone, {recent} were deleted at Connect in the last hour, and the budget for {tracked} \
             attached files is {allowed} an hour"
        ))
    }
}
