"""One file to another: remux, a second of video, a ladder."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import ours
from contest import Verdict, Work, ratios, turns

import commands
import pyav

COPIED, SECOND, LADDER = 50, 50, 5
"""Rounds."""
CLIP = "testsrc2=size=1280x720:rate=25,noise=alls=12:allf=t"


def remux(folder: Path, rounds: int | None) -> Iterator[Verdict]:
    """Another container for the same packets."""
    contenders = {"ffrtmp": ours.remux, "PyAV": pyav.remux, "ffmpeg-python": commands.remux}
    return _row(contenders, folder / "remux", rounds or COPIED, {"PyAV": 1.0, "ffmpeg-python": 0.6})


def second(folder: Path, rounds: int | None) -> Iterator[Verdict]:
    """The first second as 360p with x264 veryfast and AAC."""
    contenders = {"ffrtmp": ours.second, "PyAV": pyav.second, "ffmpeg-python": commands.second}
    return _row(contenders, folder / "second", rounds or SECOND, {"PyAV": 1.0, "ffmpeg-python": 0.6})


def ladder(folder: Path, rounds: int | None) -> Iterator[Verdict]:
    """Four renditions from one decode, without sound."""
    return _row({"ffrtmp": ours.ladder, "PyAV": pyav.ladder}, folder / "ladder", rounds or LADDER, {"PyAV": 1.0})


ROWS = {"remux": remux, "second": second, "ladder": ladder}


def _row(contenders: dict[str, Work], folder: Path, rounds: int, bounds: dict[str, float]) -> Iterator[Verdict]:
    folder.mkdir()
    yield from ratios(turns(contenders, clip(folder), folder, rounds), "ffrtmp", bounds)


def clip(folder: Path) -> Path:
    """A real clip of ``FFRTMP_MEDIA`` or of ``../shared/media``; without them a generated picture."""
    media = Path(os.environ.get("FFRTMP_MEDIA") or Path(__file__).parents[3] / "shared" / "media")
    if (media / "bbb720.mp4").is_file():
        return media / "bbb720.mp4"
    made = folder / "clip.mp4"
    source = ["-f", "lavfi", "-i", CLIP, "-f", "lavfi", "-i", "sine=sample_rate=48000", "-t", "5"]
    encoded = ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "fast", "-c:a", "aac"]
    subprocess.run(["ffmpeg", "-v", "error", *source, *encoded, str(made)], check=True)
    return made
