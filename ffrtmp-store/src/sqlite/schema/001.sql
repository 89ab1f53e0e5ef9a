-- Requirement classes: jobs with equal requirements share one.
CREATE TABLE classes (
    id INTEGER PRIMARY KEY,
    requirements TEXT NOT NULL UNIQUE
) STRICT;

-- A job is its document; the columns before it are copies for indexes and filters.
-- AUTOINCREMENT: a sequence number is never given twice, even after a purge.
CREATE TABLE jobs (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    state TEXT NOT NULL,
    rank INTEGER NOT NULL,
    class INTEGER NOT NULL REFERENCES classes (id),
    queue TEXT NOT NULL,
    priority TEXT NOT NULL,
    classification TEXT NOT NULL,
    scenario TEXT NOT NULL,
    engine TEXT,
    node TEXT,
    fence INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    lease_expires_at INTEGER,
    retry_at INTEGER,
    completed_at INTEGER,
    document TEXT NOT NULL
) STRICT;
CREATE INDEX jobs_claim ON jobs (class, rank, sequence) WHERE state = 'queued';
CREATE INDEX jobs_lease ON jobs (lease_expires_at, sequence) WHERE lease_expires_at IS NOT NULL;
CREATE INDEX jobs_retry ON jobs (retry_at, sequence) WHERE retry_at IS NOT NULL;
CREATE INDEX jobs_end ON jobs (completed_at, sequence) WHERE completed_at IS NOT NULL;
CREATE INDEX jobs_state ON jobs (state);
CREATE INDEX jobs_node ON jobs (node) WHERE node IS NOT NULL;

CREATE TABLE labels (
    job INTEGER NOT NULL REFERENCES jobs (sequence) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (job, key)
) STRICT, WITHOUT ROWID;

-- No reference to the dependency: it may be purged once nobody waits for it.
CREATE TABLE dependencies (
    job INTEGER NOT NULL REFERENCES jobs (sequence) ON DELETE CASCADE,
    dependency TEXT NOT NULL,
    PRIMARY KEY (job, dependency)
) STRICT, WITHOUT ROWID;
CREATE INDEX dependencies_back ON dependencies (dependency);

CREATE TABLE idempotency (
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    digest TEXT NOT NULL,
    job INTEGER NOT NULL REFERENCES jobs (sequence) ON DELETE CASCADE,
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_job ON idempotency (job);

CREATE TABLE logs (
    job INTEGER NOT NULL REFERENCES jobs (sequence) ON DELETE CASCADE,
    line INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    at INTEGER NOT NULL,
    level TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (job, line)
) STRICT, WITHOUT ROWID;

CREATE TABLE nodes (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    document TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Written by the health check.
CREATE TABLE probe (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    writes INTEGER NOT NULL
) STRICT;
INSERT INTO probe VALUES (0, 0);
