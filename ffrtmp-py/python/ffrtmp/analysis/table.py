"""The table of results and how it is made."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast, overload

from ffrtmp.analysis.columns import COLUMNS, DERIVED, RECORDED, arrow_type, column, schema
from ffrtmp.analysis.efficiency import BASES, METRICS, Basis, Metric, scores
from ffrtmp.analysis.errors import fault, nearest, shown
from ffrtmp.analysis.extras import package
from ffrtmp.analysis.fields import Shape
from ffrtmp.analysis.normal import recorded
from ffrtmp.analysis.predecessor import less_idle
from ffrtmp.analysis.records import Raw, checked, plain, raw_columns, shape_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SHOWN = ("efficiency_rank", "name", "codec", "preset", "bitrate", "resolution", "vmaf", "speed", "wh_per_hour", "efficiency_score", "modelled")
_ROWS_SHOWN = 50


class ArrowTable(Protocol):
    """A ``pyarrow.Table``, as far as it is needed here."""

    @property
    def num_rows(self) -> int:
        """How many rows it has."""
        ...

    @property
    def column_names(self) -> list[str]:
        """Its columns."""
        ...

    def column(self, i: str) -> Any:
        """One of them: a ``pyarrow.ChunkedArray``."""
        ...

    def to_pylist(self) -> list[dict[str, Any]]:
        """Its rows."""
        ...

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Itself to any library that speaks Arrow, without a copy."""
        ...


