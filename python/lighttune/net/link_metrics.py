# SPDX-License-Identifier: GPL-3.0-or-later
"""The links that a listener hears, for Prometheus."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..core.link_text import tuner_count, tuner_shift_db
from ..core.link_view import EXPERTS, LinkView
from .listener import Listener
from .metrics import Exporter

_GAUGES = {
    "snr_db": "Last reported SNR in dB",
    "mcs": "MCS index of the last decision",
    "bler_predicted": "Mean predicted BLER of the last 200 blocks, 0 to 1",
    "bler_observed": "Share of the last 200 blocks that failed, 0 to 1",
    "goodput_bits_per_second": "Payload bits acknowledged per second, over the last 2 s",
    "sinr_believed_db": "SINR that the selector holds to be there, in dB",
    "offset_db": "SINR that the selector holds to be there less what was reported, in dB",
    "offset_width_db": "Standard deviation of that, in dB",
    "loss": "Share of packets that the selector holds to be lost at every MCS, 0 to 1",
    "remarks": "Sentences that the selector's status says of the link: what is out of the ordinary",
    "model_version": "Version of the curves that last decided, 0 for the model's own",
    "tuning": "1 while the trigger has the link tuned",
    "largest_shift_db": "Largest shift of a threshold that the tuner found, in dB",
}
_TUNER = ("heard", "away", "silent", "not heard yet")
_COUNTERS = {
    "decisions": "Blocks whose MCS was decided",
    "probes": "Of these, blocks sent one MCS higher to learn",
    "acks": "Blocks acknowledged",
    "nacks": "Blocks not acknowledged",
    "unmatched": "Feedback to unknown blocks",
    "updates": "Samples that changed the link's curves, as the tuner says",
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
        expert = GaugeMetricFamily(
            "lighttune_link_expert", "1 for whose predictions weigh most", labels=(*labels, "expert")
        )
        for source, view in self._listener.views.items():
            for number, link in view.links.items():
                for name in EXPERTS if link.belief.expert else ():
                    expert.add_metric((source, str(number), name), link.belief.expert == name)
        yield expert

    def _of_the_rest(self) -> Iterator[Metric]:
        heard, subscriber = self._listener, self._listener.subscriber
        dropped = CounterMetricFamily(
            "lighttune_block_dropped", "Messages that a block dropped", labels=("source", "block", "cause")
        )
        for source, view in heard.views.items():
            for (block, cause), n in view.drops.items():
                dropped.add_metric((source, block, cause), n)
        yield dropped
        tuner = GaugeMetricFamily(
            "lighttune_selector_tuner", "1 for how the selector hears its tuner", labels=("source", "state")
        )
        for source, view in heard.views.items():
            for state in _TUNER if view.tuner else ():
                tuner.add_metric((source, state), view.tuner == state)
        yield tuner
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
        "sinr_believed_db": link.belief.sinr_db,
        "offset_db": link.belief.offset_db,
        "offset_width_db": link.belief.width_db,
        "loss": link.belief.loss,
        "remarks": len(link.belief.says) if link.belief.expert else math.nan,
        "model_version": math.nan if link.version is None else link.version,
        "tuning": link.tuner.get("tuning") is True,
        "largest_shift_db": tuner_shift_db(link),
    }


def _counters(link: LinkView) -> dict[str, float]:
    told = {name: tuner_count(link, name) for name in ("updates", "fired")}
    return {name: getattr(link, name) for name in _COUNTERS if name not in told} | told
