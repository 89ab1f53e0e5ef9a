"""The Pareto front: the rows that no other row beats in everything."""

from __future__ import annotations

from ffrtmp.analysis.columns import column
from ffrtmp.analysis.errors import fault
from ffrtmp.analysis.extras import package
from ffrtmp.analysis.table import Results


def pareto_front(results: Results, *, cost: str = "wh_per_hour", quality: str = "vmaf") -> Results:
    """The rows for which no other has at least their quality at no higher cost, the cheapest first.

    Of rows that are equal in both, the first stays. Rows without either value are left out.

    Args:
        results: compare like with like: the same clips, for instance.
        cost: a column of which less is better, such as ``output_bitrate``.
        quality: a column of which more is better.

    >>> rows = [{"name": name, "size": size, "vmaf": vmaf} for name, size, vmaf in
    ...         [("a", 1, 80.0), ("b", 2, 90.0), ("worse", 3, 85.0), ("c", 4, 95.0)]]
    >>> pareto_front(Results.of(rows), cost="size")["name"]
    ['a', 'b', 'c']

    Raises:
        AnalysisError: there is no such column, or it holds text.
    """
    if column(cost).name == column(quality).name:
        raise fault("is both the cost and the quality", field=cost, hint="choose two columns")
    np = package("numpy")
    costs, qualities = results.numbers(cost), results.numbers(quality)
    known = np.flatnonzero(~np.isnan(costs) & ~np.isnan(qualities))
    order = known[np.lexsort((-qualities[known], costs[known]))]
    best = np.maximum.accumulate(qualities[order])
    better = np.concatenate(([True], best[1:] > best[:-1])) if len(order) else np.zeros(0, dtype=bool)
    return results.taking([int(index) for index in order[better]])
