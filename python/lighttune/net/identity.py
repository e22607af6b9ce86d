# SPDX-License-Identifier: GPL-3.0-or-later
"""What hosts and models are known by."""

from __future__ import annotations

import hashlib
import re
from dataclasses import fields

from ..core.features import NAMES
from ..core.predictor import Encoder, Predictor

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


def fingerprint(predictor: Predictor) -> bytes:
    """16 bytes that differ where two predictors do: table, features, sizes, encoder or offline weights."""
    digest = hashlib.sha256(
        repr((predictor.table.digest, NAMES, predictor.shape.layers, predictor.shape.width)).encode()
    )
    for field in fields(Encoder):
        array = getattr(predictor.encoder, field.name)
        digest.update(repr(array.shape).encode() + array.astype("<f4").tobytes())
    digest.update(predictor.offline.astype("<f4").tobytes())
    return digest.digest()[:16]
