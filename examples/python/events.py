"""Jobs side by side in one event loop, followed live.

    python events.py clip.mp4
"""

import asyncio
import sys
from pathlib import Path

import ffrtmp


async def follow(client: ffrtmp.AsyncClient, source: Path, scenario: str) -> None:
    job = await client.submit(scenario, source, source.with_name(f"{scenario}.mp4"))
    async for event in client.events(job):
        print(f"{scenario}: {event.state} {event.progress:.0f} %")


async def main(clip: str) -> None:
    source = Path(clip).resolve()
    async with ffrtmp.Cluster(allow_paths=[source.parent]) as cluster:
        client = cluster.async_client()
        await asyncio.gather(*(follow(client, source, scenario) for scenario in ("144p-h264", "240p-h264")))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
