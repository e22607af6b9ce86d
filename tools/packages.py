#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packages go with this machine's GNU Radio. Run by the Python that runs it, with nothing else there.

tools/packages.py choose       the lock in requirements/, or "none", and the range of NumPy; or status 1 and
                               one line that says what cannot work here and what to do
tools/packages.py demo|full|train
                               what pyproject.toml asks for, one requirement a line: for `make demo`, for all
                               but training, for training
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"

# What the C API of NumPy 2 looks for first, and NumPy 1 has not.
_NUMPY_2 = b"numpy._core._multiarray_umath"
_NUMPY = b"numpy.core._multiarray_umath"


@dataclass(frozen=True)
class Found:
    """The GNU Radio of a machine and what it runs with.

    ``built_for`` is the major version of the NumPy that GNU Radio was built for.
    """

    python: tuple[int, int]
    gnuradio: str
    numpy: str
    built_for: int


@dataclass(frozen=True)
class Choice:
    """A lock (None: there is none for this pair) and the NumPy that GNU Radio works with, as a range."""

    lock: Path | None
    numpy: str


def choose(found: Found, locks: Path = LOCKS) -> Choice:
    """The lock for what was found.

    Raises:
        ValueError: it cannot work; the text says why and what to do.
    """
    if found.python < (3, 11):
        raise ValueError(
            f"Python {_dotted(found.python)} is too old: 3.11 or later is needed (Debian 12 has it)"
        )
    major, minor = (int(part) for part in found.gnuradio.removeprefix("v").split(".")[:2])
    if (major, minor) < (3, 10):
        raise ValueError(f"GNU Radio {found.gnuradio} is too old: 3.10 is needed (Debian 12 has it)")
    if found.built_for not in (1, 2):
        raise ValueError(f"GNU Radio here is built for NumPy {found.built_for}: 1 and 2 are supported")
    if _major(found.numpy) > found.built_for:  # what was built for NumPy 2 works with NumPy 1 too
        raise ValueError(
            f"GNU Radio here is built for NumPy {found.built_for} and cannot work with {found.numpy}: "
            "remove that NumPy again ('pip uninstall numpy' as whoever installed it)"
        )
    lock = locks / f"py{found.python[0]}{found.python[1]}-numpy{found.built_for}.lock"
    return Choice(lock if lock.exists() else None, f"numpy>={found.built_for},<{found.built_for + 1}")


def look() -> Found:
    """What this Python has.

    Raises:
        ValueError: NumPy or GNU Radio is not there, or neither works with the other.
    """
    try:
        from numpy import __version__ as numpy
    except ImportError as error:
        raise ValueError(f"no NumPy here ({error}): 'apt-get install --reinstall python3-numpy'") from error
    spec = importlib.util.find_spec("gnuradio")
    folders = [Path(folder) / "gr" for folder in (spec.submodule_search_locations if spec else None) or ()]
    built_for = next(filter(None, map(numpy_of, folders)), _major(numpy))
    python = sys.version_info[:2]
    choose(Found(python, "3.10", numpy, built_for))  # with another NumPy, GNU Radio's import only crashes
    try:
        from gnuradio import gr
    except ImportError as error:
        raise ValueError(f"no GNU Radio here ({error}): 'apt-get install --reinstall gnuradio'") from error
    return Found(python, gr.version(), numpy, built_for)


def numpy_of(folder: Path) -> int | None:
    """The major version of the NumPy that a folder's compiled modules were built for, if they tell."""
    content = b"".join(path.read_bytes() for path in folder.glob("*.so"))
    if _NUMPY_2 in content:
        return 2
    return 1 if _NUMPY in content else None


def ranges(what: str) -> list[str]:
    """What pyproject.toml requires: for `make demo` ("demo"), all but training ("full"), or "train"."""
    import tomllib  # not before Python 3.11, which `choose` is to say

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    if what == "train":
        return list(extras["train"])
    more = [name for name in extras if name != "train"] if what == "full" else []
    return [*project["dependencies"], *(pin for name in more for pin in extras[name])]


def _major(version: str) -> int:
    return int(version.partition(".")[0])


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def main(what: str) -> int:
    if what != "choose":
        print(*ranges(what), sep="\n")
        return 0
    try:
        choice = choose(look())
    except ValueError as error:
        print(error)
        return 1
    print(choice.lock.relative_to(ROOT) if choice.lock else "none", choice.numpy)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
