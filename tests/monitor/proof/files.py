"""What can be said of `deploy/` without running anything: it is as its source makes it, complete, and
valid by the schema or the checker of the program that will read it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
from jsonschema import Draft7Validator
from monitor.processes import Failure
from monitor.stack import DEPLOY, ROUTES, RULES, SCRAPE, tool

from .names import unknown

BOARDS = DEPLOY / "grafana" / "dashboards"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
FEWEST = {
    "ffrtmp-production": 12,
    "ffrtmp-scheduler": 16,
    "ffrtmp-worker": 8,
    "ffrtmp-quality": 11,
    "ffrtmp-cost": 5,
    "ffrtmp-predictions": 12,
    "ffrtmp-energy": 1,
    "ffrtmp-live": 1,
}
"""Panels that each dashboard has at least."""


def check() -> None:
    """All of it, or the first thing that is wrong."""
    run([sys.executable, "-m", "source", "--check"], PYTHONPATH=str(DEPLOY / "grafana"))
    boards = {path.stem: json.loads(path.read_text()) for path in sorted(BOARDS.glob("*.json"))}
    for uid, fewest in FEWEST.items():
        if uid not in boards or len(panels(boards[uid])) < fewest:
            raise Failure(f"{uid} has fewer than {fewest} panels")
    for board in boards.values():
        check_board(board, boards)
    check_rules()
    check_compose()


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """The panels of a dashboard, without its rows."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def check_board(board: dict[str, Any], boards: dict[str, Any]) -> None:
    """Grafana's own types read it without losing a word, and every panel is complete."""
    register_default_plugins()
    read = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    lost = differing(board, read)
    if lost:
        raise Failure(f"{board['uid']}: Grafana's schema has another idea of {lost}")
    for panel in panels(board):
        where = f"{board['title']}, {panel['title']}"
        defaults = panel["fieldConfig"]["defaults"]
        told = (panel.get("description"), defaults.get("unit"), defaults.get("noValue"), defaults.get("links"))
        if not all(told) or not defaults["thresholds"]["steps"]:
            raise Failure(f"{where}: unit, description, thresholds, a text for no data and links are wanted")
        for target in panel["targets"]:
            if unknown(target["expr"]):
                raise Failure(f"{where}: docs/metrics.md has no {', '.join(sorted(unknown(target['expr'])))}")
        for link in defaults["links"]:
            check_link(where, link["url"], boards)
    for variable in variables(board):
        if unknown(variable["metric"]):
            raise Failure(f"{board['title']}: docs/metrics.md has no {variable['metric']}")


def differing(written: Any, read: Any, where: str = "") -> str | None:
    """Where what was read lacks or changes something of what was written. It may have more: defaults."""
    if isinstance(written, dict) and isinstance(read, dict):
        pairs = [(f"{where}.{key}", value, read.get(key)) for key, value in written.items()]
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        pairs = [(f"{where}[{index}]", *pair) for index, pair in enumerate(zip(written, read, strict=True))]
    else:
        return None if written == read else where
    return next((found for place, one, other in pairs if (found := differing(one, other, place))), None)


def check_link(where: str, url: str, boards: dict[str, Any]) -> None:
    """It leads to a dashboard that is there, and sets a variable that this one has."""
    uid = url.removeprefix("/d/").partition("?")[0]
    if uid not in boards:
        raise Failure(f"{where}: no dashboard {uid}")
    names = {variable["name"] for variable in variables(boards[uid])} | {"datasource"}
    for name in re.findall(r"var-(\w+)=", url):
        if name not in names:
            raise Failure(f"{where}: {uid} has no variable {name}")


def variables(board: dict[str, Any]) -> list[dict[str, str]]:
    """What a dashboard can be narrowed down by: name, label, metric."""
    found = []
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            parts = re.fullmatch(r"label_values\((\w+),(\w+)\)", variable["query"]["query"])
            if not parts:
                raise Failure(f"{board['title']}: {variable['query']} is not understood")
            found.append({"name": variable["name"], "metric": parts[1], "label": parts[2]})
    return found


