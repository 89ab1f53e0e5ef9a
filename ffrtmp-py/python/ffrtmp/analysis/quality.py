"""VMAF, PSNR and SSIM of an output against its source.

The engines have no measure of quality yet and Debian's FFmpeg has no libvmaf. The static FFmpeg in
the PyPI package ``imageio-ffmpeg`` has; the extra ``quality`` brings it. It runs as a program, by a
list of arguments and never through a shell, reads local files only, and is no part of any engine.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ffrtmp import _ffrtmp, errors
from ffrtmp.analysis.errors import MissingExtraError
from ffrtmp.analysis.extras import package

MODEL = "vmaf_v0.6.1"
"""The model of VMAF: pictures of 1080 lines, seen from three times their height."""
_SIZE = re.compile(r"Stream #0:\d+.*?: Video: .*?[ ,](\d{2,5})x(\d{2,5})[ ,\[]")


@dataclass(frozen=True, slots=True)
class Quality:
    """Measured quality: means over the frames. NaN where a measure is unknown."""

    vmaf: float
    """0 to 100."""
    psnr: float
    """Of the luma, decibels; NaN if the pictures are identical, for it is infinite then."""
    ssim: float
    """Of the luma, at most 1."""
    frames: int
    """Pairs of pictures that were compared."""
    source: str
    """What measured: the model and the program."""


def measure_quality(reference: str | os.PathLike[str], output: str | os.PathLike[str], *, timeout: float = 3600.0) -> Quality:
    """Compares an output with its source, picture by picture.

    The source is scaled to the size of the output (bicubic) and both are made 8-bit 4:2:0 or, if the
    output has more bits, 10-bit. Pictures are paired by time: with the rate of the output, both
    starting at zero. The source may be longer; what is left over is not compared.

    Args:
        reference: the source, a local file.
        output: what was made of it, a local file.
        timeout: seconds after which the measurement is given up.

    Raises:
        MissingExtraError: ``imageio-ffmpeg`` is not installed.
        InputError: a file is not there, or cannot be compared.
        JobTimeoutError: it took too long.
    """
    program = _program()
    paths = [_local(reference, "reference"), _local(output, "output")]
    facts = _facts(program, paths[1])
    with tempfile.TemporaryDirectory(prefix="ffrtmp-quality-") as folder:
        log = Path(folder) / "vmaf.json"
        _run(program, paths, _graph(facts, log.name), folder, timeout)
        told: Any = json.loads(log.read_text())
    return _quality(told, program)


def available() -> bool:
    """Whether quality can be measured here: whether the extra ``quality`` is installed."""
    try:
        _program()
    except MissingExtraError:
        return False
    return True


def _program() -> str:
    found: str = package("imageio_ffmpeg").get_ffmpeg_exe()
    return found


def _local(path: str | os.PathLike[str], field: str) -> str:
    full = Path(_ffrtmp.read_path(path, field)).absolute()
    if not full.is_file():
        raise errors.of("input_not_found", f"{field}: is no file", "give a local file", field)
    return f"file:{full}"


@dataclass(frozen=True, slots=True)
class _Facts:
    width: int
    height: int
    rate: str
    deep: bool


def _facts(program: str, url: str) -> _Facts:
    """Size, rate and depth of the output, as the program tells them."""
    command = [program, "-hide_banner", "-nostdin", "-protocol_whitelist", "file", "-i", url]
    try:
        told = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60, check=False).stderr
    except subprocess.TimeoutExpired as error:
        raise errors.of("timeout", "output: cannot be read within a minute", "is its disk there?", "output") from error
    line = next((line for line in told.splitlines() if "Video:" in line and "attached pic" not in line), "")
    size = _SIZE.search(line)
    rate = _rate(line)
    if not size or not rate:
        raise errors.of("input_invalid", "output: has no video that can be compared", "give a video file", "output")
    return _Facts(int(size[1]), int(size[2]), rate, "10le" in line or "p10" in line)


def _rate(line: str) -> str | None:
    """The rate between pictures; the mean, which a short file rounds badly, only where pictures come unevenly.

    >>> _rate("Video: h264, yuv420p, 320x180, 26 fps, 25 tbr, 16k tbn"), _rate("320x180, 29.97 fps, 1k tbr, 1k tbn")
    ('25', '30000/1001')
    """
    mean, even = re.search(r"([\d.]+) fps", line), re.search(r"([\d.]+) tbr", line)
    if not mean:
        return None
    rate = even[1] if even and float(even[1]) <= 1.5 * float(mean[1]) else mean[1]
    exact = {"23.98": "24000/1001", "29.97": "30000/1001", "59.94": "60000/1001", "119.88": "120000/1001"}
    return exact.get(rate, rate)


def _graph(facts: _Facts, log: str) -> str:
    depth = "yuv420p10le" if facts.deep else "yuv420p"
    scale = f"scale={facts.width}:{facts.height}:flags=bicubic"
    same = f"setpts=PTS-STARTPTS,fps={facts.rate}:start_time=0,format={depth}"
    features = "feature=name=psnr|name=float_ssim"
    options = f"model=version={MODEL}:{features}:log_fmt=json:log_path={log}:n_threads={min(os.cpu_count() or 1, 8)}:shortest=1:repeatlast=0"
    return f"[0:v:0]{scale},{same}[source];[1:v:0]{same}[made];[made][source]libvmaf={options}"


def _run(program: str, urls: list[str], graph: str, folder: str, timeout: float) -> None:
    command = [program, "-v", "error", "-nostdin"]
    for url in urls:
        command += ["-protocol_whitelist", "file", "-i", url]
    command += ["-lavfi", graph, "-an", "-f", "null", "-"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise errors.of("timeout", f"the measurement took more than {timeout:g} s", "give it more time, or shorter clips", None) from error
    if done.returncode:
        said = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no reason told")
        raise errors.of("input_invalid", f"the pictures cannot be compared: {said[:300]}", "can a player show both files?", None)


def _quality(told: Mapping[str, Any], program: str) -> Quality:
    pooled = cast("Mapping[str, Mapping[str, float]]", told.get("pooled_metrics") or {})
    frames = cast("list[Mapping[str, Mapping[str, float]]]", told.get("frames") or [])
    if not frames:
        raise errors.of("input_invalid", "the files share no pictures", "is the output made of this source?", None)

    def mean(name: str) -> float:
        return float(pooled.get(name, {}).get("mean", math.nan))

    identical = all(frame["metrics"].get("float_ssim") == 1.0 for frame in frames)
    version = str(told.get("version", "?"))
    return Quality(
        vmaf=mean("vmaf"),
        psnr=math.nan if identical else mean("psnr_y"),
        ssim=mean("float_ssim"),
        frames=len(frames),
        source=f"{MODEL}, libvmaf {version}, {Path(program).name}",
    )
