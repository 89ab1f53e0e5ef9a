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
    libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev # the live engine, and the plugins it works with
    gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly
    gstreamer1.0-libav
    gstreamer1.0-tools # gst-launch-1.0, which the live engine is measured against
    nginx libnginx-mod-rtmp # tests of live work start private servers from it
    prometheus prometheus-alertmanager # `make monitor`, and the test that dashboards and alerts are true
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
elif ! pkg-config --exists libavcodec libavformat libavfilter libavutil libswscale libswresample \
    'gstreamer-app-1.0 >= 1.22' gstreamer-audio-1.0 gstreamer-video-1.0 2>/dev/null; then
    say "error: this is neither Debian nor Ubuntu, and development files of FFmpeg or GStreamer 1.22 are missing"
    say "hint: install a C compiler, pkg-config, clang with libclang, FFmpeg and GStreamer with their development"
    say "hint: files, the plugins of GStreamer (base, good, bad, ugly, libav), python3, PostgreSQL, nginx with its RTMP module,"
    say "hint: Prometheus with promtool, Alertmanager with amtool"
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

# Debian's packages would make a cluster and start it on port 5432, and start a web server on port 80
# and monitoring on 9090 and 9093; nobody here wants those. The settings go again afterwards: they are not ours to keep.
clusters=/etc/postgresql-common/createcluster.d
policy=/usr/sbin/policy-rc.d
written=()
clean_up() {
    [ "${#written[@]}" -eq 0 ] || "${as_root[@]}" rm -f "${written[@]}"
    "${as_root[@]}" rmdir "$clusters" 2>/dev/null || true
}
trap clean_up EXIT
write() { # the file, what is in it, its mode
    written+=("$1")
    printf '%s\n' "$2" | "${as_root[@]}" tee "$1" >/dev/null
    "${as_root[@]}" chmod "$3" "$1"
}
case " ${missing[*]} " in *" postgresql "*)
    "${as_root[@]}" mkdir -p "$clusters"
    write "$clusters/ffrtmp-setup.conf" 'create_main_cluster = false' 644
    ;;
esac
services=()
for package in "${missing[@]}"; do
    case "$package" in
    nginx | prometheus | prometheus-alertmanager) services+=("$package") ;;
    esac
done
# One that is there already, as in containers, says the same or what its owner wants.
if [ "${#services[@]}" -gt 0 ] && [ ! -e "$policy" ]; then
    write "$policy" $'#!/bin/sh\nexit 101' 755
fi

say "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
# They were not started; neither shall they be when the machine is.
if command -v update-rc.d >/dev/null 2>&1; then
    for service in "${services[@]}"; do
        "${as_root[@]}" update-rc.d "$service" disable >&2
    done
fi
