"""Jobs of a real master, with its real agent."""

from __future__ import annotations

import asyncio
import multiprocessing
import pathlib
import pickle
import tracemalloc

import ffrtmp
import pytest
from conftest import Master, make_clip, until

QUICK = {"scenario": "144p-h264-test", "duration": 0.2, "preset": "ultrafast"}


def test_two_hundred_jobs(master: Master) -> None:
    client = master.client()
    counts: list[int] = []
    requests = ({**QUICK, "labels": {"run": "two-hundred", "number": str(number)}} for number in range(200))
    ids = client.submit_many(requests, batch=64, progress=counts.append)
    assert (len(set(ids)), counts) == (200, [64, 128, 192, 200])
    heard: list[ffrtmp.WaitProgress] = []
    jobs = client.wait(ids, progress=heard.append)
    assert [job.id for job in jobs] == ids
    assert [(job.id, job.error) for job in jobs if job.state != "completed"] == []
    assert {job.result and job.result.frames for job in jobs} == {6}
    assert (heard[-1].ended, heard[-1].total, heard[-1].percent) == (200, 200, 100.0)
    assert [before.ended <= after.ended for before, after in zip(heard, heard[1:])].count(False) == 0
    listed = client.list(labels={"run": "two-hundred"}, state=["completed", "failed"], limit=None)
    assert [job.id for job in listed] == ids[::-1]
    assert len(client.list(labels={"run": "two-hundred"}, limit=7)) == 7
    assert client.list(labels={"run": "two-hundred", "number": "8"})[0].labels["number"] == "8"


def test_a_file_through_an_agent(master: Master) -> None:
    source = make_clip(master.folder / "source.mkv")
    client = master.client()
    job = client.submit("144p-vp9", source, master.folder / "made.webm", labels={"a": "b"}, idempotency_key="once")
    again = client.submit("144p-vp9", source, master.folder / "made.webm", labels={"a": "b"}, idempotency_key="once")
    assert again.id == job.id
    events = list(client.events(job))
    assert [events[0].state, events[-1].state] == ["queued", "completed"]
    assert all(before.at <= after.at for before, after in zip(events, events[1:]))
    done = client.wait(job, check=True)
    assert done.result is not None and done.result.output_uri == str(master.folder / "made.webm")
    assert (done.node_name, done.attempts[0].outcome) == ("worker", "completed")
    assert ffrtmp.probe(master.folder / "made.webm").best_video.codec == "vp9"  # type: ignore[union-attr]
    assert client.get(job.sequence_number) == client.get(job.id[:13]) == client.get(done) == done
    lines = list(client.logs(job))
    assert any("verified" in line.text for line in lines)
    assert list(client.follow_logs(job)) == lines


def test_jobs_are_held_let_go_stopped_and_tried_again(master: Master) -> None:
    client = master.client()
    job = client.submit("1080p-h265-test", duration=600, preset="veryslow")
    until(lambda: client.get(job).state == "running")
    assert client.pause(job).state == "paused"
    assert client.resume(job).state in ("queued", "assigned", "running")
    client.cancel(job)
    ended = client.wait(job)
    assert ended.state == "canceled"
    with pytest.raises(ffrtmp.CanceledError):
        ended.raise_for_error()
    with pytest.raises(ffrtmp.ConflictError):
        client.resume(job)
    assert client.retry(job).state == "queued"
    with pytest.raises(TimeoutError) as raised:
        client.wait(job, timeout=0.05)
    assert raised.value.code == "timeout" and "wait again" in raised.value.hint  # type: ignore[attr-defined]
    client.cancel(job)


def test_a_job_that_fails_says_why(master: Master) -> None:
    client = master.client()
    job = client.wait(client.submit("144p-h264", input=master.folder / "none.mkv", output=master.folder / "none.mp4"))
    assert (job.state, job.failure_reason) == ("failed", "input_error")
    assert isinstance(job.error, FileNotFoundError) and isinstance(job.error, ffrtmp.InputNotFoundError)
    with pytest.raises(ffrtmp.InputNotFoundError):
        client.wait([job], check=True)


def test_values_name_jobs(master: Master) -> None:
    client = master.client()
    first = client.submit(ffrtmp.JobRequest(ffrtmp.Scenario("144p-h264-test"), duration=0.2))
    second = client.submit(ffrtmp.JobRequest("144p-h264-test", duration=0.2, depends_on=[first]))
    assert second.depends_on == [first.id]
    assert [job.state for job in client.wait([first, second.id])] == ["completed", "completed"]


