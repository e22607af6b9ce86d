# SPDX-License-Identifier: GPL-3.0-or-later
"""`lighttune serve` as a process: killed, frozen, ended and started anew while its hosts go on."""

import os
import signal
import socket
import time

import pytest
from gnuradio.lighttune.cli.main import main
from gnuradio.lighttune.core.link_files import load_model, save_model

from flowgraph import until
from served import Host, RawHost, Served


@pytest.fixture(scope="module")
def model():
    return load_model("amc")


@pytest.fixture
def port():
    """A port of our own choice, so that a service that is started anew is where the old one was."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def feed(host, links, rounds, until_learnt=True):
    """NACKs where ACKs were as likely: every one moves the curves."""
    before = host.client.taken
    for _ in range(rounds):
        host.send(links, ack=False, mcs=3)
        time.sleep(0.001)
    if until_learnt:
        until(lambda: host.client.taken >= before + rounds * len(links))


def test_kill_9_under_load_costs_what_was_under_way_and_what_was_not_saved(model, port, tmp_path):
    arguments = ["--state", str(tmp_path / "state"), "--save-s", "0.2", "--always"]
    bind = f"tcp://127.0.0.1:{port}"
    with Host(model, bind, "bench-a") as a, Host(model, bind, "bench-b") as b:
        with Served(*arguments, bind=bind) as served:
            a.wait_heard(), b.wait_heard()
            feed(a, range(10), 30)
            feed(b, [3], 5)
            until(lambda: b.version(3) == 5)
            saves = len(served.events("saved"))
            feed(a, [0], 1)
            until(lambda: len(served.events("saved")) > saves)  # with all that was learnt before
            feed(a, range(10), 20, until_learnt=False)  # it dies with samples under way
            served.process.send_signal(signal.SIGKILL)
            served.process.wait()
            for host in (a, b):
                until(lambda host=host: host.client.away is not None)
        learnt = {link: a.models[link] for link in range(10)}
        feed(a, range(10), 5, until_learnt=False)  # they wait
        with Served(*arguments, bind=bind) as served:
            assert served.events("restored")[0]["links"] == 11
            a.wait_heard(), b.wait_heard()
            until(lambda: a.client.waiting == a.client.under_way == 0)
            b.send([3], mcs=3)
            until(lambda: b.version(3) == 6)  # 5 were saved: it went on from there
            for link in range(10):
                until(lambda link=link: a.version(link) >= 35)
                assert abs(a.models[link][1][3] - learnt[link][1][3]) < 0.5  # not from the beginning
            assert served.end() == 0
            assert served.events("saved")[-1]["links"] == 11
            assert [event["host"] for event in served.events("host joined")].count("bench-a") == 1
    lost = a.dropped.pop("service: unconfirmed when it was lost", 0)
    assert set(a.dropped) == set()
    assert a.client.taken + lost == 10 * (30 + 20 + 5) + 1


def test_a_frozen_service_is_away_and_goes_on_where_it_was_when_it_thaws(model, tmp_path):
    with Served("--always") as served, Host(model, served.endpoint, queue_limit=500).wait_heard() as host:
        feed(host, [1], 10)
        served.process.send_signal(signal.SIGSTOP)
        for _ in range(20):
            host.send([1] * 10, mcs=3)
        until(lambda: host.client.away == "not heard for 2 s")
        host.send([1] * 1000, mcs=3)
        assert host.client.waiting == 500
        served.process.send_signal(signal.SIGCONT)
        host.wait_heard()
        until(lambda: host.client.waiting == host.client.under_way == 0)
        until(lambda: host.version(1) >= 510)
        assert host.dropped["service: queue overflow"] == 500
        assert host.dropped["service: unconfirmed when it was lost"] <= 200
        assert len(served.events("host joined")) >= 2


def test_sigterm_and_sigint_save_the_state_and_end_at_once(model, tmp_path):
    for number in (signal.SIGTERM, signal.SIGINT):
        with Served("--state", str(tmp_path / "state"), "--save-s", "3600", "--always") as served:
            with Host(model, served.endpoint).wait_heard() as host:
                feed(host, [1], 3)
            assert served.end(number) == 0
            assert [event["event"] for event in served.log[-2:]] == ["saved", "stopped"]
    assert served.events("restored")[0]["links"] == 1


def test_metrics_tell_what_the_log_and_the_hosts_tell(model):
    with Served("--always") as served, Host(model, served.endpoint).wait_heard() as host:
        feed(host, [1, 2, 3], 40)
        with RawHost(served.endpoint) as raw:
            raw.send(b"nonsense that is longer than a header")
            until(lambda: served.metrics().get('lighttune_dropped_total{cause="wire: no magic"}') == 1)
        until(lambda: served.metrics()["lighttune_links"] == 3)
        figures = served.metrics()
        assert figures["lighttune_feedbacks_total"] == figures["lighttune_updates_total"] == 120
        assert figures["lighttune_hosts"] == 1
        assert figures["lighttune_queue_samples"] == 0
        assert figures["lighttune_learn_seconds_count"] == figures["lighttune_batch_samples_count"] > 0
        assert figures["lighttune_models_total"] >= 3
        until(lambda: served.events("malformed message"))


def test_a_service_that_everybody_can_reach_says_that_it_is(model):
    with Served("--insecure", bind="tcp://0.0.0.0:*") as served:
        until(lambda: served.events("open to all"))
    with Served() as served:
        assert served.end() == 0
        assert not served.events("open to all")


def test_many_starts_and_ends_of_a_host_leave_the_service_as_it_was(model):
    with Served() as served:
        files = f"/proc/{served.process.pid}/fd"
        with Host(model, served.endpoint).wait_heard() as host:
            feed(host, [1], 2)
        before = len(os.listdir(files))
        for _ in range(30):
            with Host(model, served.endpoint).wait_heard():
                pass
        until(lambda: len(os.listdir(files)) <= before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bind", "nowhere"], "cannot listen on 'nowhere'"),
        (["--bind", "tcp://0.0.0.0:*"], "goes beyond this machine, in plain text"),
        (["--max-links", "0"], "--max-links 0: give"),
        (["--model", "no-such"], "no model file no-such"),
        (["--state", "/nowhere/state"], "no folder /nowhere"),
        (["--save-s", "0"], "save_s = 0.0: give"),
    ],
)
def test_a_bad_argument_ends_with_one_line_that_names_it(arguments, message, capsys):
    assert main(["serve", "--bind", "tcp://127.0.0.1:*", *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len([line for line in error.splitlines() if line.startswith("lighttune: ")]) == 1


def test_a_state_of_another_model_is_refused_at_the_start(plain_model, model, tmp_path):
    save_model(plain_model, tmp_path / "other.safetensors")
    state = ["--state", str(tmp_path / "state")]
    with Served("--always", *state) as served, Host(model, served.endpoint).wait_heard() as host:
        feed(host, [1], 2)
        assert served.end() == 0
    before = (tmp_path / "state").read_bytes()
    assert (
        main(["serve", "--bind", "tcp://127.0.0.1:*", "--model", str(tmp_path / "other.safetensors"), *state])
        == 1
    )
    assert (tmp_path / "state").read_bytes() == before


def test_help_says_how_a_host_gets_there(capsys):
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    shown = capsys.readouterr().out
    for words in ("lighttune serve --bind tcp://", "endpoint=", "--state FILE", "last curves"):
        assert words in shown
    assert "--private" not in shown
