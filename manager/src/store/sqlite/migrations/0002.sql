-- Version 2: how the last of a run's earlier attempts that ran, or may have, ended.

ALTER TABLE run ADD COLUMN earlier TEXT;
