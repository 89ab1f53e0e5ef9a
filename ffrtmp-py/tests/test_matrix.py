"""What a person who runs test matrices notices."""

from __future__ import annotations

import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import time
import types
from typing import Any

import ffrtmp
import pytest
from ffrtmp import matrix
from ffrtmp.matrix.power import Meter
from ffrtmp.matrix.workers import Local

PREDECESSOR: dict[str, Any] = {
    "name": "stress",
    "description": "as the predecessor wrote it",
    "scenarios": [
        {"type": "baseline", "name": "Baseline (Idle)", "duration": 0.1, "bitrate": "0k", "resolution": "N/A", "fps": 0},
        {"type": "multi", "name": "2 streams @ 300k", "count": 2, "bitrate": "300k", "resolution": "320x180", "fps": 25,
         "stabilization": 0.1, "duration": 0.5, "cooldown": 0.05},
        {"type": "single", "name": "1 stream", "bitrate": "200k", "resolution": "320x180", "fps": 25, "encoder": "h264",
         "preset": "ultrafast", "duration": 0.5, "quality_target": "VMAF>=1"},
        {"type": "batch", "name": "3 in a row", "count": 3, "bitrate": "200k", "encoder": "vp8", "duration": 0.2},
    ],
}  # fmt: skip


def scenario(**changes: Any) -> dict[str, Any]:
    entry = {"type": "single", "name": "x", "bitrate": "200k", "duration": 0.3, **changes}
    return {name: value for name, value in entry.items() if value is not ...}


