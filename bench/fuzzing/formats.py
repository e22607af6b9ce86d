# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes from outside as targets: frames from the network, files, and what a radio receives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from gnuradio.lighttune.blocks.amc_rx import amc_rx
from gnuradio.lighttune.core import tensors
from gnuradio.lighttune.core.link_files import fingerprint, load_model, save_model
from gnuradio.lighttune.core.link_model import LinkModel
from gnuradio.lighttune.core.link_tuner import LinkTuner
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.core.tuning import N_FEATURES
from gnuradio.lighttune.modem import framing, transmitter
from gnuradio.lighttune.modem.coding import convolve
from gnuradio.lighttune.modem.header import Header, decode_header, header_bits
from gnuradio.lighttune.modem.receiver import Arrival, Payload
from gnuradio.lighttune.net import curve, feedback_frame, telemetry, wire
from gnuradio.lighttune.net.gate import _grants
from gnuradio.lighttune.net.store import StateFile
from gnuradio.lighttune.sim.campaign_spec import read_spec

from . import Feed, Target
from .reader import Choices

_LONGEST = 1 << 14  # samples of an input


def _decoder(decode: Callable[[bytes], Any], *refusals: type[Exception]) -> Callable[[Path], Feed]:
    """Takes bytes or raises one of these."""

    def feed(data: bytes) -> bool:
        try:
            decode(data)
        except refusals:
            return False
        return True

    return lambda folder: feed


def _file(read: Callable[[Path], Any], name: str, *refusals: type[Exception]) -> Callable[[Path], Feed]:
    """Reads a file of these bytes, or raises `ValueError` or one of these."""

    def make(folder: Path) -> Feed:
        path = folder / name

        def feed(data: bytes) -> bool:
            path.write_bytes(data)
            try:
                read(path)
            except (ValueError, *refusals):
                return False
            return True

        return feed

    return make


def _wire_seeds() -> list[bytes]:
    records = np.zeros(2, wire.SAMPLE)
    models = wire.Models(np.array([1]), np.array([2]), np.zeros((1, 4), np.float32))
    hello = wire.Hello("host", 1, "amc", 10, N_FEATURES, 400, bytes(16))
    messages = (
        wire.Samples(records), models, hello, wire.Heartbeat(), wire.Bye(), wire.Welcome(9), wire.Credit(9),
        wire.Refused(wire.Refusal.FULL, "full"),
    )  # fmt: skip
    return [wire.encode(message) for message in messages]


def _feedback_seeds() -> list[bytes]:
    report = feedback_frame.Report(
        7, 1, 2, 40, 32, 0xFF00FF, 0xF000FF, ((39, 10.0), (40, 11.25)), (feedback_frame.Retry(38, 1, True),)
    )
    frames = (report, feedback_frame.Beat(1, 2), feedback_frame.Echo(1, 2))
    return [feedback_frame.encode(frame) for frame in frames]


def _telemetry_seeds() -> list[bytes]:
    features = np.ones(N_FEATURES, np.float32)
    fields = {
        "csi": {"link": 0, "snr_db": 10.0, "seq": 3},
        "decision": {
            "link": 0,
            "seq": 3,
            "mcs": 4,
            "bler": 0.1,
            "features": features,
            "version": 0,
            "probe": False,
        },
        "feedback": {"link": 0, "seq": 3, "ack": True, "attempt": 0},
        "model": {"heartbeat": True, "away": False},
        "status": {"block": "tuner", "dropped": {"a: b": 1}, "list": [1, 2.5, None]},
    }
    return [telemetry.encode(telemetry.Message(kind, "flowgraph", 1.5, 1, f)) for kind, f in fields.items()]


def small_model() -> LinkModel:
    """The shipped model without its network: a file of 1 kB."""
    return LinkModel(load_model("amc").table)


def _in_scratch(write: Callable[[Path], Any]) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "seed"
        write(path)
        return path.read_bytes()


