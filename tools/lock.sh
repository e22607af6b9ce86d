#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Writes requirements.lock: the pins of pyproject.toml and all that they need, with the hashes of every file that
# the package index has of them, for Debian 12's Python. Versions are those that .venv has now.
#
# torch is left out: which build of it a machine gets (CPU, CUDA) depends on its index, and so does its hash.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
/usr/bin/python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check uv==0.13.9

.venv/bin/python - >"$scratch/pins.in" <<'PYTHON'
import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
extras = project["optional-dependencies"]
print(*project["dependencies"], *(pin for name in extras if name != "train" for pin in extras[name]), sep="\n")
PYTHON
.venv/bin/python - >"$scratch/installed.txt" <<'PYTHON'
from importlib import metadata

from packaging.version import InvalidVersion, Version

found = {}
for distribution in metadata.distributions():  # what .venv has hides what Debian has
    name, version = distribution.metadata["Name"], distribution.version
    try:
        if name and not Version(version).is_devrelease and not Version(version).local:
            found.setdefault(name.lower().replace("_", "-"), version)
    except InvalidVersion:
        pass  # Debian's own numbering: no index has it
found.pop("torch", None)
print(*(f"{name}=={version}" for name, version in sorted(found.items())), sep="\n")
PYTHON
{
    echo "# Written by \`make lock\`; do not edit. torch is not in it: see tools/lock.sh."
    "$scratch/venv/bin/uv" pip compile --quiet --generate-hashes --no-header --no-annotate \
        --python-version 3.11 --python-platform linux --constraint "$scratch/installed.txt" "$scratch/pins.in"
} >"$scratch/requirements.lock"
mv "$scratch/requirements.lock" requirements.lock
