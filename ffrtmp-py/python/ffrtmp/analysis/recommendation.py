"""Which setting to take: the least energy, or money, that reaches a quality."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ffrtmp.analysis.aggregation import KEYS, Setting, by_setting
from ffrtmp.analysis.errors import fault
from ffrtmp.analysis.quantities import Target
from ffrtmp.analysis.table import Results, cell


@dataclass(frozen=True, slots=True)
class Prices:
    """What things cost, in one currency. None is assumed: what has no price here costs nothing.

    >>> Prices(per_kwh=0.30, per_cpu_hour=0.04, per_gb=0.05).per_kwh
    0.3
    """

    per_kwh: float = 0.0
    """Electricity, per kilowatt-hour."""
    per_cpu_hour: float = 0.0
    """Processors, per hour of one hardware thread's time."""
    per_gb: float = 0.0
    """Storing or sending the output, per gigabyte (10⁹ bytes)."""

    def __post_init__(self) -> None:
        for name, price in (("per_kwh", self.per_kwh), ("per_cpu_hour", self.per_cpu_hour), ("per_gb", self.per_gb)):
            if not 0 <= price < math.inf:
                raise fault("is no price", field=name, hint="give a number of 0 or more")

    def given(self) -> bool:
        """Whether anything has a price."""
        return bool(self.per_kwh or self.per_cpu_hour or self.per_gb)

    def per_hour(self, setting: Setting) -> float:
        """Cost of one hour of video; NaN if something that has a price was not measured."""
        parts = (
            (self.per_kwh, setting.wh_per_hour / 1000.0),
            (self.per_cpu_hour, setting.cpu_hours_per_hour),
            (self.per_gb, setting.gb_per_hour),
        )
        return sum(price * amount for price, amount in parts if price)


@dataclass(frozen=True, slots=True)
class Choice:
    """The setting to take among those that make the same picture."""

    resolution: str
    """Picture size and, where settings differ in it, rate."""
    best: Setting | None
    """The setting; ``None`` if none qualifies."""
    cost_per_hour: float
    """What it costs per hour of video; NaN without prices or measurements."""
    saving: float
    """Part of the energy (or of the money, if there are prices) that it saves against the costliest that qualifies."""
    reason: str
    """Why."""

    def __str__(self) -> str:
        return f"{self.resolution}: {self.best.name if self.best else 'nothing'} – {self.reason}"


def recommend(
    results: Results,
    *,
    target: Target | str | None = None,
    energy_budget_wh: float | None = None,
    prices: Prices | None = None,
) -> list[Choice]:
    """The setting with the least energy, or money, for each picture size; the largest size first.

    A setting must have been tried on every clip of its size that any other was, for a setting that
    only saw the easy clips would win. Its quality is its worst clip's.

    Args:
        results: of one study on one kind of machine.
        target: quality to reach, such as ``"VMAF>=85"``. Without one, settings that were measured
            for the quality targets of their own scenarios must have met them.
        energy_budget_wh: the most energy that one hour of video may take, Wh.
        prices: decide by money instead of energy.

    >>> rows = [{"input": "a.mp4", "codec": "h264", "preset": preset, "resolution": "640x360", "duration": 3600.0,
    ...          "wall_seconds": 60.0, "total_energy_wh": wh, "vmaf": vmaf, "size": 10**9}
    ...         for preset, wh, vmaf in [("ultrafast", 1.0, 80.0), ("fast", 2.0, 88.0), ("slow", 6.0, 90.0)]]
    >>> (choice,) = recommend(Results.of(rows), target="VMAF>=85")
    >>> choice.best.name, round(choice.saving, 3)
    ('h264 fast', 0.667)
    >>> recommend(Results.of(rows), target="VMAF>=85", energy_budget_wh=1.5)[0].reason
    'no setting reaches VMAF>=85 within 1.5 Wh per hour of video; the best within the budget has VMAF 80'

    Raises:
        AnalysisError: the target is none, or the budget is no energy.
    """
    wanted = Target.parse(target) if isinstance(target, str) else target
    if energy_budget_wh is not None and not 0 < energy_budget_wh < math.inf:
        raise fault("is no energy", field="energy_budget_wh", hint="give watt-hours for one hour of video")
    missed = _missed(results) if wanted is None else frozenset[tuple[object, ...]]()
    groups: dict[tuple[str, float], list[Setting]] = {}
    for setting in by_setting(results):
        values = dict(zip(KEYS, setting.key, strict=True))
        groups.setdefault((values["resolution"] or "unknown size", values["fps"] or math.nan), []).append(setting)
    ordered = sorted(groups.items(), key=lambda group: _area(group[0][0]), reverse=True)
    sizes = [size for (size, _), _ in ordered]
    return [
        _choice(f"{size} at {cell(fps)} fps" if sizes.count(size) > 1 else size, settings, wanted, missed, energy_budget_wh, prices)
        for (size, fps), settings in ordered
    ]


