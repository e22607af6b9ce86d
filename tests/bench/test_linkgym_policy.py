# SPDX-License-Identifier: GPL-3.0-or-later
"""LightTune as a policy of linkgym, with and without linkgym; recorded episodes; the protocol's refusals."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gnuradio.lighttune.baselines import Genie, Olla
from gnuradio.lighttune.core.checkpoint import save_predictor
from gnuradio.lighttune.core.mcs import McsTable
from gnuradio.lighttune.sim import run

import linkgym_policy as policies
import linkgym_protocol as protocol
import linkgym_world as worlds
from helpers import make_predictor
from patience import HANG_S

ROOT = Path(__file__).resolve().parents[2]
CURVES = ROOT / "python/lighttune/models/nr_pdsch_1_sionna_curves.json"
PYTHON = ROOT / ".venv-linkgym/bin/python"
NUM_RE = 7488


class Info(dict):
    """linkgym's info, of which only what a scheduler knows may be read."""

    def __getitem__(self, key):
        assert key in ("report", "num_allocated_re"), f"the policy reads {key!r}"
        return super().__getitem__(key)

    def get(self, key, default=None):
        return self[key]

    def _all(self, *args):
        raise AssertionError("the policy reads everything")

    __iter__ = keys = values = items = copy = _all


class Unreadable:
    """An observation that nobody looks at."""

    def __getattribute__(self, name):
        raise AssertionError(f"the policy reads the observation's {name}")


