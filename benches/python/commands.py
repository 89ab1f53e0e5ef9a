"""The same through ``ffmpeg-python``, which starts the command ``ffmpeg`` each time."""

from __future__ import annotations

from pathlib import Path

import ffmpeg


def remux(clip: Path, place: Path) -> None:
    source = ffmpeg.input(str(clip))
    ffmpeg.output(source, str(place / "out.mp4"), c="copy", movflags="+faststart").run(quiet=True)


def second(clip: Path, place: Path) -> None:
    source = ffmpeg.input(str(clip), t=1)
    pictures = source.video.filter("scale", 640, 360, flags="bicubic")
    codecs = {"c:v": "libx264", "preset": "veryfast", "crf": 23, "c:a": "aac", "b:a": "128k", "ac": 2}
    ffmpeg.output(pictures, source.audio, str(place / "out.mp4"), movflags="+faststart", **codecs).run(quiet=True)
