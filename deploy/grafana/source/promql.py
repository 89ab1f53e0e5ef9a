"""Expressions that several dashboards are made of."""

from __future__ import annotations

from .model import Query


def rate(metric: str, by: str = "", where: str = "") -> str:
    """Growth of a counter per second, over all processes."""
    return f"{summed(by)}(rate({metric}{selector(where)}[$__rate_interval]))"


def growth(metric: str, by: str = "", where: str = "", over: str = "$__rate_interval") -> str:
    """Growth of a counter over a time, over all processes."""
    return f"{summed(by)}(increase({metric}{selector(where)}[{over}]))"


def newest(metric: str, by: str = "", where: str = "") -> str:
    """A gauge that every master shows alike."""
    return f"max{' by (' + by + ') ' if by else ''}({metric}{selector(where)})"


def quantile(part: float, metric: str, by: str = "", where: str = "") -> str:
    """Below this lies such a part of what a histogram saw."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({part}, sum by ({labels}) (rate({metric}_bucket{selector(where)}[$__rate_interval])))"


def quantiles(metric: str, where: str = "") -> tuple[Query, ...]:
    """Half, nearly all, and all but the worst."""
    return tuple(Query(quantile(part, metric, where=where), f"p{part * 100:.0f}") for part in (0.5, 0.95, 0.99))


def share(part: str, whole: str) -> str:
    """One by the other; nothing while there is nothing to divide by."""
    return f"{part} / ({whole} > 0)"


def named(expr: str) -> str:
    """A quantity of agents, narrowed to the chosen nodes, with the name of each."""
    return f'{expr} * on (node_id) group_left (node) max by (node_id, node) (ffrtmp_node_up{{node=~"$node"}} ^ 0)'


def selector(where: str) -> str:
    """The braces of a selector."""
    return f"{{{where}}}" if where else ""


def summed(by: str) -> str:
    """The sum over everything, or for each value of labels."""
    return f"sum by ({by}) " if by else "sum"
