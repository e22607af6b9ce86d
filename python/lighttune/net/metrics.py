# SPDX-License-Identifier: GPL-3.0-or-later
"""What the service counts, for Prometheus (https://prometheus.io), and how it is asked for."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Exporter:
    """A registry that answers HTTP."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

    def serve(self, port: int) -> int:
        """Answer HTTP on ``127.0.0.1:port`` in a thread of its own (0: any free port); returns the port.

        Raises:
            OSError: the port is taken.
        """
        self._server, self._thread = start_http_server(port, "127.0.0.1", self.registry)
        return self._server.server_port

    def close(self) -> None:
        """End that."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Metrics(Exporter):
    """The service's counters; all names begin with ``lighttune_``."""

    def __init__(self) -> None:
        super().__init__()
        registry = self.registry

        def make(kind: type, name: str, text: str, labels: tuple[str, ...] = (), **more: tuple) -> object:
            return kind(f"lighttune_{name}", text, labels, registry=registry, **more)

        self.feedbacks = make(Counter, "feedbacks", "Samples (decision with its feedback) that were learnt")
        self.updates = make(Counter, "updates", "Samples that changed their link's model")
        self.models = make(Counter, "models", "Models that were sent to hosts")
        self.dropped = make(Counter, "dropped", "Samples and messages that were dropped", ("cause",))
        self.refused = make(Counter, "refused", "Hosts that were refused", ("reason",))
        self.queued = make(Gauge, "queue_samples", "Samples that wait to be learnt")
        self.links = make(Gauge, "links", "Links that the tuner keeps")
        self.archived = make(Gauge, "archived_links", "Links in the archive")
        self.hosts = make(Gauge, "hosts", "Hosts that are heard")
        self.learn_s = make(Histogram, "learn_seconds", "Time to learn one batch", buckets=_SECONDS)
        self.batch = make(
            Histogram, "batch_samples", "Samples in a batch", buckets=(1, 4, 16, 64, 256, 1024, 4096)
        )
        self.save_s = make(Histogram, "save_seconds", "Time to save the state", buckets=_SECONDS)
        self.save_failures = make(Counter, "save_failures", "Saves that failed")
