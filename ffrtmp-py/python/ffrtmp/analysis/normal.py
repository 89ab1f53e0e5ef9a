"""Columns as they were told, made into the columns of the contract: one unit for each, one name for each."""

from __future__ import annotations

from typing import Any

from ffrtmp.analysis import predecessor
from ffrtmp.analysis.columns import RECORDED, arrow_type
from ffrtmp.analysis.errors import AnalysisError, fault
from ffrtmp.analysis.extras import package
from ffrtmp.analysis.fields import ARRAYS, Shape
from ffrtmp.analysis.quantities import bits_per_second
from ffrtmp.analysis.records import Raw

_RATE_OF_SCENARIO = r"(?i)(?:^|-)(?:4k|\d{3,4}p)(?P<fps>\d{1,3}(?:\.\d{1,3})?)(?:-|$)"


def recorded(raw: Raw, shape: Shape, *, first_index: int = 0) -> Any:
    """A ``pyarrow.Table`` of the recorded columns.

    Raises:
        AnalysisError: a text is not the quantity that it stands for.
    """
    pa = package("pyarrow")
    rows = len(next(iter(raw.values())))
    if shape == "row":
        made = _row(raw)
    else:
        made = _job(raw, "result." if shape == "job" else "", first_index)
    arrays = {each.name: made[each.name] if each.name in made else pa.nulls(rows, arrow_type(each.kind)) for each in RECORDED}
    return pa.table({name: array.cast(arrow_type(each.kind)) for (name, array), each in zip(arrays.items(), RECORDED, strict=True)})


def _row(raw: Raw) -> Raw:
    pa, pc = package("pyarrow"), package("pyarrow.compute")
    made = {each.name: raw[each.name] for each in RECORDED} | predecessor.columns(raw)
    made["modelled"] = pc.coalesce(raw["modelled"], pc.equal(raw["energy_source"], "modelled"))
    sides = _sides(raw["resolution"])
    made["width"] = pc.coalesce(raw["width"], sides[0])
    made["height"] = pc.coalesce(raw["height"], sides[1])
    size = pc.multiply(made["width"], made["height"])
    streams = pc.fill_null(made["count"], 1)
    streamed = _product(_product(size, made["fps"]), _product(raw["duration"], streams))
    pixels = pc.coalesce(made["pixels"], _product(size, raw["frames"]), streamed, _product(size, made["frames"]))
    made["pixels"] = pc.if_else(pc.greater(pixels, 0.0), pixels, pa.scalar(None, pa.float64()))
    return made


def _job(raw: Raw, result: str, first_index: int) -> Raw:
    pa, pc = package("pyarrow"), package("pyarrow.compute")
    rows = len(raw[f"{result}frames"])
    nothing = pa.nulls(rows, pa.string())

    def told(name: str) -> Any:
        return raw.get(name, nothing)

    def of_result(name: str) -> Any:
        return raw[f"{result}{name}"]

    resolution = of_result("resolution")
    width, height = _sides(resolution)
    frames, duration, wall = of_result("frames"), of_result("duration_seconds"), of_result("wall_seconds")
    joules, source = of_result("energy_joules"), of_result("energy_source")
    one = pc.if_else(pc.is_valid(of_result("wall_seconds")), 1, pa.scalar(None, pa.int64()))
    size = of_result("size_bytes")
    done = pc.if_else(pc.is_valid(wall), "completed", pa.scalar(None, pa.string()))
    return {
        "name": pc.coalesce(told("labels.name"), told("scenario"), of_result("output_uri")),
        "id": told("id"),
        "type": pa.array(["job"] * rows, pa.string()),
        "state": pc.coalesce(told("state"), done),
        "input": told("input"),
        "scenario": told("scenario"),
        "count": one,
        "codec": pc.coalesce(of_result("video_codec"), told("parameters.codec")),
        "encoder": pc.coalesce(of_result("video_encoder"), told("parameters.encoder")),
        "preset": told("parameters.preset"),
        "crf": raw.get("parameters.crf", pa.nulls(rows, pa.float64())),
        "bitrate": _rates(told("parameters.bitrate"), f"{ARRAYS['job']}[{{}}].parameters.bitrate", first_index),
        "output_bitrate": _ratio(pc.multiply(pc.cast(size, pa.float64()), 8.0), duration),
        "resolution": pc.coalesce(resolution, told("parameters.resolution")),
        "width": width,
        "height": height,
        "fps": _frame_rate(raw, frames, duration, rows),
        "duration": duration,
        "wall_seconds": wall,
        "frames": frames,
        "pixels": pc.coalesce(of_result("renditions"), _product(pc.multiply(width, height), frames)),
        "speed": _ratio(duration, wall),
        "cpu_seconds": of_result("cpu_seconds"),
        "peak_memory_bytes": of_result("peak_memory_bytes"),
        "size": size,
        "mean_power_w": _ratio(joules, wall),
        "total_energy_wh": pc.divide(joules, 3600.0),
        "energy_source": source,
        "modelled": pc.if_else(pc.is_valid(joules), pc.equal(pc.fill_null(source, ""), "modelled"), pa.scalar(None, pa.bool_())),
        **{name: pc.coalesce(of_result(name), of_result(f"quality.{name}")) for name in ("vmaf", "psnr", "ssim")},
        "quality_source": of_result("quality.source"),
        "node": told("node_name"),
        "missing": told("error.code"),
    }


def _frame_rate(raw: Raw, frames: Any, duration: Any, rows: int) -> Any:
    """As asked; else as the scenario says; else the mean over the output, whose length counts sound too."""
    pa, pc = package("pyarrow"), package("pyarrow.compute")
    asked = raw.get("parameters.fps", pa.nulls(rows, pa.float64()))
    scenario = raw.get("scenario", pa.nulls(rows, pa.string()))
    named = pc.cast(pc.struct_field(pc.extract_regex(scenario, _RATE_OF_SCENARIO), "fps"), pa.float64())
    return pc.coalesce(asked, named, _ratio(pc.cast(frames, pa.float64()), duration))


def _sides(resolution: Any) -> tuple[Any, Any]:
    pa, pc = package("pyarrow"), package("pyarrow.compute")
    found = pc.extract_regex(resolution, r"^(?P<w>\d{1,5})x(?P<h>\d{1,5})$")
    return pc.cast(pc.struct_field(found, "w"), pa.int64()), pc.cast(pc.struct_field(found, "h"), pa.int64())


def _product(one: Any, other: Any) -> Any:
    pa, pc = package("pyarrow"), package("pyarrow.compute")
    return pc.multiply(pc.cast(one, pa.float64(), safe=False), pc.cast(other, pa.float64(), safe=False))


def _ratio(above: Any, below: Any) -> Any:
    """The ratio; nothing where the divisor is zero."""
    pa, pc = package("pyarrow"), package("pyarrow.compute")
    positive = pc.if_else(pc.greater(below, 0), below, pa.scalar(None, below.type))
    return pc.divide(above, positive)


def _rates(texts: Any, place: str, first_index: int) -> Any:
    """Bits per second. Few rates differ, so each is read once."""
    pa, pc = package("pyarrow"), package("pyarrow.compute")
    encoded = pc.dictionary_encode(texts)
    dictionary: list[str] = encoded.dictionary.to_pylist()
    values: list[float] = []
    for text in dictionary:
        try:
            values.append(bits_per_second(text))
        except AnalysisError as error:
            at: int = first_index + pc.index(texts, text).as_py()
            raise fault(error.message, hint=error.hint, field=place.format(at), index=at) from None
    return pa.array(values, pa.float64()).take(encoded.indices)
