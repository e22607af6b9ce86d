# SPDX-License-Identifier: GPL-3.0-or-later
"""The feedback path between hosts, at the transmitter's: frames over ZeroMQ in, messages out."""

from __future__ import annotations

import math
from typing import Any

from ..net.feedback_reader import FeedbackReader, News
from ._feedback import FeedbackOut
from ._selector import check_max_links


class feedback_receiver(FeedbackOut):
    """Receives what `feedback_sender` blocks tell, and publishes it as ``csi`` and ``feedback``.

    Connect its outputs as you would an in-process receiver's. Frames that are duplicate, late, malformed, of
    another sender than the one that speaks for the link, or over the rate are dropped and counted by cause.

    Args:
        endpoint: to bind to, as ``tcp://*:5557`` for other hosts, which wants a key.
        rate_hz: frames per second that are taken from one peer, above 0.
        max_links: links that are listened to at most, 1 to 65536.
        key: file with this host's secret key (``lighttune keys`` makes it); empty for plain text.
        allowed: folder with the public key files of the hosts that may connect, or a list of these with the
            links that each may speak for (`docs/feedback.md`); with ``key`` only.
        insecure: without a key, other hosts may reach the endpoint all the same, in plain text.

    Raises:
        OSError: the endpoint cannot be listened on, or a key file not read.
        ValueError: an argument is out of range, a file is not a key, or other hosts can reach the endpoint,
            in plain text.
    """

    def __init__(
        self,
        endpoint: str = "tcp://127.0.0.1:5557",
        rate_hz: float = 5000.0,
        max_links: int = 1024,
        key: str = "",
        allowed: str = "",
        insecure: bool = False,
    ) -> None:
        from ..net.feedback_server import FeedbackServer  # only who uses it needs ZeroMQ

        check_max_links(max_links)
        if not 0 < rate_hz < math.inf:
            raise ValueError(f"rate_hz = {rate_hz!r}: give frames per second, above 0")
        super().__init__("feedback_receiver", FeedbackReader(max_links))
        self._server = FeedbackServer(
            endpoint, self.reader, self._on_news, self.refuse, rate_hz, key, allowed, insecure
        )

    @property
    def endpoint(self) -> str:
        """Where it really listens."""
        return self._server.endpoint

    def _on_news(self, link: int, news: News) -> None:
        with self.guard("frame"):
            self.tell(link, news)

    def start(self) -> bool:
        self._server.start()
        return super().start()

    def stop(self) -> bool:
        self._server.stop()
        return super().stop()

    def details(self) -> dict[str, Any]:
        return {"endpoint": self.endpoint, **super().details(), "peers_refused": self._server.refused}
