# SPDX-License-Identifier: GPL-3.0-or-later
"""The feedback path between hosts, at the receiver's: messages in, frames over ZeroMQ out."""

from __future__ import annotations

from typing import Any

from ..net.feedback_frame import MAX_BLOCKS
from ..net.feedback_writer import FeedbackWriter
from ._feedback import FeedbackIn
from ._selector import check_max_links


class feedback_sender(FeedbackIn):
    """Sends ``csi`` and ``feedback`` to a `feedback_receiver` at the transmitter's host (`docs/feedback.md`).

    Connect a receiver's ``csi`` and ``feedback`` to the inputs of these names. Every frame repeats the
    verdicts of the last ``window`` blocks and the last SNR reports, so that a lost one does no harm. The
    block connects by itself, again and again, and never waits for the network.

    Args:
        endpoint: the feedback receiver's, as ``tcp://tx-host:5557``.
        window: blocks whose verdicts a frame carries, 8 to 128.
        gaps: ``"nack"``: a block whose number a later verdict jumps over is told as a NACK, its header was
            lost; ``"nothing"`` for a PHY whose verdicts come out of order.
        max_links: links that are told of at most, 1 to 65536.
        key: file with this host's secret key (``lighttune keys`` makes it); empty for plain text.
        server_key: file with the feedback receiver's public key; with ``key`` only.
        insecure: without a key, the endpoint may be on another host all the same, in plain text.

    Raises:
        OSError: a key file cannot be read.
        ValueError: an argument is out of range, a file is not a key, or the endpoint is on another host, in
            plain text.
    """

    def __init__(
        self,
        endpoint: str = "tcp://127.0.0.1:5557",
        window: int = MAX_BLOCKS,
        gaps: str = "nack",
        max_links: int = 1024,
        key: str = "",
        server_key: str = "",
        insecure: bool = False,
    ) -> None:
        from ..net.curve import client_keys  # only who uses it needs ZeroMQ
        from ..net.feedback_client import FeedbackClient

        check_max_links(max_links)
        writer = FeedbackWriter(window, gaps=gaps, max_links=max_links)
        keys = client_keys(endpoint, key, server_key, insecure)
        self._client = FeedbackClient(endpoint, writer, keys)
        super().__init__("feedback_sender", (), writer)

    def news(self, link: int, verdict: bool) -> None:
        self._client.wake()

    def start(self) -> bool:
        self._client.start()
        return super().start()

    def stop(self) -> bool:
        self._client.stop()
        return super().stop()

    def details(self) -> dict[str, Any]:
        client = self._client
        rtt = {} if client.rtt_s is None else {"rtt_ms": round(client.rtt_s * 1e3, 1)}
        return {
            **super().details(),
            "peer": "silent" if client.silent else "heard",
            **rtt,
            "frames": 0,
            **client.counts,
        }