@pytest.mark.parametrize(
    ("entry", "field", "code", "hint"),
    [
        (scenario(bitrat="1M"), "scenarios[0].bitrat", "unknown_field", "did you mean bitrate?"),
        (scenario(Stabilisation=1), "scenarios[0].Stabilisation", "unknown_field", "did you mean stabilization?"),
        (scenario(type="singel"), "scenarios[0].type", "invalid_field", "did you mean single?"),
        (scenario(type=...), "scenarios[0].type", "invalid_field", "known: baseline"),
        (scenario(name=...), "scenarios[0].name", "invalid_field", "a name of its own"),
        (scenario(bitrate=...), "scenarios[0].bitrate", "invalid_field", "one of bitrate"),
        (scenario(crf=23), "scenarios[0].bitrate", "invalid_field", "one of bitrate"),
        (scenario(bitrate="fast"), "scenarios[0].bitrate", "invalid_field", "800k"),
        (scenario(bitrate=math.nan), "scenarios[0].bitrate", "invalid_field", ""),
        (scenario(bitrate=10**400), "scenarios[0].bitrate", "invalid_field", ""),
        (scenario(bitrate=True), "scenarios[0].bitrate", "invalid_field", ""),
        (scenario(duration=math.nan), "scenarios[0].duration", "invalid_field", "a number from"),
        (scenario(duration=math.inf), "scenarios[0].duration", "invalid_field", "a number from"),
        (scenario(duration="10"), "scenarios[0].duration", "invalid_field", "a number from"),
        (scenario(duration=-1), "scenarios[0].duration", "invalid_field", "a number from"),
        (scenario(resolution="1080pp"), "scenarios[0].resolution", "invalid_field", "1280x720"),
        (scenario(resolution=[1]), "scenarios[0].resolution", "invalid_field", "quotes"),
        (scenario(resolution="1281x719"), "scenarios[0].resolution", "invalid_field", "1282x720"),
        (scenario(resolution="99999x2"), "scenarios[0].resolution", "invalid_field", "16384"),
        (scenario(resolution=720), "scenarios[0].resolution", "invalid_field", "in quotes"),
        (scenario(encoder="h2644"), "scenarios[0].encoder", "invalid_field", "did you mean h264?"),
        (scenario(encoder="libx2655"), "scenarios[0].encoder", "invalid_field", "did you mean libx265?"),
        (scenario(encoder=264), "scenarios[0].encoder", "invalid_field", "in quotes"),
        (scenario(preset="fastest"), "scenarios[0].preset", "invalid_field", "ultrafast"),
        (scenario(encoder="vp9", preset=9), "scenarios[0].preset", "invalid_field", "0 (slowest) to 8"),
        (scenario(preset=-1), "scenarios[0].preset", "invalid_field", ""),
        (scenario(bitrate="0k"), "scenarios[0].bitrate", "invalid_field", "2500k"),
        (scenario(bitrate="-1M"), "scenarios[0].bitrate", "invalid_field", "800k"),
        (scenario(bitrate=["1M"]), "scenarios[0].bitrate", "invalid_field", ""),
        (scenario(bitrate=None), "scenarios[0].bitrate", "invalid_field", "one of bitrate"),
        (scenario(bitrate=..., crf=60), "scenarios[0].crf", "invalid_field", "0 (best) to 51"),
        (scenario(duration=None), "scenarios[0].duration", "invalid_field", "a number from"),
        (scenario(duration=10**400), "scenarios[0].duration", "invalid_field", "a number from"),
        (scenario(fps=0), "scenarios[0].fps", "invalid_field", "1 to 240"),
        (scenario(fps="30"), "scenarios[0].fps", "invalid_field", "1 to 240"),
        (scenario(fps=math.nan), "scenarios[0].fps", "invalid_field", "1 to 240"),
        (scenario(type=10**5000), "scenarios[0].type", "invalid_field", "known: baseline"),
        (scenario(type="multi", count=0), "scenarios[0].count", "invalid_field", "whole number"),
        (scenario(type="multi", count=10**400), "scenarios[0].count", "invalid_field", "whole number"),
        (scenario(type="multi", count="2"), "scenarios[0].count", "invalid_field", "whole number"),
        (scenario(type="batch", count=None), "scenarios[0].count", "invalid_field", "how many"),
        (scenario(quality_target=85), "scenarios[0].quality_target", "invalid_field", "in quotes"),
        ({**scenario(), 5: 1}, "scenarios[0].5", "unknown_field", "known: type"),
        (scenario(count=2), "scenarios[0].count", "invalid_field", "multi"),
        (scenario(type="multi"), "scenarios[0].count", "invalid_field", "how many"),
        (scenario(type="multi", count=2.0), "scenarios[0].count", "invalid_field", "whole number"),
        (scenario(quality_target="VMAF>=185"), "scenarios[0].quality_target", "invalid_field", "VMAF>=85"),
        (scenario(quality_target="good"), "scenarios[0].quality_target", "invalid_field", "VMAF>=85"),
        (scenario(name="\0"), "scenarios[0].name", "invalid_field", ""),
        (scenario(type="baseline"), "scenarios[0].bitrate", "unknown_field", ""),
        ([1], "scenarios[0]", "invalid_field", "type"),
        (scenario(outputs=[]), "scenarios[0].outputs", "invalid_field", "resolution"),
        (scenario(outputs={"resolution": "720p"}), "scenarios[0].outputs", "invalid_field", "resolution"),
        (scenario(outputs=[{"fps": 30}]), "scenarios[0].outputs[0].resolution", "invalid_field", "resolution"),
        (scenario(outputs=[{"resolution": "big"}]), "scenarios[0].outputs[0].resolution", "invalid_field", "1280x720"),
        (scenario(outputs=[{"resolution": "720p", "size": 1}]), "scenarios[0].outputs[0].size", "unknown_field", "resolution"),
        (scenario(fps=30, outputs=[{"resolution": "720p", "fps": 25}]), "scenarios[0].outputs[0].fps", "invalid_field", "the scenario's rate"),
        (scenario(outputs=[{"resolution": "320x179"}]), "scenarios[0].outputs", "invalid_field", ""),
    ],
)
def test_a_wrong_scenario_is_refused_by_its_field(entry: Any, field: str, code: str, hint: str) -> None:
    with pytest.raises(ffrtmp.InvalidError) as raised:
        matrix.Matrix.parse({"scenarios": [entry]})
    assert (raised.value.field, raised.value.code) == (field, code), raised.value
    assert hint in raised.value.hint and len(str(raised.value)) < 600


