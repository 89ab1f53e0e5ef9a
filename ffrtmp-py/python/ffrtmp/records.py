"""What comes back: results, jobs, nodes. Light values over the JSON of the API: every field is an
attribute and an item, ``to_dict()`` gives the JSON itself."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, ClassVar

from ffrtmp import _ffrtmp, display
from ffrtmp.errors import FfrtmpError

__all__ = [
    "Attempt",
    "Event",
    "Health",
    "Job",
    "JobList",
    "LogLine",
    "MediaInfo",
    "Node",
    "OutputFile",
    "Plan",
    "Progress",
    "Record",
    "Rendition",
    "Report",
    "StateChange",
    "Stream",
    "WaitProgress",
]


class Record(Mapping[str, Any]):
    """A mapping whose items are attributes too. Attributes are typed (times are ``datetime``, parts are
    records); items are the JSON of the API. A field that is absent is ``None``."""

    __slots__ = ("_data",)
    _data: dict[str, Any]
    _parts: ClassVar[dict[str, Any]] = {}
    _shown: ClassVar[tuple[str, ...]] = ()

    def __init__(self, data: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_data", data if isinstance(data, dict) else dict(data))

    def __getitem__(self, name: str) -> Any:
        return self._data[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        known = _fields(type(self))
        if name not in self._data and name not in known:
            near = difflib.get_close_matches(name, {*self._data, *known}, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise AttributeError(f"{type(self).__name__} has no field {name!r}{hint}", name=name, obj=self)
        value = self._data.get(name)
        part = self._parts.get(name)
        return value if part is None or value is None else part(value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is a value: its field {name!r} cannot be set")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._data, *_fields(type(self))})

    def __eq__(self, other: object) -> bool:
        return self._data == other._data if type(other) is type(self) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        names = self._shown or tuple(self._data)
        said = [f"{name}={self._data[name]!r}" for name in names if self._data.get(name) is not None]
        return f"{type(self).__name__}({', '.join(said)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._data,)

    def to_dict(self) -> dict[str, Any]:
        """The JSON of the API, as a copy of its own."""
        return copy.deepcopy(self._data)


def _fields(kind: type[Record]) -> set[str]:
    names = {name for base in kind.__mro__ for name in getattr(base, "__annotations__", {})}
    return {name for name in names if not name.startswith("_")}


def _time(text: str) -> datetime:
    return datetime.fromisoformat(_six_digits(text))


def _six_digits(text: str) -> str:
    """RFC 3339 as Python 3.10 reads it."""
    text = text.replace("Z", "+00:00")
    whole, point, rest = text.partition(".")
    if not point:
        return text
    digits = len(rest) - len(rest.lstrip("0123456789"))
    return f"{whole}.{rest[:digits][:6].ljust(6, '0')}{rest[digits:]}"


def _each(kind: Any) -> Any:
    return lambda values: [kind(value) for value in values]


class Progress(Record):
    """How far a transcode is."""

    __slots__ = ()
    _shown = ("percent", "frames", "speed")

    percent: float | None
    """Percent done, 0 to 100, if the length is known."""
    frames: int
    """Video frames encoded so far."""
    out_seconds: float
    """Seconds of output made so far."""
    speed: float
    """Seconds of output made per second of wall time."""
    out_bytes: int
    """Bytes written so far."""

    def _repr_html_(self) -> str:
        return display.progress_html(self.percent, f"{self.frames} frames, {self.speed:.1f}x")


class WaitProgress(Record):
    """How far a set of jobs is."""

    __slots__ = ()

    total: int
    """Jobs that are waited for."""
    ended: int
    """Jobs that have ended, well or not."""
    failed: int
    """Jobs among them that did not complete."""
    running: int
    """Jobs that run now, of those that are looked at."""
    percent: float
    """Percent done, 0 to 100."""

    def _repr_html_(self) -> str:
        return display.progress_html(self.percent, f"{self.ended} of {self.total} jobs, {self.failed} failed")


class OutputFile(Record):
    """One file of an output."""

    __slots__ = ()

    path: str
    """Relative to the directory of the primary file."""
    size_bytes: int
    """Bytes."""
    hash: str
    """``blake3:`` and the hexadecimal digest."""


class Rendition(Record):
    """One rendition of a ladder, as it was made."""

    __slots__ = ()

    name: str
    """Its name."""
    resolution: str
    """Picture size, such as ``"1280x720"``."""
    video_encoder: str
    """Encoder that ran."""
    frames: int
    """Frames."""
    bit_rate: int
    """Average of its video in bits per second."""


class Cost(Record):
    """What a job cost by the rates of its master, and what for.

    >>> cost = Cost({"currency": "EUR", "total": 0.015, "cpu": 0.01, "energy": 0.005})
    >>> cost.total, cost.currency
    (0.015, 'EUR')
    """

    __slots__ = ()
    _shown = ("total", "currency")

    currency: str
    """Code of three letters, such as ``"EUR"``."""
    total: float
    """All of it."""
    cpu: float
    """Processors."""
    gpu: float
    """Graphics processors."""
    energy: float | None
    """Energy; ``None``, and nothing in the total, where there is no figure of it."""
    storage: float
    """Keeping the output."""
    egress: float
    """Sending the output."""
    infrastructure: float
    """The job's part of what machines cost by the month."""


