"""Job Scheduler: what waits, why, how it is claimed and tried again, and the store behind it."""

from .model import CALM, Dashboard, Drill, Kind, Panel, Query, Row, Steps, Unit, Variable
from .promql import growth, newest, quantile, quantiles, rate, share

QUEUE, TENANT = 'queue=~"$queue"', 'tenant=~"$tenant"'
PRODUCTION, WORKER = Drill("ffrtmp-production"), Drill("ffrtmp-worker")
THIS_QUEUE = Drill("ffrtmp-production", "queue", "queue")
THIS_TENANT = Drill("ffrtmp-cost", "tenant", "tenant")
NO_MASTER = "No master is scraped: look at the targets of the job ffrtmp-master"
NO_CLAIM = "No job was claimed in this time"
NO_STORE = "The store was not called in this time"

WAITING = (
    Panel(
        title="Ready, by queue",
        description="Jobs that could be claimed now.",
        kind=Kind.AREAS,
        unit=Unit.COUNT,
        queries=(Query(newest("ffrtmp_queue_by_type", "type", 'type=~"$queue"'), "{{type}}"),),
        steps=Steps(warn=50, alarm=100),
        empty=NO_MASTER,
        drill=(Drill("ffrtmp-production", "queue", "type"),),
    ),
    Panel(
        title="Ready, by priority",
        description="The same by priority. Waiting raises the rank of a job, so low ones do not starve.",
        kind=Kind.AREAS,
        unit=Unit.COUNT,
        queries=(Query(newest("ffrtmp_queue_by_priority", "priority"), "{{priority}}"),),
        steps=Steps(warn=50, alarm=100),
        empty=NO_MASTER,
        drill=(PRODUCTION,),
    ),
    Panel(
        title="Not running, by why",
        description="Why jobs do not run yet. nodes_busy wants more nodes; no_capable_node will not end by itself.",
        kind=Kind.AREAS,
        unit=Unit.COUNT,
        queries=(Query(newest("ffrtmp_queue_by_reason", "reason"), "{{reason}}"),),
        steps=Steps(warn=50, alarm=100),
        empty=NO_MASTER,
        drill=(WORKER,),
    ),
    Panel(
        title="Queued, by tenant",
        description="Jobs of each tenant that are ready to be claimed; the largest 100.",
        kind=Kind.LINES,
        unit=Unit.COUNT,
        queries=(Query(newest("ffrtmp_tenant_queued_jobs", "tenant", TENANT), "{{tenant}}"),),
        steps=Steps(warn=50, alarm=100),
        empty="No tenant has jobs",
        drill=(THIS_TENANT,),
    ),
    Panel(
        title="Held by nodes, by tenant",
        description="Jobs of each tenant that a node holds; --tenant-limit bounds them.",
        kind=Kind.LINES,
        unit=Unit.COUNT,
        queries=(Query(newest("ffrtmp_tenant_active_jobs", "tenant", TENANT), "{{tenant}}"),),
        steps=CALM,
        empty="No tenant has jobs",
        drill=(THIS_TENANT,),
    ),
    Panel(
        title="Wait until start",
        description="Queued to started. More than 30 s is a violation of the service level.",
        kind=Kind.LINES,
        unit=Unit.SECONDS,
        queries=quantiles("ffrtmp_job_wait_time_seconds"),
        steps=Steps(warn=15, alarm=30),
        empty="No job started in this time",
        drill=(PRODUCTION,),
    ),
)

