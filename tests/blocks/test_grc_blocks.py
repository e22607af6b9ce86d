# SPDX-License-Identifier: GPL-3.0-or-later
"""The GRC definitions say what the blocks are: same ports, parameters and defaults, every key documented."""

import inspect
from pathlib import Path

import pmt
import pytest
import yaml
from gnuradio import lighttune
from gnuradio.lighttune.core.link_model import LinkModel
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.tuning import MOST_HOLDS, N_FEATURES, TuningPolicy

GRC = Path(__file__).resolve().parents[2] / "grc"
BLOCKS = ["mcs_selector", "olla_selector", "tuner", "ack_merge", "feedback_sender", "feedback_receiver"]
BLOCKS += ["feedback_to_pdu", "pdu_to_feedback", "stop_and_wait"]
FREE_PORT = {"feedback_receiver": {"endpoint": "tcp://127.0.0.1:*"}}  # the default may be taken
NOT_IN_GRC = {"policy"}  # an object, for Python


@pytest.fixture(params=BLOCKS)
def name(request):
    return request.param


@pytest.fixture
def definition(name):
    return yaml.safe_load((GRC / f"lighttune_{name}.block.yml").read_text())


@pytest.fixture
def block(name):
    model = LinkModel(McsTable.nr_pdsch(1))
    first = {"mcs_selector": [model], "tuner": [model], "olla_selector": ["nr-pdsch-1"]}
    return getattr(lighttune, name)(*first.get(name, []), **FREE_PORT.get(name, {}))


def test_the_ports_are_the_block_s(definition, block):
    for ports, direction in ((block.message_ports_in(), "inputs"), (block.message_ports_out(), "outputs")):
        declared = {port["id"] for port in definition[direction]}
        assert declared == set(pmt.to_python(ports)) - {"system"}


def test_the_parameters_and_their_defaults_are_the_constructor_s(definition, name):
    parameters = inspect.signature(getattr(lighttune, name)).parameters
    declared = {p["id"]: p["default"] for p in definition["parameters"]}
    assert set(declared) == set(parameters) - NOT_IN_GRC
    assert declared == {key: str(parameters[key].default) for key in declared}


def test_the_constructor_s_call_names_every_parameter(definition):
    for parameter in definition["parameters"]:
        assert f"{parameter['id']}=${{{parameter['id']}}}" in definition["templates"]["make"]


def test_a_new_user_s_block_needs_no_argument(name):
    assert getattr(lighttune, name)(**FREE_PORT.get(name, {})).status()["block"] == name


def test_every_port_and_every_key_of_the_status_is_documented(definition, block):
    text = definition["documentation"]
    for port in definition["inputs"] + definition["outputs"]:
        assert port["id"] in text
    for key in block.status():
        assert key in text, key


@pytest.mark.parametrize("name", ["mcs_selector", "tuner"], indirect=True)
def test_numbers_in_the_documentation_are_those_of_the_code(definition, name):
    text = " ".join(definition["documentation"].split())
    assert f"f32vector of {N_FEATURES}," in text
    if name == "tuner":
        policy = TuningPolicy()
        assert f"above {policy.on:g}, the trigger fires, and the next {policy.hold} outcomes tune" in text
        assert f"{policy.hold * MOST_HOLDS} at most" in text
