# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts are known by."""

from __future__ import annotations

import re

HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_host(name: str) -> None:
    """Refuse a host name that the wire does not carry.

    Raises:
        ValueError: it is not 1 to 64 letters, digits, ``.``, ``_`` or ``-``, beginning with one of the first
            two.
    """
    if not HOST_NAME.fullmatch(name):
        raise ValueError(
            f"host = {name!r}: give 1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit"
        )
