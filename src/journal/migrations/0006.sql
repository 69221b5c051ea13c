-- What is known of Connect by asking it, beside what is known by doing.

-- One row while a journal stands where another one was lost and no engine has held its mirrors yet. Written in the
-- transaction that creates the tables, so that no kill and no other command can make the loss look like a first run.
CREATE TABLE loss (
    id             INTEGER PRIMARY KEY CHECK (id = 1),
    at             INTEGER NOT NULL
) STRICT;

-- Adoption under way: the cases asked, and what was found on them (JSON). Emptied when it is done.
CREATE TABLE asked (
    mirror         INTEGER NOT NULL REFERENCES mirror (id),
    case_arn       TEXT    NOT NULL CHECK (case_arn <> ''),
    at             INTEGER NOT NULL,
    known          INTEGER NOT NULL CHECK (known = 0 OR known = 1),
    PRIMARY KEY (mirror, case_arn)
) STRICT, WITHOUT ROWID;

CREATE TABLE found (
    mirror         INTEGER NOT NULL REFERENCES mirror (id),
    case_arn       TEXT    NOT NULL,
    file_id        TEXT    NOT NULL CHECK (file_id <> ''),
    detail         TEXT    NOT NULL CHECK (detail <> ''),
    PRIMARY KEY (mirror, case_arn, file_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX file_unseen ON file (mirror) WHERE verdict = 'parked' AND detail = 'unseen';
