"""Every query of every panel, asked of a running Prometheus: each has to answer with numbers."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass
from typing import Any

from monitor.processes import Failure
from monitor.stack import Prometheus

from .files import panels, variables
from .names import asked
from .recorded import may_be_missing

WINDOW, STEP = "20s", 2.0
EVERYTHING = ".*"


@dataclass(frozen=True)
class Question:
    """A query of a panel."""

    board: str
    panel: str
    expr: str
    instant: bool
    links: tuple[str, ...]
    variables: tuple[tuple[str, str, str], ...]

    @property
    def where(self) -> str:
        """The panel that it belongs to."""
        return f"{self.board}, {self.panel}"

    @property
    def excuse(self) -> str | None:
        """Why a machine may have no answer, if it may: a single metric that it may be without is enough."""
        return next((why for metric in sorted(asked(self.expr)) if (why := may_be_missing(metric))), None)


def questions(boards: list[dict[str, Any]]) -> list[Question]:
    """All that the dashboards ask."""
    return [
        Question(
            board["title"],
            panel["title"],
            target["expr"],
            bool(target.get("instant")),
            tuple(link["url"] for link in panel["fieldConfig"]["defaults"]["links"]),
            tuple((variable["name"], variable["label"], variable["metric"]) for variable in variables(board)),
        )
        for board in boards
        for panel in panels(board)
        for target in panel["targets"]
    ]


class Asker:
    """Asks of the time since the beginning."""

    def __init__(self, prometheus: Prometheus, begun: float) -> None:
        self.prometheus, self.begun = prometheus, begun

    def answered(self, question: Question) -> bool:
        """Whether there are numbers: for everything, for one value of each variable, with labels for links."""
        found = self.series(question, {})
        if not found:
            return False
        labels = {label for series in found for label in series["metric"]}
        wanted = {label for link in question.links for label in re.findall(r"__field\.labels\.(\w+)", link)}
        if wanted - labels:
            raise Failure(f"{question.where}: links want {sorted(wanted)}, the query has {sorted(labels)}")
        return all(
            self.narrows(question, *variable) for variable in question.variables if f"${variable[0]}" in question.expr
        )

    def narrows(self, question: Question, name: str, label: str, metric: str) -> bool:
        """Whether some value of a variable has numbers of its own."""
        return any(
            self.series(question, {name: re.escape(value)}) for value in self.prometheus.label_values(label, metric)
        )

    def series(self, question: Question, chosen: dict[str, str]) -> list[dict[str, Any]]:
        """The series with a number in them."""
        expr = self.substituted(question, chosen)
        if question.instant:
            answer = self.prometheus.query(expr)
        else:
            answer = self.prometheus.query_range(expr, self.begun, time.time(), STEP)
        return [series for series in answer if any(map(is_number, series.get("values", [series.get("value")])))]

    def substituted(self, question: Question, chosen: dict[str, str]) -> str:
        """The query as Grafana sends it, with everything chosen that is not said otherwise."""
        passed = f"{time.time() - self.begun + 5:.0f}s"
        expr = question.expr.replace("$__rate_interval", WINDOW).replace("$__range", passed)
        for name, _, _ in question.variables:
            # Twice escaped: once for PromQL's string, once for `re.sub`.
            value = chosen.get(name, EVERYTHING).replace("\\", "\\" * 4)
            expr = re.sub(rf"\${name}\b|\${{{name}}}", value, expr)
        if "$" in expr:
            raise Failure(f"{question.where}: nothing is known of a variable of {expr}")
        return expr


def is_number(sample: Any) -> bool:
    """Whether a sample has a value that can be drawn."""
    return math.isfinite(float(sample[1]))


def unanswered(asker: Asker, asked_for: list[Question], seconds: float) -> list[Question]:
    """Those that have no answer yet after such a time."""
    end = time.monotonic() + seconds
    left = list(asked_for)
    while left:
        left = [question for question in left if not asker.answered(question)]
        if time.monotonic() > end:
            break
        if left:
            time.sleep(1)
    return left
