# SPDX-License-Identifier: GPL-3.0-or-later
"""The receiver's end of the feedback path: collects verdicts and SNR reports, and makes frames of them."""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ..core.messages import MAX_SEQ
from .feedback_frame import MAX_BLOCKS, MAX_CSI, MAX_RETRIES, FrameError, Report, Retry, encode

_SPAN = MAX_SEQ + 1
REPEATS = 3
"""Times that a link's last frame is repeated, should nothing new follow: it might have been lost."""


class Late(FrameError):
    """A verdict or report that says nothing new; the text is the cause under which it counts."""


@dataclass(slots=True)
class _Link:
    """Bit k of the masks is block ``newest - k``; numbers are unwrapped (they grow past 2^32)."""

    newest: int
    csi: deque[tuple[int, float]]
    told: int = 0
    ack: int = 0
    fresh: int = 0  # verdicts that no frame has carried yet
    judged: int | None = None  # the newest block with a verdict; None: what lies before the next is not known
    retries: deque[tuple[int, int, bool]] = field(default_factory=lambda: deque(maxlen=MAX_RETRIES))
    number: int = 0
    repeats: int = 0


class FeedbackWriter:
    """State of all links that a receiver tells of. Any thread may call it.

    Args:
        window: blocks that a frame speaks of, 8 to 128. A verdict is lost only if every frame is lost until
            ``window`` further blocks were sent.
        reports: SNR reports that a frame repeats, 1 to 16.
        gaps: ``"nack"``: a block whose number was jumped over by a later verdict is told as a NACK: its
            header was lost. ``"nothing"``: nothing is told of it; for a PHY whose verdicts come out of order.
        max_links: links that are kept at most; further ones are refused.

    Attributes:
        epoch: drawn at random, 32 bits.
        missed: blocks that were told as NACKs because they were jumped over.
        outrun: verdicts that left the window before a frame could carry them.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self, window: int = MAX_BLOCKS, reports: int = 8, gaps: str = "nack", max_links: int = 1024
    ) -> None:
        if not 8 <= window <= MAX_BLOCKS:
            raise ValueError(f"window = {window!r}: give 8 to {MAX_BLOCKS} blocks")
        if not 1 <= reports <= MAX_CSI:
            raise ValueError(f"reports = {reports!r}: give 1 to {MAX_CSI}")
        if gaps not in ("nack", "nothing"):
            raise ValueError(f'gaps = {gaps!r}: give "nack" or "nothing"')
        self.epoch = secrets.randbits(32)
        self.missed = self.outrun = 0
        self._window = window
        self._reports = reports
        self._gaps = gaps == "nack"
        self._max_links = max_links
        self._links: dict[int, _Link] = {}
        self._due: dict[int, None] = {}  # links with news, in the order in which these came
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._links)

    def csi(self, link: int, seq: int | None, snr_db: float) -> None:
        """Take an SNR report; without a number it is dated by the newest block that was heard of.

        Raises:
            Late: there is one of this block or of a newer one: a block has one report.
            FrameError: there is nothing to date it by, or the link is one too many.
        """
        with self._lock:
            state = self._links.get(link)
            if seq is None:
                if state is None:
                    raise FrameError("no block to date it by")
                number = state.newest
            else:
                state, number = self._reach(link, seq)
            if state.csi and number <= state.csi[-1][0]:
                raise Late("not newer than the last")
            state.csi.append((number, snr_db))
            self._news(link, state)

    def verdict(self, link: int, seq: int, ack: bool, attempt: int = 0, missed: bool = False) -> None:
        """Take a verdict; the first one on a block counts.

        ``missed``: the receiver's host lost packets before this one, of whatever link: the numbers that were
        jumped over say nothing of headers.

        Raises:
            Late: the block has one already, or has left the window.
            FrameError: the link is one too many.
        """
        with self._lock:
            if missed:
                for other in self._links.values():
                    other.judged = None
            state, number = self._reach(link, seq)
            if attempt:
                if number <= state.newest - self._window:
                    raise Late("late or duplicate")
                state.retries.append((number, attempt, ack))
            else:
                self._judge(state, number, ack)
            self._news(link, state)

    @property
    def due(self) -> bool:
        """Whether some link has news for which no frame was sent yet."""
        return bool(self._due)

    def flush(self, send: Callable[[int, int, bytes], bool]) -> int:
        """Make and send a frame of each link that has news.

        Args:
            send: called with link, number of the frame, and the frame; must return at once, True if it was
                sent. A frame that was not is due again.

        Returns:
            How many were sent.
        """
        sent = 0
        for link in list(self._due):
            with self._lock:  # what is told meanwhile is in this frame or in the next, never in between
                if self._due.pop(link, self) is self:
                    continue  # another thread was faster
                state = self._links[link]
                if not send(link, state.number, self._frame(link, state)):
                    self._due[link] = None
                    continue
                state.number = (state.number + 1) % _SPAN
                state.fresh = 0
            sent += 1
        return sent

    def repeat(self) -> None:
        """Call it from time to time: links that had news, but none since the last call, are due again."""
        with self._lock:
            for link, state in self._links.items():
                if state.repeats and state.repeats <= REPEATS:
                    self._due[link] = None
                state.repeats = max(state.repeats - 1, 0)

    def _frame(self, link: int, state: _Link) -> bytes:
        low = state.newest - self._window
        csi = tuple((number % _SPAN, snr_db) for number, snr_db in state.csi if number > low)
        retries = tuple(
            Retry(number % _SPAN, attempt, ack) for number, attempt, ack in state.retries if number > low
        )
        n_blocks = state.told.bit_length()
        bits = n_blocks, state.told, state.ack
        return encode(Report(link, self.epoch, state.number, state.newest % _SPAN, *bits, csi, retries))

    def _news(self, link: int, state: _Link) -> None:
        state.repeats = REPEATS + 1
        self._due[link] = None

    def _reach(self, link: int, seq: int) -> tuple[_Link, int]:
        """The link's state, with this block within its window unless it lies behind, and its number."""
        state = self._links.get(link)
        if state is None:
            if len(self._links) >= self._max_links:
                raise FrameError("too many links")
            state = self._links[link] = _Link(seq, deque(maxlen=self._reports))
            return state, seq
        number = state.newest + (seq - state.newest + _SPAN // 2) % _SPAN - _SPAN // 2
        if number < state.newest - MAX_BLOCKS:  # nothing is that late: the transmitter counts anew
            self._forget(state)
            number = state.newest = seq
        elif number > state.newest:
            shift, keep = min(number - state.newest, self._window), (1 << self._window) - 1
            self.outrun += (state.fresh << shift >> self._window).bit_count()
            state.told, state.ack = state.told << shift & keep, state.ack << shift & keep
            state.fresh = state.fresh << shift & keep
            state.newest = number
        return state, number

    @staticmethod
    def _forget(state: _Link) -> None:
        state.told = state.ack = state.fresh = 0
        state.judged = None
        state.csi.clear()
        state.retries.clear()

    def _judge(self, state: _Link, number: int, ack: bool) -> None:
        back = state.newest - number
        if back >= self._window or state.told >> back & 1:
            raise Late("late or duplicate")
        if self._gaps and state.judged is not None and number > state.judged:
            between = min(number - state.judged, self._window - back) - 1
            jumped = (1 << between) - 1 << back + 1 & ~state.told
            self.missed += jumped.bit_count()
            state.told |= jumped
            state.fresh |= jumped
        state.told |= 1 << back
        state.fresh |= 1 << back
        state.ack |= ack << back
        state.judged = number if state.judged is None else max(state.judged, number)
