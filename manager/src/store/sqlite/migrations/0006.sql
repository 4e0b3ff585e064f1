-- Version 6: the hash of each event, over its row and the hash before it. `chain` has the points that are kept beside the rows: the number of
-- the last event without a hash (`begun`), of the newest that was deleted (`anchor`), and of the newest (`head`), with their hashes.

ALTER TABLE event ADD COLUMN hash BLOB;
CREATE TABLE chain (
    what TEXT PRIMARY KEY,
    n    INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO chain SELECT column1, coalesce((SELECT max(n) FROM event), 0), zeroblob(32)
    FROM (VALUES ('begun'), ('anchor'), ('head'));