def test_null_is_left_out_and_names_of_codecs_are_taken() -> None:
    entry = scenario(encoder=None, preset=None, fps=None, resolution="720P", crf=None, count=None, input=None)
    for encoder in ("h264", "HEVC", "avc", "libx264", "h264_nvenc", "libsvtav1", "vp9", "av1"):
        (one,) = matrix.Matrix.parse({"scenarios": [{**entry, "encoder": encoder}]})
        assert one.encoder == encoder and matrix.Matrix.parse({"scenarios": [one.to_dict()]}).scenarios == (one,)
    idle = {"type": "baseline", "name": "idle", "duration": 1, "bitrate": None, "encoder": None}
    assert [each.type for each in matrix.Matrix.parse({"scenarios": [idle, entry]})] == ["baseline", "single"]
    lossless = matrix.Scenario("multi", "x", 1.0, crf=0.0)
    assert matrix.Matrix.parse({"scenarios": [lossless.to_dict()]}).scenarios == (lossless,)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({}, "bitrates"),
        ({"bitrates": "fast"}, "bitrates"),
        ({"bitrates": 5}, "scenarios[0].bitrate"),
        ({"bitrates": ["1M"], "encoders": ["h264", "h2644"]}, "scenarios[1].encoder"),
        ({"bitrates": ["1M"], "presets": [None, "quick"]}, "scenarios[1].preset"),
        ({"crfs": ["good"]}, "scenarios[0].crf"),
        ({"crfs": object()}, "crfs"),
        ({"crfs": [23], "baseline": math.nan}, "scenarios[0].duration"),
        ({"crfs": range(10**9), "encoders": ["h264"]}, "scenarios"),
    ],
)
def test_a_wrong_grid_is_refused_by_its_field(values: dict[str, Any], field: str) -> None:
    with pytest.raises(ffrtmp.InvalidError) as raised:
        matrix.Matrix.grid(duration=1, **values)
    assert raised.value.field == field and raised.value.hint, raised.value


