"""Objects that Python holds already, as columns: every value is checked, and an error says which one it was."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from ffrtmp.analysis.errors import AnalysisError, fault, shown
from ffrtmp.analysis.extras import package
from ffrtmp.analysis.fields import ARRAYS, FIELDS, LONGEST_TEXT, SIGNED, Field, Kind, Shape
from ffrtmp.analysis.quantities import bits_per_second, picture_size
from ffrtmp.records import Record

Raw = dict[str, Any]
"""An Arrow array for each field by its dotted name."""

_TYPES: dict[Kind, frozenset[type]] = {
    "text": frozenset({str}),
    "word": frozenset({str, int, float}),
    "rate": frozenset({str, int, float}),
    "number": frozenset({int, float}),
    "count": frozenset({int}),
    "flag": frozenset({bool}),
    "renditions": frozenset({list, tuple}),
    "samples": frozenset({list, tuple, int, float}),
    "outputs": frozenset({list, tuple}),
}
_NAMES: dict[Kind, str] = {
    "text": "text",
    "word": "text",
    "rate": "a bit rate",
    "number": "a number",
    "count": "a whole number",
    "flag": "true or false",
    "renditions": "a list of renditions",
    "samples": "a list of numbers",
    "outputs": "a list of outputs",
}


def plain(row: object) -> Any:
    """What a record of the API holds, without a copy; anything else as it is."""
    return row._data if isinstance(row, Record) else row  # pyright: ignore[reportPrivateUsage]


def shape_of(rows: Sequence[Any]) -> Shape:
    """Which shape the objects have, by the members of the first one."""
    first: Any = rows[0] if rows else {}
    if not isinstance(first, Mapping):
        raise fault(
            f"is {shown(first)}, not a result", field="[0]", index=0, hint="give jobs, rows of a matrix, or reports"
        )
    if "sequence_number" in first or "result" in first:
        return "job"
    return "report" if "duration_seconds" in first and "wall_seconds" in first else "row"


def raw_columns(rows: Sequence[Any], shape: Shape, *, first_index: int = 0) -> Raw:
    """Columns of objects of one shape.

    Raises:
        AnalysisError: a value has the wrong type or is out of range; ``field`` and ``index`` say which.
    """
    parts: dict[tuple[str, ...], list[Any]] = {(): list(rows)}
    _require_objects(parts[()], (), shape, first_index)
    return {field.name: _column(field, _values(field, parts, shape, first_index), shape, first_index) for field in FIELDS[shape]}


_ARROW = {"rate": "float64", "number": "float64", "count": "int64", "flag": "bool"}


def _rate(text: str, field: Field, shape: Shape, index: int) -> float | None:
    """Bits per second; the predecessor wrote ``N/A`` where there is none, and several where streams differed."""
    try:
        if text == "N/A":
            return None
        parts = text.split(",", 1000)
        # A comma between digits is somebody's decimal point.
        rates = [bits_per_second(each) for each in parts if len(parts) == 1 or not each[-1:].isdecimal()]
        if len(rates) < len(parts):
            raise fault(f"{shown(text)} is not a bit rate")
        return sum(rates) / len(rates)
    except AnalysisError as error:
        raise _fault(field.path, shape, index, str(error.args[0])) from None


def _values(field: Field, parts: dict[tuple[str, ...], list[Any]], shape: Shape, first_index: int) -> list[Any]:
    holders = _holders(field.path[:-1], parts, shape, first_index)
    last = field.path[-1]
    return [holder.get(last) for holder in holders]


_EMPTY: dict[str, Any] = {}


def _holders(path: tuple[str, ...], parts: dict[tuple[str, ...], list[Any]], shape: Shape, first_index: int) -> list[Any]:
    if path not in parts:
        last = path[-1]
        above = _holders(path[:-1], parts, shape, first_index)
        found = [_EMPTY if (value := holder.get(last)) is None else value for holder in above]
        _require_objects(found, path, shape, first_index)
        parts[path] = found
    return parts[path]


def _require_objects(values: list[Any], path: tuple[str, ...], shape: Shape, first_index: int) -> None:
    if set(map(type, values)) <= {dict}:
        return
    for index, value in enumerate(values):
        if not isinstance(value, Mapping):
            raise _fault(path, shape, first_index + index, f"is {shown(value)}, not an object")


def _column(field: Field, values: list[Any], shape: Shape, first_index: int) -> Any:
    pa = package("pyarrow")
    unlike = set(map(type, values)) - _TYPES[field.kind] - {type(None)}
    if unlike:
        index = next(index for index, value in enumerate(values) if type(value) in unlike)
        value: Any = values[index]
        if field.kind == "count" and isinstance(value, float) and value.is_integer():
            whole = [int(each) if isinstance(each, float) and each.is_integer() else each for each in values]
            return _column(field, whole, shape, first_index)
        said = f"is {shown(value)}, not {_NAMES[field.kind]}"
        raise _fault(field.path, shape, first_index + index, said)
    if field.kind in _LISTS:
        read = _LISTS[field.kind]
        return pa.array([read(value, field, shape, first_index + i) for i, value in enumerate(values)], pa.float64())
    if field.kind == "word":
        values = [None if each is None else str(each) for each in values]
    elif field.kind == "rate":
        values = [_rate(each, field, shape, first_index + i) if isinstance(each, str) else each for i, each in enumerate(values)]
    kind = _ARROW.get(field.kind, "string")
    try:
        return pa.array(values, kind)
    except (OverflowError, UnicodeEncodeError, pa.ArrowException):
        for index, value in enumerate(values):
            try:
                pa.array([value], kind)
            except (OverflowError, UnicodeEncodeError, pa.ArrowException) as error:
                wrong = "holds half a character" if isinstance(value, str) else f"is too large: {shown(value)}"
                raise _fault(field.path, shape, first_index + index, wrong) from error
        raise


def _pixels(value: Any, field: Field, shape: Shape, index: int) -> float | None:
    """Pixels of a ladder; nothing for a single rendition, whose frames and size are told elsewhere."""
    if value is None or len(value) < 2:
        return None
    total = 0.0
    for rendition in cast("Sequence[Any]", value):
        told = cast("Mapping[str, Any]", rendition) if isinstance(rendition, Mapping) else _EMPTY
        size, frames = told.get("resolution"), told.get("frames")
        if not isinstance(size, str) or not isinstance(frames, int) or not 0 <= frames < 2**53:
            raise _fault(field.path, shape, index, "has a rendition without size and frames")
        width, height = picture_size(size)
        total += float(width) * height * frames
    return total


def _mean(value: Any, field: Field, shape: Shape, index: int) -> float | None:
    """The mean of samples, or the one value that stands for them."""
    samples: Sequence[Any] = cast("Sequence[Any]", value) if isinstance(value, (list, tuple)) else [] if value is None else [value]
    if any(isinstance(each, bool) or not isinstance(each, (int, float)) for each in samples):
        raise _fault(field.path, shape, index, "holds what is no number")
    try:
        return math.fsum(samples) / len(samples) if samples else None
    except (OverflowError, ValueError):
        raise _fault(field.path, shape, index, "is not a finite number") from None


def _pixel_rate(value: Any, field: Field, shape: Shape, index: int) -> float | None:
    """Pixels per second of all outputs of a ladder."""
    total = 0.0
    for output in cast("Sequence[Any]", value or ()):
        told = cast("Mapping[str, Any]", output) if isinstance(output, Mapping) else _EMPTY
        size, fps = told.get("resolution"), told.get("fps")
        if not isinstance(size, str) or isinstance(fps, bool) or not isinstance(fps, (int, float)) or not 0 <= fps <= 1000:
            raise _fault(field.path, shape, index, "has an output without resolution and fps")
        width, height = picture_size(size)
        total += float(width) * height * fps
    return total or None


_LISTS: dict[Kind, Callable[[Any, Field, Shape, int], float | None]] = {"renditions": _pixels, "samples": _mean, "outputs": _pixel_rate}


def checked(raw: Raw, shape: Shape, *, first_index: int = 0) -> Raw:
    """The columns, if every value is in its range.

    Raises:
        AnalysisError: a number is not finite, below zero or too large, or a text is too long.
    """
    pc = package("pyarrow.compute")
    for field in FIELDS[shape]:
        array = raw[field.name]
        if field.kind in {"text", "word"}:
            longest = pc.max(pc.utf8_length(array)).as_py()
            if longest is not None and longest > LONGEST_TEXT:
                _refuse(pc.greater(pc.utf8_length(array), LONGEST_TEXT), array, field, shape, first_index, f"is longer than {LONGEST_TEXT} characters")
        elif field.kind in {"number", "count", "rate", "samples", "outputs"}:
            _check_range(array, field, shape, first_index, pc)
    return raw


def _check_range(array: Any, field: Field, shape: Shape, first_index: int, pc: Any) -> None:
    if field.kind != "count":
        finite = pc.is_finite(array)
        if pc.all(finite).as_py() is False:
            _refuse(pc.invert(finite), array, field, shape, first_index, "is not a finite number")
    if field.path[-1] in SIGNED:
        least, most = -field.most, field.most
    else:
        least, most = 0.0, field.most
    bounds = pc.min_max(array).as_py()
    if bounds["min"] is not None and (bounds["min"] < least or bounds["max"] > most):
        outside = pc.or_(pc.less(array, least), pc.greater(array, most))
        _refuse(outside, array, field, shape, first_index, f"is not between {least:g} and {most:g}")


def _refuse(mask: Any, array: Any, field: Field, shape: Shape, first_index: int, said: str) -> None:
    pc = package("pyarrow.compute")
    index: int = pc.index(pc.fill_null(mask, False), True).as_py()
    value: object = array[index].as_py()
    told = f" ({shown(value)})" if isinstance(value, (int, float)) and math.isfinite(value) else ""
    raise _fault(field.path, shape, first_index + index, said + told)


def _fault(path: tuple[str, ...], shape: Shape, index: int, said: str) -> AnalysisError:
    place = f"{ARRAYS[shape]}[{index}]"
    field = ".".join((place, *path))
    return fault(said, field=field, index=index, hint="write null where nothing was measured" if path else "")
