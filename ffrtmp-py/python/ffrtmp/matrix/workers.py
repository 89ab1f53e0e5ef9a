"""Who encodes: this process, or the agents of a master. Both tell the same of a scenario."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ffrtmp import errors
from ffrtmp.client import Client
from ffrtmp.cluster import Cluster
from ffrtmp.errors import CanceledError, FfrtmpError, JobTimeoutError
from ffrtmp.local import transcode
from ffrtmp.matrix.format import Scenario
from ffrtmp.matrix.power import LOOK_EVERY, WATTS_PER_CORE, Meter
from ffrtmp.records import Job, Node


@dataclass(frozen=True, slots=True)
class Work:
    """What a scenario did."""

    reports: tuple[dict[str, Any], ...]
    """The reports of its encodes."""
    wall_seconds: float
    """From the first start to the last end."""
    cpu_seconds: float | None
    """Of all encodes."""
    joules: float | None
    """Of all encodes."""
    source: str | None
    """How the energy was found."""
    nodes: tuple[str, ...] = ()
    """Who did it."""
    missing: tuple[str, ...] = ()
    """What could not be measured, and why."""


class Worker(Protocol):
    """Somebody who encodes."""

    def encode(self, scenario: Scenario, source: str | None, outputs: Sequence[Path], limit: float | None = None) -> Work:
        """Encodes once for each output. With a limit it stops after so many seconds, and what it did is void."""
        ...

    def idle_watts(self, seconds: float, rest: Callable[[float], None]) -> tuple[float | None, str]:
        """Mean power of the idle machine and where it is from, or why it is unknown."""
        ...


class Local:
    """This process: ``ffrtmp.transcode`` on a thread for each encode.

    Processor time is that of the process, energy that of the machine's counters; without counters,
    processor time times ``watts_per_core``, marked ``modelled``.
    """

    def __init__(self, *, watts_per_core: float = WATTS_PER_CORE, meter: Meter | None = None) -> None:
        self._watts_per_core = watts_per_core
        self._meter = Meter() if meter is None else meter

    def encode(self, scenario: Scenario, source: str | None, outputs: Sequence[Path], limit: float | None = None) -> Work:
        """See :class:`Worker`. A failed or interrupted encode stops the others."""
        if source is None:
            raise AssertionError("this process generates no pictures")
        stop = threading.Event()
        deadline = None if limit is None else time.monotonic() + limit

        def watched(_progress: object) -> None:
            if stop.is_set() or (deadline is not None and time.monotonic() >= deadline):
                raise _Stopped

        def one(output: Path) -> dict[str, Any]:
            if stop.is_set():
                raise _Stopped
            return transcode(source, output, progress=watched, **scenario.options()).to_dict()

        at_once = len(outputs) if scenario.type == "multi" else 1
        joules, cpu, started = self._meter.joules(), time.process_time(), time.perf_counter()
        with ThreadPoolExecutor(at_once, thread_name_prefix="ffrtmp-matrix") as pool:
            futures = [pool.submit(one, output) for output in outputs]
            try:
                self._await(futures)
            except BaseException:
                stop.set()
                raise
        reports = [future.result() for future in futures]
        wall, cpu = time.perf_counter() - started, time.process_time() - cpu
        measured = self._meter.joules() - joules
        if self._meter.works:
            return Work(tuple(reports), wall, cpu, measured, "rapl")
        return Work(tuple(reports), wall, cpu, cpu * self._watts_per_core, "modelled")

    def _await(self, futures: list[Future[dict[str, Any]]]) -> None:
        waiting = set(futures)
        while waiting:
            done, waiting = wait(waiting, timeout=LOOK_EVERY, return_when=FIRST_EXCEPTION)
            self._meter.joules()
            for future in done:
                future.result()

    def idle_watts(self, seconds: float, rest: Callable[[float], None]) -> tuple[float | None, str]:
        """See :class:`Worker`."""
        if not self._meter.works:
            return None, "this machine has no energy counters that this user may read"
        joules, started = self._meter.joules(), time.perf_counter()
        while (left := seconds - (time.perf_counter() - started)) > 0:
            rest(min(left, LOOK_EVERY))
            self._meter.joules()
        return (self._meter.joules() - joules) / (time.perf_counter() - started), "rapl"


_LOOK_EVERY = 5.0
_UNABLE = ("needs ", "none of ", "no node has registered")


class _Stopped(Exception):
    """Leaves an encode from within."""


class Fleet:
    """The agents of a master: a job for each encode. What agents report is taken as it is."""

    def __init__(self, client: Client, *, timeout: float = 86_400.0) -> None:
        self._client = client
        self._timeout = timeout

    def encode(self, scenario: Scenario, source: str | None, outputs: Sequence[Path], limit: float | None = None) -> Work:
        """See :class:`Worker`. A job that fails, or an interruption, cancels the others."""
        jobs = [self._request(scenario, source, output) for output in outputs]
        started = time.perf_counter()
        ids = self._client.submit_many(jobs)
        try:
            ended = self._ended(ids, started + (self._timeout if limit is None else limit))
            for job in ended:
                job.raise_for_error()
        except BaseException as error:
            self._cancel(ids)
            if limit is not None and isinstance(error, JobTimeoutError):
                raise _Stopped from None
            raise
        return _told(ended, time.perf_counter() - started)

    def _ended(self, ids: list[str], deadline: float) -> list[Job]:
        """The jobs once they have ended. Jobs that no node can run would wait for ever."""
        unable = ""
        while True:
            left = deadline - time.perf_counter()
            try:
                return list(self._client.wait(ids, timeout=max(min(left, _LOOK_EVERY), 0.01)))
            except JobTimeoutError:
                if left <= _LOOK_EVERY:
                    raise
            before, unable = unable, self._unable(ids)
            if unable and before:
                hint = "choose another encoder, or start a node that has it"
                raise errors.of("capability_missing", f"no node can run it: {unable}", hint, "encoder")

    def _unable(self, ids: list[str]) -> str:
        """Why no node can run the first job that has not ended; empty if one can."""
        for job in map(self._client.get, ids):
            if not job.is_final:
                reason = job.waiting_reason or ""
                return reason if job.state == "queued" and reason.startswith(_UNABLE) else ""
        return ""

    def _request(self, scenario: Scenario, source: str | None, output: Path) -> dict[str, Any]:
        named: dict[str, Any] = {"input": source} if source else {}
        return {
            "scenario": "benchmark",
            **named,
            "output": str(output),
            "queue": "batch" if scenario.type == "batch" else "default",
            "labels": {"matrix": _label(scenario.name)},
            **scenario.options(),
        }

    def _cancel(self, ids: Sequence[str]) -> None:
        for job in ids:
            try:
                self._client.cancel(job)
            except FfrtmpError:
                continue  # It has ended, or the master is gone with it.

    def idle_watts(self, seconds: float, rest: Callable[[float], None]) -> tuple[float | None, str]:
        """See :class:`Worker`: what the nodes' telemetry says, all of them together."""
        looks: list[float] = []
        started = time.perf_counter()
        while True:
            powers = [_watts(node) for node in self._client.nodes()]
            known = [power for power in powers if power is not None]
            if not known or len(known) < len(powers):
                return None, "not every node measures its power"
            looks.append(sum(known))
            left = seconds - (time.perf_counter() - started)
            if left <= 0:
                return sum(looks) / len(looks), "telemetry"
            rest(min(left, 5.0))


