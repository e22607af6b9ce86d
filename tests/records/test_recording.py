# SPDX-License-Identifier: GPL-3.0-or-later
"""Recording real flowgraphs: by the block in process, by the command over telemetry."""

import inspect
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pmt
import pytest
import yaml
from gnuradio import lighttune
from gnuradio.lighttune.cli.main import main
from gnuradio.lighttune.core.link_files import fingerprint, load_model
from gnuradio.lighttune.core.tuning import N_FEATURES
from gnuradio.lighttune.net.telemetry import Publisher
from gnuradio.lighttune.records.log import blocks_of, sessions

from flowgraph import Bench, message, running, until
from patience import HANG_S, WAIT_S

from .conftest import BLOCKS, loopback, tap

GRC = Path(__file__).resolve().parents[2] / "grc"
COMMAND = [sys.executable, "-m", "gnuradio.lighttune.cli"]


def test_the_block_records_all_that_a_link_said(ofdm_log):
    folder, said, recorder = ofdm_log
    (session,) = sessions([folder])
    blocks = blocks_of(session)
    selector = said["selector"]
    assert recorder["dropped"] == {}
    assert len(blocks) == recorder["rows"]["decision"] >= BLOCKS
    assert len(blocks) == selector["decisions"]
    erased = said["acks"].get("erasures", 0)
    assert blocks.ended.sum() == selector["acks"] + selector.get("nacks", 0) == len(blocks) - erased
    assert blocks.seq.tolist() == list(range(len(blocks)))
    assert set(blocks.bits.tolist()) == {1024}
    flat, lengths = session.table("decision", ["features"])["features"]
    assert set(lengths.tolist()) == {N_FEATURES}
    assert np.isfinite(flat).all()
    assert session.mcs_table == load_model("amc").table
    assert session.about["model"] == fingerprint(load_model("amc")).hex()
    assert set(session.table("status")["block"]) == {"mcs_selector", "tuner", "amc_rx"}
    assert len(list(session.folder.glob("*.decision.parquet"))) >= 2
    assert not session.damage


def test_every_start_is_a_new_session_and_bad_messages_are_counted(tmp_path):
    bench = Bench(lighttune.recorder(tmp_path))
    for _ in range(2):
        with running(bench.top):
            bench.post("csi", message(snr_db=3.0))
            bench.post("csi", message(link=1))
            bench.post("feedback", message(seq=1))
            until(lambda: sum(bench.block.status()["dropped"].values()) == 2)
            until(lambda: bench.block.status()["rows"] == {"csi": 1})
    assert bench.block.status()["dropped"] == {"csi: snr_db missing": 1, "feedback: ack missing": 1}
    found = sessions([tmp_path])
    assert [len(session.table("csi")["number"]) for session in found] == [1, 1]


def test_a_full_queue_is_counted_and_told_in_the_log(tmp_path):
    bench = Bench(lighttune.recorder(tmp_path, queue_limit=4))
    block = bench.block
    goes_on = threading.Event()
    with running(bench.top):
        log = block._log
        log.writer.write, write = lambda *_: goes_on.wait(WAIT_S), log.writer.write  # a disk that hangs
        for _ in range(40):
            block.on_csi(message(snr_db=3.0))
        log.writer.write = write
        goes_on.set()
        until(lambda: block.status()["queued"] == 0)
        block.on_csi(message(snr_db=4.0))
        until(lambda: block.status()["rows"].get("csi", 0) >= 1)
    dropped = block.status()["dropped"]
    assert dropped.keys() == {"queue: full"}
    losses = sessions([tmp_path])[0].table("loss")
    assert set(losses["cause"]) == {"queue: full"}
    assert losses["lost"].sum() == dropped["queue: full"] >= 30


