# SPDX-License-Identifier: GPL-3.0-or-later
"""`usrp_status`: how often a USRP lost samples, for flowgraphs with stock UHD blocks."""

from __future__ import annotations

from ._usrp import RX_KIND, TX_KINDS, Watch


class usrp_status(Watch):
    """Counts underruns, overruns, late bursts and sequence errors by kind.

    Connect the ``async_msgs`` outputs of `uhd.usrp_sink` and `uhd.usrp_source` to its input of that name.
    Its ``erasure`` is for `ack_merge`: a packet that has just left was spoilt.
    (`uhd.amsg_source` would only get part of the events: it reads the queue that the sink reads too.)
    `uhd.usrp_source` tells of overruns every 0.75 s at most, and of the last ones with the next. `usrp_tx`
    and `usrp_rx` have these counts on their own ``status``.
    """

    def __init__(self) -> None:
        super().__init__("usrp_status", (*dict.fromkeys(TX_KINDS.values()), RX_KIND))
