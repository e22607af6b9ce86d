#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Brings a bare Debian 12 machine to where `lighttune` and the tests run: Debian's GNU Radio, and a virtual
# environment of the system's Python with the pinned packages of pyproject.toml. Finished steps are skipped.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

. tools/have.sh
PYTHON=/usr/bin/python3
VENV=.venv
LOG=build/setup.log
# A Debian package, and what shows that it is there (tools/have.sh).
PACKAGES=(gnuradio:gnuradio python3-venv:ensurepip cmake:/usr/bin/cmake python3-zmq:zmq iproute2:/usr/sbin/ip debhelper:/usr/bin/dh
    dh-python:/usr/bin/dh_python3 libjs-katex:/usr/share/javascript/katex/katex.js
    xvfb:/usr/bin/Xvfb build-essential:/usr/share/doc/build-essential/copyright libsoapysdr-dev:/usr/include/SoapySDR/Device.hpp
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

for_our_pins() { # for_our_pins WHAT VERSION: before anything is installed that would be of no use
    [ "$2" = 3.11 ] || fail "$1 is Python ${2:-of no known version}, the pinned packages are for 3.11: use Debian 12"
}

mkdir -p build
: >"$LOG"

if [ -x "$PYTHON" ]; then
    for_our_pins "$PYTHON" "$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
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
    [ -x "$PYTHON" ] || for_our_pins "this machine's package python3" \
        "$(LC_ALL=C apt-cache policy python3 | sed -n 's/^ *Candidate: \([0-9]*\.[0-9]*\)\..*/\1/p')"
    step "install ${missing[*]}" "see the log, then 'apt-get install ${missing[*]}'" \
        "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
fi

"$PYTHON" -c 'from gnuradio import gr' 2>>"$LOG" ||
    fail "$PYTHON cannot import GNU Radio: 'apt-get install --reinstall gnuradio' (details: $LOG)"

if [ ! -x "$VENV/bin/python" ]; then
    step "make the virtual environment $VENV" "remove $VENV and try again" \
        "$PYTHON" -m venv --system-site-packages "$VENV"
fi
[ "$(readlink -f "$VENV/bin/python")" = "$(readlink -f "$PYTHON")" ] ||
    fail "$VENV was made from another Python than $PYTHON: remove $VENV and run this again"

pins() { # pins EXPRESSION: a list in pyproject.toml, one requirement a line
    "$PYTHON" -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*$1, sep='\n')"
}
mapfile -t torch < <(pins "p['optional-dependencies']['train']")
mapfile -t others < <(pins "(p['dependencies'] + [r for e in ('campaign', 'records', 'test', 'docs') for r in p['optional-dependencies'][e]])")
network="connect this machine to a Python package index (pip's own settings apply)"
step "install the packages of requirements.lock" "$network; a hash that differs: see requirements.lock" \
    "$VENV/bin/pip" install --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
# torch goes next and alone: with it in place, no other package's range can pull in another build of it.
step "install ${torch[*]} (some 200 MB)" "$network" \
    "$VENV/bin/pip" install --disable-pip-version-check "${torch[@]}" "${others[0]}"
step "look for pins that are not locked yet" "$network" \
    "$VENV/bin/pip" install --disable-pip-version-check "${others[@]}"

# `from gnuradio import lighttune` straight from this tree. GNU Radio's own package finds parts of itself on sys.path
# too, but looks beside itself first, where an installed gr-lighttune would hide the tree.
site=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
mkdir -p "$site/gnuradio"
ln -sfn "$PWD/python/lighttune" "$site/gnuradio/lighttune"
printf 'from pkgutil import extend_path\n\n__path__ = extend_path([], __name__)  # in the order of sys.path\n' \
    >"$site/gnuradio/__init__.py"
# The guard: worker processes of `lighttune campaign` import their parent's main module.
printf '#!%s\nfrom gnuradio.lighttune.cli.main import main\n\nif __name__ == "__main__":\n    raise SystemExit(main())\n' \
    "$PWD/$VENV/bin/python" >"$VENV/bin/lighttune"
chmod +x "$VENV/bin/lighttune"

"$VENV/bin/python" -c 'from gnuradio import gr, lighttune' 2>>"$LOG" ||
    fail "the module does not import: remove $VENV and run this again (details: $LOG)"
step "compile the decision path" "remove $VENV and try again" \
    "$VENV/bin/python" -c 'from gnuradio.lighttune.core import kernel, link_kernel, tuning_kernel; from gnuradio.lighttune.sim import drive'
touch "$VENV/.ready"
echo "setup: done"
