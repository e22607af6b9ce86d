#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs LightTune through linkgym 0.4.0, beside linkgym's own tuned OLLA and oracle, and writes a report.

The episodes, metrics and paired bootstrap are those of ``linkgym.evaluation``. Then come SINR reports that
are biased, and other channels, mean SNRs and feedback delays. The default seeds are for validation.
``--test`` runs linkgym's test protocol, and does so once: afterwards it refuses.

Runs in the environment that `bench/setup_linkgym.sh` makes; some twenty minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).resolve().parent.parent / "docs/results/linkgym.md"
VALIDATION_SEEDS, TEST_SEEDS = range(500, 510), range(1000, 1010)
TEST_MARK = "<!-- protocol: test -->"

MODEL = "nr-pdsch-1-sionna"  # that is shipped
OLLA, TUNED, UNTUNED, ORACLE = "tuned OLLA", "LightTune", "LightTune, un-tuned", "oracle"
POLICIES = (OLLA, TUNED, UNTUNED, ORACLE)
BIASES_DB = (-3.0, -2.0, 2.0, 3.0)
SETTLED = 250  # slots after which a biased run is compared with the unbiased one
WINDOW = 50  # slots of a point of the plot over time
DEFAULT = "default"
SCENARIOS: dict[str, dict[str, Any]] = {
    **{f"TDL-{model}": {"tdl_model": model} for model in "BCDE"},
    **{f"speed {speed} m/s": {"speed": float(speed)} for speed in (1, 3, 30, 60)},
    "mean SNR 12 dB": {"snr_db": 12.0},
    **{f"feedback delay {delay} slots": {"feedback_delay": delay} for delay in (2, 4, 8)},
}
CITED = """\
For comparison, these are figures of linkgym's author, from its README, over the test seeds (1000 to 1009,
five episodes each) of the default scenario: tuned OLLA 30.89 Mbit/s at TBLER 0.110, PPO after a million
steps 35.82 Mbit/s at 0.067, oracle 38.62 Mbit/s. They were not measured here."""


@dataclass(frozen=True)
class Job:
    """All episodes of one seed for one policy in one scenario."""

    scenario: str
    policy: str
    bias_db: float
    seed: int
    episodes: int
    model: str

    @property
    def key(self) -> tuple[str, str, float]:
        """What is reported together."""
        return self.scenario, self.policy, self.bias_db


@dataclass(frozen=True, eq=False)
class Episodes:
    """What happened, each array ``(n_episodes, n_slots)`` unless said otherwise.

    ``bits`` arrived; ``ack``; ``mcs`` (NR's index); ``tbler`` of what was sent; ``bler`` that the policy
    predicted, NaN where it does not say; ``updates (n_episodes,)`` that its tuner made;
    ``act_s (n_episodes,)`` mean time of a choice in seconds; ``slot_s`` the duration of a slot in seconds.
    """

    bits: np.ndarray
    ack: np.ndarray
    mcs: np.ndarray
    tbler: np.ndarray
    bler: np.ndarray
    updates: np.ndarray
    act_s: np.ndarray
    slot_s: float

    def goodput_mbps(self, slots: slice = slice(None)) -> np.ndarray:
        """Of each episode, in Mbit/s, ``(n_episodes,)``."""
        return self.bits[:, slots].mean(axis=1) / self.slot_s / 1e6

    @classmethod
    def joined(cls, parts: Iterable[Episodes]) -> Episodes:
        """One after the other."""
        parts = list(parts)
        names = ("bits", "ack", "mcs", "tbler", "bler", "updates", "act_s")
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return cls(**arrays, slot_s=parts[0].slot_s)


Results = dict[tuple[str, str, float], Episodes]


class BiasedReports:
    """A policy that sees every reported SINR ``bias_db`` too high."""

    def __init__(self, policy: Any, bias_db: float) -> None:
        self._policy, self._bias_db = policy, bias_db
        self.reset = policy.reset

    def act(self, obs: np.ndarray, info: Mapping[str, Any]) -> int:
        """As the policy's."""
        report = info["report"]
        if report is not None:
            report = {**report, "sinr_wideband_db": report["sinr_wideband_db"] + self._bias_db}
        return self._policy.act(obs, {**info, "report": report})


