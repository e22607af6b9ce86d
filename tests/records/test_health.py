# SPDX-License-Identifier: GPL-3.0-or-later
"""A session that says more of the hosts than of the channel is marked, in words, and not trained on."""

import numpy as np
import pytest
from gnuradio.lighttune.cli.main import main
from gnuradio.lighttune.core.link_files import load_model
from gnuradio.lighttune.records.health import health_of
from gnuradio.lighttune.records.log import blocks_of, sessions
from gnuradio.lighttune.records.writer import LogWriter

PREDICTOR = load_model("amc")
N = 200
SOUND = [{"block": "ack_merge", "erased": {"stopped": 9, "no verdict": 2}, "dropped": {}}]
FALSE_NACKS = [{"block": "ack_merge", "timeouts": N, "dropped": {"feedback: late, duplicate or unknown": N}}]
CASES = {
    "sound": (SOUND, 0, ""),
    "late": ([{"block": "ack_merge", "erased": {}, "dropped": {"feedback: late verdict": 10}}], 0,
             "5.0 % of the verdicts came after their packets were given up"),
    "false nacks of old": (FALSE_NACKS, 0, "100.0 % of the verdicts came after"),
    "receiver behind": ([{"block": "amc_rx", "dropped": {"samples: receiver behind": 50}}], 0,
                        "the receiver's host dropped or lost 25.0 % of the packets"),
    "erased": ([{"block": "ack_merge", "erased": {"queue full": 40, "no verdict": 8}, "dropped": {}}], 48,
               "24.0 % of the packets were erased (queue full 20.0 %, no verdict 4.0 %)"),
    "nobody said why": ([], 20, "of 10.0 % of the packets no end was recorded"),
}  # fmt: skip


def record(folder, statuses, unended):
    with_features = np.zeros(17, np.float32)
    writer = LogWriter(folder, PREDICTOR)
    for seq in range(N):
        decision = {"link": 0, "seq": seq, "mcs": 2, "bler": 0.1, "features": with_features, "version": 0}
        writer.write("decision", decision | {"probe": False}, seq * 1e-2)
        if seq >= unended:
            writer.write("feedback", {"link": 0, "seq": seq, "ack": False, "attempt": 0}, seq * 1e-2 + 1e-3)
    for status in statuses:
        writer.write("status", status, N * 1e-2)
    writer.close()


@pytest.mark.parametrize("case", CASES)
def test_a_session_s_health_is_told_in_words(case, tmp_path, capsys):
    statuses, unended, words = CASES[case]
    record(tmp_path / "log", statuses, unended)
    (session,) = sessions([tmp_path / "log"])
    health = health_of(session, blocks_of(session))
    assert health.broken is bool(words)
    assert str(health).startswith(words)
    assert main(["report", str(tmp_path / "log"), "--out", str(tmp_path / "report.html")]) == 0
    said, page = capsys.readouterr().out, (tmp_path / "report.html").read_text()
    assert (f"{session.name} is broken: {words}" in said) is bool(words)
    assert ("is broken:" in page) is bool(words)


def test_replay_says_which_sessions_are_broken(tmp_path, capsys):
    record(tmp_path, SOUND, 0)
    record(tmp_path, FALSE_NACKS, 0)
    assert main(["replay", str(tmp_path), "--adapter", "untuned"]) == 0
    assert capsys.readouterr().out.count("is broken: 100.0 % of the verdicts came after") == 1


def test_broken_sessions_are_not_trained_on_unless_asked(tmp_path, capsys):
    pytest.importorskip("torch", reason="torch is not installed (tools/setup.sh does it)")
    for _ in range(3):
        record(tmp_path / "log", FALSE_NACKS, 0)
    command = ["train", "--from", str(tmp_path / "log"), "--out", str(tmp_path / "new.safetensors")]
    assert main(command) == 1
    told = capsys.readouterr()
    assert told.out.count("is broken:") == 3
    assert "0 left: record anew on a host that keeps up, or give --include-broken" in told.err
    assert not (tmp_path / "new.safetensors").exists()
    main([*command, "--include-broken"])
    assert "trained on" in capsys.readouterr().out
