#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Builds the Debian package in a copy of this tree, so that nothing is left in the tree or beside it:
#   tools/deb.sh [FOLDER]      the package goes to FOLDER (build/deb)
set -eu
cd "$(dirname "$0")/.."
out=${1:-build/deb}
parts=(CMakeLists.txt cmake apps debian docs/grafana examples grc python README.md MANIFEST.md CHANGELOG.md CITATION.cff COPYING)

for tool in dpkg-buildpackage dh dh_python3; do
    command -v $tool >/dev/null || {
        echo "deb: no $tool here: 'apt-get install debhelper dh-python' (tools/setup.sh does it)" >&2
        exit 1
    }
done
rm -rf "$out/tree"
mkdir -p "$out/tree"
tar -c --exclude=__pycache__ "${parts[@]}" | tar -x -C "$out/tree"
if ! (cd "$out/tree" && dpkg-buildpackage -b -us -uc) >"$out/build.log" 2>&1; then
    tail -n 30 "$out/build.log" >&2
    echo "deb: the package was not built (details: $out/build.log)" >&2
    exit 1
fi
rm -rf "$out/tree"
echo "$out"/gr-lighttune_*_all.deb
