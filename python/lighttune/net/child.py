# SPDX-License-Identifier: GPL-3.0-or-later
"""A tuner service of one's own: `lighttune serve` as a child process on a private socket.

It is restarted, less and less often, when it ends or is frozen; it ends with `stop`, and by itself when this
process is gone, however it went: its standard input is a pipe that only this process holds open. Its folder
goes with whoever lives longer.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from pathlib import Path

from ..core.link_files import save_model
from ..core.link_model import LinkModel

log = logging.getLogger("gnuradio.lighttune")

FROZEN_S = 5.0
"""A child that was heard before and has been silent for so long is killed and started anew."""

_STARTING_S = 60.0  # that a child may take to be heard for the first time; a busy machine takes seconds
_FIRST_WAIT_S, _LAST_WAIT_S = 0.25, 8.0  # from an end to the next start
_STEADY_S = 10.0  # a child that lived so long is given the first wait again
_LAST_WORD_S = 5.0  # that a child may take to save and end


class TunerProcess:
    """Runs `lighttune serve` for one client.

    Args:
        model: to tune.
        arguments: of `lighttune serve`, besides model, endpoint and state.

    Attributes:
        restarts: how many times the child was started anew.

    Raises:
        ValueError: the path of the temporary folder is too long for a socket.
    """

    def __init__(self, model: LinkModel, arguments: list[str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lighttune-"))  # only its owner may enter
        self._remove = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        socket = self.folder / "socket"
        if len(os.fsencode(socket)) > 100:  # of the 107 that a socket's address holds
            self._remove()
            raise ValueError(f"TMPDIR: {self.folder} is too long a path for a socket: give a shorter one")
        self.endpoint = f"ipc://{socket}"
        self.restarts = 0
        save_model(model, self.folder / "model.safetensors")
        root = __name__.rpartition(".net.")[0]
        self._command = [
            sys.executable, "-m", f"{root}.cli", "serve", "--bind", self.endpoint,
            "--model", str(self.folder / "model.safetensors"), "--state", str(self.folder / "state"),
            "--save-s", "5", "--private", *arguments,
        ]  # fmt: skip
        self._lock = threading.Lock()  # `watch` and `stop` are called by different threads
        self._wanted = False
        self._process: subprocess.Popen | None = None
        self._started_s = self._next_s = 0.0
        self._heard_s = -math.inf
        self._wait_s = _FIRST_WAIT_S

    @property
    def pid(self) -> int | None:
        """Of the child, while it runs."""
        process = self._process
        return None if process is None else process.pid

    def start(self) -> None:
        """Start the child, and keep it running until `stop`."""
        with self._lock:
            self._wanted, self._wait_s = True, _FIRST_WAIT_S
            self._spawn()

    def watch(self, heard_s: float) -> None:
        """Start the child anew if it has ended or is frozen; to be called every now and then.

        Args:
            heard_s: when the child was last heard (`time.monotonic`).
        """
        now_s = time.monotonic()
        with self._lock:
            self._heard_s = heard_s
            if self._process is not None:
                end = self._end_of(self._process, heard_s, now_s)
                if end is not None:
                    log.warning("tuner process %d: %s", self._process.pid, end)
                    self._let_go(self._process)
                    steady = now_s - self._started_s > _STEADY_S
                    self._wait_s = _FIRST_WAIT_S if steady else min(2.0 * self._wait_s, _LAST_WAIT_S)
                    self._next_s = now_s + self._wait_s
            elif self._wanted and now_s >= self._next_s:
                self.restarts += 1
                log.warning("tuner process: started anew (%d)", self.restarts)
                self._spawn()

    def stop(self) -> None:
        """End the child: it saves its state, for the next start.

        One that was not heard yet has nothing to save, and may be deaf to SIGTERM for seconds: it is still
        importing, and a flowgraph's threads, of which it inherits that, block the signal.
        """
        with self._lock:
            self._wanted = False
            process = self._process
            if process is not None and self._heard_s <= self._started_s:
                self._let_go(process)
            elif process is not None:
                process.terminate()
                try:
                    process.wait(_LAST_WORD_S)
                except subprocess.TimeoutExpired:
                    log.warning("tuner process %d: does not end, killed", process.pid)
                self._let_go(process)

    def _end_of(self, process: subprocess.Popen, heard_s: float, now_s: float) -> str | None:
        """How the child ended, or must; None while it is well."""
        status = process.poll()
        if status is not None:
            return f"ended with status {status}"
        heard = heard_s > self._started_s
        silent_s = now_s - (heard_s if heard else self._started_s)
        if silent_s > (FROZEN_S if heard else _STARTING_S):
            return f"silent for {silent_s:.1f} s, killed"
        return None

    def _spawn(self) -> None:
        self._started_s = time.monotonic()
        path = os.pathsep.join(entry for entry in sys.path if entry)  # where this process found the module
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for us; the child ends when we say so
        )

    def _let_go(self, process: subprocess.Popen) -> None:
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()
        self._process = None
