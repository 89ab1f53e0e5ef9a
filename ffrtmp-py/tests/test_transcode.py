"""What a Python user notices."""

import concurrent.futures
import decimal
import fractions
import json
import os
import pathlib
import subprocess
import sys
import threading

import ffrtmp
import pytest
from conftest import make_clip
from ffrtmp import options


def test_transcodes_a_file(clip: pathlib.Path) -> None:
    out = clip.with_name("out.webm")
    report = ffrtmp.transcode(clip, out, scenario="144p-vp9")
    assert (report["frames"], report["video_codec"], report["resolution"]) == (25, "vp9", "256x144")
    probe = ["ffprobe", "-v", "error", "-print_format", "json", "-show_streams", str(out)]
    streams = json.loads(subprocess.run(probe, check=True, capture_output=True).stdout)["streams"]
    assert sorted(stream["codec_name"] for stream in streams) == ["opus", "vp9"]


def test_errors_say_what_to_do(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ffrtmp.FfrtmpError) as raised:
        ffrtmp.transcode(tmp_path / "none.mp4", tmp_path / "out.mp4")
    assert (raised.value.code, raised.value.retryable) == ("input_not_found", False)
    assert raised.value.hint
    with pytest.raises(ffrtmp.FfrtmpError) as raised:
        ffrtmp.transcode("in.mp4", "out.mp4", scenario="1080pp")
    assert "did you mean 1080p?" in f"{raised.value} {raised.value.hint}"
    assert list(tmp_path.iterdir()) == []


def streams_of(path: pathlib.Path) -> list[dict]:
    probe = ["ffprobe", "-v", "error", "-print_format", "json", "-show_streams", str(path)]
    return json.loads(subprocess.run(probe, check=True, capture_output=True).stdout)["streams"]


def test_one_call_makes_a_package_with_stills(clip: pathlib.Path) -> None:
    out = clip.parent / "show" / "out.m3u8"
    out.parent.mkdir()
    report = ffrtmp.transcode(
        clip,
        out,
        ladder=[{"resolution": "240p", "crf": 30, "name": "top"}, "144p:200k"],
        preset="ultrafast",
        segment_duration=0.5,
        keyframe_interval=0.5,
        stills={"poster": 0.5, "thumbnails": 2},
    )
    assert [rendition["name"] for rendition in report["renditions"]] == ["top", "144p"]
    files = [path for path in out.parent.rglob("*") if path.is_file() and path.name != ".ffrtmp-package"]
    made = sorted(str(path.relative_to(out.parent)) for path in files)
    assert made == sorted(file["path"] for file in report["files"])
    assert {"out.m3u8", "out_poster.jpg", "out_thumb_01.jpg", "out_thumb_02.jpg"} <= set(made)
    assert sum(stream["codec_type"] == "video" for stream in streams_of(out)) == 2


def test_every_option_of_the_types_is_an_option_of_the_engine(clip: pathlib.Path) -> None:
    with pytest.raises(ffrtmp.FfrtmpError) as raised:
        ffrtmp.transcode(clip, clip.with_name("out.mp4"), xyzzy=1)
    assert (raised.value.code, raised.value.field) == ("unknown_field", "xyzzy")
    known = set(raised.value.hint.removeprefix("known: ").split(", ")) - {"resource_limits"}
    assert set(options.Options.__annotations__) == known


def test_errors_name_the_option(clip: pathlib.Path) -> None:
    out = clip.with_name("out.mp4")
    for options, code, field in [
        ({"crf": 99}, "invalid_field", "crf"),
        ({"stills": {"poster": -1}}, "invalid_field", "stills.poster"),
        ({"encoder_options": {"tune": "films"}}, "invalid_field", "encoder_options.tune"),
        ({"ladder": ["720p", {"resolution": "big"}]}, "invalid_field", "ladder[1].resolution"),
        ({"two_pass": True}, "invalid_field", "two_pass"),
        ({"container": "webm", "codec": "h264"}, "container_mismatch", "codec"),
        ({"resource_limits": {}}, "unknown_field", "resource_limits"),
    ]:
        with pytest.raises(ffrtmp.FfrtmpError) as raised:
            ffrtmp.transcode(clip, out, **options)
        assert (raised.value.code, raised.value.field) == (code, field), raised.value
    with pytest.raises(TypeError):
        ffrtmp.transcode(clip, out, crf=object())
    assert not out.exists()


