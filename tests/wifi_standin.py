# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for gr-ieee802-11: blocks of its names, ports and tags; the channel does as each frame says.

What matters to an adapter is kept: the mapper's rate is whatever was set last when it takes a frame, failures
are silent, a valid SIGNAL field is a set of tags on the equalizer's stream and nothing else, and `decode_mac`
takes the frame's symbols before it speaks. The first byte of the payload is the frame's fate.
"""

import threading
import time
import zlib
from collections import deque
from enum import IntEnum

import numpy as np
import pmt
from gnuradio import gr
from gnuradio.lighttune.blocks._header_tap import Header, n_symbols

from patience import WAIT_S

SNR_DB = 12.5


class Fate(IntEnum):
    """What the channel does to a frame."""

    GOOD = 0
    FAILS = 1  # its checksum is wrong
    LOST = 2  # not even its SIGNAL field is heard
    GARBLED = 3  # the SIGNAL field passes its parity bit, and says something else
    CUT = 4  # the samples end in the middle of it
    TWICE = 5  # it is received twice
    KEPT = 6  # it is received when the test says so
    OTHER_RATE = 7  # sent at another rate than the mapper was told


def payload(fate: Fate, n_bytes: int = 60, mark: int = 0) -> pmt.pmt_base:
    return pmt.init_u8vector(n_bytes, [int(fate), mark] + [0] * (n_bytes - 2))


class Mac(gr.basic_block):
    """A MAC header with a sequence number before the payload, a checksum behind."""

    def __init__(self) -> None:
        gr.basic_block.__init__(self, "mac", None, None)
        self.seq = 0
        self.deaf = False
        self.message_port_register_out(pmt.intern("phy out"))
        self.message_port_register_in(pmt.intern("app in"))
        self.set_msg_handler(pmt.intern("app in"), self.app_in)

    def app_in(self, message: pmt.pmt_base) -> None:
        if self.deaf:
            return
        body = bytes([8, 0, *[0x42] * 20, *(self.seq << 4 & 0xFFFF).to_bytes(2, "little")])
        body += bytes(pmt.u8vector_elements(pmt.cdr(message)))
        self.seq += 1
        psdu = body + zlib.crc32(body).to_bytes(4, "little")
        self.message_port_pub(pmt.intern("phy out"), pmt.cons(pmt.make_dict(), u8(psdu)))


class Mapper(gr.basic_block):
    """Takes a frame, and the rate that is set just then."""

    def __init__(self, air: "Equalizer") -> None:
        gr.basic_block.__init__(self, "mapper", None, None)
        self.air = air
        self.encoding = 0
        self.set_to: list[int] = []
        self.taken: list[tuple[int, int]] = []  # rate and fate of each frame
        self.go = threading.Event()  # cleared: the transmitter is stuck
        self.go.set()
        self.message_port_register_in(pmt.intern("in"))
        self.set_msg_handler(pmt.intern("in"), self.take)

    def set_encoding(self, encoding: int) -> None:
        self.set_to.append(encoding)
        self.encoding = encoding

    def take(self, message: pmt.pmt_base) -> None:
        self.go.wait(WAIT_S)
        if pmt.is_pair(message):
            psdu = bytes(pmt.u8vector_elements(pmt.cdr(message)))
            self.taken.append((self.encoding, psdu[24]))
            self.air.send(self.encoding, psdu)


class Equalizer(gr.sync_block):
    """The channel and the receiver up to the stream of symbols, with the tags of the SIGNAL field."""

    def __init__(self) -> None:
        gr.sync_block.__init__(self, "frame_equalizer", None, [(np.uint8, 48)])
        self.frames: deque[tuple[Header | None, int]] = deque()  # what is tagged, and how many symbols follow
        self.received: deque[bytes | None] = deque()  # by header: the PSDU that decode_mac makes of it
        self.left = 0
        self.beta = 0.0
        self.message_port_register_in(pmt.intern("wake"))
        self.set_msg_handler(pmt.intern("wake"), self.woken)

    def woken(self, _: pmt.pmt_base) -> None:
        """A source that had nothing to say is asked again after a message, else after 0.25 s."""

    def send(self, encoding: int, psdu: bytes) -> None:
        fate = Fate(psdu[24])
        if fate is Fate.OTHER_RATE:
            encoding ^= 1
        if fate is Fate.GARBLED:
            encoding ^= 2
        self.beta += 0.001
        header = Header(encoding, len(psdu), SNR_DB, self.beta)
        if fate is Fate.LOST:
            return
        symbols = n_symbols(header) // (2 if fate is Fate.CUT else 1)
        for _ in range(2 if fate is Fate.TWICE else 1):
            good = fate not in (Fate.FAILS, Fate.GARBLED, Fate.CUT)
            self.received.append(psdu if good else None)
            self.frames.append((header, symbols))
        self.to_basic_block()._post(pmt.intern("wake"), pmt.PMT_NIL)

    def work(self, input_items, output_items) -> int:
        if self.left == 0:
            if not self.frames:
                return 0
            header, self.left = self.frames.popleft()
            self.tag(header)
        n = min(self.left, len(output_items[0]))
        output_items[0][:n] = 0
        self.left -= n
        return n

    def tag(self, header: Header) -> None:
        values = {
            "frame bytes": pmt.from_uint64(header.n_bytes),
            "encoding": pmt.from_uint64(header.encoding),
            "snr": pmt.from_double(header.snr_db),
            "nominal frequency": pmt.from_double(5.89e9),
            "beta": pmt.from_double(header.beta),
            "csi": pmt.init_c32vector(52, [1j] * 52),
        }
        for key, value in values.items():
            self.add_item_tag(0, self.nitems_written(0), pmt.intern(key), value)


class DecodeMac(gr.sync_block):
    """Takes a frame's symbols, then tells of it if its checksum is right."""

    def __init__(self, air: Equalizer) -> None:
        gr.sync_block.__init__(self, "decode_mac", [(np.uint8, 48)], None)
        self.air = air
        self.meta = pmt.make_dict()
        self.left = 0
        self.psdu: bytes | None = None
        self.delay_s = 0.0  # what decoding takes
        self.kept: list[pmt.pmt_base] = []
        self.message_port_register_out(pmt.intern("out"))

    def work(self, input_items, output_items) -> int:
        n = 1  # one symbol at a time is plain, and fast enough here
        tags = self.get_tags_in_window(0, 0, n)
        if tags:
            self.meta = pmt.make_dict()
            for tag in tags:
                self.meta = pmt.dict_add(self.meta, tag.key, tag.value)
            numbers = pmt.to_python(self.meta)
            self.left = n_symbols(Header(numbers["encoding"], numbers["frame bytes"], 0.0, 0.0))
            self.psdu = self.air.received.popleft()
        if self.left:
            self.left -= 1
            if self.left == 0:
                self.decode()
        return n

    def decode(self) -> None:
        time.sleep(self.delay_s)
        if self.psdu is None:
            return
        pdu = pmt.cons(self.meta, u8(self.psdu[:-4]))
        if self.psdu[24] == Fate.KEPT:
            self.kept.append(pdu)
        else:
            self.message_port_pub(pmt.intern("out"), pdu)

    def release(self) -> None:
        for pdu in self.kept:
            self.message_port_pub(pmt.intern("out"), pdu)
        self.kept.clear()


class Phy(gr.hier_block2):
    """`wifi_phy_hier` without samples."""

    def __init__(self) -> None:
        gr.hier_block2.__init__(self, "wifi_phy_hier", gr.io_signature(0, 0, 0), gr.io_signature(0, 0, 0))
        self.message_port_register_hier_in("mac_in")
        self.message_port_register_hier_out("mac_out")
        self.ieee802_11_frame_equalizer_0 = Equalizer()
        self.ieee802_11_mapper_0 = Mapper(self.ieee802_11_frame_equalizer_0)
        self.ieee802_11_decode_mac_0 = DecodeMac(self.ieee802_11_frame_equalizer_0)
        self.connect(self.ieee802_11_frame_equalizer_0, self.ieee802_11_decode_mac_0)
        self.msg_connect(self, "mac_in", self.ieee802_11_mapper_0, "in")
        self.msg_connect(self.ieee802_11_decode_mac_0, "out", self, "mac_out")


def u8(data: bytes) -> pmt.pmt_base:
    return pmt.init_u8vector(len(data), list(data))
