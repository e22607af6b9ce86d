# shellcheck shell=bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Read by the other scripts: is a Debian package here? Packages come as one word each, a package and what shows that it
# is there: a file (or a pattern), bin/PROGRAM on the path, or a module of GNU Radio's Python.

# As CMakeLists.txt looks for it: Debian's first.
PYTHON=/usr/bin/python3
[ -x "$PYTHON" ] || PYTHON=$(command -v python3 || echo "$PYTHON")

have() {
    case $1 in
        /*) compgen -G "$1" >/dev/null ;;
        bin/*) command -v "${1#bin/}" >/dev/null ;;
        *) "$PYTHON" -c "import $1" 2>/dev/null ;;
    esac
}

lacking() { # lacking PACKAGE:SIGN...: those that are not here, one a line
    local entry
    for entry; do
        have "${entry#*:}" || echo "${entry%%:*}"
    done
}

need() { # need WHO PACKAGE:SIGN...: says in one line what is not here, and fails
    local who=$1 missing
    shift
    missing=$(lacking "$@" | paste -sd ' ')
    [ -z "$missing" ] || {
        echo "$who: $missing missing here: 'sudo apt-get install --no-install-recommends $missing'" >&2
        return 1
    }
}
