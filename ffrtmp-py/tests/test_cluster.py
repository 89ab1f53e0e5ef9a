"""A cluster in this process."""

from __future__ import annotations

import asyncio
import os
import pathlib
import subprocess
import sys

import ffrtmp
import pytest
from ffrtmp import cluster as clusters


def test_a_cluster_works_and_stops(tmp_path: pathlib.Path) -> None:
    with ffrtmp.Cluster(2, slots=1) as cluster:
        client = cluster.client()
        assert sorted(node.name for node in client.nodes()) == ["agent-1", "agent-2"]
        jobs = client.wait(client.submit_many(["144p-h264-test"] * 4), check=True)
        assert all(job.result is not None and job.result.energy_joules is not None for job in jobs)
        assert cluster.is_running
    assert not cluster.is_running
    cluster.close()
    with pytest.raises(ffrtmp.NetworkError):
        client.health()


def test_attempts_run_in_children_where_the_runner_is(tmp_path: pathlib.Path) -> None:
    assert clusters.runner(), "scripts/python-test.sh names the runner"
    with ffrtmp.Cluster() as cluster:
        assert cluster.isolated
    with ffrtmp.Cluster(isolate=False) as cluster:
        assert not cluster.isolated
        assert cluster.client().wait(cluster.client().submit("144p-h264-test", duration=0.2)).state == "completed"


def test_isolation_can_be_insisted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "runner", lambda: None)
    with pytest.raises(ffrtmp.CapabilityError) as raised:
        ffrtmp.Cluster(isolate=True)
    assert raised.value.field == "isolate"


def test_only_allowed_directories_are_used(tmp_path: pathlib.Path, clip: pathlib.Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    with ffrtmp.Cluster(allow_paths=[allowed]) as cluster:
        client = cluster.client()
        job = client.wait(client.submit("144p-h264", clip, allowed / "out.mp4"))
        assert isinstance(job.error, ffrtmp.NotAllowedError)


def test_a_file_keeps_the_jobs(tmp_path: pathlib.Path) -> None:
    with ffrtmp.Cluster(0, store=tmp_path / "jobs.db") as cluster:
        job = cluster.client().submit("144p-h264-test", duration=0.2)
    with ffrtmp.Cluster(store=tmp_path / "jobs.db") as cluster:
        assert cluster.client().wait(job).state == "completed"


def test_a_taken_port_is_said(cluster: ffrtmp.Cluster) -> None:
    with pytest.raises(ffrtmp.ConflictError) as raised:
        ffrtmp.Cluster(port=int(cluster.url.rsplit(":", 1)[1]))
    assert raised.value.code == "port_in_use"


def test_async_with() -> None:
    async def work() -> str:
        async with ffrtmp.Cluster() as cluster:
            client = cluster.async_client()
            job = await client.wait(await client.submit("144p-h264-test", duration=0.2))
        assert not cluster.is_running
        return job.state

    assert asyncio.run(work()) == "completed"


def test_a_forgotten_cluster_ends_with_the_interpreter(tmp_path: pathlib.Path) -> None:
    program = "import ffrtmp; c = ffrtmp.Cluster(); c.client().submit('144p-h264-test', duration=600); print(c.url)"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout[:7]) == (0, "http://"), ended.stderr
    assert [path for path in tmp_path.iterdir() if path.name.startswith("ffrtmp-cluster")] == []