FLOW = (
    Panel(
        title="Submitted per minute",
        description="Jobs taken in, by queue.",
        kind=Kind.LINES,
        unit=Unit.PER_MINUTE,
        queries=(Query("60 * " + rate("ffrtmp_jobs_submitted_total", "queue", QUEUE), "{{queue}}"),),
        steps=CALM,
        empty="Nothing was submitted since the master started",
        drill=(THIS_QUEUE,),
    ),
    Panel(
        title="Ended per minute",
        description="Jobs that ended, by queue. Less than is submitted, for long, fills the queue.",
        kind=Kind.LINES,
        unit=Unit.PER_MINUTE,
        queries=(Query("60 * " + rate("ffrtmp_jobs_ended_total", "queue", QUEUE), "{{queue}}"),),
        steps=CALM,
        empty="Nothing ended since the master started",
        drill=(THIS_QUEUE,),
    ),
    Panel(
        title="Claims per second",
        description="Claims answered, with a job or without one. Empty ones are agents that wait for work.",
        kind=Kind.LINES,
        unit=Unit.PER_SECOND,
        queries=(Query(rate("ffrtmp_schedule_attempts_total", "result"), "{{result}}"),),
        steps=CALM,
        empty="No agent has asked for work",
        drill=(WORKER,),
    ),
    Panel(
        title="Claims that got a job",
        description="Part of the claims that were answered with a job.",
        kind=Kind.DIAL,
        unit=Unit.RATIO,
        queries=(
            Query(
                share(
                    rate("ffrtmp_schedule_attempts_total", where='result="assigned"'),
                    rate("ffrtmp_schedule_attempts_total"),
                ),
                "assigned",
            ),
        ),
        steps=CALM,
        empty=NO_CLAIM,
        drill=(WORKER,),
        high=1,
    ),
    Panel(
        title="Queued to claimed",
        description="Of every attempt, retries too.",
        kind=Kind.LINES,
        unit=Unit.SECONDS,
        queries=quantiles("ffrtmp_stage_seconds", 'stage="claim_wait"'),
        steps=Steps(warn=15, alarm=30),
        empty=NO_CLAIM,
        drill=(PRODUCTION,),
    ),
    Panel(
        title="Jobs in the store, by queue",
        description="Jobs of every state, until they are removed by age.",
        kind=Kind.LINES,
        unit=Unit.COUNT,
        queries=(Query(newest("scheduler_jobs_by_queue", "queue", QUEUE), "{{queue}}"),),
        steps=CALM,
        empty=NO_MASTER,
        drill=(THIS_QUEUE,),
    ),
)

ATTEMPTS = (
    Panel(
        title="Attempts per minute",
        description="Attempts that ended, by how. Released ones were given back by a node that drains or stops.",
        kind=Kind.LINES,
        unit=Unit.PER_MINUTE,
        queries=(Query("60 * " + rate("ffrtmp_attempts_total", "outcome, engine"), "{{outcome}} {{engine}}"),),
        steps=CALM,
        empty="No attempt ended since the master started",
        drill=(WORKER,),
    ),
    Panel(
        title="Retries by code",
        description="Attempts whose job is tried again, by what ended them. Only transient failures are.",
        kind=Kind.LINES,
        unit=Unit.PER_MINUTE,
        queries=(Query("60 * " + rate("ffrtmp_retries_total", "code"), "{{code}}"),),
        steps=Steps(warn=1, alarm=10),
        empty="Nothing was tried again since the master started",
        drill=(WORKER,),
    ),
    Panel(
        title="Leases taken back, 15 min",
        description="Attempts that the master took from a node that was silent. More than three is an alert.",
        kind=Kind.LINES,
        unit=Unit.COUNT,
        queries=(Query(growth("ffrtmp_lease_expiries_total", "code", over="15m"), "{{code}}"),),
        steps=Steps(warn=1, alarm=3),
        empty="No lease expired since the master started",
        drill=(WORKER,),
    ),
    Panel(
        title="Claim to end of attempts",
        description="By outcome, 95 % take less.",
        kind=Kind.LINES,
        unit=Unit.SECONDS,
        queries=(Query(quantile(0.95, "ffrtmp_attempt_seconds", "outcome"), "{{outcome}}"),),
        steps=Steps(warn=1800, alarm=3600),
        empty="No attempt ended in this time",
        drill=(WORKER,),
    ),
    Panel(
        title="Stages of attempts",
        description="Where the time of completed attempts goes: mean of each stage.",
        kind=Kind.AREAS,
        unit=Unit.SECONDS,
        queries=(
            Query(
                share(rate("ffrtmp_stage_seconds_sum", "stage"), rate("ffrtmp_stage_seconds_count", "stage")),
                "{{stage}}",
            ),
        ),
        steps=CALM,
        empty="No attempt completed in this time",
        drill=(WORKER,),
    ),
    Panel(
        title="Completed, by engine",
        description="Completed jobs in the store.",
        kind=Kind.BARS,
        unit=Unit.COUNT,
        queries=(Query(newest("ffrtmp_jobs_completed_by_engine", "engine"), "{{engine}}"),),
        steps=CALM,
        empty=NO_MASTER,
        drill=(Drill("ffrtmp-quality"),),
    ),
)

