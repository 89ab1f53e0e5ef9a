"""Programs that run until they are stopped. Each leads a process group of its own, so that Ctrl-C on a
terminal reaches nobody but this script, which then ends them in good order."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class Failure(Exception):
    """Something did not happen, said in one sentence."""


def until(what: str, look: Callable[[], T | None], seconds: float = 120) -> T:
    """Looks until there is something; fails saying what did not happen."""
    end = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > end:
            raise Failure(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.1)


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Program:
    """A process, its log, and the end of both: at the latest when this script ends, whatever the reason."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name, self.log = name, log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                start_new_session=True,
            )
        atexit.register(self.kill)

    def runs(self) -> bool:
        """That it does; fails with its last words if it has ended."""
        code = self.process.poll()
        if code is not None:
            raise Failure(f"{self.name} ended with {code}:\n{self.last_words()}")
        return True

    def last_words(self, lines: int = 15) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def kill(self) -> None:
        """Ends it and its children at once, as a power cut would."""
        if self.process.poll() is None:
            self._signal(signal.SIGKILL)
            self.process.wait()

    def stop(self, patience: float = 15) -> None:
        """Tells it to stop, and ends it if it does not."""
        if self.process.poll() is None:
            self._signal(signal.SIGTERM)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                self.kill()

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass
