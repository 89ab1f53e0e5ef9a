"""Bad input: the right exception, with a hint, and an interpreter that lives on."""

from __future__ import annotations

import itertools
import math
import pathlib
import pickle
import socket
from collections.abc import Callable
from typing import Any

import ffrtmp
import pytest
from conftest import Master
from ffrtmp import _ffrtmp, errors


def test_every_code_has_a_class_of_its_disposition() -> None:
    dispositions = {
        "transient": ffrtmp.TransientError,
        "terminal": ffrtmp.TerminalError,
        "caller": ffrtmp.CallerError,
    }
    for code, (disposition, exit_code, status, cause, cure) in _ffrtmp.CODES.items():
        error = errors.of(code, "a message", "a hint", "a.field")
        assert isinstance(error, dispositions[disposition]), code
        assert type(error) not in dispositions.values(), f"{code} has no class of its own"
        assert error.retryable == (disposition == "transient" or code == "rate_limited")
        assert str(error) == f"a message ({code}); hint: a hint"
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), again) == (type(error), error)
        assert ffrtmp.explain(code) == (disposition, exit_code, status, cause, cure)
    assert set(errors._CLASSES) == set(_ffrtmp.CODES)
    with pytest.raises(ffrtmp.InvalidError):
        ffrtmp.explain("no_such_code")


class Liar:
    """A path that is not what it says."""

    def __init__(self, told: Any) -> None:
        self.told = told

    def __fspath__(self) -> Any:
        return self.told


class Endless(str):
    """A text that says it is short."""

    def __len__(self) -> int:
        return 1


def loop() -> list[Any]:
    values: list[Any] = []
    values.append(values)
    return values


