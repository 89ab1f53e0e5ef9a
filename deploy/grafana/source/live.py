"""Live: whether streams keep up with the clock."""

from .model import CALM, Dashboard, Drill, Kind, Panel, Query, Row, Steps, Unit, Variable
from .promql import named, newest, quantile, rate

SCENARIO = 'scenario=~"$scenario"'
SCHEDULER, QUALITY = Drill("ffrtmp-scheduler"), Drill("ffrtmp-quality", "scenario", "scenario")
THIS = Drill("ffrtmp-live", "scenario", "scenario")
THIS_NODE = Drill("ffrtmp-worker", "node", "node")
NO_LIVE = "No live job completed since the master started"


def grown(metric: str) -> tuple[Query, ...]:
    """Growth of a counter of live jobs in the shown time."""
    return (Query(f"sum by (scenario) (increase({metric}{{{SCENARIO}}}[$__range]))", "{{scenario}}"),)


NOW = (
    Panel(
        title="Live jobs that wait",
        description="A live job that waits is a stream that nobody sees.",
        kind=Kind.NUMBER,
        unit=Unit.COUNT,
        queries=(Query(newest("ffrtmp_queue_by_type", where='type="live"'), "waiting"),),
        steps=Steps(warn=1, alarm=3),
        empty="No master is scraped",
        drill=(SCHEDULER,),
        width=4,
    ),
    Panel(
        title="Live jobs completed",
        description="In the shown time.",
        kind=Kind.NUMBER,
        unit=Unit.COUNT,
        queries=grown("qoe_live_jobs_total"),
        steps=CALM,
        empty=NO_LIVE,
        drill=(THIS,),
        width=4,
    ),
    Panel(
        title="Slowest stream of each node",
        description="Seconds of output per second, now. Below 0.95 for a minute is an alert: viewers wait.",
        kind=Kind.LINES,
        unit=Unit.TIMES_REAL_TIME,
        queries=(Query(named('(ffrtmp_worker_slowest_speed_ratio{kind="live"} >= 0)'), "{{node}}"),),
        steps=Steps(warn=1, alarm=0.95),
        empty="No live job is under way",
        drill=(THIS_NODE,),
    ),
    Panel(
        title="Lowest speed of ended streams",
        description="Lowest speed over ten seconds, of the latest job.",
        kind=Kind.LINES,
        unit=Unit.TIMES_REAL_TIME,
        queries=(Query(f"min by (scenario) (qoe_live_slowest_speed_ratio{{{SCENARIO}}})", "{{scenario}}"),),
        steps=Steps(warn=1, alarm=0.95),
        empty=NO_LIVE,
        drill=(THIS, QUALITY),
    ),
)

LATENCY = (
    Panel(
        title="Added latency",
        description="Arrival of a picture to its encoded form, half and 95 % of the pictures of the latest job.",
        kind=Kind.LINES,
        unit=Unit.SECONDS,
        queries=(
            Query(
                f"max by (scenario, quantile) (qoe_live_added_latency_seconds{{{SCENARIO}}})",
                "{{scenario}} {{quantile}}",
            ),
        ),
        steps=Steps(warn=0.5, alarm=2),
        empty=NO_LIVE,
        drill=(THIS,),
    ),
    Panel(
        title="Time to the first output",
        description="Start of the attempt to the first byte of output, of the latest job.",
        kind=Kind.LINES,
        unit=Unit.SECONDS,
        queries=(Query(f"max by (scenario) (qoe_live_first_output_seconds{{{SCENARIO}}})", "{{scenario}}"),),
        steps=Steps(warn=3, alarm=10),
        empty=NO_LIVE,
        drill=(THIS,),
    ),
    Panel(
        title="Wait of live jobs",
        description="Queued to claimed, 95 % of all jobs; live ones come first.",
        kind=Kind.LINES,
        unit=Unit.SECONDS,
        queries=(Query(quantile(0.95, "ffrtmp_stage_seconds", where='stage="claim_wait"'), "p95"),),
        steps=Steps(warn=1, alarm=5),
        empty="No job was claimed in this time",
        drill=(SCHEDULER,),
    ),
)

LOSSES = (
    Panel(
        title="Pictures dropped",
        description="Pictures per second that outputs did not get, by queue.",
        kind=Kind.LINES,
        unit=Unit.FRAMES_PER_SECOND,
        queries=(Query(rate("ffrtmp_frames_dropped_total", "queue"), "{{queue}}"),),
        steps=Steps(warn=0.1, alarm=1),
        empty="No job ended since the master started",
        drill=(SCHEDULER,),
    ),
    Panel(
        title="Groups of pictures dropped",
        description="In the shown time. An output that takes too little loses whole groups, the oldest first.",
        kind=Kind.BARS,
        unit=Unit.COUNT,
        queries=grown("qoe_live_dropped_groups_total"),
        steps=Steps(warn=1, alarm=10),
        empty=NO_LIVE,
        drill=(THIS,),
    ),
    Panel(
        title="Sources lost",
        description="How often sources went away in the shown time.",
        kind=Kind.BARS,
        unit=Unit.COUNT,
        queries=grown("qoe_live_source_losses_total"),
        steps=Steps(warn=1, alarm=5),
        empty=NO_LIVE,
        drill=(THIS,),
    ),
    Panel(
        title="Time without a source",
        description="In the shown time. With a slate viewers see a picture meanwhile.",
        kind=Kind.BARS,
        unit=Unit.SECONDS,
        queries=grown("qoe_live_source_away_seconds_total"),
        steps=Steps(warn=1, alarm=30),
        empty=NO_LIVE,
        drill=(THIS,),
    ),
    Panel(
        title="Outputs lost",
        description="How often outputs went away in the shown time; they come back at a key frame.",
        kind=Kind.BARS,
        unit=Unit.COUNT,
        queries=grown("qoe_live_output_losses_total"),
        steps=Steps(warn=1, alarm=5),
        empty=NO_LIVE,
        drill=(THIS,),
    ),
    Panel(
        title="Changes of preset",
        description="How often a faster preset was taken to keep up, or the old one again, in the shown time.",
        kind=Kind.BARS,
        unit=Unit.COUNT,
        queries=grown("qoe_live_preset_changes_total"),
        steps=Steps(warn=1, alarm=5),
        empty=NO_LIVE,
        drill=(THIS, Drill("ffrtmp-worker")),
    ),
)

DASHBOARD = Dashboard(
    uid="ffrtmp-live",
    description="Whether streams keep up with the clock, and what they lose.",
    variables=(
        Variable("scenario", "scenario", "results_scenario_jobs_total"),
        Variable("node", "node", "ffrtmp_node_up"),
    ),
    rows=(Row("Now", NOW), Row("Latency", LATENCY), Row("Losses", LOSSES)),
)
