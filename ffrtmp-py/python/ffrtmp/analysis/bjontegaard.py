"""The Bjøntegaard delta: how much more one encoder needs than another for the same quality.

ITU-T VCEG-M33 (Bjøntegaard 2001) fits a cubic to the logarithm of the rate over the quality;
ITU-T HSTP-VID-WPOM (2020) uses monotone piecewise cubic interpolation (Fritsch and Carlson 1980),
which does not swing between the points and takes any number of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from ffrtmp.analysis.errors import fault
from ffrtmp.analysis.extras import package

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

Method = Literal["pchip", "cubic"]
"""``pchip``: through every point. ``cubic``: one polynomial of third degree over all of them."""


def bd_rate(
    anchor_rate: Sequence[float],
    anchor_quality: Sequence[float],
    test_rate: Sequence[float],
    test_quality: Sequence[float],
    *,
    method: Method = "pchip",
) -> float:
    """How much more rate the test needs than the anchor at equal quality, in percent; less is better.

    The rate may be any cost above zero: bits per second, watt-hours, seconds, money.

    Args:
        anchor_rate: costs of the anchor's points, at least four for ``cubic``, two for ``pchip``.
        anchor_quality: their quality, more is better: VMAF, PSNR in dB, SSIM.
        test_rate: costs of the test's points.
        test_quality: their quality.
        method: how the curves run between the points.

    >>> round(bd_rate([1, 2, 4, 8], [30, 33, 36, 39], [0.5, 1, 2, 4], [30, 33, 36, 39]), 6)
    -50.0

    Raises:
        AnalysisError: too few points, curves that do not rise, or no quality that both reach.
    """
    anchor = _points(anchor_quality, anchor_rate, "anchor", method)
    test = _points(test_quality, test_rate, "test", method)
    mean = _mean_difference(anchor, test, method, "quality")
    return (math.exp(mean) - 1.0) * 100.0


def bd_quality(
    anchor_rate: Sequence[float],
    anchor_quality: Sequence[float],
    test_rate: Sequence[float],
    test_quality: Sequence[float],
    *,
    method: Method = "pchip",
) -> float:
    """How much more quality the test gives than the anchor at equal rate, in the unit of the quality.

    >>> round(bd_quality([1, 2, 4, 8], [30, 33, 36, 39], [1, 2, 4, 8], [31, 34, 37, 40]), 6)
    1.0

    Raises:
        AnalysisError: as :func:`bd_rate`.
    """
    anchor = _points(anchor_quality, anchor_rate, "anchor", method)
    test = _points(test_quality, test_rate, "test", method)
    return _mean_difference((anchor[1], anchor[0]), (test[1], test[0]), method, "rate")


def _points(quality: Sequence[float], rate: Sequence[float], whose: str, method: Method) -> tuple[Numbers, Numbers]:
    """Quality and the logarithm of the rate, by rising quality."""
    np = package("numpy")
    try:
        qualities, rates = np.asarray(quality, dtype=np.float64), np.asarray(rate, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise fault("holds what is no number", field=whose, hint="give lists of numbers") from error
    least = {"pchip": 2, "cubic": 4}.get(method)
    if least is None:
        raise fault(f"{method!r} is no method", field="method", hint="use pchip or cubic")
    hint = "measure more bit rates of each; the quality must rise with the rate"
    if qualities.ndim != 1 or qualities.shape != rates.shape:
        raise fault("has not one quality for each rate", field=whose, hint=hint)
    if len(qualities) < least:
        raise fault(f"has {len(qualities)} points; {method} needs {least}", field=whose, hint=hint)
    if not np.isfinite(qualities).all() or not np.isfinite(rates).all() or (rates <= 0).any():
        raise fault("holds a value that is not finite, or a rate that is not above zero", field=whose, hint=hint)
    order = np.lexsort((rates, qualities))
    qualities, rates = qualities[order], np.log(rates[order])
    if (np.diff(qualities) <= 0).any() or (np.diff(rates) <= 0).any():
        raise fault("has points where more rate gives no more quality", field=whose, hint=hint)
    return qualities, rates


def _mean_difference(anchor: tuple[Numbers, Numbers], test: tuple[Numbers, Numbers], method: Method, over: str) -> float:
    start = max(float(anchor[0][0]), float(test[0][0]))
    end = min(float(anchor[0][-1]), float(test[0][-1]))
    if not start < end:
        raise fault(f"the curves share no {over}", hint=f"measure both where their {over} overlaps")
    integral = _pchip_integral if method == "pchip" else _cubic_integral
    return (integral(*test, start, end) - integral(*anchor, start, end)) / (end - start)


def _cubic_integral(x: Numbers, y: Numbers, start: float, end: float) -> float:
    np = package("numpy")
    primitive = np.polyint(np.polyfit(x, y, 3))
    return float(np.polyval(primitive, end) - np.polyval(primitive, start))


def _pchip_integral(x: Numbers, y: Numbers, start: float, end: float) -> float:
    """The integral of the monotone interpolant, exact: a sum over its cubics."""
    h = x[1:] - x[:-1]
    delta = (y[1:] - y[:-1]) / h
    slope = _slopes(h, delta)
    total = 0.0
    for i in range(len(h)):
        low, high = max(start, float(x[i])) - float(x[i]), min(end, float(x[i + 1])) - float(x[i])
        if low < high:
            c = (3 * delta[i] - 2 * slope[i] - slope[i + 1]) / h[i]
            d = (slope[i] + slope[i + 1] - 2 * delta[i]) / h[i] ** 2
            terms: tuple[Any, ...] = (y[i], slope[i], c, d)
            total += sum(float(term) * (high ** (k + 1) - low ** (k + 1)) / (k + 1) for k, term in enumerate(terms))
    return total


def _slopes(h: Numbers, delta: Numbers) -> Numbers:
    """Slopes at the points: weighted harmonic means inside, three-point formula at the ends."""
    np = package("numpy")
    if len(h) == 1:
        return np.array([delta[0], delta[0]])
    w1, w2 = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
    flat = delta[:-1] * delta[1:] <= 0
    with np.errstate(divide="ignore", invalid="ignore"):
        inner = np.where(flat, 0.0, (w1 + w2) / (w1 / delta[:-1] + w2 / delta[1:]))
    first = _end_slope(float(h[0]), float(h[1]), float(delta[0]), float(delta[1]))
    last = _end_slope(float(h[-1]), float(h[-2]), float(delta[-1]), float(delta[-2]))
    return np.concatenate(([first], inner, [last]))


def _end_slope(h0: float, h1: float, d0: float, d1: float) -> float:
    slope = ((2 * h0 + h1) * d0 - h0 * d1) / (h0 + h1)
    if slope * d0 <= 0:
        return 0.0
    if d0 * d1 <= 0 and abs(slope) > 3 * abs(d0):
        return 3 * d0
    return slope
