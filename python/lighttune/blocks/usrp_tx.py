# SPDX-License-Identifier: GPL-3.0-or-later
"""`usrp_tx`: one transmitting channel of a USRP, or its place in a dry run."""

from __future__ import annotations

from gnuradio import gr

from ._usrp import TX_KINDS, Tuning, UsrpChannel, open_usrp


class usrp_tx(UsrpChannel):
    """Sends bursts with a USRP and counts what went wrong.

    Ports: samples in (complex, parts within -1..1), each burst with a ``length_tag`` on its first sample, as
    `amc_tx` makes them; ``erasure`` (message ``{erasure, cause}``, for `ack_merge`: the radio spoilt a packet
    that has just left, or did not send it); ``status`` (message, see `MessageBlock.status`): the settings,
    and the counts ``underruns`` (samples came too late within a burst: the packet is spoilt), ``late`` (a
    timed burst came after its time: it is not sent), ``sequence_errors`` (samples lost on the way to the
    radio) and ``bursts`` (that the radio says it has sent).

    Args:
        uhd_args: UHD's device arguments, as ``serial=30AD123``; empty for any device.
        samp_rate: samples per second; the radio must be able to do exactly that.
        freq_hz: centre frequency.
        gain_db: transmit gain, within the radio's range.
        antenna: antenna port, as ``TX/RX``; empty for the radio's default.
        channel: which of the radio's channels, from 0.
        clock_source: ``"internal"``, ``"external"`` or what else the radio has; empty: as it is.
        length_tag: name of the packet-length tag.
        loopback: empty, or a dry run: the ZeroMQ endpoint, as ``tcp://127.0.0.1:5558``, over which the
            samples go to the `usrp_rx` that connects to it, instead of to a radio.

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
        length_tag: str = "packet_len",
        loopback: str = "",
    ) -> None:
        tuning = Tuning(uhd_args, samp_rate, freq_hz, gain_db, antenna, channel, clock_source)
        ports = gr.io_signature(1, 1, gr.sizeof_gr_complex), gr.io_signature(0, 0, 0)
        super().__init__("usrp_tx", *ports, tuple(dict.fromkeys(TX_KINDS.values())), tuning)
        self.message_port_register_hier_out("erasure")
        self.msg_connect(self.watch, "erasure", self, "erasure")
        if loopback:
            from gnuradio import zeromq  # only a dry run needs it

            self.sink = zeromq.push_sink(gr.sizeof_gr_complex, 1, loopback)
        else:
            self.radio = open_usrp(lambda uhd, stream: uhd.usrp_sink(uhd_args, stream, length_tag), tuning)
            self.sink = self.radio
            self.msg_connect(self.sink, "async_msgs", self.watch, "async_msgs")
        self.connect(self, self.sink)
