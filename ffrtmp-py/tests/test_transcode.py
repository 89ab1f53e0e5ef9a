"""What a Python user notices."""

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
