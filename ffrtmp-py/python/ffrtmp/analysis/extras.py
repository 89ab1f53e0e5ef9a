"""Packages that are imported when they are needed: the only place that imports them.

They are optional, so that ``import ffrtmp`` stays quick and a node needs none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ffrtmp.analysis.errors import missing_extra

_EXTRAS = {
    "numpy": "analysis",
    "pyarrow": "analysis",
    "pyarrow.compute": "analysis",
    "pyarrow.json": "analysis",
    "pandas": "pandas",
    "polars": "polars",
    "matplotlib": "plots",
    "matplotlib.figure": "plots",
    "matplotlib.pyplot": "plots",
    "matplotlib.ticker": "plots",
    "imageio_ffmpeg": "quality",
}


def package(name: str) -> Any:
    """The package ``name``.

    Raises:
        MissingExtraError: it is not installed; the hint names the extra that brings it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        root = name.partition(".")[0]
        if error.name is not None and error.name.partition(".")[0] != root:
            raise
        raise missing_extra(root, _EXTRAS[name]) from error
