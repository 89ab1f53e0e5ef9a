"""Our side. Its outputs are verified, hashed and synced to the disk, which the peers leave out."""

from __future__ import annotations

from pathlib import Path

import ffrtmp

RUNGS = [("1280x720", "720p"), ("854x480", "480p"), ("640x360", "360p"), ("426x240", "240p")]


def remux(clip: Path, place: Path) -> None:
    ffrtmp.transcode(clip, place / "out.mp4", codec="copy", audio_codec="copy")


def second(clip: Path, place: Path) -> None:
    ffrtmp.transcode(
        clip,
        place / "out.mp4",
        duration=1,
        resolution="640x360",
        codec="h264",
        preset="veryfast",
        crf=23,
        audio_codec="aac",
        audio_bitrate="128k",
        audio_channels="stereo",
    )


def ladder(clip: Path, place: Path) -> None:
    ffrtmp.transcode(
        clip,
        place / "out.mp4",
        ladder=[{"resolution": size, "name": name} for size, name in RUNGS],
        codec="h264",
        preset="veryfast",
        crf=23,
        keyframe_interval=2,
        scene_cut=False,
        audio_streams="none",
    )
