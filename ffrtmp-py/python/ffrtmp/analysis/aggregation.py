"""Settings over clips: one row for each way of encoding, from the rows of all clips it was tried on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ffrtmp.analysis.table import Results, cell

KEYS = ("codec", "encoder", "preset", "bitrate", "crf", "resolution", "fps", "count")
"""What makes a setting."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A way of encoding and what it gave over the clips it was tried on. Unknown values are NaN."""

    name: str
    """What it is, in words."""
    key: tuple[Any, ...]
    """Its values of :data:`KEYS`."""
    inputs: frozenset[str]
    """The clips."""
    rows: int
    """Measurements."""
    wh_per_hour: float
    """Energy for one hour of video, Wh: all energy over all video."""
    cpu_hours_per_hour: float
    """Processor time for one hour of video, h/h."""
    gb_per_hour: float
    """Size of one hour of video, GB."""
    speed: float
    """Seconds of video made per second, all of them together."""
    vmaf: float
    """Worst mean VMAF of a clip."""
    psnr: float
    """Worst mean PSNR of a clip, dB."""
    ssim: float
    """Worst mean SSIM of a clip."""
    modelled: bool | None
    """Whether any of the energy is modelled; ``None`` where there is none."""

    def quality(self, measure: str) -> float:
        """The worst value of a measure."""
        return {"vmaf": self.vmaf, "psnr": self.psnr, "ssim": self.ssim}[measure]


def by_setting(results: Results) -> list[Setting]:
    """The settings in the order in which they appear; idle machines and jobs without a result are left out.

    Energy is what the scores count: all of it, or less the idle machine's.

    >>> rows = [{"input": clip, "codec": "h264", "preset": "fast", "duration": 10.0, "wall_seconds": 2.0,
    ...          "total_energy_wh": 0.01, "vmaf": vmaf} for clip, vmaf in [("a.mp4", 92.0), ("b.mp4", 88.0)]]
    >>> (setting,) = by_setting(Results.of(rows))
    >>> setting.name, setting.vmaf, round(setting.wh_per_hour, 3)
    ('h264 fast', 88.0, 3.6)
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in results.rows():
        if row["type"] != "baseline" and row["duration"] and row["wall_seconds"]:
            # A mean over a short file is not quite the rate.
            rounded = {**row, "fps": None if row["fps"] is None else float(round(row["fps"]))}
            groups.setdefault(tuple(rounded[key] for key in KEYS), []).append(row)
    energy = "net_energy_wh" if results.basis == "net" else "total_energy_wh"
    varied = [i for i in range(len(KEYS)) if len({key[i] for key in groups}) > 1]
    return [_setting(key, rows, energy, varied) for key, rows in groups.items()]


def _setting(key: tuple[Any, ...], rows: list[dict[str, Any]], energy: str, varied: list[int]) -> Setting:
    video = sum(float(row["duration"]) * (row["count"] or 1) for row in rows) / 3600.0
    modelled = [bool(row["modelled"]) for row in rows if row["modelled"] is not None]
    return Setting(
        name=_named(dict(zip(KEYS, key, strict=True)), {KEYS[i] for i in varied}),
        key=key,
        inputs=frozenset(row["input"] or "" for row in rows),
        rows=len(rows),
        wh_per_hour=_sum(rows, energy) / video,
        cpu_hours_per_hour=_sum(rows, "cpu_seconds") / 3600.0 / video,
        gb_per_hour=_sum(rows, "size") / 1e9 / video,
        speed=video * 3600.0 / _sum(rows, "wall_seconds"),
        vmaf=_least(rows, "vmaf"),
        psnr=_least(rows, "psnr"),
        ssim=_least(rows, "ssim"),
        modelled=any(modelled) if modelled else None,
    )


def _sum(rows: list[dict[str, Any]], name: str) -> float:
    """The sum; unknown if any is."""
    return sum(math.nan if row[name] is None else float(row[name]) for row in rows)


def _least(rows: list[dict[str, Any]], name: str) -> float:
    values = [math.nan if row[name] is None else float(row[name]) for row in rows]
    return math.nan if any(map(math.isnan, values)) else min(values)


def _named(values: dict[str, Any], varied: set[str]) -> str:
    """The setting in words: the codec, and what differs between settings.

    >>> _named({"codec": "h264", "encoder": "libx264", "bitrate": 2.5e6, "preset": "fast", "fps": 25.0}, {"bitrate"})
    'h264 fast 2.5M'
    """
    words: list[str] = []
    encoder, codec = values.get("encoder"), values.get("codec")
    words.append(str(encoder if encoder and "encoder" in varied and "codec" not in varied else codec or encoder or "video"))
    if values.get("preset"):
        words.append(str(values["preset"]))
    if values.get("bitrate"):
        words.append(rate(values["bitrate"]))
    if values.get("crf") is not None:
        words.append(f"crf {cell(values['crf'])}")
    if values.get("resolution") and "resolution" in varied:
        words.append(str(values["resolution"]))
    if values.get("fps") and "fps" in varied:
        words.append(f"{cell(values['fps'])} fps")
    if (values.get("count") or 1) > 1:
        words.append(f"×{values['count']}")
    return " ".join(words)


def rate(bits: float) -> str:
    """A bit rate as people write it.

    >>> rate(2_500_000), rate(800_000), rate(1500)
    ('2.5M', '800k', '1.5k')
    """
    return f"{bits / 1e6:g}M" if bits >= 1e6 else f"{bits / 1e3:g}k"
