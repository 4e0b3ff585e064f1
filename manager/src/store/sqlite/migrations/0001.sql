-- Jobs, version 1. Times are UTC milliseconds. Words (states, outcomes, kinds) are those of the wire.
-- `rest`, `fault`, `result`, `args`, `kwargs`, `info`, `progress.body` and queue names are MessagePack values.

CREATE TABLE job (
    n            INTEGER PRIMARY KEY,
    id           BLOB NOT NULL,
    submitter    TEXT NOT NULL,
    key          TEXT,
    digest       BLOB NOT NULL,
    procedure    TEXT NOT NULL,
    queue        BLOB,
    idempotent   INTEGER NOT NULL,
    submitted_ms INTEGER NOT NULL,
    released_ms  INTEGER,
    ended_ms     INTEGER,
    outcome      TEXT,
    summary      TEXT,
    agents       TEXT NOT NULL,
    rest         BLOB NOT NULL,
    args         BLOB NOT NULL,
    kwargs       BLOB NOT NULL,
    info         BLOB NOT NULL
) STRICT;
-- ids begin with the time of submission: an index that begins with one grows at its end
CREATE UNIQUE INDEX job_id ON job (id);
CREATE UNIQUE INDEX job_key ON job (submitter, key) WHERE key IS NOT NULL;
CREATE INDEX job_submitter ON job (submitter, id);
CREATE INDEX job_queue ON job (queue, id) WHERE queue IS NOT NULL;
CREATE INDEX job_open ON job (id) WHERE ended_ms IS NULL;
CREATE INDEX job_ended ON job (ended_ms, id) WHERE ended_ms IS NOT NULL;
CREATE INDEX job_outcome ON job (outcome, id) WHERE outcome <> 'succeeded';

CREATE TABLE run (
    n             INTEGER PRIMARY KEY,
    job           BLOB NOT NULL,
    agent         TEXT NOT NULL,
    -- open, or its outcome may still be replaced
    alive         INTEGER NOT NULL,
    place         INTEGER NOT NULL,
    state         TEXT NOT NULL,
    attempt       INTEGER NOT NULL,
    dno           INTEGER NOT NULL,
    queued_ms     INTEGER,
    offered_ms    INTEGER,
    accepted_ms   INTEGER,
    started_ms    INTEGER,
    doubt_ms      INTEGER,
    ended_ms      INTEGER,
    not_before_ms INTEGER NOT NULL,
    items         INTEGER NOT NULL,
    -- asked to end: the grace in milliseconds, -1 for none given
    cancel        INTEGER,
    corrected     INTEGER NOT NULL,
    outcome       TEXT,
    started       INTEGER,
    ending_items  INTEGER,
    duration_ms   INTEGER,
    fault         BLOB,
    result        BLOB
) STRICT;
CREATE UNIQUE INDEX run_key ON run (job, agent);
CREATE INDEX run_agent ON run (agent, job);
CREATE INDEX run_alive ON run (job) WHERE alive = 1;

-- `run` is run.n from here on
CREATE TABLE attempt (
    run     INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    fault   BLOB,
    at_ms   INTEGER NOT NULL,
    PRIMARY KEY (run, attempt)
) STRICT;

CREATE TABLE item (
    n       INTEGER PRIMARY KEY,
    run     INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    first   INTEGER NOT NULL,
    count   INTEGER NOT NULL,
    body    BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX item_key ON item (run, attempt, first);

CREATE TABLE progress (
    run     INTEGER PRIMARY KEY,
    attempt INTEGER NOT NULL,
    body    BLOB NOT NULL
) STRICT;

CREATE TABLE queue (
    key         BLOB PRIMARY KEY,
    concurrency INTEGER NOT NULL,
    opened_ms   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE agent (
    agent    TEXT PRIMARY KEY,
    spool    BLOB,
    last_dno INTEGER NOT NULL,
    seen_dno INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE callback (
    job    BLOB NOT NULL,
    serial INTEGER NOT NULL,
    kind   TEXT NOT NULL,
    target TEXT NOT NULL,
    state  TEXT NOT NULL,
    due_ms INTEGER NOT NULL,
    tries  INTEGER NOT NULL,
    error  TEXT,
    PRIMARY KEY (job, serial)
) STRICT, WITHOUT ROWID;
CREATE INDEX callback_pending ON callback (due_ms) WHERE state = 'pending';

CREATE TABLE event (
    n       INTEGER PRIMARY KEY,
    at_ms   INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    job     BLOB,
    agent   TEXT,
    queue   BLOB,
    attempt INTEGER,
    outcome TEXT,
    detail  TEXT
) STRICT;
