"""What happens on the farm of the proof: jobs that succeed, fail for every reason, are tried again,
canceled, live, measured; then what each alert is about, made to happen and made to end."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import threading
from pathlib import Path
from typing import Any

from monitor.farm import FINAL, Farm
from monitor.processes import Failure, free_port, until

from .bench import CODES, SCENARIO, Bench

ROOM = {"max_memory_mb": 512, "max_disk_mb": 100}
"""Little enough for many jobs at once on a machine with little left."""

QUICK = {"duration": 1, "preset": "ultrafast"}
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
"""The trace that some job is a part of."""

REASONS = {"input_error", "user_error", "timeout", *CODES}
"""Every reason for which a job may fail."""


class Story:
    """The farm with its nodes: one that works, one that is slow, and one that says what it is told to."""

    def __init__(self, farm: Farm) -> None:
        self.farm = farm
        self.real = farm.agent(
            "real", ["--max-concurrent-jobs", "2", "--label", "pace=real", "--allow-host", "127.0.0.1"]
        )
        slow = farm.directory / "slow-runner"
        behaviour = json.dumps({"speed": 0.5})
        slow.write_text(f"#!/bin/sh\nexec '{farm.programs / 'ffrtmp-runner'}' --synthetic '{behaviour}' \"$@\"\n")
        slow.chmod(0o755)
        # It stands in for every engine, and is too slow for anything.
        self.slow = farm.agent(
            "slow", ["--max-concurrent-jobs", "16", "--label", "pace=slow"], {"FFRTMP_RUNNER": str(slow)}
        )
        self.bench = Bench(farm)

    def close(self) -> None:
        """Ends the node that is a thread."""
        self.bench.close()

    def submit(self, scenario: str, pace: str, parameters: dict[str, Any] | None = None, **more: Any) -> str:
        """A job for the nodes of a pace."""
        labels = {"node.pace": pace, **more.pop("labels", {})}
        limits = ROOM | more.pop("resource_limits", {})
        parameters = parameters or {}
        return self.farm.submit(scenario=scenario, parameters=parameters, labels=labels, resource_limits=limits, **more)

    def ended(self, job: str, state: str, seconds: float = 90) -> dict[str, Any]:
        """Waits until a job has ended, and demands how."""

        def look() -> dict[str, Any] | None:
            found = self.farm.job(job)
            return found if found["state"] in FINAL else None

        found = until(f"the end of job {job}", look, seconds)
        if found["state"] != state:
            raise Failure(f"job {job} is {found['state']} and not {state}: {json.dumps(found.get('error'))}")
        return found

    def tell(self) -> None:
        """Everything that panels are about."""
        clip = self.farm.files / "clip.mp4"
        caller = f"00-{TRACE}-00f067aa0ba902b7-01"
        first = self.submit(
            "240p30-h264", "real", {"duration": 14, "preset": "ultrafast"}, output=str(clip), traceparent=caller
        )
        waiting = self.submit("240p30-h264", "real", QUICK, depends_on=[first], queue="batch", priority="low")
        self.ended(first, "completed")
        missing = self.submit("240p30-h264", "real", input=str(self.farm.files / "none.mp4"))
        foreign = self.submit("240p30-h264", "real", QUICK, output="/outside.mp4")
        late = self.submit("240p30-h264", "slow", {"duration": 30}, resource_limits={"timeout_sec": 1}, max_retries=0)
        said = [self.say(reason) for reason in CODES] + [self.say("quality") for _ in range(2)]
        done = [
            self.submit(name, "real", QUICK, input=str(clip), priority=priority)
            for name, priority in (("240p30-h264", "high"), ("144p-vp9", "batch"))
        ]
        dropped = self.submit("240p30-h264", "slow", {"duration": 600}, classification="test")
        until("the job to cancel runs", lambda: self.farm.job(dropped)["state"] == "running")
        self.farm.call("POST", f"/jobs/{dropped}/cancel")
        for job in (missing, foreign, late, *said[: len(CODES)]):
            self.ended(job, "failed")
        for job in (waiting, *done, *said[len(CODES) :]):
            self.ended(job, "completed")
        self.ended(dropped, "canceled")
        seen = {self.farm.job(job)["failure_reason"] for job in (missing, foreign, late, *said[: len(CODES)])}
        if seen != REASONS:
            raise Failure(f"jobs failed for {sorted(seen)} and not for {sorted(REASONS)}")

    def stream(self) -> str:
        """A live job, long enough for its pace to be measured: the clip, to whoever listens."""
        to = f"udp://127.0.0.1:{free_port()}"
        parameters = {"duration": 13, "preset": "ultrafast"}
        return self.submit("live-240p30-h264", "real", parameters, input=str(self.farm.files / "clip.mp4"), output=to)

    def say(self, word: str) -> str:
        """A job that ends as the word says."""
        labels = {"node.tool": "bench", "say": word}
        return self.farm.submit(
            scenario=SCENARIO, labels=labels, parameters={"duration": 10}, max_retries=1, classification="production"
        )

    def break_things(self) -> None:
        """A handful of production jobs that fail at once, more than half of them by the platform."""
        for reason in ["runtime_error"] * 3 + ["platform_error"] * 5:
            self.say(reason)

    def crowd(self) -> list[str]:
        """More jobs than a queue should have, for a node that there is not."""
        job = {"scenario": "240p30-h264", "labels": {"node.pace": "none"}, "queue": "batch"}
        return [made["id"] for made in self.farm.call("POST", "/jobs/batch", {"jobs": [job] * 105})["jobs"]]

    def work_for_nothing(self, live: bool) -> str:
        """Work for the slow node without an end."""
        queue = "live" if live else "default"
        return self.submit(
            "240p30-h264", "slow", {"duration": 3600}, queue=queue, engine="ffmpeg", classification="test"
        )


class Lock:
    """Somebody who holds the database locked, most of the time."""

    HELD, FREE = 0.9, 0.6

    def __init__(self, database: Path) -> None:
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(database,))
        self._thread.start()

    def _run(self, database: Path) -> None:
        connection = sqlite3.connect(database, timeout=30, isolation_level=None)
        while not self._end.is_set():
            connection.execute("BEGIN IMMEDIATE")
            self._end.wait(self.HELD)
            connection.execute("ROLLBACK")
            self._end.wait(self.FREE)
        connection.close()

    def close(self) -> None:
        """Lets go."""
        self._end.set()
        self._thread.join()


def certify(directory: Path, days: int) -> None:
    """A certificate of the master that holds for so many days, by an authority that stays."""
    authority, key = directory / "ca.crt", directory / "ca.key"

    def openssl(*words: str | Path) -> None:
        done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True)
        if done.returncode:
            raise Failure(f"openssl {words[0]}: {done.stderr}")

    if not authority.exists():
        openssl(
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            key,
            "-out",
            authority,
            "-days",
            "365",
            "-subj",
            "/CN=proof",
        )
    request, names = directory / "master.csr", directory / "names"
    names.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n")
    openssl(
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        directory / "master.key",
        "-out",
        request,
        "-subj",
        "/CN=master",
    )
    openssl(
        "x509",
        "-req",
        "-in",
        request,
        "-CA",
        authority,
        "-CAkey",
        key,
        "-CAcreateserial",
        "-days",
        str(days),
        "-extfile",
        names,
        "-out",
        directory / "master.crt",
    )
