//! What is gone of a mirror and what is here, counted.

use std::time::Duration;

use super::super::error::JournalError;
use super::super::rows;
use super::View;
use super::scan::AFTER_SLASH;
use crate::core::absence::{Absences, Beginning, Files};
use crate::core::model::{HoldCode, MirrorId};
use crate::types::{RelPath, UnixMillis};

/// What the delete budget is for.
const HOUR: Duration = Duration::from_secs(3600);

/// Before all times.
const EVER: UnixMillis = UnixMillis(i64::MIN);
/// After all times.
const FOREVER: UnixMillis = UnixMillis(i64::MAX);

/// Files that agents see; of those that are being scanned, see [`SCANNED`].
const VISIBLE: &str = "EXISTS (SELECT 1 FROM attachment WHERE attachment.mirror = file.mirror
     AND attachment.path = file.path AND stage = 'approved' AND closed_at IS NULL)";

/// Files that are being scanned and of which nothing is visible yet.
const SCANNED: &str = "EXISTS (SELECT 1 FROM attachment WHERE attachment.mirror = file.mirror
         AND attachment.path = file.path AND stage = 'completed' AND closed_at IS NULL)
     AND NOT EXISTS (SELECT 1 FROM attachment WHERE attachment.mirror = file.mirror
         AND attachment.path = file.path AND stage = 'approved' AND closed_at IS NULL)";

/// Files that were known before a time and are here. What is out of scope does not count: nobody looks whether it is
/// there; nor what was adopted without a file.
const OLDER: &str = "SELECT count(*) FROM file WHERE mirror = ?1 AND absent_since IS NULL AND seen_at < ?2
     AND verdict <> 'ignored' AND verdict <> 'unrouted' AND NOT (verdict = 'parked' AND detail = 'unseen')";

/// Files that are gone since a time or later, their deletes waiting.
const GONE: &str = "FROM file WHERE mirror = ?1 AND absent_since >= ?2 AND verdict = 'deleting'";

/// How the absences of a mirror are looked at.
#[derive(Debug)]
pub struct AbsenceLook<'a> {
    pub grace: Duration,
    /// Paths of which, or below which, nothing is known now.
    pub gaps: &'a [RelPath],
    /// Files whose graces are about to begin.
    pub beginning: &'a [Beginning],
    pub now: UnixMillis,
}

impl View {
    /// What the deletes of a mirror are weighed by. To be asked at one moment.
    pub fn absences(&self, mirror: MirrorId, look: &AbsenceLook<'_>) -> Result<Absences, JournalError> {
        let (visible, first_visible) = self.gone_of(mirror, VISIBLE, EVER)?;
        let (scanned, first_scanned) = self.gone_of(mirror, SCANNED, EVER)?;
        let gone = Files { visible, scanned };
        let begins = |is_visible| look.beginning.iter().any(|file| file.is_visible == is_visible).then_some(look.now);
        let first_of = |went: Option<_>, is_visible| went.into_iter().chain(begins(is_visible)).min();
        let first = first_of(first_visible, true).or_else(|| first_of(first_scanned, false));
        let row = self.mirror(mirror)?;
        let mut weighed = Absences {
            gone,
            first,
            tracked: self.tracked_count(mirror)?,
            recent: self.deletes_since(mirror, look.now.minus(HOUR))?,
            released: row.as_ref().map_or(0, |row| u64::from(row.released)),
            ..Absences::default()
        };
        let mut may_be_renamed = row.is_some_and(|row| row.holds.iter().any(|hold| hold.code == HoldCode::RootEmptied));
        let since = first.map_or(EVER, |first| first.minus(look.grace));
        if let Some(first) = first {
            weighed.kept = self.kept_since(mirror, since)?;
            (weighed.scanned, _) = self.gone_of(mirror, SCANNED, since)?;
            let together = gone.visible + weighed.kept + weighed.scanned + look.beginning.len() as u64;
            if together >= 2 || !look.gaps.is_empty() {
                weighed.older = self.older(mirror, first)?;
                weighed.hidden = self.older_within(mirror, first, look.gaps)?;
                may_be_renamed |= weighed.older.visible == 0;
            }
        }
        // What could not be looked at now may be gone under its new name, too.
        if may_be_renamed && gone.all() > 0 && self.here_within(mirror, FOREVER, look.gaps, "TRUE")? == 0 {
            weighed.renamed = self.renamed(mirror, since)?;
        }
        look.beginning.iter().for_each(|file| weighed.begin(*file));
        Ok(weighed)
    }

