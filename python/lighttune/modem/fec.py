# SPDX-License-Identifier: GPL-3.0-or-later
"""GNU Radio's K = 7 Viterbi decoder as a message block: one serves every MCS and length."""

from __future__ import annotations

from gnuradio import fec

from .coding import CONSTRAINT, POLYNOMIALS
from .framing import MAX_INFO_BITS

_MTU_BYTES = MAX_INFO_BITS // 8 + 1


def decoder() -> fec.async_decoder:
    """Message block: soft bits in (positive for 1, within +-2.65), bits out; metadata passes through."""
    # End state 0 must be said: with the default of -1 the terminated mode traces back from a wrong state,
    # which costs one block in a thousand at any SNR.
    code = fec.cc_decoder_make(
        MAX_INFO_BITS, CONSTRAINT, len(POLYNOMIALS), list(POLYNOMIALS), 0, 0, fec.CC_TERMINATED, False
    )
    return fec.async_decoder(code, False, False, _MTU_BYTES)
