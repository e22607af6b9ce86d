# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of link models: safetensors with a schema version, the MCS table, and the network trained for it.

safetensors holds plain arrays and text: reading one runs no code, whoever wrote it.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from . import model_file, network
from .link_model import LinkModel

SCHEMA = 3
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
    model_file.write(path, about, tensors)


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
    anew = " with `lighttune train --network` (schemas 1 and 2 are of predictors without memory)"
    return model_file.read(path, SCHEMA, shipped_models(), _build, anew)


def _build(about: dict[str, Any], tensors: dict[str, np.ndarray]) -> LinkModel:
    if about["inputs"] != list(network.NAMES):
        raise ValueError("its network reads other inputs than this version computes")
    table = model_file.table_of(about)
    flat = []
    for name, shape in network.parts(len(table.orders)).items():
        array = tensors[f"network.{name}"]
        if array.shape != shape or not np.isfinite(array).all():
            raise ValueError(f"tensor network.{name} has shape {array.shape}, or values that are not finite")
        flat.append(np.ravel(array).astype(np.float32))
    return LinkModel(table, np.concatenate(flat))
