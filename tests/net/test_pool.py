# SPDX-License-Identifier: GPL-3.0-or-later
"""Links of many hosts in one tuner: apart from each other, and within bounds."""

import numpy as np
import pytest
from gnuradio.lighttune.core.link_tuner import LinkTuner, TunerFull
from gnuradio.lighttune.core.tuning import TuningPolicy
from gnuradio.lighttune.net.pool import LinkPool


@pytest.fixture
def make(plain_model):
    def pool(max_links=8, archive_limit=100):
        tuner = LinkTuner(plain_model, TuningPolicy(always=True), max_links)
        return LinkPool(tuner, archive_limit)

    return pool


def learn(pool, host, links, times=1):
    """NACKs where ACKs were as likely: every one moves the weights."""
    for _ in range(times):
        pool.tick()
        rows = pool.rows(host, np.asarray(links, np.uint16))
        features = np.tile([0.0, 2.0, 1.0], (len(links), 1))
        pool.tuner.learn_rows(rows, features, np.full(len(links), 10), np.ones(len(links)))
    return rows


def weights(pool, host, link):
    return pool.models(pool.rows(host, np.array([link], np.uint16)))[2][0]


def test_two_hosts_links_of_the_same_number_are_apart(make):
    pool = make()
    learn(pool, "a", [3], 5)
    before = weights(pool, "a", 3)
    learn(pool, "b", [3], 2)
    assert np.array_equal(weights(pool, "a", 3), before)
    assert not np.array_equal(weights(pool, "b", 3), before)
    assert len(pool) == 2


def test_a_link_that_occurs_several_times_in_a_batch_has_one_row(make):
    pool = make()
    rows = pool.rows("a", np.array([5, 5, 9, 5], np.uint16))
    assert rows[0] == rows[1] == rows[3] != rows[2]
    assert len(pool) == 2


def test_the_least_recently_heard_link_makes_room_and_comes_back_as_it_was(make):
    pool = make(max_links=80)
    before = {}
    for link in range(80):
        learn(pool, "a", [link])
        before[link] = weights(pool, "a", link)
    learn(pool, "a", [0], 3)  # now 1 is the oldest
    before[0] = weights(pool, "a", 0)
    learn(pool, "b", [1])
    assert (pool.archived, pool.in_archive, len(pool)) == (64, 64, 17)  # in one go: room for more
    assert np.array_equal(weights(pool, "a", 0), before[0])
    assert (pool.restored, pool.archived) == (0, 64)
    assert np.array_equal(weights(pool, "a", 1), before[1])
    assert (pool.restored, pool.in_archive) == (1, 63)
    assert pool.models(pool.rows("a", np.array([1], np.uint16)))[1].tolist() == [1]


def test_links_of_the_present_batch_stay(make):
    pool = make(max_links=4)
    learn(pool, "a", [1, 2])
    pool.tick()
    first = pool.rows("a", np.array([1, 3], np.uint16))
    second = pool.rows("b", np.array([1, 2], np.uint16))  # link 2 of a makes room for one, and one was free
    assert len({*first.tolist(), *second.tolist()}) == 4
    with pytest.raises(TunerFull):
        pool.rows("b", np.array([3], np.uint16))
    pool.tick()
    pool.rows("b", np.array([3], np.uint16))


def test_a_row_that_changed_hands_begins_with_the_curves_as_they_are(make):
    pool = make(max_links=1)
    learn(pool, "a", [1], 5)
    pool.tick()
    pool.rows("b", np.array([1], np.uint16))
    assert not weights(pool, "b", 1).any()
    state = pool.tuner.state(pool.tuner.links[0])
    assert (state["samples"], state["version"], state["updates"]) == (0, 0, 0)


def test_the_archive_forgets_its_oldest(make):
    pool = make(max_links=1, archive_limit=2)
    for link in range(4):
        learn(pool, "a", [link])
    assert (pool.archived, pool.in_archive, pool.forgotten) == (3, 2, 1)
    learn(pool, "a", [0])
    assert pool.restored == 0


def test_a_host_that_is_dropped_frees_its_rows_and_finds_its_links_again(make):
    pool = make(max_links=4)
    learn(pool, "a", [1, 2, 3], 4)
    before = weights(pool, "a", 2)
    assert pool.drop_host("a") == 3
    assert (len(pool), pool.in_archive) == (0, 3)
    learn(pool, "b", [1, 2, 3, 4])
    pool.drop_host("b")
    pool.tick()
    assert np.array_equal(weights(pool, "a", 2), before)


def test_models_wait_for_their_host_the_longest_first(make):
    pool = make()
    first, second = learn(pool, "a", [1]), learn(pool, "b", [2])
    pool.told(np.concatenate([first, second]))
    pool.tick()
    pool.mark(second)
    pool.tick()
    pool.mark(np.concatenate([first, second]))
    [(host, rows)] = pool.marked(1)
    assert (host, rows.tolist()) == ("b", second.tolist())
    links, versions, _ = pool.models(rows)
    assert (links.tolist(), versions.tolist()) == ([2], [1])
    pool.told(rows)
    assert [host for host, _ in pool.marked(9)] == ["a"]


def test_a_snapshot_holds_all_links_and_fills_another_pool(make):
    pool = make(max_links=2)
    for link in range(4):
        learn(pool, "a", [link], link + 1)
    keys, records = pool.snapshot()
    assert keys == [("a", 0), ("a", 1), ("a", 2), ("a", 3)]  # the least recently heard first
    other = make(max_links=4)
    other.fill(keys, records)
    assert len(other) == 0
    other.tick()
    for link in range(4):
        curves = weights(other, "a", link)
        assert curves[10] == np.float32(records["shift_db"][link, 10]) > 0
    assert (other.restored, other.in_archive) == (4, 0)


def test_an_empty_pool_has_an_empty_snapshot(make):
    keys, records = make().snapshot()
    assert keys == []
    assert len(records) == 0
