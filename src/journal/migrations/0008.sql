-- Ingestion: what casedrop does to local files whose delivery is proven, or that are refused.

-- When the file's life at its path ended: handed over, quarantined, or taken away by somebody. Its attachment stays as
-- proof, and a later file of that path is another one. NULL: the attachment belongs to what stands at the path now.
ALTER TABLE attachment ADD COLUMN closed_at INTEGER;

DROP INDEX attachment_approved;
CREATE INDEX attachment_approved ON attachment (mirror, path) WHERE stage = 'approved' AND closed_at IS NULL;

-- One hand-over of one file: announced before anything moves, ended by what was found afterwards.
CREATE TABLE handover (
    id             INTEGER PRIMARY KEY,
    mirror         INTEGER NOT NULL REFERENCES mirror (id),
    path           BLOB    NOT NULL CHECK (length(path) > 0),
    what           TEXT    NOT NULL CHECK (what = 'archive' OR what = 'delete' OR what = 'quarantine'),
    -- `moving`: the file may be here or there; `waiting`: it is certainly here.
    state          TEXT    NOT NULL CHECK (
        state = 'moving' OR state = 'waiting' OR state = 'done' OR state = 'cancelled'),
    -- The attachment that proves the delivery of exactly these bytes.
    attachment     INTEGER REFERENCES attachment (id),
    -- The park code of what is quarantined.
    code           TEXT,
    dev            INTEGER NOT NULL,
    inode          INTEGER NOT NULL,
    size           INTEGER NOT NULL CHECK (size >= 0),
    mtime_ns       INTEGER NOT NULL,
    ctime_ns       INTEGER NOT NULL,
    hash           BLOB CHECK (length(hash) = 32),
    -- The folder it goes to, and the path below that.
    folder         BLOB CHECK (length(folder) > 0),
    target         BLOB CHECK (length(target) > 0),
    tries          INTEGER NOT NULL DEFAULT 0 CHECK (tries >= 0),
    next_attempt   INTEGER,
    last_error     TEXT,
    created_at     INTEGER NOT NULL,
    ended_at       INTEGER,
    CHECK (what = 'quarantine' OR (attachment IS NOT NULL AND hash IS NOT NULL)),
    CHECK ((what = 'quarantine') = (code IS NOT NULL)),
    CHECK ((what = 'delete') = (folder IS NULL) AND (folder IS NULL) = (target IS NULL)),
    CHECK ((state = 'done' OR state = 'cancelled') = (ended_at IS NOT NULL))
) STRICT;

CREATE UNIQUE INDEX handover_open ON handover (mirror, path) WHERE ended_at IS NULL;
CREATE INDEX handover_path ON handover (mirror, path);
-- `casedrop report`: what arrived on one day, without a look at everything else that happened on it.

CREATE INDEX event_arrived ON event (at) WHERE kind = 'seen';
