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

BASE = re.compile(r"lib(c|m|dl|rt|pthread|util|resolv|gcc_s|stdc\+\+|nss_\w+)[-.\d]*\.so|.*\.cpython-")
"""What every machine has, and modules of the interpreter."""
INTERPRETER = "import bz2, ctypes, hashlib, lzma, ssl, zlib; print(open('/proc/self/maps').read())"
"""A program that needs nothing but the interpreter, and shows what that loads."""


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
    bare = subprocess.run([sys.executable, "-c", INTERPRETER], check=True, capture_output=True, text=True).stdout
    loaded = libraries(Path("/proc/self/maps").read_text()) - libraries(bare)
    foreign = sorted(path for path in loaded if not path.startswith(sys.prefix) and not BASE.match(Path(path).name))
    assert not foreign, f"of the system: {foreign}"
    for words in (["explain", "input_not_found"], ["probe", "made.mp4"], ["scenarios"]):
        subprocess.run([str(Path(sys.executable).with_name("ffrtmp")), *words], check=True, stdout=subprocess.DEVNULL)
    # No `ffprobe` of the system: it would be one that misses its libraries.
    nowhere = {**os.environ, "PATH": str(Path(sys.executable).parent)}
    subprocess.run([sys.executable, "-m", "ffrtmp", "demo"], check=True, stdout=subprocess.DEVNULL, env=nowhere)
    print("the command works, and the demo")


def libraries(maps: str) -> set[str]:
    """The libraries in a process."""
    return {fields[5] for line in maps.splitlines() if len(fields := line.split(maxsplit=5)) == 6 and ".so" in fields[5]}


if __name__ == "__main__":
    main()
