"""Energy Efficiency: where the energy goes, and what is got for it."""

from .model import CALM, Dashboard, Drill, Kind, Panel, Query, Row, Steps, Unit, Variable
from .promql import named, rate, share

SCENARIO = 'scenario=~"$scenario"'
HOST = 'instance=~"$host"'
WORKER, COST = Drill("ffrtmp-worker"), Drill("ffrtmp-cost", "scenario", "scenario")
THIS = Drill("ffrtmp-energy", "scenario", "scenario")
THIS_NODE = Drill("ffrtmp-worker", "node", "node")
NO_RAPL = "No node tells its power: RAPL needs Intel or AMD outside of virtual machines, and readable counters"
NO_GPU = "No node has a graphics card, or none serves its exporter"
NO_ENERGY = "No attempt reported energy in this time"

POWER = (
    Panel(
        title="Power of processors",
        description="Sum of the packages and their memory, by node. A package above 80 W is told, above 120 W it is an alert.",
        kind=Kind.LINES,
        unit=Unit.WATTS,
        queries=(Query(f"sum by (instance) (rapl_power_watts{{{HOST}}})", "{{instance}}"),),
        steps=Steps(warn=80, alarm=120),
        empty=NO_RAPL,
        drill=(WORKER,),
    ),
    Panel(
        title="Power by zone",
        description="Zones that may be added up. Parts of them are served as rapl_part_power_watts.",
        kind=Kind.AREAS,
        unit=Unit.WATTS,
        queries=(Query(f"rapl_power_watts{{{HOST}}}", "{{instance}} {{zone}}"),),
        steps=Steps(warn=80, alarm=120),
        empty=NO_RAPL,
        drill=(WORKER,),
    ),
    Panel(
        title="Power of graphics cards",
        description="As each card tells.",
        kind=Kind.LINES,
        unit=Unit.WATTS,
        queries=(Query(f"gpu_power_watts{{{HOST}}}", "{{instance}} {{gpu}}"),),
        steps=Steps(warn=250, alarm=350),
        empty=NO_GPU,
        drill=(WORKER,),
    ),
    Panel(
        title="Energy of the machines",
        description="Watt hours of processors and cards in the shown time.",
        kind=Kind.NUMBER,
        unit=Unit.WATT_HOURS,
        queries=(
            Query(f"sum by (instance) (increase(rapl_energy_joules_total{{{HOST}}}[$__range])) / 3600", "{{instance}}"),
            Query(
                f"sum by (instance) (increase(gpu_energy_joules_total{{{HOST}}}[$__range])) / 3600",
                "{{instance}} cards",
            ),
        ),
        steps=CALM,
        empty=NO_RAPL,
        drill=(WORKER,),
    ),
)

WORK = (
    Panel(
        title="Energy of attempts",
        description="Per second, by how it is known. Modelled energy is processor time times a stated power.",
        kind=Kind.AREAS,
        unit=Unit.WATTS,
        queries=(Query(rate("ffrtmp_energy_joules_total", "source"), "{{source}}"),),
        steps=CALM,
        empty=NO_ENERGY,
        drill=(Drill("ffrtmp-production"),),
    ),
    Panel(
        title="Energy of attempts, by node",
        description="Per second, of attempts that ended.",
        kind=Kind.LINES,
        unit=Unit.WATTS,
        queries=(Query(named(rate("ffrtmp_job_energy_joules_total", "node_id")), "{{node}}"),),
        steps=CALM,
        empty=NO_ENERGY,
        drill=(THIS_NODE,),
    ),
    Panel(
        title="Modelled, not measured",
        description="Part of the energy that no meter measured.",
        kind=Kind.DIAL,
        unit=Unit.RATIO,
        queries=(
            Query(
                share('sum(ffrtmp_energy_joules_total{source="modelled"})', "sum(ffrtmp_energy_joules_total)"),
                "modelled",
            ),
        ),
        steps=Steps(warn=0.5, alarm=1),
        empty=NO_ENERGY,
        drill=(WORKER,),
        high=1,
    ),
    Panel(
        title="Energy of a frame",
        description="Joules by frame, all completed attempts.",
        kind=Kind.LINES,
        unit=Unit.JOULES,
        queries=(Query(share(rate("ffrtmp_energy_joules_total"), rate("ffrtmp_frames_encoded_total")), "all"),),
        steps=CALM,
        empty=NO_ENERGY,
        drill=(Drill("ffrtmp-quality"),),
    ),
    Panel(
        title="Energy of an hour of output",
        description="Watt hours by hour of output, all completed attempts.",
        kind=Kind.LINES,
        unit=Unit.WATT_HOURS,
        queries=(Query(share(rate("ffrtmp_energy_joules_total"), rate("ffrtmp_media_seconds_total")), "all"),),
        steps=CALM,
        empty=NO_ENERGY,
        drill=(Drill("ffrtmp-cost"),),
    ),
    Panel(
        title="Processor time of a second of output",
        description="The same work without a meter; time that limits kept from attempts is beside it.",
        kind=Kind.LINES,
        unit=Unit.SECONDS,
        queries=(
            Query(share(rate("ffrtmp_cpu_seconds_total"), rate("ffrtmp_media_seconds_total")), "used"),
            Query(share(rate("ffrtmp_throttled_seconds_total"), rate("ffrtmp_media_seconds_total")), "kept"),
        ),
        steps=CALM,
        empty="No attempt completed in this time",
        drill=(WORKER,),
    ),
)

SCENARIOS = (
    Panel(
        title="Energy of an hour of output, by scenario",
        description="Watt hours by hour of output, since the master started.",
        kind=Kind.BARS,
        unit=Unit.WATT_HOURS,
        queries=(
            Query(
                share(
                    f"sum by (scenario) (results_scenario_total_energy_joules{{{SCENARIO}}})",
                    f"sum by (scenario) (results_scenario_output_seconds_total{{{SCENARIO}}})",
                ),
                "{{scenario}}",
            ),
        ),
        steps=CALM,
        empty=NO_ENERGY,
        drill=(THIS, COST),
    ),
    Panel(
        title="Mean power, by scenario",
        description="Energy by wall time of the latest job.",
        kind=Kind.BARS,
        unit=Unit.WATTS,
        queries=(Query(f"max by (scenario) (results_scenario_mean_power_watts{{{SCENARIO}}})", "{{scenario}}"),),
        steps=CALM,
        empty=NO_ENERGY,
        drill=(THIS, COST),
    ),
    Panel(
        title="Frames by joule, by scenario",
        description="More is better. Compare within one size.",
        kind=Kind.BARS,
        unit=Unit.COUNT,
        queries=(
            Query(
                share(
                    f"sum by (scenario) (results_scenario_total_frames{{{SCENARIO}}})",
                    f"sum by (scenario) (results_scenario_total_energy_joules{{{SCENARIO}}})",
                ),
                "{{scenario}}",
            ),
        ),
        steps=CALM,
        empty=NO_ENERGY,
        drill=(THIS, Drill("ffrtmp-quality", "scenario", "scenario")),
    ),
)

DASHBOARD = Dashboard(
    uid="ffrtmp-energy",
    description="Where the energy goes, and what is got for it.",
    variables=(
        Variable("host", "instance", "rapl_exporter_up"),
        Variable("node", "node", "ffrtmp_node_up"),
        Variable("scenario", "scenario", "results_scenario_jobs_total"),
    ),
    rows=(Row("Machines", POWER), Row("Work", WORK), Row("Scenarios", SCENARIOS)),
)
