# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated benchmarks run, keep to their seeds, and count as they say."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gnuradio.lighttune.sim import make_world, run_batch, stack
from gnuradio.lighttune.sim.peers import BatchOlla

import common
import protocol
from helpers import needs_torch
from patience import HANG_S

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "name",
    ["peers", "search", "convergence", "field", "adversaries"]
    + [pytest.param(name, marks=needs_torch) for name in ("worlds", "trigger", "ablation")],
)
def test_every_benchmark_runs_in_miniature_and_leaves_the_documents_alone(name, tmp_path):
    documents = ROOT / "docs/results"
    before = {path: path.stat().st_mtime_ns for path in documents.rglob("*")}
    command = [sys.executable, f"bench/{name}.py", "--short", "--out", str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANG_S, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    page = (tmp_path / f"{name}.md").read_text()
    assert page.startswith("<!-- written by `bench/")
    assert page.count("|---|") >= 1
    assert "nan" not in page.lower().replace("nano", "")
    for line in page.splitlines():
        for picture in line.split("](")[1:] if line.startswith("![") else ():
            assert (tmp_path / picture.rstrip(")")).stat().st_size > 5000
    assert {path: path.stat().st_mtime_ns for path in documents.rglob("*")} == before


def test_training_validation_and_test_seeds_are_disjoint():
    seeds = (
        protocol.TRAINING_SEED,
        *protocol.VALIDATION_SEEDS,
        *protocol.TEST_SEEDS,
        *protocol.FIELD_VALIDATION_SEEDS,
        *protocol.FIELD_TEST_SEEDS,
        *protocol.ADVERSARY_VALIDATION_SEEDS,
        *protocol.ADVERSARY_TEST_SEEDS,
    )
    assert len(set(seeds)) == len(seeds)
    looked_at = {
        1,
        11,
        41,
        101,
        202,
        *range(3001, 3009),
        *range(4001, 4009),
        *range(5001, 5009),
        *range(6001, 6009),
        *range(7001, 7009),
        *range(90001, 90005),
    }
    assert not set(seeds[1:]) & looked_at


def test_a_stacked_world_is_its_worlds_one_after_the_other():
    table = common.McsTable.amc()
    parts = [make_world("mixture", table, seed, 3, 400) for seed in (7, 8)]
    whole = stack(parts)
    together = run_batch(BatchOlla(table, whole.n_links), whole)
    for place, part in enumerate(parts):
        alone = run_batch(BatchOlla(table, 3), part)
        assert np.array_equal(common.of_seed(together, place, 3).mcs, alone.mcs)
        assert np.array_equal(common.of_seed(together, place, 3).goodput, alone.goodput)
    with pytest.raises(ValueError, match="does not go with"):
        stack([parts[0], make_world("nominal", table, 7, 3, 400)])


def test_intervals_are_students():
    middle, half = common.interval([1.0, 2.0, 3.0, 4.0])
    assert middle == 2.5
    assert half == pytest.approx(3.182 * np.sqrt(5 / 3) / 2, rel=1e-3)
    assert np.isnan(common.interval([1.0])[1])


def test_the_share_of_slots_tuned_counts_changes_of_weights_and_not_the_first_report():
    table = common.McsTable.amc()
    trace = run_batch(BatchOlla(table, 2), make_world("nominal", table, 7, 2, 11))
    trace.version[:] = [[-1, 0, 0, 1, 2, 2, 2, 3, 3, 3, 3], [-1, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
    assert common.tuned_share(trace) == pytest.approx(3 / 20)