def _watts(node: Node) -> float | None:
    telemetry: Any = node.get("telemetry")
    power: Any = telemetry.get("power_watts") if telemetry else None
    return None if power is None else float(power)


class InProcessFleet(Fleet):
    """A cluster whose attempts run on threads of this process: no agent can tell them apart, so the
    processor time is the process's, and its energy is modelled from it."""

    def __init__(self, cluster: Cluster, *, watts_per_core: float = WATTS_PER_CORE) -> None:
        super().__init__(cluster.client())
        self._watts_per_core = watts_per_core

    def encode(self, scenario: Scenario, source: str | None, outputs: Sequence[Path], limit: float | None = None) -> Work:
        """See :class:`Worker`."""
        before = time.process_time()
        work = super().encode(scenario, source, outputs, limit)
        cpu = time.process_time() - before
        return Work(work.reports, work.wall_seconds, cpu, cpu * self._watts_per_core, "modelled", work.nodes)


def worker_for(on: Client | Cluster | None, *, watts_per_core: float) -> Worker:
    """The worker behind what a user gave."""
    if isinstance(on, Cluster):
        return Fleet(on.client()) if on.isolated else InProcessFleet(on, watts_per_core=watts_per_core)
    return Local(watts_per_core=watts_per_core) if on is None else Fleet(on)


def warm_up(worker: Worker, scenario: Scenario, source: str | None, outputs: Sequence[Path]) -> None:
    """Runs the work of a scenario for as long as it is to become stable."""
    until = time.monotonic() + scenario.stabilization
    while (left := until - time.monotonic()) > 0:
        try:
            worker.encode(scenario, source, outputs, left)
        except (_Stopped, CanceledError):
            break
        finally:
            discard(outputs)


def discard(outputs: Sequence[Path]) -> None:
    """Deletes outputs and what lies beside them."""
    for output in outputs:
        for file in [output, *output.parent.glob(f"{output.stem}_*")]:
            file.unlink(missing_ok=True)


def _told(jobs: list[Job], wall: float) -> Work:
    reports = [dict((job.get("result") or {})) for job in jobs]
    joules = [report.get("energy_joules") for report in reports]
    sources = {report.get("energy_source") for report in reports}
    spans = [(job.started_at, job.completed_at) for job in jobs]
    starts = [start for start, _ in spans if start]
    ends = [end for _, end in spans if end]
    if starts and ends:
        # By the nodes' clock: waiting in the queue is no work.
        wall = max((max(ends) - min(starts)).total_seconds(), max(float(report.get("wall_seconds") or 0) for report in reports))
    known = None not in joules
    return Work(
        reports=tuple(reports),
        wall_seconds=wall,
        cpu_seconds=sum(float(report.get("cpu_seconds") or 0.0) for report in reports),
        joules=sum(float(each) for each in joules if each is not None) if known else None,
        source="modelled" if "modelled" in sources else next(iter(sources)) if known else None,
        nodes=tuple(dict.fromkeys(str(job.node_name) for job in jobs if job.node_name)),
        missing=() if known else ("energy: the node reported none",),
    )


def _label(name: str) -> str:
    """A name as a label may have it."""
    return "".join(letter if letter.isprintable() else " " for letter in name)[:63]


def cores() -> int:
    """Hardware threads that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
