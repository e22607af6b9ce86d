# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether gr-ieee802-11 is here: its module, gr-foo, and its wifi_phy_hier as Companion built it."""

import importlib.util
import os
import sys

HIER = os.environ.get("GRC_HIER_PATH", os.path.expanduser("~/.grc_gnuradio"))


def missing() -> str:
    """Why the real thing cannot be tried here; empty if it can."""
    if HIER not in sys.path:
        sys.path.append(HIER)
    lacks = [
        name for name in ("ieee802_11", "foo", "wifi_phy_hier") if importlib.util.find_spec(name) is None
    ]
    return f"needs gr-ieee802-11 and gr-foo (docs/wifi.md): no {', '.join(lacks)}" if lacks else ""
