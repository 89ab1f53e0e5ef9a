"""The names of metrics: those that docs/metrics.md promises, and those that an expression asks for."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

PAGE = Path(__file__).resolve().parents[3] / "docs" / "metrics.md"
OF_PROMETHEUS = {"up", "ALERTS"}
"""Names that Prometheus makes itself."""

WORDS = re.compile(r"\b[a-z]+_[a-z0-9_]+\b|\bup\b|\bALERTS\b")
FUNCTIONS = {"histogram_quantile", "group_left", "label_replace"}
PARTS = ("_bucket", "_sum", "_count")


@cache
def promised() -> dict[str, str]:
    """Every name of the page, with its kind."""
    rows = re.findall(
        r"^\| `([a-z0-9_]+)(?:\{[^`]*\})?` \| (gauge|counter|histogram) \|", PAGE.read_text(), re.MULTILINE
    )
    return dict(rows)


def asked(expr: str) -> set[str]:
    """The metrics of an expression. Parts of histograms are those histograms."""
    outside = re.sub(r"\{[^{}]*\}|\[[^\]]*\]|\"[^\"]*\"|'[^']*'", "", expr)
    outside = re.sub(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\([^()]*\)", "", outside)
    return {name for name in WORDS.findall(outside) if name not in FUNCTIONS and not is_function(name)}


def is_function(name: str) -> bool:
    """Whether it is one of PromQL's functions with an underscore."""
    return name.endswith("_over_time") or name in FUNCTIONS


def unknown(expr: str) -> set[str]:
    """What an expression asks for and the page does not promise."""
    known = promised()
    wrong = set()
    for name in asked(expr) - OF_PROMETHEUS:
        whole = next(
            (
                name.removesuffix(part)
                for part in PARTS
                if name.endswith(part) and known.get(name.removesuffix(part)) == "histogram"
            ),
            name,
        )
        if whole not in known or (known[whole] == "histogram") != (whole != name):
            wrong.add(name)
    return wrong