@functools.cache
def make_policy(name: str, bias_db: float, model: str) -> Any:
    """The policy of that name; one object serves all episodes, since ``reset`` makes it forget."""
    from linkgym.baselines import OLLAPolicy, OraclePolicy

    from linkgym_policy import LightTunePolicy

    if name in (TUNED, UNTUNED):
        return LightTunePolicy(model, tuned=name == TUNED, report_bias_db=bias_db)
    if name == OLLA:  # bler_target and delta_up are linkgym's choice on its validation seeds
        return BiasedReports(OLLAPolicy(bler_target=0.1, delta_up=0.25), bias_db)
    return OraclePolicy()


@functools.cache
def make_env(scenario: str) -> Any:
    """The environment of a scenario of `SCENARIOS`, or the default one."""
    import gymnasium
    import linkgym

    return gymnasium.make(linkgym.ENV_ID, **SCENARIOS.get(scenario, {}))


def run_job(job: Job) -> tuple[Job, Episodes]:
    """Run a job's episodes in the order of ``linkgym.evaluate``: the first is seeded, the others go on."""
    env, policy = make_env(job.scenario), make_policy(job.policy, job.bias_db, job.model)
    n_slots = env.unwrapped.config.episode_length
    shape = (job.episodes, n_slots)
    bits, ack, mcs = np.zeros(shape, np.int32), np.zeros(shape, bool), np.zeros(shape, np.int16)
    tbler, bler = np.zeros(shape, np.float32), np.full(shape, np.nan, np.float32)
    updates, act_s = np.zeros(job.episodes, int), np.zeros(job.episodes)
    for episode in range(job.episodes):
        obs, info = env.reset(seed=job.seed if episode == 0 else None)
        policy.reset()
        for slot in range(n_slots):
            began = time.perf_counter()
            action = policy.act(obs, info)
            act_s[episode] += (time.perf_counter() - began) / n_slots
            obs, _, _, _, info = env.step(action)
            bits[episode, slot], ack[episode, slot] = info["bits"], info["ack"]
            mcs[episode, slot], tbler[episode, slot] = info["mcs"], info["tbler"]
            bler[episode, slot] = getattr(policy, "bler", np.nan)
        updates[episode] = getattr(policy, "updates", 0)
    slot_s = env.unwrapped.slot_duration
    return job, Episodes(bits, ack, mcs, tbler, bler, updates, act_s, slot_s)


def one_thread() -> None:
    """A worker has one core: torch's own threads would fight for it."""
    import torch

    torch.set_num_threads(1)


