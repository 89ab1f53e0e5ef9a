"""Jobs and nodes of a master."""

from __future__ import annotations

import builtins
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypedDict, Union, overload

from ffrtmp import _ffrtmp, bars
from ffrtmp.errors import FfrtmpError, InvalidError, shown
from ffrtmp.records import Event, Health, Job, JobList, LogLine, Node, WaitProgress
from ffrtmp.wishes import JobRequest, Scenario

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from ffrtmp.options import JobOptions

__all__ = ["Client", "EventIterator", "Filters", "JobRef"]

JobRef = Union[Job, str, int]
"""A job: itself, its id or a unique prefix of it, or its sequence number."""

BATCH = 1000
"""Most jobs of a request; ``submit_many`` cuts longer iterables."""

_PAGE = 500


def at_most(limit: int | None) -> int | None:
    """The limit of a list, if it can be one."""
    if limit is not None and not (isinstance(limit, int) and 0 <= limit <= sys.maxsize):
        hint = "give a whole number from 0, or None for all"
        raise InvalidError(f"limit: is {shown(limit)}", code="invalid_field", hint=hint, field="limit")
    return limit


class Filters(TypedDict, total=False):
    """Which jobs to list."""

    state: str | Sequence[str] | None
    """One state or several."""
    queue: str | None
    """A queue."""
    priority: str | None
    """A priority."""
    tenant: str | None
    """A tenant."""
    node_id: str | None
    """Id of the node that holds or last held the job."""
    scenario: str | None
    """Exactly this scenario."""
    classification: str | None
    """A classification."""
    labels: Mapping[str, str] | None
    """Labels that a job must carry, all of them."""
    created_after: datetime | str | None
    """Submitted at or after; RFC 3339."""
    created_before: datetime | str | None
    """Submitted before; RFC 3339."""


