# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults of files: models and the service's state truncated, garbled, of another version; writers that are
killed or run out of disk."""

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from gnuradio.lighttune.core.link_files import fingerprint, load_model, save_model
from gnuradio.lighttune.core.link_model import LinkModel
from gnuradio.lighttune.core.link_tuner import LinkTuner
from gnuradio.lighttune.net.store import OtherModel, StateFile

from common import table

WRITER = """
import resource, sys, time
from pathlib import Path
from gnuradio.lighttune.core.files import replace
path, limit, previous = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]) if sys.argv[3] else None
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

def slowly(file):
    for _ in range(1000):
        file.write(b"new!" * 1024)
        file.flush()
        print("writing", flush=True)
        if not limit:
            time.sleep(0.001)

replace(path, slowly, previous)
print("done", flush=True)
"""
"""Writes 4 MiB over a file, in steps that it tells; with a limit its disk is as good as full."""


def writer(path: Path, limit: int = 0, previous: Path | None = None) -> subprocess.Popen:
    """`core.files.replace` in a process of its own."""
    command = [sys.executable, "-c", WRITER, str(path), str(limit), str(previous or "")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def killed_while_writing(path: Path, steps: int) -> str:
    """Kill a writer with SIGKILL after so many steps; what is left."""
    before = path.read_bytes()
    with writer(path) as process:
        for _ in range(steps):
            process.stdout.readline()  # type: ignore[union-attr]
        process.send_signal(signal.SIGKILL)
    return "the file is as it was" if path.read_bytes() == before else "THE FILE IS ANOTHER"


def disk_full(path: Path) -> str:
    """Have a writer run into its limit; what is left."""
    before, names = path.read_bytes(), {p.name for p in path.parent.iterdir()}
    with writer(path, limit=100_000) as process:
        _, error = process.communicate(timeout=60)
    whole = path.read_bytes() == before and {p.name for p in path.parent.iterdir()} == names
    return f"{error.strip().splitlines()[-1]}; " + (
        "the file is as it was" if whole else "THE FOLDER IS ANOTHER"
    )


def refused(path: Path) -> str:
    """What reading a spoilt model says."""
    try:
        load_model(path)
    except ValueError as error:
        return f"refused: {str(error).replace(str(path.parent) + '/', '')}"[:150]
    return "LOADED"


def _models(folder: Path, model: LinkModel) -> list[list[str]]:
    path = folder / "model.safetensors"
    save_model(model, path)
    good = path.read_bytes()
    rows = []

    def spoilt(name: str, blob: bytes) -> None:
        path.write_bytes(blob)
        rows.append([f"model {name}", refused(path)])

    spoilt("truncated", good[: len(good) // 2])
    spoilt("corrupted", good[:40] + bytes(64) + good[104:])
    spoilt("of another version", good.replace(b'schema\\": 3', b'schema\\": 9'))
    path.write_bytes(good)
    rows.append(["model written, disk full", disk_full(path)])
    rows.append(["model written, kill -9", "; ".join({killed_while_writing(path, n) for n in (1, 40, 300)})])
    return rows


def _states(folder: Path, model: LinkModel) -> list[list[str]]:
    tuner = LinkTuner(model, max_links=4)
    tuner.rows([1, 2])
    keys, records = [("bench-a", 1), ("bench-a", 2)], tuner.snapshot([1, 2])
    rows = []

    def spoil(name: str, how: Callable[[bytes], bytes]) -> None:
        home = folder / name.replace(" ", "-")
        home.mkdir()
        file = StateFile(home / "state", fingerprint(model), tuner.record, 4)
        for version in (7, 8):  # the first is the previous one then
            records["updates"] = version
            file.save(keys, records)
        file.path.write_bytes(how(file.path.read_bytes()))
        try:
            found, read, warnings = file.load()
            told = f"version {int(read['updates'][0])} of {len(found)} links is loaded, from `state.previous`"
            rows.append([f"state {name}", told if np.all(read["updates"] == 7) and warnings else "LOST"])
        except OtherModel:
            rows.append([f"state {name}", "refused at the start: give its model, or another file"])

    spoil("truncated", lambda blob: blob[: len(blob) // 2])
    spoil("corrupted", lambda blob: blob[:60] + b"\0" * 50 + blob[110:])
    spoil("of another version", lambda blob: blob.replace(b'schema\\": 2', b'schema\\": 9'))
    spoil("of another model", lambda blob: blob.replace(fingerprint(model).hex().encode(), b"0" * 32))
    return rows


def spoil_all() -> list[list[str]]:
    """Every fault of a file, and what comes of it."""
    model = load_model("amc")
    with tempfile.TemporaryDirectory() as folder:
        return [*_models(Path(folder), model), *_states(Path(folder), model)]


def files() -> list[str]:
    """This part of the page."""
    return ["## Files", "", *table(["fault", "what comes of it"], spoil_all()), ""]


if __name__ == "__main__":
    print(json.dumps(spoil_all(), indent=1))
