-- A job in three parts (see record.rs): jobs is written once, live is rewritten with every change
-- and left at the end, ended is written once. Small numbers for words are in record/code.rs.

CREATE SEQUENCE ffrtmp.job_numbers;

CREATE TABLE ffrtmp.lanes (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest uuid NOT NULL UNIQUE,
    lane text NOT NULL
);

-- Texts of users are in fixed, as JSON; what is searched is a digest of them.
CREATE TABLE ffrtmp.jobs (
    sequence bigint PRIMARY KEY,
    created_at bigint NOT NULL,
    id uuid NOT NULL UNIQUE,
    scenario uuid NOT NULL,
    key_digest uuid,
    lane integer NOT NULL,
    priority smallint NOT NULL,
    classification smallint NOT NULL,
    key bytea,
    request_digest bytea,
    fixed text NOT NULL
);
CREATE UNIQUE INDEX jobs_key ON ffrtmp.jobs (key_digest) WHERE key_digest IS NOT NULL;
CREATE INDEX jobs_lane ON ffrtmp.jobs (lane, sequence);
CREATE INDEX jobs_scenario ON ffrtmp.jobs (scenario, sequence);
CREATE INDEX jobs_priority ON ffrtmp.jobs (priority, sequence) WHERE priority <> 3;
CREATE INDEX jobs_classification ON ffrtmp.jobs (classification, sequence) WHERE classification <> 1;
CREATE INDEX jobs_created ON ffrtmp.jobs (created_at);

-- The phase changes when a job moves between the partial indexes; state alone never touches one.
CREATE TABLE ffrtmp.live (
    sequence bigint PRIMARY KEY,
    rank bigint NOT NULL,
    version bigint NOT NULL,
    fence bigint NOT NULL,
    queued_at bigint,
    started_at bigint,
    last_activity_at bigint,
    lease_expires_at bigint,
    retry_at bigint,
    progress double precision NOT NULL,
    node uuid,
    lane integer NOT NULL,
    attempt integer NOT NULL,
    retry_count integer NOT NULL,
    phase smallint NOT NULL,
    state smallint NOT NULL,
    story text NOT NULL
) WITH (
    fillfactor = 60,
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_cost_delay = 0,
    toast_tuple_target = 2000
);
CREATE INDEX live_ready ON ffrtmp.live (lane, rank, sequence) WHERE phase = 1;
CREATE INDEX live_leased ON ffrtmp.live (lease_expires_at, sequence) WHERE phase = 2;
CREATE INDEX live_backoff ON ffrtmp.live (retry_at, sequence) WHERE phase = 3;
CREATE INDEX live_aside ON ffrtmp.live (sequence) WHERE phase IN (0, 3, 4);

CREATE TABLE ffrtmp.ended (
    sequence bigint PRIMARY KEY,
    completed_at bigint NOT NULL,
    rank bigint NOT NULL,
    version bigint NOT NULL,
    node uuid,
    state smallint NOT NULL,
    story text NOT NULL
);
CREATE INDEX ended_completed ON ffrtmp.ended (completed_at, sequence);
CREATE INDEX ended_badly ON ffrtmp.ended (state, sequence) WHERE state <> 7;
CREATE INDEX ended_node ON ffrtmp.ended (node, sequence);

CREATE TABLE ffrtmp.dependencies (
    dependency uuid NOT NULL,
    job bigint NOT NULL,
    PRIMARY KEY (dependency, job)
);
CREATE INDEX dependencies_job ON ffrtmp.dependencies (job);

CREATE TABLE ffrtmp.labels (
    label uuid NOT NULL,
    job bigint NOT NULL,
    PRIMARY KEY (label, job)
);

-- How many jobs stand where, as changes: whoever counts adds them up, and now and then somebody
-- replaces many rows by their sum. State 11 is paused while a node holds the job.
CREATE TABLE ffrtmp.tally (
    jobs bigint NOT NULL,
    lane integer NOT NULL,
    priority smallint NOT NULL,
    engine smallint NOT NULL,
    state smallint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

-- A row is what one call added, as JSON.
CREATE TABLE ffrtmp.logs (
    job bigint NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY,
    attempt integer NOT NULL,
    lines integer NOT NULL,
    text text NOT NULL,
    PRIMARY KEY (job, number)
);

CREATE TABLE ffrtmp.nodes (
    id uuid PRIMARY KEY,
    document text NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE ffrtmp.probe (writes bigint NOT NULL) WITH (fillfactor = 10);
INSERT INTO ffrtmp.probe VALUES (0);
