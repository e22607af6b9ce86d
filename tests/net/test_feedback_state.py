# SPDX-License-Identifier: GPL-3.0-or-later
"""Writer and reader of feedback frames: over a network that loses, repeats and reorders, every verdict
arrives once, and nobody else's words are taken."""

import heapq

import numpy as np
import pytest
from gnuradio.lighttune.net import feedback_frame as ff
from gnuradio.lighttune.net.feedback_reader import FeedbackReader
from gnuradio.lighttune.net.feedback_writer import FeedbackWriter, Late
from hypothesis import given, settings
from hypothesis import strategies as st


def frames(writer):
    out = []
    writer.flush(lambda link, number, frame: out.append(ff.decode(frame)) or True)
    return out


def tell(writer, seqs, ack=True, link=0):
    """A frame for each verdict."""
    out = []
    for seq in seqs:
        writer.verdict(link, seq, ack)
        out += frames(writer)
    return out


def read(reader, reports, now_s=1.0):
    news = [reader.take(report, now_s) for report in reports]
    return [v for n in news for v in n.verdicts]


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_over_a_bad_network_every_verdict_arrives_once_and_as_it_was(seed, first):
    """Loss, duplicates and reordering as they come; numbers wrap; some blocks have lost their header."""
    rng = np.random.default_rng(seed)
    writer, reader = FeedbackWriter(window=32, reports=4), FeedbackReader()
    n, loss = 300, rng.uniform(0, 0.5)
    truth, heard = {}, rng.random(n) < 0.9
    heard[0] = heard[-1] = True
    under_way, sent, arrived, csi = [], 0, [], []
    news = []
    for k in range(n + 20):
        if k < n and heard[k]:
            seq = (first + k) % 2**32
            truth[seq] = bool(rng.random() < 0.8)
            writer.csi(5, seq, round(float(rng.normal(15, 5)), 2))
            writer.verdict(5, seq, truth[seq])
        elif k < n:
            truth[(first + k) % 2**32] = False  # jumped over
        else:
            writer.repeat()
        for frame in frames(writer):
            sent += 1
            for _ in range(1 + (rng.random() < 0.1)):
                if rng.random() >= loss or k >= n:  # a frame gets through at last
                    heapq.heappush(under_way, (k + 10 * rng.random(), rng.random(), frame))
        while under_way and (under_way[0][0] <= k or k >= n):
            arrived.append(heapq.heappop(under_way)[2])
            try:
                news.append(reader.take(arrived[-1], 1.0))
            except ff.FrameError as error:
                assert str(error) == "duplicate"  # noqa: PT017
    verdicts = [v for item in news for v in item.verdicts]
    csi = [seq for item in news for seq, _ in item.csi]
    assert len(verdicts) == len(set(verdicts)) == len(dict(verdicts))
    missing = set(truth) - set(dict(verdicts))
    assert not missing
    assert dict(verdicts) == truth
    places = [(seq - first) % 2**32 for seq in csi]
    assert places == sorted(set(places))  # reports come in the order of their blocks, each once
    unique = len({frame.number for frame in arrived})
    assert reader.counts["frames"] == unique
    assert reader.lost == sent - unique


def test_a_lost_frame_loses_nothing_when_a_later_one_arrives():
    writer, reader = FeedbackWriter(window=32), FeedbackReader()
    sent = tell(writer, range(40))
    assert read(reader, [sent[0], sent[-1]]) == [(0, True), *((n, True) for n in range(8, 40))]
    assert reader.lost == 38


def test_what_leaves_the_window_before_a_frame_could_carry_it_is_counted():
    writer = FeedbackWriter(window=32)
    for seq in range(40):
        writer.verdict(0, seq, True)
    assert writer.outrun == 8
    assert frames(writer)[0].told == 2**32 - 1
    for seq in range(40, 80):
        writer.verdict(0, seq, True)
    assert writer.outrun == 16


def test_a_frame_that_could_not_be_sent_is_due_again_under_the_same_number():
    writer = FeedbackWriter()
    writer.verdict(0, 0, True)
    assert writer.flush(lambda *_: False) == 0
    assert writer.due
    assert [frame.number for frame in frames(writer)] == [0]
    assert not writer.due


def test_a_block_that_is_jumped_over_is_a_nack_unless_told_otherwise():
    writer = FeedbackWriter()
    tell(writer, [10, 11])
    last = tell(writer, [15])[0]
    assert (last.told, last.ack, writer.missed) == (0b111111, 0b110001, 3)
    with pytest.raises(Late):
        writer.verdict(0, 13, True)
    quiet = FeedbackWriter(gaps="nothing")
    assert tell(quiet, [10, 15])[-1].told == 0b100001
    quiet.verdict(0, 13, True)
    assert frames(quiet)[0].told == 0b100101
    assert quiet.missed == 0


def test_what_the_receivers_host_lost_is_not_told_as_a_nack_of_any_link():
    writer = FeedbackWriter()
    tell(writer, [10])
    writer.verdict(3, 20, True)
    writer.verdict(0, 12, True, missed=True)
    writer.verdict(3, 22, True)
    writer.verdict(3, 24, True)
    first, other = sorted(frames(writer), key=lambda frame: frame.link)
    assert (first.told, first.ack) == (0b101, 0b101)
    assert (other.told, other.ack, writer.missed) == (0b10111, 0b10101, 1)  # 23 is a lost header again


