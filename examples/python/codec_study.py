"""Which setting gives this quality for the least energy? Encodes a clip with every codec, preset and
bit rate, ranks what was measured, and writes a report.

    python codec_study.py clip.mp4 [report.html]

Needs `pip install 'ffrtmp[plots,quality]'`.
"""

import sys

from ffrtmp import analysis, matrix


def main(clip: str, report: str = "report.html") -> None:
    grid = matrix.Matrix.grid(
        encoders=["h264", "h265"],
        presets=["ultrafast", "fast"],
        bitrates=["100k", "200k", "400k", "800k"],
        duration=1,
        baseline=1,
    )
    study = matrix.run(grid, clip, results="results.json", progress=lambda done, steps, name: print(f"{done}/{steps} {name}"))
    results = study.results()

    for row in results.ranked().rows()[:3]:
        print(row["efficiency_rank"], row["name"], row["vmaf"], row["wh_per_hour"])
    for choice in analysis.recommend(results, target="VMAF>=70"):
        print(choice)
    print(analysis.compare(results.where(codec="h264"), results.where(codec="h265")))
    print(analysis.write_report(results, report, target="VMAF>=70"))
    for note in results.notes:
        print("note:", note)


if __name__ == "__main__":
    main(*sys.argv[1:])