def run_all(jobs: list[Job], workers: int) -> Results:
    """Run jobs in worker processes; each key's episodes come in the order of its jobs."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    os.environ["OMP_NUM_THREADS"] = "1"  # read by the workers' torch and numpy when they load
    done: dict[Job, Episodes] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with multiprocessing.get_context("spawn").Pool(workers, one_thread) as pool, Progress(*columns) as bar:
        task = bar.add_task("episodes", total=sum(job.episodes for job in jobs))
        for job, episodes in pool.imap_unordered(run_job, jobs):
            done[job] = episodes
            bar.update(task, advance=job.episodes, description=f"{job.scenario}, {job.policy}"[:40])
    keys = dict.fromkeys(job.key for job in jobs)
    return {key: Episodes.joined(done[job] for job in jobs if job.key == key) for key in keys}


def plan(
    seeds: Iterable[int], episodes: int, biases_db: Iterable[float], scenarios: Iterable[str], model: str
) -> list[Job]:
    """The jobs of a protocol; the other scenarios have one episode for each seed."""
    seeds = list(seeds)
    runs = [(DEFAULT, policy, 0.0, episodes) for policy in POLICIES]
    runs += [
        (DEFAULT, policy, bias, episodes) for bias in biases_db for policy in POLICIES if policy != ORACLE
    ]
    runs += [(name, policy, 0.0, 1) for name in scenarios for policy in POLICIES]
    return [Job(*run[:3], seed, run[3], model) for run in runs for seed in seeds]


def percent(stats: Mapping[str, float], base: float = 0.0) -> str:
    """A relative difference with its interval."""
    sign = "" if base else "+"
    values = (base + stats[name] for name in ("pct", "pct_ci_low", "pct_ci_high"))
    return "{:{s}.1f} ({:{s}.1f} to {:{s}.1f})".format(*values, s=sign)


def default_table(results: Results, bootstrap: Callable[..., dict[str, float]]) -> list[str]:
    """Lines of the table of the default scenario."""
    lines = [
        "| policy | goodput, Mbit/s | over tuned OLLA, Mbit/s | over tuned OLLA, % | TBLER | mean MCS "
        "| prediction error | tuned on, % | ms per choice |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    reference = results[DEFAULT, OLLA, 0.0].goodput_mbps()
    for policy in POLICIES:
        ran = results[DEFAULT, policy, 0.0]
        stats = bootstrap(ran.goodput_mbps(), reference)
        error = np.abs(ran.bler - ran.tbler).mean()
        cells = (
            f"{ran.goodput_mbps().mean():.2f}",
            "" if policy == OLLA else "{mean:+.2f} ({ci_low:+.2f} to {ci_high:+.2f})".format(**stats),
            "" if policy == OLLA else percent(stats),
            f"{1 - ran.ack.mean():.3f}",
            f"{ran.mcs.mean():.1f}",
            f"{error:.3f}" if np.isfinite(error) else "",
            f"{100 * ran.updates.mean() / ran.ack.shape[1]:.0f}" if policy == TUNED else "",
            f"{1e3 * ran.act_s.mean():.2f}",
        )
        lines.append(f"| {policy} | {' | '.join(cells)} |")
    return lines


def bias_table(results: Results, bootstrap: Callable[..., dict[str, float]]) -> list[str]:
    """Lines of the table of biased reports: goodput after `SETTLED` in percent of the unbiased run's."""
    policies = [policy for policy in POLICIES if policy != ORACLE]
    after = slice(SETTLED, None)
    lines = [
        f"| reports off by, dB | {' | '.join(policies)} | {TUNED} over {OLLA}, % |",
        f"|---:|{'---:|' * (len(policies) + 1)}",
    ]
    for bias_db in sorted({key[2] for key in results} - {0.0}):
        goodput = {p: results[DEFAULT, p, bias_db].goodput_mbps(after) for p in policies}
        cells = [
            percent(bootstrap(goodput[p], results[DEFAULT, p, 0.0].goodput_mbps(after)), base=100)
            for p in policies
        ]
        cells.append(percent(bootstrap(goodput[TUNED], goodput[OLLA])))
        lines.append(f"| {bias_db:+.0f} | {' | '.join(cells)} |")
    return lines


def scenario_table(
    results: Results, scenarios: Iterable[str], bootstrap: Callable[..., dict[str, float]]
) -> list[str]:
    """Lines of the table of the other scenarios."""
    lines = [
        f"| scenario | {OLLA}, Mbit/s | {TUNED}, % | {UNTUNED}, % | {ORACLE}, % "
        f"| TBLER: {OLLA} | {TUNED} | {UNTUNED} |",
        f"|---|{'---:|' * 7}",
    ]
    for name in scenarios:
        ran = {policy: results[name, policy, 0.0] for policy in POLICIES}
        reference = ran[OLLA].goodput_mbps()
        cells = [f"{reference.mean():.2f}"]
        cells += [
            percent(bootstrap(ran[policy].goodput_mbps(), reference)) for policy in POLICIES if policy != OLLA
        ]
        cells += [f"{1 - ran[policy].ack.mean():.3f}" for policy in POLICIES if policy != ORACLE]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def plot_gains(
    path: Path, results: Results, names: list[str], bootstrap: Callable[..., dict[str, float]]
) -> None:
    """Goodput over tuned OLLA in every scenario, with intervals."""
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 1.5 + 0.42 * len(names)), layout="constrained")
    looks = ((TUNED, "#1f5fa8", "o", -0.18), (UNTUNED, "#1f5fa8", "s", 0.0), (ORACLE, "#777777", "D", 0.18))
    for policy, colour, marker, shift in looks:
        stats = [
            bootstrap(results[n, policy, 0.0].goodput_mbps(), results[n, OLLA, 0.0].goodput_mbps())
            for n in names
        ]
        middle = np.array([s["pct"] for s in stats])
        reach = [[s["pct"] - s["pct_ci_low"] for s in stats], [s["pct_ci_high"] - s["pct"] for s in stats]]
        face = "white" if policy == UNTUNED else colour
        place = np.arange(len(names)) + shift
        axis.errorbar(
            middle, place, xerr=reach, fmt=marker, ms=5, mfc=face, color=colour, capsize=2, label=policy
        )
    axis.axvline(0, color="#d1781b", lw=1.2)
    axis.set_yticks(np.arange(len(names)), names)
    axis.invert_yaxis()
    axis.set_xlabel(f"goodput over {OLLA} [%], 95 % interval over episodes")
    axis.grid(axis="x", alpha=0.25)
    figure.legend(loc="outside upper center", ncols=3, fontsize=8)  # inside it would hide points
    figure.savefig(path, dpi=120)
    plt.close(figure)


