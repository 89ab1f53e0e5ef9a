#!/usr/bin/env bash
# Puts the static FFmpeg of the PyPI package `imageio-ffmpeg` where the bench looks for it:
# an environment of its own in the target directory.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv="${CARGO_TARGET_DIR:-target}/peers-venv"
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check 'imageio-ffmpeg>=0.6'
ffmpeg="$("$venv/bin/python" -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')"
ln -sf "$(realpath "$ffmpeg")" "$venv/bin/ffmpeg-static"
"$venv/bin/ffmpeg-static" -version | head -1
