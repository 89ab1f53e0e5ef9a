"""Exceptions: one class per kind of error, all of them :class:`FfrtmpError`.

The stable ``code`` of an error says what happened, its ``disposition`` who acts
next, its ``hint`` what to do. ``ffrtmp explain CODE`` and ``ffrtmp.explain(code)``
tell more. Where Python has an exception for the same thing, the class is one too::

    FfrtmpError
    ├── TransientError              the infrastructure failed: try again
    │   ├── NetworkError            and ConnectionError
    │   ├── ResourceError           no room, disk full, killed
    │   └── UnavailableError        node lost, lease expired, storage, starting or stopping
    ├── TerminalError               the media or the request cannot work: never retried
    │   ├── InputError              input_invalid, input_unsupported, input_too_large
    │   │   ├── InputNotFoundError  and FileNotFoundError
    │   │   └── InputUnreadableError  and PermissionError
    │   ├── OutputError
    │   │   ├── OutputDirectoryMissingError  and FileNotFoundError
    │   │   └── OutputNotWritableError       and PermissionError
    │   ├── NotAllowedError         path_not_allowed, host_not_allowed; and PermissionError
    │   ├── CapabilityError         codec_unavailable, engine_unavailable, capability_missing
    │   ├── EncodeError             encode_failed, verify_failed, attempt_crashed
    │   ├── LimitExceededError      memory_exceeded, disk_quota_exceeded
    │   ├── JobTimeoutError         and TimeoutError
    │   ├── CanceledError
    │   ├── DependencyError
    │   └── InternalError           a defect of ffrtmp itself
    └── CallerError                 the caller corrects the request
        ├── InvalidError            and ValueError: a field, an option, an address
        │   └── UnknownScenarioError
        ├── NotFoundError           and LookupError: no such job or node
        ├── ConflictError           wrong_state, output_is_input, …
        ├── UnauthorizedError       and PermissionError
        ├── RateLimitedError
        └── TlsError                and ConnectionError
"""

from __future__ import annotations

import errno
from typing import Any, NamedTuple

from ffrtmp import _ffrtmp

__all__ = [
    "CallerError",
    "CanceledError",
    "CapabilityError",
    "ConflictError",
    "DependencyError",
    "EncodeError",
    "Explanation",
    "FfrtmpError",
    "InputError",
    "InputNotFoundError",
    "InputUnreadableError",
    "InternalError",
    "InvalidError",
    "JobTimeoutError",
    "LimitExceededError",
    "NetworkError",
    "NotAllowedError",
    "NotFoundError",
    "OutputDirectoryMissingError",
    "OutputError",
    "OutputNotWritableError",
    "RateLimitedError",
    "ResourceError",
    "TerminalError",
    "TlsError",
    "TransientError",
    "UnauthorizedError",
    "UnavailableError",
    "UnknownScenarioError",
    "explain",
]


class FfrtmpError(Exception):
    """An error with its stable code and what mends it.

    Attributes:
        message: What happened, in one line.
        code: Stable name, such as ``"input_not_found"``.
        hint: What to do.
        field: The argument or field at fault, such as ``"ladder[1].resolution"``, if one is.
        index: Place of the job at fault in what was given to ``submit_many``, if one is.
        submitted: Ids of the jobs that ``submit_many`` had submitted before.

    >>> import ffrtmp
    >>> try:
    ...     ffrtmp.Scenario("1080pp")
    ... except ffrtmp.FfrtmpError as error:
    ...     print(error.code, error.field, error.retryable)
    unknown_scenario scenario False
    """

    message: str
    code: str
    hint: str
    field: str | None
    index: int | None
    submitted: list[str]

    def __init__(self, message: str, *, code: str = "internal", hint: str = "", field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint
        self.field = field
        self.index = None
        self.submitted = []

    @property
    def disposition(self) -> str:
        """Who acts next: ``"transient"``, ``"terminal"`` or ``"caller"``."""
        return explain(self.code).disposition

    @property
    def retryable(self) -> bool:
        """Whether the same call may work later, unchanged."""
        return self.disposition == "transient" or self.code == "rate_limited"

    @property
    def exit_code(self) -> int:
        """What the command line ends with for this error."""
        return explain(self.code).exit_code

    def __str__(self) -> str:
        return f"{self.message} ({self.code}); hint: {self.hint}" if self.hint else f"{self.message} ({self.code})"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r}, code={self.code!r}, hint={self.hint!r}, field={self.field!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        told = {"index": self.index, "submitted": self.submitted}
        return _again, (type(self), self.message, self.code, self.hint, self.field), told

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FfrtmpError):
            return NotImplemented
        return (self.message, self.code, self.hint, self.field) == (other.message, other.code, other.hint, other.field)

    def __hash__(self) -> int:
        return hash((self.message, self.code, self.hint, self.field))


