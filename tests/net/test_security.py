# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets in at the feedback receiver and at the tuner service, on real sockets; docs/threat-model.md."""

import contextlib
import shutil
import socket
import threading
from collections import Counter

import pytest
import zmq
from gnuradio import lighttune
from gnuradio.lighttune.net import feedback_frame as ff
from gnuradio.lighttune.net import wire
from gnuradio.lighttune.net.curve import ClientKeys, make_keys
from gnuradio.lighttune.net.feedback_client import FeedbackClient
from gnuradio.lighttune.net.feedback_reader import FeedbackReader
from gnuradio.lighttune.net.feedback_server import FeedbackServer
from gnuradio.lighttune.net.feedback_writer import FeedbackWriter
from gnuradio.lighttune.net.gate import Gate

from flowgraph import Bench, floats, message, running, until
from patience import WAIT_S
from served import Host, RawHost, ThreadedService, samples

NO_KEY, NOT_ALLOWED = "handshake failed", "key not allowed"


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Keys of a server and of some hosts; ``list`` allows ``a`` links 0 to 3, and ``b`` and ``b.lab`` any."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("server", "a", "b", "b.lab", "stranger"):
        make_keys(folder, name)
    (folder / "list").write_text("# who        links\na.key  0-2, 3\n\nb.key   # any\nb.lab.key\n")
    return folder


def client_keys(keys, name, server="server"):
    return ClientKeys.read(keys / f"{name}.key_secret", keys / f"{server}.key")


class Receiver:
    """A feedback server with keys, and what it heard."""

    def __init__(self, keys):
        self.verdicts, self.dropped = [], Counter()
        self.server = FeedbackServer(
            "tcp://127.0.0.1:*", FeedbackReader(),
            lambda link, news: self.verdicts.extend((link, *verdict) for verdict in news.verdicts),
            lambda cause: self.dropped.update([cause]),
            key=str(keys / "server.key_secret"), allowed=str(keys / "list"),
        )  # fmt: skip
        self.server.start()
        until(lambda: self.server._gate._monitor is not None, "the thread")

    @property
    def refused(self):
        return self.server._gate.refused


@pytest.fixture
def receiver(keys):
    made = Receiver(keys)
    yield made
    made.server.stop()


@pytest.fixture
def service(keys, plain_model):
    with ThreadedService(
        plain_model, key=keys / "server.key_secret", allowed=keys / "list", max_hosts=6
    ) as made:
        yield made


@pytest.fixture
def dealer():
    """Makes DEALER sockets, with keys or without."""
    context = zmq.Context()

    def make(endpoint, keys=None, route=None):
        made = context.socket(zmq.DEALER)
        made.linger = 0
        if keys is not None:
            keys.secure(made)
        if route is not None:
            made.routing_id = route
        made.connect(endpoint)
        return made

    yield make
    context.destroy(linger=0)


def report(link, number=0, epoch=1):
    return ff.encode(ff.Report(link, epoch, number, 1, 1, 1, 0))


WRONG = {
    "no key": (None, NO_KEY),
    "an unlisted key": (("stranger", "server"), NOT_ALLOWED),
    "another server's key": (("a", "stranger"), NO_KEY),
}


@pytest.mark.parametrize("case", WRONG)
def test_the_feedback_receiver_turns_away_and_counts(receiver, keys, dealer, case):
    names, cause = WRONG[case]
    stranger = dealer(receiver.server.endpoint, names and client_keys(keys, *names))
    stranger.send(report(0))
    until(lambda: receiver.refused[cause], cause)
    friend = dealer(receiver.server.endpoint, client_keys(keys, "a"))
    friend.send(report(1))
    until(lambda: receiver.verdicts, "the friend's verdict")
    assert {link for link, *_ in receiver.verdicts} == {1}
    assert receiver.refused[cause]
    assert not receiver.dropped


@pytest.mark.parametrize("case", WRONG)
def test_the_service_turns_away_and_counts(service, keys, plain_model, case):
    names, cause = WRONG[case]
    wrong = names and client_keys(keys, *names)
    with Host(plain_model, service.endpoint, "a", keys=wrong) as stranger:
        stranger.send([0])
        until(lambda: service.count("refused_total", reason="key"), "the refusal")
        assert service.service._gate.refused[cause]
        friend = Host(plain_model, service.endpoint, "a", keys=client_keys(keys, "a"))
        with friend.wait_heard():
            friend.send([1])
            until(lambda: friend.version(1) == 1, "the friend's model")
        assert stranger.client.away is not None
        assert not stranger.models
    assert service.count("feedbacks_total") == 1


