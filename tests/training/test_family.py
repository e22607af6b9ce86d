# SPDX-License-Identifier: GPL-3.0-or-later
"""The family of links that the network is trained on holds all that it promises."""

from dataclasses import fields

import numpy as np
import pytest
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.training.family import GROUP, draw_scripts

N = 200
SLOT = np.arange(N)
LATEST = 60  # blocks after which a verdict has come if it comes at all
TABLES = {name: McsTable.named(name) for name in ("amc", "nr-pdsch-1-sionna", "wifi")}


@pytest.fixture(scope="module", params=TABLES)
def scripts(request):
    rng = np.random.default_rng(4)
    return [script for _ in range(20) for script in draw_scripts(rng, TABLES[request.param], N)]


def share_reported(script):
    return np.isfinite(script.report_db).mean()


def delay(script):
    return script.due - SLOT


def is_missing(script):
    return (script.due >= N) & (SLOT < N - LATEST)


KINDS = {
    "no report ever comes": lambda s: share_reported(s) == 0,
    "reports are sparse": lambda s: 0 < share_reported(s) < 0.1,
    "reports stop": lambda s: (
        np.isfinite(s.report_db[: N // 4]).any() and np.isnan(s.report_db[N // 2 :]).all()
    ),
    "reports begin late": lambda s: np.isnan(s.report_db[: N // 4]).all() and share_reported(s) > 0.3,
    "reports say nothing": lambda s: (
        share_reported(s) > 0.5 and np.nanmin(s.report_db) == np.nanmax(s.report_db)
    ),
    "reports come with ACKs alone": lambda s: s.with_ack,
    "verdicts are late": lambda s: (delay(s) >= 10).all(),
    "verdicts come several at once": lambda s: len(np.unique(s.due)) < N // 2 and np.ptp(delay(s)) > 0,
    "verdicts come in another order": lambda s: (np.diff(s.due[s.due < N]) < 0).any(),
    "some verdicts are missing": lambda s: 0 < is_missing(s).sum() < N // 4,
    "most verdicts are missing": lambda s: is_missing(s).sum() > N // 2,
    "the channel stands still": lambda s: np.ptp(s.bler, axis=0).max() < 0.02 and 0.02 < s.bler.mean() < 0.98,
    "the channel moves": lambda s: np.ptp(s.bler, axis=0).max() > 0.9,
    "packets are lost at every MCS": lambda s: (s.bler.min(axis=1) > 0.1).all() and s.bler.min() < 0.3,
    "blocks have two lengths": lambda s: len(np.unique(s.length)) == 2,
    "blocks are sent away from the choice": lambda s: len(np.unique(s.away)) > 3,
}


@pytest.mark.parametrize("kind", KINDS)
def test_some_links_and_not_all_are_of_each_kind(scripts, kind):
    count = sum(bool(KINDS[kind](script)) for script in scripts)
    assert 0 < count < 0.9 * len(scripts)


def test_every_link_is_one_that_can_be_driven(scripts):
    for script in scripts:
        assert np.isfinite(script.bler).all()
        assert script.bler.min() >= 0
        assert script.bler.max() <= 1
        assert (script.draws >= 0).all()
        assert (script.draws < 1).all()
        assert (script.due >= SLOT + 1).all()
        assert np.isfinite(script.age).all()
        assert script.age.min() >= 1
        assert np.isfinite(script.length).all()
        assert not np.isinf(script.report_db).any()


def test_every_other_link_is_plain(scripts):
    for script in scripts[1::2]:
        assert share_reported(script) > 0.5
        assert not script.with_ack
        assert (delay(script) == 1).all()
        assert not script.length.any()


def test_the_same_seed_gives_the_same_links_and_another_seed_others():
    a, b, c = (draw_scripts(np.random.default_rng(seed), TABLES["amc"], N) for seed in (1, 1, 2))
    assert len(a) == GROUP
    for one, same, other in zip(a, b, c, strict=True):
        for field in fields(one):
            left, right = (getattr(script, field.name) for script in (one, same))
            assert np.array_equal(left, right, equal_nan=True)
        assert not np.array_equal(one.bler, other.bler)
