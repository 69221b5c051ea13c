-- Conversions: what was sent where that is not the file's own content, which the attachment's row names.
CREATE TABLE converted (
    attachment     INTEGER PRIMARY KEY REFERENCES attachment (id),
    size           INTEGER NOT NULL CHECK (size > 0),
    hash           BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;