def test_a_tuner_block_learns_at_a_service_with_keys(service, keys, plain_model):
    block = lighttune.tuner(
        plain_model, endpoint=service.endpoint, key=str(keys / "b.key_secret"),
        server_key=str(keys / "server.key"),
    )  # fmt: skip
    bench = Bench(block, "model")
    with running(bench.top):
        until(lambda: block.status()["service"] == "heard", "the service")
        for seq in range(5):
            bench.post(
                "decision", message(link=7, seq=seq, mcs=10, version=0, features=floats([0.0, 2.0, 1.0]))
            )
            bench.post("feedback", message(link=7, seq=seq, ack=False))
        until(lambda: block.status()["state"].get("7", {}).get("version") == 5, "what was learnt")
    assert service.service.pool._row_of.keys() == {"b"}  # the host is called as its key


class Wiretap:
    """Between client and server: notes what the client says, byte by byte."""

    def __init__(self, endpoint):
        self.target = ("127.0.0.1", int(endpoint.rpartition(":")[2]))
        self.said = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        client, _ = self._listener.accept()
        self._listener.close()
        with client, socket.create_connection(self.target) as server:
            back = threading.Thread(target=self._pump, args=(server, client, False), daemon=True)
            back.start()
            self._pump(client, server, True)
            back.join(WAIT_S)

    def _pump(self, source, sink, note):
        with contextlib.suppress(OSError):  # the other end is gone
            while data := source.recv(65536):
                self.said += data if note else b""
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


def test_a_recorded_session_played_again_is_refused(receiver, keys):
    tap = Wiretap(receiver.server.endpoint)
    writer = FeedbackWriter()
    client = FeedbackClient(tap.endpoint, writer, client_keys(keys, "a"))
    writer.verdict(0, 0, True)
    client.start()
    until(lambda: receiver.verdicts == [(0, 0, True)], "the verdict")
    client.stop()
    assert len(tap.said) > 400
    assert b"\0\0\0\0Lf" not in tap.said
    with socket.create_connection(tap.target) as replay:
        replay.sendall(tap.said)
        until(lambda: receiver.refused[NO_KEY], "the refusal")
    assert receiver.verdicts == [(0, 0, True)]


def test_a_frame_told_again_counts_once_even_from_a_friend(receiver, keys, dealer):
    friend = dealer(receiver.server.endpoint, client_keys(keys, "a"))
    for _ in range(3):
        friend.send(report(2))
    until(lambda: receiver.dropped == {"duplicate": 2}, "both to be dropped")
    assert len(receiver.verdicts) == 1


def test_a_key_speaks_for_its_own_links_only_at_the_feedback_receiver(receiver, keys, dealer):
    a, b = (dealer(receiver.server.endpoint, client_keys(keys, name)) for name in ("a", "b"))
    for link in (3, 4, 65535):
        a.send(report(link))
    b.send(report(65535, epoch=2))
    until(lambda: receiver.dropped == {"link not allowed": 2} and len(receiver.verdicts) == 2)
    assert {link for link, *_ in receiver.verdicts} == {3, 65535}


def test_a_key_speaks_for_its_own_links_only_at_the_service(service, keys, plain_model):
    with Host(plain_model, service.endpoint, "a", keys=client_keys(keys, "a")).wait_heard() as host:
        host.send([0, 4, 3, 5])
        until(lambda: host.client.taken == 4 and len(host.models) == 2, "both models")
    assert service.dropped("samples: link not allowed") == 2
    assert len(service.service.pool) == 2


@pytest.mark.parametrize(("key", "name"), [("a", "b"), ("b", "b.lab"), ("b", "b.lab.x"), ("a", "ab")])
def test_a_key_has_its_own_names_only(service, keys, plain_model, key, name):
    with Host(plain_model, service.endpoint, name, keys=client_keys(keys, key)) as host:
        until(lambda: f"this key is called {key} here" in (host.client.away or ""), "the refusal")
    assert service.count("refused_total", reason="name") >= 1
    with Host(plain_model, service.endpoint, f"{key}.2", keys=client_keys(keys, key)).wait_heard():
        pass


