# SPDX-License-Identifier: GPL-3.0-or-later
"""What a campaign's spec may say, and the cells that it asks for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import inf, prod
from pathlib import Path
from typing import Any

from ..core.link_files import find_model, fingerprint, shipped_models
from ..core.link_model import LinkModel
from ..core.mcs import TABLES, McsTable
from .adapters import KINDS, complete
from .campaign import Cell, Variant
from .worlds import WORLDS

MAX_CELLS = 100_000
"""More cells than this are taken for a slip: each is a file."""

MAX_CELL_SLOTS = 10**8
"""Slots of all links of a cell together at most: some 10 GB of traces."""

_LEAST_SLOTS = 10
_MODEL = "amc"
_LARGEST_FILE, _MOST_VALUES = 2**20, 200_000  # bytes, and values with every alias written out
_RUN_KEYS = (
    "model", "table", "worlds", "seeds", "links", "slots", "feedback_delay_slots", "reference", "adapters",
)  # fmt: skip
_ADAPTER_KEYS = ("kind", "settings", "grid")


@dataclass(frozen=True)
class Campaign:
    """A spec, checked: see `parse`.

    Args:
        named: the model, or the MCS table, as the spec names it.
        model: of all links.
        worlds, seeds, variants: the grid; each occurs once.
        links, slots, feedback_delay_slots: of every cell.
        reference: label of the variant that gains are counted from.
    """

    named: str
    model: LinkModel
    worlds: tuple[str, ...]
    seeds: tuple[int, ...]
    links: int
    slots: int
    feedback_delay_slots: int
    variants: tuple[Variant, ...]
    reference: str

    def cells(self) -> list[Cell]:
        """All cells; those that share a world of one seed follow each other."""
        table, model = self.model.table.digest, fingerprint(self.model).hex()[:12]
        return [
            Cell(
                world,
                seed,
                self.links,
                self.slots,
                self.feedback_delay_slots,
                variant,
                table,
                model if KINDS[variant.kind].uses_model else "",
            )
            for world, seed, variant in product(self.worlds, self.seeds, self.variants)
        ]


def read_spec(path: Path) -> Campaign:
    """Read a campaign's YAML file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not YAML, or says what `parse` refuses; the message begins with the path.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses a key that occurs twice, of which YAML would silently take the last."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict:
            keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]  # others are refused
            counts = Counter(key.value for key in keys)
            twice = [key for key, count in counts.items() if count > 1]
            if twice:
                raise ValueError(f"line {node.start_mark.line + 1}: the key {twice[0]!r} occurs twice")
            return super().construct_mapping(node, deep)

    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ValueError(f"it has {path.stat().st_size} bytes: give {_LARGEST_FILE} at most")
        document = yaml.load(path.read_text(), Loader)
        if _values(document, {}) > _MOST_VALUES:
            raise ValueError(f"its aliases stand for more than {_MOST_VALUES} values: write fewer")
        return parse(document, path.parent)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {error}") from error


def _values(document: Any, known: dict[int, float]) -> float:
    """Values of a document with every alias written out: a kilobyte of YAML can stand for terabytes, which
    the first message that shows them would fill. ``known``: those of lists and mappings by identity."""
    if not isinstance(document, dict | list):
        return 1
    if id(document) not in known:
        known[id(document)] = inf  # what is in itself has no end
        inner = document.values() if isinstance(document, dict) else document
        known[id(document)] = 1 + sum(_values(value, known) for value in inner)
    return known[id(document)]


def parse(document: Any, folder: Path = Path()) -> Campaign:
    """Check what a spec says.

    Args:
        document: the keys that ``lighttune campaign --help`` explains.
        folder: that a model's path starts from.

    Raises:
        ValueError: names the key, the bad value and what is allowed.
    """
    run = _mapping("the spec", document, _RUN_KEYS)
    for key in ("worlds", "seeds", "links", "slots", "adapters"):
        if key not in run:
            raise ValueError(f"the key {key!r} is missing")
    worlds = tuple(_worlds(run["worlds"]))
    slots = _integer("slots", run["slots"], _LEAST_SLOTS)
    model = _model(run, folder)
    variants = tuple(_variants(run["adapters"], model.table))
    seeds = tuple(_seeds(run["seeds"]))
    _no_more_than_allowed(len(worlds) * len(seeds) * len(variants))
    labels = [variant.label for variant in variants]
    reference = run.get("reference", labels[0])
    if reference not in labels:
        raise ValueError(f"reference = {reference!r}: give one of {', '.join(labels)}")
    links = _integer("links", run["links"], 1)
    if links * slots > MAX_CELL_SLOTS:
        raise ValueError(f"links = {links} of {slots} slots: give {MAX_CELL_SLOTS} slots in all at most")
    return Campaign(
        named=str(run.get("model") or run.get("table") or _MODEL),
        model=model,
        worlds=worlds,
        seeds=seeds,
        links=links,
        slots=slots,
        feedback_delay_slots=_integer("feedback_delay_slots", run.get("feedback_delay_slots", 1), 1, slots),
        variants=variants,
        reference=reference,
    )