    /// Files that are gone and whose deletes are not announced yet.
    pub fn gone(&self, mirror: MirrorId) -> Result<Files, JournalError> {
        let (scanned, _) = self.gone_of(mirror, SCANNED, EVER)?;
        Ok(Files { visible: self.unannounced_deletes(mirror)?, scanned })
    }

    /// Of the files whose delete waits, those that agents can still see and whose delete is not announced yet.
    pub fn unannounced_deletes(&self, mirror: MirrorId) -> Result<u64, JournalError> {
        Ok(self.gone_of(mirror, VISIBLE, EVER)?.0)
    }

    /// Files of a kind that are gone since `from` or later, their deletes waiting, and since when the first of them is.
    fn gone_of(
        &self,
        mirror: MirrorId,
        which: &str,
        from: UnixMillis,
    ) -> Result<(u64, Option<UnixMillis>), JournalError> {
        let sql = format!("SELECT count(*), min(absent_since) {GONE} AND {which}");
        self.total(&sql, (mirror, from), |row| Ok((rows::count(row, 0)?, row.get(1)?)))
    }

    /// Of what is gone since `from` or later, the very files that are here, read, at another path: another one with the
    /// same bytes is none of them, nor is any on a disk that a boot has given another number.
    fn renamed(&self, mirror: MirrorId, from: UnixMillis) -> Result<Files, JournalError> {
        let count = |which, stage| {
            // One list for all of them, or the mirror would be read for each.
            let sql = format!(
                "SELECT count(*) {GONE} AND {which} AND NOT EXISTS (SELECT 1 FROM attachment WHERE attachment.mirror = file.mirror
                     AND attachment.path = file.path AND stage = '{stage}' AND closed_at IS NULL
                     AND (file.dev, file.inode, attachment.size, attachment.hash) NOT IN (
                         SELECT dev, inode, size, hash FROM file WHERE mirror = ?1 AND absent_since IS NULL
                             AND hash IS NOT NULL AND verdict <> 'settling' AND verdict <> 'parked'
                             AND verdict <> 'ignored' AND verdict <> 'unrouted'))"
            );
            self.total(&sql, (mirror, from), |row| rows::count(row, 0))
        };
        Ok(Files { visible: count(VISIBLE, "approved")?, scanned: count(SCANNED, "completed")? })
    }

    /// Files that are gone since `from` or later and stay at Connect by hand.
    fn kept_since(&self, mirror: MirrorId, from: UnixMillis) -> Result<u64, JournalError> {
        self.total(
            "SELECT count(*) FROM file WHERE mirror = ?1 AND absent_since >= ?2 AND kept = 1",
            (mirror, from),
            |row| rows::count(row, 0),
        )
    }

    /// Of the files that agents can see and that were known before `before`, how many are here.
    pub fn older_present(&self, mirror: MirrorId, before: UnixMillis) -> Result<u64, JournalError> {
        self.total(&format!("{OLDER} AND {VISIBLE}"), (mirror, before), |row| rows::count(row, 0))
    }

    /// The same, with those that are being scanned.
    fn older(&self, mirror: MirrorId, before: UnixMillis) -> Result<Files, JournalError> {
        let scanned = self.total(&format!("{OLDER} AND {SCANNED}"), (mirror, before), |row| rows::count(row, 0))?;
        Ok(Files { visible: self.older_present(mirror, before)?, scanned })
    }

    /// Of these, how many are at the paths or below them.
    pub fn older_within(&self, mirror: MirrorId, before: UnixMillis, paths: &[RelPath]) -> Result<Files, JournalError> {
        let visible = self.here_within(mirror, before, paths, VISIBLE)?;
        Ok(Files { visible, scanned: self.here_within(mirror, before, paths, SCANNED)? })
    }

    /// Files known before `before` that are here, at the paths or below them, of a kind.
    fn here_within(
        &self,
        mirror: MirrorId,
        before: UnixMillis,
        paths: &[RelPath],
        which: &str,
    ) -> Result<u64, JournalError> {
        // One range, or all rows of the mirror would be read for each path.
        let sql = format!("{OLDER} AND {which} AND path >= ?3 AND path < ?5 AND (path = ?3 OR path > ?4)");
        let mut all = 0;
        for path in paths {
            let (from, to) = ([path.as_bytes(), b"/"].concat(), [path.as_bytes(), AFTER_SLASH].concat());
            all += self.total(&sql, (mirror, before, path, from, to), |row| rows::count(row, 0))?;
        }
        Ok(all)
    }
}
