# SPDX-License-Identifier: GPL-3.0-or-later
"""What the selector blocks share: PDUs in, one link adapter per link, PDUs with an MCS and decisions out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pmt

from ..core.mcs import McsTable
from ..core.messages import Csi, LinkAdapter
from . import _messages as m
from ._block import MessageBlock, handles


class SelectorBlock(MessageBlock):
    """Chooses the MCS of every PDU with one adapter per link, made when the link is first heard of.

    Args:
        name: of the block.
        table: the adapters' MCS table.
        make_adapter: makes a link's adapter; its ``select`` takes ``(bits, seq)``.
        max_links: links that are kept at most, 1 to 65536; messages of further ones are dropped.

    Raises:
        ValueError: ``max_links`` is out of range.
    """

    def __init__(
        self, name: str, table: McsTable, make_adapter: Callable[[], LinkAdapter], max_links: int
    ) -> None:
        check_max_links(max_links)
        self.table = table
        self._make_adapter = make_adapter
        self._max_links = max_links
        self._adapters: dict[int, Any] = {}
        self._next_seq: dict[int, int] = {}
        super().__init__(name, ("pdu_out", "decision"))

    @handles("csi")
    def on_csi(self, message: pmt.pmt_base) -> None:
        """Report a link's SNR to its adapter."""
        m.need_dict(message)
        link, snr_db = m.read_link(message), m.read_snr_db(message)
        seq = m.read_seq(message) if m.has(message, m.SEQ) else None
        time_s = m.read_real(message, m.TIME) if m.has(message, m.TIME) else None
        self.adapter(link).report(Csi(snr_db, seq, time_s))
        self.counters.add("reports")

    @handles("pdu_in")
    def on_pdu_in(self, message: pmt.pmt_base) -> None:
        """Send a PDU on with its MCS, and tell the tuner what was decided."""
        metadata, n_bytes = m.read_pdu(message)
        link = m.read_link(metadata)
        adapter = self.adapter(link)
        seq = m.read_seq(metadata) if m.has(metadata, m.SEQ) else self._next_seq.get(link, 0)
        decision = adapter.select(8 * n_bytes, seq)
        self._next_seq[link] = (seq + 1) & m.MAX_SEQ
        metadata = pmt.dict_add(metadata, m.LINK, pmt.from_long(link))
        metadata = pmt.dict_add(metadata, m.SEQ, pmt.from_long(seq))
        metadata = pmt.dict_add(metadata, m.MCS, pmt.from_long(decision.mcs))
        metadata = pmt.dict_add(metadata, m.BLER, pmt.from_double(decision.bler))
        self.publish("pdu_out", pmt.cons(metadata, pmt.cdr(message)))
        self.publish(
            "decision",
            m.decision_message(
                link,
                seq,
                decision.mcs,
                decision.bler,
                decision.features,
                decision.version,
                decision.probe,
                8 * n_bytes,
            ),
        )
        self.counters.add("decisions")
        if decision.probe:
            self.counters.add("probes")

    @handles("feedback")
    def on_feedback(self, message: pmt.pmt_base) -> None:
        """Tell a link's adapter how a block ended."""
        link, seq, ack, attempt = m.read_feedback(message)
        adapter = self._adapters.get(link)
        if adapter is None:
            raise m.Refused("unknown link")
        if not adapter.feedback(seq, ack, attempt):
            raise m.Refused("not pending (unknown, late or duplicate)")
        self.counters.add("acks" if ack else "nacks")

    @handles("model")
    def on_model(self, message: pmt.pmt_base) -> None:
        """Take what the tuner says."""
        self.take_model(message)

    def adapter(self, link: int) -> Any:
        """The link's adapter, made if need be.

        Raises:
            Refused: the link is one too many.
        """
        adapter = self._adapters.get(link)
        if adapter is None:
            if len(self._adapters) >= self._max_links:
                raise m.Refused("too many links")
            adapter = self._adapters[link] = self._make_adapter()
        return adapter

    def take_model(self, message: pmt.pmt_base) -> None:
        """What to do with a message on ``model``."""
        raise NotImplementedError

    def details(self) -> dict[str, Any]:
        return {"mcs_table": self.table.name, "links": len(self._adapters)}


def check_max_links(max_links: int) -> None:
    """Refuse a bound that no link number can reach.

    Raises:
        ValueError: it is not from 1 to 65536.
    """
    if not 1 <= max_links <= m.MAX_LINK + 1:
        raise ValueError(f"max_links = {max_links!r}: give 1 to {m.MAX_LINK + 1}")
