# SPDX-License-Identifier: GPL-3.0-or-later
"""Telemetry over real sockets: what is sent comes back, what is lost is counted, rubbish is refused."""

import math
import threading
from contextlib import suppress

import msgpack
import numpy as np
import pytest
import zmq
from gnuradio.lighttune.net import telemetry as t
from hypothesis import given
from hypothesis import strategies as st

from flowgraph import until
from patience import WAIT_S

FEATURES = np.linspace(-1, 1, 17, dtype=np.float32)
FIELDS = {
    "csi": {"link": 3, "snr_db": 12.5, "seq": 41, "time": 1.5},
    "decision": {"link": 0, "seq": 2**32 - 1, "mcs": 9, "bler": 0.08, "features": FEATURES, "version": -1,
                 "probe": True, "bits": 1024},
    "feedback": {"link": 65535, "seq": 0, "ack": False, "attempt": 2},
    "model": {"link": 1, "version": 7, "weights": np.ones(1000, np.float32)},
    "status": {"block": "tuner", "links": 1, "state": {"0": {"tuning": True, "offset_db": -0.5}},
               "dropped": {}, "evidence": None, "list": [1, "two", 3.0]},
}  # fmt: skip


def message(kind="csi", **changes):
    return t.Message(kind, "bench", 1764000000.25, 5, FIELDS[kind] | changes, 77)


def same(a, b):
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return a == b


def frame(of="csi", fields=None, **changes):
    """Bytes of a message with parts exchanged, whether they make sense or not."""
    parts = {"magic": t.MAGIC, "schema": t.SCHEMA, "session": 1, "number": 0, "time_s": 1.0, "kind": of,
             "source": "bench", "fields": FIELDS[of] if fields is None else fields}  # fmt: skip
    return msgpack.packb(list((parts | changes).values()), default=lambda v: msgpack.ExtType(1, v.tobytes()))


@pytest.fixture
def pair():
    """A publisher and a subscriber that hear each other."""
    with t.Publisher("tcp://127.0.0.1:*") as publisher, t.Subscriber(publisher.endpoint) as subscriber:
        hear(publisher, subscriber)
        yield publisher, subscriber


def hear(publisher, subscriber):
    """Send until the subscriber is connected, and take all that was sent for it."""
    sent = []

    def heard():
        sent.append(f"hello {len(sent)}")
        publisher.send("status", "bench", {"block": sent[-1]})
        return subscriber.receive(0.05)

    said = until(heard)
    while said.fields["block"] != sent[-1]:  # they come in order
        said = subscriber.receive(1.0) or until(heard)


@pytest.mark.parametrize("kind", t.KINDS)
def test_every_kind_comes_back_as_it_was(kind):
    back = t.decode(t.encode(message(kind)))
    assert same(vars(back), vars(message(kind)))


def test_messages_arrive_in_order_with_their_numbers(pair):
    publisher, subscriber = pair
    for seq in range(500):
        publisher.send("feedback", "bench", FIELDS["feedback"] | {"seq": seq}, time_s=float(seq))
    got = [subscriber.receive(WAIT_S) for _ in range(500)]
    assert [m.fields["seq"] for m in got] == list(range(500))
    assert [m.number - got[0].number for m in got] == list(range(500))
    assert (subscriber.missed, publisher.dropped, publisher.refused) == (0, 0, {})
    assert subscriber.receive(0) is None


def test_fields_may_be_made_in_the_publishers_thread(pair):
    publisher, subscriber = pair

    def refuse():
        raise t.TelemetryError("csi: snr_db missing")

    def fail():
        raise ZeroDivisionError

    for fields in (refuse, fail, lambda: FIELDS["csi"]):
        publisher.send("csi", "bench", fields)
    assert same(subscriber.receive(WAIT_S).fields, FIELDS["csi"])
    assert publisher.refused == {"csi: snr_db missing": 1}
    assert subscriber.missed == 2  # they had numbers: a listener sees that something is not there