class TransientError(FfrtmpError):
    """The infrastructure failed; the same call may work later."""


class TerminalError(FfrtmpError):
    """The media or the request cannot work, however often it is tried."""


class CallerError(FfrtmpError):
    """The call is at fault: correct it, then call again."""


class NetworkError(TransientError, ConnectionError):
    """The master cannot be reached, or a connection broke."""


class ResourceError(TransientError):
    """Disk, memory or another resource is short now."""


class UnavailableError(TransientError):
    """A node was lost, or a service is starting, stopping or overloaded."""


class InputError(TerminalError):
    """The input is damaged, too large, or of a kind that is not decoded."""


class InputNotFoundError(InputError, FileNotFoundError):
    """The input does not exist."""


class InputUnreadableError(InputError, PermissionError):
    """The input exists but cannot be opened: no permission, a directory, a special file."""


class OutputError(TerminalError):
    """The output cannot be written."""


class OutputDirectoryMissingError(OutputError, FileNotFoundError):
    """The directory of the output does not exist."""


class OutputNotWritableError(OutputError, PermissionError):
    """There is no permission to write the output, or it is no regular file."""


class NotAllowedError(TerminalError, PermissionError):
    """A path or host is not among those that the agent may use."""


class CapabilityError(TerminalError):
    """A codec, an engine or a node that could do it is missing."""


class EncodeError(TerminalError):
    """The encoder, a filter or the muxer refused the work, or its output was not what was asked for."""


class LimitExceededError(TerminalError):
    """The attempt needed more memory or disk than it may have."""


class JobTimeoutError(TerminalError, TimeoutError):
    """A time limit passed: that of a job, or that of ``wait``."""


class CanceledError(TerminalError):
    """The job was canceled."""


class DependencyError(TerminalError):
    """A job that this one waits for failed or was canceled."""


class InternalError(TerminalError):
    """A defect of ffrtmp itself."""


class InvalidError(CallerError, ValueError):
    """An argument or field has a value that it cannot have; ``field`` names it."""


class UnknownScenarioError(InvalidError):
    """A word of the scenario looks like a size, rate or codec but is none."""


class NotFoundError(CallerError, LookupError):
    """No job or node has this name."""


class ConflictError(CallerError):
    """The state of the job does not allow it, or two things that must differ are the same."""


class UnauthorizedError(CallerError, PermissionError):
    """The key of the master is missing or wrong, or does not allow this."""


class RateLimitedError(CallerError):
    """The master takes no more requests from this address for a moment."""


class TlsError(CallerError, ConnectionError):
    """The certificate of the master is missing, wrong or not trusted."""


