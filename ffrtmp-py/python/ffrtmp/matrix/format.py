"""The test matrix: what may stand in it and what it means.

``{name?, description?, scenarios: [{type, name, count?, bitrate, resolution?, fps?, encoder?, preset?,
stabilization?, duration, cooldown?, quality_target?, outputs?}]}``, or the list alone, as the predecessor had it,
and beside that ``crf`` in place of ``bitrate``, and ``input``.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice, product
from pathlib import Path
from typing import Any, Literal, cast

from ffrtmp import _ffrtmp, errors
from ffrtmp.analysis.aggregation import rate
from ffrtmp.analysis.errors import AnalysisError, fault, nearest, shown
from ffrtmp.analysis.quantities import Target, bits_per_second, picture_size
from ffrtmp.matrix.predecessor import area, has_no_rate, is_idle, rungs

Type = Literal["baseline", "single", "multi", "batch"]
"""``baseline``: the idle machine. ``single``: one encode. ``multi``: ``count`` encodes at once.
``batch``: ``count`` encodes, as many at once as there is room for (without a cluster: one)."""

TYPES: tuple[Type, ...] = ("baseline", "single", "multi", "batch")
CODECS = ("h264", "avc", "h265", "hevc", "vp8", "vp9", "av1")
LARGEST = 16 << 20
"""Largest file of a matrix in bytes."""
MOST_SCENARIOS = 10_000
MOST_STREAMS = 1_000
MOST_OUTPUTS = 16
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """One line of a matrix."""

    type: Type
    """What is done."""
    name: str
    """Its name, unlike all others of the matrix."""
    duration: float
    """Seconds of video to encode; of a baseline, seconds to measure."""
    bitrate: float | None = None
    """Bits per second of one encode; ``None`` with ``crf``."""
    crf: float | None = None
    """Constant quality, in place of a bit rate."""
    resolution: str | None = None
    """Picture size such as ``1280x720``; the source's if ``None``."""
    fps: float | None = None
    """Frames per second; the source's if ``None``."""
    encoder: str | None = None
    """A codec (``h264``, ``h265``, ``vp9``, ``av1`` …) or an encoder (``libx265``, ``h264_nvenc`` …)."""
    preset: str | None = None
    """The encoder's preset; its own default if ``None``."""
    count: int = 1
    """How many encodes."""
    stabilization: float = 0.0
    """Seconds for which the same work runs before it is measured; of a baseline, seconds of rest."""
    cooldown: float = 0.0
    """Seconds of rest afterwards."""
    quality_target: Target | None = None
    """The quality that is to be reached."""
    input: str | None = None
    """The source; those of the run if ``None``."""
    outputs: tuple[str, ...] = ()
    """Picture sizes of a ladder, the largest first, whose bit rate is the scenario's; empty for one picture size."""

    def options(self) -> dict[str, Any]:
        """The encoding parameters: what ``ffrtmp.transcode`` and a job take.

        >>> Scenario("single", "a", 10.0, bitrate=2e6, encoder="h265", preset="fast").options()
        {'duration': 10.0, 'audio_streams': 'none', 'bitrate': 2000000, 'codec': 'h265', 'preset': 'fast'}
        >>> Scenario("single", "a", 10.0, bitrate=5e6, outputs=("1280x720", "640x360")).options()["ladder"]
        [{'resolution': '1280x720', 'bitrate': 5000000}, {'resolution': '640x360', 'bitrate': 1767767}]
        """
        encoder = (self.encoder or "h264").lower()
        values: dict[str, Any] = {
            "duration": self.duration,
            # A study of pictures: sound would blur sizes and rates.
            "audio_streams": "none",
            "bitrate": None if self.bitrate is None or self.outputs else round(self.bitrate),
            "crf": self.crf,
            "resolution": None if self.outputs else self.resolution,
            "ladder": rungs(self.outputs, self.bitrate) if self.outputs else None,
            "fps": self.fps,
            "codec" if encoder in CODECS else "encoder": encoder,
            "preset": self.preset,
        }
        return {name: value for name, value in values.items() if value is not None}

    @property
    def suffix(self) -> str:
        """The extension of its outputs."""
        encoder = (self.encoder or "h264").lower()
        return ".webm" if encoder in ("vp8", "vp9") or "vpx" in encoder else ".mp4"

    def to_dict(self) -> dict[str, Any]:
        """As it stands in a file."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["quality_target"] = str(self.quality_target) if self.quality_target else None
        values["outputs"] = [{"resolution": size} for size in self.outputs] or None
        left_out: dict[str, object] = {"stabilization": 0.0, "cooldown": 0.0}
        if self.type in ("baseline", "single"):
            left_out["count"] = 1
        return {name: value for name, value in values.items() if value is not None and left_out.get(name) != value}


@dataclass(frozen=True, slots=True)
class Matrix:
    """Scenarios in the order in which they run.

    >>> matrix = Matrix.parse({"scenarios": [
    ...     {"type": "baseline", "name": "idle", "duration": 10},
    ...     {"type": "multi", "name": "two", "count": 2, "bitrate": "2500k", "resolution": "1280x720",
    ...      "fps": 30, "encoder": "h264", "duration": 10, "quality_target": "VMAF>=85"}]})
    >>> matrix.scenarios[1].bitrate, matrix.scenarios[1].quality_target.least
    (2500000.0, 85.0)
    >>> Matrix.parse({"scenarios": [{"type": "single", "name": "x", "bitrat": "1M", "duration": 1}]})
    Traceback (most recent call last):
    ffrtmp.analysis.errors.AnalysisError: scenarios[0].bitrat: is no field of a scenario (unknown_field); hint: did you mean bitrate?
    """

    scenarios: tuple[Scenario, ...]
    """The scenarios."""
    name: str = ""
    """What it is called."""
    description: str = ""
    """What it is for."""

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Matrix:
        """Reads a file.

        Raises:
            AnalysisError: it is no matrix; ``field`` says where.
            InputError: there is no such file, or it cannot be read.
        """
        return cls.parse(_document(path))

    @classmethod
    def parse(cls, document: object) -> Matrix:
        """Reads a parsed document.

        Raises:
            AnalysisError: it is no matrix; ``field`` says where.
        """
        members = _object({"scenarios": document} if isinstance(document, list) and document else document, "matrix")
        _known(members, ("name", "description", "scenarios"), "", "a matrix")
        listed = members.get("scenarios")
        if not isinstance(listed, list):
            raise fault(f"is {shown(listed)}, not a list", field="scenarios", hint='write "scenarios": [{"type": "single", …}]')
        entries = cast("list[object]", listed)
        if not 1 <= len(entries) <= MOST_SCENARIOS:
            raise fault(f"has {len(entries)} scenarios", field="scenarios", hint=f"give 1 to {MOST_SCENARIOS}")
        scenarios = tuple(_scenario(entry, f"scenarios[{index}]", index) for index, entry in enumerate(entries))
        _require_distinct(scenarios)
        return cls(scenarios, _text(members, "name", "", 200), _text(members, "description", "", 4096))

    @classmethod
    def grid(
        cls,
        *,
        encoders: Sequence[str] = ("h264",),
        bitrates: Sequence[str | float] = (),
        crfs: Sequence[float] = (),
        presets: Sequence[str | None] = (None,),
        resolutions: Sequence[str | None] = (None,),
        fps: float | None = None,
        duration: float,
        baseline: float = 0.0,
        name: str = "",
        quality_target: str | None = None,
    ) -> Matrix:
        """Every combination, one encode each.

        Args:
            encoders: codecs or encoders.
            bitrates: bit rates, such as ``"2M"``.
            crfs: constant qualities, beside or in place of bit rates.
            presets: presets.
            resolutions: picture sizes; ``None`` is the source's.
            fps: frames per second; the source's if ``None``.
            duration: seconds of video each.
            baseline: seconds to measure the idle machine first; 0 leaves it out.
            name: name of the matrix.
            quality_target: such as ``"VMAF>=85"``.

        >>> grid = Matrix.grid(encoders=["h264", "h265"], bitrates=["1M", "2M"], presets=["fast"], duration=5)
        >>> [scenario.name for scenario in grid.scenarios]
        ['h264 fast 1M', 'h264 fast 2M', 'h265 fast 1M', 'h265 fast 2M']

        Raises:
            AnalysisError: a value cannot be.
        """
        listed = [_several(encoders, "encoders"), _several(presets, "presets"), _several(resolutions, "resolutions")]
        qualities = _qualities(_several(bitrates, "bitrates"), _several(crfs, "crfs"))
        entries: list[dict[str, Any]] = [] if baseline == 0 else [{"type": "baseline", "name": "idle", "duration": baseline}]
        if math.prod(map(len, [*listed, qualities])) + len(entries) > MOST_SCENARIOS:
            raise fault(f"has more than {MOST_SCENARIOS} combinations", field="scenarios", hint="give fewer values")
        for encoder, preset, resolution, (kind, value, shown_quality) in product(*listed, qualities):
            words = [str(word)[:64] for word in (encoder, preset, resolution, shown_quality) if word is not None]
            entry = {"encoder": encoder, "preset": preset, "resolution": resolution, kind: value, "fps": fps}
            entries.append({"type": "single", "name": " ".join(words), "duration": duration, **entry, "quality_target": quality_target})
        return cls.parse({"name": name, "scenarios": entries})

    def to_dict(self) -> dict[str, Any]:
        """As it stands in a file."""
        return {"name": self.name, "description": self.description, "scenarios": [each.to_dict() for each in self.scenarios]}

    def __iter__(self) -> Iterator[Scenario]:
        return iter(self.scenarios)

    def __len__(self) -> int:
        return len(self.scenarios)


def _several(values: object, name: str) -> list[Any]:
    """One value, or several."""
    if isinstance(values, (str, int, float)):
        return [values]
    if not isinstance(values, Iterable):
        raise fault(f"is {shown(values)}, not a list", field=name, hint="give a list of values")
    return list(islice(cast("Iterable[Any]", values), MOST_SCENARIOS + 1))


def _qualities(bitrates: Sequence[Any], crfs: Sequence[Any]) -> list[tuple[str, Any, str]]:
    """The field of each, its value, and how a name shows it."""
    if not bitrates and not crfs:
        raise fault("is missing", field="bitrates", hint='give bitrates=["1M", "2M"], or crfs=[23, 28]')
    rates = [_parsed({"bitrates": value}, "bitrates", "", bits_per_second) for value in bitrates]
    crf_names = [f"crf {value:g}" if isinstance(value, (int, float)) else "crf" for value in crfs]
    named = [("bitrate", value, "" if found is None else rate(found)) for value, found in zip(bitrates, rates, strict=True)]
    return named + [("crf", value, name) for value, name in zip(crfs, crf_names, strict=True)]


_FIELDS = tuple(field.name for field in fields(Scenario))
_OF_BASELINE = ("type", "name", "duration", "stabilization", "cooldown")


def _scenario(entry: object, place: str, index: int) -> Scenario:
    try:
        return _read(_object(entry, place), place)
    except AnalysisError as error:
        error.index = index
        raise


def _read(members: Mapping[str, Any], place: str) -> Scenario:
    _known(members, _FIELDS, place, "a scenario")
    members = {name: value for name, value in members.items() if value is not None}
    kind = _choice(members, "type", place)
    if kind == "baseline" or (kind == "single" and is_idle(members)):
        return _baseline(members, place)
    sizes = _outputs(members, place)
    read = Scenario(
        type=kind,
        name=_name(members, place),
        duration=_number(members, "duration", place, 0.05, _DAY),
        **_quality(members, place),
        resolution=sizes[0] if sizes else _size(members, place),
        fps=_number(members, "fps", place, 1, 240, None),
        encoder=_encoder(members, place),
        preset=_word(members, "preset", place),
        count=_count(members, place, kind),
        stabilization=_number(members, "stabilization", place, 0, _DAY, 0.0),
        cooldown=_number(members, "cooldown", place, 0, _DAY, 0.0),
        quality_target=_parsed(members, "quality_target", place, Target.parse),
        input=_text(members, "input", place, 4096) or None,
        outputs=sizes,
    )
    _require_possible(read, place)
    return read


def _baseline(members: Mapping[str, Any], place: str) -> Scenario:
    # The predecessor wrote baselines with a bit rate of `0k`, and a size and rate of nothing.
    _known(members, _FIELDS if has_no_rate(members) else _OF_BASELINE, place, "a baseline")
    return Scenario(
        "baseline",
        _name(members, place),
        _number(members, "duration", place, 0.05, _DAY),
        stabilization=_number(members, "stabilization", place, 0, _DAY, 0.0),
        cooldown=_number(members, "cooldown", place, 0, _DAY, 0.0),
    )


def _encoder(members: Mapping[str, Any], place: str) -> str | None:
    name = _text(members, "encoder", place, 64)
    if name and name.lower() not in CODECS:
        try:
            _ffrtmp.check({"encoder": name}, "any.mkv")
        except errors.InvalidError:
            hint = nearest(name, [*CODECS, *_ffrtmp.VIDEO_ENCODERS])
            raise fault(f"{shown(name)} is no codec and no encoder", field=f"{place}.encoder", hint=hint) from None
    return name or None


def _require_possible(scenario: Scenario, place: str) -> None:
    """Refuses what every engine would, before anything is encoded."""
    try:
        _ffrtmp.check(scenario.options(), f"output{scenario.suffix}")
    except errors.InvalidError as error:
        name = (error.field or "").split(".")[0].split("[")[0]
        field = {"codec": "encoder", "ladder": "outputs"}.get(name, name if name in _FIELDS else "")
        said = error.message.removeprefix(f"{error.field}: ")
        raise fault(said, field=f"{place}.{field}".rstrip("."), hint=error.hint, code=error.code) from None


def _quality(members: Mapping[str, Any], place: str) -> dict[str, float | None]:
    has_rate, has_crf = members.get("bitrate") is not None, members.get("crf") is not None
    if has_rate == has_crf:
        said = "stands beside crf" if has_rate else "is missing"
        raise fault(said, field=f"{place}.bitrate", hint='give one of bitrate, such as "2500k", and crf')
    bitrate = _parsed(members, "bitrate", place, bits_per_second)
    if bitrate is not None and not 1e3 <= bitrate <= 1e9:
        raise fault(f"is {shown(members['bitrate'])}, not between 1k and 1G", field=f"{place}.bitrate", hint='such as "2500k"')
    return {"bitrate": bitrate, "crf": _number(members, "crf", place, 0, 63, None)}


def _choice(members: Mapping[str, Any], name: str, place: str) -> Type:
    value = members.get(name)
    for known in TYPES:
        if value == known:
            return known
    said = "is missing" if value is None else f"{shown(value)} is no type of scenario"
    raise fault(said, field=f"{place}.{name}", hint=nearest(value if isinstance(value, str) else "", TYPES))


def _count(members: Mapping[str, Any], place: str, kind: str) -> int:
    value = members.get("count")
    if value is None:
        if kind == "single":
            return 1
        raise fault("is missing", field=f"{place}.count", hint=f"say how many encodes the {kind} has")
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_STREAMS:
        raise fault(f"is {shown(value)}", field=f"{place}.count", hint=f"give a whole number from 1 to {MOST_STREAMS}")
    if kind == "single" and value != 1:
        raise fault(f"is {value}, but a single is one encode", field=f"{place}.count", hint='use "type": "multi"')
    return value


def _number(members: Mapping[str, Any], name: str, place: str, least: float, most: float, default: Any = math.nan) -> Any:
    value = members.get(name)
    field = f"{place}.{name}"
    if value is None:
        if isinstance(default, float) and math.isnan(default):
            raise fault("is missing", field=field, hint=f"give a number from {least:g} to {most:g}")
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise fault(f"is {shown(value)}, not a number", field=field, hint=f"give a number from {least:g} to {most:g}")
    if not least <= value <= most:
        raise fault(f"is {shown(value)}", field=field, hint=f"give a number from {least:g} to {most:g}")
    return float(value)


def _name(members: Mapping[str, Any], place: str) -> str:
    name = _text(members, "name", place, 200)
    if not name.strip():
        raise fault("is missing", field=f"{place}.name", hint="give every scenario a name of its own")
    return name


def _text(members: Mapping[str, Any], name: str, place: str, longest: int) -> str:
    value = members.get(name)
    field = f"{place}.{name}".lstrip(".")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise fault(f"is {shown(value)}, not text", field=field, hint='write it in quotes: "…"')
    if len(value) > longest or "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise fault(f"has more than {longest} characters, or some that are none", field=field, hint="shorten it")
    return value


def _word(members: Mapping[str, Any], name: str, place: str) -> str | None:
    value = members.get(name)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 99:
        return str(value)
    return _text(members, name, place, 64) or None


def _size(members: Mapping[str, Any], place: str) -> str | None:
    text = _text(members, "resolution", place, 32)
    if text:
        _parsed(members, "resolution", place, picture_size)
    return text or None


def _outputs(members: Mapping[str, Any], place: str) -> tuple[str, ...]:
    """The sizes of a ladder, the largest first."""
    listed = members.get("outputs")
    field, hint = f"{place}.outputs", 'write "outputs": [{"resolution": "1280x720"}, {"resolution": "640x360"}]'
    if listed is None:
        return ()
    if not isinstance(listed, list) or not 1 <= len(cast("list[object]", listed)) <= MOST_OUTPUTS:
        raise fault(f"is {shown(listed)}, not a list of 1 to {MOST_OUTPUTS}", field=field, hint=hint)
    sizes: list[str] = []
    for index, entry in enumerate(cast("list[object]", listed)):
        output = _object(entry, f"{field}[{index}]")
        _known(output, ("resolution", "fps"), f"{field}[{index}]", "an output")
        size = _size(output, f"{field}[{index}]")
        if size is None:
            raise fault("is missing", field=f"{field}[{index}].resolution", hint=hint)
        if output.get("fps") not in (None, members.get("fps")):
            raise fault("is not that of the scenario", field=f"{field}[{index}].fps", hint="all outputs have the scenario's rate")
        sizes.append(size)
    return tuple(sorted(sizes, key=area, reverse=True))


def _parsed(members: Mapping[str, Any], name: str, place: str, parse: Callable[[Any], Any]) -> Any:
    value = members.get(name)
    field = f"{place}.{name}".lstrip(".")
    if value is None:
        return None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and parse is bits_per_second
    if not is_number and not isinstance(value, str):
        raise fault(f"is {shown(value)}, not text", field=field, hint='write it in quotes: "…"')
    try:
        return parse(value)
    except AnalysisError as error:
        raise fault(error.message, field=field, hint=error.hint) from None
    except OverflowError:
        raise fault(f"is {shown(value)}", field=field, hint='such as "2500k"') from None


def _object(value: object, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise fault(f"is {shown(value)}, not an object", field=place, hint='write {"type": …, "name": …}')
    return cast("Mapping[str, Any]", value)


def _known(members: Mapping[str, Any], known: Sequence[str], place: str, whose: str) -> None:
    for name in members:
        if name not in known:
            word = name if isinstance(name, str) else shown(name)
            field = f"{place}.{word[:100]}".lstrip(".")
            raise fault(f"is no field of {whose}", field=field, hint=nearest(word, known), code="unknown_field")


def _require_distinct(scenarios: Sequence[Scenario]) -> None:
    seen: dict[str, int] = {}
    for index, scenario in enumerate(scenarios):
        if scenario.name in seen:
            said = f"{shown(scenario.name)} is the name of scenarios[{seen[scenario.name]}] too"
            raise fault(said, field=f"scenarios[{index}].name", index=index, hint="give every scenario a name of its own")
        seen[scenario.name] = index


def _document(path: str | os.PathLike[str]) -> object:
    place = _ffrtmp.read_path(path, "matrix")
    shown_path = place[:200]
    try:
        with Path(place).open("rb") as file:
            data = file.read(LARGEST + 1)
    except FileNotFoundError as error:
        raise errors.of("input_not_found", f"there is no file {shown_path!r}", "give a matrix as JSON", None) from error
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise errors.of("input_unreadable", f"cannot open {shown_path!r}: {said}", "give a matrix as JSON", None) from error
    if len(data) > LARGEST:
        raise fault(f"has more than {LARGEST >> 20} MiB", field="matrix", hint="a matrix is a list of scenarios, not of results")
    try:
        return json.loads(data)
    except RecursionError as error:
        raise fault("is nested too deeply", field="matrix", hint="a matrix is flat") from error
    except ValueError as error:
        raise fault(f"is not JSON: {error}", field="matrix", hint="check the place that the error names") from error
