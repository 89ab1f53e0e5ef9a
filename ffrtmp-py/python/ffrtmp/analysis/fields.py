"""What is read of a job, a row of a matrix or a report of ``ffrtmp.transcode``, and which values it may have."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from ffrtmp.analysis.columns import RECORDED
from ffrtmp.analysis.extras import package

Shape = Literal["job", "row", "report"]
"""``job``: as the API tells it. ``row``: as `ffrtmp.matrix` writes it. ``report``: as `transcode` returns it."""

Kind = Literal["text", "word", "rate", "number", "count", "flag", "renditions", "samples", "outputs"]
"""``word``: text, or a number that is one. ``rate``: bits per second, or a text such as ``2M``. ``samples``: numbers
whose mean counts. ``outputs``: sizes and rates of a ladder, of which the pixels per second count."""

MOST = 1e18
"""No measured value is larger; what is larger is a mistake or an attack."""
LONGEST_TEXT = 4096
"""No text is longer, in characters."""


@dataclass(frozen=True, slots=True)
class Field:
    """One value and the way to it."""

    path: tuple[str, ...]
    kind: Kind
    most: float = MOST

    @property
    def name(self) -> str:
        return ".".join(self.path)


def _all(prefix: tuple[str, ...], kind: Kind, *names: str) -> tuple[Field, ...]:
    return tuple(Field((*prefix, *name.split(".")), kind) for name in names)


def _quality(prefix: tuple[str, ...]) -> tuple[Field, ...]:
    return (
        Field((*prefix, "vmaf"), "number", 100.0),
        Field((*prefix, "psnr"), "number", 1000.0),
        Field((*prefix, "ssim"), "number", 1.0),
    )


def _report(prefix: tuple[str, ...]) -> tuple[Field, ...]:
    return (
        *_all(prefix, "text", "output_uri", "energy_source", "video_encoder", "video_codec", "resolution"),
        *_all(prefix, "count", "size_bytes", "frames", "peak_memory_bytes"),
        *_all(prefix, "number", "duration_seconds", "wall_seconds", "cpu_seconds", "energy_joules"),
        *_quality(prefix),
        *_quality((*prefix, "quality")),
        *_all((*prefix, "quality"), "text", "source"),
        *_all(prefix, "renditions", "renditions"),
    )


_JOB = (
    *_all((), "text", "id", "state", "input", "scenario", "node_name", "labels.name", "error.code"),
    *_all(("parameters",), "text", "codec", "encoder"),
    *_all(("parameters",), "word", "preset", "bitrate", "resolution"),
    *_all(("parameters",), "number", "crf", "fps"),
    *_report(("result",)),
)

_MOST = {"vmaf": 100.0, "psnr": 1000.0, "ssim": 1.0}
_WORDS: dict[str, Kind] = {"bitrate": "rate", "preset": "word"}
_ROW = (
    *(
        Field((each.name,), _WORDS.get(each.name, each.kind), _MOST.get(each.name, MOST))
        for each in RECORDED
    ),
    # As the predecessor wrote them.
    Field(("vmaf_score",), "number", 100.0),
    Field(("psnr_score",), "number", 1000.0),
    Field(("ssim_score",), "number", 1.0),
    *_all((), "number", "avg_fps", "pixels_processed", "start_time", "end_time"),
    *_all((), "count", "total_frames"),
    *_all((), "text", "encoder_type"),
    *_all((), "samples", "power_watts", "cpu_usage_cores"),
    *_all((), "outputs", "outputs"),
    *_all(("power",), "number", "mean_watts", "total_energy_joules", "total_energy_wh"),
)

FIELDS: dict[Shape, tuple[Field, ...]] = {"job": _JOB, "row": _ROW, "report": _report(())}
"""What is read of each shape."""

SIGNED = frozenset({"net_power_w", "net_energy_wh"})
"""Columns that may be below zero."""

ARRAYS: dict[Shape, str] = {"job": "jobs", "row": "scenarios", "report": "reports"}
"""Name of a document's array of each shape."""


@cache
def nested_schema(shape: Shape) -> Any:
    """The Arrow schema of objects of a shape, as nested as they are."""
    pa = package("pyarrow")
    kinds = {
        "text": pa.string(),
        "word": pa.string(),
        "number": pa.float64(),
        "rate": pa.float64(),
        "count": pa.int64(),
        "flag": pa.bool_(),
        "renditions": pa.list_(pa.struct([("resolution", pa.string()), ("frames", pa.int64())])),
        "samples": pa.list_(pa.float64()),
        "outputs": pa.list_(pa.struct([("resolution", pa.string()), ("fps", pa.float64())])),
    }

    def members(fields: list[tuple[tuple[str, ...], Kind]]) -> list[Any]:
        found: dict[str, list[tuple[tuple[str, ...], Kind]]] = {}
        for path, kind in fields:
            found.setdefault(path[0], []).append((path[1:], kind))
        return [
            pa.field(name, kinds[below[0][1]] if below[0][0] == () else pa.struct(members(below)))
            for name, below in found.items()
        ]

    return pa.schema(members([(field.path, field.kind) for field in FIELDS[shape]]))