class Client:
    """A connection to a master, or to several on one store.

    Threads may share it. ``Client()`` reaches the master that ``MASTER_URL`` names with the
    key of ``MASTER_API_KEY``, else the one on this machine.

    Args:
        url: ``https://HOST:PORT`` or ``http://HOST:PORT``; several with commas between.
        api_key: The master's key.
        ca: PEM file with the authorities to trust, or the master's own certificate.
        cert: PEM file with the client's certificate, for mutual TLS.
        key: PEM file with its key.
        insecure_skip_verify: Trust any certificate: for a lab.

    Every method raises :class:`NetworkError` (also ``ConnectionError``) if the master cannot be
    reached, :class:`UnauthorizedError` for a wrong key, :class:`TlsError` for a certificate that
    is not trusted, and :class:`NotFoundError` for a job that does not exist.

    >>> client = Client(cluster.url, api_key=cluster.api_key)
    >>> job = client.submit("144p-h264-test", duration=1)
    >>> client.wait(job).result.frames
    30
    """

    __slots__ = ("__weakref__", "_inner", "_reached")

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        ca: str | PathLike[str] | None = None,
        cert: str | PathLike[str] | None = None,
        key: str | PathLike[str] | None = None,
        insecure_skip_verify: bool = False,
    ) -> None:
        self._inner, self._reached = _connect(url, api_key, ca, cert, key, insecure_skip_verify)

    def close(self) -> None:
        """Let go of the connections; ``with`` does it at its end. Later calls raise :class:`ConflictError`."""
        self._inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Address of the master; of several, of the one that answered last."""
        return self._inner.url

    def submit(
        self,
        job: str | Scenario | JobRequest | Mapping[str, Any],
        input: str | PathLike[str] | None = None,
        output: str | PathLike[str] | None = None,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[JobOptions],
    ) -> Job:
        """Submit a job.

        Args:
            job: A scenario, or a whole request.
            input: Path or URI of the source; without it the agent generates a test picture.
            output: Path or URI of the result; without it the agent keeps it.
            idempotency_key: Makes the call safe to repeat: a key that was used before returns
                the job of then.
            options: Encoding parameters, labels, limits and so on: see
                :class:`ffrtmp.options.JobOptions`.

        Raises:
            InvalidError: for a field that is unknown or has a wrong value.

        >>> cluster.client().submit("144p-h264-test", duration=1, labels={"study": "doc"}).state
        'queued'
        """
        return Job(_ffrtmp.submit(self._inner, _described(job, input, output, options), idempotency_key))

    def submit_many(
        self,
        jobs: Iterable[str | Scenario | JobRequest | Mapping[str, Any]],
        *,
        batch: int = BATCH,
        progress: Callable[[int], object] | None = None,
    ) -> list[str]:
        """Submit many jobs and return their ids, in order.

        The iterable is read as it is sent: a generator of a million jobs needs no memory for them.
        Each batch is submitted whole or not at all.

        Args:
            jobs: Scenarios, requests or mappings.
            batch: Jobs of a request, 1 to 1,000.
            progress: Called with the number of jobs submitted so far.

        Raises:
            InvalidError: for a wrong job; ``index`` is its place, ``submitted`` the ids of the
                batches before.

        >>> ids = cluster.client().submit_many({"scenario": "144p-h264-test", "duration": 1} for _ in range(3))
        >>> len(ids)
        3
        """
        ids: list[str] = []
        try:
            for jobs_of_batch in batches(jobs, batch):
                ids += _ffrtmp.submit_batch(self._inner, jobs_of_batch, len(ids))
                if progress is not None:
                    progress(len(ids))
        except FfrtmpError as error:
            error.submitted = ids
            raise
        return ids

    @overload
    def wait(  # type: ignore[overload-overlap]
        self,
        jobs: JobRef,
        *,
        timeout: float | None = None,
        progress: bool | Callable[[WaitProgress], object] | None = None,
        check: bool = False,
    ) -> Job: ...
    @overload
    def wait(
        self,
        jobs: Iterable[JobRef],
        *,
        timeout: float | None = None,
        progress: bool | Callable[[WaitProgress], object] | None = None,
        check: bool = False,
    ) -> JobList: ...
    def wait(
        self,
        jobs: JobRef | Iterable[JobRef],
        *,
        timeout: float | None = None,
        progress: bool | Callable[[WaitProgress], object] | None = None,
        check: bool = False,
    ) -> Job | JobList:
        """Wait until a job, or every one of several, has ended, well or not.

        Ctrl-C ends the wait, not the jobs. A master that is away for less than five minutes is
        waited for.

        Args:
            jobs: A job or several.
            timeout: Seconds to wait at most.
            progress: ``True`` for a bar, or a function that is called with a :class:`WaitProgress`.
            check: Raise what the first job that did not complete ended with.

        Raises:
            JobTimeoutError: after ``timeout`` seconds (also ``TimeoutError``); the jobs go on.

        >>> jobs = cluster.client().submit_many(["144p-h264-test"] * 2)
        >>> [job.state for job in cluster.client().wait(jobs)]
        ['completed', 'completed']
        """
        ids, single = one_or_many(jobs)
        callback, bar = bars.listener(progress, WaitProgress)
        try:
            ended = _ffrtmp.wait(self._inner, ids, timeout, callback)
        finally:
            if bar is not None:
                bar.close()
        ended_jobs: Job | JobList = outcome(ended, single, check)
        return ended_jobs

    def get(self, job: JobRef) -> Job:
        """A job as it stands now."""
        return Job(_ffrtmp.get(self._inner, job))

    def list(self, *, limit: int | None = 100, **filters: Unpack[Filters]) -> JobList:
        """The jobs that match, newest first.

        Args:
            limit: Most jobs to return; ``None`` for all.
            filters: See :class:`Filters`.

        >>> cluster.client().list(state=["failed", "rejected"], labels={"study": "none"})
        []
        """
        return JobList(islice(self.iterate(**filters), at_most(limit)))

    def iterate(self, **filters: Unpack[Filters]) -> Iterator[Job]:
        """The jobs that match, newest first, a page at a time: for more than memory holds."""
        cursor: str | None = None
        while True:
            page = _ffrtmp.list(self._inner, {**filters, "limit": _PAGE, "cursor": cursor})
            yield from map(Job, page["jobs"])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def cancel(self, job: JobRef) -> Job:
        """Cancel a job; a running attempt stops and leaves nothing behind.

        Raises:
            ConflictError: if the job has ended.
        """
        return Job(_ffrtmp.cancel(self._inner, job))

    def pause(self, job: JobRef) -> Job:
        """Hold a job back, or freeze a running one.

        Raises:
            ConflictError: if the job has ended.
        """
        return Job(_ffrtmp.pause(self._inner, job))

    def resume(self, job: JobRef) -> Job:
        """Let a paused job go on.

        Raises:
            ConflictError: if the job is not paused.
        """
        return Job(_ffrtmp.resume(self._inner, job))

    def retry(self, job: JobRef) -> Job:
        """Start a new round of a job that failed or was canceled.

        Raises:
            ConflictError: if the job has not ended so.
        """
        return Job(_ffrtmp.retry(self._inner, job))

    def logs(self, job: JobRef) -> builtins.list[LogLine]:
        """The log of a job over all its attempts, oldest line first."""
        return [LogLine(line) for line in _ffrtmp.logs(self._inner, job)]

    def follow_logs(self, job: JobRef) -> Iterator[LogLine]:
        """Follow the log of a job from its first line until the job has ended.

        A master that goes away for less than five minutes is waited for.

        >>> job = cluster.client().submit("144p-h264-test", duration=1)
        >>> any("verified" in line.text for line in cluster.client().follow_logs(job))
        True
        """
        log = _ffrtmp.follow_logs(self._inner, job)
        while (lines := _ffrtmp.next_lines(log)) is not None:
            yield from map(LogLine, lines)

    def events(self, job: JobRef) -> EventIterator:
        """Follow a job live: every change of state so far, then what happens, until the job ends.

        A master that goes away for less than five minutes is waited for.

        >>> job = cluster.client().submit("144p-h264-test", duration=1)
        >>> states = [event.state for event in cluster.client().events(job)]
        >>> states[0], states[-1]
        ('queued', 'completed')
        """
        return EventIterator(_ffrtmp.events(self._inner, job))

    def nodes(self) -> builtins.list[Node]:
        """The machines that run attempts, by name."""
        return [Node(node) for node in _ffrtmp.nodes(self._inner)]

    def health(self) -> Health:
        """How the master is; needs no key."""
        return Health(_ffrtmp.health(self._inner))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __eq__(self, other: object) -> bool:
        return self._reached == other._reached if isinstance(other, Client) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.url)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reconnect, (type(self), self._reached)


class EventIterator(Iterator[Event]):
    """The story of a job as it happens."""

    __slots__ = ("_inner",)

    def __init__(self, inner: _ffrtmp.Events) -> None:
        self._inner = inner

    def __next__(self) -> Event:
        event = _ffrtmp.next_event(self._inner)
        if event is None:
            raise StopIteration
        return Event(event)



Reached = tuple[str, Union[str, None], Union[str, None], Union[str, None], Union[str, None], bool]


def _connect(
    url: str | None,
    api_key: str | None,
    ca: str | PathLike[str] | None,
    cert: str | PathLike[str] | None,
    key: str | PathLike[str] | None,
    insecure_skip_verify: bool,
) -> tuple[_ffrtmp.Client, Reached]:
    url = url or os.environ.get("MASTER_URL") or "https://localhost:8080"
    api_key = api_key or os.environ.get("MASTER_API_KEY") or os.environ.get("FFMPEG_RTMP_API_KEY")
    reached = (url, api_key, _place(ca, "ca"), _place(cert, "cert"), _place(key, "key"), insecure_skip_verify)
    return _ffrtmp.Client(*reached), reached


def _place(path: str | PathLike[str] | None, field: str) -> str | None:
    return None if path is None else _ffrtmp.read_path(path, field)


def _reconnect(kind: type[Any], reached: Reached) -> Any:
    url, api_key, ca, cert, key, insecure = reached
    return kind(url, api_key=api_key, ca=ca, cert=cert, key=key, insecure_skip_verify=insecure)


def _described(job: Any, input: Any, output: Any, options: Mapping[str, Any]) -> Any:
    if isinstance(job, (str, Scenario)):
        return JobRequest(job, input, output, **options)
    given = {"input": input, "output": output, **options}
    return {**job, **{name: value for name, value in given.items() if value is not None}}


def batches(jobs: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """The jobs in lists of this size."""
    if not (isinstance(size, int) and 1 <= size <= BATCH):
        message, hint = f"batch: {shown(size)} is not a number of jobs", f"give 1 to {BATCH}"
        raise InvalidError(message, code="invalid_field", hint=hint, field="batch")
    if isinstance(jobs, (str, bytes, Scenario, Mapping)):
        # The letters of a scenario would be submitted, one job each.
        hint = "give a list of jobs, or use submit() for one"
        raise InvalidError("jobs: is one job, not several", code="invalid_field", hint=hint, field="jobs")
    source = iter(jobs)
    while batch := list(islice(source, size)):
        yield batch


def one_or_many(jobs: Any) -> tuple[list[Any], bool]:
    """The jobs as a list, and whether one alone was meant."""
    single = isinstance(jobs, (Job, str, int))
    return ([jobs] if single else list(jobs)), single


def outcome(ended: list[dict[str, Any]], single: bool, check: bool) -> Any:
    """What a wait returns."""
    jobs = JobList(map(Job, ended))
    if check:
        for job in jobs:
            job.raise_for_error()
    return jobs[0] if single else jobs
