"""Shows that an installed wheel needs nothing of FFmpeg on its machine. Run by the interpreter of a clean
environment, in an empty directory, where the system's libraries are hidden.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

BASE = re.compile(r"(ld-linux|lib(c|m|dl|rt|pthread|util|resolv|nsl|gcc_s|stdc\+\+|atomic|nss_\w+|python[\d.]+))[-.\d]*\.so")


def main() -> None:
    began = time.process_time()
    import ffrtmp

    taken = time.process_time() - began
    print(f"import: {1000 * taken:.0f} ms of CPU time")
    assert taken <= 0.15, "an import takes at most 150 ms"
    with ffrtmp.Cluster(isolate=True) as cluster:
        client = cluster.client()
        job = client.wait(client.submit("144p-h264-test", output=Path("made.mp4").resolve(), duration=1), check=True)
    print(f"in a child: {job.result.frames} frames")
    for name, codec in [("out.mp4", "h265"), ("out.webm", "vp9"), ("out.mkv", "av1")]:
        report = ffrtmp.transcode("made.mp4", name, codec=codec)
        print(f"in this process: {report.video_encoder}, {report.frames} frames")
    foreign = sorted(libraries() - own_libraries())
    assert not foreign, f"of the system: {foreign}"
    for words in (["explain", "input_not_found"], ["probe", "made.mp4"], ["scenarios"]):
        subprocess.run([str(Path(sys.executable).with_name("ffrtmp")), *words], check=True, stdout=subprocess.DEVNULL)
    # No `ffprobe` of the system: it would be one that misses its libraries.
    nowhere = {**os.environ, "PATH": str(Path(sys.executable).parent)}
    subprocess.run([sys.executable, "-m", "ffrtmp", "demo"], check=True, stdout=subprocess.DEVNULL, env=nowhere)
    print("the command works, and the demo")


def libraries() -> set[str]:
    """The libraries in this process, but for those of the C library and the interpreter."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    mapped = {fields[5] for line in lines if len(fields := line.split(maxsplit=5)) == 6 and ".so" in fields[5]}
    return {path for path in mapped if not BASE.match(Path(path).name) and "lib-dynload" not in path}


def own_libraries() -> set[str]:
    return {path for path in libraries() if path.startswith(sys.prefix)}


if __name__ == "__main__":
    main()
