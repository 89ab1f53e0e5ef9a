"""Where results come from: files, masters, URLs of files, and objects that Python holds."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO, cast

from ffrtmp.analysis.documents import read_document, rows_of
from ffrtmp.analysis.efficiency import Basis, Metric
from ffrtmp.analysis.errors import AnalysisError
from ffrtmp.analysis.table import Results
from ffrtmp.analysis.web import Access, document, is_file, job_pages

Source = str | os.PathLike[str] | Mapping[str, Any] | Iterable[Mapping[str, Any]]
"""A path, a URL, a parsed document, or jobs, rows and reports."""


def read(
    source: Source,
    *,
    metric: Metric = "auto",
    basis: Basis = "auto",
    api_key: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    insecure_skip_verify: bool = False,
    filters: Mapping[str, str] | None = None,
) -> Results:
    """Results from wherever they are.

    Args:
        source: a file that `python -m ffrtmp matrix` or `ffrtmp jobs list --output json` wrote; the
            URL of such a file (it ends in ``.json``) or of a master; a parsed document; an iterable
            of jobs (``Client.list``), rows, or reports of ``ffrtmp.transcode``.
        metric: what the score is; see :data:`ffrtmp.analysis.Metric`.
        basis: which energy counts; see :data:`ffrtmp.analysis.Basis`.
        api_key: of the master; else ``MASTER_API_KEY`` or ``FFMPEG_RTMP_API_KEY`` of the environment.
        ca: a PEM file of the authority that the server's certificate must come from.
        insecure_skip_verify: take any certificate.
        filters: of ``GET /jobs``, such as ``{"label": "study=codecs"}``; completed jobs by default.

    Raises:
        AnalysisError: the source cannot be read, or a value in it cannot be; ``index`` and
            ``field`` say which, ``hint`` what mends it.
        MissingExtraError: pyarrow or numpy is not installed.
    """
    if isinstance(source, str) and source.lower().startswith(("http://", "https://")):
        access = Access(api_key=api_key, ca=ca, insecure_skip_verify=insecure_skip_verify)
        if is_file(source):
            return _from_stream(io.BytesIO(document(source, access)), metric, basis)
        batches = [read_document(io.BytesIO(page)) for page in job_pages(source, access, filters)]
        return Results.of_batches("job", [raw for _, raws in batches for raw in raws], metric=metric, basis=basis)
    if isinstance(source, (str, os.PathLike)):
        with _opened(source) as stream:
            return _from_stream(stream, metric, basis)
    if isinstance(source, Mapping):
        return Results.of(rows_of(dict(source))[1], metric=metric, basis=basis)
    return Results.of(cast("Iterable[Mapping[str, Any]]", source), metric=metric, basis=basis)


def _from_stream(stream: BinaryIO, metric: Metric, basis: Basis) -> Results:
    shape, batches = read_document(stream)
    return Results.of_batches(shape, batches, metric=metric, basis=basis)


def _opened(path: str | os.PathLike[str]) -> BinaryIO:
    shown = os.fspath(path)[:200]
    try:
        return open(path, "rb")
    except FileNotFoundError as error:
        raise AnalysisError(
            f"there is no file {shown!r}", code="input_not_found", hint="give a file of results, or the URL of a master"
        ) from error
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise AnalysisError(f"cannot open {shown!r}: {said}", code="input_unreadable", hint="give a readable file of results") from error
