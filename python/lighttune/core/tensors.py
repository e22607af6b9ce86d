# SPDX-License-Identifier: GPL-3.0-or-later
"""Named arrays in one file of the safetensors format: read and written with numpy alone.

The format (https://github.com/huggingface/safetensors): eight bytes with the header's length (little
endian), the header (JSON: each tensor's type, shape and place, and texts under ``__metadata__``), and the
tensors' bytes without gaps. Reading one runs no code, whoever wrote it. It is done here, and not by the
library of that name, because Debian has no package of it, and users of GNU Radio should need nothing but
Debian's packages. The tests read with each what the other wrote.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1", "BOOL": "|b1",
}  # fmt: skip
_NAMES = {np.dtype(code): name for name, code in _TYPES.items()}
_METADATA = "__metadata__"
_ALIGNED = 8  # the tensors begin at a multiple of it
_LARGEST_HEADER = 100 * 10**6  # the library's limit


def dump_tensors(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """The file that holds these arrays and texts.

    Args:
        tensors: floats of 16 to 64 bits, integers or bools, by name.
        metadata: texts, in the order in which they are written.

    Raises:
        ValueError: an array has elements of another type.
    """
    header: dict[str, Any] = {_METADATA: dict(metadata)}
    arrays = []
    at = 0
    # Wide elements first, as the library does, so that each array is aligned to its elements.
    for name, array in sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        kind = _NAMES.get(array.dtype.newbyteorder("<"))
        if kind is None:
            raise ValueError(
                f"tensor {name!r} has elements of type {array.dtype}: give one of {list(_TYPES)}"
            )
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        arrays.append(np.ascontiguousarray(array, _TYPES[kind]))
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNED)
    return b"".join([len(text).to_bytes(8, "little"), text, *(array.tobytes() for array in arrays)])


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """All tensors of a safetensors file by name, and its metadata.

    Raises:
        ValueError: it is truncated, or no such file.
    """
    blob = path.read_bytes()
    try:
        return _parse(blob)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is truncated or not a safetensors file ({error})") from error


def _parse(blob: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    begin = 8 + int.from_bytes(blob[:8], "little")
    if len(blob) < 8 or begin > min(len(blob), _LARGEST_HEADER):
        raise ValueError(f"its {len(blob)} bytes do not hold the header")
    header = json.loads(blob[8:begin].decode(), object_pairs_hook=_without_duplicates)
    metadata = header.pop(_METADATA, {})
    if not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("its metadata are not texts")
    tensors = {}
    at = begin
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        tensors[name] = _tensor(blob, begin, at, name, entry)
        at += tensors[name].nbytes
    if at != len(blob):
        raise ValueError(f"its tensors end at byte {at} of {len(blob)}")
    return tensors, metadata


def _tensor(blob: bytes, begin: int, at: int, name: str, entry: dict[str, Any]) -> np.ndarray:
    """The tensor that must follow at byte ``at``."""
    dtype, shape = np.dtype(_TYPES[entry["dtype"]]), entry["shape"]
    if not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"tensor {name!r} has shape {shape}")
    count = math.prod(shape)
    end = at + count * dtype.itemsize
    if entry["data_offsets"] != [at - begin, end - begin] or end > len(blob):
        raise ValueError(f"tensor {name!r} is not where it should be")
    if dtype.kind == "b":  # a byte that is neither 0 nor 1 is no bool to numpy
        array = np.frombuffer(blob, np.uint8, count, at) != 0
    else:
        array = np.frombuffer(blob, dtype, count, at).copy()
    return array.reshape(shape)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("its header names something twice")
    return found
