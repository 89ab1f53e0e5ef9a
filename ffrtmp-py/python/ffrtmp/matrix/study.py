"""A run of a matrix: scenarios one after another, a row of results for each, a file after every one."""

from __future__ import annotations

import json
import math
import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ffrtmp import __version__, _ffrtmp, errors
from ffrtmp.analysis.columns import RECORDED
from ffrtmp.analysis.errors import AnalysisError, MissingExtraError, fault, shown
from ffrtmp.analysis.quality import Quality, measure_quality
from ffrtmp.client import Client
from ffrtmp.cluster import Cluster
from ffrtmp.errors import FfrtmpError
from ffrtmp.matrix.format import Matrix, Scenario
from ffrtmp.matrix.power import WATTS_PER_CORE
from ffrtmp.matrix.predecessor import area
from ffrtmp.matrix.workers import Work, Worker, cores, discard, warm_up, worker_for

if TYPE_CHECKING:
    from ffrtmp.analysis import Results

FORMAT = "ffrtmp-matrix-results/1"
_LEAST_WALL = 1e-9


@dataclass(slots=True)
class Study:
    """What a run of a matrix gave."""

    matrix: Matrix
    """What was run."""
    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """A row for each scenario and clip, columns as in :data:`ffrtmp.analysis.COLUMNS`, ``None`` where unknown."""
    started_at: str = ""
    """When it began, RFC 3339."""
    finished_at: str = ""
    """When it ended; empty if it did not."""

    def results(self) -> Results:
        """The rows as a table.

        Raises:
            MissingExtraError: pyarrow or numpy is not installed.
        """
        from ffrtmp.analysis.table import Results

        return Results.of(self.rows)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the results as JSON, at once or not at all.

        Raises:
            OutputError: the file cannot be written.
        """
        path = Path(_ffrtmp.read_path(path, "path"))
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            temporary.write_text(self.to_json(), encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            said, hint = f"cannot write {shown(str(path), 200)}: {error.strerror}", "choose a directory that exists"
            raise errors.of("output_not_writable", said, hint, "path") from error
        finally:
            with suppress(OSError):
                temporary.unlink()
        return path

    def to_json(self) -> str:
        """The results as JSON: a line for each row."""
        head: dict[str, Any] = {
            "format": FORMAT,
            "name": self.matrix.name,
            "description": self.matrix.description,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "ffrtmp_version": __version__,
            "machine": {"system": platform.system(), "release": platform.release(), "arch": platform.machine(), "threads": cores()},
        }
        lines = ",\n".join(json.dumps(row, ensure_ascii=False, allow_nan=False) for row in self.rows)
        return f'{json.dumps(head, ensure_ascii=False)[:-1]}, "scenarios": [\n{lines}\n]}}\n'

    def __repr__(self) -> str:
        ended = "" if self.finished_at else ", not finished"
        return f"<ffrtmp.matrix.Study {self.matrix.name!r}: {len(self.rows)} rows of {len(self.matrix)} scenarios{ended}>"

    def _repr_html_(self) -> str:
        return self.results()._repr_html_()  # pyright: ignore[reportPrivateUsage]


Progress = Callable[[int, int, str], object]
"""Called with how many steps are done, how many there are, and the name of the next."""


def run(
    matrix: Matrix | str | os.PathLike[str],
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
    *,
    on: Client | Cluster | None = None,
    results: str | os.PathLike[str] | None = None,
    outputs: str | os.PathLike[str] | None = None,
    quality: bool | None = None,
    watts_per_core: float = WATTS_PER_CORE,
    rests: bool = True,
    progress: Progress | None = None,
) -> Study:
    """Runs a test matrix: every scenario with every input.

    Args:
        matrix: the matrix, or its file.
        inputs: clips to encode. Without any, agents generate a test picture.
        on: whose agents encode. Without it: this process if there are inputs, else a cluster of its own.
        results: a file that is written after every scenario, of thousands after every few, and at an interruption.
        outputs: a directory in which the encoded files stay; else they are deleted once measured.
            Agents on other machines must see it under the same path.
        quality: measure VMAF, PSNR and SSIM; by default if the extra ``quality`` is installed.
        watts_per_core: power of a busy core in watts where no meter can be read.
        rests: keep to ``stabilization`` and ``cooldown``; without, results come sooner and vary more.
        progress: called before every step.

    Returns:
        The study. A scenario that fails is a row of state ``failed`` that says why.

    Raises:
        AnalysisError: the matrix is none.
        InputError: an input is missing.
        MissingExtraError: quality is asked for and the extra ``quality`` is not installed.
    """
    # One that was put together by hand is read like a file.
    read = Matrix.parse(matrix.to_dict()) if isinstance(matrix, Matrix) else Matrix.load(matrix)
    clips = [os.fspath(each) for each in ([inputs] if isinstance(inputs, (str, os.PathLike)) else inputs)]
    if not 0 <= watts_per_core < math.inf:
        raise fault("is no power", field="watts_per_core", hint="give watts of 0 or more")
    measure = _measure(quality)
    steps = _steps(read, clips)
    _require_files(steps)
    with _worker(on, steps, watts_per_core) as worker, _directory(outputs) as folder:
        study = Study(read, started_at=_now())
        bench = _Bench(worker, folder, keep=outputs is not None, measure=measure, rests=rests)
        with _kept(study, results) as keep:
            for index, (scenario, clip) in enumerate(steps):
                if progress is not None:
                    progress(index, len(steps), scenario.name)
                study.rows.append(bench.row(index, scenario, clip))
                keep()
            if progress is not None:
                progress(len(steps), len(steps), "")
            study.finished_at = _now()
    return study


@contextmanager
def _kept(study: Study, path: str | os.PathLike[str] | None) -> Generator[Callable[[], None]]:
    """Saves a study now and then, for a twentieth of the time at most, and in the end, whatever ends it."""
    again = 0.0

    def keep() -> None:
        nonlocal again
        started = time.monotonic()
        if path is not None and started >= again:
            study.save(path)
            again = time.monotonic() + 19 * (time.monotonic() - started)

    try:
        yield keep
    except BaseException:
        with suppress(FfrtmpError):
            again = 0.0
            keep()
        raise
    again = 0.0
    keep()


def _steps(matrix: Matrix, clips: list[str]) -> list[tuple[Scenario, str | None]]:
    steps: list[tuple[Scenario, str | None]] = []
    for scenario in matrix:
        sources: Sequence[str | None] = [None] if scenario.type == "baseline" else [scenario.input] if scenario.input else clips or [None]
        steps += [(scenario, source) for source in sources]
    return steps


def _require_files(steps: list[tuple[Scenario, str | None]]) -> None:
    for source in dict.fromkeys(source for _, source in steps if source):
        if len(source) > 4096 or ("://" not in source and ("\0" in source or not Path(source).is_file())):
            raise errors.of("input_not_found", f"inputs: there is no file {source[:200]!r}", "give clips that exist", "inputs")


@contextmanager
def _worker(on: Client | Cluster | None, steps: list[tuple[Scenario, str | None]], watts_per_core: float) -> Generator[Worker]:
    generated = any(source is None and scenario.type != "baseline" for scenario, source in steps)
    if on is None and generated:
        most = max(scenario.count if scenario.type == "multi" else 1 for scenario, _ in steps)
        with Cluster(slots=most, watts_per_core=watts_per_core) as cluster:
            yield worker_for(cluster, watts_per_core=watts_per_core)
    else:
        yield worker_for(on, watts_per_core=watts_per_core)


@contextmanager
def _directory(outputs: str | os.PathLike[str] | None) -> Generator[Path]:
    if outputs is None:
        with tempfile.TemporaryDirectory(prefix="ffrtmp-matrix-") as folder:
            yield Path(folder)
        return
    kept = Path(_ffrtmp.read_path(outputs, "outputs")).absolute()
    try:
        kept.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.of("output_not_writable", f"outputs: cannot be made: {error.strerror}", "choose another directory", "outputs") from error
    yield kept


def _measure(quality: bool | None) -> Callable[[str, Path], Quality] | str:
    """How to measure quality, or why it is not measured."""
    if quality is False:
        return "nobody asked for it"
    try:
        from ffrtmp.analysis.extras import package

        package("imageio_ffmpeg")
    except MissingExtraError as error:
        if quality:
            raise
        return f"{error.message}: {error.hint}"
    return measure_quality


@dataclass(slots=True)
class _Bench:
    """Where scenarios are run and measured."""

    worker: Worker
    folder: Path
    keep: bool
    measure: Callable[[str, Path], Quality] | str
    rests: bool
    idle_watts: float | None = None
    why_no_idle: str = ""
    rest_of: threading.Event = field(default_factory=threading.Event)

    def rest(self, seconds: float) -> None:
        """Does nothing for a while."""
        self.rest_of.wait(seconds)

    def row(self, index: int, scenario: Scenario, clip: str | None) -> dict[str, Any]:
        """Runs a scenario."""
        row: dict[str, Any] = {each.name: None for each in RECORDED}
        row |= {"name": scenario.name, "type": scenario.type}
        if scenario.type == "baseline":
            row |= self._baseline(scenario)
        else:
            row |= _asked(scenario, clip)
            names = [f"{index:03}-{_file_name(scenario)}-{copy}{scenario.suffix}" for copy in range(scenario.count)]
            row |= self._encoded(scenario, clip, [self.folder / name for name in names])
        if self.rests and scenario.cooldown:
            self.rest(scenario.cooldown)
        return {key: _unicode(value) if isinstance(value, str) else value for key, value in row.items()}

    def _baseline(self, scenario: Scenario) -> dict[str, Any]:
        if self.rests and scenario.stabilization:
            self.rest(scenario.stabilization)
        self.idle_watts, said = self.worker.idle_watts(scenario.duration, self.rest)
        if self.idle_watts is None:
            self.why_no_idle = f"net energy: {said}"
            return {"state": "completed", "missing": f"power: {said}"}
        energy = self.idle_watts * scenario.duration / 3600.0
        return {
            "state": "completed",
            "wall_seconds": scenario.duration,
            "mean_power_w": self.idle_watts,
            "total_energy_wh": energy,
            "energy_source": said,
            "modelled": False,
            "baseline_power_w": self.idle_watts,
            "net_power_w": 0.0,
            "net_energy_wh": 0.0,
        }

    def _encoded(self, scenario: Scenario, clip: str | None, outputs: list[Path]) -> dict[str, Any]:
        source = os.path.abspath(clip) if clip and "://" not in clip else clip
        try:
            if self.rests and scenario.stabilization:
                warm_up(self.worker, scenario, source, outputs)
            work = self.worker.encode(scenario, source, outputs)
            row = _made(scenario, work) | _energy(work, self.idle_watts)
            quality, why = self._quality(source, outputs[0])
        except FfrtmpError as error:
            return {"state": "failed", "missing": f"{error.code}: {error.message[:500]}"}
        finally:
            if not self.keep:
                discard(outputs)
        missing = [*work.missing, *why, *([self.why_no_idle] if self.why_no_idle and row["net_energy_wh"] is None else [])]
        row |= quality | {"missing": "; ".join(missing) or None}
        if scenario.quality_target:
            value = row.get(scenario.quality_target.measure)
            row["target_met"] = scenario.quality_target.met_by(math.nan if value is None else value)
        return row

    def _quality(self, source: str | None, output: Path) -> tuple[dict[str, Any], list[str]]:
        if isinstance(self.measure, str):
            return {}, [f"quality: {self.measure}"]
        if source is None or "://" in source:
            return {}, ["quality: the source is not at hand"]
        if not output.is_file():
            return {}, ["quality: the output is on another machine"]
        try:
            found = self.measure(source, output)
        except FfrtmpError as error:
            return {}, [f"quality: {error.message[:300]}"]
        values = {"vmaf": found.vmaf, "psnr": found.psnr, "ssim": found.ssim}
        told: dict[str, Any] = {name: None if math.isnan(value) else value for name, value in values.items()}
        why = ["psnr: infinite, the pictures are identical"] if math.isnan(found.psnr) and found.ssim == 1.0 else []
        return {**told, "quality_source": found.source}, why


def _asked(scenario: Scenario, clip: str | None) -> dict[str, Any]:
    return {
        "input": clip,
        "count": scenario.count,
        "encoder": scenario.encoder,
        "preset": scenario.preset,
        "crf": scenario.crf,
        "bitrate": scenario.bitrate,
        "resolution": scenario.resolution,
        "fps": scenario.fps,
        "quality_target": str(scenario.quality_target) if scenario.quality_target else None,
    }


def _made(scenario: Scenario, work: Work) -> dict[str, Any]:
    first = work.reports[0]
    width, _, height = str(first.get("resolution") or "").partition("x")
    sides = (int(width), int(height)) if width.isdecimal() and height.isdecimal() else (None, None)
    frames = sum(int(report.get("frames") or 0) for report in work.reports)
    size = sum(int(report.get("size_bytes") or 0) for report in work.reports)
    everything = sum(_bytes(report) for report in work.reports)
    video = sum(float(report.get("duration_seconds") or 0.0) for report in work.reports)
    wall = max(work.wall_seconds, _LEAST_WALL)
    return {
        "state": "completed",
        "codec": first.get("video_codec"),
        "encoder": first.get("video_encoder"),
        "output_bitrate": size * 8 / video if video else None,
        "resolution": first.get("resolution"),
        "width": sides[0],
        "height": sides[1],
        # Without sound the length is that of the pictures.
        "fps": scenario.fps or (round(frames / video, 3) if video else None),
        "duration": video / len(work.reports),
        "wall_seconds": wall,
        "frames": frames,
        "pixels": _pixels(work.reports) or (float(sides[0]) * sides[1] * frames if sides[0] and sides[1] else None),
        "speed": video / wall,
        "cpu_seconds": work.cpu_seconds,
        "peak_memory_bytes": max(int(report.get("peak_memory_bytes") or 0) for report in work.reports) or None,
        "size": everything,
        "node": ", ".join(work.nodes) or None,
    }


def _bytes(report: dict[str, Any]) -> int:
    """Of all files that an encode made."""
    listed = [int(file.get("size_bytes") or 0) for file in report.get("files") or []]
    return sum(listed) or int(report.get("size_bytes") or 0)


def _pixels(reports: Sequence[dict[str, Any]]) -> float | None:
    """Of all renditions of ladders; ``None`` where there is none."""
    each = [one for report in reports for one in report.get("renditions") or []]
    return float(sum(area(one["resolution"]) * int(one["frames"]) for one in each)) if len(each) > len(reports) else None


def _energy(work: Work, idle_watts: float | None) -> dict[str, Any]:
    nothing = {"net_power_w": None, "net_energy_wh": None, "baseline_power_w": None}
    if work.joules is None:
        return nothing
    wall = max(work.wall_seconds, _LEAST_WALL)
    told = {
        **nothing,
        "mean_power_w": work.joules / wall,
        "total_energy_wh": work.joules / 3600.0,
        "energy_source": work.source,
        "modelled": work.source == "modelled",
    }
    if idle_watts is not None and work.source != "modelled":
        net = work.joules - idle_watts * wall
        told |= {"baseline_power_w": idle_watts, "net_power_w": net / wall, "net_energy_wh": net / 3600.0}
    return told


def _unicode(text: str) -> str:
    """A text as JSON and Arrow can carry it: a file's name may be none."""
    return text.encode("utf-8", "replace").decode()


def _file_name(scenario: Scenario) -> str:
    clean = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in scenario.name)
    return clean.strip("-")[:60] or "scenario"


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


__all__ = ["AnalysisError", "Study", "run"]