def test_a_grid_takes_single_values_and_numbers() -> None:
    one = matrix.Matrix.grid(encoders="av1", bitrates="1M", presets=[8], resolutions="360p", duration=1).scenarios[0]
    assert (one.name, one.preset) == ("av1 8 360p 1M", "8")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"scenarios": []}', "has 0 scenarios"),
        ('{"scenarios": [{"type": "baseline", "name": "a", "duration": 1}, {"type": "baseline", "name": "a", "duration": 1}]}', "scenarios[0] too"),
        ('{"scenario": []}', "did you mean scenarios?"),
        ("[]", "not an object"),
        ("{", "is not JSON"),
    ],
)
def test_a_wrong_file_is_refused(text: str, said: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "matrix.json"
    path.write_text(text)
    with pytest.raises(ffrtmp.InvalidError) as raised:
        matrix.Matrix.load(path)
    assert said in str(raised.value)
    with pytest.raises(FileNotFoundError):
        matrix.Matrix.load(tmp_path / "none.json")


def test_a_matrix_of_the_predecessor_runs_on_a_clip(clip: pathlib.Path, tmp_path: pathlib.Path) -> None:
    steps: list[str] = []
    results = tmp_path / "results.json"
    study = matrix.run(matrix.Matrix.parse(PREDECESSOR), clip, results=results, quality=False, progress=lambda *told: steps.append(told[2]))
    baseline, multi, single, batch = study.rows
    assert steps == [each["name"] for each in PREDECESSOR["scenarios"]] + [""]
    assert (multi["count"], multi["codec"], multi["resolution"], multi["fps"]) == (2, "h264", "320x180", 25.0)
    assert multi["frames"] == 2 * single["frames"] and multi["duration"] == pytest.approx(0.5, abs=0.05)
    assert multi["cpu_seconds"] > 0 and multi["size"] > single["size"]
    assert (single["preset"], single["bitrate"], single["quality_target"], single["target_met"]) == ("ultrafast", 2e5, "VMAF>=1", None)
    assert batch["codec"] == "vp8" and batch["count"] == 3
    if single["energy_source"] == "modelled":
        assert single["total_energy_wh"] == pytest.approx(single["cpu_seconds"] * 3.5 / 3600) and single["modelled"] is True
        assert single["net_energy_wh"] is None and "no energy counters" in baseline["missing"]
    document = json.loads(results.read_text())
    assert document["scenarios"] == study.rows and document["finished_at"] == study.finished_at
    analysis = pytest.importorskip("pyarrow") and __import__("ffrtmp.analysis", fromlist=["read"])
    assert analysis.read(results) == study.results()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv", "results.json"]


def test_lists_ladders_and_idle_machines_of_the_predecessor_run(clip: pathlib.Path, tmp_path: pathlib.Path) -> None:
    sizes = [{"resolution": "160x90", "fps": 25}, {"resolution": "320x180", "fps": 25}]
    entries = [
        {"type": "single", "name": "Baseline (idle system)", "bitrate": "0k", "resolution": "1280x720", "fps": 30, "duration": 0.1, "cooldown": 0.05},
        {"type": "single", "name": "ladder", "bitrate": "400k", "resolution": "320x180", "fps": 25, "duration": 0.4, "outputs": sizes},
    ]
    (tmp_path / "matrix.json").write_text(json.dumps(entries))
    grid = matrix.Matrix.load(tmp_path / "matrix.json")
    assert grid == matrix.Matrix.parse(grid.to_dict())
    idle, ladder = matrix.run(grid, clip, outputs=tmp_path / "made", quality=False).rows
    assert (idle["type"], ladder["resolution"], ladder["frames"]) == ("baseline", "320x180", 10)
    assert ladder["pixels"] == 10 * (320 * 180 + 160 * 90)
    made = list((tmp_path / "made").iterdir())
    assert ladder["size"] == sum(path.stat().st_size for path in made) and len(made) == 2
    warmed = matrix.Matrix.parse([{**entries[1], "stabilization": 0.01}])
    (again,) = matrix.run(warmed, clip, quality=False).rows
    assert again["pixels"] == ladder["pixels"]


def test_a_clip_whose_name_is_no_text_is_a_row(clip: pathlib.Path, tmp_path: pathlib.Path) -> None:
    odd = clip.rename(os.fsdecode(os.fsencode(clip.parent) + b"/odd-\xff.mkv"))
    study = matrix.run(matrix.Matrix.parse([scenario()]), odd, results=tmp_path / "results.json", quality=False)
    assert study.rows[0]["state"] == "completed" and json.loads((tmp_path / "results.json").read_text())["scenarios"] == study.rows
    pytest.importorskip("pyarrow")
    assert study.results().texts("input") == [study.rows[0]["input"]]


def test_a_long_matrix_is_saved_now_and_then_and_in_the_end(clip: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**9))
    slow = types.SimpleNamespace(monotonic=lambda: float(next(clock)))  # every save takes a while
    monkeypatch.setattr("ffrtmp.matrix.study.time", slow)
    sizes: list[int] = []
    save = matrix.Study.save

    def counted(study: matrix.Study, path: Any) -> pathlib.Path:
        sizes.append(len(study.rows))
        return save(study, path)

    monkeypatch.setattr(matrix.Study, "save", counted)
    grid = matrix.Matrix.parse([{"type": "baseline", "name": str(index), "duration": 0.05} for index in range(30)])

    def stop(done: int, steps: int, name: str) -> None:
        if done == 29:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        matrix.run(grid, clip, results=tmp_path / "results.json", quality=False, progress=stop)
    assert sizes[0] == 1 and sizes[-1] == 29 and len(sizes) < 10
    assert len(json.loads((tmp_path / "results.json").read_text())["scenarios"]) == 29


