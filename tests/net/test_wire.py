# SPDX-License-Identifier: GPL-3.0-or-later
"""The wire format: what is encoded comes back, and whatever else comes is refused with a cause."""

import struct
from contextlib import suppress

import numpy as np
import pytest
from gnuradio.lighttune.core import network
from gnuradio.lighttune.core.link_files import fingerprint, load_model, save_model
from gnuradio.lighttune.core.link_model import LinkModel
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.tuning import N_FEATURES
from gnuradio.lighttune.net import wire
from hypothesis import given
from hypothesis import strategies as st

CREDIT = wire.encode(wire.Credit(7))


def header(kind, count=0, width=0, magic=wire.MAGIC, schema=wire.SCHEMA):
    return struct.pack("<4sHHII", magic, schema, kind, count, width)


def some_samples(rng, n=5):
    records = np.zeros(n, wire.SAMPLE)
    records["link"], records["mcs"], records["ack"] = (
        rng.integers(0, 65536, n),
        rng.integers(0, 28, n),
        [1, 0, 1, 0, 1],
    )
    records["seq"] = 2**32 - 1
    records["features"] = rng.standard_normal((n, N_FEATURES))
    return records


def test_every_message_comes_back_as_it_was(rng, plain_model):
    records = some_samples(rng)
    back = wire.decode(wire.encode(wire.Samples(records)))
    assert np.array_equal(back.records, records)
    hello = wire.Hello.of(plain_model, "bench-a.lab", 2**64 - 1)
    messages = [hello, wire.Heartbeat(), wire.Bye(), wire.Welcome(4096), wire.Credit(2**63)]
    messages.append(wire.Refused(wire.Refusal.MODEL, "fingerprint 0a there, 0b here: Ümlaut"))
    for message in messages:
        assert wire.decode(wire.encode(message)) == message
    weights = rng.standard_normal((3, 11)).astype(np.float32)
    models = wire.Models(np.array([0, 7, 65535]), np.array([0, 1, 2**32 - 1]), weights)
    back = wire.decode(wire.encode(models))
    for name in ("links", "versions", "weights"):
        assert np.array_equal(getattr(back, name), getattr(models, name))


def test_the_bytes_are_those_of_the_documented_layout(rng):
    """So that a schema cannot change unnoticed: another program may speak it."""
    records = some_samples(rng)[:1]
    records["features"] = np.arange(N_FEATURES)
    frame = wire.encode(wire.Samples(records))
    body = struct.pack(
        f"<HBBI{N_FEATURES}f", records["link"][0], records["mcs"][0], 1, 2**32 - 1, *range(N_FEATURES)
    )
    assert frame == b"LTun" + struct.pack("<HHII", 2, 2, 1, N_FEATURES) + body
    models = wire.Models(np.array([9]), np.array([3]), np.full((1, 2), 0.5, np.float32))
    assert wire.encode(models) == b"LTun" + struct.pack("<HHIIHHIff", 2, 6, 1, 2, 9, 0, 3, 0.5, 0.5)


@pytest.mark.parametrize(
    ("frame", "cause"),
    [
        (b"", "shorter than a header"),
        (CREDIT[:15], "shorter than a header"),
        (b"x" * (wire.MAX_FRAME + 1), "too long"),
        (b"X" + CREDIT[1:], "no magic"),
        (header(7, schema=1) + CREDIT[16:], "another schema"),
        (header(0), "unknown kind"),
        (header(99), "unknown kind"),
        (CREDIT + b"\0", "of wrong length"),
        (CREDIT[:-1], "of wrong length"),
        (header(3) + b"\0", "of wrong length"),
        (header(2, 1, N_FEATURES), "of wrong length"),
        (header(2, 0xFFFFFFFF, N_FEATURES), "of wrong length"),
        (header(2, 1, N_FEATURES + 1), "of wrong width"),
        (header(6, 1, 0), "of wrong width"),
        (header(6, 1, 0xFFFFFFFF), "of wrong width"),
        (header(6, 0xFFFFFFFF, 1 << 20), "of wrong length"),
        (header(1) + b"\0" * 10, "of wrong length"),
        (header(1) + b"\0" * 160, "host name not allowed"),
        (header(1) + b"\0" * 32 + b"../../etc" + b"\0" * 119, "host name not allowed"),
        (header(1) + b"\0" * 32 + b"\xff" * 64 + b"\0" * 64, "text not UTF-8"),
        (header(1) + b"\0" * 32 + b"a" * 64 + b"a\nb" + b"\0" * 61, "text not printable"),
        (header(8, 77) + b"no", "unknown refusal"),
        (header(8, 1) + b"n" * 513, "of wrong length"),
    ],
)
def test_what_is_no_message_is_refused_with_a_cause(frame, cause):
    with pytest.raises(wire.WireError) as refusal:
        wire.decode(frame)
    assert str(refusal.value) == cause
    assert isinstance(refusal.value, wire.SchemaError) == (cause == "another schema")


@given(st.binary(max_size=300) | st.builds(lambda k, c, w, b: header(k, c, w) + b, st.integers(0, 9),
       st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.binary(max_size=300)))  # fmt: skip
def test_no_bytes_raise_anything_else(frame):
    with suppress(wire.WireError):
        wire.decode(frame)


def test_a_message_that_is_too_long_is_not_sent():
    with pytest.raises(ValueError, match="send at most"):
        wire.encode(wire.Samples(np.zeros(300_000, wire.SAMPLE)))


def test_a_fingerprint_tells_models_apart_and_knows_one_that_went_through_a_file(tmp_path, plain_model):
    for model in (plain_model, load_model("amc")):
        save_model(model, tmp_path / "model")
        assert fingerprint(load_model(tmp_path / "model")) == fingerprint(model)
    amc = load_model("amc")
    assert len({fingerprint(plain_model), fingerprint(amc), fingerprint(LinkModel(amc.table))}) == 3


def test_the_difference_between_two_models_is_named(plain_model):
    mine = wire.Hello.of(plain_model, "a")
    assert mine.difference(wire.Hello.of(plain_model, "b", 7)) is None
    table = LinkModel(McsTable.nr_pdsch(2))
    assert mine.difference(wire.Hello.of(table, "a")) == "MCS table: 'nr-pdsch-2' there, 'nr-pdsch-1' here"
    weights = np.ones(network.size(len(plain_model.table.orders)), np.float32)
    retrained = LinkModel(plain_model.table, weights)
    assert mine.difference(wire.Hello.of(retrained, "a")).startswith("model: fingerprint")


@pytest.mark.parametrize("name", ["", "a b", "-a", "ä", "a" * 65, "a/b"])
def test_a_host_name_that_the_wire_does_not_carry_is_named(plain_model, name):
    with pytest.raises(ValueError, match="host = "):
        wire.Hello.of(plain_model, name)