BAD: list[tuple[str, type[Exception], str | None, Callable[[pathlib.Path], Any]]] = [
    ("missing file", FileNotFoundError, None, lambda out: ffrtmp.transcode("none.mp4", out)),
    ("missing file to probe", FileNotFoundError, "src", lambda out: ffrtmp.probe("none.mp4")),
    ("a directory", PermissionError, "src", lambda out: ffrtmp.probe("/")),
    ("no media", ffrtmp.InputError, None, lambda out: ffrtmp.transcode(__file__, out)),
    ("wrong scenario", ffrtmp.UnknownScenarioError, "scenario", lambda out: ffrtmp.Scenario("1080pp")),
    ("wrong scenario here", ValueError, "scenario", lambda out: ffrtmp.transcode("a", out, scenario="1080pp")),
    ("no scenario", ffrtmp.InvalidError, "scenario", lambda out: ffrtmp.Scenario("")),
    ("NaN", ValueError, "duration", lambda out: ffrtmp.transcode("a", out, duration=math.nan)),
    ("infinity", ValueError, "fps", lambda out: ffrtmp.transcode("a", out, fps=math.inf)),
    ("negative", ValueError, "duration", lambda out: ffrtmp.transcode("a", out, duration=-1)),
    ("a long path", ValueError, "src", lambda out: ffrtmp.probe("x" * 100_000_000)),
    ("a long path that lies", ValueError, "src", lambda out: ffrtmp.probe(Endless("x" * 100_000_000))),
    ("a path that lies", ValueError, "src", lambda out: ffrtmp.probe(Liar("x" * 100_000_000))),
    ("a path of bytes", ValueError, "src", lambda out: ffrtmp.probe(Liar(b"x" * 100_000_000))),
    ("no path at all", TypeError, None, lambda out: ffrtmp.probe(Liar(5))),
    ("a number for a path", TypeError, None, lambda out: ffrtmp.probe(5)),  # type: ignore[arg-type]
    ("an empty path", ValueError, "src", lambda out: ffrtmp.probe("")),
    ("a NUL", ValueError, "src", lambda out: ffrtmp.probe("a\0b")),
    ("a lone surrogate", ValueError, "preset", lambda out: ffrtmp.transcode("a", out, preset="\ud800")),
    ("a long text", ValueError, "preset", lambda out: ffrtmp.transcode("a", out, preset="x" * 10_000_000)),
    ("a huge number", ValueError, "crf", lambda out: ffrtmp.transcode("a", out, crf=10**400)),
    ("a value in itself", ValueError, None, lambda out: ffrtmp.transcode("a", out, ladder=loop())),
    ("an object", TypeError, None, lambda out: ffrtmp.transcode("a", out, crf=object())),  # type: ignore[arg-type]
    ("a wrong ladder", ffrtmp.InvalidError, None, lambda out: ffrtmp.Ladder("big")),
    ("a wrong rendition", ffrtmp.InvalidError, "ladder[1].resolution", lambda out: ffrtmp.Ladder(["720p", {"resolution": "big"}])),
    ("no directory", FileNotFoundError, None, lambda out: ffrtmp.transcode(__file__, "/none/such/out.mp4")),
    ("no address", ValueError, "url", lambda out: ffrtmp.Client("ftp://x")),
    ("half a certificate", ValueError, "cert", lambda out: ffrtmp.Client("https://localhost", cert="a")),
    ("no certificate", ffrtmp.TlsError, None, lambda out: ffrtmp.Client("https://localhost", ca="/none/such.crt")),
    ("an address for a file", FileNotFoundError, "src", lambda out: ffrtmp.probe("http://127.0.0.1:1/a.mp4")),
    ("a long scenario", ValueError, "scenario", lambda out: ffrtmp.transcode("a", out, scenario="x" * 100_000_000)),
    ("a scenario of no letters", ValueError, "scenario", lambda out: ffrtmp.transcode("a", out, scenario="\ud800")),
    ("a long key", ValueError, "api_key", lambda out: ffrtmp.Client("https://localhost", api_key="x" * 100_000_000)),
    ("a long certificate", ValueError, "ca", lambda out: ffrtmp.Client("https://localhost", ca="x" * 100_000_000)),
    ("endless renditions", ValueError, "ladder", lambda out: ffrtmp.Ladder(itertools.count())),  # type: ignore[arg-type]
    ("too many agents", ValueError, "agents", lambda out: ffrtmp.Cluster(1000)),
    ("less than no agents", ValueError, "agents", lambda out: ffrtmp.Cluster(-1)),
    ("no slots", ValueError, "slots", lambda out: ffrtmp.Cluster(slots=0)),
    ("no port", ValueError, "port", lambda out: ffrtmp.Cluster(port=99_999)),
    ("no key", ValueError, "api_key", lambda out: ffrtmp.Cluster(api_key="")),
    ("no host", ValueError, "allow_hosts", lambda out: ffrtmp.Cluster(allow_hosts=["a b"])),
    ("no such directory", ValueError, "allow_paths", lambda out: ffrtmp.Cluster(allow_paths="/none/such")),
    ("no progress", TypeError, None, lambda out: ffrtmp.transcode("a", out, progress=5)),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("kind", "field", "call"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_input(kind: type[Exception], field: str | None, call: Callable[[pathlib.Path], Any], no_trace: pathlib.Path) -> None:
    with pytest.raises(kind) as raised:
        call(no_trace / "out.mp4")
    assert len(str(raised.value)) < 2000
    if isinstance(raised.value, ffrtmp.FfrtmpError):
        assert raised.value.hint and raised.value.code in _ffrtmp.CODES
        assert field is None or raised.value.field == field, raised.value
        assert "--" not in (raised.value.field or "")
    else:
        assert kind is TypeError


def test_hints_are_in_words_of_python(master: Master, no_trace: pathlib.Path) -> None:
    foreign = {"rate_limited", "path_not_allowed", "host_not_allowed"}  # flags of programs elsewhere
    for code in set(_ffrtmp.CODES) - foreign:
        assert "--" not in ffrtmp.explain(code).cure, code
    with pytest.raises(ffrtmp.NetworkError) as away:
        ffrtmp.Client("http://127.0.0.1:1", api_key="k").list()
    with pytest.raises(ffrtmp.TlsError) as untrusted:
        ffrtmp.Client(master.url, api_key=master.key, ca=__file__).list()
    with pytest.raises(ffrtmp.NotAllowedError) as outside, ffrtmp.Cluster(allow_paths=[no_trace]) as cluster:
        client = cluster.client()
        client.wait(client.submit("144p-h264", "/etc/none.mp4", no_trace / "out.mp4"), check=True)
    with pytest.raises(ffrtmp.ConflictError) as taken, ffrtmp.Cluster(agents=0) as first:
        ffrtmp.Cluster(agents=0, port=int(first.url.rsplit(":", 1)[1]))
    for raised, said in [(away, "is url "), (untrusted, "PEM"), (outside, "allow_paths=[DIR]"), (taken, "another port")]:
        assert said in raised.value.hint, raised.value
        assert raised is outside or "--" not in str(raised.value), raised.value
    assert (taken.value.field, untrusted.value.field) == ("port", "ca")


def test_a_master_that_is_away() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = ffrtmp.Client(f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(ConnectionError) as raised:
            client.submit("720p")
    assert isinstance(raised.value, ffrtmp.NetworkError) and raised.value.retryable


def test_a_wrong_key_and_an_unknown_certificate(master: Master) -> None:
    with pytest.raises(ffrtmp.UnauthorizedError):
        ffrtmp.Client(master.url, api_key="wrong-key-for-this", ca=master.certificate).list()
    with pytest.raises(PermissionError):
        ffrtmp.Client(master.url, ca=master.certificate).list()
    with pytest.raises(ffrtmp.TlsError):
        ffrtmp.Client(master.url, api_key=master.key, ca=__file__).list()


def test_what_a_master_refuses(master: Master) -> None:
    client = master.client()
    for call, kind in [
        (lambda: client.submit("1080pp"), ffrtmp.UnknownScenarioError),
        (lambda: client.submit("720p", crf=99), ffrtmp.InvalidError),
        (lambda: client.submit({"scenario": "720p", "xyzzy": 1}), ffrtmp.InvalidError),
        (lambda: client.submit("720p", duration=math.nan), ValueError),
        (lambda: client.submit("720p", input="x" * 10_000_000), ValueError),
        (lambda: client.get("00000000-0000-4000-8000-000000000000"), LookupError),
        (lambda: client.get("a/b"), ValueError),
        (lambda: client.get(10**5000), ValueError),
        (lambda: client.get(None), ValueError),  # type: ignore[arg-type]
        (lambda: client.list(state="sleeping"), ffrtmp.InvalidError),
        (lambda: client.list(state=["failed", 5]), ffrtmp.InvalidError),  # type: ignore[list-item]
        (lambda: client.list(limit=10**30), ValueError),
        (lambda: client.submit_many("720p30-h264"), ValueError),
        (lambda: client.submit("720p", idempotency_key="a\nb"), ValueError),
        (lambda: client.wait([], timeout=math.nan), ValueError),
        (lambda: client.submit_many([], batch=0) or client.submit_many(["720p"], batch=0), ValueError),
    ]:
        with pytest.raises(kind):
            call()
    with pytest.raises(ffrtmp.InvalidError) as raised:
        jobs = [{"scenario": "144p-h264-test", "duration": 0.2}] * 4 + [{"scenario": "720p", "crf": -7}]
        client.submit_many(jobs, batch=2)
    assert (raised.value.index, len(raised.value.submitted), raised.value.field) == (4, 4, "crf")
    client.wait(raised.value.submitted)
