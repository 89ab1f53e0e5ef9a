#!/usr/bin/env bash
# The Python package against PyAV and the ffmpeg command: builds it as a release, fetches the peers
# into an environment of its own in the target directory, and runs every row, or those that are named.
#
# usage: run.sh [ROW…] [--rounds N] [--directory DIR] [--json FILE]
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
venv=$target/python-bench-venv
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
quiet=(--quiet --disable-pip-version-check)
"$venv/bin/pip" install "${quiet[@]}" 'maturin>=1.9,<2' 'av>=14' 'ffmpeg-python>=0.2,<0.3'
VIRTUAL_ENV=$venv PATH=$venv/bin:$PATH "$venv/bin/pip" install "${quiet[@]}" --no-build-isolation './ffrtmp-py[pandas]'
exec "$venv/bin/python" benches/python "$@"