def test_a_report_on_a_block_whose_predecessor_is_still_being_decoded_makes_no_gap():
    writer = FeedbackWriter()
    tell(writer, [10])
    writer.csi(0, 12, 20.0)  # the header of 12 is read while the payload of 11 is being decoded
    writer.verdict(0, 11, True)
    writer.verdict(0, 12, True)
    last = frames(writer)[0]
    assert (last.told, last.ack, writer.missed) == (0b111, 0b111, 0)


def test_a_report_without_a_number_is_dated_by_the_newest_block():
    writer = FeedbackWriter()
    with pytest.raises(ff.FrameError, match="no block to date it by"):
        writer.csi(0, None, 10.0)
    tell(writer, [77])
    writer.csi(0, None, 10.0)
    assert frames(writer)[0].csi == ((77, 10.0),)


def test_verdicts_on_retransmissions_arrive_once_with_their_attempt():
    writer, reader = FeedbackWriter(), FeedbackReader()
    writer.verdict(0, 5, False)
    writer.verdict(0, 5, False, attempt=1)
    writer.verdict(0, 5, True, attempt=2)
    first = reader.take(frames(writer)[0], 1.0)
    assert (first.verdicts, first.retries) == ([(5, False)], [(5, 1, False), (5, 2, True)])
    assert reader.take(tell(writer, [6])[0], 1.0).retries == []


def test_a_frame_counts_once_and_not_when_it_is_very_late():
    writer, reader = FeedbackWriter(), FeedbackReader()
    sent = tell(writer, range(2000))
    read(reader, sent[:10])
    for frame in (sent[9], sent[0]):
        with pytest.raises(ff.FrameError, match=r"^duplicate$"):
            reader.take(frame, 1.0)
    assert read(reader, [sent[12], sent[11]]) == [(10, True), (11, True), (12, True)]
    assert reader.counts["reordered"] == 1
    read(reader, sent[1500:])
    with pytest.raises(ff.FrameError, match=r"^late$"):
        reader.take(sent[13], 1.0)


def test_the_numbers_of_frames_wrap():
    writer, reader = FeedbackWriter(), FeedbackReader()
    tell(writer, [0])
    writer._links[0].number = 2**32 - 5
    seen = read(reader, tell(writer, range(1, 11)))
    assert seen == [(n, True) for n in range(2, 11)]  # the first frame was joined midway
    assert reader.lost == 0


def test_another_sender_may_speak_for_a_link_only_when_its_owner_is_silent():
    owner, other, reader = FeedbackWriter(), FeedbackWriter(), FeedbackReader()
    read(reader, tell(owner, [1, 2], link=4))
    forged = tell(other, [3, 4, 5], ack=False, link=4)
    for now_s in (1.1, 2.9):
        with pytest.raises(ff.FrameError, match="of another sender"):
            reader.take(forged[0], now_s)
    reader.heard(owner.epoch, 2.5)  # a beat is enough
    with pytest.raises(ff.FrameError, match="of another sender"):
        reader.take(forged[1], 4.4)
    assert reader.senders(4.6) == (0, 1)
    assert read(reader, [forged[2]], 4.6) == [(3, False), (4, False), (5, False)]
    with pytest.raises(ff.FrameError, match="of a sender that was left"):
        reader.take(tell(owner, [3], link=4)[0], 60.0)
    assert read(reader, tell(other, [1], link=9), 60.0) == [(1, True)]  # other links are free


def test_a_sender_that_was_at_it_before_does_not_settle_blocks_whose_numbers_are_used_anew():
    """The transmitter starts anew and counts from 0: what was told of the old block 3 is not of ours."""
    writer = FeedbackWriter()
    tell(writer, range(30))
    reader = FeedbackReader()
    assert read(reader, tell(writer, [30])) == []
    assert reader.counts["verdicts_before"] == 31
    assert read(reader, tell(writer, [31, 32])) == [(31, True), (32, True)]


def test_a_transmitter_that_counts_anew_is_followed():
    writer, reader = FeedbackWriter(), FeedbackReader()
    read(reader, tell(writer, range(5000, 5003)))
    assert read(reader, tell(writer, [0, 1], ack=False)) == [(0, False), (1, False)]
    assert writer.missed == 0


def test_absurd_numbers_cost_no_memory_and_are_got_over():
    writer, reader = FeedbackWriter(), FeedbackReader()
    read(reader, tell(writer, range(10)))
    read(reader, tell(writer, [2**31 + 3]))  # a header that passed its CRC by chance
    assert writer._links[0].told.bit_length() <= ff.MAX_BLOCKS
    assert reader._links[0].blocks.seen.bit_length() <= 1024
    assert (11, True) in read(reader, tell(writer, [10, 11]))


def test_links_are_bounded_at_both_ends():
    writer, reader = FeedbackWriter(max_links=2), FeedbackReader(max_links=1)
    for link in (0, 1):
        writer.verdict(link, 0, True)
    with pytest.raises(ff.FrameError, match="too many links"):
        writer.verdict(2, 0, True)
    first, second = frames(writer)
    reader.take(first, 1.0)
    with pytest.raises(ff.FrameError, match="too many links"):
        reader.take(second, 1.0)
    for epoch in range(1000):  # beats of strangers
        reader.heard(epoch, 1.0)
    assert len(reader._heard) <= 2


def test_what_was_told_last_is_repeated_three_times():
    writer = FeedbackWriter()
    tell(writer, [0])
    counts = []
    for _ in range(6):
        writer.repeat()
        counts.append(len(frames(writer)))
    assert counts == [0, 1, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"window": 7}, "window = 7"),
        ({"window": 129}, "129"),
        ({"reports": 0}, "reports = 0"),
        ({"gaps": "x"}, "x"),
    ],
)
def test_bad_arguments_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        FeedbackWriter(**arguments)
