# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks that wait for feedback."""

import pytest
from gnuradio.lighttune.core.pending import PendingBlocks


def test_a_block_is_handed_out_once():
    pending = PendingBlocks(8)
    pending.add(5, "five")
    assert pending.pop(5) == "five"
    assert pending.pop(5) is None
    assert pending.pop(6) is None
    assert pending.expired == 0


def test_the_oldest_block_expires_beyond_the_limit_and_is_counted():
    pending = PendingBlocks(3)
    for seq in (10, 11, 2, 3):
        pending.add(seq, seq)
    assert len(pending) == 3
    assert pending.expired == 1
    assert pending.pop(10) is None
    assert pending.pop(11) == 11


def test_a_sequence_number_that_is_used_again_stands_for_the_newer_block():
    pending = PendingBlocks(2)
    pending.add(1, "old")
    pending.add(2, "two")
    pending.add(1, "new")  # now the newest: the next one pushes out number 2
    assert pending.expired == 1
    pending.add(3, "three")
    assert pending.pop(2) is None
    assert pending.pop(1) == "new"


@pytest.mark.parametrize("limit", [0, -1, float("nan")])
def test_a_limit_below_one_is_refused(limit):
    with pytest.raises(ValueError, match="limit"):
        PendingBlocks(limit)
