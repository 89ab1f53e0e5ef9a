-- A job is its fixed part in `jobs` and one row in `pending`, `active` or `ended`. What is ordered
-- by rank or by time among jobs that have not ended is kept in memory, so a claim touches as few
-- indexes as can be. Numbers that stand for words are those of `record::code`.
-- The rows of version 1 are moved by `migrate`, which drops these tables afterwards.
ALTER TABLE jobs RENAME TO jobs_001;
ALTER TABLE labels RENAME TO labels_001;
ALTER TABLE dependencies RENAME TO dependencies_001;
ALTER TABLE idempotency RENAME TO idempotency_001;
ALTER TABLE logs RENAME TO logs_001;
DROP INDEX idempotency_job;

-- What was asked. Never changed.
CREATE TABLE jobs (
    sequence INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    tenant TEXT,               -- NULL: the tenant of a system without tenants
    scenario TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    fixed TEXT NOT NULL
) STRICT;
CREATE INDEX jobs_tenant ON jobs (tenant) WHERE tenant IS NOT NULL;
CREATE INDEX jobs_scenario ON jobs (scenario);

-- Requirements, tenant and queue in common. Numbered from 1 without gaps.
CREATE TABLE lanes (
    id INTEGER PRIMARY KEY,
    requirements TEXT NOT NULL,
    tenant TEXT NOT NULL,
    queue INTEGER NOT NULL
) STRICT;

-- Jobs that neither ended nor are held by a node: waiting, queued, in backoff, paused.
CREATE TABLE pending (
    sequence INTEGER PRIMARY KEY,
    facet INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    node BLOB,
    fence INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    retry_count INTEGER NOT NULL,
    progress REAL NOT NULL,
    queued_at INTEGER,
    started_at INTEGER,
    last_activity_at INTEGER,
    lease_expires_at INTEGER,
    retry_at INTEGER,
    story TEXT NOT NULL
) STRICT;
CREATE INDEX pending_facet ON pending (facet);
CREATE INDEX pending_node ON pending (node) WHERE node IS NOT NULL;

-- Jobs that a node holds: as few as the cluster has slots, and read in full.
CREATE TABLE active (
    sequence INTEGER PRIMARY KEY,
    facet INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    node BLOB,
    fence INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    retry_count INTEGER NOT NULL,
    progress REAL NOT NULL,
    queued_at INTEGER,
    started_at INTEGER,
    last_activity_at INTEGER,
    lease_expires_at INTEGER,
    retry_at INTEGER,
    story TEXT NOT NULL
) STRICT;

-- Jobs that have ended.
CREATE TABLE ended (
    sequence INTEGER PRIMARY KEY,
    facet INTEGER NOT NULL,
    lane INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    node BLOB,
    completed_at INTEGER,
    story TEXT NOT NULL
) STRICT;
CREATE INDEX ended_facet ON ended (facet);
CREATE INDEX ended_node ON ended (node) WHERE node IS NOT NULL;
CREATE INDEX ended_time ON ended (completed_at);

CREATE TABLE labels (
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    job INTEGER NOT NULL,
    PRIMARY KEY (key, value, job)
) STRICT, WITHOUT ROWID;

-- Only for jobs that wait.
CREATE TABLE dependencies (
    dependency BLOB NOT NULL,
    job INTEGER NOT NULL,
    PRIMARY KEY (dependency, job)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    digest TEXT NOT NULL,
    job INTEGER NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_job ON idempotency (job);

CREATE TABLE logs (
    job INTEGER NOT NULL,
    line INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    at INTEGER NOT NULL,
    level TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (job, line)
) STRICT, WITHOUT ROWID;

-- Oldest and newest submission among every 4096 sequence numbers: a list by time skips the others.
CREATE TABLE spans (
    block INTEGER PRIMARY KEY,
    oldest INTEGER NOT NULL,
    newest INTEGER NOT NULL
) STRICT;

-- What is true of the whole database. `last_sequence` is a lower bound: a purged number is never
-- given again. `importing` is set while another store's content moves in.
CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    last_sequence INTEGER NOT NULL,
    importing INTEGER NOT NULL,
    writes INTEGER NOT NULL
) STRICT;
INSERT INTO state VALUES (0, 0, 0, 0);
DROP TABLE probe;
