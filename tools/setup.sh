#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Brings a bare Debian 12, Debian 13 or Ubuntu 24.04 to where `lighttune` and the tests run: the distribution's GNU Radio, and
# a virtual environment of the system's Python with the packages that go with both. Finished steps are skipped.
#   tools/setup.sh [demo|full]    what `make demo` needs, or (full) what the tests, the manual and training need too
# With TORCH=no the full set-up leaves out torch: everything but training works without it.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

. tools/have.sh
PYTHON=/usr/bin/python3
VENV=.venv
LOG=build/setup.log
WHAT=${1:-full}
# A Debian package, and what shows that it is there (tools/have.sh).
PACKAGES=(gnuradio:gnuradio python3-venv:ensurepip python3-zmq:zmq)
[ "$WHAT" = demo ] ||
    PACKAGES+=(cmake:/usr/bin/cmake iproute2:/usr/sbin/ip debhelper:/usr/bin/dh dh-python:/usr/bin/dh_python3
        libjs-katex:/usr/share/javascript/katex/katex.js xvfb:/usr/bin/Xvfb
        build-essential:/usr/share/doc/build-essential/copyright libsoapysdr-dev:/usr/include/SoapySDR/Device.hpp
        uhd-soapysdr:/usr/lib/*/uhd/modules/libsoapySupport.so)

fail() {
    echo "setup: $*" >&2
    exit 1
}

step() { # step MESSAGE REMEDY COMMAND...: run with output to the log; on failure say the remedy
    local message=$1 remedy=$2
    shift 2
    echo "setup: $message"
    "$@" >>"$LOG" 2>&1 || fail "$message failed: $remedy (details: $LOG)"
}

new_enough() { # new_enough WHAT VERSION: before anything is installed that would be of no use
    [ "$(printf '%s\n' 3.11 "$2" | sort -V | head -n 1)" = 3.11 ] ||
        fail "$1 is Python ${2:-of no known version}: 3.11 or later is needed (Debian 12 has it)"
}

case $WHAT in
    demo | full) ;;
    *) fail "'$WHAT' is no set-up: demo or full" ;;
esac
mkdir -p build
: >"$LOG"

if [ -x "$PYTHON" ]; then
    new_enough "$PYTHON" "$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
else
    PACKAGES=(python3:/usr/bin/python3 "${PACKAGES[@]}")
fi
mapfile -t missing < <(lacking "${PACKAGES[@]}")
if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get >/dev/null || fail "no apt-get here: install ${missing[*]} by hand, then run this again"
    root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "${missing[*]} must be installed: run this as root, or install sudo"
        root=(sudo)
    fi
    step "read Debian's package lists" "connect this machine to its Debian mirror" \
        "${root[@]}" apt-get update -q
    [ -x "$PYTHON" ] || new_enough "this machine's package python3" \
        "$(LC_ALL=C apt-cache policy python3 | sed -n 's/^ *Candidate: \([0-9]*\.[0-9]*\)\..*/\1/p')"
    step "install ${missing[*]}" "see the log, then 'apt-get install ${missing[*]}'" \
        "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
fi

# What GNU Radio was built for decides what goes into the virtual environment.
choice=$("$PYTHON" tools/packages.py choose 2>>"$LOG") ||
    fail "${choice:-cannot find out what GNU Radio here works with} (details: $LOG)"
read -r lock numpy <<<"$choice"

if [ ! -x "$VENV/bin/python" ]; then
    step "make the virtual environment $VENV" "remove $VENV and try again" \
        "$PYTHON" -m venv --system-site-packages "$VENV"
fi
[ "$(readlink -f "$VENV/bin/python")" = "$(readlink -f "$PYTHON")" ] && "$VENV/bin/python" -m pip --version &>>"$LOG" ||
    fail "$VENV is broken, or was made from another Python than $PYTHON: remove $VENV and run this again"
pip() { # pip MESSAGE ARGUMENT...: of `pip install`
    step "$1" "connect this machine to a Python package index (pip's own settings apply)$remedy" \
        "$VENV/bin/python" -m pip install --disable-pip-version-check "${@:2}"
}

mapfile -t wanted < <("$PYTHON" tools/packages.py "$WHAT")
if [ "$lock" = none ]; then
    echo "setup: $("$PYTHON" -V) with $numpy has no lock in requirements/: packages by the ranges of pyproject.toml"
else
    packages=build/packages.lock
    if [ "$WHAT" = demo ]; then sed '/^# The rest/Q' "$lock"; else cat "$lock"; fi >"$packages"
    remedy="; a hash that differs: see $lock" pip "install the packages of $lock" --no-deps --require-hashes -r "$packages"
fi
remedy=
if [ "$WHAT" = full ] && [ "${TORCH-}" != no ]; then
    # torch goes before the rest, so that no other package's range can pull in another build of it. A build that lies on
    # this machine is taken before any of an index, which may have only the one with CUDA.
    mapfile -t torch < <("$PYTHON" tools/packages.py train)
    "$VENV/bin/python" -m pip install --disable-pip-version-check --no-index --no-deps "${torch[@]}" &>>"$LOG" ||
        echo "setup: the next is some 200 MB, or 3 GB where the index has only a build with CUDA; TORCH=no leaves it out"
    remedy="; TORCH=no leaves torch out" pip "install ${torch[*]}" "$numpy" "${torch[@]}"
fi
pip "look for what is not locked" "$numpy" "${wanted[@]}"

# `from gnuradio import lighttune` straight from this tree. GNU Radio's own package finds parts of itself on sys.path
# too, but looks beside itself first, where an installed gr-lighttune would hide the tree.
site=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
mkdir -p "$site/gnuradio"
ln -sfn "$PWD/python/lighttune" "$site/gnuradio/lighttune"
printf 'from pkgutil import extend_path\n\n__path__ = extend_path([], __name__)  # in the order of sys.path\n' \
    >"$site/gnuradio/__init__.py"
# The guard: worker processes of `lighttune campaign` import their parent's main module.
# By way of sh, as no path with a space in it can stand behind #!.
cat >"$VENV/bin/lighttune" <<LIGHTTUNE
#!/bin/sh
'''exec' "$PWD/$VENV/bin/python" "\$0" "\$@"
' '''
from gnuradio.lighttune.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
LIGHTTUNE
chmod +x "$VENV/bin/lighttune"

"$VENV/bin/python" -c 'from gnuradio import gr, lighttune' 2>>"$LOG" ||
    fail "the module does not import: remove $VENV and run this again (details: $LOG)"
step "compile the decision path" "remove $VENV and try again" \
    "$VENV/bin/python" -c 'from gnuradio.lighttune.core import kernel, link_kernel, tuning_kernel; from gnuradio.lighttune.sim import drive'
touch "$VENV/.ready-demo"
[ "$WHAT" = demo ] || touch "$VENV/.ready"
echo "setup: done"
