# SPDX-License-Identifier: GPL-3.0-or-later
"""The tuner service and its client over real sockets, the service in a thread of the test."""

import json
import logging
import struct
import time

import numpy as np
import pytest
import zmq
from gnuradio.lighttune.core.link_model import LinkModel
from gnuradio.lighttune.core.link_tuner import LinkTuner
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.tuning import N_FEATURES, TuningPolicy
from gnuradio.lighttune.net import hosts, wire
from gnuradio.lighttune.net.client import TunerClient
from gnuradio.lighttune.net.journal import JsonLines
from gnuradio.lighttune.net.service import Service, ServiceSettings

from flowgraph import threads, until
from patience import WAIT_S
from served import Host, RawHost, ThreadedService, samples

HEADER = struct.Struct("<4sHHII")


@pytest.fixture
def service(plain_model):
    with ThreadedService(plain_model) as threaded:
        yield threaded


def hello(model, name="raw", session=1):
    return wire.Hello.of(model, name, session)


def test_samples_go_out_and_models_come_back_with_their_versions(service, plain_model):
    with Host(plain_model, service.endpoint).wait_heard() as host:
        for _ in range(20):
            host.send([4, 9])
        until(lambda: {4, 9} <= set(host.models) and min(m[0] for m in host.models.values()) == 20)
        until(lambda: host.client.taken == 40)
    for version, weights in host.models.values():
        assert version == 20
        assert (
            weights[10] > 1.0
        )  # 20 NACKs where half of that were expected: it needs more than its curve says
    assert host.dropped == {}
    assert service.count("feedbacks_total") == 40
    assert service.count("updates_total") == 40


def test_two_hosts_with_the_same_link_numbers_stay_apart(service, plain_model):
    with (
        Host(plain_model, service.endpoint, "a").wait_heard() as a,
        Host(plain_model, service.endpoint, "b").wait_heard() as b,
    ):
        for _ in range(20):
            a.send([1], ack=False)
            b.send([1], ack=True, mcs=25)
        until(lambda: all(1 in host.models and host.version(1) == 20 for host in (a, b)))
    assert a.models[1][1][10] > 1.0
    assert b.models[1][1][25] < -1.0
    assert len(service.service.pool) == 2


def test_a_host_that_comes_back_is_told_what_its_links_learnt(service, plain_model):
    with Host(plain_model, service.endpoint).wait_heard() as host:
        host.send([1] * 5)
        until(lambda: host.version(1) == 5)
    with Host(plain_model, service.endpoint).wait_heard() as again:  # another process, as far as one can see
        until(lambda: 1 in again.models)
        assert again.version(1) == 5
        assert np.array_equal(again.models[1][1], host.models[1][1])


def test_frames_that_are_no_messages_are_counted_by_cause_and_cost_nobody_anything(service, plain_model):
    good = wire.encode(wire.Samples(samples([1])))
    with RawHost(service.endpoint) as raw, Host(plain_model, service.endpoint).wait_heard() as host:
        raw.send(b"")
        raw.send(b"\xff" * 200)
        raw.send(good[:-1])
        raw.send(good, good)
        raw.send(b"", good)
        raw.send(wire.encode(wire.Credit(1)))
        raw.say(hello(plain_model))
        raw.hear(wire.Welcome)
        raw.send(wire.encode(wire.Credit(1)))
        raw.send(HEADER.pack(wire.MAGIC, wire.SCHEMA, 77, 0, 0))
        for cause, n in (("shorter than a header", 1), ("no magic", 1), ("of wrong length", 1),
                         ("not one frame", 2), ("not for a service", 1), ("unknown kind", 1)):  # fmt: skip
            until(lambda cause=cause, n=n: service.dropped(f"wire: {cause}") == n, cause)
        host.send([1])
        until(lambda: host.client.taken == 1)
        raw.say(wire.Samples(samples([1])))
        raw.hear(wire.Models)


def test_bad_samples_are_counted_by_cause_and_the_good_ones_beside_them_are_learnt(service, plain_model):
    records = samples(range(6))
    records["mcs"][1] = 29
    records["features"][2, 1] = np.nan
    records["features"][3, 0] = np.inf
    records["ack"][4] = 2
    with RawHost(service.endpoint) as raw:
        raw.say(hello(plain_model))
        raw.hear(wire.Welcome)
        raw.say(wire.Samples(records))
        until(lambda: service.count("feedbacks_total") == 2)
        until(lambda: raw.hear(wire.Credit).taken == 6)  # the bad ones are off our hands too
    assert service.dropped("samples: unknown mcs") == 1
    assert service.dropped("samples: features out of range or not finite") == 2
    assert service.dropped("samples: ack not 0 or 1") == 1


