"""The options of a transcode and of a job, by their names in the API.

``docs/media.md`` explains the encoding parameters; a name or value that is none
is refused with :class:`ffrtmp.InvalidError`, whose ``hint`` gives the known ones.
Durations are seconds (``2.5``) or texts (``"2.5s"``, ``"1m30s"``); bit rates are bits
per second (``3_000_000``) or texts (``"3M"``, ``"800k"``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from ffrtmp.wishes import Ladder

__all__ = ["EncoderOptions", "JobOptions", "Limits", "Options", "RenditionOptions", "StillsOptions"]


class RenditionOptions(TypedDict, total=False):
    """One rendition of a ladder."""

    name: str
    """Part of file names; the size by default."""
    resolution: str
    """A name such as ``"720p"``, or ``"1280x720"``; the source's by default."""
    bitrate: int | str
    """Average in bits per second."""
    max_bitrate: int | str
    """Bound in bits per second."""
    crf: float
    """Constant quality instead of a bit rate."""


class StillsOptions(TypedDict, total=False):
    """Pictures to take from the same decode; times in seconds, widths in pixels."""

    poster: float
    thumbnails: int
    thumbnail_width: int
    sprite_interval: float
    sprite_width: int
    sprite_columns: int


class EncoderOptions(TypedDict, total=False):
    """Options of the encoder; one that it has not is refused."""

    tune: str
    profile: str
    level: float
    b_frames: int
    references: int
    lookahead: int
    aq_mode: int
    aq_strength: float
    tile_columns: int
    tile_rows: int
    film_grain: int


class Options(TypedDict, total=False):
    """Encoding parameters; they win over the scenario."""

    duration: float | str | None
    """Seconds of output: cuts a longer input; the length of a generated one."""
    codec: str | None
    """Video codec such as ``"h264"``, or ``"copy"``."""
    encoder: str | None
    """A particular encoder, such as ``"libaom-av1"``."""
    hardware: Literal["auto", "off", "require"] | None
    """Whether encoders on devices are used."""
    preset: str | int | None
    """``"ultrafast"`` … ``"veryslow"``, or a number for SVT-AV1 and libvpx."""
    resolution: str | None
    """A name such as ``"720p"``, or ``"1280x720"``."""
    fps: float | str | None
    """Frames per second; without it the source's timing is kept."""
    crf: float | None
    """Constant quality instead of a bit rate."""
    bitrate: int | str | None
    """Average video bit rate in bits per second."""
    max_bitrate: int | str | None
    """Bound on the video bit rate in bits per second."""
    buffer_size: int | str | None
    """Bits of the decoder's buffer behind ``max_bitrate``."""
    rate_mode: Literal["vbr", "cbr"] | None
    """How ``bitrate`` is held."""
    two_pass: bool | None
    """Look at everything once before encoding."""
    keyframe_interval: float | str | None
    """Seconds between key frames at most."""
    scene_cut: bool | None
    """Whether scene cuts get key frames of their own."""
    bit_depth: Literal[8, 10] | None
    """Bits per component."""
    deinterlace: Literal["auto", "off", "frame", "field"] | None
    """What to do with interlaced pictures."""
    tone_map: Literal["off", "hable", "mobius", "reinhard"] | None
    """How high dynamic range becomes standard range."""
    timing: Literal["source", "constant"] | None
    """What decides when pictures are shown."""
    encoder_options: EncoderOptions | None
    """Options of the encoder."""
    audio_codec: str | None
    """Audio codec such as ``"aac"``, or ``"copy"``."""
    audio_bitrate: int | str | None
    """Bits per second of every track."""
    audio_channels: str | int | None
    """Speakers of every track, such as ``"stereo"``."""
    audio_sample_rate: int | None
    """Samples per second of every track."""
    subtitle_codec: str | None
    """Codec of text subtitles, or ``"copy"``."""
    video_stream: str | int | None
    """``"default"`` (the largest), ``"none"``, or an index."""
    audio_streams: str | int | None
    """``"default"`` (all), ``"none"``, or indices and languages such as ``"1,eng"``."""
    subtitle_streams: str | int | None
    """``"default"`` (all text), ``"all"``, ``"none"``, or indices and languages."""
    container: str | None
    """Output container; without it the output's extension decides."""
    ladder: str | Sequence[str | RenditionOptions] | Ladder | None
    """Several renditions from one decode."""
    segment_duration: float | str | None
    """Seconds of a segment of HLS or DASH."""
    segment_type: Literal["fmp4", "ts"] | None
    """What the segments are."""
    stills: StillsOptions | None
    """Still pictures from the same decode."""
    chunks: Literal["auto", "off", "on"] | None
    """Whether the pictures are encoded in chunks side by side."""
    output_mode: Literal["file", "rtmp"] | None
    """What becomes of a job's output: a file, or a stream to an RTMP server."""
    rtmp_url: str | None
    """The RTMP server."""
    stream_key: str | None
    """Key of the stream on the RTMP server; the job's id by default."""
    record: str | None
    """File that an output on the network is recorded to as well."""
    stall_timeout: float | str | None
    """Seconds without a picture from a live source after which the job ends."""
    slate: bool | None
    """Whether the outputs get a still picture while a live source is away."""
    adapt_preset: bool | None
    """Whether a faster preset is taken while live encoding cannot keep up."""


class Limits(TypedDict, total=False):
    """Limits of one attempt."""

    max_cpu_percent: int
    """Percent of one core: 200 is two cores."""
    max_memory_mb: int
    """Megabytes (2^20 bytes) of memory."""
    max_disk_mb: int
    """Megabytes (2^20 bytes) of disk, inputs and outputs together."""
    timeout_sec: int
    """Seconds of wall time."""


class JobOptions(Options, total=False):
    """Options of a job: encoding parameters, and how a master treats it."""

    engine: Literal["auto", "ffmpeg", "gstreamer"] | None
    """Which engine."""
    classification: Literal["production", "test", "benchmark", "debug"] | None
    """What the job is for."""
    queue: Literal["live", "default", "batch"] | None
    """Which queue."""
    priority: Literal["live", "high", "medium", "low", "batch"] | None
    """Order of urgency."""
    tenant: str | None
    """Whose job it is, for fair shares and caps of the master."""
    resource_limits: Limits | None
    """Limits of an attempt."""
    max_retries: int | None
    """Retries after transient failures."""
    depends_on: Sequence[Any] | None
    """Jobs, or their ids, that must complete first."""
    labels: Mapping[str, str] | None
    """Free labels, to filter by."""
    deadline: datetime | str | None
    """When the result is wanted; RFC 3339."""
    traceparent: str | None
    """The trace that the submission is a part of, as the W3C's header has it."""
    confidence: Literal["auto", "high", "medium", "low"] | None
    """Kept for older clients."""


