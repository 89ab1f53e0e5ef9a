#!/usr/bin/env bash
# Makes an environment for what is about monitoring, and runs one of its programs in it.
#
#   scripts/monitor.sh farm [PROGRAMS]     a cluster with Prometheus and Alertmanager, until Ctrl-C
#   scripts/monitor.sh proof [PROGRAMS]    the proof that dashboards and alerts are true
#   scripts/monitor.sh dashboards          writes deploy/grafana/dashboards
#
# PROGRAMS is the directory of ffrtmp-master and the others, target/debug by default.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
venv=$target/monitor-venv
wanted=$(cat scripts/monitor/requirements.txt deploy/grafana/requirements.txt)
if [ "$(cat "$venv/wanted" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check \
        --requirement scripts/monitor/requirements.txt --requirement deploy/grafana/requirements.txt
    # For the schema of compose files that lies in it; none of its dependencies is wanted for that.
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps docker-compose==1.29.2
    printf '%s\n' "$wanted" >"$venv/wanted"
fi

export PYTHONPATH=scripts:tests/monitor:deploy/grafana PYTHONDONTWRITEBYTECODE=1
case ${1:-} in
farm) exec "$venv/bin/python" -m monitor "${2:-$target/debug}" ;;
proof) exec "$venv/bin/python" -m proof "${2:-$target/debug}" "${@:3}" ;;
dashboards) exec "$venv/bin/python" -m source ;;
*)
    sed -n 's/^# \{0,1\}//; 2,9p' "$0" >&2
    exit 2
    ;;
esac
