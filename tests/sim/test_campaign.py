# SPDX-License-Identifier: GPL-3.0-or-later
"""Campaigns: what a spec may say, what makes a cell the same cell, and that a cell is a plain run."""

import copy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from gnuradio.lighttune.core.link_files import load_model, save_model
from gnuradio.lighttune.core.link_model import LinkModel
from gnuradio.lighttune.sim import make_world, run_batch, summary
from gnuradio.lighttune.sim.campaign import figures, run_cell, simulate
from gnuradio.lighttune.sim.campaign_spec import parse, read_spec
from gnuradio.lighttune.sim.peers import BatchOlla, BatchSalad

from patience import HANG_S

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "python/lighttune/models"

SPEC = {
    "worlds": ["nominal", "mixture"],
    "seeds": [3, 1],
    "links": 2,
    "slots": 100,
    "adapters": {
        "OLLA": {"kind": "olla"},
        "grid": {"kind": "olla", "settings": {"target": 0.2}, "grid": {"delta_up_db": [0.1, 2]}},
        "ours": {"kind": "lighttune"},
    },
}


def changed(path, value):
    """The spec with one entry set; ``None`` takes it away."""
    spec = copy.deepcopy(SPEC)
    *parents, last = path.split("/")
    place = spec
    for key in parents:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return spec


def test_a_grid_is_every_combination_and_shared_worlds_follow_each_other():
    cells = parse(SPEC).cells()
    assert len(cells) == 2 * 2 * 4
    assert len({cell.id for cell in cells}) == len(cells)
    labels = ["OLLA", "grid (delta_up_db 0.1)", "grid (delta_up_db 2)", "ours"]
    assert [cell.variant.label for cell in cells[:4]] == labels
    assert [(cell.world, cell.seed) for cell in cells[::4]] == [
        ("nominal", 3), ("nominal", 1), ("mixture", 3), ("mixture", 1),
    ]  # fmt: skip


def test_seeds_may_be_a_range():
    assert parse(changed("seeds", {"first": 5, "count": 3})).seeds == (5, 6, 7)


def test_a_cell_is_a_plain_run():
    campaign = parse(changed("adapters/SALAD", {"kind": "salad", "settings": {"probe_share": 0.5}}))
    table = campaign.model.table
    direct = {
        "OLLA": lambda seed: BatchOlla(table, 2),
        "grid (delta_up_db 2)": lambda seed: BatchOlla(table, 2, 0.2, 2.0),
        "SALAD": lambda seed: BatchSalad(table, 2, np.random.default_rng([seed, 1]), probe_share=0.5),
    }
    for cell in campaign.cells():
        if cell.variant.label in direct:
            world = make_world(cell.world, table, cell.seed, 2, 100)
            expected = run_batch(direct[cell.variant.label](cell.seed), world)
            row = run_cell(cell, campaign.model)
            assert row["status"] == "finished"
            assert {name: row[name] for name in summary(expected)} == summary(expected)


def test_a_cell_gives_the_same_whatever_ran_before_it():
    campaign = parse(SPEC)
    cells = campaign.cells()
    there = {cell.id: simulate(cell, campaign.model) for cell in cells}
    back = {cell.id: simulate(cell, campaign.model) for cell in reversed(cells)}
    for cell in cells:
        assert np.array_equal(there[cell.id].goodput, back[cell.id].goodput)


def test_the_feedback_delay_reaches_the_run():
    soon, late = (parse(changed("feedback_delay_slots", delay)) for delay in (1, 50))
    (a, b) = (figures(simulate(campaign.cells()[0], campaign.model)) for campaign in (soon, late))
    assert a != b


