"""Energy of this machine by its own counters (RAPL), for work that no agent measures.

What is counted is what the governor counts: packages and their memory, or the board where there is
no package. Counters turn over; a look every minute is enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
WATTS_PER_CORE = 3.5
"""Power of a busy hardware thread with its part of the idle machine, W; ``docs/decisions/014``."""
LOOK_EVERY = 60.0
"""Seconds between looks at the counters: a package of 1 kW turns over in more than four minutes."""


@dataclass(frozen=True, slots=True)
class Zone:
    """A counter: microjoules and the value after which it starts again from 0."""

    name: str
    now: int
    range: int


def joules_between(before: Mapping[str, Zone], now: Mapping[str, Zone]) -> float:
    """Energy between two looks, J, over one turn of the counters at most.

    >>> joules_between({"p": Zone("package-0", 9_000_000, 10_000_000)}, {"p": Zone("package-0", 1_000_000, 10_000_000)})
    2.0
    """
    total = 0
    for key, zone in now.items():
        if key in before:
            used = zone.now - before[key].now
            total += used if used >= 0 else zone.range - before[key].now + zone.now
    return total / 1e6


def counted(zones: Mapping[str, Zone]) -> dict[str, Zone]:
    """Those that may be added up.

    >>> names = {"intel-rapl:0": "package-0", "intel-rapl:0:0": "core", "intel-rapl:0:1": "dram", "intel-rapl:1": "psys"}
    >>> sorted(counted({key: Zone(name, 0, 1) for key, name in names.items()}))
    ['intel-rapl:0', 'intel-rapl:0:1']
    """
    own = {key: zone for key, zone in zones.items() if zone.name.startswith("package") or zone.name == "dram"}
    return own or {key: zone for key, zone in zones.items() if zone.name == "psys"}


def read_zones(root: Path) -> dict[str, Zone]:
    """The counters below a directory such as :data:`POWERCAP`; none that cannot be read.

    The ``intel-rapl-mmio`` zones show packages a second time and are left out.
    """
    zones: dict[str, Zone] = {}
    for folder in sorted(root.glob("intel-rapl:*")):
        try:
            texts = [(folder / name).read_text() for name in ("name", "energy_uj", "max_energy_range_uj")]
            zones[folder.name] = Zone(texts[0].strip(), int(texts[1]), int(texts[2]))
        except (OSError, ValueError):
            continue
    return zones


@dataclass(slots=True)
class Meter:
    """The machine's energy since it was made."""

    root: Path = POWERCAP
    _last: dict[str, Zone] = field(default_factory=dict[str, Zone])
    _total: float = 0.0

    def __post_init__(self) -> None:
        self._last = counted(read_zones(self.root))

    @property
    def works(self) -> bool:
        """Whether there is a counter that can be read."""
        return bool(self._last)

    def joules(self) -> float:
        """Energy so far, J. Look at least every :data:`LOOK_EVERY` seconds."""
        now = counted(read_zones(self.root))
        self._total += joules_between(self._last, now)
        self._last = now or self._last
        return self._total
