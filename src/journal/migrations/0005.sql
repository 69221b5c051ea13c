-- Several holds at once, none masking another; what the root's identity and the clock are judged by; the host.

-- In place of the columns `hold`, `hold_detail` and `hold_since` of `mirror`, which stay empty from here on.
CREATE TABLE hold (
    mirror         INTEGER NOT NULL REFERENCES mirror (id),
    code           TEXT    NOT NULL CHECK (code <> ''),
    detail         TEXT    NOT NULL,
    since          INTEGER NOT NULL,
    PRIMARY KEY (mirror, code)
) STRICT, WITHOUT ROWID;

INSERT INTO hold (mirror, code, detail, since)
    SELECT id, hold, hold_detail, hold_since FROM mirror WHERE hold IS NOT NULL;
UPDATE mirror SET hold = NULL, hold_detail = NULL, hold_since = NULL WHERE hold IS NOT NULL;

-- When the root folder was made, in nanoseconds since 1970, where its file system tells: a folder made anew may get
-- the inode of the old one. NULL: not told, or not known yet.
ALTER TABLE mirror ADD COLUMN born_ns INTEGER;
-- 1: a person let the present change of nearly all files through (`all-changed`); 0 again once it is through.
ALTER TABLE mirror ADD COLUMN changes_released INTEGER NOT NULL DEFAULT 0
    CHECK (changes_released = 0 OR changes_released = 1);

-- Folders inside the root that the last full pass could not list: nothing below them is touched.
CREATE TABLE unlisted (
    mirror         INTEGER NOT NULL REFERENCES mirror (id),
    path           BLOB    NOT NULL CHECK (length(path) > 0),
    detail         TEXT    NOT NULL,
    since          INTEGER NOT NULL,
    PRIMARY KEY (mirror, path)
) STRICT, WITHOUT ROWID;

-- When the call of a delete that follows from an absence was first announced as going out: from then on it cannot be
-- called back.
ALTER TABLE attachment ADD COLUMN delete_sent_at INTEGER;

-- The last reading of all clocks together, one row: how far the wall clock was stepped since.
CREATE TABLE clock (
    id             INTEGER PRIMARY KEY CHECK (id = 1),
    boot           TEXT    NOT NULL CHECK (boot <> ''),
    -- Milliseconds since that boot, suspended time included, and milliseconds since 1970.
    up_ms          INTEGER NOT NULL,
    wall_ms        INTEGER NOT NULL
) STRICT;

-- The host that this journal belongs to, one row; NULL where a host has no machine id.
CREATE TABLE host (
    id             INTEGER PRIMARY KEY CHECK (id = 1),
    machine        TEXT CHECK (machine <> ''),
    name           TEXT    NOT NULL,
    since          INTEGER NOT NULL
) STRICT;
