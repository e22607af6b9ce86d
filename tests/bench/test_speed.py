# SPDX-License-Identifier: GPL-3.0-or-later
"""The speed benchmarks run and their pages have their rows. How fast anything is, is no test's business."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gnuradio.lighttune.core.mcs import McsTable

pytest.importorskip("torch", reason="torch is not installed (tools/setup.sh does it)")
import torch

import speed_blocks
import speed_core
from patience import HANG_S
from speed import p99_ratio

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        (
            "speed",
            [
                "`select` in `core`, 28 MCS", "through the block", "selector's p99 over", "update per link",
                "torch backpropagation step", speed_core.NUMPY, speed_core.COMPILED, "Thompson", "SALAD",
                "Sionna SYS", speed_blocks.ALONE, speed_blocks.ALWAYS, speed_blocks.PROCESS, "torch Adam",
                "first start (compiles)", "Memory of a further link",
            ],
        ),
        ("soak_flowgraph", ["no tuner", "mode `thread`", "mode `process`", "Resident memory"]),
    ],
)  # fmt: skip
def test_a_short_run_writes_its_page_and_leaves_the_documents_alone(name, rows, tmp_path):
    documents = ROOT / "docs/results"
    before = {path: path.stat().st_mtime_ns for path in documents.rglob("*")}
    done = subprocess.run(
        [sys.executable, f"bench/{name}.py", "--short", "--out", str(tmp_path)],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=HANG_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (path,) = tmp_path.glob("*.md")
    page = path.read_text()
    assert page.startswith(f"<!-- written by `bench/{name}.py`")
    for row in rows:
        assert row in page
    for line in page.splitlines():
        for picture in line.split("](")[1:] if line.startswith("![") else ():
            assert (tmp_path / picture.rstrip(")")).stat().st_size > 5000
    assert {path: path.stat().st_mtime_ns for path in documents.rglob("*")} == before


def test_ratios_of_p99_are_of_all_and_by_turns():
    quiet = np.tile(np.arange(100.0), (5, 1))
    disturbed = quiet.copy()
    disturbed[0] *= 50  # one bad turn
    pooled, by_turn = p99_ratio(disturbed, quiet)
    assert pooled > 10
    assert by_turn == 1.0


def test_what_torch_steps_is_the_network_that_is_tuned(rng):
    """Its log loss falls on the samples that it is given, again and again."""
    predictor = speed_core.predictor_of(McsTable.nr_pdsch(2), rng)
    features, mcs, ack = speed_core.samples_of(predictor, rng, 16, 1)[0]
    learn = speed_core._torch(predictor, 16, torch.optim.SGD)
    (cell,) = (c for c in learn.__closure__ if isinstance(c.cell_contents, torch.Tensor))
    start = cell.cell_contents.detach().numpy().astype(float).copy()
    for _ in range(30):
        learn(features, mcs, ack)
    end = cell.cell_contents.detach().numpy().astype(float)

    def loss(flat: np.ndarray) -> float:
        bler = predictor.bler(predictor.weights(flat), features, mcs[:, None])[:, 0]
        return float(-np.log(np.where(ack, 1 - bler, bler)).mean())

    assert loss(end) < loss(start)


def test_where_sionnas_environment_is_missing_the_page_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(speed_core, "ROOT", tmp_path)
    assert "setup_linkgym.sh" in speed_core.sionna(5)