class Results:
    """Results with their scores: an Arrow table whose columns are :data:`ffrtmp.analysis.COLUMNS`.

    Libraries that speak Arrow read it without a copy: ``polars.from_arrow(results)``,
    ``duckdb.sql("from results")``.

    >>> results = Results.of([{"name": "a", "duration": 10.0, "frames": 250, "resolution": "640x360",
    ...                        "total_energy_wh": 0.01, "energy_source": "rapl", "wall_seconds": 2.0}])
    >>> len(results), float(results["pixels_per_joule"][0])
    (1, 1600000.0)
    >>> results.notes
    ('vmaf is missing in all rows', 'psnr is missing in all rows', 'ssim is missing in all rows')
    """

    __slots__ = ("_basis", "_metric", "_table")
    _table: Any
    _metric: Metric
    _basis: Basis

    def __init__(self, table: ArrowTable, *, metric: Metric = "auto", basis: Basis = "auto") -> None:
        """Scores a table of recorded columns. Use :func:`read` or :meth:`of` to make one."""
        if metric not in ("auto", *METRICS):
            raise fault("is no metric", field=f"metric {shown(metric)}", hint=nearest(str(metric), ("auto", *METRICS)))
        if basis not in BASES:
            raise fault("is no basis of energy", field=f"basis {shown(basis)}", hint=nearest(str(basis), BASES))
        self._table, self._metric, self._basis = _scored(table, metric, basis)

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]], *, metric: Metric = "auto", basis: Basis = "auto") -> Results:
        """Results of objects: jobs of the API, rows of a matrix, or reports of ``ffrtmp.transcode``.

        Raises:
            AnalysisError: a value cannot be; ``index`` and ``field`` say which.
            MissingExtraError: pyarrow or numpy is not installed.
        """
        listed = [_mapping(row, index) for index, row in enumerate(rows)]
        shape = shape_of(listed)
        return cls.of_batches(shape, [checked(raw_columns(listed, shape), shape)], metric=metric, basis=basis)

    @classmethod
    def of_batches(cls, shape: Shape, batches: Sequence[Raw], *, metric: Metric = "auto", basis: Basis = "auto") -> Results:
        """Results of checked columns."""
        pa = package("pyarrow")
        tables: list[Any] = []
        rows = 0
        for batch in batches:
            tables.append(recorded(batch, shape, first_index=rows))
            rows += int(tables[-1].num_rows)
        whole = pa.concat_tables(tables).combine_chunks()
        return cls(less_idle(whole) if shape == "row" else whole, metric=metric, basis=basis)

    @property
    def metric(self) -> Metric:
        """Which metric the score is."""
        return self._metric

    @property
    def basis(self) -> Basis:
        """Which energy the scores count: ``total``, or ``net`` of the idle machine's."""
        return self._basis

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the scores should know: what is missing, what is modelled."""
        return tuple(_notes(self))

    def rescored(self, *, metric: Metric = "auto", basis: Basis = "auto") -> Results:
        """The same results with another score."""
        return Results(self._table, metric=metric, basis=basis)

    def ranked(self) -> Results:
        """The same results, the best first; those without a score last."""
        pc = package("pyarrow.compute")
        order = pc.sort_indices(self._table, sort_keys=[("efficiency_rank", "ascending"), ("name", "ascending")])
        return self._taking(order)

    def where(self, **values: object) -> Results:
        """The rows that have these values: ``results.where(codec="h264", count=1)``. Scores stay.

        Raises:
            AnalysisError: there is no such column.
        """
        pc, pa = package("pyarrow.compute"), package("pyarrow")
        kept = pa.array([True] * len(self))
        for name, value in values.items():
            held = self._table.column(column(name).name).combine_chunks()
            same = pc.is_null(held) if value is None else pc.equal(held, _scalar(value, held.type, name))
            kept = pc.and_(kept, pc.fill_null(same, False))
        return self._taking(pc.indices_nonzero(kept))

    def taking(self, indices: Sequence[int]) -> Results:
        """The rows at these places, in this order. Scores stay."""
        return self._taking(package("pyarrow").array(list(indices), package("pyarrow").int64()))

    def _taking(self, indices: Any) -> Results:
        some = object.__new__(Results)
        some._table = self._table.take(indices)
        some._metric, some._basis = self._metric, self._basis
        return some

    def arrow(self) -> ArrowTable:
        """The ``pyarrow.Table``; nothing is copied."""
        return self._table

    def to_pandas(self, *, arrow: bool = False) -> Any:
        """A ``pandas.DataFrame``; what is missing is NaN.

        Args:
            arrow: keep the columns in Arrow's memory (``pandas.ArrowDtype``) instead of numpy's.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        pandas = package("pandas")
        table = self._table
        return table.to_pandas(types_mapper=pandas.ArrowDtype) if arrow else table.to_pandas()

    def to_polars(self) -> Any:
        """A ``polars.DataFrame`` over the same memory; what is missing is null.

        Raises:
            MissingExtraError: polars is not installed.
        """
        return package("polars").from_arrow(self._table)

    def rows(self) -> list[dict[str, Any]]:
        """The rows as dicts; what is missing is ``None``."""
        return self._table.to_pylist()

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column of numbers as a numpy array; what is missing is NaN.

        Raises:
            AnalysisError: there is no such column, or it holds text.
        """
        if column(name).kind == "text":
            raise fault("holds text", field=name, hint=f"use results.texts({name!r})")
        numpy = package("numpy")
        return numpy.asarray(self._table.column(name).cast("float64").to_numpy(), dtype=numpy.float64)

    def texts(self, name: str) -> list[str | None]:
        """A column of text.

        Raises:
            AnalysisError: there is no such column, or it holds none.
        """
        if column(name).kind != "text":
            raise fault("holds no text", field=name, hint=f"use results.numbers({name!r})")
        return cast("list[str | None]", self._table.column(name).to_pylist())

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(each.name for each in COLUMNS)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The results to any library that speaks Arrow."""
        return self._table.__arrow_c_stream__(requested_schema)

    def __len__(self) -> int:
        return self._table.num_rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows())

    @overload
    def __getitem__(self, key: str) -> Sequence[Any]: ...
    @overload
    def __getitem__(self, key: int) -> dict[str, Any]: ...
    def __getitem__(self, key: str | int) -> Sequence[Any] | dict[str, Any]:
        """A column by its name, or a row by its place."""
        if isinstance(key, str):
            return self.texts(key) if column(key).kind == "text" else cast("Sequence[Any]", self.numbers(key))
        if not -len(self) <= key < len(self):
            raise IndexError(f"row {key} of {len(self)}")
        return self._table.slice(key % len(self), 1).to_pylist()[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Results) and bool(self._table.equals(other._table))

    __hash__: ClassVar[None] = None  # type: ignore[assignment]  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self._table, self._metric, self._basis)

    def __repr__(self) -> str:
        return f"<ffrtmp.analysis.Results: {len(self)} rows, ranked by {self._metric} over {self._basis} energy>"

    def _repr_html_(self) -> str:
        """A table of the best, for notebooks."""
        some = self.ranked().taking(range(min(len(self), _ROWS_SHOWN)))
        head = "".join(f"<th>{html.escape(_titled(name))}</th>" for name in _SHOWN)
        body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell(row[name]))}</td>' for name in _SHOWN)}</tr>" for row in some)
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        more = f"<caption>{_ROWS_SHOWN} of {len(self)} rows</caption>" if len(self) > _ROWS_SHOWN else ""
        return f"<table>{more}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><ul>{notes}</ul>"


