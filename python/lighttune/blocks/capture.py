# SPDX-License-Identifier: GPL-3.0-or-later
"""The capture block: samples into SigMF files, with what was decided meanwhile as annotations."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import pmt
from gnuradio import blocks, gr

from ..net.fields import TelemetryError
from ..records.aside import run_aside, wait_for
from ..records.sigmf_paths import SAMPLE_BYTES, events_path, segment_path
from ._block import HierBlock, MessageBlock, handles
from ._messages import Refused
from ._tap import fields_of

SPARE_BYTES = 256 * 2**20
"""Room that is left on the disk: a C++ sink whose disk is full ends the flowgraph."""

_SINK_S = 2.0  # that the sink may take to end
_FINISH_S = 60.0  # that the last capture may take to be finished


class capture(HierBlock):
    """Writes a stream of samples into SigMF captures (cf32_le), annotated with decisions and their ends.

    Ports: samples in (complex); ``decision``, ``feedback``, ``csi`` in and ``status`` out (messages). The
    samples go to disk in C++. An annotation stands at the sample that the file had reached when the
    decision's message came: next to the burst, as far off as the buffers between are long. It carries
    ``lighttune:link``, ``seq``, ``mcs``, ``bler``, and, if they came, ``ack`` and ``snr_db``.

    Args:
        directory: is made if need be.
        samp_rate: samples per second, above 0.
        frequency: centre frequency in Hz, for the metadata.
        segment_s: length of one capture in seconds, above 0; the next one follows without a gap.
        limit_mb: megabytes that are written in all, above 0. At the limit, or when the disk has no room to
            spare, the samples are let go and the flowgraph goes on. A flowgraph that starts again captures
            nothing more: make a new block.

    Raises:
        OSError: the directory cannot be written.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        samp_rate: float,
        frequency: float = 0.0,
        segment_s: float = 10.0,
        limit_mb: float = 4096.0,
    ) -> None:
        from .. import __version__

        for name, value in (("samp_rate", samp_rate), ("segment_s", segment_s), ("limit_mb", limit_mb)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} = {value!r}: give a number above 0")
        if not math.isfinite(frequency):
            raise ValueError(f"frequency = {frequency!r}: give Hz")
        super().__init__("capture", gr.io_signature(1, 1, gr.sizeof_gr_complex), gr.io_signature(0, 0, 0))
        os.makedirs(directory, exist_ok=True)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        stem = Path(directory) / f"{stamp}-{os.getpid()}-{id(self) & 0xFFFF:04x}"
        self.valve = blocks.copy(gr.sizeof_gr_complex)
        self.sink = blocks.file_sink(gr.sizeof_gr_complex, str(segment_path(stem, 1)), False)
        about = {"samp_rate": samp_rate, "frequency": frequency, "lighttune": __version__}
        length, limit = round(segment_s * samp_rate), 1e6 * limit_mb / SAMPLE_BYTES
        self.annotator = _Annotator(self.sink, stem, about, length, limit)
        for port in ("decision", "feedback", "csi"):
            self.message_port_register_hier_in(port)
            self.msg_connect(self, port, self.annotator, port)
        self.message_port_register_hier_out("status")
        self.msg_connect(self.annotator, "status", self, "status")
        # Not by a call: GNU Radio starts no block that is connected to the outside alone.
        self.msg_connect(self.annotator, "enable", self.valve, "en")
        self.connect(self, self.valve, self.sink)

    def status(self) -> dict[str, Any]:
        """As published on ``status``."""
        return self.annotator.status()


class _Annotator(MessageBlock):
    """Keeps events with the samples' positions, and has the sink begin the next file."""

    def __init__(
        self,
        sink: Any,
        stem: Path,
        about: dict[str, Any],
        length: int,
        limit: float,
    ) -> None:
        self._sink, self._stem, self._about = sink, stem, about
        self._length, self._limit = length, limit  # samples of a segment, and of all
        self._open = True
        self._segment, self._begun = 1, 0  # the file that the sink writes, and where it was asked for
        self._before: int | None = None  # the segment whose file the sink may not have let go of yet
        self._finishing: list[subprocess.Popen] = []
        self._lock = threading.Lock()  # events are written by one thread and exchanged by another
        self._events = self._new_events()
        super().__init__("capture", ("enable",))

    @handles("decision")
    def on_decision(self, message: pmt.pmt_base) -> None:
        """A block goes out."""
        self._note("decision", message, ("link", "seq", "mcs", "bler"))

    @handles("feedback")
    def on_feedback(self, message: pmt.pmt_base) -> None:
        """How it ended."""
        self._note("feedback", message, ("link", "seq", "ack"))

    @handles("csi")
    def on_csi(self, message: pmt.pmt_base) -> None:
        """What was measured on it."""
        self._note("csi", message, ("link", "seq", "snr_db"))

    def _note(self, kind: str, message: pmt.pmt_base, names: tuple[str, ...]) -> None:
        try:
            fields = fields_of(kind, message)
        except TelemetryError as error:
            raise Refused(str(error).removeprefix(f"{kind}: ")) from None
        if "seq" not in fields:
            return
        event = {name: fields[name] for name in names} | {"at": self._position()}
        with self._lock:
            if self._open:
                self._events.write(json.dumps(event) + "\n")
                self.counters.add("events")

    def tick(self) -> None:
        """Begin the next file, finish the one before, and stop at the limit."""
        if self._before is not None and segment_path(self._stem, self._segment).stat().st_size:
            self._finish(self._before)
            self._before = None
        if not self._open:
            return
        position, free = self._position(), shutil.disk_usage(self._stem.parent).free
        with self._lock:
            self._events.flush()
            if position >= self._limit or free < SPARE_BYTES:
                self.publish("enable", pmt.PMT_F)
                self._open = False
                self.dropped.add("samples: limit" if position >= self._limit else "samples: disk full")
            elif position - self._begun >= self._length and self._before is None:
                self._events.close()
                self._before, self._begun = self._segment, position
                self._segment += 1
                self._sink.open(str(segment_path(self._stem, self._segment)))
                self._events = self._new_events()

    def stop(self) -> bool:
        with self.guard("stop"):
            self._close()
        return super().stop()

    def _close(self) -> None:
        with self._lock:
            if self._events.closed:
                return
            self._open = False
            self._events.close()
        self._wait_for_sink()
        self._sink.close()
        self._sink.do_update()  # the sink's thread has ended, or is waiting for samples
        for segment in (self._before, self._segment):
            if segment is not None:
                self._finish(segment)
        self._before = None
        for process in self._finishing:
            wait_for(process, _FINISH_S)

    def _wait_for_sink(self) -> None:
        """Until it takes no more samples: the blocks of a flowgraph stop one by one."""
        end_s, before = time.monotonic() + _SINK_S, -1
        while self._position() != before and time.monotonic() < end_s:
            before = self._position()
            time.sleep(_SINK_S / 20)

    def details(self) -> dict[str, Any]:
        return {"capturing": self._open, "samples": self._position(), "segments": self._segment}

    def _position(self) -> int:
        return int(self._sink.nitems_read(0))

    def _new_events(self) -> TextIO:
        events = events_path(segment_path(self._stem, self._segment)).open("w")
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        events.write(json.dumps(self._about | {"datetime": now}) + "\n")
        events.flush()
        return events

    def _finish(self, segment: int) -> None:
        process = run_aside("sigmf_files", events_path(segment_path(self._stem, segment)))
        self._finishing = [p for p in self._finishing if p.poll() is None] + ([process] if process else [])
