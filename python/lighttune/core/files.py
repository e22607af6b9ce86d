# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are whole or not there: written beside their place, synced, then renamed into it.

Whenever the program is killed, or the disk is full, what stood there before still does.
"""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_PART = ".part"


def replace(
    path: str | os.PathLike,
    write: Callable[[BinaryIO], object],
    previous: Path | None = None,
    mode: int = 0o644,
) -> None:
    """Write a file anew, and return when the disk holds it under its name.

    Args:
        path: the file; its folder must exist.
        write: puts the content into the open file.
        previous: where the file that stood there before is kept; None to let it go.
        mode: permissions of the file.

    Raises:
        OSError: it could not be written; what was there before stays, and nothing is left beside it.
    """
    path = Path(path)
    folder = path.resolve().parent
    handle, part = tempfile.mkstemp(dir=folder, prefix=f".{path.name}.", suffix=_PART)
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            _keep(path, previous)
        os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise
    sync_folder(folder)


def sweep(path: str | os.PathLike) -> None:
    """Remove what writers of this file that were killed have left; nobody may be writing it."""
    path = Path(path)
    for part in path.resolve().parent.glob(f".{glob.escape(path.name)}.*{_PART}"):
        part.unlink(missing_ok=True)


def _keep(path: Path, previous: Path) -> None:
    """Give a file a second name; the first stays until another file takes it."""
    link = previous.with_name(previous.name + ".keep")
    link.unlink(missing_ok=True)
    os.link(path, link)
    os.replace(link, previous)


def sync_folder(folder: str | os.PathLike) -> None:
    """Have the disk hold a folder's names."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
