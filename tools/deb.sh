#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Builds the Debian package in a copy of this tree, so that nothing is left in the tree or beside it:
#   tools/deb.sh [FOLDER]      the package goes to FOLDER (build/deb)
set -eu
cd "$(dirname "$0")/.."
out=${1:-build/deb}
parts=(CMakeLists.txt cmake apps debian docs/grafana examples grc python README.md MANIFEST.md CHANGELOG.md CITATION.cff COPYING)

. tools/have.sh
need deb build-essential:/usr/share/doc/build-essential/copyright cmake:/usr/bin/cmake debhelper:/usr/bin/dh \
    dh-python:/usr/bin/dh_python3
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
