"""One file to another in this process: transcode, plan, probe, each with an asynchronous twin."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, Union

from ffrtmp import _ffrtmp, bars
from ffrtmp.errors import FfrtmpError
from ffrtmp.records import MediaInfo, Plan, Progress, Report
from ffrtmp.wishes import Scenario

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ffrtmp.options import Options

__all__ = ["plan", "plan_async", "probe", "probe_async", "transcode", "transcode_async"]

Path = Union[str, "PathLike[str]"]
"""A file."""


def transcode(
    src: Path,
    dst: Path,
    *,
    scenario: str | Scenario | None = None,
    progress: bool | Callable[[Progress], object] | None = None,
    **options: Unpack[Options],
) -> Report:
    """Transcode one file to another and return what was measured.

    Without a scenario the source's size and rate are kept, and the extension of
    ``dst`` decides the container and its codecs: ``mp4``, ``mkv``, ``webm``, ``ts``,
    ``m3u8`` (HLS), ``mpd`` (DASH), ``mp3``, ``flac``, ``opus``. An output of several
    files (a ladder, a package, stills) is listed under ``files`` of the result.
    Everything appears together, verified, or nothing does.

    The interpreter lock is released. Ctrl-C, and an exception in ``progress``,
    cancel it and leave nothing behind: at the next picture, which is soon except
    with presets that take seconds for one.

    Args:
        src: A media file.
        dst: The file to make; its directory must exist.
        scenario: What to make, such as ``"720p30-h264"``.
        progress: ``True`` for a bar on the terminal or in the notebook, or a
            function that is called in this thread with a :class:`Progress`.
        options: Encoding parameters, see :class:`ffrtmp.options.Options`.

    Raises:
        InvalidError: for an option that is unknown or has a wrong value; ``field`` names it.
        InputError: if ``src`` does not exist (also ``FileNotFoundError``) or is no media.
        OutputError: if ``dst`` cannot be written.
        CapabilityError: if no encoder for the codec works here.
        EncodeError: if the encoder refuses the work.

    >>> report = transcode("clip.mkv", "small.mp4", scenario="144p-h264")
    >>> report.resolution, report.frames
    ('256x144', 50)
    >>> report = transcode("clip.mkv", "show.m3u8", ladder="144p:200k", stills={"poster": 1})
    >>> "show_poster.jpg" in [file.path for file in report.files]
    True
    """
    callback, bar = bars.listener(progress, Progress)
    try:
        return Report(_ffrtmp.transcode(src, dst, _text(scenario), options, callback))
    finally:
        if bar is not None:
            bar.close()


async def transcode_async(
    src: Path,
    dst: Path,
    *,
    scenario: str | Scenario | None = None,
    progress: bool | Callable[[Progress], object] | None = None,
    **options: Unpack[Options],
) -> Report:
    """Transcode one file to another without blocking the event loop; see :func:`transcode`.

    Canceling the task stops the work, waits until it has ended, and leaves nothing behind; so does an
    exception in ``progress``, which is called in the event loop.
    """
    # A fifth of the time that importing this package would take, for those who never await.
    import asyncio

    callback, bar = bars.listener(progress, Progress)
    listener = bars.Careful(callback, lambda: cancel())
    future, cancel = _ffrtmp.transcode_async(src, dst, _text(scenario), options, listener.call)
    try:
        report = Report(await asyncio.shield(future))
        listener.check()
        return report
    except asyncio.CancelledError:
        cancel()
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError:
                # Asked again: it is ending already.
                continue
        if not future.cancelled():
            future.exception()
        raise
    except FfrtmpError:
        listener.check()
        raise
    finally:
        if bar is not None:
            bar.close()


def plan(src: Path, dst: Path, *, scenario: str | Scenario | None = None, **options: Unpack[Options]) -> Plan:
    """Work out what :func:`transcode` would do, without doing it.

    Raises:
        FfrtmpError: as :func:`transcode`, as far as it shows before the encode.

    >>> plan("clip.mkv", "out.webm", scenario="144p").renditions[0]["codec"]
    'vp9'
    """
    return Plan(_ffrtmp.plan(src, dst, _text(scenario), options))


async def plan_async(
    src: Path, dst: Path, *, scenario: str | Scenario | None = None, **options: Unpack[Options]
) -> Plan:
    """Work out what :func:`transcode` would do; see :func:`plan`."""
    return Plan(await _ffrtmp.plan_async(src, dst, _text(scenario), options))


def probe(src: Path) -> MediaInfo:
    """Describe a file: its format, streams, duration in seconds, and size in bytes.

    Raises:
        InputError: if ``src`` does not exist (also ``FileNotFoundError``) or is no media.

    >>> info = probe("clip.mkv")
    >>> info.best_video.codec, round(info.duration_seconds, 1)
    ('h264', 2.0)
    """
    return MediaInfo(_ffrtmp.probe(src))


async def probe_async(src: Path) -> MediaInfo:
    """Describe a file; see :func:`probe`."""
    return MediaInfo(await _ffrtmp.probe_async(src))


def _text(scenario: str | Scenario | None) -> str | None:
    return str(scenario) if isinstance(scenario, Scenario) else scenario