MASTER = (
    Panel(
        title="Calls of the store",
        description="99 % take less, by operation. More than half a second for five minutes is an alert.",
        kind=Kind.LINES,
        unit=Unit.SECONDS,
        queries=(Query(quantile(0.99, "ffrtmp_store_seconds", "operation"), "{{operation}}"),),
        steps=Steps(warn=0.1, alarm=0.5),
        empty=NO_STORE,
        drill=(PRODUCTION,),
    ),
    Panel(
        title="Failed calls of the store",
        description="Calls that failed because the store did, per minute.",
        kind=Kind.LINES,
        unit=Unit.PER_MINUTE,
        queries=(Query("60 * " + rate("ffrtmp_store_errors_total"), "errors"),),
        steps=Steps(warn=0.1, alarm=1),
        empty=NO_STORE,
        drill=(PRODUCTION,),
    ),
    Panel(
        title="API requests by route",
        description="Requests per second of the ten busiest routes.",
        kind=Kind.LINES,
        unit=Unit.PER_SECOND,
        queries=(
            Query(
                "topk(10, " + rate("scheduler_http_requests_total", "method, endpoint") + ")", "{{method}} {{endpoint}}"
            ),
        ),
        steps=CALM,
        empty=NO_MASTER,
        drill=(PRODUCTION,),
    ),
    Panel(
        title="API traffic",
        description="Bytes of bodies per second. Media does not pass here.",
        kind=Kind.LINES,
        unit=Unit.BYTES_PER_SECOND,
        queries=(Query(rate("scheduler_http_bandwidth_bytes_total", "direction"), "{{direction}}"),),
        steps=CALM,
        empty=NO_MASTER,
        drill=(PRODUCTION,),
    ),
    Panel(
        title="Masters that lead",
        description="One of the masters on a database takes back leases and removes old jobs. None for long means that nobody does.",
        kind=Kind.NUMBER,
        unit=Unit.COUNT,
        queries=(Query("sum(ffrtmp_master_leads)", "leaders"), Query(newest("ffrtmp_master_uptime_seconds"), "up, s")),
        steps=Steps(warn=1, alarm=0.5),
        empty=NO_MASTER,
        drill=(PRODUCTION,),
        width=4,
    ),
    Panel(
        title="Upkeep",
        description="Old jobs removed, rounds of the reaper and scrapes that failed, per minute.",
        kind=Kind.LINES,
        unit=Unit.PER_MINUTE,
        queries=(
            Query("60 * " + rate("ffrtmp_jobs_purged_total"), "jobs removed"),
            Query("60 * " + rate("ffrtmp_reaper_errors_total"), "failed rounds"),
            Query("60 * " + rate("ffrtmp_master_scrape_errors_total"), "failed scrapes"),
        ),
        steps=CALM,
        empty=NO_MASTER,
        drill=(PRODUCTION,),
        width=12,
    ),
)

DASHBOARD = Dashboard(
    uid="ffrtmp-scheduler",
    description="What waits and why, how it is claimed and tried again, and the store behind it.",
    variables=(
        Variable("queue", "queue", "ffrtmp_jobs_submitted_total"),
        Variable("tenant", "tenant", "ffrtmp_tenant_jobs_ended_total"),
    ),
    rows=(Row("Waiting", WAITING), Row("Flow", FLOW), Row("Attempts", ATTEMPTS), Row("Master", MASTER)),
)
