# SPDX-License-Identifier: GPL-3.0-or-later
"""`lighttune campaign` and its cluster: real schedulers and workers, some of which are killed in mid-run."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import dask
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from distributed import Client
from gnuradio.lighttune.cli import campaign as command
from gnuradio.lighttune.cli import cluster
from gnuradio.lighttune.cli.campaign_store import Store
from gnuradio.lighttune.cli.main import main
from gnuradio.lighttune.sim import run_batch, summary
from gnuradio.lighttune.sim.campaign_spec import read_spec
from gnuradio.lighttune.sim.peers import BatchOlla
from gnuradio.lighttune.sim.worlds import make_world

from helpers import needs_torch
from patience import HANG_S

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "worlds": ["nominal", "mixture"],
    "seeds": [1, 2],
    "links": 2,
    "slots": 100,
    "adapters": {
        "OLLA": {"kind": "olla", "grid": {"delta_up_db": [0.5, 1.0]}},
        "genie": {"kind": "genie"},
    },
}
SLOW = {  # 48 cells of some 50 ms: enough to be killed among
    **SMALL,
    "seeds": {"first": 1, "count": 12},
    "adapters": {
        "always": {"kind": "lighttune", "settings": {"trigger.always": True}},
        "spsa": {"kind": "lighttune", "settings": {"trigger.always": True, "rule": "spsa"}},
    },
}


def spec(tmp_path, document):
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def cells(out):
    return sorted((out / "cells").glob("*.parquet"))


def stamps(out):
    """What would change if a cell's file were written again."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in cells(out)}


def results(out):
    return pq.ParquetFile(out / "results.parquet").read().to_pylist()


def until(condition, process):
    """Wait for something that a running process does."""
    end = time.monotonic() + HANG_S
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "it hangs"
        time.sleep(0.005)


def launch(*arguments):
    """The command as it is installed: its workers import its script again."""
    command = [sys.executable, ROOT / "apps" / "lighttune", *arguments]
    return subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


