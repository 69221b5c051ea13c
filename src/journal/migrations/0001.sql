-- The journal, version 1. Columns are named after the fields of `core::model`; `case_arn` is the field `case`
-- (a word of SQL). Times are milliseconds since 1970 unless the name says `_ns`. Unsigned 64-bit values are
-- kept bit for bit in signed columns. Lists of words are chains of `=` where a row is written often: SQLite
-- builds a table for each IN list at each execution.

CREATE TABLE mirror (
    id             INTEGER PRIMARY KEY,
    name           TEXT    NOT NULL UNIQUE CHECK (name <> ''),
    root           BLOB    NOT NULL CHECK (length(root) > 0),
    fsid           INTEGER,
    dev            INTEGER,
    inode          INTEGER,
    hold           TEXT CHECK (hold IN ('root-missing', 'root-emptied', 'root-replaced', 'root-unreadable',
                                        'delete-budget', 'all-changed', 'journal-rebuilt', 'auth')),
    hold_detail    TEXT,
    hold_since     INTEGER,
    released       INTEGER NOT NULL DEFAULT 0 CHECK (released >= 0),
    scanned_at     INTEGER,
    watch          TEXT,
    CHECK ((fsid IS NULL) = (dev IS NULL) AND (dev IS NULL) = (inode IS NULL)),
    CHECK ((hold IS NULL) = (hold_detail IS NULL) AND (hold IS NULL) = (hold_since IS NULL))
) STRICT;

