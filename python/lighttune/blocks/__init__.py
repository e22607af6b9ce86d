# SPDX-License-Identifier: GPL-3.0-or-later
"""The GNU Radio blocks: thin adapters over `core`, `baselines` and `modem`."""

from ._usrp import UsrpError
from .ack_merge import ack_merge
from .amc_rx import amc_rx
from .amc_tx import amc_tx
from .capture import capture
from .feedback_receiver import feedback_receiver
from .feedback_sender import feedback_sender
from .feedback_to_pdu import feedback_to_pdu
from .ieee802_11_link import ieee802_11_link
from .mcs_selector import mcs_selector
from .olla_selector import olla_selector
from .packet_source import packet_source
from .pdu_to_feedback import pdu_to_feedback
from .recorder import recorder
from .stop_and_wait import stop_and_wait
from .telemetry import telemetry
from .tuner import tuner
from .usrp_rx import usrp_rx
from .usrp_status import usrp_status
from .usrp_tx import usrp_tx

__all__ = [
    "UsrpError",
    "ack_merge",
    "amc_rx",
    "amc_tx",
    "capture",
    "feedback_receiver",
    "feedback_sender",
    "feedback_to_pdu",
    "ieee802_11_link",
    "mcs_selector",
    "olla_selector",
    "packet_source",
    "pdu_to_feedback",
    "recorder",
    "stop_and_wait",
    "telemetry",
    "tuner",
    "usrp_rx",
    "usrp_status",
    "usrp_tx",
]
