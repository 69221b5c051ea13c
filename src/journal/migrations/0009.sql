-- Version 9: what a reference was found to mean, or why it means no case yet.
ALTER TABLE case_ref RENAME TO case_ref_1;
CREATE TABLE case_ref (
    mirror         INTEGER NOT NULL REFERENCES mirror (id),
    -- In lower case: references that differ in letter case alone are one.
    reference      TEXT    NOT NULL CHECK (reference <> ''),
    spelled        TEXT    NOT NULL CHECK (spelled <> ''),
    -- ARN of the domain that was asked.
    domain         TEXT    NOT NULL CHECK (domain <> ''),
    state          TEXT    NOT NULL CHECK (
        state = 'pending' OR state = 'found' OR state = 'unknown' OR state = 'ambiguous'),
    case_arn       TEXT CHECK (case_arn <> ''),
    -- JSON.
    candidates     TEXT    NOT NULL,
    total          INTEGER NOT NULL CHECK (total >= 0),
    looked_at      INTEGER,
    tries          INTEGER NOT NULL CHECK (tries >= 0),
    next_try       INTEGER,
    error          TEXT,
    PRIMARY KEY (mirror, reference),
    CHECK (case_arn IS NOT NULL OR state <> 'found')
) STRICT, WITHOUT ROWID;

INSERT OR IGNORE INTO case_ref
    SELECT mirror, lower(reference), reference, substr(case_arn, 1, instr(case_arn, '/case/') - 1), 'found', case_arn,
           '[]', 1, found_at, 0, NULL, NULL
    FROM case_ref_1 WHERE instr(case_arn, '/case/') > 1;
DROP TABLE case_ref_1;

CREATE INDEX case_ref_case ON case_ref (mirror, case_arn, reference) WHERE state = 'found';
CREATE INDEX case_ref_due ON case_ref (next_try) WHERE next_try IS NOT NULL;

-- Files without a case, to be looked at again when a reference is resolved.
CREATE INDEX file_unrouted ON file (mirror, detail) WHERE verdict = 'unrouted';
-- Parked files by code: some leave their park when something else changes.
CREATE INDEX file_parked ON file (mirror, detail) WHERE verdict = 'parked';

-- What the start call carries beside name, size and case (JSON: the user's tags, the creator). A repeated call must be
-- the same to the letter, whatever configuration or sidecar say by then. NULL: an attempt of version 1.
ALTER TABLE attachment ADD COLUMN extras TEXT;
