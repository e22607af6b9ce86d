# SPDX-License-Identifier: GPL-3.0-or-later
"""Hears the SIGNAL fields of gr-ieee802-11: the tags of its `frame_equalizer`, whatever the frames become."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pmt
from gnuradio import gr

N_DATA = 48
"""Data carriers: the items of the stream are as many bytes, one item per OFDM symbol of a frame's data."""

# Data bits per OFDM symbol of IEEE 802.11-2020, Table 17-4, in the order of gr-ieee802-11's `Encoding`.
DATA_BITS = (24, 36, 48, 72, 96, 144, 192, 216)

_FRAME_BYTES = pmt.intern("frame bytes")
_ENCODING = pmt.intern("encoding")
_SNR = pmt.intern("snr")
_BETA = pmt.intern("beta")
_KEYS = {pmt.symbol_to_string(key) for key in (_FRAME_BYTES, _ENCODING, _SNR, _BETA)}


class Header(NamedTuple):
    """A SIGNAL field that came through, and what was measured on its preamble.

    Args:
        encoding: the rate, 0 to 7.
        n_bytes: length of the PSDU, with its frame check sequence.
        snr_db: of the long training symbols.
        beta: phase of the SIGNAL symbol in rad: with ``snr_db`` it tells one reception from another.
        start: item of the equalizer's stream that carries the tags.
    """

    encoding: int
    n_bytes: int
    snr_db: float
    beta: float
    start: int = 0

    @property
    def end(self) -> int:
        """Item of the equalizer's stream behind the frame's last symbol."""
        return self.start + n_symbols(self)

    def same_reception(self, other: Header | None) -> bool:
        """Both tell of one preamble."""
        return other is not None and self[:4] == other[:4]


def read_header(tags: pmt.pmt_base) -> Header | None:
    """A header from a dict with the tags' keys, as ``mac_out`` has it; None where one is missing."""
    if not pmt.is_dict(tags):
        return None
    encoding, n_bytes, snr, beta = (
        pmt.dict_ref(tags, key, pmt.PMT_NIL) for key in (_ENCODING, _FRAME_BYTES, _SNR, _BETA)
    )
    if not (pmt.is_real(snr) and pmt.is_real(beta) and pmt.is_uint64(encoding) and pmt.is_uint64(n_bytes)):
        return None
    header = Header(pmt.to_uint64(encoding), pmt.to_uint64(n_bytes), pmt.to_double(snr), pmt.to_double(beta))
    usable = header.encoding < len(DATA_BITS) and math.isfinite(header.snr_db) and math.isfinite(header.beta)
    return header if usable else None


def n_symbols(header: Header) -> int:
    """OFDM symbols of a frame's data: 16 service bits, the PSDU, 6 tail bits, padded (clause 17.3.5.4)."""
    return -(-(16 + 8 * header.n_bytes + 6) // DATA_BITS[header.encoding])


class HeaderTap(gr.sync_block):
    """Listens on a `frame_equalizer`'s stream beside `decode_mac`, and calls ``heard`` with every header.

    Args:
        heard: called in the tap's own thread; must not raise or block.
    """

    def __init__(self, heard: Callable[[Header], None]) -> None:
        gr.sync_block.__init__(self, "ieee802_11 header tap", in_sig=[(np.uint8, N_DATA)], out_sig=None)
        self._heard = heard

    def work(self, input_items: list[np.ndarray], output_items: list[np.ndarray]) -> int:
        n_items = len(input_items[0])
        at: dict[int, pmt.pmt_base] = {}
        for tag in self.get_tags_in_window(0, 0, n_items):
            if pmt.is_symbol(tag.key) and pmt.symbol_to_string(tag.key) in _KEYS:
                at[tag.offset] = pmt.dict_add(at.get(tag.offset, pmt.make_dict()), tag.key, tag.value)
        for offset in sorted(at):
            header = read_header(at[offset])
            if header is not None:
                self._heard(header._replace(start=offset))
        return n_items
