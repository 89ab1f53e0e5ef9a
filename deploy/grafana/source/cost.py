"""Cost Analysis: what was spent, on what, for whom."""

from .model import CALM, Dashboard, Drill, Kind, Panel, Query, Row, Unit, Variable

SCENARIO, TENANT = 'scenario=~"$scenario"', 'tenant=~"$tenant"'
THIS_SCENARIO, THIS_TENANT = Drill("ffrtmp-cost", "scenario", "scenario"), Drill("ffrtmp-cost", "tenant", "tenant")
ENERGY = Drill("ffrtmp-energy", "scenario", "scenario")
NO_RATES = "No rates are configured: docs/cost.md says how"

SPENT = (
    Panel(
        title="Spent in the shown time",
        description="By kind, in the currency of the label.",
        kind=Kind.NUMBER,
        unit=Unit.MONEY,
        queries=(Query("sum by (kind, currency) (increase(cost_spent_total[$__range]))", "{{kind}} {{currency}}"),),
        steps=CALM,
        empty=NO_RATES,
        drill=(Drill("ffrtmp-energy"),),
    ),
    Panel(
        title="Spent without an output",
        description="On attempts that failed, were given back or canceled, in the shown time.",
        kind=Kind.NUMBER,
        unit=Unit.MONEY,
        queries=(Query("sum by (currency) (increase(cost_wasted_total[$__range]))", "{{currency}}"),),
        steps=CALM,
        empty=NO_RATES,
        drill=(Drill("ffrtmp-production"),),
    ),
    Panel(
        title="Tariff of energy in force",
        description="1 for the period that is in force now; base outside of all.",
        kind=Kind.TABLE,
        unit=Unit.STATE,
        queries=(Query("max by (period) (cost_energy_period) == 1", "{{period}}"),),
        steps=CALM,
        empty=NO_RATES,
        drill=(Drill("ffrtmp-energy"),),
    ),
    Panel(
        title="Spending by kind",
        description="Currency per hour.",
        kind=Kind.AREAS,
        unit=Unit.MONEY,
        queries=(
            Query(
                "3600 * sum by (kind, currency) (rate(cost_spent_total[$__rate_interval]))", "{{kind}} {{currency}}/h"
            ),
        ),
        steps=CALM,
        empty=NO_RATES,
        drill=(Drill("ffrtmp-energy"),),
    ),
    Panel(
        title="Spending by tenant",
        description="Currency per hour.",
        kind=Kind.AREAS,
        unit=Unit.MONEY,
        queries=(
            Query(
                f"3600 * sum by (tenant, currency) (rate(cost_tenant_total{{{TENANT}}}[$__rate_interval]))",
                "{{tenant}} {{currency}}/h",
            ),
        ),
        steps=CALM,
        empty=NO_RATES,
        drill=(THIS_TENANT, Drill("ffrtmp-scheduler", "tenant", "tenant")),
    ),
    Panel(
        title="Spending by scenario",
        description="Currency per hour.",
        kind=Kind.AREAS,
        unit=Unit.MONEY,
        queries=(
            Query(
                f"3600 * sum by (scenario, currency) (rate(cost_scenario_total{{{SCENARIO}}}[$__rate_interval]))",
                "{{scenario}} {{currency}}/h",
            ),
        ),
        steps=CALM,
        empty=NO_RATES,
        drill=(THIS_SCENARIO, ENERGY),
    ),
)

UNITS = (
    Panel(
        title="Cost of a job",
        description="All costs of a scenario by its completed jobs.",
        kind=Kind.BARS,
        unit=Unit.MONEY,
        queries=(Query(f"max by (scenario, currency) (cost_per_job{{{SCENARIO}}})", "{{scenario}} {{currency}}"),),
        steps=CALM,
        empty=NO_RATES,
        drill=(THIS_SCENARIO, ENERGY),
    ),
    Panel(
        title="Cost of a million pixels",
        description="All costs by all encoded pixels of a scenario.",
        kind=Kind.BARS,
        unit=Unit.MONEY,
        queries=(
            Query(f"1e6 * max by (scenario, currency) (cost_per_pixel{{{SCENARIO}}})", "{{scenario}} {{currency}}"),
        ),
        steps=CALM,
        empty=NO_RATES,
        drill=(THIS_SCENARIO, Drill("ffrtmp-quality", "scenario", "scenario")),
    ),
    Panel(
        title="Cost of a watched hour",
        description="All costs by hours of output times the watches of each, which the rates state.",
        kind=Kind.BARS,
        unit=Unit.MONEY,
        queries=(
            Query(f"max by (scenario, currency) (cost_per_watch_hour{{{SCENARIO}}})", "{{scenario}} {{currency}}"),
        ),
        steps=CALM,
        empty=NO_RATES,
        drill=(THIS_SCENARIO,),
    ),
    Panel(
        title="The latest job",
        description="What the latest job of each scenario cost, and of it processors and energy.",
        kind=Kind.LINES,
        unit=Unit.MONEY,
        queries=(
            Query(f"max by (scenario, currency) (cost_total_load_aware{{{SCENARIO}}})", "{{scenario}} all"),
            Query(f"max by (scenario, currency) (cost_compute_load_aware{{{SCENARIO}}})", "{{scenario}} processors"),
            Query(f"max by (scenario, currency) (cost_energy_load_aware{{{SCENARIO}}})", "{{scenario}} energy"),
        ),
        steps=CALM,
        empty=NO_RATES,
        drill=(THIS_SCENARIO, ENERGY),
    ),
    Panel(
        title="Prices in force",
        description="As the operator gave them; that of energy follows the tariff.",
        kind=Kind.TABLE,
        unit=Unit.MONEY,
        queries=(Query("max by (resource, currency) (cost_rate)", "{{resource}} {{currency}}"),),
        steps=CALM,
        empty=NO_RATES,
        drill=(Drill("ffrtmp-energy"),),
    ),
    Panel(
        title="Jobs without a figure of energy",
        description="Part of the jobs with a cost whose energy is unknown, and counted as 0.",
        kind=Kind.NUMBER,
        unit=Unit.RATIO,
        queries=(Query("sum(cost_jobs_without_energy_total) / sum(cost_jobs_total)", "without"),),
        steps=CALM,
        empty=NO_RATES,
        drill=(Drill("ffrtmp-energy"),),
        high=1,
    ),
)

DASHBOARD = Dashboard(
    uid="ffrtmp-cost",
    description="What was spent, on what, for whom. Of attempts that ended while the master ran, by its operator's rates.",
    variables=(
        Variable("tenant", "tenant", "cost_tenant_total"),
        Variable("scenario", "scenario", "cost_scenario_total"),
    ),
    rows=(Row("Spending", SPENT), Row("What a thing costs", UNITS)),
)