def test_identity_is_what_the_result_depends_on_and_not_its_name(tmp_path):
    def ids(spec, folder=tmp_path):
        return {cell.id for cell in parse(spec, folder).cells()}

    base = ids(SPEC)
    renamed = changed("adapters/OLLA", None)
    renamed["adapters"]["another name"] = {"kind": "olla", "settings": {"target": 0.1}}
    assert ids(renamed) == base
    assert ids(changed("worlds", ["mixture", "nominal"])) == base
    assert ids(changed("seeds", [3])) < base
    for path, value in (("links", 3), ("slots", 101), ("feedback_delay_slots", 2), ("seeds", [4, 5])):
        assert not ids(changed(path, value)) & base
    # A model with other weights: only the cells that it decides in are others.
    model = load_model("amc")
    save_model(LinkModel(model.table, model.net * 1.01), tmp_path / "mine.safetensors")
    assert len(ids(changed("model", "mine.safetensors")) & base) == 3 * 4
    save_model(model, tmp_path / "copy.safetensors")
    assert ids(changed("model", "copy.safetensors")) == base


def test_another_version_of_the_package_is_another_cell_and_is_refused_where_it_is_not_installed():
    campaign = parse(SPEC)
    cell = campaign.cells()[0]
    other = replace(cell, version="9.9.9")
    assert other.id != cell.id
    row = run_cell(other, campaign.model)
    assert row["status"] == "failed"
    assert "9.9.9" in row["traceback"]


def test_a_table_without_a_network_of_its_own_is_driven_by_the_beliefs(tmp_path):
    campaign = parse(changed("table", "nr-pdsch-2"))
    assert not campaign.model.net.size
    ours = campaign.cells()[3]
    assert figures(simulate(ours, campaign.model))["goodput"] > 0
    (tmp_path / "mine.json").write_text((MODELS / "wifi_curves.json").read_text())
    assert parse(changed("table", "mine.json"), tmp_path).model.table.name == "mine"
    # With a model of that table, both may be given.
    assert parse(changed("table", "amc") | {"model": "amc"}).cells() == parse(SPEC).cells()


def test_what_goes_wrong_in_a_cell_is_told_in_its_row():
    campaign = parse(changed("adapters/OLLA", {"kind": "salad", "settings": {"window": 10**15}}))
    row = run_cell(campaign.cells()[0], campaign.model)
    assert row["status"] == "failed"
    assert "MemoryError" in row["traceback"]
    assert row["seed"] == 3
    assert row["duration_s"] >= 0


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("world", ["nominal"], "the spec has no key 'world': there are model, table, worlds, seeds"),
        ("worlds", None, "the key 'worlds' is missing"),
        ("worlds", ["nominl"], "worlds = 'nominl': give some of nominal, snr_bias_jump"),
        ("worlds", "nominal", "worlds = 'nominal': give a list of some of nominal"),
        ("worlds", [], r"worlds = \[\]: give a list"),
        ("worlds", [["nominal"]], r"worlds = \['nominal'\]: give some of"),
        ("worlds", ["mixture", "mixture"], "worlds = 'mixture' occurs 2 times"),
        ("seeds", [1, -1], "seeds = -1: give a whole number, 0 or more"),
        ("seeds", [1, 1], "seeds = 1 occurs 2 times"),
        ("seeds", [True], "seeds = True: give a whole number"),
        ("seeds", {"first": 1}, "seeds.count = None: give a whole number from 1 to 100000"),
        ("seeds", {"frist": 1, "count": 2}, "seeds has no key 'frist': there are first, count"),
        ("links", -2, "links = -2: give a whole number, 1 or more"),
        ("links", 1.5, "links = 1.5: give a whole number"),
        ("slots", 3, "slots = 3: give a whole number, 10 or more"),
        ("feedback_delay_slots", 101, "feedback_delay_slots = 101: give a whole number from 1 to 100"),
        ("model", "amd", "model = 'amd': no model file .*amd: give a path, or a shipped model: .*amc"),
        ("table", "nr-pdsch-9", "table = 'nr-pdsch-9': .*give one of amc"),
        ("table", "", "table = '': give one of amc"),
        ("model", 3, "model = 3: give one of amc"),
        ("reference", "Olla", r"reference = 'Olla': give one of OLLA, grid \(delta_up_db 0.1\)"),
        ("adapters", {}, r"adapters = \{\}: give one or more"),
        ("adapters", ["olla"], r"adapters = \['olla'\]: give a mapping of names"),
        ("adapters/OLLA", "olla", "adapters.OLLA = 'olla': give a mapping of kind, settings, grid"),
        ("adapters/OLLA", {}, "adapters.OLLA.kind = None: give one of olla, trend_olla, salad"),
        ("adapters/OLLA/kind", "ola", "adapters.OLLA: kind = 'ola': give one of olla"),
        ("adapters/OLLA/setting", {}, "adapters.OLLA has no key 'setting': there are kind, settings, grid"),
        ("adapters/OLLA/settings", {"target": 2}, "adapters.OLLA: target = 2.0: give a BLER"),
        ("adapters/ours/settings", {"tuning.on": 0}, "adapters.ours: tuning: on = 0.0: give a positive"),
        ("adapters/ours/settings", {1: 2}, "adapters.ours.settings = {1: 2}: give a mapping of names"),
        ("adapters/grid/grid/delta_up_db", 0.1, "grid.delta_up_db = 0.1: give a list of values"),
        ("adapters/grid/grid/target", [0.1], "adapters.grid: 'target' stands in settings and in grid"),
        ("adapters/again", {"kind": "olla"}, "adapters 'OLLA' and 'again' are the same run"),
        ("adapters/grid/grid/delta_up_db", [2, 2.0], r"'grid \(.*2\)' and 'grid \(.*\)' are the same"),
        ("seeds", {"first": 0, "count": 50_000}, "400000 cells: give 100000 at most"),
    ],
)  # fmt: skip
def test_a_bad_spec_is_answered_with_the_key_the_value_and_what_is_allowed(path, value, message):
    with pytest.raises(ValueError, match=message):
        parse(changed(path, value))


