# SPDX-License-Identifier: GPL-3.0-or-later
"""Model files: what is written comes back; what is damaged or foreign is refused with a reason."""

import dataclasses
import json

import numpy as np
import pytest
from gnuradio.lighttune.core.checkpoint import load_model, load_predictor, save_predictor, shipped_models
from gnuradio.lighttune.core.features import N_FEATURES
from gnuradio.lighttune.core.mcs import McsTable
from safetensors import safe_open
from safetensors.numpy import save_file

from helpers import make_predictor


@pytest.fixture
def saved(tmp_path, plain_predictor):
    path = tmp_path / "model.safetensors"
    save_predictor(plain_predictor, path)
    return path


def parts(path):
    with safe_open(path, framework="numpy") as file:
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 (not a dict)
        return tensors, json.loads(file.metadata()["lighttune"])


def write(path, tensors, about):
    save_file(tensors, path, {"lighttune": json.dumps(about)})


def test_a_predictor_comes_back_as_it_was(saved, plain_predictor, rng):
    back = load_predictor(saved, plain_predictor.table)
    x = rng.normal(0, 3, N_FEATURES).astype(np.float32)
    assert back.table == plain_predictor.table
    assert np.allclose(
        back.bler(back.weights(), x),
        plain_predictor.bler(plain_predictor.weights(), x),
        atol=1e-5,  # float32 file
    )


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(saved, share):
    blob = saved.read_bytes()
    saved.write_bytes(blob[: int(share * len(blob))])
    with pytest.raises(ValueError, match=r"truncated|not a"):
        load_predictor(saved)


def test_a_pickle_is_refused_unread(saved):
    saved.write_bytes(b"\x80\x04\x95" + b"0" * 200)
    with pytest.raises(ValueError, match="not a safetensors file"):
        load_predictor(saved)


def test_another_schema_another_feature_set_and_another_table_are_refused(saved):
    tensors, about = parts(saved)
    write(saved, tensors, about | {"schema": 99})
    with pytest.raises(ValueError, match="schema 99"):
        load_predictor(saved)
    write(saved, tensors, about | {"features": ["cqi"]})
    with pytest.raises(ValueError, match="other features"):
        load_predictor(saved)
    write(saved, tensors, about)
    with pytest.raises(ValueError, match=r"nr-pdsch-1.*nr-pdsch-2"):
        load_predictor(saved, McsTable.nr_pdsch(2))


@pytest.mark.parametrize("text", [None, "", "{", "null", "[]", "7"])
def test_a_description_that_is_missing_or_garbled_is_refused(saved, text):
    tensors, _ = parts(saved)
    save_file(tensors, saved, None if text is None else {"lighttune": text})
    with pytest.raises(ValueError, match=str(saved)):
        load_predictor(saved)


@pytest.mark.parametrize("key", ["features", "table", "shape"])
@pytest.mark.parametrize("value", [None, [1], "x", {"layers": 1e9}, {"name": 3}])
def test_a_part_that_makes_no_sense_is_refused(saved, key, value):
    tensors, about = parts(saved)
    write(saved, tensors, about | {key: value})
    with pytest.raises(ValueError, match=str(saved)):
        load_predictor(saved)


def test_tensors_that_are_missing_misshapen_or_not_finite_are_refused(saved):
    tensors, about = parts(saved)
    for name, array in tensors.items():
        for bad in (None, array[:-1], np.full_like(array, np.nan)):
            broken = {k: v for k, v in tensors.items() if k != name} | (
                {} if bad is None else {name: bad.copy()}
            )
            write(saved, broken, about)
            with pytest.raises(ValueError, match="not a whole LightTune model"):
                load_predictor(saved)


def test_a_missing_file_names_the_shipped_models(tmp_path):
    with pytest.raises(FileNotFoundError, match="shipped"):
        load_predictor(tmp_path / "nothing.safetensors")


def test_a_failed_write_leaves_the_old_file(saved, plain_predictor, monkeypatch):
    old = saved.read_bytes()
    monkeypatch.setattr("os.replace", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_predictor(dataclasses.replace(plain_predictor), saved)
    assert saved.read_bytes() == old
    assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.parametrize("name", ["amc", "nr-pdsch-1-sionna", "wifi"])
def test_the_shipped_models_load_and_belong_to_the_shipped_tables(name):
    assert name in shipped_models()
    assert load_model(name).table.digest == McsTable.named(name).digest


def test_a_model_for_another_number_of_modulation_orders_is_refused(saved):
    tensors, about = parts(saved)
    write(saved, tensors, about | {"shape": about["shape"] | {"orders": 2}})
    with pytest.raises(ValueError, match=r"encoder\.w3"):
        load_predictor(saved)


def test_a_random_encoder_comes_back_with_all_it_reads(tmp_path, rng):
    predictor = make_predictor(McsTable.nr_pdsch(2), rng, depth=1.0)
    direct = rng.standard_normal(predictor.encoder.direct.shape)
    encoder = dataclasses.replace(predictor.encoder, direct=direct)
    path = tmp_path / "model.safetensors"
    save_predictor(dataclasses.replace(predictor, encoder=encoder), path)
    x = rng.normal(0, 1, (5, N_FEATURES))
    for name, back in load_predictor(path).encoder(x)._asdict().items():
        assert np.allclose(back, getattr(encoder(x), name), atol=1e-5), name  # float32 file
