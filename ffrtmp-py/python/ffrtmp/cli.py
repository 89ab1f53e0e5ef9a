"""The command ``ffrtmp``: the program of the Rust crates, which this package carries."""

from __future__ import annotations

import os
import shutil
import sys

__all__ = ["main", "program"]


def program() -> str | None:
    """Where the program is: in this package, else on the ``PATH``; ``None`` if it is in neither."""
    own = os.path.join(os.path.dirname(__file__), "_bin", "ffrtmp")
    if os.path.isfile(own):
        return own
    script = os.path.realpath(sys.argv[0]) if sys.argv and sys.argv[0] else ""
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        found = shutil.which("ffrtmp", path=folder or os.curdir)
        if found is not None and os.path.realpath(found) != script and not _is_script(found):
            return found
    return None


def main(arguments: list[str] | None = None) -> int:
    """Become the program. Returns only if there is none."""
    found = program()
    if found is None:
        print("ffrtmp: error: the program of the command line is not in this package", file=sys.stderr)
        print("hint: install a wheel (`make wheel`), or put `ffrtmp` of `cargo build` on the PATH", file=sys.stderr)
        return 7
    given = sys.argv[1:] if arguments is None else arguments
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(found, ["ffrtmp", *given])


def _is_script(path: str) -> bool:
    """Whether it is a console script such as this package's own."""
    with open(path, "rb") as file:
        return file.read(2) == b"#!"
