"""A cluster with Prometheus and Alertmanager on this machine, until Ctrl-C. It works on one job after
another, so that there is something to see; alerts are printed as their receivers would hear them."""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

from .farm import FINAL, Farm, programs_in
from .hooks import Hooks, Notice
from .processes import Failure, Program
from .stack import DEPLOY, RULES, Alertmanager, Prometheus

RATES = DEPLOY / "compose" / "rates.yaml"
SCENARIOS = ("240p30-h264", "144p-vp9", "360p30-h264")


def main() -> int:
    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    try:
        programs = programs_in(Path(sys.argv[1]).resolve())
        with tempfile.TemporaryDirectory(prefix="ffrtmp-monitor-") as directory:
            run(programs, Path(directory), end)
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    return 0


def run(programs: Path, directory: Path, end: threading.Event) -> None:
    """Starts everything, works until the end, and ends everything in the opposite order."""
    with ExitStack() as stack:
        hooks = Hooks(heard)
        stack.callback(hooks.close)
        farm = Farm(programs, directory, ["--cost-rates", str(RATES)])
        stack.callback(farm.close)
        farm.agent("first", ["--watts-per-core", "4"])
        alertmanager = Alertmanager(directory, hooks.url)
        stack.callback(alertmanager.program.stop)
        prometheus = Prometheus(directory, farm.targets(), RULES, alertmanager.url)
        stack.callback(prometheus.program.stop)
        show(farm, prometheus, alertmanager, directory)
        everything = [
            farm.master,
            alertmanager.program,
            prometheus.program,
            *(worker.program for worker in farm.workers.values()),
        ]
        work(farm, everything, end)
        print("\nending", flush=True)


def show(farm: Farm, prometheus: Prometheus, alertmanager: Alertmanager, directory: Path) -> None:
    """Where everything is."""
    print(f"API           https://127.0.0.1:{farm.port} (key in {directory / 'api-key'}, certificate {farm.cert})")
    print(f"Prometheus    {prometheus.url}")
    print(f"Alertmanager  {alertmanager.url}")
    for job, addresses in farm.targets().items():
        print(f"{job:<13} {', '.join(f'http://{address}/metrics' for address in addresses)}")
    print("Ctrl-C ends all of it and removes its directory", flush=True)


def work(farm: Farm, programs: list[Program], end: threading.Event) -> None:
    """A job after another. A program that ends by itself is the end of all."""
    job, count = "", 0
    while not end.wait(2):
        for program in programs:
            program.runs()
        try:
            if not job or farm.job(job)["state"] in FINAL:
                job = farm.submit(scenario=SCENARIOS[count % len(SCENARIOS)], parameters={"duration": 5})
                count += 1
        except OSError as error:
            print(f"warning: the master does not answer: {error}", file=sys.stderr)


def heard(notice: Notice) -> None:
    """What a receiver hears."""
    print(
        f"{notice.receiver:<7} {notice.status:<9} {notice.alert}: {notice.annotations.get('summary', '')}", flush=True
    )


sys.exit(main())
