# SPDX-License-Identifier: GPL-3.0-or-later
"""What `usrp_tx` and `usrp_rx` share: opening a channel of a USRP, refusing what it cannot do, counting."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pmt
from gnuradio import gr

from ._block import Counters, HierBlock, MessageBlock, handles
from ._messages import Refused, need_dict, spoilt_message

_EVENT, _OVERFLOWS = pmt.intern("event_code"), pmt.intern("overflows")
_RX_TIME = pmt.intern("rx_time")

TX_KINDS = {
    "underflow": "underruns",
    "underflow_in_packet": "underruns",
    "time_error": "late",
    "seq_error": "sequence_errors",
    "seq_error_in_burst": "sequence_errors",
    "burst_ack": "bursts",
}
"""What UHD calls the events of a transmitter, and what `status` calls them."""
SPOILT = {
    "underruns": "underrun of the radio",
    "late": "too late for the radio",
    "sequence_errors": "lost on the way to the radio",
}
"""Those that spoil a packet, and the cause of its erasure."""
RX_KIND = "overruns"

INTAKE = 1 << 16
"""Received samples that may wait for the blocks behind the source."""
_GATHER_S = 0.004  # a radio brings 1000 pieces a second: Python takes several at once
_STAMPS = 256


class UsrpError(SystemExit):
    """The radio cannot be used; the text is one line that says why and what to do.

    It is a `SystemExit`, so that a program which does not catch it, such as one that GRC has made, ends with
    this line on standard error and status 1, without a traceback.
    """

    def __init__(self, text: str) -> None:
        super().__init__("lighttune: " + " ".join(text.split()))


@dataclass(frozen=True)
class Tuning:
    """One channel of a USRP, and how it is set.

    Args:
        uhd_args: UHD's device arguments, as ``serial=30AD123``; empty for any device.
        samp_rate: samples per second, above 0.
        freq_hz: centre frequency, above 0.
        gain_db: gain, within the radio's range.
        antenna: antenna port; empty for the radio's default.
        channel: which of the radio's channels, from 0.
        clock_source: ``"internal"``, ``"external"`` (10 MHz input) or what else it has; empty: as it is.

    Raises:
        ValueError: a number is out of range.
    """

    uhd_args: str
    samp_rate: float
    freq_hz: float
    gain_db: float
    antenna: str
    channel: int
    clock_source: str

    def __post_init__(self) -> None:
        for name in ("samp_rate", "freq_hz"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} = {value!r}: give a finite number above 0")
        if not isinstance(self.channel, int) or self.channel < 0:
            raise ValueError(f"channel = {self.channel!r}: give an integer of 0 or more")


def open_usrp(make: Callable[[Any, Any], Any], tuning: Tuning) -> Any:
    """A `uhd.usrp_sink` or `uhd.usrp_source` with one channel, set as ``tuning`` says.

    Args:
        make: called with the module `gnuradio.uhd` and its stream arguments; makes the block.
        tuning: which channel, and how to set it.

    Raises:
        UsrpError: there is no such radio, or it cannot be set like this.
    """
    os.environ.setdefault("UHD_LOG_CONSOLE_LEVEL", "warning")  # read when the library is loaded
    try:
        from gnuradio import uhd
    except ImportError as error:
        raise UsrpError(f"GNU Radio has no UHD here ({error}): install it with UHD support") from None
    try:
        radio = _with_channel(lambda n: make(uhd, uhd.stream_args(cpu_format="fc32", channels=[n])), tuning)
    except RuntimeError as error:
        raise UsrpError(
            f"no USRP for uhd_args='{tuning.uhd_args}' ({error}): see what uhd_find_devices finds, "
            "or try --loopback"
        ) from None
    try:
        _set(radio, tuning)
    except (RuntimeError, LookupError) as error:
        raise UsrpError(f"the USRP '{tuning.uhd_args}' cannot be set as asked: {error}") from None
    return radio


def _with_channel(make: Callable[[int], Any], tuning: Tuning) -> Any:
    """The block with the channel that is asked for, if there is one.

    GNU Radio 3.10.5's sink may crash the program if it is made with a channel that the radio has not: it
    raises when its thread runs already.
    """
    first = make(0)
    boards = range(first.get_num_mboards())
    channels = sum(len(first.get_subdev_spec(board).split()) for board in boards)
    if tuning.channel >= channels:
        raise UsrpError(f"channel = {tuning.channel}: the USRP '{tuning.uhd_args}' has {channels}, from 0")
    return first if tuning.channel == 0 else make(tuning.channel)


def _set(radio: Any, tuning: Tuning) -> None:
    if tuning.clock_source:
        radio.set_clock_source(tuning.clock_source)
    radio.set_samp_rate(tuning.samp_rate)
    rate = radio.get_samp_rate()
    if abs(rate - tuning.samp_rate) > 1e-6 * tuning.samp_rate:
        raise UsrpError(f"the USRP cannot do {tuning.samp_rate:g} samples/s, but {rate:.9g}: give that")
    for name, value, allowed in (
        ("gain_db", tuning.gain_db, radio.get_gain_range()),
        ("freq_hz", tuning.freq_hz, radio.get_freq_range()),
    ):
        if not allowed.start() <= value <= allowed.stop():
            raise UsrpError(f"{name} = {value:g}: this USRP does {allowed.start():g} to {allowed.stop():g}")
    radio.set_center_freq(tuning.freq_hz)
    radio.set_gain(tuning.gain_db)
    if tuning.antenna:
        if tuning.antenna not in radio.get_antennas():
            ports = ", ".join(radio.get_antennas())
            raise UsrpError(f"antenna = '{tuning.antenna}': this USRP's channel has {ports}")
        radio.set_antenna(tuning.antenna)


class Watch(MessageBlock):
    """Counts what UHD tells on the ``async_msgs`` ports of its blocks, and tells of packets that were spoilt.

    Args:
        name: the block's, in its status.
        kinds: counts that are shown from the start, at 0.
        settings: what the status says besides; may be changed.
    """

    def __init__(self, name: str, kinds: tuple[str, ...], settings: dict[str, Any] | None = None) -> None:
        super().__init__(name, outputs=("erasure",))
        self.settings = settings or {}
        self._kinds = kinds

    def details(self) -> dict[str, Any]:
        return {**self.settings, **dict.fromkeys(self._kinds, 0)}

    @handles("async_msgs")
    def on_async_msgs(self, message: pmt.pmt_base) -> None:
        """Count the events of one message: a pair of a symbol and a dict."""
        if not pmt.is_pair(message):
            raise Refused("not a pair")
        event = need_dict(pmt.cdr(message))
        codes = pmt.dict_ref(event, _EVENT, pmt.PMT_NIL)
        lost = pmt.dict_ref(event, _OVERFLOWS, pmt.PMT_NIL)
        if pmt.is_uint64(lost):
            self.counters.add(RX_KIND, pmt.to_uint64(lost))
        elif pmt.is_pair(codes):
            while pmt.is_pair(codes):
                self._count(pmt.car(codes))
                codes = pmt.cdr(codes)
        else:
            raise Refused("no event")

    def _count(self, code: pmt.pmt_base) -> None:
        try:
            kind = TX_KINDS.get(pmt.symbol_to_string(code)) if pmt.is_symbol(code) else None
        except UnicodeDecodeError:  # a symbol need not be text
            kind = None
        if kind is None:
            raise Refused("event unknown")
        self.counters.add(kind)
        if kind in SPOILT:
            self.publish("erasure", spoilt_message(SPOILT[kind]))


class UsrpChannel(HierBlock):
    """What `usrp_tx` and `usrp_rx` have in common: the port ``status``, and a gain that can be changed.

    A subclass sets ``radio`` to what `open_usrp` gave it.
    """

    def __init__(
        self,
        name: str,
        inputs: gr.io_signature,
        outputs: gr.io_signature,
        kinds: tuple[str, ...],
        tuning: Tuning,
    ) -> None:
        super().__init__(name, inputs, outputs)
        self.radio: Any = None  # in a dry run there is none
        settings = {key: getattr(tuning, key) for key in ("samp_rate", "freq_hz", "gain_db")}
        self.watch = Watch(name, kinds, settings)
        self.message_port_register_hier_out("status")
        self.msg_connect(self.watch, "status", self, "status")

    def set_gain(self, gain_db: float) -> None:
        """Change the gain while the flowgraph runs, within the radio's range; a dry run has none."""
        if self.radio is not None:
            self.radio.set_gain(gain_db)
            self.watch.settings["gain_db"] = gain_db

    def now_s(self) -> float:
        """The radio's time."""
        return self.radio.get_time_now().get_real_secs()

    def status(self) -> dict:
        """As published on ``status``."""
        return self.watch.status()


