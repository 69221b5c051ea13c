-- Version 12: three marks that stood in `reason` and took each other's place there: that an attachment is to be replaced
-- elsewhere, that a person keeps it, and what a comparison found. What was overwritten before cannot be told any more.

-- 1: the file moved to a path with another case or name after it was attached; it is to be replaced.
ALTER TABLE attachment ADD COLUMN moved INTEGER NOT NULL DEFAULT 0 CHECK (moved = 0 OR moved = 1);
UPDATE attachment SET moved = 1, reason = NULL WHERE stage = 'approved' AND reason = 'moved';

-- 1: it is gone, and a person keeps what is attached of it (`casedrop keep`).
ALTER TABLE file ADD COLUMN kept INTEGER NOT NULL DEFAULT 0 CHECK (kept = 0 OR kept = 1);
UPDATE file SET kept = 1 WHERE absent_since IS NOT NULL AND EXISTS (
    SELECT 1 FROM attachment WHERE attachment.mirror = file.mirror AND attachment.path = file.path AND reason = 'kept'
        AND closed_at IS NULL AND (stage = 'approved' OR stage = 'completed'));
UPDATE attachment SET reason = NULL WHERE reason = 'kept' AND (stage = 'approved' OR stage = 'completed');