-- Clustered by path so that a scan in byte order is one sequential read; the columns a scan needs come first.
CREATE TABLE file (
    mirror         INTEGER NOT NULL REFERENCES mirror (id),
    path           BLOB    NOT NULL CHECK (length(path) > 0),
    dev            INTEGER NOT NULL,
    inode          INTEGER NOT NULL,
    size           INTEGER NOT NULL CHECK (size >= 0),
    mtime_ns       INTEGER NOT NULL,
    ctime_ns       INTEGER NOT NULL,
    verdict        TEXT    NOT NULL CHECK (
        verdict = 'settling' OR verdict = 'queued' OR verdict = 'uploading' OR verdict = 'scanning'
        OR verdict = 'attached' OR verdict = 'deleting' OR verdict = 'parked' OR verdict = 'ignored'
        OR verdict = 'unrouted'),
    -- Park code, rule or reason.
    detail         TEXT,
    absent_since   INTEGER,
    hash           BLOB CHECK (length(hash) = 32),
    note           TEXT,
    seen_at        INTEGER NOT NULL,
    since          INTEGER NOT NULL,
    attempt        INTEGER NOT NULL CHECK (attempt >= 0),
    next_attempt   INTEGER,
    -- Since when agents cannot see the local content although it is on its way; kept across verdicts and tries.
    waiting_since  INTEGER,
    PRIMARY KEY (mirror, path),
    CHECK ((verdict = 'parked' OR verdict = 'ignored' OR verdict = 'unrouted') = (detail IS NOT NULL)),
    CHECK (hash IS NOT NULL OR NOT (verdict = 'queued' OR verdict = 'uploading' OR verdict = 'scanning'
                                    OR verdict = 'attached')),
    CHECK ((verdict = 'settling' OR verdict = 'queued' OR verdict = 'uploading' OR verdict = 'scanning')
           = (waiting_since IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX file_queued ON file (mirror, next_attempt, since) WHERE verdict = 'queued';
CREATE INDEX file_absent ON file (mirror, absent_since) WHERE absent_since IS NOT NULL;
CREATE INDEX file_absent_hash ON file (mirror, hash) WHERE absent_since IS NOT NULL AND hash IS NOT NULL;
CREATE INDEX file_waiting ON file (mirror, waiting_since) WHERE waiting_since IS NOT NULL;

-- Files per verdict, kept by triggers: counting 100,000 rows for each look at the status page would not be idle.
CREATE TABLE tally (
    mirror         INTEGER NOT NULL,
    verdict        TEXT    NOT NULL,
    files          INTEGER NOT NULL CHECK (files >= 0),
    PRIMARY KEY (mirror, verdict)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER file_added AFTER INSERT ON file BEGIN
    INSERT INTO tally (mirror, verdict, files) VALUES (new.mirror, new.verdict, 1)
        ON CONFLICT DO UPDATE SET files = files + 1;
END;
CREATE TRIGGER file_removed AFTER DELETE ON file BEGIN
    UPDATE tally SET files = files - 1 WHERE mirror = old.mirror AND verdict = old.verdict;
END;
CREATE TRIGGER file_judged AFTER UPDATE OF mirror, verdict ON file
    WHEN old.verdict <> new.verdict OR old.mirror <> new.mirror BEGIN
    UPDATE tally SET files = files - 1 WHERE mirror = old.mirror AND verdict = old.verdict;
    INSERT INTO tally (mirror, verdict, files) VALUES (new.mirror, new.verdict, 1)
        ON CONFLICT DO UPDATE SET files = files + 1;
END;

-- Rows are never removed: they are the proof of what exists at Connect because of us.
CREATE TABLE attachment (
    id             INTEGER PRIMARY KEY,
    mirror         INTEGER NOT NULL REFERENCES mirror (id),
    path           BLOB    NOT NULL CHECK (length(path) > 0),
    case_arn       TEXT    NOT NULL CHECK (case_arn <> ''),
    name           TEXT    NOT NULL CHECK (name <> ''),
    size           INTEGER NOT NULL CHECK (size >= 0),
    hash           BLOB    NOT NULL CHECK (length(hash) = 32),
    attempt        INTEGER NOT NULL CHECK (attempt >= 1),
    token          TEXT    NOT NULL UNIQUE CHECK (token <> ''),
    file_id        TEXT CHECK (file_id <> ''),
    stage          TEXT    NOT NULL CHECK (
        stage = 'planned' OR stage = 'started' OR stage = 'stored' OR stage = 'completed' OR stage = 'approved'
        OR stage = 'rejected' OR stage = 'failed' OR stage = 'abandoned' OR stage = 'deleting'
        OR stage = 'deleted'),
    reason         TEXT,
    start_open     INTEGER NOT NULL DEFAULT 0 CHECK (start_open = 0 OR start_open = 1),
    unsure_since   INTEGER,
    tries          INTEGER NOT NULL DEFAULT 0 CHECK (tries >= 0),
    next_attempt   INTEGER,
    last_error     TEXT,
    last_request_id TEXT,
    created_at     INTEGER NOT NULL,
    started_at     INTEGER,
    stored_at      INTEGER,
    completed_at   INTEGER,
    ended_at       INTEGER,
    deleted_at     INTEGER,
    -- When we saw it become approved; NULL for what was adopted in that state. Counts the throughput.
    approved_at    INTEGER,
    -- When it was set to deleting. Counts against the delete budget.
    deleting_at    INTEGER,
    CHECK (file_id IS NOT NULL OR stage = 'planned' OR stage = 'abandoned' OR stage = 'deleted'),
    CHECK (file_id IS NULL OR stage <> 'planned'),
    CHECK (reason IS NOT NULL OR NOT (stage = 'abandoned' OR stage = 'rejected' OR stage = 'failed'
                                      OR stage = 'deleting')),
    CHECK ((stage = 'planned' OR stage = 'started' OR stage = 'stored' OR stage = 'completed')
           = (ended_at IS NULL)),
    CHECK ((stage = 'deleted') = (deleted_at IS NOT NULL)),
    CHECK (stage <> 'deleting' OR deleting_at IS NOT NULL)
) STRICT;

CREATE INDEX attachment_live ON attachment (stage, next_attempt) WHERE NOT (stage = 'approved' OR stage = 'deleted');
CREATE INDEX attachment_path ON attachment (mirror, path);
CREATE INDEX attachment_approved ON attachment (mirror, path) WHERE stage = 'approved';
CREATE UNIQUE INDEX attachment_file_id ON attachment (file_id) WHERE file_id IS NOT NULL;
CREATE INDEX attachment_unsure ON attachment (unsure_since) WHERE unsure_since IS NOT NULL;
CREATE INDEX attachment_throughput ON attachment (approved_at, size) WHERE approved_at IS NOT NULL;
CREATE INDEX attachment_budget ON attachment (mirror, deleting_at) WHERE reason = 'absent' AND deleting_at IS NOT NULL;

-- What a path's reference was found to mean.
CREATE TABLE case_ref (
    mirror         INTEGER NOT NULL REFERENCES mirror (id),
    reference      TEXT    NOT NULL CHECK (reference <> ''),
    case_arn       TEXT    NOT NULL CHECK (case_arn <> ''),
    found_at       INTEGER NOT NULL,
    PRIMARY KEY (mirror, reference)
) STRICT, WITHOUT ROWID;

-- The audit trail: only ever appended to.
CREATE TABLE event (
    id             INTEGER PRIMARY KEY,
    at             INTEGER NOT NULL,
    mirror         INTEGER NOT NULL REFERENCES mirror (id),
    path           BLOB CHECK (length(path) > 0),
    attachment     INTEGER REFERENCES attachment (id),
    kind           TEXT    NOT NULL CHECK (kind <> ''),
    -- JSON.
    detail         TEXT    NOT NULL CHECK (detail <> '')
) STRICT;

CREATE INDEX event_path ON event (mirror, path) WHERE path IS NOT NULL;
CREATE INDEX event_attachment ON event (attachment) WHERE attachment IS NOT NULL;
CREATE INDEX event_at ON event (at);
