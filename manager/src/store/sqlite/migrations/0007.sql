-- Version 7: who is shut out. An empty `certificate` means every certificate of the agent or operator.

CREATE TABLE denied (
    role TEXT NOT NULL,
    id TEXT NOT NULL,
    certificate TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    revoked_by TEXT NOT NULL,
    reason TEXT,
    PRIMARY KEY (role, id, certificate)
) STRICT, WITHOUT ROWID;
