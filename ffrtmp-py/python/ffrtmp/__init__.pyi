from collections.abc import Sequence
from os import PathLike
from typing import Any, Literal, TypedDict

__version__: str

class FfrtmpError(Exception):
    """An error with its stable code and what mends it."""

    code: str
    hint: str
    field: str | None
    retryable: bool

class Rendition(TypedDict, total=False):
    """One rendition of a ladder."""

    name: str
    resolution: str
    bitrate: int | str
    max_bitrate: int | str
    crf: float

class Stills(TypedDict, total=False):
    """Pictures to take from the same decode; times and widths in seconds and pixels."""

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

def transcode(
    src: str | PathLike[str],
    dst: str | PathLike[str],
    *,
    scenario: str | None = None,
    duration: float | str | None = None,
    codec: str | None = None,
    encoder: str | None = None,
    hardware: Literal["auto", "off", "require"] | None = None,
    preset: str | int | None = None,
    resolution: str | None = None,
    fps: float | str | None = None,
    crf: float | None = None,
    bitrate: int | str | None = None,
    max_bitrate: int | str | None = None,
    buffer_size: int | str | None = None,
    rate_mode: Literal["vbr", "cbr"] | None = None,
    two_pass: bool | None = None,
    keyframe_interval: float | str | None = None,
    scene_cut: bool | None = None,
    bit_depth: Literal[8, 10] | None = None,
    deinterlace: Literal["auto", "off", "frame", "field"] | None = None,
    tone_map: Literal["off", "hable", "mobius", "reinhard"] | None = None,
    timing: Literal["source", "constant"] | None = None,
    encoder_options: EncoderOptions | None = None,
    audio_codec: str | None = None,
    audio_bitrate: int | str | None = None,
    audio_channels: str | int | None = None,
    audio_sample_rate: int | None = None,
    subtitle_codec: str | None = None,
    video_stream: str | int | None = None,
    audio_streams: str | int | None = None,
    subtitle_streams: str | int | None = None,
    container: str | None = None,
    ladder: str | Sequence[str | Rendition] | None = None,
    segment_duration: float | str | None = None,
    segment_type: Literal["fmp4", "ts"] | None = None,
    stills: Stills | None = None,
    chunks: Literal["auto", "off", "on"] | None = None,
) -> dict[str, Any]:
    """Transcode one file to another and return what was measured.

    Without a scenario the source's size and rate are kept and the extension of
    ``dst`` decides the container and its codecs: ``mp4``, ``mkv``, ``webm``,
    ``ts``, ``m3u8`` (HLS), ``mpd`` (DASH), ``mp3``, ``flac``, ``opus``. The
    options are the encoding parameters of a job; ``docs/media.md`` explains
    them. An output of several files (a ladder, a package, stills) is listed
    under ``files`` of the result. Everything appears together, verified, or
    nothing does; Ctrl-C cancels and leaves nothing behind.

    >>> transcode("in.mov", "out.m3u8", ladder="1080p:5M,720p:3M", stills={"poster": 3})

    Raises:
        FfrtmpError: with ``code``, ``hint``, ``field`` and ``retryable``.
    """
