# SPDX-License-Identifier: GPL-3.0-or-later
"""A tuner in a child process or behind a service: the link goes on whatever happens to it, and comes back."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from gnuradio import lighttune
from gnuradio.lighttune.core.tuning import N_FEATURES, TuningPolicy
from gnuradio.lighttune.net import child

from flowgraph import Bench, floats, message, pdu, post, running, threads, until
from served import ThreadedService


class Loop:
    """Selector and tuner, connected; every block's end is up to the test."""

    def __init__(self, model, **arguments):
        self.selector = Bench(lighttune.mcs_selector(model), "pdu_out", "decision")
        self.tuner = lighttune.tuner(model, always=True, **arguments)
        top = self.top = self.selector.top
        top.msg_connect(self.selector.block, "decision", self.tuner, "decision")
        top.msg_connect(self.tuner, "model", self.selector.block, "model")
        self.n = 0

    def send(self, ack, n=1, link=0):
        """Decide ``n`` blocks and tell how they ended; returns the last decision."""
        for _ in range(n):
            seq = self.n
            self.n += 1
            self.selector.post("pdu_in", pdu(link=link, seq=seq))
            until(lambda: len(self.decisions()) == self.n, "a decision")
            feedback = message(link=link, seq=seq, ack=ack)
            self.selector.post("feedback", feedback)
            post(self.tuner, "feedback", feedback)
        return self.selector.out["decision"].dicts()[-1]

    def decisions(self):
        return self.selector.out["decision"].messages

    def status(self):
        return self.tuner.status()

    def wait_heard(self):
        until(lambda: self.status()["service"] == "heard", "the service to be heard")
        until(lambda: self.selector.block.status()["tuner"] == "heard")


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def test_a_tuner_process_tunes_and_leaves_nothing_behind(plain_model):
    loop = Loop(plain_model, mode="process")
    with running(loop.top):
        loop.selector.report(snr_db=12.0)
        loop.wait_heard()
        loop.send(ack=False, n=8)
        until(lambda: loop.status()["samples"] == 8)
        until(lambda: loop.selector.block.status().get("models"))
        assert loop.send(ack=True)["version"] > 0
        until(lambda: loop.status()["samples"] == 9)
        until(lambda: loop.status()["state"]["0"]["version"] == 9)
        status = loop.status()
        assert alive(status["pid"])
        assert (status["links"], status["under_way"], status["dropped"]) == (1, 0, {})
        folder = loop.tuner._learner._process.folder
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not alive(status["pid"])
    assert threads("tuner") == []
    with running(loop.top):  # the flowgraph starts again: what was learnt is still there
        loop.wait_heard()
        loop.send(ack=True)
        until(lambda: loop.status()["state"]["0"]["version"] == 10)
    loop.tuner._learner._process._remove()  # as when the block is deleted, or Python ends
    assert not folder.exists()


def test_kill_9_of_the_process_under_load_costs_no_decision_and_it_comes_back(plain_model, caplog):
    loop = Loop(plain_model, mode="process")
    with running(loop.top):
        loop.selector.report(snr_db=12.0)
        loop.wait_heard()
        loop.send(ack=False, n=6)
        until(lambda: loop.status()["samples"] == 6)
        first = loop.status()["pid"]
        os.kill(first, signal.SIGKILL)
        n = len(loop.decisions())
        until(lambda: loop.send(ack=True) and loop.status()["restarts"] == 1, "it to restart")
        loop.wait_heard()
        until(lambda: loop.send(ack=True) and loop.status()["samples"] > 6)
        assert loop.status()["pid"] != first
    assert len(loop.decisions()) > n
    told = [record.getMessage() for record in caplog.records]
    assert f"tuner process {first}: ended with status -9" in told
    assert "tuner process: started anew (1)" in told


def test_a_frozen_process_is_away_then_replaced(plain_model, caplog, monkeypatch):
    monkeypatch.setattr(child, "FROZEN_S", 3.0)
    loop = Loop(plain_model, mode="process")
    with running(loop.top):
        loop.selector.report(snr_db=12.0)
        loop.wait_heard()
        loop.send(ack=False, n=10)
        until(lambda: loop.selector.block.status().get("models"))
        first = loop.status()["pid"]
        os.kill(first, signal.SIGSTOP)
        until(lambda: loop.selector.said().get("tuner") == "away")
        assert loop.send(ack=True)["version"] > 0
        until(lambda: loop.status()["restarts"] == 1, "it to be replaced")
        loop.wait_heard()
    assert not alive(first)
    assert any("silent for" in record.getMessage() for record in caplog.records)