@pytest.mark.parametrize("table", [1, 2])
def test_a_host_with_another_model_is_refused_and_told_what_differs(service, table):
    other = LinkModel(McsTable.nr_pdsch(table))
    if table == 1:
        other.net = np.ones(3, np.float32)
    with Host(other, service.endpoint) as host:
        until(lambda: (host.client.away or "").startswith("refused: this service tunes another model"))
        assert ("MCS table" if table == 2 else "fingerprint") in host.client.away
        host.send([1])
        assert host.client.waiting == 1
    assert service.count("refused_total", reason="model") >= 1
    assert len(service.service.hosts) == 0


def test_a_host_of_another_schema_is_told_so(service, plain_model):
    with RawHost(service.endpoint) as raw:
        frame = wire.encode(hello(plain_model))
        raw.send(frame[:4] + struct.pack("<H", 9) + frame[6:])
        refused = raw.hear(wire.Refused)
    assert refused == wire.Refused(wire.Refusal.SCHEMA, "this service speaks schema 2")


def test_a_name_belongs_to_one_host_at_a_time(service, plain_model):
    first = Host(plain_model, service.endpoint, "same").wait_heard()
    with Host(plain_model, service.endpoint, "same") as second:
        until(lambda: "another host is called same" in (second.client.away or ""))
        first.client.stop()  # it says BYE: the name is free at once
        second.wait_heard()


def test_hosts_are_bounded(plain_model):
    with ThreadedService(plain_model, max_hosts=1) as service:
        first = Host(plain_model, service.endpoint, "a").wait_heard()
        with Host(plain_model, service.endpoint, "b") as late:
            until(lambda: "has its 1 hosts" in (late.client.away or ""))
        first.send([1])
        until(lambda: first.client.taken == 1)
        first.client.stop()
        with Host(plain_model, service.endpoint, "c").wait_heard():  # a is gone: there is room
            until(lambda: service.service.pool.in_archive == 1)


def test_who_did_not_say_hello_is_asked_to(service, plain_model):
    with RawHost(service.endpoint) as raw:
        raw.say(wire.Samples(samples([1])))
        assert raw.hear(wire.Refused).code is wire.Refusal.UNKNOWN
    assert service.count("feedbacks_total") == 0


def test_a_host_that_ignores_its_window_loses_its_own_oldest_samples_and_nobody_else_s(plain_model):
    with ThreadedService(plain_model, rate_hz=200.0, queue_limit=50) as service:
        with RawHost(service.endpoint) as raw, Host(plain_model, service.endpoint).wait_heard() as host:
            raw.say(hello(plain_model))
            assert raw.hear(wire.Welcome).window == 50
            for link in range(40):
                raw.say(wire.Samples(samples([link] * 10)))
            until(lambda: service.dropped("queue: overflow") > 300)
            host.send([60])
            until(lambda: host.client.taken == 1)
            until(lambda: raw.hear(wire.Credit).taken == 400)  # learnt or dropped
        assert service.dropped("queue: overflow") + service.count("feedbacks_total") == 401
        assert service.service.pool.tuner.state(39)["samples"] == 10  # the newest were kept


def test_a_host_that_does_not_read_keeps_no_models_from_the_others(plain_model, monkeypatch):
    monkeypatch.setattr(hosts, "HOST_TIMEOUT_S", 10 * WAIT_S)  # it is not given up, however long this takes
    tuner = LinkTuner(plain_model, TuningPolicy(always=True), max_links=512)
    with ThreadedService(plain_model, tuner=tuner) as service, RawHost(service.endpoint) as raw:
        raw.socket.setsockopt(zmq.RCVHWM, 1)
        raw.say(hello(plain_model))
        until(lambda: len(service.service.hosts) == 1)
        with Host(plain_model, service.endpoint).wait_heard() as host:
            rounds = 0
            while rounds < 20 or not service.service.pool.any_marked():  # until its pipe is full
                rounds += 1
                raw.say(wire.Samples(samples(range(400))))
                until(lambda rounds=rounds: service.count("feedbacks_total") == 400 * rounds)
                time.sleep(0.05)
                assert rounds < 200
            for version in range(1, 6):
                host.send([500])
                until(lambda version=version: host.version(500) == version, "a model")
            assert len(service.service.hosts) == 2