def test_who_connects_by_another_s_route_does_not_speak_for_it(service, keys, dealer, plain_model):
    hello = wire.encode(wire.Hello.of(plain_model, "b", 1))
    first = dealer(service.endpoint, client_keys(keys, "b"), b"route")
    first.send(hello)
    assert isinstance(wire.decode(first.recv()), wire.Welcome)
    first.close(linger=0)

    def answer():
        """None as long as the first one still has the route."""
        second = dealer(service.endpoint, client_keys(keys, "a"), b"route")
        second.send(wire.encode(wire.Samples(samples([1]))))
        said = wire.decode(second.recv()) if second.poll(1000) else None
        second.close(linger=0)
        return said

    assert until(answer, "an answer").code is wire.Refusal.UNKNOWN
    assert service.count("feedbacks_total") == 0


def test_one_key_s_many_names_leave_the_others_theirs(service, keys, plain_model):
    a, b = client_keys(keys, "a"), client_keys(keys, "b")
    greedy = [Host(plain_model, service.endpoint, f"a.{n}", keys=a) for n in range(3)]
    for host in greedy[:2]:  # a third of 6
        host.wait_heard()
    with greedy[2]:
        until(lambda: "has its 2 hosts" in (greedy[2].client.away or ""), "the refusal")
        with Host(plain_model, service.endpoint, "b", keys=b).wait_heard():
            pass
    for host in greedy[:2]:
        host.client.stop()
    assert service.count("refused_total", reason="full") >= 1


@pytest.mark.parametrize("flood", ["hello", "nonsense", "samples"])
def test_a_host_that_floods_the_service_starves_nobody(plain_model, flood):
    hello = wire.encode(wire.Hello.of(plain_model, "flood", 1))
    frame, cause = {
        "hello": (hello, "hello: over its peer's rate"),
        "nonsense": (b"x" * 100, "wire: no magic"),
        "samples": (wire.encode(wire.Samples(samples([1] * 100))), "queue: overflow"),
    }[flood]
    with ThreadedService(plain_model, queue_limit=100) as service, RawHost(service.endpoint) as raw:
        raw.send(hello)
        raw.hear(wire.Welcome)
        end = threading.Event()

        def pour():
            while not end.is_set():
                if raw.socket.poll(10, zmq.POLLOUT):
                    raw.send(frame)

        thread = threading.Thread(target=pour)
        thread.start()
        try:
            until(lambda: service.dropped(cause) > 100, "the flood")
            with Host(plain_model, service.endpoint).wait_heard() as host:
                for version in range(1, 6):
                    host.send([9])
                    until(lambda version=version: host.version(9) == version, "a model")
        finally:
            end.set()
            thread.join(WAIT_S)


def test_a_host_that_changes_its_name_does_no_harm(plain_model):
    with ThreadedService(plain_model) as service, RawHost(service.endpoint) as raw:
        for name in ("x", "y", "x", "z"):
            raw.say(wire.Hello.of(plain_model, name, 1))
            raw.hear(wire.Welcome)
        assert len(service.service.hosts) == 1
        with RawHost(service.endpoint) as other:
            other.say(wire.Hello.of(plain_model, "x", 2))  # it is free
            other.hear(wire.Welcome)


PLAIN = [
    lambda model, **more: lighttune.feedback_receiver("tcp://0.0.0.0:*", **more),
    lambda model, **more: lighttune.feedback_sender("tcp://10.9.8.7:1", **more),
    lambda model, **more: lighttune.tuner(model, endpoint="tcp://10.9.8.7:1", **more),
]


@pytest.mark.parametrize("make", PLAIN, ids=["feedback_receiver", "feedback_sender", "tuner"])
def test_plain_text_beyond_this_machine_needs_a_word(plain_model, make):
    with pytest.raises(ValueError, match=r"plain text.*lighttune keys.*insecure=True"):
        make(plain_model)
    assert make(plain_model, insecure=True)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a.key 5-3", r"list:1: '5-3' is no range"),
        ("a.key 0-65536", "is no range"),
        ("a.key x", "is no range"),
        ("a.key 1,,2", "is no range"),
        ("none.key", "no such key file"),
        ("a.key 1\na.key 2", "list:2: this key, or one of this name"),
        ("odd name.key", "no such key file"),
        ("é.key", "rename it"),
        ("# nobody", "no .*key file there"),
    ],
)
def test_a_list_that_is_wrong_is_named_with_its_line(keys, tmp_path, line, words):
    shutil.copy(keys / "a.key", tmp_path)
    shutil.copy(keys / "b.key", tmp_path / "é.key")
    (tmp_path / "list").write_text(line)
    with zmq.Context() as context, pytest.raises((ValueError, OSError), match=words):
        Gate(context, keys / "server.key_secret", tmp_path / "list")