def test_what_finds_the_queue_full_is_counted_and_seen_as_a_gap(pair):
    publisher, subscriber = pair
    all_sent, in_time = threading.Event(), []

    def slow():
        in_time.append(all_sent.wait(WAIT_S))  # the publisher's thread is held: the queue fills behind it
        return FIELDS["csi"]

    publisher.send("csi", "bench", slow)
    for _ in range(6000):
        publisher.send("csi", "bench", FIELDS["csi"])
    all_sent.set()
    assert publisher.dropped >= 6000 - 4096 - 1
    assert publisher.flush(WAIT_S)
    assert in_time == [True]  # nobody waited for the thread
    publisher.send("status", "bench", FIELDS["status"])
    while subscriber.receive(WAIT_S).kind != "status":
        pass
    assert subscriber.missed == publisher.dropped


def test_a_listener_that_sleeps_holds_nobody_up_and_sees_what_it_missed():
    with (
        t.Publisher("tcp://127.0.0.1:*", queue=2) as publisher,
        t.Subscriber(publisher.endpoint, queue=2) as sleeper,
    ):
        hear(publisher, sleeper)
        missed = sleeper.missed
        big = FIELDS["model"] | {"weights": np.zeros(t.MAX_VECTOR, np.float32)}
        for _ in range(100):  # 26 MB: more than the kernel keeps for a connection
            publisher.send("model", "bench", big)
            assert publisher.flush(WAIT_S)
        assert publisher.dropped == 0
        kinds: list[str] = []
        told = 0
        while "status" not in kinds:
            assert told < 100
            if (message := sleeper.receive(0.5)) is not None:
                kinds.append(message.kind)
            else:  # what was kept for it has come, as far as one can see
                publisher.send("status", "bench", FIELDS["status"])
                told += 1
        got = len(kinds) - 1
        assert 0 < got < 100
        assert 100 - got <= sleeper.missed - missed < 100 - got + told  # of those that told it some, too


def test_a_publisher_that_starts_anew_is_no_gap():
    with t.Publisher("tcp://127.0.0.1:*") as first:
        endpoint = first.endpoint
        subscriber = t.Subscriber(endpoint)
        hear(first, subscriber)
    with t.Publisher(endpoint) as second, subscriber:
        hear(second, subscriber)
        assert (subscriber.restarts, subscriber.missed) == (1, 0)


def test_a_taken_endpoint_and_a_wrong_one_are_refused_with_a_remedy():
    publisher = t.Publisher("tcp://127.0.0.1:*")
    with pytest.raises(OSError, match="give a free endpoint"):
        t.Publisher(publisher.endpoint)
    publisher.close()
    with pytest.raises(ValueError, match="nonsense"):
        t.Subscriber("nonsense")
    for kind in (t.Publisher, t.Subscriber):
        with pytest.raises(ValueError, match="queue = 0"):
            kind("tcp://127.0.0.1:*", queue=0)


def test_closing_sends_what_waits_and_is_harmless_when_repeated():
    publisher = t.Publisher("tcp://127.0.0.1:*")
    with t.Subscriber(publisher.endpoint) as subscriber:
        hear(publisher, subscriber)
        for _ in range(300):
            publisher.send("csi", "bench", FIELDS["csi"])
        publisher.close()
        publisher.close()
        assert sum(subscriber.receive(WAIT_S) is not None for _ in range(300)) == 300
        publisher.send("csi", "bench", FIELDS["csi"])
        assert publisher.dropped == 1


BAD = {
    "csi: snr_db out of range": ("csi", {"snr_db": 1000.0}),
    "csi: snr_db of wrong type": ("csi", {"snr_db": True}),
    "csi: link out of range": ("csi", {"link": 65536}),
    "csi: seq out of range": ("csi", {"seq": -1}),
    "number not finite": ("csi", {"snr_db": math.nan}),
    "decision: bler out of range": ("decision", {"bler": 1.5}),
    "decision: mcs of wrong type": ("decision", {"mcs": 1.0}),
    "decision: features of wrong type": ("decision", {"features": [1.0]}),
    "vector not finite": ("decision", {"features": np.full(17, np.inf, np.float32)}),
    "feedback: ack of wrong type": ("feedback", {"ack": 1}),
    "model: version out of range": ("model", {"version": -1}),
    "status: block of wrong type": ("status", {"block": 3}),
    "too many or too deep values": ("status", {"deep": {"a": {"b": {"c": {"d": {}}}}}}),
    "text not printable or too long": ("status", {"mode": "a\x1b[2J"}),
    "key not a name": ("status", {"\n": 1}),
}


