"""Quality Metrics: what the outputs are like, by scenario."""

from .model import CALM, Dashboard, Drill, Kind, Panel, Query, Row, Steps, Unit, Variable
from .promql import quantiles, rate, share

SCENARIO = 'scenario=~"$scenario"'
THIS = Drill("ffrtmp-quality", "scenario", "scenario")
COST, ENERGY = Drill("ffrtmp-cost", "scenario", "scenario"), Drill("ffrtmp-energy", "scenario", "scenario")
UNMEASURED = "No job brought a measured quality: docs/analysis.md says how to measure it"
NO_JOB = "No job completed since the master started"


def latest(metric: str) -> tuple[Query, ...]:
    """A figure of the latest job of each scenario."""
    return (Query(f"max by (scenario) ({metric}{{{SCENARIO}}})", "{{scenario}}"),)


SCORES = (
    Panel(
        title="VMAF",
        description="Of the latest measured job, 0 to 100. Compare within one size.",
        kind=Kind.LINES,
        unit=Unit.VMAF,
        queries=latest("qoe_vmaf_score"),
        steps=Steps(warn=90, alarm=80),
        empty=UNMEASURED,
        drill=(THIS, COST),
        high=100,
    ),
    Panel(
        title="PSNR",
        description="Peak signal to noise of the luma, of the latest measured job.",
        kind=Kind.LINES,
        unit=Unit.DECIBELS,
        queries=latest("qoe_psnr_score"),
        steps=Steps(warn=38, alarm=32),
        empty=UNMEASURED,
        drill=(THIS,),
    ),
    Panel(
        title="SSIM",
        description="Structural similarity of the luma, 0 to 1, of the latest measured job.",
        kind=Kind.LINES,
        unit=Unit.COUNT,
        queries=latest("qoe_ssim_score"),
        steps=Steps(warn=0.95, alarm=0.9),
        empty=UNMEASURED,
        drill=(THIS,),
        high=1,
    ),
    Panel(
        title="Measured of completed",
        description="Part of the completed jobs whose quality somebody measured.",
        kind=Kind.BARS,
        unit=Unit.RATIO,
        queries=(
            Query(
                f"sum by (scenario) (qoe_jobs_measured_total{{{SCENARIO}}}) / sum by (scenario) (qoe_jobs_total{{{SCENARIO}}})",
                "{{scenario}}",
            ),
        ),
        steps=CALM,
        empty=NO_JOB,
        drill=(THIS,),
        high=1,
    ),
    Panel(
        title="Quality per watt",
        description="VMAF by mean power. It likes slow encodes: they need less power, not less energy.",
        kind=Kind.LINES,
        unit=Unit.COUNT,
        queries=latest("qoe_quality_per_watt"),
        steps=CALM,
        empty="No job brought both a quality and an energy",
        drill=(THIS, ENERGY),
    ),
    Panel(
        title="Efficiency",
        description="Pixels by joule times VMAF / 100. More is better.",
        kind=Kind.LINES,
        unit=Unit.COUNT,
        queries=latest("qoe_efficiency_score"),
        steps=CALM,
        empty="No job brought both a quality and an energy",
        drill=(THIS, ENERGY),
    ),
)

