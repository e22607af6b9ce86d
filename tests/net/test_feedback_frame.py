# SPDX-License-Identifier: GPL-3.0-or-later
"""The feedback frame: what is encoded comes back, and whatever else comes is refused with a cause."""

import struct
from contextlib import suppress

import pytest
from gnuradio.lighttune.net import feedback_frame as ff
from hypothesis import example, given
from hypothesis import strategies as st

U32 = st.integers(0, 2**32 - 1)
REPORT = ff.Report(
    link=3, epoch=0x01020304, number=7, newest=9, n_blocks=10, told=0b1111111101, ack=0b0111111101,
    csi=((7, 20.25), (9, -3.5)), retries=(ff.Retry(8, 2, True),),
)  # fmt: skip
BYTES = ff.encode(REPORT)


@st.composite
def reports(draw):
    newest, n_blocks = draw(U32), draw(st.integers(0, ff.MAX_BLOCKS))
    told = draw(st.integers(0, 2**n_blocks - 1))
    back = st.integers(0, 255).map(lambda n: (newest - n) % 2**32)
    steps = st.integers(-240, 400).map(lambda n: n / 4)
    retry = st.builds(ff.Retry, back, st.integers(1, 255), st.booleans())
    return ff.Report(
        draw(st.integers(0, 65535)), draw(U32), draw(U32), newest, n_blocks, told,
        told & draw(st.integers(0, 2**n_blocks - 1)),
        tuple(draw(st.lists(st.tuples(back, steps), max_size=ff.MAX_CSI))),
        tuple(draw(st.lists(retry, max_size=ff.MAX_RETRIES))),
    )  # fmt: skip


@given(reports() | st.builds(ff.Beat, U32, U32) | st.builds(ff.Echo, U32, U32))
def test_every_frame_comes_back_as_it_was(frame):
    data = ff.encode(frame)
    assert ff.decode(data) == frame
    assert len(data) <= ff.MAX_FRAME


def test_the_bytes_are_those_of_the_documented_layout():
    assert struct.pack("<2sBBHIIIBBB", b"Lf", 1, 1, 3, 0x01020304, 7, 9, 10, 2, 1) == BYTES[:21]
    assert BYTES[21:25] == bytes([0b11111101, 0b11, 0b11111101, 0b01])
    assert BYTES[25:] == struct.pack("<BhBhBBB", 2, 81, 0, -14, 1, 2, 1)
    assert ff.encode(ff.Beat(5, 6)) == struct.pack("<2sBBHII", b"Lf", 1, 2, 0, 5, 6)


def test_an_snr_is_rounded_to_a_quarter_of_a_db():
    report = ff.Report(0, 0, 0, 5, 0, 0, 0, csi=((5, 17.37), (5, -59.9)))
    assert ff.decode(ff.encode(report)).csi == ((5, 17.25), (5, -60.0))


@given(st.binary(max_size=200) | st.binary(max_size=150).map(lambda tail: BYTES[:4] + tail))
@example(b"")
def test_any_bytes_are_a_frame_or_refused(data):
    with suppress(ff.FrameError):
        assert ff.encode(ff.decode(data)) == data  # one frame has one form


@pytest.mark.parametrize(
    ("at", "value", "cause"),
    [
        (0, b"X", "no magic"),
        (2, b"\2", "another version"),
        (3, b"\7", "unknown kind"),
        (3, b"\2", "of wrong length"),
        (18, b"\xff", "too many entries"),
        (18, b"\x09", "verdicts contradict"),
        (18, b"\x14", "of wrong length"),
        (19, b"\1", "of wrong length"),
        (21, b"\0", "verdicts contradict"),
        (26, b"\xff\x7f", "SNR out of range"),
        (32, b"\0", "retry out of range"),
        (33, b"\2", "retry out of range"),
    ],
)
def test_a_spoilt_frame_is_refused_with_its_cause(at, value, cause):
    with pytest.raises(ff.FrameError, match=cause):
        ff.decode(BYTES[:at] + value + BYTES[at + len(value) :])


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (BYTES[:13], "shorter than a header"),
        (BYTES[:20], "of wrong length"),
        (BYTES + b"\0", "of wrong length"),
        (bytes(ff.MAX_FRAME + 1), "too long"),
        (struct.pack("<2sBBHII", b"Lf", 1, 2, 9, 5, 6), "link where there is none"),
    ],
)
def test_a_frame_of_wrong_length_is_refused(data, cause):
    with pytest.raises(ff.FrameError, match=cause):
        ff.decode(data)
