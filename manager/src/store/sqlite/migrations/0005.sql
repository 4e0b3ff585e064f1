-- Version 5: where the count of time stands that all other times are of. `boot` is the kernel's name of the boot for which `base_ms` holds.

CREATE TABLE clock (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    boot BLOB,
    base_ms INTEGER NOT NULL,
    ahead_ms INTEGER NOT NULL
) STRICT;
