-- Hooks: where in the audit trail we are, and what is to be told to the hook and has not been taken by it.

-- One row while hooks are on: events up to `cursor` have been looked at.
CREATE TABLE hook (
    id             INTEGER PRIMARY KEY CHECK (id = 1),
    cursor         INTEGER NOT NULL CHECK (cursor >= 0)
) STRICT;

-- A delivery is made in the transaction that moves the cursor past its event, and removed when the hook has taken it.
-- One that was given up stays for the views.
CREATE TABLE hook_delivery (
    event          INTEGER PRIMARY KEY REFERENCES event (id),
    delivery       TEXT    NOT NULL UNIQUE CHECK (delivery <> ''),
    mirror         INTEGER NOT NULL REFERENCES mirror (id),
    path           BLOB CHECK (length(path) > 0),
    kind           TEXT    NOT NULL CHECK (kind <> ''),
    -- JSON, the same at every try.
    payload        TEXT    NOT NULL CHECK (payload <> ''),
    tries          INTEGER NOT NULL DEFAULT 0 CHECK (tries >= 0),
    next_attempt   INTEGER NOT NULL,
    last_error     TEXT,
    gave_up_at     INTEGER
) STRICT;

CREATE INDEX hook_open ON hook_delivery (event) WHERE gave_up_at IS NULL;
CREATE INDEX hook_given_up ON hook_delivery (event) WHERE gave_up_at IS NOT NULL;
