# SPDX-License-Identifier: GPL-3.0-or-later
"""Puncturing, interleaving, scrambling, framing and the header's decoder."""

import numpy as np
import pytest
from gnuradio import blocks, fec, gr
from gnuradio.lighttune.modem import coding, framing, viterbi
from gnuradio.lighttune.modem.header import Header, decode_header, header_bits
from gnuradio.lighttune.modem.mcs import MCS
from gnuradio.lighttune.modem.numerology import N_DATA, scrambler_sequence


def test_the_scrambler_starts_as_the_standard_prints_it():
    # IEEE 802.11-2020, 17.3.5.5: from all ones the sequence begins 0000 1110 1111 0010 1100 1001.
    assert "".join(map(str, scrambler_sequence(24))) == "000011101111001011001001"


@pytest.mark.parametrize("scheme", MCS, ids=lambda s: s.name)
def test_puncturing_keeps_the_share_that_the_rate_says(scheme):
    kept = coding.punctured_positions(scheme.rate, 1200 - coding.TAIL_BITS)
    assert len(kept) == pytest.approx(1200 / scheme.code_rate, abs=1)


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8])
def test_the_interleaver_is_a_permutation_that_separates_neighbours(bits):
    order = coding.interleaver(bits)
    assert sorted(order) == list(range(N_DATA * bits))
    carriers = order // bits
    assert np.abs(np.diff(carriers)).min() >= 2  # neighbours never share a carrier nor touch


def test_every_sent_position_carries_at_most_one_coded_bit():
    for mcs in range(len(MCS)):
        source, target, symbols = coding.layout(mcs, framing.info_bits(128))
        assert len(set(target)) == len(target) == len(source)
        assert target.max() < symbols * N_DATA * MCS[mcs].bits_per_symbol


@pytest.mark.parametrize("n", [1, 7, 82, 1056])
def test_the_code_is_gnu_radios(n, rng):
    bits = rng.integers(0, 2, n, np.uint8)
    code = fec.cc_encoder_make(n, coding.CONSTRAINT, 2, list(coding.POLYNOMIALS), 0, fec.CC_TERMINATED, False)
    top, sink = gr.top_block(), blocks.vector_sink_b()
    encoder = fec.encoder(code, gr.sizeof_char, gr.sizeof_char)
    top.connect(blocks.vector_source_b(bits.tolist()), encoder, sink)
    top.run()
    assert np.array_equal(coding.convolve(bits), sink.data())


def test_the_small_decoder_mends_errors_and_inverts_the_code(rng):
    bits = rng.integers(0, 2, 82, np.uint8)
    coded = coding.convolve(bits)
    llr = 2.0 * coded - 1
    llr[rng.choice(len(llr), 8, replace=False)] *= -1  # free distance 10: scattered single errors are mended
    assert np.array_equal(viterbi.decode(llr), bits)


@pytest.mark.parametrize("length", [1, 2, 127, 128, 1500, 4095])
def test_payloads_survive_framing_and_a_flipped_bit_is_seen(length, rng):
    payload = rng.bytes(length)
    bits = framing.payload_bits(payload)
    assert len(bits) == framing.info_bits(length)
    assert framing.check_payload(bits) == payload
    bits[rng.integers(len(bits))] ^= 1
    assert framing.check_payload(bits) is None


def test_a_payload_of_zeros_is_whitened():
    assert 0.4 < framing.payload_bits(bytes(128)).mean() < 0.6


@pytest.mark.parametrize(
    "header", [Header(0, 0, 0, 1), Header(65535, 2**32 - 1, 9, 4095), Header(7, 99, 4, 128)]
)
def test_headers_survive_both_ways(header):
    bits = header_bits(header)
    decoded, again = decode_header(2.0 * bits - 1)
    assert decoded == header
    assert np.array_equal(again, bits)


@pytest.mark.parametrize(
    "header", [Header(65536, 0, 0, 1), Header(0, -1, 0, 1), Header(0, 0, 10, 1), Header(0, 0, 0, 0)]
)
def test_a_header_out_of_range_is_refused(header):
    with pytest.raises(ValueError, match="out of range"):
        header_bits(header)


def test_noise_is_no_header(rng):
    # CRC-16, two version bits and the range checks pass once in 400,000: none in 500.
    assert all(decode_header(rng.standard_normal(288))[0] is None for _ in range(500))