def test_an_interrupted_save_leaves_nothing(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: pathlib.Path, target: pathlib.Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pathlib.Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        matrix.Study(matrix.Matrix.parse([scenario()])).save(tmp_path / "results.json")
    assert list(tmp_path.iterdir()) == []


def test_quality_is_measured_where_it_can_be(clip: pathlib.Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    grid = matrix.Matrix.grid(bitrates=["30k", "3M"], presets=["ultrafast"], duration=0.5, quality_target="VMAF>=80")
    low, high = matrix.run(grid, clip, outputs=clip.parent / "made").rows
    assert low["vmaf"] < high["vmaf"] <= 100 and low["ssim"] < high["ssim"] <= 1 and low["psnr"] < high["psnr"]
    assert (low["target_met"], high["target_met"]) == (False, True)
    reference = "[0:v]setpts=PTS-STARTPTS[a];[1:v]setpts=PTS-STARTPTS[b];[a][b]psnr=stats_file=-:shortest=1"
    command = ["ffmpeg", "-v", "error", "-i"]
    # The very file that was measured: another encode of it is another file.
    made = min((clip.parent / "made").iterdir())
    run = subprocess.run([*command, str(made), "-i", str(clip), "-lavfi", reference, "-f", "null", "-"], capture_output=True, text=True, check=True)
    values = [float(line.split("psnr_y:")[1].split()[0]) for line in run.stdout.splitlines()]
    assert low["psnr"] == pytest.approx(sum(values) / len(values), abs=0.05)
    from ffrtmp import analysis

    assert analysis.measure_quality(clip, clip).ssim == 1.0
    with pytest.raises(ffrtmp.InputError):
        analysis.measure_quality(clip, __file__)
    with pytest.raises(FileNotFoundError):
        analysis.measure_quality(clip, clip.with_name("none.mp4"))


def test_a_cluster_runs_a_matrix(cluster: ffrtmp.Cluster, tmp_path: pathlib.Path) -> None:
    entries = [scenario(name="two", type="multi", count=2, resolution="256x144", fps=25), scenario(name="none", encoder="h264_nvenc")]
    study = matrix.run(matrix.Matrix.parse({"scenarios": entries}), on=cluster, outputs=tmp_path / "kept")
    two, none = study.rows
    assert (two["state"], two["count"], two["width"], two["node"]) == ("completed", 2, 256, "agent-1")
    assert len(list((tmp_path / "kept").iterdir())) == 2 and "quality: " in two["missing"]
    nvenc = any("h264_nvenc" in node["capabilities"]["encoders"] for node in cluster.client().nodes())
    assert nvenc or (none["state"] == "failed" and "capability_missing" in none["missing"])
    assert not cluster.client().list(state=["queued", "running", "assigned"], classification="benchmark")


def test_without_clips_a_test_picture_is_encoded() -> None:
    (row,) = matrix.run(matrix.Matrix.parse({"scenarios": [scenario(resolution="256x144", fps=25)]}), quality=False).rows
    assert (row["state"], row["input"], row["frames"]) == ("completed", None, 8)


def test_a_failed_scenario_is_a_row_and_the_others_run(clip: pathlib.Path) -> None:
    (clip.parent / "broken.mp4").write_text("no media")
    entries = [scenario(name="bad", input=str(clip.parent / "broken.mp4")), scenario(name="good")]
    bad, good = matrix.run(matrix.Matrix.parse({"scenarios": entries}), clip, quality=False).rows
    assert (bad["state"], bad["total_energy_wh"], good["state"]) == ("failed", None, "completed")
    assert bad["missing"]


def test_missing_clips_and_wrong_directories_are_refused_before_any_work(clip: pathlib.Path, tmp_path: pathlib.Path) -> None:
    one = matrix.Matrix.parse({"scenarios": [scenario()]})
    for wrong in (tmp_path / "none.mp4", "x" * 10_000, "a\0b", tmp_path):
        with pytest.raises(FileNotFoundError):
            matrix.run(one, wrong)
    with pytest.raises(ffrtmp.OutputError):
        matrix.run(one, clip, quality=False, results=tmp_path / "none" / "results.json")
    with pytest.raises(ffrtmp.InvalidError):
        matrix.run(one, clip, watts_per_core=math.nan)
    with pytest.raises(ffrtmp.InvalidError):
        matrix.run(matrix.Matrix((matrix.Scenario("single", "by hand", math.nan, bitrate=1e6),)), clip)


def counters(root: pathlib.Path, microjoules: int) -> None:
    for folder, name, value in [("intel-rapl:0", "package-0", microjoules), ("intel-rapl:0:0", "core", microjoules), ("intel-rapl:1", "psys", 5)]:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for file, text in [("name", name), ("energy_uj", str(value)), ("max_energy_range_uj", "262143328850")]:
            (root / folder / file).write_text(f"{text}\n")


def test_a_meter_counts_and_the_idle_machine_is_subtracted(clip: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "powercap"
    counters(root, 262_143_000_000)
    meter = Meter(root)
    counters(root, 1_671_150)  # it turned over: 2 J
    assert meter.works and meter.joules() == pytest.approx(2.0)
    used = iter(range(10_000_000, 10_000_000_000, 10_000_000))

    def look(self: Meter) -> float:
        return next(used) / 1e6  # 10 J more at every look

    monkeypatch.setattr(Meter, "joules", look)
    monkeypatch.setattr("ffrtmp.matrix.study.worker_for", lambda _on, **_named: Local(meter=meter))
    entries = [{"type": "baseline", "name": "idle", "duration": 0.2}, scenario()]
    idle, row = matrix.run(matrix.Matrix.parse({"scenarios": entries}), clip, quality=False).rows
    assert idle["mean_power_w"] > 0 and idle["energy_source"] == row["energy_source"] == "rapl" and row["modelled"] is False
    assert row["net_power_w"] == pytest.approx(row["mean_power_w"] - idle["mean_power_w"])
    assert row["net_energy_wh"] == pytest.approx(row["total_energy_wh"] - idle["mean_power_w"] * row["wall_seconds"] / 3600)


def test_an_interruption_keeps_what_was_measured(clip: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "tmp").mkdir()
    entries = [scenario(name="quick"), scenario(name="endless", type="multi", count=2, duration=1, stabilization=3600)]
    (tmp_path / "matrix.json").write_text(json.dumps({"scenarios": entries}))
    command = [sys.executable, "-m", "ffrtmp", "matrix", "matrix.json", "--input", str(clip), "--no-quality"]
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        for line in process.stderr:
            if "[2/2]" in line:
                break
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        said = process.stderr.read()
        assert process.wait(30) == 130 and "interrupted" in said, said
        assert time.monotonic() - started < 20
    assert [row["name"] for row in json.loads((tmp_path / "results.json").read_text())["scenarios"]] == ["quick"]
    assert list((tmp_path / "tmp").iterdir()) == []


EXAMPLES = pathlib.Path(__file__).parents[2] / "examples" / "python"


def test_the_study_of_the_examples_runs(clip: pathlib.Path) -> None:
    for package in ("matplotlib", "imageio_ffmpeg"):
        pytest.importorskip(package)
    run = subprocess.run([sys.executable, EXAMPLES / "codec_study.py", clip], cwd=clip.parent, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "that reach VMAF>=70" in run.stdout and (clip.parent / "report.html").stat().st_size > 10_000


def test_the_notebook_runs(clip: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    for package in ("matplotlib", "imageio_ffmpeg", "pandas", "ipykernel"):
        pytest.importorskip(package)
    monkeypatch.setenv("FFRTMP_CLIP", str(clip))
    notebook = nbformat.read(EXAMPLES / "energy_study.ipynb", as_version=4)
    client.NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(clip.parent)}}).execute()
    outputs = json.dumps([cell.get("outputs", []) for cell in notebook.cells])
    assert "image/png" in outputs and "text/html" in outputs and "that reach VMAF>=70" in outputs