def cell(value: object) -> str:
    """A value as tables show it.

    >>> cell(1234567.0), cell(0.0126), cell(None), cell(True)
    ('1.235e+06', '0.0126', '–', 'yes')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _scalar(value: object, kind: Any, name: str) -> Any:
    pa = package("pyarrow")
    try:
        return pa.scalar(value).cast(kind)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError) as error:
        raise fault(f"holds no {shown(value)}", field=name, hint=f"give a value of the column, which is {kind}") from error


def _titled(name: str) -> str:
    unit = column(name).unit
    return f"{name.replace('_', ' ')} ({unit})" if unit else name.replace("_", " ")


def _restored(table: Any, metric: Metric, basis: Basis) -> Results:
    return Results(table, metric=metric, basis=basis)


def _mapping(row: object, index: int) -> Any:
    if isinstance(row, Mapping):
        return plain(cast("object", row))
    raise fault(f"is {shown(row)}, not a result", field=f"[{index}]", index=index, hint="give jobs, rows of a matrix, or reports")


def _scored(table: Any, metric: Metric, basis: Basis) -> tuple[Any, Metric, Basis]:
    pa = package("pyarrow")
    made = scores(table, metric, basis)
    arrays = [table.column(each.name).combine_chunks() for each in RECORDED]
    for each in DERIVED:
        if each.name == "efficiency_metric":
            array = pa.array([made.metric], pa.string()).take(pa.array([0] * table.num_rows, pa.int32()))
        else:
            array = pa.array(made.columns[each.name], pa.float64(), from_pandas=True).cast(arrow_type(each.kind))
        arrays.append(array)
    return pa.table(arrays, schema=schema()), made.metric, made.basis


def _notes(results: Results) -> Iterator[str]:
    table: Any = results.arrow()
    pc = package("pyarrow.compute")
    encodes = table.filter(pc.not_equal(pc.fill_null(table.column("type"), ""), "baseline"))
    rows: int = encodes.num_rows
    for name in ("total_energy_wh", "vmaf", "psnr", "ssim"):
        missing: int = encodes.column(name).null_count
        if missing:
            yield f"{name} is missing in {'all rows' if missing == rows else f'{missing} of {rows} rows'}"
    for reason, times in _counted(encodes.column("missing")):
        yield f"{reason} ({times} of {rows} rows)"
    modelled: int = pc.sum(pc.cast(encodes.column("modelled"), "int64")).as_py() or 0
    if modelled:
        measured: int = rows - encodes.column("total_energy_wh").null_count - modelled
        mixed = f"; {measured} are measured: do not compare one kind with the other" if measured else ""
        yield f"the energy of {modelled} rows is modelled from processor time{mixed}"
    sources = {source for source, _ in _counted(encodes.column("energy_source"))} - {"modelled"}
    if len(sources) > 1:
        yield f"energy comes from different meters: {', '.join(sorted(sources))}"


def _counted(held: Any) -> list[tuple[str, int]]:
    pc = package("pyarrow.compute")
    pairs: list[dict[str, Any]] = pc.value_counts(held.combine_chunks()).to_pylist()
    return [(str(pair["values"]), int(pair["counts"])) for pair in pairs if pair["values"] is not None][:5]
