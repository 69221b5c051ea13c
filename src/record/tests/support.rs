//! A mirror on a real journal whose disk and Connect are words of a test.

use std::time::Duration;

use super::super::*;
use crate::aws::{Failure, Next, Op};
use crate::core::model::{Event, Extras, Stat, Version};
use crate::core::plan::{Content, Rules, Seen, Step, Target};
use crate::core::routing::Unrouted;
use crate::journal::{Journal, Tx};
use crate::types::{CaseArn, ClientToken, ContentHash, FileId};

pub const GRACE_MS: i64 = 60_000;

pub fn rel(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}

pub fn at(ms: i64) -> UnixMillis {
    UnixMillis(ms)
}

pub fn case() -> CaseArn {
    CaseArn::new("arn:aws:cases:eu-west-2:123456789012:domain/d-1/case/c-1").unwrap()
}

/// The file name is the attachment's name, so a move between folders keeps its target.
pub fn route(path: &RelPath) -> Result<std::result::Result<Target, Unrouted>> {
    Ok(Ok(Target { case: case(), name: String::from_utf8(path.file_name().to_vec()).unwrap() }))
}

pub fn rules(propagate_deletes: bool) -> Rules {
    Rules { propagate_deletes, ingest: false, moves: false, delete_grace: Duration::from_millis(60_000) }
}

pub fn hash(content: u8) -> ContentHash {
    ContentHash([content; 32])
}

/// Content `n` is `n` bytes long; `touch` is its time of change.
pub fn stat(content: u8, touch: i64) -> Stat {
    Stat { dev: 1, inode: 2, size: u64::from(content), mtime_ns: touch, ctime_ns: 0 }
}

pub fn failure(next: Next, certain: bool) -> Failure {
    Failure {
        op: Op::Start,
        next,
        certain,
        code: "Code".into(),
        message: "said so".into(),
        http: None,
        request_id: Some("r-failed".into()),
        hint: None,
    }
}

/// One mirror inside one request of the writer.
pub struct World<'t, 'c> {
    pub tx: &'t Tx<'c>,
    pub mirror: MirrorId,
    pub now: std::cell::Cell<i64>,
    tokens: std::cell::Cell<u32>,
}

/// Runs a test in one request on a journal in a folder of its own.
pub fn on_journal(test: impl FnOnce(&World<'_, '_>) -> Result<()> + Send + 'static) {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(&dir.path().join("journal.db")).unwrap();
    journal.write_blocking(move |tx| test(&World::new(tx, "inbox")?)).unwrap();
    journal.close();
}

impl<'t, 'c> World<'t, 'c> {
    pub fn new(tx: &'t Tx<'c>, name: &str) -> Result<Self> {
        let mirror = tx.ensure_mirror(name, name.as_bytes())?.id;
        Ok(Self { tx, mirror, now: 1_000_000.into(), tokens: 0.into() })
    }

    pub fn now(&self) -> UnixMillis {
        at(self.now.get())
    }

    pub fn pass(&self, ms: i64) {
        self.now.set(self.now.get() + ms);
    }

    pub fn look(&self, path: &str, seen: &Seen, propagate: bool) -> Result<Step> {
        super::super::look(self.tx, self.mirror, &rel(path), seen, &route, rules(propagate), self.now())
    }

    /// Seen, quiet, read.
    pub fn show(&self, path: &str, content: u8, touch: i64) -> Result<Step> {
        let stat = stat(content, touch);
        match self.look(path, &Seen::Present(stat, Content::Unread), true)? {
            Step::Settle { .. } => self.look(path, &Seen::Present(stat, Content::Read(hash(content))), true),
            step => Ok(step),
        }
    }

    pub fn absent(&self, path: &str) -> Result<Step> {
        self.look(path, &Seen::Absent, true)
    }

    /// A begin with a token of its own.
    pub fn begin(&self, path: &str, stat: &Stat) -> Result<Begun> {
        self.tokens.set(self.tokens.get() + 1);
        let token = ClientToken::from_journal(format!("{}-{path}-{}", self.mirror.0, self.tokens.get()));
        let target = route(&rel(path))?.unwrap();
        let extras = Extras::default();
        begin(self.tx, self.mirror, &rel(path), stat, (&target, &extras), token, self.now())
    }

    /// A begin that must lead to an attempt.
    pub fn attempt(&self, path: &str) -> Result<Attachment> {
        let stat = self.row(path)?.unwrap().stat;
        match self.begin(path, &stat)? {
            Begun::Attempt(attachment) => Ok(*attachment),
            other => panic!("{path}: {other:?}"),
        }
    }

    pub fn file_id(&self, id: AttachmentId) -> FileId {
        FileId::new(format!("file-{}", id.0)).unwrap()
    }

    pub fn started(&self, id: AttachmentId) -> Result<Course> {
        started(self.tx, id, self.file_id(id), Some("r-start".into()), self.now())
    }

    /// From a durable token to the stage `to`.
    pub fn go(&self, id: AttachmentId, to: Stage) -> Result<()> {
        if to == Stage::Planned {
            return Ok(());
        }
        assert_eq!(self.started(id)?, Course::On);
        if to == Stage::Started {
            return Ok(());
        }
        assert_eq!(stored(self.tx, id, None, self.now())?, Course::On);
        if to == Stage::Stored {
            return Ok(());
        }
        assert!(completed(self.tx, id, Some("r-complete".into()), self.now())?.is_some());
        match to {
            Stage::Completed => Ok(()),
            Stage::Approved => approved(self.tx, id, self.now()),
            Stage::Rejected => rejected(self.tx, id, self.now()),
            Stage::Failed => failed(self.tx, id, self.now()),
            other => panic!("no way to {other}"),
        }
    }

    /// Shown, begun and brought to `to`.
    pub fn bring(&self, path: &str, content: u8, to: Stage) -> Result<AttachmentId> {
        assert!(matches!(self.show(path, content, self.now.get())?, Step::Queue { .. }));
        let id = self.attempt(path)?.id;
        self.go(id, to)?;
        Ok(id)
    }

    pub fn row(&self, path: &str) -> Result<Option<FileRow>> {
        self.tx.file(self.mirror, &rel(path))
    }

    pub fn verdict(&self, path: &str) -> Result<String> {
        Ok(self.row(path)?.map_or_else(|| "no row".into(), |row| row.verdict.to_string()))
    }

    pub fn attachment(&self, id: AttachmentId) -> Result<Attachment> {
        self.tx.expect_attachment(id)
    }

    pub fn stage(&self, id: AttachmentId) -> Result<Stage> {
        Ok(self.attachment(id)?.stage)
    }

    pub fn attachments(&self, path: &str) -> Result<Vec<Attachment>> {
        self.tx.attachments_of(self.mirror, &rel(path))
    }

    pub fn deleted(&self, id: AttachmentId) -> Result<()> {
        deleted(self.tx, id, false, None, self.now())
    }

    pub fn version(&self, content: u8) -> Version {
        Version { size: u64::from(content), hash: hash(content) }
    }

    pub fn events(&self, path: &str) -> Result<Vec<Event>> {
        self.tx.history_of(self.mirror, &rel(path))
    }

    pub fn kinds(&self, path: &str) -> Result<Vec<&'static str>> {
        Ok(self.events(path)?.iter().map(|e| e.kind.as_str()).collect())
    }
}
