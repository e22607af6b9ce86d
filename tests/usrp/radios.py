# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples through UHD's own blocks, for the tests of the stand-in radio."""

import time
from contextlib import contextmanager

import numpy as np
import pmt
from gnuradio import blocks, gr, uhd

from flowgraph import Collector, until

RATE = 1e6
LENGTH = "packet_len"


def tag(offset, key, value):
    made = gr.tag_t()
    made.offset, made.key, made.value = offset, pmt.intern(key), value
    return made


def burst(offset, length, time_s=None):
    """Tags of a burst of ``length`` samples at ``offset``, to be sent at ``time_s`` of the radio's time."""
    tags = [tag(offset, LENGTH, pmt.from_long(length))]
    if time_s is not None:
        seconds = int(time_s)
        when = pmt.make_tuple(pmt.from_uint64(seconds), pmt.from_double(time_s - seconds))
        tags.append(tag(offset, "tx_time", when))
    return tags


def noise(n, rng, top=0.7):
    """Samples that fit the converter."""
    return (rng.uniform(-top, top, n) + 1j * rng.uniform(-top, top, n)).astype(np.complex64)


class Feed(gr.sync_block):
    """Sends samples and tags, and then lives on: a source that ends would end the sink's messages too."""

    def __init__(self, samples, tags):
        gr.sync_block.__init__(self, name="feed", in_sig=None, out_sig=[np.complex64])
        self.samples, self.tags = samples, tags

    def start(self):
        self.begin = self.nitems_written(0)
        for t in self.tags:
            self.add_item_tag(0, self.begin + t.offset, t.key, t.value)
        return True

    def work(self, input_items, output_items):
        done = self.nitems_written(0) - self.begin
        n = min(len(output_items[0]), len(self.samples) - done)
        if n == 0:
            time.sleep(0.01)
        output_items[0][:n] = self.samples[done : done + n]
        return n


class Trial:
    """What is sent and what is heard, by UHD's own blocks.

    ``tx`` and ``rx`` are (device arguments, channel) of any number of each; what goes out is pairs of samples
    and tags, by transmitter.
    """

    def __init__(self, tx, rx, samples, length_tag=LENGTH, rate=RATE):
        self.top = gr.top_block()
        self.feeds, self.sinks, self.sources, self.heard = [], [], [], []
        self.events = Collector()
        for (args, channel), (x, tags) in zip(tx, samples, strict=True):
            stream = uhd.stream_args(cpu_format="fc32", channels=[channel])
            sink = uhd.usrp_sink(args, stream, length_tag)
            sink.set_samp_rate(rate)
            sink.set_center_freq(915e6)
            self.feeds.append(Feed(x, tags))
            self.top.connect(self.feeds[-1], sink)
            self.top.msg_connect(sink, "async_msgs", self.events, "in")
            self.sinks.append(sink)
        for args, channel in rx:
            source = uhd.usrp_source(args, uhd.stream_args(cpu_format="fc32", channels=[channel]))
            source.set_samp_rate(rate)
            source.set_center_freq(915e6)
            heard = blocks.vector_sink_c()
            self.top.connect(source, heard)
            self.sources.append(source)
            self.heard.append(heard)

    @contextmanager
    def running(self):
        self.top.start()
        try:
            yield self
        finally:
            self.top.stop()
            self.top.wait()

    def run(self, n):
        """Run until every receiver has ``n`` samples; what they have by then, as arrays."""
        with self.running():
            until(lambda: all(len(h.data()) >= n for h in self.heard), f"{n} samples", 30)
        return self.samples()

    def samples(self):
        return [np.array(h.data(), np.complex64) for h in self.heard]

    def codes(self):
        """Names of the events that UHD told of."""
        return [
            code for _, event in self.events.dicts() for code in event["event_code"] if code
        ]  # nil ends it