class Report(Record):
    """What a transcode or a job measured.

    >>> report = Report({"frames": 50, "speed": 4.0})
    >>> report.frames, report["speed"], report.energy_joules
    (50, 4.0, None)
    """

    __slots__ = ()
    _parts = {"files": _each(OutputFile), "renditions": _each(Rendition), "cost": Cost}
    _shown = ("output_uri", "resolution", "video_encoder", "frames", "size_bytes", "wall_seconds", "speed")

    output_uri: str | None
    """Where the output is."""
    size_bytes: int
    """Size of the output file in bytes."""
    duration_seconds: float
    """Length of the output in seconds."""
    frames: int
    """Video frames in the output."""
    fps: float
    """Frames encoded per second of wall time."""
    speed: float
    """Seconds of output made per second of wall time."""
    wall_seconds: float
    """Wall time in seconds."""
    cpu_seconds: float
    """User and system CPU time in seconds."""
    peak_memory_bytes: int
    """Largest resident memory in bytes."""
    input_bytes: int
    """Bytes read from the input."""
    output_bytes: int
    """Bytes written to the output."""
    energy_joules: float | None
    """Energy in joules, if it could be measured or modelled."""
    energy_source: str | None
    """``"rapl"``, ``"rapl+nvml"`` or ``"modelled"``."""
    throttled_seconds: float | None
    """Seconds for which a limit on the processor held it back."""
    gpu: int | None
    """Graphics processor that encoded."""
    hash: str | None
    """``blake3:`` and the hexadecimal digest of the output file."""
    video_encoder: str | None
    """Encoder that ran, such as ``"libx264"``."""
    video_codec: str | None
    """Codec of the output."""
    resolution: str | None
    """Picture size, such as ``"1280x720"``."""
    bit_rate: int
    """Average of the whole output in bits per second."""
    warnings: list[str]
    """What a reader should know: fallbacks, skipped streams, repaired timestamps."""
    files: list[OutputFile] | None
    """Every file that was made, the primary one first; ``None`` for an output of one file."""
    renditions: list[Rendition] | None
    """Every rendition, the largest first."""
    chunking: dict[str, Any] | None
    """Whether the pictures were encoded in chunks, and why."""
    sandbox_off: list[str] | None
    """Layers of the sandbox that were not in force, each with its reason."""
    stages: list[dict[str, Any]] | None
    """What the attempt spent its time on: ``name``, ``offset_seconds`` and ``seconds`` of each part."""
    cost: Cost | None
    """What it cost; ``None`` from a master without rates."""

    def _repr_html_(self) -> str:
        return display.report_html(self._data)


class Stream(Record):
    """One stream of a file."""

    __slots__ = ()
    _shown = ("index", "kind", "codec", "language")

    index: int
    """Index in the container."""
    kind: str
    """``"video"``, ``"audio"``, ``"subtitle"``, ``"data"``."""
    codec: str
    """Codec as libav names it."""
    profile: str | None
    """Profile of the codec."""
    language: str | None
    """Language tag."""
    title: str | None
    """Title of the track."""
    default: bool
    """Whether players choose it by default."""
    video: dict[str, Any] | None
    """Size, rate, pixel format and colours of a video stream."""
    audio: dict[str, Any] | None
    """Channels and sample rate of an audio stream."""


