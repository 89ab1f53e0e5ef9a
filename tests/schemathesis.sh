#!/usr/bin/env bash
# Runs schemathesis against a running master with the master's own OpenAPI document and a key: no
# server error, no answer that contradicts the document, no bad request that is taken.
#
#   tests/schemathesis.sh target/debug/ffrtmp-master [EXAMPLES]
#
# EXAMPLES (default 40) is the number of generated requests per route and phase. More arguments for
# schemathesis go into SCHEMATHESIS_ARGS. Needs python3 with venv; installs from PyPI once.
set -euo pipefail

master=${1:?usage: tests/schemathesis.sh MASTER_BINARY [EXAMPLES]}
examples=${2:-40}
version=4.32.5
root=$(cd "$(dirname "$0")/.." && pwd)
venv=${CARGO_TARGET_DIR:-$root/target}/schemathesis-$version
key=schemathesis-$$

if [ ! -x "$venv/bin/schemathesis" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version"
fi

work=$(mktemp -d)
pid=
finish() {
    status=$?
    if [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; then
        kill -TERM "$pid"
        wait "$pid" || true
    fi
    if [ "$status" -ne 0 ]; then
        echo "--- the master's last words:" >&2
        tail -n 20 "$work/master.log" >&2 || true
    fi
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$master" --port "$port" --db "$work/master.db" --tls false --metrics false --api-key "$key" \
    --rate-limit 1000000 --rate-burst 1000000 --log-level warn >"$work/master.log" 2>&1 &
pid=$!

url=http://127.0.0.1:$port/api/v1
for _ in $(seq 100); do
    kill -0 "$pid" 2>/dev/null || { echo "the master did not start" >&2; exit 1; }
    python3 -c "import urllib.request; urllib.request.urlopen('$url/readyz', timeout=1)" 2>/dev/null && break
    sleep 0.1
done

cd "$work"
# shellcheck disable=SC2086 # several arguments are meant
"$venv/bin/schemathesis" --config-file "$root/tests/schemathesis.toml" run "$url/openapi.json" \
    --header "Authorization: Bearer $key" \
    --max-examples "$examples" --generation-deterministic --request-timeout 90 --no-color \
    ${SCHEMATHESIS_ARGS:-}
kill -0 "$pid" 2>/dev/null || { echo "the master died" >&2; exit 1; }
