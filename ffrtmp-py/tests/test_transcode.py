"""What a Python user notices."""

import ast
import json
import pathlib
import subprocess

import ffrtmp
import pytest


@pytest.fixture
def clip(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "in.mkv"
    command = "ffmpeg -v error -f lavfi -i testsrc2=size=320x180:rate=25 -f lavfi -i sine -t 1 -c:v libx264 -preset ultrafast"
    subprocess.run([*command.split(), str(path)], check=True)
    return path


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


def test_every_option_of_the_stub_is_an_option_of_the_engine(clip: pathlib.Path) -> None:
    stub = (pathlib.Path(__file__).parent.parent / "python" / "ffrtmp" / "__init__.pyi").read_text()
    call = next(node for node in ast.parse(stub).body if isinstance(node, ast.FunctionDef))
    names = {argument.arg for argument in call.args.kwonlyargs} - {"scenario"}
    with pytest.raises(ffrtmp.FfrtmpError) as raised:
        ffrtmp.transcode(clip, clip.with_name("out.mp4"), xyzzy=1)
    assert (raised.value.code, raised.value.field) == ("unknown_field", "xyzzy")
    known = set(raised.value.hint.removeprefix("known: ").split(", ")) - {"resource_limits"}
    assert names == known


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