def _model_seeds() -> list[bytes]:
    return [_in_scratch(lambda path: save_model(small_model(), path))]


def _tensor_seeds() -> list[bytes]:
    arrays = {"a": np.arange(3.0), "b": np.array([True, False]), "c": np.zeros((2, 0), np.int16)}
    return [tensors.dump_tensors(arrays, {"note": "text"}), tensors.dump_tensors({}, {})]


def _state_file(path: Path) -> StateFile:
    model = small_model()
    return StateFile(path, fingerprint(model), LinkTuner(model, max_links=2).record, 8)


def _state(folder: Path) -> Feed:
    file = _state_file(folder / "state")

    def feed(data: bytes) -> bool:
        for path in (file.previous, file.corrupt):
            path.unlink(missing_ok=True)
        file.path.write_bytes(data)
        try:
            keys, records, warnings = file.load()
        except ValueError:  # of another model
            return False
        assert len(keys) == len(records) <= 8
        assert keys or warnings or b"lighttune" in data
        return not warnings

    return feed


def _state_seeds() -> list[bytes]:
    tuner = LinkTuner(small_model(), max_links=2)
    tuner.learn([0, 1], np.full((2, N_FEATURES), 0.5), [3, 4], [True, False])
    keys, records = [("host-a", 0), ("host-b", 7)], tuner.snapshot([0, 1])
    return [_in_scratch(lambda path: _state_file(path).save(keys, records))]


_SPEC = """worlds: [nominal]
seeds: {first: 1, count: 2}
links: 2
slots: 100
adapters:
  OLLA: {kind: olla, grid: {target: [0.05, 0.1]}}
  LightTune: {kind: lighttune}
reference: LightTune
"""


def _spec_seeds() -> list[bytes]:
    bomb = "worlds: &a [x, x, x, x]\nb: &b [*a, *a, *a, *a]\nseeds: [*b, *b]\n"
    return [
        _SPEC.encode(),
        bomb.encode(),
        b"{seeds: [1, 2], links: 1, slots: 10, worlds: [nominal], adapters: {a: {kind: olla}}}",
    ]


def _curve_seeds() -> list[bytes]:
    row = {"modulation_order": 2, "code_rate": 0.5, "threshold_db": 1.0, "slope_db": 0.3}
    curves = {"schema": 1, "mcs": [row, row | {"code_rate": 0.75, "threshold_db": 3.5}], "payload_bytes": 128}
    return [json.dumps(curves | {"overhead_symbols": 10.0}).encode()]


def _header(folder: Path) -> Feed:
    def feed(data: bytes) -> bool:
        llr = np.frombuffer(data[:1152].ljust(1152, b"\0"), "<f4").astype(np.float32)
        header, bits = decode_header(llr)
        assert header is None or header.valid()
        assert bits.shape == (288,)
        assert bits.max(initial=0) <= 1
        return header is not None

    return feed


def _header_seeds() -> list[bytes]:
    headers = (Header(0, 0, 0, 1), Header(65535, 2**32 - 1, 9, 4095), Header(3, 77, 5, 128))
    return [(4.0 * (2.0 * header_bits(header) - 1)).astype("<f4").tobytes() for header in headers]


def _receiver(folder: Path) -> Feed:
    demodulator = amc_rx(on_overload="wait").demodulator
    receiver = demodulator._receiver

    def feed(data: bytes) -> bool:
        samples, arrived = _samples(Choices(data)), 0
        receiver.restart()
        before = receiver.counts["detections"]
        for chunk in np.array_split(demodulator._finite(samples), 1 + len(data) % 3):
            for event in receiver.push(chunk):
                if isinstance(event, Arrival):
                    assert event.header.valid()
                    assert np.isfinite((event.snr_db, event.cfo)).all()
                elif isinstance(event, Payload):
                    arrived += 1
                    assert np.isfinite(event.llr).all(), "soft bits that are not finite"
                    assert event.llr.size == 2 * (8 * (event.arrival.header.length + 4) + 6)
        assert receiver.counts["detections"] - before <= len(samples) // 100 + 1
        assert len(receiver._buffer._memory) <= 1 << 19
        return arrived > 0

    return feed