def _mapping(where: str, value: Any, keys: tuple[str, ...] | None = None) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        kind = f"of {', '.join(keys)}" if keys else "of names"
        raise ValueError(f"{where} = {value!r}: give a mapping {kind}")
    for key in value:
        if keys and key not in keys:
            raise ValueError(f"{where} has no key {key!r}: there are {', '.join(keys)}")
    return value


def _integer(where: str, value: Any, least: int, most: int = 2**63 - 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        limits = f"from {least} to {most}" if most < 2**63 - 1 else f", {least} or more"
        raise ValueError(f"{where} = {value!r}: give a whole number{' ' * (limits[0] == 'f')}{limits}")
    return value


def _no_more_than_allowed(cells: int) -> None:
    if cells > MAX_CELLS:
        raise ValueError(f"{cells} cells: give {MAX_CELLS} at most")


def _once(where: str, values: list[Any]) -> list[Any]:
    for value, count in Counter(values).items():
        if count > 1:
            raise ValueError(f"{where} = {value!r} occurs {count} times: give each once")
    return values


def _list(where: str, value: Any, of: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"{where} = {value!r}: give a list of {of}")
    return value


def _worlds(value: Any) -> list[str]:
    names = _list("worlds", value, f"some of {', '.join(WORLDS)}")
    for name in names:
        if not isinstance(name, str) or name not in WORLDS:
            raise ValueError(f"worlds = {name!r}: give some of {', '.join(WORLDS)}")
    return _once("worlds", names)


def _seeds(value: Any) -> list[int]:
    if isinstance(value, dict):
        spread = _mapping("seeds", value, ("first", "count"))
        count = _integer("seeds.count", spread.get("count"), 1, MAX_CELLS)
        first = _integer("seeds.first", spread.get("first"), 0)
        return list(range(first, first + count))
    seeds = _list("seeds", value, "whole numbers, or {first: 1, count: 8}")
    return _once("seeds", [_integer("seeds", seed, 0) for seed in seeds])


def _model(run: dict[str, Any], folder: Path) -> LinkModel:
    """What ``model`` and ``table`` name, as a link's parameters do; files are beside the spec."""
    for key, names in (("model", shipped_models()), ("table", TABLES)):
        if key in run and (not isinstance(run[key], str) or not run[key]):
            raise ValueError(f"{key} = {run[key]!r}: give one of {', '.join(names)}, or a file")
    table, model = run.get("table", ""), run.get("model", "" if "table" in run else _MODEL)
    if model and model not in shipped_models():
        model = str(folder / model)
    if table.endswith(".json"):
        table = str(folder / table)
    try:
        return find_model(model, table)
    except (OSError, ValueError) as error:
        given = ", ".join(f"{key} = {run[key]!r}" for key in ("model", "table") if key in run)
        raise ValueError(f"{given}: {error}") from error


def _variants(adapters: Any, table: McsTable) -> list[Variant]:
    variants: list[Variant] = []
    for label, description in _mapping("adapters", adapters).items():
        where = f"adapters.{label}"
        adapter = _mapping(where, description, _ADAPTER_KEYS)
        if "kind" not in adapter or not isinstance(adapter["kind"], str):
            raise ValueError(f"{where}.kind = {adapter.get('kind')!r}: give one of {', '.join(KINDS)}")
        fixed = _mapping(f"{where}.settings", adapter.get("settings", {}))
        grid = {
            name: _list(f"{where}.grid.{name}", values, "values")
            for name, values in _mapping(f"{where}.grid", adapter.get("grid", {})).items()
        }
        both = sorted(fixed.keys() & grid.keys())
        if both:
            raise ValueError(f"{where}: {both[0]!r} stands in settings and in grid: give it once")
        _no_more_than_allowed(len(variants) + prod(map(len, grid.values())))
        for values in product(*grid.values()):
            own = dict(zip(grid, values, strict=True))
            try:
                settings = complete(adapter["kind"], fixed | own, table)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error
            text = json.dumps(settings, sort_keys=True)
            variants.append(Variant(_label(label, own), adapter["kind"], text))
    if not variants:
        raise ValueError(f"adapters = {adapters!r}: give one or more")
    _all_different(variants)
    return variants


def _label(name: str, own: Mapping[str, Any]) -> str:
    """``OLLA (target 0.1, delta_up_db 0.5)``."""
    values = ", ".join(f"{key} {value}" for key, value in own.items())
    return f"{name} ({values})" if values else name


def _all_different(variants: list[Variant]) -> None:
    """No two variants are the same run, nor have the same label."""
    seen: dict[tuple[str, str], str] = {}
    for variant in variants:
        run = variant.kind, variant.settings
        if run in seen:
            raise ValueError(f"adapters {seen[run]!r} and {variant.label!r} are the same run: leave one out")
        seen[run] = variant.label
    _once("adapters", [variant.label for variant in variants])
