# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs of simulated links: every event in the order in which the adapter met it."""

from collections.abc import Callable
from pathlib import Path

from gnuradio.lighttune.core.link_model import LinkModel
from gnuradio.lighttune.core.messages import Csi, Decision, LinkAdapter
from gnuradio.lighttune.records.writer import LogWriter, Rotation
from gnuradio.lighttune.sim.realise import World


def simulated_log(
    folder: Path,
    model: LinkModel,
    world: World,
    make_adapter: Callable[[int], LinkAdapter],
    links: range | None = None,
    rotation: Rotation | None = None,
    bits: int | None = None,
    lose: Callable[[int, int], bool] = lambda link, slot: False,
) -> tuple[Path, dict[int, list[Decision]]]:
    """Run adapters through a world as `sim.link.run` does, and record it.

    Returns the session's folder, and every link's decisions.
    """
    writer = LogWriter(folder, model, {"world": world.name}, rotation, source="simulation")
    decisions: dict[int, list[Decision]] = {}
    for link in links or range(world.n_links):
        adapter, latest, acks = make_adapter(link), -1, {}
        true_bler = world.bler_of_link(link, bits)
        decisions[link] = []
        for slot in range(world.n_slots):
            time_s = 1e9 + slot * 1e-3
            if (measured := int(world.measured_at[link, slot])) > latest:
                latest = measured
                csi = Csi(float(world.reported_db[link, slot]), seq=latest)
                adapter.report(csi)
                writer.write("csi", {"link": link, "snr_db": csi.snr_db, "seq": latest}, time_s)
            if slot - 1 in acks:
                adapter.feedback(slot - 1, acks[slot - 1])
                fields = {"link": link, "seq": slot - 1, "ack": acks[slot - 1], "attempt": 0}
                writer.write("feedback", fields, time_s)
            decision = adapter.select(bits, slot)
            decisions[link].append(decision)
            fields = {"link": link, "seq": slot, "mcs": decision.mcs, "bler": decision.bler,
                      "features": decision.features, "version": decision.version,
                      "probe": decision.probe}  # fmt: skip
            writer.write("decision", fields | ({} if bits is None else {"bits": bits}), time_s)
            if not lose(link, slot):
                acks[slot] = bool(world.draws[link, slot] >= true_bler[slot, decision.mcs])
        writer.flush()
    return writer.folder, decisions  # left open, as by a crash: that saves a process for Parquet