def test_a_slow_service_holds_its_hosts_back_and_they_drop_their_oldest(plain_model):
    with ThreadedService(plain_model, rate_hz=200.0, queue_limit=30) as service:
        with Host(plain_model, service.endpoint, queue_limit=40).wait_heard() as host:
            under_way = []
            while host.dropped["service: queue overflow"] <= 100:
                host.send([1] * 10)
                under_way.append(host.client.under_way)
                assert len(under_way) < 10_000
                time.sleep(0.002)
            until(lambda: host.client.waiting == 0 and host.client.under_way == 0)
            assert max(under_way) <= 30
            assert host.dropped["service: queue overflow"] + host.client.taken == 10 * len(under_way)
        assert service.dropped("queue: overflow") == 0  # nothing was dropped that was sent


def test_samples_wait_while_there_is_no_service_and_the_oldest_are_dropped(plain_model, tmp_path):
    endpoint = f"ipc://{tmp_path}/socket"
    with Host(plain_model, endpoint, queue_limit=100) as host:
        for link in range(30):
            host.send([link] * 5)
        assert (host.client.waiting, host.dropped["service: queue overflow"]) == (100, 50)
        until(lambda: host.client.away == "no answer")
        with ThreadedService(plain_model, endpoint):
            until(lambda: host.client.taken == 100)
            until(lambda: len(host.models) == 20)
            assert min(host.models) == 10


def test_a_host_that_falls_silent_is_lost_and_its_links_are_kept(service, plain_model, monkeypatch):
    with RawHost(service.endpoint) as raw:
        raw.say(hello(plain_model))
        raw.say(wire.Samples(samples([1] * 3)))
        until(lambda: service.count("feedbacks_total") == 3)
        with monkeypatch.context() as soon:
            soon.setattr(hosts, "HOST_TIMEOUT_S", 0.8)
            until(lambda: len(service.service.hosts) == 0, "the silent host to be lost")
        raw.say(wire.Heartbeat())
        assert raw.hear(wire.Refused).code is wire.Refusal.UNKNOWN
        raw.say(hello(plain_model, session=2))  # another of that name is welcome now
        raw.hear(wire.Welcome)
        assert raw.hear(wire.Models).versions.tolist() == [3]


def test_links_of_a_host_that_is_long_gone_make_room(service, plain_model, monkeypatch):
    monkeypatch.setattr(hosts, "FORGET_S", 0.3)
    with Host(plain_model, service.endpoint, "a").wait_heard() as host:
        host.send([1, 2])
        until(lambda: host.client.taken == 2)
    until(lambda: len(service.service.pool) == 0)
    assert service.service.pool.in_archive == 2
    with Host(plain_model, service.endpoint, "a").wait_heard() as host:
        host.send([1])
        until(lambda: host.version(1) == 2)  # it went on from where it was


def test_more_links_than_there_is_room_for_come_and_go(plain_model):
    tuner = LinkTuner(plain_model, TuningPolicy(always=True), max_links=8)
    with (
        ThreadedService(plain_model, tuner=tuner) as service,
        Host(plain_model, service.endpoint).wait_heard() as host,
    ):
        for version in (1, 2, 3):
            for first in range(0, 36, 4):
                links = range(first, first + 4)
                host.send(links)
                until(lambda links=links, version=version: all(
                    host.version(link) == version for link in links))  # fmt: skip
    assert len(service.service.pool) <= 8
    keys, records = service.service.pool.snapshot()
    assert sorted(keys) == [("host-a", link) for link in range(36)]
    assert records["samples"].tolist() == records["updates"].tolist() == [3] * 36


def test_links_that_even_the_archive_has_no_room_for_are_counted(plain_model):
    tuner = LinkTuner(plain_model, TuningPolicy(always=True), max_links=2)
    with (
        ThreadedService(plain_model, tuner=tuner) as service,
        Host(plain_model, service.endpoint).wait_heard() as host,
    ):
        host.send(range(14))
        until(lambda: host.client.taken == 14)
        until(lambda: service.dropped("archive: full, a link's state") == 4)  # 2 in memory, 8 in the archive


class PoisonedTuner(LinkTuner):
    """Raises an error at a logit of 90."""

    def learn_rows(self, rows, features, mcs, nack):
        if (features[:, 0] == 90.0).any():
            raise FloatingPointError("poison")
        return super().learn_rows(rows, features, mcs, nack)


