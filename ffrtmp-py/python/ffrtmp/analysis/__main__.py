"""``python -m ffrtmp analyze`` and ``python -m ffrtmp matrix``."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ffrtmp.analysis.efficiency import BASES, METRICS
from ffrtmp.analysis.errors import fault, shown
from ffrtmp.analysis.quantities import Target
from ffrtmp.errors import FfrtmpError

_COLUMNS = {
    "efficiency_rank": "rank",
    "name": "name",
    "input": "input",
    "codec": "codec",
    "preset": "preset",
    "bitrate": "asked b/s",
    "resolution": "size",
    "vmaf": "VMAF",
    "psnr": "PSNR dB",
    "ssim": "SSIM",
    "speed": "speed",
    "mean_power_w": "W",
    "wh_per_hour": "Wh/h",
    "efficiency_score": "score",
}
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``analyze`` or ``matrix``; returns the exit code, which is that of the error's class."""
    try:
        given = _parser().parse_args(arguments)
        code: int = given.run(given)
        sys.stdout.flush()
        return code
    except FfrtmpError as error:
        print(f"ffrtmp: error: {_line(error.message)} ({error.code})", file=sys.stderr)
        if error.hint:
            print(f"hint: {_line(error.hint)}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # The reader has seen enough; the interpreter must not flush into the pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("ffrtmp: interrupted", file=sys.stderr)
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ffrtmp", description="Analyse encodes, and run what is to be analysed.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    _add_analyze(verbs.add_parser("analyze", help="rank results and recommend settings"))
    _add_matrix(verbs.add_parser("matrix", help="run a test matrix and write results"))
    return parser


def _add_analyze(verb: argparse.ArgumentParser) -> None:
    verb.set_defaults(run=_analyze)
    verb.add_argument("source", help="results.json, or the URL of a master or of such a file")
    verb.add_argument("--metric", choices=("auto", *METRICS), default="auto", help="what the score is")
    verb.add_argument("--basis", choices=BASES, default="auto", help="count all energy, or less the idle machine's")
    verb.add_argument("--target", metavar='"VMAF>=85"', type=_target, help="quality that a setting must reach on every clip")
    verb.add_argument("--energy-budget", metavar="WH", type=float, help="most energy for one hour of video")
    verb.add_argument("--price-kwh", metavar="PRICE", type=float, default=0.0, help="of electricity; decides by money")
    verb.add_argument("--price-cpu-hour", metavar="PRICE", type=float, default=0.0, help="of one hardware thread")
    verb.add_argument("--price-gb", metavar="PRICE", type=float, default=0.0, help="of storing or sending the output")
    verb.add_argument("--limit", metavar="N", type=int, default=30, help="rows of the ranking (default 30)")
    verb.add_argument("--output", choices=("table", "json", "csv"), default="table")
    verb.add_argument("--report", metavar="FILE", help="also write a report: .html or .png")
    verb.add_argument("--filter", metavar="KEY=VALUE", action="append", default=[], type=_pair, help="of a master's jobs, such as scenario=720p")
    _add_access(verb)


def _add_matrix(verb: argparse.ArgumentParser) -> None:
    verb.set_defaults(run=_matrix)
    verb.add_argument("matrix", help="matrix.json")
    verb.add_argument("--input", metavar="CLIP", action="append", default=[], help="clip to encode, repeatable; else a test picture")
    verb.add_argument("--results", metavar="FILE", default="results.json", help="where results go (default results.json)")
    verb.add_argument("--outputs", metavar="DIR", help="keep the encoded files there")
    verb.add_argument("--master", metavar="URL", help="let the agents of a master encode")
    verb.add_argument("--quality", action=argparse.BooleanOptionalAction, help="measure VMAF, PSNR and SSIM")
    verb.add_argument("--watts-per-core", metavar="W", type=float, default=3.5, help="where no meter can be read (default 3.5)")
    verb.add_argument("--rests", action=argparse.BooleanOptionalAction, default=True, help="keep to stabilization and cooldown")
    verb.add_argument("--dry-run", action="store_true", help="only check the matrix")
    _add_access(verb)


def _add_access(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--api-key", metavar="KEY", help="of the master; else MASTER_API_KEY")
    verb.add_argument("--ca", metavar="PEM", help="authorities to trust")
    verb.add_argument("--insecure-skip-verify", action="store_true", help="take any certificate")


def _target(text: str) -> Target:
    try:
        return Target.parse(text)
    except FfrtmpError as error:
        raise argparse.ArgumentTypeError(f"{error.message}; {error.hint}") from error


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not KEY=VALUE")
    return key, value


def _analyze(given: argparse.Namespace) -> int:
    from ffrtmp.analysis import Prices, read, recommend, write_report

    results = read(
        given.source,
        metric=given.metric,
        basis=given.basis,
        filters=dict(given.filter),
        api_key=given.api_key,
        ca=given.ca,
        insecure_skip_verify=given.insecure_skip_verify,
    )
    prices = Prices(per_kwh=given.price_kwh, per_cpu_hour=given.price_cpu_hour, per_gb=given.price_gb)
    wishes: dict[str, Any] = {"target": given.target, "energy_budget_wh": given.energy_budget, "prices": prices}
    choices = recommend(results, **wishes)
    ranked = results.ranked()
    if given.output == "json":
        taken = [{"resolution": each.resolution, "setting": each.best.name if each.best else None, "reason": each.reason} for each in choices]
        document = {"metric": results.metric, "basis": results.basis, "scenarios": ranked.rows(), "recommendations": taken, "notes": results.notes}
        print(json.dumps(document, ensure_ascii=False))
    elif given.output == "csv":
        writer = csv.DictWriter(sys.stdout, ranked.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _inert(value) for name, value in row.items()} for row in ranked)
    else:
        print(_ranking(ranked, given.limit))
        print(f"\nscore: {results.metric.replace('_', ' ')} over {results.basis} energy")
        print("\nrecommendation")
        for each in choices:
            print(f"  {_line(str(each))}")
        if not choices:
            print("  there is nothing to recommend")
        for note in results.notes:
            print(f"note: {_line(note)}")
    if given.report:
        path = write_report(results, given.report, title=f"Encoding study: {Path(given.source).name[:80]}", **wishes)
        print(f"report: {path}", file=sys.stderr)
    return 0


def _matrix(given: argparse.Namespace) -> int:
    from ffrtmp.client import Client
    from ffrtmp.matrix import Matrix, run

    matrix = Matrix.load(given.matrix)
    if given.dry_run:
        print(f"{len(matrix)} scenarios, {sum(scenario.duration * scenario.count for scenario in matrix):g} s of video for each clip")
        return 0
    if not Path(given.results).absolute().parent.is_dir():
        raise fault("its directory does not exist", field="results", hint="make the directory first")
    on = Client(given.master, api_key=given.api_key, ca=given.ca, insecure_skip_verify=given.insecure_skip_verify) if given.master else None
    study = run(
        matrix,
        given.input,
        on=on,
        results=given.results,
        outputs=given.outputs,
        quality=given.quality,
        watts_per_core=given.watts_per_core,
        rests=given.rests,
        progress=_told,
    )
    failed = [row for row in study.rows if row["state"] == "failed"]
    for row in failed:
        print(f"failed: {_line(row['name'])}: {_line(row['missing'] or '')}", file=sys.stderr)
    print(f"{len(study.rows)} rows in {given.results}; python -m ffrtmp analyze {given.results}", file=sys.stderr)
    return 1 if failed else 0


def _told(done: int, steps: int, name: str) -> None:
    if name:
        print(f"[{done + 1}/{steps}] {_line(name)}", file=sys.stderr, flush=True)


def _ranking(ranked: Any, limit: int) -> str:
    rows = ranked.taking(range(min(len(ranked), max(limit, 0)))).rows()
    named = {key: title for key, title in _COLUMNS.items() if any(row[key] is not None for row in rows)}
    if len({row["input"] for row in rows}) < 2:
        named.pop("input", None)
    table = [[_clipped(title) for title in named.values()]]
    table += [[_clipped(_shown(key, row[key])) for key in named] for row in rows]
    widths = [max(_width(line[i]) for line in table) for i in range(len(named))]
    lines = ["  ".join(text + " " * (width - _width(text)) for text, width in zip(line, widths, strict=True)).rstrip() for line in table]
    more = [f"… and {len(ranked) - len(rows)} more"] if len(ranked) > len(rows) else []
    return "\n".join(lines + more)


def _shown(key: str, value: Any) -> str:
    from ffrtmp.analysis.aggregation import rate
    from ffrtmp.analysis.table import cell

    if key == "bitrate" and value:
        return rate(value)
    return Path(value).name if key == "input" and value else cell(value)


def _clipped(text: str) -> str:
    line = _line(text)
    return line if len(line) <= 40 else f"{line[:39]}…"


def _width(text: str) -> int:
    """Cells of a terminal."""
    return sum(0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _line(text: str) -> str:
    """Foreign text without what moves a terminal."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def _inert(value: object) -> object:
    """A text that spreadsheets would run as a formula, as a text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


if __name__ == "__main__":
    sys.exit(main())
