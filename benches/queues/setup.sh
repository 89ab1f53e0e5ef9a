#!/usr/bin/env bash
# Fetches the queues that ours is compared with into a directory, nothing elsewhere: npm's
# graphile-worker, PyPI's honker. The benchmark calls it; one that cannot be had is left out.
#
# usage: setup.sh DIRECTORY
set -uo pipefail

directory=${1:?usage: setup.sh DIRECTORY}
mkdir -p "$directory/npm"

if [ ! -d "$directory/npm/node_modules/graphile-worker" ]; then
    [ -f "$directory/npm/package.json" ] || printf '{"private":true}\n' >"$directory/npm/package.json"
    npm install --prefix "$directory/npm" --no-audit --no-fund --ignore-scripts --loglevel=error 'graphile-worker@^0.17' >&2 ||
        printf 'graphile-worker is not here: npm could not install it\n' >&2
fi

if [ ! -x "$directory/venv/bin/python" ]; then
    python3 -m venv "$directory/venv" >&2 || printf 'honker is not here: python3 cannot make a virtual environment\n' >&2
fi
if [ -x "$directory/venv/bin/python" ] && ! "$directory/venv/bin/python" -c 'import honker' 2>/dev/null; then
    "$directory/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'honker>=0.2,<0.3' >&2 ||
        printf 'honker is not here: pip could not install it\n' >&2
fi
exit 0
