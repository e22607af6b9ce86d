# SPDX-License-Identifier: GPL-3.0-or-later
"""The receiver up to the decoder's input: samples in, headers and soft bits out, in order of arrival."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import channel_estimate, frame_equalizer, sync_short
from .channel_estimate import Channel, carriers
from .framing import HEADER_SYMBOLS, info_bits, payload_symbols
from .header import Header, decode_header
from .numerology import (
    DATA_IN_USED,
    FFT,
    N_DATA,
    PILOT_IN_USED,
    PILOT_VALUE,
    SHORT,
    SYMBOL,
    pilot_polarity,
)
from .sample_buffer import SampleBuffer
from .sync_long import FIRST, SPAN, sync_long

_PEAK_RANGE = 160  # samples after a crossing in which the autocorrelation peaks: the short training's length
_ADVANCE = 56  # after a false alarm; less than sync_long's reach, so a burst right after it is not skipped
_SAME = 16  # two timings closer than this are the same burst


@dataclass(frozen=True, slots=True)
class Arrival:
    """A header that arrived.

    Args:
        header: its fields.
        snr_db: mean Es/N0 over the occupied carriers.
        cfo: carrier frequency offset in cycles per sample.
        start: absolute number of the burst's first sample (give or take the timing margin of a few samples).
    """

    header: Header
    snr_db: float
    cfo: float
    start: int


@dataclass(frozen=True, slots=True)
class Payload:
    """The soft bits of a packet.

    Args:
        arrival: the header that announced it.
        llr: decoder input, shape ``(2 * (8 * (length + 4) + 6),)``, float32, positive for bit 1.
    """

    arrival: Arrival
    llr: np.ndarray


@dataclass(frozen=True, slots=True)
class _Pending:
    """A packet whose payload has not all arrived."""

    arrival: Arrival
    origin: int  # absolute number of the first long symbol's window start: phase reference
    payload: int  # absolute number of the first payload symbol's prefix, timing margin included
    symbols: int
    channel: Channel
    products: np.ndarray  # phasors of the header's symbols


class Receiver:
    """Searches, synchronises and demodulates; it never waits for more than the packet it is in.

    `counts` tells detections (bursts that both synchronisation stages saw), header_failures (of those,
    headers whose CRC failed: lost headers and false alarms) and resyncs (packets that ended before their
    header's length: the search went back to where they ended).
    """

    def __init__(self) -> None:
        self.counts = {"detections": 0, "header_failures": 0, "resyncs": 0}
        self.restart()

    def restart(self) -> None:
        """Forget the stream so far; the counts stay."""
        self._buffer = SampleBuffer()
        self._search = 0
        self._pending: _Pending | None = None
        self._failed = -_SAME

    def push(self, samples: np.ndarray) -> list[Arrival | Payload]:
        """Take samples, shape ``(n,)``, complex64, finite; return what they complete."""
        self._buffer.append(samples)
        events: list[Arrival | Payload] = []
        while self._finish(events) if self._pending is not None else self._hunt(events):
            pass
        return events

    def _hunt(self, events: list[Arrival | Payload]) -> bool:
        """Look for the next burst from `_search` on; False when more samples are needed."""
        self._buffer.discard(self._search)
        stop = self._buffer.stop
        if stop - self._search < SHORT:
            return False
        p, crossed = sync_short.autocorrelation(self._buffer.view(self._search, stop))
        first = int(crossed.argmax())
        if not crossed[first]:
            self._search = stop - SHORT + 1
            return False
        start = first
        while True:  # the peak may lie beyond the range where a false alarm preceded it
            if start + _PEAK_RANGE > len(p):
                self._search += start
                return False
            near = np.abs(p[start : start + _PEAK_RANGE])
            peak = start + int(near.argmax())
            if peak < start + _PEAK_RANGE - 8 or peak == start:
                break
            start = peak
        if stop < self._search + peak + SPAN[1]:
            self._search += start
            return False
        return self._synchronise(self._search + peak, complex(p[peak]), events)

    def _synchronise(self, start: int, p: complex, events: list[Arrival | Payload]) -> bool:
        """Confirm the burst whose first sample is about ``start``, and read its header."""
        low = start + SPAN[0]
        timing = sync_long(self._buffer.view(low, start + SPAN[1]), sync_short.coarse_cfo(p))
        if timing is None or abs(low + timing.first_long - self._failed) < _SAME:
            self._search = start + _ADVANCE
            return True
        origin = low + timing.first_long
        payload = origin + 2 * FFT + HEADER_SYMBOLS * SYMBOL
        if self._buffer.stop < payload:
            self._search = start
            return False
        self.counts["detections"] += 1
        pending = self._read_header(origin, timing.cfo)
        if pending is None:
            self.counts["header_failures"] += 1
            self._failed = origin
            self._search = start + _ADVANCE
            return True
        self._pending = pending
        events.append(pending.arrival)
        return True

    def _read_header(self, origin: int, cfo: float) -> _Pending | None:
        """Decode the header; it then serves as six more training symbols.

        Where the CRC fails, the most likely bits, mostly right, give a better channel for a second try:
        worth 0.5 dB, and it costs nothing on the packets that do not need it.
        """
        end = 2 * FFT + HEADER_SYMBOLS * SYMBOL
        x = self._buffer.view(origin, origin + end)
        channel, long_raw = channel_estimate.from_long_training(x, cfo)
        symbols = carriers(x, HEADER_SYMBOLS, cfo, 2 * FFT)
        products = frame_equalizer.pilot_products(symbols, channel, 0)
        for _ in range(2):
            phase = frame_equalizer.common_phase(products, channel.snr)
            points, weight = frame_equalizer.equalize(symbols, channel, phase)
            header, bits = decode_header((points.real * weight).ravel())
            sent = np.empty(symbols.shape, np.float32)
            sent[:, DATA_IN_USED] = 2.0 * bits.reshape(HEADER_SYMBOLS, N_DATA) - 1
            sent[:, PILOT_IN_USED] = pilot_polarity(0, HEADER_SYMBOLS)[:, None] * PILOT_VALUE
            raw = symbols * sent
            channel = channel_estimate.refine(np.concatenate([long_raw, raw]))
            products = raw @ np.conj(channel.response)
            if header is not None:
                arrival = Arrival(header, channel.snr_db, cfo, origin - FIRST)
                symbols_left = payload_symbols(header.mcs, header.length)
                return _Pending(arrival, origin, origin + end, symbols_left, channel, products)
        return None

    def _finish(self, events: list[Arrival | Payload]) -> bool:
        """Demodulate the pending payload once its last sample is here."""
        packet = self._pending
        end = packet.payload + packet.symbols * SYMBOL
        if self._buffer.stop < end:
            return False
        self._pending = None
        header = packet.arrival.header
        x = self._buffer.view(packet.origin, end)
        start = packet.payload - packet.origin
        symbols = carriers(x, packet.symbols, packet.arrival.cfo, start)
        products = frame_equalizer.pilot_products(symbols, packet.channel, HEADER_SYMBOLS)
        phase = frame_equalizer.common_phase(np.concatenate([packet.products, products]), packet.channel.snr)
        phase = phase[HEADER_SYMBOLS:]
        points, weight = frame_equalizer.equalize(symbols, packet.channel, phase)
        llr = frame_equalizer.decoder_input(points, weight, header.mcs, info_bits(header.length))
        events.append(Payload(packet.arrival, llr))
        sound = frame_equalizer.coherent_symbols(products, phase, packet.channel)
        if sound < packet.symbols:
            self.counts["resyncs"] += 1
        self._search = packet.payload + sound * SYMBOL
        return True
