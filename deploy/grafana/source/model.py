"""What a dashboard is made of, and how it becomes Grafana's JSON.

A panel cannot be written without unit, description, thresholds, a text for no data and a way to drill
down. What the panels of a dashboard show stands in the file of its name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any

from grafana_foundation_sdk.builders import bargauge, common, gauge, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as grafana
from grafana_foundation_sdk.models.common import StackingMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = grafana.DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "ffrtmp"
TRACED = (
    "ffrtmp_stage_seconds",
    "ffrtmp_attempt_seconds",
    "ffrtmp_job_duration_seconds",
    "ffrtmp_job_wait_time_seconds",
    "ffrtmp_job_speed_ratio",
)
"""Histograms whose buckets name the trace of a job."""


class Kind(Enum):
    """How a panel draws."""

    LINES = "timeseries"
    AREAS = "timeseries, stacked"
    NUMBER = "stat"
    DIAL = "gauge"
    BARS = "bargauge"
    TABLE = "table"


class Unit(Enum):
    """Units by Grafana's names."""

    COUNT = "short"
    SECONDS = "s"
    SECONDS_AGO = "dtdurations"
    PERCENT = "percent"
    RATIO = "percentunit"
    BYTES = "bytes"
    BYTES_PER_SECOND = "Bps"
    BITS_PER_SECOND = "bps"
    PER_SECOND = "ops"
    PER_MINUTE = "opm"
    WATTS = "watt"
    JOULES = "joule"
    WATT_HOURS = "watth"
    CELSIUS = "celsius"
    DECIBELS = "dB"
    TIMES_REAL_TIME = "suffix:×"
    FRAMES_PER_SECOND = "suffix: fps"
    MONEY = "currency:"
    VMAF = "suffix: VMAF"
    STATE = "none"


@dataclass(frozen=True)
class Query:
    """A PromQL expression, and how its series are called."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Steps:
    """From which value on a panel turns to a warning, and to alarm. Lower values are worse if `falling`."""

    warn: float
    alarm: float

    def build(self) -> build.ThresholdsConfig:
        falling = self.alarm < self.warn
        colors = ("red", "yellow", "green") if falling else ("green", "yellow", "red")
        values = (None, *sorted((self.warn, self.alarm)))
        steps = [grafana.Threshold(value=value, color=color) for value, color in zip(values, colors)]
        return build.ThresholdsConfig().mode(grafana.ThresholdsMode.ABSOLUTE).steps(steps)


@dataclass(frozen=True)
class Calm:
    """Thresholds of a quantity of which no value is bad."""

    def build(self) -> build.ThresholdsConfig:
        steps = [grafana.Threshold(value=None, color="blue")]
        return build.ThresholdsConfig().mode(grafana.ThresholdsMode.ABSOLUTE).steps(steps)


CALM = Calm()


@dataclass(frozen=True)
class Drill:
    """Another dashboard, with the series' label as its variable where one is named."""

    uid: str
    variable: str = ""
    label: str = ""

    def build(self) -> build.DashboardLink:
        carried = "${__all_variables}&${__url_time_range}"
        if self.variable:
            carried = (
                f"var-{self.variable}=${{__field.labels.{self.label}}}&"
                + "var-datasource=${datasource}&${__url_time_range}"
            )
        subject = f" of this {self.variable}" if self.variable else ""
        link = build.DashboardLink(f"{TITLES[self.uid]}{subject}")
        return link.type(grafana.DashboardLinkType.LINK).url(f"/d/{self.uid}?{carried}").target_blank(False)