def _pixels(stream: Stream) -> int:
    video = stream.video or {}
    return int(video.get("width", 0)) * int(video.get("height", 0))


class MediaInfo(Record):
    """What a file holds."""

    __slots__ = ()
    _parts = {"streams": _each(Stream)}
    _shown = ("format", "duration_seconds", "size_bytes", "bit_rate")

    format: str
    """Short name of the demuxer."""
    duration_seconds: float | None
    """Length in seconds, if known."""
    start_seconds: float
    """Earliest presentation time in seconds."""
    size_bytes: int
    """Size of the file in bytes."""
    bit_rate: int | None
    """Bits per second over everything, if known."""
    streams: list[Stream]
    """The streams in the order of the container."""
    tags: dict[str, str]
    """Tags of the container."""
    chapters: int
    """Number of chapters."""

    @property
    def best_video(self) -> Stream | None:
        """The largest picture that is not cover art; ``None`` if there is none."""
        pictures = [stream for stream in self.streams if stream.video and not stream.video.get("cover_art")]
        return max(pictures, key=_pixels, default=None)

    def _repr_html_(self) -> str:
        return display.media_html(self._data)


class Plan(Record):
    """What a transcode would do."""

    __slots__ = ()
    _shown = ("container", "video", "audio")

    container: str
    """Output container."""
    video: dict[str, Any] | None
    """What happens to the pictures: ``{"copy": …}`` or ``{"encode": …}``."""
    audio: list[dict[str, Any]]
    """The audio tracks of the output."""
    subtitles: list[dict[str, Any]]
    """The subtitle tracks of the output."""
    left_out: list[dict[str, Any]]
    """What does not go along, and why."""
    stills: dict[str, Any]
    """Still pictures to take."""
    segments: dict[str, Any] | None
    """How a package is cut."""
    duration: float | None
    """Seconds of output, where it is cut."""

    @property
    def renditions(self) -> list[dict[str, Any]]:
        """The renditions that would be encoded, the largest first."""
        encode = (self.video or {}).get("encode")
        return list(encode["renditions"]) if encode else []


class StateChange(Record):
    """One change of a job's state."""

    __slots__ = ()
    _parts = {"at": _time}

    to: str
    """State after."""
    at: datetime
    """When."""
    reason: str
    """Why, in words."""


class Attempt(Record):
    """One attempt at a job."""

    __slots__ = ()
    _parts = {"assigned_at": _time, "started_at": _time, "ended_at": _time, "error": _ffrtmp.error_of}
    _shown = ("number", "node_name", "outcome")

    number: int
    """Counts from 1."""
    node_id: str
    """Who ran it."""
    node_name: str
    """Its name."""
    assigned_at: datetime
    """When the node was given the job."""
    started_at: datetime | None
    """When the node began."""
    ended_at: datetime | None
    """When it ended."""
    outcome: str | None
    """``"completed"``, ``"failed"``, ``"released"`` or ``"canceled"``."""
    error: FfrtmpError | None
    """What went wrong."""


