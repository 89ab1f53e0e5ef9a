"""Every alert that is deployed, made to fire and to end, and heard of by whom it is meant for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from monitor.farm import Farm
from monitor.hooks import Hooks
from monitor.processes import Failure, until

from .files import rules
from .recorded import Recorded
from .story import Lock, Story, certify

RECEIVER = {"critical": "pager", "warning": "chat"}
"""Who hears of a severity; of every other one mail."""

PATIENCE = 90.0
AGAIN = 4.0
"""Seconds after which a condition that passes by itself is brought about once more."""


def severities() -> dict[str, str]:
    """The severity of every alert."""
    return {rule["alert"]: rule["labels"]["severity"] for rule in rules()}


@dataclass
class Proof:
    """What has been heard of each alert."""

    hooks: Hooks

    def proven(self) -> set[str]:
        """Alerts that fired and ended, each told to the right receiver and to nobody else."""
        return {name for name in severities() if self.heard(name, "firing") and self.heard(name, "resolved")}

    def heard(self, name: str, status: str) -> bool:
        """Whether such a notice came; one in the wrong place is a failure."""
        wanted = RECEIVER.get(severities()[name], "mail")
        found = [notice for notice in self.hooks.notices() if notice.alert == name and notice.status == status]
        for notice in found:
            if notice.receiver != wanted:
                raise Failure(f"{name} went to {notice.receiver} and not to {wanted}")
            if not notice.annotations.get("summary") or "<no value>" in str(notice.annotations):
                raise Failure(f"{name} says nothing: {notice.annotations}")
        return bool(found)

    def fires(self, *names: str, again: Callable[[], Any] = lambda: None) -> None:
        """Waits until these fired, bringing the condition about again now and then."""
        self._await("fires", "firing", names, again)

    def ends(self, *names: str, again: Callable[[], Any] = lambda: None) -> None:
        """Waits until these ended."""
        self._await("ends", "resolved", names, again)

    def _await(self, verb: str, status: str, names: tuple[str, ...], again: Callable[[], Any]) -> None:
        due = time.monotonic() + AGAIN

        def look() -> bool:
            nonlocal due
            if time.monotonic() > due:
                due = time.monotonic() + AGAIN
                again()
            return all(self.heard(name, status) for name in names)

        try:
            until("", look, PATIENCE)
        except Failure as failure:
            silent = [name for name in names if not self.heard(name, status)]
            raise Failure(f"not within {PATIENCE:.0f} s: {', '.join(silent)} {verb}") from failure


def drive(farm: Farm, story: Story, recorded: Recorded, proof: Proof) -> None:
    """One after another, or side by side where they do not meet."""
    # What is true from the beginning: a certificate of ten days.
    lock = Lock(farm.directory / "master.db")
    story.bench.free_disk = 0.03
    recorded.values.update(POWER=95.0, HEAT=91.0)
    try:
        live = story.work_for_nothing(live=True)
        proof.fires(
            "DiskAlmostFull", "GpuHot", "PackagePowerHigh", "CertificateEndsSoon", "StoreSlow", "EncodingBelowRealTime"
        )
    finally:
        lock.close()
    story.bench.free_disk = 0.5
    recorded.values.update(POWER=131.0, HEAT=61.0)
    farm.call("POST", f"/jobs/{live}/cancel")
    proof.fires("HighFailureRate", "SlaViolations", "PackagePowerVeryHigh", again=story.break_things)
    recorded.values.update(POWER=35.0)

    crowd = story.crowd()
    lost = [story.work_for_nothing(live=False) for _ in range(8)]
    until("the slow node works", lambda: all(farm.job(job)["state"] == "running" for job in lost), PATIENCE)
    story.slow.program.kill()
    proof.fires("QueueBackup", "WorkerOffline", "LeaseExpiries")
    for job in crowd + lost:
        farm.call("POST", f"/jobs/{job}/cancel")
    farm.start(story.slow)
    proof.ends("QueueBackup", "WorkerOffline", "LeaseExpiries", "HighFailureRate", "SlaViolations", "StoreSlow")
    proof.ends("DiskAlmostFull", "GpuHot", "PackagePowerHigh", "PackagePowerVeryHigh", "EncodingBelowRealTime")
    lose_master(farm, proof)


def lose_master(farm: Farm, proof: Proof) -> None:
    """The master dies and comes back with a certificate of two days, then with one that lasts."""
    farm.master.kill()
    proof.fires("MasterDown")
    certify(farm.directory, days=2)
    farm.restart_master()
    proof.ends("MasterDown", "CertificateEndsSoon")
    proof.fires("CertificateEnds")
    farm.master.stop()
    certify(farm.directory, days=90)
    farm.restart_master()
    proof.ends("CertificateEnds")
