# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of link models: safetensors with a schema version, the MCS table, and the network trained for it.

safetensors holds plain arrays and text: reading one runs no code, whoever wrote it.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from . import network
from .files import replace
from .link_model import LinkModel
from .mcs import McsTable
from .tensors import dump_tensors, read_tensors

SCHEMA = 3
_ABOUT = "lighttune"
_LARGEST_FILE = 16 * 2**20  # a network has some 30,000 weights; a larger file is not one
_MODELS = Path(__file__).resolve().parent.parent / "models" / "links"


def save_model(model: LinkModel, path: str | os.PathLike, notes: dict[str, str] | None = None) -> None:
    """Write a model to ``path``, whole or not at all.

    Args:
        notes: text to keep with it, such as the seed and the command that trained it.
    """
    about = {
        "schema": SCHEMA,
        "inputs": network.NAMES,
        "table": asdict(model.table),
        "notes": notes or {},
    }
    tensors, start = {}, 0
    for name, shape in network.parts(len(model.table.orders)).items():
        count = int(np.prod(shape))
        tensors[f"network.{name}"] = model.net[start : start + count].reshape(shape)
        start += count
    blob = dump_tensors(tensors, {_ABOUT: json.dumps(about)})
    replace(path, lambda file: file.write(blob))


def load_model(model: str | os.PathLike) -> LinkModel:
    """Read a shipped model by its name (``"amc"``) or a model file by its path.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is truncated, not a model, of another schema or other inputs, or has tensors of
            other shapes or values that are not finite.
    """
    if str(model) in shipped_models():
        return _shipped(str(model))
    return _read(Path(model))


def shipped_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(p.stem for p in _MODELS.glob("*.safetensors"))


@lru_cache(maxsize=16)
def _shipped(name: str) -> LinkModel:
    return _read(_MODELS / f"{name}.safetensors")


def _read(path: Path) -> LinkModel:
    if not path.is_file():
        raise FileNotFoundError(f"no model file {path}: give a path, or a shipped model: {shipped_models()}")
    if path.stat().st_size > _LARGEST_FILE:
        raise ValueError(f"{path} has {path.stat().st_size} bytes: no model is larger than {_LARGEST_FILE}")
    try:
        tensors, metadata = read_tensors(path)
    except ValueError as error:
        raise ValueError(f"{error}: fetch or train it anew") from error
    try:
        about = json.loads(metadata[_ABOUT])
        schema = about["schema"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a LightTune model: no or garbled description ({error})") from error
    if schema != SCHEMA:
        older = " (a predictor without memory, of an earlier version)" if schema in (1, 2) else ""
        raise ValueError(
            f"{path} has schema {schema!r}{older}: this version reads schema {SCHEMA}; train it anew with"
            " `lighttune train`"
        )
    try:
        return _build(about, tensors)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path} is not a whole LightTune model: {error}; fetch or train it anew") from error


def _build(about: dict[str, Any], tensors: dict[str, np.ndarray]) -> LinkModel:
    if about["inputs"] != list(network.NAMES):
        raise ValueError("its network reads other inputs than this version computes")
    columns: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in about["table"].items()}
    table = McsTable(**columns)
    flat = []
    for name, shape in network.parts(len(table.orders)).items():
        array = tensors[f"network.{name}"]
        if array.shape != shape or not np.isfinite(array).all():
            raise ValueError(f"tensor network.{name} has shape {array.shape}, or values that are not finite")
        flat.append(np.ravel(array).astype(np.float32))
    return LinkModel(table, np.concatenate(flat))
