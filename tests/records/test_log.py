# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing and reading logs: what goes in comes out, through rotation, kill -9, full disks and damage."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pyarrow.parquet as pq
import pytest
from gnuradio.lighttune.core.link_model import LinkModel
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.tuning import N_FEATURES
from gnuradio.lighttune.records.columns import TABLES
from gnuradio.lighttune.records.journal import Journal, read_rows
from gnuradio.lighttune.records.log import blocks_of, sessions
from gnuradio.lighttune.records.parquet import convert
from gnuradio.lighttune.records.writer import LogWriter, Rotation
from hypothesis import given
from hypothesis import strategies as st

from flowgraph import until
from patience import WAIT_S

MODEL = LinkModel(McsTable.nr_pdsch(1))
FEATURES = np.linspace(-1, 1, N_FEATURES, dtype=np.float32)


def decision(seq, link=0, mcs=3, features=FEATURES, **more):
    return {"link": link, "seq": seq, "mcs": mcs, "bler": 0.1, "features": features, "version": 1,
            "probe": False} | more  # fmt: skip


def feedback(seq, ack=True, link=0, attempt=0):
    return {"link": link, "seq": seq, "ack": ack, "attempt": attempt}


def write_some(writer, n=100, begin=0):
    """Reports, decisions and feedback of blocks that fail at every tenth."""
    for seq in range(begin, begin + n):
        writer.write("csi", {"link": 0, "snr_db": float(seq % 30)}, 1e9 + seq)
        writer.write("decision", decision(seq), 1e9 + seq)
        writer.write("feedback", feedback(seq, seq % 10 != 0), 1e9 + seq + 0.5)
    writer.flush()


def only(path):
    (session,) = sessions([path])
    return session


def test_every_kind_comes_back_with_its_order_and_its_missing_values(tmp_path):
    writer = LogWriter(tmp_path, MODEL, {"antenna": "dipole"}, weights=True)
    weights = np.arange(9, dtype=np.float32)
    writer.write("csi", {"link": 65535, "snr_db": -3.25, "seq": 2**32 - 1, "time": 5.5}, 1.0)
    writer.write("csi", {"link": 0, "snr_db": 7.0}, 2.0)
    writer.write("decision", decision(2**32 - 1, bits=4096), 3.0)
    writer.write("decision", decision(0, features=np.empty(0, np.float32), version=-1, probe=True), 4.0)
    writer.write("model", {"heartbeat": True, "away": False}, 4.5)
    writer.write("model", {"link": 0, "version": 9, "weights": weights}, 5.0)
    writer.write("feedback", feedback(0, ack=False, attempt=3), 6.0)
    writer.write("status", {"block": "tuner", "state": {"0": {"evidence": None}}}, 7.0)
    before = {name: only(tmp_path).table(name) for name in TABLES}  # nothing has reached the file yet
    assert all(len(table["number"]) == 0 for table in before.values())
    for close in (writer.flush, writer.close):  # from the journal, and from Parquet
        close()
        session = only(tmp_path)
        csi = session.table("csi")
        assert csi["link"].tolist() == [65535, 0]
        assert csi["seq"].tolist() == [2**32 - 1, -1]
        assert csi["measured_s"][0] == 5.5
        assert np.isnan(csi["measured_s"][1])
        decided = session.table("decision")
        assert decided["bits"].tolist() == [4096, -1]
        assert decided["probe"].tolist() == [False, True]
        assert decided["bler"].tolist() == [0.1, 0.1]
        assert np.array_equal(decided["features"][0], FEATURES)
        assert decided["features"][1].tolist() == [N_FEATURES, 0]
        model = session.table("model")
        assert model["version"].tolist() == [9]
        assert np.array_equal(model["weights"][0], weights)
        assert session.table("feedback", ["attempt"])["attempt"].tolist() == [3]
        assert json.loads(session.table("status")["fields"][0])["state"] == {"0": {"evidence": None}}
        numbers = np.concatenate([session.table(name)["number"] for name in TABLES])
        assert sorted(numbers) == list(range(7))
        assert session.about["notes"] == {"antenna": "dipole"}
        assert session.mcs_table == MODEL.table
        assert not session.damage
    assert session.about["rows"]["csi"] == 2
    assert session.about["ended_s"] > session.about["started_s"]
    assert not list(writer.folder.glob("*.journal"))
    assert pq.read_schema(next(writer.folder.glob("*.decision.parquet"))).metadata[b"schema"] == b"1"


