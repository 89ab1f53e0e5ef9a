"""A node that speaks the protocol by itself: it says of its jobs what their labels tell it to. So there are
jobs with a measured quality, jobs that failed for every reason, and a node whose disk is full."""

from __future__ import annotations

import threading
from typing import Any

from monitor.farm import Farm
from monitor.processes import Failure

SCENARIO = "bench-720p30-h264"
DISK = 100 * 2**30
MEASURED = {
    "duration_seconds": 10.0,
    "frames": 300,
    "fps": 68.2,
    "speed": 2.27,
    "wall_seconds": 4.4,
    "cpu_seconds": 8.1,
    "peak_memory_bytes": 310_000_000,
    "size_bytes": 2_650_000,
    "input_bytes": 14_200_000,
    "output_bytes": 2_650_000,
    "energy_joules": 129.6,
    "energy_source": "modelled",
    "throttled_seconds": 0.3,
    "resolution": "1280x720",
    "video_codec": "h264",
    "video_encoder": "libx264",
    "bit_rate": 2_120_000,
    "vmaf": 93.4,
    "psnr": 41.2,
    "ssim": 0.984,
}
"""What a tool says that measures the quality of what it made: see docs/analysis.md."""

CODES = {
    "capability_mismatch": "capability_missing",
    "runtime_error": "encode_failed",
    "platform_error": "internal",
    "resource_error": "memory_exceeded",
    "network_error": "network",
}
"""A code for each reason of failure that no real job of the story brings about."""


class Bench:
    """Works in threads until it is closed. What goes wrong there stands in `bench.log`."""

    def __init__(self, farm: Farm) -> None:
        self.farm = farm
        self.free_disk = 0.5
        self.log = farm.directory / "bench.log"
        words = {"name": "bench", "type": "server", "cpu_threads": 8, "cpu_model": "bench", "ram_total_bytes": 2**34}
        capabilities = {"video_codecs": ["h264"], "encoders": ["libx264"], "engines": ["ffmpeg"]}
        words |= {"has_gpu": False, "gpu_type": "", "labels": {"tool": "bench"}, "max_concurrent_jobs": 8}
        self.words = words | {"capabilities": capabilities}
        self.node_id = self.register()
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._until_closed, args=(what,)) for what in (self._beat, self._work)]
        for thread in self._threads:
            thread.start()

    def register(self) -> str:
        """Tells the master that it is there; its id."""
        return str(self.farm.call("POST", "/nodes/register", self.words)["id"])

    def close(self) -> None:
        """Ends the threads."""
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _until_closed(self, what: Any) -> None:
        while not self._end.wait(0.5):
            try:
                what()
            except (OSError, Failure) as error:  # the master is away now and then, as part of the proof
                with self.log.open("a") as log:
                    print(f"{what.__name__}: {error}", file=log)

    def _beat(self) -> None:
        free = int(DISK * self.free_disk)
        telemetry = {"cpu_percent": 20.0, "load_avg_1m": 0.5, "memory_used_bytes": 2**31, "memory_total_bytes": 2**34}
        telemetry |= {"disk_available_bytes": free, "disk_total_bytes": DISK}
        self.farm.call("POST", f"/nodes/{self.node_id}/heartbeat", {"telemetry": telemetry})

    def _work(self) -> None:
        claimed = self.farm.call("POST", "/jobs/claim", {"node_id": self.node_id, "slots": 8, "wait_ms": 500})
        for job in claimed["jobs"]:
            attempt = {"node_id": self.node_id, "fence": job["fence"]}
            self.farm.call("POST", f"/jobs/{job['id']}/start", attempt)
            end = self._end_of(job["labels"].get("say", ""))
            self.farm.call("POST", "/results", {"job_id": job["id"], **attempt, **end})

    def _end_of(self, word: str) -> dict[str, Any]:
        if word == "quality":
            return {"status": "completed", "metrics": MEASURED}
        code = CODES[word]
        disposition = "transient" if code == "network" else "terminal"
        return {"status": "failed", "error": {"code": code, "disposition": disposition, "message": f"as asked: {word}"}}