_CLASSES: dict[str, type[FfrtmpError]] = {
    "network": NetworkError,
    "no_room": ResourceError,
    "disk_full": ResourceError,
    "killed": ResourceError,
    "node_lost": UnavailableError,
    "lease_expired": UnavailableError,
    "never_started": UnavailableError,
    "storage": UnavailableError,
    "unavailable": UnavailableError,
    "input_not_found": InputNotFoundError,
    "input_unreadable": InputUnreadableError,
    "input_invalid": InputError,
    "input_unsupported": InputError,
    "input_too_large": InputError,
    "output_directory_missing": OutputDirectoryMissingError,
    "output_not_writable": OutputNotWritableError,
    "path_not_allowed": NotAllowedError,
    "host_not_allowed": NotAllowedError,
    "codec_unavailable": CapabilityError,
    "engine_unavailable": CapabilityError,
    "capability_missing": CapabilityError,
    "encode_failed": EncodeError,
    "verify_failed": EncodeError,
    "attempt_crashed": EncodeError,
    "memory_exceeded": LimitExceededError,
    "disk_quota_exceeded": LimitExceededError,
    "timeout": JobTimeoutError,
    "canceled": CanceledError,
    "dependency_failed": DependencyError,
    "internal": InternalError,
    "invalid_request": InvalidError,
    "invalid_field": InvalidError,
    "unknown_field": InvalidError,
    "unknown_scenario": UnknownScenarioError,
    "invalid_config": InvalidError,
    "unsupported_scheme": InvalidError,
    "container_mismatch": InvalidError,
    "payload_too_large": InvalidError,
    "unsupported_media_type": InvalidError,
    "method_not_allowed": InvalidError,
    "job_not_found": NotFoundError,
    "node_not_found": NotFoundError,
    "not_found": NotFoundError,
    "wrong_state": ConflictError,
    "stale_fence": ConflictError,
    "idempotency_mismatch": ConflictError,
    "output_is_input": ConflictError,
    "port_in_use": ConflictError,
    "unauthorized": UnauthorizedError,
    "forbidden": UnauthorizedError,
    "rate_limited": RateLimitedError,
    "tls": TlsError,
}

_BY_DISPOSITION: dict[str, type[FfrtmpError]] = {
    "transient": TransientError,
    "terminal": TerminalError,
    "caller": CallerError,
}

_ERRNO = {
    "input_not_found": errno.ENOENT,
    "output_directory_missing": errno.ENOENT,
    "input_unreadable": errno.EACCES,
    "output_not_writable": errno.EACCES,
}


class Explanation(NamedTuple):
    """What a code means."""

    disposition: str
    """Who acts next: ``"transient"``, ``"terminal"`` or ``"caller"``."""
    exit_code: int
    """What the command line ends with."""
    http_status: int
    """What a master answers with."""
    cause: str
    """What happened."""
    cure: str
    """What to do."""


def explain(code: str) -> Explanation:
    """Tell what a code of an error means.

    Raises:
        InvalidError: if there is no such code.

    >>> explain("input_not_found").cause
    'The input does not exist where the attempt ran.'
    """
    told = _ffrtmp.CODES.get(code) if isinstance(code, str) else None
    if told is None:
        hint = f"known: {', '.join(_ffrtmp.CODES)}"
        raise InvalidError(f"there is no code {shown(code)}", code="invalid_field", hint=hint, field="code")
    return Explanation(*told)


def shown(value: object, longest: int = 60) -> str:
    """A value as an error message shows it: on one line and short.

    >>> shown("x" * 500)
    "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…"
    >>> shown([1, 2]), shown(10**400)
    ('a list', 'a number of hundreds of digits')
    """
    if isinstance(value, (str, bytes)):
        value = value[: longest + 1]
    elif isinstance(value, (list, tuple)):
        return "a list"
    elif isinstance(value, dict):
        return "an object"
    elif isinstance(value, int) and value.bit_length() > 200:
        return "a number of hundreds of digits"
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]}…"


def of(code: str, message: str, hint: str, field: str | None) -> FfrtmpError:
    """The exception for an error of the core; a code that is newer than this table has its disposition's class."""
    kind = _CLASSES.get(code) or _BY_DISPOSITION[explain(code).disposition]
    error = kind(message, code=code, hint=hint, field=field)
    if isinstance(error, OSError) and code in _ERRNO:
        error.errno = _ERRNO[code]
    return error


def _again(kind: type[FfrtmpError], message: str, code: str, hint: str, field: str | None) -> FfrtmpError:
    error = kind(message, code=code, hint=hint, field=field)
    if isinstance(error, OSError) and code in _ERRNO:
        error.errno = _ERRNO[code]
    return error