@pytest.mark.parametrize("cause", BAD)
def test_fields_out_of_bounds_are_refused_by_sender_and_receiver(cause):
    kind, change = BAD[cause]
    with pytest.raises(t.TelemetryError, match=cause):
        t.encode(message(kind, **change))
    with pytest.raises(t.TelemetryError, match=cause):
        t.decode(frame(kind, FIELDS[kind] | change))


@pytest.mark.parametrize("kind", ["csi", "decision", "feedback", "model", "status"])
def test_a_field_that_is_missing_is_named(kind):
    optional = {"csi": {"seq", "time"}, "decision": {"bits"}, "status": FIELDS["status"].keys() - {"block"}}
    for name in FIELDS[kind].keys() - optional.get(kind, set()):
        fields = {k: v for k, v in FIELDS[kind].items() if k != name}
        with pytest.raises(t.TelemetryError, match=f"{kind}: {name} missing"):
            t.decode(frame(kind, fields))


@pytest.mark.parametrize(
    ("cause", "raw"),
    [
        ("no magic", b"\x90"),
        ("no magic", frame(magic="other")),
        ("another schema", frame(schema=2)),
        ("another schema", frame(schema=True)),
        ("unknown kind", frame(kind="exec")),
        ("number out of range", frame(number=-1)),
        ("session out of range", frame(session=True)),
        ("time not finite", frame(time_s=math.inf)),
        ("source not a name", frame(source="")),
        ("fields not a map", frame(fields=[1])),
        ("not MessagePack within bounds", b""),
        ("not MessagePack within bounds", b"\xdd\xff\xff\xff\xff"),  # an array that claims 4 G elements
        ("not MessagePack within bounds", b"\x91" * 5000),
        ("not MessagePack within bounds", frame() + b"\0"),
        ("not MessagePack within bounds", frame(source="x" * 5000)),
        ("unknown extension", msgpack.packb([msgpack.ExtType(9, b"abcd")])),
        ("unknown extension", msgpack.packb([msgpack.ExtType(1, b"abc")])),
        ("too long", bytes(t.MAX_FRAME + 1)),
    ],
)
def test_frames_that_are_no_message_are_refused_with_a_cause(cause, raw):
    with pytest.raises(t.TelemetryError, match=cause):
        t.decode(raw)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(raw):
    for data in (raw, frame("decision")[: len(raw)] + raw, t.encode(message("decision"))[: len(raw)]):
        with suppress(t.TelemetryError):
            assert t.decode(data).kind in t.KINDS


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(st.sampled_from(t.KINDS), st.dictionaries(st.text(max_size=8), plain, max_size=4), st.data())
def test_fields_of_any_values_are_refused_or_come_back(kind, more, data):
    name = data.draw(st.sampled_from(sorted(FIELDS[kind])))
    fields = FIELDS[kind] | more | {name: data.draw(plain)}
    try:
        raw = t.encode(message(kind, **fields))
    except t.TelemetryError:
        return
    assert same(t.decode(raw).fields, fields)


def test_rubbish_on_the_wire_is_counted_and_the_rest_gets_through():
    context = zmq.Context()
    socket = context.socket(zmq.PUB)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    with t.Subscriber(f"tcp://127.0.0.1:{port}") as subscriber:

        def heard():
            socket.send(frame(number=7))
            return subscriber.receive(0.05)

        until(heard)
        while subscriber.receive(0.2):
            pass
        subscriber.malformed.clear()  # the same number again and again
        for raw in (b"\x90", frame(number=3), frame(schema=9, number=8)):
            socket.send(raw)
        socket.send_multipart([frame(number=8), b"more"])
        socket.send(frame(number=8))
        assert subscriber.receive(5).number == 8
        assert subscriber.malformed == {
            "no magic": 1,
            "number out of order": 1,
            "another schema": 1,
            "of several parts": 1,
        }
    context.destroy(linger=0)
