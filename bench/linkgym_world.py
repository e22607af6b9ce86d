#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records linkgym episodes and replays them in this project's simulator, fast and without Sionna.

An episode's channel and ACK draws do not depend on what is sent, so that the transport block error rate of
every MCS in every slot, the draws and the wideband SINR are all there is to it. Recording runs in the
environment that `bench/setup_linkgym.sh` makes; replaying needs numpy only:

    world = recorded_world("validation.npz", table)
    trace = lighttune.sim.link.run(make_adapter, world, bits=world.num_allocated_re)
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from lighttune.core.mcs import McsTable

VALIDATION_SEEDS = range(500, 510)
TEST_SEEDS = range(1000, 1010)  # of linkgym's protocol: for the final run only, so never recorded
N_MCS = 26  # NR MCS 3 to 28


@dataclass(frozen=True, eq=False)
class RecordedWorld:
    """Recorded episodes, one to a link: what `sim.link.run` uses of a `sim.realise.World`.

    Args:
        name: of the file.
        table: NR MCS 3 to 28.
        reported_db: the latest report that is known when the slot's MCS is chosen, ``(n_links, n_slots)``.
        measured_at: slot in which it was measured, ``(n_links, n_slots)``; negative before the first.
        draws: uniform over [0, 1), float32 ``(n_links, n_slots)``: ACK where ``draws >= bler``.
        tbler: true BLER of every MCS, float32 ``(n_links, n_slots, n_mcs)``.
        tb_bits: information bits of each MCS's transport block, ``(n_mcs,)``.
        num_allocated_re: resource elements of every block; the ``bits`` to run with.
        slot_s: duration of a slot in seconds.
        about: seed, episode and mean SNR in dB of each link, and the environment's arguments.
    """

    name: str
    table: McsTable
    reported_db: np.ndarray
    measured_at: np.ndarray
    draws: np.ndarray
    tbler: np.ndarray
    tb_bits: np.ndarray
    num_allocated_re: int
    slot_s: float
    about: dict[str, Any]
    shifts: tuple[int, ...] = ()

    @property
    def n_links(self) -> int:
        """Number of links (episodes)."""
        return self.draws.shape[0]

    @property
    def n_slots(self) -> int:
        """Number of slots."""
        return self.draws.shape[1]

    def bler_of_link(self, link: int, bits: int | None = None) -> np.ndarray:
        """True BLER of every MCS in each slot of one link, ``(n_slots, n_mcs)``, of blocks as recorded."""
        return self.tbler[link]

    def bler_at(self, slot: int, links: slice | np.ndarray = slice(None)) -> np.ndarray:
        """True BLER of every MCS in one slot, ``(n_links, n_mcs)``."""
        return self.tbler[links, slot]

    def goodput_mbps(self, mcs: np.ndarray, ack: np.ndarray) -> np.ndarray:
        """linkgym's goodput of blocks ``(..., n_slots)`` in Mbit/s, shape ``(...)``."""
        return np.where(ack, self.tb_bits[mcs], 0).mean(axis=-1, dtype=float) / self.slot_s / 1e6


def recorded_world(path: str | Path, table: McsTable, report_delay: int = 1) -> RecordedWorld:
    """Read a recording.

    Args:
        path: what `record` wrote.
        table: its MCS, in the order of NR MCS 3 to 28.
        report_delay: slots from a measurement to the first choice that knows it, 1 or more; give
            `sim.link.run` the same as ``feedback_delay_slots``.

    Raises:
        ValueError: the table has another number of MCS, or the delay is below 1.
    """
    if len(table) != N_MCS:
        raise ValueError(f"table {table.name!r} has {len(table)} MCS: the recording has {N_MCS}")
    if report_delay < 1:
        raise ValueError(f"report_delay = {report_delay!r}: give 1 or more")
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    about = json.loads(str(arrays["about"]))
    n_slots = arrays["draws"].shape[1]
    measured_at = np.broadcast_to(np.arange(n_slots) - report_delay, arrays["draws"].shape)
    return RecordedWorld(
        name=Path(path).stem,
        table=table,
        reported_db=arrays["wideband_db"][:, np.maximum(measured_at[0], 0)],
        measured_at=measured_at,
        draws=arrays["draws"],
        tbler=arrays["tbler"],
        tb_bits=arrays["tb_bits"],
        num_allocated_re=int(about["num_allocated_re"]),
        slot_s=float(about["slot_s"]),
        about=about,
    )


