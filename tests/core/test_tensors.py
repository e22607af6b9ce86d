# SPDX-License-Identifier: GPL-3.0-or-later
"""Our few lines of the safetensors format agree with the library, and refuse what it refuses."""

import json

import numpy as np
import pytest
from gnuradio.lighttune.core import checkpoint
from gnuradio.lighttune.core.tensors import dump_tensors, read_tensors
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

TYPES = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]
TENSORS = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda s: s != "__metadata__"),
    st.sampled_from(TYPES).flatmap(
        lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    ),
    max_size=5,
)
# Without tensors and metadata the library writes a file that it cannot read; one text at most, for it writes
# several in no fixed order.
METADATA = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.text(max_size=20),
    min_size=1,
    max_size=1,
)


def theirs(path):
    with safe_open(path, framework="numpy") as file:
        return {k: file.get_tensor(k) for k in file.keys()}, file.metadata() or {}  # noqa: SIM118 (not a dict)


def same(some, others):
    assert some[1] == others[1]
    assert set(some[0]) == set(others[0])
    for name, array in some[0].items():
        assert array.dtype == others[0][name].dtype
        np.testing.assert_array_equal(array, others[0][name])  # NaN equals NaN here


@settings(max_examples=100)
@given(tensors=TENSORS, metadata=METADATA)
def test_each_reads_what_the_other_wrote(tmp_path_factory, tensors, metadata):
    path = tmp_path_factory.mktemp("t") / "file"
    for blob in (dump_tensors(tensors, metadata), save(tensors, metadata)):
        path.write_bytes(blob)
        same(read_tensors(path), theirs(path))
        same(read_tensors(path), (tensors, metadata))


def test_the_shipped_models_are_read_alike():
    for name in checkpoint.shipped_models():
        path = checkpoint._MODELS / f"{name}.safetensors"
        same(read_tensors(path), theirs(path))


def test_a_type_that_the_format_has_not_is_refused():
    with pytest.raises(ValueError, match="complex128"):
        dump_tensors({"a": np.zeros(3, complex)}, {})


def entry(**changed):
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changed


@pytest.mark.parametrize(
    "header",
    [
        {"a": entry(dtype="F33")},
        {"a": entry(shape=[3])},
        {"a": entry(shape=[-2])},
        {"a": entry(shape=[2.0])},
        {"a": entry(shape=[2**62, 4])},
        {"a": entry(shape=2)},
        {"a": entry(data_offsets=[0, 4])},
        {"a": entry(data_offsets=[4, 12])},
        {"a": entry(data_offsets=["0", 8])},
        {"a": entry(), "b": entry()},  # both in the same place
        {"a": entry(), "b": entry(data_offsets=[12, 20])},  # a gap
        {"a": {"dtype": "F32"}},
        {"__metadata__": {"a": 1}, "a": entry()},
        {"__metadata__": [], "a": entry()},
        {},  # bytes that belong to nobody
        [],
        "text",
    ],
    ids=str,
)
def test_a_header_that_does_not_fit_its_bytes_is_refused_by_both(tmp_path, header):
    text = json.dumps(header).encode()
    path = tmp_path / "file"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(ValueError, match="not a safetensors file"):
        read_tensors(path)
    with pytest.raises((SafetensorError, TypeError, KeyError)):
        theirs(path)


@pytest.mark.parametrize(
    "blob", [b"", b"\0" * 7, b"\xff" * 40, b"\x10" + bytes(7) + b"[" * 16, b"\x02" + bytes(7) + b"\xff{"]
)
def test_what_is_no_such_file_is_refused(tmp_path, blob):
    path = tmp_path / "file"
    path.write_bytes(blob)
    with pytest.raises(ValueError, match="not a safetensors file"):
        read_tensors(path)
