"""Worker Monitoring: the machines, what they do and what holds them back."""

from .model import CALM, Dashboard, Drill, Kind, Panel, Query, Row, Steps, Unit, Variable
from .promql import named, newest, rate, share

NODE = 'node=~"$node"'
SCHEDULER, ENERGY = Drill("ffrtmp-scheduler"), Drill("ffrtmp-energy")
THIS_NODE = Drill("ffrtmp-worker", "node", "node")
NO_AGENT = "No agent is scraped: look at the targets of the job ffrtmp-agent"
NO_ATTEMPT = "No attempt ended in this time"

FLEET = (
    Panel(
        title="Nodes up",
        description="1 while heartbeats come. A node that is lost for half a minute more is an alert.",
        kind=Kind.BARS,
        unit=Unit.STATE,
        queries=(Query(newest("ffrtmp_node_up", "node", NODE), "{{node}}"),),
        steps=Steps(warn=1, alarm=0.5),
        empty="No node has registered",
        drill=(THIS_NODE, SCHEDULER),
        high=1,
        states=(("0", "lost", "red"), ("1", "up", "green")),
    ),
    Panel(
        title="Since the last heartbeat",
        description="Age of each node's last sign of life. After 90 s it is lost and its jobs go to others.",
        kind=Kind.LINES,
        unit=Unit.SECONDS,
        queries=(Query(newest("ffrtmp_node_heartbeat_age_seconds", "node", NODE), "{{node}}"),),
        steps=Steps(warn=45, alarm=90),
        empty="No node has registered",
        drill=(THIS_NODE,),
    ),
    Panel(
        title="Attempts under way",
        description="Attempts of each node, and how many it runs at once (dashed by name: slots).",
        kind=Kind.LINES,
        unit=Unit.COUNT,
        queries=(
            Query(named("ffrtmp_worker_active_jobs"), "{{node}}"),
            Query(named("ffrtmp_worker_slots"), "{{node}} slots"),
        ),
        steps=CALM,
        empty=NO_AGENT,
        drill=(THIS_NODE, SCHEDULER),
    ),
    Panel(
        title="Held back or cut off",
        description="1 while a node takes no jobs although slots are free (disk, memory or heat), or while no master answers it.",
        kind=Kind.LINES,
        unit=Unit.STATE,
        queries=(
            Query(named("ffrtmp_worker_held_back"), "{{node}} held back"),
            Query("1 - " + named("ffrtmp_worker_connected"), "{{node}} cut off"),
        ),
        steps=Steps(warn=0.5, alarm=1),
        empty=NO_AGENT,
        drill=(THIS_NODE,),
        high=1,
    ),
    Panel(
        title="Heartbeats",
        description="Heartbeats per minute that the master took, and that it did not.",
        kind=Kind.LINES,
        unit=Unit.PER_MINUTE,
        queries=(
            Query(named("60 * " + rate("ffrtmp_worker_heartbeats_total", "node_id")), "{{node}}"),
            Query(named("60 * " + rate("ffrtmp_worker_heartbeat_failures_total", "node_id")), "{{node}} failed"),
        ),
        steps=CALM,
        empty=NO_AGENT,
        drill=(THIS_NODE,),
    ),
    Panel(
        title="Agents up since",
        description="A value that falls again and again is an agent that dies.",
        kind=Kind.LINES,
        unit=Unit.SECONDS,
        queries=(Query(named("ffrtmp_worker_uptime_seconds"), "{{node}}"),),
        steps=CALM,
        empty=NO_AGENT,
        drill=(THIS_NODE,),
    ),
)

