"""How values look in notebooks: progress bars, tables and strips of still pictures, as plain HTML."""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

__all__ = ["job_html", "jobs_html", "media_html", "progress_html", "report_html", "size", "thumbnails_html"]

_MOST_PICTURES = 12
_LARGEST_PICTURE = 512 * 1024
_MOST_ROWS = 50
_COLOURS = {"completed": "#2e7d32", "failed": "#c62828", "rejected": "#c62828", "canceled": "#757575"}


def progress_html(percent: float | None, text: str) -> str:
    """A bar and what it means."""
    value = f' value="{percent:.1f}"' if percent is not None else ""
    shown = f"{percent:.0f} %" if percent is not None else "…"
    return f'<progress max="100"{value} style="width:20em"></progress> {shown} <small>{escape(text)}</small>'


def report_html(report: Mapping[str, Any]) -> str:
    """A table of what was measured, and the pictures that were taken."""
    return _facts(_measured(report)) + thumbnails_html(report)


def job_html(job: Mapping[str, Any]) -> str:
    """A job: where it stands, and what it measured or why it failed."""
    error = job.get("error") or {}
    rows = [
        ("job", f"#{escape(str(job.get('sequence_number', '?')))} <code>{escape(str(job.get('id', '')))}</code>"),
        ("scenario", escape(str(job.get("scenario", "")))),
        ("state", _state(job)),
        ("node", escape(str(job.get("node_name") or ""))),
        ("waiting", escape(str(job.get("waiting_reason") or ""))),
        ("error", escape(" ".join(filter(None, [error.get("message"), error.get("hint")])))),
    ]
    result = job.get("result") or {}
    return _facts([*rows, *_measured(result)]) + (thumbnails_html(result) if result else "")


def jobs_html(jobs: Iterable[Mapping[str, Any]]) -> str:
    """A table of jobs."""
    jobs = list(jobs)
    rows = []
    for job in jobs[:_MOST_ROWS]:
        result = job.get("result") or {}
        cells = [
            escape(str(job.get("sequence_number", ""))),
            escape(str(job.get("scenario", ""))),
            _state(job),
            escape(str(job.get("node_name") or "")),
            escape(size(result.get("size_bytes"))),
            _number(result.get("speed"), "x"),
            _number(result.get("energy_joules"), " J"),
        ]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    names = ("#", "scenario", "state", "node", "size", "speed", "energy")
    head = "".join(f"<th>{name}</th>" for name in names)
    more = f"<p>… and {len(jobs) - _MOST_ROWS} more</p>" if len(jobs) > _MOST_ROWS else ""
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>{more}"


def media_html(info: Mapping[str, Any]) -> str:
    """What a file holds."""
    rows = [
        ("format", escape(str(info.get("format", "")))),
        ("duration", _number(info.get("duration_seconds"), " s")),
        ("size", escape(size(info.get("size_bytes")))),
    ]
    for stream in info.get("streams", []):
        video, audio = stream.get("video") or {}, stream.get("audio") or {}
        told = [stream.get("codec"), stream.get("profile"), stream.get("language")]
        told += [f"{video.get('width')}×{video.get('height')}"] if video else []
        told += [f"{audio['sample_rate']} Hz"] if audio.get("sample_rate") else []
        rows.append((escape(f"{stream.get('index')} {stream.get('kind')}"), escape(" ".join(map(str, filter(None, told))))))
    return _facts(rows)


def thumbnails_html(report: Mapping[str, Any]) -> str:
    """The still pictures of an output, if they lie on this machine."""
    place = report.get("output_uri")
    if not place or "://" in str(place).replace("file://", "", 1):
        return ""
    folder = Path(str(place).removeprefix("file://")).parent
    files = [str(file.get("path", "")) for file in report.get("files") or []]
    # The report is foreign: it may name files that are not its own.
    own = [path for path in files if not os.path.isabs(path) and ".." not in Path(path).parts]
    pictures = [folder / path for path in own if path.endswith((".jpg", ".jpeg", ".png")) and "sprite" not in path]
    shown = "".join(_picture(path) for path in pictures[:_MOST_PICTURES])
    return f'<div style="display:flex;gap:4px;flex-wrap:wrap">{shown}</div>' if shown else ""


def size(count: object) -> str:
    """Bytes for people.

    >>> size(1_500_000), size(None)
    ('1.5 MB', '')
    """
    left = _float(count)
    if left is None:
        return ""
    for unit in ("B", "kB", "MB", "GB"):
        if left < 1000:
            return f"{left:.0f} {unit}" if unit == "B" else f"{left:.1f} {unit}"
        left /= 1000
    return f"{left:.1f} TB"


def _picture(path: Path) -> str:
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST_PICTURE:
            return ""
        data = base64.b64encode(path.read_bytes()).decode()
    except (OSError, ValueError):
        # Moved since, or no path at all: there is nothing to show.
        return ""
    kind = "png" if path.suffix == ".png" else "jpeg"
    name = escape(path.name, quote=True)
    return f'<img src="data:image/{kind};base64,{data}" alt="{name}" title="{name}" style="height:96px">'


def _measured(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    joules = report.get("energy_joules")
    source = report.get("energy_source")
    encoder = " ".join(map(str, filter(None, [report.get("video_encoder"), report.get("resolution")])))
    return [
        ("output", escape(str(report.get("output_uri") or ""))),
        ("video", escape(encoder)),
        ("frames", escape(str(report.get("frames", "")))),
        ("size", escape(size(report.get("size_bytes")))),
        ("speed", _number(report.get("speed"), "x")),
        ("CPU", _number(report.get("cpu_seconds"), " s")),
        ("energy", "" if joules is None else f"{_number(joules, ' J')} <small>{escape(str(source or ''))}</small>"),
        ("cost", _cost(report.get("cost"))),
        ("warnings", "<br>".join(escape(str(warning)) for warning in report.get("warnings") or [])),
    ]


def _cost(cost: Mapping[str, Any] | None) -> str:
    if not cost:
        return ""
    return escape(f"{_float(cost.get('total')) or 0.0:.6g} {cost.get('currency', '')}")


def _state(job: Mapping[str, Any]) -> str:
    state = str(job.get("state", ""))
    if state in ("assigned", "running"):
        return progress_html(_float(job.get("progress")) or 0.0, state)
    return f'<span style="color:{_COLOURS.get(state, "inherit")}">{escape(state)}</span>'


def _number(value: object, unit: str) -> str:
    number = _float(value)
    return "" if number is None else f"{number:.2f}{unit}"


def _float(value: object) -> float | None:
    """A number, if it is one: a value may be made of anybody's JSON."""
    try:
        return float(value) if isinstance(value, (int, float)) else None
    except OverflowError:
        return math.inf


def _facts(rows: Iterable[tuple[str, str]]) -> str:
    body = "".join(
        f'<tr><th style="text-align:left">{name}</th><td>{cell}</td></tr>' for name, cell in rows if cell
    )
    return f"<table>{body}</table>"
