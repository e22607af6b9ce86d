# SPDX-License-Identifier: GPL-3.0-or-later
"""Builders for the modem's tests: bursts without GNU Radio, and flowgraphs that end."""

import threading
import time

import numpy as np
import pytest

from patience import WAIT_S


@pytest.fixture
def make_bursts():
    """Known packets in numpy: ``make(mcs, count, rng, length=128, gap=0) -> (samples, payloads)``."""
    from gnuradio.lighttune.modem import coding, framing, transmitter
    from gnuradio.lighttune.modem.header import Header

    def make(mcs, count, rng, length=128, gap=0):
        payloads = [rng.bytes(length) for _ in range(count)]
        parts = []
        for seq, payload in enumerate(payloads):
            coded = coding.convolve(framing.payload_bits(payload))
            parts += [transmitter.burst(Header(7, seq, mcs, length), coded), np.zeros(gap, np.complex64)]
        return np.concatenate(parts), payloads

    return make


@pytest.fixture
def awgn():
    """``awgn(samples, snr_db, rng, cfo_spacings=0)`` adds CFO and noise; bursts have unit power."""
    from gnuradio.lighttune.modem.numerology import FFT, noise_power

    def add(samples, snr_db, rng, cfo_spacings=0.0):
        n = len(samples)
        noise = rng.standard_normal(n) + 1j * rng.standard_normal(n)
        turned = samples * np.exp(2j * np.pi * cfo_spacings / FFT * np.arange(n) + 1j * rng.uniform(0, 6))
        return (turned + np.sqrt(noise_power(snr_db) / 2) * noise).astype(np.complex64)

    return add


class Wire:
    """Feeds messages into blocks and collects what they publish, through real message ports."""

    def __init__(self, top):
        import pmt
        from gnuradio import gr

        wire = self

        class Port(gr.basic_block):
            def __init__(self, name):
                gr.basic_block.__init__(self, "test port", None, None)
                self.messages = []
                self.message_port_register_out(pmt.intern("out"))
                self.message_port_register_in(pmt.intern("in"))
                self.set_msg_handler(pmt.intern("in"), self.take)

            def take(self, message):
                with wire.news:
                    self.messages.append(message)
                    wire.news.notify_all()

        self.news = threading.Condition()
        self._pmt, self._top, self._port = pmt, top, Port
        self._sources, self._sinks = {}, {}

    def feeds(self, block, port):
        """Connect ``put(port, message)`` to a block's input."""
        self._sources[port] = self._port(port)
        self._top.msg_connect(self._sources[port], "out", block, port)

    def hears(self, block, *ports, name=None):
        """Collect what a block publishes: ``wire[port]``, or ``wire[name]`` where a name is given."""
        for port in ports:
            self._sinks[name or port] = self._port(port)
            self._top.msg_connect(block, port, self._sinks[name or port], "in")

    def put(self, port, message):
        self._sources[port].message_port_pub(self._pmt.intern("out"), message)

    def __getitem__(self, port):
        return [self._pmt.to_python(m) for m in self._sinks[port].messages]

    def wait(self, port, count, timeout_s=WAIT_S):
        """Wait until ``count`` messages came from a port; returns whether they did."""
        with self.news:
            return self.news.wait_for(lambda: len(self._sinks[port].messages) >= count, timeout_s)


class Link:
    """``amc_tx`` -> channel blocks -> noise -> ``amc_rx`` in a running flowgraph."""

    def __init__(self, snr_db, cfo_spacings=0.0, seed=1, channel=(), samp_rate=1e6, **tx_args):
        from gnuradio import analog, blocks, gr
        from gnuradio.lighttune.blocks.amc_rx import amc_rx
        from gnuradio.lighttune.blocks.amc_tx import amc_tx
        from gnuradio.lighttune.modem.numerology import FFT, noise_power

        self.top = gr.top_block()
        self.tx, self.rx = amc_tx(**tx_args), amc_rx(samp_rate=samp_rate, on_overload="wait")
        power = noise_power(snr_db, tx_args.get("amplitude", 1.0) ** 2)
        noise = analog.noise_source_c(analog.GR_GAUSSIAN, float(np.sqrt(power)), seed)
        add = blocks.add_cc()
        rotator = blocks.rotator_cc(2 * np.pi * cfo_spacings / FFT)
        self.top.connect(self.tx, *channel, rotator, (add, 0))
        self.top.connect(noise, (add, 1))
        self.top.connect(add, self.rx)
        self.wire = Wire(self.top)
        self.wire.feeds(self.tx, "pdu_in")
        self.wire.hears(self.rx, "pdu_out", "feedback", "csi", "status")

    def send(self, payload, **metadata):
        import pmt

        self.wire.put(
            "pdu_in", pmt.cons(pmt.to_pmt(metadata), pmt.init_u8vector(len(payload), list(payload)))
        )

    def drained(self, packets, timeout_s=WAIT_S):
        """Wait until so many packets are sent, received and judged."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            sent = self.tx.framer.counters["sent"]
            if sent >= packets and self.rx.idle_after(self.tx.samples_sent):
                return True
            time.sleep(0.01)
        return False

    def __enter__(self):
        self.top.start()
        return self

    def __exit__(self, *error):
        self.top.stop()
        self.top.wait()


@pytest.fixture
def link():
    """The class `Link`."""
    return Link


@pytest.fixture
def wire():
    """The class `Wire`."""
    return Wire
