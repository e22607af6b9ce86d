# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in radio, through UHD's own sink and source: what a radio has, and what goes wrong with one."""

import time

import numpy as np
import pmt
import pytest
from gnuradio import blocks, gr, uhd

from flowgraph import running, until
from usrp.radios import LENGTH, RATE, Feed, Trial, burst, noise

N = 2000


def one_way(args, x, tags=None, n=None, **settings):
    """What channel 1 hears of what channel 0 sends."""
    trial = Trial([(args, 0)], [(args, 1)], [(x, burst(0, len(x)) if tags is None else tags)], **settings)
    (y,) = trial.run(n or len(x))
    return y, trial


@pytest.mark.parametrize("pacing", ["virtual", "real"])
def test_2000_samples_arrive_exactly(pacing, radio, rng):
    x, args = noise(N, rng), radio(pacing)
    trial = Trial([(args, 0)], [(args, 1)], [(x, burst(0, N))])
    with trial.running():  # in real time the burst begins when this computer comes to it
        until(lambda: np.count_nonzero(trial.samples()[0]) >= N, "the burst", 30)
    (y,) = trial.samples()
    first = np.flatnonzero(y)[0]
    assert np.array_equal(y[first : first + N], x)
    assert not y[first + N :].any()


def test_a_stopped_flowgraph_can_be_started_again(radio, rng):
    x = noise(N, rng)
    trial = Trial([(radio(), 0)], [(radio(), 1)], [(x, burst(0, N))])
    for _ in range(2):
        trial.run(N)


@pytest.mark.parametrize(("tx_gain", "rx_gain"), [(0, 0), (20, 0), (0, 30), (10, 15)])
def test_both_gains_scale_the_samples(tx_gain, rx_gain, radio, rng):
    x = noise(N, rng, top=0.1)
    args = radio(path_loss_db=20)
    trial = Trial([(args, 0)], [(args, 1)], [(x, burst(0, N))])
    trial.sinks[0].set_gain(tx_gain)
    trial.sources[0].set_gain(rx_gain)
    (y,) = trial.run(N)
    np.testing.assert_allclose(y[:N], x * 10 ** ((tx_gain + rx_gain - 20) / 20), rtol=1e-5)


def test_the_receiver_s_converter_clips_and_has_few_bits(radio, rng):
    x = noise(N, rng, top=1.0)
    args = radio(adc_bits=4)
    trial = Trial([(args, 0)], [(args, 1)], [(x, burst(0, N))])
    trial.sources[0].set_gain(6)
    (y,) = trial.run(N)
    parts = y[:N].view(np.float32)
    assert parts.max() == 1
    assert parts.min() == -1
    assert set(np.unique(parts * 8)) == set(range(-8, 9))


def test_the_transmitter_s_amplifier_saturates(radio, rng):
    x = noise(N, rng, top=0.7)
    args = radio(saturation_dbfs=-6)
    y, _ = one_way(args, x)
    assert np.abs(y).max() == pytest.approx(10 ** (-6 / 20), rel=1e-5)


def test_delay_frequency_offset_and_noise_are_what_was_asked_for(radio):
    n = 20000
    x = np.full(n, 0.5, np.complex64)
    y, _ = one_way(radio(delay=100, cfo=1234, noise_dbfs=-40), x, n=n)
    assert np.mean(np.abs(y[:100]) ** 2) == pytest.approx(1e-4, rel=0.4)  # 100 samples: 10 % a deviation
    tone = y[100:n]
    turns = np.unwrap(np.angle(tone)) / (2 * np.pi)
    slope = np.polyfit(np.arange(len(tone)) / RATE, turns, 1)[0]
    assert slope == pytest.approx(1234, abs=1)
    flat = tone * np.exp(-2j * np.pi * 1234 * np.arange(len(tone)) / RATE)
    assert np.var(flat) == pytest.approx(1e-4, rel=0.05)


