"""The asynchronous twin of :class:`ffrtmp.Client`."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

from ffrtmp import _ffrtmp, bars
from ffrtmp.client import (
    BATCH,
    _PAGE,
    Filters,
    JobRef,
    _connect,
    _described,
    _reconnect,
    at_most,
    batches,
    one_or_many,
    outcome,
)
from ffrtmp.errors import FfrtmpError
from ffrtmp.records import Event, Health, Job, JobList, LogLine, Node, WaitProgress
from ffrtmp.wishes import JobRequest, Scenario

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from ffrtmp.options import JobOptions

__all__ = ["AsyncClient", "AsyncEventIterator"]


class AsyncClient:
    """A connection to a master whose methods are awaited; see :class:`ffrtmp.Client`.

    Canceling a task drops its request. Tasks and event loops may share a client.

    >>> import asyncio
    >>> async def study() -> list[str]:
    ...     client = AsyncClient(cluster.url, api_key=cluster.api_key)
    ...     jobs = [await client.submit("144p-h264-test", duration=1) for _ in range(2)]
    ...     return [job.state for job in await client.wait(jobs)]
    >>> asyncio.run(study())
    ['completed', 'completed']
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

    async def close(self) -> None:
        """Let go of the connections; ``async with`` does it at its end. Later calls raise :class:`ConflictError`."""
        self._inner.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def url(self) -> str:
        """Address of the master; of several, of the one that answered last."""
        return self._inner.url

    async def submit(
        self,
        job: str | Scenario | JobRequest | Mapping[str, Any],
        input: str | PathLike[str] | None = None,
        output: str | PathLike[str] | None = None,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[JobOptions],
    ) -> Job:
        """Submit a job; see :meth:`ffrtmp.Client.submit`."""
        described = _described(job, input, output, options)
        return Job(await _ffrtmp.submit_async(self._inner, described, idempotency_key))

    async def submit_many(
        self,
        jobs: Iterable[str | Scenario | JobRequest | Mapping[str, Any]],
        *,
        batch: int = BATCH,
        progress: Callable[[int], object] | None = None,
    ) -> list[str]:
        """Submit many jobs and return their ids; see :meth:`ffrtmp.Client.submit_many`."""
        ids: list[str] = []
        try:
            for jobs_of_batch in batches(jobs, batch):
                ids += await _ffrtmp.submit_batch_async(self._inner, jobs_of_batch, len(ids))
                if progress is not None:
                    progress(len(ids))
        except FfrtmpError as error:
            error.submitted = ids
            raise
        return ids

    @overload
    async def wait(  # type: ignore[overload-overlap]
        self,
        jobs: JobRef,
        *,
        timeout: float | None = None,
        progress: bool | Callable[[WaitProgress], object] | None = None,
        check: bool = False,
    ) -> Job: ...
    @overload
    async def wait(
        self,
        jobs: Iterable[JobRef],
        *,
        timeout: float | None = None,
        progress: bool | Callable[[WaitProgress], object] | None = None,
        check: bool = False,
    ) -> JobList: ...
    async def wait(
        self,
        jobs: JobRef | Iterable[JobRef],
        *,
        timeout: float | None = None,
        progress: bool | Callable[[WaitProgress], object] | None = None,
        check: bool = False,
    ) -> Job | JobList:
        """Wait until a job, or every one of several, has ended; see :meth:`ffrtmp.Client.wait`."""
        ids, single = one_or_many(jobs)
        callback, bar = bars.listener(progress, WaitProgress)
        listener = bars.Careful(callback, lambda: future.cancel())
        try:
            future = _ffrtmp.wait_async(self._inner, ids, timeout, listener.call)
            ended = await future
            listener.check()
        except BaseException:
            listener.check()
            raise
        finally:
            if bar is not None:
                bar.close()
        ended_jobs: Job | JobList = outcome(ended, single, check)
        return ended_jobs

    async def get(self, job: JobRef) -> Job:
        """A job as it stands now."""
        return Job(await _ffrtmp.get_async(self._inner, job))

    async def list(self, *, limit: int | None = 100, **filters: Unpack[Filters]) -> JobList:
        """The jobs that match, newest first; see :meth:`ffrtmp.Client.list`."""
        jobs, most = JobList(), at_most(limit)
        async for job in self.iterate(**filters):
            if most is not None and len(jobs) >= most:
                break
            jobs.append(job)
        return jobs

    async def iterate(self, **filters: Unpack[Filters]) -> AsyncIterator[Job]:
        """The jobs that match, newest first, a page at a time."""
        cursor: str | None = None
        while True:
            page = await _ffrtmp.list_async(self._inner, {**filters, "limit": _PAGE, "cursor": cursor})
            for job in page["jobs"]:
                yield Job(job)
            cursor = page["next_cursor"]
            if cursor is None:
                return

    async def cancel(self, job: JobRef) -> Job:
        """Cancel a job; see :meth:`ffrtmp.Client.cancel`."""
        return Job(await _ffrtmp.cancel_async(self._inner, job))

    async def pause(self, job: JobRef) -> Job:
        """Hold a job back, or freeze a running one; see :meth:`ffrtmp.Client.pause`."""
        return Job(await _ffrtmp.pause_async(self._inner, job))

    async def resume(self, job: JobRef) -> Job:
        """Let a paused job go on; see :meth:`ffrtmp.Client.resume`."""
        return Job(await _ffrtmp.resume_async(self._inner, job))

    async def retry(self, job: JobRef) -> Job:
        """Start a new round of a job; see :meth:`ffrtmp.Client.retry`."""
        return Job(await _ffrtmp.retry_async(self._inner, job))

    async def logs(self, job: JobRef) -> builtins.list[LogLine]:
        """The log of a job over all its attempts, oldest line first."""
        return [LogLine(line) for line in await _ffrtmp.logs_async(self._inner, job)]

    async def follow_logs(self, job: JobRef) -> AsyncIterator[LogLine]:
        """Follow the log of a job with ``async for``; see :meth:`ffrtmp.Client.follow_logs`."""
        log = _ffrtmp.follow_logs(self._inner, job)
        while (lines := await _ffrtmp.next_lines_async(log)) is not None:
            for line in lines:
                yield LogLine(line)

    def events(self, job: JobRef) -> AsyncEventIterator:
        """Follow a job live with ``async for``; see :meth:`ffrtmp.Client.events`."""
        return AsyncEventIterator(_ffrtmp.events(self._inner, job))

    async def nodes(self) -> builtins.list[Node]:
        """The machines that run attempts, by name."""
        return [Node(node) for node in await _ffrtmp.nodes_async(self._inner)]

    async def health(self) -> Health:
        """How the master is; needs no key."""
        return Health(await _ffrtmp.health_async(self._inner))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __eq__(self, other: object) -> bool:
        return self._reached == other._reached if isinstance(other, AsyncClient) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.url)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reconnect, (type(self), self._reached)


class AsyncEventIterator(AsyncIterator[Event]):
    """The story of a job as it happens."""

    __slots__ = ("_inner",)

    def __init__(self, inner: _ffrtmp.Events) -> None:
        self._inner = inner

    async def __anext__(self) -> Event:
        event = await _ffrtmp.next_event_async(self._inner)
        if event is None:
            raise StopAsyncIteration
        return Event(event)


