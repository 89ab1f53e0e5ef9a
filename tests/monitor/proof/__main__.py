"""Runs the proof, prints the tally, and fails below all.

PYTHONPATH=scripts:tests/monitor python -m proof PROGRAMS [--keep DIR]
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from monitor.farm import Farm, programs_in
from monitor.hooks import Hooks
from monitor.processes import Failure, until
from monitor.stack import Alertmanager, Prometheus, jobs
from source.model import TRACED

from . import alerts, files
from .collector import Collector
from .panels import Asker, Question, questions, unanswered
from .quickened import quickened
from .recorded import Recorded
from .story import TRACE, Story, certify

WAITS = {"group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h"}
RATES = Path(__file__).resolve().parents[3] / "deploy" / "compose" / "rates.yaml"
WATTS = ["--watts-per-core", "4"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="proof", description=__doc__)
    parser.add_argument("programs", type=Path)
    parser.add_argument("--keep", type=Path, help="directory for everything that is written")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun = time.monotonic()
    try:
        programs = programs_in(options.programs.resolve())
        files.check()
        files.check_flags(programs)
        said("dashboards, rules, routes and compose file are valid", begun)
        with directory(options.keep) as work, last_words(work):
            prove(programs, work, begun)
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    return 0


def prove(programs: Path, work: Path, begun: float) -> None:
    """Panels without help, alerts, panels that need a recording; then the tally."""
    with ExitStack() as stack:
        certify(work, days=10)
        collector = Collector()
        stack.callback(collector.close)
        # Nothing is traced but what its caller traces.
        traces = ["--tracing", "--tracing-endpoint", collector.address, "--tracing-sample-ratio", "0"]
        farm = Farm(programs, work, ["--cost-rates", str(RATES), *traces])
        stack.callback(farm.close)
        story = Story(farm)
        stack.callback(story.close)
        hooks = Hooks()
        stack.callback(hooks.close)
        alertmanager = Alertmanager(work, hooks.url, WAITS)
        stack.callback(alertmanager.program.stop)
        targets = farm.targets() | {"node": []}
        prometheus = Prometheus(work, targets, quickened(work / "rules.json"), alertmanager.url, interval="1s")
        stack.callback(prometheus.program.stop)
        until(
            "everything is scraped",
            lambda: all(prometheus.healthy().get(job) == [] for job in jobs() if targets.get(job)),
        )
        said("a farm runs and is scraped", begun)

        asker = Asker(prometheus, time.time())
        boards = [json.loads(path.read_text()) for path in sorted(files.BOARDS.glob("*.json"))]
        everything = questions(boards)
        # Twice: a counter that was not there before has to be seen to grow.
        story.tell()
        live = story.stream()
        story.tell()
        story.ended(live, "completed")
        said("the story of jobs is told", begun)
        demand(boards, unanswered(asker, [question for question in everything if not question.excuse], 60))
        said(f"{len(everything)} queries asked, and those answered that every machine must answer", begun)

        until("every histogram of jobs leads to a trace", lambda: all(traced(prometheus, asker.begun)))
        until("the collector has spans of it", lambda: collector.taken > 0)
        said(f"{len(TRACED)} histograms have an exemplar with the trace of a job", begun)

        excused = unanswered(asker, [question for question in everything if question.excuse], 0)
        recorded = Recorded(story.bench.node_id)
        stack.callback(recorded.close)
        prometheus.set_targets(with_recorded(targets, recorded))
        proof = alerts.Proof(hooks)
        alerts.drive(farm, story, recorded, proof)
        said("every alert has fired and ended", begun)
        demand(boards, unanswered(asker, excused, 30))
        tally(boards, excused, proof, begun)


def traced(prometheus: Prometheus, begun: float) -> Iterator[bool]:
    """Of each histogram that should, whether Prometheus has an exemplar of it that names the traced job."""
    for name in TRACED:
        found = prometheus.exemplars(f"{name}_bucket", begun, time.time() + 1)
        yield any(one["labels"].get("trace_id") == TRACE and float(one["value"]) >= 0 for one in found)


def with_recorded(targets: dict[str, list[str]], recorded: Recorded) -> dict[str, list[str]]:
    """The targets, and beside them what is recorded."""
    beside = {"ffrtmp-rapl": "rapl", "ffrtmp-gpu": "gpu", "ffrtmp-agent": "agent", "ffrtmp-ml": "ml"}
    return targets | {job: targets[job] + [f"{recorded.address}/{name}"] for job, name in beside.items()}


def demand(boards: list[dict[str, Any]], missing: list[Question]) -> None:
    """Fails naming every query without an answer."""
    if missing:
        total = sum(len(files.panels(board)) for board in boards)
        listed = "\n".join(f"  {question.where}: {question.expr}" for question in missing)
        empty = len({question.where for question in missing})
        raise Failure(f"panels with data {total - empty}/{total}; these queries have none:\n{listed}")


def tally(boards: list[dict[str, Any]], excused: list[Question], proof: alerts.Proof, begun: float) -> None:
    """Says what was proven, and fails if it is not everything."""
    total = sum(len(files.panels(board)) for board in boards)
    names, proven = alerts.severities(), proof.proven()
    fed = {(question.where, question.excuse) for question in excused}
    for why, count in sorted(Counter(why for _, why in fed).items()):
        print(f"  {count} panels are fed from a recording: {why}")
    print(
        f"panels with data {total}/{total}, alerts proven {len(proven)}/{len(names)}, {time.monotonic() - begun:.0f} s"
    )
    if len(proven) < len(names):
        raise Failure(f"not proven: {', '.join(sorted(names.keys() - proven))}")


def said(what: str, begun: float) -> None:
    """A line of progress."""
    print(f"{time.monotonic() - begun:6.1f} s  {what}", flush=True)


@contextmanager
def last_words(work: Path) -> Iterator[None]:
    """Shows the ends of all logs if something fails."""
    try:
        yield
    except Failure:
        for log in sorted(work.glob("*.log")):
            print(f"--- {log.name}", *log.read_text(errors="replace").splitlines()[-8:], sep="\n", file=sys.stderr)
        raise


@contextmanager
def directory(keep: Path | None) -> Iterator[Path]:
    """Where everything is written; gone afterwards unless it is to be kept."""
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="ffrtmp-monitor-") as temporary:
        yield Path(temporary)


sys.exit(main())
