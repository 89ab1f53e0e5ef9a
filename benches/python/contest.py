"""Turns: every contender does the same work one after another, in a process of its own that lives as
long as the row, and what slows the machine slows all of them."""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

Work = Callable[[Path, Path], None]
"""From a clip to an output in a directory."""


class Usage(NamedTuple):
    """What one turn took, in seconds."""

    wall: float
    cpu: float
    """Of the process, all its threads, and the children that it waited for."""


class Verdict(NamedTuple):
    """A figure and what it may be."""

    what: str
    value: float
    bound: float
    at_least: bool
    said: str

    @property
    def holds(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        value = f"{self.value:,.0f}" if self.value >= 100 else f"{self.value:.3f}"
        return f"{'ok  ' if self.holds else 'MISS'} {self.what}: {value} ({sign} {self.bound:,g})  {self.said}"


def turns(contenders: Mapping[str, Work], clip: Path, folder: Path, rounds: int) -> dict[str, list[Usage]]:
    """Each contender once to warm up, then everybody in turn."""
    used: dict[str, list[Usage]] = {name: [] for name in contenders}
    with ExitStack() as stack:
        workers = {name: stack.enter_context(process()) for name in contenders}
        for turn in range(-1, rounds):
            for name, work in contenders.items():
                place = folder / name / str(turn)
                place.mkdir(parents=True)
                usage = workers[name].submit(timed, work, clip, place).result()
                if turn >= 0:
                    used[name].append(usage)
                for made in place.iterdir():
                    made.unlink()
    return used


def process() -> ProcessPoolExecutor:
    """A process without anything of this one in it."""
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def timed(work: Work, clip: Path, place: Path) -> Usage:
    before, started = cpu_seconds(), time.perf_counter()
    work(clip, place)
    return Usage(time.perf_counter() - started, cpu_seconds() - before)


def cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def ratios(used: Mapping[str, list[Usage]], ours: str, bounds: Mapping[str, float]) -> Iterator[Verdict]:
    """Our wall time over that of each peer: the median of the rounds' ratios. Processor time beside it,
    which tells on a busy machine."""
    mine = used[ours]
    for peer, bound in bounds.items():
        pairs = list(zip(mine, used[peer], strict=True))
        wall = statistics.median(own.wall / theirs.wall for own, theirs in pairs)
        cpu = statistics.median(own.cpu / theirs.cpu for own, theirs in pairs)
        told = [f"{name} {median(used[name], 0):.1f} ms wall, {median(used[name], 1):.1f} ms CPU" for name in (ours, peer)]
        yield Verdict(f"wall of {peer}", wall, bound, False, f"CPU {cpu:.3f}; {'; '.join(told)}; {len(pairs)} rounds")


def median(used: list[Usage], field: int) -> float:
    return 1000 * statistics.median(usage[field] for usage in used)