def _area(resolution: str) -> int:
    width, _, height = resolution.partition("x")
    return int(width) * int(height) if width.isdecimal() and height.isdecimal() else 0


def _missed(results: Results) -> frozenset[tuple[object, ...]]:
    missed = [index for index, row in enumerate(results.rows()) if row["target_met"] is False]
    return frozenset(setting.key for setting in by_setting(results.taking(missed)))


def _choice(
    size: str,
    settings: list[Setting],
    target: Target | None,
    missed: frozenset[tuple[object, ...]],
    budget: float | None,
    prices: Prices | None,
) -> Choice:
    clips = frozenset[str]().union(*(setting.inputs for setting in settings))
    tried = [setting for setting in settings if setting.inputs == clips]
    by_money = prices is not None and prices.given()
    what = "cost" if by_money else "energy"

    def spent(setting: Setting) -> float:
        return prices.per_hour(setting) if prices is not None and by_money else setting.wh_per_hour

    def none(reason: str) -> Choice:
        return Choice(size, None, math.nan, math.nan, reason)

    if not tried:
        return none("no setting was tried on every clip")
    known = [setting for setting in tried if not math.isnan(spent(setting))]
    if not known:
        return none(f"the {what} of no setting is known")
    if target and all(math.isnan(setting.quality(target.measure)) for setting in known):
        return none(f"{target.measure.upper()} was not measured, so nobody can tell what reaches {target}")
    good = [setting for setting in known if setting.key not in missed and (not target or target.met_by(setting.quality(target.measure)))]
    within = [setting for setting in good if budget is None or setting.wh_per_hour <= budget]
    if not within:
        return none(_refusal(known, good, target, budget))
    best = min(within, key=lambda setting: (spent(setting), setting.gb_per_hour, setting.name))
    most = max(spent(setting) for setting in within)
    saving = 1 - spent(best) / most if most > 0 else math.nan
    cost = prices.per_hour(best) if prices is not None and by_money else math.nan
    return Choice(size, best, cost, saving, _praise(best, len(within), saving, what, target, cost))


def _refusal(known: list[Setting], good: list[Setting], target: Target | None, budget: float | None) -> str:
    wanted = f"reaches {target}" if target else "meets the quality targets of its scenarios"
    if budget is None:
        best = max((setting.quality(target.measure) for setting in known), default=math.nan) if target else math.nan
        told = f"; the best has {target.measure.upper()} {cell(best)}" if target else ""
        return f"no setting {wanted}{told}"
    cheap = [setting for setting in known if setting.wh_per_hour <= budget]
    most = f"{budget:g} Wh per hour of video"
    if not cheap:
        least = min(known, key=lambda setting: setting.wh_per_hour)
        return f"no setting needs less than {most}; {least.name} needs the least, {cell(least.wh_per_hour)} Wh"
    if not target:
        return f"no setting {wanted} within {most}"
    best = max(setting.quality(target.measure) for setting in cheap)
    del good
    return f"no setting {wanted} within {most}; the best within the budget has {target.measure.upper()} {cell(best)}"


def _praise(best: Setting, among: int, saving: float, what: str, target: Target | None, cost: float) -> str:
    parts = [f"{cell(best.wh_per_hour)} Wh"]
    if not math.isnan(cost):
        parts.append(f"{cell(cost)} in money")
    if not math.isnan(best.gb_per_hour):
        parts.append(f"{cell(best.gb_per_hour)} GB")
    quality = [f"{name.upper()} {cell(best.quality(name))}" for name in ("vmaf", "psnr", "ssim") if not math.isnan(best.quality(name))]
    reach = f" that reach {target}" if target else ""
    least = f"the least {what} of {among} settings{reach}" if among > 1 else f"the only setting{reach.replace('reach', 'reaches')}"
    saved = f", {saving:.0%} less than the most" if among > 1 and saving > 0 else ""
    modelled = "; energy is modelled" if best.modelled else ""
    worst = f", worst clip {', '.join(quality)}" if quality else ", quality unknown"
    return f"{least}{saved}: {', '.join(parts)} per hour of video{worst}, {cell(best.speed)}× real time{modelled}"
