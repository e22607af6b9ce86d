# SPDX-License-Identifier: GPL-3.0-or-later
"""The links that a listener hears, for Prometheus."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..core.link_text import trigger_state, tuner_count
from ..core.link_view import LinkView
from .listener import Listener
from .metrics import Exporter

_GAUGES = {
    "snr_db": "Last reported SNR in dB",
    "mcs": "MCS index of the last decision",
    "bler_predicted": "Mean predicted BLER of the last 200 blocks, 0 to 1",
    "bler_observed": "Share of the last 200 blocks that failed, 0 to 1",
    "goodput_bits_per_second": "Payload bits acknowledged per second, over the last 2 s",
    "model_version": "Version of the weights that last decided",
    "fallback": "1 while OLLA decides for the link",
    "tuning": "1 while the trigger has the link tuned",
    "given_up": "1 while the tuner's guards have given up on the link",
}
_COUNTERS = {
    "decisions": "Blocks whose MCS was decided",
    "probes": "Of these, blocks sent one MCS higher to learn",
    "acks": "Blocks acknowledged",
    "nacks": "Blocks not acknowledged",
    "unmatched": "Feedback to unknown blocks",
    "updates": "Samples that changed the link's weights, as the tuner says",
    "fired": "Times that the trigger fired, as the tuner says",
}


class LinkMetrics(Exporter, Collector):
    """Reads a listener whenever it is scraped; all names begin with ``lighttune_`` (docs/monitoring.md)."""

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._listener = listener
        self.registry.register(self)

    def describe(self) -> list[Metric]:
        """Nothing beforehand: names do not clash in a registry of its own."""
        return []

    def collect(self) -> list[Metric]:
        """What Prometheus asks for."""
        with self._listener.lock:
            return [*self._of_links(), *self._of_the_rest()]

    def _of_links(self) -> Iterator[Metric]:
        labels = ("source", "link")
        gauges = {n: GaugeMetricFamily(f"lighttune_link_{n}", t, labels=labels) for n, t in _GAUGES.items()}
        counters = {
            n: CounterMetricFamily(f"lighttune_link_{n}", t, labels=labels) for n, t in _COUNTERS.items()
        }
        for source, view in self._listener.views.items():
            for number, link in view.links.items():
                values = _gauges(link) | _counters(link)
                for name, family in (gauges | counters).items():
                    if not math.isnan(values[name]):
                        family.add_metric((source, str(number)), values[name])
        yield from gauges.values()
        yield from counters.values()

    def _of_the_rest(self) -> Iterator[Metric]:
        heard, subscriber = self._listener, self._listener.subscriber
        dropped = CounterMetricFamily(
            "lighttune_block_dropped", "Messages that a block dropped", labels=("source", "block", "cause")
        )
        for source, view in heard.views.items():
            for (block, cause), n in view.drops.items():
                dropped.add_metric((source, block, cause), n)
        yield dropped
        lost = GaugeMetricFamily(
            "lighttune_host_lost_share",
            "Share of the last 10 s' packets that were lost to the host, 0 to 1, as ack_merge says",
            labels=("source",),
        )
        for source, view in heard.views.items():
            share = view.blocks.get("ack_merge", {}).get("lost_to_host")
            if isinstance(share, int | float):
                lost.add_metric((source,), share)
        yield lost
        yield CounterMetricFamily("lighttune_telemetry_messages", "Messages heard", subscriber.received)
        yield CounterMetricFamily("lighttune_telemetry_missed", "Messages lost on the way", subscriber.missed)
        refused = CounterMetricFamily(
            "lighttune_telemetry_refused", "Frames and messages not understood", labels=("cause",)
        )
        for cause, n in (subscriber.malformed + heard.refused).items():
            refused.add_metric((cause,), n)
        yield refused
        yield GaugeMetricFamily(
            "lighttune_telemetry_last_message_timestamp_seconds",
            "Unix time of the last message; 0 before the first",
            heard.heard_s or 0.0,
        )


def _gauges(link: LinkView) -> dict[str, float]:
    return {
        "snr_db": link.snr_db,
        "mcs": math.nan if link.mcs is None else link.mcs,
        "bler_predicted": link.predicted_bler,
        "bler_observed": link.observed_bler,
        "goodput_bits_per_second": link.goodput_bps(time.time()),
        "model_version": math.nan if link.version is None else link.version,
        "fallback": link.fallen,
        "tuning": trigger_state(link) == "tuning",
        "given_up": not link.healthy,
    }


def _counters(link: LinkView) -> dict[str, float]:
    told = {name: tuner_count(link, name) for name in ("updates", "fired")}
    return {name: getattr(link, name) for name in _COUNTERS if name not in told} | told
