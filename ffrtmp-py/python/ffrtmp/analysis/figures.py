"""Plots. They need the extra ``plots``; every function draws on the axes it is given, or on new ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ffrtmp.analysis.aggregation import Setting, by_setting
from ffrtmp.analysis.extras import package
from ffrtmp.analysis.front import pareto_front
from ffrtmp.analysis.quantities import Measure, require_measure
from ffrtmp.analysis.table import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = ("#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626", "#0891b2", "#65a30d", "#db2777")
_MARKERS = "osD^vPX*"
_STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "grid.color": "#e5e7eb",
    "font.size": 9,
    "legend.frameon": False,
    "text.parse_math": False,  # a name may hold a dollar
}
_LABELS = {"vmaf": "VMAF", "psnr": "PSNR of the luma, dB", "ssim": "SSIM"}
_MOST_BARS = 30


def plot_rate_quality(results: Results, *, quality: Measure = "vmaf", ax: Axes | None = None) -> Axes:
    """Quality over bit rate: a curve for each codec, preset, clip and picture size.

    Args:
        results: what to draw; rows without either value are left out.
        quality: the measure.
        ax: where to draw.

    Raises:
        MissingExtraError: matplotlib is not installed.
        AnalysisError: ``quality`` is no measure.
    """
    require_measure(quality)

    def draw(axes: Any) -> None:
        curves: dict[tuple[str, str, str, str], list[tuple[float, float]]] = {}
        for row in results.rows():
            if row["output_bitrate"] and row[quality] is not None:
                key = (row["codec"] or "", row["preset"] or "", row["input"] or "", row["resolution"] or "")
                curves.setdefault(key, []).append((row["output_bitrate"] / 1e6, row[quality]))
        varied = [len({key[place] for key in curves}) > 1 for place in (2, 3)]
        styles = _styles([key[:2] for key in curves])
        for key, points in sorted(curves.items()):
            colour, marker = styles[key[:2]]
            label = " ".join(filter(None, (*key[:2], _short(key[2]) if varied[0] else "", key[3] if varied[1] else "")))
            axes.plot(*zip(*sorted(points), strict=True), marker=marker, color=colour, label=label or "all", markersize=4, linewidth=1.2)
        axes.set_xscale("log")
        _plain_ticks(axes.xaxis)
        axes.set(xlabel="bit rate, Mb/s", ylabel=_LABELS[quality], title="Rate and quality")
        _legend(axes, len(curves), f"no {_LABELS[quality]} was measured")

    return _drawn(draw, ax)


def plot_energy(results: Results, *, ax: Axes | None = None) -> Axes:
    """Energy for one hour of video by picture size and codec; modelled energy is hatched.

    A bar is the mean over the rows of one size and codec.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """

    def draw(axes: Any) -> None:
        cells: dict[tuple[int, str, str], list[tuple[float, bool]]] = {}
        for row in results.rows():
            if row["wh_per_hour"] is not None:
                key = ((row["width"] or 0) * (row["height"] or 0), row["resolution"] or "?", row["codec"] or "?")
                cells.setdefault(key, []).append((row["wh_per_hour"], bool(row["modelled"])))
        sizes = list(dict.fromkeys(key[:2] for key in sorted(cells)))
        codecs = sorted({key[2] for key in cells})
        width = 0.8 / max(len(codecs), 1)
        for place, codec in enumerate(codecs):
            found = [cells.get((*size, codec), []) for size in sizes]
            heights = [sum(value for value, _ in values) / len(values) if values else math.nan for values in found]
            where = [index + (place - (len(codecs) - 1) / 2) * width for index in range(len(sizes))]
            bars = axes.bar(where, heights, width * 0.92, color=_COLOURS[place % len(_COLOURS)], label=codec)
            for bar, values in zip(bars, found, strict=True):
                if any(modelled for _, modelled in values):
                    bar.set(hatch="///", edgecolor="white")
        axes.set_xticks(range(len(sizes)), [name for _, name in sizes])
        beside = max(0.6, 1.5 - len(sizes) / 2)
        axes.set_xlim(-beside, len(sizes) - 1 + beside)
        axes.set(ylabel="Wh per hour of video", title="Energy by size and codec" + (" (hatched: modelled)" if any(m for v in cells.values() for _, m in v) else ""))
        axes.grid(visible=False, axis="x")
        _legend(axes, len(codecs), "no energy is known")

    return _drawn(draw, ax)


def plot_ranking(results: Results, *, ax: Axes | None = None) -> Axes:
    """The efficiency score of each row, the best on top; at most 30.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """

    def draw(axes: Any) -> None:
        scored = [row for row in results.ranked().rows() if row["efficiency_score"] is not None]
        rows = scored[:_MOST_BARS][::-1]
        codecs = sorted({row["codec"] or "?" for row in rows})
        colours = {codec: _COLOURS[place % len(_COLOURS)] for place, codec in enumerate(codecs)}
        axes.barh(range(len(rows)), [row["efficiency_score"] for row in rows], color=[colours[row["codec"] or "?"] for row in rows])
        clips = {row["input"] for row in rows}
        names = [f"{row['name'] or '?'} · {_short(row['input'] or '', 24)}" if len(clips) > 1 else row["name"] or "?" for row in rows]
        axes.set_yticks(range(len(rows)), [_short(name, 48) for name in names], fontsize=8 if len(rows) < 16 else 6)
        metric = results.metric.replace("_", " ")
        more = f", the best {_MOST_BARS} of {len(scored)}" if len(scored) > _MOST_BARS else ""
        axes.set(xlabel=metric, title=f"Efficiency{more}")
        axes.grid(visible=False, axis="y")
        if not rows:
            _say(axes, "nothing can be scored: no energy is known")

    return _drawn(draw, ax)


def plot_front(results: Results, *, quality: Measure = "vmaf", ax: Axes | None = None) -> Axes:
    """Quality over energy: each setting a point, the Pareto front a line.

    Raises:
        MissingExtraError: matplotlib is not installed.
        AnalysisError: ``quality`` is no measure.
    """
    require_measure(quality)

    def draw(axes: Any) -> None:
        settings = [each for each in by_setting(results) if not math.isnan(each.wh_per_hour) and not math.isnan(each.quality(quality))]
        codecs = sorted({str(each.key[0]) for each in settings})
        for place, codec in enumerate(codecs):
            some = [each for each in settings if str(each.key[0]) == codec]
            axes.scatter([each.wh_per_hour for each in some], [each.quality(quality) for each in some], color=_COLOURS[place % len(_COLOURS)], label=codec, s=18)
        front = _front(settings, quality)
        axes.plot([each.wh_per_hour for each in front], [each.quality(quality) for each in front], color="#111827", linewidth=1, zorder=0)
        for each in front[:8]:
            axes.annotate(_short(each.name, 30), (each.wh_per_hour, each.quality(quality)), xytext=(3, -9), textcoords="offset points", fontsize=7)
        axes.set(xlabel="Wh per hour of video", ylabel=f"{_LABELS[quality]}, worst clip", title="Energy and quality")
        _legend(axes, len(codecs), "neither energy nor quality is known" if not len(settings) else "")

    return _drawn(draw, ax)


def _front(settings: list[Setting], quality: Measure) -> list[Setting]:
    rows = [{"name": str(i), "wall_seconds": each.wh_per_hour, quality: each.quality(quality)} for i, each in enumerate(settings)]
    if not rows:
        return []
    front = pareto_front(Results.of(rows), cost="wall_seconds", quality=quality)
    return [settings[int(name)] for name in front.texts("name") if name]


def drawn_on(figure: Any, title: str) -> None:
    """The four plots' common look: a title over all."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")