def test_a_process_that_thaws_in_time_goes_on(plain_model):
    loop = Loop(plain_model, mode="process")
    with running(loop.top):
        loop.selector.report(snr_db=12.0)
        loop.wait_heard()
        pid = loop.status()["pid"]
        os.kill(pid, signal.SIGSTOP)
        loop.send(ack=False, n=5)
        time.sleep(0.5)
        os.kill(pid, signal.SIGCONT)
        until(lambda: loop.status()["samples"] == 5)
        assert (loop.status()["pid"], loop.status()["restarts"]) == (pid, 0)


ORPHAN = """
import os, sys, time
from gnuradio import gr, lighttune
top, tuner = gr.top_block(), lighttune.tuner("amc", mode="process")
top.msg_connect(tuner, "model", tuner, "decision")  # something to run
top.start()
while tuner.status()["service"] != "heard":
    time.sleep(0.01)
print(tuner.status()["pid"], tuner._learner._process.folder, flush=True)
time.sleep(60)
"""


def test_the_process_ends_and_its_folder_goes_when_its_parent_is_killed():
    with subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, text=True) as parent:
        pid, folder = parent.stdout.readline().split()
        assert alive(int(pid))
        assert Path(folder, "socket").exists()
        parent.kill()
    until(lambda: not alive(int(pid)), "the orphan to end")
    until(lambda: not Path(folder).exists(), "its folder to go")


def test_a_block_at_a_service_goes_on_with_its_last_weights_and_comes_back(plain_model, tmp_path):
    endpoint = f"ipc://{tmp_path}/socket"
    loop = Loop(plain_model, endpoint=endpoint, host="bench-a")
    with running(loop.top):
        loop.selector.report(snr_db=12.0)
        until(lambda: loop.selector.block.status()["tuner"] == "away")
        with ThreadedService(plain_model, endpoint) as service:
            loop.wait_heard()
            loop.send(ack=False, n=12)
            until(lambda: loop.send(ack=False)["version"] >= 12)
            assert service.count("feedbacks_total") >= 12
        until(lambda: loop.selector.block.status()["tuner"] == "away")
        assert loop.send(ack=True)["version"] >= 12
        with ThreadedService(plain_model, endpoint):  # with nothing learnt: it says so, and begins anew
            loop.wait_heard()
            until(lambda: loop.send(ack=False)["version"] < 12)
    assert loop.status()["service"] == "away: stopped"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"mode": "fork"}, 'mode = \'fork\': give "thread" or "process"'),
        ({"mode": "process", "endpoint": "tcp://127.0.0.1:1"}, "give one of them"),
        ({"endpoint": "here"}, "endpoint = 'here'"),
        ({"endpoint": "tcp://127.0.0.1:1", "host": "a b"}, "host = 'a b'"),
        ({"mode": "process", "policy": TuningPolicy()}, "leave policy out"),
    ],
)
def test_a_bad_argument_is_named_with_its_remedy(plain_model, arguments, words):
    with pytest.raises(ValueError, match=words):
        lighttune.tuner(plain_model, **arguments)


def test_features_of_a_sample_reach_the_service_as_they_were(plain_model):
    with ThreadedService(plain_model) as service:
        bench = Bench(lighttune.tuner(plain_model, endpoint=service.endpoint), "model")
        taken = []
        learn = service.service.pool.tuner.learn_rows
        service.service.pool.tuner.learn_rows = lambda *args: taken.append(args) or learn(*args)
        with running(bench.top):
            until(lambda: bench.block.status()["service"] == "heard")
            features = np.linspace(-3, 1, N_FEATURES)
            bench.post(
                "decision", message(seq=5, link=9, mcs=7, bler=0.1, features=floats(features), version=0)
            )
            bench.post("feedback", message(seq=5, link=9, ack=True))
            until(lambda: taken)
    _, got, mcs, nack = taken[0]
    assert got[0] == pytest.approx(features, abs=1e-5)
    assert (mcs.tolist(), nack.tolist()) == ([7], [0.0])
