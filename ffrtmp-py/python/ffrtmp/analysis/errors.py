"""What goes wrong while results are read. Every error is a :class:`ffrtmp.FfrtmpError`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from ffrtmp import FfrtmpError


class AnalysisError(FfrtmpError, ValueError):
    """Something that was given cannot be used.

    Attributes:
        code: stable, as everywhere in ffrtmp: ``invalid_field``, ``unknown_field``, ``input_not_found`` …
        hint: what mends it.
        field: the field at fault, such as ``jobs[17].result.cpu_seconds``; ``None`` if there is none.
        index: the row at fault, counted from 0; ``None`` if there is none.
        retryable: whether the same call may succeed later.
    """

    code: str
    hint: str
    field: str | None
    index: int | None
    retryable: bool

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        code: str = "invalid_field",
        field: str | None = None,
        index: int | None = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.code = code
        self.hint = hint
        self.field = field
        self.index = index
        self.retryable = retryable

    def __str__(self) -> str:
        text = str(self.args[0])
        return f"{text} ({self.hint})" if self.hint else text


class MissingExtraError(AnalysisError, ImportError):
    """A package is missing that only some of the functions need."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"the package {package} is not installed",
            hint=f"pip install 'ffrtmp[{extra}]'",
            code="missing_extra",
        )


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint: the known word that is most like ``word``, or all of them.

    >>> nearest("bitrat", ["bitrate", "fps"])
    'did you mean bitrate?'
    >>> nearest("colour", ["bitrate", "fps"])
    'known: bitrate, fps'
    """
    names = list(known)
    close = difflib.get_close_matches(word.lower(), names, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(names)}"


def shown(value: object, longest: int = 60) -> str:
    """A value as an error message shows it: on one line and short.

    >>> shown("x" * 500)
    "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…"
    """
    if isinstance(value, (str, bytes)):
        value = value[: longest + 1]
    elif isinstance(value, (list, dict, tuple)):
        return {list: "a list", dict: "an object", tuple: "a tuple"}[type(value)]  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(value, int) and value.bit_length() > 200:
        return "a number of hundreds of digits"
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]}…"
