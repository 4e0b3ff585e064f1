-- Version 4: what agents say in events of their own, whose kind is `custom`: the type as they name it, and a MessagePack value.

ALTER TABLE event ADD COLUMN name TEXT;
ALTER TABLE event ADD COLUMN data BLOB;
