"""What to make: :class:`Scenario`, :class:`Ladder` and :class:`JobRequest`. Values: they compare, hash
and pickle, and say what they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from itertools import islice
from os import PathLike
from typing import TYPE_CHECKING, Any

from ffrtmp import _ffrtmp

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ffrtmp.options import JobOptions, RenditionOptions

__all__ = ["JobRequest", "Ladder", "Scenario"]


class Scenario:
    """What to make, in the scenario grammar: ``[word-…]RESOLUTION[FPS][-CODEC][-word…]``.

    Raises:
        UnknownScenarioError: for a word that looks like a size, rate or codec but is none.
        InvalidError: for a text that is no scenario at all.

    >>> scenario = Scenario("720p30-h264-test")
    >>> scenario.size, scenario.fps, scenario.codec, scenario.words
    ('720p', 30.0, 'h264', ['test'])
    >>> scenario
    Scenario('720p30-h264-test')
    """

    __slots__ = ("_said", "_text")

    def __init__(self, text: str | Scenario) -> None:
        self._text: str = str(text) if isinstance(text, Scenario) else text
        self._said: dict[str, Any] = _ffrtmp.read_scenario(self._text)

    @property
    def size(self) -> str | None:
        """Bound on the picture size, such as ``"720p"``; ``None`` keeps the source's."""
        size: str | None = self._said["size"]
        return size

    @property
    def fps(self) -> float | None:
        """Frames per second; ``None`` keeps the source's timing."""
        fps = self._said["fps"]
        return None if fps is None else float(fps)

    @property
    def codec(self) -> str | None:
        """Video codec; ``None`` lets the container decide."""
        codec: str | None = self._said["codec"]
        return codec

    @property
    def words(self) -> list[str]:
        """The other words, lower case."""
        return list(self._said["words"])

    @property
    def is_live(self) -> bool:
        """Whether its words ask for the live queue."""
        return bool(self._said["live"])

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Scenario({self._text!r})"

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, Scenario) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> tuple[Any, ...]:
        return Scenario, (self._text,)

    def __ffrtmp__(self) -> str:
        return self._text


class Ladder:
    """Several renditions of one source, made from one decode.

    Takes the notation of the command line, or a list of sizes and mappings.

    Raises:
        InvalidError: naming the rendition and what is wrong with it.

    >>> Ladder("1080p:5M,720p:3M,480p")
    Ladder('1080p:5M,720p:3M,480p')
    >>> Ladder([{"resolution": "720p", "crf": 24, "name": "top"}, "360p:800k"])[0]["name"]
    'top'
    >>> len(Ladder.auto()), Ladder.auto().is_auto
    (0, True)
    """

    __slots__ = ("_renditions",)

    def __init__(self, renditions: str | Iterable[str | RenditionOptions] | Ladder) -> None:
        if isinstance(renditions, Ladder):
            self._renditions: str | list[dict[str, Any]] = renditions._renditions
        else:
            # One more than is taken: an endless iterable ends here.
            given = renditions if isinstance(renditions, str) else list(islice(renditions, 10_001))
            self._renditions = _ffrtmp.read_ladder(given)

    @classmethod
    def auto(cls) -> Ladder:
        """1080p, 720p, 480p and 360p as far as the source reaches."""
        return cls("auto")

    @property
    def is_auto(self) -> bool:
        """Whether the plan chooses the renditions."""
        return isinstance(self._renditions, str)

    def __len__(self) -> int:
        return 0 if isinstance(self._renditions, str) else len(self._renditions)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter([] if isinstance(self._renditions, str) else [dict(one) for one in self._renditions])

    def __getitem__(self, place: int) -> dict[str, Any]:
        return list(self)[place]

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        return self._renditions if isinstance(self._renditions, str) else ",".join(map(_notation, self._renditions))

    def __repr__(self) -> str:
        plain = not any(set(one) - {"resolution", "bitrate", "crf"} or "resolution" not in one for one in self)
        return f"Ladder({str(self)!r})" if plain else f"Ladder({self._renditions!r})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(str(one.get('name', one.get('resolution', 'source'))))}</td>"
            f"<td>{escape(_notation(one))}</td></tr>"
            for one in self
        )
        return f"<table><tr><th>name</th><th>rendition</th></tr>{rows}</table>" if rows else "<code>auto</code>"

    def __eq__(self, other: object) -> bool:
        return self._renditions == other._renditions if isinstance(other, Ladder) else NotImplemented

    def __hash__(self) -> int:
        return hash(str(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return Ladder, (self._renditions,)

    def __ffrtmp__(self) -> str | list[dict[str, Any]]:
        return self._renditions


def _notation(rendition: Mapping[str, Any]) -> str:
    size = str(rendition.get("resolution", "source"))
    if "bitrate" in rendition:
        return f"{size}:{_rate(rendition['bitrate'])}"
    return f"{size}:crf{rendition['crf']:g}" if "crf" in rendition else size


def _rate(bits: int | str) -> str:
    if isinstance(bits, str):
        return bits
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if bits % size == 0:
            return f"{bits // size}{unit}"
    return str(bits)


class JobRequest(Mapping[str, Any]):
    """A job to submit: a mapping with the fields of a request.

    Args:
        scenario: What to make.
        input: Path or URI of the source; without it the agent generates a test picture and a tone.
        output: Path or URI of the result; without it the agent keeps it.
        options: Encoding parameters, and how the master treats the job; see
            :class:`ffrtmp.options.JobOptions`. They are checked when the job is submitted.

    >>> request = JobRequest("720p30-h264-test", duration=1, labels={"study": "one"})
    >>> request["scenario"], request["duration"]
    ('720p30-h264-test', 1)
    >>> request.replace(crf=20) == request
    False
    """

    __slots__ = ("_fields",)

    def __init__(
        self,
        scenario: str | Scenario = "transcode",
        input: str | PathLike[str] | None = None,
        output: str | PathLike[str] | None = None,
        **options: Unpack[JobOptions],
    ) -> None:
        fields = {"scenario": str(scenario), "input": input, "output": output, **options}
        self._fields: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}

    def replace(self, **changes: Any) -> JobRequest:
        """The same request with other fields; ``None`` removes one."""
        return _request({**self._fields, **changes})

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __eq__(self, other: object) -> bool:
        return self._fields == other._fields if isinstance(other, JobRequest) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        said = [repr(self._fields["scenario"])]
        said += [f"{name}={value!r}" for name, value in self._fields.items() if name != "scenario"]
        return f"JobRequest({', '.join(said)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _request, (self._fields,)

    def __ffrtmp__(self) -> dict[str, Any]:
        return self._fields


def _request(fields: dict[str, Any]) -> JobRequest:
    return JobRequest(**fields)
