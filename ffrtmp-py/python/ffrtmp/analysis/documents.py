"""Documents of results as columns, without a Python object for every value.

Arrow's own reader does the work. It reads objects one after another, so an array is cut between
its objects first: at ``},{"first key":``. A cut elsewhere leaves half an object, which is refused,
and a whole object is never the beginning of another; so what Arrow accepts was cut right. What it
refuses is read again by :mod:`json`, slower, so that the error can say where the fault is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, cast

from ffrtmp.analysis.errors import AnalysisError, fault, shown
from ffrtmp.analysis.extras import package
from ffrtmp.analysis.fields import ARRAYS, FIELDS, Shape, nested_schema
from ffrtmp.analysis.records import Raw, checked, raw_columns, shape_of

BLOCK = 8 << 20
"""Bytes that are read at once."""
LARGEST = 512 << 20
"""Largest document, in bytes, that is read as a whole."""

_START = re.compile(rb'[\s\xef\xbb\xbf]*(?:\{(?:[^\[]|\[(?!\s*\{))*?"(jobs|scenarios|reports)"\s*:\s*)?\[\s*(?=\{)')
_FIRST_KEY = re.compile(rb'\{\s*"(?:[^"\\]|\\.)*"\s*:')
_SHAPES: dict[str, Shape] = {name: shape for shape, name in ARRAYS.items()}


def read_document(source: BinaryIO) -> tuple[Shape, list[Raw]]:
    """The columns of a document, in batches.

    Args:
        source: a seekable stream of bytes: ``{"jobs": […]}``, ``{"scenarios": […]}``, an array, or
            an object per line.

    Raises:
        AnalysisError: it is no such document, or a value in it cannot be.
    """
    pa = package("pyarrow")
    try:
        shape, pieces = _quickly(source)
        return shape, [checked(_joined(_parsed_meanwhile(pieces, shape)), shape)]
    except AnalysisError:
        raise
    except (_NotQuickly, pa.ArrowException, UnicodeDecodeError):
        source.seek(0)
        return _slowly(source)


class _NotQuickly(Exception):
    """The document is not laid out as expected; it may be right all the same."""


def _quickly(source: BinaryIO) -> tuple[Shape, Iterator[bytes | memoryview]]:
    head = source.read(BLOCK)
    start = _START.match(head[:65536])
    if not start:
        return _line_by_line(source, head)
    if start[1]:
        # The array must be a member of the outermost object.
        _must_parse(head[: start.end()] + b"]}")
    data = head[start.end() :]
    first = _FIRST_KEY.match(data)
    if not first:
        raise _NotQuickly
    shape = _SHAPES[start[1].decode()] if start[1] else shape_of([_first_object(data)])
    return shape, _pieces(source, data, first[0], bool(start[1]))


def _line_by_line(source: BinaryIO, data: bytes) -> tuple[Shape, Iterator[bytes | memoryview]]:
    if not data.startswith(b"{") or b"\n{" not in data:
        raise _NotQuickly
    shape = shape_of([_first_object(data[: data.index(b"\n")])])
    return shape, _line_pieces(source, data)


def _line_pieces(source: BinaryIO, data: bytes) -> Iterator[bytes | memoryview]:
    """Objects, one on a line."""
    while data:
        more = source.read(BLOCK)
        cut = data.rfind(b"\n") + 1 if more else len(data)
        if cut:
            yield data[:cut]
        data = data[cut:] + more
        if len(data) > 16 * BLOCK:
            raise _NotQuickly


def _first_object(data: bytes) -> Any:
    try:
        return json.JSONDecoder().raw_decode(data.decode(errors="ignore"))[0]
    except (ValueError, RecursionError) as error:
        raise _NotQuickly from error


def _must_parse(data: bytes) -> None:
    try:
        json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _NotQuickly from error


def _pieces(source: BinaryIO, data: bytes, key: bytes, member: bool) -> Iterator[bytes | memoryview]:
    """Objects of an array, one on a line."""
    between = re.compile(rb"\}\s*,\s*(?=" + re.escape(key) + rb")")
    found = between.search(data)
    separator = found[0] + key if found else b"},\n" + key
    # As long as what it replaces: that is done in one pass.
    border = b"}\n" + b" " * (len(separator) - len(key) - 2) + key
    data = data.replace(separator, border)
    while more := source.read(BLOCK):
        cut = data.rfind(border)
        if cut >= 0:
            yield memoryview(data)[: cut + 1]
        elif len(data) > 16 * BLOCK:
            raise _NotQuickly
        # What is left may end within a separator.
        data = (data[cut + 1 :] + more).replace(separator, border)
    yield _last(data, border, member)


def _last(data: bytes, border: bytes, member: bool) -> bytes:
    """The last objects, if what comes after them ends the document."""
    begin = data.rfind(border) + 1
    tail = data[begin:].decode().lstrip()
    try:
        end = json.JSONDecoder().raw_decode(tail)[1]
    except (ValueError, RecursionError) as error:
        raise _NotQuickly from error
    _must_parse((b'{"_":[' if member else b"[") + tail[end:].encode())
    return data[:begin] + b"\n" + tail[:end].encode()


def _parsed_meanwhile(pieces: Iterator[bytes | memoryview], shape: Shape) -> list[Raw]:
    """The columns of every piece, read while the next one is cut."""
    found: list[Raw] = []
    with ThreadPoolExecutor(1, thread_name_prefix="ffrtmp-analysis") as pool:
        reading: Future[Raw] | None = None
        for piece in pieces:
            last, reading = reading, pool.submit(_parsed, piece, shape)
            if last is not None:
                found.append(last.result())
        if reading is not None:
            found.append(reading.result())
    return found


def _joined(pieces: list[Raw]) -> Raw:
    """All pieces as one. Each gives its columns away, so that nothing is held twice."""
    pa = package("pyarrow")
    return {name: pa.concat_arrays([piece.pop(name) for piece in pieces]) for name in list(pieces[0])}


def _parsed(lines: bytes | memoryview, shape: Shape) -> Raw:
    pa, reader = package("pyarrow"), package("pyarrow.json")
    options = reader.ParseOptions(explicit_schema=nested_schema(shape), unexpected_field_behavior="ignore")
    # Threads would each keep memory of their own.
    reading = reader.ReadOptions(use_threads=False, block_size=max(len(lines) + 1, 1 << 16))
    table = reader.read_json(pa.BufferReader(lines), read_options=reading, parse_options=options)
    table.validate(full=True)
    return _flattened(table.combine_chunks(), shape)


def _flattened(table: Any, shape: Shape) -> Raw:
    pc = package("pyarrow.compute")
    raw: Raw = {}
    for field in FIELDS[shape]:
        # A null object hides what its members hold.
        column = table.column(field.path[0]).combine_chunks()
        if len(field.path) > 1:
            column = pc.struct_field(column, list(field.path[1:]))
        raw[field.name] = _LISTS[field.kind](column) if field.kind in _LISTS else column
    return raw


def _ladder_pixels(renditions: Any) -> Any:
    pa, pc, np = package("pyarrow"), package("pyarrow.compute"), package("numpy")
    several = pc.greater(pc.fill_null(pc.list_value_length(renditions), 0), 1)
    if not pc.any(several).as_py():
        return pa.nulls(len(renditions), pa.float64())
    return pa.array(_sums(renditions, _areas_times(pc.list_flatten(renditions), "frames")), mask=~np.asarray(several))


def _pixel_rates(outputs: Any) -> Any:
    pa, pc, np = package("pyarrow"), package("pyarrow.compute"), package("numpy")
    if outputs.null_count == len(outputs):
        return pa.nulls(len(outputs), pa.float64())
    sums = _sums(outputs, _areas_times(pc.list_flatten(outputs), "fps"))
    return pa.array(sums, mask=np.asarray(sums) == 0)


def _means(samples: Any) -> Any:
    pa, pc, np = package("pyarrow"), package("pyarrow.compute"), package("numpy")
    if samples.null_count == len(samples):
        return pa.nulls(len(samples), pa.float64())
    each = pc.list_flatten(samples)
    if each.null_count:
        raise _NotQuickly
    lengths = np.asarray(pc.fill_null(pc.list_value_length(samples), 0))
    return pa.array(_sums(samples, each) / np.maximum(lengths, 1), mask=lengths == 0)


_LISTS: dict[str, Callable[[Any], Any]] = {"renditions": _ladder_pixels, "outputs": _pixel_rates, "samples": _means}


def _areas_times(flat: Any, factor: str) -> Any:
    """Pixels of a picture by another member of its object."""
    pa, pc = package("pyarrow"), package("pyarrow.compute")
    sides = pc.extract_regex(pc.struct_field(flat, "resolution"), r"^(?P<w>\d{1,5})x(?P<h>\d{1,5})$")
    width = pc.cast(pc.struct_field(sides, "w"), pa.float64())
    height = pc.cast(pc.struct_field(sides, "h"), pa.float64())
    each = pc.multiply(pc.multiply(width, height), pc.cast(pc.struct_field(flat, factor), pa.float64()))
    if each.null_count:
        raise _NotQuickly
    return each


def _sums(lists: Any, each: Any) -> Any:
    """The sum of each list."""
    pc, np = package("pyarrow.compute"), package("numpy")
    return np.bincount(np.asarray(pc.list_parent_indices(lists)), weights=np.asarray(each), minlength=len(lists))


def _slowly(source: BinaryIO) -> tuple[Shape, list[Raw]]:
    data = source.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise fault(
            f"has more than {LARGEST >> 20} MiB and cannot be read piece by piece",
            field="document",
            hint="write it without line breaks inside the objects, as `python -m ffrtmp matrix` does",
        )
    shape, rows = rows_of(_loaded(data))
    return shape, [checked(raw_columns(rows, shape), shape)]


def rows_of(document: Any) -> tuple[Shape, list[Any]]:
    """The rows of a parsed document.

    Raises:
        AnalysisError: it holds none.
    """
    if isinstance(document, list):
        rows = cast("list[Any]", document)
        return shape_of(rows), rows
    hint = 'give {"jobs": […]}, {"scenarios": […]} or an array of results'
    if not isinstance(document, dict):
        raise fault(f"is {shown(document)}, not an object", field="document", hint=hint)
    members = cast("dict[str, Any]", document)
    name = next((name for name in _SHAPES if name in members), None)
    if name is None:
        if shape_of([members]) in {"job", "report"}:
            return shape_of([members]), [members]
        raise fault("holds no results", field="document", hint=hint)
    rows = members[name]
    if not isinstance(rows, list):
        raise fault(f"is {shown(rows)}, not a list", field=name, hint=hint)
    return _SHAPES[name], cast("list[Any]", rows)


def _loaded(data: bytes) -> Any:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        said = f"byte {error.start} is no UTF-8"
        raise fault(said, field="document", hint="results are JSON in UTF-8") from error
    try:
        return json.loads(text, parse_int=_integer)
    except RecursionError as error:
        raise fault("is nested too deeply", field="document", hint="results are flat") from error
    except ValueError as error:
        rows = _lines(text)
        if rows is not None:
            return rows
        raise fault(f"is not JSON: {error}", field="document", hint="give a file of results") from error


def _integer(text: str) -> int | float:
    """What no column can hold becomes infinite, so that the error names the field."""
    return int(text) if len(text) < 25 else float("inf")


def _lines(text: str) -> list[Any] | None:
    """An object per line."""
    rows: list[Any] = []
    try:
        for line in text.splitlines():
            if line.strip():
                rows.append(json.loads(line, parse_int=_integer))
    except (ValueError, RecursionError):
        return None
    return rows if len(rows) > 1 else None
