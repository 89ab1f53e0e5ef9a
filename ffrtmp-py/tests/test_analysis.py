"""What a person who analyses results notices."""

from __future__ import annotations

import doctest
import importlib
import json
import math
import pathlib
import pkgutil
import re
import subprocess
import sys
from typing import Any

import ffrtmp
import pytest
from ffrtmp import analysis

pa = pytest.importorskip("pyarrow")


def row(name: str = "a", **values: Any) -> dict[str, Any]:
    """A row of a matrix: 10 s of 640x360 at 25 frames per second."""
    told = {"name": name, "input": "clip.mp4", "codec": "h264", "resolution": "640x360", "fps": 25.0, "frames": 250}
    told |= {"duration": 10.0, "wall_seconds": 2.0, "cpu_seconds": 4.0, "size": 1_000_000, "count": 1, "state": "completed"}
    return {**told, "total_energy_wh": 0.01, "mean_power_w": 18.0, "energy_source": "rapl", **values}


def job(index: int = 0, **result: Any) -> dict[str, Any]:
    """A job as `GET /jobs` tells it."""
    told = {"duration_seconds": 10.0, "frames": 300, "wall_seconds": 2.0, "cpu_seconds": 4.0, "energy_joules": 14.0}
    told |= {"energy_source": "modelled", "size_bytes": 1_000_000, "resolution": "1280x720", "video_codec": "h264"}
    parameters = {"bitrate": "2M", "preset": "fast"}
    return {
        "id": f"{index:032x}", "sequence_number": index + 1, "state": "completed", "scenario": "720p30-h264",
        "parameters": parameters, "labels": {"name": f"job {index}"}, "error": None, "node_name": "n",
        "result": {**told, **result}, "state_transitions": [{"from": "queued", "to": "running"}, {"from": "running", "to": "completed"}],
    }  # fmt: skip


def test_documentation_of_every_module_holds() -> None:
    for package in ("ffrtmp.analysis", "ffrtmp.matrix"):
        root = importlib.import_module(package)
        names = [package, *(f"{package}.{each.name}" for each in pkgutil.iter_modules(root.__path__) if each.name != "__main__")]
        for name in names:
            assert doctest.testmod(importlib.import_module(name), raise_on_error=False).failed == 0, name


def test_jobs_become_the_columns_of_the_contract() -> None:
    results = analysis.Results.of([job(0), job(1, energy_joules=None, energy_source=None, vmaf=91.0)])
    first, second = results.rows()
    assert first["name"] == "job 0" and first["bitrate"] == 2e6 and first["fps"] == 30.0 and first["speed"] == 5.0
    assert first["mean_power_w"] == 7.0 and first["total_energy_wh"] == pytest.approx(14 / 3600) and first["modelled"] is True
    assert (second["total_energy_wh"], second["modelled"], second["vmaf"], second["efficiency_score"]) == (None, None, 91.0, None)
    contract = "name bitrate resolution fps duration mean_power_w total_energy_wh cpu_seconds speed vmaf psnr ssim size"
    assert {*contract.split(), "efficiency_score", "efficiency_rank", "energy_source", "modelled"} <= set(results.columns)
    assert results.arrow().column_names == [each.name for each in analysis.COLUMNS]


def test_a_ladder_counts_the_pixels_of_every_rendition() -> None:
    renditions = [{"resolution": "1280x720", "frames": 300}, {"resolution": "640x360", "frames": 300}]
    expected = 300.0 * (1280 * 720 + 640 * 360)
    assert analysis.Results.of([job(renditions=renditions)])["pixels"][0] == expected
    document = json.dumps({"jobs": [job(renditions=renditions), job(renditions=renditions[:1])]}).encode()
    shape, raws = importlib.import_module("ffrtmp.analysis.documents").read_document(importlib.import_module("io").BytesIO(document))
    assert analysis.Results.of_batches(shape, raws)["pixels"].tolist() == [expected, 300.0 * 1280 * 720]


