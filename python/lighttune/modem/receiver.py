# SPDX-License-Identifier: GPL-3.0-or-later
"""The receiver up to the decoder's input: samples in, headers and soft bits out, in order of arrival."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import channel_estimate, frame_equalizer, sync_short
from .channel_estimate import Channel, carriers
from .framing import HEADER_SYMBOLS, info_bits, payload_symbols
from .header import Header, decode_header
from .mapping import constellation
from .numerology import (
    CP,
    DATA_IN_USED,
    FFT,
    N_DATA,
    PILOT_IN_USED,
    SHORT,
    SYMBOL,
    pilots,
)
from .preamble import LONG_CARRIERS
from .sample_buffer import SampleBuffer
from .sync_long import FIRST, SPAN, sync_long

_PEAK_RANGE = 160  # samples after a crossing in which the autocorrelation peaks: the short training's length
_ADVANCE = 56  # after a false alarm; less than sync_long's reach, so a burst right after it is not skipped
_SAME = 16  # two timings closer than this are the same burst
# Samples of a look for the next burst: after one, and at most. From 500 on numpy lets other threads run
# Python, which costs more than the arithmetic where several are at work.
_NEAR, _FAR = 480, 1 << 14
_BPSK = constellation(1).real

_HEAD_SAMPLES = 2 * FFT + HEADER_SYMBOLS * SYMBOL
_HEAD_STARTS = np.r_[0, FFT, 2 * FFT + CP + SYMBOL * np.arange(HEADER_SYMBOLS)]
_HEAD = _HEAD_STARTS[:, None] + np.arange(FFT)  # FFT windows of the long symbols and the header


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
    """The soft bits of a packet, and the points that they were read from.

    Args:
        arrival: the header that announced it.
        llr: decoder input, shape ``(2 * (8 * (length + 4) + 6),)``, float32, positive for bit 1.
        points: equalised data carriers, shape ``(symbols, 48)``, complex64.
    """

    arrival: Arrival
    llr: np.ndarray
    points: np.ndarray


@dataclass(frozen=True, slots=True)
class Skipped:
    """A burst that was not read.

    Args:
        start: absolute number of its first sample, as in `Arrival`.
    """

    start: int


Event = Arrival | Payload | Skipped


@dataclass(frozen=True, slots=True)
class _Pending:
    """A packet whose payload has not all arrived."""

    arrival: Arrival
    origin: int  # absolute number of the first long symbol's window start: phase reference
    symbols: int  # of the payload
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
        self._reach = _NEAR
        self._pending: _Pending | None = None
        self._failed = -_SAME

    def push(self, samples: np.ndarray, skip: bool = False) -> list[Event]:
        """Take samples and return what they complete.

        Args:
            samples: shape ``(n,)``, complex64, finite.
            skip: do not read the bursts that begin here: each is a `Skipped` at a fraction of the cost.
        """
        self._buffer.append(samples)
        events: list[Event] = []
        while self._finish(events) if self._pending is not None else self._hunt(events, skip):
            pass
        return events

    def _hunt(self, events: list[Event], skip: bool) -> bool:
        """Look for the next burst from `_search` on; False when more samples are needed.

        It looks near first, where back to back packets begin, then ever farther.
        """
        self._buffer.discard(self._search)
        stop = self._buffer.stop
        if stop - self._search < SHORT:
            return False
        reach = min(self._search + self._reach, stop)
        p, strength, crossed = sync_short.autocorrelation(self._buffer.view(self._search, reach))
        start = int(crossed.argmax())
        if not crossed[start]:
            self._search += len(p)
            self._reach = min(2 * self._reach, _FAR)
            return reach < stop
        self._reach = _NEAR
        while True:  # the peak may lie beyond the range where a false alarm preceded it
            if start + _PEAK_RANGE > len(p):
                self._search += start
                return reach < stop
            peak = start + int(strength[start : start + _PEAK_RANGE].argmax())
            if peak < start + _PEAK_RANGE - 8 or peak == start:
                break
            start = peak
        if stop < self._search + peak + SPAN[1]:
            self._search += start
            return False
        return self._synchronise(self._search + peak, complex(p[peak]), events, skip)

    def _synchronise(self, start: int, p: complex, events: list[Event], skip: bool) -> bool:
        """Confirm the burst whose first sample is about ``start``, and read its header."""
        low = start + SPAN[0]
        timing = sync_long(self._buffer.view(low, start + SPAN[1]), sync_short.coarse_cfo(p))
        if timing is None or abs(low + timing.first_long - self._failed) < _SAME:
            self._search = start + _ADVANCE
            return True
        origin = low + timing.first_long
        payload = origin + _HEAD_SAMPLES
        if skip:
            self.counts["detections"] += 1
            self._search = payload + SYMBOL  # no packet is shorter
            events.append(Skipped(origin - FIRST))
            return True
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
        windows = self._buffer.view(origin, origin + _HEAD_SAMPLES)[_HEAD]
        raw = carriers(windows, _HEAD[:, 0], cfo)  # received over sent, once what was sent is divided out
        symbols = raw[2:].copy()
        raw[:2] *= LONG_CARRIERS
        channel = channel_estimate.from_long_training(raw[:2])
        products = frame_equalizer.pilot_products(symbols, channel, 0)
        for _ in range(2):
            correction = frame_equalizer.phase_correction(products, channel.snr)
            points, weight = frame_equalizer.equalize(symbols, channel, correction)
            header, bits = decode_header((points.real * weight).ravel())
            sent = np.empty(symbols.shape, np.float32)
            sent[:, DATA_IN_USED] = _BPSK.take(bits).reshape(HEADER_SYMBOLS, N_DATA)
            sent[:, PILOT_IN_USED] = pilots(0, HEADER_SYMBOLS)
            np.multiply(symbols, sent, out=raw[2:])
            channel = channel_estimate.refine(raw)
            products = raw[2:] @ np.conjugate(channel.response)
            if header is not None:
                arrival = Arrival(header, channel.snr_db, cfo, origin - FIRST)
                symbols_left = payload_symbols(header.mcs, header.length)
                return _Pending(arrival, origin, symbols_left, channel, products)
        return None

    def _finish(self, events: list[Event]) -> bool:
        """Demodulate the pending payload once its last sample is here."""
        packet = self._pending
        start = packet.origin + _HEAD_SAMPLES
        end = start + packet.symbols * SYMBOL
        if self._buffer.stop < end:
            return False
        self._pending = None
        header = packet.arrival.header
        windows = self._buffer.view(start, end).reshape(packet.symbols, SYMBOL)[:, CP:]
        first = _HEAD_SAMPLES + CP + SYMBOL * np.arange(packet.symbols)
        symbols = carriers(windows, first, packet.arrival.cfo)
        products = frame_equalizer.pilot_products(symbols, packet.channel, HEADER_SYMBOLS)
        known = np.concatenate([packet.products, products])
        correction = frame_equalizer.phase_correction(known, packet.channel.snr)[HEADER_SYMBOLS:]
        points, weight = frame_equalizer.equalize(symbols, packet.channel, correction)
        llr = frame_equalizer.decoder_input(points, weight, header.mcs, info_bits(header.length))
        events.append(Payload(packet.arrival, llr, points))
        sound = frame_equalizer.coherent_symbols(products, correction, packet.channel)
        if sound < packet.symbols:
            self.counts["resyncs"] += 1
        self._search = start + sound * SYMBOL
        return True