def test_a_bad_argument_is_refused_with_a_remedy(tmp_path):
    for argument, value in (("rotate_mb", 0), ("rotate_s", -1.0), ("queue_limit", 0)):
        with pytest.raises(ValueError, match=r"above 0|1 or more"):
            lighttune.recorder(tmp_path, **{argument: value})
    with pytest.raises(FileNotFoundError, match="no model file"):
        lighttune.recorder(tmp_path, model="nothing")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        lighttune.recorder(tmp_path / "file")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_the_command_records_a_flowgraph_until_it_is_told_to_end(tmp_path, ending):
    top = loopback()
    telemetry = lighttune.telemetry("tcp://127.0.0.1:*", source="bench")
    tap(top, telemetry)
    command = [*COMMAND, "record", telemetry.endpoint, str(tmp_path), "--model", "amc", "--note", "x=y z"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        with running(top):
            until(lambda: any(p.stat().st_size > 20_000 for p in tmp_path.glob("*/*.journal")), "rows")
            process.send_signal(ending)
            said = process.communicate(timeout=HANG_S)[1]
    finally:
        process.kill()
        telemetry.close()
    (session,) = sessions([tmp_path])
    blocks = blocks_of(session)
    assert len(blocks) > 20
    assert np.all(np.diff(blocks.seq) == 1)
    assert blocks.ended.mean() > 0.5  # the last ones were under way
    assert session.about["notes"] == {"x": "y z"}
    if ending == signal.SIGKILL:
        assert session.about["ended_s"] is None
        return
    assert process.returncode == 0
    assert "decision" in said
    assert session.about["ended_s"] is not None
    assert session.about["lost"] == {}
    assert not list(session.folder.glob("*.journal"))


def test_a_flowgraph_that_starts_again_is_a_new_session_for_the_command(tmp_path):
    publisher = Publisher("tcp://127.0.0.1:*")
    process = subprocess.Popen([*COMMAND, "record", publisher.endpoint, str(tmp_path)])

    def recorded(n):
        """Send until it is in the n-th session's file."""
        publisher.send("feedback", "bench", {"link": 0, "seq": 1, "ack": True, "attempt": 0})
        folders = sorted(tmp_path.iterdir())
        return len(folders) == n and any(p.stat().st_size > 8 for p in folders[-1].glob("*.journal"))

    try:
        until(lambda: recorded(1), "the first session")
        publisher.close()
        publisher = Publisher(publisher.endpoint)
        until(lambda: recorded(2), "the second session")
        process.send_signal(signal.SIGTERM)
        assert process.wait(HANG_S) == 0
    finally:
        process.kill()
        publisher.close()
    found = sessions([tmp_path])
    assert [session.about["rows"].keys() for session in found] == [{"feedback"}] * 2
    assert all(session.about["ended_s"] for session in found)


def test_the_command_says_when_nothing_came(tmp_path, capsys):
    record = ["record", "tcp://127.0.0.1:9", str(tmp_path)]
    assert main([*record, "--seconds", "0.3"]) == 0
    assert "nothing came" in capsys.readouterr().err
    for arguments, words in ((["--note", "x"], "NAME=TEXT"), (["--rotate-mb", "0"], "rotation"),
                             (["--model", "nothing"], "no model file")):  # fmt: skip
        assert main([*record, *arguments]) == 1
        assert words in capsys.readouterr().err
    assert len(os.listdir(tmp_path)) == 1


@pytest.mark.parametrize("name", ["recorder", "telemetry"])
def test_the_grc_definitions_are_the_blocks(tmp_path, name):
    definition = yaml.safe_load((GRC / f"lighttune_{name}.block.yml").read_text())
    kind = getattr(lighttune, name)
    block = kind(str(tmp_path)) if name == "recorder" else kind("tcp://127.0.0.1:*")
    for ports, direction in ((block.message_ports_in(), "inputs"), (block.message_ports_out(), "outputs")):
        assert {p["id"] for p in definition[direction]} == set(pmt.to_python(ports)) - {"system"}
    parameters = inspect.signature(kind).parameters
    declared = {p["id"]: p["default"] for p in definition["parameters"]}
    assert list(declared) == list(parameters)
    for key, default in declared.items():
        if parameters[key].default is not inspect.Parameter.empty:
            assert default == str(parameters[key].default)
        assert f"{key}=${{{key}}}" in definition["templates"]["make"]
    documented = definition["documentation"]
    for key in block.status():
        assert key in documented
    assert json.dumps(block.status())
