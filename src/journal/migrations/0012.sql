-- Version 12: whether an attachment is where its file belongs has a column of its own; what a person keeps and what a
-- comparison finds took the place of the mark in `reason`.

-- 1: the file moved to a path with another case or name after it was attached; it is to be replaced.
ALTER TABLE attachment ADD COLUMN moved INTEGER NOT NULL DEFAULT 0 CHECK (moved = 0 OR moved = 1);
UPDATE attachment SET moved = 1, reason = NULL WHERE stage = 'approved' AND reason = 'moved';