def test_a_sample_on_which_the_core_fails_costs_the_others_nothing(plain_model):
    tuner = PoisonedTuner(plain_model, TuningPolicy(always=True), max_links=64)
    with ThreadedService(plain_model, tuner=tuner) as service:
        with Host(plain_model, service.endpoint).wait_heard() as host:
            records = samples(range(16))
            records["features"][5, 0] = 90.0
            host.client.submit(records)
            until(lambda: host.client.taken == 16)
        assert service.dropped("learn: internal") == 1
        assert service.count("feedbacks_total") == 15


def test_the_state_survives_a_restart(plain_model, tmp_path, caplog):
    caplog.set_level(logging.INFO, "gnuradio.lighttune.service")
    state, endpoint = tmp_path / "state", f"ipc://{tmp_path}/socket"
    with Host(plain_model, endpoint) as host:
        with ThreadedService(plain_model, endpoint, state=state, save_s=60):
            host.wait_heard().send([7] * 30)
            until(lambda: host.version(7) == 30)
        learnt = host.models.pop(7)
        with ThreadedService(plain_model, endpoint, state=state) as service:
            until(lambda: len(service.service.hosts) == 1)
            host.wait_heard().send([7])
            until(lambda: 7 in host.models and host.version(7) == 31)
    assert abs(host.models[7][1] - learnt[1]).max() < 0.3  # one more step, not from the beginning
    story = [record.message for record in caplog.records]
    places = [story.index(event) for event in ("host joined", "saved", "restored")]
    assert places == sorted(places)


def test_a_state_that_nothing_can_read_is_told_and_links_begin_anew(plain_model, tmp_path, caplog):
    (tmp_path / "state").write_bytes(b"nonsense")
    with (
        ThreadedService(plain_model, state=tmp_path / "state") as service,
        Host(plain_model, service.endpoint).wait_heard() as host,
    ):
        host.send([7])
        until(lambda: host.version(7) == 1)
    assert "offline weights" in str([getattr(r, "fields", "") for r in caplog.records])


def test_the_log_is_one_json_object_a_line(caplog, service):
    caplog.set_level(logging.INFO, "gnuradio.lighttune.service")
    with RawHost(service.endpoint) as raw:
        raw.send(b"bad\nbad")
        until(lambda: service.dropped("wire: shorter than a header") == 1)
        until(lambda: [r for r in caplog.records if r.message == "malformed message"])
    lines = [JsonLines().format(record) for record in caplog.records]
    events = [json.loads(line) for line in lines]
    assert not any("\n" in line for line in lines)
    malformed = next(event for event in events if event["event"] == "malformed message")
    assert {k: malformed[k] for k in ("level", "cause", "count")} == {
        "level": "warning", "cause": "wire: shorter than a header", "count": 1,
    }  # fmt: skip


def test_a_client_that_stops_and_starts_leaves_nothing_behind(service, plain_model):
    host = Host(plain_model, service.endpoint)
    for _ in range(20):
        with host:
            host.wait_heard()
    assert threads("tuner client") == []
    assert len(service.service.hosts) <= 1


@pytest.mark.parametrize("endpoint", ["", "here", "tcp://", "tcp://127.0.0.1", "http://127.0.0.1:5555"])
def test_an_endpoint_that_cannot_be_is_named(plain_model, endpoint):
    with pytest.raises(ValueError, match="endpoint = "):
        TunerClient(plain_model, endpoint, "a", lambda _: None, lambda *_: None)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rate_hz": 0.0}, "rate_hz = 0.0: give"),
        ({"queue_limit": 0}, "queue_limit = 0"),
        ({"max_hosts": 0}, "max_hosts = 0"),
        ({"save_s": 0.0}, "save_s = 0.0: give"),
    ],
)
def test_a_bad_setting_is_named_with_its_remedy(settings, words):
    with pytest.raises(ValueError, match=words):
        ServiceSettings(**settings)


def test_an_endpoint_that_is_taken_is_an_error_that_names_it(service, plain_model):
    with pytest.raises(OSError, match="cannot listen on 'tcp"):
        Service(LinkTuner(plain_model), service.endpoint)


def test_a_sample_has_a_place_for_each_feature():
    assert wire.SAMPLE.itemsize == 8 + 4 * N_FEATURES
