-- Version 13: what a person insisted on stood in `note`, where the next wait or touch took its place.

-- The content for which Connect is asked whatever is believed of it (`casedrop retry`).
ALTER TABLE file ADD COLUMN insisted BLOB;
UPDATE file SET insisted = hash WHERE verdict = 'queued' AND note = 'asked for by hand: Connect judges';
