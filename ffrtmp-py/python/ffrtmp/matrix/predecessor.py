"""What the predecessor's matrices mean where they say it in a way of their own: idle machines and ladders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ffrtmp.analysis.quantities import picture_size


def has_no_rate(members: Mapping[str, Any]) -> bool:
    """Whether a scenario asks for no bits: the predecessor wrote that for the idle machine."""
    return members.get("bitrate") in ("0k", "0", "0M", 0)


def is_idle(members: Mapping[str, Any]) -> bool:
    """Whether a ``single`` is the idle machine, by its rate of nothing and its name.

    >>> is_idle({"name": "Baseline (idle system)", "bitrate": "0k"}), is_idle({"name": "one", "bitrate": "0k"})
    (True, False)
    """
    return has_no_rate(members) and "baseline" in str(members.get("name")).lower()


def area(size: str) -> int:
    """Pixels of a picture."""
    width, height = picture_size(size)
    return width * height


def rungs(sizes: Sequence[str], bitrate: float | None) -> list[dict[str, Any]]:
    """A ladder of these sizes: the largest has the bit rate, the others what the ladders of ``docs/media.md`` grant.

    >>> rungs(["640x360"], None)
    [{'resolution': '640x360'}]
    """
    if bitrate is None:
        return [{"resolution": size} for size in sizes]
    largest = max(map(area, sizes))
    return [{"resolution": size, "bitrate": round(bitrate * (area(size) / largest) ** 0.75)} for size in sizes]
