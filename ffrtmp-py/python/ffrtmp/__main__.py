"""``python -m ffrtmp``: the command ``ffrtmp``, and the verbs that are Python's own.

``analyze`` ranks results and recommends settings, ``matrix`` runs a test matrix; everything else is the
program's: ``python -m ffrtmp demo``.
"""

from __future__ import annotations

import sys


def main(arguments: list[str] | None = None) -> int:
    """Run a verb; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if given and given[0] in ("analyze", "matrix"):
        # Loaded only here: what analysis needs is optional.
        from ffrtmp.analysis import __main__ as analysis

        return analysis.main(given)
    from ffrtmp import cli

    return cli.main(given)


if __name__ == "__main__":
    sys.exit(main())