def style() -> Any:
    """A context in which the plots have their look."""
    return package("matplotlib").rc_context(_STYLE)


def _drawn(draw: Callable[[Any], None], ax: Any) -> Any:
    with style():
        if ax is None:
            ax = package("matplotlib.pyplot").subplots(figsize=(7, 4.5), layout="constrained")[1]
        draw(ax)
    return ax


def _plain_ticks(axis: Any) -> None:
    """Ticks of a logarithmic axis as numbers, not as formulas."""
    ticker = package("matplotlib.ticker")
    axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(ticker.NullFormatter())


def _styles(names: list[tuple[str, str]]) -> dict[tuple[str, str], tuple[str, str]]:
    """A colour for each codec, a marker for each preset."""
    codecs = sorted({codec for codec, _ in names})
    presets = sorted({preset for _, preset in names})
    return {
        (codec, preset): (_COLOURS[codecs.index(codec) % len(_COLOURS)], _MARKERS[presets.index(preset) % len(_MARKERS)])
        for codec, preset in names
    }


def _legend(axes: Any, entries: int, otherwise: str) -> None:
    if entries and not otherwise.startswith("neither"):
        if entries <= 16:
            axes.legend(fontsize=7)
    else:
        _say(axes, otherwise)


def _say(axes: Any, words: str) -> None:
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color="#6b7280")


def _short(name: str, longest: int = 24) -> str:
    last = name.rsplit("/", 1)[-1] if longest == 24 else name
    clean = "".join(letter if letter.isprintable() else "�" for letter in last)
    return clean if len(clean) <= longest else f"{clean[: longest - 1]}…"
