# SPDX-License-Identifier: GPL-3.0-or-later
"""Times of decisions and of tuning in `core`, beside their peers': the parts of `bench/speed.py` without GNU
Radio.

Every figure is of one call on one thread, peers interleaved. A decision's channel is a random walk with a
fresh report for every block, so that nothing can be kept from one slot to the next. Speed does not depend on
what the weights are: the predictor that decides has the sizes of the shipped ones and small random weights,
so that it predicts what its table does and the selector believes it, for an MCS table of 28 (NR PDSCH table
2). The one that is tuned is the shipped `nr-pdsch-1-sionna`.
"""

import json
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from gnuradio.lighttune.baselines.olla import Olla
from gnuradio.lighttune.baselines.salad import Salad
from gnuradio.lighttune.baselines.thompson import ThompsonSampling
from gnuradio.lighttune.baselines.trend_olla import TrendOlla
from gnuradio.lighttune.core import kernel
from gnuradio.lighttune.core.adapter import Selector
from gnuradio.lighttune.core.checkpoint import load_model
from gnuradio.lighttune.core.compiled import SWITCH
from gnuradio.lighttune.core.compiled_learning import CompiledLearning
from gnuradio.lighttune.core.decider import Decider
from gnuradio.lighttune.core.features import LinkHistory
from gnuradio.lighttune.core.link_decider import CompiledLink, PlainLink
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.messages import Csi, LinkAdapter
from gnuradio.lighttune.core.predictor import N_SHAPE, Encoder, Predictor, Shape, Weights
from gnuradio.lighttune.core.rules import Outcome
from gnuradio.lighttune.core.selection import SelectionPolicy, choose
from gnuradio.lighttune.core.trigger import TriggerPolicy
from gnuradio.lighttune.core.tuner import Tuner

from backprop import log_loss

ROOT = Path(__file__).resolve().parent.parent
BITS = 1024
HIDDEN = 96  # as the shipped encoders
Times = dict[str, np.ndarray]
"""Seconds of each call, by name."""

NUMPY, COMPILED = "LightTune, numpy (before)", "LightTune, compiled"
EVERY, TRIGGERED, SGD = "tuner, every block", "tuner, by its trigger", "torch SGD"


def predictor_of(table: McsTable, rng: np.random.Generator) -> Predictor:
    """Of the shipped models' sizes, with random weights so small that the table is what it predicts."""
    orders, shape = len(table.orders), Shape(len(table.orders))

    def normal(*size: int) -> np.ndarray:
        return 0.01 * rng.standard_normal(size) / np.sqrt(size[-1])

    encoder = Encoder(
        mean=np.zeros(N_SHAPE), scale=np.ones(N_SHAPE),
        w1=normal(HIDDEN, N_SHAPE), b1=normal(HIDDEN), w2=normal(HIDDEN, HIDDEN), b2=normal(HIDDEN),
        w3=normal(3 * orders, HIDDEN), b3=np.repeat([0.0, -4.0, 0.0], orders),
        direct=np.zeros((3 * orders, N_SHAPE)),
    )  # fmt: skip
    blank = Predictor(table, encoder, np.zeros(shape.n_weights, np.float32), shape)
    weights = blank.weights(0.001 * rng.standard_normal(shape.n_weights))
    for part in (weights.v, weights.w, weights.u):
        np.abs(part, out=part)
    return Predictor(table, encoder, weights.flat.astype(np.float32), shape)


def decisions(rounds: int, n: int) -> tuple[Times, Times]:
    """Times of ``select`` and of the three verbs together, ``rounds`` times ``n`` blocks of every adapter."""
    rng, table, policy = np.random.default_rng(1), McsTable.nr_pdsch(2), SelectionPolicy()
    predictor = predictor_of(table, rng)
    links = PlainLink(predictor, policy), CompiledLink(predictor, policy, kernel)
    numpy, compiled = (Selector(predictor, Olla(table), policy, decider=link) for link in links)
    handed_over = Selector(predictor, Olla(table), policy)
    handed_over.silence("for the benchmark")
    adapters: dict[str, LinkAdapter] = {
        NUMPY: numpy,
        COMPILED: compiled,
        "LightTune, handed over to OLLA": handed_over,
        "OLLA": Olla(table),
        "trend-extrapolating OLLA": TrendOlla(table),
        "Thompson sampling": ThompsonSampling(table, np.random.default_rng(2)),
        "SALAD": Salad(table, np.random.default_rng(3)),
    }
    select, all_three = ({name: [] for name in adapters} for _ in range(2))
    for turn in range(rounds + 1):  # the first warms up
        for name, adapter in adapters.items():
            chose, whole = _drive(adapter, table, rng, n)
            if turn:
                select[name].append(chose)
                all_three[name].append(whole)
    return tuple({k: np.concatenate(v) for k, v in times.items()} for times in (select, all_three))


