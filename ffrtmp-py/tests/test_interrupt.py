"""Ctrl-C and canceled tasks: the work ends, and nothing is left."""

from __future__ import annotations

import asyncio
import gc
import os
import pathlib
import signal
import subprocess
import sys
import time

import ffrtmp
import pytest
from conftest import make_clip, until

SLOW = {"codec": "h264", "preset": "slow", "resolution": "720p"}


@pytest.fixture
def long_clip(tmp_path: pathlib.Path) -> pathlib.Path:
    return make_clip(tmp_path / "long.mkv", 60)


@pytest.mark.parametrize("how", ["sync", "async", "progress"])
def test_ctrl_c_cancels_a_transcode(long_clip: pathlib.Path, no_trace: pathlib.Path, how: str) -> None:
    call = f"{str(long_clip)!r}, {str(no_trace / 'out.mp4')!r}, **{SLOW!r}"
    work = {
        "sync": f"ffrtmp.transcode({call})",
        "progress": f"ffrtmp.transcode({call}, progress=lambda told: None)",
        "async": f"asyncio.run(ffrtmp.transcode_async({call}))",
    }[how]
    program = f"import asyncio, ffrtmp, sys\ntry:\n    {work}\nexcept KeyboardInterrupt:\n    sys.exit(42)\n"
    child = subprocess.Popen([sys.executable, "-c", program])
    try:
        until(lambda: any(no_trace.iterdir()) or child.poll() is not None)
        began = time.monotonic()
        child.send_signal(signal.SIGINT)
        # One that is not interrupted makes a file, which `no_trace` finds.
        assert child.wait(20) == 42
        assert time.monotonic() - began < 10
    finally:
        child.kill()
        child.wait()


def test_ctrl_c_ends_a_wait_and_not_the_job(cluster: ffrtmp.Cluster) -> None:
    job = cluster.client().submit("1080p-h265-test", duration=600, preset="veryslow")
    program = (
        "import ffrtmp, sys\n"
        f"client = ffrtmp.Client({cluster.url!r}, api_key={cluster.api_key!r})\n"
        "try:\n"
        f"    client.wait({job.id!r}, progress=lambda told: print('waits', flush=True))\n"
        "except KeyboardInterrupt:\n    sys.exit(42)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None and child.stdout.readline() == "waits\n"
        child.send_signal(signal.SIGINT)
        assert child.wait(20) == 42
        assert not cluster.client().get(job).is_final
    finally:
        child.kill()
        child.communicate()
        cluster.client().cancel(job)


@pytest.mark.parametrize("times", [1, 3])
def test_a_canceled_task_ends_its_transcode(long_clip: pathlib.Path, no_trace: pathlib.Path, times: int) -> None:
    said: list[str] = []

    async def work() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context["message"]))
        task = asyncio.create_task(ffrtmp.transcode_async(long_clip, no_trace / "out.mp4", **SLOW))  # type: ignore[arg-type]
        while not os.listdir(no_trace):
            await asyncio.sleep(0.01)
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert os.listdir(no_trace) == []
        del task
        gc.collect()

    asyncio.run(work())
    assert said == []


def test_an_exception_of_a_listener_ends_what_is_awaited(long_clip: pathlib.Path, no_trace: pathlib.Path, cluster: ffrtmp.Cluster) -> None:
    def refuse(told: object) -> None:
        raise LookupError("enough")

    async def work() -> None:
        with pytest.raises(LookupError, match="enough"):
            await ffrtmp.transcode_async(long_clip, no_trace / "out.mp4", progress=refuse, **SLOW)  # type: ignore[arg-type]
        assert os.listdir(no_trace) == []
        client = cluster.async_client()
        job = await client.submit("1080p-h265-test", duration=600, preset="veryslow")
        with pytest.raises(LookupError, match="enough"):
            await client.wait(job, progress=refuse)
        await client.cancel(job)

    asyncio.run(work())


def test_async_transcodes_leave_the_loop_free(original: pathlib.Path, tmp_path: pathlib.Path) -> None:
    async def work() -> int:
        turns = 0
        heard: list[ffrtmp.Progress] = []
        outs = [tmp_path / f"out{number}.mp4" for number in range(3)]
        jobs = [ffrtmp.transcode_async(original, out, scenario="144p-h264", progress=heard.append) for out in outs]
        gathered = asyncio.gather(*jobs)
        while not gathered.done():
            await asyncio.sleep(0.005)
            turns += 1
        assert [report.frames for report in await gathered] == [50, 50, 50]
        assert heard
        assert (await ffrtmp.probe_async(outs[0])).best_video is not None
        assert (await ffrtmp.plan_async(original, outs[0], crf=30)).container == "mp4"
        with pytest.raises(FileNotFoundError):
            await ffrtmp.transcode_async("none.mp4", tmp_path / "never.mp4")
        return turns

    assert asyncio.run(work()) > 5