def test_the_external_clock_takes_the_frequency_offset_away(radio, rng):
    x, args = noise(N, rng), radio(cfo=5000)
    trial = Trial([(args, 0)], [(args, 1)], [(x, burst(0, N))])
    trial.sources[0].set_clock_source("external")
    assert np.array_equal(trial.run(N)[0][:N], x)


def test_fading_has_unit_mean_power_and_the_doppler_asked_for(radio):
    n, doppler_hz = 400_000, 400.0
    x = np.full(n, 0.2, np.complex64)
    gains = []
    for seed in range(4):
        y, _ = one_way(radio(doppler=doppler_hz, seed=seed, serial=seed), x, n=n)
        gains.append(y[:n] / 0.2)
    assert np.mean(np.abs(gains) ** 2) == pytest.approx(1, rel=0.15)  # 4 times 160 coherence times
    assert np.min(np.abs(gains)) < 0.1  # it fades
    lag = int(RATE * 0.3827 / doppler_hz)  # first zero of J0(2 pi x)
    correlation = [abs(np.vdot(g[:-lag], g[lag:])) / np.vdot(g, g).real for g in gains]
    assert np.mean(correlation) < 0.25


def test_a_seed_repeats_every_sample_and_another_one_none(radio, rng):
    x = noise(N, rng)
    runs = [
        one_way(radio(seed=seed, noise_dbfs=-30, doppler=50, paths=3, cfo=700), x)[0][:N]
        for seed in (1, 1, 2)
    ]
    assert np.array_equal(runs[0], runs[1])
    assert not np.any(runs[0] == runs[2])


def test_a_receiver_on_another_frequency_hears_nothing(radio, rng):
    x, args = noise(N, rng), radio()
    trial = Trial([(args, 0)], [(args, 0), (args, 1)], [(x, burst(0, N))])
    trial.sources[0].set_center_freq(925e6)
    silent, heard = trial.run(N)
    assert not silent.any()
    assert np.array_equal(heard[:N], x)


def test_two_devices_and_two_directions_share_the_air(radio, rng):
    a, b = radio(serial="a"), radio(serial="b")
    x, back = noise(N, rng), noise(N, rng)
    trial = Trial([(a, 0), (b, 0)], [(a, 0), (b, 0)], [(x, burst(0, N)), (back, burst(0, N))])
    for radios, freq in ((0, 915e6), (1, 925e6)):  # FDD: what one sends, the other hears
        trial.sinks[radios].set_center_freq(freq)
        trial.sources[1 - radios].set_center_freq(freq)
    at_a, at_b = trial.run(2 * N)
    for y, sent in ((at_b, x), (at_a, back)):
        first = np.flatnonzero(y)[0]
        assert np.array_equal(y[first : first + N], sent)


def test_one_stream_of_two_channels_keeps_them_in_step(radio, rng):
    args, x, top = radio(), noise(2 * N, rng).reshape(2, N), gr.top_block()
    both = uhd.stream_args(cpu_format="fc32", channels=[0, 1])
    sink, source = uhd.usrp_sink(args, both, LENGTH), uhd.usrp_source(args, both)
    feeds = [Feed(x[c], burst(0, N)) for c in range(2)]
    heard = [blocks.vector_sink_c() for _ in range(2)]
    for c in range(2):
        for block in (sink, source):
            block.set_center_freq(900e6 + 10e6 * c, c)  # or each would hear both
        top.connect(feeds[c], (sink, c))
        top.connect((source, c), heard[c])
    with running(top):
        until(lambda: all(np.count_nonzero(h.data()) >= N for h in heard), "both channels")
    y = np.array([np.array(h.data(), np.complex64)[: 2 * N] for h in heard])
    first = np.flatnonzero(y[0])[0]
    assert np.array_equal(y[:, first : first + N], x)


