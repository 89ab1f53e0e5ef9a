"""Progress bars: a line on the terminal, or a cell's output that is kept up to date."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

from ffrtmp.errors import shown
from ffrtmp.records import Progress, Record, WaitProgress

__all__ = ["Bar", "listener"]

_Told = TypeVar("_Told", bound=Record)
_WIDTH = 30
_INTERVAL = 0.1


def listener(
    wanted: bool | Callable[[_Told], object] | None, kind: type[_Told]
) -> tuple[Callable[[dict[str, Any]], None] | None, Bar | None]:
    """What to call with the JSON of progress, and the bar to close in the end."""
    if wanted is None or wanted is False:
        return None, None
    if wanted is True:
        bar = Bar()
        return (lambda told: bar.show(kind(told))), bar
    if not callable(wanted):
        raise TypeError(f"progress is {shown(wanted)}: give True for a bar, or a function of one argument")
    callback = wanted
    return (lambda told: _call(callback, kind(told))), None


def _call(callback: Callable[[_Told], object], told: _Told) -> None:
    callback(told)


class Careful:
    """A listener in an event loop, whose exception stops the work and is raised to who awaits it."""

    def __init__(self, listener: Callable[[dict[str, Any]], None] | None, stop: Callable[[], object]) -> None:
        self.call: Callable[[dict[str, Any]], None] | None = None if listener is None else self._call
        self._listener = listener
        self._stop = stop
        self._error: Exception | None = None

    def _call(self, told: dict[str, Any]) -> None:
        if self._listener is None or self._error is not None:
            return
        try:
            self._listener(told)
        except Exception as error:
            self._error = error
            self._stop()

    def check(self) -> None:
        """Raise what the listener raised."""
        if self._error is not None:
            raise self._error


class Bar:
    """A bar in a notebook, on a terminal, or nowhere where neither is."""

    def __init__(self) -> None:
        self._cell = _notebook_cell()
        self._terminal = self._cell is None and sys.stderr is not None and sys.stderr.isatty()
        self._last = -_INTERVAL
        self._pending: Record | None = None
        self._drawn = False

    def show(self, told: Record) -> None:
        """Draw it, at most ten times a second."""
        now = time.monotonic()
        self._pending = told
        if now - self._last >= _INTERVAL:
            self._last = now
            self._draw()

    def close(self) -> None:
        """Draw the last of it and end the line."""
        self._draw()
        if self._terminal and self._drawn:
            print(file=sys.stderr)

    def _draw(self) -> None:
        told, self._pending = self._pending, None
        if told is None:
            return
        self._drawn = True
        if self._cell is not None:
            self._cell.update(told)
        elif self._terminal:
            print(f"\r\x1b[2K{line(told)}", end="", file=sys.stderr, flush=True)


def line(told: Record) -> str:
    """Progress as a line of text.

    >>> line(Progress({"percent": 50.0, "frames": 12, "speed": 2.5}))
    '[###############---------------]  50 %  12 frames, 2.5x'
    """
    percent = told.get("percent")
    full = 0 if percent is None else round(_WIDTH * min(max(percent, 0.0), 100.0) / 100)
    bar = "#" * full + "-" * (_WIDTH - full)
    shown = "  ? %" if percent is None else f"{percent:3.0f} %"
    return f"[{bar}] {shown}  {_text(told)}"


def _text(told: Record) -> str:
    if isinstance(told, WaitProgress):
        failed = f", {told.failed} failed" if told.failed else ""
        return f"{told.ended} of {told.total} jobs{failed}"
    if isinstance(told, Progress):
        return f"{told.frames} frames, {told.speed:.1f}x"
    return ""


def _notebook_cell() -> Any:
    """Where a notebook shows what changes; `None` outside of one."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None or type(shell).__name__ != "ZMQInteractiveShell":
        return None
    from IPython.display import display  # type: ignore[import-not-found]

    return display(display_id=True)
