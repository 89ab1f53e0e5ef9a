"""One file to another, with a bar: what is made, and what it cost.

    python transcode.py clip.mp4
"""

import sys

import ffrtmp


def main(clip: str) -> None:
    info = ffrtmp.probe(clip)
    print(f"{clip}: {info.format}, {info.duration_seconds:.1f} s")
    report = ffrtmp.transcode(clip, "small.mp4", scenario="360p-h264", preset="fast", progress=True)
    print(f"{report.output_uri}: {report.resolution}, {report.frames} frames at {report.speed:.1f}x")


if __name__ == "__main__":
    main(*sys.argv[1:])