def _samples(choices: Choices) -> np.ndarray:
    """Bursts, whole or spoilt, noise, and samples of any bits."""
    parts, size = [], 0
    while choices and size < _LONGEST:
        how = choices.below(4)
        if how == 3:
            raw = np.frombuffer(choices.take(8 * choices.below(16)), "<f4").astype(np.float32)
            parts.append(raw[0::2] + 1j * raw[1::2])
        elif how == 2:
            octets = np.frombuffer(choices.take(2 * choices.below(256)), np.int8) / np.float32(32)
            parts.append(octets[0::2] + 1j * octets[1::2])
        else:
            parts.append(_burst(choices))
        size += len(parts[-1])
    with np.errstate(over="ignore", invalid="ignore"):
        return np.concatenate([np.zeros(0), *parts])[: 2 * _LONGEST].astype(np.complex64)


def _burst(choices: Choices) -> np.ndarray:
    payload = choices.take(1 + choices.below(40))
    header = Header(choices.below(256), choices.integer() % 2**32, choices.below(10), len(payload))
    coded = convolve(framing.payload_bits(payload))
    burst = transmitter.burst(header, coded, 1.0, framing.burst_samples(header.mcs, header.length) + 64)
    at = choices.below(256) * len(burst) // 256
    end = len(burst) if choices.below(3) else at  # some end early
    turn = np.exp(2j * np.pi * (choices.below(256) - 128) / 2e4 * np.arange(end))
    return burst[:end] * turn * 10 ** ((choices.below(256) - 128) / 16)


def _receiver_seeds() -> list[bytes]:
    rng = np.random.default_rng(7)
    calm = bytes([0, 8, *bytes(9), 1, 0, 0, 4, 0, 1, 128, 128])
    return [calm, 3 * calm] + [rng.bytes(int(n)) for n in rng.integers(20, 400, 20)]


def _key_seeds() -> list[bytes]:
    with TemporaryDirectory() as folder:
        return [file.read_bytes() for file in curve.make_keys(folder, "a")]


def _read_key(path: Path) -> None:
    path.chmod(0o600)
    assert len(curve.read_public(path)) == 40
    assert len(curve.read_secret(path)[0]) == 40


def _allow_list(folder: Path) -> Feed:
    for name in ("a", "b"):
        curve.make_keys(folder, name)
    return _file(_grants, "list", OSError)(folder)


TARGETS = [
    Target("wire format", _decoder(wire.decode, wire.WireError), _wire_seeds),
    Target(
        "feedback frame", _decoder(feedback_frame.decode, feedback_frame.FrameError), _feedback_seeds, 512
    ),
    Target("telemetry frame", _decoder(telemetry.decode, telemetry.TelemetryError), _telemetry_seeds),
    Target("modem header", _header, _header_seeds, 1152),
    Target("modem receiver", _receiver, _receiver_seeds, 1024, 0.25),
    Target("tensors", _file(tensors.read_tensors, "x.safetensors"), _tensor_seeds),
    Target("model file", _file(load_model, "model.safetensors"), _model_seeds, 16384),
    Target("service state", _state, _state_seeds, 65536),
    Target("curves", _file(lambda path: McsTable.named(str(path)), "curves.json"), _curve_seeds),
    Target("key file", _file(_read_key, "a.key_secret"), _key_seeds, 1024),
    Target("allow-list", _allow_list, lambda: [b"a.key 0-7, 9\nb.key # all\n", b"b.key 65535"], 512),
    Target("campaign spec", _file(read_spec, "campaign.yaml"), _spec_seeds, 1024, 0.5),
]
"""Frames, files and samples."""
