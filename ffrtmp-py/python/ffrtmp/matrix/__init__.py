"""Test matrices: encode everything that is to be compared, and write down what was measured.

>>> from ffrtmp import matrix
>>> study = matrix.run(matrix.Matrix.grid(encoders=["h264"], bitrates=["200k"], presets=["ultrafast"], duration=1),
...                    "clip.mkv", quality=False)  # doctest: +SKIP
>>> study.save("results.json")  # doctest: +SKIP

From the command line: ``python -m ffrtmp matrix matrix.json --input clip.mkv``.
"""

from ffrtmp.matrix.format import Matrix, Scenario, Type
from ffrtmp.matrix.study import Progress, Study, run

__all__ = ["Matrix", "Progress", "Scenario", "Study", "Type", "run"]
