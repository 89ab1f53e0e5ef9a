"""Distributed, energy-aware video transcoding.

One file to another, in this process::

    import ffrtmp

    report = ffrtmp.transcode("in.mov", "out.mp4", scenario="720p30-h264", progress=True)
    print(report.frames, report.speed)

Many jobs, on a cluster in this process or a master elsewhere::

    with ffrtmp.Cluster() as cluster:
        client = cluster.client()
        ids = client.submit_many({"scenario": "360p-h264", "crf": crf} for crf in range(18, 36, 3))
        for job in client.wait(ids, progress=True):
            print(job.result.size_bytes, job.result.energy_joules)

Every error is an :class:`FfrtmpError` with ``code``, ``hint``, ``field`` and ``retryable``; see
:mod:`ffrtmp.errors`. Results become tables and plots in :mod:`ffrtmp.analysis`; :mod:`ffrtmp.matrix` runs
test matrices.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# SVT-AV1 knows no other way to be kept from writing its settings to stderr; one who set it means it.
os.environ.setdefault("SVT_LOG", "0")

from ffrtmp._ffrtmp import __version__
from ffrtmp.aio import AsyncClient
from ffrtmp.client import Client
from ffrtmp.cluster import Cluster
from ffrtmp.errors import (
    CallerError,
    CanceledError,
    CapabilityError,
    ConflictError,
    DependencyError,
    EncodeError,
    FfrtmpError,
    InputError,
    InputNotFoundError,
    InputUnreadableError,
    InternalError,
    InvalidError,
    JobTimeoutError,
    LimitExceededError,
    NetworkError,
    NotAllowedError,
    NotFoundError,
    OutputDirectoryMissingError,
    OutputError,
    OutputNotWritableError,
    RateLimitedError,
    ResourceError,
    TerminalError,
    TlsError,
    TransientError,
    UnauthorizedError,
    UnavailableError,
    UnknownScenarioError,
    explain,
)
from ffrtmp.local import plan, plan_async, probe, probe_async, transcode, transcode_async
from ffrtmp.records import (
    Event,
    Health,
    Job,
    JobList,
    LogLine,
    MediaInfo,
    Node,
    Plan,
    Progress,
    Report,
    Stream,
    WaitProgress,
)
from ffrtmp.wishes import JobRequest, Ladder, Scenario

if TYPE_CHECKING:
    from ffrtmp import analysis as analysis
    from ffrtmp import matrix as matrix
    from ffrtmp import options as options

__all__ = [
    "AsyncClient",
    "CallerError",
    "CanceledError",
    "CapabilityError",
    "Client",
    "Cluster",
    "ConflictError",
    "DependencyError",
    "EncodeError",
    "Event",
    "FfrtmpError",
    "Health",
    "InputError",
    "InputNotFoundError",
    "InputUnreadableError",
    "InternalError",
    "InvalidError",
    "Job",
    "JobList",
    "JobRequest",
    "JobTimeoutError",
    "Ladder",
    "LimitExceededError",
    "LogLine",
    "MediaInfo",
    "NetworkError",
    "Node",
    "NotAllowedError",
    "NotFoundError",
    "OutputDirectoryMissingError",
    "OutputError",
    "OutputNotWritableError",
    "Plan",
    "Progress",
    "RateLimitedError",
    "Report",
    "ResourceError",
    "Scenario",
    "Stream",
    "TerminalError",
    "TlsError",
    "TransientError",
    "UnauthorizedError",
    "UnavailableError",
    "UnknownScenarioError",
    "WaitProgress",
    "__version__",
    "explain",
    "plan",
    "plan_async",
    "probe",
    "probe_async",
    "transcode",
    "transcode_async",
]


def __getattr__(name: str) -> Any:
    if name in ("analysis", "matrix", "options"):
        # On demand: an import of ffrtmp alone is quick.
        import importlib

        return importlib.import_module(f"ffrtmp.{name}")
    raise AttributeError(f"module 'ffrtmp' has no attribute {name!r}")
