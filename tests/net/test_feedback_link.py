# SPDX-License-Identifier: GPL-3.0-or-later
"""The feedback path over real sockets: it connects by itself, waits for nobody, and takes no nonsense."""

import gc
import socket
import threading
import time
from collections import Counter

import pytest
import zmq
from gnuradio.lighttune.net import feedback_frame as ff
from gnuradio.lighttune.net.feedback_client import FeedbackClient
from gnuradio.lighttune.net.feedback_reader import FeedbackReader
from gnuradio.lighttune.net.feedback_server import FeedbackServer
from gnuradio.lighttune.net.feedback_writer import FeedbackWriter

from flowgraph import until


class Listener:
    """A server with what it heard."""

    def __init__(self, endpoint="tcp://127.0.0.1:*", **arguments):
        self.verdicts = []
        self.dropped = Counter()
        self.server = FeedbackServer(
            endpoint,
            FeedbackReader(),
            lambda link, news: self.verdicts.extend((link, *v) for v in news.verdicts),
            lambda cause: self.dropped.update([cause]),
            **arguments,
        )

    def __enter__(self):
        self.server.start()
        return self

    def __exit__(self, *_):
        self.server.stop()


@pytest.fixture
def client():
    writer, made = FeedbackWriter(), []

    def start(endpoint):
        made.append(FeedbackClient(endpoint, writer))
        made[0].start()
        return made[0], writer

    yield start
    made[0].stop()


@pytest.fixture
def stranger():
    """A socket that sends what it likes."""
    context = zmq.Context()
    made = context.socket(zmq.DEALER)
    yield made
    context.destroy(linger=0)


def attempt(endpoint):
    """A listener, or None while the endpoint is taken: ZeroMQ closes sockets in a thread of its own."""
    try:
        return Listener(endpoint)
    except OSError:
        return None


def told(writer, client, seqs, link=0):
    for seq in seqs:
        writer.verdict(link, seq, True)
        client.wake()


def test_verdicts_arrive_and_both_ends_hear_each_other(client):
    with Listener() as listener:
        sender, writer = client(listener.server.endpoint)
        told(writer, sender, range(100))
        until(lambda: len(listener.verdicts) == 100, "all verdicts")
        assert listener.verdicts == [(0, n, True) for n in range(100)]
        until(lambda: not sender.silent and sender.rtt_s is not None, "an echo")
        assert listener.server._reader.senders(time.monotonic()) == (1, 0)
        assert not listener.dropped


def test_a_sender_that_comes_first_loses_nothing_within_its_window(client):
    with socket.create_server(("127.0.0.1", 0)) as free:
        endpoint = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    sender, writer = client(endpoint)
    told(writer, sender, range(50))
    until(lambda: sender.counts["frames_unsent"] > 0, "a vain attempt")
    assert sender.silent
    with Listener(endpoint) as listener:
        until(lambda: len(listener.verdicts) == 50, "what was told before")
        assert listener.server._reader.lost == 0


def test_it_connects_again_when_the_receiver_starts_anew(client):
    with Listener() as listener:
        endpoint = listener.server.endpoint
        sender, writer = client(endpoint)
        told(writer, sender, range(20))
        until(lambda: len(listener.verdicts) == 20, "the first verdicts")
    del listener
    gc.collect()
    told(writer, sender, range(20, 40))
    with until(lambda: attempt(endpoint), "the port to be free") as listener:
        until(lambda: listener.server._reader.counts["frames"], "a frame after the restart")
        told(writer, sender, range(40, 60))
        until(lambda: (0, 59, True) in listener.verdicts, "the last verdict")
        # Blocks up to 39 came with its first frame, and may be of numbers that were used before.
        assert [v for v in listener.verdicts if v[1] >= 40] == [(0, n, True) for n in range(40, 60)]


def test_each_of_several_senders_speaks_for_its_own_links(client):
    with Listener() as listener:
        first, writer = client(listener.server.endpoint)
        other_writer = FeedbackWriter()
        other = FeedbackClient(listener.server.endpoint, other_writer)
        other.start()
        told(writer, first, range(10), link=1)
        told(other_writer, other, range(10), link=2)
        until(lambda: len(listener.verdicts) == 20, "all verdicts")
        told(other_writer, other, range(10, 15), link=1)  # which is the first one's
        until(lambda: listener.dropped["of another sender"], "the refusal")
        other.stop()
        assert not [v for v in listener.verdicts if v[:2] == (1, 14)]
        assert listener.server._reader.senders(time.monotonic())[0] == 2


def test_nonsense_is_counted_by_cause_and_hurts_nobody(client, stranger):
    with Listener() as listener:
        sender, writer = client(listener.server.endpoint)
        stranger.connect(listener.server.endpoint)
        told(writer, sender, [0])
        until(lambda: listener.verdicts, "the first verdict")
        forged = ff.encode(ff.Report(0, writer.epoch ^ 1, 0, 1, 1, 1, 0))
        for frames in ([b""], [b"x" * 40], [b"a", b"b"], [ff.encode(ff.Echo(1, 1))], [forged]):
            stranger.send_multipart(frames)
        told(writer, sender, [1])
        until(lambda: len(listener.verdicts) == 2 and sum(listener.dropped.values()) == 5, "all to be judged")
        assert listener.verdicts == [(0, 0, True), (0, 1, True)]
        assert listener.dropped == {
            "malformed: shorter than a header": 1,
            "malformed: no magic": 1,
            "malformed: not one part": 1,
            "not for a transmitter": 1,
            "of another sender": 1,
        }


def test_one_that_floods_is_held_to_its_rate_and_others_are_not(client, stranger):
    with Listener(rate_hz=200.0) as listener:
        sender, writer = client(listener.server.endpoint)
        stranger.connect(listener.server.endpoint)
        flood = ff.encode(ff.Report(7, 1, 0, 1, 1, 1, 0))
        for _ in range(2000):
            stranger.send(flood)
        told(writer, sender, range(20))
        until(lambda: len([v for v in listener.verdicts if v[0] == 0]) == 20, "the honest one's verdicts")
        until(lambda: sum(listener.dropped.values()) == 1999, "the flood to be judged")
        assert listener.dropped["over its peer's rate"] > 1000


def test_a_silent_receiver_shows(client):
    with Listener() as listener:
        sender, _ = client(listener.server.endpoint)
        until(lambda: not sender.silent, "an echo")
    until(lambda: sender.silent, "silence to be noticed")


def test_no_thread_and_no_socket_is_left_behind():
    with Listener() as listener:
        endpoint = listener.server.endpoint
        for _ in range(20):
            sender = FeedbackClient(endpoint, FeedbackWriter())
            sender.start()
            sender.stop()
            listener.server.stop()
            listener.server.start()
    assert not [t for t in threading.enumerate() if t.name.startswith("feedback")]
    del listener
    gc.collect()
    until(lambda: attempt(endpoint), "the port to be free")


def test_an_endpoint_that_cannot_be_used_is_named():
    with pytest.raises(ValueError, match="carrier-pigeon"):
        FeedbackClient("carrier-pigeon", FeedbackWriter())
    with Listener() as listener, pytest.raises(OSError, match="cannot listen on"):
        Listener(listener.server.endpoint)
