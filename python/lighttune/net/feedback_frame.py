# SPDX-License-Identifier: GPL-3.0-or-later
"""The feedback frame: what a receiver tells its transmitter, the same bytes over ZeroMQ and over the air.

A frame is self-contained and repeats itself: like an 802.11 block-ack it holds the verdicts on the last
blocks, and the last SNR reports, so that a lost frame loses nothing when a later one arrives. Little endian:

    header    magic "Lf", version u8, kind u8, link u16, epoch u32, number u32

    REPORT    newest u32, n_blocks u8, n_csi u8, n_retries u8,
              told u8[ceil(n_blocks / 8)], ack u8[ceil(n_blocks / 8)],
              ``n_csi`` records: back u8, snr i16 in 1/4 dB; oldest first,
              ``n_retries`` records: back u8, attempt u8, ack u8
    BEAT      no body: the sender lives; link is 0
    ECHO      no body: the answer to a BEAT, with its epoch and number

Bit k of ``told`` (least significant first) says that there is a verdict on block ``newest - k``, bit k of
``ack`` that it is an ACK; ``back`` counts blocks back from ``newest`` too. Block numbers wrap at 2^32.
``epoch`` is drawn at random when the sender starts; ``number`` counts the frames of this link (the BEATs by
themselves) from 0 and wraps at 2^32. No time travels: the clocks of two hosts have nothing in common, and
block numbers date what is reported.

`decode` raises `FrameError` and nothing else, whatever the bytes; its text is a cause from a fixed set.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from ..core.messages import MAX_SEQ, SNR_RANGE_DB

VERSION = 1
MAGIC = b"Lf"
MAX_BLOCKS = 128
"""Blocks that a frame speaks of at most."""
MAX_CSI = 16
MAX_RETRIES = 16
SNR_STEP_DB = 0.25
"""SNR reports are rounded to this: an eighth of what the closest two MCS of a ladder lie apart, and below the
scatter of an estimate from one packet's training symbols."""

_HEADER = struct.Struct("<2sBBHII")
_REPORT = struct.Struct("<IBBB")
_CSI = struct.Struct("<Bh")
_RETRY = struct.Struct("<BBB")
MAX_FRAME = (
    _HEADER.size + _REPORT.size + 2 * MAX_BLOCKS // 8 + MAX_CSI * _CSI.size + MAX_RETRIES * _RETRY.size
)
"""Bytes of a frame at most."""

_SPAN = MAX_SEQ + 1
_SNR_LOW, _SNR_HIGH = (round(limit / SNR_STEP_DB) for limit in SNR_RANGE_DB)


class Kind(IntEnum):
    """What a frame is."""

    REPORT = 1
    BEAT = 2
    ECHO = 3


