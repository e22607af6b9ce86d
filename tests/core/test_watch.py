# SPDX-License-Identifier: GPL-3.0-or-later
"""The watch over weights that nobody tunes: patient where they are right, sure where they are not."""

import numpy as np
from gnuradio.lighttune.core.watch import Watch


def test_a_watch_leaves_weights_alone_that_are_right_and_catches_both_ways_of_being_wrong(rng):
    for offset, slowest in ((0.0, None), (3.0, 150), (-3.0, 700)):
        ends = []
        for _ in range(20):
            watch, n = Watch(), 0
            while watch.fits and n < 2000:
                logit = rng.normal(-2.0, 1.0)
                watch.observe(1 / (1 + np.exp(-logit)), rng.random() < 1 / (1 + np.exp(-logit - offset)))
                n += 1
            ends.append(n if not watch.fits else None)
        if slowest is None:
            assert ends == [None] * 20
        else:
            assert max(ends) < slowest


def test_a_watch_takes_the_edges_of_what_a_bler_can_be():
    watch = Watch()
    for bler in (0.0, 1e-300, 1.0, 1 - 1e-16):
        watch.observe(bler, True)
        watch.observe(bler, False)
    assert watch.fits in (True, False)