OUTPUT = (
    Panel(
        title="Bit rate",
        description="Average of the latest output.",
        kind=Kind.LINES,
        unit=Unit.BITS_PER_SECOND,
        queries=latest("results_scenario_bits_per_second"),
        steps=CALM,
        empty=NO_JOB,
        drill=(THIS,),
    ),
    Panel(
        title="Bits per pixel",
        description="Of the latest output. H.264 below 0.02 shows blocks; above 0.2 bits are wasted.",
        kind=Kind.LINES,
        unit=Unit.COUNT,
        queries=latest("qoe_bits_per_pixel"),
        steps=Steps(warn=0.2, alarm=0.5),
        empty=NO_JOB,
        drill=(THIS,),
    ),
    Panel(
        title="Compression",
        description="Bytes of input per byte of output.",
        kind=Kind.LINES,
        unit=Unit.COUNT,
        queries=quantiles("ffrtmp_job_compression_ratio"),
        steps=CALM,
        empty="No job with an input completed in this time",
        drill=(Drill("ffrtmp-cost"),),
    ),
    Panel(
        title="Frame rate of outputs",
        description="Of the latest output.",
        kind=Kind.LINES,
        unit=Unit.FRAMES_PER_SECOND,
        queries=latest("qoe_frames_per_second"),
        steps=CALM,
        empty=NO_JOB,
        drill=(THIS,),
    ),
    Panel(
        title="Pictures dropped",
        description="Part of all pictures that outputs did not get.",
        kind=Kind.LINES,
        unit=Unit.RATIO,
        queries=latest("qoe_drop_rate"),
        steps=Steps(warn=0.001, alarm=0.01),
        empty=NO_JOB,
        drill=(Drill("ffrtmp-live", "scenario", "scenario"),),
    ),
    Panel(
        title="Frames encoded",
        description="Frames per second over all jobs, by queue.",
        kind=Kind.AREAS,
        unit=Unit.FRAMES_PER_SECOND,
        queries=(Query(rate("ffrtmp_frames_encoded_total", "queue"), "{{queue}}"),),
        steps=CALM,
        empty=NO_JOB,
        drill=(Drill("ffrtmp-scheduler", "queue", "queue"),),
    ),
)

MAKING = (
    Panel(
        title="Encoding speed",
        description="Seconds of output per second of wall time, of the latest job.",
        kind=Kind.LINES,
        unit=Unit.TIMES_REAL_TIME,
        queries=latest("results_scenario_speed_ratio"),
        steps=Steps(warn=1.2, alarm=1),
        empty=NO_JOB,
        drill=(THIS, Drill("ffrtmp-worker")),
    ),
    Panel(
        title="Encoded frames per second",
        description="Frames by wall time, of the latest job.",
        kind=Kind.LINES,
        unit=Unit.FRAMES_PER_SECOND,
        queries=latest("results_scenario_avg_fps"),
        steps=CALM,
        empty=NO_JOB,
        drill=(THIS,),
    ),
    Panel(
        title="Peak memory",
        description="Largest memory of the latest attempt.",
        kind=Kind.LINES,
        unit=Unit.BYTES,
        queries=latest("results_scenario_peak_memory_bytes"),
        steps=Steps(warn=2**31, alarm=2**32),
        empty=NO_JOB,
        drill=(THIS, Drill("ffrtmp-worker")),
    ),
    Panel(
        title="Jobs by scenario",
        description="Jobs that ended in the shown time, by state.",
        kind=Kind.TABLE,
        unit=Unit.COUNT,
        queries=(
            Query(
                f"sum by (scenario, state) (increase(results_scenario_jobs_total{{{SCENARIO}}}[$__range])) > 0",
                "{{scenario}} {{state}}",
            ),
        ),
        steps=CALM,
        empty=NO_JOB,
        drill=(THIS, COST),
        width=16,
    ),
    Panel(
        title="Failed, by scenario",
        description="Part of the jobs of each scenario that failed.",
        kind=Kind.BARS,
        unit=Unit.RATIO,
        queries=(
            Query(
                share(
                    f'sum by (scenario) (results_scenario_jobs_total{{state="failed",{SCENARIO}}})',
                    f"sum by (scenario) (results_scenario_jobs_total{{{SCENARIO}}})",
                ),
                "{{scenario}}",
            ),
        ),
        steps=Steps(warn=0.05, alarm=0.1),
        empty="No job failed",
        drill=(THIS, Drill("ffrtmp-production")),
        high=1,
    ),
)

DASHBOARD = Dashboard(
    uid="ffrtmp-quality",
    description="What the outputs are like, by scenario.",
    variables=(Variable("scenario", "scenario", "results_scenario_jobs_total"),),
    rows=(Row("Measured quality", SCORES), Row("Outputs", OUTPUT), Row("Making them", MAKING)),
)
