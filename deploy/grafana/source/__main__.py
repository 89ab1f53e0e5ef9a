"""Writes the dashboards, or with `--check` says whether they are as this source makes them.

PYTHONPATH=deploy/grafana python -m source [--check]
"""

import sys
from pathlib import Path

from . import cost, energy, live, predictions, production, quality, scheduler, worker

BOARDS = (production, scheduler, worker, quality, cost, predictions, energy, live)
WRITTEN = Path(__file__).resolve().parents[1] / "dashboards"


def main() -> int:
    made = {WRITTEN / f"{board.DASHBOARD.uid}.json": board.DASHBOARD.json() for board in BOARDS}
    found = {path: path.read_text() for path in WRITTEN.glob("*.json")}
    if "--check" in sys.argv[1:]:
        differing = sorted(path.name for path in made.keys() | found.keys() if made.get(path) != found.get(path))
        if differing:
            print(f"not as the source makes them: {', '.join(differing)}\nhint: run `make dashboards`", file=sys.stderr)
        return 1 if differing else 0
    WRITTEN.mkdir(exist_ok=True)
    for path in found.keys() - made.keys():
        path.unlink()
    for path, text in made.items():
        path.write_text(text)
    return 0


sys.exit(main())