class Gaps(gr.sync_block):
    """Counts the gaps in received samples, and tells when a sample was received: UHD's source tags the time
    at the start, and anew after each gap.

    (What the source tells on ``async_msgs`` is gathered, and the last overruns come with the next ones.)

    Args:
        counters: where they are counted, as ``overruns``.
        samp_rate: samples per second.
    """

    def __init__(self, counters: Counters, samp_rate: float) -> None:
        gr.sync_block.__init__(self, name="usrp_rx gaps", in_sig=[np.complex64], out_sig=None)
        self._counters = counters
        self._samp_rate = samp_rate
        self._begun = False
        self._stamps: deque[tuple[int, float, bool]] = deque(maxlen=_STAMPS)  # sample, its time, after a gap?

    def start(self) -> bool:
        """The first tag is that of the start; GNU Radio calls it."""
        self._begun = False
        self._stamps.clear()
        return True

    def work(self, input_items: list[np.ndarray], output_items: list[np.ndarray]) -> int:
        """Look for tags, and leave the samples alone."""
        n = len(input_items[0])
        for tag in self.get_tags_in_window(0, 0, n, _RX_TIME):
            if self._begun:
                self._counters.add(RX_KIND)
            self._stamps.append((tag.offset, _seconds(tag.value), self._begun))
            self._begun = True
        if n < INTAKE // 4:
            time.sleep(_GATHER_S)  # or the calls alone would hold Python's lock for a fifth of the time
        return n

    def time_s(self, sample: int) -> float | None:
        """The radio's time at the sample of this number; None before the first is here."""
        known = None
        for offset, time_s, _ in tuple(self._stamps):
            if known is not None and offset > sample:
                break
            known = time_s + (sample - offset) / self._samp_rate
        return known

    def since(self, time_s: float) -> int:
        """Gaps that ended after this time, of the last ones."""
        return sum(after_gap and end_s >= time_s for _, end_s, after_gap in tuple(self._stamps))


def _seconds(stamp: pmt.pmt_base) -> float:
    return pmt.to_uint64(pmt.tuple_ref(stamp, 0)) + pmt.to_double(pmt.tuple_ref(stamp, 1))
