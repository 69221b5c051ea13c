-- Version 11: mirrors that may be older than the journal.

-- 1: what the mirror attached before this journal began is not known for certain, so each case is asked for it before
-- the first file goes there. Mirrors of earlier versions were not asked about, and are not from now on.
ALTER TABLE mirror ADD COLUMN young INTEGER NOT NULL DEFAULT 0 CHECK (young = 0 OR young = 1);