class Cluster:
    """A scheduler process, and worker processes without a nanny that would revive them."""

    def __init__(self, folder, *security):
        self.folder, self.security, self.processes = folder, security, []
        file = folder / "scheduler.json"
        options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
        options += ["--protocol", "tls"] if security else []
        self.scheduler = self._start("distributed.cli.dask_scheduler", *options)
        until(lambda: file.exists() and file.read_text().endswith("}"), self.scheduler)
        self.address = yaml.safe_load(file.read_text())["address"]

    def worker(self):
        options = ["--no-nanny", "--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1"]
        return self._start("distributed.cli.dask_worker", self.address, *options)

    def _start(self, module, *options):
        process = subprocess.Popen(
            [sys.executable, "-m", module, *options, *self.security],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.processes.append(process)
        return process

    def workers(self, n):
        """Start so many, and wait until the scheduler knows them."""
        started = [self.worker() for _ in range(n)]
        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(n, timeout=HANG_S)
        return started

    def stop(self):
        for process in reversed(self.processes):
            process.kill()
            process.wait()


@pytest.fixture
def dask_cluster(tmp_path):
    made = Cluster(tmp_path)
    yield made
    made.stop()


def test_a_campaign_writes_table_plots_and_summary_and_equals_plain_runs(tmp_path, capsys):
    path, out = spec(tmp_path, SMALL), tmp_path / "out"
    assert main(["campaign", str(path), "--out", str(out), "--workers", "1"]) == 0
    rows = results(out)
    assert len(rows) == 12
    for row in rows[::3]:  # OLLA at its defaults
        assert (row["adapter"], row["status"]) == ("OLLA (delta_up_db 0.5)", "finished")
        world = make_world(row["world"], read_spec(path).predictor.table, row["seed"], 2, 100)
        expected = summary(run_batch(BatchOlla(world.table, 2), world))
        assert {name: row[name] for name in expected} == expected
        assert row["near_error"] is None  # OLLA has no BLER of every MCS to tell
        assert row["version"]
        assert row["host"]
        assert row["numpy"] == np.__version__
        assert row["duration_s"] > 0
        assert row["started"].year >= 2026
    for picture in ("goodput.png", "errors.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")
    page = (out / "summary.md").read_text()
    shown = capsys.readouterr().out
    assert "| genie | +" in page
    assert "Failed" not in page
    assert "goodput over OLLA" in shown
    # Once more: nothing is left to run. One adapter more: only it runs.
    before = stamps(out)
    assert main(["campaign", str(path), "--out", str(out)]) == 0
    assert "12 cells, 12 of them finished before" in capsys.readouterr().out
    more = spec(tmp_path, SMALL | {"adapters": {**SMALL["adapters"], "trend": {"kind": "trend_olla"}}})
    assert main(["campaign", str(more), "--out", str(out), "--workers", "1"]) == 0
    after = stamps(out)
    assert len(after) == 16
    assert {name: after[name] for name in before} == before


def test_a_dry_run_shows_cells_and_time_and_writes_nothing(tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["campaign", str(spec(tmp_path, SMALL)), "--out", str(out), "--dry-run", "--workers", "3"]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert shown.count("to run  ") == 12
    assert "mixture, seed 2, OLLA (delta_up_db 1.0)" in shown
    assert "s of one core's time" in shown
    assert not out.exists()


def test_a_killed_worker_loses_no_cell(tmp_path, dask_cluster):
    started = dask_cluster.workers(2)
    out = tmp_path / "out"
    run = launch("campaign", spec(tmp_path, SLOW), "--out", out, "--scheduler", dask_cluster.address)
    until(lambda: len(cells(out)) >= 4, run)
    worked = {pq.ParquetFile(path).read(["process"]).to_pylist()[0]["process"] for path in cells(out)}
    victim = next(process for process in started if process.pid in worked)
    victim.send_signal(signal.SIGKILL)
    at_death = len(cells(out))
    shown = run.communicate(timeout=HANG_S)[0]
    assert run.returncode == 0, shown
    assert at_death < 48  # it died in mid-run
    rows = results(out)
    assert len(rows) == len({row["id"] for row in rows}) == len(cells(out)) == 48
    assert {row["status"] for row in rows} == {"finished"}
    by_victim = sum(row["process"] == victim.pid for row in rows)
    assert 0 < by_victim <= at_death + 1  # one may have been on its way
    # Whoever ran them, the figures are those of one process.
    campaign = read_spec(tmp_path / "spec.yaml")
    wanted = {cell.id: cell for cell in campaign.cells()}
    for row in rows[::12]:
        here = command.run_cell(wanted[row["id"]], campaign.predictor)
        assert here["goodput"] == row["goodput"]
        assert here["near_error"] == row["near_error"]


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_campaign_that_was_killed_or_interrupted_goes_on_where_it_was(sent, tmp_path, capsys):
    path, out = spec(tmp_path, SLOW), tmp_path / "out"
    run = launch("campaign", path, "--out", out, "--workers", "1")
    until(lambda: len(cells(out)) >= 3, run)
    run.send_signal(sent)
    shown = run.communicate(timeout=HANG_S)[0]
    finished = stamps(out)
    assert 3 <= len(finished) < 48
    if sent == signal.SIGINT:
        assert run.returncode == 130
        assert f"{len(finished)} of 48 cells are finished and kept" in " ".join(shown.split())
        assert "Traceback" not in shown
    # A cell that was being written when the end came, and one that a disk has garbled.
    (out / "cells" / ".half.parquet.part").write_bytes(b"PAR1")
    garbled = next(iter(finished))
    (out / "cells" / garbled).write_bytes(b"PAR1 and no more")
    assert main(["campaign", str(path), "--out", str(out), "--workers", "2"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"48 cells, {len(finished) - 1} of them finished before" in shown
    assert "cannot be read: its cell runs again" in shown
    after = stamps(out)
    assert len(after) == 48
    assert {name for name in finished if after[name] == finished[name]} == finished.keys() - {garbled}
    assert not list((out / "cells").glob(".*"))
    assert {row["status"] for row in results(out)} == {"finished"}


def test_a_cell_that_fails_is_told_and_tried_again_and_the_others_go_on(tmp_path, capsys):
    bad = {"kind": "salad", "settings": {"window": 10**15}}  # more memory than there is
    path = spec(tmp_path, SMALL | {"worlds": ["nominal"], "adapters": SMALL["adapters"] | {"bad": bad}})
    out = tmp_path / "out"
    for _ in range(2):
        assert main(["campaign", str(path), "--out", str(out), "--workers", "1"]) == 1
        shown = " ".join(capsys.readouterr().out.split())
        assert "failed: bad, nominal, seed 1: " in shown
        assert "2 of 8 cells failed" in shown
        rows = results(out)
        assert [row["status"] for row in rows].count("finished") == 6
        failed = [row for row in rows if row["status"] == "failed"]
        assert all("MemoryError" in row["traceback"] and row["goodput"] is None for row in failed)
        assert "MemoryError" in (out / "summary.md").read_text()
    assert "8 cells, 6 of them finished before" in shown


def test_cells_that_a_worker_cannot_even_begin_are_failed_cells(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "run_cell", int)  # what the worker's own code would never raise
    path, out = spec(tmp_path, SMALL | {"worlds": ["nominal"]}), tmp_path / "out"
    assert main(["campaign", str(path), "--out", str(out), "--workers", "1"]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "failed: genie, nominal, seed 2: TypeError: " in shown
    assert "6 of 6 cells failed" in shown
    assert {(row["status"], row["host"]) for row in results(out)} == {("failed", None)}
    assert "| genie |  |  |  |" in (out / "summary.md").read_text()


def test_a_lost_scheduler_is_told_with_what_to_do(tmp_path, dask_cluster):
    dask_cluster.workers(1)
    out = tmp_path / "out"
    run = launch("campaign", spec(tmp_path, SLOW), "--out", out, "--scheduler", dask_cluster.address)
    until(lambda: len(cells(out)) >= 2, run)
    dask_cluster.scheduler.kill()
    shown = " ".join(run.communicate(timeout=HANG_S)[0].split())
    assert run.returncode == 1
    assert "lighttune: the connection to the Dask scheduler is lost" in shown
    assert "the same command goes on from there" in shown
    assert "Traceback" not in shown
    assert len(cells(out)) >= 2


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make certificates with")
def test_a_scheduler_with_tls_lets_in_who_has_a_certificate(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cluster, "_WORKERS_S", HANG_S)

    def certificate(name):
        key, own = tmp_path / f"{name}.key", tmp_path / f"{name}.pem"
        kind = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=lighttune"]
        request = ["openssl", "req", "-x509", *kind, "-keyout", key, "-out", own]
        subprocess.run(request, check=True, capture_output=True)
        return ["--tls-ca", str(own), "--tls-cert", str(own), "--tls-key", str(key)]

    ours, others = certificate("ours"), certificate("others")
    server = Cluster(
        tmp_path, *(option.replace("ca", "ca-file") if option == "--tls-ca" else option for option in ours)
    )
    try:
        server.worker()
        arguments = ["campaign", str(spec(tmp_path, SMALL)), "--out", str(tmp_path / "out")]
        assert server.address.startswith("tls://127.0.0.1:")
        assert main([*arguments, "--scheduler", server.address, *others]) == 1
        assert "no scheduler answers at tls://" in capsys.readouterr().err
        assert main([*arguments, "--scheduler", server.address, *ours]) == 0
    finally:
        server.stop()


def test_a_scheduler_without_workers_is_told(dask_cluster, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cluster, "_WORKERS_S", 0.2)
    arguments = ["campaign", str(spec(tmp_path, SMALL)), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--scheduler", dask_cluster.address]) == 1
    assert "has no workers: start some with `dask worker tcp://127" in capsys.readouterr().err


def options(**given):
    return argparse.Namespace(
        **{"workers": None, "scheduler": None, "tls_ca": None, "tls_cert": None, "tls_key": None} | given
    )


def listening(process):
    """Addresses at which a process takes TCP connections."""
    return [c.laddr for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]


def test_work_that_kills_its_worker_ends_as_an_error_and_the_cluster_stays_here():
    before = listening(psutil.Process())
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        cluster.connect(options(), 1) as client,
    ):
        children = psutil.Process().children(recursive=True)
        opened = [port for process in children for port in listening(process)]
        opened += [port for port in listening(psutil.Process()) if port not in before]
        assert len(opened) >= 3
        assert {port.ip for port in opened} == {"127.0.0.1"}
        ends = dict(cluster.completed(client, os._exit, [3]))
        assert "KilledWorker" in repr(ends[0])


@needs_torch
def test_training_draws_the_same_channels_by_however_many_workers(tmp_path, dask_cluster):
    dask_cluster.workers(2)
    sizes = ["--table", "nr-pdsch-2", "--links", "300", "--slots", "32", "--epochs", "1"]
    files = []
    for where in (["--workers", "1"], ["--workers", "2"], ["--scheduler", dask_cluster.address]):
        files.append(tmp_path / f"{len(files)}.safetensors")
        assert main(["train", *sizes, "--out", str(files[-1]), *where]) == 0
    assert len({path.read_bytes() for path in files}) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "0"], "--workers 0: give 1 or more"),
        (["--scheduler", "127.0.0.1:8786"], "--scheduler '127.0.0.1:8786': give tcp://HOST:PORT or tls://"),
        (["--scheduler", "tcp://127.0.0.1:1"], "no scheduler answers at tcp://127.0.0.1:1: start one with"),
        (["--scheduler", "tls://127.0.0.1:1"], "needs --tls-ca, --tls-cert and --tls-key"),
        (["--tls-ca", "ca.pem"], "--tls-... ca.pem: goes with --scheduler tls://HOST:PORT alone"),
        (
            ["--scheduler", "tls://h:1", "--tls-ca", "a.pem", "--tls-cert", "b.pem", "--tls-key", "c.pem"],
            "--tls-ca a.pem: there is no such file",
        ),
    ],
)
def test_a_bad_cluster_is_named(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cluster, "_ANSWER_S", 0.5)
    path, out = spec(tmp_path, SMALL), tmp_path / "out"
    assert main(["campaign", str(path), "--out", str(out), *arguments]) == 1
    assert message in capsys.readouterr().err


def test_a_bad_spec_ends_with_one_line_and_no_folder(tmp_path, capsys):
    path, out = spec(tmp_path, SMALL | {"links": -1}), tmp_path / "out"
    assert main(["campaign", str(path), "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert f"{path}: links = -1: give a whole number, 1 or more" in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_two_campaigns_do_not_share_a_folder(tmp_path, capsys):
    path, out = spec(tmp_path, SMALL), tmp_path / "out"
    with Store(out):
        assert main(["campaign", str(path), "--out", str(out)]) == 1
        assert "another campaign is running there" in capsys.readouterr().err
    with Store(out):
        pass  # it is free again


def test_a_file_under_another_cells_name_is_not_believed(tmp_path):
    with Store(tmp_path) as store:
        store.write({"id": "a" * 20, "status": "finished", "seed": 3})
        assert store.read(["a" * 20, "b" * 20])["a" * 20]["seed"] == 3
        written = tmp_path / "cells" / f"{'a' * 20}.parquet"
        written.rename(tmp_path / "cells" / f"{'b' * 20}.parquet")
        assert store.read(["a" * 20, "b" * 20]) == {}
        assert [path.name for path in store.garbled] == [f"{'b' * 20}.parquet"]
        other = pa.table({"id": ["a" * 20], "unheard": [1]})
        pq.write_table(other, written)
        assert store.read(["a" * 20]) == {}


def test_help_teaches_the_format_by_an_example_that_is_one(capsys, tmp_path):
    with pytest.raises(SystemExit) as end:
        main(["campaign", "--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    taught = shown[shown.index("  model: amc") : shown.index("kinds of adapters")]
    path = tmp_path / "taught.yaml"
    lines = (
        line[2:34] if line[34:] and not line[32:34].strip() else line[2:] for line in taught.splitlines()
    )
    path.write_text("\n".join(lines))
    labels = {cell.variant.label for cell in read_spec(path).cells()}
    assert labels == {"OLLA", "tried (delta_up_db 0.2)", "tried (delta_up_db 0.5)", "LightTune"}


def test_the_example_says_how_it_is_run():
    example = ROOT / "examples" / "campaign.yaml"
    assert "lighttune campaign examples/campaign.yaml" in example.read_text()
