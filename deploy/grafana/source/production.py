"""Production Monitoring: how the farm does, on one page."""

from .model import CALM, Dashboard, Drill, Kind, Panel, Query, Row, Steps, Unit, Variable
from .promql import growth, newest, quantiles, rate, share

QUEUE, TENANT = 'queue=~"$queue"', 'tenant=~"$tenant"'
SCHEDULER, WORKER = Drill("ffrtmp-scheduler"), Drill("ffrtmp-worker")
THIS_QUEUE, THIS_TENANT = Drill("ffrtmp-scheduler", "queue", "queue"), Drill("ffrtmp-scheduler", "tenant", "tenant")
NO_MASTER = "No master is scraped: look at the targets of the job ffrtmp-master"
NO_JOBS = "No job ended in this time"

NOW = (
    Panel(
        title="Masters up",
        description="Masters whose metrics can be read. One that is down takes its queue with it unless another shares its database.",
        kind=Kind.NUMBER,
        unit=Unit.COUNT,
        queries=(Query('sum(up{job="ffrtmp-master"})', "masters"),),
        steps=Steps(warn=1, alarm=0.5),
        empty=NO_MASTER,
        drill=(SCHEDULER,),
        width=4,
        height=5,
    ),
    Panel(
        title="Alerts firing",
        description="Alerts that fire now, of every severity. Alertmanager shows which.",
        kind=Kind.NUMBER,
        unit=Unit.COUNT,
        queries=(Query('count(ALERTS{alertstate="firing"}) or vector(0)', "alerts"),),
        steps=Steps(warn=1, alarm=3),
        empty="No rules are evaluated: start Prometheus or vmalert with deploy/alerts",
        drill=(SCHEDULER, WORKER),
        width=4,
        height=5,
    ),
    Panel(
        title="Jobs under way",
        description="Jobs that a node holds: assigned or running.",
        kind=Kind.NUMBER,
        unit=Unit.COUNT,
        queries=(Query(newest("ffrtmp_active_jobs"), "jobs"),),
        steps=CALM,
        empty=NO_MASTER,
        drill=(SCHEDULER, WORKER),
        width=4,
        height=5,
    ),
    Panel(
        title="Queue length",
        description="Jobs that could be claimed now. More than 100 for ten minutes is an alert.",
        kind=Kind.NUMBER,
        unit=Unit.COUNT,
        queries=(Query(newest("ffrtmp_queue_length"), "jobs"),),
        steps=Steps(warn=50, alarm=100),
        empty=NO_MASTER,
        drill=(SCHEDULER,),
        width=4,
        height=5,
    ),
    Panel(
        title="Failed of ended, 5 min",
        description="Jobs that failed, part of those that completed or failed. More than 10 % is an alert.",
        kind=Kind.NUMBER,
        unit=Unit.RATIO,
        queries=(
            Query(
                share(
                    growth("ffrtmp_jobs_ended_total", where=f'state="failed",{QUEUE}', over="5m"),
                    growth("ffrtmp_jobs_ended_total", where=f'state=~"completed|failed",{QUEUE}', over="5m"),
                ),
                "failed",
            ),
        ),
        steps=Steps(warn=0.05, alarm=0.1),
        empty=NO_JOBS,
        drill=(SCHEDULER,),
        width=4,
        height=5,
        high=1,
    ),
    Panel(
        title="Service level kept, 1 h",
        description="Production jobs that kept their service level, by tenant. Below 80 % over all is an alert.",
        kind=Kind.BARS,
        unit=Unit.RATIO,
        queries=(
            Query(
                share(
                    growth("ffrtmp_tenant_sla_jobs_total", "tenant", f'verdict="compliant",{TENANT}', "1h"),
                    growth("ffrtmp_tenant_sla_jobs_total", "tenant", TENANT, "1h"),
                ),
                "{{tenant}}",
            ),
        ),
        steps=Steps(warn=0.95, alarm=0.8),
        empty="No production job ended in the last hour",
        drill=(THIS_TENANT, Drill("ffrtmp-cost", "tenant", "tenant")),
        width=4,
        height=5,
        high=1,
    ),
)

