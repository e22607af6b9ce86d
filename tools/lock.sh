#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Writes requirements/pyVERSION-numpyMAJOR.lock for each supported pair: what pyproject.toml asks for and all that it
# needs, at one version each, with the hashes of every file that the package index has of it.
#   tools/lock.sh [ARGUMENT...]    of uv's: without any, versions stay as they are where they can; --upgrade,
#                                  or --upgrade-package NAME
# In a lock, what `make demo` needs comes first. torch is left out: which build of it a machine gets (CPU, CUDA) depends
# on its index, and so does its hash.
set -euo pipefail
cd "$(dirname "$0")/.."

. tools/have.sh
# The pairs, and NumPy as their GNU Radio has it. pyarrow does not say that from 26 on it wants NumPy 2.
PAIRS=(
    "3.11 1 numpy<2 pyarrow<26" # Debian 12
    "3.12 1 numpy<2 pyarrow<26" # Ubuntu 24.04
    "3.13 2 numpy>=2.2,<2.3"    # Debian 13
)

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$PYTHON" -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check uv==0.13.9
"$PYTHON" tools/packages.py demo >"$scratch/demo.in"
"$PYTHON" tools/packages.py full >"$scratch/full.in"

for pair in "${PAIRS[@]}"; do
    read -r python numpy constraints <<<"$pair"
    lock=requirements/py${python/./}-numpy$numpy.lock
    # A lock is for one Python on Linux, on any processor; that it is so need not stand in every line of it.
    where="python_full_version < '3.$((${python#3.} + 1))' and sys_platform == 'linux'"
    printf '[project]\nname = "lock"\nversion = "0"\nrequires-python = ">=%s"\n[tool.uv]\nenvironments = ["%s"]\n' \
        "$python" "$where" >"$scratch/pyproject.toml"
    tr ' ' '\n' <<<"$constraints" >"$scratch/constraints.txt"
    resolve() { # resolve WHAT ARGUMENT...: $scratch/WHAT.in to $scratch/WHAT.lock, which it takes versions from
        (cd "$scratch" && venv/bin/uv pip compile --quiet --universal --python-version "$python" --only-binary :all: \
            --generate-hashes --no-header --no-annotate --constraint constraints.txt "${@:2}" -o "$1.lock" "$1.in")
    }
    cp "$lock" "$scratch/full.lock" 2>/dev/null || cp requirements/py311-numpy1.lock "$scratch/full.lock"
    resolve full "$@"
    cp "$scratch/full.lock" "$scratch/demo.lock"
    resolve demo
    {
        echo "# Written by \`make lock\`; do not edit. torch is not in it: see tools/lock.sh."
        cat "$scratch/demo.lock"
        echo "# The rest is for the full set-up."
        # Entries, a package with its hashes each, that are not above.
        awk '/^[^ ]/ { name = $1 } NR == FNR { seen[name]; next } !(name in seen)' "$scratch/demo.lock" "$scratch/full.lock"
    } | sed -E "s/ ; $where \\\\/ \\\\/; s/python_full_version < '[^']+' and (.+) and sys_platform == 'linux'/\1/" >"$scratch/lock"
    mv "$scratch/lock" "$lock"
    echo "wrote $lock"
done
