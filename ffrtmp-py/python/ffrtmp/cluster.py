"""A master and its agents in this process: for notebooks, studies and tests."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import weakref
from collections.abc import Iterable
from html import escape
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Union

from ffrtmp import _ffrtmp
from ffrtmp.client import Client
from ffrtmp.errors import InvalidError, shown

if TYPE_CHECKING:
    from typing_extensions import Self

    from ffrtmp.aio import AsyncClient

__all__ = ["Cluster"]

Path = Union[str, "PathLike[str]"]
"""A file or directory."""


class Cluster:
    """A master on a free loopback port, and agents that work for it.

    It takes jobs once it is made; ``close()``, the end of a ``with`` or ``async with`` block, or the end
    of the interpreter stops it. Jobs that run then are given back.

    Attempts run in children of their own where ``ffrtmp-runner`` is found (``FFRTMP_RUNNER``, this
    package, the ``PATH``): a hostile file ends one attempt. Else they run on threads of this process,
    and ``isolated`` is false: give such a cluster only files that you trust.

    Args:
        agents: How many agents, 0 to 64.
        slots: Jobs that each runs at once; what suits the machine by default.
        store: An SQLite file that keeps the jobs; memory by default.
        allow_paths: Directories that jobs may read and write; by default the current one and that of
            temporary files.
        allow_hosts: Private hosts that jobs may contact.
        api_key: The key that clients show; a random one by default.
        port: Where the master listens on loopback; a free port by default.
        isolate: ``True`` insists on children, ``False`` on threads.
        watts_per_core: Power of a busy core in watts, where no meter can be read.

    Raises:
        CapabilityError: with ``isolate=True`` where there is no ``ffrtmp-runner``.
        ConflictError: if the port is taken.
        InvalidError: for a number out of range or a directory that does not exist.

    >>> with Cluster() as own:
    ...     job = own.client().submit("144p-h264-test", duration=1)
    ...     own.client().wait(job).state
    'completed'
    """

    __slots__ = ("__weakref__", "_inner", "_stop")

    def __init__(
        self,
        agents: int = 1,
        *,
        slots: int | None = None,
        store: Path | None = None,
        allow_paths: Path | Iterable[Path] | None = None,
        allow_hosts: str | Iterable[str] = (),
        api_key: str | None = None,
        port: int = 0,
        isolate: bool | None = None,
        watts_per_core: float | None = None,
    ) -> None:
        wanted = _wanted(
            agents=_number(agents, "agents", 0, 64),
            slots=None if slots is None else _number(slots, "slots", 1, 4096),
            store=None if store is None else _ffrtmp.read_path(store, "store"),
            allow_paths=allow_paths,
            allow_hosts=allow_hosts,
            api_key=api_key,
            port=_number(port, "port", 0, 65_535),
            isolate=isolate,
            watts_per_core=watts_per_core,
        )
        self._inner: _ffrtmp.Cluster = _ffrtmp.start_cluster(wanted)
        self._stop = weakref.finalize(self, _ffrtmp.stop_cluster, self._inner)

    @property
    def url(self) -> str:
        """Where the master listens."""
        return self._inner.url

    @property
    def api_key(self) -> str:
        """The key that clients show."""
        return self._inner.api_key

    @property
    def isolated(self) -> bool:
        """Whether attempts run in children of their own."""
        return self._inner.isolated

    @property
    def agents(self) -> int:
        """Number of agents."""
        return self._inner.agents

    @property
    def is_running(self) -> bool:
        """Whether it has not been closed."""
        return self._stop.alive

    def client(self) -> Client:
        """A client of it."""
        return Client(self.url, api_key=self.api_key)

    def async_client(self) -> AsyncClient:
        """A client of it whose methods are awaited."""
        from ffrtmp.aio import AsyncClient

        return AsyncClient(self.url, api_key=self.api_key)

    def close(self) -> None:
        """Stop the agents, then the master. A second call does nothing."""
        self._stop()

    async def aclose(self) -> None:
        """Stop it without blocking the event loop."""
        if self._stop.detach() is not None:
            await _ffrtmp.stop_cluster_async(self._inner)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        state = "" if self.is_running else ", closed"
        return f"Cluster({self.url!r}, agents={self.agents}, isolated={self.isolated}{state})"

    def _repr_html_(self) -> str:
        where = "in children" if self.isolated else "in this process"
        state = "running" if self.is_running else "closed"
        return (
            f"<table><tr><th>cluster</th><td>{state}</td></tr><tr><th>master</th><td>{escape(self.url)}</td></tr>"
            f"<tr><th>agents</th><td>{self.agents}, attempts {where}</td></tr></table>"
        )


def _wanted(
    *,
    allow_paths: Path | Iterable[Path] | None,
    allow_hosts: str | Iterable[str],
    api_key: str | None,
    isolate: bool | None,
    **given: Any,
) -> dict[str, Any]:
    paths = [os.getcwd(), tempfile.gettempdir()] if allow_paths is None else _several(allow_paths)
    return {
        **given,
        "allow_paths": [_ffrtmp.read_path(path, "allow_paths") for path in paths],
        "allow_hosts": [_word(host, "allow_hosts", 253, "give names or addresses of hosts") for host in _several(allow_hosts)],
        "api_key": secrets.token_urlsafe(24) if api_key is None else _word(api_key, "api_key", 1024, "give a key"),
        "isolate": isolate,
        "runner": None if isolate is False else runner(),
    }


def _several(given: Any) -> list[Any]:
    """One path or name, or several."""
    return [given] if isinstance(given, (str, bytes, PathLike)) else list(given)


def _number(value: int, field: str, least: int, most: int) -> int:
    if isinstance(value, int) and least <= value <= most:
        return value
    hint = f"give a whole number from {least} to {most}"
    raise InvalidError(f"{field}: is {shown(value)}", code="invalid_field", hint=hint, field=field)


def _word(text: str, field: str, longest: int, cure: str) -> str:
    if isinstance(text, str) and 1 <= len(text) <= longest and text.isascii() and text.isprintable() and " " not in text:
        return text
    hint = f"{cure} of 1 to {longest} visible ASCII characters"
    raise InvalidError(f"{field}: is {shown(text)}", code="invalid_field", hint=hint, field=field)


def runner() -> str | None:
    """The program in which attempts run: ``FFRTMP_RUNNER``, that of this package, or one on the ``PATH``."""
    named = os.environ.get("FFRTMP_RUNNER")
    own = os.path.join(os.path.dirname(__file__), "_bin", "ffrtmp-runner")
    return named or (own if os.path.isfile(own) else shutil.which("ffrtmp-runner"))
