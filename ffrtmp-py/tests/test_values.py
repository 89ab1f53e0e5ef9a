"""Values compare, pickle, and say what they are, on a terminal and in a notebook."""

from __future__ import annotations

import copy
import datetime
import html.parser
import os
import pathlib
import pickle
from typing import Any

import ffrtmp
import pytest
from ffrtmp import bars, display

JOB = {
    "id": "2f6c1f6e-0000-4000-8000-000000000000",
    "sequence_number": 7,
    "state": "failed",
    "scenario": "720p-<b>",
    "progress": 40.0,
    "created_at": "2026-01-31T12:00:00.5Z",
    "completed_at": "2026-01-31T12:00:00.123456789Z",
    "error": {"code": "input_not_found", "disposition": "terminal", "message": "x: <gone>", "hint": "look"},
    "result": None,
    "attempts": [{"number": 1, "assigned_at": "2026-01-31T12:00:00Z", "outcome": "failed"}],
}
RECORDS: list[Any] = [
    ffrtmp.Report({"frames": 5, "energy_joules": 1.5, "energy_source": "modelled", "warnings": ["<i>"]}),
    ffrtmp.Job(JOB),
    ffrtmp.JobList([ffrtmp.Job(JOB)]),
    ffrtmp.Progress({"percent": None, "frames": 3, "speed": 1.0}),
    ffrtmp.WaitProgress({"total": 3, "ended": 1, "failed": 0, "running": 1, "percent": 50.0}),
    ffrtmp.MediaInfo({"format": "mp4", "streams": [{"index": 0, "kind": "video", "codec": "h264", "video": {"width": 2, "height": 2}}]}),
    ffrtmp.Ladder("720p:3M,480p"),
]
VALUES: list[Any] = [
    *RECORDS,
    ffrtmp.Scenario("720p30-h264"),
    ffrtmp.Ladder.auto(),
    ffrtmp.Ladder([{"resolution": "720p", "name": "top"}]),
    ffrtmp.JobRequest("720p", input="a", labels={"b": "c"}),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_pickle_copy_and_compare(value: Any) -> None:
    for again in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):
        assert type(again) is type(value) and again == value and repr(again) == repr(value)
    assert value != "else" and type(value).__name__ in repr(value) or isinstance(value, list)


def test_records_are_values() -> None:
    job = ffrtmp.Job(JOB)
    assert job.created_at == datetime.datetime(2026, 1, 31, 12, 0, 0, 500_000, datetime.timezone.utc)
    assert job.completed_at is not None and job.completed_at.microsecond == 123_456
    assert job["created_at"] == JOB["created_at"] and job.to_dict() == JOB and job.to_dict() is not job._data
    assert job.attempts[0].outcome == "failed" and job.retry_at is None and hash(job) == hash(ffrtmp.Job(JOB))
    assert isinstance(job.error, ffrtmp.InputNotFoundError) and job.error.hint == "look"
    with pytest.raises(AttributeError, match="did you mean 'scenario'"):
        job.scenaro  # noqa: B018
    with pytest.raises(AttributeError):
        job.state = "completed"
    assert {"state", "attempts", "raise_for_error"} <= set(dir(job))
    assert {ffrtmp.Scenario("720p"), ffrtmp.Scenario("720p")} == {ffrtmp.Scenario("720p")}
    assert eval(repr(ffrtmp.JobRequest("720p", crf=20)), vars(ffrtmp)) == ffrtmp.JobRequest("720p", crf=20)
    assert ffrtmp.JobRequest("720p", crf=20).replace(crf=None) == ffrtmp.JobRequest("720p")
    assert [one["bitrate"] for one in ffrtmp.Ladder("720p:3M,480p:800k")] and str(ffrtmp.Ladder("720p:crf24")) == "720p:crf24"


class Checked(html.parser.HTMLParser):
    """Every element that is opened is closed, and no foreign one is in between."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.add(tag)
        if tag not in ("img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("value", RECORDS, ids=lambda value: type(value).__name__)
def test_notebooks_show_values(value: Any) -> None:
    checked = Checked()
    checked.feed(value._repr_html_())
    checked.close()
    assert not checked.open and checked.seen and not {"b", "i", "gone"} & checked.seen


EVIL = "<script>alert(1)</script>"


@pytest.mark.parametrize(
    "value",
    [
        ffrtmp.Job({**JOB, "sequence_number": EVIL, "id": EVIL, "state": EVIL, "node_name": EVIL, "waiting_reason": EVIL, "scenario": EVIL}),
        ffrtmp.JobList([ffrtmp.Job({"sequence_number": EVIL, "state": EVIL, "result": {"size_bytes": EVIL, "speed": EVIL, "energy_joules": EVIL}})]),
        ffrtmp.Job({**JOB, "state": "running", "progress": EVIL}),
        ffrtmp.MediaInfo({"format": EVIL, "duration_seconds": EVIL, "streams": [{"index": EVIL, "kind": EVIL, "codec": EVIL, "video": {"width": EVIL}}]}),
        ffrtmp.Report({"output_uri": EVIL, "frames": EVIL, "speed": EVIL, "cpu_seconds": 10**400, "warnings": [EVIL], "cost": {"total": EVIL, "currency": EVIL}}),
        ffrtmp.Report({"output_uri": "/tmp/x", "files": [{}, {"path": 5}, {"path": "a\0.png"}, {"path": f"{EVIL}.png"}]}),
        ffrtmp.Ladder([{"name": "top", "resolution": "720p"}]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_hostile_values_are_shown_as_text(value: Any) -> None:
    shown = value._repr_html_()
    assert "<script" not in shown and shown.count("<") >= 2 and repr(value)


def test_a_report_shows_no_files_but_its_own(tmp_path: pathlib.Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "secret.png").write_bytes(b"secret")
    os.mkfifo(tmp_path / "out" / "endless.png")
    paths = ["../secret.png", str(tmp_path / "secret.png"), "endless.png"]
    report = ffrtmp.Report({"output_uri": str(tmp_path / "out" / "a.mp4"), "files": [{"path": path} for path in paths]})
    assert "<img" not in report._repr_html_()


def test_pictures_are_shown_in_a_strip(clip: pathlib.Path) -> None:
    out = clip.with_name("show.m3u8")
    report = ffrtmp.transcode(clip, out, ladder="144p:100k", stills={"poster": 0.5, "thumbnails": 3}, preset="ultrafast")
    shown = report._repr_html_()
    assert shown.count("<img") == 4 and "data:image/jpeg;base64,/9j/" in shown
    for file in report.files or []:
        (clip.parent / file.path).unlink()
    assert "<img" not in report._repr_html_()


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    bar = bars.Bar()
    for ended in range(4):
        bar.show(ffrtmp.WaitProgress({"total": 3, "ended": ended, "failed": ended // 3, "percent": 100.0 * ended / 3}))
    bar.close()
    drawn = capsys.readouterr().err
    assert "[------------------------------]   0 %  0 of 3 jobs" in drawn
    assert drawn.endswith("[##############################] 100 %  3 of 3 jobs, 1 failed\n")


def test_a_bar_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Cell:
        def update(self, told: Any) -> None:
            shown.append(told._repr_html_())

    monkeypatch.setattr(bars, "_notebook_cell", Cell)
    bar = bars.Bar()
    bar.show(ffrtmp.Progress({"percent": 50.0, "frames": 5, "speed": 1.0}))
    bar.close()
    assert shown == [display.progress_html(50.0, "5 frames, 1.0x")]
