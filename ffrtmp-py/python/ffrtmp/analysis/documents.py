"""Documents of results as columns, without a Python object for every value.

Arrow's own reader does the work. It reads objects one after another, so an array is cut between
its objects first: at ``},{"first key":``. A cut elsewhere leaves half an object, which is refused,
and a whole object is never the beginning of another; so what Arrow accepts was cut right. What it
refuses is read again by :mod:`json`, slower, so that the error can say where the fault is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from ffrtmp.analysis.errors import AnalysisError, fault, shown
from ffrtmp.analysis.extras import package
from ffrtmp.analysis.fields import ARRAYS, FIELDS, Shape, nested_schema
from ffrtmp.analysis.records import Raw, checked, raw_columns, shape_of

BLOCK = 4 << 20
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
        shape, batches = _quickly(source)
        return shape, [checked(batch, shape, first_index=first) for first, batch in batches]
    except AnalysisError:
        raise
    except (_NotQuickly, pa.ArrowException, UnicodeDecodeError):
        source.seek(0)
        return _slowly(source)


class _NotQuickly(Exception):
    """The document is not laid out as expected; it may be right all the same."""


def _quickly(source: BinaryIO) -> tuple[Shape, Iterator[tuple[int, Raw]]]:
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
    return shape, _batches(source, data, first[0], shape, bool(start[1]))


def _line_by_line(source: BinaryIO, data: bytes) -> tuple[Shape, Iterator[tuple[int, Raw]]]:
    if not data.startswith(b"{") or b"\n{" not in data:
        raise _NotQuickly
    shape = shape_of([_first_object(data[: data.index(b"\n")])])
    return shape, _line_batches(source, data, shape)


def _line_batches(source: BinaryIO, data: bytes, shape: Shape) -> Iterator[tuple[int, Raw]]:
    count = 0
    while data:
        more = source.read(BLOCK)
        cut = data.rfind(b"\n") + 1 if more else len(data)
        if cut:
            rows, raw = _parsed(data[:cut], shape)
            yield count, raw
            count += rows
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


def _batches(source: BinaryIO, data: bytes, key: bytes, shape: Shape, member: bool) -> Iterator[tuple[int, Raw]]:
    between = re.compile(rb"\}\s*,\s*(?=" + re.escape(key) + rb")")
    found = between.search(data)
    separator = found[0] + key if found else b"},\n" + key
    count = 0
    while True:
        more = source.read(BLOCK)
        cut = data.rfind(separator) if more else -1
        if cut >= 0:
            rows, raw = _parsed(data[: cut + 1].replace(separator, b"}\n" + key), shape)
            yield count, raw
            count += rows
            data = data[cut + len(separator) - len(key) :]
        if not more:
            break
        data += more
        if len(data) > 16 * BLOCK:
            raise _NotQuickly
    yield count, _last(data, separator, key, shape, member)


def _last(data: bytes, separator: bytes, key: bytes, shape: Shape, member: bool) -> Raw:
    begin = data.rfind(separator)
    begin = begin + len(separator) - len(key) if begin >= 0 else 0
    tail = data[begin:].decode()
    try:
        end = json.JSONDecoder().raw_decode(tail)[1]
    except (ValueError, RecursionError) as error:
        raise _NotQuickly from error
    rest = tail[end:].encode()
    _must_parse((b'{"_":[' if member else b"[") + rest)
    return _parsed(data[:begin].replace(separator, b"}\n" + key).rstrip().rstrip(b",") + b"\n" + tail[:end].encode(), shape)[1]


def _parsed(lines: bytes, shape: Shape) -> tuple[int, Raw]:
    pa, reader = package("pyarrow"), package("pyarrow.json")
    options = reader.ParseOptions(explicit_schema=nested_schema(shape), unexpected_field_behavior="ignore")
    # Threads would each keep memory of their own, and one is quick enough.
    reading = reader.ReadOptions(use_threads=False, block_size=max(len(lines) + 1, 1 << 16))
    table = reader.read_json(pa.BufferReader(lines), read_options=reading, parse_options=options)
    table.validate(full=True)
    return table.num_rows, _flattened(table.combine_chunks(), shape)


def _flattened(table: Any, shape: Shape) -> Raw:
    pc = package("pyarrow.compute")
    raw: Raw = {}
    for field in FIELDS[shape]:
        # A null object hides what its members hold.
        column = table.column(field.path[0]).combine_chunks()
        if len(field.path) > 1:
            column = pc.struct_field(column, list(field.path[1:]))
        raw[field.name] = _ladder_pixels(column) if field.kind == "renditions" else column
    return raw


def _ladder_pixels(renditions: Any) -> Any:
    pa, pc, np = package("pyarrow"), package("pyarrow.compute"), package("numpy")
    several = pc.greater(pc.fill_null(pc.list_value_length(renditions), 0), 1)
    if not pc.any(several).as_py():
        return pa.nulls(len(renditions), pa.float64())
    parents = pc.list_parent_indices(renditions)
    flat = pc.list_flatten(renditions)
    sides = pc.extract_regex(pc.struct_field(flat, "resolution"), r"^(?P<w>\d{1,5})x(?P<h>\d{1,5})$")
    width = pc.cast(pc.struct_field(sides, "w"), pa.float64())
    height = pc.cast(pc.struct_field(sides, "h"), pa.float64())
    each = pc.multiply(pc.multiply(width, height), pc.cast(pc.struct_field(flat, "frames"), pa.float64()))
    if each.null_count:
        raise _NotQuickly
    sums = np.zeros(len(renditions))
    np.add.at(sums, np.asarray(parents), np.asarray(each))
    return pa.array(sums, mask=~np.asarray(several))


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
