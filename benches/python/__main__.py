"""Rows that compare the Python package with PyAV and with the command ``ffmpeg``: see docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import files
import many
from contest import Verdict

ROWS = {**files.ROWS, **many.ROWS}


def main() -> int:
    parser = argparse.ArgumentParser(prog="benches/python/run.sh", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; all without")
    parser.add_argument("--rounds", type=int, help="of every row; what suits it without")
    parser.add_argument("--directory", metavar="DIR", help="where outputs are written; that of temporary files without")
    parser.add_argument("--json", metavar="FILE", help="also write the figures there")
    given = parser.parse_args()
    if unknown := set(given.rows) - set(ROWS):
        parser.error(f"no row {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    if given.rounds is not None and given.rounds < 1:
        parser.error("--rounds: give 1 or more")
    verdicts: list[Verdict] = []
    with tempfile.TemporaryDirectory(prefix="ffrtmp-bench-", dir=given.directory) as folder:
        for name in given.rows or ROWS:
            print(f"{name}  (load {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} threads)", flush=True)
            for verdict in ROWS[name](Path(folder), given.rounds):
                print(f"  {verdict}", flush=True)
                verdicts.append(verdict)
    if given.json:
        Path(given.json).write_text(json.dumps([verdict._asdict() for verdict in verdicts], indent=1) + "\n")
    return 0 if all(verdict.holds for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
