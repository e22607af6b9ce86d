# SPDX-License-Identifier: GPL-3.0-or-later
"""The learning core: no radio, no framework.

>>> from gnuradio.lighttune.core import make_link
>>> link = make_link("amc")
"""

from typing import Any

__all__ = ["Link", "LinkModel", "load_model", "make_link"]


def __getattr__(name: str) -> Any:
    # On demand: they bring the compiled functions, for which an MCS table alone need not wait.
    if name in __all__:
        from . import link, link_files

        return getattr(link_files if name == "load_model" else link, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
