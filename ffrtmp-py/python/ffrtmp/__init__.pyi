from os import PathLike
from typing import Any

__version__: str

class FfrtmpError(Exception):
    """An error with its stable code and what mends it."""

    code: str
    hint: str
    field: str | None
    retryable: bool

def transcode(
    src: str | PathLike[str], dst: str | PathLike[str], *, scenario: str | None = None
) -> dict[str, Any]:
    """Transcode one file to another and return what was measured.

    Without a scenario the source's size and rate are kept and the extension of
    ``dst`` decides the codecs. Ctrl-C cancels and leaves nothing behind.

    Raises:
        FfrtmpError: with ``code``, ``hint``, ``field`` and ``retryable``.
    """
