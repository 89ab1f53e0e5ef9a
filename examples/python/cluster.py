"""A master and agents in this process, and many jobs for them.

    python cluster.py clip.mp4
"""

import sys
from pathlib import Path

import ffrtmp


def main(clip: str) -> None:
    source = Path(clip).resolve()
    requests = [
        ffrtmp.JobRequest("144p-h264", input=source, output=source.with_name(f"crf{crf}.mp4"), crf=crf)
        for crf in range(20, 45, 5)
    ]
    with ffrtmp.Cluster(agents=2, slots=1, allow_paths=[source.parent]) as cluster:
        print(cluster)
        client = cluster.client()
        for job in client.wait(client.submit_many(requests), progress=True, check=True):
            print(f"crf {job.parameters['crf']:>2}: {job.result.size_bytes:>8} bytes on {job.node_name}")


if __name__ == "__main__":
    main(*sys.argv[1:])
