# SPDX-License-Identifier: GPL-3.0-or-later
"""Model files: safetensors with a schema version and the MCS table that the model was trained for.

safetensors holds plain arrays and text: reading one runs no code, whoever wrote it.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from . import model_file
from .features import NAMES
from .mcs import McsTable
from .predictor import N_SHAPE, Encoder, Predictor, Shape

SCHEMA = 2
_MODELS = Path(__file__).resolve().parent.parent / "models"


def save_predictor(
    predictor: Predictor, path: str | os.PathLike, notes: dict[str, str] | None = None
) -> None:
    """Write a predictor to ``path``, whole or not at all (written beside it, synced, then renamed).

    Args:
        notes: text to keep with it, such as the seed and the command that trained it.
    """
    tensors = {f"encoder.{f.name}": getattr(predictor.encoder, f.name) for f in fields(Encoder)}
    tensors["offline"] = predictor.offline
    about = {
        "schema": SCHEMA,
        "features": NAMES,
        "shape": asdict(predictor.shape),
        "table": asdict(predictor.table),
        "notes": notes or {},
    }
    model_file.write(path, about, {name: np.asarray(tensor, np.float32) for name, tensor in tensors.items()})


def fingerprint(predictor: Predictor) -> bytes:
    """16 bytes that differ where two predictors do: table, features, sizes, encoder or offline weights."""
    digest = hashlib.sha256(
        repr((predictor.table.digest, NAMES, predictor.shape.layers, predictor.shape.width)).encode()
    )
    for field in fields(Encoder):
        array = getattr(predictor.encoder, field.name)
        digest.update(repr(array.shape).encode() + array.astype("<f4").tobytes())
    digest.update(predictor.offline.astype("<f4").tobytes())
    return digest.digest()[:16]


def load_predictor(path: str | os.PathLike, table: McsTable | None = None) -> Predictor:
    """Read a predictor.

    Args:
        path: the file.
        table: the MCS table that the link uses, if it is given elsewhere too: it must be the model's.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is truncated, not a model, of another schema or feature set, has tensors of other
            shapes or values that are not finite, or was trained for another MCS table.
    """
    path = Path(path)
    predictor = model_file.read(path, SCHEMA, shipped_models(), _build)
    if table is not None and table.digest != predictor.table.digest:
        raise ValueError(
            f"{path} was trained for the MCS table {predictor.table.name!r} ({predictor.table.digest}), "
            f"not for {table.name!r} ({table.digest}): train one with `lighttune train`"
        )
    return predictor


def load_model(model: str | os.PathLike, table: str = "") -> Predictor:
    """Read a shipped model by its name (``"amc"``) or a model file by its path.

    Args:
        model: name or path.
        table: name of the MCS table that the link uses (`McsTable.named`): it must be the model's. Empty for
            the model's own.

    Raises:
        FileNotFoundError, ValueError: as `load_predictor` and `McsTable.named`.
    """
    shipped = _MODELS / f"{model}.safetensors"
    path = shipped if str(model) in shipped_models() else model
    return load_predictor(path, McsTable.named(table) if table else None)


def shipped_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(p.stem for p in _MODELS.glob("*.safetensors"))


def _build(about: dict[str, Any], tensors: dict[str, np.ndarray]) -> Predictor:
    if about["features"] != list(NAMES):
        raise ValueError("it was trained on other features than this version computes")
    table = model_file.table_of(about)
    shape = Shape(**{k: int(v) for k, v in about["shape"].items()})
    arrays = {f.name: tensors[f"encoder.{f.name}"].astype(float) for f in fields(Encoder)}
    hidden = arrays["w1"].shape[0]
    wanted = {
        "mean": (N_SHAPE,), "scale": (N_SHAPE,), "w1": (hidden, N_SHAPE), "b1": (hidden,),
        "w2": (hidden, hidden), "b2": (hidden,), "w3": (3 * shape.orders, hidden), "b3": (3 * shape.orders,),
        "direct": (3 * shape.orders, N_SHAPE),
    }  # fmt: skip
    for name, array in arrays.items():
        if array.shape != wanted[name] or not np.isfinite(array).all():
            raise ValueError(f"tensor encoder.{name} has shape {array.shape}, or values that are not finite")
    if (arrays["scale"] <= 0).any():
        raise ValueError("tensor encoder.scale is not positive")
    return Predictor(table, Encoder(**arrays), tensors["offline"].astype(np.float32), shape)
