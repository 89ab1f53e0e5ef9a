"""A document over HTTP. Masters are asked by :class:`ffrtmp.Client` instead."""

from __future__ import annotations

import http.client
import os
import ssl
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from ffrtmp import errors
from ffrtmp.analysis.documents import LARGEST
from ffrtmp.analysis.errors import shown

TIMEOUT = 30.0
"""Seconds without an answer."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would lead to a server that nobody named."""

    def redirect_request(self, *_arguments: Any, **_named: Any) -> None:
        return None


def is_file(url: str) -> bool:
    """Whether a URL is that of a file of results, not of a master.

    >>> is_file("https://host/results.json?v=2"), is_file("https://localhost:8080")
    (True, False)
    """
    try:
        path = urllib.parse.urlsplit(url).path
    except ValueError:
        # No address at all; the client says so.
        return False
    return path.lower().endswith((".json", ".ndjson", ".jsonl"))


def document(url: str, *, ca: str | os.PathLike[str] | None = None, insecure_skip_verify: bool = False) -> bytes:
    """The bytes of a document.

    Raises:
        NetworkError: the server cannot be reached or refuses.
        TlsError: its certificate is not trusted, or ``ca`` cannot be read.
    """
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=_context(ca, insecure_skip_verify)), _NoRedirects)
    try:
        with opener.open(url, timeout=TIMEOUT) as answer:
            data: bytes = answer.read(LARGEST + 1)
    except urllib.error.HTTPError as error:
        with error:
            raise errors.of("network", f"{shown(url, 120)} answered {error.code}", "check the URL", None) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise errors.of("network", f"cannot fetch {shown(url, 120)}: {error}", "check the URL, and `ca`", None) from error
    if len(data) > LARGEST:
        raise errors.of("payload_too_large", f"{shown(url, 120)} is over {LARGEST >> 20} MiB", "fetch it to a file first", None)
    return data


def _context(ca: str | os.PathLike[str] | None, insecure_skip_verify: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=os.fspath(ca) if ca else None)
    except OSError as error:
        raise errors.of("tls", f"ca: cannot be read: {error}", "give a PEM file of certificates", "ca") from error
    if insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
