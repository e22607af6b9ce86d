# SPDX-License-Identifier: GPL-3.0-or-later
"""The state file: whole or not at all, and never trusted blindly."""

import json
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from gnuradio.lighttune.net.store import OtherModel, StateFile
from safetensors.numpy import load, save

RECORD = np.dtype(
    [("weights", "<f4", (50,)), ("version", "<i8"), ("active", "?"), ("trigger.evidence", "<f8", (5,))]
)
FINGERPRINT = bytes(range(16))


def records_of(n, value):
    records = np.zeros(n, RECORD)
    records["weights"], records["version"], records["active"] = value, value, True
    return records


def keys_of(n):
    return [("ab"[i % 2], i) for i in range(n)]


@pytest.fixture
def file(tmp_path):
    return StateFile(tmp_path / "state", FINGERPRINT, RECORD, 1000)


def test_what_was_saved_is_loaded_and_the_save_before_is_kept(file):
    for value in (1, 2):
        file.save(keys_of(7), records_of(7, value))
    keys, records, warnings = file.load()
    assert (keys, warnings) == (keys_of(7), [])
    assert np.array_equal(records, records_of(7, 2))
    os.replace(file.previous, file.path)
    assert file.load()[1]["version"].tolist() == [1] * 7


def test_no_file_is_an_empty_state(file):
    keys, records, warnings = file.load()
    assert (keys, len(records), warnings) == ([], 0, [])


@pytest.mark.parametrize("harm", ["truncated", "flipped", "empty", "garbage", "huge"])
def test_a_file_that_is_broken_is_set_aside_and_the_one_before_is_read(file, harm):
    for value in (1, 2):
        file.save(keys_of(9), records_of(9, value))
    blob = file.path.read_bytes()
    broken = {
        "truncated": blob[: len(blob) // 2],
        "flipped": blob[:20] + bytes([blob[20] ^ 255]) + blob[21:],
        "empty": b"",
        "garbage": b"\xff" * 4096,
        "huge": blob + b"\0" * 40 * 2**20,
    }[harm]
    file.path.write_bytes(broken)
    keys, records, warnings = file.load()
    assert len(keys) == 9
    assert records["version"].tolist() == [1] * 9
    assert str(file.path) in warnings[0]
    assert file.corrupt.read_bytes() == broken
    file.save(keys_of(9), records_of(9, 3))  # a later save must not push a broken file over the good one
    assert file.load()[1]["version"].tolist() == [3] * 9
    assert StateFile(file.previous, FINGERPRINT, RECORD, 1000).load()[1]["version"].tolist() == [1] * 9


def test_with_no_whole_file_left_it_begins_with_nothing_and_says_so(file):
    file.save(keys_of(3), records_of(3, 1))
    file.previous.write_bytes(b"broken")
    file.path.write_bytes(b"broken too")
    keys, _, warnings = file.load()
    assert keys == []
    assert "offline weights" in warnings[-1]


def doctored(file, change):
    """The file again, after ``change`` had its hands on its tensors and its description."""
    tensors = load(file.path.read_bytes())
    head = json.loads(
        file.path.read_bytes()[8:].split(b"\x00")[0][: int.from_bytes(file.path.read_bytes()[:8], "little")]
    )
    about = json.loads(head["__metadata__"]["lighttune"])
    change(tensors, about)
    file.path.write_bytes(save(tensors, {"lighttune": json.dumps(about)}))


def put(place, key, value):
    place[key] = value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t, a: put(a, "schema", 99), "schema 99"),
        (lambda t, a: put(a, "kind", "predictor"), "'predictor'"),
        (lambda t, a: a.pop("hosts"), "hosts"),
        (lambda t, a: put(a, "hosts", ["../a", "b"]), "../a"),
        (lambda t, a: put(a, "hosts", ["a"]), "IndexError"),
        (lambda t, a: put(t, "link", t["link"] + 70000), "out of range"),
        (lambda t, a: put(t, "host", t["host"] - 1), "out of range"),
        (lambda t, a: put(t, "version", t["version"].astype(np.int32)), "int32"),
        (lambda t, a: put(t, "weights", t["weights"][:, :-1].copy()), "weights"),
        (lambda t, a: put(t["weights"], (0, 0), np.nan), "not finite"),
        (lambda t, a: t.pop("active"), "active"),
    ],
)
def test_a_file_of_another_shape_is_refused_with_its_reason(file, change, words):
    file.save(keys_of(4), records_of(4, 1))
    doctored(file, change)
    keys, _, warnings = file.load()
    assert keys == []
    assert words in warnings[0]


def test_a_file_of_another_model_is_an_error_and_left_alone(file):
    file.save(keys_of(4), records_of(4, 1))
    other = StateFile(file.path, bytes(16), RECORD, 1000)
    with pytest.raises(OtherModel, match=r"saved for another model.*--model"):
        other.load()
    assert len(file.load()[0]) == 4


def test_a_full_disk_leaves_what_was_there(file):
    file.save(keys_of(4), records_of(4, 1))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # as a disk that takes no more
    try:
        with pytest.raises(OSError, match="large"):
            file.save(keys_of(100), records_of(100, 2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.load()[1]["version"].tolist() == [1] * 4
    assert not list(file.path.parent.glob("*.part"))


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        StateFile(tmp_path / "nowhere" / "state", FINGERPRINT, RECORD, 1)


SAVE_ON_AND_ON = """
import sys
import numpy as np
from gnuradio.lighttune.net.store import StateFile
record = np.dtype([("weights", "<f4", (50,)), ("version", "<i8"), ("active", "?")])
file = StateFile(sys.argv[1], bytes(range(16)), record, 10000)
records, n = np.zeros(5000, record), 0
while True:
    n += 1
    records["weights"] = records["version"] = n
    file.save([("a", i) for i in range(5000)], records)
    print(n, flush=True)
"""


def test_kill_9_in_the_middle_of_a_write_leaves_a_whole_state(tmp_path):
    """Three times; where in the write it strikes is chance, but a save is all that the process does."""
    record = np.dtype([("weights", "<f4", (50,)), ("version", "<i8"), ("active", "?")])
    file = StateFile(tmp_path / "state", FINGERPRINT, record, 10000)
    for again in range(3):
        command = [sys.executable, "-c", SAVE_ON_AND_ON, str(file.path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            process.stdout.readline()
            process.stdout.readline()
            time.sleep(0.005 * (again + 1))
            process.send_signal(signal.SIGKILL)
        keys, records, warnings = file.load()
        assert (len(keys), warnings) == (5000, [])
        assert records["version"].min() == records["version"].max() >= 2
        assert (records["weights"] == records["version"][0]).all()