def test_scores_are_their_formulas() -> None:
    results = analysis.Results.of([row(vmaf=90.0)])
    joules, pixels = 36.0, 640 * 360 * 250
    assert results["pixels_per_joule"][0] == pytest.approx(pixels / joules)
    assert results["qoe_efficiency"][0] == pytest.approx(0.9 * pixels / joules)
    assert results["quality_per_watt"][0] == pytest.approx(90 / 18)
    assert results["throughput_per_watt"][0] == pytest.approx(8.0 / 2.0 / 18.0)
    assert results["wh_per_hour"][0] == pytest.approx(3.6)
    assert (results.metric, results.basis) == ("qoe_efficiency", "total")


def test_one_ranking_has_one_metric_and_one_basis() -> None:
    rows = [row("a", vmaf=90.0, net_energy_wh=0.004, net_power_w=7.2), row("b", total_energy_wh=0.02, net_energy_wh=0.01, net_power_w=9.0)]
    results = analysis.Results.of(rows)
    assert (results.metric, results.basis) == ("pixels_per_joule", "net")  # not every row has a VMAF
    assert results["pixels_per_joule"][0] == pytest.approx(640 * 360 * 250 / 14.4)
    total = results.rescored(basis="total", metric="throughput_per_watt")
    assert total["efficiency_score"][0] == pytest.approx(4 / 18)
    rows[1]["net_energy_wh"] = None
    assert analysis.Results.of(rows).basis == "total"


def test_what_is_missing_is_nan_and_said() -> None:
    results = analysis.Results.of([row(total_energy_wh=None, mean_power_w=None, energy_source=None, missing="energy: no meter"), row("b", preset="x", energy_source="modelled")])
    frame = pytest.importorskip("pandas") and results.to_pandas()
    assert math.isnan(frame["vmaf"][0]) and math.isnan(frame["efficiency_rank"][0]) and frame["efficiency_rank"][1] == 1
    notes = " | ".join(results.notes)
    for part in ("total_energy_wh is missing in 1 of 2 rows", "vmaf is missing in all rows", "energy: no meter", "modelled"):
        assert part in notes, notes
    (choice,) = analysis.recommend(results, target="VMAF>=80")
    assert choice.best is None and "was not measured" in choice.reason
    mixed = analysis.Results.of([row(), row("b", energy_source="modelled")])
    assert any("do not compare" in note for note in mixed.notes)


SAMPLED: list[dict[str, Any]] = [
    {"name": "baseline idle", "bitrate": "0k", "resolution": "0x0", "avg_fps": 0, "duration": 60, "encoder_type": "none", "power_watts": [20.0, 30.0],
     "start_time": 1000, "end_time": 1060, "pixels_processed": 0, "vmaf_score": 0, "psnr_score": 0, "ssim_score": 0, "total_frames": 0},
    {"name": "2 streams @ 2500k", "bitrate": "2500k", "resolution": "1280x720", "avg_fps": 30.0, "duration": 120.0, "encoder_type": "libx264",
     "power_watts": [40.0, 50.0, 60.0], "cpu_usage_cores": [2.0, 3.0], "start_time": 2000, "end_time": 2120, "ssim_score": 0.98, "vmaf_score": 92.5},
    {"name": "ladder", "bitrate": "5000k", "resolution": "1280x720", "fps": 30, "duration": 10, "encoder": "h264", "preset": "veryfast",
     "start_time": 3000, "end_time": 3010, "power": {"mean_watts": 45.0, "total_energy_joules": 450.0}, "vmaf_score": 95,
     "outputs": [{"resolution": "1280x720", "fps": 30}, {"resolution": "640x360", "fps": 30}]},
    {"name": "2 Streams (Mixed)", "bitrate": "1000k,3000k", "resolution": "1280x720", "fps": 30, "duration": 10, "outputs": None},
    {"name": "left", "bitrate": "0k", "duration": 23.4, "encoder_type": "auto", "start_time": 4000, "end_time": 4025},
]  # fmt: skip