def rules() -> list[dict[str, Any]]:
    """The alerts that are deployed."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def check_rules() -> None:
    """promtool agrees, each rule is shown firing and quiet, and Alertmanager reads its routes."""
    tests = RULES.with_name("ffrtmp.rules.test.yml")
    run([tool("promtool"), "check", "rules", RULES])
    run([tool("promtool"), "test", "rules", tests])
    run([tool("amtool"), "check-config", ROUTES])
    firing: set[str] = set()
    quiet: set[str] = set()
    for case in yaml.safe_load(tests.read_text())["tests"]:
        for test in case.get("alert_rule_test", []):
            (firing if test["exp_alerts"] else quiet).add(test["alertname"])
        for test in case.get("promql_expr_test", []):
            name = re.search(r'alertname="(\w+)"', test["expr"])
            if name:
                (firing if test["exp_samples"] else quiet).add(name[1])
    for rule in rules():
        if rule["alert"] not in firing & quiet:
            raise Failure(f"{tests.name} does not show {rule['alert']} both firing and quiet")
        if unknown(rule["expr"]):
            raise Failure(f"{rule['alert']}: docs/metrics.md has no {', '.join(unknown(rule['expr']))}")
        if not {"summary", "description", "action", "dashboard"} <= rule["annotations"].keys():
            raise Failure(f"{rule['alert']} does not say what to do")


def check_compose() -> None:
    """Valid by the schema of docker-compose, every file that it names is there, and versions are pinned."""
    schema = next(Path(sys.prefix).glob("lib/python3*/site-packages/compose/config/compose_spec.json"))
    config = yaml.safe_load(COMPOSE.read_text())
    for error in Draft7Validator(json.loads(schema.read_text())).iter_errors(config):
        raise Failure(f"{COMPOSE.name}: {'.'.join(map(str, error.path))}: {error.message}")
    for name, service in config["services"].items():
        image = service["image"]
        if not re.search(r":v?\d+\.\d+", image) and "build" not in service:
            raise Failure(f"{COMPOSE.name}: {name} has no pinned version: {image}")
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith(".") and "secrets" not in source and not (COMPOSE.parent / source).exists():
                raise Failure(f"{COMPOSE.name}: {name} mounts {source}, which is not there")
            if not source.startswith((".", "/", "$")) and source not in config["volumes"]:
                raise Failure(f"{COMPOSE.name}: {name} mounts the volume {source}, which is not declared")
        for other in service.get("depends_on", []):
            if other not in config["services"]:
                raise Failure(f"{COMPOSE.name}: {name} waits for {other}, which is not there")
    check_scrapes(config["services"])
    for path in COMPOSE.parent.rglob("*.y*ml"):
        yaml.safe_load(path.read_text())


SERVED = {"master": {9090}, "agent": {9091}, "node-exporter": {9100}}
"""Ports on which services can be scraped without a flag."""


def check_scrapes(services: dict[str, Any]) -> None:
    """Every target of the scrape configuration is a port that its service was told to serve."""
    served = {name: set(ports) for name, ports in SERVED.items()}
    for name, ports in served.items():
        found = (re.fullmatch(r"--[a-z]+-port=(\d+)", word) for word in services[name].get("command", []))
        ports.update(int(port[1]) for port in found if port)
    for job in yaml.safe_load(SCRAPE.read_text())["scrape_configs"]:
        wanted = [target for each in job.get("static_configs", []) for target in each["targets"]]
        wanted += [f"{name}:{each['port']}" for each in job.get("dns_sd_configs", []) for name in each["names"]]
        for target in wanted:
            name, _, port = target.partition(":")
            if int(port) not in served.get(name, set()):
                raise Failure(f"{SCRAPE.name}: {job['job_name']} wants {target}, where nothing is served")


def check_flags(programs: Path) -> None:
    """The programs know every flag that the compose file gives them."""
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    for name in ("master", "agent"):
        told = subprocess.run([programs / f"ffrtmp-{name}", "--help"], capture_output=True, text=True, check=True)
        known = set(re.findall(r"--[a-z][a-z0-9-]*", told.stdout))
        for word in services[name]["command"]:
            if word.partition("=")[0] not in known:
                raise Failure(f"{COMPOSE.name}: ffrtmp-{name} knows no {word}")


def run(command: list[Any], **env: str) -> None:
    """Runs a checker, and fails with its words if it does."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env={**os.environ, **env})
    if done.returncode:
        raise Failure(f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}")
