# SPDX-License-Identifier: GPL-3.0-or-later
"""What is heard through a real socket, and what Prometheus is told of it over real HTTP."""

import io
import urllib.request

import numpy as np
import pytest
from gnuradio.lighttune.blocks._host import in_words
from gnuradio.lighttune.cli.monitor_screen import screen
from gnuradio.lighttune.net.link_metrics import LinkMetrics
from gnuradio.lighttune.net.listener import Listener
from gnuradio.lighttune.net.telemetry import Publisher
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from flowgraph import until
from patience import WAIT_S

NOTHING = np.empty(0, np.float32)


@pytest.fixture
def heard():
    """A publisher, and a listener that hears it."""
    with Publisher("tcp://127.0.0.1:*") as publisher, Listener(publisher.endpoint, max_links=3) as listener:

        def hello():
            publisher.send("status", "a", {"block": "hello"})
            listener.listen(0.05)
            return listener.views

        until(hello)
        yield publisher, listener


def say(publisher, source, link, n, version=5):
    """``n`` blocks of which every fourth fails, an SNR, and what selector and tuner say."""
    publisher.send("csi", source, {"link": link, "snr_db": 10.0 + link})
    for seq in range(n):
        decision = {"link": link, "seq": seq, "mcs": 3, "bler": 0.2, "features": NOTHING, "version": version}
        publisher.send("decision", source, {**decision, "probe": seq == 0, "bits": 1000})
        publisher.send("feedback", source, {"link": link, "seq": seq, "ack": seq % 4 != 0, "attempt": 0})
    belief = {"expert": "reports", "sinr_db": 9.0, "offset_db": -3.0, "width_db": 0.5, "loss": 0.08,
              "says": "reports are 3.0 dB too high; 8 % of packets are lost at every MCS"}  # fmt: skip
    selector = {"block": "mcs_selector", "tuner": "away", "beliefs": {str(link): belief}}
    if version >= 0:
        publisher.send("status", source, selector)
    state = {"tuning": True, "updates": 7, "fired": 2, "largest_shift_db": 1.5}
    publisher.send(
        "status", source, {"block": "tuner", "state": {str(link): state}, "dropped": {"queue: overflow": 9}}
    )


def test_every_source_has_a_view_of_its_own(heard):
    publisher, listener = heard
    say(publisher, "a", 0, 40)
    say(publisher, "b", 0, 20)
    until(lambda: listener.listen(0.05) or (listener.views.get("b") and listener.views["b"].drops))
    assert [listener.views[s].links[0].window for s in "ab"] == [40, 20]
    assert listener.views["a"].links[0].observed_bler == 0.25
    assert listener.subscriber.missed == 0
    listener.sample()
    assert listener.views["a"].links[0].history[-1].snr_db == 10


def test_links_beyond_the_bound_are_counted(heard):
    publisher, listener = heard
    for link in range(5):
        publisher.send("csi", "a", {"link": link, "snr_db": 1.0})
    until(lambda: listener.listen(0.05) or listener.refused["too many links"] == 2)
    assert len(listener.views["a"].links) == 3


def scraped(url):
    with urllib.request.urlopen(url, timeout=WAIT_S) as answer:
        text = answer.read().decode()
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {(s.name, *sorted(s.labels.items())): s.value for s in samples}


def test_a_scrape_tells_what_was_heard(heard):
    publisher, listener = heard
    metrics = LinkMetrics(listener)
    url = f"http://127.0.0.1:{metrics.serve(0)}/metrics"
    try:
        say(publisher, "a", 2, 40)
        say(publisher, "b", 1, 1, version=-1)
        until(lambda: listener.listen(0.05) or (listener.views.get("b") and listener.views["b"].drops))
        found = scraped(url)
    finally:
        metrics.close()

    def of(name, source="a", link="2"):
        return found[f"lighttune_link_{name}", ("link", link), ("source", source)]

    expected = {
        "snr_db": 12, "mcs": 3, "bler_predicted": 0.2, "bler_observed": 0.25, "model_version": 5,
        "sinr_believed_db": 9, "offset_db": -3, "offset_width_db": 0.5, "loss": 0.08, "remarks": 2,
        "tuning": 1, "largest_shift_db": 1.5, "decisions_total": 40, "probes_total": 1, "acks_total": 30,
        "nacks_total": 10, "unmatched_total": 0, "updates_total": 7, "fired_total": 2,
    }  # fmt: skip
    assert {name: of(name) for name in expected} == pytest.approx(expected)
    for name in ("model_version", "offset_db", "loss", "remarks"):  # OLLA has none
        assert (f"lighttune_link_{name}", ("link", "1"), ("source", "b")) not in found
    experts = {key[1][1]: value for key, value in found.items() if key[0] == "lighttune_link_expert"}
    assert experts == {"network": 0, "reports": 1, "acks": 0}
    states = {key[2][1]: value for key, value in found.items() if key[0] == "lighttune_selector_tuner"}
    assert states == {"heard": 0, "away": 1, "silent": 0, "not heard yet": 0}
    dropped = (
        "lighttune_block_dropped_total",
        ("block", "tuner"),
        ("cause", "queue: overflow"),
        ("source", "a"),
    )
    assert found[dropped] == 9
    assert found["lighttune_telemetry_messages_total",] == listener.subscriber.received
    assert found["lighttune_telemetry_missed_total",] == 0
    assert found["lighttune_telemetry_last_message_timestamp_seconds",] == listener.heard_s


def test_before_the_first_message_a_scrape_is_answered_too():
    with Listener("tcp://127.0.0.1:1") as listener:
        metrics = LinkMetrics(listener)
        try:
            found = scraped(f"http://127.0.0.1:{metrics.serve(0)}/metrics")
        finally:
            metrics.close()
    assert found["lighttune_telemetry_last_message_timestamp_seconds",] == 0


def test_a_host_that_is_behind_is_said_on_the_screen_and_to_prometheus(heard):
    publisher, listener = heard
    lost = {"queue full": 0.12, "receiver behind": 0.05}
    publisher.send("status", "a", {"block": "ack_merge", "host": in_words(lost), "lost_to_host": 0.17})
    publisher.send("status", "b", {"block": "ack_merge", "host": in_words({}), "lost_to_host": 0.0})
    until(lambda: listener.listen(0.05) or "b" in listener.views)
    console = Console(width=150, record=True, file=io.StringIO())
    console.print(screen(listener, 10, 150))
    shown = console.export_text()
    assert (
        "\u25b2 a: the host is behind: it lost 17.0 % of the last 10 s' packets (queue full 12.0 %, receiver"
        " behind 5.0 %)"
    ) in shown
    assert shown.count("the host is behind") == 1
    metrics = LinkMetrics(listener)
    try:
        found = scraped(f"http://127.0.0.1:{metrics.serve(0)}/metrics")
    finally:
        metrics.close()
    assert found["lighttune_host_lost_share", ("source", "a")] == 0.17
    assert found["lighttune_host_lost_share", ("source", "b")] == 0