class FakeLink:
    """A link whose SINR walks and whose blocks arrive where the SINR is above the MCS's threshold.

    Args:
        delay: of reports, in slots.
        repeat: every report is shown for that many slots.
    """

    def __init__(self, table: McsTable, delay: int = 1, repeat: int = 1, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.table, self.delay, self.repeat = table, delay, repeat
        self.snr_db = 12 + np.cumsum(rng.normal(0, 0.5, 400))
        self.noise = rng.logistic(0, 0.5, 400)
        self.reports: list[dict] = []

    def info(self) -> Info:
        newest = len(self.reports) - self.delay
        newest -= newest % self.repeat
        report = dict(self.reports[newest]) if newest >= 0 else None
        privileged = {"sinr_prb": np.ones(52), "num_data_symbols": 12}
        info = {"report": report, "num_allocated_re": NUM_RE, "snr_db": 12.0, "privileged": privileged}
        return Info(info, tbler=0.1, ack=True, bits=1, mcs=3)

    def send(self, action: int) -> None:
        slot = len(self.reports)
        ack = bool(self.snr_db[slot] + self.noise[slot] > self.table.threshold[action])
        report = {"slot": slot, "sinr_wideband_db": float(self.snr_db[slot]), "ack": ack, "mcs": action + 3}
        self.reports.append(report)

    def run(self, policy, slots: int) -> list[int]:
        actions = []
        for _ in range(slots):
            actions.append(policy.act(Unreadable(), self.info()))
            self.send(actions[-1])
        return actions


@pytest.fixture(scope="module")
def table() -> McsTable:
    return McsTable.named(str(CURVES))


@pytest.fixture(scope="module")
def model(table: McsTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "nr.safetensors"
    save_predictor(make_predictor(table, np.random.default_rng(1)), path)
    return path


def samples(policy) -> int:
    """Outcomes that reached the tuner."""
    return policy.adapter.tuner.state(policy.adapter.link).get("samples", 0)


def test_the_table_is_nr_mcs_3_to_28(table):
    nr = McsTable.nr_pdsch(1)
    assert table.modulation_order == nr.modulation_order[3:]
    np.testing.assert_allclose(table.code_rate, nr.code_rate[3:], atol=1e-6)
    # A slot has as many symbols whatever is sent: its goodput is the spectral efficiency.
    np.testing.assert_allclose(table.goodput_if_acked(NUM_RE), table.spectral_efficiency)
    assert table.length_logit(NUM_RE) == 0


@pytest.mark.parametrize("delay", range(1, 9))
def test_every_report_counts_once_however_late_it_is(table, model, delay):
    policy, slots = policies.LightTunePolicy(model), 60
    actions = FakeLink(table, delay).run(policy, slots)
    assert all(isinstance(action, int) and 0 <= action < policies.N_ACTIONS for action in actions)
    # Blocks sent before the first report have no features to learn from; the last ones wait for theirs.
    assert samples(policy) == slots - 2 * delay
    assert len(policy.adapter.selector.pending) == delay


def test_reports_that_are_shown_again_teach_nothing(table, model):
    policy = policies.LightTunePolicy(model)
    FakeLink(table, repeat=3).run(policy, 30)
    assert samples(policy) == 9  # slots 0, 3, ..., 27 but for slot 0, sent before there was a report


def test_it_chooses_without_any_report(table, model):
    policy = policies.LightTunePolicy(model)
    actions = [policy.act(Unreadable(), Info(report=None, num_allocated_re=NUM_RE)) for _ in range(20)]
    assert set(actions) <= set(range(policies.N_ACTIONS))
    assert samples(policy) == 0


@pytest.mark.parametrize("snr_db", [float("-inf"), float("inf"), float("nan"), -300.0])
def test_a_report_that_makes_no_sense_does_not_stop_it(table, model, snr_db):
    policy, link = policies.LightTunePolicy(model), FakeLink(table)
    link.run(policy, 20)
    link.reports[-1]["sinr_wideband_db"] = snr_db
    assert all(0 <= action < policies.N_ACTIONS for action in link.run(policy, 20))


@pytest.mark.parametrize("tuned", [True, False])
def test_reset_forgets_the_episode(table, model, tuned):
    fresh = FakeLink(table, seed=5).run(policies.LightTunePolicy(model, tuned=tuned), 150)
    policy = policies.LightTunePolicy(model, tuned=tuned)
    FakeLink(table, seed=4).run(policy, 200)
    policy.reset()
    assert np.isnan(policy.bler)
    assert policy.updates == 0
    assert FakeLink(table, seed=5).run(policy, 150) == fresh


def test_it_tunes_only_where_it_is_asked_to(table, model):
    biased = policies.LightTunePolicy(model, report_bias_db=6.0)
    FakeLink(table).run(biased, 300)
    assert biased.updates > 0
    left_alone = policies.LightTunePolicy(model, tuned=False, report_bias_db=6.0)
    FakeLink(table).run(left_alone, 300)
    assert left_alone.updates == 0
    assert left_alone.adapter.selector.version == 0


def test_a_bias_moves_the_reports(table, model):
    def first_actions(reported_db: float, bias_db: float) -> list[int]:
        policy = policies.LightTunePolicy(model, tuned=False, report_bias_db=bias_db)
        report = {"slot": 0, "sinr_wideband_db": reported_db, "ack": True, "mcs": 3}
        policy.act(None, Info(report=None, num_allocated_re=NUM_RE))
        return [policy.act(None, Info(report=report, num_allocated_re=NUM_RE)) for _ in range(5)]

    assert first_actions(10.0, 3.0) == first_actions(13.0, 0.0)
    assert first_actions(10.0, 3.0) > first_actions(10.0, 0.0)


def test_a_model_of_other_mcs_and_a_bias_that_is_no_number_are_refused(model, tmp_path):
    other = tmp_path / "amc.safetensors"
    save_predictor(make_predictor(McsTable.amc(), np.random.default_rng(1)), other)
    with pytest.raises(ValueError, match="linkgym has 26"):
        policies.LightTunePolicy(other)
    with pytest.raises(FileNotFoundError, match="shipped model"):
        policies.LightTunePolicy("nobody-trained-this")
    with pytest.raises(ValueError, match="report_bias_db"):
        policies.LightTunePolicy(model, report_bias_db=float("nan"))


@pytest.fixture
def recording(table: McsTable, tmp_path: Path, rng: np.random.Generator) -> Path:
    """Three links of 50 slots, written as `record` writes them."""
    snr_db = 12 + np.cumsum(rng.normal(0, 0.5, (3, 50)), axis=1)
    about = {"links": [], "env_kwargs": {}, "num_allocated_re": NUM_RE, "slot_s": 5e-4}
    path = tmp_path / "recording.npz"
    np.savez_compressed(
        path,
        tbler=table.bler(snr_db).astype(np.float32),
        draws=rng.random((3, 50), np.float32),
        wideband_db=snr_db.astype(np.float32),
        tb_bits=np.round(NUM_RE * table.spectral_efficiency).astype(int),
        about=np.array(json.dumps(about)),
    )
    return path


@pytest.mark.parametrize("delay", [1, 4])
def test_a_recording_replays_in_the_simulator(table, recording, delay):
    world = worlds.recorded_world(recording, table, report_delay=delay)
    with np.load(recording) as file:
        tbler, draws, wideband_db = file["tbler"], file["draws"], file["wideband_db"]
    np.testing.assert_array_equal(world.reported_db[:, delay:], wideband_db[:, :-delay])
    np.testing.assert_array_equal(world.measured_at[0], np.arange(50) - delay)
    np.testing.assert_array_equal(world.bler_at(7), tbler[:, 7])
    np.testing.assert_array_equal(world.bler_at(7, np.array([2, 0])), tbler[[2, 0], 7])
    trace = run(lambda link: Olla(table), world, bits=NUM_RE, feedback_delay_slots=delay)
    sent = np.take_along_axis(tbler, trace.mcs[..., None].astype(int), axis=2)[..., 0]
    np.testing.assert_array_equal(trace.true_bler, sent)
    np.testing.assert_array_equal(trace.ack, draws >= sent)
    best = run(lambda link: Genie(table), world, bits=NUM_RE, feedback_delay_slots=delay)
    # Transport blocks carry NUM_RE x efficiency bits here, so both goodputs are one.
    mbps = world.goodput_mbps(best.mcs, best.ack)
    np.testing.assert_allclose(mbps, best.goodput.mean(axis=1) * NUM_RE / 5e-4 / 1e6, rtol=1e-3)


def test_a_recording_of_other_mcs_or_without_delay_is_refused(table, recording):
    with pytest.raises(ValueError, match="the recording has 26"):
        worlds.recorded_world(recording, McsTable.amc())
    with pytest.raises(ValueError, match="report_delay = 0"):
        worlds.recorded_world(recording, table, report_delay=0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--seeds", "995-1000"], "test protocol's"),
        (["--test", "--episodes", "2"], "leave out"),
        (["--out", "tested.md"], "give another --out, or --again"),
        (["--seeds", "9-5"], "such as 500-509"),
    ],
)
def test_the_protocol_keeps_the_test_seeds_apart(tmp_path, arguments, says):
    (tmp_path / "tested.md").write_text(f"# results\n{protocol.TEST_MARK}\n")
    program = [sys.executable, str(ROOT / "bench/linkgym_protocol.py"), *arguments]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=HANG_S, check=False)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.split())