@dataclass(frozen=True)
class Panel:
    """One panel. `empty` is shown where there is no data."""

    title: str
    description: str
    kind: Kind
    unit: Unit
    queries: tuple[Query, ...]
    steps: Steps | Calm
    empty: str
    drill: tuple[Drill, ...]
    width: int = 8
    height: int = 8
    low: float | None = 0
    high: float | None = None
    states: tuple[tuple[str, str, str], ...] = ()

    def build(self) -> Any:
        panel = PANELS[self.kind]()
        panel.title(self.title).description(self.description).datasource(SOURCE)
        panel.span(self.width).height(self.height).unit(self.unit.value).no_value(self.empty)
        panel.thresholds(self.steps.build()).data_links([drill.build() for drill in self.drill])
        if self.low is not None:
            panel.min(self.low)
        if self.high is not None:
            panel.max(self.high)
        if self.states:
            options = {value: grafana.ValueMappingResult(text=text, color=color) for value, text, color in self.states}
            panel.mappings([grafana.ValueMap(options=options)])
        panel.targets([self.target(index, query) for index, query in enumerate(self.queries)])
        return panel

    def target(self, index: int, query: Query) -> prometheus.Dataquery:
        target = prometheus.Dataquery().expr(query.expr).ref_id(chr(ord("A") + index)).datasource(SOURCE)
        if query.legend:
            target.legend_format(query.legend)
        if self.kind in (Kind.LINES, Kind.AREAS):
            traced = any(f"{name}_bucket" in query.expr for name in TRACED)
            return target.range().exemplar(True) if traced else target.range()
        return target.instant().format(
            PromQueryFormat.TABLE if self.kind is Kind.TABLE else PromQueryFormat.TIME_SERIES
        )


def lines() -> timeseries.Panel:
    legend = common.VizLegendOptions().show_legend(True).calcs(["lastNotNull", "max"])
    return timeseries.Panel().legend(legend).fill_opacity(10).span_nulls(False)


def areas() -> timeseries.Panel:
    return lines().fill_opacity(40).stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))


PANELS: dict[Kind, Any] = {
    Kind.LINES: lines,
    Kind.AREAS: areas,
    Kind.NUMBER: stat.Panel,
    Kind.DIAL: gauge.Panel,
    Kind.BARS: bargauge.Panel,
    Kind.TABLE: table.Panel,
}


@dataclass(frozen=True)
class Variable:
    """What a dashboard is narrowed down by: the values of a label of a metric."""

    name: str
    label: str
    metric: str

    def build(self) -> build.QueryVariable:
        everything = grafana.VariableOption(text=["All"], value=["$__all"], selected=True)
        query = {"qryType": 1, "query": f"label_values({self.metric},{self.label})", "refId": "values"}
        return (
            build.QueryVariable(self.name)
            .label(self.name.capitalize())
            .datasource(SOURCE)
            .query(query)
            .refresh(grafana.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(grafana.VariableSort.ALPHABETICAL_ASC)
            .include_all(True)
            .all_value(".*")
            .multi(True)
            .current(everything)
        )


@dataclass(frozen=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    """One dashboard. Its file is named like its `uid`."""

    uid: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]

    def json(self) -> str:
        board = build.Dashboard(TITLES[self.uid]).uid(self.uid).description(self.description).tags([TAG])
        board.timezone("browser").time("now-3h", "now").refresh("30s").readonly()
        board.tooltip(grafana.DashboardCursorSync.CROSSHAIR)
        board.with_variable(build.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        for variable in self.variables:
            board.with_variable(variable.build())
        others = build.DashboardLink("Dashboards").type(grafana.DashboardLinkType.DASHBOARDS).tags([TAG])
        board.link(others.as_dropdown(True).include_vars(True).keep_time(True))
        for row in self.rows:
            board.with_row(build.Row(row.title))
            for panel in row.panels:
                board.with_panel(panel.build())
        made = board.build()
        for number, drawn in enumerate(made.panels or [], start=1):
            drawn.id_val = number
        return json.dumps(made, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


TITLES = {
    "ffrtmp-production": "Production Monitoring",
    "ffrtmp-scheduler": "Job Scheduler",
    "ffrtmp-worker": "Worker Monitoring",
    "ffrtmp-quality": "Quality Metrics",
    "ffrtmp-cost": "Cost Analysis",
    "ffrtmp-predictions": "ML Predictions",
    "ffrtmp-energy": "Energy Efficiency",
    "ffrtmp-live": "Live",
}
