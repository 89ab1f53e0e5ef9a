"""A webhook receiver: what Alertmanager sends stays here, by the name of the receiver that it went to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Notice:
    """One alert of one message."""

    receiver: str
    alert: str
    status: str
    labels: dict[str, str]
    annotations: dict[str, str]


class Hooks:
    """Listens on loopback until it is closed. `told` hears of every notice."""

    def __init__(self, told: Callable[[Notice], None] = lambda notice: None) -> None:
        self.told = told
        self._notices: list[Notice] = []
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.take(self.path.strip("/"), message)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, receiver: str, message: dict[str, Any]) -> None:
        """Keeps the alerts of a message."""
        for alert in message["alerts"]:
            notice = Notice(
                receiver, alert["labels"]["alertname"], alert["status"], alert["labels"], alert["annotations"]
            )
            with self._lock:
                self._notices.append(notice)
            self.told(notice)

    def notices(self) -> list[Notice]:
        """All so far, in order."""
        with self._lock:
            return list(self._notices)

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()