def test_weights_are_left_out_unless_asked_for(tmp_path):
    writer = LogWriter(tmp_path)
    writer.write("model", {"link": 0, "version": 1, "weights": FEATURES}, 1.0)
    writer.close()
    assert only(tmp_path).table("model")["weights"][1].tolist() == [0]


def test_models_of_an_older_log_that_had_a_health_are_read(tmp_path):
    """As a journal, converted, and as the Parquet file that the older version made."""
    writer = LogWriter(tmp_path)
    writer.close()
    journal = Journal(writer.folder / "000001.journal")
    for number, healthy in enumerate((True, False)):
        journal.append("model", [number, 1e9, 7, 40 + number, healthy, FEATURES.astype("<f4").tobytes()])
    journal.flush()
    journal.close()

    def check():
        session = only(tmp_path)
        model = session.table("model")
        assert model["version"].tolist() == [40, 41]
        assert model["link"].tolist() == [7, 7]
        assert np.array_equal(model["weights"][0], np.tile(FEATURES, 2))
        assert not session.damage

    check()
    convert(journal.path)
    (parquet,) = writer.folder.glob("*.model.parquet")
    check()
    table = pq.read_table(parquet)
    pq.write_table(table.add_column(4, "healthy", [[True, False]]), parquet)
    check()


@pytest.mark.parametrize("rotation", [Rotation(megabytes=0.004), Rotation(seconds=1e-6)])
def test_rotation_loses_and_repeats_nothing(tmp_path, rotation):
    writer = LogWriter(tmp_path, rotation=rotation)
    for begin in range(0, 1000, 100):
        write_some(writer, begin=begin)
        if begin in (300, 600):
            until(lambda: writer._converter is None or writer._converter.poll() is not None)
    session = only(tmp_path)  # while it is being written: Parquet and journals side by side
    assert session.table("decision")["seq"].tolist() == list(range(1000))
    writer.close()
    session = only(tmp_path)
    assert len(list(writer.folder.glob("*.decision.parquet"))) >= 2
    for name in ("csi", "decision", "feedback"):
        assert np.all(np.diff(session.table(name)["number"]) == 3)
    assert session.about["rows"] == {"csi": 1000, "decision": 1000, "feedback": 1000}
    assert not session.damage
    assert not writer.lost


KILLED = """
import sys, time
from gnuradio.lighttune.records.writer import LogWriter, Rotation
writer = LogWriter(sys.argv[1], rotation=Rotation(seconds=0.7))
seq = 0
while True:
    for _ in range(20):
        writer.write("feedback", {"link": 0, "seq": seq, "ack": True, "attempt": 0}, time.time())
        seq += 1
    writer.flush()
    print(seq, flush=True)
    time.sleep(0.005)
"""


