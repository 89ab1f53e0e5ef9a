"""Where results come from: files, masters, URLs of files, and objects that Python holds."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, BinaryIO, cast

from ffrtmp import _ffrtmp, errors
from ffrtmp.analysis.documents import LARGEST, read_document, rows_of
from ffrtmp.analysis.efficiency import Basis, Metric
from ffrtmp.analysis.errors import fault
from ffrtmp.analysis.records import Raw, checked, plain, raw_columns
from ffrtmp.analysis.table import Results
from ffrtmp.analysis.web import document, is_file
from ffrtmp.client import Client
from ffrtmp.cluster import Cluster

Source = str | os.PathLike[str] | Client | Cluster | Mapping[str, Any] | Iterable[Mapping[str, Any]]
"""A path, a URL, a master, a parsed document, or jobs, rows and reports."""

_BATCH = 2000
_LONGEST_URL = 8192


def read(
    source: Source,
    *,
    metric: Metric = "auto",
    basis: Basis = "auto",
    filters: Mapping[str, Any] | None = None,
    api_key: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    insecure_skip_verify: bool = False,
) -> Results:
    """Results from wherever they are.

    Args:
        source: a file that `python -m ffrtmp matrix` or `ffrtmp jobs list --output json` wrote; the
            URL of such a file (it ends in ``.json``) or of a master; a client or cluster; a parsed
            document; an iterable of jobs, rows of a matrix, or reports of ``ffrtmp.transcode``.
        metric: what the score is; see :data:`ffrtmp.analysis.Metric`.
        basis: which energy counts; see :data:`ffrtmp.analysis.Basis`.
        filters: which jobs of a master, as for ``Client.list``; the completed ones by default.
        api_key: of the master at a URL; else ``MASTER_API_KEY`` of the environment.
        ca: a PEM file of the authorities to trust for a URL.
        insecure_skip_verify: take any certificate of a URL.

    Raises:
        AnalysisError: a value cannot be; ``index`` and ``field`` say which, ``hint`` what mends it.
        InputError: there is no such file, or it cannot be read.
        MissingExtraError: pyarrow or numpy is not installed.
        FfrtmpError: as :class:`ffrtmp.Client`.
    """
    if isinstance(source, str) and source[:8].lower().startswith(("http://", "https://")):
        if len(source) > _LONGEST_URL:
            raise fault(f"is an address of {len(source)} characters", field="source", hint="give the URL of a file or a master")
        if is_file(source):
            data = document(source, ca=ca, insecure_skip_verify=insecure_skip_verify)
            return _from_stream(io.BytesIO(data), metric, basis)
        source = Client(source, api_key=api_key, ca=ca, insecure_skip_verify=insecure_skip_verify)
    if isinstance(source, Cluster):
        source = source.client()
    if isinstance(source, Client):
        return Results.of_batches("job", list(_of_master(source, filters or {})), metric=metric, basis=basis)
    if isinstance(source, (str, os.PathLike)):
        with _opened(source) as stream:
            return _from_stream(stream, metric, basis)
    if isinstance(source, Mapping):
        return Results.of(rows_of(dict(cast("Mapping[str, Any]", source)))[1], metric=metric, basis=basis)
    return Results.of(source, metric=metric, basis=basis)


def _of_master(client: Client, filters: Mapping[str, Any]) -> Iterator[Raw]:
    """The jobs in batches, so that memory holds columns and not objects."""
    wanted: Any = {"state": "completed", **filters}
    jobs = client.iterate(**wanted)
    read = 0
    while batch := [plain(job) for job in islice(jobs, _BATCH)]:
        yield checked(raw_columns(batch, "job", first_index=read), "job", first_index=read)
        read += len(batch)
    if not read:
        yield raw_columns([], "job")


def _from_stream(stream: BinaryIO, metric: Metric, basis: Basis) -> Results:
    shape, batches = read_document(stream)
    return Results.of_batches(shape, batches, metric=metric, basis=basis)


def _opened(path: str | os.PathLike[str]) -> BinaryIO:
    place = _ffrtmp.read_path(path, "source")
    name = place[:200]
    hint = "give a file of results, or the URL of a master"
    try:
        opened = open(place, "rb")
        if opened.seekable():
            return opened
        # A pipe can be read once.
        with opened:
            data = opened.read(LARGEST + 1)
    except FileNotFoundError as error:
        raise errors.of("input_not_found", f"there is no file {name!r}", hint, None) from error
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise errors.of("input_unreadable", f"cannot open {name!r}: {said}", hint, None) from error
    if len(data) > LARGEST:
        raise errors.of("payload_too_large", f"{name!r} is over {LARGEST >> 20} MiB", "write it to a file first", None)
    return io.BytesIO(data)