def test_progress_comes_in_this_thread_and_its_exception_stops_the_work(
    clip: pathlib.Path, no_trace: pathlib.Path
) -> None:
    heard: list[tuple[int, ffrtmp.Progress]] = []
    out = clip.with_name("out.mp4")
    ffrtmp.transcode(clip, out, progress=lambda told: heard.append((threading.get_ident(), told)))
    assert {thread for thread, _ in heard} == {threading.get_ident()}
    assert heard[-1][1].frames == 25

    class Enough(Exception):
        pass

    def stop(told: ffrtmp.Progress) -> None:
        raise Enough

    with pytest.raises(Enough):
        ffrtmp.transcode(clip, no_trace / "out.mp4", progress=stop)


def test_threads_work_side_by_side(clip: pathlib.Path) -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        outs = [clip.with_name(f"out{number}.mp4") for number in range(8)]
        made = pool.map(lambda out: ffrtmp.transcode(clip, out, scenario="144p-h264", preset="ultrafast"), outs)
        assert [report.frames for report in made] == [25] * 8


def test_the_interpreter_runs_on_during_work(tmp_path: pathlib.Path) -> None:
    long_clip = make_clip(tmp_path / "long.mkv", 60)
    turns, ended = 0, threading.Event()

    class Enough(Exception):
        pass

    def enough(told: ffrtmp.Progress) -> None:
        if turns > 200:
            raise Enough

    def work() -> str:
        try:
            ffrtmp.transcode(long_clip, tmp_path / "out.mp4", codec="h264", preset="slow", resolution="720p", progress=enough)
            return "made while nobody else could run"
        except Enough:
            return "stopped"
        finally:
            ended.set()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        made = pool.submit(work)
        while not ended.wait(0.001):
            turns += 1
        assert made.result() == "stopped"


def test_codec_libraries_write_nothing_to_the_terminal(clip: pathlib.Path) -> None:
    """Also where threads are there before: as in a notebook."""
    program = "import sys, threading, time; threading.Thread(target=time.sleep, args=(9,), daemon=True).start(); import ffrtmp\n"
    program += "for codec in ('av1', 'h265', 'vp9', 'h264'): ffrtmp.transcode(sys.argv[1], f'{codec}.mkv', codec=codec, preset='ultrafast')"
    said = subprocess.run([sys.executable, "-c", program, str(clip)], cwd=clip.parent, capture_output=True, text=True)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_numbers_of_other_kinds_are_numbers(clip: pathlib.Path, no_trace: pathlib.Path) -> None:
    plan = ffrtmp.plan(clip, no_trace / "out.mp4", fps=fractions.Fraction(25, 2), duration=decimal.Decimal("0.4"), crf=True + 22)  # type: ignore[arg-type]
    assert plan.duration == 0.4 and plan == ffrtmp.plan(clip, no_trace / "out.mp4", fps=12.5, duration=0.4, crf=23)
    for wrong in (decimal.Decimal("NaN"), fractions.Fraction(10**400), decimal.Decimal("1e999")):
        with pytest.raises((ValueError, OverflowError)):
            ffrtmp.plan(clip, no_trace / "out.mp4", duration=wrong)  # type: ignore[arg-type]


def test_plan_and_probe(original: pathlib.Path, no_trace: pathlib.Path) -> None:
    plan = ffrtmp.plan(original, no_trace / "out.mp4", ladder="144p:200k,90x50")
    assert (plan.container, [one["size"] for one in plan.renditions]) == ("mp4", ["256x144", "90x50"])
    info = ffrtmp.probe(os.fsencode(original))
    assert info.best_video is not None
    assert (info.best_video.codec, [stream.kind for stream in info.streams]) == ("h264", ["video", "audio"])
