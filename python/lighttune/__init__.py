# SPDX-License-Identifier: GPL-3.0-or-later
"""gr-lighttune: link adaptation that keeps learning on the air.

``core``, ``baselines`` and ``sim`` need numpy only. The GNU Radio blocks are offered at this
level (``lighttune.mcs_selector`` and so on) where GNU Radio can be imported; ``lighttune.panel`` needs
Qt, too.
"""

import importlib.util

__version__ = "0.1.0"

if importlib.util.find_spec("gnuradio") is not None:
    from .blocks import *  # noqa: F403  (the block set is the public face of an OOT module)


def __getattr__(name: str) -> object:
    if name == "panel":  # it needs Qt, which a machine without a screen may lack
        from .gui.panel import panel

        return panel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