def record(
    path: str | Path,
    seeds: Iterable[int],
    episodes: int,
    env_kwargs: dict[str, Any] | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> None:
    """Record episodes as `linkgym.evaluate` would run them, and write them to ``path`` (.npz).

    Args:
        seeds: of the environment; the first episode of each is reset with it.
        episodes: of each seed; the later ones continue its random stream.
        env_kwargs: fields of linkgym's scenario.
        progress: called after every episode with the share done.

    Raises:
        ValueError: a seed of the test protocol.
    """
    import gymnasium
    import linkgym
    import torch
    from linkgym.phy import MAX_MCS, MIN_MCS, effective_sinr, tb_size_per_mcs, transmit

    seeds = list(seeds)
    if set(seeds) & set(TEST_SEEDS):
        raise ValueError(f"seeds {sorted(set(seeds) & set(TEST_SEEDS))} are test seeds: do not look at them")
    env = gymnasium.make(linkgym.ENV_ID, **(env_kwargs or {})).unwrapped
    num_re, mcs = env.num_allocated_re, torch.arange(MIN_MCS, MAX_MCS + 1, dtype=torch.int32)
    tbler, draws, wideband_db, links = [], [], [], []
    for seed in seeds:
        for episode in range(episodes):
            _, info = env.reset(seed=seed if episode == 0 else None)
            link = env._sim  # the channel of the whole episode, and the generator of its ACK draws
            sinr = link.sinr[0]  # (n_slots, n_prb)
            n_slots = len(sinr)
            # A slot at a time would take minutes; all MCS of all slots go through at once.
            every, each = sinr.repeat_interleave(len(mcs), dim=0), mcs.repeat(n_slots)
            sent = transmit(
                effective_sinr(every, each), each, torch.zeros(len(each)), num_allocated_re=num_re
            )
            tbler.append(sent.tbler.reshape(n_slots, len(mcs)).numpy())
            generator = torch.Generator().set_state(link._ack_rng.get_state())
            draws.append(np.array([torch.rand(1, generator=generator).item() for _ in range(n_slots)]))
            wideband_db.append((10 * torch.log10(sinr.mean(dim=-1))).double().numpy())
            links.append({"seed": seed, "episode": episode, "snr_db": info["snr_db"]})
            progress(len(links) / (len(seeds) * episodes))
    about = {
        "links": links,
        "env_kwargs": env_kwargs or {},
        "num_allocated_re": num_re,
        "slot_s": env.slot_duration,
    }
    env.close()
    np.savez_compressed(
        path,
        tbler=np.array(tbler, np.float32),
        draws=np.array(draws, np.float32),
        wideband_db=np.array(wideband_db, np.float32),
        tb_bits=tb_size_per_mcs(num_re)[MIN_MCS : MAX_MCS + 1].numpy(),
        about=np.array(json.dumps(about)),
    )


def verify(path: str | Path, mcs: int, episodes: int = 2) -> int:
    """Send one MCS through the first recorded episodes in the real environment; returns the ACKs that differ.

    Args:
        mcs: index into the recording, 0 to 25: linkgym's action.
        episodes: of the first seed.
    """
    import gymnasium
    import linkgym

    with np.load(path) as file:
        recorded = file["draws"] >= file["tbler"][:, :, mcs]
        wideband_db, about = file["wideband_db"], json.loads(str(file["about"]))
    env = gymnasium.make(linkgym.ENV_ID, **about["env_kwargs"])
    delay = env.unwrapped.config.feedback_delay
    wrong = 0
    for index in range(episodes):
        seed = about["links"][index]["seed"]
        env.reset(seed=seed if about["links"][index]["episode"] == 0 else None)
        for slot in range(recorded.shape[1]):
            *_, info = env.step(mcs)
            wrong += info["ack"] != recorded[index, slot]
            if info["report"] is not None:  # what the choice of the next slot knows
                wrong += info["report"]["slot"] != slot + 1 - delay
                error_db = info["report"]["sinr_wideband_db"] - wideband_db[index, slot + 1 - delay]
                wrong += abs(error_db) > 1e-4
    env.close()
    return int(wrong)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("out", type=Path, help="file to write, .npz")
    add("--seeds", type=int, nargs=2, default=(500, 509), help="first and last (default: 500 509)")
    add("--episodes", type=int, default=5, help="of each seed (default: %(default)s)")
    add("--env", default="{}", help='scenario fields as JSON, such as {"speed": 3.0}')
    add("--verify", type=int, nargs="*", metavar="ACTION", help="then check these actions' ACKs")
    args = parser.parse_args()
    import torch
    from rich.progress import Progress

    torch.set_num_threads(1)
    with Progress() as bar:
        task = bar.add_task("recording", total=1.0)
        first, last = args.seeds
        record(
            args.out,
            range(first, last + 1),
            args.episodes,
            json.loads(args.env),
            lambda share: bar.update(task, completed=share),
        )
    for action in args.verify or ():
        wrong = verify(args.out, action)
        print(f"action {action}: {wrong} differences from the real environment in two episodes")
        if wrong:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
