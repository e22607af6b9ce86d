# SPDX-License-Identifier: GPL-3.0-or-later
"""SigMF captures (https://sigmf.org): samples, and beside them what was decided while they passed.

While a capture is written there are ``NAME.sigmf-data`` (cf32_le) and ``NAME.events``, one JSON object a
line. `finish` makes ``NAME.sigmf-meta`` of the events, with a checksum; it runs in a process of its own
(``python -m gnuradio.lighttune.records.sigmf_files NAME.events``). What is killed before leaves both files,
and `finish` does the rest later. The names of a capture's segments end in their numbers, and one begins where
the other ends.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from sigmf import SigMFFile

from ..core.files import replace
from .sigmf_paths import SAMPLE_BYTES, segment_path

VERSION = "1.0.0"
"""Of the extension ``lighttune`` of the annotations."""


def finish(events: Path) -> Path | None:
    """Write a capture's metadata, remove its events; returns the metadata's path, None without samples.

    Raises:
        OSError: a file is missing or cannot be written.
        ValueError: the first line is no description of a capture.
    """
    data = events.with_suffix(".sigmf-data")
    if not data.stat().st_size:  # the flowgraph ended before the sink began this file
        data.unlink()
        events.unlink()
        return None
    head, *lines = events.read_text().splitlines() or [""]
    about = json.loads(head)
    metadata = {
        "global": {
            "core:datatype": "cf32_le",
            "core:version": "1.0.0",
            "core:sample_rate": about["samp_rate"],
            "core:recorder": f"gr-lighttune {about['lighttune']}",
            "core:description": "an annotation stands at the sample that the file had reached when the"
            " decision came: next to the burst",
            "core:extensions": [{"name": "lighttune", "version": VERSION, "optional": True}],
        },
        "captures": [
            {
                "core:sample_start": 0,
                "core:frequency": about["frequency"],
                "core:datetime": about["datetime"],
            }
        ],
        "annotations": _annotations(lines, _first_sample(data), data.stat().st_size // SAMPLE_BYTES),
    }
    file = SigMFFile(metadata=metadata, data_file=data)
    file.validate()
    target = data.with_suffix(".sigmf-meta")
    replace(target, lambda meta: meta.write(file.dumps().encode() + b"\n"))
    events.unlink()
    return target


def _first_sample(data: Path) -> int:
    """How many samples the segments before hold."""
    name, _, number = data.stem.rpartition("-")
    before = (segment_path(data.with_name(name), k) for k in range(1, int(number)))
    return sum(path.stat().st_size for path in before) // SAMPLE_BYTES


def _annotations(lines: list[str], start: int, n_samples: int) -> list[dict[str, Any]]:
    """An annotation for each decision, with how its block ended and what SNR was reported of it."""
    made: list[dict[str, Any]] = []
    last: dict[tuple[int, int], dict[str, Any]] = {}
    for line in lines:
        try:
            event = json.loads(line)
            key, at = (event["link"], event["seq"]), event.pop("at") - start
        except (ValueError, KeyError, TypeError):
            continue  # torn
        if "mcs" in event:
            last[key] = {"core:sample_start": min(max(at, 0), max(n_samples - 1, 0)),
                         "core:label": f"MCS {event['mcs']}"}  # fmt: skip
            made.append(last[key])
        if key in last:
            last[key].update({f"lighttune:{name}": value for name, value in event.items()})
    return sorted(made, key=lambda annotation: annotation["core:sample_start"])


if __name__ == "__main__":
    for name in sys.argv[1:]:
        finish(Path(name))
