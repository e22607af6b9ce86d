# SPDX-License-Identifier: GPL-3.0-or-later
"""`usrp_rx`: one receiving channel of a USRP, or its place in a dry run."""

from __future__ import annotations

from gnuradio import gr

from ._usrp import INTAKE, RX_KIND, Gaps, Tuning, UsrpChannel, open_usrp

LOOPBACK_DOPPLER_HZ = 8.0
LOOPBACK_NOISE_DBFS = -36.0
"""Noise power of the dry run: 23 dB of SNR at the fading's mean for bursts of amplitude 0.2."""
_DELAYS, _TAPS = (0.0, 1.7, 3.4), (0.87, 0.44, 0.22)  # samples; unit power in total


class usrp_rx(UsrpChannel):
    """Receives samples with a USRP and counts what was lost.

    Ports: samples out (complex, parts within -1..1); ``status`` (message, see `MessageBlock.status`): the
    settings, and the count ``overruns`` (samples were lost because the computer took them too late).

    Args:
        uhd_args: UHD's device arguments, as ``serial=30AD123``; empty for any device. The same as a
            `usrp_tx`'s: both share the device.
        samp_rate: samples per second; the radio must be able to do exactly that.
        freq_hz: centre frequency.
        gain_db: receive gain, within the radio's range.
        antenna: antenna port, as ``RX2``; empty for the radio's default.
        channel: which of the radio's channels, from 0.
        clock_source: ``"internal"``, ``"external"`` or what else the radio has; empty: as it is.
        loopback: empty, or a dry run: the endpoint of the `usrp_tx` whose samples come here, instead of from
            a radio, through Rayleigh fading of 8 Hz on three paths and noise. Only bursts take time then.

    Raises:
        UsrpError: there is no such radio, or it cannot be set like this.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        uhd_args: str = "",
        samp_rate: float = 1e6,
        freq_hz: float = 915e6,
        gain_db: float = 0.0,
        antenna: str = "",
        channel: int = 0,
        clock_source: str = "",
        loopback: str = "",
    ) -> None:
        tuning = Tuning(uhd_args, samp_rate, freq_hz, gain_db, antenna, channel, clock_source)
        ports = gr.io_signature(0, 0, 0), gr.io_signature(1, 1, gr.sizeof_gr_complex)
        super().__init__("usrp_rx", *ports, (RX_KIND,), tuning)
        if loopback:
            self._dry_run(loopback, samp_rate)
        else:
            self.radio = open_usrp(lambda uhd, stream: uhd.usrp_source(uhd_args, stream), tuning)
            self.source = self.radio
            self.source.set_min_output_buffer(0, INTAKE)
            self.gaps = Gaps(self.watch.counters, samp_rate)
            self.connect(self.source, self.gaps)
            self.connect(self.source, self)

    def _dry_run(self, endpoint: str, samp_rate: float) -> None:
        from gnuradio import analog, blocks, channels, zeromq  # only a dry run needs them

        self.source = zeromq.pull_source(gr.sizeof_gr_complex, 1, endpoint)
        fading = channels.selective_fading_model(
            8, LOOPBACK_DOPPLER_HZ / samp_rate, False, 4.0, 1, _DELAYS, _TAPS, 8
        )
        noise = analog.noise_source_c(analog.GR_GAUSSIAN, 10 ** (LOOPBACK_NOISE_DBFS / 20), 2)
        adder = blocks.add_cc()
        self.connect(self.source, fading, (adder, 0))
        self.connect(noise, (adder, 1))
        self.connect(adder, self)
