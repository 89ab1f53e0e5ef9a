#!/usr/bin/env bash
# Builds the Python package into an environment of its own and runs its tests.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
venv=$target/python-venv
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check 'maturin>=1.9,<2'
# The programs of the tests: a master, an agent, its runner, the command line.
cargo build --quiet
cd ffrtmp-py
VIRTUAL_ENV=$venv PATH=$venv/bin:$PATH FFRTMP_PROGRAMS=$target/debug \
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-build-isolation \
    --config-settings=build-args=--profile=dev --editable '.[test]'
# As this build left them, whatever is installed elsewhere.
export PATH=$target/debug:$PATH FFRTMP_RUNNER=$target/debug/ffrtmp-runner
exec "$venv/bin/python" -m pytest "$@"
