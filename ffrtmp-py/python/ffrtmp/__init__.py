"""Distributed video transcoding.

>>> import ffrtmp
>>> report = ffrtmp.transcode("in.mov", "out.mp4", scenario="720p30-h264")  # doctest: +SKIP
>>> report["frames"], report["speed"]  # doctest: +SKIP
>>> ffrtmp.transcode("in.mov", "out.m3u8", ladder="auto", stills={"poster": 3})  # doctest: +SKIP
"""

from ffrtmp._ffrtmp import FfrtmpError, __version__, transcode

__all__ = ["FfrtmpError", "__version__", "transcode"]
