"""What goes wrong while results are read and analysed, as exceptions of :mod:`ffrtmp.errors`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from ffrtmp.errors import CapabilityError, InvalidError, shown

__all__ = ["AnalysisError", "MissingExtraError", "fault", "missing_extra", "nearest", "shown"]


class AnalysisError(InvalidError):
    """Something that was given cannot be used (also ``ValueError``).

    ``field`` names it, such as ``jobs[17].result.cpu_seconds``; ``index`` is the row, counted from 0.
    """


class MissingExtraError(CapabilityError, ImportError):
    """A package is missing that only some of the functions need (also ``ImportError``)."""


def fault(
    said: str, *, hint: str = "", field: str | None = None, index: int | None = None, code: str = "invalid_field"
) -> AnalysisError:
    """The error about a field, ready to be raised."""
    error = AnalysisError(f"{field}: {said}" if field else said, code=code, hint=hint, field=field)
    error.index = index
    return error


def missing_extra(package: str, extra: str) -> MissingExtraError:
    """The error about a package that the extra ``extra`` brings, ready to be raised."""
    said, hint = f"the package {package} is not installed", f"pip install 'ffrtmp[{extra}]'"
    return MissingExtraError(said, code="capability_missing", hint=hint)


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint: the known word that is most like ``word``, or all of them.

    >>> nearest("bitrat", ["bitrate", "fps"])
    'did you mean bitrate?'
    >>> nearest("colour", ["bitrate", "fps"])
    'known: bitrate, fps'
    """
    names = list(known)
    close = difflib.get_close_matches(word[:100].lower(), names, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(names)}"
