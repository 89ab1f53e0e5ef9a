"""What machines say that this one is not: a small exporter serves the files beside this one.

A value may be followed by `+N`: it grows by N a second, as counters do. `NODE` is the id of a node."""

from __future__ import annotations

import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FILES = Path(__file__).parent
GROWING = re.compile(r"^(?P<series>.+) (?P<value>\S+) \+(?P<pace>\S+)$", re.MULTILINE)

WHY = {
    "rapl_": "power counters are hidden in virtual machines and from ordinary users",
    "gpu_": "there is no graphics card",
    "ml_": "there is no trained model",
    "ffrtmp_worker_temperature_celsius": "there is no sensor of temperature",
    "ffrtmp_worker_pressure_percent": "the kernel does not tell pressure",
}
"""Metrics that a machine may be without, and why. Panels of nothing else may need a recording."""

UNREAL = {"ml_exporter_up"}
"""Names that begin like one of those and are always there."""


def may_be_missing(metric: str) -> str | None:
    """Why a machine may be without a metric, if it may."""
    if metric in UNREAL:
        return None
    return next((why for prefix, why in WHY.items() if metric.startswith(prefix)), None)


class Recorded:
    """Serves the files on loopback until it is closed: `/rapl`, `/gpu` and so on."""

    def __init__(self, node_id: str) -> None:
        self.begun = time.monotonic()
        self.values: dict[str, float] = {"POWER": 35.0, "HEAT": 61.0}
        self.node_id = node_id
        recorded = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text = recorded.text(self.path.strip("/").partition("/")[0]).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def text(self, name: str) -> str:
        """A file as it is now."""
        passed = time.monotonic() - self.begun
        text = (FILES / f"{name}.prom").read_text().replace("NODE", self.node_id)
        for word, value in self.values.items():
            text = text.replace(word, str(value))
        return GROWING.sub(lambda m: f"{m['series']} {float(m['value']) + float(m['pace']) * passed:.3f}", text)

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()