MACHINE = (
    Panel(
        title="Processors",
        description="Use of all cores.",
        kind=Kind.LINES,
        unit=Unit.PERCENT,
        queries=(Query(named("ffrtmp_worker_cpu_usage"), "{{node}}"),),
        steps=Steps(warn=90, alarm=98),
        empty=NO_AGENT,
        drill=(THIS_NODE,),
        high=100,
    ),
    Panel(
        title="Load",
        description="Load average over one minute: work that runs or wants to.",
        kind=Kind.LINES,
        unit=Unit.COUNT,
        queries=(Query(named("ffrtmp_worker_load1"), "{{node}}"),),
        steps=CALM,
        empty=NO_AGENT,
        drill=(THIS_NODE,),
    ),
    Panel(
        title="Memory",
        description="Memory in use, part of all.",
        kind=Kind.LINES,
        unit=Unit.RATIO,
        queries=(Query(named("ffrtmp_worker_memory_bytes / ffrtmp_worker_memory_total_bytes"), "{{node}}"),),
        steps=Steps(warn=0.85, alarm=0.95),
        empty=NO_AGENT,
        drill=(THIS_NODE,),
        high=1,
    ),
    Panel(
        title="Swap",
        description="Swap in use. Encoders that swap are slower than real time.",
        kind=Kind.LINES,
        unit=Unit.BYTES,
        queries=(Query(named("ffrtmp_worker_swap_used_bytes"), "{{node}}"),),
        steps=Steps(warn=2**28, alarm=2**30),
        empty=NO_AGENT,
        drill=(THIS_NODE,),
    ),
    Panel(
        title="Free disk",
        description="Free part of the disk for work. Below 10 % jobs are warned, below 5 % none begins and an alert fires.",
        kind=Kind.LINES,
        unit=Unit.RATIO,
        queries=(Query(named("ffrtmp_worker_disk_free_bytes / ffrtmp_worker_disk_total_bytes"), "{{node}}"),),
        steps=Steps(warn=0.1, alarm=0.05),
        empty=NO_AGENT,
        drill=(THIS_NODE,),
        high=1,
    ),
    Panel(
        title="Network",
        description="Bytes per second of all interfaces but the loopback.",
        kind=Kind.LINES,
        unit=Unit.BYTES_PER_SECOND,
        queries=(Query(named("ffrtmp_worker_network_bytes_per_second"), "{{node}} {{direction}}"),),
        steps=CALM,
        empty=NO_AGENT,
        drill=(THIS_NODE,),
    ),
    Panel(
        title="Pressure",
        description="Part of ten seconds in which work stood still for want of processor, memory or disk.",
        kind=Kind.LINES,
        unit=Unit.PERCENT,
        queries=(Query(named("ffrtmp_worker_pressure_percent"), "{{node}} {{resource}} {{kind}}"),),
        steps=Steps(warn=20, alarm=50),
        empty="The kernel of no node tells pressure (CONFIG_PSI)",
        drill=(THIS_NODE,),
        high=100,
    ),
    Panel(
        title="Temperature",
        description="Hottest sensor of each node.",
        kind=Kind.LINES,
        unit=Unit.CELSIUS,
        queries=(Query(named("(ffrtmp_worker_temperature_celsius > -273)"), "{{node}}"),),
        steps=Steps(warn=80, alarm=95),
        empty="No node has a sensor of temperature",
        drill=(THIS_NODE, ENERGY),
    ),
    Panel(
        title="Use of graphics cards",
        description="Use of each card, of all programs.",
        kind=Kind.LINES,
        unit=Unit.PERCENT,
        queries=(Query('gpu_utilization_percent{instance=~"$host"}', "{{instance}} {{gpu}}"),),
        steps=Steps(warn=90, alarm=98),
        empty="No node has a graphics card, or none serves --gpu-exporter-port",
        drill=(ENERGY,),
        high=100,
    ),
    Panel(
        title="Temperature of graphics cards",
        description="More than 85 °C for five minutes is an alert.",
        kind=Kind.LINES,
        unit=Unit.CELSIUS,
        queries=(Query('gpu_temperature_celsius{instance=~"$host"}', "{{instance}} {{gpu}}"),),
        steps=Steps(warn=75, alarm=85),
        empty="No node has a graphics card, or none serves its exporter",
        drill=(ENERGY,),
    ),
    Panel(
        title="Sessions of graphics cards",
        description="Encode sessions under way, of every program; cards for desktops hold few.",
        kind=Kind.LINES,
        unit=Unit.COUNT,
        queries=(
            Query('gpu_encode_sessions{instance=~"$host"}', "{{instance}} {{gpu}}"),
            Query('gpu_encode_sessions_max{instance=~"$host"}', "{{instance}} {{gpu}} bound"),
        ),
        steps=CALM,
        empty="No node has a graphics card, or none serves its exporter",
        drill=(SCHEDULER,),
    ),
    Panel(
        title="Memory of graphics cards",
        description="Memory in use, part of all.",
        kind=Kind.LINES,
        unit=Unit.RATIO,
        queries=(Query('gpu_memory_used_bytes{instance=~"$host"} / gpu_memory_total_bytes', "{{instance}} {{gpu}}"),),
        steps=Steps(warn=0.85, alarm=0.95),
        empty="No node has a graphics card, or none serves its exporter",
        drill=(SCHEDULER,),
        high=1,
    ),
)

