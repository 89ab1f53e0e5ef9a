"""Two sets of results side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ffrtmp.analysis.bjontegaard import bd_rate
from ffrtmp.analysis.errors import AnalysisError
from ffrtmp.analysis.extras import package
from ffrtmp.analysis.quantities import Measure, require_measure
from ffrtmp.analysis.table import Results, cell

_RATIOS = ("wh_per_hour", "cpu_seconds", "wall_seconds", "size", "speed", "peak_memory_bytes", "efficiency_score")
_PAIRED_BY = ("input", "resolution", "fps", "bitrate", "crf", "count")


@dataclass(frozen=True, slots=True)
class Comparison:
    """How ``b`` stands to ``a``."""

    pairs: int
    """Rows of ``a`` and ``b`` that encode the same clip to the same size, rate and bit rate."""
    ratios: dict[str, float]
    """Geometric means over the pairs of ``b`` over ``a``, by column; NaN where either lacks values."""
    differences: dict[str, float]
    """Mean over the pairs of ``b`` less ``a``: ``vmaf``, ``psnr`` in dB, ``ssim``; NaN as above."""
    bd_rate: float
    """Bits that ``b`` needs more than ``a`` at equal quality, percent, mean over the clips; NaN as above."""
    bd_energy: float
    """Energy that ``b`` needs more than ``a`` at equal quality, percent, mean over the clips; NaN as above."""
    measure: Measure
    """The quality that is held equal."""
    notes: tuple[str, ...]
    """Why values are NaN, and what else a reader should know."""

    def __str__(self) -> str:
        lines = [f"b against a, {self.pairs} pairs"]
        lines += [f"  {name:<20} × {cell(value)}" for name, value in self.ratios.items()]
        lines += [f"  {name:<20} {value:+.4g}" for name, value in self.differences.items() if not math.isnan(value)]
        lines += [f"  BD-rate ({self.measure})       {cell(self.bd_rate)} %", f"  BD-energy ({self.measure})     {cell(self.bd_energy)} %"]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def compare(a: Results, b: Results, *, quality: Measure = "vmaf") -> Comparison:
    """How ``b`` stands to ``a``: codec against codec, preset against preset, today against yesterday.

    Rows are paired by clip, size, rate, bit rate or CRF, and count. The Bjøntegaard deltas are over
    each clip's curve and need no pairs.

    Args:
        a: the anchor.
        b: the test.
        quality: which measure the Bjøntegaard deltas hold equal.

    >>> def run(codec, bits, wh):
    ...     return [{"input": "a.mp4", "codec": codec, "bitrate": rate, "output_bitrate": rate * bits, "vmaf": vmaf,
    ...              "duration": 3600.0, "wall_seconds": 60.0, "total_energy_wh": wh, "energy_source": "rapl"}
    ...             for rate, vmaf in [(1e6, 80.0), (2e6, 88.0), (4e6, 94.0), (8e6, 97.0)]]
    >>> found = compare(Results.of(run("h264", 1.0, 2.0)), Results.of(run("hevc", 0.5, 6.0)))
    >>> found.pairs, round(found.bd_rate, 6), round(found.ratios["wh_per_hour"], 6)
    (4, -50.0, 3.0)

    Raises:
        AnalysisError: ``quality`` is no measure.
    """
    require_measure(quality)
    pairs = _pairs(a, b)
    notes: list[str] = [] if pairs else ["no row of b encodes what a row of a encodes: ratios and differences are unknown"]
    modelled = {bool(row["modelled"]) for side in (a, b) for row in side.rows() if row["modelled"] is not None}
    if modelled == {True}:
        notes.append("energy is modelled from processor time")
    elif len(modelled) > 1:
        notes.append("some energy is modelled, some measured: their ratio says little")
    return Comparison(
        pairs=len(pairs),
        ratios={name: _ratio(pairs, name) for name in _RATIOS},
        differences={name: _difference(pairs, name) for name in ("vmaf", "psnr", "ssim")},
        bd_rate=_mean_delta(a, b, "output_bitrate", quality, notes),
        bd_energy=_mean_delta(a, b, "wh_per_hour", quality, notes),
        measure=quality,
        notes=tuple(notes),
    )


def _pairs(a: Results, b: Results) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    def keyed(results: Results) -> dict[tuple[Any, ...], dict[str, Any]]:
        return {tuple(row[key] for key in _PAIRED_BY): row for row in results.rows() if row["type"] != "baseline"}

    others = keyed(b)
    return [(row, others[key]) for key, row in keyed(a).items() if key in others]


def _ratio(pairs: list[tuple[dict[str, Any], dict[str, Any]]], name: str) -> float:
    logs = [math.log(two[name] / one[name]) if one[name] and two[name] else math.nan for one, two in pairs]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def _difference(pairs: list[tuple[dict[str, Any], dict[str, Any]]], name: str) -> float:
    found = [math.nan if one[name] is None or two[name] is None else two[name] - one[name] for one, two in pairs]
    return sum(found) / len(found) if found else math.nan


def _mean_delta(a: Results, b: Results, cost: str, quality: str, notes: list[str]) -> float:
    clips = [clip for clip in dict.fromkeys(a.texts("input")) if clip in set(b.texts("input"))]
    deltas: list[float] = []
    for clip in clips:
        curves = [_curve(side.where(input=clip), cost, quality) for side in (a, b)]
        try:
            deltas.append(bd_rate(*curves[0], *curves[1]))
        except AnalysisError as error:
            about = f" of {clip}" if clip else ""
            notes.append(f"no Bjøntegaard delta of {cost}{about}: {error}")
            return math.nan
    return sum(deltas) / len(deltas) if deltas else math.nan


def _curve(results: Results, cost: str, quality: str) -> tuple[list[float], list[float]]:
    np = package("numpy")
    costs, qualities = results.numbers(cost), results.numbers(quality)
    known = ~np.isnan(costs) & ~np.isnan(qualities)
    return costs[known].tolist(), qualities[known].tolist()
