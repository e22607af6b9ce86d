# SPDX-License-Identifier: GPL-3.0-or-later
"""The bounded queue of samples: in order, and nothing leaves it uncounted."""

import threading

import numpy as np
import pytest
from gnuradio.lighttune.net.backlog import Backlog
from gnuradio.lighttune.net.wire import SAMPLE

from patience import WAIT_S


def numbered(first, n):
    records = np.zeros(n, SAMPLE)
    records["seq"] = np.arange(first, first + n)
    return records


def test_samples_leave_in_order_across_the_parts_that_they_came_in():
    backlog = Backlog(100)
    for first, n in ((0, 3), (3, 0), (3, 5), (8, 1)):
        assert backlog.put(numbered(first, n)) == 0
    assert [backlog.take(n)["seq"].tolist() for n in (2, 4, 0, 9)] == [[0, 1], [2, 3, 4, 5], [], [6, 7, 8]]
    assert len(backlog) == 0


def test_the_oldest_are_given_up_beyond_the_limit():
    backlog = Backlog(4)
    assert backlog.put(numbered(0, 3)) == 0
    assert backlog.put(numbered(3, 3)) == 2
    assert backlog.put(numbered(6, 10)) == 10
    assert backlog.take(99)["seq"].tolist() == [12, 13, 14, 15]


def test_messages_without_samples_take_no_room():
    backlog = Backlog(4)
    for _ in range(10):
        backlog.put(numbered(0, 0))
    assert len(backlog._parts) == 0


def test_one_thread_may_put_while_another_takes():
    backlog, lost, got = Backlog(1000), 0, []

    def take():
        while len(got) == 0 or got[-1] != 99_999:
            got.extend(backlog.take(37)["seq"].tolist())

    taker = threading.Thread(target=take)
    taker.start()
    for first in range(0, 100_000, 50):
        lost += backlog.put(numbered(first, 50))
    taker.join(WAIT_S)
    assert not taker.is_alive()
    assert got == sorted(got)
    assert len(got) + lost == 100_000


def test_a_limit_below_1_is_named():
    with pytest.raises(ValueError, match="limit = 0: give"):
        Backlog(0)
