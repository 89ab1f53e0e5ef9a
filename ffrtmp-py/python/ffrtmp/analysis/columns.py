"""The columns of a table of results: their names, types and units. The order is part of the contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ffrtmp.analysis.extras import package

Kind = Literal["text", "number", "count", "flag"]
"""What a column holds: text, a 64-bit float, a 64-bit integer, or a boolean."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    name: str
    """Its name."""
    kind: Kind
    """What it holds. Anything may be missing: null in Arrow and polars, NaN in numpy and pandas."""
    unit: str
    """Its unit, empty if it has none."""
    meaning: str
    """What it says."""


RECORDED: tuple[Column, ...] = (
    Column("name", "text", "", "name of the row: the scenario's name, a job's label `name`, else what was asked"),
    Column("id", "text", "", "id of the job"),
    Column("type", "text", "", "`single`, `multi`, `batch`, `baseline` or `job`"),
    Column("state", "text", "", "state of the job; `completed` where there is a result"),
    Column("input", "text", "", "what was encoded"),
    Column("scenario", "text", "", "scenario of the job"),
    Column("count", "count", "", "encodes that the row stands for"),
    Column("codec", "text", "", "video codec of the output"),
    Column("encoder", "text", "", "video encoder that ran"),
    Column("preset", "text", "", "preset that was asked for"),
    Column("crf", "number", "", "constant quality that was asked for"),
    Column("bitrate", "number", "b/s", "bit rate that was asked for, one encode"),
    Column("output_bitrate", "number", "b/s", "bit rate that came out, the whole file of one encode"),
    Column("resolution", "text", "px", "picture size of the (largest) output"),
    Column("width", "count", "px", "its width"),
    Column("height", "count", "px", "its height"),
    Column("fps", "number", "1/s", "frame rate of the output"),
    Column("duration", "number", "s", "length of one output"),
    Column("wall_seconds", "number", "s", "time from the first start to the last end"),
    Column("frames", "count", "", "frames of the (largest) output, all encodes together"),
    Column("pixels", "number", "px", "pixels of all frames of all outputs"),
    Column("speed", "number", "s/s", "seconds of video made per second, all encodes together"),
    Column("cpu_seconds", "number", "s", "user and system time of all encodes"),
    Column("peak_memory_bytes", "count", "B", "largest resident memory of one process"),
    Column("size", "count", "B", "size of the outputs, all encodes together"),
    Column("mean_power_w", "number", "W", "energy over wall time"),
    Column("total_energy_wh", "number", "Wh", "energy, idle part included"),
    Column("energy_source", "text", "", "`rapl`, `rapl+nvml` or `modelled`"),
    Column("modelled", "flag", "", "whether the energy is a model's and no meter's"),
    Column("baseline_power_w", "number", "W", "power of the idle machine, where it was measured"),
    Column("net_power_w", "number", "W", "mean power less the idle machine's"),
    Column("net_energy_wh", "number", "Wh", "energy less the idle machine's"),
    Column("vmaf", "number", "", "VMAF, mean over the frames, 0 to 100"),
    Column("psnr", "number", "dB", "PSNR of the luma, mean over the frames"),
    Column("ssim", "number", "", "SSIM of the luma, mean over the frames"),
    Column("quality_source", "text", "", "what measured the quality"),
    Column("quality_target", "text", "", "quality that was to be reached, such as `VMAF>=85`"),
    Column("target_met", "flag", "", "whether it was"),
    Column("node", "text", "", "node that ran the job"),
    Column("missing", "text", "", "why values are missing"),
)
"""What a file of results holds for each row."""

DERIVED: tuple[Column, ...] = (
    Column("wh_per_hour", "number", "Wh/h", "energy for one hour of video"),
    Column("pixels_per_joule", "number", "px/J", "pixels over energy"),
    Column("throughput_per_watt", "number", "Mb/s/W", "megabits made per second over mean power"),
    Column("quality_per_watt", "number", "1/W", "VMAF over mean power"),
    Column("qoe_efficiency", "number", "px/J", "VMAF/100 times pixels over energy"),
    Column("efficiency_metric", "text", "", "which of them the score is"),
    Column("efficiency_score", "number", "", "the score; more is better"),
    Column("efficiency_rank", "count", "", "1 is the best; equal scores share a rank"),
)
"""What is computed from them."""

COLUMNS: tuple[Column, ...] = RECORDED + DERIVED
"""All columns in order."""

_NAMES = {column.name: column for column in COLUMNS}


def column(name: str) -> Column:
    """The column ``name``.

    >>> column("total_energy_wh").unit
    'Wh'

    Raises:
        AnalysisError: there is none.
    """
    from ffrtmp.analysis.errors import fault, nearest

    found = _NAMES.get(name)
    if found is None:
        raise fault("is no column", field=name, hint=nearest(name, _NAMES), code="unknown_field")
    return found


def arrow_type(kind: Kind) -> Any:
    """The Arrow type of a kind."""
    pa = package("pyarrow")
    return {"text": pa.string(), "number": pa.float64(), "count": pa.int64(), "flag": pa.bool_()}[kind]


def schema() -> Any:
    """The Arrow schema of every table of results: a ``pyarrow.Schema``; units are in the fields' metadata.

    >>> schema().field("vmaf").type
    DataType(double)
    """
    pa = package("pyarrow")
    fields = [
        pa.field(each.name, arrow_type(each.kind), metadata={"unit": each.unit, "meaning": each.meaning})
        for each in COLUMNS
    ]
    return pa.schema(fields)