def plot_biases(path: Path, results: Results) -> None:
    """Goodput over time where reports are biased, in percent of the same policy's with right ones."""
    from matplotlib import pyplot as plt

    policies = [policy for policy in POLICIES if policy != ORACLE]
    biases = sorted({key[2] for key in results} - {0.0})
    figure, axes = plt.subplots(1, len(policies), figsize=(11, 3.6), sharey=True, layout="constrained")
    colours = plt.get_cmap("coolwarm")(np.linspace(0, 1, max(len(biases), 2)))

    def over_time(bits: np.ndarray) -> np.ndarray:
        n = bits.shape[1] // WINDOW
        return bits[:, : n * WINDOW].reshape(len(bits), n, WINDOW).mean(axis=(0, 2))

    for axis, policy in zip(axes, policies, strict=True):
        right = over_time(results[DEFAULT, policy, 0.0].bits)
        for bias, colour in zip(biases, colours, strict=False):
            share = 100 * over_time(results[DEFAULT, policy, bias].bits) / right
            slots = (np.arange(len(share)) + 0.5) * WINDOW
            axis.plot(slots, share, ".-", color=colour, label=f"{bias:+.0f} dB")
        axis.axhline(100, color="#777777", lw=0.8)
        axis.axvline(SETTLED, color="#777777", lw=0.8, ls=":")
        axis.set_title(policy, fontsize=10)
        axis.set_xlabel("slot")
        axis.grid(alpha=0.25)
    axes[0].set_ylabel(f"goodput, % of unbiased run\n(windows of {WINDOW} slots)")
    axes[0].legend(loc="lower right", fontsize=8, ncols=2, title="reports off by", title_fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def write_report(
    out: Path, command: str, model: str, test: bool, seeds: list[int], episodes: int, results: Results
) -> None:
    """Write the report to ``out`` and its plots into a folder of the same name."""
    import matplotlib

    matplotlib.use("Agg")
    from linkgym.evaluation import paired_bootstrap

    scenarios = [name for name in dict.fromkeys(key[0] for key in results) if name != DEFAULT]
    pictures = out.with_suffix("")
    pictures.mkdir(parents=True, exist_ok=True)
    plot_gains(pictures / "gain.png", results, [DEFAULT, *scenarios], paired_bootstrap)
    plot_biases(pictures / "bias.png", results)
    kind = "test protocol" if test else "validation seeds"
    lines = [
        f"<!-- written by `{command}`; do not edit -->",
        *([TEST_MARK] if test else []),
        f"# linkgym, {kind}",
        "",
        f"linkgym 0.4.0 ([PyPI](https://pypi.org/project/linkgym/0.4.0/)), seeds {seeds[0]} to {seeds[-1]},",
        f"{episodes} episode{'s' * (episodes != 1)} of 1000 slots each. Written by `{command}`.",
        "",
        "All policies face the same channels and the same ACK draws. Intervals are 95 % of linkgym's paired",
        "bootstrap over episodes; relative ones are of the ratio of means.",
        "",
        f"- *{OLLA}*: linkgym's, target 0.1 and step 0.25 dB, as its author chose on validation seeds",
        f"- *{TUNED}*: model `{model}`, default settings; it forgets everything between episodes",
        f"- *{ORACLE}*: linkgym's; knows the coming slot, takes the fastest MCS with BLER up to 0.1",
        "",
        "Prediction error: mean of |predicted - true| BLER of what was sent. Tuned on: share of slots. Time",
        "per choice: mean, the machine busy with one worker to a core.",
        *([] if test else ["", "These seeds may have been looked at while LightTune was made."]),
        "",
        "## Default scenario",
        "",
        *default_table(results, paired_bootstrap),
        "",
        CITED,
        "",
        "## Biased reports",
        "",
        f"Every reported SINR is off by the same amount. Goodput of the slots after {SETTLED}, in percent of",
        "the same policy's with right reports; last column: the two policies under the same bias.",
        "",
        *bias_table(results, paired_bootstrap),
        "",
        f"![Goodput over time under biased reports]({pictures.name}/bias.png)",
        "",
        "## Other scenarios",
        "",
        f"One episode for each seed; all else as by default. Goodput over {OLLA} in percent.",
        "",
        *scenario_table(results, scenarios, paired_bootstrap),
        "",
        f"![Goodput over tuned OLLA in every scenario]({pictures.name}/gain.png)",
    ]
    out.write_text("\n".join(lines) + "\n")


def seed_range(text: str) -> list[int]:
    """``"500-509"`` or ``"500"``."""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
    if last < first:
        raise argparse.ArgumentTypeError(f"{text!r}: give a seed, or a first and a last one, such as 500-509")
    return list(range(first, last + 1))


def was_tested(path: Path) -> bool:
    """The report at ``path`` says that the test protocol was run."""
    return path.is_file() and TEST_MARK in path.read_text().splitlines()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seeds", type=seed_range, default=list(VALIDATION_SEEDS), help="first-last (default: 500-509)")
    add("--episodes", type=int, default=5, help="of each seed in the default scenario (default: %(default)s)")
    add("--model", default=MODEL, help="shipped model, or a model file (default: %(default)s)")
    add("--workers", type=int, default=2, help="processes (default: %(default)s)")
    add("--out", type=Path, help="report to write (default: docs/results/linkgym.md)")
    add("--short", action="store_true", help="a smoke run: one episode of everything, into out/linkgym.md")
    add("--test", action="store_true", help="the test protocol: seeds 1000-1009, 5 episodes each, once")
    add("--again", action="store_true", help="even though the test protocol has been run")
    args = parser.parse_args()
    if args.test and (args.short or args.episodes != 5 or args.seeds != list(VALIDATION_SEEDS)):
        parser.error("--test has its own seeds and episodes: leave out --short, --seeds and --episodes")
    if args.episodes < 1 or args.workers < 1:
        parser.error("give --episodes and --workers of 1 or more")
    if not args.test and set(args.seeds) & set(TEST_SEEDS):
        parser.error(f"seeds {TEST_SEEDS[0]} to {TEST_SEEDS[-1]} are the test protocol's: see --test")
    out = args.out or (Path("out/linkgym.md") if args.short else RESULTS)
    if not args.again:
        if args.test and was_tested(RESULTS):
            parser.error(
                f"{RESULTS} says that the test protocol has been run; once is its point (see --again)"
            )
        if was_tested(out):
            parser.error(f"{out} has the test protocol's results: give another --out, or --again")
    seeds, episodes = (list(TEST_SEEDS) if args.test else args.seeds), args.episodes
    biases, scenarios = BIASES_DB, tuple(SCENARIOS)
    if args.short:
        seeds, episodes, biases, scenarios = seeds[:1], 1, (-3.0, 3.0), ("TDL-C", "feedback delay 4 slots")
    out.parent.mkdir(parents=True, exist_ok=True)
    span = f"{seeds[0]}-{seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
    options = "--short" if args.short else "--test" if args.test else f"--seeds {span} --episodes {episodes}"
    began = time.monotonic()
    results = run_all(plan(seeds, episodes, biases, scenarios, args.model), args.workers)
    model = Path(args.model).name
    command = f"bench/linkgym_protocol.py {options}" + (f" --model {model}" if model != MODEL else "")
    write_report(out, command, model, args.test, seeds, episodes, results)
    print(out.read_text())
    print(f"{time.monotonic() - began:.0f} s; wrote {out}")


if __name__ == "__main__":
    main()
