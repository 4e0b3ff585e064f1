-- Version 3: how many attempts of a run its agent had no room for; they do not count against its attempts.

ALTER TABLE run ADD COLUMN put_back INTEGER NOT NULL DEFAULT 0;
