#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Makes the environment in which the outside benchmark runs: linkgym and Sionna want NumPy 2, GNU Radio of Debian 12
# wants NumPy 1, so that they cannot share one. Finished steps are skipped.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

PYTHON=/usr/bin/python3
VENV=.venv-linkgym
PINS=bench/linkgym-requirements.txt
LOG=build/setup-linkgym.log

fail() {
    echo "setup_linkgym: $*" >&2
    exit 1
}

step() { # step MESSAGE REMEDY COMMAND...: run with output to the log; on failure say the remedy
    local message=$1 remedy=$2
    shift 2
    echo "setup_linkgym: $message"
    "$@" >>"$LOG" 2>&1 || fail "$message failed: $remedy (details: $LOG)"
}

# The marker holds what was installed: the environment is done where it equals what is pinned now.
pins() {
    "$PYTHON" -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']
print(*p['optional-dependencies']['train'], sep='\n')" && cat "$PINS"
}

mkdir -p build
: >"$LOG"
[ -x "$PYTHON" ] && "$PYTHON" -c 'import ensurepip, tomllib' 2>>"$LOG" ||
    fail "$PYTHON (3.11 or later) with its venv module is needed: run tools/setup.sh first (details: $LOG)"
wanted=$(pins) || fail "cannot read the pinned versions from pyproject.toml and $PINS"
if [ -f "$VENV/.ready" ] && [ "$wanted" = "$(cat "$VENV/.ready")" ]; then
    echo "setup_linkgym: done"
    exit 0
fi

if [ ! -x "$VENV/bin/python" ]; then
    step "make the virtual environment $VENV" "remove $VENV and try again" "$PYTHON" -m venv "$VENV"
fi
[ "$(readlink -f "$VENV/bin/python")" = "$(readlink -f "$PYTHON")" ] ||
    fail "$VENV was made from another Python than $PYTHON: remove $VENV and run this again"

network="connect this machine to a Python package index (pip's own settings apply)"
# torch goes first and alone: with it in place, no other package's range can pull in another build of it.
mapfile -t torch < <(grep '^torch' <<<"$wanted")
step "install ${torch[*]} (some 200 MB)" "$network" \
    "$VENV/bin/pip" install --disable-pip-version-check "${torch[@]}"
step "install linkgym and what it needs" "$network" \
    "$VENV/bin/pip" install --disable-pip-version-check -r "$PINS"
"$VENV/bin/python" -c 'import linkgym.baselines, rich, matplotlib' 2>>"$LOG" ||
    fail "linkgym does not import: remove $VENV and run this again (details: $LOG)"
echo '*' >"$VENV/.gitignore"
printf '%s\n' "$wanted" >"$VENV/.ready"
echo "setup_linkgym: done"
