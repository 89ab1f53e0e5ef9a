"""Scores of efficiency. ``docs/analysis.md`` has the formulas and where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ffrtmp.analysis.extras import package

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

Metric = Literal["auto", "qoe_efficiency", "pixels_per_joule", "throughput_per_watt", "quality_per_watt"]
"""What the score of a row is; ``auto`` takes the first that every row with energy has."""
Basis = Literal["auto", "total", "net"]
"""Which energy counts: all of it, or less the idle machine's; ``auto`` takes net if every row with energy has it."""

METRICS: tuple[Metric, ...] = ("qoe_efficiency", "pixels_per_joule", "throughput_per_watt", "quality_per_watt")
BASES: tuple[Basis, ...] = ("auto", "total", "net")


@dataclass(frozen=True, slots=True)
class Scores:
    """Derived columns of a table."""

    columns: dict[str, Any]
    metric: Metric
    basis: Basis


def scores(recorded: Any, metric: Metric, basis: Basis) -> Scores:
    """The derived columns of a table of recorded ones.

    One table has one metric and one basis: scores of different kinds cannot be ranked together.
    """
    np = package("numpy")

    def number(name: str) -> Numbers:
        column = recorded.column(name)
        return np.asarray(column.cast("float64").to_numpy(), dtype=np.float64)

    basis = _chosen_basis(number("total_energy_wh"), number("net_energy_wh"), basis)
    wh = number("total_energy_wh" if basis == "total" else "net_energy_wh")
    watts = number("mean_power_w" if basis == "total" else "net_power_w")
    count = np.nan_to_num(number("count"), nan=1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        joules = np.where(wh > 0, wh * 3600.0, np.nan)
        watts = np.where(watts > 0, watts, np.nan)
        seconds = number("duration") * count
        made = number("size") * 8e-6 / number("wall_seconds")
        streamed = number("bitrate") * 1e-6 * count
        vmaf, pixels = number("vmaf"), number("pixels")
        derived: dict[str, Numbers] = {
            "wh_per_hour": np.where(seconds > 0, joules / seconds, np.nan),
            "pixels_per_joule": pixels / joules,
            "throughput_per_watt": np.where(np.isnan(made), streamed, made) / watts,
            "quality_per_watt": vmaf / watts,
            "qoe_efficiency": vmaf / 100.0 * pixels / joules,
        }
    derived = {name: np.where(np.isfinite(values), values, np.nan) for name, values in derived.items()}
    metric = _chosen_metric(derived, joules, metric)
    score = derived[metric]
    return Scores({**derived, "efficiency_score": score, "efficiency_rank": ranks(score)}, metric, basis)


def _chosen_basis(total: Numbers, net: Numbers, basis: Basis) -> Basis:
    np = package("numpy")
    if basis != "auto":
        return basis
    known = ~np.isnan(total)
    return "net" if known.any() and not np.isnan(net[known]).any() else "total"


def _chosen_metric(derived: dict[str, Numbers], joules: Numbers, metric: Metric) -> Metric:
    np = package("numpy")
    if metric != "auto":
        return metric
    known = ~np.isnan(joules)
    for name in METRICS[:3]:
        if known.any() and not np.isnan(derived[name][known]).any():
            return name
    return "pixels_per_joule"


def ranks(score: Numbers) -> Numbers:
    """Ranks from 1, the highest score first; equal scores share one; NaN has none (NaN).

    >>> import numpy
    >>> [float(rank) for rank in ranks(numpy.array([2.0, 5.0, float("nan"), 5.0]))]
    [3.0, 1.0, nan, 1.0]
    """
    np = package("numpy")
    known = np.sort(score[~np.isnan(score)])
    better = len(known) - np.searchsorted(known, score, side="right")
    return np.where(np.isnan(score), np.nan, better + 1.0)
