-- Turns: within a mirror its cases share what may be in flight (`core::fair`). `lane` is the number of the case that
-- the file was queued for; 0 when it was queued by an older version, or before its case was known.

ALTER TABLE file ADD COLUMN lane INTEGER NOT NULL DEFAULT 0 CHECK (lane >= 0);

CREATE INDEX file_lane ON file (mirror, lane, next_attempt, since) WHERE verdict = 'queued';
CREATE INDEX attachment_turn ON attachment (mirror, case_arn, next_attempt, id) WHERE stage = 'deleting';
