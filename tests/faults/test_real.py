# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults of the real parts: a service that dies under load, and files that were spoilt."""

import logging
import signal

import pytest
from gnuradio.lighttune import mcs_selector, tuner

from fault_files import spoil_all
from fault_processes import Log, Service, play


def test_a_service_that_is_killed_under_load_costs_no_decision_and_the_logs_tell(tmp_path):
    log = Log()
    logger = logging.getLogger("gnuradio.lighttune")
    logger.addHandler(log)
    served = Service(log, str(tmp_path))
    try:
        block = tuner(always=True, endpoint=served.endpoint, host="bench-a")
        acts = [(1.0, lambda: served.signal(signal.SIGKILL)), (3.5, served.start)]
        story = play("", "", log, block, acts, 5.0, patience_s=0.0)
    finally:
        served.end()
        logger.removeHandler(log)
    assert story.decisions >= 2500  # a decision that does not come ends the play with an error
    assert story.other_mode == "away"
    known = {"tuned before", "service: unconfirmed when it was lost", "service: queue overflow"}
    assert set(story.counts) <= known
    told = "\n".join(story.log)
    assert "is away" in told


def test_spoilt_files_are_refused_and_the_previous_ones_held():
    told = dict(spoil_all())
    assert len(told) == 9
    for fault, outcome in told.items():
        assert outcome.startswith("refused") or "as it was" in outcome or "version 7 of 2" in outcome, fault
        assert "ANOTHER" not in outcome, fault


def test_a_model_of_another_mcs_table_is_refused():
    for block in (mcs_selector, tuner):
        with pytest.raises(ValueError, match="table"):
            block("amc", table="nr-pdsch-1")
