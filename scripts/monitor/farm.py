"""A master and agents of ffrtmp in one directory, with TLS, a generated key and ports that were free."""

from __future__ import annotations

import json
import os
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .processes import Failure, Program, free_port, until

HEARTBEAT = "1s"
LOST_AFTER = "5s"
FINAL = {"completed", "failed", "canceled", "rejected"}
"""States after which nothing happens to a job."""

OF_MASTER = {
    "ffrtmp-master": "--metrics-port",
    "ffrtmp-results": "--results-port",
    "ffrtmp-qoe": "--qoe-port",
    "ffrtmp-cost": "--cost-port",
    "ffrtmp-ml": "--predictions-port",
}
"""The flag of each port of a master, by the job that scrapes it."""

OF_AGENT = {"ffrtmp-agent": "--metrics-port", "ffrtmp-rapl": "--rapl-port", "ffrtmp-gpu": "--gpu-port"}
"""The same of an agent."""


@dataclass
class Worker:
    """An agent: how it was started, and the process that it is now."""

    name: str
    flags: list[str]
    ports: dict[str, int]
    program: Program
    env: dict[str, str] = field(default_factory=dict)
    node_id: str = ""


class Farm:
    """A running cluster. Everything that it starts ends with `close`."""

    def __init__(self, programs: Path, directory: Path, master_flags: list[str | Path]) -> None:
        self.programs, self.directory = programs, directory
        self.files = directory / "files"
        self.home = directory / "home"
        for part in (self.files, self.home):
            part.mkdir(parents=True, exist_ok=True)
        self.master_flags = master_flags
        self.cert, self.cert_key = directory / "master.crt", directory / "master.key"
        # An authority that is there already vouches for the master; else its own certificate does.
        authority = directory / "ca.crt"
        self.trust = authority if authority.exists() else self.cert
        self.port = free_port()
        self.ports = {job: free_port() for job in OF_MASTER}
        self.workers: dict[str, Worker] = {}
        self.master = self._start_master()

    def _start_master(self) -> Program:
        command: list[str | Path] = [self.programs / "ffrtmp-master", "--bind", "127.0.0.1", "--port", str(self.port)]
        command += ["--db", self.directory / "master.db", "--cert", self.cert, "--key", self.cert_key]
        command += [*given(OF_MASTER, self.ports), "--rate-limit", "100000", "--rate-burst", "100000"]
        command += [
            "--heartbeat-interval",
            HEARTBEAT,
            "--heartbeat-timeout",
            LOST_AFTER,
            "--scheduler-interval",
            "500ms",
        ]
        program = Program(
            "the master", [*command, *self.master_flags], self.directory / "master.log", self._env(), self.directory
        )
        until("the master answers", lambda: program.runs() and self._answers())
        return program

    def restart_master(self) -> None:
        """Starts it where it was, with the same database and ports."""
        self.master = self._start_master()

    def _answers(self) -> bool:
        try:
            return self.call("GET", "/readyz") is not None
        except (OSError, ValueError, Failure):
            return False

    def agent(self, name: str, flags: list[str], env: dict[str, str] | None = None) -> Worker:
        """Starts an agent and waits until the master knows it."""
        worker = Worker(name, flags, {job: free_port() for job in OF_AGENT}, None, env or {})  # type: ignore[arg-type]
        self.workers[name] = worker
        self.start(worker)
        return worker

    def start(self, worker: Worker) -> None:
        """Starts an agent, or starts it again with the same identity."""
        command: list[str | Path] = [
            self.programs / "ffrtmp-agent",
            "--master",
            f"https://127.0.0.1:{self.port}",
            "--ca",
            self.trust,
        ]
        command += [
            "--api-key-file",
            self.directory / "api-key",
            "--name",
            worker.name,
            "--work-dir",
            self.directory / worker.name,
        ]
        command += ["--allow-path", self.files, "--metrics-bind", "127.0.0.1", *given(OF_AGENT, worker.ports)]
        command += ["--heartbeat-interval", HEARTBEAT, "--poll-interval", "500ms", *worker.flags]
        log = self.directory / f"{worker.name}.log"
        worker.program = Program(worker.name, command, log, {**self._env(), **worker.env}, self.files)
        worker.node_id = until(
            f"{worker.name} is in service", lambda: self._node(worker.name) if worker.program.runs() else ""
        )

    def _env(self) -> dict[str, str]:
        # Disks of test machines are full; what agents do about that is tested elsewhere.
        return {
            "HOME": str(self.home),
            "FFRTMP_RUNNER": str(self.programs / "ffrtmp-runner"),
            "FFRTMP_MIN_FREE_DISK_PERCENT": "0",
        }

    def _node(self, name: str) -> str:
        nodes = self.call("GET", "/nodes")["nodes"]
        return next((str(node["id"]) for node in nodes if node["name"] == name and node["status"] != "offline"), "")

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request to the API. A refusal is a failure with the problem's text."""
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}/api/v1{path}", method=method)
        key = self.directory / "api-key"
        if key.exists():
            request.add_header("Authorization", f"Bearer {key.read_text().strip()}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        trust = ssl.create_default_context(cafile=str(self.trust))
        try:
            with urllib.request.urlopen(request, timeout=30, context=trust) as answer:
                text = answer.read()
                return json.loads(text) if text else {}
        except urllib.error.HTTPError as refusal:
            raise Failure(
                f"{method} {path}: {refusal.code} {refusal.read().decode(errors='replace')[:400]}"
            ) from refusal

    def submit(self, **job: Any) -> str:
        """Submits a job; its id."""
        return str(self.call("POST", "/jobs", job)["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as it is now."""
        return dict(self.call("GET", f"/jobs/{job_id}"))

    def targets(self) -> dict[str, list[str]]:
        """Where everything can be scraped, by job."""
        found = {job: [f"127.0.0.1:{port}"] for job, port in self.ports.items()}
        for worker in self.workers.values():
            for job, port in worker.ports.items():
                found.setdefault(job, []).append(f"127.0.0.1:{port}")
        return found

    def close(self) -> None:
        """Ends agents and master."""
        for worker in self.workers.values():
            worker.program.stop()
        self.master.stop()


def given(flags: dict[str, str], ports: dict[str, int]) -> list[str]:
    """The flags with their ports."""
    return [part for job, flag in flags.items() for part in (flag, str(ports[job]))]


def programs_in(target: Path) -> Path:
    """Where the programs are, which have to be built."""
    missing = [
        name for name in ("ffrtmp-master", "ffrtmp-agent", "ffrtmp-runner") if not os.access(target / name, os.X_OK)
    ]
    if missing:
        raise Failure(f"{target} has no {', '.join(missing)}: run `cargo build --workspace` first")
    return target
