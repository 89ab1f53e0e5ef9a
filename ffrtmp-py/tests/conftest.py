"""What the tests share: a clip, a cluster in this process, a master and agent of the real programs."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import ffrtmp
import pytest

CLIP = "ffmpeg -v error -f lavfi -i testsrc2=size=320x180:rate=25 -f lavfi -i sine -t {seconds} -c:v libx264 -preset ultrafast"


def make_clip(path: pathlib.Path, seconds: float = 1) -> pathlib.Path:
    subprocess.run([*CLIP.format(seconds=seconds).split(), str(path)], check=True)
    return path


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return make_clip(tmp_path_factory.mktemp("media") / "clip.mkv", 2)


@pytest.fixture
def clip(tmp_path: pathlib.Path) -> pathlib.Path:
    return make_clip(tmp_path / "in.mkv")


@pytest.fixture(scope="session")
def cluster() -> Iterator[ffrtmp.Cluster]:
    with ffrtmp.Cluster() as cluster:
        yield cluster


class Master(NamedTuple):
    """A master of the real programs, with one agent."""

    url: str
    key: str
    certificate: pathlib.Path
    folder: pathlib.Path

    def client(self) -> ffrtmp.Client:
        return ffrtmp.Client(self.url, api_key=self.key, ca=self.certificate)

    def async_client(self) -> ffrtmp.AsyncClient:
        return ffrtmp.AsyncClient(self.url, api_key=self.key, ca=self.certificate)


@pytest.fixture(scope="session")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Master]:
    folder = tmp_path_factory.mktemp("master")
    key = "a-key-of-the-tests"
    (folder / "key").write_text(key)
    certificate = folder / "master.crt"
    options = ["--db", "", "--bind", "127.0.0.1", "--port", "0", "--metrics-port", "0", "--log-format", "json"]
    options += ["--api-key-file", str(folder / "key"), "--cert", str(certificate), "--key", str(folder / "master.pem")]
    options += ["--rate-limit", "100000", "--rate-burst", "100000"]
    with contextlib.ExitStack() as running:
        url = running.enter_context(program("ffrtmp-master", options, folder))
        agent = ["--master", url, "--ca", str(certificate), "--api-key-file", str(folder / "key"), "--metrics-port", "0"]
        agent += ["--work-dir", str(folder / "agent"), "--allow-path", str(folder), "--log-format", "json"]
        agent += ["--max-concurrent-jobs", "2", "--name", "worker", "--cgroups", "off", "--drain-timeout", "1s"]
        running.enter_context(program("ffrtmp-agent", agent, folder, word="ffrtmp-agent"))
        master = Master(url, key, certificate, folder)
        until(lambda: master.client().nodes())
        yield master


def until(happened: Callable[[], object], seconds: float = 60) -> None:
    """Wait for what happens elsewhere."""
    late = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < late, "it did not happen"
        time.sleep(0.01)


@contextlib.contextmanager
def program(name: str, options: list[str], folder: pathlib.Path, word: str = "is ready") -> Iterator[str]:
    """A program of `cargo build`, from the moment it says `word`; gives the URL that it says then."""
    path = shutil.which(name)
    assert path, f"{name} is not on the PATH: run scripts/python-test.sh"
    process = subprocess.Popen([path, *options], cwd=folder, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            if word in line:
                break
        else:
            pytest.fail(f"{name} ended: {''.join(said)}")
        drained = threading.Thread(target=process.stderr.read, daemon=True)
        drained.start()
        told = json.loads(said[-1])
        yield str(told.get("url", ""))
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No master of this machine's user is meant."""
    for name in ("MASTER_URL", "MASTER_API_KEY", "FFMPEG_RTMP_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def no_trace(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A directory in which nothing may be left."""
    folder = tmp_path / "empty"
    folder.mkdir()
    yield folder
    assert os.listdir(folder) == []
