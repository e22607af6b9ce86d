# SPDX-License-Identifier: GPL-3.0-or-later
"""The service's memory on disk: a safetensors file of all links' states, whole or not at all, and the one
before.

A save writes beside the file, syncs, keeps what was there as ``FILE.previous``, and renames: killed at any
point, it leaves a whole file. A file that cannot be read is set aside as ``FILE.corrupt``, so that no later
save can push the good previous one out.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from pathlib import Path

import numpy as np

from ..core.files import replace, sweep
from ..core.tensors import dump_tensors, read_tensors
from .identity import check_host
from .journal import say
from .metrics import Metrics
from .pool import Key

SCHEMA = 2
_ABOUT = "lighttune"
_KIND = "tuner state"
_SLACK = 16 * 2**20  # of a file's size over its records: names and the header


class OtherModel(ValueError):
    """The file is whole, but of another model: its weights mean nothing to this one."""


class StateFile:
    """Where a service keeps its links' states.

    Args:
        path: the file; its folder must exist.
        fingerprint: of the model (`link_files.fingerprint`).
        record: `LinkTuner.record`.
        limit: links that are read at most.

    Raises:
        FileNotFoundError: there is no such folder.
    """

    def __init__(self, path: str | os.PathLike, fingerprint: bytes, record: np.dtype, limit: int) -> None:
        self.path = Path(path)
        if not self.path.resolve().parent.is_dir():
            raise FileNotFoundError(f"state file {path}: there is no folder {self.path.resolve().parent}")
        self.previous = self.path.with_name(self.path.name + ".previous")
        self.corrupt = self.path.with_name(self.path.name + ".corrupt")
        self._fingerprint = fingerprint.hex()
        self._record = record
        self._limit = limit

    def save(self, keys: list[Key], records: np.ndarray) -> int:
        """Write the states of links, ``(n,)`` of `LinkTuner.record`; returns the file's size in bytes.

        Raises:
            OSError: it could not be written; what was there before stays.
        """
        blob = self._encode(keys, records)
        replace(self.path, lambda file: file.write(blob), self.previous, mode=0o600)
        return len(blob)

    def load(self) -> tuple[list[Key], np.ndarray, list[str]]:
        """Keys and records of the newest whole file (none if there is none), and warnings, a sentence each.

        Removes what saves that were killed have left.

        Raises:
            OtherModel: the file is of another model.
        """
        sweep(self.path)
        warnings = []
        for path in (self.path, self.previous):
            if not path.exists():
                continue
            try:
                return *self._decode(path), warnings
            except OtherModel:
                raise
            except (OSError, ValueError) as error:
                warnings.append(str(error))
                if path == self.path:
                    os.replace(path, self.corrupt)
                    warnings.append(f"{path} is set aside as {self.corrupt}")
        if warnings:
            warnings.append("no whole state is left: all links begin with the offline weights")
        return [], np.empty(0, self._record), warnings

    def _encode(self, keys: list[Key], records: np.ndarray) -> bytes:
        hosts = sorted({host for host, _ in keys})
        number = {host: i for i, host in enumerate(hosts)}
        tensors = {name: records[name] for name in self._record.names or ()}
        tensors["host"] = np.array([number[host] for host, _ in keys], np.int64)
        tensors["link"] = np.array([link for _, link in keys], np.int64)
        about = {"schema": SCHEMA, "kind": _KIND, "model": self._fingerprint, "hosts": hosts}
        return dump_tensors(tensors, {_ABOUT: json.dumps(about)})

    def _decode(self, path: Path) -> tuple[list[Key], np.ndarray]:
        largest = self._limit * (self._record.itemsize + 16) + _SLACK
        if path.stat().st_size > largest:
            raise ValueError(
                f"{path} has {path.stat().st_size} bytes, more than {self._limit} links can fill"
            )
        tensors, metadata = read_tensors(path)
        try:
            about = json.loads(metadata[_ABOUT])
            schema, kind, model, hosts = (about[key] for key in ("schema", "kind", "model", "hosts"))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{path} is no state of a tuner service ({error!r})") from error
        if (kind, schema) != (_KIND, SCHEMA):
            raise ValueError(
                f"{path} is {kind!r} of schema {schema!r}: this version reads {_KIND!r} of {SCHEMA}"
            )
        if model != self._fingerprint:
            raise OtherModel(
                f"{path} was saved for another model ({model}; this one is {self._fingerprint}):"
                " give --model as it was then, or another --state"
            )
        try:
            return self._assemble(tensors, hosts)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path} is not a whole state of a tuner service: {error!r}") from error

    def _assemble(self, tensors: dict[str, np.ndarray], hosts: list[str]) -> tuple[list[Key], np.ndarray]:
        for name in hosts:
            check_host(name)
        host, link = tensors["host"], tensors["link"]
        records = np.zeros(len(link), self._record)
        for name in self._record.names or ():
            array, wanted = tensors[name], records[name]
            if array.shape != wanted.shape or array.dtype != wanted.dtype:
                raise ValueError(
                    f"tensor {name} is {array.dtype} {array.shape}, not {wanted.dtype} {wanted.shape}"
                )
            if not np.isfinite(array).all():
                raise ValueError(f"tensor {name} has values that are not finite")
            records[name] = array
        if len(host) != len(link) or (host < 0).any() or (link < 0).any() or (link > 65535).any():
            raise ValueError("hosts or links out of range")
        keys = [(hosts[h], n) for h, n in zip(host.tolist(), link.tolist(), strict=True)]
        return keys, records


class Saver:
    """Saves in a thread of its own, one save at a time, and says how it went."""

    def __init__(self, file: StateFile, metrics: Metrics) -> None:
        self.file = file
        self._metrics = metrics
        self._thread: threading.Thread | None = None

    def begin(self, keys: list[Key], records: np.ndarray) -> None:
        """Save, unless the last save is still at it."""
        if self._thread is not None and self._thread.is_alive():
            say(logging.WARNING, "save skipped", reason="the last one is still at it")
            return
        self._thread = threading.Thread(
            target=self._save, args=(keys, records), name="state saver", daemon=True
        )
        self._thread.start()

    def finish(self, keys: list[Key], records: np.ndarray) -> None:
        """Save, and return when it is done."""
        if self._thread is not None:
            self._thread.join()
        self._save(keys, records)

    def _save(self, keys: list[Key], records: np.ndarray) -> None:
        begin_s = time.perf_counter()
        try:
            size = self.file.save(keys, records)
        except OSError as error:
            self._metrics.save_failures.inc()
            say(logging.ERROR, "save failed", file=str(self.file.path), reason=str(error))
            return
        seconds = time.perf_counter() - begin_s
        self._metrics.save_s.observe(seconds)
        say(
            logging.INFO,
            "saved",
            file=str(self.file.path),
            links=len(keys),
            bytes=size,
            seconds=round(seconds, 3),
        )
