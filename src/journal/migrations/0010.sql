-- Version 10: what is known before a call is spent.

-- The instance's settings for files on cases, as read last.
CREATE TABLE files_config (
    id             INTEGER PRIMARY KEY CHECK (id = 1),
    max_bytes      INTEGER NOT NULL,
    -- JSON; NULL = not told.
    extensions     TEXT,
    -- Why these are documented defaults.
    assumed        TEXT,
    read_at        INTEGER NOT NULL
) STRICT;

-- Cases that answered that they hold as many files as they may.
CREATE TABLE full_case (
    case_arn       TEXT    NOT NULL PRIMARY KEY CHECK (case_arn <> ''),
    since          INTEGER NOT NULL,
    probes         INTEGER NOT NULL CHECK (probes >= 0),
    next_probe     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
