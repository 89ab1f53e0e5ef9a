"""A private Prometheus and a private Alertmanager, made from what `deploy/` gives to everybody.

Changed are addresses, and where a test asks for it intervals; names of jobs, labels, rules and routes stay
those that are deployed."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from .processes import Failure, Program, free_port, until

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SCRAPE = DEPLOY / "compose" / "victoriametrics" / "scrape.yml"
RULES = DEPLOY / "alerts" / "ffrtmp.rules.yml"
ROUTES = DEPLOY / "alerts" / "alertmanager.yml"


def tool(*names: str) -> str:
    """The first of these programs that is installed."""
    for name in names:
        path = shutil.which(name)
        if path:
            return path
    raise Failure(
        f"{names[0]} is not installed: run `make setup`, or `apt-get install prometheus prometheus-alertmanager`"
    )


def get(url: str, form: dict[str, Any] | None = None) -> Any:
    """What a server says in JSON."""
    data = urllib.parse.urlencode(form, doseq=True).encode() if form is not None else None
    try:
        with urllib.request.urlopen(url, data=data, timeout=30) as answer:
            text = answer.read()
            return json.loads(text) if text else {}
    except urllib.error.HTTPError as refusal:
        raise Failure(f"{url}: {refusal.code} {refusal.read().decode(errors='replace')[:400]} for {form}") from refusal


class Alertmanager:
    """Alertmanager with the deployed routes. Whatever leaves it goes to `receiver`, a path for each class."""

    def __init__(self, directory: Path, receiver: str, waits: dict[str, str] | None = None) -> None:
        self.port = free_port()
        config = directory / "alertmanager.json"
        config.write_text(json.dumps(routed_to(receiver, waits or {})))
        command = [tool("prometheus-alertmanager", "alertmanager"), f"--config.file={config}"]
        command += [f"--storage.path={directory / 'alertmanager'}", f"--web.listen-address=127.0.0.1:{self.port}"]
        command += ["--cluster.listen-address=", "--log.level=warn"]
        self.program = Program("Alertmanager", command, directory / "alertmanager.log")
        until("Alertmanager is ready", lambda: self.program.runs() and ready(f"{self.url}/-/ready"))

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"


def routed_to(receiver: str, waits: dict[str, str]) -> dict[str, Any]:
    """The deployed configuration with a webhook in place of each pager, chat and mailbox."""
    config = yaml.safe_load(ROUTES.read_text())
    config.pop("global", None)
    config.pop("templates", None)
    for each in config["receivers"]:
        hooks = [{"url": f"{receiver}/{each['name']}", "send_resolved": True}]
        name = each["name"]
        each.clear()
        each.update(name=name, webhook_configs=hooks)
    for route in routes(config["route"]):
        route.update({key: wait for key, wait in waits.items() if key in route})
    return dict(config)


def routes(route: dict[str, Any]) -> list[dict[str, Any]]:
    """A route and all below it."""
    return [route] + [below for child in route.get("routes", []) for below in routes(child)]


class Prometheus:
    """Prometheus with the deployed scrape configuration and rules."""

    def __init__(
        self,
        directory: Path,
        targets: dict[str, list[str]],
        rules: Path,
        alertmanager: str,
        interval: str | None = None,
    ) -> None:
        self.port = free_port()
        self.targets = directory / "targets"
        self.targets.mkdir(exist_ok=True)
        self.set_targets(targets)
        config = directory / "prometheus.json"
        config.write_text(json.dumps(self._config(rules, alertmanager, interval)))
        command = [tool("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={directory / 'prometheus'}"]
        command += [f"--web.listen-address=127.0.0.1:{self.port}", "--web.enable-lifecycle", "--log.level=warn"]
        command += ["--storage.tsdb.retention.time=1d", "--query.lookback-delta=5m"]
        command += ["--enable-feature=exemplar-storage"]
        self.program = Program("Prometheus", command, directory / "prometheus.log", cwd=directory)
        until("Prometheus is ready", lambda: self.program.runs() and ready(f"{self.url}/-/ready"))

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def set_targets(self, targets: dict[str, list[str]]) -> None:
        """Says where each job's programs listen, `HOST:PORT` or `HOST:PORT/PATH`. Prometheus notices by itself."""
        for job in jobs():
            path = self.targets / f"{job}.json"
            beside = path.with_suffix(".new")
            beside.write_text(json.dumps([group(target) for target in targets.get(job, [])]))
            beside.replace(path)

    def _config(self, rules: Path, alertmanager: str, interval: str | None) -> dict[str, Any]:
        config = yaml.safe_load(SCRAPE.read_text())
        config["rule_files"] = [str(rules)]
        config["alerting"] = {
            "alertmanagers": [{"static_configs": [{"targets": [alertmanager.removeprefix("http://")]}]}]
        }
        if interval:
            config["global"].update(scrape_interval=interval, evaluation_interval=interval, scrape_timeout=interval)
        for job in config["scrape_configs"]:
            for found in ("static_configs", "dns_sd_configs"):
                job.pop(found, None)
            job["file_sd_configs"] = [
                {"files": [str(self.targets / f"{job['job_name']}.json")], "refresh_interval": "1s"}
            ]
        return dict(config)

    def query(self, expr: str, at: float | None = None) -> list[dict[str, Any]]:
        """The value of an expression now, or at a time."""
        form = {"query": expr, **({"time": at} if at else {})}
        return list(get(f"{self.url}/api/v1/query", form)["data"]["result"])

    def query_range(self, expr: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """The values of an expression over time."""
        form = {"query": expr, "start": start, "end": end, "step": step}
        return list(get(f"{self.url}/api/v1/query_range", form)["data"]["result"])

    def label_values(self, label: str, metric: str) -> list[str]:
        """The values that a label of a metric has had."""
        match = urllib.parse.urlencode({"match[]": metric})
        return list(get(f"{self.url}/api/v1/label/{label}/values?{match}")["data"])

    def exemplars(self, expr: str, start: float, end: float) -> list[dict[str, Any]]:
        """Every exemplar of the series of an expression, with the labels of its series."""
        form = {"query": expr, "start": start, "end": end}
        found = get(f"{self.url}/api/v1/query_exemplars", form)["data"]
        return [one | {"series": each["seriesLabels"]} for each in found for one in each["exemplars"]]

    def healthy(self) -> dict[str, list[str]]:
        """The errors of targets that cannot be read, by job; jobs without trouble have an empty list."""
        seen: dict[str, list[str]] = {}
        for target in get(f"{self.url}/api/v1/targets?state=active")["data"]["activeTargets"]:
            errors = seen.setdefault(target["labels"]["job"], [])
            if target["health"] != "up":
                errors.append(target["lastError"] or target["health"])
        return seen


def group(target: str) -> dict[str, Any]:
    """A target as Prometheus reads it from a file."""
    address, slash, path = target.partition("/")
    return {"targets": [address], "labels": {"__metrics_path__": f"/{path}"} if slash else {}}


def jobs() -> list[str]:
    """The names of what is scraped."""
    return [job["job_name"] for job in yaml.safe_load(SCRAPE.read_text())["scrape_configs"]]


def ready(url: str) -> bool:
    """Whether a server says that it is."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
