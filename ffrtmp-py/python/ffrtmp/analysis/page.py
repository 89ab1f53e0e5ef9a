"""A report on one page: HTML without anything outside it, or a picture."""

from __future__ import annotations

import base64
import html
import io
import os
import warnings
from pathlib import Path
from typing import Any

from ffrtmp import _ffrtmp, errors
from ffrtmp.analysis.errors import fault
from ffrtmp.analysis.extras import package
from ffrtmp.analysis.figures import drawn_on, plot_energy, plot_front, plot_ranking, plot_rate_quality, style
from ffrtmp.analysis.quantities import Measure, Target, require_measure
from ffrtmp.analysis.recommendation import Choice, Prices, recommend
from ffrtmp.analysis.table import Results, cell

_COLUMNS = ("efficiency_rank", "name", "codec", "preset", "bitrate", "resolution", "vmaf", "psnr", "ssim", "speed", "cpu_seconds", "mean_power_w", "wh_per_hour", "efficiency_score", "energy_source")
_MOST_ROWS = 500
_CSS = """
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin-top:2rem}p.sub{color:#6b7280;margin:.2rem 0}
img{width:100%;background:#fff;border-radius:6px}table{border-collapse:collapse;font-size:13px;width:100%}
div.wide{overflow-x:auto}th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #8884;white-space:nowrap}
td.n{text-align:right;font-variant-numeric:tabular-nums}li.take{margin:.3rem 0}b{font-weight:600}
"""


def write_report(
    results: Results,
    path: str | os.PathLike[str],
    *,
    title: str = "Encoding study",
    target: Target | str | None = None,
    energy_budget_wh: float | None = None,
    prices: Prices | None = None,
    quality: Measure | None = None,
) -> Path:
    """Writes a report: recommendation, four plots, ranking, and what is missing.

    Args:
        results: what it is about.
        path: ``.html`` for a page that needs nothing else, ``.png`` for a picture of the plots.
        title: its title.
        target: as for :func:`ffrtmp.analysis.recommend`.
        energy_budget_wh: as for :func:`ffrtmp.analysis.recommend`.
        prices: as for :func:`ffrtmp.analysis.recommend`.
        quality: the measure of the plots; the target's by default, else the first that was measured.

    Returns:
        The path.

    Raises:
        MissingExtraError: matplotlib is not installed.
        AnalysisError: the path ends in neither, or cannot be written.
    """
    path = Path(_ffrtmp.read_path(path, "path"))
    kind = path.suffix.lower()
    if kind not in {".html", ".htm", ".png"}:
        raise fault("is neither .html nor .png", field="path", hint="name the file report.html or report.png")
    wanted = Target.parse(target) if isinstance(target, str) else target
    measure = quality or (wanted.measure if wanted else _measured(results))
    require_measure(measure)
    choices = recommend(results, target=wanted, energy_budget_wh=energy_budget_wh, prices=prices)
    if kind == ".png":
        _write(path, _picture(results, measure, title, "png"))
    else:
        _write(path, _page(results, choices, _picture(results, measure, "", "svg"), title).encode("utf-8", "replace"))
    return path


def _measured(results: Results) -> Measure:
    names: tuple[Measure, ...] = ("vmaf", "psnr", "ssim")
    np = package("numpy")
    for name in names:
        if not np.isnan(results.numbers(name)).all():
            return name
    return "vmaf"


def _picture(results: Results, measure: Measure, title: str, form: str) -> bytes:
    figure_of = package("matplotlib.figure").Figure
    with style():
        figure: Any = figure_of(figsize=(12, 8.5), layout="constrained")
        axes: Any = figure.subplots(2, 2)
        plot_rate_quality(results, quality=measure, ax=axes[0, 0])
        plot_front(results, quality=measure, ax=axes[0, 1])
        plot_energy(results, ax=axes[1, 0])
        plot_ranking(results, ax=axes[1, 1])
        if title:
            drawn_on(figure, title)
        out = io.BytesIO()
        with warnings.catch_warnings():
            # A name may have letters that the font has not; the table below shows them.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(out, format=form, dpi=130)
    return out.getvalue()


def _page(results: Results, choices: list[Choice], picture: bytes, title: str) -> str:
    safe = html.escape
    image = base64.b64encode(picture).decode("ascii")
    taken = "".join(f'<li class="take"><b>{safe(each.resolution)}</b>: {_told(each)}</li>' for each in choices)
    notes = "".join(f"<li>{safe(note)}</li>" for note in results.notes) or "<li>nothing is missing</li>"
    scored = f"Ranked by {safe(results.metric.replace('_', ' '))} over {safe(results.basis)} energy, {len(results)} rows."
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{safe(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<style>{_CSS}</style></head><body><h1>{safe(title)}</h1><p class=\"sub\">{scored}</p>"
        f"<h2>Recommendation</h2><ul>{taken or '<li>there is nothing to recommend</li>'}</ul>"
        f'<h2>Plots</h2><img alt="plots" src="data:image/svg+xml;base64,{image}">'
        f"<h2>Ranking</h2>{_ranking(results)}<h2>Missing and modelled</h2><ul>{notes}</ul></body></html>\n"
    )


def _told(choice: Choice) -> str:
    name = f"<b>{html.escape(choice.best.name)}</b> – " if choice.best else ""
    return name + html.escape(choice.reason)


def _ranking(results: Results) -> str:
    rows = results.ranked().taking(range(min(len(results), _MOST_ROWS))).rows()
    head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in _COLUMNS)
    body = "".join(f"<tr>{''.join(_cell(row[name]) for name in _COLUMNS)}</tr>" for row in rows)
    more = f"<p class=\"sub\">The first {_MOST_ROWS} of {len(results)} rows.</p>" if len(results) > _MOST_ROWS else ""
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{more}'


def _cell(value: object) -> str:
    number = ' class="n"' if isinstance(value, (int, float)) and not isinstance(value, bool) else ""
    return f"<td{number}>{html.escape(cell(value))}</td>"


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise errors.of("output_not_writable", f"path: cannot be written: {error.strerror}", "choose another place", "path") from error