def test_results_of_the_predecessor_are_ranked(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "test_results.json"
    path.write_text(json.dumps({"test_date": "2024-01-15T10:30:00", "scenarios": SAMPLED}))
    results = analysis.read(path)
    idle, two, ladder, mixed, left = results.rows()
    assert (idle["type"], idle["efficiency_rank"], idle["vmaf"], results.basis) == ("baseline", None, None, "net")
    assert (two["count"], two["codec"], two["encoder"], two["fps"], two["ssim"], two["cpu_seconds"]) == (2, "h264", "libx264", 30.0, 0.98, 300.0)
    assert (two["mean_power_w"], two["net_power_w"], two["total_energy_wh"]) == (50.0, 25.0, pytest.approx(50 * 120 / 3600))
    assert two["net_energy_wh"] == pytest.approx(25 * 120 / 3600) and two["pixels"] == 1280 * 720 * 30 * 120 * 2
    assert ladder["pixels"] == (1280 * 720 + 640 * 360) * 300 and ladder["net_energy_wh"] == pytest.approx(200 / 3600)
    assert (mixed["bitrate"], mixed["total_energy_wh"], left["total_energy_wh"]) == (2e6, None, None)
    assert {row["name"]: row["efficiency_rank"] for row in (two, ladder)} == {"2 streams @ 2500k": 1, "ladder": 2}
    assert analysis.recommend(results, target="VMAF>=90")[0].best is not None
    # Numbers instead of texts are read by Arrow itself.
    numbers = [{**row, "bitrate": 0 if row["bitrate"] == "0k" else 2_000_000} for row in SAMPLED]
    path.write_text(json.dumps({"scenarios": numbers}))
    assert analysis.read(path) == analysis.Results.of(numbers)


def test_a_pipe_is_a_source(tmp_path: pathlib.Path) -> None:
    program = "import sys; from ffrtmp.__main__ import main; sys.exit(main(['analyze', '/dev/stdin', '--output', 'json']))"
    for text in (json.dumps({"scenarios": SAMPLED}), json.dumps([job(1), job(2)])):
        run = subprocess.run([sys.executable, "-c", program], input=text, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        assert len(json.loads(run.stdout)["scenarios"]) == len(json.loads(text).get("scenarios", []) if text[0] == "{" else json.loads(text))


def test_wrong_questions_are_refused() -> None:
    results = analysis.Results.of([row()])
    for ask, field in [
        (lambda: results.where(count="many"), "count"),
        (lambda: results.where(frames=2**70), "frames"),
        (lambda: results.where(colour="red"), "colour"),
        (lambda: analysis.plot_rate_quality(results, quality="vamf"), "quality"),  # type: ignore[arg-type]
        (lambda: analysis.plot_front(results, quality="vamf"), "quality"),  # type: ignore[arg-type]
        (lambda: analysis.compare(results, results, quality="x" * 10_000), "quality"),  # type: ignore[arg-type]
        (lambda: analysis.read("https://" + "x" * 100_000_000), "source"),
        (lambda: analysis.Results.of([row(bitrate="2,5M")]), "scenarios[0].bitrate"),
        (lambda: analysis.Results.of([row(power_watts=[1.0, "2"])]), "scenarios[0].power_watts"),
        (lambda: analysis.Results.of([row(power_watts=[math.nan])]), "scenarios[0].power_watts"),
        (lambda: analysis.Results.of([row(power_watts=[10**400])]), "scenarios[0].power_watts"),
        (lambda: analysis.Results.of([row(outputs=[{"resolution": "720p"}])]), "scenarios[0].outputs"),
    ]:
        with pytest.raises(analysis.AnalysisError) as raised:
            ask()
        assert raised.value.field == field and raised.value.hint and len(str(raised.value)) < 600


HOSTILE = [
    ('{"jobs": [{"sequence_number": 1, "result": {"cpu_seconds": NaN}}]}', 0, "jobs[0].result.cpu_seconds", "not a finite"),
    ('{"jobs": [{"sequence_number": 1}, {"result": {"cpu_seconds": 1e999}}]}', 1, "jobs[1].result.cpu_seconds", "not a finite"),
    ('{"jobs": [{"sequence_number": 1}, {"result": [1]}]}', 1, "jobs[1].result", "is a list, not an object"),
    ('{"jobs": [{"sequence_number": 1}, 7]}', 1, "jobs[1]", "is 7, not an object"),
    ('{"jobs": [{"sequence_number": 1, "result": {"frames": true}}]}', 0, "jobs[0].result.frames", "is True, not a whole number"),
    ('{"jobs": [{"sequence_number": 1, "result": {"frames": 1.5}}]}', 0, "jobs[0].result.frames", "is 1.5, not a whole number"),
    ('{"jobs": [{"sequence_number": 1, "result": {"frames": -1}}]}', 0, "jobs[0].result.frames", "is not between 0 and 1e+18 (-1)"),
    (f'{{"jobs": [{{"sequence_number": 1, "result": {{"frames": 1{"0" * 5000}}}}}]}}', 0, "jobs[0].result.frames", "inf"),
    (f'{{"jobs": [{{"sequence_number": 1, "result": {{"frames": 1{"0" * 20}}}}}]}}', 0, "jobs[0].result.frames", "too large"),
    ('{"jobs": [{"sequence_number": 1, "result": {"vmaf": 101}}]}', 0, "jobs[0].result.vmaf", "is not between 0 and 100"),
    ('{"jobs": [{"sequence_number": 1, "scenario": 5}]}', 0, "jobs[0].scenario", "is 5, not text"),
    (f'{{"jobs": [{{"sequence_number": 1, "scenario": "{"x" * 5000}"}}]}}', 0, "jobs[0].scenario", "longer than 4096"),
    ('{"jobs": [{"sequence_number": 1, "scenario": "\\ud800"}]}', 0, "jobs[0].scenario", "half a character"),
    ('{"jobs": [{"sequence_number": 1, "parameters": {"bitrate": "fast"}}]}', 0, "jobs[0].parameters.bitrate", "is not a bit rate"),
    ('{"scenarios": [{"name": "a"}, {"name": "b", "bitrate": "lots"}]}', 1, "scenarios[1].bitrate", "is not a bit rate"),
    ('{"scenarios": [{"name": "a", "modelled": 1}]}', 0, "scenarios[0].modelled", "not true or false"),
    ('{"scenarios": {"name": "a"}}', None, "scenarios", "not a list"),
    ('{"jobs": [{"sequence_number": 1, "result": {"renditions": [{"resolution": 1}, {}]}}]}', 0, "jobs[0].result.renditions", "without size"),
    (f'{{"scenarios": {"[" * 200_000}', None, "document", "nested too deeply"),
    (f'{{"scenarios": [{{"name": {"[" * 200_000}{"]" * 200_000}}}]}}', None, "document", "nested too deeply"),
    ('{"x": 1}', None, "document", "holds no results"),
    ("nonsense", None, "document", "is not JSON"),
    ("", None, "document", "is not JSON"),
    ("5", None, "document", "not an object"),
]


@pytest.mark.parametrize(("text", "index", "field", "said"), HOSTILE)
def test_a_hostile_document_is_refused_by_index_and_field(text: str, index: int | None, field: str, said: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(analysis.AnalysisError) as raised:
        analysis.read(path)
    assert (raised.value.index, raised.value.field) == (index, field), raised.value
    assert said in str(raised.value) and len(str(raised.value)) < 600


def test_bytes_that_are_no_text_and_files_that_are_none_are_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(b'{"scenarios": [{"name": "\xff"}]}')
    with pytest.raises(analysis.AnalysisError, match="no UTF-8"):
        analysis.read(path)
    for wrong, kind in [(tmp_path / "none.json", FileNotFoundError), (tmp_path, ffrtmp.InputError), ("a\0b", ffrtmp.InvalidError)]:
        with pytest.raises(kind) as raised:
            analysis.read(wrong)
        assert isinstance(raised.value, ffrtmp.FfrtmpError) and raised.value.hint
    with pytest.raises(ConnectionError):
        analysis.read("http://127.0.0.1:9/results.json")


@pytest.mark.parametrize("layout", ["compact", "spaced", "indented", "array", "lines", "reversed", "odd"])
def test_a_document_says_the_same_in_every_layout(layout: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [job(index, vmaf=50.0 + index / 100) for index in range(3000)]
    # A name that looks like the border between two objects.
    jobs[7]["labels"]["name"] = '},{"id":"'
    document: Any = {"jobs": jobs, "count": len(jobs), "next_cursor": None}
    if layout == "reversed":
        document = {"next_cursor": '"jobs": [{', "extra": {"jobs": [{"id": "not this one"}]}, "jobs": jobs}
    text = {
        "compact": lambda: json.dumps(document, separators=(",", ":")),
        "indented": lambda: json.dumps(document, indent=1),
        "array": lambda: json.dumps(jobs),
        "lines": lambda: "\n".join(map(json.dumps, jobs)),
        "odd": lambda: json.dumps(document).replace('}, {"id"', '},\n\t{"id"', 5),
    }.get(layout, lambda: json.dumps(document))()
    path = tmp_path / "results.json"
    path.write_text(text)
    expected = analysis.Results.of(jobs)
    assert analysis.read(path) == expected
    # Cut anywhere, in the middle of what parts two objects too.
    for block in (65_537, 200_003):
        monkeypatch.setattr("ffrtmp.analysis.documents.BLOCK", block)
        assert analysis.read(path) == expected


MEASURE = """
import gc, json, resource, sys, time
import pandas, polars, pyarrow.compute, pyarrow.json
from ffrtmp import analysis
analysis.read(sys.argv[1]).to_pandas()
gc.collect()
before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
frame = analysis.read(sys.argv[2]).to_pandas()
cpu, peak = time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.process_time()
with open(sys.argv[2]) as file:
    json.load(file)
parsing = time.process_time() - started
print(json.dumps([len(frame), (peak - before) / 1024, cpu / parsing, float(frame["cpu_seconds"].sum())]))
"""


def test_a_hundred_thousand_results_take_little_memory_and_time(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("polars")
    line = json.dumps(job())
    for name, rows in [("few.json", 10), ("many.json", 100_000)]:
        with (tmp_path / name).open("w") as file:
            file.write('{"jobs": [' + ", ".join([line] * rows) + "]}")
    run = [sys.executable, "-c", MEASURE, str(tmp_path / "few.json"), str(tmp_path / "many.json")]
    rows, megabytes, ratio, total = json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    assert (rows, total) == (100_000, 400_000.0)
    assert megabytes <= 200
    # Processor time beside what reading the same text takes: seconds say more of the machine.
    assert ratio <= 1


def test_arrow_pandas_and_polars_hold_the_same() -> None:
    pytest.importorskip("pandas")
    polars = pytest.importorskip("polars")
    results = analysis.Results.of([row("a", vmaf=90.0), row("b")])
    assert results.to_pandas()["vmaf"].isna().tolist() == [False, True]
    assert results.to_pandas(arrow=True)["name"].tolist() == ["a", "b"]
    assert results.to_polars()["vmaf"].to_list() == [90.0, None]
    assert polars.DataFrame(results).equals(results.to_polars())
    pickle = importlib.import_module("pickle")
    assert pickle.loads(pickle.dumps(results)) == results
    assert "<b>" not in analysis.Results.of([row("<b>x")])._repr_html_()


def test_the_curves_are_those_of_the_reference() -> None:
    reference = pytest.importorskip("bjontegaard")
    numpy = importlib.import_module("numpy")
    random = numpy.random.default_rng(7)
    for _ in range(50):
        curves: list[Any] = []
        for _ in range(2):
            points = int(random.integers(4, 8))
            curves += [numpy.sort(random.uniform(100, 9000, points)), numpy.sort(random.uniform(60, 99, points))]
        if min(curves[1][-1], curves[3][-1]) - max(curves[1][0], curves[3][0]) < 1:
            continue
        options: dict[str, Any] = {"require_matching_points": False, "min_overlap": 0}
        methods: list[analysis.Method] = ["pchip", "cubic"]
        for method in methods:
            assert analysis.bd_rate(*curves, method=method) == pytest.approx(reference.bd_rate(*curves, method=method, **options), rel=1e-6, abs=1e-6)
            if min(curves[0][-1], curves[2][-1]) > max(curves[0][0], curves[2][0]):
                expected = reference.bd_psnr(*curves, method=method, **options)
                assert analysis.bd_quality(*curves, method=method) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("curves", "said"),
    [
        (([1, 2], [1, 2], [1, 2], [3, 4]), "share no quality"),
        (([1], [1], [1, 2], [3, 4]), "has 1 points"),
        (([1, 2], [2, 1], [1, 2], [1, 2]), "more rate gives no more quality"),
        (([1, -2], [2, 1], [1, 2], [1, 2]), "not above zero"),
        (([1, math.nan], [1, 2], [1, 2], [1, 2]), "not finite"),
        (([1, 2, 3], [1, 2], [1, 2], [1, 2]), "one quality for each rate"),
        ((["a", "b"], [1, 2], [1, 2], [1, 2]), "no number"),
    ],
)
def test_curves_that_say_nothing_are_refused(curves: Any, said: str) -> None:
    with pytest.raises(analysis.AnalysisError, match=said):
        analysis.bd_rate(*curves)


def test_the_front_is_what_nothing_beats() -> None:
    numpy = importlib.import_module("numpy")
    random = numpy.random.default_rng(3)
    rows = [row(str(index), vmaf=float(random.integers(50, 99)), size=int(random.integers(1, 60))) for index in range(200)]
    front = {each["name"] for each in analysis.pareto_front(analysis.Results.of([*rows, row("x", vmaf=None)]), cost="size").rows()}
    values = {(each["size"], each["vmaf"]) for each in rows}
    for each in rows:
        beaten = any(size <= each["size"] and vmaf >= each["vmaf"] and (size, vmaf) != (each["size"], each["vmaf"]) for size, vmaf in values)
        assert each["name"] not in front if beaten else any(r["name"] in front and (r["size"], r["vmaf"]) == (each["size"], each["vmaf"]) for r in rows)


def test_the_recommendation_is_the_cheapest_that_is_good_on_every_clip() -> None:
    def tried(preset: str, wh: float, vmafs: dict[str, float], size: int = 1_000_000) -> list[dict[str, Any]]:
        return [row(f"{preset} {clip}", preset=preset, input=clip, total_energy_wh=wh, vmaf=vmaf, size=size) for clip, vmaf in vmafs.items()]

    rows = tried("ultrafast", 0.01, {"easy": 95, "hard": 70}) + tried("fast", 0.02, {"easy": 96, "hard": 86}, 2_000_000)
    rows += tried("slow", 0.08, {"easy": 97, "hard": 90}, 500_000) + tried("lucky", 0.001, {"easy": 99})
    results = analysis.Results.of(rows)

    def best(**wishes: Any) -> str | None:
        (choice,) = analysis.recommend(results, **wishes)
        return choice.best.name if choice.best else None

    assert best() == "h264 ultrafast"
    assert best(target="VMAF>=85") == "h264 fast"
    assert best(target="VMAF>=85", prices=analysis.Prices(per_gb=1.0)) == "h264 slow"
    assert best(target="VMAF>=91") is None and best(target="VMAF>=85", energy_budget_wh=5.0) is None
    with pytest.raises(ValueError, match="is no price"):
        analysis.Prices(per_kwh=math.nan)


def test_plots_and_reports_stand_alone(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("matplotlib")
    name = '<script>alert("$x_$")</script> \u202e 動画'
    rows = [row(f"{name} {rate}", output_bitrate=rate, vmaf=vmaf, preset="$fast$") for rate, vmaf in [(1e5, 70.0), (2e5, 85.0)]]
    results = analysis.Results.of([*rows, row("nothing", total_energy_wh=None, vmaf=None)])
    page = analysis.write_report(results, tmp_path / "report.html", title=name, target="VMAF>=80").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page and "VMAF&gt;=80" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert analysis.write_report(results, tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    nothing = analysis.Results.of([row(total_energy_wh=None)])
    assert "unknown" in analysis.write_report(nothing, tmp_path / "empty.html").read_text() or nothing.notes
    with pytest.raises(analysis.AnalysisError, match="neither"):
        analysis.write_report(results, tmp_path / "report.pdf")
    with pytest.raises(PermissionError):
        analysis.write_report(results, tmp_path / "none" / "report.png")


def test_a_master_is_a_source(cluster: ffrtmp.Cluster) -> None:
    client = cluster.client()
    jobs = [{"scenario": "144p-h264-test", "duration": 0.2, "labels": {"study": "analysis", "name": f"n{index}"}} for index in range(3)]
    client.wait(client.submit_many(jobs), check=True)
    results = analysis.read(cluster, filters={"labels": {"study": "analysis"}})
    assert sorted(filter(None, results.texts("name"))) == ["n0", "n1", "n2"]
    assert results == analysis.read(client.list(labels={"study": "analysis"}))
    assert analysis.read(cluster.url, api_key=cluster.api_key, filters={"labels": {"study": "analysis"}}) == results
    assert len(analysis.read(client, filters={"labels": {"study": "none"}})) == 0
    with pytest.raises(ffrtmp.UnauthorizedError):
        analysis.read(cluster.url, api_key="wrong")


def test_reports_of_transcodes_are_a_source(clip: pathlib.Path) -> None:
    report = ffrtmp.transcode(clip, clip.with_name("out.mp4"), scenario="144p-h264")
    results = analysis.read([report])
    assert results["frames"][0] == report.frames and results[0]["total_energy_wh"] is None


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(analysis.MissingExtraError, match=r"pip install 'ffrtmp\[pandas\]'"):
        analysis.Results.of([row()]).to_pandas()
    code = "import sys; sys.modules['pyarrow'] = sys.modules['numpy'] = None; from ffrtmp import analysis; analysis.Results.of([])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ffrtmp[analysis]" in run.stderr and run.returncode == 1


def test_the_command_ranks_and_recommends(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = importlib.import_module("ffrtmp.__main__").main
    path = tmp_path / "results.json"
    rows = [row("slow\x1b[31m", preset="slow", total_energy_wh=0.05, vmaf=95.0), row("fast", preset="fast", vmaf=88.0), row("=cmd()", preset="x", vmaf=50.0)]
    path.write_text(json.dumps({"scenarios": rows}))
    assert command(["analyze", str(path), "--target", "VMAF>=85"]) == 0
    told = capsys.readouterr().out
    assert "640x360: h264 fast – the least energy of 2 settings that reach VMAF>=85" in told
    assert "\x1b" not in told and told.index("fast") < told.index("slow")
    assert command(["analyze", str(path), "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["metric"] == "qoe_efficiency"
    assert command(["analyze", str(path), "--output", "csv"]) == 0
    assert "'=cmd()" in capsys.readouterr().out
    assert command(["analyze", str(tmp_path / "none.json")]) == ffrtmp.explain("input_not_found").exit_code
    assert "hint:" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command(["analyze", str(path), "--target", "VMAF>=170"])
