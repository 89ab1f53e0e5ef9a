"""What the predecessor's results mean: other names, samples in place of means, and an idle machine among the rows."""

from __future__ import annotations

from typing import Any

from ffrtmp.analysis.extras import package
from ffrtmp.analysis.records import Raw

_CODECS = {
    "h264": "h264",
    "libx264": "h264",
    "h264_nvenc": "h264",
    "h265": "h265",
    "hevc": "h265",
    "libx265": "h265",
    "hevc_nvenc": "h265",
}
_NO_ENCODER = ("none", "auto", "ffmpeg", "gstreamer")
_STREAMS = r"(?i)(?P<count>\d{1,4})\s+(?:concurrent\s+)?streams?\b"


def columns(raw: Raw) -> Raw:
    """Columns of rows, where the predecessor wrote them otherwise.

    It streamed in real time: work took as long as the video. Its power was sampled; the mean over the time
    is the energy. How many streams there were, it wrote into names.
    """
    pa, pc = package("pyarrow"), package("pyarrow.compute")
    watts = pc.coalesce(raw["power.mean_watts"], raw["power_watts"])
    measured = pc.is_valid(watts)
    idle = pc.and_(_true(pc.equal(raw["bitrate"], 0.0)), _true(pc.match_substring(raw["name"], "baseline", ignore_case=True)))

    def only(where: Any, values: Any) -> Any:
        return pc.if_else(where, values, pa.scalar(None, values.type))

    span = pc.subtract(raw["end_time"], raw["start_time"])
    wall = pc.coalesce(raw["wall_seconds"], only(measured, pc.coalesce(only(_true(pc.greater(span, 0.0)), span), raw["duration"])))
    sampled = pc.divide(pc.multiply(watts, wall), 3600.0)
    joules = pc.divide(raw["power.total_energy_joules"], 3600.0)
    streams = pc.cast(pc.struct_field(pc.extract_regex(raw["name"], _STREAMS), "count"), pa.int64())
    encoder = pc.coalesce(raw["encoder"], only(pc.invert(pc.is_in(raw["encoder_type"], pa.array(_NO_ENCODER))), raw["encoder_type"]))
    known = pc.index_in(pc.utf8_lower(encoder), pa.array(list(_CODECS)))
    ladder = pc.multiply(raw["outputs"], raw["duration"])
    quality = {name: only(pc.invert(idle), pc.coalesce(raw[name], raw[f"{name}_score"])) for name in ("vmaf", "psnr", "ssim")}
    return {
        **quality,
        "type": pc.coalesce(raw["type"], only(idle, pa.array(["baseline"] * len(idle), pa.string()))),
        "count": pc.coalesce(raw["count"], only(measured, streams)),
        "codec": pc.coalesce(raw["codec"], pa.array(list(_CODECS.values())).take(known)),
        "encoder": encoder,
        "fps": pc.coalesce(raw["fps"], only(_true(pc.greater(raw["avg_fps"], 0.0)), raw["avg_fps"])),
        "frames": pc.coalesce(raw["frames"], raw["total_frames"]),
        "pixels": only(pc.invert(idle), pc.coalesce(raw["pixels"], ladder, raw["pixels_processed"])),
        "wall_seconds": wall,
        "cpu_seconds": pc.coalesce(raw["cpu_seconds"], pc.multiply(raw["cpu_usage_cores"], wall)),
        "mean_power_w": pc.coalesce(raw["mean_power_w"], watts),
        "total_energy_wh": pc.coalesce(raw["total_energy_wh"], joules, raw["power.total_energy_wh"], sampled),
    }


def less_idle(table: Any) -> Any:
    """The table with net power and energy, where a row of it is the idle machine and nobody subtracted it yet."""
    pa, pc = package("pyarrow"), package("pyarrow.compute")
    watts, wall = table.column("mean_power_w"), table.column("wall_seconds")
    idle = pc.and_(_true(pc.equal(table.column("type"), "baseline")), pc.and_(pc.is_valid(watts), pc.is_null(table.column("baseline_power_w"))))
    at: int = pc.index(idle, True).as_py()
    if at < 0:
        return table
    base = watts[at].as_py()
    nothing = pa.scalar(None, pa.float64())
    measured = pc.and_(pc.is_valid(watts), pc.and_(pc.is_null(table.column("net_power_w")), pc.invert(_true(table.column("modelled")))))
    net = {
        "baseline_power_w": pc.if_else(measured, base, nothing),
        "net_power_w": pc.if_else(measured, pc.subtract(watts, base), nothing),
        "net_energy_wh": pc.if_else(measured, pc.subtract(table.column("total_energy_wh"), pc.multiply(wall, base / 3600.0)), nothing),
    }
    for name, values in net.items():
        table = table.set_column(table.schema.get_field_index(name), name, pc.coalesce(table.column(name), values))
    return table


def _true(flags: Any) -> Any:
    return package("pyarrow.compute").fill_null(flags, False)