@pytest.mark.parametrize("pacing", ["virtual", "real"])
def test_a_timed_burst_arrives_at_its_time(pacing, radio, rng):
    x, args = noise(2 * N, rng), radio(pacing, delay=7)
    trial = Trial([(args, 0)], [(args, 1)], [(x, [])])
    now_s = trial.sinks[0].get_time_now().get_real_secs()
    times_s = now_s + np.array([1.0, 1.1])  # a busy computer has started the flowgraph by then
    trial.feeds[0].tags = burst(0, N, times_s[0]) + burst(N, N, times_s[1])
    with trial.running():
        until(lambda: np.count_nonzero(trial.samples()[0]) >= 2 * N, "both bursts", 20)
    (y,) = trial.samples()
    stamp = next(t for t in trial.heard[0].tags() if pmt.symbol_to_string(t.key) == "rx_time")
    start_s = pmt.to_uint64(pmt.tuple_ref(stamp.value, 0)) + pmt.to_double(pmt.tuple_ref(stamp.value, 1))
    for half, time_s in enumerate(times_s):
        first = np.flatnonzero(y)[half * N]
        assert np.array_equal(y[first : first + N], x[half * N :][:N])
        assert start_s + (first - stamp.offset - 7) / RATE == pytest.approx(time_s, abs=1.01 / RATE)
    assert trial.codes().count("time_error") == 0


def test_a_timed_burst_in_the_past_is_late_and_not_sent(radio, rng):
    x, args = noise(2 * N, rng), radio()
    keep = uhd.usrp_sink(args, uhd.stream_args(cpu_format="fc32", channels=[0]), "unused")
    keep.set_time_now(uhd.time_spec(100.0))
    trial = Trial([(args, 0)], [(args, 1)], [(x, burst(0, N, 99.0) + burst(N, N, 100.5))])
    with trial.running():
        until(lambda: trial.codes() == ["time_error", "burst_ack"], "both events")
        until(lambda: np.count_nonzero(trial.samples()[0]) >= N, "the second burst")
    (y,) = trial.samples()
    assert np.array_equal(y[np.flatnonzero(y)], x[N:])


def test_a_burst_without_an_end_underruns_once(radio, rng):
    x = noise(N, rng)
    args = radio("real")
    trial = Trial([(args, 0)], [(args, 1)], [(x, [])], length_tag="")  # a stream that ends without tx_eob
    with trial.running():
        until(lambda: "underflow" in trial.codes(), "the underrun")
        time.sleep(0.1)
    assert trial.codes().count("underflow") == 1


class Sleeper(gr.sync_block):
    """Takes nothing for a while, once."""

    def __init__(self, seconds):
        gr.sync_block.__init__(self, name="sleeper", in_sig=[np.complex64], out_sig=None)
        self.seconds = seconds
        self.taken = 0

    def work(self, input_items, output_items):
        time.sleep(self.seconds)
        self.seconds = 0
        self.taken += len(input_items[0])
        return len(input_items[0])


def test_a_host_that_takes_samples_too_late_loses_some_and_time_shows_it(radio):
    source = uhd.usrp_source(radio("real"), uhd.stream_args(cpu_format="fc32", channels=[0]))
    source.set_samp_rate(5e6)  # the radio keeps 262,144 samples: 52 ms
    sleeper, stamps, top = (
        Sleeper(0.5),
        blocks.tag_debug(gr.sizeof_gr_complex, "rx", "rx_time"),
        gr.top_block(),
    )
    stamps.set_display(False)
    top.connect(source, sleeper)
    top.connect(source, stamps)
    top.start()
    until(lambda: stamps.num_tags() >= 2, "time to jump")
    top.stop()
    top.wait()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("colour=red", "colour"),
        ("noise_dbfs=loud", "noise_dbfs=loud"),
        ("delay=-1", "delay"),
        ("paths=0", "paths"),
    ],
)
def test_wrong_arguments_are_refused_by_name(wrong, named, radio):
    with pytest.raises(RuntimeError, match=named):
        uhd.usrp_sink(f"{radio()},{wrong}", uhd.stream_args(cpu_format="fc32", channels=[0]), "")
