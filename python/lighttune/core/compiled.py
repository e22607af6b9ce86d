# SPDX-License-Identifier: GPL-3.0-or-later
"""How numba is used here: functions are compiled when their file is imported, never when they are called.

Importing `kernel` or `tuning_kernel` takes seconds the first time, and a tenth of a second after that: numba
keeps what it compiled beside the source or, where it may not write there, in the user's cache.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

SWITCH = "LIGHTTUNE_NUMBA"
"""Environment variable: ``0`` keeps to numpy."""

log = logging.getLogger("gnuradio.lighttune")


def load(name: str) -> ModuleType | None:
    """The compiled functions of `core`'s file of that name; None where numpy is to serve instead: numba is
    missing or broken (a warning says so, once), or `SWITCH` says so."""
    return None if os.environ.get(SWITCH) == "0" else _load(name)


@lru_cache
def _load(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(f".{name}", __package__)
    except Exception as error:  # whatever is wrong with numba here
        log.warning("numpy decides and tunes, ten times slower: numba cannot be used (%s)", error)
        return None


def compiler(*sources: str, **options: Any) -> Callable[..., Callable[[Callable], Callable]]:
    """A decorator maker: ``@compiled(signature)`` compiles a function at once, for that signature alone.

    Args:
        sources: files of `core` whose constants are compiled in. The cache is kept apart by their contents:
            numba itself looks at the function's own file alone.
        options: of ``numba.njit``.
    """
    import numba

    options |= {"error_model": "numpy"}  # a division by zero gives inf: no check in the loops
    digest = hashlib.sha256()
    for source in sources:
        digest.update((Path(__file__).parent / f"{source}.py").read_bytes())

    def compiled(*signature: Any) -> Callable[[Callable], Callable]:
        def decorate(function: Callable) -> Callable:
            function.__qualname__ += "_" + digest.hexdigest()[:12]  # the cache's files are named after it
            try:
                return numba.njit(*signature, cache=True, **options)(function)
            except Exception as error:
                # No file may be written (a read-only install, no home), or what is cached cannot be read.
                # Should the function itself be at fault, the next line says so.
                log.info("%s is compiled without a cache: %s", function.__name__, error)
                return numba.njit(*signature, **options)(function)

        return decorate

    return compiled
