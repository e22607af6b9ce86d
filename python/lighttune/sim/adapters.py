# SPDX-License-Identifier: GPL-3.0-or-later
"""Batch adapters by name: what kinds there are, which settings each has, and how one is made.

Settings are flat: a name and a number, a word, yes or no. LightTune's parts are told apart by a dot:
``policy.objective``, ``tuning.on``.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..baselines.olla import Olla
from ..baselines.salad import Salad
from ..baselines.thompson import ThompsonSampling
from ..baselines.trend_olla import TrendOlla
from ..core.link_model import LinkModel
from ..core.mcs import McsTable
from ..core.selection import SelectionPolicy
from ..core.tuning import TuningPolicy
from .batch import BatchAdapter
from .batch_link import BatchLink
from .peers import BatchGenie, BatchOlla, BatchSalad, BatchThompson, BatchTrendOlla

Settings = dict[str, Any]
"""Numbers, words, yes and no, pairs of numbers, None."""

_OBJECTIVE = ("objective", "bler_target")  # of `SelectionPolicy`: what a link has


@dataclass(frozen=True)
class Kind:
    """A kind of adapter.

    Args:
        about: what it is, in a few words.
        defaults: all its settings at their defaults.
        optional: names of the settings that may be None.
        check: raises `ValueError` for complete settings that are out of range.
        make: an adapter of so many rows, from complete settings; the generator is for kinds that draw.
        uses_model: whether the model decides, and not only its MCS table.
    """

    about: str
    defaults: Settings
    optional: frozenset[str]
    check: Callable[[McsTable, Settings], object]
    make: Callable[[LinkModel, int, np.random.Generator, Settings], BatchAdapter]
    uses_model: bool = False


def complete(kind: str, given: Mapping[str, Any], table: McsTable) -> Settings:
    """All settings of a kind, those that were given checked, the others at their defaults.

    Args:
        kind: a key of `KINDS`.
        given: settings by name; whole numbers do for fractions, lists of two for ranges.
        table: the links' MCS.

    Raises:
        ValueError: there is no such kind or setting, or a value is of the wrong type or out of range.
    """
    if kind not in KINDS:
        raise ValueError(f"kind = {kind!r}: give one of {', '.join(KINDS)}")
    what = KINDS[kind]
    defaults = what.defaults
    for name in given:
        if name not in defaults:
            allowed = ", ".join(defaults) or "none"
            raise ValueError(f"{name!r} is no setting of {kind!r}: there are {allowed}")
    settings = defaults | {
        name: _like(name, value, defaults[name], name in what.optional) for name, value in given.items()
    }
    what.check(table, settings)
    return settings


def make_adapter(
    kind: str, settings: Settings, model: LinkModel, n: int, rng: np.random.Generator
) -> BatchAdapter:
    """A fresh adapter of ``n`` rows.

    Args:
        kind: a key of `KINDS`.
        settings: as `complete` returns them.
        model: of the links; the peers take its MCS table.
        rng: for the kinds that draw.
    """
    return KINDS[kind].make(model, n, rng, settings)


def _like(name: str, value: Any, default: Any, optional: bool) -> Any:
    """A value of the default's type."""
    if value is None and optional:
        return None
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
        raise ValueError(f"{name} = {value!r}: give true or false")
    if isinstance(default, str):
        if isinstance(value, str):
            return value
        raise ValueError(f"{name} = {value!r}: give a word, such as {default!r}")
    if isinstance(default, tuple):
        if isinstance(value, list | tuple) and len(value) == 2:
            return _number(name, value[0]), _number(name, value[1])
        raise ValueError(f"{name} = {value!r}: give two numbers, such as {list(default)}")
    number = _number(name, value, " or null" if optional else "")
    if isinstance(default, int):
        if number != int(number):
            raise ValueError(f"{name} = {value!r}: give a whole number")
        return int(number)
    return number


def _number(name: str, value: Any, more: str = "") -> float:
    # YAML 1.1 reads 1e-3 as text: it wants 1.0e-3, which few know.
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name} = {value!r}: give a finite number{more}")
    return number


def _peer(about: str, batch: Callable[..., BatchAdapter], twin: Callable[..., object] | None) -> Kind:
    """A baseline: its settings are its batch class's keywords, its one-link twin knows their ranges."""
    given = ("self", "table", "n", "rng")
    parameters = {n: p for n, p in inspect.signature(batch).parameters.items() if n not in given}
    defaults: Settings = {name: p.default for name, p in parameters.items()}
    first = [name for name in inspect.signature(batch).parameters if name in given]

    def make(model: LinkModel, n: int, rng: np.random.Generator, settings: Settings) -> BatchAdapter:
        have = {"table": model.table, "n": n, "rng": rng}
        return batch(*(have[name] for name in first), **settings)

    def check(table: McsTable, settings: Settings) -> object:
        drawn = (np.random.default_rng(0),) if "rng" in first else ()
        return twin(table, *drawn, **settings) if twin else None

    optional = frozenset(name for name, p in parameters.items() if "None" in str(p.annotation))
    return Kind(about, defaults, optional, check, make)


def with_objective(model: LinkModel, settings: Settings) -> LinkModel:
    """The model, with the objective that LightTune's settings ask for.

    Raises:
        ValueError: a value is out of range.
    """
    return model.aiming_at(_made("policy", SelectionPolicy, settings))


def tuning_policy(settings: Settings) -> TuningPolicy | None:
    """When and how fast the settings ask to tune; None where they are of a kind that is not tuned.

    Raises:
        ValueError: a value is out of range.
    """
    return _made("tuning", TuningPolicy, settings) if "tuning.on" in settings else None


def _made(part: str, of: Callable[..., Any], settings: Settings) -> Any:
    try:
        return of(**{k.removeprefix(f"{part}."): v for k, v in settings.items() if k.startswith(f"{part}.")})
    except ValueError as error:
        raise ValueError(f"{part}: {error}") from error


def _check_lighttune(table: McsTable, settings: Settings) -> None:
    _made("policy", SelectionPolicy, settings)
    tuning_policy(settings)


def _make_lighttune(model: LinkModel, n: int, rng: np.random.Generator, settings: Settings) -> BatchAdapter:
    pool = bool(settings.get("pool", False))
    return BatchLink(with_objective(model, settings), n, tuning_policy(settings), pool)


def _lighttune(about: str, defaults: Settings) -> Kind:
    return Kind(about, defaults, frozenset(), _check_lighttune, _make_lighttune, uses_model=True)


_POLICY: Settings = {
    f"policy.{field.name}": field.default for field in fields(SelectionPolicy) if field.name in _OBJECTIVE
}
_TUNING: Settings = {f"tuning.{field.name}": field.default for field in fields(TuningPolicy)}

KINDS: dict[str, Kind] = {
    "olla": _peer("the outer loop: an SINR offset moved by ACK and NACK", BatchOlla, Olla),
    "trend_olla": _peer("OLLA on a report that is extrapolated along its trend", BatchTrendOlla, TrendOlla),
    "salad": _peer("SALAD: infers the SINR from ACK and NACK, and probes", BatchSalad, Salad),
    "thompson": _peer("Thompson sampling of every MCS's success", BatchThompson, ThompsonSampling),
    "genie": _peer("knows the true BLERs of the coming slot: a bound", BatchGenie, None),
    "untuned": _lighttune("LightTune, with the model's curves as they are", _POLICY),
    "lighttune": _lighttune(
        "LightTune, its curves tuned while its trigger asks for it", _POLICY | _TUNING | {"pool": False}
    ),
}  # fmt: skip
"""All kinds by name."""
