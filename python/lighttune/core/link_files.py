# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of link models: safetensors with a schema version, the MCS table, and the network trained for it.

safetensors holds plain arrays and text: reading one runs no code, whoever wrote it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from . import model_file, network
from .link_model import LinkModel
from .mcs import McsTable

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
        "network": model.net.size > 0,
        "table": asdict(model.table),
        "notes": notes or {},
    }
    tensors, start = {}, 0
    for name, shape in _parts(model.table, model.net.size > 0).items():
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


def find_model(model: str | os.PathLike | LinkModel, table: str | McsTable = "") -> LinkModel:
    """The model that a link's parameters name.

    Args:
        model: name of a shipped model, path of a model file, or a `LinkModel`. Empty: the one that ships for
            ``table``, or else none: the beliefs alone decide, from the first block on.
        table: the PHY's MCS table (`McsTable`, or a name for `McsTable.named`); it must be the model's.
            Empty: the model's own.

    Raises:
        FileNotFoundError, ValueError: there is no such model or table, both are empty, or the model is of
            another table.
    """
    known = McsTable.named(table) if table and isinstance(table, str) else table
    if not isinstance(model, LinkModel) and not str(model):
        if isinstance(known, str):
            raise ValueError(f"model = {model!r}, table = {table!r}: give one of them, or both")
        shipped = load_model(known.name) if known.name in shipped_models() else None
        # Another table may have a shipped one's name.
        return shipped if shipped is not None and shipped.table == known else LinkModel(known)
    found = model if isinstance(model, LinkModel) else load_model(model)
    if isinstance(known, str):
        return found
    if found.table != known:
        raise ValueError(
            f"the model is of MCS table {found.table.name!r}, the link uses {known.name!r}:"
            " leave the model empty, or train one with `lighttune train`"
        )
    return found


def fingerprint(model: LinkModel) -> bytes:
    """16 bytes that differ where two models do: table, inputs or network."""
    digest = hashlib.sha256(repr((model.table.digest, network.NAMES)).encode())
    digest.update(model.net.astype("<f4").tobytes())
    return digest.digest()[:16]


def shipped_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(p.stem for p in _MODELS.glob("*.safetensors"))


@lru_cache(maxsize=16)
def _shipped(name: str) -> LinkModel:
    return _read(_MODELS / f"{name}.safetensors")


def _read(path: Path) -> LinkModel:
    anew = " with `lighttune train` (schemas 1 and 2 are of predictors without memory)"
    return model_file.read(path, SCHEMA, shipped_models(), _build, anew)


def _parts(table: McsTable, has_network: bool) -> dict[str, tuple[int, ...]]:
    return network.parts(len(table.orders)) if has_network else {}


def _build(about: dict[str, Any], tensors: dict[str, np.ndarray]) -> LinkModel:
    if about["inputs"] != list(network.NAMES):
        raise ValueError("its network reads other inputs than this version computes")
    table = model_file.table_of(about)
    flat = [np.empty(0, np.float32)]
    for name, shape in _parts(table, about.get("network", True)).items():
        array = tensors[f"network.{name}"]
        if array.shape != shape or not np.isfinite(array).all():
            raise ValueError(f"tensor network.{name} has shape {array.shape}, or values that are not finite")
        flat.append(np.ravel(array).astype(np.float32))
    return LinkModel(table, np.concatenate(flat))