def test_a_grid_that_explodes_is_refused_before_it_is_spread_out():
    values = [0.001 * i for i in range(1, 900)]
    grid = {"kind": "olla", "grid": {"target": values, "delta_up_db": values}}
    with pytest.raises(ValueError, match="give 100000 at most"):
        parse(changed("adapters/grid", grid))


def write(tmp_path, text):
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    return path


def test_the_example_is_a_good_spec_and_yaml_says_the_same_as_python(tmp_path):
    assert len(read_spec(ROOT / "examples" / "campaign.yaml").cells()) > 20
    campaign = read_spec(write(tmp_path, yaml.safe_dump(SPEC)))
    assert [cell.id for cell in campaign.cells()] == [cell.id for cell in parse(SPEC).cells()]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("worlds: [nominal", "while parsing"),
        ("links: 3\nworlds: [nominal]\nlinks: 4\n", "line 1: the key 'links' occurs twice"),
        ("- a list", "the spec = .'a list'.: give a mapping of model, table, worlds"),
        ("", "the spec = None: give a mapping"),
        ("!!python/object/apply:os.system ['touch pwned']", "could not determine a constructor"),
        ("worlds: &a [*a]\nseeds: [1]\nlinks: 1\nslots: 10\nadapters: {}\n", "its aliases stand for more"),
    ],
)
def test_a_file_that_is_no_spec_is_named_with_its_path(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message) as refused:
        read_spec(write(tmp_path, text))
    assert str(refused.value).startswith(str(tmp_path))
    assert not (tmp_path / "pwned").exists()


def test_reading_and_running_need_no_dask():
    program = (
        "import sys; from gnuradio.lighttune.sim.campaign import run_cell;"
        "from gnuradio.lighttune.sim.campaign_spec import read_spec;"
        f"campaign = read_spec(__import__('pathlib').Path({str(ROOT / 'examples/campaign.yaml')!r}));"
        "assert not {'dask', 'distributed', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=HANG_S)
