# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys and lists: who is on the list gets in, encrypted; nobody else does."""

import stat
import time
from collections import Counter

import pytest
import zmq
from gnuradio.lighttune.cli.main import main
from gnuradio.lighttune.net.curve import ClientKeys, is_local, make_keys
from gnuradio.lighttune.net.feedback_client import FeedbackClient
from gnuradio.lighttune.net.feedback_reader import FeedbackReader
from gnuradio.lighttune.net.feedback_server import FeedbackServer
from gnuradio.lighttune.net.feedback_writer import FeedbackWriter

from flowgraph import until


@pytest.fixture
def keys(tmp_path):
    """Keys of a server, of a client that is on its list, and of one that is not."""
    for name in ("server", "friend", "stranger"):
        make_keys(tmp_path, name)
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "friend.key").write_bytes((tmp_path / "friend.key").read_bytes())
    return tmp_path


@pytest.fixture
def server(keys):
    verdicts = []
    made = FeedbackServer(
        "tcp://127.0.0.1:*", FeedbackReader(), lambda link, news: verdicts.extend(news.verdicts),
        Counter().__setitem__, key=str(keys / "server.key_secret"), allowed=str(keys / "allowed"),
    )  # fmt: skip
    made.verdicts = verdicts
    made.start()
    yield made
    made.stop()


def tell(server, keys):
    """A client that has something to say."""
    writer = FeedbackWriter()
    client = FeedbackClient(server.endpoint, writer, keys)
    writer.verdict(0, 0, True)
    client.start()
    return client


def test_who_is_on_the_list_is_heard(server, keys):
    client = tell(server, ClientKeys.read(keys / "friend.key_secret", keys / "server.key"))
    until(lambda: server.verdicts == [(0, True)] and not client.silent, "the verdict and an echo")
    client.stop()
    assert server.refused == 0


def test_who_is_not_on_the_list_is_turned_away_and_counted(server, keys):
    client = tell(server, ClientKeys.read(keys / "stranger.key_secret", keys / "server.key"))
    until(lambda: server.refused > 0, "the refusal")
    time.sleep(0.3)
    client.stop()
    assert not server.verdicts
    assert client.silent


@pytest.mark.parametrize("case", ["plain text", "a server that is another one"])
def test_without_the_right_keys_nothing_gets_through(server, keys, case):
    wrong = ClientKeys.read(keys / "friend.key_secret", keys / "stranger.key")
    client = tell(server, None if case == "plain text" else wrong)
    time.sleep(1.0)
    client.stop()
    assert not server.verdicts
    assert client.silent
    assert client.counts["frames"] == 0


def test_a_server_in_plain_text_hears_no_client_with_keys(keys):
    verdicts = []
    plain = FeedbackServer("tcp://127.0.0.1:*", FeedbackReader(), lambda *news: verdicts.append(news), print)
    plain.start()
    client = tell(plain, ClientKeys.read(keys / "friend.key_secret", keys / "server.key"))
    time.sleep(0.5)
    client.stop()
    plain.stop()
    assert not verdicts


def test_a_secret_stays_with_its_owner_and_nothing_is_overwritten(tmp_path):
    public, secret = make_keys(tmp_path / "new", "host-a")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert b"secret" not in public.read_bytes().replace(b"secret key", b"")
    assert zmq.auth.load_certificate(public)[1] is None
    with pytest.raises(FileExistsError, match="another name"):
        make_keys(tmp_path / "new", "host-a")
    with pytest.raises(ValueError, match=r"name = '\.\./x'"):
        make_keys(tmp_path, "../x")
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["host-a.key", "host-a.key_secret"]


def test_files_that_are_no_keys_are_named_with_the_remedy(keys):
    (keys / "noise").write_bytes(b"\xff\0noise")
    (keys / "short.key").write_text('curve\n    public-key = "tooshort"\n')
    good = keys / "friend.key_secret"
    for key, server_key, words in (
        (keys / "none", keys / "server.key", "no such key file"),
        (keys / "friend.key", keys / "server.key", "give the .key_secret file"),
        (keys / "noise", keys / "server.key", "not a key file"),
        (good, keys / "short.key", "not a key file"),
    ):
        with pytest.raises((ValueError, OSError), match=words):
            ClientKeys.read(key, server_key)
    good.chmod(0o644)
    with pytest.raises(ValueError, match="chmod 600"):
        ClientKeys.read(good, keys / "server.key")


@pytest.mark.parametrize(
    ("key", "allowed", "words"),
    [("server.key_secret", "", "give both"), ("server.key_secret", "empty", "copy the clients'")],
)
def test_a_server_with_nobody_on_its_list_is_a_mistake(keys, key, allowed, words):
    (keys / "empty").mkdir()
    with pytest.raises(ValueError, match=words):
        FeedbackServer(
            "tcp://127.0.0.1:*", FeedbackReader(), print, print, key=str(keys / key),
            allowed=allowed and str(keys / allowed),
        )  # fmt: skip


def test_the_command_makes_keys_once(tmp_path, capsys):
    arguments = ["keys", "--name", "tx-host", "--folder", str(tmp_path)]
    assert main(arguments) == 0
    assert str(tmp_path / "tx-host.key_secret") in capsys.readouterr().out
    assert main(arguments) == 1
    assert "exists" in capsys.readouterr().err


def test_loopback_is_told_from_the_network():
    assert all(map(is_local, ("tcp://127.0.0.1:5557", "ipc:///run/x", "tcp://localhost:1", "tcp://[::1]:1")))
    assert not any(map(is_local, ("tcp://*:5557", "tcp://0.0.0.0:5557", "tcp://10.0.0.1:1")))