def _drive(
    adapter: LinkAdapter, table: McsTable, rng: np.random.Generator, n: int
) -> tuple[np.ndarray, np.ndarray]:
    walk = 2 + np.abs((np.cumsum(rng.normal(0, 0.7, n)) + 10) % 40 - 20)  # turned back at its ends
    draws = rng.random(n)
    chose, whole = np.empty(n), np.empty(n)
    clock = time.perf_counter
    for slot in range(n):
        snr_db, draw = float(walk[slot]), float(draws[slot])
        began = clock()
        adapter.report(Csi(snr_db))
        reported = clock()
        decision = adapter.select(BITS)
        chosen = clock()
        ack = draw >= table.bler(snr_db, BITS)[decision.mcs]
        resumed = clock()
        adapter.feedback(decision.seq, ack)
        chose[slot] = chosen - reported
        whole[slot] = clock() - resumed + chosen - began
    return chose, whole


def stages(n: int) -> list[tuple[str, float, float]]:
    """Where a decision's time goes: stage, and the median of its seconds in numpy and compiled."""
    table, policy = McsTable.nr_pdsch(2), SelectionPolicy()
    predictor = predictor_of(table, np.random.default_rng(1))
    plain, link = Decider(predictor, policy), CompiledLink(predictor, policy, kernel)
    model, (_, weights), bler = link._model, link._loaded, link.bler()
    gain, of_weights = table.goodput_if_acked(BITS), Weights(predictor.shape, plain.weights)
    plain.history.report(12.0)
    link.report(12.0)
    features = link.decide(1.0, BITS).features
    reading, blers = predictor.encoder(features), predictor.bler(of_weights, features)
    hidden, orders, layers, width = model.sizes.tolist()
    pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "take a report": (lambda: plain.history.report(12.0), lambda: kernel.report(link._link, 12.0)),
        "features": (
            lambda: plain.history.features(1.0, 0.0),
            lambda: kernel.features(link._link, 1.0, 0.0, features),
        ),
        "encoder": (
            lambda: predictor.encoder(features),
            lambda: kernel.read(model.encoder, hidden, orders, features, model.work),
        ),
        "closed form, adaptive layers": (
            lambda: predictor.forward(of_weights, features, encoded=reading),
            lambda: kernel.predict(model.table, weights, layers, width, 0.0, model.work, bler),
        ),
        "choice, price, probing": (
            lambda: plain._prober.consider(choose(blers, gain, table, plain.price.price), blers, gain),
            lambda: kernel.choose(model.table, link._policy, gain, bler, link._link),
        ),
    }
    return [(name, *(_median(call, n) for call in pair)) for name, pair in pairs.items()]


def _median(call: Callable[[], object], n: int) -> float:
    taken = np.empty(n)
    for i in range(n):
        began = time.perf_counter()
        call()
        taken[i] = time.perf_counter() - began
    return float(np.median(taken))


