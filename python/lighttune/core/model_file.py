# SPDX-License-Identifier: GPL-3.0-or-later
"""What all model files have in common: safetensors with a description, and how one that is none is refused.

safetensors holds plain arrays and text: reading one runs no code, whoever wrote it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .files import replace
from .mcs import McsTable
from .tensors import dump_tensors, read_tensors

Model = TypeVar("Model")

_ABOUT = "lighttune"
_LARGEST_FILE = 16 * 2**20  # a model has some ten thousand weights; a larger file is not one


def write(path: str | os.PathLike, about: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Write a model to ``path``, whole or not at all (written beside it, synced, then renamed)."""
    blob = dump_tensors(tensors, {_ABOUT: json.dumps(about)})
    replace(path, lambda file: file.write(blob))


def read(
    path: Path,
    schema: int,
    shipped: list[str],
    build: Callable[[dict[str, Any], dict[str, np.ndarray]], Model],
    anew: str = "",
) -> Model:
    """Read a model.

    Args:
        path: the file.
        schema: that this version reads.
        shipped: names of the models to offer where there is no such file.
        build: makes the model of its description and tensors; any error of theirs is the file's.
        anew: how one of another schema is trained anew, after "train it anew".

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is truncated, not a model, of another schema, or ``build`` refused it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no model file {path}: give a path, or a shipped model: {shipped}")
    if path.stat().st_size > _LARGEST_FILE:
        raise ValueError(
            f"{path} has {path.stat().st_size} bytes: no LightTune model is larger than {_LARGEST_FILE}"
        )
    try:
        tensors, metadata = read_tensors(path)
    except ValueError as error:
        raise ValueError(f"{error}: fetch or train it anew") from error
    try:
        about = json.loads(metadata[_ABOUT])
        found = about["schema"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a LightTune model: no or garbled description ({error})") from error
    if found != schema:
        raise ValueError(
            f"{path} has schema {found!r}: this version reads schema {schema}; train it anew{anew}"
        )
    try:
        return build(about, tensors)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ValueError(f"{path} is not a whole LightTune model: {error}; fetch or train it anew") from error


def table_of(about: Mapping[str, Any]) -> McsTable:
    """The MCS table of a description."""
    columns: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in about["table"].items()}
    return McsTable(**columns)