WORK = (
    Panel(
        title="Attempts ended per minute",
        description="By result.",
        kind=Kind.LINES,
        unit=Unit.PER_MINUTE,
        queries=(Query(named("60 * " + rate("ffrtmp_worker_jobs_total", "node_id, result")), "{{node}} {{result}}"),),
        steps=CALM,
        empty=NO_AGENT,
        drill=(THIS_NODE, SCHEDULER),
    ),
    Panel(
        title="Failures by code",
        description="Attempts that failed, per minute. One node with many is a sick machine.",
        kind=Kind.LINES,
        unit=Unit.PER_MINUTE,
        queries=(
            Query(named("60 * " + rate("ffrtmp_worker_attempt_failures_total", "node_id, code")), "{{node}} {{code}}"),
        ),
        steps=Steps(warn=1, alarm=10),
        empty="No attempt failed since the agents started",
        drill=(THIS_NODE, SCHEDULER),
    ),
    Panel(
        title="Stages",
        description="Where the time of completed attempts goes: mean of each stage.",
        kind=Kind.LINES,
        unit=Unit.SECONDS,
        queries=(
            Query(
                named(
                    "("
                    + share(
                        rate("ffrtmp_worker_stage_seconds_sum", "node_id, stage"),
                        rate("ffrtmp_worker_stage_seconds_count", "node_id, stage"),
                    )
                    + ")"
                ),
                "{{node}} {{stage}}",
            ),
        ),
        steps=CALM,
        empty="No attempt completed in this time",
        drill=(THIS_NODE,),
    ),
    Panel(
        title="Duration of attempts",
        description="95 % take less.",
        kind=Kind.LINES,
        unit=Unit.SECONDS,
        queries=(
            Query(
                named(
                    "histogram_quantile(0.95, sum by (le, node_id) (rate(ffrtmp_worker_job_duration_seconds_bucket[$__rate_interval])))"
                ),
                "{{node}}",
            ),
        ),
        steps=Steps(warn=1800, alarm=3600),
        empty=NO_ATTEMPT,
        drill=(THIS_NODE,),
    ),
    Panel(
        title="Slowest attempt under way",
        description="Seconds of output per second. A live one below 1 is late, and an alert after a minute.",
        kind=Kind.LINES,
        unit=Unit.TIMES_REAL_TIME,
        queries=(Query(named("(ffrtmp_worker_slowest_speed_ratio >= 0)"), "{{node}} {{kind}}"),),
        steps=Steps(warn=1, alarm=0.95),
        empty="No attempt is under way",
        drill=(THIS_NODE, Drill("ffrtmp-live")),
    ),
    Panel(
        title="Processor time of attempts",
        description="Cores that attempts used, and cores that limits kept from them.",
        kind=Kind.LINES,
        unit=Unit.COUNT,
        queries=(
            Query(named(rate("ffrtmp_job_cpu_seconds_total", "node_id")), "{{node}} used"),
            Query(named(rate("ffrtmp_job_throttled_seconds_total", "node_id")), "{{node}} kept"),
        ),
        steps=CALM,
        empty=NO_AGENT,
        drill=(THIS_NODE, ENERGY),
    ),
    Panel(
        title="Sandbox and limits",
        description="Layers around attempts and limits on them: 1 in force, 0 not there or only watched. ffrtmp doctor says what is missing.",
        kind=Kind.TABLE,
        unit=Unit.STATE,
        queries=(
            Query(named("ffrtmp_worker_sandbox_layer"), "{{node}} {{layer}}"),
            Query(named("ffrtmp_worker_limit_enforced"), "{{node}} {{limit}}"),
        ),
        steps=Steps(warn=1, alarm=0.5),
        empty=NO_AGENT,
        drill=(THIS_NODE,),
        width=16,
    ),
)

DASHBOARD = Dashboard(
    uid="ffrtmp-worker",
    description="The machines, what they do and what holds them back.",
    variables=(Variable("node", "node", "ffrtmp_node_up"), Variable("host", "instance", "gpu_exporter_up")),
    rows=(Row("Fleet", FLEET), Row("Work", WORK), Row("Machines", MACHINE)),
)