class FrameError(ValueError):
    """Bytes that are no frame, or a frame that is refused; the text is the cause under which it counts."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The verdict on a retransmission: block ``seq``, HARQ ``attempt`` 1 to 255."""

    seq: int
    attempt: int
    ack: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What a receiver tells of one link.

    Args:
        link: 0 to 65535.
        epoch: of the sender, 0 to 2^32 - 1.
        number: of the frame, 0 to 2^32 - 1.
        newest: the block that the bits count back from.
        n_blocks: bits that mean something, 0 to `MAX_BLOCKS`.
        told: bit k: there is a verdict on block ``newest - k``.
        ack: bit k: it is an ACK.
        csi: ``(block, snr_db)``, oldest first, `MAX_CSI` at most; SNR in dB, rounded to `SNR_STEP_DB`.
        retries: verdicts on retransmissions, `MAX_RETRIES` at most.
    """

    link: int
    epoch: int
    number: int
    newest: int
    n_blocks: int
    told: int
    ack: int
    csi: tuple[tuple[int, float], ...] = ()
    retries: tuple[Retry, ...] = ()


@dataclass(frozen=True, slots=True)
class Beat:
    """The sender lives."""

    epoch: int
    number: int


@dataclass(frozen=True, slots=True)
class Echo:
    """The answer to the BEAT of this number."""

    epoch: int
    number: int


Frame = Report | Beat | Echo


def encode(frame: Frame) -> bytes:
    """The bytes of a frame; SNRs are rounded to `SNR_STEP_DB`.

    Raises:
        struct.error: a number is out of its field's range.
    """
    match frame:
        case Beat(epoch, number):
            return _HEADER.pack(MAGIC, VERSION, Kind.BEAT, 0, epoch, number)
        case Echo(epoch, number):
            return _HEADER.pack(MAGIC, VERSION, Kind.ECHO, 0, epoch, number)
    n_bytes = (frame.n_blocks + 7) // 8
    parts = [
        _HEADER.pack(MAGIC, VERSION, Kind.REPORT, frame.link, frame.epoch, frame.number),
        _REPORT.pack(frame.newest, frame.n_blocks, len(frame.csi), len(frame.retries)),
        frame.told.to_bytes(n_bytes, "little"),
        frame.ack.to_bytes(n_bytes, "little"),
    ]
    for seq, snr_db in frame.csi:
        parts.append(_CSI.pack(_back(frame.newest, seq), round(snr_db / SNR_STEP_DB)))
    for retry in frame.retries:
        parts.append(_RETRY.pack(_back(frame.newest, retry.seq), retry.attempt, retry.ack))
    return b"".join(parts)


def decode(data: bytes) -> Frame:
    """The frame in these bytes.

    Raises:
        FrameError: they are no frame of this version; nothing else is raised.
    """
    if len(data) > MAX_FRAME:
        raise FrameError("too long")
    if len(data) < _HEADER.size:
        raise FrameError("shorter than a header")
    magic, version, kind, link, epoch, number = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise FrameError("no magic")
    if version != VERSION:
        raise FrameError("another version")
    if kind == Kind.REPORT:
        return _report(data, link, epoch, number)
    if kind not in (Kind.BEAT, Kind.ECHO):
        raise FrameError("unknown kind")
    if len(data) != _HEADER.size:
        raise FrameError("of wrong length")
    if link:
        raise FrameError("link where there is none")
    return Beat(epoch, number) if kind == Kind.BEAT else Echo(epoch, number)


def _report(data: bytes, link: int, epoch: int, number: int) -> Report:
    if len(data) < _HEADER.size + _REPORT.size:
        raise FrameError("of wrong length")
    newest, n_blocks, n_csi, n_retries = _REPORT.unpack_from(data, _HEADER.size)
    if n_blocks > MAX_BLOCKS or n_csi > MAX_CSI or n_retries > MAX_RETRIES:
        raise FrameError("too many entries")
    n_bytes, at = (n_blocks + 7) // 8, _HEADER.size + _REPORT.size
    csi_at = at + 2 * n_bytes
    retries_at = csi_at + n_csi * _CSI.size
    if len(data) != retries_at + n_retries * _RETRY.size:
        raise FrameError("of wrong length")
    told = int.from_bytes(data[at : at + n_bytes], "little")
    ack = int.from_bytes(data[at + n_bytes : csi_at], "little")
    if told >> n_blocks or ack & ~told:
        raise FrameError("verdicts contradict")
    csi = tuple(
        ((newest - back) % _SPAN, _snr_db(steps)) for back, steps in _CSI.iter_unpack(data[csi_at:retries_at])
    )
    retries = tuple(
        _retry((newest - back) % _SPAN, attempt, acked)
        for back, attempt, acked in _RETRY.iter_unpack(data[retries_at:])
    )
    return Report(link, epoch, number, newest, n_blocks, told, ack, csi, retries)


def _back(newest: int, seq: int) -> int:
    return (newest - seq) % _SPAN


def _snr_db(steps: int) -> float:
    if not _SNR_LOW <= steps <= _SNR_HIGH:
        raise FrameError("SNR out of range")
    return steps * SNR_STEP_DB


def _retry(seq: int, attempt: int, acked: int) -> Retry:
    if not attempt or acked > 1:
        raise FrameError("retry out of range")
    return Retry(seq, attempt, acked == 1)