PROGRAM = """
import json, sys
from pathlib import Path

import gymnasium, linkgym, torch
import numpy as np

sys.path.insert(0, sys.argv[1])
from linkgym_policy import LightTunePolicy
from linkgym_world import record, recorded_world, verify
from lighttune.sim import run

torch.set_num_threads(1)
model, folder, out = sys.argv[2], Path(sys.argv[3]), {}
for name, scenario in json.loads(sys.argv[4]).items():
    scenario |= {"episode_length": 150}
    record(folder / "world.npz", [1], 2, scenario)
    policy, env = LightTunePolicy(model), gymnasium.make(linkgym.ENV_ID, **scenario)
    delay, sent = env.unwrapped.config.feedback_delay, []
    for episode in range(2):
        obs, info = env.reset(seed=1 if episode == 0 else None)
        policy.reset()
        done = False
        while not done:
            sent.append(policy.act(obs, info))
            obs, _, _, done, info = env.step(sent[-1])

    def adapter(link):
        policy.reset()
        return policy.adapter

    world = recorded_world(folder / "world.npz", policy.predictor.table, delay)
    replayed = run(adapter, world, bits=world.num_allocated_re, feedback_delay_slots=delay)
    out[name] = {
        "wrong": verify(folder / "world.npz", 10),
        "different": int(np.sum(replayed.mcs.ravel() != sent)),
        "tbler": float(1 - replayed.ack.mean()),
    }
print(json.dumps(out))
"""
SCENARIOS = {
    "default": {},
    "another profile, slow": {"tdl_model": "D", "speed": 1.0},
    "fixed SNR, late": {"snr_db": 12.0, "feedback_delay": 5},
}


@pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-linkgym: bench/setup_linkgym.sh makes it")
def test_the_real_environment_and_its_recording_agree(model, tmp_path):
    command = [str(PYTHON), "-c", PROGRAM, str(ROOT / "bench"), str(model), str(tmp_path)]
    done = subprocess.run(
        [*command, json.dumps(SCENARIOS)], capture_output=True, text=True, timeout=HANG_S, check=False
    )
    assert done.returncode == 0, done.stderr
    for name, found in json.loads(done.stdout).items():
        assert found["wrong"] == 0, name  # ACKs and reports, a fixed MCS
        assert found["different"] == 0, name  # choices of LightTune
        assert found["tbler"] < 0.6, name  # it adapts: an MCS chosen blindly would fail more often