def sionna(n: int) -> Times | str:
    """Sionna SYS's decisions, measured in its own environment; or why not."""
    python = ROOT / ".venv-linkgym/bin/python"
    if not python.exists():
        return "not measured: its environment is missing (`bench/setup_linkgym.sh` makes it)"
    done = subprocess.run(
        [python, Path(__file__).with_name("speed_sionna.py"), "--n", str(n)],
        capture_output=True, text=True, timeout=300, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    if done.returncode:
        return f"not measured: it failed ({(done.stderr.strip().splitlines() or ['no word'])[-1][:200]})"
    return {name: np.array(seconds) for name, seconds in json.loads(done.stdout.splitlines()[-1]).items()}


Samples = tuple[np.ndarray, np.ndarray, np.ndarray]


def samples_of(predictor: Predictor, rng: np.random.Generator, n: int, slots: int) -> list[Samples]:
    """Features, MCS and ACK of ``n`` links' blocks, slot by slot; every sixth link reports 3 dB too much."""
    history = LinkHistory((n,))
    snr_db, bias_db, made = rng.uniform(2, 22, n), np.where(np.arange(n) % 6 == 5, 3.0, 0.0), []
    for _ in range(slots):
        snr_db = np.clip(snr_db + rng.normal(0, 1, n), 0, 25)
        history.report(snr_db + bias_db)
        features = history.features()
        bler = predictor.bler(predictor.weights(), features)
        mcs = np.argmin(np.abs(bler - rng.uniform(0.02, 0.4, (n, 1))), axis=1)
        true = predictor.bler(predictor.weights(), _shifted(features, -bias_db))
        made.append((features, mcs, rng.random(n) >= true[np.arange(n), mcs]))
    return made


def _shifted(features: np.ndarray, by_db: np.ndarray) -> np.ndarray:
    moved = features.copy()
    moved[:, 0] += by_db
    return moved


def updates(sizes: tuple[int, ...], rounds: int) -> dict[str, dict[int, tuple[np.ndarray, float]]]:
    """Tuning beside backpropagation: by name and number of links in one call, seconds per link of each call,
    and the share of samples that tuned."""
    torch.set_num_threads(1)
    rng, predictor = np.random.default_rng(4), load_model("nr-pdsch-1-sionna")
    result: dict[str, dict[int, tuple[np.ndarray, float]]] = {}
    for n in sizes:
        slots = max(6, 240 // n)
        data = samples_of(predictor, rng, n, slots)
        learners = {
            EVERY: _tuner(predictor, n, always=True),
            TRIGGERED: _tuner(predictor, n, always=False),
            "tuner, every block, in numpy (before)": _tuner(predictor, n, always=True, compiled_up_to=0),
            SGD: _torch(predictor, n, torch.optim.SGD),
            "torch Adam": _torch(predictor, n, torch.optim.Adam),
        }
        taken: dict[str, list[float]] = {name: [] for name in learners}
        tuned = dict.fromkeys(learners, 0.0)
        for turn in range(rounds + 1):
            for name, learn in learners.items():
                for sample in data:
                    began = time.perf_counter()
                    share = learn(*sample)
                    if turn:
                        taken[name].append((time.perf_counter() - began) / n)
                        tuned[name] += share / (rounds * slots)
        for name in learners:
            result.setdefault(name, {})[n] = np.array(taken[name]), tuned[name]
    return result


def tunes_compiled() -> bool:
    """The compiled functions know this version's rule, trigger and guards."""
    return CompiledLearning.of(Tuner(load_model("amc"))) is not None


def _tuner(
    predictor: Predictor, n: int, always: bool, compiled_up_to: int = sys.maxsize
) -> Callable[..., float]:
    trigger, links = TriggerPolicy(always=always), np.arange(n)
    tuner = Tuner(predictor, trigger=trigger, max_links=n, compiled_up_to=compiled_up_to)

    def learn(features: np.ndarray, mcs: np.ndarray, ack: np.ndarray) -> float:
        return float(tuner.learn(links, features, mcs, ack).mean())

    return learn


def _torch(predictor: Predictor, n: int, optimizer: type[torch.optim.Optimizer]) -> Callable[..., float]:
    """Zero the gradients, forward, backward, step: on the same network, all ``n`` links' weights at once.

    In torch's favour its time has no trigger and no guards in it, and numpy has read the encoder for it.
    """
    flat = torch.tensor(np.tile(predictor.weights().flat, (n, 1)), dtype=torch.float32, requires_grad=True)
    stepper, outcomes = optimizer([flat], lr=0.01), {}

    def learn(features: np.ndarray, mcs: np.ndarray, ack: np.ndarray) -> float:
        outcome = outcomes.get(id(features))
        if outcome is None:  # in the turn that warms up
            wide = features.astype(float)
            outcome = Outcome(wide, mcs[:, None], predictor.encoder(wide), 1.0 - ack)
            outcomes[id(features)] = outcome
        stepper.zero_grad()
        log_loss(predictor, flat, outcome).sum().backward()
        stepper.step()
        return 1.0

    return learn


START = """
import time
from pathlib import Path
began = time.perf_counter()
import numpy as np
from gnuradio.lighttune.baselines.olla import Olla
from gnuradio.lighttune.core.adapter import Selector
from gnuradio.lighttune.core.checkpoint import load_model
from gnuradio.lighttune.core.messages import Csi
predictor = load_model("amc")
imported = time.perf_counter()
selector = Selector(predictor, Olla(predictor.table))
made = time.perf_counter()
selector.report(Csi(12.0))
selector.select()
chosen = time.perf_counter()
resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
print(imported - began, made - imported, chosen - made, resident)
"""


def starts(folder: Path) -> dict[str, tuple[float, float, float, float]]:
    """By kind of start: seconds of import, of the first selector, of the first decision; MiB in the end."""

    def run(**environment: str) -> tuple[float, float, float, float]:
        done = subprocess.run(
            [sys.executable, "-c", START],
            capture_output=True, text=True, timeout=300, check=True, env={**os.environ, **environment},
        )  # fmt: skip
        return tuple(float(v) for v in done.stdout.split())

    cache = {"NUMBA_CACHE_DIR": str(folder)}
    return {
        "first start (compiles)": run(**cache),
        "later starts (from the cache)": run(**cache),
        f"numpy alone ({SWITCH}=0)": run(**{SWITCH: "0"}),
    }


def memory(n: int) -> dict[str, float]:
    """KiB for each of ``n`` links: of a selector that was given weights, and of a tuner's state."""
    predictor, rng = load_model("amc"), np.random.default_rng(6)
    sample = samples_of(predictor, rng, n, 1)[0]
    Selector(predictor, Olla(predictor.table))  # what all share is not counted
    tracemalloc.start()
    kept = []
    for _ in range(n):
        selector = Selector(predictor, Olla(predictor.table))
        selector.load(1, predictor.weights(0.01 * rng.standard_normal(predictor.shape.n_weights)).flat)
        selector.report(Csi(12.0))
        selector.select(BITS)
        kept.append(selector)
    selectors, _ = tracemalloc.get_traced_memory()
    tuner = Tuner(predictor, max_links=n)
    tuner.learn(np.arange(n), *sample)
    both, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"selector": selectors / n / 1024, "tuner": (both - selectors) / n / 1024}
