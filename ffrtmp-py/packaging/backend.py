"""Builds the package: the programs of the command line first, then maturin's work with them inside.

``FFRTMP_PROGRAMS`` names a directory with programs that are built already.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import maturin
from maturin import (
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

PROGRAMS = {"ffrtmp": "ffrtmp-cli", "ffrtmp-runner": "ffrtmp-runner"}
PACKAGE = Path(__file__).resolve().parent.parent
INSIDE = PACKAGE / "python" / "ffrtmp" / "_bin"


def build_wheel(directory: str, settings: Any = None, metadata: str | None = None) -> str:
    """A wheel with the programs in it."""
    carry_programs()
    return maturin.build_wheel(directory, settings, metadata)


def build_editable(directory: str, settings: Any = None, metadata: str | None = None) -> str:
    """An editable install; the programs lie in the source tree."""
    carry_programs()
    return maturin.build_editable(directory, settings, metadata)


def carry_programs() -> None:
    """Put the programs where the package looks for them."""
    built = Path(os.environ.get("FFRTMP_PROGRAMS") or compiled())
    INSIDE.mkdir(exist_ok=True)
    for program in PROGRAMS:
        # Replaced, not written over: the old one may run.
        fresh = INSIDE / f".{program}"
        shutil.copy2(built / program, fresh)
        fresh.rename(INSIDE / program)


def compiled() -> Path:
    """Compile them; returns their directory."""
    packages = [f"--package={package}" for package in PROGRAMS.values()]
    workspace = PACKAGE.parent
    subprocess.run(["cargo", "build", "--release", *packages], cwd=workspace, check=True)
    told = subprocess.run(
        ["cargo", "metadata", "--format-version=1", "--no-deps"], cwd=workspace, check=True, capture_output=True
    )
    return Path(json.loads(told.stdout)["target_directory"]) / "release"
