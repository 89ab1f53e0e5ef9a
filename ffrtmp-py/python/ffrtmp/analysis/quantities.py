"""Quantities as people write them: bit rates, picture sizes, targets of quality."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from ffrtmp.analysis.errors import fault, nearest, shown

Measure = Literal["vmaf", "psnr", "ssim"]
"""A measure of quality: VMAF from 0 to 100, PSNR in decibels, SSIM up to 1."""

_RATE = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)\s*([kKmMgG]?)(?:bps|b/s|bit/s)?")
_FACTORS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_SIZE = re.compile(r"(\d{1,5})\s*[xX×]\s*(\d{1,5})")
_BOXES = {
    "4k": (3840, 2160),
    "2160p": (3840, 2160),
    "1440p": (2560, 1440),
    "1080p": (1920, 1080),
    "720p": (1280, 720),
    "576p": (1024, 576),
    "480p": (854, 480),
    "360p": (640, 360),
    "240p": (426, 240),
    "144p": (256, 144),
}
_TARGET = re.compile(r"\s*(vmaf|psnr|ssim)\s*(>=|≥|>)\s*(\d{1,4}(?:\.\d{1,9})?)\s*(?:db)?\s*", re.IGNORECASE)
_BEST: dict[Measure, float] = {"vmaf": 100.0, "psnr": 200.0, "ssim": 1.0}


def require_measure(name: object) -> None:
    """Refuses what is no measure of quality.

    Raises:
        AnalysisError: it is none.
    """
    if name not in ("vmaf", "psnr", "ssim"):
        raise fault(f"{shown(name)} is no measure of quality", field="quality", hint=nearest(str(name)[:100], ("vmaf", "psnr", "ssim")))


def bits_per_second(text: str | float) -> float:
    """A bit rate in bits per second, from ``800k``, ``5M``, ``2.5M`` or plain bits.

    >>> bits_per_second("2500k"), bits_per_second("2.5M"), bits_per_second(800_000)
    (2500000.0, 2500000.0, 800000.0)

    Raises:
        AnalysisError: it is none.
    """
    if isinstance(text, str):
        match = _RATE.fullmatch(text.strip())
        value = float(match[1]) * _FACTORS[match[2].lower()] if match else math.nan
    else:
        value = math.nan if isinstance(text, bool) else float(text)
    if not 0 <= value <= 1e12:
        raise fault(f"{shown(text)} is not a bit rate", hint="write bits per second, 800k, or 2.5M")
    return value


def picture_size(text: str) -> tuple[int, int]:
    """Width and height in pixels, from ``1280x720`` or a name such as ``720p``, which means its box.

    >>> picture_size("1280x720"), picture_size("4K")
    ((1280, 720), (3840, 2160))

    Raises:
        AnalysisError: it is none.
    """
    named = _BOXES.get(text.strip().lower())
    if named:
        return named
    match = _SIZE.fullmatch(text.strip())
    if not match or not int(match[1]) or not int(match[2]):
        raise fault(f"{shown(text)} is not a picture size", hint=f"write 1280x720, or one of {', '.join(_BOXES)}")
    return int(match[1]), int(match[2])


@dataclass(frozen=True, slots=True)
class Target:
    """A quality to reach.

    >>> Target.parse("VMAF>=85")
    Target(measure='vmaf', least=85.0)
    >>> str(Target.parse("psnr ≥ 38 dB"))
    'PSNR>=38'
    >>> Target.parse("ssim>=0.95").met_by(0.94)
    False
    """

    measure: Measure
    """Which measure."""
    least: float
    """The least value that counts as reached."""

    @classmethod
    def parse(cls, text: str) -> Target:
        """Reads ``VMAF>=85``, ``PSNR>=38`` or ``SSIM>=0.95``.

        Raises:
            AnalysisError: it is none of these, or no output can reach it.
        """
        match = _TARGET.fullmatch(text)
        hint = "write VMAF>=85, PSNR>=38 or SSIM>=0.95"
        if not match:
            raise fault(f"{shown(text)} is not a quality target", hint=hint)
        name = match[1].lower()
        measure: Measure = "vmaf" if name == "vmaf" else "psnr" if name == "psnr" else "ssim"
        least = float(match[3])
        if least > _BEST[measure]:
            raise fault(f"{shown(text)} is above the most that {name.upper()} can be", hint=hint)
        return cls(measure, least)

    def met_by(self, value: float) -> bool | None:
        """Whether a measured value reaches it; ``None`` if it was not measured (NaN)."""
        return None if math.isnan(value) else value >= self.least

    def __str__(self) -> str:
        return f"{self.measure.upper()}>={self.least:g}"
