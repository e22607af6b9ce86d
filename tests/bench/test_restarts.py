# SPDX-License-Identifier: GPL-3.0-or-later
"""Flowgraphs that start and stop again and again leave nothing behind: bench/restarts.py in short."""

import os
import threading

import pytest

import restarts
import soak

KINDS = [
    ("tuner in a thread, started again", 20),
    ("tuner in a thread, made anew", 8),
    ("tuner in a process, started again", 7),
    ("tuner in a service, started again", 20),
    ("feedback and telemetry over ZeroMQ, started again", 20),
    ("feedback and telemetry over ZeroMQ, made anew", 8),
]


@pytest.mark.parametrize(("kind", "rounds"), KINDS)
def test_no_thread_descriptor_or_process_stays_behind(kind, rounds):
    counts, _ = restarts.measure(rounds, [kind])[kind]
    assert len(counts.threads) == rounds
    assert not counts.leaked, f"{counts.first} became {counts.last}"


def test_what_stays_behind_is_seen():
    counts, kept, done = restarts.Counts(), [], threading.Event()
    try:
        for _ in range(restarts.WARM_ROUNDS):
            counts.take()
        assert not counts.leaked
        kept.append(os.open("/dev/null", os.O_RDONLY))
        counts.take()
        assert counts.leaked
        os.close(kept.pop())
        counts.take()
        assert not counts.leaked
        threading.Thread(target=done.wait, daemon=True).start()
        counts.take()
        assert counts.leaked
    finally:
        done.set()
        for descriptor in kept:
            os.close(descriptor)


def test_the_adapter_accounts_for_every_block_that_was_sent():
    run = soak.decide(3 * soak.PART)
    assert set(run.drift.values()) == {0}
    assert len(run.resident_kib) == len(run.latency_us) == 3
    assert run.descriptors[0] == run.descriptors[-1]
