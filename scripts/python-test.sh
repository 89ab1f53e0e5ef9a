#!/usr/bin/env bash
# Builds the Python package into an environment of its own and runs its tests.
set -euo pipefail
cd "$(dirname "$0")/../ffrtmp-py"
venv=${CARGO_TARGET_DIR:-../target}/python-venv
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check 'maturin>=1.9,<2' 'pytest>=8,<10'
venv=$(cd "$venv" && pwd)
VIRTUAL_ENV=$venv PATH=$venv/bin:$PATH "$venv/bin/maturin" develop --quiet
"$venv/bin/python" -m pytest -q tests