def test_kill_9_loses_nothing_that_was_flushed(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        until(lambda: list(tmp_path.glob("*/*.parquet")), "a rotation")
        told = int(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGKILL)
        told = int(process.stdout.read().split()[-1])
        process.wait(WAIT_S)
    session = only(tmp_path)
    seq = session.table("feedback")["seq"]
    assert list(tmp_path.glob("*/*.journal"))
    assert np.array_equal(seq, np.arange(len(seq)))
    assert len(seq) >= told > 20
    assert session.about["ended_s"] is None


def test_killed_while_it_converts_the_journal_counts(tmp_path):
    writer = LogWriter(tmp_path)
    write_some(writer)
    shutil.copytree(writer.folder, tmp_path / "copy")
    writer.close()
    # As if killed after the first files were renamed, and in the middle of another one.
    for path in writer.folder.glob("*.parquet"):
        if "csi" in path.name:
            shutil.copy(path, tmp_path / "copy")
        if "feedback" in path.name:
            (tmp_path / "copy" / f".{path.name}.tmp").write_bytes(path.read_bytes()[:100])
    session = only(tmp_path / "copy")
    for name in ("csi", "decision", "feedback"):
        assert len(session.table(name)["number"]) == 100
    assert not session.damage


def test_a_torn_or_damaged_journal_is_read_up_to_there(tmp_path):
    writer = LogWriter(tmp_path)
    write_some(writer)
    (path,) = writer.folder.glob("*.journal")
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    session = only(tmp_path)
    assert len(session.table("feedback")["number"]) == 99
    assert len(session.table("csi")["number"]) == 100
    assert list(session.damage) == ["000001.journal: bytes torn or damaged"]
    path.write_bytes(whole[: len(whole) // 2] + b"\xff" + whole[len(whole) // 2 + 1 :])
    assert 30 < len(only(tmp_path).table("csi")["number"]) < 70
    for rubbish in (b"", b"LTun", b"something else entirely"):
        path.write_bytes(rubbish)
        assert len(only(tmp_path).table("csi")["number"]) == 0


@given(st.integers(8, 3000), st.binary(min_size=1, max_size=8))
def test_any_damage_to_a_journal_leaves_a_sound_beginning(tmp_path_factory, at, junk):
    path = tmp_path_factory.mktemp("journal") / "000001.journal"
    journal = Journal(path)
    for number in range(100):
        journal.append("feedback", [number, 1e9, 0, number, True, 0])
    journal.flush()
    journal.close()
    whole = path.read_bytes()
    at = min(at, len(whole))
    path.write_bytes(whole[:at] + junk + whole[at + len(junk) :])
    numbers = [row[0] for _, row in read_rows(path)]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= (at - 8) // 40


def test_a_damaged_parquet_file_costs_its_part_and_is_named(tmp_path):
    writer = LogWriter(tmp_path, rotation=Rotation(megabytes=1e-5))
    for begin in (0, 100, 200):
        write_some(writer, begin=begin)
        until(lambda: writer._converter is None or writer._converter.poll() is not None)
    writer.close()
    path = sorted(writer.folder.glob("*.csi.parquet"))[1]
    raw = path.read_bytes()
    for damaged in (raw[:-20], b"", b"hello" * 50, raw[:40] + bytes(200) + raw[240:]):
        path.write_bytes(damaged)
        session = only(tmp_path)
        assert len(session.table("csi")["number"]) == 200
        assert [cause.split(":")[0] for cause in session.damage] == [path.name]
        assert len(session.table("decision")["number"]) == 300


FULL = """
import sys
from gnuradio.lighttune.records.writer import LogWriter
writer, now_s = LogWriter(sys.argv[1]), 0.0
def write(n):
    for _ in range(n):
        writer.write("feedback", {"link": 0, "seq": 1, "ack": True, "attempt": 0}, 1.0)
        writer.flush()
write(100)
filler = open(sys.argv[1] + "/filler", "wb", buffering=0)
try:
    while True:
        filler.write(bytes(4096))
except OSError:
    pass
write(1000)
lost = writer.lost["disk"]
assert 800 < lost <= 1000, lost
filler.truncate(0)
write(50)
writer.close()
print(lost)
"""


def test_a_full_disk_costs_messages_that_are_counted_and_then_it_goes_on(tmp_path):
    """On a file system of its own, of 256 kB, in a mount namespace."""
    script = tmp_path / "full.py"
    script.write_text(FULL)
    log = tmp_path / "log"
    log.mkdir()
    copy = tmp_path / "copy"
    shell = textwrap.dedent(f"""
        mount -t tmpfs -o size=256k tmpfs {log} || exit 77
        {sys.executable} {script} {log} || exit 1
        cp -r {log} {copy}
    """)
    done = subprocess.run(["unshare", "-rm", "sh", "-c", shell], capture_output=True, text=True, check=False)
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip("no mount namespaces here")
    assert done.returncode == 0, done.stderr
    session = only(copy)
    lost = int(done.stdout)
    assert len(session.table("feedback")["number"]) == 1150 - lost
    losses = session.table("loss")
    assert losses["cause"] == ["disk"]
    assert losses["lost"].tolist() == [lost]
    assert session.about["lost"] == {"disk": lost}
    assert not session.damage


def test_feedback_finds_its_decision_through_wraps_repeats_and_disorder(tmp_path):
    writer = LogWriter(tmp_path)
    events = [
        ("decision", decision(7), 0.0),
        ("feedback", feedback(7, ack=False), 0.1),  # HARQ: fails, then arrives
        ("feedback", feedback(7, ack=True, attempt=1), 0.2),
        ("feedback", feedback(7, ack=True), 0.3),  # a duplicate that says otherwise
        ("feedback", feedback(8, ack=False), 0.4),  # before its decision
        ("decision", decision(8), 0.5),
        ("decision", decision(9), 0.6),  # never heard of again
        ("feedback", feedback(9, link=1), 0.7),  # another link's, unknown
        ("decision", decision(7), 9.0),  # the number is used again
        ("feedback", feedback(7, ack=True), 9.1),
        ("feedback", feedback(10), 9.2),  # far too early
        ("decision", decision(10), 11.0),
    ]
    for event in events:
        writer.write(*event)
    writer.close()
    blocks = blocks_of(only(tmp_path))
    assert blocks.seq.tolist() == [7, 8, 9, 7, 10]
    assert blocks.ended.tolist() == [True, True, False, True, False]
    assert blocks.ack.tolist() == [False, False, False, True, False]
    assert blocks.delivered.tolist() == [True, False, False, True, False]
    assert blocks.attempts.tolist() == [2, 1, 0, 1, 0]
    assert blocks.end_s[:2].tolist() == [0.1, 0.4]


def test_a_log_with_features_of_another_version_is_read_like_any_other(tmp_path):
    writer = LogWriter(tmp_path)
    for seq, n in enumerate((17, N_FEATURES, 0)):
        writer.write("decision", decision(seq, features=np.ones(n, np.float32)), float(seq))
        writer.write("feedback", feedback(seq), seq + 0.5)
    writer.close()
    session = only(tmp_path)
    assert session.table("decision")["features"][1].tolist() == [17, N_FEATURES, 0]
    assert blocks_of(session).ended.all()


def test_the_table_is_the_one_that_was_noted_or_named_and_never_two(tmp_path):
    for folder, model, named, wanted in (
        ("noted", MODEL, [], MODEL.table),
        ("named", None, ["amc"], McsTable.amc()),
        ("neither", None, [], None),
        ("both", MODEL, ["nr-pdsch-1"], MODEL.table),
        ("two", None, ["amc", "nr-pdsch-1"], ValueError),
        ("other", MODEL, ["amc"], ValueError),
    ):
        writer = LogWriter(tmp_path / folder, model)
        for name in named:
            writer.write("status", {"block": "mcs_selector", "mcs_table": name}, 1.0)
        writer.flush()
        session = only(tmp_path / folder)
        if wanted is ValueError:
            with pytest.raises(ValueError, match="more than one MCS table"):
                _ = session.mcs_table
        else:
            assert session.mcs_table == wanted


def test_what_is_no_log_is_refused_with_a_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match="give the folder"):
        sessions([tmp_path / "nowhere"])
    with pytest.raises(FileNotFoundError, match="no session in"):
        sessions([tmp_path])
    writer = LogWriter(tmp_path)
    writer.close()
    note = writer.folder / "session.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"schema": 99}))
    with pytest.raises(ValueError, match="schema 99"):
        sessions([tmp_path])
    note.write_text("{torn")  # the data still counts
    assert only(tmp_path).damage == {"session.json: JSONDecodeError": 1}


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        LogWriter(tmp_path / "file")
    with pytest.raises(ValueError, match="rotation"):
        Rotation(megabytes=0)
    assert os.listdir(tmp_path) == ["file"]
