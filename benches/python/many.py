"""Many jobs to a master, and many results into a table."""

from __future__ import annotations

import gc
import json
import resource
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ffrtmp
from contest import Verdict, cpu_seconds, process

JOBS, RESULTS = 10_000, 100_000
ROUNDS = 5


def submit(folder: Path, rounds: int | None) -> Iterator[Verdict]:
    """``submit_many`` to a master in another process, whose jobs nobody takes; kept in SQLite and in memory."""
    for kept in ("sqlite", "memory"):
        store = str(folder / "jobs.db") if kept == "sqlite" else None
        with process() as master, process() as client:
            url, key = master.submit(start_master, store).result()
            told = client.submit(submit_rounds, url, key, rounds or ROUNDS).result()
            used = master.submit(stop_master).result()
        rate = statistics.median(JOBS / wall for wall, _ in told["rounds"])
        cpu = statistics.median(cpu for _, cpu in told["rounds"])
        said = f"{1e6 * cpu / JOBS:.0f} µs of CPU per job here, {1e6 * used / JOBS / (len(told['rounds']) + 1):.0f} µs in the master"
        yield Verdict(f"jobs/s, {kept}", rate, 5_000, True, f"{said}; {len(told['rounds'])} rounds of {JOBS:,}")
        yield Verdict(f"growth in MB from the first to the last round, {kept}", told["growth"], 4, False, f"resident {told['resident']:.0f} MB")


def frame(folder: Path, rounds: int | None) -> Iterator[Verdict]:
    """Results as the API tells them, from a file into a pandas frame."""
    path, few = folder / "many.json", folder / "few.json"
    line = json.dumps(a_job())
    for file, rows in [(few, 10), (path, RESULTS)]:
        with file.open("w") as out:
            out.write('{"jobs": [' + ", ".join([line] * rows) + "]}")
    told: list[Any] = []
    for _ in range(rounds or ROUNDS):
        # A process each: memory that was given back once hides what the next reading takes.
        with process() as one, process() as other:
            told.append((one.submit(into_frame, few, path).result(), other.submit(only_parsed, path).result()))
    walls, cpus, megabytes = ([round_[0][place] for round_ in told] for place in range(3))
    parse = statistics.median(theirs[0] for _, theirs in told)
    ratio = statistics.median(ours[0] / theirs[0] for ours, theirs in told)
    said = f"CPU {statistics.median(cpus):.2f} s; {ratio:.2f} of json.load alone, which takes {parse:.2f} s; {len(told)} rounds"
    yield Verdict(f"seconds for {RESULTS:,} results of {path.stat().st_size / 1e6:.0f} MB", statistics.median(walls), 1.0, False, said)
    yield Verdict("MB of memory more at the peak", statistics.median(megabytes), 200, False, "")


ROWS = {"submit": submit, "frame": frame}

_cluster: list[ffrtmp.Cluster] = []


def start_master(store: str | None) -> tuple[str, str]:
    _cluster.append(ffrtmp.Cluster(agents=0, store=store))
    return _cluster[0].url, _cluster[0].api_key


def stop_master() -> float:
    """Returns the seconds of processor time of its process."""
    _cluster.pop().close()
    return cpu_seconds()


def submit_rounds(url: str, key: str, rounds: int) -> dict[str, Any]:
    client = ffrtmp.Client(url, api_key=key)
    taken: list[tuple[float, float]] = []
    sizes: list[float] = []
    for turn in range(rounds + 1):
        jobs = ({"scenario": "720p30-h264", "input": f"clip-{number}.mp4", "output": f"out-{turn}-{number}.mp4"} for number in range(JOBS))
        cpu, started = cpu_seconds(), time.perf_counter()
        ids = client.submit_many(jobs)
        usage = (time.perf_counter() - started, cpu_seconds() - cpu)
        assert len(ids) == JOBS
        del ids
        sizes.append(resident())
        # The first opens the connection and fills the allocator.
        if turn:
            taken.append(usage)
    return {"rounds": taken, "growth": sizes[-1] - sizes[0], "resident": sizes[-1]}


def into_frame(few: Path, many: Path) -> tuple[float, float, float]:
    from ffrtmp import analysis

    analysis.read(few).to_pandas()
    gc.collect()
    peak, cpu, started = peak_megabytes(), time.process_time(), time.perf_counter()
    table = analysis.read(many).to_pandas()
    usage = (time.perf_counter() - started, time.process_time() - cpu, peak_megabytes() - peak)
    assert len(table) == RESULTS
    return usage


def only_parsed(many: Path) -> tuple[float]:
    with many.open() as file:
        started = time.perf_counter()
        json.load(file)
    return (time.perf_counter() - started,)


def resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def a_job() -> dict[str, Any]:
    """A job that has ended, as ``GET /jobs`` tells it."""
    result = {
        "output_uri": "/media/out.mp4",
        "resolution": "1280x720",
        "fps": 30.0,
        "duration_seconds": 10.0,
        "frames": 300,
        "size_bytes": 2_500_000,
        "wall_seconds": 2.0,
        "cpu_seconds": 4.0,
        "speed": 5.0,
        "peak_memory_bytes": 300_000_000,
        "energy_joules": 120.0,
        "energy_source": "rapl",
        "video_codec": "h264",
        "video_encoder": "libx264",
        "warnings": [],
    }
    transitions = [
        {"from": before, "to": after, "at": "2026-01-31T12:00:00Z", "reason": reason}
        for before, after, reason in [("queued", "queued", "submitted"), ("queued", "running", "claimed"), ("running", "completed", "finished")]
    ]
    return {
        "id": "9c7b2f3a-5a0e-4a53-8a34-0f6a3c1d2e4b",
        "sequence_number": 17,
        "scenario": "720p30-h264",
        "state": "completed",
        "queue": "default",
        "priority": "medium",
        "parameters": {"codec": "h264", "preset": "veryfast", "bitrate": "2M", "resolution": "720p"},
        "labels": {"study": "bench", "name": "h264 veryfast 2M"},
        "created_at": "2026-01-31T12:00:00Z",
        "started_at": "2026-01-31T12:00:01Z",
        "completed_at": "2026-01-31T12:00:03Z",
        "node_name": "agent-1",
        "attempt": 1,
        "retry_count": 0,
        "progress": 100.0,
        "state_transitions": transitions,
        "result": result,
    }