def test_nodes_and_health(master: Master) -> None:
    client = master.client()
    (node,) = client.nodes()
    assert (node.name, node.last_heartbeat.tzinfo is not None) == ("worker", True)
    assert "ffmpeg" in node.capabilities["engines"]
    assert (client.health().status, client.health().version) == ("ok", ffrtmp.__version__)


def test_clients_are_values(master: Master) -> None:
    client = pickle.loads(pickle.dumps(master.client()))
    assert client == master.client() and client.health().status == "ok"
    again = pickle.loads(pickle.dumps(master.async_client()))
    assert again == master.async_client() and repr(again) == f"AsyncClient({master.url!r})"


def test_a_closed_client_says_so(master: Master) -> None:
    with master.client() as client:
        assert client.health().status == "ok"
    with pytest.raises(ffrtmp.ConflictError, match="closed"):
        client.health()

    async def work() -> None:
        async with master.async_client() as twin:
            assert (await twin.health()).status == "ok"
        with pytest.raises(ffrtmp.ConflictError, match="closed"):
            await twin.health()

    asyncio.run(work())


def test_a_limit_below_zero_is_refused(master: Master) -> None:
    with pytest.raises(ffrtmp.InvalidError, match="limit"):
        master.client().list(limit=-1)
    with pytest.raises(ffrtmp.InvalidError, match="limit"):
        asyncio.run(master.async_client().list(limit=-1))


def health_of(client: ffrtmp.Client) -> str:
    return client.health().status


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_use_a_client(master: Master, method: str) -> None:
    client = master.client()
    assert client.health().status == "ok"
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.apply_async(health_of, (client,)).get(60) == "ok"


def test_submitting_needs_no_memory_for_the_jobs(master: Master) -> None:
    client = master.client()
    peaks = []
    for count in (1_000, 6_000):
        tracemalloc.start()
        ids = client.submit_many({**QUICK, "priority": "batch", "labels": {"flood": "1"}} for _ in range(count))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(ids) == count
    # An id takes about 100 bytes, a request alone more than 500.
    assert (peaks[1] - peaks[0]) / 5_000 < 256

    async def stop_all() -> None:
        twin = master.async_client()
        flood = [job.id async for job in twin.iterate(labels={"flood": "1"}, state=["queued"])]
        for start in range(0, len(flood), 64):
            done = await asyncio.gather(*map(twin.cancel, flood[start : start + 64]), return_exceptions=True)
            assert all(isinstance(one, (ffrtmp.Job, ffrtmp.ConflictError)) for one in done)

    asyncio.run(stop_all())


def test_the_twins_have_the_same_verbs() -> None:
    def verbs(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert verbs(ffrtmp.Client) == verbs(ffrtmp.AsyncClient)


def test_async_jobs(master: Master) -> None:
    async def work() -> None:
        client = master.async_client()
        jobs = await asyncio.gather(*(client.submit(ffrtmp.JobRequest(**QUICK)) for _ in range(8)))  # type: ignore[arg-type]
        heard: list[ffrtmp.WaitProgress] = []
        ended = await client.wait(jobs, progress=heard.append, check=True)
        assert [job.state for job in ended] == ["completed"] * 8
        assert heard and heard[-1].ended == 8
        states = [event.state async for event in client.events(jobs[0])]
        assert states[-1] == "completed"
        ids = await client.submit_many([QUICK] * 3, batch=2)
        assert len(await client.list(limit=2)) == 2
        assert (await client.wait(ids[0])).state == "completed"
        assert await client.logs(jobs[0]) and (await client.nodes())[0].name == "worker"
        assert (await client.health()).status == "ok"
        with pytest.raises(ffrtmp.NotFoundError):
            await client.get("00000000-0000-4000-8000-000000000000")
        await client.wait(ids)

    asyncio.run(work())


def test_canceling_a_task_drops_its_request(master: Master) -> None:
    async def work() -> None:
        client = master.async_client()
        job = await client.submit("1080p-h265-test", duration=600, preset="veryslow")
        waiting = asyncio.create_task(client.wait(job))
        following = asyncio.create_task(client.events(job).__anext__())
        assert (await following).state == "queued"
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.wait(job), 0.05)
        assert (await client.pause(job)).state == "paused"
        assert (await client.resume(job)).is_final is False
        await client.cancel(job)
        assert (await client.wait(job)).state == "canceled"
        await client.retry(job)
        await client.cancel(job)

    asyncio.run(work())
