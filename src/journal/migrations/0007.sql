-- The comparison of journal, disk and Connect.

-- Where it stands, and how the last whole one ended.
CREATE TABLE verification (
    mirror         INTEGER PRIMARY KEY REFERENCES mirror (id),
    -- When the mirror was first considered: the first one is due a period later.
    since          INTEGER NOT NULL,
    -- NULL: none is under way.
    began_at       INTEGER,
    -- Whether contents are downloaded; whether a person waits for it.
    deep           INTEGER NOT NULL DEFAULT 0 CHECK (deep = 0 OR deep = 1),
    by_hand        INTEGER NOT NULL DEFAULT 0 CHECK (by_hand = 0 OR by_hand = 1),
    -- The last case done; cases come in the order of their ARNs.
    after_case     TEXT    NOT NULL DEFAULT '',
    cases          INTEGER NOT NULL DEFAULT 0,
    cases_done     INTEGER NOT NULL DEFAULT 0,
    files          INTEGER NOT NULL DEFAULT 0,
    undecided      INTEGER NOT NULL DEFAULT 0,
    -- What keeps it from going on.
    trouble        TEXT,
    ended_at       INTEGER,
    last_files     INTEGER NOT NULL DEFAULT 0,
    last_undecided INTEGER NOT NULL DEFAULT 0
) STRICT;

-- What the last look at each case found to differ.
CREATE TABLE difference (
    id             INTEGER PRIMARY KEY,
    mirror         INTEGER NOT NULL REFERENCES mirror (id),
    case_arn       TEXT    NOT NULL CHECK (case_arn <> ''),
    class          TEXT    NOT NULL CHECK (class <> ''),
    path           BLOB CHECK (length(path) > 0),
    attachment     INTEGER REFERENCES attachment (id),
    file_id        TEXT,
    found_at       INTEGER NOT NULL,
    text           TEXT    NOT NULL,
    -- What a repair needs to know (JSON).
    detail         TEXT    NOT NULL
) STRICT;

CREATE INDEX difference_case ON difference (mirror, case_arn);
CREATE INDEX attachment_case ON attachment (mirror, case_arn);
