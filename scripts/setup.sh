#!/usr/bin/env bash
# Makes sure that what ffrtmp builds with is installed. Installs missing Debian or Ubuntu packages
# through apt where the user may; otherwise lists them and stops. Quick when nothing is missing.
set -euo pipefail

packages=(
    build-essential pkg-config clang libclang-dev
    libavcodec-dev libavformat-dev libavfilter-dev libavutil-dev libswscale-dev libswresample-dev
    ffmpeg # ffprobe, the independent judge of the demo and the tests
    python3 python3-venv curl openssl
    postgresql # tests and benchmarks start private servers from it
)

say() { printf '%s\n' "$*" >&2; }

if ! command -v cargo >/dev/null 2>&1; then
    say "error: no Rust toolchain (cargo) on the PATH"
    say "hint: install the current stable toolchain with rustup, then run this again"
    exit 2
fi

missing=()
if command -v dpkg-query >/dev/null 2>&1; then
    for package in "${packages[@]}"; do
        status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$status" = installed ] || missing+=("$package")
    done
    # An interpreter that can make virtual environments is enough, wherever it comes from.
    if python3 -c 'import venv, ensurepip' >/dev/null 2>&1; then
        kept=()
        for package in "${missing[@]}"; do
            case "$package" in python3 | python3-venv) ;; *) kept+=("$package") ;; esac
        done
        missing=("${kept[@]}")
    fi
    # A server of another source (apt.postgresql.org, say) is as good.
    if compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
        kept=()
        for package in "${missing[@]}"; do
            [ "$package" = postgresql ] || kept+=("$package")
        done
        missing=("${kept[@]}")
    fi
elif ! pkg-config --exists libavcodec libavformat libavfilter libavutil libswscale libswresample 2>/dev/null; then
    say "error: this is neither Debian nor Ubuntu, and the FFmpeg development files are missing"
    say "hint: install a C compiler, pkg-config, clang with libclang, FFmpeg with its development files, python3, PostgreSQL"
    exit 2
fi

[ "${#missing[@]}" -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        as_root=(sudo -n)
    else
        say "error: these packages are missing and may not be installed by this user:"
        say "    ${missing[*]}"
        say "hint: sudo apt-get install ${missing[*]}"
        exit 2
    fi
fi

# Debian's package would make a cluster and start it on port 5432; nobody here wants that one. The
# setting goes again afterwards: it is not ours to keep.
settings=/etc/postgresql-common/createcluster.d
keep_quiet() {
    "${as_root[@]}" mkdir -p "$settings"
    printf 'create_main_cluster = false\n' | "${as_root[@]}" tee "$settings/ffrtmp-setup.conf" >/dev/null
    trap '"${as_root[@]}" rm -f "$settings/ffrtmp-setup.conf"; "${as_root[@]}" rmdir "$settings" 2>/dev/null || true' EXIT
}
case " ${missing[*]} " in *" postgresql "*) keep_quiet ;; esac

say "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
