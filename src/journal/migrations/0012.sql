-- Version 12: three marks that stood in `reason` and took each other's place there have columns of their own. What was
-- overwritten before cannot be told any more, but for the note of what is kept.

-- 1: the file moved to a path with another case or name after it was attached; it is to be replaced.
ALTER TABLE attachment ADD COLUMN moved INTEGER NOT NULL DEFAULT 0 CHECK (moved = 0 OR moved = 1);
UPDATE attachment SET moved = 1, reason = NULL WHERE stage = 'approved' AND reason = 'moved';

-- 1: it is gone, and a person keeps what is attached of it (`casedrop keep`).
ALTER TABLE file ADD COLUMN kept INTEGER NOT NULL DEFAULT 0 CHECK (kept = 0 OR kept = 1);
UPDATE file SET kept = 1 WHERE absent_since IS NOT NULL
    AND (((verdict = 'attached' OR verdict = 'scanning') AND note LIKE 'gone here; kept at Connect by hand%') OR EXISTS (
        SELECT 1 FROM attachment WHERE attachment.mirror = file.mirror AND attachment.path = file.path AND reason = 'kept'
            AND closed_at IS NULL AND (stage = 'approved' OR stage = 'completed')));
UPDATE attachment SET reason = NULL WHERE reason = 'kept' AND (stage = 'approved' OR stage = 'completed');

-- What a comparison with Connect found wrong with an approved attachment: the code of its file's park.
ALTER TABLE attachment ADD COLUMN found TEXT;
UPDATE attachment SET found = reason, reason = NULL WHERE stage = 'approved'
    AND (reason = 'missing-remotely' OR reason = 'altered-remotely' OR reason = 'rejected' OR reason = 'failed');

-- A refused record goes with its file for a reason of its own: no person's word calls it back.
UPDATE attachment SET reason = 'refused, and its file is gone' WHERE stage = 'deleting' AND reason = 'absent' AND EXISTS (
    SELECT 1 FROM event WHERE event.attachment = attachment.id AND (kind = 'rejected' OR kind = 'failed'
        OR (kind = 'adopted' AND (detail LIKE '%as rejected%' OR detail LIKE '%as failed%'))));
