"""Results over HTTP: the jobs of a master page by page, and files. Nothing here knows what a result is."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ffrtmp.analysis.documents import LARGEST
from ffrtmp.analysis.errors import AnalysisError, shown

PAGE = 500
"""Jobs a page: the most that a master gives."""
MOST_PAGES = 20_000
"""Pages that are asked for before something must be wrong."""
TIMEOUT = 30.0
"""Seconds without an answer."""
_WAITS = 5


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a server."""

    api_key: str | None = None
    ca: str | os.PathLike[str] | None = None
    insecure_skip_verify: bool = False

    def opener(self) -> urllib.request.OpenerDirector:
        return urllib.request.build_opener(urllib.request.HTTPSHandler(context=self._context()), _NoRedirects)

    def headers(self) -> dict[str, str]:
        key = self.api_key or os.environ.get("MASTER_API_KEY") or os.environ.get("FFMPEG_RTMP_API_KEY")
        if key and not key.isprintable():
            raise AnalysisError("holds characters that no key has", field="api_key", hint="give the key as the master wrote it")
        return {"Accept": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=os.fspath(self.ca) if self.ca else None)
        except (OSError, ssl.SSLError) as error:
            raise AnalysisError(f"cannot be read: {error}", field="ca", hint="give a PEM file of certificates") from error
        if self.insecure_skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another server."""

    def redirect_request(self, *_arguments: Any, **_named: Any) -> None:
        return None


def is_file(url: str) -> bool:
    """Whether a URL is that of a file of results, not of a master.

    >>> is_file("https://host/results.json?v=2"), is_file("https://localhost:8080")
    (True, False)
    """
    return urllib.parse.urlsplit(url).path.lower().endswith((".json", ".ndjson", ".jsonl"))


def document(url: str, access: Access) -> bytes:
    """The bytes of a document."""
    return _get(access.opener(), url, access.headers())


def job_pages(master: str, access: Access, filters: Mapping[str, str] | None = None) -> Iterator[bytes]:
    """The answers of ``GET /jobs``, one after another, as they come."""
    base = master.rstrip("/").removesuffix("/api/v1").removesuffix("/jobs").removesuffix("/api/v1")
    opener, headers = access.opener(), access.headers()
    wanted = {"state": "completed", **(filters or {}), "limit": str(PAGE)}
    cursor: str | None = None
    for _ in range(MOST_PAGES):
        query = urllib.parse.urlencode({**wanted, **({"cursor": cursor} if cursor else {})})
        page = _get(opener, f"{base}/api/v1/jobs?{query}", headers)
        yield page
        after = _cursor(page)
        if after is None or after == cursor:
            return
        cursor = after


def _cursor(page: bytes) -> str | None:
    """The cursor of the next page, which stands behind the jobs."""
    tail = page[-2048:]
    at = tail.rfind(b'"next_cursor"')
    try:
        members: Any = json.loads(b"{" + tail[at:]) if at >= 0 else json.loads(page)
    except (ValueError, RecursionError):
        members = _members(page)
    cursor = members.get("next_cursor") if isinstance(members, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    return cursor if isinstance(cursor, str) and cursor else None


def _members(page: bytes) -> Any:
    try:
        return json.loads(page)
    except (ValueError, RecursionError) as error:
        raise AnalysisError("did not answer with jobs", field="master", hint="is this the URL of a master?") from error


def _get(opener: urllib.request.OpenerDirector, url: str, headers: Mapping[str, str]) -> bytes:
    for waited in range(_WAITS + 1):
        try:
            with opener.open(urllib.request.Request(url, headers=dict(headers)), timeout=TIMEOUT) as answer:
                data: bytes = answer.read(LARGEST + 1)
                break
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 429 or waited == _WAITS:
                    raise _refused(error) from error
                time.sleep(_seconds(error.headers.get("Retry-After")))
        except (urllib.error.URLError, OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise AnalysisError(
                f"cannot reach {shown(url, 120)}: {reason}",
                code="master_unreachable",
                hint="check the URL, that the master runs, and `ca` for its certificate",
                retryable=True,
            ) from error
    else:
        raise AssertionError("a loop that neither breaks nor raises")
    if len(data) > LARGEST:
        raise AnalysisError(f"{shown(url, 120)} has more than {LARGEST >> 20} MiB", hint="fetch it to a file first")
    return data


def _seconds(told: str | None) -> float:
    """What a master asks to wait, at most 10 s.

    >>> _seconds("2"), _seconds(None), _seconds("tomorrow")
    (2.0, 1.0, 1.0)
    """
    return min(float(told), 10.0) if told and told.isdecimal() else 1.0


def _refused(error: urllib.error.HTTPError) -> AnalysisError:
    """A problem document as the error that it is."""
    try:
        problem: Any = json.loads(error.read(65536))
    except (ValueError, RecursionError, OSError):
        problem = {}
    members: dict[str, Any] = problem if isinstance(problem, dict) else {}
    code = str(members.get("code") or ("unauthorized" if error.code == 401 else "http_error"))
    hint = str(members.get("hint") or ("give the master's key as api_key" if error.code == 401 else "is this the URL of a master?"))
    said = str(members.get("detail") or members.get("title") or error.reason)
    return AnalysisError(f"the server answered {error.code}: {said[:300]}", code=code, hint=hint[:300], retryable=error.code >= 500)