class Job(Record):
    """A job with everything known about it when it was asked for.

    >>> job = Job({"id": "1f0c", "state": "completed", "scenario": "720p", "progress": 100.0})
    >>> job.is_final, job.error, job
    (True, None, Job(id='1f0c', state='completed', scenario='720p', progress=100.0))
    """

    __slots__ = ()
    _parts = {
        "result": Report,
        "attempts": _each(Attempt),
        "state_transitions": _each(StateChange),
        "error": _ffrtmp.error_of,
        "created_at": _time,
        "queued_at": _time,
        "started_at": _time,
        "last_activity_at": _time,
        "completed_at": _time,
        "lease_expires_at": _time,
        "retry_at": _time,
        "deadline": _time,
    }
    _shown = ("id", "sequence_number", "state", "scenario", "input", "output", "progress", "node_name")

    id: str
    """Identity."""
    sequence_number: int
    """Counts submissions from 1."""
    state: str
    """``"waiting"``, ``"queued"``, ``"paused"``, ``"assigned"``, ``"running"``, ``"retrying"``,
    ``"completed"``, ``"failed"``, ``"canceled"`` or ``"rejected"``."""
    scenario: str
    """What is made."""
    input: str | None
    """Path or URI of the source."""
    output: str | None
    """Path or URI of the result."""
    engine: str
    """Engine that was asked for."""
    engine_used: str | None
    """Engine that runs or ran it."""
    engine_reason: str | None
    """Why that engine."""
    classification: str
    """What it is for."""
    queue: str
    """Queue."""
    priority: str
    """Priority."""
    tenant: str
    """Whose it is."""
    parameters: dict[str, Any]
    """Encoding parameters."""
    resource_limits: dict[str, Any]
    """Limits of an attempt, with defaults filled in."""
    max_retries: int
    """Retries allowed."""
    retry_count: int
    """Retries used."""
    depends_on: list[str]
    """Ids of jobs that must complete first."""
    labels: dict[str, str]
    """Free labels."""
    deadline: datetime | None
    """When the result is wanted."""
    trace: str | None
    """The trace that it is told in, as the W3C's header ``traceparent`` has it."""
    node_id: str | None
    """Node of the current or last attempt."""
    node_name: str | None
    """Its name."""
    attempt: int
    """Attempts so far."""
    attempts: list[Attempt]
    """Every attempt so far, oldest first."""
    progress: float
    """Percent done, 0 to 100."""
    created_at: datetime
    """Submission."""
    queued_at: datetime | None
    """Last time it became ready to be claimed."""
    started_at: datetime | None
    """Start of the current or last attempt."""
    last_activity_at: datetime | None
    """Last sign of life."""
    completed_at: datetime | None
    """End."""
    retry_at: datetime | None
    """When the next attempt may begin."""
    waiting_reason: str | None
    """Why it is not running yet."""
    error: FfrtmpError | None
    """What went wrong, as an exception that is not raised."""
    failure_reason: str | None
    """The same for counting."""
    result: Report | None
    """What was measured, once it completed."""
    sla: dict[str, Any] | None
    """Service-level verdict, once it ended."""
    state_transitions: list[StateChange]
    """Every change of state so far."""

    @property
    def is_final(self) -> bool:
        """Whether the job has ended."""
        return self.state in ("completed", "failed", "canceled", "rejected")

    def raise_for_error(self) -> Job:
        """Return the job itself if it completed or has not ended.

        Raises:
            FfrtmpError: what it ended with.
        """
        if not self.is_final or self.state == "completed":
            return self
        error = self.error if self.state in ("failed", "rejected") else None
        code = "canceled" if self.state == "canceled" else "capability_missing"
        raise error or _ffrtmp.error_of({"code": code, "message": f"the job is {self.state}", "hint": ""})

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(self.id)

    def __ffrtmp__(self) -> str:
        return self.id

    def _repr_html_(self) -> str:
        return display.job_html(self._data)


class JobList(list[Job]):
    """Jobs, shown as a table in notebooks."""

    def _repr_html_(self) -> str:
        return display.jobs_html([job._data for job in self])


class Node(Record):
    """A machine that runs attempts."""

    __slots__ = ()
    _parts = {"registered_at": _time, "last_heartbeat": _time, "last_heartbeat_at": _time}
    _shown = ("id", "name", "status")

    id: str
    """Identity."""
    name: str
    """Name for people."""
    status: str
    """``"available"``, ``"busy"``, ``"draining"`` or ``"offline"``."""


class Event(Record):
    """Something that happened to a job."""

    __slots__ = ()
    _parts = {"at": _time}
    _shown = ("at", "kind", "state", "progress", "node_name", "reason")

    job_id: str
    """Which job."""
    at: datetime
    """When."""
    kind: str
    """``"state"`` or ``"progress"``."""
    state: str
    """State after it."""
    progress: float
    """Percent done."""
    attempt: int
    """Attempts so far; 0 in what is told of the past."""
    node_name: str | None
    """Node of the attempt."""
    reason: str | None
    """Why, for a change of state."""


class LogLine(Record):
    """A line of a job's log."""

    __slots__ = ()
    _parts = {"at": _time}

    attempt: int
    """The attempt that wrote it, from 1."""
    at: datetime
    """When, by the node's clock."""
    level: str
    """``"error"``, ``"warning"``, ``"info"`` or ``"debug"``."""
    text: str
    """The text."""

    def __str__(self) -> str:
        return f"{self._data['at']} {self.level}: {self.text}"


class Health(Record):
    """How a master is."""

    __slots__ = ()

    status: str
    """``"ok"``."""
    version: str
    """Version of the master."""
