# SPDX-License-Identifier: GPL-3.0-or-later
"""What fuzzing and its reading found once, each held to its remedy."""

import json
import time

import msgpack
import pytest
from gnuradio.lighttune.core.checkpoint import load_predictor
from gnuradio.lighttune.core.mcs import MAX_MCS, McsTable
from gnuradio.lighttune.core.tensors import dump_tensors
from gnuradio.lighttune.net import telemetry
from gnuradio.lighttune.net.curve import read_public
from gnuradio.lighttune.records.journal import Journal
from gnuradio.lighttune.records.log import Session
from gnuradio.lighttune.sim.campaign_spec import read_spec

from patience import WAIT_S

SPEC = "worlds: [nominal]\nseeds: [1]\nlinks: {links}\nslots: 100\nadapters: {{OLLA: {{kind: olla{more}}}}}\n"
ROW = {"modulation_order": 2, "code_rate": 0.5, "threshold_db": 1.0, "slope_db": 0.3}
CURVES = {"schema": 1, "mcs": [ROW], "payload_bytes": 128, "overhead_symbols": 10.0}


def read(tmp_path, text):
    path = tmp_path / "campaign.yaml"
    path.write_text(text)
    return read_spec(path)


def test_a_number_beyond_a_double_is_no_setting(tmp_path):
    with pytest.raises(ValueError, match="target = 1000"):
        read(tmp_path, SPEC.format(links=1, more=f", settings: {{target: 1{'0' * 400}}}"))


def test_aliases_that_stand_for_terabytes_are_refused_before_a_message_shows_them(tmp_path):
    levels = "".join(f"- &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(12))
    began_s = time.monotonic()
    with pytest.raises(ValueError, match="aliases stand for more than"):
        read(tmp_path, f"worlds:\n- &a0 [x]\n{levels}")
    with pytest.raises(ValueError, match="unhashable"):
        read(tmp_path, f"worlds:\n- &a0 [x]\n{levels}? *a12\n: 1\n")
    assert time.monotonic() - began_s < WAIT_S  # a hang, not a speed


def test_a_campaign_that_no_memory_holds_is_refused(tmp_path):
    with pytest.raises(ValueError, match="links = 100000000 of 100 slots"):
        read(tmp_path, SPEC.format(links=10**8, more=""))
    assert read(tmp_path, SPEC.format(links=10, more="")).links == 10


def test_a_campaign_file_of_gigabytes_is_not_read(tmp_path):
    path = tmp_path / "campaign.yaml"
    with path.open("wb") as file:
        file.truncate(2**33)
    with pytest.raises(ValueError, match="bytes"):
        read_spec(path)


@pytest.mark.parametrize(
    "change",
    [
        {"payload_bytes": float("inf")}, {"payload_bytes": 10**400}, {"mcs": [ROW | {"slope_db": 10**400}]},
        {"mcs": [ROW | {"modulation_order": float("inf")}]}, {"mcs": [ROW | {"modulation_order": 10**400}]},
        {"mcs": [ROW | {"modulation_order": 64}]}, {"mcs": [ROW] * (MAX_MCS + 1)},
    ],
)  # fmt: skip
def test_curves_beyond_all_bounds_are_refused(tmp_path, change):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(CURVES | change))
    with pytest.raises(ValueError, match=r"mine\.json"):
        McsTable.named(str(path))


def test_json_nested_too_deep_is_refused_in_curves_and_models(tmp_path):
    deep = "[" * 100_000
    curves, model = tmp_path / "mine.json", tmp_path / "model.safetensors"
    curves.write_text(deep)
    with pytest.raises(ValueError, match=r"mine\.json"):
        McsTable.named(str(curves))
    model.write_bytes(dump_tensors({}, {"lighttune": deep}))
    with pytest.raises(ValueError, match="not a LightTune model"):
        load_predictor(model)


@pytest.mark.parametrize("place", [0, 1])
def test_a_vector_in_the_place_of_magic_or_schema_is_no_telemetry(place):
    parts = ["LTel", 1, 0, 0, 0.0, "csi", "x", {"link": 0, "snr_db": 1.0}]
    assert telemetry.decode(msgpack.packb(parts)).kind == "csi"
    parts[place] = msgpack.ExtType(1, bytes(12))
    with pytest.raises(telemetry.TelemetryError):
        telemetry.decode(msgpack.packb(parts))


@pytest.mark.parametrize(
    "said",
    ['["mcs_table"]', '"mcs_table"', "{mcs_table", "[" * 3000 + "mcs_table"],
    ids=["list", "text", "broken", "deep"],
)
def test_a_status_that_is_no_object_costs_a_log_nothing_but_itself(tmp_path, said):
    journal = Journal(tmp_path / "000001.journal")
    journal.append("status", [0, 1.0, "tuner", said])
    journal.append("status", [1, 2.0, "mcs_selector", '{"mcs_table": "amc"}'])
    journal.flush()
    journal.close()
    assert Session(tmp_path).mcs_table == McsTable.amc()


def test_a_session_file_nested_too_deep_is_damage(tmp_path):
    (tmp_path / "session.json").write_text("[" * 100_000)
    assert Session(tmp_path).damage["session.json: RecursionError"] == 1


def test_characters_beyond_a_number_are_no_key(tmp_path):
    path = tmp_path / "a.key"
    path.write_text('metadata\ncurve\n    public-key = "' + 40 * "#" + '"\n')
    with pytest.raises(ValueError, match="not a key file"):
        read_public(path)
