"""Results of encodes as a table, and the questions that it answers.

Which setting gives this quality for the least energy and money?

>>> from ffrtmp import analysis
>>> results = analysis.Results.of(
...     {"input": "clip.mp4", "codec": "h264", "preset": preset, "resolution": "1280x720", "frames": 250,
...      "duration": 10.0, "wall_seconds": seconds, "total_energy_wh": wh, "energy_source": "rapl", "vmaf": vmaf}
...     for preset, seconds, wh, vmaf in [("veryfast", 2.0, 0.010, 84.0), ("medium", 5.0, 0.025, 88.0), ("slow", 9.0, 0.045, 89.0)]
... )
>>> [int(rank) for rank in results["efficiency_rank"]]
[1, 2, 3]
>>> print(analysis.recommend(results, target="VMAF>=85")[0].best.name)
h264 medium

:func:`read` takes files, masters and jobs; :class:`Results` gives Arrow, pandas and polars. Formulas
and their sources are in ``docs/analysis.md``. Needs ``pip install 'ffrtmp[analysis]'``; plots need
``[plots]``, VMAF needs ``[quality]``. Nothing is invented: what was not measured is missing (NaN),
and ``Results.notes`` says so.
"""

from ffrtmp.analysis.aggregation import Setting, by_setting
from ffrtmp.analysis.bjontegaard import Method, bd_quality, bd_rate
from ffrtmp.analysis.columns import COLUMNS, Column, schema
from ffrtmp.analysis.comparison import Comparison, compare
from ffrtmp.analysis.efficiency import Basis, Metric
from ffrtmp.analysis.errors import AnalysisError, MissingExtraError
from ffrtmp.analysis.figures import plot_energy, plot_front, plot_ranking, plot_rate_quality
from ffrtmp.analysis.front import pareto_front
from ffrtmp.analysis.page import write_report
from ffrtmp.analysis.quality import Quality, measure_quality
from ffrtmp.analysis.quantities import Measure, Target
from ffrtmp.analysis.recommendation import Choice, Prices, recommend
from ffrtmp.analysis.sources import Source, read
from ffrtmp.analysis.table import ArrowTable, Results

__all__ = [
    "COLUMNS",
    "AnalysisError",
    "ArrowTable",
    "Basis",
    "Choice",
    "Column",
    "Comparison",
    "Measure",
    "Method",
    "Metric",
    "MissingExtraError",
    "Prices",
    "Quality",
    "Results",
    "Setting",
    "Source",
    "Target",
    "bd_quality",
    "bd_rate",
    "by_setting",
    "compare",
    "measure_quality",
    "pareto_front",
    "plot_energy",
    "plot_front",
    "plot_ranking",
    "plot_rate_quality",
    "read",
    "recommend",
    "schema",
    "write_report",
]
