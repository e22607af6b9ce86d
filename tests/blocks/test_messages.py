# SPDX-License-Identifier: GPL-3.0-or-later
"""The readers take what the design says, and refuse everything else with a cause."""

import math

import numpy as np
import pmt
import pytest
from gnuradio.lighttune.blocks import _messages as m

from flowgraph import floats, message


def test_a_long_will_do_for_a_double_and_an_unsigned_for_a_long():
    assert m.read_snr_db(message(snr_db=12)) == 12.0
    assert m.read_seq(message(seq=pmt.from_uint64(7))) == 7


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        (pmt.PMT_T, "seq not a long"),
        (pmt.from_double(3.0), "seq not a long"),
        (pmt.PMT_NIL, "seq not a long"),
        (pmt.from_long(-1), "seq out of range"),
        (pmt.from_long(2**32), "seq out of range"),
        (pmt.from_uint64(2**64 - 1), "seq out of range"),
    ],
)
def test_a_sequence_number_is_a_long_from_0_to_2_to_the_32_less_1(value, cause):
    with pytest.raises(m.Refused, match=cause):
        m.read_seq(message(seq=value))


@pytest.mark.parametrize(
    ("value", "cause"),
    [(math.nan, "not finite"), (math.inf, "not finite"), (-61.0, "out of range"), ("loud", "not a number")],
)
def test_an_snr_is_finite_and_possible(value, cause):
    with pytest.raises(m.Refused, match=cause):
        m.read_snr_db(message(snr_db=value))


def test_a_missing_key_is_told_from_one_of_the_wrong_type():
    with pytest.raises(m.Refused, match="ack missing"):
        m.read_feedback(message(seq=1))
    with pytest.raises(m.Refused, match="ack not a bool"):
        m.read_feedback(message(seq=1, ack=1))


def test_link_and_attempt_have_defaults():
    assert m.read_feedback(message(seq=1, ack=True)) == (0, 1, True, 0)


def test_a_vector_of_another_length_or_type_is_refused():
    assert np.array_equal(m.read_floats(message(weights=floats([1, 2])), m.WEIGHTS, 2), [1, 2])
    with pytest.raises(m.Refused, match="of wrong length"):
        m.read_floats(message(weights=floats([1, 2])), m.WEIGHTS, 3)
    with pytest.raises(m.Refused, match="not an f32vector"):
        m.read_floats(message(weights=pmt.init_f64vector(2, [1, 2])), m.WEIGHTS, 2)


def test_a_pdu_is_a_dict_and_a_uniform_vector_that_is_not_empty():
    metadata, n_bytes = m.read_pdu(pmt.cons(pmt.PMT_NIL, pmt.init_s16vector(3, [1, 2, 3])))
    assert pmt.is_dict(metadata)
    assert n_bytes == 6
    for bad in (
        message(seq=1),
        pmt.PMT_NIL,
        pmt.intern("pdu"),
        pmt.cons(pmt.PMT_T, pmt.init_u8vector(1, [1])),
    ):
        with pytest.raises(m.Refused, match="not a PDU"):
            m.read_pdu(bad)
    with pytest.raises(m.Refused, match="payload is empty"):
        m.read_pdu(pmt.cons(pmt.PMT_NIL, pmt.init_u8vector(0, [])))
