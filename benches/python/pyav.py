"""The same with PyAV, as its documentation writes such scripts: threads as many as it takes, each frame
decoded once."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.resampler import AudioResampler

X264 = {"preset": "veryfast", "crf": "23"}
FAST_START = {"movflags": "+faststart"}
RUNGS = [(1280, 720), (854, 480), (640, 360), (426, 240)]


def remux(clip: Path, place: Path) -> None:
    with av.open(str(clip)) as source, av.open(str(place / "out.mp4"), "w", options=FAST_START) as output:
        streams = {stream.index: output.add_stream_from_template(stream) for stream in (*source.streams.video, *source.streams.audio)}
        for packet in source.demux([source.streams[index] for index in streams]):
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                output.mux(packet)


def second(clip: Path, place: Path) -> None:
    with av.open(str(clip)) as source, av.open(str(place / "out.mp4"), "w", options=FAST_START) as output:
        pictures, sounds = source.streams.video[0], source.streams.audio[0]
        pictures.thread_type = "AUTO"
        video = _video(output, pictures, (640, 360), X264)
        audio = output.add_stream("aac", rate=48_000, bit_rate=128_000, layout="stereo")
        resampler = AudioResampler("fltp", "stereo", 48_000, frame_size=1024)
        ended: set[str] = set()
        for frame in _frames(source, [pictures, sounds]):
            kind = "video" if isinstance(frame, av.VideoFrame) else "audio"
            if frame.time is not None and frame.time >= 1:
                ended.add(kind)
            if len(ended) == 2:
                break
            if kind in ended:
                continue
            if kind == "video":
                _encode(output, video, _fitted(frame, 640, 360))
            else:
                for sound in resampler.resample(frame):
                    _encode(output, audio, sound)
        for sound in resampler.resample(None):
            _encode(output, audio, sound)
        _encode(output, audio, None)
        _encode(output, video, None)


def ladder(clip: Path, place: Path) -> None:
    keys = {**X264, "g": "50", "sc_threshold": "0"}
    with av.open(str(clip)) as source:
        pictures = source.streams.video[0]
        pictures.thread_type = "AUTO"
        outputs = [av.open(str(place / f"out{height}.mp4"), "w", options=FAST_START) for _, height in RUNGS]
        streams = [_video(output, pictures, size, keys) for output, size in zip(outputs, RUNGS, strict=True)]
        for frame in _frames(source, [pictures]):
            for output, stream, (width, height) in zip(outputs, streams, RUNGS, strict=True):
                _encode(output, stream, _fitted(frame, width, height))
        for output, stream in zip(outputs, streams, strict=True):
            _encode(output, stream, None)
            output.close()


def _video(output: Any, source: Any, size: tuple[int, int], options: dict[str, str]) -> Any:
    stream = output.add_stream("libx264", rate=source.average_rate, options=options)
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = source.time_base or Fraction(1, 90_000)
    return stream


def _frames(source: Any, streams: list[Any]) -> Iterator[Any]:
    for packet in source.demux(streams):
        yield from packet.decode()


def _fitted(frame: Any, width: int, height: int) -> Any:
    # What it guessed for the source's pictures is not to be kept.
    fitted = frame.reformat(width=width, height=height, format="yuv420p", interpolation="BICUBIC")
    fitted.pts, fitted.time_base, fitted.pict_type = frame.pts, frame.time_base, 0
    return fitted


def _encode(output: Any, stream: Any, frame: Any) -> None:
    for packet in stream.encode(frame):
        output.mux(packet)