FLOW = (
    Panel(
        title="Jobs by state",
        description="Jobs in the store. Ended ones fall when they are removed by age.",
        kind=Kind.AREAS,
        unit=Unit.COUNT,
        queries=(Query(newest("ffrtmp_jobs_total", "state"), "{{state}}"),),
        steps=CALM,
        empty=NO_MASTER,
        drill=(SCHEDULER,),
    ),
    Panel(
        title="Jobs ended per minute",
        description="How fast jobs end, by how they end.",
        kind=Kind.LINES,
        unit=Unit.PER_MINUTE,
        queries=(Query("60 * " + rate("ffrtmp_jobs_ended_total", "state, queue", QUEUE), "{{state}} {{queue}}"),),
        steps=CALM,
        empty=NO_JOBS,
        drill=(THIS_QUEUE,),
    ),
    Panel(
        title="Failures by reason",
        description="Jobs that failed or were rejected, by class of failure. Codes with cause and cure: ffrtmp explain CODE.",
        kind=Kind.LINES,
        unit=Unit.PER_MINUTE,
        queries=(Query("60 * " + rate("ffrtmp_job_failure_reasons_total", "reason"), "{{reason}}"),),
        steps=Steps(warn=1, alarm=10),
        empty="No job failed since the master started",
        drill=(SCHEDULER,),
    ),
    Panel(
        title="Failures by code",
        description="The same by error code, in the shown time.",
        kind=Kind.TABLE,
        unit=Unit.COUNT,
        queries=(
            Query("topk(20, " + growth("ffrtmp_job_failures_total", "code", over="$__range") + " > 0)", "{{code}}"),
        ),
        steps=Steps(warn=1, alarm=10),
        empty="No job failed in this time",
        drill=(SCHEDULER,),
    ),
    Panel(
        title="Duration of jobs",
        description="Start to end of the last attempt of jobs that ended.",
        kind=Kind.LINES,
        unit=Unit.SECONDS,
        queries=quantiles("ffrtmp_job_duration_seconds"),
        steps=Steps(warn=1800, alarm=3600),
        empty=NO_JOBS,
        drill=(SCHEDULER, Drill("ffrtmp-quality")),
    ),
    Panel(
        title="Speed",
        description="Seconds of output made per second of wall time, median of each queue. 1 is real time.",
        kind=Kind.LINES,
        unit=Unit.TIMES_REAL_TIME,
        queries=(
            Query(
                "histogram_quantile(0.5, sum by (le, queue) (rate(ffrtmp_job_speed_ratio_bucket{"
                + QUEUE
                + "}[$__rate_interval])))",
                "{{queue}}",
            ),
        ),
        steps=Steps(warn=1.2, alarm=1),
        empty="No job completed in this time",
        drill=(Drill("ffrtmp-live"), WORKER),
    ),
)

FLEET = (
    Panel(
        title="Nodes by status",
        description="Nodes that the master knows. Offline ones missed their heartbeats.",
        kind=Kind.AREAS,
        unit=Unit.COUNT,
        queries=(Query(newest("ffrtmp_nodes_total", "status"), "{{status}}"),),
        steps=CALM,
        empty=NO_MASTER,
        drill=(WORKER,),
    ),
    Panel(
        title="Nodes in use",
        description="Attempts under way by attempts at once, of each node.",
        kind=Kind.BARS,
        unit=Unit.RATIO,
        queries=(
            Query(
                share(
                    newest("ffrtmp_node_active_jobs", "node", 'node=~"$node"'),
                    newest("ffrtmp_node_slots", "node", 'node=~"$node"'),
                ),
                "{{node}}",
            ),
        ),
        steps=Steps(warn=0.9, alarm=1),
        empty="No node has registered",
        drill=(Drill("ffrtmp-worker", "node", "node"),),
        high=1,
    ),
    Panel(
        title="Media read and written",
        description="Bytes per second that attempts read and wrote.",
        kind=Kind.LINES,
        unit=Unit.BYTES_PER_SECOND,
        queries=(Query(rate("ffrtmp_media_bytes_total", "direction"), "{{direction}}"),),
        steps=CALM,
        empty="No attempt completed in this time",
        drill=(WORKER, Drill("ffrtmp-quality")),
    ),
    Panel(
        title="API requests by status",
        description="Requests per second by answer. 5xx is a fault of the master, 429 a client beyond its rate.",
        kind=Kind.LINES,
        unit=Unit.PER_SECOND,
        queries=(Query(rate("scheduler_http_requests_total", "status"), "{{status}}"),),
        steps=CALM,
        empty=NO_MASTER,
        drill=(SCHEDULER,),
    ),
    Panel(
        title="Power of the farm",
        description="Energy of completed attempts per second, by how it is known. Modelled energy is processor time times a stated power.",
        kind=Kind.AREAS,
        unit=Unit.WATTS,
        queries=(Query(rate("ffrtmp_energy_joules_total", "source"), "{{source}}"),),
        steps=CALM,
        empty="No attempt reported energy in this time",
        drill=(Drill("ffrtmp-energy"), Drill("ffrtmp-cost")),
    ),
    Panel(
        title="Certificate of the API",
        description="Time until it ends. Below 14 days is an alert.",
        kind=Kind.NUMBER,
        unit=Unit.SECONDS_AGO,
        queries=(Query("min(ffrtmp_certificate_expiry_timestamp_seconds) - time()", "left"),),
        steps=Steps(warn=14 * 86400, alarm=3 * 86400),
        empty="The API is served without TLS",
        drill=(SCHEDULER,),
        low=None,
    ),
)

DASHBOARD = Dashboard(
    uid="ffrtmp-production",
    description="How the farm does: masters, jobs, nodes, service levels.",
    variables=(
        Variable("queue", "queue", "ffrtmp_jobs_submitted_total"),
        Variable("tenant", "tenant", "ffrtmp_tenant_jobs_ended_total"),
        Variable("node", "node", "ffrtmp_node_up"),
    ),
    rows=(Row("Now", NOW), Row("Flow of jobs", FLOW), Row("Fleet", FLEET)),
)
