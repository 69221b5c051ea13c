//! Questions about files.

use super::super::error::JournalError;
use super::super::rows;
use super::{Counts, View, limited};
use crate::core::model::{FileRow, MirrorId, Verdict, Version};
use crate::types::{RelPath, UnixMillis};

/// Known files by which a folder is told from another; see [`View::sample`].
#[derive(Debug, Clone, Default)]
pub struct Sample {
    pub spread: Vec<FileRow>,
    pub newest: Vec<FileRow>,
}

impl View {
    pub fn file(&self, mirror: MirrorId, path: &RelPath) -> Result<Option<FileRow>, JournalError> {
        self.one(
            &format!("SELECT {} FROM file WHERE mirror = ?1 AND path = ?2", rows::FILE),
            (mirror, path),
            rows::file,
        )
    }

    /// The files after `after` (or from the first), in byte order of their paths.
    pub fn files_from(
        &self,
        mirror: MirrorId,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<FileRow>, JournalError> {
        self.many(
            &format!("SELECT {} FROM file WHERE mirror = ?1 AND path > ?2 ORDER BY path LIMIT ?3", rows::FILE),
            (mirror, after.map_or(&b""[..], RelPath::as_bytes), limited(limit)),
            rows::file,
        )
    }

    /// The files with one verdict (a word of `Verdict::WORDS`) after `after`, in byte order. Reads past the others.
    pub fn files_with(
        &self,
        mirror: MirrorId,
        verdict: &str,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<FileRow>, JournalError> {
        self.many(
            &format!(
                "SELECT {} FROM file WHERE mirror = ?1 AND path > ?2 AND verdict = ?3 ORDER BY path LIMIT ?4",
                rows::FILE
            ),
            (mirror, after.map_or(&b""[..], RelPath::as_bytes), verdict, limited(limit)),
            rows::file,
        )
    }

    /// Files per verdict, of one mirror or of all.
    pub fn counts(&self, mirror: Option<MirrorId>) -> Result<Counts, JournalError> {
        let mut counts: Counts = Verdict::WORDS.map(|word| (word, 0));
        let mut add = |row: &rusqlite::Row<'_>| {
            let word: String = row.get(0)?;
            let files = rows::count(row, 1)?;
            counts.iter_mut().filter(|(w, _)| *w == word).for_each(|(_, n)| *n += files);
            Ok(())
        };
        match mirror {
            Some(mirror) => self.many("SELECT verdict, files FROM tally WHERE mirror = ?1", [mirror], &mut add)?,
            None => self.many("SELECT verdict, files FROM tally", [], &mut add)?,
        };
        Ok(counts)
    }

    /// Files with an approved attachment: the size of the mirror that the delete budget goes by. Those that were
    /// adopted and never seen here do not count: their absence says nothing.
    pub fn tracked_count(&self, mirror: MirrorId) -> Result<u64, JournalError> {
        let all = self.total(
            "SELECT count(DISTINCT path) FROM attachment WHERE mirror = ?1 AND stage = 'approved' AND closed_at IS NULL",
            [mirror],
            |row| rows::count(row, 0),
        )?;
        Ok(all.saturating_sub(self.unseen_count(mirror)?))
    }

    /// Queued files whose next try is due, those that `skip` names left out: for each mirror those without a wait
    /// first, by age, then by the end of their wait; the mirrors take turns, so that a long queue in one does not
    /// delay another (invariant 15).
    pub fn queued(
        &self,
        now: UnixMillis,
        limit: usize,
        skip: &dyn Fn(MirrorId, &RelPath) -> bool,
    ) -> Result<Vec<FileRow>, JournalError> {
        let mirrors: Vec<MirrorId> = self.many("SELECT id FROM mirror ORDER BY id", [], |row| row.get(0))?;
        let mut queues = Vec::with_capacity(mirrors.len());
        for mirror in mirrors {
            queues.push(self.queued_in(mirror, now, limit, &|path| skip(mirror, path))?.into_iter());
        }
        let mut due = Vec::new();
        while due.len() < limit && !queues.is_empty() {
            queues.retain_mut(|queue| queue.next().map(|row| due.push(row)).is_some());
        }
        due.truncate(limit);
        Ok(due)
    }

    /// The queue of one mirror, as in [`View::queued`].
    pub(super) fn queued_in(
        &self,
        mirror: MirrorId,
        now: UnixMillis,
        limit: usize,
        skip: &dyn Fn(&RelPath) -> bool,
    ) -> Result<Vec<FileRow>, JournalError> {
        self.told((|| {
            let mut statement = self.prepare(&format!(
                "SELECT {} FROM file WHERE mirror = ?1 AND verdict = 'queued' ORDER BY next_attempt, since",
                rows::FILE
            ))?;
            let mut found = statement.query([mirror])?;
            let mut due = Vec::new();
            while due.len() < limit
                && let Some(row) = found.next()?
            {
                let next_attempt: Option<UnixMillis> = row.get(15)?;
                if next_attempt.is_some_and(|at| at > now) {
                    break;
                }
                if !skip(&row.get(1)?) {
                    due.push(rows::file(row)?);
                }
            }
            Ok(due)
        })())
    }

    /// The earliest end of a queued file's wait, past or future. Files that wait for nothing but a slot do not count.
    pub fn next_queued_due(&self) -> Result<Option<UnixMillis>, JournalError> {
        self.total(
            "SELECT min(due) FROM (SELECT (SELECT min(next_attempt) FROM file WHERE mirror = mirror.id
                 AND verdict = 'queued' AND next_attempt IS NOT NULL) AS due FROM mirror)",
            [],
            |row| row.get(0),
        )
    }

    /// Absent files with exactly this content: where a new file may have been moved from.
    ///
    /// The index is named because SQLite would else read the whole mirror in the order of its paths, for each file.
    pub fn absent_with_hash(
        &self,
        mirror: MirrorId,
        version: &Version,
        limit: usize,
    ) -> Result<Vec<FileRow>, JournalError> {
        self.many(
            &format!(
                "SELECT {} FROM file INDEXED BY file_absent_hash
                 WHERE mirror = ?1 AND hash = ?2 AND absent_since IS NOT NULL AND size = ?3 ORDER BY path LIMIT ?4",
                rows::FILE
            ),
            (mirror, version.hash, version.size.cast_signed(), limited(limit)),
            rows::file,
        )
    }

    /// Since when the longest absent file of the mirror is absent whose delete is not announced yet and that nothing keeps,
    /// of those that went at `from` or later.
    pub fn next_absent_since(&self, mirror: MirrorId, from: UnixMillis) -> Result<Option<UnixMillis>, JournalError> {
        self.total(
            "SELECT min(absent_since) FROM file WHERE mirror = ?1 AND absent_since >= ?2 AND verdict = 'deleting'
                 AND EXISTS (SELECT 1 FROM attachment WHERE attachment.mirror = file.mirror
                     AND attachment.path = file.path AND (stage = 'approved' OR stage = 'completed')
                     AND closed_at IS NULL)",
            (mirror, from),
            |row| row.get(0),
        )
    }

    /// Files whose delete waits for the end of its grace, for a hold, or for Connect's answer: gone here, and neither
    /// kept by policy nor by hand.
    pub fn waiting_deletes(&self, mirror: MirrorId) -> Result<u64, JournalError> {
        self.total(
            "SELECT count(*) FROM file WHERE mirror = ?1 AND absent_since IS NOT NULL AND verdict = 'deleting'",
            [mirror],
            |row| rows::count(row, 0),
        )
    }

    /// Files that agents can see and whose present content, as far as it is known, is another: those that are not
    /// read yet, and those whose new content is known and on its way.
    pub fn changed_present(&self, mirror: MirrorId) -> Result<(u64, u64), JournalError> {
        self.total(
            "SELECT coalesce(sum(verdict = 'settling'), 0), coalesce(sum(verdict <> 'settling'), 0) FROM file
             WHERE mirror = ?1 AND waiting_since IS NOT NULL AND absent_since IS NULL
                 AND EXISTS (SELECT 1 FROM attachment WHERE attachment.mirror = file.mirror
                     AND attachment.path = file.path AND stage = 'approved' AND closed_at IS NULL
                     AND (verdict = 'settling' OR attachment.hash <> file.hash))",
            [mirror],
            |row| Ok((rows::count(row, 0)?, rows::count(row, 1)?)),
        )
    }

    /// Known files to tell a folder by: `most` in the order of their content hashes, which is as good as by lot, and
    /// as many of the newest. Those that are gone come only when there are no others, and those that were seen and not
    /// read yet only when there are none of these.
    pub fn sample(&self, mirror: MirrorId, most: usize) -> Result<Sample, JournalError> {
        let pick = |which: &str, order: &str| {
            self.many(
                &format!(
                    "SELECT {} FROM file WHERE mirror = ?1 AND {which} ORDER BY {order}, path LIMIT ?2",
                    rows::FILE
                ),
                (mirror, limited(most)),
                rows::file,
            )
        };
        const PRESENT: &str = "hash IS NOT NULL AND absent_since IS NULL";
        let spread = pick(PRESENT, "hash")?;
        if !spread.is_empty() {
            return Ok(Sample { spread, newest: pick(PRESENT, "seen_at DESC")? });
        }
        let gone = pick("hash IS NOT NULL AND absent_since IS NOT NULL", "hash")?;
        let spread = if gone.is_empty() {
            pick("hash IS NULL AND absent_since IS NULL AND inode <> 0", "seen_at")?
        } else {
            gone
        };
        Ok(Sample { spread, newest: Vec::new() })
    }

    /// Folders inside the root that the last full pass could not list: path, reason, since when.
    pub fn unlisted(&self, mirror: MirrorId) -> Result<Vec<(RelPath, String, UnixMillis)>, JournalError> {
        self.many("SELECT path, detail, since FROM unlisted WHERE mirror = ?1 ORDER BY path", [mirror], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
    }

    /// The file that waits longest for agents to see its content, and since when: from the moment it first was
    /// settling, queued, uploading or scanning, over all tries, until it is attached or waits for a person.
    pub fn oldest_not_visible(&self, mirror: MirrorId) -> Result<Option<(FileRow, UnixMillis)>, JournalError> {
        self.one(
            &format!(
                "SELECT {}, waiting_since FROM file WHERE mirror = ?1 AND waiting_since IS NOT NULL
                 ORDER BY waiting_since LIMIT 1",
                rows::FILE
            ),
            [mirror],
            |row| Ok((rows::file(row)?, row.get(rows::FILE_END)?)),
        )
    }
}
